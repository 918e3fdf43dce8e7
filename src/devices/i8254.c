/* SPDX-License-Identifier: MIT
 *
 * The programmable interval timer: Intel 8254 (order no. 231164) at 40h..43h, and the AT's port
 * 61h, through which the guest sees and gates counter 2.
 *
 * Nothing ticks here. A counter remembers at which tick of the 1.193182 MHz input its counting
 * element was loaded, and every register is a function of the ticks elapsed since then, so counts
 * are exact however late the host is. Only rising edges of counter 0's OUT need a timer.
 *
 *     control word      count written       +1 CLK              +N CLK
 *     ----+-------------------+----------------+-------------------+------>
 *       !loaded            load()           elapsed 0          mode 0: OUT rises
 *                        elapsed -1
 *
 * IRQ0: a tick is a rising edge of OUT. The line is not lowered for the low half of mode 3. Ticks
 * that a guest takes too late are owed to it (devices/owed_ticks.h), until it programs the counter.
 *
 * Deviations: a count that a trigger loads at the next CLK reads as the new count during that CLK.
 * OUT of counter 1 goes nowhere; the refresh toggle of port 61h has the fixed period of an AT.
 */
#include "devices/i8254.h"

#include <stdlib.h>

#include "devices/owed_ticks.h"

enum {
    PIT_PORT = 0x40,
    PIT_PORTS = 4,
    CONTROL_OFFSET = 3,
    COUNTERS = 3,
    SYSTEM_PORT = 0x61, /* "NMI status and control" in the PIIX3's words */
};

/* Control word. */
enum {
    CW_BCD = 1 << 0,
    CW_MODE_SHIFT = 1,
    CW_MODE = 7,
    CW_ACCESS_SHIFT = 4,
    CW_ACCESS = 3,
    CW_SELECT_SHIFT = 6,
    CW_SELECT_READ_BACK = 3,
    CW_STATUS_BITS = 0x3f, /* of the control word, shown by the status byte */
};

enum access { ACCESS_LATCH = 0, ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };

enum {
    READ_BACK_NOT_COUNT = 1 << 5,
    READ_BACK_NOT_STATUS = 1 << 4,
    READ_BACK_FIRST = 1 << 1, /* counter 0; counter n is this << n */
    STATUS_OUT = 1 << 7,
    STATUS_NULL = 1 << 6,
};

/* Port 61h. */
enum {
    SYSTEM_GATE2 = 1 << 0,
    SYSTEM_SPEAKER = 1 << 1,
    SYSTEM_WRITABLE = 0x0f,
    SYSTEM_REFRESH = 1 << 4,
    SYSTEM_OUT2 = 1 << 5,
};

#define REFRESH_TICKS   18 /* counter 1 of an AT: 15.09 us */
#define BINARY_MODULUS  65536
#define BCD_MODULUS     10000
#define MIN_INTERVAL_NS 20000 /* no guest makes the host fire timers faster than this */
#define TONE_MIN_HZ     20
#define TONE_MAX_HZ     20000

struct counter {
    u8 control;    /* low six bits of the control word */
    u8 status;     /* latched status byte */
    u8 latch_left; /* bytes of `latch` still to read */
    u8 low_byte;   /* first half of a two-byte write */
    u16 latch;     /* latched count, next byte to read in the low half */
    bool status_latched;
    bool read_high, write_high; /* which half of a two-byte access comes next */
    bool gate;
    bool loaded;     /* the counting element holds a count */
    bool running;    /* and counts; else `frozen` holds what elapsed */
    bool null_count; /* CR is newer than the counting element */
    bool pending;    /* modes 2 and 3: `next` takes over at tick `switch_tick` */
    bool out_before; /* OUT until the count is loaded */
    u32 count;       /* 1..65536 (BCD: 1..16665) */
    u32 next;        /* the count register; 0: none was written */
    u32 held;        /* what reads give while nothing is loaded */
    i64 start;       /* tick at which `count` was loaded */
    i64 frozen;
    i64 switch_tick;
    u64 edges_before; /* rising edges of OUT before `start` */
};

struct i8254 {
    struct counter counter[COUNTERS];
    u8 system; /* port 61h, writable bits */
    bool cut;
    u64 edges_seen;
    i64 fired_at; /* ns of the last timer */
    struct owed_ticks ticks;
    struct timer timer;

    struct irq_line irq0;
    struct clock *clock;
    void (*tone_changed)(void *opaque);
    void *tone_opaque;
    struct io_bus *bus;
    struct io_claim *claims[2];
};

