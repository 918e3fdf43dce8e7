/* SPDX-License-Identifier: MIT
 *
 * qcow2 against a model: random writes, reopening, crashes, snapshots, resizing, hostile headers.
 */
#include "image_bench.h"

#include <time.h>

#include "storage/qcow2.h"

/* The sanitizers make these some fifty times slower: there a few rounds must do, the release build
 * makes all of them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RANDOM_SEEDS = 1, CRASHING_STEPS = 60, CRASHES = 4 };
#else
enum { RANDOM_SEEDS = 4, CRASHING_STEPS = 500, CRASHES = 25 };
#endif

static const struct image_options writable = {.format = "qcow2"};

/* ---- random writes ---- */

struct shape {
    u64 bytes, cluster;
    u32 refcount_bits;
    const char *compat;
};

static const struct shape shapes[] = {
    {MIB(2), 512, 16, "1.1"},   {MIB(4), KIB(4), 16, "1.1"}, {MIB(4), KIB(64), 16, "1.1"},
    {MIB(4), MIB(1), 1, "1.1"}, {MIB(1), 512, 64, "1.1"},    {MIB(4), KIB(8), 16, "0.10"},
    {MIB(2), KIB(2), 2, "1.1"},
};

static void random_writes(const struct shape *shape, u64 seed)
{
    struct image_create create = {.bytes = shape->bytes,
                                  .cluster_bytes = shape->cluster,
                                  .refcount_bits = shape->refcount_bits,
                                  .compat = shape->compat};
    struct model m = model_create(shape->bytes, 0);
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    for (int i = 0; i < 300; i++)
        random_step(&m, image, &seed, NULL);
    model_verify(&m, image, false);
    assert_int_equal(image_flush(image), 0);
    assert_int_equal(image_flush(image), 0); /* counts what the first one released */
    image = reopen(image, file, &writable);
    expect_whole(image);
    model_verify(&m, image, false);
    image_close(image);
    free(m.sector);
}

static void qcow2_keeps_random_writes_in_every_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        for (u64 seed = 1; seed <= RANDOM_SEEDS; seed++)
            random_writes(&shapes[i], seed * 77777);
    }
}

/* ---- crashes ---- */

static struct file *make_backing(u64 bytes, char *path, size_t n)
{
    temporary_path(path, n, ".raw");
    FILE *f = fopen(path, "wb");
    u8 sector[SECTOR];
    for (u64 i = 0; i < bytes / SECTOR; i++) {
        fill_sector(sector, i, 1);
        assert_int_equal(fwrite(sector, SECTOR, 1, f), 1);
    }
    fclose(f);
    return NULL;
}

/* Power fails again and again at random moments; each time what was flushed must be there, and
 * the tables must be right. */
static void crash_often(const struct shape *shape, const char *backing, u64 seed)
{
    struct image_create create = {.bytes = shape->bytes,
                                  .cluster_bytes = shape->cluster,
                                  .refcount_bits = shape->refcount_bits,
                                  .compat = shape->compat,
                                  .backing = backing,
                                  .backing_format = backing ? "raw" : NULL};
    struct model m = model_create(shape->bytes, backing ? 1 : 0);
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    steps_with_power_failures(&m, file, image, CRASHING_STEPS, 3, 16, seed);
    image_close(image);
    free(m.sector);
}

static void qcow2_power_failure_loses_nothing_flushed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        crash_often(&shapes[i], NULL, 4711 + i);
}

static void qcow2_power_failure_over_a_backing_file_loses_nothing_flushed(void **state)
{
    (void)state;
    char path[64];
    make_backing(MIB(4), path, sizeof path);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        crash_often(&shapes[i], path, 815 + i);
    unlink(path);
}

/* A new block of counts may be counted by another new one: the table never names the first without
 * the second. Small clusters and wide counts make many of them in one flush. */
