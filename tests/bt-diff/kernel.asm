; SPDX-License-Identifier: MIT
;
; The kernel under bt-diff's random programs. It writes each exception to a log in memory, which is
; compared like all memory, and goes on: behind a trap; at the same instruction, when a page or the
; FPU was only taken away for a while; else at the address that the program has left in a variable.
;
;   INT 80h   service, chosen by EAX; arguments in ECX and EDX; no register changes
;   INT 81h   the end of the program, which sees it with all registers as they are
;   INT 20h   the tick, which leaves no trace

        org 0x10000
        bits 32

CODE0   equ 0x08
DATA0   equ 0x10
CODE3   equ 0x18 | 3
DATA3   equ 0x20 | 3

PORT_LEAVE equ 0xf4

FLAG_TF equ 1 << 8
FLAG_NT equ 1 << 14
FLAG_RF equ 1 << 16
FLAG_AC equ 1 << 18
CR0_TS  equ 1 << 3

REGION_SHIFT equ 22                     ; the pages that may come and go: 400000h..7FFFFFh
REGION       equ 1

; What the host fills in: struct kernel_vars.
log_next: dd 0
log_end:  dd 0
resume:   dd 0                          ; where the program keeps where to go on
space:    dd 0                          ; the address space: 0 or 1
cr3s:     dd 0, 0                       ; by space
tables:   dd 0, 0                       ; paging entries of the region
repairs:  dd 0, 0                       ; what they are when all is well, 8 bytes each; 0: never
large:    dd 0                          ; 1: entries have 8 bytes
; What it wants to know.
        dd stubs, tick, service, leave, double_fault

; ---- entries ----

STUB_BYTES equ 16
STUBS      equ 48

%macro stub 1
        align STUB_BYTES
%if !(%1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17)
        push dword 0
%endif
        push dword %1
        jmp exception
%endmacro

        align STUB_BYTES
stubs:
%assign n 0
%rep STUBS
        stub n
%assign n n + 1
%endrep

tick:   iretd

leave:  out PORT_LEAVE, al
        jmp $

double_fault:
        mov al, 0xdf
        out PORT_LEAVE, al
        jmp $

; ---- exceptions ----

; What `exception` leaves on the stack.
F_ES     equ 0
F_DS     equ 4
F_VECTOR equ 40
F_EIP    equ 48
F_CS     equ 52
F_FLAGS  equ 56
RECORD   equ 80                         ; bytes: 15 or 17 dwords of the frame, CR2 at 68

exception:
        pushad
        xor eax, eax
        mov ax, ds
        push eax
        mov ax, es
        push eax
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        cld
        mov edi, [log_next]
        mov edx, edi
        mov ecx, 15
        test byte [esp + F_CS], 3
        jz .copy
        mov cl, 17
.copy:  mov esi, esp
        ss rep movsd
        mov eax, [esp + F_VECTOR]
        cmp eax, 14
        jne .noted
        mov ecx, cr2
        mov [edx + 68], ecx
.noted: add edx, RECORD
        mov [log_next], edx
        cmp edx, [log_end]
        jae leave
        mov cl, [actions + eax]
        dec cl
        js go_on_elsewhere
        jz back
        dec cl
        jz .fpu
        dec cl
        jz page_fault
        and dword [esp + F_FLAGS], ~FLAG_TF     ; #DB
        jmp back
.fpu:   mov eax, cr0                    ; #NM: TS, or EM, which nobody sets
        test al, CR0_TS
        jz go_on_elsewhere
        clts
back:   pop eax
        mov es, ax
        pop eax
        mov ds, ax
        popad
        add esp, 8
        iretd

; 0: elsewhere, 1: back, 2: the FPU, 3: a page, 4: back without TF
actions:
        db 0, 4, 1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0
        db 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        times 16 db 1

go_on_elsewhere:
        mov eax, [resume]
        mov eax, [eax]
        mov [esp + F_EIP], eax
        and dword [esp + F_FLAGS], ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_AC)
        mov dword [esp + F_ES], DATA3
        mov dword [esp + F_DS], DATA3
        jmp back

; A page whose entry is not what it is when all is well gets that back.
page_fault:
        mov ebx, cr2
        mov ecx, ebx
        shr ecx, REGION_SHIFT
        cmp ecx, REGION
        jne go_on_elsewhere
        mov ecx, ebx
        shr ecx, 12
        and ecx, 0x3ff
        mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        mov edx, [edi + ecx * 8 + 4]
        test eax, eax
        jz go_on_elsewhere
        mov edi, [tables + esi * 4]
        cmp byte [large], 0
        jne .large
        mov esi, [edi + ecx * 4]
        xor esi, eax
        and esi, ~0x60                  ; A and D come by themselves
        jz go_on_elsewhere
        mov [edi + ecx * 4], eax
        invlpg [ebx]
        jmp back
