; SPDX-License-Identifier: MIT
;
; Ways through a gate and back: call gates to the same and to more privilege, of 32 and 16 bits, with
; parameters; far returns to less privilege; interrupt and trap gates of both sizes; what is wrong
; with a gate, its target or the new stack, with the error code of each; faults on the way to a
; handler, up to the double fault.

%define ROUNDS 100
%include "guest.inc"

CGATE   equ FREE
CODE16U equ FREE + 0x08                 ; 16-bit code of ring 3, at the image
CONF    equ FREE + 0x10
CODE1   equ FREE + 0x18
DATA1   equ FREE + 0x20
SPARE   equ FREE + 0x28
SMALL   equ FREE + 0x30                 ; a stack of 16 bytes
LDT     equ FREE + 0x38

STACK1  equ 0xd000
RING0_ESP equ STACK0 - 0x800
G32     equ 0x8c
G16     equ 0x84
DPL3    equ 0x60

; CALL_FAULTS "name", vector, error: a far call from ring 3 through CGATE fails and changes nothing.
%macro CALL_FAULTS 3
        TRY
        RING3
        mov [scratch], esp
%%at:   call dword (CGATE | 3):0
        CAUGHT %1, %2, %3
        mov eax, [exc_eip]
        sub eax, %%at
        or [wrongs], eax
        mov eax, [exc_esp_before]
        sub eax, [scratch]
        or [wrongs], eax
        mov eax, [exc_cs]
        sub eax, CODE3
        or [wrongs], eax
        EQUAL "  eip, esp and cs are the caller's", [wrongs], 0
        mov dword [wrongs], 0
%endmacro

; BAD_STACK selector, esp, "name", vector, error: the same with that stack for ring 1.
%macro BAD_STACK 5
        mov dword [tss + 12], %2
        mov dword [tss + 16], %1
        CALL_FAULTS %3, %4, %5
%endmacro

; RING3 with IF set
%macro RING3_IF 0
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        push dword DATA3
        push dword STACK3
        push dword 0x202
        push dword CODE3
        push dword %%here
        iretd
%%here:
%endmacro

main:
        call no_interrupts
        mov dword [wrongs], 0
        DESC CODE16U, BASE, 0xffff, 0xfb, 0x0
        DESC CONF, 0, 0xfffff, 0x9f, 0xc
        DESC CODE1, 0, 0xfffff, 0xbb, 0xc
        DESC DATA1, 0, 0xfffff, 0xb3, 0xc
        DESC SMALL, 0x20000, 15, 0x93, 0x4
        DESC LDT, 0x21000, 0xff, 0x82, 0x0
        mov dword [tss + 12], STACK1
        mov dword [tss + 16], DATA1 | 1
        call good_calls
        call calls_16
        call bad_gates
        call bad_stacks
        call returns
        call interrupts
        call deliveries
        ret

; ---- call gates that work ----
good_calls:
        GATE CGATE, CODE0, gate_record, G32 | DPL3, 0
        HOT 40
        TRY
        RING3
        mov esp, STACK3 - 0x10
        call dword (CGATE | 3):0x12345678 ; the offset does not count
        mov [scratch], esp
        mov ax, cs
        mov [scratch + 4], ax
        CAUGHT "call gate to ring 0", NO_FAULT, 0
        cmp dword [scratch], STACK3 - 0x10
        jne .bad
        cmp word [scratch + 4], CODE3
        je .good
