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

/* A running clock with its loop and two timers that set flags. */
struct keeping {
    struct clock *clock;
    struct loop *loop;
    struct timer near, far;
    bool near_fired, far_fired;
};

static void keeping_open(struct keeping *k)
{
    *k = (struct keeping){.clock = clock_create()};
    k->loop = loop_create(k->clock);
    loop_lock(k->loop);
    clock_resume(k->clock);
    timer_init(&k->near, k->clock, set_flag, &k->near_fired);
    timer_init(&k->far, k->clock, set_flag, &k->far_fired);
    loop_unlock(k->loop);
}

static void keeping_arm(struct keeping *k, struct timer *t, i64 ns)
{
    loop_lock(k->loop);
    timer_arm(t, clock_now(k->clock) + ns);
    loop_unlock(k->loop);
}

static void keeping_close(struct keeping *k)
{
    timer_cancel(&k->near);
    timer_cancel(&k->far);
    loop_destroy(k->loop);
    clock_destroy(k->clock);
}

#define MS        INT64_C(1000000)
#define LONG_TIME (3600 * NS_PER_SEC)

static void loop_does_not_wake_for_a_timer_that_is_kept(void **state)
{
    (void)state;
    struct keeping k;
    keeping_open(&k);
    keeping_arm(&k, &k.near, 2 * MS);
    assert_int_equal(loop_keep_time(k.loop), k.near.deadline);
    i64 start = clock_now(k.clock);
    loop_turn(k.loop, 30);
    assert_true(clock_now(k.clock) - start >= 29 * MS);
    keeping_close(&k);
}

static void loop_sees_to_a_timer_that_is_nearer_than_what_is_kept(void **state)
{
    (void)state;
    struct keeping k;
    keeping_open(&k);
    keeping_arm(&k, &k.far, LONG_TIME);
    assert_int_equal(loop_keep_time(k.loop), k.far.deadline);
    assert_int_equal(loop_keep_time(k.loop), CLOCK_NEVER); /* one keeper is enough */
    keeping_arm(&k, &k.near, MS);
    for (int i = 0; i < 10 && !k.near_fired; i++)
        loop_turn(k.loop, 60000);
    assert_true(k.near_fired);
    assert_false(k.far_fired);
    keeping_close(&k);
}

static void loop_takes_timers_back_from_their_keeper(void **state)
{
    (void)state;
    struct keeping k;
    keeping_open(&k);
    keeping_arm(&k, &k.near, 1);
    keeping_arm(&k, &k.far, 5 * MS);
    assert_int_not_equal(loop_keep_time(k.loop), CLOCK_NEVER);
    loop_pass_time(k.loop);
    assert_true(k.near_fired);
    for (int i = 0; i < 10 && !k.far_fired; i++)
        loop_turn(k.loop, 60000);
    assert_true(k.far_fired);
    assert_int_equal(loop_keep_time(k.loop), CLOCK_NEVER); /* there is none */
    keeping_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_step_fires_timers_in_order_at_their_own_time),
        cmocka_unit_test(clock_step_fires_a_timer_that_rearms_itself),
        cmocka_unit_test(clock_stands_still_while_paused),
        cmocka_unit_test(loop_runs_posts_and_timers),
        cmocka_unit_test(loop_does_not_wake_for_a_timer_that_is_kept),
        cmocka_unit_test(loop_sees_to_a_timer_that_is_nearer_than_what_is_kept),
        cmocka_unit_test(loop_takes_timers_back_from_their_keeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
