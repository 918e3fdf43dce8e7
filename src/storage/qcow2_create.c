/* SPDX-License-Identifier: MIT
 *
 * New images, and changes of their size and backing file.
 *
 * A new image is born with no size: header, refcount table, one refcount block and an L1 table of
 * one cluster. It is then opened and grown like any other, so that there is one way to lay out
 * tables.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/qcow2.h"

#define DEFAULT_CLUSTER KIB(64)

/* ---- options ---- */

static bool is_power_of_two(u64 v)
{
    return v && !(v & (v - 1));
}

static const char *read_options(const struct image_create *o, struct qcow2_header *h)
{
    u64 cluster = o->cluster_bytes ? o->cluster_bytes : DEFAULT_CLUSTER;
    u32 bits = o->refcount_bits ? o->refcount_bits : 16;
    const char *compat = o->compat ? o->compat : "1.1";
    bool v3 = !strcmp(compat, "1.1") || !strcmp(compat, "v3");
    if (!v3 && strcmp(compat, "0.10") && strcmp(compat, "v2"))
        return "compat is 0.10 or 1.1";
    if (!is_power_of_two(cluster) || cluster < ((u64)1 << QCOW2_MIN_CLUSTER_BITS) ||
        cluster > ((u64)1 << QCOW2_MAX_CLUSTER_BITS))
        return "cluster_size is a power of two from 512 to 2M";
    if (!is_power_of_two(bits) || bits > 64)
        return "refcount_bits is a power of two up to 64";
    if (!v3 && (bits != 16 || o->lazy_refcounts))
        return "refcount_bits and lazy_refcounts need compat=1.1";
    bool zstd = o->compression && !strcmp(o->compression, "zstd");
    if (o->compression && !zstd && strcmp(o->compression, "zlib"))
        return "compression_type is zlib or zstd";
    if (zstd && !v3)
        return "compression_type=zstd needs compat=1.1";
    if (o->backing && strlen(o->backing) > QCOW2_MAX_BACKING_NAME)
        return "the name of the backing file is too long";
    if (o->backing_format && strlen(o->backing_format) >= sizeof h->backing_format)
        return "the name of the backing format is too long";
    *h = (struct qcow2_header){.version = v3 ? 3 : 2,
                               .cluster_bits = (u32)__builtin_ctzll(cluster),
                               .refcount_order = (u32)__builtin_ctz(bits),
                               .header_bytes =
                                   v3 ? zstd ? 112 : QCOW2_V3_HEADER_BYTES : QCOW2_V2_HEADER_BYTES,
                               .incompatible = zstd ? QCOW2_COMPRESSION : 0,
                               .compatible = o->lazy_refcounts ? QCOW2_LAZY_REFCOUNTS : 0,
                               .compression = zstd ? QCOW2_ZSTD : QCOW2_ZLIB};
    snprintf(h->backing_path, sizeof h->backing_path, "%s", o->backing ? o->backing : "");
    snprintf(h->backing_format, sizeof h->backing_format, "%s",
             o->backing_format ? o->backing_format : "");
    return NULL;
}

static const char *check_preallocation(const struct image_create *o)
{
    static const char *const known[] = {"off", "metadata", "falloc", "full"};
    const char *mode = o->preallocation ? o->preallocation : "off";
    if (strcmp(mode, "off") && o->backing)
        return "preallocation and a backing file exclude each other";
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!strcmp(mode, known[i]))
            return NULL;
    }
    return "preallocation is off, metadata, falloc or full";
}

/* ---- the empty image ---- */

/* Clusters 0 to 3: header, refcount table, refcount block, L1 table. */
static int write_empty(struct file *file, struct qcow2_header *h)
{
    enum { REFTABLE = 1, REFBLOCK = 2, L1 = 3, CLUSTERS = 4 };
    u64 cluster = (u64)1 << h->cluster_bits;
    h->reftable_offset = REFTABLE * cluster;
    h->reftable_clusters = 1;
    h->l1_offset = L1 * cluster;
    h->l1_size = (u32)(cluster / 8);
    u8 *bytes = calloc(CLUSTERS, cluster);
    if (!bytes)
        return -ENOMEM;
    struct qcow2 counts = {.refcount_bits = 1u << h->refcount_order};
    put_be64(bytes + REFTABLE * cluster, REFBLOCK * cluster);
    for (u64 c = 0; c < CLUSTERS; c++)
        qcow2_put_in_block(&counts, bytes + REFBLOCK * cluster, c, 1);
    int error = qcow2_header_build(h, bytes, cluster);
    if (!error)
        error = file_write(file, 0, bytes, CLUSTERS * cluster);
    free(bytes);
    return error;
}

