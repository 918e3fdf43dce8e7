; SPDX-License-Identifier: MIT
;
; Paging: who may do what, error codes and CR2, accessed and dirty bits, WP, large pages, PAE with NX
; and reserved bits, global pages, address spaces in turn; accesses and instructions across two
; pages of which one is missing: nothing may have been written, no register changed; and demand
; paging, where every instruction must go on as if nothing had been.

%define ROUNDS 60
%include "guest.inc"
%include "pages.inc"

PD      equ 0x100000
PT0     equ 0x101000                    ; 0 .. 4 MiB, identity
PT1     equ 0x102000                    ; 4 .. 8 MiB: the same memory again
PD2     equ 0x103000                    ; another space: 4 .. 8 MiB by PT2
PT2     equ 0x104000
PDPT    equ 0x105000                    ; PAE
PAEPD   equ 0x106000
PAEPT   equ 0x107000
CONF    equ FREE

WINDOW  equ 0x400000
PAGE_A  equ 0x200000                    ; two pages for accesses
PAGE_B  equ 0x201000
GDT_PAGE equ (gdt - $$ + BASE) & ~0xfff

%define PTE1(address) [PT1 + (((address) - WINDOW) >> 12) * 4]

NP      equ 0                           ; error code bits
RSVD    equ 8
I       equ 0x10

; SETPTE address, flags
%macro SETPTE 2
        mov dword PTE(%1), ((%1) & ~0xfff) | (%2)
        invlpg [%1]
%endmacro

; FLAGS_ARE "name", address, flags: the low byte of its page table entry
%macro FLAGS_ARE 3
        mov eax, PTE(%2)
        and eax, 0xff
        EQUAL %1, eax, %3
%endmacro

%macro CR2_IS 1
        EQUAL "  cr2", [exc_cr2], %1
%endmacro

main:
        mov dword [wrongs], 0
        DESC CONF, 0, 0xfffff, 0x9f, 0xc
        call make_spaces
        call access_bits
        call permissions
        call faults
        call crossing
        call code_crossing
        call demand
        call spaces
        call large
        call paging_off
        call pae
        ret

make_spaces:
        mov edi, PD
        mov ecx, 5
        call clear_pages
        mov edi, PT0
        call map_4_mib
        mov edi, PT1
        call map_4_mib
        mov edi, PT2
        call map_4_mib
        mov dword [PD], PT0 + 7
        mov dword [PD + 4], PT1 + 7
        mov dword [PD2], PT0 + 7
        mov dword [PD2 + 4], PT2 + 7
        mov eax, PD
        jmp paging_on

; ---- accessed and dirty ----
access_bits:
        HOT 40
        SETPTE PAGE_A, 7
        mov eax, [PAGE_A]
        mov ebx, PTE(PAGE_A)
        cmp bl, 7 | A
        jne .bad
        mov [PAGE_A], eax
        mov ebx, PTE(PAGE_A)
        cmp bl, 7 | A | D
        je .good
.bad:   inc dword [wrongs]
.good:  COOL
        EQUAL "a read sets A, a write D, each time", [wrongs], 0
        SETPTE PAGE_A, 7
        and dword [PD], ~A
        mov eax, cr3
        mov cr3, eax
        mov [PAGE_A], al
        FLAGS_ARE "a write at once", PAGE_A, 7 | A | D
        mov eax, [PD]
        and eax, 0x7f
        EQUAL "  A in the directory, no D", eax, 7 | A
        SETPTE PAGE_A, 7
        mov dword [PAGE_A], 1
        SETPTE PAGE_A, 7
        cmp dword [PAGE_A], 1
        FLAGS_ARE "cmp only reads", PAGE_A, 7 | A
        xor eax, eax
        cmpxchg [PAGE_A], ecx
        FLAGS_ARE "cmpxchg that fails writes", PAGE_A, 7 | A | D
        SETPTE PAGE_A, 7
        mov byte [PAGE_A + 0x800], 0xc3
        SETPTE PAGE_A, 7
        mov eax, PAGE_A + 0x800
        call eax
        FLAGS_ARE "a fetch sets A", PAGE_A, 7 | A
        ; what fails sets neither
        SETPTE PAGE_A, 5
        TRY
        RING3
        mov [PAGE_A], eax
        CAUGHT "user write to a read-only page", 14, P | W | U
        mov eax, PTE(PAGE_A)
        and eax, D
        EQUAL "  leaves D clear", eax, 0
        SETPTE PAGE_A, 7
        SETPTE PAGE_B, 7
        mov [PAGE_B - 2], eax
        FLAGS_ARE "a crossing write: both, here", PAGE_A, 7 | A | D
        FLAGS_ARE "  and there", PAGE_B, 7 | A | D
        SETPTE PAGE_A, 7
        SETPTE PAGE_B, 6
        TRY
        mov [PAGE_B - 2], eax
        CAUGHT "whose second page is missing", 14, W
        SETPTE PAGE_A, 7
        mov esi, PAGE_A
        mov edi, PAGE_A + 0x100
        xor ecx, ecx
        rep movsb
        FLAGS_ARE "rep movsb of nothing", PAGE_A, 7
        ret

