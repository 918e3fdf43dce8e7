/* SPDX-License-Identifier: MIT
 *
 * Far CALL and RET of hot code, which the translator executes without the interpreter if they load
 * CS with what it holds. Two CPUs do the same, one by each engine, while everything is changed that
 * such a transfer hangs on, a bit at a time. What they come to has to be the same.
 *
 * All memory is HLT, so that whatever a transfer leads to ends there, or in an exception.
 */
#include "bt_bench.h"

#include "cpu/interp.h"

#define HLT   0xf4
#define TIMES 4 /* until it is hot */

enum { TARGET = 0x11000, OTHER_GDT = 0x4000, COMPARED = 0x20000 };

/* The same machine twice. */
struct pair {
    struct rig *bt, *interp;
    u16 cs; /* what CS is before the transfer */
    u64 desc;
    unsigned cpl;
    bool call;
    u32 esp;
    u32 sel;    /* what RETF finds behind TARGET */
    u32 rflags; /* beside bit 1 */
};

static struct rig *fill(struct rig *r)
{
    memset(r->ram, HLT, RIG_RAM);
    memset(r->ram + RIG_GDT, 0, 0x100);
    memset(r->ram + RIG_TSS, 0, 0x68);
    rig_protected(r);
    set_desc(r, SEL_FREE, flat_desc(D_CODE | D_FLAT | SEG_ACCESSED));
    set_desc(r, SEL_FREE + 8, flat_desc(D_CODE | D_FLAT | D_DPL3 | SEG_ACCESSED));
    set_desc(r, SEL_FREE + 16, flat_desc(D_CODE | D_FLAT | SEG_CONFORMING | SEG_ACCESSED));
    memcpy(r->ram + OTHER_GDT, r->ram + RIG_GDT, 0x100);
    return r;
}

static struct pair pair_open(u16 cs)
{
    struct rig *bt = fill(bt_bench_open(false));
    return (struct pair){.bt = bt,
                         .interp = fill(rig_open("max")),
                         .desc = get_desc(bt, cs),
                         .cs = cs,
                         .cpl = cs & 3,
                         .esp = 0x18000,
                         .sel = cs};
}

static void pair_close(struct pair *p)
{
    bt_bench_close(p->bt, false);
    rig_close(p->interp);
}

static void prepare(const struct pair *p, struct rig *r)
{
    struct vcpu *v = r->v;
    rig_ring(r, p->cpl);
    v->seg[SEG_CS] = seg_from_descriptor(p->cs, p->desc);
    for (unsigned g = 0; g < 8; g++)
        v->gpr[g] = g;
    v->gpr[REG_SP] = p->esp;
    v->rflags = FLAG_ONE | p->rflags;
    v->rip = BENCH_CODE;
    v->halted = false;
    v->delivering = -1; /* after a shutdown */
    vcpu_mode_changed(v);
}

static void compare(const struct pair *p)
{
    const struct vcpu *a = p->bt->v, *b = p->interp->v;
    assert_int_equal(a->rip, b->rip);
    for (unsigned g = 0; g < 8; g++)
        assert_int_equal(a->gpr[g], b->gpr[g]);
    assert_int_equal(a->seg[SEG_CS].sel, b->seg[SEG_CS].sel);
    assert_int_equal(a->seg[SEG_CS].attr, b->seg[SEG_CS].attr);
    assert_int_equal(a->seg[SEG_CS].limit, b->seg[SEG_CS].limit);
    assert_int_equal(a->seg[SEG_CS].base, b->seg[SEG_CS].base);
    assert_int_equal(a->cpl, b->cpl);
    assert_memory_equal(p->bt->ram, p->interp->ram, COMPARED);
    assert_memory_equal(p->bt->ram + RIG_RAM - PAGE_BYTES, p->interp->ram + RIG_RAM - PAGE_BYTES,
                        PAGE_BYTES);
}

static void put(const struct pair *p, u32 at, const void *bytes, size_t n)
{
    bt_bench_put(p->bt, at, bytes, n);
    bt_bench_put(p->interp, at, bytes, n);
}

static void go(const struct pair *p)
{
    const u32 frame[] = {TARGET, p->sel};
    if (!p->call && p->esp <= RIG_RAM - sizeof frame)
        put(p, p->esp, frame, sizeof frame);
    prepare(p, p->bt);
    prepare(p, p->interp);
    assert_int_equal(bt_run(p->bt->v), interp_run(p->interp->v));
    compare(p);
}

static void go_until_hot(const struct pair *p)
{
    for (unsigned i = 0; i < TIMES; i++)
        go(p);
}

/* A bit of memory is another one, and back. */
static void flip(const struct pair *p, u32 at, unsigned bit)
{
    u8 byte = p->bt->ram[at] ^ (u8)(1 << bit);
    put(p, at, &byte, 1);
}

