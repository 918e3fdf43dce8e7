/* SPDX-License-Identifier: MIT
 *
 * Hostile VMDK images, descriptors among them: see image_fuzz.h.
 */
#include <sys/stat.h>

#include "image_fuzz.h"

/* The folder of the extents that descriptors may name: "f" is flat, "s" is sparse. In memory where
 * the host has that. */
static void make_folder(char path[64])
{
    static const char *const places[] = {"/dev/shm", "/tmp"};
    struct image_create flat = {.bytes = KIB(256)}, sparse = {.bytes = KIB(256)};
    char name[80], error[256];
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(path, 64, "%s/anello-fuzz-vmdk", places[i]);
        mkdir(path, 0700);
        snprintf(name, sizeof name, "%s/f", path);
        if (!raw_format.create(name, &flat, error, sizeof error))
            break;
    }
    snprintf(name, sizeof name, "%s/s", path);
    vmdk_format.create(name, &sparse, error, sizeof error);
    strcat(path, "/image");
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static char path[64];
    static struct image_seeds seeds = {
        .format = &vmdk_format,
        .create = {{.bytes = MIB(1)},
                   {.bytes = MIB(1), .zeroed_grain = true},
                   {.bytes = MIB(1), .subformat = "streamOptimized"},
                   {.bytes = MIB(40) + 512}},
        .count = 4,
        .file_limit = MIB(2),
        .filling = true,
        .path = path,
    };
    if (!*path)
        make_folder(path);
    return fuzz_image(&seeds, data, size);
}
