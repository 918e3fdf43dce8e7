/* SPDX-License-Identifier: MIT */
#include "bt/windows.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <x86intrin.h>

#include "bt/internal.h"
#include "cpu/code_self.h"

#define WINDOWS     6 /* of user code */
#define SPACES      64
#define HWCAP2_FSGS (1 << 1)

#define MAPPINGS_MOST 48000 /* pages of 4 KiB in all windows */

/* In TSC cycles: when an address space is worth a window; what a page costs that goes in and out of
 * it, and what a trap that brings none; and what costs are looked at only from. */
#define PROMOTE_AFTER 8000000
#define PROMOTE_NEVER ((u64)1 << 40)
#define COST_OF_PAGE  25000
#define COST_OF_TRAP  6000
#define COST_MATTERS  8000000
#define ROUND         25000000 /* between looks at what did not do well in a window */

/* What is known of an address space, or of the kernel. */
struct space {
    u64 cr3;
    u64 cycles;    /* that it has run for since it is known, or since its window was taken away */
    u64 threshold; /* of cycles, for a window */
    u64 cost;      /* of its window's changes */
    u32 epoch;     /* v->map_epoch[0]: another one may mean another process */
    struct window *w;
};

struct windows {
    struct vcpu *v;
    struct window window[WINDOWS], kernel_window;
    struct space *owner[WINDOWS];
    u64 used[WINDOWS]; /* for the eviction of the one not used for longest */
    struct space space[SPACES], kernel;
    struct space *now; /* of user code */
    u64 since;         /* TSC when `now` began to run or was charged */
    u64 round;         /* TSC when the last round began */
    unsigned settles;
    /* The TLB has changed since the window was looked at; [1]: user code's. */
    bool stale[2];
    u64 clock, promote_after;
    struct window_stats stats;
};

const struct window_stats *windows_stats(const struct windows *ws)
{
    return &ws->stats;
}

static void set_gs(struct windows *ws, const struct window *w)
{
    u64 base = (u64)(uintptr_t)w->base;
    if (ws->v->window != base)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    ws->v->window = base;
}

void windows_bind(struct windows *ws)
{
    __asm__ volatile("wrgsbase %0" : : "r"(ws->v->window));
}

u64 windows_gs(const struct windows *ws)
{
    return ws->v->window;
}

bool windows_has(const struct windows *ws, u64 at)
{
    return ws->v->window && at - ws->v->window < WINDOW_BYTES;
}

/* ---- address spaces ---- */

/* Bits of CR3 that name the top table. PAE's is 32 bytes long: there may be many in a page. */
static u64 address_bits(const struct vcpu *v)
{
    return v->cr4 & CR4_PAE ? 0xffffffe0u : 0xfffff000u;
}

static void disown(struct windows *ws, struct space *s)
{
    if (s->w)
        ws->owner[s->w - ws->window] = NULL;
    s->w = NULL;
}

static struct space *space_of(struct windows *ws, u64 cr3)
{
    struct space *s = &ws->space[(cr3 >> 5 ^ cr3 >> PAGE_SHIFT ^ cr3 >> 18) % SPACES];
    u32 epoch = ws->v->map_epoch[0];
    if (s->cr3 != cr3 || !s->threshold || (!s->w && s->epoch != epoch)) {
        disown(ws, s);
        *s = (struct space){.cr3 = cr3, .threshold = ws->promote_after};
    }
    s->epoch = epoch;
    return s;
}

static void charge(struct windows *ws)
{
    u64 tsc = __rdtsc(), cycles = tsc - ws->since;
    if (ws->now)
        ws->now->cycles += cycles;
    ws->kernel.cycles += cycles;
    ws->since = tsc;
}

