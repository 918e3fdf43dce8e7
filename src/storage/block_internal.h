/* SPDX-License-Identifier: MIT
 *
 * For tests and tools: a block device over an image that is already open.
 */
#ifndef ANELLO_STORAGE_BLOCK_INTERNAL_H
#define ANELLO_STORAGE_BLOCK_INTERNAL_H

#include "storage/block.h"
#include "storage/format.h"

/* Takes the image over, also on failure (NULL: out of memory). */
struct block *block_from_image(struct image *image, const struct block_options *options,
                               struct loop *loop);

#endif
