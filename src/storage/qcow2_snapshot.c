/* SPDX-License-Identifier: MIT
 *
 * Internal snapshots: a copy of the L1 table, whose L2 tables and data are counted once more. The
 * active tables then own nothing, so that the next write to each cluster goes elsewhere.
 *
 * These operations touch every table; while they do, the image carries the dirty bit, and whoever
 * opens it after a crash recounts everything first. They need the image for themselves.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/qcow2.h"

#define ENTRY_BYTES     40 /* before the extra data */
#define EXTRA_MAX       1024
#define NAME_MAX_BYTES  1024
#define TABLE_BYTES_MAX MIB(64)
#define L1_TOTAL_MAX    MIB(512) /* of all snapshots together */

/* ---- the table in the file ---- */

void qcow2_snapshots_free(struct qcow2_snapshot *list, u32 count)
{
    for (u32 i = 0; list && i < count; i++) {
        free(list[i].id);
        free(list[i].name);
        free(list[i].more);
    }
    free(list);
}

/* Reads `bytes` at *at and moves past them; NUL-terminated. */
static u8 *take(struct qcow2 *q, u64 *at, u64 bytes)
{
    u8 *data = malloc(bytes + 1);
    if (data && file_read(q->file, *at, data, bytes)) {
        free(data);
        return NULL;
    }
    if (data)
        data[bytes] = 0;
    *at += bytes;
    return data;
}

static int read_entry(struct qcow2 *q, u64 *at, struct qcow2_snapshot *s)
{
    u8 e[ENTRY_BYTES];
    int error = file_read(q->file, *at, e, sizeof e);
    if (error)
        return error;
    u16 id_bytes = get_be16(e + 12), name_bytes = get_be16(e + 14);
    u32 extra = get_be32(e + 36);
    if (extra > EXTRA_MAX || id_bytes > NAME_MAX_BYTES || name_bytes > NAME_MAX_BYTES)
        return -EINVAL;
    *s = (struct qcow2_snapshot){
        .l1_offset = get_be64(e),
        .l1_size = get_be32(e + 8),
        .seconds = get_be32(e + 16),
        .nanoseconds = get_be32(e + 20),
        .vm_clock = get_be64(e + 24),
        .vm_state = get_be32(e + 32),
        .disk_size = q->header.size,
        .more_bytes = extra,
    };
    *at += sizeof e;
    s->more = take(q, at, extra);
    s->id = (char *)take(q, at, id_bytes);
    s->name = (char *)take(q, at, name_bytes);
    *at = align_up(*at, 8);
    if (!s->more || !s->id || !s->name)
        return -EIO;
    if (extra >= 8)
        s->vm_state = get_be64(s->more);
    if (extra >= QCOW2_SNAPSHOT_EXTRA)
        s->disk_size = get_be64(s->more + 8);
    bool bad = (u64)s->l1_size * 8 > QCOW2_MAX_L1_BYTES || s->l1_offset > q->high_water ||
               (s->l1_offset & (q->cluster_size - 1)) || s->disk_size > (u64)INT64_MAX;
    return bad ? -EINVAL : 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshot **list, u64 *table_bytes)
{
    u64 at = q->header.snapshots_offset;
    bool misplaced = !at || (at & (q->cluster_size - 1)) || at > q->high_water;
    if (q->header.snapshot_count && misplaced)
        return -EINVAL;
    struct qcow2_snapshot *all = calloc(q->header.snapshot_count + 1, sizeof *all);
    int error = all ? 0 : -ENOMEM;
    for (u32 i = 0; i < q->header.snapshot_count && !error; i++) {
        error = read_entry(q, &at, &all[i]);
        if (!error && at - q->header.snapshots_offset > TABLE_BYTES_MAX)
            error = -EINVAL;
    }
    if (error) {
        qcow2_snapshots_free(all, q->header.snapshot_count);
        return error;
    }
    *list = all;
    *table_bytes = at - q->header.snapshots_offset;
    return 0;
}

static u64 entry_bytes(const struct qcow2_snapshot *s)
{
    u64 extra = s->more_bytes > QCOW2_SNAPSHOT_EXTRA ? s->more_bytes : QCOW2_SNAPSHOT_EXTRA;
    return align_up(ENTRY_BYTES + extra + strlen(s->id) + strlen(s->name), 8);
}

