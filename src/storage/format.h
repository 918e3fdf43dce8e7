/* SPDX-License-Identifier: MIT
 *
 * Image formats: what stands between a file of the host and the disk that a guest sees.
 *
 * An opened image is a `struct image`: a format, the file it lies in, and perhaps a backing image
 * that holds what this one has not stored itself. Operations block (worker threads call them) and
 * may come from several threads at once: a format locks what it must.
 */
#ifndef ANELLO_STORAGE_FORMAT_H
#define ANELLO_STORAGE_FORMAT_H

#include "base/bits.h"
#include "storage/file.h"

#define PROBE_BYTES 4096

struct image;

struct image_options {
    const char *format; /* NULL: by magic, else raw */
    bool read_only;
    unsigned file_flags; /* FILE_DIRECT, FILE_SYNC, FILE_UNSAFE, FILE_NO_LOCK */
    unsigned depth;      /* of the backing chain so far */
    bool no_backing;     /* leave the backing image alone */
    bool no_repair;      /* do not repair on opening */
    bool follows;        /* follow_base is to be called, though it be read_only */
    bool filling;        /* a new image, to be filled from its start by write_compressed */
};

/* How a run of guest bytes is stored. */
enum image_extent_type { EXTENT_BACKING, EXTENT_ZERO, EXTENT_DATA };

struct image_extent {
    enum image_extent_type type;
    u64 bytes;
};

struct image_snapshot {
    char *id, *name;
    u64 vm_state_bytes, disk_bytes;
    u32 seconds, nanoseconds; /* since 1970 */
    u64 vm_clock;             /* ns */
};

enum image_repair { REPAIR_LEAKS = 1 << 0, REPAIR_ERRORS = 1 << 1 };

struct image_check {
    u64 errors, leaks, errors_fixed, leaks_fixed;
    u64 total_clusters, allocated_clusters, compressed_clusters, fragmented_clusters;
    u64 end_offset;                              /* of the last cluster in use */
    void (*say)(void *opaque, const char *line); /* hears of each finding; may be NULL */
    void *opaque;
};

/* A new image. What a format does not know it refuses, if it was said. */
struct image_create {
    u64 bytes;
    const char *backing, *backing_format; /* NULL: none */
    u64 cluster_bytes;                    /* 0: the format's default */
    const char *preallocation;            /* NULL: off */
    const char *compat;                   /* qcow2: "0.10", "1.1" */
    u32 refcount_bits;                    /* qcow2; 0: 16 */
    bool lazy_refcounts;                  /* qcow2 */
    const char *compression;              /* qcow2: zlib, zstd */
    const char *subformat;                /* vmdk */
    const char *adapter;                  /* vmdk */
    const char *hardware_version;         /* vmdk */
    bool zeroed_grain;                    /* vmdk */
    bool is_static;                       /* vdi */
};

/* Groups of options, for a format to say which it knows. */
enum image_create_group {
    IMAGE_BACKING = 1 << 0,
    IMAGE_PREALLOCATION = 1 << 1,
    IMAGE_QCOW2 = 1 << 2,
    IMAGE_VMDK = 1 << 3,
    IMAGE_STATIC = 1 << 4,
};

#define IMAGE_INFO_LINES 16

/* A file that an image consists of. */
struct image_part {
    const char *name;
    u64 bytes, cluster_bytes;
    const char *format;
    bool compressed;
};

/* What a format tells beyond the common: lines "key: value"; numbers and truth values are marked so
 * that they need no quotes in JSON. */
struct image_info {
    u64 cluster_bytes; /* 0: none */
    bool dirty, compressed;
    struct {
        char key[32], value[96];
        bool bare;
    } lines[IMAGE_INFO_LINES];
    u32 count;
    struct image_part *parts; /* to be freed; their texts belong to the image */
    u32 part_count;
};

struct image_format {
    const char *name;
    const char *description; /* for people */
    /* True when the first PROBE_BYTES of a file (zero-padded) are an image of this format. NULL:
     * never probed. */
    bool (*probe)(const u8 *head);
    /* Fills image->size and image->state from image->file, opens the backing image. 0, or -errno
     * with a message in error[n]. On failure `close` is not called. */
    int (*open)(struct image *image, const struct image_options *options, char *error, size_t n);
    void (*close)(struct image *image);

    /* Ranges lie within image->size. 0 or -errno. */
    int (*read)(struct image *image, u64 offset, void *data, u64 bytes);
    int (*write)(struct image *image, u64 offset, const void *data, u64 bytes);
    /* As read and write, of a vector's first bytes, which the guest may change meanwhile; NULL: not
     * known. */
    int (*read_vector)(struct image *image, u64 offset, struct io_vector v, u64 bytes);
    int (*write_vector)(struct image *image, u64 offset, struct io_vector v, u64 bytes);
    int (*flush)(struct image *image);
    /* The range reads as zeros afterwards; NULL: zeros are written. */
    int (*zero)(struct image *image, u64 offset, u64 bytes);
    /* The guest does not need the range any more; NULL: nothing happens. */
    int (*discard)(struct image *image, u64 offset, u64 bytes);

