/* SPDX-License-Identifier: MIT
 *
 * Counts from the tables how often each cluster is used, and compares with what the reference
 * counts say. A count that is too high is a leak and harmless; one that is too low, an entry that
 * points where nothing can be, or two kinds of table in one cluster is an error.
 *
 * Repair sets the counts to what was found. Where the refcount table or its blocks themselves are
 * damaged it builds them anew at the end of the file. What it cannot know, such as which of two
 * owners of a cluster is right, it leaves and reports.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/qcow2.h"

#define NO_KIND      0xff
#define CLUSTERS_MAX ((u64)1 << 31)

struct audit {
    struct qcow2 *q;
    struct image_check *result;
    u64 clusters; /* of the file */
    u32 *uses;
    u8 *kinds;
    bool damaged;      /* the refcount structure itself */
    u64 lasting;       /* errors that no refcount can put right */
    bool incomplete;   /* who uses what is not known: nothing may be freed */
    u64 expected_host; /* of the next data cluster, if they follow each other */
};

static void say(struct audit *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct audit *a, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    if (!a->result->say)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    a->result->say(a->result->opaque, line);
}

static const char *kind_name(enum qcow2_kind kind)
{
    static const char *const names[] = {"data",      "the header",  "the refcount table",
                                        "refcounts", "an L1 table", "an L2 table",
                                        "snapshots"};
    return names[kind];
}

/* ---- counting uses ---- */

/* False when the range is no place for anything. */
static bool use(struct audit *a, u64 offset, u64 bytes, enum qcow2_kind kind)
{
    const struct qcow2 *q = a->q;
    u64 first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;
    if (!bytes)
        return true;
    if (last >= a->clusters || offset + bytes < offset) {
        a->result->errors++;
        say(a, "ERROR: %s at %#llx lies beyond the end of the file", kind_name(kind),
            (unsigned long long)offset);
        return false;
    }
    for (u64 c = first; c <= last; c++) {
        if (a->kinds[c] != NO_KIND && a->kinds[c] != kind) {
            a->result->errors++;
            say(a, "ERROR: cluster %llu is %s and %s", (unsigned long long)c,
                kind_name(a->kinds[c]), kind_name(kind));
        }
        a->kinds[c] = (u8)kind;
        if (a->uses[c] < UINT32_MAX)
            a->uses[c]++;
    }
    return true;
}

static bool aligned(struct audit *a, u64 offset, enum qcow2_kind kind)
{
    if (!(offset & (a->q->cluster_size - 1)))
        return true;
    a->result->errors++;
    say(a, "ERROR: %s at %#llx is misaligned", kind_name(kind), (unsigned long long)offset);
    return false;
}

/* Bits that no version has given a meaning. */
static void must_be_clear(struct audit *a, u64 entry, u64 reserved, const char *where)
{
    if (!(entry & reserved))
        return;
    a->result->errors++;
    say(a, "ERROR: an entry of %s has reserved bits set: %#llx", where, (unsigned long long)entry);
}

static void use_compressed(struct audit *a, u64 entry)
{
    struct qcow2_packed p = qcow2_packed_of(a->q, entry);
    u64 end = a->clusters << a->q->cluster_bits;
    a->result->compressed_clusters++;
    /* The last sector of the last stream need not be complete. */
    if (p.host < end && p.host + p.bytes > end)
        p.bytes = end - p.host;
    use(a, p.host, p.bytes, KIND_DATA);
}

static void use_l2_entry(struct audit *a, u64 entry, bool active)
{
    const struct qcow2 *q = a->q;
    u64 at = entry & QCOW2_OFFSET;
    if (active && qcow2_entry_type(q, entry) != MAP_BACKING &&
        qcow2_entry_type(q, entry) != MAP_ZERO)
        a->result->allocated_clusters++;
    if (entry & QCOW2_COMPRESSED) {
        use_compressed(a, entry);
        a->expected_host = 0;
        if (active)
            a->result->fragmented_clusters++;
        return;
    }
    u64 known = QCOW2_OFFSET | QCOW2_COPIED | (q->header.version >= 3 ? QCOW2_ZERO : 0);
    must_be_clear(a, entry, ~known, "an L2 table");
    if (!at || !aligned(a, at, KIND_DATA))
        return;
    if (active && a->expected_host && a->expected_host != at)
        a->result->fragmented_clusters++;
    a->expected_host = at + q->cluster_size;
    use(a, at, q->cluster_size, KIND_DATA);
}

