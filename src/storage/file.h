/* SPDX-License-Identifier: MIT
 *
 * A file of the host that holds an image or a part of one: bytes at offsets, stable after a flush.
 * Image formats see nothing else of the host, so tests can give them a file that fails, tears and
 * forgets writes (storage/file_fault.c).
 *
 * All operations block, and several threads may call them at once.
 */
#ifndef ANELLO_STORAGE_FILE_H
#define ANELLO_STORAGE_FILE_H

#include "storage/io_vector.h"

struct file;

/* Results are 0 or -errno. */
struct file_ops {
    /* What lies beyond the end reads as zeros. */
    int (*read)(struct file *f, u64 offset, void *data, u64 bytes);
    /* The same, into a vector's first bytes; NULL: they are read and copied. */
    int (*read_vector)(struct file *f, u64 offset, struct io_vector v, u64 bytes);
    /* Writing beyond the end grows the file. */
    int (*write)(struct file *f, u64 offset, const void *data, u64 bytes);
    /* The same, of a vector's first bytes; NULL: they are copied together and written. */
    int (*write_vector)(struct file *f, u64 offset, struct io_vector v, u64 bytes);
    /* What was written before the call is stable after it. */
    int (*flush)(struct file *f);
    /* The range reads as zeros afterwards, and its space is given back where the host can; the
     * file keeps its size, growing when the range lies beyond. */
    int (*zero)(struct file *f, u64 offset, u64 bytes);
    /* Nobody needs the range any more: a hint, whose bytes are undefined afterwards. */
    void (*discard)(struct file *f, u64 offset, u64 bytes);
    /* Takes the space for the range on the host now, growing the file; its bytes stay as they are.
     */
    int (*reserve)(struct file *f, u64 offset, u64 bytes);
    int (*truncate)(struct file *f, u64 bytes);
    u64 (*size)(struct file *f);
    /* Bytes that the file really takes on the host. */
    u64 (*allocated)(struct file *f);
    /* The run at `offset`: 1 when it holds data, 0 when it is a hole; its length in *run (to the
     * end of the file at most; 0 beyond it). */
    int (*extent)(struct file *f, u64 offset, u64 *run);
    void (*close)(struct file *f);
};

struct file {
    const struct file_ops *ops;
};

static inline int file_read(struct file *f, u64 offset, void *data, u64 bytes)
{
    return f->ops->read(f, offset, data, bytes);
}

static inline int file_write(struct file *f, u64 offset, const void *data, u64 bytes)
{
    return f->ops->write(f, offset, data, bytes);
}

/* Reads into, writes the first `bytes` bytes of a vector. */
int file_read_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes);
int file_write_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes);

static inline int file_flush(struct file *f)
{
    return f->ops->flush(f);
}

static inline int file_zero(struct file *f, u64 offset, u64 bytes)
{
    return f->ops->zero(f, offset, bytes);
}

static inline void file_discard(struct file *f, u64 offset, u64 bytes)
{
    f->ops->discard(f, offset, bytes);
}

static inline int file_reserve(struct file *f, u64 offset, u64 bytes)
{
    return f->ops->reserve(f, offset, bytes);
}

static inline int file_truncate(struct file *f, u64 bytes)
{
    return f->ops->truncate(f, bytes);
}

static inline u64 file_size(struct file *f)
{
    return f->ops->size(f);
}

static inline u64 file_allocated(struct file *f)
{
    return f->ops->allocated(f);
}

static inline int file_extent(struct file *f, u64 offset, u64 *run)
{
    return f->ops->extent(f, offset, run);
}

static inline void file_close(struct file *f)
{
    if (f)
        f->ops->close(f);
}

enum file_flags {
    FILE_WRITABLE = 1 << 0,
    FILE_CREATE = 1 << 1,  /* make it, or empty it */
    FILE_DIRECT = 1 << 2,  /* around the host's page cache */
    FILE_SYNC = 1 << 3,    /* every write is stable when it returns */
    FILE_UNSAFE = 1 << 4,  /* flushes do nothing */
    FILE_NO_LOCK = 1 << 5, /* looking only, whoever else uses it */
};

/* Opens a regular file or block device of the host and locks it: many readers, or one writer who
 * tolerates no reader. NULL and one line that says the way out in error[n]. */
struct file *file_open(const char *path, unsigned flags, char *error, size_t n);
/* A temporary file without a name, in $TMPDIR or /var/tmp. */
struct file *file_open_temporary(char *error, size_t n);

#endif
