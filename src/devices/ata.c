/* SPDX-License-Identifier: MIT
 *
 * The ATA command set of a hard disk (ATA/ATAPI-6, T13/1410D): PIO single and multiple, DMA, 28-
 * and 48-bit and CHS addresses, caches, power management, SMART.
 *
 * A media command keeps two things in the drive: `lba` and `sectors`, what the host's disk has not
 * been asked for yet, and the PIO buffer with what it has given but the guest has not taken. When
 * the host reports an error in a request of many sectors, the command goes on sector by sector
 * (`careful`) until it meets the bad one, whose address the task file then shows.
 *
 * What IDENTIFY and SMART say is in ata_identify.c.
 *
 * Deviations: SLEEP is STANDBY (no reset is needed to wake up); host protected area, security and
 * power-up in standby do not exist and are aborted.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/ide.h"

#define READY (STATUS_DRDY | STATUS_DSC)

#define MAX_CYLINDERS      16383
#define LBA28_SECTORS      ((u64)1 << 28)
#define PIO_BUFFER_SECTORS (u32)(IDE_BUFFER_BYTES / SECTOR_BYTES)
#define DMA_CHUNK_SECTORS  (u32)(IDE_CHUNK_BYTES / SECTOR_BYTES)

enum power_mode { POWER_STANDBY = 0x00, POWER_IDLE = 0x80, POWER_ACTIVE = 0xff };

enum ata_flags {
    ATA_MEDIA = 1 << 0, /* names sectors and a count of them */
    ATA_EXT = 1 << 1,   /* 48-bit address and 16-bit count */
    ATA_DMA = 1 << 2,
    ATA_WRITE = 1 << 3,
    ATA_MULTIPLE = 1 << 4,
    ATA_FUA = 1 << 5,
    ATA_VERIFY = 1 << 6, /* reads and moves nothing */
    ATA_TRIM = 1 << 7,
};

struct ata_command {
    void (*start)(struct ide_drive *d);
    u8 flags;
};

static const struct ata_command commands[256];

static u8 flags_of(const struct ide_drive *d)
{
    return commands[d->command].flags;
}

static void complete(struct ide_drive *d)
{
    ide_end(d, READY, 0);
}

static void fail(struct ide_drive *d, u8 error)
{
    ide_end(d, READY | STATUS_ERR, error);
}

static void abort_command(struct ide_drive *d)
{
    fail(d, ERROR_ABRT);
}

/* ---- addresses ---- */

u64 ata_sectors(const struct ide_drive *d)
{
    return block_size(d->block) / SECTOR_BYTES;
}

u32 ata_lba28_sectors(const struct ide_drive *d)
{
    u64 n = ata_sectors(d);
    return (u32)(n < LBA28_SECTORS ? n : LBA28_SECTORS - 1);
}

u32 ata_cylinders(const struct ide_drive *d, u32 heads, u32 track_sectors)
{
    u64 n = ata_sectors(d) / (heads * track_sectors);
    if (n > MAX_CYLINDERS)
        return MAX_CYLINDERS;
    return n ? (u32)n : 1;
}

static u64 registers_24(const u8 *regs)
{
    return regs[IDE_LBA_LOW] | (u64)regs[IDE_LBA_MID] << 8 | (u64)regs[IDE_LBA_HIGH] << 16;
}

/* The command's first sector; false when CHS registers name none. */
static bool first_sector(const struct ide_drive *d, u64 *lba)
{
    const u8 *r = d->regs;
    u8 head = r[IDE_DEVICE] & DEVICE_HEAD;
    if (flags_of(d) & ATA_EXT) {
        *lba = registers_24(r) | registers_24(d->previous) << 24;
        return true;
    }
    if (r[IDE_DEVICE] & DEVICE_LBA) {
        *lba = registers_24(r) | (u64)head << 24;
        return true;
    }
    u32 cylinder = r[IDE_LBA_MID] | (u32)r[IDE_LBA_HIGH] << 8;
    u32 sector = r[IDE_LBA_LOW];
    if (!sector || sector > d->track_sectors || head >= d->heads)
        return false;
    *lba = ((u64)cylinder * d->heads + head) * d->track_sectors + sector - 1;
    return true;
}

