/* SPDX-License-Identifier: MIT
 *
 * The ISA bridge function of the Intel 82371SB (PIIX3), 8086:7000: routing of the four PCI
 * interrupts to ISA interrupts (devices/pirq.h). The edge/level registers 4D0h are in the 8259
 * (devices/i8259.h), the reset control register CF9h is in devices/acpi_pm.h.
 */
#ifndef ANELLO_DEVICES_PIIX3_H
#define ANELLO_DEVICES_PIIX3_H

#include "devices/pirq.h"

struct piix3;

struct piix3_config {
    struct pci_bus *bus;
    u8 slot;                            /* 1 on a PC; the bridge is its function 0 */
    struct irq_line isa[PIRQ_ISA_IRQS]; /* outputs: 8259 and I/O APIC, fanned out by the board */
};

struct piix3 *piix3_create(const struct piix3_config *config);
struct device piix3_device(struct piix3 *p);

/* A line that drives ISA interrupt `isa_irq` (0..15) together with the PCI interrupts on it. */
struct irq_line piix3_irq_input(struct piix3 *p, unsigned isa_irq);

#endif
