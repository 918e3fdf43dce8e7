/* SPDX-License-Identifier: MIT
 *
 * Integer work that stays in registers and small tables: sieving, 64-bit arithmetic pieced together
 * from 32-bit halves (ADC, MUL, DIV), bit tricks and fixed point.
 */
#include "bench.h"

#include <string.h>

static uint64_t sieve(unsigned scale)
{
    enum { LIMIT = 1 << 18 };
    static const uint32_t full_rounds = 220;
    uint8_t *composite = must_malloc(LIMIT);
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(full_rounds, scale); round++) {
        memset(composite, 0, LIMIT);
        uint32_t primes = 0;
        for (uint32_t i = 2; i < LIMIT; i++) {
            if (composite[i]) {
                continue;
            }
            primes++;
            for (uint32_t j = 2 * i; j < LIMIT; j += i) {
                composite[j] = 1;
            }
        }
        sum = fold(sum, primes);
    }
    return sum;
}

/* Lengths of Collatz chains: unpredictable short loops over 64-bit numbers. */
static uint64_t collatz(unsigned scale)
{
    uint32_t limit = scaled(500000, scale);
    uint64_t sum = 0;
    for (uint32_t start = 1; start < limit; start++) {
        uint64_t n = start;
        uint32_t steps = 0;
        while (n != 1) {
            n = (n & 1) ? 3 * n + 1 : n / 2;
            steps++;
        }
        sum += steps;
    }
    return sum;
}

static uint32_t power_mod(uint32_t base, uint32_t exponent, uint32_t modulus)
{
    uint64_t result = 1;
    uint64_t square = base % modulus;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) {
            result = result * square % modulus;
        }
        square = square * square % modulus;
    }
    return (uint32_t)result;
}

/* Fermat tests: MUL, DIV and the compiler's 64-bit division helper. */
static uint64_t modpow(unsigned scale)
{
    uint32_t state = 12345;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < scaled(230000, scale); i++) {
        uint32_t n = next_random(&state) >> 2 | 1;
        sum = fold(sum, power_mod(2, n - 1, n));
    }
    return sum;
}

/* Factorials in base 2^32: long chains of MUL and ADC. */
static uint64_t bignum(unsigned scale)
{
    enum { DIGITS = 2048 };
    uint32_t *number = must_malloc(DIGITS * sizeof(*number));
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(30, scale); round++) {
        uint32_t length = 1;
        number[0] = 1;
        for (uint32_t factor = 2; factor < 5000 && length < DIGITS; factor++) {
            uint32_t carry = 0;
            for (uint32_t i = 0; i < length; i++) {
                uint64_t product = (uint64_t)number[i] * factor + carry;
                number[i] = (uint32_t)product;
                carry = (uint32_t)(product >> 32);
            }
            if (carry) {
                number[length++] = carry;
            }
        }
        for (uint32_t i = 0; i < length; i++) {
            sum = fold(sum, number[i]);
        }
    }
    return sum;
}

static uint32_t place_queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
    if (columns == all) {
        return 1;
    }
    uint32_t solutions = 0;
    uint32_t free = all & ~(columns | left | right);
    while (free) {
        uint32_t bit = free & -free;
        free ^= bit;
        solutions += place_queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return solutions;
}

static uint64_t queens(unsigned scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(96, scale); round++) {
        sum = fold(sum, place_queens((1u << 11) - 1, 0, 0, 0));
    }
    return sum;
}

/* The Mandelbrot set in 4.28 fixed point: IMUL of 64 bits and shifts across halves. */
static uint64_t mandelbrot(unsigned scale)
{
    enum { ONE = 1 << 28, SIDE = 200, LIMIT = 96 };
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(14, scale); round++) {
        for (int32_t y = 0; y < SIDE; y++) {
            for (int32_t x = 0; x < SIDE; x++) {
                int32_t cr = (x - 140) * (ONE / 70);
                int32_t ci = (y - 100) * (ONE / 80);
                int64_t zr = 0;
                int64_t zi = 0;
                uint32_t n = 0;
                for (; n < LIMIT; n++) {
                    int64_t rr = zr * zr >> 28;
                    int64_t ii = zi * zi >> 28;
                    if (rr + ii > 4LL * ONE) {
                        break;
                    }
                    zi = (zr * zi >> 27) + ci;
                    zr = rr - ii + cr;
                }
                sum += n;
            }
        }
        sum = fold(sum, round);
    }
    return sum;
}

/* Bit reversal, rotation and counting without a single memory access. */
static uint64_t bits(unsigned scale)
{
    uint32_t state = 99;
    uint32_t mix = 0;
    for (uint32_t i = 0; i < scaled(30000000, scale); i++) {
        uint32_t v = next_random(&state);
        v = (v >> 1 & 0x55555555) | (v & 0x55555555) << 1;
        v = (v >> 2 & 0x33333333) | (v & 0x33333333) << 2;
        v = (v >> 4 & 0x0f0f0f0f) | (v & 0x0f0f0f0f) << 4;
        mix = (mix << 5 | mix >> 27) + v;
    }
    return mix;
}

const struct workload int_workloads[] = {
    {"int-sieve", sieve},           {"int-collatz", collatz},
    {"int-modpow", modpow},         {"int-bignum", bignum},
    {"int-queens", queens},         {"int-bits", bits},
    {"int-mandelbrot", mandelbrot}, {NULL, NULL},
};
