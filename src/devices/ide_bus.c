/* SPDX-License-Identifier: MIT
 *
 * A channel: eight registers, two drives. Both drives take every write and the selected one
 * answers reads, so each has a task file of its own (ATA/ATAPI-6, clause 6.2 and 7).
 *
 * Absent drives: where drive 0 is alone it answers for drive 1 with status 0; where nobody answers
 * the pulled-down DD7 makes reads give 7Fh.
 */
#include <assert.h>
#include <stdlib.h>

#include "devices/ide.h"

#define FLOATING_BUS 0x7f

static struct ide_drive *selected(struct ide_channel *ch)
{
    return &ch->drives[ch->unit];
}

static bool present(const struct ide_drive *d)
{
    return d->kind != IDE_ABSENT;
}

/* ---- interrupts ---- */

/* Only the selected drive drives INTRQ, and only while nIEN is clear. */
static void update_line(struct ide_channel *ch)
{
    bool level = selected(ch)->irq && !(ch->control & CONTROL_NIEN);
    if (level == ch->line)
        return;
    ch->line = level;
    irq_set(&ch->irq, level);
    if (level)
        ch->dma->interrupted(ch->dma_opaque);
}

void ide_raise(struct ide_drive *d)
{
    d->irq = true;
    update_line(d->channel);
}

/* ---- the life of a command ---- */

void ide_end(struct ide_drive *d, u8 status, u8 error)
{
    d->phase = IDE_IDLE;
    d->status = status;
    d->error = error;
    d->data_at = d->data_end = d->data_filled = 0;
    d->sectors = 0;
    ide_raise(d);
}

void ide_pio(struct ide_drive *d, enum ide_phase phase, u32 at, u32 end)
{
    assert(at < end && end <= IDE_BUFFER_BYTES);
    d->phase = (u8)phase;
    d->data_at = at;
    d->data_end = end;
    d->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
}

void ide_set_signature(struct ide_drive *d)
{
    bool packet = d->kind == IDE_CDROM;
    d->regs[IDE_COUNT] = d->regs[IDE_LBA_LOW] = 1;
    d->regs[IDE_LBA_MID] = packet ? 0x14 : 0;
    d->regs[IDE_LBA_HIGH] = packet ? 0xeb : 0;
    d->regs[IDE_DEVICE] &= DEVICE_UNIT_1;
}

static void start_command(struct ide_drive *d)
{
    d->irq = false;
    d->command = d->regs[IDE_COMMAND];
    d->error = 0;
    d->data_at = d->data_end = d->data_filled = 0;
    update_line(d->channel);
    if (log_on(d->channel->log, LOG_DEV) && log_device_on(d->channel->log, "ide"))
        log_printf(d->channel->log, "ide: drive %s command %02x count %02x lba %02x%02x%02x\n",
                   d->serial, d->command, d->regs[IDE_COUNT], d->regs[IDE_LBA_HIGH],
                   d->regs[IDE_LBA_MID], d->regs[IDE_LBA_LOW]);
    if (d->kind == IDE_DISK)
        ata_command(d);
    else
        atapi_command(d);
}

static void pio_done(struct ide_drive *d)
{
    if (d->kind == IDE_DISK)
        ata_pio_done(d);
    else
        atapi_pio_done(d);
}

static void dma_run(struct ide_drive *d)
{
    if (d->kind == IDE_DISK)
        ata_dma_run(d);
    else
        atapi_dma_run(d);
}

void ide_channel_dma_started(struct ide_channel *ch)
{
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        struct ide_drive *d = &ch->drives[i];
        if (!d->io && (d->phase == IDE_DMA_IN || d->phase == IDE_DMA_OUT))
            dma_run(d);
    }
}

bool ide_dma_started(const struct ide_drive *d)
{
    return d->channel->dma->started(d->channel->dma_opaque);
}

u32 ide_dma_transfer(struct ide_drive *d, u8 *data, u32 n, bool to_memory)
{
    return d->channel->dma->transfer(d->channel->dma_opaque, data, n, to_memory);
}

/* ---- requests to the host ---- */

struct ide_io *ide_io_get(struct ide_drive *d, u64 bytes)
{
    struct ide_io *io = d->spare;
    d->spare = NULL;
    if (!io || io->capacity < bytes) {
        free(io);
        io = malloc(sizeof *io + bytes);
    }
    if (io)
        *io = (struct ide_io){.capacity = bytes};
    return io;
}

void ide_io_put(struct ide_drive *d, struct ide_io *io)
{
    if (d->spare)
        free(io);
    else
        d->spare = io;
}

