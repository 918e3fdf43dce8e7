/* SPDX-License-Identifier: MIT
 *
 * Guest memory as instructions see it: linear addresses (la) through the software TLB. Kinds of
 * address are never mixed: `ea` is an offset in a segment, `la` linear, `pa` guest-physical, `hp`
 * a host pointer.
 *
 * Read and write functions raise #PF (and #AC where it is in force); values cross pages freely.
 * Accesses with `sys` in their name are the CPU's own (descriptor tables, TSS, stacks of another
 * privilege level where the manual says supervisor): they ignore CPL.
 */
#ifndef ANELLO_CPU_MEM_H
#define ANELLO_CPU_MEM_H

#include "cpu/excp.h"
#include "cpu/vcpu.h"

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* Slow paths (cpu/paging.c): translate, fill the TLB, do MMIO, split crossing accesses. */
u64 mem_read_slow(struct vcpu *v, u64 la, unsigned size, unsigned view);
void mem_write_slow(struct vcpu *v, u64 la, u64 value, unsigned size, unsigned view);

/* The view of fetches: they know only who asks, not SMAP. */
static inline unsigned mem_fetch_view(const struct vcpu *v)
{
    return v->cpl == 3 ? TLB_USER : TLB_KERNEL;
}

static inline struct tlb_entry *tlb_entry(struct vcpu *v, u64 la, unsigned view)
{
    return &v->tlb[view][(la >> PAGE_SHIFT) & (TLB_ENTRIES - 1)];
}

static inline u64 mem_read_view(struct vcpu *v, u64 la, unsigned size, unsigned view)
{
    struct tlb_entry *e = tlb_entry(v, la, view);
    if (LIKELY(e->read == ((la + size - 1) & ~PAGE_OFFSET_MASK)) && !(v->mode & MODE_AC))
        return load_sized((const void *)(uintptr_t)(la + e->addend), size);
    return mem_read_slow(v, la, size, view);
}

static inline void mem_write_view(struct vcpu *v, u64 la, u64 value, unsigned size, unsigned view)
{
    struct tlb_entry *e = tlb_entry(v, la, view);
    if (LIKELY(e->write == ((la + size - 1) & ~PAGE_OFFSET_MASK)) && !(v->mode & MODE_AC))
        store_sized((void *)(uintptr_t)(la + e->addend), value, size);
    else
        mem_write_slow(v, la, value, size, view);
}

/* size: 1, 2, 4, 8. */
static inline u64 mem_read(struct vcpu *v, u64 la, unsigned size)
{
    return mem_read_view(v, la, size, v->view);
}
static inline void mem_write(struct vcpu *v, u64 la, u64 value, unsigned size)
{
    mem_write_view(v, la, value, size, v->view);
}
static inline u64 mem_read_sys(struct vcpu *v, u64 la, unsigned size)
{
    return mem_read_view(v, la, size, v->sys_view);
}
static inline void mem_write_sys(struct vcpu *v, u64 la, u64 value, unsigned size)
{
    mem_write_view(v, la, value, size, v->sys_view);
}

/* Host pointer for a read-modify-write or a wide (vector, x87) access of `size` bytes that does
 * not cross a page and lies in directly accessible memory; NULL: use mem_read/mem_write or the
 * copying functions. Raises when the access is not allowed. Write access counts as a write: the
 * page is touched (code invalidated, dirty logs told) before the pointer is returned. */
void *mem_pointer(struct vcpu *v, u64 la, unsigned size, enum access access);

/* Copies any number of bytes up to 4096; checks all of it before the first byte is written. */
void mem_read_bytes(struct vcpu *v, u64 la, void *to, unsigned size);
void mem_write_bytes(struct vcpu *v, u64 la, const void *from, unsigned size);

/* Raises when a write (read) of size bytes at la would fault; changes nothing else (A/D bits may
 * be set, as hardware may). */
