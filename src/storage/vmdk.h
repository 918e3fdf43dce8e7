/* SPDX-License-Identifier: MIT
 *
 * Inside of the VMDK format. A disk is a row of extents that a text, the descriptor, lists:
 *
 *   flat      the bytes themselves, in a file of their own
 *   sparse    header, grain directory, grain tables, grains: grows on demand. The directory and
 *             the tables are there twice
 *   stream    a sparse extent whose grains are compressed, each behind a marker with its address
 *             and size, in the order of the disk: for transport; can only be filled once
 *   zero      zeros
 *
 * The descriptor is a file beside those of the extents, or lies within the only extent, which is a
 * sparse one then. It also holds the content id (CID), a number that changes when the image is
 * first written to, by which a child knows that its parent is still what it was.
 *
 *   vmdk_descriptor.c  the text
 *   vmdk_sparse.c      sparse extents: header, directory, tables
 *   vmdk_stream.c      compressed grains
 *   vmdk_create.c      new images
 *   vmdk.c             opening, closing, and the row of extents
 *
 * Crash safety is that of storage/blockmap.h; the second copies of tables are made equal to the
 * first ones when an image that was not closed is opened for writing.
 *
 * The layout is told in VMware's "Virtual Disk Format 5.0". Not supported: the ESX formats (COWD,
 * SE sparse, raw devices), encryption.
 */
#ifndef ANELLO_STORAGE_VMDK_H
#define ANELLO_STORAGE_VMDK_H

#include "storage/blockmap.h"
#include "storage/bytes.h"

#define VMDK_SECTOR             512u
#define VMDK_MAGIC              0x564d444bu /* "KDMV" */
#define VMDK_HEADER_BYTES       512u
#define VMDK_TABLE_ENTRIES      512u
#define VMDK_TABLE_BYTES        (4 * VMDK_TABLE_ENTRIES)
#define VMDK_GRAIN_SECTORS      128u /* of new images */
#define VMDK_DESCRIPTOR_AT      1u   /* sectors; of new images */
#define VMDK_DESCRIPTOR_SECTORS 20u
#define VMDK_DESCRIPTOR_MAX     KIB(256)
#define VMDK_EXTENTS_MAX        4096u
#define VMDK_NAME_MAX           1024u
#define VMDK_NO_PARENT          0xffffffffu
#define VMDK_ID_DIGITS          8u
#define VMDK_AT_END             UINT64_MAX /* the directory's place is told by the footer */

enum vmdk_flags {
    VMDK_NEWLINE_TEST = 1 << 0,
    VMDK_REDUNDANT = 1 << 1,
    VMDK_ZEROED_GRAINS = 1 << 2,
    VMDK_COMPRESSED = 1 << 16,
    VMDK_MARKERS = 1 << 17,
};

/* Byte offsets in the header of a sparse extent. */
enum vmdk_field {
    VMDK_H_MAGIC = 0,
    VMDK_H_VERSION = 4,
    VMDK_H_FLAGS = 8,
    VMDK_H_CAPACITY = 12, /* 64 bits, as all that follow but for the entries: sectors */
    VMDK_H_GRAIN = 20,
    VMDK_H_DESCRIPTOR = 28,
    VMDK_H_DESCRIPTOR_SIZE = 36,
    VMDK_H_TABLE_ENTRIES = 44,
    VMDK_H_REDUNDANT_DIRECTORY = 48,
    VMDK_H_DIRECTORY = 56,
    VMDK_H_OVERHEAD = 64,
    VMDK_H_UNCLEAN = 72, /* a byte */
    VMDK_H_NEWLINES = 73,
    VMDK_H_COMPRESSION = 77,
};

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_STREAM, VMDK_ZERO };

/* A line of the descriptor. */
struct vmdk_line {
    enum vmdk_kind kind; /* SPARSE also for a stream: the extent's header tells */
    bool writable;
    u64 bytes, offset; /* offset: of a flat extent in its file */
    char name[VMDK_NAME_MAX];
};

/* Where an id's digits are in the text, and how many: as many can be put in their place. Eight, but
 * some programs leave out zeros in front. */
struct vmdk_id_place {
    u64 at;
    unsigned digits; /* 0: there is no such id, or it is none */
};

struct vmdk_descriptor {
    u32 cid, parent_cid;
    struct vmdk_id_place cid_place, parent_place;
    char type[32];
    char parent[VMDK_NAME_MAX]; /* empty: none */
    struct vmdk_line *lines;
    u32 count;
};

struct vmdk_range {
    u64 from, to;
};

struct vmdk_extent {
    enum vmdk_kind kind;
    char name[VMDK_NAME_MAX];
    struct file *file; /* NULL: zeros */
    bool own_file;     /* not the image's */
    u64 base, bytes;   /* in the image */
    u64 flat_offset;

    /* Sparse and stream: */
    struct blockmap map;
    u32 version, flags;
    u32 *directory, *redundant; /* sector numbers of the tables; redundant: NULL without */
    u32 *settled[2];            /* the directories as the file may have them */
    u32 tables;
    u64 directory_at[2];                                /* bytes */
    u32 dirty_from, dirty_to, pending_from, pending_to; /* entries of the directories */
    struct vmdk_range *metadata;                        /* where no grain can be; in order */
    u32 metadata_count;
    bool unclean; /* so says the header in the file */
    bool filled;  /* stream: something was written */
    pthread_mutex_t inflate_lock;
    u8 *inflated;
    u64 inflated_block; /* that is in `inflated`; UINT64_MAX: none */
};

struct vmdk {
    struct image *image;
    struct vmdk_descriptor descriptor;
    u64 text_at; /* of the descriptor, in image->file */
    struct vmdk_extent *extents;
    u32 count;
    pthread_mutex_t cid_lock;
    bool cid_changed;
    bool no_repair;
    bool filling; /* a new image that is being filled from its start */
};

/* ---- vmdk_descriptor.c ---- */

/* NULL, or what is wrong. `text` ends with a zero byte. */
const char *vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text);
void vmdk_descriptor_free(struct vmdk_descriptor *d);
/* To be freed; NULL: out of memory. */
char *vmdk_descriptor_build(const struct vmdk_descriptor *d, u64 bytes, const char *adapter,
                            const char *hardware_version);
/* Another one than `old`, of at most so many digits: 1 to 8. */
u32 vmdk_new_cid(u32 old, unsigned digits);

/* ---- vmdk_sparse.c ---- */

/* NULL, or what is wrong; e->file, name, base are set. A compressed extent becomes a stream. */
const char *vmdk_sparse_open(struct vmdk_extent *e, struct image *image, bool repair);
void vmdk_sparse_close(struct vmdk_extent *e, bool writable);
int vmdk_sparse_check(struct vmdk_extent *e, unsigned repair, struct image_check *result);
/* The bytes of a new extent's header and directories; writes them. */
int vmdk_sparse_create(struct file *file, u64 bytes, u32 flags, const char *descriptor);

/* ---- vmdk_stream.c ---- */

int vmdk_stream_read(struct vmdk_extent *e, u64 offset, void *data, u64 bytes);
/* One grain that was never written. */
int vmdk_stream_write(struct vmdk_extent *e, u64 offset, const void *data, u64 bytes);
int vmdk_stream_end(struct vmdk_extent *e);

/* ---- vmdk_create.c ---- */

int vmdk_create(const char *path, const struct image_create *options, char *error, size_t n);

#endif
