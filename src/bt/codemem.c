/* SPDX-License-Identifier: MIT */
#include "bt/codemem.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODEMEM_MAX GIB(1)

bool codemem_create(struct codemem *c, size_t size)
{
    *c = (struct codemem){.size = align_up(size, PAGE_BYTES), .fd = -1};
    if (c->size > CODEMEM_MAX) {
        errno = EINVAL;
        return false;
    }
    c->fd = memfd_create("anello-code", MFD_CLOEXEC);
    if (c->fd < 0 || ftruncate(c->fd, (off_t)c->size) < 0)
        goto fail;
    c->write = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    c->exec = mmap(NULL, c->size, PROT_READ | PROT_EXEC, MAP_SHARED, c->fd, 0);
    if (c->write != MAP_FAILED && c->exec != MAP_FAILED)
        return true;
fail:;
    int saved = errno;
    codemem_destroy(c);
    errno = saved;
    return false;
}

void *codemem_reserve(size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void codemem_destroy(struct codemem *c)
{
    if (c->write && c->write != MAP_FAILED)
        munmap(c->write, c->size);
    if (c->exec && c->exec != MAP_FAILED)
        munmap(c->exec, c->size);
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct codemem){.fd = -1};
}
