/* SPDX-License-Identifier: MIT
 *
 * What pci.c (the bus) and pci_device.c (a function on it) share; nobody else includes it.
 */
#ifndef ANELLO_DEVICES_PCI_INTERNAL_H
#define ANELLO_DEVICES_PCI_INTERNAL_H

#include "devices/pci.h"

struct pci_bus {
    struct io_bus *ports;
    struct physmem *physmem;
    struct log *log;
    u32 address; /* CONFADD: what the next access to CFCh..CFFh means */
    struct io_claim *address_claim, *data_claim;
    struct pci_device *functions[256];     /* by devfn */
    unsigned pirq_drivers[PCI_PIRQ_COUNT]; /* how many functions assert the line */
    void (*route)(void *opaque, unsigned pirq, bool level);
    void *route_opaque;
    unsigned (*wiring)(void *opaque, u8 devfn, unsigned pin);
    void *wiring_opaque;
    void (*msi)(void *opaque, u64 address, u32 data);
    void *msi_opaque;
};

/* A function's pin changed its level on the bus. */
void pci_bus_drive_pin(struct pci_bus *bus, struct pci_device *d, bool level);
/* A configuration access that reached the function; reg + size <= 256. */
u32 pci_device_read(const struct pci_device *d, u8 reg, unsigned size);
void pci_device_write(struct pci_device *d, u8 reg, u32 value, unsigned size);
/* pci_msix.c: after the function's configuration changed, and at its reset. */
void pci_msix_update(struct pci_device *d);
void pci_msix_reset(struct pci_device *d);

#endif
