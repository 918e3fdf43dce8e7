; SPDX-License-Identifier: MIT
;
; Self-modifying code in all classic shapes, as any engine with a code cache must meet them. A
; 486 and later see a store to the next instruction only after a branch, a P6 and later at once;
; every case here is one on which all of them agree: there is a branch, or the CPU is new.
;
; What is written differs from round to round, so that code that was not noticed to be stale shows;
; most cases run often between two changes, so that there is something to become stale.

%define ROUNDS 40
%include "guest.inc"

CODE_AT equ 0x30000                     ; a page for code that is made here
PAGES   equ 0x101000                    ; the page table that paging_on builds
ALIAS   equ 0x400000                    ; where the first 4 MiB are mapped again
CALLS   equ 40                          ; of calls before something changes

; MAKE_FUNCTION address: mov eax, imm32; ret
%macro MAKE_FUNCTION 1
        mov byte [%1], 0xb8
        mov byte [(%1) + 5], 0xc3
%endmacro
; the immediate of such a function
%define IMM(address) ((address) + 1)

; Calls EDX often, so that it is hot; EAX of the last call.
%macro WARM 0
        mov ecx, CALLS
%%again: call edx
        loop %%again
%endmacro

; CHANGES "name", how many bytes agree: WRITER stores EBX = round + 2 into the immediate of the hot
; function at CODE_AT; what it returns is compared under a mask. %3.. is the store.
%macro CHANGES 3+
        mov edx, CODE_AT
        mov dword [IMM(CODE_AT)], 0
        WARM
        mov ebx, [round]
        add ebx, 0x01020304
        %3
        mov edx, CODE_AT
        call edx
        and eax, %2
        mov ebx, [round]
        add ebx, 0x01020304
        and ebx, %2
        EQUAL %1, eax, ebx
%endmacro

; CLEAN "name": [wrongs] counts what went wrong in a loop.
%macro CLEAN 1
        EQUAL %1, [wrongs], 0
        mov dword [wrongs], 0
%endmacro

main:
        mov dword [wrongs], 0
        call itself
        call generated
        call writers
        call decodes
        call pages
        call paging_on
        call mappings
        call rings
        call patches
        ret

; ---- code that changes itself ----
itself:
        mov eax, [round]
        mov [.next + 1], eax
.next:  mov eax, 0
        EQUAL "store to the next instruction", eax, [round]

        HOT 100                         ; the same where the engine has become used to it
        mov eax, [hot]
        mov [.hot_next + 1], eax
.hot_next:
        mov ecx, 0
        add [sum], ecx
        COOL
        EQUAL "the same 100 times", [sum], 5050
        mov dword [sum], 0

        mov ebx, 0
        HOT 100                         ; and with a branch between
        mov eax, [hot]
        mov [.behind + 2], eax
        jmp .behind
        nop
.behind:
        add ebx, 0x11111111
        COOL
        EQUAL "with a branch between", ebx, 5050

        xor ebx, ebx
        mov byte [.loop + 2], 1
        mov ecx, 5
.loop:  add ebx, 1
        inc byte [.loop + 2]
        loop .loop
        EQUAL "a loop that counts up its immediate", ebx, 15

        mov dword [.own + 6], 1
        mov ecx, 20
.own:   add dword [.own + 6], strict dword 1
        loop .own
        EQUAL "an instruction that doubles its own immediate", [.own + 6], 0x100000

        ; an opcode that changes between inc and dec, behind the writer in the same block
        mov eax, 1000
        mov ecx, 101
.flip:  xor byte [.flipped], 0x08       ; 40h inc eax, 48h dec eax
.flipped: db 0x40
        loop .flip
        xor byte [.flipped], 0x08
        EQUAL "inc and dec in turn", eax, 999

        ; before the writer, in the same block: seen in the next turn
        mov eax, 1000
        mov ecx, 101
.flop:  db 0x40
        xor byte [.flop], 0x08
        loop .flop
        xor byte [.flop], 0x08
        EQUAL "and seen in the next turn only", eax, 1001

        ; the target of a direct jump and of a direct call
        xor ebx, ebx
        mov ecx, 100
.jumps: xor byte [.jump + 1], .jump_b - .jump_a
        jmp .jump
        nop