.bad:   inc dword [wrongs]
.good:  COOL
        EQUAL "  and back, each time", [wrongs], 0
        EQUAL "  cs", [seen_cs], CODE0
        EQUAL "  ss", [seen_ss], DATA0
        EQUAL "  esp", [seen_esp], RING0_ESP - 16
        EQUAL "  return cs", [seen_top + 4], CODE3
        EQUAL "  old esp", [seen_top + 8], STACK3 - 0x10
        EQUAL "  old ss", [seen_top + 12], DATA3

        GATE CGATE, CODE0, gate_record3, G32 | DPL3, 3
        TRY
        RING3
        mov esp, STACK3 - 0x20
        push dword 0x33
        push dword 0x22
        push dword 0x11
        call dword (CGATE | 3):0
        mov [scratch], esp
        CAUGHT "three parameters", NO_FAULT, 0
        EQUAL "  the first", [seen_top + 8], 0x11
        EQUAL "  the second", [seen_top + 12], 0x22
        EQUAL "  the third", [seen_top + 16], 0x33
        EQUAL "  old esp behind them", [seen_top + 20], STACK3 - 0x2c
        EQUAL "  retf 12 drops them here too", [scratch], STACK3 - 0x20
        GATE CGATE, CODE0, gate_record31, G32 | DPL3, 31
        TRY
        RING3
        mov dword [STACK3 - 0x200 + 30 * 4], 0x31
        mov esp, STACK3 - 0x200
        call dword (CGATE | 3):0
        CAUGHT "31 parameters", NO_FAULT, 0
        EQUAL "  the last", [seen_top + 8 + 30 * 4], 0x31

        GATE CGATE, CODE0, gate_record, G32 | DPL3, 0
        TRY
        mov [scratch], esp
        call dword CGATE:0
        CAUGHT "call gate in ring 0", NO_FAULT, 0
        mov eax, [scratch]
        sub eax, [seen_esp]
        EQUAL "  no other stack, two words", eax, 8
        GATE CGATE, CODE0, gate_record, G32 | DPL3, 2
        TRY
        mov [scratch], esp
        call dword CGATE:0
        CAUGHT "with parameters", NO_FAULT, 0
        mov eax, [scratch]
        sub eax, [seen_esp]
        EQUAL "  none is copied", eax, 8
        GATE CGATE, CONF, gate_record, G32 | DPL3, 2
        TRY
        RING3
        mov [scratch], esp
        call dword (CGATE | 3):0
        CAUGHT "call gate to conforming code", NO_FAULT, 0
        EQUAL "  cs keeps its rpl", [seen_cs], CONF | 3
        EQUAL "  same stack", [seen_ss], DATA3
        TRY
        RING3
        push dword CODE3
        push dword .back
        jmp dword (CGATE | 3):0
.back:  mov ebx, 0x1234
        CAUGHT "jmp through it", NO_FAULT, 0
        EQUAL "  came back", [exc_ebx], 0x1234
        GATE CGATE, CODE1, gate_record, G32 | DPL3, 0
        TRY
        RING3
        call dword (CGATE | 3):0
        CAUGHT "call gate to ring 1", NO_FAULT, 0
        EQUAL "  cs", [seen_cs], CODE1 | 1
        EQUAL "  ss", [seen_ss], DATA1 | 1
        EQUAL "  esp", [seen_esp], STACK1 - 16
        ; in the LDT
        mov eax, [gdt + CGATE]
        mov [0x21008], eax
        mov eax, [gdt + CGATE + 4]
        mov [0x2100c], eax
        mov ax, LDT
        lldt ax
        TRY
        RING3
        mov dword [seen_cs], 0
        call dword 0x0f:0
        CAUGHT "call gate in the LDT", NO_FAULT, 0
        EQUAL "  cs", [seen_cs], CODE1 | 1
        xor eax, eax
        lldt ax
        ret

; ---- 16-bit gates ----
calls_16:
        mov word [gdt + CGATE], R(gate16_record)
        mov word [gdt + CGATE + 2], CODE16
        mov word [gdt + CGATE + 4], (G16 | DPL3) << 8 | 2
        mov word [gdt + CGATE + 6], 0x5555       ; the upper offset does not count
        HOT 40
        TRY
        RING3
        mov esp, STACK3 - 0x30
        jmp dword (CODE16U | 3):R(.in16)
        bits 16
