/* SPDX-License-Identifier: MIT
 *
 * The disk on the first IDE channel, driven from its ports.
 */
#include "ide_bench.h"

#include <errno.h>

static void expect_pattern(const u8 *data, u64 sector, size_t n)
{
    fault_expect(data, sector * SECTOR_BYTES, n);
}

/* ---- identity, reset, selection ---- */

static void ide_legacy_ports_appear_only_when_decoded(void **state)
{
    struct ide_bench *b = *state;
    assert_int_equal(alternate(b, 0), S_DRDY | S_DSC);
    bench_config(b, 0x40, 0, 2);
    assert_int_equal(in(b, 0, STATUS, 1), 0xff);
    assert_int_equal(alternate(b, 1), 0);
    bench_config(b, 0x40, 0x8000, 2);
    bench_config(b, PCI_COMMAND, 0, 2);
    assert_int_equal(in(b, 0, STATUS, 1), 0xff);
}

static void ide_software_reset_leaves_the_signature_of_a_disk(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, DEV, 0xf0);
    out(b, 0, MID, 0x55);
    control(b, 0, 0x04);
    assert_int_equal(alternate(b, 0) & S_BSY, S_BSY);
    control(b, 0, 0);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(in(b, 0, ERR, 1), 1);
    assert_int_equal(in(b, 0, COUNT, 1), 1);
    assert_int_equal(task_file_lba(b, 0), 1);
    assert_int_equal(in(b, 0, DEV, 1), 0);
    assert_false(b->irq[0]);
}

static void ide_diagnostic_runs_from_either_unit_and_interrupts(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, DEV, 0xb0);
    out(b, 0, STATUS, 0x90);
    assert_true(b->irq[0]);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(in(b, 0, ERR, 1), 1);
    assert_int_equal(task_file_lba(b, 0), 1);
}

static void ide_absent_slave_answers_with_status_zero_and_takes_no_commands(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, DEV, 0xb0);
    assert_int_equal(in(b, 0, STATUS, 1), 0);
    assert_int_equal(alternate(b, 0), 0);
    out(b, 0, STATUS, 0xec);
    assert_int_equal(alternate(b, 0), 0);
    assert_int_equal(b->irqs[0], 0);
    out(b, 0, DEV, 0xa0);
    assert_int_equal(in(b, 0, STATUS, 1), S_DRDY | S_DSC);
}

static void ide_both_units_take_register_writes(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, DEV, 0xb0);
    out(b, 0, LOW, 0x77);
    out(b, 0, DEV, 0xa0);
    assert_int_equal(in(b, 0, LOW, 1), 0x77);
}

static void ide_high_order_byte_bit_shows_what_was_written_before(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, MID, 0x12);
    out(b, 0, MID, 0x34);
    assert_int_equal(in(b, 0, MID, 1), 0x34);
    control(b, 0, 0x80);
    assert_int_equal(in(b, 0, MID, 1), 0x12);
    out(b, 0, LOW, 0); /* any command block write ends it */
    assert_int_equal(in(b, 0, MID, 1), 0x34);
}

static void ide_identify_tells_size_geometry_and_features(void **state)
{
    struct ide_bench *b = *state;
    u8 id[512], sum = 0;
    out(b, 0, DEV, 0xa0);
    out(b, 0, STATUS, 0xec);
    assert_true(b->irq[0]);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC | S_DRQ);
    assert_false(b->irq[0]);
    pio_in(b, 0, id, sizeof id);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(load16(id + 2), DISK_SECTORS / (16 * 63));
    assert_int_equal(load16(id + 6), 16);
    assert_int_equal(load16(id + 12), 63);
    assert_int_equal(load32(id + 120), DISK_SECTORS);
    assert_int_equal(load64(id + 200), DISK_SECTORS);
    assert_memory_equal(id + 54, "NALEOLH RADDSI K", 16);
    assert_int_equal(load16(id + 98) & 0x300, 0x300);    /* LBA, DMA */
    assert_int_equal(load16(id + 166) & 0x7400, 0x7400); /* LBA48, FLUSH CACHE (EXT) */
    assert_int_equal(load16(id + 176) & 0xff, 0x3f);     /* Ultra DMA 0-5 */
    for (int i = 0; i < 512; i++)
        sum += id[i];
    assert_int_equal(sum, 0);
}