; ---- permissions ----
; ACCESS flags of PAGE_A ... ACCESSED "name", vector, error
%macro ACCESS 1
        SETPTE PAGE_A, %1
        HOT 20
        TRY
%endmacro
%macro ACCESSED 3
        CAUGHT %1, %2, %3
        COOL
%endmacro
permissions:
        mov byte [PAGE_A], 0xc3
        ACCESS 6
        mov eax, [PAGE_A]
        ACCESSED "supervisor reads what is missing", 14, NP
        CR2_IS PAGE_A
        ACCESS 6
        mov [PAGE_A + 5], al
        ACCESSED "and writes", 14, W
        CR2_IS PAGE_A + 5
        ACCESS 6
        RING3
        mov eax, [PAGE_A]
        ACCESSED "user reads what is missing", 14, U
        ACCESS 6
        RING3
        mov [PAGE_A], eax
        ACCESSED "and writes", 14, U | W
        ACCESS 3
        RING3
        mov eax, [PAGE_A]
        ACCESSED "user reads a supervisor's page", 14, U | P
        ACCESS 3
        RING3
        mov [PAGE_A], eax
        ACCESSED "and writes", 14, U | W | P
        ACCESS 5
        RING3
        mov eax, [PAGE_A]
        ACCESSED "user reads its read-only page", NO_FAULT, 0
        ACCESS 5
        RING3
        mov [PAGE_A], eax
        ACCESSED "and writes", 14, U | W | P
        ACCESS 5
        RING3
        add dword [PAGE_A], 0
        ACCESSED "and adds nothing", 14, U | W | P
        ACCESS 5
        mov byte [PAGE_A], 0xc3
        ACCESSED "supervisor writes it without WP", NO_FAULT, 0
        ACCESS 1
        mov byte [PAGE_A], 0xc3
        ACCESSED "and its own without WP", NO_FAULT, 0
        call wp_on
        ACCESS 5
        mov [PAGE_A], eax
        ACCESSED "with WP", 14, W | P
        ACCESS 1
        mov [PAGE_A], eax
        ACCESSED "its own with WP", 14, W | P
        call wp_off
        ACCESS 3
        RING3
        mov edx, PAGE_A
        call edx
        ACCESSED "user runs a supervisor's page", 14, U | P
        EQUAL "  eip", [exc_eip], PAGE_A
        CR2_IS PAGE_A
        ACCESS 2
        RING3
        mov edx, PAGE_A
        call edx
        ACCESSED "user runs what is missing", 14, U
        ACCESS 7
        mov edx, PAGE_A
        call edx
        ACCESSED "supervisor runs a user's page", NO_FAULT, 0
        SETPTE PAGE_A, 7
        ; the directory counts too
        and byte [PD], ~4               ; all below 4 MiB becomes the supervisor's
        and byte [PD + 4], ~2           ; and the window read-only
        mov eax, cr3
        mov cr3, eax
        mov edx, PAGE_A
        TRY
        mov eax, [WINDOW + PAGE_A]
        CAUGHT "supervisor in a supervisor's directory entry", NO_FAULT, 0
        or byte [PD], 4
        mov eax, cr3
        mov cr3, eax
        TRY
        RING3
        mov eax, [WINDOW + PAGE_A]
        mov [WINDOW + PAGE_A], eax
        CAUGHT "user in a read-only directory entry", 14, U | W | P
        or byte [PD + 4], 2
        and byte [PD + 4], ~4
        mov eax, cr3
        mov cr3, eax
        TRY
        RING3
        mov eax, [WINDOW + PAGE_A]
        CAUGHT "user in a supervisor's directory entry", 14, U | P
        mov dword [PD + 8], 6
        TRY
        mov eax, [0x800000]
        CAUGHT "directory entry missing", 14, NP
        or byte [PD + 4], 4
        mov eax, cr3
        mov cr3, eax
        ; the same instruction with WP and without
        SETPTE PAGE_A, 5
        HOT 60
        call wp_off
        test byte [hot], 1
        jz .wp
        call wp_on
.wp:    TRY
        mov ecx, PAGE_A
        mov [ecx], eax
        CAUGHT_QUIETLY
        call judge_every_other
        COOL
        EQUAL "the same write with WP and without", [wrongs], 0
        call wp_off
        ; the same instructions in ring 0 and in ring 3: conforming code
        SETPTE PAGE_A, 3
        HOT 60
        TRY
        test byte [hot], 1
        jz .ring0
        RING3
.ring0: jmp dword CONF:.conforming
.conforming:
        mov ecx, PAGE_A
        mov eax, [ecx]
        CAUGHT_QUIETLY
        call judge_every_other
        COOL
        EQUAL "the same load in ring 0 and in ring 3", [wrongs], 0
        SETPTE PAGE_A, 7
        ; the CPU's own accesses are the supervisor's, in ring 3 too
        SETPTE GDT_PAGE, 3
        TRY
        RING3
        mov ax, DATA3
        mov fs, ax
        CAUGHT "ring 3 loads from the supervisor's GDT", NO_FAULT, 0
        SETPTE GDT_PAGE, 7
        ret