.in16:  push word 0x2222
        push word 0x1111
        call (CGATE | 3):0
        mov ax, cs
        mov [dword scratch], ax
        mov [dword scratch + 4], esp
        bits 32
        CAUGHT "16-bit call gate to ring 0", NO_FAULT, 0
        COOL
        EQUAL "  cs", [seen_cs], CODE16
        EQUAL "  esp: four words and two parameters", [seen_esp], RING0_ESP - 12
        movzx eax, word [seen_top + 2]
        EQUAL "  return cs", eax, CODE16U | 3
        EQUAL "  parameters", [seen_top + 4], 0x22221111
        EQUAL "  old sp and ss", [seen_top + 8], (DATA3 << 16) | (STACK3 - 0x34)
        movzx eax, word [scratch]
        EQUAL "  back in ring 3", eax, CODE16U | 3
        EQUAL "  retf 4 drops them here too", [scratch + 4], STACK3 - 0x30
        ret

; ---- what is wrong with the gate or its target ----
bad_gates:
        GATE CGATE, CODE0, gate_record, G32, 0
        CALL_FAULTS "gate of DPL 0", 13, CGATE
        GATE CGATE, CODE0, gate_record, (G32 | DPL3) & ~0x80, 0
        CALL_FAULTS "gate not present", 11, CGATE
        GATE CGATE, CODE0, gate_record, G32 & ~0x80, 0
        CALL_FAULTS "neither: privilege comes first", 13, CGATE
        GATE CGATE, 0, gate_record, G32 | DPL3, 0
        CALL_FAULTS "target null", 13, 0
        GATE CGATE, DATA0, gate_record, G32 | DPL3, 0
        CALL_FAULTS "target data", 13, DATA0
        GATE CGATE, 0x1000, gate_record, G32 | DPL3, 0
        CALL_FAULTS "target beyond the GDT", 13, 0x1000
        DESC SPARE, 0, 0xfffff, 0x1b, 0xc
        GATE CGATE, SPARE, gate_record, G32 | DPL3, 0
        CALL_FAULTS "target not present", 11, SPARE
        DESC SPARE, 0, 0xf, 0x9b, 0x4
        GATE CGATE, SPARE, gate_record, G32 | DPL3, 0
        CALL_FAULTS "offset beyond the target's limit", 13, 0
        GATE CGATE, CODE0, gate_record, G32 | DPL3, 0
        TRY
        RING3
        jmp dword (CGATE | 3):0
        CAUGHT "jmp to more privilege", 13, CODE0
        TRY
        call dword (CGATE | 3):0                 ; RPL 3 is as good as DPL 3
        CAUGHT "from ring 0 with RPL 3", NO_FAULT, 0
        GATE CGATE, CODE3, gate_record, G32 | DPL3, 0
        TRY
        call dword CGATE:0
        CAUGHT "call to less privilege", 13, CODE3 & ~3
        TRY
        call dword LDT:0
        CAUGHT "call of an LDT", 13, LDT
        ret

