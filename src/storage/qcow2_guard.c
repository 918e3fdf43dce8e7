/* SPDX-License-Identifier: MIT
 *
 * A byte for each cluster of the file says what it is, and every write is checked against it:
 * metadata go only to clusters of their own kind, guest data only to clusters that are in use and
 * hold no metadata. A write that fails the test would destroy something; it is not made, and the
 * image is marked corrupt, so that no program writes to it before it was repaired.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "storage/qcow2.h"

#define PAGE_CLUSTERS 4096u

enum qcow2_kind qcow2_kind_of(const struct qcow2 *q, u64 cluster)
{
    u64 page = cluster / PAGE_CLUSTERS;
    if (page >= q->guard_pages || !q->guard[page])
        return KIND_DATA;
    return q->guard[page][cluster % PAGE_CLUSTERS];
}

/* Makes sure that the page exists. */
static bool have_page(struct qcow2 *q, u64 page)
{
    if (page >= q->guard_pages) {
        u64 pages = page + page / 2 + 1;
        u8 **guard = realloc(q->guard, pages * sizeof *guard);
        if (!guard)
            return false;
        memset(guard + q->guard_pages, 0, (pages - q->guard_pages) * sizeof *guard);
        q->guard = guard;
        q->guard_pages = pages;
    }
    if (!q->guard[page])
        q->guard[page] = calloc(1, PAGE_CLUSTERS);
    return q->guard[page] != NULL;
}

bool qcow2_set_kind(struct qcow2 *q, u64 offset, u64 bytes, enum qcow2_kind kind)
{
    u64 end = div_up(offset + bytes, q->cluster_size);
    for (u64 c = offset >> q->cluster_bits; c < end; c++) {
        if (kind == KIND_DATA && qcow2_kind_of(q, c) == KIND_DATA)
            continue;
        if (!have_page(q, c / PAGE_CLUSTERS))
            return false;
        q->guard[c / PAGE_CLUSTERS][c % PAGE_CLUSTERS] = (u8)kind;
    }
    return true;
}

bool qcow2_claim(struct qcow2 *q, u64 offset, u64 bytes, enum qcow2_kind kind)
{
    u64 end = div_up(offset + bytes, q->cluster_size);
    for (u64 c = offset >> q->cluster_bits; c < end; c++) {
        enum qcow2_kind before = qcow2_kind_of(q, c);
        if (before != KIND_DATA && before != kind)
            q->damaged = true;
        else if (!qcow2_set_kind(q, c << q->cluster_bits, 1, kind))
            return false;
    }
    return true;
}

int qcow2_corrupt(struct qcow2 *q, const char *what)
{
    u64 before = __atomic_load_n(&q->header.incompatible, __ATOMIC_RELAXED);
    if (before & QCOW2_CORRUPT)
        return -EIO;
    log_warn("%s: is corrupt (%s) and will not be written any more; try \"anello image check "
             "-r all\"",
             q->image->path, what);
    if (!q->image->read_only)
        qcow2_set_incompatible(q, QCOW2_CORRUPT, 0);
    __atomic_fetch_or(&q->header.incompatible, QCOW2_CORRUPT, __ATOMIC_RELAXED);
    return -EIO;
}

bool qcow2_unwritable(const struct qcow2 *q)
{
    u64 flags = __atomic_load_n(&q->header.incompatible, __ATOMIC_RELAXED);
    return q->abandoned || q->damaged || (flags & QCOW2_CORRUPT);
}

/* NULL when the write is allowed. */
static const char *objection(struct qcow2 *q, enum qcow2_kind kind, u64 offset, u64 bytes)
{
    u64 end = div_up(offset + bytes, q->cluster_size);
    for (u64 c = offset >> q->cluster_bits; c < end; c++) {
        u64 count = 0;
        if (qcow2_kind_of(q, c) != kind)
            return "a write would have hit metadata";
        if (kind != KIND_DATA)
            continue;
        if (qcow2_refcount_get(q, c, &count) || !count)
            return "guest data would have gone to a free cluster";
    }
    return NULL;
}

static int ask(struct qcow2 *q, enum qcow2_kind kind, u64 offset, u64 bytes)
{
    if (qcow2_unwritable(q))
        return -EIO;
    pthread_mutex_lock(&q->lock);
    const char *why = objection(q, kind, offset, bytes);
    pthread_mutex_unlock(&q->lock);
    return why ? qcow2_corrupt(q, why) : 0;
}

int qcow2_guarded_write(struct qcow2 *q, enum qcow2_kind kind, u64 offset, const void *data,
                        u64 bytes)
{
    int error = ask(q, kind, offset, bytes);
    return error ? error : file_write(q->file, offset, data, bytes);
}

int qcow2_write_data(struct qcow2 *q, u64 offset, struct io_vector data, u64 bytes)
{
    int error = ask(q, KIND_DATA, offset, bytes);
    return error ? error : file_write_vector(q->file, offset, data, bytes);
}
