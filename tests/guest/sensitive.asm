; SPDX-License-Identifier: MIT
;
; The seventeen IA-32 instructions that are sensitive and do not trap: SGDT, SIDT, SLDT, STR, SMSW,
; PUSHF, POPF, LAR, LSL, VERR, VERW, MOV from and PUSH of a segment register, POP of one, far CALL,
; JMP and RET, INT n; and STI, CLI and IRET, their neighbours. What each returns to a deprivileged
; reader must be the virtual CPU's state, not the monitor's. Two parts: what is read, and a table of
; what is attempted (`rows`), with what the manual says of it at CPL 0, 1, 2 and 3. UMIP is off.

%define ROUNDS 100
%include "guest.inc"

LDT     equ FREE
CONF0   equ FREE + 0x08                 ; conforming code, DPL 0
CONF2   equ FREE + 0x10                 ; and DPL 2
BYTES1  equ FREE + 0x18                 ; DPL 1, byte granularity
CODE1   equ (FREE + 0x20) | 1
DATA1   equ (FREE + 0x28) | 1
CODE2   equ (FREE + 0x30) | 2
DATA2   equ (FREE + 0x38) | 2
CODE3B  equ (FREE + 0x40) | 3           ; another one for ring 3
EXONLY3 equ (FREE + 0x48) | 3           ; execute-only
ABSENT3 equ (FREE + 0x50) | 3           ; data, not present
GATE0   equ FREE + 0x58                 ; call gates to CODE0, of DPL 0 to 3
GATE1   equ FREE + 0x60
GATE2   equ FREE + 0x68
GATE3   equ FREE + 0x70
TO1     equ FREE + 0x78                 ; of DPL 3, to others
TO2     equ FREE + 0x80
TO3     equ FREE + 0x88
TO_CONF0 equ FREE + 0x90
TO_CONF2 equ FREE + 0x98

STACK1  equ 0xd000                      ; in the TSS
STACK2  equ 0xc000

LAR_DEFINED equ 0x00f0ff00              ; the manual leaves bits 19..16 undefined

; AT_RING ring: goes on there; DS and ES are DATA3. Back by RING0_AGAIN.
%macro AT_RING 1
        %push at
        mov [try_esp], esp
        mov dword [resume], %$after
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        push dword DATA%1
        push dword STACK3
        pushfd
        push dword CODE%1
        push dword %%here
        iretd                           ; for ring 0, the stack stays
%%here:
%endmacro
%macro RING0_AGAIN 0
        int LEAVE_VECTOR
%$after:
        %pop
%endmacro

; IN3 ... OUT3: the code between runs in ring 3; its EAX, EBX, ECX, EDX are in `got` afterwards.
%macro IN3 0
        AT_RING 3
%endmacro
%macro OUT3 0
        mov [got], eax
        mov [got + 4], ebx
        mov [got + 8], ecx
        mov [got + 12], edx
        RING0_AGAIN
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
        mov edx, BYTES1
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
        EQUAL "  mov eax, ss", [seen + 32], DATA%1
        EQUAL "  popf, pushf: IF and IOPL stay", [seen + 36], 0x0cd7
%else
        EQUAL "  mov eax, ss", [seen + 32], DATA0
        EQUAL "  popf, pushf: all that is there", [seen + 36], 0x3ed7
        push dword 2
        popfd
%endif
        EQUAL "  lar, lsl, verr, verw of DPL 1", [seen + 40], %2
%endmacro

; INT_GATE vector, target, DPL
%macro INT_GATE 3
        HOOK %1, arrived
        mov word [idt + (%1) * 8 + 2], %2
        mov byte [idt + (%1) * 8 + 5], 0x8e | (%3) << 5
%endmacro

main:
        call no_interrupts
        call make_segments
        call make_gates
        READ_AT 0, 0x01010101
        READ_AT 1, 0x01010101
        READ_AT 2, 0
        READ_AT 3, 0
        call read_values
        call try_rows
        ret

