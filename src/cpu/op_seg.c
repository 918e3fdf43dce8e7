/* SPDX-License-Identifier: MIT
 *
 * Segment registers as operands, and the instructions that ask about selectors (SDM 2A MOV, PUSH,
 * POP, LDS; 2A/2B LAR, LSL, VERR, ARPL).
 */
#include "cpu/flags.h"
#include "cpu/op_sys.h"
#include "cpu/operand.h"
#include "cpu/seg.h"
#include "cpu/stack.h"

/* ---- MOV, PUSH, POP ---- */

/* Loads a register; SS holds events off until after the next instruction. */
static void load(struct vcpu *v, unsigned s, u16 sel)
{
    if (s == SEG_CS || s >= SEG_COUNT)
        cpu_raise(v, VEC_UD);
    seg_load(v, s, sel);
    if (s == SEG_SS)
        v->shadow |= SHADOW_MOVSS;
}

static void op_mov_to_seg(struct vcpu *v, const struct insn *in)
{
    load(v, in->operand[0].reg, (u16)operand_read(v, in, 1, 2));
    sys_done(v, in);
}

/* A register gets the selector zero-extended, memory 16 bits. */
static void op_mov_from_seg(struct vcpu *v, const struct insn *in)
{
    u16 sel = v->seg[in->operand[1].reg].sel;
    operand_write(v, in, 0, sel, operand_is_mem(in, 0) ? 2 : in->opsize);
    sys_done(v, in);
}

/* The stack moves by the operand size, but only the selector's two bytes are accessed (SDM 2B
 * "PUSH": what recent processors do). */
static void op_push_seg(struct vcpu *v, const struct insn *in)
{
    u64 sp = v->gpr[REG_SP] - in->opsize;
    mem_write(v, stack_la(v, sp, 2, ACCESS_WRITE), v->seg[in->operand[0].reg].sel, 2);
    stack_set(v, REG_SP, sp);
    sys_done(v, in);
}

static void op_pop_seg(struct vcpu *v, const struct insn *in)
{
    u16 sel = (u16)stack_peek(v, 0, 2);
    u64 mask = stack_mask(v); /* of the old stack, should SS be the register */
    u64 sp = (v->gpr[REG_SP] & ~mask) | ((v->gpr[REG_SP] + in->opsize) & mask);
    load(v, in->operand[0].reg, sel);
    v->gpr[REG_SP] = sp;
    sys_done(v, in);
}

/* ---- LDS, LES, LFS, LGS, LSS ---- */

static unsigned pointer_segment(const struct insn *in)
{
    switch (in->op) {
    case OP_LDS: return SEG_DS;
    case OP_LES: return SEG_ES;
    case OP_LFS: return SEG_FS;
    case OP_LGS: return SEG_GS;
    default: return SEG_SS;
    }
}

static void op_load_pointer(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    u64 la = operand_la(v, in, size + 2, ACCESS_READ);
    u64 la_sel = v->mode & MODE_CS64 ? la + size : (u32)(la + size);
    u64 offset = mem_read(v, la, size);
    u16 sel = (u16)mem_read(v, la_sel, 2);
    seg_load(v, pointer_segment(in), sel);
    gpr_write(v, in->operand[0].reg, offset, size);
    sys_done(v, in);
}

/* ---- questions about selectors: answered in ZF, never by a fault ---- */

static void answer(struct vcpu *v, const struct insn *in, bool yes)
{
    flags_set_arith(v, FLAG_ZF, yes ? FLAG_ZF : 0);
    sys_done(v, in);
}

/* The descriptor is there and its DPL permits CPL and RPL (conforming code permits all). */
static bool reachable(struct vcpu *v, u16 sel, u64 *desc)
{
    if (sel_null(sel) || !seg_read_descriptor(v, sel, desc))
        return false;
    if (desc_is_code(*desc) && desc_is_conforming(*desc))
        return true;
    return desc_dpl(*desc) >= v->cpl && desc_dpl(*desc) >= sel_rpl(sel);
}

static bool type_in(unsigned type, const u8 *types, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (types[i] == type)
            return true;
    }
    return false;
}

