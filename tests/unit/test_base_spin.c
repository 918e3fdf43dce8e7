/* SPDX-License-Identifier: MIT
 *
 * Looking before sleeping: what is learned from waits, and that a change is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <sched.h>

#include <cmocka.h>

#include "base/spin.h"

#define MOST 100000

static bool has_two_cpus(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

static void short_waits_widen_the_window_and_long_ones_close_it(void **state)
{
    (void)state;
    if (!has_two_cpus())
        skip();
    struct spin s;
    spin_init(&s, MOST);
    assert_int_equal(s.window, 0);
    spin_learn(&s, 30000);
    assert_true(s.window > 0);
    i64 first = s.window;
    spin_learn(&s, 30000);
    assert_int_equal(s.window, 2 * first);
    for (int i = 0; i < 10; i++)
        spin_learn(&s, MOST);
    assert_int_equal(s.window, MOST);
    spin_learn(&s, 5); /* over at once: no reason to change */
    assert_int_equal(s.window, MOST);
    spin_learn(&s, MOST + 1);
    assert_int_equal(s.window, MOST / 2);
    for (int i = 0; i < 10; i++)
        spin_learn(&s, MOST + 1);
    assert_int_equal(s.window, 0);
}

static void on_one_cpu_nobody_looks(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++) {
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    struct spin s;
    spin_init(&s, MOST);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    for (int i = 0; i < 10; i++)
        spin_learn(&s, 20);
    assert_int_equal(s.window, 0);
}

static void without_a_window_it_does_not_look(void **state)
{
    (void)state;
    struct spin s = {.most = MOST};
    u32 word = 1;
    assert_false(spin_while(&s, &word, 0));
}

static void a_window_ends(void **state)
{
    (void)state;
    struct spin s = {.most = MOST, .window = MOST};
    u32 word = 0;
    i64 start = spin_now();
    assert_false(spin_while(&s, &word, 0));
    assert_true(spin_now() - start >= MOST);
}

static void *change(void *word)
{
    __atomic_store_n((u32 *)word, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void a_change_ends_it(void **state)
{
    (void)state;
    struct spin s = {.most = INT64_MAX, .window = INT64_C(60000000000)};
    pthread_t thread;
    u32 word = 0;
    assert_int_equal(pthread_create(&thread, NULL, change, &word), 0);
    assert_true(spin_while(&s, &word, 0));
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_waits_widen_the_window_and_long_ones_close_it),
        cmocka_unit_test(on_one_cpu_nobody_looks),
        cmocka_unit_test(without_a_window_it_does_not_look),
        cmocka_unit_test(a_window_ends),
        cmocka_unit_test(a_change_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
