/* SPDX-License-Identifier: MIT
 *
 * Finds firmware on the host (Debian's seabios package) and loads it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/internal.h"

#define FIRMWARE_MAX   MIB(16)
#define VIDEO_BIOS_MAX KIB(64)
#define OPTION_ROM_MAX MIB(1)

static const char *const bios_paths[] = {"/usr/share/seabios/bios-256k.bin",
                                         "/usr/share/qemu/bios-256k.bin",
                                         "/usr/share/seabios/bios.bin"};
static const char *const video_bios_paths[] = {"/usr/share/seabios/vgabios-stdvga.bin",
                                               "/usr/share/qemu/vgabios-stdvga.bin"};

static const char *const ipxe_folders[] = {"/usr/lib/ipxe/qemu", "/usr/share/qemu"};

/* Reads up to `size` bytes; fewer at the end of the file. */
static ssize_t read_fully(int fd, u8 *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, to + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static u8 *read_open_file(int fd, const char *path, size_t max, size_t *size, char *error, size_t n)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        snprintf(error, n, "'%s' is not a file", path);
        return NULL;
    }
    if (st.st_size <= 0 || (u64)st.st_size > max) {
        snprintf(error, n, "'%s' is %s", path, st.st_size ? "too large" : "empty");
        return NULL;
    }
    u8 *bytes = malloc((size_t)st.st_size);
    ssize_t got = bytes ? read_fully(fd, bytes, (size_t)st.st_size) : -1;
    if (got != st.st_size) {
        snprintf(error, n, "cannot read '%s': %s", path, got < 0 ? strerror(errno) : "it shrank");
        free(bytes);
        return NULL;
    }
    *size = (size_t)got;
    return bytes;
}

u8 *firmware_read_file(const char *path, size_t max, size_t *size, char *error, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(error, n, "cannot open '%s': %s", path, strerror(errno));
        return NULL;
    }
    u8 *bytes = read_open_file(fd, path, max, size, error, n);
    close(fd);
    return bytes;
}

static const char *first_readable(const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (access(paths[i], R_OK) == 0)
            return paths[i];
    }
    return NULL;
}

bool firmware_load(struct machine *m, u64 *offset, u64 *size, char *error, size_t n)
{
    const char *path =
        m->config->bios ? m->config->bios : first_readable(bios_paths, ARRAY_LEN(bios_paths));
    if (!path) {
        snprintf(error, n,
                 "SeaBIOS is not installed: install the package 'seabios', or give -bios");
        return false;
    }
    size_t bytes;
    u8 *image = firmware_read_file(path, FIRMWARE_MAX, &bytes, error, n);
    if (!image)
        return false;
    if (bytes < KIB(64) || bytes % KIB(64)) {
        snprintf(error, n, "'%s' is not a firmware image: its size is not a multiple of 64 KiB",
                 path);
        free(image);
        return false;
    }
    *size = bytes;
    *offset = physmem_alloc(m->pm, bytes, "bios");
    if (*offset == UINT64_MAX) {
        snprintf(error, n, "the host has not enough memory for the firmware");
        free(image);
        return false;
    }
    memcpy(physmem_host(m->pm, *offset), image, bytes);
    free(image);
    return true;
}

u8 *firmware_video_bios(size_t *size, char *error, size_t n)
{
    const char *path = first_readable(video_bios_paths, ARRAY_LEN(video_bios_paths));
    if (!path) {
        snprintf(error, n, "the VGA BIOS is not installed: install the package 'seabios'");
        return NULL;
    }
    return firmware_read_file(path, VIDEO_BIOS_MAX, size, error, n);
}

bool firmware_option_rom(const char *path, const char *ipxe, u8 **rom, size_t *size, char *error,
                         size_t n)
{
    char found[256];
    *rom = NULL;
    *size = 0;
    for (size_t i = 0; !path && i < ARRAY_LEN(ipxe_folders); i++) {
        snprintf(found, sizeof found, "%s/%s", ipxe_folders[i], ipxe);
        if (access(found, R_OK) == 0)
            path = found;
    }
    if (!path || !*path)
        return true;
    *rom = firmware_read_file(path, OPTION_ROM_MAX, size, error, n);
    return *rom != NULL;
}
