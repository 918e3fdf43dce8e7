/* SPDX-License-Identifier: MIT
 *
 * The I/O port space: 65,536 byte ports, routed to devices.
 */
#ifndef ANELLO_BUS_PORTS_H
#define ANELLO_BUS_PORTS_H

#include "base/bits.h"
#include "base/log.h"

struct port_ops {
    const char *name; /* the device, for traces */
    /* `offset` is relative to the start of the claim; `size` is 1, 2 or 4. */
    u32 (*read)(void *opaque, u16 offset, unsigned size);
    void (*write)(void *opaque, u16 offset, u32 value, unsigned size);
    /* Widest access that the callbacks take (1, 2 or 4; 0 means 1). A wider one is split into
     * accesses of that width at consecutive ports, low part first, as an ISA bridge does. */
    unsigned max_size;
};

struct io_bus;

struct io_bus *io_bus_create(struct log *log);
void io_bus_destroy(struct io_bus *bus);

/* Claims ports first..first+count-1. A later claim covers an earlier one; when it is released the
 * earlier one is visible again. Returns a handle for io_bus_release(). */
struct io_claim *io_bus_claim(struct io_bus *bus, u16 first, unsigned count,
                              const struct port_ops *ops, void *opaque);
void io_bus_release(struct io_bus *bus, struct io_claim *claim);

/* A CPU access of size 1, 2 or 4. Ports that nobody claims read as ones and swallow writes.
 * An access that runs past FFFFh wraps. Board lock held. */
u32 io_bus_read(struct io_bus *bus, u16 port, unsigned size);
void io_bus_write(struct io_bus *bus, u16 port, u32 value, unsigned size);

/* The name of the device at a port, or NULL. For the monitor and traces. */
const char *io_bus_owner(const struct io_bus *bus, u16 port);

#endif
