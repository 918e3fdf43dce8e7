/* SPDX-License-Identifier: MIT
 *
 * Code in a page that is written all the time: its blocks check themselves (cpu/code_self.h), and
 * what changes without anybody being told is seen all the same.
 */
#include "bt_bench.h"

#include "cpu/code_self.h"
#include "cpu/interp.h"

enum { BESIDE = 64, LOOPS = 400 };
enum { FUNCTION = BENCH_DATA, DATA = BENCH_DATA + 0x800, OVER_END = BENCH_DATA + 0xfff };

/* call FUNCTION or OVER_END; add [DATA], ecx; dec ecx; jnz; hlt */
static void put_loop(struct rig *r, u32 function)
{
    u8 loop[] = {0xe8, 0, 0, 0, 0, 0x01, 0x0d, 0, 0, 0, 0, 0x49, 0x75, 0xf2, 0xf4};
    store32(loop + 1, function - (BENCH_CODE + 5));
    store32(loop + 7, DATA);
    bt_bench_put(r, BENCH_CODE, loop, sizeof loop);
}

/* Pages stay open for long. */
static struct rig *open_bench(bool check, unsigned hot)
{
    static const u8 function[] = {0xb0, 0x11, 0xc3}; /* mov al, 11h; ret */
    struct rig *r = bt_bench_open(check);
    bt_tune(r->v, &(struct bt_tuning){.hot = hot, .window_after = UINT64_MAX, .beside = BESIDE});
    r->v->interp->open_for = (u64)1 << 40;
    put_loop(r, FUNCTION);
    bt_bench_put(r, FUNCTION, function, sizeof function);
    return r;
}

static u8 run(struct rig *r)
{
    r->v->gpr[REG_CX] = LOOPS;
    bt_bench_run(r, BENCH_CODE);
    return (u8)r->v->gpr[REG_AX];
}

static bool guarded(const struct rig *r, u32 at)
{
    return *physmem_marks(r->pm, physmem_lookup(r->pm, at).offset) & PAGE_CODE;
}

static void pages_are_opened_when_data_beside_code_changes(void **state)
{
    (void)state;
    struct rig *r = open_bench(false, 1);
    assert_int_equal(run(r), 0x11);
    assert_false(guarded(r, FUNCTION));
    assert_true(guarded(r, BENCH_CODE));
    assert_non_null(bt_bench_translation(r, FUNCTION)->b->copy);
    assert_null(bt_bench_translation(r, BENCH_CODE)->b->copy);
    assert_int_equal(bt_stats(r->v)->self_checking, 1);
    assert_int_equal(peek32(r, DATA), LOOPS * (LOOPS + 1) / 2);
    bt_bench_close(r, false);
}

/* Neither a store of this CPU's nor anything else that is heard of. */
static void changes_without_notice_are_seen(unsigned hot)
{
    struct rig *r = open_bench(false, hot);
    run(r);
    for (u8 value = 0; value < 20; value++) {
        r->ram[FUNCTION + 1] = value;
        assert_int_equal(run(r), value);
    }
    r->ram[FUNCTION] = 0xb4; /* mov ah */
    r->v->gpr[REG_AX] = 0x77;
    assert_int_equal(run(r), 0x77);
    bt_bench_close(r, false);
}

static void translations_see_changes_without_notice(void **state)
{
    (void)state;
    changes_without_notice_are_seen(1);
}

static void interpreted_blocks_see_changes_without_notice(void **state)
{
    (void)state;
    changes_without_notice_are_seen(255);
}

static void single_steps_see_changes_without_notice(void **state)
{
    (void)state;
    struct rig *r = open_bench(false, 1);
    run(r);
    r->v->halted = false;
    for (u8 value = 1; value <= 2; value++) {
        r->ram[FUNCTION + 1] = value;
        r->v->rip = FUNCTION;
        interp_step(r->v);
    }
    assert_int_equal(r->v->gpr[REG_AX] & 0xff, 2);
    assert_int_equal(r->v->rip, FUNCTION + 2);
    bt_bench_close(r, false);
}

static void instructions_over_the_end_of_an_open_page_are_seen_to_change(void **state)
{
    (void)state;
    struct rig *r = open_bench(false, 1);
    bt_bench_put(r, OVER_END, (const u8[]){0xb0, 0x11, 0xc3}, 3);
    put_loop(r, OVER_END);
    run(r);
    assert_false(guarded(r, OVER_END));
    assert_true(guarded(r, OVER_END + 1));
    r->ram[OVER_END] = 0xb4;
    r->v->gpr[REG_AX] = 0x77;
    assert_int_equal(run(r), 0x77);
    bt_bench_close(r, false);
}

