; SPDX-License-Identifier: MIT
;
; Code of the kernel that goes from page to page, and pages that become others under it. Global pages
; stay as they are until INVLPG and its like; the translator links such code without a look at the
; mapping, and must undo that in time. Page A leads to page B in all the ways there are; page B is one
; frame or another, whose code gives another number.

%define ROUNDS 12
%include "guest.inc"

P       equ 1
W       equ 2
U       equ 4
LARGE   equ 0x80
G       equ 0x100
CR4_PAE equ 0x20
CR4_PGE equ 0x80
PG      equ 0x80000000
NX_HIGH equ 0x80000000                  ; in an entry's upper half

; 4 MiB each: one to one, once more, a large page. With PAE the same.
PD      equ 0x100000
PT0     equ 0x101000                    ; with PAE two tables
PT1     equ 0x103000
PDPT    equ 0x105000
PT_B    equ 0x106000                    ; as PT0, but for page B
PD_PAE  equ 0x108000

PAGE_A  equ 0x3c0000
PAGE_B  equ 0x3c1000
PAGE_C  equ 0x3c2000
PAGE_S  equ 0x3c4000                    ; as A, for an instruction that goes on in the next page
PAGE_T  equ 0x3c5000                    ; is page B, too
PAGE_U  equ 0x3c8000                    ; as A, for ring 3 alone
PAGE_V  equ 0x3c9000                    ; as B
AGAIN   equ 0x400000                    ; pages beyond it have the same place in small TLBs
BIG     equ 0x800000                    ; a large page: one of these, each with A and B
BIG1    equ 0xc00000
BIG2    equ 0x1000000
BIG_A   equ BIG + 0x3000
BIG_B   equ BIG + 0x5000

FRAME_A equ 0x300000
FRAME_B1 equ 0x302000
FRAME_B2 equ 0x303000
FRAME_C1 equ 0x304000
FRAME_C2 equ 0x305000
FRAME_S equ 0x306000
FRAME_A2 equ 0x307000

N1      equ 0x11                        ; what B gives
N2      equ 0x22

main:
        mov dword [has_nx], 0
        call make_pages
        mov dword [kind], G
        call in_one_mode
        mov dword [kind], 0             ; not global
        call in_one_mode
        mov eax, 1
        cpuid
        test edx, 1 << 6
        jz .end
        call pae
.end:   ret

; 32-bit paging is on with CR4.PGE, then off.
in_one_mode:
        mov dword [pte_size], 4
        call make_tables
        mov eax, PD
        mov cr3, eax
        mov eax, 0x10                   ; PSE
        mov cr4, eax
        CR_SET cr0, PG
        mov eax, CR4_PGE | 0x10
        mov cr4, eax
        call all_ways
        call large_page
        call by_directory
        jmp paging_off

pae:
        mov dword [kind], G
        mov dword [pte_size], 8
        call make_tables
        mov eax, 0x80000001
        cpuid
        test edx, 1 << 20
        jz .no_nx
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x800
        wrmsr
        mov dword [has_nx], 0x10
.no_nx: mov eax, PDPT
        mov cr3, eax
        mov eax, CR4_PAE
        mov cr4, eax
        CR_SET cr0, PG
        mov eax, CR4_PAE | CR4_PGE
        mov cr4, eax
        call all_ways
        call large_page
        call no_execute
        jmp paging_off

paging_off:
        CR_CLEAR cr0, PG
        xor eax, eax
        mov cr4, eax
        ret

; ---- page tables ----

make_tables:
        mov edi, PD
        xor eax, eax
        mov ecx, 0x9000 / 4
        cld
        rep stosd
        mov edi, PT0
        mov edx, 0x800                  ; entries
        cmp dword [pte_size], 8
        je .wide
        mov dword [PD], PT0 + P + W + U
        mov dword [PD + 4], PT1 + P + W + U
        jmp .entries
.wide:  mov dword [PDPT], PD_PAE + P
        mov dword [PD_PAE], PT0 + P + W + U
        mov dword [PD_PAE + 8], PT0 + 0x1000 + P + W + U
        mov dword [PD_PAE + 16], PT1 + P + W + U
        mov dword [PD_PAE + 24], PT1 + 0x1000 + P + W + U
.entries:
        mov eax, P + W + U
        or eax, [kind]
        xor ecx, ecx
