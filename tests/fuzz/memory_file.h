/* SPDX-License-Identifier: MIT
 *
 * A host file in memory, with an end of its disk. Its bytes stay allocated from one input to the
 * next, and only what was written is made zero again: most inputs touch little of it.
 */
#ifndef ANELLO_TESTS_FUZZ_MEMORY_FILE_H
#define ANELLO_TESTS_FUZZ_MEMORY_FILE_H

#include <errno.h>
#include <stdlib.h>

#include "storage/file.h"

#define MEMORY_FILE_MAX   MIB(8)
#define MEMORY_FILE_CHUNK KIB(16)

struct memory_file {
    struct file file; /* first */
    u64 size, space;  /* bytes; a write beyond `space`: -ENOSPC */
    unsigned fail_at; /* the n-th access from now fails, n >= 1; 0: none does */
    int error;        /* with this -errno */
    bool in_use;
    bool touched[MEMORY_FILE_MAX / MEMORY_FILE_CHUNK]; /* chunks that may be other than zero */
    u8 bytes[MEMORY_FILE_MAX];
};

static inline struct memory_file *memory_file(struct file *f)
{
    return (struct memory_file *)f;
}

static inline void memory_file_touch(struct memory_file *m, u64 offset, u64 bytes)
{
    for (u64 i = offset / MEMORY_FILE_CHUNK; i * MEMORY_FILE_CHUNK < offset + bytes; i++)
        m->touched[i] = true;
}

/* Zeros in place of what was written at `from` or behind it. */
static inline void memory_file_wipe(struct memory_file *m, u64 from)
{
    for (u64 i = from / MEMORY_FILE_CHUNK; i < ARRAY_LEN(m->touched); i++) {
        u64 first = i * MEMORY_FILE_CHUNK < from ? from : i * MEMORY_FILE_CHUNK;
        if (m->touched[i])
            memset(m->bytes + first, 0, (i + 1) * MEMORY_FILE_CHUNK - first);
        if (first == i * MEMORY_FILE_CHUNK)
            m->touched[i] = false;
    }
}

/* Counts an access: 0, or the error that was planned for it. */
static inline int memory_file_access(struct memory_file *m)
{
    return m->fail_at && !--m->fail_at ? m->error : 0;
}

static inline int memory_file_read(struct file *f, u64 offset, void *data, u64 bytes)
{
    struct memory_file *m = memory_file(f);
    int error = memory_file_access(m);
    if (error)
        return error;
    u64 end = m->size < MEMORY_FILE_MAX ? m->size : MEMORY_FILE_MAX;
    u64 there = offset < end ? end - offset : 0;
    if (there > bytes)
        there = bytes;
    memcpy(data, m->bytes + (there ? offset : 0), there);
    memset((u8 *)data + there, 0, bytes - there);
    return 0;
}

/* Takes the space for a range. */
static inline int memory_file_reserve(struct file *f, u64 offset, u64 bytes)
{
    struct memory_file *m = memory_file(f);
    int error = memory_file_access(m);
    if (error)
        return error;
    if (offset > m->space || bytes > m->space - offset)
        return -ENOSPC;
    if (m->size < offset + bytes)
        m->size = offset + bytes;
    return 0;
}

static inline int memory_file_write(struct file *f, u64 offset, const void *data, u64 bytes)
{
    int error = memory_file_reserve(f, offset, bytes);
    if (!error) {
        memory_file_touch(memory_file(f), offset, bytes);
        memcpy(memory_file(f)->bytes + offset, data, bytes);
    }
    return error;
}

static inline int memory_file_zero(struct file *f, u64 offset, u64 bytes)
{
    int error = memory_file_reserve(f, offset, bytes);
    if (!error)
        memset(memory_file(f)->bytes + offset, 0, bytes);
    return error;
}

/* Neither the old bytes nor zeros, at the range's ends at least. */
static inline void memory_file_discard(struct file *f, u64 offset, u64 bytes)
{
    struct memory_file *m = memory_file(f);
    u64 there = offset < m->size ? m->size - offset : 0;
    if (there > bytes)
        there = bytes;
    if (!there)
        return;
    u64 some = there < 64 ? there : 64;
    memory_file_touch(m, offset, there);
    memset(m->bytes + offset, 0xdc, some);
    memset(m->bytes + offset + there - some, 0xdc, some);
}

static inline int memory_file_flush(struct file *f)
{
    return memory_file_access(memory_file(f));
}

static inline int memory_file_truncate(struct file *f, u64 bytes)
{
    struct memory_file *m = memory_file(f);
    int error = memory_file_access(m);
    if (error)
        return error;
    if (bytes > m->space)
        return -ENOSPC;
    if (bytes < m->size)
        memory_file_wipe(m, bytes);
    m->size = bytes;
    return 0;
}

static inline u64 memory_file_size(struct file *f)
{
    return memory_file(f)->size;
}

static inline int memory_file_extent(struct file *f, u64 offset, u64 *run)
{
    u64 size = memory_file(f)->size;
    *run = offset < size ? size - offset : 0;
    return offset < size;
}

static inline void memory_file_close(struct file *f)
{
    struct memory_file *m = memory_file(f);
    memory_file_wipe(m, 0);
    m->size = 0;
    m->fail_at = 0;
    m->in_use = false;
}

static const struct file_ops memory_file_ops = {
    .read = memory_file_read,
    .write = memory_file_write,
    .flush = memory_file_flush,
    .zero = memory_file_zero,
    .discard = memory_file_discard,
    .reserve = memory_file_reserve,
    .truncate = memory_file_truncate,
    .size = memory_file_size,
    .allocated = memory_file_size,
    .extent = memory_file_extent,
    .close = memory_file_close,
};

/* `m`, which lives on, as an empty file on a disk of `space` bytes. */
static inline struct file *memory_file_open(struct memory_file *m, u64 space)
{
    if (m->in_use || space > MEMORY_FILE_MAX)
        abort();
    m->file.ops = &memory_file_ops;
    m->space = space;
    m->fail_at = 0;
    m->in_use = true;
    return &m->file;
}

/* A larger file, for readers: beyond the memory there are zeros. */
static inline void memory_file_stretch(struct memory_file *m, u64 bytes)
{
    m->size = bytes;
}

static inline void memory_file_fail(struct memory_file *m, unsigned nth, int error)
{
    m->fail_at = nth;
    m->error = error;
}

#endif
