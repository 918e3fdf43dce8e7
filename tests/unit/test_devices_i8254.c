/* SPDX-License-Identifier: MIT
 *
 * The 8254 from the bus side, by the datasheet: time is moved in ticks of its 1.193182 MHz input.
 */
#include "device_rig.h"

#include "devices/i8254.h"

struct fixture {
    struct rig rig;
    struct wire irq0;
    struct i8254 *pit;
    bool eager; /* the guest takes every tick at once */
    unsigned tones;
};

static void set_irq0(void *opaque, unsigned n, bool level)
{
    struct fixture *f = opaque;
    bool rises = level && !f->irq0.level;
    wire_set(&f->irq0, n, level);
    if (rises && f->eager)
        i8254_irq0_taken(f->pit);
}

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    f->pit = i8254_create(f->rig.bus, (struct irq_line){set_irq0, f, 0}, f->rig.clock);
    f->eager = true;
    rig_add(&f->rig, i8254_device(f->pit));
    return 0;
}

/* The first ns of an input tick. */
static i64 ns_of_tick(i64 tick)
{
    i64 ns = (i64)mul_div((u64)tick, NS_PER_SEC, I8254_HZ);
    while ((i64)mul_div((u64)ns, I8254_HZ, NS_PER_SEC) < tick)
        ns++;
    return ns;
}

static i64 tick_now(struct fixture *f)
{
    return (i64)mul_div((u64)clock_now(f->rig.clock), I8254_HZ, NS_PER_SEC);
}

static void clocks(struct fixture *f, i64 n)
{
    i64 now = clock_now(f->rig.clock);
    clock_step(f->rig.clock, ns_of_tick(tick_now(f) + n) - now);
}

/* Control word for a counter, access low then high. */
static void control(struct fixture *f, unsigned counter, unsigned mode, bool bcd)
{
    outb(&f->rig, 0x43, (u8)(counter << 6 | 0x30 | mode << 1 | bcd));
}

static void count(struct fixture *f, unsigned counter, u16 n)
{
    outb(&f->rig, (u16)(0x40 + counter), (u8)n);
    outb(&f->rig, (u16)(0x40 + counter), (u8)(n >> 8));
}

/* A counter that counts from n in binary. */
static void start(struct fixture *f, unsigned counter, unsigned mode, u16 n)
{
    control(f, counter, mode, false);
    count(f, counter, n);
}

static u16 read_count(struct fixture *f, unsigned counter)
{
    outb(&f->rig, 0x43, (u8)(counter << 6));
    u16 low = inb(&f->rig, (u16)(0x40 + counter));
    return (u16)(low | inb(&f->rig, (u16)(0x40 + counter)) << 8);
}

static u8 read_status(struct fixture *f, unsigned counter)
{
    outb(&f->rig, 0x43, (u8)(0xe0 | 2u << counter));
    return inb(&f->rig, (u16)(0x40 + counter));
}

static bool out_of(struct fixture *f, unsigned counter)
{
    return read_status(f, counter) & 0x80;
}

/* What is seen n clocks later. */
static bool out_after(struct fixture *f, unsigned counter, i64 n)
{
    clocks(f, n);
    return out_of(f, counter);
}

static u16 count_after(struct fixture *f, unsigned counter, i64 n)
{
    clocks(f, n);
    return read_count(f, counter);
}

static unsigned rises_after(struct fixture *f, i64 n)
{
    clocks(f, n);
    return f->irq0.rises;
}

static void gate2(struct fixture *f, bool level)
{
    outb(&f->rig, 0x61, level);
}

static void pit_mode0_out_rises_n_plus_1_clocks_after_the_write(void **state)
{
    struct fixture *f = *state;
    control(f, 0, 0, false);
    assert_false(out_of(f, 0));
    count(f, 0, 100);
    assert_false(out_after(f, 0, 100));
    assert_false(f->irq0.level);
    assert_int_equal(read_count(f, 0), 1);
    assert_true(out_after(f, 0, 1));
    assert_true(f->irq0.level);
    assert_int_equal(f->irq0.rises, 1);
    assert_int_equal(read_count(f, 0), 0);
    assert_int_equal(count_after(f, 0, 1), 0xffff); /* wraps and goes on */
    assert_int_equal(rises_after(f, 200000), 1);
    assert_true(out_of(f, 0));
}

static void pit_mode0_first_byte_stops_and_lowers_out(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 0, 10);
    clocks(f, 20);
    assert_true(f->irq0.level);
    outb(&f->rig, 0x40, 50);
    assert_false(out_of(f, 0));
    assert_false(f->irq0.level);
    u16 stopped = read_count(f, 0);
    assert_int_equal(count_after(f, 0, 100), stopped);
    outb(&f->rig, 0x40, 0);
    clocks(f, 51);
    assert_true(f->irq0.level);
}

