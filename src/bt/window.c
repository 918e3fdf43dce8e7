/* SPDX-License-Identifier: MIT */
#include "bt/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bt/codemem.h"
#include "cpu/fpu.h"
#include "cpu/paging.h"

#define LINEAR_PAGES  (1u << 20)
#define FRAMES        (1u << 26) /* pages of the memfd that `frame` has room for: 256 GiB */
#define SMALL_MOST    24576 /* in one window: each may be a mapping, of 65,530 that there are */
#define MANY_PAGES    256
#define LARGE_MOST    2048 /* all of 4 GiB in pages of 2 MiB */
#define RUN_MOST      63   /* pages filled ahead of a sequential access */
#define CHURN_MOST    16   /* times that a page is taken away, after which it stays out */
#define SLOT_LARGE    (1u << 31)
#define EXIT_INTERNAL 70 /* the monitor itself failed */

struct window_page {
    u32 la;
    u32 size;
    u32 next; /* small: the next one in the list of its frame, as in `frame` */
    bool writable, global;
    u64 offset; /* in the memfd */
    struct paging_refs refs;
};

/* ---- the host's mappings ---- */

static bool protect(struct window *w, u64 la, u64 size, bool writable)
{
    fpu_put_away(w->v);
    return mprotect(w->base + la, size, PROT_READ | (writable ? PROT_WRITE : 0)) == 0;
}

static bool map(struct window *w, const struct window_page *p)
{
    int prot = PROT_READ | (p->writable ? PROT_WRITE : 0);
    int flags = MAP_SHARED | MAP_FIXED | (p->size == PAGE_BYTES ? MAP_POPULATE : 0);
    fpu_put_away(w->v);
    return mmap(w->base + p->la, p->size, prot, flags, physmem_fd(w->v->pm), (off_t)p->offset) !=
           MAP_FAILED;
}

/* A page that the guest has taken away must not stay visible: if the host refuses, all is over. */
static void unmap(struct window *w, u64 la, u64 size)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    fpu_put_away(w->v);
    if (mmap(w->base + la, size, PROT_NONE, flags, -1, 0) != MAP_FAILED)
        return;
    perror("anello: the host does not take a page out of a window");
    exit(EXIT_INTERNAL);
}

/* ---- the books ---- */

static u32 *frame_of(struct window *w, u64 offset)
{
    return &w->frame[offset >> PAGE_SHIFT];
}

static void enter_small(struct window *w, unsigned i)
{
    struct window_page *p = &w->small[i];
    u32 *frame = frame_of(w, p->offset);
    w->slot[p->la >> PAGE_SHIFT] = i + 1;
    p->next = *frame;
    *frame = i + 1;
    w->locals += !p->global;
}

static void leave_small(struct window *w, unsigned i)
{
    const struct window_page *p = &w->small[i];
    u32 *at = frame_of(w, p->offset);
    while (*at != i + 1)
        at = &w->small[*at - 1].next;
    *at = p->next;
    w->slot[p->la >> PAGE_SHIFT] = 0;
    w->locals -= !p->global;
}

static void replace_small(struct window *w, unsigned i, const struct window_page *p)
{
    leave_small(w, i);
    w->small[i] = *p;
    enter_small(w, i);
}

/* The last one takes its place. */
static void forget_small(struct window *w, unsigned i)
{
    unsigned last = w->smalls - 1;
    leave_small(w, i);
    if (i != last) {
        leave_small(w, last);
        w->small[i] = w->small[last];
        enter_small(w, i);
    }
    w->smalls--;
}

static void set_slots(struct window *w, const struct window_page *p, u32 slot)
{
    for (u32 n = 0; n < p->size >> PAGE_SHIFT; n++) {
        u32 page = (p->la >> PAGE_SHIFT) + n;
        w->slot[page] = slot;
        w->shut[page / 64] &= ~bit64(page % 64);
    }
}

static void forget_large(struct window *w, unsigned i)
{
    unsigned last = --w->larges;
    w->locals -= !w->large[i].global;
    set_slots(w, &w->large[i], 0);
    if (i == last)
        return;
    w->large[i] = w->large[last];
    for (u32 n = 0; n < w->large[i].size >> PAGE_SHIFT; n++)
        w->slot[(w->large[i].la >> PAGE_SHIFT) + n] = SLOT_LARGE | (i + 1);
}

/* What the entries' meaning hangs on. */
static u32 paging_format(const struct vcpu *v)
{
    return (u32)(v->cr0 & CR0_PG) >> 8 | (u32)(v->cr4 & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMAP)) |
           (v->efer & EFER_NXE ? 1 : 0);
}

