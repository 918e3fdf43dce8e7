/* SPDX-License-Identifier: MIT
 *
 * Translations as a whole: which one a host address belongs to, links between them, the table of
 * jumps, and their end.
 */
#include <x86intrin.h>

#include "bt/observe.h"
#include "cpu/code_map.h"
#include "cpu/code_self.h"
#include "cpu/fpu.h"

/* ---- finding ---- */

static u32 page_at(const struct bt *bt, const u8 *host)
{
    return (u32)((u64)(host - bt->mem.exec) >> PAGE_SHIFT);
}

/* codes[count] begins at `start`. */
static void note_place(const struct bt *bt, struct place_index *index, const u8 *start)
{
    while (bt->mem.exec + ((u64)index->next << PAGE_SHIFT) < start)
        index->before[index->next++] = bt->count;
}

static void forget_places(struct bt *bt)
{
    bt->hot_index.next = 0;
    bt->cold_index.next = COLD_AT >> PAGE_SHIFT;
}

void tcode_add(struct bt *bt, struct tcode *t)
{
    if (!bt->count)
        forget_places(bt);
    note_place(bt, &bt->hot_index, t->start);
    note_place(bt, &bt->cold_index, t->cold);
    bt->codes[bt->count++] = t;
}

struct tcode *tcode_at(const struct bt *bt, const u8 *host)
{
    if (!codemem_has(&bt->mem, host))
        return NULL;
    bool cold = host >= bt->mem.exec + COLD_AT;
    const struct place_index *index = cold ? &bt->cold_index : &bt->hot_index;
    u32 page = page_at(bt, host);
    unsigned low = page < index->next ? index->before[page] : bt->count;
    unsigned high = page + 1 < index->next ? index->before[page + 1] : bt->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct tcode *t = bt->codes[middle];
        if ((cold ? t->cold : t->start) <= host)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    struct tcode *t = bt->codes[low - 1];
    return host < (cold ? t->cold + t->cold_size : t->start + t->size) ? t : NULL;
}

unsigned tcode_insn_at(const struct tcode *t, const u8 *host)
{
    u64 offset = (u64)(host - t->entry);
    unsigned n = t->b->insns;
    if (offset >= t->size)
        return n; /* not in the code of an instruction */
    while (n && t->at[n] > offset)
        n--;
    return n;
}

struct block *tcode_home(const struct tcode *t, unsigned *n)
{
    if (!t->trace)
        return t->b;
    const struct trace_part *part = &t->trace->part[t->trace->parts - 1];
    while (part->first > *n)
        part--;
    *n -= part->first;
    return part->block;
}

/* ---- links ---- */

static void point_to(struct texit *x, struct bt *bt, const u8 *to)
{
    asm_patch_rel32(x->field, codemem_exec(&bt->mem, x->field), to);
}

void tcode_forget_targets(struct bt *bt)
{
    for (unsigned i = 0; i < TARGETS; i++)
        bt->v->targets[i] = bt->thunk.jump;
}

static void unlink_exit(struct bt *bt, struct texit *x)
{
    if (!x->to)
        return;
    point_to(x, bt, x->unlinked);
    if (x->guard_field) /* the guard itself may be where a knock has interrupted */
        asm_patch_rel32(x->guard_field, codemem_exec(&bt->mem, x->guard_field), x->stub);
    *x->prev = x->next;
    if (x->next)
        x->next->prev = x->prev;
    x->to = NULL;
}

void tcode_set_key(const struct vcpu *v, const struct texit *x)
{
    u32 minus_upper = -(u32)(v->code_key >> 32);
    memcpy(x->guard_key, &minus_upper, sizeof minus_upper);
}

/* By way of the exit's guard, for the key that it is made under. */
static void point_by_guard(struct texit *x, struct bt *bt, const u8 *to)
{
    u64 minus_key = -(bt->v->code_key | x->target);
    if (x->is_return)
        memcpy(x->guard_key, &minus_key, sizeof minus_key);
    else
        tcode_set_key(bt->v, x);
    asm_patch_rel32(x->guard_field, codemem_exec(&bt->mem, x->guard_field), to);
    if (!x->is_return)
        point_to(x, bt, x->guard);
}

