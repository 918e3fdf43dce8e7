/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

static struct rig *open_protected(void)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    return r;
}

/* MOV sreg, AX. */
static void load(struct rig *r, unsigned s, u16 sel)
{
    r->v->gpr[REG_AX] = sel;
    EXEC(r, 0x8e, (u8)(0xc0 | s << 3));
}

static void seg_load_sets_accessed_and_keeps_selector_limit_and_base(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_FREE, make_desc(0x12345678, 0x0ffff, D_DATA | D_DPL3 | SEG_DB));
    load(r, SEG_ES, SEL_FREE | 2);
    assert_int_equal(r->v->seg[SEG_ES].base, 0x12345678);
    assert_int_equal(r->v->seg[SEG_ES].limit, 0xffff);
    assert_int_equal(r->v->seg[SEG_ES].sel, SEL_FREE | 2);
    assert_true(get_desc(r, SEL_FREE) >> 40 & SEG_ACCESSED);
    set_desc(r, SEL_FREE, make_desc(0, 0x12345, D_DATA | SEG_G));
    load(r, SEG_ES, SEL_FREE);
    assert_int_equal(r->v->seg[SEG_ES].limit, 0x12345fff);
    rig_close(r);
}

static void seg_data_load_faults(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    ASSERT_FAULT(r, VEC_GP, 0x100, load(r, SEG_DS, 0x100 | 1)); /* beyond the GDT */
    ASSERT_FAULT(r, VEC_GP, 0x64, load(r, SEG_DS, 0x64));       /* no LDT */
    set_desc(r, SEL_FREE, flat_desc(D_DATA & ~SEG_PRESENT));
    ASSERT_FAULT(r, VEC_NP, SEL_FREE, load(r, SEG_DS, SEL_FREE));
    set_desc(r, SEL_FREE, flat_desc(D_CODE & ~SEG_WRITABLE)); /* execute-only */
    ASSERT_FAULT(r, VEC_GP, SEL_FREE, load(r, SEG_DS, SEL_FREE));
    ASSERT_FAULT(r, VEC_GP, SEL_TSS, load(r, SEG_DS, SEL_TSS));
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, load(r, SEG_DS, SEL_DATA0 | 3)); /* RPL > DPL */
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, load(r, SEG_DS, SEL_DATA0)); /* CPL > DPL */
    assert_false(FAULTS(r, load(r, SEG_DS, SEL_CONFORMING)));       /* readable, conforming */
    ASSERT_FAULT(r, VEC_GP, SEL_CODE0, load(r, SEG_DS, SEL_CODE0));
    assert_int_equal(r->v->seg[SEG_DS].sel, SEL_CONFORMING);
    rig_close(r);
}

static void seg_stack_load_faults(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    ASSERT_FAULT(r, VEC_GP, 0, load(r, SEG_SS, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_DATA3 & ~3, load(r, SEG_SS, SEL_DATA3));
    ASSERT_FAULT(r, VEC_GP, SEL_CODE0, load(r, SEG_SS, SEL_CODE0));
    set_desc(r, SEL_FREE, flat_desc(D_DATA & ~SEG_WRITABLE));
    ASSERT_FAULT(r, VEC_GP, SEL_FREE, load(r, SEG_SS, SEL_FREE));
    set_desc(r, SEL_FREE, flat_desc(D_DATA & ~SEG_PRESENT));
    ASSERT_FAULT(r, VEC_SS, SEL_FREE, load(r, SEG_SS, SEL_FREE));
    assert_int_equal(r->v->seg[SEG_SS].sel, SEL_DATA0);
    assert_int_equal(r->v->shadow & SHADOW_MOVSS, 0);
    load(r, SEG_SS, SEL_DATA0);
    assert_int_equal(r->v->shadow & SHADOW_MOVSS, SHADOW_MOVSS);
    rig_close(r);
}

static void seg_null_loads_and_faults_when_used(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    load(r, SEG_DS, 3);
    assert_true(r->v->seg[SEG_DS].unusable);
    assert_int_equal(r->v->mode & MODE_FLAT, 0);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_DS, 0, 1, ACCESS_READ));
    rig_close(r);
}

static void seg_limit_and_type_are_checked(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_FREE, make_desc(0x10000, 0xfff, D_DATA & ~SEG_WRITABLE));
    load(r, SEG_ES, SEL_FREE);
    assert_int_equal(seg_linear(r->v, SEG_ES, 0xffc, 4, ACCESS_READ), 0x10ffc);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_ES, 0xffd, 4, ACCESS_READ));
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_ES, 0, 4, ACCESS_WRITE));
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_CS, 0, 4, ACCESS_WRITE));
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_DATA | SEG_DB));
    load(r, SEG_SS, SEL_FREE);
    ASSERT_FAULT(r, VEC_SS, 0, seg_linear(r->v, SEG_SS, 0x1000, 1, ACCESS_READ));
    rig_close(r);
}

