/* SPDX-License-Identifier: MIT
 *
 * Reference counts. A refcount block is one cluster of counts of 1 to 64 bits each; the refcount
 * table holds the offsets of the blocks. Blocks are loaded when needed and stay in memory.
 *
 * Allocation is first fit from the lowest cluster that may be free. A cluster that no block covers
 * is free too, but before it is taken its block must exist, and the block needs a cluster itself:
 * the first one of the range that it covers, which it then counts itself; for a long run of
 * clusters a free one that is covered already.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/qcow2.h"

/* ---- counts within a block ---- */

u64 qcow2_count_in_block(const struct qcow2 *q, const u8 *block, u64 index)
{
    u32 bits = q->refcount_bits;
    switch (bits) {
    case 8: return block[index];
    case 16: return get_be16(block + 2 * index);
    case 32: return get_be32(block + 4 * index);
    case 64: return get_be64(block + 8 * index);
    default: return block[index * bits / 8] >> (index * bits % 8) & mask64(bits);
    }
}

void qcow2_put_in_block(const struct qcow2 *q, u8 *block, u64 index, u64 count)
{
    u32 bits = q->refcount_bits;
    switch (bits) {
    case 8: block[index] = (u8)count; break;
    case 16: put_be16(block + 2 * index, (u16)count); break;
    case 32: put_be32(block + 4 * index, (u32)count); break;
    case 64: put_be64(block + 8 * index, count); break;
    default: {
        u8 *byte = &block[index * bits / 8];
        unsigned shift = index * bits % 8;
        *byte = (u8)((*byte & ~(mask64(bits) << shift)) | count << shift);
        break;
    }
    }
}

u64 qcow2_refcount_max(const struct qcow2 *q)
{
    return mask64(q->refcount_bits < 64 ? q->refcount_bits : 63);
}

/* ---- blocks ---- */

static bool covered(const struct qcow2 *q, u64 index)
{
    return index < q->reftable_entries && q->reftable[index];
}

static int load_block(struct qcow2 *q, u64 index, struct qcow2_table **block)
{
    *block = q->refblocks[index];
    if (*block)
        return 0;
    struct qcow2_table *t = qcow2_table_new(q, q->reftable[index]);
    if (!t)
        return -ENOMEM;
    int error = file_read(q->file, t->offset, t->bytes, q->cluster_size);
    if (error) {
        qcow2_table_free(t);
        return error;
    }
    *block = q->refblocks[index] = t;
    return 0;
}

int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *count)
{
    u64 index = cluster / q->refblock_entries;
    struct qcow2_table *block;
    *count = 0;
    if (!covered(q, index))
        return 0;
    int error = load_block(q, index, &block);
    if (!error)
        *count = qcow2_count_in_block(q, block->bytes, cluster % q->refblock_entries);
    return error;
}

/* Sets a count in a block that is loaded. */
static void store_count(struct qcow2 *q, u64 cluster, u64 count)
{
    struct qcow2_table *block = q->refblocks[cluster / q->refblock_entries];
    u64 index = cluster % q->refblock_entries;
    qcow2_put_in_block(q, block->bytes, index, count);
    u32 from = (u32)(index * q->refcount_bits / 8);
    u32 bytes = q->refcount_bits < 8 ? 1 : q->refcount_bits / 8;
    qcow2_table_touch(q, block, from, from + bytes);
    q->refcounts_dirty = true;
}

/* The cluster became free: a run that it is part of begins less than its length before it. */
static void lower_hints(struct qcow2 *q, u64 cluster)
{
    for (unsigned i = 0; i < QCOW2_HINTS; i++) {
        u64 before = bit64(i) - 1, begin = cluster > before ? cluster - before : 0;
        if (q->free_hints[i] > begin)
            q->free_hints[i] = begin;
    }
}

