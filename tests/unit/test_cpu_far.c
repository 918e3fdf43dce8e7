/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include "cpu/far.h"

static struct rig *open_protected(void)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    return r;
}

/* JMP and CALL ptr16:32. */
static void jmp_far(struct rig *r, u16 sel, u32 offset)
{
    u8 b[7] = {0xea};
    store32(b + 1, offset);
    store16(b + 5, sel);
    rig_exec(r, b, sizeof b);
}

static void call_far(struct rig *r, u16 sel, u32 offset)
{
    u8 b[7] = {0x9a};
    store32(b + 1, offset);
    store16(b + 5, sel);
    rig_exec(r, b, sizeof b);
}

static void jmp_direct_checks_type_privilege_presence_limit(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    ASSERT_FAULT(r, VEC_GP, 0, jmp_far(r, 0, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, jmp_far(r, SEL_DATA0, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_CODE3 & ~3, jmp_far(r, SEL_CODE3, 0));
    ASSERT_FAULT(r, VEC_GP, 0x1000, jmp_far(r, 0x1000, 0));
    set_desc(r, SEL_FREE, flat_desc((D_CODE | D_FLAT) & ~SEG_PRESENT));
    ASSERT_FAULT(r, VEC_NP, SEL_FREE, jmp_far(r, SEL_FREE, 0));
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_CODE | SEG_DB));
    ASSERT_FAULT(r, VEC_GP, 0, jmp_far(r, SEL_FREE, 0x1000));
    assert_int_equal(r->v->rip, 0x10000);
    assert_int_equal(r->v->seg[SEG_CS].sel, SEL_CODE0);
    jmp_far(r, SEL_FREE, 0xffe);
    assert_int_equal(r->v->rip, 0xffe);
    assert_true(get_desc(r, SEL_FREE) >> 40 & SEG_ACCESSED);
    rig_close(r);
}

static void jmp_to_conforming_code_keeps_cpl(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    rig_ring(r, 3);
    jmp_far(r, SEL_CONFORMING, 0x1234);
    assert_int_equal(r->v->cpl, 3);
    assert_int_equal(r->v->seg[SEG_CS].sel, SEL_CONFORMING | 3);
    rig_close(r);
}

static void call_direct_pushes_and_ret_returns(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    call_far(r, SEL_CODE0, 0x2345);
    assert_int_equal(v->rip, 0x2345);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 8);
    assert_int_equal(peek32(r, RIG_STACK0 - 8), 0x10007);
    assert_int_equal(peek32(r, RIG_STACK0 - 4), SEL_CODE0);
    EXEC(r, 0xca, 0x08, 0x00); /* RETF 8 */
    assert_int_equal(v->rip, 0x10007);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 + 8);
    rig_close(r);
}

static void call_gate_to_inner_level_copies_parameters(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    set_desc(r, SEL_GATE, make_gate(SEL_CODE0, 0x7777, TYPE_CALL32, 3, 2));
    rig_ring(r, 3);
    poke32(r, RIG_STACK3 - 8, 0x11);
    poke32(r, RIG_STACK3 - 4, 0x22);
    v->gpr[REG_SP] = RIG_STACK3 - 8;
    call_far(r, SEL_GATE | 3, 0xdeadbeef);
    assert_int_equal(v->cpl, 0);
    assert_int_equal(v->rip, 0x7777);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 24);
    assert_int_equal(peek32(r, RIG_STACK0 - 4), SEL_DATA3);
    assert_int_equal(peek32(r, RIG_STACK0 - 8), RIG_STACK3 - 8);
    assert_int_equal(peek32(r, RIG_STACK0 - 12), 0x22);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), 0x11);
    assert_int_equal(peek32(r, RIG_STACK0 - 20), SEL_CODE3);
    assert_int_equal(peek32(r, RIG_STACK0 - 24), 0x10007);
    v->seg[SEG_ES] = seg_from_descriptor(SEL_DATA0, get_desc(r, SEL_DATA0));
    EXEC(r, 0xca, 0x08, 0x00);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK3); /* parameters are gone from both stacks */
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA3);
    assert_true(v->seg[SEG_ES].unusable); /* ring 0 data does not stay loaded */
    assert_int_equal(v->seg[SEG_DS].sel, SEL_DATA3);
    rig_close(r);
}

