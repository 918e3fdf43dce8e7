/* SPDX-License-Identifier: MIT
 *
 * Near control flow. Targets within the page leave by links, all others by the table of jumps. The
 * code segment is flat, so no target is beyond its limit.
 */
#include "bt/xl.h"

static bool same_page(const struct xl *x, u32 target)
{
    return !((target ^ (u32)x->b->la) & ~(u32)PAGE_OFFSET_MASK);
}

/* Links lead to where the mode is that of this block. */
static bool can_link(const struct xl *x)
{
    return x->mode == x->b->mode;
}

static void put_lookup(struct xl *x, u32 target)
{
    asm_mov_imm32(&x->a, HR_T0, target);
    asm_jmp(&x->a, x->bt->thunk.jump);
}

static void note_exit(struct xl *x, u8 *field, u32 target)
{
    x->exit[x->exits].field = field;
    x->exit[x->exits++].target = target;
}

void xl_exit_jmp(struct xl *x, u32 target)
{
    if (can_link(x))
        note_exit(x, asm_jmp(&x->a, NULL), target);
    else
        put_lookup(x, target);
}

void xl_exit_jcc(struct xl *x, enum x64_cc cc, u32 target)
{
    note_exit(x, asm_jcc(&x->a, cc, NULL), target);
}

/* Goes on if the upper half of a key is the one that the exit is linked for, else calls `miss`.
 * Flags stay as they are. */
static void put_key_check(struct xl *x, struct texit *e, struct x64_mem key)
{
    asm_rm(&x->a, XO_MOV_LOAD, X64_RCX, key);
    asm_rm(&x->a, XO_LEA, X64_RCX, x64_at(X64_RCX, INT32_MAX)); /* a displacement of 32 bits */
    e->guard_key = x->a.at - sizeof(u32);
    u8 *same = asm_jrcxz(&x->a);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    asm_mov_imm32(&x->a, HR_T0, e->target);
    asm_call(&x->a, x->bt->thunk.miss);
    asm_short_here(&x->a, same);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    e->guard_field = asm_jmp(&x->a, e->stub);
}

static void put_guard(struct xl *x, struct texit *e)
{
    e->guard = asm_here(&x->a);
    asm_copy64(&x->a, HR_T3, X64_RCX);
    put_key_check(x, e, VCPU_UPPER(code_key));
}

/* Goes on with RCX in HR_T3 if HR_T0, where the guest jumps to, is `target`. */
static void put_target_check(struct xl *x, u32 target)
{
    asm_copy64(&x->a, HR_T3, X64_RCX);
    asm_rm(&x->a, XO_LEA, X64_RCX, x64_at(HR_T0, -(i32)target));
    u8 *here = asm_jrcxz(&x->a);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    asm_jmp(&x->a, x->bt->thunk.jump);
    asm_short_here(&x->a, here);
}

static void put_return_guard(struct xl *x, struct texit *e)
{
    e->guard = asm_here(&x->a);
    asm_rel32_here(&x->a, x->back.field);
    put_target_check(x, e->target);
    put_key_check(x, e, VCPU(target_key));
    e->field = e->guard_field;
}

static struct texit *new_exit(struct xl *x, u8 *field, u32 target)
{
    struct texit *e = &x->t->exit[x->t->exits++];
    *e = (struct texit){.from = x->t, .field = field, .target = target};
    e->stub = asm_here(&x->a);
    return e;
}

/* What the exits lead to as long as they are not linked. */
void xl_finish_exits(struct xl *x)
{
    for (unsigned i = 0; i < x->exits; i++) {
        u32 target = x->exit[i].target;
        asm_rel32_here(&x->a, x->exit[i].field);
        if (!can_link(x)) {
            put_lookup(x, target);
            continue;
        }
        struct texit *e = new_exit(x, x->exit[i].field, target);
        asm_call(&x->a, x->bt->thunk.link);
        e->lookup = asm_here(&x->a);
        put_lookup(x, target);
        if (!same_page(x, target))
            put_guard(x, e);
    }
    if (!x->back.field)
        return;
    struct texit *e = new_exit(x, NULL, x->back.target);
    e->is_return = true;
    asm_call(&x->a, x->bt->thunk.miss);
    put_return_guard(x, e);
}

/* ---- instructions ---- */

static void put_push_return(struct xl *x, u32 next)
{
    asm_mov_mem_imm32(&x->a, xl_stack_mem(x, REG_SP, -4, 4, true), next);
    xl_adjust_sp(x, -4);
}

