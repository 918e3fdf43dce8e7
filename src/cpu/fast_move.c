/* SPDX-License-Identifier: MIT
 *
 * Fast handlers of moves, address arithmetic and the stack.
 */
#include "cpu/fast.h"

/* ---- MOV ---- */

#define MOV_REG(op, size)                                                                          \
    UOP_HANDLER mov_rr_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        uop_set(v, u->dst, v->gpr[u->src], size);                                                  \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER mov_ri_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        uop_set(v, u->dst, u->imm, size);                                                          \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_SIZES(MOV_REG, mov)

#define MOV_MEM(op, size, form)                                                                    \
    UOP_HANDLER mov_rm_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        uop_set(v, u->dst, load_sized(hp, size), size);                                            \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER mov_mr_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_write(v, u, form, size);                                                    \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        store_sized(hp, v->gpr[u->src], size);                                                     \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER mov_mi_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_write(v, u, form, size);                                                    \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        store_sized(hp, u->imm, size);                                                             \
        UOP_NEXT(v, u);                                                                            \
    }
#define MOV_MEM_ALL(op, size) FOR_EA(MOV_MEM, op, size)
FOR_SIZES(MOV_MEM_ALL, mov)

#define MOV_RM_ENTRY(op, size, form) [size][form] = mov_rm_##size##form,
#define MOV_MR_ENTRY(op, size, form) [size][form] = mov_mr_##size##form,
#define MOV_MI_ENTRY(op, size, form) [size][form] = mov_mi_##size##form,
#define MOV_RM_ENTRIES(op, size)     FOR_EA(MOV_RM_ENTRY, op, size)
#define MOV_MR_ENTRIES(op, size)     FOR_EA(MOV_MR_ENTRY, op, size)
#define MOV_MI_ENTRIES(op, size)     FOR_EA(MOV_MI_ENTRY, op, size)
static const uop_fn mov_rr[9] = {[1] = mov_rr_1, [2] = mov_rr_2, [4] = mov_rr_4, [8] = mov_rr_8};
static const uop_fn mov_ri[9] = {[1] = mov_ri_1, [2] = mov_ri_2, [4] = mov_ri_4, [8] = mov_ri_8};
static const uop_fn mov_rm[9][EA_FORMS] = {FOR_SIZES(MOV_RM_ENTRIES, mov)};
static const uop_fn mov_mr[9][EA_FORMS] = {FOR_SIZES(MOV_MR_ENTRIES, mov)};
static const uop_fn mov_mi[9][EA_FORMS] = {FOR_SIZES(MOV_MI_ENTRIES, mov)};

static uop_fn mov_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    unsigned size = in->operand[0].size;
    bool memory = fast_is_mem(in, 0) || fast_is_mem(in, 1);
    enum ea_form form = memory ? fast_ea(v, in, u) : EA_FORMS;
    if (memory && form == EA_FORMS)
        return NULL;
    u->dst = in->operand[0].reg;
    u->src = in->operand[1].reg;
    u->imm = in->imm;
    if (fast_is_reg(in, 0) && fast_is_mem(in, 1))
        return mov_rm[size][form];
    if (fast_is_mem(in, 0) && fast_is_reg(in, 1))
        return mov_mr[size][form];
    if (fast_is_mem(in, 0) && fast_is_imm(in, 1))
        return mov_mi[size][form];
    if (fast_is_reg(in, 0) && fast_is_reg(in, 1))
        return mov_rr[size];
    return fast_is_reg(in, 0) && fast_is_imm(in, 1) ? mov_ri[size] : NULL;
}

/* ---- MOVZX, MOVSX, MOVSXD: `from` and `size` bytes ---- */

#define FOR_EXTENSIONS(M) M(1, 2) M(1, 4) M(1, 8) M(2, 4) M(2, 8) M(4, 8)

