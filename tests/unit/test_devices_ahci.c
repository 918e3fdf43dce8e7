/* SPDX-License-Identifier: MIT
 *
 * The AHCI controller, driven from its registers and from command lists in memory. Port 1 has a
 * disk, port 2 a CD; their files can be made to fail.
 */
#include <errno.h>

#include "base/loop.h"
#include "devices/ahci.h"
#include "fault_block.h"
#include "pci_bench.h"

#define DISK_SECTORS 20000u
#define CD_SECTORS   64u
#define DISK_PORT    1
#define CD_PORT      2

#define LIST     0x10000u
#define RECEIVED 0x11000u
#define TABLES   0x20000u /* 1 KiB for each slot */
#define DATA     0x100000u

enum { CAP = 0x00, GHC = 0x04, IS = 0x08, PI = 0x0c, VS = 0x10 };
enum {
    CLB = 0x00,
    FB = 0x08,
    P_IS = 0x10,
    P_IE = 0x14,
    P_CMD = 0x18,
    TFD = 0x20,
    SIG = 0x24,
    SSTS = 0x28,
    SCTL = 0x2c,
    SERR = 0x30,
    SACT = 0x34,
    CI = 0x38
};
enum { ST = 1, FRE = 1 << 4, FR = 1 << 14, CR = 1 << 15 };
#define DHRS (1u << 0)
#define PSS  (1u << 1)
#define SDBS (1u << 3)
#define DPS  (1u << 5)
#define OFS  (1u << 24)
#define IFS  (1u << 27)
#define HBFS (1u << 29)
#define TFES (1u << 30)

enum { IDENTIFY = 0xec, READ_DMA = 0x25, WRITE_DMA = 0x35, READ_PIO = 0x24, WRITE_PIO = 0x34 };
enum { READ_LOG = 0x2f, READ_QUEUED = 0x60, WRITE_QUEUED = 0x61, PACKET = 0xa0, FLUSH = 0xea };
enum { S_ERR = 1, S_READY = 0x50 };

struct board {
    struct bench *b;
    struct loop *loop; /* NULL: requests are complete at once */
    struct ahci *ahci;
    struct block *disk, *cd;
    struct file *disk_file, *cd_file;
};

static struct block *make_block(struct board *k, u64 bytes, bool cd, struct file **file)
{
    *file = fault_file_create();
    fault_fill(*file, bytes);
    return fault_block(*file, cd, k->loop);
}

static u32 hba(struct board *k, u32 reg)
{
    return (u32)physmem_io_read(k->b->rig.pm, BENCH_MEMORY + reg, 4);
}

static void set_hba(struct board *k, u32 reg, u32 value)
{
    physmem_io_write(k->b->rig.pm, BENCH_MEMORY + reg, value, 4);
}

static u32 port(struct board *k, unsigned n, u32 reg)
{
    return hba(k, 0x100 + 0x80 * n + reg);
}

static void set_port(struct board *k, unsigned n, u32 reg, u32 value)
{
    set_hba(k, 0x100 + 0x80 * n + reg, value);
}

/* What a driver does before the first command. */
static void start_port(struct board *k, unsigned n)
{
    set_port(k, n, CLB, LIST + 0x400 * n);
    set_port(k, n, FB, RECEIVED + 0x100 * n);
    set_port(k, n, P_CMD, FRE);
    set_port(k, n, SERR, ~0u);
    set_port(k, n, P_IS, ~0u);
    set_port(k, n, P_CMD, FRE | ST);
}

static int setup_with(void **state, bool asynchronous)
{
    struct board *k = calloc(1, sizeof *k);
    k->b = bench_open();
    k->loop = asynchronous ? loop_create(k->b->rig.clock) : NULL;
    k->ahci = ahci_create(&(struct ahci_config){
        .bus = k->b->rig.pci, .devfn = BENCH_DEVFN, .clock = k->b->rig.clock});
    rig_add(&k->b->rig, ahci_device(k->ahci));
    k->disk = make_block(k, (u64)DISK_SECTORS * SECTOR_BYTES, false, &k->disk_file);
    k->cd = make_block(k, (u64)CD_SECTORS * 2048, true, &k->cd_file);
    ahci_attach_disk(k->ahci, DISK_PORT, k->disk);
    ahci_attach_cdrom(k->ahci, CD_PORT, k->cd);
    bench_config_write(k->b, PCI_BASE_ADDRESS_0 + 4 * 5, BENCH_MEMORY, 4);
    bench_config_write(k->b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    start_port(k, DISK_PORT);
    start_port(k, CD_PORT);
    *state = k;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, false);
}

