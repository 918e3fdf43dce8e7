; SPDX-License-Identifier: MIT
;
; The kernel under bt-diff's random programs. It writes each exception to a log in memory, which is
; compared like all memory, and goes on: behind a trap; at the same instruction, when a page or the
; FPU was only taken away for a while; else at the address that the program has left in a variable.
;
;   INT 80h   service, chosen by EAX; arguments in ECX and EDX; no register changes
;   INT 82h   the same with interrupts as they are
;   SYSENTER  service, chosen by AL; arguments in ESI and EDI; it comes back to EDX with ESP = ECX,
;             by SYSEXIT or, with bit 0 of AH, by IRET
;   INT 81h   the end of the program, which sees it with all registers as they are
;   INT 20h   the tick, which leaves no trace

        org 0x10000
        bits 32

CODE0   equ 0x08
DATA0   equ 0x10
CODE3   equ 0x18 | 3
DATA3   equ 0x20 | 3
CODE16  equ 0x80 | 3

PORT_LEAVE equ 0xf4

CODE        equ 0x400000                ; of the program; and again
CODE_ALIAS  equ 0x500000
CODE_BYTES  equ 0x4000

FLAG_TF equ 1 << 8
FLAG_IF equ 1 << 9
FLAG_OF equ 1 << 11
FLAG_NT equ 1 << 14
FLAG_RF equ 1 << 16
FLAG_VM equ 1 << 17
V86_SEGMENT equ 0x5800
V86_STACK   equ 0x3f00
USER_STACK  equ 0x701000                ; of a program whose own is not known
FLAG_AC equ 1 << 18
CR0_TS  equ 1 << 3
CR4_PGE equ 1 << 7
E_P     equ 1
E_W     equ 2

MSR_SYSENTER_CS equ 0x174
SEL_THREAD equ 0x58
SEL_LDT    equ 0x78
GDT        equ 0x1000                   ; and the other one behind it
CONTROL_TIME equ 0x710020               ; not 0: EAX and EDX come from the clock
SPACES  equ 4

REGION_SHIFT equ 22                     ; the pages that may come and go: 400000h..7FFFFFh
REGION       equ 1

; What the host fills in: struct kernel_vars.
log_next: dd 0
log_end:  dd 0
resume:   dd 0                          ; where the program keeps where to go on
space:    dd 0                          ; the address space
spaces:   dd 0                          ; how many the program uses
cr3s:     times SPACES dd 0             ; by space
tables:   times SPACES dd 0             ; paging entries of the region
repairs:  times SPACES dd 0             ; what they are when all is well, 8 bytes each; 0: never
large:    dd 0                          ; 1: entries have 8 bytes
smap:     dd 0                          ; 1: the program's pages need STAC
user:     dd 0                          ; 1: the program is never in ring 0
served:   dd 0                          ; services: how many by INT
fast_served: dd 0                       ; and by SYSENTER
; What it wants to know.
        dd stubs, tick, service, leave, double_fault, fast

; ---- entries ----

STUB_BYTES equ 16
STUBS      equ 48

%macro stub 1
        align STUB_BYTES
%if !(%1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17)
        push dword 0
%endif
        push dword %1
        jmp exception
%endmacro

        align STUB_BYTES
stubs:
%assign n 0
%rep STUBS
        stub n
%assign n n + 1
%endrep

tick:   iretd

leave:  out PORT_LEAVE, al
        jmp $

double_fault:
        mov al, 0xdf
        out PORT_LEAVE, al
        jmp $

; ---- exceptions ----

; What `exception` leaves on the stack.
F_ES     equ 0
F_DS     equ 4
F_EDX    equ 28
F_EAX    equ 36
F_VECTOR equ 40
F_EIP    equ 48
F_CS     equ 52
F_FLAGS  equ 56
F_ESP    equ 60
F_SS     equ 64
RECORD   equ 80                         ; bytes: 15 or 17 dwords of the frame, CR2 at 68

exception:
        pushad
        xor eax, eax
        mov ax, ds
        push eax
        mov ax, es
        push eax
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        call open_pages
        cmp dword [CONTROL_TIME], 0
        je .timeless
        xor eax, eax
        mov [esp + F_EAX], eax
        mov [esp + F_EDX], eax
.timeless:
        cld
        ; Data that is executed may rotate and then fault: OF is undefined, and not known to be.
        mov eax, [esp + F_EIP]
        sub eax, CODE
        cmp eax, CODE_BYTES
        jb .defined
        sub eax, CODE_ALIAS - CODE
        cmp eax, CODE_BYTES
        jb .defined
        and dword [esp + F_FLAGS], ~FLAG_OF
