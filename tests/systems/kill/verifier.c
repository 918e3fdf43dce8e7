/* SPDX-License-Identifier: MIT
 *
 * usage: verifier BEFORE AFTER SEED FLUSHED
 *
 * The raw disk before a round of the kill test, the one after the kill, the round's seed, and the
 * last write that the guest was told is stable. Every sector must hold the last flushed write to
 * it, or a later one; where no flushed write went, what was there before will do too.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"

#define COMPLAINTS 10

static const struct sector *map(const char *path, uint64_t *sectors)
{
    struct stat st;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &st)) {
        perror(path);
        exit(2);
    }
    *sectors = (uint64_t)st.st_size / SECTOR_BYTES;
    const void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(file);
    return data;
}

/* True when the sector is what its own numbers say, and that write did go there. */
static bool is_genuine(const struct sector *s, uint64_t seed, uint64_t number, uint64_t sectors)
{
    if (s->magic != MAGIC || s->seed != seed || s->number != number ||
        s->checksum != checksum_of(s))
        return false;
    struct write w = write_of(seed, s->sequence, sectors);
    return number >= w.first && number - w.first < w.count;
}

int main(int argc, char **argv)
{
    uint64_t sectors, after_sectors, lost = 0, newer = 0, stable = 0;
    if (argc != 5) {
        fputs("usage: verifier BEFORE AFTER SEED FLUSHED\n", stderr);
        return 2;
    }
    const struct sector *before = map(argv[1], &sectors), *after = map(argv[2], &after_sectors);
    uint64_t seed = strtoull(argv[3], NULL, 10), flushed = strtoull(argv[4], NULL, 10);
    uint64_t *last = calloc(sectors, sizeof *last);
    if (!last || sectors != after_sectors)
        return 2;
    for (uint64_t i = 1; i <= flushed; i++) {
        struct write w = write_of(seed, i, sectors);
        for (uint64_t s = w.first; s < w.first + w.count; s++)
            last[s] = i;
    }
    for (uint64_t s = 0; s < sectors; s++) {
        bool genuine = is_genuine(&after[s], seed, s, sectors);
        bool good = genuine ? after[s].sequence >= last[s]
                            : !last[s] && !memcmp(&after[s], &before[s], SECTOR_BYTES);
        stable += last[s] != 0;
        newer += genuine && after[s].sequence > flushed;
        lost += !good;
        if (!good && lost <= COMPLAINTS)
            printf("sector %" PRIu64 ": write %" PRIu64 " was flushed, found %s %" PRIu64 "\n", s,
                   last[s], genuine ? "write" : "something else", genuine ? after[s].sequence : 0);
    }
    printf("%" PRIu64 " lost of %" PRIu64 " flushed sectors; %" PRIu64 " hold later writes\n", lost,
           stable, newer);
    free(last);
    return lost != 0;
}
