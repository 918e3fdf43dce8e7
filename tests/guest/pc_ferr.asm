; SPDX-License-Identifier: MIT
;
; The way of the AT: with CR0.NE clear an x87 error is interrupt 13 of the second 8259. The next
; instruction that looks at errors waits for it; the handler writes to port F0h, which makes the FPU
; ignore the error until it is cleared.

%include "guest.inc"

IRQ13   equ IRQ_BASE + 13

main:
        HOOK IRQ13, irq_handler
        mov ax, 0xdffb                  ; only IRQ 13, by way of the cascade
        call make_irqs
        mov dword [wrongs], 0
        mov dword [count], 0
        sti
        HOT 40
        fninit
        fldcw [unmasked]
        fld1
        fldz
        fdivp st1, st0
.at:    wait
        nop
        fnstsw ax
        test al, 0x80                   ; the handler has cleared it
        jz .good
        inc dword [wrongs]
.good:  mov eax, 41
        sub eax, [hot]
        sub eax, [count]
        or [wrongs], eax
        COOL
        EQUAL "IRQ 13 once for each error", [wrongs], 0
        ; IGNNE#: after F0h is written the FPU goes on although the error stays
        mov dword [ignore], 1
        mov dword [count], 0
        fninit
        fldcw [unmasked]
        fld1
        fldz
        fdivp st1, st0
        wait
        fld1
        fld1
        fnstsw ax
        and eax, 0x84
        EQUAL "the error that the handler left", eax, 0x84
        EQUAL "  one interrupt", [count], 1
        mov dword [ignore], 0
        fnclex
        fninit
        cli
        ; with NE it is #MF
        CR_SET cr0, CR0_NE
        TRY
        fldcw [unmasked]
        fld1
        fldz
        fdivp st1, st0
        wait
        CAUGHT "with NE", 16, 0
        fninit
        call no_interrupts
        ret

irq_handler:
        push eax
        inc dword [count]
        xor al, al
        out 0xf0, al
        cmp dword [ignore], 0
        jne .leave
        fnclex
.leave: mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop eax
        iretd

        align 4096
unmasked: dd 0x37f & ~4
wrongs:  dd 0
count:   dd 0
ignore:  dd 0

        GUEST_END
