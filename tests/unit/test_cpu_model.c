/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "cpu/optable.h"

static const char *refuses(const char *model)
{
    struct vcpu_hooks hooks = {0};
    const char *error = NULL;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    struct vcpu *v = vcpu_create(pm, &hooks, NULL, 0, model, &error);
    assert_null(v);
    physmem_destroy(pm);
    return error;
}

/* ---- models ---- */

static void model_unknown_names_are_refused_with_a_reason(void **state)
{
    (void)state;
    assert_non_null(strstr(refuses("z80"), "unknown model"));
    assert_non_null(strstr(refuses("max,+warp"), "feature"));
    assert_non_null(strstr(refuses("max,"), "feature"));
}

static void model_features_are_added_and_removed_with_what_depends_on_them(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium3,-sse,+nx");
    assert_false(vcpu_shows(r->v, CPUID_SSE));
    assert_true(vcpu_shows(r->v, CPUID_NX));
    assert_int_equal(cpuid_read(r->v, 0x80000001, 0).edx >> 20 & 1, 1);
    rig_close(r);
    r = rig_open("max,sse2=off");
    assert_false(vcpu_shows(r->v, CPUID_SSE4_2));
    assert_false(vcpu_shows(r->v, CPUID_AVX2));
    assert_false(vcpu_shows(r->v, CPUID_LM));
    rig_close(r);
}

static void model_pentium_and_pentium3_are_what_they_were(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium");
    assert_int_equal(cpuid_read(r->v, 0, 0).eax, 1);
    assert_int_equal(cpuid_read(r->v, 1, 0).eax >> 8 & 0xf, 5);
    assert_true(vcpu_shows(r->v, CPUID_MMX));
    assert_false(vcpu_shows(r->v, CPUID_CMOV));
    assert_false(vcpu_shows(r->v, CPUID_PAE));
    rig_close(r);
    r = rig_open("pentium3");
    struct cpuid_leaf v = cpuid_read(r->v, 0, 0);
    assert_int_equal(v.ebx, load32("Genu"));
    assert_int_equal(v.edx, load32("ineI"));
    assert_int_equal(v.ecx, load32("ntel"));
    assert_true(vcpu_shows(r->v, CPUID_SSE));
    assert_false(vcpu_shows(r->v, CPUID_SSE2));
    assert_false(vcpu_shows(r->v, CPUID_LM));
    assert_true(cpuid_read(r->v, 0x80000000, 0).eax < 0x80000000);
    rig_close(r);
}

/* ---- every instruction whose feature is shown has a meaning ---- */

#define MAX_ROWS 8192

static bool has_meaning(struct vcpu *v, struct insn *in)
{
    return op_sys_select(in) || op_int_select(in) || op_fpu_select(v, in);
}

/* Tries each opcode byte and ModRM form after the given bytes, each row of the table once. */
static unsigned try_opcodes(struct vcpu *v, unsigned mode, const u8 *lead, unsigned n, bool *seen)
{
    unsigned met = 0;
    u8 b[16] = {0};
    memcpy(b, lead, n);
    for (unsigned i = 0; i < 256 * 256; i++) {
        struct insn in;
        b[n] = (u8)(i >> 8);
        b[n + 1] = (u8)i;
        if (decode(b, 15, mode, &in) != DECODE_OK || seen[in.row])
            continue;
        seen[in.row] = true;
        met++;
        if (!feature_shown(v->feature, op_row(&in)->feature) || has_meaning(v, &in))
            continue;
        print_error("%s (%02x %02x %02x %02x) has no meaning\n", op_row(&in)->name, b[0], b[1],
                    b[2], b[3]);
        fail();
    }
    return met;
}

