/* SPDX-License-Identifier: MIT
 *
 * Opening and closing VMDK images, and the row of extents. What such an image is made of is told
 * in vmdk.h.
 */
#include "storage/vmdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static const char descriptor_start[] = "# Disk DescriptorFile";

static struct vmdk *vmdk_of(const struct image *image)
{
    return image->state;
}

static bool is_text(const u8 *head)
{
    return !memcmp(head, descriptor_start, sizeof descriptor_start - 1);
}

static bool probe(const u8 *head)
{
    return load32(head) == VMDK_MAGIC || is_text(head);
}

/* ---- opening ---- */

static int fail(const struct image *image, const char *name, const char *why, char *error, size_t n)
{
    return image_refuse(name ? name : image->path, why, error, n);
}

/* Reads and parses the descriptor: `bytes` at v->text_at. */
static const char *read_descriptor(struct vmdk *v, u64 bytes)
{
    if (!bytes || bytes > VMDK_DESCRIPTOR_MAX)
        return "has a descriptor that is too long";
    char *text = calloc(1, bytes + 1);
    if (!text)
        return "out of memory";
    const char *why = file_read(v->image->file, v->text_at, text, bytes)
                          ? "cannot be read"
                          : vmdk_descriptor_parse(&v->descriptor, text);
    free(text);
    return why;
}

static const char *read_embedded(struct vmdk *v, const u8 *head)
{
    u64 sector = load64(head + VMDK_H_DESCRIPTOR), sectors = load64(head + VMDK_H_DESCRIPTOR_SIZE);
    if (!sector)
        return "is one part of an image; open the descriptor file beside it";
    if (sector > file_size(v->image->file) / VMDK_SECTOR ||
        sectors > VMDK_DESCRIPTOR_MAX / VMDK_SECTOR)
        return "has a damaged header: its descriptor lies outside of the file";
    v->text_at = sector * VMDK_SECTOR;
    const char *why = read_descriptor(v, sectors * VMDK_SECTOR);
    if (!why && v->descriptor.count != 1)
        return "has a descriptor with other extents than its own file";
    return why;
}

/* The file of an extent, and its size against what the descriptor says. */
static int open_extent(struct vmdk *v, struct vmdk_extent *e, const struct vmdk_line *l,
                       unsigned flags, char *error, size_t n)
{
    struct image *image = v->image;
    const char *why = NULL;
    e->kind = l->kind;
    e->bytes = l->bytes;
    e->flat_offset = l->offset;
    snprintf(e->name, sizeof e->name, "%s", l->name);
    if (e->kind == VMDK_ZERO)
        return 0;
    if (!l->writable && !image->read_only)
        return fail(image, e->name, "is read-only; use -snapshot, or open it read-only", error, n);
    if (e->own_file) {
        char *path = image_relative_path(image->path, e->name);
        e->file = path ? file_open(path, flags, error, n) : NULL;
        free(path);
        if (!e->file)
            return -EIO;
    } else {
        e->file = image->file;
    }
    if (e->kind == VMDK_SPARSE)
        why = vmdk_sparse_open(e, image, !v->no_repair);
    else if (e->flat_offset + e->bytes > align_up(file_size(e->file), VMDK_SECTOR))
        why = "is shorter than the descriptor says";
    if (!why && e->own_file && e->bytes != l->bytes)
        why = "has another size than the descriptor says";
    return why ? fail(image, e->own_file ? e->name : NULL, why, error, n) : 0;
}

static int open_extents(struct vmdk *v, bool embedded, unsigned file_flags, char *error, size_t n)
{
    const struct vmdk_descriptor *d = &v->descriptor;
    unsigned flags = file_flags | (v->image->read_only ? 0 : FILE_WRITABLE);
    u64 at = 0;
    v->extents = calloc(d->count, sizeof *v->extents);
    if (!v->extents)
        return fail(v->image, NULL, "out of memory", error, n);
    for (u32 i = 0; i < d->count; i++) {
        struct vmdk_extent *e = &v->extents[v->count++];
        e->base = at;
        e->own_file = !embedded;
        int failed = open_extent(v, e, &d->lines[i], flags, error, n);
        if (failed)
            return failed;
        if (e->kind == VMDK_STREAM && !v->image->read_only && !v->filling)
            return fail(v->image, NULL,
                        "is streamOptimized and cannot be written to; use -snapshot, or convert it",
                        error, n);
        at += e->bytes;
    }
    v->image->size = at;
    return 0;
}