void tcode_link(struct bt *bt, struct texit *x, struct tcode *to)
{
    unlink_exit(bt, x);
    if (observe_each_run(bt))
        return;
    if (!x->guard && !x->free && to->b->page != x->page)
        return; /* the guest has moved the page meanwhile */
    if (to->b->mode != x->from->b->mode)
        return;
    /* What a straddling block depends on beyond its page, the table of jumps knows. */
    if (!x->guard && to->b->next_page != NO_PAGE) {
        point_to(x, bt, x->lookup);
        return;
    }
    if (x->guard || x->free)
        tcode_remember(bt->v, to); /* the key hangs on its page from now on */
    bt->v->map_links |= x->free;
    x->to = to;
    x->next = to->in;
    x->prev = &to->in;
    if (x->next)
        x->next->prev = &x->next;
    to->in = x;
    const u8 *entry = x->live && to->live_entry ? to->live_entry : to->entry;
    if (x->guard)
        point_by_guard(x, bt, entry);
    else
        point_to(x, bt, entry);
    bt->stats.links++;
}

void tcode_unlink_exits(struct bt *bt, struct tcode *t)
{
    for (unsigned i = 0; i < t->exits; i++)
        unlink_exit(bt, &t->exit[i]);
}

/* Links that are undone all the time, as by a kernel whose pages are not global after all, cost
 * more than guards. In TSC cycles, what one costs that is made again; when costs are looked at. */
#define COST_OF_LINK 2000
#define COST_MATTERS 1000000000
#define COST_SHARE   16

static bool too_dear(const struct bt *bt)
{
    u64 cost = bt->undone * COST_OF_LINK;
    return cost > COST_MATTERS && cost > (__rdtsc() - bt->born) / COST_SHARE;
}

void tcode_undo_links(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    vcpu_event_clear(v, EVENT_LINKS);
    v->map_links = false;
    for (unsigned i = 0; i < bt->count; i++) {
        struct tcode *t = bt->codes[i];
        for (struct texit *x = t->exit; x < t->exit + t->exits; x++) {
            bt->undone += x->free && x->to;
            if (x->free)
                unlink_exit(bt, x);
        }
        if (t->trace && t->trace->free && !t->dead)
            tcode_end(bt, t);
    }
    if (too_dear(bt)) {
        bt->guards = true;
        tcode_drop_all(v);
    }
}

/* ---- the table of jumps ---- */

static struct tjump *jump_slot_of(const struct vcpu *v, u32 rip)
{
    return &((struct tjump *)v->jumps)[jump_index(rip, v->code_key)];
}

static void start_keys_again(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    fpu_put_away(v);
    memset(v->jumps, 0, sizeof(struct tjump) * JUMPS);
    memset(bt->key, 0, sizeof bt->key);
    vcpu_forget_rings(v);
    for (unsigned i = 0; i < bt->count; i++) {
        struct tcode *t = bt->codes[i];
        tcode_unlink_exits(bt, t); /* guards compare keys, and so do traces */
        if (t->trace && !t->dead)
            tcode_end(bt, t);
    }
    bt->last_key = 0;
}

/* Keys that follow each other lead to places far apart. Odd: no key comes twice. */
#define KEY_STEP 40503u

static u64 key_of(struct vcpu *v, u32 mode)
{
    struct bt *bt = bt_of(v);
    u32 epoch = v->map_epoch[v->cpl != 3];
    struct tkey *k = &bt->key[(mode ^ epoch * 0x9e3779b1u) * 0x85ebca6bu >> (32 - TKEY_BITS)];
    if (UNLIKELY(k->mode != mode || k->epoch != epoch || !k->key))
        *k = (struct tkey){mode, epoch, ++bt->last_key * KEY_STEP};
    return (u64)k->key << 32;
}

void tcode_update_key(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    u32 epoch = v->map_epoch[v->cpl != 3];
    v->target_key = v->code_key;
    if (bt->key_mode == v->mode && bt->key_epoch == epoch && bt->key_made == v->code_key)
        return;
    if (UNLIKELY(bt->last_key >= UINT32_MAX - 2))
        start_keys_again(v);
    bt->key_mode = v->mode;
    bt->key_epoch = epoch;
    bt->key_made = v->code_key = v->target_key = key_of(v, v->mode);
    if (v->cpl != 3 && (v->cr4 & CR4_SMAP))
        v->code_key_smap = key_of(v, v->mode ^ MODE_SMAP);
}

