/* SPDX-License-Identifier: MIT
 *
 * Intel 82077AA floppy disk controller (order number 290166) in PC/AT mode, with up to two drives.
 *
 *   3F2h DOR   3F3h TDR   3F4h MSR (read), DSR (write)   3F5h data   3F7h DIR (read), CCR (write)
 *
 * A command goes through three phases, each byte of them by the data register:
 *
 *   COMMAND --last byte--> EXECUTION --done--> RESULT --last byte read--> COMMAND
 *              |              (i82077_exec.c)              ^
 *              +------------- no execution ----------------+
 *
 * The number of bytes in each phase comes from one table, and every index is bounded by it: a
 * command cannot write beyond its parameters (CVE-2015-3456).
 *
 * Deviations: status registers A and B (3F0h, 3F1h) are not there, as in AT mode; sectors have 512
 * bytes; scan commands, tape and low power are invalid commands; seeks take the time of a step or
 * two, however long.
 */
#include "devices/i82077_state.h"

#include <stdlib.h>

#define PORT_LOW        0x3f2
#define PORT_LOW_COUNT  4
#define PORT_HIGH       0x3f7
#define SEEK_NS         (2 * 1000 * 1000)
#define RATE_MASK       3
#define DSR_RESET       0x80
#define CHANGE_LINE     0x80
#define VERSION_82077   0x90
#define CONFIGURE_RESET 0x20 /* FIFO off: as the 8272 */
#define CONFIGURE_POLL  0x10 /* polling off */
#define SEEK_RELATIVE   0x80
#define SEEK_UP         0x40
#define CYLINDER_MAX    84

enum port { PORT_DOR = 0, PORT_TDR = 1, PORT_MSR = 2, PORT_DATA = 3 };
enum msr { MSR_RQM = 0x80, MSR_DIO = 0x40, MSR_NON_DMA = 0x20, MSR_BUSY = 0x10 };
enum st3 { ST3_PROTECTED = 0x40, ST3_READY = 0x20, ST3_TRACK0 = 0x10, ST3_TWO_SIDES = 0x08 };

/* Data rates: 0 500 kbit/s, 1 300, 2 250, 3 1000. */
static const struct media media_table[] = {
    /* KiB  cyl heads sect rate cmos */
    {160, 40, 1, 8, 2, 1},   {180, 40, 1, 9, 2, 1},   {320, 40, 2, 8, 2, 1},
    {360, 40, 2, 9, 2, 1},   {720, 80, 2, 9, 2, 4},   {1200, 80, 2, 15, 0, 2},
    {1440, 80, 2, 18, 0, 4}, {1680, 80, 2, 21, 0, 4}, {1722, 82, 2, 21, 0, 4},
    {2880, 80, 2, 36, 3, 5},
};
#define CMOS_1440 4

/* ---- results and interrupts ---- */

static void update_irq(struct i82077 *f)
{
    irq_set(&f->irq_line, f->irq && (f->dor & DOR_DMA_GATE));
}

static void set_irq(struct i82077 *f, bool level)
{
    f->irq = level;
    update_irq(f);
}

void i82077_interrupt(struct i82077 *f)
{
    set_irq(f, true);
}

/* n is 0 for commands without a result. */
void i82077_result(struct i82077 *f, const u8 *bytes, unsigned n)
{
    f->command_count = 0;
    f->result_at = 0;
    f->result_count = (u8)(n < RESULT_BYTES ? n : RESULT_BYTES);
    if (n)
        memcpy(f->result, bytes, f->result_count);
    f->phase = n ? PHASE_RESULT : PHASE_COMMAND;
}

static void result_byte(struct i82077 *f, u8 byte)
{
    i82077_result(f, &byte, 1);
}

bool i82077_ready(const struct i82077 *f, unsigned unit)
{
    const struct floppy *d = &f->drives[unit];
    return d->block && d->media && d->media->rate == f->rate &&
           (f->dor >> (DOR_MOTOR_SHIFT + unit) & 1);
}

/* ---- seeking ---- */