#define EXTEND_REG(from, size)                                                                     \
    UOP_HANDLER movzx_rr_##from##size(struct vcpu *v, const struct uop *u)                         \
    {                                                                                              \
        uop_set(v, u->dst, v->gpr[u->src] & mask64(from * 8), size);                               \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER movsx_rr_##from##size(struct vcpu *v, const struct uop *u)                         \
    {                                                                                              \
        uop_set(v, u->dst, (u64)sext64(v->gpr[u->src], from * 8), size);                           \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_EXTENSIONS(EXTEND_REG)

#define EXTEND_MEM(from, size, form)                                                               \
    UOP_HANDLER movzx_rm_##from##size##form(struct vcpu *v, const struct uop *u)                   \
    {                                                                                              \
        void *hp = uop_read(v, u, form, from);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        uop_set(v, u->dst, load_sized(hp, from), size);                                            \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER movsx_rm_##from##size##form(struct vcpu *v, const struct uop *u)                   \
    {                                                                                              \
        void *hp = uop_read(v, u, form, from);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        uop_set(v, u->dst, (u64)sext64(load_sized(hp, from), from * 8), size);                     \
        UOP_NEXT(v, u);                                                                            \
    }
#define EXTEND_MEM_ALL(from, size) FOR_EA(EXTEND_MEM, from, size)
FOR_EXTENSIONS(EXTEND_MEM_ALL)

/* Indexed by sign, source and destination size. */
#define MOVZX_RR_ENTRY(from, size)       [0][from][size] = movzx_rr_##from##size,
#define MOVSX_RR_ENTRY(from, size)       [1][from][size] = movsx_rr_##from##size,
#define MOVZX_RM_ENTRY(from, size, form) [0][from][size][form] = movzx_rm_##from##size##form,
#define MOVSX_RM_ENTRY(from, size, form) [1][from][size][form] = movsx_rm_##from##size##form,
#define MOVZX_RM_ENTRIES(from, size)     FOR_EA(MOVZX_RM_ENTRY, from, size)
#define MOVSX_RM_ENTRIES(from, size)     FOR_EA(MOVSX_RM_ENTRY, from, size)
static const uop_fn extend_rr[2][5][9] = {FOR_EXTENSIONS(MOVZX_RR_ENTRY)
                                              FOR_EXTENSIONS(MOVSX_RR_ENTRY)};
static const uop_fn extend_rm[2][5][9][EA_FORMS] = {FOR_EXTENSIONS(MOVZX_RM_ENTRIES)
                                                        FOR_EXTENSIONS(MOVSX_RM_ENTRIES)};

static uop_fn extend_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    bool is_signed = in->op != OP_MOVZX;
    unsigned from = in->operand[1].size, size = in->opsize;
    if (from > 4 || !fast_is_reg(in, 0))
        return NULL;
    u->dst = in->operand[0].reg;
    u->src = in->operand[1].reg;
    if (fast_is_reg(in, 1))
        return extend_rr[is_signed][from][size];
    enum ea_form form = fast_is_mem(in, 1) ? fast_ea(v, in, u) : EA_FORMS;
    return form == EA_FORMS ? NULL : extend_rm[is_signed][from][size][form];
}

/* ---- LEA ---- */

#define LEA(op, size)                                                                              \
    UOP_HANDLER lea_base_##size(struct vcpu *v, const struct uop *u)                               \
    {                                                                                              \
        uop_set(v, u->dst, ea_reg(v, u->base) + (u64)u->disp, size);                               \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER lea_index_##size(struct vcpu *v, const struct uop *u)                              \
    {                                                                                              \
        u64 ea = ea_reg(v, u->base) + ea_reg(v, u->index) * u->scale + (u64)u->disp;               \
        uop_set(v, u->dst, ea, size);                                                              \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_WIDE_SIZES(LEA, lea)
static const uop_fn lea_base[9] = {[2] = lea_base_2, [4] = lea_base_4, [8] = lea_base_8};
static const uop_fn lea_index[9] = {[2] = lea_index_2, [4] = lea_index_4, [8] = lea_index_8};

static uop_fn lea_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    if (in->adsize < in->opsize)
        return NULL; /* the address is cut before it is extended */
    fast_ea(v, in, u);
    u->base = in->base < 16 ? in->base : REG_ZERO;
    u->index = in->index < 16 ? in->index : REG_ZERO;
    u->scale = in->scale;
    u->disp = in->disp;
    u->dst = in->operand[0].reg;
    return u->index == REG_ZERO ? lea_base[in->opsize] : lea_index[in->opsize];
}

/* ---- the stack, when it is flat: size 4 in 32-bit and 8 in 64-bit mode ---- */

UOP_BODY push(struct vcpu *v, const struct uop *u, u64 value, unsigned size)
{
    u64 sp = v->gpr[REG_SP] - size;
    if (size == 4)
        sp = (u32)sp;
    void *hp = la_write(v, sp, size);
    if (UNLIKELY(!hp))
        return uop_general(v, u);
    store_sized(hp, value, size);
    v->gpr[REG_SP] = sp;
    UOP_NEXT(v, u);
}

UOP_BODY pop(struct vcpu *v, const struct uop *u, u64 sp, unsigned size)
{
    void *hp = la_read(v, sp, size);
    if (UNLIKELY(!hp))
        return uop_general(v, u);
    u64 after = sp + size;
    v->gpr[REG_SP] = size == 4 ? (u32)after : after;
    v->gpr[u->dst] = load_sized(hp, size); /* after rSP: POP rSP gets the value */
    UOP_NEXT(v, u);
}

#define STACK(op, size)                                                                            \
    UOP_HANDLER push_r_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        return push(v, u, v->gpr[u->src], size);                                                   \
    }                                                                                              \
    UOP_HANDLER push_i_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        return push(v, u, u->imm, size);                                                           \
    }                                                                                              \
    UOP_HANDLER pop_r_##size(struct vcpu *v, const struct uop *u)                                  \
    {                                                                                              \
        return pop(v, u, v->gpr[REG_SP] & mask64(size * 8), size);                                 \
    }                                                                                              \
    UOP_HANDLER leave_##size(struct vcpu *v, const struct uop *u)                                  \
    {                                                                                              \
        return pop(v, u, v->gpr[REG_BP] & mask64(size * 8), size); /* dst is rBP */                \
    }
STACK(_, 4)
STACK(_, 8)

#define PUSH_MEM(op, size, form)                                                                   \
    UOP_HANDLER push_m_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        return LIKELY(hp != NULL) ? push(v, u, load_sized(hp, size), size) : uop_general(v, u);    \
    }
