/* SPDX-License-Identifier: MIT
 *
 * Running: from block to block, and between them whatever is due at an instruction boundary.
 *
 * Inside a block nothing is checked: rip, the instruction counter and events wait for its end.
 * Every way out of a block pays for its instructions from v->budget and looks at v->events, so the
 * run loop below is entered only when something is to be done. What asks for care after *each*
 * instruction (single-stepping, breakpoints, shadows of STI and MOV SS) is run from blocks of one
 * instruction by their general handlers, without links.
 *
 * Faults land here, once for a run. v->at tells which uop was executing; from it follows rip.
 */
#include "cpu/interp.h"

#include "cpu/code_self.h"
#include "cpu/fpu.h"

/* ---- where a uop is ---- */

/* The address of a uop's instruction; of what follows a block; or a stub's target. */
static u64 uop_rip(const struct vcpu *v, const struct uop *u)
{
    const struct block *b = uop_block(u);
    if (u->at > b->insns)
        return u->rip;
    u64 offset = u->at < b->insns ? b->insn[u->at].offset : b->bytes;
    return (b->rip + offset) & (v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu);
}

const struct uop *uop_interrupt(struct vcpu *v, const struct uop *u)
{
    v->rip = uop_rip(v, u);
    v->at = NULL;
    return NULL;
}

/* ---- handlers ---- */

const struct uop *uop_exec(struct vcpu *v, const struct uop *u)
{
    v->at = u;
    u->ci->exec(v, &u->ci->in);
    UOP_NEXT(v, u);
}

const struct uop *uop_exec_at(struct vcpu *v, const struct uop *u)
{
    v->at = u;
    v->rip = uop_rip(v, u);
    u->ci->exec(v, &u->ci->in);
    UOP_NEXT(v, u);
}

/* The mode that the next uops were made for may be over, the page they came from elsewhere, or an
 * interrupt due that was held back so far. */
const struct uop *uop_exec_mode(struct vcpu *v, const struct uop *u)
{
    const struct block *b = uop_block(u);
    v->at = u;
    v->rip = uop_rip(v, u);
    u->ci->exec(v, &u->ci->in);
    if (LIKELY(v->mode == b->mode && !excp_stepping(v) && !vcpu_events(v) &&
               code_page_is(v, b->la, b->page)))
        UOP_NEXT(v, u);
    v->budget -= u->at + 1;
    return uop_interrupt(v, u + 1);
}

static const struct uop *exec_end(struct vcpu *v, const struct uop *u, const struct cached_insn *ci)
{
    const struct block *b = uop_block(u);
    v->at = u;
    v->rip = uop_rip(v, u);
    ci->exec(v, &ci->in);
    if (LIKELY(!(b->mode & MODE_SINGLE) && !excp_stepping(v) && !v->halted))
        return uop_jump(v, u->at + 1u);
    v->budget -= u->at + 1;
    v->at = NULL;
    return NULL;
}

const struct uop *uop_exec_end(struct vcpu *v, const struct uop *u)
{
    return exec_end(v, u, u->ci);
}

const struct uop *uop_general(struct vcpu *v, const struct uop *u)
{
    const struct cached_insn *ci = &uop_block(u)->insn[u->at];
    if (ci->fn == uop_exec_end)
        return exec_end(v, u, ci);
    v->at = u;
    ci->exec(v, &ci->in);
    UOP_NEXT(v, u);
}

const struct uop *uop_go_on(struct vcpu *v, const struct uop *u)
{
    return uop_go(v, u->taken, u->at);
}

const struct uop *uop_leave(struct vcpu *v, const struct uop *u)
{
    v->budget -= u->at;
    return uop_interrupt(v, u);
}

const struct uop *uop_stale(struct vcpu *v, const struct uop *u)
{
    if (uop_block(u)->mode & MODE_SINGLE) /* it has overwritten itself */
        return uop_leave(v, u);
    v->rip = uop_rip(v, u);
    return uop_jump(v, u->at);
}

const struct uop *uop_self(struct vcpu *v, const struct uop *u)
{
    struct block *b = uop_block(u);
    if (LIKELY(code_self_same(v, b)))
        return b->first(v, u);
    v->rip = uop_rip(v, u);
    cache_kill_changed(v, b);
    return uop_jump(v, 0);
}

const struct uop *uop_stub(struct vcpu *v, const struct uop *u)
{
    struct block *from = uop_block(u);
    unsigned side = u->at - from->insns - 1u;
    u64 generation = v->interp->generation;
    v->rip = u->rip;
    v->at = NULL;
    struct block *to = cache_find(v, 0);
    if (!to)
        return NULL;
    /* A straddling block depends on a second page, which only cache_find() looks at. */
    if (generation == v->interp->generation && !from->dead && to->next_page == NO_PAGE)
        cache_link(from, side, to);
    return UOP_CALL(v, to->uop);
}

const struct uop *uop_stub_checked(struct vcpu *v, const struct uop *u)
{
    const struct block *to = uop_block(u->taken);
    if (LIKELY(code_page_is(v, to->la, to->page)))
        return UOP_CALL(v, u->taken);
    v->rip = u->rip;
    v->at = NULL;
    to = cache_find(v, 0);
    return to ? UOP_CALL(v, to->uop) : NULL;
}

