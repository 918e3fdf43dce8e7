; SPDX-License-Identifier: MIT
;
; Virtual-8086 mode: what traps at IOPL 0 and what does not, what a deprivileged real-mode program
; sees at IOPL 3, the frame of its exceptions; the extensions (VME): virtual IF, redirected INT;
; and the same virtual IF in protected mode (PVI).

%include "guest.inc"

IOPL3   equ 0x3000
VIF     equ 0x80000
VIP     equ 0x100000
IF      equ 0x200
IMAGE equ BASE >> 4
V86_SP  equ 0xa000
REDIRECT equ 0x68                       ; in the TSS: 32 bytes, then the I/O map
IOMAP   equ REDIRECT + 32

; V86 flags: on in virtual-8086 mode, CS and data segments at the image, SS 0.
%macro V86 1
        push dword IMAGE
        push dword IMAGE
        push dword IMAGE
        push dword IMAGE
        push dword 0
        push dword V86_SP
        push dword 0x20002 | (%1)
        push dword IMAGE
        push dword R(%%here)
        iretd
        bits 16
%%here:
%endmacro
; V86_CAUGHT "name", vector, error: INT3 is how a part without a fault ends, at any IOPL.
%macro V86_CAUGHT 3
        int3
        bits 32
%$after:
        %pop
        jmp %%go
%%text: db %1, 0
%%go:   mov esi, %%text
        mov ebx, %2
        mov ecx, %3
        cmp dword [exc_vector], 3
        jne %%fault
        mov dword [exc_vector], NO_FAULT
%%fault: call report_fault
%endmacro
; TRAPS "name", instruction: #GP(0) at IOPL 0, at the instruction itself
%macro TRAPS 2
        TRY
        V86 0
        mov ax, 0x1234
%%at:   %2
        V86_CAUGHT %1, 13, 0
        mov eax, [exc_eip]
        sub eax, R(%%at)
        EQUAL "  ip", eax, 0
%endmacro
%macro UNDEFINED 2
        TRY
        V86 0
        mov ax, 0x1234
        %2
        V86_CAUGHT %1, 6, 0
%endmacro

main:
        call no_interrupts
        mov dword [wrongs], 0
        mov edi, tss + REDIRECT
        mov ecx, 8
        mov eax, -1
        cld
        rep stosd
        mov word [tss + 102], IOMAP
        mov word [gdt + TSS0], IOMAP + 31
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        call traps
        call direct
        call frames
        call segments
        mov eax, 1
        cpuid
        test edx, 2                     ; VME
        jz .end
        call redirected
        call virtual_if
        call pvi
.end:   ret

; ---- IOPL 0 ----
traps:
        TRAPS "cli", cli
        TRAPS "sti", sti
        TRAPS "pushf", pushf
        TRAPS "pushfd", pushfd
        TRAPS "popf", popf
        TRAPS "iret", iret
        TRAPS "int 20h", int 0x20
        TRAPS "hlt", hlt
        TRAPS "mov eax, cr0", {mov eax, cr0}
        TRAPS "mov cr3, eax", {mov cr3, eax}
        TRAPS "mov eax, dr7", {mov eax, dr7}
        TRAPS "lmsw", lmsw ax
        TRAPS "clts", clts
        TRAPS "lgdt", lgdt [R(scratch)]
        TRAPS "invd", invd
        TRAPS "rdmsr", rdmsr
        TRAPS "in", {in al, 0x61}
        TRAPS "out", {out 0x80, al}
        UNDEFINED "sldt", sldt ax
        UNDEFINED "str", str ax
        UNDEFINED "lldt", lldt ax
        UNDEFINED "ltr", ltr ax
        UNDEFINED "verr", verr ax
        UNDEFINED "lar", {lar ax, ax}
        UNDEFINED "lsl", {lsl ax, ax}
        UNDEFINED "arpl", {db 0x63, 0xc0}
        UNDEFINED "ud2", ud2
        TRY
        V86 0
        smsw [R(got)]
        sgdt [R(got + 4)]
        sidt [R(got + 12)]
        V86_CAUGHT "smsw, sgdt, sidt", NO_FAULT, 0
        mov eax, cr0
        movzx eax, ax
        movzx ebx, word [got]
        sub eax, ebx
        EQUAL "  smsw is cr0", eax, 0
        EQUAL "  gdt", [got + 6], gdt
        EQUAL "  idt", [got + 14], idt
        HOT 40
        TRY
        V86 0
        mov cx, 100
        xor bx, bx
