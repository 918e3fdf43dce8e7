; SPDX-License-Identifier: MIT
;
; Task switches by JMP, CALL, INT, exceptions and IRET; busy bits, back links, NT, TS; task gates;
; 16-bit TSS; LDT and CR3 of a task; the debug trap; faults before and after the point of no return;
; a double fault with a bad stack, saved by its task gate; the I/O permission map.

%define ROUNDS 100
%include "guest.inc"

TSSA    equ FREE                        ; 32-bit task of ring 0
TSSB    equ FREE + 0x08                 ; 32-bit task of ring 3
TSS16   equ FREE + 0x10
TGATE   equ FREE + 0x18
TSSDF   equ FREE + 0x20
LDT     equ FREE + 0x28
SPARE   equ FREE + 0x30

TASKA   equ 0x21000
TASKB   equ 0x21100
TASK16  equ 0x21200
TASKDF  equ 0x21300
STACKA  equ 0xc000
STACKB  equ 0xb000
PD      equ 0x100000
PD2     equ 0x102000
PT      equ 0x101000

; Fields of a 32-bit TSS
LINK    equ 0
ESP0    equ 4
SS0     equ 8
TCR3    equ 28
TEIP    equ 32
TFLAGS  equ 36
TEAX    equ 40
TECX    equ 44
TESP    equ 56
TES     equ 72
TCS     equ 76
TSS_SS  equ 80
TDS     equ 84
TLDT    equ 96
TTRAP   equ 100

; The type byte of a TSS descriptor
%define TYPE(selector) [gdt + (selector) + 5]
%macro TYPE_IS 3                        ; "name", selector, type
        movzx eax, byte TYPE(%2)
        EQUAL %1, eax, %3
%endmacro

main:
        call no_interrupts
        mov dword [wrongs], 0
        DESC LDT, 0x22000, 0xff, 0x82, 0x0
        call make_tasks
        call jumps
        call calls
        call gates
        call bits_16
        call traps
        call errors_before
        call errors_after
        call spaces
        call double_fault
        call io_map
        ret

; Everything about the tasks as at first. TR is TSS0.
make_tasks:
        mov edi, TASKA
        mov ecx, 0x400 / 4
        xor eax, eax
        cld
        rep stosd
        DESC TSSA, TASKA, 0x67, 0x89, 0
        DESC TSSB, TASKB, 0x67, 0x89, 0
        DESC TSS16, TASK16, 0x2b, 0x81, 0
        DESC TSSDF, TASKDF, 0x67, 0x89, 0
        DESC TGATE, 0, 0, 0x85, 0
        mov word [gdt + TGATE + 2], TSSA
        mov ebx, TASKA
        mov eax, task_a
        mov ecx, STACKA
        call .ring0
        mov ebx, TASKDF
        mov eax, task_df
        mov ecx, STACKA - 0x400
        call .ring0
        mov ebx, TASKB
        mov eax, task_b
        mov ecx, STACKB
        mov edx, DATA3
        call .fill
        mov dword [TASKB + TCS], CODE3
        mov dword [TASKB + ESP0], STACKB - 0x800
        mov dword [TASKB + SS0], DATA0
        ; the 16-bit one: SP0, SS0 at 2, 4; IP 14, FLAGS 16, AX .. DI 18, ES CS SS DS 34, LDT 42
        mov word [TASK16 + 14], R(task_16)
        mov word [TASK16 + 16], 2
        mov word [TASK16 + 18], 0x1616
        mov word [TASK16 + 26], STACKA
        mov word [TASK16 + 34], DATA0
        mov word [TASK16 + 36], CODE16
        mov word [TASK16 + 38], DATA0
        mov word [TASK16 + 40], DATA0
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        clts
        pushfd
        and dword [esp], ~0x4000
        popfd
        ret
.ring0: mov edx, DATA0
        call .fill
        mov dword [ebx + TCS], CODE0
        mov dword [ebx + ESP0], STACK0 - 0x800
        mov dword [ebx + SS0], DATA0
        ret
.fill:  mov [ebx + TEIP], eax
        mov [ebx + TESP], ecx
        mov dword [ebx + TFLAGS], 2
        mov dword [ebx + TEAX], 0xaaaa0001
        mov [ebx + TES], edx
        mov [ebx + TSS_SS], edx
        mov [ebx + TDS], edx
        mov eax, cr3
        mov [ebx + TCR3], eax
        ret

