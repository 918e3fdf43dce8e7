/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_VGA_H
#define ANELLO_DEVICES_VGA_H

#include "base/clock.h"
#include "base/log.h"
#include "bus/device.h"
#include "bus/physmem.h"
#include "bus/ports.h"
#include "ui/display.h"

struct vga;

/* What the adapter needs of the board. */
struct vga_config {
    struct physmem *physmem;
    struct io_bus *ports;
    struct clock *clock;
    struct log *log;
    u32 vram_bytes; /* 256 KiB..64 MiB, a power of two; 0 means 16 MiB */
};

/* A VGA with Bochs VBE registers at its legacy ports and A0000h-BFFFFh. Video memory comes from
 * physmem. NULL with errno set when there is no memory for it. */
struct vga *vga_create(const struct vga_config *config);
struct device vga_device(struct vga *vga);
struct display_source vga_display(struct vga *vga);

/* Video memory in the memfd: what a linear frame buffer maps. */
u64 vga_vram_offset(const struct vga *vga);
u32 vga_vram_bytes(const struct vga *vga);

/* The registers once more as memory (BAR 2 of the PCI function), opaque = struct vga. */
extern const struct mmio_ops vga_mmio_ops;
#define VGA_MMIO_BYTES 4096

/* What a CPU would read at A0000h + offset, without loading the latches: for monitors. */
u8 vga_peek(struct vga *vga, u32 offset);

#endif
