/* SPDX-License-Identifier: MIT
 *
 * The only source of time. One clock per machine gives virtual nanoseconds since power-on: it
 * stands still while the machine is paused. Devices derive PIT, RTC, LAPIC, ACPI and TSC from it.
 *
 * A running clock follows CLOCK_MONOTONIC; a stepped clock moves only by clock_step(), so that
 * tests own time. Timers belong to a clock.
 *
 * Locking: clock_now() from any thread; everything else with the board lock held (base/loop.h).
 */
#ifndef ANELLO_BASE_CLOCK_H
#define ANELLO_BASE_CLOCK_H

#include "base/bits.h"

#define NS_PER_SEC  INT64_C(1000000000)
#define CLOCK_NEVER INT64_MAX

struct clock;

struct timer {
    struct clock *clock;
    void (*fire)(void *opaque);
    void *opaque;
    i64 deadline;       /* virtual ns, CLOCK_NEVER when not armed */
    struct timer *next; /* in the clock's list, sorted by deadline */
};

/* A clock at 0, paused; clock_resume() starts it. */
struct clock *clock_create(void);
/* A clock at 0 that moves by clock_step() alone. */
struct clock *clock_create_stepped(void);
void clock_destroy(struct clock *clock);

/* Virtual ns since power-on. */
i64 clock_now(const struct clock *clock);
void clock_pause(struct clock *clock);
void clock_resume(struct clock *clock);
bool clock_is_paused(const struct clock *clock);
/* Moves a paused clock to `now` (snapshot restore). */
void clock_set(struct clock *clock, i64 now);

/* Moves a stepped clock by ns >= 0, firing each timer at its own deadline, in order. */
void clock_step(struct clock *clock, i64 ns);
/* Lets a stepped clock go on by `ns` at each reading: so it is on a host that schedules the thread
 * away between two. */
void clock_set_creep(struct clock *clock, i64 ns);
/* Fires what is due at clock_now(). */
void clock_run_expired(struct clock *clock);
/* The earliest deadline, or CLOCK_NEVER. */
i64 clock_next_deadline(const struct clock *clock);
/* `wake` is called whenever the earliest deadline moves nearer or the clock resumes. */
void clock_set_wake(struct clock *clock, void (*wake)(void *opaque), void *opaque);

void timer_init(struct timer *t, struct clock *clock, void (*fire)(void *opaque), void *opaque);
/* Arms (or moves) the timer; a deadline in the past fires at the next clock_run_expired(). */
void timer_arm(struct timer *t, i64 deadline);
void timer_cancel(struct timer *t);
static inline bool timer_is_armed(const struct timer *t)
{
    return t->deadline != CLOCK_NEVER;
}

/* a * b / c without overflow in between; c > 0 and the result must fit. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
    return (u64)((unsigned __int128)a * b / c);
}

#endif
