/* SPDX-License-Identifier: MIT
 *
 * Sparse extents: a header, a directory of grain tables, tables with a sector number for each
 * grain, and grains. Directory and tables are there twice; the first copy counts.
 *
 * What is metadata is known as a sorted list of ranges of the file. An entry that points into one
 * is damage: such a grain is neither read nor written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "storage/vmdk.h"

#define GRAIN_MIN     8u       /* sectors */
#define GRAIN_MAX     0x20000u /* 64 MiB */
#define GRAINS_MAX    (1u << 28)
#define SPARSE_MAX    ((u64)UINT32_MAX * VMDK_SECTOR) /* what a sector number reaches */
#define DEFLATE       1
#define PAGES_A_TABLE (VMDK_TABLE_ENTRIES / BLOCKMAP_PAGE_ENTRIES)
#define ZERO_GRAIN    1u

/* ---- what is metadata ---- */

static bool in_metadata(const struct vmdk_extent *e, u64 from, u64 to)
{
    u32 low = 0, high = e->metadata_count;
    while (low < high) { /* the first range that ends after `from` */
        u32 middle = low + (high - low) / 2;
        if (e->metadata[middle].to > from)
            high = middle;
        else
            low = middle + 1;
    }
    return low < e->metadata_count && e->metadata[low].from < to;
}