; ---- what is wrong with the new stack: that of ring 1, so that ring 0 can tell ----
bad_stacks:
        GATE CGATE, CODE1, gate_record, G32 | DPL3, 0
        BAD_STACK 0, STACK1, "SS1 null", 10, 0
        BAD_STACK DATA1 | 3, STACK1, "SS1 with RPL 3", 10, DATA1
        BAD_STACK DATA0 | 1, STACK1, "SS1 of DPL 0", 10, DATA0
        BAD_STACK CODE1 | 1, STACK1, "SS1 code", 10, CODE1
        BAD_STACK 0x1001, STACK1, "SS1 beyond the GDT", 10, 0x1000
        DESC SPARE, 0, 0xfffff, 0xb1, 0xc
        BAD_STACK SPARE | 1, STACK1, "SS1 read-only", 10, SPARE
        DESC SPARE, 0, 0xfffff, 0x33, 0xc
        BAD_STACK SPARE | 1, STACK1, "SS1 not present", 12, SPARE
        DESC SPARE, 0x20000, 15, 0xb3, 0x4
        BAD_STACK SPARE | 1, 12, "no room", 12, SPARE
        mov byte [gdt + TSS0 + 5], 0x89
        mov word [gdt + TSS0], 0x10     ; ends within SS1
        mov ax, TSS0
        ltr ax
        BAD_STACK DATA1 | 1, STACK1, "TSS too short", 10, TSS0
        mov byte [gdt + TSS0 + 5], 0x89
        mov word [gdt + TSS0], 0x67
        mov ax, TSS0
        ltr ax
        mov dword [tss + 12], STACK1
        ; the same on the way to an interrupt handler
        call int_gate
        mov byte [idt + 0x50 * 8 + 5], 0xee
        mov word [idt + 0x50 * 8 + 2], CODE1
        mov dword [tss + 16], DATA0 | 1
        TRY
        RING3
        int 0x50
        CAUGHT "int: SS1 of DPL 0", 10, DATA0
        mov dword [tss + 16], 0
        TRY
        RING3
        int 0x50
        CAUGHT "int: SS1 null", 10, 0
        mov dword [tss + 16], DATA1 | 1
        ret

; ---- far returns to less privilege ----
returns:
        HOT 40
        TRY
        mov ax, DATA3
        mov ds, ax
        mov ax, DATA0
        mov es, ax
        mov fs, ax
        mov ax, CONF
        mov gs, ax
        push dword DATA3
        push dword STACK3 - 0x40
        push dword 0x77                 ; dropped by retf 4
        push dword CODE3
        push dword .ring3
        retf 4
.ring3: mov [scratch], esp
        mov eax, ds
        mov ebx, es
        mov ecx, fs
        mov edx, gs
        CAUGHT "retf 4 to ring 3", NO_FAULT, 0
        COOL
        EQUAL "  drops four bytes of that stack too", [scratch], STACK3 - 0x3c
        EQUAL "  ds is kept", [exc_eax], DATA3
        EQUAL "  es becomes null", [exc_ebx], 0
        EQUAL "  fs too", [exc_ecx], 0
        EQUAL "  gs with conforming code is kept", [exc_edx], CONF
        TRY
        push dword 0
        push dword STACK3
        push dword CODE3
        push dword .ring3
        retf
        CAUGHT "retf to ring 3 with SS null", 13, 0
        TRY
        push dword DATA0
        push dword STACK3
        push dword CODE3
        push dword .ring3
        retf
        CAUGHT "with SS of ring 0", 13, DATA0
        DESC SPARE, 0, 0xfffff, 0x73, 0xc
        TRY
        push dword SPARE | 3
        push dword STACK3
        push dword CODE3
        push dword .ring3
        retf
        CAUGHT "with SS not present", 12, SPARE
        DESC SPARE, 0, 0xfffff, 0x7b, 0xc
        TRY
        push dword DATA3
        push dword STACK3
        push dword SPARE | 3
        push dword .ring3
        retf
        CAUGHT "with CS not present", 11, SPARE
        TRY
        push dword DATA3
        push dword STACK3
        push dword CODE0 | 3
        push dword .ring3
        retf
        CAUGHT "with CS of ring 0 and RPL 3", 13, CODE0
        TRY
        push dword DATA3
        push dword STACK3
        pushfd
        push dword CODE3 & ~3           ; RPL 0, DPL 3
        push dword .ring3
        iretd
        CAUGHT "iret to ring 3 code with RPL 0", 13, CODE3 & ~3
        TRY
        RING3
        push dword DATA0
        push dword 0x1000
        push dword 0x202
        push dword CODE0
        push dword .ring3
        iretd
        CAUGHT "iret from ring 3 to ring 0", 13, CODE0
        TRY
        push dword DATA3
        push dword STACK3 - 0x40
        push dword 0x3202 | 0x40000     ; IOPL 3, IF, AC
        push dword CODE3
        push dword .flags
        iretd
