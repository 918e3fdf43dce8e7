; SPDX-License-Identifier: MIT
;
; Self-modifying code in all classic shapes, as any engine with a code cache must meet them. A
; 486 and later see a store to the next instruction only after a branch, a P6 and later at once;
; every case here is one on which all of them agree: there is a branch, or the CPU is new.

%include "guest.inc"

CODE_AT equ 0x30000

main:
        ; ---- the very next instruction ----
        mov byte [.next + 1], 7
.next:  mov al, 1
        movzx eax, al
        EQUAL "store to the next instruction", eax, 7

        ; ---- a loop that changes its own body ----
        xor ebx, ebx
        mov ecx, 5
.loop:  add ebx, 1
        inc byte [.loop + 2]
        loop .loop
        EQUAL "a loop that counts up its immediate", ebx, 15
        mov byte [.loop + 2], 1

        ; ---- behind a call: the callee rewrites its caller ----
        call .rewrite
.victim: mov eax, 0x11111111
        EQUAL "callee rewrites what follows the call", eax, 0x22222222
        jmp .generated
.rewrite:
        mov dword [.victim + 1], 0x22222222
        ret

        ; ---- code generated again and again at the same place ----
.generated:
        xor ebx, ebx
        mov edx, 100
.gen:   mov byte [CODE_AT], 0xb8        ; mov eax, edx
        mov [CODE_AT + 1], edx
        mov byte [CODE_AT + 5], 0xc3    ; ret
        mov eax, CODE_AT
        call eax
        add ebx, eax
        dec edx
        jnz .gen
        EQUAL "sum over 100 generated functions", ebx, 5050

        ; ---- many small writers ----
        mov edi, CODE_AT
        mov al, 0x40                    ; inc eax
        mov ecx, 64
        rep stosb
        mov byte [edi], 0xc3
        xor eax, eax
        mov edx, CODE_AT
        call edx
        EQUAL "code by rep stosb", eax, 64
        mov edi, CODE_AT + 32
        mov al, 0x90
        mov ecx, 16
        rep stosb
        xor eax, eax
        call edx
        EQUAL "and half of it replaced", eax, 48
        mov esi, ret_code
        mov edi, CODE_AT + 8
        mov ecx, 1
        rep movsb
        xor eax, eax
        call edx
        EQUAL "cut short by rep movsb", eax, 8

        ; ---- an instruction across two pages, its halves written apart ----
        mov edi, 0x32ffd
        mov byte [edi], 0xb8            ; mov eax, imm32: three bytes here, two there
        mov dword [edi + 1], 0x12345678
        mov byte [edi + 5], 0xc3
        call edi
        EQUAL "across two pages", eax, 0x12345678
        mov byte [0x33000], 0x99        ; third byte of the immediate
        call edi
        EQUAL "after a write to its second page", eax, 0x12995678
        mov byte [0x32ffe], 0x11
        call edi
        EQUAL "after a write to its first page", eax, 0x12995611

        ; ---- by a page mapped twice ----
        call paging_on
        mov byte [CODE_AT], 0xb8
        mov dword [CODE_AT + 1], 1
        mov byte [CODE_AT + 5], 0xc3
        mov edx, CODE_AT
        call edx
        mov dword [0x400000 + CODE_AT + 1], 2   ; the same memory 4 MiB higher
        call edx
        EQUAL "written through another mapping", eax, 2
        mov edx, 0x400000 + CODE_AT
        call edx
        EQUAL "run through the other mapping", eax, 2

        ; ---- another page behind the same address ----
        mov byte [CODE_AT + 0x1000], 0xb8
        mov dword [CODE_AT + 0x1001], 3
        mov byte [CODE_AT + 0x1005], 0xc3
        mov edx, CODE_AT
        call edx
        mov dword [0x101000 + (CODE_AT >> 12) * 4], CODE_AT + 0x1000 + 7
        invlpg [CODE_AT]
        call edx
        EQUAL "page table entry changed, invlpg", eax, 3
        mov dword [0x101000 + (CODE_AT >> 12) * 4], CODE_AT + 7
        mov eax, cr3
        mov cr3, eax
        call edx
        EQUAL "and back, mov cr3", eax, 2

        ; ---- code that disappears ----
        TRY
        mov dword [0x101000 + (CODE_AT >> 12) * 4], 0
        invlpg [CODE_AT]
        call edx
        CAUGHT "code no longer present", 14, 0
        EQUAL "  cr2", [exc_cr2], CODE_AT
        EQUAL "  eip", [exc_eip], CODE_AT
        mov dword [0x101000 + (CODE_AT >> 12) * 4], CODE_AT + 7

        ; ---- an instruction whose second page is absent ----
        mov dword [0x101000 + 0x33 * 4], 0
        invlpg [0x33000]
        TRY
        mov edi, 0x32ffd
        call edi
        CAUGHT "second page absent", 14, 0
        EQUAL "  cr2 is the second page", [exc_cr2], 0x33000
        EQUAL "  eip is the instruction", [exc_eip], 0x32ffd
        mov dword [0x101000 + 0x33 * 4], 0x33000 + 7
        invlpg [0x33000]
        mov edi, 0x32ffd
        call edi
        EQUAL "present again", eax, 0x12995611

        ; ---- data beside code ----
        mov byte [CODE_AT], 0xb8
        mov dword [CODE_AT + 1], 0x77
        mov byte [CODE_AT + 5], 0xc3
        mov edx, CODE_AT
        mov ecx, 1000
.beside:
        mov [CODE_AT + 0x800], ecx
        call edx
        loop .beside
        EQUAL "data beside code: the code still runs", eax, 0x77

        ; ---- the flags and the stack as writers ----
        mov ecx, esp
        mov esp, CODE_AT + 5
        push dword 0x5555
        mov esp, ecx
        call edx
        EQUAL "immediate written by push", eax, 0x5555
        mov dword [CODE_AT + 1], 0x1000
        lock add dword [CODE_AT + 1], 0x234
        call edx
        EQUAL "by lock add", eax, 0x1234
        mov eax, 0x1234
        mov ecx, 0x4321
        lock cmpxchg [CODE_AT + 1], ecx
        call edx
        EQUAL "by lock cmpxchg", eax, 0x4321
        fninit
        fld1
        fistp dword [CODE_AT + 1]
        call edx
        EQUAL "by fistp", eax, 1
        ret

; Identity for 4 MiB at 10 1000h, and the same again at 4 MiB.
paging_on:
        mov dword [0x100000], 0x101007
        mov dword [0x100004], 0x101007
        mov edi, 0x101000
        mov eax, 7
        mov ecx, 1024
.next:  mov [edi], eax
        add edi, 4
        add eax, 0x1000
        loop .next
        mov eax, 0x100000
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        ret

ret_code: ret

        GUEST_END
