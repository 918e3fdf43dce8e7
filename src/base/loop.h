/* SPDX-License-Identifier: MIT
 *
 * The I/O thread's event loop and the board lock.
 *
 * One board lock per machine guards all device state. It is held while callbacks of this loop run
 * (timers, file descriptors, posted work), while a vCPU accesses a port or an MMIO register, and
 * while the UI pulls a frame. Workers that block (disk I/O) never wait for it: what they find it
 * taken for they leave to the loop.
 */
#ifndef ANELLO_BASE_LOOP_H
#define ANELLO_BASE_LOOP_H

#include "base/bits.h"
#include "base/clock.h"

struct loop;
struct loop_watch;

enum loop_events { LOOP_READ = 1, LOOP_WRITE = 2 };

/* A loop that fires the timers of `clock` (which it does not own). NULL when out of resources. */
struct loop *loop_create(struct clock *clock);
void loop_destroy(struct loop *loop);

/* Runs until loop_stop(). Called by the I/O thread without the board lock. */
void loop_run(struct loop *loop);
/* One turn: waits at most timeout_ms (-1: for ever), then dispatches. For tests and tools. */
void loop_turn(struct loop *loop, int timeout_ms);
/* Makes loop_run() return soon. From any thread or a signal handler. @asyncsignalsafe */
void loop_stop(struct loop *loop);

/* The board lock; not recursive. */
void loop_lock(struct loop *loop);
/* For a worker that has something for the loop to do: takes the board lock, so that it may do that
 * itself. False when somebody else holds the lock, or no thread is in loop_run(): then it has to
 * leave it to the loop. */
bool loop_try_enter(struct loop *loop);
void loop_unlock(struct loop *loop);

/* Calls `ready(opaque, events)` with the board lock held when fd is ready for one of `events`
 * (or has hung up: reported as LOOP_READ). Board lock held by the caller. */
struct loop_watch *loop_watch(struct loop *loop, int fd, unsigned events,
                              void (*ready)(void *opaque, unsigned events), void *opaque);
void loop_watch_change(struct loop_watch *watch, unsigned events);
void loop_unwatch(struct loop_watch *watch);

/* Runs call(opaque) on the I/O thread with the board lock held. From any thread, lock held or not.
 */
void loop_post(struct loop *loop, void (*call)(void *opaque), void *opaque);

#endif
