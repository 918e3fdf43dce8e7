/* SPDX-License-Identifier: MIT
 *
 * A CD/DVD-ROM drive behind the packet interface (ATA/ATAPI-6 clause 9.8, MMC-3, SPC-2): the ATA
 * side, transfers, and the commands that move the medium's data or the medium. What the drive
 * tells about itself and its disc is in atapi_packet.c.
 *
 * A packet command either answers with a few bytes, which are built in the drive's buffer at once,
 * or reads sectors, a buffer (PIO) or a chunk (DMA) at a time. PIO data go in bursts of at most
 * the byte count that the host set; each burst is one DRQ block with an interrupt.
 *
 * Deviations: no audio, no raw sectors (READ CD gives user data only), no overlap.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/atapi.h"

#define READY (STATUS_DRDY | STATUS_DSC)

#define FEATURE_DMA        (1u << 0)
#define FEATURE_OVERLAP    (1u << 1)
#define LIMIT_NONE         0xfffeu
#define PIO_BUFFER_SECTORS (u32)(IDE_BUFFER_BYTES / CD_SECTOR_BYTES)
#define DMA_CHUNK_SECTORS  (u32)(IDE_CHUNK_BYTES / CD_SECTOR_BYTES)

/* ---- ends ---- */

static void set_reason(struct ide_drive *d, u8 reason)
{
    d->regs[IDE_COUNT] = reason;
}

void atapi_complete(struct ide_drive *d)
{
    set_reason(d, REASON_COMMAND | REASON_TO_HOST);
    ide_end(d, READY, 0);
}

void atapi_check(struct ide_drive *d, u8 key, u16 asc_ascq)
{
    d->cd.sense_key = key;
    d->cd.asc = (u8)(asc_ascq >> 8);
    d->cd.ascq = (u8)asc_ascq;
    set_reason(d, REASON_COMMAND | REASON_TO_HOST);
    ide_end(d, READY | STATUS_ERR, (u8)(key << 4 | ERROR_ABRT));
}

static void abort_ata(struct ide_drive *d)
{
    ide_end(d, READY | STATUS_ERR, ERROR_ABRT);
}

bool atapi_has_medium(const struct ide_drive *d)
{
    return block_size(d->block) >= CD_SECTOR_BYTES && !d->cd.tray_open;
}

u32 atapi_sectors(const struct ide_drive *d)
{
    u64 n = atapi_has_medium(d) ? block_size(d->block) / CD_SECTOR_BYTES : 0;
    return n < UINT32_MAX ? (u32)n : UINT32_MAX;
}

/* ---- data to the host ---- */

/* The next PIO burst of what the buffer holds from data_at on. */
static void offer_burst(struct ide_drive *d)
{
    u32 n = d->data_filled - d->data_at;
    u32 limit = d->cd.limit ? d->cd.limit : LIMIT_NONE;
    if (n > limit)
        n = limit & ~1u ? limit & ~1u : limit;
    d->regs[IDE_LBA_MID] = (u8)n;
    d->regs[IDE_LBA_HIGH] = (u8)(n >> 8);
    set_reason(d, REASON_TO_HOST);
    ide_pio(d, IDE_PIO_IN, d->data_at, d->data_at + n);
    ide_raise(d);
}

static void wait_for_engine(struct ide_drive *d)
{
    d->phase = IDE_DMA_IN;
    d->status = READY | STATUS_DRQ;
    set_reason(d, REASON_TO_HOST);
    if (ide_dma_started(d))
        atapi_dma_run(d);
}

void atapi_reply(struct ide_drive *d, u32 bytes, u32 allocated)
{
    u32 n = bytes < allocated ? bytes : allocated;
    d->sectors = 0;
    d->data_at = 0;
    d->data_filled = n;
    if (!n)
        atapi_complete(d);
    else if (d->cd.dma)
        wait_for_engine(d);
    else
        offer_burst(d);
}

/* The descriptors ended before the data: no interrupt, see ata.c. */
static void descriptors_short(struct ide_drive *d)
{
    d->phase = IDE_IDLE;
    d->status = READY;
    d->sectors = 0;
}

/* Between the buffer and memory: an answer, or parameters. */
static void move_buffer(struct ide_drive *d)
{
    bool to_memory = d->phase == IDE_DMA_IN;
    u32 n = d->data_filled;
    if (ide_dma_transfer(d, d->buffer, n, to_memory) < n)
        descriptors_short(d);
    else if (to_memory)
        atapi_complete(d);
    else
        atapi_parameters_given(d);
}