.large: mov esi, [edi + ecx * 8]
        xor esi, eax
        and esi, ~0x60
        mov ebp, [edi + ecx * 8 + 4]
        xor ebp, edx
        or esi, ebp
        jz go_on_elsewhere
        mov [edi + ecx * 8], eax
        mov [edi + ecx * 8 + 4], edx
        invlpg [ebx]
        jmp back

; ---- services ----

service:
        push ds
        push es
        pushad
        mov bx, DATA0
        mov ds, bx
        mov es, bx
        cmp eax, SERVICES
        jae .done
        call [services + eax * 4]
.done:  popad
        pop es
        pop ds
        iretd

services: dd set_entry, change_space, reload, flip_cr0, flip_cr4, to_ring3, to_ring0, set_and_reload
SERVICES equ ($ - services) / 4

; Page ECX of the region gets the low bits EDX, and NX for bit 31; EBP = its address.
write_entry:
        mov ebp, ecx
        shl ebp, 12
        add ebp, REGION << REGION_SHIFT
        mov esi, [space]
        mov edi, [repairs + esi * 4]
        mov eax, [edi + ecx * 8]
        and eax, ~0xfff
        mov ebx, edx
        and ebx, 0xfff
        or eax, ebx
        mov edi, [tables + esi * 4]
        cmp byte [large], 0
        jne .large
        mov [edi + ecx * 4], eax
        ret
.large: mov [edi + ecx * 8], eax
        and edx, 1 << 31
        mov [edi + ecx * 8 + 4], edx
        ret

set_entry:
        call write_entry
        invlpg [ebp]
        ret

set_and_reload:
        call write_entry
        mov eax, cr4                    ; global pages too
        mov ecx, eax
        xor ecx, 1 << 7
        mov cr4, ecx
        mov cr4, eax
        ret

change_space:
        mov eax, [space]
        xor eax, 1
        mov [space], eax
        mov eax, [cr3s + eax * 4]
        mov cr3, eax
        ret

reload: mov eax, cr3
        mov cr3, eax
        ret

flip_cr0:
        mov eax, cr0
        xor eax, edx
        mov cr0, eax
        ret

flip_cr4:
        mov eax, cr4
        xor eax, edx
        mov cr4, eax
        ret

; The program goes on in the other ring with the same stack. The frame lies above the return
; address, PUSHAD's 32 bytes, ES and DS.
S_ES    equ 36
S_EIP   equ 44
S_CS    equ 48
S_FLAGS equ 52
S_ESP   equ 56

to_ring3:
        test byte [esp + S_CS], 3
        jnz .there
        mov eax, [esp + S_EIP]
        mov ecx, [esp + S_FLAGS]
        lea edx, [esp + S_ESP]          ; where the program's stack was
        lea esi, [esp + 4]              ; its registers
        mov ebx, [esp + S_ES]
        mov ebp, [esp + S_ES + 4]
        push dword DATA3
        push edx
        push ecx
        push dword CODE3
        push eax
        push ebp
        push ebx
        push dword [esi + 28]           ; as PUSHAD has them
        push dword [esi + 24]
        push dword [esi + 20]
        push dword [esi + 16]
        push dword [esi + 12]
        push dword [esi + 8]
        push dword [esi + 4]
        push dword [esi]
        popad
        pop es
        pop ds
        iretd
.there: ret

to_ring0:
        test byte [esp + S_CS], 3
        jz .there
        mov edx, [esp + S_ESP]          ; must be good: the generator has just set it
        sub edx, 12
        mov eax, [esp + S_EIP]
        mov [edx], eax
        mov dword [edx + 4], CODE0
        mov eax, [esp + S_FLAGS]
        mov [edx + 8], eax
        mov [esp + 4 + 12], edx         ; PUSHAD's ESP, which POPAD ignores
        mov eax, [esp + S_ES]
        mov [edx - 8], eax
        mov eax, [esp + S_ES + 4]
        mov [edx - 4], eax
        lea esi, [esp + 4]
        lea edi, [edx - 8 - 32]
        mov ecx, 8
        rep movsd
        lea esp, [edx - 8 - 32]
        popad
        pop es
        pop ds
        iretd
.there: ret
