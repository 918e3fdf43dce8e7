/* SPDX-License-Identifier: MIT
 *
 * Intel 82G33/Q35 MCH (order number 316966), device 0: PCIEXBAR (60h), PAM (90h-96h) and SMRAM
 * (9Dh) act; what describes memory sticks, graphics and the links to other chips is storage or
 * reads zero.
 *
 * Deviations: the functions behind the window are conventional ones, so that what lies beyond their
 * 256 bytes reads as ones; there is no graphics device and no PCI Express port.
 */
#include "devices/mch.h"

#include <stdlib.h>

#include "devices/host_bridge.h"

#define PCIEXBAR 0x60
#define PAM      0x90
#define SMRAM    0x9d

#define PCIEXBAR_ENABLE     (1u << 0)
#define PCIEXBAR_LENGTH(v)  ((v) >> 1 & 3) /* 256, 128, 64 MiB; 3 is reserved */
#define PCIEXBAR_BASE       UINT64_C(0xff0000000)
#define PCIEXBAR_BASE_128   (UINT64_C(1) << 27)
#define PCIEXBAR_BASE_64    (UINT64_C(1) << 26)
#define PCIEXBAR_LENGTH_MAX 2

struct mch {
    struct host_bridge bridge;
    struct phys_region *ecam;
    u64 ecam_base, ecam_bytes; /* as mapped now; 0 bytes: not at all */
};

/* ---- configuration space as memory ---- */

#define ECAM_BUS(offset)      ((u8)((offset) >> 20))
#define ECAM_DEVFN(offset)    ((u8)((offset) >> 12))
#define ECAM_REGISTER(offset) ((u32)(offset)&0xfff)

static u64 ecam_read(void *opaque, u64 offset, unsigned size)
{
    struct mch *mch = opaque;
    u32 reg = ECAM_REGISTER(offset);
    if (reg >= PCI_CONFIG_BYTES)
        return mask64(8 * size);
    return pci_config_read(mch->bridge.pci.bus, ECAM_BUS(offset), ECAM_DEVFN(offset), (u8)reg,
                           size);
}

static void ecam_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct mch *mch = opaque;
    u32 reg = ECAM_REGISTER(offset);
    if (reg < PCI_CONFIG_BYTES)
        pci_config_write(mch->bridge.pci.bus, ECAM_BUS(offset), ECAM_DEVFN(offset), (u8)reg,
                         (u32)value, size);
}

static const struct mmio_ops ecam_ops = {.name = "ecam", .read = ecam_read, .write = ecam_write};

static void map_ecam(struct mch *mch)
{
    u64 bar = load64(mch->bridge.pci.config + PCIEXBAR);
    unsigned length = PCIEXBAR_LENGTH(bar);
    u64 bytes = 0, base = 0;
    if ((bar & PCIEXBAR_ENABLE) && length <= PCIEXBAR_LENGTH_MAX) {
        bytes = MCH_ECAM_BYTES >> length;
        base = bar & (PCIEXBAR_BASE | PCIEXBAR_BASE_128 | PCIEXBAR_BASE_64) & ~(bytes - 1);
    }
    if (base == mch->ecam_base && bytes == mch->ecam_bytes)
        return;
    physmem_unmap(mch->bridge.memory.physmem, mch->ecam);
    mch->ecam = bytes ? physmem_map_mmio(mch->bridge.memory.physmem, base, bytes, &ecam_ops, mch,
                                         PCI_MAP_PRIORITY)
                      : NULL;
    mch->ecam_base = base;
    mch->ecam_bytes = bytes;
}

/* ---- registers ---- */

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct mch *mch = opaque;
    if (reg > SMRAM || reg + size <= PCIEXBAR)
        return;
    host_bridge_update(&mch->bridge);
    map_ecam(mch);
}

static const struct host_register own_registers[] = {
    {PCIEXBAR + 0, 0x00, PCIEXBAR_ENABLE | 3u << 1},
    {PCIEXBAR + 3, 0xe0, 0xfc},
    {PCIEXBAR + 4, 0x00, 0x0f},
    {PAM + 0, 0x00, 0x30},
    {PAM + 1, 0x00, 0x33},
    {PAM + 2, 0x00, 0x33},
    {PAM + 3, 0x00, 0x33},
    {PAM + 4, 0x00, 0x33},
    {PAM + 5, 0x00, 0x33},
    {PAM + 6, 0x00, 0x33},
    {0x97, 0x00, 0x83}, /* LAC */
    {SMRAM, HOST_SMRAM_BASE_SEG, HOST_SMRAM_WRITABLE},
    {0x9e, 0x38, 0x87}, /* ESMRAMC */
    {0xdc, 0x00, 0xff}, /* SKPD */
    {0xdd, 0x00, 0xff},
    {0xde, 0x00, 0xff},
    {0xdf, 0x00, 0xff},
};

static const struct host_bridge_chip chip = {
    .pci =
        {
            .name = "mch",
            .vendor = 0x8086,
            .device = 0x29c0,
            .revision = 0x02,
            .class_code = HOST_BRIDGE_CLASS,
            .config_written = config_written,
        },
    .pam = PAM,
    .smram = SMRAM,
    .registers = own_registers,
    .register_count = ARRAY_LEN(own_registers),
};

static void mch_reset(void *dev)
{
    struct mch *mch = dev;
    host_bridge_reset(&mch->bridge);
    map_ecam(mch);
}

static void mch_loaded(void *dev)
{
    struct mch *mch = dev;
    host_bridge_loaded(&mch->bridge);
    map_ecam(mch);
}

/* ---- life ---- */

static void mch_destroy(void *dev)
{
    struct mch *mch = dev;
    physmem_unmap(mch->bridge.memory.physmem, mch->ecam);
    host_bridge_fini(&mch->bridge);
    free(mch);
}

struct mch *mch_create(struct pci_bus *bus, const struct host_memory_config *config)
{
    struct mch *mch = calloc(1, sizeof *mch);
    if (!mch || !host_bridge_init(&mch->bridge, &chip, bus, config, mch)) {
        free(mch);
        return NULL;
    }
    mch_reset(mch);
    return mch;
}

const struct host_memory *mch_memory(const struct mch *mch)
{
    return &mch->bridge.memory;
}

static const struct state_field mch_state[] = {
    PCI_STATE_ROWS(mch, bridge.pci),
    STATE_END,
};

static const struct device_ops mch_ops = {
    .name = "mch",
    .version = 1,
    .state = mch_state,
    .reset = mch_reset,
    .loaded = mch_loaded,
    .destroy = mch_destroy,
};

struct device mch_device(struct mch *mch)
{
    return (struct device){.ops = &mch_ops, .dev = mch};
}
