; SPDX-License-Identifier: MIT
;
; Segmentation: limits to the byte for operands of every size, expand-down segments, types, null
; selectors, privilege at loading, limits of code and stack, 16-bit stacks in 32-bit code, and the
; same instruction under one descriptor after the other. A store beyond a limit writes nothing.

%define ROUNDS 100
%include "guest.inc"

AREA    equ 0x20000
SMALL   equ FREE                        ; bytes 0..0fffh of AREA
OTHER   equ FREE + 0x08
DOWN32  equ FREE + 0x10
DOWN16  equ FREE + 0x18
STACK16 equ FREE + 0x20                 ; data with B clear
CODELIM equ FREE + 0x28
RODATA  equ FREE + 0x30
EXONLY  equ FREE + 0x38
CONF    equ FREE + 0x40
MATRIX  equ FREE + 0x48
LDT     equ FREE + 0x50
GATE0   equ FREE + 0x58
PAGES   equ FREE + 0x60                 ; with page granularity

; Loads FS with %1 and goes on in TRY.
%macro TRY_FS 1
        TRY
        mov ax, %1
        mov fs, ax
%endmacro

; EDGE size name, load, store: at the last place inside and one further
%macro EDGE 4-5 0x5a5a5a5a
        TRY_FS SMALL
        mov ebx, 0x1000 - %1
        %3
        %4
        CAUGHT %2, NO_FAULT, 0
        TRY_FS SMALL
        mov ebx, 0x1001 - %1
        %3
        CAUGHT %2, 13, 0
        mov dword [AREA + 0xffc], 0x5a5a5a5a
        mov dword [AREA + 0xff8], 0x5a5a5a5a
        TRY_FS SMALL
        mov ebx, 0x1001 - %1
        %4
        CAUGHT %2, 13, 0
        EQUAL "  nothing stored", [AREA + 0xffc], %5
%endmacro

main:
        mov dword [wrongs], 0
        DESC SMALL, AREA, 0xfff, 0xf3, 0x4
        DESC OTHER, AREA + 0x1000, 0x7ff, 0xf3, 0x4
        DESC DOWN32, AREA, 0xfff, 0xf7, 0x4
        DESC DOWN16, AREA, 0xfff, 0xf7, 0x0
        DESC STACK16, AREA, 0xffff, 0xf3, 0x0
        DESC RODATA, AREA, 0xfff, 0x91, 0x4
        DESC EXONLY, 0, 0xfffff, 0x99, 0xc
        DESC CONF, 0, 0xfffff, 0x9f, 0xc
        DESC LDT, AREA + 0x800, 0xf, 0x82, 0
        DESC PAGES, AREA, 0, 0x93, 0xc
        GATE GATE0, CODE0, main, 0x8c, 0
        fninit
        call limits
        call rewritten
        call down
        call types
        call nulls
        call privilege
        call far_pointers
        call code_limit
        call stacks
        call addresses_16
        call same_selectors
        ret