/* A free window, or the one not used for longest. */
static struct window *take_window(struct windows *ws)
{
    unsigned best = 0;
    for (unsigned i = 0; i < WINDOWS && ws->owner[best]; i++) {
        if (!ws->owner[i] || ws->used[i] < ws->used[best])
            best = i;
    }
    if (ws->owner[best]) {
        disown(ws, ws->owner[best]);
        ws->stats.evictions++;
    }
    window_empty(&ws->window[best]);
    return &ws->window[best];
}

static void promote(struct windows *ws, struct space *s)
{
    if (s == &ws->kernel) {
        s->w = &ws->kernel_window;
        window_empty(s->w);
    } else {
        s->w = take_window(ws);
        ws->owner[s->w - ws->window] = s;
    }
    s->cycles = s->cost = 0;
    vcpu_forget_rings(ws->v);
    ws->stats.promotions++;
}

/* The window costs more than it gains: the guest changes this address space all the time, or it
 * belongs to another process by now. */
static void demote(struct windows *ws, struct space *s)
{
    window_empty(s->w);
    vcpu_forget_rings(ws->v);
    if (s == &ws->kernel)
        s->w = NULL;
    else
        disown(ws, s);
    s->cycles = 0;
    if (s->threshold < PROMOTE_NEVER)
        s->threshold = s->threshold * 4 + 1;
    ws->stats.demotions++;
}

static bool too_dear(const struct windows *ws, const struct space *s)
{
    unsigned share = s == &ws->kernel ? 2 : 4; /* the kernel has one window for all its life */
    return s->cost > COST_MATTERS && s->cost > s->cycles / share;
}

/* ---- settling ---- */

static void validate(struct windows *ws, struct space *s)
{
    charge(ws);
    ws->stats.validations++;
    s->cost += window_validate(s->w) * (u64)COST_OF_PAGE;
    if (too_dear(ws, s))
        demote(ws, s);
}

/* Without paging there is nothing that tells address spaces apart. */
static bool may_have_window(const struct windows *ws, const struct space *s)
{
    return s == &ws->kernel || (ws->v->cr0 & CR0_PG);
}

static void consider(struct windows *ws, struct space *s)
{
    charge(ws);
    if (s->cycles <= s->threshold)
        return;
    if (may_have_window(ws, s))
        promote(ws, s);
    else
        s->cycles = 0;
}

static struct space *current_space(struct windows *ws, bool user)
{
    if (!user)
        return &ws->kernel;
    if (ws->stale[1] || !ws->now) {
        charge(ws);
        ws->now = space_of(ws, ws->v->cr3 & address_bits(ws->v));
    }
    return ws->now;
}

static void end_round(struct windows *ws)
{
    u64 tsc = __rdtsc();
    if (tsc - ws->round < ROUND)
        return;
    ws->round = tsc;
    window_forgive(&ws->kernel_window);
    for (unsigned i = 0; i < WINDOWS; i++)
        window_forgive(&ws->window[i]);
    code_self_reconsider(ws->v);
    bt_try_windows_again(bt_of(ws->v));
}

void windows_settle(struct windows *ws)
{
    struct vcpu *v = ws->v;
    bool user = v->cpl == 3;
    if (LIKELY(v->window_settled == 1 + user))
        return;
    if (UNLIKELY(ws->settles++ % 4 == 0))
        end_round(ws);
    struct space *s = current_space(ws, user);
    if (s->w && ws->stale[user])
        validate(ws, s);
    else if (!s->w)
        consider(ws, s);
    ws->stale[user] = false;
    v->window_settled = (u8)(1 + user);
    if (s->w) {
        set_gs(ws, s->w);
        if (user)
            ws->used[s->w - ws->window] = ++ws->clock;
    }
    u32 extra = s->w && may_have_window(ws, s) ? MODE_WINDOW : 0;
    if (v->window_mode[user] != extra) {
        v->window_mode[user] = extra;
        vcpu_forget_rings(v);
        vcpu_mode_changed(v);
    }
}

