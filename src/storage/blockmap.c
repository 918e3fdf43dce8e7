/* SPDX-License-Identifier: MIT
 *
 * Reading, writing and committing through a table of blocks: see blockmap.h.
 */
#include "storage/blockmap.h"

#include <errno.h>
#include <stdlib.h>

#include "storage/bytes.h"

/* ---- the table ---- */

int blockmap_init(struct blockmap *m)
{
    m->page_count = div_up(m->blocks, BLOCKMAP_PAGE_ENTRIES);
    m->pages = calloc(m->page_count + 1, sizeof(*m->pages));
    if (!m->pages)
        return -ENOMEM;
    m->high_water = file_size(m->file);
    pthread_mutex_init(&m->grow, NULL);
    pthread_mutex_init(&m->commit, NULL);
    pthread_mutex_init(&m->lock, NULL);
    return 0;
}

void blockmap_destroy(struct blockmap *m)
{
    if (!m->pages)
        return;
    for (u64 i = 0; i < m->page_count; i++)
        free(m->pages[i]);
    free(m->pages);
    m->pages = NULL;
    pthread_mutex_destroy(&m->grow);
    pthread_mutex_destroy(&m->commit);
    pthread_mutex_destroy(&m->lock);
}

/* Lock held. */
static int load_page(struct blockmap *m, u64 index, struct blockmap_page **page)
{
    u64 places[BLOCKMAP_COPIES];
    *page = m->pages[index];
    if (*page)
        return 0;
    struct blockmap_page *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    int error = 0;
    bool exists = m->format->places(m, index, places) > 0;
    if (exists)
        error = file_read(m->file, places[0], p->entry, BLOCKMAP_PAGE_BYTES);
    for (u32 i = 0; i < BLOCKMAP_PAGE_ENTRIES && !exists; i++)
        p->entry[i] = m->fill;
    if (error)
        free(p);
    else
        *page = m->pages[index] = p;
    return error;
}

/* Lock held. */
static int get_locked(struct blockmap *m, u64 block, u32 *entry)
{
    struct blockmap_page *page;
    int error = load_page(m, block / BLOCKMAP_PAGE_ENTRIES, &page);
    if (!error)
        *entry = page->entry[block % BLOCKMAP_PAGE_ENTRIES];
    return error;
}

static int make_page(struct blockmap *m, u64 index)
{
    u64 places[BLOCKMAP_COPIES];
    pthread_mutex_lock(&m->lock);
    bool exists = m->format->places(m, index, places) > 0;
    pthread_mutex_unlock(&m->lock);
    if (exists)
        return 0;
    return m->format->make_page ? m->format->make_page(m, index) : -EIO;
}

