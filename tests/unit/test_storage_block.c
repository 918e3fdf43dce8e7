/* SPDX-License-Identifier: MIT
 *
 * The block layer over raw images: requests, cache modes, locks, overlays, trouble.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/spin.h"
#include "storage/block_internal.h"
#include "storage/file_fault.h"

#define DISK_BYTES KIB(256)

struct bench {
    struct clock *clock;
    struct loop *loop;
    char folder[64], path[128];
    char error[512];
};

static void fill(u8 *data, size_t n, u32 seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (u8)(seed >> 24);
    }
}

static int setup(void **state)
{
    struct bench *t = calloc(1, sizeof *t);
    t->clock = clock_create_stepped();
    t->loop = loop_create(t->clock);
    strcpy(t->folder, "/tmp/anello-block-XXXXXX");
    assert_non_null(mkdtemp(t->folder));
    snprintf(t->path, sizeof t->path, "%s/disk.img", t->folder);
    int fd = open(t->path, O_CREAT | O_RDWR, 0600);
    assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
    close(fd);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;
    unlink(t->path);
    rmdir(t->folder);
    loop_destroy(t->loop);
    clock_destroy(t->clock);
    free(t);
    return 0;
}

static struct block *open_disk(struct bench *t, struct block_options options)
{
    struct block *b = block_open(t->path, &options, t->loop, t->error, sizeof t->error);
    if (!b)
        print_error("%s\n", t->error);
    assert_non_null(b);
    return b;
}

static struct block *open_fault(struct bench *t, struct file **file)
{
    *file = fault_file_create();
    file_truncate(*file, DISK_BYTES);
    file_flush(*file);
    struct image_options io = {.format = "raw"};
    struct image *image = image_open_file(*file, "fault", &io, t->error, sizeof t->error);
    assert_non_null(image);
    struct block_options options = {.format = "raw"};
    return block_from_image(image, &options, t->loop);
}

struct job {
    struct block_request request;
    bool done;
};

static void job_done(struct block_request *r)
{
    ((struct job *)r->opaque)->done = true;
}

static void submit(struct block *b, struct job *j, enum block_op op, u64 offset, void *data,
                   u64 bytes)
{
    *j = (struct job){.request = {.op = op,
                                  .offset = offset,
                                  .data = data,
                                  .bytes = bytes,
                                  .done = job_done,
                                  .opaque = j}};
    block_submit(b, &j->request);
}

static void wait_for(struct bench *t, const struct job *j)
{
    for (int i = 0; i < 1000 && !j->done; i++)
        loop_turn(t->loop, 10);
    assert_true(j->done);
}

/* A worker looks for the next request before it sleeps: requests come at once, while it looks, when
 * it is about to sleep, and after that; one by one, and three at a time. */
static void no_request_is_overlooked(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    u8 data[3][512];
    for (unsigned i = 0; i < 3000; i++) {
        static const i64 gaps[] = {0, 1000, 9000, 10000, 11000, 40000, 100000, 150000};
        struct job jobs[3];
        unsigned n = i % 7 ? 1 : 3;
        for (unsigned k = 0; k < n; k++)
            submit(b, &jobs[k], BLOCK_READ, 512 * k, data[k], 512);
        assert_true(block_is_busy(b));
        for (unsigned k = 0; k < n; k++)
            wait_for(t, &jobs[k]);
        assert_false(block_is_busy(b));
        for (i64 end = spin_now() + gaps[i / 16 % ARRAY_LEN(gaps)]; spin_now() < end;)
            continue;
    }
    block_close(b);
}

/* ---- opening ---- */

static void expect_refusal(struct bench *t, const char *path, const char *text)
{
    struct block_options options = {0};
    struct block *b = block_open(path, &options, t->loop, t->error, sizeof t->error);
    assert_null(b);
    if (!strstr(t->error, text))
        print_error("no \"%s\" in: %s\n", text, t->error);
    assert_non_null(strstr(t->error, text));
    assert_null(strchr(t->error, '\n'));
}

