/* SPDX-License-Identifier: MIT
 *
 * The execution phase: sectors between the host's image and the guest, by DMA or byte by byte.
 *
 *   read:    load sector --> hand over 512 bytes --> next sector, or end
 *   write:   collect 512 bytes --> store sector --> next sector, or end
 *   format:  collect four bytes of identity --> store a sector of filler --> next, or end
 *
 * A command ends at terminal count, at the last sector of the track (or of the cylinder, with MT),
 * or with an error. The image is asynchronous; in between the chip is busy. Each step is taken by
 * the timer, a bit later than the one before, so that even an endless command leaves the board to
 * others. Data that DMA does not take for long are an overrun.
 */
#include "devices/i82077_state.h"

#include <stdlib.h>

#define STEP_NS   (20 * 1000)
#define STALL_NS  (1000 * 1000)
#define STALL_MAX 200

enum parameter {
    P_UNIT = 1, /* and head */
    P_CYLINDER = 2,
    P_HEAD = 3,
    P_SECTOR = 4,
    P_CODE = 5,
    P_LAST = 6,
    FORMAT_CODE = 2,
    FORMAT_SECTORS = 3,
    FORMAT_FILLER = 5
};

static u8 code(const struct i82077 *f)
{
    return f->command[0] & COMMAND_CODE;
}

static bool uses_dma(const struct i82077 *f)
{
    return !(f->specify[1] & 1);
}

static bool is_write(const struct i82077 *f)
{
    return code(f) == CMD_WRITE || code(f) == CMD_WRITE_DELETED;
}

bool i82077_exec_wants_write(const struct i82077 *f)
{
    return is_write(f) || code(f) == CMD_FORMAT;
}

static void step_later(struct i82077 *f, i64 ns)
{
    timer_arm(&f->timer, clock_now(f->clock) + ns);
}

/* ---- the end ---- */

/* What the address registers show after the command: the sector that would come next
 * (82077AA, table 5-6). */
static void next_address(struct i82077 *f)
{
    if (f->sector < f->last_sector) {
        f->sector++;
        return;
    }
    f->sector = 1;
    if ((f->command[0] & COMMAND_MT) && f->head == 0) {
        f->head = 1;
        return;
    }
    if (f->command[0] & COMMAND_MT)
        f->head = 0;
    f->cylinder++;
}

static void end_command(struct i82077 *f, u8 st0)
{
    u8 answer[7] = {(u8)(st0 | (f->head & 1) << HEAD_SHIFT | f->unit),
                    f->st1,
                    f->st2,
                    f->cylinder,
                    f->head,
                    f->sector,
                    SECTOR_CODE};
    f->data_ready = false;
    timer_cancel(&f->timer);
    i8237_request(f->dma, f->dma_channel, false);
    i82077_result(f, answer, sizeof answer);
    i82077_interrupt(f);
}

static void fail(struct i82077 *f, u8 st1, u8 st2)
{
    f->st1 |= st1;
    f->st2 |= st2;
    end_command(f, ST0_ABNORMAL);
}

/* ---- the host's image ---- */

static void sector_done(struct i82077 *f);

static void io_done(struct block_request *request)
{
    struct transfer *t = request->opaque;
    struct i82077 *f = t->owner;
    if (t->orphan) {
        free(t);
        return;
    }
    bool failed = request->error; /* the request is part of the transfer */
    f->io = NULL;
    if (request->op == BLOCK_READ && !failed)
        memcpy(f->buffer, t->data, sizeof f->buffer);
    free(t);
    if (failed)
        fail(f, ST1_DATA_ERROR, 0);
    else
        sector_done(f);
}

/* The image is shorter than the medium: the rest reads as zeros and cannot be written. */
static void beyond_image(struct i82077 *f, enum block_op op)
{
    if (op == BLOCK_WRITE) {
        fail(f, ST1_DATA_ERROR, 0);
        return;
    }
    memset(f->buffer, 0, sizeof f->buffer);
    sector_done(f);
}

