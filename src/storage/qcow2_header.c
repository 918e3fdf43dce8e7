/* SPDX-License-Identifier: MIT
 *
 * The header: 72 bytes in version 2, at least 104 in version 3, then extensions, then the name of
 * the backing file. Everything in it may have been made by an enemy, so each number is bounded
 * here, before anything is allocated or read on its word.
 */
#include <errno.h>
#include <stdio.h>

#include "storage/qcow2.h"

#define EXTENSION_END            0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES  0x6803f857u

#define COMPRESSION_BYTE 104

/* ---- reading ---- */

static void read_fields(struct qcow2_header *h, const u8 *head)
{
    *h = (struct qcow2_header){
        .version = get_be32(head + 4),
        .cluster_bits = get_be32(head + 20),
        .size = get_be64(head + 24),
        .l1_size = get_be32(head + 36),
        .l1_offset = get_be64(head + 40),
        .reftable_offset = get_be64(head + 48),
        .reftable_clusters = get_be32(head + 56),
        .snapshot_count = get_be32(head + 60),
        .snapshots_offset = get_be64(head + 64),
        .refcount_order = 4,
        .header_bytes = QCOW2_V2_HEADER_BYTES,
    };
    if (h->version < 3)
        return;
    h->incompatible = get_be64(head + QCOW2_H_INCOMPATIBLE);
    h->compatible = get_be64(head + 80);
    h->autoclear = get_be64(head + QCOW2_H_AUTOCLEAR);
    h->refcount_order = get_be32(head + 96);
    h->header_bytes = get_be32(head + 100);
    if (h->header_bytes > COMPRESSION_BYTE)
        h->compression = head[COMPRESSION_BYTE];
}

/* Features that change what the tables mean. */
static const char *unknown_feature(const struct qcow2_header *h, const u8 *head)
{
    if (get_be32(head + 32))
        return "is encrypted, which is not supported; \"qemu-img convert\" can decrypt it";
    if (h->incompatible & QCOW2_DATA_FILE)
        return "keeps its data in another file, which is not supported";
    if (h->incompatible & QCOW2_EXTENDED_L2)
        return "has subclusters (extended_l2), which are not supported; \"qemu-img convert\" "
               "makes an image without them";
    if (h->incompatible & ~(u64)QCOW2_KNOWN_INCOMPATIBLE)
        return "uses a feature that is not known here";
    bool flagged = h->incompatible & QCOW2_COMPRESSION;
    if (h->compression > QCOW2_ZSTD || flagged != (h->compression != QCOW2_ZLIB))
        return "is compressed in a way that is not known here";
    return NULL;
}

/* An offset and size of something that begins with a cluster and lies within the file. */
static bool bad_range(u64 offset, u64 bytes, u64 cluster_size, u64 file_bytes)
{
    u64 end = align_up(file_bytes, cluster_size);
    return (offset & (cluster_size - 1)) || offset > end || bytes > end - offset;
}

static const char *bad_number(const struct qcow2_header *h, u64 file_bytes)
{
    u64 cluster = (u64)1 << h->cluster_bits;
    u64 l2_reach = cluster * (cluster / 8); /* guest bytes of one L1 entry */
    u64 l1_bytes = (u64)h->l1_size * 8;
    if (h->header_bytes < (h->version < 3 ? QCOW2_V2_HEADER_BYTES : QCOW2_V3_HEADER_BYTES) ||
        h->header_bytes > cluster)
        return "its header has an impossible length";
    if (h->refcount_order > 6)
        return "its reference counts have an impossible width";
    if (h->size > (u64)INT64_MAX - cluster)
        return "is impossibly large";
    if (l1_bytes > QCOW2_MAX_L1_BYTES || h->l1_size < div_up(h->size, l2_reach))
        return "its L1 table has an impossible size";
    if (bad_range(h->l1_offset, l1_bytes, cluster, file_bytes) || (h->l1_size && !h->l1_offset))
        return "its L1 table is misplaced";
    if (!h->reftable_clusters || h->reftable_clusters * cluster > QCOW2_MAX_REFTABLE)
        return "its refcount table has an impossible size";
    if (bad_range(h->reftable_offset, h->reftable_clusters * cluster, cluster, file_bytes) ||
        !h->reftable_offset)
        return "its refcount table is misplaced";
    if (h->snapshot_count > QCOW2_MAX_SNAPSHOTS)
        return "has an impossible number of snapshots";
    return NULL;
}

static void keep_extension(struct qcow2_header *h, const u8 *from, u64 bytes, u64 there)
{
    if (bytes > there || bytes > sizeof h->other - h->other_bytes) {
        h->other_lost = true;
        return;
    }
    memcpy(h->other + h->other_bytes, from, bytes);
    h->other_bytes += (u32)bytes;
}

/* Extensions lie between the header and the backing file's name (or the end of the cluster). */
static const char *read_extensions(struct qcow2_header *h, const u8 *head, u64 end)
{
    u64 at = h->header_bytes;
    while (at + 8 <= end) {
        u32 type = get_be32(head + at), bytes = get_be32(head + at + 4);
        at += 8;
        if (type == EXTENSION_END)
            return NULL;
        if (bytes > end - at)
            return "has a header extension that is too long";
        if (type == EXTENSION_BACKING_FORMAT) {
            if (bytes >= sizeof h->backing_format)
                return "the format of its backing file has too long a name";
            memcpy(h->backing_format, head + at, bytes);
        }
        if (type != EXTENSION_BACKING_FORMAT && type != EXTENSION_FEATURE_NAMES)
            keep_extension(h, head + at - 8, 8 + align_up(bytes, 8), end - (at - 8));
        at += align_up(bytes, 8);
    }
    return NULL;
}

