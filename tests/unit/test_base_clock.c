/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"

struct fired {
    struct clock *clock;
    i64 at[8];
    unsigned count;
};

static void note(void *opaque)
{
    struct fired *f = opaque;
    f->at[f->count++] = clock_now(f->clock);
}

static void clock_step_fires_timers_in_order_at_their_own_time(void **state)
{
    (void)state;
    struct fired f = {.clock = clock_create_stepped()};
    struct timer late, early, never;
    timer_init(&late, f.clock, note, &f);
    timer_init(&early, f.clock, note, &f);
    timer_init(&never, f.clock, note, &f);
    timer_arm(&late, 500);
    timer_arm(&early, 100);
    timer_arm(&never, 300);
    timer_cancel(&never);
    assert_int_equal(clock_next_deadline(f.clock), 100);
    clock_step(f.clock, 1000);
    assert_int_equal(f.count, 2);
    assert_int_equal(f.at[0], 100);
    assert_int_equal(f.at[1], 500);
    assert_int_equal(clock_now(f.clock), 1000);
    assert_int_equal(clock_next_deadline(f.clock), CLOCK_NEVER);
    clock_destroy(f.clock);
}

struct periodic {
    struct timer timer;
    unsigned count;
};

static void rearm(void *opaque)
{
    struct periodic *p = opaque;
    p->count++;
    timer_arm(&p->timer, clock_now(p->timer.clock) + 10);
}

static void clock_step_fires_a_timer_that_rearms_itself(void **state)
{
    (void)state;
    struct clock *clock = clock_create_stepped();
    struct periodic p = {0};
    timer_init(&p.timer, clock, rearm, &p);
    timer_arm(&p.timer, 10);
    clock_step(clock, 100);
    assert_int_equal(p.count, 10);
    clock_destroy(clock);
}

static void clock_stands_still_while_paused(void **state)
{
    (void)state;
    struct clock *clock = clock_create();
    assert_int_equal(clock_now(clock), 0);
    clock_resume(clock);
    while (clock_now(clock) == 0)
        ;
    clock_pause(clock);
    i64 then = clock_now(clock);
    for (volatile unsigned i = 0; i < 100000; i++)
        ;
    assert_int_equal(clock_now(clock), then);
    clock_resume(clock);
    assert_true(clock_now(clock) >= then);
    clock_destroy(clock);
}

static void set_flag(void *opaque)
{
    *(bool *)opaque = true;
}

static void loop_runs_posts_and_timers(void **state)
{
    (void)state;
    struct clock *clock = clock_create();
    struct loop *loop = loop_create(clock);
    bool posted = false, fired = false;
    struct timer t;
    loop_post(loop, set_flag, &posted);
    loop_turn(loop, 1000);
    assert_true(posted);
    loop_lock(loop);
    clock_resume(clock);
    timer_init(&t, clock, set_flag, &fired);
    timer_arm(&t, clock_now(clock) + 2000000);
    loop_unlock(loop);
    for (int i = 0; i < 100 && !fired; i++)
        loop_turn(loop, 100);
    assert_true(fired);
    loop_destroy(loop);
    clock_destroy(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_step_fires_timers_in_order_at_their_own_time),
        cmocka_unit_test(clock_step_fires_a_timer_that_rearms_itself),
        cmocka_unit_test(clock_stands_still_while_paused),
        cmocka_unit_test(loop_runs_posts_and_timers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
