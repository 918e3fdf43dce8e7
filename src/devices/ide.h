/* SPDX-License-Identifier: MIT
 *
 * Inside of the IDE controller: a channel with its two drives, shared by
 *
 *   ide_bus.c   the registers that both drives watch, interrupts, resets, requests to the host
 *   ata.c       the command set of disks (ATA/ATAPI-6)
 *   atapi.c     the packet interface of CD drives (ATA/ATAPI-6, MMC-3)
 *   piix_ide.c  the PCI function and its bus-master engine
 *
 * A command lives in the phase of its drive:
 *
 *      IDLE --command--> BUSY --data ready--> PIO_IN --last byte read--> BUSY or IDLE
 *        |                 ^
 *        |                 +--block complete-- PIO_OUT   (PACKET: the twelve bytes of a packet)
 *        +--command--> DMA_IN, DMA_OUT: data moves whenever the bus-master engine is started
 *
 * The host's disk is asynchronous: `io` is the request in flight. It owns its buffer, so that a
 * reset can leave it behind.
 */
#ifndef ANELLO_DEVICES_IDE_H
#define ANELLO_DEVICES_IDE_H

#include "base/log.h"
#include "bus/irq.h"
#include "storage/block.h"

#define IDE_BUFFER_BYTES KIB(64) /* of a drive; PIO data pass through it */
#define IDE_CHUNK_BYTES  MIB(1)  /* most that one request of a DMA command moves */
#define IDE_SERIAL_CHARS 20
#define CD_SECTOR_BYTES  2048
#define IDE_MULTIPLE_MAX 16 /* sectors a block of READ/WRITE MULTIPLE */
#define ATAPI_PACKET_LEN 12

/* What the log of the last queued command that failed begins with (SATA 2.6, 13.7.2). */
#define IDE_QUEUE_ERROR_BYTES 14
#define IDE_QUEUE_DEPTH       32

/* Command block registers, by offset; what a read and a write of 1 and 7 mean differs. */
enum ide_register {
    IDE_DATA = 0,
    IDE_FEATURES = 1, /* read: error */
    IDE_COUNT = 2,    /* packet drives: interrupt reason */
    IDE_LBA_LOW = 3,
    IDE_LBA_MID = 4, /* packet drives: byte count */
    IDE_LBA_HIGH = 5,
    IDE_DEVICE = 6,
    IDE_COMMAND = 7, /* read: status */
    IDE_REGISTERS = 8,
};

enum ide_status_bits {
    STATUS_ERR = 1 << 0,
    STATUS_DRQ = 1 << 3,
    STATUS_DSC = 1 << 4, /* seek complete */
    STATUS_DF = 1 << 5,
    STATUS_DRDY = 1 << 6,
    STATUS_BSY = 1 << 7,
};

enum ide_error_bits {
    ERROR_ABRT = 1 << 2,
    ERROR_IDNF = 1 << 4,
    ERROR_UNC = 1 << 6,
};

#define DIAGNOSTIC_PASSED 0x01

enum ide_device_bits { DEVICE_HEAD = 0x0f, DEVICE_UNIT_1 = 1 << 4, DEVICE_LBA = 1 << 6 };

enum ide_control_bits { CONTROL_NIEN = 1 << 1, CONTROL_SRST = 1 << 2, CONTROL_HOB = 1 << 7 };

/* Interrupt reason of packet drives. */
enum ide_reason_bits { REASON_COMMAND = 1 << 0, REASON_TO_HOST = 1 << 1 };

enum ide_kind { IDE_ABSENT, IDE_DISK, IDE_CDROM };

enum ide_phase {
    IDE_IDLE,
    IDE_BUSY, /* waits for the host's disk */
    IDE_PIO_IN,
    IDE_PIO_OUT,
    IDE_PACKET,
    IDE_DMA_IN, /* towards memory */
    IDE_DMA_OUT,
};

struct ide_drive;
struct ide_channel;

/* A request to the block layer. */
struct ide_io {
    struct block_request request;
    struct ide_drive *drive; /* NULL: nobody waits any more */
    void (*then)(struct ide_drive *d, struct ide_io *io);
    bool fua;          /* WRITE: stable when complete */
    u64 offset, total; /* what was asked for */
    u64 done;          /* good bytes from its start; less than total when error is set */
    int error;
    u64 capacity;
    u8 data[];
};

