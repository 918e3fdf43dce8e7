/* SPDX-License-Identifier: MIT
 *
 * Real-time clock and CMOS memory: Motorola MC146818A as the AT has it at 70h and 71h, with 128
 * bytes. Bit 7 of port 70h is the board's NMI mask.
 *
 * The chip is brought up to date when somebody looks (rtc_sync()); a timer runs only while an
 * enabled interrupt can still come, so that an idle guest costs nothing. Time is kept in the ten
 * registers themselves, in whatever format register B says, as in the chip: changing the format
 * does not convert them. `phase` is a second's boundary of the divider chain; the update ends
 * there, and the periodic interrupt is in step with it.
 *
 *     UIP    ___________________/~~~~~~~~~~~~\____________
 *                               | 244 | 1984 |   microseconds
 *                                            ^ registers change, UF, AF
 *
 * Deviations: any divider setting but reset counts as the 32.768 kHz one; registers are stable
 * during an update; daylight saving (DSE) and the square wave output do nothing; periodic
 * interrupts that the guest did not acknowledge in time are lost, as in the chip.
 */
#include "devices/mc146818.h"

#include <stdlib.h>

enum { RTC_PORT = 0x70, RTC_PORTS = 2, INDEX_MASK = 0x7f, INDEX_NMI_MASK = 0x80 };

enum {
    REG_SECONDS = 0x00,
    REG_SECONDS_ALARM = 0x01,
    REG_MINUTES = 0x02,
    REG_MINUTES_ALARM = 0x03,
    REG_HOURS = 0x04,
    REG_HOURS_ALARM = 0x05,
    REG_WEEKDAY = 0x06, /* 1: Sunday */
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_USER = 0x0e,
    REG_CENTURY = 0x32,
    REG_CENTURY_PS2 = 0x37, /* the same byte where PS/2 systems have it */
};

enum {
    A_UIP = 1 << 7,
    A_DIVIDER = 7 << 4,
    A_DIVIDER_RESET = 6 << 4, /* 11x */
    A_DIVIDER_32KHZ = 2 << 4,
    A_RATE = 0x0f,
    A_RATE_1024HZ = 6,
};

enum {
    B_SET = 1 << 7,
    B_PIE = 1 << 6,
    B_AIE = 1 << 5,
    B_UIE = 1 << 4,
    B_SQWE = 1 << 3,
    B_DM = 1 << 2, /* binary */
    B_24H = 1 << 1,
};

enum { C_IRQF = 1 << 7, C_PF = 1 << 6, C_AF = 1 << 5, C_UF = 1 << 4 };
enum { D_VRT = 1 << 7, HOURS_PM = 1 << 7, ALARM_ANY = 0xc0 };

#define CHAIN_HZ     32768
#define UIP_NS       ((244 + 1984) * INT64_C(1000))
#define RELEASE_NS   (NS_PER_SEC / 2) /* from divider reset to the first update */
#define DAY_SECONDS  86400
#define HOUR_SECONDS 3600

struct mc146818 {
    u8 cmos[MC146818_CMOS_BYTES];
    u8 index;
    bool nmi_masked;
    bool cut;
    i64 phase;       /* ns of a second's boundary, at or before now */
    i64 last_second; /* seconds since `phase`, as of the last sync */
    i64 last_tick;   /* ticks of the 32.768 kHz chain since `phase`, likewise */
    struct timer timer;

    struct irq_line irq8;
    struct clock *clock;
    struct io_bus *bus;
    struct io_claim *claim;
};

/* ---- Calendar ---- */