static void block_open_says_what_is_wrong(void **state)
{
    struct bench *t = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/none.img", t->folder);
    expect_refusal(t, path, "anello image create");
    expect_refusal(t, t->folder, "is a directory");
    expect_refusal(t, "/dev/null", "is a special file");
    assert_int_equal(truncate(t->path, 0), 0);
    expect_refusal(t, t->path, "is empty");
    expect_refusal(t, NULL, "needs an image file");
    if (geteuid() != 0) {
        assert_int_equal(chmod(t->path, 0400), 0);
        expect_refusal(t, t->path, "no permission to write");
    }
}

static void block_open_refuses_an_unknown_format(void **state)
{
    struct bench *t = *state;
    struct block_options options = {.format = "zip"};
    assert_null(block_open(t->path, &options, NULL, t->error, sizeof t->error));
    assert_non_null(strstr(t->error, "unknown image format \"zip\""));
}

static void block_open_rounds_odd_images_up_to_a_sector(void **state)
{
    struct bench *t = *state;
    assert_int_equal(truncate(t->path, 1000), 0);
    struct block *b = open_disk(t, (struct block_options){.read_only = true});
    assert_int_equal(block_size(b), 1024);
    u8 tail[24];
    memset(tail, 0xff, sizeof tail);
    assert_int_equal(block_read(b, 1000, tail, 24), 0);
    assert_int_equal(tail[0] | tail[23], 0);
    assert_int_equal(block_read(b, 1024, tail, 1), -EINVAL);
    assert_int_equal(block_write(b, 0, tail, 1), -EROFS);
    block_close(b);
}

/* ---- requests ---- */

static void block_requests_complete_on_the_loop(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    u8 out[4096], in[4096];
    fill(out, sizeof out, 1);
    struct job w, f, r;
    submit(b, &w, BLOCK_WRITE, 512, out, sizeof out);
    assert_false(w.done);
    wait_for(t, &w);
    submit(b, &f, BLOCK_FLUSH, 0, NULL, 0);
    wait_for(t, &f);
    submit(b, &r, BLOCK_READ, 512, in, sizeof in);
    wait_for(t, &r);
    assert_int_equal(w.request.error | f.request.error | r.request.error, 0);
    assert_memory_equal(in, out, sizeof in);
    struct block_counters c = block_counters(b);
    assert_int_equal(c.reads, 1);
    assert_int_equal(c.writes, 1);
    assert_int_equal(c.flushes, 1);
    assert_int_equal(c.write_bytes, sizeof out);
    block_close(b);
}

static void block_keeps_many_requests_in_flight(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    enum { JOBS = 64, PIECE = 4096 };
    static u8 out[JOBS][PIECE], in[JOBS][PIECE];
    static struct job jobs[JOBS];
    for (int i = 0; i < JOBS; i++) {
        fill(out[i], PIECE, (u32)i);
        submit(b, &jobs[i], BLOCK_WRITE, (u64)i * PIECE, out[i], PIECE);
    }
    block_drain(b);
    for (int i = 0; i < JOBS; i++)
        assert_true(jobs[i].done);
    for (int i = 0; i < JOBS; i++)
        submit(b, &jobs[i], BLOCK_READ, (u64)i * PIECE, in[i], PIECE);
    block_close(b); /* waits and delivers as well */
    assert_memory_equal(in, out, sizeof in);
    for (int i = 0; i < JOBS; i++)
        assert_true(jobs[i].done && !jobs[i].request.error);
}

/* ---- a loop with a thread of its own ---- */

struct ended {
    struct block_request request;
    struct bench *bench;
    pthread_t by;
    unsigned times;
    bool with_lock; /* nobody else could enter */
};

static void note_end(struct block_request *r)
{
    struct ended *e = r->opaque;
    e->by = pthread_self();
    e->with_lock = !loop_try_enter(e->bench->loop);
    __atomic_fetch_add(&e->times, 1, __ATOMIC_SEQ_CST);
}

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static void submit_ended(struct bench *t, struct block *b, struct ended *e)
{
    static u8 data[512];
    *e = (struct ended){
        .bench = t,
        .request = {
            .op = BLOCK_WRITE, .data = data, .bytes = sizeof data, .done = note_end, .opaque = e}};
    block_submit(b, &e->request);
}

