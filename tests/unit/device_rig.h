/* SPDX-License-Identifier: MIT
 *
 * What device tests stand on: a port bus, a stepped clock, memory and a PCI bus where they are
 * asked for, and wires that remember. No CPU.
 *
 * A test's fixture begins with the rig:
 *
 *     struct fixture { struct rig rig; ... };
 *     setup:    struct fixture *f = rig_setup(state, sizeof *f);
 *               ... rig_add(&f->rig, foo_device(f->foo));
 *     teardown: rig_teardown destroys the devices, and the newest first
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
#include "bus/physmem.h"
#include "bus/ports.h"
#include "devices/pci.h"

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

#define RIG_DEVICES 4

struct rig {
    struct io_bus *bus;
    struct clock *clock;
    struct physmem *pm;  /* NULL without memory */
    struct pci_bus *pci; /* NULL without one */
    struct device devices[RIG_DEVICES];
    unsigned device_count;
};

static inline void rig_open(struct rig *r)
{
    *r = (struct rig){.bus = io_bus_create(NULL), .clock = clock_create_stepped()};
    assert_non_null(r->bus);
    assert_non_null(r->clock);
}

/* RAM from 0; `more_bytes` of memory can be allocated beside it. */
static inline void rig_add_memory(struct rig *r, u64 ram_bytes, u64 more_bytes)
{
    r->pm = physmem_create(ram_bytes + more_bytes, NULL);
    assert_non_null(r->pm);
    if (ram_bytes)
        physmem_map_ram(r->pm, 0, ram_bytes, physmem_alloc(r->pm, ram_bytes, "ram"), 0, "ram");
}

static inline void rig_add_pci(struct rig *r)
{
    r->pci = pci_bus_create(&(struct pci_bus_config){.ports = r->bus, .physmem = r->pm});
    assert_non_null(r->pci);
}

static inline void device_destroy(struct device d)
{
    d.ops->destroy(d.dev);
}

/* The rig destroys it. */
static inline void rig_add(struct rig *r, struct device d)
{
    assert_non_null(d.dev);
    assert_true(r->device_count < RIG_DEVICES);
    r->devices[r->device_count++] = d;
}

static inline void rig_destroy_devices(struct rig *r)
{
    while (r->device_count)
        device_destroy(r->devices[--r->device_count]);
}

static inline void rig_close(struct rig *r)
{
    rig_destroy_devices(r);
    assert_true(clock_next_deadline(r->clock) == CLOCK_NEVER); /* no timer is left behind */
    if (r->pci)
        pci_bus_destroy(r->pci);
    io_bus_destroy(r->bus);
    if (r->pm)
        physmem_destroy(r->pm);
    clock_destroy(r->clock);
}

/* A fixture of so many bytes, with its rig open. */
static inline void *rig_setup(void **state, size_t bytes)
{
    *state = calloc(1, bytes);
    assert_non_null(*state);
    rig_open(*state);
    return *state;
}

static inline int rig_teardown(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
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