static void
qcow2_power_failure_while_many_refcount_blocks_are_made_leaves_the_image_whole(void **state)
{
    (void)state;
    enum { WRITTEN = KIB(200), MOMENTS = 80 };
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = 512, .refcount_bits = 64};
    u8 *data = malloc(WRITTEN);
    memset(data, 7, WRITTEN);
    for (unsigned n = 1; n <= MOMENTS; n++) {
        struct file *file = create_in_memory(&create);
        struct image *image = open_file(file, &writable);
        assert_int_equal(image_write(image, 0, data, WRITTEN), 0);
        fault_file_crash_at(file, n, n * 31);
        assert_int_equal(image_flush(image), 0);
        struct file *after = fault_file_crashed(file);
        if (after) {
            struct image *found = open_file(after, &(struct image_options){.read_only = true});
            assert_int_equal(errors_of(found, NULL), 0);
            image_close(found);
        }
        image_close(image);
    }
    free(data);
}

/* Writing goes on with the image that a crash has left. */
static void qcow2_goes_on_after_each_crash(void **state)
{
    (void)state;
    u64 seed = 99;
    struct image_create create = {.bytes = MIB(4), .cluster_bytes = KIB(4)};
    struct model m = model_create(create.bytes, 0);
    struct file *file = create_in_memory(&create);
    for (int crash = 0; crash < CRASHES; crash++)
        file = steps_until_power_fails(&m, file, &writable, 40, &seed, NULL);
    file_close(file);
    free(m.sector);
}

/* ---- the host fails ---- */

static void qcow2_full_host_loses_nothing_and_goes_on(void **state)
{
    (void)state;
    struct image_create create = {.bytes = MIB(4), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    assert_int_equal(fill_on_full_host(file, &writable, KIB(600), create.bytes), -ENOSPC);
}

static void qcow2_host_errors_leave_the_image_whole(void **state)
{
    (void)state;
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = 512};
    for (unsigned nth = 1; nth < 60; nth++)
        write_on_failing_host(create_in_memory(&create), &writable, nth, 50000);
}

/* ---- many threads ---- */

static void qcow2_threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct image_create create = {.bytes = MIB(2), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    hammer_from_many_threads(image);
    image_flush(image);
    image_flush(image);
    image = reopen(image, file, &writable);
    expect_whole(image);
    image_close(image);
}

struct flusher {
    struct image *image;
    struct file *file;
    unsigned id, lost;
};

/* Writes and flushes; each time the power fails, on the side. */
static void *write_and_flush(void *opaque)
{
    enum { ROUNDS = 30 };
    struct flusher *f = opaque;
    u8 data[SECTOR], got[SECTOR];
    for (unsigned round = 1; round <= ROUNDS; round++) {
        char error[256];
        u64 at = f->id * MIB(1) + round * KIB(16);
        memset(data, (int)(round + f->id), sizeof data);
        f->lost += image_write(f->image, at, data, sizeof data) || image_flush(f->image);
        struct file *after = fault_file_after_crash(f->file, round);
        struct image_options look = {.format = "qcow2", .read_only = true};
        struct image *found = image_open_file(after, "found", &look, error, sizeof error);
        f->lost +=
            !found || image_read(found, at, got, sizeof got) || memcmp(got, data, sizeof got) != 0;
        image_close(found);
    }
    return NULL;
}

