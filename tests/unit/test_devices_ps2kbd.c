/* SPDX-License-Identifier: MIT
 *
 * The keyboard at its serial line, without a controller.
 */
#include "ps2_rig.h"

enum {
    KEY_A = 0x04,
    KEY_ESC = 0x29,
    KEY_CAPS = 0x39,
    KEY_F7 = 0x40,
    KEY_PRTSC = 0x46,
    KEY_PAUSE = 0x48,
    KEY_RIGHT = 0x4f,
    KEY_NUMLOCK = 0x53,
    KEY_KP_ENTER = 0x58,
    KEY_VOLUME_UP = 0x80,
    KEY_CTRL = 0xe0,
    KEY_SHIFT = 0xe1,
    KEY_ALT = 0xe2,
    KEY_RCTRL = 0xe4,
    KEY_GUI = 0xe3,
};

static int setup(void **state)
{
    struct ps2_rig *f = rig_setup(state, sizeof *f);
    f->kbd = ps2kbd_create(f->rig.clock);
    ps2_rig_plug(f, ps2kbd_device(f->kbd), ps2kbd_port(f->kbd));
    f->keys = ps2kbd_sink(f->kbd);
    return 0;
}

static void key(struct ps2_rig *f, hid_key k, bool down)
{
    f->keys.key(f->keys.opaque, k, down);
}

static void tap(struct ps2_rig *f, hid_key k)
{
    key(f, k, true);
    key(f, k, false);
}

static void use_set(struct ps2_rig *f, u8 set)
{
    send(f, 0xf0);
    send(f, set);
    EXPECT(f, 0xfa);
}

static void kbd_set2_make_and_break(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_A, true);
    assert_int_equal(f->ready, 1);
    EXPECT(f, 0x1c);
    key(f, KEY_A, false);
    EXPECT(f, 0xf0, 0x1c);
    tap(f, KEY_RIGHT);
    EXPECT(f, 0xe0, 0x74, 0xe0, 0xf0, 0x74);
    tap(f, KEY_F7);
    EXPECT(f, 0x83, 0xf0, 0x83);
    tap(f, KEY_GUI);
    EXPECT(f, 0xe0, 0x1f, 0xe0, 0xf0, 0x1f);
}

static void kbd_set1_make_and_break(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 1);
    tap(f, KEY_A);
    EXPECT(f, 0x1e, 0x9e);
    tap(f, KEY_RIGHT);
    EXPECT(f, 0xe0, 0x4d, 0xe0, 0xcd);
    tap(f, KEY_F7);
    EXPECT(f, 0x41, 0xc1);
    tap(f, KEY_KP_ENTER);
    EXPECT(f, 0xe0, 0x1c, 0xe0, 0x9c);
}

static void kbd_set3_kinds_of_keys(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 3);
    tap(f, KEY_A); /* typematic: no break */
    EXPECT(f, 0x1c);
    tap(f, KEY_SHIFT); /* make and break */
    EXPECT(f, 0x12, 0xf0, 0x12);
    tap(f, KEY_ESC); /* make only */
    EXPECT(f, 0x08);
    tap(f, KEY_PAUSE);
    EXPECT(f, 0x62);
    tap(f, KEY_PRTSC);
    EXPECT(f, 0x57);
    tap(f, KEY_VOLUME_UP); /* not in set 3 */
    assert_int_equal(receive(f), -1);
}

static void kbd_set3_all_keys_make_break(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 3);
    send(f, 0xf8);
    EXPECT(f, 0xfa);
    tap(f, KEY_A);
    EXPECT(f, 0x1c, 0xf0, 0x1c);
    key(f, KEY_A, true);
    EXPECT(f, 0x1c);
    clock_step(f->rig.clock, 2000 * MS); /* no repeat */
    assert_int_equal(receive(f), -1);
}

static void kbd_set3_single_keys_can_be_changed(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 3);
    send(f, 0xfc);
    EXPECT(f, 0xfa);
    send(f, 0x1c);
    EXPECT(f, 0xfa);
    send(f, 0x08);
    EXPECT(f, 0xfa);
    send(f, 0xf4); /* ends the list */
    EXPECT(f, 0xfa);
    tap(f, KEY_A);
    tap(f, KEY_ESC);
    EXPECT(f, 0x1c, 0xf0, 0x1c, 0x08, 0xf0, 0x08);
    send(f, 0xf6); /* defaults come back, with set 2 */
    EXPECT(f, 0xfa);
    use_set(f, 3);
    tap(f, KEY_A);
    EXPECT(f, 0x1c);
}