; ---- limits ----
limits:
        EDGE 1, "a byte", {mov al, [fs:ebx]}, {mov [fs:ebx], al}
        EDGE 2, "two bytes", {mov ax, [fs:ebx]}, {mov [fs:ebx], ax}
        EDGE 4, "four bytes", {mov eax, [fs:ebx]}, {mov [fs:ebx], eax}
        EDGE 4, "read and written", {add eax, [fs:ebx]}, {add [fs:ebx], eax}
        EDGE 8, "fild, fistp of eight", {fild qword [fs:ebx]}, {fistp qword [fs:ebx]}
        fninit
        EDGE 8, "cmpxchg8b", {cmpxchg8b [fs:ebx]}, {lock cmpxchg8b [fs:ebx]}
        ; stored as eight bytes and two: the eight, of a NaN, are there
        EDGE 10, "fld, fstp of ten", {fld tword [fs:ebx]}, {fstp tword [fs:ebx]}, 0x5ac00000
        fninit
        EDGE 28, "fldenv, fnstenv", {fldenv [fs:ebx]}, {fnstenv [fs:ebx]}
        fninit
        EDGE 108, "frstor, fnsave", {frstor [fs:ebx]}, {fnsave [fs:ebx]}
        fninit
        EDGE 6, "sgdt writes six", {movzx eax, word [fs:ebx + 4]}, {sgdt [fs:ebx]}
        TRY_FS SMALL
        mov eax, [fs:0xffffffff]
        CAUGHT "far beyond", 13, 0
        TRY_FS SMALL
        mov ebx, -4
        mov eax, [fs:ebx]
        CAUGHT "below zero", 13, 0
        TRY_FS PAGES
        mov eax, [fs:0xffc]
        CAUGHT "limit 0 with page granularity is 0fffh", NO_FAULT, 0
        TRY_FS PAGES
        mov eax, [fs:0xffd]
        CAUGHT "  and no more", 13, 0
        ; strings: the element that does not fit stops them, the others are done
        TRY
        mov ax, SMALL
        mov es, ax
        mov edi, 0xff0
        mov ecx, 8
        mov eax, 0x12345678
        cld
        rep stosd
        CAUGHT "rep stosd into the limit", 13, 0
        EQUAL "  done", [exc_ecx], 4
        EQUAL "  rDI", [exc_edi], 0x1000
        TRY
        mov ax, SMALL
        mov es, ax
        mov edi, 0x1000 - 6
        mov ecx, 5
        mov esi, AREA
        rep movsw
        CAUGHT "rep movsw into the limit", 13, 0
        EQUAL "  done", [exc_ecx], 2
        EQUAL "  rSI", [exc_esi], AREA + 6
        TRY
        mov ax, SMALL
        mov ds, ax
        mov esi, 0x1000 - 4
        mov edi, AREA + 0x1800
        mov ecx, 5
        rep movsd
        CAUGHT "rep movsd from beyond the limit", 13, 0
        EQUAL "  done", [exc_ecx], 4
        EQUAL "  rDI", [exc_edi], AREA + 0x1804
        TRY
        mov ax, SMALL
        mov ds, ax
        mov esi, 0x1000
        xor ecx, ecx
        rep lodsd
        CAUGHT "rep lodsd of nothing beyond the limit", NO_FAULT, 0
        ret

; ---- one instruction, one descriptor after the other ----
rewritten:
        mov dword [AREA + 0x10], 0x11111111
        mov dword [AREA + 0x1010], 0x22222222
        mov dword [wrongs], 0
        HOT 60
        mov ebx, 0x10
        mov eax, SMALL
        mov edx, 0x11111111
        test byte [hot], 1
        jz .load
        mov eax, OTHER
        mov edx, 0x22222222
.load:  mov gs, ax
        cmp edx, [gs:ebx]
        je .same
        inc dword [wrongs]
.same:  mov ds, ax                      ; and with DS, which addresses without a prefix
        mov ecx, [ebx]
        mov ax, DATA0
        mov ds, ax
        sub ecx, edx
        or [wrongs], ecx
        COOL
        EQUAL "another descriptor for the same instruction", [wrongs], 0
        HOT 60
        TRY
        mov eax, SMALL
        test byte [hot], 1
        jz .load2
        mov eax, OTHER
.load2: mov es, ax
        mov ebx, 0xc00                  ; beyond OTHER's limit
        mov eax, [es:ebx]
        CAUGHT_QUIETLY
        mov eax, [exc_vector]
        inc eax                         ; 0 without a fault
        mov ebx, [hot]
        and ebx, 1
        imul ebx, ebx, 14
        sub eax, ebx
        or [wrongs], eax
        COOL
        EQUAL "another limit for the same instruction", [wrongs], 0
        ; the descriptor in memory changes: only loading it counts
        HOT 60
        mov ax, SMALL
        mov gs, ax
        mov byte [gdt + SMALL + 3], (AREA + 0x1000) >> 8 & 0xff
        mov eax, [gs:0x10]
        sub eax, 0x11111111
        or [wrongs], eax
        mov ax, SMALL
        mov gs, ax
        mov eax, [gs:0x10]
        sub eax, 0x22222222
        or [wrongs], eax
        mov byte [gdt + SMALL + 3], AREA >> 8 & 0xff
        COOL
        EQUAL "a changed descriptor counts when it is loaded", [wrongs], 0
        ret

