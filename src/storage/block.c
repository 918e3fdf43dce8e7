/* SPDX-License-Identifier: MIT
 *
 * The asynchronous half of the block layer: a queue, a few worker threads, and completions.
 *
 *   block_submit --> waiting --> a worker --> finished --> done()
 *                       ^           |
 *                       |           +--> stalled (no space on the host)
 *                       +---- block_retry ----+
 *
 * Workers are started when the first request comes, at most WORKERS of them, and never wait for the
 * board lock: that is why draining and closing may wait for them with the lock held. They put
 * finished requests on a list. When the lock is free they deliver them themselves, which saves
 * waking a thread; else they ring an eventfd that the loop watches. The eventfd, and not
 * loop_post(), because a post cannot be taken back when the device is closed.
 *
 * Order: none among requests in flight. A FLUSH covers what completed before it was submitted, so
 * workers may take it like any other request.
 */
#include "storage/block.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/spin.h"
#include "storage/block_internal.h"
#include "storage/format.h"

#define WORKERS      4
#define PIECE_BYTES  KIB(64) /* stays in the host CPU's cache; a cluster of most qcow2 images */
#define WORK_SPIN_NS 100000  /* what a guest does between two requests */
#define PIECE_ALIGN  4096    /* cache=none wants it */

struct request_list {
    struct block_request *first, **end;
};

struct block {
    struct image *image; /* NULL: no medium */
    struct block_options options;
    struct loop *loop;
    struct loop_watch *watch;
    int event_fd;
    struct block_counters counters;
    u32 in_flight; /* atomic */
    void (*full)(void *opaque, struct block *block);
    void *full_opaque;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;  /* waiting is not empty, or quit */
    pthread_cond_t idle;  /* a worker has put a request away */
    struct request_list waiting, finished, stalled;
    u32 waiting_count; /* atomic: who looks reads it without the lock */
    unsigned running;  /* requests in the hands of workers */
    unsigned sleeping; /* workers without one */
    unsigned worker_count;
    bool quit, tell_full;
    bool looking; /* a worker is, and needs no signal for the next request */
    struct spin spin;
    pthread_t workers[WORKERS];
};

/* ---- lists ---- */

