/* SPDX-License-Identifier: MIT
 *
 * Accesses that the TLB never serves, those of devices: the translator remembers which instruction
 * each belongs to, as long as its code is there.
 */
#include "bt_bench.h"

#define TIMES 8

enum { DEVICE = 0xe0000000 };

static void run(struct rig *r)
{
    for (unsigned i = 0; i < TIMES; i++) {
        r->v->gpr[REG_AX] = r->v->gpr[REG_CX] = r->v->gpr[REG_DX] = 1;
        bt_bench_run(r, BENCH_CODE);
    }
    bt_bench_translation(r, BENCH_CODE);
}

/* NOP has no host code, so that the second instruction of one is where the first of the other was.
 */
static void other_code_in_the_same_place_is_not_mistaken_for_what_was_there(void **state)
{
    (void)state;
    static const u8 first[] = {0xa1, 0,    0, 0, 0xe0,        /* mov eax, [DEVICE] */
                               0x8b, 0x0d, 4, 0, 0,    0xe0,  /* mov ecx, [DEVICE + 4] */
                               0xf4},                         /* hlt */
        second[] = {0x90,                                     /* nop */
                    0xa1, 8,    0, 0, 0xe0,                   /* mov eax, [DEVICE + 8] */
                    0x8b, 0x15, 4, 0, 0,    0xe0,             /* mov edx, [DEVICE + 4] */
                    0xf4};                                    /* hlt */
    static const struct mmio_ops device = {.name = "device"}; /* the rig's hooks answer */
    struct rig *r = bt_bench_open(false);
    physmem_map_mmio(r->pm, DEVICE, PAGE_BYTES, &device, NULL, 0);
    for (unsigned i = 0; i < TIMES; i++) {
        bt_bench_put(r, BENCH_CODE, first, sizeof first);
        run(r);
        assert_int_equal(r->v->gpr[REG_AX], DEVICE);
        assert_int_equal(r->v->gpr[REG_CX], DEVICE + 4);
        assert_int_equal(r->v->gpr[REG_DX], 1);
        tcode_drop_all(r->v);
        bt_bench_put(r, BENCH_CODE, second, sizeof second);
        run(r);
        assert_int_equal(r->v->gpr[REG_AX], DEVICE + 8);
        assert_int_equal(r->v->gpr[REG_CX], 1);
        assert_int_equal(r->v->gpr[REG_DX], DEVICE + 4);
        tcode_drop_all(r->v);
    }
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_code_in_the_same_place_is_not_mistaken_for_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
