/* SPDX-License-Identifier: MIT
 *
 * The software TLB: direct-mapped, one table for each view (struct tlb_entry in vcpu.h).
 *
 * Invariants:
 *  1. An entry with any tag, or with `page`, other than TLB_NO_PAGE has its bit in tlb_used, so
 *     that flushes visit only what was filled.
 *  2. A write tag implies: the mapping allows it, D is set, the page is RAM and carries no mark.
 *     Who marks a page calls tlb_protect() (write_protected in bus/physmem.h).
 *  3. Pages with an enabled data breakpoint have neither read nor write tags.
 *  4. tlb_large_lo..hi covers every linear address that a large page was filled for since the last
 *     full flush: INVLPG inside it flushes everything, because one INVLPG ends a whole large page
 *     of which many entries may have come.
 */
#include "cpu/code_cache.h"
#include "cpu/code_map.h"
#include "cpu/debug.h"
#include "cpu/paging.h"
#include "cpu/seg.h"

static void clear_entry(struct tlb_entry *e)
{
    e->read = e->write = e->exec = e->page = TLB_NO_PAGE;
    e->allowed = 0;
    e->code = 0;
}

static void forget_large_range(struct vcpu *v)
{
    v->tlb_large_lo = UINT64_MAX;
    v->tlb_large_hi = 0;
}

void tlb_init(struct vcpu *v)
{
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            clear_entry(&v->tlb[view][i]);
    }
    forget_large_range(v);
}

/* Empties the entries whose bits are set in `bits`, word w of the view. */
static void flush_word(struct vcpu *v, unsigned view, unsigned w, u64 bits)
{
    v->tlb_used[view][w] &= ~bits;
    v->tlb_global[view][w] &= ~bits;
    for (; bits; bits &= bits - 1)
        clear_entry(&v->tlb[view][w * 64 + (unsigned)__builtin_ctzll(bits)]);
}

static void tell_translator(struct vcpu *v, enum map_change what, u64 where)
{
    if (v->map_changed)
        v->map_changed(v, what, where);
}

bool tlb_is_global(const struct vcpu *v, u64 la, unsigned view)
{
    unsigned index = (la >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    return v->tlb[view][index].page == (la & ~PAGE_OFFSET_MASK) &&
           v->tlb_global[view][index / 64] >> index % 64 & 1;
}

void tlb_flush(struct vcpu *v)
{
    code_map_lost_all(v);
    seg_gdt_moved(v);
    tell_translator(v, MAP_ALL, 0);
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned w = 0; w < TLB_ENTRIES / 64; w++)
            flush_word(v, view, w, v->tlb_used[view][w]);
    }
    forget_large_range(v);
}

void tlb_flush_nonglobal(struct vcpu *v)
{
    code_map_lost_space(v);
    if (!tlb_is_global(v, v->gdtr.base, v->sys_view))
        seg_gdt_moved(v);
    tell_translator(v, MAP_SPACE, 0);
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned w = 0; w < TLB_ENTRIES / 64; w++)
            flush_word(v, view, w, v->tlb_used[view][w] & ~v->tlb_global[view][w]);
    }
}

void tlb_flush_page(struct vcpu *v, u64 la)
{
    if (la >= v->tlb_large_lo && la <= v->tlb_large_hi) {
        tlb_flush(v);
        return;
    }
    unsigned index = (la >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    seg_gdt_moved(v);
    tell_translator(v, MAP_LINEAR, la);
    code_map_lost_page(v, la);
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        if (v->tlb[view][index].page == (la & ~PAGE_OFFSET_MASK))
            flush_word(v, view, index / 64, bit64(index % 64));
    }
}

/* Entries that show the page at `offset`, or all, lose what is said of writing it directly. */
static void forbid_writes(struct vcpu *v, u64 offset, bool code_only)
{
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned w = 0; w < TLB_ENTRIES / 64; w++) {
            for (u64 bits = v->tlb_used[view][w]; bits; bits &= bits - 1) {
                struct tlb_entry *e = &v->tlb[view][w * 64 + (unsigned)__builtin_ctzll(bits)];
                if (e->offset != offset && offset != ALL_PAGES)
                    continue;
                e->code = 0;
                if (!code_only)
                    e->write = TLB_NO_PAGE;
            }
        }
    }
}

void tlb_protect(struct vcpu *v, u64 offset)
{
    offset &= ~PAGE_OFFSET_MASK;
    tell_translator(v, MAP_MARKED, offset);
    forbid_writes(v, offset, false);
}

void tlb_forget_code(struct vcpu *v, u64 offset)
{
    forbid_writes(v, offset, true);
}