static void ide_set_transfer_mode_shows_in_identify(void **state)
{
    struct ide_bench *b = *state;
    u8 id[512];
    out(b, 0, DEV, 0xa0);
    out(b, 0, FEATURES, 3);
    out(b, 0, COUNT, 0x45);
    out(b, 0, STATUS, 0xef);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    out(b, 0, STATUS, 0xec);
    settle(b, 0);
    pio_in(b, 0, id, sizeof id);
    assert_int_equal(load16(id + 176), 0x203f);
    out(b, 0, COUNT, 0x47);
    out(b, 0, STATUS, 0xef);
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 4);
}

static void ide_unknown_and_security_commands_are_aborted(void **state)
{
    static const u8 commands[] = {0x00, 0x08, 0x0f, 0x87, 0xa0, 0xa1, 0xf1, 0xf6, 0xf9, 0xff};
    struct ide_bench *b = *state;
    for (size_t i = 0; i < sizeof commands; i++) {
        out(b, 0, DEV, 0xa0);
        out(b, 0, STATUS, commands[i]);
        assert_int_equal(settle(b, 0), S_DRDY | S_DSC | S_ERR);
        assert_int_equal(in(b, 0, ERR, 1), 4);
    }
}

static void ide_nien_keeps_the_line_low(void **state)
{
    struct ide_bench *b = *state;
    control(b, 0, 2);
    ata(b, 0xe7, 0, 0);
    while (alternate(b, 0) & S_BSY)
        loop_turn(b->loop, 5);
    assert_false(b->irq[0]);
    control(b, 0, 0);
    assert_true(b->irq[0]);
    settle(b, 0);
    assert_false(b->irq[0]);
}

/* ---- PIO ---- */

static void ide_pio_read_interrupts_once_a_sector(void **state)
{
    struct ide_bench *b = *state;
    u8 data[3 * 512];
    ata(b, 0x20, 5, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(settle(b, 0), S_DRDY | S_DSC | S_DRQ);
        assert_int_equal(b->irqs[0], i + 1);
        pio_in(b, 0, data + 512 * i, 512);
    }
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(b->irqs[0], 3);
    expect_pattern(data, 5, sizeof data);
    assert_int_equal(task_file_lba(b, 0), 7);
    assert_int_equal(in(b, 0, COUNT, 1), 0);
}

static void ide_count_zero_means_256_sectors(void **state)
{
    struct ide_bench *b = *state;
    static u8 data[256 * 512];
    ata(b, 0x20, 100, 0);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
        pio_in(b, 0, data + 512 * i, 512);
    }
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    expect_pattern(data, 100, sizeof data);
}

static void ide_data_port_takes_dwords_and_words(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512];
    ata(b, 0x20, 9, 1);
    settle(b, 0);
    for (u32 i = 0; i < 512;) {
        store32(data + i, in(b, 0, DATA, 4));
        i += 4;
        store16(data + i, (u16)in(b, 0, DATA, 2));
        i += 2;
        store16(data + i, (u16)in(b, 0, DATA, 2));
        i += 2;
    }
    expect_pattern(data, 9, sizeof data);
}

static void ide_pio_write_reaches_the_disk(void **state)
{
    struct ide_bench *b = *state;
    u8 data[2 * 512];
    memset(data, 0xd1, sizeof data);
    ata(b, 0x30, 1000, 2);
    assert_int_equal(settle(b, 0) & (S_DRQ | S_BSY), S_DRQ);
    assert_int_equal(b->irqs[0], 0); /* the first block comes without an interrupt */
    pio_out(b, 0, data, 512);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    assert_int_equal(b->irqs[0], 1);
    pio_out(b, 0, data + 512, 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(b->irqs[0], 2);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 1000 * 512, data, sizeof data);
}

static void ide_multiple_moves_blocks(void **state)
{
    struct ide_bench *b = *state;
    u8 data[11 * 512];
    ata(b, 0xc4, 0, 4);
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR); /* not set yet */
    ata(b, 0xc6, 0, 8);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    unsigned before = b->irqs[0];
    ata(b, 0xc4, 20, 11);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    pio_in(b, 0, data, 8 * 512);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    pio_in(b, 0, data + 8 * 512, 3 * 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(b->irqs[0] - before, 2);
    expect_pattern(data, 20, sizeof data);
    memset(data, 0x3c, sizeof data);
    ata(b, 0xc5, 200, 11);
    settle(b, 0);
    pio_out(b, 0, data, 8 * 512);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    pio_out(b, 0, data + 8 * 512, 3 * 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 200 * 512, data, sizeof data);
    ata(b, 0xc6, 0, 3); /* not a power of two */
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
}