static int setup_asynchronous(void **state)
{
    return setup_with(state, true);
}

static int teardown(void **state)
{
    struct board *k = *state;
    block_close(k->disk);
    block_close(k->cd);
    rig_destroy_devices(&k->b->rig);
    if (k->loop)
        loop_destroy(k->loop);
    bench_close(k->b);
    free(k);
    return 0;
}

/* ---- commands ---- */

static u8 *table(struct board *k, unsigned slot)
{
    return bench_ram(k->b, TABLES + 0x400 * slot);
}

static u8 *header(struct board *k, unsigned n, unsigned slot)
{
    return bench_ram(k->b, LIST + 0x400 * n + 32 * slot);
}

static void prd(struct board *k, unsigned slot, unsigned i, u64 address, u32 bytes, bool interrupt)
{
    u8 *at = table(k, slot) + 0x80 + 16 * i;
    store64(at, address);
    store32(at + 8, 0);
    store32(at + 12, (bytes - 1) | (interrupt ? 1u << 31 : 0));
}

/* A header and a register frame; the descriptors are the caller's. */
static u8 *frame(struct board *k, unsigned n, unsigned slot, u8 command, u64 lba, u32 count,
                 unsigned prds)
{
    u8 *h = header(k, n, slot), *t = table(k, slot);
    memset(h, 0, 32);
    memset(t, 0, 0x80);
    store32(h, 5 | prds << 16);
    store64(h + 8, TABLES + 0x400 * slot);
    t[0] = 0x27;
    t[1] = 0x80;
    t[2] = command;
    t[7] = 0x40;
    for (unsigned i = 0; i < 3; i++) {
        t[4 + i] = (u8)(lba >> (8 * i));
        t[8 + i] = (u8)(lba >> (8 * (i + 3)));
    }
    t[12] = (u8)count;
    t[13] = (u8)(count >> 8);
    return t;
}

static void issue(struct board *k, unsigned n, unsigned slot)
{
    set_port(k, n, CI, 1u << slot);
}

/* One command with one descriptor at DATA. */
static void run(struct board *k, u8 command, u64 lba, u32 count, u32 bytes)
{
    frame(k, DISK_PORT, 0, command, lba, count, bytes ? 1 : 0);
    if (bytes)
        prd(k, 0, 0, DATA, bytes, false);
    issue(k, DISK_PORT, 0);
}

static void run_queued(struct board *k, unsigned tag, u8 command, u64 lba, u32 sectors, u32 at)
{
    u8 *t = frame(k, DISK_PORT, tag, command, lba, tag << 3, 1);
    t[3] = (u8)sectors;
    t[11] = (u8)(sectors >> 8);
    prd(k, tag, 0, at, sectors * SECTOR_BYTES, false);
}

static u32 status(struct board *k)
{
    return port(k, DISK_PORT, TFD) & 0xff;
}

/* ---- tests ---- */

static void ahci_registers_tell_of_ports_slots_and_version(void **state)
{
    struct board *k = *state;
    u32 cap = hba(k, CAP);
    assert_int_equal((cap & 0x1f) + 1, AHCI_PORTS);
    assert_int_equal((cap >> 8 & 0x1f) + 1, 32);
    assert_true(cap & 1u << 31 && cap & 1u << 30 && cap & 1u << 18);
    assert_int_equal(hba(k, PI), (1 << AHCI_PORTS) - 1);
    assert_int_equal(hba(k, VS), 0x00010301);
    assert_true(hba(k, GHC) & 1u << 31);
    set_hba(k, CAP, 0);
    assert_int_equal(hba(k, CAP), cap);
}

static void ahci_ports_show_link_and_signature_of_what_is_there(void **state)
{
    struct board *k = *state;
    assert_int_equal(port(k, 0, SSTS), 0);
    assert_int_equal(port(k, 0, SIG), 0xffffffff);
    assert_int_equal(port(k, 0, TFD), 0x7f);
    assert_int_equal(port(k, DISK_PORT, SSTS), 0x123);
    assert_int_equal(port(k, DISK_PORT, SIG), 0x00000101);
    assert_int_equal(port(k, CD_PORT, SIG), 0xeb140101);
    const u8 *d2h = bench_ram(k->b, RECEIVED + 0x100 * DISK_PORT + 0x40);
    assert_int_equal(d2h[0], 0x34); /* the frame waited for FRE */
    assert_int_equal(d2h[3], 1);
}