void mem_probe(struct vcpu *v, u64 la, unsigned size, enum access access);
/* Likewise an area of state, in one or two pages, as FNSAVE, FXSAVE and their likes do it:
 * CR2 is an address in its first `first` bytes, or its last byte (observed on Intel Cascade Lake).
 */
void mem_probe_area(struct vcpu *v, u64 la, unsigned first, unsigned size, enum access access);

/* ---- Paging ---- */

/* Result of a walk. */
struct walk {
    u64 pa; /* of la, A20 applied */
    u64 page_size;
    bool writable, user, executable; /* effective permission of the mapping */
    bool accessed, dirty, global;
};
/* Walks for an access, setting A and D as hardware does. False: *error is the #PF error code.
 * With `quiet` nothing is changed (debuggers, monitor x). */
bool paging_walk(struct vcpu *v, u64 la, enum access access, unsigned view, bool quiet,
                 struct walk *out, u32 *error);

void tlb_init(struct vcpu *v);               /* all entries empty */
void tlb_flush(struct vcpu *v);              /* everything */
void tlb_flush_nonglobal(struct vcpu *v);    /* MOV CR3 */
void tlb_flush_page(struct vcpu *v, u64 la); /* INVLPG */
#define ALL_PAGES UINT64_MAX
void tlb_forget_code(struct vcpu *v, u64 offset); /* the record of this page goes, or all go */
void tlb_protect(struct vcpu *v, u64 offset); /* no more direct writes to this page of the memfd */
/* Whether MOV CR3 leaves the page's translation alone, as far as the TLB knows. */
bool tlb_is_global(const struct vcpu *v, u64 la, unsigned view);

/* Fetch for the code cache: physical address and host pointer of the code at la, raising #PF as a
 * fetch does. hp is NULL when the page is MMIO or nothing (fetch byte by byte through
 * mem_fetch_slow). */
struct code_page {
    const u8 *hp; /* of la itself */
    u64 offset;   /* of la in the guest memfd */
    u64 pa;
};
struct code_page mem_code(struct vcpu *v, u64 la);
u8 mem_fetch_slow(struct vcpu *v, u64 la);

/* ---- Segmentation ---- */

/* Raises #SS/#GP for an access of size bytes at ea through segment s that its descriptor forbids.
 * In 64-bit mode ea is linear already and checked for being canonical. */
void seg_check_slow(struct vcpu *v, unsigned s, u64 ea, unsigned size, enum access access);

/* Bits 63..47 alike (SDM 1 §3.3.7.1). */
static inline bool mem_canonical(u64 la)
{
    return (u64)sext64(la, 48) == la;
}

/* ea in segment s to la, with all checks (limit, type, null, canonical). `size` bytes from ea. */
static inline u64 seg_linear(struct vcpu *v, unsigned s, u64 ea, unsigned size, enum access access)
{
    if (LIKELY((v->mode & (MODE_FLAT | MODE_CS64)) == MODE_FLAT && s <= SEG_DS && s != SEG_CS))
        return (u32)ea; /* base 0, 4 GiB limit, read/write data */
    if (v->mode & MODE_CS64) {
        u64 la = s >= SEG_FS ? v->seg[s].base + ea : ea;
        if (UNLIKELY(!mem_canonical(la) || !mem_canonical(la + size - 1)))
            seg_check_slow(v, s, la, size, access);
        return la;
    }
    if (UNLIKELY(ea + size > v->seg[s].end[access == ACCESS_WRITE]))
        seg_check_slow(v, s, ea, size, access);
    return (u32)(v->seg[s].base + ea);
}

/* Loads a segment register as MOV/POP Sreg, LES… do (all checks, accessed bit); in real and
 * virtual-8086 mode too. */
void seg_load(struct vcpu *v, unsigned s, u16 selector);
/* Reads a descriptor from GDT/LDT as the CPU does; false when outside the table. */
bool seg_read_descriptor(struct vcpu *v, u16 selector, u64 *low);

#endif
