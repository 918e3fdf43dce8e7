/* SPDX-License-Identifier: MIT */
#include "bt/path.h"

#include <x86intrin.h>

#include "bt/observe.h"
#include "bt/xl.h"
#include "cpu/code_map.h"
#include "cpu/fpu.h"
#include "cpu/optable.h"

/* ---- what may follow what ---- */

/* All of its instructions are as they were read, in one page, which is guarded, and it leaves the
 * mode as it is. */
static bool may_be_part(const struct block *b)
{
    bool smap = b->mode & MODE_SMAP, ends_with_smap = smap;
    if (!(b->mode & MODE_WINDOW) || b->next_page != NO_PAGE || b->copy)
        return false;
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        if (ci->patched || (ci->fn == uop_exec_mode && !xl_has_thunk(&ci->in)))
            return false;
        if (ci->in.op == OP_STAC || ci->in.op == OP_CLAC)
            ends_with_smap = ci->in.op == OP_CLAC;
    }
    return smap == ends_with_smap;
}

/* What is tracked of x87 instructions are bits of a word. */
static bool has_x87(const struct block *b)
{
    for (unsigned n = 0; n < b->insns; n++) {
        if (op_row(&b->insn[n].in)->cls == CLASS_X87)
            return true;
    }
    return false;
}

static const struct cached_insn *last_insn(const struct block *b)
{
    return &b->insn[b->insns - 1];
}

static u32 address_after(const struct cached_insn *ci)
{
    return ci->rip + ci->in.len;
}

/* An indirect call or jump that mostly leads to the same place: by a pointer that the linker has
 * put somewhere, or in a kernel, which has them for what is chosen once. Not by a table of jumps.
 */
static bool has_usual_target(const struct block *b, const struct insn *in)
{
    const struct operand *o = &in->operand[0];
    bool kernel = !(b->mode & MODE_CPL);
    if (in->opsize != 4)
        return false;
    if (o->kind == OPD_GPR)
        return kernel && in->op == OP_CALL;
    if (o->kind != OPD_MEM || !xl_mem_ok(in))
        return false;
    return (kernel && in->op == OP_CALL) || (in->index >= 8 && (in->op == OP_JMP || in->base >= 8));
}

/* How many calls more are open after a block that ends so. */
static int depth_by(const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    if (in->op == OP_CALL && in->opsize == 4) /* to the next one: how old code asks where it is */
        return in->operand[0].kind != OPD_REL || in->imm != 0;
    return in->op == OP_RET ? -1 : 0;
}

/* Where the innermost open call returns to. */
static u32 return_address(const struct path *p)
{
    int depth = 0;
    unsigned k = p->parts - 1; /* ends with the return */
    while (depth <= 0)
        depth += depth_by(last_insn(p->part[--k]));
    return address_after(last_insn(p->part[k]));
}

/* Translated code goes on from the end of the path at `rip` by itself. */
static bool goes_on_at(const struct path *p, u32 rip)
{
    const struct block *b = p->part[p->parts - 1];
    const struct cached_insn *ci = last_insn(b);
    const struct insn *in = &ci->in;
    u32 next = address_after(ci), target = next + (u32)in->imm;
    if (ci->fn != uop_exec_end)
        return !ci->faults && rip == next;
    if (op_row(in)->cls == CLASS_STRING)
        return rip == next;
    if (in->opsize != 4)
        return false;
    switch (in->op) {
    case OP_JCC: return rip == next || rip == target;
    case OP_JMP:
    case OP_CALL:
        if (in->op == OP_CALL && b->calls_out)
            return false;
        return in->operand[0].kind == OPD_REL ? rip == target : has_usual_target(b, in);
    case OP_RET: return p->depth > 0 && rip == return_address(p);
    default: return false;
    }
}

