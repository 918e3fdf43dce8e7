/* SPDX-License-Identifier: MIT
 *
 * The only door from translated code to C. Each function here has the guest's registers in struct
 * vcpu, executes the one instruction that asked for it, precisely, by the interpreter's function,
 * and says where translated code goes on. A guest fault leaves by longjmp, over the frames of
 * translated code, to the run loop (run.c).
 */
#include "bt/observe.h"
#include "cpu/fpu.h"
#include "cpu/interp.h"
#include "cpu/optable.h"
#include "cpu/port.h"

/* Back to the run loop, which goes on at v->rip. */
static const u8 *leave(struct vcpu *v, u64 rip)
{
    v->rip = rip;
    return NULL;
}

/* Translated code expects what it found: live FPU registers without errors that may be pending. */
static bool fpu_as_before(struct vcpu *v, const struct tcode *t)
{
    if (!t->fpu)
        return true;
    if (!v->fpu_live)
        fpu_make_live(v);
    return !v->fpu_unmasked;
}

/* After anything that may have changed the mode. False: it is one for the interpreter. */
static bool bring_up_to_date(struct vcpu *v)
{
    if (UNLIKELY(!bt_mode(v->mode)))
        return false;
    bt_settle(v);
    tcode_update_key(v);
    return true;
}

/* After an instruction that set v->rip: on in the table of jumps, if nothing is due. */
static const u8 *go_to_rip(struct vcpu *v)
{
    return UNLIKELY(bt_events(v) || excp_stepping(v) || v->halted) ? NULL : tcode_lookup(v);
}

/* Between the guest's ESP and what translated code has of it. */
static void move_sp(struct vcpu *v, i32 by)
{
    v->gpr[REG_SP] = (u32)(v->gpr[REG_SP] + (u64)(i64)by);
}

/* After instruction ci: the next one, if translated code may go on with it. */
static const u8 *go_to_next(struct vcpu *v, const struct tcode *t, const struct cached_insn *ci)
{
    const struct block *b = t->b;
    u64 next = (u32)(ci->rip + ci->in.len);
    v->rip = next; /* thunks leave if an event comes now */
    if (ci->fn == uop_exec_mode)
        bt_settle(v); /* it may end t's life */
    if (UNLIKELY(t->dead || bt_events(v) || !fpu_as_before(v, t)))
        return NULL;
    if (ci->fn == uop_exec_mode) {
        bool smap = !t->trace && (t->smap_switched >> ci->index & 1);
        u32 mode = b->mode ^ (smap ? (u32)MODE_SMAP : 0);
        if (UNLIKELY(t->trace || v->mode != mode || excp_stepping(v) ||
                     !code_page_is(v, b->la, b->page))) {
            return bring_up_to_date(v) ? go_to_rip(v) : NULL;
        }
        tcode_update_key(v);
    }
    v->sp_ahead = t->sp[ci->index + 1];
    return t->entry + t->at[ci->index + 1];
}

/* Returns the mode before. */
static u32 execute(struct vcpu *v, const struct cached_insn *ci)
{
    u32 mode = v->mode;
    v->at = NULL;
    v->rip = ci->rip;
    ci->exec(v, &ci->in);
    return mode;
}

static const u8 *go_on(struct vcpu *v, const struct tcode *t, const struct cached_insn *ci,
                       u32 mode_before)
{
    if (ci->fn != uop_exec_end)
        return go_to_next(v, t, ci);
    if (!bring_up_to_date(v))
        return NULL;
    if (ci->in.op == OP_SYSENTER || ci->in.op == OP_SYSEXIT)
        ring_changed(v, mode_before);
    else
        gate_remember(v, ci, mode_before);
    return go_to_rip(v);
}

const u8 *callout_insn(struct vcpu *v, const u8 *back, u64 place)
{
    (void)back;
    const struct cached_insn *ci = (const void *)(v->interp->arena + place);
    bt_of(v)->stats.callouts++;
    bt_of(v)->stats.io += ci->in.op == OP_IN || ci->in.op == OP_OUT;
    const struct tcode *t = insn_block(ci)->code;
    x87_settle(v);
    const u8 *to;
    if (gate_repeat(v, ci, &to) == GATE_DONE)
        return to;
    u32 mode = execute(v, ci);
    return go_on(v, t, ci, mode);
}

/* IN or OUT at CPL 0, where nothing forbids it and nobody watches it. The device may have written
 * to this very code, and has had the vector registers put away; all else that it may have changed,
 * like the map, it has told by an event. */
const u8 *callout_port(struct vcpu *v, const u8 *back, u64 place)
{
    const struct cached_insn *ci = (const void *)(v->interp->arena + place);
    struct bt *bt = bt_of(v);
    const struct tcode *t = insn_block(ci)->code;
    bt->stats.callouts++;
    bt->stats.io++;
    x87_settle(v);
    v->at = NULL;
    v->rip = ci->rip;
    if (ci->in.op == OP_IN)
        port_in(v, &ci->in);
    else
        port_out(v, &ci->in);
    v->rip = (u32)(ci->rip + ci->in.len);
    return t->dead || t->fpu ? go_to_next(v, t, ci) : back;
}

/* A jump to `target`, which the table of jumps does not know: some other program has been there. */
const u8 *callout_lookup(struct vcpu *v, const u8 *back, u64 target)
{
    (void)back;
    struct bt *bt = bt_of(v);
    x87_settle(v);
    v->at = NULL;
    v->rip = target;
    struct tcode *t = bt_events(v) || bt->check || observe_each_run(bt) ? NULL : tcode_recall(v);
    if (!t)
        return NULL;
    bt->stats.misses++;
    tcode_remember(v, t);
    return t->way_in;
}

