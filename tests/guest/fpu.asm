; SPDX-License-Identifier: MIT
;
; The x87 and SSE as the system sees them: EM, TS, MP and OSFXSR faults of every class of
; instruction; pending errors with NE set (#MF) and clear (FERR#, where the board has it: pc_ferr);
; the environment that FNSTENV, FNSAVE and FXSAVE leave, with the instruction and operand pointers,
; in 16- and 32-bit protected and in real-address format; SIMD exceptions. What the pointers show
; depends on FDP_EXCPTN_ONLY and ZERO_FCS_FDS of CPUID; with both off it is what older CPUs show.

%define HAVE_REAL_TESTS
%include "guest.inc"

AREA    equ 0x30000
MP      equ 2
EM      equ 4
TS      equ 8
NE      equ 0x20
OSFXSR  equ 0x200
OSXMM   equ 0x400

; WITH CR0 bits, CR4 bits: sets them, the others of these clear
%macro WITH 2
        mov eax, cr0
        and eax, ~(MP | EM | TS | NE)
        or eax, %1
        mov cr0, eax
        mov eax, cr4
        and eax, ~(OSFXSR | OSXMM)
        or eax, %2
        mov cr4, eax
%endmacro
; GIVES "name", instruction, vector
%macro GIVES 3
        TRY
        mov ax, FREE
        mov fs, ax
        %2
        CAUGHT %1, %3, 0
%endmacro

; EQUAL, but only the bits in MASK (a variable) are expected to be set
%macro EQUAL_IF 4
        mov ecx, %3
        and ecx, [%4]
        EQUAL %1, %2, ecx
%endmacro

main:
        mov dword [wrongs], 0
        call find_habits
        DESC FREE, AREA, 0xfff, 0x93, 0x4
        WITH 0, 0
        fninit
        call availability
        call errors
        call environments
        call over_calls
        mov eax, 1
        cpuid
        bt edx, 25
        jnc .end
        call simd
.end:   WITH 0, 0
        fninit
        movzx eax, word [real_env]
        EQUAL "fnstenv in real mode: control", eax, 0x37f
        movzx eax, word [real_env + 4]
        EQUAL "  tag", eax, 0x3fff
        movzx eax, word [real_env + 6]
        EQUAL "  instruction pointer, low", eax, R(real_tests.insn)
        movzx eax, word [real_env + 8]
        call habitual_high
        EQUAL "  its high part and the opcode", eax, ecx
        movzx eax, word [real_env + 10]
        EQUAL_IF "  operand pointer, low", eax, R(real_one), operands
        movzx eax, word [real_env + 12]
        EQUAL_IF "  its high part", eax, BASE >> 16 << 12, selectors
        movzx eax, word [real_env32 + 12]
        EQUAL "32-bit format: instruction pointer, low", eax, R(real_tests.insn)
        mov eax, [real_env32 + 16]
        call habitual_high
        EQUAL "  its high part and the opcode", eax, ecx
        movzx eax, word [real_env32 + 20]
        EQUAL_IF "  operand pointer, low", eax, R(real_one), operands
        mov eax, [real_env32 + 24]
        EQUAL_IF "  its high part", eax, BASE >> 16 << 12, selectors
        ret

; What this CPU saves of operand and opcode without an error, and of selectors: all or nothing.
find_habits:
        or dword [operands], -1
        or dword [selectors], -1
        xor eax, eax
        cpuid
        cmp eax, 7
        jb .end
        mov eax, 7
        xor ecx, ecx
        cpuid
        bt ebx, 6                       ; FDP_EXCPTN_ONLY
        jnc .all
        mov dword [operands], 0
.all:   bt ebx, 13                      ; ZERO_FCS_FDS
        jnc .end
        mov dword [selectors], 0
.end:   mov eax, [operands]
        and eax, [selectors]
        mov [operand_selector], eax
        ret

; ECX: high part of real_tests.insn and its opcode
habitual_high:
        push edx
        mov ecx, BASE >> 16 << 12
        and ecx, [selectors]
        mov edx, 0x106
        and edx, [operands]
        or ecx, edx
        pop edx
        ret

; ---- who may execute what ----
availability:
        WITH 0, OSFXSR
        GIVES "fnop", fnop, NO_FAULT
        GIVES "wait", wait, NO_FAULT
        GIVES "emms", emms, NO_FAULT
        GIVES "movaps", {movaps xmm0, xmm1}, NO_FAULT
        WITH TS, OSFXSR
        HOT 20
        GIVES "TS: fnop", fnop, 7
        GIVES "TS: fld", {fld dword [AREA]}, 7
        GIVES "TS: fninit", fninit, 7
        GIVES "TS: fnstsw ax", fnstsw ax, 7
        GIVES "TS: emms", emms, 7
        GIVES "TS: movq mm0", {movq mm0, [AREA]}, 7
        GIVES "TS: movaps", {movaps xmm0, xmm1}, 7
        GIVES "TS: fxsave", {fxsave [AREA]}, 7
        GIVES "TS: ldmxcsr", {ldmxcsr [AREA]}, 7
        GIVES "TS: wait, MP clear", wait, NO_FAULT
        GIVES "TS: prefetch, sfence, movnti", {prefetcht0 [AREA]}, NO_FAULT
        COOL
        WITH MP, OSFXSR
        GIVES "MP alone: wait", wait, NO_FAULT
        WITH MP | TS, OSFXSR
        GIVES "MP and TS: wait", wait, 7
        WITH EM, OSFXSR
        HOT 20
        GIVES "EM: fnop", fnop, 7
        GIVES "EM: fnstcw", {fnstcw [AREA]}, 7
        GIVES "EM: wait", wait, NO_FAULT
        GIVES "EM: emms", emms, 6
        GIVES "EM: movq mm0", {movq mm0, [AREA]}, 6
        GIVES "EM: movaps", {movaps xmm0, xmm1}, 6
        GIVES "EM: fxsave", {fxsave [AREA]}, 7
        COOL
        WITH EM | TS, OSFXSR
        GIVES "EM and TS: movaps", {movaps xmm0, xmm1}, 6
        GIVES "EM and TS: emms", emms, 6
        WITH 0, 0
        HOT 20
        GIVES "no OSFXSR: movaps", {movaps xmm0, xmm1}, 6
        GIVES "no OSFXSR: movq2dq's kind, cvtsi2ss", {cvtsi2ss xmm0, eax}, 6
        GIVES "no OSFXSR: ldmxcsr", {ldmxcsr [AREA]}, 6
        GIVES "no OSFXSR: emms", emms, NO_FAULT
        GIVES "no OSFXSR: fxsave", {fxsave [AREA]}, NO_FAULT
        COOL
        WITH TS, 0
        GIVES "TS, no OSFXSR: movaps", {movaps xmm0, xmm1}, 6
        ; the same instruction with TS and without, as a lazy switcher meets it
        HOT 60
        WITH 0, 0
        test byte [hot], 1
        jz .clear
        WITH TS, 0
.clear: TRY
        fldz
        fstp st0
        CAUGHT_QUIETLY
        mov eax, [exc_vector]
        inc eax
        mov ebx, [hot]
        and ebx, 1
        shl ebx, 3
        sub eax, ebx
        or [wrongs], eax
        COOL
        EQUAL "the same fldz with TS and without", [wrongs], 0
        WITH TS, 0
        mov dword [AREA], 0x1000
        GIVES "TS before the operand's page or limit", {fld dword [fs:0xffe]}, 7
        WITH 0, 0
        fninit
        GIVES "fxsave unaligned", {fxsave [AREA + 8]}, 13
        ret

; ---- errors with NE ----
; EAX: the status word's flags
%macro MAKE_ERROR 0
        fninit
        fldcw [unmasked]
        fld1
        fldz
        fdivp st1, st0                  ; zero divide: pending from now on
%endmacro
errors:
        WITH NE, 0
        HOT 20
        TRY
        MAKE_ERROR
.at:    fld1
        CAUGHT "a pending error: at the next instruction", 16, 0
        mov eax, [exc_eip]
        sub eax, .at
        or [wrongs], eax
        COOL
        EQUAL "  eip each time", [wrongs], 0
        TRY
        MAKE_ERROR
        nop
        mov eax, [AREA]
        fnstsw ax
        fnstcw [AREA]
        fnclex
        fld1
        CAUGHT "not at fnstsw, fnstcw, fnclex", NO_FAULT, 0
        movzx eax, word [exc_eax]
        and eax, 0x84
        EQUAL "  ES and ZE", eax, 0x84
        TRY
        MAKE_ERROR
        wait
        CAUGHT "at wait", 16, 0
        TRY
        MAKE_ERROR
        fninit
        fnsave [AREA]
        fnop
        CAUGHT "not at fninit, fnsave", NO_FAULT, 0
        TRY
        MAKE_ERROR
        emms
        CAUGHT "at emms", 16, 0
        TRY
        MAKE_ERROR
        fxsave [AREA]
        CAUGHT "not at fxsave", NO_FAULT, 0
        fninit
        TRY
        MAKE_ERROR
        CR_SET cr0, CR0_TS
        fld1
        CAUGHT "TS comes first", 7, 0
        clts
        fninit
        TRY
        MAKE_ERROR
        mov ax, FREE
        mov fs, ax
        fld dword [fs:0xffe]
        CAUGHT "the error comes before the operand", 16, 0
        fninit
        TRY
        mov ax, FREE
        mov fs, ax
        fninit
        fldcw [unmasked]
        fld1
        fistp dword [fs:0xffe]
        CAUGHT "the operand's fault", 13, 0
        fnstsw ax
        and eax, 0x3800
        EQUAL "  leaves the stack as it was", eax, 0x3800
        fninit
        ret

; ---- environments ----
environments:
        fninit
        mov dword [AREA + 0x100], 0x3f800000
.fld:   fld dword [AREA + 0x100]
        fnstenv [AREA]                  ; 32-bit protected
        movzx eax, word [AREA]
        EQUAL "fnstenv: control", eax, 0x37f
        movzx eax, word [AREA + 4]
        EQUAL "  status", eax, 0x3800
        movzx eax, word [AREA + 8]
        EQUAL "  tag", eax, 0x3fff
        EQUAL "  instruction pointer", [AREA + 12], .fld
        mov eax, [AREA + 16]
        movzx eax, ax
        EQUAL_IF "  its selector", eax, CODE0, selectors
        mov eax, [AREA + 16]
        shr eax, 16
        EQUAL_IF "  opcode", eax, 0x105, operands
        EQUAL_IF "  operand pointer", [AREA + 20], AREA + 0x100, operands
        movzx eax, word [AREA + 24]
        EQUAL_IF "  its selector", eax, DATA0, operand_selector
        fninit
.fld16: fld dword [AREA + 0x100]
        o16 fnstenv [AREA]              ; 16-bit protected
        movzx eax, word [AREA + 2]
        EQUAL "o16 fnstenv: status", eax, 0x3800
        movzx eax, word [AREA + 4]
        EQUAL "  tag", eax, 0x3fff
        movzx eax, word [AREA + 6]
        EQUAL "  instruction pointer", eax, (.fld16 - $$ + BASE) & 0xffff
        movzx eax, word [AREA + 8]
        EQUAL_IF "  its selector", eax, CODE0, selectors
        movzx eax, word [AREA + 10]
        EQUAL_IF "  operand pointer", eax, (AREA + 0x100) & 0xffff, operands
        movzx eax, word [AREA + 12]
        EQUAL_IF "  its selector", eax, DATA0, operand_selector
        ; an error leaves its operand on every CPU, and what follows does not take it away
        fninit
        mov dword [AREA + 0x110], 0
        fldcw [unmasked]
        fld1
.error: fdiv dword [AREA + 0x110]
        fnstenv [AREA]
        EQUAL "error: instruction pointer", [AREA + 12], .error
        movzx eax, word [AREA + 18]
        EQUAL "  opcode", eax, 0x035
        EQUAL "  operand pointer", [AREA + 20], AREA + 0x110
        movzx eax, word [AREA + 24]
        EQUAL_IF "  its selector", eax, DATA0, selectors
        fnclex
        fld st0
        fnstenv [AREA]
        EQUAL "  operand pointer, an instruction later", [AREA + 20], AREA + 0x110
        ; fnsave and frstor bring everything back
        fninit
        fldpi
        fld1
        fldcw [AREA]
        fnsave [AREA + 0x200]
        fnstsw ax
        movzx eax, ax
        EQUAL "fnsave initialises", eax, 0
        frstor [AREA + 0x200]
        fnsave [AREA + 0x300]
        mov esi, AREA + 0x200
        mov edi, AREA + 0x300
        mov ecx, 108
        cld
        repe cmpsb
        EQUAL "frstor and fnsave again", ecx, 0
        mov eax, 1
        cpuid
        bt edx, 24
        jnc .end
        fninit
.fld3:  fld dword [AREA + 0x100]
        fxsave [AREA + 0x400]
        mov eax, [AREA + 0x404]
        mov edx, [operands]
        and edx, 0x01050000
        or edx, 0x80
        EQUAL "fxsave: tag and opcode", eax, edx
        EQUAL "  instruction pointer", [AREA + 0x408], .fld3
        EQUAL_IF "  operand pointer", [AREA + 0x410], AREA + 0x100, operands
        fninit
        fxrstor [AREA + 0x400]
        fnstsw ax
        movzx eax, ax
        EQUAL "fxrstor: status", eax, 0x3800
.end:   fninit
        ret

; ---- x87 code that calls what does something else, and goes on with x87 code ----
over_calls:
        fninit
        HOT 200
        fld1
        call .other
        fld1
        faddp
        fistp dword [AREA]
        mov eax, [AREA]
        sub eax, 2
        or [wrongs], eax
        COOL
        EQUAL "x87 registers over a call", [wrongs], 0
        fninit
        ret
.other: in al, 0x61
        xor eax, eax
        cpuid
        ret

; ---- SIMD ----
simd:
        WITH NE, OSFXSR | OSXMM
        mov dword [AREA], 0x1f80 & ~(1 << 9)    ; zero divide unmasked
        ldmxcsr [AREA]
        mov dword [AREA + 16], 0x3f800000
        movss xmm0, [AREA + 16]
        xorps xmm1, xmm1
        HOT 20
        TRY
.at:    divss xmm0, xmm1
        CAUGHT "an unmasked SIMD error", 19, 0
        mov eax, [exc_eip]
        sub eax, .at
        or [wrongs], eax
        movd eax, xmm0
        sub eax, 0x3f800000
        or [wrongs], eax
        COOL
        EQUAL "  at the instruction, which changed nothing", [wrongs], 0
        stmxcsr [AREA + 4]
        mov eax, [AREA + 4]
        and eax, 4
        EQUAL "  its flag is set", eax, 4
        WITH NE, OSFXSR
        ldmxcsr [AREA]
        GIVES "without OSXMMEXCPT", {divss xmm0, xmm1}, 6
        mov dword [AREA], 0x1f80
        ldmxcsr [AREA]
        mov dword [AREA], 0x11f80
        GIVES "ldmxcsr of a reserved bit", {ldmxcsr [AREA]}, 13
        GIVES "movaps unaligned", {movaps xmm0, [AREA + 4]}, 13
        GIVES "movups unaligned", {movups xmm0, [AREA + 4]}, NO_FAULT
        GIVES "addps unaligned", {addps xmm0, [AREA + 4]}, 13
        GIVES "movntps unaligned", {movntps [AREA + 4], xmm0}, 13
        ret

; ---- once, before protected mode ----
        bits 16
real_tests:
        fninit
.insn:  fld dword [R(real_one)]
        fnstenv [R(real_env)]
        o32 fnstenv [R(real_env32)]
        ret
        bits 32

        align 4096
wrongs:   dd 0
operands: dd 0
selectors: dd 0
operand_selector: dd 0
unmasked: dw 0x37f & ~4                 ; zero divide
          dw 0
real_one: dd 0x3f800000
real_env: times 14 db 0
          dw 0
real_env32: times 28 db 0

        GUEST_END