static void wait_for_end(const struct ended *e)
{
    for (int i = 0; i < 100000 && !__atomic_load_n(&e->times, __ATOMIC_SEQ_CST); i++)
        usleep(100);
    assert_int_equal(e->times, 1);
    assert_true(e->with_lock);
    assert_int_equal(e->request.error, 0);
}

static void block_workers_deliver_unless_the_board_is_busy(void **state)
{
    struct bench *t = *state;
    pthread_t loop_thread;
    struct ended e;
    struct block *b = open_disk(t, (struct block_options){.format = "raw"});
    assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, t->loop), 0);
    unsigned by_worker = 0, by_loop = 0;
    for (unsigned i = 0; i < 2000 && !(by_worker && by_loop); i++) {
        loop_lock(t->loop);
        submit_ended(t, b, &e);
        if (i % 2)
            usleep(1000); /* the worker finds the lock taken, if it is quick enough */
        loop_unlock(t->loop);
        wait_for_end(&e);
        if (pthread_equal(e.by, loop_thread))
            by_loop++;
        else
            by_worker++;
    }
    assert_true(by_worker && by_loop);
    loop_stop(t->loop);
    pthread_join(loop_thread, NULL);
    submit_ended(t, b, &e); /* nobody runs the loop any more: it is left to it */
    block_drain(b);
    wait_for_end(&e);
    assert_true(pthread_equal(e.by, pthread_self()));
    block_close(b);
}

struct mover {
    struct job job; /* first */
    u8 *data;
    u64 next; /* pieces come in order */
    u64 fails_at;
    unsigned located; /* how often */
};

static int move(struct block_request *r, u64 at, void *piece, u64 n)
{
    struct mover *m = r->opaque;
    assert_int_equal(at, m->next);
    assert_true(n && at + n <= r->bytes);
    if (at + n > m->fails_at)
        return -ECANCELED;
    if (r->op == BLOCK_READ)
        memcpy(m->data + at, piece, n);
    else
        memcpy(piece, m->data + at, n);
    m->next = at + n;
    return 0;
}

static int move_all(struct bench *t, struct block *b, struct mover *m, enum block_op op, u64 offset,
                    u64 bytes)
{
    m->next = 0;
    m->job = (struct job){.request = {.op = op,
                                      .offset = offset,
                                      .bytes = bytes,
                                      .move = move,
                                      .done = job_done,
                                      .opaque = m}};
    block_submit(b, &m->job.request);
    wait_for(t, &m->job);
    return m->job.request.error;
}

static void block_data_without_a_buffer_move_in_pieces(void **state)
{
    struct bench *t = *state;
    enum { OFFSET = 512 * 3, BYTES = DISK_BYTES - 512 * 7 };
    u8 *data = malloc(DISK_BYTES), *back = malloc(DISK_BYTES);
    struct block *b = open_disk(t, (struct block_options){.format = "raw"});
    struct mover m = {.data = data, .fails_at = UINT64_MAX};
    fill(data, BYTES, 5);
    assert_int_equal(move_all(t, b, &m, BLOCK_WRITE, OFFSET, BYTES), 0);
    assert_int_equal(m.next, BYTES);
    assert_int_equal(block_read(b, OFFSET, back, BYTES), 0);
    assert_memory_equal(data, back, BYTES);
    memset(back, 0, DISK_BYTES);
    m.data = back;
    assert_int_equal(move_all(t, b, &m, BLOCK_READ, OFFSET, BYTES), 0);
    assert_memory_equal(data, back, BYTES);
    m.fails_at = KIB(100); /* whoever moves may say no */
    assert_int_equal(move_all(t, b, &m, BLOCK_WRITE, OFFSET, BYTES), -ECANCELED);
    assert_true(m.next <= KIB(100));
    block_close(b);
    free(data);
    free(back);
}

