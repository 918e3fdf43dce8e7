/* SPDX-License-Identifier: MIT
 *
 * Near control flow. Known targets leave by links, those in another page with a guard; calls and
 * returns are the host's (returns.h); other jumps go by the table of targets. The code segment is
 * flat, so no target is beyond its limit.
 */
#include "bt/xl.h"

static bool same_page(u32 la, u32 target)
{
    return !((target ^ la) & ~(u32)PAGE_OFFSET_MASK);
}

static bool needs_guard(const struct xl *x, u32 la, u32 target)
{
    return !same_page(la, target) && !x->free;
}

/* Links lead to where the mode is that of this block. */
static bool can_link(const struct xl *x)
{
    return x->mode == x->b->mode;
}

static void put_lookup(struct xl *x, struct asm_buf *a, u32 target)
{
    asm_mov_imm32(a, HR_T0, target);
    asm_jmp(a, x->bt->thunk.jump);
}

/* ---- exits ---- */

static struct xl_exit *note_exit(struct xl *x, u8 *field, u32 target)
{
    struct xl_exit *e = &x->exit[x->exits++];
    *e = (struct xl_exit){.field = field,
                          .target = target,
                          .page = x->page,
                          .la = x->la,
                          .depth = x->depth,
                          .sp = x->sp,
                          .opener = x->depth ? x->opener[x->depth - 1] : NULL,
                          .live = x->fpu_checked};
    return e;
}

/* Goes on if the upper half of the key is the one that is noted at *key. Flags stay as they are.
 * Returns the field of the jump for when it differs, with RCX in HR_T3. */
static u8 *put_key_compare(struct asm_buf *a, u8 **key)
{
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU_UPPER(code_key));
    asm_rm(a, XO_LEA, X64_RCX, x64_at(X64_RCX, INT32_MAX)); /* a displacement of 32 bits */
    *key = a->at - sizeof(u32);
    u8 *same = asm_jrcxz(a);
    u8 *differs = asm_jmp(a, NULL);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, HR_T3);
    return differs;
}

/* The same with the key that an exit is linked for; a second jump, or a call, goes on. */
static u8 *put_key_check(struct asm_buf *a, u8 **guard_key, u8 **guard_field, bool call)
{
    u8 *differs = put_key_compare(a, guard_key);
    *guard_field = call ? asm_call(a, NULL) : asm_jmp(a, NULL);
    return differs;
}

void xl_exit_jmp(struct xl *x, u32 target)
{
    if (!can_link(x)) {
        put_lookup(x, &x->a, target);
    } else if (!needs_guard(x, x->la, target)) {
        note_exit(x, asm_jmp(&x->a, NULL), target);
    } else {
        struct xl_exit *e = note_exit(x, NULL, target);
        e->field = put_key_check(&x->a, &e->guard_key, &e->guard_field, false);
    }
}

/* Likewise with a call, which comes back right behind it. */
static void exit_call(struct xl *x, u32 target)
{
    if (can_link(x) && needs_guard(x, x->la, target)) {
        struct xl_exit *e = note_exit(x, NULL, target);
        e->field = put_key_check(&x->a, &e->guard_key, &e->guard_field, true);
    } else {
        note_exit(x, asm_call(&x->a, NULL), target);
    }
}

void xl_exit_jcc(struct xl *x, enum x64_cc cc, u32 target)
{
    note_exit(x, asm_jcc(&x->a, cc, NULL), target);
}

/* A call's guard has not let pass: what it comes back to is put on the stack all the same. */
static void put_push_back(struct xl *x)
{
    struct asm_buf *a = &x->cold;
    if (!x->back.at)
        return;
    u8 *field = asm_lea_here(a, HR_T1);
    asm_patch_rel32(field, field + a->delta, x->back.at);
    asm_push(a, HR_T1);
}

/* HR_T3 is RCX. */
static void put_miss(struct xl *x, u32 target)
{
    asm_copy64(&x->cold, X64_RCX, HR_T3);
    asm_mov_imm32(&x->cold, HR_T0, target);
    asm_call(&x->cold, x->bt->thunk.miss);
}

static struct texit *new_exit(struct xl *x, u8 *field, u32 target, u64 page)
{
    struct texit *e = &x->t->exit[x->t->exits++];
    *e = (struct texit){.from = x->t, .field = field, .target = target, .page = page};
    e->stub = e->unlinked = asm_here(&x->cold);
    return e;
}

/* The stack of returns does not know of calls that are part of a trace: those that are open where
 * it is left return by the table of jumps. */
static void put_open_calls(struct xl *x, struct asm_buf *a, unsigned depth)
{
    while (depth--) {
        u8 *field = asm_lea_here(a, HR_T1);
        asm_patch_rel32(field, field + a->delta, x->bt->thunk.jump);
        asm_push(a, HR_T1);
    }
}

