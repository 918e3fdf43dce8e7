/* SPDX-License-Identifier: MIT
 *
 * Images in memory, and a model of what a disk may hold after a power failure: for each sector the
 * values that were written since it was last known to be stable.
 */
#ifndef ANELLO_TESTS_IMAGE_BENCH_H
#define ANELLO_TESTS_IMAGE_BENCH_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/file_fault.h"
#include "storage/format.h"

#define SECTOR 512u

static inline u64 next_random(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline void temporary_path(char *path, size_t n, const char *suffix)
{
    snprintf(path, n, "/tmp/anello-image-XXXXXX%s", suffix);
    int fd = mkstemps(path, (int)strlen(suffix));
    assert_true(fd >= 0);
    close(fd);
}

/* Copies a file of the host into one in memory, all of it stable. */
static inline struct file *load_file(const char *path)
{
    char error[256];
    struct file *from = file_open(path, 0, error, sizeof error), *to = fault_file_create();
    assert_non_null(from);
    u64 bytes = file_size(from);
    u8 *data = malloc(bytes + 1);
    assert_int_equal(file_read(from, 0, data, bytes), 0);
    assert_int_equal(file_write(to, 0, data, bytes), 0);
    assert_int_equal(file_flush(to), 0);
    free(data);
    file_close(from);
    return to;
}

/* A new image in memory. */
static inline struct file *create_in_memory_as(const char *format,
                                               const struct image_create *options)
{
    char path[64], error[256] = "";
    temporary_path(path, sizeof path, ".image");
    int failed = image_format_by_name(format)->create(path, options, error, sizeof error);
    if (failed)
        print_error("%s\n", error);
    assert_int_equal(failed, 0);
    struct file *file = load_file(path);
    unlink(path);
    return file;
}

static inline struct file *create_in_memory(const struct image_create *options)
{
    return create_in_memory_as("qcow2", options);
}

static inline struct image *open_file(struct file *file, const struct image_options *options)
{
    char error[512] = "";
    struct image *image =
        image_open_file(file, "/tmp/anello-memory.image", options, error, sizeof error);
    if (!image)
        print_error("%s\n", error);
    assert_non_null(image);
    return image;
}

static inline void say_line(void *opaque, const char *line)
{
    (void)opaque;
    print_error("check: %s\n", line);
}

/* Checks without repair; the number of errors. */
static inline u64 errors_of(struct image *image, u64 *leaks)
{
    struct image_check result = {.say = NULL};
    assert_int_equal(image->format->check(image, 0, &result), 0);
    if (result.errors) { /* once more, loudly */
        struct image_check again = {.say = say_line};
        image->format->check(image, 0, &again);
    }
    if (leaks)
        *leaks = result.leaks;
    return result.errors;
}

static inline void expect_whole(struct image *image)
{
    u64 leaks;
    assert_int_equal(errors_of(image, &leaks), 0);
    assert_int_equal(leaks, 0);
}

/* Gives up the image and opens what would be left of its file, were the power to fail now. */
static inline struct image *reopen(struct image *image, struct file *file,
                                   const struct image_options *options)
{
    struct file *after = fault_file_after_crash(file, 0);
    image_close(image);
    return open_file(after, options);
}

/* An image in which one field says what cannot be is not opened, and the user hears why. */
static inline void expect_refused(struct file *file, const char *format, u64 at, const u8 *field,
                                  u32 bytes)
{
    char error[512] = "";
    struct image_options options = {.format = format, .no_backing = true};
    file_write(file, at, field, bytes);
    struct image *image = image_open_file(file, "liar", &options, error, sizeof error);
    if (image)
        print_error("the field at %llu was believed: %llx\n", (unsigned long long)at,
                    (unsigned long long)load_sized(field, bytes));
    assert_null(image);
    assert_true(strlen(error) > 0);
}

/* ---- the model ---- */

#define HISTORY 64

/* Sequence numbers; 0: zeros, 1: what the backing image has. */
struct sector_model {
    u32 values[HISTORY]; /* [0] was stable at the last flush, the others were written since */
    u8 count;
};

struct model {
    u64 sectors;
    struct sector_model *sector;
    u32 sequence;
};

static inline struct model model_create(u64 bytes, u32 initial)
{
    struct model m = {.sectors = bytes / SECTOR, .sequence = 1};
    m.sector = calloc(m.sectors, sizeof *m.sector);
    for (u64 i = 0; i < m.sectors; i++)
        m.sector[i] = (struct sector_model){.values = {initial}, .count = 1};
    return m;
}

static inline void model_write(struct model *m, u64 sector, u64 count, u32 value)
{
    for (u64 i = sector; i < sector + count; i++) {
        struct sector_model *s = &m->sector[i];
        assert_true(s->count < HISTORY);
        s->values[s->count++] = value;
    }
}

static inline void model_flush(struct model *m)
{
    for (u64 i = 0; i < m->sectors; i++) {
        struct sector_model *s = &m->sector[i];
        s->values[0] = s->values[s->count - 1];
        s->count = 1;
    }
}

static inline void fill_sector(u8 *data, u64 sector, u32 value)
{
    memset(data, 0, SECTOR);
    for (unsigned at = 0; value && at < SECTOR; at += 8) {
        store32(data + at, value);
        store32(data + at + 4, (u32)sector * 2654435761u + at);
    }
}

static inline bool sector_is(const u8 *data, u64 sector, u32 value)
{
    u8 want[SECTOR];
    fill_sector(want, sector, value);
    return !memcmp(data, want, SECTOR);
}

/* Buffers of odd sizes for the bytes; how many. */
static inline unsigned cut_up(u8 *data, u64 bytes, u64 *random, struct iovec *buffers)
{
    unsigned count = 0;
    for (u64 at = 0, n; at < bytes; at += n) {
        n = 1 + next_random(random) % 3000;
        if (n > bytes - at || count == IO_VECTOR_MAX - 1)
            n = bytes - at;
        buffers[count++] = (struct iovec){data + at, n};
    }
    return count;
}

/* Where the format knows it, a read into many buffers finds the same from `at` on. */
static inline void expect_in_buffers(struct image *image, u64 at, const u8 *data, u64 bytes)
{
    struct iovec buffers[IO_VECTOR_MAX];
    u64 random = bytes + 1;
    if (!image->format->read_vector)
        return;
    u8 *got = malloc(bytes);
    unsigned count = cut_up(got, bytes, &random, buffers);
    struct io_vector v = {buffers, count, 0};
    assert_int_equal(image_read_vector(image, at, v, bytes), 0);
    assert_memory_equal(got, data, bytes);
    free(got);
}

/* Every sector holds its last value, or (after a crash) any that it may hold. */
static inline void model_verify(const struct model *m, struct image *image, bool crashed)
{
    u64 bytes = m->sectors * SECTOR;
    u8 *data = malloc(bytes);
    assert_int_equal(image_read(image, 0, data, bytes), 0);
    for (u64 i = 0; i < m->sectors; i++) {
        const struct sector_model *s = &m->sector[i];
        bool good = sector_is(data + i * SECTOR, i, s->values[s->count - 1]);
        for (unsigned v = 0; crashed && !good && v < s->count; v++)
            good = sector_is(data + i * SECTOR, i, s->values[v]);
        if (!good)
            print_error("sector %llu: found %u, last written %u, stable %u\n",
                        (unsigned long long)i, load32(data + i * SECTOR), s->values[s->count - 1],
                        s->values[0]);
        assert_true(good);
    }
    expect_in_buffers(image, 0, data, bytes);
    expect_in_buffers(image, SECTOR, data + SECTOR, bytes - 2 * SECTOR);
    free(data);
}

/* If the power has failed on the side, looks at what is left. */
static inline void model_inspect(const struct model *m, struct file *watched)
{
    struct file *after = watched ? fault_file_crashed(watched) : NULL;
    struct image_options look = {.read_only = true};
    if (!after)
        return;
    struct image *found = open_file(after, &look);
    assert_int_equal(errors_of(found, NULL), 0);
    model_verify(m, found, true);
    image_close(found);
}

/* How many of the sectors have room in their history. */
static inline u64 with_room(const struct model *m, u64 sector, u64 count)
{
    for (u64 i = 0; i < count; i++) {
        if (m->sector[sector + i].count >= HISTORY - 1)
            return i;
    }
    return count;
}

/* Writes from one buffer or, where the format knows it, from many of odd sizes. */
static inline int write_somehow(struct image *image, u64 offset, u8 *data, u64 bytes, u64 *random)
{
    struct iovec buffers[IO_VECTOR_MAX];
    if (!image->format->write_vector || next_random(random) % 2)
        return image_write(image, offset, data, bytes);
    unsigned count = cut_up(data, bytes, random, buffers);
    return image_write_vector(image, offset, (struct io_vector){buffers, count, 0}, bytes);
}

/* One random operation of a guest on the image, and on the model. `watched`: the image's file,
 * where the power may fail on the side; or NULL. */
static inline void random_step(struct model *m, struct image *image, u64 *random,
                               struct file *watched)
{
    u64 sector = next_random(random) % m->sectors;
    u64 most = next_random(random) % 8 ? 16 : 300;
    u64 count = 1 + next_random(random) % most;
    if (count > m->sectors - sector)
        count = m->sectors - sector;
    count = with_room(m, sector, count);
    if (!count || next_random(random) % 30 == 0) {
        assert_int_equal(image_flush(image), 0);
        model_inspect(m, watched);
        model_flush(m);
        return;
    }
    if (next_random(random) % 10 == 0) {
        model_write(m, sector, count, 0);
        assert_int_equal(image_zero(image, sector * SECTOR, count * SECTOR), 0);
    } else {
        u8 *data = malloc(count * SECTOR);
        m->sequence++;
        for (u64 i = 0; i < count; i++)
            fill_sector(data + i * SECTOR, sector + i, m->sequence);
        model_write(m, sector, count, m->sequence);
        assert_int_equal(write_somehow(image, sector * SECTOR, data, count * SECTOR, random), 0);
        free(data);
    }
    model_inspect(m, watched);
}

/* ---- power failures ---- */

/* Steps, before one in `odds` of which the power is set to fail on the side within so many writes;
 * what was flushed must be there, and the image whole. */
static inline void steps_with_power_failures(struct model *m, struct file *file,
                                             struct image *image, int steps, unsigned odds,
                                             unsigned writes, u64 seed)
{
    for (int i = 0; i < steps; i++) {
        if (next_random(&seed) % odds == 0)
            fault_file_crash_at(file, 1 + (unsigned)(next_random(&seed) % writes),
                                next_random(&seed));
        random_step(m, image, &seed, file);
    }
}

static inline void model_adopt(struct model *m, struct image *image)
{
    u8 *data = malloc(image->size);
    assert_int_equal(image_read(image, 0, data, image->size), 0);
    for (u64 s = 0; s < m->sectors; s++)
        m->sector[s] = (struct sector_model){.values = {load32(data + s * SECTOR)}, .count = 1};
    free(data);
}

/* Steps and then a power failure, of which the opening repairs what it must; from there on the disk
 * is what was found. Gives the file that was left, and the leaks in it. */
static inline struct file *steps_until_power_fails(struct model *m, struct file *file,
                                                   const struct image_options *options, int steps,
                                                   u64 *random, u64 *leaks)
{
    struct image *image = open_file(file, options);
    for (int i = 0; i < steps; i++)
        random_step(m, image, random, NULL);
    struct file *after = fault_file_after_crash(file, next_random(random));
    image_close(image);
    image = open_file(fault_file_after_crash(after, 0), options);
    assert_int_equal(errors_of(image, leaks), 0);
    model_verify(m, image, true);
    model_adopt(m, image);
    image_close(image);
    return after;
}

/* ---- a host that fails ---- */

/* Fills the image up to `end` on a host where its file can grow to `limit` only, and goes on when
 * there is room again; afterwards all of it must be there. Gives the error that it met. */
static inline int fill_on_full_host(struct file *file, const struct image_options *options,
                                    u64 limit, u64 end)
{
    enum { PIECE = 64 * 1024 };
    struct image *image = open_file(file, options);
    u8 data[PIECE], got[PIECE];
    u64 at = 0;
    int full = 0;
    memset(data, 0x5a, sizeof data);
    fault_file_plan(file, &(struct fault_plan){.space_limit = limit});
    for (; at < end && !full; at += full ? 0 : PIECE)
        full = image_write(image, at, data, PIECE);
    int error = image_flush(image);
    assert_true(error == 0 || error == -ENOSPC);
    fault_file_plan(file, &(struct fault_plan){0});
    for (; at < end; at += PIECE)
        assert_int_equal(image_write(image, at, data, PIECE), 0);
    assert_int_equal(image_flush(image), 0);
    image = reopen(image, file, options);
    assert_int_equal(errors_of(image, NULL), 0);
    for (at = 0; at < end; at += PIECE) {
        assert_int_equal(image_read(image, at, got, PIECE), 0);
        assert_memory_equal(got, data, PIECE);
    }
    image_close(image);
    return full;
}

/* One write and one flush of the host fail while every `step` bytes something is written;
 * afterwards the image is whole, and what was written without an error is there. */
static inline void write_on_failing_host(struct file *file, const struct image_options *options,
                                         unsigned nth, u64 step)
{
    enum { PIECES = 64, BYTES = 3000 };
    struct image *image = open_file(file, options);
    u8 data[BYTES], got[BYTES];
    bool written[PIECES];
    unsigned n = 0;
    memset(data, (int)nth, sizeof data);
    fault_file_plan(file, &(struct fault_plan){
                              .fail_write_at = nth, .fail_flush_at = nth % 5 + 1, .error = -EIO});
    for (; n < PIECES && n * step + BYTES <= image->size; n++) {
        int error = image_write(image, n * step, data, sizeof data);
        assert_true(!error || error == -EIO);
        written[n] = !error;
        error = image_flush(image);
        assert_true(!error || error == -EIO);
    }
    fault_file_plan(file, &(struct fault_plan){0});
    assert_int_equal(image_flush(image), 0);
    image = reopen(image, file, options);
    assert_int_equal(errors_of(image, NULL), 0);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(image_read(image, i * step, got, sizeof got), 0);
        assert_true(!written[i] || !memcmp(got, data, sizeof got));
    }
    image_close(image);
}