; ---- expand-down ----
down:
        TRY_FS DOWN32
        mov eax, [fs:0x1000]
        mov [fs:0x1000], eax
        mov ebx, 0x100000
        mov eax, [fs:ebx]
        CAUGHT "expand-down: above the limit", NO_FAULT, 0
        TRY_FS DOWN32
        mov eax, [fs:0xfff]
        CAUGHT "expand-down: the limit itself", 13, 0
        TRY_FS DOWN32
        mov eax, [fs:0]
        CAUGHT "expand-down: below", 13, 0
        TRY_FS DOWN16
        mov eax, [fs:0xfffc]
        CAUGHT "expand-down, 16 bits: to 0ffffh", NO_FAULT, 0
        TRY_FS DOWN16
        mov eax, [fs:0xfffd]
        CAUGHT "expand-down, 16 bits: no further", 13, 0
        TRY_FS DOWN16
        mov al, [fs:0x10000]
        CAUGHT "expand-down, 16 bits: above", 13, 0
        TRY
        RING3
        mov ax, DOWN32 | 3
        mov ss, ax
        mov esp, 0x1004
        push eax
        push eax
        CAUGHT "expand-down stack overflows", 12, 0
        EQUAL "  esp as before the push", [exc_esp_before], 0x1000
        ret

; ---- types ----
types:
        TRY_FS RODATA
        mov eax, [fs:0]
        CAUGHT "read of read-only data", NO_FAULT, 0
        TRY_FS RODATA
        mov [fs:0], eax
        CAUGHT "write to read-only data", 13, 0
        TRY_FS RODATA
        add dword [fs:0], 1
        CAUGHT "add to read-only data", 13, 0
        TRY_FS RODATA
        xor ecx, ecx
        mov eax, 1
        cmpxchg [fs:0], ecx
        CAUGHT "cmpxchg that fails is a write too", 13, 0
        TRY_FS RODATA
        bt dword [fs:0], 1
        test dword [fs:0], 1
        cmp dword [fs:0], 1
        CAUGHT "bt, test, cmp are none", NO_FAULT, 0
        TRY
        mov ax, RODATA
        mov ss, ax
        CAUGHT "read-only data as stack", 13, RODATA
        TRY
        mov ax, CODE0
        mov ss, ax
        CAUGHT "code as stack", 13, CODE0
        TRY
        mov ax, EXONLY
        mov ds, ax
        CAUGHT "execute-only code as data", 13, EXONLY
        TRY_FS CODE0
        mov eax, [fs:main]
        CAUGHT "readable code as data", NO_FAULT, 0
        TRY_FS CODE0
        mov [fs:wrongs], eax
        CAUGHT "  but not to write", 13, 0
        TRY
        mov ax, TSS0
        mov ds, ax
        CAUGHT "a TSS as data", 13, TSS0
        TRY
        mov ax, GATE0
        mov es, ax
        CAUGHT "a gate as data", 13, GATE0
        TRY
        mov ax, CODE0
        lldt ax
        CAUGHT "code as LDT", 13, CODE0
        TRY
        mov ax, TSS0
        ltr ax
        CAUGHT "ltr of a busy TSS", 13, TSS0
        ; the accessed bit is set by a load that succeeds
        mov byte [gdt + RODATA + 5], 0x90
        TRY
        mov ax, RODATA
        mov ss, ax
        CAUGHT "a load that fails", 13, RODATA
        movzx eax, byte [gdt + RODATA + 5]
        EQUAL "  does not set the accessed bit", eax, 0x90
        mov ax, RODATA
        mov gs, ax
        movzx eax, byte [gdt + RODATA + 5]
        EQUAL "one that succeeds sets it", eax, 0x91
        ; LDT
        mov ax, LDT
        lldt ax
        mov eax, [gdt + SMALL]
        mov [AREA + 0x808], eax
        mov eax, [gdt + SMALL + 4]
        mov [AREA + 0x80c], eax
        mov dword [AREA + 0x20], 0x33333333
        TRY
        mov ax, 0x0c                    ; LDT, index 1
        mov fs, ax
        mov eax, [fs:0x20]
        mov [scratch], eax
        CAUGHT "segment in the LDT", NO_FAULT, 0
        EQUAL "  its data", [scratch], 0x33333333
        TRY
        mov ax, 0x14
        mov fs, ax
        CAUGHT "beyond the LDT", 13, 0x14
        TRY
        mov ax, 0x4                     ; index 0 of the LDT is not null
        mov fs, ax
        CAUGHT "index 0 of the LDT", 13, 0x4
        xor eax, eax
        lldt ax
        ret

