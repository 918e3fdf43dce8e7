/* SPDX-License-Identifier: MIT
 *
 * The IDE function of the Intel 82371SB (PIIX3), 8086:7010: two channels at the legacy ports
 * (1F0h/3F6h with IRQ 14, 170h/376h with IRQ 15), two drives each, bus-master DMA at BAR 4.
 */
#ifndef ANELLO_DEVICES_PIIX_IDE_H
#define ANELLO_DEVICES_PIIX_IDE_H

#include "devices/pci.h"
#include "storage/block.h"

struct piix_ide;

struct piix_ide_config {
    struct pci_bus *bus;
    u8 devfn; /* 1.1 on a PC */
    struct io_bus *ports;
    struct clock *clock;
    struct log *log;
    struct irq_line irq[2]; /* ISA 14, 15 */
};

struct piix_ide *piix_ide_create(const struct piix_ide_config *config);
struct device piix_ide_device(struct piix_ide *ide);

/* Fits a drive before the machine starts. channel 0..1, unit 0 (master) or 1. The block device
 * stays the caller's, who closes it after the machine's last step. A CD drive may be empty. */
void piix_ide_attach_disk(struct piix_ide *ide, unsigned channel, unsigned unit,
                          struct block *block);
void piix_ide_attach_cdrom(struct piix_ide *ide, unsigned channel, unsigned unit,
                           struct block *block);

/* A person presses the eject button of a CD drive: the guest hears of it, and the tray opens
 * unless it is locked. True when it opened. */
bool piix_ide_eject(struct piix_ide *ide, unsigned channel, unsigned unit, bool force);
/* The medium of a CD drive was changed by block_change(). */
void piix_ide_medium_changed(struct piix_ide *ide, unsigned channel, unsigned unit);

/* True while a drive works on a command: for the board to know when it is quiet. */
bool piix_ide_busy(const struct piix_ide *ide);

#endif