; ---- JMP ----
jumps:
        mov ebx, 0x1234
        mov esi, 0x5678
        HOT 40
        jmp TSSA:0
        clts
        COOL
        mov [scratch], esi
        EQUAL "registers survive", ebx, 0x1234
        EQUAL "  all", [scratch], 0x5678
        EQUAL "task A saw its eax", [seen_eax], 0xaaaa0001
        EQUAL "  esp", [seen_esp], STACKA
        EQUAL "  TR", [seen_tr], TSSA
        EQUAL "  TSS0 was not busy", [seen_type0], 0x89
        EQUAL "  TSS A was", [seen_type_a], 0x8b
        EQUAL "  no NT", [seen_flags], 2
        EQUAL "  no link", [seen_link], 0
        EQUAL "  TS is set", [seen_cr0], 8
        str eax
        EQUAL "TR is back", eax, TSS0
        TYPE_IS "TSS0 is busy", TSS0, 0x8b
        TYPE_IS "TSS A is not", TSSA, 0x89
        mov eax, [TASKA + TEIP]
        EQUAL "A stopped behind its jump", eax, task_a.again
        ret

; Task A: notes, and goes on in the task that it came from.
task_a:
        mov [seen_eax], eax
        mov [seen_esp], esp
        pushfd
        pop dword [seen_flags]
        and dword [seen_flags], ~0x8d5  ; not the arithmetic ones
        str eax
        mov [seen_tr], eax
        movzx eax, byte [gdt + TSS0 + 5]
        mov [seen_type0], eax
        movzx eax, byte [gdt + TSSA + 5]
        mov [seen_type_a], eax
        movzx eax, word [TASKA + LINK]
        mov [seen_link], eax
        mov eax, cr0
        and eax, 8
        mov [seen_cr0], eax
        mov eax, 0xaaaa0001
        test dword [seen_flags], 0x4000
        jnz .nested
        jmp TSS0:0
.again: jmp task_a
.nested:
        iretd
        jmp task_a

; ---- CALL and IRET ----
calls:
        call make_tasks
        HOT 40
        mov ecx, [hot]
        call TSSA:0
        clts
        cmp ecx, [hot]
        je .good
        inc dword [wrongs]
.good:  COOL
        EQUAL "call and iret, each time", [wrongs], 0
        EQUAL "  NT in A", [seen_flags], 0x4002
        EQUAL "  link", [seen_link], TSS0
        EQUAL "  TSS0 stays busy", [seen_type0], 0x8b
        EQUAL "  TSS A too", [seen_type_a], 0x8b
        TYPE_IS "  afterwards A is free", TSSA, 0x89
        mov eax, [TASKA + TFLAGS]
        and eax, 0x4000
        EQUAL "  and its NT clear", eax, 0
        pushfd
        pop eax
        and eax, 0x4000
        EQUAL "  NT here", eax, 0
        TRY
        call TSSA:0
        fnop
        CAUGHT "x87 behind a task switch", 7, 0
        clts
        ret

; ---- task gates ----
gates:
        call make_tasks
        call TGATE:0x12345678
        EQUAL "call through a task gate", [seen_tr], TSSA
        EQUAL "  link", [seen_link], TSS0
        jmp TGATE:0
        EQUAL "jmp through a task gate", [seen_flags], 2
        mov byte [gdt + TGATE + 5], 0xe5
        TRY
        RING3
        mov dword [seen_tr], 0
        call (TGATE | 3):0
        mov ax, cs
        CAUGHT "from ring 3 to a task of ring 0", NO_FAULT, 0
        EQUAL "  went there", [seen_tr], TSSA
        movzx eax, word [exc_eax]
        EQUAL "  and back", eax, CODE3
        TRY
        RING3
        call (TSSA | 3):0
        CAUGHT "its TSS directly", 13, TSSA
        mov byte [gdt + TGATE + 5], 0x85
        TRY
        RING3
        call (TGATE | 3):0
        CAUGHT "a gate of DPL 0", 13, TGATE
        mov byte [gdt + TGATE + 5], 0x65
        TRY
        RING3
        call (TGATE | 3):0
        CAUGHT "a gate not present", 11, TGATE
        ; in the IDT
        call int_task
        HOT 40
        mov dword [seen_tr], 0
        int 0x50
        clts
        mov eax, [seen_tr]
        sub eax, TSSA
        or [wrongs], eax
        COOL
        EQUAL "int through a task gate, each time", [wrongs], 0
        EQUAL "  NT in A", [seen_flags], 0x4002
        EQUAL "  link", [seen_link], TSS0
        TRY
        RING3
        int 0x50
        CAUGHT "of DPL 0, from ring 3", 13, 0x50 * 8 + 2
        mov word [idt + 0x50 * 8 + 2], DATA0
        TRY
        int 0x50
        CAUGHT "its target no TSS", 13, DATA0
        mov word [idt + 0x50 * 8 + 2], TSS0
        TRY
        int 0x50
        CAUGHT "its target busy", 13, TSS0
        ; an exception with an error code: pushed on the new task's stack
        mov word [idt + 13 * 8], 0
        mov word [idt + 13 * 8 + 2], TSSA
        mov word [idt + 13 * 8 + 4], 0x8500
        mov dword [TASKA + TEIP], task_gp
        mov dword [TASKA + TESP], STACKA
        HOT 40
        mov dword [seen_tr], 0
        mov eax, 0x1000
