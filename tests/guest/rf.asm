; SPDX-License-Identifier: MIT
;
; Who sees RF behind an IRET that has loaded it: the instruction there, if it pushes or saves the flags
; as they are, and its breakpoint, which is not met; nobody else, and nobody later. The translator
; leaves RF out where nobody would see it.

%define ROUNDS 20
%include "guest.inc"

VECTOR  equ 0x51
TSSB    equ FREE
GATEB   equ FREE + 8                    ; a task gate to it
RF      equ 0x10000
OF      equ 0x800
NT      equ 0x4000
OFTEN   equ 20
PAGE_END equ 0x201000                   ; code is put before it and behind it
LOW_COPY equ 0x9400                     ; where 16-bit code would be without its base

%define AT(label) ((label) - $$ + BASE)

main:
        HOOK 1, notes
        HOOK 3, notes
        HOOK 4, notes
        HOOK VECTOR, notes
        mov byte [idt + VECTOR * 8 + 5], 0xee
        mov edi, cases
.case:  mov dword [hot], OFTEN
.again: call in_ring_0
        dec dword [hot]
        jnz .again
        mov dword [hot], OFTEN
.user:  call in_ring_3
        dec dword [hot]
        jnz .user
        add edi, 12
.name:  inc edi
        cmp byte [edi - 1], 0
        jne .name
        cmp dword [edi], 0
        jne .case
        mov dword [hot], 1
        call page_ends
        call tasks
        call small_code
        call breakpoints
        ret

notes:  push dword [esp + 8]
        pop dword [ss:seen_flags]
        inc dword [ss:seen_count]
        iretd

; CASE "name", label, flags beside RF, what is seen of RF
%macro CASE 4
        dd %2, (%3) | RF | 2, %4
        db %1, 0
%endmacro
cases:  CASE "int", case_int, 0, RF
        CASE "int with ES", case_es, 0, RF
        CASE "int with CS", case_cs, 0, RF
        CASE "int with SS", case_ss, 0, RF
        CASE "int with DS", case_ds, 0, RF
        CASE "int with FS", case_fs, 0, RF
        CASE "int with GS", case_gs, 0, RF
        CASE "int with 66h", case_66, 0, RF
        CASE "int with 67h", case_67, 0, RF
        CASE "int with F2h", case_f2, 0, RF
        CASE "int with F3h and more", case_f3, 0, RF
        CASE "int3", case_int3, 0, RF
        CASE "into", case_into, OF, RF
        CASE "icebp", case_icebp, 0, RF
        CASE "nop, int", case_nop, 0, 0
        CASE "mov, int", case_mov, 0, 0
        CASE "rep movsb, int", case_rep, 0, 0
        CASE "pushf", case_pushf, 0, 0
        dd 0

; Ends of cases are like INT LEAVE_VECTOR, from any ring.
%macro DONE 0
        int LEAVE_VECTOR
%endmacro
case_int: int VECTOR
        DONE
case_es: db 0x26
        int VECTOR
        DONE
case_cs: db 0x2e
        int VECTOR
        DONE
case_ss: db 0x36
        int VECTOR
        DONE
case_ds: db 0x3e
        int VECTOR
        DONE
case_fs: db 0x64
        int VECTOR
        DONE
case_gs: db 0x65
        int VECTOR
        DONE
case_66: db 0x66
        int VECTOR
        DONE
case_67: db 0x67
        int VECTOR
        DONE
case_f2: db 0xf2
        int VECTOR
        DONE
case_f3: db 0xf3, 0x2e, 0x66, 0x67
        int VECTOR
        DONE
case_int3: int3
        DONE
case_into: into
        DONE
case_icebp: db 0xf1
        DONE
case_nop: nop
        int VECTOR
        DONE
case_mov: mov eax, [seen_count]
        int VECTOR
        DONE
case_rep: rep movsb
        int VECTOR
        DONE
case_pushf: pushfd
        pop dword [seen_flags]
        DONE

; The case at EDI: IRET with RF to it.
in_ring_0:
        push edi
        mov dword [seen_flags], -1
        TRY
        push dword [edi + 4]
        push dword CODE0
        push dword [edi]
        call places
        iretd
        CAUGHT_QUIETLY
        pop edi
        jmp look
in_ring_3:
        push edi
        mov dword [seen_flags], -1
        TRY
        push dword DATA3
        push dword STACK3
        push dword [edi + 4]
        push dword CODE3
        push dword [edi]
        call places
        mov ax, DATA3
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        iretd
        CAUGHT_QUIETLY
        pop edi
look:   push edi
        mov eax, [seen_flags]
        and eax, RF
        mov ebx, [edi + 8]
        lea esi, [edi + 12]
        call report_value
        pop edi
        ret
; For REP MOVSB.
places: mov esi, string
        mov edi, string
        mov ecx, 4
        ret

; EQUAL "name", RF as it was seen.
%macro SEEN_RF 2
        mov eax, [seen_flags]
        and eax, RF
        EQUAL %1, eax, %2
%endmacro

; IRETs to EAX, in ring 0, with RF and the flags of EDX.
go_with_rf:
        mov dword [seen_flags], -1
        TRY
        or edx, RF | 2
        push edx
        push dword CODE0
        push eax
        iretd
        CAUGHT_QUIETLY
        ret

