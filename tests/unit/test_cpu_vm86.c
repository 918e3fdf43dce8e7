/* SPDX-License-Identifier: MIT */
#include "cpu_rig.h"

#include "cpu/tss.h"

enum { STACK = 0x30000, IO_MAP = 0x68 + 32 };

/* A virtual-8086 program at 2000:0100, stack 3000:0100; the redirection bitmap and an I/O map lie
 * behind the TSS, all zero. */
static struct rig *open_vm86(unsigned iopl, u64 cr4)
{
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    poke16(r, RIG_TSS + TSS32_IOMAP, IO_MAP);
    v->tr.limit = 0x3000;
    v->cr4 = cr4;
    flags_set(v, FLAG_VM | FLAG_IF | (u64)iopl << FLAG_IOPL_SHIFT);
    v->cpl = 3;
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = seg_vm86(0x2000);
    v->seg[SEG_SS] = seg_vm86(STACK >> 4);
    v->gpr[REG_SP] = 0x100;
    v->rip = 0x100;
    vcpu_mode_changed(v);
    return r;
}

static void iret_enters_vm86_with_all_segments(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    u32 sp = RIG_STACK0 - 36;
    const u32 image[] = {0x12340100, 0x2000, FLAG_VM | FLAG_IOPL | FLAG_ONE,
                         0xfffe,     0x3000, 0x1111,
                         0x2222,     0x3333, 0x4444};
    for (u32 i = 0; i < ARRAY_LEN(image); i++)
        poke32(r, sp + i * 4, image[i]);
    v->gpr[REG_SP] = sp;
    EXEC(r, 0xcf);
    assert_true(v->mode & MODE_VM);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->rip, 0x100);
    assert_int_equal(v->seg[SEG_CS].base, 0x20000);
    assert_int_equal(v->seg[SEG_SS].sel, 0x3000);
    assert_int_equal(v->seg[SEG_ES].sel, 0x1111);
    assert_int_equal(v->seg[SEG_DS].sel, 0x2222);
    assert_int_equal(v->seg[SEG_FS].sel, 0x3333);
    assert_int_equal(v->seg[SEG_GS].base, 0x44440);
    assert_int_equal(v->gpr[REG_SP], 0xfffe);
    rig_close(r);
}

static void below_iopl_3_the_flag_instructions_fault(void **state)
{
    (void)state;
    struct rig *r = open_vm86(0, 0);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xfa)); /* CLI */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xfb)); /* STI */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x9c)); /* PUSHF */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x9d)); /* POPF */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcf)); /* IRET */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcd, 0x21));
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xf4)); /* HLT, whatever IOPL */
    assert_false(FAULTS(r, EXEC(r, 0xcc)));    /* INT3 does not ask */
    assert_int_equal(r->v->cpl, 0);
    rig_close(r);
}

static void at_iopl_3_they_work_on_the_real_flags(void **state)
{
    (void)state;
    struct rig *r = open_vm86(3, 0);
    struct vcpu *v = r->v;
    EXEC(r, 0xfa);
    assert_int_equal(v->rflags & FLAG_IF, 0);
    EXEC(r, 0x9c);
    assert_int_equal(peek16(r, STACK + 0xfe), FLAG_IOPL | FLAG_ONE);
    poke16(r, STACK + 0xfe, FLAG_IF | FLAG_NT); /* IOPL stays */
    EXEC(r, 0x9d);
    assert_int_equal(flags_get(v), FLAG_VM | FLAG_IF | FLAG_NT | FLAG_IOPL | FLAG_ONE);
    EXEC(r, 0xcd, 0x80); /* through the IDT to ring 0 */
    assert_int_equal(v->cpl, 0);
    assert_int_equal(v->rip, 0xf080);
    rig_close(r);
}

static void int_n_to_a_gate_of_ring_3_code_faults(void **state)
{
    (void)state;
    struct rig *r = open_vm86(3, 0);
    set_gate(r, 0x21, make_gate(SEL_CODE3, 0, TYPE_INT32, 3, 0));
    ASSERT_FAULT(r, VEC_GP, SEL_CODE3 & ~3, EXEC(r, 0xcd, 0x21));
    rig_close(r);
}