    /* For tools; each may be NULL. */
    /* The run at offset, at most `bytes`. NULL: all of it is data. */
    int (*extent)(struct image *image, u64 offset, u64 bytes, struct image_extent *extent);
    /* One cluster (or less, at the end), to be stored compressed. */
    int (*write_compressed)(struct image *image, u64 offset, const void *data, u64 bytes);
    int (*create)(const char *path, const struct image_create *options, char *error, size_t n);
    int (*check)(struct image *image, unsigned repair, struct image_check *result);
    int (*resize)(struct image *image, u64 bytes, char *error, size_t n);
    /* Takes space for what lies beyond `from`: mode is "metadata", "falloc" or "full". */
    int (*preallocate)(struct image *image, u64 from, const char *mode);
    int (*rebase)(struct image *image, const char *backing, const char *format, char *error,
                  size_t n);
    /* The backing image is about to be written, in such a way that the two go on showing what they
     * show. For formats that know when a backing image was changed without them. */
    int (*follow_base)(struct image *image, struct image *base);
    /* Forgets all data of this image, so that its backing image shows through. */
    int (*empty)(struct image *image);
    int (*snapshot_list)(struct image *image, struct image_snapshot **list, u32 *count);
    int (*snapshot_create)(struct image *image, const char *name, char *error, size_t n);
    int (*snapshot_apply)(struct image *image, const char *name, char *error, size_t n);
    int (*snapshot_delete)(struct image *image, const char *name, char *error, size_t n);
    /* Of an image that is read-only: from now on it shows the snapshot of that name or id. */
    int (*snapshot_show)(struct image *image, const char *name, char *error, size_t n);
    void (*info)(struct image *image, struct image_info *info);
    /* Bytes that its files really take; NULL: it has one. */
    u64 (*allocated)(struct image *image);
};

struct image {
    const struct image_format *format;
    char *path;
    u64 size; /* bytes that the guest sees; a multiple of 512 */
    bool read_only;
    bool probed; /* the format was not given but found */
    struct file *file;
    struct image *backing; /* NULL without */
    char *backing_path;    /* as the header says it; NULL without */
    char *backing_format;  /* NULL: not said */
    void *state;           /* the format's own */
};

/* The formats, in the order of probing; ends with NULL. */
extern const struct image_format *const image_formats[];
extern const struct image_format raw_format, qcow2_format, vmdk_format, vdi_format;

/* NULL when the name is not known. */
const struct image_format *image_format_by_name(const char *name);
/* NULL: none of them, so raw. */
const struct image_format *image_format_probe(const u8 *head);

/* NULL, and one line that says what to do in error[n]. */
struct image *image_open(const char *path, const struct image_options *options, char *error,
                         size_t n);
/* As image_open, on a file that is already open; takes it over, also on failure. */
struct image *image_open_file(struct file *file, const char *path,
                              const struct image_options *options, char *error, size_t n);
void image_close(struct image *image);

int image_read(struct image *image, u64 offset, void *data, u64 bytes);
int image_write(struct image *image, u64 offset, const void *data, u64 bytes);
/* For images whose format knows them. */
int image_read_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes);
int image_write_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes);
int image_flush(struct image *image);
int image_zero(struct image *image, u64 offset, u64 bytes);
int image_discard(struct image *image, u64 offset, u64 bytes);
/* The run at offset in this image alone, not in those below. */
int image_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent);
/* The same through those below it: what nobody has stored are zeros. */
int image_extent_through(struct image *image, u64 offset, u64 bytes, struct image_extent *extent);

/* The path of a backing file that `image_path` names: relative ones start at its folder. To be
 * freed; NULL: out of memory. */
char *image_relative_path(const char *image_path, const char *name);
/* Opens image->backing_path for reading, for a format's `open`. 0, or -errno with a message. */
int image_open_backing(struct image *image, const struct image_options *options, char *error,
                       size_t n);
/* "PATH: WHY" in error[n], and -EINVAL. */
int image_refuse(const char *path, const char *why, char *error, size_t n);
/* Gives `failed` (0 or -errno), and says why in error[n] when it is an error. */
int image_result(const char *path, int failed, char *error, size_t n);
/* NULL, or what is said of an option that is not in the groups `known`. */
const char *image_create_extra(const struct image_create *options, unsigned known);
void image_info_part(struct image_info *info, const struct image_part *part);
void image_info_line(struct image_info *info, bool bare, const char *key, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Reads what lies below the image: its backing image, and zeros beyond that. */
int image_read_below(struct image *image, u64 offset, void *data, u64 bytes);
/* True when the backing image has something at or after `offset`. */
bool image_has_below(const struct image *image, u64 offset);

/* An image over `base` that keeps all writes in a temporary file and loses them at the end. Takes
 * base over, also on failure. */
struct image *overlay_create(struct image *base, char *error, size_t n);

#endif
