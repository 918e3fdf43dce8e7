/* SPDX-License-Identifier: MIT
 *
 * 82371SB function 1 (order number 290550): where the channels appear in port space, and the
 * bus-master engine that moves DMA data along a table of physical region descriptors.
 *
 * A descriptor is an address and a byte count (0: 64 KiB), both even, with an end mark. The table
 * lies within 64 KiB: the engine's pointer wraps there, so a table without an end is read again
 * and again until the drive has moved what its command asked for.
 *
 * What the status register means when a command ends (section 3.2.2):
 *
 *   IDEINTS  ACTIVE
 *      1        0     the drive interrupted and the descriptors are used up
 *      1        1     the drive interrupted, descriptors are left over
 *      0        0     the descriptors ended before the drive had enough, or an error
 *
 * Deviation: transfer timing (IDETIM) is storage, but for the decode enable bits.
 */
#include "devices/piix_ide.h"

#include <stdio.h>
#include <stdlib.h>

#include "devices/ide.h"

#define IDETIM             0x40 /* a word for each channel */
#define IDETIM_DECODE_HIGH 0x80 /* its bit 15 */

#define BM_BAR      4
#define BM_PORTS    16
#define BM_PER_UNIT 8

enum bm_register { BM_COMMAND = 0, BM_STATUS = 2, BM_TABLE = 4 };

#define BM_START          (1u << 0)
#define BM_TO_MEMORY      (1u << 3)
#define BM_ACTIVE         (1u << 0)
#define BM_ERROR          (1u << 1)
#define BM_INTERRUPT      (1u << 2)
#define BM_DRIVES_CAPABLE 0x60
#define PRD_BYTES         8
#define PRD_END           (1u << 31)
#define PRD_COUNT         0xfffeu
#define PRD_COUNT_MAX     0x10000u
#define PRD_TABLE_WRAP    0xffffu
#define COMMAND_PORTS     8
#define CHANNEL_COUNT     2

struct engine {
    struct piix_ide *ide;
    u8 command, status;
    u32 table;   /* as written: where the descriptors start */
    u32 next;    /* the next descriptor */
    u32 address; /* of what is left of the current one */
    u32 left;
    bool last; /* the current descriptor has the end mark */
};

struct piix_ide {
    struct pci_device pci;
    struct io_bus *ports;
    struct ide_channel channels[CHANNEL_COUNT];
    struct engine engines[CHANNEL_COUNT];
    struct io_claim *command_claim[CHANNEL_COUNT], *control_claim[CHANNEL_COUNT];
};

/* ---- the bus-master engine ---- */

static bool started(void *opaque)
{
    const struct engine *e = opaque;
    return e->status & BM_ACTIVE;
}

static void stop(struct engine *e, u8 why)
{
    e->status = (u8)((e->status & ~BM_ACTIVE) | why);
}

/* Fetches the next descriptor; false: there is none, or it cannot be read. */
static bool next_descriptor(struct engine *e)
{
    u8 prd[PRD_BYTES];
    if (e->last) {
        stop(e, 0);
        return false;
    }
    if (!pci_dma_read(&e->ide->pci, e->next, prd, sizeof prd)) {
        stop(e, BM_ERROR);
        return false;
    }
    u32 control = load32(prd + 4);
    e->address = load32(prd) & ~1u;
    e->left = control & PRD_COUNT;
    if (!e->left)
        e->left = PRD_COUNT_MAX;
    e->last = control & PRD_END;
    e->next = (e->next & ~PRD_TABLE_WRAP) | ((e->next + PRD_BYTES) & PRD_TABLE_WRAP);
    return true;
}

/* Data for what is no memory vanish, and come as ones: the bus has no other device that would
 * take them. */
static void move(struct engine *e, u8 *data, u32 n, bool to_memory)
{
    if (to_memory)
        pci_dma_write(&e->ide->pci, e->address, data, n);
    else
        pci_dma_read(&e->ide->pci, e->address, data, n);
    e->address += n;
    e->left -= n;
}