static void put_entry(u8 *to, const struct qcow2_snapshot *s)
{
    u32 extra = s->more_bytes > QCOW2_SNAPSHOT_EXTRA ? s->more_bytes : QCOW2_SNAPSHOT_EXTRA;
    put_be64(to, s->l1_offset);
    put_be32(to + 8, s->l1_size);
    put_be16(to + 12, (u16)strlen(s->id));
    put_be16(to + 14, (u16)strlen(s->name));
    put_be32(to + 16, s->seconds);
    put_be32(to + 20, s->nanoseconds);
    put_be64(to + 24, s->vm_clock);
    put_be32(to + 32, s->vm_state > UINT32_MAX ? 0 : (u32)s->vm_state);
    put_be32(to + 36, extra);
    if (s->more_bytes)
        memcpy(to + ENTRY_BYTES, s->more, s->more_bytes);
    put_be64(to + ENTRY_BYTES, s->vm_state);
    put_be64(to + ENTRY_BYTES + 8, s->disk_size);
    memcpy(to + ENTRY_BYTES + extra, s->id, strlen(s->id));
    memcpy(to + ENTRY_BYTES + extra + strlen(s->id), s->name, strlen(s->name));
}

/* Writes a new table and makes the header point to it; the old one is freed. */
static int replace_table(struct qcow2 *q, const struct qcow2_snapshot *list, u32 count,
                         u64 old_bytes)
{
    u64 bytes = 0, offset = 0, old = q->header.snapshots_offset;
    for (u32 i = 0; i < count; i++)
        bytes += entry_bytes(&list[i]);
    u8 *table = calloc(1, bytes + 1);
    int error = table ? 0 : -ENOMEM;
    if (!error && bytes) {
        error = qcow2_alloc(q, div_up(bytes, q->cluster_size), &offset);
        if (!error && !qcow2_set_kind(q, offset, bytes, KIND_SNAPSHOTS))
            error = -ENOMEM;
    }
    u64 at = 0;
    for (u32 i = 0; i < count && !error; i++) {
        put_entry(table + at, &list[i]);
        at += entry_bytes(&list[i]);
    }
    if (!error && bytes)
        error = qcow2_guarded_write(q, KIND_SNAPSHOTS, offset, table, bytes);
    free(table);
    if (!error)
        error = qcow2_commit(q);
    u8 field[12];
    put_be32(field, count);
    put_be64(field + 4, offset);
    if (!error)
        error = qcow2_header_write(q, QCOW2_H_SNAPSHOTS, field, sizeof field);
    if (!error)
        error = file_flush(q->file);
    if (error)
        return error;
    q->header.snapshot_count = count;
    q->header.snapshots_offset = offset;
    if (old_bytes)
        qcow2_free_later(q, KIND_SNAPSHOTS, old, div_up(old_bytes, q->cluster_size));
    return 0;
}

/* ---- counting what an L1 table refers to ---- */

static int add_run(struct qcow2 *q, struct qcow2_run run, i64 delta)
{
    int error = 0;
    if (delta < 0)
        qcow2_free_later(q, run.kind, run.first << q->cluster_bits, run.count);
    for (u64 c = run.first; c < run.first + run.count && delta > 0 && !error; c++)
        error = qcow2_refcount_add(q, c, delta);
    return error;
}

/* Counts everything below the entries once more (delta 1), or frees it (-1). */
static int add_tree(struct qcow2 *q, const u8 *l1, u64 entries, i64 delta)
{
    u8 *table = malloc(q->cluster_size);
    int error = table ? 0 : -ENOMEM;
    for (u64 i = 0; i < entries && !error; i++) {
        u64 at = get_be64(l1 + 8 * i) & QCOW2_OFFSET;
        if (!at)
            continue;
        error = at & (q->cluster_size - 1) ? -EIO : file_read(q->file, at, table, q->cluster_size);
        for (u64 j = 0; j < qcow2_l2_entries(q) && !error; j++)
            error = add_run(q, qcow2_data_of(q, get_be64(table + 8 * j)), delta);
        struct qcow2_run itself = {.first = at >> q->cluster_bits, .count = 1, .kind = KIND_L2};
        if (!error)
            error = add_run(q, itself, delta);
    }
    free(table);
    return error;
}

