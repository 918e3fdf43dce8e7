/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include "cpu/tss.h"

enum { NEW_TSS = 0xc000, NEW_EIP = 0x20000, NEW_STACK = 0xe000 };

/* A second task of ring `cpl`, 32 bits, in SEL_TSS2. */
static struct rig *open_tasks(unsigned cpl)
{
    struct rig *r = rig_open("max");
    u16 data = cpl ? SEL_DATA3 : SEL_DATA0;
    rig_protected(r);
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS32_LAST, SEG_PRESENT | TYPE_TSS32));
    poke32(r, NEW_TSS + TSS32_EIP, NEW_EIP);
    poke32(r, NEW_TSS + TSS32_EFLAGS, FLAG_ONE | FLAG_CF);
    for (u32 i = 0; i < 8; i++)
        poke32(r, NEW_TSS + TSS32_EAX + i * 4, 0x100 + i);
    poke32(r, NEW_TSS + TSS32_EAX + REG_SP * 4, NEW_STACK);
    for (u32 s = 0; s < SEG_COUNT; s++)
        poke32(r, NEW_TSS + TSS32_ES + s * 4, data);
    poke32(r, NEW_TSS + TSS32_ES + SEG_CS * 4, cpl ? SEL_CODE3 : SEL_CODE0);
    return r;
}

static void jmp_far(struct rig *r, u16 sel)
{
    u8 b[7] = {0xea, 0x99, 0x99, 0x99, 0x99};
    store16(b + 5, sel);
    rig_exec(r, b, sizeof b);
}

static void call_far(struct rig *r, u16 sel)
{
    u8 b[7] = {0x9a};
    store16(b + 5, sel);
    rig_exec(r, b, sizeof b);
}

static unsigned type_of(struct rig *r, u16 sel)
{
    return desc_type(get_desc(r, sel));
}

static void jmp_saves_the_old_task_and_frees_its_tss(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    struct vcpu *v = r->v;
    v->gpr[REG_BX] = 0xbbbb;
    flags_set(v, FLAG_IF | FLAG_ZF);
    v->dr[7] = DR7_FIXED | 0xff | DR7_LE | DR7_GE;
    jmp_far(r, SEL_TSS2);
    assert_int_equal(peek32(r, RIG_TSS + TSS32_EIP), 0x10007);
    assert_int_equal(peek32(r, RIG_TSS + TSS32_EFLAGS), FLAG_IF | FLAG_ZF | FLAG_ONE);
    assert_int_equal(peek32(r, RIG_TSS + TSS32_EAX + REG_BX * 4), 0xbbbb);
    assert_int_equal(peek16(r, RIG_TSS + TSS32_ES + SEG_CS * 4), SEL_CODE0);
    assert_int_equal(type_of(r, SEL_TSS), TYPE_TSS32);
    assert_int_equal(type_of(r, SEL_TSS2), TYPE_TSS32_BUSY);
    assert_int_equal(v->rip, NEW_EIP);
    assert_int_equal(v->gpr[REG_CX], 0x101);
    assert_int_equal(v->gpr[REG_SP], NEW_STACK);
    assert_int_equal(v->tr.sel, SEL_TSS2);
    assert_int_equal(flags_get(v), FLAG_CF | FLAG_ONE);
    assert_true(v->cr0 & CR0_TS);
    assert_true(v->mode & MODE_TS);
    assert_int_equal(v->dr[7], DR7_FIXED | 0xaa | DR7_GE); /* local enables are the task's */
    rig_close(r);
}

static void call_links_back_and_iret_returns(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    struct vcpu *v = r->v;
    v->gpr[REG_BX] = 0xbbbb;
    call_far(r, SEL_TSS2);
    assert_int_equal(peek16(r, NEW_TSS), SEL_TSS);
    assert_true(v->rflags & FLAG_NT);
    assert_int_equal(type_of(r, SEL_TSS), TYPE_TSS32_BUSY);
    EXEC(r, 0xcf);
    assert_int_equal(v->rip, 0x10007);
    assert_int_equal(v->gpr[REG_BX], 0xbbbb);
    assert_int_equal(v->tr.sel, SEL_TSS);
    assert_int_equal(type_of(r, SEL_TSS), TYPE_TSS32_BUSY);
    assert_int_equal(type_of(r, SEL_TSS2), TYPE_TSS32);
    assert_int_equal(peek32(r, NEW_TSS + TSS32_EFLAGS) & FLAG_NT, 0);
    assert_int_equal(peek32(r, NEW_TSS + TSS32_EIP), NEW_EIP + 1);
    rig_close(r);
}

