/* SPDX-License-Identifier: MIT
 *
 * The init of the guest: loads the drivers of its disks, one after the other so that their names
 * are known, then writes and flushes for ever, each disk by a process of its own, and says over the
 * serial line how far it has flushed:
 *
 *   FLUSHED d n     every write to disk d up to number n is stable
 *
 * Kernel parameters: kill.seed=N (of disk d: N + d), kill.disks=N, and for each disk
 * kill0.disk=/dev/sda, kill0.modules=a,b,c (files of /modules, in this order).
 */
#define _GNU_SOURCE
#include <stdint.h>

#define GUEST_NAME "WRITER"
#include "../guest_init.h"
#include "pattern.h"

#define DISKS_MAX 4

/* Half of the runs of writes go around the page cache: these reach the disk in their order and
 * size, the others when and how the kernel likes. */
static void write_for_ever(unsigned d, uint64_t seed, int buffered, int direct, uint64_t sectors)
{
    struct sector *data = aligned_alloc(4096, LONGEST * SECTOR_BYTES);
    int disk = buffered;
    for (uint64_t sequence = 1;; sequence++) {
        struct write w = write_of(seed, sequence, sectors);
        for (uint64_t i = 0; i < w.count; i++)
            fill_sector(&data[i], seed, sequence, w.first + i);
        size_t bytes = w.count * SECTOR_BYTES;
        if (pwrite(disk, data, bytes, (off_t)(w.first * SECTOR_BYTES)) != (ssize_t)bytes)
            fail("pwrite");
        if (!w.flush)
            continue;
        if (fdatasync(disk))
            fail("fdatasync");
        printf("FLUSHED %u %llu\n", d, (unsigned long long)sequence);
        disk = mix(seed ^ sequence) & 1 ? direct : buffered;
    }
}

static char *disk_parameter(const char *line, unsigned d, const char *what)
{
    char name[32];
    snprintf(name, sizeof name, "kill%u.%s=", d, what);
    return parameter(line, name);
}

int main(void)
{
    prepare();
    const char *line = command_line();
    unsigned disks = (unsigned)strtoul(parameter(line, "kill.disks="), NULL, 10);
    uint64_t seed = strtoull(parameter(line, "kill.seed="), NULL, 10);
    const char *paths[DISKS_MAX];
    for (unsigned d = 0; d < disks && d < DISKS_MAX; d++) {
        load_modules(disk_parameter(line, d, "modules"));
        paths[d] = disk_parameter(line, d, "disk");
        close(open_disk(paths[d], 0));
    }
    printf("WRITER STARTS\n");
    for (unsigned d = 0; d < disks && d < DISKS_MAX; d++) {
        if (d + 1 < disks && fork())
            continue;
        int buffered = open_disk(paths[d], 0), direct = open_disk(paths[d], O_DIRECT);
        write_for_ever(d, seed + d, buffered, direct, disk_bytes(buffered) / SECTOR_BYTES);
    }
}
