/* SPDX-License-Identifier: MIT
 *
 * The mouse at its serial line, without a controller.
 */
#include "ps2_rig.h"

static int setup(void **state)
{
    struct ps2_rig *f = rig_setup(state, sizeof *f);
    f->mouse = ps2mouse_create(f->rig.clock);
    ps2_rig_plug(f, ps2mouse_device(f->mouse), ps2mouse_port(f->mouse));
    f->pointer = ps2mouse_sink(f->mouse);
    return 0;
}

static void move(struct ps2_rig *f, int dx, int dy, int dz, unsigned buttons)
{
    f->pointer.move(f->pointer.opaque, dx, dy, dz, buttons);
}

static void command(struct ps2_rig *f, u8 byte)
{
    send(f, byte);
    EXPECT(f, 0xfa);
}

static void set_rate(struct ps2_rig *f, u8 rate)
{
    command(f, 0xf3);
    command(f, rate);
}

static void enable(struct ps2_rig *f)
{
    command(f, 0xf4);
    clock_step(f->rig.clock, 100 * MS);
}

static void mouse_reset_answers_self_test_and_id(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xff);
    EXPECT(f, 0xfa, 0xaa, 0x00);
}

static void mouse_is_silent_until_enabled(void **state)
{
    struct ps2_rig *f = *state;
    move(f, 5, 5, 0, POINTER_LEFT);
    clock_step(f->rig.clock, 100 * MS);
    assert_int_equal(receive(f), -1);
}

static void mouse_streams_motion_with_y_growing_up(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    move(f, 10, 20, 0, 0);
    EXPECT(f, 0x28, 10, (u8)-20);
    clock_step(f->rig.clock, 100 * MS);
    move(f, -3, -4, 0, 0);
    EXPECT(f, 0x18, (u8)-3, 4);
}

static void mouse_reports_buttons_at_once(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    move(f, 0, 0, 0, POINTER_LEFT);
    move(f, 0, 0, 0, 0);
    move(f, 0, 0, 0, POINTER_RIGHT | POINTER_MIDDLE);
    EXPECT(f, 0x09, 0, 0, 0x08, 0, 0, 0x0e, 0, 0);
}

static void mouse_reports_at_the_sample_rate(void **state)
{
    struct ps2_rig *f = *state;
    set_rate(f, 20); /* 50 ms */
    enable(f);
    move(f, 1, 0, 0, 0);
    EXPECT(f, 0x08, 1, 0);
    move(f, 2, 0, 0, 0);
    move(f, 3, 0, 0, 0);
    clock_step(f->rig.clock, 49 * MS);
    assert_int_equal(receive(f), -1);
    clock_step(f->rig.clock, 1 * MS);
    EXPECT(f, 0x08, 5, 0);
}

static void mouse_keeps_what_does_not_fit_for_the_next_packet(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    move(f, 300, -1000, 0, 0);
    EXPECT(f, 0x08, 255, 255);
    clock_step(f->rig.clock, 10 * MS);
    EXPECT(f, 0x08, 45, 255);
    clock_step(f->rig.clock, 10 * MS);
    EXPECT(f, 0x08, 0, 255);
    clock_step(f->rig.clock, 10 * MS);
    EXPECT(f, 0x08, 0, 235);
    clock_step(f->rig.clock, 100 * MS);
    assert_int_equal(receive(f), -1);
}

static void mouse_largest_negative_motion(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    move(f, -256, 256, 0, 0);
    EXPECT(f, 0x38, 0, 0); /* -256 in nine bits */
}

static void mouse_does_not_pile_up_motion_that_is_not_read(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    for (int i = 0; i < 100; i++) {
        move(f, 1, 0, 0, 0);
        clock_step(f->rig.clock, 10 * MS);
    }
    assert_int_equal(receive(f), 0x08);
    assert_int_equal(receive(f), 1);
    assert_int_equal(receive(f), 0);
    assert_int_equal(receive(f), -1);
    clock_step(f->rig.clock, 10 * MS);
    EXPECT(f, 0x08, 99, 0);
}

static void mouse_knock_turns_the_wheel_on(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0x00);
    set_rate(f, 200);
    set_rate(f, 100);
    set_rate(f, 80);
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0x03);
    enable(f);
    move(f, 1, -1, 1, 0);
    EXPECT(f, 0x08, 1, 1, 1);
    clock_step(f->rig.clock, 20 * MS);
    move(f, 0, 0, -2, 0);
    EXPECT(f, 0x08, 0, 0, (u8)-2);
    send(f, 0xff);
    EXPECT(f, 0xfa, 0xaa, 0x00); /* a reset forgets it */
}

static void mouse_wrong_knock_leaves_the_wheel_off(void **state)
{
    struct ps2_rig *f = *state;
    set_rate(f, 100);
    set_rate(f, 200);
    set_rate(f, 80);
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0x00);
    enable(f);
    move(f, 0, 0, 3, 0);
    assert_int_equal(receive(f), -1); /* without a wheel, turning it says nothing */
}

