/* SPDX-License-Identifier: MIT
 *
 * A function on the bus: its configuration space, and what follows from it.
 *
 * Configuration space is bytes with two masks: `writable` bits take what is written, `clear_on_1`
 * bits are cleared by writing 1. Where BARs are mapped is derived from those bytes after each
 * write that may matter, and never remembered elsewhere; a snapshot therefore holds the bytes only.
 */
#include "devices/pci.h"

#include <assert.h>
#include <stdlib.h>

#include "devices/pci_internal.h"

#define BAR_NOWHERE UINT64_MAX

#define BAR_IO_SPACE    (1u << 0)
#define BAR_MEMORY_64   (2u << 1)
#define BAR_PREFETCH    (1u << 3)
#define BAR_IO_FLAGS    0x3u
#define BAR_MEMORY_MASK 0xfu
#define ROM_ENABLE      (1u << 0)
#define ROM_ADDRESS     0xfffff800u

#define FIRST_CAPABILITY 0x40
#define ROM_MAX          MIB(1)

/* Offsets in an option ROM (PCI Local Bus 2.3, 6.3.1), and in its PCI data structure. */
#define ROM_CHECKSUM   0x06
#define ROM_PCI_DATA   0x18
#define ROM_PCI_VENDOR 4
#define ROM_PCI_DEVICE 6

#define PORT_SPACE  0x10000u
#define MEMORY_4G   GIB(4)
#define CONFIG_BARS (PCI_ROM_ADDRESS + 4 - PCI_BASE_ADDRESS_0)

/* Boards and firmware of this family recognise each other by the subsystem identity: SeaBIOS asks
 * for the firmware configuration device only on a host bridge that carries it. */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM_ID     0x1100

/* Offsets in the MSI capability, 64-bit form. */
#define MSI_CONTROL      2
#define MSI_ADDRESS      4
#define MSI_ADDRESS_HIGH 8
#define MSI_DATA         12
#define MSI_BYTES        14
#define MSI_ENABLE       (1u << 0)
#define MSI_64           (1u << 7)
#define MSI_CAPABLE(c)   ((c) >> 1 & 7)
#define MSI_GRANTED(c)   ((c) >> 4 & 7)

/* ---- base address registers ---- */

static u8 bar_register(unsigned n)
{
    return n == PCI_ROM_SLOT ? PCI_ROM_ADDRESS : (u8)(PCI_BASE_ADDRESS_0 + 4 * n);
}

static u64 io_bar_address(const struct pci_device *d, u32 value, u64 size)
{
    u64 at = value & ~BAR_IO_FLAGS;
    if (!(pci_command(d) & PCI_COMMAND_IO) || at == 0 || at + size > PORT_SPACE)
        return BAR_NOWHERE;
    return at;
}

/* Address 0 means unassigned, and the topmost address is what a guest leaves while it measures
 * the size; neither is decoded. */
static u64 memory_bar_address(const struct pci_device *d, const struct pci_bar *b, u64 value)
{
    if (!(pci_command(d) & PCI_COMMAND_MEMORY))
        return BAR_NOWHERE;
    u64 at = value & ~(b->size - 1);
    u64 limit = b->flags & PCI_BAR_64 ? bit64(PHYS_ADDR_BITS) : MEMORY_4G;
    if (at == 0 || at >= limit || at + b->size > limit)
        return BAR_NOWHERE;
    bool sizing = !(b->flags & PCI_BAR_64) && at + b->size == MEMORY_4G;
    return sizing ? BAR_NOWHERE : at;
}

static u64 decoded_address(const struct pci_device *d, unsigned n)
{
    const struct pci_bar *b = &d->bars[n];
    const u8 *reg = d->config + bar_register(n);
    switch (b->kind) {
    case PCI_BAR_NONE: return BAR_NOWHERE;
    case PCI_BAR_IO: return io_bar_address(d, load32(reg), b->size);
    case PCI_BAR_ROM:
        if (!(load32(reg) & ROM_ENABLE))
            return BAR_NOWHERE;
        return memory_bar_address(d, b, load32(reg) & ROM_ADDRESS);
    case PCI_BAR_MMIO:
    case PCI_BAR_RAM: break;
    }
    u64 value = b->flags & PCI_BAR_64 ? load64(reg) : load32(reg);
    return memory_bar_address(d, b, value & ~(u64)BAR_MEMORY_MASK);
}

static void unmap_bar(struct pci_device *d, struct pci_bar *b)
{
    io_bus_release(d->bus->ports, b->claim);
    physmem_unmap(d->bus->physmem, b->region);
    b->claim = NULL;
    b->region = NULL;
    b->address = BAR_NOWHERE;
}

