; SPDX-License-Identifier: MIT
;
; One instruction with several reasons to fault: which it is. In the order of SDM 3A, table 6-2
; ("Priority Among Concurrent Events"): traps of the instruction before, breakpoints, fetching,
; decoding, executing.

%include "guest.inc"

PD      equ 0x100000
PT0     equ 0x101000
ABSENT  equ 0x40000                     ; a page that is not there; the one before it is
READONLY equ 0x42000
WATCHED equ 0x20000

LIMITED equ FREE                        ; data up to 0fffh
GONE0   equ FREE + 8                    ; data of DPL 0, not present
GONE3   equ (FREE + 16) | 3             ; of DPL 3, not present
GONEGATE equ FREE + 24                  ; call gate of DPL 0, not present


main:
        DESC LIMITED, 0, 0xfff, 0xf3, 0x4
        DESC GONE0, 0, 0xfffff, 0x13, 0xc
        DESC GONE3 & ~3, 0, 0xfffff, 0x73, 0xc
        GATE GONEGATE, CODE0, main, 0x0c, 0
        mov byte [idt + 0x45 * 8 + 5], 0x0e ; of DPL 0, not present
        call make_paging

        ; ---- traps of the instruction before, breakpoints ----
        mov eax, WATCHED
        mov dr0, eax
        mov eax, 0xd0001                ; writes of 4 bytes
        mov dr7, eax
        TRY
        mov [WATCHED], eax
        ud2
        CAUGHT "a trap before the next instruction's fault", 1, 0
        xor eax, eax
        mov dr6, eax
        TRY
        pushfd
        or dword [esp], 0x100
        popfd
        mov [WATCHED], eax
        nop
        CAUGHT "a step over a watched store", 1, 0
        mov eax, dr6
        and eax, 0xe00f
        EQUAL "  is one trap for both", eax, 0x4001
        push dword 2
        popfd
        mov eax, .breakpoint
        mov dr0, eax
        mov eax, 1                      ; execution
        mov dr7, eax
        TRY
