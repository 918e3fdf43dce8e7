/* SPDX-License-Identifier: MIT
 *
 * ACPI hardware, port 92h and the debug ports from the bus side.
 */
#include "device_rig.h"

#include "devices/acpi_pm.h"
#include "devices/debug_exit.h"
#include "devices/port92.h"

#define BASE 0x600

struct fixture {
    struct rig rig;
    struct wire sci;
    struct acpi_pm *pm;
    unsigned power_offs, suspends, resets;
};

static void note_power_off(void *opaque)
{
    ((struct fixture *)opaque)->power_offs++;
}

static void note_suspend(void *opaque)
{
    ((struct fixture *)opaque)->suspends++;
}

static void note_reset(void *opaque)
{
    ((struct fixture *)opaque)->resets++;
}

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    struct acpi_pm_hooks hooks = {
        .power_off = note_power_off, .suspend = note_suspend, .reset = note_reset, .opaque = f};
    f->pm = acpi_pm_create(f->rig.bus, &acpi_pm_piix4, wire_line(&f->sci), f->rig.clock, &hooks);
    rig_add(&f->rig, acpi_pm_device(f->pm));
    acpi_pm_map(f->pm, BASE);
    return 0;
}

static void pm_block_moves_where_it_is_mapped(void **state)
{
    struct fixture *f = *state;
    outw(&f->rig, BASE + 2, 0x0100);
    acpi_pm_map(f->pm, 0xb000);
    assert_int_equal(inw(&f->rig, BASE + 2), 0xffff);
    assert_int_equal(inw(&f->rig, 0xb002), 0x0100);
    acpi_pm_map(f->pm, 0);
    assert_int_equal(inw(&f->rig, 0xb002), 0xffff);
    acpi_pm_map(f->pm, 0xffc0); /* the last place there is */
    assert_int_equal(inl(&f->rig, 0xfffc), 0);
}

static void pm_timer_counts_3_579545_mhz_in_24_bits(void **state)
{
    struct fixture *f = *state;
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_int_equal(inl(&f->rig, BASE + 8), 3579545);
    clock_step(f->rig.clock, 9 * NS_PER_SEC);
    assert_int_equal(inl(&f->rig, BASE + 8), 35795450 & 0xffffff);
    outl(&f->rig, BASE + 8, 0);
    assert_int_equal(inl(&f->rig, BASE + 8), 35795450 & 0xffffff);
}

static void pm_timer_status_is_set_when_the_top_bit_changes(void **state)
{
    struct fixture *f = *state;
    i64 half = (i64)mul_div(1 << 23, NS_PER_SEC, ACPI_PM_TIMER_HZ);
    clock_step(f->rig.clock, half - 1000);
    assert_int_equal(inw(&f->rig, BASE) & 1, 0);
    clock_step(f->rig.clock, 2000);
    assert_int_equal(inw(&f->rig, BASE) & 1, 1);
    outw(&f->rig, BASE, 1);
    assert_int_equal(inw(&f->rig, BASE) & 1, 0);
    clock_step(f->rig.clock, half);
    assert_int_equal(inw(&f->rig, BASE) & 1, 1);
}

static void pm_timer_overflow_raises_sci_when_enabled(void **state)
{
    struct fixture *f = *state;
    assert_true(clock_next_deadline(f->rig.clock) == CLOCK_NEVER);
    outb(&f->rig, 0xb2, ACPI_PM_ENABLE);
    outw(&f->rig, BASE + 2, 1);
    clock_step(f->rig.clock, 3 * NS_PER_SEC);
    assert_true(f->sci.level);
    outw(&f->rig, BASE, 1);
    assert_false(f->sci.level);
    clock_step(f->rig.clock, 3 * NS_PER_SEC);
    assert_true(f->sci.level);
}

static void pm_smi_command_switches_acpi_mode(void **state)
{
    struct fixture *f = *state;
    assert_false(acpi_pm_enabled(f->pm));
    outb(&f->rig, 0xb2, ACPI_PM_ENABLE);
    assert_true(acpi_pm_enabled(f->pm));
    assert_int_equal(inw(&f->rig, BASE + 4) & 1, 1);
    outb(&f->rig, 0xb2, ACPI_PM_DISABLE);
    assert_int_equal(inw(&f->rig, BASE + 4) & 1, 0);
    outb(&f->rig, 0xb3, 0x5a);
    assert_int_equal(inb(&f->rig, 0xb3), 0x5a);
    assert_int_equal(inb(&f->rig, 0xb2), ACPI_PM_DISABLE);
}

static void pm_power_button_raises_sci_until_status_is_cleared(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0xb2, ACPI_PM_ENABLE);
    acpi_pm_power_button(f->pm);
    assert_false(f->sci.level); /* not enabled */
    assert_int_equal(inw(&f->rig, BASE), 0x0100);
    outw(&f->rig, BASE + 2, 0x0100);
    assert_true(f->sci.level);
    outb(&f->rig, BASE + 1, 0x01); /* byte access, write one to clear */
    assert_false(f->sci.level);
    acpi_pm_power_button(f->pm);
    assert_true(f->sci.level);
    outb(&f->rig, 0xb2, ACPI_PM_DISABLE); /* no SCI outside ACPI mode */
    assert_false(f->sci.level);
}

