/* SPDX-License-Identifier: MIT
 *
 * The init of a guest that measures its disk: each pattern of accesses runs for a while around the
 * page cache (O_DIRECT), and its rate is told over the serial line:
 *
 *   SPEED START
 *   SPEED name bytes nanoseconds
 *   SPEED DONE
 *
 * Kernel parameters: speed.disk=, speed.modules= (tests/systems/guest_init.h), speed.ms=N for each
 * pattern, speed.only=TEXT: patterns with this in their name. Places of random accesses come from a
 * fixed sequence.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#define GUEST_NAME "SPEED"
#include "../systems/guest_init.h"

#define SMALL 4096u
#define LARGE (1u << 20)

struct pattern {
    const char *name;
    size_t bytes; /* of an access */
    bool random, write, flush;
    unsigned workers;
};

// clang-format off
static const struct pattern patterns[] = {
    {"read-seq-1M",         LARGE, false, false, false, 1},
    {"read-seq-4K",         SMALL, false, false, false, 1},
    {"read-random-1M",      LARGE, true,  false, false, 1},
    {"read-random-4K",      SMALL, true,  false, false, 1},
    {"read-random-4K-x8",   SMALL, true,  false, false, 8},
    {"write-seq-1M",        LARGE, false, true,  false, 1},
    {"write-seq-4K",        SMALL, false, true,  false, 1},
    {"write-random-1M",     LARGE, true,  true,  false, 1},
    {"write-random-4K",     SMALL, true,  true,  false, 1},
    {"write-random-4K-x8",  SMALL, true,  true,  false, 8},
    {"write-seq-1M-flush",  LARGE, false, true,  true,  1},
    {"write-seq-4K-flush",  SMALL, false, true,  true,  1},
    {"write-random-1M-flush", LARGE, true, true, true,  1},
    {"write-random-4K-flush", SMALL, true, true, true,  1},
};
// clang-format on

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Runs the pattern until `end`; the bytes that it has moved. */
static uint64_t work(const struct pattern *p, int disk, uint64_t size, uint64_t end,
                     unsigned worker)
{
    uint8_t *data = aligned_alloc(SMALL, LARGE);
    uint64_t places = size / p->bytes, state = worker + 1, moved = 0;
    uint64_t place = places / p->workers * worker;
    memset(data, 0x5a, LARGE);
    while (now_ns() < end) {
        off_t at =
            (off_t)((p->random ? next_random(&state) % places : place++ % places) * p->bytes);
        ssize_t n = p->write ? pwrite(disk, data, p->bytes, at) : pread(disk, data, p->bytes, at);
        if (n != (ssize_t)p->bytes || (p->flush && fdatasync(disk)))
            fail(p->name);
        moved += p->bytes;
    }
    free(data);
    return moved;
}

/* The workers but the first are processes, which report by a pipe. */
static uint64_t run(const struct pattern *p, int disk, uint64_t size, uint64_t end)
{
    int ends[2];
    if (pipe(ends))
        fail("pipe");
    for (unsigned i = 1; i < p->workers; i++) {
        if (fork())
            continue;
        uint64_t moved = work(p, disk, size, end, i);
        _exit(write(ends[1], &moved, sizeof moved) != sizeof moved);
    }
    uint64_t sum = work(p, disk, size, end, 0), moved;
    for (unsigned i = 1; i < p->workers; i++) {
        if (read(ends[0], &moved, sizeof moved) != sizeof moved)
            fail("worker");
        sum += moved;
        wait(NULL);
    }
    close(ends[0]);
    close(ends[1]);
    return sum;
}

int main(void)
{
    prepare();
    const char *line = command_line();
    load_modules(parameter(line, "speed.modules="));
    int disk = open_disk(parameter(line, "speed.disk="), O_DIRECT);
    uint64_t size = disk_bytes(disk);
    uint64_t ns = strtoull(parameter(line, "speed.ms="), NULL, 10) * 1000000u;
    const char *only = parameter(line, "speed.only=");
    printf("SPEED START\n");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const struct pattern *p = &patterns[i];
        if (!strstr(p->name, only))
            continue;
        uint64_t start = now_ns();
        uint64_t moved = run(p, disk, size, start + ns);
        printf("SPEED %s %llu %llu\n", p->name, (unsigned long long)moved,
               (unsigned long long)(now_ns() - start));
        if (fdatasync(disk))
            fail("fdatasync");
    }
    printf("SPEED DONE\n");
    power_off();
}