static void qcow2_flushes_that_share_a_commit_all_have_their_writes(void **state)
{
    (void)state;
    enum { FLUSHERS = 4 };
    struct image_create create = {.bytes = MIB(FLUSHERS), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    struct flusher f[FLUSHERS];
    pthread_t threads[FLUSHERS];
    for (unsigned i = 0; i < FLUSHERS; i++) {
        f[i] = (struct flusher){.image = image, .file = file, .id = i};
        pthread_create(&threads[i], NULL, write_and_flush, &f[i]);
    }
    for (unsigned i = 0; i < FLUSHERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(f[i].lost, 0);
    }
    image_close(image);
}

/* ---- snapshots ---- */

static void qcow2_snapshots_keep_their_time(void **state)
{
    (void)state;
    char error[256];
    u64 seed = 31337;
    struct image_create create = {.bytes = MIB(2), .cluster_bytes = KIB(4)};
    struct model now = model_create(create.bytes, 0), then;
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    for (int i = 0; i < 100; i++)
        random_step(&now, image, &seed, NULL);
    assert_int_equal(image->format->snapshot_create(image, "one", error, sizeof error), 0);
    then = now;
    then.sector = malloc(now.sectors * sizeof *now.sector);
    memcpy(then.sector, now.sector, now.sectors * sizeof *now.sector);
    expect_whole(image);
    for (int i = 0; i < 100; i++)
        random_step(&now, image, &seed, NULL);
    model_verify(&now, image, false);
    assert_int_equal(image->format->snapshot_create(image, "two", error, sizeof error), 0);
    assert_int_equal(image->format->snapshot_create(image, "two", error, sizeof error), -EEXIST);
    image_flush(image);
    expect_whole(image);
    assert_int_equal(image->format->snapshot_apply(image, "one", error, sizeof error), 0);
    model_verify(&then, image, false);
    image_flush(image);
    expect_whole(image);
    for (int i = 0; i < 50; i++)
        random_step(&then, image, &seed, NULL);
    model_verify(&then, image, false);
    assert_int_equal(image->format->snapshot_apply(image, "two", error, sizeof error), 0);
    model_verify(&now, image, false);
    assert_int_equal(image->format->snapshot_delete(image, "one", error, sizeof error), 0);
    model_verify(&now, image, false);
    struct image_snapshot *list;
    u32 count;
    assert_int_equal(image->format->snapshot_list(image, &list, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "two");
    assert_int_equal(list[0].disk_bytes, create.bytes);
    free(list[0].id);
    free(list[0].name);
    free(list);
    assert_int_equal(image->format->snapshot_delete(image, "two", error, sizeof error), 0);
    assert_int_equal(image->format->snapshot_delete(image, "two", error, sizeof error), -ENOENT);
    model_verify(&now, image, false);
    image_flush(image);
    image_flush(image);
    expect_whole(image);
    image_close(image);
    free(now.sector);
    free(then.sector);
}

/* ---- resizing ---- */

static void qcow2_grows_and_shrinks(void **state)
{
    (void)state;
    char error[256];
    u8 data[SECTOR], got[SECTOR];
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = 512};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    memset(data, 0xab, sizeof data);
    image_write(image, 0, data, SECTOR);
    image_write(image, MIB(1) - SECTOR, data, SECTOR);
    assert_int_equal(image->format->resize(image, MIB(64), error, sizeof error), 0);
    assert_int_equal(image->size, MIB(64));
    image_write(image, MIB(64) - SECTOR, data, SECTOR);
    image_read(image, MIB(1) - SECTOR, got, SECTOR);
    assert_memory_equal(got, data, SECTOR);
    assert_int_equal(image->format->resize(image, KIB(512), error, sizeof error), 0);
    assert_int_equal(image->format->resize(image, MIB(2), error, sizeof error), 0);
    image_read(image, MIB(1) - SECTOR, got, SECTOR);
    assert_int_equal(got[0], 0);
    image_read(image, 0, got, SECTOR);
    assert_memory_equal(got, data, SECTOR);
    image_flush(image);
    image_flush(image);
    expect_whole(image);
    image_close(image);
}

static void qcow2_shows_zeros_where_it_shrank_and_grew_again(void **state)
{
    (void)state;
    char error[256];
    u8 data[SECTOR], got[SECTOR], zeros[SECTOR] = {0};
    struct image_create create = {.bytes = KIB(128), .cluster_bytes = KIB(64)};
    struct image *image = open_file(create_in_memory(&create), &writable);
    memset(data, 0xab, sizeof data);
    for (u64 at = 0; at < KIB(128); at += SECTOR)
        image_write(image, at, data, SECTOR);
    assert_int_equal(image->format->resize(image, KIB(70), error, sizeof error), 0);
    assert_int_equal(image->format->resize(image, KIB(128), error, sizeof error), 0);
    for (u64 at = 0; at < KIB(128); at += SECTOR) {
        image_read(image, at, got, SECTOR);
        assert_memory_equal(got, at < KIB(70) ? data : zeros, SECTOR);
    }
    image_close(image);
}

/* ---- compressed clusters ---- */

static void compressed_round_trip(const char *compression)
{
    struct image_create create = {
        .bytes = MIB(1), .cluster_bytes = KIB(16), .compression = compression};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    u64 seed = 5;
    u8 *model = calloc(1, MIB(1)), *got = malloc(MIB(1));
    for (u64 at = 0; at < MIB(1); at += KIB(16)) {
        for (u64 i = 0; i < KIB(16); i++) /* every fourth one cannot be compressed */
            model[at + i] = at >> 14 & 3 ? (u8)(i >> 5) : (u8)next_random(&seed);
        assert_int_equal(image->format->write_compressed(image, at, model + at, KIB(16)), 0);
    }
    image_read(image, 0, got, MIB(1));
    assert_memory_equal(got, model, MIB(1));
    expect_in_buffers(image, 0, model, MIB(1));
    for (int i = 0; i < 40; i++) { /* the guest writes over them */
        u64 at = next_random(&seed) % (MIB(1) - 5000);
        memset(model + at, i, 5000);
        assert_int_equal(image_write(image, at, model + at, 5000), 0);
    }
    assert_int_equal(image_flush(image), 0);
    image_read(image, 0, got, MIB(1));
    assert_memory_equal(got, model, MIB(1));
    expect_in_buffers(image, 0, model, MIB(1));
    image_flush(image);
    expect_whole(image);
    image_close(image);
    free(model);
    free(got);
}

static void qcow2_compressed_clusters_read_back_and_can_be_overwritten(void **state)
{
    (void)state;
    compressed_round_trip("zlib");
    compressed_round_trip("zstd");
}

/* ---- damage ---- */

static void qcow2_write_into_metadata_is_refused_and_marks_the_image(void **state)
{
    (void)state;
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    u8 data[512] = {1}, entry[8];
    assert_int_equal(image_write(image, 0, data, sizeof data), 0);
    assert_int_equal(image_flush(image), 0);
    struct file *copy = fault_file_after_crash(file, 0);
    image_close(image);
    /* Point the first L2 entry to the refcount table. */
    u8 header[104], l1[8];
    file_read(copy, 0, header, sizeof header);
    file_read(copy, get_be64(header + 40), l1, 8);
    put_be64(entry, KIB(4) | QCOW2_COPIED);
    file_write(copy, get_be64(l1) & QCOW2_OFFSET, entry, 8);
    image = open_file(copy, &writable);
    assert_int_equal(image_write(image, 0, data, sizeof data), -EIO);
    assert_int_equal(image_write(image, KIB(64), data, sizeof data), -EIO);
    file_read(copy, 72, entry, 8);
    assert_int_equal(get_be64(entry) & QCOW2_CORRUPT, QCOW2_CORRUPT);
    u8 before[8] = {0}, after[8];
    put_be64(before, 2 * KIB(4));
    file_read(copy, KIB(4), after, 8);
    assert_memory_equal(before, after, 8); /* the table is unharmed */
    struct file *again = fault_file_after_crash(copy, 0);
    image_close(image);
    char error[256];
    assert_null(image_open_file(again, "x", &writable, error, sizeof error));
    assert_non_null(strstr(error, "marked corrupt"));
}

/* A new image of 4 KiB clusters in which the first one has data, and its tables. */
struct crafted {
    struct file *file;
    u64 l1, l2;
};

enum { CRAFTED_CLUSTER = 4096, CRAFTED_REFTABLE = 4096, CRAFTED_REFBLOCK = 2 * 4096 };

static struct crafted craft(const char *snapshot)
{
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = CRAFTED_CLUSTER};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    u8 data[512] = {1}, field[8];
    char error[256];
    assert_int_equal(image_write(image, 0, data, sizeof data), 0);
    if (snapshot)
        assert_int_equal(qcow2_snapshot_create(image, snapshot, error, sizeof error), 0);
    assert_int_equal(image_flush(image), 0);
    struct crafted c = {.file = fault_file_after_crash(file, 0)};
    image_close(image);
    file_read(c.file, 40, field, 8);
    c.l1 = get_be64(field);
    file_read(c.file, c.l1, field, 8);
    c.l2 = get_be64(field) & QCOW2_OFFSET;
    return c;
}