.fault: mov ds, ax
.fixed: mov ax, DATA0
        mov ds, ax
        clts
        COOL
        EQUAL "#GP by a task: error code", [seen_eax], 0x1000
        EQUAL "  its place", [seen_esp], STACKA - 4
        EQUAL "  saved eip", [seen_flags], .fault
        mov dword [TASKA + TEIP], task_a
        mov dword [TASKA + TESP], STACKA
        call make_idt
        ret
task_gp:
        mov [seen_esp], esp
        pop eax
        mov [seen_eax], eax
        mov eax, [tss + TEIP]
        mov [seen_flags], eax
        mov dword [tss + TEIP], gates.fixed
        iretd
        jmp task_gp

int_task:
        mov word [idt + 0x50 * 8 + 2], TSSA
        mov word [idt + 0x50 * 8 + 4], 0x8500
        ret

; ---- a 16-bit TSS ----
bits_16:
        call make_tasks
        mov ebx, 0x12345678
        mov dword [seen_tr], 0
        mov dword [seen_eax], 0
        HOT 40
        call TSS16:0
        clts
        COOL
        mov [scratch], ebx
        EQUAL "call of a 16-bit task", [seen_tr], TSS16
        EQUAL "  its ax", [seen_eax], 0x1616
        EQUAL "  back with all of ebx", [scratch], 0x12345678
        movzx eax, word [TASK16 + LINK]
        EQUAL "  link", eax, TSS0
        TYPE_IS "  free again", TSS16, 0x81
        movzx eax, word [TASK16 + 14]
        EQUAL "  stopped behind its iret", eax, R(task_16.again)
        ret
        bits 16
task_16:
        mov [dword seen_eax], ax
        str ax
        mov [dword seen_tr], ax
        mov ax, 0x1616
        iret
.again: jmp task_16
        bits 32

; ---- debug trap of a task, local breakpoints ----
traps:
        call make_tasks
        mov word [TASKA + TTRAP], 1
        xor eax, eax
        mov dr6, eax
        TRY
        call TSSA:0
        CAUGHT "T bit of a task", 1, 0
        EQUAL "  before its first instruction", [exc_eip], task_a
        mov eax, dr6
        EQUAL "  dr6", eax, 0xffff8ff0
        str eax
        EQUAL "  in the new task", eax, TSSA
        call make_tasks
        mov eax, 0x7ff
        mov dr7, eax
        call TSSA:0
        mov eax, dr7
        EQUAL "local breakpoints are off after a switch", eax, 0x6aa
        mov eax, 0x400
        mov dr7, eax
        clts
        ret

; ---- what is found before anything has changed ----
errors_before:
        call make_tasks
        TRY
        jmp TSS0:0
        CAUGHT "jmp to oneself", 13, TSS0
        TRY
        mov byte [gdt + TSSA + 5], 0x8b
        call TSSA:0
        CAUGHT "a busy task", 13, TSSA
        mov byte [gdt + TSSA + 5], 0x09
        TRY
        call TSSA:0
        CAUGHT "TSS not present", 11, TSSA
        mov byte [gdt + TSSA + 5], 0x89
        mov word [gdt + TSSA], 0x66
        TRY
        call TSSA:0
        CAUGHT "TSS too short", 10, TSSA
        mov word [gdt + TSSA], 0x67
        mov word [gdt + TSS16], 0x2a
        TRY
        call TSS16:0
        CAUGHT "16-bit TSS too short", 10, TSS16
        str eax
        EQUAL "TR is what it was", eax, TSS0
        TYPE_IS "TSS0 is busy", TSS0, 0x8b
        TYPE_IS "TSS A is free", TSSA, 0x89
        ; IRET with NT
        mov word [tss + LINK], TSSA
        TRY
        pushfd
        or dword [esp], 0x4000
        popfd
        iretd
        CAUGHT "iret to a task that is not busy", 10, TSSA
        mov word [tss + LINK], DATA0
        TRY
        pushfd
        or dword [esp], 0x4000
        popfd
        iretd
        CAUGHT "iret to no task", 10, DATA0
        mov word [tss + LINK], 0
        TRY
        pushfd
        or dword [esp], 0x4000
        popfd
        iretd
        CAUGHT "iret to null", 10, 0
        TRY
        RING3
        pushfd
        or dword [esp], 0x4000          ; any ring may set NT
        popfd
        iretd
        CAUGHT "iret with NT in ring 3", 10, 0
        pushfd
        and dword [esp], ~0x4000
        popfd
        ret

