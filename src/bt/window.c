/* SPDX-License-Identifier: MIT */
#include "bt/window.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "bt/internal.h"
#include "cpu/fpu.h"
#include "cpu/paging.h"

#define WINDOW_BYTES (GIB(4) + MIB(1)) /* what the last byte's access reaches beyond 4 GiB too */
#define WINDOWS      6
#define SPACES       64
#define PAGES_MOST   16384 /* in all windows: each is a mapping, of 65,530 that Linux allows */
#define RUN_MOST     16    /* pages filled ahead of a sequential access */
#define LINEAR_PAGES (1u << 20)
#define HWCAP2_FSGS  (1 << 1)

/* In TSC cycles: when an address space is worth a window, and what a page in and out of it costs.
 */
#define PROMOTE_AFTER 8000000
#define PROMOTE_NEVER ((u64)1 << 40)
#define COST_OF_PAGE  15000

struct wpage {
    u32 la;
    bool writable;
    u64 offset; /* in the memfd */
    struct paging_refs refs;
};

struct window {
    u8 *base;
    u32 *slot; /* by linear page: index in page[] plus 1, 0 none */
    struct wpage *page;
    unsigned count;
    u32 last_la; /* filled last, and how far ahead */
    unsigned run;
    u64 used;   /* for the eviction of the one not used for longest */
    u32 format; /* CR0 and CR4 bits that give paging entries their meaning */
    bool taken;
};

/* What is known of an address space. */
struct space {
    u64 cr3;
    u64 cycles;    /* that it has run for since it is known, or since its window was taken away */
    u64 threshold; /* of cycles, for a window */
    u64 cost;      /* of its window's changes */
    struct window *w;
};

struct windows {
    struct vcpu *v;
    struct window window[WINDOWS];
    struct space space[SPACES];
    struct space *now;
    u64 since; /* TSC when `now` began to run or was charged */
    bool stale;
    u64 gs; /* GS base as set */
    u64 clock;
    unsigned pages;
    struct window_stats stats;
};

static struct windows *of(const struct vcpu *v)
{
    return bt_of(v)->windows;
}

const struct window_stats *windows_stats(const struct windows *ws)
{
    return &ws->stats;
}

/* ---- mapping ---- */

static void set_gs(struct windows *ws, u64 base)
{
    if (ws->gs != base)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    ws->gs = base;
}

void windows_bind(struct windows *ws)
{
    u64 base = ws->gs;
    __asm__ volatile("wrgsbase %0" : : "r"(base));
}

static bool map_page(struct windows *ws, const struct window *w, const struct wpage *p)
{
    int prot = PROT_READ | (p->writable ? PROT_WRITE : 0);
    fpu_put_away(ws->v);
    return mmap(w->base + p->la, PAGE_BYTES, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                physmem_fd(ws->v->pm), (off_t)p->offset) != MAP_FAILED;
}