FOR_EA(PUSH_MEM, _, 4)
FOR_EA(PUSH_MEM, _, 8)
#define PUSH_M_ENTRY(op, size, form) [form] = push_m_##size##form,
static const uop_fn push_m[2][EA_FORMS] = {{FOR_EA(PUSH_M_ENTRY, _, 4)},
                                           {FOR_EA(PUSH_M_ENTRY, _, 8)}};

static uop_fn stack_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    static const uop_fn push_r[] = {push_r_4, push_r_8}, push_i[] = {push_i_4, push_i_8};
    static const uop_fn pop_r[] = {pop_r_4, pop_r_8}, leave[] = {leave_4, leave_8};
    int column = fast_stack_column(v, in);
    if (column < 0)
        return NULL;
    if (in->op == OP_LEAVE) {
        u->dst = REG_BP;
        return leave[column];
    }
    u->dst = u->src = in->operand[0].reg;
    if (in->op == OP_POP)
        return fast_is_reg(in, 0) ? pop_r[column] : NULL;
    if (fast_is_mem(in, 0)) {
        enum ea_form form = fast_ea(v, in, u);
        return form == EA_FORMS ? NULL : push_m[column][form];
    }
    u->imm = in->imm;
    return fast_is_reg(in, 0) ? push_r[column] : push_i[column];
}

