; SPDX-License-Identifier: MIT
;
; The seventeen IA-32 instructions that are sensitive and do not trap: what each returns to a
; deprivileged reader must be the virtual CPU's state, not the monitor's. All of it at CPL 3 with
; UMIP off; what is read also at CPL 0, 1 and 2.

%include "guest.inc"

LDT     equ FREE
CONF    equ FREE + 8                    ; conforming code
DATA1   equ FREE + 16                   ; DPL 1
GATE3   equ FREE + 24                   ; call gate to ring 0
CODE3B  equ (FREE + 32) | 3             ; ring 3 code with base 0 too
CODE1   equ (FREE + 40) | 1
SS1     equ (FREE + 48) | 1
CODE2   equ (FREE + 56) | 2
SS2     equ (FREE + 64) | 2

LAR_DEFINED equ 0x00f0ff00              ; the manual leaves bits 19..16 undefined

; IN3 ... OUT3: the code between runs in ring 3; its EAX, EBX, ECX, EDX are in `got` afterwards.
%macro IN3 0
        %push in3
        mov [try_esp], esp
        mov dword [resume], %$after
        RING3
%endmacro
%macro OUT3 0
        mov [got], eax
        mov [got + 4], ebx
        mov [got + 8], ecx
        mov [got + 12], edx
        int LEAVE_VECTOR
%$after:
        %pop
%endmacro

; AT_RING ring: goes on there from ring 0; DS and ES stay readable.
%macro AT_RING 1
        %push at
        mov [try_esp], esp
        mov dword [resume], %$after
%if %1 > 0
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        push dword SS%1
        push dword STACK3
        pushfd
        push dword CODE%1
        push dword %%here
        iretd
%%here:
%endif
%endmacro
%macro RING0_AGAIN 0
        int LEAVE_VECTOR
%$after:
        %pop
%endmacro

; READ_AT ring, what LAR, LSL, VERR, VERW of a segment of DPL 1 answer: what a reader there sees.
%macro READ_AT 2
        AT_RING %1
        sgdt [seen]
        sidt [seen + 8]
        sldt [seen + 16]
        str [seen + 18]
        smsw [seen + 20]
        mov eax, cs
        mov [seen + 24], eax
        push cs
        pop dword [seen + 28]
        mov eax, ss
        mov [seen + 32], eax
        push dword 0x3ed7               ; all but TF, VM
        popfd
        pushfd
        pop dword [seen + 36]
        cld
        mov edx, DATA1                  ; of DPL 1
        lar eax, edx
        setz [seen + 40]
        lsl eax, edx
        setz [seen + 41]
        verr dx
        setz [seen + 42]
        verw dx
        setz [seen + 43]
        RING0_AGAIN
%defstr number %1
%strcat reader "ring ", number, ": sgdt"
        EQUAL reader, [seen + 2], gdt
        EQUAL "  sidt", [seen + 10], idt
        EQUAL "  sldt, str", [seen + 16], LDT | TSS0 << 16
        mov ecx, cr0
        movzx ecx, cx
        movzx eax, word [seen + 20]
        EQUAL "  smsw", eax, ecx
        EQUAL "  mov eax, cs", [seen + 24], CODE%1
        movzx eax, word [seen + 28]
        EQUAL "  push cs", eax, CODE%1
%if %1 > 0
        EQUAL "  mov eax, ss", [seen + 32], SS%1
        EQUAL "  popf, pushf: IF and IOPL stay", [seen + 36], 0x0cd7
%else
        EQUAL "  mov eax, ss", [seen + 32], DATA0
        EQUAL "  popf, pushf: all that is there", [seen + 36], 0x3ed7
        push dword 2
        popfd
%endif
        EQUAL "  lar, lsl, verr, verw of DPL 1", [seen + 40], %2
%endmacro

