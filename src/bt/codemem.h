/* SPDX-License-Identifier: MIT
 *
 * Memory for emitted code, mapped twice: a view that can be written and a view that can be executed
 * (W^X). Nothing above this file touches the protection of code pages, and nothing outside bt ever
 * gets the writable view.
 */
#ifndef ANELLO_BT_CODEMEM_H
#define ANELLO_BT_CODEMEM_H

#include "base/bits.h"

struct codemem {
    u8 *write, *exec; /* the same bytes */
    size_t size;
    int fd;
};

/* `size` bytes, rounded up to pages; at most 1 GiB so that rel32 reaches everything. False with
 * errno set when the host refuses. */
bool codemem_create(struct codemem *c, size_t size);
void codemem_destroy(struct codemem *c);

/* Address space of which only what is touched takes memory; `prot` as for mmap(). NULL: none left.
 */
void *codemem_reserve(size_t size, int prot);

/* From one view to the other. */
static inline u8 *codemem_exec(const struct codemem *c, const u8 *write)
{
    return c->exec + (write - c->write);
}
static inline u8 *codemem_write(const struct codemem *c, const u8 *exec)
{
    return c->write + (exec - c->exec);
}
static inline bool codemem_has(const struct codemem *c, const void *exec)
{
    return (size_t)((const u8 *)exec - c->exec) < c->size;
}

#endif