static void switch_changes_privilege_and_cr3(void **state)
{
    (void)state;
    struct rig *r = open_tasks(3);
    struct vcpu *v = r->v;
    for (u32 i = 0; i < 1024; i++)
        poke32(r, RIG_TABLES + 0x1000 + i * 4, i << 12 | 7);
    poke32(r, RIG_TABLES, (RIG_TABLES + 0x1000) | 7);
    poke32(r, RIG_TABLES + 0x2000, (RIG_TABLES + 0x1000) | 7);
    v->cr3 = RIG_TABLES;
    v->cr0 |= CR0_PG;
    vcpu_mode_changed(v);
    poke32(r, NEW_TSS + TSS32_CR3, RIG_TABLES + 0x2000);
    jmp_far(r, SEL_TSS2);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->view, TLB_USER);
    assert_int_equal(v->cr3, RIG_TABLES + 0x2000);
    rig_close(r);
}

static void checks_of_the_new_tss_fault_in_the_old_task(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    ASSERT_FAULT(r, VEC_GP, SEL_TSS, jmp_far(r, SEL_TSS)); /* busy */
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS32_LAST - 1, SEG_PRESENT | TYPE_TSS32));
    ASSERT_FAULT(r, VEC_TS, SEL_TSS2, jmp_far(r, SEL_TSS2));
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS32_LAST, TYPE_TSS32));
    ASSERT_FAULT(r, VEC_NP, SEL_TSS2, jmp_far(r, SEL_TSS2));
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS32_LAST, SEG_PRESENT | TYPE_TSS32));
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, SEL_TSS2, jmp_far(r, SEL_TSS2)); /* DPL 0 */
    assert_int_equal(r->v->rip, 0x10000);
    assert_int_equal(r->v->tr.sel, SEL_TSS);
    rig_ring(r, 0);
    r->v->rflags |= FLAG_NT; /* the link is a free TSS */
    poke16(r, RIG_TSS, SEL_TSS2);
    ASSERT_FAULT(r, VEC_TS, SEL_TSS2, EXEC(r, 0xcf));
    rig_close(r);
}

static void check_bad_segment(unsigned seg, u16 sel, unsigned vector, u32 error)
{
    struct rig *r = open_tasks(0);
    set_desc(r, SEL_FREE, flat_desc((D_DATA | D_FLAT) & ~SEG_PRESENT));
    poke32(r, NEW_TSS + TSS32_ES + seg * 4, sel);
    ASSERT_FAULT(r, vector, error, jmp_far(r, SEL_TSS2));
    assert_int_equal(r->v->rip, NEW_EIP);
    assert_int_equal(r->v->tr.sel, SEL_TSS2);
    assert_int_equal(peek32(r, RIG_TSS + TSS32_EIP), 0x10007);
    rig_close(r);
}

static void bad_segments_fault_in_the_new_task(void **state)
{
    (void)state;
    check_bad_segment(SEG_CS, 0, VEC_TS, 0);
    check_bad_segment(SEG_CS, SEL_DATA0, VEC_TS, SEL_DATA0);
    check_bad_segment(SEG_CS, SEL_CODE3 & ~3, VEC_TS, SEL_CODE3 & ~3);
    check_bad_segment(SEG_SS, 0, VEC_TS, 0);
    check_bad_segment(SEG_SS, SEL_CODE0, VEC_TS, SEL_CODE0);
    check_bad_segment(SEG_SS, SEL_DATA3, VEC_TS, SEL_DATA3 & ~3);
    check_bad_segment(SEG_SS, SEL_FREE, VEC_SS, SEL_FREE);
    check_bad_segment(SEG_DS, SEL_FREE, VEC_NP, SEL_FREE);
    check_bad_segment(SEG_ES, SEL_TSS, VEC_TS, SEL_TSS);
    check_bad_segment(SEG_GS, 0x4000, VEC_TS, 0x4000);
}

static void bad_ldt_is_invalid_tss(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    poke32(r, NEW_TSS + TSS32_LDT, SEL_DATA0);
    ASSERT_FAULT(r, VEC_TS, SEL_DATA0, jmp_far(r, SEL_TSS2));
    assert_int_equal(r->v->rip, NEW_EIP);
    rig_close(r);
}

static void eip_beyond_the_limit_faults_in_the_new_task(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_CODE | SEG_DB));
    poke32(r, NEW_TSS + TSS32_ES + SEG_CS * 4, SEL_FREE);
    ASSERT_FAULT(r, VEC_GP, 0, jmp_far(r, SEL_TSS2));
    assert_int_equal(r->v->rip, NEW_EIP);
    assert_int_equal(r->v->seg[SEG_CS].sel, SEL_FREE);
    rig_close(r);
}

