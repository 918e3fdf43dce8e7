; SPDX-License-Identifier: MIT
;
; Faults when they are not delivered as the last time. Every check makes one trip as always (IRET to
; code that faults, in ring 3 or ring 0; a handler that goes on behind the instruction), changes one
; thing, and looks what the next trip does: the translator, which repeats deliveries, must have
; noticed. The kinds of faults are one without error code (#UD), one with (#GP) and #PF.
;
; As in gate_repeat.asm all of it is with paging on, and main has its own laps.

%define ROUNDS 1
%include "guest.inc"

LAPS    equ 30
WARM    equ 10000                       ; trips until an address space surely has its window

; Selectors with the descriptors of main's own; and others.
DATA0B  equ FREE
CODE0B  equ FREE + 0x08
CODE3B  equ (FREE + 0x10) | 3
DATA3B  equ (FREE + 0x18) | 3
CONF    equ FREE + 0x20                 ; conforming code
CODE1   equ (FREE + 0x28) | 1
DATA1   equ (FREE + 0x30) | 1
TSSB    equ FREE + 0x38
TSS16   equ FREE + 0x40
SMALL0  equ FREE + 0x48                 ; 16-bit data, a stack
CODE3_16 equ (FREE + 0x50) | 3          ; 16-bit code, base 1 0000h
ABSENT  equ FREE + 0x58                 ; data, not present
TSS_OF  equ FREE + 0x60                 ; four: of vectors 8, 10, 12, 14
BEYOND  equ 0x7f8                       ; there is no such descriptor

ACCESS  equ 5                           ; of a descriptor: the byte with P, DPL and type
GRAN    equ 6                           ; with G and limit 19..16
RING0_ESP equ STACK0 - 0x800
KERNEL_STACK equ 0x320000               ; another one

PD      equ 0x100000
PT0     equ 0x101000                    ; 0 .. 4 MiB, identity
PD2     equ 0x102000                    ; another space: the kernel's but for USER_CODE and MOVING
PT2     equ 0x103000
PT_TOP  equ 0x104000                    ; the last 4 MiB
TOP_FRAME equ 0x306000
PT_APIC equ 0x105000                    ; the 4 MiB with the local APIC
LAPIC   equ 0xfee00000

TWO_PAGES equ 0x388000                  ; lead to two frames that are no neighbours
NEAR_FRAME equ 0x38a000
FAR_FRAME equ 0x38e000
NOWHERE equ 0x39c000                    ; not mapped
MOVING  equ 0x3a0000                    ; leads to one or the other
FRAME1  equ 0x3a2000
FRAME2  equ 0x3a4000
USER_CODE equ 0x3a8000                  ; what ring 3 can do without data
MSR_SYSENTER_CS equ 0x174

%define AT(label) ((label) - $$ + BASE) ; as a number
%define PTE(address) [PT0 + ((address) >> 12) * 4]

CF      equ 1
TF      equ 0x100
IF      equ 0x200
DF      equ 0x400
IOPL3   equ 0x3000
NT      equ 0x4000
RF      equ 0x10000
AC      equ 0x40000
ID      equ 0x200000
ARITH   equ 0x8d5                       ; CF, PF, AF, ZF, SF, OF

; MAP address, frame and flags
%macro MAP 2
        mov dword PTE(%1), %2
        invlpg [%1]
%endmacro

main:
        call make_space
        call aim_sysenter
        call be_ud
        call prepare
        call warm_up
.lap:   mov edi, kinds
.kind:  push edi
        call [edi]
        call prepare
        call bytes_of_tables
        call gates
        call frames
        call flags
        pop edi
        add edi, 4
        cmp edi, kinds_end
        jb .kind
        call be_ud
        call prepare
        call tasks
        call modes
        call cr2_stays
        call nested
        call moved
        call software
        call external
        EQUAL "all trips between them", [wrongs], 0
        inc dword [round]
        mov byte [quiet], 1
        cmp dword [round], LAPS
        jb .lap
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax
        ret

make_space:
        mov edi, PD
        xor eax, eax
        mov ecx, 0x6000 / 4
        cld
        rep stosd
        mov eax, 7
        xor ecx, ecx
.next:  mov [PT0 + ecx * 4], eax
        add eax, 0x1000
        inc ecx
        cmp ecx, 1024
        jb .next
        mov dword PTE(NOWHERE), 0
        mov esi, PT0
        mov edi, PT2
        mov ecx, 1024
.other: lodsd
        and eax, ~4
        stosd
        loop .other
        mov dword [PT2 + (MOVING >> 12) * 4], FRAME2 + 7
        mov dword [PT2 + (USER_CODE >> 12) * 4], USER_CODE + 7
        mov dword [USER_CODE], 0xcd0b0f | LEAVE_VECTOR << 24    ; ud2, int
        mov dword [PD], PT0 + 7
        mov dword [PD2], PT2 + 7
        mov dword [PD + 0xffc], PT_TOP + 7
        mov dword [PT_TOP + 0xffc], TOP_FRAME + 7
        mov dword [PD2 + (LAPIC >> 22) * 4], PT_APIC + 7
        mov dword [PD + (LAPIC >> 22) * 4], PT_APIC + 7
        mov dword [PT_APIC + ((LAPIC >> 12) & 0x3ff) * 4], LAPIC + 0x17
        mov eax, PD
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        ret

warm_up:
        mov dword [warm], WARM
.again: call trip
        dec dword [warm]
        jnz .again
        ret

; ---- kinds of faults ----

; KIND label, vector, code, handler, another one, EIP of the fault, error code without that of ring 3
%macro KIND 7
%1:     mov dword [kind_vector], %2
        mov dword [kind_code], %3
        mov dword [kind_handler], %4
        mov dword [kind_other], %5
        mov dword [kind_eip], %6
        mov dword [kind_error], %7
        mov dword [ring], 0
        mov eax, [kind_vector]
        lea eax, [idt + eax * 8]
        mov [kind_gate], eax
        ret
%endmacro
        KIND be_ud, 6, code_ud, goes_on, goes_on_2, code_ud, 0
        KIND be_gp, 13, code_gp, goes_on_error, goes_on_error_2, code_gp.at, BEYOND
        KIND be_pf, 14, code_pf, goes_on_error, goes_on_error_2, code_pf.at, 0
ud_in_ring_0:
        call be_ud
        jmp in_ring_0
gp_in_ring_0:
        call be_gp
        jmp in_ring_0
pf_in_ring_0:
        call be_pf
in_ring_0:
        mov dword [ring], 1
        ret
kinds:  dd be_ud, be_gp, be_pf, ud_in_ring_0, gp_in_ring_0, pf_in_ring_0
kinds_end:

; The instructions that fault have two bytes.
code_ud:
        ud2
back:   mov [ss:back_esp], esp
.next:  pushfd
        pop dword [ss:back_flags]
        cmp dword [by_sysenter_then], 0
        jne .sysenter
        int LEAVE_VECTOR
.sysenter:
        mov dword [exc_vector], NO_FAULT
        mov dword [exc_error], 0
        sysenter
code_gp:
        mov edx, BEYOND
.at:    mov es, edx
        jmp back
code_pf:
        mov ebx, NOWHERE + 4
.at:    mov eax, [ebx]
        jmp back
; Ring 0 has the stack that it is given, and changes the byte itself, with CS as it was.
code_of_ring_0:
        mov esp, [given_esp0]
        mov eax, [poke_at]
        mov bl, [poke_value]
        mov [eax], bl
        jmp [kind_code]

; NOTE number, 1 with an error code: what the handler can see.
%macro NOTE 2
        mov [ss:seen_esp], esp
        mov [ss:seen_cs], cs
        mov [ss:seen_ss], ss
        mov dword [ss:seen_who], %1
        pushfd
        pop dword [ss:seen_flags]
        push eax
        mov dword [ss:seen_error], 0
%if %2
        mov eax, [esp + 4]
        mov [ss:seen_error], eax
%endif
%assign slot 0
%rep 5
        mov eax, [esp + 4 + %2 * 4 + slot]
        mov [ss:seen_frame + slot], eax
%assign slot slot + 4
%endrep
        test byte [ss:seen_cs], 3
        jnz %%no_cr2
        mov eax, cr2
        mov [ss:seen_cr2], eax
%%no_cr2:
        pop eax
%if %2
        add esp, 4
%endif
%endmacro
%macro GOES_ON 2
        NOTE %1, %2
        add dword [esp], 2
        iretd
%endmacro
goes_on:
        GOES_ON 1, 0
goes_on_2:
        GOES_ON 2, 0
goes_on_error:
        GOES_ON 1, 1
goes_on_error_2:
        GOES_ON 2, 1

; ---- a trip ----

; All tables and what a trip is given. Every section ends so.
prepare:
        call fresh_tables
        DESC CODE0B, 0, 0xfffff, 0x9b, 0xc
        DESC DATA0B, 0, 0xfffff, 0x93, 0xc
        DESC (CODE3B & ~3), 0, 0xfffff, 0xfb, 0xc
        DESC (DATA3B & ~3), 0, 0xfffff, 0xf3, 0xc
        DESC CONF, 0, 0xfffff, 0x9f, 0xc
        DESC (CODE1 & ~3), 0, 0xfffff, 0xbb, 0xc
        DESC (DATA1 & ~3), 0, 0xfffff, 0xb3, 0xc
        DESC TSSB, AT(tss_b), 0x67, 0x89, 0
        DESC TSS16, AT(tss_16), 0x2b, 0x81, 0
        DESC SMALL0, 0, 0xffff, 0x93, 0
        DESC (CODE3_16 & ~3), BASE, 0xffff, 0xfb, 0
        DESC ABSENT, 0, 0xfffff, 0x73, 0xc
        mov eax, [kind_handler]
        call hook_kind
        mov eax, [kind_gate]
        mov word [eax + 2], CODE0B
        mov dword [tss + 4], RING0_ESP
        mov dword [tss + 8], DATA0B
        mov dword [tss + 28], PD
        mov esi, trip_usual
        mov edi, trip_given
        mov ecx, (trip_usual_end - trip_usual) / 4
        rep movsd
        mov eax, [kind_code]
        mov [given_eip], eax
        mov dword [given_esp0], RING0_ESP - 0x200
        mov dword [poke_at], poke_nothing
        mov dword [by_sysenter_then], 0
        cmp dword [ring], 0
        je .end
        mov dword [given_eip], code_of_ring_0
        mov dword [given_cs], CODE0B
.end:   ret

; The offset of the gate of this kind becomes EAX.
hook_kind:
        mov edx, [kind_gate]
        mov [edx], ax
        shr eax, 16
        mov [edx + 6], ax
        ret

; From ring 0 to the code that is given, with the registers that are given, and back by LEAVE_VECTOR or
; a fault; what it was is in exc_*. Usually it has been in the handler and come back from there.
trip:   mov [try_esp], esp
        mov dword [resume], .after
        mov dword [seen_who], 0
        mov dword [back_esp], 0
        mov dword [back_flags], 0
        mov fs, [given_ds]
        mov gs, [given_ds]
        mov es, [given_ds]
        push dword [given_ss]
        push dword [given_esp]
        push dword [given_flags]
        push dword [given_cs]
        push dword [given_eip]
        mov ds, [given_ds]
.iret:  iretd
.after: ret

%include "trips.inc"

; ---- one byte of a table changes ----

; BYTE "name", where (below 8: in the gate), what it becomes, vector, error code: of #UD; what comes
; of the others is a double fault.
%macro BYTE 5
        dd %2, %3, %4, %5
        db %1, 0
%endmacro
IN_IDT  equ 6 * 8 + 3                   ; with EXT

in_gate:
        BYTE "gate: not present", ACCESS, 0x0e, 11, IN_IDT
        BYTE "gate: a call gate", ACCESS, 0x8c, 13, IN_IDT
        BYTE "gate: a segment", ACCESS, 0x9e, 13, IN_IDT
        BYTE "gate: selector null", 2, 0, 13, 1
        BYTE "gate: selector of data", 2, DATA0, 13, DATA0 | 1
        BYTE "gate: selector of a TSS", 2, TSSB, 13, TSSB | 1
        BYTE "handler's CS: not present", gdt + CODE0B + ACCESS, 0x1b, 11, CODE0B | 1
        BYTE "handler's CS: data", gdt + CODE0B + ACCESS, 0x93, 13, CODE0B | 1
        BYTE "handler's CS: a gate", gdt + CODE0B + ACCESS, 0x8c, 13, CODE0B | 1
        BYTE "handler's CS: 64 KiB", gdt + CODE0B + GRAN, 0x40, 13, 1
        dd 0
in_stack:
        BYTE "handler's SS: not present", gdt + DATA0B + ACCESS, 0x13, 12, DATA0B | 1
        BYTE "handler's SS: DPL 3", gdt + DATA0B + ACCESS, 0xf3, 10, DATA0B | 1
        BYTE "handler's SS: read-only", gdt + DATA0B + ACCESS, 0x91, 10, DATA0B | 1
        BYTE "SS0: null", tss + 8, 0, 10, 1
        BYTE "SS0: RPL 3", tss + 8, DATA0B | 3, 10, DATA0B | 1
        BYTE "SS0: of DPL 3", tss + 8, DATA3B & ~3, 10, (DATA3B & ~3) | 1
        dd 0

bytes_of_tables:
        mov edi, in_gate
        call one_table
        cmp dword [ring], 0
        jne .end
        call catch_by_tasks
        mov edi, in_stack
        call one_table
.end:   jmp prepare

one_table:
.next:  cmp dword [edi], 0
        je .end
        push edi
        USUAL
        mov edi, [esp]
        mov eax, [edi]
        cmp eax, 8
        jae .here
        add eax, [kind_gate]
.here:  push dword [eax]
        push eax
        mov bl, [edi + 4]
        mov [poke_at], eax
        mov [poke_value], bl
        cmp dword [ring], 0
        jne .trip
        mov [eax], bl
.trip:  call trip
        pop eax
        pop ebx
        mov [eax], bl
        mov dword [poke_at], poke_nothing
        pop edi
        mov ebx, [edi + 8]
        mov ecx, [edi + 12]
        cmp dword [kind_vector], 6
        je .expect
        mov ebx, 8
        xor ecx, ecx
.expect:
        call end_row
        jmp .next
.end:   ret

; Faults without a usable stack go to tasks until prepare: vectors 8, 10, 12, 14 but for the kind's own.
catch_by_tasks:
        mov esi, by_tasks
        mov edi, tss_of
        mov ebx, gdt + TSS_OF
.next:  push edi
        mov ecx, 0x68 / 4
        xor eax, eax
        rep stosd
        pop edi
        mov dword [edi + 28], PD
        mov eax, [esi + 4]
        mov [edi + 32], eax
        mov dword [edi + 36], 2
        mov dword [edi + 56], KERNEL_STACK - 0x1000
        mov dword [edi + 72], DATA0
        mov dword [edi + 76], CODE0
        mov dword [edi + 80], DATA0
        mov dword [edi + 84], DATA0
        mov dword [edi + 88], DATA0
        mov dword [edi + 92], DATA0
        mov word [edi + 102], 0x68
        mov word [ebx], 0x67
        mov eax, edi
        mov [ebx + 2], ax
        shr eax, 16
        mov [ebx + 4], al
        mov byte [ebx + ACCESS], 0x89
        mov edx, [esi]
        cmp edx, [kind_vector]
        je .own
        mov byte [idt + edx * 8 + ACCESS], 0x85
        lea eax, [ebx - gdt]
        mov [idt + edx * 8 + 2], ax
.own:   add esi, 8
        add edi, 0x68
        add ebx, 8
        cmp esi, by_tasks_end
        jb .next
        ret
by_tasks:
        dd 8, with_8, 10, with_10, 12, with_12, 14, with_14
by_tasks_end:
with_8: push byte 8
        jmp by_task
with_10:
        push byte 10
        jmp by_task
with_12:
        push byte 12
        jmp by_task
with_14:
        push byte 14
by_task:
        pop dword [exc_vector]
        pop dword [exc_error]
        clts
        mov eax, cr2
        mov [exc_cr2], eax
        mov eax, [tss + 32]
        mov [exc_eip], eax
        mov eax, [tss + 36]
        mov [exc_eflags], eax
        mov eax, [tss + 56]
        mov [exc_esp], eax
        mov byte [gdt + TSS_OF + ACCESS], 0x89
        mov byte [gdt + TSS_OF + 8 + ACCESS], 0x89
        mov byte [gdt + TSS_OF + 16 + ACCESS], 0x89
        mov byte [gdt + TSS_OF + 24 + ACCESS], 0x89
        mov byte [gdt + TSS0 + ACCESS], 0x89
        push dword 2
        popfd
        mov ax, TSS0
        ltr ax
        mov esp, [try_esp]
        mov eax, [resume]
        mov dword [resume], 0
        jmp eax

%include "fault_repeat.inc"

        GUEST_END
