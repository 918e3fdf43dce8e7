; SPDX-License-Identifier: MIT
;
; Memory that is a device: every kind of access to the VGA's window gives what the same accesses to
; RAM give, among them those of the x87 and of XMM registers, strings, locked ones, accesses across
; the border between RAM and device, and code that runs there.

%define ROUNDS 60
%include "guest.inc"

RAM     equ 0x30000                     ; does first what the device does then
VGA     equ 0xa1000
BORDER  equ 0xa0000

; BOTH "name", what to do with [EBX]
%macro BOTH 2+
        mov dword [count], 0
%%next: mov ebx, RAM
        add ebx, [count]
        call prepare
        %2
        mov ebx, VGA
        add ebx, [count]
        call prepare
        %2
        call compare
        inc dword [count]
        cmp dword [count], 20
        jb %%next
        EQUAL %1, [wrongs], 0
        mov dword [wrongs], 0
%endmacro

main:
        mov dword [wrongs], 0
        call linear_memory
        fninit
        BOTH "mov, 1 byte", mov [ebx], al
        BOTH "mov, 2 bytes", mov [ebx], ax
        BOTH "mov, 4 bytes", mov [ebx], eax
        BOTH "add", add [ebx], eax
        BOTH "add to a register", call add_register
        BOTH "inc byte", inc byte [ebx]
        BOTH "lock xadd", lock xadd [ebx], eax
        BOTH "xchg", xchg [ebx], eax
        BOTH "cmpxchg", call cmpxchg_it
        BOTH "cmpxchg8b", call cmpxchg8b_it
        BOTH "bts", bts dword [ebx], 13
        BOTH "shld", shld [ebx], eax, 7
        BOTH "push and pop", call push_pop
        BOTH "fst single", call fst4
        BOTH "fst double", call fst8
        BOTH "fstp extended", call fst10
        BOTH "fistp", call fist8
        BOTH "fld and fst", call fld_fst
        BOTH "fnstenv", fnstenv [ebx]
        BOTH "fnsave", call fnsave_it
        BOTH "rep stosd", call stos_it
        BOTH "rep movsb in it", call movs_it
        BOTH "rep movsd from it", call movs_from
        BOTH "call in it", call run_there
        mov eax, 1
        cpuid
        bt edx, 26                      ; SSE2
        jnc .end
        CR_SET cr4, CR4_OSFXSR
        movups xmm0, [pattern]
        movups xmm1, [pattern + 16]
        BOTH "movups to", movups [ebx], xmm0
        BOTH "movups from", call movups_from
        BOTH "movdqu", call movdqu_both
        BOTH "movq", call movq_both
        BOTH "movss", call movss_both
        BOTH "addps from", call addps_from
        BOTH "paddd from", call paddd_from
        BOTH "movhps", call movhps_both
        BOTH "maskmovdqu", call maskmov
        BOTH "movaps", call movaps_both
        BOTH "movntps", call movnt_it
        BOTH "mmx movq", call mmx_both
        BOTH "fxsave", call fxsave_it
.end:   ; across the border between RAM and device
        mov dword [count], 1
.border:
        mov ebx, BORDER
        sub ebx, [count]
        mov dword [ebx], 0
        mov dword [ebx + 4], 0
        mov eax, 0x12345678
        mov [ebx], eax
        add dword [ebx], 0x11111111
        cmp dword [ebx], 0x23456789
        je .good
        inc dword [wrongs]
.good:  fld1
        fstp qword [ebx]
        fld qword [ebx]
        fistp dword [scratch]
        cmp dword [scratch], 1
        je .good2
        inc dword [wrongs]
.good2: inc dword [count]
        cmp dword [count], 8
        jb .border
        EQUAL "across the border", [wrongs], 0
        ret

; Sequencer and graphics controller: the four planes in a row at A0000h, as in mode 13h.
linear_memory:
        mov dx, 0x3c2
        mov al, 0x63
        out dx, al
        mov esi, .registers
        mov ecx, .registers_end - .registers
.next:  mov dx, [esi]
        mov ax, [esi + 2]
        out dx, ax
        add esi, 4
        sub ecx, 4
        ja .next
        ret
        align 4
.registers:
        dw 0x3c4, 0x0300, 0x3c4, 0x0f02, 0x3c4, 0x0e04
        dw 0x3ce, 0x0000, 0x3ce, 0x0001, 0x3ce, 0x0003, 0x3ce, 0x4005
        dw 0x3ce, 0x0506, 0x3ce, 0xff08
.registers_end:

; Registers and 0c0h bytes at EBX as at the start of each case
prepare:
        pushad
        and ebx, ~0x1f
        sub ebx, 0x20
        mov ecx, 0x300 / 4
        mov eax, 0x03020100
.next:  mov [ebx], eax
        add eax, 0x04040404
        add ebx, 4
        loop .next
        popad
        mov eax, 0x89abcdef
        mov ecx, 0x01234567
        mov edx, 0x55aa33cc
        cld
        ret