static void call_gate_checks(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    rig_ring(r, 3);
    set_desc(r, SEL_GATE, make_gate(SEL_CODE0, 0, TYPE_CALL32, 2, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_GATE, call_far(r, SEL_GATE, 0));
    set_desc(r, SEL_GATE, make_gate(SEL_CODE0, 0, TYPE_CALL32, 3, 0) & ~((u64)SEG_PRESENT << 40));
    ASSERT_FAULT(r, VEC_NP, SEL_GATE, call_far(r, SEL_GATE, 0));
    set_desc(r, SEL_GATE, make_gate(0, 0, TYPE_CALL32, 3, 0));
    ASSERT_FAULT(r, VEC_GP, 0, call_far(r, SEL_GATE, 0));
    set_desc(r, SEL_GATE, make_gate(SEL_DATA0, 0, TYPE_CALL32, 3, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, call_far(r, SEL_GATE, 0));
    set_desc(r, SEL_GATE, make_gate(SEL_CODE0, 0, TYPE_CALL32, 3, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_CODE0, jmp_far(r, SEL_GATE, 0)); /* JMP gains no privilege */
    poke32(r, RIG_TSS + 8, SEL_DATA3);
    ASSERT_FAULT(r, VEC_TS, SEL_DATA3 & ~3, call_far(r, SEL_GATE, 0));
    assert_int_equal(r->v->cpl, 3);
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK3);
    rig_close(r);
}

static void call_gate_of_16_bits_cuts_the_offset(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_desc(r, SEL_GATE, make_gate(SEL_CODE0, 0x98765, TYPE_CALL16, 0, 0));
    call_far(r, SEL_GATE, 0);
    assert_int_equal(r->v->rip, 0x8765);
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK0 - 4);
    assert_int_equal(peek16(r, RIG_STACK0 - 4), 7);
    rig_close(r);
}

static void ret_far_checks(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    u32 sp = RIG_STACK0 - 16;
    v->gpr[REG_SP] = sp;
    poke32(r, sp + 4, 0);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcb));
    poke32(r, sp + 4, SEL_DATA0);
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, EXEC(r, 0xcb));
    poke32(r, sp + 4, SEL_CODE3);
    poke32(r, sp + 8, RIG_STACK3);
    poke32(r, sp + 12, SEL_DATA0);
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, EXEC(r, 0xcb)); /* SS of the wrong level */
    poke32(r, sp + 12, 0);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcb));
    assert_int_equal(v->gpr[REG_SP], sp);
    assert_int_equal(v->cpl, 0);
    rig_ring(r, 3); /* a return never gains privilege */
    v->gpr[REG_SP] = sp;
    poke32(r, sp + 4, SEL_CODE0);
    ASSERT_FAULT(r, VEC_GP, SEL_CODE0, EXEC(r, 0xcb));
    rig_close(r);
}

static void iret_restores_what_the_privilege_level_may_change(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    u32 sp = RIG_STACK0 - 20;
    v->gpr[REG_SP] = sp;
    poke32(r, sp, 0x4444);
    poke32(r, sp + 4, SEL_CODE3);
    poke32(r, sp + 8, FLAG_IF | FLAG_IOPL | FLAG_ID | FLAG_CF);
    poke32(r, sp + 12, RIG_STACK3);
    poke32(r, sp + 16, SEL_DATA3);
    EXEC(r, 0xcf);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->rip, 0x4444);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK3);
    assert_int_equal(flags_get(v), FLAG_IF | FLAG_IOPL | FLAG_ID | FLAG_CF | FLAG_ONE);
    /* Ring 3 with IOPL 0 changes neither IF nor IOPL. */
    flags_set(v, FLAG_IF);
    sp = RIG_STACK3 - 12;
    v->gpr[REG_SP] = sp;
    poke32(r, sp, 0x5555);
    poke32(r, sp + 4, SEL_CODE3);
    poke32(r, sp + 8, FLAG_IOPL | FLAG_ZF);
    EXEC(r, 0xcf);
    assert_int_equal(flags_get(v), FLAG_IF | FLAG_ZF | FLAG_ONE);
    rig_close(r);
}

static void iret_to_a_16_bit_stack_leaves_the_upper_half_of_esp(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    u32 sp = RIG_STACK0 - 20;
    set_desc(r, SEL_FREE, make_desc(0, 0xffff, D_DATA | D_DPL3));
    r->v->gpr[REG_SP] = sp;
    poke32(r, sp, 0x4444);
    poke32(r, sp + 4, SEL_CODE3);
    poke32(r, sp + 8, FLAG_ONE);
    poke32(r, sp + 12, 0xabcd7000);
    poke32(r, sp + 16, SEL_FREE | 3);
    EXEC(r, 0xcf);
    assert_int_equal(r->v->gpr[REG_SP], (sp & 0xffff0000) | 0x7000);
    rig_close(r);
}