static void model_executes_all_that_it_shows(void **state)
{
    (void)state;
    static const struct {
        u8 n, bytes[4];
    } leads[] = {
        {0, {0}},
        {1, {0x66}},
        {1, {0xf3}},
        {1, {0x0f}},
        {2, {0x66, 0x0f}},
        {2, {0xf3, 0x0f}},
        {2, {0xf2, 0x0f}},
        {2, {0x0f, 0x38}},
        {3, {0x66, 0x0f, 0x38}},
        {3, {0xf3, 0x0f, 0x38}},
        {3, {0xf2, 0x0f, 0x38}},
        {2, {0x0f, 0x3a}},
        {3, {0x66, 0x0f, 0x3a}},
        {3, {0xf2, 0x0f, 0x3a}},
        {3, {0xc4, 0xe1, 0x78}},
        {3, {0xc4, 0xe1, 0x79}},
        {3, {0xc4, 0xe1, 0x7a}},
        {3, {0xc4, 0xe1, 0x7b}},
        {3, {0xc4, 0xe2, 0x78}},
        {3, {0xc4, 0xe2, 0x79}},
        {3, {0xc4, 0xe2, 0x7a}},
        {3, {0xc4, 0xe2, 0x7b}},
        {3, {0xc4, 0xe3, 0x79}},
        {3, {0xc4, 0xe3, 0x7b}},
        {3, {0xc4, 0xe2, 0xf9}},
        {3, {0xc4, 0xe3, 0x7d}},
    };
    struct rig *r = rig_open("max");
    bool *seen = calloc(MAX_ROWS, sizeof *seen);
    unsigned met = 0;
    assert_true(op_row_count() < MAX_ROWS);
    for (unsigned i = 0; i < ARRAY_LEN(leads); i++) {
        met += try_opcodes(r->v, 32, leads[i].bytes, leads[i].n, seen);
        met += try_opcodes(r->v, 64, leads[i].bytes, leads[i].n, seen);
    }
    assert_true(met > op_row_count() / 2);
    free(seen);
    rig_close(r);
}

static void model_never_shows_what_is_not_there(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    assert_false(vcpu_shows(r->v, CPUID_VMX));
    assert_false(vcpu_shows(r->v, CPUID_SVM));
    assert_false(vcpu_shows(r->v, CPUID_MONITOR));
    assert_false(vcpu_shows(r->v, CPUID_RTM));
    assert_false(vcpu_shows(r->v, CPUID_PKU));
    rig_close(r);
}

static void cpuid_xsave_leaf_tells_the_layout(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    if (!vcpu_shows(r->v, CPUID_XSAVE))
        skip();
    struct cpuid_leaf d = cpuid_read(r->v, 0xd, 0);
    assert_int_equal(d.ebx, 576);
    assert_int_equal(d.ecx, vcpu_shows(r->v, CPUID_AVX) ? 832 : 576);
    assert_int_equal(d.eax & 3, 3);
    r->v->xcr0 = d.eax;
    assert_int_equal(cpuid_read(r->v, 0xd, 0).ebx, d.ecx);
    if (d.eax & 4) {
        assert_int_equal(cpuid_read(r->v, 0xd, 2).eax, 256);
        assert_int_equal(cpuid_read(r->v, 0xd, 2).ebx, 576);
    }
    assert_int_equal(cpuid_read(r->v, 0xd, 9).eax, 0);
    rig_close(r);
}

static void cpuid_follows_cr4_osxsave_and_the_mode(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    assert_int_equal(cpuid_read(r->v, 1, 0).ecx >> 27 & 1, 0);
    r->v->cr4 |= CR4_OSXSAVE;
    assert_int_equal(cpuid_read(r->v, 1, 0).ecx >> 27 & 1, 1);
    assert_int_equal(cpuid_read(r->v, 0x80000001, 0).edx >> 11 & 1, 0);
    rig_long(r);
    assert_int_equal(cpuid_read(r->v, 0x80000001, 0).edx >> 11 & 1, 1);
    assert_int_equal(cpuid_read(r->v, 0x80000008, 0).eax, 48 << 8 | PHYS_ADDR_BITS);
    rig_close(r);
}

/* ---- MSRs ---- */

static u64 rdmsr(struct rig *r, u32 msr)
{
    u64 value = 0;
    assert_true(msr_read(r->v, msr, &value));
    return value;
}

