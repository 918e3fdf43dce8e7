; SPDX-License-Identifier: MIT
;
; Code that changes in a page that is written all the time, so that a code cache does not guard it any
; more but compares code with what it was made from (open.inc). What smc.asm does to guarded pages is
; done here to such ones. Values stay the same for eight turns, so that there is something to become
; stale, and are of one byte: immediates of four may be no part of a translation at all.

%define ROUNDS 6
%include "guest.inc"
%include "open.inc"
%include "pages.inc"

CODE_AT equ 0x30000                     ; where `routines` is copied, page by page
LATER   equ 0x34000                     ; another frame for the first page
ALIAS   equ 0x400000                    ; where the first 4 MiB are mapped again
PD      equ 0x100000
PT0     equ 0x101000
BESIDE  equ CODE_AT + 0xff0 - 0x20
BESIDE2 equ CODE_AT + 0x1ff0

; Where a place of `routines` will be.
%define AT(label) ((label) - routines + CODE_AT)

; CLEAN "name": [wrongs] counts what went wrong in a loop.
%macro CLEAN 1
        EQUAL %1, [wrongs], 0
        mov dword [wrongs], 0
%endmacro

; A turn of a HOT loop: BL = what has to come of it, the upper bytes of EBX are NOPs.
%macro NEW_BL 0
        mov ebx, [hot]
        add ebx, [round]
        shr ebx, 3
        or ebx, 0x90909000
%endmacro
; AL is BL?
%macro AL_IS_BL 0
        xor al, bl
        or [wrongs], al
%endmacro

; GIVES "name", routine: it stores BL into code that makes AL.
%macro GIVES 2
        call open_page
        HOT 80
        NEW_BL
        mov edx, AT(%2)
        call edx
        AL_IS_BL
        COOL
        CLEAN %1
%endmacro

main:
        mov dword [wrongs], 0
        mov esi, routines
        mov edi, CODE_AT
        mov ecx, routines_end - routines
        cld
        rep movsb
        call next
        call others
        call ends
        mov edi, PD
        mov ecx, 2
        call clear_pages
        mov edi, PT0
        call map_4_mib
        mov dword [PD], PT0 + 7
        mov dword [PD + 4], PT0 + 7
        mov eax, PD
        call paging_on
        call mappings
        call rings
        call paging_off
        ret

open_page:
        OPEN AT(nothing), BESIDE
        ret

; ---- what follows in the same block ----
next:
        GIVES "mov to the next instruction", next_mov
        GIVES "xchg", next_xchg
        GIVES "add", next_add
        GIVES "cmpxchg", next_cmpxchg
        GIVES "stosb", next_stosb
        GIVES "rep stosb", next_rep_stosb
        GIVES "rep movsb", next_rep_movsb
        GIVES "rep movsb over itself, with itself as it is", next_over_itself
        GIVES "push", next_push
        GIVES "fistp", next_fistp
        GIVES "movd of an MMX register", next_movd
        GIVES "pop", next_pop
        GIVES "by a routine that it calls", next_called
        GIVES "behind a branch", next_branch
        GIVES "two instructions on, behind a load", next_but_one
        GIVES "through an interrupt's frame", next_int

        ; opcodes in turn: 40h inc eax, 48h dec eax
        call open_page
        mov edx, AT(flip)
        call edx
        EQUAL "inc and dec in turn", eax, 999
        ret

; ---- what comes before, and itself ----
others:
        call open_page
        mov byte [AT(previous) + 1], 0
        mov byte [scratch], 0
        HOT 80
        NEW_BL
        mov edx, AT(previous)
        call edx
        xor al, [scratch]               ; what was stored in the last turn
        or [wrongs], al
        mov [scratch], bl
        COOL
        CLEAN "the previous instruction"

        call open_page
        HOT 40
        mov byte [AT(itself) + 6], 1
        mov edx, AT(itself_loop)
        call edx
        xor al, 0x80
        or [wrongs], al
        COOL
        CLEAN "an instruction that doubles its own immediate"

        call open_page
        HOT 40                          ; changed back before it runs again
        mov byte [AT(next_mov.t) + 1], 0x55
        mov byte [AT(next_mov.t) + 1], 0
        NEW_BL
        mov edx, AT(next_mov)
        call edx
        AL_IS_BL
        COOL
        CLEAN "changed and changed back"

        ; from outside, with the function hot: its length, then its meaning
        call open_page
        HOT 80
        NEW_BL
        mov [AT(outside) + 1], bl
        mov edx, AT(outside)
        mov ecx, 12