.jump:  db 0xeb, 0
.jump_a: db 0x83, 0xc3, 0x01, 0xeb, 0x03 ; add ebx, 1; jmp on
.jump_b: db 0x83, 0xc3, 0x10             ; add ebx, 10h
.jumped: loop .jumps
        EQUAL "a jump whose target changes", ebx, 50 * 0x11
        xor ebx, ebx
        mov ecx, 100
.calls: mov eax, ecx
        and eax, 1
        mov eax, [.targets + eax * 4]
        sub eax, .called
        mov [.called - 4], eax
        db 0xe8
        dd 0
.called: loop .calls
        EQUAL "a call whose target changes", ebx, 50 * 0x11

        ; behind a call: the callee rewrites its caller
        HOT 100
        call .rewrite
.victim: mov eax, 0x11111111
        cmp eax, [hot]
        je .rewritten
        inc dword [wrongs]
.rewritten:
        COOL
        CLEAN "callee rewrites what follows the call"

        ; REP MOVS over itself, with itself as it is, and over what follows
        HOT 60
        mov eax, [hot]
        mov [.copy + .move_after - .move + 1], eax
        mov esi, .copy
        mov edi, .move
        mov ecx, .move_end - .move
        cld
        jmp .move
        align 16
.move:  rep movsb
.move_after:
        mov eax, 0
.move_end:
        cmp eax, [hot]
        je .moved
        inc dword [wrongs]
.moved: COOL
        CLEAN "rep movsb over itself and what follows"
        ret
.rewrite:
        mov eax, [hot]
        mov [.victim + 1], eax
        ret
.add_1: add ebx, 1
        ret
.add_10: add ebx, 0x10
        ret
.targets: dd .add_1, .add_10
.copy:  rep movsb
        mov eax, 0

; ---- code made at run time ----
generated:
        xor ebx, ebx
        mov edx, 300
.gen:   mov byte [CODE_AT], 0xb8        ; mov eax, edx
        mov [CODE_AT + 1], edx
        mov byte [CODE_AT + 5], 0xc3    ; ret
        mov eax, CODE_AT
        call eax
        add ebx, eax
        dec edx
        jnz .gen
        EQUAL "sum over 300 generated functions", ebx, 45150

        ; one long run of small instructions, replaced in pieces
        cld
        mov edi, CODE_AT
        mov al, 0x40                    ; inc eax
        mov ecx, 64
        rep stosb
        mov byte [edi], 0xc3
        mov edx, CODE_AT
        xor eax, eax
        WARM
        EQUAL "code by rep stosb", eax, 64 * CALLS
        mov edi, CODE_AT + 32
        mov al, 0x90
        mov ecx, 16
        rep stosb
        xor eax, eax
        WARM
        EQUAL "and half of it replaced", eax, 48 * CALLS
        mov eax, [round]
        and eax, 31
        lea edi, [CODE_AT + eax]
        mov byte [edi], 0xc3
        xor eax, eax
        call edx
        mov ebx, [round]
        and ebx, 31
        EQUAL "cut short anywhere", eax, ebx
        mov byte [edi], 0x40
        xor eax, eax
        call edx
        EQUAL "and mended", eax, 48
        mov esi, ret_code
        mov edi, CODE_AT + 8
        mov ecx, 1
        rep movsb
        xor eax, eax
        call edx
        EQUAL "cut short by rep movsb", eax, 8
        std
        mov esi, ret_code
        mov edi, CODE_AT + 6
        mov ecx, 1
        rep movsb
        cld
        xor eax, eax
        call edx
        EQUAL "downwards", eax, 6

        ; a whole page of code again and again, as a loader does
        HOT 4
        mov al, 0x40
        test byte [hot], 1
        jz .even
        mov al, 0x48                    ; dec eax
.even:  mov ah, al
        mov ecx, eax
        shl ecx, 16
        mov cx, ax
        mov eax, ecx
        mov edi, CODE_AT
        mov ecx, 0x1000 / 4
        rep stosd
        mov byte [edi], 0xc3            ; on the next page
        xor eax, eax
        mov edx, CODE_AT
        call edx
        cmp eax, 0x1000
        je .good
        cmp eax, -0x1000
        jne .bad
        test byte [hot], 1
        jnz .done
.bad:   inc dword [wrongs]
        jmp .done
.good:  test byte [hot], 1
        jnz .bad
.done:  COOL
        CLEAN "pages of code loaded over each other"

        ; data beside code: the code still runs, the data is as stored
        MAKE_FUNCTION CODE_AT
        mov dword [IMM(CODE_AT)], 0x77
        mov edx, CODE_AT
        mov ecx, 1000
        xor ebx, ebx