static void msr_unknown_is_gp(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_protected(r);
    r->v->gpr[REG_CX] = 0x12345;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x32));
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x30));
    rig_ring(r, 3);
    r->v->gpr[REG_CX] = MSR_TSC;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x32));
    rig_close(r);
}

static void msr_exists_with_its_feature(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium");
    u64 value;
    assert_false(msr_read(r->v, MSR_EFER, &value));
    assert_false(msr_read(r->v, MSR_SYSENTER_CS, &value));
    assert_false(msr_read(r->v, MSR_PAT, &value));
    assert_false(msr_write(r->v, MSR_LSTAR, 0));
    assert_true(msr_read(r->v, MSR_TSC, &value));
    rig_close(r);
}

static void msr_efer_takes_defined_bits_and_lme_only_without_paging(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    assert_true(msr_write(r->v, MSR_EFER, EFER_SCE | EFER_LME | EFER_NXE));
    assert_int_equal(rdmsr(r, MSR_EFER), EFER_SCE | EFER_LME | EFER_NXE);
    assert_false(msr_write(r->v, MSR_EFER, 1 << 15));
    rig_long(r);
    assert_false(msr_write(r->v, MSR_EFER, EFER_NXE));
    assert_true(msr_write(r->v, MSR_EFER, EFER_LME | EFER_SCE));
    assert_int_equal(rdmsr(r, MSR_EFER), EFER_LME | EFER_LMA | EFER_SCE);
    rig_close(r);
}

static void msr_addresses_must_be_canonical(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    static const u32 msrs[] = {MSR_FS_BASE,      MSR_GS_BASE,      MSR_KERNEL_GS_BASE, MSR_LSTAR,
                               MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_CSTAR};
    for (unsigned i = 0; i < ARRAY_LEN(msrs); i++) {
        assert_false(msr_write(r->v, msrs[i], (u64)1 << 47));
        assert_true(msr_write(r->v, msrs[i], 0xffff800000000000 + i));
        assert_true(rdmsr(r, msrs[i]) == 0xffff800000000000 + i);
    }
    rig_close(r);
}

static void msr_pat_and_mtrrs_check_types(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    assert_true(msr_write(r->v, MSR_PAT, 0x0007010600070106));
    assert_false(msr_write(r->v, MSR_PAT, 2));
    assert_false(msr_write(r->v, MSR_MTRR_FIX64K, 7));
    assert_true(msr_write(r->v, MSR_MTRR_FIX64K, 0x0606060606060606));
    assert_true(rdmsr(r, MSR_MTRR_FIX64K) == 0x0606060606060606);
    assert_true(msr_write(r->v, MSR_MTRR_BASE0 + 3, 0xff80000800));
    assert_false(msr_write(r->v, MSR_MTRR_BASE0 + 3, (u64)1 << 45));
    assert_int_equal(rdmsr(r, MSR_MTRRCAP) & 0xff, 8);
    assert_false(msr_write(r->v, MSR_MTRRCAP, 0));
    rig_close(r);
}

static void msr_speculation_control_takes_its_bits_and_the_barrier_is_write_only(void **state)
{
    (void)state;
    const u64 ibrs_all = 2;
    struct rig *r = rig_open("max");
    u64 value;
    assert_true(msr_write(r->v, MSR_SPEC_CTRL, 3));
    assert_int_equal(rdmsr(r, MSR_SPEC_CTRL), 3);
    assert_false(msr_write(r->v, MSR_SPEC_CTRL, 4)); /* SSBD is not shown */
    assert_int_equal(rdmsr(r, MSR_SPEC_CTRL), 3);
    assert_true(msr_write(r->v, MSR_PRED_CMD, 1));
    assert_false(msr_write(r->v, MSR_PRED_CMD, 2));
    assert_false(msr_read(r->v, MSR_PRED_CMD, &value));
    assert_true(rdmsr(r, MSR_ARCH_CAPABILITIES) & ibrs_all);
    vcpu_reset(r->v);
    assert_int_equal(rdmsr(r, MSR_SPEC_CTRL), 0);
    rig_close(r);

    r = rig_open("max,-spec-ctrl");
    assert_false(rdmsr(r, MSR_ARCH_CAPABILITIES) & ibrs_all);
    assert_false(msr_write(r->v, MSR_SPEC_CTRL, 0));
    assert_false(msr_write(r->v, MSR_PRED_CMD, 1));
    rig_close(r);
}

