; SPDX-License-Identifier: MIT
;
; Long mode: how it is entered, 64-bit and compatibility submodes, the 64-bit IDT with IST, 64-bit
; TSS, canonical checks, SYSCALL, SYSENTER, SWAPGS, NX, RIP-relative operands, REX forms, and the
; way back to legacy protected mode.

%include "guest.inc"

CODE64  equ FREE                        ; ring 0
CODE64S equ FREE + 8                    ; the same for SYSCALL, whose stack segment comes next
USER32  equ (FREE + 24) | 3             ; for SYSRET: 32-bit code of ring 3 ...
USERSS  equ (FREE + 32) | 3             ; ... its stack ...
USER64  equ (FREE + 40) | 3             ; ... and 64-bit code
TSS64   equ FREE + 48                   ; 16 bytes
LDT64   equ FREE + 64                   ; 16 bytes
GATE64  equ FREE + 80                   ; 16 bytes

PML4    equ 0x100000
PDPT    equ 0x101000
PD      equ 0x102000
PT      equ 0x103000                    ; of the first 2 MiB
TSS     equ 0x110000
IDT     equ 0x112000
RSP0    equ 0x120000
IST1    equ 0x122000
USERSP  equ 0x124000

MSR_EFER   equ 0xc0000080
MSR_STAR   equ 0xc0000081
MSR_LSTAR  equ 0xc0000082
MSR_FMASK  equ 0xc0000084
MSR_FS     equ 0xc0000100
MSR_GS     equ 0xc0000101
MSR_KGS    equ 0xc0000102

; WRMSR of a 64-bit constant.
%macro SETMSR 2
        mov ecx, %1
        mov eax, (%2) & 0xffffffff
        mov edx, (%2) >> 32
        wrmsr
%endmacro

; In 64-bit code: a fault is expected, as TRY and CAUGHT.
%macro TRY64 0
        %push try
        mov [try64_rsp], rsp
        lea rax, [rel %$after]
        mov [resume64], rax
%endmacro
%macro CAUGHT64 3
        int LEAVE_VECTOR
%$after:
        %pop
        jmp %%go
%%text: db %1, 0
%%go:   lea rsi, [rel %%text]
        mov ebx, %2
        mov ecx, %3
        call report_fault64
%endmacro
; EQUAL for a 64-bit value: both halves are printed.
%macro EQUAL64 3
        mov rax, %2
        mov [value64], rax
        jmp %%go
%%text: db %1, 0
%%go:   lea rsi, [rel %%text]
        mov rbx, %3
        call report_value64
%endmacro

; From ring 0 to 64-bit ring 3 and on.
%macro USER64_ON 0
        mov [user_rax], rax
        push qword USERSS
        push qword USERSP
        push qword 2
        push qword USER64
        lea rax, [rel %%here]
        push rax
        mov rax, [user_rax]
        iretq
%%here:
%endmacro

main:
        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000001
        jb .none
        mov eax, 0x80000001
        cpuid
        test edx, 1 << 29
        jnz .has
.none:  ret
.has:   DESC CODE64, 0, 0xfffff, 0x9b, 0xa
        DESC CODE64S, 0, 0xfffff, 0x9b, 0xa
        DESC CODE64S + 8, 0, 0xfffff, 0x93, 0xc
        DESC USER32 & ~3, 0, 0xfffff, 0xfb, 0xc
        DESC USERSS & ~3, 0, 0xfffff, 0xf3, 0xc
        DESC USER64 & ~3, 0, 0xfffff, 0xfb, 0xa
        DESC TSS64, TSS, 0x67, 0x89, 0
        DESC LDT64, 0x22000, 0x3f, 0x82, 0
        GATE GATE64, CODE64, gate64_target, 0xec, 0
        mov dword [gdt + GATE64 + 8], 0xffff8000 ; high half of the address space
        mov dword [gdt + GATE64 + 12], 0
        call make_tables
        call make_idt64
        mov dword [TSS + 4], RSP0
        mov dword [TSS + 36], IST1
        mov word [TSS + 102], 0x68

        ; ---- the way in ----
        TRY
        mov ecx, MSR_EFER
        rdmsr
        or eax, 1 << 8                  ; LME
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        CAUGHT "paging with LME and no PAE", 13, 0
        mov eax, cr4
        or eax, 1 << 5
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, MSR_EFER
        rdmsr
        or eax, 1 << 11 | 1 << 8 | 1    ; NXE, LME, SCE
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax                    ; compatibility mode from here
        mov ecx, MSR_EFER
        rdmsr
        EQUAL "efer", eax, 0xd01
        mov eax, -1
        db 0x40                         ; inc eax here, REX in 64-bit mode
        nop
        EQUAL "40h is inc eax in compatibility mode", eax, 0
        lidt [idt64_pointer]
        jmp dword CODE64:in64

        bits 64