make_segments:
        DESC LDT, 0x22000, 0x3f, 0x82, 0
        DESC CONF0, 0, 0xfffff, 0x9f, 0xc
        DESC CONF2, 0, 0xfffff, 0xdf, 0xc
        DESC BYTES1, 0x12345, 0x6789a, 0xb3, 0x5
        DESC CODE1 & ~3, 0, 0xfffff, 0xbb, 0xc
        DESC DATA1 & ~3, 0, 0xfffff, 0xb3, 0xc
        DESC CODE2 & ~3, 0, 0xfffff, 0xdb, 0xc
        DESC DATA2 & ~3, 0, 0xfffff, 0xd3, 0xc
        DESC CODE3B & ~3, 0, 0xfffff, 0xfb, 0xc
        DESC EXONLY3 & ~3, 0, 0xfffff, 0xf9, 0xc
        DESC ABSENT3 & ~3, 0, 0xfffff, 0x73, 0xc
        mov ax, LDT
        lldt ax
        mov dword [tss + 12], STACK1
        mov dword [tss + 16], DATA1
        mov dword [tss + 20], STACK2
        mov dword [tss + 24], DATA2
        ret

make_gates:
        GATE GATE0, CODE0, arrived, 0x8c, 0
        GATE GATE1, CODE0, arrived, 0xac, 0
        GATE GATE2, CODE0, arrived, 0xcc, 0
        GATE GATE3, CODE0, arrived, 0xec, 0
        GATE TO1, CODE1, arrived, 0xec, 0
        GATE TO2, CODE2, arrived, 0xec, 0
        GATE TO3, CODE3, arrived, 0xec, 0
        GATE TO_CONF0, CONF0, arrived, 0xec, 0
        GATE TO_CONF2, CONF2, arrived, 0xec, 0
        INT_GATE 3, CODE0, 1
        INT_GATE 4, CODE0, 2
        INT_GATE 0x70, CODE0, 0
        INT_GATE 0x71, CODE0, 1
        INT_GATE 0x72, CODE0, 2
        INT_GATE 0x73, CODE0, 3
        INT_GATE 0x74, CODE1, 3
        INT_GATE 0x75, CODE2, 3
        INT_GATE 0x76, CODE3, 3
        INT_GATE 0x77, CONF0, 3
        INT_GATE 0x78, CONF2, 3
        ret

; ---- what is read ----
read_values:
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

        ; ---- LAR, LSL, VERR, VERW ----
        IN3
        mov eax, 0xdead
        mov edx, BYTES1
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
        mov edx, CONF0
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
        mov edx, CONF0
        verr dx
        setz cl
        OUT3
        movzx eax, word [got]
        EQUAL "verr DATA0, verw DATA3", eax, 0x100
        movzx eax, word [got + 4]
        EQUAL "verw CODE3, verr CODE3", eax, 0x100
        movzx eax, byte [got + 8]
        EQUAL "verr conforming code", eax, 1
        mov edx, BYTES1
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

; ---- what is attempted ----

; What comes of it: a value below 1 0000h (CS after a transfer of control, the selector, the flags),
; or a fault with its error code.
%define GP(selector)        (13 << 16 | ((selector) & 0xfffc))
%define GP_VECTOR(vector)   (13 << 16 | (vector) << 3 | 2)
%define NP(selector)        (11 << 16 | ((selector) & 0xfffc))
%define STACK_NP(selector)  (12 << 16 | ((selector) & 0xfffc))

ROW_ACTION  equ 0
ROW_OPERAND equ 4
ROW_FLAGS   equ 8                       ; EFLAGS before it
ROW_RESULTS equ 12                      ; at CPL 0, 1, 2, 3
ROW_NAME    equ 28
ROW_BYTES   equ 64

; ROW "name", action, operand, flags, results
%macro ROW 8
        dd %2, %3, %4, %5, %6, %7, %8
%%name: db %1, 0
        times ROW_BYTES - ROW_NAME - ($ - %%name) db 0
%endmacro

; JUMPS, CALLS selector, results
%macro JUMPS 5
%defstr selector %1
%strcat row_name "jmp far ", selector
        ROW row_name, do_jmp, %1, 2, %2, %3, %4, %5
%endmacro
%macro CALLS 5
%defstr selector %1
%strcat row_name "call far ", selector
        ROW row_name, do_call, %1, 2, %2, %3, %4, %5
%endmacro
; Both, where they are alike
%macro GOES 5
        JUMPS %1, %2, %3, %4, %5
        CALLS %1, %2, %3, %4, %5
%endmacro