static bool surroundings_same(const struct window *w)
{
    const struct vcpu *v = w->v;
    return w->format == paging_format(v) && w->changes == physmem_fast(v->pm)->changes &&
           w->a20_mask == v->a20_mask;
}

static void note_surroundings(struct window *w)
{
    w->format = paging_format(w->v);
    w->changes = physmem_fast(w->v->pm)->changes;
    w->a20_mask = w->v->a20_mask;
}

void window_forgive(struct window *w)
{
    if (w->churned)
        madvise(w->churn, LINEAR_PAGES, MADV_DONTNEED); /* all 0 */
    w->churned = false;
}

void window_empty(struct window *w)
{
    if (w->smalls || w->larges)
        unmap(w, 0, WINDOW_BYTES);
    while (w->smalls)
        forget_small(w, w->smalls - 1);
    while (w->larges)
        forget_large(w, w->larges - 1);
    window_forgive(w);
    note_surroundings(w);
    w->doubted = false;
}

/* A page has been taken away, or permission to write it. */
static void count_churn(struct window *w, u32 la)
{
    u8 *churn = &w->churn[la >> PAGE_SHIFT];
    *churn += *churn < CHURN_MOST;
    w->churned = true;
}

/* ---- marks ---- */

static bool marked(const struct window *w, u64 offset)
{
    return *physmem_marks(w->v->pm, offset) != 0;
}

static void shut_in_large(struct window *w, const struct window_page *p, u64 offset)
{
    u64 la = p->la + (offset - p->offset);
    u32 page = (u32)(la >> PAGE_SHIFT);
    if (!p->writable || (w->shut[page / 64] >> page % 64 & 1))
        return;
    count_churn(w, (u32)la);
    if (!protect(w, la, PAGE_BYTES, false))
        unmap(w, la, PAGE_BYTES); /* it is shut all the more */
    w->shut[page / 64] |= bit64(page % 64);
}

void window_shut(struct window *w, u64 offset)
{
    if (offset >> PAGE_SHIFT >= FRAMES)
        return;
    for (u32 i = *frame_of(w, offset); i; i = w->small[i - 1].next) {
        struct window_page *p = &w->small[i - 1];
        if (!p->writable)
            continue;
        count_churn(w, p->la);
        if (!protect(w, p->la, PAGE_BYTES, false))
            unmap(w, p->la, PAGE_BYTES);
        p->writable = false;
    }
    for (unsigned i = 0; i < w->larges; i++) {
        if (offset - w->large[i].offset < w->large[i].size)
            shut_in_large(w, &w->large[i], offset & ~PAGE_OFFSET_MASK);
    }
}

/* Marks that were made unheard: by another thread. */
static void shut_marked(struct window *w)
{
    for (unsigned i = 0; i < w->smalls; i++) {
        if (w->small[i].writable && marked(w, w->small[i].offset))
            window_shut(w, w->small[i].offset);
    }
    for (unsigned i = 0; i < w->larges; i++) {
        const struct window_page *p = &w->large[i];
        for (u64 at = 0; at < p->size; at += PAGE_BYTES) {
            if (marked(w, p->offset + at))
                shut_in_large(w, p, p->offset + at);
        }
    }
}

/* ---- where linear addresses lead ---- */

/* Linear addresses are physical ones then, and pages hang on nothing but the surroundings. */
static bool unpaged(const struct window *w)
{
    return !(w->v->cr0 & CR0_PG);
}

static bool note_refs(struct window *w, u32 la, struct paging_refs *refs)
{
    if (!unpaged(w))
        return paging_refs(w->v, la, refs);
    *refs = (struct paging_refs){.la = la};
    return true;
}

static bool refs_same(const struct window *w, const struct paging_refs *refs, const u8 *directory)
{
    return unpaged(w) || paging_refs_same(w->v, refs, directory);
}

#define UNPAGED_SIZE MIB(4) /* of what may be mapped at a time */

/* Kernels that do not tell their pages from the user's, so that their code is in a user page. Not
 * with SMAP: it forbids some of their code what it allows other. */
static bool kernel_is_user(const struct window *w)
{
    struct vcpu *v = w->v;
    struct walk walk;
    u32 error;
    return !w->user && !(v->cr4 & CR4_SMAP) &&
           paging_walk(v, v->rip, ACCESS_READ, TLB_KERNEL, true, &walk, &error) && walk.user;
}