.breakpoint:
        ud2
        CAUGHT "a breakpoint before an undefined opcode", 1, 0
        mov eax, ABSENT
        mov dr0, eax
        TRY
        mov eax, ABSENT
        jmp eax
        CAUGHT "a breakpoint before the fetch fault", 1, 0
        mov eax, 0x400
        mov dr7, eax

        ; ---- fetching and decoding ----
        mov byte [ABSENT - 1], 0x0f
        TRY
        mov eax, ABSENT - 1
        jmp eax
        CAUGHT "a fetch fault before decoding", 14, 0
        TRY
        times 15 db 0x66
        ud2
        CAUGHT "too long before undefined", 13, 0
        TRY
        RING3
        db 0x0f, 0x20, 0xc8             ; mov eax, cr1
        CAUGHT "no such control register before privilege", 6, 0
        mov eax, cr0
        or al, 8                        ; TS
        mov cr0, eax
        TRY
        db 0xf0, 0xd9, 0x00             ; lock fld dword [eax]
        CAUGHT "lock before TS", 6, 0
        TRY
        fld dword [ABSENT]
        CAUGHT "TS before the operand's page", 7, 0
        TRY
        mov ax, LIMITED                 ; each fault loads FS and GS anew
        mov fs, ax
        fld dword [fs:0x1000]
        CAUGHT "TS before the operand's limit", 7, 0
        TRY
        movaps xmm0, xmm1
        CAUGHT "no OSFXSR before TS", 6, 0
        mov eax, CR4_OSFXSR
        mov cr4, eax
        TRY
        movaps xmm0, [WATCHED + 1]
        CAUGHT "TS before an unaligned operand", 7, 0
        mov eax, cr0
        or al, 4                        ; EM
        mov cr0, eax
        TRY
        movaps xmm0, xmm1
        CAUGHT "EM before TS", 6, 0
        mov eax, cr0
        and al, ~12
        mov cr0, eax
        TRY
        movaps xmm0, [ABSENT + 1]
        CAUGHT "an unaligned operand before its page", 13, 0

        ; ---- privilege ----
        TRY
        RING3
        insb
        CAUGHT "the port before the page", 13, 0
        TRY
        RING3
        lgdt [ABSENT]
        CAUGHT "privilege before the page", 13, 0
        TRY
        RING3
        int 0x45
        CAUGHT "DPL of a gate before its presence", 13, 0x45 * 8 + 2
        TRY
        RING3
        call dword GONEGATE:0
        CAUGHT "  of a call gate", 13, GONEGATE
        TRY
        RING3
        mov ax, GONE0
        mov es, ax
        CAUGHT "  of a segment", 13, GONE0
        TRY
        RING3
        mov ax, GONE3
        mov es, ax
        CAUGHT "presence when nothing else is wrong", 11, GONE3 & ~3
        TRY
        jmp dword GONE0:0
        CAUGHT "type before presence", 13, GONE0
        TRY
        mov ax, GONE3
        mov ss, ax
        CAUGHT "a stack's DPL before its presence", 13, GONE3 & ~3

        ; ---- operands ----
        TRY
        mov ax, LIMITED
        mov fs, ax
        mov eax, [fs:ABSENT]
        CAUGHT "limit before page", 13, 0
        TRY
        xor eax, eax
        mov gs, ax
        mov eax, [gs:ABSENT]
        CAUGHT "null segment before page", 13, 0
        TRY
        mov ebp, ABSENT
        xor ecx, ecx
        div dword [ebp]
        CAUGHT "page before divide error", 14, 0
        TRY
        mov eax, 100
        bound eax, [ABSENT]
        CAUGHT "page before bound", 14, 0
        TRY
        mov esi, ABSENT
        mov edi, ABSENT + 0x1000
        movsb
        CAUGHT "movs: the source first", 14, 0
        EQUAL "  cr2", [exc_cr2], ABSENT
        TRY
        mov edi, ABSENT
        mov dx, 0x80
        insb
        CAUGHT "insb to a missing page", 14, 2
        TRY
        RING3
        mov esp, ABSENT + 2
        push dword [ABSENT + 0x1000]
        CAUGHT "push: the source before the stack", 14, 4
        EQUAL "  cr2", [exc_cr2], ABSENT + 0x1000
        TRY
        RING3
        mov eax, READONLY
        mov edx, ABSENT
        mov [eax], edx
        CAUGHT "a page that may only be read", 14, 7
        CR_SET cr0, CR0_AM
        TRY
        RING3
        mov ax, LIMITED | 3
        mov fs, ax
        pushfd
        or dword [esp], 1 << 18
        popfd
        mov eax, [fs:0x1001]
        CAUGHT "limit before alignment", 13, 0
        TRY
        RING3
        pushfd
        or dword [esp], 1 << 18
        popfd
        mov eax, [ABSENT + 1]
        CAUGHT "alignment before page", 17, 0
        mov eax, cr0
        and eax, 0x7ffbffff             ; no AM, no paging
        mov cr0, eax
        ret

; The first 4 MiB one to one, with the two odd pages.
make_paging:
        mov edi, PD
        xor eax, eax
        mov ecx, 1024
        cld
        rep stosd
        mov dword [PD], PT0 + 7
        mov edi, PT0
        mov eax, 7
        mov ecx, 1024
.next:  stosd
        add eax, 0x1000
        loop .next
        mov dword [PT0 + (ABSENT >> 12) * 4], 0
        mov dword [PT0 + (ABSENT >> 12) * 4 + 4], 0
        mov dword [PT0 + (READONLY >> 12) * 4], READONLY + 5
        mov eax, PD
        mov cr3, eax
        CR_SET cr0, CR0_PG | CR0_WP
        ret

        GUEST_END