; ---- null selectors ----
nulls:
        TRY
        mov ax, 3
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        CAUGHT "null selectors may be loaded", NO_FAULT, 0
        TRY
        xor ax, ax
        mov ds, ax
        mov eax, [AREA]
        CAUGHT "but DS not read", 13, 0
        TRY
        xor ax, ax
        mov gs, ax
        mov [gs:AREA], eax
        CAUGHT "nor GS written", 13, 0
        TRY
        xor ax, ax
        mov es, ax
        mov edi, AREA
        stosb
        CAUGHT "nor ES by stosb", 13, 0
        TRY
        mov ax, 3
        mov ss, ax
        CAUGHT "SS not loaded", 13, 0
        TRY
        push dword 0
        pop ss
        CAUGHT "nor popped", 13, 0
        TRY
        xor ax, ax
        mov fs, ax
        lea eax, [fs:0x1234]
        nop dword [fs:eax]
        CAUGHT "lea and nop do not look", NO_FAULT, 0
        ret

; ---- privilege: all of DPL and RPL at CPL 0, then at CPL 3 ----
privilege:
        mov dword [wrongs], 0
        mov dword [scratch], 15         ; DPL * 4 + RPL
.next:  mov eax, [scratch]
        mov ecx, eax
        shr eax, 2
        and ecx, 3
        mov edx, eax
        shl edx, 5
        or dl, 0x93
        DESC MATRIX, 0, 0xfffff, 0, 0xc
        mov [gdt + MATRIX + 5], dl
        add ecx, MATRIX
        mov [selector], ecx
        ; DS at CPL 0: RPL <= DPL
        TRY
        mov ecx, [selector]
        mov ds, cx
        CAUGHT_QUIETLY
        mov eax, [scratch]
        mov ecx, eax
        shr eax, 2
        and ecx, 3
        cmp eax, ecx
        sbb ebx, ebx                    ; all ones when it must fault
        call .judge
        ; SS at CPL 0: both 0
        TRY
        mov ecx, [selector]
        mov ss, cx
        CAUGHT_QUIETLY
        xor ebx, ebx
        cmp ebx, [scratch]
        sbb ebx, ebx
        call .judge
        ; DS at CPL 3: DPL 3
        TRY
        RING3
        mov ecx, [selector]
        mov ds, cx
        CAUGHT_QUIETLY
        mov eax, [scratch]
        cmp eax, 12
        sbb ebx, ebx
        call .judge
        ; SS at CPL 3: both 3
        TRY
        RING3
        mov ecx, [selector]
        mov ss, cx
        CAUGHT_QUIETLY
        mov eax, [scratch]
        cmp eax, 15
        sbb ebx, ebx
        call .judge
        dec dword [scratch]
        jns .next
        EQUAL "64 combinations of CPL, DPL, RPL and register", [wrongs], 0
        ; conforming code is readable from anywhere
        TRY
        RING3
        mov ax, CONF | 3
        mov fs, ax
        mov eax, [fs:main]
        CAUGHT "conforming ring 0 code read from ring 3", NO_FAULT, 0
        TRY
        RING3
        mov ax, CODE0 | 3
        mov fs, ax
        CAUGHT "other ring 0 code is not", 13, CODE0
        ret
; EBX: all ones when a #GP with the selector was due
.judge: cmp dword [exc_vector], NO_FAULT
        je .none
        mov eax, [selector]
        and eax, ~3
        cmp eax, [exc_error]
        jne .bad
        cmp dword [exc_vector], 13
        jne .bad
        inc ebx
.none:  test ebx, ebx
        jz .good
.bad:   inc dword [wrongs]
.good:  ret

