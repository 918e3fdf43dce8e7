/* SPDX-License-Identifier: MIT
 *
 * Inside of the floppy controller, shared by i82077.c (registers and commands) and
 * i82077_exec.c (the execution phase: moving and formatting sectors).
 */
#ifndef ANELLO_DEVICES_I82077_STATE_H
#define ANELLO_DEVICES_I82077_STATE_H

#include "devices/i82077.h"

#define UNITS         4 /* that the chip can address */
#define COMMAND_BYTES 9 /* the longest command */
#define RESULT_BYTES  10
#define FORMAT_ID     4 /* bytes for each sector that is formatted */
#define SECTOR_CODE   2 /* N: 128 << 2 = 512 bytes */
#define UNIT_MASK     3
#define HEAD_SHIFT    2

enum phase { PHASE_COMMAND, PHASE_EXECUTION, PHASE_RESULT };

// clang-format off
enum st0 { ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80, ST0_POLLED = 0xc0, ST0_SEEK_END = 0x20,
           ST0_EQUIPMENT_CHECK = 0x10 };
enum st1 { ST1_END_OF_CYLINDER = 0x80, ST1_DATA_ERROR = 0x20, ST1_OVERRUN = 0x10, ST1_NO_DATA = 0x04,
           ST1_NOT_WRITABLE = 0x02, ST1_MISSING_MARK = 0x01 };
enum st2 { ST2_WRONG_CYLINDER = 0x10, ST2_CONTROL_MARK = 0x40 };
enum dor { DOR_UNIT = 0x03, DOR_NOT_RESET = 0x04, DOR_DMA_GATE = 0x08, DOR_MOTOR_SHIFT = 4 };

/* Command codes, without the MT, MFM and SK bits (82077AA data sheet, table 5-1). */
enum command { CMD_READ_TRACK = 0x02, CMD_SPECIFY = 0x03, CMD_SENSE_DRIVE = 0x04, CMD_WRITE = 0x05,
               CMD_READ = 0x06, CMD_RECALIBRATE = 0x07, CMD_SENSE_INTERRUPT = 0x08,
               CMD_WRITE_DELETED = 0x09, CMD_READ_ID = 0x0a, CMD_READ_DELETED = 0x0c,
               CMD_FORMAT = 0x0d, CMD_DUMPREG = 0x0e, CMD_SEEK = 0x0f, CMD_VERSION = 0x10,
               CMD_PERPENDICULAR = 0x12, CMD_CONFIGURE = 0x13, CMD_LOCK = 0x14, CMD_VERIFY = 0x16 };
// clang-format on
#define COMMAND_CODE 0x1f
#define COMMAND_MT   0x80

struct media {
    u32 kib;
    u8 cylinders, heads, sectors;
    u8 rate; /* code of the data rate register */
    u8 cmos; /* type of the drive that takes it */
};

struct floppy {
    struct block *block;       /* NULL: no drive */
    const struct media *media; /* NULL: none, or of a size that no drive knows */
    u8 cylinder;               /* under the head */
    bool changed;
};

/* A request to the host and its sector. It outlives a reset of the chip: then its result is
 * dropped, and `orphan` says so. */
struct transfer {
    struct block_request request;
    struct i82077 *owner;
    bool orphan;
    u8 data[SECTOR_BYTES];
};

struct i82077 {
    struct io_bus *bus;
    struct io_claim *low, *high;
    struct irq_line irq_line;
    struct i8237 *dma;
    unsigned dma_channel;
    struct clock *clock;
    struct log *log;
    struct floppy drives[UNITS];
    u8 dor, tdr, rate;
    u8 phase; /* enum phase */
    bool irq;
    u8 command[COMMAND_BYTES], command_count;
    u8 result[RESULT_BYTES], result_at, result_count;
    u8 pending[UNITS]; /* ST0 of seek ends and polls not yet sensed; 0 none */
    u8 specify[2], configure[2], perpendicular;
    bool locked;
    u8 reset_polls; /* sense-interrupt answers that a reset left */
    /* The execution phase. */
    u8 unit, head, cylinder, sector, last_sector;
    u8 st1, st2;
    u8 seeking; /* units on their way: a bit each */
    bool terminal_count;
    bool data_ready; /* the buffer holds data for the host side, or wants some from it */
    u16 data_at, data_bytes;
    u8 buffer[SECTOR_BYTES];
    u8 stalls;               /* times that DMA did not take data in a row */
    struct timer timer;      /* the next step of the execution phase */
    struct timer seek_timer; /* the end of seeks */
    struct transfer *io;     /* in flight, or NULL */
};

/* i82077.c */
void i82077_result(struct i82077 *f, const u8 *bytes, unsigned n);
void i82077_interrupt(struct i82077 *f);
/* Whether the chip finds a readable medium in the unit at the selected data rate. */
bool i82077_ready(const struct i82077 *f, unsigned unit);

/* i82077_exec.c */
void i82077_exec_begin(struct i82077 *f);
void i82077_exec_reset(struct i82077 *f);
void i82077_exec_timer(void *opaque);
/* The data register in the execution phase, without DMA. */
u8 i82077_exec_read(struct i82077 *f);
void i82077_exec_write(struct i82077 *f, u8 value);
bool i82077_exec_wants_write(const struct i82077 *f);

#endif