static u32 sector_count(const struct ide_drive *d)
{
    if (flags_of(d) & ATA_EXT) {
        u32 n = d->regs[IDE_COUNT] | (u32)d->previous[IDE_COUNT] << 8;
        return n ? n : 65536;
    }
    return d->regs[IDE_COUNT] ? d->regs[IDE_COUNT] : 256;
}

/* Shows the address of a sector in the task file, in the form that the command used. */
static void show_sector(struct ide_drive *d, u64 lba)
{
    u8 *r = d->regs;
    bool chs = !(flags_of(d) & ATA_EXT) && !(r[IDE_DEVICE] & DEVICE_LBA);
    if (chs && d->heads && d->track_sectors) {
        u64 track = lba / d->track_sectors;
        r[IDE_LBA_LOW] = (u8)(lba % d->track_sectors + 1);
        r[IDE_LBA_MID] = (u8)(track / d->heads);
        r[IDE_LBA_HIGH] = (u8)(track / d->heads >> 8);
        r[IDE_DEVICE] = (u8)((r[IDE_DEVICE] & ~DEVICE_HEAD) | track % d->heads);
        return;
    }
    r[IDE_LBA_LOW] = (u8)lba;
    r[IDE_LBA_MID] = (u8)(lba >> 8);
    r[IDE_LBA_HIGH] = (u8)(lba >> 16);
    if (flags_of(d) & ATA_EXT) {
        d->previous[IDE_LBA_LOW] = (u8)(lba >> 24);
        d->previous[IDE_LBA_MID] = (u8)(lba >> 32);
        d->previous[IDE_LBA_HIGH] = (u8)(lba >> 40);
    } else {
        r[IDE_DEVICE] = (u8)((r[IDE_DEVICE] & ~DEVICE_HEAD) | (lba >> 24 & DEVICE_HEAD));
    }
}

/* ---- media commands ---- */

static void media_complete(struct ide_drive *d)
{
    show_sector(d, d->lba - 1);
    d->regs[IDE_COUNT] = 0;
    complete(d);
}

/* The sector d->lba is bad. */
static void media_failed(struct ide_drive *d, u8 error)
{
    show_sector(d, d->lba);
    d->regs[IDE_COUNT] = (u8)d->sectors;
    fail(d, error);
}

/* Moves past the good sectors of a request; how many bytes they are. */
static u32 advance(struct ide_drive *d, const struct ide_io *io)
{
    u32 n = (u32)(io->done / SECTOR_BYTES);
    d->lba += n;
    d->sectors -= n;
    return (u32)io->done;
}

/* A request buffer for the next sectors, at most `most`; NULL: the command is aborted. */
static struct ide_io *next_io(struct ide_drive *d, u32 most, u64 *bytes)
{
    *bytes = (u64)(d->sectors < most ? d->sectors : most) * SECTOR_BYTES;
    struct ide_io *io = ide_io_get(d, *bytes);
    if (io)
        io->fua = (flags_of(d) & ATA_FUA) || !d->write_cache;
    else
        abort_command(d);
    return io;
}

/* ---- PIO in ---- */

/* Sectors of one PIO block. */
static u32 block_bytes(const struct ide_drive *d, u64 left)
{
    u32 block = (u32)SECTOR_BYTES * (flags_of(d) & ATA_MULTIPLE ? d->multiple : 1);
    return left < block ? (u32)left : block;
}

/* Offers the next block of what the buffer holds. */
static void offer_block(struct ide_drive *d, u32 at)
{
    ide_pio(d, IDE_PIO_IN, at, at + block_bytes(d, d->data_filled - at));
    ide_raise(d);
}

static void buffer_read(struct ide_drive *d, struct ide_io *io)
{
    u32 good = advance(d, io);
    if (!good) {
        media_failed(d, ERROR_UNC);
        return;
    }
    memcpy(d->buffer, io->data, good);
    d->data_filled = good;
    offer_block(d, 0);
}