static void move_head(struct i82077 *f, unsigned unit, unsigned cylinder)
{
    struct floppy *d = &f->drives[unit];
    d->cylinder = (u8)(cylinder < CYLINDER_MAX ? cylinder : CYLINDER_MAX);
    if (d->block && d->media)
        d->changed = false; /* a step with a medium resets the change line */
    f->seeking |= (u8)(1u << unit);
    timer_arm(&f->seek_timer, clock_now(f->clock) + SEEK_NS);
}

static void seeks_end(void *opaque)
{
    struct i82077 *f = opaque;
    for (unsigned unit = 0; unit < UNITS; unit++) {
        if (!(f->seeking >> unit & 1))
            continue;
        /* A drive that is not there never shows track 0: 82077AA, RECALIBRATE. */
        bool absent = !f->drives[unit].block && f->drives[unit].cylinder == 0;
        f->pending[unit] =
            (u8)(ST0_SEEK_END | unit | (absent ? ST0_ABNORMAL | ST0_EQUIPMENT_CHECK : 0));
    }
    f->seeking = 0;
    i82077_interrupt(f);
}

static void seek(struct i82077 *f, unsigned unit)
{
    unsigned by = f->command[2], now = f->drives[unit].cylinder, to = by;
    if (f->command[0] & SEEK_RELATIVE)
        to = f->command[0] & SEEK_UP ? now + by : now > by ? now - by : 0;
    i82077_result(f, NULL, 0);
    move_head(f, unit, to);
}

/* ---- commands ---- */

static void cmd_specify(struct i82077 *f, unsigned unit)
{
    (void)unit;
    memcpy(f->specify, f->command + 1, sizeof f->specify);
    i82077_result(f, NULL, 0);
}

static void cmd_sense_drive(struct i82077 *f, unsigned unit)
{
    const struct floppy *d = &f->drives[unit];
    bool protect = d->block && d->media && block_read_only(d->block);
    result_byte(f, (u8)((f->command[1] & 7) | ST3_READY | ST3_TWO_SIDES |
                        (d->block && d->cylinder == 0 ? ST3_TRACK0 : 0) |
                        (protect ? ST3_PROTECTED : 0)));
}

static void cmd_recalibrate(struct i82077 *f, unsigned unit)
{
    i82077_result(f, NULL, 0);
    move_head(f, unit, 0);
}

static void cmd_sense_interrupt(struct i82077 *f, unsigned unit)
{
    u8 answer[2] = {ST0_INVALID, 0};
    (void)unit;
    set_irq(f, false);
    if (f->reset_polls) {
        unit = UNITS - f->reset_polls--;
        answer[0] = (u8)(ST0_POLLED | unit);
        answer[1] = f->drives[unit].cylinder;
        i82077_result(f, answer, 2);
        return;
    }
    for (unit = 0; unit < UNITS; unit++) {
        if (!f->pending[unit])
            continue;
        answer[0] = f->pending[unit];
        answer[1] = f->drives[unit].cylinder;
        f->pending[unit] = 0;
        i82077_result(f, answer, 2);
        return;
    }
    i82077_result(f, answer, 1); /* nothing to sense: an invalid command */
}

static void cmd_dumpreg(struct i82077 *f, unsigned unit)
{
    (void)unit;
    u8 answer[RESULT_BYTES];
    for (unsigned i = 0; i < UNITS; i++)
        answer[i] = f->drives[i].cylinder;
    memcpy(answer + 4, f->specify, 2);
    answer[6] = f->last_sector;
    answer[7] = (u8)(f->locked << 7 | (f->perpendicular & 0x7f));
    memcpy(answer + 8, f->configure, 2);
    i82077_result(f, answer, sizeof answer);
}

static void cmd_version(struct i82077 *f, unsigned unit)
{
    (void)unit;
    result_byte(f, VERSION_82077);
}

static void cmd_perpendicular(struct i82077 *f, unsigned unit)
{
    (void)unit;
    f->perpendicular = f->command[1];
    i82077_result(f, NULL, 0);
}

static void cmd_configure(struct i82077 *f, unsigned unit)
{
    (void)unit;
    memcpy(f->configure, f->command + 2, sizeof f->configure);
    i82077_result(f, NULL, 0);
}