static void msr_tsc_moves_with_adjust(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    assert_true(msr_write(r->v, MSR_TSC, 1000000000000));
    u64 now = rdmsr(r, MSR_TSC);
    assert_true(now >= 1000000000000 && now < 1100000000000);
    u64 adjust = rdmsr(r, MSR_TSC_ADJUST);
    assert_true(msr_write(r->v, MSR_TSC_ADJUST, adjust + 5000000000000));
    now = rdmsr(r, MSR_TSC);
    assert_true(now >= 6000000000000 && now < 6100000000000);
    rig_close(r);
}

/* ---- control registers ---- */

static void mov_cr(struct rig *r, unsigned n, u64 value)
{
    r->v->gpr[REG_AX] = value;
    EXEC(r, 0x0f, 0x22, (u8)(0xc0 | n << 3));
}

static void cr0_and_cr4_refuse_impossible_states(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium3");
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 0, CR0_PG));
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 0, CR0_NW));
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 4, CR4_SMEP));
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 4, 1 << 15));
    mov_cr(r, 4, CR4_PSE | CR4_PGE | CR4_OSFXSR);
    mov_cr(r, 0, CR0_PE);
    assert_int_equal(r->v->cr0, CR0_PE | CR0_ET);
    assert_true(r->v->mode & MODE_PE);
    EXEC(r, 0x0f, 0x01, 0xf0); /* LMSW AX cannot clear PE */
    r->v->gpr[REG_AX] = 0;
    EXEC(r, 0x0f, 0x01, 0xf0);
    assert_true(r->v->cr0 & CR0_PE);
    rig_close(r);
}

static void long_mode_is_entered_by_paging_with_lme_and_pae(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    v->efer = EFER_LME;
    v->cr0 &= ~(u64)CR0_PG;
    v->cr4 = 0;
    rig_set_segment(r, SEG_CS, SEL_CODE0);
    vcpu_mode_changed(v);
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 0, v->cr0 | CR0_PG));
    v->cr4 = CR4_PAE;
    mov_cr(r, 0, v->cr0 | CR0_PG);
    assert_true(v->efer & EFER_LMA);
    assert_true(v->mode & MODE_LMA);
    assert_false(v->mode & MODE_CS64); /* compatibility mode until a far jump */
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 4, 0));
    EXEC(r, 0xea, 0, 0x80, 0, 0, SEL_CODE64, 0);
    assert_true(v->mode & MODE_CS64);
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 0, CR0_PE));
    ASSERT_FAULT(r, VEC_GP, 0, mov_cr(r, 3, (u64)1 << 50));
    rig_close(r);
}

static void cr8_is_the_task_priority(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_long(r);
    r->v->gpr[REG_AX] = 9;
    EXEC(r, 0x44, 0x0f, 0x22, 0xc0);
    assert_int_equal(r->cr8, 9);
    EXEC(r, 0x44, 0x0f, 0x20, 0xc3); /* MOV RBX, CR8 */
    assert_int_equal(r->v->gpr[REG_BX], 9);
    r->v->gpr[REG_AX] = 16;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x44, 0x0f, 0x22, 0xc0));
    rig_close(r);
}

static void umip_hides_tables_from_user_code(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_protected(r);
    rig_ring(r, 3);
    r->v->gpr[REG_BX] = 0x20000;
    EXEC(r, 0x0f, 0x01, 0x03); /* SGDT [EBX] */
    assert_int_equal(peek16(r, 0x20000), 0xff);
    assert_int_equal(peek32(r, 0x20002), RIG_GDT);
    r->v->cr4 = CR4_UMIP;
    vcpu_mode_changed(r->v);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0x03)); /* SGDT */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0x0b)); /* SIDT */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0xe0)); /* SMSW */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x00, 0xc0)); /* SLDT */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x00, 0xc8)); /* STR */
    rig_close(r);
}

