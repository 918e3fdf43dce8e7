/* SPDX-License-Identifier: MIT
 *
 * An interrupt line: a wire with a receiver. Devices hold lines by value and only ever set levels;
 * who listens (8259, IOAPIC, a PCI router, a test) is the wiring's business.
 */
#ifndef ANELLO_BUS_IRQ_H
#define ANELLO_BUS_IRQ_H

#include "base/bits.h"

struct irq_line {
    void (*set)(void *opaque, unsigned n, bool level); /* NULL: not connected */
    void *opaque;
    unsigned n; /* input number at the receiver */
};

/* Drives the line. Board lock held. Setting an unchanged level is allowed and has no effect on
 * edge-triggered receivers. */
static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->n, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
    irq_set(line, true);
    irq_set(line, false);
}

#endif
