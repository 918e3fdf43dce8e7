/* SPDX-License-Identifier: MIT
 *
 * A disk cut into blocks of one size, each of which lies somewhere in a file: what VDI images and
 * the sparse extents of VMDK have in common. A table holds one 32-bit number for each block; what
 * these mean is the format's.
 *
 * Crash safety. New blocks are taken at the end only, and none is ever moved or freed: zeroing
 * one punches a hole into it. The table is changed in memory, a page of it at a time, and reaches
 * the file in blockmap_commit() (a flush), in this order:
 *
 *   1. the blocks' bytes (written as they came), and what the format wants stable before entries
 *   2. a flush of the file
 *   3. entries, and a flush
 *
 * So whatever an entry in the file refers to is complete, and a crash leaves at most blocks that
 * nothing refers to.
 *
 * Locks, in the order in which they are taken:
 *
 *   grow    one write to a new block at a time, with its data
 *   commit  one commit at a time
 *   lock    the table in memory; never held while guest data are read or written
 */
#ifndef ANELLO_STORAGE_BLOCKMAP_H
#define ANELLO_STORAGE_BLOCKMAP_H

#include <pthread.h>

#include "storage/format.h"

#define BLOCKMAP_PAGE_ENTRIES 128u /* 512 bytes: what a disk writes whole or not at all */
#define BLOCKMAP_PAGE_BYTES   (4 * BLOCKMAP_PAGE_ENTRIES)
#define BLOCKMAP_COPIES       2

enum block_type {
    BLOCK_BELOW, /* not here: zeros, or what the backing image has */
    BLOCK_ZERO,
    BLOCK_DATA,
    BLOCK_BAD /* an entry that cannot be right */
};

struct blockmap;

/* What the formats do differently. */
struct blockmap_format {
    enum block_type (*decode)(const struct blockmap *m, u32 entry, u64 *host);
    u32 (*encode)(const struct blockmap *m, u64 host);
    /* File offsets of the copies of a page, the one that counts first; how many there are (0: the
     * page does not exist yet). Lock held. */
    unsigned (*places)(const struct blockmap *m, u64 page, u64 places[BLOCKMAP_COPIES]);
    /* Makes a page that does not exist; `grow` held. NULL: all exist. */
    int (*make_page)(struct blockmap *m, u64 page);
    /* Writes what must be stable before entries (step 1), and what goes with them (step 3). Either
     * may be NULL. */
    int (*write_early)(struct blockmap *m);
    int (*write_late)(struct blockmap *m);
};

struct blockmap_page {
    u32 entry[BLOCKMAP_PAGE_ENTRIES];
    bool dirty;
};

struct blockmap {
    const struct blockmap_format *format;
    struct image *image; /* for what lies below it */
    struct file *file;
    void *opaque; /* the format's */
    u64 base;     /* of its first byte in the image */
    u64 bytes;    /* that it covers */
    u64 block_bytes;
    u64 blocks;
    u64 stored_bytes;             /* that a block takes in the file, at least */
    u32 fill;                     /* entries of pages that do not exist */
    u32 zero_entry;               /* marks a block as zeros */
    bool has_zero_entry;          /* the format has such a mark */
    u64 limit;                    /* that no new block may reach beyond */
    u64 next;                     /* file offset of the next new block; changes under both locks */
    u64 high_water;               /* file offset from which on nothing was ever written */
    struct blockmap_page **pages; /* NULL: not loaded */
    u64 page_count, dirty_pages;
    pthread_mutex_t grow, commit, lock;
};

/* The caller has filled in the fields up to `has_zero_entry`. 0 or -errno. */
int blockmap_init(struct blockmap *m);
void blockmap_destroy(struct blockmap *m);

/* Offsets are within the map. 0 or -errno. */
int blockmap_read(struct blockmap *m, u64 offset, void *data, u64 bytes);
int blockmap_write(struct blockmap *m, u64 offset, const void *data, u64 bytes);
int blockmap_zero(struct blockmap *m, u64 offset, u64 bytes);
int blockmap_extent(struct blockmap *m, u64 offset, u64 bytes, struct image_extent *extent);
int blockmap_commit(struct blockmap *m);

/* What a block is and where; -EIO for one that is bad. */
struct block_place {
    enum block_type type;
    u64 host;
};
int blockmap_find(struct blockmap *m, u64 block, struct block_place *place);
/* With `grow` held; makes the page when it does not exist. */
int blockmap_set(struct blockmap *m, u64 block, u32 entry);
/* The place of the block that lies farthest; *any: there is one. */
int blockmap_farthest(struct blockmap *m, u64 *host, bool *any);

/* Checks every entry: its type, that it lies within the file, that no two share bytes. */
int blockmap_check(struct blockmap *m, struct image_check *result);

#endif
