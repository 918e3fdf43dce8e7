/* SPDX-License-Identifier: MIT
 *
 * Arithmetic and logic: the eight two-operand operations, their one-operand relatives,
 * multiplication and division, XADD and CMPXCHG. Flags are the host's (cpu/alu.h).
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

/* In the order of their encoding: bits 5..3 of the opcode, or ModRM.reg of the 80 group. */
enum binary { ADD, OR, ADC, SBB, AND, SUB, XOR };

ALWAYS_INLINE u64 binary_value(enum binary op, unsigned size, u64 a, u64 b, u16 *flags)
{
    switch (op) {
    case ADD: return alu_add(size, a, b, flags);
    case OR: return alu_or(size, a, b, flags);
    case ADC: return alu_adc(size, a, b, flags);
    case SBB: return alu_sbb(size, a, b, flags);
    case AND: return alu_and(size, a, b, flags);
    case SUB: return alu_sub(size, a, b, flags);
    case XOR: break;
    }
    return alu_xor(size, a, b, flags);
}

ALWAYS_INLINE void binary_locked(enum binary op, unsigned size, void *p, u64 b, u16 *flags)
{
    switch (op) {
    case ADD: alu_locked_add(size, p, b, flags); return;
    case OR: alu_locked_or(size, p, b, flags); return;
    case ADC: alu_locked_adc(size, p, b, flags); return;
    case SBB: alu_locked_sbb(size, p, b, flags); return;
    case AND: alu_locked_and(size, p, b, flags); return;
    case SUB: alu_locked_sub(size, p, b, flags); return;
    case XOR: alu_locked_xor(size, p, b, flags); return;
    }
}

