/* SPDX-License-Identifier: MIT
 *
 * The LPC bridge of the Intel ICH9 (8086:2918), function 31.0: routing of eight PCI interrupt
 * lines, which are wired by registers in memory (the root complex block), and where the ACPI block
 * is.
 *
 * What may drive an ISA interrupt beside PCI connects to ich9_lpc_irq_input().
 */
#ifndef ANELLO_DEVICES_ICH9_LPC_H
#define ANELLO_DEVICES_ICH9_LPC_H

#include "devices/acpi_pm.h"
#include "devices/pirq.h"

#define ICH9_SLOT           31 /* of its functions on the bus */
#define ICH9_AHCI_FUNCTION  2
#define ICH9_SMBUS_FUNCTION 3

struct ich9_lpc;

struct ich9_lpc_config {
    struct pci_bus *bus;
    struct physmem *physmem;
    struct log *log;
    struct irq_line isa[PIRQ_ISA_IRQS];   /* 8259 and I/O APIC, fanned out by the board */
    struct irq_line apic[PCI_PIRQ_COUNT]; /* pins 16 to 23 of the I/O APIC */
};

struct ich9_lpc *ich9_lpc_create(const struct ich9_lpc_config *config);
struct device ich9_lpc_device(struct ich9_lpc *lpc);

struct irq_line ich9_lpc_irq_input(struct ich9_lpc *lpc, unsigned isa_irq);
/* The ACPI block that PMBASE places; it is made after the bridge, whose interrupt 9 it drives. */
void ich9_lpc_connect_pm(struct ich9_lpc *lpc, struct acpi_pm *acpi);

#endif
