; SPDX-License-Identifier: MIT
;
; A boot sector that goes through the video BIOS's modes. In each it draws something, says
; "mode NNNN" on COM1 and waits for a key. test_modes.py looks at the screen meanwhile.

bits 16
org 0x7c00

COM1       equ 0x3f8
COM1_LSR   equ COM1 + 5
LSR_EMPTY  equ 0x20
VBE_MODES  equ 0x100            ; modes from here on are VBE's
VBE_PLANAR equ 0x102
TEXT_BYTES equ 3000
VBE_BANKS  equ 12               ; of 64 KiB, drawn in linear VBE modes

start:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        cld
        mov     bp, modes
.next:
        mov     bx, [bp]
        inc     bp
        inc     bp
        cmp     bx, -1
        je      .done
        mov     ax, bx          ; AH is 0: set mode
        cmp     bx, VBE_MODES
        jb      .set
        mov     ax, 0x4f02
.set:
        push    bp
        push    bx
        int     0x10
        pop     bx
        push    bx
        call    draw
        pop     bx
        call    say
        xor     ax, ax          ; wait for a key
        int     0x16
        pop     bp
        jmp     .next
.done:
        mov     al, '.'
        call    put
        hlt
        jmp     .done

; Draws in mode BX.
draw:
        mov     dx, 0xb800
        cmp     bx, 3
        jbe     text
        mov     dh, 0xb0
        cmp     bx, 7
        je      text
        mov     dh, 0xa0
        cmp     bx, 0x13
        je      bytes
        cmp     bx, VBE_PLANAR
        je      dots
        cmp     bx, VBE_MODES
        jae     banks

; Rows of dots and a word, by the BIOS.
dots:
        xor     cx, cx
.column:
        mov     dx, 3
.row:
        mov     ax, cx
        add     ax, dx
        mov     ah, 0x0c
        mov     bh, 0
        int     0x10
        add     dx, 17
        cmp     dx, 190
        jb      .row
        inc     cx
        cmp     cx, 300
        jb      .column
        mov     ax, 0x0e56      ; 'V'
        mov     bx, 2
        int     0x10
        ret

; All characters in all colors at DX:0, no cursor.
text:
        mov     es, dx
        mov     ah, 1
        mov     cx, 0x2000
        int     0x10
        xor     di, di
        xor     ax, ax
.cell:
        mov     ah, al
        and     ah, 0x7f        ; nothing blinks
        stosw
        inc     al
        cmp     di, TEXT_BYTES
        jb      .cell
        ret

; 64 KiB of bytes at A0000h.
bytes:
        mov     dx, 0xa000
        mov     es, dx
        xor     di, di
.byte:
        mov     ax, di
        shr     ax, 3
        xor     ax, di
        stosb
        test    di, di
        jnz     .byte
        ret

; The window of a linear VBE mode, bank by bank.
banks:
        xor     dx, dx
.bank:
        push    dx
        mov     ax, 0x4f05      ; set window A to DX
        xor     bx, bx
        int     0x10
        mov     ax, 0xa000
        mov     es, ax
        pop     dx
        xor     di, di
.word:
        mov     ax, di
        shr     ax, 3
        add     ax, dx
        xor     ax, di
        stosw
        test    di, di
        jnz     .word
        inc     dx
        cmp     dx, VBE_BANKS
        jb      .bank
        ret

; "mode NNNN" for BX.
say:
        mov     si, word_mode
.character:
        lodsb
        test    al, al
        jz      .digits
        call    put
        jmp     .character
.digits:
        mov     cx, 4
.digit:
        rol     bx, 4
        mov     al, bl
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69        ; the classic: 0..15 to ASCII
        das
        call    put
        loop    .digit
        mov     al, 10

put:
        push    dx
        push    ax
        mov     dx, COM1_LSR
.full:
        in      al, dx
        test    al, LSR_EMPTY
        jz      .full
        pop     ax
        mov     dx, COM1
        out     dx, al
        pop     dx
        ret

word_mode:
        db      "mode ", 0
modes:
        dw      0x00, 0x01, 0x02, 0x03, 0x07, 0x03
        dw      0x04, 0x05, 0x06, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13
        dw      0x101, 0x103, VBE_PLANAR, 0x110, 0x111, 0x112, 0x115, 0x118
        dw      0x03            ; and back
        dw      -1

        times   510 - ($ - $$) db 0
        dw      0xaa55
