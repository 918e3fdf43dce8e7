/* SPDX-License-Identifier: MIT
 *
 * The stack of the running code: SS:SP, SS:ESP or RSP by mode, one access at a time. rSP changes
 * only after the access has succeeded.
 */
#ifndef ANELLO_CPU_STACK_H
#define ANELLO_CPU_STACK_H

#include "cpu/mem.h"

/* Bytes of rSP that stack addressing uses: SS.B, or 8 in 64-bit mode (SDM 1 §6.2.3). */
static inline unsigned stack_width(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? 8 : v->mode & MODE_SS32 ? 4 : 2;
}

static inline u64 stack_mask(const struct vcpu *v)
{
    return mask64(stack_width(v) * 8);
}

/* Writes the part of rSP (or rBP) that stack addressing uses. */
static inline void stack_set(struct vcpu *v, unsigned reg, u64 value)
{
    u64 mask = stack_mask(v);
    if (mask == 0xffff)
        v->gpr[reg] = (v->gpr[reg] & ~mask) | (value & mask);
    else
        v->gpr[reg] = value & mask;
}

static inline u64 stack_la(struct vcpu *v, u64 sp, unsigned size, enum access access)
{
    return seg_linear(v, SEG_SS, sp & stack_mask(v), size, access);
}

static inline void stack_push(struct vcpu *v, u64 value, unsigned size)
{
    u64 sp = v->gpr[REG_SP] - size;
    mem_write(v, stack_la(v, sp, size, ACCESS_WRITE), value, size);
    stack_set(v, REG_SP, sp);
}

/* The value that is `depth` bytes above rSP. */
static inline u64 stack_peek(struct vcpu *v, u64 depth, unsigned size)
{
    return mem_read(v, stack_la(v, v->gpr[REG_SP] + depth, size, ACCESS_READ), size);
}

static inline u64 stack_pop(struct vcpu *v, unsigned size)
{
    u64 value = stack_peek(v, 0, size);
    stack_set(v, REG_SP, v->gpr[REG_SP] + size);
    return value;
}

#endif