/* Whoever decides by the time reads the clock once and hands it on: between two readings any amount
 * of time may pass, and with it the edge that is waited for. */
static i64 tick_at(i64 now)
{
    return (i64)mul_div((u64)now, I8254_HZ, NS_PER_SEC);
}

static i64 pit_tick(const struct i8254 *pit)
{
    return tick_at(clock_now(pit->clock));
}

/* The first ns of a tick. */
static i64 tick_ns(i64 tick)
{
    u64 ns = mul_div((u64)tick, NS_PER_SEC, I8254_HZ);
    return (i64)(mul_div(ns, I8254_HZ, NS_PER_SEC) < (u64)tick ? ns + 1 : ns);
}

/* ---- One counter ---- */

static unsigned counter_mode(const struct counter *c)
{
    unsigned mode = c->control >> CW_MODE_SHIFT & CW_MODE;
    return mode > 5 ? mode - 4 : mode; /* x10 and x11 */
}

static bool is_periodic(unsigned mode)
{
    return mode == 2 || mode == 3;
}

static bool is_triggered(unsigned mode)
{
    return mode == 1 || mode == 5;
}

/* CLK pulses since the count was loaded; -1 in the CLK before that. */
static i64 counter_elapsed(const struct counter *c, i64 tick)
{
    return c->running ? tick - c->start : c->frozen;
}

/* Mode 3: CLK pulses for which OUT is high. */
static u32 high_half(u32 count)
{
    return (count + 1) / 2;
}

/* Rising edges of OUT since the count was loaded. A period of one tick has none: OUT stands still.
 */
static u64 counter_edges(const struct counter *c, i64 tick)
{
    if (!c->loaded)
        return 0;
    i64 e = counter_elapsed(c, tick);
    if (e < 0)
        return 0;
    switch (counter_mode(c)) {
    case 0:
    case 1: return e >= c->count;
    case 2:
    case 3: return c->count > 1 ? (u64)e / c->count : 0;
    default: return e > c->count;
    }
}

/* The tick of rising edge number n (counted from 1), or INT64_MAX. */
static i64 counter_edge_tick(const struct counter *c, u64 n)
{
    if (!c->loaded || !c->running)
        return INT64_MAX;
    switch (counter_mode(c)) {
    case 0:
    case 1: return n == 1 ? c->start + c->count : INT64_MAX;
    case 2:
    case 3: return c->count > 1 ? c->start + (i64)n * c->count : INT64_MAX;
    default: return n == 1 ? c->start + c->count + 1 : INT64_MAX;
    }
}

/* Modes 2 and 3: lets a count that was written meanwhile take over where the datasheet says: at the
 * end of the period, or of the half period. */
static void counter_sync(struct counter *c, i64 tick)
{
    if (!c->pending || tick < c->switch_tick)
        return;
    i64 e = c->switch_tick - c->start;
    bool low_half = counter_mode(c) == 3 && e % c->count != 0;
    c->edges_before += counter_edges(c, c->switch_tick);
    c->count = c->next;
    c->start = c->switch_tick - (low_half ? high_half(c->count) : 0);
    c->pending = false;
}

static bool counter_out(const struct counter *c, i64 tick)
{
    i64 e = counter_elapsed(c, tick);
    if (!c->loaded || e < 0)
        return c->out_before;
    switch (counter_mode(c)) {
    case 0:
    case 1: return e >= c->count;
    case 2: return !c->gate || e % c->count != c->count - 1;
    case 3: return !c->gate || e % c->count < high_half(c->count);
    default: return e != c->count;
    }
}

/* What the counting element holds: 0..65535, or 0..9999 in BCD. */
static u32 counter_value(const struct counter *c, i64 tick)
{
    if (!c->loaded)
        return c->held;
    u32 modulus = c->control & CW_BCD ? BCD_MODULUS : BINARY_MODULUS;
    i64 e = counter_elapsed(c, tick);
    if (e < 0)
        e = 0;
    i64 phase = e % c->count, high = high_half(c->count);
    switch (counter_mode(c)) {
    case 2: return (u32)(c->count - phase) % modulus;
    case 3: /* counts down by two in either half, from an even number */
        return (u32)((c->count & ~1u) - 2 * (phase < high ? phase : phase - high)) % modulus;
    default: return (u32)((c->count + modulus - e % modulus) % modulus);
    }
}