; ---- what the new task's selectors lead to: its own fault ----
%macro SWITCH_FAULTS 5                  ; field, value, "name", vector, error
        call make_tasks
        mov dword [TASKB + %1], %2
        TRY
        jmp TSSB:0
        CAUGHT %3, %4, %5
        str eax
        sub eax, TSSB
        or [wrongs], eax
        mov eax, [exc_eip]
        sub eax, task_b
        or [wrongs], eax
        mov eax, [exc_esp]
        sub eax, STACKB - 0x800 - 8
        or [wrongs], eax
        EQUAL "  in the new task, before its first instruction", [wrongs], 0
        mov dword [wrongs], 0
%endmacro
errors_after:
        DESC SPARE, 0, 0xfffff, 0x73, 0xc
        SWITCH_FAULTS TLDT, DATA0, "LDT is data", 10, DATA0
        SWITCH_FAULTS TLDT, 0x1000, "LDT beyond the GDT", 10, 0x1000
        SWITCH_FAULTS TDS, DATA0, "DS of ring 0", 10, DATA0
        SWITCH_FAULTS TDS, SPARE | 3, "DS not present", 11, SPARE
        SWITCH_FAULTS TDS, TSSB, "DS is a TSS", 10, TSSB
        SWITCH_FAULTS TES, 0x1000, "ES beyond the GDT", 10, 0x1000
        SWITCH_FAULTS TSS_SS, 0, "SS null", 10, 0
        SWITCH_FAULTS TSS_SS, DATA0, "SS of ring 0", 10, DATA0
        SWITCH_FAULTS TSS_SS, SPARE | 3, "SS not present", 12, SPARE
        DESC SPARE, 0, 0xfffff, 0x7b, 0xc
        SWITCH_FAULTS TCS, SPARE | 3, "CS not present", 11, SPARE
        SWITCH_FAULTS TCS, DATA3, "CS is data", 10, DATA3 & ~3
        SWITCH_FAULTS TCS, CODE0 | 3, "CS of ring 0", 10, CODE0
        call make_tasks
        TRY
        jmp TSSB:0
        CAUGHT "a task of ring 3", NO_FAULT, 0
        EQUAL "  its cs", [exc_cs], CODE3
        EQUAL "  its eax", [exc_eax], 0xaaaa0001
        call make_tasks
        ret
task_b:
        int LEAVE_VECTOR

; ---- LDT and address space of a task ----
spaces:
        call make_tasks
        mov dword [0x22008], 0x3000ffff ; data at 2 3000h
        mov dword [0x2200c], 0x00009302
        mov dword [0x23010], 0x4d4d4d4d
        mov dword [TASKA + TLDT], LDT
        mov dword [TASKA + TDS], 0x0c
        mov dword [TASKA + TEIP], .task
        TRY
        call TSSA:0
        CAUGHT "data in the task's LDT", NO_FAULT, 0
        EQUAL "  read", [exc_eax], 0x4d4d4d4d
        sldt eax
        EQUAL "  ldtr", eax, LDT
        call make_tasks
        xor eax, eax
        lldt ax
        ; paging: 4 MiB of identity, and 4 .. 8 MiB different in the second directory
        mov edi, PD
        mov ecx, 0x3000 / 4
        xor eax, eax
        cld
        rep stosd
        mov edi, PT
        mov eax, 7
        mov ecx, 1024
.next:  mov [edi], eax
        add edi, 4
        add eax, 0x1000
        loop .next
        mov dword [PD], PT + 7
        mov dword [PD2], PT + 7
        mov dword [PD2 + 4], PT + 7
        mov dword [PD + 4], 0
        mov eax, PD
        mov cr3, eax
        CR_SET cr0, CR0_PG
        mov [tss + TCR3], dword PD
        mov dword [TASKA + TCR3], PD2
        mov dword [TASKA + TEIP], .task2
        HOT 40
        mov dword [seen_eax], 0
        call TSSA:0
        clts
        mov eax, [seen_eax]
        sub eax, 0x4d4d4d4d
        or [wrongs], eax
        mov eax, cr3
        sub eax, PD
        or [wrongs], eax
        COOL
        EQUAL "CR3 of a task, each time", [wrongs], 0
        TRY
        mov eax, [0x423010]
        CAUGHT "its pages are not here", 14, 0
        CR_CLEAR cr0, CR0_PG
        ret
