/* SPDX-License-Identifier: MIT
 *
 * epoll for descriptors, an eventfd for posted work and stop requests, and a timerfd for the clock.
 * A watch that is removed inside a callback is freed only after the turn, so that an event already
 * fetched for it is dropped instead of dereferenced.
 *
 * The timerfd is set by whoever moves the clock's earliest deadline nearer: the I/O thread sleeps
 * on. A guest that idles costs what its timer interrupts cost, and a thread that is woken for each
 * of them is most of that; so a CPU that has halted keeps the time itself (loop_keep_time()).
 * Always: the earliest deadline is the timerfd's, or the keeper wakes at it or before.
 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_PER_TURN 32

struct loop_watch {
    struct loop *loop;
    int fd;
    bool dead;
    void (*ready)(void *opaque, unsigned events);
    void *opaque;
    struct loop_watch *next_dead;
};

struct post {
    void (*call)(void *opaque);
    void *opaque;
    struct post *next;
};

struct loop {
    struct clock *clock;
    int epoll_fd, event_fd, timer_fd;
    i64 armed; /* what the timerfd is set to, in the clock's time; CLOCK_NEVER: nothing */
    i64 kept;  /* from this deadline on timers are the keeper's; CLOCK_NEVER: nobody keeps them */
    bool stop;
    bool running; /* loop_run() is; atomic */
    pthread_mutex_t board;
    pthread_mutex_t post_lock; /* guards the list of posts alone, so posting never waits */
    struct post *posts, **posts_tail;
    struct loop_watch *dead;
};

static void wake(struct loop *loop)
{
    u64 one = 1;
    ssize_t n = write(loop->event_fd, &one, sizeof one);
    (void)n; /* a full counter wakes just as well */
}

/* Sets the timerfd to the clock's next deadline, if that is not the keeper's; a paused clock has
 * none. One that fires too early, because the clock stood still, does no harm. */
static void arm_host_timer(struct loop *loop)
{
    struct itimerspec spec = {0};
    i64 next = clock_is_paused(loop->clock) ? CLOCK_NEVER : clock_next_deadline(loop->clock);
    if (next >= loop->kept)
        next = CLOCK_NEVER;
    if (next == loop->armed)
        return;
    loop->armed = next;
    if (next != CLOCK_NEVER) {
        i64 wait = next - clock_now(loop->clock);
        if (wait < 1)
            wait = 1;
        spec.it_value.tv_sec = wait / NS_PER_SEC;
        spec.it_value.tv_nsec = wait % NS_PER_SEC;
    }
    timerfd_settime(loop->timer_fd, 0, &spec, NULL);
}

static void deadline_is_nearer(void *opaque)
{
    arm_host_timer(opaque);
}

static bool add_internal(struct loop *loop, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    return fd >= 0 && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

struct loop *loop_create(struct clock *clock)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->clock = clock;
    loop->posts_tail = &loop->posts;
    loop->armed = loop->kept = CLOCK_NEVER;
    pthread_mutex_init(&loop->board, NULL);
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->epoll_fd < 0 || !add_internal(loop, loop->event_fd) ||
        !add_internal(loop, loop->timer_fd)) {
        loop_destroy(loop);
        return NULL;
    }
    clock_set_wake(clock, deadline_is_nearer, loop);
    return loop;
}

static void free_dead(struct loop *loop)
{
    while (loop->dead) {
        struct loop_watch *w = loop->dead;
        loop->dead = w->next_dead;
        free(w);
    }
}

void loop_destroy(struct loop *loop)
{
    if (!loop)
        return;
    clock_set_wake(loop->clock, NULL, NULL);
    free_dead(loop);
    while (loop->posts) {
        struct post *p = loop->posts;
        loop->posts = p->next;
        free(p);
    }
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->event_fd >= 0)
        close(loop->event_fd);
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    pthread_mutex_destroy(&loop->board);
    pthread_mutex_destroy(&loop->post_lock);
    free(loop);
}

void loop_lock(struct loop *loop)
{
    pthread_mutex_lock(&loop->board);
}

