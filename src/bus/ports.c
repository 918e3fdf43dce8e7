/* SPDX-License-Identifier: MIT
 *
 * A table of 65,536 pointers to the visible claim of each port: one load on the hot path. Claims
 * are kept in order of arrival so that a released one uncovers what it hid.
 */
#include "bus/ports.h"

#include <stdlib.h>

#define PORT_COUNT 65536

struct io_claim {
    u16 first;
    u32 count;
    const struct port_ops *ops;
    void *opaque;
    struct io_claim *older;
};

struct io_bus {
    struct io_claim *map[PORT_COUNT];
    struct io_claim *newest;
    struct log *log;
};

struct io_bus *io_bus_create(struct log *log)
{
    struct io_bus *bus = calloc(1, sizeof *bus);
    if (bus)
        bus->log = log;
    return bus;
}

void io_bus_destroy(struct io_bus *bus)
{
    if (!bus)
        return;
    while (bus->newest) {
        struct io_claim *c = bus->newest;
        bus->newest = c->older;
        free(c);
    }
    free(bus);
}

static void paint(struct io_bus *bus, struct io_claim *c)
{
    for (u32 i = 0; i < c->count; i++)
        bus->map[c->first + i] = c;
}

struct io_claim *io_bus_claim(struct io_bus *bus, u16 first, unsigned count,
                              const struct port_ops *ops, void *opaque)
{
    struct io_claim *c = malloc(sizeof *c);
    if (!c)
        return NULL;
    if (count > PORT_COUNT - (unsigned)first)
        count = PORT_COUNT - (unsigned)first;
    *c = (struct io_claim){first, count, ops, opaque, bus->newest};
    bus->newest = c;
    paint(bus, c);
    return c;
}

/* Repaints the claims below `c`, oldest first. */
static void repaint_older(struct io_bus *bus, struct io_claim *c)
{
    if (!c)
        return;
    repaint_older(bus, c->older);
    paint(bus, c);
}

void io_bus_release(struct io_bus *bus, struct io_claim *claim)
{
    if (!claim)
        return;
    struct io_claim **at = &bus->newest;
    while (*at != claim)
        at = &(*at)->older;
    *at = claim->older;
    for (u32 i = 0; i < claim->count; i++)
        bus->map[claim->first + i] = NULL;
    repaint_older(bus, bus->newest);
    free(claim);
}

static u32 ones(unsigned size)
{
    return (u32)mask64(size * 8);
}

static unsigned claim_width(const struct io_claim *c)
{
    return c->ops->max_size ? c->ops->max_size : 1;
}

/* True when one callback can serve the whole access. */
static bool whole(const struct io_claim *c, u16 port, unsigned size)
{
    return size <= claim_width(c) && (u32)(port - c->first) + size <= c->count;
}

/* Out of the way of every access. */
static __attribute__((noinline, cold)) void trace(struct io_bus *bus, const struct io_claim *c,
                                                  u16 port, unsigned size, bool write, u32 value)
{
    const char *name = c ? c->ops->name : "none";
    if (log_device_on(bus->log, name))
        log_printf(bus->log, "%s: %s %04x/%u %s %x\n", name, write ? "out" : "in", port, size,
                   write ? "<-" : "->", value);
}

static inline u32 read_one(struct io_bus *bus, u16 port, unsigned size)
{
    struct io_claim *c = bus->map[port];
    u32 value = c && c->ops->read ? c->ops->read(c->opaque, (u16)(port - c->first), size) : ~0u;
    value &= ones(size);
    if (UNLIKELY(log_on(bus->log, LOG_DEV)))
        trace(bus, c, port, size, false, value);
    return value;
}

static inline void write_one(struct io_bus *bus, u16 port, u32 value, unsigned size)
{
    struct io_claim *c = bus->map[port];
    value &= ones(size);
    if (UNLIKELY(log_on(bus->log, LOG_DEV)))
        trace(bus, c, port, size, true, value);
    if (c && c->ops->write)
        c->ops->write(c->opaque, (u16)(port - c->first), value, size);
}

static u32 read_split(struct io_bus *bus, u16 port, unsigned size)
{
    unsigned half = size / 2;
    u32 low = io_bus_read(bus, port, half);
    return low | io_bus_read(bus, (u16)(port + half), half) << (half * 8);
}

static void write_split(struct io_bus *bus, u16 port, u32 value, unsigned size)
{
    unsigned half = size / 2;
    io_bus_write(bus, port, value & ones(half), half);
    io_bus_write(bus, (u16)(port + half), value >> (half * 8), half);
}

u32 io_bus_read(struct io_bus *bus, u16 port, unsigned size)
{
    struct io_claim *c = bus->map[port];
    return !c || size == 1 || whole(c, port, size) ? read_one(bus, port, size)
                                                   : read_split(bus, port, size);
}

void io_bus_write(struct io_bus *bus, u16 port, u32 value, unsigned size)
{
    struct io_claim *c = bus->map[port];
    if (!c || size == 1 || whole(c, port, size))
        write_one(bus, port, value, size);
    else
        write_split(bus, port, value, size);
}

const char *io_bus_owner(const struct io_bus *bus, u16 port)
{
    return bus->map[port] ? bus->map[port]->ops->name : NULL;
}
