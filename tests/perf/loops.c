/* SPDX-License-Identifier: MIT
 *
 * The guest of interp_bench: bare 32-bit loops of the kinds that programs spend their time in. A
 * flat image at 1 MiB that begins with a table; the bench sets EIP to an entry and ESP to a stack,
 * and runs to the HLT.
 */
typedef unsigned char u8;
typedef unsigned int u32;

#define WORK ((u8 *)0x200000) /* a megabyte and more of scratch memory */

static void sieve(void)
{
    enum { SIZE = 1 << 20 };
    u8 *composite = WORK;
    for (u32 i = 0; i < SIZE; i++)
        composite[i] = 0;
    for (u32 i = 2; i * i < SIZE; i++) {
        if (composite[i])
            continue;
        for (u32 k = i * i; k < SIZE; k += i)
            composite[k] = 1;
    }
}

static void crc(void)
{
    u32 *table = (u32 *)WORK, value = ~0u;
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (u32 k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    for (u32 i = 0; i < 8000000; i++)
        value = table[(u8)(value ^ i)] ^ value >> 8;
    table[0] = value;
}

static int compare(const void *a, const void *b)
{
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return x < y ? -1 : x > y;
}

/* Through a pointer, as qsort() does. */
static void sort(void)
{
    static int (*volatile by)(const void *, const void *) = compare;
    u32 *v = (u32 *)WORK, n = 100000, seed = 1;
    for (u32 i = 0; i < n; i++)
        v[i] = seed = seed * 1664525 + 1013904223;
    for (u32 gap = n / 2; gap; gap = gap * 5 / 11) {
        for (u32 i = gap; i < n; i++) {
            u32 x = v[i], k = i;
            for (; k >= gap && by(&x, &v[k - gap]) < 0; k -= gap)
                v[k] = v[k - gap];
            v[k] = x;
        }
    }
}

static void matrix(void)
{
    enum { N = 128 };
    u32(*a)[N] = (void *)WORK, (*b)[N] = (void *)(WORK + 0x20000),
    (*c)[N] = (void *)(WORK + 0x40000);
    for (u32 repeat = 0; repeat < 8; repeat++) {
        for (u32 i = 0; i < N; i++) {
            for (u32 k = 0; k < N; k++) {
                u32 sum = repeat;
                for (u32 n = 0; n < N; n++)
                    sum += a[i][n] * b[n][k];
                c[i][k] = sum;
            }
        }
    }
}

static __attribute__((noinline)) u32 fibonacci(u32 n)
{
    __asm__ volatile("");
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static void calls(void)
{
    *(volatile u32 *)WORK = fibonacci(32);
}

/* Rotations, adds and xors on registers: a hash. */
static void hash(void)
{
    u32 a = 1, b = 2, c = 3, d = 4;
    for (u32 i = 0; i < 6000000; i++) {
        a += b ^ i;
        d = (d ^ a) << 16 | (d ^ a) >> 16;
        c += d;
        b = (b ^ c) << 12 | (b ^ c) >> 20;
        a += b;
        d = (d ^ a) << 8 | (d ^ a) >> 24;
    }
    *(volatile u32 *)WORK = a + b + c + d;
}

/* A byte-code machine: one indirect jump for each operation. */
static void machine(void)
{
    static const u8 program[] = {0, 1, 2, 1, 3, 0, 4, 1, 0, 2, 3, 1, 4, 0, 5};
    u32 x = 1, y = 2, n = 0, pc = 0;
    for (;;) {
        switch (program[pc++]) {
        case 0: x += y; break;
        case 1: y ^= x >> 3; break;
        case 2: x -= 7; break;
        case 3: y += 0x9e37; break;
        case 4: x = x << 5 | x >> 27; break;
        default:
            pc = 0;
            if (++n == 700000) {
                *(volatile u32 *)WORK = x + y;
                return;
            }
        }
    }
}

static void strings(void)
{
    u8 *text = WORK;
    for (u32 i = 0; i < 0x40000; i++)
        text[i] = (u8)(i * 7 % 61 + ' ');
    volatile u32 found = 0;
    for (u32 repeat = 0; repeat < 20; repeat++) {
        u32 words = 0;
        for (const u8 *p = text; p < text + 0x40000; p++) {
            if (*p == ' ' || *p == ',' || *p == ';')
                words++;
        }
        found += words;
    }
}

/* A long number times a word, added to another: what printf() of a floating-point number does. */
static void bignum(void)
{
    enum { WORDS = 512 };
    u32 *to = (u32 *)WORK, *from = to + WORDS;
    for (u32 i = 0; i < WORDS; i++)
        from[i] = i * 0x9e3779b9;
    for (u32 factor = 1; factor < 6000; factor++) {
        u32 carry = 0;
        for (u32 i = 0; i < WORDS; i++) {
            unsigned long long sum = (unsigned long long)from[i] * (factor << 12) + to[i] + carry;
            to[i] = (u32)sum;
            carry = (u32)(sum >> 32);
        }
    }
}

#define ENTRY(name) "call " #name "\n\thlt\n\t.balign 16\n\t"
__asm__(".section .entry, \"ax\"\n\t.globl entry\nentry:\n\t" ENTRY(sieve) ENTRY(crc) ENTRY(sort)
            ENTRY(matrix) ENTRY(calls) ENTRY(hash) ENTRY(machine) ENTRY(strings)
                ENTRY(bignum) ".text");

/* Keeps the compiler from dropping what only the table above refers to. */
void (*const entries[])(void)
    __attribute__((used)) = {sieve, crc, sort, matrix, calls, hash, machine, strings, bignum};