/* READ SECTORS there gives this sector of the disk. */
static void expect_at_chs(struct ide_bench *b, u8 cylinder, u8 head, u8 sector, u64 lba)
{
    u8 data[512];
    out(b, 0, DEV, 0xa0 | head);
    out(b, 0, COUNT, 1);
    out(b, 0, LOW, sector);
    out(b, 0, MID, cylinder);
    out(b, 0, HIGH, 0);
    out(b, 0, STATUS, 0x20);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    pio_in(b, 0, data, 512);
    expect_pattern(data, lba, 512);
}

static void ide_chs_and_lba_name_the_same_sectors(void **state)
{
    struct ide_bench *b = *state;
    expect_at_chs(b, 2, 3, 63, (2 * 16 + 3) * 63 + 62);
    out(b, 0, LOW, 64); /* no such sector */
    out(b, 0, STATUS, 0x20);
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 0x10);
}

static void ide_initialize_parameters_changes_what_chs_means(void **state)
{
    struct ide_bench *b = *state;
    out(b, 0, DEV, 0xa0 | 7); /* 8 heads */
    out(b, 0, COUNT, 32);
    out(b, 0, STATUS, 0x91);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    expect_at_chs(b, 4, 1, 2, (4 * 8 + 1) * 32 + 1);
}

static void ide_addresses_beyond_the_end_are_not_found(void **state)
{
    struct ide_bench *b = *state;
    ata(b, 0x20, DISK_SECTORS, 1);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC | S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 0x10);
    ata(b, 0x30, DISK_SECTORS - 1, 2);
    assert_int_equal(settle(b, 0) & (S_ERR | S_DRQ), S_ERR);
    ata48(b, 0x24, UINT64_C(0xffffffffffff), 0);
    assert_int_equal(settle(b, 0) & (S_ERR | S_DRQ), S_ERR);
    ata(b, 0x20, DISK_SECTORS - 1, 1);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
}

static void ide_lba48_reads_and_writes(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512];
    ata48(b, 0x24, 12345, 1);
    assert_int_equal(settle(b, 0) & S_DRQ, S_DRQ);
    pio_in(b, 0, data, 512);
    expect_pattern(data, 12345, 512);
    memset(data, 0x48, 512);
    ata48(b, 0x34, 12346, 1);
    settle(b, 0);
    pio_out(b, 0, data, 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 12346 * 512, data, 512);
    ata48(b, 0x27, 0, 0);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(task_file_lba(b, 0), DISK_SECTORS - 1);
}

static void ide_data_port_is_quiet_without_drq(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512];
    assert_int_equal(in(b, 0, DATA, 2), 0xffff);
    io_bus_write(b->rig.bus, CMD, 0x1234, 2);
    ata(b, 0x20, 1, 1);
    settle(b, 0);
    io_bus_write(b->rig.bus, CMD, 0x1234, 2); /* the wrong direction */
    pio_in(b, 0, data, 512);
    expect_pattern(data, 1, 512);
    assert_int_equal(in(b, 0, DATA, 2), 0xffff);
}

static void ide_registers_hold_still_while_data_move(void **state)
{
    struct ide_bench *b = *state;
    ata(b, 0x20, 1, 1);
    settle(b, 0);
    out(b, 0, LOW, 0x99);
    assert_int_equal(in(b, 0, LOW, 1), 1);
    out(b, 0, STATUS, 0xec); /* ignored as well */
    assert_int_equal(alternate(b, 0) & S_DRQ, S_DRQ);
}

static void ide_reset_in_the_middle_of_a_command_ends_it(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512] = {0};
    ata(b, 0x20, 1, 8); /* the host is still reading */
    control(b, 0, 4);
    control(b, 0, 0);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    block_drain(b->disk);
    assert_int_equal(alternate(b, 0), S_DRDY | S_DSC);
    ata(b, 0x30, 1, 1);
    settle(b, 0);
    pio_out(b, 0, data, 256);
    control(b, 0, 4);
    control(b, 0, 0);
    u8 expected[512];
    fault_pattern(expected, 512, 512);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 512, expected, 512);
}

/* ---- DMA ---- */

