/* SPDX-License-Identifier: MIT
 *
 * Compressed clusters: raw deflate, or zstd where the header says so. They start at any byte of
 * the file, and their L2 entry gives that byte and the number of 512-byte sectors that the stream
 * may reach into. The guest can write them only by replacing them (qcow2_io.c); tools write whole
 * images of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "storage/qcow2.h"

#define SECTOR       512u
#define DEFLATE_BITS (-15) /* raw, any window */
#define WRITE_BITS   (-12) /* what other programs expect at least to read */
#define MEMORY_LEVEL 9

struct qcow2_packed qcow2_packed_of(const struct qcow2 *q, u64 entry)
{
    unsigned shift = 62 - (q->cluster_bits - 8);
    u64 host = entry & mask64(shift);
    u64 sectors = (entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> shift;
    return (struct qcow2_packed){host, (sectors + 1) * SECTOR - (host & (SECTOR - 1))};
}

/* ---- reading ---- */

static int inflate_deflate(const u8 *from, u64 bytes, u8 *to, u64 room)
{
    z_stream z = {
        .next_in = (u8 *)from, .avail_in = (uInt)bytes, .next_out = to, .avail_out = (uInt)room};
    if (inflateInit2(&z, DEFLATE_BITS) != Z_OK)
        return -ENOMEM;
    int result = inflate(&z, Z_FINISH);
    bool full = z.avail_out == 0;
    inflateEnd(&z);
    /* The sectors after the stream's end may be taken for more of it: a full cluster is enough. */
    return result == Z_STREAM_END || (result == Z_BUF_ERROR && full) ? (full ? 0 : -EIO) : -EIO;
}

static int inflate_zstd(const u8 *from, u64 bytes, u8 *to, u64 room)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    if (!z)
        return -ENOMEM;
    ZSTD_inBuffer in = {from, bytes, 0};
    ZSTD_outBuffer out = {to, room, 0};
    while (out.pos < out.size) {
        size_t before = out.pos, taken = in.pos;
        size_t result = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(result) || (out.pos == before && in.pos == taken))
            break;
    }
    ZSTD_freeDStream(z);
    return out.pos == room ? 0 : -EIO;
}

/* Fills q->inflated from the cluster that the entry names; inflate_lock held. */
static int inflate_cluster(struct qcow2 *q, u64 entry)
{
    struct qcow2_packed p = qcow2_packed_of(q, entry);
    if (!q->inflated)
        q->inflated = malloc(q->cluster_size);
    u8 *packed = malloc(p.bytes);
    q->inflated_entry = 0;
    int error = packed && q->inflated ? file_read(q->file, p.host, packed, p.bytes) : -ENOMEM;
    if (!error)
        error = q->header.compression == QCOW2_ZSTD
                    ? inflate_zstd(packed, p.bytes, q->inflated, q->cluster_size)
                    : inflate_deflate(packed, p.bytes, q->inflated, q->cluster_size);
    free(packed);
    if (!error)
        q->inflated_entry = entry;
    return error;
}

int qcow2_read_compressed(struct qcow2 *q, u64 entry, u64 at, void *data, u64 bytes)
{
    pthread_mutex_lock(&q->inflate_lock);
    int error = q->inflated_entry == entry ? 0 : inflate_cluster(q, entry);
    if (!error)
        memcpy(data, q->inflated + at, bytes);
    pthread_mutex_unlock(&q->inflate_lock);
    return error;
}

/* ---- writing ---- */

/* Bytes of the stream, or 0 when it would not be smaller than the cluster. */
static u64 deflate_cluster(const u8 *from, u64 bytes, u8 *to)
{
    z_stream z = {.next_in = (u8 *)from,
                  .avail_in = (uInt)bytes,
                  .next_out = to,
                  .avail_out = (uInt)(bytes - 1)};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WRITE_BITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    int result = deflate(&z, Z_FINISH);
    u64 out = bytes - 1 - z.avail_out;
    deflateEnd(&z);
    return result == Z_STREAM_END ? out : 0;
}

static u64 zstd_cluster(const u8 *from, u64 bytes, u8 *to)
{
    size_t n = ZSTD_compress(to, bytes - 1, from, bytes, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(n) ? 0 : n;
}

/* A new stream must not lie where the cache believes an old one. */
static void forget_inflated(struct qcow2 *q)
{
    pthread_mutex_lock(&q->inflate_lock);
    q->inflated_entry = 0;
    pthread_mutex_unlock(&q->inflate_lock);
}

static int store_packed(struct qcow2 *q, u64 offset, const u8 *packed, u64 bytes)
{
    u64 host;
    unsigned shift = 62 - (q->cluster_bits - 8);
    pthread_mutex_lock(&q->lock);
    int error = qcow2_alloc_bytes(q, bytes, &host);
    pthread_mutex_unlock(&q->lock);
    if (error)
        return error;
    forget_inflated(q);
    error = qcow2_guarded_write(q, KIND_DATA, host, packed, bytes);
    u64 sectors = ((host & (SECTOR - 1)) + bytes - 1) / SECTOR;
    pthread_mutex_lock(&q->lock);
    if (!error && host >> shift)
        error = -EFBIG;
    if (!error)
        error = qcow2_link(q, offset >> q->cluster_bits, 1,
                           QCOW2_COMPRESSED | host | sectors << shift, 0);
    if (error)
        qcow2_free_now(q, host, 1);
    pthread_mutex_unlock(&q->lock);
    return error;
}

int qcow2_write_compressed(struct image *image, u64 offset, const void *data, u64 bytes)
{
    struct qcow2 *q = qcow2_of(image);
    u8 *cluster = calloc(2, q->cluster_size), *packed = cluster + q->cluster_size;
    if (!cluster)
        return -ENOMEM;
    memcpy(cluster, data, bytes);
    u64 n = q->header.compression == QCOW2_ZSTD ? zstd_cluster(cluster, q->cluster_size, packed)
                                                : deflate_cluster(cluster, q->cluster_size, packed);
    int error;
    if (n) {
        pthread_rwlock_rdlock(&q->io);
        error = store_packed(q, offset, packed, n);
        pthread_rwlock_unlock(&q->io);
    } else {
        error = qcow2_write(image, offset, data, bytes);
    }
    free(cluster);
    return error;
}