.next:  push eax
        mov edx, eax
        call entry_of_page
        mov [edi], edx
        lea edi, [edi + PT1 - PT0]
        mov [edi], edx                  ; the second 4 MiB: the first once more
        pop eax
        add eax, 0x1000
        inc ecx
        cmp ecx, 1024
        jb .next
        mov esi, first_map
.page:  lodsd
        mov edx, [esi]
        add esi, 4
        push esi
        call put_entry
        pop esi
        cmp esi, first_map_end
        jb .page
        mov eax, BIG1
        jmp put_large
first_map:
        dd PAGE_A, FRAME_A, PAGE_B, FRAME_B1, PAGE_C, FRAME_C1, PAGE_S, FRAME_S, PAGE_T, FRAME_B1
        dd PAGE_U, FRAME_A, PAGE_V, FRAME_B1
first_map_end:

; EDI: the entry of page ECX below 4 MiB.
entry_of_page:
        mov edi, ecx
        cmp dword [pte_size], 8
        je .wide
        lea edi, [PT0 + edi * 4]
        ret
.wide:  lea edi, [PT0 + edi * 8]
        ret

; The page at EAX, below 4 MiB, leads to the frame EDX. Nothing is flushed.
put_entry:
        mov ecx, eax
        shr ecx, 12
        call entry_of_page
        or edx, P + W + U
        or edx, [kind]
        mov [edi], edx
        ret

; BIG leads to EAX.
put_large:
        or eax, P + W + U + LARGE
        or eax, [kind]
        mov edi, PD + (BIG >> 22) * 4
        cmp dword [pte_size], 8
        jne .put
        mov edi, PD_PAE + (BIG >> 21) * 8
.put:   mov [edi], eax
        ret

; ---- the code of the pages ----

make_pages:
        cld
        mov esi, page_a
        mov edi, FRAME_A
        call copy_page
        mov esi, page_a
        mov edi, FRAME_A2
        call copy_page
        mov byte [FRAME_A2 + (a_counts.number - page_a)], 2
        mov esi, page_s
        mov edi, FRAME_S
        call copy_page
        mov edi, FRAME_B1
        mov eax, N1
        mov ebx, 0x9090                 ; two nops
        call make_b
        mov edi, FRAME_B2
        mov eax, N2
        mov ebx, 0xff8b                 ; mov edi, edi
        call make_b
        mov edi, BIG1 + BIG_B - BIG
        mov eax, N1
        mov ebx, 0x9090
        call make_b
        mov edi, BIG2 + BIG_B - BIG
        mov eax, N2
        call make_b
        mov byte [BIG1 + BIG_A - BIG], 0xe9
        mov dword [BIG1 + BIG_A - BIG + 1], BIG_B - BIG_A - 5
        mov byte [BIG2 + BIG_A - BIG], 0xe9
        mov dword [BIG2 + BIG_A - BIG + 1], BIG_B - BIG_A - 5
        mov edi, FRAME_C1
        mov eax, 1
        call make_c
        mov edi, FRAME_C2
        mov eax, 2
        call make_c
        ret
copy_page:
        mov ecx, 0x400
        rep movsd
        ret
; Page B at EDI: the bytes BX, mov eax, EAX, ret; its end goes on in page C.
make_b: mov [edi], bx
        mov byte [edi + 2], 0xb8
        mov [edi + 3], eax
        mov byte [edi + 7], 0xc3
        mov byte [edi + 0xffd], 0xb8    ; mov eax, ..., AL
        mov [edi + 0xffe], ax
        push esi
        push edi
        add edi, 0x100
        mov esi, b_remaps
        mov ecx, b_remaps_end - b_remaps
        rep movsb
        pop edi
        pop esi
        ret
; Page C: the upper half of B's number, and code that gives EAX.
make_c: mov [edi], ax
        mov byte [edi + 2], 0xc3
        mov byte [edi + 0x10], 0xb8
        mov [edi + 0x11], eax
        mov byte [edi + 0x15], 0xc3
        ret

%define AT_A(label) (page_a + ((label) - PAGE_A))       ; as seen from page A's template
%define AT_S(label) (page_s + ((label) - PAGE_S))
%define AT_B(label) (b_remaps + ((label) - PAGE_B - 0x100))

        align 16
page_a:
a_jmp:  jmp AT_A(PAGE_B)
        align 16