static u16 to_bcd(u32 v)
{
    return (u16)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static u32 from_bcd(u16 v)
{
    return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}

static u16 counter_read_value(const struct counter *c, i64 tick)
{
    u32 v = counter_value(c, tick);
    return c->control & CW_BCD ? to_bcd(v) : (u16)v;
}

static u8 counter_status(const struct counter *c, i64 tick)
{
    bool is_null = c->null_count || c->pending || counter_elapsed(c, tick) < 0;
    return (u8)((counter_out(c, tick) ? STATUS_OUT : 0) | (is_null ? STATUS_NULL : 0) | c->control);
}

static enum access counter_access(const struct counter *c)
{
    return c->control >> CW_ACCESS_SHIFT & CW_ACCESS;
}

static void counter_latch_count(struct counter *c, i64 tick)
{
    if (c->latch_left)
        return; /* the first latch holds until it was read */
    u16 v = counter_read_value(c, tick);
    enum access access = counter_access(c);
    c->latch = access == ACCESS_HIGH ? v >> 8 : v;
    c->latch_left = access == ACCESS_BOTH ? 2 : 1;
}

/* The count register goes to the counting element at the next CLK. */
static void counter_load(struct counter *c, i64 tick, bool out_before)
{
    c->edges_before += counter_edges(c, tick);
    c->out_before = out_before;
    c->count = c->next;
    c->loaded = true;
    c->null_count = c->pending = false;
    c->running = c->gate || is_triggered(counter_mode(c));
    c->start = tick + 1;
    c->frozen = 0;
}

/* Stops for good, until the next load. */
static void counter_unload(struct counter *c, i64 tick, bool out)
{
    c->held = counter_value(c, tick);
    c->edges_before += counter_edges(c, tick);
    c->loaded = c->running = c->pending = false;
    c->frozen = 0;
    c->out_before = out;
}

static void counter_control(struct counter *c, u8 value, i64 tick)
{
    counter_sync(c, tick);
    counter_unload(c, tick, true);
    c->control = value & CW_STATUS_BITS;
    c->out_before = counter_mode(c) != 0;
    c->next = 0;
    c->null_count = true;
    c->status_latched = false;
    c->latch_left = 0;
    c->read_high = c->write_high = false;
}

/* A complete count arrived. */
static void counter_write_count(struct counter *c, u16 raw, i64 tick)
{
    bool bcd = c->control & CW_BCD;
    u32 count = bcd ? from_bcd(raw) : raw;
    c->next = count ? count : bcd ? BCD_MODULUS : BINARY_MODULUS;
    unsigned mode = counter_mode(c);
    if (is_triggered(mode)) {
        c->null_count = true; /* until the trigger */
    } else if (!is_periodic(mode)) {
        counter_load(c, tick, mode == 4);
    } else if (!c->loaded) {
        counter_load(c, tick, true);
    } else if (counter_elapsed(c, tick) < 0) {
        c->count = c->next; /* the first count had not been loaded yet */
    } else {
        i64 e = counter_elapsed(c, tick), period = c->count;
        i64 half = mode == 3 && e % period < high_half(c->count) ? high_half(c->count) : period;
        c->pending = true;
        c->switch_tick = c->running ? c->start + e - e % period + half : INT64_MAX;
    }
}

static void counter_write(struct counter *c, u8 value, i64 tick)
{
    counter_sync(c, tick);
    switch (counter_access(c)) {
    case ACCESS_LOW: counter_write_count(c, value, tick); break;
    case ACCESS_HIGH: counter_write_count(c, (u16)(value << 8), tick); break;
    case ACCESS_BOTH:
        if (c->write_high) {
            counter_write_count(c, (u16)(value << 8 | c->low_byte), tick);
        } else {
            c->low_byte = value;
            if (counter_mode(c) == 0 && c->loaded)
                counter_unload(c, tick, false); /* the first byte stops mode 0 */
        }
        c->write_high = !c->write_high;
        break;
    case ACCESS_LATCH: break; /* never programmed: no count can be written */
    }
}

static u8 counter_read(struct counter *c, i64 tick)
{
    counter_sync(c, tick);
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latch_left) {
        u8 v = (u8)c->latch;
        c->latch >>= 8;
        c->latch_left--;
        return v;
    }
    u16 v = counter_read_value(c, tick);
    switch (counter_access(c)) {
    case ACCESS_HIGH: return (u8)(v >> 8);
    case ACCESS_BOTH: c->read_high = !c->read_high; return (u8)(c->read_high ? v : v >> 8);
    default: return (u8)v;
    }
}