static void bases_of_fs_and_gs(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    v->gpr[REG_AX] = 0x123456789000;
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0xf3, 0x48, 0x0f, 0xae, 0xd0)); /* CR4 forbids */
    v->cr4 |= CR4_FSGSBASE;
    EXEC(r, 0xf3, 0x48, 0x0f, 0xae, 0xd0); /* WRFSBASE RAX */
    assert_true(v->seg[SEG_FS].base == 0x123456789000);
    EXEC(r, 0xf3, 0x48, 0x0f, 0xae, 0xc3); /* RDFSBASE RBX */
    assert_true(v->gpr[REG_BX] == 0x123456789000);
    v->kernel_gs_base = 0x1111;
    v->seg[SEG_GS].base = 0x2222;
    EXEC(r, 0x0f, 0x01, 0xf8); /* SWAPGS */
    assert_int_equal(v->seg[SEG_GS].base, 0x1111);
    assert_int_equal(v->kernel_gs_base, 0x2222);
    rig_close(r);
}

static void xsetbv_takes_states_that_build_on_each_other(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    if (!vcpu_shows(v, CPUID_XSAVE))
        skip();
    rig_protected(r);
    v->gpr[REG_CX] = v->gpr[REG_DX] = 0;
    v->gpr[REG_AX] = 3;
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x01, 0xd1));
    v->cr4 = CR4_OSXSAVE;
    EXEC(r, 0x0f, 0x01, 0xd1);
    assert_int_equal(v->xcr0, 3);
    v->gpr[REG_AX] = 5;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0xd1));
    v->gpr[REG_AX] = 2;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0xd1));
    v->gpr[REG_DX] = 1;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x01, 0xd1));
    rig_close(r);
}

static void reset_is_the_manuals_table(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium3");
    struct vcpu *v = r->v;
    assert_int_equal(v->cr0, 0x60000010);
    assert_int_equal(v->rip, 0xfff0);
    assert_int_equal(v->seg[SEG_CS].base, 0xffff0000);
    assert_int_equal(v->seg[SEG_CS].sel, 0xf000);
    assert_int_equal(v->gpr[REG_DX], 0x683);
    assert_int_equal(v->dr[6], 0xffff0ff0);
    assert_int_equal(v->dr[7], 0x400);
    assert_int_equal(flags_get(v), 2);
    assert_int_equal(v->idtr.limit, 0xffff);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_unknown_names_are_refused_with_a_reason),
        cmocka_unit_test(model_features_are_added_and_removed_with_what_depends_on_them),
        cmocka_unit_test(model_pentium_and_pentium3_are_what_they_were),
        cmocka_unit_test(model_executes_all_that_it_shows),
        cmocka_unit_test(model_never_shows_what_is_not_there),
        cmocka_unit_test(cpuid_xsave_leaf_tells_the_layout),
        cmocka_unit_test(cpuid_follows_cr4_osxsave_and_the_mode),
        cmocka_unit_test(msr_unknown_is_gp),
        cmocka_unit_test(msr_exists_with_its_feature),
        cmocka_unit_test(msr_efer_takes_defined_bits_and_lme_only_without_paging),
        cmocka_unit_test(msr_addresses_must_be_canonical),
        cmocka_unit_test(msr_pat_and_mtrrs_check_types),
        cmocka_unit_test(msr_speculation_control_takes_its_bits_and_the_barrier_is_write_only),
        cmocka_unit_test(msr_tsc_moves_with_adjust),
        cmocka_unit_test(cr0_and_cr4_refuse_impossible_states),
        cmocka_unit_test(long_mode_is_entered_by_paging_with_lme_and_pae),
        cmocka_unit_test(cr8_is_the_task_priority),
        cmocka_unit_test(umip_hides_tables_from_user_code),
        cmocka_unit_test(bases_of_fs_and_gs),
        cmocka_unit_test(xsetbv_takes_states_that_build_on_each_other),
        cmocka_unit_test(reset_is_the_manuals_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