a_jcc:  stc
        jc near AT_A(PAGE_B)
        xor eax, eax
        ret
        align 16
a_not_taken:
        clc
        jc a_jmp
        jmp AT_A(PAGE_B)
        align 16
a_call: call AT_A(PAGE_B)
        add eax, 0x100
        ret
        align 16
a_to_straddle:
        jmp AT_A(PAGE_B + 0xffd)
        align 16
; ECX times: B's number is added up in EAX, and one (or two: the other frame) in EBX
a_counts:
        xor esi, esi
        xor ebx, ebx
.next:  call AT_A(PAGE_B + 0x100)
        add esi, eax
        add ebx, byte 1
.number equ $ - 1
        dec ecx
        jnz .next
        mov eax, esi
        ret
        times 0xfd0 - ($ - page_a) nop
a_jecxz:
        xor ecx, ecx
        jecxz AT_A(PAGE_B)
        times 0xfe0 - ($ - page_a) nop
a_loop: mov ecx, 2
        loop AT_A(PAGE_B)
        times 0xffc - ($ - page_a) nop
a_fall: times 0x1000 - ($ - page_a) nop
page_s: times 0xfe0 nop
s_jumps:
        jmp s_straddle
s_taken:
        stc
        jc AT_S(PAGE_T)
        times 0xffd - ($ - page_s) nop
s_straddle:
        db 0xba, 0, 0                   ; mov edx, ...
; In page B: the page [turns] becomes the other of its two frames; then to page C, whose number it is.
b_remaps:
        mov edx, [turns_entry]
        mov eax, [turns_to]
        xchg eax, [edx]
        mov [turns_to], eax
        mov eax, [turns]
        invlpg [eax]
        jmp AT_B(PAGE_C + 0x10)
b_remaps_end:

%define IN_A(label) (PAGE_A + (label) - page_a)
%define IN_S(label) (PAGE_S + (label) - page_s)

; ---- ways of A to B ----

; WAY "name", where it begins, what comes of it with each of B's frames
%macro WAY 4
        dd %2, %3, %4
        db %1, 0
%endmacro
ways:
        WAY "jmp", IN_A(a_jmp), N1, N2
        WAY "jcc", IN_A(a_jcc), N1, N2
        WAY "behind a jcc that is not taken", IN_A(a_not_taken), N1, N2
        WAY "call", IN_A(a_call), N1 + 0x100, N2 + 0x100
        WAY "jecxz", IN_A(a_jecxz), N1, N2
        WAY "loop", IN_A(a_loop), N1, N2
        WAY "on to the next page", IN_A(a_fall), N1, N2
        WAY "short jcc", IN_S(s_taken), N1, N2
        WAY "an instruction of both pages", IN_S(s_straddle), N1 ^ 0x9090, N2 ^ 0xff8b
        WAY "jmp to such an instruction", IN_S(s_jumps), N1 ^ 0x9090, N2 ^ 0xff8b
        WAY "jmp to an instruction of two pages", IN_A(a_to_straddle), N1 + 0x10000, N2 + 0x10000
        dd 0

; HOW: how page B becomes another one: EAX is the frame.
hows:   dd by_invlpg, by_pge, by_invlpg_evicted, by_cr3, by_invpcid, after_others
hows_end:

all_ways:
        mov ebp, hows
.how:   mov edi, ways
.way:   mov dword [hot], 30
.warm:  mov ebx, [edi + 4]
        call take_way
        dec dword [hot]
        jnz .warm
        mov eax, FRAME_B2
        call [ebp]
        mov dword [hot], 3
.there: mov ebx, [edi + 8]
        call take_way
        dec dword [hot]
        jnz .there
        mov eax, FRAME_B1
        call [ebp]
        mov dword [hot], 1
        mov ebx, [edi + 4]
        call take_way
        add edi, 12
.name:  inc edi
        cmp byte [edi - 1], 0
        jne .name
        cmp dword [edi], 0
        jne .way
        add ebp, 4
        cmp ebp, hows_end
        jb .how
        call user_ways
        call absent
        call becomes_local
        call in_the_chain
        ret

; That the way at EDI gives EBX.
take_way:
        pushad
        xor edx, edx
        call [edi]
        shr edx, 16
        xor eax, edx
        mov [result], eax
        popad
        push edi
        push ebp
        lea esi, [edi + 12]
        mov eax, [result]
        call report_value
        pop ebp
        pop edi
        ret

