/* SPDX-License-Identifier: MIT
 *
 * Block devices for tests of controllers: raw images in files that can be made to fail.
 */
#ifndef ANELLO_TESTS_FAULT_BLOCK_H
#define ANELLO_TESTS_FAULT_BLOCK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/block_internal.h"
#include "storage/file_fault.h"

/* What a disk holds: each 4-byte word tells where it is. */
static inline void fault_pattern(u8 *data, u64 offset, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        u64 at = offset + i;
        data[i] = (u8)((at >> 2) * 2654435761u >> (8 * (at & 3)));
    }
}

/* These bytes are the disk's from `offset` on. */
static inline void fault_expect(const u8 *data, u64 offset, size_t n)
{
    u8 *want = malloc(n);
    fault_pattern(want, offset, n);
    assert_memory_equal(data, want, n);
    free(want);
}

static inline void fault_fill(struct file *file, u64 bytes)
{
    u8 *data = malloc(bytes);
    if (!data)
        abort();
    fault_pattern(data, 0, bytes);
    file_write(file, 0, data, bytes);
    file_flush(file);
    free(data);
}

/* A medium over `file`, from fault_file_create(): a CD is removable and read-only. Without `loop`
 * requests are complete at once. */
static inline struct block *fault_block(struct file *file, bool cd, struct loop *loop)
{
    char error[256];
    struct image_options io = {.format = "raw", .read_only = cd};
    struct image *image = image_open_file(file, "test", &io, error, sizeof error);
    struct block_options options = {.format = "raw", .read_only = cd, .removable = cd};
    struct block *block = image ? block_from_image(image, &options, loop) : NULL;
    if (!block)
        abort();
    return block;
}

#endif
