/* SPDX-License-Identifier: MIT
 *
 * Inside of the qcow2 format, version 2 and 3.
 *
 * The guest's disk is cut into clusters. A two-level table (L1, L2) says where in the file each
 * cluster lies, or that it is zeros, or compressed, or to be read from the backing image. Another
 * two-level table (refcount table, refcount blocks) counts how often each cluster of the file is
 * used: 0 free, 1 owned, more than 1 shared with internal snapshots.
 *
 *   qcow2_header.c    the header and its extensions
 *   qcow2_guard.c     what each cluster of the file is; refuses writes that would destroy
 *   qcow2_refcount.c  reference counts, allocation, freeing
 *   qcow2_map.c       L1 and L2: from guest offsets to file offsets
 *   qcow2_io.c        reading, writing, zeroing, discarding
 *   qcow2_commit.c    the order in which metadata become stable
 *   qcow2_compress.c  compressed clusters
 *   qcow2_snapshot.c  internal snapshots
 *   qcow2_check.c     proof that the counts are right, and repair
 *   qcow2_create.c    new images, and their size
 *   qcow2.c           opening, closing, and the table of operations
 *
 * Crash safety. Tables are changed in memory only, and reach the file in qcow2_commit() (a flush),
 * in this order, with a flush of the file between the steps:
 *
 *   1. data (written as they came), reference counts that grew, new L2 tables
 *   2. L1 and L2 entries that refer to them
 *   3. in memory: reference counts that shrink; they are written by the next commit
 *
 * So at any moment whatever the tables in the file refer to is complete and counted, and a
 * cluster is used again only after nothing in the file refers to it. A crash leaves at most counts
 * that are too high: leaks.
 *
 * Locks, in the order in which they are taken:
 *
 *   io      held shared while an operation uses file offsets it has looked up; held exclusively
 *           for a moment before freed clusters may be used again
 *   commit  one commit at a time
 *   lock    all tables in memory; never held while guest data are read or written
 */
#ifndef ANELLO_STORAGE_QCOW2_H
#define ANELLO_STORAGE_QCOW2_H

#include <pthread.h>

#include "storage/bytes.h"
#include "storage/format.h"

#define QCOW2_MAGIC            0x514649fbu
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1_BYTES     MIB(32)
#define QCOW2_MAX_REFTABLE     MIB(8)
#define QCOW2_MAX_SNAPSHOTS    65536
#define QCOW2_SNAPSHOT_EXTRA   16 /* bytes that an entry has in version 3: VM state, disk size */
#define QCOW2_HINTS            16
#define QCOW2_MAX_BACKING_NAME 1023
#define QCOW2_V2_HEADER_BYTES  72
#define QCOW2_V3_HEADER_BYTES  104

enum qcow2_incompatible {
    QCOW2_DIRTY = 1 << 0,   /* counts may be wrong: check before use */
    QCOW2_CORRUPT = 1 << 1, /* something was overwritten: do not write */
    QCOW2_DATA_FILE = 1 << 2,
    QCOW2_COMPRESSION = 1 << 3, /* not zlib */
    QCOW2_EXTENDED_L2 = 1 << 4,
};
#define QCOW2_KNOWN_INCOMPATIBLE (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION)
#define QCOW2_LAZY_REFCOUNTS     (1u << 0) /* compatible feature */

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* L1 and L2 entries. */
#define QCOW2_COPIED     ((u64)1 << 63) /* the count is exactly 1: write in place */
#define QCOW2_COMPRESSED ((u64)1 << 62)
#define QCOW2_ZERO       ((u64)1 << 0)
#define QCOW2_OFFSET     UINT64_C(0x00fffffffffffe00)

/* Byte offsets of header fields that are written one by one. */
enum qcow2_header_field {
    QCOW2_H_SIZE = 24,
    QCOW2_H_L1_SIZE = 36, /* with the offset after it */
    QCOW2_H_REFTABLE = 48,
    QCOW2_H_SNAPSHOTS = 60,
    QCOW2_H_INCOMPATIBLE = 72,
    QCOW2_H_AUTOCLEAR = 88,
};

