/* SPDX-License-Identifier: MIT
 *
 * The test device that kvm-unit-tests expect on a PC (QEMU's pc-testdev): a register of four bytes,
 * at E0h for accesses of any width and again at E8h byte by byte; a port that asks for a page's
 * host mapping to be dropped, which has no meaning to a machine without nested paging and is
 * accepted; ports that drive interrupt lines; a block of memory behind register accesses; and an
 * output port.
 */
#include "devices/pc_testdev.h"

#include <stdlib.h>

enum {
    OUTPUT_PORT = 0xf1,
    WORD_PORT = 0xe0,
    FLUSH_PORT = 0xe4,
    BYTE_PORT = 0xe8,
    IRQ_PORT = 0x2000,
    IOMEM_BYTES = 0x10000,
};
#define IOMEM_BASE 0xff000000u

struct pc_testdev {
    u32 word;
    u8 iomem[IOMEM_BYTES];

    struct irq_line lines[PC_TESTDEV_LINES];
    struct chardev *chr;
    struct io_bus *bus;
    struct physmem *pm;
    struct io_claim *claims[5];
    struct phys_region *region;
};

static u32 word_read(void *opaque, u16 offset, unsigned size)
{
    (void)size;
    return ((struct pc_testdev *)opaque)->word >> (offset * 8);
}

static void word_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct pc_testdev *t = opaque;
    u32 mask = (u32)mask64(size * 8) << (offset * 8);
    t->word = (t->word & ~mask) | (value << (offset * 8) & mask);
}

static void irq_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)size;
    irq_set(&((struct pc_testdev *)opaque)->lines[offset], value);
}

static void output_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    u8 byte = (u8)value;
    (void)offset;
    (void)size;
    chardev_write(((struct pc_testdev *)opaque)->chr, &byte, 1);
}

static void flush_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)value;
    (void)size;
}

// clang-format off
static const struct port_ops word_ops   = {.name = "pc-testdev", .read = word_read, .write = word_write, .max_size = 4};
static const struct port_ops byte_ops   = {.name = "pc-testdev", .read = word_read, .write = word_write};
static const struct port_ops flush_ops  = {.name = "pc-testdev", .write = flush_write, .max_size = 4};
static const struct port_ops irq_ops    = {.name = "pc-testdev", .write = irq_write};
static const struct port_ops output_ops = {.name = "pc-testdev", .write = output_write};
// clang-format on

static u64 iomem_read(void *opaque, u64 offset, unsigned size)
{
    return load_sized(((struct pc_testdev *)opaque)->iomem + offset, size);
}

static void iomem_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    store_sized(((struct pc_testdev *)opaque)->iomem + offset, value, size);
}

static const struct mmio_ops iomem_ops = {
    .name = "pc-testdev", .read = iomem_read, .write = iomem_write, .max_size = 8};

static void pc_testdev_reset(void *dev)
{
    struct pc_testdev *t = dev;
    t->word = 0;
    memset(t->iomem, 0, sizeof t->iomem);
}

static void pc_testdev_destroy(void *dev)
{
    struct pc_testdev *t = dev;
    for (size_t i = 0; i < ARRAY_LEN(t->claims); i++)
        io_bus_release(t->bus, t->claims[i]);
    physmem_unmap(t->pm, t->region);
    free(t);
}

static const struct state_field pc_testdev_state[] = {
    STATE_ROW(STATE_U32, pc_testdev, word, 1, 1),
    STATE_ROW(STATE_BYTES, pc_testdev, iomem, IOMEM_BYTES, 1),
    STATE_END,
};

static const struct device_ops pc_testdev_ops = {
    .name = "pc-testdev",
    .version = 1,
    .state = pc_testdev_state,
    .reset = pc_testdev_reset,
    .destroy = pc_testdev_destroy,
};

struct pc_testdev *pc_testdev_create(struct io_bus *bus, struct physmem *pm,
                                     const struct irq_line lines[PC_TESTDEV_LINES],
                                     struct chardev *chr)
{
    struct pc_testdev *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->bus = bus;
    t->pm = pm;
    t->chr = chr;
    memcpy(t->lines, lines, sizeof t->lines);
    t->claims[0] = io_bus_claim(bus, WORD_PORT, 4, &word_ops, t);
    t->claims[1] = io_bus_claim(bus, FLUSH_PORT, 4, &flush_ops, t);
    t->claims[2] = io_bus_claim(bus, BYTE_PORT, 4, &byte_ops, t);
    t->claims[3] = io_bus_claim(bus, IRQ_PORT, PC_TESTDEV_LINES, &irq_ops, t);
    t->claims[4] = io_bus_claim(bus, OUTPUT_PORT, 1, &output_ops, t);
    t->region = physmem_map_mmio(pm, IOMEM_BASE, IOMEM_BYTES, &iomem_ops, t, 1);
    return t;
}

struct device pc_testdev_device(struct pc_testdev *t)
{
    return (struct device){.ops = &pc_testdev_ops, .dev = t};
}
