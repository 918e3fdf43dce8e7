; SPDX-License-Identifier: MIT
;
; All ways to reset a PC, several times over: port 92h, the 8042's pulse and its output port, the
; reset control register CF9h, a triple fault in 32-bit and in 16-bit mode. After each the CPU is as
; after power-on and memory as it was. What has happened so far is told at 600h, which no reset clears.

%define ROUNDS 1
%define HAVE_REAL_TESTS
%include "guest.inc"
%include "story.inc"

MAGIC   equ 0x52455345
WAYS    equ 6
TIMES_EACH equ 3

main:
        STORY_BEGINS MAGIC, .next
        call look_at_notes
        test eax, eax
        jnz .bad
        cmp dword [0x100000], 0x12345678        ; and A20 is open: not 0's
        je .next
.bad:   inc dword [STORY_WRONG]
.next:  mov dword [0x100000], 0x12345678
        mov dword [0], 0x55555555
        NEXT_WAY .done
        call disturb
        jmp [.ways + edx * 4]
.done:  STORY_ENDS "resets"
        ret
        align 4
.ways:  dd .port92, .pulse, .output_port, .cf9, .triple, .triple16

.port92:
        in al, 0x92
        and al, ~1
        out 0x92, al
        or al, 1
        out 0x92, al
        jmp wait_for_it
.pulse: call ready
        mov al, 0xfe
        out 0x64, al
        jmp wait_for_it
.output_port:
        call ready
        mov al, 0xd1
        out 0x64, al
        call ready
        mov al, 0xde                    ; bit 0 is the CPU's reset line, low active
        out 0x60, al
        jmp wait_for_it
.cf9:   mov dx, 0xcf9
        mov al, 2
        out dx, al
        mov al, 6
        out dx, al
        jmp wait_for_it
.triple:
        lidt [no_idt]
        int3
        jmp wait_for_it
.triple16:
        lidt [no_idt]
        jmp CODE16:R(.in16)
        bits 16
.in16:  mov eax, cr0
        and al, ~1
        mov cr0, eax
        jmp IMAGE:R(.real)
.real:  int 0x20
        bits 32
        jmp wait_for_it

IMAGE   equ BASE >> 4
ready:  in al, 0x64
        test al, 2
        jnz ready
        ret
wait_for_it:
        hlt
        jmp wait_for_it
        align 4
no_idt: dw 0
        dd 0

        GUEST_END
