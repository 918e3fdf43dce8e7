/* SPDX-License-Identifier: MIT
 *
 * The user-mode network as a card sees it: frames built and taken apart by hand, real sockets of
 * the host's loopback at the other end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "net/slirp.h"

#define TURNS         200
#define TURN_MS       10
#define IP_HEADER     20
#define UDP_HEADER    8
#define AT_IP         ETHERNET_HEADER
#define AT_UDP        (AT_IP + IP_HEADER)
#define AT_DATA       (AT_UDP + UDP_HEADER)
#define TYPE_IP       0x0800
#define TYPE_ARP      0x0806
#define PROTOCOL_TCP  6
#define PROTOCOL_UDP  17
#define ROUTER        0x0a000202
#define GUEST         0x0a00020f
#define PORT_DHCPS    67
#define PORT_DHCPC    68
#define PORT_TFTP     69
#define DHCP_BYTES    300
#define DHCP_COOKIE   236
#define SEEN_MAX      64
#define HOSTILE_COUNT 20000

struct frame {
    size_t bytes;
    u8 data[2048];
};

struct net {
    struct clock *clock;
    struct loop *loop;
    struct netdev *netdev;
    struct slirp_config config;
    struct frame seen[SEEN_MAX];
    unsigned count;
    bool full, inside, entered_twice;
};

static const u8 guest_mac[ETHERNET_ADDRESS] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static bool can_receive(void *opaque)
{
    const struct net *n = opaque;
    return !n->full;
}

static void receive(void *opaque, const u8 *frame, size_t bytes)
{
    struct net *n = opaque;
    n->entered_twice |= n->inside;
    assert_true(bytes >= ETHERNET_MIN && bytes <= sizeof n->seen[0].data);
    struct frame *f = &n->seen[n->count++ % SEEN_MAX];
    f->bytes = bytes;
    memcpy(f->data, frame, bytes);
}

static void send_frame(struct net *n, const u8 *frame, size_t bytes)
{
    n->inside = true;
    netdev_send(n->netdev, frame, bytes);
    n->inside = false;
}

static int setup(void **state)
{
    struct net *n = calloc(1, sizeof *n);
    n->clock = clock_create();
    n->loop = loop_create(n->clock);
    clock_resume(n->clock);
    slirp_config_init(&n->config);
    *state = n;
    return 0;
}

static void plug_in(struct net *n)
{
    char error[256] = "";
    struct netdev_card card = {can_receive, receive, n};
    assert_true(slirp_config_finish(&n->config, error, sizeof error));
    n->netdev = slirp_create(&n->config, n->loop, n->clock, error, sizeof error);
    if (!n->netdev)
        fail_msg("%s", error);
    netdev_attach(n->netdev, &card);
}

static int teardown(void **state)
{
    struct net *n = *state;
    netdev_destroy(n->netdev);
    slirp_config_free(&n->config);
    loop_destroy(n->loop);
    clock_destroy(n->clock);
    free(n);
    return 0;
}

static u16 get16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static void put16(u8 *p, u16 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

static void put32(u8 *p, u32 v)
{
    put16(p, (u16)(v >> 16));
    put16(p + 2, (u16)v);
}

static u16 checksum(const u8 *p, size_t n)
{
    u32 sum = 0;
    for (size_t i = 0; i < n; i += 2)
        sum += get16(p + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (u16)~sum;
}

static void ethernet(u8 *f, u16 type)
{
    memset(f, 0xff, ETHERNET_ADDRESS);
    memcpy(f + ETHERNET_ADDRESS, guest_mac, ETHERNET_ADDRESS);
    put16(f + 12, type);
}

/* A UDP datagram without checksum, which IPv4 allows. */
static void send_udp(struct net *n, u32 from, u16 from_port, u32 to, u16 port, const void *data,
                     size_t bytes)
{
    u8 f[1024] = {0};
    ethernet(f, TYPE_IP);
    f[AT_IP] = 0x45;
    put16(f + AT_IP + 2, (u16)(IP_HEADER + UDP_HEADER + bytes));
    f[AT_IP + 8] = 64;
    f[AT_IP + 9] = PROTOCOL_UDP;
    put32(f + AT_IP + 12, from);
    put32(f + AT_IP + 16, to);
    put16(f + AT_IP + 10, checksum(f + AT_IP, IP_HEADER));
    put16(f + AT_UDP, from_port);
    put16(f + AT_UDP + 2, port);
    put16(f + AT_UDP + 4, (u16)(UDP_HEADER + bytes));
    memcpy(f + AT_DATA, data, bytes);
    send_frame(n, f, AT_DATA + bytes);
}

static void send_arp_reply(struct net *n)
{
    static const u8 fixed[] = {0, 1, 8, 0, 6, 4, 0, 2};
    u8 f[ETHERNET_MIN] = {0};
    ethernet(f, TYPE_ARP);
    memcpy(f + 14, fixed, sizeof fixed);
    memcpy(f + 22, guest_mac, ETHERNET_ADDRESS);
    put32(f + 28, GUEST);
    put32(f + 38, ROUTER);
    send_frame(n, f, sizeof f);
}