static void map_bar(struct pci_device *d, struct pci_bar *b, u64 at)
{
    struct physmem *pm = d->bus->physmem;
    b->address = at;
    switch (b->kind) {
    case PCI_BAR_NONE: break;
    case PCI_BAR_IO:
        b->claim = io_bus_claim(d->bus->ports, (u16)at, (unsigned)b->size, b->port_ops, b->opaque);
        break;
    case PCI_BAR_MMIO:
        b->region = physmem_map_mmio(pm, at, b->size, b->mmio_ops, b->opaque, PCI_MAP_PRIORITY);
        break;
    case PCI_BAR_RAM:
        b->region = physmem_map_ram(pm, at, b->size, b->offset, PCI_MAP_PRIORITY, b->name);
        break;
    case PCI_BAR_ROM:
        b->region = physmem_map_rom(pm, at, b->size, b->offset, PCI_MAP_PRIORITY, b->name);
        break;
    }
}

void pci_device_remap(struct pci_device *d)
{
    for (unsigned n = 0; n < ARRAY_LEN(d->bars); n++) {
        struct pci_bar *b = &d->bars[n];
        u64 at = decoded_address(d, n);
        if (at == b->address)
            continue;
        unmap_bar(d, b);
        if (at != BAR_NOWHERE)
            map_bar(d, b, at);
    }
}

u64 pci_bar_address(const struct pci_device *d, unsigned n)
{
    return d->bars[n].address;
}

/* The register's read-only low bits, and ones where the guest may write. */
static void lay_out_bar(struct pci_device *d, unsigned n, const struct pci_bar *bar, u32 fixed)
{
    assert(n < ARRAY_LEN(d->bars) && bar->size && !(bar->size & (bar->size - 1)));
    d->bars[n] = *bar;
    d->bars[n].address = BAR_NOWHERE;
    u8 reg = bar_register(n);
    u64 address_bits = ~(bar->size - 1);
    store32(d->config + reg, fixed);
    store32(d->writable + reg, (u32)address_bits);
    if (bar->flags & PCI_BAR_64) {
        assert(n + 1 < PCI_BAR_COUNT);
        store32(d->writable + reg + 4, (u32)(address_bits >> 32));
    }
}

void pci_bar_io(struct pci_device *d, unsigned n, u32 size, const struct port_ops *ops,
                void *opaque)
{
    assert(size >= 4 && size <= 256);
    struct pci_bar bar = {
        .kind = PCI_BAR_IO, .size = size, .port_ops = ops, .opaque = opaque, .name = ops->name};
    lay_out_bar(d, n, &bar, BAR_IO_SPACE);
}

static u32 memory_flags(unsigned flags)
{
    return (flags & PCI_BAR_PREFETCH ? BAR_PREFETCH : 0) | (flags & PCI_BAR_64 ? BAR_MEMORY_64 : 0);
}

void pci_bar_mmio(struct pci_device *d, unsigned n, u64 size, unsigned flags,
                  const struct mmio_ops *ops, void *opaque)
{
    assert(size >= PAGE_BYTES);
    struct pci_bar bar = {.kind = PCI_BAR_MMIO,
                          .flags = flags,
                          .size = size,
                          .mmio_ops = ops,
                          .opaque = opaque,
                          .name = ops->name};
    lay_out_bar(d, n, &bar, memory_flags(flags));
}

void pci_bar_ram(struct pci_device *d, unsigned n, u64 size, unsigned flags, u64 offset,
                 const char *name)
{
    assert(size >= PAGE_BYTES);
    struct pci_bar bar = {
        .kind = PCI_BAR_RAM, .flags = flags, .size = size, .offset = offset, .name = name};
    lay_out_bar(d, n, &bar, memory_flags(flags));
}

void pci_bar_rom(struct pci_device *d, u32 size, u64 offset, const char *name)
{
    assert(size >= PAGE_BYTES);
    struct pci_bar bar = {.kind = PCI_BAR_ROM, .size = size, .offset = offset, .name = name};
    lay_out_bar(d, PCI_ROM_SLOT, &bar, 0);
    d->writable[PCI_ROM_ADDRESS] |= ROM_ENABLE;
}

/* A ROM for a family of devices names one of them; firmware runs it only where that is the one it
 * found. Writes our identity, and the difference into the byte that option ROMs keep for their
 * checksum. */