; ---- hows ----

put_b:  push eax
        mov edx, eax
        mov eax, PAGE_B
        call put_entry_kept
        pop edx
        mov eax, PAGE_T
put_entry_kept:
        push edi
        call put_entry
        pop edi
        ret

by_invlpg:
        call put_b
        invlpg [PAGE_B]
        invlpg [PAGE_T]
        ret
by_pge: call put_b
toggle_pge:
        mov eax, cr4
        xor eax, CR4_PGE
        mov cr4, eax
        xor eax, CR4_PGE
        mov cr4, eax
        ret
; Other pages have taken B's place in a small TLB before.
by_invlpg_evicted:
        call put_b
        mov eax, [PAGE_A + AGAIN]
        mov eax, [PAGE_B + AGAIN]
        mov eax, [PAGE_T + AGAIN]
        invlpg [PAGE_B]
        invlpg [PAGE_T]
        ret
; Pages that are not global go with a MOV to CR3.
by_cr3: test dword [kind], G
        jnz by_invlpg
        call put_b
        mov eax, cr3
        mov cr3, eax
        ret
by_invpcid:
        push eax
        push ebx
        push ecx
        push edx
        xor eax, eax
        cpuid
        cmp eax, 7
        mov ebx, 0
        jb .known
        mov eax, 7
        xor ecx, ecx
        cpuid
.known: test ebx, 1 << 10
        pop edx
        pop ecx
        pop ebx
        pop eax
        jz by_invlpg
        call put_b
        mov eax, 2                      ; all, global ones too
        invpcid eax, [no_descriptor]
        ret
; A page with other code went first: what is linked by now was so after that.
after_others:
        push eax
        mov eax, PAGE_C
        mov edx, FRAME_C1
        call put_entry_kept
        invlpg [PAGE_C]
        mov dword [rest], 20
.again: mov eax, PAGE_C + 0x10
        call eax
        mov eax, IN_A(a_call)
        call eax
        mov eax, [edi]
        pushad
        call eax
        popad
        dec dword [rest]
        jnz .again
        pop eax
        jmp by_invlpg

; ---- other changes ----

; In ring 3, whose code has other rules, and pages that ring 0 runs nothing from.
user_ways:
        mov dword [hot], 20
.warm:  call user_trip
        EQUAL "ring 3", [exc_eax], N1 + 0x100
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        mov eax, PAGE_V
        mov edx, FRAME_B2
        call put_entry_kept
        invlpg [PAGE_V]
        call user_trip
        EQUAL "  elsewhere by INVLPG", [exc_eax], N2 + 0x100
        mov eax, PAGE_V
        mov edx, FRAME_B1
        call put_entry_kept
        call toggle_pge
        call user_trip
        EQUAL "  and back", [exc_eax], N1 + 0x100
        ret
user_trip:
        TRY
        RING3
        mov eax, PAGE_U + a_call - page_a
        call eax
        CAUGHT_QUIETLY
        ret

absent: mov dword [hot], 20
.warm:  mov eax, IN_A(a_call)
        call eax
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        mov eax, PAGE_B
        mov edx, FRAME_B1
        call put_entry
        and byte [edi], ~P
        invlpg [PAGE_B]
        TRY
        mov eax, IN_A(a_call)
        call eax
        CAUGHT_QUIETLY
        EQUAL "page B is not present", [exc_vector], 14
        EQUAL "  error", [exc_error], [has_nx]
        EQUAL "  cr2", [exc_cr2], PAGE_B
        EQUAL "  eip", [exc_eip], PAGE_B
        mov eax, FRAME_B1
        jmp put_b

; Page B is not global any more: a MOV to CR3 counts for it.
becomes_local:
        push dword [kind]
        mov dword [kind], 0
        mov eax, FRAME_B1
        call by_invlpg
        mov dword [hot], 20
.warm:  mov eax, IN_A(a_call)
        call eax
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        mov eax, FRAME_B2
        call by_cr3
        mov eax, IN_A(a_call)
        call eax
        EQUAL "page B is not global: elsewhere by CR3", eax, N2 + 0x100
        pop dword [kind]
        mov eax, FRAME_B1
        call by_invlpg
        mov dword [hot], 20
