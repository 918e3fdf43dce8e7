/* SPDX-License-Identifier: MIT
 *
 * What a flush does: brings the tables in memory to the file in an order that leaves the image
 * whole at every moment (see qcow2.h).
 *
 * A commit first copies what is dirty, under the lock, into three lists; the guest may go on
 * meanwhile and make the tables dirty again for the next commit. Then, with a flush of the file
 * after each step that the next one relies on:
 *
 *   0. refcount blocks, then the entries of new ones in the refcount table (or a whole new table,
 *      then the header that points to it): a block must be complete, and be counted by whichever
 *      block covers it, before the table names it; when that is a new one too, its entry comes
 *      first
 *   1. new L2 tables
 *   2. L2 entries and L1 entries
 *   3. clusters that these do not refer to any more are released
 *
 * When a step fails everything is dirty again, and the caller gets the error: a later flush, when
 * the host has space again, starts over.
 */
#include <errno.h>
#include <stdlib.h>

#include "storage/qcow2.h"

struct piece {
    enum qcow2_kind kind;
    u64 offset;
    u32 bytes;
    u32 from;                  /* within the table */
    struct qcow2_table *table; /* NULL: not from a table */
    bool was_fresh;
    struct piece *next;
    u8 data[];
};

struct pieces {
    struct piece *first;
    bool failed; /* out of memory */
};

struct plan {
    struct pieces blocks;              /* 0: refcount blocks */
    struct pieces table;               /*    entries of the refcount table */
    struct pieces early;               /* 1 */
    struct pieces late;                /* 2 */
    u64 new_table, new_table_clusters; /* the refcount table moves; 0: it does not */
    bool header_written;               /* the header may point to it already */
    struct qcow2_run *freed;
};

/* ---- copying what is dirty: lock held ---- */

static struct piece *add(struct pieces *list, enum qcow2_kind kind, u64 offset, const void *data,
                         u32 bytes)
{
    struct piece *p = malloc(sizeof *p + bytes);
    if (!p) {
        list->failed = true;
        return NULL;
    }
    *p = (struct piece){.kind = kind, .offset = offset, .bytes = bytes, .next = list->first};
    memcpy(p->data, data, bytes);
    list->first = p;
    return p;
}

/* Moves the dirty part of a table to a list and makes the table clean. */
static void add_table(struct pieces *list, enum qcow2_kind kind, struct qcow2_table *t)
{
    u32 from = t->dirty_from, bytes = t->dirty_to - t->dirty_from;
    struct piece *p = add(list, kind, t->offset + from, t->bytes + from, bytes);
    if (!p)
        return;
    p->table = t;
    p->from = from;
    p->was_fresh = t->fresh;
    t->dirty_from = t->dirty_to = 0;
    t->fresh = false;
    t->committing = true;
}

static bool is_dirty(const struct qcow2_table *t)
{
    return t && t->dirty_from < t->dirty_to;
}

static void plan_refcounts(struct qcow2 *q, struct plan *plan)
{
    q->refcounts_dirty = false;
    for (u64 i = 0; i < q->reftable_entries; i++) {
        struct qcow2_table *t = q->refblocks[i];
        if (is_dirty(t))
            add_table(&plan->blocks, KIND_REFBLOCK, t);
    }
}

static u64 table_entries_in_use(const struct qcow2 *q)
{
    u64 used = q->reftable_entries;
    while (used && !q->reftable[used - 1])
        used--;
    return used;
}

/* The table in the file is too short: a longer one, somewhere else. Its own clusters may need new
 * blocks, and so more entries; half as much again leaves room for them. */
static int plan_new_table(struct qcow2 *q, struct plan *plan)
{
    u64 used = table_entries_in_use(q);
    if (used <= q->reftable_file_entries)
        return 0;
    u64 need = div_up(used * 8, q->cluster_size), clusters = need + need / 2 + 1;
    if (clusters * q->cluster_size > QCOW2_MAX_REFTABLE)
        clusters = QCOW2_MAX_REFTABLE >> q->cluster_bits;
    int error = qcow2_alloc(q, clusters, &plan->new_table);
    if (error)
        return error;
    plan->new_table_clusters = clusters;
    if (table_entries_in_use(q) * 8 > clusters << q->cluster_bits)
        return -EFBIG;
    return qcow2_set_kind(q, plan->new_table, clusters << q->cluster_bits, KIND_REFTABLE) ? 0
                                                                                          : -ENOMEM;
}

static void plan_whole_table(struct qcow2 *q, struct plan *plan)
{
    u64 entries = (plan->new_table_clusters << q->cluster_bits) / 8;
    u8 *bytes = calloc(entries, 8);
    for (u64 i = 0; bytes && i < entries && i < q->reftable_entries; i++)
        put_be64(bytes + 8 * i, q->reftable[i]);
    if (bytes)
        add(&plan->table, KIND_REFTABLE, plan->new_table, bytes, (u32)(8 * entries));
    else
        plan->table.failed = true;
    free(bytes);
}