; A page fault when [hot] is odd, none when it is even.
judge_every_other:
        mov eax, [exc_vector]
        inc eax                         ; NO_FAULT becomes 0
        mov ebx, [hot]
        and ebx, 1
        imul ebx, ebx, 14 + 1
        sub eax, ebx
        or [wrongs], eax
        ret
wp_on:  CR_SET cr0, CR0_WP
        ret
wp_off: CR_CLEAR cr0, CR0_WP
        ret

; ---- a fault changes nothing ----
; FAULTS ... AT, the instruction, FAULTED "name", error, cr2: in ring 3 with registers of known values;
; PAGE_B is missing.
%macro FAULTS 0
        HOT 20
        mov dword [PAGE_B - 4], 0x5a5a5a5a
        mov dword [PAGE_B - 8], 0x5a5a5a5a
        TRY
        RING3
        mov eax, 0x11111111
        mov ecx, 0x22222222
        mov edx, 0x33333333
        mov ebx, 0x44444444
        mov ebp, 0x55555555
        mov esi, 0x66666666
        mov edi, 0x77777777
%endmacro
%macro AT 0
        mov dword [place], %$at
%$at:
%endmacro
%macro FAULTED 3
        CAUGHT %1, 14, %2
        mov eax, [exc_cr2]
        sub eax, %3
        or [wrongs], eax
        cmp dword [PAGE_B - 4], 0x5a5a5a5a
        jne %%bad
        cmp dword [PAGE_B - 8], 0x5a5a5a5a
        je %%good
%%bad:  inc dword [wrongs]
%%good: COOL
        EQUAL "  cr2 each time, nothing written", [wrongs], 0
        mov dword [wrongs], 0
%endmacro
%macro UNCHANGED 0
        UNCHANGED_BUT_EIP
        mov eax, [exc_eip]
        sub eax, [place]
        EQUAL "  eip", eax, 0
%endmacro
%macro UNCHANGED_BUT_EIP 0
        mov eax, [exc_eax]
        sub eax, 0x11111111
        mov ebx, [exc_ecx]
        sub ebx, 0x22222222
        or eax, ebx
        mov ebx, [exc_edx]
        sub ebx, 0x33333333
        or eax, ebx
        mov ebx, [exc_ebx]
        sub ebx, 0x44444444
        or eax, ebx
        mov ebx, [exc_ebp]
        sub ebx, 0x55555555
        or eax, ebx
        mov ebx, [exc_esi]
        sub ebx, 0x66666666
        or eax, ebx
        mov ebx, [exc_edi]
        sub ebx, 0x77777777
        or eax, ebx
        EQUAL "  registers as before", eax, 0
%endmacro

