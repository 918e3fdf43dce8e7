/* SPDX-License-Identifier: MIT
 *
 * The memory map that a host bridge governs by its PAM and SMRAM registers; the bridges of this
 * family differ in where those registers lie and in how much RAM goes below 4 GiB.
 *
 *   0 - 9FFFFh           RAM
 *   A0000h - BFFFFh      the bus (VGA); RAM while SMRAM.D_OPEN is set
 *   C0000h - FFFFFh      by PAM, in 13 segments: the bus (the firmware ROM's last 128 KiB), RAM
 *                        read-only, RAM write-only over the bus, or RAM
 *   100000h - top        RAM, as much as goes below 4 GiB
 *   ... - FFFFFFFFh      the bus; the firmware ROM ends at 4 GiB
 *   100000000h -         RAM that did not fit below
 *
 * There is no System Management Mode, so SMRAM opens A0000h-BFFFFh with D_OPEN only, which is also
 * what firmware uses to fill it.
 */
#ifndef ANELLO_DEVICES_HOST_MEMORY_H
#define ANELLO_DEVICES_HOST_MEMORY_H

#include "bus/physmem.h"

#define HOST_PAM_BYTES    7 /* PAM0 to PAM6; F0000h is in the high nibble of the first */
#define HOST_PAM_SEGMENTS 13

/* The SMRAM register. */
enum host_smram {
    HOST_SMRAM_BASE_SEG = 0x02, /* hard-wired: A0000h */
    HOST_SMRAM_ENABLE = 1 << 3,
    HOST_SMRAM_LOCK = 1 << 4,
    HOST_SMRAM_CLOSED = 1 << 5,
    HOST_SMRAM_OPEN = 1 << 6,
    HOST_SMRAM_WRITABLE = HOST_SMRAM_ENABLE | HOST_SMRAM_LOCK | HOST_SMRAM_CLOSED | HOST_SMRAM_OPEN,
};

struct host_memory_config {
    struct physmem *physmem;
    u64 ram_bytes;   /* a multiple of 4 KiB, at least 1 MiB; allocated here */
    u64 low_ram_max; /* most of it below 4 GiB */
    u64 rom_offset;  /* the firmware image in the memfd */
    u64 rom_bytes;   /* 64 KiB .. 16 MiB, a multiple of 4 KiB; 0: no firmware */
};

struct host_memory;

/* A PAM segment: what is mapped, and what its write-only mode needs. */
struct host_shadow {
    struct host_memory *memory;
    unsigned segment;
    u8 mode; /* the PAM bits as mapped now */
    struct phys_region *region;
};

struct host_memory {
    struct physmem *physmem;
    u64 ram_offset; /* of address 0, in the memfd */
    u64 low_ram, high_ram;
    u64 rom_offset, rom_bytes;
    struct phys_region *fixed[6]; /* RAM and ROM that never move */
    struct phys_region *smram;
    struct host_shadow shadows[HOST_PAM_SEGMENTS];
};

/* False when there is not enough memory. The struct must stay where it is. */
bool host_memory_init(struct host_memory *h, const struct host_memory_config *config);
void host_memory_fini(struct host_memory *h);
/* Maps what the registers say. */
void host_memory_update(struct host_memory *h, const u8 pam[HOST_PAM_BYTES], u8 smram);
/* After a write to SMRAM: D_LCK closes the space and freezes the register until reset. */
void host_memory_lock_smram(u8 *reg, u8 *writable);

#endif