; ---- far pointers ----
far_pointers:
        mov dword [AREA + 0x30], 0x12345678
        mov word [AREA + 0x34], SMALL
        mov word [AREA + 0x3c], TSS0
        TRY
        les edi, [AREA + 0x30]
        CAUGHT "les", NO_FAULT, 0
        EQUAL "  offset", [exc_edi], 0x12345678
        TRY
        mov edi, 0x55
        mov dword [AREA + 0x38], 0x12345678
        les edi, [AREA + 0x38]
        CAUGHT "les of a TSS", 13, TSS0
        EQUAL "  the register keeps its value", [exc_edi], 0x55
        TRY
        mov ax, SMALL
        mov fs, ax
        mov edi, 0x55
        lgs edi, [fs:0xffb]
        CAUGHT "selector beyond the limit", 13, 0
        EQUAL "  the register keeps its value", [exc_edi], 0x55
        TRY
        db 0xc4, 0xc0                   ; les eax, eax, or VEX without the bytes that belong to it
        db 0xff, 0xff
        CAUGHT "les of a register", 6, 0
        TRY
        lss esp, [.stack]
        push eax
        CAUGHT "lss", NO_FAULT, 0
        ret
        align 4
.stack: dd STACK0 - 0x400
        dw DATA0

; ---- the end of a code segment ----
CODE_END equ 0x100
code_limit:
        DESC CODELIM, AREA, CODE_END - 1, 0x9b, 0x4
        mov dword [AREA + CODE_END - 8], 0x90909090
        mov byte [AREA + CODE_END - 4], 0x90
        mov byte [AREA + CODE_END - 3], 0x90
        mov word [AREA + CODE_END - 2], 0x20cd  ; int 20h, ends at the limit
        HOT 20
        TRY
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "code to the last byte", NO_FAULT, 0
        TRY
        jmp dword CODELIM:CODE_END
        CAUGHT "jump to behind it", 13, 0
        COOL
        mov word [AREA + CODE_END - 2], 0x9090
        mov word [AREA + CODE_END], 0x20cd
        HOT 20
        TRY
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "falling over the end", 13, 0
        mov eax, [exc_eip]
        sub eax, CODE_END
        or [wrongs], eax
        COOL
        EQUAL "  eip each time", [wrongs], 0
        mov dword [AREA + CODE_END - 4], 0xb8909090 ; mov eax, imm32 over the end
        HOT 20
        TRY
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "an instruction over the end", 13, 0
        mov eax, [exc_eip]
        sub eax, CODE_END - 1
        or [wrongs], eax
        COOL
        EQUAL "  eip each time", [wrongs], 0
        ; relative branches beyond: the fault is the branch's
        mov dword [AREA + CODE_END - 8], 0x909012eb
        TRY
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "jmp beyond the limit", 13, 0
        EQUAL "  eip is the jump", [exc_eip], CODE_END - 8
        mov dword [AREA + CODE_END - 8], 0x90901274     ; jz
        TRY
        xor eax, eax
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "jz beyond the limit", 13, 0
        EQUAL "  eip is the jump", [exc_eip], CODE_END - 8
        mov dword [AREA + CODE_END - 8], 0x000012e8     ; call
        mov byte [AREA + CODE_END - 4], 0
        mov [scratch], esp
        TRY
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "call beyond the limit", 13, 0
        EQUAL "  eip is the call", [exc_eip], CODE_END - 8
        mov byte [AREA + CODE_END - 8], 0xc3            ; ret
        TRY
        push dword CODE_END + 5
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "ret beyond the limit", 13, 0
        EQUAL "  eip is the ret", [exc_eip], CODE_END - 8
        mov word [AREA + CODE_END - 8], 0xe0ff          ; jmp eax
        TRY
        mov eax, 0x12345
        jmp dword CODELIM:CODE_END - 8
        CAUGHT "jmp eax beyond the limit", 13, 0
        EQUAL "  eip is the jump", [exc_eip], CODE_END - 8
        ret

