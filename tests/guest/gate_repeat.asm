; SPDX-License-Identifier: MIT
;
; INT n from ring 3 and IRET when they do not do as they did the last time. Every check makes one
; trip as always (IRET to ring 3, INT to a handler in ring 0, IRET back), changes one thing, a byte of
; a table in memory if possible, and looks what the next trip does. The translator, which repeats
; trips, must have noticed.
;
; All of it is with paging on, because only then user code and kernel have windows; main has its own
; laps for the same reason: each return to start_round would take them away.

%define ROUNDS 1
%include "guest.inc"
%include "pages.inc"

LAPS    equ 30
WARM    equ 10000                       ; trips until an address space surely has its window

VECTOR  equ 0x51
OTHER   equ 0x52
GATE_AT equ idt + VECTOR * 8
IN_IDT  equ VECTOR * 8 + 2              ; error code

; Selectors: second ones with the same descriptor, so that main's own stay as they are. Free ones
; on both sides of CODE0B.
DATA0B  equ FREE
CODE0B  equ FREE + 0x20
CODE3B  equ (FREE + 0x30) | 3
DATA3B  equ (FREE + 0x38) | 3
CONF    equ FREE + 0x40                 ; conforming code
CODE1   equ (FREE + 0x48) | 1
DATA1   equ (FREE + 0x50) | 1
TSSB    equ FREE + 0x58
LDT     equ FREE + 0x68
XONLY0  equ FREE + 0x70                 ; code that cannot be read
XONLY3  equ (FREE + 0x78) | 3
CODE2   equ (FREE + 0x80) | 2
DATA2   equ (FREE + 0x88) | 2
TSS16   equ FREE + 0x90
IN_LDT  equ 4                           ; in a selector: the LDT, which begins as the GDT does

ACCESS  equ 5                           ; of a descriptor: the byte with P, DPL and type
GRAN    equ 6                           ; with G and limit 19..16
RING0_ESP equ STACK0 - 0x800
KERNEL_STACK equ 0x320000               ; another one

PD      equ 0x100000
PT0     equ 0x101000                    ; 0 .. 4 MiB, identity
PD2     equ 0x102000                    ; another space; its first 4 MiB are the kernel's but for one page
PT2     equ 0x103000
PT_TOP  equ 0x104000                    ; the last 4 MiB
PT_APIC equ 0x105000                    ; the 4 MiB with the local APIC
TOP_FRAME equ 0x306000
LAPIC   equ 0xfee00000
MSR_SYSENTER_CS equ 0x174

HANDLER_PAGE equ 0x380000               ; leads to FRAME1 in one space, FRAME2 in the other
USER_PAGE equ 0x381000                  ; as above; ring 3 may access it in both
HIGH_PAGE equ 0x382000                  ; beyond 64 KiB
FRAME1  equ 0x384000
FRAME2  equ 0x386000
TWO_PAGES equ 0x388000                  ; lead to two frames that are no neighbours
NEAR_FRAME equ 0x38a000
FAR_FRAME equ 0x38e000

%define AT(label) ((label) - $$ + BASE) ; as a number

NT      equ 0x4000
IF      equ 0x200
DF      equ 0x400
TF      equ 0x100
VM      equ 0x20000
AC      equ 0x40000
VIF     equ 0x80000
ID      equ 0x200000
IOPL3   equ 0x3000
ARITH   equ 0x8d5                       ; CF, PF, AF, ZF, SF, OF

main:
        call make_spaces
        mov dword [same_flags], 2
        call aim_sysenter
        call prepare
        call warm_up
.lap:   call tables_of_bytes
        call gates
        call stacks
        call tasks
        call flags
        call returns
        call segments
        call interrupts
        call pages
        inc dword [round]
        mov byte [quiet], 1
        cmp dword [round], LAPS
        jb .lap
        jmp paging_off