.beside:
        mov [CODE_AT + 0x800], ecx
        call edx
        add ebx, eax
        sub ebx, [CODE_AT + 0x800]
        loop .beside
        EQUAL "data beside code", ebx, 0x77 * 1000 - 500500

        ; the stack beside code
        mov ebp, esp
        mov esp, CODE_AT + 0x40
        mov ecx, 300
        xor ebx, ebx
.stack: push ecx
        call edx
        pop eax
        add ebx, eax
        loop .stack
        mov esp, ebp
        EQUAL "the stack beside code", ebx, 45150
        ret

; ---- every kind of store ----
writers:
        MAKE_FUNCTION CODE_AT
        CHANGES "by mov, 4 bytes", -1, mov [IMM(CODE_AT)], ebx
        CHANGES "by mov, 2 bytes", 0xffff, mov [IMM(CODE_AT)], bx
        CHANGES "by mov, 1 byte", 0xff, mov [IMM(CODE_AT)], bl
        CHANGES "by add", -1, add [IMM(CODE_AT)], ebx
        CHANGES "by lock xadd", -1, lock xadd [IMM(CODE_AT)], ebx
        CHANGES "by xchg", -1, xchg [IMM(CODE_AT)], ebx
        CHANGES "by stosd", -1, call .stosd
        CHANGES "by rep stosb", 0xff, call .stosb
        CHANGES "by movsw", 0xffff, call .movsw
        CHANGES "by push", -1, call .push
        CHANGES "by pop", -1, call .pop
        CHANGES "by cmpxchg", -1, call .cmpxchg
        CHANGES "by cmpxchg8b", -1, call .cmpxchg8b
        CHANGES "by fistp", -1, call .fistp
        CHANGES "by fst of a double", -1, call .fst
        CHANGES "by shld", -1, call .shld
        CHANGES "by bts", 1, call .bts
        CHANGES "by enter", -1, call .enter
        CHANGES "by pusha", -1, call .pusha
        mov eax, 1
        cpuid
        test edx, 1 << 25               ; SSE
        jz .no_sse
        CR_SET cr4, CR4_OSFXSR
        CHANGES "by movss", -1, call .movss
        CHANGES "by movups", -1, call .movups
        CHANGES "by movntps", -1, call .movntps

        ; FXSAVE makes the immediate of control and status word, and RET of the tag word
        mov byte [CODE_AT + 0xff], 0xb8
        HOT CALLS
        mov eax, [hot]
        and eax, 0xf
        shl eax, 8
        or eax, 0x7f
        mov [scratch], eax
        fninit
        fincstp
        fincstp
        fld1
        fld1
        fld1
        fld1                            ; registers 0, 1, 6, 7: TOP is 6
        fldcw [scratch]
        fxsave [CODE_AT + 0x100]
        mov edx, CODE_AT + 0xff
        call edx
        mov ebx, [scratch]
        or ebx, 0x30000000
        sub eax, ebx
        or [wrongs], eax
        COOL
        CLEAN "by fxsave"
.no_sse:
        ; by a call: the return address lands in an immediate
        mov edx, CODE_AT
        WARM
        mov ebp, esp
        mov esp, IMM(CODE_AT) + 4
        call .here
.here:  mov esp, ebp
        call edx
        EQUAL "by call", eax, .here
        ; by an interrupt frame
        HOOK 0x50, .int
        WARM
        mov ebp, esp
        mov esp, IMM(CODE_AT) + 12
        int 0x50
.after_int:
        call edx
        EQUAL "by the frame of int", eax, .after_int
        ; by sgdt: bytes 2..5 are the base
        WARM
        mov dword [CODE_AT + 7], 0
        sgdt [CODE_AT - 1]
        mov byte [CODE_AT], 0xb8
        mov byte [CODE_AT + 5], 0xc3
        call edx
        EQUAL "by sgdt", eax, gdt
        mov [IMM(CODE_AT)], ds
        call edx
        and eax, 0xffff
        EQUAL "by mov of a segment register", eax, DATA0
        ; flags as the value: setcc
        mov dword [IMM(CODE_AT)], 0
        WARM
        xor eax, eax
        sete [IMM(CODE_AT)]
        call edx
        EQUAL "by sete", eax, 1
        ret
.int:   mov esp, ebp
        mov byte [CODE_AT + 5], 0xc3    ; CS was pushed over it
        jmp .after_int