; RETURNS cs, ss, results: RETF and IRET
%macro RETURNS 6
%defstr selector %1
%defstr stack %2
%strcat row_name "retf ", selector, ", ", stack
        ROW row_name, do_retf, (%2) << 16 | (%1), 2, %3, %4, %5, %6
%strcat row_name "iret ", selector, ", ", stack
        ROW row_name, do_iret, (%2) << 16 | (%1), 2, %3, %4, %5, %6
%endmacro

; INTS vector, results
%macro INTS 5
%defstr vector %1
%strcat row_name "int ", vector
        ROW row_name, do_int_%1, 0, 2, %2, %3, %4, %5
%endmacro

; POPS selector, results: into each register for data
%macro POPS 5
%defstr selector %1
%strcat row_name "pop ds ", selector
        ROW row_name, do_pop_ds, %1, 2, %2, %3, %4, %5
%strcat row_name "pop es ", selector
        ROW row_name, do_pop_es, %1, 2, %2, %3, %4, %5
%strcat row_name "pop fs ", selector
        ROW row_name, do_pop_fs, %1, 2, %2, %3, %4, %5
%strcat row_name "pop gs ", selector
        ROW row_name, do_pop_gs, %1, 2, %2, %3, %4, %5
%endmacro
%macro POPS_SS 5
%defstr selector %1
%strcat row_name "pop ss ", selector
        ROW row_name, do_pop_ss, %1, 2, %2, %3, %4, %5
%endmacro

IF      equ 0x202                       ; with the bit that is always set
NO_IF   equ 0x002
IOPL1   equ 1 << 12
IOPL2   equ 2 << 12
IOPL3   equ 3 << 12

; POPFS "name", value popped, flags before, results: of 32 and of 16 bits
%macro POPFS 7
%strcat row_name "popfd ", %1
        ROW row_name, do_popfd, %2, %3, %4, %5, %6, %7
%strcat row_name "popfw ", %1
        ROW row_name, do_popfw, %2, %3, %4, %5, %6, %7
%endmacro

        align 4
