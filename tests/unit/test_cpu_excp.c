/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include "cpu/paging.h"

static struct rig *open_protected(void)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    return r;
}

/* What the run loop does with a fault: deliver it, and what delivery raises. False: shutdown. */
static bool settle(struct rig *r)
{
    (void)setjmp(r->landing);
    return excp_deliver_fault(r->v);
}

static void set_fault(struct rig *r, unsigned vector, bool has_error, u32 error)
{
    r->v->fault.vector = (u8)vector;
    r->v->fault.has_error = has_error;
    r->v->fault.error = error;
}

/* ---- frames ---- */

static void real_mode_pushes_flags_cs_ip_and_no_error(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    seg_load(v, SEG_SS, 0x2000);
    v->gpr[REG_SP] = 0x100;
    v->idtr = (struct table_reg){0, 0x3ff};
    poke32(r, VEC_GP * 4, 0x12345678);
    v->rip = 0x4321;
    flags_set(v, FLAG_IF | FLAG_TF | FLAG_AC | FLAG_CF);
    set_fault(r, VEC_GP, true, 0x55);
    assert_true(settle(r));
    assert_int_equal(v->gpr[REG_SP], 0xfa);
    assert_int_equal(peek16(r, 0x200fa), 0x4321);
    assert_int_equal(peek16(r, 0x200fc), 0xf000);
    assert_int_equal(peek16(r, 0x200fe), FLAG_IF | FLAG_TF | FLAG_CF | FLAG_ONE);
    assert_int_equal(v->seg[SEG_CS].sel, 0x1234);
    assert_int_equal(v->seg[SEG_CS].base, 0x12340);
    assert_int_equal(v->rip, 0x5678);
    assert_int_equal(flags_get(v) & (FLAG_IF | FLAG_TF | FLAG_AC), 0);
    rig_close(r);
}

static void real_mode_ivt_limit_leads_to_shutdown(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    r->v->idtr.limit = 0;
    set_fault(r, VEC_UD, false, 0);
    assert_false(settle(r));
    rig_close(r);
}

static void gate_of_same_level_pushes_eflags_cs_eip_error(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    flags_set(v, FLAG_IF | FLAG_NT | FLAG_ZF);
    set_fault(r, VEC_GP, true, 0x1234);
    assert_true(settle(r));
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 16);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), 0x1234);
    assert_int_equal(peek32(r, RIG_STACK0 - 12), 0x10000);
    assert_int_equal(peek32(r, RIG_STACK0 - 8), SEL_CODE0);
    assert_int_equal(peek32(r, RIG_STACK0 - 4), FLAG_IF | FLAG_NT | FLAG_ZF | FLAG_RF | FLAG_ONE);
    assert_int_equal(v->rip, 0xf000 + VEC_GP);
    assert_int_equal(v->rflags & (FLAG_IF | FLAG_NT | FLAG_RF), 0);
    rig_close(r);
}

static void trap_gate_leaves_if(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_UD, make_gate(SEL_CODE0, 0xf006, TYPE_TRAP32, 0, 0));
    flags_set(r->v, FLAG_IF);
    set_fault(r, VEC_UD, false, 0);
    assert_true(settle(r));
    assert_int_equal(r->v->rflags & FLAG_IF, FLAG_IF);
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK0 - 12);
    rig_close(r);
}

static void gate_to_inner_level_switches_stacks(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    rig_ring(r, 3);
    v->gpr[REG_SP] = 0x6ff0;
    set_fault(r, VEC_PF, true, 6);
    v->fault.cr2 = 0xabcd1234;
    assert_true(settle(r));
    assert_int_equal(v->cpl, 0);
    assert_int_equal(v->cr2, 0xabcd1234);
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 24);
    assert_int_equal(peek32(r, RIG_STACK0 - 4), SEL_DATA3);
    assert_int_equal(peek32(r, RIG_STACK0 - 8), 0x6ff0);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), SEL_CODE3);
    assert_int_equal(peek32(r, RIG_STACK0 - 24), 6);
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA0);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(v->seg[SEG_DS].sel, SEL_DATA3);
    rig_close(r);
}

