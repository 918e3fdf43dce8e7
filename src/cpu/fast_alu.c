/* SPDX-License-Identifier: MIT
 *
 * Fast handlers of arithmetic, logic and shifts.
 */
#include "cpu/fast.h"

/* ---- two operands ---- */

enum alu { ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, ALU_OPS };
#define FOR_ALU(M)                                                                                 \
    FOR_SIZES(M, ADD)                                                                              \
    FOR_SIZES(M, OR)                                                                               \
    FOR_SIZES(M, ADC)                                                                              \
    FOR_SIZES(M, SBB)                                                                              \
    FOR_SIZES(M, AND)                                                                              \
    FOR_SIZES(M, SUB)                                                                              \
    FOR_SIZES(M, XOR)                                                                              \
    FOR_SIZES(M, CMP)                                                                              \
    FOR_SIZES(M, TEST)

ALWAYS_INLINE u64 alu(enum alu op, unsigned size, u64 a, u64 b, u16 *flags)
{
    switch (op) {
    case ADD: return alu_add(size, a, b, flags);
    case OR: return alu_or(size, a, b, flags);
    case ADC: return alu_adc(size, a, b, flags);
    case SBB: return alu_sbb(size, a, b, flags);
    case AND: return alu_and(size, a, b, flags);
    case SUB: return alu_sub(size, a, b, flags);
    case XOR: return alu_xor(size, a, b, flags);
    case CMP: alu_cmp(size, a, b, flags); break;
    case TEST: alu_test(size, a, b, flags); break;
    case ALU_OPS: break;
    }
    return a;
}

ALWAYS_INLINE bool alu_writes(enum alu op)
{
    return op != CMP && op != TEST;
}

UOP_BODY alu_reg(struct vcpu *v, const struct uop *u, enum alu op, unsigned size, u64 b)
{
    u64 result = alu(op, size, v->gpr[u->dst], b, &v->oszapc);
    if (alu_writes(op))
        v->gpr[u->dst] = result;
    UOP_NEXT(v, u);
}

UOP_BODY alu_mem(struct vcpu *v, const struct uop *u, enum alu op, unsigned size, u64 b,
                 enum ea_form form)
{
    void *hp = alu_writes(op) ? uop_write(v, u, form, size) : uop_read(v, u, form, size);
    if (UNLIKELY(!hp))
        return uop_general(v, u);
    u64 result = alu(op, size, load_sized(hp, size), b, &v->oszapc);
    if (alu_writes(op))
        store_sized(hp, result, size);
    UOP_NEXT(v, u);
}

#define ALU_REG(op, size)                                                                          \
    UOP_HANDLER op##_rr_##size(struct vcpu *v, const struct uop *u)                                \
    {                                                                                              \
        return alu_reg(v, u, op, size, v->gpr[u->src]);                                            \
    }                                                                                              \
    UOP_HANDLER op##_ri_##size(struct vcpu *v, const struct uop *u)                                \
    {                                                                                              \
        return alu_reg(v, u, op, size, u->imm);                                                    \
    }
FOR_ALU(ALU_REG)

#define ALU_MEM(op, size, form)                                                                    \
    UOP_HANDLER op##_rm_##size##form(struct vcpu *v, const struct uop *u)                          \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        return LIKELY(hp != NULL) ? alu_reg(v, u, op, size, load_sized(hp, size))                  \
                                  : uop_general(v, u);                                             \
    }                                                                                              \
    UOP_HANDLER op##_mr_##size##form(struct vcpu *v, const struct uop *u)                          \
    {                                                                                              \
        return alu_mem(v, u, op, size, v->gpr[u->src], form);                                      \
    }                                                                                              \
    UOP_HANDLER op##_mi_##size##form(struct vcpu *v, const struct uop *u)                          \
    {                                                                                              \
        return alu_mem(v, u, op, size, u->imm, form);                                              \
    }
#define ALU_MEM_ALL(op, size) FOR_EA(ALU_MEM, op, size)
FOR_ALU(ALU_MEM_ALL)

