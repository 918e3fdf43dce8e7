/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the configuration ports: the chipset and a function with every kind of BAR,
 * six-byte steps of configuration accesses, memory and port accesses, pins and DMA.
 */
#include <stdlib.h>

#include "devices/i440fx.h"
#include "devices/piix3.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static u32 port_in(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    return offset + size;
}

static u64 mmio_in(void *opaque, u64 offset, unsigned size)
{
    (void)opaque;
    return offset + size;
}

static void mmio_out(void *opaque, u64 offset, u64 value, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)value;
    (void)size;
}

static const struct port_ops port_ops = {.name = "fuzz-io", .read = port_in, .max_size = 4};
static const struct mmio_ops mmio_ops = {.name = "fuzz-mmio", .read = mmio_in, .write = mmio_out};
static const struct pci_info info = {
    .name = "fuzz", .vendor = 1, .device = 2, .class_code = 0xff0000, .interrupt_pin = 1};

struct rig {
    struct physmem *physmem;
    struct io_bus *ports;
    struct pci_bus *bus;
    struct i440fx *host;
    struct piix3 *isa;
    struct pci_device function;
};

static void make_rig(struct rig *r)
{
    r->physmem = physmem_create(MIB(4), NULL);
    r->ports = io_bus_create(NULL);
    r->bus = pci_bus_create(&(struct pci_bus_config){.ports = r->ports, .physmem = r->physmem});
    u64 rom = physmem_alloc(r->physmem, KIB(64), "bios");
    r->host = i440fx_create(r->bus, &(struct host_memory_config){.physmem = r->physmem,
                                                                 .ram_bytes = MIB(2),
                                                                 .low_ram_max = I440FX_LOW_RAM_MAX,
                                                                 .rom_offset = rom,
                                                                 .rom_bytes = KIB(64)});
    r->isa = piix3_create(&(struct piix3_config){.bus = r->bus, .slot = 1});
    pci_device_init(&r->function, r->bus, PCI_DEVFN(2, 0), &info, NULL);
    u64 memory = physmem_alloc(r->physmem, KIB(64), "bar");
    pci_bar_io(&r->function, 0, 32, &port_ops, NULL);
    pci_bar_mmio(&r->function, 1, KIB(4), 0, &mmio_ops, NULL);
    pci_bar_ram(&r->function, 2, KIB(64), PCI_BAR_64 | PCI_BAR_PREFETCH, memory, "bar");
    pci_bar_rom(&r->function, KIB(16), rom, "rom");
    pci_add_msi(&r->function, 1);
}

static void free_rig(struct rig *r)
{
    struct device host = i440fx_device(r->host), isa = piix3_device(r->isa);
    pci_device_fini(&r->function);
    isa.ops->destroy(isa.dev);
    host.ops->destroy(host.dev);
    pci_bus_destroy(r->bus);
    io_bus_destroy(r->ports);
    physmem_destroy(r->physmem);
}

static void step(struct rig *r, const u8 *s)
{
    static const u8 slots[] = {PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(2, 0), PCI_DEVFN(2, 1)};
    u32 value = load32(s + 2);
    unsigned width = 1u << (s[0] >> 6) % 3;
    u8 devfn = slots[s[0] >> 4 & 3];
    switch (s[0] & 7) {
    case 0:
    case 1:
        io_bus_write(r->ports, 0xcf8, 0x80000000u | (u32)devfn << 8 | s[1], 4);
        io_bus_write(r->ports, (u16)(0xcfc + (s[1] & 3)), value, width);
        break;
    case 2:
        io_bus_write(r->ports, 0xcf8, 0x80000000u | (u32)devfn << 8 | s[1], 4);
        io_bus_read(r->ports, (u16)(0xcfc + (s[1] & 3)), width);
        break;
    case 3: io_bus_write(r->ports, (u16)(0xcf8 + (s[1] & 7)), value, width); break;
    case 4: physmem_io_write(r->physmem, value, value, width); break;
    case 5: physmem_io_read(r->physmem, value, width); break;
    case 6:
        pci_set_intx(&r->function, s[1] & 1);
        pci_msi_send(&r->function, s[1]);
        pci_dma_write(&r->function, value, s, 6);
        break;
    default:
        if (s[1] & 1)
            pci_device_reset(&r->function);
        io_bus_read(r->ports, (u16)value, width);
        break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct rig r;
    make_rig(&r);
    for (size_t at = 0; at + 6 <= size; at += 6)
        step(&r, data + at);
    free_rig(&r);
    return 0;
}