void windows_consider(struct windows *ws)
{
    struct space *user = ws->stale[1] ? NULL : ws->now;
    u64 promotions = ws->stats.promotions;
    if (user && !user->w)
        consider(ws, user);
    if (UNLIKELY(!ws->kernel.w))
        consider(ws, &ws->kernel);
    if (promotions != ws->stats.promotions)
        ws->v->window_settled = 0;
}

/* One page: at once. */
static void page_changed(struct space *s, u64 la)
{
    if (s && s->w && la <= UINT32_MAX)
        s->cost += window_validate_page(s->w, (u32)la) * (u64)COST_OF_PAGE;
}

static void map_changed(struct vcpu *v, enum map_change what, u64 where)
{
    struct windows *ws = bt_of(v)->windows;
    switch (what) {
    case MAP_LINEAR:
        page_changed(ws->now, where);
        page_changed(&ws->kernel, where);
        break;
    case MAP_MARKED:
        for (unsigned i = 0; i < WINDOWS; i++) {
            if (ws->owner[i])
                window_shut(&ws->window[i], where);
        }
        if (ws->kernel.w)
            window_shut(ws->kernel.w, where);
        break;
    default:
        for (unsigned i = 0; i < WINDOWS; i++)
            ws->window[i].doubted |= what == MAP_ALL;
        ws->kernel_window.doubted |= what == MAP_ALL;
        ws->stale[0] = ws->stale[1] = true;
        v->window_settled = 0; /* the code map was told first and has forgotten ring changes */
    }
}

/* Linux limits a process to 65,530 mappings: another window gives its pages up. */
static void make_room(struct windows *ws, const struct space *s)
{
    unsigned mappings = ws->kernel_window.smalls, oldest = WINDOWS;
    for (unsigned i = 0; i < WINDOWS; i++) {
        mappings += ws->window[i].smalls;
        if (&ws->window[i] != s->w && ws->window[i].smalls &&
            (oldest == WINDOWS || ws->used[i] < ws->used[oldest]))
            oldest = i;
    }
    if (LIKELY(mappings < MAPPINGS_MOST) || oldest == WINDOWS)
        return;
    window_empty(&ws->window[oldest]);
    ws->stats.evictions++;
}

int windows_fill(struct windows *ws, u64 at)
{
    bool user = ws->v->cpl == 3;
    struct space *s = user ? ws->now : &ws->kernel;
    u64 la = at - ws->v->window;
    if (!s || !s->w || ws->v->window_settled != 1 + user || la > UINT32_MAX ||
        ws->v->window != (u64)(uintptr_t)s->w->base)
        return 0;
    make_room(ws, s);
    int pages = window_fill(s->w, (u32)la);
    ws->stats.fills++;
    if (pages > 0)
        ws->stats.pages += (u64)pages; /* it will pay, unless the guest takes the page away */
    else
        s->cost += COST_OF_TRAP;
    return pages;
}

void windows_promote_after(struct windows *ws, u64 cycles)
{
    ws->promote_after = ws->kernel.threshold = cycles;
    for (unsigned i = 0; i < SPACES; i++)
        ws->space[i].threshold = cycles;
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
    ws->stale[0] = ws->stale[1] = true;
    ws->since = __rdtsc();
    windows_promote_after(ws, PROMOTE_AFTER);
    bool ok = window_create(&ws->kernel_window, v, false);
    for (unsigned i = 0; i < WINDOWS; i++)
        ok &= window_create(&ws->window[i], v, true);
    if (!ok) {
        windows_destroy(ws);
        return NULL;
    }
    v->map_changed = map_changed;
    return ws;
}

void windows_destroy(struct windows *ws)
{
    if (!ws)
        return;
    ws->v->map_changed = NULL;
    ws->v->window_mode[0] = ws->v->window_mode[1] = 0;
    window_destroy(&ws->kernel_window);
    for (unsigned i = 0; i < WINDOWS; i++)
        window_destroy(&ws->window[i]);
    free(ws);
}
