/* SPDX-License-Identifier: MIT
 *
 * The CD drive on the second IDE channel, driven from its ports.
 */
#include "ide_bench.h"

#include <errno.h>
#include <unistd.h>

static u32 get32(const u8 *p)
{
    return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static void expect_cd(const u8 *data, u32 sector, size_t n)
{
    fault_expect(data, (u64)sector * 2048, n);
}

/* As setup, with the unit attention of power-on already reported. */
static int setup_quiet(void **state)
{
    bench_setup(state);
    struct ide_bench *b = *state;
    u8 status, ready[12] = {0};
    packet_in(b, ready, 0, NULL, 0, &status);
    assert_int_equal(status & S_ERR, S_ERR);
    return 0;
}

static u8 run(struct ide_bench *b, const u8 *bytes)
{
    u8 status;
    static u8 data[65536];
    packet_in(b, bytes, 0xfffe, data, sizeof data, &status);
    return status;
}

/* ---- the ATA side ---- */

static void atapi_reset_leaves_the_signature_of_a_packet_drive(void **state)
{
    struct ide_bench *b = *state;
    control(b, 1, 4);
    control(b, 1, 0);
    assert_int_equal(alternate(b, 1), 0);
    assert_int_equal(task_file_lba(b, 1), 0xeb1401);
    assert_int_equal(in(b, 1, COUNT, 1), 1);
    out(b, 1, MID, 0);
    out(b, 1, STATUS, 0x08); /* DEVICE RESET */
    assert_int_equal(task_file_lba(b, 1), 0xeb1401);
    assert_int_equal(b->irqs[1], 0);
}

static void atapi_identify_device_is_aborted_with_the_signature(void **state)
{
    struct ide_bench *b = *state;
    u8 id[512];
    out(b, 1, MID, 0);
    out(b, 1, STATUS, 0xec);
    assert_int_equal(settle(b, 1) & S_ERR, S_ERR);
    assert_int_equal(task_file_lba(b, 1) >> 8, 0xeb14);
    out(b, 1, STATUS, 0xa1);
    assert_int_equal(settle(b, 1) & S_DRQ, S_DRQ);
    pio_in(b, 1, id, sizeof id);
    assert_int_equal(load16(id), 0x85c0);
    assert_memory_equal(id + 54, "NALEOLD DVR-MO", 14);
    assert_int_equal(settle(b, 1) & (S_ERR | S_DRQ), 0);
}

static void atapi_first_command_reports_the_reset_once(void **state)
{
    struct ide_bench *b = *state;
    u8 ready[12] = {0};
    assert_int_equal(run(b, ready) & S_ERR, S_ERR);
    assert_int_equal(in(b, 1, ERR, 1), 0x64); /* unit attention, aborted */
    assert_int_equal(sense(b), 0x062900);
    assert_int_equal(run(b, ready), S_DRDY | S_DSC);
    assert_int_equal(sense(b), 0);
}

static void atapi_inquiry_works_before_the_attention_and_keeps_it(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[96], inquiry[12] = {0x12, 0, 0, 0, 96};
    assert_int_equal(packet_in(b, inquiry, 0xfffe, data, sizeof data, &status), 36);
    assert_int_equal(data[0], 5);
    assert_int_equal(data[1], 0x80);
    assert_memory_equal(data + 8, "ANELLO  DVD-ROM         ", 24);
    inquiry[4] = 5; /* allocation length cuts */
    assert_int_equal(packet_in(b, inquiry, 0xfffe, data, sizeof data, &status), 5);
    inquiry[4] = 0;
    assert_int_equal(packet_in(b, inquiry, 0xfffe, data, sizeof data, &status), 0);
    assert_int_equal(status, S_DRDY | S_DSC);
    assert_int_equal(sense(b), 0x062900); /* also REQUEST SENSE itself reports it */
}

static void atapi_unknown_packets_are_illegal(void **state)
{
    struct ide_bench *b = *state;
    for (unsigned op = 0; op < 256; op++) {
        static const u8 known[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x2b,
                                   0x35, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x55,
                                   0x5a, 0xa8, 0xad, 0xb9, 0xbb, 0xbd, 0xbe};
        u8 bytes[12] = {(u8)op};
        if (memchr(known, (int)op, sizeof known))
            continue;
        assert_int_equal(run(b, bytes) & S_ERR, S_ERR);
        assert_int_equal(sense(b), 0x052000);
    }
}

/* ---- reading ---- */

static void atapi_read_capacity_and_toc_describe_the_disc(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[64], capacity[12] = {0x25};
    assert_int_equal(packet_in(b, capacity, 0xfffe, data, sizeof data, &status), 8);
    assert_int_equal(get32(data), CD_SECTORS - 1);
    assert_int_equal(get32(data + 4), 2048);
    u8 toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 64};
    assert_int_equal(packet_in(b, toc, 0xfffe, data, sizeof data, &status), 20);
    assert_int_equal(data[1], 18);
    assert_int_equal(data[6], 1);
    assert_int_equal(data[14], 0xaa);
    assert_int_equal(get32(data + 16), CD_SECTORS);
    toc[1] = 2; /* as minute, second, frame: 300 + 150 frames are 6 s */
    packet_in(b, toc, 0xfffe, data, sizeof data, &status);
    assert_int_equal(get32(data + 8), 0x00000200);
    assert_int_equal(get32(data + 16), 0x00000600);
    toc[2] = 1;
    assert_int_equal(packet_in(b, toc, 0xfffe, data, sizeof data, &status), 12);
    toc[2] = 2;
    assert_int_equal(packet_in(b, toc, 0xfffe, data, sizeof data, &status), 4 + 4 * 11);
    toc[2] = 5;
    assert_int_equal(run(b, toc) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052400);
}