in64:   mov ax, TSS64
        ltr ax
        xor eax, eax
        mov ds, ax
        mov es, ax
        mov ss, ax                      ; null, which ring 0 may
        mov rsp, 0xc000                 ; main's own frame stays as it is

        ; ---- registers ----
        mov rax, 0x1122334455667788
        mov r15, rax
        mov r15d, r15d
        EQUAL64 "32-bit write clears the upper half", r15, 0x55667788
        mov r9, -1
        mov r9b, 0x12
        mov r10, -1
        mov r10w, 0x1234
        EQUAL64 "8-bit write", r9, 0xffffffffffffff12
        EQUAL64 "16-bit write", r10, 0xffffffffffff1234
        mov rsi, 0
        mov sil, 0x77
        EQUAL64 "sil", rsi, 0x77
        mov rax, [rel constant]
        EQUAL64 "rip-relative", rax, 0x0123456789abcdef
        mov rax, [abs qword constant]
        EQUAL64 "moffs64", rax, 0x0123456789abcdef
        mov rax, 0x8000000000000000
        mov rcx, -1
        imul rcx
        EQUAL64 "imul, high half", rdx, 0
        mov ebx, -1
        movsxd rbx, ebx
        EQUAL64 "movsxd", rbx, -1
        mov rbx, cr0
        shr rbx, 31
        EQUAL64 "mov rbx, cr0", rbx, 1
        push qword -2
        pop rax
        EQUAL64 "push imm8 is 64 bits", rax, -2
        mov rdx, rsp
        push fs
        sub rdx, rsp
        pop fs
        EQUAL64 "push fs takes 8 bytes", rdx, 8
        mov rcx, 0x100000001
        mov ecx, 3
