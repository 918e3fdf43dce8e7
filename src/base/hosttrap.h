/* SPDX-License-Identifier: MIT
 *
 * Traps of the host CPU on this process' own instructions, as a function that sees and changes the
 * registers of the trapping thread. The signals beneath are an implementation detail: their headers
 * also use up the names of the registers.
 */
#ifndef ANELLO_BASE_HOSTTRAP_H
#define ANELLO_BASE_HOSTTRAP_H

#include <pthread.h>

#include "base/bits.h"

enum hosttrap_kind {
    HOSTTRAP_ARITHMETIC, /* divide errors, x87 and SIMD exceptions: SIGFPE */
    HOSTTRAP_MEMORY,     /* page faults and general protection: SIGSEGV */
    HOSTTRAP_BUS,        /* no memory behind a mapping: SIGBUS */
    HOSTTRAP_KNOCK,      /* another thread asks this one to look up: hosttrap_knock() */
    HOSTTRAP_KINDS
};

struct hosttrap {
    u64 rip;
    u64 gpr[16]; /* in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8.. */
    u64 vector;  /* of the exception, as the SDM numbers it */
    u64 address; /* HOSTTRAP_MEMORY, _BUS: of the access, where the host knows it */
};

/* Called on the trapping thread, in the signal handler. True: handled, the thread goes on with
 * rip and gpr as they are now. False: somebody else's; the previous owner of the signal is asked.
 * @asyncsignalsafe */
typedef bool hosttrap_fn(struct hosttrap *trap);

/* Adds a function; those of a kind are asked in the order in which they came. Calling again takes
 * the signal back from whoever has taken it since (as a test runner does). 0 or -errno (-EBUSY: the
 * kind has four functions already). */
int hosttrap_install(enum hosttrap_kind kind, hosttrap_fn *fn);

/* Makes `thread` call the HOSTTRAP_KNOCK function at once, wherever it is. @asyncsignalsafe */
void hosttrap_knock(pthread_t thread);

/* Makes the thread that calls this call the HOSTTRAP_KNOCK function once, in `ns`; each call starts
 * anew. All zeros at first. Where the host has no timer left nothing happens. */
struct hosttrap_timer {
    void *timer;
    pthread_t thread;
    bool made;
};
void hosttrap_knock_in(struct hosttrap_timer *t, i64 ns);
void hosttrap_timer_destroy(struct hosttrap_timer *t);

#endif