static u64 file_word(struct file *file, u64 at)
{
    u8 field[8];
    assert_int_equal(file_read(file, at, field, 8), 0);
    return get_be64(field);
}

static void set_file_word(struct file *file, u64 at, u64 value)
{
    u8 field[8];
    put_be64(field, value);
    assert_int_equal(file_write(file, at, field, 8), 0);
}

static u32 crafted_count(struct file *file, u64 host)
{
    u8 count[2];
    assert_int_equal(file_read(file, CRAFTED_REFBLOCK + 2 * (host / CRAFTED_CLUSTER), count, 2), 0);
    return get_be16(count);
}

/* The image is marked, and the header and the counts are still there. */
static void expect_metadata_kept(struct file *file, u64 host)
{
    assert_int_equal(file_word(file, 72) & QCOW2_CORRUPT, QCOW2_CORRUPT);
    assert_int_equal(file_word(file, 0) >> 32, 0x514649fb);
    assert_int_equal(file_word(file, CRAFTED_REFTABLE), CRAFTED_REFBLOCK);
    assert_int_equal(crafted_count(file, host), 1);
}

/* The guest replaces what an L2 entry says is its data. */
static void replace_data_at(u64 entry, u64 host)
{
    struct crafted c = craft(NULL);
    u8 data[CRAFTED_CLUSTER] = {2};
    set_file_word(c.file, c.l2, entry);
    struct image *image = open_file(c.file, &writable);
    assert_int_equal(image_write(image, 0, data, sizeof data), 0);
    image_flush(image);
    expect_metadata_kept(c.file, host);
    image_close(image);
}