struct qcow2_header {
    u32 version, cluster_bits, refcount_order, header_bytes;
    u64 size;
    u64 l1_offset;
    u32 l1_size;
    u64 reftable_offset;
    u32 reftable_clusters;
    u64 snapshots_offset;
    u32 snapshot_count;
    u64 incompatible, compatible, autoclear;
    u8 compression;
    char backing_path[QCOW2_MAX_BACKING_NAME + 1]; /* empty: none */
    char backing_format[16];                       /* empty: not said */
    u8 other[512]; /* extensions that are not known here, kept as they are */
    u32 other_bytes;
    bool other_lost; /* they did not fit: the header cannot be written anew */
};

/* What a cluster of the file is. */
enum qcow2_kind {
    KIND_DATA, /* guest data, or free */
    KIND_HEADER,
    KIND_REFTABLE,
    KIND_REFBLOCK,
    KIND_L1,
    KIND_L2,
    KIND_SNAPSHOTS, /* the snapshot table, and the tables of snapshots */
};

/* A table in memory, with the part of it that the file does not have yet. */
struct qcow2_table {
    u64 offset; /* in the file */
    u8 *bytes;  /* a cluster; big-endian */
    u32 dirty_from, dirty_to;
    bool fresh;      /* nothing in the file refers to it yet */
    bool committing; /* a commit is writing a copy of it */
    u64 used;        /* for finding the one that was not used for longest */
};

struct qcow2_run {
    u64 first, count;
    enum qcow2_kind kind;
    struct qcow2_run *next;
};

struct qcow2 {
    struct image *image;
    struct file *file;
    struct qcow2_header header;
    u32 cluster_bits, l2_bits; /* l2_bits: log2 of entries in an L2 table */
    u64 cluster_size;
    u32 refcount_bits;
    u64 refblock_entries;

    pthread_rwlock_t io;
    pthread_mutex_t commit_lock, lock;
    pthread_cond_t settled; /* an allocation in flight ended */

    u8 *l1;                  /* header.l1_size entries, big-endian */
    u64 *l1_dirty;           /* a bit for each 512 bytes */
    struct qcow2_table **l2; /* by L1 index; NULL: not loaded */
    u32 l2_loaded, l2_dirty;
    u64 use_counter;

    u64 *reftable; /* offsets of refcount blocks, host order; may be longer than in the file */
    u64 reftable_entries;
    u64 reftable_file_entries;
    u64 reftable_dirty_from, reftable_dirty_to; /* entries */
    struct qcow2_table **refblocks;             /* by index; NULL: not loaded */
    bool refcounts_dirty;                       /* one of them may be */
    u64 free_hints[QCOW2_HINTS]; /* no run of 1 << n free clusters begins below the n-th */
    u64 high_water;              /* file offset from which on nothing was ever written */

    u8 **guard; /* kinds of clusters, in pages */
    u64 guard_pages;

    u64 commits_asked; /* flushes so far */
    u64 commits_done;  /* as many of them as the file has; commit_lock */

    bool damaged;   /* tables were found broken on opening: read only */
    bool abandoned; /* a change of tables failed half-way: nothing more is written */

    struct qcow2_run *allocating;       /* guest clusters with an allocation in flight */
    struct qcow2_run *freed;            /* file clusters to release after the next commit */
    u64 compressed_at, compressed_left; /* where the next compressed cluster may go */

    pthread_mutex_t inflate_lock;
    u64 inflated_entry; /* L2 entry of the compressed cluster in `inflated`; 0: none */
    u8 *inflated;
};

static inline struct qcow2 *qcow2_of(const struct image *image)
{
    return image->state;
}

static inline bool qcow2_has_backing(const struct qcow2 *q)
{
    return q->image->backing != NULL;
}

static inline u64 qcow2_l2_entries(const struct qcow2 *q)
{
    return (u64)1 << q->l2_bits;
}

/* ---- qcow2_header.c ---- */

/* 0 or -errno with a message. `head` holds the file's first bytes, as many as the largest cluster
 * has. */
int qcow2_header_parse(struct qcow2_header *h, const u8 *head, u64 file_bytes, const char *path,
                       char *error, size_t n);