/* 94h locks, 14h unlocks. */
static void cmd_lock(struct i82077 *f, unsigned unit)
{
    (void)unit;
    f->locked = f->command[0] & COMMAND_MT;
    result_byte(f, (u8)(f->locked << 4));
}

static void cmd_execute(struct i82077 *f, unsigned unit)
{
    (void)unit;
    f->phase = PHASE_EXECUTION;
    i82077_exec_begin(f);
}

static const struct {
    u8 code, bytes; /* of the command, with the first */
    void (*run)(struct i82077 *f, unsigned unit);
} commands[] = {
    {CMD_READ_TRACK, 9, cmd_execute},
    {CMD_SPECIFY, 3, cmd_specify},
    {CMD_SENSE_DRIVE, 2, cmd_sense_drive},
    {CMD_WRITE, 9, cmd_execute},
    {CMD_READ, 9, cmd_execute},
    {CMD_RECALIBRATE, 2, cmd_recalibrate},
    {CMD_SENSE_INTERRUPT, 1, cmd_sense_interrupt},
    {CMD_WRITE_DELETED, 9, cmd_execute},
    {CMD_READ_ID, 2, cmd_execute},
    {CMD_READ_DELETED, 9, cmd_execute},
    {CMD_FORMAT, 6, cmd_execute},
    {CMD_DUMPREG, 1, cmd_dumpreg},
    {CMD_SEEK, 3, seek},
    {CMD_VERSION, 1, cmd_version},
    {CMD_PERPENDICULAR, 2, cmd_perpendicular},
    {CMD_CONFIGURE, 4, cmd_configure},
    {CMD_LOCK, 1, cmd_lock},
    {CMD_VERIFY, 9, cmd_execute},
};

static void command_byte(struct i82077 *f, u8 value)
{
    if (f->command_count == COMMAND_BYTES)
        return; /* cannot be: the longest command has run before */
    f->command[f->command_count++] = value;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].code != (f->command[0] & COMMAND_CODE))
            continue;
        if (f->command_count == commands[i].bytes)
            commands[i].run(f, f->command[1] & UNIT_MASK);
        return;
    }
    log_unsupported(f->log, "i82077", value, "floppy: command %02x", value);
    result_byte(f, ST0_INVALID);
}

/* ---- registers ---- */

/* A reset ends whatever is going on. By the DOR it also undoes an unlocked CONFIGURE. */
static void chip_reset(struct i82077 *f)
{
    i82077_exec_reset(f);
    timer_cancel(&f->seek_timer);
    f->seeking = 0;
    memset(f->pending, 0, sizeof f->pending);
    if (!f->locked) {
        f->configure[0] = CONFIGURE_RESET;
        f->configure[1] = 0;
    }
    f->perpendicular &= 0x3c; /* keeps which drives, forgets the mode */
    f->command_count = 0;
    f->result_count = f->result_at = 0;
    f->phase = PHASE_COMMAND;
    set_irq(f, false);
}

/* Polling finds that all drives changed from not ready to ready. */
static void reset_ends(struct i82077 *f)
{
    if (f->configure[0] & CONFIGURE_POLL)
        return;
    f->reset_polls = UNITS;
    i82077_interrupt(f);
}

static void dor_write(struct i82077 *f, u8 value)
{
    u8 before = f->dor;
    f->dor = value;
    if ((before & DOR_NOT_RESET) && !(value & DOR_NOT_RESET))
        chip_reset(f);
    if (!(before & DOR_NOT_RESET) && (value & DOR_NOT_RESET))
        reset_ends(f);
    update_irq(f);
}

static u8 msr_read(const struct i82077 *f)
{
    bool dma = !(f->specify[1] & 1);
    if (!(f->dor & DOR_NOT_RESET))
        return 0;
    switch (f->phase) {
    case PHASE_EXECUTION:
        if (dma || !f->data_ready)
            return (u8)(MSR_BUSY | (dma ? 0 : MSR_NON_DMA));
        return (u8)(MSR_RQM | MSR_NON_DMA | MSR_BUSY | (i82077_exec_wants_write(f) ? 0 : MSR_DIO));
    case PHASE_RESULT: return MSR_RQM | MSR_DIO | MSR_BUSY;
    default: return (u8)(MSR_RQM | f->seeking | (f->command_count ? MSR_BUSY : 0));
    }
}

