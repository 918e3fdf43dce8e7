/* SPDX-License-Identifier: MIT
 *
 * What the init of a test guest with a disk begins with: its console, its kernel parameters, the
 * disk's drivers, the disk. A program that includes it defines GUEST_NAME, with which failures are
 * told over the serial line: "NAME FAILED: what: why".
 */
#ifndef ANELLO_TESTS_GUEST_INIT_H
#define ANELLO_TESTS_GUEST_INIT_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/fs.h>

#define DISK_PATIENCE 600 /* tenths of a second */

/* Not before the line has sent everything: the kernel's last words would come in between. */
static _Noreturn void power_off(void)
{
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    reboot(RB_POWER_OFF);
    exit(1);
}

static _Noreturn void fail(const char *what)
{
    printf("" GUEST_NAME " FAILED: %s: %s\n", what, strerror(errno));
    sync();
    power_off();
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

/* What is loaded already stays. */
static void load_modules(char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        char path[128];
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        int file = open(path, O_RDONLY);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST))
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
}

/* /proc/cmdline, for parameter(). */
static const char *command_line(void)
{
    static char line[4096];
    int file = open("/proc/cmdline", O_RDONLY);
    if (file < 0 || read(file, line, sizeof line - 1) < 0)
        fail("/proc/cmdline");
    close(file);
    return line;
}

static uint64_t disk_bytes(int disk)
{
    uint64_t bytes;
    if (ioctl(disk, BLKGETSIZE64, &bytes))
        fail("size");
    return bytes;
}

#endif
