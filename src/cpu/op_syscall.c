/* SPDX-License-Identifier: MIT
 *
 * SYSENTER and SYSEXIT, SYSCALL and SYSRET (SDM 2B): transfers between rings 0 and 3 with flat
 * segments whose descriptors are never read. As on Intel's CPUs SYSCALL exists in 64-bit mode only,
 * SYSENTER in every protected mode.
 */
#include "cpu/flags.h"
#include "cpu/op_sys.h"
#include "cpu/seg.h"

#define ATTR_FLAT (SEG_PRESENT | SEG_S | SEG_ACCESSED | SEG_WRITABLE | SEG_G)

static struct segment flat(u16 sel, unsigned dpl, unsigned attr)
{
    return (struct segment){.limit = UINT32_MAX,
                            .attr = (u16)(ATTR_FLAT | dpl << SEG_DPL_SHIFT | attr),
                            .sel = (u16)((sel & ~SEL_RPL) | dpl)};
}

/* CS and SS of privilege level cpl; code is 64-bit or 32-bit. */
static void enter_flat(struct vcpu *v, u16 cs, u16 ss, unsigned cpl, bool is_64)
{
    v->seg[SEG_CS] = flat(cs, cpl, SEG_CODE | (is_64 ? SEG_L : SEG_DB));
    v->seg[SEG_SS] = flat(ss, cpl, SEG_DB);
    v->cpl = (u8)cpl;
}

/* Where bits of a 32-bit register value count only. */
static u64 reg_ip(const struct vcpu *v, unsigned reg, bool is_64)
{
    return is_64 ? v->gpr[reg] : (u32)v->gpr[reg];
}

static void op_sysenter(struct vcpu *v, const struct insn *in)
{
    (void)in;
    bool lm = vcpu_long_mode(v);
    u16 cs = (u16)v->sysenter_cs;
    if (!(v->mode & MODE_PE) || sel_null(cs))
        cpu_raise_error(v, VEC_GP, 0);
    v->rflags &= ~(u64)(FLAG_VM | FLAG_IF);
    enter_flat(v, cs & ~SEL_RPL, (u16)((cs & ~SEL_RPL) + 8), 0, lm);
    v->gpr[REG_SP] = lm ? v->sysenter_esp : (u32)v->sysenter_esp;
    v->rip = lm ? v->sysenter_eip : (u32)v->sysenter_eip;
    vcpu_mode_changed(v);
}

static void op_sysexit(struct vcpu *v, const struct insn *in)
{
    bool to64 = in->opsize == 8;
    u16 cs = (u16)v->sysenter_cs;
    if (!(v->mode & MODE_PE) || sel_null(cs) || v->cpl != 0)
        cpu_raise_error(v, VEC_GP, 0);
    if (to64 && (!mem_canonical(v->gpr[REG_CX]) || !mem_canonical(v->gpr[REG_DX])))
        cpu_raise_error(v, VEC_GP, 0);
    u64 ip = reg_ip(v, REG_DX, to64), sp = reg_ip(v, REG_CX, to64);
    enter_flat(v, (u16)(cs + (to64 ? 32 : 16)), (u16)(cs + (to64 ? 40 : 24)), 3, to64);
    v->gpr[REG_SP] = sp;
    v->rip = ip;
    vcpu_mode_changed(v);
}

static void op_syscall(struct vcpu *v, const struct insn *in)
{
    if (!(v->mode & MODE_CS64) || !(v->efer & EFER_SCE))
        cpu_raise(v, VEC_UD);
    u64 flags = flags_get(v);
    u16 cs = (u16)(v->star >> 32);
    v->gpr[REG_CX] = sys_next_ip(v, in);
    v->gpr[GPR_R11] = flags & ~(u64)FLAG_RF;
    flags_set(v, flags & ~(v->fmask | FLAG_RF));
    enter_flat(v, cs & ~SEL_RPL, (u16)((cs & ~SEL_RPL) + 8), 0, true);
    v->rip = v->lstar;
    /* A masked TF does not trap after SYSCALL any more. */
    if ((flags & FLAG_TF) && !(v->rflags & FLAG_TF))
        v->shadow |= SHADOW_NO_STEP;
    vcpu_mode_changed(v);
}

static void op_sysret(struct vcpu *v, const struct insn *in)
{
    bool to64 = in->opsize == 8;
    if (!(v->mode & MODE_CS64) || !(v->efer & EFER_SCE))
        cpu_raise(v, VEC_UD);
    sys_require_cpl0(v);
    if (to64 && !mem_canonical(v->gpr[REG_CX]))
        cpu_raise_error(v, VEC_GP, 0);
    const u64 loaded = FLAG_OSZAPC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC |
                       FLAG_VIF | FLAG_VIP | FLAG_ID;
    u16 base = (u16)(v->star >> 48);
    u64 ip = reg_ip(v, REG_CX, to64);
    flags_set(v, v->gpr[GPR_R11] & loaded);
    enter_flat(v, (u16)(base + (to64 ? 16 : 0)), (u16)(base + 8), 3, to64);
    v->rip = ip;
    vcpu_mode_changed(v);
}

exec_fn op_syscall_select(const struct insn *in)
{
    switch (in->op) {
    case OP_SYSENTER: return op_sysenter;
    case OP_SYSEXIT: return op_sysexit;
    case OP_SYSCALL: return op_syscall;
    case OP_SYSRET: return op_sysret;
    default: return NULL;
    }
}
