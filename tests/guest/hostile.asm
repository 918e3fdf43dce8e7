; SPDX-License-Identifier: MIT
;
; What a guest may try that wants out: addresses that wrap around, operands and stacks beyond
; memory, in ROM and at the end of the address space, code in all these places and at the end of a
; page, prefixes without end, jumps into the middle of instructions, stores into the ROM that is
; running, segments whose base and offset meet beyond 4 GiB. All of it again and again, so that a
; translator does it too, with paging off and on, in both rings.

%define ROUNDS 60
%include "guest.inc"

RAM_END   equ 0x4000000                 ; 64 MiB
NOTHING   equ 0x20000000                ; neither RAM nor a device
ROM_AT    equ 0xf0000                   ; this image
PAGES     equ 0x101000                  ; page directory, two tables, three pages
TABLE     equ PAGES + 0x1000
LAST_TABLE equ PAGES + 0x2000
PAGE      equ PAGES + 0x3000
LAST_PAGE equ PAGES + 0x4000
AT_PAGE   equ 0x10000000                ; where PAGE is mapped; nothing behind it
AT_LAST   equ 0xfffff000                ; where LAST_PAGE is mapped
HIGH      equ FREE                      ; base FFFFF000h
BEHIND      equ FREE + 8                  ; base 1000h less than 4 GiB below AREA
AREA      equ 0x30000

main:
        call wrapping
        call beyond_memory
        call odd_code
        call rom_code
        call segments
        call paged
        call unanswered
        ret

; ---- calls without returns, and returns without calls: a million of each ----
MANY      equ 1000000

unanswered:
        cmp dword [unanswered_done], 0  ; once is enough
        jne .end
        inc dword [unanswered_done]
        mov ecx, MANY
        xor ebx, ebx
.call:  call .next
.next:  add esp, 4
        inc ebx
        dec ecx
        jnz .call
        mov ecx, MANY
.back:  push .there
        inc ebx
        ret
.there: dec ecx
        jnz .back
        EQUAL "calls and returns that have none", ebx, 2 * MANY
; 20000 frames, half of which are thrown away
        mov ebp, esp
        mov esp, RAM_END - 0x100000
        mov ecx, 20000
        call .down
        mov esp, ebp
        EQUAL "frames that are thrown away", ebx, 2 * MANY + 10001
.end:   ret
.down:  inc ebx
        dec ecx
        jz .up
        test cl, 1
        jz .skip
        call .down
        ret
.skip:  call .half
        ret
.half:  dec ebx
        add esp, 8                      ; its own and its caller's
        jmp .down
.up:    ret

; ---- addresses that wrap ----

wrapping:
        mov dword [AREA], 0x11223344
        mov dword [wrongs], 0
        HOT 20
        mov ebx, 0xffff0000
        mov ecx, (AREA + 0x10000) / 4
        cmp dword [ebx + ecx * 4], 0x11223344
        je .good
        inc dword [wrongs]
.good:  mov esi, 0x80000000
        mov eax, [esi + esi + AREA]     ; twice 2 GiB
        cmp eax, 0x11223344
        je .good2
        inc dword [wrongs]
.good2: COOL
        EQUAL "sums of addresses wrap at 4 GiB", [wrongs], 0
; The stack grows from 0 to the end of the address space, which is ROM here.
        mov ebp, esp
        HOT 20
        xor esp, esp
        push dword 0x55555555
        mov ecx, esp
        pop eax
        mov edx, esp
        COOL
        mov esp, ebp
        mov [seen], edx
        sub eax, [0xfffffffc]
        mov [seen + 4], eax
        EQUAL "push with ESP 0", ecx, 0xfffffffc
        EQUAL "what it pushed went nowhere", [seen + 4], 0
        EQUAL "pop brings it back to 0", [seen], 0
        ret

; ---- operands beyond memory ----

