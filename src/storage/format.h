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
    int (*flush)(struct image *image);
    /* The range reads as zeros afterwards; NULL: zeros are written. */
    int (*zero)(struct image *image, u64 offset, u64 bytes);
    /* The guest does not need the range any more; NULL: nothing happens. */
    int (*discard)(struct image *image, u64 offset, u64 bytes);
};

struct image {
    const struct image_format *format;
    char *path;
    u64 size; /* bytes that the guest sees; a multiple of 512 */
    bool read_only;
    bool probed; /* the format was not given but found */
    struct file *file;
    struct image *backing; /* NULL without */
    void *state;           /* the format's own */
};

/* The formats, in the order of probing; ends with NULL. */
extern const struct image_format *const image_formats[];
extern const struct image_format raw_format;

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
int image_flush(struct image *image);
int image_zero(struct image *image, u64 offset, u64 bytes);
int image_discard(struct image *image, u64 offset, u64 bytes);

/* An image over `base` that keeps all writes in a temporary file and loses them at the end. Takes
 * base over, also on failure. */
struct image *overlay_create(struct image *base, char *error, size_t n);

#endif
