/* SPDX-License-Identifier: MIT
 *
 * The real-time clock from the bus side.
 */
#include "device_rig.h"

#include "devices/mc146818.h"

#define START INT64_C(1709164798) /* Wednesday 2024-02-28 23:59:58 UTC */
#define US    INT64_C(1000)
#define MS    INT64_C(1000000)

struct fixture {
    struct rig rig;
    struct wire irq8;
    struct mc146818 *rtc;
};

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    f->rtc = mc146818_create(f->rig.bus, wire_line(&f->irq8), f->rig.clock, START);
    rig_add(&f->rig, mc146818_device(f->rtc));
    return 0;
}

static u8 get(struct fixture *f, u8 index)
{
    outb(&f->rig, 0x70, index);
    return inb(&f->rig, 0x71);
}

static void set(struct fixture *f, u8 index, u8 value)
{
    outb(&f->rig, 0x70, index);
    outb(&f->rig, 0x71, value);
}

static void set_time(struct fixture *f, u8 h, u8 m, u8 s)
{
    set(f, 4, h);
    set(f, 2, m);
    set(f, 0, s);
}

static void assert_hms(struct fixture *f, u8 h, u8 m, u8 s)
{
    assert_int_equal(get(f, 4), h);
    assert_int_equal(get(f, 2), m);
    assert_int_equal(get(f, 0), s);
}

static void rtc_shows_its_start_in_bcd_and_24_hours(void **state)
{
    struct fixture *f = *state;
    assert_hms(f, 0x23, 0x59, 0x58);
    assert_int_equal(get(f, 6), 4);
    assert_int_equal(get(f, 7), 0x28);
    assert_int_equal(get(f, 8), 0x02);
    assert_int_equal(get(f, 9), 0x24);
    assert_int_equal(get(f, 0x32), 0x20);
    assert_int_equal(get(f, 0x37), 0x20);
    assert_int_equal(get(f, 0x0d), 0x80);
    assert_int_equal(get(f, 0x0b), 0x02);
    assert_int_equal(get(f, 0x0a), 0x26);
}

/* The thread is scheduled away for 0.6 s whenever the device reads the clock. */
static void rtc_loses_no_second_to_a_slow_host(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0a, 0x76); /* the divider is held */
    set_time(f, 0x10, 0, 0);
    outb(&f->rig, 0x70, 0x0a);
    i64 released = clock_now(f->rig.clock);
    clock_set_creep(f->rig.clock, 600 * MS);
    outb(&f->rig, 0x71, 0x26);
    clock_set_creep(f->rig.clock, 0);
    i64 since = clock_now(f->rig.clock) - released + 500 * MS; /* the first second is a half one */
    assert_true(since / NS_PER_SEC >= 1 && since / NS_PER_SEC <= 9);
    assert_hms(f, 0x10, 0, (u8)(since / NS_PER_SEC));
}

static void rtc_carries_into_a_leap_day(void **state)
{
    struct fixture *f = *state;
    clock_step(f->rig.clock, 2 * NS_PER_SEC);
    assert_hms(f, 0, 0, 0);
    assert_int_equal(get(f, 7), 0x29);
    assert_int_equal(get(f, 8), 0x02);
    assert_int_equal(get(f, 6), 5);
    clock_step(f->rig.clock, 86400 * NS_PER_SEC);
    assert_int_equal(get(f, 7), 0x01);
    assert_int_equal(get(f, 8), 0x03);
    assert_int_equal(get(f, 6), 6);
}

static void rtc_carries_into_the_next_century(void **state)
{
    struct fixture *f = *state;
    set(f, 7, 0x31);
    set(f, 8, 0x12);
    set(f, 9, 0x99);
    set(f, 0x32, 0x19);
    clock_step(f->rig.clock, 2 * NS_PER_SEC);
    assert_int_equal(get(f, 7), 0x01);
    assert_int_equal(get(f, 8), 0x01);
    assert_int_equal(get(f, 9), 0x00);
    assert_int_equal(get(f, 0x32), 0x20);
}