beyond_memory:
        mov dword [RAM_END - 4], 0x12345678
        HOT 20
        mov eax, [RAM_END - 2]          ; half of it is there
        COOL
        EQUAL "across the end of RAM", eax, 0xffff1234
        HOT 20
        mov dword [RAM_END - 1], 0xabcdef00
        add dword [NOTHING], 5
        mov eax, [NOTHING]
        COOL
        EQUAL "nothing reads as ones", eax, 0xffffffff
        EQUAL "a store across the end of RAM", [RAM_END - 4], 0x00345678
        mov ebp, esp
        HOT 20
        mov esp, NOTHING
        push dword 7
        call .there
.there: pop eax
        mov esp, ebp
        COOL
        EQUAL "a stack of nothing", eax, 0xffffffff
        HOT 20
        fld qword [NOTHING + 0x100]
        fstp qword [AREA]
        COOL
        EQUAL "a double of nothing", [AREA + 4], 0xffffffff
        ret

; ---- odd code ----

odd_code:
        mov edi, AREA
        mov ecx, 14                     ; 14 prefixes and NOP: 15 bytes
        mov al, 0x66
        rep stosb
        mov ax, 0xc390
        stosw
        HOT 20
        mov eax, AREA
        call eax
        COOL
        mov edi, AREA
        mov ecx, 15
        mov al, 0x3e
        rep stosb
        mov ax, 0xc390
        stosw
        HOT 20
        TRY
        mov eax, AREA
        call eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "16 bytes of instruction", [exc_vector], 13
; A page full of prefixes, and the last bytes of RAM.
        mov edi, RAM_END - 0x1000
        mov ecx, 0x1000
        mov al, 0xf0
        rep stosb
        HOT 20
        TRY
        mov eax, RAM_END - 5
        call eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "LOCK up to the end of RAM", [exc_vector], 6
; mov eax, 0x..c340..: its second byte begins inc eax; ret
        mov dword [AREA], 0x90c340b8
        mov dword [AREA + 4], 0xc390c390
        xor ebx, ebx
        HOT 20
        mov eax, AREA
        call eax
        mov ebx, eax
        mov ecx, AREA + 1
        xor eax, eax
        call ecx
        COOL
        mov [seen], eax
        EQUAL "an instruction", ebx, 0x9090c340
        EQUAL "another in its middle", [seen], 1
; Code where nothing is: FF FF is no instruction.
        HOT 20
        TRY
        mov eax, NOTHING
        jmp eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "code of nothing", [exc_vector], 6
        EQUAL "its address", [exc_eip], NOTHING
        mov byte [RAM_END - 1], 0xb8    ; mov eax, FFFFFFFFh, of which one byte is RAM
        HOT 20
        TRY
        mov eax, RAM_END - 1
        jmp eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "code across the end of RAM", [exc_vector], 6
        EQUAL "what follows it", [exc_eip], RAM_END + 4
        EQUAL "its immediate", [exc_eax], 0xffffffff
        ret

; ---- code in ROM ----

in_rom: mov eax, 0x600df00d
        ret

rom_code:
        HOT 20
        mov dword [ROM_AT + (in_rom - BASE) + 1], 0xbadbad
        mov eax, ROM_AT + (in_rom - BASE)
        call eax
        COOL
        EQUAL "ROM does not change", eax, 0x600df00d
        HOT 20
        mov dword [0xffff0000 + (in_rom - BASE) + 1], 0xbadbad
        mov eax, 0xffff0000 + (in_rom - BASE)
        call eax
        COOL
        EQUAL "nor below 4 GiB", eax, 0x600df00d
        ret

; ---- bases ----

