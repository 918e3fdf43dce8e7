; SPDX-License-Identifier: MIT
;
; INIT: it starts the CPU at the reset vector and resets its local APIC, but leaves caches, FPU,
; vector registers, most MSRs, the I/O APIC and the rest of the board alone (SDM 3A table 9-1,
; §10.4.7.3). It comes by an interprocessor interrupt of the CPU to itself, from ring 0, ring 3 and
; with NMI held back, and by the I/O APIC when the 8254 has counted: into a loop that is hot, into
; HLT with interrupts disabled, into a repeated string instruction, into real mode. What has happened
; so far is told at 600h.

%define ROUNDS 1
%define HAVE_REAL_TESTS
%include "guest.inc"
%include "story.inc"

MAGIC   equ 0x54494e49
TIMES_EACH equ 3
IMAGE   equ BASE >> 4

NOTES_WHY     equ STORY + 0x40          ; the first note that was wrong, for who looks for it

LAPIC         equ 0xfee00000
LAPIC_SVR     equ LAPIC + 0xf0
LAPIC_ICR     equ LAPIC + 0x300
LAPIC_ICR_HIGH equ LAPIC + 0x310
LAPIC_LINT0   equ LAPIC + 0x350
LAPIC_ID      equ LAPIC + 0x20
SEND_INIT equ 0x4500                    ; INIT, assert, to the physical ID in icr_high
SEND_NMI  equ 0x4400
IOAPIC  equ 0xfec00000
TIMER_PIN equ 0x10 + 2 * 2              ; its redirection entry: pin 2
PIN_INIT  equ 0x500
PIN_MASKED equ 0x10000
OTHER_PIN equ 0x1a854                   ; a pin that is not used: masked, level, low, logical
MSR_SYSENTER_CS equ 0x174

main:
        STORY_BEGINS MAGIC, start
        call look_at_notes
        test eax, eax
        jnz bad
        call look_further
        test eax, eax
        jz next
bad:    mov [NOTES_WHY], eax
        inc dword [STORY_WRONG]
        jmp next
start:  mov dword [NOTES_WHY], 0

; Leaves as little as possible as it was, then goes the next way.
next:   mov dword [IOAPIC], TIMER_PIN
        mov dword [IOAPIC + 0x10], PIN_MASKED
        NEXT_WAY .done
        mov ebx, edx
        mov ecx, MSR_SYSENTER_CS
        mov eax, 0x1234
        xor edx, edx
        wrmsr
        mov dword [LAPIC_SVR], 0x1ff
        mov dword [LAPIC_LINT0], 0x700
        mov dword [IOAPIC], TIMER_PIN + 2
        mov dword [IOAPIC + 0x10], OTHER_PIN
        call disturb
        xor eax, eax
        mov dr7, eax
        fninit
        mov dword [number], 77
        fild dword [number]
        mov eax, 0x5a5a1234
        movd xmm5, eax
        jmp [ways + ebx * 4]
.done:  STORY_ENDS "INITs"
        EQUAL "  the last by note", [NOTES_WHY], 0
        ret

; What is INIT's: 0, or the note of what is wrong.
look_further:
        mov eax, 1
        cpuid
        cmp [NOTES_EDX], eax            ; the signature
        WRONG_UNLESS e, 7
        mov ecx, MSR_SYSENTER_CS
        rdmsr
        cmp eax, 0x1234
        WRONG_UNLESS e, 8
        cmp dword [LAPIC_SVR], 0xff     ; off, as after reset
        WRONG_UNLESS e, 9
        cmp dword [LAPIC_LINT0], 0x10000
        WRONG_UNLESS e, 10
        fnstsw ax                       ; the FPU is not initialised
        and eax, 0x3800
        cmp eax, 0x3800
        WRONG_UNLESS e, 11
        fistp dword [number]
        cmp dword [number], 77
        WRONG_UNLESS e, 12
        CR_SET cr4, CR4_OSFXSR
        movd eax, xmm5
        cmp eax, 0x5a5a1234
        WRONG_UNLESS e, 13
        mov dword [IOAPIC], TIMER_PIN + 2
        cmp dword [IOAPIC + 0x10], OTHER_PIN
        WRONG_UNLESS e, 14
        xor eax, eax
        ret

        align 4
ways:   dd by_ipi, by_ipi_of_ring3, in_nmi, in_hot_loop, in_hot_loop_of_ring3, in_hlt, in_rep
        dd in_real_mode
WAYS    equ ($ - ways) / 4

; ---- by the CPU itself ----

; SEND_SELF command
%macro SEND_SELF 1
        mov eax, [LAPIC_ID]
        and eax, 0xff000000
        mov [LAPIC_ICR_HIGH], eax
        mov dword [LAPIC_ICR], %1
        jmp wait_for_it
%endmacro

by_ipi_of_ring3:
        RING3
by_ipi: SEND_SELF SEND_INIT
; Within the handler of an NMI, which holds back further ones, but not an INIT.
in_nmi: HOOK 2, by_ipi
        SEND_SELF SEND_NMI

; ---- by the timer: a pin that sends INIT ----

; In ECX 8254 clocks.
arm:    mov dword [IOAPIC], TIMER_PIN + 1
        mov eax, [LAPIC_ID]
        and eax, 0xff000000
        mov [IOAPIC + 0x10], eax
        mov dword [IOAPIC], TIMER_PIN
        mov dword [IOAPIC + 0x10], PIN_INIT
        mov al, 0x30                    ; counter 0, mode 0: its output rises at the end
        out 0x43, al
        mov al, cl
        out 0x40, al
        mov al, ch
        out 0x40, al
        ret

in_hot_loop:
        mov ecx, 6000
        call arm
.loop:  add eax, 3
        mov [number], eax
        xor eax, ebx
        jmp .loop
in_hot_loop_of_ring3:
        mov ecx, 6000
        call arm
        RING3
        jmp in_hot_loop.loop
in_hlt: mov ecx, 600
        call arm
wait_for_it:
        hlt
        jmp wait_for_it
in_rep: mov ecx, 600
        call arm
.again: mov ecx, 0x100000
        mov edi, 0x200000
        cld
        rep stosd
        jmp .again
in_real_mode:
        mov ecx, 6000
        call arm
        lidt [real_idt]
        jmp CODE16:R(.in16)
        bits 16
.in16:  mov eax, cr0
        and al, ~1
        mov cr0, eax
        jmp IMAGE:R(.real)
.real:  inc bx
        jmp .real

        bits 32
        align 4096
number: dd 0
real_idt:
        dw 0x3ff
        dd 0

        GUEST_END
