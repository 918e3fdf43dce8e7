/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/disasm.h"

#define TEXT_SIZE 64

static void disasm_text_shows_intel_syntax_in_each_mode(void **state)
{
    (void)state;
    const u8 bytes[] = {0x8b, 0x47, 0x10};
    char text[TEXT_SIZE];

    assert_int_equal(disasm_text(bytes, sizeof bytes, 16, 0, text, sizeof text), 3);
    assert_string_equal(text, "mov ax, word ptr [bx + 0x10]");
    assert_int_equal(disasm_text(bytes, sizeof bytes, 32, 0, text, sizeof text), 3);
    assert_string_equal(text, "mov eax, dword ptr [edi + 0x10]");
    assert_int_equal(disasm_text(bytes, sizeof bytes, 64, 0, text, sizeof text), 3);
    assert_string_equal(text, "mov eax, dword ptr [rdi + 0x10]");
}

static void disasm_text_counts_branches_from_the_address(void **state)
{
    (void)state;
    const u8 bytes[] = {0xeb, 0xfe, 0x90};
    char text[TEXT_SIZE];

    assert_int_equal(disasm_text(bytes, sizeof bytes, 32, 0x1234, text, sizeof text), 2);
    assert_string_equal(text, "jmp 0x1234");
}

static void disasm_text_says_bad_for_unknown_and_cut_off_bytes(void **state)
{
    (void)state;
    const u8 unknown[] = {0x06}, cut[] = {0xe9, 0x00};
    char text[TEXT_SIZE];

    assert_int_equal(disasm_text(unknown, sizeof unknown, 64, 0, text, sizeof text), 0);
    assert_string_equal(text, "(bad)");
    assert_int_equal(disasm_text(cut, sizeof cut, 32, 0, text, sizeof text), 0);
    assert_string_equal(text, "(bad)");
    assert_int_equal(disasm_text(cut, 0, 32, 0, text, sizeof text), 0);
}

static void disasm_text_is_cut_to_the_buffer(void **state)
{
    (void)state;
    const u8 bytes[] = {0xeb, 0xfe};
    char text[4] = "xxx";

    assert_int_equal(disasm_text(bytes, sizeof bytes, 32, 0, text, sizeof text), 2);
    assert_string_equal(text, "jmp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disasm_text_shows_intel_syntax_in_each_mode),
        cmocka_unit_test(disasm_text_counts_branches_from_the_address),
        cmocka_unit_test(disasm_text_says_bad_for_unknown_and_cut_off_bytes),
        cmocka_unit_test(disasm_text_is_cut_to_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