static void fill_buffer(struct ide_drive *d)
{
    u64 bytes;
    struct ide_io *io = next_io(d, PIO_BUFFER_SECTORS, &bytes);
    if (!io)
        return;
    d->phase = IDE_BUSY;
    ide_io_submit(d, io, BLOCK_READ, d->lba * SECTOR_BYTES, bytes, buffer_read);
}

/* The guest has taken a block: then comes the rest of the buffer, or more sectors, or the end of
 * the command, which has no interrupt of its own. */
static void block_taken(struct ide_drive *d)
{
    if (d->data_at < d->data_filled) {
        offer_block(d, d->data_at);
        return;
    }
    if (d->sectors) {
        fill_buffer(d);
        return;
    }
    if (flags_of(d) & ATA_MEDIA) {
        show_sector(d, d->lba - 1);
        d->regs[IDE_COUNT] = 0;
    }
    d->phase = IDE_IDLE;
    d->status = READY;
}

/* The 512 bytes at the start of the buffer are the answer to a command. */
static void answer_sector(struct ide_drive *d)
{
    d->sectors = 0;
    d->data_filled = SECTOR_BYTES;
    offer_block(d, 0);
}

/* ---- PIO out ---- */

static void accept_block(struct ide_drive *d)
{
    ide_pio(d, IDE_PIO_OUT, 0, block_bytes(d, (u64)d->sectors * SECTOR_BYTES));
}

static void buffer_written(struct ide_drive *d, struct ide_io *io)
{
    advance(d, io);
    if (io->error) {
        media_failed(d, ERROR_ABRT);
    } else if (d->sectors) {
        accept_block(d);
        ide_raise(d);
    } else {
        media_complete(d);
    }
}

static void block_given(struct ide_drive *d)
{
    u64 bytes;
    struct ide_io *io = next_io(d, d->data_end / SECTOR_BYTES, &bytes);
    if (!io)
        return;
    memcpy(io->data, d->buffer, bytes);
    d->phase = IDE_BUSY;
    ide_io_submit(d, io, BLOCK_WRITE, d->lba * SECTOR_BYTES, bytes, buffer_written);
}

void ata_pio_done(struct ide_drive *d)
{
    if (d->phase == IDE_PIO_IN)
        block_taken(d);
    else
        block_given(d);
}

/* ---- DMA ---- */

/* The descriptors ended before the command did: the drive gives up, without an interrupt, as the
 * engine then reports neither activity nor one. */
static void descriptors_short(struct ide_drive *d)
{
    d->phase = IDE_IDLE;
    d->status = READY;
    d->sectors = 0;
}

static void next_dma_chunk(struct ide_drive *d)
{
    d->phase = flags_of(d) & ATA_WRITE ? IDE_DMA_OUT : IDE_DMA_IN;
    d->status = READY | STATUS_DRQ;
    if (ide_dma_started(d))
        ata_dma_run(d);
}

static void dma_chunk_read(struct ide_drive *d, struct ide_io *io)
{
    if (!ide_dma_started(d)) { /* stopped meanwhile: the same sectors when it starts again */
        next_dma_chunk(d);
        return;
    }
    u32 good = advance(d, io);
    if (!good)
        media_failed(d, ERROR_UNC);
    else if (ide_dma_transfer(d, io->data, good, true) < good)
        descriptors_short(d);
    else if (d->sectors)
        next_dma_chunk(d);
    else
        media_complete(d);
}

static void dma_chunk_written(struct ide_drive *d, struct ide_io *io)
{
    advance(d, io);
    if (io->error)
        media_failed(d, ERROR_ABRT);
    else if (d->sectors)
        next_dma_chunk(d);
    else
        media_complete(d);
}

static void dma_read_chunk(struct ide_drive *d)
{
    u64 bytes;
    struct ide_io *io = next_io(d, DMA_CHUNK_SECTORS, &bytes);
    if (io)
        ide_io_submit(d, io, BLOCK_READ, d->lba * SECTOR_BYTES, bytes, dma_chunk_read);
}