static void blocks_that_check_themselves_end_after_writes(void **state)
{
    /* mov al, 0; mov [FUNCTION + 1], al; inc al; pop edx; push edx; ret */
    u8 code[] = {0xb0, 0, 0xa2, 0, 0, 0, 0, 0xfe, 0xc0, 0x5a, 0x52, 0xc3};
    (void)state;
    struct rig *r = open_bench(false, 1);
    run(r);
    store32(code + 3, FUNCTION + 1);
    memcpy(r->ram + FUNCTION, code, sizeof code);
    run(r);
    assert_int_equal(bt_bench_translation(r, FUNCTION)->b->insns, 2);
    assert_int_equal(bt_bench_translation(r, FUNCTION + 7)->b->insns, 3);
    bt_bench_close(r, false);
}

static void immediates_that_change_without_notice_are_no_part_of_the_code(void **state)
{
    u8 code[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* mov eax, imm32; ret */
    (void)state;
    struct rig *r = open_bench(false, 1);
    run(r);
    memcpy(r->ram + FUNCTION, code, sizeof code);
    run(r);
    for (u32 value = 1; value < 10; value++) {
        poke32(r, FUNCTION + 1, value);
        run(r);
        assert_int_equal(r->v->gpr[REG_AX], value);
    }
    const struct block *b = bt_bench_translation(r, FUNCTION)->b;
    assert_true(b->insn[0].patched);
    poke32(r, FUNCTION + 1, 0x12345678);
    run(r);
    assert_int_equal(r->v->gpr[REG_AX], 0x12345678);
    assert_ptr_equal(bt_bench_translation(r, FUNCTION)->b, b);
    assert_false(b->dead);
    r->ram[FUNCTION + 5] = 0x90; /* but what comes behind it is */
    r->ram[FUNCTION + 6] = 0xc3;
    run(r);
    assert_true(b->dead);
    bt_bench_close(r, false);
}

static void pages_are_guarded_again_after_a_while(void **state)
{
    (void)state;
    struct rig *r = open_bench(false, 1);
    r->v->interp->open_for = 1;
    run(r);
    u64 before = bt_stats(r->v)->self_checking;
    code_self_reconsider(r->v);
    assert_true(guarded(r, FUNCTION));
    for (unsigned i = 0; i < 4; i++) {
        r->v->gpr[REG_CX] = 1;
        bt_bench_run(r, BENCH_CODE);
    }
    assert_null(bt_bench_translation(r, FUNCTION)->b->copy);
    assert_int_equal(bt_stats(r->v)->self_checking, before);
    bt_bench_close(r, false);
}

static void a_page_stays_open_for_twice_as_long_each_time(void **state)
{
    (void)state;
    struct rig *r = open_bench(false, 1);
    const u64 first = 1000000;
    r->v->interp->open_for = first;
    run(r);
    const struct interp *i = r->v->interp;
    for (u64 patience = first; patience <= 8 * first; patience *= 2) {
        assert_int_equal(i->open_count, 1);
        assert_int_equal(i->open[0]->patience, patience);
        i->open[0]->since -= patience + 1; /* as if it had been so long */
        code_self_reconsider(r->v);
        run(r);
    }
    bt_bench_close(r, false);
}

static void all_of_it_is_as_the_interpreter_does_it(void **state)
{
    (void)state;
    struct rig *r = open_bench(true, 1);
    for (u8 value = 0; value < 5; value++) {
        r->ram[FUNCTION + 1] = value;
        assert_int_equal(run(r), value);
    }
    assert_true(bt_stats(r->v)->self_checking > 0);
    bt_bench_close(r, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_opened_when_data_beside_code_changes),
        cmocka_unit_test(translations_see_changes_without_notice),
        cmocka_unit_test(interpreted_blocks_see_changes_without_notice),
        cmocka_unit_test(single_steps_see_changes_without_notice),
        cmocka_unit_test(instructions_over_the_end_of_an_open_page_are_seen_to_change),
        cmocka_unit_test(blocks_that_check_themselves_end_after_writes),
        cmocka_unit_test(immediates_that_change_without_notice_are_no_part_of_the_code),
        cmocka_unit_test(pages_are_guarded_again_after_a_while),
        cmocka_unit_test(a_page_stays_open_for_twice_as_long_each_time),
        cmocka_unit_test(all_of_it_is_as_the_interpreter_does_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
