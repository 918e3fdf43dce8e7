/* SPDX-License-Identifier: MIT
 *
 * String instructions without a repeat prefix, upwards. Repeated ones are call-outs, which work on
 * whole pages at a time (cpu/op_string.c).
 */
#include "bt/xl.h"

static void put_step(struct xl *x, unsigned gpr, unsigned size)
{
    asm_rm(&x->a, XO_LEA, host_gpr(gpr), x64_at(host_gpr(gpr), (i32)size));
}

/* `op`: the form for 32 bits, of which that for bytes is one less. */
static u32 sized(u32 op, unsigned size)
{
    return size == 1 ? (op - 1) | X64_BYTE : size == 2 ? op | X64_66 : op;
}

static void put_lods(struct xl *x, const struct insn *in, unsigned size)
{
    asm_rm(&x->a, sized(XO_MOV_LOAD, size), X64_RAX,
           xl_string_mem(x, in->seg, REG_SI, size, false));
    put_step(x, REG_SI, size);
}

static void put_stos(struct xl *x, unsigned size)
{
    asm_rm(&x->a, sized(XO_MOV_STORE, size), X64_RAX, xl_string_mem(x, SEG_ES, REG_DI, size, true));
    put_step(x, REG_DI, size);
}

/* What the source holds, in HR_T1, with the second operand accessible: no effect comes before
 * that. */
static struct x64_mem put_pair(struct xl *x, const struct insn *in, unsigned size, bool write)
{
    asm_rm(&x->a, sized(XO_MOV_LOAD, size), HR_T1, xl_string_mem(x, in->seg, REG_SI, size, false));
    if (x->direct)
        return xl_string_mem(x, SEG_ES, REG_DI, size, write);
    asm_rm(&x->a, XO_MOV_STORE, HR_T1, VCPU(jump_to));
    struct x64_mem m = xl_string_mem(x, SEG_ES, REG_DI, size, write);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, VCPU(jump_to));
    return m;
}

static void put_movs(struct xl *x, const struct insn *in, unsigned size)
{
    struct x64_mem to = put_pair(x, in, size, true);
    asm_rm(&x->a, sized(XO_MOV_STORE, size), HR_T1, to);
    put_step(x, REG_SI, size);
    put_step(x, REG_DI, size);
}

static void put_cmps(struct xl *x, const struct insn *in, unsigned size)
{
    struct x64_mem with = put_pair(x, in, size, false);
    asm_rm(&x->a, sized(XO_CMP, size), HR_T1, with);
    put_step(x, REG_SI, size);
    put_step(x, REG_DI, size);
}

static void put_scas(struct xl *x, unsigned size)
{
    asm_rm(&x->a, sized(XO_CMP, size), X64_RAX, xl_string_mem(x, SEG_ES, REG_DI, size, false));
    put_step(x, REG_DI, size);
}

bool xl_string(struct xl *x, const struct insn *in)
{
    unsigned size = in->opcode & 1 ? in->opsize : 1;
    if ((in->prefixes & (PFX_REP | PFX_REPNE)) || in->adsize != 4 || (x->mode & MODE_DF) ||
        !xl_seg_ok(x, in->seg))
        return false;
    switch (in->op) {
    case OP_LODS: put_lods(x, in, size); return true;
    case OP_STOS: put_stos(x, size); return true;
    case OP_MOVS: put_movs(x, in, size); return true;
    case OP_CMPS: put_cmps(x, in, size); return true;
    case OP_SCAS: put_scas(x, size); return true;
    default: return false;
    }
}