static void qcow2_replacing_what_lies_in_metadata_frees_nothing(void **state)
{
    (void)state;
    struct crafted c = craft(NULL);
    u64 l1 = c.l1, l2 = c.l2;
    file_close(c.file);
    const u64 hosts[] = {CRAFTED_REFTABLE, CRAFTED_REFBLOCK, l1, l2};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        replace_data_at(hosts[i], hosts[i]);
    replace_data_at(QCOW2_COMPRESSED, 0); /* in the header, which no other entry can name */
    replace_data_at(QCOW2_COMPRESSED | CRAFTED_REFTABLE, CRAFTED_REFTABLE);
}

static void qcow2_deleting_a_snapshot_frees_no_metadata(void **state)
{
    (void)state;
    struct crafted c = craft("first");
    char error[256];
    set_file_word(c.file, c.l2, CRAFTED_REFTABLE);
    struct image *image = open_file(c.file, &writable);
    qcow2_snapshot_delete(image, "first", error, sizeof error);
    expect_metadata_kept(c.file, CRAFTED_REFTABLE);
    image_close(image);
}

static void qcow2_tables_that_lie_in_each_other_are_damage(void **state)
{
    (void)state;
    struct crafted c = craft("first");
    char error[256] = "";
    const u64 wrong[][2] = {{c.l1, CRAFTED_REFTABLE},
                            {c.l1, CRAFTED_REFBLOCK},
                            {c.l1, c.l1},
                            {CRAFTED_REFTABLE, CRAFTED_REFTABLE},
                            {40, CRAFTED_REFTABLE},
                            {40, CRAFTED_REFBLOCK},
                            {64, c.l1},
                            {c.l1, file_word(c.file, 64)}};
    file_close(c.file);
    const struct image_options look = {.format = "qcow2", .read_only = true};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        c = craft("first");
        set_file_word(c.file, wrong[i][0], wrong[i][1]);
        struct file *copy = fault_file_after_crash(c.file, 0);
        assert_null(image_open_file(c.file, "x", &writable, error, sizeof error));
        assert_non_null(strstr(error, "is damaged"));
        image_close(open_file(copy, &look));
    }
}

