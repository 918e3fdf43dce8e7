/* SPDX-License-Identifier: MIT */
#include "bt/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bt/verify.h"
#include "cpu/fpu.h"
#include "cpu/listing.h"

#define EXIT_INTERNAL 70 /* the monitor itself failed */

/* ---- -d ---- */

void observe_list(const struct tcode *t, listing_line *line, void *opaque)
{
    listing_code(t->start, t->size, 64, (u64)(uintptr_t)t->start, line, opaque);
    listing_code(t->cold, t->cold_size, 64, (u64)(uintptr_t)t->cold, line, opaque);
}

/* The guest's code has been traced when it was decoded. */
static void trace_made(struct bt *bt, const struct tcode *t)
{
    struct log *log = bt->v->log;
    const struct block *b = t->b;
    if (!log_on(log, LOG_OUT_ASM))
        return;
    log_printf(log, "OUT: %08llx mode %08x, %u + %u bytes for %u\n", (unsigned long long)b->rip,
               b->mode, t->size, t->cold_size, b->bytes);
    observe_list(t, listing_to_log, log);
}

void observe_run(struct vcpu *v, const struct block *b, bool translated)
{
    fpu_put_away(v);
    log_printf(v->log, "EXEC: %08llx mode %08x %s\n", (unsigned long long)v->rip, v->mode,
               !b           ? "no memory"
               : translated ? "translated"
                            : "interpreted");
}

bool observe_each_run(const struct bt *bt)
{
    return bt->check || log_on(bt->v->log, LOG_EXEC);
}

/* ---- perf ---- */

static void map_code(struct bt *bt, const u8 *at, size_t size, const char *name)
{
    fprintf(bt->perf_map, "%llx %zx %s\n", (unsigned long long)(uintptr_t)at, size, name);
}

bool bt_perf_map(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    bt->perf_map = fopen(path, "we");
    if (!bt->perf_map)
        return false;
    setvbuf(bt->perf_map, NULL, _IOLBF, 0); /* complete whenever the process ends */
    map_code(bt, bt->mem.exec, bt->thunk_used, "anello_thunks");
    return true;
}

static void map_made(struct bt *bt, const struct tcode *t)
{
    char name[64];
    snprintf(name, sizeof name, "guest_%08llx_ring%u%s%s", (unsigned long long)t->b->rip,
             t->b->mode & MODE_CPL, t->b->mode & MODE_WINDOW ? "_window" : "",
             t->trace ? "_trace" : "");
    map_code(bt, t->start, t->size, name);
    map_code(bt, t->cold, t->cold_size, name);
}

void observe_close(struct bt *bt)
{
    if (bt->perf_map)
        fclose(bt->perf_map);
}

/* ---- the verifier ---- */

void bt_verify(struct vcpu *v, bool on)
{
    bt_of(v)->verify = on;
}

static void own_code(const struct vcpu *v, const struct block *b, struct verify_own own[VERIFY_OWN])
{
    const u8 *ram = physmem_fast(v->pm)->base;
    size_t in_first = PAGE_BYTES - b->offset;
    own[0] = (struct verify_own){ram + b->page + b->offset, b->bytes};
    if (b->next_page == NO_PAGE)
        return;
    own[0].size = in_first;
    own[1] = (struct verify_own){ram + b->next_page, b->bytes - in_first};
}

static void verify_made(struct bt *bt, const struct tcode *t)
{
    struct verify_target targets[VERIFY_TARGETS];
    char why[256];
    struct verify_code code = {
        .part = {{t->start, t->start, t->size}, {t->cold, t->cold, t->cold_size}},
        .window = t->b->mode & MODE_WINDOW,
        .target = targets,
        .targets = thunks_verify_targets(bt, t->b, targets)};
    bt->stats.verified++;
    if (t->b->copy)
        own_code(bt->v, t->b, code.own);
    if (verify_code(&code, why, sizeof why))
        return;
    fprintf(stderr, "anello: the verifier refuses the translation of %08llx, mode %08x:\n%s\n",
            (unsigned long long)t->b->rip, t->b->mode, why);
    fprintf(stderr, "guest code:\n");
    listing_block(bt->v, t->b, listing_to_stderr, NULL);
    fprintf(stderr, "translation:\n");
    observe_list(t, listing_to_stderr, NULL);
    fflush(stderr);
    _Exit(EXIT_INTERNAL);
}

void observe_made(struct bt *bt, const struct tcode *t)
{
    trace_made(bt, t);
    if (UNLIKELY(bt->perf_map != NULL))
        map_made(bt, t);
    if (UNLIKELY(bt->verify))
        verify_made(bt, t);
}