static void kbd_scan_set_can_be_asked(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf0);
    send(f, 0x00);
    EXPECT(f, 0xfa, 0x02);
    use_set(f, 1);
    send(f, 0xf0);
    send(f, 0x00);
    EXPECT(f, 0xfa, 0x01);
    send(f, 0xf0);
    send(f, 0x07);
    EXPECT(f, 0xfe);
}

static void kbd_print_screen_depends_on_modifiers(void **state)
{
    struct ps2_rig *f = *state;
    tap(f, KEY_PRTSC);
    EXPECT(f, 0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
    key(f, KEY_CTRL, true);
    EXPECT(f, 0x14);
    tap(f, KEY_PRTSC);
    EXPECT(f, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c);
    key(f, KEY_CTRL, false);
    key(f, KEY_ALT, true);
    EXPECT(f, 0xf0, 0x14, 0x11);
    tap(f, KEY_PRTSC);
    EXPECT(f, 0x84, 0xf0, 0x84);
}

static void kbd_print_screen_in_set1(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 1);
    tap(f, KEY_PRTSC);
    EXPECT(f, 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
    key(f, KEY_ALT, true);
    EXPECT(f, 0x38);
    tap(f, KEY_PRTSC);
    EXPECT(f, 0x54, 0xd4);
}

static void kbd_pause_has_no_break_and_becomes_break_with_ctrl(void **state)
{
    struct ps2_rig *f = *state;
    tap(f, KEY_PAUSE);
    EXPECT(f, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    key(f, KEY_RCTRL, true);
    EXPECT(f, 0xe0, 0x14);
    tap(f, KEY_PAUSE);
    EXPECT(f, 0xe0, 0x7e, 0xe0, 0xf0, 0x7e);
    key(f, KEY_RCTRL, false);
    EXPECT(f, 0xe0, 0xf0, 0x14);
    use_set(f, 1);
    tap(f, KEY_PAUSE);
    EXPECT(f, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
}

static void kbd_pause_does_not_repeat(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_PAUSE, true);
    while (receive(f) >= 0)
        continue;
    clock_step(f->rig.clock, 3000 * MS);
    assert_int_equal(receive(f), -1);
}

static void kbd_multimedia_keys(void **state)
{
    struct ps2_rig *f = *state;
    tap(f, KEY_VOLUME_UP);
    EXPECT(f, 0xe0, 0x32, 0xe0, 0xf0, 0x32);
}

static void kbd_repeats_by_default_after_500_ms_at_10_9_a_second(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_A, true);
    EXPECT(f, 0x1c);
    clock_step(f->rig.clock, 499 * MS);
    assert_int_equal(receive(f), -1);
    clock_step(f->rig.clock, 1 * MS);
    EXPECT(f, 0x1c);
    unsigned repeats = 0;
    for (int ms = 0; ms < 1000; ms++) {
        clock_step(f->rig.clock, 1 * MS);
        while (receive(f) >= 0)
            repeats++;
    }
    assert_in_range(repeats, 10, 11);
    key(f, KEY_A, false);
    EXPECT(f, 0xf0, 0x1c);
    clock_step(f->rig.clock, 3000 * MS);
    assert_int_equal(receive(f), -1);
}

static void kbd_typematic_rate_can_be_set(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf3);
    EXPECT(f, 0xfa);
    send(f, 0x00); /* 250 ms, 30 a second */
    EXPECT(f, 0xfa);
    key(f, KEY_A, true);
    EXPECT(f, 0x1c);
    unsigned repeats = 0;
    for (int ms = 0; ms < 1250; ms++) {
        clock_step(f->rig.clock, 1 * MS);
        while (receive(f) >= 0)
            repeats++;
    }
    assert_in_range(repeats, 30, 31);
}

static void kbd_last_pressed_key_repeats_and_its_release_ends_it(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_A, true);
    key(f, KEY_ESC, true);
    EXPECT(f, 0x1c, 0x76);
    clock_step(f->rig.clock, 500 * MS);
    EXPECT(f, 0x76);
    key(f, KEY_A, false); /* another key: repeating goes on */
    EXPECT(f, 0xf0, 0x1c);
    clock_step(f->rig.clock, 100 * MS);
    EXPECT(f, 0x76);
    key(f, KEY_ESC, false);
    EXPECT(f, 0xf0, 0x76);
    clock_step(f->rig.clock, 1000 * MS);
    assert_int_equal(receive(f), -1);
}

static void kbd_ignores_repeats_of_the_user_interface(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_A, true);
    key(f, KEY_A, true);
    key(f, KEY_A, true);
    EXPECT(f, 0x1c);
    key(f, KEY_ESC, false); /* was not down */
    assert_int_equal(receive(f), -1);
}

static void kbd_sets_indicators(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xed);
    EXPECT(f, 0xfa);
    send(f, 0x06);
    EXPECT(f, 0xfa);
    assert_int_equal(ps2kbd_leds(f->kbd), PS2KBD_NUM | PS2KBD_CAPS);
}