static void qcow2_check_sees_reserved_bits(void **state)
{
    (void)state;
    const struct image_options look = {.format = "qcow2", .read_only = true};
    const u64 bits[] = {bit64(1), bit64(8), bit64(56), bit64(61)};
    for (size_t i = 0; i < 2 * ARRAY_LEN(bits); i++) {
        struct crafted c = craft("first");
        u64 at = i & 1 ? c.l1 : c.l2;
        set_file_word(c.file, at, file_word(c.file, at) | bits[i / 2]);
        struct image *image = open_file(c.file, &look);
        struct image_check r = {0};
        assert_int_equal(image->format->check(image, 0, &r), 0);
        assert_int_equal(r.errors, i & 1 ? 1 : 2); /* the snapshot has the L2 table too */
        assert_int_equal(r.leaks, 0);
        image_close(image);
    }
}

static struct image_check check_result(struct file *file, unsigned repair)
{
    const struct image_options look = {.format = "qcow2", .read_only = !repair, .no_repair = true};
    struct image *image = open_file(file, &look);
    struct image_check r = {0};
    assert_int_equal(image->format->check(image, repair, &r), 0);
    image_close(image);
    return r;
}

static void qcow2_without_its_snapshot_table_can_be_read(void **state)
{
    (void)state;
    u64 places[] = {0, 12345, MIB(1024)};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct crafted c = craft("first");
        set_file_word(c.file, 64, places[i]);
        struct file *other = fault_file_after_crash(c.file, 0);
        struct file *third = fault_file_after_crash(c.file, 0);
        struct image *image = open_file(c.file, &(struct image_options){.read_only = true});
        u8 data[512];
        assert_int_equal(image_read(image, 0, data, sizeof data), 0);
        assert_int_equal(data[0], 1);
        image_close(image);
        char error[256];
        assert_null(image_open_file(other, "x", &writable, error, sizeof error));
        assert_non_null(strstr(error, "is damaged"));
        struct image_check r = check_result(third, REPAIR_LEAKS | REPAIR_ERRORS);
        assert_true(r.errors > 0 && !r.errors_fixed);
        assert_true(r.leaks > 0 && !r.leaks_fixed); /* the snapshot's: they must not be freed */
    }
}

static void qcow2_check_sees_an_incomplete_snapshot_entry(void **state)
{
    (void)state;
    struct crafted c = craft("first");
    set_file_word(c.file, 56, (u64)1 << 32 | 2); /* the second one is all zeros */
    struct image_check r = check_result(c.file, 0);
    assert_int_equal(r.errors, 1);
}

static void qcow2_check_goes_on_behind_a_broken_l1_entry(void **state)
{
    (void)state;
    const u64 entries[] = {UINT64_C(0x6162633161626331), 0x123 << 9};
    for (size_t i = 0; i < 2 * ARRAY_LEN(entries); i++) {
        struct crafted c = craft(NULL);
        set_file_word(c.file, c.l1, entries[i / 2]);
        struct file *worse = fault_file_after_crash(c.file, 0);
        struct image_check r = check_result(c.file, i & 1 ? REPAIR_ERRORS : 0);
        assert_true(r.errors > r.errors_fixed);
        set_file_word(worse, CRAFTED_REFTABLE, 0x123); /* the counts are made anew */
        r = check_result(worse, i & 1 ? REPAIR_ERRORS : 0);
        assert_true(r.errors > r.errors_fixed);
    }
}

static void qcow2_check_says_when_a_count_is_too_narrow(void **state)
{
    (void)state;
    struct image_create create = {
        .bytes = MIB(1), .cluster_bytes = CRAFTED_CLUSTER, .refcount_bits = 1};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    u8 data[2 * CRAFTED_CLUSTER] = {1};
    assert_int_equal(image_write(image, 0, data, sizeof data), 0);
    assert_int_equal(image_flush(image), 0);
    struct file *copy = fault_file_after_crash(file, 0);
    image_close(image);
    u64 l2 = file_word(copy, file_word(copy, 40)) & QCOW2_OFFSET;
    set_file_word(copy, l2 + 8, file_word(copy, l2)); /* two entries, one cluster */
    struct image_check r = check_result(copy, REPAIR_LEAKS | REPAIR_ERRORS);
    assert_true(r.errors > r.errors_fixed);
    assert_int_equal(r.leaks, 1);
    assert_int_equal(r.leaks_fixed, 1);
}

