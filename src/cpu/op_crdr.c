/* SPDX-License-Identifier: MIT
 *
 * Control registers, debug registers, XCR0 (SDM 2A "MOV", 3A §2.5, 3B §17.2).
 *
 * A write that changes how linear addresses are translated flushes the TLB; all of them recompute
 * the mode word.
 */
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/op_sys.h"
#include "cpu/operand.h"
#include "cpu/paging.h"
#include "cpu/seg.h"

#define CR3_NO_FLUSH ((u64)1 << 63) /* with CR4.PCIDE: a hint, which we may ignore */
#define CR3_PCID     ((u64)0xfff)

#define XCR0_X87 ((u64)1)
#define XCR0_SSE ((u64)2)
#define XCR0_AVX ((u64)4)

#define CR0_LMSW (CR0_PE | CR0_MP | CR0_EM | CR0_TS)

static NORETURN void gp(struct vcpu *v)
{
    cpu_raise_error(v, VEC_GP, 0);
}

/* ---- CR0 ---- */

static void check_cr0(struct vcpu *v, u64 value)
{
    bool pg = value & CR0_PG;
    if (value >> 32 || (pg && !(value & CR0_PE)))
        gp(v);
    if ((value & CR0_NW) && !(value & CR0_CD))
        gp(v);
    if (pg && !(v->cr0 & CR0_PG) && (v->efer & EFER_LME)) {
        bool tss16 = !(v->tr.attr & 8);
        if (!(v->cr4 & CR4_PAE) || (v->seg[SEG_CS].attr & SEG_L) || tss16)
            gp(v);
    }
    if (!pg && (v->cr0 & CR0_PG) && ((v->mode & MODE_CS64) || (v->cr4 & CR4_PCIDE)))
        gp(v);
}

static void write_cr0(struct vcpu *v, u64 value)
{
    const u64 defined =
        CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    const u64 paging = CR0_PG | CR0_WP | CR0_PE;
    check_cr0(v, value);
    value = (value & defined) | CR0_ET;
    u64 efer = v->efer & ~(u64)EFER_LMA;
    if ((value & CR0_PG) && (v->efer & EFER_LME))
        efer |= EFER_LMA;
    u64 changed = v->cr0 ^ value;
    if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && paging_has_pdptes(value, v->cr4, efer) &&
        !paging_load_pdptes(v, v->cr3))
        gp(v);
    v->cr0 = value;
    v->efer = efer;
    if (changed & paging)
        tlb_flush(v);
    vcpu_mode_changed(v);
}

/* ---- CR3 ---- */

static void write_cr3(struct vcpu *v, u64 value)
{
    if (v->mode & MODE_LMA) {
        if (v->cr4 & CR4_PCIDE)
            value &= ~CR3_NO_FLUSH;
        if (value & ~mask64(v->phys_bits))
            gp(v);
    } else if (paging_has_pdptes(v->cr0, v->cr4, v->efer) && !paging_load_pdptes(v, value)) {
        gp(v);
    }
    v->cr3 = value;
    if (log_on(v->log, LOG_MMU)) {
        fpu_put_away(v);
        log_printf(v->log, "mmu: cpu%u cr3 %llx\n", v->index, (unsigned long long)value);
    }
    tlb_flush_nonglobal(v);
}

/* ---- CR4 ---- */

static u64 cr4_valid(const struct vcpu *v)
{
    static const struct {
        u16 feature;
        u32 bits;
    } rows[] = {
        {CPUID_VME, CR4_VME | CR4_PVI}, {CPUID_TSC, CR4_TSD},       {CPUID_DE, CR4_DE},
        {CPUID_PSE, CR4_PSE},           {CPUID_PAE, CR4_PAE},       {CPUID_MCE, CR4_MCE},
        {CPUID_PGE, CR4_PGE},           {CPUID_MMX, CR4_PCE},       {CPUID_FXSR, CR4_OSFXSR},
        {CPUID_SSE, CR4_OSXMMEXCPT},    {CPUID_UMIP, CR4_UMIP},     {CPUID_FSGSBASE, CR4_FSGSBASE},
        {CPUID_PCID, CR4_PCIDE},        {CPUID_XSAVE, CR4_OSXSAVE}, {CPUID_SMEP, CR4_SMEP},
        {CPUID_SMAP, CR4_SMAP},
    };
    u64 valid = 0;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (feature_shown(v->feature, rows[i].feature))
            valid |= rows[i].bits;
    }
    return valid;
}

static void write_cr4(struct vcpu *v, u64 value)
{
    const u64 paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
    const u64 pdpte = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;
    u64 changed = v->cr4 ^ value;
    if (value & ~cr4_valid(v))
        gp(v);
    if ((v->mode & MODE_LMA) && !(value & CR4_PAE))
        gp(v);
    if ((changed & value & CR4_PCIDE) && (!(v->mode & MODE_LMA) || (v->cr3 & CR3_PCID)))
        gp(v);
    if ((changed & pdpte) && paging_has_pdptes(v->cr0, value, v->efer) &&
        !paging_load_pdptes(v, v->cr3))
        gp(v);
    v->cr4 = value;
    if (changed & paging)
        tlb_flush(v);
    vcpu_mode_changed(v);
}

/* ---- CR8 ---- */

static u64 read_cr8(struct vcpu *v)
{
    fpu_put_away(v);
    return v->hooks.cr8_read(v->hooks.opaque);
}

static void write_cr8(struct vcpu *v, u64 value)
{
    if (value > 15)
        gp(v);
    fpu_put_away(v);
    v->hooks.cr8_write(v->hooks.opaque, value);
}

/* ---- MOV CR ---- */