; ---- what is as always ----

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
        DESC (CODE2 & ~3), 0, 0xfffff, 0xdb, 0xc
        DESC (DATA2 & ~3), 0, 0xfffff, 0xd3, 0xc
        DESC XONLY0, 0, 0xfffff, 0x99, 0xc
        DESC (XONLY3 & ~3), 0, 0xfffff, 0xf9, 0xc
        DESC TSSB, AT(tss_b), 0x67, 0x89, 0
        DESC TSS16, AT(tss_16), 0x2b, 0x81, 0
        DESC LDT, AT(ldt), 0x27, 0x82, 0
        HOOK VECTOR, handler_1
        mov word [GATE_AT + 2], CODE0B
        mov byte [GATE_AT + ACCESS], 0xee
        mov dword [tss + 8], DATA0B
        mov esi, trip_usual
        mov edi, trip_given
        mov ecx, (trip_usual_end - trip_usual) / 4
        rep movsd
        ret

make_spaces:
        mov edi, PD
        mov ecx, 6
        call clear_pages
        mov edi, PT0
        call map_4_mib
        mov edi, PT2
        call map_4_mib
        mov dword [PD], PT0 + 7
        mov dword [PD2], PT2 + 7
        mov dword [PD + 0xffc], PT_TOP + 7
        mov dword [PD2 + 0xffc], PT_TOP + 7
        mov dword [PT_TOP + 0xffc], TOP_FRAME + 7
        mov dword [PD + (LAPIC >> 22) * 4], PT_APIC + 7
        mov dword [PT_APIC + ((LAPIC >> 12) & 0x3ff) * 4], LAPIC + 0x17
        mov dword [HIGH_PAGE], 0x50 | 0xcd << 8 | VECTOR << 16 | 0xcd << 24 ; push eax, int, int
        mov byte [HIGH_PAGE + 4], LEAVE_VECTOR
        mov eax, PD
        jmp paging_on

warm_up:
        mov dword [warm], WARM
.again: call trip
        dec dword [warm]
        jnz .again
        ret

; ---- a trip ----

; From ring 0 to ring 3, with all registers of trip_given, and back by LEAVE_VECTOR or a fault; what
; it was is in exc_*. Usually it has been in handler_1 and come back from there.
trip:   mov [try_esp], esp
        mov dword [resume], .after
        mov dword [seen_who], 0
        mov dword [back_esp], 0
        mov fs, [given_fs]
        mov gs, [given_gs]
        mov es, [given_es]
        push dword [given_ss]
        push dword [given_esp]
        push dword [given_flags]
        push dword [given_cs]
        push dword [given_eip]
        mov ds, [given_ds]
.iret:  iretd
.after: ret

user:   int VECTOR
user_back:
        mov [back_esp], esp
.next:  pushfd
        pop dword [back_flags]
        int LEAVE_VECTOR

; HANDLER number: notes all that it can see.
%macro NOTE 1
        mov [ss:seen_esp], esp
        mov [ss:seen_cs], cs
        mov [ss:seen_ss], ss
        mov dword [ss:seen_who], %1
        pushfd
        pop dword [ss:seen_flags]
        push eax
%assign slot 0
%rep 5
        mov eax, [esp + 4 + slot]
        mov [ss:seen_frame + slot], eax
%assign slot slot + 4
%endrep
        pop eax
%endmacro
handler_1:
        NOTE 1
        iretd
handler_2:
        NOTE 2
        iretd

%include "trips.inc"

; Where a stack of ring 0 cannot be used, faults of ring 3 end here until prepare: in conforming code,
; which needs no other stack. The way out is SYSENTER.
faults_in_ring_3:
        mov edi, faults_of_stacks
.next:  mov eax, [edi]
        mov edx, [edi + 4]
        mov [idt + edx * 8], ax
        mov word [idt + edx * 8 + 2], CONF
        shr eax, 16
        mov [idt + edx * 8 + 6], ax
        add edi, 8
        cmp edi, faults_of_stacks_end
        jb .next
        ret
faults_of_stacks:
        dd with_8, 8, with_10, 10, with_12, 12, with_14, 14
faults_of_stacks_end:
with_8: push byte 8
        jmp in_ring_3
with_10:
        push byte 10
        jmp in_ring_3
with_12:
        push byte 12
        jmp in_ring_3
