/* SPDX-License-Identifier: MIT
 *
 * A kernel whose own code is in user pages has a window with user pages, until it turns SMAP on.
 */
#include "bt_bench.h"

#define TIMES 40

enum {
    PT = RIG_TABLES + 0x1000,
    PAGE_FLAGS = 0x67,
    KERNEL_FLAGS = 0x63,
    PF_HANDLER = 0xf000 + VEC_PF
};

/* The first 4 MiB, one to one, for everybody but for tables and stack. */
static void use_paging(struct rig *r)
{
    poke32(r, RIG_TABLES, PT | PAGE_FLAGS);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, PT + i * 4,
               i << PAGE_SHIFT | (i << PAGE_SHIFT < RIG_STACK0 ? KERNEL_FLAGS : PAGE_FLAGS));
    r->v->cr3 = RIG_TABLES;
    r->v->cr0 |= CR0_PG;
    tlb_flush(r->v);
    vcpu_mode_changed(r->v);
}

/* Whether the code gets to its end with this in CR4. */
static bool reads(struct rig *r, u32 cr4)
{
    struct vcpu *v = r->v;
    v->gpr[REG_BX] = cr4;
    v->gpr[REG_AX] = v->gpr[REG_SI] = 0;
    v->gpr[REG_SP] = RIG_STACK0;
    bt_bench_run(r, BENCH_CODE);
    if (v->rip == PF_HANDLER + 1)
        return false;
    assert_int_equal(v->gpr[REG_AX], 0x5a5a5a5a);
    assert_int_equal(v->gpr[REG_SI], 0x5a5a5a5a);
    return true;
}

static void a_kernel_in_user_pages_obeys_smap(void **state)
{
    (void)state;
    static const u8 code[] = {0x8b, 0x35, 0,    0, 2, 0, /* mov esi, [BENCH_DATA] */
                              0x0f, 0x22, 0xe3,          /* mov cr4, ebx */
                              0xa1, 0,    0,    2, 0,    /* mov eax, [BENCH_DATA] */
                              0xf4};                     /* hlt */
    struct rig *r = bt_bench_open(false);
    bt_tune(r->v, &(struct bt_tuning){.hot = 1, .window_after = 0});
    use_paging(r);
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    bt_bench_put(r, PF_HANDLER, (const u8[]){0xf4}, 1);
    memset(r->ram + BENCH_DATA, 0x5a, 4);
    for (unsigned i = 0; i < TIMES; i++)
        assert_true(reads(r, 0));
    assert_true(bt_window_stats(r->v)->pages > 0);
    for (unsigned i = 0; i < TIMES; i++) {
        assert_false(reads(r, CR4_SMAP));
        r->v->cr4 = 0; /* the handler's part */
        tlb_flush(r->v);
        vcpu_mode_changed(r->v);
        assert_true(reads(r, 0));
        assert_true(reads(r, 0));
    }
    bt_bench_close(r, false);
}

static void stac_and_clac_change_nothing_but_ac(void **state)
{
    (void)state;
    static const u8 code[] = {0x0f, 0x01, 0xcb, /* stac */
                              0x9c, 0x58,       /* pushf; pop eax */
                              0x0f, 0x01, 0xca, /* clac */
                              0x9c, 0x5e,       /* pushf; pop esi */
                              0xf4};            /* hlt */
    struct rig *r = bt_bench_open(false);
    struct vcpu *v = r->v;
    bt_tune(v, &(struct bt_tuning){.hot = 1, .window_after = 0});
    use_paging(r);
    v->cr4 |= CR4_SMAP;
    tlb_flush(v);
    vcpu_mode_changed(v);
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    for (unsigned i = 0; i < TIMES; i++) {
        u64 before = v->rflags;
        v->gpr[REG_SP] = RIG_STACK0;
        bt_bench_run(r, BENCH_CODE);
        assert_true((v->gpr[REG_AX] ^ v->gpr[REG_SI]) == FLAG_AC);
        assert_true(v->gpr[REG_AX] & FLAG_AC);
        assert_true(v->rflags == before);
    }
    assert_true(bt_bench_translation(r, BENCH_CODE)->smap_switched);
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_in_user_pages_obeys_smap),
        cmocka_unit_test(stac_and_clac_change_nothing_but_ac),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
