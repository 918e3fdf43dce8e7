/* SPDX-License-Identifier: MIT
 *
 * The verifier refuses each kind of code that translations may not have, and lets their own pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bt/asm_x64.h"
#include "bt/verify.h"
#include "cpu/vcpu.h"

/* Nothing is executed: these are only numbers. */
#define CODE_AT ((const u8 *)0x10000000)
#define READ_4  ((const u8 *)0x20000000)
#define WRITE_4 ((const u8 *)0x20000100)
#define CALLOUT ((const u8 *)0x20000200)
#define JUMP    ((const u8 *)0x20000300)
#define FIND    ((const u8 *)0x20000400)
#define OWN     0x700000001000u /* the guest's code, of 8 bytes */

static const struct verify_target targets[] = {
    {.at = READ_4, .kind = VERIFY_ACCESS, .size = 4},
    {.at = WRITE_4, .kind = VERIFY_ACCESS, .size = 4, .write = true},
    {.at = CALLOUT, .kind = VERIFY_CALL},
    {.at = JUMP, .kind = VERIFY_JUMP},
    {.at = FIND, .kind = VERIFY_FIND, .size = 8},
};

struct bench {
    u8 bytes[256];
    struct asm_buf a;
    char text[256];
};

static struct asm_buf *begin(struct bench *b)
{
    asm_init(&b->a, b->bytes, sizeof b->bytes, CODE_AT - b->bytes);
    return &b->a;
}

/* The code goes on with a jump away. */
static bool verify(struct bench *b, bool window)
{
    asm_jmp(&b->a, JUMP);
    struct verify_code code = {.part = {{b->bytes, CODE_AT, (size_t)(b->a.at - b->bytes)}},
                               .window = window,
                               .own = {{(const u8 *)OWN, 8}},
                               .target = targets,
                               .targets = ARRAY_LEN(targets)};
    return verify_code(&code, b->text, sizeof b->text);
}

static void expect_good(struct bench *b)
{
    if (!verify(b, true))
        fail_msg("%s", b->text);
}

static void expect_refused(struct bench *b, const char *name, const char *why)
{
    if (verify(b, true))
        fail_msg("%s was let pass", name);
    if (!strstr(b->text, why))
        fail_msg("%s: refused, but: %s", name, b->text);
}

struct form {
    const char *name;
    unsigned len;
    u8 bytes[16];
};

static void expect_each_refused(const struct form *form, unsigned n, const char *why)
{
    for (unsigned i = 0; i < n; i++) {
        struct bench b;
        asm_bytes(begin(&b), form[i].bytes, form[i].len);
        expect_refused(&b, form[i].name, why);
    }
}

/* ---- instructions ---- */

static void doors_to_the_host_are_refused(void **state)
{
    static const struct form branches[] = {
        {"int 80h", 2, {0xcd, 0x80}},
        {"int3", 1, {0xcc}},
        {"iretq", 2, {0x48, 0xcf}},
        {"retf", 1, {0xcb}},
        {"ret 4", 3, {0xc2, 0x04, 0x00}},
        {"jmp far [rax]", 3, {0x48, 0xff, 0x28}},
        {"call far [rax]", 3, {0x48, 0xff, 0x18}},
        {"jmp rax", 2, {0xff, 0xe0}},
        {"call rax", 2, {0xff, 0xd0}},
        {"jmp [r15]", 3, {0x41, 0xff, 0x27}},
        {"xbegin", 6, {0xc7, 0xf8, 0, 0, 0, 0}},
    };
    static const struct form others[] = {
        {"hlt", 1, {0xf4}},
        {"cli", 1, {0xfa}},
        {"sti", 1, {0xfb}},
        {"in al, dx", 1, {0xec}},
        {"out dx, al", 1, {0xee}},
        {"insb", 1, {0x6c}},
        {"outsb", 1, {0x6e}},
        {"rdmsr", 2, {0x0f, 0x32}},
        {"wrmsr", 2, {0x0f, 0x30}},
        {"wrgsbase rax", 5, {0xf3, 0x48, 0x0f, 0xae, 0xd8}},
        {"wrfsbase rax", 5, {0xf3, 0x48, 0x0f, 0xae, 0xd0}},
        {"swapgs", 3, {0x0f, 0x01, 0xf8}},
        {"lgdt [r8]", 4, {0x41, 0x0f, 0x01, 0x10}},
        {"invlpg [r8]", 4, {0x41, 0x0f, 0x01, 0x38}},
        {"cpuid", 2, {0x0f, 0xa2}},
        {"rdtsc", 2, {0x0f, 0x31}},
        {"xgetbv", 3, {0x0f, 0x01, 0xd0}},
        {"ud2", 2, {0x0f, 0x0b}},
    };
    (void)state;
    expect_each_refused(branches, ARRAY_LEN(branches), "a branch of a forbidden kind");
    expect_each_refused(others, ARRAY_LEN(others), "not an instruction of translated code");
}

