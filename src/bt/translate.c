/* SPDX-License-Identifier: MIT
 *
 * From a block to its translation, in one pass:
 *
 *     start   the guard for indirect jumps, if it has been reached by one
 *     entry   code of instruction 0, 1, … n-1
 *             jump to what follows, if the last one does not jump
 *             where a call comes back to
 *     cold    elsewhere, what is rarely wanted: the FPU's check, exits that are not linked
 */
#include "bt/observe.h"
#include "bt/xl.h"
#include "cpu/fpu.h"

/* More than any block or trace needs: an instruction takes less than 160 bytes with all that it
 * entails, an open call at an exit of a trace less than 10. */
#define MOST_CODE (JOIN_INSNS * 160 + SELF_BYTES * 8 + 512)
#define MOST_COLD (JOIN_INSNS * 32 + EXITS_MOST * (96 + PATH_DEPTH * 10) + 512)

static void put_callout(struct xl *x, const struct cached_insn *ci)
{
    xl_settle_sp(x);
    xl_x87_flush(x);
    asm_mov_imm32(&x->a, HR_T0, (u32)xl_place(x, ci));
    if (ci->fn == uop_exec_end)
        asm_jmp(&x->a, x->bt->thunk.last_callout); /* a return would be predicted to come here */
    else
        asm_call(&x->a, x->bt->thunk.callout);
    x->bt->stats.callout_insns++;
}

static bool put_native(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    if (ci->faults)
        return false;
    if (ci->patched)
        return xl_patched(x, ci);
    switch (op_row(in)->cls) {
    case CLASS_PLAIN: return in->op == OP_CLD ? xl_sys(x, ci) : xl_int(x, in);
    case CLASS_CARE: return xl_int(x, in);
    case CLASS_STACK: return xl_stack(x, in);
    case CLASS_BRANCH: return xl_flow(x, ci);
    case CLASS_X87:
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_AVX: return xl_fpu(x, ci);
    case CLASS_STRING: return xl_string(x, in);
    default: return xl_sys(x, ci);
    }
}

void xl_set_mode(struct xl *x, u32 mode)
{
    x->mode = mode;
    x->view = bt_view(mode);
}

static size_t tcode_bytes(unsigned insns)
{
    return align_up(sizeof(struct tcode) + (insns + 1) * (sizeof(u16) + sizeof(i16)) + insns, 16);
}

#define TCODE_MOST                                                                                 \
    (tcode_bytes(JOIN_INSNS) + EXITS_MOST * sizeof(struct texit) + sizeof(struct trace) + 16)

static bool has_room(const struct bt *bt)
{
    return bt->used + MOST_CODE <= COLD_AT && bt->cold_used + MOST_COLD <= bt->mem.size &&
           bt->count < CODES && bt->arena_used + TCODE_MOST <= ARENA_BYTES;
}

static void *take(struct bt *bt, size_t size)
{
    void *at = bt->arena + bt->arena_used;
    bt->arena_used += align_up(size, 16);
    return at;
}

static struct tcode *new_tcode(struct bt *bt, struct block *b, const struct path *p, u8 *start)
{
    struct tcode *t = take(bt, tcode_bytes(b->insns));
    *t = (struct tcode){.b = b, .start = start};
    t->exit = take(bt, EXITS_OF(p ? p->parts : 0) * sizeof *t->exit);
    if (p) {
        t->trace = take(bt, sizeof *t->trace);
        *t->trace = (struct trace){0};
    }
    t->sp = (i16 *)&t->at[b->insns + 1];
    t->sp[b->insns] = 0;
    t->misses = (u8 *)&t->sp[b->insns + 1];
    memset(t->misses, 0, b->insns);
    return t;
}

/* In another page than the trace has begun in, and nothing is known of it yet. */
static bool part_needs_check(const struct xl *x)
{
    const struct block *b = x->path->part[x->part];
    return !x->key_checked && (((u32)b->la ^ (u32)x->b->la) & ~(u32)PAGE_OFFSET_MASK);
}

/* From here on the instructions are from the trace's next block. */
static void begin_part(struct xl *x, unsigned n)
{
    bool check = part_needs_check(x);
    const struct block *b = x->path->part[x->part++];
    x->from = b;
    x->part_begins = n;
    x->page = b->page;
    x->la = (u32)b->la;
    x->next_part = n + b->insns;
    if (!check)
        return;
    x->t->trace->free = x->free;
    if (x->free)
        return;
    xl_x87_flush(x);
    xl_put_trace_check(x, (u32)b->rip);
    x->key_checked = true;
}

