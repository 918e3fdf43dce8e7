/* SPDX-License-Identifier: MIT
 *
 * Widths, bit fields, and loads and stores of unaligned little-endian values.
 * The host is x86-64, so "little-endian" and "host order" are the same thing here.
 */
#ifndef ANELLO_BASE_BITS_H
#define ANELLO_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

#define LIKELY(x)                      __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                    __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)                   (sizeof(a) / sizeof((a)[0]))
#define NORETURN                       __attribute__((noreturn))
#define ALWAYS_INLINE                  static inline __attribute__((always_inline))
#define PRINTF_LIKE(fmt, args)         __attribute__((format(printf, fmt, args)))
#define CONTAINER_OF(ptr, type, field) ((type *)((char *)(ptr)-offsetof(type, field)))

#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)

#define PAGE_SHIFT       12
#define PAGE_BYTES       ((u64)1 << PAGE_SHIFT)
#define PAGE_OFFSET_MASK (PAGE_BYTES - 1)

/* The single bit n (0..63). */
static inline u64 bit64(unsigned n)
{
    return (u64)1 << n;
}

/* Bits lo..hi of v, both inclusive, moved down to bit 0. */
static inline u64 bits64(u64 v, unsigned hi, unsigned lo)
{
    return (v >> lo) & (hi - lo == 63 ? ~(u64)0 : ((u64)1 << (hi - lo + 1)) - 1);
}

/* All ones in the low n bits, 0 <= n <= 64. */
static inline u64 mask64(unsigned n)
{
    return n >= 64 ? ~(u64)0 : ((u64)1 << n) - 1;
}

/* The low `bits` (1..64) of v, sign-extended. */
static inline i64 sext64(u64 v, unsigned bits)
{
    return (i64)(v << (64 - bits)) >> (64 - bits);
}

static inline u64 align_down(u64 v, u64 a)
{
    return v & ~(a - 1);
}

static inline u64 align_up(u64 v, u64 a)
{
    return (v + a - 1) & ~(a - 1);
}

static inline u16 load16(const void *p)
{
    u16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline u32 load32(const void *p)
{
    u32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline u64 load64(const void *p)
{
    u64 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store16(void *p, u16 v)
{
    memcpy(p, &v, sizeof v);
}

static inline void store32(void *p, u32 v)
{
    memcpy(p, &v, sizeof v);
}

static inline void store64(void *p, u64 v)
{
    memcpy(p, &v, sizeof v);
}

/* Loads `size` (1, 2, 4 or 8) bytes, zero-extended. */
static inline u64 load_sized(const void *p, unsigned size)
{
    u64 v = 0;
    memcpy(&v, p, size);
    return v;
}

/* Stores the low `size` (1, 2, 4 or 8) bytes of v. */
static inline void store_sized(void *p, u64 v, unsigned size)
{
    memcpy(p, &v, size);
}

#endif
