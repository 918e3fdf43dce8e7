/* SPDX-License-Identifier: MIT
 *
 * Hostile qcow2 images: see image_fuzz.h.
 */
#include "image_fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct image_seeds seeds = {
        .format = &qcow2_format,
        .create = {{.bytes = KIB(256), .cluster_bytes = 512},
                   {.bytes = KIB(64), .cluster_bytes = 512, .compat = "0.10"},
                   {.bytes = MIB(1), .cluster_bytes = 4096, .compression = "zstd"},
                   {.bytes = MIB(1), .cluster_bytes = 1024, .refcount_bits = 1},
                   {.bytes = MIB(1), .cluster_bytes = 2048, .refcount_bits = 64},
                   {.bytes = KIB(128), .cluster_bytes = 512, .backing = "b"},
                   {.bytes = KIB(512),
                    .cluster_bytes = 1024,
                    .compat = "0.10",
                    .backing = "b",
                    .backing_format = "raw"},
                   {.bytes = MIB(2), .cluster_bytes = 4096, .lazy_refcounts = true},
                   {.bytes = MIB(4), .cluster_bytes = KIB(64), .preallocation = "metadata"}},
        .count = 9,
        .file_limit = MIB(1),
    };
    return fuzz_image(&seeds, data, size);
}
