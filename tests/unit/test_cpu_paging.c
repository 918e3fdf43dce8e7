/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include "cpu/paging.h"

/* Entry bits, as the tests spell them. */
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX ((u64)1 << 63)

enum { PD = RIG_TABLES, PT = RIG_TABLES + 0x1000 };

/* 32-bit paging: the first 4 MiB through one table of identity pages with `bits`. */
static struct rig *open_32(u32 bits)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    poke32(r, PD, PT | P | W | U);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, PT + i * 4, i << 12 | bits);
    r->v->cr3 = PD;
    r->v->cr0 |= CR0_PG;
    vcpu_mode_changed(r->v);
    return r;
}

/* PAE: the same through PDPTE 0. */
static struct rig *open_pae(u64 bits)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    poke64(r, RIG_TABLES + 0x3000, PD | P);
    poke64(r, PD, PT | P | W | U);
    for (u64 i = 0; i < 512; i++)
        poke64(r, PT + i * 8, i << 12 | bits);
    r->v->cr3 = RIG_TABLES + 0x3000;
    r->v->cr4 = CR4_PAE;
    r->v->efer = EFER_NXE;
    r->v->cr0 |= CR0_PG;
    assert_true(paging_load_pdptes(r->v, r->v->cr3));
    vcpu_mode_changed(r->v);
    return r;
}

static void set_cpl(struct rig *r, unsigned cpl)
{
    r->v->cpl = (u8)cpl;
    vcpu_mode_changed(r->v);
}

static void paging_read_sets_accessed_and_write_sets_dirty(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U);
    poke32(r, 0x20010, 0x12345678);
    assert_int_equal(mem_read(r->v, 0x20010, 4), 0x12345678);
    assert_int_equal(peek32(r, PD) & (A | D), A);
    assert_int_equal(peek32(r, PT + 0x20 * 4) & (A | D), A);
    mem_write(r->v, 0x20010, 1, 4);
    assert_int_equal(peek32(r, PT + 0x20 * 4) & (A | D), A | D);
    assert_int_equal(peek32(r, PD) & D, 0);
    assert_int_equal(peek32(r, 0x20010), 1);
    rig_close(r);
}

static void paging_absent_page_faults_without_p(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U);
    poke32(r, PT + 0x21 * 4, 0);
    ASSERT_FAULT(r, VEC_PF, 0, mem_read(r->v, 0x21ff8, 4));
    assert_int_equal(r->v->fault.cr2, 0x21ff8);
    assert_int_equal(peek32(r, PD) & A, 0);
    ASSERT_FAULT(r, VEC_PF, PF_WRITE, mem_write(r->v, 0x21ff8, 0, 4));
    set_cpl(r, 3);
    ASSERT_FAULT(r, VEC_PF, PF_USER | PF_WRITE, mem_write(r->v, 0x21000, 0, 4));
    rig_close(r);
}

static void paging_user_may_not_touch_supervisor_pages(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    set_cpl(r, 3);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_USER, mem_read(r->v, 0x20000, 1));
    assert_int_equal(peek32(r, PT + 0x20 * 4) & A, 0);
    /* The CPU's own accesses are the supervisor's. */
    assert_false(FAULTS(r, mem_read_sys(r->v, 0x20000, 1)));
    rig_close(r);
}

static void paging_rights_are_those_of_all_levels_together(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U);
    poke32(r, PD, PT | P | U); /* read-only above */
    set_cpl(r, 3);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_USER | PF_WRITE, mem_write(r->v, 0x20000, 0, 1));
    assert_false(FAULTS(r, mem_read(r->v, 0x20000, 1)));
    rig_close(r);
}

static void paging_wp_decides_whether_the_kernel_writes_read_only_pages(void **state)
{
    (void)state;
    struct rig *r = open_32(P | U);
    assert_false(FAULTS(r, mem_write(r->v, 0x20000, 0x55, 1)));
    assert_int_equal(r->ram[0x20000], 0x55);
    assert_int_equal(peek32(r, PT + 0x20 * 4) & D, D);
    r->v->cr0 |= CR0_WP;
    tlb_flush(r->v);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_WRITE, mem_write(r->v, 0x20000, 0, 1));
    rig_close(r);
}

