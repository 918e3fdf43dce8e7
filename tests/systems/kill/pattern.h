/* SPDX-License-Identifier: MIT
 *
 * What the writer in the guest writes and the verifier on the host expects: a sequence of writes
 * that a seed decides, in which each sector carries its number, the number of the write, and a
 * checksum over all of it.
 */
#ifndef ANELLO_TESTS_KILL_PATTERN_H
#define ANELLO_TESTS_KILL_PATTERN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SECTOR_BYTES 512
#define LONGEST      512 /* sectors of one write */
#define MAGIC        0x316c6c694b6f6e41ull

struct sector {
    uint64_t magic;
    uint64_t seed; /* of the round */
    uint64_t sequence;
    uint64_t number; /* of the sector */
    uint64_t filler[59];
    uint64_t checksum;
};
_Static_assert(sizeof(struct sector) == SECTOR_BYTES, "a sector");

/* One write: where, and whether the guest flushes after it. */
struct write {
    uint64_t first, count;
    bool flush;
};

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Write number `sequence`, from 1, of a disk with `sectors`. */
static inline struct write write_of(uint64_t seed, uint64_t sequence, uint64_t sectors)
{
    uint64_t a = mix(seed + sequence * 0x9e3779b97f4a7c15ull), b = mix(a), c = mix(b);
    uint64_t longest = a % 16 ? 16 : LONGEST;
    /* Half of the writes go to a sixteenth of the disk, so that they meet again. */
    uint64_t range = c % 2 ? sectors : sectors / 16;
    struct write w = {.first = b % range, .count = 1 + c / 2 % longest, .flush = a / 16 % 12 == 0};
    if (w.first + w.count > sectors)
        w.count = sectors - w.first;
    return w;
}

static inline uint64_t checksum_of(const struct sector *s)
{
    const uint64_t *words = (const uint64_t *)s;
    uint64_t sum = 0;
    for (unsigned i = 0; i < SECTOR_BYTES / 8 - 1; i++)
        sum = mix(sum ^ words[i]) + i;
    return sum;
}

static inline void fill_sector(struct sector *s, uint64_t seed, uint64_t sequence, uint64_t number)
{
    memset(s, 0, sizeof *s);
    s->magic = MAGIC;
    s->seed = seed;
    s->sequence = sequence;
    s->number = number;
    for (unsigned i = 0; i < sizeof s->filler / 8; i++)
        s->filler[i] = sequence * 0x0101010101010101ull + i;
    s->checksum = checksum_of(s);
}

#endif