/* Some Capstone versions put these in one group, some in another. */
static void system_calls_are_refused(void **state)
{
    static const struct form calls[] = {
        {"syscall", 2, {0x0f, 0x05}},
        {"sysenter", 2, {0x0f, 0x34}},
        {"sysret", 2, {0x0f, 0x07}},
        {"sysexit", 2, {0x0f, 0x35}},
    };
    (void)state;
    expect_each_refused(calls, ARRAY_LEN(calls), "");
}

static void the_host_stack_is_out_of_reach(void **state)
{
    static const struct form stack[] = {
        {"pop rax", 1, {0x58}}, {"pushfq", 1, {0x9c}},
        {"popfq", 1, {0x9d}},   {"enter 8, 0", 4, {0xc8, 8, 0, 0}},
        {"leave", 1, {0xc9}},
    };
    static const struct form registers[] = {
        {"mov rsp, rax", 3, {0x48, 0x89, 0xc4}},
        {"add rsp, 8", 4, {0x48, 0x83, 0xc4, 8}},
        {"xchg esp, eax", 1, {0x94}},
        {"lea rsp, [rsp + 8]", 5, {0x48, 0x8d, 0x64, 0x24, 8}},
    };
    static const struct form memory[] = {
        {"mov eax, [rsp]", 3, {0x8b, 0x04, 0x24}},
        {"mov [rsp + 8], eax", 4, {0x89, 0x44, 0x24, 8}},
    };
    static const struct form push[] = {{"push rax", 1, {0x50}},
                                       {"push r9", 2, {0x41, 0x51}},
                                       {"push [r8]", 3, {0x41, 0xff, 0x30}}};
    (void)state;
    expect_each_refused(push, ARRAY_LEN(push), "not the address of a guard");
    expect_each_refused(stack, ARRAY_LEN(stack), "not an instruction of translated code");
    expect_each_refused(registers, ARRAY_LEN(registers), "writes a register of the translator's");
    expect_each_refused(memory, ARRAY_LEN(memory), "an address of its own");
}

static void hidden_addresses_are_refused(void **state)
{
    static const struct form forms[] = {
        {"movsb", 1, {0xa4}},
        {"rep stosd", 2, {0xf3, 0xab}},
        {"lodsb", 1, {0xac}},
        {"cmpsb", 1, {0xa6}},
        {"scasb", 1, {0xae}},
        {"xlatb", 1, {0xd7}},
        {"maskmovdqu xmm0, xmm1", 4, {0x66, 0x0f, 0xf7, 0xc1}},
        {"maskmovq mm0, mm1", 3, {0x0f, 0xf7, 0xc1}},
        {"vpgatherdd", 8, {0x65, 0x67, 0xc4, 0xe2, 0x69, 0x90, 0x04, 0x08}},
        {"fxsave gs:[eax]", 5, {0x65, 0x67, 0x0f, 0xae, 0x00}},
        {"fxrstor gs:[eax]", 5, {0x65, 0x67, 0x0f, 0xae, 0x08}},
    };
    (void)state;
    expect_each_refused(forms, ARRAY_LEN(forms), "not an instruction of translated code");
}