/* Lays the header out in `to` (one cluster, zeroed); -E2BIG when it does not fit. */
int qcow2_header_build(const struct qcow2_header *h, u8 *to, u64 cluster_size);
/* Writes one 4- or 8-byte field, or several that lie next to each other. */
int qcow2_header_write(struct qcow2 *q, enum qcow2_header_field field, const void *bytes, u32 n);
int qcow2_set_incompatible(struct qcow2 *q, u64 set, u64 clear);

/* ---- qcow2_guard.c ---- */

enum qcow2_kind qcow2_kind_of(const struct qcow2 *q, u64 cluster);
/* False: out of memory. */
bool qcow2_set_kind(struct qcow2 *q, u64 offset, u64 bytes, enum qcow2_kind kind);
/* The same for what a file that is being opened says: where something of another kind lies already
 * the image is damaged. */
bool qcow2_claim(struct qcow2 *q, u64 offset, u64 bytes, enum qcow2_kind kind);
/* Writes to the file, if all of the range is of that kind and, for data, in use. Otherwise the
 * image is marked corrupt and -EIO returned. Lock not held. */
int qcow2_guarded_write(struct qcow2 *q, enum qcow2_kind kind, u64 offset, const void *data,
                        u64 bytes);
/* The same, of guest data. */
int qcow2_write_data(struct qcow2 *q, u64 offset, struct io_vector data, u64 bytes);
bool qcow2_unwritable(const struct qcow2 *q);
/* Says that the image is corrupt and refuses all further writes; -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *what);

/* ---- qcow2_refcount.c: lock held ---- */

int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *count);
int qcow2_refcount_add(struct qcow2 *q, u64 cluster, i64 delta);
/* What an image holds as a count may be further from the right one than an i64 can say. */
int qcow2_refcount_set(struct qcow2 *q, u64 cluster, u64 count);
u64 qcow2_refcount_max(const struct qcow2 *q);
/* Takes `count` clusters in a row, free until now. */
int qcow2_alloc(struct qcow2 *q, u64 count, u64 *offset);
/* Room for one compressed cluster of `bytes` (at most a cluster): counts are raised. */
int qcow2_alloc_bytes(struct qcow2 *q, u64 bytes, u64 *offset);
/* Gives back what nothing in the file refers to. */
void qcow2_free_now(struct qcow2 *q, u64 offset, u64 count);
/* Gives back after the next commit, unless one of them turns out to be of another kind. */
void qcow2_free_later(struct qcow2 *q, enum qcow2_kind kind, u64 offset, u64 count);
/* The clusters that an L2 entry refers to; count 0 where there are none. */
struct qcow2_run qcow2_data_of(const struct qcow2 *q, u64 entry);
/* As qcow2_free_later, for what an L2 entry refers to. */
void qcow2_free_entry(struct qcow2 *q, u64 entry);
int qcow2_refcounts_open(struct qcow2 *q, char *error, size_t n);
void qcow2_refcounts_close(struct qcow2 *q);
u64 qcow2_count_in_block(const struct qcow2 *q, const u8 *block, u64 index);
void qcow2_put_in_block(const struct qcow2 *q, u8 *block, u64 index, u64 count);

/* ---- qcow2_map.c: lock held ---- */

enum qcow2_type { MAP_BACKING, MAP_ZERO, MAP_DATA, MAP_COMPRESSED };

/* A run of guest bytes that are stored alike. */
struct qcow2_extent {
    enum qcow2_type type;
    u64 bytes;
    u64 host;      /* DATA: file offset, contiguous over the run */
    u64 entry;     /* of its first cluster */
    bool in_place; /* DATA: owned, may be overwritten */
};

int qcow2_map(struct qcow2 *q, u64 offset, u64 bytes, struct qcow2_extent *extent);
/* Sets the entries of `count` guest clusters (within one L2 table): each to `entry`, with `stride`
 * added for each. What they referred to is freed later. */
