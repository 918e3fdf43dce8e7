/* SPDX-License-Identifier: MIT
 *
 * The temporary overlay of -snapshot: a sparse file without a name holds the clusters that were
 * written, at their own offsets; a bitmap in memory says which those are. Nothing of it has to
 * survive, so there is no metadata on disk and flushing does nothing.
 *
 * A cluster is copied up before its first partial write. One lock for writers suffices: a bit is
 * set only after the cluster's bytes are complete, so readers need none.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/format.h"

#define CLUSTER_SHIFT 16
#define CLUSTER_BYTES ((u64)1 << CLUSTER_SHIFT)

struct overlay {
    pthread_mutex_t lock; /* of writers */
    u64 *present;         /* a bit a cluster */
};

static bool is_present(const struct overlay *o, u64 cluster)
{
    return __atomic_load_n(&o->present[cluster / 64], __ATOMIC_ACQUIRE) >> (cluster % 64) & 1;
}

static void set_present(struct overlay *o, u64 cluster)
{
    __atomic_fetch_or(&o->present[cluster / 64], bit64(cluster % 64), __ATOMIC_RELEASE);
}

/* How many of the bytes at offset are in the same state as the first one. */
static u64 same_run(const struct overlay *o, u64 offset, u64 bytes, bool *present)
{
    u64 end = offset + bytes, at = align_down(offset, CLUSTER_BYTES) + CLUSTER_BYTES;
    *present = is_present(o, offset >> CLUSTER_SHIFT);
    while (at < end && is_present(o, at >> CLUSTER_SHIFT) == *present)
        at += CLUSTER_BYTES;
    return (at < end ? at : end) - offset;
}

static int overlay_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    const struct overlay *o = image->state;
    int error = 0;
    for (u64 run; bytes && !error; offset += run, data = (u8 *)data + run, bytes -= run) {
        bool present;
        run = same_run(o, offset, bytes, &present);
        error = present ? file_read(image->file, offset, data, run)
                        : image_read(image->backing, offset, data, run);
    }
    return error;
}

/* Makes the cluster complete but for `bytes` at `offset`, which the caller is about to write. */
static int copy_up(struct image *image, u64 cluster, u64 offset, u64 bytes)
{
    u64 first = cluster << CLUSTER_SHIFT;
    u64 size = image->size - first < CLUSTER_BYTES ? image->size - first : CLUSTER_BYTES;
    if (offset <= first && offset + bytes >= first + size)
        return 0;
    u8 *buffer = malloc(size);
    int error = buffer ? image_read(image->backing, first, buffer, size) : -ENOMEM;
    if (!error)
        error = file_write(image->file, first, buffer, size);
    free(buffer);
    return error;
}

static int prepare(struct image *image, u64 offset, u64 bytes)
{
    struct overlay *o = image->state;
    u64 last = (offset + bytes - 1) >> CLUSTER_SHIFT;
    for (u64 c = offset >> CLUSTER_SHIFT; c <= last; c++) {
        int error = is_present(o, c) ? 0 : copy_up(image, c, offset, bytes);
        if (error)
            return error;
    }
    return 0;
}

static void mark_written(struct overlay *o, u64 offset, u64 bytes)
{
    u64 last = (offset + bytes - 1) >> CLUSTER_SHIFT;
    for (u64 c = offset >> CLUSTER_SHIFT; c <= last; c++)
        set_present(o, c);
}

static int overlay_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    struct overlay *o = image->state;
    pthread_mutex_lock(&o->lock);
    int error = prepare(image, offset, bytes);
    if (!error)
        error = file_write(image->file, offset, data, bytes);
    if (!error)
        mark_written(o, offset, bytes);
    pthread_mutex_unlock(&o->lock);
    return error;
}

static int overlay_zero(struct image *image, u64 offset, u64 bytes)
{
    struct overlay *o = image->state;
    pthread_mutex_lock(&o->lock);
    int error = prepare(image, offset, bytes);
    if (!error)
        error = file_zero(image->file, offset, bytes);
    if (!error)
        mark_written(o, offset, bytes);
    pthread_mutex_unlock(&o->lock);
    return error;
}

static void overlay_close(struct image *image)
{
    struct overlay *o = image->state;
    pthread_mutex_destroy(&o->lock);
    free(o->present);
    free(o);
}

static const struct image_format overlay_format = {
    .name = "overlay",
    .description = "writes are kept in a temporary file",
    .close = overlay_close,
    .read = overlay_read,
    .write = overlay_write,
    .zero = overlay_zero,
    .discard = overlay_zero,
};

struct image *overlay_create(struct image *base, char *error, size_t n)
{
    struct file *file = file_open_temporary(error, n);
    if (!file) {
        image_close(base);
        return NULL;
    }
    struct image *image = calloc(1, sizeof *image);
    struct overlay *o = calloc(1, sizeof *o);
    u64 clusters = (base->size + CLUSTER_BYTES - 1) >> CLUSTER_SHIFT;
    if (o)
        o->present = calloc(clusters / 64 + 1, sizeof *o->present);
    if (!image || !o || !o->present) {
        snprintf(error, n, "%s: out of memory", base->path);
        free(image);
        free(o);
        file_close(file);
        image_close(base);
        return NULL;
    }
    pthread_mutex_init(&o->lock, NULL);
    *image = (struct image){.format = &overlay_format,
                            .path = strdup(base->path),
                            .size = base->size,
                            .file = file,
                            .backing = base,
                            .state = o};
    return image;
}
