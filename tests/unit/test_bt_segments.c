/* SPDX-License-Identifier: MIT
 *
 * Stores through FS whose value takes a scratch register, in a window: the segment's base is in
 * another one.
 */
#include "bt_bench.h"

#define BASE  0x1000
#define TIMES 64

static void stores_through_fs_keep_its_base(void **state)
{
    (void)state;
    static const u8 code[] = {0x64, 0x8c, 0x5b, 0x08,       /* mov fs:[ebx + 8], ds */
                              0x68, 0x78, 0x56, 0x34, 0x12, /* push 12345678h */
                              0x64, 0x8f, 0x43, 0x10,       /* pop dword fs:[ebx + 16] */
                              0xf4};                        /* hlt */
    struct rig *r = bt_bench_open(false);
    const u8 *at = r->ram + BENCH_DATA + BASE;
    bt_tune(r->v, &(struct bt_tuning){.hot = 1, .window_after = 0});
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    set_desc(r, SEL_FREE, make_desc(BASE, 0xfffff, D_DATA | D_FLAT));
    rig_set_segment(r, SEG_FS, SEL_FREE);
    vcpu_mode_changed(r->v);
    r->v->gpr[REG_BX] = BENCH_DATA;
    for (unsigned i = 0; i < TIMES; i++) {
        memset(r->ram + BENCH_DATA + BASE, 0, 32);
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(load32(at + 8), SEL_DATA0);
        assert_int_equal(load32(at + 16), 0x12345678);
    }
    assert_true(bt_window_stats(r->v)->promotions > 0);
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_through_fs_keep_its_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