/* Whether it goes on to where the code says, or usually the same way. */
static bool has_known_target(const struct block *b)
{
    const struct cached_insn *ci = last_insn(b);
    const struct insn *in = &ci->in;
    if (ci->fn != uop_exec_end)
        return !ci->faults;
    if (op_row(in)->cls == CLASS_STRING || in->op == OP_JCC)
        return true;
    if (in->op == OP_CALL && b->calls_out)
        return false;
    return (in->op == OP_JMP || in->op == OP_CALL) &&
           (in->operand[0].kind == OPD_REL || has_usual_target(b, in));
}

static bool may_begin(const struct block *b)
{
    return !b->alone && has_known_target(b) && may_be_part(b);
}

static bool begins_a_trace(const struct block *b)
{
    const struct tcode *t = b->code;
    return t && t->trace;
}

static int depth_after(const struct path *p)
{
    return p->depth + depth_by(last_insn(p->part[p->parts - 1]));
}

/* Going on with b would be a loop. Functions may be called more than once. */
static bool would_loop(const struct path *p, const struct block *b)
{
    int depth = depth_after(p);
    for (unsigned k = p->parts; k-- > 0;) {
        if (p->depth_at[k] > depth)
            continue; /* has returned */
        depth = p->depth_at[k];
        if (p->part[k] == b)
            return true;
    }
    return false;
}

static bool follows(const struct path *p, const struct block *b)
{
    unsigned most = p->x87 || has_x87(b) ? BLOCK_INSNS : JOIN_INSNS;
    return p->parts < PATH_PARTS && p->insns + b->insns <= most && depth_after(p) < PATH_DEPTH &&
           b->mode == p->part[0]->mode && goes_on_at(p, (u32)b->rip) && !would_loop(p, b) &&
           (depth_after(p) || !begins_a_trace(b));
}

/* Where STAC or CLAC has changed the mode the interpreter leaves the block in its midst, as the
 * translation does not: b is the rest of the path's last block. */
static bool is_rest_of_last(const struct path *p, const struct block *b)
{
    const struct block *last = p->part[p->parts - 1];
    for (unsigned n = 1; n < last->insns; n++) {
        if (last->insn[n].rip == (u32)b->rip)
            return last->insn[n - 1].fn == uop_exec_mode;
    }
    return false;
}

/* Whatever comes after the last block, it is not known before. The block may change the mode. */
static bool is_at_end(const struct path *p)
{
    const struct block *last = p->part[p->parts - 1];
    return !has_known_target(last) && (last_insn(last)->in.op != OP_RET || p->depth <= 0);
}

/* ---- the end of a path ---- */

/* Calls whose returns are not on the path end it. */
static void leave_out_open_calls(struct path *p)
{
    int depth = 0;
    unsigned outermost = 0;
    for (unsigned k = 0; k < p->parts; k++) {
        int by = k + 1 < p->parts ? depth_by(last_insn(p->part[k])) : 0;
        if (by > 0 && !depth)
            outermost = k;
        depth += by;
    }
    if (depth)
        p->parts = outermost + 1;
}

/* Its page is where it was, and the key hangs on that from now on. */
static bool hold(struct vcpu *v, const struct block *b)
{
    if (b->dead || !code_page_is(v, b->la, b->page))
        return false;
    code_map_note(v, b->la, v->cpl == 3);
    return true;
}

static void add_part(struct trace *trace, struct tcode *t, struct block *b, unsigned first)
{
    struct trace_part *part = &trace->part[trace->parts++];
    *part = (struct trace_part){
        .block = b, .t = t, .next = b->traces, .prev = &b->traces, .first = (u8)first};
    if (part->next)
        part->next->prev = &part->next;
    b->traces = part;
}

/* Takes the place of the first block's translation. */
static void make_trace(struct vcpu *v, const struct path *p)
{
    struct block *head = p->part[0], *joined;
    fpu_put_away(v); /* memcpy() may use its registers */
    for (unsigned k = 0; k < p->parts; k++) {
        if (!hold(v, p->part[k]))
            return;
    }
    tcode_update_key(v);
    joined = cache_join(v, p->part, p->parts);
    if (!joined)
        return;
    if (head->code)
        tcode_end(bt_of(v), head->code);
    struct tcode *t = translate_trace(v, joined, p);
    if (!t)
        return;
    unsigned first = 0;
    for (unsigned k = 0; k < p->parts; k++) {
        add_part(t->trace, t, p->part[k], first);
        first += p->part[k]->insns;
    }
    head->code = t;
    v->map_links |= t->trace->free;
    bt_of(v)->stats.traces++;
}

