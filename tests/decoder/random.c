/* SPDX-License-Identifier: MIT
 *
 * Random byte strings: compare_random [count [seed]]
 */
#include <stdlib.h>

#include "compare.h"

struct random {
    u64 state;
};

/* xorshift64* */
static u64 random_next(struct random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1d;
}

/* Purely random bytes would seldom reach the longer opcodes: of two strings one begins with up to
 * three prefixes, and of two one goes on with an escape. */
static void random_bytes(struct random *r, u8 *bytes)
{
    static const u8 prefix[] = {0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36,
                                0x3e, 0x26, 0x64, 0x65, 0x48, 0x41, 0x44, 0x4f};
    static const u8 escape[][2] = {{0x0f, 0}, {0x0f, 0},    {0x0f, 0x38}, {0x0f, 0x3a},
                                   {0xc5, 0}, {0xc4, 0xe1}, {0xc4, 0xe2}, {0xc4, 0xe3}};
    for (unsigned i = 0; i < 16; i += 8)
        store64(bytes + i, random_next(r));
    u64 choice = random_next(r);
    unsigned at = 0;
    if (choice & 1) {
        for (unsigned n = choice >> 1 & 3; n; n--, choice >>= 4)
            bytes[at++] = prefix[choice >> 8 & 15];
    }
    choice = random_next(r);
    if (choice & 1) {
        const u8 *e = escape[choice >> 1 & 7];
        bytes[at++] = e[0];
        if (e[1])
            bytes[at] = e[1];
    }
}

int main(int argc, char **argv)
{
    u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : 3000000;
    struct random r = {argc > 2 ? strtoull(argv[2], NULL, 0) : 1};
    struct compare c;
    u8 bytes[16];

    compare_open(&c);
    for (u64 i = 0; i < count; i++) {
        random_bytes(&r, bytes);
        compare_bytes(&c, bytes, INSN_MAX_BYTES, 16u << i % 3);
    }
    int status = compare_report(&c);
    compare_close(&c);
    return status;
}
