/* SPDX-License-Identifier: MIT
 *
 * Tables for the firmware are written from front to back into memory of a fixed size. What does not
 * fit is left out and makes the whole `full`, which is looked at once, at the end.
 */
#ifndef ANELLO_MACHINE_TABLE_OUT_H
#define ANELLO_MACHINE_TABLE_OUT_H

#include "base/bits.h"

struct table_out {
    u8 *bytes; /* zeroes at first */
    size_t size, room;
    bool full; /* something did not fit: the result is unusable */
};

/* Room for n zeroed bytes; returns their offset. */
static inline u32 reserve(struct table_out *out, size_t n)
{
    u32 at = (u32)out->size;
    if (n > out->room - out->size) {
        out->full = true;
        return 0;
    }
    out->size += n;
    return at;
}

static inline void put(struct table_out *out, const void *bytes, size_t n)
{
    u32 at = reserve(out, n);
    if (!out->full)
        memcpy(out->bytes + at, bytes, n);
}

static inline void put8(struct table_out *out, u8 v)
{
    put(out, &v, sizeof v);
}

static inline void put16(struct table_out *out, u16 v)
{
    put(out, &v, sizeof v);
}

static inline void put32(struct table_out *out, u32 v)
{
    put(out, &v, sizeof v);
}

static inline void put64(struct table_out *out, u64 v)
{
    put(out, &v, sizeof v);
}

#endif