static u64 granule(const struct ide_drive *d)
{
    return d->kind == IDE_CDROM ? CD_SECTOR_BYTES : SECTOR_BYTES;
}

/* Sends `bytes` of the request, from where it is good. */
static void send(struct ide_io *io, u64 bytes)
{
    io->request.offset = io->offset + io->done;
    io->request.data = io->capacity ? io->data + io->done : NULL;
    io->request.bytes = bytes;
    block_submit(io->drive->block, &io->request);
}

static void io_done(struct block_request *r)
{
    struct ide_io *io = r->opaque;
    struct ide_drive *d = io->drive;
    if (!d) {
        free(io);
        return;
    }
    if (!r->error)
        io->done += r->bytes;
    bool tear = r->error && r->op != BLOCK_DISCARD && r->bytes > granule(d);
    if (tear || (!r->error && io->done < io->total)) {
        send(io, granule(d));
        return;
    }
    io->error = r->error;
    d->io = NULL;
    io->then(d, io);
    ide_io_put(d, io);
}

void ide_io_submit(struct ide_drive *d, struct ide_io *io, enum block_op op, u64 offset, u64 bytes,
                   void (*then)(struct ide_drive *d, struct ide_io *io))
{
    assert(!d->io && (bytes <= io->capacity || op == BLOCK_DISCARD));
    io->drive = d;
    io->then = then;
    io->offset = offset;
    io->total = bytes;
    io->done = 0;
    io->request = (struct block_request){
        .op = op,
        .fua = io->fua,
        .done = io_done,
        .opaque = io,
    };
    d->io = io;
    d->status = STATUS_BSY;
    send(io, bytes);
}

static void forget_io(struct ide_drive *d)
{
    if (d->io)
        d->io->drive = NULL;
    d->io = NULL;
}

/* Forgets the request in flight. What was asked for is waited for, so that it cannot overtake
 * later writes; only what waits for space on the host stays behind. */
static void abandon_io(struct ide_drive *d)
{
    forget_io(d);
    if (d->block)
        block_drain(d->block);
}

/* ---- resets ---- */

static void reset_drive(struct ide_drive *d)
{
    if (!present(d))
        return;
    abandon_io(d);
    d->irq = false;
    d->phase = IDE_IDLE;
    d->data_at = d->data_end = d->data_filled = 0;
    d->sectors = 0;
    d->regs[IDE_DEVICE] = 0;
    ide_set_signature(d);
    d->error = DIAGNOSTIC_PASSED;
    if (d->kind == IDE_DISK)
        ata_reset(d);
    else
        atapi_reset(d);
}

/* Software reset keeps what SET FEATURES and its kin have set (ATA/ATAPI-6 with the feature
 * "reverting to power-on defaults" disabled); power-on does not. */
static void power_on_defaults(struct ide_drive *d)
{
    memset(d->regs, 0, sizeof d->regs);
    memset(d->previous, 0, sizeof d->previous);
    memset(&d->cd, 0, sizeof d->cd);
    memset(d->queue_error, 0, sizeof d->queue_error);
    d->heads = d->track_sectors = 0;
    d->multiple = 0;
    d->transfer_mode = 0;
    d->write_cache = d->read_ahead = d->smart = true;
    d->power = 0xff;
}

void ide_channel_reset(struct ide_channel *ch)
{
    ch->control = 0;
    ch->unit = 0;
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        power_on_defaults(&ch->drives[i]);
        reset_drive(&ch->drives[i]);
    }
    update_line(ch);
}

void ide_channel_write_control(struct ide_channel *ch, u8 value)
{
    u8 before = ch->control;
    ch->control = value;
    if ((value & CONTROL_SRST) && !(before & CONTROL_SRST)) {
        ch->unit = 0;
        for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++)
            reset_drive(&ch->drives[i]);
    }
    update_line(ch);
}

/* Both drives diagnose themselves; drive 0 reports and interrupts. */
static void execute_diagnostic(struct ide_channel *ch)
{
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++)
        reset_drive(&ch->drives[i]);
    ch->unit = 0;
    if (present(&ch->drives[0]))
        ide_raise(&ch->drives[0]);
}

/* ---- the data register ---- */

static u32 read_data(struct ide_drive *d, unsigned size)
{
    if (d->phase != IDE_PIO_IN)
        return ~0u;
    u32 left = d->data_end - d->data_at;
    u32 n = size < left ? size : left;
    u32 value = (u32)load_sized(d->buffer + d->data_at, n);
    d->data_at += n;
    if (d->data_at == d->data_end)
        pio_done(d);
    return value;
}

