/* SPDX-License-Identifier: MIT
 *
 * Frames of a guest that speaks all of the router's protocols, mostly right: lengths and checksums
 * fit, so that what is wrong in them is looked at. Eight bytes of input and a payload make one:
 *
 *   byte 0    what: see packet_kind; 0x40: checksums stay wrong; 0x80: the two bytes below are put
 *   byte 1    bytes of payload
 *   byte 2    port or type, by an index; 0x80: the answer to the last TCP segment that came
 *   byte 3    TCP flags or a code
 *   byte 4    where two bytes are put over the headers
 *   byte 5,6  these bytes
 *   byte 7    the other address and the other port, by an index
 */
#ifndef ANELLO_TESTS_FUZZ_PACKETS_H
#define ANELLO_TESTS_FUZZ_PACKETS_H

#include "base/bits.h"
#include "net/netdev.h"

#define PACKET_HEAD      8
#define IP4_HEADER       20
#define IP6_HEADER       40
#define TCP_HEADER       20
#define UDP_HEADER       8
#define ARP_BYTES        28
#define PACKET_FRAME_MAX (ETHERNET_HEADER + IP6_HEADER + TCP_HEADER + 255)
#define PROTOCOL_ICMP    1
#define PROTOCOL_TCP     6
#define PROTOCOL_UDP     17
#define PROTOCOL_ICMP6   58
#define TYPE_IP4         0x0800
#define TYPE_ARP         0x0806
#define TYPE_IP6         0x86dd

enum packet_kind {
    PACKET_RAW,
    PACKET_ARP,
    PACKET_UDP,
    PACKET_TCP,
    PACKET_ICMP,
    PACKET_OTHER,
    PACKET_UDP6,
    PACKET_TCP6,
    PACKET_ICMP6,
    PACKET_OTHER6,
    PACKET_KINDS
};

#define PACKET_NO_CHECKSUM 0x40
#define PACKET_PUT         0x80
#define PACKET_ANSWER      0x80 /* in byte 2 */

/* The last TCP segment from the router, for each of the two families. */
struct packet_tcp {
    u32 seq, ack; /* of the answer */
    u16 port, other_port;
};

struct packet_maker {
    struct packet_tcp tcp[2]; /* by "is IPv6" */
};

static inline void put16(u8 *to, unsigned v)
{
    to[0] = (u8)(v >> 8);
    to[1] = (u8)v;
}

static inline void put32(u8 *to, u32 v)
{
    put16(to, v >> 16);
    put16(to + 2, v & 0xffff);
}