with_14:
        push byte 14
in_ring_3:
        pop dword [exc_vector]
        pop dword [exc_error]
        pop dword [exc_eip]
        sysenter
by_sysenter:
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov esp, [try_esp]
        mov eax, cr2
        mov [exc_cr2], eax
        mov eax, [resume]
        mov dword [resume], 0
        jmp eax

; ---- one byte of a table changes ----

; BYTE "name", where, what it becomes, vector, error code
%macro BYTE 5
        dd %2, %3, %4, %5
        db %1, 0
%endmacro

in_gate:
        BYTE "gate: DPL 0", GATE_AT + ACCESS, 0x8e, 13, IN_IDT
        BYTE "gate: not present", GATE_AT + ACCESS, 0x6e, 11, IN_IDT
        BYTE "gate: a call gate", GATE_AT + ACCESS, 0xec, 13, IN_IDT
        BYTE "gate: a segment", GATE_AT + ACCESS, 0xfe, 13, IN_IDT
        BYTE "gate: selector null", GATE_AT + 2, 0, 13, 0
        BYTE "gate: selector of data", GATE_AT + 2, DATA0, 13, DATA0
        BYTE "gate: selector of a TSS", GATE_AT + 2, TSSB, 13, TSSB
        dd 0
in_gdt:
        BYTE "handler's CS: not present", gdt + CODE0B + ACCESS, 0x1b, 11, CODE0B
        BYTE "handler's CS: data", gdt + CODE0B + ACCESS, 0x93, 13, CODE0B
        BYTE "handler's CS: a gate", gdt + CODE0B + ACCESS, 0x8c, 13, CODE0B
        BYTE "handler's CS: 64 KiB", gdt + CODE0B + GRAN, 0x40, 13, 0
        BYTE "handler's SS: not present", gdt + DATA0B + ACCESS, 0x13, 12, DATA0B
        BYTE "handler's SS: DPL 3", gdt + DATA0B + ACCESS, 0xf3, 10, DATA0B
        BYTE "handler's SS: read-only", gdt + DATA0B + ACCESS, 0x91, 10, DATA0B
        BYTE "handler's SS: code", gdt + DATA0B + ACCESS, 0x9b, 10, DATA0B
        BYTE "SS0: null", tss + 8, 0, 10, 0
        BYTE "SS0: RPL 3", tss + 8, DATA0B | 3, 10, DATA0B
        BYTE "SS0: of DPL 3", tss + 8, DATA3B & ~3, 10, DATA3B & ~3
        dd 0
in_gdt_of_user:
        BYTE "user's CS: not present", gdt + (CODE3B & ~3) + ACCESS, 0x7b, 11, CODE3B & ~3
        BYTE "user's CS: DPL 0", gdt + (CODE3B & ~3) + ACCESS, 0x9b, 13, CODE3B & ~3
        BYTE "user's CS: DPL 2", gdt + (CODE3B & ~3) + ACCESS, 0xdb, 13, CODE3B & ~3
        BYTE "user's CS: data", gdt + (CODE3B & ~3) + ACCESS, 0xf3, 13, CODE3B & ~3
        BYTE "user's CS: small", gdt + (CODE3B & ~3) + GRAN, 0x40, 13, 0
        BYTE "user's SS: not present", gdt + (DATA3B & ~3) + ACCESS, 0x73, 12, DATA3B & ~3
        BYTE "user's SS: DPL 0", gdt + (DATA3B & ~3) + ACCESS, 0x93, 13, DATA3B & ~3
        BYTE "user's SS: read-only", gdt + (DATA3B & ~3) + ACCESS, 0xf1, 13, DATA3B & ~3
        BYTE "user's SS: small", gdt + (DATA3B & ~3) + GRAN, 0x40, 12, 0
        dd 0