/* Indexed by operation, size (its binary logarithm has holes, so the size itself) and form. */
#define ALU_RR_ENTRY(op, size)       [op][size] = op##_rr_##size,
#define ALU_RI_ENTRY(op, size)       [op][size] = op##_ri_##size,
#define ALU_RM_ENTRY(op, size, form) [op][size][form] = op##_rm_##size##form,
#define ALU_MR_ENTRY(op, size, form) [op][size][form] = op##_mr_##size##form,
#define ALU_MI_ENTRY(op, size, form) [op][size][form] = op##_mi_##size##form,
#define ALU_RM_ENTRIES(op, size)     FOR_EA(ALU_RM_ENTRY, op, size)
#define ALU_MR_ENTRIES(op, size)     FOR_EA(ALU_MR_ENTRY, op, size)
#define ALU_MI_ENTRIES(op, size)     FOR_EA(ALU_MI_ENTRY, op, size)
static const uop_fn alu_rr[ALU_OPS][9] = {FOR_ALU(ALU_RR_ENTRY)};
static const uop_fn alu_ri[ALU_OPS][9] = {FOR_ALU(ALU_RI_ENTRY)};
static const uop_fn alu_rm[ALU_OPS][9][EA_FORMS] = {FOR_ALU(ALU_RM_ENTRIES)};
static const uop_fn alu_mr[ALU_OPS][9][EA_FORMS] = {FOR_ALU(ALU_MR_ENTRIES)};
static const uop_fn alu_mi[ALU_OPS][9][EA_FORMS] = {FOR_ALU(ALU_MI_ENTRIES)};

static uop_fn alu_mem_select(const struct vcpu *v, const struct insn *in, enum alu op,
                             struct uop *u)
{
    enum ea_form form = fast_ea(v, in, u);
    unsigned size = in->operand[0].size;
    if (form == EA_FORMS)
        return NULL;
    if (fast_is_reg(in, 0) && fast_is_mem(in, 1)) {
        u->dst = in->operand[0].reg;
        return alu_rm[op][size][form];
    }
    if (fast_is_mem(in, 0) && fast_is_reg(in, 1)) {
        u->src = in->operand[1].reg;
        return alu_mr[op][size][form];
    }
    if (fast_is_mem(in, 0) && fast_is_imm(in, 1)) {
        u->imm = in->imm;
        return alu_mi[op][size][form];
    }
    return NULL;
}

static uop_fn alu_select(const struct vcpu *v, const struct insn *in, enum alu op, struct uop *u)
{
    unsigned size = in->operand[0].size;
    if (!fast_is_reg(in, 0) || fast_is_mem(in, 1))
        return alu_mem_select(v, in, op, u);
    u->dst = in->operand[0].reg;
    if (fast_is_reg(in, 1)) {
        u->src = in->operand[1].reg;
        return alu_rr[op][size];
    }
    u->imm = in->imm;
    return fast_is_imm(in, 1) ? alu_ri[op][size] : NULL;
}

/* ---- one operand ---- */

enum unary { INC, DEC, NEG, NOT, UNARY_OPS };
#define FOR_UNARY(M)                                                                               \
    FOR_SIZES(M, INC)                                                                              \
    FOR_SIZES(M, DEC)                                                                              \
    FOR_SIZES(M, NEG)                                                                              \
    FOR_SIZES(M, NOT)

ALWAYS_INLINE u64 unary(enum unary op, unsigned size, u64 a, u16 *flags)
{
    switch (op) {
    case INC: return alu_inc(size, a, flags);
    case DEC: return alu_dec(size, a, flags);
    case NEG: return alu_neg(size, a, flags);
    default: return alu_not(size, a);
    }
}

#define UNARY_REG(op, size)                                                                        \
    UOP_HANDLER op##_r_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        v->gpr[u->dst] = unary(op, size, v->gpr[u->dst], &v->oszapc);                              \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_UNARY(UNARY_REG)

#define UNARY_MEM(op, size, form)                                                                  \
    UOP_HANDLER op##_m_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_write(v, u, form, size);                                                    \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        store_sized(hp, unary(op, size, load_sized(hp, size), &v->oszapc), size);                  \
        UOP_NEXT(v, u);                                                                            \
    }
#define UNARY_MEM_ALL(op, size) FOR_EA(UNARY_MEM, op, size)
FOR_UNARY(UNARY_MEM_ALL)

#define UNARY_R_ENTRY(op, size)       [op][size] = op##_r_##size,
#define UNARY_M_ENTRY(op, size, form) [op][size][form] = op##_m_##size##form,
#define UNARY_M_ENTRIES(op, size)     FOR_EA(UNARY_M_ENTRY, op, size)
static const uop_fn unary_r[UNARY_OPS][9] = {FOR_UNARY(UNARY_R_ENTRY)};
static const uop_fn unary_m[UNARY_OPS][9][EA_FORMS] = {FOR_UNARY(UNARY_M_ENTRIES)};

static uop_fn unary_select(const struct vcpu *v, const struct insn *in, enum unary op,
                           struct uop *u)
{
    unsigned size = in->operand[0].size;
    if (fast_is_reg(in, 0)) {
        u->dst = in->operand[0].reg;
        return unary_r[op][size];
    }
    enum ea_form form = fast_is_mem(in, 0) ? fast_ea(v, in, u) : EA_FORMS;
    return form == EA_FORMS ? NULL : unary_m[op][size][form];
}