/* Where la leads, if this window's code has been there: A is set. */
static bool walk_to(struct window *w, u32 la, struct walk *walk)
{
    u32 error;
    unsigned view = w->user ? TLB_USER : TLB_KERNEL;
    if (!unpaged(w))
        return paging_walk(w->v, la, ACCESS_READ, view, true, walk, &error) && walk->accessed &&
               (walk->user == w->user || kernel_is_user(w));
    bool a20_open = (u32)w->v->a20_mask == UINT32_MAX;
    *walk = (struct walk){.pa = la & w->v->a20_mask,
                          .page_size = a20_open ? UNPAGED_SIZE : PAGE_BYTES,
                          .writable = true,
                          .dirty = true,
                          .global = true};
    return !w->user;
}

static bool is_device(const struct window *w, const struct walk *walk)
{
    struct phys_page page = physmem_lookup(w->v->pm, walk->pa);
    return page.kind != PHYS_RAM && page.kind != PHYS_ROM;
}

static bool describe_small(struct window *w, u32 la, const struct walk *walk, struct window_page *p)
{
    struct vcpu *v = w->v;
    struct phys_page page = physmem_lookup(v->pm, walk->pa);
    if (is_device(w, walk) || page.offset >> PAGE_SHIFT >= FRAMES)
        return false;
    *p = (struct window_page){.la = la, .size = PAGE_BYTES, .offset = page.offset};
    p->global = walk->global;
    p->writable = page.kind == PHYS_RAM && walk->writable && walk->dirty &&
                  !marked(w, page.offset) && !v->journal;
    return note_refs(w, la, &p->refs);
}

/* ---- validation ---- */

static void drop_small(struct window *w, unsigned i)
{
    count_churn(w, w->small[i].la);
    unmap(w, w->small[i].la, PAGE_BYTES);
    forget_small(w, i);
}

/* Writable pages one below the other that one call makes read-only. */
struct run {
    u64 from, to;
};

static void end_run(struct window *w, struct run *run)
{
    if (run->to > run->from && !protect(w, run->from, run->to - run->from, false))
        unmap(w, run->from, run->to - run->from);
    *run = (struct run){.from = 0};
}

static void add_to_run(struct window *w, struct run *run, const struct window_page *p)
{
    if (run->from != p->la + PAGE_BYTES)
        end_run(w, run);
    if (run->to <= run->from)
        run->to = p->la + PAGE_BYTES;
    run->from = p->la;
}

/* Its entries have changed, but may only forbid to write the page, as a fork() does: then what
 * reads it need not trap. What they allow waits for a fill: a page that is not writable may be one
 * that had to be taken out, because the host refused to protect it. */
static bool stays(struct window *w, unsigned i, struct run *run)
{
    const struct window_page *p = &w->small[i];
    struct window_page now;
    struct walk walk;
    if (w->churn[p->la >> PAGE_SHIFT] == CHURN_MOST || !walk_to(w, p->la, &walk) ||
        walk.page_size > PAGE_BYTES || !describe_small(w, p->la, &walk, &now) ||
        now.offset != p->offset)
        return false;
    if (p->writable && !now.writable)
        add_to_run(w, run, &now);
    now.writable &= p->writable;
    replace_small(w, i, &now);
    return true;
}

/* From the last page on: forgetting moves later ones. */
static unsigned validate_smalls(struct window *w, bool globals)
{
    const u8 *directory = paging_directory(w->v);
    struct run run = {.from = 0};
    unsigned gone = 0;
    for (unsigned i = w->smalls; i-- > 0;) {
        const struct window_page *p = &w->small[i];
        if ((p->global && !globals) || refs_same(w, &p->refs, directory) || stays(w, i, &run))
            continue;
        drop_small(w, i);
        gone++;
    }
    end_run(w, &run);
    return gone;
}

static unsigned validate_larges(struct window *w, bool globals)
{
    const u8 *directory = paging_directory(w->v);
    unsigned gone = 0;
    for (unsigned i = w->larges; i-- > 0;) {
        const struct window_page *p = &w->large[i];
        if ((p->global && !globals) || refs_same(w, &p->refs, directory))
            continue;
        unmap(w, p->la, p->size);
        forget_large(w, i);
        gone++;
    }
    return gone;
}

