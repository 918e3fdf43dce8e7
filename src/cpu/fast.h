/* SPDX-License-Identifier: MIT
 *
 * Templates of the fast handlers: operands by form, memory by an in-line look into the TLB.
 *
 * A handler serves one operation, one operand size and one form of operands, all constants of the
 * template that it is stamped from. It either does all of its instruction or, where something is
 * out of the ordinary (TLB miss, marked page, segment limit), nothing of it, and leaves it to the
 * general handler.
 */
#ifndef ANELLO_CPU_FAST_H
#define ANELLO_CPU_FAST_H

#include "cpu/alu.h"
#include "cpu/code_cache.h"
#include "cpu/flags.h"
#include "cpu/optable.h"

#define UOP_HANDLER static const struct uop *
#define UOP_BODY    ALWAYS_INLINE const struct uop *

/* How the linear address of a memory operand comes about. */
enum ea_form {
    BASE32,  /* flat: base + disp, 32 bits */
    INDEX32, /* flat: base + index * scale + disp */
    BASE64,  /* 64-bit mode, no FS or GS */
    INDEX64,
    SEGMENT, /* anything else: masked to the address size, limit checked, base added */
    EA_FORMS
};

/* X-macro legs. */
#define FOR_SIZES(M, op)      M(op, 1) M(op, 2) M(op, 4) M(op, 8)
#define FOR_WIDE_SIZES(M, op) M(op, 2) M(op, 4) M(op, 8)
#define FOR_EA(M, op, size)                                                                        \
    M(op, size, BASE32)                                                                            \
    M(op, size, INDEX32)                                                                           \
    M(op, size, BASE64)                                                                            \
    M(op, size, INDEX64)                                                                           \
    M(op, size, SEGMENT)
#define FOR_CONDITIONS(M)                                                                          \
    M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)

_Static_assert(offsetof(struct vcpu, gpr) == 0 && offsetof(struct vcpu, zero) == REG_ZERO * 8,
               "an absent register is read as v->zero");

/* A base or index register; REG_ZERO reads 0. */
ALWAYS_INLINE u64 ea_reg(const struct vcpu *v, unsigned reg)
{
    return ((const u64 *)(const void *)v)[reg];
}

/* False: the segment's quick limits do not allow it. */
ALWAYS_INLINE bool uop_la(const struct vcpu *v, const struct uop *u, enum ea_form form,
                          unsigned size, bool write, u64 *la)
{
    u64 ea = ea_reg(v, u->base) + (u64)u->disp;
    if (form == INDEX32 || form == INDEX64 || form == SEGMENT)
        ea += ea_reg(v, u->index) * u->scale;
    if (form == BASE32 || form == INDEX32)
        ea = (u32)ea;
    *la = ea;
    if (form != SEGMENT)
        return true;
    ea &= mask64(u->adsize * 8);
    if (v->mode & MODE_CS64) {
        *la = u->seg >= SEG_FS ? v->seg[u->seg].base + ea : ea;
        return true;
    }
    *la = (u32)(v->seg[u->seg].base + ea);
    return ea + size <= v->seg[u->seg].end[write];
}

ALWAYS_INLINE void *tlb_hp(const struct tlb_entry *e, u64 la)
{
    return (void *)(uintptr_t)(la + e->addend);
}

/* Host pointer of a linear address, NULL on a miss. */
ALWAYS_INLINE void *la_read(struct vcpu *v, u64 la, unsigned size)
{
    const struct tlb_entry *e = tlb_entry(v, la, v->view);
    return LIKELY(e->read == ((la + size - 1) & ~PAGE_OFFSET_MASK)) ? tlb_hp(e, la) : NULL;
}

ALWAYS_INLINE void *la_write(struct vcpu *v, u64 la, unsigned size)
{
    const struct tlb_entry *e = tlb_entry(v, la, v->view);
    return LIKELY(e->write == ((la + size - 1) & ~PAGE_OFFSET_MASK)) ? tlb_hp(e, la) : NULL;
}

/* Host pointer of the memory operand, NULL when the general handler is wanted. */
ALWAYS_INLINE void *uop_read(struct vcpu *v, const struct uop *u, enum ea_form form, unsigned size)
{
    u64 la;
    return LIKELY(uop_la(v, u, form, size, false, &la)) ? la_read(v, la, size) : NULL;
}

ALWAYS_INLINE void *uop_write(struct vcpu *v, const struct uop *u, enum ea_form form, unsigned size)
{
    u64 la;
    return LIKELY(uop_la(v, u, form, size, true, &la)) ? la_write(v, la, size) : NULL;
}

/* Writes a register as an instruction of that size does. */
ALWAYS_INLINE void uop_set(struct vcpu *v, unsigned reg, u64 value, unsigned size)
{
    switch (size) {
    case 1: *(u8 *)&v->gpr[reg] = (u8)value; break;
    case 2: *(u16 *)&v->gpr[reg] = (u16)value; break;
    case 4: v->gpr[reg] = (u32)value; break;
    default: v->gpr[reg] = value; break;
    }
}

/* ---- selection: each fills u for what it takes ---- */

/* Fills the address part; the form, or EA_FORMS when accesses are not to be quick. */
enum ea_form fast_ea(const struct vcpu *v, const struct insn *in, struct uop *u);

/* Of the tables of handlers that use the stack: the column of 32-bit flat code and stack, or of
 * 64-bit mode; -1: neither. */
static inline int fast_stack_column(const struct vcpu *v, const struct insn *in)
{
    if (v->mode & (MODE_AC | MODE_BREAK))
        return -1;
    if (v->mode & MODE_CS64)
        return in->opsize == 8 ? 1 : -1;
    bool flat = (v->mode & (MODE_FLAT | MODE_SS32)) == (MODE_FLAT | MODE_SS32);
    return flat && in->opsize == 4 ? 0 : -1;
}

static inline bool fast_is_reg(const struct insn *in, unsigned k)
{
    return in->operand[k].kind == OPD_GPR;
}
static inline bool fast_is_mem(const struct insn *in, unsigned k)
{
    return in->operand[k].kind == OPD_MEM;
}
static inline bool fast_is_imm(const struct insn *in, unsigned k)
{
    return in->operand[k].kind == OPD_IMM;
}

uop_fn fast_alu_select(const struct vcpu *v, const struct insn *in, struct uop *u);
uop_fn fast_move_select(const struct vcpu *v, const struct insn *in, struct uop *u);
uop_fn fast_flow_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u);
uop_fn fast_fpu_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u);

#endif