static void atapi_pio_read_comes_in_bursts_of_the_byte_count_limit(void **state)
{
    static const u16 limits[] = {2048, 0xfffe, 0, 0xffff, 512, 2047, 100, 2, 1};
    struct ide_bench *b = *state;
    static u8 data[3 * 2048];
    u8 status, read[12] = {0x28, 0, 0, 0, 0, 10, 0, 0, 3};
    for (unsigned i = 0; i < ARRAY_LEN(limits); i++) {
        if (limits[i] == 1) { /* a byte at a time, each in a word */
            unsigned n = 0;
            packet(b, read, 1, false);
            while (settle(b, 1) & S_DRQ)
                data[n++] = (u8)in(b, 1, DATA, 2);
            assert_int_equal(n, sizeof data);
        } else {
            memset(data, 0, sizeof data);
            u16 limit = limits[i];
            assert_int_equal(
                packet_in(b, read, limit == 0xffff ? 0 : limit, data, sizeof data, &status),
                sizeof data);
            assert_int_equal(status, S_DRDY | S_DSC);
        }
        expect_cd(data, 10, sizeof data);
    }
}

static void atapi_large_pio_read_refills_the_buffer(void **state)
{
    struct ide_bench *b = *state;
    static u8 data[100 * 2048];
    u8 status, read[12] = {0xa8, 0, 0, 0, 0, 50, 0, 0, 0, 100};
    assert_int_equal(packet_in(b, read, 0xf800, data, sizeof data, &status), sizeof data);
    expect_cd(data, 50, sizeof data);
}

static void atapi_dma_read(void **state)
{
    struct ide_bench *b = *state;
    u8 read[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 4};
    prd(b, 0, 0x10000, 1000, false);
    prd(b, 1, 0x20000, 8192 - 1000, true);
    bm_start(b, 1, true);
    packet(b, read, 0, true);
    assert_int_equal(settle_dma(b, 1), S_DRDY | S_DSC);
    assert_int_equal(in(b, 1, COUNT, 1) & 3, 3);
    assert_int_equal(bm_in(b, 1, BM_ST), BM_ST_IRQ);
    fault_expect(bench_memory(b, 0x10000), 7 * 2048, 1000);
    fault_expect(bench_memory(b, 0x20000), 7 * 2048 + 1000, 4 * 2048 - 1000);
}