static void submit(struct i82077 *f, enum block_op op)
{
    const struct floppy *d = &f->drives[f->unit];
    if (!d->media) { /* taken out since the sector was looked for */
        fail(f, ST1_MISSING_MARK, 0);
        return;
    }
    u64 lba = ((u64)f->cylinder * d->media->heads + f->head) * d->media->sectors + f->sector - 1;
    if ((lba + 1) * SECTOR_BYTES > block_size(d->block)) {
        beyond_image(f, op);
        return;
    }
    struct transfer *t = calloc(1, sizeof *t);
    if (!t) {
        fail(f, ST1_DATA_ERROR, 0);
        return;
    }
    t->owner = f;
    memcpy(t->data, f->buffer, sizeof t->data);
    t->request = (struct block_request){.op = op,
                                        .offset = lba * SECTOR_BYTES,
                                        .bytes = SECTOR_BYTES,
                                        .data = t->data,
                                        .done = io_done,
                                        .opaque = t};
    f->io = t;
    block_submit(d->block, &t->request);
}

/* Whether the sector in the address registers is on the medium, where the head is. */
static bool find_sector(struct i82077 *f)
{
    const struct floppy *d = &f->drives[f->unit];
    u8 code_register = code(f) == CMD_FORMAT ? f->command[FORMAT_CODE] : f->command[P_CODE];
    if (!i82077_ready(f, f->unit) || f->head >= d->media->heads ||
        d->cylinder >= d->media->cylinders)
        fail(f, ST1_MISSING_MARK, 0);
    else if (f->cylinder != d->cylinder)
        fail(f, ST1_NO_DATA, ST2_WRONG_CYLINDER);
    else if (f->sector < 1 || f->sector > d->media->sectors || code_register != SECTOR_CODE)
        fail(f, ST1_NO_DATA, 0);
    else if (i82077_exec_wants_write(f) && block_read_only(d->block))
        fail(f, ST1_NOT_WRITABLE, 0);
    else
        return true;
    return false;
}

/* ---- the guest's side ---- */

/* Bytes that the guest gives or takes before the next step. */
static void open_buffer(struct i82077 *f, unsigned bytes)
{
    f->data_at = 0;
    f->data_bytes = (u16)bytes;
    f->data_ready = true;
    f->stalls = 0;
    if (uses_dma(f)) {
        i8237_request(f->dma, f->dma_channel, true);
        step_later(f, STEP_NS);
    } else {
        i82077_interrupt(f); /* each buffer asks for service */
    }
}

static void next_sector(struct i82077 *f)
{
    bool done = f->terminal_count;
    bool last = f->sector >= f->last_sector;
    bool other_side = (f->command[0] & COMMAND_MT) && f->head == 0;
    next_address(f);
    if (done)
        end_command(f, 0);
    else if (last && !other_side)
        fail(f, ST1_END_OF_CYLINDER, 0);
    else
        step_later(f, STEP_NS);
}

static void format_next(struct i82077 *f)
{
    if (f->terminal_count || --f->last_sector == 0)
        end_command(f, 0);
    else
        step_later(f, STEP_NS);
}

/* The image has given or taken a sector. */
static void sector_done(struct i82077 *f)
{
    if (code(f) == CMD_FORMAT)
        format_next(f);
    else if (is_write(f))
        next_sector(f);
    else if (code(f) == CMD_VERIFY) {
        f->terminal_count =
            f->sector >= f->last_sector && !((f->command[0] & COMMAND_MT) && f->head == 0);
        next_sector(f);
    } else
        open_buffer(f, SECTOR_BYTES);
}

/* The guest has given or taken all of the buffer, or terminal count cut it short. */
static void buffer_done(struct i82077 *f)
{
    f->data_ready = false;
    i8237_request(f->dma, f->dma_channel, false);
    if (code(f) == CMD_FORMAT) {
        if (f->data_at < FORMAT_ID) {
            end_command(f, 0); /* an identity cut off: nothing is written for it */
            return;
        }
        f->cylinder = f->buffer[0];
        f->head = f->buffer[1];
        f->sector = f->buffer[2];
        memset(f->buffer, f->command[FORMAT_FILLER], sizeof f->buffer);
        if (find_sector(f))
            submit(f, BLOCK_WRITE);
    } else if (is_write(f)) {
        /* The rest of a sector that was cut short is zeros. */
        memset(f->buffer + f->data_at, 0, SECTOR_BYTES - f->data_at);
        submit(f, BLOCK_WRITE);
    } else {
        next_sector(f);
    }
}