/* The state of a CD drive beyond that of any drive. */
struct ide_cd {
    u8 packet[ATAPI_PACKET_LEN];
    bool dma;  /* this command's data go by DMA */
    u32 limit; /* most bytes of a PIO burst */
    u8 sense_key, asc, ascq;
    bool attention; /* the next command reports a unit attention: */
    u8 attention_asc;
    bool tray_open, locked;
    u8 media_event; /* for GET EVENT STATUS NOTIFICATION, reported once */
    u8 recovery[6]; /* parameters of mode page 01h that the host can change */
    u8 audio[2];    /* volumes in mode page 0Eh */
};

struct ide_drive {
    struct ide_channel *channel;
    u8 unit;
    u8 kind; /* enum ide_kind */
    struct block *block;
    struct ide_io *io;    /* in flight */
    struct ide_io *spare; /* for the next one */
    char serial[IDE_SERIAL_CHARS + 1];
    bool sata; /* behind a serial link, with a queue of commands (ahci_ncq.c) */

    /* Everything below is what a snapshot holds. */
    u8 regs[IDE_REGISTERS];     /* as last written */
    u8 previous[IDE_REGISTERS]; /* as written before that: the high halves of 48-bit addresses */
    u8 status, error;
    bool irq; /* the drive asks for an interrupt */
    u8 phase; /* enum ide_phase */
    u8 command;

    u32 data_at, data_end; /* what is left of the current PIO block, in buffer */
    u32 data_filled;       /* end of the data that are ready in buffer */

    u64 lba;     /* next sector to ask the host for */
    u32 sectors; /* how many are still to be asked for */

    u16 heads, track_sectors; /* the geometry that CHS addresses use */
    u8 multiple;              /* sectors a block of READ/WRITE MULTIPLE; 0: not set */
    u8 transfer_mode;         /* as SET FEATURES gave it */
    bool write_cache, read_ahead, smart;
    u8 power; /* as CHECK POWER MODE reports it */
    u8 queue_error[IDE_QUEUE_ERROR_BYTES];
    struct ide_cd cd;
    u8 buffer[IDE_BUFFER_BYTES];
};

/* The bus-master engine of a channel, as its drives see it. */
struct ide_dma_ops {
    /* Moves n bytes between data and the memory that the descriptors name. Less than n when they
     * end before, or when the engine is not started. */
    u32 (*transfer)(void *opaque, u8 *data, u32 n, bool to_memory);
    bool (*started)(void *opaque);
    /* The interrupt line of the channel rose. */
    void (*interrupted)(void *opaque);
};

struct ide_channel {
    struct ide_drive drives[2];
    u8 control; /* device control register */
    u8 unit;    /* selected drive */
    bool line;  /* level of INTRQ */
    struct irq_line irq;
    const struct ide_dma_ops *dma;
    void *dma_opaque;
    struct clock *clock;
    struct log *log;
};

/* ---- ide_bus.c ---- */

/* `ch` is zeroed. */
void ide_channel_init(struct ide_channel *ch, struct irq_line irq, const struct ide_dma_ops *dma,
                      void *dma_opaque, struct clock *clock, struct log *log);
void ide_channel_attach(struct ide_channel *ch, unsigned unit, enum ide_kind kind,
                        struct block *block, const char *serial);
void ide_channel_fini(struct ide_channel *ch);
/* Power-on or the bus's RESET- line. */
void ide_channel_reset(struct ide_channel *ch);
/* Bounds what a snapshot brought. */
void ide_channel_loaded(struct ide_channel *ch);
/* The bus-master engine was started. */
void ide_channel_dma_started(struct ide_channel *ch);

/* Ports of the command block (0..7) and the control port. */
u32 ide_channel_read(struct ide_channel *ch, u16 reg, unsigned size);
void ide_channel_write(struct ide_channel *ch, u16 reg, u32 value, unsigned size);
u8 ide_channel_read_alternate(const struct ide_channel *ch);
void ide_channel_write_control(struct ide_channel *ch, u8 value);

