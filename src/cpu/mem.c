/* SPDX-License-Identifier: MIT
 *
 * Memory accesses that the TLB's fast path in cpu/mem.h does not serve: misses, device registers,
 * pages with marks or breakpoints, and accesses that cross a page. A crossing access is translated
 * whole before its first byte moves.
 *
 * Nothing here may touch vector registers: no memcpy of unknown or large size.
 */
#include "cpu/debug.h"
#include "cpu/fpu.h"
#include "cpu/paging.h"

/* As tlb_translate(), for size bytes within a page. */
static struct place place_of(struct vcpu *v, u64 la, unsigned size, enum access access,
                             unsigned view)
{
    struct place p = tlb_translate(v, la, access, view);
    if (UNLIKELY(v->journal != NULL) && access == ACCESS_WRITE && p.kind == PHYS_RAM)
        v->journal(v, p.offset, size, tlb_entry(v, la, view));
    return p;
}

/* ---- pieces within one page ---- */

static u64 load_piece(const u8 *p, unsigned size)
{
    switch (size) {
    case 1: return *p;
    case 2: return load16(p);
    case 4: return load32(p);
    case 8: return load64(p);
    }
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)p[i] << (i * 8);
    return value;
}

static void store_piece(u8 *p, u64 value, unsigned size)
{
    switch (size) {
    case 1: *p = (u8)value; return;
    case 2: store16(p, (u16)value); return;
    case 4: store32(p, (u32)value); return;
    case 8: store64(p, value); return;
    }
    for (unsigned i = 0; i < size; i++)
        p[i] = (u8)(value >> (i * 8));
}

static u64 read_place(struct vcpu *v, const struct place *p, unsigned size)
{
    if (p->hp)
        return load_piece(p->hp, size);
    if (p->kind != PHYS_MMIO)
        return mask64(size * 8);
    fpu_put_away(v);
    v->mmio_accesses++;
    return v->hooks.mmio_read(v->hooks.opaque, p->pa, size) & mask64(size * 8);
}

/* Tells those who marked the page. */
static void touch(struct vcpu *v, const struct place *p, unsigned size)
{
    if (UNLIKELY(*physmem_marks(v->pm, p->offset))) {
        fpu_put_away(v);
        physmem_touch(v->pm, p->offset, size);
    }
}

/* A write to what is not RAM. ROM and unclaimed addresses ignore it. */
static void write_beyond_ram(struct vcpu *v, const struct place *p, u64 value, unsigned size)
{
    if (p->kind != PHYS_MMIO)
        return;
    fpu_put_away(v);
    v->mmio_accesses++;
    v->hooks.mmio_write(v->hooks.opaque, p->pa, value & mask64(size * 8), size);
}

static void write_place(struct vcpu *v, const struct place *p, u64 value, unsigned size)
{
    if (p->kind != PHYS_RAM) {
        write_beyond_ram(v, p, value, size);
        return;
    }
    touch(v, p, size);
    store_piece(p->hp, value, size);
}

/* ---- crossing, alignment, breakpoints ---- */

/* How many of size bytes at la lie in its page. */
static unsigned in_page(u64 la, unsigned size)
{
    u64 left = PAGE_BYTES - (la & PAGE_OFFSET_MASK);
    return size < left ? size : (unsigned)left;
}

/* la + n, where a 32-bit address space wraps. */
static u64 next_la(const struct vcpu *v, u64 la, unsigned n)
{
    u64 next = la + n;
    return (v->mode & MODE_CS64) || la > UINT32_MAX ? next : (u32)next;
}

/* #AC: an access by user code, through its own view, that is not aligned to its size. */
static void check_alignment(struct vcpu *v, u64 la, unsigned size, unsigned view)
{
    if ((v->mode & MODE_AC) && view == TLB_USER && (la & (size - 1)))
        cpu_raise_error(v, VEC_AC, 0);
}

static void watch(struct vcpu *v, u64 la, unsigned size, bool write)
{
    if (UNLIKELY(v->mode & MODE_BREAK))
        debug_data_access(v, la, size, write);
}

/* A translated access of up to a page: one or two places. */
struct span {
    struct place first, second;
    unsigned n; /* bytes in the first */
};

static struct span translate(struct vcpu *v, u64 la, unsigned size, enum access access,
                             unsigned view)
{
    struct span s = {.n = in_page(la, size)};
    s.first = place_of(v, la, s.n, access, view);
    if (s.n < size)
        s.second = place_of(v, next_la(v, la, s.n), size - s.n, access, view);
    return s;
}

u64 mem_read_slow(struct vcpu *v, u64 la, unsigned size, unsigned view)
{
    check_alignment(v, la, size, view);
    struct span s = translate(v, la, size, ACCESS_READ, view);
    u64 value = read_place(v, &s.first, s.n);
    if (s.n < size)
        value |= read_place(v, &s.second, size - s.n) << (s.n * 8);
    watch(v, la, size, false);
    return value;
}

