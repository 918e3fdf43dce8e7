; SPDX-License-Identifier: MIT
;
; Real mode: exceptions by the vector table, limits and wrapping, flags, interrupts, code that changes
; itself, the A20 gate. Then unreal mode, in which segments keep the limits of protected mode, and
; 32-bit code with PE clear. Each part goes to real mode and back once a round; a note is the number
; of its first check that went wrong, 0 none.

%define ROUNDS 40
%include "guest.inc"

IMAGE   equ BASE >> 4
REAL_SP equ 0xd000                      ; in segment 0
LEAVE16 equ 0x40                        ; the vector that ends a part without a fault
BEYOND  equ 0x00234560                  ; memory that segments of 64 KiB do not reach
VARIABLES equ 0x9000                    ; in segment 0: not beside code

note    equ VARIABLES
vector  equ VARIABLES + 4
at_ip   equ VARIABLES + 6               ; what the interrupt has pushed
at_cs   equ VARIABLES + 8
at_flags equ VARIABLES + 10
at_sp   equ VARIABLES + 12              ; after it was popped
resume16 equ VARIABLES + 14
ticks   equ VARIABLES + 16
saved_esp equ VARIABLES + 20
scratch equ VARIABLES + 24

DATA16_4G equ FREE                      ; 16-bit stack size, limit 4 GiB
CODE16_0  equ FREE + 8                  ; CODE16 at base 0

; Goes to real mode: CS and data segments at the image, SS 0. TO_REAL selector: whose limits and
; attributes DS, ES, FS, GS and SS keep.
%macro TO_REAL 1
        mov [saved_esp], esp
        jmp CODE16:R(%%in16)
        bits 16
%%in16: mov ax, %1
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov eax, cr0
        and al, ~1
        mov cr0, eax
        jmp IMAGE:R(%%real)
%%real: mov ax, IMAGE
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        xor ax, ax
        mov ss, ax
        mov sp, REAL_SP
        lidt [R(real_idt)]
%endmacro

; And back, with everything as guest.inc has it.
%macro TO_PROTECTED 0
        cli
        o32 lidt [cs:R(idt_pointer)]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword CODE0:%%in32
        bits 32
%%in32: mov ax, DATA0
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov esp, [saved_esp]
%endmacro

; RIGHT condition, number of the check
%macro RIGHT 2
        j%1 %%good
        cmp dword [ss:note], 0
        jne %%good
        mov dword [ss:note], %2
%%good:
%endmacro

%macro TRY16 0
        %push try16
        mov word [ss:resume16], R(%$after)
%endmacro
; CAUGHT16 vector, number of the check
%macro CAUGHT16 2
        int LEAVE16
%$after:
        %pop
        cmp word [ss:vector], %1
        RIGHT e, %2
%endmacro

main:
        call no_interrupts
        DESC DATA16_4G, BASE, 0xfffff, 0x93, 8
        DESC CODE16_0, 0, 0xffff, 0x9b, 0
        call make_vectors
        call faults
        call undefined
        call limits
        call flags
        call transfers
        call strings
        call changes
        call a20
        call interrupts
        call unreal
        call back_to_64k
        call without_pe
        ret

; 64 vectors to stubs that push their number.
make_vectors:
        xor edi, edi
        mov eax, R(stubs16)
.next:  mov [edi * 4], ax
        mov word [edi * 4 + 2], IMAGE
        add eax, 8
        inc edi
        cmp edi, LEAVE16 + 1
        jb .next
        mov dword [note], 0
        ret

        bits 16
        align 8
stubs16:
%assign vec 0
%rep LEAVE16 + 1
        align 8
        push word vec
        jmp near handler16
%assign vec vec + 1
%endrep
; Segments but for SS may be anything; SS is 0 in all checks.
handler16:
        pop word [ss:vector]
        pop word [ss:at_ip]
        pop word [ss:at_cs]
        pop word [ss:at_flags]
        mov [ss:at_sp], sp
        mov sp, REAL_SP
        cld
        jmp word [ss:resume16]
        bits 32

; ---- exceptions ----
faults: TO_REAL DATA16
        TRY16
        xor cx, cx
        stc
