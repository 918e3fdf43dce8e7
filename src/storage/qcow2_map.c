/* SPDX-License-Identifier: MIT
 *
 * From guest offsets to file offsets. The L1 table is in memory as a whole; L2 tables are loaded
 * when needed, and the one that was not used for longest is dropped when there are too many,
 * provided that the file has all of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/qcow2.h"

#define L2_CACHE_BYTES MIB(32)
#define L2_CACHE_MIN   16
#define L1_DIRTY_BYTES 512 /* what one bit of l1_dirty stands for */

/* ---- tables ---- */

struct qcow2_table *qcow2_table_new(const struct qcow2 *q, u64 offset)
{
    struct qcow2_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->offset = offset;
    t->bytes = calloc(1, q->cluster_size);
    if (!t->bytes) {
        free(t);
        return NULL;
    }
    return t;
}

void qcow2_table_free(struct qcow2_table *t)
{
    if (t)
        free(t->bytes);
    free(t);
}

void qcow2_table_touch(struct qcow2 *q, struct qcow2_table *t, u32 from, u32 to)
{
    (void)q;
    if (t->dirty_from >= t->dirty_to) {
        t->dirty_from = from;
        t->dirty_to = to;
        return;
    }
    if (from < t->dirty_from)
        t->dirty_from = from;
    if (to > t->dirty_to)
        t->dirty_to = to;
}

static bool is_dirty(const struct qcow2_table *t)
{
    return t->dirty_from < t->dirty_to;
}

/* ---- L1 ---- */

u64 qcow2_l1_entry(const struct qcow2 *q, u64 index)
{
    return get_be64(q->l1 + 8 * index);
}

void qcow2_set_l1(struct qcow2 *q, u64 index, u64 entry)
{
    put_be64(q->l1 + 8 * index, entry);
    u64 piece = 8 * index / L1_DIRTY_BYTES;
    q->l1_dirty[piece / 64] |= bit64(piece % 64);
}

/* ---- L2 ---- */

static u64 cache_limit(const struct qcow2 *q)
{
    u64 tables = L2_CACHE_BYTES >> q->cluster_bits;
    return tables < L2_CACHE_MIN ? L2_CACHE_MIN : tables;
}

bool qcow2_commit_due(const struct qcow2 *q)
{
    return q->l2_dirty > cache_limit(q) / 2;
}

static void drop_oldest(struct qcow2 *q)
{
    u64 oldest = UINT64_MAX;
    for (u64 i = 0; i < q->header.l1_size; i++) {
        const struct qcow2_table *t = q->l2[i];
        if (t && !is_dirty(t) && !t->committing &&
            (oldest == UINT64_MAX || t->used < q->l2[oldest]->used))
            oldest = i;
    }
    if (oldest == UINT64_MAX)
        return;
    qcow2_table_free(q->l2[oldest]);
    q->l2[oldest] = NULL;
    q->l2_loaded--;
}

static void keep(struct qcow2 *q, u64 index, struct qcow2_table *t)
{
    if (q->l2_loaded >= cache_limit(q))
        drop_oldest(q);
    q->l2[index] = t;
    q->l2_loaded++;
}

static bool points_to_table(const struct qcow2 *q, u64 at)
{
    return !(at & (q->cluster_size - 1)) && qcow2_kind_of(q, at >> q->cluster_bits) == KIND_L2;
}

int qcow2_l2_load(struct qcow2 *q, u64 index, struct qcow2_table **table)
{
    u64 at = qcow2_l1_entry(q, index) & QCOW2_OFFSET;
    struct qcow2_table *t = q->l2[index];
    *table = t;
    if (t)
        t->used = ++q->use_counter;
    if (t || !at)
        return 0;
    if (!points_to_table(q, at))
        return qcow2_corrupt(q, "an L1 entry points to no L2 table");
    t = qcow2_table_new(q, at);
    int error = t ? file_read(q->file, at, t->bytes, q->cluster_size) : -ENOMEM;
    if (error) {
        qcow2_table_free(t);
        return error;
    }
    t->used = ++q->use_counter;
    keep(q, index, t);
    *table = t;
    return 0;
}

