/* SPDX-License-Identifier: MIT
 *
 * Looks at every entry of a table of blocks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/blockmap.h"

struct found {
    u64 *hosts;
    u64 count, room;
};

static int note(struct found *f, u64 host)
{
    if (f->count == f->room) {
        u64 room = f->room ? 2 * f->room : 1024;
        u64 *hosts = realloc(f->hosts, room * sizeof *hosts);
        if (!hosts)
            return -ENOMEM;
        f->hosts = hosts;
        f->room = room;
    }
    f->hosts[f->count++] = host;
    return 0;
}

static void say(const struct image_check *r, const char *what, u64 where)
{
    char line[128];
    if (!r->say)
        return;
    snprintf(line, sizeof line, what, (unsigned long long)where);
    r->say(r->opaque, line);
}

/* Calls `each` with the place of every block that has one. */
static int walk(struct blockmap *m, int (*each)(void *opaque, u64 block, enum block_type, u64 host),
                void *opaque)
{
    int error = 0;
    u64 places[BLOCKMAP_COPIES];
    for (u64 block = 0; block < m->blocks && !error; block++) {
        struct block_place p;
        if (block % BLOCKMAP_PAGE_ENTRIES == 0 && !m->pages[block / BLOCKMAP_PAGE_ENTRIES] &&
            !m->format->places(m, block / BLOCKMAP_PAGE_ENTRIES, places)) {
            block += BLOCKMAP_PAGE_ENTRIES - 1;
            continue;
        }
        error = blockmap_find(m, block, &p);
        if (error && p.type != BLOCK_BAD)
            return error;
        error =
            p.type == BLOCK_DATA || p.type == BLOCK_BAD ? each(opaque, block, p.type, p.host) : 0;
    }
    return error;
}

struct farthest {
    u64 host;
    bool any;
};

static int see_farthest(void *opaque, u64 block, enum block_type type, u64 host)
{
    struct farthest *f = opaque;
    (void)block;
    if (type != BLOCK_DATA || (f->any && host <= f->host))
        return 0;
    *f = (struct farthest){host, true};
    return 0;
}

int blockmap_farthest(struct blockmap *m, u64 *host, bool *any)
{
    struct farthest f = {0};
    int error = walk(m, see_farthest, &f);
    *host = f.host;
    *any = f.any;
    return error;
}

struct audit {
    struct blockmap *m;
    struct image_check *result;
    struct found found;
    u64 file_bytes, expected;
};

static int see_block(void *opaque, u64 block, enum block_type type, u64 host)
{
    struct audit *a = opaque;
    if (type == BLOCK_BAD) {
        say(a->result, "block %llu: its entry points where no block can be", block);
        a->result->errors++;
        return 0;
    }
    if (host >= a->file_bytes || a->m->stored_bytes > a->file_bytes - host) {
        say(a->result, "block %llu: lies beyond the end of the file", block);
        a->result->errors++;
        return 0;
    }
    a->result->allocated_clusters++;
    if (a->expected && a->expected != host)
        a->result->fragmented_clusters++;
    a->expected = host + a->m->stored_bytes;
    if (a->expected > a->result->end_offset)
        a->result->end_offset = a->expected;
    return note(&a->found, host);
}

static int by_number(const void *a, const void *b)
{
    const u64 *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int blockmap_check(struct blockmap *m, struct image_check *result)
{
    struct audit a = {.m = m, .result = result, .file_bytes = file_size(m->file)};
    result->total_clusters += m->blocks;
    int error = walk(m, see_block, &a);
    if (a.found.count)
        qsort(a.found.hosts, a.found.count, sizeof *a.found.hosts, by_number);
    for (u64 i = 1; i < a.found.count && !error; i++) {
        if (a.found.hosts[i] - a.found.hosts[i - 1] >= m->stored_bytes)
            continue;
        say(result, "two blocks share the bytes at %llu of the file", a.found.hosts[i]);
        result->errors++;
    }
    free(a.found.hosts);
    return error;
}