static bool lar_knows(const struct vcpu *v, u64 desc)
{
    static const u8 legacy[] = {TYPE_TSS16,     TYPE_LDT,   TYPE_TSS16_BUSY, TYPE_CALL16,
                                TYPE_TASK_GATE, TYPE_TSS32, TYPE_TSS32_BUSY, TYPE_CALL32};
    static const u8 lm[] = {TYPE_LDT, TYPE_TSS32, TYPE_TSS32_BUSY, TYPE_CALL32};
    if (desc_is_segment(desc))
        return true;
    return vcpu_long_mode(v) ? type_in(desc_type(desc), lm, sizeof lm)
                             : type_in(desc_type(desc), legacy, sizeof legacy);
}

static bool lsl_knows(const struct vcpu *v, u64 desc)
{
    static const u8 legacy[] = {TYPE_TSS16, TYPE_LDT, TYPE_TSS16_BUSY, TYPE_TSS32, TYPE_TSS32_BUSY};
    static const u8 lm[] = {TYPE_LDT, TYPE_TSS32, TYPE_TSS32_BUSY};
    if (desc_is_segment(desc))
        return true;
    return vcpu_long_mode(v) ? type_in(desc_type(desc), lm, sizeof lm)
                             : type_in(desc_type(desc), legacy, sizeof legacy);
}

#define LAR_MASK 0x00ffff00u /* the high half of a descriptor without the base */

static void op_lar(struct vcpu *v, const struct insn *in)
{
    u64 desc;
    sys_require_protected(v);
    u16 sel = (u16)operand_read(v, in, 1, 2);
    bool yes = reachable(v, sel, &desc) && lar_knows(v, desc);
    if (yes)
        gpr_write(v, in->operand[0].reg, (desc >> 32) & LAR_MASK, in->opsize);
    answer(v, in, yes);
}

static void op_lsl(struct vcpu *v, const struct insn *in)
{
    u64 desc;
    sys_require_protected(v);
    u16 sel = (u16)operand_read(v, in, 1, 2);
    bool yes = reachable(v, sel, &desc) && lsl_knows(v, desc);
    if (yes)
        gpr_write(v, in->operand[0].reg, desc_limit(desc), in->opsize);
    answer(v, in, yes);
}

static void op_verr(struct vcpu *v, const struct insn *in)
{
    u64 desc;
    sys_require_protected(v);
    u16 sel = (u16)operand_read(v, in, 0, 2);
    bool yes = reachable(v, sel, &desc) && desc_is_segment(desc) &&
               (desc_is_data(desc) || (desc_type(desc) & SEG_WRITABLE));
    answer(v, in, yes);
}

static void op_verw(struct vcpu *v, const struct insn *in)
{
    u64 desc;
    sys_require_protected(v);
    u16 sel = (u16)operand_read(v, in, 0, 2);
    answer(v, in, reachable(v, sel, &desc) && desc_is_writable_data(desc));
}

/* Raises the RPL of the destination to that of the source. */
static void op_arpl(struct vcpu *v, const struct insn *in)
{
    sys_require_protected(v);
    unsigned rpl = sel_rpl((u16)operand_read(v, in, 1, 2));
    u16 sel = (u16)operand_read(v, in, 0, 2);
    bool lower = sel_rpl(sel) < rpl;
    if (lower) /* else memory need not be writable */
        operand_write(v, in, 0, (sel & ~(u64)SEL_RPL) | rpl, 2);
    answer(v, in, lower);
}

exec_fn op_seg_select(const struct insn *in)
{
    switch (in->op) {
    case OP_MOV_SEG: return in->operand[0].kind == OPD_SEG ? op_mov_to_seg : op_mov_from_seg;
    case OP_PUSH_SEG: return op_push_seg;
    case OP_POP_SEG: return op_pop_seg;
    case OP_LDS:
    case OP_LES:
    case OP_LFS:
    case OP_LGS:
    case OP_LSS: return op_load_pointer;
    case OP_LAR: return op_lar;
    case OP_LSL: return op_lsl;
    case OP_VERR: return op_verr;
    case OP_VERW: return op_verw;
    case OP_ARPL: return op_arpl;
    default: return NULL;
    }
}
