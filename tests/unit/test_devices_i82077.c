/* SPDX-License-Identifier: MIT
 *
 * The floppy controller from its ports, with the real DMA controller beside it and an image of
 * 1.44 MB whose sectors hold their own numbers.
 */
#include <unistd.h>

#include "device_rig.h"
#include "devices/i82077.h"

#define DOR        0x3f2
#define MSR        0x3f4
#define DATA       0x3f5
#define DIR        0x3f7
#define CCR        0x3f7
#define CHANNEL    2
#define SECTORS    2880
#define BUFFER     0x8000
#define STEPS      1000000
#define MSR_READY  0x80
#define MSR_OUT    0xc0
#define MSR_BUSY   0x10
#define MSR_NONDMA 0x20

struct fdc {
    struct rig rig;
    struct wire irq;
    struct i8237 *dma;
    struct i82077 *f;
    struct block *block;
    char path[64];
};

static u64 lba_of(unsigned cylinder, unsigned head, unsigned sector)
{
    return (cylinder * 2 + head) * 18 + sector - 1;
}

static int setup_bytes(void **state, u64 bytes, bool read_only)
{
    struct fdc *t = rig_setup(state, sizeof *t);
    char error[128] = "";
    rig_add_memory(&t->rig, KIB(256), 0);
    t->dma = i8237_create(t->rig.bus, t->rig.pm);
    rig_add(&t->rig, i8237_device(t->dma));
    struct i82077_config c = {.ports = t->rig.bus,
                              .irq = wire_line(&t->irq),
                              .dma = t->dma,
                              .dma_channel = CHANNEL,
                              .clock = t->rig.clock};
    t->f = i82077_create(&c);
    rig_add(&t->rig, i82077_device(t->f));
    strcpy(t->path, "/tmp/anello-fdc-XXXXXX");
    int fd = mkstemp(t->path);
    assert_true(fd >= 0);
    for (u64 lba = 0; lba < bytes / SECTOR_BYTES; lba++) {
        u8 sector[SECTOR_BYTES] = {0};
        store64(sector, lba);
        sector[511] = 0x5a;
        assert_int_equal(write(fd, sector, sizeof sector), sizeof sector);
    }
    close(fd);
    struct block_options o = {.format = "raw", .removable = true, .read_only = read_only};
    t->block = block_open(t->path, &o, NULL, error, sizeof error);
    if (!t->block)
        fail_msg("%s", error);
    i82077_attach(t->f, 0, t->block);
    return 0;
}

static int setup(void **state)
{
    return setup_bytes(state, SECTORS * SECTOR_BYTES, false);
}

static int setup_read_only(void **state)
{
    return setup_bytes(state, SECTORS * SECTOR_BYTES, true);
}

static int setup_720(void **state)
{
    return setup_bytes(state, KIB(720), false);
}

static int setup_short(void **state)
{
    return setup_bytes(state, 2532 * SECTOR_BYTES, false);
}

static int teardown(void **state)
{
    struct fdc *t = *state;
    block_close(t->block);
    unlink(t->path);
    return rig_teardown(state);
}

/* ---- a driver ---- */

static void command(struct fdc *t, const char *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(inb(&t->rig, MSR) & MSR_OUT, MSR_READY);
        outb(&t->rig, DATA, (u8)bytes[i]);
    }
}

static unsigned result(struct fdc *t, u8 *out)
{
    unsigned n = 0;
    while ((inb(&t->rig, MSR) & (MSR_OUT | MSR_BUSY)) == (MSR_OUT | MSR_BUSY) && n < 16)
        out[n++] = inb(&t->rig, DATA);
    return n;
}

static void wait_irq(struct fdc *t)
{
    for (unsigned i = 0; i < 1000 && !t->irq.level; i++)
        clock_step(t->rig.clock, STEPS);
    assert_true(t->irq.level);
}

static void sense(struct fdc *t, u8 *st0, u8 *cylinder)
{
    u8 r[16];
    command(t, "\x08", 1);
    assert_int_equal(result(t, r), 2);
    *st0 = r[0];
    *cylinder = r[1];
}

