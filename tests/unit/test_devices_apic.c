/* SPDX-License-Identifier: MIT
 *
 * Local APIC, I/O APIC, HPET and the DMA controllers, from the bus side.
 */
#include "device_rig.h"

#include "devices/hpet.h"
#include "devices/i8237.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"

enum {
    ID = 0x20,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVT_TIMER = 0x320,
    LVT_LINT0 = 0x350,
    LVT_LINT1 = 0x360,
    LVT_ERROR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0
};
#define ENABLE       0x1ff
#define DIVIDE_BY_1  0xb
#define PERIODIC     (1u << 17)
#define TSC_DEADLINE (2u << 17)

struct cpu {
    struct lapic *apic;
    bool intr;
    unsigned nmis, inits, eois;
    int sipi;
    struct board *board;
};

struct board {
    struct rig rig;
    struct apic_bus *bus;
    struct ioapic *ioapic;
    struct hpet *hpet;
    struct cpu cpu[2];
    bool lines[32];
    unsigned pulses[32];
    bool legacy;
};

static void on_intr(void *opaque, bool level)
{
    ((struct cpu *)opaque)->intr = level;
}
static void on_nmi(void *opaque)
{
    ((struct cpu *)opaque)->nmis++;
}
static void on_init(void *opaque)
{
    ((struct cpu *)opaque)->inits++;
}
static void on_startup(void *opaque, u8 vector)
{
    ((struct cpu *)opaque)->sipi = vector;
}
static int on_pic_ack(void *opaque)
{
    struct cpu *c = opaque;
    lapic_set_lint(c->apic, 0, false);
    return 0x08;
}
static void on_eoi(void *opaque, u8 vector, bool level)
{
    struct cpu *c = opaque;
    (void)level;
    c->eois++;
    if (c->board->ioapic)
        ioapic_eoi(c->board->ioapic, vector);
}
static i64 on_tsc(void *opaque, u64 tsc)
{
    (void)opaque;
    return (i64)tsc * 2;
}
static void on_line(void *opaque, unsigned n, bool level)
{
    struct board *r = opaque;
    if (level && !r->lines[n])
        r->pulses[n]++;
    r->lines[n] = level;
}
static void on_legacy(void *opaque, unsigned n, bool level)
{
    (void)n;
    ((struct board *)opaque)->legacy = level;
}

static int setup(void **state)
{
    struct board *r = rig_setup(state, sizeof *r);
    r->bus = apic_bus_create();
    rig_add_memory(&r->rig, 0, MIB(2));
    for (unsigned i = 0; i < 2; i++) {
        struct cpu *c = &r->cpu[i];
        c->board = r;
        c->sipi = -1;
        struct lapic_hooks hooks = {.intr = on_intr,
                                    .nmi = on_nmi,
                                    .init = on_init,
                                    .startup = on_startup,
                                    .pic_ack = on_pic_ack,
                                    .eoi = on_eoi,
                                    .tsc_to_ns = on_tsc,
                                    .opaque = c};
        c->apic = lapic_create(r->bus, r->rig.clock, i, &hooks, NULL);
        rig_add(&r->rig, lapic_device(c->apic));
    }
    r->ioapic = ioapic_create(r->rig.pm, r->bus);
    rig_add(&r->rig, ioapic_device(r->ioapic));
    struct hpet_lines lines = {
        .irq0 = {on_line, r, 30}, .irq8 = {on_line, r, 31}, .legacy = {on_legacy, r, 0}};
    for (unsigned i = 0; i < HPET_LINES; i++)
        lines.pin[i] = (struct irq_line){on_line, r, i};
    r->hpet = hpet_create(r->rig.pm, r->rig.clock, &lines, r->bus);
    rig_add(&r->rig, hpet_device(r->hpet));
    return 0;
}

static int teardown(void **state)
{
    struct apic_bus *bus = ((struct board *)*state)->bus;
    rig_teardown(state);
    apic_bus_destroy(bus);
    return 0;
}

static void wr(struct cpu *c, u32 reg, u32 value)
{
    lapic_write(c->apic, reg, value, 4);
}
static u32 rd(struct cpu *c, u32 reg)
{
    return lapic_read(c->apic, reg, 4);
}

static void self_ipi(struct cpu *c, u8 vector)
{
    wr(c, ICR, 1u << 18 | vector);
}

