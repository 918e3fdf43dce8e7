/* SPDX-License-Identifier: MIT
 *
 * Files of the host: when what is written goes to the disk.
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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/file.h"

#define FILE_BYTES MIB(2)

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct bench {
    char path[64];
    struct file *file;
    int fd; /* to look at it from outside */
    u8 *data, *back;
};

/* Page by page: what the host's cache holds in one piece is dirty as a whole. */
static void fill_file(const struct bench *t)
{
    for (u64 at = 0; at < FILE_BYTES; at += PAGE_BYTES)
        assert_int_equal(pwrite(t->fd, t->data + at, PAGE_BYTES, (off_t)at), PAGE_BYTES);
    assert_int_equal(fsync(t->fd), 0);
}

/* Not in /tmp, which may be memory: that knows no dirty pages. */
static int setup(void **state)
{
    char error[256] = "";
    struct bench *t = calloc(1, sizeof *t);
    strcpy(t->path, "anello-file-XXXXXX");
    t->fd = mkstemp(t->path);
    assert_true(t->fd >= 0);
    t->file = file_open(t->path, FILE_WRITABLE, error, sizeof error);
    assert_non_null(t->file);
    t->data = malloc(FILE_BYTES);
    t->back = malloc(FILE_BYTES);
    for (u32 i = 0; i < FILE_BYTES; i++)
        t->data[i] = (u8)(i * 2654435761u >> 24);
    fill_file(t);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct bench *t = *state;
    file_close(t->file);
    close(t->fd);
    unlink(t->path);
    free(t->data);
    free(t->back);
    free(t);
    return 0;
}

/* Pages of the file that the kernel has not begun to write; false when it does not tell. */
static bool dirty_pages(const struct bench *t, u64 *pages)
{
    struct {
        u64 offset, bytes;
    } range = {0, 0}; /* all of it */
    struct {
        u64 cached, dirty, writeback, evicted, recently_evicted;
    } said;
    if (syscall(SYS_cachestat, t->fd, &range, &said, 0) < 0)
        return false;
    *pages = said.dirty;
    return true;
}

/* Two writes, the second one of buffers of odd sizes. */
static void write_range(const struct bench *t, u64 offset, u64 bytes)
{
    u64 first = bytes / 2, a = 4097, b = KIB(300) - 1;
    struct iovec buffers[] = {{t->data + offset + first, a},
                              {t->data + offset + first + a, b},
                              {t->data + offset + first + a + b, bytes - first - a - b}};
    struct io_vector v = {buffers, ARRAY_LEN(buffers), 0};
    assert_int_equal(file_write(t->file, offset, t->data + offset, first), 0);
    assert_int_equal(file_write_vector(t->file, offset + first, v, bytes - first), 0);
}

static void file_begins_to_write_where_flushes_come_often(void **state)
{
    struct bench *t = *state;
    u64 before, after;
    write_range(t, 0, FILE_BYTES);
    if (!dirty_pages(t, &before) || !before)
        skip(); /* an old kernel, or a file system in memory */
    assert_int_equal(before, FILE_BYTES / PAGE_BYTES);
    assert_int_equal(file_flush(t->file), 0);
    write_range(t, 0, FILE_BYTES);
    assert_true(dirty_pages(t, &after));
    assert_true(after < before / 4); /* a page between two pieces may be dirty again */
}

static void file_leaves_small_writes_to_the_flush(void **state)
{
    struct bench *t = *state;
    u64 dirty;
    write_range(t, 0, FILE_BYTES);
    assert_int_equal(file_flush(t->file), 0);
    assert_int_equal(file_write(t->file, 0, t->data, PAGE_BYTES), 0);
    if (!dirty_pages(t, &dirty) || !dirty)
        skip();
    assert_int_equal(dirty, 1);
}

static void file_stops_to_write_early_when_flushes_are_rare(void **state)
{
    struct bench *t = *state;
    u64 dirty;
    write_range(t, 0, FILE_BYTES);
    assert_int_equal(file_flush(t->file), 0);
    for (unsigned i = 0; i < 8; i++)
        write_range(t, 0, FILE_BYTES);
    assert_int_equal(file_flush(t->file), 0);
    write_range(t, 0, FILE_BYTES);
    if (!dirty_pages(t, &dirty) || !dirty)
        skip();
    assert_int_equal(dirty, FILE_BYTES / PAGE_BYTES);
}

static void file_keeps_what_it_writes_early(void **state)
{
    struct bench *t = *state;
    for (unsigned round = 0; round < 3; round++) {
        for (u64 i = 0; i < FILE_BYTES; i++)
            t->data[i] = (u8)(t->data[i] + i / PAGE_BYTES + 1);
        write_range(t, 0, FILE_BYTES);
        assert_int_equal(file_flush(t->file), 0);
        assert_int_equal(pread(t->fd, t->back, FILE_BYTES, 0), FILE_BYTES);
        assert_memory_equal(t->data, t->back, FILE_BYTES);
    }
}

/* ---- locks ---- */

static void *close_soon(void *file)
{
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    file_close(file);
    return NULL;
}

/* Who looks at a process in /proc keeps its closed files open for a moment. */
static void file_lock_is_waited_for_a_moment(void **state)
{
    struct bench *t = *state;
    char error[256] = "";
    pthread_t thread;
    assert_null(file_open(t->path, FILE_WRITABLE, error, sizeof error));
    assert_non_null(strstr(error, "is in use by another"));
    assert_int_equal(pthread_create(&thread, NULL, close_soon, t->file), 0);
    t->file = file_open(t->path, FILE_WRITABLE, error, sizeof error);
    pthread_join(thread, NULL);
    assert_non_null(t->file);
    assert_null(file_open(t->path, 0, error, sizeof error)); /* it has the lock */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(file_begins_to_write_where_flushes_come_often),
        T(file_leaves_small_writes_to_the_flush),
        T(file_stops_to_write_early_when_flushes_are_rare),
        T(file_keeps_what_it_writes_early),
        T(file_lock_is_waited_for_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
