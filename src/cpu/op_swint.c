/* SPDX-License-Identifier: MIT
 *
 * Software interrupts: INT n, INT3, INTO, INT1 (SDM 2A "INT n").
 *
 * In virtual-8086 mode INT n needs IOPL 3; with CR4.VME a bitmap in the TSS may send it to the
 * virtual-8086 program's own vector table instead (SDM 3B §20.3.3).
 */
#include "cpu/flags.h"
#include "cpu/frame.h"
#include "cpu/op_sys.h"
#include "cpu/tss.h"

#define REDIRECTION_BYTES 32 /* the bitmap ends where the I/O map begins */

/* The vector's bit in the redirection bitmap: clear sends it to the 8086 program. */
static bool redirected_to_program(struct vcpu *v, unsigned vector)
{
    if (!tss_is_32(&v->tr) || v->tr.limit < TSS32_LAST)
        cpu_raise_error(v, VEC_GP, 0);
    u32 map = (u32)mem_read_sys(v, tss_address(v, TSS32_IOMAP), 2);
    u32 at = map - REDIRECTION_BYTES + vector / 8;
    if (map < REDIRECTION_BYTES || at > v->tr.limit)
        cpu_raise_error(v, VEC_GP, 0);
    return !(mem_read_sys(v, tss_address(v, at), 1) >> vector % 8 & 1);
}

/* As an 8086 does it, except that below IOPL 3 the interrupt flag is the virtual one. */
static void interrupt_program(struct vcpu *v, const struct insn *in, unsigned vector)
{
    u64 image = flags_get(v);
    u64 clears = FLAG_TF | FLAG_IF;
    if (sys_iopl(v) < 3) {
        clears = FLAG_TF | FLAG_VIF;
        image = (image & ~(u64)FLAG_IF) | FLAG_IOPL | (image & FLAG_VIF ? FLAG_IF : 0);
    }
    u32 entry = (u32)mem_read(v, vector * 4, 4);
    struct frame f = frame_here(v);
    frame_push(v, &f, image, 2);
    frame_push(v, &f, v->seg[SEG_CS].sel, 2);
    frame_push(v, &f, sys_next_ip(v, in), 2);
    frame_commit(v, &f);
    seg_set_cs_real(v, (u16)(entry >> 16));
    v->rip = entry & 0xffff;
    v->rflags &= ~clears;
    vcpu_mode_changed(v);
}

static void op_int(struct vcpu *v, const struct insn *in)
{
    unsigned vector = in->imm & 0xff;
    if (v->mode & MODE_VM) {
        if ((v->cr4 & CR4_VME) && redirected_to_program(v, vector)) {
            interrupt_program(v, in, vector);
            return;
        }
        if (sys_iopl(v) < 3)
            cpu_raise_error(v, VEC_GP, 0);
    }
    excp_interrupt(v, vector, INT_SOFTWARE, false, 0, sys_next_ip(v, in));
}

/* INT3 and INTO do not look at IOPL. */
static void op_int3(struct vcpu *v, const struct insn *in)
{
    excp_interrupt(v, VEC_BP, INT_SOFTWARE, false, 0, sys_next_ip(v, in));
}

static void op_into(struct vcpu *v, const struct insn *in)
{
    if (flags_get(v) & FLAG_OF)
        excp_interrupt(v, VEC_OF, INT_SOFTWARE, false, 0, sys_next_ip(v, in));
    else
        vcpu_advance(v, in);
}

/* A debug trap without a cause of its own in DR6; the gate's DPL does not count. Traps that MOV SS
 * has held back come along with it. */
static void op_int1(struct vcpu *v, const struct insn *in)
{
    excp_interrupt(v, VEC_DB, INT_ICEBP, false, 0, sys_next_ip(v, in));
    if (v->pending_db)
        v->dr[6] = (v->dr[6] & ~(u64)DR6_B) | v->pending_db;
    v->pending_db = 0;
}

exec_fn op_swint_select(const struct insn *in)
{
    switch (in->op) {
    case OP_INT: return op_int;
    case OP_INT3: return op_int3;
    case OP_INTO: return op_into;
    case OP_INT1: return op_int1;
    default: return NULL;
    }
}