static void pm_slp_en_with_type_0_powers_off(void **state)
{
    struct fixture *f = *state;
    outw(&f->rig, BASE + 4, 0x0001);
    assert_int_equal(f->power_offs, 0);
    outw(&f->rig, BASE + 4, 0x2001);
    assert_int_equal(f->power_offs, 1);
    assert_int_equal(inw(&f->rig, BASE + 4), 0x0001); /* SLP_EN reads 0 */
}

static void pm_slp_typ_selects_the_state(void **state)
{
    struct fixture *f = *state;
    outw(&f->rig, BASE + 4, 0x2400);
    assert_int_equal(f->suspends, 1);
    outb(&f->rig, BASE + 5, 0x34); /* type 5, by byte */
    assert_int_equal(f->suspends, 1);
    assert_int_equal(f->power_offs, 0);
    assert_int_equal(inw(&f->rig, BASE + 4), 0x1400);
}

static void pm_general_purpose_registers(void **state)
{
    struct fixture *f = *state;
    outw(&f->rig, BASE + 14, 0x1234);
    assert_int_equal(inl(&f->rig, BASE + 12), 0x12340000);
    outw(&f->rig, BASE + 12, 0xffff);
    assert_int_equal(inw(&f->rig, BASE + 12), 0);
}

static void pm_reset_control_resets_when_rcpu_rises(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0xcf9, 0x02);
    assert_int_equal(f->resets, 0);
    outb(&f->rig, 0xcf9, 0x06);
    assert_int_equal(f->resets, 1);
    outb(&f->rig, 0xcf9, 0x06);
    assert_int_equal(f->resets, 1);
    assert_int_equal(inb(&f->rig, 0xcf9), 0x06);
}

static void pm_reset_state(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0xb2, ACPI_PM_ENABLE);
    outw(&f->rig, BASE + 2, 0x0100);
    acpi_pm_power_button(f->pm);
    device_reset(acpi_pm_device(f->pm));
    assert_false(f->sci.level);
    assert_int_equal(inl(&f->rig, BASE), 0);
    assert_int_equal(inw(&f->rig, BASE + 4), 0);
    check_state_table(acpi_pm_device(f->pm));
}

static void pm_unmodelled_registers_of_the_block_read_zero(void **state)
{
    struct fixture *f = *state;
    for (u16 at = 16; at < 64; at += 4) {
        outl(&f->rig, BASE + at, 0xffffffff);
        assert_int_equal(inl(&f->rig, BASE + at), 0);
    }
}

static void port92_drives_a20_and_resets_on_a_rising_bit(void **state)
{
    struct fixture *f = *state;
    struct wire a20 = {0}, reset = {0};
    struct port92 *p = port92_create(f->rig.bus, wire_line(&a20), wire_line(&reset));
    outb(&f->rig, 0x92, 0x02);
    assert_true(a20.level);
    assert_int_equal(inb(&f->rig, 0x92), 0x02);
    outb(&f->rig, 0x92, 0x01);
    assert_false(a20.level);
    assert_int_equal(reset.rises, 1);
    outb(&f->rig, 0x92, 0x01);
    assert_int_equal(reset.rises, 1);
    device_reset(port92_device(p));
    assert_int_equal(inb(&f->rig, 0x92), 0x00);
    check_state_table(port92_device(p));
    device_destroy(port92_device(p));
}

static void note_exit(void *opaque, u32 status)
{
    *(u32 *)opaque = status;
}

static void debug_exit_gives_twice_the_value_plus_one(void **state)
{
    struct fixture *f = *state;
    u32 status = 0;
    struct debug_exit *d = debug_exit_create(f->rig.bus, 0xf4, 4, note_exit, &status);
    assert_int_equal(inl(&f->rig, 0xf4), 0);
    outl(&f->rig, 0xf4, 0x10);
    assert_int_equal(status, 0x21);
    outb(&f->rig, 0xf4, 0x00);
    assert_int_equal(status, 1);
    check_state_table(debug_exit_device(d));
    device_destroy(debug_exit_device(d));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pm_block_moves_where_it_is_mapped),
        T(pm_timer_counts_3_579545_mhz_in_24_bits),
        T(pm_timer_status_is_set_when_the_top_bit_changes),
        T(pm_timer_overflow_raises_sci_when_enabled),
        T(pm_smi_command_switches_acpi_mode),
        T(pm_power_button_raises_sci_until_status_is_cleared),
        T(pm_slp_en_with_type_0_powers_off),
        T(pm_slp_typ_selects_the_state),
        T(pm_general_purpose_registers),
        T(pm_reset_control_resets_when_rcpu_rises),
        T(pm_reset_state),
        T(pm_unmodelled_registers_of_the_block_read_zero),
        T(port92_drives_a20_and_resets_on_a_rising_bit),
        T(debug_exit_gives_twice_the_value_plus_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