/* Width of MOV to or from CR and DR: by mode, whatever the prefixes say. */
static unsigned width(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? 8 : 4;
}

static void op_mov_to_cr(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    u64 value = gpr_read(v, in->operand[1].reg, width(v));
    switch (in->operand[0].reg) {
    case 0: write_cr0(v, value); break;
    case 2: v->cr2 = value; break;
    case 3: write_cr3(v, value); break;
    case 4: write_cr4(v, value); break;
    case 8: write_cr8(v, value); break;
    default: cpu_raise(v, VEC_UD);
    }
    sys_done(v, in);
}

static void op_mov_from_cr(struct vcpu *v, const struct insn *in)
{
    u64 value = 0;
    sys_require_cpl0(v);
    switch (in->operand[1].reg) {
    case 0: value = v->cr0; break;
    case 2: value = v->cr2; break;
    case 3: value = v->cr3; break;
    case 4: value = v->cr4; break;
    case 8: value = read_cr8(v); break;
    default: cpu_raise(v, VEC_UD);
    }
    gpr_write(v, in->operand[0].reg, value, width(v));
    sys_done(v, in);
}

/* LMSW writes PE, MP, EM and TS, and cannot clear PE. */
static void op_lmsw(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    u64 value = operand_read(v, in, 0, 2) & CR0_LMSW;
    write_cr0(v, (v->cr0 & ~(u64)(CR0_LMSW & ~CR0_PE)) | value);
    sys_done(v, in);
}

static void op_smsw(struct vcpu *v, const struct insn *in)
{
    if ((v->mode & MODE_UMIP) && v->cpl)
        gp(v);
    /* A register of 32 bits gets all of CR0, memory always 16 bits. */
    operand_write(v, in, 0, v->cr0, operand_is_mem(in, 0) ? 2 : in->opsize);
    sys_done(v, in);
}

static void op_clts(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    v->cr0 &= ~(u64)CR0_TS;
    vcpu_mode_changed(v);
    sys_done(v, in);
}

/* ---- MOV DR ---- */

/* Checks that reads and writes share; returns the register, DR4 and DR5 resolved. */
static unsigned open_dr(struct vcpu *v, unsigned n)
{
    if (n == 4 || n == 5) {
        if (v->cr4 & CR4_DE)
            cpu_raise(v, VEC_UD);
        n += 2;
    }
    if (n > 7)
        cpu_raise(v, VEC_UD);
    sys_require_cpl0(v);
    if (v->dr[7] & DR7_GD) {
        v->dr[6] |= DR6_BD;
        cpu_raise(v, VEC_DB);
    }
    return n;
}

static void op_mov_to_dr(struct vcpu *v, const struct insn *in)
{
    const u64 dr6_writable = DR6_B | DR6_BD | DR6_BS | DR6_BT;
    const u64 dr7_writable = 0xffff0000u | DR7_ENABLES | DR7_LE | DR7_GE | DR7_GD;
    unsigned n = open_dr(v, in->operand[0].reg);
    u64 value = gpr_read(v, in->operand[1].reg, width(v));
    if (n >= 6 && value >> 32)
        gp(v);
    u64 enabled = v->dr[7] & DR7_ENABLES;
    if (n == 6)
        value = (value & dr6_writable) | DR6_FIXED;
    else if (n == 7)
        value = (value & dr7_writable) | DR7_FIXED;
    v->dr[n] = value;
    if (enabled | (v->dr[7] & DR7_ENABLES))
        tlb_flush(v); /* watched pages have no tags */
    vcpu_mode_changed(v);
    sys_done(v, in);
}

static void op_mov_from_dr(struct vcpu *v, const struct insn *in)
{
    unsigned n = open_dr(v, in->operand[1].reg);
    gpr_write(v, in->operand[0].reg, v->dr[n], width(v));
    sys_done(v, in);
}

/* ---- XCR0 ---- */

static void op_xsetbv(struct vcpu *v, const struct insn *in)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        cpu_raise(v, VEC_UD);
    sys_require_cpl0(v);
    u64 value = (u64)(u32)v->gpr[REG_DX] << 32 | (u32)v->gpr[REG_AX];
    bool foundation = (value & XCR0_X87) && (!(value & XCR0_AVX) || (value & XCR0_SSE));
    if ((u32)v->gpr[REG_CX] != 0 || (value & ~cpuid_xcr0_valid(v)) || !foundation)
        gp(v);
    v->xcr0 = value;
    vcpu_mode_changed(v);
    sys_done(v, in);
}

/* ECX 1: the components of XCR0 that are in use (XINUSE). */
static void op_xgetbv(struct vcpu *v, const struct insn *in)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        cpu_raise(v, VEC_UD);
    u32 n = (u32)v->gpr[REG_CX];
    if (n > 1 || (n == 1 && !vcpu_shows(v, CPUID_XGETBV1)))
        gp(v);
    u64 value = n == 0 ? v->xcr0 : v->xcr0 & fpu_in_use(v);
    gpr_write(v, REG_AX, value, 4);
    gpr_write(v, REG_DX, value >> 32, 4);
    sys_done(v, in);
}

exec_fn op_crdr_select(const struct insn *in)
{
    switch (in->op) {
    case OP_MOV_CR: return in->operand[0].kind == OPD_CR ? op_mov_to_cr : op_mov_from_cr;
    case OP_MOV_DR: return in->operand[0].kind == OPD_DR ? op_mov_to_dr : op_mov_from_dr;
    case OP_LMSW: return op_lmsw;
    case OP_SMSW: return op_smsw;
    case OP_CLTS: return op_clts;
    case OP_XSETBV: return op_xsetbv;
    case OP_XGETBV: return op_xgetbv;
    default: return NULL;
    }
}
