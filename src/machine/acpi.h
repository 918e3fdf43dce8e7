/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_MACHINE_ACPI_H
#define ANELLO_MACHINE_ACPI_H

#include "devices/acpi_pm.h"
#include "devices/fw_cfg.h"

/* What differs between boards. */
struct acpi_board {
    const u8 *dsdt;
    size_t dsdt_bytes;
    u64 ecam_base; /* of the configuration space in memory, 0: there is none */
    u64 ecam_bytes;
};
extern const struct acpi_board acpi_board_pc, acpi_board_q35;

struct acpi_config {
    const struct acpi_board *board;
    const struct acpi_pm_chip *pm;
    unsigned cpus;    /* local APIC ids 0..cpus-1 */
    u16 pm_base;      /* I/O base of the power management block */
    unsigned sci_irq; /* 9 */
    u64 pci_memory;   /* where PCI memory begins, below 4 GiB */
    bool hpet;
    unsigned serial_ports; /* 0..2, at their usual places */
    bool floppy;           /* there is a controller */
    u8 floppy_types;       /* of its drives, as in CMOS register 10h */
};

/* Adds etc/table-loader, etc/acpi/tables and etc/acpi/rsdp: the firmware places and links them. */
bool acpi_add_tables(struct fw_cfg *fw, const struct acpi_config *config);

#endif
