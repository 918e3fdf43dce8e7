/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of the IDE controller. The input is a program of four-byte steps: port accesses
 * to every register of both channels and of the bus-master engine, whole commands and packets,
 * descriptors in memory, configuration writes, media changes, read errors and resets.
 */
#include "ata_commands.h"
#include "card.h"
#include "devices/piix_ide.h"

#define BM_BASE     CARD_PORTS
#define DATA        0x1f0
#define DEVICE      0x1f6
#define COMMAND     0x1f7
#define PACKET_LEN  12
#define DMA_BUFFERS 0x8000u

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
    card_add_dvd(r);
    piix_ide_attach_cdrom(ide, 1, 0, r->dvd);
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
            io_bus_write(r->ports, DATA, i * 0x01010101, width);
        else
            io_bus_read(r->ports, DATA, width);
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

static u8 byte_of(const u8 *next, size_t left, size_t at)
{
    return at < left ? next[at] : 0;
}

/* The registers from FEATURES to LBA HIGH out of what follows the step, their old values first for
 * commands of 48 bits, and a command that exists. */
static void command(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    u8 code = ata_command(s[2]);
    for (unsigned round = s[1] & 1 ? 0 : 1; round < 2; round++) {
        for (u16 i = 0; i < 5; i++)
            io_bus_write(r->ports, (u16)(DATA + 1 + i), byte_of(next, left, round * 5 + i), 1);
    }
    if (code == ATA_SMART && s[1] & 2) {
        io_bus_write(r->ports, DATA + 1, 0xd0 + (s[3] & 15), 1);
        io_bus_write(r->ports, DATA + 4, ATA_SMART_MID, 1);
        io_bus_write(r->ports, DATA + 5, ATA_SMART_HIGH, 1);
    }
    io_bus_write(r->ports, DEVICE, s[3] & 0x5f, 1);
    io_bus_write(r->ports, COMMAND, code, 1);
}

/* One of the pages that a drive takes, as MODE SELECT sends it: a header of zeros and the page,
 * whose body is the input's. Gives its length. */
static unsigned mode_list(u8 *list, const u8 *s, const u8 *next, size_t left)
{
    enum { HEADER = 8 };
    static const u8 pages[][2] = {{0x01, 6}, {0x0d, 6}, {0x0e, 14}, {0x1a, 10}, {0x2a, 18}};
    const u8 *page = pages[s[2] % ARRAY_LEN(pages)];
    memset(list, 0, HEADER);
    list[HEADER] = page[0];
    list[HEADER + 1] = page[1];
    for (unsigned i = 0; i < page[1]; i++)
        list[HEADER + 2 + i] = byte_of(next, left, i);
    return HEADER + 2u + page[1];
}

static void write_words(struct card_rig *r, u16 port, const u8 *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i += 2)
        io_bus_write(r->ports, port, load16(bytes + i), 2);
}

enum packet_step {
    PACKET_DMA = 1 << 0,
    PACKET_DATA = 1 << 1,
    PACKET_WRITES = 1 << 2,
    PACKET_TO_DVD = 1 << 3,
    PACKET_SELECTS = 1 << 4, /* a mode page, and nothing else */
};

/* A packet to a CD drive, and perhaps its data. */
static void packet(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    enum { MODE_SELECT = 0x55, LENGTH = 8 };
    u8 bytes[PACKET_LEN] = {0}, list[64];
    u16 base = s[1] & PACKET_TO_DVD ? 0x170 : DATA;
    unsigned listed = mode_list(list, s, next, left);
    memcpy(bytes, next, left < PACKET_LEN ? left : PACKET_LEN);
    bytes[0] = packet_command(bytes[0]);
    if (s[1] & PACKET_SELECTS) {
        memset(bytes, 0, sizeof bytes);
        bytes[0] = MODE_SELECT;
        bytes[LENGTH] = (u8)listed;
    }
    io_bus_write(r->ports, base + 6, s[1] & PACKET_TO_DVD ? 0 : 0x10, 1);
    io_bus_write(r->ports, base + 1, s[1] & PACKET_DMA, 1);
    io_bus_write(r->ports, base + 4, s[2], 1);
    io_bus_write(r->ports, base + 5, s[3], 1);
    io_bus_write(r->ports, base + 7, ATA_PACKET, 1);
    write_words(r, base, bytes, PACKET_LEN);
    if (s[1] & PACKET_SELECTS)
        write_words(r, base, list, listed);
    else if (base == DATA)
        repeat_data(r, s[1] & PACKET_WRITES, s[1] & PACKET_DATA ? 64 : 0, 2);
}

/* A table of descriptors, all of them good ones, and the engine at it. */
static void start_engine(struct card_rig *r, const u8 *s)
{
    unsigned last = s[1] & 7;
    for (unsigned i = 0; i <= last; i++) {
        store32(card_memory(r, 8 * i), DMA_BUFFERS + i * 0x1000u + (s[2] & 0xfe));
        store32(card_memory(r, 8 * i + 4), (u32)(s[3] & 0xfe) << 4 | (i == last ? 1u << 31 : 0));
    }
    io_bus_write(r->ports, BM_BASE + 4, 0, 4);
    io_bus_write(r->ports, BM_BASE, (s[1] & 8) | 1, 1);
}

static void larger_step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    switch (s[0] & 7) {
    case 0:
    case 1:
    case 2: command(r, s, next, left); break;
    case 3:
    case 4: packet(r, s, next, left); break;
    case 5: start_engine(r, s); break;
    case 6: clock_step(r->clock, (i64)s[1] << s[2] % 24); break;
    default: memory_file_fail(s[1] & 1 ? r->disk_file : r->cd_file, 1, -EIO); break;
    }
}

static void step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    static const u8 widths[] = {1, 2, 4, 1};
    unsigned width = widths[s[0] >> 6];
    u32 value = s[2] | (u32)s[3] << 8;
    if (s[0] & 8) {
        larger_step(r, s, next, left);
        return;
    }
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
