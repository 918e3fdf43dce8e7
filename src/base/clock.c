/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

struct clock {
    bool stepped;
    bool paused;
    i64 offset; /* host monotonic ns at virtual 0; only meaningful while running */
    i64 frozen; /* virtual ns while paused or stepped */
    i64 creep;  /* ns that each reading of a stepped clock takes */
    struct timer *timers;
    void (*wake)(void *opaque);
    void *wake_opaque;
};

static i64 host_monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

struct clock *clock_create(void)
{
    struct clock *clock = calloc(1, sizeof *clock);
    if (clock)
        clock->paused = true;
    return clock;
}

struct clock *clock_create_stepped(void)
{
    struct clock *clock = clock_create();
    if (clock)
        clock->stepped = true;
    return clock;
}

void clock_destroy(struct clock *clock)
{
    free(clock);
}

/* The reading, after which time has gone on. */
static i64 creep(const struct clock *clock)
{
    i64 now = clock->frozen;
    ((struct clock *)(uintptr_t)clock)->frozen += clock->creep;
    return now;
}

/* Lock-free: a reader that races with pause/resume sees the time just before or just after it. */
i64 clock_now(const struct clock *clock)
{
    if (clock->creep)
        return creep(clock);
    if (clock->stepped || __atomic_load_n(&clock->paused, __ATOMIC_ACQUIRE))
        return __atomic_load_n(&clock->frozen, __ATOMIC_RELAXED);
    return host_monotonic() - __atomic_load_n(&clock->offset, __ATOMIC_RELAXED);
}

void clock_pause(struct clock *clock)
{
    if (clock->stepped || clock->paused)
        return;
    __atomic_store_n(&clock->frozen, clock_now(clock), __ATOMIC_RELAXED);
    __atomic_store_n(&clock->paused, true, __ATOMIC_RELEASE);
}

void clock_resume(struct clock *clock)
{
    if (clock->stepped || !clock->paused)
        return;
    __atomic_store_n(&clock->offset, host_monotonic() - clock->frozen, __ATOMIC_RELAXED);
    __atomic_store_n(&clock->paused, false, __ATOMIC_RELEASE);
    if (clock->wake)
        clock->wake(clock->wake_opaque);
}

bool clock_is_paused(const struct clock *clock)
{
    return clock->paused && !clock->stepped;
}

void clock_set(struct clock *clock, i64 now)
{
    assert(clock->paused);
    clock->frozen = now;
}

void clock_run_expired(struct clock *clock)
{
    while (clock->timers && clock->timers->deadline <= clock_now(clock)) {
        struct timer *t = clock->timers;
        timer_cancel(t);
        t->fire(t->opaque);
    }
}

void clock_step(struct clock *clock, i64 ns)
{
    assert(clock->stepped && ns >= 0);
    i64 end = clock->frozen + ns;
    while (clock->timers && clock->timers->deadline <= end) {
        struct timer *t = clock->timers;
        if (t->deadline > clock->frozen)
            clock->frozen = t->deadline;
        timer_cancel(t);
        t->fire(t->opaque);
    }
    if (clock->frozen < end)
        clock->frozen = end;
}

void clock_set_creep(struct clock *clock, i64 ns)
{
    assert(clock->stepped && ns >= 0);
    clock->creep = ns;
}

i64 clock_next_deadline(const struct clock *clock)
{
    return clock->timers ? clock->timers->deadline : CLOCK_NEVER;
}

void clock_set_wake(struct clock *clock, void (*wake)(void *opaque), void *opaque)
{
    clock->wake = wake;
    clock->wake_opaque = opaque;
}

void timer_init(struct timer *t, struct clock *clock, void (*fire)(void *opaque), void *opaque)
{
    *t = (struct timer){.clock = clock, .fire = fire, .opaque = opaque, .deadline = CLOCK_NEVER};
}

void timer_arm(struct timer *t, i64 deadline)
{
    struct clock *clock = t->clock;
    timer_cancel(t);
    if (deadline == CLOCK_NEVER)
        return;
    struct timer **at = &clock->timers;
    while (*at && (*at)->deadline <= deadline)
        at = &(*at)->next;
    t->deadline = deadline;
    t->next = *at;
    *at = t;
    if (clock->timers == t && clock->wake)
        clock->wake(clock->wake_opaque);
}

void timer_cancel(struct timer *t)
{
    if (!timer_is_armed(t))
        return;
    struct timer **at = &t->clock->timers;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->next = NULL;
    t->deadline = CLOCK_NEVER;
}
