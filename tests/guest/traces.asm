; SPDX-License-Identifier: MIT
;
; Long pieces of code that always go the same way, until they do not: a translator that has made one
; of several blocks must leave it in the middle, with calls open or not, and see when only its middle
; has changed or faults. What is checked once goes the usual way WARM times before.

%define ROUNDS 12
%include "guest.inc"
%include "pages.inc"

PD      equ 0x100000
PT0     equ 0x101000
DATA    equ 0x200000                    ; a page that comes and goes
MADE    equ 0x30f00                     ; code that is made here, over the end of a page
WARM    equ 60

main:
        call page_first_4_mib
        HOOK 14, on_fault
        call ways_out
        call other_returns
        call changes
        call faults
        call strings
        jmp paging_off

; ---- another way out ----

; ECX times in a row as usual, then once with EAX = %3. The result is a number that each way makes.
%macro AS_USUAL_THEN 4                  ; name, function, EAX, result
        mov dword [hot], WARM
%%again:
        mov eax, 1
        call %2
        dec dword [hot]
        jnz %%again
        mov eax, %3
        call %2
        EQUAL %1, eax, %4
        mov eax, 1
        call %2
        EQUAL %1, eax, 0x1111
%endmacro

ways_out:
        mov [top], esp
        AS_USUAL_THEN "in the function itself", outer, 2, 0x2001
        AS_USUAL_THEN "in what it calls", outer, 4, 0x2411
        AS_USUAL_THEN "in what that calls", outer, 8, 0x2811
        AS_USUAL_THEN "by a carry in the middle", outer, 0x80000010, 0x80003111
        AS_USUAL_THEN "nested, with an argument", outer_ret4, 8, 0x2811
        AS_USUAL_THEN "by an indirect jump in there", outer, 0x20, 0x2021
        sub [top], esp
        EQUAL "the stack is where it was", dword [top], 0
        ret

; EAX: 1 goes straight on everywhere.
outer:  push ebx
        mov ebx, 0x1000
        test al, 2
        jnz .two
        call middle
        pop ebx
        ret
.two:   lea eax, [ebx + 0x1001]
        pop ebx
        ret
middle: add ebx, 0x100
        test al, 4
        jnz .four
        call inner
        add eax, ebx
        ret
.four:  mov eax, 0x1311
        add eax, ebx
        ret
inner:  test al, 8
        jnz .eight
        test al, 0x20
        jnz .far
        mov edx, eax
        add edx, edx                    ; its carry is looked at behind the branch
        jc .carry
        mov eax, 0x11
        ret
.carry: rcr edx, 1
        lea eax, [edx + 0x2001]
        ret
.eight: call deep                       ; nothing on the way in knew of this one
        ret
.far:   mov edx, .there
        jmp edx
.there: mov eax, 0xf21
        ret
deep:   mov eax, 0x1711
        ret

outer_ret4:
        push eax
        call .inner
        ret
.inner: mov eax, [esp + 4]
        push dword 7
        call .pops
        ret 4
.pops:  call outer
        ret 4

; ---- returns ----

; What is called returns somewhere else, or drops a frame.
other_returns:
        mov [top], esp
        AS_USUAL_THEN "a return beyond its call", skipping, 2, 0x2222
        AS_USUAL_THEN "a frame is dropped", dropping, 2, 0x3333
        AS_USUAL_THEN "a return to another function", diverting, 2, 0x4444
        AS_USUAL_THEN "a return beyond its call, by the same way", adding, 2, 0x2222
        AS_USUAL_THEN "that of a call within", adding_deeper, 2, 0x6222
        sub [top], esp
        EQUAL "the stack is where it was", dword [top], 0
        ret

; EAX 1 or 2: no branch depends on it.
adding: lea edx, [eax - 1]
        imul edx, edx, .other - .next
        call .adds
.next:  mov eax, 0x1111
        ret
.other: mov eax, 0x2222
        ret
.adds:  add [esp], edx
        ret

adding_deeper:
        push eax
        call .calls
        pop edx
        shr edx, 1
        shl edx, 14
        add eax, edx
        ret
.calls: push esi
        call adding
        pop esi
        ret

skipping:
        call .may_skip
.next:  mov eax, 0x1111
        ret
.other: mov eax, 0x2222
        ret
.may_skip:
        test al, 2
        jz .end
        add dword [esp], .other - .next
.end:   ret

dropping:
        call .calls
        ret