/* ---- filling ---- */

/* Which kinds of access the walk allows in this view without another walk. */
static u8 rights(const struct vcpu *v, const struct walk *w, unsigned view)
{
    bool write, exec;
    if (view == TLB_USER) {
        write = w->writable;
        exec = w->executable;
    } else {
        write = w->writable || !(v->cr0 & CR0_WP);
        exec = w->executable && !(w->user && (v->cr4 & CR4_SMEP));
    }
    /* A fetch is no subject of SMAP and goes through the plain kernel view. */
    exec &= view != TLB_KERNEL_SMAP;
    return (u8)(1 << ACCESS_READ | (write && w->dirty) << ACCESS_WRITE | exec << ACCESS_FETCH);
}

void tlb_close_writes(struct tlb_entry *e)
{
    e->write = TLB_NO_PAGE;
    e->code = 0;
}

void tlb_open_writes(struct vcpu *v, struct tlb_entry *e)
{
    const u8 own_code = PAGE_CODE | 1 << PAGE_HOLDERS_SHIFT;
    tlb_close_writes(e);
    if (!(e->allowed & 1 << ACCESS_WRITE) || e->kind != PHYS_RAM || debug_page_watched(v, e->page))
        return;
    u8 marks = *physmem_marks(v->pm, e->offset);
    if (!marks)
        e->write = e->page;
    else if (marks == own_code)
        e->code = cache_page_place(v, e->offset);
}

static void set_write_tag(struct vcpu *v, struct tlb_entry *e)
{
    if (!v->journal)
        tlb_open_writes(v, e);
    else
        tlb_close_writes(e);
}

static void set_tags(struct vcpu *v, struct tlb_entry *e)
{
    e->read = e->write = e->exec = TLB_NO_PAGE;
    e->code = 0;
    if (e->kind != PHYS_RAM && e->kind != PHYS_ROM)
        return;
    e->addend = (u64)(uintptr_t)physmem_fast(v->pm)->base + e->offset - e->page;
    if (!debug_page_watched(v, e->page))
        e->read = e->page;
    set_write_tag(v, e);
    if (e->allowed & 1 << ACCESS_FETCH)
        e->exec = e->page;
}

static void note_large(struct vcpu *v, u64 la, u64 size)
{
    u64 first = align_down(la, size), last = first + size - 1;
    if (first < v->tlb_large_lo)
        v->tlb_large_lo = first;
    if (last > v->tlb_large_hi)
        v->tlb_large_hi = last;
}

static void fill(struct vcpu *v, struct tlb_entry *e, u64 la, enum access access, unsigned view)
{
    struct walk walk;
    u32 error;
    if (!paging_walk(v, la, access, view, false, &walk, &error))
        cpu_page_fault(v, la, error);
    struct phys_page page = physmem_lookup(v->pm, walk.pa);
    e->page = la & ~PAGE_OFFSET_MASK;
    e->pa = walk.pa & ~PAGE_OFFSET_MASK;
    e->kind = (u8)page.kind;
    e->offset = page.kind == PHYS_RAM || page.kind == PHYS_ROM ? page.offset : UINT64_MAX;
    /* The walk for a write has just set D. */
    walk.dirty |= access == ACCESS_WRITE;
    e->allowed = rights(v, &walk, view);
    set_tags(v, e);

    unsigned index = (la >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    v->tlb_used[view][index / 64] |= bit64(index % 64);
    if (walk.global)
        v->tlb_global[view][index / 64] |= bit64(index % 64);
    else
        v->tlb_global[view][index / 64] &= ~bit64(index % 64);
    if (walk.page_size > PAGE_BYTES)
        note_large(v, la, walk.page_size);
}

struct place tlb_translate(struct vcpu *v, u64 la, enum access access, unsigned view)
{
    struct tlb_entry *e = tlb_entry(v, la, view);
    if (e->page != (la & ~PAGE_OFFSET_MASK) || !(e->allowed & 1 << access))
        fill(v, e, la, access, view);
    u64 at = la & PAGE_OFFSET_MASK;
    struct place p = {.kind = e->kind, .pa = e->pa + at};
    if (e->kind == PHYS_RAM || e->kind == PHYS_ROM) {
        p.offset = e->offset + at;
        p.hp = physmem_fast(v->pm)->base + p.offset;
    }
    return p;
}

void tlb_relax(struct vcpu *v, u64 la, unsigned view)
{
    struct tlb_entry *e = tlb_entry(v, la, view);
    if (e->page == (la & ~PAGE_OFFSET_MASK))
        set_write_tag(v, e);
}
