/* SPDX-License-Identifier: MIT
 *
 * What the host bridges of this family have in common: function 0:0.0 of the bus, whose PAM and
 * SMRAM registers govern the memory map, and whose other registers are storage. A chip adds where
 * its registers lie, and what more of them act.
 */
#ifndef ANELLO_DEVICES_HOST_BRIDGE_H
#define ANELLO_DEVICES_HOST_BRIDGE_H

#include "devices/host_memory.h"
#include "devices/pci.h"

#define HOST_BRIDGE_CLASS 0x060000

/* A byte's value after reset and its writable bits. */
struct host_register {
    u8 reg, value, writable;
};

struct host_bridge_chip {
    struct pci_info pci;
    u8 pam, smram; /* where PAM0 and SMRAM lie */
    /* The device's own range; what is not listed reads as zero. */
    const struct host_register *registers;
    size_t register_count;
};

struct host_bridge {
    struct pci_device pci;
    struct host_memory memory;
    const struct host_bridge_chip *chip;
};

/* Before the first reset. `opaque` is for chip->pci's callbacks. False when there is not enough
 * memory. The struct must stay where it is. */
bool host_bridge_init(struct host_bridge *h, const struct host_bridge_chip *chip,
                      struct pci_bus *bus, const struct host_memory_config *config, void *opaque);
void host_bridge_fini(struct host_bridge *h);
void host_bridge_reset(struct host_bridge *h);
void host_bridge_loaded(struct host_bridge *h);
/* After a write to PAM or SMRAM: maps what they say. */
void host_bridge_update(struct host_bridge *h);

#endif
