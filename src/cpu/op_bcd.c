/* SPDX-License-Identifier: MIT
 *
 * Decimal adjustment: the six instructions that a 64-bit host cannot execute. Flags that the
 * manual leaves undefined are set as Intel's CPUs were seen to set them.
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

/* SF, ZF and PF of AL; OF, AF and CF cleared. */
static u64 flags_of_al(u8 al)
{
    u16 flags = 0;
    alu_test(1, al, al, &flags);
    return flags_from_oszapc(flags) & (FLAG_SF | FLAG_ZF | FLAG_PF);
}

static void set_ax(struct vcpu *v, u16 ax)
{
    gpr_write(v, REG_AX, ax, 2);
}

static void op_aaa_aas(struct vcpu *v, const struct insn *in)
{
    u16 ax = (u16)v->gpr[REG_AX];
    u64 flags = 0;
    if ((ax & 0xf) > 9 || (flags_get(v) & FLAG_AF)) {
        ax = in->op == OP_AAA ? (u16)(ax + 0x106) : (u16)(ax - 0x106);
        flags = FLAG_AF | FLAG_CF;
    }
    ax &= 0xff0f;
    set_ax(v, ax);
    flags_set_arith(v, FLAG_OSZAPC, flags | flags_of_al((u8)ax));
}

static void op_daa_das(struct vcpu *v, const struct insn *in)
{
    u8 old = (u8)v->gpr[REG_AX], al = old;
    bool carry = flags_cf(v), add = in->op == OP_DAA;
    u64 flags = 0;
    if ((old & 0xf) > 9 || (flags_get(v) & FLAG_AF)) {
        /* DAS: a borrow out of the low adjustment is a carry of its own. */
        if (!add && (carry || old < 6))
            flags |= FLAG_CF;
        al = (u8)(add ? al + 6 : al - 6);
        flags |= FLAG_AF;
    }
    if (old > 0x99 || carry) {
        al = (u8)(add ? al + 0x60 : al - 0x60);
        flags |= FLAG_CF;
    }
    gpr_write(v, REG_AX, al, 1);
    flags_set_arith(v, FLAG_OSZAPC, flags | flags_of_al(al));
}

static void op_aam(struct vcpu *v, const struct insn *in)
{
    u8 base = (u8)in->imm, al = (u8)v->gpr[REG_AX];
    if (!base)
        cpu_raise(v, VEC_DE);
    set_ax(v, (u16)(al / base << 8 | al % base));
    flags_set_arith(v, FLAG_OSZAPC, flags_of_al((u8)v->gpr[REG_AX]));
}

static void op_aad(struct vcpu *v, const struct insn *in)
{
    u16 ax = (u16)v->gpr[REG_AX];
    u8 high = (u8)((ax >> 8) * (u8)in->imm);
    u16 flags = 0;
    u8 al = (u8)alu_add(1, (u8)ax, high, &flags);
    set_ax(v, al);
    v->oszapc = flags;
}

exec_fn op_bcd_select(const struct insn *in)
{
    switch (in->op) {
    case OP_AAA:
    case OP_AAS: return op_aaa_aas;
    case OP_DAA:
    case OP_DAS: return op_daa_das;
    case OP_AAM: return op_aam;
    case OP_AAD: return op_aad;
    default: return NULL;
    }
}
