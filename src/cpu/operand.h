/* SPDX-License-Identifier: MIT
 *
 * Operands of a decoded instruction as values: the parts that all op_*.c share. `size` is a
 * constant wherever the caller is one column of a template (EXEC_BY_SIZE).
 */
#ifndef ANELLO_CPU_OPERAND_H
#define ANELLO_CPU_OPERAND_H

#include "cpu/alu.h"
#include "cpu/exec.h"
#include "cpu/mem.h"

/* Stamps the four columns of `name`(v, in, size) and the table that the selector indexes. */
#define EXEC_BY_SIZE(name)                                                                         \
    static void name##_1(struct vcpu *v, const struct insn *in)                                    \
    {                                                                                              \
        name(v, in, 1);                                                                            \
    }                                                                                              \
    static void name##_2(struct vcpu *v, const struct insn *in)                                    \
    {                                                                                              \
        name(v, in, 2);                                                                            \
    }                                                                                              \
    static void name##_4(struct vcpu *v, const struct insn *in)                                    \
    {                                                                                              \
        name(v, in, 4);                                                                            \
    }                                                                                              \
    static void name##_8(struct vcpu *v, const struct insn *in)                                    \
    {                                                                                              \
        name(v, in, 8);                                                                            \
    }                                                                                              \
    static const exec_fn name##_by_size[9] = {                                                     \
        [1] = name##_1, [2] = name##_2, [4] = name##_4, [8] = name##_8}

/* ---- general registers ---- */

ALWAYS_INLINE u64 gpr_read(const struct vcpu *v, unsigned reg, unsigned size)
{
    return v->gpr[reg] & mask64(size * 8);
}

/* A 32-bit write clears the upper half, narrower ones keep the rest (SDM 1 §3.4.1.1). */
ALWAYS_INLINE void gpr_write(struct vcpu *v, unsigned reg, u64 value, unsigned size)
{
    switch (size) {
    case 1: v->gpr[reg] = (v->gpr[reg] & ~(u64)0xff) | (u8)value; break;
    case 2: v->gpr[reg] = (v->gpr[reg] & ~(u64)0xffff) | (u16)value; break;
    case 4: v->gpr[reg] = (u32)value; break;
    default: v->gpr[reg] = value; break;
    }
}

/* A register operand as the host's instruction wants it: the whole register, or AH... moved down;
 * and back, where `value` has been merged by that instruction. */
ALWAYS_INLINE u64 reg_whole(const struct vcpu *v, const struct operand *o)
{
    return o->kind == OPD_GPR8H ? v->gpr[o->reg] >> 8 : v->gpr[o->reg];
}

ALWAYS_INLINE void reg_put_whole(struct vcpu *v, const struct operand *o, u64 value)
{
    if (o->kind == OPD_GPR8H)
        v->gpr[o->reg] = (v->gpr[o->reg] & ~(u64)0xff00) | (u64)(u8)value << 8;
    else
        v->gpr[o->reg] = value;
}

ALWAYS_INLINE void reg_write(struct vcpu *v, const struct operand *o, u64 value, unsigned size)
{
    if (o->kind == OPD_GPR8H)
        reg_put_whole(v, o, value);
    else
        gpr_write(v, o->reg, value, size);
}

/* ---- the memory operand ---- */

ALWAYS_INLINE u64 operand_la(struct vcpu *v, const struct insn *in, unsigned size,
                             enum access access)
{
    return seg_linear(v, in->seg, ea_of(v, in), size, access);
}

/* The memory operand of a read-modify-write: write permission is checked before anything is
 * read. */
struct rmw {
    void *hp; /* NULL: registers of a device, or a page crossing */
    u64 la;
    u64 value;
};

ALWAYS_INLINE void rmw_open_la(struct vcpu *v, u64 la, unsigned size, struct rmw *m)
{
    m->la = la;
    m->hp = mem_pointer(v, la, size, ACCESS_WRITE);
    if (LIKELY(m->hp != NULL)) {
        m->value = load_sized(m->hp, size);
    } else {
        mem_probe(v, la, size, ACCESS_WRITE);
        m->value = mem_read(v, la, size);
    }
}

ALWAYS_INLINE void rmw_open(struct vcpu *v, const struct insn *in, unsigned size, struct rmw *m)
{
    rmw_open_la(v, operand_la(v, in, size, ACCESS_WRITE), size, m);
}

ALWAYS_INLINE void rmw_close(struct vcpu *v, struct rmw *m, u64 value, unsigned size)
{
    if (LIKELY(m->hp != NULL))
        store_sized(m->hp, value, size);
    else
        mem_write(v, m->la, value, size);
}

ALWAYS_INLINE bool locked(const struct insn *in, const struct rmw *m)
{
    return (in->prefixes & PFX_LOCK) && m->hp;
}

/* ---- any operand ---- */

/* Zero-extended; immediates as the decoder has extended them. */
ALWAYS_INLINE u64 operand_read(struct vcpu *v, const struct insn *in, unsigned k, unsigned size)
{
    const struct operand *o = &in->operand[k];
    switch (o->kind) {
    case OPD_GPR: return gpr_read(v, o->reg, size);
    case OPD_GPR8H: return (u8)(v->gpr[o->reg] >> 8);
    case OPD_MEM: return mem_read(v, operand_la(v, in, size, ACCESS_READ), size);
    default: return in->imm & mask64(size * 8);
    }
}

ALWAYS_INLINE void operand_write(struct vcpu *v, const struct insn *in, unsigned k, u64 value,
                                 unsigned size)
{
    const struct operand *o = &in->operand[k];
    if (o->kind == OPD_MEM)
        mem_write(v, operand_la(v, in, size, ACCESS_WRITE), value, size);
    else
        reg_write(v, o, value, size);
}

static inline bool operand_is_mem(const struct insn *in, unsigned k)
{
    return in->operand[k].kind == OPD_MEM;
}

#endif