static void ahci_comreset_takes_the_link_down_and_brings_the_signature(void **state)
{
    struct board *k = *state;
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, SCTL, 0x301);
    assert_int_equal(port(k, DISK_PORT, SSTS), 0);
    assert_int_equal(port(k, DISK_PORT, SIG), 0xffffffff);
    set_port(k, DISK_PORT, SCTL, 0x300);
    assert_int_equal(port(k, DISK_PORT, SSTS), 0x123);
    assert_int_equal(port(k, DISK_PORT, SIG), 0x00000101);
    assert_true(port(k, DISK_PORT, SERR) & 1u << 26);
    assert_true(port(k, DISK_PORT, P_IS) & 1u << 6); /* PCS shows it, and goes with it */
    set_port(k, DISK_PORT, SERR, ~0u);
    assert_false(port(k, DISK_PORT, P_IS) & 1u << 6);
}

static void ahci_software_reset_takes_two_frames(void **state)
{
    struct board *k = *state;
    u8 *t = frame(k, DISK_PORT, 0, 0, 0, 0, 0);
    t[1] = 0;
    t[15] = 1 << 2;
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(status(k), 0x80);
    t[15] = 0;
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(status(k), S_READY);
    assert_int_equal(port(k, DISK_PORT, SIG), 0x00000101);
}

static void ahci_identify_comes_by_pio_and_tells_of_the_queue(void **state)
{
    struct board *k = *state;
    run(k, IDENTIFY, 0, 0, SECTOR_BYTES);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), PSS);
    assert_int_equal(status(k), S_READY);
    const u8 *id = bench_ram(k->b, DATA);
    assert_int_equal(load16(id + 2 * 75), 31);
    assert_int_equal(load16(id + 2 * 76) & 0x100, 0x100);
    assert_int_equal(load16(id + 2 * 93), 0);
    assert_int_equal(load32(id + 2 * 60), DISK_SECTORS);
    assert_int_equal(load32(header(k, DISK_PORT, 0) + 4), SECTOR_BYTES); /* PRDBC */
    const u8 *setup_frame = bench_ram(k->b, RECEIVED + 0x100 * DISK_PORT + 0x20);
    assert_int_equal(setup_frame[0], 0x5f);
    assert_int_equal(setup_frame[1], 0x60);
    assert_int_equal(setup_frame[15], S_READY);
    assert_int_equal(load16(setup_frame + 16), SECTOR_BYTES);
}

static void ahci_dma_reads_across_descriptors(void **state)
{
    struct board *k = *state;
    frame(k, DISK_PORT, 3, READ_DMA, 100, 8, 3);
    prd(k, 3, 0, DATA, 512, false);
    prd(k, 3, 1, DATA + 0x1000, 1026, true);
    prd(k, 3, 2, DATA + 0x2000, 2558, false);
    issue(k, DISK_PORT, 3);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), DHRS | DPS);
    assert_int_equal(load32(header(k, DISK_PORT, 3) + 4), 4096);
    fault_expect(bench_ram(k->b, DATA), 51200, 512);
    fault_expect(bench_ram(k->b, DATA + 0x1000), 51712, 1026);
    fault_expect(bench_ram(k->b, DATA + 0x2000), 51200 + 1538, 2558);
}

static void ahci_writes_by_dma_and_by_pio_reach_the_disk(void **state)
{
    struct board *k = *state;
    memset(bench_ram(k->b, DATA), 0x5a, 4096);
    run(k, WRITE_DMA, 50, 4, 2048);
    run(k, WRITE_PIO, 60, 4, 2048);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    const u8 *bytes = fault_file_bytes(k->disk_file);
    for (unsigned i = 0; i < 2048; i++) {
        assert_int_equal(bytes[50 * 512 + i], 0x5a);
        assert_int_equal(bytes[60 * 512 + i], 0x5a);
    }
    fault_expect(bytes + 64 * 512, 64 * 512, 512);
    run(k, FLUSH, 0, 0, 0);
    assert_int_equal(fault_file_unstable(k->disk_file), 0);
}