.task:  mov eax, [0x10]
        int LEAVE_VECTOR
.task2: mov eax, [0x423010]
        mov [seen_eax], eax
        iretd
        jmp .task2

; ---- a double fault saved by a task gate ----
double_fault:
        call make_tasks
        mov word [idt + 8 * 8 + 2], TSSDF
        mov word [idt + 8 * 8 + 4], 0x8500
        HOT 40
        call .prepare
        mov dword [seen_eax], -1
        TRY
        RING3
        mov dword [tss + SS0], 0        ; no stack for ring 0
        ud2                             ; #TS on its way to #UD, then #TS on the way to #TS
        CAUGHT "double fault task", NO_FAULT, 0
        COOL
        EQUAL "  error code", [seen_eax], 0
        EQUAL "  TR", [seen_tr], TSSDF
        EQUAL "  link", [seen_link], TSS0
        call make_tasks
        call make_idt
        ret
.prepare:
        mov dword [tss + SS0], DATA0
        mov dword [TASKDF + TEIP], task_df
        mov dword [TASKDF + TESP], STACKA - 0x400
        mov byte [gdt + TSSDF + 5], 0x89
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        pushfd
        and dword [esp], ~0x4000
        popfd
        ret
task_df:
        pop dword [seen_eax]
        str eax
        mov [seen_tr], eax
        movzx eax, word [TASKDF + LINK]
        mov [seen_link], eax
        mov dword [tss + SS0], DATA0
        int LEAVE_VECTOR                ; the test goes on in this task

; ---- the I/O permission map ----
IOMAP   equ 0x68
io_map:
        mov dword [gdt + TSS0], (tss - $$ + BASE) << 16 & 0xffff0000 | IOMAP + 32
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        mov edi, tss + IOMAP
        mov ecx, 9
        mov eax, -1
        cld
        rep stosd
        mov byte [tss + IOMAP + 0x80 / 8], 0xfe ; port 80h only
        mov byte [tss + IOMAP + 0xe8 / 8], 0xfd ; e9h
        HOT 40
        TRY
        RING3
        out 0x80, al
        in al, 0x80
        CAUGHT "a port that is allowed", NO_FAULT, 0
        TRY
        RING3
        out 0x81, al
        CAUGHT "one that is not", 13, 0
        COOL
        TRY
        RING3
        out 0x80, ax
        CAUGHT "two ports, one of them not allowed", 13, 0
        mov byte [tss + IOMAP + 0x80 / 8], 0x7f
        TRY
        RING3
        mov dx, 0x87
        in ax, dx
        CAUGHT "across two bytes of the map", 13, 0
        mov byte [tss + IOMAP + 0x88 / 8], 0xfe
        TRY
        RING3
        mov dx, 0x87
        in ax, dx
        CAUGHT "across two bytes, both clear", NO_FAULT, 0
        TRY
        RING3
        mov dx, 0x1000
        in al, dx
        CAUGHT "beyond the TSS", 13, 0
        mov dword [tss + IOMAP + 0xfc / 8], 0
        TRY
        RING3
        mov dx, 0xff                    ; the second byte of the map would be beyond the limit
        in al, dx
        CAUGHT "the map needs one byte more", NO_FAULT, 0
        mov word [gdt + TSS0], IOMAP + 31
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        TRY
        RING3
        mov dx, 0xff
        in al, dx
        CAUGHT "and without it", 13, 0
        TRY
        RING3
        mov dx, 0x80
        mov esi, scratch
        outsb
        CAUGHT "outsb", 13, 0
        push dword 0x3002
        popfd
        TRY
        RING3
        in al, 0x81
        CAUGHT "IOPL 3 needs no map", NO_FAULT, 0
        TRY
        RING3
        cli
        sti
        cli
        CAUGHT "cli at IOPL 3", NO_FAULT, 0
        mov word [tss + 102], 0xffff    ; the map beyond the limit: nothing is allowed
        push dword 2
        popfd
        TRY
        RING3
        out 0x80, al
        CAUGHT "a map beyond the limit", 13, 0
        ret

        align 4096
wrongs:   dd 0
scratch:  dd 0
seen_eax: dd 0
seen_esp: dd 0
seen_flags: dd 0
seen_tr:  dd 0
seen_type0: dd 0
seen_type_a: dd 0
seen_link: dd 0
seen_cr0: dd 0

        GUEST_END