/* READ DMA along the descriptors, to its end; gives the status. */
static u8 read_dma(struct ide_bench *b, u32 lba, u8 count)
{
    ata(b, 0xc8, lba, count);
    bm_start(b, 0, true);
    return settle_dma(b, 0);
}

static void ide_dma_reads_along_descriptors_that_cross_pages(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10ff0, 34, false); /* across a page */
    prd(b, 1, 0x20000, 2, false);
    prd(b, 2, 0x30ffe, 988, true);
    ata(b, 0xc8, 40, 2);
    assert_int_equal(alternate(b, 0) & S_DRQ, S_DRQ); /* waits for the engine */
    bm_start(b, 0, true);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_IRQ);
    fault_expect(bench_memory(b, 0x10ff0), 40 * 512, 34);
    fault_expect(bench_memory(b, 0x20000), 40 * 512 + 34, 2);
    fault_expect(bench_memory(b, 0x30ffe), 40 * 512 + 36, 988);
    assert_int_equal(load16(bench_memory(b, 0x30ffe + 988)), 0);
    assert_int_equal(b->irqs[0], 1);
}

static void ide_dma_engine_may_start_before_the_command(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 512, true);
    bm_start(b, 0, true);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_ACTIVE);
    ata(b, 0xc8, 7, 1);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    expect_pattern(bench_memory(b, 0x10000), 7, 512);
}

static void ide_dma_moves_64k_descriptors_and_many_chunks(void **state)
{
    struct ide_bench *b = *state;
    for (unsigned i = 0; i < 24; i++)
        prd(b, i, 0x20000 + 0x10000 * i, 0, i == 23);
    ata48(b, 0x25, 3, 24 * 128); /* 1.5 MiB */
    bm_start(b, 0, true);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    expect_pattern(bench_memory(b, 0x20000), 3, 24 * 128 * 512);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_IRQ);
}

static void ide_dma_writes(void **state)
{
    struct ide_bench *b = *state;
    memset(bench_memory(b, 0x10000), 0x6e, 4096);
    prd(b, 0, 0x10000, 4096, true);
    ata(b, 0xca, 64, 8);
    bm_start(b, 0, false);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 64 * 512, bench_memory(b, 0x10000), 4096);
    ata48(b, 0x35, 80, 8);
    bm_out(b, 0, BM_CMD, 0);
    bm_start(b, 0, false);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    assert_memory_equal(fault_file_bytes(b->disk_file) + 80 * 512, bench_memory(b, 0x10000), 4096);
}

static void ide_dma_longer_descriptors_leave_the_engine_active(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 4096, true);
    read_dma(b, 7, 1);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_IRQ | BM_ST_ACTIVE);
    bm_out(b, 0, BM_CMD, 0);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_IRQ);
    bm_out(b, 0, BM_ST, BM_ST_IRQ);
    assert_int_equal(bm_in(b, 0, BM_ST), 0);
}

static void ide_dma_shorter_descriptors_end_without_an_interrupt(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 512, true);
    assert_int_equal(read_dma(b, 7, 2) & (S_BSY | S_DRQ), 0);
    assert_int_equal(bm_in(b, 0, BM_ST), 0);
    assert_int_equal(b->irqs[0], 0);
    expect_pattern(bench_memory(b, 0x10000), 7, 512);
}

static void ide_dma_endless_table_wraps_and_ends_with_the_command(void **state)
{
    struct ide_bench *b = *state;
    /* The last descriptor of 64 KiB, then again the first: the pointer wraps in its 64 KiB. */
    store32(bench_memory(b, 0x1fff8), 0x40000);
    store32(bench_memory(b, 0x1fffc), 512);
    store32(bench_memory(b, 0x10000), 0x40200);
    store32(bench_memory(b, 0x10004), 512 | 0x80000000u);
    io_bus_write(b->rig.bus, BM_BASE + BM_PRDT, 0x1fff8, 4);
    ata(b, 0xc8, 30, 2);
    bm_out(b, 0, BM_CMD, BM_IN | BM_GO);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    expect_pattern(bench_memory(b, 0x40000), 30, 1024);
}

