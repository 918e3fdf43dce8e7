/* SPDX-License-Identifier: MIT
 *
 * High Precision Event Timers (IA-PC HPET specification 1.0a): one block of three comparators on a
 * 64-bit main counter at 100 MHz, all of them periodic-capable, with legacy replacement and FSB
 * delivery.
 *
 * In legacy replacement comparator 0 ticks in place of the 8254, and what a guest takes too late is
 * owed to it (devices/owed_ticks.h), until it programs the comparator.
 *
 * Deviation: comparators that would fire more often than every MIN_PERIOD_NS are slowed down to
 * that, so that a guest cannot occupy the host with timer work alone.
 */
#include "devices/hpet.h"

#include <stdlib.h>

#include "devices/owed_ticks.h"

#define TIMERS        3
#define TICK_NS       10 /* 100 MHz */
#define PERIOD_FS     (TICK_NS * 1000000u)
#define MIN_PERIOD_NS 20000
#define UNSEEN_NS     NS_PER_SEC /* how long matches that nobody sees may wait, see schedule() */
#define VENDOR        0x8086

enum reg {
    REG_CAPABILITIES = 0x00,
    REG_CONFIG = 0x10,
    REG_STATUS = 0x20,
    REG_COUNTER = 0xf0,
    REG_TIMER0 = 0x100,
    TIMER_STRIDE = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
    TIMER_FSB = 0x10,
};
enum config_bits { CONFIG_ENABLE = 1 << 0, CONFIG_LEGACY = 1 << 1 };
#define CAPABILITIES                                                                               \
    ((u64)PERIOD_FS << 32 | (u64)VENDOR << 16 | 1 << 15 | 1 << 13 | (TIMERS - 1) << 8 | 1)
_Static_assert((u32)CAPABILITIES == HPET_BLOCK_ID, "what ACPI tells");
_Static_assert(MIN_PERIOD_NS == HPET_MIN_TICKS * TICK_NS, "what ACPI tells");

/* Timer configuration: low word; the high word is the route capability. */
enum timer_bits {
    TIMER_LEVEL = 1 << 1,
    TIMER_ENABLE = 1 << 2,
    TIMER_PERIODIC = 1 << 3,
    TIMER_PERIODIC_CAP = 1 << 4,
    TIMER_64_CAP = 1 << 5,
    TIMER_SET_VALUE = 1 << 6,
    TIMER_32 = 1 << 8,
    TIMER_ROUTE = 0x1f << 9,
    TIMER_FSB_ENABLE = 1 << 14,
    TIMER_FSB_CAP = 1 << 15,
};
#define TIMER_WRITABLE                                                                             \
    (TIMER_LEVEL | TIMER_ENABLE | TIMER_PERIODIC | TIMER_SET_VALUE | TIMER_32 | TIMER_ROUTE |      \
     TIMER_FSB_ENABLE)
#define ROUTE_CAP ((u64)0x00f00000 << 32) /* IOAPIC pins 20..23 */

struct comparator {
    struct timer timer;
    u32 config;
    u64 compare, period, fsb;
    struct hpet *hpet;
};

struct hpet {
    u64 config;
    u64 status;
    u64 counter; /* while stopped; when running, its value at `started` */
    i64 started;
    struct comparator t[TIMERS];
    struct owed_ticks ticks; /* of comparator 0 */
    struct timer repayment;

    struct clock *clock;
    struct hpet_lines lines;
    struct apic_bus *apics;
    struct physmem *pm;
    struct phys_region *region;
};

static bool enabled(const struct hpet *h)
{
    return h->config & CONFIG_ENABLE;
}

static u64 counter_at(const struct hpet *h, i64 now)
{
    if (!enabled(h))
        return h->counter;
    return h->counter + (u64)(now - h->started) / TICK_NS;
}

static u64 counter(const struct hpet *h)
{
    return counter_at(h, clock_now(h->clock));
}

static unsigned number(const struct comparator *t)
{
    return (unsigned)(t - t->hpet->t);
}

static u64 width_mask(const struct comparator *t)
{
    return t->config & TIMER_32 ? 0xffffffffu : ~(u64)0;
}

/* Where the comparator's interrupt goes. */
static const struct irq_line *line_of(const struct comparator *t)
{
    const struct hpet *h = t->hpet;
    unsigned n = number(t), route = (t->config & TIMER_ROUTE) >> 9;
    if ((h->config & CONFIG_LEGACY) && n < 2)
        return n ? &h->lines.irq8 : &h->lines.irq0;
    return ROUTE_CAP >> 32 >> route & 1 ? &h->lines.pin[route] : NULL;
}