/* Where a trace is left, the guest's stack pointer is in its register. */
static void put_sp(struct asm_buf *a, i32 sp)
{
    if (sp)
        asm_rm(a, XO_LEA, HR_SP, x64_at(HR_SP, sp));
}

/* What an exit leads to as long as it is not linked, and what its guard does not let pass. */
static void finish_exit(struct xl *x, const struct xl_exit *exit)
{
    struct asm_buf *a = &x->cold;
    u8 *field = exit->field;
    asm_rel32_here(a, field);
    put_sp(a, exit->sp);
    if (!can_link(x)) {
        put_lookup(x, a, exit->target);
        return;
    }
    if (exit->depth || exit->sp) {
        put_open_calls(x, a, exit->depth);
        field = asm_jmp(a, NULL);
        asm_rel32_here(a, field);
    }
    struct texit *e = new_exit(x, field, exit->target, exit->page);
    e->live = exit->live;
    e->opener = exit->opener;
    if (exit->guard_field) {
        e->guard_key = exit->guard_key;
        e->guard_field = exit->guard_field;
        asm_copy64(a, X64_RCX, HR_T3);
        put_push_back(x);
        e->stub = asm_here(a);
        asm_rel32_here(a, e->guard_field);
    }
    asm_call(a, x->bt->thunk.link);
    e->lookup = asm_here(a);
    put_lookup(x, a, exit->target);
    e->free = x->free && !same_page(exit->la, exit->target);
    if (!needs_guard(x, exit->la, exit->target))
        return;
    e->guard = asm_here(a);
    if (exit->guard_field) {
        put_push_back(x);
    } else {
        asm_rel32_here(a, put_key_check(a, &e->guard_key, &e->guard_field, false));
        asm_rel32_here(a, e->guard_field);
    }
    put_miss(x, exit->target);
}

u8 *xl_put_wide_test(struct asm_buf *a, u8 **same)
{
    asm_rm(a, XO_LEA | X64_W, X64_RCX, x64_indexed(HR_T2, HR_T1, 1, 0));
    *same = asm_jrcxz(a);
    return asm_jmp(a, NULL);
}

/* By the table of targets, to HR_T0: the verifier knows this form. */
static void put_target_jump(struct asm_buf *a, void (*go)(struct asm_buf *, struct x64_mem))
{
    asm_mov_imm32(a, HR_T1, TARGET_MASK);
    asm_pext(a, HR_T1, HR_T0, HR_T1);
    go(a, x64_indexed(HR_VCPU, HR_T1, sizeof(u8 *), (i32)offsetof(struct vcpu, targets)));
}

/* Where a call comes back to: HR_T0 is where the guest returns to. That and target_key have to be
 * target and key of the link, whose sum is looked at in 64 bits. */
static void put_return_point(struct xl *x, u32 target)
{
    struct asm_buf *a = &x->a;
    x->back.target = target;
    x->back.at = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_load64(a, HR_T2, VCPU(target_key));
    asm_mov_imm64(a, HR_T1, 0);
    x->back.key = a->at - sizeof(u64);
    asm_rm(a, XO_LEA | X64_W, HR_T2, x64_indexed(HR_T2, HR_T0, 1, 0));
    u8 *same;
    x->back.differs = xl_put_wide_test(a, &same);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, HR_T3);
    x->back.field = asm_jmp(a, NULL);
}

static void finish_return(struct xl *x)
{
    struct asm_buf *a = &x->cold;
    u32 target = x->back.target;
    asm_rel32_here(a, x->back.differs);
    asm_rm(a, XO_LEA, X64_RCX, x64_at(HR_T0, -(i32)target));
    u8 *key_differs = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    put_target_jump(a, asm_jmp_mem); /* a return that is an indirect jump */
    asm_short_here(a, key_differs);
    asm_copy64(a, X64_RCX, HR_T3);
    struct texit *e = new_exit(x, x->back.field, target, x->page);
    e->is_return = true;
    e->guard_key = x->back.key;
    e->guard = asm_here(a);
    e->guard_field = x->back.field;
    asm_rel32_here(a, e->guard_field);
    asm_call(a, x->bt->thunk.miss);
}

void xl_finish_exits(struct xl *x)
{
    for (unsigned i = 0; i < x->exits; i++)
        finish_exit(x, &x->exit[i]);
    if (x->back.at)
        finish_return(x);
}

/* ---- instructions ---- */

static void put_push_return(struct xl *x, u32 next)
{
    asm_mov_mem_imm32(&x->a, xl_stack_mem(x, REG_SP, -4, 4, true), next);
    xl_adjust_sp(x, -4);
}

