/* SPDX-License-Identifier: MIT
 *
 * Waiting for another thread by looking, for a while, before going to sleep. To sleep and to be
 * woken costs some ten microseconds and more where the host is itself a virtual machine; that is
 * longer than a disk whose data the host has in memory takes to answer.
 *
 * How long it is worth to look is learned: waits that looking can outlast double the time, longer
 * ones halve it, until it is nothing. On a host with one CPU nothing is won by looking, as what is
 * waited for cannot happen meanwhile.
 */
#ifndef ANELLO_BASE_SPIN_H
#define ANELLO_BASE_SPIN_H

#include "base/bits.h"

struct spin {
    i64 most;   /* ns; 0: never look */
    i64 window; /* ns to look before sleeping, 0..most */
};

/* At most `most` ns, 0 at first. */
void spin_init(struct spin *s, i64 most);

/* CLOCK_MONOTONIC, in ns. */
i64 spin_now(void);

/* Looks until *word is no longer `value`, or the window has passed; whether it changed. */
bool spin_while(const struct spin *s, const u32 *word, u32 value);

/* What a wait took in all, in ns, looking and sleeping. */
void spin_learn(struct spin *s, i64 waited);

#endif