static void mouse_remote_mode_reports_when_asked(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    command(f, 0xf0);
    move(f, 7, 0, 0, POINTER_LEFT);
    clock_step(f->rig.clock, 100 * MS);
    assert_int_equal(receive(f), -1);
    send(f, 0xeb);
    EXPECT(f, 0xfa, 0x09, 7, 0);
    send(f, 0xeb);
    EXPECT(f, 0xfa, 0x09, 0, 0);
    command(f, 0xea);
    move(f, 2, 0, 0, POINTER_LEFT);
    EXPECT(f, 0x09, 2, 0);
}

static void mouse_wrap_mode_echoes(void **state)
{
    struct ps2_rig *f = *state;
    command(f, 0xee);
    send(f, 0x55);
    EXPECT(f, 0x55);
    send(f, 0xf2);
    EXPECT(f, 0xf2);
    command(f, 0xec);
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0x00);
}

static void mouse_status_shows_modes_resolution_and_rate(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xe9);
    EXPECT(f, 0xfa, 0x00, 0x02, 100);
    command(f, 0xe8);
    command(f, 0x03);
    set_rate(f, 40);
    command(f, 0xe7);
    enable(f);
    move(f, 0, 0, 0, POINTER_LEFT | POINTER_RIGHT);
    while (receive(f) >= 0)
        continue;
    send(f, 0xe9);
    EXPECT(f, 0xfa, 0x35, 0x03, 40);
    command(f, 0xf0);
    send(f, 0xe9);
    EXPECT(f, 0xfa, 0x75, 0x03, 40);
    command(f, 0xf6); /* defaults */
    send(f, 0xe9);
    EXPECT(f, 0xfa, 0x05, 0x02, 100);
}

static void mouse_scaling_2_to_1_in_stream_mode(void **state)
{
    struct ps2_rig *f = *state;
    static const u8 scaled[][2] = {{1, 1}, {2, 1}, {3, 3}, {4, 6}, {5, 9}, {6, 12}, {50, 100}};
    command(f, 0xe7);
    enable(f);
    for (size_t i = 0; i < ARRAY_LEN(scaled); i++) {
        move(f, scaled[i][0], 0, 0, 0);
        EXPECT(f, 0x08, scaled[i][1], 0);
        clock_step(f->rig.clock, 20 * MS);
    }
    move(f, 4, 0, 0, 0);
    while (receive(f) >= 0)
        continue;
    move(f, 4, 0, 0, 0);
    send(f, 0xeb); /* asked for: not scaled */
    EXPECT(f, 0xfa, 0x08, 4, 0);
}

static void mouse_refuses_bad_commands_and_arguments(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xe1);
    EXPECT(f, 0xfe);
    command(f, 0xe8);
    send(f, 0x04);
    EXPECT(f, 0xfe);
    command(f, 0x01); /* still waiting for the resolution */
}

static void mouse_resends_the_last_byte(void **state)
{
    struct ps2_rig *f = *state;
    send(f, 0xf2);
    EXPECT(f, 0xfa, 0x00);
    send(f, 0xfe);
    EXPECT(f, 0x00);
}

static void mouse_command_drops_what_waits(void **state)
{
    struct ps2_rig *f = *state;
    enable(f);
    move(f, 1, 1, 0, POINTER_LEFT);
    send(f, 0xf5);
    EXPECT(f, 0xfa);
    move(f, 1, 1, 0, 0);
    assert_int_equal(receive(f), -1);
}

static void mouse_survives_hostile_input(void **state)
{
    struct ps2_rig *f = *state;
    srand(7);
    enable(f);
    for (int i = 0; i < 50000; i++) {
        switch (rand() % 4) {
        case 0: send(f, (u8)rand()); break;
        case 1: move(f, rand() - rand(), rand() - rand(), rand() - rand(), (unsigned)rand()); break;
        case 2: clock_step(f->rig.clock, rand() % 100 * MS); break;
        default: receive(f); break;
        }
    }
    device_reset(ps2mouse_device(f->mouse));
    check_state_table(ps2mouse_device(f->mouse));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mouse_reset_answers_self_test_and_id),
        T(mouse_is_silent_until_enabled),
        T(mouse_streams_motion_with_y_growing_up),
        T(mouse_reports_buttons_at_once),
        T(mouse_reports_at_the_sample_rate),
        T(mouse_keeps_what_does_not_fit_for_the_next_packet),
        T(mouse_largest_negative_motion),
        T(mouse_does_not_pile_up_motion_that_is_not_read),
        T(mouse_knock_turns_the_wheel_on),
        T(mouse_wrong_knock_leaves_the_wheel_off),
        T(mouse_remote_mode_reports_when_asked),
        T(mouse_wrap_mode_echoes),
        T(mouse_status_shows_modes_resolution_and_rate),
        T(mouse_scaling_2_to_1_in_stream_mode),
        T(mouse_refuses_bad_commands_and_arguments),
        T(mouse_resends_the_last_byte),
        T(mouse_command_drops_what_waits),
        T(mouse_survives_hostile_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
