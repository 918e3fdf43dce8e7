; SPDX-License-Identifier: MIT
;
; Debug exceptions: single-step, breakpoints on instructions, data and ports, RF, general detect,
; and what MOV SS does to all of them. A hook at vector 1 takes notes and returns.

%include "guest.inc"

; Starts a note-taking run.
%macro START 0
        mov dword [db_count], 0
        mov dword [db_eips], 0
        mov dword [db_eips + 4], 0
        mov dword [db_eips + 8], 0
        mov dword [db_first_dr6], 0
        mov dword [db_flags], 0
        xor eax, eax
        mov dr6, eax
%endmacro

%macro STEP_ON 0
        pushfd
        or dword [esp], 0x100
        popfd
%endmacro
%macro STEP_OFF 0
        pushfd
        and dword [esp], ~0x100
        popfd
%endmacro

DR7_EXEC0  equ 0x00000402
DR7_WRITE1 equ 0x00d00408               ; four bytes at DR1, writes
DR7_RW1    equ 0x00f00408
DR7_WORD1  equ 0x00500408               ; two bytes, writes
DR7_IO2    equ 0x02000420

main:
        HOOK 1, db_handler

        ; ---- single-step ----
        START
        STEP_ON
.s0:    nop
.s1:    nop
.s2:    STEP_OFF
.s3:    EQUAL "steps of nop, nop, pushf, and, popf", [db_count], 5
        EQUAL "  first after the first nop", [db_eips], .s1
        EQUAL "  dr6", [db_first_dr6], 0xffff4ff0
        EQUAL "  pushed TF", [db_flags], 0x142

        START                           ; MOV SS: no trap after it, one after its successor
        mov ecx, DATA0
        STEP_ON
        mov ss, cx
.m1:    nop
.m2:    STEP_OFF
        EQUAL "steps over mov ss", [db_eips], .m2

        START                           ; each iteration of REP
        mov ecx, 3
        mov edi, 0x20000
        xor eax, eax
        cld
        STEP_ON
.r0:    rep stosb
.r1:    STEP_OFF
        EQUAL "steps of rep stosb, 3 times", [db_count], 6
        EQUAL "  between iterations at the instruction", [db_eips + 4], .r0
        EQUAL "  then behind it", [db_eips + 8], .r1

        START                           ; INT n clears TF and does not trap itself
        HOOK 0x50, int_handler
        STEP_ON
        int 0x50
.i1:    nop
.i2:    STEP_OFF
        EQUAL "steps over int: iret traps no sooner than", [db_eips], .i2

        START                           ; POPF that clears TF still traps
        STEP_ON
        push dword 2
        popfd
.p1:    EQUAL "popf ends stepping with a trap behind it", [db_eips + 4], .p1

        START
        mov ecx, 2                      ; a branch is one step
        STEP_ON
.l0:    loop .l0
.l1:    STEP_OFF
        EQUAL "steps of a loop", [db_eips], .l0
        EQUAL "  and out of it", [db_eips + 4], .l1

        START                           ; a faulting instruction does not trap
        TRY
        STEP_ON
        ud2
        CAUGHT "ud2 while stepping", 6, 0
        EQUAL "  traps before it", [db_count], 0

        ; ---- instruction breakpoints ----
        START
        mov eax, .b0
        mov dr0, eax
        mov eax, DR7_EXEC0
        mov dr7, eax
        nop
.b0:    nop
        xor eax, eax
        mov dr7, eax
        EQUAL "breakpoint hits once (the handler sets RF)", [db_count], 1
        EQUAL "  before the instruction", [db_eips], .b0
        EQUAL "  dr6", [db_first_dr6], 0xffff0ff1
        EQUAL "  pushed RF is clear", [db_flags], 0x42

        START                           ; RF covers one instruction only
        mov eax, .c0
        mov dr0, eax
        mov eax, DR7_EXEC0
        mov dr7, eax
        mov ecx, 3
.c0:    loop .c0
        xor eax, eax
        mov dr7, eax
        EQUAL "breakpoint on a loop of 3", [db_count], 3

        START                           ; a REP instruction is met once
        mov eax, .d0
        mov dr0, eax
        mov eax, DR7_EXEC0
        mov dr7, eax
        mov ecx, 100
        mov edi, 0x20000
