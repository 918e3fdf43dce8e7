/* SPDX-License-Identifier: MIT
 *
 * The guest-physical address space: RAM, ROM and MMIO in 4 KiB pages.
 *
 * All memory that can be mapped (RAM, ROM, video memory) is one memfd, so that translator windows
 * can map any page of it. A byte of it is named by its *offset*; physmem->base + offset is its
 * host address. Regions map ranges of guest-physical addresses (pa) to offsets or to callbacks.
 * Regions have priorities: the highest one at a page is seen (an MMIO hole over RAM, a shadowed
 * BIOS over ROM).
 *
 * Page marks (one byte a page of the memfd) tell who must hear of a write: PAGE_CODE when decoded
 * or translated code was made from the page, PAGE_CLEAN_VGA and PAGE_CLEAN_LOG when a dirty log is
 * waiting for the first write. A CPU may write a page directly only while its mark is 0; otherwise
 * it calls physmem_touch() first.
 *
 * Locking: mapping changes need the board lock and reach other CPUs by the listeners. Reads and
 * writes of memory need no lock.
 */
#ifndef ANELLO_BUS_PHYSMEM_H
#define ANELLO_BUS_PHYSMEM_H

#include "base/bits.h"
#include "base/log.h"

#define PHYS_ADDR_BITS 40 /* what CPUID reports and the map can hold */

enum page_mark {
    PAGE_CODE = 1 << 0,      /* code caches hold something made from this page */
    PAGE_CLEAN_VGA = 1 << 1, /* the display wants to hear of the next write */
    PAGE_CLEAN_LOG = 1 << 2, /* the snapshot/migration log wants to hear of the next write */
};
#define PAGE_HOLDERS_SHIFT 3 /* above the marks: how many code caches hold PAGE_CODE */
#define PAGE_HOLDERS_MAX   31

enum phys_kind {
    PHYS_NONE, /* nothing there: reads as ones, writes vanish */
    PHYS_RAM,
    PHYS_ROM, /* reads memory, writes vanish */
    PHYS_MMIO,
};

struct mmio_ops {
    const char *name;
    /* `offset` from the start of the region; size 1, 2, 4 or 8, never wider than max_size and
     * never crossing a multiple of it: the caller splits. Board lock held. */
    u64 (*read)(void *opaque, u64 offset, unsigned size);
    void (*write)(void *opaque, u64 offset, u64 value, unsigned size);
    unsigned max_size; /* 0 means 4 */
    /* A byte as a read would show it, without its side effects: for the monitor. May be NULL. */
    u8 (*peek)(void *opaque, u64 offset);
};

struct phys_region;
struct physmem;

/* What a page of the physical map is. */
struct phys_page {
    enum phys_kind kind;
    u64 offset;                 /* RAM, ROM: offset of the page in the memfd */
    struct phys_region *region; /* MMIO, and for names */
};

/* Something that must hear of changes; each callback may be NULL. `remapped` comes with the board
 * lock held, from any thread; the others from whichever thread writes or marks, lock or not. */
struct phys_listener {
    /* The meaning of pa..pa+size-1 changed: forget cached translations. */
    void (*remapped)(void *opaque, u64 pa, u64 size);
    /* offset..offset+size-1 (within one page, marked PAGE_CODE) is about to be written. */
    void (*code_written)(void *opaque, u64 offset, u32 size);
    /* The page at `offset` got its first mark: drop cached permission to write it directly. */
    void (*write_protected)(void *opaque, u64 offset);
    void *opaque;
    struct phys_listener *next;
};

/* `limit`: most bytes of memory that will ever be allocated (address space is reserved, not
 * memory). NULL with errno set when the host refuses. */
struct physmem *physmem_create(u64 limit, struct log *log);
void physmem_destroy(struct physmem *pm);

/* Takes `size` bytes (rounded up to pages, zeroed) of the memfd; returns their offset, or
 * UINT64_MAX when the limit or the host says no. */
u64 physmem_alloc(struct physmem *pm, u64 size, const char *name);
u8 *physmem_host(struct physmem *pm, u64 offset);
int physmem_fd(const struct physmem *pm);
/* Bytes allocated so far: valid offsets are below this. */
u64 physmem_allocated(const struct physmem *pm);

/* Map regions. pa and size are page multiples below 2^PHYS_ADDR_BITS. `priority`: 0 RAM, higher
 * covers lower, equal: the later one covers. */