static void ide_dma_to_no_memory_vanishes(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0xfee00000, 256, false);
    prd(b, 1, 0x10000, 256, true);
    assert_int_equal(read_dma(b, 7, 1), S_DRDY | S_DSC);
    fault_expect(bench_memory(b, 0x10000), 7 * 512 + 256, 256);
    io_bus_write(b->rig.bus, BM_BASE + BM_PRDT, 0xf0000000, 4); /* the table itself */
    ata(b, 0xc8, 7, 1);
    bm_out(b, 0, BM_CMD, 0);
    bm_out(b, 0, BM_CMD, BM_IN | BM_GO);
    settle_dma(b, 0);
    assert_int_equal(bm_in(b, 0, BM_ST) & (BM_ST_ERROR | BM_ST_ACTIVE), BM_ST_ERROR);
}

static void ide_dma_needs_bus_mastering(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 512, true);
    bench_config(b, PCI_COMMAND, PCI_COMMAND_IO, 2);
    read_dma(b, 7, 1);
    assert_int_equal(load32(bench_memory(b, 0x10000)), 0);
    assert_int_equal(bm_in(b, 0, BM_ST) & BM_ST_ERROR, BM_ST_ERROR);
}

static void ide_dma_odd_addresses_and_counts_are_even(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10001, 257, false);
    prd(b, 1, 0x20000, 256, true);
    assert_int_equal(read_dma(b, 7, 1), S_DRDY | S_DSC);
    fault_expect(bench_memory(b, 0x10000), 7 * 512, 256);
    fault_expect(bench_memory(b, 0x20000), 7 * 512 + 256, 256);
}

static void ide_dma_stopped_and_started_again_is_complete(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 512, true);
    ata(b, 0xc8, 7, 1);
    bm_start(b, 0, true);
    bm_out(b, 0, BM_CMD, 0); /* while the host is reading */
    block_drain(b->disk);
    assert_int_equal(alternate(b, 0) & S_DRQ, S_DRQ);
    assert_int_equal(load32(bench_memory(b, 0x10000)), 0);
    bm_start(b, 0, true);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    expect_pattern(bench_memory(b, 0x10000), 7, 512);
}

static void ide_engine_registers_are_masked(void **state)
{
    struct ide_bench *b = *state;
    io_bus_write(b->rig.bus, BM_BASE + BM_PRDT, 0xffffffff, 4);
    assert_int_equal(io_bus_read(b->rig.bus, BM_BASE + BM_PRDT, 4), 0xfffffffc);
    bm_out(b, 0, BM_ST, 0xff);
    assert_int_equal(bm_in(b, 0, BM_ST), 0x60);
    bm_out(b, 0, BM_CMD, 0xf6);
    assert_int_equal(bm_in(b, 0, BM_CMD), 0);
    assert_int_equal(bm_in(b, 0, 1) | bm_in(b, 0, 3), 0);
}

/* ---- flush, caches, power, SMART ---- */

static void ide_flush_makes_writes_stable(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512] = {1};
    ata(b, 0x30, 0, 1);
    settle(b, 0);
    pio_out(b, 0, data, 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(fault_file_unstable(b->disk_file), 1);
    unsigned before = b->irqs[0];
    ata(b, 0xe7, 0, 0);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(b->irqs[0] - before, 1);
    assert_int_equal(fault_file_unstable(b->disk_file), 0);
    fault_file_plan(b->disk_file, &(struct fault_plan){.fail_flush_at = 1, .error = -EIO});
    ata(b, 0xea, 0, 0);
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
}

static void ide_fua_and_disabled_write_cache_are_stable_at_once(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512] = {1};
    prd(b, 0, 0x10000, 512, true);
    ata48(b, 0x3d, 9, 1);
    bm_start(b, 0, false);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    assert_int_equal(fault_file_unstable(b->disk_file), 0);
    out(b, 0, FEATURES, 0x82);
    out(b, 0, STATUS, 0xef);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    ata(b, 0x30, 0, 1);
    settle(b, 0);
    pio_out(b, 0, data, 512);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(fault_file_unstable(b->disk_file), 0);
}

static void ide_trim_discards_its_ranges(void **state)
{
    struct ide_bench *b = *state;
    memset(bench_memory(b, 0x10000), 0, 512);
    store64(bench_memory(b, 0x10000), 50 | UINT64_C(2) << 48);
    store64(bench_memory(b, 0x10010), 60 | UINT64_C(1) << 48);
    prd(b, 0, 0x10000, 512, true);
    out(b, 0, FEATURES, 1);
    ata48(b, 0x06, 0, 1);
    bm_start(b, 0, false);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC);
    const u8 *disk = fault_file_bytes(b->disk_file);
    static const u8 zeros[1024];
    assert_memory_equal(disk + 50 * 512, zeros, 1024);
    assert_memory_equal(disk + 60 * 512, zeros, 512);
    expect_pattern(disk + 52 * 512, 52, 512);
}

