/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of the IDE controller. The input is a program of four-byte steps: port accesses
 * to every register of both channels and of the bus-master engine, whole packets, descriptors in
 * memory, configuration writes, media changes and resets.
 */
#include "card.h"
#include "devices/piix_ide.h"

#define BM_BASE CARD_PORTS

static void enable(struct card_rig *r)
{
    pci_config_write(r->bus, 0, CARD_DEVFN, 0x40, 0x80008000, 4);
    pci_config_write(r->bus, 0, CARD_DEVFN, 0x20, BM_BASE, 4);
    pci_config_write(r->bus, 0, CARD_DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static void make_rig(struct card_rig *r)
{
    card_open(r);
    card_add_disks(r);
    struct piix_ide *ide = piix_ide_create(&(struct piix_ide_config){
        .bus = r->bus, .devfn = CARD_DEVFN, .ports = r->ports, .clock = r->clock});
    piix_ide_attach_disk(ide, 0, 0, r->disk);
    piix_ide_attach_cdrom(ide, 0, 1, r->cd);
    r->device = piix_ide_device(ide);
    enable(r);
}

static u16 port_of(u8 index)
{
    static const u16 ports[] = {
        0x1f0,       0x1f1,       0x1f2,   0x1f3,       0x1f4,       0x1f5,       0x1f6,
        0x1f7,       0x3f6,       BM_BASE, BM_BASE + 2, BM_BASE + 4, BM_BASE + 5, BM_BASE + 6,
        BM_BASE + 7, BM_BASE + 8, 0x170,   0x177,       0x376,       0x1f7,
    };
    return ports[index % ARRAY_LEN(ports)];
}

static void repeat_data(struct card_rig *r, bool write, u32 times, unsigned width)
{
    for (u32 i = 0; i < times; i++) {
        if (write)
            io_bus_write(r->ports, 0x1f0, i * 0x01010101, width);
        else
            io_bus_read(r->ports, 0x1f0, width);
    }
}

/* The odd things that happen to a controller. */
static void incident(struct card_rig *r, u8 which, u8 value)
{
    char error[256];
    struct device d = r->device;
    switch (which % 8) {
    case 0: piix_ide_eject(d.dev, 0, 1, value & 1); break;
    case 1: piix_ide_medium_changed(d.dev, 0, 1); break;
    case 2: block_change(r->cd, NULL, error, sizeof error); break;
    case 3:
        d.ops->reset(d.dev);
        enable(r);
        break;
    case 4: d.ops->loaded(d.dev); break;
    case 5: pci_config_write(r->bus, 0, CARD_DEVFN, PCI_COMMAND, value, 1); break;
    case 6: pci_config_write(r->bus, 0, CARD_DEVFN, 0x40 + (value & 7), value, 1); break;
    default: enable(r); break;
    }
}

static void step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    static const u8 widths[] = {1, 2, 4, 1};
    unsigned width = widths[s[0] >> 6];
    u32 value = s[2] | (u32)s[3] << 8;
    switch (s[0] & 7) {
    case 0:
    case 1: io_bus_write(r->ports, port_of(s[1]), s[2], 1); break;
    case 2: io_bus_write(r->ports, port_of(s[1]), value | value << 16, width); break;
    case 3: io_bus_read(r->ports, port_of(s[1]), width); break;
    case 4: repeat_data(r, s[1] & 1, value & 0x1fff, width); break;
    case 5: /* a packet out of the input */
        io_bus_write(r->ports, 0x1f1, s[1], 1);
        io_bus_write(r->ports, 0x1f7, 0xa0, 1);
        for (size_t i = 0; i < 12 && i < left; i++)
            io_bus_write(r->ports, 0x1f0, next[i], 1);
        break;
    case 6: /* a descriptor, and the engine at it */
        store32(card_memory(r, s[1] & 0xf8), value << 4);
        store32(card_memory(r, (s[1] & 0xf8) + 4u), (s[1] & 1 ? 0x80000000u : 0) | value);
        break;
    default: incident(r, s[1], s[2]); break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    return card_run(data, size, make_rig, step);
}
