/* SPDX-License-Identifier: MIT
 *
 * Compressed grains. Each has a marker before it, the grain's first sector and the length of the
 * zlib stream, and is padded to whole sectors. Grains are only added, never replaced: the format
 * is for transport, so an image is filled once, from its start to its end.
 *
 * The grain that was inflated last is kept: readers ask for a sequence of small pieces.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "storage/vmdk.h"

#define MARKER_BYTES 12 /* 64 bits of address, 32 of length */
#define NO_BLOCK     UINT64_MAX

/* ---- reading ---- */

/* The longest stream that can be right. */
static u64 longest(const struct vmdk_extent *e)
{
    return compressBound(e->map.block_bytes);
}

/* Reads and tests the marker; the length of the stream in *bytes. */
static int read_marker(struct vmdk_extent *e, u64 block, u64 host, u32 *bytes)
{
    u8 marker[MARKER_BYTES];
    int error = file_read(e->file, host, marker, sizeof marker);
    *bytes = load32(marker + 8);
    if (!error && (load64(marker) != block * (e->map.block_bytes / VMDK_SECTOR) || !*bytes ||
                   *bytes > longest(e)))
        error = -EIO;
    return error;
}

/* Inflate lock held. */
static int inflate_grain(struct vmdk_extent *e, u64 block, u64 host)
{
    u32 bytes;
    uLongf got = e->map.block_bytes;
    int error = read_marker(e, block, host, &bytes);
    if (error)
        return error;
    u8 *packed = malloc(bytes);
    if (!e->inflated)
        e->inflated = malloc(e->map.block_bytes);
    e->inflated_block = NO_BLOCK;
    error =
        packed && e->inflated ? file_read(e->file, host + MARKER_BYTES, packed, bytes) : -ENOMEM;
    if (!error && uncompress(e->inflated, &got, packed, bytes) != Z_OK)
        error = -EIO;
    free(packed);
    if (error)
        return error;
    memset(e->inflated + got, 0, e->map.block_bytes - got); /* the last one may be short */
    e->inflated_block = block;
    return 0;
}

static int read_grain(struct vmdk_extent *e, u64 block, u64 at, void *data, u64 bytes)
{
    struct block_place p;
    int error = blockmap_find(&e->map, block, &p);
    if (error)
        return error;
    if (p.type == BLOCK_BELOW)
        return image_read_below(e->map.image, e->base + block * e->map.block_bytes + at, data,
                                bytes);
    if (p.type == BLOCK_ZERO) {
        memset(data, 0, bytes);
        return 0;
    }
    pthread_mutex_lock(&e->inflate_lock);
    if (e->inflated_block != block)
        error = inflate_grain(e, block, p.host);
    if (!error)
        memcpy(data, e->inflated + at, bytes);
    pthread_mutex_unlock(&e->inflate_lock);
    return error;
}

int vmdk_stream_read(struct vmdk_extent *e, u64 offset, void *data, u64 bytes)
{
    u8 *to = data;
    int error = 0;
    for (u64 n; bytes && !error; offset += n, to += n, bytes -= n) {
        u64 at = offset & (e->map.block_bytes - 1);
        n = e->map.block_bytes - at < bytes ? e->map.block_bytes - at : bytes;
        error = read_grain(e, offset / e->map.block_bytes, at, to, n);
    }
    return error;
}

/* ---- writing ---- */

/* `grow` held. */
static int append(struct vmdk_extent *e, u64 block, const u8 *packed, u64 bytes)
{
    struct blockmap *m = &e->map;
    u64 host = m->next, end = align_up(host + bytes, VMDK_SECTOR);
    if (end > m->limit)
        return -EFBIG;
    int error = file_write(m->file, host, packed, align_up(bytes, VMDK_SECTOR));
    if (error)
        return error;
    pthread_mutex_lock(&m->lock);
    m->next = end;
    pthread_mutex_unlock(&m->lock);
    e->filled = true;
    return blockmap_set(m, block, m->format->encode(m, host));
}

int vmdk_stream_write(struct vmdk_extent *e, u64 offset, const void *data, u64 bytes)
{
    struct blockmap *m = &e->map;
    u64 block = offset / m->block_bytes;
    struct block_place p;
    uLongf packed_bytes = longest(e);
    if (offset & (m->block_bytes - 1) || bytes > m->block_bytes)
        return -EINVAL;
    u8 *packed = calloc(1, MARKER_BYTES + packed_bytes + VMDK_SECTOR);
    u8 *grain = calloc(1, m->block_bytes);
    int error = packed && grain ? 0 : -ENOMEM;
    if (!error) {
        memcpy(grain, data, bytes);
        if (compress2(packed + MARKER_BYTES, &packed_bytes, grain, m->block_bytes,
                      Z_DEFAULT_COMPRESSION) != Z_OK)
            error = -EIO;
    }
    if (!error) {
        store64(packed, block * (m->block_bytes / VMDK_SECTOR));
        store32(packed + 8, (u32)packed_bytes);
        memset(packed + MARKER_BYTES + packed_bytes, 0, VMDK_SECTOR);
        pthread_mutex_lock(&m->grow);
        error = blockmap_find(m, block, &p);
        if (!error && p.type != BLOCK_BELOW)
            error = -EROFS;
        if (!error)
            error = append(e, block, packed, MARKER_BYTES + packed_bytes);
        pthread_mutex_unlock(&m->grow);
    }
    free(packed);
    free(grain);
    return error;
}

/* A sector of zeros is the marker of the end. */
int vmdk_stream_end(struct vmdk_extent *e)
{
    static const u8 end[VMDK_SECTOR];
    if (!e->filled)
        return 0;
    int error = file_write(e->file, e->map.next, end, sizeof end);
    return error ? error : file_flush(e->file);
}