static void gate_of_16_bits_pushes_words(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_GP, make_gate(SEL_CODE0, 0x9f00d, TYPE_INT16, 0, 0));
    set_fault(r, VEC_GP, true, 0x77);
    assert_true(settle(r));
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK0 - 8);
    assert_int_equal(peek16(r, RIG_STACK0 - 8), 0x77);
    assert_int_equal(peek16(r, RIG_STACK0 - 4), SEL_CODE0);
    assert_int_equal(r->v->rip, 0xf00d);
    rig_close(r);
}

static void vm86_is_interrupted_into_ring_0_with_its_segments_pushed(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    flags_set(v, FLAG_VM | FLAG_IF);
    v->cpl = 3;
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = seg_vm86((u16)(0x1000 + s));
    v->gpr[REG_SP] = 0xfff0;
    v->rip = 0x123;
    vcpu_mode_changed(v);
    set_fault(r, VEC_GP, true, 0);
    assert_true(settle(r));
    assert_int_equal(v->gpr[REG_SP], RIG_STACK0 - 40);
    assert_int_equal(peek32(r, RIG_STACK0 - 4), 0x1000 + SEG_GS);
    assert_int_equal(peek32(r, RIG_STACK0 - 8), 0x1000 + SEG_FS);
    assert_int_equal(peek32(r, RIG_STACK0 - 12), 0x1000 + SEG_DS);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), 0x1000 + SEG_ES);
    assert_int_equal(peek32(r, RIG_STACK0 - 20), 0x1000 + SEG_SS);
    assert_int_equal(peek32(r, RIG_STACK0 - 24), 0xfff0);
    assert_int_equal(peek32(r, RIG_STACK0 - 28), FLAG_VM | FLAG_IF | FLAG_RF | FLAG_ONE);
    assert_int_equal(peek32(r, RIG_STACK0 - 32), 0x1000 + SEG_CS);
    assert_int_equal(peek32(r, RIG_STACK0 - 36), 0x123);
    assert_true(v->seg[SEG_DS].unusable);
    assert_int_equal(v->mode & MODE_VM, 0);
    rig_close(r);
}

static void gate64_pushes_five_quadwords_on_an_aligned_stack(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    v->gpr[REG_SP] = RIG_STACK0 - 5;
    v->rip = 0xffff800000001234;
    set_fault(r, VEC_GP, true, 0x20);
    assert_true(settle(r));
    u64 top = RIG_STACK0 - 16;
    assert_int_equal(v->gpr[REG_SP], top - 48);
    assert_int_equal(peek64(r, top - 8), SEL_DATA0);
    assert_int_equal(peek64(r, top - 16), RIG_STACK0 - 5);
    assert_int_equal(peek64(r, top - 32), SEL_CODE64);
    assert_true(peek64(r, top - 40) == 0xffff800000001234);
    assert_int_equal(peek64(r, top - 48), 0x20);
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA0);
    rig_close(r);
}

static void gate64_uses_ist_and_null_ss_on_privilege_change(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_long(r);
    set_gate64(r, VEC_DF, SEL_CODE64, 0xffff80000000f008, TYPE_INT32, 0, 2);
    poke64(r, RIG_TSS + 36 + 8, 0x9008);
    rig_ring(r, 3);
    set_fault(r, VEC_DF, true, 0);
    assert_true(settle(r));
    assert_int_equal(v->gpr[REG_SP], 0x9000 - 48);
    assert_true(v->seg[SEG_SS].unusable);
    assert_int_equal(v->seg[SEG_SS].sel, 0);
    assert_int_equal(v->cpl, 0);
    assert_true(v->rip == 0xffff80000000f008);
    assert_true(v->mode & MODE_CS64);
    rig_close(r);
}

/* ---- gate checks ---- */

