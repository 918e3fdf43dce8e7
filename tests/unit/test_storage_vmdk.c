/* SPDX-License-Identifier: MIT
 *
 * VMDK: subformats, parents, hostile headers and descriptors. Writing through the tables is tested
 * in test_storage_blockmap.c.
 */
#include "image_bench.h"

#include "storage/vmdk.h"

struct bench {
    char folder[64], path[96], error[512];
};

static int setup(void **state)
{
    struct bench *t = calloc(1, sizeof *t);
    snprintf(t->folder, sizeof t->folder, "/tmp/anello-vmdk-XXXXXX");
    assert_non_null(mkdtemp(t->folder));
    snprintf(t->path, sizeof t->path, "%s/disk.vmdk", t->folder);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", t->folder);
    assert_int_equal(system(command), 0);
    free(t);
    return 0;
}

static void create(struct bench *t, const struct image_create *options)
{
    int failed = vmdk_format.create(t->path, options, t->error, sizeof t->error);
    if (failed)
        print_error("%s\n", t->error);
    assert_int_equal(failed, 0);
}

static struct image *open_disk(struct bench *t, struct image_options options)
{
    return image_open(t->path, &options, t->error, sizeof t->error);
}

static struct image *must_open(struct bench *t, struct image_options options)
{
    struct image *image = open_disk(t, options);
    if (!image)
        print_error("%s\n", t->error);
    assert_non_null(image);
    return image;
}

/* ---- subformats ---- */

static void vmdk_split_disks_are_one_disk(void **state)
{
    struct bench *t = *state;
    static const char *const subformats[] = {"twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                             "monolithicFlat", "monolithicSparse"};
    u8 data[KIB(192)], got[KIB(192)];
    u64 seed = 3;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (u8)next_random(&seed);
    for (size_t i = 0; i < ARRAY_LEN(subformats); i++) {
        create(t, &(struct image_create){.bytes = GIB(5), .subformat = subformats[i]});
        struct image *image = must_open(t, (struct image_options){0});
        assert_int_equal(image->size, GIB(5));
        u64 at[] = {GIB(2) - 1000, GIB(4) - 70000, GIB(5) - sizeof data, 0};
        for (size_t j = 0; j < ARRAY_LEN(at); j++)
            assert_int_equal(image_write(image, at[j], data, sizeof data), 0);
        assert_int_equal(image_zero(image, GIB(4) - 512, 1024), 0);
        assert_int_equal(image_flush(image), 0);
        image_close(image);
        image = must_open(t, (struct image_options){.read_only = true});
        for (size_t j = 0; j < ARRAY_LEN(at); j++) {
            assert_int_equal(image_read(image, at[j], got, sizeof got), 0);
            if (j == 1)
                memcpy(got + 70000 - 512, data + 70000 - 512, 1024);
            assert_memory_equal(got, data, sizeof got);
        }
        assert_int_equal(image_read(image, GIB(4) - 512, got, 1024), 0);
        assert_true(!got[0] && !memcmp(got, got + 1, 1023));
        assert_int_equal(errors_of(image, NULL), 0);
        image_close(image);
    }
}

static void vmdk_stream_is_filled_once(void **state)
{
    struct bench *t = *state;
    enum { GRAIN = 65536 };
    u8 data[GRAIN], got[GRAIN];
    u64 seed = 9;
    create(t, &(struct image_create){.bytes = MIB(4) + 512, .subformat = "streamOptimized"});
    struct image *image = must_open(t, (struct image_options){.filling = true});
    for (u64 at = 0; at < MIB(4); at += 3 * GRAIN) {
        for (size_t i = 0; i < GRAIN; i++)
            data[i] = at >> 17 & 1 ? (u8)next_random(&seed) : (u8)(at >> 16);
        assert_int_equal(vmdk_format.write_compressed(image, at, data, GRAIN), 0);
        assert_int_equal(image_read(image, at + 100, got, 1000), 0);
        assert_memory_equal(got, data + 100, 1000);
    }
    assert_int_equal(vmdk_format.write_compressed(image, 0, data, GRAIN), -EROFS);
    assert_int_equal(vmdk_format.write_compressed(image, 512, data, GRAIN), -EINVAL);
    assert_int_equal(vmdk_format.write_compressed(image, MIB(4), "end", 3), 0);
    image_close(image);
    image = must_open(t, (struct image_options){.read_only = true});
    assert_int_equal(image_read(image, MIB(4), got, 512), 0);
    assert_memory_equal(got, "end", 4);
    assert_int_equal(image_read(image, 0, got, 512), 0);
    assert_true(!got[0] && !memcmp(got, got + 1, 511));
    expect_whole(image);
    image_close(image);
    assert_null(open_disk(t, (struct image_options){0}));
    assert_non_null(strstr(t->error, "use -snapshot"));
}

static void vmdk_stream_markers_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        u32 at, value;
    } lies[] = {{0, 5}, {8, 0}, {8, 0xffffffff}, {8, 0x7fffffff}, {8, 5}, {12, 0}};
    u8 data[KIB(64)] = {1}, header[VMDK_HEADER_BYTES];
    struct image_create create_it = {.bytes = MIB(1), .subformat = "streamOptimized"};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = create_in_memory_as("vmdk", &create_it);
        struct image *image = open_file(file, &(struct image_options){.filling = true});
        assert_int_equal(vmdk_format.write_compressed(image, 0, data, sizeof data), 0);
        assert_int_equal(image_flush(image), 0);
        file = fault_file_after_crash(file, 0);
        image_close(image);
        assert_int_equal(file_read(file, 0, header, sizeof header), 0);
        u8 field[4];
        store32(field, lies[i].value);
        file_write(file, load64(header + VMDK_H_OVERHEAD) * VMDK_SECTOR + lies[i].at, field, 4);
        image = open_file(file, &(struct image_options){.read_only = true});
        assert_int_equal(image_read(image, 0, data, 512), -EIO);
        image_close(image);
    }
}