static void qcow2_check_finds_and_repairs_wrong_counts(void **state)
{
    (void)state;
    struct image_create create = {.bytes = MIB(1), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    u8 data[KIB(64)] = {1};
    image_write(image, 0, data, sizeof data);
    image_flush(image);
    struct file *copy = fault_file_after_crash(file, 0);
    image_close(image);
    u8 count[2];
    put_be16(count, 0); /* an error: used, but free */
    file_write(copy, 2 * KIB(4) + 2 * 8, count, 2);
    put_be16(count, 3); /* a leak */
    file_write(copy, 2 * KIB(4) + 2 * 100, count, 2);
    file_truncate(copy, 200 * KIB(4));
    struct image_options look = {.format = "qcow2", .no_repair = true};
    image = open_file(copy, &look);
    struct image_check r = {0};
    assert_int_equal(image->format->check(image, 0, &r), 0);
    assert_int_equal(r.errors, 2); /* the count, and the flag that follows from it */
    assert_int_equal(r.leaks, 1);
    r = (struct image_check){0};
    assert_int_equal(image->format->check(image, REPAIR_LEAKS | REPAIR_ERRORS, &r), 0);
    assert_int_equal(r.errors, r.errors_fixed);
    assert_int_equal(r.leaks_fixed, 1);
    expect_whole(image);
    image_close(image);
}

/* `lost`: what the first entry of the refcount table has become. */
static void check_rebuilding(u64 lost)
{
    struct image_create create = {.bytes = MIB(2), .cluster_bytes = KIB(4)};
    struct file *file = create_in_memory(&create);
    struct image *image = open_file(file, &writable);
    struct model m = model_create(create.bytes, 0);
    u64 seed = 8;
    for (int i = 0; i < 60; i++)
        random_step(&m, image, &seed, NULL);
    image_flush(image);
    struct file *copy = fault_file_after_crash(file, 0);
    image_close(image);
    u8 entry[8];
    put_be64(entry, lost);
    file_write(copy, KIB(4), entry, 8);
    file_write(copy, 72 + 7, "\1", 1); /* the dirty bit: repaired on opening */
    image = open_file(copy, &writable);
    expect_whole(image);
    model_verify(&m, image, false);
    for (int i = 0; i < 60; i++)
        random_step(&m, image, &seed, NULL);
    model_verify(&m, image, false);
    image_close(image);
    free(m.sector);
}

static void qcow2_check_rebuilds_lost_refcounts(void **state)
{
    (void)state;
    check_rebuilding(0x123);  /* misaligned */
    check_rebuilding(KIB(4)); /* the table itself */
    check_rebuilding(0);
}

/* CVE-2014-0145 and its kin: sizes and counts that overflow. */
static void qcow2_impossible_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        u32 at, bytes;
        u64 value;
    } lies[] = {
        {4, 4, 1},
        {4, 4, 4},
        {20, 4, 8},
        {20, 4, 22},
        {20, 4, 0xffffffff},
        {24, 8, UINT64_MAX},
        {24, 8, INT64_MAX},
        {32, 4, 1},
        {36, 4, 0},
        {36, 4, 0xffffffff},
        {36, 4, 0x20000000},
        {40, 8, 0},
        {40, 8, 0x1001},
        {40, 8, UINT64_MAX - 4095},
        {48, 8, 0},
        {48, 8, 7},
        {56, 4, 0},
        {56, 4, 0x80000000},
        {60, 4, 0xffffffff},
        {60, 4, 1},
        {72, 8, 4},
        {72, 8, 16},
        {72, 8, 0x10000000000},
        {96, 4, 7},
        {100, 4, 0xffffffff},
        {100, 4, 8},
        {8, 8, 0xfffffff0},
        {16, 4, 0xffffffff},
    };
    struct image_create create = {.bytes = MIB(1), .backing = "base.raw", .backing_format = "raw"};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct file *file = create_in_memory(&create);
        u8 field[8];
        put_be64(field, lies[i].value << (64 - 8 * lies[i].bytes));
        expect_refused(file, "qcow2", lies[i].at, field, lies[i].bytes);
    }
}