/* Level mode: the line follows the status bit. */
static void drive_level(struct comparator *t)
{
    const struct irq_line *line = line_of(t);
    if (line && t->hpet->status & bit64(number(t)))
        irq_set(line, true);
}

static void raise_interrupt(struct comparator *t)
{
    struct hpet *h = t->hpet;
    if (!(t->config & TIMER_ENABLE))
        return;
    if ((t->config & TIMER_FSB_ENABLE) && h->apics) {
        apic_bus_msi(h->apics, t->fsb >> 32, (u32)t->fsb);
        return;
    }
    const struct irq_line *line = line_of(t);
    if (t->config & TIMER_LEVEL) {
        h->status |= bit64(number(t));
        drive_level(t);
    } else if (line) {
        /* A new edge. The line then stays high: an 8259 forgets a request whose line falls before
         * it is acknowledged. */
        irq_set(line, false);
        irq_set(line, true);
    }
}

/* ---- ticks in place of the 8254's ---- */

static bool ticks(const struct comparator *t)
{
    u32 kind = t->config & (TIMER_ENABLE | TIMER_PERIODIC | TIMER_LEVEL | TIMER_FSB_ENABLE);
    return number(t) == 0 && (t->hpet->config & CONFIG_LEGACY) &&
           kind == (TIMER_ENABLE | TIMER_PERIODIC);
}

static i64 tick_ns(const struct hpet *h)
{
    u64 limit = (u64)INT64_MAX / 4 / TICK_NS, period = h->t[0].period;
    return (i64)(period < limit ? period : limit) * TICK_NS;
}

static void arm_repayment(struct hpet *h, i64 now)
{
    timer_arm(&h->repayment, owed_ticks_repay_at(&h->ticks, tick_ns(h), now));
}

static void repay(void *opaque)
{
    struct hpet *h = opaque;
    i64 now = clock_now(h->clock);
    owed_ticks_repay(&h->ticks, &h->lines.irq0, tick_ns(h), now);
    arm_repayment(h, now);
}

void hpet_irq0_taken(struct hpet *h)
{
    if (owed_ticks_taken(&h->ticks) && h->ticks.owed)
        repay(h);
}

static void forget_ticks(struct hpet *h)
{
    owed_ticks_forget(&h->ticks);
    timer_cancel(&h->repayment);
}

/* `n` matches of a periodic comparator came due. Those that are slowed down owe nothing. */
static void match_times(struct comparator *t, u64 n, i64 now)
{
    struct hpet *h = t->hpet;
    if (!ticks(t) || tick_ns(h) < MIN_PERIOD_NS) {
        raise_interrupt(t);
        return;
    }
    owed_ticks_due(&h->ticks, &h->lines.irq0, n, tick_ns(h), now);
    arm_repayment(h, now);
}

/* ---- matches ---- */

/* The comparator is about to drive another line, or none. */
static void leave_line(struct comparator *t)
{
    const struct irq_line *line = line_of(t);
    if (line)
        irq_set(line, false);
}

/* A periodic comparator without an interrupt shows its matches in its register alone. */
static bool is_unseen(const struct comparator *t)
{
    return (t->config & (TIMER_PERIODIC | TIMER_ENABLE)) == TIMER_PERIODIC && t->period;
}

/* The register, with the matches that have come due and were not looked at. */
static u64 compare_at(const struct comparator *t, i64 now)
{
    u64 mask = width_mask(t), late = (counter_at(t->hpet, now) - t->compare) & mask;
    if (!enabled(t->hpet) || !is_unseen(t) || late > mask / 2)
        return t->compare;
    return (t->compare + (late / t->period + 1) * t->period) & mask;
}

/* Arms the host timer for the next match. `now` is the time at which the comparator was right: if
 * more time passes before the timer is armed the match is late, but it comes. Linux leaves
 * comparator 0 running without its interrupt: for that the host is not woken at each match. */
static void schedule(struct comparator *t, i64 now)
{
    struct hpet *h = t->hpet;
    timer_cancel(&t->timer);
    if (!enabled(h))
        return;
    u64 left = (t->compare - counter_at(h, now)) & width_mask(t);
    if (left > (u64)INT64_MAX / 4 / TICK_NS)
        left = (u64)INT64_MAX / 4 / TICK_NS;
    i64 due = now + (i64)left * TICK_NS;
    if (is_unseen(t) && due < now + UNSEEN_NS)
        due = now + UNSEEN_NS;
    timer_arm(&t->timer, due);
}