static void ahci_long_pio_reads_arrive_whole(void **state)
{
    struct board *k = *state;
    run(k, READ_PIO, 1, 600, 600 * 512);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    fault_expect(bench_ram(k->b, DATA), 512, 600 * 512);
}

static void ahci_failed_command_keeps_its_bit_and_halts_the_port(void **state)
{
    struct board *k = *state;
    run(k, READ_DMA, DISK_SECTORS, 1, 512);
    assert_int_equal(port(k, DISK_PORT, P_IS), DHRS | TFES);
    assert_int_equal(port(k, DISK_PORT, CI), 1);
    assert_true(status(k) & S_ERR);
    assert_int_equal(port(k, DISK_PORT, TFD) >> 8, 0x10); /* IDNF */
    frame(k, DISK_PORT, 1, FLUSH, 0, 0, 0);
    issue(k, DISK_PORT, 1);
    assert_int_equal(port(k, DISK_PORT, CI), 3);
    set_port(k, DISK_PORT, P_CMD, FRE);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, P_CMD) & (ST | CR | FR), FR);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run(k, READ_DMA, 5, 1, 512);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    fault_expect(bench_ram(k->b, DATA), 5 * 512, 512);
}

static void ahci_bad_sector_is_told_by_its_address(void **state)
{
    struct board *k = *state;
    fault_file_plan(k->disk_file,
                    &(struct fault_plan){.fail_read_at = 1, .for_ever = true, .error = -EIO});
    run(k, READ_DMA, 77, 4, 2048);
    const u8 *d2h = bench_ram(k->b, RECEIVED + 0x100 * DISK_PORT + 0x40);
    assert_int_equal(d2h[3], 0x40); /* UNC */
    assert_int_equal(d2h[4], 77);
}

static void ahci_short_descriptors_are_an_overflow(void **state)
{
    struct board *k = *state;
    memset(bench_ram(k->b, DATA), 0, 4096);
    run(k, READ_DMA, 0, 4, 1024);
    assert_int_equal(port(k, DISK_PORT, P_IS), OFS);
    assert_int_equal(port(k, DISK_PORT, CI), 1);
    assert_int_equal(bench_ram(k->b, DATA)[1024], 0);
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run(k, WRITE_PIO, 0, 2, 600);
    assert_true(port(k, DISK_PORT, P_IS) & OFS);
    fault_expect(fault_file_bytes(k->disk_file) + 512, 512, 512);
}

static void ahci_frames_of_another_type_and_lists_out_of_memory_are_fatal(void **state)
{
    struct board *k = *state;
    frame(k, DISK_PORT, 0, FLUSH, 0, 0, 0)[0] = 0x41;
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), IFS);
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, P_IS, ~0u);
    set_port(k, DISK_PORT, CLB, 0xf0000000);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), HBFS);
}

/* Registers are no memory for a controller's own DMA: not as data, and not as its lists. */
static void ahci_dma_into_its_own_registers_goes_nowhere(void **state)
{
    struct board *k = *state;
    u32 own = BENCH_MEMORY + 0x100 + 0x80 * CD_PORT;
    u32 list = port(k, CD_PORT, CLB), received = port(k, CD_PORT, FB), ghc = hba(k, GHC);
    frame(k, DISK_PORT, 0, READ_DMA, 1, 1, 1);
    prd(k, 0, 0, own, SECTOR_BYTES, false); /* the pattern would move the other port's lists */
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, CD_PORT, CLB), list);
    assert_int_equal(port(k, CD_PORT, FB), received);
    assert_int_equal(hba(k, GHC), ghc);
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, FB, own & ~0xffu);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run(k, READ_DMA, 0, 1, SECTOR_BYTES);
    assert_int_equal(port(k, CD_PORT, CLB), list);
    assert_int_equal(hba(k, GHC), ghc);
}

static void ahci_commands_run_in_turn_from_the_last_one_on(void **state)
{
    struct board *k = *state;
    for (unsigned slot = 0; slot < 4; slot++) {
        frame(k, DISK_PORT, slot, READ_DMA, slot * 8, 1, 1);
        prd(k, slot, 0, DATA + 0x1000 * slot, 512, false);
    }
    issue(k, DISK_PORT, 2);
    assert_int_equal(port(k, DISK_PORT, P_CMD) >> 8 & 0x1f, 2);
    set_port(k, DISK_PORT, CI, 0xb);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, P_CMD) >> 8 & 0x1f, 1); /* 3, 0, 1 */
    for (unsigned slot = 0; slot < 4; slot++)
        fault_expect(bench_ram(k->b, DATA + 0x1000 * slot), slot * 4096, 512);
}

