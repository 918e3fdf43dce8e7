/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the configuration ports: a chipset (of the q35 board when the first byte is
 * odd) and a function with every kind of BAR, six-byte steps of configuration accesses, by ports
 * and by memory, memory and port accesses, pins, messages and DMA.
 */
#include <stdlib.h>

#include "devices/i440fx.h"
#include "devices/ich9_lpc.h"
#include "devices/ich9_smbus.h"
#include "devices/mch.h"
#include "devices/piix3.h"
#include "spaces.h"

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

#define SMBUS       PCI_DEVFN(ICH9_SLOT, ICH9_SMBUS_FUNCTION)
#define SMBUS_PORTS 0xb100

struct rig {
    struct physmem *physmem;
    struct io_bus *ports;
    struct pci_bus *bus;
    struct device chips[3];
    unsigned chip_count;
    struct pci_device function;
};

static void add(struct rig *r, struct device d)
{
    r->chips[r->chip_count++] = d;
}

static void add_chipset(struct rig *r, bool q35, struct host_memory_config memory)
{
    r->chip_count = 0;
    if (q35) {
        memory.low_ram_max = MCH_LOW_RAM_MAX;
        add(r, mch_device(mch_create(r->bus, &memory)));
        struct ich9_lpc_config lpc = {.bus = r->bus, .physmem = r->physmem};
        add(r, ich9_lpc_device(ich9_lpc_create(&lpc)));
        add(r, ich9_smbus_device(ich9_smbus_create(r->bus, SMBUS, NULL)));
    } else {
        memory.low_ram_max = I440FX_LOW_RAM_MAX;
        add(r, i440fx_device(i440fx_create(r->bus, &memory)));
        add(r, piix3_device(piix3_create(&(struct piix3_config){.bus = r->bus, .slot = 1})));
    }
}

static void make_rig(struct rig *r, bool q35)
{
    static struct spaces spaces;
    spaces_open(&spaces, 0, MIB(4));
    r->physmem = spaces.pm;
    r->ports = spaces.ports;
    r->bus = pci_bus_create(&(struct pci_bus_config){.ports = r->ports, .physmem = r->physmem});
    u64 rom = physmem_alloc(r->physmem, KIB(64), "bios");
    add_chipset(
        r, q35,
        (struct host_memory_config){
            .physmem = r->physmem, .ram_bytes = MIB(2), .rom_offset = rom, .rom_bytes = KIB(64)});
    pci_device_init(&r->function, r->bus, PCI_DEVFN(2, 0), &info, NULL);
    u64 memory = physmem_alloc(r->physmem, KIB(64), "bar");
    pci_bar_io(&r->function, 0, 32, &port_ops, NULL);
    pci_bar_mmio(&r->function, 1, KIB(4), 0, &mmio_ops, NULL);
    pci_bar_ram(&r->function, 2, KIB(64), PCI_BAR_64 | PCI_BAR_PREFETCH, memory, "bar");
    pci_bar_rom(&r->function, KIB(16), rom, "rom");
    pci_add_msi(&r->function, 1);
    pci_add_msix(&r->function, 3, 4);
}

static void free_rig(struct rig *r)
{
    pci_device_fini(&r->function);
    while (r->chip_count--)
        r->chips[r->chip_count].ops->destroy(r->chips[r->chip_count].dev);
    pci_bus_destroy(r->bus);
}

static void step(struct rig *r, const u8 *s)
{
    static const u8 slots[] = {PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(2, 0), PCI_DEVFN(31, 0)};
    u32 value = load32(s + 2);
    unsigned width = 1u << (s[0] >> 6) % 3;
    u8 devfn = slots[s[0] >> 4 & 3];
    u64 ecam = MCH_ECAM_BASE + ((u64)devfn << 12) + s[1];
    switch (s[0] & 15) {
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
    case 6: physmem_io_write(r->physmem, ecam, value, width); break;
    case 7: /* the SMBus: its ports, and one of its registers */
        pci_config_write(r->bus, 0, SMBUS, PCI_BASE_ADDRESS_0 + 4 * 4, SMBUS_PORTS, 4);
        pci_config_write(r->bus, 0, SMBUS, PCI_COMMAND, PCI_COMMAND_IO, 2);
        pci_config_write(r->bus, 0, SMBUS, 0x40, 1, 1);
        io_bus_write(r->ports, SMBUS_PORTS + (s[1] & 31), value, 1);
        io_bus_read(r->ports, SMBUS_PORTS + (s[1] >> 3), 1);
        break;
    case 8: physmem_io_read(r->physmem, ecam, width); break;
    case 9:
        pci_msix_send(&r->function, s[1]);
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
    make_rig(&r, size && data[0] & 1);
    for (size_t at = 1; at + 6 <= size; at += 6)
        step(&r, data + at);
    free_rig(&r);
    return 0;
}
