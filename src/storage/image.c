/* SPDX-License-Identifier: MIT
 *
 * Opening images: which format, and the calls that go through it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/format.h"

#define CHAIN_MAX    64 /* images on top of each other: a loop is caught here */
#define SECTOR_BYTES 512

const struct image_format *const image_formats[] = {&qcow2_format, &vmdk_format, &vdi_format,
                                                    &raw_format, NULL};

/* Formats that are recognised only to say so. */
static const struct {
    const char *name;
    u32 offset;
    const char *magic;
    u32 length;
} foreign[] = {
    {"qcow (old)", 0, "QFI\xfb", 4},
    {"vmdk (of ESX)", 0, "COWD", 4},
    {"vhdx", 0, "vhdxfile", 8},
    {"vpc", 0, "conectix", 8},
    {"qed", 0, "QED\0", 4},
    {"parallels", 0, "WithoutFreeSpace", 16},
    {"parallels", 0, "WithouFreSpacExt", 16},
};

const struct image_format *image_format_by_name(const char *name)
{
    for (const struct image_format *const *f = image_formats; *f; f++) {
        if (!strcmp((*f)->name, name))
            return *f;
    }
    return NULL;
}

const struct image_format *image_format_probe(const u8 *head)
{
    for (const struct image_format *const *f = image_formats; *f; f++) {
        if ((*f)->probe && (*f)->probe(head))
            return *f;
    }
    return NULL;
}

static const char *foreign_format(const u8 *head)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        if (!memcmp(head + foreign[i].offset, foreign[i].magic, foreign[i].length))
            return foreign[i].name;
    }
    return NULL;
}

int image_refuse(const char *path, const char *why, char *error, size_t n)
{
    snprintf(error, n, "%s: %s", path, why);
    return -EINVAL;
}

int image_result(const char *path, int failed, char *error, size_t n)
{
    if (failed)
        snprintf(error, n, "%s: %s", path, strerror(-failed));
    return failed;
}

/* The format to use, or NULL with a message. */
static const struct image_format *choose(struct file *file, const char *path, const char *wanted,
                                         char *error, size_t n)
{
    if (wanted) {
        const struct image_format *format = image_format_by_name(wanted);
        if (!format)
            snprintf(error, n, "%s: unknown image format \"%s\"", path, wanted);
        return format;
    }
    u8 head[PROBE_BYTES];
    if (image_result(path, file_read(file, 0, head, sizeof head), error, n))
        return NULL;
    const struct image_format *format = image_format_probe(head);
    if (format)
        return format;
    const char *name = foreign_format(head);
    if (!name)
        return &raw_format;
    snprintf(error, n,
             "%s: is a %s image, which is not supported; convert it with \"qemu-img convert -O "
             "raw\", or say format=raw if the guest itself is to see these bytes",
             path, name);
    return NULL;
}

struct image *image_open_file(struct file *file, const char *path,
                              const struct image_options *options, char *error, size_t n)
{
    struct image *image = calloc(1, sizeof *image);
    if (!image) {
        snprintf(error, n, "%s: out of memory", path);
        file_close(file);
        return NULL;
    }
    image->file = file;
    image->path = strdup(path);
    image->read_only = options->read_only;
    image->probed = !options->format;
    image->format = choose(file, path, options->format, error, n);
    if (!image->format || image->format->open(image, options, error, n)) {
        image->format = NULL;
        image_close(image);
        return NULL;
    }
    return image;
}

struct image *image_open(const char *path, const struct image_options *options, char *error,
                         size_t n)
{
    if (options->depth > CHAIN_MAX) {
        snprintf(error, n, "%s: its chain of backing files is too long or a loop", path);
        return NULL;
    }
    bool writable = !options->read_only || options->follows;
    unsigned flags = options->file_flags | (writable ? FILE_WRITABLE : 0);
    struct file *file = file_open(path, flags, error, n);
    return file ? image_open_file(file, path, options, error, n) : NULL;
}

void image_close(struct image *image)
{
    if (!image)
        return;
    if (image->format && image->format->close)
        image->format->close(image);
    image_close(image->backing);
    file_close(image->file);
    free(image->backing_path);
    free(image->backing_format);
    free(image->path);
    free(image);
}

/* ---- backing images ---- */

char *image_relative_path(const char *image_path, const char *name)
{
    const char *slash = strrchr(image_path, '/');
    if (*name == '/' || !slash)
        return strdup(name);
    char *path = NULL;
    if (asprintf(&path, "%.*s/%s", (int)(slash - image_path), image_path, name) < 0)
        return NULL;
    return path;
}

int image_open_backing(struct image *image, const struct image_options *options, char *error,
                       size_t n)
{
    if (options->no_backing)
        return 0;
    char *path = image_relative_path(image->path, image->backing_path);
    struct image_options below = {.format = image->backing_format,
                                  .read_only = true,
                                  .file_flags = options->file_flags,
                                  .depth = options->depth + 1};
    image->backing = path ? image_open(path, &below, error, n) : NULL;
    free(path);
    if (image->backing)
        return 0;
    size_t used = strlen(error);
    snprintf(error + used, n - used, " (the backing file of %s)", image->path);
    return -ENOENT;
}

