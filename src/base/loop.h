/* SPDX-License-Identifier: MIT
 *
 * The I/O thread's event loop and the board lock.
 *
 * One board lock per machine guards all device state. It is held while callbacks of this loop run
 * (timers, which a CPU's thread may fire too, file descriptors, posted work), while a vCPU accesses
 * a port or an MMIO register, and while the UI pulls a frame. Workers that block (disk I/O) never
 * wait for it: what they find it taken for they leave to the loop.
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

/* For a thread that goes to sleep (without the board lock): until loop_pass_time() it sees to the
 * timers that are due at the time returned or later, and the I/O thread need not wake for them.
 * CLOCK_NEVER: there is none, or somebody else keeps the time: then there is nothing to pass. */
i64 loop_keep_time(struct loop *loop);
/* Fires what is due and gives the timers back to the I/O thread. */
void loop_pass_time(struct loop *loop);

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