static void match(struct comparator *t, i64 now)
{
    struct hpet *h = t->hpet;
    u64 mask = width_mask(t);
    if (is_unseen(t)) {
        t->compare = compare_at(t, now);
        schedule(t, now);
        return;
    }
    if ((t->config & TIMER_PERIODIC) && t->period) {
        u64 late = (counter_at(h, now) - t->compare) & mask;
        if (late > mask / 2)
            late = 0;
        u64 n = late / t->period + 1;
        t->compare = (t->compare + n * t->period) & mask;
        match_times(t, n, now);
        schedule(t, now);
        if (t->timer.deadline < now + MIN_PERIOD_NS)
            timer_arm(&t->timer, now + MIN_PERIOD_NS);
        return;
    }
    raise_interrupt(t);
    /* A one-shot comparator matches again when the counter wraps: at 32 bits, in 43 seconds. */
    if (mask != ~(u64)0)
        timer_arm(&t->timer, now + (i64)(mask + 1) * TICK_NS);
}

static void matched(void *opaque)
{
    struct comparator *t = opaque;
    match(t, clock_now(t->hpet->clock));
}

/* Matches that are due and that nobody has seen yet happen before the guest changes anything: to
 * the comparator they would look like those of the counter's next round. */
static void catch_up(struct hpet *h, i64 now)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        struct comparator *t = &h->t[i];
        t->compare = compare_at(t, now);
        if (timer_is_armed(&t->timer) && t->timer.deadline + TICK_NS <= now) {
            timer_cancel(&t->timer);
            match(t, now);
        }
    }
}

static void set_config(struct hpet *h, u64 value, i64 now)
{
    bool was = enabled(h), will = value & CONFIG_ENABLE;
    forget_ticks(h);
    bool legacy_changes = (h->config ^ value) & CONFIG_LEGACY;
    for (unsigned i = 0; legacy_changes && i < TIMERS; i++)
        leave_line(&h->t[i]);
    if (was && !will)
        h->counter = counter_at(h, now);
    if (!was && will)
        h->started = now;
    h->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    if (legacy_changes)
        irq_set(&h->lines.legacy, h->config & CONFIG_LEGACY);
    for (unsigned i = 0; legacy_changes && i < TIMERS; i++)
        drive_level(&h->t[i]);
    for (unsigned i = 0; i < TIMERS; i++)
        schedule(&h->t[i], now);
}

static void clear_status(struct hpet *h, u64 ones)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        const struct irq_line *line = line_of(&h->t[i]);
        if ((ones & h->status & bit64(i)) && line)
            irq_set(line, false);
    }
    h->status &= ~ones;
}

static void set_timer_config(struct comparator *t, u32 value, i64 now)
{
    struct hpet *h = t->hpet;
    leave_line(t);
    h->status &= ~bit64(number(t));
    t->config = value & TIMER_WRITABLE;
    if (t->config & TIMER_32) {
        t->compare = (u32)t->compare;
        t->period = (u32)t->period;
    }
    schedule(t, now);
}

/* In periodic mode a write sets the period, and the comparator too after TIMER_SET_VALUE. */
static void set_comparator(struct comparator *t, u64 value, u64 written, i64 now)
{
    written &= width_mask(t);
    if (t->config & TIMER_PERIODIC)
        t->period = (t->period & ~written) | (value & written);
    if (!(t->config & TIMER_PERIODIC) || (t->config & TIMER_SET_VALUE))
        t->compare = (t->compare & ~written) | (value & written);
    if (written & 0xffffffff)
        t->config &= ~(u32)TIMER_SET_VALUE;
    schedule(t, now);
}

static u64 timer_read(const struct comparator *t, u64 reg)
{
    switch (reg) {
    case TIMER_CONFIG:
        return ROUTE_CAP | t->config | TIMER_PERIODIC_CAP | TIMER_64_CAP | TIMER_FSB_CAP;
    case TIMER_COMPARATOR: return compare_at(t, clock_now(t->hpet->clock));
    case TIMER_FSB: return t->fsb;
    default: return 0;
    }
}

static void timer_write(struct comparator *t, u64 reg, u64 value, u64 written, i64 now)
{
    if (number(t) == 0)
        forget_ticks(t->hpet);
    switch (reg) {
    case TIMER_CONFIG:
        set_timer_config(t, (u32)((t->config & ~written) | (value & written)), now);
        break;
    case TIMER_COMPARATOR: set_comparator(t, value, written, now); break;
    case TIMER_FSB: t->fsb = (t->fsb & ~written) | (value & written); break;
    default: break;
    }
}

static struct comparator *timer_at(struct hpet *h, u64 reg)
{
    u64 n = (reg - REG_TIMER0) / TIMER_STRIDE;
    return reg >= REG_TIMER0 && n < TIMERS ? &h->t[n] : NULL;
}

