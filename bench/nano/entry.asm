; SPDX-License-Identifier: MIT
;
; The nanobenchmark's beginning and the parts that C cannot express: the multiboot header, the
; descriptor tables, the trap handlers whose cost is measured, and the way to ring 3 and back.
;
; A handler does the least that its benchmark needs, so that what is left is the cost of the trap.

bits 32

MULTIBOOT_MAGIC  equ 0x1badb002
MULTIBOOT_FLAGS  equ 0x00000002          ; wants memory information

KERNEL_CS        equ 0x08                ; SYSENTER fixes the order of these four
KERNEL_DS        equ 0x10
USER_CS          equ 0x18 | 3
USER_DS          equ 0x20 | 3
TSS_SELECTOR     equ 0x28

STACK_SIZE       equ 16384
DIV_LENGTH       equ 2                   ; div ecx
LOAD_LENGTH      equ 2                   ; mov eax, [ecx]

section .multiboot
align 4
        dd MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

section .text
global start
extern nano_main
start:
        cli
        cld
        mov esp, kernel_stack_top
        call fill_tss_descriptor
        lgdt [gdt_pointer]
        jmp KERNEL_CS:.reload
.reload:
        mov ax, KERNEL_DS
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov ax, TSS_SELECTOR
        ltr ax
        call nano_main
.stop:
        hlt
        jmp .stop

fill_tss_descriptor:
        mov eax, tss
        mov [gdt_tss + 2], ax
        shr eax, 16
        mov [gdt_tss + 4], al
        mov [gdt_tss + 7], ah
        ret

; void load_idt(const void *table, uint32_t bytes)
global load_idt
load_idt:
        mov eax, [esp + 4]
        mov ecx, [esp + 8]
        dec ecx
        mov [idt_pointer], cx
        mov [idt_pointer + 2], eax
        lidt [idt_pointer]
        ret

; void call_in_ring3(void (*function)(void *), void *argument)
; Runs a C function at CPL 3; its return is a trap through int 81h, which resumes here.
global call_in_ring3
call_in_ring3:
        push ebx
        push esi
        push edi
        push ebp
        mov eax, [esp + 20]
        mov edx, [esp + 24]
        mov [ring0_stack], esp
        mov [tss + 4], esp               ; esp0: traps from ring 3 go on below
        mov ecx, user_stack_top - 8
        mov [ecx + 4], edx
        mov dword [ecx], .return
        mov dx, USER_DS
        mov ds, dx
        mov es, dx
        push dword USER_DS
        push ecx
        pushfd
        push dword USER_CS
        push eax
        iretd
.return:
        int 0x81

global trap_leave_ring3
trap_leave_ring3:
        mov esp, [ss:ring0_stack]
        mov ax, KERNEL_DS
        mov ds, ax
        mov es, ax
        pop ebp
        pop edi
        pop esi
        pop ebx
        ret

global trap_return
trap_return:
        iretd

global trap_skip_divide
trap_skip_divide:
        add dword [esp], DIV_LENGTH
        iretd

global trap_skip_load
trap_skip_load:
        add dword [esp + 4], LOAD_LENGTH
        add esp, 4                       ; the error code
        iretd

; Demand paging at its shortest: one store makes the page present, then the access is retried.
global trap_map_page
extern demand_pte
extern demand_pte_value
trap_map_page:
        push eax
        push ecx
        mov eax, [demand_pte]
        mov ecx, [demand_pte_value]
        mov [eax], ecx
        pop ecx
        pop eax
        add esp, 4                       ; the error code
        iretd

; SYSENTER comes with the way back already in ECX (stack) and EDX (code).
global sysenter_target
sysenter_target:
        sysexit

global trap_unexpected
extern unexpected_trap
trap_unexpected:
        mov ax, KERNEL_DS
        mov ds, ax
        mov es, ax
        call unexpected_trap

; uint32_t far_calls(uint32_t count): far calls within ring 0
global far_calls
far_calls:
        mov ecx, [esp + 4]
.next:
        call KERNEL_CS:.target
        dec ecx
        jnz .next
        ret
.target:
        retf

; void iret_loop(uint32_t count): IRET to the same ring
global iret_loop
iret_loop:
        mov ecx, [esp + 4]
.next:
        pushfd
        push dword KERNEL_CS
        push dword .after
        iretd
.after:
        dec ecx
        jnz .next
        ret

; void sysenter_loop(uint32_t count): from ring 3 to ring 0 and back
global sysenter_loop
sysenter_loop:
        push ebp
        mov ebp, [esp + 8]
.next:
        mov ecx, esp
        mov edx, .after
        sysenter
.after:
        dec ebp
        jnz .next
        pop ebp
        ret

section .data
align 8
gdt:
        dq 0
        dq 0x00cf9a000000ffff            ; 08 code, ring 0
        dq 0x00cf92000000ffff            ; 10 data, ring 0
        dq 0x00cffa000000ffff            ; 18 code, ring 3
        dq 0x00cff2000000ffff            ; 20 data, ring 3
gdt_tss:
        dq 0x0000890000000067            ; 28 TSS; the base is filled in at run time
gdt_end:

gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt
idt_pointer:
        dw 0
        dd 0

align 4
tss:
        dd 0                             ; back link
        dd kernel_stack_top              ; esp0
        dd KERNEL_DS                     ; ss0
        times 22 dd 0
        dd 104 << 16                     ; no I/O bitmap

section .bss
align 16
        resb STACK_SIZE
kernel_stack_top:
        resb STACK_SIZE
global sysenter_stack_top
sysenter_stack_top:
        resb STACK_SIZE
user_stack_top:
ring0_stack:
        resd 1

section .note.GNU-stack noalloc noexec nowrite progbits
