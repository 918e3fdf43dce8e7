/* SPDX-License-Identifier: MIT
 *
 * A window's pages: what is filled, what validation takes out, and what marks do to it. Whether a
 * page can be accessed is asked of the host.
 */
#include "cpu_rig.h"

#include <unistd.h>

#include "bt/window.h"
#include "cpu/paging.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
enum { PD = RIG_TABLES, PT = PD + 0x1000, PD2 = PD + 0x2000 };
enum { PAGE = 0x20000, LARGE = 0x400000 };

struct fixture {
    struct rig *r;
    struct window w;
};

/* 4 MiB in pages of 4 KiB, then a large page; both one to one. */
static struct fixture *open_window(bool user, u32 bits)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct rig *r = f->r = rig_open("max");
    rig_protected(r);
    poke32(r, PD, PT | P | W | U | A);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, PT + i * 4, i << 12 | bits);
    poke32(r, PD + 4, LARGE | PS | bits);
    r->v->cr3 = PD;
    r->v->cr0 |= CR0_PG;
    r->v->cr4 |= CR4_PSE | CR4_PGE;
    tlb_flush(r->v);
    vcpu_mode_changed(r->v);
    assert_true(window_create(&f->w, r->v, user));
    window_empty(&f->w);
    return f;
}

static void close_window(struct fixture *f)
{
    window_destroy(&f->w);
    rig_close(f->r);
    free(f);
}

static void set_pte(struct fixture *f, u32 la, u32 value)
{
    poke32(f->r, PT + (la >> 12) * 4, value);
}

/* The host's own opinion, by a system call that reads or writes there. */
static bool host_can(const struct fixture *f, u32 la, bool writing)
{
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    ssize_t n;
    if (writing) {
        assert_int_equal(write(pipe_ends[1], f->r->ram + la, 1), 1);
        n = read(pipe_ends[0], f->w.base + la, 1);
    } else {
        n = write(pipe_ends[1], f->w.base + la, 1);
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return n == 1;
}

static void window_shows_the_pages_of_its_kind_of_code_only(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A | D);
    set_pte(f, PAGE + 0x1000, (PAGE + 0x1000) | P | W | A | D);
    f->r->ram[PAGE] = 0x5a;
    assert_false(host_can(f, PAGE, false));
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, true));
    assert_int_equal(f->w.base[PAGE], 0x5a);
    assert_int_equal(window_fill(&f->w, PAGE + 0x1000), FILL_NEVER);
    assert_false(host_can(f, PAGE + 0x1000, false));
    close_window(f);
    f = open_window(false, P | W | U | A | D);
    set_pte(f, (u32)f->r->v->rip, (u32)f->r->v->rip | P | W | A | D);
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER); /* SMAP has nothing to forbid here */
    close_window(f);
}

/* A kernel whose code is in a user page does not tell them from its own; but SMAP does. */
static void window_of_a_kernel_in_user_pages_shows_these(void **state)
{
    (void)state;
    struct fixture *f = open_window(false, P | W | U | A | D);
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, true));
    f->r->v->cr4 |= CR4_SMAP;
    assert_int_equal(window_fill(&f->w, PAGE + 0x8000), 0); /* not before it is validated */
    assert_true(window_validate(&f->w) > 0);
    assert_false(host_can(f, PAGE, false));
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER);
    f->r->v->cr4 &= ~(u64)CR4_SMAP;
    window_validate(&f->w);
    assert_true(window_fill(&f->w, PAGE) > 0);
    set_pte(f, PAGE, PAGE | P | W | A | D);
    assert_int_equal(window_validate(&f->w), 0); /* not this page's: it may be accessed as before */
    assert_true(host_can(f, PAGE, true));
    close_window(f);
}

static void window_waits_for_accessed_and_dirty(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A);
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, false));
    assert_false(host_can(f, PAGE, true)); /* D is still to be set */
    set_pte(f, PAGE, PAGE | P | W | U | A | D);
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, true));
    set_pte(f, PAGE + 0x8000, (PAGE + 0x8000) | P | W | U);
    assert_true(window_fill(&f->w, PAGE + 0x8000) <= 0);
    close_window(f);
}

