/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_VGA_PCI_H
#define ANELLO_DEVICES_VGA_PCI_H

#include "devices/pci.h"
#include "devices/vga.h"

struct vga_pci;

/* The adapter as PCI function 1234:1111. `rom` is the video BIOS (rom_bytes up to 128 KiB; 0: no
 * ROM BAR), copied. NULL when devfn is taken or the memfd is full. The VGA itself stays a device of
 * its own and is destroyed after its function. */
struct vga_pci *vga_pci_create(struct pci_bus *bus, u8 devfn, struct vga *vga, const void *rom,
                               u32 rom_bytes);
struct device vga_pci_device(struct vga_pci *pci);

#endif
