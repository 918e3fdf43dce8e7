/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_ACPI_PM_H
#define ANELLO_DEVICES_ACPI_PM_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

#define ACPI_PM_DEFAULT_BASE 0x600
#define ACPI_PM_TIMER_HZ     3579545u
#define ACPI_PM_SMI_CMD      0xb2
#define ACPI_PM_ENABLE       0xf1 /* values of SMI_CMD, as the FADT tells the guest */
#define ACPI_PM_DISABLE      0xf0
#define ACPI_PM_S5_TYPE      0 /* SLP_TYP values, as the DSDT tells the guest */
#define ACPI_PM_S3_TYPE      1
#define ACPI_RESET_PORT      0xcf9
#define ACPI_RESET_VALUE     0x06

struct acpi_pm_hooks {
    void (*power_off)(void *opaque); /* S5 was entered */
    void (*suspend)(void *opaque);   /* S3 was entered; NULL: S3 is refused */
    void (*reset)(void *opaque);     /* CF9h: reset of CPU (and system) */
    void *opaque;
};

/* Where a chip has the registers that its relatives have elsewhere. */
struct acpi_pm_chip {
    u8 ports;                             /* of the block; its base is a multiple of this */
    u8 gpe_status, gpe_enable, gpe_bytes; /* general-purpose events: offsets, bytes of each */
    u8 smi_enable;                        /* offset of SMI_EN, or 0 */
};
extern const struct acpi_pm_chip acpi_pm_piix4, acpi_pm_ich9;

struct acpi_pm;

/* Power management block of a chip, SMI command ports B2h/B3h and reset control CF9h. Claim
 * after the PCI configuration ports: CF9h lies under them. The register block appears where
 * acpi_pm_map() says. */
struct acpi_pm *acpi_pm_create(struct io_bus *bus, const struct acpi_pm_chip *chip,
                               struct irq_line sci, struct clock *clock,
                               const struct acpi_pm_hooks *hooks);
struct device acpi_pm_device(struct acpi_pm *pm);
/* PCI configuration of the function: PMBASE and whether it is on. 0 unmaps. */
void acpi_pm_map(struct acpi_pm *pm, u16 base);
/* The user presses the power button: PWRBTN_STS and an SCI when enabled. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* The guest has switched to ACPI mode (SCI_EN), so that it will hear the button. */
bool acpi_pm_enabled(const struct acpi_pm *pm);

#endif