.again: mov eax, IN_A(a_call)
        call eax
        dec dword [hot]
        jnz .again
        mov dword [hot], 1
        mov eax, FRAME_B2
        call by_invlpg
        mov eax, IN_A(a_call)
        call eax
        EQUAL "  global again", eax, N2 + 0x100
        mov eax, FRAME_B1
        jmp by_invlpg

; B changes pages while A loops over it.
TURNS   equ 1000
in_the_chain:
        mov eax, PAGE_C
        mov ebx, FRAME_C2
        call turn
        EQUAL "B exchanges C: numbers", eax, TURNS / 2 * 3
        EQUAL "  A's", [rest], TURNS
        mov eax, PAGE_A
        mov ebx, FRAME_A2
        call turn
        EQUAL "B exchanges A: numbers", eax, TURNS
        EQUAL "  A's", [rest], TURNS / 2 * 3
        mov eax, PAGE_T
        mov ebx, FRAME_B2
        call turn
        EQUAL "B exchanges another: numbers", eax, TURNS
        EQUAL "  A's", [rest], TURNS
        mov eax, FRAME_B1
        jmp by_invlpg
turn:   mov [turns], eax
        mov ecx, eax
        shr ecx, 12
        call entry_of_page
        mov [turns_entry], edi
        or ebx, P + W + U
        or ebx, [kind]
        mov [turns_to], ebx
        mov eax, PAGE_C
        mov edx, FRAME_C1
        call put_entry_kept
        invlpg [PAGE_C]
        mov ecx, TURNS
        mov eax, IN_A(a_counts)
        call eax
        mov [rest], ebx
        ret

; A and B are in one large page.
large_page:
        mov dword [rest], 0
.how:   mov dword [hot], 20
.warm:  mov eax, BIG_A
        call eax
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        EQUAL "large page", eax, N1
        mov eax, BIG2
        call move_large
        mov eax, BIG_A
        call eax
        EQUAL "  elsewhere", eax, N2
        mov eax, BIG1
        call move_large
        mov eax, BIG_A
        call eax
        EQUAL "  and back", eax, N1
        inc dword [rest]
        cmp dword [rest], 4
        jb .how
        ret
move_large:
        call put_large
        mov eax, [rest]
        test al, 2
        jnz toggle_pge
        test al, 1
        jnz .far
        invlpg [BIG_B]
        ret
.far:   invlpg [BIG + 0x100000]         ; any address of it
        ret

; Page B by another page table.
by_directory:
        mov esi, PT0
        mov edi, PT_B
        mov ecx, 0x400
        rep movsd
        mov eax, FRAME_B2 + P + W + U
        or eax, [kind]
        mov [PT_B + (PAGE_B >> 12 & 0x3ff) * 4], eax
        mov dword [hot], 20
.warm:  mov eax, IN_A(a_call)
        call eax
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        mov dword [PD], PT_B + P + W + U
        invlpg [PAGE_B]
        mov eax, IN_A(a_call)
        call eax
        EQUAL "another page table", eax, N2 + 0x100
        mov dword [PD], PT0 + P + W + U
        invlpg [PAGE_B]
        mov eax, IN_A(a_call)
        call eax
        EQUAL "  and back", eax, N1 + 0x100
        ret

no_execute:
        cmp dword [has_nx], 0
        je .end
        mov dword [hot], 20
.warm:  mov eax, IN_A(a_call)
        call eax
        dec dword [hot]
        jnz .warm
        mov dword [hot], 1
        mov ecx, PAGE_B >> 12
        call entry_of_page
        or dword [edi + 4], NX_HIGH
        invlpg [PAGE_B]
        TRY
        mov eax, IN_A(a_call)
        call eax
        CAUGHT "page B is not for code", 14, 0x11
        EQUAL "  cr2", [exc_cr2], PAGE_B
        mov ecx, PAGE_B >> 12
        call entry_of_page
        and dword [edi + 4], ~NX_HIGH
        invlpg [PAGE_B]
        mov eax, IN_A(a_call)
        call eax
        EQUAL "  it is again", eax, N1 + 0x100
.end:   ret

        align 4096
kind:       dd 0                        ; G or 0
pte_size:   dd 0
has_nx:     dd 0                        ; or the bit that error codes of fetches have then
result:     dd 0
rest:       dd 0
turns:      dd 0                        ; the page that becomes another one
turns_entry: dd 0
turns_to:   dd 0
no_descriptor: dd 0, 0, 0, 0

        GUEST_END
