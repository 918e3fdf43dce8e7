/* SPDX-License-Identifier: MIT
 *
 * A hostile image and a busy guest. The input is
 *
 *   byte 0    how many steps the guest makes
 *   byte 1    0 to 127: the rest are the file's bytes; else a good image (one of several, by this
 *             number) with changes: 16 bits of place, a byte of width, 64 bits of value
 *   steps     four bytes each: operation, place, length
 *   the rest  the file, or changes
 *
 * The file is in memory and may not grow beyond a limit, as on a full host; a step may plan that an
 * access to it fails. An image that names a backing file gets one of random bytes, also in memory.
 */
#ifndef ANELLO_TESTS_IMAGE_FUZZ_H
#define ANELLO_TESTS_IMAGE_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory_file.h"
#include "storage/bytes.h"
#include "storage/format.h"

#define LONGEST_STEP KIB(64)
#define SEEDS_MAX    10
#define CHANGE_BYTES 11
#define STEP_BYTES   4
#define SEED_MAX     KIB(128) /* of a good image, its part that is kept */
#define BELOW_BYTES  KIB(96)  /* of a backing image */

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* Good images, made once. */
struct image_seeds {
    const struct image_format *format;
    struct image_create create[SEEDS_MAX];
    u32 count;
    u64 file_limit;
    bool filling;
    const char *path; /* of the image; NULL: a folder that does not exist */
    u8 *bytes[SEEDS_MAX];
    u64 size[SEEDS_MAX];
};

static inline void write_something(struct image *image)
{
    u8 data[3000];
    memset(data, 0x5a, sizeof data);
    struct image_info info = {0};
    if (image->format->info)
        image->format->info(image, &info);
    u64 cluster = info.cluster_bytes ? info.cluster_bytes : 512;
    u8 *whole = calloc(1, cluster);
    for (u64 at = 0; whole && at + cluster <= image->size; at += image->size / 3 & ~(cluster - 1)) {
        if (image->format->write_compressed)
            image->format->write_compressed(image, at, whole, cluster);
        else
            image_write(image, at, data, sizeof data);
        if (!(image->size / 3 & ~(cluster - 1)))
            break;
    }
    if (!info.compressed)
        image_write(image, image->size / 2, data, sizeof data);
    image_flush(image);
    if (image->format->snapshot_create && image->size > MIB(1) - 1) {
        char error[256];
        image->format->snapshot_create(image, "old", error, sizeof error);
        image_write(image, 0, data, sizeof data);
        image_flush(image);
    }
    free(whole);
    free(info.parts);
}

static inline void make_seed(struct image_seeds *s, u32 index)
{
    char path[] = "/tmp/anello-fuzz-XXXXXX", error[256];
    int fd = mkstemp(path);
    if (fd < 0)
        abort();
    close(fd);
    struct image_options o = {.format = s->format->name, .filling = true, .no_backing = true};
    if (s->format->create(path, &s->create[index], error, sizeof error))
        abort();
    struct image *image = image_open(path, &o, error, sizeof error);
    if (!image)
        abort();
    write_something(image);
    image_close(image);
    struct file *file = file_open(path, 0, error, sizeof error);
    if (!file)
        abort();
    u64 size = file_size(file);
    s->size[index] = size < SEED_MAX ? size : SEED_MAX;
    s->bytes[index] = malloc(s->size[index]);
    if (!s->bytes[index] || file_read(file, 0, s->bytes[index], s->size[index]))
        abort();
    file_close(file);
    unlink(path);
}

static inline void put_change(struct file *file, u64 size, const u8 *change)
{
    static const u8 widths[] = {1, 2, 4, 8};
    u8 width = widths[change[2] & 3];
    u64 value = load64(change + 3), at = load16(change) % size;
    u8 field[8];
    store64(field, value);
    if (change[2] & 0x80) /* tables of numbers are aligned */
        at &= ~(u64)(width - 1);
    file_write(file, at, field, width);
}

static inline struct file *make_file(struct image_seeds *s, struct memory_file *disk, u8 mode,
                                     const u8 *data, size_t size)
{
    struct file *file = memory_file_open(disk, s->file_limit);
    if (mode < 128) {
        file_write(file, 0, data, size);
    } else {
        u32 index = mode % s->count;
        if (!s->bytes[index])
            make_seed(s, index);
        file_write(file, 0, s->bytes[index], s->size[index]);
        for (; size >= CHANGE_BYTES; data += CHANGE_BYTES, size -= CHANGE_BYTES)
            put_change(file, s->size[index], data);
    }
    return file;
}

/* What lies below, if the image says that there is something. */
static inline void open_below(struct image *image)
{
    static struct memory_file below;
    char error[256];
    struct image_options o = {.format = "raw", .read_only = true};
    if (!image->backing_path)
        return;
    struct file *file = memory_file_open(&below, BELOW_BYTES);
    file_truncate(file, BELOW_BYTES);
    for (u64 at = 0; at < BELOW_BYTES; at += KIB(8))
        file_write(file, at, "below", 5);
    image->backing = image_open_file(file, "below", &o, error, sizeof error);
}

static inline void check_image(struct image *image, unsigned repair)
{
    struct image_check result = {0};
    if (image->format->check && !(image->read_only && repair))
        image->format->check(image, repair, &result);
}