static void dma_write_chunk(struct ide_drive *d)
{
    u64 bytes;
    struct ide_io *io = next_io(d, DMA_CHUNK_SECTORS, &bytes);
    if (!io)
        return;
    if (ide_dma_transfer(d, io->data, (u32)bytes, false) < bytes) {
        ide_io_put(d, io);
        descriptors_short(d);
        return;
    }
    ide_io_submit(d, io, BLOCK_WRITE, d->lba * SECTOR_BYTES, bytes, dma_chunk_written);
}

static void trim_given(struct ide_drive *d);

void ata_dma_run(struct ide_drive *d)
{
    if (flags_of(d) & ATA_TRIM)
        trim_given(d);
    else if (d->phase == IDE_DMA_IN)
        dma_read_chunk(d);
    else
        dma_write_chunk(d);
}

/* ---- starting media commands ---- */

static bool may_write(const struct ide_drive *d)
{
    return !(flags_of(d) & ATA_WRITE) || !block_read_only(d->block);
}

static void verify_chunk(struct ide_drive *d);

static void chunk_verified(struct ide_drive *d, struct ide_io *io)
{
    advance(d, io);
    if (io->error)
        media_failed(d, ERROR_UNC);
    else if (d->sectors)
        verify_chunk(d);
    else
        media_complete(d);
}

static void verify_chunk(struct ide_drive *d)
{
    u64 bytes;
    struct ide_io *io = next_io(d, DMA_CHUNK_SECTORS, &bytes);
    if (!io)
        return;
    d->phase = IDE_BUSY;
    ide_io_submit(d, io, BLOCK_READ, d->lba * SECTOR_BYTES, bytes, chunk_verified);
}

/* READ, WRITE and VERIFY in all their forms. */
static void media(struct ide_drive *d)
{
    u8 flags = flags_of(d);
    u64 lba = 0;
    u32 n = sector_count(d);
    bool unset = (flags & ATA_MULTIPLE) && !d->multiple;
    if (unset || !may_write(d)) {
        abort_command(d);
        return;
    }
    if (!first_sector(d, &lba) || lba >= ata_sectors(d) || n > ata_sectors(d) - lba) {
        fail(d, ERROR_IDNF);
        return;
    }
    d->power = POWER_ACTIVE;
    d->lba = lba;
    d->sectors = n;
    if (flags & ATA_VERIFY)
        verify_chunk(d);
    else if (flags & ATA_DMA)
        next_dma_chunk(d);
    else if (flags & ATA_WRITE)
        accept_block(d);
    else
        fill_buffer(d);
}

/* SEEK: the address is checked and nothing moves. */
static void seek(struct ide_drive *d)
{
    u64 lba;
    if (first_sector(d, &lba) && lba < ata_sectors(d))
        complete(d);
    else
        fail(d, ERROR_IDNF);
}

static void native_max(struct ide_drive *d)
{
    show_sector(d, (flags_of(d) & ATA_EXT ? ata_sectors(d) : ata_lba28_sectors(d)) - 1);
    complete(d);
}

/* ---- flush and trim ---- */

static void flushed(struct ide_drive *d, struct ide_io *io)
{
    if (io->error)
        abort_command(d);
    else
        complete(d);
}

static void flush(struct ide_drive *d)
{
    struct ide_io *io = ide_io_get(d, 0);
    if (!io) {
        abort_command(d);
        return;
    }
    d->phase = IDE_BUSY;
    ide_io_submit(d, io, BLOCK_FLUSH, 0, 0, flushed);
}

/* DATA SET MANAGEMENT, TRIM: one sector of 64 ranges by DMA, each 48 bits of address and 16 of
 * count. They are kept in the buffer, data_at the next one, and discarded one by one. */
#define TRIM_FEATURE    0x01
#define TRIM_ENTRY      8
#define TRIM_MAX_BLOCKS 1