faults:
        SETPTE PAGE_B, 6                ; missing
        FAULTS
        AT
        mov eax, [PAGE_B + 8]
        FAULTED "mov from", U, PAGE_B + 8
        UNCHANGED
        FAULTS
        AT
        mov [PAGE_B + 8], eax
        FAULTED "mov to", U | W, PAGE_B + 8
        UNCHANGED
        FAULTS
        AT
        add eax, [PAGE_B]
        FAULTED "add to a register", U, PAGE_B
        UNCHANGED
        FAULTS
        AT
        add [PAGE_B], eax
        FAULTED "add to memory", U | W, PAGE_B
        FAULTS
        AT
        xchg [PAGE_B], eax
        FAULTED "xchg", U | W, PAGE_B
        UNCHANGED
        FAULTS
        AT
        lock xadd [PAGE_B], ebx
        FAULTED "lock xadd", U | W, PAGE_B
        UNCHANGED
        FAULTS
        AT
        cmpxchg8b [PAGE_B]
        FAULTED "cmpxchg8b", U | W, PAGE_B
        UNCHANGED
        FAULTS
        AT
        div dword [PAGE_B]
        FAULTED "div", U, PAGE_B
        UNCHANGED
        FAULTS
        AT
        mul dword [PAGE_B]
        FAULTED "mul", U, PAGE_B
        UNCHANGED
        FAULTS
        AT
        movsd
        FAULTED "movsd", U, 0x66666666
        UNCHANGED
        FAULTS
        AT
        bt [WINDOW + 0x600000], eax
        FAULTED "bt with a far bit", U, WINDOW + 0x600000 + 0x2222220
        UNCHANGED
        FAULTS
        mov eax, 32
        AT
        bts [PAGE_B - 4], eax
        FAULTED "bts behind the page end", U | W, PAGE_B
        FAULTS
        AT
        jmp [PAGE_B]
        FAULTED "jmp by memory", U, PAGE_B
        UNCHANGED
        FAULTS
        AT
        call [PAGE_B]
        FAULTED "call by memory", U, PAGE_B
        UNCHANGED
        EQUAL "  esp", [exc_esp_before], STACK3
        FAULTS
        AT
        push dword [PAGE_B]
        FAULTED "push from memory", U, PAGE_B
        EQUAL "  esp", [exc_esp_before], STACK3
        FAULTS
        AT
        pop dword [PAGE_B]
        FAULTED "pop to memory", U | W, PAGE_B
        EQUAL "  esp", [exc_esp_before], STACK3
        FAULTS
        mov esp, PAGE_B + 4
        AT
        push eax
        FAULTED "push on a missing page", U | W, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B + 4
        FAULTS
        mov esp, PAGE_B + 2
        AT
        push eax
        FAULTED "push across a page end", U | W, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B + 2
        FAULTS
        mov esp, PAGE_B - 2
        AT
        pop eax
        FAULTED "pop across a page end", U, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B - 2
        UNCHANGED
        FAULTS
        mov esp, PAGE_B + 24
        AT
        pusha
        FAULTED "pusha across a page end", U | W, PAGE_B + 20
        EQUAL "  esp", [exc_esp_before], PAGE_B + 24
        FAULTS
        mov esp, PAGE_B + 4
        AT
        call main
        FAULTED "call on a missing page", U | W, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B + 4
        FAULTS
        mov esp, PAGE_B + 4
        AT
        ret
        FAULTED "ret from a missing page", U, PAGE_B + 4
        EQUAL "  esp", [exc_esp_before], PAGE_B + 4
        FAULTS
        mov esp, PAGE_B
        AT
        pop eax
        FAULTED "pop from a missing page", U, PAGE_B
        UNCHANGED_BUT_EIP
        FAULTS
        mov ebp, PAGE_B + 0x10
        AT
        leave
        FAULTED "leave to a missing page", U, PAGE_B + 0x10
        EQUAL "  esp", [exc_esp_before], STACK3
        EQUAL "  ebp", [exc_ebp], PAGE_B + 0x10
        FAULTS
        mov esp, PAGE_B - 8
        AT
        popa
        FAULTED "popa over a page end", U, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B - 8
        UNCHANGED_BUT_EIP
        FAULTS
        mov esp, PAGE_B - 8
        AT
        iretd
        FAULTED "iret over a page end", U, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B - 8
        FAULTS
        mov esp, PAGE_B - 4
        AT
        retf
        FAULTED "retf over a page end", U, PAGE_B
        EQUAL "  esp", [exc_esp_before], PAGE_B - 4
        FAULTS
        AT
        les eax, [PAGE_B - 4]
        FAULTED "les over a page end", U, PAGE_B
        UNCHANGED
        FAULTS
        AT
        fld tword [PAGE_B - 8]
        FAULTED "fld of ten bytes", U, PAGE_B
        FAULTS
        AT
        fild qword [PAGE_B - 4]
        FAULTED "fild", U, PAGE_B
        FAULTS
        mov esi, PAGE_A
        mov edi, PAGE_B - 16
        mov ecx, 8
        cld
        mov dword [PAGE_A], 0x5a5a5a5a
        mov dword [PAGE_A + 4], 0x5a5a5a5a
        mov dword [PAGE_A + 8], 0x5a5a5a5a
        mov dword [PAGE_A + 12], 0x5a5a5a5a
        AT
        rep movsd
        FAULTED "rep movsd that goes on", U | W, PAGE_B
        EQUAL "  ecx", [exc_ecx], 4
        EQUAL "  esi", [exc_esi], PAGE_A + 16
        EQUAL "  edi", [exc_edi], PAGE_B
        FAULTS
        mov edi, PAGE_B + 3
        mov ecx, 100
        std
        AT
        rep stosb
        FAULTED "rep stosb downwards", U | W, PAGE_B + 3
        EQUAL "  ecx", [exc_ecx], 100
        FAULTS
        mov esi, PAGE_B - 6
        mov ecx, 8
        cld
        AT
        rep lodsw
        FAULTED "rep lodsw", U, PAGE_B
        EQUAL "  ecx", [exc_ecx], 5
        EQUAL "  esi", [exc_esi], PAGE_B
        FAULTS
        mov esi, PAGE_B - 6
        mov edi, PAGE_B - 6
        mov ecx, 8
        cld
        AT
        repe cmpsb
        FAULTED "repe cmpsb", U, PAGE_B
        EQUAL "  ecx", [exc_ecx], 2
        FAULTS
        mov edi, PAGE_B - 8
        mov ecx, 8
        cld
        AT
        repne scasd
        FAULTED "repne scasd", U, PAGE_B
        EQUAL "  ecx", [exc_ecx], 6
        ret

; ---- accesses across two pages ----
; CROSS "name", bytes, code of a store to [EBX], of a load from [EBX]: at each crossing offset; the
; second page is missing, then the first.
%macro CROSS 4
        mov dword [count], 1
