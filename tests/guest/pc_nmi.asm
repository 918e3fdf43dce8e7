; SPDX-License-Identifier: MIT
;
; The non-maskable interrupt, which the local APIC sends to its own CPU: taken with IF clear, pending
; while one is handled, until any IRET.

%include "guest.inc"

APIC_SVR equ 0xfee000f0
APIC_ICR equ 0xfee00300

SVR_ON        equ 0x1ff
ICR_NMI_SELF  equ 0x44400               ; to oneself, assert, NMI
PATIENCE      equ 1000000

%macro SEND_NMI 0
        mov dword [APIC_ICR], ICR_NMI_SELF
%endmacro

; AWAIT count: until so many have been taken, or for ever as it were.
%macro AWAIT 1
        mov ecx, PATIENCE
%%wait: cmp dword [taken], %1
        je %%done
        dec ecx
        jnz %%wait
%%done:
%endmacro

; NMIS more, returns, count: one NMI, whose handler sends so many more, and executes another handler's
; IRET behind that if `returns` is 1, until there have been so many as count.
%macro NMIS 3
        xor eax, eax
        mov [taken], eax
        mov [depth], eax
        mov [deepest], eax
        mov dword [again], %1
        mov byte [with_int], %2
        SEND_NMI
        AWAIT %3
%endmacro

main:
        HOOK 2, nmi_handler
        HOOK 0x45, int_handler
        mov dword [APIC_SVR], SVR_ON
        cli
        NMIS 0, 0, 1
        EQUAL "taken with IF clear", [taken], 1
        EQUAL "  and pushed so", [flags], 2

        NMIS 1, 0, 2
        EQUAL "one sent while one is handled", [taken], 2
        EQUAL "  waits for IRET", [deepest], 1

        NMIS 1, 1, 2
        EQUAL "IRET of another handler", [taken], 2
        EQUAL "  lets it in already", [deepest], 2

        NMIS 2, 0, 2
        EQUAL "two sent while one is handled are one", [taken], 2
        EQUAL "  and not within it", [deepest], 1
        ret

; Sends itself as many more as [again] says, waits a while, perhaps behind another handler's IRET.
nmi_handler:
        push eax
        push ecx
        inc dword [taken]
        inc dword [depth]
        mov eax, [depth]
        cmp eax, [deepest]
        jbe .known
        mov [deepest], eax
.known: mov eax, [esp + 16]
        mov [flags], eax
        and dword [flags], 0x202
        mov ecx, [again]
        jecxz .end
        mov dword [again], 0
.send:  SEND_NMI
        loop .send
        cmp byte [with_int], 0
        je .linger
        int 0x45
.linger:
        mov ecx, 1000
        loop $
.end:   dec dword [depth]
        pop ecx
        pop eax
        iretd

int_handler:
        iretd

        align 4096
taken:    dd 0
again:    dd 0
depth:    dd 0
deepest:  dd 0
flags:    dd 0
with_int: dd 0

        GUEST_END
