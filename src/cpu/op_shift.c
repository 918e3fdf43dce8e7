/* SPDX-License-Identifier: MIT
 *
 * Shifts and rotates. The host masks the count as the guest's CPU does, keeps the flags where it
 * does, and decides what the manual leaves open (OF of shifts by more than 1, 16-bit SHLD by more
 * than 16), but not OF of rotations (cpu/alu.h).
 */
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

enum shift { ROL, ROR, RCL, RCR, SHL, SHR, SAR };

ALWAYS_INLINE u64 shift_value(enum shift op, unsigned size, u64 a, u64 count, u16 *flags)
{
    switch (op) {
    case ROL: return alu_rol(size, a, count, flags);
    case ROR: return alu_ror(size, a, count, flags);
    case RCL: return alu_rcl(size, a, count, flags);
    case RCR: return alu_rcr(size, a, count, flags);
    case SHL: return alu_shl(size, a, count, flags);
    case SHR: return alu_shr(size, a, count, flags);
    case SAR: break;
    }
    return alu_sar(size, a, count, flags);
}

ALWAYS_INLINE void shift(struct vcpu *v, const struct insn *in, enum shift op, unsigned size)
{
    u64 count = operand_read(v, in, 1, 1);
    if (!operand_is_mem(in, 0)) {
        const struct operand *to = &in->operand[0];
        reg_put_whole(v, to, shift_value(op, size, reg_whole(v, to), count, &v->oszapc));
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    rmw_close(v, &m, shift_value(op, size, m.value, count, &v->oszapc), size);
}

#define SHIFT(name, op)                                                                            \
    ALWAYS_INLINE void name(struct vcpu *v, const struct insn *in, unsigned size)                  \
    {                                                                                              \
        shift(v, in, op, size);                                                                    \
    }                                                                                              \
    EXEC_BY_SIZE(name)
SHIFT(op_rol, ROL);
SHIFT(op_ror, ROR);
SHIFT(op_rcl, RCL);
SHIFT(op_rcr, RCR);
SHIFT(op_shl, SHL);
SHIFT(op_shr, SHR);
SHIFT(op_sar, SAR);

ALWAYS_INLINE u64 double_shift_value(bool left, unsigned size, u64 a, u64 b, u64 count, u16 *flags)
{
    return left ? alu_shld(size, a, b, count, flags) : alu_shrd(size, a, b, count, flags);
}

ALWAYS_INLINE void double_shift(struct vcpu *v, const struct insn *in, bool left, unsigned size)
{
    u64 b = operand_read(v, in, 1, size), count = operand_read(v, in, 2, 1);
    if (!operand_is_mem(in, 0)) {
        u64 *to = &v->gpr[in->operand[0].reg];
        *to = double_shift_value(left, size, *to, b, count, &v->oszapc);
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    rmw_close(v, &m, double_shift_value(left, size, m.value, b, count, &v->oszapc), size);
}

ALWAYS_INLINE void op_shld(struct vcpu *v, const struct insn *in, unsigned size)
{
    double_shift(v, in, true, size);
}
EXEC_BY_SIZE(op_shld);

ALWAYS_INLINE void op_shrd(struct vcpu *v, const struct insn *in, unsigned size)
{
    double_shift(v, in, false, size);
}
EXEC_BY_SIZE(op_shrd);

/* ---- BMI2: no flags ---- */

ALWAYS_INLINE u64 flagless_shift(unsigned op, u64 a, u64 count, unsigned size)
{
    count &= size * 8 - 1;
    switch (op) {
    case OP_SARX: return (u64)(sext64(a, size * 8) >> count);
    case OP_SHLX: return a << count;
    case OP_SHRX: return a >> count;
    default: return count ? a >> count | a << (size * 8 - count) : a; /* RORX */
    }
}

static void op_shift_flagless(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    u64 a = operand_read(v, in, 1, size), count = operand_read(v, in, 2, 1);
    gpr_write(v, in->operand[0].reg, flagless_shift(in->op, a, count, size), size);
}

exec_fn op_shift_select(const struct insn *in)
{
    unsigned size = in->operand[0].size;
    switch (in->op) {
    case OP_ROL: return op_rol_by_size[size];
    case OP_ROR: return op_ror_by_size[size];
    case OP_RCL: return op_rcl_by_size[size];
    case OP_RCR: return op_rcr_by_size[size];
    case OP_SHL: return op_shl_by_size[size];
    case OP_SHR: return op_shr_by_size[size];
    case OP_SAR: return op_sar_by_size[size];
    case OP_SHLD: return op_shld_by_size[size];
    case OP_SHRD: return op_shrd_by_size[size];
    case OP_SARX:
    case OP_SHLX:
    case OP_SHRX:
    case OP_RORX: return op_shift_flagless;
    default: return NULL;
    }
}