static void return_to_an_outer_level_clears_null_selectors(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    r->v->cpl = 3;
    r->v->seg[SEG_DS] = seg_null(3);
    seg_drop_inaccessible(r->v);
    assert_int_equal(r->v->seg[SEG_DS].sel, 0);
    assert_true(r->v->seg[SEG_DS].unusable);
    rig_close(r);
}

static void return_to_a_16_bit_stack_clears_the_high_half_of_rsp(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    r->v->mode &= ~(u32)(MODE_CS64 | MODE_SS32);
    r->v->gpr[REG_SP] = 0xffffff0a12345678; /* as Linux' espfix64 has it at its IRETQ */
    far_set_sp(r->v, 0xabcd7000);
    assert_true(r->v->gpr[REG_SP] == 0x12347000);
    rig_close(r);
}

static void iret_in_64_bit_mode_always_pops_the_stack(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    u64 sp = RIG_STACK0 - 40;
    rig_long(r);
    v->gpr[REG_SP] = sp;
    poke64(r, sp, 0x4444);
    poke64(r, sp + 8, SEL_CODE64);
    poke64(r, sp + 16, FLAG_ONE);
    poke64(r, sp + 24, 0x123456789abc);
    poke64(r, sp + 32, 0);
    EXEC(r, 0x48, 0xcf); /* IRETQ, null SS in ring 0 */
    assert_int_equal(v->rip, 0x4444);
    assert_true(v->gpr[REG_SP] == 0x123456789abc);
    assert_true(v->seg[SEG_SS].unusable);
    v->gpr[REG_SP] = sp;
    poke64(r, sp, (u64)1 << 47);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x48, 0xcf));
    /* To compatibility mode a null SS is not good. */
    poke64(r, sp, 0x4444);
    poke64(r, sp + 8, SEL_CODE3);
    poke64(r, sp + 32, 3);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x48, 0xcf));
    poke64(r, sp + 32, SEL_DATA3);
    EXEC(r, 0x48, 0xcf);
    assert_int_equal(v->mode & MODE_CS64, 0);
    assert_int_equal(v->mode & MODE_CS32, MODE_CS32);
    assert_int_equal(v->gpr[REG_SP], 0x56789abc);
    rig_close(r);
}

static void call_gate_of_64_bits_goes_to_a_null_stack_segment(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    set_desc(r, SEL_FREE, make_gate(SEL_CODE64, 0x1000f00d, TYPE_CALL32, 3, 0));
    set_desc(r, SEL_FREE + 8, 0xffff8000);
    rig_ring(r, 3); /* compatibility mode */
    call_far(r, SEL_FREE | 3, 0);
    assert_true(v->rip == 0xffff80001000f00d);
    assert_int_equal(v->cpl, 0);
    assert_true(v->mode & MODE_CS64);
    assert_true(v->seg[SEG_SS].unusable);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 32);
    assert_int_equal(peek64(r, RIG_STACK0 - 8), SEL_DATA3);
    assert_int_equal(peek64(r, RIG_STACK0 - 16), RIG_STACK3);
    assert_int_equal(peek64(r, RIG_STACK0 - 24), SEL_CODE3);
    assert_int_equal(peek64(r, RIG_STACK0 - 32), 0x10007);
    EXEC(r, 0x48, 0xcb); /* RETFQ */
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->rip, 0x10007);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK3);
    set_desc(r, SEL_FREE + 8, (u64)TYPE_CALL32 << 40 | 0xffff8000); /* upper type must be 0 */
    ASSERT_FAULT(r, VEC_GP, SEL_FREE, call_far(r, SEL_FREE | 3, 0));
    rig_close(r);
}

static void real_mode_far_transfers_are_a_new_cs(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    seg_load(v, SEG_SS, 0x2000);
    v->gpr[REG_SP] = 0x100;
    EXEC(r, 0x9a, 0x34, 0x12, 0x00, 0x30); /* CALL 3000:1234 */
    assert_int_equal(v->seg[SEG_CS].base, 0x30000);
    assert_int_equal(v->rip, 0x1234);
    assert_int_equal(peek16(r, 0x200fc), 0xfff5);
    assert_int_equal(peek16(r, 0x200fe), 0xf000);
    EXEC(r, 0xcb);
    assert_int_equal(v->rip, 0xfff5);
    assert_int_equal(v->gpr[REG_SP], 0x100);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x66, 0xea, 0, 0, 1, 0, 0, 0)); /* beyond FFFFh */
    rig_close(r);
}