static void ahci_takes_no_commands_while_stopped(void **state)
{
    struct board *k = *state;
    set_port(k, DISK_PORT, P_CMD, FRE);
    frame(k, DISK_PORT, 0, FLUSH, 0, 0, 0);
    issue(k, DISK_PORT, 0);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), 0);
}

/* ---- interrupts ---- */

static void ahci_pin_follows_the_enabled_status_of_enabled_ports(void **state)
{
    struct board *k = *state;
    set_port(k, DISK_PORT, P_IE, DHRS);
    run(k, FLUSH, 0, 0, 0);
    assert_int_equal(hba(k, IS), 1 << DISK_PORT);
    assert_false(bench_irq(k->b));
    set_hba(k, GHC, 1u << 31 | 1u << 1);
    assert_true(bench_irq(k->b));
    set_hba(k, IS, ~0u); /* the port still asks */
    assert_true(bench_irq(k->b));
    set_port(k, DISK_PORT, P_IS, DHRS);
    set_hba(k, IS, ~0u);
    assert_false(bench_irq(k->b));
}

static void ahci_message_comes_for_each_event_and_again_when_one_was_left(void **state)
{
    struct board *k = *state;
    u8 msi = (u8)bench_config(k->b, PCI_CAPABILITY_LIST, 1);
    while ((bench_config(k->b, msi, 2) & 0xff) != PCI_CAP_MSI)
        msi = (u8)bench_config(k->b, (u8)(msi + 1), 1);
    bench_config_write(k->b, (u8)(msi + 4), 0xfee00000, 4);
    bench_config_write(k->b, (u8)(msi + 12), 0x41, 2);
    bench_config_write(k->b, (u8)(msi + 2), 1, 2);
    set_port(k, DISK_PORT, P_IE, ~0u);
    set_hba(k, GHC, 1u << 31 | 1u << 1);
    run(k, FLUSH, 0, 0, 0);
    assert_int_equal(k->b->messages, 1);
    assert_int_equal(k->b->message_data, 0x41);
    set_hba(k, IS, ~0u); /* without having looked at the port */
    assert_int_equal(k->b->messages, 2);
    set_port(k, DISK_PORT, P_IS, ~0u);
    set_hba(k, IS, ~0u);
    assert_int_equal(k->b->messages, 2);
    run(k, FLUSH, 0, 0, 0);
    assert_int_equal(k->b->messages, 3);
    assert_false(bench_irq(k->b));
}

static void ahci_controller_reset_stops_ports_and_interrupts(void **state)
{
    struct board *k = *state;
    set_port(k, DISK_PORT, P_IE, ~0u);
    set_hba(k, GHC, 1u << 31 | 1u << 1);
    run(k, FLUSH, 0, 0, 0);
    set_hba(k, GHC, 1u << 31 | 1);
    assert_int_equal(hba(k, GHC), 1u << 31);
    assert_int_equal(hba(k, IS), 0);
    assert_false(bench_irq(k->b));
    assert_int_equal(port(k, DISK_PORT, P_CMD) & (ST | FRE), 0);
    assert_int_equal(port(k, DISK_PORT, CLB), LIST + 0x400 * DISK_PORT);
    assert_int_equal(port(k, DISK_PORT, SSTS), 0x123);
}

/* ---- queued commands ---- */

static void ahci_queued_commands_end_by_set_device_bits(void **state)
{
    struct board *k = *state;
    memset(bench_ram(k->b, DATA + 0x4000), 0x77, 1024);
    run_queued(k, 4, READ_QUEUED, 300, 8, DATA);
    run_queued(k, 9, WRITE_QUEUED, 400, 2, DATA + 0x4000);
    set_port(k, DISK_PORT, SACT, 1 << 4 | 1 << 9);
    set_port(k, DISK_PORT, CI, 1 << 4 | 1 << 9);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_int_equal(port(k, DISK_PORT, SACT), 0);
    assert_int_equal(port(k, DISK_PORT, P_IS), SDBS);
    fault_expect(bench_ram(k->b, DATA), 300 * 512, 4096);
    assert_int_equal(fault_file_bytes(k->disk_file)[401 * 512 + 511], 0x77);
    assert_int_equal(bench_ram(k->b, RECEIVED + 0x100 * DISK_PORT + 0x58)[0], 0xa1);
}

