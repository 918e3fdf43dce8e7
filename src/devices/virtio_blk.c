/* SPDX-License-Identifier: MIT
 *
 * Virtio block device (5.2), one request queue, as many requests in flight as the driver likes.
 *
 * Data go between the image and the guest's memory piece by piece, in the hands of the block
 * layer's workers. A reset lets go of requests that the host still works on: they belong to an
 * older `epoch` and return to nobody. Those that wait for space on the host do not touch memory any
 * more, once it may be another's: `settled` tells from which epoch on requests still may. The image
 * is written through when the driver has not accepted FLUSH: such a driver takes a completed write
 * for stable (5.2.6.2).
 */
#include "devices/virtio_blk.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/virtio.h"

#define DEVICE_TRANSITIONAL 0x1001
#define CLASS_STORAGE       0x010000 /* SCSI, as firmware expects it of this device */
#define VIRTIO_ID_BLOCK     2

#define BLK_F_SEG_MAX      (UINT64_C(1) << 2)
#define BLK_F_GEOMETRY     (UINT64_C(1) << 4)
#define BLK_F_RO           (UINT64_C(1) << 5)
#define BLK_F_BLK_SIZE     (UINT64_C(1) << 6)
#define BLK_F_FLUSH        (UINT64_C(1) << 9)
#define BLK_F_DISCARD      (UINT64_C(1) << 13)
#define BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

enum request_type {
    REQUEST_IN = 0,
    REQUEST_OUT = 1,
    REQUEST_FLUSH = 4,
    REQUEST_GET_ID = 8,
    REQUEST_DISCARD = 11,
    REQUEST_WRITE_ZEROES = 13
};
enum request_status { STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };

enum config_at {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_CYLINDERS = 16,
    CONFIG_HEADS = 18,
    CONFIG_SECTORS = 19,
    CONFIG_BLK_SIZE = 20,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_DISCARD_SEG = 40,
    CONFIG_DISCARD_ALIGN = 44,
    CONFIG_ZEROES_SECTORS = 48,
    CONFIG_ZEROES_SEG = 52,
    CONFIG_ZEROES_UNMAP = 56,
    CONFIG_BYTES = 60
};

#define HEADER_BYTES     16
#define RANGE_BYTES      16 /* of discard and write zeroes */
#define ID_BYTES         20
#define DATA_MAX         MIB(16)
#define DISCARD_SECTORS  (1u << 22)
#define ZEROES_SECTORS   (1u << 13)
#define GEOMETRY_HEADS   16
#define GEOMETRY_SECTORS 63

struct virtio_blk {
    struct virtio virtio;
    struct block *block;
    char serial[ID_BYTES + 1];
    u32 epoch;     /* counts resets */
    u32 settled;   /* requests of older epochs have lost their memory; atomic */
    unsigned busy; /* requests in flight, of this epoch */
};

struct request {
    struct block_request block;
    struct virtio_blk *device;
    u32 epoch;
    u32 written; /* bytes for the driver, without the status */
    bool zeroes; /* what is written does not come from the driver */
    struct virtq_chain chain;
};

/* ---- the end of a request ---- */

static void finish(struct request *r, u8 status)
{
    struct virtio *v = &r->device->virtio;
    u64 at = r->chain.in_bytes - 1;
    u32 written = status == STATUS_OK ? r->written : 0;
    virtq_write(v, &r->chain, at, &status, 1);
    virtq_push(v, 0, &r->chain, written + 1);
    virtq_signal(v, 0);
    free(r);
}

static void block_done(struct block_request *block)
{
    struct request *r = block->opaque;
    if (r->epoch != r->device->epoch) {
        free(r);
        return;
    }
    r->device->busy--;
    finish(r, block->error ? STATUS_IOERR : STATUS_OK);
}

static bool has_lost_memory(const struct request *r)
{
    return (i32)(r->epoch - __atomic_load_n(&r->device->settled, __ATOMIC_ACQUIRE)) < 0;
}

/* Between a piece and the driver's buffers, on a worker's thread. */
static int move_data(struct block_request *block, u64 at, void *piece, u64 n)
{
    struct request *r = block->opaque;
    struct virtio_blk *b = r->device;
    if (has_lost_memory(r))
        return -ECANCELED;
    if (block->op == BLOCK_READ)
        virtq_write(&b->virtio, &r->chain, at, piece, n);
    else
        virtq_read(&b->virtio, &r->chain, HEADER_BYTES + at, piece, n);
    return 0;
}