.defined:
        mov edi, [log_next]
        mov edx, edi
        mov ecx, 15
        test byte [esp + F_FLAGS + 2], FLAG_VM >> 16
        jnz .longer
        test byte [esp + F_CS], 3
        jz .copy
.longer:
        mov cl, 17
.copy:  mov esi, esp
        ss rep movsd
        mov eax, [esp + F_VECTOR]
        cmp eax, 14
        jne .noted
        mov ecx, cr2
        mov [edx + 68], ecx
.noted: add edx, RECORD
        mov [log_next], edx
        cmp edx, [log_end]
        jae leave
        mov cl, [actions + eax]
        dec cl
        js go_on_elsewhere
        jz back
        dec cl
        jz .fpu
        dec cl
        jz page_fault
        and dword [esp + F_FLAGS], ~FLAG_TF     ; #DB
        jmp back
.fpu:   mov eax, cr0                    ; #NM: TS, or EM, which nobody sets
        test al, CR0_TS
        jz go_on_elsewhere
        clts
back:   pop eax
        mov es, ax
        pop eax
        mov ds, ax
        popad
        add esp, 8
        iretd

; 0: elsewhere, 1: back, 2: the FPU, 3: a page, 4: back without TF
actions:
        db 0, 4, 1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0
        db 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        times 16 db 1

go_on_elsewhere:
        mov eax, [resume]
        mov eax, [eax]
        mov [esp + F_EIP], eax
        test byte [esp + F_FLAGS + 2], FLAG_VM >> 16
        jnz .anew
        cmp byte [user], 0
        je .protected
        test byte [esp + F_CS], 3
        jnz .protected                  ; else it was the kernel's, half-way through a service
.anew:  mov dword [esp + F_CS], CODE3
        mov dword [esp + F_SS], DATA3
        mov dword [esp + F_ESP], USER_STACK
.protected:
        cmp word [esp + F_CS], CODE16
        jne .wide
        mov dword [esp + F_CS], CODE3
.wide:  and dword [esp + F_FLAGS], ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC)
        mov dword [CONTROL_TIME], 0
        test byte [esp + F_CS], 3
        jnz .user
        cmp byte [smap], 0
        je .user
        or dword [esp + F_FLAGS], FLAG_AC
.user:  mov dword [esp + F_ES], DATA3
        mov dword [esp + F_DS], DATA3
        jmp back

open_pages:
        cmp byte [smap], 0
        je .open
        stac
.open:  ret

; A page whose entry is not what it is when all is well gets that back.
page_fault:
        mov ebx, cr2
        mov ecx, ebx
        shr ecx, REGION_SHIFT
        cmp ecx, REGION
        jne go_on_elsewhere
        mov ecx, ebx
        shr ecx, 12
        and ecx, 0x3ff
        mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        mov edx, [edi + ecx * 8 + 4]
        test eax, eax
        jz go_on_elsewhere
        mov edi, [tables + esi * 4]
        cmp byte [large], 0
        jne .large
        mov esi, [edi + ecx * 4]
        xor esi, eax
        and esi, ~0x60                  ; A and D come by themselves
        jz go_on_elsewhere
        mov [edi + ecx * 4], eax
        invlpg [ebx]
        jmp back
.large: mov esi, [edi + ecx * 8]
        xor esi, eax
        and esi, ~0x60
        mov ebp, [edi + ecx * 8 + 4]
        xor ebp, edx
        or esi, ebp
        jz go_on_elsewhere
        mov [edi + ecx * 8], eax
        mov [edi + ecx * 8 + 4], edx
        invlpg [ebx]
        jmp back

; ---- services ----

service:
        push ds
        push es
        pushad
        mov bx, DATA0
        mov ds, bx
        mov es, bx
        cmp eax, SERVICES
        jae .done
        inc dword [served]
        call [services + eax * 4]
.done:  popad
        pop es
        pop ds
        iretd

services: dd set_entry, change_space, reload, flip_cr0, flip_cr4, set_and_reload
        dd protect, unmap, share, swap, map_quietly
        dd set_thread, change_gdt, change_ldt, interrupt
FAST_SERVICES equ ($ - services) / 4    ; the others change what SYSEXIT needs, or look at INT's frame
        dd flip_sysenter, to_ring3, to_ring0, to_v86
SERVICES equ ($ - services) / 4

fast:   push ds
        push es
        pushad
        mov bx, DATA0
        mov ds, bx
        mov es, bx
        cmp byte [smap], 0
        je .closed
        clac
