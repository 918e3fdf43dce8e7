/* SPDX-License-Identifier: MIT
 *
 * Intel 82441FX (order number 290549), as far as a guest can see it without memory sticks to
 * configure: the PAM registers 59h-5Fh and SMRAM at 72h act (devices/host_memory.h); DRAM timing,
 * row boundaries and error registers are plain storage.
 */
#include "devices/i440fx.h"

#include <stdlib.h>

#define PAM   0x59
#define SMRAM 0x72

struct i440fx {
    struct pci_device pci;
    struct host_memory memory;
};

/* ---- registers ---- */

static void update_map(struct i440fx *host)
{
    host_memory_update(&host->memory, host->pci.config + PAM, host->pci.config[SMRAM]);
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct i440fx *host = opaque;
    if (reg >= SMRAM + 1 || reg + size <= PAM)
        return;
    host_memory_lock_smram(&host->pci.config[SMRAM], &host->pci.writable[SMRAM]);
    update_map(host);
}

static const struct pci_info info = {
    .name = "i440fx",
    .vendor = 0x8086,
    .device = 0x1237,
    .revision = 0x02,
    .class_code = 0x060000,
    .config_written = config_written,
};

/* Value after reset and writable bits of each register of the device's own range; what is not
 * listed reads as zero. */
static const struct {
    u8 reg, value, writable;
} own_registers[] = {
    {0x50, 0x00, 0xff}, /* PMCCFG */
    {0x51, 0x01, 0xef},
    {0x52, 0x00, 0xff}, /* DETURBO.. */
    {0x53, 0x80, 0xff}, /* DBC */
    {0x57, 0x01, 0xff}, /* DRAMC */
    {0x58, 0x10, 0xff}, /* DRAMT */
    {0x59, 0x00, 0x30}, /* PAM0: F0000h in its high nibble */
    {0x5a, 0x00, 0x33},
    {0x5b, 0x00, 0x33},
    {0x5c, 0x00, 0x33},
    {0x5d, 0x00, 0x33},
    {0x5e, 0x00, 0x33},
    {0x5f, 0x00, 0x33},
    {0x60, 0x01, 0xff},
    {0x61, 0x01, 0xff},
    {0x62, 0x01, 0xff}, /* DRB0-7 */
    {0x63, 0x01, 0xff},
    {0x64, 0x01, 0xff},
    {0x65, 0x01, 0xff},
    {0x66, 0x01, 0xff},
    {0x67, 0x01, 0xff},
    {0x68, 0x00, 0xc0}, /* FDHC */
    {0x70, 0x00, 0xff}, /* MTT */
    {0x71, 0x10, 0x70}, /* CLT */
    {SMRAM, HOST_SMRAM_BASE_SEG, HOST_SMRAM_WRITABLE},
    {0x90, 0x00, 0xff},
    {0x91, 0x00, 0xff}, /* ERRCMD, ERRSTS */
    {0x93, 0x00, 0xff}, /* TRC: the reset control register itself is the south bridge's */
};

static void i440fx_reset(void *dev)
{
    struct i440fx *host = dev;
    pci_device_reset(&host->pci);
    /* The host bridge is always a master, and always decodes memory. */
    store16(host->pci.config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (size_t i = 0; i < ARRAY_LEN(own_registers); i++) {
        host->pci.config[own_registers[i].reg] = own_registers[i].value;
        host->pci.writable[own_registers[i].reg] = own_registers[i].writable;
    }
    update_map(host);
}

static void i440fx_loaded(void *dev)
{
    struct i440fx *host = dev;
    pci_device_loaded(&host->pci);
    host_memory_lock_smram(&host->pci.config[SMRAM], &host->pci.writable[SMRAM]);
    update_map(host);
}

/* ---- life ---- */

static void i440fx_destroy(void *dev)
{
    struct i440fx *host = dev;
    host_memory_fini(&host->memory);
    pci_device_fini(&host->pci);
    free(host);
}

struct i440fx *i440fx_create(struct pci_bus *bus, const struct host_memory_config *config)
{
    struct i440fx *host = calloc(1, sizeof *host);
    if (!host || !host_memory_init(&host->memory, config) ||
        !pci_device_init(&host->pci, bus, PCI_DEVFN(0, 0), &info, host)) {
        free(host);
        return NULL;
    }
    i440fx_reset(host);
    return host;
}

const struct host_memory *i440fx_memory(const struct i440fx *host)
{
    return &host->memory;
}

static const struct state_field i440fx_state[] = {
    PCI_STATE_ROWS(i440fx, pci),
    STATE_END,
};

static const struct device_ops i440fx_ops = {
    .name = "i440fx",
    .version = 1,
    .state = i440fx_state,
    .reset = i440fx_reset,
    .loaded = i440fx_loaded,
    .destroy = i440fx_destroy,
};

struct device i440fx_device(struct i440fx *host)
{
    return (struct device){.ops = &i440fx_ops, .dev = host};
}