segments:
        DESC HIGH, 0xfffff000, 0xfffff, 0x92, 0xc
        DESC BEHIND, AREA + 0x1000, 0xfffff, 0x92, 0xc
        mov ax, HIGH
        mov fs, ax
        mov ax, BEHIND
        mov gs, ax
        mov dword [AREA], 0x51515151
        mov dword [AREA + 4], 0x62626262
        HOT 20
        mov eax, [fs:AREA + 0x1000]
        mov ecx, -0x1000
        mov ebx, [gs:ecx + 4]
        mov edx, 0xffffffff
        add edx, [fs:edx + AREA + 0x1001]
        COOL
        mov [seen], ebx
        mov [seen + 4], edx
        EQUAL "FS base and offset wrap", eax, 0x51515151
        EQUAL "GS base and a negative offset", [seen], 0x62626262
        EQUAL "three of them", [seen + 4], 0x51515150
        mov ax, DATA0
        mov fs, ax
        mov gs, ax
        ret

; ---- with paging ----

paged:
        mov edi, PAGES
        xor eax, eax
        mov ecx, 0x5000 / 4
        rep stosd
        mov eax, 0x87                   ; RAM as it is, for all rings
        mov edi, PAGES
.ram:   stosd
        add eax, 0x400000
        cmp eax, RAM_END
        jb .ram
        mov dword [PAGES + (AT_PAGE >> 22) * 4], TABLE + 7
        mov dword [TABLE], PAGE + 7
        mov dword [PAGES + (AT_LAST >> 22) * 4], LAST_TABLE + 7
        mov dword [LAST_TABLE + 0xffc], LAST_PAGE + 7
        mov eax, cr4
        or ax, 0x210                    ; PSE, OSFXSR
        mov cr4, eax
        mov eax, PAGES
        mov cr3, eax
        CR_SET cr0, CR0_PG
        jmp .paging
.paging:
        call page_ends
        TRY
        RING3
        call page_ends_quiet
        CAUGHT "the same in ring 3", NO_FAULT, 0
        CR_CLEAR cr0, CR0_PG
        jmp .off
.off:   mov eax, cr4
        and ax, ~0x210
        mov cr4, eax
        ret

; Hot accesses at the ends, without checks that print: for ring 3.
page_ends_quiet:
        mov ecx, 40
.again: mov dword [AT_PAGE + 0xffc], ecx
        cmp [AT_PAGE + 0xffc], ecx
        jne .wrong
        mov dword [AT_LAST + 0xffe], 0x99887766   ; half of it in page 0
        cmp word [0], 0x9988
        jne .wrong
        cmp dword [AT_LAST + 0xffe], 0x99887766
        jne .wrong
        loop .again
        ret
.wrong: ud2

page_ends:
        call page_ends_quiet
; The last instruction of a page, and one that does not end there.
        mov dword [AT_PAGE + 0xffc], 0xc3909090
        HOT 20
        mov eax, AT_PAGE + 0xffc
        call eax
        COOL
        mov byte [AT_PAGE + 0xfff], 0xb8
        HOT 20
        TRY
        mov eax, AT_PAGE + 0xffc
        call eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "an instruction without its end", [exc_vector], 14
        EQUAL "where it misses", [exc_cr2], AT_PAGE + 0x1000
        EQUAL "where it begins", [exc_eip], AT_PAGE + 0xfff
; Operands of all sizes that reach into the page that is not there; nothing of them is written.
        mov dword [AT_PAGE + 0xffc], 0x13131313
        HOT 20
        TRY
        mov dword [AT_PAGE + 0xffd], 0
        CAUGHT_QUIETLY
        TRY
        movups [AT_PAGE + 0xff4], xmm0
        CAUGHT_QUIETLY
        TRY
        fstp tword [AT_PAGE + 0xffc]
        CAUGHT_QUIETLY
        TRY
        lock xadd [AT_PAGE + 0xffe], eax
        CAUGHT_QUIETLY
        COOL
        EQUAL "a store that reaches too far", [exc_vector], 14
        EQUAL "it wrote nothing", [AT_PAGE + 0xffc], 0x13131313
        TRY
        RING3
        mov esp, AT_PAGE + 4
        push eax
        push eax
        CAUGHT "a stack that ends", 14, 6
        ret

wrongs: dd 0
seen:   dd 0, 0
unanswered_done: dd 0

GUEST_END
