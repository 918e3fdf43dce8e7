/* SPDX-License-Identifier: MIT
 *
 * Hostile VMDK images, descriptors among them: see image_fuzz.h.
 */
#include "image_fuzz.h"

#define PATH_BYTES 64

/* The folder of the extents that descriptors may name: "f" is flat, "s" is sparse. In memory where
 * the host has that. */
static char *folder(void)
{
    static char path[PATH_BYTES];
    return path;
}

static void remove_folder(void)
{
    static const char *const files[] = {"/f", "/s", ""};
    char name[PATH_BYTES + 4];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(name, sizeof name, "%s%s", folder(), files[i]);
        remove(name);
    }
}

static void make_folder(void)
{
    struct image_create flat = {.bytes = KIB(256)}, sparse = {.bytes = KIB(256)};
    char name[PATH_BYTES + 4], error[256];
    strcpy(folder(), "/dev/shm/anello-fuzz-XXXXXX");
    if (!mkdtemp(folder()) && !mkdtemp(strcpy(folder(), "/tmp/anello-fuzz-XXXXXX")))
        abort();
    atexit(remove_folder);
    snprintf(name, sizeof name, "%s/f", folder());
    if (raw_format.create(name, &flat, error, sizeof error))
        abort();
    snprintf(name, sizeof name, "%s/s", folder());
    if (vmdk_format.create(name, &sparse, error, sizeof error))
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static char path[PATH_BYTES + 8];
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
    if (!*path) {
        make_folder();
        snprintf(path, sizeof path, "%s/image", folder());
    }
    return fuzz_image(&seeds, data, size);
}