static void pit_mode0_gate_low_suspends_counting(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 0, 100);
    assert_int_equal(count_after(f, 2, 41), 60);
    gate2(f, false);
    assert_int_equal(count_after(f, 2, 1000), 60);
    gate2(f, true);
    clocks(f, 59);
    assert_int_equal(inb(&f->rig, 0x61) & 0x20, 0);
    clocks(f, 1);
    assert_int_equal(inb(&f->rig, 0x61) & 0x20, 0x20);
}

static void pit_mode1_one_shot_is_triggered_and_retriggered_by_gate(void **state)
{
    struct fixture *f = *state;
    start(f, 2, 1, 10);
    assert_true(out_of(f, 2));
    assert_true(out_after(f, 2, 100));
    gate2(f, true);
    assert_false(out_after(f, 2, 1));
    clocks(f, 5);
    gate2(f, false); /* has no effect */
    gate2(f, true);  /* retriggers */
    assert_false(out_after(f, 2, 10));
    assert_true(out_after(f, 2, 1));
}

static void pit_mode1_new_count_waits_for_the_next_trigger(void **state)
{
    struct fixture *f = *state;
    start(f, 2, 1, 10);
    gate2(f, true);
    clocks(f, 3);
    count(f, 2, 30);
    assert_int_equal(read_status(f, 2) & 0x40, 0x40); /* null count */
    assert_true(out_after(f, 2, 8));
    gate2(f, false);
    gate2(f, true);
    assert_false(out_after(f, 2, 30));
    assert_true(out_after(f, 2, 1));
    assert_int_equal(read_status(f, 2) & 0x40, 0);
}

static void pit_mode2_reloads_on_terminal_count(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 5);
    assert_true(out_of(f, 0));
    clocks(f, 1);
    for (int period = 0; period < 3; period++) {
        for (u16 ce = 5; ce >= 1; ce--) {
            assert_int_equal(read_count(f, 0), ce);
            assert_int_equal(out_of(f, 0), ce != 1);
            clocks(f, 1);
        }
    }
}

static void pit_mode2_raises_irq0_once_a_period_at_the_exact_tick(void **state)
{
    struct fixture *f = *state;
    clocks(f, 12345);
    start(f, 0, 2, 1000);
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 1000), 0);
    assert_int_equal(rises_after(f, 1), 1);
    assert_int_equal(rises_after(f, 999), 1);
    assert_int_equal(rises_after(f, 1), 2);
}

static void pit_mode2_does_not_drift_in_an_hour(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 11932);
    i64 start = tick_now(f) + 1;
    f->irq0.rises = 0;
    for (int s = 0; s < 3600; s++)
        clock_step(f->rig.clock, NS_PER_SEC);
    assert_int_equal(f->irq0.rises, (tick_now(f) - start) / 11932);
}

static void pit_mode2_new_count_takes_over_at_the_end_of_the_period(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 1000);
    f->irq0.rises = 0;
    clocks(f, 400);
    count(f, 0, 300);
    assert_int_equal(read_status(f, 0) & 0x40, 0x40);
    assert_int_equal(rises_after(f, 600), 0);
    assert_int_equal(rises_after(f, 1), 1);
    assert_int_equal(read_count(f, 0), 300);
    assert_int_equal(read_status(f, 0) & 0x40, 0);
    assert_int_equal(rises_after(f, 300), 2);
}

static void pit_mode2_gate_low_forces_out_high_and_rising_gate_reloads(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 2, 10);
    assert_false(out_after(f, 2, 10));
    gate2(f, false);
    assert_true(out_of(f, 2));
    assert_true(out_after(f, 2, 25));
    gate2(f, true);
    assert_int_equal(count_after(f, 2, 1), 10);
    assert_false(out_after(f, 2, 9));
}

struct wave {
    u16 ce;
    bool out;
};

/* Counter 2, clock by clock. */
static void expect_wave(struct fixture *f, const struct wave *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(read_count(f, 2), expected[i].ce);
        assert_int_equal(out_of(f, 2), expected[i].out);
        clocks(f, 1);
    }
}

static void pit_mode3_even_count_is_a_square_wave(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 3, 6);
    clocks(f, 1);
    static const struct wave expected[] = {{6, 1}, {4, 1}, {2, 1}, {6, 0},
                                           {4, 0}, {2, 0}, {6, 1}, {4, 1}};
    expect_wave(f, expected, ARRAY_LEN(expected));
}