.stosd: mov eax, ebx
        mov edi, IMM(CODE_AT)
        stosd
        ret
.stosb: mov al, bl
        mov edi, IMM(CODE_AT)
        mov ecx, 4
        rep stosb
        ret
.movsw: mov [scratch], ebx
        mov esi, scratch
        mov edi, IMM(CODE_AT)
        movsw
        ret
.push:  mov eax, esp
        mov esp, IMM(CODE_AT) + 4
        push ebx
        mov esp, eax
        ret
.pop:   push ebx
        pop dword [IMM(CODE_AT)]
        ret
.cmpxchg:
        mov eax, [IMM(CODE_AT)]
        lock cmpxchg [IMM(CODE_AT)], ebx
        ret
.cmpxchg8b:
        mov eax, [IMM(CODE_AT)]
        mov edx, [IMM(CODE_AT) + 4]
        mov ecx, edx
        cmpxchg8b [IMM(CODE_AT)]
        ret
.fistp: mov [scratch], ebx
        fninit
        fild dword [scratch]
        fistp dword [IMM(CODE_AT)]
        ret
.fst:   mov [scratch], ebx              ; a normal number with these four bytes below
        mov dword [scratch + 4], 0x40000000
        fninit
        fld qword [scratch]
        mov eax, [IMM(CODE_AT) + 4]
        fstp qword [IMM(CODE_AT)]
        mov [IMM(CODE_AT) + 4], eax     ; the RET again
        ret
.shld:  mov dword [IMM(CODE_AT)], 0
        shld [IMM(CODE_AT)], ebx, 16
        mov eax, ebx
        shl eax, 16
        shld [IMM(CODE_AT)], eax, 16
        ret
.bts:   test ebx, 1
        jz .even
        mov eax, 32
        bts [IMM(CODE_AT) - 4], eax
.even:  ret
.enter: mov ebp, ebx
        mov eax, esp
        mov esp, IMM(CODE_AT) + 4
        enter 0, 0
        mov esp, eax
        ret
.pusha: mov [scratch], esp
        mov edi, 0xb8000000             ; lowest, with the opcode as its last byte
        mov esi, ebx                    ; the immediate
        mov ebp, 0x909090c3             ; and RET
        mov esp, IMM(CODE_AT) + 28
        pusha
        mov esp, [scratch]
        ret
.movss: movd xmm0, ebx
        movss [IMM(CODE_AT)], xmm0
        ret
.movups:
        movups xmm1, [IMM(CODE_AT)]
        movd xmm0, ebx
        movss xmm1, xmm0
        movups [IMM(CODE_AT)], xmm1
        ret
.movntps:
        movaps xmm1, [CODE_AT]
        mov eax, ebx
        shl eax, 8
        mov al, 0xb8
        movd xmm0, eax
        movss xmm1, xmm0
        shr ebx, 24
        movntps [CODE_AT], xmm1
        mov [CODE_AT + 4], bl
        ret

; ---- the same bytes, decoded in several ways ----
decodes:
        ; a jump into the middle of an instruction
        mov byte [CODE_AT], 0xb8        ; mov eax, imm32 whose immediate is inc, inc, ret
        mov dword [IMM(CODE_AT)], 0x90c34040
        mov byte [CODE_AT + 5], 0xc3
        xor ebx, ebx
        HOT 60
        mov edx, CODE_AT
        call edx
        add ebx, eax
        mov eax, 0x100
        mov edx, IMM(CODE_AT)
        call edx
        add ebx, eax
        COOL
        imul eax, [sixty], 0x90c34040 + 0x102
        EQUAL "a jump into an immediate", ebx, eax
        mov word [CODE_AT + 2], 0xc348  ; dec eax; ret
        mov eax, 0x100
        mov edx, IMM(CODE_AT)
        call edx
        EQUAL "and that changed", eax, 0x100

        ; the same bytes as 16- and as 32-bit code, and at another CS base
        DESC FREE, CODE_AT, 0xffff, 0x9b, 0x0
        DESC FREE + 8, CODE_AT, 0xffff, 0x9b, 0x4
        mov dword [CODE_AT], 0x660000b8 ; 16: mov ax, imm16; o32 retf
        mov word [CODE_AT + 4], 0xcbcb  ; 32: mov eax, imm32; retf
        HOT 60
        mov eax, [hot]
        mov [CODE_AT + 2], al
        call dword (FREE + 8):0
        mov ebx, [hot]
        shl ebx, 8
        or ebx, 0xcb660000
        sub eax, ebx
        or [wrongs], eax
        mov eax, -1
        call dword FREE:0
        mov ebx, [hot]
        shl ebx, 8
        or ebx, 0xffff0000
        sub eax, ebx
        or [wrongs], eax
        call dword CODE0:CODE_AT
        xor ebx, 0xffff0000 ^ 0xcb660000
        sub eax, ebx
        or [wrongs], eax
        COOL
        CLEAN "16- and 32-bit code in the same bytes"
        ret