/* Of a cluster whose block is loaded. */
static void change_count(struct qcow2 *q, u64 cluster, u64 count)
{
    store_count(q, cluster, count);
    if (!count) {
        qcow2_set_kind(q, cluster << q->cluster_bits, 1, KIND_DATA);
        lower_hints(q, cluster);
    }
}

int qcow2_refcount_set(struct qcow2 *q, u64 cluster, u64 count)
{
    u64 before;
    int error = qcow2_refcount_get(q, cluster, &before);
    if (error)
        return error;
    if (!covered(q, cluster / q->refblock_entries))
        return qcow2_corrupt(q, "a cluster has no reference count");
    if (count > qcow2_refcount_max(q))
        return -ENOSPC;
    change_count(q, cluster, count);
    return 0;
}

int qcow2_refcount_add(struct qcow2 *q, u64 cluster, i64 delta)
{
    u64 count;
    int error = qcow2_refcount_get(q, cluster, &count);
    if (error)
        return error;
    if (!covered(q, cluster / q->refblock_entries) || (delta < 0 && count < (u64)-delta))
        return qcow2_corrupt(q, "a reference count would become negative");
    u64 most = qcow2_refcount_max(q);
    if (delta > 0 && (count > most || (u64)delta > most - count)) /* the count is the file's */
        return -ENOSPC;
    change_count(q, cluster, count + (u64)delta);
    return 0;
}

/* ---- new blocks ---- */

/* Makes room for entry `index` of the table in memory; the table in the file follows at commit. */
static int grow_table(struct qcow2 *q, u64 index)
{
    if (index < q->reftable_entries)
        return 0;
    u64 entries = index + index / 2 + 1, most = QCOW2_MAX_REFTABLE / 8;
    if (index >= most)
        return -EFBIG;
    if (entries > most)
        entries = most;
    u64 *table = realloc(q->reftable, entries * sizeof *table);
    if (table)
        q->reftable = table;
    struct qcow2_table **blocks = realloc(q->refblocks, entries * sizeof(*blocks));
    if (blocks)
        q->refblocks = blocks;
    if (!table || !blocks)
        return -ENOMEM;
    u64 more = entries - q->reftable_entries;
    memset(table + q->reftable_entries, 0, more * sizeof *table);
    memset(blocks + q->reftable_entries, 0, more * sizeof(*blocks));
    q->reftable_entries = entries;
    return 0;
}

static int is_free(struct qcow2 *q, u64 cluster, bool *result)
{
    u64 count;
    int error = qcow2_refcount_get(q, cluster, &count);
    *result = !count && qcow2_kind_of(q, cluster) == KIND_DATA;
    return error;
}

/* The cluster for block `index`, which is to count a run of `count` clusters. Within its own range
 * it depends on no other block; but runs longer than that would never come together if each range
 * began with a block, and then it is a free cluster that is counted already. */
static int place_block(struct qcow2 *q, u64 index, u64 count, u64 *cluster)
{
    bool yes = false, own = count <= q->refblock_entries / 2;
    u64 c = q->free_hints[0];
    for (; !own && covered(q, c / q->refblock_entries) && !yes; c++) {
        int error = is_free(q, c, &yes);
        if (error)
            return error;
    }
    q->free_hints[0] = c - yes; /* the next block is looked for from here */
    *cluster = yes ? c - 1 : index * q->refblock_entries;
    while (!yes && qcow2_kind_of(q, *cluster) != KIND_DATA)
        ++*cluster;
    return 0;
}