static void write_data(struct ide_drive *d, u32 value, unsigned size)
{
    if (d->phase != IDE_PIO_OUT && d->phase != IDE_PACKET)
        return;
    u32 left = d->data_end - d->data_at;
    u32 n = size < left ? size : left;
    store_sized(d->buffer + d->data_at, value, n);
    d->data_at += n;
    if (d->data_at == d->data_end)
        pio_done(d);
}

/* ---- the other registers ---- */

static u8 status_of(const struct ide_channel *ch, unsigned unit)
{
    const struct ide_drive *d = &ch->drives[unit];
    if (present(d))
        return ch->control & CONTROL_SRST ? STATUS_BSY : d->status;
    return present(&ch->drives[!unit]) && unit == 1 ? 0 : FLOATING_BUS;
}

/* The drive that answers reads: drive 0 stands in for an absent drive 1. */
static const struct ide_drive *answering(const struct ide_channel *ch)
{
    const struct ide_drive *d = &ch->drives[ch->unit];
    if (!present(d) && ch->unit == 1)
        d = &ch->drives[0];
    return present(d) ? d : NULL;
}

static u8 read_register(struct ide_channel *ch, u16 reg)
{
    const struct ide_drive *d = answering(ch);
    if (reg == IDE_COMMAND) {
        selected(ch)->irq = false;
        update_line(ch);
        return status_of(ch, ch->unit);
    }
    if (!d)
        return FLOATING_BUS;
    bool high = ch->control & CONTROL_HOB;
    switch (reg) {
    case IDE_FEATURES: return d->error;
    case IDE_DEVICE: return d->regs[IDE_DEVICE];
    default: return high ? d->previous[reg] : d->regs[reg];
    }
}

u8 ide_channel_read_alternate(const struct ide_channel *ch)
{
    return status_of(ch, ch->unit);
}

/* A busy drive, or one that transfers data, takes no register writes. */
static bool takes_writes(const struct ide_drive *d)
{
    return !(d->status & (STATUS_BSY | STATUS_DRQ));
}

static void write_both(struct ide_channel *ch, u16 reg, u8 value)
{
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        struct ide_drive *d = &ch->drives[i];
        if (!takes_writes(d))
            continue;
        d->previous[reg] = d->regs[reg];
        d->regs[reg] = value;
    }
}

#define COMMAND_DEVICE_RESET       0x08
#define COMMAND_EXECUTE_DIAGNOSTIC 0x90

static void write_command(struct ide_channel *ch, u8 value)
{
    struct ide_drive *d = selected(ch);
    if (value == COMMAND_EXECUTE_DIAGNOSTIC) {
        execute_diagnostic(ch);
        return;
    }
    if (!present(d))
        return;
    if (value == COMMAND_DEVICE_RESET && d->kind == IDE_CDROM) {
        u8 device = d->regs[IDE_DEVICE];
        reset_drive(d);
        d->regs[IDE_DEVICE] = device & DEVICE_UNIT_1;
        update_line(ch);
        return;
    }
    if (!takes_writes(d))
        return;
    d->regs[IDE_COMMAND] = value;
    start_command(d);
}

static void write_register(struct ide_channel *ch, u16 reg, u8 value)
{
    if (ch->control & CONTROL_SRST)
        return;
    ch->control &= (u8)~CONTROL_HOB;
    if (reg == IDE_COMMAND) {
        write_command(ch, value);
        return;
    }
    write_both(ch, reg, value);
    if (reg == IDE_DEVICE) {
        ch->unit = !!(value & DEVICE_UNIT_1);
        update_line(ch);
    }
}

/* ---- drives behind a serial link ---- */

void ide_channel_command(struct ide_channel *ch, const u8 regs[IDE_REGISTERS],
                         const u8 previous[IDE_REGISTERS])
{
    struct ide_drive *d = &ch->drives[0];
    if (!present(d) || !takes_writes(d))
        return;
    memcpy(d->regs, regs, IDE_REGISTERS);
    memcpy(d->previous, previous, IDE_REGISTERS);
    d->regs[IDE_DEVICE] &= (u8)~DEVICE_UNIT_1; /* there is no other */
    write_command(ch, d->regs[IDE_COMMAND]);
}

u8 *ide_pio_block(struct ide_drive *d, u32 *bytes)
{
    *bytes = d->data_end - d->data_at;
    return d->buffer + d->data_at;
}