static void paging_pse_page_of_4_mib_with_bits_39_to_32(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    struct walk walk;
    u32 error;
    r->v->cr4 |= CR4_PSE;
    poke32(r, PD + 4, 0x00c00000 | PS | P | W);
    assert_true(paging_walk(r->v, 0x00412345, ACCESS_READ, TLB_KERNEL, false, &walk, &error));
    assert_int_equal(walk.pa, 0xc12345);
    assert_int_equal(walk.page_size, MIB(4));
    assert_int_equal(peek32(r, PD + 4) & A, A);
    poke32(r, PD + 4, 0x00c00000 | 0x5 << 13 | PS | P | W);
    assert_true(paging_walk(r->v, 0x00412345, ACCESS_READ, TLB_KERNEL, false, &walk, &error));
    assert_int_equal(walk.pa, 0x500c12345);
    poke32(r, PD + 4, 0x00c00000 | 1 << 21 | PS | P | W); /* reserved */
    assert_false(paging_walk(r->v, 0x00412345, ACCESS_READ, TLB_KERNEL, false, &walk, &error));
    assert_int_equal(error, PF_PRESENT | PF_RESERVED);
    /* Without CR4.PSE the bit means nothing. */
    r->v->cr4 &= ~(u64)CR4_PSE;
    poke32(r, PD + 4, PT | PS | P | W);
    assert_true(paging_walk(r->v, 0x00412345, ACCESS_READ, TLB_KERNEL, false, &walk, &error));
    assert_int_equal(walk.pa, 0x12345);
    rig_close(r);
}

static void paging_pentium_has_no_pse36(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium");
    struct walk walk;
    u32 error;
    rig_protected(r);
    r->v->cr3 = PD;
    r->v->cr4 = CR4_PSE;
    r->v->cr0 |= CR0_PG;
    poke32(r, PD, 1 << 13 | PS | P | W);
    assert_false(paging_walk(r->v, 0, ACCESS_READ, TLB_KERNEL, true, &walk, &error));
    assert_int_equal(error, PF_PRESENT | PF_RESERVED);
    rig_close(r);
}

static void paging_nx_forbids_fetching_and_is_reserved_without_nxe(void **state)
{
    (void)state;
    struct rig *r = open_pae(P | W | U | NX);
    assert_false(FAULTS(r, mem_read(r->v, 0x20000, 4)));
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_FETCH, mem_code(r->v, 0x20000));
    set_cpl(r, 3);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_FETCH | PF_USER, mem_code(r->v, 0x20000));
    r->v->efer = 0;
    tlb_flush(r->v);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_RESERVED | PF_USER, mem_read(r->v, 0x20000, 4));
    rig_close(r);
}

static void paging_pae_reserved_bits_and_absent_pdpte(void **state)
{
    (void)state;
    struct rig *r = open_pae(P | W | U);
    poke64(r, PT + 0x20 * 8, 0x20000 | P | W | (u64)1 << 52);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_RESERVED, mem_read(r->v, 0x20000, 4));
    poke64(r, PT + 0x20 * 8, 0x20000 | P | W | (u64)1 << 45);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_RESERVED, mem_read(r->v, 0x20000, 4));
    assert_int_equal(peek64(r, PD) & A, A); /* here a fault leaves its trace above */
    ASSERT_FAULT(r, VEC_PF, 0, mem_read(r->v, 0x40000000, 4));
    poke64(r, PD + 8, MIB(2) | PS | P | W | 1 << 13);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_RESERVED, mem_read(r->v, MIB(2), 4));
    poke64(r, PD + 8, MIB(4) | PS | P | W);
    poke32(r, MIB(4) + 0x123450, 77);
    assert_int_equal(mem_read(r->v, MIB(2) + 0x123450, 4), 77);
    rig_close(r);
}

static void paging_mov_cr3_refuses_pdptes_with_reserved_bits(void **state)
{
    (void)state;
    struct rig *r = open_pae(P | W | U);
    u64 before = r->v->cr3;
    poke64(r, RIG_TABLES + 0x3028, PD | P | W); /* bit 1 is reserved */
    r->v->gpr[REG_AX] = RIG_TABLES + 0x3020;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x22, 0xd8));
    assert_int_equal(r->v->cr3, before);
    /* PDPTE registers keep what was loaded, whatever memory says later. */
    poke64(r, RIG_TABLES + 0x3000, 0);
    tlb_flush(r->v);
    assert_false(FAULTS(r, mem_read(r->v, 0x20000, 4)));
    rig_close(r);
}