/* Tells where its bytes lie, in odd buffers, as long as there is room for them. */
static unsigned locate(struct block_request *r, struct iovec *buffers, unsigned room)
{
    struct mover *m = r->opaque;
    unsigned count = 0;
    for (u64 at = 0, n; at < r->bytes; at += n) {
        n = 700 + count * 2;
        if (n > r->bytes - at)
            n = r->bytes - at;
        if (count == room)
            return 0;
        buffers[count++] = (struct iovec){m->data + at, n};
    }
    m->located++;
    return count;
}

static void do_located(struct bench *t, struct block *b, struct mover *m, enum block_op op,
                       u64 offset, u64 bytes)
{
    m->job = (struct job){.request = {.op = op,
                                      .offset = offset,
                                      .bytes = bytes,
                                      .move = move,
                                      .locate = locate,
                                      .done = job_done,
                                      .opaque = m}};
    block_submit(b, &m->job.request);
    wait_for(t, &m->job);
    assert_int_equal(m->job.request.error, 0);
}

static void check_located(struct bench *t, struct block *b, u64 offset, u64 bytes, bool moved)
{
    u8 *data = malloc(bytes), *back = malloc(bytes);
    struct mover m = {.data = data, .fails_at = UINT64_MAX};
    fill(data, bytes, (u32)bytes);
    do_located(t, b, &m, BLOCK_WRITE, offset, bytes);
    assert_int_equal(m.next, moved ? bytes : 0);
    assert_int_equal(m.located, !moved);
    assert_int_equal(block_read(b, offset, back, bytes), 0);
    assert_memory_equal(data, back, bytes);
    memset(back, 0, bytes);
    m = (struct mover){.data = back, .fails_at = UINT64_MAX};
    do_located(t, b, &m, BLOCK_READ, offset, bytes);
    assert_int_equal(m.next, moved ? bytes : 0);
    assert_int_equal(m.located, moved ? 0 : 2); /* once more when they have been filled */
    assert_memory_equal(data, back, bytes);
    free(data);
    free(back);
}

static void check_located_in(struct bench *t, struct block_options options, bool moved)
{
    struct block *b = open_disk(t, options);
    check_located(t, b, 512 * 3, KIB(150) + 512, moved);
    check_located(t, b, 0, KIB(64), moved);
    check_located(t, b, KIB(64), 512, moved);
    check_located(t, b, 512, KIB(255), true); /* more buffers than there is room for */
    block_close(b);
}

static void block_located_data_are_written_and_read_where_they_lie(void **state)
{
    struct bench *t = *state;
    struct image_create create = {.bytes = DISK_BYTES};
    check_located_in(t, (struct block_options){0}, false);
    check_located_in(t, (struct block_options){.format = "raw"}, false);
    check_located_in(t, (struct block_options){.snapshot = true}, true);
    assert_int_equal(qcow2_format.create(t->path, &create, t->error, sizeof t->error), 0);
    check_located_in(t, (struct block_options){0}, false);
    struct block_options direct = {.cache = CACHE_NONE};
    struct block *b = block_open(t->path, &direct, NULL, t->error, sizeof t->error);
    block_close(b);
    if (b) /* else: a file system without O_DIRECT */
        check_located_in(t, direct, false);
}

static void block_requests_beyond_the_end_fail(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    u8 data[512] = {0};
    struct job j;
    submit(b, &j, BLOCK_WRITE, DISK_BYTES - 511, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -EINVAL);
    submit(b, &j, BLOCK_READ, UINT64_MAX - 100, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -EINVAL);
    block_close(b);
}

static void block_discard_reads_as_zeros(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    u8 data[KIB(64)];
    memset(data, 0x5a, sizeof data);
    assert_int_equal(block_write(b, 0, data, sizeof data), 0);
    struct job j;
    submit(b, &j, BLOCK_DISCARD, 4096, NULL, 8192);
    wait_for(t, &j);
    assert_int_equal(block_read(b, 0, data, sizeof data), 0);
    assert_int_equal(data[4095], 0x5a);
    assert_int_equal(data[4096], 0);
    assert_int_equal(data[4096 + 8191], 0);
    assert_int_equal(data[4096 + 8192], 0x5a);
    block_close(b);
}