/* Linear addresses are physical ones, as long as paging is off and bit 20 of addresses counts. */
static void window_without_paging_is_one_to_one(void **state)
{
    (void)state;
    struct fixture *f = open_window(false, 0);
    struct vcpu *v = f->r->v;
    v->cr0 &= ~(u64)CR0_PG;
    tlb_flush(v);
    vcpu_mode_changed(v);
    window_empty(&f->w);
    f->r->ram[PAGE] = 0x5a;
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, true));
    assert_int_equal(f->w.base[PAGE], 0x5a);
    f->w.doubted = true;
    assert_int_equal(window_validate(&f->w), 0);
    assert_true(host_can(f, PAGE, true));
    assert_int_equal(window_validate_page(&f->w, PAGE), 0);

    v->a20_mask = ~(u64)MIB(1);
    f->r->ram[PAGE] = 0x77;
    assert_true(window_validate(&f->w) > 0);
    assert_false(host_can(f, PAGE, false));
    assert_true(window_fill(&f->w, PAGE + MIB(1)) > 0);
    assert_int_equal(f->w.base[PAGE + MIB(1)], 0x77);

    v->a20_mask = ~(u64)0;
    v->cr0 |= CR0_PG;
    assert_true(window_validate(&f->w) > 0);
    assert_false(host_can(f, PAGE + MIB(1), false));
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER); /* the page table says nothing of it */
    close_window(f);
    f = open_window(true, 0);
    f->r->v->cr0 &= ~(u64)CR0_PG;
    window_empty(&f->w);
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER); /* kernels only */
    close_window(f);
}

static void window_validation_takes_out_what_has_changed(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A | D);
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_int_equal(window_validate(&f->w), 0);
    assert_true(host_can(f, PAGE, true));
    set_pte(f, PAGE, (PAGE + 0x5000) | P | W | U | A | D);
    assert_int_equal(window_validate(&f->w), 1);
    assert_false(host_can(f, PAGE, false));
    assert_true(window_fill(&f->w, PAGE) > 0);
    f->r->ram[PAGE + 0x5000] = 0x77;
    assert_int_equal(f->w.base[PAGE], 0x77);
    set_pte(f, PAGE, 0);
    assert_int_equal(window_validate_page(&f->w, PAGE), 1);
    assert_false(host_can(f, PAGE, false));
    close_window(f);
}

/* As fork() forbids a parent to write its pages. */
static void window_keeps_pages_that_may_only_not_be_written_any_more(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A | D);
    assert_int_equal(window_fill(&f->w, PAGE), 4);
    for (u32 la = PAGE; la < PAGE + 0x3000; la += 0x1000)
        set_pte(f, la, la | P | U | A | D);
    assert_int_equal(window_validate(&f->w), 0);
    for (u32 la = PAGE; la < PAGE + 0x4000; la += 0x1000) {
        assert_true(host_can(f, la, false));
        assert_int_equal(host_can(f, la, true), la == PAGE + 0x3000);
    }
    set_pte(f, PAGE, PAGE | P | W | U | A | D);
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(host_can(f, PAGE, true));
    set_pte(f, PAGE + 0x1000, (PAGE + 0x1000) | P | W | U | A | D);
    assert_int_equal(window_validate(&f->w), 0);
    assert_true(host_can(f, PAGE + 0x1000, false));
    assert_true(window_fill(&f->w, PAGE + 0x1000) > 0);
    assert_true(host_can(f, PAGE + 0x1000, true));
    assert_false(host_can(f, PAGE + 0x2000, true));
    set_pte(f, PAGE, PAGE | P | W | A | D); /* the kernel's now */
    set_pte(f, PAGE + 0x1000, (PAGE + 0x1000) | P | W | U);
    assert_int_equal(window_validate(&f->w), 2);
    assert_false(host_can(f, PAGE, false));
    assert_false(host_can(f, PAGE + 0x1000, false));
    close_window(f);
}

static void window_maps_a_large_page_as_a_whole(void **state)
{
    (void)state;
    struct fixture *f = open_window(false, P | W | A | D | G);
    assert_int_equal(window_fill(&f->w, LARGE + 0x123456), 1);
    assert_int_equal(f->w.larges, 1);
    assert_true(host_can(f, LARGE, true));
    assert_true(host_can(f, LARGE + 0x3fffff, true));
    assert_int_equal(window_validate(&f->w), 0);
    poke32(f->r, PD + 4, 0);
    f->w.doubted = true;
    assert_int_equal(window_validate(&f->w), 1);
    assert_false(host_can(f, LARGE, false));
    close_window(f);
}

