/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of the AHCI controller. The input is a program of four-byte steps: register
 * accesses, commands built in memory out of the bytes that follow, descriptors, single bytes of the
 * lists and tables, and incidents (resets, a save's way back, a CD that goes).
 */
#include "ata_commands.h"
#include "card.h"
#include "devices/ahci.h"

#define LIST     0x1000u
#define RECEIVED 0x2000u
#define TABLES   0x4000u /* 4 of 512 bytes: a guest's slots share them */
#define FRAME    20
#define BUFFERS  0x8000u

static void reg(struct card_rig *r, unsigned port, u32 offset, u32 value)
{
    physmem_io_write(r->pm, CARD_MEMORY + 0x100 + 0x80 * port + offset, value, 4);
}

/* What a driver does, so that commands get further than the first check. */
static void enable(struct card_rig *r)
{
    pci_config_write(r->bus, 0, CARD_DEVFN, PCI_BASE_ADDRESS_0 + 4 * 5, CARD_MEMORY, 4);
    pci_config_write(r->bus, 0, CARD_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
                     2);
    for (unsigned port = 0; port < 2; port++) {
        reg(r, port, 0x00, LIST);
        reg(r, port, 0x08, RECEIVED);
        reg(r, port, 0x18, 0);
        reg(r, port, 0x18, 0x11);
    }
}

static void make_rig(struct card_rig *r)
{
    card_open(r);
    card_add_disks(r);
    struct ahci *ahci =
        ahci_create(&(struct ahci_config){.bus = r->bus, .devfn = CARD_DEVFN, .clock = r->clock});
    ahci_attach_disk(ahci, 0, r->disk);
    ahci_attach_cdrom(ahci, 1, r->cd);
    r->device = ahci_device(ahci);
    for (u32 i = 0; i < 4 * 24; i++) { /* descriptors of 8 KiB each */
        u8 *d = card_memory(r, TABLES + 512 * (i / 24) + 0x80 + i % 24 * 16);
        store32(d, BUFFERS + i % 24 * 0x2000u);
        store32(d + 12, 0x1fff);
    }
    enable(r);
}

/* A command in slot `where`: flags out of the step, the frame (and a packet) out of what follows.
 */
static void command(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    unsigned port = s[1] & 1, slot = s[1] >> 3;
    u32 table = TABLES + 512 * (s[2] & 3);
    u8 *header = card_memory(r, LIST + 32 * slot), *frame = card_memory(r, table);
    memset(frame, 0, 0x80);
    memcpy(frame, next, left < FRAME ? left : FRAME);
    if (left > FRAME)
        memcpy(frame + 0x40, next + FRAME, left - FRAME < 16 ? left - FRAME : 16);
    if (!(s[2] & 4)) {
        frame[0] = 0x27;
        frame[1] |= 0x80;
    }
    if (s[2] & 0x10)
        frame[2] = ata_command(frame[2]);
    if (s[2] & 0x20) {
        frame[2] = ATA_PACKET;
        frame[0x40] = packet_command(frame[0x40]);
    }
    if (frame[2] == ATA_SMART && frame[12] & 1) {
        frame[5] = ATA_SMART_MID;
        frame[6] = ATA_SMART_HIGH;
    }
    store32(header, 5 | (s[2] & 0x20) | (s[2] & 0x40) | (u32)s[3] << 16);
    store64(header + 8, table);
    if (s[2] & 8)
        reg(r, port, 0x34, 1u << slot);
    reg(r, port, 0x38, 1u << slot);
}

static void incident(struct card_rig *r, u8 which, u8 value)
{
    char error[256];
    struct device d = r->device;
    switch (which % 8) {
    case 0: block_change(r->cd, NULL, error, sizeof error); break;
    case 1:
        d.ops->reset(d.dev);
        enable(r);
        break;
    case 2: d.ops->loaded(d.dev); break;
    case 3: pci_config_write(r->bus, 0, CARD_DEVFN, PCI_COMMAND, value, 1); break;
    case 4: pci_config_write(r->bus, 0, CARD_DEVFN, value, 0xff, 1); break;
    case 5: clock_step(r->clock, (i64)value << 20); break;
    case 6: memory_file_fail(value & 1 ? r->disk_file : r->cd_file, 1, -EIO); break;
    default: enable(r); break;
    }
}

static void step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    static const unsigned sizes[] = {4, 4, 1, 8};
    u32 value = s[2] | (u32)s[3] << 8;
    switch (s[0] & 7) {
    case 0:
    case 1: command(r, s, next, left); break;
    case 2:
        physmem_io_write(r->pm, CARD_MEMORY + (u32)(s[1] & 7) * 4, value | value << 16, 4);
        break;
    case 3: reg(r, s[1] >> 7, (s[1] & 15) * 4, s[1] & 64 ? value << 16 : value); break;
    case 4: physmem_io_read(r->pm, CARD_MEMORY + value % 0x400, sizes[s[1] & 3]); break;
    case 5: /* a descriptor */
        store64(card_memory(r, TABLES + 512 * (s[1] & 3) + 0x80 + (s[1] >> 2) % 24 * 16),
                value << 5);
        store32(card_memory(r, TABLES + 512 * (s[1] & 3) + 0x8c + (s[1] >> 2) % 24 * 16),
                value | (s[0] & 8 ? 0x80000000u : 0));
        break;
    case 6: *card_memory(r, LIST + (value & 0x37ff)) = s[1]; break;
    default: incident(r, s[1], s[2]); break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    return card_run(data, size, make_rig, step);
}