static void pit_mode3_odd_count_is_high_one_clock_longer(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 3, 5);
    clocks(f, 1);
    static const struct wave expected[] = {{4, 1}, {2, 1}, {0, 1}, {4, 0}, {2, 0},
                                           {4, 1}, {2, 1}, {0, 1}, {4, 0}};
    expect_wave(f, expected, ARRAY_LEN(expected));
}

static void pit_mode3_new_count_takes_over_at_the_end_of_the_half_period(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 3, 100);
    clocks(f, 1 + 20);
    count(f, 2, 40);
    assert_true(out_after(f, 2, 29));
    clocks(f, 1); /* the high half of 100 ends: low half of 40 */
    assert_false(out_of(f, 2));
    assert_int_equal(read_count(f, 2), 40);
    assert_false(out_after(f, 2, 19));
    assert_true(out_after(f, 2, 1));
    assert_false(out_after(f, 2, 20));
}

static void pit_mode3_raises_irq0_once_a_period(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 3, 0); /* 65536: 18.2 Hz */
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 65536), 0);
    assert_int_equal(rises_after(f, 1), 1);
    clocks(f, 40000); /* OUT is low now: the request is kept */
    assert_false(out_of(f, 0));
    assert_true(f->irq0.level);
    assert_int_equal(rises_after(f, 65536 * 9), 10);
}

static void pit_mode4_strobes_for_one_clock_n_plus_1_after_the_write(void **state)
{
    struct fixture *f = *state;
    gate2(f, true);
    start(f, 2, 4, 8);
    assert_true(out_after(f, 2, 8));
    assert_false(out_after(f, 2, 1));
    assert_true(out_after(f, 2, 1));
    assert_int_equal(read_count(f, 2), 0xffff);
}

static void pit_mode5_strobe_is_triggered_by_gate(void **state)
{
    struct fixture *f = *state;
    start(f, 2, 5, 8);
    assert_true(out_after(f, 2, 50));
    gate2(f, true);
    assert_true(out_after(f, 2, 8));
    assert_false(out_after(f, 2, 1));
    assert_true(out_after(f, 2, 1));
}

static void pit_modes_6_and_7_are_2_and_3(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 6, 1000);
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 3001), 3);
    control(f, 2, 7, false);
    gate2(f, true);
    count(f, 2, 10);
    assert_false(out_after(f, 2, 6));
}

static void pit_counts_in_bcd(void **state)
{
    struct fixture *f = *state;
    control(f, 0, 2, true);
    count(f, 0, 0x1000);
    assert_int_equal(count_after(f, 0, 2), 0x0999);
    assert_int_equal(count_after(f, 0, 990), 0x0009);
    assert_int_equal(count_after(f, 0, 9), 0x1000);
}

static void pit_bcd_zero_is_10000(void **state)
{
    struct fixture *f = *state;
    control(f, 0, 0, true);
    count(f, 0, 0);
    assert_int_equal(count_after(f, 0, 2), 0x9999);
    assert_false(out_after(f, 0, 9998));
    assert_true(out_after(f, 0, 1));
    assert_int_equal(count_after(f, 0, 1), 0x9999);
}

static void pit_single_byte_access_modes(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x43, 0x14); /* counter 0, low byte, mode 2 */
    outb(&f->rig, 0x40, 200);
    clocks(f, 2);
    assert_int_equal(inb(&f->rig, 0x40), 199);
    assert_int_equal(inb(&f->rig, 0x40), 199);
    outb(&f->rig, 0x43, 0x24); /* high byte */
    outb(&f->rig, 0x40, 0x12);
    clocks(f, 2);
    assert_int_equal(inb(&f->rig, 0x40), 0x11); /* 11FFh */
}

static void pit_latched_count_holds_until_read_and_first_latch_wins(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 0x1000);
    clocks(f, 1);
    outb(&f->rig, 0x43, 0x00);
    clocks(f, 100);
    outb(&f->rig, 0x43, 0x00);
    assert_int_equal(inb(&f->rig, 0x40), 0x00);
    clocks(f, 100);
    assert_int_equal(inb(&f->rig, 0x40), 0x10);
    assert_int_equal(read_count(f, 0), 0x1000 - 200);
}

static void pit_control_word_drops_latches(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 0x1234);
    clocks(f, 1);
    outb(&f->rig, 0x43, 0xc2);
    start(f, 0, 2, 0x0456);
    clocks(f, 1);
    assert_int_equal(inb(&f->rig, 0x40), 0x56);
}