static u8 data_read(struct i82077 *f)
{
    if (!(f->dor & DOR_NOT_RESET))
        return 0;
    if (f->phase == PHASE_EXECUTION)
        return i82077_exec_read(f);
    if (f->phase != PHASE_RESULT)
        return 0;
    if (f->result_at == 0 && f->reset_polls == 0)
        set_irq(f, false);
    u8 value = f->result[f->result_at++];
    if (f->result_at == f->result_count)
        i82077_result(f, NULL, 0);
    return value;
}

static void data_write(struct i82077 *f, u8 value)
{
    if (!(f->dor & DOR_NOT_RESET))
        return;
    if (f->phase == PHASE_EXECUTION)
        i82077_exec_write(f, value);
    else if (f->phase == PHASE_COMMAND)
        command_byte(f, value);
}

static u32 low_read(void *opaque, u16 offset, unsigned size)
{
    struct i82077 *f = opaque;
    (void)size;
    switch (offset) {
    case PORT_DOR: return f->dor;
    case PORT_TDR: return f->tdr;
    case PORT_MSR: return msr_read(f);
    default: return data_read(f);
    }
}

static void low_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i82077 *f = opaque;
    (void)size;
    switch (offset) {
    case PORT_DOR: dor_write(f, (u8)value); break;
    case PORT_TDR: f->tdr = value & 3; break;
    case PORT_MSR:
        f->rate = value & RATE_MASK;
        if (value & DSR_RESET) { /* ends by itself */
            chip_reset(f);
            reset_ends(f);
        }
        break;
    default: data_write(f, (u8)value); break;
    }
}

static u32 high_read(void *opaque, u16 offset, unsigned size)
{
    const struct i82077 *f = opaque;
    const struct floppy *d = &f->drives[f->dor & DOR_UNIT];
    (void)offset;
    (void)size;
    return d->block && d->changed ? CHANGE_LINE : 0;
}

static void high_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i82077 *f = opaque;
    (void)offset;
    (void)size;
    f->rate = value & RATE_MASK;
}

static const struct port_ops low_ops = {.name = "i82077", .read = low_read, .write = low_write};
static const struct port_ops high_ops = {.name = "i82077", .read = high_read, .write = high_write};

/* ---- drives ---- */

/* Images are often cut off behind their last file: such a one is the smallest medium that it fits
 * on, of the sizes that were sold. */
static const struct media *find_media(u64 bytes)
{
    const struct media *found = NULL;
    for (size_t i = 0; bytes && i < ARRAY_LEN(media_table); i++) {
        const struct media *m = &media_table[i];
        if (bytes == KIB(m->kib))
            return m;
        bool sold = m->kib >= 360 && m->kib != 1680 && m->kib != 1722;
        if (!found && sold && bytes < KIB(m->kib))
            found = m;
    }
    return found;
}

void i82077_medium_changed(struct i82077 *f, unsigned drive)
{
    struct floppy *d = &f->drives[drive];
    d->media = d->block ? find_media(block_size(d->block)) : NULL;
    d->changed = true;
}

void i82077_attach(struct i82077 *f, unsigned drive, struct block *block)
{
    f->drives[drive].block = block;
    i82077_medium_changed(f, drive);
}

u8 i82077_cmos_type(const struct i82077 *f, unsigned drive)
{
    const struct floppy *d = &f->drives[drive];
    if (!d->block)
        return 0;
    return d->media ? d->media->cmos : CMOS_1440;
}

bool i82077_medium_is_known(const struct i82077 *f, unsigned drive)
{
    return f->drives[drive].media != NULL;
}

bool i82077_busy(const struct i82077 *f)
{
    return f->io != NULL;
}

/* ---- life ---- */

static void i82077_reset(void *dev)
{
    struct i82077 *f = dev;
    f->locked = false;
    chip_reset(f);
    f->dor = f->tdr = 0;
    f->rate = 2; /* 250 kbit/s (DSR after a hardware reset) */
    f->perpendicular = 0;
    f->reset_polls = 0;
    memset(f->specify, 0, sizeof f->specify);
    for (unsigned i = 0; i < UNITS; i++) {
        f->drives[i].cylinder = 0;
        f->drives[i].changed = true;
    }
    update_irq(f);
}