static void counter_set_gate(struct counter *c, bool level, i64 tick)
{
    counter_sync(c, tick);
    if (c->gate == level)
        return;
    unsigned mode = counter_mode(c);
    if (is_triggered(mode)) {
        bool out = counter_out(c, tick);
        if (level && c->next)
            counter_load(c, tick, out);
    } else if (c->loaded && !level) {
        i64 e = counter_elapsed(c, tick);
        c->frozen = e < 0 ? 0 : e;
        c->running = false;
        if (c->pending)
            c->switch_tick = INT64_MAX;
    } else if (c->loaded && is_periodic(mode)) {
        c->gate = true;
        counter_load(c, tick, true);
    } else if (c->loaded) {
        c->start = tick - c->frozen;
        c->running = true;
    }
    c->gate = level;
}

/* ---- IRQ0 ---- */

static i64 period_ns(const struct i8254 *pit)
{
    return tick_ns(pit->counter[0].count);
}

/* `n` ticks came due. */
static void irq0_due(struct i8254 *pit, u64 n, i64 now)
{
    if (pit->cut || n == 0)
        return;
    if (is_periodic(counter_mode(&pit->counter[0]))) {
        owed_ticks_due(&pit->ticks, &pit->irq0, n, period_ns(pit), now);
        return;
    }
    pit->ticks.owed = 0; /* one shot is one interrupt */
    owed_ticks_raise(&pit->ticks, &pit->irq0, now);
}

static void pit_arm(struct i8254 *pit, i64 now)
{
    const struct counter *c = &pit->counter[0];
    i64 tick = counter_edge_tick(c, counter_edges(c, tick_at(now)) + 1);
    if (c->pending && c->switch_tick < tick)
        tick = c->switch_tick;
    i64 at = tick == INT64_MAX ? CLOCK_NEVER : tick_ns(tick);
    i64 repay = owed_ticks_repay_at(&pit->ticks, period_ns(pit), now);
    at = repay < at ? repay : at;
    if (at == CLOCK_NEVER || pit->cut) {
        timer_cancel(&pit->timer);
        return;
    }
    /* Short periods are bunched: what came due meanwhile is counted when the timer fires. */
    i64 soonest = pit->fired_at + MIN_INTERVAL_NS;
    timer_arm(&pit->timer, at < soonest ? soonest : at);
}

/* Brings the ticks of counter 0 up to date. */
static void pit_count_edges(struct i8254 *pit, i64 now)
{
    struct counter *c = &pit->counter[0];
    i64 tick = tick_at(now);
    counter_sync(c, tick);
    u64 edges = c->edges_before + counter_edges(c, tick);
    u64 n = edges - pit->edges_seen;
    pit->edges_seen = edges;
    irq0_due(pit, n, now);
}

static void pit_fire(void *opaque)
{
    struct i8254 *pit = opaque;
    u64 seen = pit->edges_seen;
    i64 now = clock_now(pit->clock);
    pit->fired_at = now;
    pit_count_edges(pit, now);
    if (seen == pit->edges_seen)
        owed_ticks_repay(&pit->ticks, &pit->irq0, period_ns(pit), now);
    pit_arm(pit, now);
}

void i8254_irq0_taken(struct i8254 *pit)
{
    if (!owed_ticks_taken(&pit->ticks) || !pit->ticks.owed)
        return;
    i64 now = clock_now(pit->clock);
    owed_ticks_repay(&pit->ticks, &pit->irq0, period_ns(pit), now);
    pit_arm(pit, now);
}

void i8254_cut_irq0(struct i8254 *pit, bool cut)
{
    i64 now = clock_now(pit->clock);
    pit_count_edges(pit, now);
    pit->cut = cut;
    if (cut) {
        owed_ticks_forget(&pit->ticks);
        irq_set(&pit->irq0, false);
    }
    pit_arm(pit, now);
}

/* ---- Ports ---- */

/* Counter 0 is about to be programmed; returns OUT as it was. */
static bool irq0_before(struct i8254 *pit, i64 now)
{
    pit_count_edges(pit, now);
    return counter_out(&pit->counter[0], tick_at(now));
}

/* Programming drives OUT at once: low is no request, a rise is one. */
static void irq0_after(struct i8254 *pit, bool was, i64 now)
{
    struct counter *c = &pit->counter[0];
    bool out = counter_out(c, tick_at(now));
    pit->edges_seen = c->edges_before + counter_edges(c, tick_at(now));
    if (!out) {
        owed_ticks_forget(&pit->ticks);
        irq_set(&pit->irq0, false);
    } else if (!was && !pit->cut) {
        owed_ticks_raise(&pit->ticks, &pit->irq0, now);
    }
    pit_arm(pit, now);
}