static void seg_expand_down_allows_what_lies_above_the_limit(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_DATA | SEG_EXPAND_DOWN));
    load(r, SEG_ES, SEL_FREE);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_ES, 0xfff, 1, ACCESS_WRITE));
    assert_int_equal(seg_linear(r->v, SEG_ES, 0x1000, 1, ACCESS_WRITE), 0x1000);
    assert_int_equal(seg_linear(r->v, SEG_ES, 0xfffe, 2, ACCESS_WRITE), 0xfffe);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_ES, 0xffff, 2, ACCESS_WRITE));
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_DATA | SEG_EXPAND_DOWN | SEG_DB));
    load(r, SEG_ES, SEL_FREE);
    assert_int_equal(seg_linear(r->v, SEG_ES, 0xfffffffc, 4, ACCESS_WRITE), 0xfffffffc);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_ES, 0xfffffffd, 4, ACCESS_WRITE));
    rig_close(r);
}

static void seg_real_mode_keeps_limit_and_checks_it(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    seg_load(r->v, SEG_DS, 0x1234);
    assert_int_equal(seg_linear(r->v, SEG_DS, 0xfffe, 2, ACCESS_WRITE), 0x12340 + 0xfffe);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_DS, 0xffff, 2, ACCESS_WRITE));
    ASSERT_FAULT(r, VEC_SS, 0, seg_linear(r->v, SEG_SS, 0xffff, 2, ACCESS_WRITE));
    assert_int_equal(seg_linear(r->v, SEG_CS, 0x10, 2, ACCESS_WRITE), 0xffff0010);
    r->v->seg[SEG_DS].limit = UINT32_MAX; /* unreal mode */
    vcpu_mode_changed(r->v);
    seg_load(r->v, SEG_DS, 0);
    assert_int_equal(seg_linear(r->v, SEG_DS, 0x100000, 4, ACCESS_WRITE), 0x100000);
    rig_close(r);
}

static void seg_long_mode_checks_canonical_addresses_only(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_long(r);
    r->v->seg[SEG_DS] = seg_null(0);
    r->v->seg[SEG_FS].base = 0x7fff00000000;
    vcpu_mode_changed(r->v);
    assert_int_equal(seg_linear(r->v, SEG_DS, 0x123456789, 8, ACCESS_WRITE), 0x123456789);
    assert_true(seg_linear(r->v, SEG_FS, 0x10, 8, ACCESS_WRITE) == 0x7fff00000010);
    ASSERT_FAULT(r, VEC_GP, 0, seg_linear(r->v, SEG_DS, 0x7ffffffffff9, 8, ACCESS_READ));
    ASSERT_FAULT(r, VEC_SS, 0, seg_linear(r->v, SEG_SS, (u64)1 << 47, 8, ACCESS_READ));
    /* Null SS is good in ring 0. */
    assert_false(FAULTS(r, load(r, SEG_SS, 0)));
    rig_close(r);
}

static void seg_questions_answer_in_zf(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    r->v->gpr[REG_CX] = SEL_DATA0;
    EXEC(r, 0x0f, 0x02, 0xc1); /* LAR EAX, ECX */
    assert_true(flags_zf(r->v));
    assert_int_equal(r->v->gpr[REG_AX], (get_desc(r, SEL_DATA0) >> 32) & 0xffff00);
    EXEC(r, 0x0f, 0x03, 0xc1); /* LSL EAX, ECX */
    assert_int_equal(r->v->gpr[REG_AX], 0xffffffff);
    EXEC(r, 0x0f, 0x00, 0xe9); /* VERW CX */
    assert_true(flags_zf(r->v));
    r->v->gpr[REG_CX] = SEL_CODE0;
    EXEC(r, 0x0f, 0x00, 0xe9);
    assert_false(flags_zf(r->v));
    EXEC(r, 0x0f, 0x00, 0xe1); /* VERR CX */
    assert_true(flags_zf(r->v));
    rig_ring(r, 3);
    EXEC(r, 0x0f, 0x00, 0xe1);
    assert_false(flags_zf(r->v));
    r->v->gpr[REG_AX] = 0x1111;
    EXEC(r, 0x0f, 0x02, 0xc1);
    assert_false(flags_zf(r->v));
    assert_int_equal(r->v->gpr[REG_AX], 0x1111);
    r->v->gpr[REG_CX] = 0x1000 | 1; /* ARPL CX, AX: raises RPL 1 to 3 */
    r->v->gpr[REG_AX] = 3;
    EXEC(r, 0x63, 0xc1);
    assert_true(flags_zf(r->v));
    assert_int_equal(r->v->gpr[REG_CX], 0x1003);
    rig_close(r);
}

