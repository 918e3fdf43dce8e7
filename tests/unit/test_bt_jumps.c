/* SPDX-License-Identifier: MIT
 *
 * Indirect jumps: they stay in translated code, also when the translation that they led to has made
 * way for another.
 */
#include "bt_bench.h"

#define CALLS 100000
#define FEW   100 /* times that the run loop is met for other reasons */

enum { FUNCTION = BENCH_CODE + 0x100, STACK = BENCH_DATA + 0x1000 };

static u64 entries_of_a_run(struct rig *r)
{
    u64 before = bt_stats(r->v)->entries;
    r->v->gpr[REG_CX] = CALLS;
    r->v->gpr[REG_AX] = FUNCTION;
    r->v->gpr[REG_DX] = 0;
    r->v->gpr[REG_SP] = STACK;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], CALLS);
    return bt_stats(r->v)->entries - before;
}

static void calls_by_a_register_do_not_stop_at_a_translation_that_has_ended(void **state)
{
    (void)state;
    static const u8 loop[] = {0xff, 0xd0, /* call eax */
                              0x49,       /* dec ecx */
                              0x75, 0xfb, /* jnz */
                              0xf4},      /* hlt */
        function[] = {0x42, 0xc3};        /* inc edx; ret */
    struct rig *r = bt_bench_open(false);
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    bt_bench_put(r, FUNCTION, function, sizeof function);
    entries_of_a_run(r);
    assert_true(entries_of_a_run(r) < FEW);
    assert_true(bt_bench_translation(r, FUNCTION)->guarded);
    tcode_end(bt_of(r->v), bt_bench_translation(r, FUNCTION));
    assert_true(entries_of_a_run(r) < FEW);
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_by_a_register_do_not_stop_at_a_translation_that_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