static int use_l2(struct audit *a, u64 at, bool active)
{
    const struct qcow2 *q = a->q;
    u8 *table = malloc(q->cluster_size);
    int error = table ? file_read(q->file, at, table, q->cluster_size) : -ENOMEM;
    for (u64 i = 0; i < qcow2_l2_entries(q) && !error; i++)
        use_l2_entry(a, get_be64(table + 8 * i), active);
    free(table);
    return error;
}

static int use_l1(struct audit *a, const u8 *l1, u64 entries, bool active)
{
    int error = 0;
    for (u64 i = 0; i < entries && !error; i++) {
        u64 entry = get_be64(l1 + 8 * i), at = entry & QCOW2_OFFSET;
        must_be_clear(a, entry, ~(QCOW2_OFFSET | QCOW2_COPIED), "an L1 table");
        if (at && aligned(a, at, KIND_L2) && use(a, at, a->q->cluster_size, KIND_L2))
            error = use_l2(a, at, active);
    }
    return error;
}

static int use_snapshots(struct audit *a)
{
    struct qcow2 *q = a->q;
    struct qcow2_snapshot *list = NULL;
    u64 bytes = 0;
    u32 count = q->header.snapshot_count;
    int error = qcow2_snapshots_read(q, &list, &bytes);
    if (error) {
        a->result->errors++;
        a->incomplete = true;
        say(a, "ERROR: the snapshot table cannot be read; nothing is repaired without it");
        return 0;
    }
    use(a, q->header.snapshots_offset, bytes, KIND_SNAPSHOTS);
    for (u32 i = 0; i < count && !error; i++) {
        u64 l1_bytes = (u64)list[i].l1_size * 8;
        if (q->header.version >= 3 && list[i].more_bytes < QCOW2_SNAPSHOT_EXTRA) {
            a->result->errors++;
            say(a, "ERROR: entry %u of the snapshot table does not say the disk's size", i);
        }
        u8 *l1 = malloc(l1_bytes + 1);
        error = l1 ? file_read(q->file, list[i].l1_offset, l1, l1_bytes) : -ENOMEM;
        if (!error && use(a, list[i].l1_offset, l1_bytes, KIND_SNAPSHOTS))
            error = use_l1(a, l1, list[i].l1_size, false);
        free(l1);
    }
    qcow2_snapshots_free(list, count);
    return error;
}

/* Everything but the refcounts themselves. */
static int use_all(struct audit *a)
{
    struct qcow2 *q = a->q;
    use(a, 0, q->cluster_size, KIND_HEADER);
    use(a, q->header.l1_offset, (u64)q->header.l1_size * 8, KIND_L1);
    int error = use_l1(a, q->l1, q->header.l1_size, true);
    return error ? error : use_snapshots(a);
}

static int use_refcounts(struct audit *a)
{
    struct qcow2 *q = a->q;
    u64 before = a->result->errors;
    u64 bytes = q->header.reftable_clusters * q->cluster_size;
    u8 *table = malloc(bytes);
    use(a, q->header.reftable_offset, bytes, KIND_REFTABLE);
    int error = table ? file_read(q->file, q->header.reftable_offset, table, bytes) : -ENOMEM;
    for (u64 i = 0; i < bytes / 8 && !error; i++) {
        u64 at = get_be64(table + 8 * i);
        if (at && aligned(a, at, KIND_REFBLOCK))
            use(a, at, q->cluster_size, KIND_REFBLOCK);
    }
    free(table);
    a->damaged = a->result->errors != before;
    return error;
}