.d0:    rep stosb
        xor eax, eax
        mov dr7, eax
        EQUAL "breakpoint on rep stosb", [db_count], 1

        START                           ; IRET to it with RF set passes
        mov eax, .e0
        mov dr0, eax
        mov eax, DR7_EXEC0
        mov dr7, eax
        pushfd
        or dword [esp], 0x10000
        push cs
        push dword .e0
        iretd
.e0:    nop
        xor eax, eax
        mov dr7, eax
        EQUAL "iret with RF passes", [db_count], 0

        START                           ; POPF does not set RF
        mov eax, .f0
        mov dr0, eax
        mov eax, DR7_EXEC0
        mov dr7, eax
        pushfd
        or dword [esp], 0x10000
        popfd
.f0:    nop
        xor eax, eax
        mov dr7, eax
        EQUAL "popf with RF does not", [db_count], 1

        ; ---- data breakpoints ----
        START
        mov eax, 0x20010
        mov dr1, eax
        mov eax, DR7_WRITE1
        mov dr7, eax
        mov eax, [0x20010]
        mov [0x20014], eax
        mov [0x2000c], eax
        mov byte [0x20013], 1
.g1:    nop
        EQUAL "one byte of four written", [db_count], 1
        EQUAL "  traps behind", [db_eips], .g1
        EQUAL "  dr6", [db_first_dr6], 0xffff0ff2
        START
        mov [0x2000e], eax              ; crosses into it
        EQUAL "overlapping write", [db_count], 1
        START
        mov eax, DR7_RW1
        mov dr7, eax
        mov eax, [0x20010]
        push dword [0x20010]
        pop dword [0x20010]
        EQUAL "reads and writes", [db_count], 3
        START
        mov eax, DR7_WORD1
        mov dr7, eax
        mov byte [0x20012], 1
        mov byte [0x20011], 1
        EQUAL "two bytes watched", [db_count], 1
        START
        mov eax, DR7_WRITE1
        mov dr7, eax
        cld
        mov edi, 0x2000c
        mov ecx, 12
        xor eax, eax
.h0:    rep stosb
        EQUAL "rep stosb over it traps at each byte", [db_count], 4
        EQUAL "  at the instruction", [db_eips], .h0

        START                           ; MOV SS from a watched word: after the next instruction
        mov eax, DR7_RW1
        mov dr7, eax
        mov word [0x20010], DATA0
        mov dword [db_count], 0
        mov ss, [0x20010]
        nop
.j2:    nop
        EQUAL "mov ss from it: one instruction late", [db_eips], .j2
        xor eax, eax
        mov dr7, eax

        ; ---- ports ----
        START
        CR_SET cr4, CR4_DE
        mov eax, 0x80
        mov dr2, eax
        mov eax, DR7_IO2
        mov dr7, eax
        out 0x80, al
.k1:    nop
        xor eax, eax
        mov dr7, eax
        EQUAL "port breakpoint", [db_count], 1
        EQUAL "  traps behind", [db_eips], .k1
        TRY
        mov eax, dr4
        CAUGHT "dr4 with DE", 6, 0
        CR_CLEAR cr4, CR4_DE
        TRY
        mov eax, dr4
        CAUGHT "dr4 without DE", NO_FAULT, 0

        ; ---- general detect ----
        START
        mov eax, 0x2400
        mov dr7, eax
.n0:    mov eax, dr0
        EQUAL "general detect", [db_count], 1
        EQUAL "  before the access", [db_eips], .n0
        EQUAL "  dr6", [db_first_dr6], 0xffff2ff0
        mov eax, dr7
        EQUAL "  GD is clear", eax, 0x400

        TRY
        RING3
        mov eax, dr7
        CAUGHT "mov from dr7 in ring 3", 13, 0
        ret

int_handler:
        iretd

; Notes EIP, flags and DR6; resumes with RF set where the breakpoint is a fault.
db_handler:
        push eax
        push ecx
        mov ecx, [db_count]
        inc dword [db_count]
        cmp ecx, 8
        jae .full
        mov eax, [esp + 8]
        mov [db_eips + ecx * 4], eax
.full:  test ecx, ecx
        jnz .later
        mov eax, dr6
        mov [db_first_dr6], eax
        mov eax, [esp + 16]
        and eax, 0x10142                ; RF, TF, ZF
        mov [db_flags], eax
.later: or dword [esp + 16], 0x10000
        pop ecx
        pop eax
        iretd

        align 4096
db_count:     dd 0
db_eips:      times 8 dd 0
db_first_dr6: dd 0
db_flags:     dd 0

        GUEST_END