ALWAYS_INLINE void binary(struct vcpu *v, const struct insn *in, enum binary op, unsigned size)
{
    u64 b = operand_read(v, in, 1, size);
    if (!operand_is_mem(in, 0)) {
        const struct operand *to = &in->operand[0];
        reg_put_whole(v, to, binary_value(op, size, reg_whole(v, to), b, &v->oszapc));
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    if (locked(in, &m))
        binary_locked(op, size, m.hp, b, &v->oszapc);
    else
        rmw_close(v, &m, binary_value(op, size, m.value, b, &v->oszapc), size);
}

#define BINARY(name, op)                                                                           \
    ALWAYS_INLINE void name(struct vcpu *v, const struct insn *in, unsigned size)                  \
    {                                                                                              \
        binary(v, in, op, size);                                                                   \
    }                                                                                              \
    EXEC_BY_SIZE(name)
BINARY(op_add, ADD);
BINARY(op_or, OR);
BINARY(op_adc, ADC);
BINARY(op_sbb, SBB);
BINARY(op_and, AND);
BINARY(op_sub, SUB);
BINARY(op_xor, XOR);

ALWAYS_INLINE void op_cmp(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 a = operand_read(v, in, 0, size);
    alu_cmp(size, a, operand_read(v, in, 1, size), &v->oszapc);
}
EXEC_BY_SIZE(op_cmp);

ALWAYS_INLINE void op_test(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 a = operand_read(v, in, 0, size);
    alu_test(size, a, operand_read(v, in, 1, size), &v->oszapc);
}
EXEC_BY_SIZE(op_test);

/* ---- one operand ---- */

enum unary { INC, DEC, NEG, NOT };

ALWAYS_INLINE u64 unary_value(enum unary op, unsigned size, u64 a, u16 *flags)
{
    switch (op) {
    case INC: return alu_inc(size, a, flags);
    case DEC: return alu_dec(size, a, flags);
    case NEG: return alu_neg(size, a, flags);
    case NOT: break;
    }
    return alu_not(size, a);
}

ALWAYS_INLINE void unary_locked(enum unary op, unsigned size, void *p, u16 *flags)
{
    switch (op) {
    case INC: alu_locked_inc(size, p, flags); return;
    case DEC: alu_locked_dec(size, p, flags); return;
    case NEG: alu_locked_neg(size, p, flags); return;
    case NOT: alu_locked_not(size, p, flags); return;
    }
}

ALWAYS_INLINE void unary(struct vcpu *v, const struct insn *in, enum unary op, unsigned size)
{
    if (!operand_is_mem(in, 0)) {
        const struct operand *to = &in->operand[0];
        reg_put_whole(v, to, unary_value(op, size, reg_whole(v, to), &v->oszapc));
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    if (locked(in, &m))
        unary_locked(op, size, m.hp, &v->oszapc);
    else
        rmw_close(v, &m, unary_value(op, size, m.value, &v->oszapc), size);
}

#define UNARY(name, op)                                                                            \
    ALWAYS_INLINE void name(struct vcpu *v, const struct insn *in, unsigned size)                  \
    {                                                                                              \
        unary(v, in, op, size);                                                                    \
    }                                                                                              \
    EXEC_BY_SIZE(name)
UNARY(op_inc, INC);
UNARY(op_dec, DEC);
UNARY(op_neg, NEG);
UNARY(op_not, NOT);

/* ---- multiplication and division ---- */

ALWAYS_INLINE void op_mul(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 b = operand_read(v, in, 0, size);
    alu_mul(size, &v->gpr[REG_AX], &v->gpr[REG_DX], b, &v->oszapc);
}
EXEC_BY_SIZE(op_mul);

static unsigned explicit_operands(const struct insn *in)
{
    unsigned n = 0;
    while (n < in->operands && !in->operand[n].hidden)
        n++;
    return n;
}

ALWAYS_INLINE void op_imul_wide(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 b = operand_read(v, in, 0, size);
    alu_imul_wide(size, &v->gpr[REG_AX], &v->gpr[REG_DX], b, &v->oszapc);
}
EXEC_BY_SIZE(op_imul_wide);

/* IMUL r, r/m and IMUL r, r/m, imm: the destination's upper bits are merged, never multiplied. */
ALWAYS_INLINE void imul_to(struct vcpu *v, const struct insn *in, u64 a, u64 b, unsigned size)
{
    gpr_write(v, in->operand[0].reg, alu_imul(size, a, b, &v->oszapc), size);
}

ALWAYS_INLINE void op_imul2(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 b = operand_read(v, in, 1, size);
    imul_to(v, in, v->gpr[in->operand[0].reg], b, size);
}
EXEC_BY_SIZE(op_imul2);

ALWAYS_INLINE void op_imul3(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 a = operand_read(v, in, 1, size);
    imul_to(v, in, a, in->imm, size);
}
EXEC_BY_SIZE(op_imul3);

/* The quotient must fit its register, or the host's own DIV would fault. */
ALWAYS_INLINE bool div_fits(const struct vcpu *v, unsigned size, u64 divisor)
{
    u64 hi = size == 1 ? (u8)(v->gpr[REG_AX] >> 8) : gpr_read(v, REG_DX, size);
    return hi < divisor; /* covers divisor 0 */
}

ALWAYS_INLINE void op_div(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 divisor = operand_read(v, in, 0, size);
    if (!div_fits(v, size, divisor))
        cpu_raise(v, VEC_DE);
    alu_div(size, &v->gpr[REG_AX], &v->gpr[REG_DX], divisor, &v->oszapc);
}
EXEC_BY_SIZE(op_div);

/* Magnitudes: |dividend| / |divisor| must be below 2^(n-1), or equal to it when the quotient is
 * negative. It is enough to compare |dividend| with |divisor| * 2^(n-1). */
ALWAYS_INLINE bool idiv_fits(const struct vcpu *v, unsigned size, u64 divisor)
{
    unsigned bits = size * 8;
    u64 lo = gpr_read(v, REG_AX, size);
    u64 hi = size == 1 ? (u8)(v->gpr[REG_AX] >> 8) : gpr_read(v, REG_DX, size);
    __int128 dividend = (__int128)((unsigned __int128)(__int128)sext64(hi, bits) << bits | lo);
    __int128 d = sext64(divisor, bits);
    bool negative = (dividend < 0) != (d < 0);
    unsigned __int128 n = dividend < 0 ? -(unsigned __int128)dividend : (unsigned __int128)dividend;
    unsigned __int128 magnitude = (unsigned __int128)(d < 0 ? -d : d);
    unsigned __int128 bound = magnitude << (bits - 1);
    return d != 0 && (negative ? n < bound + magnitude : n < bound);
}

ALWAYS_INLINE void op_idiv(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 divisor = operand_read(v, in, 0, size);
    if (!idiv_fits(v, size, divisor))
        cpu_raise(v, VEC_DE);
    alu_idiv(size, &v->gpr[REG_AX], &v->gpr[REG_DX], divisor, &v->oszapc);
}
EXEC_BY_SIZE(op_idiv);

/* ---- exchanges ---- */

ALWAYS_INLINE void op_xadd(struct vcpu *v, const struct insn *in, unsigned size)
{
    const struct operand *to = &in->operand[0], *from = &in->operand[1];
    u64 b = reg_whole(v, from);
    if (!operand_is_mem(in, 0)) {
        u64 a = reg_whole(v, to);
        u64 sum = alu_add(size, a, b, &v->oszapc);
        reg_write(v, from, a, size);
        reg_write(v, to, sum, size); /* last: both may be the same register */
        return;
    }
    struct rmw m;
    rmw_open(v, in, size, &m);
    if (locked(in, &m))
        m.value = alu_locked_xadd(size, m.hp, b, &v->oszapc);
    else
        rmw_close(v, &m, alu_add(size, m.value, b, &v->oszapc), size);
    reg_write(v, from, m.value, size);
}
EXEC_BY_SIZE(op_xadd);

/* Memory is written in any case, with its own value when the comparison fails; a register only when
 * it succeeds, which shows in the upper half of a 64-bit one. */
ALWAYS_INLINE void op_cmpxchg(struct vcpu *v, const struct insn *in, unsigned size)
{
    u64 b = operand_read(v, in, 1, size), accumulator = v->gpr[REG_AX];
    bool memory = operand_is_mem(in, 0);
    struct rmw m = {.hp = NULL};
    if (memory)
        rmw_open(v, in, size, &m);
    else
        m.value = operand_read(v, in, 0, size);
    if (memory && locked(in, &m))
        m.value = alu_locked_cmpxchg(size, m.hp, accumulator, b, &v->oszapc);
    else
        alu_cmp(size, accumulator, m.value, &v->oszapc);
    bool equal = flags_zf(v);
    if (memory && !locked(in, &m))
        rmw_close(v, &m, equal ? b : m.value, size);
    else if (!memory && equal)
        reg_write(v, &in->operand[0], b, size);
    if (!equal)
        gpr_write(v, REG_AX, m.value, size);
}
EXEC_BY_SIZE(op_cmpxchg);

static void op_cmpxchg8b(struct vcpu *v, const struct insn *in)
{
    u64 expected = (u32)v->gpr[REG_AX] | v->gpr[REG_DX] << 32;
    u64 wanted = (u32)v->gpr[REG_BX] | v->gpr[REG_CX] << 32;
    struct rmw m;
    rmw_open(v, in, 8, &m);
    bool equal;
    if (locked(in, &m)) {
        u64 seen = expected;
        equal = __atomic_compare_exchange_n((u64 *)m.hp, &seen, wanted, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST);
        m.value = seen;
    } else {
        equal = m.value == expected;
        rmw_close(v, &m, equal ? wanted : m.value, 8);
    }
    if (!equal) {
        v->gpr[REG_AX] = (u32)m.value;
        v->gpr[REG_DX] = m.value >> 32;
    }
    flags_set_arith(v, FLAG_ZF, equal ? FLAG_ZF : 0);
}

static void op_cmpxchg16b(struct vcpu *v, const struct insn *in)
{
    bool based = in->seg >= SEG_FS || !(v->mode & MODE_CS64);
    if ((ea_of(v, in) + (based ? v->seg[in->seg].base : 0)) & 15)
        cpu_raise_error(v, VEC_GP, 0); /* before a non-canonical address is found out */
    u64 la = operand_la(v, in, 16, ACCESS_WRITE);
    void *hp = mem_pointer(v, la, 16, ACCESS_WRITE); /* aligned: it cannot cross a page */
    u64 lo = v->gpr[REG_AX], hi = v->gpr[REG_DX];
    bool equal;
    if (hp) {
        __asm__("lock cmpxchg16b (%[p])"
                : "+a"(lo), "+d"(hi), "=@ccz"(equal)
                : "b"(v->gpr[REG_BX]), "c"(v->gpr[REG_CX]), [p] "r"(hp)
                : "memory");
    } else {
        mem_probe(v, la, 16, ACCESS_WRITE);
        u64 old_lo = mem_read(v, la, 8), old_hi = mem_read(v, la + 8, 8);
        equal = old_lo == lo && old_hi == hi;
        mem_write(v, la, equal ? v->gpr[REG_BX] : old_lo, 8);
        mem_write(v, la + 8, equal ? v->gpr[REG_CX] : old_hi, 8);
        lo = old_lo;
        hi = old_hi;
    }
    if (!equal) {
        v->gpr[REG_AX] = lo;
        v->gpr[REG_DX] = hi;
    }
    flags_set_arith(v, FLAG_ZF, equal ? FLAG_ZF : 0);
}

/* ADCX and ADOX: addition with CF or OF alone as carry (SDM 2A). */
ALWAYS_INLINE void add_carry_in(struct vcpu *v, const struct insn *in, u64 flag, unsigned size)
{
    u64 a = gpr_read(v, in->operand[0].reg, size), b = operand_read(v, in, 1, size);
    unsigned __int128 sum = (unsigned __int128)a + b + !!(flags_get(v) & flag);
    gpr_write(v, in->operand[0].reg, (u64)sum, size);
    flags_set_arith(v, flag, sum >> (size * 8) ? flag : 0);
}

ALWAYS_INLINE void op_adcx(struct vcpu *v, const struct insn *in, unsigned size)
{
    add_carry_in(v, in, FLAG_CF, size);
}
EXEC_BY_SIZE(op_adcx);

ALWAYS_INLINE void op_adox(struct vcpu *v, const struct insn *in, unsigned size)
{
    add_carry_in(v, in, FLAG_OF, size);
}
EXEC_BY_SIZE(op_adox);

exec_fn op_arith_select(const struct insn *in)
{
    unsigned size = in->operand[0].size;
    if (in->op != OP_CMPXCHG8B && in->op != OP_CMPXCHG16B && size != 1 && size != 2 && size != 4 &&
        size != 8)
        return NULL;
    switch (in->op) {
    case OP_ADD: return op_add_by_size[size];
    case OP_OR: return op_or_by_size[size];
    case OP_ADC: return op_adc_by_size[size];
    case OP_SBB: return op_sbb_by_size[size];
    case OP_AND: return op_and_by_size[size];
    case OP_SUB: return op_sub_by_size[size];
    case OP_XOR: return op_xor_by_size[size];
    case OP_CMP: return op_cmp_by_size[size];
    case OP_TEST: return op_test_by_size[size];
    case OP_INC: return op_inc_by_size[size];
    case OP_DEC: return op_dec_by_size[size];
    case OP_NEG: return op_neg_by_size[size];
    case OP_NOT: return op_not_by_size[size];
    case OP_MUL: return op_mul_by_size[size];
    case OP_DIV: return op_div_by_size[size];
    case OP_IDIV: return op_idiv_by_size[size];
    case OP_IMUL:
        switch (explicit_operands(in)) {
        case 1: return op_imul_wide_by_size[size];
        case 2: return op_imul2_by_size[size];
        default: return op_imul3_by_size[size];
        }
    case OP_XADD: return op_xadd_by_size[size];
    case OP_CMPXCHG: return op_cmpxchg_by_size[size];
    case OP_CMPXCHG8B: return op_cmpxchg8b;
    case OP_CMPXCHG16B: return op_cmpxchg16b;
    case OP_ADCX: return op_adcx_by_size[size];
    case OP_ADOX: return op_adox_by_size[size];
    default: return NULL;
    }
}