static void ahci_several_queued_commands_are_in_flight(void **state)
{
    struct board *k = *state;
    for (unsigned tag = 0; tag < 32; tag++)
        run_queued(k, tag, READ_QUEUED, tag * 100, 8, DATA + 0x1000 * tag);
    set_port(k, DISK_PORT, SACT, ~0u);
    set_port(k, DISK_PORT, CI, ~0u);
    assert_int_equal(port(k, DISK_PORT, CI), 0);
    assert_true(ahci_busy(k->ahci));
    for (int i = 0; i < 2000 && ahci_busy(k->ahci); i++)
        loop_turn(k->loop, 5);
    assert_int_equal(port(k, DISK_PORT, SACT), 0);
    for (unsigned tag = 0; tag < 32; tag++)
        fault_expect(bench_ram(k->b, DATA + 0x1000 * tag), tag * 100 * 512, 4096);
}

static void ahci_stopped_port_moves_no_data_any_more(void **state)
{
    struct board *k = *state;
    memset(bench_ram(k->b, DATA), 0xcc, 0x2000);
    run_queued(k, 0, READ_QUEUED, 10, 8, DATA);
    set_port(k, DISK_PORT, SACT, 1);
    set_port(k, DISK_PORT, CI, 1);
    set_port(k, DISK_PORT, P_CMD, FRE);
    assert_false(ahci_busy(k->ahci));
    assert_int_equal(port(k, DISK_PORT, SACT), 0);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run(k, READ_DMA, 10, 8, 4096);
    set_port(k, DISK_PORT, P_CMD, FRE);
    block_drain(k->disk);
    for (unsigned i = 0; i < 0x2000; i++)
        assert_int_equal(bench_ram(k->b, DATA)[i], 0xcc);
    assert_int_equal(status(k), S_READY);
}

static void ahci_queue_error_is_told_by_the_log(void **state)
{
    struct board *k = *state;
    fault_file_plan(k->disk_file, &(struct fault_plan){.fail_read_at = 1, .error = -EIO});
    run_queued(k, 5, READ_QUEUED, 0x12345 % DISK_SECTORS, 8, DATA);
    set_port(k, DISK_PORT, SACT, 1 << 5);
    set_port(k, DISK_PORT, CI, 1 << 5);
    assert_int_equal(port(k, DISK_PORT, P_IS), SDBS | TFES);
    assert_int_equal(port(k, DISK_PORT, SACT), 1 << 5);
    assert_true(status(k) & S_ERR);
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, P_IS, ~0u);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run(k, READ_LOG, 0x10, 1, SECTOR_BYTES);
    const u8 *log = bench_ram(k->b, DATA);
    u8 sum = 0;
    for (unsigned i = 0; i < SECTOR_BYTES; i++)
        sum += log[i];
    assert_int_equal(sum, 0);
    assert_int_equal(log[0], 5);
    assert_true(log[2] & S_ERR);
    assert_int_equal(log[3], 0x40);
    assert_int_equal(log[4] | log[5] << 8 | log[6] << 16, 0x12345 % DISK_SECTORS);
}

static void ahci_queued_command_beyond_the_end_or_with_a_wrong_tag_fails(void **state)
{
    struct board *k = *state;
    run_queued(k, 0, READ_QUEUED, DISK_SECTORS - 1, 2, DATA);
    set_port(k, DISK_PORT, CI, 1);
    assert_int_equal(port(k, DISK_PORT, TFD) >> 8, 0x10);
    set_port(k, DISK_PORT, P_CMD, FRE);
    set_port(k, DISK_PORT, P_CMD, FRE | ST);
    run_queued(k, 0, READ_QUEUED, 0, 2, DATA);
    table(k, 0)[12] = 7 << 3;
    set_port(k, DISK_PORT, CI, 1);
    assert_int_equal(port(k, DISK_PORT, TFD) >> 8, 0x04);
}