static void unmap_range(struct window *w, u64 from, u64 size)
{
    if (mmap(w->base + from, size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        abort(); /* a page that the guest has taken away stays visible: nothing may go on */
}

/* Takes page i out of the books; the last one takes its place. */
static void forget_page(struct windows *ws, struct window *w, unsigned i)
{
    w->slot[w->page[i].la >> PAGE_SHIFT] = 0;
    w->page[i] = w->page[--w->count];
    if (i < w->count)
        w->slot[w->page[i].la >> PAGE_SHIFT] = i + 1;
    ws->pages--;
}

static void empty_window(struct windows *ws, struct window *w)
{
    fpu_put_away(ws->v);
    while (w->count)
        forget_page(ws, w, w->count - 1);
    unmap_range(w, 0, WINDOW_BYTES);
}

/* ---- validation ---- */

static u32 paging_format(const struct vcpu *v)
{
    return (u32)(v->cr0 & CR0_PG) >> 8 | (u32)(v->cr4 & (CR4_PAE | CR4_PSE)) |
           (v->efer & EFER_NXE ? 1 : 0);
}

/* Whether the page may stay as it is; takes write permission from it where only that has gone. */
static bool still_right(struct windows *ws, struct window *w, struct wpage *p)
{
    struct vcpu *v = ws->v;
    if (!paging_refs_same(v, &p->refs))
        return false;
    struct phys_page now = physmem_lookup(v->pm, p->refs.pa);
    if ((now.kind != PHYS_RAM && now.kind != PHYS_ROM) || now.offset != p->offset)
        return false;
    if (p->writable && *physmem_marks(v->pm, p->offset)) {
        fpu_put_away(v);
        p->writable = false;
        return mprotect(w->base + p->la, PAGE_BYTES, PROT_READ) == 0;
    }
    return true;
}

/* Returns how many pages had to go. */
static unsigned validate(struct windows *ws, struct window *w)
{
    unsigned gone = 0;
    ws->stats.validations++;
    if (w->format != paging_format(ws->v)) {
        gone = w->count;
        empty_window(ws, w);
        w->format = paging_format(ws->v);
        return gone;
    }
    for (unsigned i = w->count; i-- > 0;) {
        if (still_right(ws, w, &w->page[i]))
            continue;
        fpu_put_away(ws->v);
        unmap_range(w, w->page[i].la, PAGE_BYTES);
        forget_page(ws, w, i);
        gone++;
    }
    return gone;
}

/* ---- address spaces ---- */

/* Those of CR3 that name the top table. PAE's is 32 bytes long: there may be many in a page. */
static u64 address_bits(const struct vcpu *v)
{
    return v->cr4 & CR4_PAE ? 0xffffffe0u : 0xfffff000u;
}

static struct space *space_of(struct windows *ws, u64 cr3)
{
    struct space *s = &ws->space[(cr3 >> 5 ^ cr3 >> PAGE_SHIFT ^ cr3 >> 18) % SPACES];
    if (s->cr3 != cr3 || !s->threshold) {
        if (s->w)
            s->w->taken = false;
        *s = (struct space){.cr3 = cr3, .threshold = PROMOTE_AFTER};
    }
    return s;
}

static void charge(struct windows *ws)
{
    u64 tsc = __rdtsc();
    if (ws->now)
        ws->now->cycles += tsc - ws->since;
    ws->since = tsc;
}

static struct window *take_window(struct windows *ws)
{
    struct window *w = &ws->window[0];
    for (unsigned i = 0; i < WINDOWS && w->taken; i++) {
        if (!ws->window[i].taken || ws->window[i].used < w->used)
            w = &ws->window[i];
    }
    if (w->taken) {
        for (unsigned i = 0; i < SPACES; i++) {
            if (ws->space[i].w == w)
                ws->space[i].w = NULL;
        }
        ws->stats.evictions++;
    }
    if (w->count)
        empty_window(ws, w);
    w->taken = true;
    w->format = paging_format(ws->v);
    ws->stats.promotions++;
    return w;
}

static void promote(struct windows *ws, struct space *s)
{
    s->w = take_window(ws);
    s->cycles = s->cost = 0;
}

/* The window costs more than it gains: the guest changes this address space all the time, or it
 * belongs to another process by now. */
static void demote(struct windows *ws, struct space *s)
{
    empty_window(ws, s->w);
    s->w->taken = false;
    s->w = NULL;
    s->cycles = 0;
    if (s->threshold < PROMOTE_NEVER)
        s->threshold *= 4;
    ws->stats.demotions++;
}

static bool too_dear(const struct space *s)
{
    return s->cost > PROMOTE_AFTER && s->cost > s->cycles / 4;
}

bool windows_due(const struct windows *ws)
{
    const struct space *s = ws->now;
    if (ws->stale || !s)
        return true;
    return !s->w && s->cycles + (__rdtsc() - ws->since) > s->threshold;
}

void window_refresh(struct vcpu *v)
{
    struct windows *ws = of(v);
    u32 extra = 0;
    charge(ws);
    struct space *s = ws->now = space_of(ws, v->cr3 & address_bits(v));
    if (!s->w && s->cycles > s->threshold) {
        if (v->cr0 & CR0_PG)
            promote(ws, s);
        else
            s->cycles = 0; /* no paging entries to validate pages by */
    }
    if (s->w) {
        s->cost += validate(ws, s->w) * (u64)COST_OF_PAGE;
        s->w->used = ++ws->clock;
        if (too_dear(s))
            demote(ws, s);
    }
    if (s->w) {
        set_gs(ws, (u64)(uintptr_t)s->w->base);
        extra = MODE_WINDOW;
    }
    ws->stale = false;
    if (v->user_mode != extra) {
        v->user_mode = extra;
        vcpu_mode_changed(v);
    }
}

static void map_changed(struct vcpu *v)
{
    of(v)->stale = true;
}

/* ---- filling ---- */

bool window_has(const struct windows *ws, u64 at)
{
    return ws->gs && at - ws->gs < WINDOW_BYTES;
}

/* Adds or changes the page for what the guest's page tables say now. */
static bool fill_page(struct windows *ws, struct window *w, u32 la, u64 offset, bool writable)
{
    unsigned i = w->slot[la >> PAGE_SHIFT];
    struct wpage p = {.la = la, .offset = offset, .writable = writable};
    if (!paging_refs(ws->v, la, &p.refs))
        return false;
    if (!i && ws->pages >= PAGES_MOST)
        return false;
    if (!map_page(ws, w, &p)) {
        if (i) {
            unmap_range(w, la, PAGE_BYTES);
            forget_page(ws, w, i - 1);
        }
        return false;
    }
    if (!i) {
        i = ++w->count;
        w->slot[la >> PAGE_SHIFT] = i;
        ws->pages++;
        ws->stats.pages++;
    }
    w->page[i - 1] = p;
    return true;
}

/* A page that nobody has trapped on yet: only as far as its A and D bits are set already. */
static bool fill_ahead(struct windows *ws, struct window *w, u32 la)
{
    struct vcpu *v = ws->v;
    struct walk walk;
    u32 error;
    if (w->slot[la >> PAGE_SHIFT] ||
        !paging_walk(v, la, ACCESS_READ, TLB_USER, true, &walk, &error) || !walk.accessed)
        return false;
    struct phys_page page = physmem_lookup(v->pm, walk.pa);
    if (page.kind != PHYS_RAM)
        return false;
    bool writable =
        walk.writable && walk.dirty && !*physmem_marks(v->pm, page.offset) && !v->journal;
    return fill_page(ws, w, la, page.offset, writable);
}

/* Pages that are accessed in order come in runs of growing length. */
static void run_ahead(struct windows *ws, struct space *s, u32 la)
{
    struct window *w = s->w;
    bool sequential = la == w->last_la + PAGE_BYTES;
    w->run = sequential ? (w->run < RUN_MOST / 2 ? w->run * 2 + 1 : RUN_MOST) : 0;
    w->last_la = la;
    for (unsigned n = 0; n < w->run; n++) {
        if (w->last_la >= UINT32_MAX - 2 * PAGE_BYTES ||
            !fill_ahead(ws, w, w->last_la + (u32)PAGE_BYTES))
            break;
        w->last_la += (u32)PAGE_BYTES;
    }
}

bool window_fill(struct vcpu *v, u64 at)
{
    struct windows *ws = of(v);
    struct space *s = ws->now;
    u64 la = (at - ws->gs) & ~PAGE_OFFSET_MASK;
    if (!s || !s->w || ws->stale || la > UINT32_MAX || v->cpl != 3)
        return false;
    const struct tlb_entry *e = tlb_entry(v, la, TLB_USER);
    if (e->read != la)
        return false;
    bool writable = e->write == la;
    unsigned i = s->w->slot[la >> PAGE_SHIFT];
    if (i && s->w->page[i - 1].writable == writable && s->w->page[i - 1].offset == e->offset)
        return false; /* it was there: something else is wrong with the access */
    ws->stats.fills++;
    s->cost += COST_OF_PAGE;
    if (!fill_page(ws, s->w, (u32)la, e->offset, writable))
        return false;
    run_ahead(ws, s, (u32)la);
    return true;
}

/* ---- life ---- */

struct windows *windows_create(struct vcpu *v)
{
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGS))
        return NULL;
    struct windows *ws = calloc(1, sizeof *ws);
    if (!ws)
        return NULL;
    ws->v = v;
    ws->stale = true;
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *w = &ws->window[i];
        w->base = codemem_reserve(WINDOW_BYTES, PROT_NONE);
        w->slot = codemem_reserve(sizeof *w->slot * LINEAR_PAGES, PROT_READ | PROT_WRITE);
        w->page = codemem_reserve(sizeof *w->page * PAGES_MOST, PROT_READ | PROT_WRITE);
        if (!w->base || !w->slot || !w->page) {
            windows_destroy(ws);
            return NULL;
        }
    }
    v->map_changed = map_changed;
    return ws;
}

void windows_destroy(struct windows *ws)
{
    if (!ws)
        return;
    ws->v->map_changed = NULL;
    ws->v->user_mode = 0;
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *w = &ws->window[i];
        if (w->base)
            munmap(w->base, WINDOW_BYTES);
        if (w->slot)
            munmap(w->slot, sizeof *w->slot * LINEAR_PAGES);
        if (w->page)
            munmap(w->page, sizeof *w->page * PAGES_MOST);
    }
    free(ws);
}