/* ---- conditional moves and sets of registers ---- */

#define CONDITIONAL(cc)                                                                            \
    UOP_HANDLER cmov_4_##cc(struct vcpu *v, const struct uop *u)                                   \
    {                                                                                              \
        bool taken = flags_condition(v->oszapc, cc);                                               \
        v->gpr[u->dst] = (u32)v->gpr[taken ? u->src : u->dst];                                     \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER cmov_8_##cc(struct vcpu *v, const struct uop *u)                                   \
    {                                                                                              \
        bool taken = flags_condition(v->oszapc, cc);                                               \
        v->gpr[u->dst] = v->gpr[taken ? u->src : u->dst];                                          \
        UOP_NEXT(v, u);                                                                            \
    }                                                                                              \
    UOP_HANDLER set_##cc(struct vcpu *v, const struct uop *u)                                      \
    {                                                                                              \
        uop_set(v, u->dst, flags_condition(v->oszapc, cc), 1);                                     \
        UOP_NEXT(v, u);                                                                            \
    }
FOR_CONDITIONS(CONDITIONAL)
#define CMOV_4_ENTRY(cc) cmov_4_##cc,
#define CMOV_8_ENTRY(cc) cmov_8_##cc,
#define SET_ENTRY(cc)    set_##cc,
static const uop_fn cmov_4[16] = {FOR_CONDITIONS(CMOV_4_ENTRY)};
static const uop_fn cmov_8[16] = {FOR_CONDITIONS(CMOV_8_ENTRY)};
static const uop_fn set[16] = {FOR_CONDITIONS(SET_ENTRY)};

static uop_fn conditional_select(const struct insn *in, struct uop *u)
{
    unsigned cc = in->opcode & 0xf;
    u->dst = in->operand[0].reg;
    if (in->op == OP_SETCC)
        return fast_is_reg(in, 0) ? set[cc] : NULL;
    if (!fast_is_reg(in, 1) || in->opsize == 2)
        return NULL;
    u->src = in->operand[1].reg;
    return in->opsize == 4 ? cmov_4[cc] : cmov_8[cc];
}

/* ---- odds and ends ---- */

UOP_HANDLER cdq(struct vcpu *v, const struct uop *u)
{
    v->gpr[REG_DX] = (u32)((i32)v->gpr[REG_AX] >> 31);
    UOP_NEXT(v, u);
}

UOP_HANDLER nop(struct vcpu *v, const struct uop *u)
{
    UOP_NEXT(v, u);
}

UOP_HANDLER xchg_4(struct vcpu *v, const struct uop *u)
{
    u64 value = v->gpr[u->dst];
    v->gpr[u->dst] = (u32)v->gpr[u->src];
    v->gpr[u->src] = (u32)value;
    UOP_NEXT(v, u);
}

static uop_fn xchg_select(const struct insn *in, struct uop *u)
{
    if (in->opsize != 4 || in->operand[0].size != 4 || !fast_is_reg(in, 0) || !fast_is_reg(in, 1))
        return NULL;
    u->dst = in->operand[0].reg;
    u->src = in->operand[1].reg;
    return xchg_4;
}

uop_fn fast_move_select(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    switch (in->op) {
    case OP_MOV: return mov_select(v, in, u);
    case OP_MOVZX:
    case OP_MOVSX:
    case OP_MOVSXD: return extend_select(v, in, u);
    case OP_LEA: return lea_select(v, in, u);
    case OP_PUSH:
    case OP_POP:
    case OP_LEAVE: return stack_select(v, in, u);
    case OP_CMOVCC:
    case OP_SETCC: return conditional_select(in, u);
    case OP_XCHG: return xchg_select(in, u);
    case OP_CWD: return in->opsize == 4 ? cdq : NULL;
    case OP_NOP: return nop;
    default: return NULL;
    }
}