.div:   div cx
        CAUGHT16 0, 1
        cmp word [ss:at_ip], R(.div)
        RIGHT e, 2
        cmp word [ss:at_cs], IMAGE
        RIGHT e, 3
        cmp word [ss:at_sp], REAL_SP    ; no error code
        RIGHT e, 4
        test word [ss:at_flags], 1
        RIGHT nz, 5
        TRY16
        mov ax, 0x8000
        cwd
        mov bx, -1
        idiv bx
        CAUGHT16 0, 6
        TRY16
.int3:  int3
.int3_next:
        CAUGHT16 3, 7
        cmp word [ss:at_ip], R(.int3_next)
        RIGHT e, 8
        TRY16
        mov al, 0x7f
        inc al
        into
        CAUGHT16 4, 9
        TRY16
        mov al, 1
        inc al
        into
        CAUGHT16 LEAVE16, 10
        TRY16
        mov ax, 11
.bound: bound ax, [R(bounds)]
        CAUGHT16 5, 11
        cmp word [ss:at_ip], R(.bound)
        RIGHT e, 12
        TRY16
        mov ax, 10
        bound ax, [R(bounds)]
        CAUGHT16 LEAVE16, 13
        TRY16                           ; a vector beyond the table's limit
        lidt [R(short_idt)]
.int:   int 0x2f
        CAUGHT16 13, 14
        lidt [R(real_idt)]
        cmp word [ss:at_ip], R(.int)
        RIGHT e, 15
        TRY16                           ; sixteen bytes
        times 15 db 0x2e
        nop
        CAUGHT16 13, 16
        TRY16
        push word 0x302                 ; TF: a trap behind the instruction after POPF
        popf
        nop
.step:  nop
        CAUGHT16 1, 17
        cmp word [ss:at_ip], R(.step)
        RIGHT e, 18
        test word [ss:at_flags], 0x100
        RIGHT nz, 19
        pushf
        pop ax
        test ax, 0x300                  ; the interrupt has cleared TF and IF
        RIGHT z, 20
        mov eax, cr0                    ; an FPU that is not there
        or al, 4
        mov cr0, eax
        TRY16
        fld1
        CAUGHT16 7, 21
        mov eax, cr0
        and al, ~4
        mov cr0, eax
        TO_PROTECTED
        EQUAL "exceptions by the vector table", [note], 0
        ret

; ---- what protected mode only has ----
%macro UNDEFINED16 2+
        TRY16
        %2
        CAUGHT16 6, %1
%endmacro
undefined:
        TO_REAL DATA16
        UNDEFINED16 1, sldt ax
        UNDEFINED16 2, str ax
        UNDEFINED16 3, lldt ax
        UNDEFINED16 4, ltr ax
        UNDEFINED16 5, verr ax
        UNDEFINED16 6, verw ax
        UNDEFINED16 7, lar ax, ax
        UNDEFINED16 8, lsl ax, ax
        UNDEFINED16 9, db 0x63, 0xc0
        UNDEFINED16 10, ud2
        UNDEFINED16 11, db 0xf0, 0x90
        UNDEFINED16 12, db 0x8e, 0xc8
        UNDEFINED16 13, db 0xff, 0xf8
        TRY16                           ; and what is allowed
        smsw ax
        sgdt [ss:scratch]
        sidt [ss:scratch + 8]
        clts
        lmsw ax
        mov eax, cr3
        mov cr3, eax
        mov eax, dr7
        mov ecx, 0x10
        rdmsr
        CAUGHT16 LEAVE16, 14
        cmp word [ss:scratch], gdt_end - gdt - 1
        RIGHT e, 15
        cmp dword [ss:scratch + 10], 0
        RIGHT e, 16
        TO_PROTECTED
        EQUAL "instructions of protected mode", [note], 0
        ret

