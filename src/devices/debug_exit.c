/* SPDX-License-Identifier: MIT
 *
 * isa-debug-exit: how a bare-metal test tells its verdict to whoever started the machine. Reads
 * give 0.
 */
#include "devices/debug_exit.h"

#include <stdlib.h>

struct debug_exit {
    void (*leave)(void *opaque, u32 status);
    void *opaque;
    struct port_ops ports; /* as wide as the device was asked to be */
    struct io_bus *bus;
    struct io_claim *claim;
};

static u32 debug_exit_read(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return 0;
}

static void debug_exit_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct debug_exit *d = opaque;
    (void)offset;
    (void)size;
    d->leave(d->opaque, value << 1 | 1);
}

static void debug_exit_reset(void *dev)
{
    (void)dev;
}

static void debug_exit_destroy(void *dev)
{
    struct debug_exit *d = dev;
    io_bus_release(d->bus, d->claim);
    free(d);
}

static const struct device_ops debug_exit_ops = {
    .name = "debug_exit", .version = 1, .reset = debug_exit_reset, .destroy = debug_exit_destroy};

struct debug_exit *debug_exit_create(struct io_bus *bus, u16 iobase, unsigned iosize,
                                     void (*leave)(void *opaque, u32 status), void *opaque)
{
    struct debug_exit *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->bus = bus;
    d->leave = leave;
    d->opaque = opaque;
    d->ports = (struct port_ops){
        .name = "debug_exit",
        .read = debug_exit_read,
        .write = debug_exit_write,
        .max_size = iosize,
    };
    d->claim = io_bus_claim(bus, iobase, iosize, &d->ports, d);
    return d;
}

struct device debug_exit_device(struct debug_exit *d)
{
    return (struct device){.ops = &debug_exit_ops, .dev = d};
}
