/* SPDX-License-Identifier: MIT
 *
 * The power management function of the Intel 82371AB (PIIX4), 8086:7113: where the ACPI register
 * block (devices/acpi_pm.h) and the SMBus host controller appear in port space.
 */
#ifndef ANELLO_DEVICES_PIIX4_PM_H
#define ANELLO_DEVICES_PIIX4_PM_H

#include "devices/acpi_pm.h"
#include "devices/pci.h"

struct piix4_pm;

struct piix4_pm_config {
    struct pci_bus *bus;
    u8 devfn; /* 1.3 on a PC */
    struct io_bus *ports;
    struct acpi_pm *acpi; /* its registers appear at PMBASE; outlives this function */
    struct log *log;
};

struct piix4_pm *piix4_pm_create(const struct piix4_pm_config *config);
struct device piix4_pm_device(struct piix4_pm *pm);

#endif