void tcode_remember(struct vcpu *v, struct tcode *t)
{
    const struct block *b = t->b;
    bool user = v->cpl == 3;
    code_map_note(v, b->la, user);
    if (b->next_page != NO_PAGE)
        code_map_note(v, (u32)(b->la + b->bytes), user);
    tcode_update_key(v); /* noting may have made the key depend on more */
    if (observe_each_run(bt_of(v)))
        return;
    *jump_slot_of(v, (u32)b->rip) =
        (struct tjump){.ntag = -((u64)(u32)b->rip | v->code_key), .host = t->way_in};
}

struct tcode *tcode_recall(struct vcpu *v)
{
    const struct block *b = *jump_slot(v, v->rip);
    if (!b || !b->code || b->rip != v->rip || b->mode != v->mode || b->next_page != NO_PAGE ||
        !code_page_is(v, b->la, b->page) || !code_self_same(v, b))
        return NULL;
    return b->code;
}

u8 *tcode_lookup(struct vcpu *v)
{
    const struct tjump *j = jump_slot_of(v, (u32)v->rip);
    return j->ntag + (v->rip | v->code_key) == 0 ? j->host : NULL;
}

/* ---- the end ---- */

/* The table of jumps may have it under more than one key: who enters it goes to the run loop. */
static void put_barrier(struct bt *bt, const struct tcode *t, const u8 *at)
{
    struct asm_buf a;
    asm_init(&a, codemem_write(&bt->mem, at), TCODE_LEAST, bt->mem.exec - bt->mem.write);
    asm_mov_imm32(&a, HR_T0, (u32)t->b->rip);
    asm_jmp(&a, bt->thunk.exit);
}

/* Its guard would go on letting indirect jumps pass, each of them to the barrier. */
static void retire_guard(struct bt *bt, const struct tcode *t)
{
    const u8 **target = &bt->v->targets[(u32)t->b->rip & TARGET_MASK];
    if (!t->guarded)
        return;
    put_barrier(bt, t, t->way_in);
    if (*target == t->start)
        *target = bt->thunk.jump;
}

static void forget_parts(struct trace *trace)
{
    for (struct trace_part *part = trace->part; part < trace->part + trace->parts; part++) {
        *part->prev = part->next;
        if (part->next)
            part->next->prev = part->prev;
    }
}

void tcode_end(struct bt *bt, struct tcode *t)
{
    tcode_unlink_exits(bt, t);
    while (t->in)
        unlink_exit(bt, t->in);
    put_barrier(bt, t, t->entry);
    retire_guard(bt, t);
    t->dead = true;
    t->b->code = NULL;
    if (t->trace) {
        tcode_head(t)->code = NULL;
        forget_parts(t->trace);
    }
    bt->stats.killed++;
}

void tcode_killed(struct vcpu *v, struct block *b)
{
    if (b->code)
        tcode_end(bt_of(v), b->code);
    while (b->traces)
        tcode_end(bt_of(v), b->traces->t);
}

void tcode_drop_all(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    fpu_put_away(v);
    for (unsigned i = 0; i < bt->count; i++) {
        struct tcode *t = bt->codes[i];
        if (t->dead)
            continue;
        t->b->code = tcode_head(t)->code = NULL;
        if (t->trace)
            forget_parts(t->trace);
    }
    bt->path.parts = 0;
    bt->sampled = NULL;
    memset(v->jumps, 0, sizeof(struct tjump) * JUMPS);
    memset(bt->slow_place, 0, sizeof bt->slow_place);
    tcode_forget_targets(bt);
    returns_reset(&bt->returns, v, bt->thunk.underflow);
    bt->count = bt->adapted_count = 0;
    bt->arena_used = 0;
    bt->used = bt->thunk_used;
    bt->cold_used = COLD_AT;
    bt->stats.flushes++;
}
