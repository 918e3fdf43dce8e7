; SPDX-License-Identifier: MIT
;
; Interrupts: when they are taken and what they leave behind. The 8254 makes them, by way of the
; 8259, on vector 30h.

%include "guest.inc"


main:
        HOOK IRQ_BASE, irq_handler
        mov ax, 0xfffe                  ; only IRQ 0
        call make_irqs

        ; ---- IF ----
        call arm                        ; one interrupt in 60 us
        call spin
        EQUAL "no interrupt with IF clear", [irq_count], 0
.s0:    sti
.s1:    nop
.s2:    cli
        EQUAL "taken after sti and one instruction", [irq_count], 1
        EQUAL "  which has been executed", [irq_eip], .s2
        EQUAL "  IF was pushed", [irq_flags], 0x200
        mov eax, esp
        push eax
        mov ebx, [irq_esp]
        cmp ebx, eax
        sete al
        movzx eax, al
        EQUAL "  sp is what it was", eax, 1
        pop eax

        ; ---- STI before CLI opens no window ----
        call arm
        call spin
        sti
        cli
        nop
        nop
        EQUAL "sti, cli", [irq_count], 0
        sti
        sti
        EQUAL "sti, sti", [irq_count], 1 ; IF was set at the second
        cli

        ; ---- POPF and IRET open at once ----
        call arm
        call spin
        push dword 0x202
        popfd
.p1:    cli
        EQUAL "popf", [irq_count], 1
        EQUAL "  taken behind it", [irq_eip], .p1
        call arm
        call spin
        push dword 0x202
        push cs
        push dword .i1
        iretd
.i1:    cli
        EQUAL "iret", [irq_count], 1
        EQUAL "  taken at its target", [irq_eip], .i1

        ; ---- MOV SS ----
        call arm
        call spin
        mov ecx, DATA0
        sti
        mov ss, cx                      ; in the shadow of STI, and casts its own
.m1:    nop
.m2:    cli
        EQUAL "sti, mov ss, nop", [irq_count], 1
        EQUAL "  taken behind nop", [irq_eip], .m2

        ; ---- HLT ----
        call arm
        sti
.h0:    hlt
.h1:    cli
        EQUAL "hlt waits", [irq_count], 1
        EQUAL "  and goes on behind", [irq_eip], .h1
        call arm
        call spin
        sti
        hlt                             ; in the shadow of STI; must not sleep for ever
.h2:    cli
        EQUAL "sti, hlt with one pending", [irq_count], 1
        EQUAL "  taken behind hlt", [irq_eip], .h2

        ; ---- a loop without exits, then REP ----
        call arm
        sti
.wait:  cmp dword [irq_count], 0
        je .wait
        cli
        EQUAL "interrupts a loop", [irq_count], 1
        call arm
        sti
two_pages:
        cmp dword [irq_count], 0
        je .far
        cli
        EQUAL "interrupts a loop over two pages", [irq_count], 1
        jmp one_page
.far:   jmp other_page
one_page:

        call arm
        xor ebx, ebx
        sti
.again: mov ecx, 0x8000
        mov esi, 0x200000
        mov edi, 0x300000
        cld
.r0:    rep movsd
.r1:    inc ebx
        cmp ebx, 200000      ; of 128 KiB: a thread that is to bring the tick may have to wait for its turn
        ja .done
        cmp dword [irq_count], 0
        je .again
.done:  cli
        EQUAL "interrupts rep movsd", [irq_count], 1
        mov eax, [irq_eip]
        sub eax, .r0
        jnz .not_inside
        cmp dword [irq_ecx], 0x8000     ; taken before the first iteration
        je .not_inside
        mov eax, [irq_flags]
        and eax, 0x10000
        EQUAL "  RF is pushed between iterations", eax, 0x10000
        mov eax, [irq_ecx]
        mov ecx, [irq_esi]
        sub ecx, 0x200000
        shr ecx, 2
        add eax, ecx
        EQUAL "  rCX and rSI agree", eax, 0x8000
        jmp .nested
.not_inside:
        EQUAL "  (not met inside)", 0, 0
        EQUAL "  (not met inside)", 0, 0

        ; ---- in ring 3: to the stack of ring 0 ----
.nested:
        call arm
        mov [try_esp], esp
        mov dword [resume], .ring0
        mov eax, DATA3
        mov ds, ax
        mov es, ax
        push eax                        ; not before ring 3, however long the host sleeps
        push dword STACK3
        push dword 0x202
        push dword CODE3
        push dword .user
        iretd
.user:  cmp dword [irq_count], 0
        je .user
        int LEAVE_VECTOR
.ring0: cli
        EQUAL "interrupts ring 3", [irq_count], 1
        EQUAL "  on the stack of ring 0", [irq_esp], STACK0 - 0x800 - 8
        ret

; Arms the timer and clears the notes.
arm:    mov dword [irq_count], 0
        mov al, 0x30
        out 0x43, al
        mov al, 70
        out 0x40, al
        xor al, al
        out 0x40, al
        ret

; Until the 8259 has the request.
spin:   mov al, 0x0a                    ; OCW3: read IRR
        out 0x20, al
.again: in al, 0x20
        test al, 1
        jz .again
        ret

irq_handler:
        inc dword [irq_count]
        push eax
        mov eax, [esp + 4]
        mov [irq_eip], eax
        mov eax, [esp + 12]
        and eax, 0x10200
        mov [irq_flags], eax
        lea eax, [esp + 16]
        mov [irq_esp], eax
        mov [irq_ecx], ecx
        mov [irq_esi], esi
        mov al, 0x20
        out 0x20, al
        pop eax
        iretd

        align 4096
irq_count: dd 0
irq_eip:   dd 0
irq_flags: dd 0
irq_esp:   dd 0
irq_ecx:   dd 0
irq_esi:   dd 0

        align 4096
other_page:
        jmp two_pages

        GUEST_END