static int open_parent(struct vmdk *v, const struct image_options *options, char *error, size_t n)
{
    struct image *image = v->image;
    const struct vmdk_descriptor *d = &v->descriptor;
    if (d->parent_cid == VMDK_NO_PARENT)
        return 0;
    if (!d->parent[0])
        return fail(image, NULL, "has a parent but does not name it", error, n);
    image->backing_path = strdup(d->parent);
    image->backing_format = strdup("vmdk");
    int failed = image_open_backing(image, options, error, n);
    if (failed || !image->backing)
        return failed;
    if (vmdk_of(image->backing)->descriptor.cid != d->parent_cid)
        return fail(image, NULL,
                    "its parent has been changed since; what the two show together is not right",
                    error, n);
    return 0;
}

static void destroy(struct vmdk *v, bool writable)
{
    for (u32 i = 0; i < v->count; i++) {
        struct vmdk_extent *e = &v->extents[i];
        vmdk_sparse_close(e, writable);
        if (e->own_file)
            file_close(e->file);
    }
    free(v->extents);
    vmdk_descriptor_free(&v->descriptor);
    pthread_mutex_destroy(&v->cid_lock);
    free(v);
}

static int vmdk_open(struct image *image, const struct image_options *options, char *error,
                     size_t n)
{
    u8 head[VMDK_HEADER_BYTES];
    struct vmdk *v = calloc(1, sizeof *v);
    if (!v)
        return fail(image, NULL, "out of memory", error, n);
    image->state = v;
    v->image = image;
    v->filling = options->filling;
    v->no_repair = options->no_repair;
    pthread_mutex_init(&v->cid_lock, NULL);
    const char *why = NULL;
    bool embedded = false;
    if (file_read(image->file, 0, head, sizeof head))
        why = "cannot be read";
    else if ((embedded = load32(head) == VMDK_MAGIC))
        why = read_embedded(v, head);
    else if (is_text(head))
        why = read_descriptor(v, file_size(image->file));
    else
        why = "is no VMDK image";
    int failed = why ? fail(image, NULL, why, error, n) : 0;
    if (!failed)
        failed = open_extents(v, embedded, options->file_flags, error, n);
    if (!failed)
        failed = open_parent(v, options, error, n);
    if (failed)
        destroy(v, false);
    return failed;
}

static void vmdk_close(struct image *image)
{
    destroy(vmdk_of(image), !image->read_only);
}

/* ---- the content id ---- */

static int put_id(struct vmdk *v, const struct vmdk_id_place *place, u32 *id, u32 value)
{
    char text[VMDK_ID_DIGITS + 1];
    snprintf(text, sizeof text, "%0*x", (int)place->digits, value);
    int error = file_write(v->image->file, v->text_at + place->at, text, place->digits);
    if (!error)
        *id = value;
    return error;
}

/* Before the first write: from then on the image is not what its children know. */
static int change_cid(struct vmdk *v, unsigned most_digits)
{
    if (__atomic_load_n(&v->cid_changed, __ATOMIC_ACQUIRE))
        return 0;
    pthread_mutex_lock(&v->cid_lock);
    struct vmdk_descriptor *d = &v->descriptor;
    unsigned digits = d->cid_place.digits < most_digits ? d->cid_place.digits : most_digits;
    int error = 0;
    if (!v->cid_changed && digits)
        error = put_id(v, &d->cid_place, &d->cid, vmdk_new_cid(d->cid, digits));
    if (!error)
        __atomic_store_n(&v->cid_changed, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&v->cid_lock);
    return error;
}

/* ---- the row of extents ---- */

