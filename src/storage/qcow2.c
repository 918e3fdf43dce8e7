/* SPDX-License-Identifier: MIT
 *
 * Opening and closing qcow2 images, and their table of operations. What a qcow2 image is made of
 * is told in qcow2.h.
 */
#include "storage/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static bool probe(const u8 *head)
{
    return get_be32(head) == QCOW2_MAGIC && (get_be32(head + 4) == 2 || get_be32(head + 4) == 3);
}

static int read_header(struct qcow2 *q, const char *path, char *error, size_t n)
{
    u64 most = (u64)1 << QCOW2_MAX_CLUSTER_BITS, size = file_size(q->file);
    u64 bytes = size < most ? size : most;
    u8 *head = malloc(bytes + 1);
    int failed = head ? file_read(q->file, 0, head, bytes) : -ENOMEM;
    if (!image_result(path, failed, error, n))
        failed = qcow2_header_parse(&q->header, head, size, path, error, n);
    free(head);
    return failed;
}

static void init_locks(struct qcow2 *q)
{
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* A commit waits for readers once; later readers queue behind it. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&q->io, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&q->commit_lock, NULL);
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->inflate_lock, NULL);
    pthread_cond_init(&q->settled, NULL);
}

static void forget_tables(struct qcow2 *q)
{
    qcow2_map_close(q);
    qcow2_refcounts_close(q);
    for (u64 i = 0; i < q->guard_pages; i++)
        free(q->guard[i]);
    free(q->guard);
    free(q->inflated);
    q->guard = NULL;
    q->inflated = NULL;
    q->guard_pages = q->inflated_entry = 0;
    memset(q->free_hints, 0, sizeof q->free_hints);
}

static void destroy(struct qcow2 *q)
{
    forget_tables(q);
    pthread_rwlock_destroy(&q->io);
    pthread_mutex_destroy(&q->commit_lock);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->inflate_lock);
    pthread_cond_destroy(&q->settled);
    free(q);
}

static int open_tables(struct qcow2 *q, char *error, size_t n)
{
    q->cluster_bits = q->header.cluster_bits;
    q->cluster_size = (u64)1 << q->cluster_bits;
    q->high_water = align_up(file_size(q->file), q->cluster_size);
    int failed = qcow2_set_kind(q, 0, 1, KIND_HEADER) ? 0 : -ENOMEM;
    if (!failed)
        failed = qcow2_refcounts_open(q, error, n);
    if (!failed)
        failed = qcow2_map_open(q, error, n);
    return failed ? failed : qcow2_snapshots_open(q, error, n);
}

static int open_backing(struct image *image, const struct image_options *options, char *error,
                        size_t n)
{
    const struct qcow2_header *h = &qcow2_of(image)->header;
    if (!h->backing_path[0])
        return 0;
    image->backing_path = strdup(h->backing_path);
    image->backing_format = h->backing_format[0] ? strdup(h->backing_format) : NULL;
    return image_open_backing(image, options, error, n);
}

/* Reads everything anew: a repair may have replaced the refcounts. */
static int reload(struct image *image, char *error, size_t n)
{
    struct qcow2 *q = qcow2_of(image);
    if (!q->abandoned)
        return 0;
    forget_tables(q);
    q->abandoned = q->damaged = false;
    int failed = read_header(q, image->path, error, n);
    return failed ? failed : open_tables(q, error, n);
}

/* After a crash of a program that lets counts lag behind, or within a snapshot operation. */
static int repair(struct image *image, char *error, size_t n)
{
    struct image_check result = {0};
    log_warn("%s: was not closed; repairing its reference counts", image->path);
    int failed = qcow2_check(image, REPAIR_LEAKS | REPAIR_ERRORS, &result);
    if (!failed && result.errors == result.errors_fixed)
        return reload(image, error, n);
    snprintf(error, n, "%s: has errors that cannot be repaired; see \"anello image check\"",
             image->path);
    return -EIO;
}