static void tone_changed(struct i8254 *pit)
{
    if (pit->tone_changed)
        pit->tone_changed(pit->tone_opaque);
}

static void pit_read_back(struct i8254 *pit, u8 value, i64 tick)
{
    for (unsigned n = 0; n < COUNTERS; n++) {
        struct counter *c = &pit->counter[n];
        if (!(value & (READ_BACK_FIRST << n)))
            continue;
        counter_sync(c, tick);
        if (!(value & READ_BACK_NOT_COUNT))
            counter_latch_count(c, tick);
        if (!(value & READ_BACK_NOT_STATUS) && !c->status_latched) {
            c->status = counter_status(c, tick);
            c->status_latched = true;
        }
    }
}

static void pit_control(struct i8254 *pit, u8 value, i64 now)
{
    i64 tick = tick_at(now);
    unsigned n = value >> CW_SELECT_SHIFT;
    if (n == CW_SELECT_READ_BACK) {
        pit_read_back(pit, value, tick);
        return;
    }
    struct counter *c = &pit->counter[n];
    if ((value >> CW_ACCESS_SHIFT & CW_ACCESS) == ACCESS_LATCH) {
        counter_sync(c, tick);
        counter_latch_count(c, tick);
        return;
    }
    bool was = n == 0 && irq0_before(pit, now);
    counter_control(c, value, tick);
    if (n == 0) {
        pit->ticks.owed = 0;
        irq0_after(pit, was, now);
    } else if (n == 2) {
        tone_changed(pit);
    }
}

static void pit_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8254 *pit = opaque;
    i64 now = clock_now(pit->clock);
    (void)size;
    if (offset == CONTROL_OFFSET) {
        pit_control(pit, (u8)value, now);
        return;
    }
    bool was = offset == 0 && irq0_before(pit, now);
    counter_write(&pit->counter[offset], (u8)value, tick_at(now));
    if (offset == 0)
        irq0_after(pit, was, now);
    else if (offset == 2)
        tone_changed(pit);
}

static u32 pit_read(void *opaque, u16 offset, unsigned size)
{
    struct i8254 *pit = opaque;
    (void)size;
    if (offset == CONTROL_OFFSET)
        return 0xff; /* the control register cannot be read: nobody drives the bus */
    return counter_read(&pit->counter[offset], pit_tick(pit));
}

static u32 system_read(void *opaque, u16 offset, unsigned size)
{
    struct i8254 *pit = opaque;
    (void)offset;
    (void)size;
    i64 tick = pit_tick(pit);
    struct counter *c = &pit->counter[2];
    counter_sync(c, tick);
    return pit->system | (tick / REFRESH_TICKS & 1 ? SYSTEM_REFRESH : 0u) |
           (counter_out(c, tick) ? SYSTEM_OUT2 : 0u);
}

static void system_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8254 *pit = opaque;
    (void)offset;
    (void)size;
    pit->system = value & SYSTEM_WRITABLE;
    counter_set_gate(&pit->counter[2], value & SYSTEM_GATE2, pit_tick(pit));
    tone_changed(pit);
}

u32 i8254_tone(const struct i8254 *pit)
{
    const struct counter *c = &pit->counter[2];
    if (!(pit->system & SYSTEM_SPEAKER) || !c->loaded || !c->running ||
        !is_periodic(counter_mode(c)))
        return 0;
    u32 hz = I8254_HZ / (c->pending ? c->next : c->count);
    return hz >= TONE_MIN_HZ && hz <= TONE_MAX_HZ ? hz : 0;
}

void i8254_on_tone(struct i8254 *pit, void (*changed)(void *opaque), void *opaque)
{
    pit->tone_changed = changed;
    pit->tone_opaque = opaque;
}

/* The 8254 has no reset: its state is undefined until it is programmed. Here: all idle, mode 0. */
static void i8254_reset(void *dev)
{
    struct i8254 *pit = dev;
    for (unsigned n = 0; n < COUNTERS; n++)
        pit->counter[n] = (struct counter){.gate = n != 2, .null_count = true};
    pit->system = 0;
    pit->cut = false;
    pit->edges_seen = 0;
    pit->fired_at = clock_now(pit->clock) - MIN_INTERVAL_NS;
    owed_ticks_forget(&pit->ticks);
    irq_set(&pit->irq0, false);
    timer_cancel(&pit->timer);
}