; ---- stacks ----
stacks:
        ; B clear: SP wraps within 64 KiB and the upper half of ESP stays
        TRY
        RING3
        mov ax, STACK16 | 3
        mov ss, ax
        mov esp, 0x12340002
        push word 0x1111
        push word 0x2222
        mov [scratch], esp
        CAUGHT "push on a 16-bit stack", NO_FAULT, 0
        EQUAL "  sp wraps, the upper half stays", [scratch], 0x1234fffe
        movzx eax, word [AREA + 0xfffe]
        EQUAL "  stored at its end", eax, 0x2222
        movzx eax, word [AREA]
        EQUAL "  and its start", eax, 0x1111
        TRY
        RING3
        mov ax, STACK16 | 3
        mov ss, ax
        mov esp, 0x12340002
        push dword 0x11112222           ; bytes 0fffeh..10001h do not exist
        CAUGHT "a push over the end", 12, 0
        EQUAL "  esp", [exc_esp_before], 0x12340002
        TRY
        RING3
        mov ax, STACK16 | 3
        mov ss, ax
        mov esp, 0x1234fffe
        mov word [AREA + 0xfffe], 0x4321
        pop ax
        mov [scratch], eax
        mov [scratch + 4], esp
        CAUGHT "pop on a 16-bit stack", NO_FAULT, 0
        movzx eax, word [scratch]
        EQUAL "  the value", eax, 0x4321
        EQUAL "  sp wraps", [scratch + 4], 0x12340000
        TRY
        RING3
        mov ax, STACK16 | 3
        mov ss, ax
        mov esp, 0x12348000
        call .near
.near:  enter 16, 2
        leave
        pusha
        popa
        pushfd
        popfd
        pop eax
        mov [scratch], esp
        CAUGHT "call, enter, pusha on a 16-bit stack", NO_FAULT, 0
        EQUAL "  all end where they began", [scratch], 0x12348000
        ; all pushes of one instruction or none
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0x14
        pusha
        CAUGHT "pusha without room", 12, 0
        EQUAL "  esp", [exc_esp_before], 0x14
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0
        mov ebp, 0x77
        enter 4, 0
        CAUGHT "enter without room", 12, 0
        EQUAL "  esp", [exc_esp_before], 0
        EQUAL "  ebp", [exc_ebp], 0x77
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0
        call .near
        CAUGHT "call without room", 12, 0
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov ebp, 0xffe
        mov esp, 0x800
        leave
        CAUGHT "leave beyond the limit", 12, 0
        EQUAL "  esp", [exc_esp_before], 0x800
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0x800
        mov ebp, 0xffe
        mov eax, [ebp]
        CAUGHT "through ebp: a stack fault", 12, 0
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0x800
        mov ebp, 0xffe
        mov eax, [ds:ebp]
        CAUGHT "but not with DS", NO_FAULT, 0
        mov dword [AREA + 0x10], 0x5a5a5a5a
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0xffe
        pop dword [AREA + 0x10]
        CAUGHT "pop to memory", 12, 0
        EQUAL "  nothing stored", [AREA + 0x10], 0x5a5a5a5a
        TRY
        RING3
        mov ax, SMALL | 3
        mov ss, ax
        mov esp, 0x800
        push dword [AREA + 0x10]
        pop dword [ss:0xffd]
        CAUGHT "pop to beyond a limit", 12, 0
        EQUAL "  esp as before the pop", [exc_esp_before], 0x7fc
        ret

; ---- 16-bit addresses in 32-bit code ----
addresses_16:
        mov dword [AREA + 0x100], 0x44444444
        DESC OTHER, AREA, 0xfffff, 0xf3, 0xc
        TRY_FS OTHER
        mov ebx, 0xffff8100
        mov esi, 0x12348000
        mov eax, [fs:bx+si]         ; 8100h + 8000h wraps to 100h
        mov [scratch], eax
        CAUGHT "bx + si wraps at 64 KiB", NO_FAULT, 0
        EQUAL "  value", [scratch], 0x44444444
        mov dword [AREA + 0xfffe], 0x55556666
        TRY_FS OTHER
        mov ebx, 0xfffe
        mov eax, [fs:bx]            ; the operand itself does not wrap
        mov [scratch], eax
        CAUGHT "an operand over 64 KiB", NO_FAULT, 0
        EQUAL "  value", [scratch], 0x55556666
        TRY_FS STACK16
        mov ebx, 0xfffe
        mov eax, [fs:bx]
        CAUGHT "and beyond a limit of 0ffffh", 13, 0
        TRY
        mov ecx, 0x10003
        mov edi, 0x12340000 + AREA
        mov ax, OTHER
        mov es, ax
        mov edi, 0x1234fffe
        cld
        mov al, 0x77
        a16 rep stosb                   ; CX and DI count
        CAUGHT "a16 rep stosb", NO_FAULT, 0
        EQUAL "  ecx", [exc_ecx], 0x10000
        EQUAL "  edi", [exc_edi], 0x12340001
        movzx eax, byte [AREA]
        EQUAL "  wrapped", eax, 0x77
        mov dword [wrongs], 0
        ret