static void ahci_queued_transfers_longer_than_a_chunk_are_whole(void **state)
{
    struct board *k = *state;
    u8 *t = frame(k, DISK_PORT, 1, READ_QUEUED, 8, 1 << 3, 1);
    u32 sectors = 5000; /* of 2048 a chunk */
    t[3] = (u8)sectors;
    t[11] = (u8)(sectors >> 8);
    prd(k, 1, 0, DATA, sectors * 512, false);
    set_port(k, DISK_PORT, CI, 2);
    assert_int_equal(port(k, DISK_PORT, P_IS), SDBS);
    fault_expect(bench_ram(k->b, DATA), 8 * 512, sectors * 512);
}

/* ---- packets ---- */

static void packet(struct board *k, const u8 cdb[12], bool dma, u32 bytes)
{
    u8 *t = frame(k, CD_PORT, 0, PACKET, 0, 0, bytes ? 1 : 0);
    t[3] = dma;
    t[5] = 0xfe;
    t[6] = 0xff;
    memcpy(t + 0x40, cdb, 12);
    if (bytes)
        prd(k, 0, 0, DATA, bytes, false);
    issue(k, CD_PORT, 0);
}

static void ahci_packet_commands_read_the_cd_by_dma_and_by_pio(void **state)
{
    struct board *k = *state;
    static const u8 ready[12] = {0x00}, inquiry[12] = {0x12, 0, 0, 0, 36};
    static const u8 read10[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 2};
    packet(k, ready, false, 0); /* the reset's unit attention */
    assert_int_equal(port(k, CD_PORT, P_IS), DHRS | TFES);
    assert_int_equal(port(k, CD_PORT, TFD) >> 12, 6);
    start_port(k, CD_PORT);
    set_port(k, CD_PORT, P_CMD, FRE);
    set_port(k, CD_PORT, P_CMD, FRE | ST);
    packet(k, inquiry, false, 36);
    assert_int_equal(port(k, CD_PORT, CI), 0);
    assert_int_equal(bench_ram(k->b, DATA)[0], 5);
    for (unsigned dma = 0; dma < 2; dma++) {
        memset(bench_ram(k->b, DATA), 0, 4096);
        packet(k, read10, dma, 4096);
        assert_int_equal(port(k, CD_PORT, CI), 0);
        fault_expect(bench_ram(k->b, DATA), 3 * 2048, 4096);
    }
}

#define SYNC(t)  cmocka_unit_test_setup_teardown(t, setup, teardown)
#define ASYNC(t) cmocka_unit_test_setup_teardown(t, setup_asynchronous, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYNC(ahci_registers_tell_of_ports_slots_and_version),
        SYNC(ahci_ports_show_link_and_signature_of_what_is_there),
        SYNC(ahci_comreset_takes_the_link_down_and_brings_the_signature),
        SYNC(ahci_software_reset_takes_two_frames),
        SYNC(ahci_identify_comes_by_pio_and_tells_of_the_queue),
        SYNC(ahci_dma_reads_across_descriptors),
        SYNC(ahci_writes_by_dma_and_by_pio_reach_the_disk),
        SYNC(ahci_long_pio_reads_arrive_whole),
        SYNC(ahci_failed_command_keeps_its_bit_and_halts_the_port),
        SYNC(ahci_bad_sector_is_told_by_its_address),
        SYNC(ahci_short_descriptors_are_an_overflow),
        SYNC(ahci_frames_of_another_type_and_lists_out_of_memory_are_fatal),
        SYNC(ahci_dma_into_its_own_registers_goes_nowhere),
        SYNC(ahci_commands_run_in_turn_from_the_last_one_on),
        SYNC(ahci_takes_no_commands_while_stopped),
        SYNC(ahci_pin_follows_the_enabled_status_of_enabled_ports),
        SYNC(ahci_message_comes_for_each_event_and_again_when_one_was_left),
        SYNC(ahci_controller_reset_stops_ports_and_interrupts),
        SYNC(ahci_queued_commands_end_by_set_device_bits),
        ASYNC(ahci_several_queued_commands_are_in_flight),
        ASYNC(ahci_stopped_port_moves_no_data_any_more),
        SYNC(ahci_queue_error_is_told_by_the_log),
        SYNC(ahci_queued_command_beyond_the_end_or_with_a_wrong_tag_fails),
        SYNC(ahci_queued_transfers_longer_than_a_chunk_are_whole),
        SYNC(ahci_packet_commands_read_the_cd_by_dma_and_by_pio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