/* The way of a serial link: a whole task file at once for drive 0, whose PIO data then move a block
 * at a time. ide_pio_block() gives the block at hand, ide_pio_moved() is told that it was moved. */
void ide_channel_command(struct ide_channel *ch, const u8 regs[IDE_REGISTERS],
                         const u8 previous[IDE_REGISTERS]);
u8 *ide_pio_block(struct ide_drive *d, u32 *bytes);
void ide_pio_moved(struct ide_drive *d);
/* Lets go of the command that the drive works on, without an end. */
void ide_abandon(struct ide_drive *d);

/* For the command sets: */
void ide_raise(struct ide_drive *d);
/* Ends a command: status, error, no data left, and an interrupt. */
void ide_end(struct ide_drive *d, u8 status, u8 error);
/* Offers (or asks for) buffer[at..end) by PIO. */
void ide_pio(struct ide_drive *d, enum ide_phase phase, u32 at, u32 end);
/* The task file after a reset, by which hosts tell disks from packet drives. */
void ide_set_signature(struct ide_drive *d);
/* A request with room for `bytes`; NULL when the host has no memory. */
struct ide_io *ide_io_get(struct ide_drive *d, u64 bytes);
/* Hands it back unused. */
void ide_io_put(struct ide_drive *d, struct ide_io *io);
/* Sends it; `then` is called when it is complete, unless the drive was reset meanwhile. When the
 * host reports an error for many sectors they are tried one by one, so that io->done tells the bad
 * one. Must be the caller's last act: the request may be complete when this returns. */
void ide_io_submit(struct ide_drive *d, struct ide_io *io, enum block_op op, u64 offset, u64 bytes,
                   void (*then)(struct ide_drive *d, struct ide_io *io));
bool ide_dma_started(const struct ide_drive *d);
u32 ide_dma_transfer(struct ide_drive *d, u8 *data, u32 n, bool to_memory);
/* SET FEATURES, subcommand "set transfer mode"; false: not a mode. */
bool ide_set_transfer_mode(struct ide_drive *d, u8 mode);
enum ide_mode_family {
    MODE_PIO = 0x00,
    MODE_PIO_FLOW = 0x08,
    MODE_MULTIWORD = 0x20,
    MODE_ULTRA = 0x40
};
#define IDE_MULTIWORD_MODES 0x07 /* 0 to 2 */
#define IDE_ULTRA_MODES     0x3f /* 0 to 5 */
/* The word of IDENTIFY data about a family of modes: those supported, and the selected one. */
u16 ide_mode_word(const struct ide_drive *d, u8 supported, enum ide_mode_family family);
/* A string of IDENTIFY data: two characters a word, the first one in its high byte. */
void ide_put_string(u8 *words, const char *text, unsigned chars);

/* ---- ata.c ---- */

void ata_reset(struct ide_drive *d);
void ata_command(struct ide_drive *d);
/* The PIO block was transferred; the engine was started. */
void ata_pio_done(struct ide_drive *d);
void ata_dma_run(struct ide_drive *d);
u64 ata_sectors(const struct ide_drive *d);
u32 ata_lba28_sectors(const struct ide_drive *d);
/* At least 1, and at most what a CHS address can name. */
u32 ata_cylinders(const struct ide_drive *d, u32 heads, u32 track_sectors);

/* ---- ata_identify.c ---- */

/* The default geometry of any disk. */
#define ATA_HEADS         16
#define ATA_TRACK_SECTORS 63

void ata_identify_data(const struct ide_drive *d, u8 *to);

/* The sector that READ LOG EXT asks for; false: there is no such log. */
bool ata_log(const struct ide_drive *d, u8 *to);

enum ata_smart_result { ATA_SMART_ABORT, ATA_SMART_DONE, ATA_SMART_DATA };

/* SMART by the task file's subcommand; where it answers with a sector, that is in `to`. */
enum ata_smart_result ata_smart(struct ide_drive *d, u8 *to);

/* ---- atapi.c ---- */

void atapi_reset(struct ide_drive *d);
void atapi_command(struct ide_drive *d);
void atapi_pio_done(struct ide_drive *d);
void atapi_dma_run(struct ide_drive *d);
void atapi_medium_changed(struct ide_drive *d);
bool atapi_eject(struct ide_drive *d, bool force);

#endif