static u64 mmio_read(void *opaque, u64 offset, unsigned size)
{
    struct hpet *h = opaque;
    u64 reg = offset & ~(u64)7, value = 0;
    struct comparator *t = timer_at(h, reg);
    if (t)
        value = timer_read(t, reg % TIMER_STRIDE);
    else if (reg == REG_CAPABILITIES)
        value = CAPABILITIES;
    else if (reg == REG_CONFIG)
        value = h->config;
    else if (reg == REG_STATUS)
        value = h->status;
    else if (reg == REG_COUNTER)
        value = counter(h);
    return value >> ((offset & 7) * 8) & mask64(size * 8);
}

static void mmio_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct hpet *h = opaque;
    u64 reg = offset & ~(u64)7;
    unsigned shift = (unsigned)(offset & 7) * 8;
    u64 written = mask64(size * 8) << shift;
    value <<= shift;
    i64 now = clock_now(h->clock);
    catch_up(h, now);
    struct comparator *t = timer_at(h, reg);
    if (t)
        timer_write(t, reg % TIMER_STRIDE, value, written, now);
    else if (reg == REG_CONFIG)
        set_config(h, (h->config & ~written) | (value & written), now);
    else if (reg == REG_STATUS)
        clear_status(h, value & written);
    else if (reg == REG_COUNTER && !enabled(h))
        h->counter = (h->counter & ~written) | (value & written);
}

static const struct mmio_ops hpet_mmio = {
    .name = "hpet", .read = mmio_read, .write = mmio_write, .max_size = 8};

static void hpet_reset(void *dev)
{
    struct hpet *h = dev;
    set_config(h, 0, clock_now(h->clock));
    clear_status(h, ~(u64)0);
    h->counter = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_cancel(&h->t[i].timer);
        h->t[i].config = 0;
        h->t[i].compare = ~(u64)0;
        h->t[i].period = h->t[i].fsb = 0;
    }
}

static void hpet_loaded(void *dev)
{
    struct hpet *h = dev;
    forget_ticks(h);
    irq_set(&h->lines.legacy, h->config & CONFIG_LEGACY);
}

static void hpet_destroy(void *dev)
{
    struct hpet *h = dev;
    for (unsigned i = 0; i < TIMERS; i++)
        timer_cancel(&h->t[i].timer);
    timer_cancel(&h->repayment);
    physmem_unmap(h->pm, h->region);
    free(h);
}

#define TIMER_ROWS(n)                                                                              \
    STATE_ROW(STATE_TIMER, hpet, t[n].timer, 1, 1), STATE_ROW(STATE_U32, hpet, t[n].config, 1, 1), \
        STATE_ROW(STATE_U64, hpet, t[n].compare, 1, 1),                                            \
        STATE_ROW(STATE_U64, hpet, t[n].period, 1, 1), STATE_ROW(STATE_U64, hpet, t[n].fsb, 1, 1)

static const struct state_field hpet_state[] = {
    STATE_ROW(STATE_U64, hpet, config, 1, 1),
    STATE_ROW(STATE_U64, hpet, status, 1, 1),
    STATE_ROW(STATE_U64, hpet, counter, 1, 1),
    STATE_ROW(STATE_I64, hpet, started, 1, 1),
    TIMER_ROWS(0),
    TIMER_ROWS(1),
    TIMER_ROWS(2),
    OWED_TICKS_ROWS(hpet, ticks),
    STATE_ROW(STATE_TIMER, hpet, repayment, 1, 1),
    STATE_END,
};

static const struct device_ops hpet_ops = {
    .name = "hpet",
    .version = 1,
    .state = hpet_state,
    .reset = hpet_reset,
    .loaded = hpet_loaded,
    .destroy = hpet_destroy,
};

struct hpet *hpet_create(struct physmem *pm, struct clock *clock, const struct hpet_lines *lines,
                         struct apic_bus *apics)
{
    struct hpet *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->pm = pm;
    h->clock = clock;
    h->lines = *lines;
    h->apics = apics;
    for (unsigned i = 0; i < TIMERS; i++) {
        h->t[i].hpet = h;
        h->t[i].compare = ~(u64)0;
        timer_init(&h->t[i].timer, clock, matched, &h->t[i]);
    }
    timer_init(&h->repayment, clock, repay, h);
    h->region = physmem_map_mmio(pm, HPET_BASE, PAGE_BYTES, &hpet_mmio, h, 0);
    return h;
}

struct device hpet_device(struct hpet *hpet)
{
    return (struct device){.ops = &hpet_ops, .dev = hpet};
}