page_ends:
        mov byte [PAGE_END - 1], 0x2e   ; only the prefix is in the page
        mov word [PAGE_END], 0xcd | VECTOR << 8
        mov word [PAGE_END + 2], 0xcd | LEAVE_VECTOR << 8
        HOT OFTEN
        mov eax, PAGE_END - 1
        xor edx, edx
        call go_with_rf
        SEEN_RF "a prefix in the page before", RF
        COOL
        mov byte [PAGE_END - 1], 0xcd
        mov byte [PAGE_END], VECTOR
        mov byte [PAGE_END + 1], 0x90
        HOT OFTEN
        mov eax, PAGE_END - 1
        xor edx, edx
        call go_with_rf
        SEEN_RF "int over two pages", RF
        COOL
        ret

; ---- tasks save the flags ----

; SAVES "name", label, what the INT behind it sees of RF
%macro SAVES 3
        HOT OFTEN
        call fresh_tasks
        mov eax, %2
        xor edx, edx
        call go_with_rf
        mov eax, [saved_flags]
        and eax, RF
        EQUAL %1, eax, RF
        SEEN_RF "  int behind it", %3
        COOL
%endmacro

tasks:  SAVES "jmp to a TSS", task_jmp, RF
        SAVES "call to a TSS", task_call, RF
        SAVES "jmp by memory", task_jmp_mem, RF
        SAVES "call by memory", task_call_mem, RF
        SAVES "jmp to a task gate", task_gate, RF
        HOT OFTEN
        call fresh_tasks
        mov word [tss], TSSB            ; the task to go back to
        mov byte [gdt + TSSB + 5], 0x8b
        mov eax, task_iret
        mov edx, NT
        call go_with_rf
        mov eax, [saved_flags]
        and eax, RF
        EQUAL "iret to a task", eax, RF
        COOL
        ret

task_jmp: jmp TSSB:0
        int VECTOR
        DONE
task_call: call TSSB:0
        int VECTOR
        DONE
task_jmp_mem: jmp far [far_tssb]
        int VECTOR
        DONE
task_call_mem: call far [far_tssb]
        int VECTOR
        DONE
task_gate: jmp GATEB:0
        int VECTOR
        DONE
task_iret: iretd
        int VECTOR
        DONE

fresh_tasks:
        mov edi, tss_b
        mov ecx, 0x68 / 4
        xor eax, eax
        cld
        rep stosd
        mov dword [tss_b + 32], other_task
        mov dword [tss_b + 36], 2
        mov dword [tss_b + 56], STACK3 - 0x400
        mov dword [tss_b + 72], DATA0
        mov dword [tss_b + 76], CODE0
        mov dword [tss_b + 80], DATA0
        mov dword [tss_b + 84], DATA0
        mov dword [tss_b + 88], DATA0
        mov dword [tss_b + 92], DATA0
        mov word [tss_b + 102], 0x68
        DESC TSSB, AT(tss_b), 0x67, 0x89, 0
        mov dword [gdt + GATEB], TSSB << 16
        mov dword [gdt + GATEB + 4], 0x8500
        mov byte [gdt + TSS0 + 5], 0x89
        push dword 2
        popfd
        mov ax, TSS0
        ltr ax
        ret

; Back to the first task, by the way it came.
other_task:
        mov eax, [tss + 36]
        mov [saved_flags], eax
        clts
        test byte [gdt + TSS0 + 5], 2   ; busy: it is called
        jz .jumped
        iretd
.jumped:
        jmp TSS0:0

; ---- 16-bit code, whose base counts ----
small_code:
        mov dword [LOW_COPY], 0x90909090
        mov word [LOW_COPY + 4], 0xcd | LEAVE_VECTOR << 8
        HOT OFTEN
        mov dword [seen_flags], -1
        TRY
        push dword RF | 2
        push dword CODE16
        push dword code_small - BASE
        iretd
        CAUGHT_QUIETLY
        SEEN_RF "int in 16-bit code", RF
        COOL
        ret
        bits 16
        times (LOW_COPY + 0x10000 - BASE - ($ - $$)) nop
code_small:
        int VECTOR
        DONE
        bits 32

; ---- breakpoints ----
breakpoints:
        HOOK 1, resumes
        HOT OFTEN
        mov eax, case_nop
        mov dr0, eax
        mov eax, 0x402
        mov dr7, eax
        mov dword [seen_count], 0
        mov eax, case_nop
        xor edx, edx
        call go_with_rf
        SEEN_RF "breakpoint behind IRET: int later", 0
        EQUAL "  not met", [seen_count], 1      ; but for the INT
        mov dword [seen_count], 0
        TRY
        jmp case_nop
        CAUGHT_QUIETLY
        EQUAL "  met without RF", [seen_count], 2
        mov eax, 0x400
        mov dr7, eax
        COOL
        HOOK 1, notes
        ret
resumes:
        inc dword [seen_count]
        or dword [esp + 8], RF
        iretd

        align 4096
seen_flags: dd 0
seen_count: dd 0
saved_flags: dd 0
far_tssb:   dd 0
            dw TSSB
        align 8
string: dd 0, 0
tss_b:  times 0x68 db 0

        GUEST_END