static void ide_power_modes_are_remembered_and_media_access_wakes(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512];
    ata(b, 0xe0, 0, 0);
    settle(b, 0);
    ata(b, 0xe5, 0, 0);
    settle(b, 0);
    assert_int_equal(in(b, 0, COUNT, 1), 0);
    ata(b, 0x20, 0, 1);
    settle(b, 0);
    pio_in(b, 0, data, 512);
    ata(b, 0xe5, 0, 0);
    settle(b, 0);
    assert_int_equal(in(b, 0, COUNT, 1), 0xff);
}

static void smart_command(struct ide_bench *b, u8 sub, u8 low)
{
    out(b, 0, DEV, 0xa0);
    out(b, 0, FEATURES, sub);
    out(b, 0, COUNT, 1);
    out(b, 0, LOW, low);
    out(b, 0, MID, 0x4f);
    out(b, 0, HIGH, 0xc2);
    out(b, 0, STATUS, 0xb0);
}

static void ide_smart_answers_with_checksums_and_keeps_its_key(void **state)
{
    static const struct {
        u8 sub, low;
    } reads[] = {{0xd0, 0}, {0xd1, 0}, {0xd5, 1}};
    struct ide_bench *b = *state;
    u8 data[512];
    for (unsigned i = 0; i < 3; i++) {
        u8 sum = 0;
        smart_command(b, reads[i].sub, reads[i].low);
        assert_int_equal(settle(b, 0) & (S_DRQ | S_ERR), S_DRQ);
        pio_in(b, 0, data, 512);
        for (int j = 0; j < 512; j++)
            sum += data[j];
        assert_int_equal(sum, 0);
    }
    smart_command(b, 0xda, 0);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC);
    assert_int_equal(task_file_lba(b, 0) >> 8, 0xc24f);
    smart_command(b, 0xd9, 0); /* disable */
    settle(b, 0);
    smart_command(b, 0xd0, 0);
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
    ata(b, 0xb0, 0, 0); /* without the key */
    assert_int_equal(settle(b, 0) & S_ERR, S_ERR);
}

/* ---- trouble ---- */

static void ide_read_error_names_the_bad_sector_after_the_good_ones(void **state)
{
    struct ide_bench *b = *state;
    u8 data[512];
    /* Of the request for 8 sectors the first try fails, then sectors 0 and 1 succeed alone. */
    fault_file_plan(b->disk_file, &(struct fault_plan){.fail_read_at = 1, .error = -EIO});
    ata(b, 0x20, 70, 8);
    settle(b, 0);
    pio_in(b, 0, data, 512);
    expect_pattern(data, 70, 512); /* a transient error: everything came in the end */
    control(b, 0, 4);
    control(b, 0, 0);
    fault_file_plan(b->disk_file,
                    &(struct fault_plan){.fail_read_at = 1, .for_ever = true, .error = -EIO});
    ata(b, 0x20, 70, 8);
    assert_int_equal(settle(b, 0), S_DRDY | S_DSC | S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 0x40);
    assert_int_equal(task_file_lba(b, 0), 70);
    assert_true(b->irqs[0] > 0);
}

static void ide_dma_read_error_interrupts_with_the_engine_still_active(void **state)
{
    struct ide_bench *b = *state;
    fault_file_plan(b->disk_file,
                    &(struct fault_plan){.fail_read_at = 1, .for_ever = true, .error = -EIO});
    prd(b, 0, 0x10000, 1024, true);
    assert_int_equal(read_dma(b, 70, 2), S_DRDY | S_DSC | S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 0x40);
    assert_int_equal(bm_in(b, 0, BM_ST), BM_ST_IRQ | BM_ST_ACTIVE);
    assert_int_equal(b->irqs[0], 1);
}

static void ide_write_error_is_an_abort_at_its_sector(void **state)
{
    struct ide_bench *b = *state;
    prd(b, 0, 0x10000, 2048, true);
    fault_file_plan(b->disk_file,
                    &(struct fault_plan){.fail_write_at = 1, .for_ever = true, .error = -EIO});
    ata(b, 0xca, 70, 4);
    bm_start(b, 0, false);
    assert_int_equal(settle_dma(b, 0), S_DRDY | S_DSC | S_ERR);
    assert_int_equal(in(b, 0, ERR, 1), 4);
    assert_int_equal(task_file_lba(b, 0), 70);
}