/* Lists grow at their front: this one is in ascending order then. */
static void plan_table_entries(struct qcow2 *q, struct plan *plan)
{
    for (u64 i = q->reftable_dirty_to; i-- > q->reftable_dirty_from;) {
        u8 entry[8];
        put_be64(entry, q->reftable[i]);
        add(&plan->table, KIND_REFTABLE, q->header.reftable_offset + 8 * i, entry, sizeof entry);
    }
}

static void plan_l2(struct qcow2 *q, struct plan *plan)
{
    for (u64 i = 0; i < q->header.l1_size && q->l2_dirty; i++) {
        struct qcow2_table *t = q->l2[i];
        if (is_dirty(t))
            add_table(t->fresh ? &plan->early : &plan->late, KIND_L2, t);
    }
    q->l2_dirty = 0;
}

static void plan_l1(struct qcow2 *q, struct plan *plan)
{
    enum { PIECE = 512 };
    u64 bytes = (u64)q->header.l1_size * 8;
    for (u64 at = 0; at < bytes; at += PIECE) {
        u64 bit = at / PIECE;
        if (!q->l1_dirty[bit / 64]) {
            at += (63 - bit % 64) * PIECE;
            continue;
        }
        if (!(q->l1_dirty[bit / 64] >> (bit % 64) & 1))
            continue;
        u32 n = bytes - at < PIECE ? (u32)(bytes - at) : PIECE;
        add(&plan->late, KIND_L1, q->header.l1_offset + at, q->l1 + at, n);
        q->l1_dirty[bit / 64] &= ~bit64(bit % 64);
    }
}

/* Refcount blocks and their table. */
static int plan_counts(struct qcow2 *q, struct plan *plan)
{
    int error = plan_new_table(q, plan);
    if (error)
        return error;
    plan_refcounts(q, plan);
    if (plan->new_table_clusters)
        plan_whole_table(q, plan);
    else
        plan_table_entries(q, plan);
    q->reftable_dirty_from = q->reftable_dirty_to = 0;
    return 0;
}

static int make_plan(struct qcow2 *q, struct plan *plan)
{
    int error = q->refcounts_dirty ? plan_counts(q, plan) : 0;
    if (error)
        return error;
    plan_l2(q, plan);
    plan_l1(q, plan);
    plan->freed = q->freed;
    q->freed = NULL;
    bool failed =
        plan->blocks.failed || plan->table.failed || plan->early.failed || plan->late.failed;
    return failed ? -ENOMEM : 0;
}

/* ---- carrying it out: lock not held ---- */

static int write_pieces(struct qcow2 *q, const struct pieces *list)
{
    int error = 0;
    for (const struct piece *p = list->first; p && !error; p = p->next)
        error = qcow2_guarded_write(q, p->kind, p->offset, p->data, p->bytes);
    return error;
}

/* Entries of the refcount table, in ascending order; a new block lies in its own range or in that
 * of an earlier one (qcow2_refcount.c). */
static int write_entries(struct qcow2 *q, const struct pieces *list)
{
    int error = 0;
    u64 unstable = UINT64_MAX; /* the first entry written since the last flush */
    for (const struct piece *p = list->first; p && !error; p = p->next) {
        u64 index = (p->offset - q->header.reftable_offset) / 8;
        u64 block = get_be64(p->data) >> q->cluster_bits;
        u64 counted_by = block / q->refblock_entries;
        if (block && counted_by != index && counted_by >= unstable) {
            error = file_flush(q->file);
            unstable = UINT64_MAX;
        }
        if (!error)
            error = qcow2_guarded_write(q, p->kind, p->offset, p->data, p->bytes);
        if (unstable > index)
            unstable = index;
    }
    return error;
}

static int write_whole_table(struct qcow2 *q, struct plan *plan)
{
    u8 field[12];
    put_be64(field, plan->new_table);
    put_be32(field + 8, (u32)plan->new_table_clusters);
    int error = write_pieces(q, &plan->table);
    if (!error)
        error = file_flush(q->file);
    if (error)
        return error;
    plan->header_written = true;
    return qcow2_header_write(q, QCOW2_H_REFTABLE, field, sizeof field);
}

static int carry_out(struct qcow2 *q, struct plan *plan)
{
    int error = write_pieces(q, &plan->blocks);
    if (!error && plan->table.first) {
        error = file_flush(q->file);
        if (!error && !plan->new_table_clusters)
            error = write_entries(q, &plan->table);
        if (!error && plan->new_table_clusters)
            error = write_whole_table(q, plan);
    }
    if (!error)
        error = write_pieces(q, &plan->early);
    if (!error)
        error = file_flush(q->file); /* data, counts and new tables are stable */
    if (error || !plan->late.first)
        return error;
    error = write_pieces(q, &plan->late);
    return error ? error : file_flush(q->file);
}

/* ---- afterwards: lock held ---- */

static void forget_pieces(struct pieces *list)
{
    while (list->first) {
        struct piece *p = list->first;
        list->first = p->next;
        if (p->table)
            p->table->committing = false;
        free(p);
    }
}