/* ---- parents ---- */

static void vmdk_child_shows_its_parent_until_that_changes(void **state)
{
    struct bench *t = *state;
    char child[96];
    u8 data[KIB(128)], got[KIB(128)];
    snprintf(child, sizeof child, "%s/child.vmdk", t->folder);
    memset(data, 0x77, sizeof data);
    create(t, &(struct image_create){.bytes = MIB(2)});
    struct image *image = must_open(t, (struct image_options){0});
    assert_int_equal(image_write(image, 1000, data, sizeof data), 0);
    image_close(image);
    struct image_create over = {.bytes = MIB(3), .backing = "disk.vmdk", .zeroed_grain = true};
    assert_int_equal(vmdk_format.create(child, &over, t->error, sizeof t->error), 0);
    image = image_open(child, &(struct image_options){0}, t->error, sizeof t->error);
    assert_non_null(image);
    assert_int_equal(image_write(image, 2000, "child", 5), 0);
    assert_int_equal(image_zero(image, KIB(64), KIB(64)), 0); /* by a mark */
    assert_int_equal(image_zero(image, MIB(2) + 5, 1000), 0);
    memcpy(data + 1000, "child", 5);
    memset(data + KIB(64) - 1000, 0, KIB(64));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(image_read(image, 1000, got, sizeof got), 0);
        assert_memory_equal(got, data, sizeof got);
        image_close(image);
        image = image_open(child, &(struct image_options){0}, t->error, sizeof t->error);
        assert_non_null(image);
    }
    image_close(image);
    image = must_open(t, (struct image_options){0});
    assert_int_equal(image_write(image, 0, data, 1), 0);
    image_close(image);
    assert_null(image_open(child, &(struct image_options){0}, t->error, sizeof t->error));
    assert_non_null(strstr(t->error, "its parent has been changed"));
}

static void vmdk_child_follows_its_parent(void **state)
{
    struct bench *t = *state;
    char child[96];
    u8 data[1000] = "parent", got[sizeof data];
    snprintf(child, sizeof child, "%s/child.vmdk", t->folder);
    create(t, &(struct image_create){.bytes = MIB(2)});
    struct image_create over = {.bytes = MIB(2), .backing = "disk.vmdk"};
    assert_int_equal(vmdk_format.create(child, &over, t->error, sizeof t->error), 0);
    struct image_options o = {.read_only = true, .no_backing = true, .follows = true};
    struct image *upper = image_open(child, &o, t->error, sizeof t->error);
    struct image *parent = must_open(t, (struct image_options){0});
    assert_non_null(upper);
    assert_int_equal(vmdk_format.follow_base(upper, parent), 0);
    assert_int_equal(image_write(parent, 5000, data, sizeof data), 0);
    assert_int_equal(image_write(upper, 0, data, 1), -EROFS);
    image_close(upper);
    image_close(parent);
    upper = image_open(child, &(struct image_options){0}, t->error, sizeof t->error);
    assert_non_null(upper);
    assert_int_equal(image_read(upper, 5000, got, sizeof got), 0);
    assert_memory_equal(got, data, sizeof got);
    image_close(upper);
    parent = must_open(t, (struct image_options){0});
    assert_int_equal(image_write(parent, 0, data, 1), 0); /* once more, and nobody tells it */
    image_close(parent);
    assert_null(image_open(child, &(struct image_options){0}, t->error, sizeof t->error));
}

