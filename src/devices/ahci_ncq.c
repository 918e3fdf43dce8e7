/* SPDX-License-Identifier: MIT
 *
 * Queued commands: READ and WRITE FPDMA QUEUED (SATA 2.6, 13.6; AHCI 1.3.1, 5.6.4).
 *
 * The drive takes a command at once, which clears its CI bit; it reports the end by a set device
 * bits frame that clears the bit of its tag in SACT. Each command moves at most a chunk at a time,
 * so that a driver cannot make the host spend more than 32 chunks a port.
 *
 * On an error the drive stops: the failed command is told by the frame's error register and by the
 * log that READ LOG EXT gives; all others are let go, their bits in SACT stay.
 */
#include <stdlib.h>

#include "devices/ahci_internal.h"

#define CHUNK_SECTORS (u32)(IDE_CHUNK_BYTES / SECTOR_BYTES)
#define DEVICE_FUA    (1u << 7)
#define FIS_SDB       0xa1
#define SDB_BYTES     8
#define SDB_INTERRUPT (1u << 6)
#define SDB_STATUS    0x77u /* the bits of the status register that the frame carries */
#define PLACE_SDB     0x58
#define READY         (STATUS_DRDY | STATUS_DSC)

static u64 lba_of(const u8 *fis)
{
    return fis[4] | (u64)fis[5] << 8 | (u64)fis[6] << 16 | (u64)fis[8] << 24 | (u64)fis[9] << 32 |
           (u64)fis[10] << 40;
}

static void set_device_bits(struct ahci_port *p, u8 status, u8 error, u32 finished)
{
    u8 fis[SDB_BYTES] = {FIS_SDB, SDB_INTERRUPT, status & SDB_STATUS, error};
    store32(fis + 4, finished);
    p->sact &= ~finished;
    p->tfd = (p->tfd & STATUS_BSY) | (status & SDB_STATUS) | (u32)error << 8;
    ahci_receive(p, PLACE_SDB, fis, sizeof fis);
    p->is |= PORT_IS_SDBS;
}

static void leave(struct ahci_port *p, struct ahci_ncq *q)
{
    p->queue[q->tag] = NULL;
    free(q);
}

/* What the log page says of the command that failed (13.7.2). */
static void note_error(struct ahci_port *p, unsigned tag, u64 lba, u32 sectors, u8 error)
{
    u8 *log = ahci_drive(p)->queue_error;
    memset(log, 0, IDE_QUEUE_ERROR_BYTES);
    log[0] = (u8)tag;
    log[2] = READY | STATUS_ERR;
    log[3] = error;
    for (unsigned i = 0; i < 3; i++) {
        log[4 + i] = (u8)(lba >> (8 * i));
        log[8 + i] = (u8)(lba >> (8 * (i + 3)));
    }
    log[12] = (u8)sectors;
    log[13] = (u8)(sectors >> 8);
}

static void fail(struct ahci_port *p, unsigned tag, u64 lba, u32 sectors, u8 error)
{
    note_error(p, tag, lba, sectors, error);
    set_device_bits(p, READY | STATUS_ERR, error, 0);
    p->is |= PORT_IS_TFES;
    p->halted = true;
    ahci_ncq_abandon(p);
}

static void next_chunk(struct ahci_ncq *q);

static void chunk_done(struct block_request *r)
{
    struct ahci_ncq *q = r->opaque;
    struct ahci_port *p = q->port;
    if (!p) {
        free(q);
        return;
    }
    u32 sectors = (u32)(r->bytes / SECTOR_BYTES);
    if (!r->error && !q->write)
        ahci_prd_move(p, &q->prd, q->data, (u32)r->bytes, true);
    if (r->error) {
        u64 lba = q->lba;
        u32 left = q->sectors;
        u8 tag = q->tag, error = q->write ? ERROR_ABRT : ERROR_UNC;
        leave(p, q);
        fail(p, tag, lba, left, error);
    } else if (q->sectors > sectors) {
        q->lba += sectors;
        q->sectors -= sectors;
        next_chunk(q);
        return;
    } else {
        u32 bit = 1u << q->tag;
        leave(p, q);
        set_device_bits(p, READY, 0, bit);
    }
    ahci_port_pump(p);
}

