/* SPDX-License-Identifier: MIT
 *
 * The power management function of the Intel 82371AB (PIIX4), 8086:7113: where the ACPI register
 * block and the SMBus host controller appear in port space, and the APM ports B2h and B3h. The
 * ACPI registers themselves are handed in by the board.
 */
#ifndef ANELLO_DEVICES_PIIX4_PM_H
#define ANELLO_DEVICES_PIIX4_PM_H

#include "devices/pci.h"

struct piix4_pm;

#define PIIX4_PM_BLOCK_BYTES 64

struct piix4_pm_config {
    struct pci_bus *bus;
    u8 devfn; /* 1.3 on a PC */
    struct log *log;
    const struct port_ops *pm_ops; /* the 64 ports at PMBASE */
    void *pm_opaque;
    /* A byte was written to the APM control port B2h (with a System Management Mode it would
     * raise an SMI). May be NULL. */
    void (*apm_command)(void *opaque, u8 value);
    void *apm_opaque;
    struct io_bus *ports;
};

struct piix4_pm *piix4_pm_create(const struct piix4_pm_config *config);
struct device piix4_pm_device(struct piix4_pm *pm);

#endif