; ---- limits and wrapping ----
limits: TO_REAL DATA16
        mov ax, 0x2000
        mov es, ax
        mov dword [es:0xfffc], 0x44332211
        TRY16
        mov ax, [es:0xffff]
        CAUGHT16 13, 1
        TRY16
        mov eax, [es:0xfffd]
        CAUGHT16 13, 2
        TRY16
        mov eax, [es:0xfffc]
        CAUGHT16 LEAVE16, 3
        TRY16
        mov ebx, 0x10000
        mov al, [es:ebx]
        CAUGHT16 13, 4
        TRY16
        mov bp, 0xffff
        mov ax, [bp]                    ; SS: vector 12
        CAUGHT16 12, 5
        TRY16
        mov bx, 0xfff0
        mov si, 0x000c
        mov di, 0x0010
        mov ax, [es:bx + si]            ; FFFCh
        cmp ax, 0x2211
        RIGHT e, 6
        mov byte [es:0], 0x99
        cmp byte [es:bx + di], 0x99     ; wraps to 0
        RIGHT e, 7
        CAUGHT16 LEAVE16, 8
        TRY16
        mov eax, 0x10000
.far:   jmp eax
        CAUGHT16 13, 9
        cmp word [ss:at_ip], R(.far)
        RIGHT e, 10
        TRY16
        jmp 0x2fff:0xffff               ; a word's second byte lies beyond the limit
        CAUGHT16 13, 11
        cmp word [ss:at_cs], 0x2fff
        RIGHT e, 12
        cmp word [ss:at_ip], 0xffff
        RIGHT e, 13
        mov sp, 2
        push word 0x1234
        mov bp, sp
        test bp, bp
        RIGHT z, 14
        pop ax
        mov sp, REAL_SP
        cmp ax, 0x1234
        RIGHT e, 15
        mov sp, 0                       ; wraps to FFFEh
        push word 0x4321
        mov bp, sp
        pop bx
        mov cx, sp
        mov sp, REAL_SP
        cmp bp, 0xfffe
        RIGHT e, 16
        cmp bx, 0x4321
        RIGHT e, 17
        jcxz .good
        mov dword [ss:note], 18
.good:  push sp                         ; the value before, since the 286
        pop ax
        cmp ax, REAL_SP
        RIGHT e, 19
        TO_PROTECTED
        EQUAL "limits and wrapping", [note], 0
        ret

; ---- flags ----
flags:  TO_REAL DATA16
        push word 0x7ed5                ; NT, IOPL 3, OF, DF, SF ZF AF PF CF; not TF
        popf
        pushf
        pop ax
        push word 2
        popf
        pushf
        pop bx
        cmp ax, 0x7ed7
        RIGHT e, 1
        cmp bx, 2
        RIGHT e, 2
        push dword 0x247002             ; AC, ID
        popfd
        pushfd
        pop eax
        push dword 2
        popfd
        cmp eax, 0x247002
        RIGHT e, 3
        push word 0x7002                ; IRET loads them likewise
        push cs
        push word R(.here)
        iret
.here:  pushf
        pop ax
        push word 2
        popf
        cmp ax, 0x7002
        RIGHT e, 4
        TRY16
        sti
        int LEAVE16
        CAUGHT16 LEAVE16, 5
        test word [ss:at_flags], 0x200
        RIGHT nz, 6
        cli
        TO_PROTECTED
        EQUAL "flags", [note], 0
        ret

; ---- transfers ----
transfers:
        TO_REAL DATA16
        mov cx, 60                      ; hot
.next:  push cx
        xor ax, ax
        call IMAGE:R(.proc)
        cmp ax, 7
        RIGHT e, 1
        cmp sp, REAL_SP - 2
        RIGHT e, 2
        push word 0x1111
        call far [R(.pointer)]
        cmp ax, 14
        RIGHT e, 3
        o32 call far [R(.pointer32)]
        cmp ax, 21
        RIGHT e, 4
        cmp sp, REAL_SP - 2
        RIGHT e, 5
        call IMAGE + 0x10:R(.other - 0x100)
        cmp bx, IMAGE + 0x10
        RIGHT e, 6
        mov bp, 0x1234
        enter 8, 2
        leave
        cmp bp, 0x1234
        RIGHT e, 7
        pusha
        xor bx, bx
        popa
        cmp bx, IMAGE + 0x10
        RIGHT e, 8
        pop cx
        dec cx
        jnz .next
        TO_PROTECTED
        EQUAL "far transfers", [note], 0
        ret
        bits 16