.count: a32 loop .count
        EQUAL64 "ecx as the counter", rcx, 0

        ; ---- canonical addresses ----
        TRY64
        mov rbx, 0x0000800000000000
        mov rax, [rbx]
        CAUGHT64 "non-canonical load", 13, 0
        TRY64
        mov rbp, 0x0000800000000000
        mov rax, [rbp]
        CAUGHT64 "through rbp", 12, 0
        TRY64
        mov rbx, 0x7ffffffffffc
        mov rax, [rbx]
        CAUGHT64 "across the end of the lower half", 13, 0
        TRY64
        mov rbx, 0xffff900000000000
        jmp rbx
        CAUGHT64 "unmapped upper half", 14, 0x10
        TRY64
        mov rbx, 0x1000000000000
        jmp rbx
        CAUGHT64 "jump to nowhere", 13, 0
        TRY64
        SETMSR MSR_LSTAR, 0x0000800000000000
        CAUGHT64 "lstar must be canonical", 13, 0
        TRY64
        mov rax, 1
        shl rax, 52
        mov cr3, rax
        CAUGHT64 "cr3 beyond the physical address space", 13, 0
        TRY64
        mov rax, 0x100000000
        mov dr7, rax
        CAUGHT64 "dr7 has 32 bits", 13, 0

        ; ---- what is not there ----
        TRY64
        db 0x06                         ; push es
        CAUGHT64 "push es", 6, 0
        TRY64
        db 0x60                         ; pusha
        CAUGHT64 "pusha", 6, 0
        TRY64
        db 0x27                         ; daa
        CAUGHT64 "daa", 6, 0
        TRY64
        db 0xce                         ; into
        CAUGHT64 "into", 6, 0
        TRY64
        db 0x9a, 0, 0, 0, 0, 8, 0       ; call far
        CAUGHT64 "call ptr16:32", 6, 0
        TRY64
        mov rax, cr0
        and eax, 0x7fffffff
        mov cr0, rax
        CAUGHT64 "paging off in 64-bit mode", 13, 0
        TRY64
        mov rax, cr4
        and al, ~0x20
        mov cr4, rax
        CAUGHT64 "PAE off in long mode", 13, 0
        TRY64
        pushfq
        or dword [rsp], 0x4000          ; NT
        popfq
        iretq
        CAUGHT64 "iret with NT", 13, 0
        push qword 2
        popfq

        ; ---- segments ----
        SETMSR MSR_FS, 0x20000
        mov rax, 0x1234
        mov [fs:0x10], rax
        EQUAL64 "fs base", [0x20010], 0x1234
        mov rcx, -0x10
        mov rax, [fs:rcx + 0x20]
        EQUAL64 "fs base with a negative index", rax, 0x1234
        mov rcx, -0x10
        a32 mov eax, [fs:ecx + 0x20]
        EQUAL64 "fs with a 32-bit address", rax, 0x1234
        SETMSR MSR_GS, 0x1111
        SETMSR MSR_KGS, 0x2222
        swapgs
        mov ecx, MSR_GS
        rdmsr
        EQUAL64 "swapgs", rax, 0x2222
        swapgs
        mov ax, LDT64
        lldt ax
        sldt eax
        EQUAL64 "lldt of a 16-byte descriptor", rax, LDT64
        TRY64
        mov ax, DATA3
        mov ss, ax
        CAUGHT64 "ring 3 stack in ring 0", 13, DATA3 & ~3
        mov ax, DATA0
        mov ds, ax
        mov ss, ax

        ; ---- interrupts ----
        TRY64
        mov rsp, RSP0 - 3               ; any stack: it is aligned
        int3
        CAUGHT64 "int3", 3, 0
        EQUAL64 "  frame is aligned to 16 bytes", [exc64_rsp], RSP0 - 16 - 40
        EQUAL64 "  old rsp", [exc64_old_rsp], RSP0 - 3
        EQUAL64 "  old ss", [exc64_ss], DATA0
        mov byte [IDT + 3 * 16 + 4], 1  ; IST1
        TRY64
        int3
        CAUGHT64 "int3 with IST", 3, 0
        EQUAL64 "  frame on IST1", [exc64_rsp], IST1 - 40
        mov byte [IDT + 3 * 16 + 4], 0
        TRY64
        USER64_ON
        hlt
        CAUGHT64 "hlt in ring 3", 13, 0
        EQUAL64 "  frame on RSP0", [exc64_rsp], RSP0 - 40
        EQUAL64 "  old ss", [exc64_ss], USERSS
        EQUAL64 "  ss is null with RPL 0", [exc64_new_ss], 0
        mov ax, DATA0
        mov ss, ax
        TRY64
        USER64_ON
        mov rax, 0x0000900000000000
        mov rsp, rax
        push rax
        CAUGHT64 "push to a non-canonical stack", 12, 0

        ; ---- SYSCALL, SYSRET ----
        SETMSR MSR_STAR, (((USER32 & ~3) | 3) << 48) | (CODE64S << 32)
        lea rax, [rel syscall_entry]
        mov rdx, rax
        shr rdx, 32
        mov ecx, MSR_LSTAR
        wrmsr
        SETMSR MSR_FMASK, 0x601
        TRY64
        USER64_ON
        xor ebx, ebx
        inc ebx
        stc
        std
        syscall