/* ---- sectors ---- */

static void medium_error(struct ide_drive *d)
{
    atapi_check(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
}

static u32 advance(struct ide_drive *d, const struct ide_io *io)
{
    u32 n = (u32)(io->done / CD_SECTOR_BYTES);
    d->lba += n;
    d->sectors -= n;
    return (u32)io->done;
}

static void buffer_read(struct ide_drive *d, struct ide_io *io)
{
    u32 good = advance(d, io);
    if (!good) {
        medium_error(d);
        return;
    }
    memcpy(d->buffer, io->data, good);
    d->data_at = 0;
    d->data_filled = good;
    offer_burst(d);
}

static void chunk_read(struct ide_drive *d, struct ide_io *io)
{
    if (!ide_dma_started(d)) { /* stopped meanwhile: again when it starts */
        wait_for_engine(d);
        return;
    }
    u32 good = advance(d, io);
    if (!good)
        medium_error(d);
    else if (ide_dma_transfer(d, io->data, good, true) < good)
        descriptors_short(d);
    else if (d->sectors)
        wait_for_engine(d);
    else
        atapi_complete(d);
}

static void read_sectors(struct ide_drive *d)
{
    u32 most = d->cd.dma ? DMA_CHUNK_SECTORS : PIO_BUFFER_SECTORS;
    u64 bytes = (u64)(d->sectors < most ? d->sectors : most) * CD_SECTOR_BYTES;
    struct ide_io *io = ide_io_get(d, bytes);
    if (!io) {
        medium_error(d);
        return;
    }
    if (!d->cd.dma)
        d->phase = IDE_BUSY;
    ide_io_submit(d, io, BLOCK_READ, d->lba * CD_SECTOR_BYTES, bytes,
                  d->cd.dma ? chunk_read : buffer_read);
}

void atapi_read(struct ide_drive *d, u32 lba, u32 count)
{
    u32 end = atapi_sectors(d);
    if (lba >= end || count > end - lba) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
        return;
    }
    d->lba = lba;
    d->sectors = count;
    d->data_filled = 0;
    if (!count)
        atapi_complete(d);
    else if (d->cd.dma)
        wait_for_engine(d);
    else
        read_sectors(d);
}

void atapi_dma_run(struct ide_drive *d)
{
    if (d->sectors)
        read_sectors(d);
    else
        move_buffer(d);
}

/* ---- data from the host (parameter lists) ---- */

static void ask_for_burst(struct ide_drive *d)
{
    u32 n = d->data_filled - d->data_at;
    u32 limit = d->cd.limit ? d->cd.limit : LIMIT_NONE;
    if (n > limit)
        n = limit;
    d->regs[IDE_LBA_MID] = (u8)n;
    d->regs[IDE_LBA_HIGH] = (u8)(n >> 8);
    set_reason(d, 0);
    ide_pio(d, IDE_PIO_OUT, d->data_at, d->data_at + n);
    ide_raise(d);
}

void atapi_ask(struct ide_drive *d, u32 bytes)
{
    d->data_at = 0;
    d->data_filled = bytes;
    if (!bytes) {
        atapi_complete(d);
    } else if (d->cd.dma) {
        d->phase = IDE_DMA_OUT;
        d->status = READY | STATUS_DRQ;
        set_reason(d, 0);
        if (ide_dma_started(d))
            atapi_dma_run(d);
    } else {
        ask_for_burst(d);
    }
}

/* ---- packets ---- */

static void run_packet(struct ide_drive *d)
{
    memcpy(d->cd.packet, d->buffer, ATAPI_PACKET_LEN);
    d->data_at = d->data_end = d->data_filled = 0;
    d->sectors = 0;
    d->status = STATUS_BSY;
    atapi_execute(d);
}

void atapi_pio_done(struct ide_drive *d)
{
    switch (d->phase) {
    case IDE_PACKET: run_packet(d); break;
    case IDE_PIO_OUT:
        if (d->data_at < d->data_filled)
            ask_for_burst(d);
        else
            atapi_parameters_given(d);
        break;
    default:
        if (d->data_at < d->data_filled)
            offer_burst(d);
        else if (d->sectors)
            read_sectors(d);
        else if (d->command == ATAPI_IDENTIFY)
            ide_end(d, READY, 0);
        else
            atapi_complete(d);
        break;
    }
}