/* The interrupt that waits, from its acknowledgement to its end. */
static void serve(struct cpu *c, int vector)
{
    assert_int_equal(lapic_ack(c->apic), vector);
    wr(c, EOI, 0);
}

static void lapic_dispenses_by_priority_and_nests(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    self_ipi(c, 0x41);
    assert_false(c->intr); /* software disabled after reset */
    wr(c, SVR, ENABLE);
    self_ipi(c, 0x41);
    self_ipi(c, 0x62);
    assert_true(c->intr);
    assert_int_equal(lapic_ack(c->apic), 0x62);
    assert_false(c->intr); /* 41h waits behind the class in service */
    assert_int_equal(rd(c, PPR), 0x60);
    self_ipi(c, 0x65); /* same class */
    assert_false(c->intr);
    self_ipi(c, 0x71);
    serve(c, 0x71);
    wr(c, EOI, 0);
    serve(c, 0x65);
    serve(c, 0x41);
    assert_false(c->intr);
    assert_int_equal(c->eois, 4);
}

static void lapic_task_priority_masks_and_gives_spurious(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    wr(c, SVR, ENABLE);
    self_ipi(c, 0x41);
    lapic_set_cr8(c->apic, 4);
    assert_int_equal(rd(c, TPR), 0x40);
    assert_false(c->intr);
    assert_int_equal(lapic_ack(c->apic), 0xff); /* it had been offered: spurious vector */
    assert_int_equal(lapic_highest_isr(c->apic), -1);
    wr(c, TPR, 0x3f);
    assert_true(c->intr);
    assert_int_equal(lapic_cr8(c->apic), 3);
}

static void lapic_virtual_wire_passes_the_8259(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    lapic_set_lint(c->apic, 0, true);
    assert_true(c->intr); /* as firmware leaves it */
    wr(c, LVT_LINT0, 0x10700);
    assert_false(c->intr);
    wr(c, SVR, ENABLE);
    wr(c, LVT_LINT0, 0x00700);
    assert_true(c->intr);
    assert_int_equal(lapic_ack(c->apic), 0x08);
    assert_false(c->intr);
    assert_true(lapic_msr_write(c->apic, 0x1b, LAPIC_DEFAULT_BASE | 1 << 8));
    wr(c, LVT_LINT0, 0x10700);
    lapic_set_lint(c->apic, 0, true);
    assert_true(c->intr); /* a disabled APIC is a wire */
    assert_int_equal(lapic_base(c->apic), 0);
}

static void lapic_ipis_reach_their_destinations(void **state)
{
    struct board *r = *state;
    struct cpu *a = &r->cpu[0], *b = &r->cpu[1];
    wr(a, SVR, ENABLE);
    wr(b, SVR, ENABLE);
    wr(a, ICR_HIGH, 1u << 24);
    wr(a, ICR, 0x4500); /* INIT */
    wr(a, ICR, 0x4690); /* SIPI, page 90h */
    wr(a, ICR, 0x4400); /* NMI */
    assert_int_equal(b->inits, 1);
    assert_int_equal(b->sipi, 0x90);
    assert_int_equal(b->nmis, 1);
    assert_int_equal(a->inits + a->nmis, 0);
    assert_int_equal(rd(b, SVR), 0xff); /* INIT has reset it but for its ID */
    assert_int_equal(rd(b, LVT_LINT0), 0x10000);
    assert_int_equal(rd(b, ID), 1u << 24);
    wr(b, SVR, ENABLE);
    wr(a, ICR, 0xc0000 | 0x50); /* all but self */
    assert_true(b->intr && !a->intr);
    assert_int_equal(lapic_ack(b->apic), 0x50);
    wr(a, LDR, 1u << 24);
    wr(b, LDR, 2u << 24);
    wr(a, ICR_HIGH, 3u << 24);
    wr(a, ICR, 0x800 | 0x61); /* logical, both */
    assert_int_equal(lapic_ack(a->apic), 0x61);
    assert_int_equal(lapic_ack(b->apic), 0x61);
    wr(a, ICR, 0x05); /* vectors below 16 are illegal */
    wr(a, ESR, 0);
    assert_int_equal(rd(a, ESR), 0x20);
}

static void start_timer(struct cpu *c, u32 lvt, u32 count)
{
    wr(c, SVR, ENABLE);
    wr(c, DIVIDE, DIVIDE_BY_1);
    wr(c, LVT_TIMER, lvt);
    wr(c, INITIAL, count);
}

