/* SPDX-License-Identifier: MIT
 *
 * Traces in the small: what they go through, and the state where they are left.
 * tests/guest/traces.asm has them in a guest, with pages that move.
 */
#include "bt_bench.h"

enum { FUNCTION = BENCH_CODE + 0x100, OTHER = BENCH_CODE + 0x140, STACK = BENCH_DATA + 0x20000 };

#define ROUNDS 1000

/* Windows and traces are made at once. */
static struct rig *open_rig(void)
{
    struct rig *r = bt_bench_open(false);
    bt_tune(r->v, &(struct bt_tuning){.hot = 1, .traces_at_once = true});
    r->v->gpr[REG_SP] = STACK;
    return r;
}

static void close_rig(struct rig *r)
{
    bt_bench_close(r, false);
}

/* The trace that begins at `rip`. */
static const struct trace *trace_at(const struct rig *r, u32 rip)
{
    const struct tcode *t = bt_bench_translation(r, rip);
    assert_non_null(t->trace);
    return t->trace;
}

static bool goes_through(const struct trace *t, u32 rip)
{
    for (unsigned k = 0; k < t->parts; k++) {
        if (t->part[k].block->rip == rip)
            return true;
    }
    return false;
}

static void calls_by_a_register_are_part_of_a_kernels_trace_until_they_lead_elsewhere(void **state)
{
    (void)state;
    static const u8 loop[] = {0xff, 0xd0,   /* call eax */
                              0x49,         /* dec ecx */
                              0x75, 0xfb,   /* jnz */
                              0xf4},        /* hlt */
        function[] = {0x42, 0xc3},          /* inc edx; ret */
        other[] = {0x83, 0xc2, 0x02, 0xc3}; /* add edx, 2; ret */
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    bt_bench_put(r, FUNCTION, function, sizeof function);
    bt_bench_put(r, OTHER, other, sizeof other);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_AX] = FUNCTION;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS);
    assert_true(goes_through(trace_at(r, BENCH_CODE), FUNCTION));

    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_AX] = OTHER;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], 2 * ROUNDS);
    assert_int_equal(r->v->gpr[REG_SP], STACK);
    close_rig(r);
}

static void a_function_may_be_called_twice_in_a_trace(void **state)
{
    (void)state;
    static const u8 loop[] = {0xe8, 0xfb, 0, 0, 0, /* call FUNCTION */
                              0xe8, 0xf6, 0, 0, 0, /* call FUNCTION */
                              0x49,                /* dec ecx */
                              0x75, 0xf3,          /* jnz */
                              0xf4},               /* hlt */
        function[] = {0x42, 0xc3};                 /* inc edx; ret */
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    bt_bench_put(r, FUNCTION, function, sizeof function);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], 2 * ROUNDS);
    const struct trace *t = trace_at(r, BENCH_CODE);
    assert_int_equal(t->parts, 5);
    assert_int_equal(t->part[1].block->rip, FUNCTION);
    assert_int_equal(t->part[3].block->rip, FUNCTION);
    /* It ends with the function, which it has in two places. */
    static const u8 other[] = {0x4a, 0xc3}; /* dec edx; ret */
    bt_bench_put(r, FUNCTION, other, sizeof other);
    r->v->gpr[REG_CX] = ROUNDS;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], 0);
    close_rig(r);
}

/* Every fourth time the branch is taken, with two values on the stack. */
static void a_trace_that_is_left_has_the_stack_pointer_as_it_should_be(void **state)
{
    (void)state;
    static const u8 loop[] = {0x51,             /* push ecx */
                              0x52,             /* push edx */
                              0xf6, 0xc1, 0x03, /* test cl, 3 */
                              0x74, 0x08,       /* jz away */
                              0x5a,             /* pop edx */
                              0x59,             /* back: pop ecx */
                              0x42,             /* inc edx */
                              0x49,             /* dec ecx */
                              0x75, 0xf3,       /* jnz loop */
                              0xf4,             /* hlt */
                              0x90,             /* nop */
                              0x5a,             /* away: pop edx */
                              0x83, 0xc2, 0x0a, /* add edx, 10 */
                              0xeb, 0xf3};      /* jmp back */
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS + ROUNDS / 4 * 10);
    assert_int_equal(r->v->gpr[REG_SP], STACK);
    assert_non_null(bt_bench_translation(r, BENCH_CODE)->trace);
    close_rig(r);
}

static void a_kernels_flags_are_part_of_a_trace(void **state)
{
    (void)state;
    static const u8 loop[] = {0x9c,       /* pushf */
                              0xfa,       /* cli */
                              0x85, 0xc9, /* test ecx, ecx */
                              0x74, 0x01, /* jz over */
                              0x42,       /* inc edx */
                              0x9d,       /* over: popf */
                              0x49,       /* dec ecx */
                              0x75, 0xf5, /* jnz loop */
                              0xf4};      /* hlt */
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS);
    assert_int_equal(r->v->gpr[REG_SP], STACK);
    assert_true(goes_through(trace_at(r, BENCH_CODE), BENCH_CODE + 6));
    close_rig(r);
}

