/* SPDX-License-Identifier: MIT
 *
 * A serial ATA controller with the programming interface of AHCI 1.3.1, as the AHCI function of the
 * Intel ICH9 (8086:2922): six ports, each with a disk, a CD drive or nothing.
 */
#ifndef ANELLO_DEVICES_AHCI_H
#define ANELLO_DEVICES_AHCI_H

#include "base/clock.h"
#include "devices/pci.h"
#include "storage/block.h"

#define AHCI_PORTS 6

struct ahci;

struct ahci_config {
    struct pci_bus *bus;
    u8 devfn;
    struct clock *clock;
    struct log *log;
};

struct ahci *ahci_create(const struct ahci_config *config);
struct device ahci_device(struct ahci *ahci);

/* Fits a drive before the machine starts. The block device stays the caller's, who closes it after
 * the machine's last step. A CD drive may be empty. */
void ahci_attach_disk(struct ahci *ahci, unsigned port, struct block *block);
void ahci_attach_cdrom(struct ahci *ahci, unsigned port, struct block *block);

/* A person presses the eject button of a CD drive: the guest hears of it, and the tray opens unless
 * the guest has locked it. `force`: it opens all the same. */
bool ahci_eject(struct ahci *ahci, unsigned port, bool force);
/* The medium behind the block device of a CD drive was changed or taken out; closes the tray. */
void ahci_medium_changed(struct ahci *ahci, unsigned port);

/* True while a drive works on a command. */
bool ahci_busy(const struct ahci *ahci);

#endif
