/* SPDX-License-Identifier: MIT */
#include "bt/returns.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_BYTES  MIB(1)
#define GUARD_BYTES  KIB(64)
#define ABOVE_BYTES  64 /* of the base */
#define SIGNAL_BYTES KIB(64)

bool returns_create(struct returns *r)
{
    *r = (struct returns){0};
    void *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    r->memory = memory;
    r->base = (u64)(uintptr_t)(r->memory + GUARD_BYTES + STACK_BYTES - ABOVE_BYTES);
    r->signal_stack = malloc(SIGNAL_BYTES);
    if (r->signal_stack &&
        mprotect(r->memory + GUARD_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE) == 0)
        return true;
    returns_destroy(r);
    return false;
}

void returns_destroy(struct returns *r)
{
    if (r->memory)
        munmap(r->memory, GUARD_BYTES + STACK_BYTES);
    free(r->signal_stack);
    *r = (struct returns){0};
}

void returns_reset(struct returns *r, struct vcpu *v, const u8 *underflow)
{
    store64((u8 *)(uintptr_t)r->base, (u64)(uintptr_t)underflow);
    v->returns_rsp = r->base;
}

_Static_assert(sizeof(stack_t) <= RETURNS_SAVED, "what is saved has room");

void returns_enter_thread(const struct returns *r, struct returns_saved *saved)
{
    stack_t mine = {.ss_sp = r->signal_stack, .ss_size = SIGNAL_BYTES};
    sigaltstack(&mine, (stack_t *)saved);
}

void returns_leave_thread(const struct returns_saved *saved)
{
    sigaltstack((const stack_t *)saved, NULL);
}

bool returns_full(const struct returns *r, u64 address)
{
    return address - (u64)(uintptr_t)r->memory < GUARD_BYTES;
}