/* What this program does not know must not be believed by others after it has written. */
static int clear_autoclear(struct qcow2 *q)
{
    static const u8 zeros[8];
    if (q->header.version < 3 || !q->header.autoclear)
        return 0;
    int error = qcow2_header_write(q, QCOW2_H_AUTOCLEAR, zeros, sizeof zeros);
    if (!error)
        q->header.autoclear = 0;
    return error;
}

static int prepare_writing(struct image *image, const struct image_options *options, char *error,
                           size_t n)
{
    struct qcow2 *q = qcow2_of(image);
    if (image->read_only || options->no_repair)
        return 0;
    bool marked = q->header.incompatible & QCOW2_CORRUPT;
    if (!marked && (q->header.incompatible & QCOW2_DIRTY) && repair(image, error, n))
        return -EIO;
    if (marked || q->damaged) {
        snprintf(error, n,
                 "%s: is %s; repair it with \"anello image check -r all\", or use it read-only",
                 image->path, marked ? "marked corrupt" : "damaged");
        return -EIO;
    }
    return image_result(image->path, clear_autoclear(q), error, n);
}

static int open_image(struct image *image, const struct image_options *options, char *error,
                      size_t n)
{
    struct qcow2 *q = calloc(1, sizeof *q);
    if (!q) {
        snprintf(error, n, "%s: out of memory", image->path);
        return -ENOMEM;
    }
    init_locks(q);
    q->image = image;
    q->file = image->file;
    image->state = q;
    int failed = read_header(q, image->path, error, n);
    if (!failed) {
        image->size = align_up(q->header.size, 512);
        failed = open_tables(q, error, n);
    }
    if (!failed)
        failed = open_backing(image, options, error, n);
    if (!failed)
        failed = prepare_writing(image, options, error, n);
    if (failed)
        destroy(q);
    return failed;
}

static void close_image(struct image *image)
{
    struct qcow2 *q = qcow2_of(image);
    /* Twice: what the first one releases, the second one counts. */
    if (!image->read_only && !qcow2_unwritable(q) && (qcow2_commit(q) || qcow2_commit(q)))
        log_warn("%s: its last changes could not be written", image->path);
    destroy(q);
}

static int flush(struct image *image)
{
    return qcow2_commit(qcow2_of(image));
}

void qcow2_info(struct image *image, struct image_info *info)
{
    const struct qcow2_header *h = &qcow2_of(image)->header;
    bool v3 = h->version >= 3;
    info->cluster_bytes = (u64)1 << h->cluster_bits;
    info->dirty = h->incompatible & QCOW2_DIRTY;
    image_info_line(info, false, "compat", "%s", v3 ? "1.1" : "0.10");
    image_info_line(info, false, "compression type", "%s",
                    h->compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (!v3)
        return;
    image_info_line(info, true, "lazy refcounts", "%s",
                    h->compatible & QCOW2_LAZY_REFCOUNTS ? "true" : "false");
    image_info_line(info, true, "refcount bits", "%u", 1u << h->refcount_order);
    image_info_line(info, true, "corrupt", "%s",
                    h->incompatible & QCOW2_CORRUPT ? "true" : "false");
    image_info_line(info, true, "extended l2", "false");
}

const struct image_format qcow2_format = {
    .name = "qcow2",
    .description = "grows on demand; backing files, snapshots, compression",
    .probe = probe,
    .open = open_image,
    .close = close_image,
    .read = qcow2_read,
    .write = qcow2_write,
    .read_vector = qcow2_read_vector,
    .write_vector = qcow2_write_vector,
    .flush = flush,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .extent = qcow2_extent,
    .write_compressed = qcow2_write_compressed,
    .create = qcow2_create,
    .check = qcow2_check,
    .resize = qcow2_resize,
    .preallocate = qcow2_preallocate,
    .rebase = qcow2_rebase,
    .empty = qcow2_empty,
    .snapshot_list = qcow2_snapshot_list,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .snapshot_show = qcow2_snapshot_show,
    .info = qcow2_info,
};
