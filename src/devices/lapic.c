/* SPDX-License-Identifier: MIT
 *
 * The local APIC of a CPU (SDM 3A chapter 11, "Advanced Programmable Interrupt Controller"), in
 * xAPIC and x2APIC mode, and the bus between APICs.
 *
 * Deviations: the timer's input clock is 1 GHz of virtual time, so that a count is a nanosecond;
 * periodic interrupts closer together than MIN_PERIOD_NS are stretched to that, or a guest could
 * keep the host busy with nothing else. SMI is passed on to a hook. Thermal and performance LVT
 * entries exist, but nothing drives them. After power-on the bootstrap processor's LINT0 is in
 * virtual-wire mode already, as firmware leaves it.
 */
#include "devices/lapic.h"

#include <stdlib.h>

#define MIN_PERIOD_NS 20000
#define FIRST_VECTOR  16 /* lower ones are illegal in messages */

enum msr {
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
};
enum apic_base_bits { BASE_BSP = 1 << 8, BASE_EXTD = 1 << 10, BASE_EN = 1 << 11 };
#define BASE_ADDRESS (mask64(40) & ~(u64)0xfff)

/* Register offsets in the page; x2APIC MSRs are 800h + offset / 16. */
enum reg {
    REG_ID = 0x20,
    REG_VERSION = 0x30,
    REG_TPR = 0x80,
    REG_APR = 0x90,
    REG_PPR = 0xa0,
    REG_EOI = 0xb0,
    REG_LDR = 0xd0,
    REG_DFR = 0xe0,
    REG_SVR = 0xf0,
    REG_ISR = 0x100,
    REG_TMR = 0x180,
    REG_IRR = 0x200,
    REG_ESR = 0x280,
    REG_ICR_LOW = 0x300,
    REG_ICR_HIGH = 0x310,
    REG_LVT_TIMER = 0x320,
    REG_LVT_ERROR = 0x370,
    REG_INITIAL = 0x380,
    REG_CURRENT = 0x390,
    REG_DIVIDE = 0x3e0,
    REG_SELF_IPI = 0x3f0,
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum lvt_bits {
    LVT_VECTOR = 0xff,
    LVT_DELIVERY_SHIFT = 8,
    LVT_DELIVERY = 7 << 8,
    LVT_LEVEL = 1 << 15,
    LVT_MASKED = 1 << 16,
    LVT_TIMER_MODE = 3 << 17,
    LVT_PERIODIC = 1 << 17,
    LVT_TSC_DEADLINE = 2 << 17,
};
static const u32 lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
    [LVT_THERMAL] = LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
    [LVT_PMC] = LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
    [LVT_LINT0] = LVT_VECTOR | LVT_DELIVERY | 1 << 13 | LVT_LEVEL | LVT_MASKED,
    [LVT_LINT1] = LVT_VECTOR | LVT_DELIVERY | 1 << 13 | LVT_LEVEL | LVT_MASKED,
    [LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

enum svr_bits { SVR_VECTOR = 0xff, SVR_ENABLE = 1 << 8, SVR_WRITABLE = 0x3ff };
enum esr_bits { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_REGISTER = 1 << 7 };
enum icr_bits {
    ICR_DELIVERY_SHIFT = 8,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_SHORTHAND_SHIFT = 18,
    ICR_WRITABLE = 0xccfff,
};
enum shorthand { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS };

#define VERSION       (0x14u | (LVT_COUNT - 1) << 16)
#define DFR_FLAT      0xffffffffu
#define BROADCAST_ALL 0xffffffffu

struct lapic {
    u64 base_msr;
    u32 id;
    u32 initial_id;
    u32 tpr, ldr, dfr, svr;
    u32 isr[8], tmr[8], irr[8];
    u32 esr, esr_collecting;
    u32 icr_low, icr_high;
    u32 lvt[LVT_COUNT];
    u32 initial, divide;
    i64 started;      /* virtual ns at which the count began */
    u64 tsc_deadline; /* 0: not armed */
    struct timer timer;
    bool lint[2]; /* input levels */
    bool extint;  /* an ExtINT message waits */
    bool intr;    /* what the CPU was told */

    struct apic_bus *bus;
    struct clock *clock;
    struct log *log;
    struct lapic_hooks hooks;
    struct lapic *next; /* on the bus */
};

struct apic_bus {
    struct lapic *apics;
};

static void deliver_lvt(struct lapic *a, enum lvt which);

/* ---- 256-bit sets ---- */

static bool has(const u32 set[8], unsigned n)
{
    return set[n / 32] >> (n % 32) & 1;
}

static void put(u32 set[8], unsigned n, bool on)
{
    u32 bit = 1u << (n % 32);
    set[n / 32] = on ? set[n / 32] | bit : set[n / 32] & ~bit;
}

static int highest(const u32 set[8])
{
    for (int i = 7; i >= 0; i--) {
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    }
    return -1;
}

/* ---- mode ---- */

static bool hardware_enabled(const struct lapic *a)
{
    return a->base_msr & BASE_EN;
}

static bool software_enabled(const struct lapic *a)
{
    return hardware_enabled(a) && (a->svr & SVR_ENABLE);
}

bool lapic_x2apic(const struct lapic *a)
{
    return (a->base_msr & (BASE_EN | BASE_EXTD)) == (BASE_EN | BASE_EXTD);
}

u64 lapic_base(const struct lapic *a)
{
    return hardware_enabled(a) && !lapic_x2apic(a) ? a->base_msr & BASE_ADDRESS : 0;
}

u32 lapic_id(const struct lapic *a)
{
    return a->id;
}

/* ---- priorities (SDM 3A §11.8.3) ---- */

static u32 processor_priority(const struct lapic *a)
{
    int in_service = highest(a->isr);
    u32 service_class = in_service < 0 ? 0 : (u32)in_service & 0xf0;
    return (a->tpr & 0xf0) >= service_class ? a->tpr : service_class;
}

/* The vector that would be dispensed now, or -1. */
static int dispensable(const struct lapic *a)
{
    int vector = highest(a->irr);
    if (vector < 0 || !software_enabled(a))
        return -1;
    return ((u32)vector & 0xf0) > (processor_priority(a) & 0xf0) ? vector : -1;
}

/* The 8259's interrupt gets through: APIC off, or LINT0 an open ExtINT. */
static bool pic_pending(const struct lapic *a)
{
    u32 lint0 = a->lvt[LVT_LINT0];
    if (!a->lint[0] || !a->hooks.pic_ack)
        return a->extint;
    if (!hardware_enabled(a))
        return true;
    return a->extint ||
           (!(lint0 & LVT_MASKED) && (lint0 & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT == APIC_EXTINT);
}

bool lapic_intr_pending(const struct lapic *a)
{
    return pic_pending(a) || dispensable(a) >= 0;
}

static void update_intr(struct lapic *a)
{
    bool level = lapic_intr_pending(a);
    if (level == a->intr)
        return;
    a->intr = level;
    if (a->hooks.intr)
        a->hooks.intr(a->hooks.opaque, level);
}

int lapic_ack(struct lapic *a)
{
    int vector;
    if (pic_pending(a)) {
        a->extint = false;
        vector = a->hooks.pic_ack ? a->hooks.pic_ack(a->hooks.opaque) : -1;
    } else {
        vector = dispensable(a);
        if (vector >= 0) {
            put(a->irr, (unsigned)vector, false);
            put(a->isr, (unsigned)vector, true);
        } else if (software_enabled(a) && highest(a->irr) >= 0) {
            vector = (int)(a->svr & SVR_VECTOR); /* TPR rose meanwhile: spurious */
        }
    }
    update_intr(a);
    return vector;
}

int lapic_highest_irr(const struct lapic *a)
{
    return highest(a->irr);
}

int lapic_highest_isr(const struct lapic *a)
{
    return highest(a->isr);
}

/* ---- receiving ---- */

static void error(struct lapic *a, u32 bits)
{
    a->esr_collecting |= bits;
    u32 entry = a->lvt[LVT_ERROR];
    if (!(entry & LVT_MASKED) && (entry & LVT_VECTOR) >= FIRST_VECTOR)
        deliver_lvt(a, LVT_ERROR);
}

/* True when the vector was not pending before. */
static bool accept_fixed(struct lapic *a, u8 vector, bool level)
{
    if (!software_enabled(a))
        return false;
    if (vector < FIRST_VECTOR) {
        error(a, ESR_RECEIVE_ILLEGAL);
        return false;
    }
    bool fresh = !has(a->irr, vector);
    put(a->irr, vector, true);
    put(a->tmr, vector, level);
    update_intr(a);
    return fresh;
}

static void reset_registers(struct lapic *a)
{
    a->tpr = a->ldr = a->esr = a->esr_collecting = a->icr_low = a->icr_high = 0;
    a->initial = a->divide = 0;
    a->dfr = DFR_FLAT;
    a->svr = SVR_VECTOR;
    memset(a->isr, 0, sizeof a->isr);
    memset(a->irr, 0, sizeof a->irr);
    memset(a->tmr, 0, sizeof a->tmr);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        a->lvt[i] = LVT_MASKED;
    a->tsc_deadline = 0;
    a->extint = false;
    timer_cancel(&a->timer);
}

static bool accept(struct lapic *a, const struct apic_message *m)
{
    switch (m->delivery) {
    case APIC_FIXED:
    case APIC_LOWEST: return accept_fixed(a, m->vector, m->level);
    case APIC_SMI:
        if (a->hooks.smi)
            a->hooks.smi(a->hooks.opaque);
        return true;
    case APIC_NMI:
        if (a->hooks.nmi)
            a->hooks.nmi(a->hooks.opaque);
        return true;
    case APIC_INIT: /* SDM 3A §10.4.7.3: the APIC itself is as after RESET, but for its ID */
        reset_registers(a);
        update_intr(a);
        if (a->hooks.init)
            a->hooks.init(a->hooks.opaque);
        return true;
    case APIC_STARTUP:
        if (a->hooks.startup)
            a->hooks.startup(a->hooks.opaque, m->vector);
        return true;
    case APIC_EXTINT:
        a->extint = true;
        update_intr(a);
        return true;
    }
    return false;
}

/* ---- the bus ---- */

struct apic_bus *apic_bus_create(void)
{
    return calloc(1, sizeof(struct apic_bus));
}

void apic_bus_destroy(struct apic_bus *bus)
{
    free(bus);
}

/* SDM 3A §11.6.2.2: flat and cluster model, and the fixed logical id of x2APIC mode. */
static bool matches_logical(const struct lapic *a, u32 dest)
{
    if (lapic_x2apic(a)) {
        u32 ldr = (a->id >> 4) << 16 | 1u << (a->id & 15);
        return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
    }
    u32 mine = a->ldr >> 24;
    if (dest == 0xff)
        return true;
    if (a->dfr >> 28 == 0xf)
        return dest & mine;
    return (dest >> 4 == mine >> 4 || dest >> 4 == 0xf) && (dest & mine & 0xf);
}

static bool matches(const struct lapic *a, const struct apic_message *m)
{
    if (!hardware_enabled(a))
        return false;
    if (m->logical)
        return m->dest == BROADCAST_ALL || matches_logical(a, m->dest);
    if (m->dest == BROADCAST_ALL || (m->dest == 0xff && !lapic_x2apic(a)))
        return true;
    return m->dest == a->id;
}

/* The addressed APIC of lowest priority takes a lowest-priority message. */
static struct lapic *arbitrate(struct apic_bus *bus, const struct apic_message *m)
{
    struct lapic *best = NULL;
    for (struct lapic *a = bus->apics; a; a = a->next) {
        if (matches(a, m) && software_enabled(a) &&
            (!best || processor_priority(a) < processor_priority(best)))
            best = a;
    }
    return best;
}

bool apic_bus_send(struct apic_bus *bus, const struct apic_message *m)
{
    if (m->delivery == APIC_LOWEST) {
        struct lapic *a = arbitrate(bus, m);
        return a && accept(a, m);
    }
    bool fresh = false;
    for (struct lapic *a = bus->apics; a; a = a->next) {
        if (matches(a, m))
            fresh |= accept(a, m);
    }
    return fresh;
}

bool apic_bus_msi(struct apic_bus *bus, u64 address, u32 data)
{
    enum { MSI_LOGICAL = 1 << 2, MSI_LEVEL = 1 << 15 };
    if (bits64(address, 31, 20) != 0xfee)
        return false;
    struct apic_message m = {.dest = (u32)bits64(address, 19, 12),
                             .logical = address & MSI_LOGICAL,
                             .level = data & MSI_LEVEL,
                             .vector = (u8)data,
                             .delivery = (enum apic_delivery)bits64(data, 10, 8)};
    return apic_bus_send(bus, &m);
}

/* ---- sending ---- */

static void send_shorthand(struct lapic *a, const struct apic_message *m, enum shorthand to)
{
    for (struct lapic *other = a->bus->apics; other; other = other->next) {
        bool self = other == a;
        if (to == TO_ALL || (to == TO_SELF) == self)
            accept(other, m);
    }
}

static void send_icr(struct lapic *a, u32 dest)
{
    u32 icr = a->icr_low;
    struct apic_message m = {.dest = dest,
                             .logical = icr & ICR_LOGICAL,
                             .level = icr & ICR_LEVEL,
                             .vector = (u8)icr,
                             .delivery = (enum apic_delivery)(icr >> ICR_DELIVERY_SHIFT & 7)};
    enum shorthand to = (enum shorthand)(icr >> ICR_SHORTHAND_SHIFT & 3);
    bool fixed = m.delivery == APIC_FIXED || m.delivery == APIC_LOWEST;
    if (m.delivery == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert: only old bus APICs listen */
    if (fixed && m.vector < FIRST_VECTOR) {
        error(a, ESR_SEND_ILLEGAL);
        return;
    }
    if (fixed)
        m.level = false; /* IPIs are edge-triggered whatever the bit says */
    if (to == TO_DEST)
        apic_bus_send(a->bus, &m);
    else
        send_shorthand(a, &m, to);
}

/* ---- LVT ---- */

static void deliver_lvt(struct lapic *a, enum lvt which)
{
    u32 entry = a->lvt[which];
    if (entry & LVT_MASKED)
        return;
    struct apic_message m = {
        .vector = (u8)entry,
        .delivery = (enum apic_delivery)((entry & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT)};
    if (which == LVT_TIMER || which == LVT_ERROR)
        m.delivery = APIC_FIXED;
    if (which == LVT_ERROR && m.vector < FIRST_VECTOR)
        return;
    accept(a, &m);
}

void lapic_set_lint(struct lapic *a, unsigned n, bool level)
{
    bool rises = level && !a->lint[n & 1];
    a->lint[n & 1] = level;
    enum lvt which = n & 1 ? LVT_LINT1 : LVT_LINT0;
    unsigned delivery = (a->lvt[which] & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT;
    if (rises && hardware_enabled(a) && delivery != APIC_EXTINT)
        deliver_lvt(a, which);
    update_intr(a);
}

/* ---- timer (SDM 3A §11.5.4) ---- */

static u32 timer_mode(const struct lapic *a)
{
    return a->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static i64 tick_ns(const struct lapic *a)
{
    unsigned code = (a->divide & 3) | (a->divide >> 1 & 4);
    return (i64)1 << ((code + 1) & 7); /* 0: by 2 ... 6: by 128, 7: by 1 */
}

static u32 current_count(const struct lapic *a)
{
    if (!a->initial || timer_mode(a) == LVT_TSC_DEADLINE)
        return 0;
    u64 ticks = (u64)(clock_now(a->clock) - a->started) / (u64)tick_ns(a);
    if (timer_mode(a) == LVT_PERIODIC)
        return a->initial - (u32)(ticks % a->initial);
    return ticks >= a->initial ? 0 : a->initial - (u32)ticks;
}

/* `running`: the count has not reached 0 as far as the guest could see. Its time may have passed
 * all the same while this thread was not scheduled: then it fires late, but it fires. */
static void arm_count(struct lapic *a, bool running)
{
    timer_cancel(&a->timer);
    if (!a->initial || timer_mode(a) == LVT_TSC_DEADLINE)
        return;
    i64 period = (i64)a->initial * tick_ns(a), now = clock_now(a->clock);
    i64 next = a->started + period;
    if (timer_mode(a) == LVT_PERIODIC) {
        if (next <= now)
            next += (now - next) / period * period + period;
        if (next < now + MIN_PERIOD_NS && now != a->started)
            next = now + MIN_PERIOD_NS;
    } else if (!running) {
        return;
    }
    timer_arm(&a->timer, next);
}

static void arm_deadline(struct lapic *a)
{
    timer_cancel(&a->timer);
    if (a->tsc_deadline && timer_mode(a) == LVT_TSC_DEADLINE && a->hooks.tsc_to_ns)
        timer_arm(&a->timer, a->hooks.tsc_to_ns(a->hooks.opaque, a->tsc_deadline));
}

static void timer_fired(void *opaque)
{
    struct lapic *a = opaque;
    a->tsc_deadline = 0;
    deliver_lvt(a, LVT_TIMER);
    if (timer_mode(a) == LVT_PERIODIC)
        arm_count(a, true);
}

/* ---- registers ---- */

static u32 read_set(const u32 set[8], u32 offset)
{
    return set[offset >> 4 & 7];
}

static u32 read_reg(struct lapic *a, u32 reg)
{
    switch (reg) {
    case REG_ID: return lapic_x2apic(a) ? a->id : a->id << 24;
    case REG_VERSION: return VERSION;
    case REG_TPR: return a->tpr;
    case REG_APR: return 0;
    case REG_PPR: return processor_priority(a);
    case REG_LDR: return lapic_x2apic(a) ? (a->id >> 4) << 16 | 1u << (a->id & 15) : a->ldr;
    case REG_DFR: return a->dfr;
    case REG_SVR: return a->svr;
    case REG_ESR: return a->esr;
    case REG_ICR_LOW: return a->icr_low;
    case REG_ICR_HIGH: return a->icr_high;
    case REG_INITIAL: return a->initial;
    case REG_CURRENT: return current_count(a);
    case REG_DIVIDE: return a->divide;
    default: break;
    }
    if (reg >= REG_ISR && reg < REG_TMR)
        return read_set(a->isr, reg);
    if (reg >= REG_TMR && reg < REG_IRR)
        return read_set(a->tmr, reg);
    if (reg >= REG_IRR && reg < REG_ESR)
        return read_set(a->irr, reg);
    if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR)
        return a->lvt[(reg - REG_LVT_TIMER) >> 4];
    return 0;
}

static void write_eoi(struct lapic *a)
{
    int vector = highest(a->isr);
    if (vector < 0)
        return;
    put(a->isr, (unsigned)vector, false);
    bool level = has(a->tmr, (unsigned)vector);
    if (a->hooks.eoi)
        a->hooks.eoi(a->hooks.opaque, (u8)vector, level);
    update_intr(a);
}

static void write_svr(struct lapic *a, u32 value)
{
    a->svr = value & SVR_WRITABLE;
    if (!(a->svr & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++)
            a->lvt[i] |= LVT_MASKED;
    }
    update_intr(a);
}

static void write_lvt(struct lapic *a, enum lvt which, u32 value)
{
    u32 before = timer_mode(a);
    a->lvt[which] = value & lvt_writable[which];
    if (!(a->svr & SVR_ENABLE))
        a->lvt[which] |= LVT_MASKED;
    if (which == LVT_TIMER && timer_mode(a) != before) {
        if (before == LVT_PERIODIC && a->initial) { /* the count goes on from where it is */
            i64 period = (i64)a->initial * tick_ns(a);
            a->started += (clock_now(a->clock) - a->started) / period * period;
        }
        bool running = timer_is_armed(&a->timer);
        timer_cancel(&a->timer);
        a->tsc_deadline = 0;
        if (before == LVT_TSC_DEADLINE || timer_mode(a) == LVT_TSC_DEADLINE)
            a->initial = 0;
        else
            arm_count(a, running);
    }
    update_intr(a);
}

static void write_initial(struct lapic *a, u32 value)
{
    if (timer_mode(a) == LVT_TSC_DEADLINE)
        return;
    a->initial = value;
    a->started = clock_now(a->clock);
    arm_count(a, true);
}

/* Changing the divisor goes on from the count reached. */
static void write_divide(struct lapic *a, u32 value)
{
    u32 left = current_count(a);
    u32 done = a->initial - left;
    a->divide = value & 0xb;
    a->started = clock_now(a->clock) - (i64)done * tick_ns(a);
    if (a->initial && (left || timer_mode(a) == LVT_PERIODIC))
        arm_count(a, true);
}

static void write_reg(struct lapic *a, u32 reg, u32 value)
{
    switch (reg) {
    case REG_ID:
        if (!lapic_x2apic(a))
            a->id = value >> 24;
        break;
    case REG_TPR:
        a->tpr = value & 0xff;
        update_intr(a);
        break;
    case REG_EOI: write_eoi(a); break;
    case REG_LDR: a->ldr = value & 0xff000000; break;
    case REG_DFR: a->dfr = value | 0x0fffffff; break;
    case REG_SVR: write_svr(a, value); break;
    case REG_ESR:
        a->esr = a->esr_collecting;
        a->esr_collecting = 0;
        break;
    case REG_ICR_LOW:
        a->icr_low = value & ICR_WRITABLE;
        send_icr(a, a->icr_high >> 24);
        break;
    case REG_ICR_HIGH: a->icr_high = value & 0xff000000; break;
    case REG_INITIAL: write_initial(a, value); break;
    case REG_DIVIDE: write_divide(a, value); break;
    default:
        if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR)
            write_lvt(a, (enum lvt)((reg - REG_LVT_TIMER) >> 4), value);
        break;
    }
}

static bool known_reg(u32 reg)
{
    static const u8 single[] = {REG_ID >> 4,      REG_VERSION >> 4, REG_TPR >> 4,
                                REG_PPR >> 4,     REG_EOI >> 4,     REG_LDR >> 4,
                                REG_SVR >> 4,     REG_ESR >> 4,     REG_ICR_LOW >> 4,
                                REG_INITIAL >> 4, REG_CURRENT >> 4, REG_DIVIDE >> 4};
    if ((reg >= REG_ISR && reg < REG_ESR) || (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(single); i++) {
        if (reg == (u32)single[i] << 4)
            return true;
    }
    return false;
}

static bool known_mmio(u32 reg)
{
    return known_reg(reg) || reg == REG_APR || reg == REG_DFR || reg == REG_ICR_HIGH;
}

u32 lapic_read(struct lapic *a, u32 offset, unsigned size)
{
    u32 reg = offset & 0xff0, shift = (offset & 3) * 8;
    if (offset & 0xc)
        return 0;
    if (!known_mmio(reg)) {
        error(a, ESR_REGISTER);
        return 0;
    }
    return (u32)(read_reg(a, reg) >> shift & mask64(size * 8));
}

void lapic_write(struct lapic *a, u32 offset, u32 value, unsigned size)
{
    if (offset & 0xf)
        return;
    if (!known_mmio(offset & 0xff0)) {
        error(a, ESR_REGISTER);
        return;
    }
    write_reg(a, offset & 0xff0, value & (u32)mask64(size * 8));
}

/* ---- MSRs ---- */

static bool write_base(struct lapic *a, u64 value)
{
    bool en = value & BASE_EN, extd = value & BASE_EXTD;
    if (value & ~(BASE_ADDRESS | BASE_BSP | BASE_EXTD | BASE_EN))
        return false;
    if ((extd && !en) || (lapic_x2apic(a) && en && !extd) || (!hardware_enabled(a) && en && extd))
        return false; /* figure 11-27: transitions that do not exist */
    if ((value & BASE_ADDRESS) != LAPIC_DEFAULT_BASE)
        log_unsupported(a->log, "APIC", value & BASE_ADDRESS,
                        "registers moved to %llx: works only where nothing else is mapped",
                        (unsigned long long)(value & BASE_ADDRESS));
    a->base_msr = (value & ~(u64)BASE_BSP) | (a->base_msr & BASE_BSP);
    update_intr(a);
    return true;
}

static bool x2apic_read(struct lapic *a, u32 reg, u64 *value)
{
    if (!lapic_x2apic(a) || !known_reg(reg) || reg == REG_EOI)
        return false;
    *value = read_reg(a, reg);
    if (reg == REG_ICR_LOW)
        *value |= (u64)a->icr_high << 32;
    return true;
}

static bool x2apic_write(struct lapic *a, u32 reg, u64 value)
{
    bool read_only = reg == REG_ID || reg == REG_VERSION || reg == REG_PPR || reg == REG_LDR ||
                     reg == REG_CURRENT || (reg >= REG_ISR && reg < REG_ESR);
    if (!lapic_x2apic(a) || read_only)
        return false;
    if (reg == REG_SELF_IPI) {
        if (value > 0xff)
            return false;
        accept_fixed(a, (u8)value, false);
        return true;
    }
    if (!known_reg(reg) || (reg != REG_ICR_LOW && value >> 32) ||
        ((reg == REG_EOI || reg == REG_ESR) && value))
        return false;
    if (reg == REG_ICR_LOW) {
        a->icr_high = (u32)(value >> 32);
        a->icr_low = (u32)value & ICR_WRITABLE;
        send_icr(a, a->icr_high);
        return true;
    }
    write_reg(a, reg, (u32)value);
    return true;
}

bool lapic_msr_read(struct lapic *a, u32 msr, u64 *value)
{
    if (msr == MSR_APIC_BASE) {
        *value = a->base_msr;
        return true;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = a->tsc_deadline;
        return a->hooks.tsc_to_ns != NULL;
    }
    return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST &&
           x2apic_read(a, (msr & 0xff) << 4, value);
}

bool lapic_msr_write(struct lapic *a, u32 msr, u64 value)
{
    if (msr == MSR_APIC_BASE)
        return write_base(a, value);
    if (msr == MSR_TSC_DEADLINE) {
        if (timer_mode(a) == LVT_TSC_DEADLINE) {
            a->tsc_deadline = value;
            arm_deadline(a);
        }
        return a->hooks.tsc_to_ns != NULL;
    }
    return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST &&
           x2apic_write(a, (msr & 0xff) << 4, value);
}

u64 lapic_cr8(const struct lapic *a)
{
    return a->tpr >> 4 & 15;
}

void lapic_set_cr8(struct lapic *a, u64 cr8)
{
    a->tpr = (u32)(cr8 & 15) << 4;
    update_intr(a);
}

/* ---- life ---- */

static void lapic_reset(void *dev)
{
    struct lapic *a = dev;
    bool bsp = a->initial_id == 0;
    reset_registers(a);
    a->id = a->initial_id;
    a->base_msr = LAPIC_DEFAULT_BASE | BASE_EN | (bsp ? BASE_BSP : 0u);
    if (bsp)
        a->lvt[LVT_LINT0] = APIC_EXTINT << LVT_DELIVERY_SHIFT;
    a->intr = false;
    if (a->hooks.intr)
        a->hooks.intr(a->hooks.opaque, false);
}

static void lapic_loaded(void *dev)
{
    struct lapic *a = dev;
    if (a->hooks.intr)
        a->hooks.intr(a->hooks.opaque, a->intr);
}

static void lapic_destroy(void *dev)
{
    struct lapic *a = dev, **at = &a->bus->apics;
    while (*at && *at != a)
        at = &(*at)->next;
    if (*at)
        *at = a->next;
    timer_cancel(&a->timer);
    free(a);
}

// clang-format off
static const struct state_field lapic_state[] = {
    STATE_ROW(STATE_U64,   lapic, base_msr,       1, 1),
    STATE_ROW(STATE_U32,   lapic, id,             1, 1),
    STATE_ROW(STATE_U32,   lapic, tpr,            1, 1),
    STATE_ROW(STATE_U32,   lapic, ldr,            1, 1),
    STATE_ROW(STATE_U32,   lapic, dfr,            1, 1),
    STATE_ROW(STATE_U32,   lapic, svr,            1, 1),
    STATE_ROW(STATE_U32,   lapic, isr,            8, 1),
    STATE_ROW(STATE_U32,   lapic, tmr,            8, 1),
    STATE_ROW(STATE_U32,   lapic, irr,            8, 1),
    STATE_ROW(STATE_U32,   lapic, esr,            1, 1),
    STATE_ROW(STATE_U32,   lapic, esr_collecting, 1, 1),
    STATE_ROW(STATE_U32,   lapic, icr_low,        1, 1),
    STATE_ROW(STATE_U32,   lapic, icr_high,       1, 1),
    STATE_ROW(STATE_U32,   lapic, lvt,            LVT_COUNT, 1),
    STATE_ROW(STATE_U32,   lapic, initial,        1, 1),
    STATE_ROW(STATE_U32,   lapic, divide,         1, 1),
    STATE_ROW(STATE_I64,   lapic, started,        1, 1),
    STATE_ROW(STATE_U64,   lapic, tsc_deadline,   1, 1),
    STATE_ROW(STATE_TIMER, lapic, timer,          1, 1),
    STATE_ROW(STATE_BOOL,  lapic, lint,           2, 1),
    STATE_ROW(STATE_BOOL,  lapic, extint,         1, 1),
    STATE_ROW(STATE_BOOL,  lapic, intr,           1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops lapic_ops = {
    .name = "lapic",
    .version = 1,
    .state = lapic_state,
    .reset = lapic_reset,
    .loaded = lapic_loaded,
    .destroy = lapic_destroy,
};

struct lapic *lapic_create(struct apic_bus *bus, struct clock *clock, u32 id,
                           const struct lapic_hooks *hooks, struct log *log)
{
    struct lapic *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->bus = bus;
    a->clock = clock;
    a->id = a->initial_id = id;
    a->hooks = *hooks;
    a->log = log;
    timer_init(&a->timer, clock, timer_fired, a);
    struct lapic **at = &bus->apics;
    while (*at)
        at = &(*at)->next;
    *at = a;
    lapic_reset(a);
    return a;
}

struct device lapic_device(struct lapic *apic)
{
    return (struct device){.ops = &lapic_ops, .dev = apic};
}