static const char *read_backing(struct qcow2_header *h, const u8 *head, u64 room)
{
    u64 offset = get_be64(head + 8);
    u32 bytes = get_be32(head + 16);
    u64 end = offset ? offset : room;
    if (offset && (bytes > QCOW2_MAX_BACKING_NAME || offset > room || bytes > room - offset))
        return "the name of its backing file is misplaced";
    if (offset)
        memcpy(h->backing_path, head + offset, bytes);
    return h->header_bytes <= end ? read_extensions(h, head, end)
                                  : "the name of its backing file is misplaced";
}

int qcow2_header_parse(struct qcow2_header *h, const u8 *head, u64 file_bytes, const char *path,
                       char *error, size_t n)
{
    u64 most = (u64)1 << QCOW2_MAX_CLUSTER_BITS, bytes = file_bytes < most ? file_bytes : most;
    if (bytes < QCOW2_V3_HEADER_BYTES + 8 || get_be32(head) != QCOW2_MAGIC)
        return image_refuse(path, "is not a qcow2 image", error, n);
    read_fields(h, head);
    if (h->version != 2 && h->version != 3)
        return image_refuse(path, "is of an unknown qcow2 version", error, n);
    if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
        return image_refuse(path, "has clusters of an impossible size", error, n);
    const char *why = unknown_feature(h, head);
    if (!why)
        why = bad_number(h, file_bytes);
    u64 cluster = (u64)1 << h->cluster_bits;
    if (!why)
        why = read_backing(h, head, bytes < cluster ? bytes : cluster);
    return why ? image_refuse(path, why, error, n) : 0;
}

/* ---- writing ---- */

/* Names of feature bits, for programs that do not know them. */
static const struct {
    u8 kind, bit; /* kind 0: incompatible, 1: compatible */
    const char *name;
} feature_names[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
};
#define FEATURE_NAME_BYTES 48

static u64 put_feature_names(u8 *to)
{
    u32 bytes = ARRAY_LEN(feature_names) * FEATURE_NAME_BYTES;
    put_be32(to, EXTENSION_FEATURE_NAMES);
    put_be32(to + 4, bytes);
    for (size_t i = 0; i < ARRAY_LEN(feature_names); i++) {
        u8 *at = to + 8 + i * FEATURE_NAME_BYTES;
        at[0] = feature_names[i].kind;
        at[1] = feature_names[i].bit;
        strncpy((char *)at + 2, feature_names[i].name, FEATURE_NAME_BYTES - 2);
    }
    return 8 + bytes;
}

static void put_fields(const struct qcow2_header *h, u8 *to)
{
    put_be32(to, QCOW2_MAGIC);
    put_be32(to + 4, h->version);
    put_be32(to + 20, h->cluster_bits);
    put_be64(to + 24, h->size);
    put_be32(to + 36, h->l1_size);
    put_be64(to + 40, h->l1_offset);
    put_be64(to + 48, h->reftable_offset);
    put_be32(to + 56, h->reftable_clusters);
    put_be32(to + 60, h->snapshot_count);
    put_be64(to + 64, h->snapshots_offset);
    if (h->version < 3)
        return;
    put_be64(to + QCOW2_H_INCOMPATIBLE, h->incompatible);
    put_be64(to + 80, h->compatible);
    put_be64(to + QCOW2_H_AUTOCLEAR, h->autoclear);
    put_be32(to + 96, h->refcount_order);
    put_be32(to + 100, h->header_bytes);
    if (h->header_bytes > COMPRESSION_BYTE)
        to[COMPRESSION_BYTE] = h->compression;
}

int qcow2_header_build(const struct qcow2_header *h, u8 *to, u64 cluster_size)
{
    u64 name = strlen(h->backing_path), format = strlen(h->backing_format);
    u64 names_bytes = h->version < 3 ? 0 : 8 + ARRAY_LEN(feature_names) * FEATURE_NAME_BYTES;
    u64 format_bytes = format ? 8 + align_up(format, 8) : 0;
    u64 need = h->header_bytes + format_bytes + h->other_bytes + 8 + name;
    if (need > cluster_size)
        return -E2BIG;
    if (need + names_bytes > cluster_size)
        names_bytes = 0; /* a courtesy: left out where clusters are small */
    put_fields(h, to);
    u64 at = h->header_bytes;
    if (format) {
        put_be32(to + at, EXTENSION_BACKING_FORMAT);
        put_be32(to + at + 4, (u32)format);
        memcpy(to + at + 8, h->backing_format, format);
        at += format_bytes;
    }
    if (names_bytes)
        at += put_feature_names(to + at);
    memcpy(to + at, h->other, h->other_bytes);
    at += h->other_bytes + 8; /* the end mark */
    if (name) {
        put_be64(to + 8, at);
        put_be32(to + 16, (u32)name);
        memcpy(to + at, h->backing_path, name);
    }
    return 0;
}

/* All fields that change while an image is in use lie in the first sector, so that a field is
 * written whole or not at all. */
int qcow2_header_write(struct qcow2 *q, enum qcow2_header_field field, const void *bytes, u32 n)
{
    return qcow2_guarded_write(q, KIND_HEADER, field, bytes, n);
}

int qcow2_set_incompatible(struct qcow2 *q, u64 set, u64 clear)
{
    u64 features = (q->header.incompatible | set) & ~clear;
    u8 field[8];
    if (q->header.version < 3 || features == q->header.incompatible)
        return 0;
    put_be64(field, features);
    int error = file_write(q->file, QCOW2_H_INCOMPATIBLE, field, sizeof field);
    if (!error)
        error = file_flush(q->file);
    if (!error)
        q->header.incompatible = features;
    return error;
}