static void int_n_needs_the_dpl_of_the_gate(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, 0x21 * 8 + ERROR_IDT, EXEC(r, 0xcd, 0x21));
    assert_int_equal(r->v->rip, 0x10000);
    EXEC(r, 0xcd, 0x80);
    assert_int_equal(r->v->rip, 0xf080);
    assert_int_equal(peek32(r, RIG_STACK0 - 20), 0x10002);
    rig_ring(r, 3);
    r->v->rip = 0x10000;
    EXEC(r, 0xf1); /* INT1 does not ask */
    assert_int_equal(r->v->rip, 0xf001);
    rig_close(r);
}

static void gate_faults_name_the_vector_or_the_segment(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, 0x30, 0);
    ASSERT_FAULT(r, VEC_GP, 0x30 * 8 + ERROR_IDT, EXEC(r, 0xcd, 0x30));
    set_gate(r, 0x30, make_gate(SEL_CODE0, 0, TYPE_INT32, 0, 0) & ~((u64)SEG_PRESENT << 40));
    ASSERT_FAULT(r, VEC_NP, 0x30 * 8 + ERROR_IDT, EXEC(r, 0xcd, 0x30));
    set_gate(r, 0x30, make_gate(0, 0, TYPE_INT32, 0, 0));
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcd, 0x30));
    set_gate(r, 0x30, make_gate(SEL_DATA0, 0, TYPE_INT32, 0, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0, EXEC(r, 0xcd, 0x30));
    set_gate(r, 0x30, make_gate(SEL_CODE3, 0, TYPE_INT32, 0, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_CODE3 & ~3, EXEC(r, 0xcd, 0x30));
    set_desc(r, SEL_FREE, flat_desc(D_CODE & ~SEG_PRESENT));
    set_gate(r, 0x30, make_gate(SEL_FREE, 0, TYPE_INT32, 0, 0));
    ASSERT_FAULT(r, VEC_NP, SEL_FREE, EXEC(r, 0xcd, 0x30));
    r->v->idtr.limit = 0x30 * 8 + 6;
    ASSERT_FAULT(r, VEC_GP, 0x30 * 8 + ERROR_IDT, EXEC(r, 0xcd, 0x30));
    rig_close(r);
}

static void inner_stack_faults_are_invalid_tss(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    rig_ring(r, 3);
    poke32(r, RIG_TSS + 8, 0);
    ASSERT_FAULT(r, VEC_TS, 0, EXEC(r, 0xcd, 0x80));
    poke32(r, RIG_TSS + 8, SEL_DATA3);
    ASSERT_FAULT(r, VEC_TS, SEL_DATA3 & ~3, EXEC(r, 0xcd, 0x80));
    poke32(r, RIG_TSS + 8, SEL_CODE0);
    ASSERT_FAULT(r, VEC_TS, SEL_CODE0, EXEC(r, 0xcd, 0x80));
    set_desc(r, SEL_FREE, flat_desc((D_DATA | D_FLAT) & ~SEG_PRESENT));
    poke32(r, RIG_TSS + 8, SEL_FREE);
    ASSERT_FAULT(r, VEC_SS, SEL_FREE, EXEC(r, 0xcd, 0x80));
    set_desc(r, SEL_FREE, make_desc(0, 0xfff, D_DATA | SEG_DB)); /* ESP0 is beyond its limit */
    ASSERT_FAULT(r, VEC_SS, SEL_FREE, EXEC(r, 0xcd, 0x80));
    r->v->tr.limit = 8;
    ASSERT_FAULT(r, VEC_TS, SEL_TSS, EXEC(r, 0xcd, 0x80));
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK3);
    assert_int_equal(r->v->cpl, 3);
    rig_close(r);
}

/* ---- double and triple faults ---- */

static void external_events_set_ext_in_error_codes(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, 0x40, make_gate(SEL_DATA0, 0, TYPE_INT32, 0, 0));
    r->vector = 0x40;
    flags_set(r->v, FLAG_IF);
    vcpu_event_set(r->v, EVENT_INTR);
    ASSERT_FAULT(r, VEC_GP, SEL_DATA0 | ERROR_EXT, excp_boundary(r->v));
    assert_true(settle(r)); /* benign and contributory: no double fault */
    assert_int_equal(r->v->rip, 0xf000 + VEC_GP);
    rig_close(r);
}