rows:
        ; The same privilege but for conforming code, which keeps CPL. RPL counts when it is the weaker,
        ; and never for conforming code.
        GOES CODE0,      CODE0,      GP(CODE0),  GP(CODE0),  GP(CODE0)
        GOES CODE0 | 3,  GP(CODE0),  GP(CODE0),  GP(CODE0),  GP(CODE0)
        GOES CODE1,      GP(CODE1),  CODE1,      GP(CODE1),  GP(CODE1)
        GOES CODE1 & ~3, GP(CODE1),  CODE1,      GP(CODE1),  GP(CODE1)
        GOES CODE2,      GP(CODE2),  GP(CODE2),  CODE2,      GP(CODE2)
        GOES CODE2 & ~3, GP(CODE2),  GP(CODE2),  CODE2,      GP(CODE2)
        GOES CODE3,      GP(CODE3),  GP(CODE3),  GP(CODE3),  CODE3
        GOES CODE3B & ~3, GP(CODE3B), GP(CODE3B), GP(CODE3B), CODE3B
        GOES CONF0,      CONF0,      CONF0 | 1,  CONF0 | 2,  CONF0 | 3
        GOES CONF0 | 3,  CONF0,      CONF0 | 1,  CONF0 | 2,  CONF0 | 3
        GOES CONF2,      GP(CONF2),  GP(CONF2),  CONF2 | 2,  CONF2 | 3
        GOES EXONLY3,    GP(EXONLY3), GP(EXONLY3), GP(EXONLY3), EXONLY3
        GOES DATA3,      GP(DATA3),  GP(DATA3),  GP(DATA3),  GP(DATA3)
        GOES LDT,        GP(LDT),    GP(LDT),    GP(LDT),    GP(LDT)
        GOES TSS0,       GP(TSS0),   GP(TSS0),   GP(TSS0),   GP(TSS0) ; busy, and of DPL 0
        GOES 0,          GP(0),      GP(0),      GP(0),      GP(0)

        ; Through gates: first the gate's DPL, then the target's
        CALLS GATE0,     CODE0,      GP(GATE0),  GP(GATE0),  GP(GATE0)
        CALLS GATE0 | 1, GP(GATE0),  GP(GATE0),  GP(GATE0),  GP(GATE0)
        CALLS GATE1,     CODE0,      CODE0,      GP(GATE1),  GP(GATE1)
        CALLS GATE1 | 2, GP(GATE1),  GP(GATE1),  GP(GATE1),  GP(GATE1)
        CALLS GATE2,     CODE0,      CODE0,      CODE0,      GP(GATE2)
        CALLS GATE2 | 2, CODE0,      CODE0,      CODE0,      GP(GATE2)
        CALLS GATE3,     CODE0,      CODE0,      CODE0,      CODE0
        CALLS GATE3 | 3, CODE0,      CODE0,      CODE0,      CODE0
        CALLS TO1,       GP(CODE1),  CODE1,      CODE1,      CODE1
        CALLS TO2,       GP(CODE2),  GP(CODE2),  CODE2,      CODE2
        CALLS TO3,       GP(CODE3),  GP(CODE3),  GP(CODE3),  CODE3
        JUMPS GATE0,     CODE0,      GP(GATE0),  GP(GATE0),  GP(GATE0)
        JUMPS GATE0 | 1, GP(GATE0),  GP(GATE0),  GP(GATE0),  GP(GATE0)
        JUMPS GATE1,     CODE0,      GP(CODE0),  GP(GATE1),  GP(GATE1)
        JUMPS GATE2,     CODE0,      GP(CODE0),  GP(CODE0),  GP(GATE2)
        JUMPS GATE3 | 3, CODE0,      GP(CODE0),  GP(CODE0),  GP(CODE0)
        JUMPS TO1,       GP(CODE1),  CODE1,      GP(CODE1),  GP(CODE1)
        JUMPS TO2,       GP(CODE2),  GP(CODE2),  CODE2,      GP(CODE2)
        JUMPS TO3,       GP(CODE3),  GP(CODE3),  GP(CODE3),  CODE3
        GOES TO_CONF0,   CONF0,      CONF0 | 1,  CONF0 | 2,  CONF0 | 3
        GOES TO_CONF2,   GP(CONF2),  GP(CONF2),  CONF2 | 2,  CONF2 | 3

        ; Never inward; outward with a stack of the new privilege, which RPL and DPL must both have
        RETURNS CODE0, DATA0,      CODE0,      GP(CODE0),  GP(CODE0),  GP(CODE0)
        RETURNS CODE1, DATA1,      CODE1,      CODE1,      GP(CODE1),  GP(CODE1)
        RETURNS CODE2, DATA2,      CODE2,      CODE2,      CODE2,      GP(CODE2)
        RETURNS CODE3, DATA3,      CODE3,      CODE3,      CODE3,      CODE3
        RETURNS CODE0 | 1, DATA1,  GP(CODE0),  GP(CODE0),  GP(CODE0),  GP(CODE0)
        RETURNS CODE1 | 3, DATA3,  GP(CODE1),  GP(CODE1),  GP(CODE1),  GP(CODE1)
        RETURNS CODE3 & ~3, DATA3, GP(CODE3),  GP(CODE3),  GP(CODE3),  GP(CODE3)
        RETURNS CONF0, DATA0,      CONF0,      GP(CONF0),  GP(CONF0),  GP(CONF0)
        RETURNS CONF0 | 1, DATA1,  CONF0 | 1,  CONF0 | 1,  GP(CONF0),  GP(CONF0)
        RETURNS CONF0 | 3, DATA3,  CONF0 | 3,  CONF0 | 3,  CONF0 | 3,  CONF0 | 3
        RETURNS CONF2 | 1, DATA1,  GP(CONF2),  GP(CONF2),  GP(CONF2),  GP(CONF2)
        RETURNS CONF2 | 2, DATA2,  CONF2 | 2,  CONF2 | 2,  CONF2 | 2,  GP(CONF2)
        RETURNS CONF2 | 3, DATA3,  CONF2 | 3,  CONF2 | 3,  CONF2 | 3,  CONF2 | 3
        RETURNS CODE3, DATA2,      GP(DATA2),  GP(DATA2),  GP(DATA2),  CODE3
        RETURNS CODE3, DATA3 & ~3, GP(DATA3),  GP(DATA3),  GP(DATA3),  CODE3
        RETURNS CODE3, DATA2 | 3,  GP(DATA2),  GP(DATA2),  GP(DATA2),  CODE3
        RETURNS CODE3, CODE3,      GP(CODE3),  GP(CODE3),  GP(CODE3),  CODE3
        RETURNS CODE3, 0,          GP(0),      GP(0),      GP(0),      CODE3
        RETURNS CODE3, ABSENT3,    STACK_NP(ABSENT3), STACK_NP(ABSENT3), STACK_NP(ABSENT3), CODE3
        RETURNS CODE2, DATA3,      GP(DATA3),  GP(DATA3),  CODE2,      GP(CODE2)
        RETURNS DATA3, DATA3,      GP(DATA3),  GP(DATA3),  GP(DATA3),  GP(DATA3)
        RETURNS 0, DATA3,          GP(0),      GP(0),      GP(0),      GP(0)

        ; First the gate's DPL, then the target's; RPL does not count
        INTS 0x70, CODE0,      GP_VECTOR(0x70), GP_VECTOR(0x70), GP_VECTOR(0x70)
        INTS 0x71, CODE0,      CODE0,           GP_VECTOR(0x71), GP_VECTOR(0x71)
        INTS 0x72, CODE0,      CODE0,           CODE0,           GP_VECTOR(0x72)
        INTS 0x73, CODE0,      CODE0,           CODE0,           CODE0
        INTS 0x74, GP(CODE1),  CODE1,           CODE1,           CODE1
        INTS 0x75, GP(CODE2),  GP(CODE2),       CODE2,           CODE2
        INTS 0x76, GP(CODE3),  GP(CODE3),       GP(CODE3),       CODE3
        INTS 0x77, CONF0,      CONF0 | 1,       CONF0 | 2,       CONF0 | 3
        INTS 0x78, GP(CONF2),  GP(CONF2),       CONF2 | 2,       CONF2 | 3
        ROW "int3", do_int3, 0, 2, CODE0, CODE0, GP_VECTOR(3), GP_VECTOR(3)
        ROW "into", do_into, 0, 0x802, CODE0, CODE0, CODE0, GP_VECTOR(4)
        ROW "into without OF", do_into, 0, 2, 0, 0, 0, 0

        ; For data DPL is at least CPL and RPL, conforming code is for all
        POPS DATA0,      DATA0,      GP(DATA0),  GP(DATA0),  GP(DATA0)
        POPS DATA0 | 3,  GP(DATA0),  GP(DATA0),  GP(DATA0),  GP(DATA0)
        POPS DATA1,      DATA1,      DATA1,      GP(DATA1),  GP(DATA1)
        POPS DATA2,      DATA2,      DATA2,      DATA2,      GP(DATA2)
        POPS DATA2 | 3,  GP(DATA2),  GP(DATA2),  GP(DATA2),  GP(DATA2)
        POPS DATA3,      DATA3,      DATA3,      DATA3,      DATA3
        POPS DATA3 & ~3, DATA3 & ~3, DATA3 & ~3, DATA3 & ~3, DATA3 & ~3
        POPS CODE1,      CODE1,      CODE1,      GP(CODE1),  GP(CODE1)
        POPS CONF0 | 3,  CONF0 | 3,  CONF0 | 3,  CONF0 | 3,  CONF0 | 3
        POPS EXONLY3,    GP(EXONLY3), GP(EXONLY3), GP(EXONLY3), GP(EXONLY3)
        POPS ABSENT3,    NP(ABSENT3), NP(ABSENT3), NP(ABSENT3), NP(ABSENT3)
        POPS TSS0,       GP(TSS0),   GP(TSS0),   GP(TSS0),   GP(TSS0)
        POPS 0,          0,          0,          0,          0
        POPS 3,          3,          3,          3,          3
        ; For a stack both are CPL
        POPS_SS DATA0,      DATA0,       GP(DATA0),   GP(DATA0),   GP(DATA0)
        POPS_SS DATA1,      GP(DATA1),   DATA1,       GP(DATA1),   GP(DATA1)
        POPS_SS DATA2,      GP(DATA2),   GP(DATA2),   DATA2,       GP(DATA2)
        POPS_SS DATA3,      GP(DATA3),   GP(DATA3),   GP(DATA3),   DATA3
        POPS_SS DATA3 & ~3, GP(DATA3),   GP(DATA3),   GP(DATA3),   GP(DATA3)
        POPS_SS DATA2 | 3,  GP(DATA2),   GP(DATA2),   GP(DATA2),   GP(DATA2)
        POPS_SS CODE3,      GP(CODE3),   GP(CODE3),   GP(CODE3),   GP(CODE3)
        POPS_SS ABSENT3,    GP(ABSENT3), GP(ABSENT3), GP(ABSENT3), STACK_NP(ABSENT3)
        POPS_SS 0,          GP(0),       GP(0),       GP(0),       GP(0)
        POPS_SS 3,          GP(0),       GP(0),       GP(0),       GP(0)

        ; CLI and STI fault where IOPL is below CPL
        ROW "sti, IOPL 0", do_sti, 0, NO_IF,         IF,         GP(0),      GP(0),      GP(0)
        ROW "sti, IOPL 1", do_sti, 0, IOPL1 | NO_IF, IOPL1 | IF, IOPL1 | IF, GP(0),      GP(0)
        ROW "sti, IOPL 2", do_sti, 0, IOPL2 | NO_IF, IOPL2 | IF, IOPL2 | IF, IOPL2 | IF, GP(0)
        ROW "sti, IOPL 3", do_sti, 0, IOPL3 | NO_IF, IOPL3 | IF, IOPL3 | IF, IOPL3 | IF, IOPL3 | IF
        ROW "cli, IOPL 0", do_cli, 0, IF,         NO_IF,         GP(0),         GP(0),         GP(0)
        ROW "cli, IOPL 1", do_cli, 0, IOPL1 | IF, IOPL1 | NO_IF, IOPL1 | NO_IF, GP(0),         GP(0)
        ROW "cli, IOPL 2", do_cli, 0, IOPL2 | IF, IOPL2 | NO_IF, IOPL2 | NO_IF, IOPL2 | NO_IF, GP(0)
        ROW "cli, IOPL 3", do_cli, 0, IOPL3 | IF, IOPL3 | NO_IF, IOPL3 | NO_IF, IOPL3 | NO_IF, IOPL3 | NO_IF
        ; POPF leaves IF there, and IOPL to all but CPL 0
        POPFS "IF, IOPL 0",  IOPL3 | IF, NO_IF,         IOPL3 | IF, NO_IF,      NO_IF,         NO_IF
        POPFS "IF, IOPL 1",  IOPL3 | IF, IOPL1 | NO_IF, IOPL3 | IF, IOPL1 | IF, IOPL1 | NO_IF, IOPL1 | NO_IF
        POPFS "IF, IOPL 2",  IOPL3 | IF, IOPL2 | NO_IF, IOPL3 | IF, IOPL2 | IF, IOPL2 | IF,    IOPL2 | NO_IF
        POPFS "IF, IOPL 3",  IF,         IOPL3 | NO_IF, IF,         IOPL3 | IF, IOPL3 | IF,    IOPL3 | IF
        POPFS "no IF, IOPL 0", IOPL3,    IF,            IOPL3 | NO_IF, IF,            IF,            IF
        POPFS "no IF, IOPL 1", IOPL3,    IOPL1 | IF,    IOPL3 | NO_IF, IOPL1 | NO_IF, IOPL1 | IF,    IOPL1 | IF
        POPFS "no IF, IOPL 2", IOPL3,    IOPL2 | IF,    IOPL3 | NO_IF, IOPL2 | NO_IF, IOPL2 | NO_IF, IOPL2 | IF
        POPFS "no IF, IOPL 3", 0,        IOPL3 | IF,    NO_IF,         IOPL3 | NO_IF, IOPL3 | NO_IF, IOPL3 | NO_IF
