/* SPDX-License-Identifier: MIT */
#include "program.h"

/* splitmix64 (Steele, Lea, Flood 2014): any seed is as good as any other. */
u64 rng_next(struct rng *r)
{
    u64 z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

bool rng_one_in(struct rng *r, unsigned n)
{
    return rng_below(r, n) == 0;
}

u32 rng_value(struct rng *r)
{
    static const u32 edges[] = {0,      1,      2,          0x7f,       0x80,      0xff,
                                0x7fff, 0x8000, 0xffff,     0x7fffffff, 1u << 31,  0xffffffff,
                                31,     32,     0x3f800000, 0xbf800000, 0x7f800000};
    switch (rng_below(r, 4)) {
    case 0: return RNG_PICK(r, edges);
    case 1: return RNG_PICK(r, edges) + rng_below(r, 5) - 2;
    case 2: return rng_below(r, 256);
    default: return (u32)rng_next(r);
    }
}