static void contributory_twice_is_a_double_fault(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_NP, 0); /* #NP, then #GP */
    set_fault(r, VEC_NP, true, 0x10);
    assert_true(settle(r));
    assert_int_equal(r->v->rip, 0xf000 + VEC_DF);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), 0);
    assert_int_equal(peek32(r, RIG_STACK0 - 4) & FLAG_RF, 0); /* an abort */
    rig_close(r);
}

static void page_fault_then_contributory_is_a_double_fault(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_PF, 0);
    set_fault(r, VEC_PF, true, 0);
    assert_true(settle(r));
    assert_int_equal(r->v->rip, 0xf000 + VEC_DF);
    rig_close(r);
}

static void contributory_then_page_fault_is_a_page_fault(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    /* #GP finds its handler's stack... in the IDT's own page, absent for vector 13 only: the IDT
     * lies across two pages of which the first, with vectors 0..13, is not present. */
    v->cr4 = CR4_PSE;
    for (u32 i = 0; i < 1024; i++)
        poke32(r, RIG_TABLES + 0x1000 + i * 4, i << 12 | 7);
    poke32(r, RIG_TABLES, (RIG_TABLES + 0x1000) | 7);
    v->cr3 = RIG_TABLES;
    v->cr0 |= CR0_PG;
    vcpu_mode_changed(v);
    v->idtr.base = 0x21000 - 14 * 8;
    poke64(r, v->idtr.base + VEC_PF * 8, make_gate(SEL_CODE0, 0xf00e, TYPE_INT32, 0, 0));
    poke32(r, RIG_TABLES + 0x1000 + 0x20 * 4, 0);
    set_fault(r, VEC_GP, true, 0);
    assert_true(settle(r));
    assert_int_equal(v->rip, 0xf00e);
    assert_int_equal(v->cr2, v->idtr.base + VEC_GP * 8);
    rig_close(r);
}

static void benign_then_contributory_is_delivered_alone(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_UD, 0);
    set_fault(r, VEC_UD, false, 0);
    assert_true(settle(r));
    assert_int_equal(r->v->rip, 0xf000 + VEC_GP);
    assert_int_equal(peek32(r, RIG_STACK0 - 16), VEC_UD * 8 + ERROR_IDT + ERROR_EXT);
    rig_close(r);
}

static void fault_in_double_fault_is_shutdown(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    set_gate(r, VEC_NP, 0);
    set_gate(r, VEC_DF, 0);
    set_fault(r, VEC_NP, true, 0);
    assert_false(settle(r));
    rig_close(r);
}

/* ---- boundaries ---- */

static void boundary_takes_interrupts_only_with_if_and_outside_shadows(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    r->vector = 0x55;
    vcpu_event_set(v, EVENT_INTR);
    assert_false(excp_boundary(v));
    assert_false(excp_wakes(v));
    EXEC(r, 0xfb); /* STI */
    assert_true(excp_due(v));
    assert_false(excp_boundary(v)); /* the instruction after STI comes first */
    assert_true(excp_stepping(v));
    u64 rip = v->rip = 0x10001;
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf055);
    assert_int_equal(peek32(r, RIG_STACK0 - 12), rip);
    assert_int_equal(peek32(r, RIG_STACK0 - 4) & FLAG_IF, FLAG_IF);
    assert_int_equal(v->shadow, 0);
    rig_close(r);
}

static void boundary_sti_with_if_set_casts_no_shadow(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    flags_set(r->v, FLAG_IF);
    EXEC(r, 0xfb);
    assert_int_equal(r->v->shadow, 0);
    rig_close(r);
}

static void boundary_blocks_nmi_until_iret(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    vcpu_event_set(v, EVENT_NMI);
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf002);
    vcpu_event_set(v, EVENT_NMI);
    assert_false(excp_boundary(v));
    assert_false(excp_wakes(v));
    EXEC(r, 0xcf); /* IRET */
    assert_int_equal(v->rip, 0x10000);
    assert_true(excp_boundary(v));
    rig_close(r);
}