static void pit_read_back_gives_status_first_then_count(void **state)
{
    struct fixture *f = *state;
    control(f, 0, 2, false);
    assert_int_equal(read_status(f, 0), 0x80 | 0x40 | 0x34); /* null count: nothing loaded */
    count(f, 0, 0x1234);
    assert_int_equal(read_status(f, 0) & 0x40, 0x40); /* loaded at the next CLK only */
    clocks(f, 1);
    outb(&f->rig, 0x43, 0xc2); /* status and count of counter 0 */
    clocks(f, 5);
    assert_int_equal(inb(&f->rig, 0x40), 0x80 | 0x34);
    assert_int_equal(inb(&f->rig, 0x40), 0x34);
    assert_int_equal(inb(&f->rig, 0x40), 0x12);
}

static void pit_read_back_latches_several_counters_at_once(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 1000);
    start(f, 1, 2, 2000);
    clocks(f, 11);
    outb(&f->rig, 0x43, 0xd6); /* counts of 0 and 1 */
    clocks(f, 77);
    u16 zero = inb(&f->rig, 0x40);
    zero |= (u16)(inb(&f->rig, 0x40) << 8);
    u16 one = inb(&f->rig, 0x41);
    one |= (u16)(inb(&f->rig, 0x41) << 8);
    assert_int_equal(zero, 990);
    assert_int_equal(one, 1990);
}

static void pit_control_register_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(inb(&f->rig, 0x43), 0xff);
}

static void pit_port61_shows_out2_and_toggles_refresh(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x61, 0xff);
    assert_int_equal(inb(&f->rig, 0x61) & 0x0f, 0x0f);
    assert_int_equal(inb(&f->rig, 0x61) & 0xc0, 0);
    unsigned toggles = 0;
    u8 last = inb(&f->rig, 0x61) & 0x10;
    for (int us = 0; us < 3000; us++) {
        clock_step(f->rig.clock, 1000);
        u8 now = inb(&f->rig, 0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    assert_in_range(toggles, 198, 200); /* every 15.09 us */
}

static void note_tone(void *opaque)
{
    ((struct fixture *)opaque)->tones++;
}

static void pit_speaker_plays_counter_2_when_both_bits_are_set(void **state)
{
    struct fixture *f = *state;
    i8254_on_tone(f->pit, note_tone, f);
    start(f, 2, 3, 1193);
    assert_int_equal(i8254_tone(f->pit), 0);
    outb(&f->rig, 0x61, 3);
    assert_int_equal(i8254_tone(f->pit), 1000);
    assert_true(f->tones > 0);
    outb(&f->rig, 0x61, 1);
    assert_int_equal(i8254_tone(f->pit), 0);
}

/* The guest takes each tick within 0.1 ms; how many in so many times that. */
static unsigned take_for(struct fixture *f, unsigned times)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < times; i++) {
        unsigned rises = f->irq0.rises;
        if (rises_after(f, 119) != rises) {
            i8254_irq0_taken(f->pit);
            taken++;
        }
    }
    return taken;
}

static void pit_owed_ticks_come_after_the_late_one_is_taken(void **state)
{
    struct fixture *f = *state;
    f->eager = false;
    start(f, 0, 2, 11932); /* 10 ms */
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 11933), 1);
    i8254_irq0_taken(f->pit);
    clocks(f, 11932 * 4); /* nobody takes the first of these: three more are owed */
    i8254_irq0_taken(f->pit);
    unsigned taken = 1;
    i64 at = tick_now(f);
    taken += take_for(f, 200);
    /* 20 ms on: two regular ticks and the three owed ones, at no more than twice the rate. */
    assert_in_range(tick_now(f) - at, 23000, 24000);
    assert_in_range(taken, 4, 6);
    taken += take_for(f, 200);
    assert_int_equal(taken, 8); /* 4 before, 4 in 40 ms: none is missing, none is extra */
}

/* Time goes on between the readings of the clock, by more than the count: as on a host that
 * schedules the thread away within the guest's OUT. */
static void pit_one_shot_fires_however_late_it_is_programmed(void **state)
{
    struct fixture *f = *state;
    static const unsigned modes[] = {0, 4};
    for (size_t i = 0; i < 2; i++) {
        control(f, 0, modes[i], false);
        clock_set_creep(f->rig.clock, 1000000);
        f->irq0.rises = 0;
        count(f, 0, 100);
        clock_set_creep(f->rig.clock, 0);
        assert_int_equal(rises_after(f, 200), 1);
    }
}

