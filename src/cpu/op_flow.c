/* SPDX-License-Identifier: MIT
 *
 * Near control flow, and the instructions that do nothing but fault. All of these find their
 * address in v->rip (rule 2 of cpu/vcpu.h). A target beyond the code segment faults here, at the
 * branch, and leaves everything as it was.
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"
#include "cpu/stack.h"

static u64 next_ip(const struct vcpu *v, const struct insn *in)
{
    return (v->rip + in->len) & (v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu);
}

/* `target` cut to the operand size, if the CPU may go there. */
static u64 checked_target(struct vcpu *v, const struct insn *in, u64 target)
{
    if (v->mode & MODE_CS64) {
        if (!mem_canonical(target))
            cpu_raise_error(v, VEC_GP, 0);
        return target;
    }
    target &= mask64(in->opsize * 8);
    if (target > v->seg[SEG_CS].limit)
        cpu_raise_error(v, VEC_GP, 0);
    return target;
}

static u64 relative_target(struct vcpu *v, const struct insn *in)
{
    return checked_target(v, in, next_ip(v, in) + in->imm);
}

static void op_jcc(struct vcpu *v, const struct insn *in)
{
    bool taken = flags_condition(v->oszapc, in->opcode & 0xf);
    v->rip = taken ? relative_target(v, in) : next_ip(v, in);
}

static void op_jmp_relative(struct vcpu *v, const struct insn *in)
{
    v->rip = relative_target(v, in);
}

static void op_jmp_indirect(struct vcpu *v, const struct insn *in)
{
    v->rip = checked_target(v, in, operand_read(v, in, 0, in->opsize));
}

/* Intel's CPUs write the return address before they find the target to be out of bounds. */
static void call(struct vcpu *v, const struct insn *in, u64 target)
{
    u64 sp = v->gpr[REG_SP] - in->opsize;
    mem_write(v, stack_la(v, sp, in->opsize, ACCESS_WRITE), next_ip(v, in), in->opsize);
    target = checked_target(v, in, target);
    stack_set(v, REG_SP, sp);
    v->rip = target;
}

static void op_call_relative(struct vcpu *v, const struct insn *in)
{
    call(v, in, next_ip(v, in) + in->imm);
}

static void op_call_indirect(struct vcpu *v, const struct insn *in)
{
    call(v, in, operand_read(v, in, 0, in->opsize));
}

static void op_ret(struct vcpu *v, const struct insn *in)
{
    u64 target = checked_target(v, in, stack_peek(v, 0, in->opsize));
    u64 extra = in->imm_len ? in->imm & 0xffff : 0;
    stack_set(v, REG_SP, v->gpr[REG_SP] + in->opsize + extra);
    v->rip = target;
}

/* LOOP, LOOPE, LOOPNE: the counter is CX, ECX or RCX by *address* size. */
static void op_loop(struct vcpu *v, const struct insn *in)
{
    u64 count = (v->gpr[REG_CX] - 1) & mask64(in->adsize * 8);
    bool taken = count != 0;
    if (in->op == OP_LOOPE)
        taken &= flags_zf(v);
    else if (in->op == OP_LOOPNE)
        taken &= !flags_zf(v);
    u64 target = taken ? relative_target(v, in) : next_ip(v, in);
    gpr_write(v, REG_CX, count, in->adsize);
    v->rip = target;
}

static void op_jcxz(struct vcpu *v, const struct insn *in)
{
    bool taken = !gpr_read(v, REG_CX, in->adsize);
    v->rip = taken ? relative_target(v, in) : next_ip(v, in);
}

/* BOUND r, m: signed; the upper limit is the next value in memory. */
static void op_bound(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize, bits = size * 8;
    u64 la = operand_la(v, in, 2 * size, ACCESS_READ);
    i64 index = sext64(v->gpr[in->operand[0].reg], bits);
    if (index < sext64(mem_read(v, la, size), bits) ||
        index > sext64(mem_read(v, (u32)(la + size), size), bits))
        cpu_raise(v, VEC_BR);
    vcpu_advance(v, in);
}

static void op_ud(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise(v, VEC_UD);
}

static bool relative(const struct insn *in)
{
    return in->operand[0].kind == OPD_REL;
}

exec_fn op_flow_select(const struct insn *in)
{
    switch (in->op) {
    case OP_JCC: return op_jcc;
    case OP_JMP: return relative(in) ? op_jmp_relative : op_jmp_indirect;
    case OP_CALL: return relative(in) ? op_call_relative : op_call_indirect;
    case OP_RET: return op_ret;
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE: return op_loop;
    case OP_JCXZ: return op_jcxz;
    case OP_BOUND: return op_bound;
    case OP_UD0:
    case OP_UD1:
    case OP_UD2: return op_ud;
    default: return NULL;
    }
}