static int by_place(const void *a, const void *b)
{
    const struct vmdk_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Sorts and joins the ranges; false when two overlap. */
static bool settle_metadata(struct vmdk_extent *e)
{
    struct vmdk_range *r = e->metadata;
    u32 n = 0;
    qsort(r, e->metadata_count, sizeof *r, by_place);
    for (u32 i = 0; i < e->metadata_count; i++) {
        if (n && r[i].from < r[n - 1].to)
            return false;
        if (n && r[i].from == r[n - 1].to)
            r[n - 1].to = r[i].to;
        else
            r[n++] = r[i];
    }
    e->metadata_count = n;
    return true;
}

static void add_metadata(struct vmdk_extent *e, u64 from, u64 bytes)
{
    if (bytes)
        e->metadata[e->metadata_count++] = (struct vmdk_range){from, from + bytes};
}

/* ---- the table of grains ---- */

static enum block_type decode(const struct blockmap *m, u32 entry, u64 *host)
{
    const struct vmdk_extent *e = m->opaque;
    if (!entry)
        return BLOCK_BELOW;
    if (entry == ZERO_GRAIN && m->has_zero_entry)
        return BLOCK_ZERO;
    *host = (u64)entry * VMDK_SECTOR;
    return in_metadata(e, *host, *host + m->stored_bytes) ? BLOCK_BAD : BLOCK_DATA;
}

static u32 encode(const struct blockmap *m, u64 host)
{
    (void)m;
    return (u32)(host / VMDK_SECTOR);
}

static unsigned places(const struct blockmap *m, u64 page, u64 at[BLOCKMAP_COPIES])
{
    const struct vmdk_extent *e = m->opaque;
    u64 table = page / PAGES_A_TABLE, within = page % PAGES_A_TABLE * BLOCKMAP_PAGE_BYTES;
    if (!e->directory[table])
        return 0;
    at[0] = (u64)e->directory[table] * VMDK_SECTOR + within;
    if (!e->redundant || !e->redundant[table])
        return 1;
    at[1] = (u64)e->redundant[table] * VMDK_SECTOR + within;
    return 2;
}

/* Room for one more range. The list is read under the lock. */
static bool room_for_metadata(struct vmdk_extent *e)
{
    pthread_mutex_lock(&e->map.lock);
    struct vmdk_range *ranges = realloc(e->metadata, (e->metadata_count + 1) * sizeof *e->metadata);
    if (ranges)
        e->metadata = ranges;
    pthread_mutex_unlock(&e->map.lock);
    return ranges;
}

/* A new grain table, or two of them, where the next grain would go. The directory follows with
 * the next commit. */
static int make_page(struct blockmap *m, u64 page)
{
    struct vmdk_extent *e = m->opaque;
    u32 table = (u32)(page / PAGES_A_TABLE);
    u64 at = m->next, bytes = VMDK_TABLE_BYTES * (e->redundant ? 2u : 1u);
    u64 end = align_up(at + bytes, m->stored_bytes);
    if (end > m->limit)
        return -EFBIG;
    if (!room_for_metadata(e))
        return -ENOMEM;
    int error = file_zero(m->file, at, bytes);
    if (!error && end > m->high_water) {
        m->high_water = end;
        error = file_truncate(m->file, end);
    }
    if (error)
        return error;
    pthread_mutex_lock(&m->lock);
    add_metadata(e, at, bytes);
    e->directory[table] = (u32)(at / VMDK_SECTOR);
    if (e->redundant)
        e->redundant[table] = e->directory[table] + VMDK_TABLE_BYTES / VMDK_SECTOR;
    if (e->dirty_from == e->dirty_to)
        e->dirty_from = e->dirty_to = table;
    if (table < e->dirty_from)
        e->dirty_from = table;
    if (table >= e->dirty_to)
        e->dirty_to = table + 1;
    m->next = end;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int write_unclean(struct vmdk_extent *e, bool unclean)
{
    u8 byte = unclean;
    int error = file_write(e->file, VMDK_H_UNCLEAN, &byte, 1);
    if (!error)
        e->unclean = unclean;
    return error;
}

/* From here on the two copies of tables may differ. The directory's new entries are those of
 * tables that the coming flush makes stable. */
static int write_early(struct blockmap *m)
{
    struct vmdk_extent *e = m->opaque;
    pthread_mutex_lock(&m->lock);
    if (e->dirty_from < e->dirty_to) {
        bool none = e->pending_from == e->pending_to;
        if (none || e->dirty_from < e->pending_from)
            e->pending_from = e->dirty_from;
        if (none || e->dirty_to > e->pending_to)
            e->pending_to = e->dirty_to;
        e->dirty_from = e->dirty_to = 0;
        memcpy(e->settled[0], e->directory, 4 * (u64)e->tables);
        if (e->redundant)
            memcpy(e->settled[1], e->redundant, 4 * (u64)e->tables);
    }
    pthread_mutex_unlock(&m->lock);
    return e->unclean ? 0 : write_unclean(e, true);
}

static int write_late(struct blockmap *m)
{
    struct vmdk_extent *e = m->opaque;
    u64 from = e->pending_from, n = e->pending_to - e->pending_from;
    int error = 0;
    if (!n)
        return 0;
    for (unsigned copy = 0; copy < (e->redundant ? 2 : 1) && !error; copy++)
        error =
            file_write(m->file, e->directory_at[copy] + 4 * from, e->settled[copy] + from, 4 * n);
    if (!error)
        e->pending_from = e->pending_to = 0;
    return error;
}

static const struct blockmap_format sparse_map = {.decode = decode,
                                                  .encode = encode,
                                                  .places = places,
                                                  .make_page = make_page,
                                                  .write_early = write_early,
                                                  .write_late = write_late};

/* ---- opening ---- */

static bool is_power_of_two(u64 v)
{
    return v && !(v & (v - 1));
}

/* The footer of a stream: a copy of the header that knows where the directory is. Before it lies
 * its marker, after it the marker of the end. */
static const char *read_footer(struct file *file, u8 *h)
{
    enum { FOOTER_AT = 2 * VMDK_SECTOR };
    u64 bytes = file_size(file);
    if (bytes < VMDK_HEADER_BYTES + FOOTER_AT)
        return "is too short for its footer";
    if (file_read(file, bytes - FOOTER_AT, h, VMDK_HEADER_BYTES))
        return "cannot be read";
    if (load32(h) != VMDK_MAGIC || load64(h + VMDK_H_DIRECTORY) == VMDK_AT_END)
        return "has no footer: it was cut off";
    return NULL;
}

static const char *objection(const u8 *h)
{
    u32 flags = load32(h + VMDK_H_FLAGS), version = load32(h + VMDK_H_VERSION);
    u64 grain = load64(h + VMDK_H_GRAIN), capacity = load64(h + VMDK_H_CAPACITY);
    if (load32(h) != VMDK_MAGIC)
        return "is no sparse VMDK extent";
    if (version < 1 || version > 3)
        return "has a version that is not supported: 1 to 3 are";
    if (!is_power_of_two(grain) || grain < GRAIN_MIN || grain > GRAIN_MAX)
        return "has a damaged header: no grain can have that size";
    if (load32(h + VMDK_H_TABLE_ENTRIES) != VMDK_TABLE_ENTRIES)
        return "has a damaged header: a grain table has 512 entries";
    if (!capacity || capacity > (u64)GRAINS_MAX * grain)
        return "has a damaged header: no disk can have that size";
    if (flags & VMDK_NEWLINE_TEST && memcmp(h + VMDK_H_NEWLINES, "\n \r\n", 4))
        return "was damaged in a transfer as text; transfer it again as binary";
    if (flags & VMDK_COMPRESSED &&
        (!(flags & VMDK_MARKERS) || load16(h + VMDK_H_COMPRESSION) != DEFLATE))
        return "is compressed in a way that is not supported";
    return NULL;
}

/* True when the range is a place for metadata; it is noted. */
static bool place_metadata(struct vmdk_extent *e, u64 sector, u64 bytes, u64 file_bytes)
{
    if (!sector || sector > file_bytes / VMDK_SECTOR || bytes > file_bytes - sector * VMDK_SECTOR)
        return false;
    add_metadata(e, sector * VMDK_SECTOR, align_up(bytes, VMDK_SECTOR));
    return true;
}

static const char *load_directory(struct vmdk_extent *e, u32 **directory, unsigned copy, u64 sector,
                                  u64 file_bytes)
{
    u64 bytes = 4 * (u64)e->tables;
    if (!place_metadata(e, sector, bytes, file_bytes))
        return "has a damaged header: its grain directory lies outside of the file";
    *directory = malloc(bytes);
    e->settled[copy] = malloc(bytes);
    if (!*directory || !e->settled[copy])
        return "out of memory";
    e->directory_at[copy] = sector * VMDK_SECTOR;
    if (file_read(e->file, e->directory_at[copy], *directory, bytes))
        return "cannot be read";
    for (u32 i = 0; i < e->tables; i++) {
        u32 table = (*directory)[i];
        if (table && !place_metadata(e, table, VMDK_TABLE_BYTES, file_bytes))
            return "is damaged: a grain table lies outside of the file";
    }
    return NULL;
}

static const char *load_tables(struct vmdk_extent *e, const u8 *h)
{
    u64 file_bytes = file_size(e->file), grains = e->map.blocks;
    e->tables = (u32)div_up(grains, VMDK_TABLE_ENTRIES);
    if (4 * (u64)e->tables > file_bytes)
        return "has a damaged header: its grain directory lies outside of the file";
    /* Header, descriptor, two directories, two copies of each table. */
    e->metadata = calloc(4 + 2 * (size_t)e->tables, sizeof *e->metadata);
    if (!e->metadata)
        return "out of memory";
    add_metadata(e, 0, VMDK_HEADER_BYTES);
    u64 text = load64(h + VMDK_H_DESCRIPTOR), text_size = load64(h + VMDK_H_DESCRIPTOR_SIZE);
    if (text && (text_size > VMDK_DESCRIPTOR_MAX / VMDK_SECTOR ||
                 !place_metadata(e, text, text_size * VMDK_SECTOR, file_bytes)))
        return "has a damaged header: its descriptor lies outside of the file";
    const char *why = load_directory(e, &e->directory, 0, load64(h + VMDK_H_DIRECTORY), file_bytes);
    u64 second = load64(h + VMDK_H_REDUNDANT_DIRECTORY);
    if (!why && e->flags & VMDK_REDUNDANT && second && second != VMDK_AT_END)
        why = load_directory(e, &e->redundant, 1, second, file_bytes);
    if (!why && !settle_metadata(e))
        why = "is damaged: its tables overlap";
    return why;
}

/* Makes the second copies of all tables equal to the first; how many were not in *different. */
static int compare_copies(struct vmdk_extent *e, bool repair, u64 *different)
{
    u8 first[VMDK_TABLE_BYTES], second[VMDK_TABLE_BYTES];
    int error = 0;
    *different = 0;
    for (u32 i = 0; e->redundant && i < e->tables && !error; i++) {
        u64 at[2] = {(u64)e->directory[i] * VMDK_SECTOR, (u64)e->redundant[i] * VMDK_SECTOR};
        if (!at[0] || !at[1])
            continue;
        error = file_read(e->file, at[0], first, sizeof first);
        if (!error)
            error = file_read(e->file, at[1], second, sizeof second);
        if (error || !memcmp(first, second, sizeof first))
            continue;
        ++*different;
        if (repair)
            error = file_write(e->file, at[1], first, sizeof first);
    }
    return error;
}

static const char *prepare_writing(struct vmdk_extent *e, const u8 *h, bool repair)
{
    u64 different, end = file_size(e->file), overhead = load64(h + VMDK_H_OVERHEAD);
    if (overhead < SPARSE_MAX / VMDK_SECTOR && overhead * VMDK_SECTOR > end)
        end = overhead * VMDK_SECTOR;
    e->map.next = align_up(end, e->map.stored_bytes);
    if (repair && e->unclean && compare_copies(e, true, &different))
        return "its grain tables cannot be repaired";
    return NULL;
}

const char *vmdk_sparse_open(struct vmdk_extent *e, struct image *image, bool repair)
{
    u8 h[VMDK_HEADER_BYTES];
    if (file_read(e->file, 0, h, sizeof h))
        return "cannot be read";
    bool unclean = h[VMDK_H_UNCLEAN];
    const char *why = NULL;
    if (load32(h) == VMDK_MAGIC && load64(h + VMDK_H_DIRECTORY) == VMDK_AT_END)
        why = read_footer(e->file, h);
    if (!why)
        why = objection(h);
    if (why)
        return why;
    e->version = load32(h + VMDK_H_VERSION);
    e->flags = load32(h + VMDK_H_FLAGS);
    e->kind = e->flags & VMDK_COMPRESSED ? VMDK_STREAM : VMDK_SPARSE;
    e->unclean = unclean;
    e->bytes = load64(h + VMDK_H_CAPACITY) * VMDK_SECTOR;
    e->map = (struct blockmap){.format = &sparse_map,
                               .image = image,
                               .file = e->file,
                               .opaque = e,
                               .base = e->base,
                               .bytes = e->bytes,
                               .block_bytes = load64(h + VMDK_H_GRAIN) * VMDK_SECTOR,
                               .zero_entry = ZERO_GRAIN,
                               .has_zero_entry = e->flags & VMDK_ZEROED_GRAINS,
                               .limit = SPARSE_MAX};
    e->map.blocks = div_up(e->bytes, e->map.block_bytes);
    e->map.stored_bytes = e->kind == VMDK_STREAM ? VMDK_SECTOR : e->map.block_bytes;
    e->inflated_block = UINT64_MAX;
    why = load_tables(e, h);
    if (!why && blockmap_init(&e->map))
        why = "out of memory";
    if (!why)
        pthread_mutex_init(&e->inflate_lock, NULL);
    if (!why && !image->read_only)
        why = prepare_writing(e, h, repair);
    return why;
}

void vmdk_sparse_close(struct vmdk_extent *e, bool writable)
{
    if (e->map.pages) {
        int error = 0;
        if (writable && e->map.dirty_pages)
            error = blockmap_commit(&e->map);
        if (!error && writable && e->kind == VMDK_STREAM)
            error = vmdk_stream_end(e);
        if (!error && writable && e->unclean)
            error = write_unclean(e, false);
        if (error)
            log_warn("%s: its last changes could not be written", e->name);
        pthread_mutex_destroy(&e->inflate_lock);
    }
    blockmap_destroy(&e->map);
    free(e->directory);
    free(e->redundant);
    free(e->settled[0]);
    free(e->settled[1]);
    free(e->metadata);
    free(e->inflated);
}

/* ---- checking ---- */

int vmdk_sparse_check(struct vmdk_extent *e, unsigned repair, struct image_check *r)
{
    u64 different;
    bool fix = repair & REPAIR_LEAKS;
    u64 compressed = r->allocated_clusters;
    int error = blockmap_check(&e->map, r);
    if (e->kind == VMDK_STREAM)
        r->compressed_clusters += r->allocated_clusters - compressed;
    if (!error)
        error = compare_copies(e, fix, &different);
    if (error || !different)
        return error;
    if (r->say)
        r->say(r->opaque, "second copies of grain tables are not up to date");
    r->leaks += different;
    r->leaks_fixed += fix ? different : 0;
    return fix ? file_flush(e->file) : 0;
}

/* ---- new extents ---- */

/* Sectors of the parts, in the order in which they lie in the file. */
struct layout {
    u64 grains, tables, directory_sectors, redundant, directory, overhead;
};

static struct layout lay_out(u64 bytes)
{
    struct layout l = {.grains = div_up(bytes, VMDK_GRAIN_SECTORS * VMDK_SECTOR)};
    u64 table_sectors = VMDK_TABLE_BYTES / VMDK_SECTOR;
    l.tables = div_up(l.grains, VMDK_TABLE_ENTRIES);
    l.directory_sectors = div_up(4 * l.tables, VMDK_SECTOR);
    l.redundant = VMDK_DESCRIPTOR_AT + VMDK_DESCRIPTOR_SECTORS;
    l.directory = l.redundant + l.directory_sectors + l.tables * table_sectors;
    l.overhead =
        align_up(l.directory + l.directory_sectors + l.tables * table_sectors, VMDK_GRAIN_SECTORS);
    return l;
}

static void put_header(u8 *h, u64 bytes, u32 flags, const struct layout *l, bool descriptor)
{
    u32 version = flags & VMDK_COMPRESSED ? 3 : flags & VMDK_ZEROED_GRAINS ? 2 : 1;
    store32(h + VMDK_H_MAGIC, VMDK_MAGIC);
    store32(h + VMDK_H_VERSION, version);
    store32(h + VMDK_H_FLAGS, flags);
    store64(h + VMDK_H_CAPACITY, bytes / VMDK_SECTOR);
    store64(h + VMDK_H_GRAIN, VMDK_GRAIN_SECTORS);
    store64(h + VMDK_H_DESCRIPTOR, descriptor ? VMDK_DESCRIPTOR_AT : 0);
    store64(h + VMDK_H_DESCRIPTOR_SIZE, descriptor ? VMDK_DESCRIPTOR_SECTORS : 0);
    store32(h + VMDK_H_TABLE_ENTRIES, VMDK_TABLE_ENTRIES);
    store64(h + VMDK_H_REDUNDANT_DIRECTORY, l->redundant);
    store64(h + VMDK_H_DIRECTORY, l->directory);
    store64(h + VMDK_H_OVERHEAD, l->overhead);
    memcpy(h + VMDK_H_NEWLINES, "\n \r\n", 4);
    store16(h + VMDK_H_COMPRESSION, flags & VMDK_COMPRESSED ? DEFLATE : 0);
}

static void put_directory(u8 *to, const struct layout *l, u64 sector)
{
    for (u64 i = 0; i < l->tables; i++)
        store32(to + 4 * i,
                (u32)(sector + l->directory_sectors + i * (VMDK_TABLE_BYTES / VMDK_SECTOR)));
}

int vmdk_sparse_create(struct file *file, u64 bytes, u32 flags, const char *descriptor)
{
    struct layout l = lay_out(bytes);
    if (l.grains > GRAINS_MAX)
        return -EFBIG;
    if (descriptor && strlen(descriptor) > VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR)
        return -E2BIG;
    u64 directory_bytes = l.directory_sectors * VMDK_SECTOR;
    u8 *head = calloc(1, l.redundant * VMDK_SECTOR + directory_bytes);
    if (!head)
        return -ENOMEM;
    put_header(head, bytes, flags | VMDK_NEWLINE_TEST | VMDK_REDUNDANT, &l, descriptor);
    if (descriptor)
        memcpy(head + VMDK_DESCRIPTOR_AT * VMDK_SECTOR, descriptor, strlen(descriptor));
    u8 *directory = head + l.redundant * VMDK_SECTOR;
    put_directory(directory, &l, l.redundant);
    int error = file_truncate(file, l.overhead * VMDK_SECTOR);
    if (!error)
        error = file_write(file, 0, head, l.redundant * VMDK_SECTOR + directory_bytes);
    put_directory(directory, &l, l.directory);
    if (!error)
        error = file_write(file, l.directory * VMDK_SECTOR, directory, directory_bytes);
    free(head);
    return error ? error : file_flush(file);
}
