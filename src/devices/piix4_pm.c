/* SPDX-License-Identifier: MIT
 *
 * 82371AB function 3 (order number 290562): base address and enable bits of two blocks of ports,
 * and an SMBus host controller on a bus without slaves: each transaction ends with
 * a device error (nobody acknowledges), which is what an empty bus does.
 *
 * Deviations: no System Management Mode; DEVACTB says from reset on that firmware has set SMIs up,
 * which keeps firmware from waiting for one. The
 * activity monitors (DEVRES, DEVACT) are storage. The SMBus controller is polled only.
 */
#include "devices/piix4_pm.h"

#include <stdlib.h>

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

enum smb_register {
    SMBHSTSTS = 0,
    SMBSLVSTS = 1,
    SMBHSTCNT = 2,
    SMBHSTCMD = 3,
    SMBHSTADD = 4,
    SMBHSTDAT0 = 5,
    SMBHSTDAT1 = 6,
    SMBBLKDAT = 7,
};

#define STS_DEVICE_ERROR (1u << 2)
#define STS_FAILED       (1u << 4)
#define STS_CLEARABLE    0x1e
#define CNT_INTERRUPT    (1u << 0)
#define CNT_KILL         (1u << 1)
#define CNT_STORED       0x1d
#define CNT_START        (1u << 6)
#define BLOCK_BYTES      32

struct piix4_pm {
    struct pci_device pci;
    struct io_bus *ports;
    struct log *log;
    struct acpi_pm *acpi;
    struct io_claim *smb_claim;
    u16 pm_base, smb_base; /* where the blocks are now, 0 nowhere */
    u8 smb_status, smb_control, smb_command, smb_address, smb_data[2];
    u8 smb_block[BLOCK_BYTES];
    u8 smb_block_at; /* next byte of the block buffer; reading SMBHSTCNT rewinds */
};

/* ---- SMBus host controller ---- */

static u32 smb_read(void *opaque, u16 offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    (void)size;
    switch (offset) {
    case SMBHSTSTS: return pm->smb_status;
    case SMBHSTCNT: pm->smb_block_at = 0; return pm->smb_control;
    case SMBHSTCMD: return pm->smb_command;
    case SMBHSTADD: return pm->smb_address;
    case SMBHSTDAT0:
    case SMBHSTDAT1: return pm->smb_data[offset - SMBHSTDAT0];
    case SMBBLKDAT: {
        u8 value = pm->smb_block[pm->smb_block_at];
        pm->smb_block_at = (u8)((pm->smb_block_at + 1) % BLOCK_BYTES);
        return value;
    }
    default: return 0; /* the slave half: never addressed */
    }
}

static void smb_control_write(struct piix4_pm *pm, u8 value)
{
    pm->smb_control = value & CNT_STORED;
    if (value & CNT_KILL)
        pm->smb_status |= STS_FAILED;
    if (!(value & CNT_START))
        return;
    if (value & CNT_INTERRUPT)
        log_unsupported(pm->log, "PIIX4 SMBus", 0, "completion interrupts are not modelled");
    pm->smb_status |= STS_DEVICE_ERROR;
}

static void smb_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct piix4_pm *pm = opaque;
    (void)size;
    switch (offset) {
    case SMBHSTSTS: pm->smb_status &= (u8) ~(value & STS_CLEARABLE); break;
    case SMBHSTCNT: smb_control_write(pm, (u8)value); break;
    case SMBHSTCMD: pm->smb_command = (u8)value; break;
    case SMBHSTADD: pm->smb_address = (u8)value; break;
    case SMBHSTDAT0:
    case SMBHSTDAT1: pm->smb_data[offset - SMBHSTDAT0] = (u8)value; break;
    case SMBBLKDAT:
        pm->smb_block[pm->smb_block_at] = (u8)value;
        pm->smb_block_at = (u8)((pm->smb_block_at + 1) % BLOCK_BYTES);
        break;
    default: break;
    }
}

static const struct port_ops smb_ops = {
    .name = "piix4-smbus", .read = smb_read, .write = smb_write};

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
            smb_base ? io_bus_claim(pm->ports, smb_base, SMB_PORTS, &smb_ops, pm) : NULL;
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
    pm->smb_status = pm->smb_control = pm->smb_command = pm->smb_address = 0;
    memset(pm->smb_data, 0, sizeof pm->smb_data);
    memset(pm->smb_block, 0, sizeof pm->smb_block);
    pm->smb_block_at = 0;
    update_blocks(pm);
}

static void piix4_pm_loaded(void *dev)
{
    struct piix4_pm *pm = dev;
    pm->smb_block_at %= BLOCK_BYTES;
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
    pm->log = config->log;
    pm->acpi = config->acpi;
    make_writable(pm);
    piix4_pm_reset(pm);
    return pm;
}

static const struct state_field piix4_pm_state[] = {
    PCI_STATE_ROWS(piix4_pm, pci),
    STATE_ROW(STATE_U8, piix4_pm, smb_status, 1, 1),
    STATE_ROW(STATE_U8, piix4_pm, smb_control, 1, 1),
    STATE_ROW(STATE_U8, piix4_pm, smb_command, 1, 1),
    STATE_ROW(STATE_U8, piix4_pm, smb_address, 1, 1),
    STATE_ROW(STATE_BYTES, piix4_pm, smb_data, 2, 1),
    STATE_ROW(STATE_BYTES, piix4_pm, smb_block, BLOCK_BYTES, 1),
    STATE_ROW(STATE_U8, piix4_pm, smb_block_at, 1, 1),
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