%%next: SETPTE PAGE_B, 6
        SETPTE PAGE_A, 7
        call fill_end
        HOT 16
        TRY
        mov ebx, PAGE_B
        sub ebx, [count]
        %3
        CAUGHT_QUIETLY
        call judge_write
        TRY
        mov ebx, PAGE_B
        sub ebx, [count]
        %4
        CAUGHT_QUIETLY
        call judge_read
        COOL
        SETPTE PAGE_B, 5
        SETPTE PAGE_A, 7
        HOT 16
        call wp_on
        TRY
        mov ebx, PAGE_B
        sub ebx, [count]
        %3
        CAUGHT_QUIETLY
        call judge_write_ro
        call wp_off
        COOL
        SETPTE PAGE_A, 6
        SETPTE PAGE_B, 7
        HOT 16
        mov dword [PAGE_B], 0x5a5a5a5a
        TRY
        mov ebx, PAGE_B
        sub ebx, [count]
        %3
        CAUGHT_QUIETLY
        call judge_first
        COOL
        SETPTE PAGE_A, 7
        TRY
        mov ebx, PAGE_B
        sub ebx, [count]
        %3
        %4
        CAUGHT_QUIETLY
        cmp dword [exc_vector], NO_FAULT
        je %%fine
        inc dword [wrongs]
%%fine: inc dword [count]
        cmp dword [count], %2
        jb %%next
        EQUAL %1, [wrongs], 0
        mov dword [wrongs], 0
%endmacro
; Stores and loads of more than one instruction
%macro STOSD_LODSD_STORE 0
        mov edi, ebx
        stosd
%endmacro
%macro STOSD_LODSD_LOAD 0
        mov esi, ebx
        lodsd
%endmacro
%macro MOVSD_STORE 0
        mov edi, ebx
        mov esi, gdt
        movsd
%endmacro
%macro MOVSD_LOAD 0
        mov esi, ebx
        mov edi, scratch
        movsd
%endmacro
%macro FISTP_8_STORE 0
        fld1
        fistp qword [ebx]
%endmacro
%macro FISTP_8_LOAD 0
        fild qword [ebx]
        fstp st0
%endmacro
%macro FSTP_10_STORE 0
        fld1
        fstp tword [ebx]
%endmacro
%macro FSTP_10_LOAD 0
        fld tword [ebx]
        fstp st0
%endmacro
crossing:
        fninit
        fldz
        CROSS "crossing: 2 bytes", 2, {mov [ebx], ax}, {mov ax, [ebx]}
        CROSS "crossing: 4 bytes", 4, {mov [ebx], eax}, {mov eax, [ebx]}
        CROSS "crossing: add", 4, {add [ebx], eax}, {add eax, [ebx]}
        CROSS "crossing: lock inc", 4, {lock inc dword [ebx]}, {test [ebx], eax}
        CROSS "crossing: stosd, lodsd", 4, STOSD_LODSD_STORE, STOSD_LODSD_LOAD
        CROSS "crossing: movsd", 4, MOVSD_STORE, MOVSD_LOAD
        CROSS "crossing: cmpxchg", 4, {lock cmpxchg [ebx], ecx}, {cmp ecx, [ebx]}
        CROSS "crossing: fst 4", 4, {fst dword [ebx]}, {fadd dword [ebx]}
        CROSS "crossing: fst 8", 8, {fst qword [ebx]}, {fcom qword [ebx]}
        CROSS "crossing: fistp 8", 8, FISTP_8_STORE, FISTP_8_LOAD
        fninit
        mov byte [is_fstp_10], 1
        CROSS "crossing: fstp 10", 10, FSTP_10_STORE, FSTP_10_LOAD
        mov byte [is_fstp_10], 0
        fninit
        mov byte [is_fnstenv], 1
        CROSS "crossing: fnstenv", 28, {fnstenv [ebx]}, {fldenv [ebx]}
        mov byte [is_fnstenv], 0
        fninit
        CROSS "crossing: cmpxchg8b", 8, {lock cmpxchg8b [ebx]}, {fcom qword [ebx]}
        mov eax, 1
        cpuid
        test edx, 1 << 26               ; SSE2
        jz .end
        CR_SET cr4, CR4_OSFXSR
        CROSS "crossing: movups", 16, {movups [ebx], xmm0}, {movups xmm1, [ebx]}
        CROSS "crossing: movq", 8, {movq [ebx], xmm0}, {movq xmm1, [ebx]}
        CROSS "crossing: movss", 4, {movss [ebx], xmm0}, {addss xmm1, [ebx]}
.end:   SETPTE PAGE_A, 7
        SETPTE PAGE_B, 7
        ret
fill_end:
        mov dword [PAGE_B - 4], 0x5a5a5a5a
        mov dword [PAGE_B - 8], 0x5a5a5a5a
        mov dword [PAGE_B - 12], 0x5a5a5a5a
        mov dword [PAGE_B - 16], 0x5a5a5a5a
        ret
judge_write:
        mov eax, W
        mov ebx, PAGE_B
        jmp judge
judge_read:
        mov eax, NP
        mov ebx, PAGE_B
        jmp judge
judge_write_ro:
        mov eax, W | P
        mov ebx, PAGE_B
judge:  cmp dword [exc_vector], 14
        jne .bad
        cmp byte [is_fnstenv], 0        ; its first word is looked at, then its last byte
        je .address
        cmp dword [count], 4
        jb .address
        sub ebx, [count]
        add ebx, 27
.address:
        cmp [exc_error], eax
        jne .bad
        cmp [exc_cr2], ebx
        jne .bad
        cmp byte [is_fstp_10], 0        ; stored as eight bytes and two
        je .whole
        cmp dword [count], 8
        jae .in_part