unsigned window_validate(struct window *w)
{
    unsigned gone = 0;
    if (!surroundings_same(w)) {
        gone = w->smalls + w->larges;
        window_empty(w);
        return gone;
    }
    bool globals = w->user || w->doubted;
    if (globals || w->locals)
        gone = validate_smalls(w, globals) + validate_larges(w, globals);
    if (w->doubted)
        shut_marked(w);
    w->doubted = false;
    return gone;
}

unsigned window_validate_page(struct window *w, u32 la)
{
    u32 slot = w->slot[la >> PAGE_SHIFT];
    if (!slot)
        return 0;
    if (slot & SLOT_LARGE) {
        w->doubted = true;
        return window_validate(w);
    }
    struct run run = {.from = 0};
    if (refs_same(w, &w->small[slot - 1].refs, paging_directory(w->v)))
        return 0;
    if (stays(w, slot - 1, &run)) {
        if (run.to)
            count_churn(w, la);
        end_run(w, &run);
        return 0;
    }
    drop_small(w, slot - 1);
    return 1;
}

/* ---- filling ---- */

/* Makes pages of small[] from `first` on accessible, which lie in order both in linear memory and
 * in the memfd. They are the last ones. */
static bool map_run(struct window *w, unsigned first)
{
    struct window_page run = w->small[first];
    run.size = (w->smalls - first) * (u32)PAGE_BYTES;
    if (map(w, &run))
        return true;
    unmap(w, run.la, run.size);
    while (w->smalls > first)
        forget_small(w, w->smalls - 1);
    return false;
}

static void append_small(struct window *w, const struct window_page *p)
{
    w->small[w->smalls++] = *p;
    enter_small(w, w->smalls - 1);
}

static bool fill_small(struct window *w, u32 la, const struct walk *walk)
{
    struct window_page p;
    u32 slot = w->slot[la >> PAGE_SHIFT];
    if (!describe_small(w, la, walk, &p))
        return false;
    if (slot) {
        const struct window_page *old = &w->small[slot - 1];
        if (old->offset == p.offset && old->writable == p.writable)
            return false; /* it was there: something else is wrong with the access */
        forget_small(w, slot - 1);
    }
    if (w->smalls == SMALL_MOST) {
        unmap(w, la, PAGE_BYTES);
        return false;
    }
    append_small(w, &p);
    return map_run(w, w->smalls - 1);
}

/* Whether a large page is RAM from end to end, and free to be mapped as one. */
static bool whole(const struct window *w, u32 la, u64 pa, u64 size, u64 *offset)
{
    for (u64 at = 0; at < size; at += PAGE_BYTES) {
        struct phys_page page = physmem_lookup(w->v->pm, pa + at);
        if (page.kind != PHYS_RAM || page.offset >> PAGE_SHIFT >= FRAMES ||
            w->slot[(la + at) >> PAGE_SHIFT])
            return false;
        if (!at)
            *offset = page.offset;
        else if (page.offset != *offset + at)
            return false;
    }
    return true;
}

static bool fill_large(struct window *w, u32 la, const struct walk *walk)
{
    struct vcpu *v = w->v;
    u64 size = walk->page_size, within = la & (size - 1);
    struct window_page p = {.la = (u32)(la - within), .size = (u32)size, .global = walk->global};
    if (size == PAGE_BYTES || size > MIB(4) || w->larges == LARGE_MOST ||
        !whole(w, p.la, (walk->pa & ~PAGE_OFFSET_MASK) - within, size, &p.offset))
        return false;
    p.writable = walk->writable && walk->dirty && !v->journal;
    if (!note_refs(w, la, &p.refs) || !map(w, &p))
        return false;
    w->large[w->larges++] = p;
    w->locals += !p.global;
    set_slots(w, &p, SLOT_LARGE | w->larges);
    for (u64 at = 0; at < size; at += PAGE_BYTES) {
        if (marked(w, p.offset + at))
            shut_in_large(w, &p, p.offset + at);
    }
    return true;
}

/* A page within a large one that has trapped: it may be written again, or for the first time. */
static bool open_in_large(struct window *w, u32 la, const struct walk *walk)
{
    unsigned i = (w->slot[la >> PAGE_SHIFT] & ~SLOT_LARGE) - 1;
    const struct window_page *p = &w->large[i];
    u32 page = la >> PAGE_SHIFT;
    if (!p->writable) {
        if (!walk->writable || !walk->dirty || w->v->journal)
            return false;
        unmap(w, p->la, p->size); /* the guest has set D: all of it anew */
        forget_large(w, i);
        return fill_large(w, la, walk);
    }
    if (!(w->shut[page / 64] >> page % 64 & 1) || marked(w, p->offset + (la - p->la)) ||
        !protect(w, la, PAGE_BYTES, true))
        return false;
    w->shut[page / 64] &= ~bit64(page % 64);
    return true;
}