const struct uop *uop_jump(struct vcpu *v, unsigned n)
{
    v->at = NULL;
    v->budget -= n;
    if (UNLIKELY(v->budget < 0 || vcpu_events(v)))
        return NULL;
    const struct block *b = *jump_slot(v, v->rip);
    if (LIKELY(b && b->rip == v->rip && b->mode == v->mode && b->cs_base == v->seg[SEG_CS].base &&
               b->cs_limit == v->seg[SEG_CS].limit && b->next_page == NO_PAGE &&
               code_page_is(v, b->la, b->page)))
        return UOP_CALL(v, b->uop);
    b = cache_find(v, 0);
    return b ? UOP_CALL(v, b->uop) : NULL;
}

/* ---- the run loop ---- */

/* Moves the count of what was executed since the last time into v->instructions. */
static void count_executed(struct vcpu *v)
{
    v->instructions += (u64)(v->interp->granted - v->budget);
    v->interp->granted = v->budget;
}

/* -d exec. The interpreter traces each instruction, for its blocks lead to each other. */
static bool traced(struct vcpu *v)
{
    if (LIKELY(!log_on(v->log, LOG_EXEC)))
        return false;
    fpu_put_away(v);
    log_printf(v->log, "EXEC: %08llx mode %08x\n", (unsigned long long)v->rip, v->mode);
    return true;
}

static void execute(struct vcpu *v, struct block *b)
{
    for (const struct uop *u = b->uop; u;)
        u = u->fn(v, u);
}

void interp_single(struct vcpu *v)
{
    bool trap = v->mode & MODE_TF;
    struct block *b = cache_find(v, MODE_SINGLE);
    execute(v, b ? b : cache_fetch_loose(v));
    if (trap)
        excp_stepped(v);
}

/* Events that are the run loop's own. False: the run ends, for the reason in *why. */
static bool own_events(struct vcpu *v, enum vcpu_exit *why)
{
    u32 events = vcpu_events(v);
    if (events & EVENT_CODE) {
        vcpu_event_clear(v, EVENT_CODE);
        cache_take_foreign(v);
    }
    if (events & EVENT_STOP) {
        vcpu_event_clear(v, EVENT_STOP);
        *why = VCPU_EXIT_STOP;
        return false;
    }
    return true;
}

bool interp_boundary(struct vcpu *v, enum vcpu_exit *why)
{
    if (!own_events(v, why))
        return false;
    while (excp_due(v) && excp_boundary(v))
        ;
    if (v->halted) {
        *why = VCPU_EXIT_HALT;
        return false;
    }
    return true;
}

/* The fault of the instruction at v->at, or of a fetch or delivery (v->at is NULL and rip right).
 */
void interp_faulted(struct vcpu *v)
{
    if (v->at) {
        v->rip = uop_rip(v, v->at);
        v->budget -= v->at->at;
        v->at = NULL;
    }
    count_executed(v);
}

bool interp_land(struct vcpu *v)
{
    interp_faulted(v);
    return excp_deliver_fault(v);
}

static i64 first_budget(u64 limit)
{
    u64 most = INT64_MAX;
    return (i64)(limit < most ? limit : most) - BLOCK_INSNS;
}

/* The budget is lower by a block than what may be executed, so that a block can be entered while it
 * is not negative; the last instructions of a limited run go one by one. */
static bool budget_spent(const struct vcpu *v)
{
    return v->budget <= -BLOCK_INSNS;
}

void interp_blocks(struct vcpu *v, struct block *b, u64 most)
{
    v->interp->granted = v->budget = (i64)most;
    execute(v, b ? b : cache_fetch_loose(v));
    count_executed(v);
}

static enum vcpu_exit run_loop(struct vcpu *v)
{
    enum vcpu_exit why = VCPU_EXIT_STOP;
    for (count_executed(v); !budget_spent(v) && interp_boundary(v, &why); count_executed(v)) {
        if (traced(v) || v->budget < 0 || excp_stepping(v)) {
            interp_single(v);
            continue;
        }
        struct block *b = cache_find(v, 0);
        execute(v, b ? b : cache_fetch_loose(v));
    }
    return why;
}

static enum vcpu_exit step_once(struct vcpu *v)
{
    enum vcpu_exit why = VCPU_EXIT_STOP;
    if (own_events(v, &why) && !(excp_due(v) && excp_boundary(v))) {
        if (v->halted)
            why = VCPU_EXIT_HALT;
        else
            interp_single(v);
    }
    return why;
}

/* Faults come back to here. A step ends with the delivery of its fault. */
static enum vcpu_exit run(struct vcpu *v, u64 limit, bool step)
{
    jmp_buf landing, *outer = v->landing;
    volatile enum vcpu_exit why = VCPU_EXIT_STOP;
    vcpu_bind_thread(v);
    v->landing = &landing;
    v->interp->granted = v->budget = first_budget(limit);
    bool faulted = setjmp(landing) != 0;
    if (faulted && !interp_land(v))
        why = VCPU_EXIT_SHUTDOWN;
    else if (!step)
        why = run_loop(v);
    else if (!faulted)
        why = step_once(v);
    count_executed(v);
    v->landing = outer;
    fpu_put_away(v);
    return why;
}

enum vcpu_exit interp_run(struct vcpu *v)
{
    return run(v, UINT64_MAX, false);
}

enum vcpu_exit interp_run_some(struct vcpu *v, u64 limit)
{
    return run(v, limit, false);
}

enum vcpu_exit interp_step(struct vcpu *v)
{
    return run(v, UINT64_MAX, true);
}