static void start_trim(struct ide_drive *d)
{
    d->data_at = 0;
    if (d->regs[IDE_FEATURES] != TRIM_FEATURE || sector_count(d) != TRIM_MAX_BLOCKS ||
        !may_write(d)) {
        abort_command(d);
        return;
    }
    d->sectors = 1;
    next_dma_chunk(d);
}

static void trim_next(struct ide_drive *d);

static void trimmed(struct ide_drive *d, struct ide_io *io)
{
    if (io->error)
        abort_command(d);
    else
        trim_next(d);
}

static void trim_next(struct ide_drive *d)
{
    u64 lba = 0, n = 0;
    while (d->data_at < SECTOR_BYTES && !n) {
        u64 entry = load64(d->buffer + d->data_at);
        lba = bits64(entry, 47, 0);
        n = bits64(entry, 63, 48);
        d->data_at += TRIM_ENTRY;
    }
    if (!n) {
        complete(d);
        return;
    }
    bool valid = lba < ata_sectors(d) && n <= ata_sectors(d) - lba;
    struct ide_io *io = valid ? ide_io_get(d, 0) : NULL;
    if (io)
        ide_io_submit(d, io, BLOCK_DISCARD, lba * SECTOR_BYTES, n * SECTOR_BYTES, trimmed);
    else
        abort_command(d);
}

static void trim_given(struct ide_drive *d)
{
    if (ide_dma_transfer(d, d->buffer, SECTOR_BYTES, false) < SECTOR_BYTES) {
        descriptors_short(d);
        return;
    }
    d->phase = IDE_BUSY;
    d->data_at = 0;
    trim_next(d);
}

/* ---- commands without data ---- */

static void set_features(struct ide_drive *d)
{
    enum {
        ENABLE_WRITE_CACHE = 0x02,
        SET_TRANSFER_MODE = 0x03,
        DISABLE_READ_AHEAD = 0x55,
        DISABLE_REVERTING = 0x66,
        DISABLE_WRITE_CACHE = 0x82,
        ENABLE_READ_AHEAD = 0xaa,
        ENABLE_REVERTING = 0xcc,
    };
    switch (d->regs[IDE_FEATURES]) {
    case ENABLE_WRITE_CACHE: d->write_cache = true; break;
    case DISABLE_WRITE_CACHE:
        d->write_cache = false;
        flush(d); /* what is in the cache goes out before the command is complete */
        return;
    case ENABLE_READ_AHEAD: d->read_ahead = true; break;
    case DISABLE_READ_AHEAD: d->read_ahead = false; break;
    case DISABLE_REVERTING:
    case ENABLE_REVERTING: break;
    case SET_TRANSFER_MODE:
        if (ide_set_transfer_mode(d, d->regs[IDE_COUNT]))
            break;
        abort_command(d);
        return;
    default: abort_command(d); return;
    }
    complete(d);
}

static void set_multiple(struct ide_drive *d)
{
    u8 n = d->regs[IDE_COUNT];
    if (n > IDE_MULTIPLE_MAX || (n & (n - 1))) {
        d->multiple = 0;
        abort_command(d);
        return;
    }
    d->multiple = n;
    complete(d);
}

static void initialize_parameters(struct ide_drive *d)
{
    if (!d->regs[IDE_COUNT]) {
        abort_command(d);
        return;
    }
    d->track_sectors = d->regs[IDE_COUNT];
    d->heads = (u16)((d->regs[IDE_DEVICE] & DEVICE_HEAD) + 1);
    complete(d);
}

static void recalibrate(struct ide_drive *d)
{
    complete(d);
}

static void standby(struct ide_drive *d)
{
    d->power = POWER_STANDBY;
    flush(d);
}

static void idle(struct ide_drive *d)
{
    d->power = POWER_IDLE;
    complete(d);
}

static void check_power(struct ide_drive *d)
{
    d->regs[IDE_COUNT] = d->power;
    complete(d);
}

static void identify(struct ide_drive *d)
{
    ata_identify_data(d, d->buffer);
    answer_sector(d);
}

