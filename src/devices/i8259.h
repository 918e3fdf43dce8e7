/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_I8259_H
#define ANELLO_DEVICES_I8259_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

#define I8259_INPUTS 16 /* of the pair; input 2 is the cascade and cannot be driven */

struct i8259;

/* The AT's pair at 20h and A0h with the edge/level registers at 4D0h. `intr` is the master's INT
 * output. NULL when out of memory. */
struct i8259 *i8259_create(struct io_bus *bus, struct irq_line intr);
struct device i8259_device(struct i8259 *pic);

/* IRQ 0..15, as devices see it. */
struct irq_line i8259_input(struct i8259 *pic, unsigned irq);

/* The CPU's INTA cycles: the vector (0..255). When the request has gone away meanwhile the pair
 * answers as the chips do, with the spurious vector of IRQ7 or IRQ15. */
int i8259_ack(struct i8259 *pic);
bool i8259_pending(const struct i8259 *pic);

/* `taken(opaque, irq)` is called when an INTA cycle has accepted IRQ 0..15 (not for spurious ones):
 * the interval timer counts its ticks by it. */
void i8259_on_taken(struct i8259 *pic, void (*taken)(void *opaque, unsigned irq), void *opaque);

/* For the monitor's `info pic`. chip 0: master, 1: slave. */
struct i8259_view {
    u8 irr, imr, isr, base, elcr, lines;
    bool aeoi, special_mask, special_nested;
};
struct i8259_view i8259_view(const struct i8259 *pic, unsigned chip);

#endif