static void lapic_timer_counts_fires_and_repeats(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    start_timer(c, 0x40, 1000000);
    clock_step(r->rig.clock, 400000);
    assert_int_equal(rd(c, CURRENT), 600000);
    assert_false(c->intr);
    clock_step(r->rig.clock, 600000);
    serve(c, 0x40);
    assert_int_equal(rd(c, CURRENT), 0);
    clock_step(r->rig.clock, 10000000);
    assert_false(c->intr);
    wr(c, DIVIDE, 0); /* by 2 */
    wr(c, LVT_TIMER, PERIODIC | 0x41);
    wr(c, INITIAL, 500000);
    for (int i = 0; i < 5; i++) {
        clock_step(r->rig.clock, 1000000);
        serve(c, 0x41);
    }
    wr(c, LVT_TIMER, TSC_DEADLINE | 0x42);
    assert_true(lapic_msr_write(c->apic, 0x6e0, (u64)(clock_now(r->rig.clock) + 100) / 2));
    clock_step(r->rig.clock, 100);
    assert_int_equal(lapic_ack(c->apic), 0x42);
}

/* Time goes on between the guest's write and the arming: with a host that schedules the thread away
 * just there, by any amount. */
static void lapic_one_shot_fires_however_late_it_is_armed(void **state)
{
    struct cpu c = {0};
    (void)state;
    struct clock *clock = clock_create();
    struct apic_bus *bus = apic_bus_create();
    struct lapic_hooks hooks = {.intr = on_intr, .opaque = &c};
    c.apic = lapic_create(bus, clock, 0, &hooks, NULL);
    clock_resume(clock);
    wr(&c, SVR, ENABLE);
    wr(&c, DIVIDE, DIVIDE_BY_1);
    wr(&c, LVT_TIMER, 0x40);
    for (int i = 0; i < 1000; i++) {
        wr(&c, INITIAL, 1);
        while (clock_now(clock) < 2)
            ;
        clock_run_expired(clock);
        serve(&c, 0x40);
    }
    device_destroy(lapic_device(c.apic));
    apic_bus_destroy(bus);
    clock_destroy(clock);
}

static void lapic_one_shot_goes_on_from_a_periodic_count(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    start_timer(c, PERIODIC | 0x41, 1000000);
    clock_step(r->rig.clock, 2500000);
    serve(c, 0x41);
    wr(c, LVT_TIMER, 0x42);
    assert_int_equal(rd(c, CURRENT), 500000);
    clock_step(r->rig.clock, 499999);
    assert_false(c->intr);
    clock_step(r->rig.clock, 1);
    serve(c, 0x42);
    clock_step(r->rig.clock, 10000000);
    assert_false(c->intr);
}

static void lapic_tiny_period_does_not_hang_the_clock(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    start_timer(c, PERIODIC | 0x41, 1);
    clock_step(r->rig.clock, NS_PER_SEC / 10);
    assert_true(c->intr);
}

static void lapic_x2apic_transitions_follow_the_manual(void **state)
{
    struct board *r = *state;
    struct lapic *a = r->cpu[1].apic;
    u64 v, on = LAPIC_DEFAULT_BASE | 1 << 11;
    assert_false(lapic_msr_read(a, 0x802, &v));
    assert_false(lapic_msr_write(a, 0x1b, LAPIC_DEFAULT_BASE | 1 << 10));
    assert_true(lapic_msr_write(a, 0x1b, on | 1 << 10));
    assert_true(lapic_x2apic(a) && lapic_base(a) == 0);
    assert_true(lapic_msr_read(a, 0x802, &v) && v == 1);
    assert_false(lapic_msr_write(a, 0x802, 5));
    assert_false(lapic_msr_write(a, 0x1b, on)); /* must go through disabled */
    assert_true(lapic_msr_write(a, 0x80f, ENABLE));
    assert_true(lapic_msr_write(a, 0x83f, 0x77)); /* self IPI */
    assert_int_equal(lapic_ack(a), 0x77);
    assert_false(lapic_msr_write(a, 0x80b, 1)); /* EOI takes only 0 */
    assert_true(lapic_msr_write(a, 0x80b, 0));
    assert_true(lapic_msr_write(a, 0x1b, LAPIC_DEFAULT_BASE));
}

static void io_write(struct board *r, u32 index, u32 value)
{
    physmem_io_write(r->rig.pm, IOAPIC_BASE, index, 4);
    physmem_io_write(r->rig.pm, IOAPIC_BASE + 0x10, value, 4);
}