static void paging_four_levels_with_1_gib_and_2_mib_pages(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct walk walk;
    u32 error;
    rig_long(r);
    poke64(r, RIG_TABLES + 0x1000 + 8, (u64)3 << 30 | PS | P | W);
    assert_true(paging_walk(r->v, 0x4abcdef0, ACCESS_READ, TLB_KERNEL, true, &walk, &error));
    assert_int_equal(walk.pa, 0xcabcdef0);
    assert_int_equal(walk.page_size, GIB(1));
    poke64(r, RIG_TABLES + 0x1000 + 8, (u64)3 << 30 | 1 << 20 | PS | P | W);
    assert_false(paging_walk(r->v, 0x4abcdef0, ACCESS_READ, TLB_KERNEL, true, &walk, &error));
    assert_int_equal(error, PF_PRESENT | PF_RESERVED);
    poke64(r, RIG_TABLES + 8, (RIG_TABLES + 0x1000) | PS | P | W); /* PS in a PML4E */
    assert_false(paging_walk(r->v, (u64)1 << 39, ACCESS_READ, TLB_KERNEL, true, &walk, &error));
    assert_int_equal(error, PF_PRESENT | PF_RESERVED);
    rig_close(r);
}

static void paging_quiet_walk_changes_nothing(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    struct walk walk;
    u32 error;
    assert_true(paging_walk(r->v, 0x20123, ACCESS_WRITE, TLB_KERNEL, true, &walk, &error));
    assert_int_equal(walk.pa, 0x20123);
    assert_int_equal(peek32(r, PD) & A, 0);
    assert_int_equal(peek32(r, PT + 0x20 * 4) & (A | D), 0);
    rig_close(r);
}

static void paging_smep_and_smap_keep_the_kernel_off_user_pages(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U);
    r->v->cr4 |= CR4_SMEP;
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_FETCH, mem_code(r->v, 0x20000));
    r->v->cr4 = CR4_SMAP;
    vcpu_mode_changed(r->v);
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT, mem_read(r->v, 0x20000, 4));
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT, mem_read_sys(r->v, 0x20000, 4));
    EXEC(r, 0x0f, 0x01, 0xcb); /* STAC */
    assert_false(FAULTS(r, mem_read(r->v, 0x20000, 4)));
    /* AC does not help accesses to system structures. */
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT, mem_read_sys(r->v, 0x20000, 4));
    EXEC(r, 0x0f, 0x01, 0xca); /* CLAC */
    ASSERT_FAULT(r, VEC_PF, PF_PRESENT | PF_WRITE, mem_write(r->v, 0x20000, 0, 4));
    rig_close(r);
}

static void tlb_keeps_a_changed_entry_until_invlpg(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    poke32(r, 0x20000, 1);
    poke32(r, 0x30000, 2);
    assert_int_equal(mem_read(r->v, 0x20000, 4), 1);
    poke32(r, PT + 0x20 * 4, 0x30000 | P | W);
    assert_int_equal(mem_read(r->v, 0x20000, 4), 1);
    r->v->gpr[REG_BX] = 0x20000;
    EXEC(r, 0x0f, 0x01, 0x3b); /* INVLPG [EBX] */
    assert_int_equal(mem_read(r->v, 0x20000, 4), 2);
    rig_close(r);
}

static void tlb_invlpg_ends_all_of_a_large_page(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    r->v->cr4 |= CR4_PSE;
    poke32(r, PD + 4, 0x00800000 | PS | P | W);
    poke32(r, 0x00801000, 1);
    poke32(r, 0x00c01000, 2);
    assert_int_equal(mem_read(r->v, 0x00401000, 4), 1);
    poke32(r, PD + 4, 0x00c00000 | PS | P | W);
    r->v->gpr[REG_BX] = 0x00700000; /* another 4 KiB of the same page */
    EXEC(r, 0x0f, 0x01, 0x3b);
    assert_int_equal(mem_read(r->v, 0x00401000, 4), 2);
    rig_close(r);
}

static void tlb_global_pages_survive_mov_cr3_and_not_pge(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | G);
    r->v->cr4 |= CR4_PGE;
    poke32(r, 0x20000, 1);
    poke32(r, 0x30000, 2);
    assert_int_equal(mem_read(r->v, 0x20000, 4), 1);
    poke32(r, PT + 0x20 * 4, 0x30000 | P | W | G);
    r->v->gpr[REG_AX] = PD;
    EXEC(r, 0x0f, 0x22, 0xd8); /* MOV CR3, EAX */
    assert_int_equal(mem_read(r->v, 0x20000, 4), 1);
    r->v->gpr[REG_AX] = r->v->cr4 & ~(u64)CR4_PGE;
    EXEC(r, 0x0f, 0x22, 0xe0); /* MOV CR4, EAX */
    assert_int_equal(mem_read(r->v, 0x20000, 4), 2);
    rig_close(r);
}

