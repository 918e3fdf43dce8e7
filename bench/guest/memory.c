/* SPDX-License-Identifier: MIT
 *
 * Memory in its typical patterns: streams, random accesses, dependent loads, block copies and the
 * string instructions, which x86 code uses for all of these.
 */
#include "bench.h"

#include <string.h>

enum { MIB = 1 << 20 };

static uint64_t stream(unsigned scale)
{
    enum { WORDS = MIB };
    uint32_t *a = must_malloc(WORDS * sizeof(*a));
    uint32_t *b = must_malloc(WORDS * sizeof(*b));
    uint32_t *c = must_malloc(WORDS * sizeof(*c));
    for (uint32_t i = 0; i < WORDS; i++) {
        a[i] = i;
        b[i] = i * 3;
    }
    for (uint32_t round = 0; round < scaled(260, scale); round++) {
        for (uint32_t i = 0; i < WORDS; i++) {
            c[i] = a[i] + 3 * b[i];
        }
        uint32_t *spare = a;
        a = c;
        c = spare;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORDS; i += 64) {
        sum = fold(sum, a[i]);
    }
    return sum;
}

/* Reads and writes at random over 32 MiB: caches and the TLB miss all the time. */
static uint64_t random_access(unsigned scale)
{
    enum { WORDS = 8 * MIB };
    uint32_t *table = must_malloc(WORDS * sizeof(*table));
    uint32_t state = 4711;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        table[i] = i;
    }
    for (uint32_t i = 0; i < scaled(12000000, scale); i++) {
        uint32_t at = next_random(&state) % WORDS;
        table[at] += i;
        sum += table[(at * 7) % WORDS];
    }
    return sum;
}

/* One load after the other along a ring that visits every element of 4 MiB in random order. */
static uint64_t chase(unsigned scale)
{
    enum { WORDS = MIB };
    uint32_t *next = must_malloc(WORDS * sizeof(*next));
    uint32_t state = 31337;
    for (uint32_t i = 0; i < WORDS; i++) {
        next[i] = i;
    }
    /* Sattolo's shuffle leaves a single cycle. */
    for (uint32_t i = WORDS - 1; i > 0; i--) {
        uint32_t j = next_random(&state) % i;
        uint32_t spare = next[i];
        next[i] = next[j];
        next[j] = spare;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < scaled(4000000, scale); i++) {
        at = next[at];
    }
    return at;
}

static void rep_movsd(void *to, const void *from, uint32_t words)
{
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static void rep_stosb(void *to, uint8_t value, uint32_t bytes)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

static uint32_t repne_scasb(const void *at, uint8_t value, uint32_t bytes)
{
    uint32_t left = bytes;
    __asm__ volatile("repne scasb" : "+D"(at), "+c"(left) : "a"(value) : "memory", "cc");
    return bytes - left;
}

static uint64_t block_copy(unsigned scale)
{
    uint8_t *from = must_malloc(2 * MIB);
    uint8_t *to = must_malloc(2 * MIB);
    uint64_t sum = 0;
    memset(from, 1, 2 * MIB);
    for (uint32_t round = 0; round < scaled(700, scale); round++) {
        from[round] ^= (uint8_t)round;
        rep_movsd(to, from, 2 * MIB / 4);
        sum = fold(sum, to[round]);
    }
    return sum;
}

/* Many short string instructions: what they cost to start, not what they move. */
static uint64_t short_strings(unsigned scale)
{
    uint8_t buffer[256];
    uint8_t copy[256];
    uint32_t state = 77;
    uint64_t sum = 0;
    rep_stosb(copy, 0, sizeof(copy));
    for (uint32_t i = 0; i < scaled(900000, scale); i++) {
        uint32_t length = 4 + next_random(&state) % 200;
        rep_stosb(buffer, (uint8_t)(i | 1), length);
        buffer[length - 1] = 0;
        rep_movsd(copy, buffer, length / 4);
        sum += repne_scasb(buffer, 0, length) + copy[length / 8];
    }
    return sum;
}

/* The C library's strings, as ordinary programs use them. */
static uint64_t library_strings(unsigned scale)
{
    static const char *const words[] = {"alpha", "beta", "gamma", "a rather long word", "d", ""};
    char line[256];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < scaled(1600000, scale); i++) {
        line[0] = '\0';
        for (uint32_t j = 0; j < 5; j++) {
            strcat(line, words[(i + j * j) % 6]);
        }
        const char *found = strstr(line, "mad");
        sum += strlen(line) + (found ? (uint32_t)(found - line) : 3);
    }
    return sum;
}

const struct workload memory_workloads[] = {
    {"memory-stream", stream},
    {"memory-random", random_access},
    {"memory-chase", chase},
    {"memory-copy", block_copy},
    {"memory-strings", short_strings},
    {"memory-libc", library_strings},
    {NULL, NULL},
};