static const struct slow_place *slow_place(struct bt *bt, const u8 *host)
{
    struct slow_place *p = &bt->slow_place[(uintptr_t)host % SLOW_PLACES];
    if (UNLIKELY(p->host != host)) {
        const struct tcode *t = tcode_at(bt, host);
        *p = (struct slow_place){.host = host, .t = t, .n = tcode_insn_at(t, host)};
    }
    return p;
}

/* The write of instruction n of t has opened its page (cpu/code_self.h): it may be direct from now
 * on. */
static void take_opened(struct vcpu *v, const struct tcode *t, unsigned n)
{
    if (t->dead)
        return;
    struct block *b = tcode_home(t, &n);
    b->checked &= ~bit64(n);
    tcode_killed(v, b);
}

/* `back` follows the call, which is inside its instruction's code. */
const u8 *callout_slow(struct vcpu *v, const u8 *back)
{
    struct bt *bt = bt_of(v);
    const struct slow_place *p = slow_place(bt, back - 1);
    const struct tcode *t = p->t;
    unsigned n = p->n;
    const struct cached_insn *ci = &t->b->insn[n];
    bt->stats.slow++;
    move_sp(v, t->sp[n]);
    x87_catch_up(v, t, n);
    bt->opened = false;
    u32 mode = execute(v, ci);
    if (UNLIKELY(bt->opened))
        take_opened(v, t, n);
    return go_on(v, t, ci, mode);
}

/* Traps of an instruction for other reasons than a page that was not in the window yet, after which
 * it is translated otherwise. The kernel's are on what its window will never have: user pages,
 * devices. */
#define MISSES_MOST        24
#define MISSES_MOST_KERNEL 3
#define ERRORS_MOST        3 /* divide errors and the like */
#define PATIENCE_MOST      1023

/* Instruction n of b does not do well as it is: what b is a part of is translated again, and left
 * at the next boundary. */
static void adapt(struct vcpu *v, struct block *b, unsigned n, u64 *how)
{
    *how |= bit64(n);
    tcode_killed(v, b);
    bt_of(v)->stats.adapted++;
}

static void adapt_to_checks(struct vcpu *v, struct block *b, unsigned n)
{
    struct bt *bt = bt_of(v);
    if (!b->checked && bt->adapted_count < ADAPTED_MOST) {
        bt->adapted[bt->adapted_count++] = b;
        b->patience = (u16)(b->patience < PATIENCE_MOST ? b->patience * 2 + 1 : PATIENCE_MOST);
        b->waits = b->patience;
    }
    adapt(v, b, n, &b->checked);
}

void bt_try_windows_again(struct bt *bt)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < bt->adapted_count; i++) {
        struct block *b = bt->adapted[i];
        if (b->dead)
            continue;
        if (b->waits--) {
            bt->adapted[kept++] = b;
            continue;
        }
        b->checked = 0;
        tcode_killed(bt->v, b);
    }
    bt->adapted_count = kept;
}

static void count_trap(struct vcpu *v, struct tcode *t, unsigned n, bool in_window)
{
    u8 most = !in_window ? ERRORS_MOST : v->cpl == 3 ? MISSES_MOST : MISSES_MOST_KERNEL;
    if (++t->misses[n] <= most || t->dead)
        return;
    struct block *b = tcode_home(t, &n);
    if (in_window)
        adapt_to_checks(v, b, n);
    else
        adapt(v, b, n, &b->left_to_c);
}

/* Its access has been executed by the interpreter. */
static void fill(struct vcpu *v, struct tcode *t, unsigned n, u64 address)
{
    struct windows *ws = bt_of(v)->windows;
    u64 la = address - windows_gs(ws);
    int pages = windows_fill(ws, address);
    /* A page that the guest itself has just been asked for is one of those that are touched once.
     */
    bool fresh = (la ^ v->cr2) < PAGE_BYTES;
    if (pages > 0 && !fresh)
        t->misses[n]--;
    else if (pages == FILL_NEVER)
        t->misses[n] = (u8)(t->misses[n] + (v->cpl == 3 ? MISSES_MOST / 3 : 1));
}

/* The host trapped on the guest's own instruction: a page that is not in the window, divide error,
 * alignment, SIMD exception. The interpreter's function does what the guest's CPU would do. */
const u8 *callout_trap(struct vcpu *v, const u8 *where)
{
    struct bt *bt = bt_of(v);
    struct tcode *t = tcode_at(bt, where);
    unsigned n = tcode_insn_at(t, where);
    u64 address = bt->trap_address;
    bool in_window = address && bt->windows && windows_has(bt->windows, address);
    const struct cached_insn *ci = &t->b->insn[n];
    bt->stats.traps++;
    bt->trap_address = 0;
    move_sp(v, t->sp[n]);
    count_trap(v, t, n, in_window);
    x87_catch_up(v, t, n);
    u32 mode = execute(v, ci);
    if (in_window)
        fill(v, t, n, address);
    return go_on(v, t, ci, mode);
}

/* The first FPU instruction of a translation found the registers not live, or errors unmasked. */
const u8 *callout_fpu(struct vcpu *v, const u8 *back, u64 place)
{
    const struct cached_insn *ci = (const void *)(v->interp->arena + place);
    x87_settle(v);
    if (!v->fpu_live)
        fpu_make_live(v);
    v->rip = ci->rip;
    if (LIKELY(!v->fpu_unmasked))
        return back;
    bt_of(v)->interpret = true;
    return leave(v, ci->rip);
}
