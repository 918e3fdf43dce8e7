/* SPDX-License-Identifier: MIT
 *
 * Floating point as 32-bit programs did it before SSE, and as i386 distributions still do: on the
 * x87 stack. This file is compiled with -mfpmath=387; results are rounded before they enter a
 * checksum, because the engines to compare do not all compute the last bits of FSIN alike.
 */
#include "bench.h"

#include <math.h>
#include <string.h>

static int64_t rounded(double v)
{
    return (int64_t)(v * 65536.0);
}

static uint64_t matrix(unsigned scale)
{
    enum { N = 96 };
    double *a = must_malloc(N * N * sizeof(*a));
    double *b = must_malloc(N * N * sizeof(*b));
    double *c = must_malloc(N * N * sizeof(*c));
    for (int i = 0; i < N * N; i++) {
        a[i] = i % 17 * 0.25;
        b[i] = i % 23 * 0.5;
    }
    for (uint32_t round = 0; round < scaled(220, scale); round++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++) {
                double dot = 0;
                for (int k = 0; k < N; k++) {
                    dot += a[i * N + k] * b[k * N + j];
                }
                c[i * N + j] = dot;
            }
        }
        a[round % (N * N)] = c[round % (N * N)] / 4096;
    }
    uint64_t sum = 0;
    for (int i = 0; i < N * N; i++) {
        sum = fold(sum, (uint64_t)rounded(c[i]));
    }
    return sum;
}

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static void attract(struct body *bodies, int count, double dt)
{
    for (int i = 0; i < count; i++) {
        for (int j = i + 1; j < count; j++) {
            struct body *a = &bodies[i];
            struct body *b = &bodies[j];
            double dx = a->x - b->x;
            double dy = a->y - b->y;
            double dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double pull = dt / (square * sqrt(square));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < count; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

static uint64_t planets(unsigned scale)
{
    enum { BODIES = 8 };
    struct body bodies[BODIES];
    for (int i = 0; i < BODIES; i++) {
        bodies[i] = (struct body){.x = i, .y = i * i % 5, .z = i % 3, .mass = 1 + i % 4};
    }
    for (uint32_t step = 0; step < scaled(600000, scale); step++) {
        attract(bodies, BODIES, 0.0001);
    }
    uint64_t sum = 0;
    for (int i = 0; i < BODIES; i++) {
        sum = fold(sum, (uint64_t)(int64_t)(bodies[i].x * 256));
    }
    return sum;
}

static uint64_t mandelbrot(unsigned scale)
{
    enum { SIDE = 160, LIMIT = 128 };
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(56, scale); round++) {
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                double cr = (x - 110) / 55.0;
                double ci = (y - 80) / 64.0;
                double zr = 0;
                double zi = 0;
                uint32_t n = 0;
                while (n < LIMIT && zr * zr + zi * zi <= 4) {
                    double t = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = t;
                    n++;
                }
                sum += n;
            }
        }
        sum = fold(sum, round);
    }
    return sum;
}

static inline double x87_sin(double v)
{
    __asm__("fsin" : "+t"(v));
    return v;
}

static inline double x87_cos(double v)
{
    __asm__("fcos" : "+t"(v));
    return v;
}

static inline double x87_atan(double y, double x)
{
    double result;
    __asm__("fpatan" : "=t"(result) : "0"(x), "u"(y) : "st(1)");
    return result;
}

static inline double x87_log2(double v)
{
    double result;
    __asm__("fyl2x" : "=t"(result) : "0"(v), "u"(1.0) : "st(1)");
    return result;
}

static uint64_t transcendental(unsigned scale)
{
    double total = 0;
    for (uint32_t i = 0; i < scaled(1600000, scale); i++) {
        double v = i % 1000 * 0.001 + 0.5;
        total += x87_sin(v) * x87_cos(v) + x87_atan(v, 2) + x87_log2(v);
    }
    return (uint64_t)(total * 16);
}

const struct workload x87_workloads[] = {
    {"x87-matrix", matrix},
    {"x87-planets", planets},
    {"x87-mandelbrot", mandelbrot},
    {"x87-functions", transcendental},
    {NULL, NULL},
};
