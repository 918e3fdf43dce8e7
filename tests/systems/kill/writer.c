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
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fs.h>

#include "pattern.h"

#define DISK_PATIENCE 600 /* tenths of a second */

static void fail(const char *what)
{
    printf("WRITER FAILED: %s: %s\n", what, strerror(errno));
    sync();
    reboot(RB_POWER_OFF);
    exit(1);
}

static void prepare(void)
{
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL))
        fail("/proc");
    if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
        fail("/dev");
    int console = open("/dev/ttyS0", O_RDWR);
    if (console < 0)
        fail("/dev/ttyS0");
    dup2(console, STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* The value of a kernel parameter, up to the next space. */
static char *parameter(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    if (!at)
        fail(name);
    at += strlen(name);
    return strndup(at, strcspn(at, " \n"));
}

static void load_modules(char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        char path[128];
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        int file = open(path, O_RDONLY);
        if (file < 0 || syscall(SYS_finit_module, file, "", 0))
            fail(path);
        close(file);
    }
}

static int open_disk(const char *path, int flags)
{
    for (int i = 0; i < DISK_PATIENCE; i++) {
        int disk = open(path, O_RDWR | flags);
        if (disk >= 0)
            return disk;
        usleep(100000);
    }
    fail(path);
    return -1;
}

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
    static char line[4096];
    prepare();
    int file = open("/proc/cmdline", O_RDONLY);
    if (file < 0 || read(file, line, sizeof line - 1) < 0)
        fail("/proc/cmdline");
    load_modules(parameter(line, "kill.modules="));
    const char *disk = parameter(line, "kill.disk=");
    int buffered = open_disk(disk, 0), direct = open_disk(disk, O_DIRECT);
    uint64_t bytes;
    if (ioctl(buffered, BLKGETSIZE64, &bytes))
        fail("size");
    printf("WRITER STARTS\n");
    write_for_ever(strtoull(parameter(line, "kill.seed="), NULL, 10), buffered, direct,
                   bytes / SECTOR_BYTES);
}
