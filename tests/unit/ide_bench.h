/* SPDX-License-Identifier: MIT
 *
 * A board with nothing but memory, a PCI bus and the IDE controller, for tests that drive it from
 * the bus side. The disk is 1.0 and the CD 1.1; both lie in files that can be made to fail.
 */
#ifndef ANELLO_TESTS_IDE_BENCH_H
#define ANELLO_TESTS_IDE_BENCH_H

#include "device_rig.h"
#include "devices/piix_ide.h"
#include "fault_block.h"

#define RAM_BYTES    MIB(2)
#define DISK_SECTORS 20000u /* not a whole number of default cylinders */
#define CD_SECTORS   300u
#define BM_BASE      0xc000
#define DEVFN        PCI_DEVFN(1, 1)

enum { CMD = 0x1f0, CTL = 0x3f6 };
enum { DATA, ERR, COUNT, LOW, MID, HIGH, DEV, STATUS };
enum { FEATURES = ERR };
enum { S_ERR = 1, S_DRQ = 8, S_DSC = 0x10, S_DRDY = 0x40, S_BSY = 0x80 };

struct ide_bench {
    struct rig rig;
    struct loop *loop;
    struct piix_ide *ide;
    struct file *disk_file, *cd_file;
    struct block *disk, *cd;
    bool irq[2];
    unsigned irqs[2]; /* rising edges */
};

static inline void bench_heard_irq(void *opaque, unsigned n, bool level)
{
    struct ide_bench *b = opaque;
    if (level && !b->irq[n])
        b->irqs[n]++;
    b->irq[n] = level;
}

static inline struct block *bench_disk(struct ide_bench *b, u64 bytes, bool cd, struct file **file)
{
    *file = fault_file_create();
    fault_fill(*file, bytes);
    return fault_block(*file, cd, b->loop);
}

static inline void bench_config(struct ide_bench *b, u8 reg, u32 value, unsigned size)
{
    pci_config_write(b->rig.pci, 0, DEVFN, reg, value, size);
}