/* Clusters in use that no block counts: the table has lost an entry. */
static void find_uncounted(struct audit *a)
{
    const struct qcow2 *q = a->q;
    for (u64 c = 0; c < a->clusters && !a->damaged; c++) {
        u64 index = c / q->refblock_entries;
        a->damaged = a->uses[c] && (index >= q->reftable_entries || !q->reftable[index]);
    }
}

/* ---- comparing ---- */

static int compare_cluster(struct audit *a, u64 cluster, unsigned repair)
{
    struct image_check *r = a->result;
    u64 count, uses = a->uses[cluster];
    int error = qcow2_refcount_get(a->q, cluster, &count);
    if (error || count == uses)
        return error;
    bool leak = count > uses;
    say(a, "%s cluster %llu refcount=%llu reference=%llu", leak ? "Leaked" : "ERROR",
        (unsigned long long)cluster, (unsigned long long)count, (unsigned long long)uses);
    if (leak)
        r->leaks++;
    else
        r->errors++;
    if (a->damaged || !(repair & (leak ? REPAIR_LEAKS : REPAIR_ERRORS)))
        return 0;
    error = qcow2_refcount_set(a->q, cluster, uses);
    if (error == -ENOSPC) {
        say(a,
            "ERROR: %llu is more than a count of this image can say; \"anello image convert\" "
            "makes a whole copy",
            (unsigned long long)uses);
        return 0;
    }
    if (!error && leak)
        r->leaks_fixed++;
    else if (!error)
        r->errors_fixed++;
    return error == -EIO ? 0 : error;
}

static int compare(struct audit *a, unsigned repair)
{
    int error = 0;
    for (u64 c = 0; c < a->clusters && !error; c++) {
        error = compare_cluster(a, c, repair);
        if (a->uses[c])
            a->result->end_offset = (c + 1) << a->q->cluster_bits;
    }
    return error;
}

/* ---- building the refcounts anew ---- */

/* Blocks for all clusters in use, the table, and for themselves, at the end of the file. */
struct rebuild {
    u64 first; /* cluster of the first block; the table follows the blocks */
    u64 blocks, table_clusters, total;
};

static struct rebuild plan_rebuild(const struct audit *a)
{
    const struct qcow2 *q = a->q;
    struct rebuild r = {.first = a->clusters, .total = a->clusters};
    for (;;) {
        u64 blocks = div_up(r.total, q->refblock_entries);
        u64 table = div_up(blocks * 8, q->cluster_size);
        if (blocks == r.blocks && table == r.table_clusters)
            return r;
        r.blocks = blocks;
        r.table_clusters = table;
        r.total = a->clusters + blocks + table;
    }
}

static u64 rebuilt_count(const struct audit *a, const struct rebuild *r, u64 cluster)
{
    return cluster < a->clusters ? a->uses[cluster] : cluster < r->total;
}

/* Counts again what is used, without the old refcounts, whose clusters become free. */
static int count_without_refcounts(struct audit *a)
{
    struct image_check unheard = {0};
    struct image_check *result = a->result;
    memset(a->uses, 0, a->clusters * sizeof *a->uses);
    memset(a->kinds, NO_KIND, a->clusters);
    a->result = &unheard;
    int error = use_all(a);
    a->result = result;
    return error;
}

static int write_rebuilt(struct audit *a, const struct rebuild *r)
{
    struct qcow2 *q = a->q;
    u8 *block = malloc(q->cluster_size), *table = calloc(r->table_clusters, q->cluster_size);
    int error = block && table ? 0 : -ENOMEM;
    for (u64 i = 0; i < r->blocks && !error; i++) {
        memset(block, 0, q->cluster_size);
        for (u64 j = 0; j < q->refblock_entries; j++) {
            u64 count = rebuilt_count(a, r, i * q->refblock_entries + j);
            if (count > qcow2_refcount_max(q))
                error = -ERANGE;
            qcow2_put_in_block(q, block, j, count);
        }
        u64 at = (r->first + i) << q->cluster_bits;
        put_be64(table + 8 * i, at);
        if (!error)
            error = file_write(q->file, at, block, q->cluster_size);
    }
    if (!error)
        error = file_write(q->file, (r->first + r->blocks) << q->cluster_bits, table,
                           r->table_clusters << q->cluster_bits);
    free(block);
    free(table);
    return error ? error : file_flush(q->file);
}