static void registers_of_the_translator_are_not_written(void **state)
{
    static const struct form forms[] = {
        {"mov r15, rax", 3, {0x49, 0x89, 0xc7}},
        {"mov r13d, eax", 3, {0x41, 0x89, 0xc5}},
        {"xor r14d, r14d", 3, {0x45, 0x31, 0xf6}},
        {"inc r15", 3, {0x49, 0xff, 0xc7}},
        {"xchg r15d, eax", 2, {0x41, 0x97}},
        {"movd r15d, xmm0", 5, {0x66, 0x41, 0x0f, 0x7e, 0xc7}},
    };
    static const struct form segments[] = {
        {"mov ds, eax", 2, {0x8e, 0xd8}},        {"mov gs, eax", 2, {0x8e, 0xe8}},
        {"mov eax, fs", 2, {0x8c, 0xe0}},        {"mov cr3, rax", 3, {0x0f, 0x22, 0xd8}},
        {"mov rax, cr0", 3, {0x0f, 0x20, 0xc0}}, {"mov dr7, rax", 3, {0x0f, 0x23, 0xf8}},
    };
    (void)state;
    expect_each_refused(forms, ARRAY_LEN(forms), "writes a register of the translator's");
    expect_each_refused(segments, ARRAY_LEN(segments), "names a system register");
}

static void guest_registers_are_written_in_32_bits(void **state)
{
    static const struct form forms[] = {
        {"mov rsi, rdi", 3, {0x48, 0x89, 0xfe}},
        {"add rax, rcx", 3, {0x48, 0x01, 0xc8}},
        {"not rdx", 3, {0x48, 0xf7, 0xd2}},
        {"lea rdi, [rdi + r10]", 4, {0x4a, 0x8d, 0x3c, 0x17}},
        {"xchg rax, r12", 2, {0x49, 0x94}},
    };
    struct bench b;
    (void)state;
    expect_each_refused(forms, ARRAY_LEN(forms), "writes 64 bits of a guest register");
    asm_rr(begin(&b), XO_MOV_STORE | X64_W, X64_R11, X64_RCX); /* which was put there */
    expect_good(&b);
}

static const u8 rep_movsd[] = {
    0x49, 0x89, 0xcb,                /* mov r11, rcx */
    0x41, 0xb9, 16,   0,    0,    0, /* mov r9d, 16 */
    0xc4, 0xe2, 0x33, 0xf7, 0xc9,    /* shrx ecx, ecx, r9d */
    0xe3, 0x08,                      /* jrcxz few */
    0x4c, 0x89, 0xd9,                /* mov rcx, r11 */
    0xe8, 0x00, 0x00, 0x00, 0x00,    /* call CALLOUT */
    0x4c, 0x89, 0xd9,                /* few: mov rcx, r11 */
    0xf3, 0x49, 0x0f, 0xae, 0xca,    /* rdgsbase r10 */
    0x4a, 0x8d, 0x34, 0x16,          /* lea rsi, [rsi + r10] */
    0x4a, 0x8d, 0x3c, 0x17,          /* lea rdi, [rdi + r10] */
    0xf3, 0xa5,                      /* rep movsd */
    0x49, 0xf7, 0xd2,                /* not r10 */
    0x42, 0x8d, 0x74, 0x16, 0x01,    /* lea esi, [rsi + r10 + 1] */
    0x42, 0x8d, 0x7c, 0x17, 0x01,    /* lea edi, [rdi + r10 + 1] */
};
#define CALL_AT 20 /* of its displacement */

static void put_rep_movsd(struct bench *b)
{
    u8 code[sizeof rep_movsd];
    memcpy(code, rep_movsd, sizeof code);
    store32(code + CALL_AT, (u32)(CALLOUT - (CODE_AT + CALL_AT + 4)));
    asm_bytes(begin(b), code, sizeof code);
}

static void repeated_strings_are_as_they_must_be(void **state)
{
    struct bench b;
    (void)state;
    put_rep_movsd(&b);
    expect_good(&b);
    assert_false(verify(&b, false)); /* no window */
    for (unsigned at = 0; at < sizeof rep_movsd; at++) {
        if (at >= CALL_AT && at < CALL_AT + 4)
            continue;
        put_rep_movsd(&b);
        b.bytes[at] ^= 8;
        if (verify(&b, true))
            fail_msg("rep movsd with byte %u changed was let pass", at);
    }
    put_rep_movsd(&b);
    asm_jmp(&b.a, CODE_AT + 24); /* past the guard */
    expect_refused(&b, "a jump past the guard", "jumps into the idiom");
}