static u32 transfer(void *opaque, u8 *data, u32 n, bool to_memory)
{
    struct engine *e = opaque;
    u32 done = 0;
    while (done < n && started(e)) {
        if (!e->left && !next_descriptor(e))
            break;
        u32 piece = n - done < e->left ? n - done : e->left;
        move(e, data + done, piece, to_memory);
        done += piece;
    }
    if (!e->left && e->last)
        stop(e, 0);
    return done;
}

static void interrupted(void *opaque)
{
    struct engine *e = opaque;
    e->status |= BM_INTERRUPT;
}

static const struct ide_dma_ops dma_ops = {
    .transfer = transfer, .started = started, .interrupted = interrupted};

static void start(struct engine *e)
{
    e->next = e->table;
    e->left = 0;
    e->last = false;
    e->status |= BM_ACTIVE;
    ide_channel_dma_started(&e->ide->channels[e - e->ide->engines]);
}

static void command_write(struct engine *e, u8 value)
{
    u8 before = e->command;
    e->command = value & (BM_START | BM_TO_MEMORY);
    if ((value & BM_START) && !(before & BM_START))
        start(e);
    else if (!(value & BM_START))
        stop(e, 0);
}

static void status_write(struct engine *e, u8 value)
{
    e->status &= (u8) ~(value & (BM_ERROR | BM_INTERRUPT));
    e->status = (u8)((e->status & ~BM_DRIVES_CAPABLE) | (value & BM_DRIVES_CAPABLE));
}

static u32 bm_read(void *opaque, u16 offset, unsigned size)
{
    const struct piix_ide *ide = opaque;
    const struct engine *e = &ide->engines[offset / BM_PER_UNIT];
    (void)size;
    u16 reg = offset % BM_PER_UNIT;
    switch (reg) {
    case BM_COMMAND: return e->command;
    case BM_STATUS: return e->status;
    case BM_TABLE:
    case BM_TABLE + 1:
    case BM_TABLE + 2:
    case BM_TABLE + 3: return e->table >> (8 * (reg - BM_TABLE)) & 0xff;
    default: return 0;
    }
}

static void bm_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct piix_ide *ide = opaque;
    struct engine *e = &ide->engines[offset / BM_PER_UNIT];
    (void)size;
    u16 reg = offset % BM_PER_UNIT;
    switch (reg) {
    case BM_COMMAND: command_write(e, (u8)value); break;
    case BM_STATUS: status_write(e, (u8)value); break;
    case BM_TABLE:
    case BM_TABLE + 1:
    case BM_TABLE + 2:
    case BM_TABLE + 3: {
        unsigned shift = 8u * (reg - BM_TABLE);
        e->table = ((e->table & ~(0xffu << shift)) | (value & 0xff) << shift) & ~3u;
        break;
    }
    default: break;
    }
}

/* Wider accesses come in bytes, low one first: all registers but the table are bytes anyway. */
static const struct port_ops bm_ops = {.name = "ide-bm", .read = bm_read, .write = bm_write};

/* ---- the channels in port space ---- */

static u32 command_read(void *opaque, u16 offset, unsigned size)
{
    return ide_channel_read(opaque, offset, size);
}

static void command_block_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    ide_channel_write(opaque, offset, value, size);
}

static u32 control_read(void *opaque, u16 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return ide_channel_read_alternate(opaque);
}

static void control_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)offset;
    (void)size;
    ide_channel_write_control(opaque, (u8)value);
}

static const struct port_ops command_ops = {
    .name = "ide", .read = command_read, .write = command_block_write, .max_size = 4};
static const struct port_ops control_ops = {
    .name = "ide", .read = control_read, .write = control_write};

static const struct {
    u16 command, control;
} legacy_ports[CHANNEL_COUNT] = {{0x1f0, 0x3f6}, {0x170, 0x376}};

static bool decodes(const struct piix_ide *ide, unsigned channel)
{
    return (pci_command(&ide->pci) & PCI_COMMAND_IO) &&
           (ide->pci.config[IDETIM + 2 * channel + 1] & IDETIM_DECODE_HIGH);
}

