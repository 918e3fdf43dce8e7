/* SPDX-License-Identifier: MIT
 *
 * Fast handlers of near control flow. Direct branches leave their block by links; the targets'
 * limit checks are done when the handler is chosen, because the segment is part of a block's key.
 */
#include "cpu/fast.h"

/* ---- direct ---- */

UOP_HANDLER jmp(struct vcpu *v, const struct uop *u)
{
    return uop_go(v, u->taken, u->at + 1u);
}

#define JCC(cc)                                                                                    \
    UOP_HANDLER jcc_##cc(struct vcpu *v, const struct uop *u)                                      \
    {                                                                                              \
        if (flags_condition(v->oszapc, cc))                                                        \
            return uop_go(v, u->taken, u->at + 1u);                                                \
        return uop_go(v, u->fall, u->at + 1u);                                                     \
    }
FOR_CONDITIONS(JCC)
#define JCC_ENTRY(cc) jcc_##cc,
static const uop_fn jcc[16] = {FOR_CONDITIONS(JCC_ENTRY)};

/* LOOP with CX, ECX or RCX. */
#define LOOP(op, size)                                                                             \
    UOP_HANDLER loop_##size(struct vcpu *v, const struct uop *u)                                   \
    {                                                                                              \
        u64 count = (v->gpr[REG_CX] - 1) & mask64(size * 8);                                       \
        uop_set(v, REG_CX, count, size);                                                           \
        return uop_go(v, count ? u->taken : u->fall, u->at + 1u);                                  \
    }                                                                                              \
    UOP_HANDLER jcxz_##size(struct vcpu *v, const struct uop *u)                                   \
    {                                                                                              \
        bool zero = !(v->gpr[REG_CX] & mask64(size * 8));                                          \
        return uop_go(v, zero ? u->taken : u->fall, u->at + 1u);                                   \
    }
FOR_WIDE_SIZES(LOOP, _)
static const uop_fn loop[9] = {[2] = loop_2, [4] = loop_4, [8] = loop_8};
static const uop_fn jcxz[9] = {[2] = jcxz_2, [4] = jcxz_4, [8] = jcxz_8};

/* ---- calls and returns on a flat stack; u->imm is the return address ---- */

ALWAYS_INLINE bool push_return(struct vcpu *v, u64 value, unsigned size)
{
    u64 sp = v->gpr[REG_SP] - size;
    if (size == 4)
        sp = (u32)sp;
    void *hp = la_write(v, sp, size);
    if (UNLIKELY(!hp))
        return false;
    store_sized(hp, value, size);
    v->gpr[REG_SP] = sp;
    return true;
}

#define CALL(op, size)                                                                             \
    UOP_HANDLER call_##size(struct vcpu *v, const struct uop *u)                                   \
    {                                                                                              \
        if (UNLIKELY(!push_return(v, u->imm, size)))                                               \
            return uop_general(v, u);                                                              \
        return uop_go(v, u->taken, u->at + 1u);                                                    \
    }
CALL(_, 4)
CALL(_, 8)

/* u->imm: what RET n adds to rSP, the address included. */
#define RET(op, size)                                                                              \
    UOP_HANDLER ret_##size(struct vcpu *v, const struct uop *u)                                    \
    {                                                                                              \
        u64 sp = v->gpr[REG_SP] & mask64(size * 8);                                                \
        void *hp = la_read(v, sp, size);                                                           \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        u64 target = load_sized(hp, size);                                                         \
        if (size == 8 && UNLIKELY(!mem_canonical(target)))                                         \
            return uop_general(v, u);                                                              \
        v->gpr[REG_SP] = (sp + u->imm) & mask64(size * 8);                                         \
        v->rip = target;                                                                           \
        return uop_jump(v, u->at + 1u);                                                            \
    }
RET(_, 4)
RET(_, 8)

/* ---- indirect ---- */

UOP_BODY jump_to(struct vcpu *v, const struct uop *u, u64 target, unsigned size, bool call)
{
    if (size == 4)
        target = (u32)target;
    if (size == 8 && UNLIKELY(!mem_canonical(target)))
        return uop_general(v, u);
    if (call && UNLIKELY(!push_return(v, u->imm, size)))
        return uop_general(v, u);
    v->rip = target;
    return uop_jump(v, u->at + 1u);
}