static u8 *read_l1(struct qcow2 *q, const struct qcow2_snapshot *s)
{
    u8 *l1 = calloc(1, (u64)s->l1_size * 8 + 1);
    if (l1 && file_read(q->file, s->l1_offset, l1, (u64)s->l1_size * 8)) {
        free(l1);
        return NULL;
    }
    return l1;
}

/* ---- opening ---- */

static int guard_snapshot(struct qcow2 *q, const struct qcow2_snapshot *s)
{
    if (s->l1_offset > q->high_water || (u64)s->l1_size * 8 > q->high_water - s->l1_offset) {
        q->damaged = true;
        return 0;
    }
    u8 *l1 = read_l1(q, s);
    int error = l1 ? 0 : -ENOMEM;
    if (!error && !qcow2_claim(q, s->l1_offset, (u64)s->l1_size * 8, KIND_SNAPSHOTS))
        error = -ENOMEM;
    for (u64 i = 0; i < s->l1_size && !error; i++) {
        u64 at = get_be64(l1 + 8 * i) & QCOW2_OFFSET;
        if (at && at <= q->high_water && !qcow2_claim(q, at, 1, KIND_L2))
            error = -ENOMEM;
    }
    free(l1);
    return error;
}

int qcow2_snapshots_open(struct qcow2 *q, char *error, size_t n)
{
    struct qcow2_snapshot *list = NULL;
    u64 bytes = 0, l1_bytes = 0;
    u32 count = q->header.snapshot_count;
    if (!count)
        return 0;
    int failed = qcow2_snapshots_read(q, &list, &bytes);
    for (u32 i = 0; i < count && !failed; i++)
        l1_bytes += (u64)list[i].l1_size * 8;
    if (!failed && l1_bytes > L1_TOTAL_MAX)
        failed = -EFBIG;
    if (!failed && bytes > q->high_water - q->header.snapshots_offset)
        failed = -EIO;
    if (!failed && !qcow2_claim(q, q->header.snapshots_offset, bytes, KIND_SNAPSHOTS))
        failed = -ENOMEM;
    for (u32 i = 0; i < count && !failed; i++)
        failed = guard_snapshot(q, &list[i]);
    qcow2_snapshots_free(list, count);
    if (failed == -ENOMEM) {
        snprintf(error, n, "%s: no memory for its snapshots", q->image->path);
        return failed;
    }
    /* What the guest sees can be read without them, of a file that was cut off for example. */
    if (failed)
        q->damaged = true;
    return 0;
}

/* ---- the operations ---- */

static int explain(int failed, const char *what, char *error, size_t n)
{
    if (failed == -ENOSPC)
        snprintf(error, n, "cannot %s: no space, or the reference counts are too narrow", what);
    else if (failed)
        snprintf(error, n, "cannot %s: %s", what, strerror(-failed));
    return failed;
}

/* The end of an operation that changed everything: with an error nothing more may be written, and
 * the dirty bit stays. */
static int finish(struct qcow2 *q, int failed)
{
    u64 wrong = 0;
    if (!failed)
        failed = qcow2_commit(q); /* releases */
    if (!failed)
        failed = qcow2_fix_copied(q, true, &wrong);
    if (!failed)
        failed = qcow2_commit(q);
    if (!failed)
        failed = qcow2_set_incompatible(q, 0, QCOW2_DIRTY);
    if (failed)
        q->abandoned = true;
    return failed;
}

static u32 find(const struct qcow2_snapshot *list, u32 count, const char *name)
{
    for (u32 i = 0; i < count; i++) {
        if (!strcmp(list[i].name, name))
            return i;
    }
    for (u32 i = 0; i < count; i++) {
        if (!strcmp(list[i].id, name))
            return i;
    }
    return count;
}

/* A copy of the active L1 table in the file. */
static int copy_l1(struct qcow2 *q, struct qcow2_snapshot *s)
{
    u64 bytes = (u64)q->header.l1_size * 8;
    u8 *l1 = malloc(bytes);
    int error = l1 ? qcow2_alloc(q, div_up(bytes, q->cluster_size), &s->l1_offset) : -ENOMEM;
    if (!error && !qcow2_set_kind(q, s->l1_offset, bytes, KIND_SNAPSHOTS))
        error = -ENOMEM;
    for (u64 i = 0; i < q->header.l1_size && !error; i++)
        put_be64(l1 + 8 * i, qcow2_l1_entry(q, i) & ~QCOW2_COPIED);
    if (!error)
        error = qcow2_guarded_write(q, KIND_SNAPSHOTS, s->l1_offset, l1, bytes);
    s->l1_size = q->header.l1_size;
    free(l1);
    return error;
}

