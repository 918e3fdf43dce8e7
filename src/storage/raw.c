/* SPDX-License-Identifier: MIT
 *
 * The raw format: byte n of the disk is byte n of the file.
 *
 * A raw image whose format was not said but found is guarded: its guest may not write a first
 * sector that looks like another format, because at the next start that would be believed, and a
 * header made by the guest could name any file of the host as its backing file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/format.h"

#define SECTOR_BYTES 512
#define GUARD_BYTES  SECTOR_BYTES

static int raw_open(struct image *image, const struct image_options *options, char *error, size_t n)
{
    (void)options;
    u64 bytes = file_size(image->file);
    if (!bytes) {
        snprintf(error, n, "%s: is empty; \"anello image create\" makes one with a size",
                 image->path);
        return -EINVAL;
    }
    image->size = align_up(bytes, SECTOR_BYTES); /* the end of an odd one reads as zeros */
    return 0;
}

static int raw_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    return file_read(image->file, offset, data, bytes);
}

static int raw_read_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    return file_read_vector(image->file, offset, v, bytes);
}

/* True when the write would make this image another format's. */
static bool changes_format(struct image *image, u64 offset, const void *data, u64 bytes)
{
    if (!image->probed || offset >= GUARD_BYTES)
        return false;
    u8 head[PROBE_BYTES] = {0};
    if (file_read(image->file, 0, head, sizeof head))
        return true;
    u64 room = sizeof head - offset;
    memcpy(head + offset, data, bytes < room ? bytes : room);
    return image_format_probe(head) != NULL;
}

static int raw_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    if (changes_format(image, offset, data, bytes))
        return -EPERM;
    return file_write(image->file, offset, data, bytes);
}

/* The guarded sector is looked at, and so must not change any more. */
static int raw_write_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    if (image->probed && offset < GUARD_BYTES) {
        u8 head[GUARD_BYTES];
        u64 n = bytes < sizeof head ? bytes : sizeof head;
        io_vector_gather(v, head, n);
        int error = raw_write(image, offset, head, n);
        if (error || n == bytes)
            return error;
        offset += n, bytes -= n;
        v = io_vector_after(v, n);
    }
    return file_write_vector(image->file, offset, v, bytes);
}

static int raw_flush(struct image *image)
{
    return file_flush(image->file);
}

static int raw_zero(struct image *image, u64 offset, u64 bytes)
{
    return file_zero(image->file, offset, bytes);
}

static int raw_create(const char *path, const struct image_create *options, char *error, size_t n)
{
    const char *mode = options->preallocation ? options->preallocation : "off";
    bool falloc = !strcmp(mode, "falloc"), full = !strcmp(mode, "full");
    const char *why = image_create_extra(options, IMAGE_PREALLOCATION);
    if (!why && !falloc && !full && strcmp(mode, "off"))
        why = "preallocation is off, falloc or full";
    if (why)
        return image_refuse(path, why, error, n);
    struct file *file = file_open(path, FILE_WRITABLE | FILE_CREATE, error, n);
    if (!file)
        return -EIO;
    int failed = file_truncate(file, align_up(options->bytes, SECTOR_BYTES));
    if (!failed && (falloc || full) && options->bytes)
        failed = file_reserve(file, 0, options->bytes);
    if (!failed)
        failed = file_flush(file);
    file_close(file);
    return image_result(path, failed, error, n);
}

static int raw_resize(struct image *image, u64 bytes, char *error, size_t n)
{
    int failed = file_truncate(image->file, align_up(bytes, SECTOR_BYTES));
    if (failed)
        snprintf(error, n, "%s: cannot change its size: %s", image->path, strerror(-failed));
    else
        image->size = align_up(bytes, SECTOR_BYTES);
    return failed;
}

static int raw_preallocate(struct image *image, u64 from, const char *mode)
{
    if (strcmp(mode, "falloc") && strcmp(mode, "full"))
        return -EINVAL;
    return image->size > from ? file_reserve(image->file, from, image->size - from) : 0;
}

static int raw_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    u64 run;
    bool data = file_extent(image->file, offset, &run) > 0;
    *extent =
        (struct image_extent){data ? EXTENT_DATA : EXTENT_ZERO, run && run < bytes ? run : bytes};
    return 0;
}

const struct image_format raw_format = {
    .name = "raw",
    .description = "the disk's bytes and nothing else",
    .open = raw_open,
    .read = raw_read,
    .write = raw_write,
    .read_vector = raw_read_vector,
    .write_vector = raw_write_vector,
    .flush = raw_flush,
    .zero = raw_zero,
    .discard = raw_zero,
    .extent = raw_extent,
    .create = raw_create,
    .resize = raw_resize,
    .preallocate = raw_preallocate,
};