.loop:  add bx, cx
        loop .loop
        cli
        V86_CAUGHT "a loop, then cli", 13, 0
        movzx eax, word [exc_ebx]
        sub eax, 5050
        or [wrongs], eax
        COOL
        EQUAL "  its sum each time", [wrongs], 0
        TRY
        V86 0
        mov al, 0x7f
        inc al
        into
        V86_CAUGHT "into at IOPL 0", 4, 0
        ret

; ---- IOPL 3 ----
direct:
        TRY
        V86 IOPL3
        pushf
        pop ax
        sti
        pushf
        pop bx
        cli
        pushf
        pop cx
        push word 0x4ed7                ; NT, OF, DF, IF, all arithmetic; IOPL 0 has no effect
        popf
        pushf
        pop dx
        V86_CAUGHT "pushf, popf, cli, sti", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  first", eax, 0x3002
        movzx eax, word [exc_ebx]
        EQUAL "  after sti", eax, 0x3202
        movzx eax, word [exc_ecx]
        EQUAL "  after cli", eax, 0x3002
        movzx eax, word [exc_edx]
        EQUAL "  after popf", eax, 0x7ed7
        TRY
        V86 IOPL3 | IF
        pushfd
        pop eax
        push dword 0x00240002           ; ID, AC; VM and IOPL not
        popfd
        pushfd
        pop ebx
        push word 0
        popf
        V86_CAUGHT "pushfd, popfd", NO_FAULT, 0
        EQUAL "  pushfd shows no VM", [exc_eax], 0x3202
        EQUAL "  after popfd", [exc_ebx], 0x243002
        TRY
        V86 IOPL3
        push word 0x0202
        push word IMAGE + 1
        push word R(.target - 16)
        iret
        nop
.target: pushf
        pop ax
        mov bx, cs
        V86_CAUGHT "iret", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  flags keep IOPL", eax, 0x3202
        movzx eax, word [exc_ebx]
        EQUAL "  cs", eax, IMAGE + 1
        TRY
        V86 IOPL3
        int 0x20
        V86_CAUGHT "int 20h through the IDT", NO_FAULT, 0
        TRY
        V86 IOPL3
        int 0x45
        V86_CAUGHT "int 45h, whose gate has DPL 0", 13, 0x45 * 8 + 2
        TRY
        V86 IOPL3
        in al, 0x61
        V86_CAUGHT "in needs the map at IOPL 3 too", 13, 0
        TRY
        V86 IOPL3
        hlt
        V86_CAUGHT "hlt", 13, 0
        mov byte [tss + IOMAP + 0x80 / 8], 0xfe
        TRY
        V86 0
        out 0x80, al
        V86_CAUGHT "out to a port that the map allows", NO_FAULT, 0
        mov byte [tss + IOMAP + 0x80 / 8], 0xff
        ret

; ---- exceptions: the frame ----
frames:
        TRY
        V86 0
        mov ax, 0x1111
        mov ds, ax
        mov ax, 0x2222
        mov es, ax
        mov ax, 0x3333
        mov fs, ax
        mov ax, 0x4444
        mov gs, ax
        mov sp, 0x9000
        xor cx, cx
        div cx
        V86_CAUGHT "divide error", 0, 0
        mov edi, [exc_esp]
        EQUAL "  on the stack of ring 0", edi, STACK0 - 0x800 - 24
        mov edi, [exc_esp]
        EQUAL "  esp", [edi], 0x9000
        mov edi, [exc_esp]
        EQUAL "  ss", [edi + 4], 0
        mov edi, [exc_esp]
        EQUAL "  es", [edi + 8], 0x2222
        mov edi, [exc_esp]
        EQUAL "  ds", [edi + 12], 0x1111
        mov edi, [exc_esp]
        EQUAL "  fs", [edi + 16], 0x3333
        mov edi, [exc_esp]
        EQUAL "  gs", [edi + 20], 0x4444
        mov eax, [exc_eflags]
        and eax, 0x33000
        EQUAL "  flags with VM and RF", eax, 0x30000
        EQUAL "  cs", [exc_cs], IMAGE
        ; a handler that goes back into it
        HOOK 6, .handler
        HOT 40
        TRY
        V86 0
        mov ax, 0x1111
        mov ds, ax
        mov bx, 5
        ud2
        mov cx, ds
        ud2
        V86_CAUGHT "two ud2 that a monitor skips", NO_FAULT, 0
        cmp word [exc_ebx], 7
        jne .bad
        cmp word [exc_ecx], 0x1111
        je .good
.bad:   inc dword [wrongs]
.good:  COOL
        EQUAL "  each time", [wrongs], 0
        call make_idt
        ret
.handler:
        add dword [esp], 2
        inc ebx
        iretd