static inline void list_snapshots(struct image *image)
{
    struct image_snapshot *list;
    u32 count;
    if (image->format->snapshot_list(image, &list, &count))
        return;
    for (u32 i = 0; i < count; i++) {
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
}

static inline void use_snapshot(struct image *image, u8 how)
{
    char error[256];
    const struct image_format *f = image->format;
    if (!f->snapshot_list)
        return;
    const char *name = how & 4 ? "old" : how & 8 ? "1" : "new";
    switch (how % 4) {
    case 0: list_snapshots(image); break;
    case 1: f->snapshot_create(image, name, error, sizeof error); break;
    case 2: f->snapshot_apply(image, name, error, sizeof error); break;
    default: f->snapshot_delete(image, name, error, sizeof error); break;
    }
}

/* The commands of `anello image` on a writable image. */
static inline void use_tool(struct image *image, const u8 *s)
{
    char error[256];
    const struct image_format *f = image->format;
    static const char *const modes[] = {"off", "metadata", "falloc", "full"};
    switch (s[1] % 7) {
    case 0: check_image(image, REPAIR_LEAKS | REPAIR_ERRORS); break;
    case 1: check_image(image, REPAIR_LEAKS); break;
    case 2:
        if (f->resize)
            f->resize(image, (u64)load16(s + 2) << 8, error, sizeof error);
        break;
    case 3:
        if (f->empty)
            f->empty(image);
        break;
    case 4:
        if (f->rebase)
            f->rebase(image, s[2] & 1 ? "/nonexistent/b" : NULL, "raw", error, sizeof error);
        break;
    case 5:
        if (f->preallocate)
            f->preallocate(image, image->size / 256 * s[2], modes[s[3] % 4]);
        break;
    default: use_snapshot(image, s[2]); break;
    }
}

/* Two pieces in memory, one behind the other. */
static inline void move_vector(struct image *image, bool write, u64 at, u8 *buffer, u64 bytes)
{
    const struct image_format *f = image->format;
    struct iovec pieces[] = {{buffer, bytes / 3}, {buffer + bytes / 3, bytes - bytes / 3}};
    struct io_vector v = {pieces, 2, 0};
    if (write && f->write_vector)
        image_write_vector(image, at, v, bytes);
    else if (!write && f->read_vector)
        image_read_vector(image, at, v, bytes);
}

static inline void compress(struct image *image, u64 at, const u8 *buffer)
{
    struct image_info info = {0};
    if (!image->format->write_compressed || image->read_only)
        return;
    image->format->info(image, &info);
    u64 cluster = info.cluster_bytes;
    free(info.parts);
    at = cluster ? align_down(at, cluster) : at;
    if (cluster && cluster <= LONGEST_STEP && image->size - at >= cluster)
        image->format->write_compressed(image, at, buffer, cluster);
}

static inline void step(struct image *image, struct memory_file *disk, const u8 *s, u8 *buffer)
{
    static const int errors[] = {-EIO, -ENOSPC, -ENOMEM, -EPERM};
    u64 at = (u64)(((unsigned __int128)image->size * load16(s + 1)) >> 16);
    u64 bytes = 1 + s[3] * 257u % LONGEST_STEP;
    struct image_extent extent;
    if (s[0] & 0x80) /* up to the end */
        at = image->size > bytes ? image->size - bytes : 0;
    if (bytes > image->size - at)
        bytes = image->size - at;
    switch (s[0] % 13) {
    case 0: image_read(image, at, buffer, bytes); break;
    case 1:
    case 2: image_write(image, at, buffer, bytes); break;
    case 3: image_zero(image, at, bytes); break;
    case 4: image_discard(image, at, bytes); break;
    case 5: image_flush(image); break;
    case 6: image_extent(image, at, bytes, &extent); break;
    case 7: compress(image, at, buffer); break;
    case 9:
    case 10: move_vector(image, s[0] % 13 == 10, at, buffer, bytes); break;
    case 11: memory_file_fail(disk, 1 + s[1] % 32u, errors[s[2] % 4]); break;
    default:
        if (image->read_only)
            check_image(image, 0);
        else
            use_tool(image, s);
        break;
    }
}

static inline void tell(struct image *image)
{
    struct image_info info = {0};
    if (image->format->info)
        image->format->info(image, &info);
    free(info.parts);
    if (image->format->snapshot_list)
        list_snapshots(image);
}

/* At the end, of an image that was opened to be read: what a snapshot of it shows. */
static inline void show_snapshots(struct image *image)
{
    static const char *const names[] = {"old", "new", "1"};
    char error[256];
    static u8 data[MIB(1)];
    if (!image->read_only || !image->format->snapshot_show)
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (image->format->snapshot_show(image, names[i], error, sizeof error))
            continue;
        image_read(image, 0, data, image->size < sizeof data ? image->size : sizeof data);
        tell(image);
    }
}

static inline int fuzz_image(struct image_seeds *s, const u8 *data, size_t size)
{
    char error[512];
    if (size < 2 || size < 2 + (size_t)data[0] % 64 * STEP_BYTES)
        return 0;
    size_t steps = data[0] % 64;
    const u8 *program = data + 2, *rest = program + steps * STEP_BYTES;
    static struct memory_file disk;
    struct file *file = make_file(s, &disk, data[1], rest, size - (size_t)(rest - data));
    struct image_options o = {.format = s->format->name,
                              .no_backing = true,
                              .read_only = data[0] & 0x80,
                              .no_repair = data[0] & 0x40,
                              .filling = s->filling};
    struct image *image =
        image_open_file(file, s->path ? s->path : "/nonexistent/image", &o, error, sizeof error);
    if (!image)
        return 0;
    u8 *buffer = calloc(1, LONGEST_STEP + 1);
    open_below(image);
    tell(image);
    for (size_t i = 0; i < steps; i++)
        step(image, &disk, program + i * STEP_BYTES, buffer);
    check_image(image, 0);
    show_snapshots(image);
    image_close(image);
    free(buffer);
    return 0;
}

#endif
