/* SPDX-License-Identifier: MIT
 *
 * Traces: translations of several blocks that the guest executes one after the other. A timer
 * knocks every millisecond or so, and a translation that has been found running twice is hot: the
 * next time its block comes to the run loop, the interpreter executes it and what follows, and the
 * blocks that it goes through are recorded. They are the *path*. It ends where it would meet itself
 * or another trace, or leaves by a jump to an address that is not in the code. A call is a part of
 * it if its return is; else the path ends with the call.
 */
#ifndef ANELLO_BT_PATH_H
#define ANELLO_BT_PATH_H

#include "bt/internal.h"

/* Looks at what was found running, and sets the timer for the next time. */
void path_sample(struct vcpu *v);
/* The CPU goes to sleep, and runs again: it is not sampled meanwhile. */
void path_halted(struct vcpu *v);
void path_woken(struct vcpu *v);

/* Whether a path is to begin with b, which has no translation. */
bool path_begins(struct vcpu *v, struct block *b);

/* A path is being recorded, or is to begin with b (or NULL). */
static inline bool path_open(const struct vcpu *v, const struct block *b)
{
    return bt_of(v)->path.parts || (b && b->hot);
}

/* Block b (or NULL) is about to be executed. True: by the interpreter, because it is on the path.
 * False: the path has ended, and is a trace now if it was worth it. */
bool path_take(struct vcpu *v, struct block *b);

/* The pages of trace t may be elsewhere, as its check x has found. */
void path_meant_again(struct vcpu *v, const struct tcode *t, const struct texit *x);

/* A trace has been left by its exit x. False: it is not to be linked. Where that happens often and
 * within a call, the host's returns go wrong and the trace is given up; the next one does without
 * the call. */
bool path_leaves(struct bt *bt, struct texit *x);

#endif