static void name_rom(struct pci_device *d, u8 *rom, u32 bytes)
{
    u32 at = bytes > ROM_PCI_DATA + 2 ? load16(rom + ROM_PCI_DATA) : bytes;
    if (at + ROM_PCI_DEVICE + 2 > bytes || memcmp(rom + at, "PCIR", 4) ||
        load16(rom + at + ROM_PCI_VENDOR) != d->info->vendor)
        return;
    u8 *device = rom + at + ROM_PCI_DEVICE;
    rom[ROM_CHECKSUM] = (u8)(rom[ROM_CHECKSUM] + device[0] + device[1]);
    store16(device, d->info->device);
    rom[ROM_CHECKSUM] = (u8)(rom[ROM_CHECKSUM] - device[0] - device[1]);
}

bool pci_rom_load(struct pci_device *d, const void *rom, u32 bytes, const char *name)
{
    u32 size = (u32)PAGE_BYTES;
    if (!bytes)
        return true;
    if (bytes > ROM_MAX)
        return false;
    while (size < bytes)
        size *= 2;
    u64 offset = physmem_alloc(d->bus->physmem, size, name);
    if (offset == UINT64_MAX)
        return false;
    u8 *copy = physmem_host(d->bus->physmem, offset);
    memcpy(copy, rom, bytes);
    name_rom(d, copy, bytes);
    pci_bar_rom(d, size, offset, name);
    return true;
}

/* ---- capabilities and messages ---- */

u8 pci_add_capability(struct pci_device *d, u8 id, u8 size)
{
    u8 at = d->next_capability;
    assert(size >= 2 && at + size <= PCI_CONFIG_BYTES);
    d->config[at] = id;
    d->config[at + 1] = d->config[PCI_CAPABILITY_LIST];
    d->config[PCI_CAPABILITY_LIST] = at;
    d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    d->next_capability = (u8)align_up(at + size, 4);
    return at;
}

void pci_add_msi(struct pci_device *d, unsigned log2_vectors)
{
    u8 at = pci_add_capability(d, PCI_CAP_MSI, MSI_BYTES);
    d->msi = at;
    store16(d->config + at + MSI_CONTROL, (u16)(MSI_64 | log2_vectors << 1));
    store16(d->writable + at + MSI_CONTROL, MSI_ENABLE | 7u << 4);
    store32(d->writable + at + MSI_ADDRESS, ~3u);
    store32(d->writable + at + MSI_ADDRESS_HIGH, ~0u);
    store16(d->writable + at + MSI_DATA, 0xffff);
}

static u16 msi_control(const struct pci_device *d)
{
    return load16(d->config + d->msi + MSI_CONTROL);
}

bool pci_msi_enabled(const struct pci_device *d)
{
    return d->msi && (msi_control(d) & MSI_ENABLE);
}

bool pci_msi_send(struct pci_device *d, unsigned vector)
{
    if (!pci_msi_enabled(d) || !(pci_command(d) & PCI_COMMAND_MASTER))
        return false;
    u16 control = msi_control(d);
    unsigned granted = MSI_GRANTED(control);
    if (granted > MSI_CAPABLE(control))
        granted = MSI_CAPABLE(control);
    u32 mask = (u32)mask64(granted);
    u32 data = load16(d->config + d->msi + MSI_DATA);
    if (d->bus->msi)
        d->bus->msi(d->bus->msi_opaque, load64(d->config + d->msi + MSI_ADDRESS),
                    (data & ~mask) | (vector & mask));
    return true;
}

/* ---- the interrupt pin ---- */

static void update_pin(struct pci_device *d)
{
    if (!d->info->interrupt_pin)
        return;
    if (d->intx)
        d->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        d->config[PCI_STATUS] &= (u8)~PCI_STATUS_INTERRUPT;
    bool messages = pci_msi_enabled(d) || pci_msix_enabled(d);
    bool seen = d->intx && !(pci_command(d) & PCI_COMMAND_INTX_DISABLE) && !messages;
    if (seen == d->intx_seen)
        return;
    d->intx_seen = seen;
    pci_bus_drive_pin(d->bus, d, seen);
}

void pci_set_intx(struct pci_device *d, bool level)
{
    d->intx = level;
    update_pin(d);
}

/* ---- configuration accesses ---- */

u32 pci_device_read(const struct pci_device *d, u8 reg, unsigned size)
{
    if (d->info->config_reading)
        d->info->config_reading(d->opaque, reg, size);
    return (u32)load_sized(d->config + reg, size);
}

static bool touches(unsigned reg, unsigned size, unsigned first, unsigned count)
{
    return reg < first + count && first < reg + size;
}