static void window_shuts_marked_pages_and_opens_them_again(void **state)
{
    (void)state;
    struct fixture *f = open_window(false, P | W | A | D | G);
    struct physmem *pm = f->r->pm;
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_true(window_fill(&f->w, LARGE) > 0);
    const u32 pages[] = {PAGE, LARGE + 0x7000};
    for (unsigned i = 0; i < 2; i++) {
        u64 offset = physmem_lookup(pm, pages[i]).offset;
        physmem_hold_code(pm, offset);
        window_shut(&f->w, offset);
        assert_true(host_can(f, pages[i], false));
        assert_false(host_can(f, pages[i], true));
        assert_true(window_fill(&f->w, pages[i]) <= 0); /* as long as it is marked */
        physmem_release_code(pm, offset);
        assert_true(window_fill(&f->w, pages[i]) > 0);
        assert_true(host_can(f, pages[i], true));
    }
    assert_true(host_can(f, LARGE + 0x8000, true));
    close_window(f);
}

/* The kernel's window serves all address spaces: what is not global is compared below the directory
 * that CR3 names now. */
static void window_of_the_kernel_follows_cr3(void **state)
{
    (void)state;
    struct fixture *f = open_window(false, P | W | A | D);
    struct rig *r = f->r;
    assert_true(window_fill(&f->w, PAGE) > 0);
    poke32(r, PD2, PT | P | W | U | A); /* shares the table */
    r->v->cr3 = PD2;
    assert_int_equal(window_validate(&f->w), 0);
    assert_true(host_can(f, PAGE, true));
    poke32(r, PD2, 0);
    assert_true(window_validate(&f->w) > 0);
    assert_false(host_can(f, PAGE, false));
    close_window(f);
}

static void window_keeps_a_restless_page_out_until_it_is_forgiven(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A | D);
    unsigned fills = 0;
    while (fills < 100 && window_fill(&f->w, PAGE) > 0) {
        fills++;
        set_pte(f, PAGE, (fills % 2 ? PAGE + 0x5000 : PAGE) | P | W | U | A | D);
        window_validate_page(&f->w, PAGE);
    }
    assert_in_range(fills, 2, 50);
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER);
    window_forgive(&f->w);
    assert_true(window_fill(&f->w, PAGE) > 0);
    for (unsigned i = 0; i < 100 && f->w.slot[PAGE >> 12]; i++) {
        set_pte(f, PAGE, PAGE | P | (i % 2 ? W : 0) | U | A | D); /* as mprotect() does */
        window_validate_page(&f->w, PAGE);
        if (f->w.slot[PAGE >> 12])
            window_fill(&f->w, PAGE); /* by a write that traps */
    }
    assert_false(host_can(f, PAGE, false));
    assert_int_equal(window_fill(&f->w, PAGE), FILL_NEVER);
    window_forgive(&f->w);
    assert_true(window_fill(&f->w, PAGE) > 0);
    close_window(f);
}

static void window_is_emptied_when_the_physical_map_changes(void **state)
{
    (void)state;
    struct fixture *f = open_window(true, P | W | U | A | D);
    assert_true(window_fill(&f->w, PAGE) > 0);
    physmem_map_rom(f->r->pm, PAGE, 0x1000, 0, 1, "rom");
    assert_int_equal(window_fill(&f->w, PAGE), 0); /* not before it is validated */
    assert_true(window_validate(&f->w) > 0);
    assert_false(host_can(f, PAGE, false));
    assert_true(window_fill(&f->w, PAGE) > 0);
    assert_false(host_can(f, PAGE, true));
    close_window(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_shows_the_pages_of_its_kind_of_code_only),
        cmocka_unit_test(window_of_a_kernel_in_user_pages_shows_these),
        cmocka_unit_test(window_waits_for_accessed_and_dirty),
        cmocka_unit_test(window_without_paging_is_one_to_one),
        cmocka_unit_test(window_validation_takes_out_what_has_changed),
        cmocka_unit_test(window_keeps_pages_that_may_only_not_be_written_any_more),
        cmocka_unit_test(window_maps_a_large_page_as_a_whole),
        cmocka_unit_test(window_shuts_marked_pages_and_opens_them_again),
        cmocka_unit_test(window_of_the_kernel_follows_cr3),
        cmocka_unit_test(window_keeps_a_restless_page_out_until_it_is_forgiven),
        cmocka_unit_test(window_is_emptied_when_the_physical_map_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
