; SPDX-License-Identifier: MIT
;
; Instructions that a translator may answer by what they gave the last time: SYSENTER and SYSEXIT,
; INT n and IRET, loads of segment registers, CPUID. Each is done until it is hot, then something
; changes that it hangs on (an MSR, a control register, a descriptor, a gate, the TSS, GDTR or IDTR,
; the pages of tables or of the kernel's code), and the very next one must give the new result; then
; it changes back.

%define ROUNDS 100
%include "guest.inc"
%include "pages.inc"

PD      equ 0x100000
PT0     equ 0x101000                    ; 0 .. 4 MiB, identity
PD2     equ 0x102000                    ; another space, where three pages are others
PT2     equ 0x103000
GDT_PAGE   equ (gdt - $$ + BASE) & ~0xfff
GDT_COPY   equ 0x200000
ENTRY_COPY equ 0x201000
CELL       equ 0x202000                 ; ring 3 reads this: 1, in the other space 2
CELL_COPY  equ 0x203000
CELL_BYTES equ 0x204000                 ; what FS and ES are loaded for: 11h, 22h, 33h at 0, 16, 32

IDT_COPY   equ 0x205000                 ; two tables whose INT 81h leads elsewhere, for one address
IDT_OTHER  equ 0x206000
TSS_COPY   equ 0x207000

; A second set of what SYSENTER and SYSEXIT use.
CODE0B  equ FREE
DATA0B  equ FREE + 8
CODE3B  equ (FREE + 16) | 3
DATA3B  equ (FREE + 24) | 3
SEG_A   equ FREE + 32
SEG_B   equ FREE + 40
TSS_B   equ FREE + 48

MSR_SYSENTER_CS  equ 0x174
MSR_SYSENTER_ESP equ 0x175
MSR_SYSENTER_EIP equ 0x176
MSR_MISC_ENABLE  equ 0x1a0
LIMIT_CPUID      equ 1 << 22
MSR_EFER         equ 0xc0000080


SERVICE equ 0x81                        ; INT n, apart from LEAVE_VECTOR in tables of few vectors
GATE81  equ idt + SERVICE * 8
ERROR81 equ SERVICE * 8 + 2             ; the gate, in error codes
SP0     equ STACK0 - 0x800              ; ESP in the TSS

ASKED   equ 40                          ; times until it is hot

%define ENTRY_PAGE    (entry - $$ + BASE)
%define PTE2(address) [PT2 + ((address) >> 12) * 4]

; WRITE_MSR number, lower half
%macro WRITE_MSR 2
        mov ecx, %1
        mov eax, %2
        xor edx, edx
        wrmsr
%endmacro

; ASK times: in ring 3, by SYSENTER
%macro ASK 1
        mov dword [turns], %1
        call ask
%endmacro

; SERVED "name", how often, adding what, in which CS
%macro SERVED 4
        EQUAL %1, [served], (%2) * (%3)
        EQUAL "  cs", [seen_cs], %4
        mov dword [served], 0
%endmacro

main:
        DESC CODE0B, 0, 0xfffff, 0x9b, 0xc
        DESC DATA0B, 0, 0xfffff, 0x93, 0xc
        DESC CODE3B & ~3, 0, 0xfffff, 0xfb, 0xc
        DESC DATA3B & ~3, 0, 0xfffff, 0xf3, 0xc
        call make_pages
        mov dword [service], serve
        mov dword [served], 0
        WRITE_MSR MSR_SYSENTER_CS, CODE0
        WRITE_MSR MSR_SYSENTER_ESP, STACK0 - 0x400
        WRITE_MSR MSR_SYSENTER_EIP, entry
        call ring_msrs
        call ring_spaces
        call ring_control
        call gates
        call gate_tables
        call returns
        call returns_within
        call segment_descriptors
        call segment_tables
        call segment_pages
        call cpuid_changes
        jmp paging_off

; Paging on. The other space has another GDT, another kernel entry and another cell.
make_pages:
        mov edi, PT0
        call map_4_mib
        mov edi, PT2
        call map_4_mib
        mov dword [PD], PT0 + 7
        mov dword [PD2], PT2 + 7
        mov esi, GDT_PAGE
        mov edi, GDT_COPY
        mov ecx, 1024
        cld
        rep movsd
        mov esi, entry
        mov edi, ENTRY_COPY
        mov ecx, 1024
        rep movsd
        mov dword [ENTRY_COPY + entry.adds - entry], 0x10000
        mov dword [CELL], 1
        mov dword [CELL_COPY], 2
        mov dword [CELL_BYTES], 0x11
        mov dword [CELL_BYTES + 16], 0x22
        mov dword [CELL_BYTES + 32], 0x33
        mov dword PTE2(CELL), CELL_COPY + 7
        mov dword PTE2(ENTRY_PAGE), ENTRY_COPY + 7
        mov eax, PD
        jmp paging_on

; The image is alike in both spaces and global, so that its code stays known when CR3 changes.
make_code_global:
        mov edi, BASE >> 12
.next:  or dword [PT0 + edi * 4], G
        or dword [PT2 + edi * 4], G
        inc edi
        cmp edi, (BASE >> 12) + 16
        jb .next
        CR_SET cr4, CR4_PGE
        ret

; ---- SYSENTER and SYSEXIT ----

; Ring 3 asks [turns] times; [user_cs] is its CS afterwards, [wrongs] how often the cell was not
; what [expected] says.
ask:    TRY
        RING3
.again: mov ecx, esp
        mov edx, .back
        sysenter
.back:  mov eax, [CELL]
        cmp eax, [expected]
        je .right
        inc dword [wrongs]
.right: dec dword [turns]
        jnz .again
        mov [user_cs], cs
        CAUGHT_QUIETLY
        ret

ring_msrs:
        ASK ASKED
        SERVED "sysenter", ASKED, 1, CODE0
        EQUAL "sysexit", [user_cs], CODE3
        EQUAL "  esp", [seen_esp], STACK0 - 0x400
        WRITE_MSR MSR_SYSENTER_CS, CODE0B
        ASK 1
        SERVED "with another SYSENTER_CS", 1, 1, CODE0B
        EQUAL "  back in ring 3", [user_cs], CODE3B
        ASK ASKED
        SERVED "  again and again", ASKED, 1, CODE0B
        WRITE_MSR MSR_SYSENTER_CS, CODE0
        ASK 1
        SERVED "with the first one", 1, 1, CODE0
        EQUAL "  back in ring 3", [user_cs], CODE3
        mov dword [service], serve_elsewhere
        ASK 1
        EQUAL "SYSENTER_CS changed before sysexit", [user_cs], CODE3B
        WRITE_MSR MSR_SYSENTER_CS, CODE0
        mov dword [service], serve
        mov dword [served], 0
        ASK ASKED
        WRITE_MSR MSR_SYSENTER_CS, 0
        ASK 1
        EQUAL "null SYSENTER_CS", [exc_vector], 13
        EQUAL "  nobody served", [served], ASKED
        mov dword [served], 0
        WRITE_MSR MSR_SYSENTER_CS, CODE0
        ASK ASKED
        WRITE_MSR MSR_SYSENTER_ESP, STACK0 - 0x420
        WRITE_MSR MSR_SYSENTER_EIP, entry_twice
        ASK 1
        SERVED "with another SYSENTER_EIP", ASKED + 2, 1, CODE0
        EQUAL "  and SYSENTER_ESP", [seen_esp], STACK0 - 0x420
        WRITE_MSR MSR_SYSENTER_ESP, STACK0 - 0x400
        WRITE_MSR MSR_SYSENTER_EIP, entry
        ASK 1
        SERVED "with the first ones", 1, 1, CODE0
        ret

; Where the entry's page and the cell lead.
ring_spaces:
        ASK ASKED
        mov dword [expected], 2
        mov eax, PD2
        mov cr3, eax
        ASK 1
        SERVED "kernel code of another space", ASKED + 0x10000, 1, CODE0
        ASK ASKED
        SERVED "  again and again", ASKED, 0x10000, CODE0
        mov dword [expected], 1
        mov eax, PD
        mov cr3, eax
        ASK 1
        SERVED "kernel code of the first space", 1, 1, CODE0
        ASK ASKED
        mov dword PTE(ENTRY_PAGE), ENTRY_COPY + 7
        invlpg [entry]
        ASK 1
        SERVED "kernel code remapped", ASKED + 0x10000, 1, CODE0
        mov dword PTE(ENTRY_PAGE), entry + 7
        invlpg [entry]
        ASK 1
        SERVED "and mapped back", 1, 1, CODE0
        ASK ASKED
        mov dword PTE(CELL), CELL_COPY + 7
        invlpg [CELL]
        mov dword [expected], 2
        ASK ASKED
        mov dword PTE(CELL), CELL + 7
        invlpg [CELL]
        mov dword [expected], 1
        mov dword [service], serve_switch
        ASK ASKED * 2
        EQUAL "ring 3 sees the cell of its space", [wrongs], 0
        mov dword [wrongs], 0
        mov dword PTE2(ENTRY_PAGE), entry + 7
        call make_code_global
        ASK ASKED * 2
        EQUAL "  and with a global kernel", [wrongs], 0
        mov dword [wrongs], 0
        CR_CLEAR cr4, CR4_PGE
        mov dword PTE2(ENTRY_PAGE), ENTRY_COPY + 7
        mov dword [service], serve
        mov dword [expected], 1
        mov dword [served], 0
        mov eax, PD
        mov cr3, eax
        ret

ring_control:
        ASK ASKED
        mov dword [service], serve_ts
        TRY
        RING3
        mov ecx, esp
        mov edx, .back
        sysenter
.back:  fnop
        CAUGHT_QUIETLY
        clts
        mov dword [service], serve
        EQUAL "CR0.TS set before sysexit", [exc_vector], 7
        ASK ASKED
        mov dword [service], serve_umip
        TRY
        RING3
        mov ecx, esp
        mov edx, .back1
        sysenter
.back1: sgdt [got]
        CAUGHT_QUIETLY
        mov dword [service], serve
        CR_CLEAR cr4, CR4_UMIP
        EQUAL "CR4.UMIP set before sysexit", [exc_vector], 13
        mov ecx, MSR_EFER
        rdmsr
        xor eax, 1                      ; SCE
        wrmsr
        mov dword [served], 0
        ASK 1
        SERVED "EFER.SCE changed", 1, 1, CODE0
        ; SMAP: the CPU's own accesses need pages of ring 0
        ASK ASKED
        mov edi, GDT_PAGE
.next:  mov eax, edi
        shr eax, 12
        and dword [PT0 + eax * 4], ~U
        invlpg [edi]
        add edi, 0x1000
        cmp edi, tss + 0x68
        jb .next
        and dword PTE(STACK0 - 0x1000), ~U
        invlpg [STACK0 - 0x1000]
        ASK ASKED
        TRY
        CR_SET cr4, CR4_SMAP
        RING3
        mov ecx, esp
        mov edx, .back2
        sysenter
.back2: CAUGHT_QUIETLY
        CR_CLEAR cr4, CR4_SMAP
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        EQUAL "the kernel writes to a user page with SMAP", [exc_vector], 14
        EQUAL "  error", [exc_error], P | W
        mov dword [served], 0
        ASK 1
        SERVED "and without", 1, 1, CODE0
        mov eax, PD
        mov cr3, eax
        ret

; ---- INT n and IRET ----

; INT 81h leads to a label in CODE0, open to ring 3.
%macro SERVICE_AT 1
        HOOK SERVICE, %1
        mov word [GATE81 + 2], CODE0
        mov byte [GATE81 + 5], 0xee
%endmacro

; ASK_INT times: in ring 3, by INT n
%macro ASK_INT 1
        mov dword [turns], %1
        call ask_int
%endmacro

; As `ask`.
ask_int:
        TRY
        RING3
.again: int SERVICE
        mov eax, [CELL]
        cmp eax, [expected]
        je .right
        inc dword [wrongs]
.right: dec dword [turns]
        jnz .again
        mov [user_cs], cs
        mov [user_ds], ds
        CAUGHT_QUIETLY
        ret

%macro FAULTED 3
        EQUAL %1, [exc_vector], %2
        EQUAL "  error", [exc_error], %3
%endmacro

gates:  SERVICE_AT int_serve
        ASK_INT ASKED
        SERVED "int 81h", ASKED, 1, CODE0
        EQUAL "  esp", [seen_esp], SP0 - 20
        SERVICE_AT int_serve_twice
        ASK_INT 1
        SERVED "another offset in the gate", 1, 2, CODE0
        SERVICE_AT int_serve
        ASK_INT 1
        SERVED "the first one", 1, 1, CODE0
        mov word [GATE81 + 2], CODE0B
        ASK_INT 1
        SERVED "another code segment", 1, 1, CODE0B
        ASK_INT ASKED
        SERVED "  again and again", ASKED, 1, CODE0B
        and byte [gdt + CODE0B + 5], 0x7f
        ASK_INT 1
        FAULTED "  which is not present", 11, CODE0B
        or byte [gdt + CODE0B + 5], 0x80
        ASK_INT 1
        SERVED "  which is again", 1, 1, CODE0B
        SERVICE_AT int_serve
        ASK_INT ASKED
        mov byte [GATE81 + 5], 0x8e
        ASK_INT 1
        FAULTED "a gate for ring 0", 13, ERROR81
        mov byte [GATE81 + 5], 0x6e
        ASK_INT 1
        FAULTED "a gate that is not present", 11, ERROR81
        SERVICE_AT int_serve
        ASK_INT ASKED
        mov dword [tss + 4], SP0 - 0x40
        ASK_INT 1
        EQUAL "another ESP0", [seen_esp], SP0 - 0x40 - 20
        mov dword [tss + 4], SP0
        mov dword [tss + 8], DATA0B
        ASK_INT 1
        EQUAL "another SS0", [seen_ss], DATA0B
        mov dword [tss + 8], DATA0
        ASK_INT 1
        EQUAL "the first SS0", [seen_ss], DATA0
        mov dword [served], 0
        ret

; IDTR, the IDT's page, TR, and spaces.
gate_tables:
        mov esi, idt
        mov edi, IDT_COPY
        mov ecx, 512
        cld
        rep movsd
        mov esi, IDT_COPY
        mov edi, IDT_OTHER
        mov ecx, 512
        rep movsd
        mov word [IDT_COPY + SERVICE * 8], (int_serve_twice - $$ + BASE) & 0xffff
        mov word [IDT_OTHER + SERVICE * 8], (int_serve_thrice - $$ + BASE) & 0xffff
        ASK_INT ASKED
        lidt [idt_copy_pointer]
        ASK_INT 1
        SERVED "int 81h after lidt", ASKED + 2, 1, CODE0
        ASK_INT ASKED
        mov dword [served], 0
        mov dword PTE(IDT_COPY), IDT_OTHER + 7
        invlpg [IDT_COPY]
        ASK_INT 1
        SERVED "the IDT's page remapped", 1, 3, CODE0
        mov dword PTE(IDT_COPY), IDT_COPY + 7
        invlpg [IDT_COPY]
        ASK_INT 1
        SERVED "  and mapped back", 1, 2, CODE0
        lidt [idt_pointer]
        ASK_INT 1
        SERVED "lidt back", 1, 1, CODE0
        ASK_INT ASKED
        mov esi, tss
        mov edi, TSS_COPY
        mov ecx, 0x68 / 4
        rep movsd
        mov dword [TSS_COPY + 4], SP0 - 0x80
        DESC TSS_B, TSS_COPY, 0x67, 0x89, 0
        mov ax, TSS_B
        ltr ax
        ASK_INT 1
        EQUAL "another TSS", [seen_esp], SP0 - 0x80 - 20
        mov byte [gdt + TSS0 + 5], 0x89
        mov ax, TSS0
        ltr ax
        ASK_INT 1
        EQUAL "the first TSS", [seen_esp], SP0 - 20
        SERVICE_AT int_switch
        ASK_INT ASKED * 2
        EQUAL "ring 3 sees the cell of its space", [wrongs], 0
        mov dword [expected], 1
        mov dword [wrongs], 0
        mov eax, PD
        mov cr3, eax
        SERVICE_AT int_serve
        ASK_INT ASKED
        SERVICE_AT int_umip
        TRY
        RING3
        int SERVICE
        sgdt [got]
        CAUGHT_QUIETLY
        CR_CLEAR cr4, CR4_UMIP
        EQUAL "CR4.UMIP set before iret", [exc_vector], 13
        SERVICE_AT int_serve
        mov dword [served], 0
        ret

; What IRET finds when it goes back to ring 3.
returns:
        ASK_INT ASKED
        EQUAL "ds kept", [user_ds], DATA3
        SERVICE_AT int_ds0
        mov dword [user_ds], 0xffff
        TRY
        RING3
        int SERVICE
        mov ax, ds
        mov bx, DATA3
        mov ds, bx
        mov [user_ds], ax
        CAUGHT_QUIETLY
        movzx eax, word [user_ds]
        EQUAL "ds of ring 0 lost", eax, 0
        SERVICE_AT int_serve
        ASK_INT ASKED
        SERVICE_AT int_cs_absent
        ASK_INT 1
        or byte [gdt + (CODE3 & ~3) + 5], 0x80
        FAULTED "cs not present", 11, CODE3 & ~3
        SERVICE_AT int_ss_ring0
        ASK_INT 1
        mov byte [gdt + (DATA3 & ~3) + 5], 0xf3
        FAULTED "ss of ring 0", 13, DATA3 & ~3
        SERVICE_AT int_serve
        ASK_INT ASKED
        SERVICE_AT int_cs_other
        ASK_INT 1
        EQUAL "another cs", [user_cs], CODE3B
        SERVICE_AT int_null_ss
        ASK_INT 1
        FAULTED "null ss", 13, 0
        SERVICE_AT int_flags
        ASK_INT 1
        TRY
        RING3
        int SERVICE
        pushfd
        pop dword [got]
        CAUGHT_QUIETLY
        push dword 2
        popfd
        EQUAL "flags", [got], 0x478d7
        SERVICE_AT int_serve
        mov dword [served], 0
        ret

; IRET within ring 0.
iret_here:
        pushfd
        push cs
        push dword .back
        iretd
.back:  ret

returns_within:
        mov dword [turns], ASKED
.hot:   call iret_here
        dec dword [turns]
        jnz .hot
        jmp CODE0B:.other
.other: mov dword [turns], ASKED
.hot2:  call iret_here
        dec dword [turns]
        jnz .hot2
        mov eax, cs
        mov [seen_cs], eax
        TRY
        and byte [gdt + CODE0B + 5], 0x7f
        call iret_here
        CAUGHT_QUIETLY
        or byte [gdt + CODE0B + 5], 0x80
        EQUAL "iret within ring 0", [seen_cs], CODE0B
        FAULTED "  to a segment that is not present", 11, CODE0B
        ret

; ---- loads of segment registers ----

; FS from [selector]; EAX from its start. ES likewise.
load_fs:
        mov fs, [selector]
        mov eax, [fs:0]
        ret
load_es:
        mov es, [selector]
        mov eax, [es:0]
        push ds
        pop es
        ret

; LOADS "name", function, value: hot, then once more
%macro LOADS 3
        mov dword [turns], ASKED
%%again:
        call %2
        dec dword [turns]
        jnz %%again
        EQUAL %1, eax, %3
%endmacro
; ONCE "name", function, value
%macro ONCE 3
        call %2
        EQUAL %1, eax, %3
%endmacro

segment_descriptors:
        DESC SEG_A, CELL_BYTES, 0xfffff, 0xf3, 0xc
        DESC SEG_B, CELL_BYTES + 16, 0xfffff, 0xf3, 0xc
        mov dword [selector], SEG_A
        LOADS "fs", load_fs, 0x11
        LOADS "es", load_es, 0x11
        DESC SEG_A, CELL_BYTES + 16, 0xfffff, 0xf3, 0xc
        ONCE "fs, other base", load_fs, 0x22
        ONCE "es, other base", load_es, 0x22
        LOADS "fs", load_fs, 0x22
        DESC SEG_A, CELL_BYTES + 32, 0xfffff, 0xf2, 0xc
        ONCE "fs, not accessed", load_fs, 0x33
        movzx eax, byte [gdt + SEG_A + 5]
        EQUAL "  accessed now", eax, 0xf3
        LOADS "fs", load_fs, 0x33
        mov byte [gdt + SEG_A + 5], 0x73
        TRY
        call load_fs
        CAUGHT "fs, not present", 11, SEG_A
        DESC SEG_A, CELL_BYTES, 0xfffff, 0x93, 0xc
        LOADS "fs, DPL 0", load_fs, 0x11
        TRY
        RING3
        call load_fs
        CAUGHT "  loaded by ring 3", 13, SEG_A
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        ONCE "  by ring 0 again", load_fs, 0x11
        DESC SEG_A, CELL_BYTES, 3, 0xf3, 0x4
        LOADS "fs of 4 bytes", load_fs, 0x11
        DESC SEG_A, CELL_BYTES, 2, 0xf3, 0x4
        TRY
        call load_fs
        CAUGHT "fs of 3 bytes", 13, 0
        ret

segment_tables:
        DESC SEG_A, CELL_BYTES, 0xfffff, 0xf3, 0xc
        mov dword [selector], SEG_A
        LOADS "fs", load_fs, 0x11
        mov eax, [gdt + SEG_B]          ; the copy's SEG_A is the table's SEG_B
        mov edx, [gdt + SEG_B + 4]
        mov [GDT_COPY + (gdt - $$ + BASE - GDT_PAGE) + SEG_A], eax
        mov [GDT_COPY + (gdt - $$ + BASE - GDT_PAGE) + SEG_A + 4], edx
        lgdt [copy_pointer]
        ONCE "fs after lgdt", load_fs, 0x22
        LOADS "  again and again", load_fs, 0x22
        lgdt [gdt_pointer]
        ONCE "fs after lgdt back", load_fs, 0x11
        mov dword [selector], SEG_B
        LOADS "fs, the table's last", load_fs, 0x22
        lgdt [short_pointer]
        mov dword [selector], SEG_A
        LOADS "fs in a shorter table", load_fs, 0x11
        mov dword [selector], SEG_B
        TRY
        call load_fs
        CAUGHT "fs beyond its end", 13, SEG_B
        lgdt [gdt_pointer]
        mov dword [selector], SEG_A
        ret

segment_pages:
        LOADS "fs", load_fs, 0x11
        mov dword PTE(GDT_PAGE), GDT_COPY + 7
        invlpg [GDT_PAGE]
        call load_fs                    ; what checks count is in the same page: they wait
        mov [got], eax
        mov dword PTE(GDT_PAGE), GDT_PAGE + 7
        invlpg [GDT_PAGE]
        EQUAL "fs, the GDT's page remapped", [got], 0x22
        ONCE "  and mapped back", load_fs, 0x11
        LOADS "fs", load_fs, 0x11
        mov dword PTE2(GDT_PAGE), GDT_COPY + 7
        CR_SET cr4, CR4_PGE             ; without it CR3 flushes everything
        call switch_and_load
        ONCE "fs in the first space", load_fs, 0x11
        call make_code_global           ; the next load is by the same translation
        and dword PTE(GDT_PAGE), ~G
        and dword PTE2(GDT_PAGE), ~G
        mov eax, PD
        mov cr3, eax
        call switch_and_load
        CR_CLEAR cr4, CR4_PGE
        mov dword PTE2(GDT_PAGE), GDT_PAGE + 7
        ret

switch_and_load:
        ONCE "fs", load_fs, 0x11
        mov eax, PD2
        mov cr3, eax
        call load_fs
        mov ebx, PD
        mov cr3, ebx
        EQUAL "fs in another space", eax, 0x22
        ret

; ---- CPUID ----

; LEAF leaf, subleaf
%macro LEAF 2
        mov eax, %1
        mov ecx, %2
        call do_cpuid
%endmacro
do_cpuid:
        cpuid
        ret

cpuid_changes:
        mov dword [turns], ASKED
.hot:   LEAF 1, 0
        shr ecx, 27
        and ecx, 1
        mov [got], ecx
        LEAF 4, 0
        mov [got + 4], eax
        LEAF 0, 0
        mov [leaves], eax
        dec dword [turns]
        jnz .hot
        EQUAL "OSXSAVE", [got], 0
        CR_SET cr4, CR4_OSXSAVE
        LEAF 1, 0
        shr ecx, 27
        and ecx, 1
        EQUAL "  set", ecx, 1
        LEAF 4, 1                       ; the code cache
        and eax, 0x1f
        EQUAL "leaf 4, the next subleaf", eax, 2
        mov dword [turns], ASKED
.hot2:  LEAF 0xd, 0
        mov [got], ebx
        dec dword [turns]
        jnz .hot2
        EQUAL "bytes for XSAVE", [got], 576
        xor ecx, ecx
        mov eax, 7
        xor edx, edx
        xsetbv
        LEAF 0xd, 0
        EQUAL "  with AVX", ebx, 832
        xor ecx, ecx
        mov eax, 1
        xor edx, edx
        xsetbv
        LEAF 0xd, 0
        EQUAL "  without", ebx, 576
        CR_CLEAR cr4, CR4_OSXSAVE
        LEAF 1, 0
        shr ecx, 27
        and ecx, 1
        EQUAL "OSXSAVE cleared", ecx, 0
        mov ecx, MSR_MISC_ENABLE
        rdmsr
        or eax, LIMIT_CPUID
        wrmsr
        LEAF 0, 0
        mov [got], eax
        mov ecx, MSR_MISC_ENABLE
        rdmsr
        and eax, ~LIMIT_CPUID
        wrmsr
        cmp dword [got], 4
        setb al
        movzx eax, al
        EQUAL "few leaves by an MSR", eax, 1
        LEAF 0, 0
        EQUAL "  and all again", eax, [leaves]
        ret

; ---- the kernel ----

; Behind SYSENTER: what ECX and EDX say is for SYSEXIT.
        align 4096
entry:  add dword [served], strict dword 1
.adds   equ $ - 4
        jmp [service]
entry_end:
        times 4096 - (entry_end - entry) db 0xcc

entry_twice:
        add dword [served], 2
        jmp [service]
serve:  mov [seen_cs], cs
        mov [seen_esp], esp
        sysexit
; Behind INT 81h.
int_serve_thrice:
        inc dword [served]
int_serve_twice:
        inc dword [served]
int_serve:
        inc dword [served]
        mov [seen_cs], cs
        mov [seen_ss], ss
        mov [seen_esp], esp
        iretd
int_switch:
        xor dword [expected], 3
        mov eax, cr3
        xor eax, PD ^ PD2
        mov cr3, eax
        iretd
int_umip:
        CR_SET cr4, CR4_UMIP
        iretd
int_ds0:
        mov ax, DATA0
        mov ds, ax
        iretd
int_cs_absent:
        and byte [gdt + (CODE3 & ~3) + 5], 0x7f
        iretd
int_ss_ring0:
        mov byte [gdt + (DATA3 & ~3) + 5], 0x93
        iretd
int_cs_other:
        mov dword [esp + 4], CODE3B
        iretd
int_null_ss:
        mov dword [esp + 16], 0
        iretd
int_flags:
        or dword [esp + 8], 0x478d5     ; all arithmetic flags, NT, IOPL 3 and AC
        iretd
serve_elsewhere:
        push ecx
        push edx
        WRITE_MSR MSR_SYSENTER_CS, CODE0B
        pop edx
        pop ecx
        sysexit
serve_ts:
        CR_SET cr0, CR0_TS
        sysexit
serve_umip:
        CR_SET cr4, CR4_UMIP
        sysexit
; To the other space, which ring 3 then has.
serve_switch:
        xor dword [expected], 3
        mov eax, cr3
        xor eax, PD ^ PD2
        mov cr3, eax
        sysexit

        align 4096                      ; data that ring 3 has too
turns:    dd 0
served:   dd 0
service:  dd 0
seen_cs:  dd 0
seen_ss:  dd 0
seen_esp: dd 0
user_cs:  dd 0
user_ds:  dd 0
expected: dd 1
wrongs:   dd 0
selector: dd 0
leaves:   dd 0
got:      dd 0, 0
copy_pointer:
        dw gdt_end - gdt - 1
        dd GDT_COPY + (gdt - $$ + BASE - GDT_PAGE)
idt_copy_pointer:
        dw 256 * 8 - 1
        dd IDT_COPY
short_pointer:
        dw SEG_B - 1
        dd gdt

        GUEST_END