static unsigned locate_data(struct block_request *block, struct iovec *buffers, unsigned room)
{
    struct request *r = block->opaque;
    if (has_lost_memory(r)) /* move_data() says so */
        return 0;
    bool to_guest = block->op == BLOCK_READ;
    return virtq_locate(&r->device->virtio, &r->chain, to_guest, to_guest ? 0 : HEADER_BYTES,
                        buffers, room);
}

static int move_zeroes(struct block_request *block, u64 at, void *piece, u64 n)
{
    (void)block;
    (void)at;
    memset(piece, 0, n);
    return 0;
}

static void submit(struct request *r, enum block_op op, u64 offset, u64 bytes)
{
    struct virtio_blk *b = r->device;
    r->block = (struct block_request){
        .op = op,
        .fua = op == BLOCK_WRITE && !virtio_has(&b->virtio, BLK_F_FLUSH),
        .offset = offset,
        .bytes = bytes,
        .move = r->zeroes ? move_zeroes : move_data,
        .locate = r->zeroes ? NULL : locate_data,
        .done = block_done,
        .opaque = r,
    };
    b->busy++;
    block_submit(b->block, &r->block);
}

/* ---- its beginning ---- */

/* Whether `sectors` from `sector` on lie on the disk. */
static bool on_disk(const struct virtio_blk *b, u64 sector, u64 sectors)
{
    u64 capacity = load64(b->virtio.config + CONFIG_CAPACITY);
    return sector <= capacity && sectors <= capacity - sector;
}

static void transfer(struct request *r, u32 type, u64 sector, u64 bytes)
{
    struct virtio_blk *b = r->device;
    bool writes = type == REQUEST_OUT;
    if (bytes % SECTOR_BYTES || bytes > DATA_MAX || !on_disk(b, sector, bytes / SECTOR_BYTES) ||
        (writes && block_read_only(b->block))) {
        finish(r, STATUS_IOERR);
        return;
    }
    r->written = writes ? 0 : (u32)bytes;
    submit(r, writes ? BLOCK_WRITE : BLOCK_READ, sector * SECTOR_BYTES, bytes);
}

/* Discard and write zeroes: one range, as the configuration says. */
static void range(struct request *r, u32 type)
{
    struct virtio_blk *b = r->device;
    u8 range_bytes[RANGE_BYTES] = {0};
    virtq_read(&b->virtio, &r->chain, HEADER_BYTES, range_bytes, sizeof range_bytes);
    u64 sector = load64(range_bytes);
    u32 sectors = load32(range_bytes + 8);
    u32 limit = type == REQUEST_DISCARD ? DISCARD_SECTORS : ZEROES_SECTORS;
    if (r->chain.out_bytes != HEADER_BYTES + RANGE_BYTES || sectors > limit ||
        !on_disk(b, sector, sectors) || block_read_only(b->block))
        finish(r, STATUS_IOERR);
    else
        submit(r, type == REQUEST_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE, sector * SECTOR_BYTES,
               (u64)sectors * SECTOR_BYTES);
}

static void identify(struct request *r)
{
    struct virtio_blk *b = r->device;
    if (r->chain.in_bytes < ID_BYTES + 1) {
        finish(r, STATUS_IOERR);
        return;
    }
    r->written = ID_BYTES;
    virtq_write(&b->virtio, &r->chain, 0, b->serial, ID_BYTES);
    finish(r, STATUS_OK);
}

static void begin(struct request *r, u32 type, u64 sector)
{
    switch (type) {
    case REQUEST_IN: transfer(r, type, sector, r->chain.in_bytes - 1); break;
    case REQUEST_OUT: transfer(r, type, sector, r->chain.out_bytes - HEADER_BYTES); break;
    case REQUEST_FLUSH: submit(r, BLOCK_FLUSH, 0, 0); break;
    case REQUEST_DISCARD:
    case REQUEST_WRITE_ZEROES: range(r, type); break;
    case REQUEST_GET_ID: identify(r); break;
    default:
        log_unsupported(r->device->virtio.log, "virtio-blk", type, "virtio-blk: request type %u",
                        type);
        finish(r, STATUS_UNSUPP);
    }
}

/* False when there is none. */
static bool take_request(struct virtio_blk *b, unsigned queue)
{
    struct virtio *v = &b->virtio;
    struct request *r = malloc(sizeof *r); /* popped into: a chain is long */
    if (!r) {
        virtio_broken(v, "no memory on the host");
        return false;
    }
    if (!virtq_pop(v, queue, &r->chain)) {
        free(r);
        return false;
    }
    if (r->chain.in_bytes < 1 || r->chain.out_bytes < HEADER_BYTES) {
        virtio_broken(v, "request without header or status");
        free(r);
        return false;
    }
    u8 header[HEADER_BYTES];
    virtq_read(v, &r->chain, 0, header, sizeof header);
    u32 request_type = load32(header);
    r->device = b;
    r->epoch = b->epoch;
    r->written = 0;
    r->zeroes = request_type == REQUEST_WRITE_ZEROES;
    begin(r, request_type, load64(header + 8));
    return true;
}

