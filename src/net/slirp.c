/* SPDX-License-Identifier: MIT
 *
 * libslirp in our event loop.
 *
 * The library is made for a poll() loop that asks it before each sleep what to wait for
 * (slirp_pollfds_fill) and reports afterwards what came (slirp_pollfds_poll). Ours is an epoll
 * loop with watches, so this file keeps the answer of the last question as watches and a timer, and
 * asks again after everything that may have changed it:
 *
 *   guest sends ----> slirp_input ---------+
 *   a watch is ready or the timer fires    +--> ask() --> watches and timer
 *        ----> report() ----> pollfds_poll +
 *
 * The library tells before it closes a descriptor (unregister_poll_fd); its watch goes at that
 * moment, because the number may be another file's right afterwards.
 *
 * Time is the machine's: a paused guest does not lose its connections to time-outs.
 */
#include "net/slirp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "net/fragments.h"

#define NS_PER_MS      1000000
#define IPV6_PREFIX    64
#define WAIT_FOR_EVER  UINT32_MAX
#define FIRST_CAPACITY 16

struct user_watch {
    struct loop_watch *watch; /* NULL: not watched */
    unsigned events;
};

struct user_net {
    struct netdev *netdev;
    struct loop *loop;
    struct clock *clock;
    Slirp *slirp;
    struct fragments *fragments;
    struct timer timer;   /* when the library wants to be called next */
    struct pollfd *polls; /* its last answer, and the watches of the same descriptors */
    unsigned poll_count, poll_capacity;
    struct user_watch *watches; /* by descriptor number */
    unsigned watch_capacity;
};

/* A timer that the library asked for. */
struct user_timer {
    struct timer timer;
    struct user_net *net;
    SlirpTimerCb call;
    void *opaque;
};

static void ask(struct user_net *u);

/* ---- what to wait for ---- */

static short to_poll(int events)
{
    return (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
                   (events & SLIRP_POLL_PRI ? POLLPRI : 0));
}

static int from_poll(short events)
{
    return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & POLLPRI ? SLIRP_POLL_PRI : 0) | (events & POLLERR ? SLIRP_POLL_ERR : 0) |
           (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static bool grow(void **array, unsigned *capacity, unsigned need, size_t size)
{
    unsigned more = *capacity ? *capacity : FIRST_CAPACITY;
    while (more <= need)
        more *= 2;
    if (need < *capacity)
        return true;
    u8 *bigger = realloc(*array, more * size);
    if (!bigger)
        return false;
    memset(bigger + *capacity * size, 0, (more - *capacity) * size);
    *array = bigger;
    *capacity = more;
    return true;
}

static int add_poll(int fd, int events, void *opaque)
{
    struct user_net *u = opaque;
    if (fd < 0 || !grow((void **)&u->polls, &u->poll_capacity, u->poll_count, sizeof *u->polls) ||
        !grow((void **)&u->watches, &u->watch_capacity, (unsigned)fd, sizeof *u->watches))
        return -1;
    u->polls[u->poll_count] = (struct pollfd){.fd = fd, .events = to_poll(events)};
    return (int)u->poll_count++;
}

static int get_revents(int index, void *opaque)
{
    const struct user_net *u = opaque;
    return index < 0 || index >= (int)u->poll_count ? 0 : from_poll(u->polls[index].revents);
}

static void report(struct user_net *u)
{
    int n = poll(u->polls, u->poll_count, 0);
    slirp_pollfds_poll(u->slirp, n < 0, get_revents, u);
    ask(u);
}

static void fd_ready(void *opaque, unsigned events)
{
    (void)events;
    report(opaque);
}

static void timer_fired(void *opaque)
{
    report(opaque);
}

static void unwatch(struct user_watch *w)
{
    loop_unwatch(w->watch);
    *w = (struct user_watch){0};
}

static void watch(struct user_net *u, int fd, unsigned events)
{
    struct user_watch *w = &u->watches[fd];
    if (w->watch && w->events == events)
        return;
    w->events = events;
    if (w->watch)
        loop_watch_change(w->watch, events);
    else
        w->watch = loop_watch(u->loop, fd, events, fd_ready, u);
}

static void update_watches(struct user_net *u)
{
    for (unsigned i = 0; i < u->poll_count; i++) {
        short events = u->polls[i].events;
        watch(u, u->polls[i].fd,
              (events & (POLLIN | POLLPRI) ? LOOP_READ : 0u) |
                  (events & POLLOUT ? LOOP_WRITE : 0u));
    }
    for (unsigned fd = 0; fd < u->watch_capacity; fd++) {
        bool wanted = false;
        for (unsigned i = 0; u->watches[fd].watch && !wanted && i < u->poll_count; i++)
            wanted = u->polls[i].fd == (int)fd;
        if (u->watches[fd].watch && !wanted)
            unwatch(&u->watches[fd]);
    }
}

static void ask(struct user_net *u)
{
    u32 timeout = WAIT_FOR_EVER;
    u->poll_count = 0;
    slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
    update_watches(u);
    if (timeout == WAIT_FOR_EVER)
        timer_cancel(&u->timer);
    else
        timer_arm(&u->timer, clock_now(u->clock) + ((i64)timeout + 1) * NS_PER_MS);
}

/* ---- what the library asks of us ---- */

static ssize_t send_packet(const void *frame, size_t bytes, void *opaque)
{
    struct user_net *u = opaque;
    u8 padded[ETHERNET_MIN] = {0};
    if (bytes < ETHERNET_MIN) { /* cards see no shorter ones on a real wire */
        memcpy(padded, frame, bytes);
        netdev_deliver(u->netdev, padded, sizeof padded);
    } else {
        netdev_deliver(u->netdev, frame, bytes);
    }
    return (ssize_t)bytes;
}

/* What a guest sends to the router may be anything; that is between the two of them. */
static void guest_error(const char *message, void *opaque)
{
    (void)message;
    (void)opaque;
}

static int64_t clock_get_ns(void *opaque)
{
    return clock_now(((struct user_net *)opaque)->clock);
}

static void user_timer_fired(void *opaque)
{
    struct user_timer *t = opaque;
    t->call(t->opaque);
    ask(t->net);
}

static void *timer_new(SlirpTimerCb call, void *call_opaque, void *opaque)
{
    struct user_net *u = opaque;
    struct user_timer *t = calloc(1, sizeof *t);
    if (!t)
        abort(); /* the library cannot be told */
    *t = (struct user_timer){.net = u, .call = call, .opaque = call_opaque};
    timer_init(&t->timer, u->clock, user_timer_fired, t);
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    struct user_timer *t = timer;
    (void)opaque;
    timer_cancel(&t->timer);
    free(t);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)opaque;
    timer_arm(&((struct user_timer *)timer)->timer, expire_ms * NS_PER_MS);
}

