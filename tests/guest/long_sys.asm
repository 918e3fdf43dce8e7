; SPDX-License-Identifier: MIT
;
; What came to the system part of the architecture with long mode and after it: SYSENTER and SYSEXIT
; in every mode, CR8, RDTSCP and RDPID, FSGSBASE, UMIP, SMEP, SMAP, PCID and INVPCID, XSAVE and its
; relatives. What CPUID does not show is left out.

%include "guest.inc"
%include "long.inc"

MSR_SYSENTER_CS  equ 0x174
MSR_SYSENTER_ESP equ 0x175
MSR_SYSENTER_EIP equ 0x176
MSR_TSC_AUX      equ 0xc0000103


USERPAGE equ 0x30000                    ; where ring 0 has no business
OTHER    equ 0x31000
XAREA    equ 0x32000
MOVED    equ 0x34000                    ; its page table entry changes
HIGH     equ 0xffff800000000000         ; the same memory once more

; IF_HAVE word, bit ... END_HAVE: only when that bit of CPUID is there (the words of have_*)
%macro IF_HAVE 2
        %push have
        test dword [%1], 1 << (%2)
        jz near %$end
%endmacro
%macro END_HAVE 0
%$end:
        %pop
%endmacro

; CALL_IF word, bit, routine
%macro CALL_IF 3
        IF_HAVE %1, %2
        call %3
        END_HAVE
%endmacro

; In 64-bit code
%macro SET_CR4 1
        mov rax, %1
        mov cr4, rax
%endmacro
%define CR4_USUAL (CR4_PAE | CR4_OSFXSR)

main:
        call ask_cpuid
        CALL_IF have_1_edx, 11, legacy_sysenter
        call prepare_long
        jz .has
        ret                             ; a CPU without long mode
.has:   mov eax, CR4_PAE | CR4_OSFXSR
        call long_paging
        lidt [idt64_pointer]
        jmp dword CODE64:.in64
        bits 64
.in64:  LONG_SEGMENTS
        mov ax, DATA0
        mov ds, ax
        mov es, ax
        mov ss, ax
        CALL_IF have_1_edx, 11, long_sysenter
        CALL_IF have_1_edx, 9, task_priority
        call time_stamps
        CALL_IF have_7_ebx, 0, bases
        CALL_IF have_7_ecx, 2, user_tables
        call make_ours
        CALL_IF have_7_ebx, 7, smep
        CALL_IF have_7_ebx, 20, smap
        call make_everybodys
        CALL_IF have_1_ecx, 17, pcid
        CALL_IF have_7_ebx, 10, invpcid_types
        CALL_IF have_1_ecx, 26, xsave_family
        TO_COMPATIBILITY
        jmp legacy_again

ask_cpuid:
        mov eax, 1
        cpuid
        mov [have_1_ecx], ecx
        mov [have_1_edx], edx
        xor eax, eax
        cpuid
        xor ebx, ebx
        cmp eax, 7
        jb .seven
        mov eax, 7
        xor ecx, ecx
        cpuid
        mov [have_7_ecx], ecx
.seven: mov [have_7_ebx], ebx
        mov eax, 0x80000001
        cpuid
        mov [have_81_edx], edx
        xor eax, eax
        test dword [have_1_ecx], 1 << 26
        jz .end
        mov eax, 0xd
        mov ecx, 1
        cpuid
.end:   mov [have_d1_eax], eax
        ret

; ---- SYSENTER and SYSEXIT: segments follow one another from SYSENTER_CS, whatever the GDT says ----

legacy_sysenter:
        SETMSR MSR_SYSENTER_CS, 0
        TRY
        RING3
        sysenter
        CAUGHT "sysenter without segments", 13, 0
        TRY
        sysexit
        CAUGHT "sysexit without segments", 13, 0
        SETMSR MSR_SYSENTER_CS, CODE0
        SETMSR MSR_SYSENTER_ESP, STACK0 - 0x800
        mov ecx, MSR_SYSENTER_EIP
        mov eax, entry32
        xor edx, edx
        wrmsr
        TRY
        push dword 0x3202               ; IF, IOPL 3
        popfd
        RING3
        mov esi, .back
        mov edi, STACK3 - 0x100
        sysenter