/* Days since 1970-01-01 of a day in the proleptic Gregorian calendar; months count from 1. */
static i64 days_from_date(i64 year, unsigned month, unsigned day)
{
    i64 y = month <= 2 ? year - 1 : year; /* years that begin in March */
    i64 era = (y >= 0 ? y : y - 399) / 400;
    i64 in_era = y - era * 400;
    i64 in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_from_days(i64 days, i64 *year, unsigned *month, unsigned *day)
{
    i64 z = days + 719468;
    i64 era = (z >= 0 ? z : z - 146096) / 146097;
    i64 in_era = z - era * 146097;
    i64 y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    i64 in_year = in_era - (365 * y + y / 4 - y / 100);
    i64 m = (5 * in_year + 2) / 153;
    *day = (unsigned)(in_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = y + era * 400 + (*month <= 2);
}

/* ---- Register formats. Anything may have been written: values are brought into range. ---- */

static u8 encode(const struct mc146818 *rtc, unsigned v)
{
    return (u8)(rtc->cmos[REG_B] & B_DM ? v : (v / 10) << 4 | v % 10);
}

static unsigned decode(const struct mc146818 *rtc, u8 raw)
{
    return rtc->cmos[REG_B] & B_DM ? raw : (raw >> 4) * 10u + (raw & 15);
}

static u8 encode_hour(const struct mc146818 *rtc, unsigned hour)
{
    if (rtc->cmos[REG_B] & B_24H)
        return encode(rtc, hour);
    return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *rtc, u8 raw)
{
    if (rtc->cmos[REG_B] & B_24H)
        return decode(rtc, raw) % 24;
    return decode(rtc, raw & (u8)~HOURS_PM) % 12 + (raw & HOURS_PM ? 12 : 0);
}

static unsigned clamp(unsigned v, unsigned low, unsigned high)
{
    return v < low ? low : v > high ? high : v;
}

static unsigned second_of_day(const struct mc146818 *rtc)
{
    const u8 *c = rtc->cmos;
    return decode_hour(rtc, c[REG_HOURS]) * HOUR_SECONDS + decode(rtc, c[REG_MINUTES]) % 60 * 60 +
           decode(rtc, c[REG_SECONDS]) % 60;
}

static i64 get_time(const struct mc146818 *rtc)
{
    const u8 *c = rtc->cmos;
    i64 year = decode(rtc, c[REG_CENTURY]) % 100 * 100 + decode(rtc, c[REG_YEAR]) % 100;
    unsigned month = clamp(decode(rtc, c[REG_MONTH]), 1, 12);
    unsigned day = clamp(decode(rtc, c[REG_DAY]), 1, 31);
    return days_from_date(year, month, day) * DAY_SECONDS + second_of_day(rtc);
}

static void put_time(struct mc146818 *rtc, i64 seconds)
{
    i64 days = (seconds >= 0 ? seconds : seconds - (DAY_SECONDS - 1)) / DAY_SECONDS;
    unsigned s = (unsigned)(seconds - days * DAY_SECONDS);
    i64 year;
    unsigned month, day;
    date_from_days(days, &year, &month, &day);
    u8 *c = rtc->cmos;
    c[REG_SECONDS] = encode(rtc, s % 60);
    c[REG_MINUTES] = encode(rtc, s / 60 % 60);
    c[REG_HOURS] = encode_hour(rtc, s / HOUR_SECONDS);
    c[REG_DAY] = encode(rtc, day);
    c[REG_MONTH] = encode(rtc, month);
    c[REG_YEAR] = encode(rtc, (unsigned)(year % 100));
    c[REG_CENTURY] = encode(rtc, (unsigned)(year / 100 % 100));
}

/* ---- Time passes ---- */

static bool alarm_matches(u8 alarm, u8 now)
{
    return alarm >= ALARM_ANY || alarm == now;
}

/* Seconds from now, 1..86400, until the time registers match the alarm; 0: never. */
static i64 seconds_to_alarm(const struct mc146818 *rtc)
{
    const u8 *c = rtc->cmos;
    unsigned now = second_of_day(rtc);
    for (unsigned d = 1; d <= DAY_SECONDS;) {
        unsigned t = (now + d) % DAY_SECONDS;
        if (!alarm_matches(c[REG_HOURS_ALARM], encode_hour(rtc, t / HOUR_SECONDS)))
            d += HOUR_SECONDS - t % HOUR_SECONDS;
        else if (!alarm_matches(c[REG_MINUTES_ALARM], encode(rtc, t / 60 % 60)))
            d += 60 - t % 60;
        else if (!alarm_matches(c[REG_SECONDS_ALARM], encode(rtc, t % 60)))
            d++;
        else
            return d;
    }
    return 0;
}

/* n >= 1 updates happen. */
static void rtc_advance(struct mc146818 *rtc, i64 n)
{
    i64 alarm = seconds_to_alarm(rtc);
    rtc->cmos[REG_C] |= C_UF | (alarm && alarm <= n ? C_AF : 0);
    i64 before = get_time(rtc), after = before + n;
    put_time(rtc, after);
    /* The day of the week counts for itself: the chip does not derive it from the date. */
    i64 days = (after - after % DAY_SECONDS - (before - before % DAY_SECONDS)) / DAY_SECONDS;
    unsigned weekday = clamp(decode(rtc, rtc->cmos[REG_WEEKDAY]), 1, 7);
    rtc->cmos[REG_WEEKDAY] = encode(rtc, (unsigned)((weekday - 1 + days) % 7 + 1));
}

static bool divider_runs(const struct mc146818 *rtc)
{
    return (rtc->cmos[REG_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

/* Chain ticks of the periodic interrupt, or 0. Rates 1 and 2 are those of 8 and 9. */
static i64 period_ticks(const struct mc146818 *rtc)
{
    unsigned rate = rtc->cmos[REG_A] & A_RATE;
    if (rate == 0)
        return 0;
    return (i64)1 << (rate <= 2 ? rate + 6 : rate - 1);
}

static i64 chain_ticks(const struct mc146818 *rtc, i64 now)
{
    return (i64)mul_div((u64)(now - rtc->phase), CHAIN_HZ, NS_PER_SEC);
}

static i64 chain_seconds(const struct mc146818 *rtc, i64 now)
{
    return (now - rtc->phase) / NS_PER_SEC;
}

/* Starts the chain so that the last second's boundary was `ago` ns ago. */
static void chain_start(struct mc146818 *rtc, i64 ago)
{
    i64 now = clock_now(rtc->clock);
    rtc->phase = now - ago;
    rtc->last_second = chain_seconds(rtc, now);
    rtc->last_tick = chain_ticks(rtc, now);
}

static void rtc_sync(struct mc146818 *rtc)
{
    if (!divider_runs(rtc))
        return;
    i64 now = clock_now(rtc->clock), period = period_ticks(rtc);
    i64 tick = chain_ticks(rtc, now), second = chain_seconds(rtc, now);
    if (period && tick / period != rtc->last_tick / period)
        rtc->cmos[REG_C] |= C_PF;
    if (second != rtc->last_second && !(rtc->cmos[REG_B] & B_SET))
        rtc_advance(rtc, second - rtc->last_second);
    rtc->last_tick = tick;
    rtc->last_second = second;
}

/* ns from `phase` to a chain tick, rounded up: at that time chain_ticks() has reached it. */
static i64 tick_ns(u64 tick)
{
    u64 ns = mul_div(tick, NS_PER_SEC, CHAIN_HZ);
    return (i64)(mul_div(ns, CHAIN_HZ, NS_PER_SEC) < tick ? ns + 1 : ns);
}

static i64 sooner(i64 a, i64 b)
{
    return a < b ? a : b;
}

/* The time of the next enabled flag that is not set yet. */
static i64 next_event(const struct mc146818 *rtc)
{
    u8 want = rtc->cmos[REG_B] & (u8)~rtc->cmos[REG_C];
    i64 at = CLOCK_NEVER, period = period_ticks(rtc);
    if (!divider_runs(rtc))
        return at;
    if (want & B_PIE && period) {
        u64 tick = (u64)((rtc->last_tick / period + 1) * period);
        at = rtc->phase + tick_ns(tick);
    }
    if (rtc->cmos[REG_B] & B_SET)
        return at;
    if (want & B_UIE)
        at = sooner(at, rtc->phase + (rtc->last_second + 1) * NS_PER_SEC);
    i64 alarm = want & B_AIE ? seconds_to_alarm(rtc) : 0;
    if (alarm)
        at = sooner(at, rtc->phase + (rtc->last_second + alarm) * NS_PER_SEC);
    return at;
}

/* IRQF and the interrupt line follow flags and enables; the timer follows what may come. The line
 * stays up until register C is read. */
static void rtc_update(struct mc146818 *rtc)
{
    u8 *c = &rtc->cmos[REG_C];
    bool irq = *c & rtc->cmos[REG_B] & (C_PF | C_AF | C_UF);
    *c = (*c & (u8)~C_IRQF) | (irq ? C_IRQF : 0);
    irq_set(&rtc->irq8, irq && !rtc->cut);
    timer_arm(&rtc->timer, next_event(rtc));
}

static void rtc_fire(void *opaque)
{
    struct mc146818 *rtc = opaque;
    rtc_sync(rtc);
    rtc_update(rtc);
}

/* ---- Ports ---- */

static bool in_update(const struct mc146818 *rtc)
{
    i64 since = (clock_now(rtc->clock) - rtc->phase) % NS_PER_SEC;
    return divider_runs(rtc) && !(rtc->cmos[REG_B] & B_SET) && since >= NS_PER_SEC - UIP_NS;
}

static u8 read_register(struct mc146818 *rtc, u8 index)
{
    u8 v = rtc->cmos[index];
    switch (index) {
    case REG_A: return v | (in_update(rtc) ? A_UIP : 0);
    case REG_C:
        rtc->cmos[REG_C] = 0;
        rtc_update(rtc);
        return v;
    case REG_CENTURY_PS2: return rtc->cmos[REG_CENTURY];
    default: return v;
    }
}

static void write_register(struct mc146818 *rtc, u8 index, u8 v)
{
    bool ran = divider_runs(rtc);
    switch (index) {
    case REG_A:
        rtc->cmos[REG_A] = v & (u8)~A_UIP;
        if (!ran && divider_runs(rtc))
            chain_start(rtc, RELEASE_NS);
        break;
    case REG_B: rtc->cmos[REG_B] = v & B_SET ? v & (u8)~B_UIE : v; break;
    case REG_C:
    case REG_D: break; /* read-only */
    case REG_CENTURY_PS2: rtc->cmos[REG_CENTURY] = v; break;
    default: rtc->cmos[index] = v; break;
    }
    rtc_update(rtc);
}

static u32 rtc_read(void *opaque, u16 offset, unsigned size)
{
    struct mc146818 *rtc = opaque;
    (void)size;
    if (offset == 0)
        return 0xff; /* the index is write-only */
    rtc_sync(rtc);
    u8 v = read_register(rtc, rtc->index);
    rtc_update(rtc);
    return v;
}

static void rtc_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct mc146818 *rtc = opaque;
    (void)size;
    if (offset == 0) {
        rtc->index = value & INDEX_MASK;
        rtc->nmi_masked = value & INDEX_NMI_MASK;
        return;
    }
    rtc_sync(rtc);
    write_register(rtc, rtc->index, (u8)value);
}

/* ---- For the machine ---- */

void mc146818_set_cmos(struct mc146818 *rtc, u8 index, u8 value)
{
    if (index >= REG_USER && index < MC146818_CMOS_BYTES)
        rtc->cmos[index] = value;
}

u8 mc146818_cmos(const struct mc146818 *rtc, u8 index)
{
    return rtc->cmos[index & INDEX_MASK];
}

bool mc146818_nmi_masked(const struct mc146818 *rtc)
{
    return rtc->nmi_masked;
}

void mc146818_cut_irq8(struct mc146818 *rtc, bool cut)
{
    rtc_sync(rtc);
    rtc->cut = cut;
    rtc_update(rtc);
}

/* The RESET pin: interrupts off, time goes on, memory stays. */
static void mc146818_reset(void *dev)
{
    struct mc146818 *rtc = dev;
    rtc_sync(rtc);
    rtc->cmos[REG_B] &= (u8) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[REG_C] = 0;
    rtc->index = 0;
    rtc->nmi_masked = rtc->cut = false;
    rtc_update(rtc);
}

static void mc146818_loaded(void *dev)
{
    struct mc146818 *rtc = dev;
    i64 now = clock_now(rtc->clock);
    rtc->index &= INDEX_MASK;
    /* A chain that claims to have started in the future or in another age starts now. */
    if (rtc->phase > now || rtc->phase < -NS_PER_SEC || rtc->last_second < 0 ||
        rtc->last_second > chain_seconds(rtc, now) || rtc->last_tick < 0 ||
        rtc->last_tick > chain_ticks(rtc, now))
        chain_start(rtc, 0);
    rtc_sync(rtc);
    rtc_update(rtc);
}

static void mc146818_destroy(void *dev)
{
    struct mc146818 *rtc = dev;
    timer_cancel(&rtc->timer);
    io_bus_release(rtc->bus, rtc->claim);
    free(rtc);
}

// clang-format off
static const struct state_field mc146818_state[] = {
    STATE_ROW(STATE_BYTES, mc146818, cmos,        MC146818_CMOS_BYTES, 1),
    STATE_ROW(STATE_U8,    mc146818, index,       1, 1),
    STATE_ROW(STATE_BOOL,  mc146818, nmi_masked,  1, 1),
    STATE_ROW(STATE_BOOL,  mc146818, cut,         1, 1),
    STATE_ROW(STATE_I64,   mc146818, phase,       1, 1),
    STATE_ROW(STATE_I64,   mc146818, last_second, 1, 1),
    STATE_ROW(STATE_I64,   mc146818, last_tick,   1, 1),
    STATE_ROW(STATE_TIMER, mc146818, timer,       1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops mc146818_ops = {
    .name = "mc146818",
    .version = 1,
    .state = mc146818_state,
    .reset = mc146818_reset,
    .loaded = mc146818_loaded,
    .destroy = mc146818_destroy,
};

static const struct port_ops rtc_ops = {.name = "mc146818", .read = rtc_read, .write = rtc_write};

struct mc146818 *mc146818_create(struct io_bus *bus, struct irq_line irq8, struct clock *clock,
                                 i64 seconds)
{
    struct mc146818 *rtc = calloc(1, sizeof *rtc);
    if (!rtc)
        return NULL;
    rtc->bus = bus;
    rtc->irq8 = irq8;
    rtc->clock = clock;
    timer_init(&rtc->timer, clock, rtc_fire, rtc);
    rtc->cmos[REG_A] = A_DIVIDER_32KHZ | A_RATE_1024HZ;
    rtc->cmos[REG_B] = B_24H;
    rtc->cmos[REG_D] = D_VRT;
    put_time(rtc, seconds);
    i64 days = (seconds >= 0 ? seconds : seconds - (DAY_SECONDS - 1)) / DAY_SECONDS;
    rtc->cmos[REG_WEEKDAY] = encode(rtc, (unsigned)(((days + 4) % 7 + 7) % 7 + 1));
    chain_start(rtc, 0);
    rtc->claim = io_bus_claim(bus, RTC_PORT, RTC_PORTS, &rtc_ops, rtc);
    mc146818_reset(rtc);
    return rtc;
}

struct device mc146818_device(struct mc146818 *rtc)
{
    return (struct device){.ops = &mc146818_ops, .dev = rtc};
}
