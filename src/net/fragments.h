/* SPDX-License-Identifier: MIT
 *
 * Puts the fragments of IPv4 datagrams together before the network behind the card sees them.
 *
 * libslirp can do that itself, but not safely everywhere: Debian 12's build of version 4.7.0 reads
 * the head of a list of fragments before the first one has been linked (its sources break the rules
 * of aliasing), and a datagram whose last fragment comes first makes it free and use the wrong
 * buffers. Any guest could end the process with one packet.
 */
#ifndef ANELLO_NET_FRAGMENTS_H
#define ANELLO_NET_FRAGMENTS_H

#include <stddef.h>

#include "base/bits.h"

struct fragments;

/* NULL when out of memory. */
struct fragments *fragments_create(void);
void fragments_destroy(struct fragments *f);

/* What is to be sent when the guest sends a frame: the frame itself when it holds no fragment, or
 * the whole datagram when this was the last fragment that was missing (valid until the next call),
 * with its length in *bytes; else NULL. `now` in ns. */
const u8 *fragments_take(struct fragments *f, i64 now, const u8 *frame, size_t *bytes);

#endif
