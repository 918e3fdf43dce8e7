/* SPDX-License-Identifier: MIT
 *
 * The host encoder against Capstone: what is written is what was asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bt/asm_x64.h"
#include "cpu/disasm.h"

#define BASE 0x100000

static u8 bytes[256];

static struct asm_buf buffer(void)
{
    struct asm_buf a;
    asm_init(&a, bytes, sizeof bytes, (i64)BASE - (i64)(uintptr_t)bytes);
    return a;
}

/* What was written is one instruction, and reads as `text`. */
static void expect(const struct asm_buf *a, const char *text)
{
    char found[128];
    size_t n = (size_t)(a->at - a->start);
    assert_false(a->full);
    assert_int_equal(disasm_text(bytes, n, 64, BASE, found, sizeof found), n);
    assert_string_equal(found, text);
}

#define EXPECT(text, ...)                                                                          \
    do {                                                                                           \
        struct asm_buf a = buffer();                                                               \
        __VA_ARGS__;                                                                               \
        expect(&a, text);                                                                          \
    } while (0)

static void registers_are_named_in_all_three_fields(void **state)
{
    (void)state;
    EXPECT("mov r8d, ebx", asm_rr(&a, XO_MOV_LOAD, X64_R8, X64_RBX));
    EXPECT("mov rdi, r15", asm_rr(&a, XO_MOV_STORE | X64_W, X64_R15, X64_RDI));
    EXPECT("xchg r12d, eax", asm_rr(&a, XO_XCHG, X64_RAX, X64_R12));
    EXPECT("mov sil, dl", asm_rr(&a, XO_MOV_LOAD8, X64_RSI, X64_RDX));
    EXPECT("rdgsbase r10", asm_rdgsbase(&a, X64_R10));
    EXPECT("not r9d", asm_not(&a, X64_R9));
}

static void every_base_and_index_has_its_encoding(void **state)
{
    (void)state;
    EXPECT("mov eax, dword ptr [r12]", asm_rm(&a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R12, 0)));
    EXPECT("mov eax, dword ptr [r13]", asm_rm(&a, XO_MOV_LOAD, X64_RAX, x64_at(X64_R13, 0)));
    EXPECT("mov eax, dword ptr [rbp]", asm_rm(&a, XO_MOV_LOAD, X64_RAX, x64_at(X64_RBP, 0)));
    EXPECT("mov eax, dword ptr [rbx - 4]", asm_rm(&a, XO_MOV_LOAD, X64_RAX, x64_at(X64_RBX, -4)));
    EXPECT("lea ecx, [r12 + rdi*4 + 0x1234]",
           asm_rm(&a, XO_LEA, X64_RCX, x64_indexed(X64_R12, X64_RDI, 4, 0x1234)));
    EXPECT("lea r9d, [r10*8]", asm_rm(&a, XO_LEA, X64_R9, x64_indexed(X64_NONE, X64_R10, 8, 0)));
}

static void the_window_is_gs_with_32_bit_addresses(void **state)
{
    (void)state;
    struct x64_mem m = x64_indexed(X64_RBX, X64_RCX, 2, 8);
    m.gs = m.addr32 = true;
    EXPECT("mov edx, dword ptr gs:[ebx + ecx*2 + 8]", asm_rm(&a, XO_MOV_LOAD, X64_RDX, m));
    EXPECT("mov word ptr gs:[ebx + ecx*2 + 8], dx", asm_rm(&a, XO_MOV_STORE | X64_66, X64_RDX, m));
    m = x64_at(X64_R12, -4);
    m.gs = m.addr32 = true;
    EXPECT("mov dword ptr gs:[r12d - 4], eax", asm_rm(&a, XO_MOV_STORE, X64_RAX, m));
    EXPECT("vaddps ymm1, ymm2, ymmword ptr gs:[r12d - 4]",
           asm_vex_rm(&a, (struct x64_vex){.opcode = 0x58, .map = 1, .l = true}, 1, 2, m));
}

static void flagless_shifts_take_their_count_from_a_register(void **state)
{
    (void)state;
    EXPECT("shrx r10d, r8d, r13d", asm_shrx(&a, X64_R10, X64_R8, X64_R13));
    EXPECT("shlx r9d, ecx, r14d", asm_shlx(&a, X64_R9, X64_RCX, X64_R14));
    EXPECT("rorx r10d, r8d, 0x16", asm_rorx(&a, X64_R10, X64_R8, 22));
}

static void immediates_take_the_short_form_where_they_fit(void **state)
{
    (void)state;
    EXPECT("mov r8d, 0xc0000000", asm_mov_imm32(&a, X64_R8, 0xc0000000));
    EXPECT("mov dword ptr [r8], 0x12345678", asm_mov_mem_imm32(&a, x64_at(X64_R8, 0), 0x12345678));
}

static void jumps_reach_the_address_at_which_they_are_executed(void **state)
{
    (void)state;
    EXPECT("jmp 0x100100", asm_jmp(&a, (const u8 *)(uintptr_t)(BASE + 0x100)));
    EXPECT("jb 0xfff00", asm_jcc(&a, XCC_B, (const u8 *)(uintptr_t)(BASE - 0x100)));
    EXPECT("call 0x100005", asm_call(&a, (const u8 *)(uintptr_t)(BASE + 5)));
    EXPECT("jmp qword ptr [r10 + 8]", asm_jmp_mem(&a, x64_at(X64_R10, 8)));
}

static void a_full_buffer_drops_bytes_and_says_so(void **state)
{
    (void)state;
    struct asm_buf a;
    u8 small[4] = {0, 0, 0, 0xee};
    asm_init(&a, small, 3, 0);
    asm_u32(&a, 0x11223344);
    assert_true(a.full);
    assert_int_equal(small[3], 0xee);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_are_named_in_all_three_fields),
        cmocka_unit_test(every_base_and_index_has_its_encoding),
        cmocka_unit_test(the_window_is_gs_with_32_bit_addresses),
        cmocka_unit_test(flagless_shifts_take_their_count_from_a_register),
        cmocka_unit_test(immediates_take_the_short_form_where_they_fit),
        cmocka_unit_test(jumps_reach_the_address_at_which_they_are_executed),
        cmocka_unit_test(a_full_buffer_drops_bytes_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
