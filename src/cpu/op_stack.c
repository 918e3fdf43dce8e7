/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP and the instructions that build stack frames. Those with several accesses change no
 * register before the last one, so a fault in between starts them again; what they have written
 * below rSP until then stays, as on real CPUs.
 */
#include "cpu/stack.h"

#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

ALWAYS_INLINE void op_push(struct vcpu *v, const struct insn *in, unsigned size)
{
    stack_push(v, operand_read(v, in, 0, size), size); /* PUSH rSP: the old value */
}
EXEC_BY_SIZE(op_push);

/* POP with an rSP-based destination addresses it by the incremented rSP (SDM 2B, POP). */
ALWAYS_INLINE void op_pop(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 value = stack_peek(v, 0, size), before = v->gpr[REG_SP];
    stack_set(v, REG_SP, before + size);
    if (!operand_is_mem(in, 0)) {
        gpr_write(v, in->operand[0].reg, value, size);
        return;
    }
    u64 ea = ea_of(v, in), after = v->gpr[REG_SP];
    v->gpr[REG_SP] = before; /* while the write may fault */
    mem_write(v, seg_linear(v, in->seg, ea, size, ACCESS_WRITE), value, size);
    v->gpr[REG_SP] = after;
}
EXEC_BY_SIZE(op_pop);

#define PUSHA_REGS 8

static void op_pusha(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    u64 sp = v->gpr[REG_SP];
    for (unsigned i = 0; i < PUSHA_REGS; i++) { /* encoding order is push order */
        sp -= size;
        mem_write(v, stack_la(v, sp, size, ACCESS_WRITE), v->gpr[i], size);
    }
    stack_set(v, REG_SP, sp);
}

static void op_popa(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    u64 value[PUSHA_REGS];
    for (unsigned i = 0; i < PUSHA_REGS; i++)
        value[i] = stack_peek(v, i * size, size);
    for (unsigned i = 0; i < PUSHA_REGS; i++) {
        unsigned reg = PUSHA_REGS - 1 - i;
        if (reg != REG_SP)
            gpr_write(v, reg, value[i], size);
    }
    stack_set(v, REG_SP, v->gpr[REG_SP] + PUSHA_REGS * size);
}

/* ENTER alloc, level. The frame pointers of the enclosing levels are copied one by one. A write at
 * the final rSP must be allowed too (SDM 2A, ENTER). */
static void op_enter(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize, level = in->imm2 & 0x1f;
    u64 alloc = in->imm & 0xffff;
    u64 mask = stack_mask(v), sp = v->gpr[REG_SP] - size, bp = v->gpr[REG_BP];
    u64 frame = (v->gpr[REG_SP] & ~mask) | (sp & mask); /* rSP as a push would leave it */
    mem_write(v, stack_la(v, sp, size, ACCESS_WRITE), bp, size);
    for (unsigned i = 1; i < level; i++) {
        bp -= size;
        sp -= size;
        u64 display = mem_read(v, stack_la(v, bp, size, ACCESS_READ), size);
        mem_write(v, stack_la(v, sp, size, ACCESS_WRITE), display, size);
    }
    if (level) {
        sp -= size;
        mem_write(v, stack_la(v, sp, size, ACCESS_WRITE), frame, size);
    }
    sp -= alloc;
    mem_pointer(v, stack_la(v, sp, size, ACCESS_WRITE), size, ACCESS_WRITE);
    /* BP gets the operand size, SP the stack's. */
    gpr_write(v, REG_BP, frame, size);
    stack_set(v, REG_SP, sp);
}

static void op_leave(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    u64 frame = v->gpr[REG_BP];
    u64 value = mem_read(v, stack_la(v, frame, size, ACCESS_READ), size);
    stack_set(v, REG_SP, frame + size);
    gpr_write(v, REG_BP, value, size);
}

exec_fn op_stack_select(const struct insn *in)
{
    switch (in->op) {
    case OP_PUSH: return op_push_by_size[in->opsize];
    case OP_POP: return op_pop_by_size[in->opsize];
    case OP_PUSHA: return op_pusha;
    case OP_POPA: return op_popa;
    case OP_ENTER: return op_enter;
    case OP_LEAVE: return op_leave;
    default: return NULL;
    }
}