; ---- segments as in real mode ----
segments:
        mov dword [0x23456], 0x78787878
        mov dword [0x20000], 0x11223344
        TRY
        V86 0
        mov ax, 0x2345
        mov es, ax
        mov eax, [es:6]
        V86_CAUGHT "base is 16 times the selector", NO_FAULT, 0
        EQUAL "  value", [exc_eax], 0x78787878
        TRY
        V86 0
        mov ax, 0x2000
        mov es, ax
        mov ax, [es:0xffff]
        V86_CAUGHT "a word at 0ffffh", 13, 0
        TRY
        V86 0
        mov ebx, 0x10000
        mov al, [ebx]
        V86_CAUGHT "a 32-bit address above 64 KiB", 13, 0
        TRY
        V86 0
        mov sp, 1
        push ax
        V86_CAUGHT "push at sp 1", 12, 0
        TRY
        V86 0
        mov sp, 2
        push word 0x55aa
        mov bp, sp
        xor sp, sp
        mov ax, [bp]
        sub sp, 0x100
        V86_CAUGHT "push at sp 2", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  value", eax, 0x55aa
        TRY
        V86 0
        call IMAGE:R(.far)
        jmp .behind
.far:   mov bp, sp
        mov ax, [bp + 2]
        mov bx, cs
        retf
.behind:
        V86_CAUGHT "far call", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  pushed cs", eax, IMAGE
        TRY
        V86 0
        mov eax, 0x10000
        jmp eax
        V86_CAUGHT "jmp beyond 64 KiB", 13, 0
        TRY
        V86 0
        lds bx, [R(.pointer)]
        mov ax, ds
        V86_CAUGHT "lds", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  ds is any number", eax, 0xfff3
        ret
.pointer: dw 0x1234, 0xfff3

; ---- VME: INT by the vector table of the program ----
redirected:
        CR_SET cr4, CR4_VME
        mov word [0x60 * 4], R(.handler)
        mov word [0x60 * 4 + 2], IMAGE
        mov byte [tss + REDIRECT + 0x60 / 8], 0xfe
        HOT 40
        TRY
        V86 IOPL3 | IF
        stc
        int 0x60
        mov dx, sp
        V86_CAUGHT "int 60h, redirected at IOPL 3", NO_FAULT, 0
        movzx eax, word [exc_edx]
        sub eax, V86_SP
        or [wrongs], eax
        COOL
        EQUAL "  sp afterwards each time", [wrongs], 0
        movzx eax, word [exc_eax]
        EQUAL "  flags in the handler", eax, 0x3003
        movzx eax, word [exc_ebx]
        EQUAL "  flags pushed", eax, 0x3203
        movzx eax, word [exc_ecx]
        EQUAL "  cs pushed", eax, IMAGE
        TRY
        V86 IOPL3
        int 0x61
        V86_CAUGHT "int 61h, not redirected", 13, 0x61 * 8 + 2
        TRY
        V86 0
        int 0x61
        V86_CAUGHT "  at IOPL 0", 13, 0
        HOT 40
        TRY
        V86 VIF
        stc
        int 0x60
        pushf
        pop dx
        V86_CAUGHT "int 60h, redirected at IOPL 0", NO_FAULT, 0
        movzx eax, word [exc_eax]
        sub eax, 0x3003
        or [wrongs], eax
        movzx eax, word [exc_ebx]
        sub eax, 0x3203
        or [wrongs], eax
        movzx eax, word [exc_edx]
        sub eax, 0x3203
        or [wrongs], eax
        COOL
        EQUAL "  its flags: VIF for IF, IOPL 3", [wrongs], 0
        CR_CLEAR cr4, CR4_VME
        TRY
        V86 IOPL3
        int 0x60
        V86_CAUGHT "without VME through the IDT", 13, 0x60 * 8 + 2
        ret
        bits 16
.handler:
        pushf
        pop ax
        mov bp, sp
        mov cx, [bp + 2]
        mov bx, [bp + 4]
        iret
        bits 32