/* The extent that holds `offset`; the part of `bytes` within it in *n. */
static struct vmdk_extent *find(struct vmdk *v, u64 offset, u64 bytes, u64 *n)
{
    u32 low = 0, high = v->count - 1;
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (offset < v->extents[middle].base + v->extents[middle].bytes)
            high = middle;
        else
            low = middle + 1;
    }
    u64 left = v->extents[low].base + v->extents[low].bytes - offset;
    *n = bytes < left ? bytes : left;
    return &v->extents[low];
}

static int read_extent(struct vmdk_extent *e, u64 at, void *data, u64 bytes)
{
    switch (e->kind) {
    case VMDK_FLAT: return file_read(e->file, e->flat_offset + at, data, bytes);
    case VMDK_SPARSE: return blockmap_read(&e->map, at, data, bytes);
    case VMDK_STREAM: return vmdk_stream_read(e, at, data, bytes);
    case VMDK_ZERO: memset(data, 0, bytes); return 0;
    }
    return -EINVAL;
}

static int write_extent(struct vmdk_extent *e, u64 at, const void *data, u64 bytes)
{
    switch (e->kind) {
    case VMDK_FLAT: return file_write(e->file, e->flat_offset + at, data, bytes);
    case VMDK_SPARSE: return blockmap_write(&e->map, at, data, bytes);
    case VMDK_STREAM: return vmdk_stream_write(e, at, data, bytes);
    case VMDK_ZERO: return -EROFS;
    }
    return -EINVAL;
}

static int zero_extent(struct vmdk_extent *e, u64 at, u64 bytes)
{
    switch (e->kind) {
    case VMDK_FLAT: return file_zero(e->file, e->flat_offset + at, bytes);
    case VMDK_SPARSE: return blockmap_zero(&e->map, at, bytes);
    case VMDK_STREAM: return -EROFS;
    case VMDK_ZERO: return 0;
    }
    return -EINVAL;
}

static int vmdk_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    u8 *to = data;
    int error = 0;
    for (u64 n; bytes && !error; offset += n, to += n, bytes -= n) {
        struct vmdk_extent *e = find(vmdk_of(image), offset, bytes, &n);
        error = read_extent(e, offset - e->base, to, n);
    }
    return error;
}

static int vmdk_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    const u8 *from = data;
    int error = change_cid(vmdk_of(image), VMDK_ID_DIGITS);
    for (u64 n; bytes && !error; offset += n, from += n, bytes -= n) {
        struct vmdk_extent *e = find(vmdk_of(image), offset, bytes, &n);
        error = write_extent(e, offset - e->base, from, n);
    }
    return error;
}

static int vmdk_zero(struct image *image, u64 offset, u64 bytes)
{
    int error = change_cid(vmdk_of(image), VMDK_ID_DIGITS);
    for (u64 n; bytes && !error; offset += n, bytes -= n) {
        struct vmdk_extent *e = find(vmdk_of(image), offset, bytes, &n);
        error = zero_extent(e, offset - e->base, n);
    }
    return error;
}

static int vmdk_flush(struct image *image)
{
    struct vmdk *v = vmdk_of(image);
    bool text = __atomic_load_n(&v->cid_changed, __ATOMIC_ACQUIRE);
    int error = 0;
    for (u32 i = 0; i < v->count && !error; i++) {
        struct vmdk_extent *e = &v->extents[i];
        if (e->kind == VMDK_FLAT)
            error = file_flush(e->file);
        else if (e->kind != VMDK_ZERO)
            error = blockmap_commit(&e->map);
        text &= e->own_file;
    }
    return error || !text ? error : file_flush(image->file);
}

static int vmdk_extent_of(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    u64 n;
    struct vmdk_extent *e = find(vmdk_of(image), offset, bytes, &n);
    if (e->kind == VMDK_SPARSE || e->kind == VMDK_STREAM)
        return blockmap_extent(&e->map, offset - e->base, n, extent);
    *extent = (struct image_extent){e->kind == VMDK_ZERO ? EXTENT_ZERO : EXTENT_DATA, n};
    return 0;
}