static void start_packet(struct ide_drive *d)
{
    u8 features = d->regs[IDE_FEATURES];
    if (features & FEATURE_OVERLAP) {
        abort_ata(d);
        return;
    }
    u32 limit = d->regs[IDE_LBA_MID] | (u32)d->regs[IDE_LBA_HIGH] << 8;
    d->cd.dma = features & FEATURE_DMA;
    d->cd.limit = limit && limit != 0xffff ? limit : LIMIT_NONE;
    set_reason(d, REASON_COMMAND);
    ide_pio(d, IDE_PACKET, 0, ATAPI_PACKET_LEN); /* without an interrupt, as IDENTIFY says */
}

/* ---- the ATA commands of a packet drive ---- */

static void identify(struct ide_drive *d)
{
    atapi_identify_data(d, d->buffer);
    d->data_filled = SECTOR_BYTES;
    set_reason(d, REASON_TO_HOST);
    ide_pio(d, IDE_PIO_IN, 0, SECTOR_BYTES);
    ide_raise(d);
}

static void set_features(struct ide_drive *d)
{
    enum { SET_TRANSFER_MODE = 0x03, DISABLE_REVERTING = 0x66, ENABLE_REVERTING = 0xcc };
    u8 feature = d->regs[IDE_FEATURES];
    bool known = feature == DISABLE_REVERTING || feature == ENABLE_REVERTING ||
                 (feature == SET_TRANSFER_MODE && ide_set_transfer_mode(d, d->regs[IDE_COUNT]));
    if (known)
        ide_end(d, READY, 0);
    else
        abort_ata(d);
}

static void check_power(struct ide_drive *d)
{
    d->regs[IDE_COUNT] = 0xff; /* active */
    ide_end(d, READY, 0);
}

/* Commands of disks are aborted with the signature in the task file: so hosts that try them learn
 * what this is. */
static void refuse_disk_command(struct ide_drive *d)
{
    ide_set_signature(d);
    d->regs[IDE_DEVICE] = (u8)(d->unit ? DEVICE_UNIT_1 : 0);
    ide_end(d, STATUS_DRDY | STATUS_ERR, ERROR_ABRT);
}

void atapi_command(struct ide_drive *d)
{
    switch (d->command) {
    case ATAPI_PACKET: start_packet(d); break;
    case ATAPI_IDENTIFY: identify(d); break;
    case ATA_SET_FEATURES: set_features(d); break;
    case ATA_CHECK_POWER: check_power(d); break;
    case ATA_STANDBY_IMMEDIATE:
    case ATA_IDLE_IMMEDIATE:
    case ATA_SLEEP: ide_end(d, READY, 0); break;
    case ATA_READ_SECTORS:
    case ATA_IDENTIFY: refuse_disk_command(d); break;
    default: abort_ata(d); break;
    }
}

/* ---- the medium ---- */

static void attention(struct ide_drive *d, u8 asc)
{
    d->cd.attention = true;
    d->cd.attention_asc = asc;
}

void atapi_reset(struct ide_drive *d)
{
    d->status = 0; /* DRDY comes with the first command */
    d->cd.locked = false;
    d->cd.sense_key = d->cd.asc = d->cd.ascq = 0;
    d->cd.audio[0] = d->cd.audio[1] = 0xff;
    attention(d, ASC_RESET >> 8);
}

void atapi_medium_changed(struct ide_drive *d)
{
    d->cd.tray_open = false;
    d->cd.media_event = atapi_has_medium(d) ? EVENT_NEW_MEDIA : EVENT_MEDIA_REMOVAL;
    if (atapi_has_medium(d))
        attention(d, ASC_MEDIUM_CHANGED >> 8);
}

void atapi_open_tray(struct ide_drive *d)
{
    d->cd.tray_open = true;
    d->cd.media_event = EVENT_MEDIA_REMOVAL;
}

void atapi_close_tray(struct ide_drive *d)
{
    if (d->cd.tray_open)
        atapi_medium_changed(d);
}

bool atapi_eject(struct ide_drive *d, bool force)
{
    if (d->cd.locked && !force) {
        d->cd.media_event = EVENT_EJECT_REQUEST;
        return false;
    }
    d->cd.locked = false;
    atapi_open_tray(d);
    return true;
}