/* ---- preallocation ---- */

/* Gives every guest cluster from `c` on one of the file, in order; none has one yet. */
static int map_everything(struct qcow2 *q, u64 c)
{
    u64 end = div_up(q->header.size, q->cluster_size), written = q->high_water;
    int error = 0;
    while (c < end && !error) {
        u64 host, n = qcow2_l2_entries(q) - (c & (qcow2_l2_entries(q) - 1));
        if (n > end - c)
            n = end - c;
        error = qcow2_alloc(q, n, &host);
        if (!error && host < written) /* something old lies there */
            error = file_zero(q->file, host, n << q->cluster_bits);
        if (!error)
            error = qcow2_link(q, c, n, host | QCOW2_COPIED, q->cluster_size);
        if (!error && qcow2_commit_due(q))
            error = qcow2_commit(q);
        c += n;
    }
    if (!error && file_size(q->file) < q->high_water)
        error = file_truncate(q->file, q->high_water);
    return error ? error : qcow2_commit(q);
}

static int write_all_zeros(struct image *image, u64 from)
{
    u64 piece = MIB(1);
    u8 *zeros = calloc(1, piece);
    int error = zeros ? 0 : -ENOMEM;
    for (u64 at = from; at < image->size && !error; at += piece) {
        u64 n = image->size - at < piece ? image->size - at : piece;
        error = qcow2_write(image, at, zeros, n);
    }
    free(zeros);
    return error ? error : qcow2_commit(qcow2_of(image));
}

int qcow2_preallocate(struct image *image, u64 from, const char *mode)
{
    struct qcow2 *q = qcow2_of(image);
    bool metadata = !strcmp(mode, "metadata"), full = !strcmp(mode, "full");
    if (qcow2_has_backing(q) || (!metadata && !full && strcmp(mode, "falloc")))
        return -EINVAL;
    u64 end = file_size(q->file);
    int error = map_everything(q, div_up(from, q->cluster_size));
    if (error || metadata)
        return error;
    if (full)
        return write_all_zeros(image, from);
    return q->high_water > end ? file_reserve(q->file, end, q->high_water - end) : 0;
}

int qcow2_create(const char *path, const struct image_create *o, char *error, size_t n)
{
    struct qcow2_header h;
    const char *why = image_create_extra(o, IMAGE_BACKING | IMAGE_PREALLOCATION | IMAGE_QCOW2);
    if (!why)
        why = read_options(o, &h);
    if (!why)
        why = check_preallocation(o);
    if (why)
        return image_refuse(path, why, error, n);
    struct file *file = file_open(path, FILE_WRITABLE | FILE_CREATE, error, n);
    if (!file)
        return -EIO;
    int failed = write_empty(file, &h);
    if (failed == -E2BIG) {
        file_close(file);
        return image_refuse(path, "the name of the backing file does not fit in a cluster", error,
                            n);
    }
    if (failed) {
        file_close(file);
        return image_result(path, failed, error, n);
    }
    struct image_options io = {.format = "qcow2", .no_backing = true};
    struct image *image = image_open_file(file, path, &io, error, n);
    if (!image)
        return -EIO;
    failed = qcow2_resize(image, o->bytes, error, n);
    if (!failed && o->preallocation && strcmp(o->preallocation, "off"))
        failed = image_result(path, qcow2_preallocate(image, 0, o->preallocation), error, n);
    image_close(image);
    return failed;
}

/* ---- size ---- */

static int write_size(struct qcow2 *q, u64 bytes)
{
    u8 field[8];
    put_be64(field, bytes);
    int error = qcow2_header_write(q, QCOW2_H_SIZE, field, sizeof field);
    if (!error)
        error = file_flush(q->file);
    if (!error) {
        q->header.size = bytes;
        q->image->size = align_up(bytes, 512);
    }
    return error;
}