static void move_by_dma(struct i82077 *f)
{
    bool tc;
    size_t n = i8237_transfer(f->dma, f->dma_channel, f->buffer + f->data_at,
                              (size_t)f->data_bytes - f->data_at, &tc);
    f->data_at = (u16)(f->data_at + n);
    f->terminal_count |= tc;
    if (tc || f->data_at == f->data_bytes) {
        buffer_done(f);
    } else if (n == 0 && ++f->stalls == STALL_MAX) {
        fail(f, ST1_OVERRUN, 0);
    } else {
        step_later(f, n ? STEP_NS : STALL_NS);
    }
}

u8 i82077_exec_read(struct i82077 *f)
{
    if (!f->data_ready || uses_dma(f) || i82077_exec_wants_write(f))
        return 0;
    u8 value = f->buffer[f->data_at++];
    if (f->data_at == f->data_bytes)
        buffer_done(f);
    return value;
}

void i82077_exec_write(struct i82077 *f, u8 value)
{
    if (!f->data_ready || uses_dma(f) || !i82077_exec_wants_write(f))
        return;
    f->buffer[f->data_at++] = value;
    if (f->data_at == f->data_bytes)
        buffer_done(f);
}

/* ---- steps ---- */

static void read_id(struct i82077 *f)
{
    const struct floppy *d = &f->drives[f->unit];
    if (!i82077_ready(f, f->unit) || f->head >= d->media->heads ||
        d->cylinder >= d->media->cylinders) {
        fail(f, ST1_MISSING_MARK, 0);
        return;
    }
    f->cylinder = d->cylinder;
    /* Whatever passes the head: time decides. */
    f->sector = (u8)(clock_now(f->clock) / SECTOR_BYTES % d->media->sectors + 1);
    end_command(f, 0);
}

void i82077_exec_timer(void *opaque)
{
    struct i82077 *f = opaque;
    if (f->phase != PHASE_EXECUTION || f->io)
        return;
    if (f->data_ready) {
        if (uses_dma(f))
            move_by_dma(f);
    } else if (code(f) == CMD_READ_ID) {
        read_id(f);
    } else if (code(f) == CMD_FORMAT) {
        open_buffer(f, FORMAT_ID);
    } else if (find_sector(f)) {
        if (is_write(f))
            open_buffer(f, SECTOR_BYTES);
        else
            submit(f, BLOCK_READ);
    }
}

void i82077_exec_begin(struct i82077 *f)
{
    f->unit = f->command[P_UNIT] & UNIT_MASK;
    f->head = f->command[P_UNIT] >> HEAD_SHIFT & 1;
    f->st1 = f->st2 = 0;
    f->terminal_count = false;
    f->data_ready = false;
    f->stalls = 0;
    if (code(f) == CMD_FORMAT) {
        f->cylinder = f->drives[f->unit].cylinder;
        f->sector = 1;
        f->last_sector = f->command[FORMAT_SECTORS];
        if (!f->last_sector)
            f->last_sector = 1;
    } else if (code(f) != CMD_READ_ID) {
        f->cylinder = f->command[P_CYLINDER];
        f->head = f->command[P_HEAD] & 1;
        f->sector = code(f) == CMD_READ_TRACK ? 1 : f->command[P_SECTOR];
        f->last_sector = f->command[P_LAST];
        if (f->configure[0] & 0x40) /* implied seek */
            f->drives[f->unit].cylinder = f->cylinder;
    }
    step_later(f, STEP_NS);
}

/* A request in flight is let go of: its sector is the host's business now. */
void i82077_exec_reset(struct i82077 *f)
{
    timer_cancel(&f->timer);
    f->data_ready = false;
    if (f->dma)
        i8237_request(f->dma, f->dma_channel, false);
    if (f->io)
        f->io->orphan = true;
    f->io = NULL;
}
