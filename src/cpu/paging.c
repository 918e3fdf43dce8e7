/* SPDX-License-Identifier: MIT
 *
 * The page walker (SDM 3A chapter 4), for all formats:
 *
 *              levels   entry    index bits      top table
 *   32-bit        2     4 bytes     10           CR3
 *   PAE           2     8 bytes      9           one of four PDPTE registers, loaded with CR3
 *   4-level       4     8 bytes      9           CR3
 *
 * Rights are the AND of all levels. A and D of the last entry are set only when the access is
 * allowed. Accessed bits of upper levels are set on the way down, as recent processors do even when
 * the walk ends in a fault (kvm-unit-tests' "access" wants it); but with 32-bit paging, as on the
 * 386, both levels together when the access goes ahead (test386 wants that). They are set by
 * compare-and-swap of the very entry that was read; when another CPU was faster, the walk starts
 * again.
 */
#include "cpu/paging.h"

#include "cpu/feature.h"

enum pte_bits {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX      ((u64)1 << 63)
#define PTE_ADDRESS ((u64)0x000ffffffffff000)

enum format { FORMAT_32, FORMAT_PAE, FORMAT_64 };

/* Levels as in 4-level paging: 4 PML4, 3 PDPT, 2 page directory, 1 page table. */
#define LEVEL_PT   1
#define LEVEL_PD   2
#define LEVEL_PDPT 3
#define LEVEL_PML4 4

/* One entry of a paging structure, and where it was read. */
struct entry {
    u64 value;
    u64 offset; /* in the memfd, when writable */
    u8 *hp;     /* NULL: not in RAM, cannot be updated */
    unsigned bytes;
};

/* The state of one walk. */
struct walker {
    struct vcpu *v;
    u64 la;
    enum format format;
    bool quiet;
    unsigned level; /* of the entry in hand */
    bool writable, user, executable;
    struct entry directory; /* 32-bit paging: its accessed bit waits for the walk's success */
};

enum step { STEP_DOWN, STEP_LEAF, STEP_ABSENT, STEP_RESERVED, STEP_AGAIN };

static enum format format_of(const struct vcpu *v)
{
    if (v->efer & EFER_LMA)
        return FORMAT_64;
    return v->cr4 & CR4_PAE ? FORMAT_PAE : FORMAT_32;
}

static unsigned index_bits(enum format f)
{
    return f == FORMAT_32 ? 10 : 9;
}

/* Linear address bits below those that index tables of this level. */
static unsigned level_shift(enum format f, unsigned level)
{
    return PAGE_SHIFT + index_bits(f) * (level - 1);
}

static struct entry read_entry(struct vcpu *v, u64 pa, unsigned bytes)
{
    struct entry e = {.value = ~(u64)0, .bytes = bytes};
    pa &= v->a20_mask;
    struct phys_page page = physmem_lookup(v->pm, pa);
    if (page.kind != PHYS_RAM && page.kind != PHYS_ROM)
        return e; /* no memory there: reads as ones */
    e.offset = page.offset + (pa & PAGE_OFFSET_MASK);
    u8 *hp = physmem_fast(v->pm)->base + e.offset;
    if (bytes == 4)
        e.value = __atomic_load_n((u32 *)(void *)hp, __ATOMIC_RELAXED);
    else
        e.value = __atomic_load_n((u64 *)(void *)hp, __ATOMIC_RELAXED);
    if (page.kind == PHYS_RAM)
        e.hp = hp;
    return e;
}

/* Sets bits in the entry; false when it is no longer what was read. */
static bool update_entry(struct vcpu *v, struct entry *e, u64 bits)
{
    if ((e->value & bits) == bits || !e->hp)
        return true;
    if (UNLIKELY(*physmem_marks(v->pm, e->offset)))
        physmem_touch(v->pm, e->offset, e->bytes);
    u64 want = e->value | bits;
    bool done;
    if (e->bytes == 4) {
        u32 old = (u32)e->value;
        done = __atomic_compare_exchange_n((u32 *)(void *)e->hp, &old, (u32)want, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    } else {
        u64 old = e->value;
        done = __atomic_compare_exchange_n((u64 *)(void *)e->hp, &old, want, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    if (done) {
        e->value = want;
        if (UNLIKELY(v->journal != NULL))
            v->journal(v, JOURNAL_PAGING, 0, NULL);
    }
    return done;
}

static bool is_large(const struct vcpu *v, enum format f, unsigned level, u64 value)
{
    if (!(value & PTE_PS))
        return false;
    if (f == FORMAT_32)
        return level == LEVEL_PD && (v->cr4 & CR4_PSE);
    return level == LEVEL_PD || (level == LEVEL_PDPT && vcpu_shows(v, CPUID_PDPE1GB));
}

/* PSE-36: a 4 MiB page's address bits 39..32 are bits 20..13 of its entry, as far as the CPU has
 * them (SDM 3A table 4-4). */
static unsigned pse_phys_bits(const struct vcpu *v)
{
    if (!vcpu_shows(v, CPUID_PSE36))
        return 32;
    return v->phys_bits < 40 ? v->phys_bits : 40;
}

static u64 bit_range(unsigned high, unsigned low)
{
    return high < low ? 0 : mask64(high + 1) & ~mask64(low);
}

/* Bits that must be 0 in a present entry (tables 4-4 to 4-6, 4-8 to 4-11, 4-14 to 4-20). */
static u64 reserved_bits(const struct vcpu *v, enum format f, unsigned level, bool large)
{
    if (f == FORMAT_32)
        return large ? bit_range(21, pse_phys_bits(v) - 19) : 0;
    u64 reserved = bit_range(51, v->phys_bits);
    if (f == FORMAT_PAE)
        reserved |= bit_range(62, 52);
    if (!(v->efer & EFER_NXE))
        reserved |= PTE_NX;
    if (level == LEVEL_PML4 || (level == LEVEL_PDPT && !large))
        reserved |= PTE_PS;
    if (large)
        reserved |= bit_range(level_shift(f, level) - 1, 13);
    return reserved;
}

static u64 table_of(const struct vcpu *v, enum format f, u64 value)
{
    (void)v;
    return value & (f == FORMAT_32 ? 0xfffff000u : PTE_ADDRESS);
}

/* Reads the entry of the walker's level in `table` and judges it. */
static enum step take_entry(struct walker *w, u64 table, struct entry *e)
{
    struct vcpu *v = w->v;
    enum format f = w->format;
    u64 index = (w->la >> level_shift(f, w->level)) & mask64(index_bits(f));
    unsigned bytes = f == FORMAT_32 ? 4 : 8;
    *e = read_entry(v, table + index * bytes, bytes);
    if (!(e->value & PTE_P))
        return STEP_ABSENT;
    bool large = is_large(v, f, w->level, e->value);
    if (e->value & reserved_bits(v, f, w->level, large))
        return STEP_RESERVED;
    w->writable &= (e->value & PTE_W) != 0;
    w->user &= (e->value & PTE_U) != 0;
    w->executable &= f == FORMAT_32 || !(e->value & PTE_NX);
    if (w->level == LEVEL_PT || large)
        return STEP_LEAF;
    if (f == FORMAT_32)
        w->directory = *e;
    else if (!w->quiet && !update_entry(v, e, PTE_A))
        return STEP_AGAIN;
    return STEP_DOWN;
}

/* From the top to the entry that maps the page. */
static enum step descend(struct walker *w, struct entry *e)
{
    struct vcpu *v = w->v;
    u64 table;
    w->writable = w->user = w->executable = true;
    w->directory = (struct entry){0};
    switch (w->format) {
    case FORMAT_64:
        w->level = LEVEL_PML4;
        table = v->cr3 & PTE_ADDRESS;
        break;
    case FORMAT_PAE:
        w->level = LEVEL_PD;
        table = v->pdpte[w->la >> 30 & 3];
        if (!(table & PTE_P))
            return STEP_ABSENT;
        table &= PTE_ADDRESS;
        break;
    default:
        w->level = LEVEL_PD;
        table = v->cr3 & 0xfffff000u;
        break;
    }
    for (;; w->level--) {
        enum step s = take_entry(w, table, e);
        if (s != STEP_DOWN)
            return s;
        table = table_of(v, w->format, e->value);
    }
}

/* Whether the rights found allow the access (SDM 3A §4.6.1). */
static bool allowed(const struct walker *w, enum access access, unsigned view)
{
    const struct vcpu *v = w->v;
    if (view == TLB_USER) {
        if (!w->user)
            return false;
        return access == ACCESS_WRITE ? w->writable : access == ACCESS_FETCH ? w->executable : true;
    }
    if (access == ACCESS_FETCH)
        return w->executable && !(w->user && (v->cr4 & CR4_SMEP));
    if (w->user && view == TLB_KERNEL_SMAP)
        return false;
    return access == ACCESS_READ || w->writable || !(v->cr0 & CR0_WP);
}

static u32 access_error(const struct vcpu *v, enum access access, unsigned view)
{
    u32 error = 0;
    if (access == ACCESS_WRITE)
        error |= PF_WRITE;
    if (view == TLB_USER)
        error |= PF_USER;
    bool shows_fetch = ((v->efer & EFER_NXE) && (v->cr4 & CR4_PAE)) || (v->cr4 & CR4_SMEP);
    if (access == ACCESS_FETCH && shows_fetch)
        error |= PF_FETCH;
    return error;
}

static u64 page_address(const struct walker *w, u64 value, u64 size)
{
    u64 base = value & PTE_ADDRESS;
    if (w->format == FORMAT_32) {
        base = value & 0xfffff000u;
        if (size > PAGE_BYTES)
            base = (value & 0xffc00000u) | bits64(value, 20, 13) << 32;
    }
    return align_down(base, size) | (w->la & (size - 1));
}

static void describe(const struct walker *w, const struct entry *e, struct walk *out)
{
    const struct vcpu *v = w->v;
    out->page_size = (u64)1 << level_shift(w->format, w->level);
    out->pa = page_address(w, e->value, out->page_size) & v->a20_mask;
    out->writable = w->writable;
    out->user = w->user;
    out->executable = w->executable;
    out->accessed = e->value & PTE_A;
    out->dirty = e->value & PTE_D;
    out->global = (e->value & PTE_G) && (v->cr4 & CR4_PGE);
}

bool paging_walk(struct vcpu *v, u64 la, enum access access, unsigned view, bool quiet,
                 struct walk *out, u32 *error)
{
    if (!(v->efer & EFER_LMA))
        la &= 0xffffffffu;
    if (!(v->cr0 & CR0_PG)) {
        *out = (struct walk){la & v->a20_mask, PAGE_BYTES, true, true, true, true, true, true};
        return true;
    }
    struct walker w = {.v = v, .la = la, .format = format_of(v), .quiet = quiet};
    struct entry e = {0};
    for (;;) {
        enum step s = descend(&w, &e);
        if (s == STEP_AGAIN)
            continue;
        *error = access_error(v, access, view);
        if (s == STEP_ABSENT)
            return false;
        *error |= PF_PRESENT;
        if (s == STEP_RESERVED) {
            *error |= PF_RESERVED;
            return false;
        }
        if (!allowed(&w, access, view))
            return false;
        if (quiet || (update_entry(v, &w.directory, PTE_A) &&
                      update_entry(v, &e, access == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A)))
            break;
    }
    describe(&w, &e, out);
    return true;
}

static void note_ref(struct paging_refs *refs, const struct entry *e)
{
    if (!e->hp)
        return;
    refs->ref[refs->count++] =
        (struct paging_ref){.hp = e->hp, .value = e->value, .bytes = (u8)e->bytes};
}

static u64 read_ref(const struct paging_ref *r)
{
    return r->bytes == 4 ? __atomic_load_n((const u32 *)r->hp, __ATOMIC_RELAXED)
                         : __atomic_load_n((const u64 *)r->hp, __ATOMIC_RELAXED);
}

/* The PDPTE register that la goes through. */
static u64 pdpte_of(const struct vcpu *v, u64 la)
{
    return format_of(v) == FORMAT_PAE ? v->pdpte[la >> 30 & 3] : 0;
}

const u8 *paging_directory(const struct vcpu *v)
{
    if (format_of(v) != FORMAT_32)
        return NULL;
    struct phys_page page = physmem_lookup(v->pm, v->cr3 & 0xfffff000u & v->a20_mask);
    return page.kind == PHYS_RAM || page.kind == PHYS_ROM ? physmem_host(v->pm, page.offset) : NULL;
}

bool paging_refs_same(const struct vcpu *v, const struct paging_refs *refs, const u8 *directory)
{
    struct paging_ref top = refs->ref[0];
    if (format_of(v) == FORMAT_32) {
        if (!directory)
            return false;
        top.hp = directory + (refs->la >> 22) * sizeof(u32);
    } else if (pdpte_of(v, refs->la) != refs->pdpte) {
        return false;
    }
    if (read_ref(&top) != top.value)
        return false;
    return refs->count < 2 || read_ref(&refs->ref[1]) == refs->ref[1].value;
}

bool paging_refs(struct vcpu *v, u64 la, struct paging_refs *refs)
{
    enum format f = format_of(v);
    *refs = (struct paging_refs){.la = la, .pdpte = pdpte_of(v, la)};
    if (f == FORMAT_64 || !(v->cr0 & CR0_PG))
        return false;
    if (f == FORMAT_PAE && !(refs->pdpte & PTE_P))
        return false;
    u64 table = f == FORMAT_PAE ? refs->pdpte & PTE_ADDRESS : v->cr3 & 0xfffff000u;
    for (unsigned level = LEVEL_PD; level >= LEVEL_PT; level--) {
        struct walker w = {.v = v, .la = la, .format = f, .quiet = true, .level = level};
        struct entry e;
        w.writable = w.user = w.executable = true;
        enum step s = take_entry(&w, table, &e);
        if (s != STEP_DOWN && s != STEP_LEAF)
            return false;
        if (!e.hp)
            return false;
        note_ref(refs, &e);
        if (s == STEP_LEAF) {
            u64 size = (u64)1 << level_shift(f, level);
            refs->pa = page_address(&w, e.value, size) & v->a20_mask;
            return true;
        }
        table = table_of(v, f, e.value);
    }
    return false;
}

bool paging_load_pdptes(struct vcpu *v, u64 cr3)
{
    /* SDM 3A table 4-8: bits 2..1 and 8..5, and everything above the address. */
    u64 reserved = bit_range(2, 1) | bit_range(8, 5) | bit_range(63, v->phys_bits);
    u64 entry[4];
    for (unsigned i = 0; i < 4; i++) {
        entry[i] = read_entry(v, (cr3 & 0xffffffe0u) + i * 8, 8).value;
        if ((entry[i] & PTE_P) && (entry[i] & reserved))
            return false;
    }
    for (unsigned i = 0; i < 4; i++)
        v->pdpte[i] = entry[i];
    return true;
}