; ---- one selector under one descriptor after another: a load must not do as it did before ----
CHANGED equ FREE + 0x68

; FS, loaded with AX often, has at 1000h what EDI is.
%macro SHOWS_EDI 0
        HOT 40
        mov fs, ax
        mov ebx, [fs:0x1000]
        cmp ebx, edi
        setne bl
        or [wrongs], bl
        COOL
%endmacro

same_selectors:
        mov ecx, 0
.fill:  mov [AREA + ecx * 4], ecx
        inc ecx
        cmp ecx, 64
        jb .fill
        DESC CHANGED, AREA, 0xfffff, 0xf3, 0xc
        mov ax, CHANGED
        mov dx, DATA0
        HOT 60
        mov ecx, [hot]
        lea ecx, [AREA + ecx * 4]
        mov [gdt + CHANGED + 2], cx     ; the base, now and then one bit of it
        mov fs, ax
        mov ebx, [fs:0]
        sub ebx, [hot]
        or [wrongs], ebx
        mov gs, ax
        mov ebx, [gs:4]
        dec ebx
        sub ebx, [hot]
        or [wrongs], ebx
        mov fs, dx                      ; a flat one in between
        mov ebx, [fs:wrongs]
        or [wrongs], ebx
        COOL
        EQUAL "a base that changes", [wrongs], 0
        ; a limit that changes: DS itself must be noticed not to be flat any more
        DESC CHANGED, 0, 0xfffff, 0xf3, 0xc
        mov ax, CHANGED
        mov dx, DATA0
        HOT 60
        mov ds, ax
        mov ebx, [wrongs]
        mov ds, dx
        COOL
        mov byte [gdt + CHANGED + 6], 0x40
        mov word [gdt + CHANGED], 0xfff
        TRY
        mov ax, CHANGED
        mov ds, ax
        mov ebx, [0x1000]
        CAUGHT "a limit that changes", 13, 0
        TRY
        mov ax, CHANGED
        mov fs, ax
        mov ebx, [fs:0xffd]
        CAUGHT "  by fs", 13, 0
        mov byte [gdt + CHANGED + 5], 0x73 ; not present
        TRY
        mov ax, CHANGED
        mov fs, ax
        CAUGHT "and is not there", 11, CHANGED
        ; another table
        mov esi, gdt
        mov edi, AREA
        mov ecx, (gdt_end - gdt) / 4
        cld
        rep movsd
        DESC CHANGED, 0, 0xfffff, 0xf3, 0xc
        mov dword [AREA + CHANGED], 0x1000ffff
        mov dword [AREA + CHANGED + 4], 0x00cff300
        mov word [scratch], gdt_end - gdt - 1
        mov dword [scratch + 2], AREA
        mov dword [AREA + 0x900], 0
        mov ax, CHANGED
        mov dx, DATA0
        mov edi, [0x1000]
        SHOWS_EDI
        lgdt [scratch]
        mov edi, [0x2000]
        SHOWS_EDI
        lgdt [gdt_pointer]
        mov fs, dx
        mov gs, dx
        EQUAL "after LGDT", [wrongs], 0
        ; what CPUID tells of CR4
        mov eax, 1
        cpuid
        test ecx, 1 << 26               ; XSAVE
        jz .done
        HOT 40
        mov eax, cr4
        xor eax, 1 << 18                ; OSXSAVE
        mov cr4, eax
        mov esi, eax
        mov eax, 1
        cpuid
        shr ecx, 27 - 18
        xor esi, ecx
        and esi, 1 << 18
        or [wrongs], esi
        COOL
        EQUAL "CPUID follows CR4", [wrongs], 0
.done:  mov dword [wrongs], 0
        ret

        align 4096
wrongs:   dd 0
scratch:  dd 0, 0
selector: dd 0

        GUEST_END
