/* SPDX-License-Identifier: MIT
 *
 * Hostile VDI images: see image_fuzz.h.
 */
#include "image_fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct image_seeds seeds = {
        .format = &vdi_format,
        .create = {{.bytes = MIB(3) + 512}, {.bytes = MIB(2), .is_static = true}},
        .count = 2,
        .file_limit = MIB(3),
    };
    return fuzz_image(&seeds, data, size);
}
