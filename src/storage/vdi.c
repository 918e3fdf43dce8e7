/* SPDX-License-Identifier: MIT
 *
 * VDI, the image format of VirtualBox: a header, a map with a 32-bit entry for each block of
 * 1 MiB, and the blocks, numbered in the order in which they lie in the file. A static image has
 * all blocks from the start.
 *
 * The header counts the blocks, and other programs take that count for the number of the next
 * new block. So it is raised before any entry refers to a block beyond it (see blockmap.h); after
 * a crash it may be too high, which the next writer puts right. Blocks that are given up keep
 * their place, with a hole in the host's file, so that there are no gaps in the numbers.
 *
 * The layout is version 1.1, which VirtualBox has written since its first public release. Not
 * supported: differencing images, which name their parent only by its UUID.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log.h"
#include "storage/blockmap.h"
#include "storage/bytes.h"

#define VDI_MAGIC        0xbeda107fu
#define VDI_VERSION      0x00010001u
#define VDI_HEADER_BYTES 512u
#define VDI_SECTOR       512u
#define VDI_BLOCK        MIB(1)
#define VDI_MAX_BLOCKS   (UINT32_MAX / 8)
#define UUID_BYTES       16

#define VDI_UNALLOCATED 0xffffffffu
#define VDI_ZERO        0xfffffffeu

enum vdi_type { VDI_DYNAMIC = 1, VDI_STATIC = 2 };

/* Byte offsets in the header; all fields have 32 bits but for the size. */
enum vdi_field {
    VDI_TEXT = 0, /* for people, 64 bytes */
    VDI_MAGIC_AT = 64,
    VDI_VERSION_AT = 68,
    VDI_HEADER_SIZE = 72, /* counted from here */
    VDI_TYPE = 76,
    VDI_MAP_AT = 340,
    VDI_DATA_AT = 344,
    VDI_SECTOR_SIZE = 360,
    VDI_DISK_SIZE = 368, /* 64 bits */
    VDI_BLOCK_SIZE = 376,
    VDI_BLOCK_EXTRA = 380,
    VDI_BLOCKS = 384,
    VDI_ALLOCATED = 388,
    VDI_UUID = 392,
    VDI_UUID_SNAPSHOT = 408,
    VDI_UUID_LINK = 424,
    VDI_UUID_PARENT = 440,
};

struct vdi {
    struct blockmap map;
    u64 map_at, data_at; /* file offsets of the map, and of block 0 */
    u32 type;
    u32 allocated; /* as the header in the file says it */
};

static struct vdi *vdi_of(const struct image *image)
{
    return image->state;
}

static bool probe(const u8 *head)
{
    return load32(head + VDI_MAGIC_AT) == VDI_MAGIC;
}

/* ---- the map ---- */

static enum block_type decode(const struct blockmap *m, u32 entry, u64 *host)
{
    const struct vdi *v = m->opaque;
    if (entry == VDI_UNALLOCATED)
        return BLOCK_BELOW;
    if (entry == VDI_ZERO)
        return BLOCK_ZERO;
    *host = v->data_at + entry * m->block_bytes;
    return entry < m->blocks ? BLOCK_DATA : BLOCK_BAD;
}

static u32 encode(const struct blockmap *m, u64 host)
{
    const struct vdi *v = m->opaque;
    return (u32)((host - v->data_at) / m->block_bytes);
}

static unsigned places(const struct blockmap *m, u64 page, u64 at[BLOCKMAP_COPIES])
{
    const struct vdi *v = m->opaque;
    at[0] = v->map_at + page * BLOCKMAP_PAGE_BYTES;
    return 1;
}

static int write_count(struct vdi *v, u32 count)
{
    u8 field[4];
    store32(field, count);
    int error = file_write(v->map.file, VDI_ALLOCATED, field, sizeof field);
    if (!error)
        v->allocated = count;
    return error;
}

static int write_early(struct blockmap *m)
{
    struct vdi *v = m->opaque;
    pthread_mutex_lock(&m->lock);
    u32 count = (u32)((m->next - v->data_at) / m->block_bytes);
    pthread_mutex_unlock(&m->lock);
    return count == v->allocated ? 0 : write_count(v, count);
}

static const struct blockmap_format vdi_map = {
    .decode = decode, .encode = encode, .places = places, .write_early = write_early};

/* ---- opening ---- */