int blockmap_set(struct blockmap *m, u64 block, u32 entry)
{
    struct blockmap_page *page;
    int error = make_page(m, block / BLOCKMAP_PAGE_ENTRIES);
    if (error)
        return error;
    pthread_mutex_lock(&m->lock);
    error = load_page(m, block / BLOCKMAP_PAGE_ENTRIES, &page);
    if (!error) {
        page->entry[block % BLOCKMAP_PAGE_ENTRIES] = entry;
        m->dirty_pages += !page->dirty;
        page->dirty = true;
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

int blockmap_find(struct blockmap *m, u64 block, struct block_place *p)
{
    u32 entry;
    *p = (struct block_place){0};
    pthread_mutex_lock(&m->lock);
    int error = get_locked(m, block, &entry);
    if (!error)
        p->type = m->format->decode(m, entry, &p->host);
    pthread_mutex_unlock(&m->lock);
    return !error && p->type == BLOCK_BAD ? -EIO : error;
}

/* How many of `bytes` at `offset` lie in the block of the first one. */
static u64 within_block(const struct blockmap *m, u64 offset, u64 bytes)
{
    u64 left = m->block_bytes - (offset & (m->block_bytes - 1));
    return bytes < left ? bytes : left;
}

/* ---- reading ---- */

int blockmap_read(struct blockmap *m, u64 offset, void *data, u64 bytes)
{
    u8 *to = data;
    int error = 0;
    for (u64 n; bytes && !error; offset += n, to += n, bytes -= n) {
        struct block_place p;
        n = within_block(m, offset, bytes);
        error = blockmap_find(m, offset / m->block_bytes, &p);
        if (error)
            break;
        if (p.type == BLOCK_DATA)
            error = file_read(m->file, p.host + (offset & (m->block_bytes - 1)), to, n);
        else if (p.type == BLOCK_BELOW)
            error = image_read_below(m->image, m->base + offset, to, n);
        else
            memset(to, 0, n);
    }
    return error;
}

/* ---- writing ---- */

/* Gives the bytes `from` to `to` of a new block the content that the guest sees there. */
static int fill_part(struct blockmap *m, u64 block, const struct block_place *old, u64 host,
                     u64 from, u64 to, bool virgin)
{
    u64 offset = m->base + block * m->block_bytes + from;
    if (from == to)
        return 0;
    if (old->type == BLOCK_ZERO || !image_has_below(m->image, offset))
        return virgin ? 0 : file_zero(m->file, host + from, to - from);
    u8 *buffer = malloc(to - from);
    int error = buffer ? image_read_below(m->image, offset, buffer, to - from) : -ENOMEM;
    if (!error)
        error = file_write(m->file, host + from, buffer, to - from);
    free(buffer);
    return error;
}

/* A new block with `n` bytes of `data` at `at`; `grow` held. The file reaches to its end. */
static int write_new(struct blockmap *m, u64 block, const struct block_place *old, u64 at,
                     const void *data, u64 n)
{
    u64 host = m->next;
    if (host + m->block_bytes > m->limit)
        return -EFBIG;
    bool virgin = host >= m->high_water;
    int error = 0;
    if (host + m->block_bytes > m->high_water) {
        m->high_water = host + m->block_bytes;
        error = file_truncate(m->file, m->high_water);
    }
    if (!error)
        error = fill_part(m, block, old, host, 0, at, virgin);
    if (!error)
        error = file_write(m->file, host + at, data, n);
    if (!error)
        error = fill_part(m, block, old, host, at + n, m->block_bytes, virgin);
    if (error)
        return error;
    pthread_mutex_lock(&m->lock);
    m->next = host + m->block_bytes; /* before a new page may take its place behind it */
    pthread_mutex_unlock(&m->lock);
    return blockmap_set(m, block, m->format->encode(m, host));
}

static int write_part(struct blockmap *m, u64 offset, const void *data, u64 n)
{
    struct block_place p;
    u64 block = offset / m->block_bytes, at = offset & (m->block_bytes - 1);
    int error = blockmap_find(m, block, &p);
    if (!error && p.type != BLOCK_DATA) {
        pthread_mutex_lock(&m->grow);
        error = blockmap_find(m, block, &p); /* another write may have been first */
        bool make = !error && p.type != BLOCK_DATA;
        if (make)
            error = write_new(m, block, &p, at, data, n);
        pthread_mutex_unlock(&m->grow);
        if (make)
            return error;
    }
    return error ? error : file_write(m->file, p.host + at, data, n);
}

int blockmap_write(struct blockmap *m, u64 offset, const void *data, u64 bytes)
{
    const u8 *from = data;
    int error = 0;
    for (u64 n; bytes && !error; offset += n, from += n, bytes -= n) {
        n = within_block(m, offset, bytes);
        error = write_part(m, offset, from, n);
    }
    return error;
}

/* ---- zeros ---- */

/* Marks a whole block that has no place as zeros. */
static int mark_zero(struct blockmap *m, u64 block)
{
    struct block_place p;
    pthread_mutex_lock(&m->grow);
    int error = blockmap_find(m, block, &p);
    if (!error && p.type == BLOCK_BELOW)
        error = blockmap_set(m, block, m->zero_entry);
    pthread_mutex_unlock(&m->grow);
    return error;
}

static int write_zeros(struct blockmap *m, u64 offset, u64 n)
{
    u8 *zeros = calloc(1, n);
    int error = zeros ? write_part(m, offset, zeros, n) : -ENOMEM;
    free(zeros);
    return error;
}

static int zero_part(struct blockmap *m, u64 offset, u64 n)
{
    struct block_place p;
    u64 block = offset / m->block_bytes, at = offset & (m->block_bytes - 1);
    int error = blockmap_find(m, block, &p);
    if (error || p.type == BLOCK_ZERO)
        return error;
    if (p.type == BLOCK_DATA)
        return file_zero(m->file, p.host + at, n);
    if (!image_has_below(m->image, m->base + offset))
        return 0;
    bool whole = !at && (n == m->block_bytes || offset + n == m->bytes);
    return whole && m->has_zero_entry ? mark_zero(m, block) : write_zeros(m, offset, n);
}

int blockmap_zero(struct blockmap *m, u64 offset, u64 bytes)
{
    int error = 0;
    for (u64 n; bytes && !error; offset += n, bytes -= n) {
        n = within_block(m, offset, bytes);
        error = zero_part(m, offset, n);
    }
    return error;
}

/* ---- for tools ---- */

int blockmap_extent(struct blockmap *m, u64 offset, u64 bytes, struct image_extent *extent)
{
    struct block_place first, p;
    int error = blockmap_find(m, offset / m->block_bytes, &first);
    extent->bytes = within_block(m, offset, bytes);
    while (!error && extent->bytes < bytes) {
        error = blockmap_find(m, (offset + extent->bytes) / m->block_bytes, &p);
        if (error || p.type != first.type)
            break;
        extent->bytes += within_block(m, offset + extent->bytes, bytes - extent->bytes);
    }
    extent->type = first.type == BLOCK_DATA    ? EXTENT_DATA
                   : first.type == BLOCK_BELOW ? EXTENT_BACKING
                                               : EXTENT_ZERO;
    return error;
}

/* ---- committing ---- */

struct copied_page {
    u64 index;
    u32 entry[BLOCKMAP_PAGE_ENTRIES];
};

/* Takes copies of the pages that are dirty, and makes them clean. */
static int copy_dirty(struct blockmap *m, struct copied_page **list, u64 *count)
{
    pthread_mutex_lock(&m->lock);
    u64 n = 0;
    *count = m->dirty_pages;
    *list = malloc((*count + 1) * sizeof **list);
    for (u64 i = 0; i < m->page_count && *list && n < *count; i++) {
        struct blockmap_page *p = m->pages[i];
        if (!p || !p->dirty)
            continue;
        (*list)[n].index = i;
        memcpy((*list)[n++].entry, p->entry, sizeof p->entry);
        p->dirty = false;
    }
    if (*list)
        m->dirty_pages = 0;
    pthread_mutex_unlock(&m->lock);
    return *list ? 0 : -ENOMEM;
}

static int write_copies(struct blockmap *m, const struct copied_page *list, u64 count)
{
    int error = 0;
    for (u64 i = 0; i < count && !error; i++) {
        u64 places[BLOCKMAP_COPIES];
        pthread_mutex_lock(&m->lock);
        unsigned copies = m->format->places(m, list[i].index, places);
        pthread_mutex_unlock(&m->lock);
        u64 left = m->blocks - list[i].index * BLOCKMAP_PAGE_ENTRIES;
        u64 n = left < BLOCKMAP_PAGE_ENTRIES ? left : BLOCKMAP_PAGE_ENTRIES;
        for (unsigned c = 0; c < copies && !error; c++)
            error = file_write(m->file, places[c], list[i].entry, 4 * n);
    }
    return error;
}

static void undo_copies(struct blockmap *m, const struct copied_page *list, u64 count)
{
    pthread_mutex_lock(&m->lock);
    for (u64 i = 0; i < count; i++) {
        struct blockmap_page *p = m->pages[list[i].index];
        m->dirty_pages += !p->dirty;
        p->dirty = true;
    }
    pthread_mutex_unlock(&m->lock);
}

static int write_table(struct blockmap *m, const struct copied_page *list, u64 count)
{
    int error = m->format->write_early ? m->format->write_early(m) : 0;
    if (!error)
        error = file_flush(m->file);
    if (!error && m->format->write_late)
        error = m->format->write_late(m);
    if (!error)
        error = write_copies(m, list, count);
    return error ? error : file_flush(m->file);
}

int blockmap_commit(struct blockmap *m)
{
    struct copied_page *list;
    u64 count;
    pthread_mutex_lock(&m->commit);
    int error = copy_dirty(m, &list, &count);
    if (!error) {
        error = count ? write_table(m, list, count) : file_flush(m->file);
        if (error)
            undo_copies(m, list, count);
    }
    free(list);
    pthread_mutex_unlock(&m->commit);
    return error;
}