main:
        DESC LDT, 0x22000, 0x3f, 0x82, 0
        DESC CONF, 0, 0xfffff, 0x9f, 0xc
        DESC DATA1, 0x12345, 0x6789a, 0xb3, 0x5
        GATE GATE3, CODE0, through_gate, 0xec, 1
        DESC CODE3B & ~3, 0, 0xfffff, 0xfb, 0xc
        DESC CODE1 & ~3, 0, 0xfffff, 0xbb, 0xc
        DESC SS1 & ~3, 0, 0xfffff, 0xb3, 0xc
        DESC CODE2 & ~3, 0, 0xfffff, 0xdb, 0xc
        DESC SS2 & ~3, 0, 0xfffff, 0xd3, 0xc
        mov ax, LDT
        lldt ax

        READ_AT 0, 0x01010101
        READ_AT 1, 0x01010101
        READ_AT 2, 0

        ; ---- SGDT, SIDT, SLDT, STR, SMSW ----
        IN3
        sgdt [buffer]
        sidt [buffer + 8]
        sldt eax
        str ebx
        smsw ecx
        OUT3
        EQUAL "sgdt limit", [buffer], ((gdt_end - gdt - 1) | ((gdt - $$ + BASE) & 0xffff) << 16)
        EQUAL "sgdt base", [buffer + 2], gdt
        movzx eax, word [buffer + 8]
        EQUAL "sidt limit", eax, 0x7ff
        EQUAL "sidt base", [buffer + 10], idt
        EQUAL "sldt", [got], LDT
        EQUAL "str", [got + 4], TSS0
        mov eax, cr0
        EQUAL "smsw is cr0", [got + 8], eax
        mov dword [buffer], -1
        IN3
        sldt [buffer]
        OUT3
        EQUAL "sldt to memory writes 16 bits", [buffer], 0xffff0000 | LDT
        mov dword [buffer], -1
        IN3
        mov ebx, buffer
        o32 smsw [ebx]
        OUT3
        EQUAL "smsw to memory writes 16 bits", [buffer], 0xffff0011

        ; ---- PUSHF, POPF ----
        cli
        IN3
        push dword 0x3202 | 0xd5        ; IF, IOPL 3 and all that is allowed
        popfd
        pushfd
        pop eax
        OUT3
        EQUAL "popf in ring 3 keeps IF and IOPL", [got], 0xd7
        push dword 0x3002
        popfd                           ; IOPL 3
        IN3
        sti
        pushfd
        pop eax
        cli
        pushfd
        pop ebx
        push dword 0x0202
        popfd
        pushfd
        pop ecx
        OUT3
        EQUAL "sti at IOPL 3", [got], 0x3202
        EQUAL "cli at IOPL 3", [got + 4], 0x3002
        EQUAL "popf at IOPL 3 sets IF, keeps IOPL", [got + 8], 0x3202
        push dword 2
        popfd

        ; ---- LAR, LSL, VERR, VERW ----
        IN3
        mov eax, 0xdead
        mov edx, DATA1
        lar eax, edx
        setz bl
        lsl ecx, edx
        setz bh
        OUT3
        EQUAL "lar of a DPL 1 segment leaves the register", [got], 0xdead
        movzx eax, word [got + 4]
        EQUAL "  and clears ZF, as lsl", eax, 0
        IN3
        mov edx, CODE3B
        lar eax, edx
        and eax, LAR_DEFINED
        lsl ebx, edx
        mov edx, CONF
        lar ecx, edx
        and ecx, LAR_DEFINED
        OUT3
        EQUAL "lar of ring 3 code", [got], 0x00c0fb00
        EQUAL "lsl of it", [got + 4], 0xffffffff
        EQUAL "lar of conforming ring 0 code", [got + 8], 0x00c09f00
        IN3
        mov edx, GATE3 | 3
        lar eax, edx
        and eax, 0xff00
        lsl ebx, edx
        setz bl
        movzx ebx, bl
        mov edx, 0x5000
        lar ecx, edx
        setz cl
        movzx ecx, cl
        OUT3
        EQUAL "lar of a call gate", [got], 0xec00
        EQUAL "lsl of a call gate fails", [got + 4], 0
        EQUAL "lar beyond the GDT fails", [got + 8], 0
        IN3
        xor eax, eax
        mov edx, DATA0
        verr dx
        setz al
        mov edx, DATA3
        verw dx
        setz ah
        mov edx, CODE3
        verw dx
        setz bl
        verr dx
        setz bh
        mov edx, CONF
        verr dx
        setz cl
        OUT3
        movzx eax, word [got]
        EQUAL "verr DATA0, verw DATA3", eax, 0x100
        movzx eax, word [got + 4]
        EQUAL "verw CODE3, verr CODE3", eax, 0x100
        movzx eax, byte [got + 8]
        EQUAL "verr conforming code", eax, 1
        mov edx, DATA1
        lsl eax, edx
        EQUAL "lsl with byte granularity", eax, 0x6789a
        lar eax, edx
        and eax, LAR_DEFINED
        EQUAL "lar", eax, 0x0050b300

        ; ---- segment registers ----
        IN3
        mov eax, -1
        mov eax, cs
        push cs
        pop ebx
        mov cx, ss
        movzx ecx, cx
        push ds
        pop edx
        OUT3
        EQUAL "mov eax, cs", [got], CODE3
        movzx eax, word [got + 4]
        EQUAL "push cs", eax, CODE3
        EQUAL "mov cx, ss", [got + 8], DATA3
        movzx eax, word [got + 12]
        EQUAL "push ds", eax, DATA3
        IN3
        mov ax, DATA3 & ~3              ; RPL 0: weaker than CPL, DPL 3 allows
        mov es, ax
        mov eax, es
        mov bx, 3                       ; null with RPL 3
        mov fs, bx
        mov ebx, fs
        push dword DATA3
        pop gs
        mov ecx, gs
        OUT3
        EQUAL "selector as loaded", [got], DATA3 & ~3
        EQUAL "null selector as loaded", [got + 4], 3
        EQUAL "pop gs", [got + 8], DATA3

        ; ---- far CALL, JMP, RET, INT, IRET ----
        IN3
        push dword 0x77
        call dword (GATE3 | 3):0
        mov ebx, esp
        mov ecx, cs
        OUT3
        EQUAL "call gate: parameter seen in ring 0", [got], 0x77
        EQUAL "  stack after return", [got + 4], STACK3
        EQUAL "  cs after return", [got + 8], CODE3
        EQUAL "  cs in ring 0", [gate_cs], CODE0
        IN3
        jmp dword CONF:.conf
