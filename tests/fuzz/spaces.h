/* SPDX-License-Identifier: MIT
 *
 * Ports and guest memory that inputs use one after the other: making them takes far longer than
 * most inputs do. Devices leave both as they found them, which is checked each time that new ones
 * are made.
 */
#ifndef ANELLO_TESTS_FUZZ_SPACES_H
#define ANELLO_TESTS_FUZZ_SPACES_H

#include <stdlib.h>

#include "bus/physmem.h"
#include "bus/ports.h"

#define SPACES_INPUTS 64 /* that use the same ones: what their devices allocate is not freed */

struct spaces {
    struct io_bus *ports;
    struct physmem *pm;
    u64 ram; /* its offset in the memfd */
    unsigned inputs;
};

static inline void spaces_demand(bool holds)
{
    if (!holds)
        abort();
}

/* `opaque` is the bytes of RAM at 0, the only thing that may be mapped. */
static inline void spaces_expect_ram(void *opaque, u64 pa, u64 size, enum phys_kind kind,
                                     const char *name)
{
    (void)name;
    spaces_demand(kind == PHYS_RAM && pa == 0 && size == *(u64 *)opaque);
}

static inline void spaces_discard(struct spaces *s, u64 ram_bytes)
{
    physmem_each_run(s->pm, spaces_expect_ram, &ram_bytes);
    for (unsigned port = 0; port < 0x10000; port++)
        spaces_demand(!io_bus_owner(s->ports, (u16)port));
    physmem_destroy(s->pm);
    io_bus_destroy(s->ports);
    *s = (struct spaces){0};
}

/* RAM of zeros, without marks; devices may allocate `more_bytes` beside it. */
static inline void spaces_open(struct spaces *s, u64 ram_bytes, u64 more_bytes)
{
    if (s->inputs == SPACES_INPUTS)
        spaces_discard(s, ram_bytes);
    if (!s->pm) {
        s->ports = io_bus_create(NULL);
        s->pm = physmem_create(ram_bytes + SPACES_INPUTS * more_bytes, NULL);
        spaces_demand(s->ports && s->pm);
        if (ram_bytes) {
            s->ram = physmem_alloc(s->pm, ram_bytes, "ram");
            physmem_map_ram(s->pm, 0, ram_bytes, s->ram, 0, "ram");
        }
    }
    s->inputs++;
    if (ram_bytes) {
        memset(physmem_host(s->pm, s->ram), 0, ram_bytes);
        memset(physmem_marks(s->pm, s->ram), 0, ram_bytes >> PAGE_SHIFT);
    }
}

#endif