rows_end:

rings_code:  dd CODE0, CODE1, CODE2, CODE3
rings_stack: dd DATA0, DATA1, DATA2, DATA3

try_rows:
        mov dword [displaced], 0
        mov dword [pointer], arrived
        mov dword [row], rows
.row:   mov dword [ring], 0
.ring:  call try_row
        inc dword [ring]
        cmp dword [ring], 4
        jb .ring
        add dword [row], ROW_BYTES
        cmp dword [row], rows_end
        jb .row
        EQUAL "faults leave EIP, ESP, CS and flags", [displaced], 0
        ret

; The action starts with its operand in EDX, the upper half of it in ECX, EAX and EBX 0, on STACK3
; but in ring 0.
try_row:
        TRY
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        mov esi, [row]
        mov ebx, [ring]
        push dword [rings_stack + ebx * 4]
        push dword STACK3
        push dword [esi + ROW_FLAGS]
        push dword [rings_code + ebx * 4]
        push dword [esi + ROW_ACTION]
        mov edx, [esi + ROW_OPERAND]
        movzx ecx, word [esi + ROW_OPERAND + 2]
        xor eax, eax
        xor ebx, ebx
        iretd
        CAUGHT_QUIETLY
        mov ebx, [ring]
        mov esi, [row]
        mov eax, [exc_eax]
        cmp dword [exc_vector], NO_FAULT
        je .seen
        call check_place
        mov eax, [exc_vector]
        shl eax, 16
        or eax, [exc_error]