static void pit_ticks_of_a_long_absence_come_as_fast_as_they_are_taken(void **state)
{
    struct fixture *f = *state;
    f->eager = false;
    control(f, 0, 2, false);
    i8254_irq0_taken(f->pit); /* OUT rose */
    count(f, 0, 11932);
    clocks(f, 11933);
    i8254_irq0_taken(f->pit);
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 11932 * 20), 20); /* raised again and again, but never taken */
    for (int i = 1; i <= 15; i++) {
        i8254_irq0_taken(f->pit);
        assert_int_equal(f->irq0.rises, 20 + i);
    }
    i8254_irq0_taken(f->pit); /* four are left, which are not in a hurry */
    assert_int_equal(f->irq0.rises, 35);
    assert_int_equal(take_for(f, 500), 4 + 4); /* 50 ms, the last of which is not over */
}

static void pit_nothing_is_owed_when_nobody_takes_ticks_for_long(void **state)
{
    struct fixture *f = *state;
    f->eager = false;
    start(f, 0, 2, 11932);
    clock_step(f->rig.clock, 10 * NS_PER_SEC);
    i8254_irq0_taken(f->pit);
    unsigned rises = f->irq0.rises;
    clocks(f, 11932 / 2 + 200);
    i8254_irq0_taken(f->pit);
    assert_in_range(f->irq0.rises - rises, 0, 1);
}

static void pit_short_periods_do_not_flood_the_host(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 2);
    f->irq0.rises = 0;
    clock_step(f->rig.clock, NS_PER_SEC / 100);
    assert_in_range(f->irq0.rises, 400, 501);
}

static void pit_cut_irq0_counts_on_silently(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 1000);
    i8254_cut_irq0(f->pit, true);
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 5001), 0);
    assert_int_equal(read_count(f, 0), 1000);
    i8254_cut_irq0(f->pit, false);
    assert_int_equal(rises_after(f, 1000), 1);
}

static void pit_reset_stops_everything(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 2, 1000);
    device_reset(i8254_device(f->pit));
    f->irq0.rises = 0;
    assert_int_equal(rises_after(f, 5000), 0);
    check_state_table(i8254_device(f->pit));
}

static void pit_count_before_any_control_word_is_ignored(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x40, 0x10);
    clocks(f, 100);
    assert_false(f->irq0.level);
    inb(&f->rig, 0x40);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pit_mode0_out_rises_n_plus_1_clocks_after_the_write),
        T(pit_mode0_first_byte_stops_and_lowers_out),
        T(pit_mode0_gate_low_suspends_counting),
        T(pit_mode1_one_shot_is_triggered_and_retriggered_by_gate),
        T(pit_mode1_new_count_waits_for_the_next_trigger),
        T(pit_mode2_reloads_on_terminal_count),
        T(pit_mode2_raises_irq0_once_a_period_at_the_exact_tick),
        T(pit_mode2_does_not_drift_in_an_hour),
        T(pit_mode2_new_count_takes_over_at_the_end_of_the_period),
        T(pit_mode2_gate_low_forces_out_high_and_rising_gate_reloads),
        T(pit_mode3_even_count_is_a_square_wave),
        T(pit_mode3_odd_count_is_high_one_clock_longer),
        T(pit_mode3_new_count_takes_over_at_the_end_of_the_half_period),
        T(pit_mode3_raises_irq0_once_a_period),
        T(pit_mode4_strobes_for_one_clock_n_plus_1_after_the_write),
        T(pit_mode5_strobe_is_triggered_by_gate),
        T(pit_modes_6_and_7_are_2_and_3),
        T(pit_counts_in_bcd),
        T(pit_bcd_zero_is_10000),
        T(pit_single_byte_access_modes),
        T(pit_latched_count_holds_until_read_and_first_latch_wins),
        T(pit_control_word_drops_latches),
        T(pit_read_back_gives_status_first_then_count),
        T(pit_read_back_latches_several_counters_at_once),
        T(pit_control_register_cannot_be_read),
        T(pit_port61_shows_out2_and_toggles_refresh),
        T(pit_speaker_plays_counter_2_when_both_bits_are_set),
        T(pit_owed_ticks_come_after_the_late_one_is_taken),
        T(pit_one_shot_fires_however_late_it_is_programmed),
        T(pit_ticks_of_a_long_absence_come_as_fast_as_they_are_taken),
        T(pit_nothing_is_owed_when_nobody_takes_ticks_for_long),
        T(pit_short_periods_do_not_flood_the_host),
        T(pit_cut_irq0_counts_on_silently),
        T(pit_reset_stops_everything),
        T(pit_count_before_any_control_word_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