static void what_was_found_is_jumped_to(void **state)
{
    struct bench b;
    (void)state;
    asm_call(begin(&b), FIND);
    asm_jmp_mem(&b.a, x64_at(X64_R10, 8));
    expect_good(&b);
    asm_call(begin(&b), FIND);
    asm_jmp_mem(&b.a, x64_at(X64_R10, 16));
    expect_refused(&b, "another field", "a branch of a forbidden kind");
    asm_call(begin(&b), FIND);
    asm_mov_imm32(&b.a, X64_R10, 0);
    asm_jmp_mem(&b.a, x64_at(X64_R10, 8));
    expect_refused(&b, "R10 changed", "a branch of a forbidden kind");
}

static void garbage_is_refused(void **state)
{
    static const struct form forms[] = {
        {"82 /0 ib, which 64-bit mode does not have", 3, {0x82, 0xc0, 0x01}},
        {"half an instruction", 2, {0x81, 0xc0}},
        {"les", 2, {0xc4, 0x00}},
    };
    (void)state;
    expect_each_refused(forms, ARRAY_LEN(forms), "not an instruction");
}

/* ---- memory ---- */

static void addresses_of_the_guest_are_not_used_as_they_are(void **state)
{
    static const struct form forms[] = {
        {"mov eax, [rcx]", 2, {0x8b, 0x01}},
        {"mov eax, [ecx]", 3, {0x67, 0x8b, 0x01}},
        {"mov eax, gs:[rcx]", 3, {0x65, 0x8b, 0x01}},
        {"mov eax, fs:[ecx]", 4, {0x64, 0x67, 0x8b, 0x01}},
        {"mov eax, [rip + 8]", 6, {0x8b, 0x05, 8, 0, 0, 0}},
        {"mov eax, gs:[abs 64]", 10, {0x65, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0}},
        {"fld qword [rcx]", 2, {0xdd, 0x01}},
        {"movups xmm0, [rcx]", 3, {0x0f, 0x10, 0x01}},
        {"vmovups ymm0, [rcx]", 4, {0xc5, 0xfc, 0x10, 0x01}},
        {"mov eax, [r9]", 3, {0x41, 0x8b, 0x01}},
        {"mov eax, [r15 + rcx]", 4, {0x41, 0x8b, 0x04, 0x0f}},
        {"mov eax, [r12]", 4, {0x41, 0x8b, 0x04, 0x24}},
    };
    (void)state;
    expect_each_refused(forms, ARRAY_LEN(forms), "an address of its own");
}

static void the_window_takes_addresses_of_32_bits(void **state)
{
    struct bench b;
    struct x64_mem m = {X64_RCX, X64_RDX, 4, true, true, 0x1000};
    (void)state;
    asm_rm(begin(&b), XO_MOV_LOAD, X64_RAX, m);
    asm_rm(&b.a, XO_MOV_STORE8, X64_RAX, m);
    asm_rm(&b.a, 0x6f | X64_0F | X64_F3, 0, m); /* movdqu */
    asm_rm(&b.a, XO_ADD, X64_R12, m);
    expect_good(&b);
    assert_false(verify(&b, false));
    assert_non_null(strstr(b.text, "there is no window"));
}

static void what_the_tlb_approved_may_be_accessed(void **state)
{
    struct bench b;
    (void)state;
    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 0));
    asm_call(&b.a, WRITE_4);
    asm_rm(&b.a, XO_MOV_STORE, X64_RAX, x64_at(X64_R8, 0));
    asm_call(&b.a, WRITE_4);
    asm_rm(&b.a, 0x01, X64_RCX, x64_at(X64_R8, 0)); /* add [r8], ecx */
    asm_call(&b.a, READ_4);
    asm_rm(&b.a, XO_MOVZX8, X64_RAX, x64_at(X64_R8, 3));
    expect_good(&b);
}