static void mem_crossing_write_changes_nothing_when_the_second_page_faults(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W);
    poke32(r, PT + 0x21 * 4, 0);
    poke32(r, 0x20ffc, 0xaaaaaaaa);
    ASSERT_FAULT(r, VEC_PF, PF_WRITE, mem_write(r->v, 0x20ffe, 0x11223344, 4));
    assert_int_equal(r->v->fault.cr2, 0x21000);
    assert_int_equal(peek32(r, 0x20ffc), 0xaaaaaaaa);
    poke32(r, PT + 0x21 * 4, 0x50000 | P | W);
    mem_write(r->v, 0x20ffe, 0x11223344, 4);
    assert_int_equal(peek16(r, 0x20ffe), 0x3344);
    assert_int_equal(peek16(r, 0x50000), 0x1122);
    assert_int_equal(mem_read(r->v, 0x20ffe, 4), 0x11223344);
    rig_close(r);
}

static void mem_wraps_at_4_gib_and_at_a20(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_protected(r);
    poke16(r, 0, 0x1234);
    assert_int_equal(mem_read(r->v, 0xfffffffe, 4), 0x1234ffff); /* nothing below 4 GiB: ones */
    poke32(r, 0x100000, 0x11111111);
    poke32(r, 0, 0x22222222);
    assert_int_equal(mem_read(r->v, 0x100000, 4), 0x11111111);
    vcpu_set_a20(r->v, false);
    assert_int_equal(mem_read(r->v, 0x100000, 4), 0x22222222);
    vcpu_set_a20(r->v, true);
    assert_int_equal(mem_read(r->v, 0x100000, 4), 0x11111111);
    rig_close(r);
}

static void mem_alignment_check_is_for_user_code_with_am_and_ac(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U);
    r->v->cr0 |= CR0_AM;
    r->v->rflags |= FLAG_AC;
    set_cpl(r, 0);
    assert_false(FAULTS(r, mem_read(r->v, 0x20001, 4)));
    set_cpl(r, 3);
    ASSERT_FAULT(r, VEC_AC, 0, mem_read(r->v, 0x20001, 4));
    ASSERT_FAULT(r, VEC_AC, 0, mem_write(r->v, 0x20001, 0, 2));
    assert_false(FAULTS(r, mem_read(r->v, 0x20001, 1)));
    assert_false(FAULTS(r, mem_read_sys(r->v, 0x20001, 4)));
    rig_close(r);
}

static u64 device_read(void *opaque, u64 offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}
static void device_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)value;
    (void)size;
}

static void mem_devices_are_reached_by_hooks_and_have_no_pointer(void **state)
{
    (void)state;
    static const struct mmio_ops ops = {.name = "d", .read = device_read, .write = device_write};
    struct rig *r = rig_open("max");
    rig_protected(r);
    physmem_map_mmio(r->pm, 0xe0000000, PAGE_BYTES, &ops, NULL, 0);
    assert_int_equal(mem_read(r->v, 0xe0000010, 4), 0xe0000010);
    mem_write(r->v, 0xe0000010, 0x99, 1);
    assert_int_equal(r->mmio_reads, 1);
    assert_int_equal(r->mmio_writes, 1);
    assert_int_equal(r->last_mmio, 0x99);
    assert_null(mem_pointer(r->v, 0xe0000010, 4, ACCESS_READ));
    assert_null(mem_code(r->v, 0xe0000010).hp);
    assert_int_equal(mem_read(r->v, 0xd0000000, 4), 0xffffffff);
    rig_close(r);
}

struct written {
    u64 offset;
    u32 size;
    unsigned times;
};

static void note_code(struct vcpu *v, u64 offset, u32 size)
{
    struct written *w = v->engine;
    w->offset = offset;
    w->size = size;
    w->times++;
}

static void mem_writes_to_marked_pages_are_told_each_time(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct written w = {0};
    rig_protected(r);
    void (*engine_hook)(struct vcpu *, u64, u32) = r->v->code_written;
    r->v->engine = &w;
    r->v->code_written = note_code;
    mem_write(r->v, 0x20000, 1, 4); /* now direct */
    physmem_mark(r->pm, 0x20000, PAGE_CODE);
    mem_write(r->v, 0x20010, 2, 4);
    mem_write(r->v, 0x20014, 3, 4);
    assert_int_equal(w.times, 2);
    assert_int_equal(w.offset, 0x20014);
    assert_int_equal(w.size, 4);
    assert_non_null(mem_pointer(r->v, 0x20020, 8, ACCESS_WRITE));
    assert_int_equal(w.times, 3);
    physmem_unmark(r->pm, 0x20000, PAGE_CODE);
    mem_write(r->v, 0x20018, 4, 4);
    mem_write(r->v, 0x2001c, 5, 4);
    assert_int_equal(w.times, 3);
    r->v->code_written = engine_hook;
    rig_close(r);
}