/* A table of our own at L1 index: a new one, or a copy of the shared one. */
static int own_table(struct qcow2 *q, u64 index, struct qcow2_table **table)
{
    struct qcow2_table *before;
    u64 entry = qcow2_l1_entry(q, index), at;
    int error = qcow2_l2_load(q, index, &before);
    *table = before;
    if (error || (before && (entry & QCOW2_COPIED)))
        return error;
    error = qcow2_alloc(q, 1, &at);
    if (error)
        return error;
    struct qcow2_table *t = qcow2_table_new(q, at);
    if (!t || !qcow2_set_kind(q, at, 1, KIND_L2)) {
        qcow2_table_free(t);
        qcow2_free_now(q, at, 1);
        return -ENOMEM;
    }
    t->fresh = true;
    t->used = ++q->use_counter;
    if (before) {
        memcpy(t->bytes, before->bytes, q->cluster_size);
        qcow2_free_later(q, KIND_L2, before->offset, 1);
        qcow2_table_free(before); /* shared, hence never dirty */
        q->l2[index] = NULL;
        q->l2_loaded--;
    }
    qcow2_table_touch(q, t, 0, (u32)q->cluster_size);
    q->l2_dirty++;
    keep(q, index, t);
    qcow2_set_l1(q, index, at | QCOW2_COPIED);
    *table = t;
    return 0;
}

/* ---- looking up ---- */

enum qcow2_type qcow2_entry_type(const struct qcow2 *q, u64 entry)
{
    if (entry & QCOW2_COMPRESSED)
        return MAP_COMPRESSED;
    if (q->header.version >= 3 && (entry & QCOW2_ZERO))
        return MAP_ZERO;
    return entry & QCOW2_OFFSET ? MAP_DATA : MAP_BACKING;
}

static u64 l2_entry(const struct qcow2_table *t, u64 index)
{
    return get_be64(t->bytes + 8 * index);
}

/* True when `next` carries on what `first`, `clusters` before it, began. */
static bool continues(const struct qcow2 *q, u64 first, u64 next, u64 clusters)
{
    enum qcow2_type type = qcow2_entry_type(q, first);
    if (qcow2_entry_type(q, next) != type || type == MAP_COMPRESSED)
        return false;
    if (type != MAP_DATA)
        return true;
    return (next & (QCOW2_OFFSET | QCOW2_COPIED)) ==
           (first & (QCOW2_OFFSET | QCOW2_COPIED)) + (clusters << q->cluster_bits);
}

static int check_data_offset(struct qcow2 *q, u64 at)
{
    if (at & (q->cluster_size - 1))
        return qcow2_corrupt(q, "an L2 entry is misaligned");
    return 0;
}

int qcow2_map(struct qcow2 *q, u64 offset, u64 bytes, struct qcow2_extent *extent)
{
    struct qcow2_table *t;
    u64 cluster = offset >> q->cluster_bits, within = offset & (q->cluster_size - 1);
    u64 index = cluster & (qcow2_l2_entries(q) - 1);
    u64 most = ((qcow2_l2_entries(q) - index) << q->cluster_bits) - within;
    if (bytes > most)
        bytes = most;
    int error = qcow2_l2_load(q, cluster >> q->l2_bits, &t);
    if (error)
        return error;
    *extent = (struct qcow2_extent){.type = MAP_BACKING, .bytes = bytes};
    if (!t)
        return 0;
    u64 entry = l2_entry(t, index), n = 1, end = div_up(within + bytes, q->cluster_size);
    while (n < end && continues(q, entry, l2_entry(t, index + n), n))
        n++;
    if ((n << q->cluster_bits) - within < bytes)
        bytes = (n << q->cluster_bits) - within;
    extent->type = qcow2_entry_type(q, entry);
    extent->bytes = bytes;
    extent->entry = entry;
    if (extent->type != MAP_DATA)
        return 0;
    extent->host = (entry & QCOW2_OFFSET) + within;
    extent->in_place = entry & QCOW2_COPIED;
    return check_data_offset(q, entry & QCOW2_OFFSET);
}