/* Whether ESP has to be in its register before this instruction, which may begin a part. A branch
 * that the trace goes on behind leaves that to who leaves there. */
static bool wants_sp(const struct xl *x, const struct cached_insn *ci, bool begins)
{
    if (x->sp != (i16)x->sp || ci->patched || (begins && part_needs_check(x)))
        return true;
    bool branch = ci->in.op == OP_JCC || (ci->in.op == OP_JMP && ci->in.operand[0].kind == OPD_REL);
    return xl_reads_sp(&ci->in) && !(branch && xl_goes_on(x));
}

static void put_insns(struct xl *x)
{
    const struct block *b = x->b;
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        bool begins = x->path && n == x->next_part;
        x->n = n;
        if (wants_sp(x, ci, begins))
            xl_settle_sp(x);
        x->t->at[n] = (u16)(asm_here(&x->a) - x->t->entry);
        x->t->sp[n] = (i16)x->sp;
        if (begins)
            begin_part(x, n);
        xl_x87_before(x, &ci->in);
        unsigned at = n - x->part_begins; /* of the block that it is from */
        x->direct = (b->mode & MODE_WINDOW) && !(x->from->checked >> at & 1);
        if ((x->from->left_to_c >> at & 1) || !put_native(x, ci))
            put_callout(x, ci);
        if (x->mode != b->mode)
            x->t->smap_switched |= bit64(at);
    }
    x->n = b->insns;
    xl_settle_sp(x);
    xl_x87_flush(x);
    x->t->at[b->insns] = (u16)(asm_here(&x->a) - x->t->entry);
    const struct cached_insn *last = &b->insn[b->insns - 1];
    if (last->fn != uop_exec_end)
        xl_exit_jmp(x, last->rip + last->in.len);
}

/* Links between other pages would be right too, but undone at each MOV to CR3. */
static bool needs_no_guards(const struct vcpu *v, const struct block *b, const struct path *p)
{
    bool global = tlb_is_global(v, b->la, mem_fetch_view(v));
    for (unsigned k = 1; p && k < p->parts; k++)
        global &= tlb_is_global(v, p->part[k]->la, mem_fetch_view(v));
    return (b->mode & MODE_CPL) != 3 && !bt_of(v)->guards && global;
}

/* With a path: of its blocks, whose instructions b has. */
static struct tcode *make(struct vcpu *v, struct block *b, const struct path *p)
{
    struct bt *bt = bt_of(v);
    fpu_put_away(v); /* memcpy() may use its registers */
    if (!has_room(bt))
        return NULL;
    u8 *at = bt->mem.write + bt->used, *cold = bt->mem.write + bt->cold_used;
    struct xl x = {.bt = bt,
                   .v = v,
                   .b = b,
                   .path = p,
                   .from = b,
                   .page = b->page,
                   .la = (u32)b->la,
                   .free = needs_no_guards(v, b, p)};
    xl_set_mode(&x, b->mode);
    asm_init(&x.a, at, MOST_CODE, bt->mem.exec - bt->mem.write);
    asm_init(&x.cold, cold, MOST_COLD, bt->mem.exec - bt->mem.write);
    x.t = new_tcode(bt, b, p, asm_here(&x.a));
    x.t->cold = asm_here(&x.cold);
    u64 callouts = bt->stats.callout_insns;
    if (b->by_jump)
        xl_put_entry_guard(&x);
    x.t->entry = asm_here(&x.a);
    xl_put_way_in(&x);
    xl_check_self(&x);
    put_insns(&x);
    xl_finish_fpu(&x);
    xl_finish_exits(&x);
    x.t->size = (u32)(x.a.at - at);
    x.t->cold_size = (u32)(x.cold.at - cold);
    bt->cold_used += x.t->cold_size;
    tcode_add(bt, x.t);
    /* A killed one's entry takes so many bytes: see cache.c. */
    u32 least = (u32)(x.t->entry - x.t->start) + TCODE_LEAST;
    bt->used += align_up(x.t->size > least ? x.t->size : least, TCODE_LEAST);
    bt->stats.translations++;
    bt->stats.sensitive += bt->stats.callout_insns != callouts;
    bt->stats.insns += b->insns;
    bt->stats.guest_bytes += b->bytes;
    bt->stats.code_bytes += x.t->size + x.t->cold_size;
    b->code = x.t;
    observe_made(bt, x.t);
    return x.t;
}

struct tcode *translate(struct vcpu *v, struct block *b)
{
    return make(v, b, NULL);
}

struct tcode *translate_trace(struct vcpu *v, struct block *joined, const struct path *p)
{
    return make(v, joined, p);
}
