/* SPDX-License-Identifier: MIT
 *
 * The virtio disk and, by way of it, queues and registers of every virtio device.
 */
#include <stdio.h>
#include <unistd.h>

#include "devices/virtio_blk.h"
#include "storage/block_internal.h"
#include "storage/file_fault.h"
#include "virtio_driver.h"

#define SECTORS   64
#define HEADER    0x40000u
#define PAYLOAD   0x50000u
#define STATUS    0x60000u
#define UNTOUCHED 0xee

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
#define FEATURE_FLUSH (UINT64_C(1) << 9)

struct disk {
    struct bench *b;
    struct driver d;
    struct block *block;
    struct virtio_blk *dev;
    char path[64];
    struct file *file; /* with setup_on_fault() */
};

static int attach(struct disk *k, void **state)
{
    assert_non_null(k->block);
    k->b = bench_open();
    k->dev = virtio_blk_create(&(struct virtio_blk_config){
        .bus = k->b->rig.pci, .devfn = BENCH_DEVFN, .block = k->block, .serial = "SN1"});
    assert_non_null(k->dev);
    rig_add(&k->b->rig, virtio_blk_device(k->dev));
    *state = k;
    return 0;
}

static int setup(void **state)
{
    struct disk *k = calloc(1, sizeof *k);
    char error[128] = "";
    strcpy(k->path, "/tmp/anello-vblk-XXXXXX");
    int fd = mkstemp(k->path);
    for (u64 i = 0; i < SECTORS; i++) {
        u8 sector[SECTOR_BYTES] = {0};
        store64(sector, i + 1000);
        assert_int_equal(write(fd, sector, sizeof sector), sizeof sector);
    }
    close(fd);
    struct block_options o = {.format = "raw"};
    k->block = block_open(k->path, &o, NULL, error, sizeof error);
    if (!k->block)
        fail_msg("%s", error);
    return attach(k, state);
}

/* On a file whose host can have too little space. */
static int setup_on_fault(void **state)
{
    struct disk *k = calloc(1, sizeof *k);
    char error[128] = "";
    k->file = fault_file_create();
    file_truncate(k->file, SECTORS * SECTOR_BYTES);
    struct image_options raw = {.format = "raw"};
    struct image *image = image_open_file(k->file, "fault", &raw, error, sizeof error);
    k->block = block_from_image(image, &(struct block_options){.format = "raw"}, NULL);
    return attach(k, state);
}

static int teardown(void **state)
{
    struct disk *k = *state;
    block_close(k->block);
    bench_close(k->b);
    unlink(k->path);
    free(k);
    return 0;
}

static void header(struct disk *k, u32 type, u64 sector)
{
    u8 *h = bench_ram(k->b, HEADER);
    store32(h, type);
    store32(h + 4, 0);
    store64(h + 8, sector);
    *bench_ram(k->b, STATUS) = UNTOUCHED;
}

/* One request of header, data and status; returns its status. */
static u8 request(struct disk *k, u32 type, u64 sector, u32 bytes)
{
    u16 flags = type == IN || type == GET_ID ? VQ_WRITE : 0;
    struct buffer f[] = {{HEADER, 16, 0}, {PAYLOAD, bytes, flags}, {STATUS, 1, VQ_WRITE}};
    struct buffer no_data[] = {f[0], f[2]};
    header(k, type, sector);
    if (bytes)
        driver_post(&k->d, 0, 0, f, 3);
    else
        driver_post(&k->d, 0, 0, no_data, 2);
    return *bench_ram(k->b, STATUS);
}

static void start(struct disk *k, u64 features)
{
    driver_start(&k->d, k->b, features, 1);
}

static void virtio_blk_shows_itself_and_its_size(void **state)
{
    struct disk *k = *state;
    assert_int_equal(bench_config(k->b, PCI_VENDOR_ID, 4), 0x10011af4);
    assert_int_equal(bench_config(k->b, PCI_SUBSYSTEM_ID, 2), 2);
    start(k, 0);
    assert_int_equal(vrd(&k->d, k->d.device, 4), SECTORS);
    assert_int_equal(vrd(&k->d, k->d.common + 0x12, 2), 1);
    assert_true(driver_offered(&k->d) & FEATURE_FLUSH);
}