void path_meant_again(struct vcpu *v, const struct tcode *t, const struct texit *x)
{
    for (unsigned k = 0; k < t->trace->parts; k++) {
        if (!hold(v, t->trace->part[k].block))
            return; /* another program is at these addresses */
    }
    tcode_update_key(v);
    tcode_set_key(v, x);
}

static void end(struct vcpu *v)
{
    struct path p = bt_of(v)->path;
    bt_of(v)->path.parts = 0;
    if (v->mode != p.part[0]->mode)
        return; /* it will be hot again */
    leave_out_open_calls(&p);
    if (p.parts > 1)
        make_trace(v, &p);
    else
        p.part[0]->alone = true;
}

/* ---- recording ---- */

bool path_take(struct vcpu *v, struct block *b)
{
    struct path *p = &bt_of(v)->path;
    if (b && p->parts && is_rest_of_last(p, b))
        return true;
    bool takes = b && may_be_part(b) && (p->parts ? follows(p, b) : b->hot) &&
                 (!bt_of(v)->check || check_repeats(b));
    if (!takes) {
        if (p->parts)
            end(v);
        return false;
    }
    p->depth = p->parts ? depth_after(p) : 0;
    p->insns = p->parts ? p->insns + b->insns : b->insns;
    p->x87 = (p->parts && p->x87) || has_x87(b);
    p->depth_at[p->parts] = (i8)p->depth;
    p->part[p->parts++] = b;
    b->hot = false;
    if (!is_at_end(p))
        return true;
    end(v);
    return false;
}

/* ---- what was not worth it ---- */

#define LEAVES        64    /* of a trace by one exit */
#define LEAVES_CYCLES 20000 /* a time: TSC */

bool path_leaves(struct bt *bt, struct texit *x)
{
    if (!x->opener)
        return true;
    u64 now = __rdtsc();
    if (!x->taken++)
        x->since = now;
    if (x->taken < LEAVES)
        return false;
    struct block *opener = x->opener;
    x->opener = NULL;
    if (now - x->since > LEAVES * LEAVES_CYCLES)
        return true;
    opener->calls_out = true;
    tcode_end(bt, x->from);
    return false;
}

/* ---- what is hot ---- */

#define SAMPLE_NS     1000000
#define SAMPLE_CYCLES 2000000 /* of the TSC: about as long */
#define SAMPLES       2       /* that make a translation hot */

/* Not where each run of a block is to be told. */
static bool wanted(const struct vcpu *v)
{
    return !log_on(v->log, LOG_EXEC);
}

bool path_begins(struct vcpu *v, struct block *b)
{
    struct bt *bt = bt_of(v);
    b->hot |= bt->traces_at_once && wanted(v) && may_begin(b);
    return b->hot;
}

static void look_at(struct bt *bt, struct tcode *t)
{
    struct block *b = t->b;
    if (t->dead || t->trace || !may_begin(b) || ++b->samples < SAMPLES)
        return;
    b->samples = 0;
    b->hot = true;
    tcode_end(bt, t);
}

/* Time in which the CPU sleeps is not sampled: a knock would only wake it. */
void path_halted(struct vcpu *v)
{
    bt_of(v)->halted_at = __rdtsc();
}

void path_woken(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    if (bt->halted_at)
        bt->sample_set += __rdtsc() - bt->halted_at;
    bt->halted_at = 0;
}

void path_sample(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    u64 now = __rdtsc();
    if (bt->sampled && wanted(v))
        look_at(bt, bt->sampled);
    bt->sampled = NULL;
    if (now - bt->sample_set < SAMPLE_CYCLES)
        return;
    bt->sample_set = now;
    fpu_put_away(v);
    hosttrap_knock_in(&bt->sampler, SAMPLE_NS);
}