static void list_init(struct request_list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_add(struct request_list *l, struct block_request *r)
{
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
}

static struct block_request *list_take(struct request_list *l)
{
    struct block_request *r = l->first;
    if (r) {
        l->first = r->next;
        if (!l->first)
            l->end = &l->first;
    }
    return r;
}

/* Appends `from` to `to` and empties it. */
static void list_move(struct request_list *to, struct request_list *from)
{
    if (!from->first)
        return;
    *to->end = from->first;
    to->end = from->end;
    list_init(from);
}

static struct block_request *take_waiting(struct block *b)
{
    struct block_request *r = list_take(&b->waiting);
    if (r)
        __atomic_fetch_sub(&b->waiting_count, 1, __ATOMIC_RELAXED);
    return r;
}

static void add_waiting(struct block *b, struct block_request *r)
{
    list_add(&b->waiting, r);
    __atomic_fetch_add(&b->waiting_count, 1, __ATOMIC_RELEASE);
}

/* ---- workers ---- */

static int read_piece(struct image *image, struct block_request *r, u64 at, void *piece, u64 n)
{
    int error = image_read(image, r->offset + at, piece, n);
    return error ? error : r->move(r, at, piece, n);
}

static int write_piece(struct image *image, struct block_request *r, u64 at, void *piece, u64 n)
{
    int error = r->move(r, at, piece, n);
    return error ? error : image_write(image, r->offset + at, piece, n);
}

/* Data without a buffer of the caller's; pieces end where those of other requests do, so that no
 * cluster is made for a half and then written again. */
static int move_pieces(struct image *image, struct block_request *r)
{
    u64 room = r->bytes < PIECE_BYTES ? align_up(r->bytes, PIECE_ALIGN) : PIECE_BYTES;
    u8 *piece = aligned_alloc(PIECE_ALIGN, room);
    int error = piece ? 0 : -ENOMEM;
    for (u64 at = 0, n; at < r->bytes && !error; at += n) {
        n = PIECE_BYTES - (r->offset + at) % PIECE_BYTES;
        if (n > r->bytes - at)
            n = r->bytes - at;
        error = r->op == BLOCK_READ ? read_piece(image, r, at, piece, n)
                                    : write_piece(image, r, at, piece, n);
    }
    free(piece);
    return error;
}

static int read_data(struct image *image, struct block_request *r)
{
    struct iovec buffers[IO_VECTOR_MAX];
    unsigned count = 0;
    if (!r->move)
        return image_read(image, r->offset, r->data, r->bytes);
    if (r->locate && image->format->read_vector)
        count = r->locate(r, buffers, IO_VECTOR_MAX);
    if (!count)
        return move_pieces(image, r);
    struct io_vector v = {buffers, count, 0};
    int error = image_read_vector(image, r->offset, v, r->bytes);
    r->locate(r, buffers, IO_VECTOR_MAX);
    return error;
}

static int write_data(struct image *image, struct block_request *r)
{
    struct iovec buffers[IO_VECTOR_MAX];
    unsigned count = 0;
    if (!r->move)
        return image_write(image, r->offset, r->data, r->bytes);
    if (r->locate && image->format->write_vector)
        count = r->locate(r, buffers, IO_VECTOR_MAX);
    return count ? image_write_vector(image, r->offset, (struct io_vector){buffers, count, 0},
                                      r->bytes)
                 : move_pieces(image, r);
}

static int perform(struct block *b, struct block_request *r)
{
    if (!b->image)
        return -ENOMEDIUM;
    switch (r->op) {
    case BLOCK_READ: return read_data(b->image, r);
    case BLOCK_WRITE: {
        int error = write_data(b->image, r);
        bool through = r->fua || b->options.cache == CACHE_WRITETHROUGH;
        return error || !through ? error : image_flush(b->image);
    }
    case BLOCK_FLUSH: return image_flush(b->image);
    case BLOCK_DISCARD: return image_discard(b->image, r->offset, r->bytes);
    }
    return -EINVAL;
}

static bool no_space(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void ring(const struct block *b)
{
    u64 one = 1;
    ssize_t n = write(b->event_fd, &one, sizeof one);
    (void)n; /* a full counter wakes just as well */
}

/* Lock held. */
static void put_away(struct block *b, struct block_request *r)
{
    if (no_space(r->error) && b->full) {
        list_add(&b->stalled, r);
        b->tell_full = true;
        ring(b);
    } else {
        list_add(&b->finished, r);
    }
}

static void count(struct block_counters *c, const struct block_request *r)
{
    switch (r->op) {
    case BLOCK_READ: c->reads++, c->read_bytes += r->bytes; break;
    case BLOCK_WRITE: c->writes++, c->write_bytes += r->bytes; break;
    case BLOCK_FLUSH: c->flushes++; break;
    case BLOCK_DISCARD: break;
    }
}

/* Calls done() for everything finished; true when there was something. */
static bool deliver(struct block *b)
{
    bool any = false;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        struct block_request *r = list_take(&b->finished);
        pthread_mutex_unlock(&b->lock);
        if (!r)
            return any;
        any = true;
        count(&b->counters, r);
        __atomic_fetch_sub(&b->in_flight, 1, __ATOMIC_RELAXED);
        r->done(r);
    }
}

/* What a worker has finished. Neither lock held. */
static void hand_over(struct block *b)
{
    if (!loop_try_enter(b->loop)) {
        ring(b);
        return;
    }
    deliver(b);
    loop_unlock(b->loop);
}

/* Instead of sleeping at once: the next request of a guest that waits for each comes soon. One
 * worker looks, and needs no signal for what comes meanwhile. Lock held, and held again at the end.
 */
static void look_for_work(struct block *b)
{
    struct spin spin = b->spin;
    i64 start = spin_now();
    b->looking = true;
    pthread_mutex_unlock(&b->lock);
    spin_while(&spin, &b->waiting_count, 0);
    pthread_mutex_lock(&b->lock);
    b->looking = false;
    if (!b->waiting_count && !b->quit)
        pthread_cond_wait(&b->work, &b->lock);
    spin_learn(&b->spin, spin_now() - start);
}

/* Lock held, and held again at the end. */
static void wait_for_work(struct block *b)
{
    b->sleeping++;
    if (b->looking)
        pthread_cond_wait(&b->work, &b->lock);
    else
        look_for_work(b);
    b->sleeping--;
}

static void *work(void *opaque)
{
    struct block *b = opaque;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        struct block_request *r;
        while (!(r = take_waiting(b)) && !b->quit)
            wait_for_work(b);
        if (!r)
            break;
        b->running++;
        pthread_mutex_unlock(&b->lock);
        r->error = perform(b, r);
        pthread_mutex_lock(&b->lock);
        b->running--;
        put_away(b, r);
        pthread_cond_broadcast(&b->idle);
        pthread_mutex_unlock(&b->lock);
        hand_over(b);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Workers take no signals: those are for the threads that run the guest. Lock held. */
static void start_worker(struct block *b)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&b->workers[b->worker_count], NULL, work, b) == 0)
        b->worker_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the loop's part ---- */