.seen:  mov ebx, [esi + ROW_RESULTS + ebx * 4]
        add esi, ROW_NAME
        mov [check_seen], eax
        mov [check_expected], ebx
        mov dword [check_expected + 4], 0
        cmp eax, ebx
        mov eax, print_row
        je right
        jmp wrong

; A fault changes nothing. EBX ring, ESI row; kept.
check_place:
        mov ecx, [exc_eip]
        sub ecx, [attempt_eip]
        mov eax, [exc_esp_before]
        sub eax, [attempt_esp]
        or ecx, eax
        mov eax, [exc_cs]
        xor eax, [rings_code + ebx * 4]
        or ecx, eax
        mov eax, [exc_eflags]
        xor eax, [esi + ROW_FLAGS]
        and eax, ~0x10000               ; RF is set
        or ecx, eax
        jz .end
        inc dword [displaced]
.end:   ret

print_row:
        mov esi, text_at_cpl
        call puts
        mov eax, [ring]
        call puthex
        cmp dword [exc_vector], NO_FAULT
        je print_value
        jmp print_fault
text_at_cpl: db ", CPL ", 0

; The next instruction is the one that may fault.
%macro ATTEMPT 0
        mov dword [attempt_eip], %%here
        mov [attempt_esp], esp
%%here:
%endmacro

