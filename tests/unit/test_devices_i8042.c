/* SPDX-License-Identifier: MIT
 *
 * The keyboard controller with its two devices, from the bus side.
 */
#include "device_rig.h"

#include "devices/i8042.h"
#include "devices/ps2kbd.h"
#include "devices/ps2mouse.h"

#define MS INT64_C(1000000)

enum { KEY_A = 0x04, KEY_RIGHT = 0x4f, KEY_PAUSE = 0x48 };

struct fixture {
    struct rig rig;
    struct wire irq1, irq12, a20, reset;
    struct ps2kbd *kbd;
    struct ps2mouse *mouse;
    struct i8042 *kbc;
};

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    f->kbd = ps2kbd_create(f->rig.clock);
    f->mouse = ps2mouse_create(f->rig.clock);
    rig_add(&f->rig, ps2kbd_device(f->kbd));
    rig_add(&f->rig, ps2mouse_device(f->mouse));
    struct i8042_lines lines = {
        .irq1 = wire_line(&f->irq1),
        .irq12 = wire_line(&f->irq12),
        .a20 = wire_line(&f->a20),
        .reset = wire_line(&f->reset),
    };
    f->kbc = i8042_create(f->rig.bus, &lines, f->rig.clock, ps2kbd_port(f->kbd),
                          ps2mouse_port(f->mouse));
    rig_add(&f->rig, i8042_device(f->kbc));
    return 0;
}

static void key(struct fixture *f, hid_key k, bool down)
{
    struct keyboard_sink sink = ps2kbd_sink(f->kbd);
    sink.key(sink.opaque, k, down);
}

static u8 status(struct fixture *f)
{
    return inb(&f->rig, 0x64);
}

static void config(struct fixture *f, u8 value)
{
    outb(&f->rig, 0x64, 0x60);
    outb(&f->rig, 0x60, value);
}

static u8 reply_to(struct fixture *f, u8 command)
{
    outb(&f->rig, 0x64, command);
    assert_int_equal(status(f) & 0x21, 0x01);
    return inb(&f->rig, 0x60);
}

/* The next device byte; lets the serial line take its time. */
static int next_byte(struct fixture *f)
{
    if (!(status(f) & 1))
        clock_step(f->rig.clock, 1 * MS);
    return status(f) & 1 ? inb(&f->rig, 0x60) : -1;
}

static void kbc_self_tests(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(status(f) & 0x04, 0);
    assert_int_equal(reply_to(f, 0xaa), 0x55);
    assert_int_equal(status(f) & 0x04, 0x04);
    assert_int_equal(reply_to(f, 0xab), 0x00);
    assert_int_equal(reply_to(f, 0xa9), 0x00);
    assert_int_equal(reply_to(f, 0xa4), 0xf1);
    assert_int_equal(status(f) & 1, 0);
}

static void kbc_configuration_and_ram(void **state)
{
    struct fixture *f = *state;
    config(f, 0x47);
    assert_int_equal(reply_to(f, 0x20), 0x47);
    outb(&f->rig, 0x64, 0x75);
    outb(&f->rig, 0x60, 0x99);
    assert_int_equal(reply_to(f, 0x35), 0x99);
}

static void kbc_status_tells_where_the_last_write_went(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0x60);
    assert_int_equal(status(f) & 0x08, 0x08);
    outb(&f->rig, 0x60, 0x00);
    assert_int_equal(status(f) & 0x08, 0);
    assert_int_equal(status(f) & 0x10, 0x10);
}

static void kbc_translates_set_2_to_set_1(void **state)
{
    struct fixture *f = *state;
    config(f, 0x41);
    key(f, KEY_A, true);
    assert_true(f->irq1.level);
    assert_int_equal(next_byte(f), 0x1e);
    assert_false(f->irq1.level);
    key(f, KEY_A, false);
    assert_int_equal(next_byte(f), 0x9e);
    key(f, KEY_RIGHT, true);
    key(f, KEY_RIGHT, false);
    assert_int_equal(next_byte(f), 0xe0);
    assert_int_equal(next_byte(f), 0x4d);
    assert_int_equal(next_byte(f), 0xe0);
    assert_int_equal(next_byte(f), 0xcd);
    assert_int_equal(next_byte(f), -1);
}