.closed:
        mov ecx, esi
        mov edx, edi
        movzx eax, al
        cmp eax, FAST_SERVICES
        jae .done
        inc dword [fast_served]
        call [services + eax * 4]
.done:  popad
        pop es
        pop ds
        test ah, 1
        jnz .slow
        sti
        sysexit
.slow:  push dword DATA3
        push ecx
        pushfd
        or dword [esp], FLAG_IF
        push dword CODE3
        push edx
        iretd

; ---- paging ----

; Page ECX of the region gets the low bits EDX, and NX for bit 31; EBP = its address.
write_entry:
        mov ebp, ecx
        shl ebp, 12
        add ebp, REGION << REGION_SHIFT
        mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        and eax, ~0xfff
        mov ebx, edx
        and ebx, 0xfff
        or eax, ebx
        mov edi, [tables + esi * 4]
        cmp byte [large], 0
        jne .large
        mov [edi + ecx * 4], eax
        ret
.large: mov [edi + ecx * 8], eax
        and edx, 1 << 31
        mov [edi + ecx * 8 + 4], edx
        ret

set_entry:
        call write_entry
        invlpg [ebp]
        ret

set_and_reload:
        call write_entry
flush_all:
        mov eax, cr4                    ; global pages too
        mov ebx, eax
        xor ebx, CR4_PGE
        mov cr4, ebx
        mov cr4, eax
        ret

; What becomes of many pages: from ECX on, as many as DL says. DH tells how the TLB learns of it.
%macro many_pages 0
        mov esi, [space]
        mov edi, [tables + esi * 4]
        mov [first], ecx
        movzx ebp, dl
        add ebp, ecx
%%page: cmp ecx, ebp
        jae drop
        call change_entry
        inc ecx
        jmp %%page
%endmacro

; Entry ECX loses the bits that EAX does not have, if its page is there.
change_entry:
        cmp byte [large], 0
        jne .large
        test byte [edi + ecx * 4], E_P
        jz .none
        and [edi + ecx * 4], eax
.none:  ret
.large: test byte [edi + ecx * 8], E_P
        jz .none
        and [edi + ecx * 8], eax
        ret

protect:
        mov eax, ~E_W
        many_pages

unmap:  mov eax, ~E_P
        many_pages

first:  dd 0

; Pages from [first] up to EBP. DH = 0: one by one, 1: all, 2: all but global ones.
drop:   cmp dh, 1
        je flush_all
        ja reload
        mov ecx, [first]
.page:  cmp ecx, ebp
        jae .done
        mov eax, ecx
        shl eax, 12
        invlpg [eax + (REGION << REGION_SHIFT)]
        inc ecx
        jmp .page
.done:  ret

; As fork(): another space (EDX >> 16) gets the same pages, and both may only read.
share:  push ecx
        push edx
        mov esi, [space]
        mov esi, [tables + esi * 4]
        mov edi, edx
        shr edi, 16
        mov edi, [tables + edi * 4]
        movzx eax, dl
        mov dl, [large]
        add dl, 2                       ; entries of 4 or 8 bytes
        xchg ecx, edx
        shl edx, cl
        add esi, edx
        add edi, edx
        sub cl, 2
        shl eax, cl
        mov ecx, eax
        cld
        rep movsd
        pop edx
        pop ecx
        push ecx
        push edx
        call protect
        pop edx
        pop ecx
        mov edi, edx
        shr edi, 16
        xchg edi, [space]
        push edi
        call protect
        pop dword [space]
        ret

; The pages ECX and EDX change places, and are as when all is well.
swap:   mov ebp, ecx
        mov ebx, edx
        mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        xchg eax, [edi + edx * 8]
        mov [edi + ecx * 8], eax
        mov eax, [edi + ecx * 8 + 4]
        xchg eax, [edi + edx * 8 + 4]
        mov [edi + ecx * 8 + 4], eax
        call repair
        mov ecx, ebx
        call repair
        shl ebp, 12
        invlpg [ebp + (REGION << REGION_SHIFT)]
        shl ebx, 12
        invlpg [ebx + (REGION << REGION_SHIFT)]
        ret

; Page ECX as when all is well.
repair: mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        mov edx, [edi + ecx * 8 + 4]
        mov edi, [tables + esi * 4]
        cmp byte [large], 0
        jne .large
        mov [edi + ecx * 4], eax
        ret
.large: mov [edi + ecx * 8], eax
        mov [edi + ecx * 8 + 4], edx
        ret