static void virtio_blk_reads_and_writes(void **state)
{
    struct disk *k = *state;
    u8 sector[SECTOR_BYTES];
    start(k, FEATURE_FLUSH);
    assert_int_equal(request(k, IN, 5, 2 * SECTOR_BYTES), 0);
    assert_int_equal(load64(bench_ram(k->b, PAYLOAD)), 1005);
    assert_int_equal(load64(bench_ram(k->b, PAYLOAD + SECTOR_BYTES)), 1006);
    assert_int_equal(driver_used_bytes(&k->d, 0, 0), 2 * SECTOR_BYTES + 1);
    assert_true(bench_irq(k->b));
    assert_int_equal(vrd(&k->d, k->d.isr, 1), 1);
    assert_false(bench_irq(k->b));
    memset(bench_ram(k->b, PAYLOAD), 0x77, SECTOR_BYTES);
    assert_int_equal(request(k, OUT, 63, SECTOR_BYTES), 0);
    block_read(k->block, 63 * SECTOR_BYTES, sector, sizeof sector);
    assert_int_equal(sector[511], 0x77);
    assert_int_equal(request(k, FLUSH, 0, 0), 0);
    assert_int_equal(block_counters(k->block).flushes, 1);
    assert_int_equal(driver_used(&k->d, 0), 3);
}

/* What lay in the page when its code was last said to be changed. */
struct code_page {
    struct physmem *pm;
    u64 found;
};

static void look_at_page(void *opaque, u64 offset, u32 size)
{
    struct code_page *page = opaque;
    (void)size;
    if (offset == PAYLOAD)
        page->found = load64(physmem_host(page->pm, offset));
}

static void virtio_blk_data_read_over_code_are_told_when_they_are_there(void **state)
{
    struct disk *k = *state;
    struct code_page page = {.pm = k->b->rig.pm};
    struct phys_listener listener = {.code_written = look_at_page, .opaque = &page};
    start(k, 0);
    physmem_listen(page.pm, &listener);
    physmem_hold_code(page.pm, PAYLOAD);
    assert_int_equal(request(k, IN, 7, 16 * SECTOR_BYTES), 0);
    assert_int_equal(page.found, 1007);
    physmem_release_code(page.pm, PAYLOAD);
    physmem_unlisten(page.pm, &listener);
}

static void virtio_blk_bounds_requests_by_the_disk(void **state)
{
    struct disk *k = *state;
    start(k, 0);
    assert_int_equal(request(k, IN, SECTORS - 1, 2 * SECTOR_BYTES), 1);
    assert_int_equal(request(k, OUT, UINT64_MAX, SECTOR_BYTES), 1);
    assert_int_equal(request(k, IN, 0, 100), 1); /* no whole sector */
    assert_int_equal(request(k, 77, 0, SECTOR_BYTES), 2);
    assert_int_equal(request(k, IN, SECTORS - 1, SECTOR_BYTES), 0);
}

static void virtio_blk_discards_and_writes_zeroes(void **state)
{
    struct disk *k = *state;
    u8 sector[SECTOR_BYTES];
    start(k, 0);
    store64(bench_ram(k->b, PAYLOAD), 10);
    store64(bench_ram(k->b, PAYLOAD + 8), 3);
    assert_int_equal(request(k, ZEROES, 0, 16), 0);
    block_read(k->block, 12 * SECTOR_BYTES, sector, sizeof sector);
    assert_int_equal(load64(sector), 0);
    block_read(k->block, 13 * SECTOR_BYTES, sector, sizeof sector);
    assert_int_equal(load64(sector), 1013);
    assert_int_equal(request(k, DISCARD, 0, 16), 0);
    store64(bench_ram(k->b, PAYLOAD + 8), UINT32_MAX);
    assert_int_equal(request(k, ZEROES, 0, 16), 1);
    assert_int_equal(request(k, DISCARD, 0, 16), 1);
    assert_int_equal(request(k, DISCARD, 0, 20), 1);
}