.whole: mov eax, [PAGE_B - 4]
        and eax, [PAGE_B - 8]
        and eax, [PAGE_B - 12]
        cmp eax, 0x5a5a5a5a
        je .good
.bad:   inc dword [wrongs]
.good:  ret
.in_part:
        mov ebx, PAGE_B
        sub ebx, [count]
        mov eax, [ebx + 4]              ; of 1.0, or of a NaN when the stack is full
        and eax, ~0x40000000
        xor eax, 0x80000000
        or eax, [ebx]
        jz .good
        jmp .bad
judge_first:
        mov eax, PAGE_B
        sub eax, [count]
        cmp dword [exc_vector], 14
        jne .bad
        cmp dword [exc_error], W
        jne .bad
        cmp [exc_cr2], eax
        jne .bad
        cmp dword [PAGE_B], 0x5a5a5a5a
        je .good
.bad:   inc dword [wrongs]
.good:  ret

; ---- instructions across two pages ----
code_crossing:
        mov dword [count], 1
.next:  SETPTE 0x211000, 7
        mov edi, 0x211000
        sub edi, [count]
        mov word [edi], 0x8581          ; add dword [ebp + disp32], imm32
        mov dword [edi + 2], PAGE_A
        mov dword [edi + 6], 0x01010101
        mov byte [edi + 10], 0xc3
        HOT 20
        mov dword [PAGE_A], 0
        xor ebp, ebp
        mov edi, 0x211000
        sub edi, [count]
        call edi
        SETPTE 0x211000, 6
        TRY
        xor ebp, ebp
        mov edi, 0x211000
        sub edi, [count]
        call edi
        CAUGHT_QUIETLY
        cmp dword [exc_vector], 14
        jne .bad
        cmp dword [exc_error], NP
        jne .bad
        cmp dword [exc_cr2], 0x211000
        jne .bad
        mov eax, 0x211000
        sub eax, [count]
        cmp [count], dword 10
        jbe .partly
        mov eax, 0x211000
.partly:
        cmp [exc_eip], eax
        jne .bad
        cmp dword [PAGE_A], 0x01010101
        je .good
.bad:   inc dword [wrongs]
.good:  SETPTE 0x211000, 7
        COOL
        inc dword [count]
        cmp dword [count], 10
        jb .next
        EQUAL "an instruction over a missing page, at every offset", [wrongs], 0
        mov dword [wrongs], 0
        ; code falls into a missing page: the instruction before has been executed
        mov dword [0x210ffc], 0x40404040
        mov byte [0x211000], 0xc3
        HOT 40
        SETPTE 0x211000, 6
        TRY
        xor eax, eax
        mov edi, 0x210ffc
        call edi
        CAUGHT_QUIETLY
        cmp dword [exc_eax], 4
        jne .bad2
        cmp dword [exc_eip], 0x211000
        jne .bad2
        cmp dword [exc_error], NP
        je .good2
.bad2:  inc dword [wrongs]
.good2: SETPTE 0x211000, 7
        xor eax, eax
        mov edi, 0x210ffc
        call edi
        sub eax, 4
        or [wrongs], eax
        COOL
        EQUAL "falling into a missing page", [wrongs], 0
        mov dword [wrongs], 0
        ret

; ---- demand paging: a handler makes present what is missing, and the program sees nothing ----
demand:
        HOOK 14, .handler
        HOT 10
        call .forget
        mov dword [count], 0
        cld
        mov edi, WINDOW + 0x300000      ; 16 pages of it
        mov ecx, 0x4000
        mov eax, [hot]
        rep stosd
        cmp dword [count], 16
        jne .bad
        cmp edi, WINDOW + 0x310000
        jne .bad
        call .forget
        mov esi, WINDOW + 0x300000
        mov edi, WINDOW + 0x30fffe      ; overlapping reads and writes, odd
        mov ecx, 0x1000
        rep movsb
        call .forget
        xor eax, eax
        mov esi, WINDOW + 0x300000
        mov ecx, 0x3000
.sum:   add eax, [esi]
        add esi, 4
        loop .sum
        imul ebx, [hot], 0x3000
        cmp eax, ebx
        jne .bad
        ; every access of a loop faults, twice where it crosses
        mov dword [count], 0
        mov ecx, 50
        xor edx, edx
.each:  call .forget
        mov [WINDOW + 0x301ffe], ecx
        call .forget
        add edx, [WINDOW + 0x301ffe]
        call .forget
        lock add [WINDOW + 0x302ffe], edx
        call .forget
        xchg edx, [WINDOW + 0x304ffd]
        call .forget
        mov edx, [WINDOW + 0x304ffd]
        xchg edx, [WINDOW + 0x305000]
        xchg edx, [WINDOW + 0x305000]
        loop .each
        cmp dword [count], 50 * 10
        jne .bad
        cmp edx, 50 * 51 / 2
        je .good
.bad:   inc dword [wrongs]
.good:  COOL
        EQUAL "demand paging", [wrongs], 0
        mov dword [wrongs], 0
        call .forget
        call make_idt
        mov edi, PT1 + 0x300 * 4
        mov eax, 0x300007
        mov ecx, 0x20