int qcow2_link(struct qcow2 *q, u64 cluster, u64 count, u64 entry, u64 stride);
u64 qcow2_l1_entry(const struct qcow2 *q, u64 index);
void qcow2_set_l1(struct qcow2 *q, u64 index, u64 entry);
/* The L2 table of an L1 index, loaded; NULL in *table where there is none. */
int qcow2_l2_load(struct qcow2 *q, u64 index, struct qcow2_table **table);
void qcow2_table_touch(struct qcow2 *q, struct qcow2_table *t, u32 from, u32 to);
struct qcow2_table *qcow2_table_new(const struct qcow2 *q, u64 offset);
void qcow2_table_free(struct qcow2_table *t);
int qcow2_map_open(struct qcow2 *q, char *error, size_t n);
void qcow2_map_close(struct qcow2 *q);
/* The type of one L2 entry. */
enum qcow2_type qcow2_entry_type(const struct qcow2 *q, u64 entry);

/* ---- qcow2_io.c ---- */

int qcow2_read(struct image *image, u64 offset, void *data, u64 bytes);
int qcow2_write(struct image *image, u64 offset, const void *data, u64 bytes);
int qcow2_read_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes);
int qcow2_write_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes);
int qcow2_zero(struct image *image, u64 offset, u64 bytes);
int qcow2_discard(struct image *image, u64 offset, u64 bytes);
int qcow2_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent);

/* ---- qcow2_commit.c ---- */

int qcow2_commit(struct qcow2 *q);
/* True when so much waits in memory that a commit is due. */
bool qcow2_commit_due(const struct qcow2 *q);

/* ---- qcow2_compress.c ---- */

struct qcow2_packed {
    u64 host;  /* file offset, any byte */
    u64 bytes; /* at most; the stream says where it ends */
};
struct qcow2_packed qcow2_packed_of(const struct qcow2 *q, u64 entry);
int qcow2_read_compressed(struct qcow2 *q, u64 entry, u64 at, void *data, u64 bytes);
int qcow2_write_compressed(struct image *image, u64 offset, const void *data, u64 bytes);

/* ---- qcow2_snapshot.c ---- */

int qcow2_snapshot_list(struct image *image, struct image_snapshot **list, u32 *count);
int qcow2_snapshot_create(struct image *image, const char *name, char *error, size_t n);
int qcow2_snapshot_apply(struct image *image, const char *name, char *error, size_t n);
int qcow2_snapshot_delete(struct image *image, const char *name, char *error, size_t n);
int qcow2_snapshot_show(struct image *image, const char *name, char *error, size_t n);

/* The snapshot table as it is in the file. */
struct qcow2_snapshot {
    u64 l1_offset;
    u32 l1_size;
    char *id, *name;
    u32 seconds, nanoseconds;
    u64 vm_clock, vm_state, disk_size;
    u8 *more; /* extra data beyond what this program knows */
    u32 more_bytes;
};
int qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshot **list, u64 *table_bytes);
void qcow2_snapshots_free(struct qcow2_snapshot *list, u32 count);

/* ---- qcow2_check.c, qcow2_create.c ---- */

int qcow2_check(struct image *image, unsigned repair, struct image_check *result);
int qcow2_create(const char *path, const struct image_create *options, char *error, size_t n);
int qcow2_resize(struct image *image, u64 bytes, char *error, size_t n);
int qcow2_preallocate(struct image *image, u64 from, const char *mode);
int qcow2_rebase(struct image *image, const char *backing, const char *format, char *error,
                 size_t n);
void qcow2_info(struct image *image, struct image_info *info);
/* Forgets all guest data of this image, so that its backing image shows through. */
int qcow2_empty(struct image *image);
/* Sets the flag "owned" of all active entries to what the counts say, in memory; how many were
 * wrong in *wrong. */
int qcow2_fix_copied(struct qcow2 *q, bool repair, u64 *wrong);
/* Drops the L2 tables in memory, all of which the file must have. */
void qcow2_map_forget(struct qcow2 *q);
/* An L1 table of at least `entries`; the header in the file follows at once. */
int qcow2_grow_l1(struct qcow2 *q, u64 entries);
/* Of an image that is read-only: looks up in this L1 table, which it frees, from now on. */
int qcow2_map_show(struct qcow2 *q, u8 *l1, u64 entries);
/* The guards of everything that snapshots use. */
int qcow2_snapshots_open(struct qcow2 *q, char *error, size_t n);

#endif