static void update_claims(struct piix_ide *ide)
{
    for (unsigned c = 0; c < CHANNEL_COUNT; c++) {
        bool on = decodes(ide, c);
        if (on == (ide->command_claim[c] != NULL))
            continue;
        io_bus_release(ide->ports, ide->command_claim[c]);
        io_bus_release(ide->ports, ide->control_claim[c]);
        ide->command_claim[c] = ide->control_claim[c] = NULL;
        if (!on)
            continue;
        ide->command_claim[c] = io_bus_claim(ide->ports, legacy_ports[c].command, COMMAND_PORTS,
                                             &command_ops, &ide->channels[c]);
        ide->control_claim[c] =
            io_bus_claim(ide->ports, legacy_ports[c].control, 1, &control_ops, &ide->channels[c]);
    }
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    (void)reg;
    (void)size;
    update_claims(opaque);
}

/* ---- drives ---- */

static void attach(struct piix_ide *ide, unsigned channel, unsigned unit, enum ide_kind kind,
                   struct block *block)
{
    char serial[IDE_SERIAL_CHARS + 1];
    snprintf(serial, sizeof serial, "AN%05u", channel * 2 + unit + 1);
    ide_channel_attach(&ide->channels[channel], unit, kind, block, serial);
}

void piix_ide_attach_disk(struct piix_ide *ide, unsigned channel, unsigned unit,
                          struct block *block)
{
    attach(ide, channel, unit, IDE_DISK, block);
}

void piix_ide_attach_cdrom(struct piix_ide *ide, unsigned channel, unsigned unit,
                           struct block *block)
{
    attach(ide, channel, unit, IDE_CDROM, block);
}

static struct ide_drive *cdrom(struct piix_ide *ide, unsigned channel, unsigned unit)
{
    struct ide_drive *d = &ide->channels[channel].drives[unit];
    return d->kind == IDE_CDROM ? d : NULL;
}

bool piix_ide_eject(struct piix_ide *ide, unsigned channel, unsigned unit, bool force)
{
    struct ide_drive *d = cdrom(ide, channel, unit);
    return d && atapi_eject(d, force);
}

void piix_ide_medium_changed(struct piix_ide *ide, unsigned channel, unsigned unit)
{
    struct ide_drive *d = cdrom(ide, channel, unit);
    if (d)
        atapi_medium_changed(d);
}

bool piix_ide_busy(const struct piix_ide *ide)
{
    for (unsigned i = 0; i < 2 * CHANNEL_COUNT; i++) {
        if (ide->channels[i / 2].drives[i % 2].io)
            return true;
    }
    return false;
}

/* ---- life ---- */

static const struct pci_info info = {
    .name = "piix-ide",
    .vendor = 0x8086,
    .device = 0x7010,
    .class_code = 0x010180, /* bus master, both channels at the legacy ports for ever */
    .config_written = config_written,
};

static void piix_ide_reset(void *dev)
{
    struct piix_ide *ide = dev;
    pci_device_reset(&ide->pci);
    memset(ide->pci.config + IDETIM, 0, 2 * CHANNEL_COUNT);
    for (unsigned c = 0; c < CHANNEL_COUNT; c++) {
        ide->engines[c] = (struct engine){.ide = ide};
        ide_channel_reset(&ide->channels[c]);
    }
    update_claims(ide);
}

static void piix_ide_loaded(void *dev)
{
    struct piix_ide *ide = dev;
    pci_device_loaded(&ide->pci);
    for (unsigned c = 0; c < CHANNEL_COUNT; c++) {
        ide->engines[c].table &= ~3u;
        ide_channel_loaded(&ide->channels[c]);
    }
    update_claims(ide);
}

static void piix_ide_destroy(void *dev)
{
    struct piix_ide *ide = dev;
    for (unsigned c = 0; c < CHANNEL_COUNT; c++) {
        io_bus_release(ide->ports, ide->command_claim[c]);
        io_bus_release(ide->ports, ide->control_claim[c]);
        ide_channel_fini(&ide->channels[c]);
    }
    pci_device_fini(&ide->pci);
    free(ide);
}