static void rung(void *opaque, unsigned events)
{
    struct block *b = opaque;
    (void)events;
    u64 n;
    while (read(b->event_fd, &n, sizeof n) > 0)
        ;
    deliver(b);
    pthread_mutex_lock(&b->lock);
    bool tell = b->tell_full;
    b->tell_full = false;
    pthread_mutex_unlock(&b->lock);
    if (tell && b->full)
        b->full(b->full_opaque, b);
}

void block_submit(struct block *b, struct block_request *r)
{
    r->error = 0;
    __atomic_fetch_add(&b->in_flight, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&b->lock);
    add_waiting(b, r);
    if (b->loop && b->waiting_count > b->sleeping && b->worker_count < WORKERS)
        start_worker(b);
    bool alone = !b->worker_count;
    if (!b->looking || b->waiting_count > 1)
        pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
    if (alone) /* no loop, or no thread to be had: do it here */
        block_drain(b);
}

/* Without any worker the waiting requests are served by the caller. */
static void wait_for_workers(struct block *b)
{
    struct block_request *r;
    pthread_mutex_lock(&b->lock);
    while (b->worker_count && (b->waiting.first || b->running))
        pthread_cond_wait(&b->idle, &b->lock);
    while ((r = take_waiting(b))) {
        r->error = perform(b, r);
        put_away(b, r);
    }
    pthread_mutex_unlock(&b->lock);
}

void block_drain(struct block *b)
{
    do {
        wait_for_workers(b);
    } while (deliver(b)); /* a completion may have submitted more */
}

void block_on_full(struct block *b, void (*full)(void *opaque, struct block *block), void *opaque)
{
    pthread_mutex_lock(&b->lock);
    b->full = full;
    b->full_opaque = opaque;
    pthread_mutex_unlock(&b->lock);
}

void block_retry(struct block *b)
{
    struct block_request *r;
    pthread_mutex_lock(&b->lock);
    while ((r = list_take(&b->stalled)))
        add_waiting(b, r);
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
}

/* Ends what waits for space with its error. */
static void give_up_stalled(struct block *b)
{
    pthread_mutex_lock(&b->lock);
    list_move(&b->finished, &b->stalled);
    pthread_mutex_unlock(&b->lock);
    deliver(b);
}

/* ---- opening and closing ---- */

static unsigned file_flags(const struct block_options *o)
{
    switch (o->cache) {
    case CACHE_WRITEBACK:
    case CACHE_WRITETHROUGH: return 0; /* flushed after each write: the format has tables too */
    case CACHE_NONE: return FILE_DIRECT;
    case CACHE_UNSAFE: return FILE_UNSAFE;
    }
    return 0;
}