static void rtc_counts_in_binary_mode(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x86); /* SET, DM, 24h */
    set_time(f, 9, 59, 59);
    set(f, 0x0b, 0x06);
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_hms(f, 10, 0, 0);
}

static void rtc_counts_in_12_hour_mode(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x00);
    set_time(f, 0x11, 0x59, 0x59); /* before noon */
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_hms(f, 0x92, 0, 0);
    clock_step(f->rig.clock, 3600 * NS_PER_SEC);
    assert_int_equal(get(f, 4), 0x81);
    clock_step(f->rig.clock, 11 * 3600 * NS_PER_SEC);
    assert_int_equal(get(f, 4), 0x12); /* midnight */
}

static void rtc_set_bit_stops_updates_and_keeps_the_phase(void **state)
{
    struct fixture *f = *state;
    clock_step(f->rig.clock, 300 * MS);
    set(f, 0x0b, 0x82);
    set_time(f, 0x10, 0x20, 0x30);
    clock_step(f->rig.clock, 5 * NS_PER_SEC);
    assert_hms(f, 0x10, 0x20, 0x30);
    assert_int_equal(get(f, 0x0c) & 0x10, 0);
    set(f, 0x0b, 0x02);
    clock_step(f->rig.clock, 699 * MS);
    assert_hms(f, 0x10, 0x20, 0x30);
    clock_step(f->rig.clock, 1 * MS);
    assert_hms(f, 0x10, 0x20, 0x31);
}

static void rtc_uip_rises_2228_us_before_the_update(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x0a) & 0x80, 0);
    clock_step(f->rig.clock, NS_PER_SEC - 2229 * US);
    assert_int_equal(get(f, 0x0a) & 0x80, 0);
    clock_step(f->rig.clock, US);
    assert_int_equal(get(f, 0x0a) & 0x80, 0x80);
    clock_step(f->rig.clock, 2227 * US);
    assert_int_equal(get(f, 0x0a) & 0x80, 0x80);
    assert_int_equal(get(f, 0), 0x58);
    clock_step(f->rig.clock, US);
    assert_int_equal(get(f, 0x0a) & 0x80, 0);
    assert_int_equal(get(f, 0), 0x59);
}

static void rtc_uip_stays_low_while_set(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x82);
    clock_step(f->rig.clock, NS_PER_SEC - 1000 * US);
    assert_int_equal(get(f, 0x0a) & 0x80, 0);
}

static void rtc_divider_reset_holds_and_releases_half_a_second_before_an_update(void **state)
{
    struct fixture *f = *state;
    clock_step(f->rig.clock, 123 * MS);
    set(f, 0x0a, 0x66);
    clock_step(f->rig.clock, 5 * NS_PER_SEC);
    assert_int_equal(get(f, 0), 0x58);
    set(f, 0x0a, 0x26);
    clock_step(f->rig.clock, 499 * MS);
    assert_int_equal(get(f, 0), 0x58);
    clock_step(f->rig.clock, 1 * MS);
    assert_int_equal(get(f, 0), 0x59);
}

static void rtc_update_ended_interrupt_holds_until_c_is_read(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x12);
    clock_step(f->rig.clock, NS_PER_SEC - 1);
    assert_false(f->irq8.level);
    clock_step(f->rig.clock, 1);
    assert_true(f->irq8.level);
    clock_step(f->rig.clock, 3 * NS_PER_SEC);
    assert_int_equal(f->irq8.rises, 1);
    assert_int_equal(get(f, 0x0c) & 0xd0, 0xd0); /* PF too: flags do not need enables */
    assert_false(f->irq8.level);
    assert_int_equal(get(f, 0x0c), 0);
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_int_equal(f->irq8.rises, 2);
}

static void rtc_set_clears_uie(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x92);
    assert_int_equal(get(f, 0x0b), 0x82);
}

