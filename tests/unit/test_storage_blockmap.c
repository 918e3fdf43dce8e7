/* SPDX-License-Identifier: MIT
 *
 * VDI and sparse VMDK against a model: random writes, power failures, a host that fails, threads.
 */
#include "image_bench.h"

#include "storage/vmdk.h"

/* The sanitizers make these some fifty times slower: there a few rounds must do. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STEPS = 40, ROUNDS = 2, CRASHES = 3 };
#else
enum { STEPS = 70, ROUNDS = 3, CRASHES = 6 };
#endif

struct kind {
    const char *name, *format;
    u64 bytes;
    bool zeroed_grain, is_static;
    bool bare; /* VMDK: without any grain table yet */
};

static const struct kind kinds[] = {
    {.name = "vdi", .format = "vdi", .bytes = MIB(4)},
    {.name = "static vdi", .format = "vdi", .bytes = MIB(3), .is_static = true},
    {.name = "vmdk", .format = "vmdk", .bytes = MIB(4)},
    {.name = "vmdk of an odd size", .format = "vmdk", .bytes = MIB(5) + 13 * SECTOR},
    {.name = "vmdk with zeroed grains", .format = "vmdk", .bytes = MIB(4), .zeroed_grain = true},
    {.name = "vmdk without tables", .format = "vmdk", .bytes = MIB(4), .bare = true},
};

static const struct image_options writable = {0};

/* Takes the grain tables of a new VMDK away: they are made when they are needed. */
static void strip_tables(struct file *file)
{
    u8 header[VMDK_HEADER_BYTES], zeros[8] = {0};
    assert_int_equal(file_read(file, 0, header, sizeof header), 0);
    assert_int_equal(file_write(file, load64(header + VMDK_H_DIRECTORY) * VMDK_SECTOR, zeros, 8),
                     0);
    assert_int_equal(
        file_write(file, load64(header + VMDK_H_REDUNDANT_DIRECTORY) * VMDK_SECTOR, zeros, 8), 0);
    assert_int_equal(file_flush(file), 0);
}

static struct file *make(const struct kind *k)
{
    struct image_create create = {
        .bytes = k->bytes, .zeroed_grain = k->zeroed_grain, .is_static = k->is_static};
    struct file *file = create_in_memory_as(k->format, &create);
    if (k->bare)
        strip_tables(file);
    return file;
}

/* ---- random writes ---- */

static void random_writes(const struct kind *k, u64 seed)
{
    struct model m = model_create(k->bytes, 0);
    struct file *file = make(k);
    struct image *image = open_file(file, &writable);
    for (int i = 0; i < STEPS; i++)
        random_step(&m, image, &seed, NULL);
    model_verify(&m, image, false);
    assert_int_equal(image_flush(image), 0);
    expect_whole(image);
    image = reopen(image, file, &writable);
    assert_string_equal(image->format->name, k->format);
    expect_whole(image);
    model_verify(&m, image, false);
    image_close(image);
    free(m.sector);
}

static void blockmap_keeps_random_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (u64 seed = 1; seed <= 2; seed++)
            random_writes(&kinds[i], seed * 77777);
    }
}

/* ---- crashes ---- */

/* The power fails on the side at random moments; what was flushed must be there. */
static void crash_often(const struct kind *k, u64 seed)
{
    struct model m = model_create(k->bytes, 0);
    struct file *file = make(k);
    struct image *image = open_file(file, &writable);
    steps_with_power_failures(&m, file, image, STEPS, 2, 10, seed);
    image_close(image);
    free(m.sector);
}

static void blockmap_power_failure_loses_nothing_flushed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (u64 round = 0; round < ROUNDS; round++)
            crash_often(&kinds[i], 4711 + i + 100 * round);
    }
}

/* Writing goes on with the image that a crash has left, which the opening repairs. */
static void go_on(const struct kind *k, u64 seed)
{
    struct model m = model_create(k->bytes, 0);
    struct file *file = make(k);
    for (int crash = 0; crash < CRASHES; crash++) {
        u64 leaks;
        file = steps_until_power_fails(&m, file, &writable, 15, &seed, &leaks);
        assert_int_equal(leaks, 0);
    }
    file_close(file);
    free(m.sector);
}

static void blockmap_goes_on_after_each_crash(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        go_on(&kinds[i], 99 + i);
}

/* ---- the host fails ---- */

static void run_full(const struct kind *k)
{
    struct file *file = make(k);
    u64 limit = file_size(file) + MIB(2);
    int error = fill_on_full_host(file, &writable, limit, align_down(k->bytes, KIB(64)));
    assert_true(k->is_static || error == -ENOSPC);
}

static void blockmap_full_host_loses_nothing_and_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        run_full(&kinds[i]);
}

static void blockmap_host_errors_leave_the_image_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (unsigned nth = 1; nth <= 5 * ROUNDS; nth++)
            write_on_failing_host(make(&kinds[i]), &writable, nth,
                                  align_down(kinds[i].bytes / 64, SECTOR));
    }
}

/* ---- many threads ---- */

static void blockmap_threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct image *image = open_file(make(&kinds[k]), &writable);
        hammer_from_many_threads(image);
        assert_int_equal(image_flush(image), 0);
        expect_whole(image);
        image_close(image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blockmap_keeps_random_writes),
        cmocka_unit_test(blockmap_power_failure_loses_nothing_flushed),
        cmocka_unit_test(blockmap_goes_on_after_each_crash),
        cmocka_unit_test(blockmap_full_host_loses_nothing_and_goes_on),
        cmocka_unit_test(blockmap_host_errors_leave_the_image_whole),
        cmocka_unit_test(blockmap_threads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
