/* SPDX-License-Identifier: MIT
 *
 * What people and tools get to see of translations: listings, -d in_asm,out_asm,exec, the map for
 * Linux perf, and the verifier's verdict. Private to src/bt.
 */
#ifndef ANELLO_BT_OBSERVE_H
#define ANELLO_BT_OBSERVE_H

#include "bt/internal.h"
#include "cpu/listing.h"

/* A translation has just been made: traces, maps and verifies it, whatever is asked for. */
void observe_made(struct bt *bt, const struct tcode *t);

/* The code of a translation, line by line. */
void observe_list(const struct tcode *t, listing_line *line, void *opaque);

/* A block is about to be executed (-d exec). */
void observe_run(struct vcpu *v, const struct block *b, bool translated);

/* No translation leads to another, so that each run of one comes by observe_run(). */
bool observe_each_run(const struct bt *bt);

void observe_close(struct bt *bt);

#endif