static void sysenter_and_sysexit_use_fixed_flat_segments(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    rig_ring(r, 3);
    flags_set(v, FLAG_IF);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x34));
    v->sysenter_cs = 0x60;
    v->sysenter_eip = 0xc0001234;
    v->sysenter_esp = 0xc0005678;
    EXEC(r, 0x0f, 0x34);
    assert_int_equal(v->seg[SEG_CS].sel, 0x60);
    assert_int_equal(v->seg[SEG_SS].sel, 0x68);
    assert_int_equal(v->rip, 0xc0001234);
    assert_int_equal(v->gpr[REG_SP], 0xc0005678);
    assert_int_equal(v->rflags & FLAG_IF, 0);
    assert_int_equal(v->cpl, 0);
    v->gpr[REG_DX] = 0x1111;
    v->gpr[REG_CX] = 0x2222;
    EXEC(r, 0x0f, 0x35);
    assert_int_equal(v->seg[SEG_CS].sel, 0x73);
    assert_int_equal(v->seg[SEG_SS].sel, 0x7b);
    assert_int_equal(v->rip, 0x1111);
    assert_int_equal(v->gpr[REG_SP], 0x2222);
    assert_int_equal(v->cpl, 3);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x0f, 0x35));
    rig_close(r);
}

static void syscall_and_sysret_save_rip_and_flags(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    ASSERT_FAULT(r, VEC_UD, 0, EXEC(r, 0x0f, 0x05));
    v->efer |= EFER_SCE;
    v->star = (u64)0x1b << 48 | (u64)0x08 << 32;
    v->lstar = 0xffffffff81000000;
    v->fmask = FLAG_IF | FLAG_DF;
    v->rip = 0x401000;
    flags_set(v, FLAG_IF | FLAG_DF | FLAG_CF);
    EXEC(r, 0x0f, 0x05);
    assert_int_equal(v->gpr[REG_CX], 0x401002);
    assert_int_equal(v->gpr[GPR_R11], FLAG_IF | FLAG_DF | FLAG_CF | FLAG_ONE);
    assert_true(v->rip == 0xffffffff81000000);
    assert_int_equal(flags_get(v), FLAG_CF | FLAG_ONE);
    assert_int_equal(v->seg[SEG_SS].sel, 0x10);
    EXEC(r, 0x48, 0x0f, 0x07); /* SYSRETQ */
    assert_int_equal(v->rip, 0x401002);
    assert_int_equal(v->seg[SEG_CS].sel, 0x2b);
    assert_int_equal(v->seg[SEG_SS].sel, 0x23);
    assert_int_equal(flags_get(v), FLAG_IF | FLAG_DF | FLAG_CF | FLAG_ONE);
    assert_true(v->mode & MODE_CS64);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jmp_direct_checks_type_privilege_presence_limit),
        cmocka_unit_test(jmp_to_conforming_code_keeps_cpl),
        cmocka_unit_test(call_direct_pushes_and_ret_returns),
        cmocka_unit_test(call_gate_to_inner_level_copies_parameters),
        cmocka_unit_test(call_gate_checks),
        cmocka_unit_test(call_gate_of_16_bits_cuts_the_offset),
        cmocka_unit_test(ret_far_checks),
        cmocka_unit_test(iret_restores_what_the_privilege_level_may_change),
        cmocka_unit_test(iret_to_a_16_bit_stack_leaves_the_upper_half_of_esp),
        cmocka_unit_test(return_to_an_outer_level_clears_null_selectors),
        cmocka_unit_test(return_to_a_16_bit_stack_clears_the_high_half_of_rsp),
        cmocka_unit_test(iret_in_64_bit_mode_always_pops_the_stack),
        cmocka_unit_test(call_gate_of_64_bits_goes_to_a_null_stack_segment),
        cmocka_unit_test(real_mode_far_transfers_are_a_new_cs),
        cmocka_unit_test(sysenter_and_sysexit_use_fixed_flat_segments),
        cmocka_unit_test(syscall_and_sysret_save_rip_and_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