.again: call edx
        AL_IS_BL
        dec ecx
        jnz .again
        COOL
        CLEAN "from outside"
        HOT 40
        mov word [AT(outside) + 2], 0xc390 ; nop; ret
        NEW_BL
        mov [AT(outside) + 1], bl
        mov edx, AT(outside)
        call edx
        AL_IS_BL
        mov word [AT(outside) + 2], 0xc3f6 ; f6 c3 02: test bl, 2 comes first
        mov dword [AT(outside) + 2], 0xc302c3f6
        mov edx, AT(outside)
        call edx
        setz ah
        AL_IS_BL
        test bl, 2
        setz bh
        xor ah, bh
        or [wrongs], ah
        COOL
        CLEAN "an instruction more"

        ; a large block of data over all of it, and the code again
        call open_page
        HOT 8
        mov edi, AT(outside)
        mov eax, 0xcccccccc
        mov ecx, 4
        rep stosd
        TRY
        mov edx, AT(outside)
        call edx
        CAUGHT "code that has become INT 3", 3, 0
        mov byte [AT(outside)], 0xb0
        mov byte [AT(outside) + 2], 0xc3
        NEW_BL
        mov [AT(outside) + 1], bl
        mov edx, AT(outside)
        call edx
        AL_IS_BL
        COOL
        CLEAN "and code again"
        ret

; ---- the end of a page ----
ends:
        ; MOV AL, imm8 in the page's last byte and the next one's first
        mov byte [CODE_AT + 0xfff], 0xb0
        mov word [CODE_AT + 0x1000], 0xc300
        mov edx, CODE_AT + 0xfff
        call edx
        OPEN AT(nothing2), BESIDE2
        HOT 80
        NEW_BL
        mov [CODE_AT + 0x1000], bl
        mov edx, CODE_AT + 0xfff
        call edx
        AL_IS_BL
        COOL
        CLEAN "an immediate beyond the end of a page, that page written often"
        call open_page
        HOT 80
        NEW_BL
        mov [CODE_AT + 0x1000], bl
        mov edx, CODE_AT + 0xfff
        call edx
        AL_IS_BL
        COOL
        CLEAN "both written often"
        HOT 40
        mov al, 0xb0                    ; MOV AL or, every now and then, MOV AH
        test byte [hot], 8
        jz .al
        mov al, 0xb4
.al:    mov [CODE_AT + 0xfff], al
        mov byte [CODE_AT + 0x1000], 0x12
        xor eax, eax
        mov edx, CODE_AT + 0xfff
        call edx
        mov ebx, 0x12
        test byte [hot], 8
        jz .low
        mov ebx, 0x1200
.low:   xor eax, ebx
        or [wrongs], eax
        COOL
        CLEAN "an opcode in the last byte of a page"
        ; a page whose code runs on into one that is not written
        HOT 40
        NEW_BL
        mov dword [CODE_AT + 0xffc], 0x90909090
        mov byte [CODE_AT + 0x1000], 0xb0
        mov byte [CODE_AT + 0x1001], bl
        mov byte [CODE_AT + 0x1002], 0xc3
        mov edx, CODE_AT + 0xffc
        call edx
        AL_IS_BL
        COOL
        CLEAN "code that runs over the end"
        ret

; ---- several mappings ----
mappings:
        call open_page
        HOT 80
        NEW_BL
        mov [ALIAS + AT(outside) + 1], bl
        mov edx, AT(outside)
        call edx
        AL_IS_BL
        COOL
        CLEAN "written through another mapping"
        HOT 80
        NEW_BL
        mov [AT(outside) + 1], bl
        mov edx, ALIAS + AT(outside)
        call edx
        AL_IS_BL
        COOL
        CLEAN "run through another mapping"

        ; another frame behind the same address, whose code is of other values
        mov esi, routines
        mov edi, LATER
        mov ecx, 0x1000
        rep movsb
        call open_page
        HOT 80
        NEW_BL
        mov [AT(outside) + 1], bl
        mov eax, ebx
        not al
        mov [LATER + AT(outside) - CODE_AT + 1], al
        mov dword PTE(CODE_AT), LATER + 7
        invlpg [CODE_AT]
        mov edx, AT(outside)
        call edx
        not al
        AL_IS_BL
        mov dword PTE(CODE_AT), CODE_AT + 7
        invlpg [CODE_AT]
        call edx
        AL_IS_BL
        COOL
        CLEAN "another frame, and back"

        ; written while it is not mapped
        call open_page
        HOT 40
        NEW_BL
        mov dword PTE(CODE_AT), 0
        invlpg [CODE_AT]
        TRY
        mov edx, AT(outside)
        call edx
        CAUGHT "code that is not present", 14, 0
        mov ebx, [hot]
        mov dword PTE(LATER), CODE_AT + 7
        invlpg [LATER]
        mov [LATER + AT(outside) - CODE_AT + 1], bl
        mov dword PTE(LATER), LATER + 7
        invlpg [LATER]
        mov dword PTE(CODE_AT), CODE_AT + 5
        invlpg [CODE_AT]
        mov edx, AT(outside)
        call edx
        AL_IS_BL
        mov dword PTE(CODE_AT), CODE_AT + 7
        invlpg [CODE_AT]
        COOL
        CLEAN "and written by then through another address"
        ret