/* Saved values are as little to be trusted as the file they came from. */
static bool counter_is_sane(const struct counter *c, i64 tick)
{
    if (c->loaded && (c->count == 0 || c->count > BINARY_MODULUS))
        return false;
    return c->next <= BINARY_MODULUS && c->latch_left <= 2 && c->frozen >= 0 &&
           c->start <= tick + 1 && c->start >= -BINARY_MODULUS;
}

static void i8254_loaded(void *dev)
{
    struct i8254 *pit = dev;
    i64 now = clock_now(pit->clock);
    for (unsigned n = 0; n < COUNTERS; n++) {
        struct counter *c = &pit->counter[n];
        if (!counter_is_sane(c, tick_at(now)))
            *c = (struct counter){.gate = n != 2, .null_count = true};
    }
    pit->ticks.owed = 0;
    irq_set(&pit->irq0, pit->ticks.untaken);
    pit_arm(pit, now);
}

static void i8254_destroy(void *dev)
{
    struct i8254 *pit = dev;
    timer_cancel(&pit->timer);
    for (size_t i = 0; i < ARRAY_LEN(pit->claims); i++)
        io_bus_release(pit->bus, pit->claims[i]);
    free(pit);
}

// clang-format off
#define COUNTER_ROWS(n)                                                  \
    STATE_ROW(STATE_U8,   i8254, counter[n].control,        1, 1),       \
    STATE_ROW(STATE_U8,   i8254, counter[n].status,         1, 1),       \
    STATE_ROW(STATE_U8,   i8254, counter[n].latch_left,     1, 1),       \
    STATE_ROW(STATE_U8,   i8254, counter[n].low_byte,       1, 1),       \
    STATE_ROW(STATE_U16,  i8254, counter[n].latch,          1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].status_latched, 1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].read_high,      1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].write_high,     1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].gate,           1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].loaded,         1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].running,        1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].null_count,     1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].pending,        1, 1),       \
    STATE_ROW(STATE_BOOL, i8254, counter[n].out_before,     1, 1),       \
    STATE_ROW(STATE_U32,  i8254, counter[n].count,          1, 1),       \
    STATE_ROW(STATE_U32,  i8254, counter[n].next,           1, 1),       \
    STATE_ROW(STATE_U32,  i8254, counter[n].held,           1, 1),       \
    STATE_ROW(STATE_I64,  i8254, counter[n].start,          1, 1),       \
    STATE_ROW(STATE_I64,  i8254, counter[n].frozen,         1, 1),       \
    STATE_ROW(STATE_I64,  i8254, counter[n].switch_tick,    1, 1),       \
    STATE_ROW(STATE_U64,  i8254, counter[n].edges_before,   1, 1)

static const struct state_field i8254_state[] = {
    COUNTER_ROWS(0),
    COUNTER_ROWS(1),
    COUNTER_ROWS(2),
    STATE_ROW(STATE_U8,    i8254, system,        1, 1),
    STATE_ROW(STATE_BOOL,  i8254, cut,           1, 1),
    STATE_ROW(STATE_U64,   i8254, edges_seen,    1, 1),
    STATE_ROW(STATE_I64,   i8254, fired_at,      1, 1),
    OWED_TICKS_ROWS(i8254, ticks),
    STATE_ROW(STATE_TIMER, i8254, timer,         1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops i8254_ops = {
    .name = "i8254",
    .version = 1,
    .state = i8254_state,
    .reset = i8254_reset,
    .loaded = i8254_loaded,
    .destroy = i8254_destroy,
};

static const struct port_ops pit_ops = {.name = "i8254", .read = pit_read, .write = pit_write};
static const struct port_ops system_ops = {
    .name = "i8254", .read = system_read, .write = system_write};

struct i8254 *i8254_create(struct io_bus *bus, struct irq_line irq0, struct clock *clock)
{
    struct i8254 *pit = calloc(1, sizeof *pit);
    if (!pit)
        return NULL;
    pit->bus = bus;
    pit->irq0 = irq0;
    pit->clock = clock;
    timer_init(&pit->timer, clock, pit_fire, pit);
    pit->claims[0] = io_bus_claim(bus, PIT_PORT, PIT_PORTS, &pit_ops, pit);
    pit->claims[1] = io_bus_claim(bus, SYSTEM_PORT, 1, &system_ops, pit);
    i8254_reset(pit);
    return pit;
}

struct device i8254_device(struct i8254 *pit)
{
    return (struct device){.ops = &i8254_ops, .dev = pit};
}