static void what_the_tlb_did_not_approve_is_refused(void **state)
{
    struct bench b;
    (void)state;
    asm_rm(begin(&b), XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 0));
    expect_refused(&b, "without approval", "has not approved");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, XO_MOV_STORE, X64_RAX, x64_at(X64_R8, 0));
    expect_refused(&b, "a write after a read's approval", "approved as a read");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, 0x83, 0, x64_at(X64_R8, 0));
    asm_byte(&b.a, 1);
    expect_refused(&b, "a modification after a read's approval", "approved as a read");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, 0xdd, 2, x64_at(X64_R8, 0)); /* fst qword */
    expect_refused(&b, "more bytes", "more bytes");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, 0xd9, 2, x64_at(X64_R8, 0)); /* fst dword */
    expect_refused(&b, "an x87 store after a read's approval", "approved as a read");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, 0x11 | X64_0F | X64_F3, 0, x64_at(X64_R8, 0)); /* movss */
    expect_refused(&b, "a vector store after a read's approval", "approved as a read");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 1));
    expect_refused(&b, "beyond the approved bytes", "more bytes");

    asm_call(begin(&b), READ_4);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, -1));
    expect_refused(&b, "below the approved bytes", "more bytes");
}

static void what_code_was_made_from_may_be_read(void **state)
{
    struct bench b;
    (void)state;
    asm_mov_imm64(begin(&b), X64_R8, OWN);
    asm_rm(&b.a, XO_MOV_LOAD, X64_R10, x64_at(X64_R8, 4));
    asm_rm(&b.a, XO_MOVZX16, X64_R10, x64_at(X64_R8, 6));
    asm_mov_imm64(&b.a, X64_R8, OWN + 7);
    asm_rm(&b.a, XO_MOVZX8, X64_R10, x64_at(X64_R8, 0));
    expect_good(&b);

    asm_mov_imm64(begin(&b), X64_R8, OWN);
    asm_rm(&b.a, XO_MOV_LOAD, X64_R10, x64_at(X64_R8, 5));
    expect_refused(&b, "beyond it", "more bytes");

    asm_mov_imm64(begin(&b), X64_R8, OWN);
    asm_rm(&b.a, XO_MOV_STORE, X64_R10, x64_at(X64_R8, 0));
    expect_refused(&b, "a write to it", "approved as a read");

    asm_mov_imm64(begin(&b), X64_R8, OWN - 1);
    asm_rm(&b.a, XO_MOV_LOAD, X64_R10, x64_at(X64_R8, 1));
    expect_refused(&b, "from before it", "has not approved");

    asm_mov_imm64(begin(&b), X64_R8, OWN + 8);
    asm_rm(&b.a, XO_MOVZX8, X64_R10, x64_at(X64_R8, 0));
    expect_refused(&b, "what follows it", "has not approved");

    asm_mov_imm64(begin(&b), X64_R9, OWN);
    asm_rm(&b.a, XO_MOV_LOAD, X64_R10, x64_at(X64_R9, 0));
    expect_refused(&b, "by another register", "an address of its own");

    u8 *over = asm_jrcxz(begin(&b));
    asm_mov_imm64(&b.a, X64_R8, OWN);
    asm_short_here(&b.a, over);
    asm_rm(&b.a, XO_MOV_LOAD, X64_R10, x64_at(X64_R8, 0));
    expect_refused(&b, "where a jump arrives", "has not approved");
}

static void approval_ends(void **state)
{
    struct bench b;
    (void)state;
    asm_call(begin(&b), READ_4);
    asm_rr(&b.a, XO_MOV_LOAD, X64_R8, X64_RCX);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 0));
    expect_refused(&b, "after R8 changed", "has not approved");

    asm_call(begin(&b), READ_4);
    asm_call(&b.a, CALLOUT);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 0));
    expect_refused(&b, "after another call", "has not approved");

    u8 *over = asm_jrcxz(begin(&b));
    asm_call(&b.a, READ_4);
    asm_short_here(&b.a, over);
    asm_rm(&b.a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R8, 0));
    expect_refused(&b, "where a jump arrives", "has not approved");
}

