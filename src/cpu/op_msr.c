/* SPDX-License-Identifier: MIT
 *
 * What a CPU tells of itself, and its model-specific state: RDMSR, WRMSR, CPUID, time-stamp
 * counter, FS and GS bases (SDM 2A, 2B).
 */
#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "cpu/op_sys.h"
#include "cpu/operand.h"

static u64 edx_eax(const struct vcpu *v)
{
    return (u64)(u32)v->gpr[REG_DX] << 32 | (u32)v->gpr[REG_AX];
}

static void set_edx_eax(struct vcpu *v, u64 value)
{
    v->gpr[REG_AX] = (u32)value;
    v->gpr[REG_DX] = value >> 32;
}

static void op_rdmsr(struct vcpu *v, const struct insn *in)
{
    u64 value;
    sys_require_cpl0(v);
    if (!msr_read(v, (u32)v->gpr[REG_CX], &value))
        cpu_raise_error(v, VEC_GP, 0);
    set_edx_eax(v, value);
    sys_done(v, in);
}

static void op_wrmsr(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    if (!msr_write(v, (u32)v->gpr[REG_CX], edx_eax(v)))
        cpu_raise_error(v, VEC_GP, 0);
    sys_done(v, in);
}

/* CR4.TSD keeps the counter from user code. */
static void check_tsd(struct vcpu *v)
{
    if ((v->cr4 & CR4_TSD) && v->cpl)
        cpu_raise_error(v, VEC_GP, 0);
}

static void op_rdtsc(struct vcpu *v, const struct insn *in)
{
    check_tsd(v);
    set_edx_eax(v, vcpu_tsc(v));
    if (in->op == OP_RDTSCP)
        v->gpr[REG_CX] = (u32)v->tsc_aux;
    sys_done(v, in);
}

static void op_rdpid(struct vcpu *v, const struct insn *in)
{
    v->gpr[in->operand[0].reg] = (u32)v->tsc_aux;
    sys_done(v, in);
}

/* CPUID shows no performance counter, so each number is one too high. */
static void op_rdpmc(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise_error(v, VEC_GP, 0);
}

static void op_cpuid(struct vcpu *v, const struct insn *in)
{
    if (cpu_is_286(v))
        cpu_raise(v, VEC_UD);
    struct cpuid_leaf r = cpuid_execute(v, (u32)v->gpr[REG_AX], (u32)v->gpr[REG_CX]);
    v->gpr[REG_AX] = r.eax;
    v->gpr[REG_BX] = r.ebx;
    v->gpr[REG_CX] = r.ecx;
    v->gpr[REG_DX] = r.edx;
    sys_done(v, in);
}

static void op_swapgs(struct vcpu *v, const struct insn *in)
{
    if (!(v->mode & MODE_CS64))
        cpu_raise(v, VEC_UD);
    sys_require_cpl0(v);
    u64 base = v->seg[SEG_GS].base;
    v->seg[SEG_GS].base = v->kernel_gs_base;
    v->kernel_gs_base = base;
    sys_done(v, in);
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. */
static struct segment *base_segment(struct vcpu *v, const struct insn *in)
{
    if (!(v->mode & MODE_CS64) || !(v->cr4 & CR4_FSGSBASE))
        cpu_raise(v, VEC_UD);
    bool fs = in->op == OP_RDFSBASE || in->op == OP_WRFSBASE;
    return &v->seg[fs ? SEG_FS : SEG_GS];
}

static void op_rdbase(struct vcpu *v, const struct insn *in)
{
    gpr_write(v, in->operand[0].reg, base_segment(v, in)->base, in->opsize);
    sys_done(v, in);
}

static void op_wrbase(struct vcpu *v, const struct insn *in)
{
    struct segment *s = base_segment(v, in);
    u64 base = gpr_read(v, in->operand[0].reg, in->opsize);
    if (!mem_canonical(base))
        cpu_raise_error(v, VEC_GP, 0);
    s->base = base;
    sys_done(v, in);
}

exec_fn op_msr_select(const struct insn *in)
{
    switch (in->op) {
    case OP_RDMSR: return op_rdmsr;
    case OP_WRMSR: return op_wrmsr;
    case OP_RDTSC:
    case OP_RDTSCP: return op_rdtsc;
    case OP_RDPID: return op_rdpid;
    case OP_RDPMC: return op_rdpmc;
    case OP_CPUID: return op_cpuid;
    case OP_SWAPGS: return op_swapgs;
    case OP_RDFSBASE:
    case OP_RDGSBASE: return op_rdbase;
    case OP_WRFSBASE:
    case OP_WRGSBASE: return op_wrbase;
    default: return NULL;
    }
}