; ---- VME: the virtual interrupt flag ----
virtual_if:
        CR_SET cr4, CR4_VME
        HOT 40
        TRY
        V86 IF                          ; the real one stays
        sti
        pushf
        pop ax
        cli
        pushf
        pop bx
        push word 0x4ed7                ; NT and IF
        popf
        pushf
        pop cx
        push word 0x0000
        popf
        pushf
        pop dx
        V86_CAUGHT "cli, sti, pushf, popf", NO_FAULT, 0
        movzx eax, word [exc_eax]
        sub eax, 0x3202
        or [wrongs], eax
        movzx eax, word [exc_ebx]
        sub eax, 0x3002
        or [wrongs], eax
        movzx eax, word [exc_ecx]
        sub eax, 0x7ed7
        or [wrongs], eax
        movzx eax, word [exc_edx]
        sub eax, 0x3002
        or [wrongs], eax
        COOL
        EQUAL "  what pushf shows each time", [wrongs], 0
        TRY
        V86 0
        sti
        V86_CAUGHT "sti", NO_FAULT, 0
        mov eax, [exc_eflags]
        and eax, IF | IOPL3 | VIF
        EQUAL "  sets VIF only", eax, VIF
        TRY
        V86 IF | VIF
        cli
        V86_CAUGHT "cli", NO_FAULT, 0
        mov eax, [exc_eflags]
        and eax, IF | IOPL3 | VIF
        EQUAL "  clears VIF only", eax, IF
        TRY
        V86 VIP
        sti
        V86_CAUGHT "sti with VIP", 13, 0
        TRY
        V86 VIP
        push word 0x202
        popf
        V86_CAUGHT "popf with VIP that sets IF", 13, 0
        TRY
        V86 VIP
        push word 2
        popf
        V86_CAUGHT "one that does not", NO_FAULT, 0
        TRY
        V86 0
        push word 0x102
        popf
        V86_CAUGHT "popf that sets TF", 13, 0
        TRY
        V86 0
        pushfd
        V86_CAUGHT "pushfd", 13, 0
        TRY
        V86 0
        push dword 2
        popfd
        V86_CAUGHT "popfd", 13, 0
        TRY
        V86 0
        push word 0x0203
        push word IMAGE
        push word R(.target)
        iret
        nop
.target: pushf
        pop ax
        V86_CAUGHT "iret", NO_FAULT, 0
        movzx eax, word [exc_eax]
        EQUAL "  flags", eax, 0x3203
        mov eax, [exc_eflags]
        and eax, IF | VIF
        EQUAL "  VIF is set", eax, VIF
        TRY
        V86 VIP
        push word 0x0202
        push word IMAGE
        push word R(.target)
        iret
        V86_CAUGHT "iret with VIP that sets IF", 13, 0
        HOT 40
        TRY
        V86 VIF | VIP
.pending: mov ax, 0x1234
        V86_CAUGHT "entered with VIF and VIP", 13, 0
        mov eax, [exc_eip]
        sub eax, R(.pending)
        or [wrongs], eax
        mov eax, [exc_eflags]
        and eax, VIF | VIP
        xor eax, VIF | VIP
        or [wrongs], eax
        COOL
        EQUAL "  before the first instruction each time", [wrongs], 0
        TRY
        V86 IOPL3 | VIF | VIP
        V86_CAUGHT "  at IOPL 3 too", 13, 0
        TRY
        V86 0
        o32 iret
        V86_CAUGHT "iretd", 13, 0
        CR_CLEAR cr4, CR4_VME
        TRY
        V86 VIF | VIP
        V86_CAUGHT "without VME entered with VIF and VIP", NO_FAULT, 0
        ret

; ---- PVI: the virtual interrupt flag in ring 3 of protected mode ----
%macro RING3_FLAGS 1
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        push dword DATA3
        push dword STACK3
        push dword %1
        push dword CODE3
        push dword %%here
        iretd
%%here:
%endmacro
pvi:
        CR_SET cr4, CR4_PVI
        HOT 40
        TRY
        RING3_FLAGS 2
        sti
        pushfd
        pop eax
        cli
        pushfd
        pop ebx
        CAUGHT "PVI: sti, cli in ring 3", NO_FAULT, 0
        mov eax, [exc_eax]
        sub eax, 0x80002
        or [wrongs], eax
        mov eax, [exc_ebx]
        sub eax, 2
        or [wrongs], eax
        COOL
        EQUAL "  pushfd shows VIF each time", [wrongs], 0
        TRY
        RING3_FLAGS 2 | VIP
        sti
        CAUGHT "sti with VIP", 13, 0
        TRY
        RING3_FLAGS 2 | VIF | VIP
.pending: nop
        CAUGHT "entered with VIF and VIP", 13, 0
        EQUAL "  before the first instruction", [exc_eip], .pending
        TRY
        RING3_FLAGS 2 | VIF
        push dword 0x202
        popfd
        pushfd
        pop eax
        CAUGHT "popfd", NO_FAULT, 0
        EQUAL "  leaves IF and VIF", [exc_eax], 2 | VIF
        TRY
        RING3_FLAGS 0x3002
        sti
        cli
        pushfd
        pop eax
        CAUGHT "at IOPL 3 the real flag", NO_FAULT, 0
        EQUAL "  flags", [exc_eax], 0x3002
        CR_CLEAR cr4, CR4_PVI
        TRY
        RING3_FLAGS 2
        sti
        CAUGHT "without PVI", 13, 0
        ret

        align 4096
wrongs:  dd 0
scratch: dd 0, 0
got:     times 8 dd 0

        GUEST_END
