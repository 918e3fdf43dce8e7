/* SPDX-License-Identifier: MIT
 *
 * 82371AB function 3 (order number 290562): base address and enable bits of two blocks of ports,
 * that of ACPI and that of an SMBus host controller (devices/smbus_host.h).
 *
 * Deviations: no System Management Mode; DEVACTB says from reset on that firmware has set SMIs up,
 * which keeps firmware from waiting for one. The
 * activity monitors (DEVRES, DEVACT) are storage.
 */
#include "devices/piix4_pm.h"

#include <stdlib.h>

#include "devices/smbus_host.h"

#define PMBASE    0x40
#define DEVACTB   0x58
#define PMREGMISC 0x80
#define SMBBA     0x90
#define SMBHSTCFG 0xd2

#define PMREGMISC_ENABLE  (1u << 0)
#define SMBHSTCFG_ENABLE  (1u << 0)
#define DEVACTB_APMC_EN_3 0x02 /* bit 25, in the highest byte */
#define PM_BASE_MASK      0xffc0
#define SMB_BASE_MASK     0xfff0
#define SMB_PORTS         16

struct piix4_pm {
    struct pci_device pci;
    struct io_bus *ports;
    struct acpi_pm *acpi;
    struct io_claim *smb_claim;
    u16 pm_base, smb_base; /* where the blocks are now, 0 nowhere */
    struct smbus_host smbus;
};

/* ---- where the blocks are ---- */

static void update_blocks(struct piix4_pm *pm)
{
    const u8 *c = pm->pci.config;
    bool pm_on = c[PMREGMISC] & PMREGMISC_ENABLE;
    bool smb_on = (c[SMBHSTCFG] & SMBHSTCFG_ENABLE) && (pci_command(&pm->pci) & PCI_COMMAND_IO);
    u16 pm_base = pm_on ? load16(c + PMBASE) & PM_BASE_MASK : 0;
    u16 smb_base = smb_on ? load16(c + SMBBA) & SMB_BASE_MASK : 0;
    if (pm_base != pm->pm_base)
        acpi_pm_map(pm->acpi, pm_base);
    pm->pm_base = pm_base;
    if (smb_base != pm->smb_base) {
        io_bus_release(pm->ports, pm->smb_claim);
        pm->smb_claim =
            smb_base ? io_bus_claim(pm->ports, smb_base, SMB_PORTS, &smbus_host_ops, &pm->smbus)
                     : NULL;
    }
    pm->smb_base = smb_base;
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    (void)reg;
    (void)size;
    update_blocks(opaque);
}

/* ---- life ---- */

static const struct pci_info info = {
    .name = "piix4-pm",
    .vendor = 0x8086,
    .device = 0x7113,
    .revision = 0x03,
    .class_code = 0x068000,
    .interrupt_pin = 1,
    .config_written = config_written,
};

static void make_writable(struct piix4_pm *pm)
{
    u8 *w = pm->pci.writable;
    memset(w + PMBASE + 4, 0xff, PMREGMISC - PMBASE - 4); /* CNTA .. DEVRESJ */
    store16(w + PMBASE, PM_BASE_MASK);
    w[PMREGMISC] = PMREGMISC_ENABLE;
    store16(w + SMBBA, SMB_BASE_MASK);
    memset(w + SMBHSTCFG, 0xff, 4); /* SMBHSTCFG, SMBSLVC, SMBSHDW1-2 */
    w[SMBHSTCFG] = 0x0f;
}

static void piix4_pm_reset(void *dev)
{
    struct piix4_pm *pm = dev;
    u8 *c = pm->pci.config;
    pci_device_reset(&pm->pci);
    for (unsigned i = PMBASE; i < PCI_CONFIG_BYTES; i++)
        c[i] &= (u8)~pm->pci.writable[i];
    c[PMBASE] = c[SMBBA] = 1; /* hard-wired: I/O space */
    c[DEVACTB + 3] = DEVACTB_APMC_EN_3;
    smbus_host_reset(&pm->smbus);
    update_blocks(pm);
}

static void piix4_pm_loaded(void *dev)
{
    struct piix4_pm *pm = dev;
    smbus_host_loaded(&pm->smbus);
    pci_device_loaded(&pm->pci);
    update_blocks(pm);
}

static void piix4_pm_destroy(void *dev)
{
    struct piix4_pm *pm = dev;
    io_bus_release(pm->ports, pm->smb_claim);
    pci_device_fini(&pm->pci);
    free(pm);
}

struct piix4_pm *piix4_pm_create(const struct piix4_pm_config *config)
{
    struct piix4_pm *pm = calloc(1, sizeof *pm);
    if (!pm || !pci_device_init(&pm->pci, config->bus, config->devfn, &info, pm)) {
        free(pm);
        return NULL;
    }
    pm->ports = config->ports;
    pm->smbus.log = config->log;
    pm->acpi = config->acpi;
    make_writable(pm);
    piix4_pm_reset(pm);
    return pm;
}

static const struct state_field piix4_pm_state[] = {
    PCI_STATE_ROWS(piix4_pm, pci),
    SMBUS_STATE_ROWS(piix4_pm, smbus),
    STATE_END,
};

static const struct device_ops piix4_pm_ops = {
    .name = "piix4-pm",
    .version = 1,
    .state = piix4_pm_state,
    .reset = piix4_pm_reset,
    .loaded = piix4_pm_loaded,
    .destroy = piix4_pm_destroy,
};

struct device piix4_pm_device(struct piix4_pm *pm)
{
    return (struct device){.ops = &piix4_pm_ops, .dev = pm};
}