/* What firmware does: decode the legacy ports, place the engine, allow bus mastering. */
static inline void bench_enable(struct ide_bench *b)
{
    bench_config(b, 0x40, 0x80008000, 4);
    bench_config(b, 0x20, BM_BASE, 4);
    bench_config(b, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static inline int bench_setup(void **state)
{
    struct ide_bench *b = rig_setup(state, sizeof *b);
    rig_add_memory(&b->rig, RAM_BYTES, 0);
    rig_add_pci(&b->rig);
    b->loop = loop_create(b->rig.clock);
    struct piix_ide_config config = {
        .bus = b->rig.pci, .devfn = DEVFN, .ports = b->rig.bus, .clock = b->rig.clock};
    for (unsigned c = 0; c < 2; c++)
        config.irq[c] = (struct irq_line){.set = bench_heard_irq, .opaque = b, .n = c};
    b->ide = piix_ide_create(&config);
    rig_add(&b->rig, piix_ide_device(b->ide));
    b->disk = bench_disk(b, (u64)DISK_SECTORS * SECTOR_BYTES, false, &b->disk_file);
    b->cd = bench_disk(b, (u64)CD_SECTORS * 2048, true, &b->cd_file);
    piix_ide_attach_disk(b->ide, 0, 0, b->disk);
    piix_ide_attach_cdrom(b->ide, 1, 0, b->cd);
    bench_enable(b);
    return 0;
}

static inline int bench_teardown(void **state)
{
    struct ide_bench *b = *state;
    rig_destroy_devices(&b->rig);
    block_close(b->disk);
    block_close(b->cd);
    loop_destroy(b->loop);
    return rig_teardown(state);
}

static inline u8 *bench_memory(struct ide_bench *b, u32 pa)
{
    return physmem_host(b->rig.pm, pa);
}

/* Ports of channel c: the second one lies 80h below the first. */
static inline u32 in(struct ide_bench *b, unsigned c, u16 reg, unsigned size)
{
    return io_bus_read(b->rig.bus, (u16)(CMD - 0x80 * c + reg), size);
}

static inline void out(struct ide_bench *b, unsigned c, u16 reg, u32 value)
{
    io_bus_write(b->rig.bus, (u16)(CMD - 0x80 * c + reg), value, 1);
}

static inline u8 alternate(struct ide_bench *b, unsigned c)
{
    return (u8)io_bus_read(b->rig.bus, (u16)(CTL - 0x80 * c), 1);
}

static inline void control(struct ide_bench *b, unsigned c, u8 value)
{
    io_bus_write(b->rig.bus, (u16)(CTL - 0x80 * c), value, 1);
}

/* Lets the host work until the drive is not busy; reads the status once, as a driver does. */
static inline u8 settle(struct ide_bench *b, unsigned c)
{
    for (int i = 0; i < 2000 && (alternate(b, c) & S_BSY); i++)
        loop_turn(b->loop, 5);
    return (u8)in(b, c, STATUS, 1);
}

/* As settle(), for DMA: until the drive wants no more data. */
static inline u8 settle_dma(struct ide_bench *b, unsigned c)
{
    for (int i = 0; i < 2000 && (alternate(b, c) & (S_BSY | S_DRQ)); i++)
        loop_turn(b->loop, 5);
    return (u8)in(b, c, STATUS, 1);
}

/* An LBA28 command. */
static inline void ata(struct ide_bench *b, u8 command, u32 lba, u8 count)
{
    out(b, 0, DEV, 0xe0 | (lba >> 24 & 0xf));
    out(b, 0, COUNT, count);
    out(b, 0, LOW, lba & 0xff);
    out(b, 0, MID, lba >> 8 & 0xff);
    out(b, 0, HIGH, lba >> 16 & 0xff);
    out(b, 0, STATUS, command);
}

/* An LBA48 command. */
static inline void ata48(struct ide_bench *b, u8 command, u64 lba, u16 count)
{
    out(b, 0, DEV, 0xe0);
    out(b, 0, COUNT, count >> 8);
    out(b, 0, LOW, lba >> 24 & 0xff);
    out(b, 0, MID, lba >> 32 & 0xff);
    out(b, 0, HIGH, lba >> 40 & 0xff);
    out(b, 0, COUNT, count & 0xff);
    out(b, 0, LOW, lba & 0xff);
    out(b, 0, MID, lba >> 8 & 0xff);
    out(b, 0, HIGH, lba >> 16 & 0xff);
    out(b, 0, STATUS, command);
}

static inline u32 task_file_lba(struct ide_bench *b, unsigned c)
{
    return in(b, c, LOW, 1) | in(b, c, MID, 1) << 8 | in(b, c, HIGH, 1) << 16;
}

/* Reads or writes n bytes through the data port, by words. */
static inline void pio_in(struct ide_bench *b, unsigned c, u8 *to, u32 n)
{
    for (u32 i = 0; i < n; i += 2)
        store16(to + i, (u16)in(b, c, DATA, 2));
}

static inline void pio_out(struct ide_bench *b, unsigned c, const u8 *from, u32 n)
{
    for (u32 i = 0; i < n; i += 2)
        io_bus_write(b->rig.bus, (u16)(CMD - 0x80 * c), load16(from + i), 2);
}

/* ---- the bus-master engine ---- */

enum { BM_CMD = 0, BM_ST = 2, BM_PRDT = 4 };
enum { BM_GO = 1, BM_IN = 8, BM_ST_ACTIVE = 1, BM_ST_ERROR = 2, BM_ST_IRQ = 4 };

static inline u8 bm_in(struct ide_bench *b, unsigned c, u16 reg)
{
    return (u8)io_bus_read(b->rig.bus, (u16)(BM_BASE + 8 * c + reg), 1);
}

static inline void bm_out(struct ide_bench *b, unsigned c, u16 reg, u8 value)
{
    io_bus_write(b->rig.bus, (u16)(BM_BASE + 8 * c + reg), value, 1);
}

#define PRD_TABLE 0x1000

/* Writes descriptor i; count 0 means 64 KiB. */
static inline void prd(struct ide_bench *b, unsigned i, u32 address, u16 count, bool last)
{
    store32(bench_memory(b, PRD_TABLE + 8 * i), address);
    store32(bench_memory(b, PRD_TABLE + 8 * i + 4), count | (last ? 0x80000000u : 0));
}

static inline void bm_start(struct ide_bench *b, unsigned c, bool to_memory)
{
    io_bus_write(b->rig.bus, (u16)(BM_BASE + 8 * c + BM_PRDT), PRD_TABLE, 4);
    bm_out(b, c, BM_ST, BM_ST_ERROR | BM_ST_IRQ);
    bm_out(b, c, BM_CMD, to_memory ? BM_IN : 0);
    bm_out(b, c, BM_CMD, (to_memory ? BM_IN : 0) | BM_GO);
}

/* ---- packets ---- */

/* Sends a packet; dma: its data go by the engine. The drive's answer starts after it. */
static inline void packet(struct ide_bench *b, const u8 *bytes, u16 limit, bool dma)
{
    out(b, 1, DEV, 0xa0);
    out(b, 1, FEATURES, dma);
    out(b, 1, MID, limit & 0xff);
    out(b, 1, HIGH, limit >> 8);
    out(b, 1, STATUS, 0xa0);
    assert_int_equal(settle(b, 1) & S_DRQ, S_DRQ);
    assert_int_equal(in(b, 1, COUNT, 1) & 3, 1); /* command, to the drive */
    pio_out(b, 1, bytes, 12);
}

/* Runs a packet command that answers by PIO; returns how many bytes came, and the final status
 * in *status. */
static inline u32 packet_in(struct ide_bench *b, const u8 *bytes, u16 limit, u8 *to, u32 room,
                            u8 *status)
{
    u32 got = 0;
    packet(b, bytes, limit, false);
    while ((*status = settle(b, 1)) & S_DRQ) {
        u32 n = in(b, 1, MID, 1) | in(b, 1, HIGH, 1) << 8;
        assert_int_equal(in(b, 1, COUNT, 1) & 3, 2); /* data, to the host */
        assert_true(n && n <= (limit ? limit : 0xfffe) && got + n <= room);
        pio_in(b, 1, to + got, n);
        got += n;
    }
    assert_int_equal(in(b, 1, COUNT, 1) & 3, 3);
    return got;
}

/* The sense key, code and qualifier as KKAACC. */
static inline u32 sense(struct ide_bench *b)
{
    u8 status, data[18], request[12] = {0x03, 0, 0, 0, 18};
    assert_int_equal(packet_in(b, request, 0xfffe, data, sizeof data, &status), 18);
    return (u32)data[2] << 16 | (u32)data[12] << 8 | data[13];
}

#endif