/* ---- shifts of a register ---- */

enum shift { ROL, ROR, RCL, RCR, SHL, SHR, SAR, SHIFT_OPS };
#define FOR_SHIFT(M)                                                                               \
    FOR_SIZES(M, ROL)                                                                              \
    FOR_SIZES(M, ROR)                                                                              \
    FOR_SIZES(M, RCL)                                                                              \
    FOR_SIZES(M, RCR)                                                                              \
    FOR_SIZES(M, SHL)                                                                              \
    FOR_SIZES(M, SHR)                                                                              \
    FOR_SIZES(M, SAR)

ALWAYS_INLINE u64 shift(enum shift op, unsigned size, u64 a, u64 count, u16 *flags)
{
    switch (op) {
    case ROL: return alu_rol(size, a, count, flags);
    case ROR: return alu_ror(size, a, count, flags);
    case RCL: return alu_rcl(size, a, count, flags);
    case RCR: return alu_rcr(size, a, count, flags);
    case SHL: return alu_shl(size, a, count, flags);
    case SHR: return alu_shr(size, a, count, flags);
    default: return alu_sar(size, a, count, flags);
    }
}

#define SHIFT_REG(op, size)                                                                        \
    UOP_HANDLER op##_ri_##size(struct vcpu *v, const struct uop *u)                                \
    {                                                                                              \
        v->gpr[u->dst] = shift(op, size, v->gpr[u->dst], u->imm, &v->oszapc);                      \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER op##_rc_##size(struct vcpu *v, const struct uop *u)                                \
    {                                                                                              \
        v->gpr[u->dst] = shift(op, size, v->gpr[u->dst], v->gpr[REG_CX], &v->oszapc);              \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_SHIFT(SHIFT_REG)
#define SHIFT_RI_ENTRY(op, size) [op][size] = op##_ri_##size,
#define SHIFT_RC_ENTRY(op, size) [op][size] = op##_rc_##size,
static const uop_fn shift_ri[SHIFT_OPS][9] = {FOR_SHIFT(SHIFT_RI_ENTRY)};
static const uop_fn shift_rc[SHIFT_OPS][9] = {FOR_SHIFT(SHIFT_RC_ENTRY)};

static uop_fn shift_select(const struct insn *in, enum shift op, struct uop *u)
{
    if (!fast_is_reg(in, 0))
        return NULL;
    u->dst = in->operand[0].reg;
    if (fast_is_reg(in, 1))
        return shift_rc[op][in->operand[0].size];
    u->imm = in->imm;
    return fast_is_imm(in, 1) ? shift_ri[op][in->operand[0].size] : NULL;
}

/* ---- MUL, and IMUL to rDX:rAX ---- */

enum wide { MUL, IMUL, WIDE_OPS };
#define FOR_WIDE(M)                                                                                \
    FOR_SIZES(M, MUL)                                                                              \
    FOR_SIZES(M, IMUL)

UOP_BODY wide(struct vcpu *v, const struct uop *u, enum wide op, unsigned size, u64 b)
{
    if (op == MUL)
        alu_mul(size, &v->gpr[REG_AX], &v->gpr[REG_DX], b, &v->oszapc);
    else
        alu_imul_wide(size, &v->gpr[REG_AX], &v->gpr[REG_DX], b, &v->oszapc);
    UOP_NEXT(v, u);
}

#define WIDE_REG(op, size)                                                                         \
    UOP_HANDLER op##_wide_r_##size(struct vcpu *v, const struct uop *u)                            \
    {                                                                                              \
        return wide(v, u, op, size, v->gpr[u->src]);                                               \
    }
#define WIDE_MEM(op, size, form)                                                                   \
    UOP_HANDLER op##_wide_m_##size##form(struct vcpu *v, const struct uop *u)                      \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        return LIKELY(hp != NULL) ? wide(v, u, op, size, load_sized(hp, size))                     \
                                  : uop_general(v, u);                                             \
    }
#define WIDE_MEM_ALL(op, size) FOR_EA(WIDE_MEM, op, size)
FOR_WIDE(WIDE_REG)
FOR_WIDE(WIDE_MEM_ALL)
#define WIDE_R_ENTRY(op, size)       [op][size] = op##_wide_r_##size,
#define WIDE_M_ENTRY(op, size, form) [op][size][form] = op##_wide_m_##size##form,
#define WIDE_M_ENTRIES(op, size)     FOR_EA(WIDE_M_ENTRY, op, size)
static const uop_fn wide_r[WIDE_OPS][9] = {FOR_WIDE(WIDE_R_ENTRY)};
static const uop_fn wide_m[WIDE_OPS][9][EA_FORMS] = {FOR_WIDE(WIDE_M_ENTRIES)};

static uop_fn wide_select(const struct vcpu *v, const struct insn *in, enum wide op, struct uop *u)
{
    unsigned size = in->operand[0].size;
    if (fast_is_reg(in, 0)) {
        u->src = in->operand[0].reg;
        return wide_r[op][size];
    }
    enum ea_form form = fast_is_mem(in, 0) ? fast_ea(v, in, u) : EA_FORMS;
    return form == EA_FORMS ? NULL : wide_m[op][size][form];
}

/* ---- IMUL with a register destination ---- */

ALWAYS_INLINE void imul(struct vcpu *v, const struct uop *u, unsigned size, u64 a, u64 b)
{
    uop_set(v, u->dst, alu_imul(size, a, b, &v->oszapc), size);
}

#define IMUL_REG(op, size)                                                                         \
    UOP_HANDLER imul_rr_##size(struct vcpu *v, const struct uop *u)                                \
    {                                                                                              \
        imul(v, u, size, v->gpr[u->dst], v->gpr[u->src]);                                          \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER imul_rri_##size(struct vcpu *v, const struct uop *u)                               \
    {                                                                                              \
        imul(v, u, size, v->gpr[u->src], u->imm);                                                  \
        UOP_NEXT(v, u);                                                                            \
    }
#define IMUL_MEM(op, size, form)                                                                   \
    UOP_HANDLER imul_rm_##size##form(struct vcpu *v, const struct uop *u)                          \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        imul(v, u, size, v->gpr[u->dst], load_sized(hp, size));                                    \
        UOP_NEXT(v, u);                                                                            \
    }
#define IMUL_MEM_ALL(op, size) FOR_EA(IMUL_MEM, op, size)
FOR_WIDE_SIZES(IMUL_REG, imul)
FOR_WIDE_SIZES(IMUL_MEM_ALL, imul)
#define IMUL_RM_ENTRY(op, size, form) [size][form] = imul_rm_##size##form,
#define IMUL_RM_ENTRIES(op, size)     FOR_EA(IMUL_RM_ENTRY, op, size)
static const uop_fn imul_rr[9] = {[2] = imul_rr_2, [4] = imul_rr_4, [8] = imul_rr_8};
static const uop_fn imul_rri[9] = {[2] = imul_rri_2, [4] = imul_rri_4, [8] = imul_rri_8};
static const uop_fn imul_rm[9][EA_FORMS] = {FOR_WIDE_SIZES(IMUL_RM_ENTRIES, imul)};

static uop_fn imul_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    unsigned size = in->operand[0].size;
    if (in->operands < 2 || in->operand[1].hidden)
        return wide_select(v, in, IMUL, u);
    bool three = in->operands > 2 && !in->operand[2].hidden;
    u->dst = in->operand[0].reg;
    if (fast_is_mem(in, 1)) {
        enum ea_form form = three ? EA_FORMS : fast_ea(v, in, u);
        return form == EA_FORMS ? NULL : imul_rm[size][form];
    }
    u->src = in->operand[1].reg;
    u->imm = in->imm;
    return three ? imul_rri[size] : imul_rr[size];
}