.ret:   pushfq
        pop r12
        mov r13, cs
        mov r14, ss
        CAUGHT64 "syscall and back", NO_FAULT, 0
        lea rax, [rel .ret]
        EQUAL64 "  rcx", [sys_rcx], rax
        EQUAL64 "  r11", [sys_r11], 0x403
        EQUAL64 "  flags masked", [sys_flags], 2
        EQUAL64 "  cs", [sys_cs], CODE64S
        EQUAL64 "  ss", [sys_ss], CODE64S + 8
        EQUAL64 "  flags after sysret", r12, 0x403
        EQUAL64 "  cs after sysret", r13, USER64
        EQUAL64 "  ss after sysret", r14, USERSS
        cld
        mov ax, DATA0
        mov ss, ax
        TRY64
        mov ecx, MSR_EFER
        rdmsr
        and al, ~1
        wrmsr
        syscall
        CAUGHT64 "syscall without SCE", 6, 0

        ; ---- NX ----
        TRY64
        mov rdi, 0x30000
        mov byte [rdi], 0xc3
        mov byte [PT + 0x30 * 8 + 7], 0x80
        invlpg [rdi]
        call rdi
        CAUGHT64 "fetch from an NX page", 14, 0x11
        mov byte [PT + 0x30 * 8 + 7], 0
        mov rdi, 0x30000
        invlpg [rdi]
        call rdi

        ; ---- call gate to the upper half, where the image is mapped too ----
        TRY64
        USER64_ON
        call far dword [rel gate_pointer]
        mov r12, cs
        CAUGHT64 "call gate", NO_FAULT, 0
        EQUAL64 "  went to the upper half", [gate64_rip], 0xffff800000000000 + gate64_target
        EQUAL64 "  rsp in ring 0", [gate64_rsp], RSP0 - 32
        EQUAL64 "  back in ring 3", r12, USER64
        mov ax, DATA0
        mov ss, ax

        ; ---- CMPXCHG16B ----
        mov rdx, 2
        mov [sixteen + 8], rdx
        mov rax, 1
        mov [sixteen], rax
        mov rbx, 3
        mov rcx, 4
        lock cmpxchg16b [sixteen]
        setz sil
        movzx esi, sil
        mov r12, rsi
        EQUAL64 "cmpxchg16b", r12, 1
        EQUAL64 "  low", [sixteen], 3
        EQUAL64 "  high", [sixteen + 8], 4
        TRY64
        lock cmpxchg16b [sixteen + 8]
        CAUGHT64 "cmpxchg16b unaligned", 13, 0

        ; ---- the way out ----
        lea rax, [rel .compat]
        push qword CODE0
        push rax
        o64 retf
        bits 32
.compat:
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov esp, STACK0 - 4             ; main's return address
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax
        mov ecx, MSR_EFER
        rdmsr
        EQUAL "LMA goes with paging", eax, 0x900
        mov ecx, MSR_EFER
        rdmsr
        and eax, ~(1 << 8 | 1 << 11)
        wrmsr
        lidt [idt_pointer]
        TRY
        ud2
        CAUGHT "exceptions in legacy mode again", 6, 0
        ret

        bits 64
syscall_entry:
        mov [sys_rcx], rcx
        mov [sys_r11], r11
        mov rax, cs
        mov [sys_cs], rax
        mov rax, ss
        mov [sys_ss], rax
        mov [sys_rsp], rsp
        mov rsp, RSP0
        pushfq
        pop qword [sys_flags]
        mov rsp, [sys_rsp]
        o64 sysret

gate64_target:
        lea rax, [rel gate64_target]
        mov [gate64_rip], rax
        mov [gate64_rsp], rsp
        o64 retf

        bits 32
; The first 2 MiB in pages of 4 KiB, the next 62 MiB in large ones. The upper
; half shows the same from FFFF8000_00000000h. All is open to ring 3.
make_tables:
        mov edi, PML4
        xor eax, eax
        mov ecx, 0x4000 / 4
        rep stosd
        mov dword [PML4], PDPT + 7
        mov dword [PML4 + 256 * 8], PDPT + 7
        mov dword [PDPT], PD + 7
        mov dword [PD], PT + 7
        mov eax, 0x200000 + 0x87
        mov edi, PD + 8
.large: mov [edi], eax
        add edi, 8
        add eax, 0x200000
        cmp edi, PD + 32 * 8
        jb .large
        mov eax, 7
        mov edi, PT
.small: mov [edi], eax
        add edi, 8
        add eax, 0x1000
        cmp edi, PT + 512 * 8
        jb .small
        ret

make_idt64:
        mov edi, IDT
        mov eax, stubs64
        xor ecx, ecx