.proc:  add ax, 7
        retf
.proc2: add ax, 7
        retf 2
.proc32:
        add ax, 7
        o32 retf
.other: mov bx, cs
        retf
        align 4
.pointer: dw R(.proc2), IMAGE
.pointer32:
        dd R(.proc32)
        dw IMAGE
        bits 32

; ---- string instructions ----
strings:
        TO_REAL DATA16
        mov ax, 0x2000
        mov ds, ax
        mov ax, 0x3000
        mov es, ax
        mov byte [0xffff], 0x5a
        mov byte [0], 0xa5
        mov si, 0xffff                  ; wraps between two elements
        lodsb
        mov ah, al
        lodsb
        cmp ax, 0x5aa5
        RIGHT e, 1
        cmp si, 1
        RIGHT e, 2
        mov di, 0xfff8
        mov al, 0x77
        mov cx, 16
        rep stosb
        cmp di, 8
        RIGHT e, 3
        cmp byte [es:7], 0x77
        RIGHT e, 4
        cmp byte [es:0xfff8], 0x77
        RIGHT e, 5
        TRY16                           ; a word beyond the limit: faults with what was done
        mov di, 0xfffb
        mov cx, 16
        mov ax, 0x6666
        rep stosw
        CAUGHT16 13, 6
        cmp di, 0xffff
        RIGHT e, 7
        cmp cx, 14
        RIGHT e, 8
        TO_PROTECTED
        EQUAL "strings", [note], 0
        ret

; ---- code that changes itself ----
changes:
        TO_REAL DATA16
        mov cx, 100
        xor dx, dx
.next:  mov [cs:R(.patched + 1)], cx
.patched:
        mov ax, 0
        add dx, ax
        loop .next
        cmp dx, 5050
        RIGHT e, 1
        mov cx, 50                      ; and that of another segment with the same bytes
        mov ax, IMAGE - 0x100
        mov ds, ax
.again: mov byte [R(.number + 1) + 0x1000], cl
        call .number
        cmp al, cl
        RIGHT e, 2
        loop .again
        TO_PROTECTED
        EQUAL "code that changes itself", [note], 0
        ret
        bits 16
.number:
        mov al, 0
        ret
        bits 32

; ---- A20 ----
a20:    TO_REAL DATA16
        xor ax, ax
        mov ds, ax
        not ax
        mov es, ax
        mov cx, 3
.next:  mov dword [scratch], 0x11111111
        mov dword [es:scratch + 16], 0x22222222 ; 1 MiB above
        cmp dword [scratch], 0x11111111
        RIGHT e, 1
        in al, 0x92
        and al, ~3
        out 0x92, al
        cmp dword [es:scratch + 16], 0x11111111 ; the same
        RIGHT e, 2
        mov dword [es:scratch + 16], 0x33333333
        cmp dword [scratch], 0x33333333
        RIGHT e, 3
        or al, 2
        out 0x92, al
        cmp dword [es:scratch + 16], 0x22222222
        RIGHT e, 4
        dec cx
        jnz .next
        TO_PROTECTED
        EQUAL "the A20 gate", [note], 0
        ret

; ---- interrupts ----
interrupts:
        mov ax, 0xfffe                  ; IRQ 0
        call make_irqs
        mov word [IRQ_BASE * 4], R(.tick)
        mov dword [ticks], 0
        mov al, 0x34                    ; 10 kHz
        out 0x43, al
        mov al, 120
        out 0x40, al
        xor al, al
        out 0x40, al
        TO_REAL DATA16
        sti
        xor ecx, ecx
.loop:  inc ecx                         ; until three ticks have come
        mov eax, ecx
        sub eax, ecx
        RIGHT z, 1
        cmp dword [ss:ticks], 3
        jb .loop
        hlt
        hlt
        cli
        cmp dword [ss:ticks], 5
        RIGHT ae, 2
        cmp sp, REAL_SP
        RIGHT e, 3
        TO_PROTECTED
        mov al, 0xff
        out 0x21, al
        mov al, 0x30                    ; the counter rests
        out 0x43, al
        EQUAL "interrupts", [note], 0
        ret
        bits 16