; ---- an instruction across two pages, its halves written apart ----
pages:
        HOT 14
        mov edi, 0x33000                ; it begins 1..14 bytes before the boundary
        sub edi, [hot]
        mov word [edi], 0xc081          ; add eax, imm32 in its long form
        mov dword [edi + 2], 0x10203040
        mov byte [edi + 6], 0xb9        ; mov ecx, imm32
        mov dword [edi + 7], 0x11223344
        mov byte [edi + 11], 0xc3
        mov ecx, 60
.warm:  push ecx
        xor eax, eax
        call edi
        pop ecx
        loop .warm
        xor esi, esi
.byte:  inc byte [edi + esi + 2]
        xor eax, eax
        call edi
        cmp eax, [edi + 2]
        jne .wrong
        inc byte [edi + esi + 7]
        call edi
        cmp ecx, [edi + 7]
        je .next
.wrong: inc dword [wrongs]
.next:  inc esi
        cmp esi, 4
        jb .byte
        COOL
        CLEAN "across two pages, at every offset, byte by byte"

        ; one store that changes code of two pages
        HOT 3
        mov edi, 0x33000
        sub edi, [hot]
        mov byte [edi - 1], 0xb8
        mov dword [edi], 0
        mov byte [edi + 4], 0xc3
        lea edx, [edi - 1]
        WARM
        imul ebx, [round], 0x01010101
        mov [edi], ebx
        call edx
        sub eax, ebx
        or [wrongs], eax
        COOL
        CLEAN "one store over a page end"

        ; the page before and the page behind change each other
        MAKE_FUNCTION 0x33ff0
        MAKE_FUNCTION 0x34000
        HOT 60
        mov eax, [hot]
        mov [IMM(0x33ff0)], eax
        inc eax
        mov [IMM(0x34000)], eax
        mov edx, 0x33ff0
        call edx
        mov ebx, eax
        mov edx, 0x34000
        call edx
        sub eax, ebx
        dec eax
        or [wrongs], eax
        COOL
        CLEAN "two pages in turn"

        ; falling from one page into the next, which changes
        mov dword [0x33ffc], 0x40404040
        mov word [0x34000], 0xc340
        mov edx, 0x33ffc
        xor eax, eax
        WARM
        EQUAL "falling into the next page", eax, 5 * CALLS
        mov edx, 0x33ffc
        mov byte [0x34000], 0x48
        xor eax, eax
        call edx
        EQUAL "which has changed", eax, 3
        ret

; ---- the same memory at two addresses; other memory at the same address ----
mappings:
        MAKE_FUNCTION CODE_AT
        mov edx, CODE_AT
        HOT 60
        mov eax, [hot]
        mov [ALIAS + IMM(CODE_AT)], eax
        call edx
        sub eax, [hot]
        or [wrongs], eax
        COOL
        CLEAN "written through another mapping"
        mov edx, ALIAS + CODE_AT
        HOT 60
        mov eax, [hot]
        mov [IMM(CODE_AT)], eax
        call edx
        sub eax, [hot]
        or [wrongs], eax
        COOL
        CLEAN "run through the other mapping"

        ; the code itself writes to itself by its alias, in the next instruction
        mov eax, [round]
        mov [ALIAS + .by_alias + 1], eax