.back:  mov eax, cs
        mov [seen + 16], eax
        mov eax, ss
        mov [seen + 20], eax
        mov [seen + 24], esp
        CAUGHT "sysenter and sysexit", NO_FAULT, 0
        EQUAL "  cs", [seen], CODE0
        EQUAL "  ss", [seen + 4], CODE0 + 8
        EQUAL "  esp", [seen + 8], STACK0 - 0x800
        EQUAL "  IF is clear", [seen + 12], 0x3002
        EQUAL "  cs afterwards", [seen + 16], (CODE0 + 16) | 3
        EQUAL "  ss", [seen + 20], (CODE0 + 24) | 3
        EQUAL "  esp", [seen + 24], STACK3 - 0x100
        push dword 2
        popfd
        TRY
        RING3
        sysexit
        CAUGHT "sysexit in ring 3", 13, 0
        ret

; Notes what it finds and goes back to ESI with the stack EDI.
entry32:
        mov [seen + 8], esp
        pushfd
        pop dword [seen + 12]
        mov eax, cs
        mov [seen], eax
        mov eax, ss
        mov [seen + 4], eax
        mov edx, esi
        mov ecx, edi
        sysexit

        bits 64
long_sysenter:
        SETMSR MSR_SYSENTER_CS, CODE0
        mov rax, HIGH + RSP0
        mov rdx, rax
        shr rdx, 32
        mov ecx, MSR_SYSENTER_ESP
        wrmsr
        mov rax, HIGH + entry64
        mov rdx, rax
        shr rdx, 32
        mov ecx, MSR_SYSENTER_EIP
        wrmsr
        TRY64
        SETMSR MSR_SYSENTER_EIP, 0x0000800000000000
        CAUGHT64 "sysenter_eip must be canonical", 13, 0
        TRY64
        USER64_ON
        lea rsi, [rel .back]
        mov rdi, USERSP - 0x100
        xor ebx, ebx                    ; back to 64-bit code
        sysenter
.back:  mov rax, cs
        mov [seen + 32], rax
        mov rax, ss
        mov [seen + 40], rax
        mov [seen + 48], rsp
        CAUGHT64 "sysenter and sysexit, 64 bits", NO_FAULT, 0
        EQUAL64 "  cs", [seen], CODE0
        EQUAL64 "  ss", [seen + 8], CODE0 + 8
        EQUAL64 "  rsp has 64 bits", [seen + 16], HIGH + RSP0
        EQUAL64 "  so has rip", [seen + 24], HIGH + entry64
        EQUAL64 "  cs afterwards", [seen + 32], (CODE0 + 32) | 3
        EQUAL64 "  ss", [seen + 40], (CODE0 + 40) | 3
        EQUAL64 "  rsp", [seen + 48], USERSP - 0x100
        TRY64
        mov rax, HIGH + RSP0
        mov rsp, rax
        push qword USERSS               ; to compatibility mode ...
        push qword USERSP
        push qword 2
        push qword USER32
        lea rax, [rel .compat]
        push rax
        iretq
        bits 32
.compat:
        mov eax, USERSS
        mov ds, ax
        mov esi, .back32
        mov edi, USERSP - 0x200
        mov ebx, 1                      ; ... and back there
        sysenter
.back32:
        mov eax, -1
        db 0x40                         ; inc eax, or a REX
        nop
        mov [seen + 32], eax
        mov eax, cs
        mov [seen + 36], eax
        int LEAVE_VECTOR
        bits 64
        CAUGHT64 "sysenter from compatibility mode", NO_FAULT, 0
        EQUAL64 "  enters 64-bit code", [seen + 24], HIGH + entry64
        mov eax, [seen + 32]
        EQUAL64 "  returns to 32-bit code", rax, 0
        mov eax, [seen + 36]
        EQUAL64 "  cs afterwards", rax, (CODE0 + 16) | 3
        TRY64
        mov rdx, 0x0000800000000000
        mov rcx, USERSP
        o64 sysexit
        CAUGHT64 "sysexit to nowhere", 13, 0
        mov ax, DATA0
        mov ss, ax
        ret