void mem_write_slow(struct vcpu *v, u64 la, u64 value, unsigned size, unsigned view)
{
    check_alignment(v, la, size, view);
    struct span s = translate(v, la, size, ACCESS_WRITE, view);
    write_place(v, &s.first, value, s.n);
    tlb_relax(v, la, view);
    if (s.n < size) {
        write_place(v, &s.second, value >> (s.n * 8), size - s.n);
        tlb_relax(v, next_la(v, la, s.n), view);
    }
    watch(v, la, size, true);
}

/* Natural alignment of an operand: the largest power of two that its size is a multiple of
 * (SDM 3A table 6-7: an 80-bit real wants 8). */
static unsigned natural(unsigned size)
{
    return size == 10 ? 8 : size & -size;
}

void *mem_pointer(struct vcpu *v, u64 la, unsigned size, enum access access)
{
    check_alignment(v, la, natural(size), v->view);
    if (in_page(la, size) < size) {
        mem_probe(v, la, size, access);
        return NULL;
    }
    struct place p = place_of(v, la, size, access, v->view);
    if (!p.hp || (access == ACCESS_WRITE && p.kind != PHYS_RAM))
        return NULL;
    if ((v->mode & MODE_BREAK) && debug_page_watched(v, la & ~PAGE_OFFSET_MASK))
        return NULL;
    if (access == ACCESS_WRITE) {
        touch(v, &p, size);
        tlb_relax(v, la, v->view);
    }
    return p.hp;
}

void mem_probe(struct vcpu *v, u64 la, unsigned size, enum access access)
{
    if (size)
        translate(v, la, size, access, v->view);
}

void mem_probe_area(struct vcpu *v, u64 la, unsigned first, unsigned size, enum access access)
{
    mem_probe(v, la, first, access);
    mem_probe(v, next_la(v, la, size - 1), 1, access);
}

/* ---- blocks of bytes ---- */

/* memcpy() may use vector registers, which hold guest state. */
static void copy_bytes(u8 *to, const u8 *from, u64 n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void read_block(struct vcpu *v, const struct place *p, u8 *to, unsigned size)
{
    if (p->hp) {
        copy_bytes(to, p->hp, size);
        return;
    }
    for (unsigned at = 0, n; at < size; at += n) {
        n = size - at < 8 ? size - at : 8;
        struct place piece = {.kind = p->kind, .pa = p->pa + at};
        store_piece(to + at, read_place(v, &piece, n), n);
    }
}

static void write_block(struct vcpu *v, const struct place *p, const u8 *from, unsigned size)
{
    if (p->kind == PHYS_RAM) {
        touch(v, p, size);
        copy_bytes(p->hp, from, size);
        return;
    }
    for (unsigned at = 0, n; at < size; at += n) {
        n = size - at < 8 ? size - at : 8;
        struct place piece = {.kind = p->kind, .pa = p->pa + at};
        write_beyond_ram(v, &piece, load_piece(from + at, n), n);
    }
}

void mem_read_bytes(struct vcpu *v, u64 la, void *to, unsigned size)
{
    if (!size)
        return;
    struct span s = translate(v, la, size, ACCESS_READ, v->view);
    read_block(v, &s.first, to, s.n);
    if (s.n < size)
        read_block(v, &s.second, (u8 *)to + s.n, size - s.n);
    watch(v, la, size, false);
}

void mem_write_bytes(struct vcpu *v, u64 la, const void *from, unsigned size)
{
    if (!size)
        return;
    struct span s = translate(v, la, size, ACCESS_WRITE, v->view);
    write_block(v, &s.first, from, s.n);
    if (s.n < size)
        write_block(v, &s.second, (const u8 *)from + s.n, size - s.n);
    watch(v, la, size, true);
}

/* ---- code ---- */

static void check_fetch_canonical(struct vcpu *v, u64 la)
{
    if ((v->mode & MODE_CS64) && !mem_canonical(la))
        cpu_raise_error(v, VEC_GP, 0);
}

struct code_page mem_code(struct vcpu *v, u64 la)
{
    check_fetch_canonical(v, la);
    struct place p = tlb_translate(v, la, ACCESS_FETCH, mem_fetch_view(v));
    return (struct code_page){.hp = p.hp, .offset = p.hp ? p.offset : UINT64_MAX, .pa = p.pa};
}

u8 mem_fetch_slow(struct vcpu *v, u64 la)
{
    check_fetch_canonical(v, la);
    struct place p = tlb_translate(v, la, ACCESS_FETCH, mem_fetch_view(v));
    return (u8)read_place(v, &p, 1);
}
