/* SPDX-License-Identifier: MIT
 *
 * The epochs that translations are kept by: which changes of paging end one, and which do not.
 */
#include "cpu_rig.h"

#include "cpu/code_map.h"
#include "cpu/paging.h"

enum { P = 1, W = 2, U = 4, A = 0x20, G = 0x100 };

/* Two address spaces, each with a directory; tables with 4 MiB one to one below them. */
enum { PD1 = RIG_TABLES, PT1 = PD1 + 0x1000, PD2 = PD1 + 0x2000, PT2 = PD1 + 0x3000 };
enum { CODE = 0x20000, OTHER = 0x30000 };

static void make_space(struct rig *r, u32 directory, u32 table, u32 bits)
{
    poke32(r, directory, table | P | W | U | A);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, table + i * 4, i << 12 | bits);
}

static void enter_space(struct rig *r, u32 directory)
{
    r->v->cr3 = directory;
    tlb_flush_nonglobal(r->v);
}

static struct rig *open_spaces(u32 bits)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    make_space(r, PD1, PT1, bits);
    make_space(r, PD2, PT2, bits);
    r->v->cr3 = PD1;
    r->v->cr0 |= CR0_PG;
    r->v->cr4 |= CR4_PGE;
    tlb_flush(r->v);
    vcpu_mode_changed(r->v);
    return r;
}

static u32 user_epoch(const struct rig *r)
{
    return r->v->map_epoch[0];
}

static u32 kernel_epoch(const struct rig *r)
{
    return r->v->map_epoch[1];
}

static void code_map_takes_up_a_space_that_comes_back_unchanged(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | U | A);
    code_map_note(r->v, CODE, true);
    u32 first = user_epoch(r);
    enter_space(r, PD2);
    u32 second = user_epoch(r);
    assert_int_not_equal(first, second);
    code_map_note(r->v, CODE, true);
    enter_space(r, PD1);
    assert_int_equal(user_epoch(r), first);
    enter_space(r, PD2);
    assert_int_equal(user_epoch(r), second);
    rig_close(r);
}

static void code_map_sees_that_code_has_moved_meanwhile(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | U | A);
    code_map_note(r->v, CODE, true);
    u32 first = user_epoch(r);
    enter_space(r, PD2);
    poke32(r, PT1 + (CODE >> 12) * 4, OTHER | P | W | U | A);
    enter_space(r, PD1);
    assert_int_not_equal(user_epoch(r), first);
    rig_close(r);
}

static void code_map_ignores_pages_without_code(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | U | A);
    code_map_note(r->v, CODE, true);
    u32 first = user_epoch(r);
    poke32(r, PT1 + (OTHER >> 12) * 4, 0);
    enter_space(r, PD1);
    assert_int_equal(user_epoch(r), first);
    tlb_flush_page(r->v, OTHER);
    assert_int_equal(user_epoch(r), first);
    rig_close(r);
}

static void code_map_hears_of_invlpg(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | U | A);
    code_map_note(r->v, CODE, true);
    u32 first = user_epoch(r);
    tlb_flush_page(r->v, CODE);
    assert_int_equal(user_epoch(r), first); /* the entry is what it was */
    poke32(r, PT1 + (CODE >> 12) * 4, OTHER | P | W | U | A);
    tlb_flush_page(r->v, CODE);
    assert_int_not_equal(user_epoch(r), first);
    rig_close(r);
}

static void code_map_keeps_global_kernel_code_over_cr3_writes(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | A | G);
    mem_code(r->v, CODE);
    code_map_note(r->v, CODE, false);
    u32 first = kernel_epoch(r);
    enter_space(r, PD2);
    assert_int_equal(kernel_epoch(r), first);
    tlb_flush(r->v);
    assert_int_not_equal(kernel_epoch(r), first);
    rig_close(r);
}

static void code_map_gives_local_kernel_code_up_at_a_cr3_write(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | A);
    mem_code(r->v, CODE);
    code_map_note(r->v, CODE, false);
    u32 first = kernel_epoch(r);
    enter_space(r, PD2);
    assert_int_not_equal(kernel_epoch(r), first);
    rig_close(r);
}

/* More pages than one space remembers: its epoch ends, and what is noted then counts. */
static void code_map_survives_more_code_than_it_remembers(void **state)
{
    (void)state;
    struct rig *r = open_spaces(P | W | U | A);
    for (u32 page = 0; page < 1000; page++)
        code_map_note(r->v, page << 12, true);
    u32 epoch = user_epoch(r);
    poke32(r, PT1 + 999 * 4, 0);
    tlb_flush_page(r->v, 999 << 12);
    assert_int_not_equal(user_epoch(r), epoch);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_map_takes_up_a_space_that_comes_back_unchanged),
        cmocka_unit_test(code_map_sees_that_code_has_moved_meanwhile),
        cmocka_unit_test(code_map_ignores_pages_without_code),
        cmocka_unit_test(code_map_hears_of_invlpg),
        cmocka_unit_test(code_map_keeps_global_kernel_code_over_cr3_writes),
        cmocka_unit_test(code_map_gives_local_kernel_code_up_at_a_cr3_write),
        cmocka_unit_test(code_map_survives_more_code_than_it_remembers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