struct phys_region *physmem_map_ram(struct physmem *pm, u64 pa, u64 size, u64 offset, int priority,
                                    const char *name);
struct phys_region *physmem_map_rom(struct physmem *pm, u64 pa, u64 size, u64 offset, int priority,
                                    const char *name);
struct phys_region *physmem_map_mmio(struct physmem *pm, u64 pa, u64 size,
                                     const struct mmio_ops *ops, void *opaque, int priority);
void physmem_unmap(struct physmem *pm, struct phys_region *region);

/* The page at pa. Never fails: kind is PHYS_NONE where nothing is. Lock-free. */
struct phys_page physmem_lookup(const struct physmem *pm, u64 pa);

/* Access by a CPU that found MMIO or NONE (or did not look). Any size 1..8, any alignment; takes
 * what is there byte by byte across regions. Board lock held. */
u64 physmem_io_read(struct physmem *pm, u64 pa, unsigned size);
void physmem_io_write(struct physmem *pm, u64 pa, u64 value, unsigned size);

/* DMA and debugger access: memory only. Bytes that are not RAM/ROM read as FFh, and writes to
 * anything but RAM vanish: a device's DMA never reaches registers. Marks are honoured. True when
 * all bytes were memory. */
bool physmem_read(struct physmem *pm, u64 pa, void *to, u64 size);
bool physmem_write(struct physmem *pm, u64 pa, const void *from, u64 size);
/* As physmem_write, but ROM is written too (firmware loading). */
bool physmem_write_rom(struct physmem *pm, u64 pa, const void *from, u64 size);
/* For monitors: memory, and registers that can be looked at without side effects; FFh elsewhere.
 * Board lock held. */
void physmem_peek(struct physmem *pm, u64 pa, void *to, u64 size);
/* Host address of pa and in *run how many bytes (at most `want`) follow contiguously; NULL when pa
 * is not memory. For writing, the range is touched. */
u8 *physmem_dma_map(struct physmem *pm, u64 pa, u64 want, u64 *run, bool for_write);

/* The marks of the page that holds `offset`. */
static inline u8 *physmem_marks(struct physmem *pm, u64 offset);
/* Sets mark bits on a page; listeners are told (write_protected) when it had none. A CPU that is
 * writing at that very moment may still complete a write or two unseen: who marks for a log must
 * look at the page once more after the CPUs had time to hear. */
void physmem_mark(struct physmem *pm, u64 offset, u8 marks);
/* About to write offset..offset+size-1 (inside one page): tells code listeners, clears CLEAN
 * marks. PAGE_CODE stays until its last holder releases it. */
void physmem_touch(struct physmem *pm, u64 offset, u32 size);
void physmem_unmark(struct physmem *pm, u64 offset, u8 marks);
/* A code cache holds something made from the page, from before it reads the code until it lets go:
 * PAGE_CODE is set while any cache holds the page. A cache takes a page once. */
void physmem_hold_code(struct physmem *pm, u64 offset);
void physmem_release_code(struct physmem *pm, u64 offset);
/* physmem_touch() for any range of the memfd. */
void physmem_touch_range(struct physmem *pm, u64 offset, u64 size);

void physmem_listen(struct physmem *pm, struct phys_listener *listener);
void physmem_unlisten(struct physmem *pm, struct phys_listener *listener);
/* Calls `each` for every visible run of pages, in address order (monitor: info mtree). */
void physmem_each_run(struct physmem *pm,
                      void (*each)(void *opaque, u64 pa, u64 size, enum phys_kind kind,
                                   const char *name),
                      void *opaque);

/* Emitted code and TLB fills need these two directly. */
struct physmem_fast {
    u8 *base;    /* host address of offset 0 */
    u8 *marks;   /* one byte a page of the memfd */
    u32 changes; /* of the map, counted: atomic */
    /* By physmem_write(), counted: atomic. Nothing was written since `ended` was read, if `begun`
     * is still the same. */
    u32 writes_begun, writes_ended;
};
static inline const struct physmem_fast *physmem_fast(const struct physmem *pm)
{
    return (const struct physmem_fast *)pm; /* its first member */
}
static inline u8 *physmem_marks(struct physmem *pm, u64 offset)
{
    return &physmem_fast(pm)->marks[offset >> PAGE_SHIFT];
}

#endif
