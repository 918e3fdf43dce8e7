/* SPDX-License-Identifier: MIT
 *
 * Intel 82441FX (order number 290549), as far as a guest can see it without memory sticks to
 * configure: the PAM registers 59h-5Fh and SMRAM at 72h act (devices/host_bridge.h); DRAM timing,
 * row boundaries and error registers are plain storage.
 */
#include "devices/i440fx.h"

#include <stdlib.h>

#include "devices/host_bridge.h"

#define PAM   0x59
#define SMRAM 0x72

struct i440fx {
    struct host_bridge bridge;
};

/* ---- registers ---- */

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct i440fx *host = opaque;
    if (reg <= SMRAM && reg + size > PAM)
        host_bridge_update(&host->bridge);
}

static const struct host_register own_registers[] = {
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

static const struct host_bridge_chip chip = {
    .pci =
        {
            .name = "i440fx",
            .vendor = 0x8086,
            .device = 0x1237,
            .revision = 0x02,
            .class_code = HOST_BRIDGE_CLASS,
            .config_written = config_written,
        },
    .pam = PAM,
    .smram = SMRAM,
    .registers = own_registers,
    .register_count = ARRAY_LEN(own_registers),
};

static void i440fx_reset(void *dev)
{
    struct i440fx *host = dev;
    host_bridge_reset(&host->bridge);
}

static void i440fx_loaded(void *dev)
{
    struct i440fx *host = dev;
    host_bridge_loaded(&host->bridge);
}

/* ---- life ---- */

static void i440fx_destroy(void *dev)
{
    struct i440fx *host = dev;
    host_bridge_fini(&host->bridge);
    free(host);
}

struct i440fx *i440fx_create(struct pci_bus *bus, const struct host_memory_config *config)
{
    struct i440fx *host = calloc(1, sizeof *host);
    if (!host || !host_bridge_init(&host->bridge, &chip, bus, config, host)) {
        free(host);
        return NULL;
    }
    i440fx_reset(host);
    return host;
}

const struct host_memory *i440fx_memory(const struct i440fx *host)
{
    return &host->bridge.memory;
}

static const struct state_field i440fx_state[] = {
    PCI_STATE_ROWS(i440fx, bridge.pci),
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