.by_alias:
        mov eax, 0
        EQUAL "the next instruction, through its alias", eax, [round]

        ; another page behind the same address
        MAKE_FUNCTION CODE_AT + 0x1000
        MAKE_FUNCTION CODE_AT
        mov dword [IMM(CODE_AT + 0x1000)], 3
        mov dword [IMM(CODE_AT)], 2
        mov edx, CODE_AT
        xor ebx, ebx
        HOT 60
        mov dword [PAGES + (CODE_AT >> 12) * 4], CODE_AT + 0x1000 + 7
        invlpg [CODE_AT]
        call edx
        add ebx, eax
        mov dword [PAGES + (CODE_AT >> 12) * 4], CODE_AT + 7
        mov eax, cr3
        mov cr3, eax
        call edx
        add ebx, eax
        COOL
        EQUAL "page table entries changed, invlpg and mov cr3", ebx, 5 * 60
        ; a store to where the page was must not touch what is there now
        mov dword [IMM(CODE_AT + 0x1000)], 4
        call edx
        EQUAL "the other page written", eax, 2

        ; code that disappears, and comes back
        HOT 60
        TRY
        mov edx, CODE_AT
        mov dword [PAGES + (CODE_AT >> 12) * 4], 0
        invlpg [CODE_AT]
        call edx
        CAUGHT "code no longer present", 14, 0
        cmp dword [exc_cr2], CODE_AT
        jne .bad
        cmp dword [exc_eip], CODE_AT
        je .gone
.bad:   inc dword [wrongs]
.gone:  mov dword [PAGES + (CODE_AT >> 12) * 4], CODE_AT + 7
        invlpg [CODE_AT]
        mov edx, CODE_AT
        call edx
        sub eax, 2
        or [wrongs], eax
        COOL
        CLEAN "  cr2 and eip each time"

        ; an instruction whose second page is absent
        mov edi, 0x32ffd
        mov byte [edi], 0xb8
        mov dword [edi + 1], 0x12345678
        mov byte [edi + 5], 0xc3
        HOT 60
        mov edi, 0x32ffd
        call edi
        mov dword [PAGES + 0x33 * 4], 0
        invlpg [0x33000]
        TRY
        mov edi, 0x32ffd
        call edi
        CAUGHT "second page absent", 14, 0
        cmp dword [exc_cr2], 0x33000
        jne .bad2
        cmp dword [exc_eip], 0x32ffd
        je .good2
.bad2:  inc dword [wrongs]
.good2: mov dword [PAGES + 0x33 * 4], 0x33000 + 7
        invlpg [0x33000]
        COOL
        CLEAN "  cr2 and eip each time"
        mov edi, 0x32ffd
        call edi
        EQUAL "present again", eax, 0x12345678
        ; another second page behind it
        mov dword [0x35000], 0x90c37777
        mov dword [PAGES + 0x33 * 4], 0x35000 + 7
        invlpg [0x33000]
        mov edx, 0x32ffd
        WARM
        EQUAL "with another second page", eax, 0x77775678
        mov dword [PAGES + 0x33 * 4], 0x33000 + 7
        invlpg [0x33000]
        call edx
        EQUAL "and back", eax, 0x12345678

        ; code in the page table: what the CPU writes there is not the code
        mov edx, PAGES + 0xff0          ; entries that are never used
        MAKE_FUNCTION PAGES + 0xff0
        HOT 60
        mov eax, [hot]
        mov [IMM(PAGES + 0xff0)], eax
        mov dword [PAGES + 0x200 * 4], 0x200007
        invlpg [0x200000]
        call edx
        sub eax, [hot]
        or [wrongs], eax
        mov [0x200000], eax
        call edx
        sub eax, [hot]
        or [wrongs], eax
        mov eax, [PAGES + 0x200 * 4]
        sub eax, 0x200067
        or [wrongs], eax
        COOL
        CLEAN "code in a page table"
        ret

; ---- ring 3 changes its own code, and ring 0 that of ring 3 ----
rings:
        HOT 60
        TRY
        RING3
        mov eax, [hot]
        mov [.user + 1], eax
.user:  mov eax, 0
        CAUGHT "ring 3 changes itself", NO_FAULT, 0
        mov eax, [exc_eax]
        sub eax, [hot]
        or [wrongs], eax
        COOL
        CLEAN "  each time"
        HOT 60
        mov eax, [hot]
        mov [.user2 + 1], eax
        TRY
        RING3
        nop
.user2: mov eax, 0
        CAUGHT "ring 0 changes ring 3", NO_FAULT, 0
        mov eax, [exc_eax]
        sub eax, [hot]
        or [wrongs], eax
        COOL
        CLEAN "  each time"
        ; ring 3 may not write what it runs
        mov dword [PAGES + (CODE_AT >> 12) * 4], CODE_AT + 5
        invlpg [CODE_AT]
        MAKE_FUNCTION ALIAS + CODE_AT
        mov dword [ALIAS + IMM(CODE_AT)], 5
        HOT 60
        TRY
        RING3
        mov edx, CODE_AT
        call edx
        mov [IMM(CODE_AT)], eax
        CAUGHT "code that is read-only for ring 3", 14, 7
        mov eax, [exc_cr2]
        sub eax, IMM(CODE_AT)
        or [wrongs], eax
        COOL
        CLEAN "  each time"
        ret