int qcow2_link(struct qcow2 *q, u64 cluster, u64 count, u64 entry, u64 stride)
{
    struct qcow2_table *t;
    u64 index = cluster & (qcow2_l2_entries(q) - 1);
    int error = own_table(q, cluster >> q->l2_bits, &t);
    if (error)
        return error;
    if (!is_dirty(t))
        q->l2_dirty++;
    for (u64 i = 0; i < count; i++) {
        u64 before = l2_entry(t, index + i);
        if (before & (QCOW2_OFFSET | QCOW2_COMPRESSED))
            qcow2_free_entry(q, before);
        put_be64(t->bytes + 8 * (index + i), entry + i * stride);
    }
    qcow2_table_touch(q, t, (u32)(8 * index), (u32)(8 * (index + count)));
    return 0;
}

/* The flag of one entry that refers to the cluster at `at`. */
static int fix_flag(struct qcow2 *q, u64 *entry, u64 at, bool repair, u64 *wrong)
{
    u64 count;
    int error = at ? qcow2_refcount_get(q, at >> q->cluster_bits, &count) : -ENOENT;
    if (error || (count == 1) == ((*entry & QCOW2_COPIED) != 0))
        return error;
    ++*wrong;
    if (repair)
        *entry ^= QCOW2_COPIED;
    return 0;
}

static int fix_table(struct qcow2 *q, struct qcow2_table *t, bool repair, u64 *wrong)
{
    for (u64 j = 0; j < qcow2_l2_entries(q); j++) {
        u64 entry = l2_entry(t, j), before = entry;
        if (entry & QCOW2_COMPRESSED)
            continue;
        fix_flag(q, &entry, entry & QCOW2_OFFSET, repair, wrong);
        if (entry == before)
            continue;
        if (!is_dirty(t))
            q->l2_dirty++;
        put_be64(t->bytes + 8 * j, entry);
        qcow2_table_touch(q, t, (u32)(8 * j), (u32)(8 * j + 8));
    }
    return 0;
}

int qcow2_fix_copied(struct qcow2 *q, bool repair, u64 *wrong)
{
    for (u64 i = 0; i < q->header.l1_size; i++) {
        struct qcow2_table *t;
        u64 entry = qcow2_l1_entry(q, i);
        if (!points_to_table(q, entry & QCOW2_OFFSET) ||
            fix_flag(q, &entry, entry & QCOW2_OFFSET, repair, wrong))
            continue;
        if (repair && entry != qcow2_l1_entry(q, i))
            qcow2_set_l1(q, i, entry);
        int error = qcow2_l2_load(q, i, &t);
        if (!error)
            error = fix_table(q, t, repair, wrong);
        if (!error && qcow2_commit_due(q))
            error = qcow2_commit(q);
        if (error)
            return error;
    }
    return 0;
}

void qcow2_map_forget(struct qcow2 *q)
{
    for (u64 i = 0; i < q->header.l1_size; i++) {
        qcow2_table_free(q->l2[i]);
        q->l2[i] = NULL;
    }
    q->l2_loaded = 0;
}