static inline unsigned get16(const u8 *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static inline u32 get32(const u8 *from)
{
    return get16(from) << 16 | get16(from + 2);
}

/* RFC 1071, without the complement. */
static inline u32 add_words(u32 sum, const u8 *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? at[i] : (u32)at[i] << 8;
    return sum;
}

static inline unsigned fold(u32 sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static inline unsigned packet_port(u8 index)
{
    static const u16 ports[] = {67, 69, 53, 7, 9, 80, 547, 68, 546, 1234, 4444, 5353, 0, 0xffff};
    return ports[index % ARRAY_LEN(ports)];
}

/* 10.0.2.2 is the router, .3 its name server, .15 the guest. */
static inline u32 packet_address(u8 index)
{
    static const u32 addresses[] = {0x0a000202, 0x0a000203, 0xffffffff, 0x0a00020f,
                                    0x7f000001, 0x0a0002ff, 0xe0000001, 0x0a000204};
    return addresses[index % ARRAY_LEN(addresses)];
}

/* fec0::2 is the router, fec0::3 its name server. */
static inline void put_address6(u8 *to, u8 index)
{
    static const u8 addresses[][16] = {{0xfe, 0xc0, [15] = 2},
                                       {0xfe, 0xc0, [15] = 3},
                                       {0xfe, 0x80, [15] = 2},
                                       {0xff, 0x02, [15] = 1},
                                       {0xff, 0x02, [13] = 1, [15] = 2},
                                       {0xff, 0x02, [15] = 2},
                                       {[15] = 1},
                                       {0xff, 2, [11] = 1, [12] = 0xff, [15] = 2}};
    memcpy(to, addresses[index % ARRAY_LEN(addresses)], 16);
}

/* ---- layers ---- */

static inline u8 *put_ethernet(u8 *frame, unsigned type)
{
    static const u8 guest[ETHERNET_ADDRESS] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    memset(frame, 0xff, ETHERNET_ADDRESS);
    memcpy(frame + ETHERNET_ADDRESS, guest, sizeof guest);
    put16(frame + 2 * ETHERNET_ADDRESS, type);
    return frame + ETHERNET_HEADER;
}

static inline u8 *put_ip(u8 *at, bool six, u8 protocol, u8 other, size_t bytes)
{
    static const u8 guest6[16] = {0xfe, 0xc0, [11] = 0xff, 0xfe, 0x12, 0x34, 0x56};
    if (six) {
        put32(at, 0x60000000);
        put16(at + 4, (unsigned)bytes);
        at[6] = protocol;
        at[7] = 255;
        memcpy(at + 8, guest6, sizeof guest6);
        put_address6(at + 24, other);
        return at + IP6_HEADER;
    }
    memset(at, 0, IP4_HEADER);
    at[0] = 0x45;
    put16(at + 2, (unsigned)bytes + IP4_HEADER);
    at[8] = 64;
    at[9] = protocol;
    put32(at + 12, other & 0x10 ? 0 : 0x0a00020f);
    put32(at + 16, packet_address(other));
    return at + IP4_HEADER;
}

static inline void put_tcp(const struct packet_maker *m, u8 *at, bool six, const u8 *head)
{
    const struct packet_tcp *t = &m->tcp[six];
    bool answer = head[2] & PACKET_ANSWER;
    memset(at, 0, TCP_HEADER);
    put16(at, answer ? t->port : 0x8000u + (head[7] >> 5));
    put16(at + 2, answer ? t->other_port : packet_port(head[2] & 0x7f));
    put32(at + 4, answer ? t->seq : 1000);
    put32(at + 8, answer ? t->ack : 0);
    at[12] = TCP_HEADER / 4 << 4;
    at[13] = head[3] & 0x3f;
    put16(at + 14, 0x2000);
}

static inline void put_udp(u8 *at, const u8 *head, size_t bytes)
{
    put16(at, packet_port(head[7] >> 5));
    put16(at + 2, packet_port(head[2]));
    put16(at + 4, (unsigned)bytes);
    put16(at + 6, 0);
}

static inline void put_arp(u8 *at, const u8 *head)
{
    put32(at, 0x00010800);
    put16(at + 4, ETHERNET_ADDRESS << 8 | 4);
    put16(at + 6, head[3] & 3);
    memcpy(at + 8, (u8[]){0x52, 0x54, 0, 0x12, 0x34, 0x56}, ETHERNET_ADDRESS);
    put32(at + 14, packet_address(head[7] >> 4));
    memset(at + 18, 0, ETHERNET_ADDRESS);
    put32(at + 24, packet_address(head[7]));
}

/* ---- checksums ---- */

static inline void check_transport(u8 *ip, bool six, u8 protocol, u8 *at, size_t bytes)
{
    static const u8 places[] = {
        [PROTOCOL_ICMP] = 2, [PROTOCOL_TCP] = 16, [PROTOCOL_UDP] = 6, [PROTOCOL_ICMP6] = 2};
    if (protocol >= sizeof places || !places[protocol])
        return;
    u8 *field = at + places[protocol];
    u32 sum = 0;
    if (six)
        sum = add_words((u32)bytes + protocol, ip + 8, 32);
    else if (protocol != PROTOCOL_ICMP)
        sum = add_words((u32)bytes + protocol, ip + 12, 8);
    put16(field, 0);
    put16(field, fold(add_words(sum, at, bytes)));
}

static inline void check_ip4(u8 *ip)
{
    put16(ip + 10, 0);
    put16(ip + 10, fold(add_words(0, ip, IP4_HEADER)));
}

/* ---- frames ---- */

static inline u8 packet_protocol(u8 kind, const u8 *head)
{
    static const u8 protocols[PACKET_KINDS] = {
        [PACKET_UDP] = PROTOCOL_UDP,   [PACKET_TCP] = PROTOCOL_TCP,
        [PACKET_ICMP] = PROTOCOL_ICMP, [PACKET_UDP6] = PROTOCOL_UDP,
        [PACKET_TCP6] = PROTOCOL_TCP,  [PACKET_ICMP6] = PROTOCOL_ICMP6};
    return protocols[kind] ? protocols[kind] : head[3];
}

static inline size_t transport_header(u8 protocol)
{
    return protocol == PROTOCOL_TCP ? TCP_HEADER : protocol == PROTOCOL_UDP ? UDP_HEADER : 4;
}

static inline size_t make_ip(const struct packet_maker *m, u8 kind, const u8 *head,
                             const u8 *payload, u8 *frame)
{
    bool six = kind >= PACKET_UDP6;
    u8 protocol = packet_protocol(kind, head);
    size_t header = transport_header(protocol), bytes = header + head[1];
    u8 *ip = put_ethernet(frame, six ? TYPE_IP6 : TYPE_IP4);
    u8 *at = put_ip(ip, six, protocol, head[7], bytes);
    memcpy(at + header, payload, head[1]);
    if (protocol == PROTOCOL_TCP)
        put_tcp(m, at, six, head);
    else if (protocol == PROTOCOL_UDP)
        put_udp(at, head, bytes);
    else
        put32(at, (u32)head[2] << 24 | (u32)(head[3] & 15) << 16);
    size_t whole = (size_t)(at - frame) + bytes;
    if (head[0] & PACKET_PUT && ETHERNET_HEADER + (size_t)head[4] + 2 <= whole)
        memcpy(ip + head[4], head + 5, 2);
    if (!(head[0] & PACKET_NO_CHECKSUM)) {
        check_transport(ip, six, protocol, at, bytes);
        if (!six)
            check_ip4(ip);
    }
    return whole;
}

/* The frame's bytes; `head` is followed by head[1] bytes of payload. */
static inline size_t packet_make(const struct packet_maker *m, const u8 *head, u8 *frame)
{
    u8 kind = (head[0] & 15) % PACKET_KINDS;
    const u8 *payload = head + PACKET_HEAD;
    if (kind == PACKET_RAW) {
        memcpy(frame, payload, head[1]);
        return head[1];
    }
    if (kind != PACKET_ARP)
        return make_ip(m, kind, head, payload, frame);
    u8 *at = put_ethernet(frame, TYPE_ARP);
    memcpy(at + ARP_BYTES, payload, head[1]);
    put_arp(at, head);
    if (head[0] & PACKET_PUT && head[4] + 2 <= ARP_BYTES)
        memcpy(at + head[4], head + 5, 2);
    return ETHERNET_HEADER + ARP_BYTES + head[1];
}

/* A frame from the router: what would be the answer to it, if it is TCP. */
static inline void packet_seen(struct packet_maker *m, const u8 *frame, size_t n)
{
    bool six = n > 12 && get16(frame + 12) == TYPE_IP6;
    size_t ip_header = six ? IP6_HEADER : IP4_HEADER;
    const u8 *ip = frame + ETHERNET_HEADER, *tcp = ip + ip_header;
    if (n < ETHERNET_HEADER + ip_header + TCP_HEADER || ip[six ? 6 : 9] != PROTOCOL_TCP)
        return;
    size_t bytes = six ? get16(ip + 4) : get16(ip + 2) - (size_t)IP4_HEADER;
    size_t header = (size_t)(tcp[12] >> 4) * 4;
    u32 data = bytes > header ? (u32)(bytes - header) : 0;
    m->tcp[six] =
        (struct packet_tcp){.seq = get32(tcp + 8),
                            .ack = get32(tcp + 4) + data + (tcp[13] & 1) + (tcp[13] >> 1 & 1),
                            .port = (u16)get16(tcp + 2),
                            .other_port = (u16)get16(tcp)};
}

#endif