.mend:  stosd
        add eax, 0x1000
        loop .mend
        mov eax, cr3
        mov cr3, eax
        ret
.forget:
        push edi
        push ecx
        push eax
        mov edi, PT1 + 0x300 * 4
        mov eax, 0x300006
        mov ecx, 0x20
.page:  mov [edi], eax
        add edi, 4
        add eax, 0x1000
        loop .page
        mov eax, cr3
        mov cr3, eax
        pop eax
        pop ecx
        pop edi
        ret
.handler:
        push eax
        push ecx
        inc dword [count]
        mov eax, cr2
        mov ecx, eax
        sub ecx, WINDOW
        shr ecx, 12
        or dword [PT1 + ecx * 4], 1     ; no INVLPG: what was missing is not kept
        pop ecx
        pop eax
        add esp, 4
        iretd

; ---- two address spaces, and global pages ----
spaces:
        mov dword [PAGE_A], 0xaaaaaaaa
        mov dword [PAGE_B], 0xbbbbbbbb
        mov dword [PT2 + (PAGE_A >> 12) * 4], PAGE_B + 7
        HOT 60
        mov eax, PD2
        mov cr3, eax
        mov ebx, [WINDOW + PAGE_A]
        sub ebx, 0xbbbbbbbb
        or [wrongs], ebx
        mov eax, PD
        mov cr3, eax
        mov ebx, [WINDOW + PAGE_A]
        sub ebx, 0xaaaaaaaa
        or [wrongs], ebx
        COOL
        EQUAL "two address spaces in turn", [wrongs], 0
        CR_SET cr4, CR4_PGE
        or dword PTE1(WINDOW + PAGE_A), 0x100
        HOT 60
        mov dword PTE1(WINDOW + PAGE_A), PAGE_A + 0x107
        invlpg [WINDOW + PAGE_A]
        mov ebx, [WINDOW + PAGE_A]
        sub ebx, 0xaaaaaaaa
        or [wrongs], ebx
        mov dword PTE1(WINDOW + PAGE_A), PAGE_B + 0x107
        invlpg [WINDOW + PAGE_A]
        mov ebx, [WINDOW + PAGE_A]
        sub ebx, 0xbbbbbbbb
        or [wrongs], ebx
        mov dword PTE1(WINDOW + PAGE_A), PAGE_A + 0x107
        mov eax, cr4
        xor eax, 0x80                   ; changing PGE drops global entries
        mov cr4, eax
        xor eax, 0x80
        mov cr4, eax
        mov ebx, [WINDOW + PAGE_A]
        sub ebx, 0xaaaaaaaa
        or [wrongs], ebx
        COOL
        EQUAL "global pages: invlpg and PGE drop them", [wrongs], 0
        CR_CLEAR cr4, CR4_PGE
        ret

; ---- 4 MiB pages ----
large:
        mov dword [PAGE_A], 0xaaaaaaaa
        mov dword [PD + 12], 0          ; paging is on: C0 0000h is not mapped yet
        CR_SET cr4, CR4_PSE
        HOT 20
        mov dword [PD + 12], 0x87       ; C0 0000h shows 0
        invlpg [0xc00000]
        mov eax, [0xc00000 + PAGE_A]
        sub eax, 0xaaaaaaaa
        or [wrongs], eax
        mov eax, [PD + 12]
        sub eax, 0x87 | A
        or [wrongs], eax
        mov dword [0xc00000 + PAGE_A + 0x100], 1
        mov eax, [PD + 12]
        sub eax, 0x87 | A | D
        or [wrongs], eax
        COOL
        EQUAL "a large page, A and D", [wrongs], 0
        TRY
        mov dword [PD + 12], 0x400087   ; another 4 MiB: invlpg of any address in it suffices
        invlpg [0xfff000]
        mov eax, [0xc00000 + PAGE_A]
        CAUGHT "another large page", NO_FAULT, 0
        mov dword [PD + 12], 0x83
        mov eax, cr3
        mov cr3, eax
        TRY
        RING3
        mov eax, [0xc00000 + PAGE_A]
        CAUGHT "a supervisor's large page", 14, U | P
        mov dword [PD + 12], PT0 + 0x87 ; without PSE the bit means nothing
        CR_CLEAR cr4, CR4_PSE
        mov eax, [0xc00000 + PAGE_A]
        EQUAL "without PSE it is a table", eax, 0xaaaaaaaa
        mov dword [PD + 12], 0
        ret

; ---- PAE, NX, reserved bits ----
%macro SETPAE 3                         ; address, low half, high half
        mov dword [PAEPT + ((%1) >> 12) * 8], %2
        mov dword [PAEPT + ((%1) >> 12) * 8 + 4], %3
        invlpg [%1]