.next:  mov [edi], ax
        mov word [edi + 2], CODE64
        mov word [edi + 4], 0x8e00
        cmp ecx, LEAVE_VECTOR
        jne .closed
        mov byte [edi + 5], 0xee
.closed:
        mov edx, eax
        shr edx, 16
        mov [edi + 6], dx
        mov dword [edi + 8], 0
        mov dword [edi + 12], 0
        add eax, 16
        add edi, 16
        inc ecx
        cmp ecx, 64
        jb .next
        ret

        bits 64
        align 16
stubs64:
%assign vec 0
%rep 64
        align 16
%if vec == 8 || (vec >= 10 && vec <= 14) || vec == 17
        nop
        nop
%else
        push byte 0
%endif
        push qword vec
        jmp near handler64
%assign vec vec + 1
%endrep

handler64:
        mov [exc64_rax], rax
        pop rax
        mov [exc_vector64], eax
        pop rax
        mov [exc_error64], eax
        mov [exc64_rsp], rsp
        mov rax, [rsp + 24]
        mov [exc64_old_rsp], rax
        mov rax, [rsp + 32]
        mov [exc64_ss], rax
        mov rax, ss
        mov [exc64_new_ss], rax
        mov rsp, [try64_rsp]
        mov eax, [exc_error64]
        mov [exc_error], eax
        mov eax, [exc_vector64]
        cmp eax, LEAVE_VECTOR
        jne .faulted
        mov eax, NO_FAULT
.faulted:
        mov [exc_vector], eax
        cld
        mov ax, DATA0
        mov ds, ax
        jmp [resume64]

; The reports are 32-bit code: called by way of compatibility mode.
report_fault64:
        call thunk
        dd report_fault
        ret
report_value64:
        ; both halves as two checks of 32 bits
        mov [expected64], rbx
        mov ebx, ebx
        mov eax, [value64]
        call thunk
        dd report_value
        cmp dword [value64 + 4], 0
        jne .high
        cmp dword [expected64 + 4], 0
        je .end
.high:  lea rsi, [rel text_high]
        mov eax, [value64 + 4]
        mov ebx, [expected64 + 4]
        call thunk
        dd report_value
.end:   ret

; Calls the 32-bit routine whose address follows the call, with EAX, EBX, ECX, ESI.
thunk:  mov [thunk_rax], rax
        pop rax
        mov edx, [rax]
        add rax, 4
        mov [thunk_back], rax
        mov [thunk_routine], edx
        mov [thunk_rsp], rsp
        mov dx, ss
        mov [thunk_ss], dx
        mov edx, DATA0
        mov ss, dx
        mov ds, dx
        mov es, dx
        mov rsp, 0xd000
        push qword CODE0
        lea rax, [rel .in32]
        push rax
        mov rax, [thunk_rax]
        o64 retf
        bits 32
.in32:  call [thunk_routine]
        jmp dword CODE64:.in64
        bits 64
.in64:  mov rsp, [thunk_rsp]
        mov ss, [thunk_ss]
        jmp [thunk_back]

text_high: db "    upper half", 0

        align 4096
sixteen:       dq 1, 2
constant:      dq 0x0123456789abcdef
gate_pointer:  dd 0
               dw GATE64 | 3
        align 8
value64:       dq 0
expected64:    dq 0
user_rax:      dq 0
try64_rsp:     dq 0
resume64:      dq 0
exc64_rax:     dq 0
exc64_rsp:     dq 0
exc64_old_rsp: dq 0
exc64_ss:      dq 0
exc64_new_ss:  dq 0
exc_vector64:  dd 0
exc_error64:   dd 0
sys_rcx:       dq 0
sys_r11:       dq 0
sys_cs:        dq 0
sys_ss:        dq 0
sys_flags:     dq 0
sys_rsp:       dq 0
gate64_rip:    dq 0
gate64_rsp:    dq 0
thunk_rax:     dq 0
thunk_back:    dq 0
thunk_rsp:     dq 0
thunk_routine: dd 0
thunk_ss:      dw 0
idt64_pointer: dw 64 * 16 - 1
               dd IDT

        GUEST_END