static void mem_rom_reads_and_swallows_writes(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_protected(r);
    physmem_map_rom(r->pm, 0xf0000, 0x10000, 0xf0000, 1, "rom");
    r->ram[0xf0123] = 0x77;
    assert_int_equal(mem_read(r->v, 0xf0123, 1), 0x77);
    mem_write(r->v, 0xf0123, 0x11, 1);
    assert_int_equal(r->ram[0xf0123], 0x77);
    assert_null(mem_pointer(r->v, 0xf0123, 1, ACCESS_WRITE));
    rig_close(r);
}

/* ---- what translations remember of the entries ---- */

static void paging_refs_notice_each_entry_that_changes(void **state)
{
    (void)state;
    struct rig *r = open_32(P | W | U | A);
    struct paging_refs refs;
    assert_true(paging_refs(r->v, 0x20123, &refs));
    assert_int_equal(refs.count, 2);
    assert_int_equal(refs.pa, 0x20123);
    assert_true(paging_refs_same(r->v, &refs, paging_directory(r->v)));
    poke32(r, PT + 0x20 * 4, 0x20 << 12 | P | U | A);
    assert_false(paging_refs_same(r->v, &refs, paging_directory(r->v)));
    poke32(r, PT + 0x20 * 4, 0x20 << 12 | P | W | U | A);
    assert_true(paging_refs_same(r->v, &refs, paging_directory(r->v)));
    poke32(r, PD, PT | P | U);
    assert_false(paging_refs_same(r->v, &refs, paging_directory(r->v)));
    poke32(r, PT + 0x21 * 4, 0);
    assert_false(paging_refs(r->v, 0x21000, &refs));
    rig_close(r);
}

/* Two address spaces whose top tables share a page have entries of their own. */
static void paging_refs_notice_another_pdpte(void **state)
{
    (void)state;
    struct rig *r = open_pae(P | W | U | A);
    struct paging_refs refs;
    assert_true(paging_refs(r->v, 0x20000, &refs));
    poke64(r, RIG_TABLES + 0x3020, RIG_TABLES + 0x4000 + P);
    r->v->cr3 = RIG_TABLES + 0x3020;
    assert_true(paging_load_pdptes(r->v, r->v->cr3));
    assert_false(paging_refs_same(r->v, &refs, paging_directory(r->v)));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paging_read_sets_accessed_and_write_sets_dirty),
        cmocka_unit_test(paging_absent_page_faults_without_p),
        cmocka_unit_test(paging_user_may_not_touch_supervisor_pages),
        cmocka_unit_test(paging_rights_are_those_of_all_levels_together),
        cmocka_unit_test(paging_wp_decides_whether_the_kernel_writes_read_only_pages),
        cmocka_unit_test(paging_pse_page_of_4_mib_with_bits_39_to_32),
        cmocka_unit_test(paging_pentium_has_no_pse36),
        cmocka_unit_test(paging_nx_forbids_fetching_and_is_reserved_without_nxe),
        cmocka_unit_test(paging_pae_reserved_bits_and_absent_pdpte),
        cmocka_unit_test(paging_refs_notice_each_entry_that_changes),
        cmocka_unit_test(paging_refs_notice_another_pdpte),
        cmocka_unit_test(paging_mov_cr3_refuses_pdptes_with_reserved_bits),
        cmocka_unit_test(paging_four_levels_with_1_gib_and_2_mib_pages),
        cmocka_unit_test(paging_quiet_walk_changes_nothing),
        cmocka_unit_test(paging_smep_and_smap_keep_the_kernel_off_user_pages),
        cmocka_unit_test(tlb_keeps_a_changed_entry_until_invlpg),
        cmocka_unit_test(tlb_invlpg_ends_all_of_a_large_page),
        cmocka_unit_test(tlb_global_pages_survive_mov_cr3_and_not_pge),
        cmocka_unit_test(mem_crossing_write_changes_nothing_when_the_second_page_faults),
        cmocka_unit_test(mem_wraps_at_4_gib_and_at_a20),
        cmocka_unit_test(mem_alignment_check_is_for_user_code_with_am_and_ac),
        cmocka_unit_test(mem_devices_are_reached_by_hooks_and_have_no_pointer),
        cmocka_unit_test(mem_writes_to_marked_pages_are_told_each_time),
        cmocka_unit_test(mem_rom_reads_and_swallows_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