static void notified(void *opaque, unsigned queue)
{
    /* A queue's worth at a time: a driver on another CPU could make more for ever. */
    for (unsigned n = 0; n < VIRTQ_SIZE_MAX && take_request(opaque, queue); n++)
        continue;
}

/* What the host still works on is waited for, so that no write is on its way when the driver starts
 * again; requests that wait for space on the host's disk stay behind. */
static void driver_reset(void *opaque)
{
    struct virtio_blk *b = opaque;
    b->epoch++;
    b->busy = 0;
    if (b->block)
        block_drain(b->block);
    __atomic_store_n(&b->settled, b->epoch, __ATOMIC_RELEASE);
}

/* ---- life ---- */

static const struct pci_info pci = {
    .name = "virtio-blk",
    .vendor = 0x1af4,
    .device = DEVICE_TRANSITIONAL,
    .class_code = CLASS_STORAGE,
    .interrupt_pin = 1,
    .config_written = virtio_config_written,
    .config_reading = virtio_config_reading,
};

static const struct virtio_type blk_type = {
    .pci = &pci,
    .id = VIRTIO_ID_BLOCK,
    .queues = 1,
    .config_bytes = CONFIG_BYTES,
    .notified = notified,
    .reset = driver_reset,
};

static void blk_reset(void *dev)
{
    virtio_reset(&((struct virtio_blk *)dev)->virtio);
}

static void blk_loaded(void *dev)
{
    virtio_loaded(&((struct virtio_blk *)dev)->virtio);
}

static void blk_destroy(void *dev)
{
    struct virtio_blk *b = dev;
    virtio_fini(&b->virtio);
    free(b);
}

static const struct state_field blk_state[] = {
    VIRTIO_STATE_ROWS(virtio_blk, virtio),
    STATE_END,
};

static const struct device_ops blk_ops = {
    .name = "virtio-blk",
    .version = 1,
    .state = blk_state,
    .reset = blk_reset,
    .loaded = blk_loaded,
    .destroy = blk_destroy,
};

static void fill_config(struct virtio_blk *b)
{
    u8 *c = b->virtio.config;
    u64 sectors = block_size(b->block) / SECTOR_BYTES;
    u64 cylinders = sectors / (GEOMETRY_HEADS * GEOMETRY_SECTORS);
    store64(c + CONFIG_CAPACITY, sectors);
    store32(c + CONFIG_SEG_MAX, VIRTQ_SEGMENTS_MAX - 2); /* beside header and status */
    store16(c + CONFIG_CYLINDERS, (u16)(cylinders < UINT16_MAX ? cylinders : UINT16_MAX));
    c[CONFIG_HEADS] = GEOMETRY_HEADS;
    c[CONFIG_SECTORS] = GEOMETRY_SECTORS;
    store32(c + CONFIG_BLK_SIZE, SECTOR_BYTES);
    store16(c + CONFIG_NUM_QUEUES, 1);
    store32(c + CONFIG_DISCARD_SECTORS, DISCARD_SECTORS);
    store32(c + CONFIG_DISCARD_SEG, 1);
    store32(c + CONFIG_DISCARD_ALIGN, 1);
    store32(c + CONFIG_ZEROES_SECTORS, ZEROES_SECTORS);
    store32(c + CONFIG_ZEROES_SEG, 1);
}

struct virtio_blk *virtio_blk_create(const struct virtio_blk_config *config)
{
    struct virtio_blk *b = calloc(1, sizeof *b);
    u64 features = BLK_F_SEG_MAX | BLK_F_GEOMETRY | BLK_F_BLK_SIZE | BLK_F_FLUSH;
    bool read_only = block_read_only(config->block);
    features |= read_only ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
    if (!b ||
        !virtio_init(&b->virtio, config->bus, config->devfn, &blk_type, features, config->log, b)) {
        free(b);
        return NULL;
    }
    b->block = config->block;
    if (config->serial)
        strncpy(b->serial, config->serial, ID_BYTES);
    fill_config(b);
    return b;
}

struct device virtio_blk_device(struct virtio_blk *b)
{
    return (struct device){.ops = &blk_ops, .dev = b};
}

unsigned virtio_blk_busy(const struct virtio_blk *b)
{
    return b->busy;
}
