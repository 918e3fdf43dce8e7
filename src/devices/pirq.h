/* SPDX-License-Identifier: MIT
 *
 * The interrupt router of a south bridge: a register for each PCI interrupt line (PIRQ) names the
 * ISA interrupt that it drives. PCI interrupts share ISA interrupts with other sources: what else
 * may drive such a line (the ACPI SCI on 9) connects to pirq_input(), and the bridge drives the OR.
 */
#ifndef ANELLO_DEVICES_PIRQ_H
#define ANELLO_DEVICES_PIRQ_H

#include "bus/device.h"
#include "devices/pci.h"

#define PIRQ_ISA_IRQS   16
#define PIRQ_ROUTE_NONE 0x80 /* a routing register that disconnects its line */
#define PIRQ_ROUTE_BITS 0x8f

struct pirq_router {
    struct irq_line isa[PIRQ_ISA_IRQS];
    const u8 *route[PCI_PIRQ_COUNT];        /* the registers; NULL: there is no such line */
    struct irq_line direct[PCI_PIRQ_COUNT]; /* pins of an I/O APIC that follow the lines */
    u8 level;                               /* bit n: PIRQ n is asserted; follows the bus */
    u16 input;                              /* bit n: some other source drives ISA interrupt n */
    u16 output;                             /* bit n: what the ISA line was last set to */
};

#define PIRQ_STATE_ROWS(s, f)                                                                      \
    STATE_ROW(STATE_U8, s, f.level, 1, 1), STATE_ROW(STATE_U16, s, f.input, 1, 1),                 \
        STATE_ROW(STATE_U16, s, f.output, 1, 1)

/* For pci_bus_set_router(); opaque is the router. */
void pirq_changed(void *opaque, unsigned pirq, bool level);
/* After the routing registers changed. */
void pirq_update(struct pirq_router *r);
/* A line that drives ISA interrupt `isa_irq` (0..15) together with the PCI interrupts on it. */
struct irq_line pirq_input(struct pirq_router *r, unsigned isa_irq);

#endif
