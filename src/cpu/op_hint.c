/* SPDX-License-Identifier: MIT
 *
 * Instructions that change nothing: hints, prefetches, fences, cache control.
 */
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

static void op_nothing(struct vcpu *v, const struct insn *in)
{
    (void)v;
    (void)in;
}

/* Guest CPUs are host threads, and their memory is the host's. */
static void op_fence(struct vcpu *v, const struct insn *in)
{
    (void)v;
    (void)in;
    __asm__ volatile("mfence" ::: "memory");
}

/* CLFLUSH and CLWB need an address that could be read (SDM 2A), and do nothing to memory that a
 * program could see. */
static void op_clflush(struct vcpu *v, const struct insn *in)
{
    mem_probe(v, operand_la(v, in, 1, ACCESS_READ), 1, ACCESS_READ);
}

exec_fn op_hint_select(const struct insn *in)
{
    switch (in->op) {
    case OP_NOP:
    case OP_PAUSE:
    case OP_PREFETCH:
    case OP_PREFETCHNTA:
    case OP_PREFETCHT0:
    case OP_PREFETCHT1:
    case OP_PREFETCHT2:
    case OP_PREFETCHW:
    case OP_PREFETCHWT1:
    case OP_CLDEMOTE: return op_nothing;
    case OP_LFENCE:
    case OP_MFENCE:
    case OP_SFENCE: return op_fence;
    case OP_CLFLUSH:
    case OP_CLFLUSHOPT:
    case OP_CLWB: return op_clflush;
    default: return NULL;
    }
}