static void fields_of_the_cpu_are_read_and_some_are_written(void **state)
{
    struct bench b;
    (void)state;
    asm_rm(begin(&b), XO_MOV_LOAD, X64_R9, x64_at(X64_R15, offsetof(struct vcpu, seg)));
    asm_rm(&b.a, XO_MOV_STORE, X64_R8, x64_at(X64_R15, offsetof(struct vcpu, jump_to)));
    expect_good(&b);

    asm_rm(begin(&b), XO_MOV_LOAD, X64_RAX, x64_at(X64_R15, sizeof(struct vcpu) - 3));
    expect_refused(&b, "beyond its end", "beyond struct vcpu");

    asm_rm(begin(&b), XO_MOV_LOAD, X64_RAX, x64_at(X64_R15, -4));
    expect_refused(&b, "below its start", "beyond struct vcpu");

    asm_rm(begin(&b), XO_MOV_STORE | X64_W, X64_RAX, x64_at(X64_R15, offsetof(struct vcpu, tlb)));
    expect_refused(&b, "a TLB entry", "may not write");

    asm_rm(begin(&b), XO_MOV_STORE | X64_W, X64_RAX, x64_at(X64_R15, offsetof(struct vcpu, jumps)));
    expect_refused(&b, "the table of jumps", "may not write");
}

/* ---- branches ---- */

static void branches_lead_to_thunks_and_instructions(void **state)
{
    struct bench b;
    (void)state;
    asm_call(begin(&b), CALLOUT);
    u8 *over = asm_jcc_short(&b.a, XCC_Z);
    asm_jcc(&b.a, XCC_NZ, JUMP);
    asm_short_here(&b.a, over);
    asm_jmp(&b.a, CODE_AT);
    expect_good(&b);

    asm_jmp(begin(&b), CODE_AT + 64);
    expect_refused(&b, "behind the code", "where no thunk is");

    asm_jmp(begin(&b), JUMP + 1);
    expect_refused(&b, "into a thunk", "where no thunk is");

    asm_mov_imm32(begin(&b), X64_RAX, 0xc3);
    asm_jmp(&b.a, CODE_AT + 1);
    expect_refused(&b, "into an instruction", "into the middle");

    asm_call(begin(&b), CODE_AT);
    expect_refused(&b, "a call of itself", "comes back to no guard");

    asm_call(begin(&b), JUMP);
    expect_refused(&b, "a call of what is jumped to", "does not return");

    asm_jmp(begin(&b), READ_4);
    expect_refused(&b, "a jump to what is called", "what returns");
}

/* ---- calls of the guest's, which the host's return instruction answers ---- */

#define COLD_AT (CODE_AT + 0x10000)

/* How a call's code differs from what it has to be. */
struct call_code {
    size_t key;    /* what the guard looks at */
    unsigned gap;  /* bytes between the call and the guard */
    unsigned push; /* register whose value is pushed in the cold part; X64_NONE: none */
    i32 beside;    /* what it is the address of: bytes from the guard */
};

static void put_guard(struct asm_buf *a, size_t key)
{
    asm_copy64(a, X64_R11, X64_RCX);
    asm_load64(a, X64_R10, x64_at(X64_R15, (i32)key));
    asm_mov_imm64(a, X64_R9, 0x123456789);
    asm_rm(a, XO_LEA | X64_W, X64_R10, x64_indexed(X64_R10, X64_R8, 1, 0));
    asm_rm(a, XO_LEA | X64_W, X64_RCX, x64_indexed(X64_R10, X64_R9, 1, 0));
    u8 *same = asm_jrcxz(a);
    asm_jmp(a, COLD_AT);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, X64_R11);
    asm_jmp(a, JUMP);
}

static bool verify_call(struct bench *b, struct call_code c)
{
    u8 cold[64];
    struct asm_buf a;
    asm_call(begin(b), CODE_AT);
    for (unsigned i = 0; i < c.gap; i++)
        asm_byte(&b->a, 0x90);
    const u8 *guard = asm_here(&b->a);
    put_guard(&b->a, c.key);
    asm_ret(&b->a);
    asm_init(&a, cold, sizeof cold, COLD_AT - cold);
    asm_copy64(&a, X64_RCX, X64_R11);
    if (c.push != X64_NONE) {
        u8 *field = asm_lea_here(&a, X64_R9);
        asm_patch_rel32(field, field + a.delta, guard + c.beside);
        asm_push(&a, c.push);
    }
    asm_jmp(&a, JUMP);
    struct verify_code code = {.part = {{b->bytes, CODE_AT, (size_t)(b->a.at - b->bytes)},
                                        {cold, COLD_AT, (size_t)(a.at - cold)}},
                               .target = targets,
                               .targets = ARRAY_LEN(targets)};
    return verify_code(&code, b->text, sizeof b->text);
}