; Notes what it finds and goes back to RSI with the stack RDI, of 64 bits when EBX is 0.
entry64:
        mov [seen + 16], rsp
        mov rax, cs
        mov [seen], rax
        mov rax, ss
        mov [seen + 8], rax
        lea rax, [rel entry64]
        mov [seen + 24], rax
        mov rdx, rsi
        mov rcx, rdi
        test ebx, ebx
        jnz .compat
        o64 sysexit
.compat:
        sysexit

; ---- CR8 ----

task_priority:
        mov rax, 5
        mov cr8, rax
        xor eax, eax
        mov rax, cr8
        EQUAL64 "cr8", rax, 5
        TRY64
        mov rax, 16
        mov cr8, rax
        CAUGHT64 "cr8 has four bits", 13, 0
        TRY64
        USER64_ON
        mov rax, cr8
        CAUGHT64 "cr8 in ring 3", 13, 0
        xor eax, eax
        mov cr8, rax
        mov ax, DATA0
        mov ss, ax
        ret

; ---- RDTSCP, RDPID ----

time_stamps:
        IF_HAVE have_81_edx, 27
        SETMSR MSR_TSC_AUX, 0x87654321
        rdtsc
        shl rdx, 32
        or rax, rdx
        mov rbx, rax
        mov rcx, -1
        rdtscp
        shl rdx, 32
        or rax, rdx
        cmp rax, rbx
        setae bl
        movzx r12d, bl
        mov r13, rcx
        EQUAL64 "rdtscp comes after rdtsc", r12, 1
        EQUAL64 "  rcx is TSC_AUX", r13, 0x87654321
        IF_HAVE have_7_ecx, 22
        rdpid r12
        EQUAL64 "rdpid", r12, 0x87654321
        END_HAVE
        SET_CR4 CR4_USUAL | CR4_TSD
        TRY64
        USER64_ON
        rdtscp
        CAUGHT64 "rdtscp in ring 3 with TSD", 13, 0
        SET_CR4 CR4_USUAL
        END_HAVE
        mov ax, DATA0
        mov ss, ax
        ret

; ---- FSGSBASE ----

bases:
        TRY64
        rdfsbase rax
        CAUGHT64 "rdfsbase without CR4.FSGSBASE", 6, 0
        SET_CR4 CR4_USUAL | CR4_FSGSBASE
        TRY64
        USER64_ON
        mov rax, 0x7ffff0000000
        wrfsbase rax
        mov rax, 0xffff800012345678
        wrgsbase rax
        rdgsbase r12
        mov r13, -1
        rdgsbase r13d
        CAUGHT64 "wrfsbase, wrgsbase in ring 3", NO_FAULT, 0
        EQUAL64 "  rdgsbase", r12, 0xffff800012345678
        EQUAL64 "  rdgsbase of 32 bits", r13, 0x12345678
        mov ecx, MSR_FS
        rdmsr
        shl rdx, 32
        or rax, rdx
        mov r12, rax
        EQUAL64 "  the MSR is the same", r12, 0x7ffff0000000
        mov rax, -1
        wrfsbase eax
        rdfsbase r12
        EQUAL64 "  wrfsbase of 32 bits", r12, 0xffffffff
        TRY64
        mov rax, 0x0000800000000000
        wrgsbase rax
        CAUGHT64 "a base must be canonical", 13, 0
        xor eax, eax
        wrfsbase rax
        wrgsbase rax
        SET_CR4 CR4_USUAL
        mov ax, DATA0
        mov ss, ax
        ret

; ---- UMIP ----

%macro FORBIDDEN 2+
        TRY64
        USER64_ON
        %2
        CAUGHT64 %1, 13, 0
%endmacro

user_tables:
        SET_CR4 CR4_USUAL | CR4_UMIP
        FORBIDDEN "sgdt with UMIP", sgdt [buffer]
        FORBIDDEN "sidt", sidt [buffer]
        FORBIDDEN "sldt", sldt eax
        FORBIDDEN "str", str eax
        FORBIDDEN "smsw", smsw eax
        TRY64
        mov ax, DATA0
        mov ss, ax
        sgdt [buffer]
        smsw eax
        CAUGHT64 "in ring 0", NO_FAULT, 0
        SET_CR4 CR4_USUAL
        ret