static void seg_questions_are_undefined_in_real_mode(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x00, 0xe1));
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x02, 0xc1));
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x00, 0xd9)); /* LTR CX */
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x00, 0xc1)); /* SLDT CX */
    rig_close(r);
}

static void seg_far_pointer_load_is_all_or_nothing(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    poke32(r, 0x20000, 0xcafebabe);
    poke16(r, 0x20004, 0x100); /* beyond the GDT */
    r->v->gpr[REG_BX] = 0x20000;
    r->v->gpr[REG_AX] = 7;
    ASSERT_FAULT(r, VEC_GP, 0x100, EXEC(r, 0xc4, 0x03)); /* LES EAX, [EBX] */
    assert_int_equal(r->v->gpr[REG_AX], 7);
    poke16(r, 0x20004, SEL_DATA0);
    EXEC(r, 0xc4, 0x03);
    assert_int_equal(r->v->gpr[REG_AX], 0xcafebabe);
    assert_int_equal(r->v->seg[SEG_ES].sel, SEL_DATA0);
    rig_close(r);
}

static void seg_pop_ss_uses_the_old_stack_size(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_FREE, make_desc(0, 0xffff, D_DATA)); /* 16-bit stack */
    r->v->gpr[REG_SP] = 0x2fffc;
    poke32(r, 0x2fffc, SEL_FREE);
    EXEC(r, 0x17); /* POP SS */
    assert_int_equal(r->v->gpr[REG_SP], 0x30000);
    assert_int_equal(r->v->mode & MODE_SS32, 0);
    rig_close(r);
}

static void seg_lldt_and_ltr_take_their_own_types(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_LDT, make_desc(0x9000, 0x1f, SEG_PRESENT | TYPE_LDT));
    r->v->gpr[REG_CX] = SEL_LDT;
    EXEC(r, 0x0f, 0x00, 0xd1); /* LLDT CX */
    assert_int_equal(r->v->ldtr.base, 0x9000);
    poke64(r, 0x9008, flat_desc(D_DATA | D_FLAT));
    assert_false(FAULTS(r, load(r, SEG_ES, 0x0c)));
    ASSERT_FAULT(r, VEC_GP, SEL_LDT, EXEC(r, 0x0f, 0x00, 0xd9)); /* LTR CX */
    r->v->gpr[REG_CX] = SEL_TSS;                                 /* busy already */
    ASSERT_FAULT(r, VEC_GP, SEL_TSS, EXEC(r, 0x0f, 0x00, 0xd9));
    set_desc(r, SEL_TSS2, make_desc(0xa000, 0x67, SEG_PRESENT | TYPE_TSS32));
    r->v->gpr[REG_CX] = SEL_TSS2;
    EXEC(r, 0x0f, 0x00, 0xd9);
    assert_int_equal(desc_type(get_desc(r, SEL_TSS2)), TYPE_TSS32_BUSY);
    assert_int_equal(r->v->tr.base, 0xa000);
    r->v->gpr[REG_CX] = 0;
    EXEC(r, 0x0f, 0x00, 0xd1); /* LLDT 0 */
    ASSERT_FAULT(r, VEC_GP, 0x0c, load(r, SEG_ES, 0x0c));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seg_load_sets_accessed_and_keeps_selector_limit_and_base),
        cmocka_unit_test(seg_data_load_faults),
        cmocka_unit_test(seg_stack_load_faults),
        cmocka_unit_test(seg_null_loads_and_faults_when_used),
        cmocka_unit_test(seg_limit_and_type_are_checked),
        cmocka_unit_test(seg_expand_down_allows_what_lies_above_the_limit),
        cmocka_unit_test(seg_real_mode_keeps_limit_and_checks_it),
        cmocka_unit_test(seg_long_mode_checks_canonical_addresses_only),
        cmocka_unit_test(seg_questions_answer_in_zf),
        cmocka_unit_test(seg_questions_are_undefined_in_real_mode),
        cmocka_unit_test(seg_far_pointer_load_is_all_or_nothing),
        cmocka_unit_test(seg_pop_ss_uses_the_old_stack_size),
        cmocka_unit_test(seg_lldt_and_ltr_take_their_own_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
