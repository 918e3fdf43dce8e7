/* SPDX-License-Identifier: MIT */
#include "cpu/code_map.h"

#include <stdlib.h>

#include "cpu/paging.h"

#define SPACES      32  /* address spaces that are remembered */
#define SPACE_PAGES 256 /* pages of user code of one */
#define SPACE_HASH  512
#define OTHER_PAGES (1u << 20) /* of 4 GiB */
#define OTHER_MOST  4096

/* User code of one address space. */
struct code_space {
    u64 cr3;
    u32 epoch; /* 0: nothing is known */
    u32 used;  /* when, for the replacement of the one not used for longest */
    unsigned count;
    u16 hash[SPACE_HASH]; /* by linear page: index in page[] plus 1 */
    struct paging_refs page[SPACE_PAGES];
};

struct code_map {
    u32 last_epoch, clock;
    struct code_space *now; /* NULL: not known, after CR3 was written */
    struct code_space space[SPACES];
    /* Code at other levels: one bit for each linear page, and a list. */
    bool local; /* some of it is not global */
    unsigned count;
    u32 list[OTHER_MOST];
    u64 bit[OTHER_PAGES / 64];
};

bool code_map_attach(struct vcpu *v)
{
    v->code_map = calloc(1, sizeof *v->code_map);
    if (v->code_map)
        v->code_map->last_epoch = v->map_epoch[0] = v->map_epoch[1] = 1;
    return v->code_map;
}

void code_map_detach(struct vcpu *v)
{
    free(v->code_map);
    v->code_map = NULL;
}

static u32 new_epoch(struct vcpu *v)
{
    struct code_map *m = v->code_map;
    vcpu_forget_rings(v);
    if (++m->last_epoch == 0) /* after 2^32 changes: 0 is none */
        m->last_epoch = 1;
    return m->last_epoch;
}

/* ---- code outside CPL 3 ---- */

static u32 other_page(u64 la)
{
    return (u32)(la >> PAGE_SHIFT) & (OTHER_PAGES - 1);
}

static void forget_other(struct vcpu *v)
{
    struct code_map *m = v->code_map;
    for (unsigned i = 0; i < m->count; i++)
        m->bit[m->list[i] / 64] &= ~bit64(m->list[i] % 64);
    m->count = 0;
    m->local = false;
    v->map_epoch[1] = new_epoch(v);
    if (v->map_links)
        vcpu_event_set(v, EVENT_LINKS);
}

static void note_other(struct vcpu *v, u64 la)
{
    struct code_map *m = v->code_map;
    u32 page = other_page(la);
    if (m->bit[page / 64] >> page % 64 & 1)
        return;
    if (m->count == OTHER_MOST)
        forget_other(v);
    m->local |= !tlb_is_global(v, la, mem_fetch_view(v));
    m->bit[page / 64] |= bit64(page % 64);
    m->list[m->count++] = page;
}

/* ---- user code ---- */

static u16 *hash_slot(struct code_space *s, u64 la)
{
    u64 page = la >> PAGE_SHIFT;
    u16 *slot = &s->hash[page % SPACE_HASH];
    while (*slot && s->page[*slot - 1].la >> PAGE_SHIFT != page)
        slot = slot + 1 < s->hash + SPACE_HASH ? slot + 1 : s->hash;
    return slot;
}

static void start_space(struct vcpu *v, struct code_space *s)
{
    memset(s->hash, 0, sizeof s->hash);
    s->count = 0;
    s->epoch = v->map_epoch[0] = new_epoch(v);
}

static void note_user(struct vcpu *v, u64 la)
{
    struct code_space *s = v->code_map->now;
    u16 *slot = hash_slot(s, la);
    if (*slot)
        return;
    struct paging_refs refs = {.la = la};
    bool known = paging_refs(v, la & ~PAGE_OFFSET_MASK, &refs);
    if (s->count == SPACE_PAGES) {
        start_space(v, s);
        slot = hash_slot(s, la);
    }
    if (!known) /* long mode, or no paging: never taken up again */
        refs = (struct paging_refs){.la = la & ~PAGE_OFFSET_MASK};
    s->page[s->count] = refs;
    *slot = (u16)++s->count;
}

static bool page_same(const struct vcpu *v, const struct paging_refs *refs, const u8 *directory)
{
    return refs->count && paging_refs_same(v, refs, directory);
}

static bool pages_same(const struct vcpu *v, const struct code_space *s)
{
    const u8 *directory = paging_directory(v);
    for (unsigned i = 0; i < s->count; i++) {
        if (!page_same(v, &s->page[i], directory))
            return false;
    }
    return true;
}

static struct code_space *find_space(struct code_map *m, u64 cr3)
{
    struct code_space *oldest = m->space;
    for (struct code_space *s = m->space; s < m->space + SPACES; s++) {
        if (s->epoch && s->cr3 == cr3)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    *oldest = (struct code_space){.cr3 = cr3};
    return oldest;
}

static void enter_space(struct vcpu *v)
{
    struct code_map *m = v->code_map;
    struct code_space *s = m->now = find_space(m, v->cr3);
    s->used = ++m->clock;
    vcpu_forget_rings(v);
    if (s->epoch && pages_same(v, s))
        v->map_epoch[0] = s->epoch;
    else
        start_space(v, s);
}

/* ---- events ---- */

void code_map_note(struct vcpu *v, u64 la, bool user)
{
    if (!user)
        note_other(v, la);
    else
        note_user(v, la);
}

void code_map_lost_all(struct vcpu *v)
{
    struct code_map *m = v->code_map;
    for (struct code_space *s = m->space; s < m->space + SPACES; s++)
        s->epoch = s->used = 0;
    forget_other(v);
    enter_space(v);
}

void code_map_lost_space(struct vcpu *v)
{
    if (v->code_map->local)
        forget_other(v);
    enter_space(v);
}

void code_map_lost_page(struct vcpu *v, u64 la)
{
    struct code_map *m = v->code_map;
    if (m->bit[other_page(la) / 64] >> other_page(la) % 64 & 1)
        forget_other(v);
    struct code_space *s = m->now;
    u16 slot = *hash_slot(s, la);
    if (slot && !page_same(v, &s->page[slot - 1], paging_directory(v)))
        start_space(v, s);
}