struct piix_ide *piix_ide_create(const struct piix_ide_config *config)
{
    struct piix_ide *ide = calloc(1, sizeof *ide);
    if (!ide || !pci_device_init(&ide->pci, config->bus, config->devfn, &info, ide)) {
        free(ide);
        return NULL;
    }
    ide->ports = config->ports;
    for (unsigned c = 0; c < CHANNEL_COUNT; c++)
        ide_channel_init(&ide->channels[c], config->irq[c], &dma_ops, &ide->engines[c],
                         config->clock, config->log);
    pci_bar_io(&ide->pci, BM_BAR, BM_PORTS, &bm_ops, ide);
    memset(ide->pci.writable + IDETIM, 0xff, 2 * CHANNEL_COUNT);
    piix_ide_reset(ide);
    return ide;
}

/* ---- state ---- */

#define ROW(t, f)     STATE_ROW(t, piix_ide, f, 1, 1)
#define ROWS(t, f, n) STATE_ROW(t, piix_ide, f, n, 1)

// clang-format off
#define DRIVE_ROWS(d)                                                                              \
    ROWS(STATE_BYTES, d.regs, IDE_REGISTERS), ROWS(STATE_BYTES, d.previous, IDE_REGISTERS),        \
    ROW(STATE_U8, d.status), ROW(STATE_U8, d.error), ROW(STATE_BOOL, d.irq),                       \
    ROW(STATE_U8, d.phase), ROW(STATE_U8, d.command), ROW(STATE_U32, d.data_at),                   \
    ROW(STATE_U32, d.data_end), ROW(STATE_U32, d.data_filled), ROW(STATE_U64, d.lba),              \
    ROW(STATE_U32, d.sectors), ROW(STATE_U16, d.heads), ROW(STATE_U16, d.track_sectors),           \
    ROW(STATE_U8, d.multiple), ROW(STATE_U8, d.transfer_mode), ROW(STATE_BOOL, d.write_cache),     \
    ROW(STATE_BOOL, d.read_ahead), ROW(STATE_BOOL, d.smart), ROW(STATE_U8, d.power),               \
    ROWS(STATE_BYTES, d.cd.packet, ATAPI_PACKET_LEN), ROW(STATE_BOOL, d.cd.dma),                   \
    ROW(STATE_U32, d.cd.limit), ROW(STATE_U8, d.cd.sense_key), ROW(STATE_U8, d.cd.asc),            \
    ROW(STATE_U8, d.cd.ascq), ROW(STATE_BOOL, d.cd.attention), ROW(STATE_U8, d.cd.attention_asc),  \
    ROW(STATE_BOOL, d.cd.tray_open), ROW(STATE_BOOL, d.cd.locked),                                 \
    ROW(STATE_U8, d.cd.media_event), ROWS(STATE_BYTES, d.cd.recovery, 6),                          \
    ROWS(STATE_BYTES, d.cd.audio, 2), ROWS(STATE_BYTES, d.buffer, IDE_BUFFER_BYTES)
#define CHANNEL_ROWS(c)                                                                            \
    ROW(STATE_U8, channels[c].control), ROW(STATE_U8, channels[c].unit),                           \
    DRIVE_ROWS(channels[c].drives[0]), DRIVE_ROWS(channels[c].drives[1]),                          \
    ROW(STATE_U8, engines[c].command), ROW(STATE_U8, engines[c].status),                           \
    ROW(STATE_U32, engines[c].table), ROW(STATE_U32, engines[c].next),                             \
    ROW(STATE_U32, engines[c].address), ROW(STATE_U32, engines[c].left),                           \
    ROW(STATE_BOOL, engines[c].last)
// clang-format on

static const struct state_field piix_ide_state[] = {
    PCI_STATE_ROWS(piix_ide, pci),
    CHANNEL_ROWS(0),
    CHANNEL_ROWS(1),
    STATE_END,
};

static const struct device_ops piix_ide_ops = {
    .name = "piix-ide",
    .version = 1,
    .state = piix_ide_state,
    .reset = piix_ide_reset,
    .loaded = piix_ide_loaded,
    .destroy = piix_ide_destroy,
};

struct device piix_ide_device(struct piix_ide *ide)
{
    return (struct device){.ops = &piix_ide_ops, .dev = ide};
}
