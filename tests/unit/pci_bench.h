/* SPDX-License-Identifier: MIT
 *
 * What tests of PCI cards stand on: a bus with memory and one slot whose BARs are mapped, a stepped
 * clock, the interrupt pin, and a network cable whose other end remembers frames.
 */
#ifndef ANELLO_TESTS_PCI_BENCH_H
#define ANELLO_TESTS_PCI_BENCH_H

#include "device_rig.h"
#include "net/netdev.h"

#define BENCH_RAM    MIB(4)
#define BENCH_DEVFN  PCI_DEVFN(3, 0)
#define BENCH_PORTS  0xc000
#define BENCH_MEMORY 0xfe000000u
#define BENCH_FRAMES 16

struct bench {
    struct rig rig;
    bool pirq[PCI_PIRQ_COUNT];
    unsigned messages; /* MSI or MSI-X */
    u64 message_address;
    u32 message_data;
    struct netdev *netdev;
    struct {
        size_t bytes;
        u8 data[2048]; /* the beginning of longer ones */
    } sent[BENCH_FRAMES];
    unsigned sent_count;
};

static inline void bench_pirq(void *opaque, unsigned pirq, bool level)
{
    ((struct bench *)opaque)->pirq[pirq] = level;
}

static inline void bench_message(void *opaque, u64 address, u32 data)
{
    struct bench *b = opaque;
    b->messages++;
    b->message_address = address;
    b->message_data = data;
}

static inline void bench_sent(void *opaque, const u8 *frame, size_t n)
{
    struct bench *b = opaque;
    unsigned at = b->sent_count++ % BENCH_FRAMES;
    b->sent[at].bytes = n;
    memcpy(b->sent[at].data, frame, n < sizeof b->sent[at].data ? n : sizeof b->sent[at].data);
}

static const struct netdev_ops bench_cable = {.kind = "test", .send = bench_sent};

static inline struct bench *bench_open(void)
{
    struct bench *b = calloc(1, sizeof *b);
    rig_open(&b->rig);
    rig_add_memory(&b->rig, BENCH_RAM, MIB(1));
    rig_add_pci(&b->rig);
    pci_bus_set_router(b->rig.pci, bench_pirq, b);
    pci_bus_set_msi(b->rig.pci, bench_message, b);
    b->netdev = netdev_create(&bench_cable, b);
    return b;
}

static inline u32 bench_config(struct bench *b, u8 reg, unsigned size)
{
    return pci_config_read(b->rig.pci, 0, BENCH_DEVFN, reg, size);
}

static inline void bench_config_write(struct bench *b, u8 reg, u32 value, unsigned size)
{
    pci_config_write(b->rig.pci, 0, BENCH_DEVFN, reg, value, size);
}

/* Where the function's capability `id` lies in its configuration space; 0: it has none. */
static inline u8 bench_capability(struct bench *b, u8 id)
{
    u8 at = (u8)bench_config(b, PCI_CAPABILITY_LIST, 1);
    while (at && bench_config(b, at, 1) != id)
        at = (u8)bench_config(b, (u8)(at + 1), 1);
    return at;
}

static inline void bench_enable(struct bench *b, unsigned port_bar, unsigned memory_bar)
{
    bench_config_write(b, (u8)(PCI_BASE_ADDRESS_0 + 4 * port_bar), BENCH_PORTS, 4);
    bench_config_write(b, (u8)(PCI_BASE_ADDRESS_0 + 4 * memory_bar), BENCH_MEMORY, 4);
    bench_config_write(b, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline void bench_close(struct bench *b)
{
    struct netdev *netdev = b->netdev; /* outlives the card */
    rig_close(&b->rig);
    netdev_destroy(netdev);
    free(b);
}

/* Any of the four lines: there is but one card. */
static inline bool bench_irq(const struct bench *b)
{
    return b->pirq[0] || b->pirq[1] || b->pirq[2] || b->pirq[3];
}

/* Guest memory at pa; tests stay within BENCH_RAM. */
static inline u8 *bench_ram(struct bench *b, u64 pa)
{
    u64 run;
    return physmem_dma_map(b->rig.pm, pa, 1, &run, true);
}

#endif