static struct x64_mem target_slot(u32 target)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, targets) + (target & TARGET_MASK) * sizeof(u8 *)));
}

/* Lets `target` lead to a place of this code; returns the field for it. */
static u8 *put_target(struct asm_buf *a, u32 target)
{
    u8 *field = asm_lea_here(a, HR_T0);
    asm_store64(a, HR_T0, target_slot(target));
    return field;
}

/* To HR_T0. The jump itself is here, so that the host predicts each one by itself; run.c knows the
 * form of the second. */
static void put_jump(struct xl *x, bool call)
{
    void (*go)(struct asm_buf *, struct x64_mem) = call ? asm_call_mem : asm_jmp_mem;
    if (can_link(x)) {
        put_target_jump(&x->a, go);
    } else {
        asm_call(&x->a, x->bt->thunk.find);
        go(&x->a, x64_at(HR_T2, offsetof(struct tjump, host)));
    }
}

static struct x64_mem target_tag_slot(u32 target)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, target_tags) + (target & TARGET_MASK) * sizeof(u64)));
}

/* Who comes by an indirect jump passes if the tag is the sum of its target and key, inverted. */
void xl_put_entry_guard(struct xl *x)
{
    struct asm_buf *a = &x->a;
    x->t->guarded = true;
    asm_copy64(a, HR_T3, X64_RCX);
    asm_load64(a, HR_T2, VCPU(target_key));
    asm_load64(a, HR_T1, target_tag_slot((u32)x->b->rip));
    asm_rm(a, XO_LEA | X64_W, HR_T2, x64_indexed(HR_T2, HR_T0, 1, 1));
    u8 *same, *differs = xl_put_wide_test(a, &same);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, HR_T3);

    asm_rel32_here(&x->cold, differs);
    asm_copy64(&x->cold, X64_RCX, HR_T3);
    asm_jmp(&x->cold, x->bt->thunk.jump);
}

/* What the table of jumps leads to: the entry, by way of code that makes its guard known. */
void xl_put_way_in(struct xl *x)
{
    struct asm_buf *a = &x->cold;
    u32 rip = (u32)x->b->rip;
    x->t->way_in = x->t->entry;
    if (!x->t->guarded)
        return;
    x->t->way_in = asm_here(a);
    u8 *guard = put_target(a, rip);
    asm_patch_rel32(guard, guard + a->delta, x->t->start);
    asm_load64(a, HR_T0, VCPU(code_key));
    asm_mov_imm32(a, HR_T1, rip);
    asm_rm(a, XO_LEA | X64_W, HR_T0, x64_indexed(HR_T0, HR_T1, 1, 0));
    asm_rr(a, XO_GROUP3 | X64_W, XG3_NOT, HR_T0);
    asm_store64(a, HR_T0, target_tag_slot(rip));
    asm_jmp(a, x->t->entry);
}

/* ---- traces ---- */

/* Only what lies in the pages that the trace was made from may follow. */
void xl_put_trace_check(struct xl *x, u32 rip)
{
    struct asm_buf *a = &x->a, *cold = &x->cold;
    u8 *key;
    u8 *differs = put_key_compare(a, &key);

    asm_rel32_here(cold, differs);
    asm_copy64(cold, X64_RCX, HR_T3);
    put_open_calls(x, cold, x->depth);
    struct texit *e = new_exit(x, NULL, rip, x->page);
    e->is_check = true;
    e->guard_key = key;
    tcode_set_key(x->v, e);
    asm_mov_imm32(cold, HR_T0, rip);
    asm_call(cold, x->bt->thunk.miss);
}

/* ---- where instructions go ---- */

/* HR_T0 = the target of an indirect jump or call. */
static bool put_operand(struct xl *x, const struct insn *in)
{
    const struct operand *o = &in->operand[0];
    if (o->kind == OPD_GPR) {
        asm_rr(&x->a, XO_MOV_LOAD, HR_T0, host_gpr(o->reg));
        return true;
    }
    if (o->kind != OPD_MEM || !xl_mem_ok(in))
        return false;
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_mem(x, in, 4, false));
    return true;
}

/* From here on the call in hand is open. */
static void open_call(struct xl *x)
{
    x->opener[x->depth++] = x->path->part[x->part - 1];
}

/* Within a trace: it goes on if HR_T0 is the address of its next instruction. Else `depth` calls
 * are open where it is left. */
static void put_go_on(struct xl *x, unsigned depth)
{
    struct asm_buf *a = &x->a, *cold = &x->cold;
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_LEA, X64_RCX, x64_at(HR_T0, -(i32)x->b->insn[x->n + 1].rip));
    u8 *same = asm_jrcxz(a), *differs = asm_jmp(a, NULL);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, HR_T3);

    asm_rel32_here(cold, differs);
    asm_copy64(cold, X64_RCX, HR_T3);
    put_sp(cold, x->sp);
    put_open_calls(x, cold, depth);
    put_target_jump(cold, asm_jmp_mem);
}

