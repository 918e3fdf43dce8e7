/* SPDX-License-Identifier: MIT
 *
 * What fuzz targets of PCI cards share: memory full of the input, a slot, a clock, a disk and a CD
 * for controllers, and six-byte steps: operation, where (2), what (3).
 */
#ifndef ANELLO_TESTS_FUZZ_CARD_H
#define ANELLO_TESTS_FUZZ_CARD_H

#include <stdlib.h>

#include "../unit/fault_block.h"
#include "base/clock.h"
#include "devices/pci.h"
#include "memory_file.h"
#include "net/netdev.h"
#include "spaces.h"

#define CARD_RAM    KIB(256)
#define CARD_DEVFN  PCI_DEVFN(3, 0)
#define CARD_PORTS  0xc000u
#define CARD_MEMORY 0xfe000000u
#define CARD_DISK   (300 * 512)
#define CARD_CD     (40 * 2048)
#define CARD_DVD    (400000 * 2048ull) /* too large for a CD */
#define STEP_BYTES  6
#define STEPS_MAX   512

struct card_rig {
    struct physmem *pm;
    struct io_bus *ports;
    struct pci_bus *bus;
    struct clock *clock;
    struct netdev *netdev;
    struct device device;
    u64 ram;                 /* in the memfd */
    struct block *disk, *cd; /* NULL without card_add_disks() */
    struct block *dvd;       /* NULL without card_add_dvd() */
    struct memory_file *disk_file, *cd_file;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* A network that sends an answer to every fourth frame, from inside the sending. */
static inline void card_sent(void *opaque, const u8 *frame, size_t n)
{
    struct card_rig *r = opaque;
    u8 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (u8)(sum + frame[i]); /* reads every byte, for the sanitizers */
    if (sum % 4 == 0)
        netdev_deliver(r->netdev, frame, n);
}

static const struct netdev_ops card_cable = {.kind = "fuzz", .send = card_sent};

static inline void card_open(struct card_rig *r)
{
    static struct spaces spaces;
    spaces_open(&spaces, CARD_RAM, MIB(1));
    r->pm = spaces.pm;
    r->ports = spaces.ports;
    r->ram = spaces.ram;
    r->clock = clock_create_stepped();
    r->bus = pci_bus_create(&(struct pci_bus_config){.ports = r->ports, .physmem = r->pm});
    r->netdev = netdev_create(&card_cable, r);
    r->disk = r->cd = r->dvd = NULL;
    r->disk_file = r->cd_file = NULL;
}

static inline struct block *card_medium(struct memory_file *m, u64 bytes, bool cd)
{
    struct file *file = memory_file_open(m, bytes);
    file_truncate(file, bytes);
    return fault_block(file, cd, NULL);
}

static inline void card_add_disks(struct card_rig *r)
{
    static struct memory_file disk, cd;
    r->disk_file = &disk;
    r->cd_file = &cd;
    r->disk = card_medium(&disk, CARD_DISK, false);
    r->cd = card_medium(&cd, CARD_CD, true);
}

static inline void card_add_dvd(struct card_rig *r)
{
    static struct memory_file dvd;
    struct file *file = memory_file_open(&dvd, CARD_CD);
    memory_file_stretch(&dvd, CARD_DVD);
    r->dvd = fault_block(file, true, NULL);
}

/* Memory at pa, below CARD_RAM. */
static inline u8 *card_memory(struct card_rig *r, u32 pa)
{
    return physmem_host(r->pm, r->ram + pa);
}

static inline void card_enable(struct card_rig *r, unsigned port_bar, unsigned memory_bar)
{
    pci_config_write(r->bus, 0, CARD_DEVFN, (u8)(PCI_BASE_ADDRESS_0 + 4 * port_bar), CARD_PORTS, 4);
    pci_config_write(r->bus, 0, CARD_DEVFN, (u8)(PCI_BASE_ADDRESS_0 + 4 * memory_bar), CARD_MEMORY,
                     4);
    pci_config_write(r->bus, 0, CARD_DEVFN, PCI_COMMAND,
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline void card_close(struct card_rig *r)
{
    r->device.ops->destroy(r->device.dev);
    block_close(r->disk);
    block_close(r->cd);
    block_close(r->dvd);
    netdev_destroy(r->netdev);
    pci_bus_destroy(r->bus);
    clock_destroy(r->clock);
}

/* The beginning of memory becomes the input, again and again. */
static inline void card_fill(struct card_rig *r, const u8 *data, size_t size)
{
    u8 block[4096];
    for (size_t i = 0; size && i < sizeof block; i++)
        block[i] = data[i % size];
    for (u64 pa = 0; size && pa < CARD_RAM / 4; pa += sizeof block)
        physmem_write(r->pm, pa, block, sizeof block);
}

/* The input as a program of four-byte steps, each of which also sees what follows it. */
static inline int card_run(const u8 *data, size_t size, void (*make)(struct card_rig *),
                           void (*step)(struct card_rig *, const u8 *s, const u8 *next,
                                        size_t left))
{
    struct card_rig r;
    make(&r);
    for (size_t at = 0; at + 4 <= size; at += 4)
        step(&r, data + at, data + at + 4, size - at - 4);
    card_close(&r);
    return 0;
}

static inline void card_step(struct card_rig *r, const u8 *s, u32 register_bytes)
{
    u16 where = load16(s + 1);
    u32 value = load16(s + 3) | (u32)s[5] << 16;
    u8 frame[2048] = {0};
    switch (s[0] % 10) {
    case 0: physmem_io_write(r->pm, CARD_MEMORY + where % register_bytes, value, 4); break;
    case 1:
        physmem_io_write(r->pm, CARD_MEMORY + where % register_bytes, value, 1u << s[0] % 3);
        break;
    case 2: physmem_io_read(r->pm, CARD_MEMORY + where % register_bytes, 1u << s[5] % 4); break;
    case 3: io_bus_write(r->ports, (u16)(CARD_PORTS + where % 64), value, 1u << s[5] % 3); break;
    case 4: io_bus_read(r->ports, (u16)(CARD_PORTS + where % 64), 1u << s[5] % 3); break;
    case 5: physmem_write(r->pm, where, s + 3, 3); break;
    case 6: clock_step(r->clock, value); break;
    case 7:
        memset(frame, s[3] % 2 ? 0xff : s[4], 12);
        memcpy(frame + 12, s + 2, 4);
        netdev_deliver(r->netdev, frame, where % sizeof frame);
        break;
    case 8: pci_config_write(r->bus, 0, CARD_DEVFN, s[1] & 0xfc, value, 4); break;
    case 9: r->device.ops->reset(r->device.dev); break;
    }
}

#endif
