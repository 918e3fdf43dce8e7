/* SPDX-License-Identifier: MIT
 *
 * The stack that RSP is in while translated code runs: where calls of the guest come back to. A
 * guest's call is a call of the host's, and its return a return, so that the host predicts where it
 * goes. What it leads to is a guard (see struct texit), which looks whether the guest really
 * returns there: guests switch stacks, throw away frames and make up return addresses.
 *
 * A stack that is full starts again; below its base lies the address of a thunk that looks up where
 * the guest returns to. Signal handlers run on a stack of their own meanwhile.
 */
#ifndef ANELLO_BT_RETURNS_H
#define ANELLO_BT_RETURNS_H

#include "cpu/vcpu.h"

#define RETURNS_SAVED 32 /* bytes: the signal stack that the thread had before */
struct returns_saved {
    u64 word[RETURNS_SAVED / sizeof(u64)];
};

struct returns {
    u8 *memory;         /* the guard page first */
    u64 base;           /* RSP when nothing is on the stack */
    void *signal_stack; /* for the thread that runs translated code */
};

/* False: errno. */
bool returns_create(struct returns *r);
void returns_destroy(struct returns *r);
/* Forgets all returns; those that are not known go to `underflow`. */
void returns_reset(struct returns *r, struct vcpu *v, const u8 *underflow);
/* Around the execution of translated code by this thread. */
void returns_enter_thread(const struct returns *r, struct returns_saved *saved);
void returns_leave_thread(const struct returns_saved *saved);
/* An access at this host address was one beyond the end of the stack. @asyncsignalsafe */
bool returns_full(const struct returns *r, u64 address);

#endif