static void virtio_blk_tells_its_serial(void **state)
{
    struct disk *k = *state;
    start(k, 0);
    assert_int_equal(request(k, GET_ID, 0, 20), 0);
    assert_string_equal((char *)bench_ram(k->b, PAYLOAD), "SN1");
}

static void virtio_blk_follows_indirect_tables(void **state)
{
    struct disk *k = *state;
    struct buffer f[] = {{HEADER, 16, 0}, {PAYLOAD, SECTOR_BYTES, VQ_WRITE}, {STATUS, 1, VQ_WRITE}};
    struct buffer table = {0x70000, 48, VQ_INDIRECT};
    start(k, FEATURE_INDIRECT);
    header(k, IN, 7);
    for (unsigned i = 0; i < 3; i++)
        driver_descriptor(&k->d, 0x70000 + 16 * i, &f[i], i < 2 ? VQ_NEXT : 0, (u16)(i + 1));
    driver_post(&k->d, 0, 3, &table, 1);
    assert_int_equal(*bench_ram(k->b, STATUS), 0);
    assert_int_equal(load64(bench_ram(k->b, PAYLOAD)), 1007);
}

static void virtio_blk_legacy_driver_is_served_through_ports(void **state)
{
    struct disk *k = *state;
    struct bench *b = k->b;
    driver_find(&k->d, b);
    io_bus_write(b->rig.bus, BENCH_PORTS + 18, 0, 1);
    io_bus_write(b->rig.bus, BENCH_PORTS + 18, 3, 1);
    assert_int_equal(io_bus_read(b->rig.bus, BENCH_PORTS + 20, 4), SECTORS);
    io_bus_write(b->rig.bus, BENCH_PORTS + 4, 0, 4);
    io_bus_write(b->rig.bus, BENCH_PORTS + 14, 0, 2);
    u32 size = io_bus_read(b->rig.bus, BENCH_PORTS + 12, 2);
    assert_int_equal(size, 256);
    io_bus_write(b->rig.bus, BENCH_PORTS + 8, 0x80, 4); /* page number: 80000h */
    assert_int_equal(io_bus_read(b->rig.bus, BENCH_PORTS + 8, 4), 0x80);
    io_bus_write(b->rig.bus, BENCH_PORTS + 18, 7, 1);
    struct buffer f[] = {{HEADER, 16, 0}, {PAYLOAD, SECTOR_BYTES, VQ_WRITE}, {STATUS, 1, VQ_WRITE}};
    header(k, IN, 9);
    for (unsigned i = 0; i < 3; i++)
        driver_descriptor(&k->d, 0x80000 + 16 * i, &f[i], i < 2 ? VQ_NEXT : 0, (u16)(i + 1));
    u8 *avail = bench_ram(b, 0x80000 + 16 * size);
    store16(avail + 4, 0);
    store16(avail + 2, 1);
    io_bus_write(b->rig.bus, BENCH_PORTS + 16, 0, 2);
    assert_int_equal(load64(bench_ram(b, PAYLOAD)), 1009);
    assert_int_equal(load16(bench_ram(b, 0x80000 + 0x2000) + 2), 1);
    assert_true(bench_irq(b));
    assert_int_equal(io_bus_read(b->rig.bus, BENCH_PORTS + 19, 1), 1);
    assert_false(bench_irq(b));
}

static void virtio_registers_are_reached_through_configuration_space(void **state)
{
    struct disk *k = *state;
    driver_find(&k->d, k->b);
    u8 w = k->d.window;
    assert_true(w);
    bench_config_write(k->b, w + 4, 4, 1);
    bench_config_write(k->b, w + 8, k->d.device - BENCH_MEMORY, 4);
    bench_config_write(k->b, w + 12, 4, 4);
    assert_int_equal(bench_config(k->b, w + 16, 4), SECTORS);
    bench_config_write(k->b, w + 8, 0x14, 4); /* the status register */
    bench_config_write(k->b, w + 12, 1, 4);
    bench_config_write(k->b, w + 16, 3, 1);
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 3);
    bench_config_write(k->b, w + 8, 0x10000000, 4); /* outside */
    bench_config_write(k->b, w + 16, 0, 4);
    bench_config_write(k->b, w + 12, 3, 4); /* no size */
    bench_config_write(k->b, w + 16, 0, 4);
    bench_config_write(k->b, w + 4, 1, 1); /* no BAR */
    bench_config_write(k->b, w + 16, 0, 4);
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 3);
}