; ---- SMEP, SMAP ----

; All pages of 4 KiB are the supervisor's but for USERPAGE, which returns at once.
make_ours:
        mov byte [USERPAGE], 0xc3
        mov rdi, PT
.next:  and byte [rdi], ~4
        add rdi, 8
        cmp rdi, PT + 512 * 8
        jb .next
        or byte [PT + (USERPAGE >> 12) * 8], 4
        jmp flush
make_everybodys:
        mov rdi, PT
.next:  or byte [rdi], 4
        add rdi, 8
        cmp rdi, PT + 512 * 8
        jb .next
flush:  mov rax, cr3
        mov cr3, rax
        ret

smep:   mov rdi, USERPAGE
        call rdi                        ; it may yet
        SET_CR4 CR4_USUAL | CR4_SMEP
        TRY64
        mov rdi, USERPAGE
        call rdi
        CAUGHT64 "user's page executed with SMEP", 14, 0x11
        TRY64
        mov al, [USERPAGE]
        CAUGHT64 "  may be read", NO_FAULT, 0
        SET_CR4 CR4_USUAL
        mov rdi, USERPAGE
        call rdi
        ret

smap:   SET_CR4 CR4_USUAL | CR4_SMAP
        TRY64
        mov al, [USERPAGE]
        CAUGHT64 "user's page read with SMAP", 14, 1
        TRY64
        mov byte [USERPAGE + 8], 1
        CAUGHT64 "written", 14, 3
        TRY64
        mov rdi, USERPAGE + 8
        mov ecx, 4
        rep stosb
        CAUGHT64 "by rep stosb", 14, 3
        TRY64
        stac
        mov byte [USERPAGE + 8], 1
        clac
        CAUGHT64 "with AC it may", NO_FAULT, 0
        TRY64
        mov al, [USERPAGE]
        CAUGHT64 "and after CLAC not", 14, 1
        TRY64
        stac
        mov rdi, USERPAGE
        call rdi
        CAUGHT64 "executed without SMEP", NO_FAULT, 0
        clac
        SET_CR4 CR4_USUAL
        TRY64
        mov al, [USERPAGE]
        CAUGHT64 "without SMAP", NO_FAULT, 0
        ret

; ---- PCID ----

pcid:   TRY64
        mov rax, PML4 | 1 << 63
        mov cr3, rax
        CAUGHT64 "bit 63 of cr3 without PCIDE", 13, 0
        mov rax, PML4 | 8               ; PWT, or address space 8
        mov cr3, rax
        TRY64
        SET_CR4 CR4_USUAL | CR4_PCIDE
        CAUGHT64 "PCIDE with an address space in cr3", 13, 0
        mov rax, PML4
        mov cr3, rax
        SET_CR4 CR4_USUAL | CR4_PCIDE
        mov rax, PML4 | 5
        mov cr3, rax
        mov rax, cr3
        EQUAL64 "cr3 with an address space", rax, PML4 | 5
        ; what one address space has seen, another has not: each must see the new page
        mov dword [USERPAGE], 0x11111111
        mov dword [OTHER], 0x22222222
        mov eax, [MOVED]
        mov dword [PT + (MOVED >> 12) * 8], OTHER | 7
        mov rax, PML4 | 6
        mov cr3, rax
        mov r12d, [MOVED]
        EQUAL64 "a new address space", r12, 0x22222222
        mov dword [PT + (MOVED >> 12) * 8], USERPAGE | 7
        mov rax, PML4 | 6               ; bit 63 clear: forgets this one's
        mov cr3, rax
        mov r12d, [MOVED]
        EQUAL64 "cr3 forgets its own", r12, 0x11111111
        mov rax, PML4 | 5
        mov cr3, rax
        mov r12d, [MOVED]
        EQUAL64 "and that of another once loaded", r12, 0x11111111
        mov dword [PT + (MOVED >> 12) * 8], OTHER | 7
        invlpg [MOVED]
        mov rax, PML4 | 5 | 1 << 63
        mov cr3, rax
        mov r12d, [MOVED]
        EQUAL64 "bit 63 keeps what invlpg has made new", r12, 0x22222222
        mov rax, cr3
        EQUAL64 "  and is not in cr3", rax, PML4 | 5
        IF_HAVE have_7_ebx, 10
        mov qword [buffer], 5
        mov qword [buffer + 8], MOVED
        mov dword [PT + (MOVED >> 12) * 8], USERPAGE | 7
        xor eax, eax
        invpcid rax, [buffer]
        mov r12d, [MOVED]
        EQUAL64 "invpcid of an address", r12, 0x11111111
        mov dword [PT + (MOVED >> 12) * 8], OTHER | 7
        mov eax, 1
        invpcid rax, [buffer]
        mov r12d, [MOVED]
        EQUAL64 "invpcid of an address space", r12, 0x22222222
        END_HAVE
        mov rax, PML4
        mov cr3, rax
        SET_CR4 CR4_USUAL
        mov dword [PT + (MOVED >> 12) * 8], MOVED | 7
        mov byte [USERPAGE], 0xc3
        jmp flush