static int vmdk_write_compressed(struct image *image, u64 offset, const void *data, u64 bytes)
{
    u64 n;
    struct vmdk_extent *e = find(vmdk_of(image), offset, bytes, &n);
    if (e->kind != VMDK_STREAM || n != bytes)
        return -ENOTSUP;
    int error = change_cid(vmdk_of(image), VMDK_ID_DIGITS);
    return error ? error : vmdk_stream_write(e, offset - e->base, data, bytes);
}

/* ---- for tools ---- */

/* The parent's new id is stable before its child is told, and nothing else is written to it before
 * that. Between the two the child is refused: it can be committed again. */
static int vmdk_follow_base(struct image *image, struct image *base)
{
    struct vmdk *v = vmdk_of(image);
    struct vmdk_descriptor *d = &v->descriptor;
    if (base->format != &vmdk_format)
        return -EINVAL;
    int error = d->parent_place.digits ? change_cid(vmdk_of(base), d->parent_place.digits) : 0;
    u32 cid = vmdk_of(base)->descriptor.cid;
    if (error || cid == d->parent_cid)
        return error;
    if (!d->parent_place.digits || (u64)cid >> 4 * d->parent_place.digits)
        return -EINVAL;
    error = vmdk_flush(base);
    if (!error)
        error = put_id(v, &d->parent_place, &d->parent_cid, cid);
    return error ? error : file_flush(image->file);
}

static int vmdk_check(struct image *image, unsigned repair, struct image_check *r)
{
    struct vmdk *v = vmdk_of(image);
    int error = image->read_only ? 0 : vmdk_flush(image);
    for (u32 i = 0; i < v->count && !error; i++) {
        struct vmdk_extent *e = &v->extents[i];
        if (e->kind == VMDK_SPARSE || e->kind == VMDK_STREAM)
            error = vmdk_sparse_check(e, repair, r);
    }
    return error;
}

static u64 vmdk_allocated(struct image *image)
{
    struct vmdk *v = vmdk_of(image);
    u64 bytes = file_allocated(image->file);
    for (u32 i = 0; i < v->count; i++)
        bytes +=
            v->extents[i].own_file && v->extents[i].file ? file_allocated(v->extents[i].file) : 0;
    return bytes;
}

static void vmdk_info(struct image *image, struct image_info *info)
{
    struct vmdk *v = vmdk_of(image);
    static const char *const kinds[] = {"FLAT", "SPARSE", "SPARSE", "ZERO"};
    image_info_line(info, true, "cid", "%u", v->descriptor.cid);
    image_info_line(info, true, "parent cid", "%u", v->descriptor.parent_cid);
    image_info_line(info, false, "create type", "%s", v->descriptor.type);
    for (u32 i = 0; i < v->count; i++) {
        const struct vmdk_extent *e = &v->extents[i];
        struct image_part part = {.name = e->own_file ? e->name : image->path,
                                  .bytes = e->bytes,
                                  .cluster_bytes = e->map.block_bytes,
                                  .format = kinds[e->kind]};
        info->compressed |= e->kind == VMDK_STREAM;
        part.compressed = e->kind == VMDK_STREAM;
        if (e->map.block_bytes)
            info->cluster_bytes = e->map.block_bytes;
        image_info_part(info, &part);
    }
}

const struct image_format vmdk_format = {
    .name = "vmdk",
    .description = "VMware: grows on demand, flat, split into files, or compressed for transport",
    .probe = probe,
    .open = vmdk_open,
    .close = vmdk_close,
    .read = vmdk_read,
    .write = vmdk_write,
    .flush = vmdk_flush,
    .zero = vmdk_zero,
    .discard = vmdk_zero,
    .extent = vmdk_extent_of,
    .write_compressed = vmdk_write_compressed,
    .create = vmdk_create,
    .check = vmdk_check,
    .follow_base = vmdk_follow_base,
    .allocated = vmdk_allocated,
    .info = vmdk_info,
};