/* ---- many clusters ---- */

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* Half a million clusters and then, in the file opened again, some thousands more one by one: a
 * tenth of a second. It was hours and minutes when each search for space began at the file's start.
 */
static void qcow2_finds_space_in_a_full_file_without_looking_through_it(void **state)
{
    (void)state;
    enum { FULL = MIB(256), MORE = MIB(8), LIMIT_SECONDS = 20 };
    char path[64], error[256];
    u8 data[512] = "x";
    struct image_create create = {
        .bytes = FULL, .cluster_bytes = sizeof data, .preallocation = "metadata"};
    double start = cpu_seconds();
    temporary_path(path, sizeof path, ".qcow2");
    assert_int_equal(qcow2_format.create(path, &create, error, sizeof error), 0);
    assert_true(cpu_seconds() - start < LIMIT_SECONDS);
    struct image *image = image_open(path, &writable, error, sizeof error);
    assert_non_null(image);
    assert_int_equal(qcow2_format.resize(image, FULL + MORE, error, sizeof error), 0);
    for (u64 at = FULL; at < FULL + MORE && cpu_seconds() - start < LIMIT_SECONDS;
         at += sizeof data)
        assert_int_equal(image_write(image, at, data, sizeof data), 0);
    assert_true(cpu_seconds() - start < LIMIT_SECONDS);
    assert_int_equal(image_flush(image), 0);
    expect_whole(image);
    image_close(image);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qcow2_keeps_random_writes_in_every_shape),
        cmocka_unit_test(qcow2_power_failure_loses_nothing_flushed),
        cmocka_unit_test(qcow2_power_failure_over_a_backing_file_loses_nothing_flushed),
        cmocka_unit_test(
            qcow2_power_failure_while_many_refcount_blocks_are_made_leaves_the_image_whole),
        cmocka_unit_test(qcow2_goes_on_after_each_crash),
        cmocka_unit_test(qcow2_full_host_loses_nothing_and_goes_on),
        cmocka_unit_test(qcow2_host_errors_leave_the_image_whole),
        cmocka_unit_test(qcow2_threads_do_not_disturb_each_other),
        cmocka_unit_test(qcow2_flushes_that_share_a_commit_all_have_their_writes),
        cmocka_unit_test(qcow2_snapshots_keep_their_time),
        cmocka_unit_test(qcow2_grows_and_shrinks),
        cmocka_unit_test(qcow2_shows_zeros_where_it_shrank_and_grew_again),
        cmocka_unit_test(qcow2_compressed_clusters_read_back_and_can_be_overwritten),
        cmocka_unit_test(qcow2_write_into_metadata_is_refused_and_marks_the_image),
        cmocka_unit_test(qcow2_replacing_what_lies_in_metadata_frees_nothing),
        cmocka_unit_test(qcow2_deleting_a_snapshot_frees_no_metadata),
        cmocka_unit_test(qcow2_tables_that_lie_in_each_other_are_damage),
        cmocka_unit_test(qcow2_check_sees_reserved_bits),
        cmocka_unit_test(qcow2_without_its_snapshot_table_can_be_read),
        cmocka_unit_test(qcow2_check_sees_an_incomplete_snapshot_entry),
        cmocka_unit_test(qcow2_check_goes_on_behind_a_broken_l1_entry),
        cmocka_unit_test(qcow2_check_says_when_a_count_is_too_narrow),
        cmocka_unit_test(qcow2_check_finds_and_repairs_wrong_counts),
        cmocka_unit_test(qcow2_check_rebuilds_lost_refcounts),
        cmocka_unit_test(qcow2_impossible_headers_are_refused),
        cmocka_unit_test(qcow2_finds_space_in_a_full_file_without_looking_through_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