/* ---- damage and lies ---- */

static void vmdk_impossible_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        u32 at, bytes;
        u64 value;
    } lies[] = {
        {VMDK_H_VERSION, 4, 0},
        {VMDK_H_VERSION, 4, 4},
        {VMDK_H_CAPACITY, 8, 0},
        {VMDK_H_CAPACITY, 8, UINT64_MAX},
        {VMDK_H_CAPACITY, 8, INT64_MAX / 512},
        {VMDK_H_CAPACITY, 8, 0x100000000},
        {VMDK_H_GRAIN, 8, 0},
        {VMDK_H_GRAIN, 8, 1},
        {VMDK_H_GRAIN, 8, 96},
        {VMDK_H_GRAIN, 8, 0x40000},
        {VMDK_H_GRAIN, 8, UINT64_MAX},
        {VMDK_H_DESCRIPTOR, 8, 0},
        {VMDK_H_DESCRIPTOR, 8, UINT64_MAX},
        {VMDK_H_DESCRIPTOR, 8, 0x10000},
        {VMDK_H_DESCRIPTOR_SIZE, 8, 0},
        {VMDK_H_DESCRIPTOR_SIZE, 8, UINT64_MAX},
        {VMDK_H_DESCRIPTOR_SIZE, 8, 0x800000},
        {VMDK_H_TABLE_ENTRIES, 4, 0},
        {VMDK_H_TABLE_ENTRIES, 4, 511},
        {VMDK_H_TABLE_ENTRIES, 4, 0xffffffff},
        {VMDK_H_REDUNDANT_DIRECTORY, 8, 1},
        {VMDK_H_REDUNDANT_DIRECTORY, 8, UINT64_MAX - 1},
        {VMDK_H_DIRECTORY, 8, 0},
        {VMDK_H_DIRECTORY, 8, 1},
        {VMDK_H_DIRECTORY, 8, UINT64_MAX}, /* a footer that is not there */
        {VMDK_H_DIRECTORY, 8, UINT64_MAX / 512},
        {VMDK_H_DIRECTORY, 8, 0x7fffffff},
        {VMDK_H_NEWLINES, 4, 0x0a0a200a},
        {VMDK_H_FLAGS, 4, 0x10003}, /* compressed, without markers */
        {VMDK_H_FLAGS, 4, 0x30003}, /* compressed by nothing */
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = create_in_memory_as("vmdk", &(struct image_create){.bytes = MIB(3)});
        u8 field[8];
        store64(field, lies[i].value);
        expect_refused(file, NULL, lies[i].at, field, lies[i].bytes);
    }
}

/* Where the grain directory lies; behind its sector comes the first table. */
static u64 directory_of(struct file *file)
{
    u8 header[VMDK_HEADER_BYTES];
    assert_int_equal(file_read(file, 0, header, sizeof header), 0);
    return load64(header + VMDK_H_DIRECTORY) * VMDK_SECTOR;
}

static void vmdk_tables_in_impossible_places_are_refused(void **state)
{
    (void)state;
    static const u32 lies[] = {1, 20, 21, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = create_in_memory_as("vmdk", &(struct image_create){.bytes = MIB(3)});
        u8 field[4];
        store32(field, lies[i]);
        expect_refused(file, NULL, directory_of(file), field, sizeof field);
    }
}