static void next_id(const struct qcow2_snapshot *list, u32 count, char *id, size_t n)
{
    unsigned long highest = 0;
    for (u32 i = 0; i < count; i++) {
        unsigned long value = strtoul(list[i].id, NULL, 10);
        if (value > highest)
            highest = value;
    }
    snprintf(id, n, "%lu", highest + 1);
}

static int create_in(struct qcow2 *q, struct qcow2_snapshot *list, const char *name, u64 old_bytes)
{
    u32 count = q->header.snapshot_count;
    struct timespec now;
    char id[24];
    clock_gettime(CLOCK_REALTIME, &now);
    next_id(list, count, id, sizeof id);
    struct qcow2_snapshot *s = &list[count];
    *s = (struct qcow2_snapshot){.id = strdup(id),
                                 .name = strdup(name),
                                 .seconds = (u32)now.tv_sec,
                                 .nanoseconds = (u32)now.tv_nsec,
                                 .disk_size = q->header.size};
    int error = s->id && s->name ? qcow2_set_incompatible(q, QCOW2_DIRTY, 0) : -ENOMEM;
    u64 wrong = 0;
    if (!error)
        error = add_tree(q, q->l1, q->header.l1_size, 1);
    if (!error)
        error = qcow2_fix_copied(q, true, &wrong); /* nothing is owned any more */
    if (!error)
        error = copy_l1(q, s);
    if (!error)
        error = replace_table(q, list, count + 1, old_bytes);
    return finish(q, error);
}

int qcow2_snapshot_create(struct image *image, const char *name, char *error, size_t n)
{
    struct qcow2 *q = qcow2_of(image);
    struct qcow2_snapshot *list = NULL;
    u64 bytes;
    u32 count = q->header.snapshot_count;
    if (count >= QCOW2_MAX_SNAPSHOTS || strlen(name) > NAME_MAX_BYTES)
        return explain(-EFBIG, "create the snapshot", error, n);
    int failed = qcow2_commit(q);
    if (!failed)
        failed = qcow2_snapshots_read(q, &list, &bytes);
    if (failed)
        return explain(failed, "create the snapshot", error, n);
    if (find(list, count, name) < count) {
        qcow2_snapshots_free(list, count);
        snprintf(error, n, "there is a snapshot \"%s\" already", name);
        return -EEXIST;
    }
    failed = create_in(q, list, name, bytes);
    qcow2_snapshots_free(list, count + 1);
    return explain(failed, "create the snapshot", error, n);
}

static int set_size(struct qcow2 *q, u64 bytes)
{
    u8 field[8];
    put_be64(field, bytes);
    int error = bytes == q->header.size ? 0 : qcow2_header_write(q, QCOW2_H_SIZE, field, 8);
    if (!error) {
        q->header.size = bytes;
        q->image->size = align_up(bytes, 512);
    }
    return error;
}

static int apply_in(struct qcow2 *q, struct qcow2_snapshot *list, u32 index, u64 table_bytes)
{
    (void)table_bytes; /* the table stays */
    const struct qcow2_snapshot *s = &list[index];
    if (div_up(s->disk_size, q->cluster_size << q->l2_bits) > s->l1_size)
        return -EINVAL;
    u8 *l1 = read_l1(q, s);
    int error = l1 ? qcow2_set_incompatible(q, QCOW2_DIRTY, 0) : -ENOMEM;
    if (!error && s->l1_size > q->header.l1_size)
        error = qcow2_grow_l1(q, s->l1_size);
    if (!error)
        error = add_tree(q, l1, s->l1_size, 1);
    if (!error)
        error = add_tree(q, q->l1, q->header.l1_size, -1);
    if (!error) {
        qcow2_map_forget(q);
        for (u64 i = 0; i < q->header.l1_size; i++)
            qcow2_set_l1(q, i, i < s->l1_size ? get_be64(l1 + 8 * i) & ~QCOW2_COPIED : 0);
        error = set_size(q, s->disk_size);
    }
    free(l1);
    return finish(q, error);
}

