; SPDX-License-Identifier: MIT
;
; A Pentium (-cpu pentium): instructions of its successors are invalid opcodes, its own are not, and
; CPUID says the same. In rounds, so that a translator meets them in hot code too.

%include "guest.inc"

main:
        mov eax, 1
        cpuid
        and edx, 0x06808120             ; SSE2, SSE, MMX, CMOV, CX8, MSR
        EQUAL "MMX, CX8, MSR; no SSE2, SSE, CMOV", edx, 0x00800120
        TRY
        pxor mm0, mm1
        emms
        CAUGHT "pxor mm", NO_FAULT, 0
        TRY
        cmpxchg8b [area]
        CAUGHT "cmpxchg8b", NO_FAULT, 0
        TRY
        cmovz eax, ecx
        CAUGHT "cmovz", 6, 0
        TRY
        fcomi st0, st1
        CAUGHT "fcomi", 6, 0
        TRY
        fxsave [area]
        CAUGHT "fxsave", 6, 0
        TRY
        sysenter
        CAUGHT "sysenter", 6, 0
        TRY
        pshufw mm0, mm1, 0
        CAUGHT "pshufw", 6, 0
        TRY
        movaps xmm0, xmm1
        CAUGHT "movaps", 6, 0
        TRY
        sfence
        CAUGHT "sfence", 6, 0
        TRY
        movnti [area], eax
        CAUGHT "movnti", 6, 0
        TRY
        popcnt eax, ecx
        CAUGHT "popcnt", 6, 0
        TRY
        andn eax, ecx, edx
        CAUGHT "andn", 6, 0
        TRY
        rdtscp
        CAUGHT "rdtscp", 6, 0
        TRY
        xgetbv
        CAUGHT "xgetbv", 6, 0
        TRY
        mov eax, 1 << 5                 ; PAE
        mov cr4, eax
        CAUGHT "CR4.PAE", 13, 0
        TRY
        mov ecx, 0xc0000080
        rdmsr
        CAUGHT "EFER", 13, 0
        mov ebx, 16
        rep bsr eax, ebx                ; LZCNT of later CPUs
        EQUAL "lzcnt is bsr", eax, 4
        ret

        align 4096
area:   times 512 db 0

        GUEST_END