.flags: cli
        pushfd
        pop eax
        CAUGHT "iret to ring 3 with IOPL 3", NO_FAULT, 0
        EQUAL "  flags", [exc_eax], 0x43002
        ; 16-bit IRET and RETF in 32-bit code: upper half of EIP is gone
        TRY
        push word DATA3
        push word STACK3 - 0x40
        push word 2
        push word CODE16U | 3
        push word R(.in16)
        o16 iret
        bits 16
.in16:  mov eax, 0x1616
        bits 32
        CAUGHT "16-bit iret to ring 3", NO_FAULT, 0
        EQUAL "  eax", [exc_eax], 0x1616
        ret

; ---- interrupt and trap gates ----
interrupts:
        ; IDT entry 50h in all kinds; the handler notes its stack and returns
        call int_gate
        mov byte [idt + 0x50 * 8 + 5], 0xee
        HOT 40
        TRY
        RING3_IF
        mov esp, STACK3 - 0x50
        int 0x50
        mov [scratch], esp
        CAUGHT "interrupt gate from ring 3", NO_FAULT, 0
        COOL
        EQUAL "  clears IF", [seen_flags], 2
        EQUAL "  esp", [seen_esp], RING0_ESP - 20
        EQUAL "  pushed flags", [seen_top + 8], 0x202
        EQUAL "  old esp", [seen_top + 12], STACK3 - 0x50
        EQUAL "  esp afterwards", [scratch], STACK3 - 0x50
        mov byte [idt + 0x50 * 8 + 5], 0xef
        TRY
        RING3_IF
        int 0x50
        CAUGHT "trap gate from ring 3", NO_FAULT, 0
        EQUAL "  keeps IF", [seen_flags], 0x202
        TRY
        mov [scratch], esp
        int 0x50
        CAUGHT "from ring 0", NO_FAULT, 0
        mov eax, [scratch]
        sub eax, [seen_esp]
        EQUAL "  three words on the same stack", eax, 12
        mov word [idt + 0x50 * 8 + 2], CONF
        TRY
        RING3_IF
        int 0x50
        CAUGHT "to conforming code", NO_FAULT, 0
        EQUAL "  cs", [seen_cs], CONF | 3
        mov word [idt + 0x50 * 8 + 2], CODE1
        TRY
        RING3_IF
        int 0x50
        CAUGHT "to ring 1", NO_FAULT, 0
        EQUAL "  cs", [seen_cs], CODE1 | 1
        EQUAL "  esp", [seen_esp], STACK1 - 20
        ; 16-bit gate
        mov word [idt + 0x50 * 8], R(int16_record)
        mov word [idt + 0x50 * 8 + 2], CODE16
        mov byte [idt + 0x50 * 8 + 5], 0xe6
        mov word [idt + 0x50 * 8 + 6], 0x4444
        HOT 40
        TRY
        RING3_IF
        mov esp, STACK3 - 0x60
        jmp dword (CODE16U | 3):R(.in16)
        bits 16
.in16:  int 0x50
        mov [dword scratch], esp
        bits 32
        CAUGHT "16-bit interrupt gate from ring 3", NO_FAULT, 0
        COOL
        EQUAL "  esp: five words", [seen_esp], RING0_ESP - 10
        movzx eax, word [seen_top + 6]
        EQUAL "  old sp", eax, STACK3 - 0x60
        EQUAL "  esp afterwards", [scratch], STACK3 - 0x60
        ; what is wrong
        call int_gate
        TRY
        RING3
        int 0x50
        CAUGHT "gate of DPL 0 from ring 3", 13, 0x50 * 8 + 2
        mov byte [idt + 0x50 * 8 + 5], 0x6e
        TRY
        RING3
        int 0x50
        CAUGHT "gate not present", 11, 0x50 * 8 + 2
        mov byte [idt + 0x50 * 8 + 5], 0xec
        TRY
        RING3
        int 0x50
        CAUGHT "a call gate in the IDT", 13, 0x50 * 8 + 2
        call int_gate
        mov word [idt + 0x50 * 8 + 2], 0
        TRY
        int 0x50
        CAUGHT "target null", 13, 0
        mov word [idt + 0x50 * 8 + 2], DATA0
        TRY
        int 0x50
        CAUGHT "target data", 13, DATA0
        mov word [idt + 0x50 * 8 + 2], CODE3
        TRY
        int 0x50
        CAUGHT "target of less privilege", 13, CODE3 & ~3
        DESC SPARE, 0, 0xfffff, 0x1b, 0xc
        mov word [idt + 0x50 * 8 + 2], SPARE
        TRY
        int 0x50
        CAUGHT "target not present", 11, SPARE
        DESC SPARE, 0, 0xf, 0x9b, 0x4
        TRY
        int 0x50
        CAUGHT "offset beyond the target's limit", 13, 0
        ret

