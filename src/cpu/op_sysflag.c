/* SPDX-License-Identifier: MIT
 *
 * Instructions on the system flags: CLI, STI, CLD, STD, PUSHF, POPF, CLAC, STAC; and HLT.
 *
 * With CR4.VME (virtual-8086 mode) or CR4.PVI (ring 3) a program that may not touch IF works on
 * VIF instead, and faults where an interrupt is waiting for it (VIP): SDM 3B §20.3, §20.4.
 */
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/op_sys.h"
#include "cpu/stack.h"

#define FLAG_NT_IOPL (FLAG_NT | FLAG_IOPL) /* stay 0 on an 80286 in real mode */

/* What this code's interrupt flag is. */
enum if_is { IF_IS_REAL, IF_IS_VIRTUAL, IF_IS_FORBIDDEN };

static enum if_is whose_if(const struct vcpu *v)
{
    if (v->cpl <= sys_iopl(v) || !(v->mode & MODE_PE))
        return IF_IS_REAL;
    if (v->mode & MODE_VM)
        return v->cr4 & CR4_VME ? IF_IS_VIRTUAL : IF_IS_FORBIDDEN;
    return v->cpl == 3 && (v->cr4 & CR4_PVI) ? IF_IS_VIRTUAL : IF_IS_FORBIDDEN;
}

static void op_cli(struct vcpu *v, const struct insn *in)
{
    switch (whose_if(v)) {
    case IF_IS_REAL: v->rflags &= ~(u64)FLAG_IF; break;
    case IF_IS_VIRTUAL: v->rflags &= ~(u64)FLAG_VIF; break;
    case IF_IS_FORBIDDEN: cpu_raise_error(v, VEC_GP, 0);
    }
    sys_done(v, in);
}

static void op_sti(struct vcpu *v, const struct insn *in)
{
    switch (whose_if(v)) {
    case IF_IS_REAL:
        if (!(v->rflags & FLAG_IF))
            v->shadow |= SHADOW_STI;
        v->rflags |= FLAG_IF;
        break;
    case IF_IS_VIRTUAL:
        if (v->rflags & FLAG_VIP)
            cpu_raise_error(v, VEC_GP, 0);
        v->rflags |= FLAG_VIF;
        break;
    case IF_IS_FORBIDDEN: cpu_raise_error(v, VEC_GP, 0);
    }
    sys_done(v, in);
}

/* The direction is part of the mode. */
static void set_df(struct vcpu *v, const struct insn *in, bool on)
{
    bool was = v->rflags & FLAG_DF;
    v->rflags = on ? v->rflags | FLAG_DF : v->rflags & ~(u64)FLAG_DF;
    if (was != on)
        vcpu_mode_changed(v);
    sys_done(v, in);
}

static void op_cld(struct vcpu *v, const struct insn *in)
{
    set_df(v, in, false);
}

static void op_std(struct vcpu *v, const struct insn *in)
{
    set_df(v, in, true);
}

/* ---- PUSHF, POPF ---- */

/* Virtual-8086 mode below IOPL 3 needs VME, and has it for the 16-bit forms only. */
static bool uses_vme(struct vcpu *v, unsigned size)
{
    if (!(v->mode & MODE_VM) || sys_iopl(v) == 3)
        return false;
    if (!(v->cr4 & CR4_VME) || size != 2)
        cpu_raise_error(v, VEC_GP, 0);
    return true;
}

static void op_pushf(struct vcpu *v, const struct insn *in)
{
    u64 image = flags_get(v) & ~(u64)(FLAG_VM | FLAG_RF);
    if (uses_vme(v, in->opsize)) {
        image = (image & ~(u64)FLAG_IF) | FLAG_IOPL;
        image |= v->rflags & FLAG_VIF ? FLAG_IF : 0;
    }
    stack_push(v, image, in->opsize);
    sys_done(v, in);
}

/* The bits that POPF takes from the stack. */
static u64 popf_mask(const struct vcpu *v, unsigned size)
{
    u64 mask = FLAG_OSZAPC | FLAG_TF | FLAG_DF | FLAG_NT;
    if (size != 2)
        mask |= FLAG_AC | FLAG_ID;
    if (v->cpl <= sys_iopl(v))
        mask |= FLAG_IF;
    if (v->cpl == 0)
        mask |= FLAG_IOPL;
    if (cpu_is_286(v) && !(v->mode & MODE_PE))
        mask &= ~(u64)FLAG_NT_IOPL;
    return mask;
}

static void op_popf(struct vcpu *v, const struct insn *in)
{
    bool vme = uses_vme(v, in->opsize);
    u64 image = stack_peek(v, 0, in->opsize), mask = popf_mask(v, in->opsize);
    if (vme) {
        if ((image & FLAG_TF) || ((image & FLAG_IF) && (v->rflags & FLAG_VIP)))
            cpu_raise_error(v, VEC_GP, 0);
        image = (image & ~(u64)FLAG_VIF) | (image & FLAG_IF ? FLAG_VIF : 0);
        mask |= FLAG_VIF;
    }
    stack_set(v, REG_SP, v->gpr[REG_SP] + in->opsize);
    flags_set(v, (flags_get(v) & ~(mask | FLAG_RF)) | (image & mask));
    vcpu_mode_changed(v);
    sys_done(v, in);
}

/* ---- AC for SMAP ---- */

static void set_ac(struct vcpu *v, const struct insn *in, bool on)
{
    if (v->cpl)
        cpu_raise(v, VEC_UD);
    v->rflags = on ? v->rflags | FLAG_AC : v->rflags & ~(u64)FLAG_AC;
    vcpu_mode_changed(v);
    sys_done(v, in);
}

static void op_clac(struct vcpu *v, const struct insn *in)
{
    set_ac(v, in, false);
}

static void op_stac(struct vcpu *v, const struct insn *in)
{
    set_ac(v, in, true);
}

/* The run loop sees v->halted. */
static void op_hlt(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    v->halted = true;
    sys_done(v, in);
}

exec_fn op_sysflag_select(const struct insn *in)
{
    switch (in->op) {
    case OP_CLI: return op_cli;
    case OP_STI: return op_sti;
    case OP_CLD: return op_cld;
    case OP_STD: return op_std;
    case OP_PUSHF: return op_pushf;
    case OP_POPF: return op_popf;
    case OP_CLAC: return op_clac;
    case OP_STAC: return op_stac;
    case OP_HLT: return op_hlt;
    default: return NULL;
    }
}
