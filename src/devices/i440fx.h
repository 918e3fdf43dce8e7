/* SPDX-License-Identifier: MIT
 *
 * The Intel 82441FX host bridge: function 0:0.0, and the machine's memory map, which its
 * registers govern.
 *
 *   0 - 9FFFFh           RAM
 *   A0000h - BFFFFh      the bus (VGA); RAM while SMRAM.D_OPEN is set
 *   C0000h - FFFFFh      by PAM, in 13 segments: the bus (the firmware ROM's last 128 KiB), RAM
 *                        read-only, RAM write-only over the bus, or RAM
 *   100000h - top        RAM, up to 3 GiB
 *   ... - FFFFFFFFh      the bus; the firmware ROM ends at 4 GiB
 *   100000000h -         RAM that did not fit below
 */
#ifndef ANELLO_DEVICES_I440FX_H
#define ANELLO_DEVICES_I440FX_H

#include "devices/pci.h"

struct i440fx;

/* Most RAM below 4 GiB; the rest goes above. */
#define I440FX_LOW_RAM_MAX GIB(3)

struct i440fx_config {
    struct pci_bus *bus;
    struct physmem *physmem;
    struct log *log;
    u64 ram_bytes;  /* a multiple of 4 KiB, at least 1 MiB; allocated by this device */
    u64 rom_offset; /* the firmware image in the memfd */
    u64 rom_bytes;  /* 64 KiB .. 16 MiB, a multiple of 4 KiB; 0: no firmware */
};

/* NULL when there is not enough memory. */
struct i440fx *i440fx_create(const struct i440fx_config *config);
struct device i440fx_device(struct i440fx *host);

u64 i440fx_ram_offset(const struct i440fx *host); /* of address 0, in the memfd */
u64 i440fx_low_ram(const struct i440fx *host);    /* bytes below 4 GiB */
u64 i440fx_high_ram(const struct i440fx *host);   /* bytes above 4 GiB */

#endif