; ---- faults on the way to a handler ----
deliveries:
        mov byte [idt + 6 * 8 + 5], 0x0e        ; #UD: not present
        TRY
        ud2
        CAUGHT "no gate for #UD", 11, 6 * 8 + 3
        mov byte [idt + 13 * 8 + 5], 0x0e       ; #GP: not present
        TRY
        mov ax, 0x1000
        mov ds, ax
        CAUGHT "no gate for #GP: double fault", 8, 0
        TRY
        xor edx, edx
        xor ecx, ecx
        mov byte [idt + 0 * 8 + 5], 0x0e
        div ecx
        CAUGHT "no gate for #DE: double fault", 8, 0
        TRY
        int3
        CAUGHT "int3 is well", 3, 0
        mov byte [idt + 3 * 8 + 5], 0x0e
        TRY
        int3
        CAUGHT "no gate for int3: a software interrupt", 11, 3 * 8 + 2
        TRY
        int 13
        CAUGHT "int 13 pushes no error code", 11, 13 * 8 + 2
        call make_idt
        ret

int_gate:
        HOOK 0x50, int_record
        mov word [idt + 0x50 * 8 + 2], CODE0
        mov byte [idt + 0x50 * 8 + 5], 0x8e
        ret

; ---- behind the gates: note CS, SS, ESP, flags and the top of the stack ----
%macro NOTE 0
        mov [ss:seen_esp], esp
        mov [ss:seen_cs], cs
        mov [ss:seen_ss], ss
        pushfd
        pop dword [ss:seen_flags]
        pushad
        mov ax, ds
        push eax
        mov ax, es
        push eax
        mov ax, ss
        mov ds, ax
        mov es, ax
        mov esi, [seen_esp]
        mov edi, seen_top
        mov ecx, 40
        cld
        rep movsd
        pop eax
        mov es, ax
        pop eax
        mov ds, ax
        popad
%endmacro
gate_record:
        NOTE
        retf
gate_record3:
        NOTE
        retf 12
gate_record31:
        NOTE
        retf 31 * 4
int_record:
        NOTE
        iretd

        bits 16
gate16_record:
        mov [dword ss:seen_esp], esp
        mov [dword ss:seen_cs], cs
        mov eax, [ss:esp]
        mov [dword ss:seen_top], eax
        mov eax, [ss:esp + 4]
        mov [dword ss:seen_top + 4], eax
        mov eax, [ss:esp + 8]
        mov [dword ss:seen_top + 8], eax
        retf 4
int16_record:
        mov [dword ss:seen_esp], esp
        mov eax, [ss:esp]
        mov [dword ss:seen_top], eax
        mov eax, [ss:esp + 4]
        mov [dword ss:seen_top + 4], eax
        iret
        bits 32

        align 4096
wrongs:   dd 0
scratch:  dd 0, 0
seen_esp: dd 0
seen_cs:  dd 0
seen_ss:  dd 0
seen_flags: dd 0
seen_top: times 40 dd 0

        GUEST_END
