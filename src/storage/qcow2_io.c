/* SPDX-License-Identifier: MIT
 *
 * Guest data. Every operation holds `io` shared, so that the file offsets that it looks up stay
 * what they are; the tables' lock is held only while looking up and linking.
 *
 * A write to clusters that are not owned takes new ones, completes them (with what the guest had
 * there before, where it writes only a part), and then links them. Until then the guest clusters
 * are in `allocating`: another write to them waits, a read still finds the old content.
 */
#include <errno.h>
#include <stdlib.h>

#include "storage/qcow2.h"

#define WRITE_MAX  MIB(16) /* most bytes of one allocation */
#define COPY_BYTES KIB(64) /* of a read that is no run of the file */

/* ---- reading ---- */

static int map_locked(struct qcow2 *q, u64 offset, u64 bytes, struct qcow2_extent *e)
{
    pthread_mutex_lock(&q->lock);
    int error = qcow2_map(q, offset, bytes, e);
    pthread_mutex_unlock(&q->lock);
    return error;
}

static int read_extent(struct qcow2 *q, const struct qcow2_extent *e, u64 offset, void *data)
{
    switch (e->type) {
    case MAP_BACKING: return image_read_below(q->image, offset, data, e->bytes);
    case MAP_ZERO: memset(data, 0, e->bytes); return 0;
    case MAP_DATA: return file_read(q->file, e->host, data, e->bytes);
    case MAP_COMPRESSED:
        return qcow2_read_compressed(q, e->entry, offset & (q->cluster_size - 1), data, e->bytes);
    }
    return -EINVAL;
}

/* With `io` held. */
static int read_range(struct qcow2 *q, u64 offset, u8 *data, u64 bytes)
{
    while (bytes) {
        struct qcow2_extent e;
        int error = map_locked(q, offset, bytes, &e);
        if (!error)
            error = read_extent(q, &e, offset, data);
        if (error)
            return error;
        offset += e.bytes, data += e.bytes, bytes -= e.bytes;
    }
    return 0;
}

int qcow2_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    pthread_rwlock_rdlock(&q->io);
    int error = read_range(q, offset, data, bytes);
    pthread_rwlock_unlock(&q->io);
    return error;
}

/* What lies in the file goes where it belongs, anything else by way of a buffer. */
static int read_extent_vector(struct qcow2 *q, const struct qcow2_extent *e, u64 offset,
                              struct io_vector v)
{
    if (e->type == MAP_DATA)
        return file_read_vector(q->file, e->host, v, e->bytes);
    u8 *buffer = malloc(e->bytes);
    int error = buffer ? read_extent(q, e, offset, buffer) : -ENOMEM;
    if (!error)
        io_vector_scatter(v, buffer, e->bytes);
    free(buffer);
    return error;
}

/* With `io` held. */
static int read_range_vector(struct qcow2 *q, u64 offset, struct io_vector v, u64 bytes)
{
    while (bytes) {
        struct qcow2_extent e;
        int error = map_locked(q, offset, bytes, &e);
        if (error)
            return error;
        if (e.type != MAP_DATA && e.bytes > COPY_BYTES)
            e.bytes = COPY_BYTES;
        error = read_extent_vector(q, &e, offset, v);
        if (error)
            return error;
        offset += e.bytes, bytes -= e.bytes;
        v = io_vector_after(v, e.bytes);
    }
    return 0;
}

int qcow2_read_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    pthread_rwlock_rdlock(&q->io);
    int error = read_range_vector(q, offset, v, bytes);
    pthread_rwlock_unlock(&q->io);
    return error;
}

/* ---- allocations in flight: lock held ---- */

static bool overlaps(const struct qcow2_run *list, u64 first, u64 count)
{
    for (; list; list = list->next) {
        if (first < list->first + list->count && list->first < first + count)
            return true;
    }
    return false;
}

static void add_run(struct qcow2 *q, struct qcow2_run *run)
{
    run->next = q->allocating;
    q->allocating = run;
}

static void remove_run(struct qcow2 *q, const struct qcow2_run *run)
{
    struct qcow2_run **at = &q->allocating;
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    pthread_cond_broadcast(&q->settled);
}

/* ---- writing ---- */

/* A write to new clusters. */
struct fresh {
    struct qcow2_run run; /* guest clusters */
    u64 host;
    u64 bytes;   /* guest bytes to write */
    bool virgin; /* the file has zeros there */
};

/* How many clusters from `offset` on, at most those of `bytes`, are not owned and not being
 * allocated. The first one is known to be such. */
