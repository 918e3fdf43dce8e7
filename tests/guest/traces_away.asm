; SPDX-License-Identifier: MIT
;
; Long pieces of code that always go the same way (traces.asm), and what must be right where they
; are left after all: because a page of theirs is another one by now, or by a branch that looks at a
; flag. What is checked once goes the usual way WARM times before.

%define ROUNDS 12
%include "guest.inc"
%include "pages.inc"

PD      equ 0x100000
PT0     equ 0x101000
HERE    equ 0x31000                     ; two pages that follow each other
THERE   equ 0x32000
OTHER   equ 0x33000                     ; what is to be at THERE later
DATA    equ 0x200000
WARM    equ 60

; Code: from one of this file's labels to an address.
%macro PUT 3                            ; address, from, to (behind it)
        mov edi, %1
        mov esi, %2
        mov ecx, %3 - %2
        rep movsb
%endmacro
%macro LEADS_TO 1                       ; THERE, from now on
        mov dword PTE(THERE), %1 + P + W + U
        invlpg [THERE]
%endmacro

main:
        call page_first_4_mib
        fninit
        CR_SET cr4, CR4_OSFXSR
        call moved_pages
        call moved_ends
        call overflow
        call vectors
        LEADS_TO THERE
        jmp paging_off

; ---- a page that is another one by now ----

; Before it runs into the next page, code has pushed and executed an x87 instruction; what is there
; by now looks at both. RUNS_INTO "name", the code, its end, where its last x87 instruction is.
%macro RUNS_INTO 4
        PUT THERE - (%3 - %2), %2, %3
        PUT THERE, usual, usual_end
        PUT OTHER, looking, looking_end
        mov dword [DATA], 0
        HOT WARM
          mov eax, THERE - (%3 - %2)
          call eax
        COOL
        EQUAL %1, [DATA], WARM
        LEADS_TO OTHER
        mov [top], esp
        mov eax, THERE - (%3 - %2)
        call eax
        EQUAL "  the x87 instruction before", [DATA + 0x10 + 12], %4
        mov eax, [top]
        sub eax, [DATA + 4]
        EQUAL "  the stack there", eax, 4 * 4
        LEADS_TO THERE
        mov eax, THERE - (%3 - %2)
        call eax
        EQUAL "  the usual way again", [DATA], WARM + 1
%endmacro

moved_pages:
        RUNS_INTO "pushes at the end", pushes, pushes_end, THERE - 4
        RUNS_INTO "x87 at the end", calculates, calculates_end, THERE - 2
        ret

pushes: fldz
        push ebx
        jmp short .on
.on:    fld1
        push esi
        push edi
pushes_end:
calculates:
        fldz
        push ebx
        jmp short .on
.on:    push esi
        push edi
        fld1
calculates_end:
usual:  inc dword [DATA]
        pop edi
        jmp short .on
.on:    pop esi
        fcompp
        pop ebx
        ret
usual_end:
looking:
        mov [DATA + 4], esp
        fnstenv [DATA + 0x10]
        fninit
        pop edi
        pop esi
        pop ebx
        ret
looking_end:

; ---- an instruction over the end of a page, whose second page is another one ----

; A jump with its displacement in the second page, from the first and back to it.
moved_ends:
        PUT HERE, around, around_end
        mov byte [THERE - 1], 0xe9
        mov dword [THERE], HERE + around.one - around - (THERE + 4)
        mov dword [OTHER], HERE + around.two - around - (THERE + 4)
        HOT WARM
          mov eax, HERE
          call eax
        COOL
        EQUAL "where it leads", eax, 1
        LEADS_TO OTHER
        mov eax, HERE
        call eax
        EQUAL "where it leads by the other page", eax, 2
        LEADS_TO THERE
        mov eax, HERE
        call eax
        EQUAL "where it leads again", eax, 1
        ret

around: mov eax, 0
        jmp $ + THERE - 1 - HERE - 5
.one:   inc eax
        jmp short .end
.two:   add eax, 2
.end:   ret
around_end:

; ---- a flag behind a branch ----

; OF after a rotation, which nothing on the usual way looks at: as the first time that it is seen.
overflow:
        mov eax, 0x40000001
        call rotates
        mov [first], ebx
        HOT WARM
          mov eax, 0x90000000
          call rotates
        COOL
        EQUAL "not looked at", ebx, 2
        mov eax, 0x40000001
        call rotates
        EQUAL "overflow as the first time", ebx, [first]
        ret

; EAX: EBX is 2, or OF after a rotation if bit 0 is set then.
rotates:
        mov ecx, eax
        xor ebx, ebx
        test ecx, ecx
        ror ecx, 31
        jns .usual                      ; SF is from the test
        jmp short .sets
.usual: seto bl
        ret
.sets:  mov ebx, 1
        add ebx, ebx
        ret

; ---- vector registers, while code runs for the first times ----

vectors:
        mov edi, DATA
        mov eax, 0x01020304
        mov ecx, 8 * 4
.fill:  stosd
        rol eax, 5
        loop .fill
%assign i 0
%rep 8
        movups xmm %+ i, [DATA + i * 16]
%assign i i + 1
%endrep
        PUT MADE, doing_nothing, doing_nothing_end
        HOT WARM
          mov eax, MADE
          call eax
        COOL
%assign i 0
%rep 8
        movups [DATA + 0x80 + i * 16], xmm %+ i
%assign i i + 1
%endrep
        mov esi, DATA
        mov edi, DATA + 0x80
        mov ecx, 8 * 4
        repe cmpsd
        EQUAL "they are what they were", ecx, 0
        ret
MADE    equ 0x34000

; Made anew in each round.
doing_nothing:
        movaps xmm7, xmm7
        jmp short .on
.on:    orps xmm6, xmm6
        jmp short .end
.end:   ret
doing_nothing_end:

        align 4
top:    dd 0
first:  dd 0

GUEST_END