.tick:  inc dword [ss:ticks]
        push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
        bits 32

; ---- unreal mode ----
unreal: mov dword [BEYOND], 0x13572468
        TO_REAL DATA16_4G
        mov ebx, BEYOND
        mov ecx, 100                    ; hot
.next:  xor ax, ax
        mov ds, ax                      ; another base, the same limit
        cmp dword [ebx], 0x13572468
        RIGHT e, 1
        add dword [ebx + 4], 5
        mov ax, IMAGE
        mov ds, ax
        cmp dword [ebx - BASE], 0x13572468
        RIGHT e, 2
        mov ax, 0x100
        mov fs, ax
        mov eax, [fs:ebx - 0x1000]
        cmp eax, 0x13572468
        RIGHT e, 3
        mov ax, [ebx - BASE + 2]
        cmp ax, 0x1357
        RIGHT e, 4
        dec ecx
        jnz .next
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov esi, BEYOND
        mov edi, BEYOND + 0x10000
        mov ecx, 0x1000
        a32 rep movsd
        cmp edi, BEYOND + 0x14000
        RIGHT e, 5
        cmp dword [edi - 0x4000], 0x13572468
        RIGHT e, 6
        TRY16                           ; after an interrupt all is as before
        int LEAVE16
        CAUGHT16 LEAVE16, 7
        cmp dword [ebx], 0x13572468
        RIGHT e, 8
        mov bx, 0xffff                  ; a 16-bit address may cross 64 KiB now
        mov word [bx], 0xbeef
        mov ebx, 0x10000
        cmp byte [ebx], 0xbe
        RIGHT e, 9
        mov byte [ebx], 0               ; the image's first byte: it runs no more
        mov ax, sp                      ; the stack is still one of 16 bits
        push word 1
        sub ax, 2
        cmp ax, sp
        RIGHT e, 10
        pop ax
        TRY16                           ; CS has its own limit
        mov eax, 0x10000
        jmp eax
        CAUGHT16 13, 11
        TO_PROTECTED
        EQUAL "unreal mode", [note], 0
        EQUAL "  memory far away", [BEYOND + 4], 500
        mov dword [BEYOND + 4], 0
        ret

; A visit to protected mode with segments of 64 KiB ends it.
back_to_64k:
        TO_REAL DATA16
        TRY16
        mov ebx, BEYOND
        mov al, [ebx]
        CAUGHT16 13, 1
        TRY16
        mov al, [es:ebx]
        CAUGHT16 13, 2
        TO_PROTECTED
        EQUAL "segments of 64 KiB end it", [note], 0
        ret

; ---- 32-bit code with PE clear, as on the way out of protected mode ----
without_pe:
        mov [saved_esp], esp
        mov ebp, 60
.next:  cli
        mov eax, cr0
        and al, ~1
        mov cr0, eax
        mov ecx, 0x1000                 ; CS is as it was: flat, 32 bits
        xor edx, edx
.sum:   add edx, ecx
        mov [scratch], edx
        dec ecx
        jnz .sum
        mov ax, 0x2345                  ; loads are those of real mode
        mov es, ax
        mov eax, [es:0x0f0f]
        cmp eax, [0x23450 + 0x0f0f]
        RIGHT e, 1
        smsw ax
        test al, 1
        RIGHT z, 2
        push ebp
        call .leaf
        pop ebx
        cmp ebx, ebp
        RIGHT e, 3
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov ax, DATA0
        mov es, ax
        mov ds, ax
        mov ss, ax
        dec ebp
        jnz .next
        EQUAL "32-bit code with PE clear", [note], 0
        EQUAL "  its loop", [scratch], 0x1000 * 0x1001 / 2
        ret
.leaf:  inc dword [0x23450 + 0x0f0f]
        ret

        align 4
bounds: dw 1, 10
real_idt:
        dw 0x3ff
        dd 0
short_idt:
        dw 0x2e * 4 + 3
        dd 0

        GUEST_END
