/* SPDX-License-Identifier: MIT
 *
 * Inside of the AHCI controller, shared by
 *
 *   ahci.c       the PCI function, the registers of the controller, interrupts
 *   ahci_port.c  the registers of a port, its command list, frames (FIS) to and from the drive
 *   ahci_ncq.c   queued commands
 *
 * A port has an IDE channel of its own with one drive (ide.h), whose command sets are those of the
 * parallel controller. A command's way:
 *
 *      CI bit --fetch: header, table, task file--> drive --data by the PRD table--> drive idle
 *      --> D2H register frame (or the last PIO setup frame), CI bit clear, interrupt
 *
 * Queued commands (NCQ) never reach the drive's registers: each is a request to the block layer of
 * its own, up to 32 at a time.
 *
 * A port that met an error is `halted`: it takes no command until the driver has cleared PxCMD.ST.
 */
#ifndef ANELLO_DEVICES_AHCI_INTERNAL_H
#define ANELLO_DEVICES_AHCI_INTERNAL_H

#include "devices/ahci.h"
#include "devices/ide.h"

#define AHCI_SLOTS IDE_QUEUE_DEPTH

/* PxIS and PxIE */
enum ahci_port_interrupt {
    PORT_IS_DHRS = 1 << 0,  /* D2H register frame */
    PORT_IS_PSS = 1 << 1,   /* PIO setup frame */
    PORT_IS_SDBS = 1 << 3,  /* set device bits frame */
    PORT_IS_DPS = 1 << 5,   /* a descriptor that asked for it was used up */
    PORT_IS_PCS = 1 << 6,   /* PxSERR.DIAG.X */
    PORT_IS_PRCS = 1 << 22, /* PxSERR.DIAG.N */
    PORT_IS_OFS = 1 << 24,  /* more data than descriptors */
    PORT_IS_IFS = 1 << 27,  /* interface fatal */
    PORT_IS_HBFS = 1 << 29, /* host bus fatal */
    PORT_IS_TFES = 1 << 30, /* task file error */
};

/* Where the PRD table of a command is read. */
struct ahci_prd {
    u64 table;
    u32 entries, next;
    u64 address; /* the current entry's rest */
    u32 left;
    bool interrupt;
};

/* A queued command. */
struct ahci_ncq {
    struct block_request request;
    struct ahci_port *port; /* NULL: nobody waits any more */
    struct ahci_prd prd;
    u8 tag;
    bool write, fua;
    u64 lba;
    u32 sectors; /* still to be moved */
    u8 data[];
};

struct ahci_port {
    struct ahci *ahci;
    u8 number;
    struct ide_channel channel; /* its first drive */

    /* The registers. */
    u64 command_list, received; /* PxCLB, PxFB */
    u32 is, ie, cmd, tfd, sig, sctl, serr, sact, ci;

    bool halted;
    bool resetting; /* between the two frames of a software reset */
    bool
        signature_pending; /* the frame with which a drive reports after a reset was not received */
    u8 next_slot;

    /* The command that the drive works on. */
    i8 slot; /* -1: none */
    u64 header;
    struct ahci_prd prd;
    u32 moved;   /* bytes */
    bool short_; /* the descriptors ended before the data */
    bool pio_in; /* its last block went to memory by PIO: no D2H frame follows */
    bool first_block;
    bool pumping, again;

    struct ahci_ncq *queue[AHCI_SLOTS];
};

struct ahci {
    struct pci_device pci;
    struct log *log;
    struct ahci_port ports[AHCI_PORTS];
    u32 ghc, is;
    bool line;
};

/* ---- ahci.c ---- */

/* Interrupts after a port's status has changed. */
void ahci_update(struct ahci *a);

/* ---- ahci_port.c ---- */

void ahci_port_init(struct ahci *a, unsigned number, struct clock *clock);
void ahci_port_fini(struct ahci_port *p);
void ahci_port_reset(struct ahci_port *p, bool power_on);
void ahci_port_loaded(struct ahci_port *p);
u32 ahci_port_read(const struct ahci_port *p, u32 reg);
void ahci_port_write(struct ahci_port *p, u32 reg, u32 value);
/* PxIS as read. */
u32 ahci_port_status(const struct ahci_port *p);

static inline struct ide_drive *ahci_drive(struct ahci_port *p)
{
    return &p->channel.drives[0];
}

/* Moves up to n bytes along the descriptors; returns how many. */
u32 ahci_prd_move(struct ahci_port *p, struct ahci_prd *prd, u8 *data, u32 n, bool to_memory);
/* Passes over the next descriptor; returns its bytes. */
u32 ahci_prd_skip(struct ahci_port *p, struct ahci_prd *prd);
/* Goes on with what there is to do: commands, blocks of data, ends. */
void ahci_port_pump(struct ahci_port *p);
/* Writes a received frame to memory at offset `at` of the receive area. */
void ahci_receive(struct ahci_port *p, u32 at, const u8 *fis, u32 bytes);

/* ---- ahci_ncq.c ---- */

#define ATA_READ_QUEUED  0x60
#define ATA_WRITE_QUEUED 0x61

/* Starts the queued command of this frame and slot. */
void ahci_ncq_start(struct ahci_port *p, unsigned slot, const u8 *fis, const struct ahci_prd *prd);
bool ahci_ncq_busy(const struct ahci_port *p);
/* Lets go of all queued commands; returns whether there were any. */
bool ahci_ncq_forget(struct ahci_port *p);
/* And waits for what the host works on. */
void ahci_ncq_abandon(struct ahci_port *p);

#endif