static void register_poll_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void unregister_poll_fd(int fd, void *opaque)
{
    struct user_net *u = opaque;
    if (fd >= 0 && (unsigned)fd < u->watch_capacity)
        unwatch(&u->watches[fd]);
}

/* Asked again after every call into the library anyway. */
static void notify(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_poll_fd,
    .unregister_poll_fd = unregister_poll_fd,
    .notify = notify,
};

/* ---- the back-end ---- */

static void user_send(void *opaque, const u8 *frame, size_t bytes)
{
    struct user_net *u = opaque;
    const u8 *whole = fragments_take(u->fragments, clock_now(u->clock), frame, &bytes);
    if (!whole)
        return;
    slirp_input(u->slirp, whole, (int)bytes);
    ask(u);
}

static void user_destroy(void *opaque)
{
    struct user_net *u = opaque;
    if (u->slirp)
        slirp_cleanup(u->slirp);
    for (unsigned fd = 0; fd < u->watch_capacity; fd++)
        unwatch(&u->watches[fd]);
    timer_cancel(&u->timer);
    fragments_destroy(u->fragments);
    free(u->polls);
    free(u->watches);
    free(u);
}

static const struct netdev_ops user_ops = {
    .kind = "user", .send = user_send, .destroy = user_destroy};

static SlirpConfig library_config(const struct slirp_config *c)
{
    SlirpConfig s = {
        .version = SLIRP_CONFIG_VERSION_MIN,
        .restricted = c->restricted,
        .in_enabled = !c->no_ipv4,
        .vnetwork = c->network,
        .vnetmask = c->mask,
        .vhost = c->router,
        .in6_enabled = !c->no_ipv6,
        .vprefix_len = IPV6_PREFIX,
        .vhostname = c->hostname,
        .tftp_server_name = c->tftp_server,
        .tftp_path = c->tftp,
        .bootfile = c->bootfile,
        .vdhcp_start = c->dhcp_start,
        .vnameserver = c->dns,
        .vdomainname = c->domain,
    };
    inet_pton(AF_INET6, "fec0::", &s.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &s.vhost6);
    inet_pton(AF_INET6, "fec0::3", &s.vnameserver6);
    return s;
}

static bool forward_ports(struct user_net *u, const struct slirp_config *c, char *error, size_t n)
{
    for (unsigned i = 0; i < c->forward_count; i++) {
        const struct slirp_forward *f = &c->forwards[i];
        if (slirp_add_hostfwd(u->slirp, f->udp, f->host, f->host_port, f->guest, f->guest_port)) {
            snprintf(error, n, "cannot forward %s port %u of the host: %s", f->udp ? "UDP" : "TCP",
                     f->host_port, strerror(errno));
            return false;
        }
    }
    return true;
}

static bool check_tftp(const struct slirp_config *c, char *error, size_t n)
{
    struct stat st;
    if (!c->tftp || (stat(c->tftp, &st) == 0 && S_ISDIR(st.st_mode)))
        return true;
    snprintf(error, n, "tftp='%s' is no folder: files for TFTP are served from one", c->tftp);
    return false;
}

struct netdev *slirp_create(const struct slirp_config *config, struct loop *loop,
                            struct clock *clock, char *error, size_t n)
{
    if (!check_tftp(config, error, n))
        return NULL;
    struct user_net *u = calloc(1, sizeof *u);
    struct netdev *netdev = u ? netdev_create(&user_ops, u) : NULL;
    snprintf(error, n, "out of memory");
    if (!netdev) {
        free(u);
        return NULL;
    }
    *u = (struct user_net){.netdev = netdev, .loop = loop, .clock = clock};
    timer_init(&u->timer, clock, timer_fired, u);
    SlirpConfig library = library_config(config);
    u->fragments = fragments_create();
    u->slirp = u->fragments ? slirp_new(&library, &callbacks, u) : NULL;
    if (u->fragments && !u->slirp)
        snprintf(error, n, "libslirp refuses the options of -netdev user");
    if (!u->slirp || !forward_ports(u, config, error, n)) {
        netdev_destroy(netdev);
        return NULL;
    }
    ask(u);
    return netdev;
}
