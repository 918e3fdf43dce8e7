/* SPDX-License-Identifier: MIT
 *
 * Big-endian numbers in image headers and tables.
 */
#ifndef ANELLO_STORAGE_BYTES_H
#define ANELLO_STORAGE_BYTES_H

#include "base/bits.h"

static inline u16 get_be16(const void *p)
{
    return __builtin_bswap16(load16(p));
}

static inline u32 get_be32(const void *p)
{
    return __builtin_bswap32(load32(p));
}

static inline u64 get_be64(const void *p)
{
    return __builtin_bswap64(load64(p));
}

static inline void put_be16(void *p, u16 v)
{
    store16(p, __builtin_bswap16(v));
}

static inline void put_be32(void *p, u32 v)
{
    store32(p, __builtin_bswap32(v));
}

static inline void put_be64(void *p, u64 v)
{
    store64(p, __builtin_bswap64(v));
}

static inline u64 div_up(u64 a, u64 b)
{
    return a / b + (a % b != 0);
}

#endif