static void boundary_mov_ss_holds_off_everything_for_one_instruction(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    v->gpr[REG_AX] = SEL_DATA0;
    EXEC(r, 0x8e, 0xd0); /* MOV SS, AX */
    v->pending_db = DR6_BS;
    vcpu_event_set(v, EVENT_NMI);
    assert_false(excp_boundary(v));
    assert_true(excp_boundary(v)); /* the debug trap first */
    assert_int_equal(v->rip, 0xf001);
    assert_int_equal(v->dr[6] & DR6_BS, DR6_BS);
    rig_close(r);
}

static void boundary_orders_debug_trap_nmi_interrupt(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    r->vector = 0x55;
    for (unsigned i = 0; i < 256; i++) /* trap gates: IF stays */
        set_gate(r, i, make_gate(SEL_CODE0, 0xf000 + i, TYPE_TRAP32, 0, 0));
    flags_set(v, FLAG_IF);
    vcpu_event_set(v, EVENT_NMI | EVENT_INTR);
    v->pending_db = 1;
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf001);
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf002);
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf055);
    assert_false(excp_boundary(v));
    rig_close(r);
}

static void boundary_code_breakpoint_faults_before_and_rf_passes_it(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    v->gpr[REG_AX] = 0x10000;
    EXEC(r, 0x0f, 0x23, 0xc0); /* MOV DR0, EAX */
    v->gpr[REG_AX] = 2;        /* G0, execution */
    EXEC(r, 0x0f, 0x23, 0xf8); /* MOV DR7, EAX */
    v->rip = 0x10000;
    assert_true(v->mode & MODE_BREAK);
    assert_true(excp_boundary(v));
    assert_int_equal(v->rip, 0xf001);
    assert_int_equal(v->dr[6] & DR6_B, 1);
    assert_int_equal(peek32(r, RIG_STACK0 - 4) & FLAG_RF, 0);
    poke32(r, RIG_STACK0 - 4, FLAG_RF | FLAG_ONE);
    EXEC(r, 0xcf); /* IRET with RF */
    assert_int_equal(v->rip, 0x10000);
    assert_false(excp_boundary(v));
    v->rip = 0x10001; /* one instruction later RF is gone */
    assert_false(excp_boundary(v));
    assert_int_equal(v->rflags & FLAG_RF, 0);
    v->rip = 0x10000;
    assert_true(excp_boundary(v));
    rig_close(r);
}

static void data_breakpoints_trap_after_the_access(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    mem_write(v, 0x20010, 1, 4); /* TLB is warm */
    v->dr[1] = 0x20012;
    v->gpr[REG_AX] = 1 << 2 | 1 << 20 | 1 << 22; /* L1, write, two bytes */
    EXEC(r, 0x0f, 0x23, 0xf8);
    mem_read(v, 0x20010, 4);
    mem_write(v, 0x20010, 1, 2);
    assert_int_equal(v->pending_db, 0);
    mem_write(v, 0x20010, 1, 4);
    assert_int_equal(v->pending_db, 2);
    assert_null(mem_pointer(v, 0x20400, 4, ACCESS_WRITE));
    assert_true(excp_boundary(v));
    assert_int_equal(v->dr[6] & DR6_B, 2);
    rig_close(r);
}

static void general_detect_faults_and_is_cleared_by_delivery(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    r->v->gpr[REG_AX] = DR7_GD;
    EXEC(r, 0x0f, 0x23, 0xf8);
    ASSERT_FAULT(r, VEC_DB, 0, EXEC(r, 0x0f, 0x21, 0xc0)); /* MOV EAX, DR0 */
    assert_true(settle(r));
    assert_int_equal(r->v->dr[6] & DR6_BD, DR6_BD);
    assert_int_equal(r->v->dr[7] & DR7_GD, 0);
    rig_close(r);
}

static void single_step_does_not_trap_after_int_n(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    flags_set(v, FLAG_TF);
    vcpu_mode_changed(v);
    EXEC(r, 0xcd, 0x80);
    excp_stepped(v);
    assert_int_equal(v->pending_db, 0);
    assert_int_equal(v->mode & MODE_TF, 0);
    assert_int_equal(peek32(r, RIG_STACK0 - 4) & FLAG_TF, FLAG_TF);
    EXEC(r, 0xcf);
    assert_int_equal(v->mode & MODE_TF, MODE_TF);
    rig_close(r);
}