static void read_log(struct ide_drive *d)
{
    if (ata_log(d, d->buffer))
        answer_sector(d);
    else
        abort_command(d);
}

static void smart(struct ide_drive *d)
{
    switch (ata_smart(d, d->buffer)) {
    case ATA_SMART_DATA: answer_sector(d); break;
    case ATA_SMART_DONE: complete(d); break;
    case ATA_SMART_ABORT: abort_command(d); break;
    }
}

/* ---- the table ---- */

// clang-format off
static const struct ata_command commands[256] = {
    [0x06]          = {start_trim, ATA_DMA | ATA_WRITE | ATA_EXT | ATA_TRIM},
    [0x10 ... 0x1f] = {recalibrate, 0},
    [0x20 ... 0x21] = {media, ATA_MEDIA},
    [0x24]          = {media, ATA_MEDIA | ATA_EXT},
    [0x25]          = {media, ATA_MEDIA | ATA_EXT | ATA_DMA},
    [0x27]          = {native_max, ATA_EXT},
    [0x29]          = {media, ATA_MEDIA | ATA_EXT | ATA_MULTIPLE},
    [0x2f]          = {read_log, 0},
    [0x30 ... 0x31] = {media, ATA_MEDIA | ATA_WRITE},
    [0x34]          = {media, ATA_MEDIA | ATA_WRITE | ATA_EXT},
    [0x35]          = {media, ATA_MEDIA | ATA_WRITE | ATA_EXT | ATA_DMA},
    [0x39]          = {media, ATA_MEDIA | ATA_WRITE | ATA_EXT | ATA_MULTIPLE},
    [0x3d]          = {media, ATA_MEDIA | ATA_WRITE | ATA_EXT | ATA_DMA | ATA_FUA},
    [0x40 ... 0x41] = {media, ATA_MEDIA | ATA_VERIFY},
    [0x42]          = {media, ATA_MEDIA | ATA_VERIFY | ATA_EXT},
    [0x70 ... 0x7f] = {seek, 0},
    [0x91]          = {initialize_parameters, 0},
    [0x94]          = {standby, 0}, [0xe0] = {standby, 0}, /* STANDBY IMMEDIATE */
    [0x95]          = {idle, 0},    [0xe1] = {idle, 0},    /* IDLE IMMEDIATE */
    [0x96]          = {standby, 0}, [0xe2] = {standby, 0}, /* STANDBY: the timer never expires */
    [0x97]          = {idle, 0},    [0xe3] = {idle, 0},    /* IDLE */
    [0x98]          = {check_power, 0}, [0xe5] = {check_power, 0},
    [0x99]          = {standby, 0}, [0xe6] = {standby, 0}, /* SLEEP */
    [0xb0]          = {smart, 0},
    [0xc4]          = {media, ATA_MEDIA | ATA_MULTIPLE},
    [0xc5]          = {media, ATA_MEDIA | ATA_WRITE | ATA_MULTIPLE},
    [0xc6]          = {set_multiple, 0},
    [0xc8 ... 0xc9] = {media, ATA_MEDIA | ATA_DMA},
    [0xca ... 0xcb] = {media, ATA_MEDIA | ATA_WRITE | ATA_DMA},
    [0xce]          = {media, ATA_MEDIA | ATA_WRITE | ATA_EXT | ATA_MULTIPLE | ATA_FUA},
    [0xe7]          = {flush, 0},
    [0xea]          = {flush, 0},
    [0xec]          = {identify, 0},
    [0xef]          = {set_features, 0},
    [0xf8]          = {native_max, 0},
};
// clang-format on

void ata_command(struct ide_drive *d)
{
    const struct ata_command *c = &commands[d->command];
    if (c->start)
        c->start(d);
    else
        abort_command(d);
}

void ata_reset(struct ide_drive *d)
{
    d->status = READY;
    if (!d->heads || !d->track_sectors) {
        d->heads = ATA_HEADS;
        d->track_sectors = ATA_TRACK_SECTORS;
    }
}