static u32 io_read(struct board *r, u32 index)
{
    physmem_io_write(r->rig.pm, IOAPIC_BASE, index, 4);
    return (u32)physmem_io_read(r->rig.pm, IOAPIC_BASE + 0x10, 4);
}

static void ioapic_level_pins_resend_until_served(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    struct irq_line line = ioapic_input(r->ioapic, 10);
    wr(c, SVR, ENABLE);
    assert_int_equal(io_read(r, 1) >> 16, 23);
    io_write(r, 0x10 + 20, 0x8000 | 0x55);
    irq_set(&line, true);
    assert_int_equal(lapic_ack(c->apic), 0x55);
    assert_true(io_read(r, 0x10 + 20) & 1 << 14);
    wr(c, EOI, 0); /* still high: again */
    assert_int_equal(lapic_ack(c->apic), 0x55);
    irq_set(&line, false);
    wr(c, EOI, 0);
    assert_false(c->intr);
    assert_false(io_read(r, 0x10 + 20) & 1 << 14);
}

static void ioapic_edge_pins_send_once_and_lose_masked_edges(void **state)
{
    struct board *r = *state;
    struct cpu *c = &r->cpu[0];
    struct irq_line line = ioapic_input(r->ioapic, 4);
    wr(c, SVR, ENABLE);
    irq_pulse(&line);
    io_write(r, 0x10 + 8, 0x31);
    assert_false(c->intr);
    irq_set(&line, true);
    serve(c, 0x31);
    assert_false(c->intr);
    irq_set(&line, false);
    irq_set(&line, true);
    assert_true(c->intr);
}

static void hpet_write(struct board *r, u32 reg, u64 value, unsigned size)
{
    physmem_io_write(r->rig.pm, HPET_BASE + reg, value, size);
}

static u64 hpet_read(struct board *r, u32 reg, unsigned size)
{
    return physmem_io_read(r->rig.pm, HPET_BASE + reg, size);
}

/* A timer's configuration and comparator; then the counter runs. */
static void hpet_start(struct board *r, unsigned timer, u32 config, u64 match)
{
    hpet_write(r, 0x100 + 0x20 * timer, config, 4);
    hpet_write(r, 0x108 + 0x20 * timer, match, 8);
    hpet_write(r, 0x10, 1, 4);
}

static void hpet_counts_and_fires_in_both_modes(void **state)
{
    struct board *r = *state;
    u64 caps = hpet_read(r, 0, 8);
    assert_int_equal(caps >> 32, 10000000); /* fs */
    hpet_start(r, 0, 1 << 2 | 20 << 9, 1000);
    clock_step(r->rig.clock, 9990);
    assert_int_equal(hpet_read(r, 0xf0, 8), 999);
    assert_int_equal(r->pulses[20], 0);
    clock_step(r->rig.clock, 10);
    assert_int_equal(r->pulses[20], 1);
    /* legacy replacement, periodic: timer 0 drives IRQ 0 */
    hpet_write(r, 0x10, 3, 4);
    assert_true(r->legacy);
    u64 now = hpet_read(r, 0xf0, 8);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3 | 1 << 6, 4);
    hpet_write(r, 0x108, now + 100000, 8);
    hpet_write(r, 0x108, 100000, 8);
    clock_step(r->rig.clock, 10 * 1000000);
    assert_int_equal(r->pulses[30], 10);
}

/* Legacy replacement: timer 0 drives IRQ 0, every 0.1 ms. */
static void start_periodic_hpet(struct board *r)
{
    hpet_write(r, 0x10, 3, 4);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3 | 1 << 6, 4);
    hpet_write(r, 0x108, 10000, 8);
    hpet_write(r, 0x108, 10000, 8);
}

/* The thread is scheduled away for longer than a period whenever the device reads the clock. */
static void hpet_period_survives_a_slow_host(void **state)
{
    struct board *r = *state;
    start_periodic_hpet(r);
    clock_set_creep(r->rig.clock, 150000);
    clock_step(r->rig.clock, 10 * 1000000);
    clock_set_creep(r->rig.clock, 0);
    unsigned pulses = r->pulses[30];
    assert_true(pulses >= 10);
    clock_step(r->rig.clock, 1000000);
    assert_in_range(r->pulses[30] - pulses, 9, 11);
}

