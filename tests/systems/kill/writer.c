/* SPDX-License-Identifier: MIT
 *
 * The init of the guest: loads the disk's drivers, then writes and flushes for ever, and says over
 * the serial line how far it has flushed:
 *
 *   FLUSHED n     every write up to number n is on the disk
 *
 * Kernel parameters: kill.seed=N, kill.disk=/dev/sda, kill.modules=a,b,c (files of /modules, in
 * this order).
 */
#define _GNU_SOURCE
#include <stdint.h>

#define GUEST_NAME "WRITER"
#include "../guest_init.h"
#include "pattern.h"

/* Half of the runs of writes go around the page cache: these reach the disk in their order and
 * size, the others when and how the kernel likes. */
static void write_for_ever(uint64_t seed, int buffered, int direct, uint64_t sectors)
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
        printf("FLUSHED %llu\n", (unsigned long long)sequence);
        disk = mix(seed ^ sequence) & 1 ? direct : buffered;
    }
}

int main(void)
{
    prepare();
    const char *line = command_line();
    load_modules(parameter(line, "kill.modules="));
    const char *disk = parameter(line, "kill.disk=");
    int buffered = open_disk(disk, 0), direct = open_disk(disk, O_DIRECT);
    uint64_t sectors = disk_bytes(buffered) / SECTOR_BYTES;
    printf("WRITER STARTS\n");
    write_for_ever(strtoull(parameter(line, "kill.seed="), NULL, 10), buffered, direct, sectors);
}
