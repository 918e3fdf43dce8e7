/* SPDX-License-Identifier: MIT
 *
 * Instructions whose immediate the guest keeps patching (struct cached_insn): it is read from the
 * guest's code each time, so that a patch is a store like any other.
 */
#include "bt/xl.h"

/* HR_T1 = the immediate. */
static void put_immediate(struct xl *x, const struct cached_insn *ci)
{
    asm_mov_imm32(&x->a, HR_T0, (u32)x->b->la + ci->offset + ci->in.imm_at);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, xl_mem_at_la(x, 4, false));
}

/* The host's opcode with a register in place of the immediate, ModRM.rm being the destination. */
static u32 by_register(const struct insn *in)
{
    switch (in->op) {
    case OP_MOV: return XO_MOV_STORE;
    case OP_TEST: return XO_TEST;
    default: {
        unsigned alu = in->modrm_at ? modrm_reg(in) : in->opcode >> 3;
        return alu << 3 | 1;
    }
    }
}

static bool put_to_memory(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    if (!xl_mem_ok(in))
        return false;
    put_immediate(x, ci);
    asm_rm(&x->a, XO_MOV_STORE, HR_T1, VCPU(jump_to));
    struct x64_mem m = xl_mem(x, in, 4, in->operand[0].access & OPD_W);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, VCPU(jump_to));
    asm_rm(&x->a, by_register(in), HR_T1, m);
    return true;
}

bool xl_patched(struct xl *x, const struct cached_insn *ci)
{
    const struct operand *to = &ci->in.operand[0];
    switch (to->kind) {
    case OPD_MEM: return put_to_memory(x, ci);
    case OPD_REL:
        put_immediate(x, ci);
        xl_flow_relative(x, ci);
        return true;
    case OPD_GPR:
        put_immediate(x, ci);
        asm_rr(&x->a, by_register(&ci->in), HR_T1, host_gpr(to->reg));
        return true;
    default: return false;
    }
}
