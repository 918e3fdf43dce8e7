/* SPDX-License-Identifier: MIT
 *
 * The map is a two-level table: 2^14 leaves of 2^14 pages (64 MiB each), made on demand. An entry
 * is the kind in its low two bits and, above, the page's offset in the memfd (RAM, ROM) or the
 * region's address (MMIO). Readers take no lock: leaves are published once and entries are single
 * words. A change rebuilds the entries of its range from the list of regions, in a buffer, so that
 * a reader sees the old or the new page and nothing between.
 */
#include "bus/physmem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEAF_SHIFT  14
#define LEAF_PAGES  ((u64)1 << LEAF_SHIFT)
#define TOP_ENTRIES ((u64)1 << (PHYS_ADDR_BITS - PAGE_SHIFT - LEAF_SHIFT))
#define KIND_MASK   3u

struct phys_region {
    u64 pa, size;
    u64 offset; /* RAM, ROM */
    enum phys_kind kind;
    int priority;
    const struct mmio_ops *ops;
    void *opaque;
    const char *name;
    struct phys_region *next; /* sorted: painted later means seen */
} __attribute__((aligned(16)));

struct physmem {
    struct physmem_fast fast; /* first: physmem_fast() */
    u64 limit, allocated;
    int fd;
    struct log *log;
    struct phys_region *regions;
    struct phys_listener *listeners;
    u64 *leaves[TOP_ENTRIES];
};