static int create_block(struct qcow2 *q, u64 index, u64 count)
{
    u64 cluster;
    int error = grow_table(q, index);
    if (!error)
        error = place_block(q, index, count, &cluster);
    if (error)
        return error;
    struct qcow2_table *t = qcow2_table_new(q, cluster << q->cluster_bits);
    if (!t || !qcow2_set_kind(q, t->offset, 1, KIND_REFBLOCK)) {
        qcow2_table_free(t);
        return -ENOMEM;
    }
    t->fresh = true;
    qcow2_table_touch(q, t, 0, (u32)q->cluster_size);
    q->reftable[index] = t->offset;
    q->refblocks[index] = t;
    if (q->reftable_dirty_from >= q->reftable_dirty_to)
        q->reftable_dirty_from = q->reftable_dirty_to = index;
    if (index < q->reftable_dirty_from)
        q->reftable_dirty_from = index;
    if (index >= q->reftable_dirty_to)
        q->reftable_dirty_to = index + 1;
    store_count(q, cluster, 1);
    if (t->offset + q->cluster_size > q->high_water)
        q->high_water = t->offset + q->cluster_size;
    return 0;
}

/* ---- allocation ---- */

/* Where to begin to look for runs of 1 << level clusters. */
static u64 run_hint(const struct qcow2 *q, unsigned level)
{
    u64 hint = 0;
    for (unsigned i = 0; i <= level; i++) {
        if (hint < q->free_hints[i])
            hint = q->free_hints[i];
    }
    return hint;
}

/* The first run of that length. Shorter ones that are passed, the first of each power of two, are
 * remembered: a file with much in it would otherwise be looked through for every cluster. */
static int find_run(struct qcow2 *q, u64 count, u64 *start)
{
    u64 most = (u64)INT64_MAX >> q->cluster_bits, run = 0;
    unsigned level = 0, next = 0;
    while (level + 1 < QCOW2_HINTS && count >> (level + 1))
        level++;
    *start = run_hint(q, level);
    while (q->free_hints[next] < *start)
        next++; /* of those that begin earlier this search sees not all */
    for (u64 c = *start; run < count; c++) {
        bool yes;
        if (c >= most)
            return -EFBIG;
        int error = is_free(q, c, &yes);
        if (error)
            return error;
        run = yes ? run + 1 : 0;
        *start = c + 1 - run;
        for (; next <= level && run >> next; next++)
            q->free_hints[next] = *start;
    }
    return 0;
}

/* The first block of the run that does not exist yet; false: all are there. */
static bool uncovered_block(const struct qcow2 *q, u64 start, u64 count, u64 *index)
{
    u64 last = (start + count - 1) / q->refblock_entries;
    for (*index = start / q->refblock_entries; *index <= last; ++*index) {
        if (!covered(q, *index))
            return true;
    }
    return false;
}

int qcow2_alloc(struct qcow2 *q, u64 count, u64 *offset)
{
    u64 start = 0, index;
    if (qcow2_unwritable(q))
        return -EIO;
    for (;;) {
        int error = find_run(q, count, &start);
        if (!error && !uncovered_block(q, start, count, &index))
            break;
        if (!error)
            error = create_block(q, index, count); /* may take the start of the run: look again */
        if (error)
            return error;
    }
    for (u64 c = start; c < start + count; c++)
        store_count(q, c, 1);
    for (unsigned i = 0; i < QCOW2_HINTS; i++) {
        if (q->free_hints[i] == start)
            q->free_hints[i] = start + count;
    }
    *offset = start << q->cluster_bits;
    u64 end = (start + count) << q->cluster_bits;
    if (end > q->high_water)
        q->high_water = end;
    return 0;
}

int qcow2_alloc_bytes(struct qcow2 *q, u64 bytes, u64 *offset)
{
    u64 count;
    u64 cluster = q->compressed_at >> q->cluster_bits;
    bool fits = q->compressed_left >= bytes && !qcow2_refcount_get(q, cluster, &count) &&
                count < qcow2_refcount_max(q);
    int error;
    if (fits) {
        error = qcow2_refcount_add(q, cluster, 1);
    } else {
        error = qcow2_alloc(q, 1, &q->compressed_at);
        q->compressed_left = error ? 0 : q->cluster_size;
    }
    *offset = q->compressed_at;
    if (!error) {
        q->compressed_at += bytes;
        q->compressed_left -= bytes;
    }
    return error;
}

