/* SPDX-License-Identifier: MIT
 *
 * Hostile VMDK images, descriptors among them: see image_fuzz.h.
 */
#include "image_fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct image_seeds seeds = {
        .format = &vmdk_format,
        .create = {{.bytes = MIB(1)},
                   {.bytes = MIB(1), .zeroed_grain = true},
                   {.bytes = MIB(1), .subformat = "streamOptimized"},
                   {.bytes = MIB(40) + 512}},
        .count = 4,
        .file_limit = MIB(2),
        .filling = true,
    };
    return fuzz_image(&seeds, data, size);
}