compare:
        pushad
        mov esi, RAM - 0x20
        mov edi, VGA - 0x20
        mov ecx, 0x300 / 4
        repe cmpsd
        je .equal
        inc dword [wrongs]
.equal: popad
        ret

add_register:
        mov eax, 5
        add eax, [ebx]
        mov [ebx + 8], eax
        ret
cmpxchg_it:
        mov eax, [ebx]
        lock cmpxchg [ebx], ecx
        setz [ebx + 8]
        cmpxchg [ebx], edx
        setz [ebx + 9]
        ret
cmpxchg8b_it:
        push ebx
        mov esi, ebx
        mov eax, [esi]
        mov edx, [esi + 4]
        mov ecx, 0x13579bdf
        lock cmpxchg8b [esi]
        pop ebx
        mov dword [ebx], 0x24681357     ; EBX itself was stored
        setz [ebx + 8]
        ret
push_pop:
        mov ebp, esp
        lea esp, [ebx + 16]
        push eax
        push word 0x1234
        pusha
        popa
        pop word [ebx + 2]
        mov dword [ebx + 4], 0          ; what pusha stored tells EBX
        mov esp, ebp
        push edi
        mov edi, ebx
        sub edi, 32
        mov ecx, 40
        xor al, al
        rep stosb
        pop edi
        ret
fst4:   fldpi
        fstp dword [ebx]
        ret
fst8:   fldpi
        fst qword [ebx]
        fstp st0
        ret
fst10:  fldpi
        fstp tword [ebx]
        ret
fist8:  fldpi
        fistp qword [ebx]
        fldpi
        fbstp [ebx + 8]
        ret
fld_fst:
        fld tword [pattern]
        fstp tword [ebx]
        fld tword [ebx]
        fadd st0, st0
        fstp qword [ebx + 10]
        fild word [ebx]
        fimul dword [ebx + 4]
        fstp qword [ebx + 18]
        fninit
        ret
fnsave_it:
        fninit                          ; pointers are those of the case before otherwise
        fnsave [ebx]
        frstor [ebx]
        ret
stos_it:
        mov edi, ebx
        mov ecx, 13
        rep stosd
        ret
movs_it:
        lea esi, [ebx + 3]
        lea edi, [ebx + 7]
        mov ecx, 61
        rep movsb                       ; overlaps: repeats four bytes
        ret
movs_from:
        mov esi, ebx
        mov edi, buffer
        mov ecx, 9
        rep movsd
        mov esi, buffer
        lea edi, [ebx + 64]
        mov ecx, 36
        rep movsb
        ret
run_there:
        mov dword [ebx], 0x0577b8       ; mov eax, 577h
        mov word [ebx + 4], 0xc300      ; ret
        call ebx
        mov [ebx + 8], eax
        inc byte [ebx + 1]
        call ebx
        mov [ebx + 12], eax
        ret
movups_from:
        movups xmm2, [ebx]
        movups [ebx + 20], xmm2
        ret
movdqu_both:
        movdqu xmm3, [ebx + 1]
        movdqu [ebx + 32], xmm3
        ret
movq_both:
        movq xmm3, [ebx + 1]
        movq [ebx + 32], xmm3
        movd xmm4, [ebx + 3]
        movd [ebx + 48], xmm4
        ret
movss_both:
        movss xmm3, [ebx]
        movss [ebx + 32], xmm3
        movsd xmm3, [ebx]
        movsd [ebx + 40], xmm3
        ret
addps_from:
        and ebx, ~15
        movaps xmm3, xmm1
        addps xmm3, [ebx]
        movups [ebx + 32], xmm3
        ret
paddd_from:
        and ebx, ~15
        movaps xmm3, xmm1
        paddd xmm3, [ebx]
        pshufd xmm4, [ebx], 0x1b
        movups [ebx + 32], xmm3
        movups [ebx + 48], xmm4
        ret
movhps_both:
        movhps xmm3, [ebx]
        movlps xmm3, [ebx + 8]
        movhps [ebx + 32], xmm3
        ret
maskmov:
        push edi
        mov edi, ebx
        maskmovdqu xmm1, xmm0
        pop edi
        ret
movaps_both:
        and ebx, ~15
        movaps xmm3, [ebx]
        movaps [ebx + 64], xmm3
        ret
movnt_it:
        and ebx, ~15
        movntps [ebx], xmm1
        ret
mmx_both:
        movq mm0, [ebx]
        paddb mm0, [ebx + 8]
        movq [ebx + 16], mm0
        emms
        ret
fxsave_it:
        and ebx, ~15
        fninit
        fxsave [ebx]
        fxrstor [ebx]
        ret

        align 4096
pattern: dq 0x3ff0123456789abc, 0x40490fdb80818283, 0x800f7f8081fe00ff, 0x8001ff7f00808080
wrongs:  dd 0
count:   dd 0
scratch: dd 0
buffer:  times 64 db 0

        GUEST_END