/* Reset, motor of drive 0 on, 500 kbit/s, DMA. */
static void start(struct fdc *t)
{
    u8 st0, cylinder;
    outb(&t->rig, DOR, 0);
    outb(&t->rig, DOR, 0x1c);
    outb(&t->rig, CCR, 0);
    wait_irq(t);
    for (unsigned i = 0; i < 4; i++) {
        sense(t, &st0, &cylinder);
        assert_int_equal(st0, 0xc0 | i);
    }
    assert_false(t->irq.level);
    command(t, "\x03\xdf\x02", 3);
}

static void seek(struct fdc *t, unsigned cylinder)
{
    u8 st0, at;
    char bytes[] = {0x0f, 0, (char)cylinder};
    command(t, bytes, 3);
    wait_irq(t);
    sense(t, &st0, &at);
    assert_int_equal(st0, 0x20);
    assert_int_equal(at, cylinder);
}

/* Channel 2: `bytes` at BUFFER; mode 4 is device to memory, 8 memory to device. */
static void program_dma(struct fdc *t, u8 transfer, unsigned bytes)
{
    outb(&t->rig, 0xd6, 0xc0); /* the cascade, as firmware leaves it */
    outb(&t->rig, 0xd4, 0x00);
    outb(&t->rig, 0x0a, 0x06);
    outb(&t->rig, 0x0c, 0);
    outb(&t->rig, 0x0b, 0x42 | transfer);
    outb(&t->rig, 0x04, BUFFER & 0xff);
    outb(&t->rig, 0x04, BUFFER >> 8);
    outb(&t->rig, 0x81, 0);
    outb(&t->rig, 0x05, (u8)(bytes - 1));
    outb(&t->rig, 0x05, (u8)((bytes - 1) >> 8));
    outb(&t->rig, 0x0a, 0x02);
}

static u64 word_at(struct fdc *t, unsigned offset)
{
    u64 v = 0;
    physmem_read(t->rig.pm, BUFFER + offset, &v, sizeof v);
    return v;
}

static unsigned run(struct fdc *t, const char *bytes, unsigned n, u8 *r)
{
    command(t, bytes, n);
    wait_irq(t);
    return result(t, r);
}

/* READ by DMA: so many sectors from this one on, with that result. */
static void expect_read(struct fdc *t, const char *bytes, unsigned sectors, u64 lba,
                        const char *expected)
{
    u8 r[16];
    program_dma(t, 4, sectors * SECTOR_BYTES);
    assert_int_equal(run(t, bytes, 9, r), 7);
    assert_memory_equal(r, expected, 7);
    for (unsigned i = 0; i < sectors; i++)
        assert_int_equal(word_at(t, i * SECTOR_BYTES), lba + i);
}

/* ---- what is true ---- */

static void i82077_reads_sectors_by_dma_up_to_terminal_count(void **state)
{
    struct fdc *t = *state;
    start(t);
    seek(t, 3);
    expect_read(t, "\xe6\x04\x03\x01\x05\x02\x12\x1b\xff", 3, lba_of(3, 1, 5),
                "\x04\0\0\x03\x01\x08\x02");
    assert_false(t->irq.level); /* reading the result takes it away */
}

static void i82077_multi_track_goes_on_to_the_other_side(void **state)
{
    struct fdc *t = *state;
    start(t);
    seek(t, 0);
    expect_read(t, "\xe6\x00\x00\x00\x11\x02\x12\x1b\xff", 4, 16, "\x04\0\0\0\x01\x03\x02");
}

