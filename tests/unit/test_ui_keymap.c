/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ui/hid.h"
#include "ui/keymap.h"

static hid_key key(const char *name)
{
    return keymap_by_name(name, strlen(name));
}

static void keymap_knows_the_names_of_sendkey(void **state)
{
    (void)state;
    assert_int_equal(key("a"), HID_A);
    assert_int_equal(key("z"), HID_Z);
    assert_int_equal(key("1"), HID_1);
    assert_int_equal(key("0"), HID_0);
    assert_int_equal(key("f1"), HID_F1);
    assert_int_equal(key("f12"), HID_F12);
    assert_int_equal(key("f13"), HID_F13);
    assert_int_equal(key("f24"), HID_F24);
    assert_int_equal(key("kp_1"), HID_KP_1);
    assert_int_equal(key("kp_0"), HID_KP_0);
    assert_int_equal(key("ret"), HID_ENTER);
    assert_int_equal(key("spc"), HID_SPACE);
    assert_int_equal(key("kp_enter"), HID_KP_ENTER);
    assert_int_equal(key("shift_r"), HID_RIGHT_SHIFT);
    assert_int_equal(key("less"), HID_NON_US_BACKSLASH);
    assert_int_equal(key("minus"), HID_MINUS);
    assert_int_equal(key("delete"), HID_DELETE);
}

static void keymap_refuses_unknown_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "f0", "f25", "f1x", "kp_10", "foo", "A", "f01", "re"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(key(bad[i]), 0);
}

static void keymap_names_round_trip(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 256; k++) {
        const char *name = keymap_name((hid_key)k);
        if (name)
            assert_int_equal(key(name), k);
    }
    assert_string_equal(keymap_name(HID_ENTER), "ret");
    assert_string_equal(keymap_name(HID_KP_1 + 6), "kp_7");
}

static void assert_combo(const char *text, unsigned count, const hid_key *keys)
{
    struct key_stroke s;
    char error[100];
    assert_true(keymap_combo(text, strlen(text), &s, error, sizeof error));
    assert_int_equal(s.count, count);
    assert_memory_equal(s.keys, keys, count);
}

static void keymap_combos_are_joined_by_minus(void **state)
{
    (void)state;
    assert_combo("ctrl-alt-f1", 3, (hid_key[]){HID_LEFT_CTRL, HID_LEFT_ALT, HID_F1});
    assert_combo("ctrl-alt-delete", 3, (hid_key[]){HID_LEFT_CTRL, HID_LEFT_ALT, HID_DELETE});
    assert_combo("ctrl--", 2, (hid_key[]){HID_LEFT_CTRL, HID_MINUS});
    assert_combo("-", 1, (hid_key[]){HID_MINUS});
    assert_combo("x", 1, (hid_key[]){HID_A + 'x' - 'a'});
}

static void keymap_combo_errors_name_the_key(void **state)
{
    (void)state;
    struct key_stroke s;
    char error[100];
    assert_false(keymap_combo("ctrl-foo", 8, &s, error, sizeof error));
    assert_string_equal(error, "unknown key 'foo'");
    assert_false(keymap_combo("ctrl-", 5, &s, error, sizeof error));
    assert_false(keymap_combo("", 0, &s, error, sizeof error));
    assert_false(keymap_combo("a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", 33, &s, error, sizeof error));
    assert_non_null(strstr(error, "too many"));
}

/* Plays text on a US keyboard as a guest would: only for printable characters, Tab and Enter. */
static void keymap_text_types_every_character(void **state)
{
    (void)state;
    for (int c = ' '; c < 127; c++) {
        char text[3] = {(char)c, 0, 0};
        const char *at = text;
        struct key_stroke s;
        char error[100];
        assert_true(keymap_next(&at, &s, error, sizeof error));
        assert_int_equal(*at, 0);
        bool shifted = s.count == 2;
        assert_true(s.count == 1 || s.keys[0] == HID_LEFT_SHIFT);
        bool capital = c >= 'A' && c <= 'Z';
        bool needs_shift = capital || strchr("!@#$%^&*()_+{}|:\"~<>?", c);
        assert_int_equal(shifted, needs_shift);
        if (capital)
            assert_int_equal(s.keys[1], HID_A + c - 'A');
    }
}

static void assert_text(const char *text, unsigned count, const hid_key *last_keys)
{
    struct key_stroke s;
    char error[100];
    unsigned n = 0;
    while (keymap_next(&text, &s, error, sizeof error)) {
        assert_true(n < count);
        assert_int_equal(s.keys[s.count - 1], last_keys[n++]);
    }
    assert_string_equal(error, "");
    assert_int_equal(n, count);
}

static void keymap_text_has_escapes_and_brackets(void **state)
{
    (void)state;
    assert_text("a\\n", 2, (hid_key[]){HID_A, HID_ENTER});
    assert_text("\n\\t\\\\", 3, (hid_key[]){HID_ENTER, HID_TAB, HID_BACKSLASH});
    assert_text("<f1>x<ctrl-alt-del>", 3, (hid_key[]){HID_F1, HID_A + 23, HID_DELETE});
    assert_text("\\<f1>", 4, (hid_key[]){HID_COMMA, HID_F1 - HID_F1 + HID_A + 5, HID_1, HID_DOT});
    assert_text("a<b", 3, (hid_key[]){HID_A, HID_COMMA, HID_A + 1});
    assert_text("1 < 2 > 0", 9,
                (hid_key[]){HID_1, HID_SPACE, HID_COMMA, HID_SPACE, HID_1 + 1, HID_SPACE, HID_DOT,
                            HID_SPACE, HID_0});
    assert_text("<lt><gt>", 2, (hid_key[]){HID_COMMA, HID_DOT});
    assert_text("\\q", 2, (hid_key[]){HID_BACKSLASH, HID_A + 16});
}

static void keymap_text_errors_are_one_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"<nokey>", "\x01", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *at = bad[i];
        struct key_stroke s;
        char error[100];
        assert_false(keymap_next(&at, &s, error, sizeof error));
        assert_true(*error);
        assert_null(strchr(error, '\n'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keymap_knows_the_names_of_sendkey),
        cmocka_unit_test(keymap_refuses_unknown_names),
        cmocka_unit_test(keymap_names_round_trip),
        cmocka_unit_test(keymap_combos_are_joined_by_minus),
        cmocka_unit_test(keymap_combo_errors_name_the_key),
        cmocka_unit_test(keymap_text_types_every_character),
        cmocka_unit_test(keymap_text_has_escapes_and_brackets),
        cmocka_unit_test(keymap_text_errors_are_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
