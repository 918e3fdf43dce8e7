/* SPDX-License-Identifier: MIT
 *
 * Reassembly by RFC 791, 3.2: a buffer for the whole datagram, and a bit for each unit of eight
 * bytes that has come. Where fragments overlap, the later one counts. A datagram is forgotten after
 * LIFETIME, or when it is the oldest and a place is needed: a guest cannot make more memory be
 * taken than PLACES datagrams.
 */
#include "net/fragments.h"

#include <stdlib.h>

#include "net/netdev.h"

#define PLACES        8
#define LIFETIME      (INT64_C(30) * 1000000000)
#define UNIT          8 /* bytes; of offsets, and of all fragments' lengths but the last one's */
#define DATAGRAM_MAX  65535
#define UNITS         (DATAGRAM_MAX / UNIT + 1)
#define TYPE_AT       12
#define TYPE_IP4      0x0800
#define HEADER        20 /* bytes, without options */
#define HEADER_MAX    60
#define MORE          0x2000
#define OFFSET_MASK   0x1fff
#define IDENTITY_PART 8 /* bytes: the two addresses */

enum ip_field {
    IP_LENGTH = 2,
    IP_ID = 4,
    IP_OFFSET = 6,
    IP_PROTOCOL = 9,
    IP_SUM = 10,
    IP_ADDRESSES = 12
};

/* A datagram that is not complete. */
struct datagram {
    bool used;
    i64 since;
    u8 identity[IDENTITY_PART + 3]; /* addresses, protocol, identification */
    u8 ethernet[ETHERNET_HEADER];   /* of the first fragment, and its header */
    u8 header[HEADER_MAX];
    u32 header_bytes; /* 0: the first fragment is missing */
    u32 bytes;        /* of data; 0: the last fragment is missing */
    u32 units;        /* that have come */
    u64 come[UNITS / 64 + 1];
    u8 data[UNITS * UNIT];
};

struct fragments {
    struct datagram datagrams[PLACES];
    u8 frame[ETHERNET_HEADER + DATAGRAM_MAX];
};

/* A fragment, taken apart. */
struct fragment {
    const u8 *frame, *ip;
    u32 header_bytes, offset, bytes;
    bool more;
};

static u32 get16(const u8 *p)
{
    return (u32)p[0] << 8 | p[1];
}

static void put16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

/* 0 over a header whose checksum is right. */
static u16 checksum(const u8 *p, size_t n)
{
    return (u16)~netdev_sum(0, p, n);
}

static bool is_fragment(const u8 *frame, size_t n)
{
    return n >= ETHERNET_HEADER + HEADER && get16(frame + TYPE_AT) == TYPE_IP4 &&
           get16(frame + ETHERNET_HEADER + IP_OFFSET) & (MORE | OFFSET_MASK);
}

/* False when it breaks a rule. */
static bool take_apart(struct fragment *f, const u8 *frame, size_t n)
{
    const u8 *ip = frame + ETHERNET_HEADER;
    u32 header = (ip[0] & 15u) * 4, total = get16(ip + IP_LENGTH), at = get16(ip + IP_OFFSET);
    if (ip[0] >> 4 != 4 || header < HEADER || total < header || total > n - ETHERNET_HEADER ||
        checksum(ip, header))
        return false;
    *f = (struct fragment){.frame = frame,
                           .ip = ip,
                           .header_bytes = header,
                           .offset = (at & OFFSET_MASK) * UNIT,
                           .bytes = total - header,
                           .more = at & MORE};
    return f->bytes && !(f->more && f->bytes % UNIT) &&
           f->offset + f->bytes + header <= DATAGRAM_MAX;
}

static void identify(const struct fragment *f, u8 *identity)
{
    memcpy(identity, f->ip + IP_ADDRESSES, IDENTITY_PART);
    identity[IDENTITY_PART] = f->ip[IP_PROTOCOL];
    memcpy(identity + IDENTITY_PART + 1, f->ip + IP_ID, 2);
}

/* Its datagram, a new one when it is the first to come. */
static struct datagram *find(struct fragments *all, const struct fragment *f, i64 now)
{
    u8 identity[sizeof all->datagrams[0].identity];
    struct datagram *oldest = &all->datagrams[0];
    identify(f, identity);
    for (unsigned i = 0; i < PLACES; i++) {
        struct datagram *d = &all->datagrams[i];
        if (d->used && now - d->since > LIFETIME)
            d->used = false;
        if (d->used && !memcmp(d->identity, identity, sizeof identity))
            return d;
        if (oldest->used && (!d->used || d->since < oldest->since))
            oldest = d;
    }
    memset(oldest, 0, offsetof(struct datagram, data));
    memcpy(oldest->identity, identity, sizeof identity);
    oldest->used = true;
    oldest->since = now;
    return oldest;
}

/* False when the fragment contradicts those before it. */
static bool add(struct datagram *d, const struct fragment *f)
{
    u32 end = f->offset + f->bytes, last = (end + UNIT - 1) / UNIT;
    if ((d->bytes && (end > d->bytes || (!f->more && end != d->bytes))))
        return false;
    if (!f->more) {
        for (u32 unit = last; unit < UNITS; unit++) {
            if (d->come[unit / 64] >> unit % 64 & 1)
                return false;
        }
        d->bytes = end;
    }
    if (!f->offset) {
        memcpy(d->ethernet, f->frame, sizeof d->ethernet);
        memcpy(d->header, f->ip, f->header_bytes);
        d->header_bytes = f->header_bytes;
    }
    memcpy(d->data + f->offset, f->ip + f->header_bytes, f->bytes);
    for (u32 unit = f->offset / UNIT; unit < last; unit++) {
        d->units += !(d->come[unit / 64] >> unit % 64 & 1);
        d->come[unit / 64] |= (u64)1 << unit % 64;
    }
    return true;
}

static bool is_complete(const struct datagram *d)
{
    return d->header_bytes && d->bytes && d->units == (d->bytes + UNIT - 1) / UNIT;
}

/* The frame of a complete datagram; 0: it is longer than any may be. */
static size_t build(const struct datagram *d, u8 *frame)
{
    u8 *ip = frame + ETHERNET_HEADER;
    if (d->header_bytes + d->bytes > DATAGRAM_MAX)
        return 0;
    memcpy(frame, d->ethernet, sizeof d->ethernet);
    memcpy(ip, d->header, d->header_bytes);
    memcpy(ip + d->header_bytes, d->data, d->bytes);
    put16(ip + IP_LENGTH, d->header_bytes + d->bytes);
    put16(ip + IP_OFFSET, 0);
    put16(ip + IP_SUM, 0);
    put16(ip + IP_SUM, checksum(ip, d->header_bytes));
    return ETHERNET_HEADER + d->header_bytes + d->bytes;
}

const u8 *fragments_take(struct fragments *all, i64 now, const u8 *frame, size_t *bytes)
{
    struct fragment f;
    if (!is_fragment(frame, *bytes))
        return frame;
    if (!take_apart(&f, frame, *bytes))
        return NULL;
    struct datagram *d = find(all, &f, now);
    if (!add(d, &f)) {
        d->used = false;
        return NULL;
    }
    if (!is_complete(d))
        return NULL;
    d->used = false;
    *bytes = build(d, all->frame);
    return *bytes ? all->frame : NULL;
}

struct fragments *fragments_create(void)
{
    return calloc(1, sizeof(struct fragments));
}

void fragments_destroy(struct fragments *f)
{
    free(f);
}
