/* SPDX-License-Identifier: MIT
 *
 * A CPU of cpu_rig.h with the translator, and 32-bit code for it. A piece of code ends with HLT; it
 * runs until there.
 */
#ifndef ANELLO_TESTS_BT_BENCH_H
#define ANELLO_TESTS_BT_BENCH_H

#include "cpu_rig.h"

#include "bt/internal.h"

enum { BENCH_CODE = 0x10000, BENCH_DATA = 0x20000 };

/* Blocks are translated when they come for the second time; there are no windows. Tests may tune
 * that otherwise. */
static inline struct rig *bt_bench_open(bool check)
{
    if (bt_unavailable())
        skip();
    struct rig *r = rig_open("max");
    rig_protected(r);
    assert_true(check ? check_attach(r->v) : bt_attach(r->v));
    bt_tune(r->v, &(struct bt_tuning){.hot = 1, .window_after = UINT64_MAX});
    return r;
}

static inline void bt_bench_close(struct rig *r, bool check)
{
    if (check)
        check_detach(r->v);
    else
        bt_detach(r->v);
    rig_close(r);
}

/* Places code, or other code: what was translated before goes. */
static inline void bt_bench_put(struct rig *r, u32 at, const u8 *bytes, size_t n)
{
    memcpy(r->ram + at, bytes, n);
    physmem_touch_range(r->pm, physmem_lookup(r->pm, at).offset + (at & PAGE_OFFSET_MASK), n);
}

/* From `at` on until HLT. */
static inline void bt_bench_run(struct rig *r, u32 at)
{
    r->v->rip = at;
    r->v->halted = false;
    assert_int_equal(bt_run(r->v), VCPU_EXIT_HALT);
}

/* The translation of the block at `rip`, which must be there. */
static inline struct tcode *bt_bench_translation(const struct rig *r, u32 rip)
{
    const struct bt *bt = bt_of(r->v);
    for (unsigned i = bt->count; i-- > 0;) {
        if (bt->codes[i]->b->rip == rip && !bt->codes[i]->dead)
            return bt->codes[i];
    }
    fail_msg("the block at %x has not been translated", rip);
    return NULL;
}

/* Emitted code, where it can be written to. */
static inline u8 *bt_bench_writable(const struct rig *r, const u8 *host)
{
    const struct codemem *mem = &bt_of(r->v)->mem;
    return mem->write + (host - mem->exec);
}

#endif
