; SPDX-License-Identifier: MIT
;
; Long mode: how it is entered, 64-bit and compatibility submodes, the 64-bit IDT with IST, 64-bit
; TSS, canonical checks, SYSCALL, SWAPGS, NX, RIP-relative operands, REX forms, and the
; way back to legacy protected mode.

%include "guest.inc"
%include "long.inc"

LDT64   equ FREE + 64                   ; 16 bytes
GATE64  equ FREE + 80                   ; 16 bytes

main:
        call prepare_long
        jz .has
        ret                             ; a CPU without long mode
.has:
        DESC LDT64, 0x22000, 0x3f, 0x82, 0
        GATE GATE64, CODE64, gate64_target, 0xec, 0
        mov dword [gdt + GATE64 + 8], 0xffff8000 ; high half of the address space
        mov dword [gdt + GATE64 + 12], 0

        ; ---- the way in ----
        TRY
        mov ecx, MSR_EFER
        rdmsr
        or eax, EFER_LME
        wrmsr
        CR_SET cr0, CR0_PG
        CAUGHT "paging with LME and no PAE", 13, 0
        mov eax, CR4_PAE
        call long_paging
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
in64:   LONG_SEGMENTS

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
        TO_COMPATIBILITY
        CR_CLEAR cr0, CR0_PG
        mov ecx, MSR_EFER
        rdmsr
        EQUAL "LMA goes with paging", eax, 0x900
        call legacy_again
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


        align 4096
sixteen:       dq 1, 2
constant:      dq 0x0123456789abcdef
gate_pointer:  dd 0
               dw GATE64 | 3
sys_rcx:       dq 0
sys_r11:       dq 0
sys_cs:        dq 0
sys_ss:        dq 0
sys_flags:     dq 0
sys_rsp:       dq 0
gate64_rip:    dq 0
gate64_rsp:    dq 0

        GUEST_END