#define INDIRECT_REG(op, size)                                                                     \
    UOP_HANDLER jmp_r_##size(struct vcpu *v, const struct uop *u)                                  \
    {                                                                                              \
        return jump_to(v, u, v->gpr[u->src], size, false);                                         \
    }                                                                                              \
    UOP_HANDLER call_r_##size(struct vcpu *v, const struct uop *u)                                 \
    {                                                                                              \
        return jump_to(v, u, v->gpr[u->src], size, true);                                          \
    }
INDIRECT_REG(_, 4)
INDIRECT_REG(_, 8)

#define INDIRECT_MEM(op, size, form)                                                               \
    UOP_HANDLER jmp_m_##size##form(struct vcpu *v, const struct uop *u)                            \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        return jump_to(v, u, load_sized(hp, size), size, false);                                   \
    }                                                                                              \
    UOP_HANDLER call_m_##size##form(struct vcpu *v, const struct uop *u)                           \
    {                                                                                              \
        void *hp = uop_read(v, u, form, size);                                                     \
        if (UNLIKELY(!hp))                                                                         \
            return uop_general(v, u);                                                              \
        return jump_to(v, u, load_sized(hp, size), size, true);                                    \
    }
FOR_EA(INDIRECT_MEM, _, 4)
FOR_EA(INDIRECT_MEM, _, 8)
#define JMP_M_ENTRY(op, size, form)  [form] = jmp_m_##size##form,
#define CALL_M_ENTRY(op, size, form) [form] = call_m_##size##form,
static const uop_fn jmp_m[2][EA_FORMS] = {{FOR_EA(JMP_M_ENTRY, _, 4)}, {FOR_EA(JMP_M_ENTRY, _, 8)}};
static const uop_fn call_m[2][EA_FORMS] = {{FOR_EA(CALL_M_ENTRY, _, 4)},
                                           {FOR_EA(CALL_M_ENTRY, _, 8)}};

/* ---- selection ---- */

static u64 direct_target(const struct insn *in, u64 next)
{
    return (next + in->imm) & (in->mode == 64 ? ~(u64)0 : mask64(in->opsize * 8));
}

static bool target_allowed(const struct vcpu *v, u64 target)
{
    return v->mode & MODE_CS64 ? mem_canonical(target) : target <= v->seg[SEG_CS].limit;
}

bool fast_exits(const struct insn *in, u64 next, u64 *target, unsigned *sides)
{
    switch (in->op) {
    case OP_JCC:
    case OP_LOOP:
    case OP_JCXZ: *sides = 2; break;
    case OP_JMP:
    case OP_CALL: *sides = 1; break;
    default: return false;
    }
    if (in->operand[0].kind != OPD_REL)
        return false;
    *target = direct_target(in, next);
    return true;
}

static uop_fn direct_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u)
{
    static const uop_fn call[] = {call_4, call_8};
    if (!target_allowed(v, direct_target(in, next)))
        return NULL; /* faults, when it is taken */
    switch (in->op) {
    case OP_JMP: return jmp;
    case OP_JCC: return jcc[in->opcode & 0xf];
    case OP_LOOP: return loop[in->adsize];
    case OP_JCXZ: return jcxz[in->adsize];
    default: break;
    }
    int column = fast_stack_column(v, in);
    u->imm = next;
    return column < 0 ? NULL : call[column];
}

static uop_fn indirect_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u)
{
    static const uop_fn jmp_r[] = {jmp_r_4, jmp_r_8}, call_r[] = {call_r_4, call_r_8};
    int column = fast_stack_column(v, in);
    bool call = in->op == OP_CALL;
    if (column < 0)
        return NULL;
    u->imm = next;
    if (fast_is_reg(in, 0)) {
        u->src = in->operand[0].reg;
        return call ? call_r[column] : jmp_r[column];
    }
    enum ea_form form = fast_ea(v, in, u);
    if (form == EA_FORMS)
        return NULL;
    return call ? call_m[column][form] : jmp_m[column][form];
}

uop_fn fast_flow_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u)
{
    static const uop_fn ret[] = {ret_4, ret_8};
    switch (in->op) {
    case OP_JCC:
    case OP_LOOP:
    case OP_JCXZ: return direct_select(v, in, next, u);
    case OP_JMP:
    case OP_CALL:
        if (in->operand[0].kind == OPD_REL)
            return direct_select(v, in, next, u);
        return indirect_select(v, in, next, u);
    case OP_RET: {
        int column = fast_stack_column(v, in);
        u->imm = in->opsize + (in->imm_len ? in->imm & 0xffff : 0);
        return column < 0 ? NULL : ret[column];
    }
    default: return NULL;
    }
}