static void round_trip(struct bench *t, struct block_options options)
{
    static const struct {
        u64 offset, bytes;
    } pieces[] = {{0, 512}, {511, 3}, {4096, 8192}, {4095, 8194}, {100000, 70000}, {1, 131071}};
    static u8 model[DISK_BYTES], got[DISK_BYTES], data[DISK_BYTES];
    struct block *b = open_disk(t, options);
    memset(model, 0, sizeof model);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        fill(data, pieces[i].bytes, (u32)i + 7);
        assert_int_equal(block_write(b, pieces[i].offset, data, pieces[i].bytes), 0);
        memcpy(model + pieces[i].offset, data, pieces[i].bytes);
        assert_int_equal(block_read(b, pieces[i].offset, got, pieces[i].bytes), 0);
        assert_memory_equal(got, data, pieces[i].bytes);
    }
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(block_read(b, 0, got, DISK_BYTES), 0);
    assert_memory_equal(got, model, DISK_BYTES);
    block_close(b);
    assert_int_equal(truncate(t->path, 0) | truncate(t->path, DISK_BYTES), 0);
}

static void block_cache_modes_all_keep_data(void **state)
{
    struct bench *t = *state;
    round_trip(t, (struct block_options){.cache = CACHE_WRITEBACK});
    round_trip(t, (struct block_options){.cache = CACHE_WRITETHROUGH});
    round_trip(t, (struct block_options){.cache = CACHE_UNSAFE});
    round_trip(t, (struct block_options){.snapshot = true});
    struct block_options direct = {.cache = CACHE_NONE};
    struct block *b = block_open(t->path, &direct, NULL, t->error, sizeof t->error);
    if (!b) { /* a file system without O_DIRECT */
        assert_non_null(strstr(t->error, "use cache=writeback"));
        return;
    }
    block_close(b);
    round_trip(t, direct);
}

static void block_snapshot_leaves_the_image_alone(void **state)
{
    struct bench *t = *state;
    static u8 before[DISK_BYTES], after[DISK_BYTES];
    struct block *b = open_disk(t, (struct block_options){0});
    fill(before, sizeof before, 3);
    assert_int_equal(block_write(b, 0, before, sizeof before), 0);
    block_close(b);
    b = open_disk(t, (struct block_options){.snapshot = true});
    assert_string_equal(block_format(b), "raw");
    assert_int_equal(block_write(b, 70000, "changed", 7), 0);
    assert_int_equal(block_read(b, 69999, after, 9), 0);
    assert_memory_equal(after + 1, "changed", 7);
    assert_int_equal(after[0], before[69999]);
    assert_int_equal(after[8], before[70007]);
    block_close(b);
    b = open_disk(t, (struct block_options){.read_only = true});
    assert_int_equal(block_read(b, 0, after, sizeof after), 0);
    assert_memory_equal(after, before, sizeof after);
    block_close(b);
}

/* ---- locks ---- */

static void block_writer_is_alone(void **state)
{
    struct bench *t = *state;
    struct block *b = open_disk(t, (struct block_options){0});
    struct block_options again = {0}, reader = {.read_only = true}, snapshot = {.snapshot = true};
    assert_null(block_open(t->path, &again, NULL, t->error, sizeof t->error));
    assert_non_null(strstr(t->error, "is in use by another"));
    assert_null(block_open(t->path, &reader, NULL, t->error, sizeof t->error));
    assert_null(block_open(t->path, &snapshot, NULL, t->error, sizeof t->error));
    block_close(b);
    b = open_disk(t, reader);
    struct block *c = open_disk(t, snapshot);
    assert_null(block_open(t->path, &again, NULL, t->error, sizeof t->error));
    block_close(b);
    block_close(c);
    block_close(open_disk(t, again));
}

