/* SPDX-License-Identifier: MIT
 *
 * Data processing as programs do it: sorting, hashing, checksums, compression, matrices.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static void fill_random(uint32_t *words, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = next_random(&seed);
    }
}

static int compare_words(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* qsort: a call through a pointer for each comparison. */
static uint64_t sort_library(unsigned scale)
{
    enum { COUNT = 100000 };
    uint32_t *words = must_malloc(COUNT * sizeof(*words));
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(22, scale); round++) {
        fill_random(words, COUNT, round + 1);
        qsort(words, COUNT, sizeof(*words), compare_words);
        sum = fold(sum, words[COUNT / 2]);
    }
    return sum;
}

static void sift_down(uint32_t *heap, uint32_t root, uint32_t end)
{
    uint32_t value = heap[root];
    for (uint32_t child = 2 * root + 1; child < end; child = 2 * root + 1) {
        if (child + 1 < end && heap[child + 1] > heap[child]) {
            child++;
        }
        if (heap[child] <= value) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = value;
}

static uint64_t sort_heap(unsigned scale)
{
    enum { COUNT = 100000 };
    uint32_t *heap = must_malloc(COUNT * sizeof(*heap));
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(26, scale); round++) {
        fill_random(heap, COUNT, round + 7);
        for (uint32_t root = COUNT / 2; root-- > 0;) {
            sift_down(heap, root, COUNT);
        }
        for (uint32_t end = COUNT - 1; end > 0; end--) {
            uint32_t largest = heap[0];
            heap[0] = heap[end];
            heap[end] = largest;
            sift_down(heap, 0, end);
        }
        sum = fold(sum, heap[COUNT / 3]);
    }
    return sum;
}

static uint64_t crc32(unsigned scale)
{
    enum { SIZE = 1 << 20 };
    static const uint32_t polynomial = 0xedb88320; /* IEEE 802.3, bits reversed */
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = (c & 1) ? c >> 1 ^ polynomial : c >> 1;
        }
        table[i] = c;
    }
    uint8_t *bytes = must_malloc(SIZE);
    fill_random((uint32_t *)bytes, SIZE / 4, 5);
    uint32_t crc = ~0u;
    for (uint32_t round = 0; round < scaled(90, scale); round++) {
        for (uint32_t i = 0; i < SIZE; i++) {
            crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
        }
    }
    return ~crc;
}

static inline uint32_t rotate_right(uint32_t v, unsigned by)
{
    return v >> by | v << (32 - by);
}

/* FIPS 180-4's compression function with its constants computed: the fractional parts of roots
 * of primes are replaced by pseudo-random words, which costs the same and needs no table here. */
static void compress(uint32_t state[8], const uint32_t block[16], const uint32_t k[64])
{
    uint32_t w[64];
    memcpy(w, block, 16 * sizeof(w[0]));
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i];
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

static uint64_t hash(unsigned scale)
{
    uint32_t k[64];
    uint32_t state[8];
    uint32_t block[16];
    fill_random(k, 64, 256);
    fill_random(state, 8, 180);
    fill_random(block, 16, 4);
    for (uint32_t i = 0; i < scaled(800000, scale); i++) {
        block[i % 16] += i;
        compress(state, block, k);
    }
    return (uint64_t)state[0] << 32 | state[7];
}

/* A chained hash table of words: allocation-free, but pointer-rich. */
static uint64_t hash_table(unsigned scale)
{
    enum { BUCKETS = 1 << 14, NODES = 1 << 16, NONE = -1 };
    struct node {
        uint32_t key;
        int32_t next;
        uint32_t count;
    };
    struct node *nodes = must_malloc(NODES * sizeof(*nodes));
    int32_t *buckets = must_malloc(BUCKETS * sizeof(*buckets));
    uint32_t state = 2024;
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(20, scale); round++) {
        uint32_t used = 0;
        memset(buckets, 0xff, BUCKETS * sizeof(*buckets));
        for (uint32_t i = 0; i < 200000; i++) {
            uint32_t key = next_random(&state) % NODES;
            int32_t *bucket = &buckets[(key * 2654435761u) % BUCKETS];
            int32_t at = *bucket;
            while (at != NONE && nodes[at].key != key) {
                at = nodes[at].next;
            }
            if (at == NONE) {
                at = (int32_t)used++;
                nodes[at] = (struct node){.key = key, .next = *bucket};
                *bucket = at;
            }
            sum += ++nodes[at].count;
        }
        sum = fold(sum, used);
    }
    return sum;
}

/* A toy LZ77: finds matches by a hash of three bytes. Returns the number of tokens. */
static uint32_t lz_tokens(const uint8_t *in, uint32_t size, int32_t *last)
{
    enum { HASH = 1 << 13, LONGEST = 64 };
    uint32_t tokens = 0;
    memset(last, 0xff, HASH * sizeof(*last));
    for (uint32_t at = 0; at + 3 < size;) {
        uint32_t slot = (in[at] | in[at + 1] << 8 | in[at + 2] << 16) * 2654435761u % HASH;
        int32_t match = last[slot];
        uint32_t length = 0;
        last[slot] = (int32_t)at;
        if (match >= 0) {
            while (length < LONGEST && at + length < size &&
                   in[match + length] == in[at + length]) {
                length++;
            }
        }
        at += length >= 3 ? length : 1;
        tokens++;
    }
    return tokens;
}

static uint64_t lz(unsigned scale)
{
    enum { SIZE = 1 << 18, HASH = 1 << 13 };
    uint8_t *text = must_malloc(SIZE);
    int32_t *last = must_malloc(HASH * sizeof(*last));
    uint32_t state = 8;
    for (uint32_t i = 0; i < SIZE; i++) {
        uint32_t r = next_random(&state);
        text[i] = i > 400 && r % 8 ? text[i - 17 - r % 7 * 50] : (uint8_t)('a' + r % 26);
    }
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(130, scale); round++) {
        text[round] ^= 1;
        sum = fold(sum, lz_tokens(text, SIZE, last));
    }
    return sum;
}

static uint64_t matrix(unsigned scale)
{
    enum { N = 128 };
    int32_t *a = must_malloc(N * N * sizeof(*a));
    int32_t *b = must_malloc(N * N * sizeof(*b));
    int32_t *c = must_malloc(N * N * sizeof(*c));
    fill_random((uint32_t *)a, N * N, 1);
    fill_random((uint32_t *)b, N * N, 2);
    for (uint32_t round = 0; round < scaled(100, scale); round++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++) {
                int32_t dot = 0;
                for (int k = 0; k < N; k++) {
                    dot =
                        (int32_t)((uint32_t)dot + (uint32_t)a[i * N + k] * (uint32_t)b[k * N + j]);
                }
                c[i * N + j] = dot;
            }
        }
        a[round % (N * N)] = c[round * 31 % (N * N)];
    }
    uint64_t sum = 0;
    for (int i = 0; i < N * N; i++) {
        sum = fold(sum, (uint32_t)c[i]);
    }
    return sum;
}

const struct workload data_workloads[] = {
    {"data-qsort", sort_library}, {"data-heapsort", sort_heap},
    {"data-crc32", crc32},        {"data-hash", hash},
    {"data-table", hash_table},   {"data-lz", lz},
    {"data-matrix", matrix},      {NULL, NULL},
};