static void calls_come_back_to_a_guard(void **state)
{
    const size_t key = offsetof(struct vcpu, target_key);
    struct bench b;
    (void)state;
    if (!verify_call(&b, (struct call_code){key, 0, X64_NONE, 0}))
        fail_msg("%s", b.text);
    if (!verify_call(&b, (struct call_code){key, 0, X64_R9, 0}))
        fail_msg("%s", b.text);
    assert_false(verify_call(&b, (struct call_code){key + 8, 0, X64_NONE, 0}));
    assert_non_null(strstr(b.text, "comes back to no guard"));
    assert_false(verify_call(&b, (struct call_code){key, 1, X64_NONE, 0}));
    assert_non_null(strstr(b.text, "comes back to no guard"));
    assert_false(verify_call(&b, (struct call_code){key, 0, X64_R10, 0}));
    assert_non_null(strstr(b.text, "not the address of a guard"));
    assert_false(verify_call(&b, (struct call_code){key, 0, X64_R9, 3}));
    assert_non_null(strstr(b.text, "not the address of a guard"));
}

static void code_does_not_run_off_its_end(void **state)
{
    struct bench b;
    (void)state;
    asm_mov_imm32(begin(&b), X64_RAX, 1);
    struct verify_code code = {.part = {{b.bytes, CODE_AT, (size_t)(b.a.at - b.bytes)}}};
    assert_false(verify_code(&code, b.text, sizeof b.text));
    assert_non_null(strstr(b.text, "runs off the end"));
}

/* ---- what translations are made of ---- */

static void plain_instructions_pass(void **state)
{
    static const u8 code[] = {
        0x01, 0xc8,                         /* add eax, ecx */
        0x66, 0x0f, 0xaf, 0xd1,             /* imul dx, cx */
        0xf7, 0xf3,                         /* div ebx */
        0x0f, 0x94, 0xc4,                   /* sete ah */
        0x41, 0x0f, 0x44, 0xc4,             /* cmove eax, r12d */
        0x9f, 0x9e,                         /* lahf; sahf */
        0xd8, 0xc1,                         /* fadd st, st(1) */
        0x0f, 0x58, 0xc1,                   /* addps xmm0, xmm1 */
        0xc5, 0xfc, 0x58, 0xc1,             /* vaddps ymm0, ymm0, ymm1 */
        0x0f, 0x77,                         /* emms */
        0xf2, 0x0f, 0x38, 0xf0, 0xc1,       /* crc32 eax, cl */
        0xc4, 0xe2, 0x78, 0xf2, 0xc1,       /* andn eax, eax, ecx */
        0xf0, 0x65, 0x67, 0x0f, 0xb1, 0x0b, /* lock cmpxchg gs:[ebx], ecx */
        0x0f, 0xc8,                         /* bswap eax */
        0xf3, 0x90,                         /* pause */
        0xdb, 0xe3,                         /* fninit */
    };
    struct bench b;
    (void)state;
    asm_bytes(begin(&b), code, sizeof code);
    expect_good(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doors_to_the_host_are_refused),
        cmocka_unit_test(system_calls_are_refused),
        cmocka_unit_test(the_host_stack_is_out_of_reach),
        cmocka_unit_test(hidden_addresses_are_refused),
        cmocka_unit_test(registers_of_the_translator_are_not_written),
        cmocka_unit_test(guest_registers_are_written_in_32_bits),
        cmocka_unit_test(repeated_strings_are_as_they_must_be),
        cmocka_unit_test(what_was_found_is_jumped_to),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(addresses_of_the_guest_are_not_used_as_they_are),
        cmocka_unit_test(the_window_takes_addresses_of_32_bits),
        cmocka_unit_test(what_the_tlb_approved_may_be_accessed),
        cmocka_unit_test(what_the_tlb_did_not_approve_is_refused),
        cmocka_unit_test(what_code_was_made_from_may_be_read),
        cmocka_unit_test(approval_ends),
        cmocka_unit_test(fields_of_the_cpu_are_read_and_some_are_written),
        cmocka_unit_test(branches_lead_to_thunks_and_instructions),
        cmocka_unit_test(calls_come_back_to_a_guard),
        cmocka_unit_test(code_does_not_run_off_its_end),
        cmocka_unit_test(plain_instructions_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