uop_fn fast_alu_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    switch (in->op) {
    case OP_ADD: return alu_select(v, in, ADD, u);
    case OP_OR: return alu_select(v, in, OR, u);
    case OP_ADC: return alu_select(v, in, ADC, u);
    case OP_SBB: return alu_select(v, in, SBB, u);
    case OP_AND: return alu_select(v, in, AND, u);
    case OP_SUB: return alu_select(v, in, SUB, u);
    case OP_XOR: return alu_select(v, in, XOR, u);
    case OP_CMP: return alu_select(v, in, CMP, u);
    case OP_TEST: return alu_select(v, in, TEST, u);
    case OP_INC: return unary_select(v, in, INC, u);
    case OP_DEC: return unary_select(v, in, DEC, u);
    case OP_NEG: return unary_select(v, in, NEG, u);
    case OP_NOT: return unary_select(v, in, NOT, u);
    case OP_ROL: return shift_select(in, ROL, u);
    case OP_ROR: return shift_select(in, ROR, u);
    case OP_RCL: return shift_select(in, RCL, u);
    case OP_RCR: return shift_select(in, RCR, u);
    case OP_SHL: return shift_select(in, SHL, u);
    case OP_SHR: return shift_select(in, SHR, u);
    case OP_SAR: return shift_select(in, SAR, u);
    case OP_MUL: return wide_select(v, in, MUL, u);
    case OP_IMUL: return imul_select(v, in, u);
    default: return NULL;
    }
}
