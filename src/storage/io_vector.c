/* SPDX-License-Identifier: MIT */
#include "storage/io_vector.h"

struct io_vector io_vector_after(struct io_vector v, u64 bytes)
{
    v.skip += bytes;
    while (v.count && v.skip >= v.buffer->iov_len) {
        v.skip -= v.buffer->iov_len;
        v.buffer++, v.count--;
    }
    return v;
}

unsigned io_vector_head(struct io_vector v, u64 bytes, struct iovec *to, unsigned room, u64 *got)
{
    unsigned n = 0;
    *got = 0;
    for (v = io_vector_after(v, 0); n < room && v.count && *got < bytes; n++) {
        u64 here = v.buffer->iov_len - v.skip;
        if (here > bytes - *got)
            here = bytes - *got;
        to[n] = (struct iovec){(u8 *)v.buffer->iov_base + v.skip, here};
        *got += here;
        v = io_vector_after(v, here);
    }
    return n;
}

void io_vector_gather(struct io_vector v, void *to, u64 bytes)
{
    struct iovec piece;
    for (u64 at = 0, got; at < bytes && io_vector_head(v, bytes - at, &piece, 1, &got); at += got) {
        memcpy((u8 *)to + at, piece.iov_base, got);
        v = io_vector_after(v, got);
    }
}

void io_vector_scatter(struct io_vector v, const void *from, u64 bytes)
{
    struct iovec piece;
    for (u64 at = 0, got; at < bytes && io_vector_head(v, bytes - at, &piece, 1, &got); at += got) {
        memcpy(piece.iov_base, (const u8 *)from + at, got);
        v = io_vector_after(v, got);
    }
}
