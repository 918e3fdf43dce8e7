/* SPDX-License-Identifier: MIT
 *
 * PIRQ routing as in the PIIX3 (order number 290550, PIRQRCA-D) and the ICH9 (316972, 13.1.11).
 */
#include "devices/pirq.h"

#define ROUTE_IRQ_MASK 0x0f

/* ISA interrupts that a PCI interrupt may be routed to; 0, 1, 2, 8 and 13 are reserved. */
#define ROUTABLE_IRQS 0xdef8u

static u16 routed(const struct pirq_router *r)
{
    u16 lines = 0;
    for (unsigned i = 0; i < PCI_PIRQ_COUNT; i++) {
        if ((r->level >> i & 1) && r->route[i] && !(*r->route[i] & PIRQ_ROUTE_NONE))
            lines |= (u16)(1u << (*r->route[i] & ROUTE_IRQ_MASK));
    }
    return lines & ROUTABLE_IRQS;
}

void pirq_update(struct pirq_router *r)
{
    u16 now = routed(r) | r->input;
    u16 changed = now ^ r->output;
    r->output = now;
    for (unsigned n = 0; n < PIRQ_ISA_IRQS; n++) {
        if (changed >> n & 1)
            irq_set(&r->isa[n], now >> n & 1);
    }
}

void pirq_changed(void *opaque, unsigned pirq, bool level)
{
    struct pirq_router *r = opaque;
    u8 bit = (u8)(1u << pirq);
    r->level = (u8)(level ? r->level | bit : r->level & ~bit);
    irq_set(&r->direct[pirq], level);
    pirq_update(r);
}

static void input_changed(void *opaque, unsigned n, bool level)
{
    struct pirq_router *r = opaque;
    u16 bit = (u16)(1u << n);
    r->input = (u16)(level ? r->input | bit : r->input & ~bit);
    pirq_update(r);
}

struct irq_line pirq_input(struct pirq_router *r, unsigned isa_irq)
{
    return (struct irq_line){.set = input_changed, .opaque = r, .n = isa_irq};
}