/* ---- many threads ---- */

enum { HAMMERS = 4, HAMMER_STEP = 3 * SECTOR, HAMMER_ROUNDS = 400 };

struct hammer {
    struct image *image;
    unsigned id;
    bool failed;
};

/* Each thread owns every fourth piece, so neighbours share clusters. */
static inline void *hammer(void *opaque)
{
    struct hammer *h = opaque;
    u64 seed = 1000 + h->id, pieces = h->image->size / HAMMER_STEP / HAMMERS;
    u8 data[HAMMER_STEP], got[HAMMER_STEP];
    for (unsigned round = 0; round < HAMMER_ROUNDS; round++) {
        u64 at = (next_random(&seed) % pieces * HAMMERS + h->id) * HAMMER_STEP;
        memset(data, (int)(round + h->id), sizeof data);
        h->failed |= image_write(h->image, at, data, sizeof data) != 0;
        h->failed |= image_read(h->image, at, got, sizeof got) != 0;
        h->failed |= memcmp(data, got, sizeof got) != 0;
        if (round % 50 == 0)
            h->failed |= image_flush(h->image) != 0;
        if (round % 70 == 0)
            h->failed |= image_zero(h->image, at, sizeof data) != 0;
    }
    return NULL;
}

static inline void hammer_from_many_threads(struct image *image)
{
    struct hammer h[HAMMERS];
    pthread_t threads[HAMMERS];
    for (unsigned i = 0; i < HAMMERS; i++) {
        h[i] = (struct hammer){.image = image, .id = i};
        pthread_create(&threads[i], NULL, hammer, &h[i]);
    }
    for (unsigned i = 0; i < HAMMERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(h[i].failed);
    }
}

#endif