static int count_unowned(struct qcow2 *q, u64 offset, u64 bytes, u64 *count)
{
    u64 first = offset >> q->cluster_bits;
    u64 end = div_up(offset + bytes, q->cluster_size);
    u64 table_end = align_down(first, qcow2_l2_entries(q)) + qcow2_l2_entries(q);
    if (end > table_end)
        end = table_end;
    for (*count = 1; first + *count < end; ++*count) {
        struct qcow2_extent e;
        u64 c = first + *count;
        if (overlaps(q->allocating, c, 1))
            break;
        int error = qcow2_map(q, c << q->cluster_bits, q->cluster_size, &e);
        if (error)
            return error;
        if (e.type == MAP_DATA && e.in_place)
            break;
    }
    return 0;
}

/* Lock held. */
static int begin_fresh(struct qcow2 *q, u64 offset, u64 bytes, struct fresh *f)
{
    u64 count, high_water = q->high_water;
    int error = count_unowned(q, offset, bytes < WRITE_MAX ? bytes : WRITE_MAX, &count);
    if (!error)
        error = qcow2_alloc(q, count, &f->host);
    if (error)
        return error;
    u64 first = offset >> q->cluster_bits;
    u64 end = (first + count) << q->cluster_bits;
    f->run = (struct qcow2_run){.first = first, .count = count};
    f->bytes = end - offset < bytes ? end - offset : bytes;
    f->virgin = f->host >= high_water;
    add_run(q, &f->run);
    return 0;
}

/* Copies guest bytes that the write leaves alone, but whose cluster moves. */
static int copy_rest(struct qcow2 *q, const struct fresh *f, u64 offset, u64 bytes)
{
    struct qcow2_extent e;
    u64 host = f->host + (offset - (f->run.first << q->cluster_bits));
    if (!bytes)
        return 0;
    int error = map_locked(q, offset, bytes, &e);
    bool zeros =
        e.type == MAP_ZERO || (e.type == MAP_BACKING && !image_has_below(q->image, offset));
    if (error || (zeros && f->virgin))
        return error;
    u8 *buffer = malloc(bytes);
    error = buffer ? read_range(q, offset, buffer, bytes) : -ENOMEM;
    if (!error)
        error = qcow2_guarded_write(q, KIND_DATA, host, buffer, bytes);
    free(buffer);
    return error;
}

static int fill_fresh(struct qcow2 *q, const struct fresh *f, u64 offset, struct io_vector data)
{
    u64 start = f->run.first << q->cluster_bits;
    u64 end = start + (f->run.count << q->cluster_bits);
    u64 after = offset + f->bytes;
    int error = copy_rest(q, f, start, offset - start);
    if (!error)
        error = qcow2_write_data(q, f->host + (offset - start), data, f->bytes);
    if (!error) /* the last cluster may reach beyond the disk: there it is zeros */
        error = copy_rest(q, f, after, end - after);
    return error;
}

/* Lock held, and held again at the end. */
static int write_fresh(struct qcow2 *q, u64 offset, struct io_vector data, u64 bytes, u64 *done)
{
    struct fresh f;
    int error = begin_fresh(q, offset, bytes, &f);
    if (error)
        return error;
    *done = f.bytes;
    pthread_mutex_unlock(&q->lock);
    error = fill_fresh(q, &f, offset, data);
    pthread_mutex_lock(&q->lock);
    if (!error)
        error = qcow2_link(q, f.run.first, f.run.count, f.host | QCOW2_COPIED, q->cluster_size);
    if (error)
        qcow2_free_now(q, f.host, f.run.count);
    remove_run(q, &f.run);
    return error;
}

/* Writes some of it; how much in *done. Lock held. */
static int write_some(struct qcow2 *q, u64 offset, struct io_vector data, u64 bytes, u64 *done)
{
    struct qcow2_extent e;
    while (overlaps(q->allocating, offset >> q->cluster_bits, 1))
        pthread_cond_wait(&q->settled, &q->lock);
    int error = qcow2_map(q, offset, bytes, &e);
    if (error)
        return error;
    if (e.type != MAP_DATA || !e.in_place)
        return write_fresh(q, offset, data, bytes, done);
    *done = e.bytes;
    pthread_mutex_unlock(&q->lock);
    error = qcow2_write_data(q, e.host, data, e.bytes);
    pthread_mutex_lock(&q->lock);
    return error;
}

static int write_range(struct qcow2 *q, u64 offset, struct io_vector data, u64 bytes)
{
    int error = 0;
    pthread_mutex_lock(&q->lock);
    for (u64 done = 0; bytes && !error; offset += done, bytes -= done) {
        error = write_some(q, offset, data, bytes, &done);
        data = io_vector_after(data, done);
    }
    pthread_mutex_unlock(&q->lock);
    return error;
}

