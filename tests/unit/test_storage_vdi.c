/* SPDX-License-Identifier: MIT
 *
 * VDI: hostile headers, damaged maps, and a count of blocks that is wrong. Writing through the map
 * is tested in test_storage_blockmap.c.
 */
#include "image_bench.h"

#include <errno.h>

enum { MAP_AT = 512, COUNT_AT = 388, BLOCK = 1 << 20 };

static struct file *make(void)
{
    return create_in_memory_as("vdi", &(struct image_create){.bytes = 3 * BLOCK + 512});
}

static void put32(struct file *file, u64 at, u32 value)
{
    u8 field[4];
    store32(field, value);
    assert_int_equal(file_write(file, at, field, sizeof field), 0);
    assert_int_equal(file_flush(file), 0);
}

static u32 get32(struct file *file, u64 at)
{
    u8 field[4];
    assert_int_equal(file_read(file, at, field, sizeof field), 0);
    return load32(field);
}

/* CVE-2014-0144 and its kin: sizes and counts that overflow. */
static void vdi_impossible_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        u32 at, bytes;
        u64 value;
    } lies[] = {
        {64, 4, 0},           {68, 4, 0x00020001}, {76, 4, 0},           {76, 4, 3},
        {76, 4, 4},           {340, 4, 0},         {340, 4, 256},        {340, 4, 513},
        {340, 4, 0xfffffe00}, {344, 4, 0},         {344, 4, 512},        {344, 4, 1025},
        {360, 4, 0},          {360, 4, 4096},      {368, 8, UINT64_MAX}, {368, 8, 5 * BLOCK},
        {376, 4, 0},          {376, 4, 512},       {376, 4, 0x80000000}, {380, 4, 1},
        {384, 4, 0},          {384, 4, 3},         {384, 4, 0xffffffff}, {384, 4, 0x20000000},
        {424, 4, 1},          {455, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = make();
        u8 field[8];
        store64(field, lies[i].value);
        expect_refused(file, "vdi", lies[i].at, field, lies[i].bytes);
    }
}

static void vdi_blocks_that_cannot_be_are_reported(void **state)
{
    (void)state;
    u8 data[512] = {1};
    struct file *file = make();
    put32(file, MAP_AT, 4);     /* there are 0 to 3 */
    put32(file, MAP_AT + 4, 2); /* beyond the end of the file */
    struct image *image = open_file(file, &(struct image_options){.read_only = true});
    assert_int_equal(image_read(image, 0, data, sizeof data), -EIO);
    struct image_check r = {0};
    assert_int_equal(image->format->check(image, 0, &r), 0);
    assert_int_equal(r.errors, 3); /* and the count is too low */
    image_close(image);
}

static void vdi_two_blocks_in_one_place_are_reported(void **state)
{
    (void)state;
    u8 data[512] = {1};
    struct file *file = make();
    struct image *image = open_file(file, &(struct image_options){0});
    assert_int_equal(image_write(image, 0, data, sizeof data), 0);
    assert_int_equal(image_flush(image), 0);
    struct file *copy = fault_file_after_crash(file, 0);
    image_close(image);
    put32(copy, MAP_AT + 4, 0);
    image = open_file(copy, &(struct image_options){.read_only = true});
    struct image_check r = {0};
    assert_int_equal(image->format->check(image, 0, &r), 0);
    assert_int_equal(r.errors, 1);
    image_close(image);
}

static void vdi_wrong_count_is_repaired(void **state)
{
    (void)state;
    static const struct {
        u32 count;
        u64 errors, leaks;
    } cases[] = {{0, 1, 0}, {3, 0, 1}};
    u8 data[512] = {1};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct file *file = make();
        struct image *image = open_file(file, &(struct image_options){0});
        assert_int_equal(image_write(image, 0, data, sizeof data), 0);
        assert_int_equal(image_flush(image), 0);
        assert_int_equal(get32(file, COUNT_AT), 1);
        struct file *copy = fault_file_after_crash(file, 0);
        image_close(image);
        put32(copy, COUNT_AT, cases[i].count);
        image = open_file(copy, &(struct image_options){.no_repair = true});
        struct image_check r = {0};
        assert_int_equal(image->format->check(image, 0, &r), 0);
        assert_int_equal(r.errors, cases[i].errors);
        assert_int_equal(r.leaks, cases[i].leaks);
        assert_int_equal(image->format->check(image, REPAIR_LEAKS | REPAIR_ERRORS, &r), 0);
        assert_int_equal(get32(copy, COUNT_AT), 1);
        put32(copy, COUNT_AT, cases[i].count);
        struct file *again = fault_file_after_crash(copy, 0);
        image_close(image);
        image = open_file(again, &(struct image_options){0}); /* a writer repairs it too */
        assert_int_equal(get32(again, COUNT_AT), 1);
        image_close(image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vdi_impossible_headers_are_refused),
        cmocka_unit_test(vdi_blocks_that_cannot_be_are_reported),
        cmocka_unit_test(vdi_two_blocks_in_one_place_are_reported),
        cmocka_unit_test(vdi_wrong_count_is_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