static struct image *open_image(const char *path, const struct block_options *o, char *error,
                                size_t n)
{
    struct image_options io = {
        .format = o->format, .read_only = o->read_only || o->snapshot, .file_flags = file_flags(o)};
    struct image *image = image_open(path, &io, error, n);
    if (image && o->snapshot && !o->read_only)
        return overlay_create(image, error, n);
    return image;
}

/* NULL when the host has no more descriptors or memory. */
static struct block *create(const struct block_options *options, struct loop *loop)
{
    struct block *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->options = *options;
    b->loop = loop;
    list_init(&b->waiting);
    list_init(&b->finished);
    list_init(&b->stalled);
    spin_init(&b->spin, WORK_SPIN_NS);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, NULL);
    pthread_cond_init(&b->idle, NULL);
    b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->event_fd >= 0 && loop)
        b->watch = loop_watch(loop, b->event_fd, LOOP_READ, rung, b);
    if (b->event_fd < 0 || (loop && !b->watch)) {
        block_close(b);
        return NULL;
    }
    return b;
}

struct block *block_from_image(struct image *image, const struct block_options *options,
                               struct loop *loop)
{
    struct block *b = create(options, loop);
    if (b)
        b->image = image;
    else
        image_close(image);
    return b;
}

struct block *block_open(const char *path, const struct block_options *options, struct loop *loop,
                         char *error, size_t n)
{
    if (!path && !options->removable) {
        snprintf(error, n, "a disk needs an image file");
        return NULL;
    }
    struct image *image = path ? open_image(path, options, error, n) : NULL;
    if (path && !image)
        return NULL;
    struct block *b = block_from_image(image, options, loop);
    if (!b)
        snprintf(error, n, "%s: out of memory or file descriptors", path ? path : "empty drive");
    return b;
}

static void stop_workers(struct block *b)
{
    pthread_mutex_lock(&b->lock);
    b->quit = true;
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < b->worker_count; i++)
        pthread_join(b->workers[i], NULL);
}

void block_close(struct block *b)
{
    if (!b)
        return;
    block_drain(b);
    give_up_stalled(b);
    stop_workers(b);
    if (b->image) {
        int error = image_flush(b->image);
        if (error)
            log_warn("%s: the last writes may be lost: %s", b->image->path, strerror(-error));
    }
    image_close(b->image);
    loop_unwatch(b->watch);
    if (b->event_fd >= 0)
        close(b->event_fd);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->work);
    pthread_cond_destroy(&b->idle);
    free(b);
}

int block_change(struct block *b, const char *path, char *error, size_t n)
{
    if (!b->options.removable) {
        snprintf(error, n, "its medium cannot be changed");
        return -1;
    }
    struct image *image = NULL;
    if (path && !(image = open_image(path, &b->options, error, n)))
        return -1;
    block_drain(b);
    give_up_stalled(b);
    if (b->image)
        image_flush(b->image);
    image_close(b->image);
    b->image = image;
    return 0;
}

/* ---- what it is ---- */

u64 block_size(const struct block *b)
{
    return b->image ? b->image->size : 0;
}

bool block_read_only(const struct block *b)
{
    return b->options.read_only;
}

const char *block_format(const struct block *b)
{
    if (!b->image)
        return "none";
    const struct image *shown =
        b->options.snapshot && b->image->backing ? b->image->backing : b->image;
    return shown->format->name;
}

const char *block_path(const struct block *b)
{
    return b->image ? b->image->path : NULL;
}

struct block_counters block_counters(const struct block *b)
{
    return b->counters;
}

bool block_is_busy(const struct block *b)
{
    return __atomic_load_n(&b->in_flight, __ATOMIC_RELAXED) != 0;
}

/* ---- synchronous calls ---- */

int block_read(struct block *b, u64 offset, void *data, u64 bytes)
{
    return b->image ? image_read(b->image, offset, data, bytes) : -ENOMEDIUM;
}

int block_write(struct block *b, u64 offset, const void *data, u64 bytes)
{
    return b->image ? image_write(b->image, offset, data, bytes) : -ENOMEDIUM;
}

int block_flush(struct block *b)
{
    return b->image ? image_flush(b->image) : -ENOMEDIUM;
}