/* Turns the loop until a frame of this kind arrives, answering ARP on the way; NULL: none came. */
static const struct frame *wait_for(struct net *n, u8 protocol, u16 port)
{
    unsigned looked = 0;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (; looked < n->count; looked++) {
            const struct frame *f = &n->seen[looked % SEEN_MAX];
            if (get16(f->data + 12) == TYPE_ARP)
                send_arp_reply(n);
            else if (get16(f->data + 12) == TYPE_IP && f->data[AT_IP + 9] == protocol &&
                     get16(f->data + AT_UDP + 2) == port)
                return f;
        }
        loop_turn(n->loop, TURN_MS);
    }
    return NULL;
}

static void slirp_dhcp_offers_the_first_address(void **state)
{
    struct net *n = *state;
    u8 m[DHCP_BYTES] = {1, 1, 6};
    static const u8 discover[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    plug_in(n);
    memcpy(m + 28, guest_mac, ETHERNET_ADDRESS);
    memcpy(m + DHCP_COOKIE, discover, sizeof discover);
    send_udp(n, 0, PORT_DHCPC, 0xffffffff, PORT_DHCPS, m, sizeof m);
    const struct frame *offer = wait_for(n, PROTOCOL_UDP, PORT_DHCPC);
    assert_non_null(offer);
    assert_int_equal(load32(offer->data + AT_DATA + 16), htonl(GUEST));
    assert_int_equal(offer->data[AT_DATA], 2);
}

static void slirp_serves_files_by_tftp(void **state)
{
    struct net *n = *state;
    char folder[] = "/tmp/anello-tftp-XXXXXX", path[64];
    char error[128];
    static const char request[] = "\0\1hello\0octet";
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/hello", folder);
    FILE *file = fopen(path, "w");
    fputs("over the wire", file);
    fclose(file);
    assert_true(slirp_config_set(&n->config, "tftp", folder, error, sizeof error));
    plug_in(n);
    send_arp_reply(n); /* makes us known */
    send_udp(n, GUEST, 4321, ROUTER, PORT_TFTP, request, sizeof request);
    const struct frame *data = wait_for(n, PROTOCOL_UDP, 4321);
    assert_non_null(data);
    assert_memory_equal(data->data + AT_DATA, "\0\3\0\1over the wire", 17);
    unlink(path);
    rmdir(folder);
}

static int bound_socket(int type, u16 *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof a;
    int fd = socket(AF_INET, type, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &bytes);
    *port = ntohs(a.sin_port);
    return fd;
}

static void slirp_router_address_is_the_hosts_loopback(void **state)
{
    struct net *n = *state;
    u16 port;
    char got[16] = "";
    struct sockaddr_in from;
    socklen_t bytes = sizeof from;
    int fd = bound_socket(SOCK_DGRAM, &port);
    plug_in(n);
    send_arp_reply(n);
    send_udp(n, GUEST, 5000, ROUTER, port, "ping", 4);
    assert_int_equal(recvfrom(fd, got, sizeof got, 0, (struct sockaddr *)&from, &bytes), 4);
    assert_memory_equal(got, "ping", 4);
    assert_int_equal(sendto(fd, "pong", 4, 0, (struct sockaddr *)&from, bytes), 4);
    const struct frame *answer = wait_for(n, PROTOCOL_UDP, 5000);
    assert_non_null(answer);
    assert_memory_equal(answer->data + AT_DATA, "pong", 4);
    close(fd);
}

static void slirp_forwards_a_port_of_the_host(void **state)
{
    struct net *n = *state;
    u16 port;
    char rule[64], error[128];
    close(bound_socket(SOCK_STREAM, &port)); /* now free, very likely */
    snprintf(rule, sizeof rule, "tcp:127.0.0.1:%u-:22", port);
    assert_true(slirp_config_set(&n->config, "hostfwd", rule, error, sizeof error));
    plug_in(n);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connect(fd, (struct sockaddr *)&a, sizeof a);
    const struct frame *syn = wait_for(n, PROTOCOL_TCP, 22);
    assert_non_null(syn);
    assert_int_equal(load32(syn->data + AT_IP + 16), htonl(GUEST));
    assert_int_equal(syn->data[AT_UDP + 13], 0x02); /* SYN alone */
    close(fd);
}

static void slirp_refuses_a_port_that_is_taken(void **state)
{
    struct net *n = *state;
    u16 port;
    char rule[64], error[128] = "";
    int fd = bound_socket(SOCK_STREAM, &port);
    listen(fd, 1);
    snprintf(rule, sizeof rule, "tcp:127.0.0.1:%u-:22", port);
    assert_true(slirp_config_set(&n->config, "hostfwd", rule, error, sizeof error));
    assert_true(slirp_config_finish(&n->config, error, sizeof error));
    assert_null(slirp_create(&n->config, n->loop, n->clock, error, sizeof error));
    assert_non_null(strstr(error, "cannot forward TCP port"));
    close(fd);
}

static void slirp_survives_what_no_guest_would_send(void **state)
{
    struct net *n = *state;
    u8 f[2048];
    u32 seed = 1;
    plug_in(n);
    for (unsigned round = 0; round < HOSTILE_COUNT; round++) {
        size_t bytes = (seed >> 8) % sizeof f;
        for (size_t i = 0; i < bytes; i++) {
            seed = seed * 1664525 + 1013904223;
            f[i] = (u8)(seed >> 24);
        }
        if (bytes > AT_UDP && round % 2) { /* half of them pass as IPv4, to the router itself */
            ethernet(f, TYPE_IP);
            f[AT_IP] = 0x45;
            f[AT_IP + 9] = round % 4 == 1 ? PROTOCOL_UDP : PROTOCOL_TCP;
            put32(f + AT_IP + 12, GUEST);
            put32(f + AT_IP + 16, ROUTER + 1000); /* nobody */
            put16(f + AT_IP + 10, 0);
            put16(f + AT_IP + 10, checksum(f + AT_IP, IP_HEADER));
        }
        send_frame(n, f, bytes);
    }
    assert_false(n->entered_twice);
}

static void netdev_card_is_not_entered_while_it_sends(void **state)
{
    struct net *n = *state;
    static const u8 who_has[] = {0, 1, 8, 0, 6, 4, 0, 1};
    u8 f[ETHERNET_MIN] = {0};
    plug_in(n);
    ethernet(f, TYPE_ARP);
    memcpy(f + 14, who_has, sizeof who_has);
    memcpy(f + 22, guest_mac, ETHERNET_ADDRESS);
    put32(f + 28, GUEST);
    put32(f + 38, ROUTER);
    n->full = true; /* the answer comes at once, and must wait */
    send_frame(n, f, sizeof f);
    assert_int_equal(n->count, 0);
    n->full = false;
    netdev_ready(n->netdev);
    assert_true(n->count >= 1);
    assert_false(n->entered_twice);
}

static void swallow(void *opaque, const u8 *frame, size_t bytes)
{
    (void)opaque;
    (void)frame;
    (void)bytes;
}

static void netdev_queue_is_bounded(void **state)
{
    struct net *n = *state;
    static const struct netdev_ops ops = {.kind = "test", .send = swallow};
    static const u8 frame[ETHERNET_MIN];
    struct netdev_card card = {can_receive, receive, n};
    n->netdev = netdev_create(&ops, NULL);
    netdev_attach(n->netdev, &card);
    n->full = true;
    for (unsigned i = 0; i < 2 * NETDEV_QUEUE_MAX; i++)
        netdev_deliver(n->netdev, frame, sizeof frame);
    assert_int_equal(netdev_counters(n->netdev).dropped, NETDEV_QUEUE_MAX);
    n->full = false;
    netdev_ready(n->netdev);
    assert_int_equal(n->count, NETDEV_QUEUE_MAX);
    netdev_send(n->netdev, frame, ETHERNET_HEADER - 1); /* no frame */
    assert_int_equal(netdev_counters(n->netdev).tx, 0);
}

static void slirp_options_are_checked(void **state)
{
    static const char *const wrong[][2] = {
        {"net", "10.0.2.0/31"},
        {"net", "here"},
        {"host", "10.0.2"},
        {"hostfwd", "tcp::80"},
        {"hostfwd", "x::1-:2"},
        {"hostfwd", "tcp::1-:0"},
        {"smb", "/tmp"},
        {"dns", ""},
        {"hostfwd", "tcp::99999-:1"},
        {"hostfwd", "-:"},
        {"hostfwd", ""},
        {"net", "10.0.0.0/255.0.255.0"},
    };
    struct net *n = *state;
    char error[256];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(slirp_config_set(&n->config, wrong[i][0], wrong[i][1], error, sizeof error));
    assert_true(slirp_config_set(&n->config, "net", "192.168.7.0/24", error, sizeof error));
    assert_true(slirp_config_set(&n->config, "hostfwd", "::2222-:22", error, sizeof error));
    assert_true(slirp_config_set(&n->config, "host", "10.1.1.1", error, sizeof error));
    assert_false(slirp_config_finish(&n->config, error, sizeof error));
    assert_true(slirp_config_set(&n->config, "host", "192.168.7.9", error, sizeof error));
    assert_true(slirp_config_finish(&n->config, error, sizeof error));
    assert_int_equal(ntohl(n->config.dhcp_start.s_addr), 0xc0a8070f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(slirp_dhcp_offers_the_first_address),
        TEST(slirp_serves_files_by_tftp),
        TEST(slirp_router_address_is_the_hosts_loopback),
        TEST(slirp_forwards_a_port_of_the_host),
        TEST(slirp_refuses_a_port_that_is_taken),
        TEST(slirp_survives_what_no_guest_would_send),
        TEST(netdev_card_is_not_entered_while_it_sends),
        TEST(netdev_queue_is_bounded),
        TEST(slirp_options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