tables_of_bytes:
        mov edi, in_gate
        call one_table
        call faults_in_ring_3
        mov edi, in_gdt
        call one_table
        call prepare
        ; a limit of 64 KiB is seen where the user goes on beyond it
        mov dword [given_cs], CODE3B
        mov dword [given_ss], DATA3B
        mov dword [given_eip], HIGH_PAGE
        mov dword [given_esp], HIGH_PAGE + 0x100
        mov edi, in_gdt_of_user
        call one_table
        EQUAL "all trips between them", [wrongs], 0
        jmp prepare

one_table:
.next:  cmp dword [edi], 0
        je .end
        push edi
        USUAL
        mov edi, [esp]
        mov eax, [edi]
        mov bl, [edi + 4]
        xchg bl, [eax]
        push ebx
        call trip
        pop ebx
        pop edi
        mov eax, [edi]
        mov [eax], bl
        mov ebx, [edi + 8]
        mov ecx, [edi + 12]
        call end_row
        jmp .next
.end:   ret

; ---- other gates, other tables ----
gates:
        USUAL
        HOOK VECTOR, handler_2
        LEADS_TO "gate: another offset", 2
        HOOK VECTOR, handler_1
        mov dword [given_flags], IF | 2
        USUAL
        EQUAL "an interrupt gate clears IF", [seen_flags], 2
        mov byte [GATE_AT + ACCESS], 0xef
        LEADS_TO "gate: becomes a trap gate", 1
        EQUAL "  which keeps IF", [seen_flags], IF | 2
        LEADS_TO "  again", 1
        EQUAL "  which keeps IF", [seen_flags], IF | 2
        mov byte [GATE_AT + ACCESS], 0xee
        LEADS_TO "gate: an interrupt gate again", 1
        EQUAL "  which clears it", [seen_flags], 2
        EQUAL "  the user has it", [back_flags], IF | 2
        mov word [GATE_AT + 2], CODE0
        LEADS_TO "gate: another selector", 1
        movzx eax, word [seen_cs]
        EQUAL "  cs", eax, CODE0
        mov word [GATE_AT + 2], CODE0B | 3
        LEADS_TO "gate: with RPL 3", 1
        movzx eax, word [seen_cs]
        EQUAL "  cs", eax, CODE0B
        call prepare

        USUAL
        mov byte [gdt + CODE0B + ACCESS], 0xfb
        LEADS_TO "handler's CS: DPL 3", 1
        movzx eax, word [seen_cs]
        EQUAL "  cs", eax, CODE0B | 3
        EQUAL "  the stack is the user's", [seen_esp], STACK3 - 0x40 - 12
        mov byte [gdt + CODE0B + ACCESS], 0x9b
        USUAL
        mov byte [gdt + CODE0B + ACCESS], 0x9f
        LEADS_TO "handler's CS: conforming", 1
        EQUAL "  cs of ring 3", [seen_frame + 4], CODE3
        EQUAL "  and its stack", [seen_esp], STACK3 - 0x40 - 12
        call prepare

        USUAL
        mov dword [given_cs], CODE3B
        LEADS_TO "user's CS: another selector", 1
        EQUAL "  cs", [seen_frame + 4], CODE3B
        mov dword [given_ss], DATA3B
        LEADS_TO "user's SS: another selector", 1
        EQUAL "  ss", [seen_frame + 16], DATA3B
        call prepare

        ; a 16-bit gate to 32-bit code
        mov dword [LOW_HANDLER], 0xe9 | (AT(handler_16) - LOW_HANDLER - 5) << 8
        mov dword [LOW_HANDLER + 3], (AT(handler_16) - LOW_HANDLER - 5) >> 16
        mov word [GATE_AT], LOW_HANDLER
        mov word [GATE_AT + 6], 0
        mov byte [GATE_AT + ACCESS], 0xe6
        HOT 20
        LEADS_TO "16-bit gate, again and again", 16
        COOL
        EQUAL "  pushes five words", [seen_esp], RING0_ESP - 10
        call prepare
        mov word [GATE_AT + 2], CODE1
        mov dword [tss + 12], RING0_ESP - 0x400
        mov dword [tss + 16], DATA1
        HOT 20
        LEADS_TO "to ring 1, again and again", 1
        movzx eax, word [seen_cs]
        EQUAL "  cs", eax, CODE1
        COOL
        EQUAL "  esp", [seen_esp], RING0_ESP - 0x400 - 20
        call prepare

        USUAL
        lidt [short_idt]
        FAULTS "IDT ends within the gate", 13, IN_IDT
        lidt [idt_pointer]
        USUAL
        mov esi, idt
        mov edi, IDT2
        mov ecx, 512
        rep movsd
        mov eax, handler_2
        mov [IDT2 + VECTOR * 8], ax
        lidt [other_idt]
        LEADS_TO "IDT elsewhere", 2
        lidt [idt_pointer]
        LEADS_TO "and back", 1

        USUAL
        lgdt [short_gdt]
        FAULTS "GDT ends within the handler's CS", 13, CODE0B
        lgdt [gdt_pointer]
        USUAL
        mov esi, gdt
        mov edi, GDT2
        mov ecx, (gdt_end - gdt) / 4
        rep movsd
        mov byte [GDT2 + CODE0B + ACCESS], 0x1b
        lgdt [other_gdt]
        FAULTS "GDT elsewhere: handler's CS not present", 11, CODE0B
        lgdt [gdt_pointer]
        mov dword [given_cs], CODE3B
        USUAL
        lgdt [shorter_gdt]
        FAULTS "GDT ends within the user's CS", 13, CODE3B & ~3
        lgdt [gdt_pointer]
        USUAL
        mov byte [GDT2 + CODE0B + ACCESS], 0x9b
        mov byte [GDT2 + (CODE3B & ~3) + ACCESS], 0x7b
        lgdt [other_gdt]
        FAULTS "GDT elsewhere: user's CS not present", 11, CODE3B & ~3
        lgdt [gdt_pointer]
        call prepare
        mov eax, LDT
        lldt ax
        mov esi, gdt
        mov edi, ldt
        mov ecx, 10
        rep movsd
        mov word [GATE_AT + 2], CODE0 | IN_LDT
        USUAL
        USUAL
        mov byte [ldt + CODE0 + ACCESS], 0x1b
        FAULTS "handler's CS in the LDT: not present", 11, CODE0 | IN_LDT
        mov word [GATE_AT + 2], CODE0B
        mov dword [tss + 8], DATA0 | IN_LDT
        USUAL
        USUAL
        call faults_in_ring_3
        mov byte [ldt + DATA0 + ACCESS], 0x13
        FAULTS "handler's SS in the LDT: not present", 12, DATA0 | IN_LDT
        mov dword [tss + 8], DATA0B
        mov dword [given_cs], CODE3 | IN_LDT
        USUAL
        USUAL
        mov byte [ldt + (CODE3 & ~3) + ACCESS], 0x7b
        FAULTS "user's CS in the LDT: not present", 11, (CODE3 & ~3) | IN_LDT
        mov dword [given_cs], CODE3
        mov dword [given_ss], DATA3 | IN_LDT
        USUAL
        USUAL
        mov byte [ldt + (DATA3 & ~3) + ACCESS], 0x93
        FAULTS "user's SS in the LDT: DPL 0", 13, (DATA3 & ~3) | IN_LDT
        EQUAL "all trips between them", [wrongs], 0
        jmp prepare

LOW_HANDLER equ 0x9100
handler_16:
        mov [ss:seen_esp], esp
        mov dword [ss:seen_who], 16
        int LEAVE_VECTOR                ; it cannot go back: EIP's upper half was not pushed

; ---- TSS ----
tasks:
        call other_stacks
        mov byte [gdt + TSSB + ACCESS], 0x89
        mov ax, TSSB
        ltr ax
        USUAL
        mov byte [gdt + TSSB + ACCESS], 0x89
        mov word [gdt + TSSB], 8        ; ends before SS0
        mov ax, TSSB
        ltr ax
        call faults_in_ring_3
        FAULTS "a TSS that ends before SS0", 10, TSSB
        EQUAL "  nobody was there", [seen_who], 0
        EQUAL "all trips between them", [wrongs], 0
        jmp prepare

%include "gate_repeat.inc"

        GUEST_END
