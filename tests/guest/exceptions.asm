; SPDX-License-Identifier: MIT
;
; Every exception that an instruction can cause in flat 32-bit protected mode, with its error code,
; the address that is pushed, and what wins when one instruction has several reasons.

%include "guest.inc"

%define PF_P 1
%define PF_W 2
%define PF_U 4

main:
        ; ---- faults report the instruction itself ----
        TRY
        xor edx, edx
        xor eax, eax
.de:    div eax
        CAUGHT "divide by zero", 0, 0
        EQUAL "  eip", [exc_eip], .de
        TRY
        mov eax, 0x80000000
        cdq
        mov ebx, -1
        idiv ebx
        CAUGHT "divide overflow", 0, 0
        TRY
.ud:    ud2
        CAUGHT "ud2", 6, 0
        EQUAL "  eip", [exc_eip], .ud
        TRY
        db 0x0f, 0xff, 0xc0
        CAUGHT "ud0", 6, 0
        TRY
        db 0xf0, 0x90                   ; lock nop
        CAUGHT "lock on what takes none", 6, 0
        TRY
        db 0xf0, 0x40                   ; lock inc eax
        CAUGHT "lock on a register", 6, 0
        TRY
        db 0x8e, 0xc8                   ; mov cs, ax
        CAUGHT "mov cs, ax", 6, 0
        TRY
        CR_SET cr0, CR0_TS
        fnop
        CAUGHT "x87 with TS", 7, 0
        TRY
        mov eax, cr0
        and eax, ~8
        or eax, 4                       ; EM
        mov cr0, eax
        fnop
        CAUGHT "x87 with EM", 7, 0
        TRY
        wait
        CAUGHT "wait with EM", NO_FAULT, 0
        CR_CLEAR cr0, CR0_EM

        ; ---- traps report the next instruction ----
        TRY
.bp:    int3
        CAUGHT "int3", 3, 0
        EQUAL "  eip", [exc_eip], .bp + 1
        TRY
        mov al, 0x7f
        inc al
.of:    into
        CAUGHT "into", 4, 0
        EQUAL "  eip", [exc_eip], .of + 1
        TRY
        xor eax, eax
        into
        CAUGHT "into without overflow", NO_FAULT, 0
        TRY
        int 0x45
        CAUGHT "int 45h", 0x45, 0
        TRY
        db 0xf1
        CAUGHT "int1", 1, 0
        TRY
        mov eax, 5
.br:    bound eax, [bounds]
        CAUGHT "bound", 5, 0
        EQUAL "  eip", [exc_eip], .br
        TRY
        mov eax, -2
        bound eax, [bounds]
        CAUGHT "bound inside", NO_FAULT, 0

        ; ---- segments ----
        TRY
        mov ax, 0x1000
        mov ds, ax
        CAUGHT "selector beyond the GDT", 13, 0x1000
        TRY
        mov ax, 0x44
        mov es, ax
        CAUGHT "selector of no LDT", 13, 0x44
        TRY
        xor ax, ax
        mov ss, ax
        CAUGHT "null SS", 13, 0
        TRY
        xor ax, ax
        mov es, ax
        mov eax, [es:0]
        CAUGHT "use of null ES", 13, 0
        DESC FREE, 0, 0xfffff, 0x13, 0xc
        TRY
        mov ax, FREE
        mov fs, ax
        CAUGHT "segment not present", 11, FREE
        TRY
        mov ax, FREE
        mov ss, ax
        CAUGHT "stack segment not present", 12, FREE
        DESC FREE, 0x20000, 0xff, 0x93, 0x4
        TRY
        mov ax, FREE
        mov fs, ax
        mov eax, [fs:0xfc]
        mov eax, [fs:0xfd]
        CAUGHT "beyond the limit", 13, 0
        TRY
        mov ax, FREE
        mov ss, ax
        mov esp, 0x100
        pop eax
        CAUGHT "pop beyond the limit", 12, 0
        DESC FREE, 0x20000, 0xfff, 0x97, 0x4 ; expand-down
        TRY
        mov ax, FREE
        mov fs, ax
        mov eax, [fs:0x1000]
        mov eax, [fs:0xfff]
        CAUGHT "below an expand-down limit", 13, 0
        DESC FREE, 0, 0xfffff, 0x91, 0xc
        TRY
        mov ax, FREE
        mov fs, ax
        mov [fs:exc_cr2], eax
        CAUGHT "write to read-only data", 13, 0
        TRY
        mov [cs:exc_cr2], eax
        CAUGHT "write to code", 13, 0
        DESC FREE, 0, 0xfffff, 0x99, 0xc
        TRY
        mov ax, FREE
        mov fs, ax
        CAUGHT "load of execute-only code", 13, FREE
        TRY
        jmp dword 0:0
        CAUGHT "far jump to null", 13, 0
        TRY
        jmp dword DATA0:0
        CAUGHT "far jump to data", 13, DATA0
        TRY
        call dword CODE3:0
        CAUGHT "far call to ring 3", 13, CODE3 & ~3
        TRY
        push dword 0
        push dword 0
        retf
        CAUGHT "far return to null", 13, 0

        ; ---- ring 3 ----
        TRY
        RING3
        hlt
        CAUGHT "hlt in ring 3", 13, 0
        TRY
        RING3
        cli
        CAUGHT "cli in ring 3", 13, 0
        TRY
        RING3
        in al, 0x61
        CAUGHT "in in ring 3", 13, 0
        TRY
        RING3
        mov eax, cr0
        CAUGHT "mov from cr0 in ring 3", 13, 0
        TRY
        RING3
        int 0x45
        CAUGHT "int 45h in ring 3", 13, 0x45 * 8 + 2
        TRY
        RING3
        int3
        CAUGHT "int3 in ring 3", 3, 0
        TRY
        RING3
        mov ax, DATA0
        mov ds, ax
        CAUGHT "ring 0 data in ring 3", 13, DATA0
        TRY
        RING3
        wbinvd
        CAUGHT "wbinvd in ring 3", 13, 0
        TRY
        RING3
        mov ecx, 0x10
        rdmsr
        CAUGHT "rdmsr in ring 3", 13, 0
        TRY
        RING3
        lgdt [gdt_pointer]
        CAUGHT "lgdt in ring 3", 13, 0
        TRY
        RING3
        push dword CODE0
        push dword 0
        retf
        CAUGHT "far return to ring 0 code", 13, CODE0

        ; ---- alignment ----
        CR_SET cr0, CR0_AM
        TRY
        RING3
        pushfd
        or dword [esp], 1 << 18
        popfd
        mov eax, [0x20001]
        CAUGHT "unaligned in ring 3 with AC", 17, 0
        TRY
        pushfd
        or dword [esp], 1 << 18
        popfd
        mov eax, [0x20001]
        CAUGHT "unaligned in ring 0 with AC", NO_FAULT, 0
        push dword 2
        popfd

        ; ---- several reasons ----
        TRY
        RING3
        db 0xf0, 0x0f, 0x22, 0xc0       ; lock mov cr0, eax
        CAUGHT "undefined before privilege", 6, 0
        TRY
        times 15 db 0x66
        nop
        CAUGHT "16 bytes long", 13, 0
        TRY
        lidt [short_idt]
        int 0x21
        CAUGHT "vector beyond the IDT", 13, 0x21 * 8 + 2
        ret

        align 4
bounds: dd -3, 4
short_idt:
        dw 0x20 * 8 + 7
        dd idt

        GUEST_END