static void i82077_loaded(void *dev)
{
    struct i82077 *f = dev;
    if (f->command_count >= COMMAND_BYTES || f->result_at >= RESULT_BYTES ||
        f->result_count > RESULT_BYTES || f->data_bytes > SECTOR_BYTES ||
        f->data_at > f->data_bytes || f->phase > PHASE_RESULT)
        chip_reset(f);
    f->unit &= UNIT_MASK;
    f->rate &= RATE_MASK;
    update_irq(f);
}

static void i82077_destroy(void *dev)
{
    struct i82077 *f = dev;
    i82077_exec_reset(f);
    timer_cancel(&f->seek_timer);
    io_bus_release(f->bus, f->low);
    io_bus_release(f->bus, f->high);
    free(f);
}

// clang-format off
#define ROW(t, name, n) STATE_ROW(t, i82077, name, n, 1)
static const struct state_field i82077_state[] = {
    ROW(STATE_U8, drives[0].cylinder, 1), ROW(STATE_BOOL, drives[0].changed, 1),
    ROW(STATE_U8, drives[1].cylinder, 1), ROW(STATE_BOOL, drives[1].changed, 1),
    ROW(STATE_U8, drives[2].cylinder, 1), ROW(STATE_U8, drives[3].cylinder, 1),
    ROW(STATE_U8, dor, 1), ROW(STATE_U8, tdr, 1), ROW(STATE_U8, rate, 1), ROW(STATE_U8, phase, 1),
    ROW(STATE_BOOL, irq, 1), ROW(STATE_BYTES, command, COMMAND_BYTES),
    ROW(STATE_U8, command_count, 1), ROW(STATE_BYTES, result, RESULT_BYTES),
    ROW(STATE_U8, result_at, 1), ROW(STATE_U8, result_count, 1), ROW(STATE_BYTES, pending, UNITS),
    ROW(STATE_BYTES, specify, 2), ROW(STATE_BYTES, configure, 2), ROW(STATE_U8, perpendicular, 1),
    ROW(STATE_BOOL, locked, 1), ROW(STATE_U8, reset_polls, 1), ROW(STATE_U8, unit, 1),
    ROW(STATE_U8, head, 1), ROW(STATE_U8, cylinder, 1), ROW(STATE_U8, sector, 1),
    ROW(STATE_U8, last_sector, 1), ROW(STATE_U8, st1, 1), ROW(STATE_U8, st2, 1),
    ROW(STATE_U8, seeking, 1), ROW(STATE_BOOL, terminal_count, 1), ROW(STATE_BOOL, data_ready, 1),
    ROW(STATE_U16, data_at, 1), ROW(STATE_U16, data_bytes, 1),
    ROW(STATE_BYTES, buffer, SECTOR_BYTES), ROW(STATE_U8, stalls, 1), ROW(STATE_TIMER, timer, 1),
    ROW(STATE_TIMER, seek_timer, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops i82077_ops = {
    .name = "i82077",
    .version = 1,
    .state = i82077_state,
    .reset = i82077_reset,
    .loaded = i82077_loaded,
    .destroy = i82077_destroy,
};

struct i82077 *i82077_create(const struct i82077_config *config)
{
    struct i82077 *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->bus = config->ports;
    f->irq_line = config->irq;
    f->dma = config->dma;
    f->dma_channel = config->dma_channel;
    f->clock = config->clock;
    f->log = config->log;
    timer_init(&f->timer, f->clock, i82077_exec_timer, f);
    timer_init(&f->seek_timer, f->clock, seeks_end, f);
    i82077_reset(f);
    f->low = io_bus_claim(f->bus, PORT_LOW, PORT_LOW_COUNT, &low_ops, f);
    f->high = io_bus_claim(f->bus, PORT_HIGH, 1, &high_ops, f);
    return f;
}

struct device i82077_device(struct i82077 *f)
{
    return (struct device){.ops = &i82077_ops, .dev = f};
}