%endmacro
pae:
        mov edi, PDPT
        xor eax, eax
        mov ecx, 0x4000 / 4
        cld
        rep stosd
        mov dword [PDPT], PAEPD + 1
        mov dword [PAEPD], PAEPT + 7    ; 0 .. 2 MiB by a table
        mov dword [PAEPD + 8], 0x200087 ; 2 .. 4 MiB
        mov dword [PAEPD + 16], 0x87    ; 4 .. 6 MiB: 0 again
        mov edi, PAEPT
        mov eax, 7
        mov ecx, 512
.next:  mov [edi], eax
        mov dword [edi + 4], 0
        add edi, 8
        add eax, 0x1000
        loop .next
        CR_SET cr4, CR4_PAE
        mov eax, PDPT
        mov cr3, eax
        CR_SET cr0, CR0_PG
        mov dword [0x30000], 0x90c3c3c3
        mov eax, [0x430000]
        EQUAL "a 2 MiB page", eax, 0x90c3c3c3
        mov eax, [PAEPD + 16]
        EQUAL "  A", eax, 0x87 | A
        TRY
        mov eax, [0x600000]
        CAUGHT "directory entry missing", 14, NP
        TRY
        mov eax, [0x40000000]
        CAUGHT "pointer missing", 14, NP
        mov dword [PDPT + 8], PAEPD + 1
        mov eax, cr3
        mov cr3, eax
        mov eax, [0x40030000]
        EQUAL "pointers are loaded with cr3", eax, 0x90c3c3c3
        mov dword [PDPT + 16], PAEPD + 3        ; bit 1 is reserved
        TRY
        mov eax, cr3
        mov cr3, eax
        CAUGHT "a reserved bit in a pointer", 13, 0
        mov dword [PDPT + 16], PAEPD + 2        ; not when it is not present
        TRY
        mov eax, cr3
        mov cr3, eax
        CAUGHT "  but not in one that is not present", NO_FAULT, 0
        SETPAE 0x31000, 0x31007, 0x80000000
        TRY
        mov eax, [0x31000]
        CAUGHT "bit 63 without NXE is reserved", 14, P | RSVD
        TRY
        RING3
        mov [0x31000], eax
        CAUGHT "  for a user's write too", 14, P | RSVD | W | U
        SETPAE 0x31000, 0x31007, 0x00080000
        TRY
        mov eax, [0x31000]
        CAUGHT "an address too large", 14, P | RSVD
        SETPAE 0x31000, 0x31006, 0x80080000
        TRY
        mov eax, [0x31000]
        CAUGHT "  means nothing when not present", 14, NP
        SETPAE 0x31000, 0x31007, 0
        mov eax, 0x80000001
        cpuid
        test edx, 1 << 20
        jz .no_nx
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1 << 11
        wrmsr
        mov byte [0x31000], 0xc3
        mov byte [0x31ffe], 0xb8
        mov byte [0x32000], 0xc3
        SETPAE 0x31000, 0x31007, 0x80000000
        HOT 20
        TRY
        mov edx, 0x31000
        call edx
        CAUGHT "fetch from an NX page", 14, P | I
        COOL
        CR2_IS 0x31000
        TRY
        RING3
        mov edx, 0x31000
        call edx
        CAUGHT "by a user", 14, P | U | I
        TRY
        mov eax, [0x31000]
        mov [0x31004], eax
        CAUGHT "data may be there", NO_FAULT, 0
        SETPAE 0x31000, 0x31006, 0
        TRY
        mov edx, 0x31000
        call edx
        CAUGHT "fetch from a missing page, with NXE", 14, I
        SETPAE 0x31000, 0x31007, 0
        mov byte [0x31ffe], 0xb8
        mov dword [0x31fff], 0x04030201
        mov byte [0x32003], 0xc3
        HOT 20
        SETPAE 0x32000, 0x32007, 0
        mov edx, 0x31ffe
        call edx
        SETPAE 0x32000, 0x32007, 0x80000000
        TRY
        mov edx, 0x31ffe
        call edx
        CAUGHT "an instruction whose second page is NX", 14, P | I
        mov eax, [exc_cr2]
        sub eax, 0x32000
        or [wrongs], eax
        mov eax, [exc_eip]
        sub eax, 0x31ffe
        or [wrongs], eax
        COOL
        EQUAL "  cr2 and eip each time", [wrongs], 0
        SETPAE 0x32000, 0x32007, 0
        or dword [PAEPD + 16 + 4], 0x80000000
        mov eax, cr3
        mov cr3, eax
        TRY
        mov edx, 0x430000
        call edx
        CAUGHT "a large NX page", 14, P | I
        mov dword [PAEPD + 16 + 4], 0
        mov dword [PAEPD + 16], 0x2087  ; bit 13 is reserved in a large page
        mov eax, cr3
        mov cr3, eax
        TRY
        mov eax, [0x430000]
        CAUGHT "a reserved bit in a large page", 14, P | RSVD
        mov ecx, 0xc0000080
        rdmsr
        and eax, ~(1 << 11)
        wrmsr
.no_nx: call paging_off
        CR_CLEAR cr4, CR4_PAE
        ret

        align 4096
wrongs:  dd 0
place:   dd 0
count:   dd 0
is_fstp_10: db 0
is_fnstenv: db 0
        align 4
scratch: dd 0, 0

        GUEST_END
