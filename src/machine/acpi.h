/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_MACHINE_ACPI_H
#define ANELLO_MACHINE_ACPI_H

#include "devices/fw_cfg.h"

struct acpi_config {
    unsigned cpus;    /* local APIC ids 0..cpus-1 */
    u16 pm_base;      /* I/O base of the PIIX4 power management block */
    unsigned sci_irq; /* 9 */
    u64 low_ram;      /* bytes of RAM below 4 GiB: where PCI memory begins */
    bool hpet;
    unsigned serial_ports; /* 0..2, at their usual places */
};

/* Adds etc/table-loader, etc/acpi/tables and etc/acpi/rsdp: the firmware places and links them. */
bool acpi_add_tables(struct fw_cfg *fw, const struct acpi_config *config);

#endif