static bool all_zeros(const u8 *p, u32 n)
{
    return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* NULL: the header can be believed. */
static const char *objection(const u8 *h, u64 file_bytes)
{
    u32 type = load32(h + VDI_TYPE), blocks = load32(h + VDI_BLOCKS);
    u64 size = load64(h + VDI_DISK_SIZE), map_at = load32(h + VDI_MAP_AT);
    if (load32(h + VDI_MAGIC_AT) != VDI_MAGIC)
        return "is no VDI image";
    if (load32(h + VDI_VERSION_AT) != VDI_VERSION)
        return "has a version that is not supported: only 1.1 is";
    if ((type != VDI_DYNAMIC && type != VDI_STATIC) || !all_zeros(h + VDI_UUID_LINK, UUID_BYTES) ||
        !all_zeros(h + VDI_UUID_PARENT, UUID_BYTES))
        return "is a differencing image, which is not supported; clone it with VBoxManage first";
    if (load32(h + VDI_SECTOR_SIZE) != VDI_SECTOR || load32(h + VDI_BLOCK_SIZE) != VDI_BLOCK ||
        load32(h + VDI_BLOCK_EXTRA))
        return "has blocks that are not supported: only 1 MiB without extra data is";
    if (blocks > VDI_MAX_BLOCKS || size > blocks * VDI_BLOCK)
        return "has a damaged header: its size and its number of blocks do not agree";
    if (map_at < VDI_HEADER_BYTES || map_at % VDI_SECTOR || map_at + 4 * (u64)blocks > file_bytes)
        return "has a damaged header: its block map lies outside of the file";
    if (load32(h + VDI_DATA_AT) % VDI_SECTOR || load32(h + VDI_DATA_AT) < map_at + 4 * (u64)blocks)
        return "has a damaged header: its blocks begin before its map ends";
    return NULL;
}

/* Where the next block goes, which the header may not know after a crash. */
static int prepare_writing(struct vdi *v, bool repair)
{
    u64 host;
    bool any;
    int error = blockmap_farthest(&v->map, &host, &any);
    v->map.next = any ? host + v->map.block_bytes : v->data_at;
    return error || !repair ? error : write_early(&v->map);
}

static int vdi_open(struct image *image, const struct image_options *options, char *error, size_t n)
{
    u8 h[VDI_HEADER_BYTES];
    int failed = file_read(image->file, 0, h, sizeof h);
    const char *why = failed ? strerror(-failed) : objection(h, file_size(image->file));
    struct vdi *v = why ? NULL : calloc(1, sizeof *v);
    if (!v) {
        snprintf(error, n, "%s: %s", image->path, why ? why : "out of memory");
        return failed ? failed : why ? -EINVAL : -ENOMEM;
    }
    image->size = align_up(load64(h + VDI_DISK_SIZE), VDI_SECTOR);
    image->state = v;
    v->map_at = load32(h + VDI_MAP_AT);
    v->data_at = load32(h + VDI_DATA_AT);
    v->type = load32(h + VDI_TYPE);
    v->allocated = load32(h + VDI_ALLOCATED);
    v->map = (struct blockmap){.format = &vdi_map,
                               .image = image,
                               .file = image->file,
                               .opaque = v,
                               .bytes = image->size,
                               .block_bytes = VDI_BLOCK,
                               .blocks = load32(h + VDI_BLOCKS),
                               .stored_bytes = VDI_BLOCK,
                               .fill = VDI_UNALLOCATED,
                               .limit = v->data_at + load32(h + VDI_BLOCKS) * VDI_BLOCK};
    failed = blockmap_init(&v->map);
    if (!failed && !image->read_only)
        failed = prepare_writing(v, !options->no_repair);
    if (failed) {
        snprintf(error, n, "%s: cannot read its block map: %s", image->path, strerror(-failed));
        blockmap_destroy(&v->map);
        free(v);
    }
    return failed;
}

static void vdi_close(struct image *image)
{
    struct vdi *v = vdi_of(image);
    if (!image->read_only && v->map.dirty_pages && blockmap_commit(&v->map))
        log_warn("%s: its last changes could not be written", image->path);
    blockmap_destroy(&v->map);
    free(v);
}

/* ---- operations ---- */

static int vdi_read(struct image *image, u64 offset, void *data, u64 bytes)
{
    return blockmap_read(&vdi_of(image)->map, offset, data, bytes);
}

static int vdi_write(struct image *image, u64 offset, const void *data, u64 bytes)
{
    return blockmap_write(&vdi_of(image)->map, offset, data, bytes);
}

static int vdi_flush(struct image *image)
{
    return blockmap_commit(&vdi_of(image)->map);
}

static int vdi_zero(struct image *image, u64 offset, u64 bytes)
{
    return blockmap_zero(&vdi_of(image)->map, offset, bytes);
}

static int vdi_extent(struct image *image, u64 offset, u64 bytes, struct image_extent *extent)
{
    return blockmap_extent(&vdi_of(image)->map, offset, bytes, extent);
}

static void vdi_info(struct image *image, struct image_info *info)
{
    info->cluster_bytes = vdi_of(image)->map.block_bytes;
}

/* ---- checking ---- */

static int vdi_check(struct image *image, unsigned repair, struct image_check *r)
{
    struct vdi *v = vdi_of(image);
    char line[128];
    u64 host = 0;
    bool any = false;
    int error = image->read_only ? 0 : blockmap_commit(&v->map);
    if (!error)
        error = blockmap_check(&v->map, r);
    if (!error)
        error = blockmap_farthest(&v->map, &host, &any);
    if (error)
        return error;
    u64 taken = any ? (host - v->data_at) / v->map.block_bytes + 1 : 0;
    if (taken == v->allocated)
        return 0;
    bool low = v->allocated < taken; /* another program would write over the last ones */
    snprintf(line, sizeof line, "the header counts %u blocks, and there are %llu", v->allocated,
             (unsigned long long)taken);
    if (r->say)
        r->say(r->opaque, line);
    *(low ? &r->errors : &r->leaks) += 1;
    if (!(repair & (low ? REPAIR_ERRORS : REPAIR_LEAKS)))
        return 0;
    error = write_count(v, (u32)taken);
    if (!error)
        error = file_flush(image->file);
    if (!error)
        *(low ? &r->errors_fixed : &r->leaks_fixed) += 1;
    return error;
}

/* ---- new images ---- */

static bool make_header(u8 *h, u64 bytes, bool is_static)
{
    enum { COUNTED_HEADER = 384 };
    u64 blocks = div_up(bytes, VDI_BLOCK);
    snprintf((char *)h + VDI_TEXT, 64, "<<< VirtualBox Disk Image, made by anello >>>\n");
    store32(h + VDI_MAGIC_AT, VDI_MAGIC);
    store32(h + VDI_VERSION_AT, VDI_VERSION);
    store32(h + VDI_HEADER_SIZE, COUNTED_HEADER);
    store32(h + VDI_TYPE, is_static ? VDI_STATIC : VDI_DYNAMIC);
    store32(h + VDI_MAP_AT, VDI_HEADER_BYTES);
    store32(h + VDI_DATA_AT, (u32)align_up(VDI_HEADER_BYTES + 4 * blocks, VDI_SECTOR));
    store32(h + VDI_SECTOR_SIZE, VDI_SECTOR);
    store64(h + VDI_DISK_SIZE, bytes);
    store32(h + VDI_BLOCK_SIZE, VDI_BLOCK);
    store32(h + VDI_BLOCKS, (u32)blocks);
    store32(h + VDI_ALLOCATED, is_static ? (u32)blocks : 0);
    for (u32 at = VDI_UUID; at <= VDI_UUID_SNAPSHOT; at += UUID_BYTES) {
        if (getrandom(h + at, UUID_BYTES, 0) != UUID_BYTES)
            return false;
        h[at + 7] = (h[at + 7] & 0x0f) | 0x40; /* RFC 4122: version 4, variant 1 */
        h[at + 8] = (h[at + 8] & 0x3f) | 0x80;
    }
    return true;
}

static int write_new_image(struct file *file, u64 bytes, bool is_static)
{
    u64 blocks = div_up(bytes, VDI_BLOCK);
    u64 data_at = align_up(VDI_HEADER_BYTES + 4 * blocks, VDI_SECTOR);
    u8 *head = calloc(1, data_at);
    if (!head || !make_header(head, bytes, is_static)) {
        free(head);
        return head ? -EIO : -ENOMEM;
    }
    for (u64 i = 0; i < blocks; i++)
        store32(head + VDI_HEADER_BYTES + 4 * i, is_static ? (u32)i : VDI_UNALLOCATED);
    int error = file_write(file, 0, head, data_at);
    if (!error && is_static)
        error = file_truncate(file, data_at + blocks * VDI_BLOCK);
    free(head);
    return error ? error : file_flush(file);
}

static int vdi_create(const char *path, const struct image_create *o, char *error, size_t n)
{
    u64 bytes = align_up(o->bytes, VDI_SECTOR);
    const char *why = image_create_extra(o, IMAGE_STATIC);
    if (!why && div_up(bytes, VDI_BLOCK) > VDI_MAX_BLOCKS)
        why = "a VDI image cannot be that large";
    if (why)
        return image_refuse(path, why, error, n);
    struct file *file = file_open(path, FILE_WRITABLE | FILE_CREATE, error, n);
    if (!file)
        return -EIO;
    int failed = write_new_image(file, bytes, o->is_static);
    file_close(file);
    return image_result(path, failed, error, n);
}

const struct image_format vdi_format = {
    .name = "vdi",
    .description = "VirtualBox: grows on demand, or static",
    .probe = probe,
    .open = vdi_open,
    .close = vdi_close,
    .read = vdi_read,
    .write = vdi_write,
    .flush = vdi_flush,
    .zero = vdi_zero,
    .discard = vdi_zero,
    .extent = vdi_extent,
    .create = vdi_create,
    .check = vdi_check,
    .info = vdi_info,
};