/* The guest takes ticks until no other one is raised. */
static unsigned take_ticks(struct board *r)
{
    unsigned before;
    do {
        before = r->pulses[30];
        hpet_irq0_taken(r->hpet);
    } while (r->pulses[30] != before);
    return before;
}

/* As Linux measures its timer: it wants 5 ticks of 4 ms within 64 ms of the TSC, which go by at
 * once when its thread is scheduled away for 120 of 140 ms. */
static void hpet_ticks_that_came_while_the_guest_was_away_come_at_once(void **state)
{
    struct board *r = *state;
    enum { TICK = 4000000, AWAY = 120, THERE = 20, ROUNDS = 10 };
    start_periodic_hpet(r);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3 | 1 << 6, 4);
    hpet_write(r, 0x108, hpet_read(r, 0xf0, 8) + TICK / 10, 8);
    hpet_write(r, 0x108, TICK / 10, 8);
    unsigned start = take_ticks(r);
    for (unsigned n = 0; n < ROUNDS; n++) {
        unsigned before = take_ticks(r);
        clock_set(r->rig.clock, clock_now(r->rig.clock) + AWAY * INT64_C(1000000));
        clock_run_expired(r->rig.clock);
        assert_in_range(take_ticks(r) - before, 25, 30);
        for (unsigned ms = 0; ms < THERE; ms++) {
            clock_step(r->rig.clock, 1000000);
            take_ticks(r);
        }
    }
    assert_in_range(take_ticks(r) - start, (AWAY + THERE) * ROUNDS / 4 - 4,
                    (AWAY + THERE) * ROUNDS / 4);
}

static void hpet_forgets_ticks_when_it_is_programmed_or_nobody_takes_them(void **state)
{
    struct board *r = *state;
    start_periodic_hpet(r);
    clock_set(r->rig.clock, clock_now(r->rig.clock) + 120 * INT64_C(1000000));
    clock_run_expired(r->rig.clock);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3, 4);
    unsigned before = r->pulses[30];
    assert_int_equal(take_ticks(r), before);
    clock_step(r->rig.clock, 2 * NS_PER_SEC); /* masked */
    before = r->pulses[30];
    assert_in_range(take_ticks(r) - before, 0, 1);
}

/* A match is due, but the guest's next write comes before the timer's thread. */
static void hpet_match_is_not_lost_by_a_write_just_after_it(void **state)
{
    struct board *r = *state;
    start_periodic_hpet(r);
    clock_set_creep(r->rig.clock, 150000);
    (void)clock_now(r->rig.clock);
    clock_set_creep(r->rig.clock, 0);
    assert_int_equal(r->pulses[30], 0);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3, 4);
    assert_int_equal(r->pulses[30], 1);
    clock_step(r->rig.clock, 1000000);
    assert_in_range(r->pulses[30], 10, 12);
}

/* Linux turns the interrupt off and leaves the comparator as it is. */
static void hpet_without_interrupt_goes_on_but_does_not_wake_the_host(void **state)
{
    struct board *r = *state;
    start_periodic_hpet(r);
    hpet_write(r, 0x100, 1 << 3, 4);
    i64 start = clock_now(r->rig.clock);
    assert_true(clock_next_deadline(r->rig.clock) >= start + NS_PER_SEC);
    clock_step(r->rig.clock, 12345678);
    u64 now = hpet_read(r, 0xf0, 8);
    assert_int_equal(hpet_read(r, 0x108, 8), now - now % 10000 + 10000);
    clock_step(r->rig.clock, 5 * NS_PER_SEC);
    now = hpet_read(r, 0xf0, 8);
    assert_int_equal(hpet_read(r, 0x108, 8), now - now % 10000 + 10000);
    unsigned before = r->pulses[30];
    clock_step(r->rig.clock, 3333);
    hpet_write(r, 0x100, 1 << 2 | 1 << 3, 4);
    clock_step(r->rig.clock, 1000000);
    assert_int_equal(r->pulses[30], before + 10);
}

static void hpet_edge_stays_up_for_the_8259_until_the_next_one(void **state)
{
    struct board *r = *state;
    hpet_start(r, 0, 1 << 2 | 20 << 9, 1000);
    clock_step(r->rig.clock, 20000);
    assert_true(r->lines[20]);
    hpet_write(r, 0x100, 1 << 2 | 21 << 9, 4);
    assert_false(r->lines[20]); /* left behind by a new route */
}