static bool put_jmp(struct xl *x, const struct insn *in, u32 target)
{
    if (in->operand[0].kind == OPD_REL) {
        if (!xl_goes_on(x))
            xl_exit_jmp(x, target);
        return true;
    }
    if (!put_operand(x, in))
        return false;
    if (xl_goes_on(x))
        put_go_on(x, x->depth);
    else
        put_jump(x, false);
    return true;
}

/* HR_T0 = the target. */
static void put_call_to(struct xl *x, u32 next)
{
    xl_put_aside(x);
    put_push_return(x, next);
    xl_take_back(x, HR_T0);
    if (xl_goes_on(x)) {
        put_go_on(x, x->depth + 1);
        open_call(x);
        return;
    }
    xl_settle_sp(x);
    put_jump(x, true);
    put_return_point(x, next);
}

void xl_flow_relative(struct xl *x, const struct cached_insn *ci)
{
    u32 next = ci->rip + ci->in.len;
    asm_rm(&x->a, XO_LEA, HR_T0, x64_at(HR_T1, (i32)next));
    if (ci->in.op == OP_CALL)
        put_call_to(x, next);
    else
        put_jump(x, false);
}

static bool put_call(struct xl *x, const struct insn *in, u32 next, u32 target)
{
    if (in->operand[0].kind == OPD_REL) {
        put_push_return(x, next);
        bool returns = target != next; /* not when old code asks where it is */
        if (xl_goes_on(x)) {
            if (returns)
                open_call(x);
            return true;
        }
        xl_settle_sp(x);
        if (!returns) {
            xl_exit_jmp(x, target);
            return true;
        }
        exit_call(x, target);
        put_return_point(x, next);
        return true;
    }
    if (!put_operand(x, in))
        return false;
    put_call_to(x, next);
    return true;
}

static bool put_ret(struct xl *x, const struct insn *in)
{
    i32 extra = in->imm_len ? (i32)(in->imm & 0xffff) : 0;
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_stack_mem(x, REG_SP, 0, 4, false));
    xl_adjust_sp(x, 4 + extra);
    if (xl_goes_on(x)) {
        put_go_on(x, --x->depth);
        return true;
    }
    xl_settle_sp(x);
    asm_ret(&x->a);
    return true;
}

static bool put_loop(struct xl *x, const struct insn *in, u32 next, u32 target)
{
    u8 *zero, *other = NULL;
    if (in->adsize != 4)
        return false;
    if (in->op == OP_JCXZ) {
        zero = asm_jecxz(&x->a);
        note_exit(x, asm_jmp(&x->a, NULL), next);
        asm_short_here(&x->a, zero);
        xl_exit_jmp(x, target);
        return true;
    }
    asm_rm(&x->a, XO_LEA, X64_RCX, x64_at(X64_RCX, -1));
    zero = asm_jecxz(&x->a);
    if (in->op == OP_LOOPE)
        other = asm_jcc_short(&x->a, XCC_NZ);
    else if (in->op == OP_LOOPNE)
        other = asm_jcc_short(&x->a, XCC_Z);
    note_exit(x, asm_jmp(&x->a, NULL), target);
    asm_short_here(&x->a, zero);
    if (other)
        asm_short_here(&x->a, other);
    xl_exit_jmp(x, next);
    return true;
}

static void put_jcc(struct xl *x, enum x64_cc cc, u32 next, u32 target)
{
    if (!xl_goes_on(x)) {
        xl_exit_jcc(x, cc, target);
        xl_exit_jmp(x, next);
    } else if (x->b->insn[x->n + 1].rip == next) {
        xl_exit_jcc(x, cc, target);
    } else {
        xl_exit_jcc(x, cc ^ 1, next);
    }
}

bool xl_flow(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    u32 next = ci->rip + in->len, mask = (u32)mask64(in->opsize * 8);
    u32 target = (next + (u32)in->imm) & mask;
    if (in->op == OP_JCC) {
        put_jcc(x, in->opcode & 15, next, target);
        return true;
    }
    if (in->op != OP_LOOP && in->op != OP_LOOPE && in->op != OP_LOOPNE && in->op != OP_JCXZ &&
        in->opsize != 4)
        return false;
    switch (in->op) {
    case OP_JMP: return put_jmp(x, in, target);
    case OP_CALL: return put_call(x, in, next, target);
    case OP_RET: return put_ret(x, in);
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ: return put_loop(x, in, next, target);
    default: return false;
    }
}