int image_read_below(struct image *image, u64 offset, void *data, u64 bytes)
{
    struct image *backing = image->backing;
    u64 there = backing && offset < backing->size ? backing->size - offset : 0;
    if (there > bytes)
        there = bytes;
    memset((u8 *)data + there, 0, bytes - there);
    return there ? image_read(backing, offset, data, there) : 0;
}

bool image_has_below(const struct image *image, u64 offset)
{
    return image->backing && offset < image->backing->size;
}

const char *image_create_extra(const struct image_create *o, unsigned known)
{
    if (!(known & IMAGE_BACKING) && (o->backing || o->backing_format))
        return "this format knows no backing files";
    if (!(known & IMAGE_PREALLOCATION) && o->preallocation && strcmp(o->preallocation, "off"))
        return "this format knows no preallocation";
    if (!(known & IMAGE_QCOW2) &&
        (o->cluster_bytes || o->compat || o->refcount_bits || o->lazy_refcounts || o->compression))
        return "cluster_size, compat, refcount_bits, lazy_refcounts and compression_type are for "
               "qcow2";
    if (!(known & IMAGE_VMDK) &&
        (o->subformat || o->adapter || o->hardware_version || o->zeroed_grain))
        return "subformat, adapter_type, hwversion and zeroed_grain are for vmdk";
    if (!(known & IMAGE_STATIC) && o->is_static)
        return "static is for vdi";
    return NULL;
}

/* Without memory the part is not told. */
void image_info_part(struct image_info *info, const struct image_part *part)
{
    struct image_part *parts = realloc(info->parts, (info->part_count + 1) * sizeof *parts);
    if (!parts)
        return;
    info->parts = parts;
    parts[info->part_count++] = *part;
}

void image_info_line(struct image_info *info, bool bare, const char *key, const char *fmt, ...)
{
    if (info->count == IMAGE_INFO_LINES)
        return;
    va_list ap;
    va_start(ap, fmt);
    snprintf(info->lines[info->count].key, sizeof info->lines[0].key, "%s", key);
    vsnprintf(info->lines[info->count].value, sizeof info->lines[0].value, fmt, ap);
    va_end(ap);
    info->lines[info->count++].bare = bare;
}

/* ---- calls ---- */

static bool in_range(const struct image *image, u64 offset, u64 bytes)
{
    return offset <= image->size && bytes <= image->size - offset;
}

int image_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    return bytes ? image->format->read(image, offset, data, bytes) : 0;
}

int image_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    if (image->read_only)
        return -EROFS;
    return bytes ? image->format->write(image, offset, data, bytes) : 0;
}

int image_read_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    return bytes ? image->format->read_vector(image, offset, v, bytes) : 0;
}

int image_write_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    if (image->read_only)
        return -EROFS;
    return bytes ? image->format->write_vector(image, offset, v, bytes) : 0;
}

int image_flush(struct image *image)
{
    return image->read_only || !image->format->flush ? 0 : image->format->flush(image);
}

static int write_zeros(struct image *image, u64 offset, u64 bytes)
{
    u64 piece = bytes < KIB(64) ? bytes : KIB(64);
    u8 *zeros = calloc(1, piece);
    int error = zeros ? 0 : -ENOMEM;
    for (; bytes && !error; offset += piece, bytes -= piece) {
        if (piece > bytes)
            piece = bytes;
        error = image->format->write(image, offset, zeros, piece);
    }
    free(zeros);
    return error;
}

int image_zero(struct image *image, u64 offset, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    if (image->read_only)
        return -EROFS;
    if (!bytes)
        return 0;
    return image->format->zero ? image->format->zero(image, offset, bytes)
                               : write_zeros(image, offset, bytes);
}

int image_discard(struct image *image, u64 offset, u64 bytes)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    if (image->read_only)
        return -EROFS;
    return bytes && image->format->discard ? image->format->discard(image, offset, bytes) : 0;
}

int image_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    if (!in_range(image, offset, bytes) || !bytes)
        return -EINVAL;
    if (image->format->extent)
        return image->format->extent(image, offset, bytes, extent);
    *extent = (struct image_extent){EXTENT_DATA, bytes};
    return 0;
}

int image_extent_through(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    if (!in_range(image, offset, bytes))
        return -EINVAL;
    *extent = (struct image_extent){EXTENT_BACKING, bytes};
    for (; image && offset < image->size && extent->type == EXTENT_BACKING;
         image = image->backing) {
        u64 there = image->size - offset;
        int error =
            image_extent(image, offset, extent->bytes < there ? extent->bytes : there, extent);
        if (error)
            return error;
    }
    if (extent->type == EXTENT_BACKING)
        extent->type = EXTENT_ZERO;
    return 0;
}