static int delete_in(struct qcow2 *q, struct qcow2_snapshot *list, u32 index, u64 table_bytes)
{
    u32 count = q->header.snapshot_count;
    struct qcow2_snapshot s = list[index];
    u8 *l1 = read_l1(q, &s);
    int error = l1 ? qcow2_set_incompatible(q, QCOW2_DIRTY, 0) : -ENOMEM;
    memmove(&list[index], &list[index + 1], (count - index - 1) * sizeof s);
    list[count - 1] = s; /* the caller frees it */
    if (!error)
        error = replace_table(q, list, count - 1, table_bytes);
    if (!error)
        error = add_tree(q, l1, s.l1_size, -1);
    if (!error && s.l1_size)
        qcow2_free_later(q, KIND_SNAPSHOTS, s.l1_offset,
                         div_up((u64)s.l1_size * 8, q->cluster_size));
    free(l1);
    return finish(q, error);
}

static int show_in(struct qcow2 *q, struct qcow2_snapshot *list, u32 index, u64 table_bytes)
{
    (void)table_bytes;
    const struct qcow2_snapshot *s = &list[index];
    if (!q->image->read_only || div_up(s->disk_size, q->cluster_size << q->l2_bits) > s->l1_size)
        return -EINVAL;
    u8 *l1 = read_l1(q, s);
    int error = l1 ? qcow2_map_show(q, l1, s->l1_size) : -EIO;
    if (error)
        return error;
    q->header.size = s->disk_size;
    q->image->size = align_up(s->disk_size, 512);
    return 0;
}

/* Does `operate` with the snapshot of that name, which must be there. */
static int with_snapshot(struct qcow2 *q, const char *name,
                         int (*operate)(struct qcow2 *q, struct qcow2_snapshot *list, u32 index,
                                        u64 table_bytes),
                         const char *what, char *error, size_t n)
{
    struct qcow2_snapshot *list;
    u64 table_bytes;
    u32 count = q->header.snapshot_count;
    int failed = q->image->read_only ? 0 : qcow2_commit(q);
    if (!failed)
        failed = qcow2_snapshots_read(q, &list, &table_bytes);
    if (failed)
        return explain(failed, "read the snapshots", error, n);
    u32 index = find(list, count, name);
    if (index < count) {
        failed = explain(operate(q, list, index, table_bytes), what, error, n);
    } else {
        snprintf(error, n, "there is no snapshot \"%s\"", name);
        failed = -ENOENT;
    }
    qcow2_snapshots_free(list, count);
    return failed;
}

int qcow2_snapshot_apply(struct image *image, const char *name, char *error, size_t n)
{
    return with_snapshot(qcow2_of(image), name, apply_in, "go back to the snapshot", error, n);
}

int qcow2_snapshot_delete(struct image *image, const char *name, char *error, size_t n)
{
    return with_snapshot(qcow2_of(image), name, delete_in, "delete the snapshot", error, n);
}

int qcow2_snapshot_show(struct image *image, const char *name, char *error, size_t n)
{
    return with_snapshot(qcow2_of(image), name, show_in, "show the snapshot", error, n);
}

int qcow2_snapshot_list(struct image *image, struct image_snapshot **list, u32 *count)
{
    struct qcow2_snapshot *from = NULL;
    u64 bytes;
    struct qcow2 *q = qcow2_of(image);
    int error = qcow2_snapshots_read(q, &from, &bytes);
    *count = q->header.snapshot_count;
    *list = error ? NULL : calloc(*count + 1, sizeof(**list));
    for (u32 i = 0; *list && i < *count; i++) {
        (*list)[i] = (struct image_snapshot){.id = from[i].id,
                                             .name = from[i].name,
                                             .vm_state_bytes = from[i].vm_state,
                                             .disk_bytes = from[i].disk_size,
                                             .seconds = from[i].seconds,
                                             .nanoseconds = from[i].nanoseconds,
                                             .vm_clock = from[i].vm_clock};
        from[i].id = from[i].name = NULL; /* moved */
    }
    qcow2_snapshots_free(from, *count);
    return *list ? 0 : error ? error : -ENOMEM;
}