int qcow2_grow_l1(struct qcow2 *q, u64 entries)
{
    const struct qcow2_header *h = &q->header;
    u64 offset, clusters = div_up(entries * 8, q->cluster_size);
    entries = clusters << (q->cluster_bits - 3);
    if (entries * 8 > QCOW2_MAX_L1_BYTES)
        entries = QCOW2_MAX_L1_BYTES / 8;
    u64 bytes = entries * 8;
    u8 *l1 = calloc(1, align_up(bytes, L1_DIRTY_BYTES) + L1_DIRTY_BYTES);
    u64 *dirty = calloc(bytes / L1_DIRTY_BYTES / 64 + 1, sizeof *dirty);
    struct qcow2_table **l2 = calloc(entries + 1, sizeof(*l2));
    int error = l1 && dirty && l2 ? qcow2_commit(q) : -ENOMEM;
    if (!error)
        error = qcow2_alloc(q, clusters, &offset);
    if (!error && !qcow2_set_kind(q, offset, bytes, KIND_L1))
        error = -ENOMEM;
    if (error) {
        free(l1);
        free(dirty);
        free(l2);
        return error;
    }
    memcpy(l1, q->l1, (u64)h->l1_size * 8);
    memcpy(l2, q->l2, h->l1_size * sizeof(*l2));
    free(q->l1);
    free(q->l1_dirty);
    free(q->l2);
    u64 before = h->l1_offset, before_bytes = (u64)h->l1_size * 8;
    q->l1 = l1;
    q->l1_dirty = dirty;
    q->l2 = l2;
    q->header.l1_size = (u32)entries;
    q->header.l1_offset = offset;
    u8 field[12];
    put_be32(field, (u32)entries);
    put_be64(field + 4, offset);
    error = qcow2_guarded_write(q, KIND_L1, offset, l1, bytes);
    if (!error)
        error = qcow2_commit(q); /* table and its counts are stable */
    if (!error)
        error = qcow2_header_write(q, QCOW2_H_L1_SIZE, field, sizeof field);
    if (!error)
        error = file_flush(q->file);
    if (error)
        q->abandoned = true;
    else if (before_bytes)
        qcow2_free_later(q, KIND_L1, before, div_up(before_bytes, q->cluster_size));
    return error;
}

/* ---- opening ---- */

static bool good_l1_entry(const struct qcow2 *q, u64 entry)
{
    u64 at = entry & QCOW2_OFFSET;
    return !(at & (q->cluster_size - 1)) && at <= q->high_water;
}

int qcow2_map_open(struct qcow2 *q, char *error, size_t n)
{
    const struct qcow2_header *h = &q->header;
    u64 bytes = (u64)h->l1_size * 8;
    q->l2_bits = q->cluster_bits - 3;
    q->l1 = calloc(1, align_up(bytes, L1_DIRTY_BYTES) + L1_DIRTY_BYTES);
    q->l1_dirty = calloc(bytes / L1_DIRTY_BYTES / 64 + 1, sizeof *q->l1_dirty);
    q->l2 = calloc(h->l1_size + 1, sizeof(*q->l2));
    bool memory = q->l1 && q->l1_dirty && q->l2 && qcow2_claim(q, h->l1_offset, bytes, KIND_L1);
    int failed = memory ? file_read(q->file, h->l1_offset, q->l1, bytes) : -ENOMEM;
    for (u64 i = 0; i < h->l1_size && !failed; i++) {
        u64 entry = qcow2_l1_entry(q, i);
        if (!good_l1_entry(q, entry))
            q->damaged = true;
        else if ((entry & QCOW2_OFFSET) &&
                 !qcow2_claim(q, entry & QCOW2_OFFSET, q->cluster_size, KIND_L2))
            failed = -ENOMEM;
    }
    if (failed)
        snprintf(error, n, "%s: cannot read its L1 table: %s", q->image->path, strerror(-failed));
    return failed;
}

int qcow2_map_show(struct qcow2 *q, u8 *l1, u64 entries)
{
    struct qcow2_table **l2 = calloc(entries + 1, sizeof(*l2));
    u64 *dirty = calloc(entries * 8 / L1_DIRTY_BYTES / 64 + 1, sizeof *dirty);
    if (!l2 || !dirty) {
        free(l1);
        free(l2);
        free(dirty);
        return -ENOMEM;
    }
    qcow2_map_close(q);
    q->l1 = l1;
    q->l1_dirty = dirty;
    q->l2 = l2;
    q->header.l1_size = (u32)entries;
    return 0;
}

void qcow2_map_close(struct qcow2 *q)
{
    for (u64 i = 0; q->l2 && i < q->header.l1_size; i++)
        qcow2_table_free(q->l2[i]);
    free(q->l2);
    free(q->l1);
    free(q->l1_dirty);
    q->l2 = NULL;
    q->l1 = NULL;
    q->l1_dirty = NULL;
    q->l2_loaded = q->l2_dirty = 0;
}