; ---- immediates that are patched time and again, in every form that has one ----
patches:
        HOT 60
        mov ebx, [hot]
        imul ebx, 0x01020305
        mov [.add + 1], ebx
        xor eax, eax
.add:   add eax, 0x11111111
        sub eax, ebx
        or [wrongs], eax
        mov [.mov + 6], ebx
.mov:   mov dword [scratch], 0x11111111
        cmp [scratch], ebx
        setne al
        or [wrongs], al
        mov [.mem + 6], ebx
.mem:   sub dword [scratch], 0x11111111
        mov eax, [scratch]
        or [wrongs], eax
        mov [.cmp + 2], ebx
.cmp:   cmp ebx, 0x11111111
        setne al
        or [wrongs], al
        mov edx, ebx
        not edx
        mov [.test + 2], edx
.test:  test ebx, 0x11111111
        setnz al
        or [wrongs], al
        COOL
        CLEAN "patched immediates"
        ; only some bytes of one, by narrow stores: hot in byte 1, twice hot in bytes 2 and 3
        HOT 60
        mov ebx, [hot]
        mov [.narrow + 2], bl
        lea ecx, [ebx * 2]
        mov [.narrow + 3], cx
        nop
.narrow: mov eax, 0x44332211
        shl ecx, 16
        shl ebx, 8
        lea ebx, [ebx + ecx + 0x11]
        sub eax, ebx
        or [wrongs], eax
        COOL
        CLEAN "patched bytes of an immediate"
        HOT 60
        mov al, [hot]
        and al, 1
        shl al, 3
        add al, 0xc2                    ; ModRM of ADD EDX, or of OR EDX: 81 /0, 81 /1
        mov [.both + 1], al
        mov ebx, [hot]
        mov [.both + 2], ebx
        mov edx, 1
        nop
.both:  add edx, 0x11111111
        mov eax, ebx
        or eax, 1
        mov ecx, ebx
        inc ecx
        test bl, 1
        cmovnz ecx, eax
        sub edx, ecx
        or [wrongs], edx
        COOL
        CLEAN "an opcode changes with its immediate"
        HOT 60
        mov eax, .one
        test byte [hot], 1
        mov ecx, .two
        cmovnz eax, ecx
        lea ebx, [eax - .called - 5]
        mov [.called + 1], ebx
        lea ebx, [eax - .jumped - 5]
        mov [.jumped + 1], ebx
        xor edx, edx
.called: call dword .one
        jmp dword .over
.jumped: jmp dword .one
.over:  push .back
        jmp .jumped
.back:  mov eax, [hot]
        and eax, 1
        inc eax
        imul eax, eax, 0x11             ; 11h or 22h each time
        sub edx, eax
        sub edx, eax
        or [wrongs], edx
        COOL
        CLEAN "patched calls and jumps"
        ; stores to both sides of code that does not change
        HOT 60
        mov ebx, [hot]
        mov [.before + 3], bl
        mov [.after], bl
        mov [.after + 1], ebx
        call .between
        sub eax, 7
        or [wrongs], eax
        cmp [.before + 3], bl
        setne al
        or [wrongs], al
        COOL
        CLEAN "data on both sides of code"
        ret
.before: dd 0
.between: mov eax, 7
        ret
.after: times 8 db 0
.one:   add edx, 0x11
        ret
.two:   add edx, 0x22
        ret

; Identity for 4 MiB, and the same again at 4 MiB.
paging_on:
        mov dword [0x100000], PAGES + 7
        mov dword [0x100004], PAGES + 7
        mov edi, PAGES
        mov eax, 7
        mov ecx, 1024
.next:  mov [edi], eax
        add edi, 4
        add eax, 0x1000
        loop .next
        mov eax, 0x100000
        mov cr3, eax
        CR_SET cr0, CR0_PG
        ret

ret_code: ret
        align 4096
sum:     dd 0
wrongs:  dd 0
scratch: dd 0, 0
sixty:   dd 60

        GUEST_END