static void virtio_features_need_version_1(void **state)
{
    struct disk *k = *state;
    driver_find(&k->d, k->b);
    driver_negotiate(&k->d, FEATURE_FLUSH);
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 3); /* FEATURES_OK did not stick */
    driver_negotiate(&k->d, FEATURE_VERSION_1 | UINT64_C(1) << 60);
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 11);
    assert_int_equal(vrd(&k->d, k->d.common + 0x0c, 4), 1); /* what was not offered is not there */
}

static void virtio_event_index_saves_interrupts(void **state)
{
    struct disk *k = *state;
    start(k, FEATURE_EVENT_IDX);
    store16(bench_ram(k->b, VQ_AVAIL(0)) + 4 + 2 * VQ_SIZE, 2); /* tell me of the third */
    request(k, FLUSH, 0, 0);
    vrd(&k->d, k->d.isr, 1); /* the first one may come */
    request(k, FLUSH, 0, 0);
    assert_false(bench_irq(k->b));
    request(k, FLUSH, 0, 0);
    assert_true(bench_irq(k->b));
    /* And the device tells when it wants to be notified. */
    assert_int_equal(load16(bench_ram(k->b, VQ_USED(0)) + 4 + 8 * VQ_SIZE), 3);
}

static void virtio_no_interrupt_flag_is_heeded(void **state)
{
    struct disk *k = *state;
    start(k, 0);
    store16(bench_ram(k->b, VQ_AVAIL(0)), 1);
    request(k, FLUSH, 0, 0);
    assert_int_equal(driver_used(&k->d, 0), 1);
    assert_false(bench_irq(k->b));
}

static void virtio_reset_forgets_queues(void **state)
{
    struct disk *k = *state;
    start(k, 0);
    request(k, FLUSH, 0, 0);
    vwr(&k->d, k->d.common + 0x14, 0, 1);
    assert_false(bench_irq(k->b));
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 0);
    vwr(&k->d, k->d.common + 0x16, 0, 2);
    assert_int_equal(vrd(&k->d, k->d.common + 0x1c, 2), 0);
    assert_int_equal(vrd(&k->d, k->d.common + 0x18, 2), 256);
    driver_kick(&k->d, 0); /* nobody is at home */
}

static void heard_full(void *opaque, struct block *block)
{
    (void)opaque;
    (void)block;
}

static void virtio_write_that_waits_for_space_takes_nothing_after_a_reset(void **state)
{
    struct disk *k = *state;
    block_on_full(k->block, heard_full, NULL);
    fault_file_plan(k->file, &(struct fault_plan){.space_limit = SECTOR_BYTES});
    start(k, FEATURE_FLUSH);
    assert_int_equal(request(k, OUT, 8, SECTOR_BYTES), UNTOUCHED); /* it waits */
    vwr(&k->d, k->d.common + 0x14, 0, 1);
    memset(bench_ram(k->b, PAYLOAD), 0x77, SECTOR_BYTES); /* memory is another's now */
    fault_file_plan(k->file, &(struct fault_plan){0});
    block_retry(k->block);
    block_drain(k->block);
    assert_int_equal(fault_file_bytes(k->file)[8 * SECTOR_BYTES], 0);
    assert_int_equal(*bench_ram(k->b, STATUS), UNTOUCHED);
}

/* ---- hostile drivers: each needs a reset afterwards, and works again after it ---- */

static void check_broken(struct disk *k)
{
    u16 before = driver_used(&k->d, 0);
    assert_true(driver_broken(&k->d));
    driver_kick(&k->d, 0);
    assert_int_equal(driver_used(&k->d, 0), before);
    start(k, 0);
    assert_int_equal(request(k, IN, 0, SECTOR_BYTES), 0);
}