void pci_device_write(struct pci_device *d, u8 reg, u32 value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        u8 byte = (u8)(value >> (8 * i)), *c = &d->config[reg + i];
        u8 w = d->writable[reg + i];
        *c = (u8)((*c & ~w) | (byte & w));
        *c &= (u8) ~(byte & d->clear_on_1[reg + i]);
    }
    if (touches(reg, size, PCI_COMMAND, 2) || touches(reg, size, PCI_BASE_ADDRESS_0, CONFIG_BARS))
        pci_device_remap(d);
    update_pin(d);
    pci_msix_update(d);
    if (d->info->config_written)
        d->info->config_written(d->opaque, reg, size);
}

/* ---- DMA ---- */

bool pci_dma_read(struct pci_device *d, u64 pa, void *to, u64 size)
{
    if (pci_command(d) & PCI_COMMAND_MASTER)
        return physmem_read(d->bus->physmem, pa, to, size);
    memset(to, 0xff, size);
    return false;
}

bool pci_dma_write(struct pci_device *d, u64 pa, const void *from, u64 size)
{
    return (pci_command(d) & PCI_COMMAND_MASTER) && physmem_write(d->bus->physmem, pa, from, size);
}

u8 *pci_dma_map(struct pci_device *d, u64 pa, u64 size, u64 *run, bool for_write)
{
    if (!(pci_command(d) & PCI_COMMAND_MASTER))
        return NULL;
    return physmem_dma_map(d->bus->physmem, pa, size, run, for_write);
}

/* ---- life ---- */

static void lay_out_header(struct pci_device *d, const struct pci_info *info)
{
    u8 *c = d->config;
    store16(c + PCI_VENDOR_ID, info->vendor);
    store16(c + PCI_DEVICE_ID, info->device);
    c[PCI_REVISION_ID] = info->revision;
    c[PCI_CLASS_PROG] = (u8)info->class_code;
    store16(c + PCI_CLASS_DEVICE, (u16)(info->class_code >> 8));
    c[PCI_HEADER_TYPE] = info->multifunction ? PCI_HEADER_MULTIFUNCTION : 0;
    store16(c + PCI_SUBSYSTEM_VENDOR_ID, SUBSYSTEM_VENDOR);
    store16(c + PCI_SUBSYSTEM_ID, SUBSYSTEM_ID);
    c[PCI_INTERRUPT_PIN] = info->interrupt_pin;
    store16(c + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);

    u8 *w = d->writable;
    store16(w + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                                 PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    w[PCI_CACHE_LINE_SIZE] = 0xff;
    w[PCI_LATENCY_TIMER] = 0xff;
    w[PCI_INTERRUPT_LINE] = 0xff;
    d->clear_on_1[PCI_STATUS + 1] = 0xf9; /* the error bits 8 and 11 to 15 */
}

bool pci_device_init(struct pci_device *d, struct pci_bus *bus, u8 devfn,
                     const struct pci_info *info, void *opaque)
{
    if (bus->functions[devfn])
        return false;
    *d = (struct pci_device){.info = info,
                             .opaque = opaque,
                             .bus = bus,
                             .devfn = devfn,
                             .next_capability = FIRST_CAPABILITY};
    for (unsigned n = 0; n < ARRAY_LEN(d->bars); n++)
        d->bars[n].address = BAR_NOWHERE;
    lay_out_header(d, info);
    bus->functions[devfn] = d;
    return true;
}

void pci_device_fini(struct pci_device *d)
{
    if (!d->bus)
        return;
    pci_set_intx(d, false);
    for (unsigned n = 0; n < ARRAY_LEN(d->bars); n++)
        unmap_bar(d, &d->bars[n]);
    d->bus->functions[d->devfn] = NULL;
    d->bus = NULL;
}

void pci_device_reset(struct pci_device *d)
{
    store16(d->config + PCI_COMMAND, 0);
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        d->config[i] &= (u8)~d->clear_on_1[i];
    d->config[PCI_CACHE_LINE_SIZE] = d->config[PCI_LATENCY_TIMER] = 0;
    d->config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned i = PCI_BASE_ADDRESS_0; i < PCI_BASE_ADDRESS_0 + CONFIG_BARS; i++)
        d->config[i] &= (u8)~d->writable[i];
    for (unsigned i = 0; d->msi && i < MSI_BYTES; i++)
        d->config[d->msi + i] &= (u8)~d->writable[d->msi + i];
    pci_msix_reset(d);
    d->intx = false;
    pci_device_remap(d);
    update_pin(d);
}

void pci_device_loaded(struct pci_device *d)
{
    pci_device_remap(d);
    update_pin(d);
}
