/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the user-mode network, and a host that answers it: packets of every protocol
 * (see packets.h), raw frames, time that goes by, a host that connects to a forwarded port, sends
 * and hangs up, and a server for what the guest connects to. All of it in a network namespace of
 * its own, so that nothing leaves this machine; where the host gives none, the network is
 * restricted instead, and there is no host.
 *
 * With a libslirp that is compiled with -fsanitize=fuzzer-no-link,address (LD_LIBRARY_PATH) its own
 * branches are followed, too.
 */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/slirp.h"
#include "packets.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
const char *__lsan_default_suppressions(void);

/* The library forgets to free the names of the transfers by TFTP that are open when it ends. It
 * allocates by GLib, whose frames are all that is seen of it without frame pointers; nobody else
 * here does. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libslirp.so\nleak:libglib-2.0.so";
}

#define PACKETS_MAX  64
#define FORWARD_PORT 5555
#define GUEST_PORT   80
#define ECHO_PORT    7
#define PEERS        3 /* sockets of the host: server, its connection, client of the forwarded port */
#define MS           1000000

enum host_socket { SERVER, ACCEPTED, CLIENT };

/* Made once. */
struct surroundings {
    bool ready, alone; /* in a network of our own */
    struct slirp_config config;
};

struct net {
    struct clock *clock;
    struct loop *loop;
    struct netdev *netdev;
    struct packet_maker maker;
    int sockets[PEERS];
    bool full;
    u8 sum;
};

/* ---- surroundings ---- */

static bool own_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    close(fd);
    return up;
}

static void set(struct slirp_config *c, const char *key, const char *value)
{
    char error[256];
    if (!slirp_config_set(c, key, value, error, sizeof error))
        abort();
}

static const struct surroundings *surroundings(void)
{
    static struct surroundings s;
    char error[256];
    if (s.ready)
        return &s;
    s.ready = true;
    signal(SIGPIPE, SIG_IGN); /* as the program does: the library sends to hosts that hung up */
    s.alone = own_network();
    slirp_config_init(&s.config);
    set(&s.config, "tftp", "/etc"); /* every host has a file there */
    set(&s.config, "bootfile", "passwd");
    set(&s.config, "domainname", "example.org");
    set(&s.config, "hostname", "guest");
    if (s.alone) {
        set(&s.config, "hostfwd", "tcp:127.0.0.1:5555-:80");
        set(&s.config, "hostfwd", "udp:127.0.0.1:5555-:80");
    }
    s.config.restricted = !s.alone;
    if (!slirp_config_finish(&s.config, error, sizeof error))
        abort();
    return &s;
}

/* ---- the host ---- */

static struct sockaddr_in loopback(u16 port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void hang_up(struct net *n, enum host_socket which)
{
    if (n->sockets[which] >= 0)
        close(n->sockets[which]);
    n->sockets[which] = -1;
}

static int new_socket(int type)
{
    return socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void serve(struct net *n)
{
    struct sockaddr_in at = loopback(ECHO_PORT);
    int yes = 1;
    n->sockets[SERVER] = new_socket(SOCK_STREAM);
    setsockopt(n->sockets[SERVER], SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(n->sockets[SERVER], (struct sockaddr *)&at, sizeof at) ||
        listen(n->sockets[SERVER], 4))
        hang_up(n, SERVER);
}

static void call_guest(struct net *n, int type)
{
    struct sockaddr_in at = loopback(FORWARD_PORT);
    hang_up(n, CLIENT);
    n->sockets[CLIENT] = new_socket(type);
    if (connect(n->sockets[CLIENT], (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS)
        hang_up(n, CLIENT);
}

static void answer(struct net *n)
{
    u8 text[512];
    if (n->sockets[SERVER] >= 0 && n->sockets[ACCEPTED] < 0)
        n->sockets[ACCEPTED] = accept4(n->sockets[SERVER], NULL, NULL, SOCK_NONBLOCK);
    ssize_t bytes = recv(n->sockets[ACCEPTED], text, sizeof text, 0);
    if (bytes > 0)
        send(n->sockets[ACCEPTED], text, (size_t)bytes, MSG_NOSIGNAL);
}

static void act(struct net *n, u8 what, u8 value)
{
    static const u8 text[255];
    int fd = n->sockets[value & 1 ? ACCEPTED : CLIENT];
    switch (what % 8) {
    case 0: call_guest(n, SOCK_STREAM); break;
    case 1: call_guest(n, SOCK_DGRAM); break;
    case 2: send(fd, text, value, MSG_NOSIGNAL); break;
    case 3: send(fd, text, value % 8, MSG_NOSIGNAL | MSG_OOB); break;
    case 4: shutdown(fd, value & 2 ? SHUT_WR : SHUT_RD); break;
    case 5: hang_up(n, value & 1 ? ACCEPTED : CLIENT); break;
    case 6: n->full = value & 1; break;
    default: answer(n); break;
    }
    loop_turn(n->loop, 0);
    netdev_ready(n->netdev);
}

/* ---- the guest ---- */

static bool can_receive(void *opaque)
{
    return !((struct net *)opaque)->full;
}

static void receive(void *opaque, const u8 *frame, size_t bytes)
{
    struct net *n = opaque;
    for (size_t i = 0; i < bytes; i++)
        n->sum = (u8)(n->sum + frame[i]); /* reads every byte, for the sanitizers */
    packet_seen(&n->maker, frame, bytes);
}

static void step(struct net *n, const u8 *head, bool alone)
{
    u8 frame[PACKET_FRAME_MAX], what = (head[0] & 15) - PACKET_KINDS;
    if ((head[0] & 15) < PACKET_KINDS) {
        netdev_send(n->netdev, frame, packet_make(&n->maker, head, frame));
        loop_turn(n->loop, 0);
    } else if (what < 3) {
        clock_step(n->clock, (i64)(head[2] + 1) * MS << head[3] % 10);
    } else if (alone) {
        act(n, head[2], head[3]);
    }
}

static void run(struct net *n, const u8 *data, size_t size, bool alone)
{
    for (unsigned i = 0; i < PACKETS_MAX && size >= PACKET_HEAD; i++) {
        u8 head[PACKET_HEAD + 255];
        size_t bytes = PACKET_HEAD + (size_t)data[1];
        memset(head, 0, sizeof head);
        memcpy(head, data, bytes < size ? bytes : size);
        step(n, head, alone);
        data += bytes < size ? bytes : size;
        size -= bytes < size ? bytes : size;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    const struct surroundings *s = surroundings();
    struct net n = {.clock = clock_create_stepped(), .sockets = {-1, -1, -1}};
    struct netdev_card card = {can_receive, receive, &n};
    char error[256];
    n.loop = loop_create(n.clock);
    n.netdev = slirp_create(&s->config, n.loop, n.clock, error, sizeof error);
    if (!n.netdev)
        abort();
    netdev_attach(n.netdev, &card);
    if (s->alone)
        serve(&n);
    run(&n, data, size, s->alone);
    netdev_destroy(n.netdev);
    for (unsigned i = 0; i < PEERS; i++)
        hang_up(&n, i);
    loop_destroy(n.loop);
    clock_destroy(n.clock);
    return 0;
}