/* ---- freeing ---- */

void qcow2_free_now(struct qcow2 *q, u64 offset, u64 count)
{
    u64 first = offset >> q->cluster_bits;
    for (u64 c = first; c < first + count; c++)
        qcow2_refcount_add(q, c, -1);
}

/* When there is no memory for the note the clusters leak, which is harmless. */
void qcow2_free_later(struct qcow2 *q, enum qcow2_kind kind, u64 offset, u64 count)
{
    u64 first = offset >> q->cluster_bits;
    struct qcow2_run *last = q->freed;
    if (!count)
        return;
    if (last && last->kind == kind && last->first + last->count == first) {
        last->count += count;
        return;
    }
    struct qcow2_run *r = malloc(sizeof *r);
    if (!r)
        return;
    *r = (struct qcow2_run){first, count, kind, q->freed};
    q->freed = r;
}

struct qcow2_run qcow2_data_of(const struct qcow2 *q, u64 entry)
{
    struct qcow2_run run = {.kind = KIND_DATA};
    if (entry & QCOW2_COMPRESSED) {
        struct qcow2_packed p = qcow2_packed_of(q, entry);
        run.first = p.host >> q->cluster_bits;
        run.count = ((p.host + p.bytes - 1) >> q->cluster_bits) - run.first + 1;
    } else if (entry & QCOW2_OFFSET) {
        run.first = (entry & QCOW2_OFFSET) >> q->cluster_bits;
        run.count = 1;
    }
    return run;
}

void qcow2_free_entry(struct qcow2 *q, u64 entry)
{
    struct qcow2_run run = qcow2_data_of(q, entry);
    qcow2_free_later(q, KIND_DATA, run.first << q->cluster_bits, run.count);
    /* The cluster may become free: nothing more may be packed into it. */
    if ((entry & QCOW2_COMPRESSED) && q->compressed_at >> q->cluster_bits == run.first)
        q->compressed_left = 0;
}

/* ---- opening ---- */

int qcow2_refcounts_open(struct qcow2 *q, char *error, size_t n)
{
    const struct qcow2_header *h = &q->header;
    u64 bytes = h->reftable_clusters * q->cluster_size;
    q->refcount_bits = 1u << h->refcount_order;
    q->refblock_entries = q->cluster_size * 8 / q->refcount_bits;
    q->reftable_entries = q->reftable_file_entries = bytes / 8;
    q->reftable = malloc(bytes);
    q->refblocks = calloc(q->reftable_entries, sizeof(*q->refblocks));
    bool memory =
        q->reftable && q->refblocks && qcow2_claim(q, h->reftable_offset, bytes, KIND_REFTABLE);
    int failed = memory ? file_read(q->file, h->reftable_offset, q->reftable, bytes) : -ENOMEM;
    for (u64 i = 0; i < q->reftable_entries && !failed; i++) {
        u64 at = get_be64(&q->reftable[i]);
        bool good = !(at & (q->cluster_size - 1)) && at <= q->high_water;
        if (!good)
            q->damaged = true;
        q->reftable[i] = good ? at : 0;
        if (q->reftable[i] && !qcow2_claim(q, at, q->cluster_size, KIND_REFBLOCK))
            failed = -ENOMEM;
    }
    if (failed)
        snprintf(error, n, "%s: cannot read its refcount table: %s", q->image->path,
                 strerror(-failed));
    return failed;
}

void qcow2_refcounts_close(struct qcow2 *q)
{
    for (u64 i = 0; q->refblocks && i < q->reftable_entries; i++)
        qcow2_table_free(q->refblocks[i]);
    free(q->refblocks);
    free(q->reftable);
    q->refblocks = NULL;
    q->reftable = NULL;
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    while (q->freed) {
        struct qcow2_run *r = q->freed;
        q->freed = r->next;
        free(r);
    }
}
