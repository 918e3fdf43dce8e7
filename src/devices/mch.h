/* SPDX-License-Identifier: MIT
 *
 * The host bridge of the Intel Q35 (82G33/Q35 MCH, 8086:29c0): function 0:0.0, the memory map, and
 * the window through which the configuration space is reached as memory (PCIEXBAR).
 */
#ifndef ANELLO_DEVICES_MCH_H
#define ANELLO_DEVICES_MCH_H

#include "devices/host_memory.h"
#include "devices/pci.h"

struct mch;

/* Where firmware puts the configuration window, and PCI memory behind it; RAM ends below. */
#define MCH_ECAM_BASE   0xb0000000u
#define MCH_ECAM_BYTES  MIB(256)
#define MCH_PCI_MEMORY  (MCH_ECAM_BASE + MCH_ECAM_BYTES)
#define MCH_LOW_RAM_MAX MCH_ECAM_BASE

/* NULL when there is not enough memory. */
struct mch *mch_create(struct pci_bus *bus, const struct host_memory_config *config);
struct device mch_device(struct mch *mch);

const struct host_memory *mch_memory(const struct mch *mch);

#endif