.conf:  mov eax, cs
        jmp dword CODE3B:.back
.back:  mov ebx, cs
        OUT3
        EQUAL "conforming code keeps CPL", [got], CONF | 3
        EQUAL "jump to other ring 3 code", [got + 4], CODE3B
        IN3
        push dword CODE3B
        push dword .ret
        retf
.ret:   mov eax, cs
        pushfd
        push dword CODE3
        push dword .iret
        iretd
.iret:  mov ebx, cs
        OUT3
        EQUAL "retf", [got], CODE3B
        EQUAL "iret", [got + 4], CODE3
        TRY
        RING3
        jmp dword GATE3:0
        CAUGHT "jmp through the gate", 13, CODE0
        TRY
        RING3
        int 0x70
        CAUGHT "int 70h", 13, 0x70 * 8 + 2

        ; ---- ARPL for good measure ----
        IN3
        mov eax, 0x100
        mov ebx, 3
        arpl ax, bx
        setz cl
        movzx ecx, cl
        OUT3
        EQUAL "arpl", [got], 0x103
        EQUAL "  sets ZF", [got + 8], 1
        ret

through_gate:
        mov eax, cs
        mov [gate_cs], eax
        mov eax, [esp + 8]
        retf 4

        align 4096
got:     times 4 dd 0
gate_cs: dd 0
buffer:  times 16 db 0
seen:    times 48 db 0

        GUEST_END