static void i82077_end_of_track_without_terminal_count_is_an_error(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    seek(t, 0);
    program_dma(t, 4, 0x8000);
    run(t, "\x46\x00\x00\x00\x12\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0], 0x40);
    assert_int_equal(r[1], 0x80);
}

static void i82077_writes_sectors(void **state)
{
    struct fdc *t = *state;
    u8 r[16], sector[SECTOR_BYTES];
    start(t);
    seek(t, 79);
    memset(sector, 0xa7, sizeof sector);
    physmem_write(t->rig.pm, BUFFER, sector, sizeof sector);
    program_dma(t, 8, SECTOR_BYTES);
    run(t, "\xc5\x04\x4f\x01\x12\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0] & 0xc0, 0);
    memset(sector, 0, sizeof sector);
    assert_int_equal(block_read(t->block, (SECTORS - 1) * SECTOR_BYTES, sector, sizeof sector), 0);
    assert_int_equal(sector[0], 0xa7);
    assert_int_equal(sector[511], 0xa7);
}

static void i82077_formats_a_track(void **state)
{
    struct fdc *t = *state;
    u8 r[16], ids[18 * 4], sector[SECTOR_BYTES];
    start(t);
    seek(t, 1);
    for (unsigned i = 0; i < 18; i++)
        memcpy(ids + 4 * i, (u8[]){1, 0, (u8)(i + 1), 2}, 4);
    physmem_write(t->rig.pm, BUFFER, ids, sizeof ids);
    program_dma(t, 8, sizeof ids);
    assert_int_equal(run(t, "\x4d\x00\x02\x12\x54\xf6", 6, r), 7);
    assert_int_equal(r[0] & 0xc0, 0);
    for (unsigned s = 1; s <= 18; s++) {
        block_read(t->block, lba_of(1, 0, s) * SECTOR_BYTES, sector, sizeof sector);
        assert_int_equal(sector[0] + sector[511], 2 * 0xf6);
    }
    block_read(t->block, lba_of(1, 1, 1) * SECTOR_BYTES, sector, sizeof sector);
    assert_int_equal(sector[511], 0x5a); /* the other side is as it was */
}

static void i82077_transfers_without_dma_by_the_data_register(void **state)
{
    struct fdc *t = *state;
    u8 sector[SECTOR_BYTES], r[16];
    start(t);
    seek(t, 0);
    command(t, "\x03\xdf\x03", 3); /* non-DMA */
    command(t, "\x46\x00\x00\x00\x02\x02\x02\x1b\xff", 9);
    wait_irq(t);
    for (unsigned i = 0; i < SECTOR_BYTES; i++) {
        assert_int_equal(inb(&t->rig, MSR) & (MSR_OUT | MSR_NONDMA), MSR_OUT | MSR_NONDMA);
        sector[i] = inb(&t->rig, DATA);
    }
    assert_int_equal(load64(sector), 1);
    wait_irq(t);
    assert_int_equal(result(t, r), 7);
    assert_int_equal(r[1], 0x80); /* nobody said terminal count */
}

static void i82077_write_protect_is_reported(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    seek(t, 0);
    command(t, "\x04\x00", 2);
    result(t, r);
    assert_int_equal(r[0] & 0x50, 0x50); /* protected, at track 0 */
    program_dma(t, 8, SECTOR_BYTES);
    run(t, "\x45\x00\x00\x00\x01\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0] & 0xc0, 0x40);
    assert_int_equal(r[1], 0x02);
}

static void i82077_change_line_falls_at_a_step(void **state)
{
    struct fdc *t = *state;
    start(t);
    assert_int_equal(inb(&t->rig, DIR) & 0x80, 0x80);
    seek(t, 1);
    assert_int_equal(inb(&t->rig, DIR) & 0x80, 0);
    i82077_medium_changed(t->f, 0);
    assert_int_equal(inb(&t->rig, DIR) & 0x80, 0x80);
}

/* Taken out while the guest fills the sector's buffer. */
static void i82077_medium_that_goes_during_a_write_fails_it(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    char error[128];
    start(t);
    seek(t, 0);
    command(t, "\x03\xdf\x03", 3); /* non-DMA */
    command(t, "\x45\x00\x00\x00\x02\x02\x02\x1b\xff", 9);
    wait_irq(t);
    for (unsigned i = 0; i < SECTOR_BYTES; i++) {
        if (i == SECTOR_BYTES / 2) {
            assert_int_equal(block_change(t->block, NULL, error, sizeof error), 0);
            i82077_medium_changed(t->f, 0);
        }
        outb(&t->rig, DATA, 0x33);
    }
    wait_irq(t);
    assert_int_equal(result(t, r), 7);
    assert_int_equal(r[0] & 0xc0, 0x40);
    assert_int_equal(r[1], 0x01); /* no address mark */
    assert_int_equal(inb(&t->rig, DIR) & 0x80, 0x80);
}

static void i82077_wrong_rate_finds_no_mark(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    seek(t, 0);
    run(t, "\x4a\x00", 2, r);
    assert_int_equal(r[1], 0x01);
    outb(&t->rig, CCR, 2); /* 250 kbit/s */
    assert_int_equal(run(t, "\x4a\x00", 2, r), 7);
    assert_int_equal(r[0], 0);
    assert_true(r[5] >= 1 && r[5] <= 9);
}

static void i82077_absent_sectors_and_cylinders_are_not_found(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    seek(t, 2);
    program_dma(t, 4, SECTOR_BYTES);
    run(t, "\x46\x00\x02\x00\x13\x02\x13\x1b\xff", 9, r); /* sector 19 */
    assert_int_equal(r[1], 0x04);
    run(t, "\x46\x00\x02\x00\x00\x02\x12\x1b\xff", 9, r); /* sector 0 */
    assert_int_equal(r[1], 0x04);
    run(t, "\x46\x00\x09\x00\x01\x02\x12\x1b\xff", 9, r); /* the head is elsewhere */
    assert_int_equal(r[2], 0x10);
    run(t, "\x46\x01\x02\x00\x01\x02\x12\x1b\xff", 9, r); /* no drive 1 */
    assert_int_equal(r[1], 0x01);
}

static void i82077_dma_that_never_comes_is_an_overrun(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    seek(t, 0);
    outb(&t->rig, 0x0a, 0x06); /* masked */
    run(t, "\x46\x00\x00\x00\x01\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0] & 0xc0, 0x40);
    assert_int_equal(r[1], 0x10);
}

static void i82077_identifies_itself_and_keeps_a_lock(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    command(t, "\x10", 1);
    assert_int_equal(result(t, r), 1);
    assert_int_equal(r[0], 0x90);
    command(t, "\x13\x00\x57\x00", 4);
    command(t, "\x94", 1);
    assert_int_equal(result(t, r), 1);
    assert_int_equal(r[0], 0x10);
    outb(&t->rig, DOR, 0x18);
    outb(&t->rig, DOR, 0x1c);
    command(t, "\x0e", 1);
    assert_int_equal(result(t, r), 10);
    assert_int_equal(r[8], 0x57);
    command(t, "\x14", 1);
    result(t, r);
    outb(&t->rig, DOR, 0x18);
    outb(&t->rig, DOR, 0x1c);
    wait_irq(t);
    command(t, "\x0e", 1);
    result(t, r);
    assert_int_equal(r[8], 0x20);
}

static void i82077_invalid_commands_answer_80(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    static const u8 invalid[] = {0x00, 0x01, 0x0b, 0x11, 0x18, 0x19, 0x1d, 0x1f};
    start(t);
    for (size_t i = 0; i < sizeof invalid; i++) {
        command(t, (const char *)&invalid[i], 1);
        assert_int_equal(result(t, r), 1);
        assert_int_equal(r[0], 0x80);
    }
}

/* CVE-2015-3456 "VENOM": READ ID and DRIVE SPECIFICATION took parameters without end into a buffer
 * of 512 bytes. */
static void i82077_venom_no_command_takes_bytes_without_end(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    start(t);
    for (unsigned code = 0; code < 256; code++) {
        for (unsigned i = 0; i < 2000; i++)
            outb(&t->rig, DATA, i ? 0x55 : (u8)code);
        clock_step(t->rig.clock, STEPS);
        outb(&t->rig, DOR, 0x18);
        outb(&t->rig, DOR, 0x1c);
    }
    device_reset(i82077_device(t->f)); /* CONFIGURE may have been taken, and locked */
    start(t);                          /* it works as before */
    command(t, "\x10", 1);
    assert_int_equal(result(t, r), 1);
    assert_int_equal(r[0], 0x90);
    /* And the result phase does not hand out more than there is. */
    command(t, "\x0e", 1);
    for (unsigned i = 0; i < 2000; i++)
        inb(&t->rig, DATA);
    assert_int_equal(inb(&t->rig, MSR), MSR_READY);
}

static void i82077_reset_in_the_middle_of_a_command_ends_it(void **state)
{
    struct fdc *t = *state;
    start(t);
    seek(t, 0);
    program_dma(t, 4, SECTOR_BYTES);
    command(t, "\x46\x00\x00\x00\x01\x02\x12\x1b\xff", 9);
    outb(&t->rig, DOR, 0x18);
    clock_step(t->rig.clock, 100 * STEPS);
    assert_false(t->irq.level);
    start(t);
    seek(t, 5);
}

static void i82077_irq_needs_the_gate(void **state)
{
    struct fdc *t = *state;
    outb(&t->rig, DOR, 0x14); /* no DMA gate: no interrupt either */
    clock_step(t->rig.clock, 10 * STEPS);
    assert_false(t->irq.level);
    outb(&t->rig, DOR, 0x1c);
    assert_true(t->irq.level);
}

/* GRUB's rescue floppy is such an image. */
static void i82077_image_that_was_cut_off_reads_as_zeros_behind_its_end(void **state)
{
    struct fdc *t = *state;
    u8 r[16];
    assert_int_equal(i82077_cmos_type(t->f, 0), 4);
    start(t);
    seek(t, 79);
    program_dma(t, 4, SECTOR_BYTES);
    run(t, "\x46\x04\x4f\x01\x12\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0] & 0xc0, 0);
    assert_int_equal(word_at(t, 0), 0);
    program_dma(t, 8, SECTOR_BYTES);
    run(t, "\x45\x04\x4f\x01\x12\x02\x12\x1b\xff", 9, r);
    assert_int_equal(r[0] & 0xc0, 0x40);
}

static void i82077_tells_cmos_the_drives_type(void **state)
{
    struct fdc *t = *state;
    assert_int_equal(i82077_cmos_type(t->f, 0), 4);
    assert_int_equal(i82077_cmos_type(t->f, 1), 0);
    check_state_table(i82077_device(t->f));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(i82077_reads_sectors_by_dma_up_to_terminal_count),
        TEST(i82077_multi_track_goes_on_to_the_other_side),
        TEST(i82077_end_of_track_without_terminal_count_is_an_error),
        TEST(i82077_writes_sectors),
        TEST(i82077_formats_a_track),
        TEST(i82077_transfers_without_dma_by_the_data_register),
        cmocka_unit_test_setup_teardown(i82077_write_protect_is_reported, setup_read_only,
                                        teardown),
        TEST(i82077_change_line_falls_at_a_step),
        TEST(i82077_medium_that_goes_during_a_write_fails_it),
        cmocka_unit_test_setup_teardown(i82077_wrong_rate_finds_no_mark, setup_720, teardown),
        TEST(i82077_absent_sectors_and_cylinders_are_not_found),
        TEST(i82077_dma_that_never_comes_is_an_overrun),
        TEST(i82077_identifies_itself_and_keeps_a_lock),
        TEST(i82077_invalid_commands_answer_80),
        TEST(i82077_venom_no_command_takes_bytes_without_end),
        TEST(i82077_reset_in_the_middle_of_a_command_ends_it),
        TEST(i82077_irq_needs_the_gate),
        cmocka_unit_test_setup_teardown(i82077_image_that_was_cut_off_reads_as_zeros_behind_its_end,
                                        setup_short, teardown),
        TEST(i82077_tells_cmos_the_drives_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