static void ide_state_table_covers_a_command_in_the_middle(void **state)
{
    struct ide_bench *b = *state;
    struct device d = piix_ide_device(b->ide);
    u8 data[512];
    ata(b, 0x20, 5, 3);
    settle(b, 0);
    pio_in(b, 0, data, 100);
    size_t total = 0;
    for (const struct state_field *f = d.ops->state; f->name; f++)
        total += (size_t)f->count * (f->type == STATE_BYTES || f->type <= STATE_U8 ? 1 : 8);
    u8 *saved = calloc(1, total), *at = saved;
    for (const struct state_field *f = d.ops->state; f->name; f++) {
        size_t n = f->type == STATE_U16   ? 2
                   : f->type == STATE_U32 ? 4
                   : f->type == STATE_U64 ? 8
                                          : 1;
        memcpy(at, (u8 *)d.dev + f->offset, n * f->count);
        at += n * f->count;
    }
    d.ops->reset(d.dev);
    at = saved;
    for (const struct state_field *f = d.ops->state; f->name; f++) {
        size_t n = f->type == STATE_U16   ? 2
                   : f->type == STATE_U32 ? 4
                   : f->type == STATE_U64 ? 8
                                          : 1;
        memcpy((u8 *)d.dev + f->offset, at, n * f->count);
        at += n * f->count;
    }
    free(saved);
    d.ops->loaded(d.dev);
    pio_in(b, 0, data + 100, 412);
    expect_pattern(data, 5, 512);
    settle(b, 0);
    pio_in(b, 0, data, 512);
    expect_pattern(data, 6, 512);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(ide_legacy_ports_appear_only_when_decoded),
        T(ide_software_reset_leaves_the_signature_of_a_disk),
        T(ide_diagnostic_runs_from_either_unit_and_interrupts),
        T(ide_absent_slave_answers_with_status_zero_and_takes_no_commands),
        T(ide_both_units_take_register_writes),
        T(ide_high_order_byte_bit_shows_what_was_written_before),
        T(ide_identify_tells_size_geometry_and_features),
        T(ide_set_transfer_mode_shows_in_identify),
        T(ide_unknown_and_security_commands_are_aborted),
        T(ide_nien_keeps_the_line_low),
        T(ide_pio_read_interrupts_once_a_sector),
        T(ide_count_zero_means_256_sectors),
        T(ide_data_port_takes_dwords_and_words),
        T(ide_pio_write_reaches_the_disk),
        T(ide_multiple_moves_blocks),
        T(ide_chs_and_lba_name_the_same_sectors),
        T(ide_initialize_parameters_changes_what_chs_means),
        T(ide_addresses_beyond_the_end_are_not_found),
        T(ide_lba48_reads_and_writes),
        T(ide_data_port_is_quiet_without_drq),
        T(ide_registers_hold_still_while_data_move),
        T(ide_reset_in_the_middle_of_a_command_ends_it),
        T(ide_dma_reads_along_descriptors_that_cross_pages),
        T(ide_dma_engine_may_start_before_the_command),
        T(ide_dma_moves_64k_descriptors_and_many_chunks),
        T(ide_dma_writes),
        T(ide_dma_longer_descriptors_leave_the_engine_active),
        T(ide_dma_shorter_descriptors_end_without_an_interrupt),
        T(ide_dma_endless_table_wraps_and_ends_with_the_command),
        T(ide_dma_to_no_memory_vanishes),
        T(ide_dma_needs_bus_mastering),
        T(ide_dma_odd_addresses_and_counts_are_even),
        T(ide_dma_stopped_and_started_again_is_complete),
        T(ide_engine_registers_are_masked),
        T(ide_flush_makes_writes_stable),
        T(ide_fua_and_disabled_write_cache_are_stable_at_once),
        T(ide_trim_discards_its_ranges),
        T(ide_power_modes_are_remembered_and_media_access_wakes),
        T(ide_smart_answers_with_checksums_and_keeps_its_key),
        T(ide_read_error_names_the_bad_sector_after_the_good_ones),
        T(ide_dma_read_error_interrupts_with_the_engine_still_active),
        T(ide_write_error_is_an_abort_at_its_sector),
        T(ide_state_table_covers_a_command_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
