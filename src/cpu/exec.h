/* SPDX-License-Identifier: MIT
 *
 * How the interpreter finds the meaning of an instruction: each op_*.c offers a selector that
 * returns the function for a decoded instruction, or NULL when it is not its own.
 */
#ifndef ANELLO_CPU_EXEC_H
#define ANELLO_CPU_EXEC_H

#include "cpu/vcpu.h"

exec_fn op_int_select(const struct insn *in); /* integer, near control flow, strings */
exec_fn op_sys_select(const struct insn *in); /* system, I/O, segment registers, far transfers */

/* x87, MMX, SSE, AVX, AES, PCLMUL, XSAVE. Prepares the host code and notes it in in->stub, so it
 * wants the copy of the instruction that will be executed. Its functions need v->rip to be the
 * address of their instruction: x87 remembers where it was (FIP). */
exec_fn op_fpu_select(struct vcpu *v, struct insn *in);

/* The effective address of the memory operand, truncated to the address size; without segment. */
static inline u64 ea_of(const struct vcpu *v, const struct insn *in)
{
    u64 ea = (u64)in->disp;
    if (in->base < 16)
        ea += v->gpr[in->base];
    if (in->index < 16)
        ea += v->gpr[in->index] * in->scale;
    return ea & mask64(in->adsize * 8); /* RIP-relative: the cache has resolved disp already */
}

#endif
