; SPDX-License-Identifier: MIT
;
; A device writes over code. The firmware configuration device has the simplest DMA of the board: a
; descriptor in memory, and a write of its address. It copies the four bytes of its signature into
; the immediate of a function that has run many times; then the CPU writes there again.

%include "guest.inc"
%include "open.inc"

CODE_AT equ 0x30000
PORT    equ 0x514
SIGNATURE equ 0x554d4551                ; "QEMU", item 0
CONTROL equ 0x0a000000                  ; big-endian: select, read

main:
        mov dword [wrongs], 0
        mov dx, PORT
        in eax, dx
        EQUAL "the device is there", eax, SIGNATURE
        mov byte [CODE_AT], 0xb8
        mov byte [CODE_AT + 5], 0xc3
        HOT 60
        mov eax, [hot]
        mov [CODE_AT + 1], eax
        mov edx, CODE_AT
        mov ecx, 20
.warm:  call edx
        loop .warm
        sub eax, [hot]
        or [wrongs], eax
        mov ebx, CODE_AT + 1
        mov ecx, 4
        call dma
        mov edx, CODE_AT
        call edx
        sub eax, SIGNATURE
        or [wrongs], eax
        COOL
        EQUAL "DMA over hot code", [wrongs], 0
        ; over the instruction that follows the request
        HOT 60
        mov eax, [hot]
        mov [.next + 1], eax
        mov ebx, .next + 1
        mov ecx, 4
        call make_descriptor
        mov dx, PORT + 4
        mov eax, [place]
        out dx, eax
.next:  mov eax, 0
        sub eax, SIGNATURE
        or [wrongs], eax
        COOL
        EQUAL "DMA over the next instruction", [wrongs], 0
        ; in a page that is written all the time, over what is a part of its code
        mov dword [CODE_AT], 0xc169     ; imul eax, ecx, imm32; ret
        mov dword [CODE_AT + 4], 0xc30000
        OPEN CODE_AT, CODE_AT + 0x800
        HOT 60
        mov eax, [hot]
        mov [CODE_AT + 2], eax
        mov edx, CODE_AT
        mov ebx, 20
.beside: mov ecx, 1
        call edx
        dec ebx
        jnz .beside
        sub eax, [hot]
        or [wrongs], eax
        mov ebx, CODE_AT + 2
        mov ecx, 4
        call dma
        mov edx, CODE_AT
        mov ecx, 1
        call edx
        sub eax, SIGNATURE
        or [wrongs], eax
        COOL
        EQUAL "DMA over code beside changing data", [wrongs], 0
        ; across two pages
        mov byte [CODE_AT + 0xffd], 0xb8
        mov byte [CODE_AT + 0x1002], 0xc3
        HOT 60
        mov dword [CODE_AT + 0xffe], 0x11223344
        mov edx, CODE_AT + 0xffd
        call edx
        mov ebx, CODE_AT + 0xffe
        mov ecx, 4
        call dma
        mov edx, CODE_AT + 0xffd
        call edx
        sub eax, SIGNATURE
        or [wrongs], eax
        COOL
        EQUAL "DMA over an instruction in two pages", [wrongs], 0
        ret

; EBX where to, ECX how many bytes
dma:    call make_descriptor
        mov dx, PORT + 4
        mov eax, [place]
        out dx, eax
.wait:  cmp dword [descriptor], 0
        jne .wait
        ret
make_descriptor:
        mov dword [descriptor], CONTROL
        bswap ecx
        mov [descriptor + 4], ecx
        mov dword [descriptor + 8], 0
        bswap ebx
        mov [descriptor + 12], ebx
        mov eax, descriptor
        bswap eax
        mov [place], eax
        mov dx, PORT
        xor eax, eax
        out dx, eax
        ret

        align 4096
descriptor: times 4 dd 0
place:   dd 0
wrongs:  dd 0

        GUEST_END