static void try_flipped(const struct pair *p, u32 at, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++) {
        u32 byte = at + i / 8;
        u8 before = p->bt->ram[byte];
        go_until_hot(p);
        flip(p, byte, i % 8);
        go_until_hot(p);
        put(p, byte, &before, 1);
    }
}

/* ---- the two transfers ---- */

enum { CALL_SEL = BENCH_CODE + 5 };

static void put_call(struct pair *p)
{
    const u8 call[] = {0x9a,      (u8)TARGET,      TARGET >> 8 & 0xff, TARGET >> 16,
                       0, /* call cs:TARGET */
                       (u8)p->cs, (u8)(p->cs >> 8)};
    p->call = true;
    put(p, BENCH_CODE, call, sizeof call);
}

static void put_ret(struct pair *p)
{
    p->call = false;
    put(p, BENCH_CODE, (const u8[]){0xca, 0x10, 0x80}, 3); /* retf 8010h */
}

static u32 descriptor_of(u16 sel)
{
    return RIG_GDT + (sel & ~7u);
}

static const u16 segments[] = {SEL_FREE, (SEL_FREE + 8) | 3, SEL_FREE + 16, (SEL_FREE + 16) | 3};

/* Each code segment, with both. */
static void try_all(void (*try)(struct pair *p, bool call))
{
    for (unsigned i = 0; i < ARRAY_LEN(segments) * 2; i++) {
        struct pair p = pair_open(segments[i / 2]);
        bool call = i & 1;
        if (call)
            put_call(&p);
        else
            put_ret(&p);
        go_until_hot(&p);
        assert_int_equal(p.bt->v->rip, p.cpl ? 0xf000 + VEC_GP + 1 : TARGET + 1); /* for HLT */
        try(&p, call);
        pair_close(&p);
    }
}

static void flip_descriptor(struct pair *p, bool call)
{
    (void)call;
    try_flipped(p, descriptor_of(p->cs), 64);
}

static void each_bit_of_the_descriptor_counts(void **state)
{
    (void)state;
    try_all(flip_descriptor);
}

static void flip_selector(struct pair *p, bool call)
{
    if (call) {
        try_flipped(p, CALL_SEL, 16);
        return;
    }
    for (unsigned bit = 0; bit < 32; bit++) {
        go_until_hot(p);
        p->sel ^= 1u << bit;
        go_until_hot(p);
        p->sel ^= 1u << bit;
    }
}

static void each_bit_of_the_selector_counts(void **state)
{
    (void)state;
    try_all(flip_selector);
}

/* ---- the table ---- */

static void set_gdt(const struct pair *p, u64 base, u16 limit)
{
    p->bt->v->gdtr = p->interp->v->gdtr = (struct table_reg){base, limit};
    tlb_flush(p->bt->v);
    tlb_flush(p->interp->v);
}

static void move_table(struct pair *p, bool call)
{
    (void)call;
    u16 last = (u16)(p->cs | 7);
    set_gdt(p, RIG_GDT, last);
    go_until_hot(p);
    set_gdt(p, RIG_GDT, last - 1); /* what a fault needs is below */
    go_until_hot(p);
    set_gdt(p, OTHER_GDT, 0xff);
    go_until_hot(p);
    put(p, OTHER_GDT + (p->cs & ~7u) + 5, (const u8[]){0x1b}, 1); /* not present */
    go_until_hot(p);
    set_gdt(p, RIG_GDT, 0xff);
    go_until_hot(p);
}

static void the_table_may_move_and_shrink(void **state)
{
    (void)state;
    try_all(move_table);
}

/* As after a switch to protected mode without a jump. */
static void a_null_selector_is_none_even_if_cs_holds_it(void **state)
{
    (void)state;
    struct pair p = pair_open(SEL_FREE);
    const u64 desc = get_desc(p.bt, SEL_FREE);
    p.cs = 0;
    p.sel = 0;
    set_desc(p.bt, 0, desc);
    set_desc(p.interp, 0, desc);
    for (unsigned i = 0; i < 2; i++) {
        if (i)
            put_call(&p);
        else
            put_ret(&p);
        go_until_hot(&p);
        assert_int_equal(p.bt->v->rip, 0xf000 + VEC_GP + 1);
    }
    pair_close(&p);
}

static void a_selector_of_the_ldt_is_looked_up_there(void **state)
{
    (void)state;
    const u16 cs = SEL_FREE | 4;
    struct pair p = pair_open(SEL_FREE);
    struct segment ldt = {
        .base = OTHER_GDT, .limit = 0xff, .attr = SEG_PRESENT | TYPE_LDT, .sel = 8};
    p.bt->v->ldtr = p.interp->v->ldtr = ldt;
    p.cs = cs;
    p.sel = cs;
    for (unsigned i = 0; i < 2; i++) {
        if (i)
            put_call(&p);
        else
            put_ret(&p);
        try_flipped(&p, OTHER_GDT + (cs & ~7u), 64);
    }
    pair_close(&p);
}