.calls: call .may_drop
        mov eax, 0x1111
        ret
.may_drop:
        test al, 2
        jz .end
        add esp, 4
        mov eax, 0x3333
.end:   ret

diverting:
        call .may_divert
        mov eax, 0x1111
        ret
.may_divert:
        test al, 2
        jz .end
        mov dword [esp], .elsewhere
.end:   ret
.elsewhere:
        mov eax, 0x4444
        ret

; ---- its middle changes ----

; In MADE: three blocks over two pages, of which the last adds a number.
changes:
        mov esi, template
        mov edi, MADE
        mov ecx, template_end - template
        rep movsb
        mov ebp, [round]
        mov [NUMBER], ebp
        HOT WARM
          xor eax, eax
          call MADE_AT
        COOL
        EQUAL "as it was made", eax, [round]
        lea ebp, [ebp + 1]
        mov [NUMBER], ebp               ; from outside
        xor eax, eax
        call MADE_AT
        EQUAL "its end was changed", eax, ebp
        HOT WARM
          xor eax, eax
          call MADE_AT
        COOL
        add ebp, 5
        mov eax, -1                     ; from within: the first block writes to the last
        call MADE_AT
        EQUAL "it has changed its own end", eax, ebp
        ret

template:
        test eax, eax
        js .write
.on:    cmp eax, 0x100
        jb near .last
.write: inc eax
        mov [NUMBER], ebp
        jmp near .on
        times 0x110 - ($ - template) nop
.last:  add eax, 0x12345678
template_number equ $ - 4
        ret
template_end:
MADE_AT equ MADE
NUMBER  equ MADE + template_number - template

; ---- faults in the middle ----

; The access in what is called faults once: the handler notes what it sees and brings the page.
faults: mov dword [DATA], 0x1234
        HOT WARM
          mov eax, 3
          mov edi, DATA
          call traced
        COOL
        mov dword [seen_eip], 0
        mov dword PTE(DATA), 0
        invlpg [DATA]
        mov [top], esp
        mov eax, 3
        mov edi, DATA
        call traced
        push eax
        EQUAL "what it gives", eax, 0x1234 + 3 + 1
        EQUAL "the fault's address", [seen_eip], traced.access
        mov eax, [top]
        sub eax, [seen_esp]
        EQUAL "the stack there", eax, 4 * 4
        EQUAL "carry there", [seen_carry], 1
        EQUAL "a register there", [seen_edx], 4
        pop eax
        ret

; EAX + EDX of the flags + [EDI]
traced: push ebx
        cmp eax, 4                      ; carry
        jae .other
        call .leaf
        pop ebx
        ret
.other: mov eax, -1
        pop ebx
        ret
.leaf:  push esi
        mov edx, eax
        adc edx, 0
        stc
.access:
        mov esi, [edi]
        lea eax, [esi + edx]
        pop esi
        ret

on_fault:
        pushad
        mov [seen_edx], edx
        mov eax, [esp + 8 * 4 + 4]
        mov [seen_eip], eax
        mov eax, [esp + 8 * 4 + 12]
        and eax, 1
        mov [seen_carry], eax
        lea eax, [esp + 8 * 4 + 16]
        mov [seen_esp], eax
        mov dword PTE(DATA), DATA + P + W + U
        popad
        add esp, 4
        iretd

; ---- repeated strings in the middle ----

strings:
        mov dword [hot], WARM
.again: mov ecx, 5
        call fill
        dec dword [hot]
        jnz .again
        EQUAL "filled", eax, 5 * 0x01010101 + 5
        mov ecx, 0
        call fill
        EQUAL "filled with nothing", eax, 0
        mov ecx, 0x20000                ; more than a piece of code does at once
        call fill
        EQUAL "filled with much", eax, (0x20000 * 0x01010101 + 0x20000) & 0xffffffff
        ret

; ECX doublewords are filled, then added up, and their number.
fill:   mov edi, 0x300000
        mov esi, edi
        mov edx, ecx
        mov eax, 0x01010101
        rep stosd
        jmp .on
.on:    mov ebx, edx
        xor eax, eax
        test ebx, ebx
        jz .end
.sum:   add eax, [esi]
        add esi, 4
        dec ebx
        jnz .sum
        add eax, edx
.end:   ret

        align 4
top:        dd 0
seen_eip:   dd 0
seen_esp:   dd 0
seen_edx:   dd 0
seen_carry: dd 0

GUEST_END