static void kbc_translates_pause(void **state)
{
    struct fixture *f = *state;
    config(f, 0x40);
    key(f, KEY_PAUSE, true);
    static const u8 expected[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    for (size_t i = 0; i < sizeof expected; i++)
        assert_int_equal(next_byte(f), expected[i]);
    assert_int_equal(next_byte(f), -1);
}

static void kbc_passes_set_2_when_it_does_not_translate(void **state)
{
    struct fixture *f = *state;
    config(f, 0x00);
    key(f, KEY_A, true);
    key(f, KEY_A, false);
    assert_int_equal(next_byte(f), 0x1c);
    assert_int_equal(next_byte(f), 0xf0);
    assert_int_equal(next_byte(f), 0x1c);
}

static void kbc_translates_the_id_as_the_chip_does(void **state)
{
    struct fixture *f = *state;
    config(f, 0x40);
    outb(&f->rig, 0x60, 0xf2);
    assert_int_equal(next_byte(f), 0xfa);
    assert_int_equal(next_byte(f), 0xab);
    assert_int_equal(next_byte(f), 0x41);
}

static void kbc_byte_can_be_read_twice_before_the_next_arrives(void **state)
{
    struct fixture *f = *state;
    config(f, 0x41);
    key(f, KEY_RIGHT, true);
    assert_int_equal(inb(&f->rig, 0x60), 0xe0);
    assert_int_equal(status(f) & 1, 0);
    assert_int_equal(inb(&f->rig, 0x60), 0xe0);
    clock_step(f->rig.clock, 700000);
    assert_int_equal(f->irq1.rises, 2);
    assert_int_equal(inb(&f->rig, 0x60), 0x4d);
}

static void kbc_disabled_keyboard_keeps_its_bytes(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0xad);
    assert_int_equal(reply_to(f, 0x20) & 0x10, 0x10);
    key(f, KEY_A, true);
    clock_step(f->rig.clock, 10 * MS);
    assert_int_equal(status(f) & 1, 0);
    outb(&f->rig, 0x64, 0xae);
    assert_int_equal(next_byte(f), 0x1e);
}

static void kbc_sending_to_the_keyboard_enables_it(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0xad);
    outb(&f->rig, 0x60, 0xee);
    assert_int_equal(next_byte(f), 0xee);
}

static void kbc_reply_overtakes_waiting_scan_codes(void **state)
{
    struct fixture *f = *state;
    config(f, 0x41);
    key(f, KEY_A, true);
    key(f, KEY_A, false);
    outb(&f->rig, 0x64, 0x20);
    assert_int_equal(inb(&f->rig, 0x60), 0x1e);
    assert_int_equal(inb(&f->rig, 0x60), 0x41);
    assert_int_equal(next_byte(f), 0x9e);
}

static void kbc_aux_bytes_are_marked_and_use_irq12(void **state)
{
    struct fixture *f = *state;
    config(f, 0x43);
    outb(&f->rig, 0x64, 0xd4);
    outb(&f->rig, 0x60, 0xf4);
    assert_int_equal(status(f) & 0x21, 0x21);
    assert_true(f->irq12.level);
    assert_false(f->irq1.level);
    assert_int_equal(inb(&f->rig, 0x60), 0xfa);
    assert_false(f->irq12.level);
    clock_step(f->rig.clock, 100 * MS);
    struct pointer_sink sink = ps2mouse_sink(f->mouse);
    sink.move(sink.opaque, 3, 0, 0, 0);
    assert_int_equal(next_byte(f), 0x08);
    assert_int_equal(next_byte(f), 3); /* mouse bytes are not translated */
    assert_int_equal(next_byte(f), 0);
}

static void kbc_disabled_aux_keeps_its_bytes(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0xd4);
    outb(&f->rig, 0x60, 0xf2);
    assert_int_equal(next_byte(f), 0xfa);
    outb(&f->rig, 0x64, 0xa7);
    assert_int_equal(next_byte(f), -1);
    assert_int_equal(reply_to(f, 0x20) & 0x20, 0x20);
    outb(&f->rig, 0x64, 0xa8);
    assert_int_equal(next_byte(f), 0x00);
}

static void kbc_interrupts_are_enabled_by_configuration(void **state)
{
    struct fixture *f = *state;
    config(f, 0x40);
    key(f, KEY_A, true);
    assert_int_equal(status(f) & 1, 1);
    assert_false(f->irq1.level);
    config(f, 0x41); /* the byte is still there */
    assert_true(f->irq1.level);
}