static void rtc_alarm_fires_at_its_time_once_a_day(void **state)
{
    struct fixture *f = *state;
    set(f, 5, 0x00);
    set(f, 3, 0x00);
    set(f, 1, 0x01);
    set(f, 0x0b, 0x22);
    clock_step(f->rig.clock, 3 * NS_PER_SEC - 1);
    assert_false(f->irq8.level);
    clock_step(f->rig.clock, 1);
    assert_true(f->irq8.level);
    assert_int_equal(get(f, 0x0c) & 0xa0, 0xa0);
    clock_step(f->rig.clock, 86399 * NS_PER_SEC);
    assert_false(f->irq8.level);
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_true(f->irq8.level);
}

static void rtc_alarm_dont_care_matches_every_value(void **state)
{
    struct fixture *f = *state;
    set(f, 5, 0xc0);
    set(f, 3, 0xff);
    set(f, 1, 0x10);
    set(f, 0x0b, 0x22);
    for (int minute = 0; minute < 5; minute++) {
        clock_step(f->rig.clock, 60 * NS_PER_SEC);
        assert_int_equal(get(f, 0x0c) & 0x20, 0x20);
    }
    assert_int_equal(f->irq8.rises, 5);
}

static void rtc_alarm_flag_is_set_without_its_interrupt(void **state)
{
    struct fixture *f = *state;
    set(f, 5, 0xc0);
    set(f, 3, 0xc0);
    set(f, 1, 0x30);
    clock_step(f->rig.clock, 31 * NS_PER_SEC);
    assert_int_equal(get(f, 0x0c) & 0xa0, 0);
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_int_equal(get(f, 0x0c) & 0xa0, 0x20);
    assert_false(f->irq8.level);
}

static void rtc_alarm_that_cannot_match_never_fires(void **state)
{
    struct fixture *f = *state;
    set(f, 5, 0x77);
    set(f, 0x0b, 0x22);
    clock_step(f->rig.clock, 2 * 86400 * NS_PER_SEC);
    assert_false(f->irq8.level);
}

static void rtc_periodic_rates(void **state)
{
    struct fixture *f = *state;
    static const struct {
        u8 rate;
        unsigned hz;
    } rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {8, 256}, {13, 8}, {15, 2}};
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        set(f, 0x0a, 0x20 | rates[i].rate);
        set(f, 0x0b, 0x42);
        get(f, 0x0c);
        unsigned seen = 0;
        i64 end = clock_now(f->rig.clock) + NS_PER_SEC;
        while (clock_now(f->rig.clock) < end) {
            clock_step(f->rig.clock, 20 * US);
            if (f->irq8.level) {
                seen++;
                assert_int_equal(get(f, 0x0c) & 0xc0, 0xc0);
            }
        }
        assert_int_equal(seen, rates[i].hz);
    }
}

static void rtc_periodic_flag_can_be_polled(void **state)
{
    struct fixture *f = *state;
    get(f, 0x0c);
    clock_step(f->rig.clock, 900 * US);
    assert_int_equal(get(f, 0x0c) & 0x40, 0);
    clock_step(f->rig.clock, 80 * US);
    assert_int_equal(get(f, 0x0c), 0x40);
    set(f, 0x0a, 0x20); /* rate 0: none */
    clock_step(f->rig.clock, 5 * MS);
    assert_int_equal(get(f, 0x0c) & 0x40, 0);
}

static void rtc_idle_chip_arms_no_timer(void **state)
{
    struct fixture *f = *state;
    assert_true(clock_next_deadline(f->rig.clock) == CLOCK_NEVER);
    set(f, 0x0b, 0x42);
    assert_true(clock_next_deadline(f->rig.clock) != CLOCK_NEVER);
    clock_step(f->rig.clock, 10 * MS); /* flag set, not acknowledged: nothing more can come */
    assert_true(clock_next_deadline(f->rig.clock) == CLOCK_NEVER);
}