static bool follows(const struct window_page *p, const struct window_page *last)
{
    return p->la == last->la + PAGE_BYTES && p->offset == last->offset + PAGE_BYTES &&
           p->writable == last->writable;
}

/* The pages from..to that are not there yet, as far as nobody has to trap on them to set A or D. */
static unsigned fill_range(struct window *w, u64 from, u64 to)
{
    unsigned first = w->smalls, before = w->smalls;
    for (u64 la = from; la < to && la <= UINT32_MAX && w->smalls < SMALL_MOST; la += PAGE_BYTES) {
        struct window_page p;
        struct walk walk;
        if (w->slot[la >> PAGE_SHIFT] || w->churn[la >> PAGE_SHIFT] == CHURN_MOST ||
            !walk_to(w, (u32)la, &walk) || walk.page_size > PAGE_BYTES ||
            !describe_small(w, (u32)la, &walk, &p))
            continue;
        if (w->smalls > first && !follows(&p, &w->small[w->smalls - 1])) {
            if (!map_run(w, first))
                return 0;
            first = w->smalls;
        }
        append_small(w, &p);
    }
    if (w->smalls > first)
        map_run(w, first);
    return w->smalls - before;
}

/* Pages that are accessed in order come in runs of growing length; others with their neighbours,
 * and more of them the larger the program is. */
static unsigned fill_around(struct window *w, u32 la)
{
    bool sequential = la > w->last_la && la - w->last_la <= (w->run + 1) * PAGE_BYTES;
    u64 block = (w->smalls > MANY_PAGES ? 32 : 4) * PAGE_BYTES;
    w->run = sequential ? (w->run * 2 + 1 < RUN_MOST ? w->run * 2 + 1 : RUN_MOST) : 0;
    w->last_la = la;
    if (!sequential)
        return fill_range(w, align_down(la, block), align_down(la, block) + block);
    unsigned pages = fill_range(w, la + PAGE_BYTES, la + (u64)(w->run + 1) * PAGE_BYTES);
    w->last_la = la + w->run * (u32)PAGE_BYTES;
    return pages;
}

int window_fill(struct window *w, u32 la)
{
    struct walk walk;
    la &= ~(u32)PAGE_OFFSET_MASK;
    if (!surroundings_same(w))
        return 0;
    if (w->churn[la >> PAGE_SHIFT] == CHURN_MOST || !walk_to(w, la, &walk) || is_device(w, &walk))
        return FILL_NEVER;
    if (w->slot[la >> PAGE_SHIFT] & SLOT_LARGE)
        return open_in_large(w, la, &walk);
    if (!w->slot[la >> PAGE_SHIFT] && fill_large(w, la, &walk))
        return 1;
    return fill_small(w, la, &walk) ? 1 + (int)fill_around(w, la) : 0;
}

/* ---- life ---- */

bool window_create(struct window *w, struct vcpu *v, bool user)
{
    const int prot = PROT_READ | PROT_WRITE;
    *w = (struct window){.v = v, .user = user};
    w->base = codemem_reserve(WINDOW_BYTES, PROT_NONE);
    w->slot = codemem_reserve(sizeof *w->slot * LINEAR_PAGES, prot);
    w->shut = codemem_reserve(LINEAR_PAGES / 8, prot);
    w->churn = codemem_reserve(LINEAR_PAGES, prot);
    w->frame = codemem_reserve(sizeof *w->frame * FRAMES, prot);
    w->small = codemem_reserve(sizeof *w->small * SMALL_MOST, prot);
    w->large = codemem_reserve(sizeof *w->large * LARGE_MOST, prot);
    return w->base && w->slot && w->shut && w->churn && w->frame && w->small && w->large;
}

static void release(void *p, size_t size)
{
    if (p)
        munmap(p, size);
}

void window_destroy(struct window *w)
{
    release(w->base, WINDOW_BYTES);
    release(w->slot, sizeof *w->slot * LINEAR_PAGES);
    release(w->shut, LINEAR_PAGES / 8);
    release(w->churn, LINEAR_PAGES);
    release(w->frame, sizeof *w->frame * FRAMES);
    release(w->small, sizeof *w->small * SMALL_MOST);
    release(w->large, sizeof *w->large * LARGE_MOST);
    *w = (struct window){.base = NULL};
}
