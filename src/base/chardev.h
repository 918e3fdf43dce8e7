/* SPDX-License-Identifier: MIT
 *
 * A character stream with the host: what a serial port, debug console or monitor is connected to.
 * Bytes from the host arrive on the I/O thread with the board lock held.
 */
#ifndef ANELLO_BASE_CHARDEV_H
#define ANELLO_BASE_CHARDEV_H

#include "base/bits.h"
#include "base/loop.h"

struct chardev;

/* Who receives. `can_receive` says how many bytes fit now; chardev_accept() tells that room was
 * made again. */
struct chardev_sink {
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const u8 *bytes, size_t n);
    void (*event)(void *opaque, bool connected); /* may be NULL */
    void *opaque;
};

/* Opens SPEC: stdio, file:PATH, unix:PATH[,server][,nowait], pty, none/null, mon:stdio.
 * NULL and a message for the user in error[n] when it cannot be had. */
struct chardev *chardev_open(const char *spec, struct loop *loop, char *error, size_t n);
/* One end of a pair inside the process: what is written to one is received by the other. For
 * tests and the stdio multiplexer. */
void chardev_pair(struct loop *loop, struct chardev **a, struct chardev **b);
void chardev_close(struct chardev *c);

void chardev_set_sink(struct chardev *c, const struct chardev_sink *sink);
/* Queues all bytes; never blocks. Output to a peer that does not read is dropped after 1 MiB. */
void chardev_write(struct chardev *c, const void *bytes, size_t n);
void chardev_accept(struct chardev *c);
/* Writes out what is queued, waiting at most timeout_ms: before the process ends. */
void chardev_drain(struct chardev *c, int timeout_ms);

#endif
