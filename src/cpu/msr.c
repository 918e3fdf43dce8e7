/* SPDX-License-Identifier: MIT
 *
 * Model-specific registers.
 *
 * Registers that a CPU of the chosen model has exist when their feature bit is shown. Those that
 * only tell of hardware that is not there (thermal sensors, microcode, power) read as an idle CPU
 * has them and ignore writes where real ones do. MTRRs and the PAT are kept and have no effect:
 * memory is always coherent here. An unknown register is #GP(0), and reported once.
 */
#include "cpu/msr.h"

#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/mem.h"

#define MTRRCAP_VARIABLE 8
#define MTRRCAP_FIX      (1 << 8)
#define MTRRCAP_WC       (1 << 10)

#define MTRR_BASE_DEFINED ((u64)0xff | ~PAGE_OFFSET_MASK)
#define MTRR_MASK_DEFINED ((u64)1 << 11 | ~PAGE_OFFSET_MASK)
#define MTRR_DEF_DEFINED  ((u64)0xcff)

/* IA32_ARCH_CAPABILITIES: translated user code cannot reach what its page tables forbid, not even
 * speculatively, because it is not mapped in its window.
 *
 * Indirect jumps of translated code are the host's, in one process, whatever the guest does about
 * them: a retpoline becomes an indirect jump, and costs more than one. So enhanced IBRS is shown,
 * and nothing that makes a guest put something in the place of its indirect jumps. This is no
 * promise that a guest's rings are safe from each other's speculation (docs/bt.md). */
#define ARCH_CAP_RDCL_NO        ((u64)1 << 0)
#define ARCH_CAP_IBRS_ALL       ((u64)1 << 1)
#define ARCH_CAP_SKIP_L1DFL     ((u64)1 << 3)
#define ARCH_CAP_MDS_NO         ((u64)1 << 5)
#define ARCH_CAP_PSCHANGE_MC_NO ((u64)1 << 6)
#define ARCH_CAP_TAA_NO         ((u64)1 << 8)
#define ARCH_CAP_BHI_NO         ((u64)1 << 20)
#define ARCH_CAP_PBRSB_NO       ((u64)1 << 24)
#define ARCH_CAP_ITS_NO         ((u64)1 << 62)

#define SPEC_CTRL_DEFINED ((u64)3) /* IBRS, STIBP */
#define PRED_CMD_DEFINED  ((u64)1) /* IBPB */

#define MICROCODE_REVISION ((u64)1 << 32)

/* ---- registers that are just a field of struct vcpu ---- */

struct plain_msr {
    u32 msr;
    u16 feature;    /* enum cpu_feature that it comes with */
    u16 offset;     /* in struct vcpu */
    bool canonical; /* takes canonical addresses only */
};

#define FIELD(f) offsetof(struct vcpu, f)

// clang-format off
static const struct plain_msr plain[] = {
    {MSR_SYSENTER_CS,    CPUID_SEP,     FIELD(sysenter_cs),    false},
    {MSR_SYSENTER_ESP,   CPUID_SEP,     FIELD(sysenter_esp),   true},
    {MSR_SYSENTER_EIP,   CPUID_SEP,     FIELD(sysenter_eip),   true},
    {MSR_STAR,           CPUID_SYSCALL, FIELD(star),           false},
    {MSR_LSTAR,          CPUID_LM,      FIELD(lstar),          true},
    {MSR_CSTAR,          CPUID_LM,      FIELD(cstar),          true},
    {MSR_KERNEL_GS_BASE, CPUID_LM,      FIELD(kernel_gs_base), true},
    {MSR_FS_BASE,        CPUID_LM,      FIELD(seg[SEG_FS].base), true},
    {MSR_GS_BASE,        CPUID_LM,      FIELD(seg[SEG_GS].base), true},
};
// clang-format on