static int rebuild(struct audit *a)
{
    struct qcow2 *q = a->q;
    struct rebuild r = plan_rebuild(a);
    u8 field[12];
    if (r.table_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE)
        return -EFBIG;
    int error = count_without_refcounts(a);
    if (!error)
        error = write_rebuilt(a, &r);
    put_be64(field, (r.first + r.blocks) << q->cluster_bits);
    put_be32(field + 8, (u32)r.table_clusters);
    if (!error)
        error = file_write(q->file, QCOW2_H_REFTABLE, field, sizeof field);
    if (!error)
        error = file_flush(q->file);
    q->abandoned = true; /* what is in memory of the old counts must not be written */
    if (error)
        return error;
    a->result->errors_fixed = a->result->errors - a->lasting;
    a->result->leaks_fixed = a->result->leaks;
    return 0;
}

/* ---- the check ---- */

static int begin(struct audit *a, struct qcow2 *q, struct image_check *result)
{
    *a = (struct audit){.q = q, .result = result};
    a->clusters = div_up(file_size(q->file), q->cluster_size);
    if (a->clusters > CLUSTERS_MAX)
        return -EFBIG;
    a->uses = calloc(a->clusters + 1, sizeof *a->uses);
    a->kinds = malloc(a->clusters + 1);
    if (!a->uses || !a->kinds)
        return -ENOMEM;
    memset(a->kinds, NO_KIND, a->clusters + 1);
    result->total_clusters = div_up(q->header.size, q->cluster_size);
    return 0;
}

static int repair_rest(struct audit *a, unsigned repair)
{
    struct qcow2 *q = a->q;
    struct image_check *r = a->result;
    u64 wrong = 0;
    if (a->damaged)
        return repair & REPAIR_ERRORS ? rebuild(a) : 0;
    bool fix = repair & REPAIR_ERRORS;
    int error = fix ? qcow2_commit(q) : 0;
    if (!error)
        error = qcow2_fix_copied(q, fix, &wrong);
    if (wrong)
        say(a, "ERROR: %llu entries say wrongly whether they own their cluster",
            (unsigned long long)wrong);
    r->errors += wrong;
    if (!error && repair)
        error = qcow2_commit(q);
    if (!error && fix)
        r->errors_fixed += wrong;
    return error;
}

int qcow2_check(struct image *image, unsigned repair, struct image_check *result)
{
    struct qcow2 *q = qcow2_of(image);
    struct audit a;
    u64 flags = q->header.incompatible;
    if (q->header.other_bytes && (q->header.autoclear & 1)) {
        if (result->say)
            result->say(result->opaque, "has persistent bitmaps, which only qemu-img can check");
        return -ENOTSUP;
    }
    int error = begin(&a, q, result);
    if (!error)
        error = use_all(&a);
    a.lasting = result->errors;
    if (!error)
        error = use_refcounts(&a);
    if (!error)
        find_uncounted(&a);
    if (a.incomplete)
        repair = 0;
    bool damaged = q->damaged;
    q->header.incompatible &= ~(u64)QCOW2_CORRUPT; /* so that repair may write */
    q->damaged = false;
    if (!error)
        error = compare(&a, repair);
    if (!error)
        error = repair_rest(&a, repair);
    q->header.incompatible = flags;
    q->damaged = damaged;
    bool clean = result->errors == result->errors_fixed;
    if (!error && (repair & REPAIR_ERRORS) && clean)
        error = qcow2_set_incompatible(q, 0, QCOW2_DIRTY | QCOW2_CORRUPT);
    free(a.uses);
    free(a.kinds);
    return error;
}