static void kbd_command_in_place_of_an_argument_replaces_the_command(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xed);
    EXPECT(f, 0xfa);
    send(f, 0xee);
    EXPECT(f, 0xee);
    send(f, 0x07); /* no longer an argument, and no command */
    EXPECT(f, 0xfe);
    assert_int_equal(ps2kbd_leds(f->kbd), 0);
}

static void kbd_identifies_itself(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0xab, 0x83);
}

static void kbd_resends_the_last_byte(void **state)
{
    struct ps2_rig *f = *state;
    tap(f, KEY_A);
    EXPECT(f, 0x1c, 0xf0, 0x1c);
    send(f, 0xfe);
    EXPECT(f, 0x1c);
}

static void kbd_reset_passes_its_self_test_and_restores_defaults(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 1);
    send(f, 0xed);
    send(f, 0x07);
    send(f, 0xff);
    EXPECT(f, 0xfa, 0xaa);
    assert_int_equal(ps2kbd_leds(f->kbd), 0);
    tap(f, KEY_A);
    EXPECT(f, 0x1c, 0xf0, 0x1c);
}

static void kbd_disabled_does_not_scan(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf5);
    EXPECT(f, 0xfa);
    tap(f, KEY_A);
    assert_int_equal(receive(f), -1);
    send(f, 0xf4);
    EXPECT(f, 0xfa);
    tap(f, KEY_A);
    EXPECT(f, 0x1c, 0xf0, 0x1c);
}

static void kbd_answers_overtake_scan_codes(void **state)
{
    struct ps2_rig *f = *state;
    key(f, KEY_A, true);
    send(f, 0xed);
    assert_int_equal(receive(f), 0xfa);
    send(f, 0x02);
    assert_int_equal(receive(f), 0xfa);
    EXPECT(f, 0x1c);
}

static void kbd_overrun_is_reported_once(void **state)
{
    struct ps2_rig *f = *state;
    for (int i = 0; i < 200; i++)
        tap(f, KEY_A);
    int bytes = 0, overruns = 0, b;
    while ((b = receive(f)) >= 0) {
        bytes++;
        overruns += b == 0;
    }
    assert_int_equal(overruns, 1);
    assert_in_range(bytes, 100, 128);
    tap(f, KEY_A);
    EXPECT(f, 0x1c, 0xf0, 0x1c);
}

static void kbd_every_key_fits_every_set(void **state)
{
    struct ps2_rig *f = *state;
    for (u8 set = 1; set <= 3; set++) {
        use_set(f, set);
        for (unsigned k = 0; k < 256; k++) {
            tap(f, (hid_key)k);
            int n = 0;
            while (receive(f) >= 0)
                n++;
            assert_in_range(n, 0, 10);
        }
    }
}

static void kbd_reset_line(void **state)
{
    struct ps2_rig *f = *state;
    use_set(f, 1);
    tap(f, KEY_A);
    device_reset(ps2kbd_device(f->kbd));
    assert_int_equal(receive(f), -1);
    tap(f, KEY_CAPS);
    EXPECT(f, 0x58, 0xf0, 0x58);
    tap(f, KEY_NUMLOCK);
    EXPECT(f, 0x77, 0xf0, 0x77);
    check_state_table(ps2kbd_device(f->kbd));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(kbd_set2_make_and_break),
        T(kbd_set1_make_and_break),
        T(kbd_set3_kinds_of_keys),
        T(kbd_set3_all_keys_make_break),
        T(kbd_set3_single_keys_can_be_changed),
        T(kbd_scan_set_can_be_asked),
        T(kbd_print_screen_depends_on_modifiers),
        T(kbd_print_screen_in_set1),
        T(kbd_pause_has_no_break_and_becomes_break_with_ctrl),
        T(kbd_pause_does_not_repeat),
        T(kbd_multimedia_keys),
        T(kbd_repeats_by_default_after_500_ms_at_10_9_a_second),
        T(kbd_typematic_rate_can_be_set),
        T(kbd_last_pressed_key_repeats_and_its_release_ends_it),
        T(kbd_ignores_repeats_of_the_user_interface),
        T(kbd_sets_indicators),
        T(kbd_command_in_place_of_an_argument_replaces_the_command),
        T(kbd_identifies_itself),
        T(kbd_resends_the_last_byte),
        T(kbd_reset_passes_its_self_test_and_restores_defaults),
        T(kbd_disabled_does_not_scan),
        T(kbd_answers_overtake_scan_codes),
        T(kbd_overrun_is_reported_once),
        T(kbd_every_key_fits_every_set),
        T(kbd_reset_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