static const struct plain_msr *find_plain(const struct vcpu *v, u32 msr)
{
    for (unsigned i = 0; i < ARRAY_LEN(plain); i++) {
        if (plain[i].msr == msr && feature_shown(v->feature, plain[i].feature))
            return &plain[i];
    }
    return NULL;
}

static u64 *plain_field(struct vcpu *v, const struct plain_msr *p)
{
    return (u64 *)(void *)((u8 *)v + p->offset);
}

/* ---- MTRRs (SDM 3A §11.11) ---- */

/* The slot of a fixed-range register, or -1. */
static int fixed_mtrr(u32 msr)
{
    switch (msr) {
    case MSR_MTRR_FIX64K: return 0;
    case MSR_MTRR_FIX16K_80000: return 1;
    case MSR_MTRR_FIX16K_A0000: return 2;
    }
    if (msr >= MSR_MTRR_FIX4K_C0000 && msr <= MSR_MTRR_FIX4K_F8000)
        return 3 + (int)(msr - MSR_MTRR_FIX4K_C0000);
    return -1;
}

/* UC, WC, WT, WP, WB; the PAT also knows UC- (7). */
static bool memory_type_valid(u64 type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool eight_types_valid(u64 value, bool pat)
{
    for (unsigned i = 0; i < 64; i += 8) {
        u64 type = value >> i & 0xff;
        if (!memory_type_valid(type) && !(pat && type == 7))
            return false;
    }
    return true;
}

static bool mtrr_read(const struct vcpu *v, u32 msr, u64 *value)
{
    if (msr == MSR_MTRRCAP)
        *value = MTRRCAP_VARIABLE | MTRRCAP_FIX | MTRRCAP_WC;
    else if (msr == MSR_MTRR_DEF_TYPE)
        *value = v->mtrr_def_type;
    else if (fixed_mtrr(msr) >= 0)
        *value = v->mtrr_fixed[fixed_mtrr(msr)];
    else if (msr >= MSR_MTRR_BASE0 && msr <= MSR_MTRR_MASK7)
        *value = msr & 1 ? v->mtrr_mask[(msr - MSR_MTRR_BASE0) / 2]
                         : v->mtrr_base[(msr - MSR_MTRR_BASE0) / 2];
    else
        return false;
    return true;
}

static bool variable_mtrr_write(struct vcpu *v, u32 msr, u64 value)
{
    unsigned n = (msr - MSR_MTRR_BASE0) / 2;
    u64 address = mask64(v->phys_bits);
    if (msr & 1) {
        if (value & ~(MTRR_MASK_DEFINED & address))
            return false;
        v->mtrr_mask[n] = value;
    } else {
        if ((value & ~(MTRR_BASE_DEFINED & address)) || !memory_type_valid(value & 0xff))
            return false;
        v->mtrr_base[n] = value;
    }
    return true;
}

static bool mtrr_write(struct vcpu *v, u32 msr, u64 value)
{
    if (msr == MSR_MTRR_DEF_TYPE) {
        if ((value & ~MTRR_DEF_DEFINED) || !memory_type_valid(value & 0xff))
            return false;
        v->mtrr_def_type = value;
        return true;
    }
    if (fixed_mtrr(msr) >= 0) {
        if (!eight_types_valid(value, false))
            return false;
        v->mtrr_fixed[fixed_mtrr(msr)] = value;
        return true;
    }
    if (msr >= MSR_MTRR_BASE0 && msr <= MSR_MTRR_MASK7)
        return variable_mtrr_write(v, msr, value);
    return false;
}

/* ---- EFER ---- */

static bool efer_exists(const struct vcpu *v)
{
    return vcpu_shows(v, CPUID_NX) || vcpu_shows(v, CPUID_LM);
}

static bool efer_write(struct vcpu *v, u64 value)
{
    u64 valid = EFER_LMA; /* read-only, and taken as it is */
    valid |= vcpu_shows(v, CPUID_SYSCALL) ? EFER_SCE : 0;
    valid |= vcpu_shows(v, CPUID_LM) ? EFER_LME : 0;
    valid |= vcpu_shows(v, CPUID_NX) ? EFER_NXE : 0;
    if (value & ~valid)
        return false;
    if (((value ^ v->efer) & EFER_LME) && (v->cr0 & CR0_PG))
        return false;
    u64 before = v->efer;
    v->efer = (value & ~(u64)EFER_LMA) | (before & EFER_LMA);
    if ((v->efer ^ before) & EFER_NXE)
        tlb_flush(v);
    vcpu_mode_changed(v);
    return true;
}

/* ---- local APIC ---- */

static bool belongs_to_apic(u32 msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static bool apic_read(struct vcpu *v, u32 msr, u64 *value)
{
    fpu_put_away(v);
    return v->hooks.apic_msr_read && v->hooks.apic_msr_read(v->hooks.opaque, msr, value);
}

static bool apic_write(struct vcpu *v, u32 msr, u64 value)
{
    fpu_put_away(v);
    return v->hooks.apic_msr_write && v->hooks.apic_msr_write(v->hooks.opaque, msr, value);
}

/* ---- the time-stamp counter ---- */

static void tsc_set(struct vcpu *v, u64 value)
{
    i64 delta = (i64)(value - vcpu_tsc(v));
    v->tsc_offset += delta;
    v->tsc_adjust += (u64)delta;
}

static void tsc_adjust(struct vcpu *v, u64 value)
{
    v->tsc_offset += (i64)(value - v->tsc_adjust);
    v->tsc_adjust = value;
}

/* ---- all of them ---- */

static u64 arch_capabilities(const struct vcpu *v)
{
    u64 jumps = ARCH_CAP_IBRS_ALL | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO | ARCH_CAP_ITS_NO;
    return ARCH_CAP_RDCL_NO | ARCH_CAP_SKIP_L1DFL | ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO |
           ARCH_CAP_TAA_NO | (vcpu_shows(v, CPUID_SPEC_CTRL) ? jumps : 0);
}

static bool read_known(struct vcpu *v, u32 msr, u64 *value)
{
    const struct plain_msr *p = find_plain(v, msr);
    if (p) {
        *value = *plain_field(v, p);
        return true;
    }
    *value = 0;
    switch (msr) {
    case MSR_TSC: *value = vcpu_tsc(v); return vcpu_shows(v, CPUID_TSC);
    case MSR_EFER: *value = v->efer; return efer_exists(v);
    case MSR_FMASK: *value = v->fmask; return vcpu_shows(v, CPUID_SYSCALL);
    case MSR_PAT: *value = v->pat; return vcpu_shows(v, CPUID_PAT);
    case MSR_TSC_AUX:
        *value = v->tsc_aux;
        return vcpu_shows(v, CPUID_RDTSCP) || vcpu_shows(v, CPUID_RDPID);
    case MSR_TSC_ADJUST: *value = v->tsc_adjust; return vcpu_shows(v, CPUID_TSC_ADJUST);
    case MSR_SPEC_CTRL: *value = v->spec_ctrl; return vcpu_shows(v, CPUID_SPEC_CTRL);
    case MSR_MISC_ENABLE: *value = v->misc_enable; return true;
    case MSR_FEATURE_CONTROL: *value = v->feature_control; return true;
    case MSR_MCG_STATUS: *value = v->mcg_status; return vcpu_shows(v, CPUID_MCA);
    case MSR_MCG_CAP: return vcpu_shows(v, CPUID_MCA); /* no banks */
    case MSR_ARCH_CAPABILITIES:
        *value = arch_capabilities(v);
        return vcpu_shows(v, CPUID_ARCH_CAPABILITIES);
    case MSR_BIOS_SIGN_ID: *value = MICROCODE_REVISION; return true;
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_PLATFORM_ID:
    case MSR_EBL_CR_POWERON:
    case MSR_SMI_COUNT:
    case MSR_BBL_CR_CTL3:
    case MSR_PERF_STATUS:
    case MSR_PERF_CTL:
    case MSR_THERM_INTERRUPT:
    case MSR_THERM_STATUS:
    case MSR_DEBUGCTL: return true;
    }
    if (vcpu_shows(v, CPUID_MTRR) && mtrr_read(v, msr, value))
        return true;
    return belongs_to_apic(msr) && vcpu_shows(v, CPUID_APIC) && apic_read(v, msr, value);
}

static bool write_known(struct vcpu *v, u32 msr, u64 value)
{
    cpuid_forget(v);
    const struct plain_msr *p = find_plain(v, msr);
    if (p) {
        if (p->canonical && !mem_canonical(value))
            return false;
        *plain_field(v, p) = value;
        vcpu_forget_rings(v); /* SYSENTER_CS */
        return true;
    }
    switch (msr) {
    case MSR_TSC:
        if (!vcpu_shows(v, CPUID_TSC))
            return false;
        tsc_set(v, value);
        return true;
    case MSR_EFER: return efer_exists(v) && efer_write(v, value);
    case MSR_FMASK:
        if (!vcpu_shows(v, CPUID_SYSCALL) || value >> 32)
            return false;
        v->fmask = value;
        return true;
    case MSR_PAT:
        if (!vcpu_shows(v, CPUID_PAT) || !eight_types_valid(value, true))
            return false;
        v->pat = value;
        return true;
    case MSR_TSC_AUX:
        if (value >> 32 || !(vcpu_shows(v, CPUID_RDTSCP) || vcpu_shows(v, CPUID_RDPID)))
            return false;
        v->tsc_aux = value;
        return true;
    case MSR_TSC_ADJUST:
        if (!vcpu_shows(v, CPUID_TSC_ADJUST))
            return false;
        tsc_adjust(v, value);
        return true;
    case MSR_SPEC_CTRL:
        if (!vcpu_shows(v, CPUID_SPEC_CTRL) || value & ~SPEC_CTRL_DEFINED)
            return false;
        v->spec_ctrl = value;
        return true;
    case MSR_PRED_CMD: return vcpu_shows(v, CPUID_SPEC_CTRL) && !(value & ~PRED_CMD_DEFINED);
    case MSR_MISC_ENABLE: v->misc_enable = value; return true;
    case MSR_MCG_STATUS: return vcpu_shows(v, CPUID_MCA) && !value;
    case MSR_BIOS_SIGN_ID: /* cleared before CPUID fills it in again */
    case MSR_BIOS_UPDT_TRIG:
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_EBL_CR_POWERON:
    case MSR_BBL_CR_CTL3:
    case MSR_PERF_CTL:
    case MSR_THERM_INTERRUPT:
    case MSR_THERM_STATUS: return true;
    case MSR_DEBUGCTL: return !value;       /* no branch records, no single-step on branches */
    case MSR_FEATURE_CONTROL: return false; /* locked */
    }
    if (vcpu_shows(v, CPUID_MTRR) && mtrr_write(v, msr, value))
        return true;
    return belongs_to_apic(msr) && vcpu_shows(v, CPUID_APIC) && apic_write(v, msr, value);
}

/* Tells of registers that this CPU lacks, but not of a guest that tries them all. */
#define REPORTS 16

static void report_unknown(struct vcpu *v, u32 msr, const char *access)
{
    if (v->msr_reports == REPORTS)
        return;
    v->msr_reports++;
    fpu_put_away(v);
    log_unsupported(v->log, access, msr, "%x at %llx: no such register", msr,
                    (unsigned long long)v->rip);
}

bool msr_read(struct vcpu *v, u32 msr, u64 *value)
{
    bool known = read_known(v, msr, value);
    if (!known)
        report_unknown(v, msr, "RDMSR");
    return known;
}

bool msr_write(struct vcpu *v, u32 msr, u64 value)
{
    u64 old;
    bool taken = write_known(v, msr, value);
    if (!taken && !read_known(v, msr, &old))
        report_unknown(v, msr, "WRMSR");
    return taken;
}