static void vmdk_grain_within_metadata_is_left_alone(void **state)
{
    (void)state;
    static const u32 lies[] = {1, 5, 21, 22, 30};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = create_in_memory_as("vmdk", &(struct image_create){.bytes = MIB(3)});
        u8 field[4], data[512] = {1}, before[KIB(64)], after[KIB(64)];
        store32(field, lies[i]);
        file_write(file, directory_of(file) + VMDK_SECTOR, field, 4);
        struct image *image = open_file(file, &(struct image_options){0});
        assert_int_equal(image_write(image, MIB(1), data, 1), 0); /* changes the CID */
        assert_int_equal(image_flush(image), 0);
        assert_int_equal(file_read(file, 0, before, sizeof before), 0);
        assert_int_equal(image_write(image, 0, data, sizeof data), -EIO);
        assert_int_equal(image_zero(image, 0, 512), -EIO);
        assert_int_equal(image_read(image, 0, data, sizeof data), -EIO);
        assert_int_equal(file_read(file, 0, after, sizeof after), 0);
        assert_memory_equal(before, after, sizeof before);
        struct image_check r = {0};
        assert_int_equal(vmdk_format.check(image, 0, &r), 0);
        assert_int_equal(r.errors, 1);
        image_close(image);
    }
}

static void expect_text(struct bench *t, const char *text, const char *part)
{
    FILE *f = fopen(t->path, "w");
    fprintf(f, "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n%s", text);
    fclose(f);
    assert_null(open_disk(t, (struct image_options){.read_only = true}));
    if (!strstr(t->error, part))
        print_error("%s\n", t->error);
    assert_non_null(strstr(t->error, part));
}

static void vmdk_descriptor_names_files_of_its_own_folder_only(void **state)
{
    struct bench *t = *state;
    expect_text(t, "RW 10 FLAT \"/etc/passwd\" 0\n", "its own folder");
    expect_text(t, "RW 10 FLAT \"../x\" 0\n", "its own folder");
    expect_text(t, "RW 10 FLAT \"\" 0\n", "its own folder");
    expect_text(t, "RW 10 FLAT \"..\" 0\n", "directory");
    expect_text(t, "RW 10 FLAT \"absent\" 0\n", "absent");
}

static void vmdk_broken_descriptors_are_refused(void **state)
{
    struct bench *t = *state;
    expect_text(t, "", "without extents");
    expect_text(t, "RW -1 FLAT \"x\" 0\n", "broken extent");
    expect_text(t, "RW 18446744073709551615 FLAT \"x\" 0\n", "broken extent");
    expect_text(t, "RW 99999999999999999999999 FLAT \"x\" 0\n", "broken extent");
    expect_text(t, "RW 0 ZERO\n", "broken extent");
    expect_text(t, "RW 10 FLAT \"x\n", "broken extent");
    expect_text(t, "RW 10 FLAT \"x\"\n", "broken extent");
    expect_text(t, "RW 10 FLAT \"x\" 18446744073709551615\n", "broken extent");
    expect_text(t, "RW 10\n", "not supported");
    expect_text(t, "RW 10 SESPARSE \"x\"\n", "not supported");
    expect_text(t, "NOACCESS 10 ZERO\n", "without access");
    expect_text(t, "encoding=\"encrypted\"\nRW 10 ZERO\n", "not supported");
    char *many = malloc(5000 * 10 + 1), *p = many;
    for (int i = 0; i < 5000; i++)
        p += sprintf(p, "RW 1 ZERO\n");
    expect_text(t, many, "too many");
    free(many);
}

static void vmdk_extent_must_be_as_long_as_the_descriptor_says(void **state)
{
    struct bench *t = *state;
    char extent[96];
    create(t, &(struct image_create){.bytes = MIB(1), .subformat = "monolithicFlat"});
    snprintf(extent, sizeof extent, "%s/disk-flat.vmdk", t->folder);
    assert_int_equal(truncate(extent, 1000), 0);
    assert_null(open_disk(t, (struct image_options){0}));
    assert_non_null(strstr(t->error, "shorter"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(vmdk_split_disks_are_one_disk),
        T(vmdk_stream_is_filled_once),
        T(vmdk_stream_markers_are_not_believed),
        T(vmdk_child_shows_its_parent_until_that_changes),
        T(vmdk_child_follows_its_parent),
        T(vmdk_impossible_headers_are_refused),
        T(vmdk_tables_in_impossible_places_are_refused),
        T(vmdk_grain_within_metadata_is_left_alone),
        T(vmdk_descriptor_names_files_of_its_own_folder_only),
        T(vmdk_broken_descriptors_are_refused),
        T(vmdk_extent_must_be_as_long_as_the_descriptor_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
