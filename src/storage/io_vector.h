/* SPDX-License-Identifier: MIT
 *
 * Bytes that lie in several buffers, one behind the other: what a guest writes or reads lies in
 * as many pages as it likes, and goes to the host's file and back without being copied in between.
 */
#ifndef ANELLO_STORAGE_IO_VECTOR_H
#define ANELLO_STORAGE_IO_VECTOR_H

#include <sys/uio.h>

#include "base/bits.h"

#define IO_VECTOR_MAX 258 /* buffers of one request */

struct io_vector {
    const struct iovec *buffer;
    unsigned count;
    u64 skip; /* bytes of the first buffer that do not belong to it */
};

/* What is left behind its first `bytes` bytes. */
struct io_vector io_vector_after(struct io_vector v, u64 bytes);
/* Copies its first `bytes` bytes. */
void io_vector_gather(struct io_vector v, void *to, u64 bytes);
/* Fills its first `bytes` bytes. */
void io_vector_scatter(struct io_vector v, const void *from, u64 bytes);
/* Its first `bytes` bytes as buffers of their own, at most `room`: how many, and their bytes in
 * *got. */
unsigned io_vector_head(struct io_vector v, u64 bytes, struct iovec *to, unsigned room, u64 *got);

#endif