static void vme_gives_a_virtual_interrupt_flag(void **state)
{
    (void)state;
    struct rig *r = open_vm86(0, CR4_VME);
    struct vcpu *v = r->v;
    EXEC(r, 0xfb); /* STI */
    assert_true(v->rflags & FLAG_VIF);
    EXEC(r, 0x9c); /* PUSHF shows IOPL 3 and VIF as IF */
    assert_int_equal(peek16(r, STACK + 0xfe), FLAG_IOPL | FLAG_IF | FLAG_ONE);
    EXEC(r, 0xfa); /* CLI */
    assert_false(v->rflags & FLAG_VIF);
    assert_true(v->rflags & FLAG_IF);
    EXEC(r, 0x9d); /* POPF sets VIF again */
    assert_true(v->rflags & FLAG_VIF);
    assert_int_equal(v->rflags & FLAG_IOPL, 0);
    rig_close(r);
}

static void vme_with_an_interrupt_pending_faults_when_it_would_be_enabled(void **state)
{
    (void)state;
    struct rig *r = open_vm86(0, CR4_VME);
    r->v->rflags |= FLAG_VIP;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xfb));
    poke16(r, STACK + 0x100, FLAG_IF);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x9d));
    poke16(r, STACK + 0x100, FLAG_TF);
    r->v->rflags &= ~(u64)FLAG_VIP;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x9d));
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0x66, 0x9c)); /* no VME for PUSHFD */
    rig_close(r);
}

static void vme_redirects_int_n_by_the_bitmap(void **state)
{
    (void)state;
    struct rig *r = open_vm86(0, CR4_VME);
    struct vcpu *v = r->v;
    v->rflags |= FLAG_VIF;
    poke32(r, 0x21 * 4, 0x44440123);
    EXEC(r, 0xcd, 0x21); /* bit clear: the program's own vector */
    assert_true(v->mode & MODE_VM);
    assert_int_equal(v->seg[SEG_CS].base, 0x44440);
    assert_int_equal(v->rip, 0x123);
    assert_int_equal(peek16(r, STACK + 0xfa), 0x102);
    assert_int_equal(peek16(r, STACK + 0xfc), 0x2000);
    assert_int_equal(peek16(r, STACK + 0xfe), FLAG_IOPL | FLAG_IF | FLAG_ONE);
    assert_false(v->rflags & FLAG_VIF);
    EXEC(r, 0xcf); /* and back */
    assert_int_equal(v->rip, 0x102);
    assert_true(v->rflags & FLAG_VIF);
    r->ram[RIG_TSS + IO_MAP - 32 + 0x21 / 8] = 1 << 0x21 % 8;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xcd, 0x21)); /* bit set, IOPL 0 */
    rig_close(r);
}

static void pvi_gives_ring_3_a_virtual_interrupt_flag(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    rig_ring(r, 3);
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xfb));
    v->cr4 = CR4_PVI;
    EXEC(r, 0xfb);
    assert_true(v->rflags & FLAG_VIF);
    assert_false(v->rflags & FLAG_IF);
    v->rflags |= FLAG_VIP;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xfb));
    EXEC(r, 0xfa);
    assert_false(v->rflags & FLAG_VIF);
    rig_close(r);
}

/* ---- ports ---- */

static void ports_follow_the_io_map_in_vm86_and_above_iopl(void **state)
{
    (void)state;
    struct rig *r = open_vm86(3, 0);
    struct vcpu *v = r->v;
    r->port_value = 0x12345678;
    v->gpr[REG_DX] = 0x3f8;
    v->gpr[REG_AX] = 0;
    EXEC(r, 0xec); /* IN AL, DX */
    assert_int_equal(v->gpr[REG_AX], 0x78);
    assert_int_equal(r->last_port, 0x3f8);
    r->ram[RIG_TSS + IO_MAP + 0x3f8 / 8] = 2; /* port 3F9h */
    assert_false(FAULTS(r, EXEC(r, 0xec)));
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xed)); /* IN AX, DX */
    assert_int_equal(r->port_reads, 2);
    v->tr.limit = IO_MAP + 0x3f8 / 8; /* the second byte of the map is beyond */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xec));
    rig_close(r);
}