; Page ECX, if it is not there: no TLB can know that.
map_quietly:
        mov esi, [space]
        mov edi, [tables + esi * 4]
        mov al, [large]
        mov edx, ecx
        shl edx, 2
        xchg eax, ecx
        shl edx, cl
        xchg eax, ecx
        test byte [edi + edx], E_P
        jz repair
        ret

; To space ECX, of those that the program uses.
change_space:
        mov eax, ecx
        xor edx, edx
        div dword [spaces]
        mov eax, edx
        mov [space], eax
        mov eax, [cr3s + eax * 4]
        mov cr3, eax
        ret

reload: mov eax, cr3
        mov cr3, eax
        ret

flip_cr0:
        mov eax, cr0
        xor eax, edx
        mov cr0, eax
        ret

flip_cr4:
        mov eax, cr4
        xor eax, edx
        mov cr4, eax
        ret

; ---- segments, MSRs ----

; The base of the thread's segment gets the low bits CX, in the table that is in use.
set_thread:
        sub esp, 8
        sgdt [esp]
        mov edi, [esp + 2]
        add esp, 8
        mov [edi + SEL_THREAD + 2], cx
        and byte [edi + SEL_THREAD + 5], ~1
        ret

change_gdt:
        sub esp, 8
        sgdt [esp]
        xor dword [esp + 2], GDT ^ (GDT + 0x800)
        lgdt [esp]
        add esp, 8
        ret

change_ldt:
        sldt ax
        xor ax, SEL_LDT
        lldt ax
        ret

flip_sysenter:
        mov ecx, MSR_SYSENTER_CS
        rdmsr
        xor eax, CODE0
        wrmsr
        ret

; One that the program may not give itself, or may; ECX chooses.
interrupt:
        and ecx, 7
        jmp [.which + ecx * 4]
.one:   int 0x22
        ret
.two:   int 0x28
        ret
.three: int3
        ret
.ask:   cli
        out 0x41, al
        sti
        nop
        ret
.which: dd .one, .two, .three, .ask, .one, .ask, .two, .ask

; The program goes on in the other ring with the same stack. The frame lies above the return
; address, PUSHAD's 32 bytes, ES and DS.
S_ES    equ 36
S_EIP   equ 44
S_CS    equ 48
S_FLAGS equ 52
S_ESP   equ 56

to_ring3:
        test byte [esp + S_CS], 3
        jnz .there
        mov eax, [esp + S_EIP]
        mov ecx, [esp + S_FLAGS]
        lea edx, [esp + S_ESP]          ; where the program's stack was
        lea esi, [esp + 4]              ; its registers
        mov ebx, [esp + S_ES]
        mov ebp, [esp + S_ES + 4]
        push dword DATA3
        push edx
        push ecx
        push dword CODE3
        push eax
        push ebp
        push ebx
        push dword [esi + 28]           ; as PUSHAD has them
        push dword [esi + 24]
        push dword [esi + 20]
        push dword [esi + 16]
        push dword [esi + 12]
        push dword [esi + 8]
        push dword [esi + 4]
        push dword [esi]
        popad
        pop es
        pop ds
        iretd
.there: ret

to_ring0:
        test byte [esp + S_CS], 3
        jz .there
        mov edx, [esp + S_ESP]          ; must be good: the generator has just set it
        sub edx, 12
        mov eax, [esp + S_EIP]
        mov [edx], eax
        mov dword [edx + 4], CODE0
        mov eax, [esp + S_FLAGS]
        mov [edx + 8], eax
        mov [esp + 4 + 12], edx         ; PUSHAD's ESP, which POPAD ignores
        mov eax, [esp + S_ES]
        mov [edx - 8], eax
        mov eax, [esp + S_ES + 4]
        mov [edx - 4], eax
        lea esi, [esp + 4]
        lea edi, [edx - 8 - 32]
        mov ecx, 8
        rep movsd
        lea esp, [edx - 8 - 32]
        popad
        pop es
        pop ds
        iretd
.there: ret

; The program goes on at CX in virtual-8086 mode, with its registers, from ring 3 only.
to_v86: test byte [esp + S_CS], 3
        jz .no
        mov eax, [esp + S_FLAGS]
        or eax, FLAG_VM
        lea esi, [esp + 4]
        mov edx, V86_SEGMENT
        push edx                        ; GS, FS, DS, ES
        push edx
        push edx
        push edx
        push edx                        ; SS
        push dword V86_STACK
        push eax
        push edx                        ; CS
        push ecx
        mov ecx, 8
        lea edi, [esp - 32]
        mov esp, edi
        cld
        rep movsd
        popad
        iretd
.no:    ret