static void trap_bit_raises_a_debug_trap(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    poke16(r, NEW_TSS + TSS32_TRAP, 1);
    jmp_far(r, SEL_TSS2);
    assert_int_equal(r->v->pending_db, DR6_BT);
    assert_true(excp_boundary(r->v));
    assert_int_equal(r->v->dr[6] & DR6_BT, DR6_BT);
    assert_int_equal(r->v->rip, 0xf001);
    rig_close(r);
}

static void task_gate_of_an_exception_pushes_the_error_on_the_new_stack(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    struct vcpu *v = r->v;
    set_gate(r, VEC_DF, make_gate(SEL_TSS2, 0, TYPE_TASK_GATE, 0, 0));
    set_gate(r, VEC_GP, 0);
    v->gpr[REG_SP] = 0; /* the old stack may be as bad as it likes */
    v->fault.vector = VEC_GP;
    v->fault.has_error = true;
    (void)setjmp(r->landing);
    assert_true(excp_deliver_fault(v));
    assert_int_equal(v->rip, NEW_EIP);
    assert_int_equal(v->gpr[REG_SP], NEW_STACK - 4);
    assert_int_equal(peek32(r, NEW_STACK - 4), 0);
    assert_int_equal(peek16(r, NEW_TSS), SEL_TSS);
    assert_true(v->rflags & FLAG_NT);
    assert_int_equal(peek32(r, RIG_TSS + TSS32_EIP), 0x10000);
    rig_close(r);
}

static void task_of_virtual_8086_mode(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    poke32(r, NEW_TSS + TSS32_EFLAGS, FLAG_VM | FLAG_ONE);
    poke32(r, NEW_TSS + TSS32_ES + SEG_CS * 4, 0x1234);
    poke32(r, NEW_TSS + TSS32_EIP, 0x100);
    jmp_far(r, SEL_TSS2);
    assert_true(r->v->mode & MODE_VM);
    assert_int_equal(r->v->cpl, 3);
    assert_int_equal(r->v->seg[SEG_CS].base, 0x12340);
    assert_int_equal(r->v->seg[SEG_CS].limit, 0xffff);
    rig_close(r);
}

static void tss_of_16_bits_and_back(void **state)
{
    (void)state;
    struct rig *r = open_tasks(0);
    struct vcpu *v = r->v;
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS16_LAST, SEG_PRESENT | TYPE_TSS16));
    for (u32 i = 0; i <= TSS16_LAST; i++)
        r->ram[NEW_TSS + i] = 0;
    poke16(r, NEW_TSS + TSS16_IP, 0x8000);
    poke16(r, NEW_TSS + TSS16_FLAGS, FLAG_ONE);
    poke16(r, NEW_TSS + TSS16_AX, 0x1234);
    for (u32 s = SEG_ES; s <= SEG_DS; s++)
        poke16(r, NEW_TSS + TSS16_ES + s * 2, s == SEG_CS ? SEL_CODE0 : SEL_DATA0);
    call_far(r, SEL_TSS2);
    assert_int_equal(v->rip, 0x8000);
    assert_int_equal((u16)v->gpr[REG_AX], 0x1234);
    assert_true(v->seg[SEG_FS].unusable);
    v->gpr[REG_CX] = 0x5678;
    EXEC(r, 0xcf);
    assert_int_equal(v->rip, 0x10007);
    assert_int_equal(peek16(r, NEW_TSS + TSS16_AX + 2), 0x5678);
    assert_int_equal(peek16(r, NEW_TSS + TSS16_IP), 0x8001);
    rig_close(r);
}

static void long_mode_has_no_task_switches(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_long(r);
    set_desc(r, SEL_TSS2, make_desc(NEW_TSS, TSS32_LAST, SEG_PRESENT | TYPE_TSS32 | D_DPL3));
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, SEL_TSS2, jmp_far(r, SEL_TSS2 | 3));
    r->v->rflags |= FLAG_NT;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcf));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jmp_saves_the_old_task_and_frees_its_tss),
        cmocka_unit_test(call_links_back_and_iret_returns),
        cmocka_unit_test(switch_changes_privilege_and_cr3),
        cmocka_unit_test(checks_of_the_new_tss_fault_in_the_old_task),
        cmocka_unit_test(bad_segments_fault_in_the_new_task),
        cmocka_unit_test(bad_ldt_is_invalid_tss),
        cmocka_unit_test(eip_beyond_the_limit_faults_in_the_new_task),
        cmocka_unit_test(trap_bit_raises_a_debug_trap),
        cmocka_unit_test(task_gate_of_an_exception_pushes_the_error_on_the_new_stack),
        cmocka_unit_test(task_of_virtual_8086_mode),
        cmocka_unit_test(tss_of_16_bits_and_back),
        cmocka_unit_test(long_mode_has_no_task_switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