static void init_and_sipi_start_an_application_processor(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    v->index = 1;
    v->lstar = 0x1234;
    vcpu_event_set(v, EVENT_INIT);
    assert_true(excp_wakes(v));
    assert_true(excp_boundary(v));
    assert_true(v->wait_for_sipi);
    assert_int_equal(v->mode & MODE_PE, 0);
    assert_int_equal(v->lstar, 0x1234);
    vcpu_event_set(v, EVENT_NMI);
    assert_false(excp_wakes(v));
    vcpu_send_sipi(v, 0x9a);
    assert_true(excp_wakes(v));
    assert_true(excp_boundary(v));
    assert_int_equal(v->seg[SEG_CS].base, 0x9a000);
    assert_int_equal(v->seg[SEG_CS].sel, 0x9a00);
    assert_int_equal(v->rip, 0);
    assert_false(v->halted);
    rig_close(r);
}

static void hlt_ends_with_the_interrupt_that_returns_behind_it(void **state)
{
    (void)state;
    struct rig *r = open_protected();
    struct vcpu *v = r->v;
    flags_set(v, FLAG_IF);
    EXEC(r, 0xf4);
    assert_true(v->halted);
    assert_int_equal(v->rip, 0x10001);
    assert_false(excp_wakes(v));
    r->vector = 0x20;
    vcpu_event_set(v, EVENT_INTR);
    assert_true(excp_wakes(v));
    assert_true(excp_boundary(v));
    assert_false(v->halted);
    assert_int_equal(peek32(r, RIG_STACK0 - 12), 0x10001);
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xf4));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_mode_pushes_flags_cs_ip_and_no_error),
        cmocka_unit_test(real_mode_ivt_limit_leads_to_shutdown),
        cmocka_unit_test(gate_of_same_level_pushes_eflags_cs_eip_error),
        cmocka_unit_test(trap_gate_leaves_if),
        cmocka_unit_test(gate_to_inner_level_switches_stacks),
        cmocka_unit_test(gate_of_16_bits_pushes_words),
        cmocka_unit_test(vm86_is_interrupted_into_ring_0_with_its_segments_pushed),
        cmocka_unit_test(gate64_pushes_five_quadwords_on_an_aligned_stack),
        cmocka_unit_test(gate64_uses_ist_and_null_ss_on_privilege_change),
        cmocka_unit_test(int_n_needs_the_dpl_of_the_gate),
        cmocka_unit_test(gate_faults_name_the_vector_or_the_segment),
        cmocka_unit_test(inner_stack_faults_are_invalid_tss),
        cmocka_unit_test(external_events_set_ext_in_error_codes),
        cmocka_unit_test(contributory_twice_is_a_double_fault),
        cmocka_unit_test(page_fault_then_contributory_is_a_double_fault),
        cmocka_unit_test(contributory_then_page_fault_is_a_page_fault),
        cmocka_unit_test(benign_then_contributory_is_delivered_alone),
        cmocka_unit_test(fault_in_double_fault_is_shutdown),
        cmocka_unit_test(boundary_takes_interrupts_only_with_if_and_outside_shadows),
        cmocka_unit_test(boundary_sti_with_if_set_casts_no_shadow),
        cmocka_unit_test(boundary_blocks_nmi_until_iret),
        cmocka_unit_test(boundary_mov_ss_holds_off_everything_for_one_instruction),
        cmocka_unit_test(boundary_orders_debug_trap_nmi_interrupt),
        cmocka_unit_test(boundary_code_breakpoint_faults_before_and_rf_passes_it),
        cmocka_unit_test(data_breakpoints_trap_after_the_access),
        cmocka_unit_test(general_detect_faults_and_is_cleared_by_delivery),
        cmocka_unit_test(single_step_does_not_trap_after_int_n),
        cmocka_unit_test(init_and_sipi_start_an_application_processor),
        cmocka_unit_test(hlt_ends_with_the_interrupt_that_returns_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
