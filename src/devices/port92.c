/* SPDX-License-Identifier: MIT
 *
 * System control port A of the PS/2, port 92h: a second way to A20 and to reset, faster than the
 * keyboard controller. The other bits (password lock, watchdog, disk light) are storage.
 */
#include "devices/port92.h"

#include <stdlib.h>

enum { PORT92 = 0x92, FAST_RESET = 1 << 0, FAST_A20 = 1 << 1 };

struct port92 {
    u8 value;

    struct irq_line a20, reset;
    struct io_bus *bus;
    struct io_claim *claim;
};

static u32 port92_read(void *opaque, u16 offset, unsigned size)
{
    struct port92 *p = opaque;
    (void)offset;
    (void)size;
    return p->value;
}

/* A20 is driven by every write, changed or not: the last writer of 92h and the 8042 wins. */
static void port92_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct port92 *p = opaque;
    (void)offset;
    (void)size;
    bool reset_rises = value & ~p->value & FAST_RESET;
    p->value = (u8)value;
    irq_set(&p->a20, value & FAST_A20);
    if (reset_rises)
        irq_pulse(&p->reset);
}

static void port92_reset(void *dev)
{
    struct port92 *p = dev;
    p->value = 0;
}

static void port92_destroy(void *dev)
{
    struct port92 *p = dev;
    io_bus_release(p->bus, p->claim);
    free(p);
}

static const struct state_field port92_state[] = {
    STATE_ROW(STATE_U8, port92, value, 1, 1),
    STATE_END,
};

static const struct device_ops port92_ops = {
    .name = "port92",
    .version = 1,
    .state = port92_state,
    .reset = port92_reset,
    .destroy = port92_destroy,
};

static const struct port_ops ports = {.name = "port92", .read = port92_read, .write = port92_write};

struct port92 *port92_create(struct io_bus *bus, struct irq_line a20, struct irq_line reset)
{
    struct port92 *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->bus = bus;
    p->a20 = a20;
    p->reset = reset;
    p->claim = io_bus_claim(bus, PORT92, 1, &ports, p);
    return p;
}

struct device port92_device(struct port92 *p)
{
    return (struct device){.ops = &port92_ops, .dev = p};
}