void ide_pio_moved(struct ide_drive *d)
{
    d->data_at = d->data_end;
    pio_done(d);
}

void ide_abandon(struct ide_drive *d)
{
    abandon_io(d);
    d->irq = false;
    d->phase = IDE_IDLE;
    d->status = STATUS_DRDY | STATUS_DSC;
    d->data_at = d->data_end = d->data_filled = 0;
    d->sectors = 0;
    update_line(d->channel);
}

/* ---- accesses ---- */

u32 ide_channel_read(struct ide_channel *ch, u16 reg, unsigned size)
{
    if (reg == IDE_DATA)
        return read_data(selected(ch), size);
    u32 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u32)read_register(ch, (u16)((reg + i) % IDE_REGISTERS)) << (8 * i);
    return value;
}

void ide_channel_write(struct ide_channel *ch, u16 reg, u32 value, unsigned size)
{
    if (reg == IDE_DATA) {
        write_data(selected(ch), value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        write_register(ch, (u16)((reg + i) % IDE_REGISTERS), (u8)(value >> (8 * i)));
}

/* ---- common to both command sets ---- */

bool ide_set_transfer_mode(struct ide_drive *d, u8 mode)
{
    bool known = mode <= MODE_PIO + 1 || (mode >= MODE_PIO_FLOW && mode <= MODE_PIO_FLOW + 4) ||
                 (mode >= MODE_MULTIWORD && mode <= MODE_MULTIWORD + 2) ||
                 (mode >= MODE_ULTRA && mode <= MODE_ULTRA + 5);
    if (known)
        d->transfer_mode = mode;
    return known;
}

u16 ide_mode_word(const struct ide_drive *d, u8 supported, enum ide_mode_family family)
{
    bool selected = (d->transfer_mode & 0xf8) == family;
    return (u16)(supported | (selected ? 0x100u << (d->transfer_mode & 7) : 0));
}

void ide_put_string(u8 *words, const char *text, unsigned chars)
{
    for (unsigned i = 0; i < chars; i++)
        words[i ^ 1] = (u8)(*text ? *text++ : ' ');
}

/* ---- life ---- */

void ide_channel_init(struct ide_channel *ch, struct irq_line irq, const struct ide_dma_ops *dma,
                      void *dma_opaque, struct clock *clock, struct log *log)
{
    ch->irq = irq;
    ch->dma = dma;
    ch->dma_opaque = dma_opaque;
    ch->clock = clock;
    ch->log = log;
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        ch->drives[i].channel = ch;
        ch->drives[i].unit = (u8)i;
    }
}

void ide_channel_attach(struct ide_channel *ch, unsigned unit, enum ide_kind kind,
                        struct block *block, const char *serial)
{
    struct ide_drive *d = &ch->drives[unit];
    d->kind = (u8)kind;
    d->block = block;
    strncpy(d->serial, serial, IDE_SERIAL_CHARS);
    power_on_defaults(d);
    reset_drive(d);
}

/* The images may be closed already. */
void ide_channel_fini(struct ide_channel *ch)
{
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        forget_io(&ch->drives[i]);
        free(ch->drives[i].spare);
        ch->drives[i].spare = NULL;
    }
}

/* A snapshot is a file and may say anything; nothing of it may lead out of the buffer. */
static void bound_drive(struct ide_drive *d)
{
    if (d->data_filled > IDE_BUFFER_BYTES)
        d->data_filled = IDE_BUFFER_BYTES;
    if (d->multiple > IDE_MULTIPLE_MAX)
        d->multiple = IDE_MULTIPLE_MAX;
    if (d->data_end > IDE_BUFFER_BYTES || d->data_at >= d->data_end)
        d->data_at = d->data_end = 0;
    bool data = d->phase == IDE_PIO_IN || d->phase == IDE_PIO_OUT || d->phase == IDE_PACKET;
    if (d->phase > IDE_DMA_OUT || d->phase == IDE_BUSY || (data && d->data_at == d->data_end))
        ide_end(d, STATUS_DRDY | STATUS_DSC | STATUS_ERR, ERROR_ABRT);
}

void ide_channel_loaded(struct ide_channel *ch)
{
    ch->unit &= 1;
    for (unsigned i = 0; i < ARRAY_LEN(ch->drives); i++) {
        if (present(&ch->drives[i]))
            bound_drive(&ch->drives[i]);
    }
    ch->line = !(selected(ch)->irq && !(ch->control & CONTROL_NIEN)); /* so that it is driven */
    update_line(ch);
}
