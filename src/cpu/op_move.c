/* SPDX-License-Identifier: MIT
 *
 * Moving data without computing: MOV and its extending, conditional, swapping and exchanging
 * relatives, LEA, XLAT, and the operations on single flags.
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

ALWAYS_INLINE void op_mov(struct vcpu *v, const struct insn *in, unsigned size)
{
    operand_write(v, in, 0, operand_read(v, in, 1, size), size);
}
EXEC_BY_SIZE(op_mov);

static void op_lea(struct vcpu *v, const struct insn *in)
{
    gpr_write(v, in->operand[0].reg, ea_of(v, in), in->opsize);
}

/* MOVZX, MOVSX, MOVSXD: `size` is the source's. */
ALWAYS_INLINE void op_movzx(struct vcpu *v, const struct insn *in, unsigned size)
{
    gpr_write(v, in->operand[0].reg, operand_read(v, in, 1, size), in->opsize);
}
EXEC_BY_SIZE(op_movzx);

ALWAYS_INLINE void op_movsx(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 value = (u64)sext64(operand_read(v, in, 1, size), size * 8);
    gpr_write(v, in->operand[0].reg, value, in->opsize);
}
EXEC_BY_SIZE(op_movsx);

/* With memory XCHG locks, LOCK or not. */
ALWAYS_INLINE void op_xchg(struct vcpu *v, const struct insn *in, unsigned size)
{
    unsigned k = operand_is_mem(in, 1); /* which operand may be memory depends on the form */
    const struct operand *reg = &in->operand[!k];
    u64 value = reg_whole(v, reg);
    if (!operand_is_mem(in, k)) {
        u64 other = reg_whole(v, &in->operand[k]);
        reg_write(v, &in->operand[k], value, size);
        reg_write(v, reg, other, size);
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    if (m.hp)
        m.value = alu_locked_xchg(size, m.hp, value);
    else
        rmw_close(v, &m, value, size);
    reg_write(v, reg, m.value, size);
}
EXEC_BY_SIZE(op_xchg);

ALWAYS_INLINE void op_movbe(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 value = __builtin_bswap64(operand_read(v, in, 1, size)) >> (64 - size * 8);
    operand_write(v, in, 0, value, size);
}
EXEC_BY_SIZE(op_movbe);

/* BSWAP of a 16-bit register is undefined: the host says. */
static void op_bswap(struct vcpu *v, const struct insn *in)
{
    u64 *r = &v->gpr[in->operand[0].reg];
    switch (in->opsize) {
    case 2: __asm__(".byte 0x66\n\tbswapl %%eax" : "+a"(*r)); break;
    case 4: *r = __builtin_bswap32((u32)*r); break;
    default: *r = __builtin_bswap64(*r); break;
    }
}

/* The source is read, and a 32-bit destination loses its upper half, even when the condition is
 * false. */
ALWAYS_INLINE void op_cmovcc(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 value = operand_read(v, in, 1, size);
    unsigned reg = in->operand[0].reg;
    if (!flags_condition(v->oszapc, in->opcode & 0xf))
        value = v->gpr[reg];
    gpr_write(v, reg, value, size);
}
EXEC_BY_SIZE(op_cmovcc);

static void op_setcc(struct vcpu *v, const struct insn *in)
{
    operand_write(v, in, 0, flags_condition(v->oszapc, in->opcode & 0xf), 1);
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO. */
static void op_cbw(struct vcpu *v, const struct insn *in)
{
    u64 half = v->gpr[REG_AX];
    gpr_write(v, REG_AX, (u64)sext64(half, in->opsize * 4), in->opsize);
}

static void op_cwd(struct vcpu *v, const struct insn *in)
{
    bool negative = v->gpr[REG_AX] >> (in->opsize * 8 - 1) & 1;
    gpr_write(v, REG_DX, negative ? ~(u64)0 : 0, in->opsize);
}

static void op_xlat(struct vcpu *v, const struct insn *in)
{
    u64 ea = (v->gpr[REG_BX] + (u8)v->gpr[REG_AX]) & mask64(in->adsize * 8);
    gpr_write(v, REG_AX, mem_read(v, seg_linear(v, in->seg, ea, 1, ACCESS_READ), 1), 1);
}

/* ---- flags ---- */

static void op_lahf(struct vcpu *v, const struct insn *in)
{
    (void)in;
    u64 ah = (flags_get(v) & FLAG_SZAPC) | FLAG_ONE;
    v->gpr[REG_AX] = (v->gpr[REG_AX] & ~(u64)0xff00) | ah << 8;
}

static void op_sahf(struct vcpu *v, const struct insn *in)
{
    (void)in;
    flags_set_arith(v, FLAG_SZAPC, v->gpr[REG_AX] >> 8);
}

static void op_clc(struct vcpu *v, const struct insn *in)
{
    (void)in;
    v->oszapc &= (u16)~OSZAPC_CF;
}

static void op_stc(struct vcpu *v, const struct insn *in)
{
    (void)in;
    v->oszapc |= OSZAPC_CF;
}

static void op_cmc(struct vcpu *v, const struct insn *in)
{
    (void)in;
    v->oszapc ^= OSZAPC_CF;
}

/* Not in the manual: AL = CF ? FFh : 0. */
static void op_salc(struct vcpu *v, const struct insn *in)
{
    (void)in;
    gpr_write(v, REG_AX, flags_cf(v) ? 0xff : 0, 1);
}

exec_fn op_move_select(const struct insn *in)
{
    switch (in->op) {
    case OP_MOV: return op_mov_by_size[in->operand[0].size];
    case OP_MOVNTI:
    case OP_MOVDIRI: return op_mov_by_size[in->operand[0].size];
    case OP_LEA: return op_lea;
    case OP_MOVZX: return op_movzx_by_size[in->operand[1].size];
    case OP_MOVSX:
    case OP_MOVSXD: return op_movsx_by_size[in->operand[1].size];
    case OP_XCHG: return op_xchg_by_size[in->operand[0].size];
    case OP_MOVBE: return op_movbe_by_size[in->opsize];
    case OP_BSWAP: return op_bswap;
    case OP_CMOVCC: return op_cmovcc_by_size[in->opsize];
    case OP_SETCC: return op_setcc;
    case OP_CBW: return op_cbw;
    case OP_CWD: return op_cwd;
    case OP_XLAT: return op_xlat;
    case OP_LAHF: return op_lahf;
    case OP_SAHF: return op_sahf;
    case OP_CLC: return op_clc;
    case OP_STC: return op_stc;
    case OP_CMC: return op_cmc;
    case OP_SALC: return op_salc;
    default: return NULL;
    }
}