struct physmem *physmem_create(u64 limit, struct log *log)
{
    struct physmem *pm = calloc(1, sizeof *pm);
    if (!pm)
        return NULL;
    pm->log = log;
    pm->limit = align_up(limit, PAGE_BYTES);
    pm->fd = memfd_create("anello-guest", MFD_CLOEXEC);
    pm->fast.base =
        mmap(NULL, pm->limit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pm->fast.marks = mmap(NULL, pm->limit >> PAGE_SHIFT, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pm->fd < 0 || pm->fast.base == MAP_FAILED || pm->fast.marks == MAP_FAILED) {
        int saved = errno;
        physmem_destroy(pm);
        errno = saved;
        return NULL;
    }
    return pm;
}

void physmem_destroy(struct physmem *pm)
{
    if (!pm)
        return;
    while (pm->regions) {
        struct phys_region *r = pm->regions;
        pm->regions = r->next;
        free(r);
    }
    for (u64 i = 0; i < TOP_ENTRIES; i++)
        free(pm->leaves[i]);
    if (pm->fast.base && pm->fast.base != MAP_FAILED)
        munmap(pm->fast.base, pm->limit);
    if (pm->fast.marks && pm->fast.marks != MAP_FAILED)
        munmap(pm->fast.marks, pm->limit >> PAGE_SHIFT);
    if (pm->fd >= 0)
        close(pm->fd);
    free(pm);
}

u64 physmem_alloc(struct physmem *pm, u64 size, const char *name)
{
    (void)name;
    size = align_up(size, PAGE_BYTES);
    if (!size || size > pm->limit - pm->allocated)
        return UINT64_MAX;
    u64 offset = pm->allocated;
    if (ftruncate(pm->fd, (off_t)(offset + size)) < 0)
        return UINT64_MAX;
    void *at = mmap(pm->fast.base + offset, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                    pm->fd, (off_t)offset);
    if (at == MAP_FAILED)
        return UINT64_MAX;
    pm->allocated += size;
    return offset;
}

u8 *physmem_host(struct physmem *pm, u64 offset)
{
    return pm->fast.base + offset;
}

int physmem_fd(const struct physmem *pm)
{
    return pm->fd;
}

u64 physmem_allocated(const struct physmem *pm)
{
    return pm->allocated;
}

/* ---- the map ---- */

static u64 region_entry(const struct phys_region *r, u64 pa)
{
    if (r->kind == PHYS_MMIO)
        return (u64)(uintptr_t)r | PHYS_MMIO;
    return (r->offset + (pa - r->pa)) | r->kind;
}

/* Lays the part of `r` that lies in from..to-1 over `entries`, the first of which is that of
 * `from`.
 */
static void paint(const struct phys_region *r, u64 from, u64 to, u64 *entries)
{
    u64 first = r->pa > from ? r->pa : from;
    u64 end = r->pa + r->size < to ? r->pa + r->size : to;
    for (u64 pa = first; pa < end; pa += PAGE_BYTES)
        entries[(pa - from) >> PAGE_SHIFT] = region_entry(r, pa);
}

static bool any_region(const struct physmem *pm, u64 from, u64 to)
{
    for (const struct phys_region *r = pm->regions; r; r = r->next) {
        if (r->pa < to && r->pa + r->size > from)
            return true;
    }
    return false;
}

/* The entries of from..to-1, which lie in one leaf. */
static void rebuild_in_leaf(struct physmem *pm, u64 from, u64 to, u64 *scratch)
{
    u64 index = from >> (LEAF_SHIFT + PAGE_SHIFT);
    u64 pages = (to - from) >> PAGE_SHIFT;
    u64 *leaf = pm->leaves[index];
    if (!leaf) {
        if (!any_region(pm, from, to))
            return;
        leaf = calloc(LEAF_PAGES, sizeof *leaf);
        if (!leaf)
            abort();
        __atomic_store_n(&pm->leaves[index], leaf, __ATOMIC_RELEASE);
    }
    leaf += (from >> PAGE_SHIFT) & (LEAF_PAGES - 1);
    memset(scratch, 0, pages * sizeof *scratch);
    for (const struct phys_region *r = pm->regions; r; r = r->next)
        paint(r, from, to, scratch);
    for (u64 i = 0; i < pages; i++) {
        if (leaf[i] != scratch[i])
            __atomic_store_n(&leaf[i], scratch[i], __ATOMIC_RELEASE);
    }
}

static void rebuild(struct physmem *pm, u64 pa, u64 size)
{
    u64 leaf_bytes = LEAF_PAGES << PAGE_SHIFT, end = pa + size;
    u64 most = size < leaf_bytes ? size : leaf_bytes;
    u64 *scratch = malloc((most >> PAGE_SHIFT) * sizeof *scratch);
    if (!scratch)
        abort();
    for (u64 from = pa, to; from < end; from = to) {
        to = (from & ~(leaf_bytes - 1)) + leaf_bytes;
        if (to > end)
            to = end;
        rebuild_in_leaf(pm, from, to, scratch);
    }
    free(scratch);
    __atomic_fetch_add(&pm->fast.changes, 1, __ATOMIC_RELEASE);
    for (struct phys_listener *l = pm->listeners; l; l = l->next) {
        if (l->remapped)
            l->remapped(l->opaque, pa, size);
    }
}

static struct phys_region *map_region(struct physmem *pm, const struct phys_region *want)
{
    u64 end = (u64)1 << PHYS_ADDR_BITS;
    if (!want->size || want->pa >= end || want->size > end - want->pa ||
        ((want->pa | want->size) & PAGE_OFFSET_MASK))
        return NULL;
    struct phys_region *r = aligned_alloc(16, align_up(sizeof *r, 16));
    if (!r)
        return NULL;
    *r = *want;
    struct phys_region **at = &pm->regions;
    while (*at && (*at)->priority <= r->priority)
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    rebuild(pm, r->pa, r->size);
    return r;
}

struct phys_region *physmem_map_ram(struct physmem *pm, u64 pa, u64 size, u64 offset, int priority,
                                    const char *name)
{
    return map_region(pm, &(struct phys_region){.pa = pa,
                                                .size = size,
                                                .offset = offset,
                                                .kind = PHYS_RAM,
                                                .priority = priority,
                                                .name = name});
}

struct phys_region *physmem_map_rom(struct physmem *pm, u64 pa, u64 size, u64 offset, int priority,
                                    const char *name)
{
    return map_region(pm, &(struct phys_region){.pa = pa,
                                                .size = size,
                                                .offset = offset,
                                                .kind = PHYS_ROM,
                                                .priority = priority,
                                                .name = name});
}

struct phys_region *physmem_map_mmio(struct physmem *pm, u64 pa, u64 size,
                                     const struct mmio_ops *ops, void *opaque, int priority)
{
    return map_region(pm, &(struct phys_region){.pa = pa,
                                                .size = size,
                                                .kind = PHYS_MMIO,
                                                .priority = priority,
                                                .ops = ops,
                                                .opaque = opaque,
                                                .name = ops->name});
}

void physmem_unmap(struct physmem *pm, struct phys_region *region)
{
    if (!region)
        return;
    struct phys_region **at = &pm->regions;
    while (*at != region)
        at = &(*at)->next;
    *at = region->next;
    rebuild(pm, region->pa, region->size);
    free(region);
}

static u64 entry_at(const struct physmem *pm, u64 pa)
{
    if (pa >> PHYS_ADDR_BITS)
        return PHYS_NONE;
    u64 page = pa >> PAGE_SHIFT;
    const u64 *leaf = __atomic_load_n(&pm->leaves[page >> LEAF_SHIFT], __ATOMIC_ACQUIRE);
    return leaf ? __atomic_load_n(&leaf[page & (LEAF_PAGES - 1)], __ATOMIC_ACQUIRE) : PHYS_NONE;
}

struct phys_page physmem_lookup(const struct physmem *pm, u64 pa)
{
    u64 e = entry_at(pm, pa);
    struct phys_page page = {.kind = (enum phys_kind)(e & KIND_MASK)};
    if (page.kind == PHYS_MMIO)
        page.region = (struct phys_region *)(uintptr_t)(e & ~(u64)KIND_MASK);
    else
        page.offset = e & ~(u64)KIND_MASK;
    return page;
}

/* ---- CPU access to what is not plain memory ---- */

/* Largest power-of-two piece at pa that is at most `size`, naturally aligned and at most `max`. */
static unsigned piece(u64 pa, unsigned size, unsigned max)
{
    unsigned n = max;
    while (n > size || (pa & (n - 1)))
        n >>= 1;
    return n;
}

static unsigned region_width(const struct phys_region *r)
{
    return r->ops->max_size ? r->ops->max_size : 4;
}

static bool trace_region(const struct physmem *pm, const struct phys_region *r)
{
    return log_on(pm->log, LOG_DEV) && log_device_on(pm->log, r->name);
}

static u64 read_piece(struct physmem *pm, u64 pa, unsigned size, unsigned *done)
{
    struct phys_page page = physmem_lookup(pm, pa);
    switch (page.kind) {
    case PHYS_RAM:
    case PHYS_ROM:
        *done = piece(pa, size, 8);
        return load_sized(pm->fast.base + page.offset + (pa & PAGE_OFFSET_MASK), *done);
    case PHYS_MMIO: {
        struct phys_region *r = page.region;
        *done = piece(pa, size, region_width(r));
        u64 v = r->ops->read(r->opaque, pa - r->pa, *done) & mask64(*done * 8);
        if (trace_region(pm, r))
            log_printf(pm->log, "%s: read %llx/%u -> %llx\n", r->name, (unsigned long long)pa,
                       *done, (unsigned long long)v);
        return v;
    }
    case PHYS_NONE: break;
    }
    *done = piece(pa, size, 8);
    return mask64(*done * 8);
}

u64 physmem_io_read(struct physmem *pm, u64 pa, unsigned size)
{
    u64 value = 0;
    for (unsigned at = 0, done = 0; at < size; at += done)
        value |= read_piece(pm, pa + at, size - at, &done) << (at * 8);
    return value;
}

static unsigned write_piece(struct physmem *pm, u64 pa, u64 value, unsigned size)
{
    struct phys_page page = physmem_lookup(pm, pa);
    unsigned n;
    switch (page.kind) {
    case PHYS_RAM:
        n = piece(pa, size, 8);
        page.offset += pa & PAGE_OFFSET_MASK;
        if (*physmem_marks(pm, page.offset))
            physmem_touch(pm, page.offset, n);
        store_sized(pm->fast.base + page.offset, value, n);
        return n;
    case PHYS_MMIO: {
        struct phys_region *r = page.region;
        n = piece(pa, size, region_width(r));
        value &= mask64(n * 8);
        if (trace_region(pm, r))
            log_printf(pm->log, "%s: write %llx/%u <- %llx\n", r->name, (unsigned long long)pa, n,
                       (unsigned long long)value);
        r->ops->write(r->opaque, pa - r->pa, value, n);
        return n;
    }
    case PHYS_ROM:
    case PHYS_NONE: break;
    }
    return piece(pa, size, 8);
}

void physmem_io_write(struct physmem *pm, u64 pa, u64 value, unsigned size)
{
    for (unsigned at = 0; at < size;)
        at += write_piece(pm, pa + at, value >> (at * 8), size - at);
}

/* ---- DMA ---- */

/* How much of pa..pa+size-1 lies in the page of pa. */
static u64 in_page(u64 pa, u64 size)
{
    u64 left = PAGE_BYTES - (pa & PAGE_OFFSET_MASK);
    return size < left ? size : left;
}

bool physmem_read(struct physmem *pm, u64 pa, void *to, u64 size)
{
    bool all = true;
    for (u64 n; size; pa += n, to = (u8 *)to + n, size -= n) {
        n = in_page(pa, size);
        struct phys_page page = physmem_lookup(pm, pa);
        if (page.kind == PHYS_RAM || page.kind == PHYS_ROM) {
            memcpy(to, pm->fast.base + page.offset + (pa & PAGE_OFFSET_MASK), n);
        } else {
            memset(to, 0xff, n);
            all = false;
        }
    }
    return all;
}

void physmem_peek(struct physmem *pm, u64 pa, void *to, u64 size)
{
    u8 *out = to;
    for (u64 n; size; pa += n, out += n, size -= n) {
        n = in_page(pa, size);
        struct phys_page page = physmem_lookup(pm, pa);
        if (page.kind != PHYS_MMIO || !page.region->ops->peek) {
            physmem_read(pm, pa, out, n);
            continue;
        }
        const struct phys_region *r = page.region;
        for (u64 i = 0; i < n; i++)
            out[i] = r->ops->peek(r->opaque, pa + i - r->pa);
    }
}

static bool write_pages(struct physmem *pm, u64 pa, const void *from, u64 size, bool rom)
{
    bool all = true;
    for (u64 n; size; pa += n, from = (const u8 *)from + n, size -= n) {
        n = in_page(pa, size);
        struct phys_page page = physmem_lookup(pm, pa);
        if (page.kind == PHYS_RAM || (rom && page.kind == PHYS_ROM)) {
            u64 offset = page.offset + (pa & PAGE_OFFSET_MASK);
            if (*physmem_marks(pm, offset))
                physmem_touch(pm, offset, (u32)n);
            memcpy(pm->fast.base + offset, from, n);
        } else {
            all = false;
        }
    }
    return all;
}

bool physmem_write(struct physmem *pm, u64 pa, const void *from, u64 size)
{
    __atomic_fetch_add(&pm->fast.writes_begun, 1, __ATOMIC_SEQ_CST);
    bool all = write_pages(pm, pa, from, size, false);
    __atomic_fetch_add(&pm->fast.writes_ended, 1, __ATOMIC_SEQ_CST);
    return all;
}

bool physmem_write_rom(struct physmem *pm, u64 pa, const void *from, u64 size)
{
    return write_pages(pm, pa, from, size, true);
}

static bool dma_page(const struct physmem *pm, u64 pa, bool for_write, u64 *offset)
{
    struct phys_page page = physmem_lookup(pm, pa);
    *offset = page.offset + (pa & PAGE_OFFSET_MASK);
    return page.kind == PHYS_RAM || (page.kind == PHYS_ROM && !for_write);
}

u8 *physmem_dma_map(struct physmem *pm, u64 pa, u64 want, u64 *run, bool for_write)
{
    u64 first, next;
    if (!want || !dma_page(pm, pa, for_write, &first))
        return NULL;
    u64 got = in_page(pa, want);
    while (got < want && dma_page(pm, pa + got, for_write, &next) && next == first + got)
        got += in_page(pa + got, want - got);
    *run = got;
    if (for_write)
        physmem_touch_range(pm, first, got);
    return pm->fast.base + first;
}

/* ---- marks ---- */

static void tell_protected(struct physmem *pm, u64 offset)
{
    for (struct phys_listener *l = pm->listeners; l; l = l->next) {
        if (l->write_protected)
            l->write_protected(l->opaque, offset & ~PAGE_OFFSET_MASK);
    }
}

void physmem_mark(struct physmem *pm, u64 offset, u8 marks)
{
    u8 before = __atomic_fetch_or(physmem_marks(pm, offset), marks, __ATOMIC_SEQ_CST);
    if (~before & marks)
        tell_protected(pm, offset);
}

void physmem_unmark(struct physmem *pm, u64 offset, u8 marks)
{
    __atomic_fetch_and(physmem_marks(pm, offset), (u8)~marks, __ATOMIC_SEQ_CST);
}

/* Marks and count change together, so that a release and another cache's hold cannot cross. A count
 * that has reached its maximum stays: the page is then a code page for good. */
static void change_holders(struct physmem *pm, u64 offset, int by)
{
    u8 *at = physmem_marks(pm, offset), before = __atomic_load_n(at, __ATOMIC_RELAXED), after;
    do {
        int holders = before >> PAGE_HOLDERS_SHIFT;
        if (holders < PAGE_HOLDERS_MAX)
            holders += by;
        u8 marks = before & (PAGE_CLEAN_VGA | PAGE_CLEAN_LOG);
        after = (u8)(marks | (holders ? PAGE_CODE : 0) | holders << PAGE_HOLDERS_SHIFT);
    } while (!__atomic_compare_exchange_n(at, &before, after, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    if (by > 0)
        tell_protected(pm, offset);
}

void physmem_hold_code(struct physmem *pm, u64 offset)
{
    change_holders(pm, offset, 1);
}

void physmem_release_code(struct physmem *pm, u64 offset)
{
    change_holders(pm, offset, -1);
}

void physmem_touch(struct physmem *pm, u64 offset, u32 size)
{
    u8 marks = *physmem_marks(pm, offset);
    if (marks & PAGE_CODE) {
        for (struct phys_listener *l = pm->listeners; l; l = l->next) {
            if (l->code_written)
                l->code_written(l->opaque, offset, size);
        }
    }
    if (marks & (PAGE_CLEAN_VGA | PAGE_CLEAN_LOG))
        physmem_unmark(pm, offset, PAGE_CLEAN_VGA | PAGE_CLEAN_LOG);
}

void physmem_touch_range(struct physmem *pm, u64 offset, u64 size)
{
    for (u64 n; size; offset += n, size -= n) {
        n = in_page(offset, size);
        if (*physmem_marks(pm, offset))
            physmem_touch(pm, offset, (u32)n);
    }
}

void physmem_listen(struct physmem *pm, struct phys_listener *listener)
{
    listener->next = pm->listeners;
    pm->listeners = listener;
}

void physmem_unlisten(struct physmem *pm, struct phys_listener *listener)
{
    struct phys_listener **at = &pm->listeners;
    while (*at && *at != listener)
        at = &(*at)->next;
    if (*at)
        *at = listener->next;
}

/* ---- for the monitor ---- */

static const char *name_at(const struct physmem *pm, u64 pa, enum phys_kind kind)
{
    const char *name = NULL;
    for (const struct phys_region *r = pm->regions; r; r = r->next) {
        if (r->kind == kind && pa - r->pa < r->size)
            name = r->name;
    }
    return name;
}

void physmem_each_run(struct physmem *pm,
                      void (*each)(void *opaque, u64 pa, u64 size, enum phys_kind kind,
                                   const char *name),
                      void *opaque)
{
    u64 start = 0, end = (u64)1 << PHYS_ADDR_BITS;
    struct phys_page run = physmem_lookup(pm, 0);
    for (u64 pa = PAGE_BYTES; pa <= end; pa += PAGE_BYTES) {
        struct phys_page page = pa < end ? physmem_lookup(pm, pa) : (struct phys_page){0};
        bool memory = run.kind == PHYS_RAM || run.kind == PHYS_ROM;
        bool same = pa < end && page.kind == run.kind &&
                    (memory ? page.offset == run.offset + (pa - start) : page.region == run.region);
        /* Empty leaves are stepped over whole. */
        if (same && run.kind == PHYS_NONE && !(pa & ((LEAF_PAGES << PAGE_SHIFT) - 1)) &&
            !pm->leaves[pa >> (PAGE_SHIFT + LEAF_SHIFT)]) {
            pa += (LEAF_PAGES << PAGE_SHIFT) - PAGE_BYTES;
            continue;
        }
        if (same)
            continue;
        if (run.kind != PHYS_NONE)
            each(opaque, start, pa - start, run.kind, name_at(pm, start, run.kind));
        start = pa;
        run = page;
    }
}