static void atapi_small_answers_go_by_dma_too(void **state)
{
    struct ide_bench *b = *state;
    u8 capacity[12] = {0x25};
    prd(b, 0, 0x10000, 8, true);
    packet(b, capacity, 0, true);
    assert_int_equal(alternate(b, 1) & S_DRQ, S_DRQ);
    bm_start(b, 1, true);
    assert_int_equal(settle_dma(b, 1), S_DRDY | S_DSC);
    assert_int_equal(get32(bench_memory(b, 0x10000)), CD_SECTORS - 1);
}

static void atapi_reads_beyond_the_disc_are_refused(void **state)
{
    struct ide_bench *b = *state;
    u8 read[12] = {0x28, 0, 0, 0, CD_SECTORS >> 8, CD_SECTORS & 0xff, 0, 0, 1};
    assert_int_equal(run(b, read) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052100);
    u8 wide[12] = {0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(run(b, wide) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052100);
    read[4] = read[5] = read[8] = 0; /* nothing at all is no error */
    assert_int_equal(run(b, read), S_DRDY | S_DSC);
}

static void atapi_read_cd_gives_user_data_only(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[4096], read[12] = {0xbe, 0, 0, 0, 0, 3, 0, 0, 2, 0x10};
    assert_int_equal(packet_in(b, read, 0xfffe, data, sizeof data, &status), 4096);
    expect_cd(data, 3, sizeof data);
    read[9] = 0xf8;
    assert_int_equal(run(b, read) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052400);
    u8 msf[12] = {0xb9, 0, 0, 0, 2, 3, 0, 2, 5, 0x10};
    assert_int_equal(packet_in(b, msf, 0xfffe, data, sizeof data, &status), 4096);
    expect_cd(data, 3, sizeof data);
}

static void atapi_host_error_is_an_unrecovered_read(void **state)
{
    struct ide_bench *b = *state;
    u8 read[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 2};
    fault_file_plan(b->cd_file,
                    &(struct fault_plan){.fail_read_at = 1, .for_ever = true, .error = -EIO});
    assert_int_equal(run(b, read) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x031100);
}

/* ---- tray and medium ---- */

static void atapi_tray_opens_closes_and_locks(void **state)
{
    struct ide_bench *b = *state;
    u8 ready[12] = {0}, eject[12] = {0x1b, 0, 0, 0, 2}, load[12] = {0x1b, 0, 0, 0, 3};
    u8 lock[12] = {0x1e, 0, 0, 0, 1};
    assert_int_equal(run(b, lock), S_DRDY | S_DSC);
    assert_int_equal(run(b, eject) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x055302);
    assert_false(piix_ide_eject(b->ide, 1, 0, false));
    lock[4] = 0;
    run(b, lock);
    assert_int_equal(run(b, eject), S_DRDY | S_DSC);
    assert_int_equal(run(b, ready) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x023a02);
    assert_int_equal(run(b, load), S_DRDY | S_DSC);
    assert_int_equal(run(b, ready) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x062800); /* the medium may have changed */
    assert_int_equal(run(b, ready), S_DRDY | S_DSC);
}

static u8 media_event(struct ide_bench *b, u8 *tray)
{
    u8 status, data[8], event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    assert_int_equal(packet_in(b, event, 0xfffe, data, sizeof data, &status), 8);
    *tray = data[5];
    return data[4];
}

static void atapi_medium_change_is_noticed(void **state)
{
    struct ide_bench *b = *state;
    char error[256];
    u8 tray, ready[12] = {0}, capacity[12] = {0x25};
    assert_int_equal(media_event(b, &tray), 0);
    assert_int_equal(tray, 2);
    assert_true(piix_ide_eject(b->ide, 1, 0, false));
    assert_int_equal(media_event(b, &tray), 3);
    assert_int_equal(tray, 1);
    assert_int_equal(block_change(b->cd, NULL, error, sizeof error), 0);
    piix_ide_medium_changed(b->ide, 1, 0);
    assert_int_equal(run(b, capacity) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x023a01);
    char path[] = "/tmp/anello-cd-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, 2048 * 77), 0);
    close(fd);
    assert_int_equal(block_change(b->cd, path, error, sizeof error), 0);
    unlink(path);
    piix_ide_medium_changed(b->ide, 1, 0);
    assert_int_equal(media_event(b, &tray), 2);
    assert_int_equal(media_event(b, &tray), 0); /* told once */
    assert_int_equal(run(b, ready) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x062800);
    u8 status, data[8];
    packet_in(b, capacity, 0xfffe, data, sizeof data, &status);
    assert_int_equal(get32(data), 76);
}

static void atapi_configuration_names_the_profile(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[256], get[12] = {0x46, 0, 0, 0, 0, 0, 0, 1, 0};
    u32 n = packet_in(b, get, 0xfffe, data, sizeof data, &status);
    assert_int_equal(get32(data), n - 4);
    assert_int_equal(data[7], 0x08); /* CD-ROM */
    get[1] = 2;
    get[3] = 0x1e;
    assert_int_equal(packet_in(b, get, 0xfffe, data, sizeof data, &status), 16);
    assert_int_equal(data[9], 0x1e);
    assert_int_equal(data[10] & 1, 1);
    get[3] = 0x77; /* no such feature */
    assert_int_equal(packet_in(b, get, 0xfffe, data, sizeof data, &status), 8);
}

static void atapi_disc_track_and_mechanism_are_described(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[64], disc[12] = {0x51, 0, 0, 0, 0, 0, 0, 0, 64};
    assert_int_equal(packet_in(b, disc, 0xfffe, data, sizeof data, &status), 34);
    assert_int_equal(data[2], 0x0e);
    u8 track[12] = {0x52, 1, 0, 0, 0, 1, 0, 0, 64};
    assert_int_equal(packet_in(b, track, 0xfffe, data, sizeof data, &status), 36);
    assert_int_equal(get32(data + 24), CD_SECTORS);
    track[5] = 2;
    assert_int_equal(run(b, track) & S_ERR, S_ERR);
    u8 mechanism[12] = {0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8};
    assert_int_equal(packet_in(b, mechanism, 0xfffe, data, sizeof data, &status), 8);
    u8 seek[12] = {0x2b, 0, 0, 0, 1, 0};
    assert_int_equal(run(b, seek), S_DRDY | S_DSC);
    seek[2] = 1;
    assert_int_equal(run(b, seek) & S_ERR, S_ERR);
}

/* ---- mode pages ---- */

static void atapi_mode_sense_gives_pages_and_refuses_unknown_ones(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[256], mode[12] = {0x5a, 0, 0x2a, 0, 0, 0, 0, 1, 0};
    assert_int_equal(packet_in(b, mode, 0xfffe, data, sizeof data, &status), 28);
    assert_int_equal(data[1], 26);
    assert_int_equal(data[8], 0x2a);
    mode[2] = 0x3f;
    u32 all = packet_in(b, mode, 0xfffe, data, sizeof data, &status);
    assert_int_equal(all, 8 + 8 + 8 + 16 + 12 + 20);
    mode[2] = 0x05;
    assert_int_equal(run(b, mode) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052400);
    mode[2] = 0xc1; /* saved values */
    assert_int_equal(run(b, mode) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x053900);
}

static void select_mode(struct ide_bench *b, const u8 *list, u16 n, u16 limit)
{
    u8 select[12] = {0x55, 0x10, 0, 0, 0, 0, 0, (u8)(n >> 8), (u8)n};
    packet(b, select, limit, false);
    for (u16 at = 0; settle(b, 1) & S_DRQ;) {
        u16 burst = (u16)(in(b, 1, MID, 1) | in(b, 1, HIGH, 1) << 8);
        assert_int_equal(in(b, 1, COUNT, 1) & 3, 0); /* data, to the drive */
        pio_out(b, 1, list + at, burst);
        at += burst;
    }
}

static void atapi_mode_select_changes_what_it_may(void **state)
{
    struct ide_bench *b = *state;
    u8 status, data[64], list[16] = {[8] = 0x01, [9] = 6, [10] = 0x20, [11] = 5};
    select_mode(b, list, sizeof list, 4);
    assert_int_equal(alternate(b, 1), S_DRDY | S_DSC);
    u8 mode[12] = {0x5a, 0, 0x01, 0, 0, 0, 0, 0, 64};
    packet_in(b, mode, 0xfffe, data, sizeof data, &status);
    assert_memory_equal(data + 10, list + 10, 6);
    list[8] = 0x2a;
    select_mode(b, list, sizeof list, 0xfffe);
    assert_int_equal(alternate(b, 1) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x052600);
    list[8] = 0x01;
    list[9] = 0xff; /* longer than the list */
    select_mode(b, list, sizeof list, 0xfffe);
    assert_int_equal(sense(b), 0x052600);
}

/* CVE-2015-5154: data went past the end of the PIO buffer when the host kept on writing. */
static void atapi_host_that_keeps_writing_does_not_overrun(void **state)
{
    struct ide_bench *b = *state;
    u8 select[12] = {0x55, 0x10, 0, 0, 0, 0, 0, 0, 16};
    packet(b, select, 0xfffe, false);
    settle(b, 1);
    for (unsigned i = 0; i < 100000; i++)
        io_bus_write(b->rig.bus, 0x170, 0x41414141, 4);
    u8 huge[12] = {0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff};
    assert_int_equal(run(b, huge) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x051a00);
    u8 status, data[8], capacity[12] = {0x25};
    assert_int_equal(packet_in(b, capacity, 0xfffe, data, sizeof data, &status), 8);
}

static void atapi_empty_drive_is_not_ready(void **state)
{
    struct ide_bench *b = *state;
    char error[256];
    u8 read[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    block_change(b->cd, NULL, error, sizeof error);
    assert_int_equal(run(b, read) & S_ERR, S_ERR);
    assert_int_equal(sense(b), 0x023a01);
}

#define T(name)     cmocka_unit_test_setup_teardown(name, setup_quiet, bench_teardown)
#define FRESH(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(atapi_reset_leaves_the_signature_of_a_packet_drive),
        FRESH(atapi_identify_device_is_aborted_with_the_signature),
        FRESH(atapi_first_command_reports_the_reset_once),
        FRESH(atapi_inquiry_works_before_the_attention_and_keeps_it),
        T(atapi_unknown_packets_are_illegal),
        T(atapi_read_capacity_and_toc_describe_the_disc),
        T(atapi_pio_read_comes_in_bursts_of_the_byte_count_limit),
        T(atapi_large_pio_read_refills_the_buffer),
        T(atapi_dma_read),
        T(atapi_small_answers_go_by_dma_too),
        T(atapi_reads_beyond_the_disc_are_refused),
        T(atapi_read_cd_gives_user_data_only),
        T(atapi_host_error_is_an_unrecovered_read),
        T(atapi_tray_opens_closes_and_locks),
        T(atapi_medium_change_is_noticed),
        T(atapi_configuration_names_the_profile),
        T(atapi_disc_track_and_mechanism_are_described),
        T(atapi_mode_sense_gives_pages_and_refuses_unknown_ones),
        T(atapi_mode_select_changes_what_it_may),
        T(atapi_host_that_keeps_writing_does_not_overrun),
        T(atapi_empty_drive_is_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