static void hpet_drives_only_routes_that_it_offers(void **state)
{
    struct board *r = *state;
    hpet_start(r, 0, 1 << 1 | 1 << 2 | 9 << 9, 1000);
    clock_step(r->rig.clock, 20000);
    assert_int_equal(hpet_read(r, 0x20, 4), 1);
    assert_false(r->lines[9]);
}

static void hpet_level_interrupts_wait_for_their_status_bit(void **state)
{
    struct board *r = *state;
    hpet_start(r, 1, 1 << 1 | 1 << 2 | 21 << 9, 10);
    clock_step(r->rig.clock, 1000);
    assert_true(r->lines[21]);
    assert_int_equal(hpet_read(r, 0x20, 4), 2);
    hpet_write(r, 0x20, 2, 4);
    assert_false(r->lines[21]);
}

static void dma_moves_bytes_to_terminal_count(void **state)
{
    struct board *r = *state;
    u64 ram = physmem_alloc(r->rig.pm, KIB(256), "ram");
    physmem_map_ram(r->rig.pm, 0, KIB(256), ram, 0, "ram");
    struct i8237 *dma = i8237_create(r->rig.bus, r->rig.pm);
    u8 data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    bool tc;
    io_bus_write(r->rig.bus, 0xd6, 0xc0, 1); /* channel 4: cascade */
    io_bus_write(r->rig.bus, 0xd4, 0x00, 1);
    io_bus_write(r->rig.bus, 0x0c, 0, 1);
    io_bus_write(r->rig.bus, 0x04, 0xfe, 1); /* address 01FFFEh */
    io_bus_write(r->rig.bus, 0x04, 0xff, 1);
    io_bus_write(r->rig.bus, 0x81, 0x01, 1);
    io_bus_write(r->rig.bus, 0x05, 3, 1); /* four bytes */
    io_bus_write(r->rig.bus, 0x05, 0, 1);
    io_bus_write(r->rig.bus, 0x0b, 0x46, 1);                   /* channel 2, to memory */
    assert_int_equal(i8237_transfer(dma, 2, data, 8, &tc), 0); /* masked */
    io_bus_write(r->rig.bus, 0x0a, 2, 1);
    assert_int_equal(i8237_transfer(dma, 2, data, 8, &tc), 4);
    assert_true(tc);
    u8 *mem = physmem_host(r->rig.pm, ram);
    assert_int_equal(mem[0x1fffe], 1);
    assert_int_equal(mem[0x1ffff], 2);
    assert_int_equal(mem[0x10000], 3); /* the page register does not carry */
    assert_int_equal(io_bus_read(r->rig.bus, 0x08, 1) & 0xf, 1 << 2);
    assert_int_equal(io_bus_read(r->rig.bus, 0x08, 1) & 0xf, 0);
    assert_int_equal(i8237_transfer(dma, 2, data, 8, &tc), 0); /* masked itself at the end */
    device_destroy(i8237_device(dma));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lapic_dispenses_by_priority_and_nests),
        TEST(lapic_task_priority_masks_and_gives_spurious),
        TEST(lapic_virtual_wire_passes_the_8259),
        TEST(lapic_ipis_reach_their_destinations),
        TEST(lapic_timer_counts_fires_and_repeats),
        cmocka_unit_test(lapic_one_shot_fires_however_late_it_is_armed),
        TEST(lapic_one_shot_goes_on_from_a_periodic_count),
        TEST(lapic_tiny_period_does_not_hang_the_clock),
        TEST(lapic_x2apic_transitions_follow_the_manual),
        TEST(ioapic_level_pins_resend_until_served),
        TEST(ioapic_edge_pins_send_once_and_lose_masked_edges),
        TEST(hpet_counts_and_fires_in_both_modes),
        TEST(hpet_period_survives_a_slow_host),
        TEST(hpet_match_is_not_lost_by_a_write_just_after_it),
        TEST(hpet_ticks_that_came_while_the_guest_was_away_come_at_once),
        TEST(hpet_forgets_ticks_when_it_is_programmed_or_nobody_takes_them),
        TEST(hpet_without_interrupt_goes_on_but_does_not_wake_the_host),
        TEST(hpet_edge_stays_up_for_the_8259_until_the_next_one),
        TEST(hpet_drives_only_routes_that_it_offers),
        TEST(hpet_level_interrupts_wait_for_their_status_bit),
        TEST(dma_moves_bytes_to_terminal_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
