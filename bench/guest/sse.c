/* SPDX-License-Identifier: MIT
 *
 * SSE2: packed and scalar floating point, packed integers. Compiled with -msse2 -mfpmath=sse.
 */
#include "bench.h"

#include <emmintrin.h>

static uint64_t matrix(unsigned scale)
{
    enum { N = 128 };
    float *a = _mm_malloc(N * N * sizeof(*a), 16);
    float *b = _mm_malloc(N * N * sizeof(*b), 16);
    float *c = _mm_malloc(N * N * sizeof(*c), 16);
    for (int i = 0; i < N * N; i++) {
        a[i] = (float)(i % 13);
        b[i] = (float)(i % 7);
    }
    for (uint32_t round = 0; round < scaled(380, scale); round++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j += 4) {
                __m128 dot = _mm_setzero_ps();
                for (int k = 0; k < N; k++) {
                    __m128 row = _mm_set1_ps(a[i * N + k]);
                    dot = _mm_add_ps(dot, _mm_mul_ps(row, _mm_load_ps(&b[k * N + j])));
                }
                _mm_store_ps(&c[i * N + j], dot);
            }
        }
        a[round % (N * N)] = (float)((int)c[round % (N * N)] % 11);
    }
    uint64_t sum = 0;
    for (int i = 0; i < N * N; i++) {
        sum = fold(sum, (uint32_t)c[i]);
    }
    return sum;
}

/* Scalar double precision, as gcc makes it of ordinary C with -mfpmath=sse. */
static uint64_t scalar(unsigned scale)
{
    double total = 0;
    for (uint32_t i = 1; i < scaled(60000000, scale); i++) {
        double v = (double)(i & 1023);
        double root;
        __asm__("sqrtsd %1, %0" : "=x"(root) : "x"(v + 1.0));
        total += (v * 1.5 + root) / (v + 2.0);
    }
    return (uint64_t)(total * 64);
}

/* Blends two pictures with 8-bit weights: unpack, multiply, pack. */
static uint64_t blend(unsigned scale)
{
    enum { PIXELS = 1 << 18 };
    uint8_t *front = _mm_malloc(PIXELS, 16);
    uint8_t *back = _mm_malloc(PIXELS, 16);
    const __m128i zero = _mm_setzero_si128();
    uint64_t sum = 0;
    for (int i = 0; i < PIXELS; i++) {
        front[i] = (uint8_t)(i * 7);
        back[i] = (uint8_t)(i >> 5);
    }
    for (uint32_t round = 0; round < scaled(2200, scale); round++) {
        __m128i weight = _mm_set1_epi16((short)(round & 255));
        __m128i rest = _mm_sub_epi16(_mm_set1_epi16(255), weight);
        for (int i = 0; i < PIXELS; i += 16) {
            __m128i f = _mm_load_si128((const __m128i *)&front[i]);
            __m128i b = _mm_load_si128((const __m128i *)&back[i]);
            __m128i low = _mm_add_epi16(_mm_mullo_epi16(_mm_unpacklo_epi8(f, zero), weight),
                                        _mm_mullo_epi16(_mm_unpacklo_epi8(b, zero), rest));
            __m128i high = _mm_add_epi16(_mm_mullo_epi16(_mm_unpackhi_epi8(f, zero), weight),
                                         _mm_mullo_epi16(_mm_unpackhi_epi8(b, zero), rest));
            low = _mm_srli_epi16(low, 8);
            high = _mm_srli_epi16(high, 8);
            _mm_store_si128((__m128i *)&back[i], _mm_packus_epi16(low, high));
        }
        sum = fold(sum, back[round]);
    }
    return sum;
}

/* Sums of absolute differences and dot products, as in video coding; unaligned loads. */
static uint64_t motion(unsigned scale)
{
    enum { SIZE = 1 << 16 };
    uint8_t *picture = _mm_malloc(SIZE + 64, 16);
    uint32_t state = 55;
    uint64_t total = 0;
    for (int i = 0; i < SIZE + 64; i++) {
        picture[i] = (uint8_t)next_random(&state);
    }
    for (uint32_t round = 0; round < scaled(36000, scale); round++) {
        __m128i differences = _mm_setzero_si128();
        __m128i products = _mm_setzero_si128();
        const uint8_t *moved = picture + round % 61;
        for (int i = 0; i < SIZE; i += 16) {
            __m128i here = _mm_load_si128((const __m128i *)&picture[i]);
            __m128i there = _mm_loadu_si128((const __m128i *)&moved[i]);
            differences = _mm_add_epi64(differences, _mm_sad_epu8(here, there));
            products = _mm_add_epi32(products, _mm_madd_epi16(here, there));
        }
        total = fold(total, (uint32_t)_mm_cvtsi128_si32(differences));
        total = fold(total, (uint32_t)_mm_cvtsi128_si32(products));
    }
    return total;
}

const struct workload sse_workloads[] = {
    {"sse-matrix", matrix}, {"sse-scalar", scalar}, {"sse-blend", blend},
    {"sse-motion", motion}, {NULL, NULL},
};