%macro INVPCID_FAULT 4                  ; name, type, first and second half of the descriptor
        TRY64
        mov rax, %3
        mov [buffer], rax
        mov rax, %4
        mov [buffer + 8], rax
        mov rax, %2
        invpcid rax, [buffer]
        CAUGHT64 %1, 13, 0
%endmacro

invpcid_types:
        INVPCID_FAULT "invpcid type 4", 4, 0, 0
        INVPCID_FAULT "a type beyond 32 bits", 0x100000000, 0, 0
        INVPCID_FAULT "reserved bits", 0, 0x1000, 0
        INVPCID_FAULT "not canonical", 0, 0, 0x0000800000000000
        INVPCID_FAULT "an address space without PCIDE", 1, 5, 0
        TRY64
        USER64_ON
        xor eax, eax
        invpcid rax, [buffer]
        CAUGHT64 "in ring 3", 13, 0
        mov ax, DATA0
        mov ss, ax
        mov dword [PT + (MOVED >> 12) * 8], OTHER | 7
        mov dword [OTHER], 0x22222222
        mov eax, 2
        invpcid rax, [buffer]
        mov r12d, [MOVED]
        EQUAL64 "invpcid of all", r12, 0x22222222
        mov dword [PT + (MOVED >> 12) * 8], MOVED | 7
        mov eax, 3
        invpcid rax, [buffer]
        mov dword [MOVED], 0x33333333
        mov r12d, [OTHER]
        EQUAL64 "but global ones", r12, 0x22222222
        ret

; ---- XSAVE ----