; ---- rings ----
rings:
        call open_page
        HOT 40
        NEW_BL
        mov [AT(outside) + 1], bl
        TRY
        RING3
        mov edx, AT(outside)
        call edx
        CAUGHT "ring 0 changes code of ring 3", NO_FAULT, 0
        mov eax, [exc_eax]
        mov ebx, [exc_ebx]
        AL_IS_BL
        COOL
        CLEAN "  each time"
        HOT 40
        NEW_BL
        TRY
        RING3
        mov edx, AT(next_mov)
        call edx
        CAUGHT "ring 3 changes itself", NO_FAULT, 0
        mov eax, [exc_eax]
        mov ebx, [exc_ebx]
        AL_IS_BL
        COOL
        CLEAN "  each time"
        ; what ring 3 may not write, it does not
        mov dword PTE(CODE_AT), CODE_AT + 5
        invlpg [CODE_AT]
        HOT 40
        TRY
        RING3
        mov edx, AT(next_mov)
        mov bl, 0x77
        call edx
        CAUGHT "a store to read-only code", 14, 7
        mov eax, [exc_cr2]
        sub eax, AT(next_mov.t) + 1
        or [wrongs], eax
        mov eax, [exc_eip]
        sub eax, AT(next_mov)
        or [wrongs], eax
        COOL
        CLEAN "  cr2 and eip each time"
        mov dword PTE(CODE_AT), CODE_AT + 7
        invlpg [CODE_AT]
        ret

; ---- the routines: each stores BL, and returns in AL what it has become ----
        align 16
routines:
nothing: ret
next_mov:
        mov [AT(.t) + 1], bl
.t:     mov al, 0
        ret
next_xchg:
        mov eax, ebx
        xchg [AT(.t) + 1], al
.t:     mov al, 0
        ret
next_add:
        mov al, bl
        sub al, [AT(.t) + 1]
        add [AT(.t) + 1], al
.t:     mov al, 0
        ret
next_cmpxchg:
        mov al, [AT(.t) + 1]
        lock cmpxchg [AT(.t) + 1], bl
.t:     mov al, 0
        ret
next_stosb:
        mov edi, AT(.t) + 1
        mov al, bl
        stosb
.t:     mov al, 0
        ret
next_rep_stosb:
        mov edi, AT(.t) + 1
        mov al, bl
        mov ecx, 1
        rep stosb
.t:     mov al, 0
        ret
next_rep_movsb:
        mov [scratch], bl
        mov esi, scratch
        mov edi, AT(.t) + 1
        mov ecx, 1
        rep movsb
.t:     mov al, 0
        ret
next_over_itself:
        mov byte [scratch], 0xf3
        mov byte [scratch + 1], 0xa4
        mov byte [scratch + 2], 0xb0
        mov [scratch + 3], bl
        mov esi, scratch
        mov edi, AT(.rep)
        mov ecx, 4
.rep:   rep movsb
.t:     mov al, 0
        ret
next_push:
        mov ebp, esp
        mov esp, AT(.t) + 5
        push ebx
.t:     mov al, 0
        nop
        nop
        nop
        mov esp, ebp
        ret
next_fistp:
        fninit
        mov [scratch], bx
        fild word [scratch]
        fistp word [AT(.t) + 1]
.t:     mov al, 0
        nop
        ret
next_movd:
        movd mm0, ebx
        movd [AT(.t) + 1], mm0
.t:     mov al, 0
        nop
        nop
        nop
        emms
        ret
next_pop:
        push ebx
        pop dword [AT(.t) + 1]
.t:     mov al, 0
        nop
        nop
        nop
        ret
next_called:
        call .store
.t:     mov al, 0
        ret
.store: mov [AT(.t) + 1], bl
        ret
next_branch:
        mov [AT(.t) + 1], bl
        jmp .t
        nop
.t:     mov al, 0
        ret
next_but_one:
        mov [AT(.t) + 1], bl
        mov ecx, [scratch]
        lea ecx, [ecx + 1]
.t:     mov al, 0
        ret
next_int:                               ; the handler changes what it returns to
        mov dword [idt + 0x51 * 8], CODE0 << 16 | AT(.store) & 0xffff
        mov dword [idt + 0x51 * 8 + 4], AT(.store) & 0xffff0000 | 0x8e00
        int 0x51
.t:     mov al, 0
        ret
.store: mov [AT(.t) + 1], bl
        iretd
flip:
        mov eax, 1000
        mov ecx, 101
.again: xor byte [AT(.op)], 0x08
.op:    inc eax
        loop .again
        xor byte [AT(.op)], 0x08
        ret
previous:
        mov al, 0
        mov [AT(previous) + 1], bl
        ret
itself_loop:
        mov ecx, 7
itself: add byte [AT(itself) + 6], 1
        loop itself
        mov al, [AT(itself) + 6]
        ret
outside:
        mov al, 0
        ret
        times 16 nop
        times 0x1100 - ($ - routines) db 0x90
nothing2: ret
routines_end:

        align 4096
wrongs:  dd 0
scratch: dd 0, 0

        GUEST_END