/* Notes of x87 instructions are bits of a word: 70 instructions, then two of them. */
static void a_trace_with_x87_instructions_is_no_longer_than_a_block(void **state)
{
    (void)state;
    enum { INCS = 70 };
    u8 loop[2 + INCS + 8] = {0xdb, 0xe3};              /* fninit */
    static const u8 end[] = {0xd9, 0xe8,               /* fld1 */
                             0xdd, 0xd8,               /* fstp st0 */
                             0xe2, 0x100 - (INCS + 6), /* loop */
                             0xf4};                    /* hlt */
    memset(loop + 2, 0x42, INCS);                      /* inc edx */
    memcpy(loop + 2 + INCS, end, sizeof end);
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS * INCS);
    const struct bt *bt = bt_of(r->v);
    for (unsigned i = 0; i < bt->count; i++) {
        if (bt->codes[i]->x87)
            assert_true(bt->codes[i]->b->insns <= BLOCK_INSNS);
    }
    close_rig(r);
}

/* Each function calls the next one. */
static void a_trace_has_no_more_open_calls_than_are_counted(void **state)
{
    (void)state;
    enum { FUNCTIONS = 2 * PATH_DEPTH, SIZE = 16 };
    static const u8 loop[] = {0xe8, 0xfb, 0, 0, 0, /* call FUNCTION */
                              0x49,                /* dec ecx */
                              0x75, 0xf8,          /* jnz */
                              0xf4},               /* hlt */
        function[] = {0x42,                        /* inc edx */
                      0xe8, SIZE - 6, 0, 0, 0,     /* call the next one */
                      0xc3},                       /* ret */
        last[] = {0xc3};
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    for (unsigned k = 0; k < FUNCTIONS; k++)
        bt_bench_put(r, FUNCTION + k * SIZE, function, sizeof function);
    bt_bench_put(r, FUNCTION + FUNCTIONS * SIZE, last, sizeof last);
    r->v->gpr[REG_CX] = ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS * FUNCTIONS);
    const struct bt *bt = bt_of(r->v);
    unsigned traces = 0;
    for (unsigned i = 0; i < bt->count; i++) {
        const struct trace *t = bt->codes[i]->trace;
        /* All calls come first, then as many returns. */
        if (t && !bt->codes[i]->dead)
            assert_in_range(t->parts, 2, 2 * PATH_DEPTH + 2);
        traces += t != NULL;
    }
    assert_true(traces > 0);
    close_rig(r);
}

/* The function goes the short way in the first rounds, and then always the other. */
static void a_trace_that_is_left_within_its_call_makes_way_for_one_without(void **state)
{
    (void)state;
    static const u8 loop[] = {0xe8, 0xfb, 0, 0, 0,        /* call FUNCTION */
                              0x49,                       /* dec ecx */
                              0x75, 0xf8,                 /* jnz */
                              0xf4},                      /* hlt */
        function[] = {0x81, 0xf9, 0x00, 0x00, 0x01, 0x00, /* cmp ecx, 65536 */
                      0x72, 0x02,                         /* jb other */
                      0x42,                               /* inc edx */
                      0xc3,                               /* ret */
                      0x83, 0xc2, 0x02,                   /* other: add edx, 2 */
                      0xc3};                              /* ret */
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
    bt_bench_put(r, FUNCTION, function, sizeof function);
    r->v->gpr[REG_CX] = 65536 + ROUNDS;
    r->v->gpr[REG_DX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(r->v->gpr[REG_DX], ROUNDS + 1 + 2 * 65535);
    const struct tcode *t = bt_bench_translation(r, BENCH_CODE);
    assert_true(t->b->calls_out);
    assert_null(t->trace);
    close_rig(r);
}

/* What ESP is behind by has to fit a halfword, whatever the guest adds. */
static void a_fault_after_a_long_way_of_the_stack_pointer_shows_all_of_it(void **state)
{
    (void)state;
    const u32 way = 0x12344;
    static const u8 code[] = {0x8d, 0xa4, 0x24, 0xbc, 0xdc, 0xfe, 0xff, /* lea esp, [esp - way] */
                              0xf7, 0xf1,                               /* div ecx */
                              0xf4},                                    /* hlt */
        handler[] = {0xf4};
    struct rig *r = open_rig();
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    bt_bench_put(r, 0xf000, handler, sizeof handler);
    for (unsigned k = 0; k < 4; k++) {
        r->v->gpr[REG_AX] = 7;
        r->v->gpr[REG_DX] = 0;
        r->v->gpr[REG_CX] = k == 3 ? 0 : 7;
        r->v->gpr[REG_SP] = STACK;
        bt_bench_run(r, BENCH_CODE);
    }
    assert_non_null(bt_bench_translation(r, BENCH_CODE));
    assert_int_equal(peek32(r, STACK - way - 12), BENCH_CODE + 7);
    assert_int_equal(r->v->gpr[REG_SP], STACK - way - 12);
    close_rig(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_by_a_register_are_part_of_a_kernels_trace_until_they_lead_elsewhere),
        cmocka_unit_test(a_function_may_be_called_twice_in_a_trace),
        cmocka_unit_test(a_trace_that_is_left_has_the_stack_pointer_as_it_should_be),
        cmocka_unit_test(a_kernels_flags_are_part_of_a_trace),
        cmocka_unit_test(a_trace_with_x87_instructions_is_no_longer_than_a_block),
        cmocka_unit_test(a_trace_has_no_more_open_calls_than_are_counted),
        cmocka_unit_test(a_trace_that_is_left_within_its_call_makes_way_for_one_without),
        cmocka_unit_test(a_fault_after_a_long_way_of_the_stack_pointer_shows_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