static int grow(struct qcow2 *q, u64 bytes)
{
    u64 before = q->image->size;
    u64 entries = div_up(bytes, q->cluster_size << q->l2_bits);
    int error = entries > q->header.l1_size ? qcow2_grow_l1(q, entries) : 0;
    if (!error)
        error = write_size(q, bytes);
    /* The new part is empty, whatever a longer backing image has there. */
    if (!error && qcow2_has_backing(q) && q->image->backing->size > before)
        error = qcow2_zero(q->image, before, q->image->size - before);
    return error ? error : qcow2_commit(q);
}

/* A cluster that the new end cuts in two stays: its rest must not show when the image grows again.
 */
static int clear_behind(struct qcow2 *q, u64 bytes)
{
    u64 end = align_up(bytes, q->cluster_size);
    if (end > q->image->size)
        end = q->image->size;
    return qcow2_zero(q->image, bytes, end - bytes);
}

/* Unlinks what lies beyond the new end, then says so in the header. */
static int shrink(struct qcow2 *q, u64 bytes)
{
    u64 end = div_up(q->header.size, q->cluster_size), c = div_up(bytes, q->cluster_size);
    int error = clear_behind(q, bytes);
    while (c < end && !error) {
        struct qcow2_extent e;
        u64 n = qcow2_l2_entries(q) - (c & (qcow2_l2_entries(q) - 1));
        if (n > end - c)
            n = end - c;
        error = qcow2_map(q, c << q->cluster_bits, n << q->cluster_bits, &e);
        if (error)
            break;
        n = div_up(e.bytes, q->cluster_size);
        if (e.type != MAP_BACKING)
            error = qcow2_link(q, c, n, 0, 0);
        c += n;
    }
    if (!error)
        error = qcow2_commit(q);
    if (!error)
        error = write_size(q, bytes);
    return error ? error : qcow2_commit(q);
}

int qcow2_resize(struct image *image, u64 bytes, char *error, size_t n)
{
    struct qcow2 *q = qcow2_of(image);
    u64 reach = (u64)QCOW2_MAX_L1_BYTES / 8 * (q->cluster_size << q->l2_bits);
    bytes = align_up(bytes, 512);
    if (bytes > reach || bytes > (u64)INT64_MAX - q->cluster_size) {
        snprintf(error, n, "%s: is too large for clusters of %llu bytes", image->path,
                 (unsigned long long)q->cluster_size);
        return -EFBIG;
    }
    if (bytes < q->header.size && q->header.snapshot_count) {
        snprintf(error, n, "%s: has snapshots, which need the larger size; delete them first",
                 image->path);
        return -ENOTSUP;
    }
    int failed = bytes < q->header.size ? shrink(q, bytes) : grow(q, bytes);
    if (failed)
        snprintf(error, n, "%s: cannot change its size: %s", image->path, strerror(-failed));
    return failed;
}

int qcow2_empty(struct image *image)
{
    struct qcow2 *q = qcow2_of(image);
    u64 size = q->header.size;
    int error = qcow2_commit(q);
    if (!error)
        error = shrink(q, 0);
    return error ? error : write_size(q, size);
}

/* ---- the backing file ---- */

/* Only the name: what the image shows must be the same through the new one. */
int qcow2_rebase(struct image *image, const char *backing, const char *format, char *error,
                 size_t n)
{
    struct qcow2 *q = qcow2_of(image);
    struct qcow2_header h = q->header;
    if (h.other_lost)
        return image_refuse(image->path, "has header extensions that would be lost", error, n);
    if ((backing && strlen(backing) > QCOW2_MAX_BACKING_NAME) ||
        (format && strlen(format) >= sizeof h.backing_format))
        return image_refuse(image->path, "the name of the backing file is too long", error, n);
    snprintf(h.backing_path, sizeof h.backing_path, "%s", backing ? backing : "");
    snprintf(h.backing_format, sizeof h.backing_format, "%s", backing && format ? format : "");
    int failed = qcow2_commit(q);
    u8 *cluster = calloc(1, q->cluster_size);
    if (!failed)
        failed = cluster ? qcow2_header_build(&h, cluster, q->cluster_size) : -ENOMEM;
    if (!failed)
        failed = qcow2_guarded_write(q, KIND_HEADER, 0, cluster, q->cluster_size);
    if (!failed)
        failed = file_flush(q->file);
    free(cluster);
    if (failed)
        snprintf(error, n, "%s: cannot write its header: %s", image->path, strerror(-failed));
    else
        q->header = h;
    return failed;
}