/* The request may be complete, and q gone, when this returns. */
static void next_chunk(struct ahci_ncq *q)
{
    u32 sectors = q->sectors < CHUNK_SECTORS ? q->sectors : CHUNK_SECTORS;
    u64 bytes = (u64)sectors * SECTOR_BYTES;
    if (q->write)
        ahci_prd_move(q->port, &q->prd, q->data, (u32)bytes, false);
    q->request = (struct block_request){
        .op = q->write ? BLOCK_WRITE : BLOCK_READ,
        .fua = q->write && (q->fua || !ahci_drive(q->port)->write_cache),
        .offset = q->lba * SECTOR_BYTES,
        .bytes = bytes,
        .data = q->data,
        .done = chunk_done,
        .opaque = q,
    };
    block_submit(ahci_drive(q->port)->block, &q->request);
}

/* Whether the descriptors have room for so many bytes: a driver that gives less gets an error
 * before anything has moved. */
static bool has_room(struct ahci_port *p, const struct ahci_prd *prd, u64 bytes)
{
    struct ahci_prd all = *prd;
    u64 room = 0;
    for (u32 i = 0; i < all.entries && room < bytes; i++)
        room += ahci_prd_skip(p, &all);
    return room >= bytes;
}

void ahci_ncq_start(struct ahci_port *p, unsigned slot, const u8 *fis, const struct ahci_prd *prd)
{
    struct ide_drive *d = ahci_drive(p);
    u32 sectors = fis[3] | (u32)fis[11] << 8;
    u64 lba = lba_of(fis), size = ata_sectors(d);
    bool write = fis[2] == ATA_WRITE_QUEUED;
    unsigned tag = fis[12] >> 3;
    if (!sectors)
        sectors = 65536;
    p->ci &= ~(1u << slot);
    /* A tag that is not the slot's, or is in use, is the driver's error (13.6.2). */
    if (tag != slot || p->queue[tag] || (write && block_read_only(d->block))) {
        fail(p, tag, lba, sectors, ERROR_ABRT);
        return;
    }
    if (lba >= size || sectors > size - lba) {
        fail(p, tag, lba, sectors, ERROR_IDNF);
        return;
    }
    u64 bytes = (u64)sectors * SECTOR_BYTES;
    u64 chunk = bytes < IDE_CHUNK_BYTES ? bytes : IDE_CHUNK_BYTES;
    if (!has_room(p, prd, bytes)) {
        p->is |= PORT_IS_OFS;
        p->halted = true;
        return;
    }
    struct ahci_ncq *q = malloc(sizeof *q + chunk);
    if (!q) {
        fail(p, tag, lba, sectors, ERROR_ABRT);
        return;
    }
    *q = (struct ahci_ncq){.port = p,
                           .prd = *prd,
                           .tag = (u8)tag,
                           .write = write,
                           .fua = fis[7] & DEVICE_FUA,
                           .lba = lba,
                           .sectors = sectors};
    p->tfd = READY;
    p->queue[tag] = q;
    next_chunk(q);
}

bool ahci_ncq_busy(const struct ahci_port *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->queue[i])
            return true;
    }
    return false;
}

bool ahci_ncq_forget(struct ahci_port *p)
{
    bool any = false;
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->queue[i]) {
            p->queue[i]->port = NULL;
            p->queue[i] = NULL;
            any = true;
        }
    }
    return any;
}

/* So that nothing can overtake later writes; what waits for space on the host stays behind. */
void ahci_ncq_abandon(struct ahci_port *p)
{
    if (ahci_ncq_forget(p))
        block_drain(ahci_drive(p)->block);
}
