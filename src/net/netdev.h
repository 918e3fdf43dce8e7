/* SPDX-License-Identifier: MIT
 *
 * A network cable between one card of the guest and one back-end of the host: Ethernet frames,
 * without preamble and checksum, in both directions.
 *
 *   card ----- netdev_send() ----> back-end's send()
 *   card's receive() <-- queue <-- netdev_deliver() ----- back-end
 *
 * A card that has no room leaves frames in the queue, which is bounded: what does not fit is
 * dropped, as on any network. A back-end may deliver from inside its send(); the card hears of it
 * only when its own call has returned, so no card is ever entered twice.
 *
 * Everything with the board lock held.
 */
#ifndef ANELLO_NET_NETDEV_H
#define ANELLO_NET_NETDEV_H

#include "base/bits.h"

#define NETDEV_FRAME_MAX 16384 /* bytes; longer ones are dropped: e1000's largest buffer */
#define NETDEV_QUEUE_MAX 256   /* frames that wait for the card */
#define ETHERNET_HEADER  14
#define ETHERNET_MIN     60 /* a frame as cards hand it on: padded, without checksum */
#define ETHERNET_ADDRESS 6

struct netdev;

/* The back-end. */
struct netdev_ops {
    const char *kind; /* "user" */
    void (*send)(void *opaque, const u8 *frame, size_t n);
    void (*destroy)(void *opaque);
};

/* The card. */
struct netdev_card {
    bool (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const u8 *frame, size_t n);
    void *opaque;
};

struct netdev_counters {
    u64 tx, rx;  /* frames from and to the guest */
    u64 dropped; /* towards the guest */
};

/* NULL when out of memory. Owned by who made it; back-ends have their own constructors. */
struct netdev *netdev_create(const struct netdev_ops *ops, void *opaque);
void netdev_destroy(struct netdev *n);
const char *netdev_kind(const struct netdev *n);
struct netdev_counters netdev_counters(const struct netdev *n);

/* ---- the card's side; a NULL netdev is a cable that is not plugged in ---- */

/* NULL unplugs the card. */
void netdev_attach(struct netdev *n, const struct netdev_card *card);
void netdev_send(struct netdev *n, const u8 *frame, size_t bytes);
/* The card has room again. */
void netdev_ready(struct netdev *n);
/* Throws away what waits for the card: it was reset. */
void netdev_forget(struct netdev *n);

/* ---- the back-end's side ---- */

void netdev_deliver(struct netdev *n, const u8 *frame, size_t bytes);

/* The Internet's sum (RFC 1071) of n bytes and of `start`, which may be another's; a checksum is
 * its complement. */
static inline u16 netdev_sum(u32 start, const u8 *p, size_t n)
{
    u64 sum = start;
    size_t i = 0;
    for (; i + 1 < n; i += 2)
        sum += (u32)p[i] << 8 | p[i + 1];
    if (i < n)
        sum += (u32)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

#endif
