/* SPDX-License-Identifier: MIT
 *
 * What kernel code gets that stays mapped (links without guards) and when that is over; and the
 * window of user code that makes no system calls.
 */
#include "bt_bench.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, G = 0x100 };
enum { PD = RIG_TABLES, PT = PD + 0x1000 };
enum { FROM = 0x30000, TO = 0x31000, OTHER = 0x32000 };
enum { FIRST = 0x11, SECOND = 0x22 };

/* The first 4 MiB one to one. FROM leads to TO, which gives FIRST, and OTHER SECOND. */
static struct rig *open_pages(u32 bits)
{
    static const u8 from[] = {0xe9, 0xfb, 0x0f, 0, 0}; /* jmp TO */
    u8 to[] = {0xb8, FIRST, 0, 0, 0, 0xf4};            /* mov eax, FIRST; hlt */
    struct rig *r = bt_bench_open(false);
    poke32(r, PD, PT | P | W | U | A);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, PT + i * 4, i << 12 | P | W | A | D | bits);
    r->v->cr3 = PD;
    r->v->cr0 |= CR0_PG;
    r->v->cr4 |= CR4_PGE;
    tlb_flush(r->v);
    vcpu_mode_changed(r->v);
    bt_bench_put(r, FROM, from, sizeof from);
    bt_bench_put(r, TO, to, sizeof to);
    to[1] = SECOND;
    bt_bench_put(r, OTHER, to, sizeof to);
    return r;
}

static void make_hot(struct rig *r, u32 gives)
{
    for (unsigned i = 0; i < 8; i++) {
        bt_bench_run(r, FROM);
        assert_int_equal(r->v->gpr[REG_AX], gives);
    }
}

/* TO becomes the frame of another page, as INVLPG does it. */
static void map_to(struct rig *r, u32 frame, u32 bits)
{
    poke32(r, PT + (TO >> 12) * 4, frame | P | W | A | D | bits);
    tlb_flush_page(r->v, TO);
}

static const struct texit *exit_of(const struct rig *r)
{
    const struct tcode *t = bt_bench_translation(r, FROM);
    assert_int_equal(t->exits, 1);
    return t->exit;
}

static void links_of_global_kernel_pages_have_no_guards(void **state)
{
    (void)state;
    struct rig *r = open_pages(G);
    make_hot(r, FIRST);
    assert_true(exit_of(r)->free);
    assert_null(exit_of(r)->guard);
    assert_ptr_equal(exit_of(r)->to, bt_bench_translation(r, TO));
    bt_bench_close(r, false);
}

static void links_of_other_pages_have_guards(void **state)
{
    (void)state;
    struct rig *r = open_pages(0);
    make_hot(r, FIRST);
    assert_false(exit_of(r)->free);
    assert_non_null(exit_of(r)->guard);
    bt_bench_close(r, false);
}

static void links_without_guards_are_undone_when_a_page_moves(void **state)
{
    (void)state;
    struct rig *r = open_pages(G);
    make_hot(r, FIRST);
    map_to(r, OTHER, G);
    make_hot(r, SECOND);
    map_to(r, TO, G);
    make_hot(r, FIRST);
    assert_true(bt_of(r->v)->undone >= 2);
    assert_int_equal(vcpu_events(r->v) & EVENT_LINKS, 0);
    bt_bench_close(r, false);
}

static void links_get_guards_when_they_are_undone_all_the_time(void **state)
{
    (void)state;
    struct rig *r = open_pages(G);
    make_hot(r, FIRST);
    assert_false(bt_of(r->v)->guards);
    bt_of(r->v)->undone = (u64)1 << 40; /* as if it had been going on for long */
    map_to(r, OTHER, G);
    make_hot(r, SECOND);
    assert_true(bt_of(r->v)->guards);
    assert_false(exit_of(r)->free);
    assert_non_null(exit_of(r)->guard);
    map_to(r, TO, G);
    make_hot(r, FIRST);
    bt_bench_close(r, false);
}

/* ---- windows ---- */

#define LOOPS      64
#define LOOP_BYTES 8
#define TURNS      1000000
#define AFTER      20000000 /* TSC cycles; the loops take some 60 millions at least */

/* User code that comes to the run loop by code that is new, but not by a change of rings. */
static void windows_are_for_code_without_system_calls_too(void **state)
{
    (void)state;
    static const u8 loop[LOOP_BYTES] = {0xb9, TURNS & 0xff, TURNS >> 8 & 0xff, TURNS >> 16, 0, 0x49,
                                        0x75, 0xfd}; /* mov ecx, TURNS; dec ecx; jnz */
    u8 code[LOOPS * LOOP_BYTES + 1];
    struct rig *r = open_pages(U);
    if (!bt_of(r->v)->windows)
        skip();
    bt_tune(r->v, &(struct bt_tuning){.hot = 1, .window_after = AFTER});
    for (unsigned i = 0; i < LOOPS; i++)
        memcpy(code + (size_t)i * LOOP_BYTES, loop, LOOP_BYTES);
    code[sizeof code - 1] = 0xf4; /* hlt: #GP */
    bt_bench_put(r, FROM, code, sizeof code);
    bt_bench_put(r, 0xf000 + VEC_GP, (const u8[]){0xf4}, 1);
    rig_ring(r, 3);
    bt_bench_run(r, FROM);
    assert_true(r->v->window_mode[1]);
    assert_true(bt_window_stats(r->v)->promotions >= 2); /* the kernel's is the other */
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_of_global_kernel_pages_have_no_guards),
        cmocka_unit_test(links_of_other_pages_have_guards),
        cmocka_unit_test(links_without_guards_are_undone_when_a_page_moves),
        cmocka_unit_test(links_get_guards_when_they_are_undone_all_the_time),
        cmocka_unit_test(windows_are_for_code_without_system_calls_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
