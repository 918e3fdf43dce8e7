/* SPDX-License-Identifier: MIT
 *
 * A block device as controllers see it: asynchronous requests against a backend (an image format
 * on a file). Controllers submit with the board lock held; the blocking work is done by worker
 * threads without it; completions arrive with the board lock held, on the I/O thread or a worker's.
 */
#ifndef ANELLO_STORAGE_BLOCK_H
#define ANELLO_STORAGE_BLOCK_H

#include "base/loop.h"
#include "storage/io_vector.h"

#define SECTOR_BYTES 512

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD };

struct block;

/* One request. The caller owns it and its buffer until `done` is called. */
struct block_request {
    enum block_op op;
    bool fua;   /* WRITE: stable on the host before completion */
    u64 offset; /* bytes; READ/WRITE: any alignment is allowed, 512-byte multiples are usual */
    u64 bytes;
    void *data; /* READ: filled; WRITE: taken; NULL for FLUSH and DISCARD, and with `move` */
    /* Instead of data: hands over what passes through a buffer of the block layer, bytes at..at+n-1
     * of the request, in order. READ takes them from `piece`, WRITE puts them there. A worker
     * calls it, without the board lock. An error (-errno) ends the request. */
    int (*move)(struct block_request *request, u64 at, void *piece, u64 n);
    /* Beside `move`: where the bytes lie on the host, in at most `room` buffers, so that they need
     * not be copied; the guest may change them meanwhile. How many buffers; 0: `move` has to do it.
     * A worker calls it; for READ, it calls it once more when the buffers have been written, so
     * that whoever has to hear of that does. */
    unsigned (*locate)(struct block_request *request, struct iovec *buffers, unsigned room);
    int error; /* at completion: 0 or -errno */
    void (*done)(struct block_request *request);
    void *opaque;               /* the caller's */
    struct block_request *next; /* the block layer's, while in flight */
};

struct block_options {
    const char *format; /* NULL: probe by magic (vmdk, vdi, qcow2), raw otherwise */
    bool read_only;
    bool snapshot;  /* writes go to a temporary overlay and are lost at the end */
    bool removable; /* CD or floppy: a missing medium is allowed (path NULL) */
    enum { CACHE_WRITEBACK, CACHE_WRITETHROUGH, CACHE_NONE, CACHE_UNSAFE } cache;
};

/* Opens an image for a machine. `loop` delivers completions; NULL: requests complete before
 * block_submit() returns. On
 * failure returns NULL and writes a one-line message that says what to do to error[n]. */
struct block *block_open(const char *path, const struct block_options *options, struct loop *loop,
                         char *error, size_t n);
/* Waits for requests in flight and delivers their completions, flushes, closes. Board lock held, or
 * no other thread runs the loop any more. */
void block_close(struct block *block);

u64 block_size(const struct block *block); /* bytes; 0: no medium */
bool block_read_only(const struct block *block);
const char *block_format(const struct block *block);
const char *block_path(const struct block *block);

/* Starts a request; several may be in flight, with no order among them other than that a FLUSH
 * covers what completed before it was submitted. Board lock held. */
void block_submit(struct block *block, struct block_request *request);
/* Waits until nothing is in flight (reset, pause) and delivers the completions itself. Board lock
 * held, or no loop. Requests that wait for space on the host are left waiting. */
void block_drain(struct block *block);

/* Called on the I/O thread when the host has no space for a write: the request stays in flight
 * until block_retry(), so that the machine can pause and go on. Without it the error goes to the
 * guest. */
void block_on_full(struct block *block, void (*full)(void *opaque, struct block *block),
                   void *opaque);
/* Starts the requests again that found no space. Board lock held. */
void block_retry(struct block *block);

/* Synchronous: tools and firmware loading. 0 or -errno. */
int block_read(struct block *block, u64 offset, void *data, u64 bytes);
int block_write(struct block *block, u64 offset, const void *data, u64 bytes);
int block_flush(struct block *block);

/* Media change of a removable device; NULL path ejects. 0, or -1 with a message in error[n]. */
int block_change(struct block *block, const char *path, char *error, size_t n);

struct block_counters {
    u64 reads, writes, flushes, read_bytes, write_bytes;
};
struct block_counters block_counters(const struct block *block);

/* Whether a request has been submitted and its done() not been called. From any thread. */
bool block_is_busy(const struct block *block);

#endif