/* ---- removable media ---- */

static void block_medium_comes_and_goes(void **state)
{
    struct bench *t = *state;
    struct block_options options = {.removable = true, .read_only = true};
    struct block *b = block_open(NULL, &options, t->loop, t->error, sizeof t->error);
    assert_non_null(b);
    assert_int_equal(block_size(b), 0);
    assert_null(block_path(b));
    u8 data[512];
    struct job j;
    submit(b, &j, BLOCK_READ, 0, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -ENOMEDIUM);
    assert_int_equal(block_change(b, t->path, t->error, sizeof t->error), 0);
    assert_int_equal(block_size(b), DISK_BYTES);
    assert_string_equal(block_path(b), t->path);
    assert_int_equal(block_change(b, "/nowhere", t->error, sizeof t->error), -1);
    assert_int_equal(block_size(b), DISK_BYTES);
    assert_int_equal(block_change(b, NULL, t->error, sizeof t->error), 0);
    assert_int_equal(block_size(b), 0);
    block_close(b);
}

/* ---- trouble ---- */

static void block_host_errors_reach_the_request(void **state)
{
    struct bench *t = *state;
    struct file *file;
    struct block *b = open_fault(t, &file);
    u8 data[512] = {0};
    struct job j;
    fault_file_plan(file,
                    &(struct fault_plan){
                        .fail_read_at = 1, .fail_write_at = 1, .fail_flush_at = 1, .error = -EIO});
    submit(b, &j, BLOCK_READ, 0, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -EIO);
    submit(b, &j, BLOCK_WRITE, 0, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -EIO);
    submit(b, &j, BLOCK_FLUSH, 0, NULL, 0);
    wait_for(t, &j);
    assert_int_equal(j.request.error, -EIO);
    submit(b, &j, BLOCK_READ, 0, data, 512);
    wait_for(t, &j);
    assert_int_equal(j.request.error, 0);
    block_close(b);
}

static void heard_full(void *opaque, struct block *block)
{
    (void)block;
    ++*(unsigned *)opaque;
}

static void block_waits_for_space_and_goes_on(void **state)
{
    struct bench *t = *state;
    struct file *file;
    struct block *b = open_fault(t, &file);
    unsigned told = 0;
    u8 data[512] = {1};
    struct job j;
    block_on_full(b, heard_full, &told);
    fault_file_plan(file, &(struct fault_plan){.space_limit = 4096});
    submit(b, &j, BLOCK_WRITE, 8192, data, 512);
    for (int i = 0; i < 1000 && !told; i++)
        loop_turn(t->loop, 10);
    assert_int_equal(told, 1);
    assert_false(j.done);
    block_drain(b); /* does not hang on it */
    block_retry(b); /* still no space */
    for (int i = 0; i < 1000 && told < 2; i++)
        loop_turn(t->loop, 10);
    assert_false(j.done);
    fault_file_plan(file, &(struct fault_plan){0});
    block_retry(b);
    wait_for(t, &j);
    assert_int_equal(j.request.error, 0);
    assert_int_equal(fault_file_bytes(file)[8192], 1);
    block_close(b);
}

static void block_fua_write_is_stable_and_flush_covers_the_rest(void **state)
{
    struct bench *t = *state;
    struct file *file;
    struct block *b = open_fault(t, &file);
    u8 data[512] = {7};
    struct job j;
    submit(b, &j, BLOCK_WRITE, 0, data, 512);
    wait_for(t, &j);
    assert_int_equal(fault_file_unstable(file), 1);
    j = (struct job){.request = {.op = BLOCK_WRITE,
                                 .fua = true,
                                 .offset = 512,
                                 .data = data,
                                 .bytes = 512,
                                 .done = job_done,
                                 .opaque = &j}};
    block_submit(b, &j.request);
    wait_for(t, &j);
    assert_int_equal(fault_file_unstable(file), 0);
    block_close(b);
}

