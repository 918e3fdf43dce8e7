/* SPDX-License-Identifier: MIT
 *
 * Coprocessor error logic of the AT, as in the PIIX3 (82371SB §4.1, "Coprocessor error register"):
 * a latch between the CPU's FERR# pin and IRQ 13. A write to port F0h clears it; with the real
 * chip it also drives IGNNE#, so that the handler's own x87 instructions run although the error
 * still stands. The CPU here does not stop at a pending error in this mode, so IGNNE# has no wire.
 */
#include "devices/ferr.h"

#include <stdlib.h>

#define CLEAR_PORT 0xf0

struct ferr {
    bool latched;
    struct irq_line irq13;
    struct io_bus *bus;
    struct io_claim *claim;
};

static void set(struct ferr *f, bool latched)
{
    f->latched = latched;
    irq_set(&f->irq13, latched);
}

void ferr_assert(struct ferr *f)
{
    set(f, true);
}

static void clear_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)offset;
    (void)value;
    (void)size;
    set(opaque, false);
}

static const struct port_ops ferr_port_ops = {.name = "ferr", .write = clear_write};

static void ferr_reset(void *dev)
{
    set(dev, false);
}

static void ferr_loaded(void *dev)
{
    struct ferr *f = dev;
    irq_set(&f->irq13, f->latched);
}

static void ferr_destroy(void *dev)
{
    struct ferr *f = dev;
    io_bus_release(f->bus, f->claim);
    free(f);
}

static const struct state_field ferr_state[] = {
    STATE_ROW(STATE_BOOL, ferr, latched, 1, 1),
    STATE_END,
};

static const struct device_ops ferr_ops = {
    .name = "ferr",
    .version = 1,
    .state = ferr_state,
    .reset = ferr_reset,
    .loaded = ferr_loaded,
    .destroy = ferr_destroy,
};

struct ferr *ferr_create(struct io_bus *bus, struct irq_line irq13)
{
    struct ferr *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->bus = bus;
    f->irq13 = irq13;
    f->claim = io_bus_claim(bus, CLEAR_PORT, 1, &ferr_port_ops, f);
    return f;
}

struct device ferr_device(struct ferr *f)
{
    return (struct device){.ops = &ferr_ops, .dev = f};
}