static void kbc_loopback_into_the_output_buffer(void **state)
{
    struct fixture *f = *state;
    config(f, 0x43);
    outb(&f->rig, 0x64, 0xd2);
    outb(&f->rig, 0x60, 0x5a);
    assert_true(f->irq1.level);
    assert_int_equal(inb(&f->rig, 0x60), 0x5a);
    outb(&f->rig, 0x64, 0xd3);
    outb(&f->rig, 0x60, 0xa5);
    assert_true(f->irq12.level);
    assert_int_equal(status(f) & 0x20, 0x20);
    assert_int_equal(inb(&f->rig, 0x60), 0xa5);
}

static void kbc_output_port_drives_a20(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0xd1);
    outb(&f->rig, 0x60, 0xdf);
    assert_true(f->a20.level);
    assert_int_equal(reply_to(f, 0xd0) & 0x03, 0x03);
    outb(&f->rig, 0x64, 0xd1);
    outb(&f->rig, 0x60, 0xdd);
    assert_false(f->a20.level);
    assert_int_equal(reply_to(f, 0xd0) & 0x03, 0x01);
    outb(&f->rig, 0x64, 0xdf);
    assert_true(f->a20.level);
    outb(&f->rig, 0x64, 0xdd);
    assert_false(f->a20.level);
    assert_int_equal(f->reset.rises, 0);
}

static void kbc_resets_by_output_port_and_by_pulse(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x64, 0xd1);
    outb(&f->rig, 0x60, 0xfe);
    assert_int_equal(f->reset.rises, 1);
    outb(&f->rig, 0x64, 0xfe);
    assert_int_equal(f->reset.rises, 2);
    outb(&f->rig, 0x64, 0xff); /* pulses nothing */
    outb(&f->rig, 0x64, 0xfd);
    assert_int_equal(f->reset.rises, 2);
}

static void kbc_reads_input_port_and_test_inputs(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(reply_to(f, 0xc0) & 0x80, 0x80); /* not locked */
    assert_int_equal(reply_to(f, 0xe0), 0x03);
}

static void kbc_reset_state(void **state)
{
    struct fixture *f = *state;
    config(f, 0x03);
    key(f, KEY_A, true);
    device_reset(ps2kbd_device(f->kbd));
    device_reset(i8042_device(f->kbc));
    assert_false(f->irq1.level);
    assert_int_equal(status(f), 0x10);
    assert_int_equal(reply_to(f, 0x20), 0x40);
    check_state_table(i8042_device(f->kbc));
}

static void kbc_survives_hostile_input(void **state)
{
    struct fixture *f = *state;
    srand(3);
    for (int i = 0; i < 100000; i++) {
        u16 port = rand() & 1 ? 0x60 : 0x64;
        switch (rand() % 5) {
        case 0:
        case 1: outb(&f->rig, port, (u8)rand()); break;
        case 2: inb(&f->rig, port); break;
        case 3: key(f, (hid_key)rand(), rand() & 1); break;
        default: clock_step(f->rig.clock, rand() % 3 * MS); break;
        }
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(kbc_self_tests),
        T(kbc_configuration_and_ram),
        T(kbc_status_tells_where_the_last_write_went),
        T(kbc_translates_set_2_to_set_1),
        T(kbc_translates_pause),
        T(kbc_passes_set_2_when_it_does_not_translate),
        T(kbc_translates_the_id_as_the_chip_does),
        T(kbc_byte_can_be_read_twice_before_the_next_arrives),
        T(kbc_disabled_keyboard_keeps_its_bytes),
        T(kbc_sending_to_the_keyboard_enables_it),
        T(kbc_reply_overtakes_waiting_scan_codes),
        T(kbc_aux_bytes_are_marked_and_use_irq12),
        T(kbc_disabled_aux_keeps_its_bytes),
        T(kbc_interrupts_are_enabled_by_configuration),
        T(kbc_loopback_into_the_output_buffer),
        T(kbc_output_port_drives_a20),
        T(kbc_resets_by_output_port_and_by_pulse),
        T(kbc_reads_input_port_and_test_inputs),
        T(kbc_reset_state),
        T(kbc_survives_hostile_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
