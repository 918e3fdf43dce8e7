/* SPDX-License-Identifier: MIT
 *
 * What a workload of the bench guest is.
 *
 * The bench guest is one static 32-bit Linux program that does about forty kinds of fixed work. The
 * same file runs natively on the host and inside a virtual machine, so a ratio of two of its
 * times says what virtualisation costs for that kind of work. Three rules make the ratio honest:
 *
 *  - The amount of work depends on the scale alone, never on the speed of the machine.
 *  - Every workload returns a checksum of what it computed. The native one and the guest's must
 *    agree, or the time is worth nothing.
 *  - Setting up inputs belongs to the work: nothing is measured that was not also computed.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum { SCALE_FULL = 100 };

struct workload {
    const char *name;                /* FAMILY-WHAT */
    uint64_t (*run)(unsigned scale); /* scale in percent of the full work; returns the checksum */
};

/* Each family's table ends with a row without a name. */
extern const struct workload int_workloads[];
extern const struct workload memory_workloads[];
extern const struct workload data_workloads[];
extern const struct workload branch_workloads[];
extern const struct workload x87_workloads[];
extern const struct workload sse_workloads[];
extern const struct workload jit_workloads[];
extern const struct workload os_workloads[];
extern const struct workload busybox_workloads[];

/* The given share of a full amount of work; never nothing. */
static inline uint32_t scaled(uint32_t full, unsigned scale)
{
    uint32_t part = (uint32_t)((uint64_t)full * scale / SCALE_FULL);
    return part ? part : 1;
}

/* Marsaglia's xorshift32: the same numbers everywhere, cheap next to any workload. */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* One step of the 64-bit FNV-1a hash: how results are folded into a checksum. */
static inline uint64_t fold(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x100000001b3ULL;
}

/* Ends the program with a message when a system call that must work did not. */
void must(int ok, const char *what);

/* Memory that must be had; not initialised. */
void *must_malloc(size_t size);

#endif