static void rtc_cmos_memory_is_shared_with_the_machine(void **state)
{
    struct fixture *f = *state;
    mc146818_set_cmos(f->rtc, 0x34, 0x5a);
    assert_int_equal(get(f, 0x34), 0x5a);
    set(f, 0x7f, 0xa5);
    assert_int_equal(mc146818_cmos(f->rtc, 0x7f), 0xa5);
    mc146818_set_cmos(f->rtc, 0x0b, 0xff);
    assert_int_equal(get(f, 0x0b), 0x02);
}

static void rtc_port70_bit7_masks_nmi(void **state)
{
    struct fixture *f = *state;
    assert_false(mc146818_nmi_masked(f->rtc));
    outb(&f->rig, 0x70, 0x80);
    assert_true(mc146818_nmi_masked(f->rtc));
    assert_int_equal(inb(&f->rig, 0x71), 0x58);
    assert_int_equal(inb(&f->rig, 0x70), 0xff);
    outb(&f->rig, 0x70, 0x00);
    assert_false(mc146818_nmi_masked(f->rtc));
}

static void rtc_registers_c_and_d_are_read_only(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0c, 0xff);
    set(f, 0x0d, 0x00);
    assert_int_equal(get(f, 0x0c), 0);
    assert_int_equal(get(f, 0x0d), 0x80);
}

static void rtc_reset_keeps_time_and_memory(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x72);
    set(f, 0x40, 0x11);
    clock_step(f->rig.clock, NS_PER_SEC);
    assert_true(f->irq8.level);
    device_reset(mc146818_device(f->rtc));
    assert_false(f->irq8.level);
    assert_int_equal(get(f, 0x0b), 0x02);
    assert_int_equal(get(f, 0), 0x59);
    assert_int_equal(get(f, 0x40), 0x11);
    check_state_table(mc146818_device(f->rtc));
}

static void rtc_cut_irq8_sets_flags_silently(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0b, 0x12);
    mc146818_cut_irq8(f->rtc, true);
    clock_step(f->rig.clock, 2 * NS_PER_SEC);
    assert_false(f->irq8.level);
    assert_int_equal(get(f, 0x0c) & 0x90, 0x90);
}

static void rtc_survives_any_register_contents(void **state)
{
    struct fixture *f = *state;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        set(f, (u8)(rand() % 16 == 0 ? 0x32 : rand() % 14), (u8)rand());
        clock_step(f->rig.clock, rand() % 10 * 100 * MS);
        get(f, (u8)(rand() % 14));
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rtc_shows_its_start_in_bcd_and_24_hours),
        T(rtc_loses_no_second_to_a_slow_host),
        T(rtc_carries_into_a_leap_day),
        T(rtc_carries_into_the_next_century),
        T(rtc_counts_in_binary_mode),
        T(rtc_counts_in_12_hour_mode),
        T(rtc_set_bit_stops_updates_and_keeps_the_phase),
        T(rtc_uip_rises_2228_us_before_the_update),
        T(rtc_uip_stays_low_while_set),
        T(rtc_divider_reset_holds_and_releases_half_a_second_before_an_update),
        T(rtc_update_ended_interrupt_holds_until_c_is_read),
        T(rtc_set_clears_uie),
        T(rtc_alarm_fires_at_its_time_once_a_day),
        T(rtc_alarm_dont_care_matches_every_value),
        T(rtc_alarm_flag_is_set_without_its_interrupt),
        T(rtc_alarm_that_cannot_match_never_fires),
        T(rtc_periodic_rates),
        T(rtc_periodic_flag_can_be_polled),
        T(rtc_idle_chip_arms_no_timer),
        T(rtc_cmos_memory_is_shared_with_the_machine),
        T(rtc_port70_bit7_masks_nmi),
        T(rtc_registers_c_and_d_are_read_only),
        T(rtc_reset_keeps_time_and_memory),
        T(rtc_cut_irq8_sets_flags_silently),
        T(rtc_survives_any_register_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
