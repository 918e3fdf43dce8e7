/* SPDX-License-Identifier: MIT
 *
 * What device tests stand on: a port bus, a stepped clock and wires that remember. No CPU.
 */
#ifndef ANELLO_TESTS_DEVICE_RIG_H
#define ANELLO_TESTS_DEVICE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

/* The far end of an interrupt line. */
struct wire {
    bool level;
    unsigned rises, falls;
};

static inline void wire_set(void *opaque, unsigned n, bool level)
{
    struct wire *w = opaque;
    (void)n;
    if (level && !w->level)
        w->rises++;
    if (!level && w->level)
        w->falls++;
    w->level = level;
}

static inline struct irq_line wire_line(struct wire *w)
{
    return (struct irq_line){.set = wire_set, .opaque = w};
}

struct rig {
    struct io_bus *bus;
    struct clock *clock;
};

static inline void rig_open(struct rig *r)
{
    r->bus = io_bus_create(NULL);
    r->clock = clock_create_stepped();
    assert_non_null(r->bus);
    assert_non_null(r->clock);
}

static inline void rig_close(struct rig *r)
{
    io_bus_destroy(r->bus);
    clock_destroy(r->clock);
}

static inline void outb(struct rig *r, u16 port, u8 value)
{
    io_bus_write(r->bus, port, value, 1);
}

static inline void outw(struct rig *r, u16 port, u16 value)
{
    io_bus_write(r->bus, port, value, 2);
}

static inline void outl(struct rig *r, u16 port, u32 value)
{
    io_bus_write(r->bus, port, value, 4);
}

static inline u8 inb(struct rig *r, u16 port)
{
    return (u8)io_bus_read(r->bus, port, 1);
}

static inline u16 inw(struct rig *r, u16 port)
{
    return (u16)io_bus_read(r->bus, port, 2);
}

static inline u32 inl(struct rig *r, u16 port)
{
    return io_bus_read(r->bus, port, 4);
}

static inline void device_reset(struct device d)
{
    d.ops->reset(d.dev);
}

static inline void device_destroy(struct device d)
{
    d.ops->destroy(d.dev);
}

/* Every row of a state table must lie in the device and have a type and a count. */
static inline void check_state_table(struct device d)
{
    assert_non_null(d.ops->name);
    for (const struct state_field *f = d.ops->state; f && f->name; f++) {
        assert_true(f->count >= 1);
        assert_true(f->since >= 1 && f->since <= d.ops->version);
        assert_true(f->type <= STATE_BYTES);
    }
}

#endif