do_jmp: mov [pointer + 4], dx
        ATTEMPT
        jmp far [pointer]
do_call:
        mov [pointer + 4], dx
        mov ebx, cs
        ATTEMPT
        call far [pointer]
do_retf:
        push ecx
        push dword STACK3
        movzx ecx, dx
        push ecx
        push dword arrived
        ATTEMPT
        retf
do_iret:
        push ecx
        push dword STACK3
        push dword 2
        movzx ecx, dx
        push ecx
        push dword arrived
        ATTEMPT
        iretd

; Where transfers of control lead. In EBX the old CS, when it has to be on the stack, or 0.
arrived:
        test ebx, ebx
        jz .cs
        movzx ecx, word [ss:esp + 4]
        cmp ecx, ebx
        jne .wrong
.cs:    mov eax, cs
.wrong: int LEAVE_VECTOR                ; EAX is 0

; DO_INT name, instruction
%macro DO_INT 2+
do_%1:  mov ebx, cs
        ATTEMPT
        %2
        int LEAVE_VECTOR
%endmacro
        DO_INT int3, int3
        DO_INT into, into
        DO_INT int_0x70, int 0x70
        DO_INT int_0x71, int 0x71
        DO_INT int_0x72, int 0x72
        DO_INT int_0x73, int 0x73
        DO_INT int_0x74, int 0x74
        DO_INT int_0x75, int 0x75
        DO_INT int_0x76, int 0x76
        DO_INT int_0x77, int 0x77
        DO_INT int_0x78, int 0x78

%macro DO_POP 1
do_pop_%1:
        push edx
        ATTEMPT
        pop %1
        mov eax, %1
        int LEAVE_VECTOR
%endmacro
        DO_POP ds
        DO_POP es
        DO_POP fs
        DO_POP gs
        DO_POP ss

do_sti: ATTEMPT
        sti
        jmp flags_seen
do_cli: ATTEMPT
        cli
        jmp flags_seen
do_popfd:
        push edx
        popfd
        jmp flags_seen
do_popfw:
        push dx
        popfw
flags_seen:
        pushfd
        pop eax
        int LEAVE_VECTOR

        align 4096
got:     times 4 dd 0
buffer:  times 16 db 0
seen:    times 48 db 0
pointer: dd 0                           ; of far jumps and calls
         dw 0
        align 4
row:     dd 0
ring:    dd 0
attempt_eip: dd 0
attempt_esp: dd 0
displaced:   dd 0                       ; faults that changed something

        GUEST_END