xsave_family:
        TRY64
        xor ecx, ecx
        xgetbv
        CAUGHT64 "xgetbv without OSXSAVE", 6, 0
        SET_CR4 CR4_USUAL | CR4_OSXSAVE
        mov eax, 1
        cpuid
        shr ecx, 27
        and ecx, 1
        mov r12, rcx
        EQUAL64 "cpuid shows OSXSAVE", r12, 1
        TRY64
        mov eax, 2
        call set_xcr0
        CAUGHT64 "xsetbv without x87", 13, 0
        TRY64
        mov eax, 5
        call set_xcr0
        CAUGHT64 "AVX without SSE", 13, 0
        TRY64
        mov ecx, 1
        xor edx, edx
        mov eax, 1
        xsetbv
        CAUGHT64 "xsetbv of another register", 13, 0
        TRY64
        USER64_ON
        mov eax, 3
        call set_xcr0
        CAUGHT64 "in ring 3", 13, 0
        mov ax, DATA0
        mov ss, ax
        mov eax, 3
        call set_xcr0
        xor ecx, ecx
        xgetbv
        mov r12d, eax
        EQUAL64 "xgetbv", r12, 3
        mov rdi, XAREA
        xor eax, eax
        mov ecx, 1024 / 8
        rep stosq
        mov rax, 0x1122334455667788
        movq xmm9, rax
        mov eax, 3
        xor edx, edx
        xsave64 [XAREA]
        EQUAL64 "xsave: xmm9", [XAREA + 160 + 9 * 16], 0x1122334455667788
        mov r12, [XAREA + 512]
        and r12d, 2
        EQUAL64 "  says so in its header", r12, 2
        and qword [XAREA + 512], ~2
        mov eax, 2
        xor edx, edx
        xrstor64 [XAREA]
        movq r12, xmm9
        EQUAL64 "xrstor of nothing clears it", r12, 0
        or qword [XAREA + 512], 2
        mov eax, 1                      ; not asked for
        xrstor64 [XAREA]
        movq r12, xmm9
        EQUAL64 "what is not asked for stays", r12, 0
        mov eax, 2
        xrstor64 [XAREA]
        movq r12, xmm9
        EQUAL64 "what is comes back", r12, 0x1122334455667788
        TRY64
        mov eax, 3
        xrstor64 [XAREA + 16]
        CAUGHT64 "xrstor unaligned", 13, 0
        TRY64
        or qword [XAREA + 512], 4
        mov eax, 3
        xrstor64 [XAREA]
        CAUGHT64 "a header with more than XCR0", 13, 0
        and qword [XAREA + 512], 3
        TRY64
        mov dword [XAREA + 24], -1
        mov eax, 3
        xrstor64 [XAREA]
        CAUGHT64 "reserved bits of MXCSR", 13, 0
        mov dword [XAREA + 24], 0x1f80
        TRY64
        mov rax, cr0
        or al, 8
        mov cr0, rax
        mov eax, 3
        xsave64 [XAREA]
        CAUGHT64 "xsave with TS", 7, 0
        clts
        IF_HAVE have_d1_eax, 1
        call compacted
        END_HAVE
        IF_HAVE have_1_ecx, 28
        call avx_state
        END_HAVE
        SET_CR4 CR4_USUAL
        ret

compacted:
        TRY64
        xor ecx, ecx
        mov [XAREA + 520], rcx
        bts qword [XAREA + 520], 3      ; compacted, but for bit 63
        mov eax, 3
        xor edx, edx
        xrstor64 [XAREA]
        CAUGHT64 "XCOMP_BV without bit 63", 13, 0
        mov qword [XAREA + 520], 0
        mov eax, 2
        xsavec64 [XAREA]
        EQUAL64 "xsavec: XCOMP_BV", [XAREA + 520], 0x8000000000000002
        pxor xmm9, xmm9
        mov eax, 2
        xrstor64 [XAREA]
        movq r12, xmm9
        EQUAL64 "  and back", r12, 0x1122334455667788
        mov qword [XAREA + 520], 0
        ret

avx_state:
        mov eax, 7
        call set_xcr0
        mov rax, 0x1122334455667788
        movq xmm9, rax
        vinsertf128 ymm9, ymm9, xmm9, 1
        mov eax, 7
        xor edx, edx
        xsave64 [XAREA]
        EQUAL64 "upper half of ymm9", [XAREA + 576 + 9 * 16], 0x1122334455667788
        and qword [XAREA + 512], 3
        mov eax, 7
        xrstor64 [XAREA]
        vextractf128 xmm1, ymm9, 1
        movq r12, xmm1
        EQUAL64 "  is cleared alone", r12, 0
        movq r12, xmm9
        EQUAL64 "  the lower stays", r12, 0x1122334455667788
        mov eax, 3
        call set_xcr0
        TRY64
        vxorps ymm0, ymm0, ymm0
        CAUGHT64 "AVX that XCR0 does not have", 6, 0
        ret

set_xcr0:
        xor ecx, ecx
        xor edx, edx
        xsetbv
        ret

        align 4096
seen:        times 8 dq 0
buffer:      times 4 dq 0
have_1_ecx:  dd 0
have_1_edx:  dd 0
have_7_ebx:  dd 0
have_7_ecx:  dd 0
have_81_edx: dd 0
have_d1_eax: dd 0

        GUEST_END