static void block_writethrough_makes_tables_stable_too(void **state)
{
    struct bench *t = *state;
    char path[160];
    u8 data[512] = {9};
    struct image_create create = {.bytes = DISK_BYTES};
    struct block_options options = {.cache = CACHE_WRITETHROUGH};
    struct image_options look = {.read_only = true, .file_flags = FILE_NO_LOCK};
    snprintf(path, sizeof path, "%s/disk.qcow2", t->folder);
    assert_int_equal(qcow2_format.create(path, &create, t->error, sizeof t->error), 0);
    struct block *b = block_open(path, &options, t->loop, t->error, sizeof t->error);
    assert_non_null(b);
    assert_string_equal(block_format(b), "qcow2");
    struct job j;
    submit(b, &j, BLOCK_WRITE, 4096, data, sizeof data);
    wait_for(t, &j);
    struct image *image = image_open(path, &look, t->error, sizeof t->error);
    assert_non_null(image);
    memset(data, 0, sizeof data);
    assert_int_equal(image_read(image, 4096, data, sizeof data), 0);
    assert_int_equal(data[0], 9);
    image_close(image);
    block_close(b);
    unlink(path);
}

static void fault_file_crash_keeps_what_was_flushed_and_may_lose_the_rest(void **state)
{
    (void)state;
    unsigned kept = 0, lost = 0;
    struct file *f = fault_file_create();
    u8 a[1024], c[1024], got[1024];
    memset(a, 0xaa, sizeof a);
    memset(c, 0xcc, sizeof c);
    file_write(f, 0, a, sizeof a);
    file_flush(f);
    file_write(f, 1024, c, sizeof c);
    for (u64 seed = 0; seed < 64; seed++) {
        struct file *after = fault_file_after_crash(f, seed);
        file_read(after, 0, got, sizeof got);
        assert_memory_equal(got, a, sizeof a);
        file_read(after, 1024, got, sizeof got);
        kept += got[0] == 0xcc;
        lost += got[0] == 0;
        file_close(after);
    }
    assert_true(kept > 8 && lost > 8);
    file_close(f);
}

static void raw_guest_cannot_turn_its_disk_into_another_format(void **state)
{
    struct bench *t = *state;
    u8 sector[512] = "QFI\xfb\0\0\0\3";
    struct iovec halves[] = {{sector, 2}, {sector + 2, sizeof sector - 2}};
    struct image_options probed = {0};
    struct block *b = open_disk(t, (struct block_options){0});
    assert_int_equal(block_write(b, 0, sector, sizeof sector), -EPERM);
    block_close(b);
    struct image *image = image_open(t->path, &probed, t->error, sizeof t->error);
    assert_int_equal(image_write_vector(image, 0, (struct io_vector){halves, 2, 0}, sizeof sector),
                     -EPERM);
    image_close(image);
    b = open_disk(t, (struct block_options){.format = "raw"});
    assert_int_equal(block_write(b, 0, sector, sizeof sector), 0);
    block_close(b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(no_request_is_overlooked),
        T(block_open_says_what_is_wrong),
        T(block_open_refuses_an_unknown_format),
        T(block_open_rounds_odd_images_up_to_a_sector),
        T(block_requests_complete_on_the_loop),
        T(block_keeps_many_requests_in_flight),
        T(block_workers_deliver_unless_the_board_is_busy),
        T(block_data_without_a_buffer_move_in_pieces),
        T(block_located_data_are_written_and_read_where_they_lie),
        T(block_requests_beyond_the_end_fail),
        T(block_discard_reads_as_zeros),
        T(block_cache_modes_all_keep_data),
        T(block_snapshot_leaves_the_image_alone),
        T(block_writer_is_alone),
        T(block_medium_comes_and_goes),
        T(block_host_errors_reach_the_request),
        T(block_waits_for_space_and_goes_on),
        T(block_fua_write_is_stable_and_flush_covers_the_rest),
        T(block_writethrough_makes_tables_stable_too),
        T(fault_file_crash_keeps_what_was_flushed_and_may_lose_the_rest),
        T(raw_guest_cannot_turn_its_disk_into_another_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
