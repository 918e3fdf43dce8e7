/* SPDX-License-Identifier: MIT
 *
 * The files that op_sys_select() is made of: each returns the meaning of the instructions that are
 * its own, or NULL. And what they share.
 */
#ifndef ANELLO_CPU_OP_SYS_H
#define ANELLO_CPU_OP_SYS_H

#include "cpu/excp.h"
#include "cpu/exec.h"
#include "cpu/optable.h"

exec_fn op_crdr_select(const struct insn *in);    /* MOV CR/DR, LMSW, SMSW, CLTS, XSETBV */
exec_fn op_far_select(const struct insn *in);     /* far CALL, JMP, RET */
exec_fn op_iret_select(const struct insn *in);    /* IRET */
exec_fn op_io_select(const struct insn *in);      /* IN, OUT, INS, OUTS */
exec_fn op_msr_select(const struct insn *in);     /* RDMSR, RDTSC, CPUID, FS/GS bases, ... */
exec_fn op_seg_select(const struct insn *in);     /* segment registers, LAR, LSL, VERR, ARPL */
exec_fn op_sysflag_select(const struct insn *in); /* CLI, STI, PUSHF, POPF, HLT */
exec_fn op_swint_select(const struct insn *in);   /* INT n, INT3, INTO, INT1 */
exec_fn op_syscall_select(const struct insn *in); /* SYSENTER, SYSEXIT, SYSCALL, SYSRET */
exec_fn op_table_select(const struct insn *in);   /* LGDT...STR, INVLPG, INVPCID, caches */

/* The address after the instruction, for operations that end a block. */
static inline u64 sys_next_ip(const struct vcpu *v, const struct insn *in)
{
    return (v->rip + in->len) & (v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu);
}

/* Rule 2 of cpu/vcpu.h: whether rip moves is in the opcode's row. */
static inline void sys_done(struct vcpu *v, const struct insn *in)
{
    if (op_row(in)->ends)
        vcpu_advance(v, in);
}

/* #GP(0) unless CPL is 0 (virtual-8086 mode runs at 3). */
static inline void sys_require_cpl0(struct vcpu *v)
{
    if (v->cpl != 0)
        cpu_raise_error(v, VEC_GP, 0);
}

/* #UD in real-address and virtual-8086 mode. */
static inline void sys_require_protected(struct vcpu *v)
{
    if (!vcpu_protected(v))
        cpu_raise(v, VEC_UD);
}

static inline unsigned sys_iopl(const struct vcpu *v)
{
    return (v->rflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;
}

#endif