/* ---- the stack ---- */

static void move_stack(struct pair *p, bool call)
{
    static const u32 tops[] = {0x18004,
                               0x18008,
                               0x18001,
                               8,
                               4,
                               0,
                               6,
                               12,
                               RIG_RAM,
                               RIG_RAM + 4,
                               RIG_RAM + 16,
                               0x80000000,
                               BENCH_CODE + 8,
                               BENCH_CODE + 16,
                               BENCH_CODE + 0x800};
    const u32 usual = p->esp;
    (void)call;
    for (unsigned i = 0; i < ARRAY_LEN(tops); i++) {
        p->esp = tops[i];
        go_until_hot(p);
        p->esp = usual;
        if (call) /* it may have been pushed over it */
            put_call(p);
        else
            put_ret(p);
        go_until_hot(p);
    }
}

static void the_stack_may_be_anywhere(void **state)
{
    (void)state;
    try_all(move_stack);
}

enum { PTE_BITS = 12, STACK_PTE = RIG_TABLES + 0x1000 + (0x17000 >> PAGE_SHIFT) * 4 };

static void use_paging(struct rig *r)
{
    poke32(r, RIG_TABLES, (RIG_TABLES + 0x1000) | 7);
    for (u32 i = 0; i < 1024; i++)
        poke32(r, RIG_TABLES + 0x1000 + i * 4, i << PAGE_SHIFT | 0x67);
    r->v->cr3 = RIG_TABLES;
    r->v->cr0 |= CR0_PG | CR0_WP;
    tlb_flush(r->v);
}

/* The handler of page faults looks at the page if it is there, which ring 0 then knows. Ring 0
 * itself comes to a double fault without a stack, and shuts down. */
static void flip_stack_pte(struct pair *p, bool call)
{
    static const u8 look[] = {0xa1, 0, 0x70, 1, 0, HLT}; /* mov eax, [17000h] */
    (void)call;
    use_paging(p->bt);
    use_paging(p->interp);
    p->esp = 0x17800;
    for (unsigned i = 0; i < 2 * PTE_BITS; i++) {
        put(p, 0xf000 + VEC_PF, i ? look : &look[sizeof look - 1], i ? sizeof look : 1);
        flip(p, STACK_PTE + i / 2 / 8, i / 2 % 8);
        tlb_flush(p->bt->v);
        tlb_flush(p->interp->v);
        go_until_hot(p);
    }
}

static void the_stack_may_fault(void **state)
{
    (void)state;
    try_all(flip_stack_pte);
}

/* ---- flags and sizes ---- */

static void step_it(struct pair *p, bool call)
{
    (void)call;
    p->rflags = FLAG_TF;
    go_until_hot(p);
    assert_int_equal(p->bt->v->rip, 0xf000 + VEC_DB + 1);
    p->rflags = 0;
    go_until_hot(p);
}

static void a_single_step_shows_each(void **state)
{
    (void)state;
    try_all(step_it);
}

/* Read as 32 bits, both would lead to another address. */
static void those_of_16_bits_are_of_16_bits(void **state)
{
    (void)state;
    const u32 frame[] = {SEL_FREE << 16 | 0x7000, SEL_FREE};
    struct pair p = pair_open(SEL_FREE);
    p.call = true;
    put(&p, BENCH_CODE, (const u8[]){0x66, 0x9a, 0x00, 0x70, SEL_FREE, 0}, 6);
    go_until_hot(&p);
    assert_int_equal(p.bt->v->rip, 0x7001);
    assert_int_equal(p.bt->v->gpr[REG_SP], p.esp - 4);
    put(&p, BENCH_CODE, (const u8[]){0x66, 0xcb}, 2);
    for (unsigned i = 0; i < TIMES; i++) {
        put(&p, p.esp, frame, sizeof frame);
        go(&p);
        assert_int_equal(p.bt->v->rip, 0x7001);
    }
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_of_the_descriptor_counts),
        cmocka_unit_test(each_bit_of_the_selector_counts),
        cmocka_unit_test(the_table_may_move_and_shrink),
        cmocka_unit_test(a_null_selector_is_none_even_if_cs_holds_it),
        cmocka_unit_test(a_selector_of_the_ldt_is_looked_up_there),
        cmocka_unit_test(the_stack_may_be_anywhere),
        cmocka_unit_test(the_stack_may_fault),
        cmocka_unit_test(a_single_step_shows_each),
        cmocka_unit_test(those_of_16_bits_are_of_16_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