static void ports_are_free_up_to_iopl(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    rig_protected(r);
    rig_ring(r, 3);
    r->v->tr.limit = TSS32_LAST; /* no map */
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xe6, 0x80));
    r->v->rflags |= FLAG_IOPL;
    r->v->gpr[REG_AX] = 0x55;
    EXEC(r, 0xe6, 0x80); /* OUT 80h, AL */
    assert_int_equal(r->last_port, 0x80);
    assert_int_equal(r->last_out, 0x55);
    rig_close(r);
}

static void ins_does_not_read_the_port_when_memory_faults(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    v->gpr[REG_DX] = 0x1f0;
    v->gpr[REG_CX] = 4;
    set_desc(r, SEL_FREE, make_desc(0x20000, 5, D_DATA));
    seg_load(v, SEG_ES, SEL_FREE);
    v->gpr[REG_DI] = 0;
    r->port_value = 0xaabb;
    ASSERT_FAULT(r, VEC_GP, 0, EXEC(r, 0xf3, 0x66, 0x6d)); /* REP INSW */
    assert_int_equal(r->port_reads, 3);
    assert_int_equal(v->gpr[REG_CX], 1);
    assert_int_equal(v->gpr[REG_DI], 6);
    assert_int_equal(peek16(r, 0x20004), 0xaabb);
    assert_int_equal(v->rip, 0x10000);
    rig_close(r);
}

static void rep_outs_stops_between_iterations_for_events(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    v->gpr[REG_DX] = 0x1f0;
    v->gpr[REG_CX] = 10;
    v->gpr[REG_SI] = 0x20000;
    vcpu_event_set(v, EVENT_NMI);
    EXEC(r, 0xf3, 0x6e);
    assert_int_equal(r->port_writes, 1);
    assert_int_equal(v->gpr[REG_CX], 9);
    assert_int_equal(v->rip, 0x10000);
    assert_true(excp_boundary(v));
    assert_true(peek32(r, RIG_STACK0 - 4) & FLAG_RF);
    v->rip = 0x10000;
    EXEC(r, 0xf3, 0x6e);
    assert_int_equal(r->port_writes, 10);
    assert_int_equal(v->rip, 0x10002);
    assert_int_equal(v->gpr[REG_SI], 0x2000a);
    rig_close(r);
}

static void port_breakpoints_need_cr4_de(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    struct vcpu *v = r->v;
    rig_protected(r);
    v->dr[2] = 0x61;
    v->gpr[REG_AX] = 1 << 4 | 2 << 24; /* L2, I/O */
    EXEC(r, 0x0f, 0x23, 0xf8);
    EXEC(r, 0xe4, 0x61);
    assert_int_equal(v->pending_db, 0);
    v->cr4 = CR4_DE;
    EXEC(r, 0xe4, 0x61);
    assert_int_equal(v->pending_db, 4);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iret_enters_vm86_with_all_segments),
        cmocka_unit_test(below_iopl_3_the_flag_instructions_fault),
        cmocka_unit_test(at_iopl_3_they_work_on_the_real_flags),
        cmocka_unit_test(int_n_to_a_gate_of_ring_3_code_faults),
        cmocka_unit_test(vme_gives_a_virtual_interrupt_flag),
        cmocka_unit_test(vme_with_an_interrupt_pending_faults_when_it_would_be_enabled),
        cmocka_unit_test(vme_redirects_int_n_by_the_bitmap),
        cmocka_unit_test(pvi_gives_ring_3_a_virtual_interrupt_flag),
        cmocka_unit_test(ports_follow_the_io_map_in_vm86_and_above_iopl),
        cmocka_unit_test(ports_are_free_up_to_iopl),
        cmocka_unit_test(ins_does_not_read_the_port_when_memory_faults),
        cmocka_unit_test(rep_outs_stops_between_iterations_for_events),
        cmocka_unit_test(port_breakpoints_need_cr4_de),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