/* Not where the block has changed the mode: its key is not that of a guard, and a knock would be
 * forgotten (v->target_key). */
static bool has_target_key(const struct xl *x)
{
    return can_link(x) && !x->t->smap_switched;
}

static struct x64_mem target_slot(u32 target)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, targets) + (target & TARGET_MASK) * sizeof(u8 *)));
}

/* Lets `target` lead to a place of this code that comes later; returns the field for it. */
static u8 *put_target(struct xl *x, u32 target)
{
    u8 *field = asm_lea_here(&x->a, HR_T0);
    asm_store64(&x->a, HR_T0, target_slot(target));
    return field;
}

/* Tells where the call comes back to: see struct texit. */
static void put_return_point(struct xl *x, u32 next)
{
    if (!has_target_key(x))
        return;
    x->back.target = next;
    x->back.field = put_target(x, next);
}

/* To HR_T0. The jump itself is here, so that the host predicts each one by itself; run.c knows the
 * form of the second. */
static void put_jump(struct xl *x)
{
    if (has_target_key(x)) {
        asm_mov_imm32(&x->a, HR_T1, TARGET_MASK);
        asm_pext(&x->a, HR_T1, HR_T0, HR_T1);
        asm_jmp_mem(&x->a,
                    x64_indexed(HR_VCPU, HR_T1, sizeof(u8 *), (i32)offsetof(struct vcpu, targets)));
    } else {
        asm_call(&x->a, x->bt->thunk.find);
        asm_jmp_mem(&x->a, x64_at(HR_T2, offsetof(struct tjump, host)));
    }
}

static struct x64_mem target_key_slot(u32 target)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, target_keys) + (target & TARGET_MASK) * sizeof(u32)));
}

void xl_put_entry_guard(struct xl *x)
{
    u32 rip = (u32)x->b->rip;
    x->t->guarded = true;
    u8 *guard = put_target(x, rip);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, VCPU(target_key));
    asm_not(&x->a, HR_T0);
    asm_rm(&x->a, XO_MOV_STORE, HR_T0, target_key_slot(rip));
    u8 *entry = asm_jmp(&x->a, NULL);
    asm_rel32_here(&x->a, guard);
    put_target_check(x, rip);
    asm_rm(&x->a, XO_MOV_LOAD, X64_RCX, VCPU(target_key));
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, target_key_slot(rip));
    asm_rm(&x->a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T1, 1, 1));
    u8 *same = asm_jrcxz(&x->a);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    asm_jmp(&x->a, x->bt->thunk.jump);
    asm_short_here(&x->a, same);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    asm_rel32_here(&x->a, entry);
}

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

static bool put_jmp(struct xl *x, const struct insn *in, u32 target)
{
    if (in->operand[0].kind == OPD_REL) {
        xl_exit_jmp(x, target);
        return true;
    }
    if (!put_operand(x, in))
        return false;
    put_jump(x);
    return true;
}

/* HR_T0 = the target. */
static void put_call_to(struct xl *x, u32 next)
{
    asm_rm(&x->a, XO_MOV_STORE, HR_T0, VCPU(jump_to));
    put_push_return(x, next);
    put_return_point(x, next);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, VCPU(jump_to));
    put_jump(x);
}

void xl_flow_relative(struct xl *x, const struct cached_insn *ci)
{
    u32 next = ci->rip + ci->in.len;
    asm_rm(&x->a, XO_LEA, HR_T0, x64_at(HR_T1, (i32)next));
    if (ci->in.op == OP_CALL)
        put_call_to(x, next);
    else
        put_jump(x);
}

static bool put_call(struct xl *x, const struct insn *in, u32 next, u32 target)
{
    if (in->operand[0].kind == OPD_REL) {
        put_push_return(x, next);
        put_return_point(x, next);
        xl_exit_jmp(x, target);
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
    put_jump(x);
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
        note_exit(x, asm_jmp(&x->a, NULL), target);
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
    note_exit(x, asm_jmp(&x->a, NULL), next);
    return true;
}

bool xl_flow(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    u32 next = ci->rip + in->len, mask = (u32)mask64(in->opsize * 8);
    u32 target = (next + (u32)in->imm) & mask;
    if (in->op == OP_JCC) {
        xl_exit_jcc(x, in->opcode & 15, target);
        note_exit(x, asm_jmp(&x->a, NULL), next);
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