/* So that what waits in memory stays bounded. `io` must not be held. */
static int commit_if_due(struct qcow2 *q, int error)
{
    pthread_mutex_lock(&q->lock);
    bool due = qcow2_commit_due(q);
    pthread_mutex_unlock(&q->lock);
    return due && !error ? qcow2_commit(q) : error;
}

int qcow2_write_vector(struct image *image, u64 offset, struct io_vector v, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    pthread_rwlock_rdlock(&q->io);
    int error = write_range(q, offset, v, bytes);
    pthread_rwlock_unlock(&q->io);
    return commit_if_due(q, error);
}

int qcow2_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    struct iovec buffer = {(void *)(uintptr_t)data, bytes};
    return qcow2_write_vector(image, offset, (struct io_vector){&buffer, 1, 0}, bytes);
}

/* ---- zeros ---- */

static bool reads_as_zeros(const struct qcow2 *q, const struct qcow2_extent *e, u64 offset)
{
    if (e->type == MAP_ZERO)
        return true;
    return e->type == MAP_BACKING && !image_has_below(q->image, offset);
}

/* Whole clusters, within one L2 table: unlinked, or marked as zeros over a backing image. */
static int zero_clusters(struct qcow2 *q, u64 offset, u64 bytes, u64 *done)
{
    struct qcow2_extent e;
    u64 cluster = offset >> q->cluster_bits;
    pthread_mutex_lock(&q->lock);
    while (overlaps(q->allocating, cluster, bytes >> q->cluster_bits))
        pthread_cond_wait(&q->settled, &q->lock);
    int error = qcow2_map(q, offset, bytes, &e);
    if (!error) {
        /* Compressed clusters are mapped one by one and may end with the request. */
        *done = align_up(e.bytes, q->cluster_size);
        u64 entry = qcow2_has_backing(q) ? QCOW2_ZERO : 0;
        if (!reads_as_zeros(q, &e, offset) || (e.entry & QCOW2_OFFSET))
            error = qcow2_link(q, cluster, *done >> q->cluster_bits, entry, 0);
    }
    pthread_mutex_unlock(&q->lock);
    return error;
}

/* A part of a cluster: zeros are written, unless they are there. */
static int zero_part(struct qcow2 *q, u64 offset, u64 bytes)
{
    struct qcow2_extent e;
    int error = map_locked(q, offset, bytes, &e);
    if (error || reads_as_zeros(q, &e, offset))
        return error;
    struct iovec zeros = {calloc(1, bytes), bytes};
    error =
        zeros.iov_base ? write_range(q, offset, (struct io_vector){&zeros, 1, 0}, bytes) : -ENOMEM;
    free(zeros.iov_base);
    return error;
}

/* True when whole clusters can be made zero by their entries alone. */
static bool can_mark(const struct qcow2 *q)
{
    return q->header.version >= 3 || !qcow2_has_backing(q);
}

static int zero_range(struct qcow2 *q, u64 offset, u64 bytes)
{
    u64 size = q->image->size, mask = q->cluster_size - 1;
    int error = 0;
    for (u64 done = 0; bytes && !error; offset += done, bytes -= done < bytes ? done : bytes) {
        u64 left = q->cluster_size - (offset & mask);
        bool whole = !(offset & mask) && (bytes > mask || offset + bytes == size);
        if (whole && can_mark(q)) {
            u64 clusters =
                offset + bytes == size ? div_up(bytes, q->cluster_size) : bytes >> q->cluster_bits;
            error = zero_clusters(q, offset, clusters << q->cluster_bits, &done);
        } else {
            done = left < bytes ? left : bytes;
            error = zero_part(q, offset, done);
        }
    }
    return error;
}

int qcow2_zero(struct image *image, u64 offset, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    pthread_rwlock_rdlock(&q->io);
    int error = zero_range(q, offset, bytes);
    pthread_rwlock_unlock(&q->io);
    return commit_if_due(q, error);
}

/* Only whole clusters, and only where no old content of a backing image would come through. */
int qcow2_discard(struct image *image, u64 offset, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    u64 first = align_up(offset, q->cluster_size);
    u64 end = offset + bytes == image->size ? offset + bytes
                                            : align_down(offset + bytes, q->cluster_size);
    if (first >= end || !can_mark(q))
        return 0;
    return qcow2_zero(image, first, end - first);
}

/* ---- for tools ---- */

int qcow2_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    struct qcow2 *q = qcow2_of(image);
    struct qcow2_extent e;
    int error = map_locked(q, offset, bytes, &e);
    if (error)
        return error;
    extent->bytes = e.bytes;
    extent->type = e.type == MAP_BACKING ? EXTENT_BACKING
                   : e.type == MAP_ZERO  ? EXTENT_ZERO
                                         : EXTENT_DATA;
    return 0;
}