/* Everything that was to be written is dirty again. */
static void undo_pieces(struct qcow2 *q, struct pieces *list)
{
    for (struct piece *p = list->first; p; p = p->next) {
        if (p->table) {
            if (p->kind == KIND_L2 && !is_dirty(p->table))
                q->l2_dirty++;
            qcow2_table_touch(q, p->table, p->from, p->from + p->bytes);
            p->table->fresh = p->was_fresh;
        } else if (p->kind == KIND_L1) {
            u64 index = (p->offset - q->header.l1_offset) / 8;
            qcow2_set_l1(q, index, qcow2_l1_entry(q, index));
        }
    }
    forget_pieces(list);
}

static void undo(struct qcow2 *q, struct plan *plan)
{
    if (plan->new_table_clusters && !plan->header_written)
        qcow2_free_now(q, plan->new_table, plan->new_table_clusters);
    if (plan->table.first || plan->table.failed) {
        q->reftable_dirty_from = 0;
        q->reftable_dirty_to = q->reftable_file_entries < q->reftable_entries
                                   ? q->reftable_file_entries
                                   : q->reftable_entries;
    }
    q->refcounts_dirty = true;
    undo_pieces(q, &plan->blocks);
    undo_pieces(q, &plan->table);
    undo_pieces(q, &plan->early);
    undo_pieces(q, &plan->late);
    struct qcow2_run **end = &plan->freed;
    while (*end)
        end = &(*end)->next;
    *end = q->freed;
    q->freed = plan->freed;
}

static void adopt_new_table(struct qcow2 *q, const struct plan *plan)
{
    if (!plan->new_table_clusters)
        return;
    u64 before = q->header.reftable_offset;
    u32 before_clusters = q->header.reftable_clusters;
    q->header.reftable_offset = plan->new_table;
    q->header.reftable_clusters = (u32)plan->new_table_clusters;
    q->reftable_file_entries = (plan->new_table_clusters << q->cluster_bits) / 8;
    qcow2_free_later(q, KIND_REFTABLE, before, before_clusters);
}

static void forget_plan(struct plan *plan)
{
    forget_pieces(&plan->blocks);
    forget_pieces(&plan->table);
    forget_pieces(&plan->early);
    forget_pieces(&plan->late);
}

/* Gives back to the host what of the run has no other user. */
static void return_space(struct qcow2 *q, const struct qcow2_run *r)
{
    u64 run = 0;
    for (u64 c = r->first; c <= r->first + r->count; c++) {
        u64 count = 0;
        if (c < r->first + r->count && !qcow2_refcount_get(q, c, &count) && count == 1) {
            run++;
            continue;
        }
        if (run)
            file_discard(q->file, (c - run) << q->cluster_bits, run << q->cluster_bits);
        run = 0;
    }
}

/* A broken image may take a table, or the header, for guest data: such a thing is never freed. */
static bool is_what_it_was(struct qcow2 *q, const struct qcow2_run *r)
{
    for (u64 c = r->first; c < r->first + r->count; c++) {
        if (qcow2_kind_of(q, c) != r->kind) {
            qcow2_corrupt(q, "metadata would have been freed as something else");
            return false;
        }
    }
    return true;
}

static void release_run(struct qcow2 *q, const struct qcow2_run *r)
{
    if (!is_what_it_was(q, r))
        return;
    return_space(q, r);
    for (u64 c = r->first; c < r->first + r->count; c++)
        qcow2_refcount_add(q, c, -1);
}

/* Nothing in the file refers to these clusters any more. Operations that still use offsets of
 * theirs are waited for; then the host gets the space back, and then they may be used again. */
static void release(struct qcow2 *q, struct qcow2_run *list)
{
    if (!list)
        return;
    pthread_rwlock_wrlock(&q->io);
    pthread_rwlock_unlock(&q->io);
    pthread_mutex_lock(&q->lock);
    while (list) {
        struct qcow2_run *r = list;
        list = r->next;
        release_run(q, r);
        free(r);
    }
    pthread_mutex_unlock(&q->lock);
}

/* Commit lock held. */
static int commit(struct qcow2 *q)
{
    struct plan plan = {0};
    pthread_mutex_lock(&q->lock);
    u64 asked = q->commits_asked;
    int error = make_plan(q, &plan);
    pthread_mutex_unlock(&q->lock);
    if (!error)
        error = carry_out(q, &plan);
    pthread_mutex_lock(&q->lock);
    if (error) {
        undo(q, &plan);
        plan.freed = NULL;
    } else {
        adopt_new_table(q, &plan);
        forget_plan(&plan);
    }
    pthread_mutex_unlock(&q->lock);
    release(q, plan.freed);
    if (!error)
        q->commits_done = asked;
    return error;
}

/* Of several that wait for a commit to end, the first one makes the next commit for all: it begins
 * after they were called, so it covers what they have to. */
int qcow2_commit(struct qcow2 *q)
{
    if (q->abandoned)
        return -EIO;
    pthread_mutex_lock(&q->lock);
    u64 number = ++q->commits_asked;
    pthread_mutex_unlock(&q->lock);
    pthread_mutex_lock(&q->commit_lock);
    int error = q->commits_done < number ? commit(q) : 0;
    pthread_mutex_unlock(&q->commit_lock);
    return error;
}
