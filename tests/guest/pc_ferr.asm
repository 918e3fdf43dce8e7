; SPDX-License-Identifier: MIT
;
; The way of the AT: with CR0.NE clear an x87 error is interrupt 13 of the second 8259. The next
; instruction that looks at errors waits for it; the handler writes to port F0h, which makes the FPU
; ignore the error until it is cleared.

%include "guest.inc"

IRQ13   equ 0x3d

main:
        mov eax, irq_handler
        mov [idt + IRQ13 * 8], ax
        shr eax, 16
        mov [idt + IRQ13 * 8 + 6], ax
        mov dword [0xfee000f0], 0x1ff   ; the local APIC lets the 8259 through
        mov dword [0xfee00350], 0x700
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x30
        out 0x21, al
        mov al, 0x38
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfb                    ; only the cascade
        out 0x21, al
        mov al, 0xdf                    ; only IRQ 13
        out 0xa1, al
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
        mov eax, cr0
        or eax, 0x20
        mov cr0, eax
        TRY
        fldcw [unmasked]
        fld1
        fldz
        fdivp st1, st0
        wait
        CAUGHT "with NE", 16, 0
        fninit
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
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