static void virtio_descriptor_loop_ends(void **state)
{
    struct disk *k = *state;
    struct buffer f = {HEADER, 16, 0};
    start(k, 0);
    driver_descriptor(&k->d, VQ_BASE(0), &f, VQ_NEXT, 1);
    driver_descriptor(&k->d, VQ_BASE(0) + 16, &f, VQ_NEXT, 0);
    driver_offer(&k->d, 0, 0);
    driver_kick(&k->d, 0);
    check_broken(k);
}

static void virtio_indexes_outside_the_table_are_refused(void **state)
{
    struct disk *k = *state;
    start(k, 0);
    driver_offer(&k->d, 0, VQ_SIZE);
    driver_kick(&k->d, 0);
    check_broken(k);
    store16(bench_ram(k->b, VQ_AVAIL(0)) + 2, 5000);
    driver_kick(&k->d, 0);
    check_broken(k);
}

static void virtio_indirect_tables_do_not_nest(void **state)
{
    struct disk *k = *state;
    struct buffer table = {0x70000, 16, VQ_INDIRECT};
    start(k, FEATURE_INDIRECT);
    driver_descriptor(&k->d, 0x70000, &table, 0, 0); /* points to itself */
    driver_post(&k->d, 0, 0, &table, 1);
    check_broken(k);
}

static void virtio_readable_behind_writable_is_refused(void **state)
{
    struct disk *k = *state;
    struct buffer f[] = {{STATUS, 1, VQ_WRITE}, {HEADER, 16, 0}};
    start(k, 0);
    driver_post(&k->d, 0, 0, f, 2);
    check_broken(k);
}

static void virtio_huge_buffers_take_no_memory(void **state)
{
    struct disk *k = *state;
    struct buffer f[] = {{HEADER, 16, 0},
                         {PAYLOAD, UINT32_MAX & ~511u, VQ_WRITE},
                         {PAYLOAD, UINT32_MAX & ~511u, VQ_WRITE},
                         {STATUS, 1, VQ_WRITE}};
    start(k, 0);
    header(k, IN, 0);
    driver_post(&k->d, 0, 0, f, 4);
    assert_int_equal(*bench_ram(k->b, STATUS), 1);
}

static void virtio_dma_into_its_own_registers_goes_nowhere(void **state)
{
    struct disk *k = *state;
    struct buffer f[] = {
        {HEADER, 16, 0}, {BENCH_MEMORY, SECTOR_BYTES, VQ_WRITE}, {STATUS, 1, VQ_WRITE}};
    start(k, 0);
    header(k, IN, 0);
    driver_post(&k->d, 0, 0, f, 3);
    assert_int_equal(*bench_ram(k->b, STATUS), 0);
    assert_int_equal(vrd(&k->d, k->d.common + 0x14, 1), 15);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(virtio_blk_shows_itself_and_its_size),
        TEST(virtio_blk_reads_and_writes),
        TEST(virtio_blk_data_read_over_code_are_told_when_they_are_there),
        TEST(virtio_blk_bounds_requests_by_the_disk),
        TEST(virtio_blk_discards_and_writes_zeroes),
        TEST(virtio_blk_tells_its_serial),
        TEST(virtio_blk_follows_indirect_tables),
        TEST(virtio_blk_legacy_driver_is_served_through_ports),
        TEST(virtio_registers_are_reached_through_configuration_space),
        TEST(virtio_features_need_version_1),
        TEST(virtio_event_index_saves_interrupts),
        TEST(virtio_no_interrupt_flag_is_heeded),
        TEST(virtio_reset_forgets_queues),
        cmocka_unit_test_setup_teardown(
            virtio_write_that_waits_for_space_takes_nothing_after_a_reset, setup_on_fault,
            teardown),
        TEST(virtio_descriptor_loop_ends),
        TEST(virtio_indexes_outside_the_table_are_refused),
        TEST(virtio_indirect_tables_do_not_nest),
        TEST(virtio_readable_behind_writable_is_refused),
        TEST(virtio_huge_buffers_take_no_memory),
        TEST(virtio_dma_into_its_own_registers_goes_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