bool loop_try_enter(struct loop *loop)
{
    return __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) &&
           pthread_mutex_trylock(&loop->board) == 0;
}

void loop_unlock(struct loop *loop)
{
    pthread_mutex_unlock(&loop->board);
}

void loop_stop(struct loop *loop)
{
    __atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
    wake(loop);
}

static bool drain_fd(int fd)
{
    u64 count;
    return read(fd, &count, sizeof count) > 0;
}

static void run_posts(struct loop *loop)
{
    for (;;) {
        pthread_mutex_lock(&loop->post_lock);
        struct post *p = loop->posts;
        if (p) {
            loop->posts = p->next;
            if (!loop->posts)
                loop->posts_tail = &loop->posts;
        }
        pthread_mutex_unlock(&loop->post_lock);
        if (!p)
            return;
        p->call(p->opaque);
        free(p);
    }
}

static void dispatch_event(const struct epoll_event *ev)
{
    struct loop_watch *w = ev->data.ptr;
    if (!w || w->dead)
        return;
    unsigned events = 0;
    if (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        events |= LOOP_READ;
    if (ev->events & EPOLLOUT)
        events |= LOOP_WRITE;
    if (events)
        w->ready(w->opaque, events);
}

void loop_turn(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    loop_lock(loop);
    arm_host_timer(loop);
    loop_unlock(loop);
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, timeout_ms);
    loop_lock(loop);
    drain_fd(loop->event_fd);
    if (drain_fd(loop->timer_fd))
        loop->armed = CLOCK_NEVER;
    for (int i = 0; i < n; i++)
        dispatch_event(&events[i]);
    run_posts(loop);
    if (!clock_is_paused(loop->clock))
        clock_run_expired(loop->clock);
    free_dead(loop);
    loop_unlock(loop);
}

i64 loop_keep_time(struct loop *loop)
{
    i64 due = CLOCK_NEVER;
    loop_lock(loop);
    if (loop->kept == CLOCK_NEVER && !clock_is_paused(loop->clock)) {
        due = loop->kept = clock_next_deadline(loop->clock);
        arm_host_timer(loop);
    }
    loop_unlock(loop);
    return due;
}

void loop_pass_time(struct loop *loop)
{
    loop_lock(loop);
    loop->kept = CLOCK_NEVER;
    if (!clock_is_paused(loop->clock))
        clock_run_expired(loop->clock);
    arm_host_timer(loop);
    loop_unlock(loop);
}

void loop_run(struct loop *loop)
{
    __atomic_store_n(&loop->running, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
        loop_turn(loop, -1);
    __atomic_store_n(&loop->running, false, __ATOMIC_RELEASE);
}

static u32 epoll_mask(unsigned events)
{
    return (events & LOOP_READ ? EPOLLIN | EPOLLRDHUP : 0) | (events & LOOP_WRITE ? EPOLLOUT : 0);
}

struct loop_watch *loop_watch(struct loop *loop, int fd, unsigned events,
                              void (*ready)(void *opaque, unsigned events), void *opaque)
{
    struct loop_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    *w = (struct loop_watch){.loop = loop, .fd = fd, .ready = ready, .opaque = opaque};
    struct epoll_event ev = {.events = epoll_mask(events), .data.ptr = w};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        free(w);
        return NULL;
    }
    return w;
}

void loop_watch_change(struct loop_watch *w, unsigned events)
{
    struct epoll_event ev = {.events = epoll_mask(events), .data.ptr = w};
    epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev);
}

void loop_unwatch(struct loop_watch *w)
{
    if (!w || w->dead)
        return;
    epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->dead = true;
    w->next_dead = w->loop->dead;
    w->loop->dead = w;
}

void loop_post(struct loop *loop, void (*call)(void *opaque), void *opaque)
{
    struct post *p = malloc(sizeof *p);
    if (!p)
        abort(); /* a lost completion would hang the guest for ever */
    *p = (struct post){.call = call, .opaque = opaque};
    pthread_mutex_lock(&loop->post_lock);
    *loop->posts_tail = p;
    loop->posts_tail = &p->next;
    pthread_mutex_unlock(&loop->post_lock);
    wake(loop);
}
