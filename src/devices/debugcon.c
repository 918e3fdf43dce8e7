/* SPDX-License-Identifier: MIT
 *
 * The debug console of Bochs and QEMU: a port to which firmware writes its messages.
 */
#include "devices/debugcon.h"

#include <stdlib.h>

#define DEBUGCON_PRESENT 0xe9 /* what a read gives, whatever the port */

struct debugcon {
    struct chardev *chr;
    struct io_bus *bus;
    struct io_claim *claim;
};

static u32 debugcon_read(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return DEBUGCON_PRESENT;
}

static void debugcon_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct debugcon *d = opaque;
    u8 byte = (u8)value;
    (void)offset;
    (void)size;
    if (d->chr)
        chardev_write(d->chr, &byte, 1);
}

static void debugcon_reset(void *dev)
{
    (void)dev;
}

static void debugcon_destroy(void *dev)
{
    struct debugcon *d = dev;
    io_bus_release(d->bus, d->claim);
    free(d);
}

static const struct device_ops debugcon_ops = {
    .name = "debugcon", .version = 1, .reset = debugcon_reset, .destroy = debugcon_destroy};

static const struct port_ops ports = {
    .name = "debugcon", .read = debugcon_read, .write = debugcon_write};

struct debugcon *debugcon_create(struct io_bus *bus, u16 port, struct chardev *chr)
{
    struct debugcon *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->bus = bus;
    d->chr = chr;
    d->claim = io_bus_claim(bus, port, 1, &ports, d);
    return d;
}

struct device debugcon_device(struct debugcon *d)
{
    return (struct device){.ops = &debugcon_ops, .dev = d};
}
