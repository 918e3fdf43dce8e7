; SPDX-License-Identifier: MIT
;
; Repeated string instructions under a timer that interrupts them again and again: each must go on
; where it was, with every register as if nothing had been, upwards and downwards, within one buffer
; and overlapping. The handler changes all the registers that it may, and counts what it found.

%define ROUNDS 12
%include "guest.inc"

FROM    equ 0x200000
TARGET      equ 0x300000
COUNT   equ 0x4000

main:
        HOOK IRQ_BASE, irq_handler
        mov ax, 0xfffe                  ; only IRQ 0
        call make_irqs
        mov al, 0x34                    ; a rate generator, 10 kHz
        out 0x43, al
        mov al, 120
        out 0x40, al
        xor al, al
        out 0x40, al
        mov dword [wrongs], 0
        cld
        mov edi, FROM
        mov ecx, COUNT
        mov eax, [round]
.fill:  imul eax, eax, 1103515245
        add eax, 12345
        stosd
        loop .fill
        sti
        HOT 8
        ; to another buffer
        mov esi, FROM
        mov edi, TARGET
        mov ecx, COUNT
        rep movsd
        call .ends
        mov esi, FROM
        mov edi, TARGET
        mov ecx, COUNT
        repe cmpsd
        jne .bad
        call .ends
        ; downwards, bytes
        std
        mov esi, FROM + COUNT - 1
        mov edi, TARGET + 2 * COUNT - 1
        mov ecx, COUNT
        rep movsb
        cld
        cmp esi, FROM - 1
        jne .bad
        cmp edi, TARGET + COUNT - 1
        jne .bad
        mov esi, FROM
        mov edi, TARGET + COUNT
        mov ecx, COUNT
        repe cmpsb
        jne .bad
        ; one store runs through the buffer
        mov esi, TARGET
        mov edi, TARGET + 1
        mov ecx, COUNT
        mov byte [TARGET], 0x5a
        rep movsb
        mov edi, TARGET
        mov ecx, COUNT + 1
        mov al, 0x5a
        repe scasb
        jne .bad
        ; the sum by lodsd has as many steps
        mov edi, TARGET
        mov ecx, COUNT
        mov eax, 0x01010101
        rep stosd
        test ecx, ecx
        jnz .bad
        mov edi, TARGET
        mov ecx, COUNT
        repe scasd
        jne .bad
        cmp edi, TARGET + 4 * COUNT
        jne .bad
        mov esi, TARGET
        mov ecx, COUNT
        rep lodsw
        cmp esi, TARGET + 2 * COUNT
        jne .bad
        ; the one that is different, near the end
        mov byte [TARGET + 3 * COUNT], 2
        mov edi, TARGET
        mov ecx, 4 * COUNT
        mov al, 2
        repne scasb
        jne .bad
        cmp edi, TARGET + 3 * COUNT + 1
        jne .bad
        jmp .good
.bad:   inc dword [wrongs]
        cld
.good:  COOL
        cli
        EQUAL "strings under interrupts", [wrongs], 0
        ; single instructions without memory must not see it either: a long sum
        sti
        HOT 8
        mov ecx, 100000
        xor eax, eax
        xor edx, edx
.sum:   add eax, ecx
        adc edx, 0
        ror ebx, 3
        rol ebx, 3
        loop .sum
        cmp eax, 705082704
        jne .bad2
        cmp edx, 1
        je .good2
.bad2:  inc dword [wrongs]
.good2: mov ecx, 200000000              ; a fast engine has not seen many yet
.more:  cmp dword [interrupts], 10
        ja .enough
        loop .more
.enough: COOL
        cli
        EQUAL "a sum under interrupts", [wrongs], 0
        cmp dword [interrupts], 10
        seta al
        movzx eax, al
        EQUAL "there were many", eax, 1
        mov al, 0xff
        out 0x21, al
        ret
.ends:  cmp esi, FROM + 4 * COUNT
        jne .no
        cmp edi, TARGET + 4 * COUNT
        jne .no
        test ecx, ecx
        jz .yes
.no:    inc dword [wrongs]
.yes:   ret

irq_handler:
        pushad
        inc dword [interrupts]
        mov al, 0x20
        out 0x20, al
        mov esi, gdt
        mov edi, scratch
        mov ecx, 4
        cld
        rep movsd
        xor eax, eax
        cpuid
        popad
        iretd

        align 4096
wrongs:     dd 0
interrupts: dd 0
scratch:    times 4 dd 0

        GUEST_END
