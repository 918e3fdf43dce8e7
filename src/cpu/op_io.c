/* SPDX-License-Identifier: MIT
 *
 * Ports: IN, OUT, INS, OUTS (SDM 1 chapter 18).
 *
 * A port access cannot be taken back, so everything that can fault comes before it: permission, and
 * for INS the write to memory. Repeated forms stop between iterations when an event is waiting,
 * registers up to date, rip unchanged.
 */
#include "cpu/debug.h"
#include "cpu/fpu.h"
#include "cpu/op_int.h"
#include "cpu/op_sys.h"
#include "cpu/operand.h"
#include "cpu/port.h"
#include "cpu/tss.h"

#define ITERATIONS_AT_ONCE 4096

/* ---- permission (SDM 1 §18.5) ---- */

/* Every port's bit in the TSS's I/O map must be clear; two bytes are always read. */
static void check_map(struct vcpu *v, u16 port, unsigned size)
{
    if (!tss_is_32(&v->tr) || v->tr.limit < TSS32_LAST)
        cpu_raise_error(v, VEC_GP, 0);
    u32 at = (u32)mem_read_sys(v, tss_address(v, TSS32_IOMAP), 2) + port / 8;
    if (at + 1 > v->tr.limit)
        cpu_raise_error(v, VEC_GP, 0);
    u64 bits = mem_read_sys(v, tss_address(v, at), 2) >> port % 8;
    if (bits & mask64(size))
        cpu_raise_error(v, VEC_GP, 0);
}

static void check_port(struct vcpu *v, u16 port, unsigned size)
{
    if ((v->mode & MODE_PE) && (v->cpl > sys_iopl(v) || (v->mode & MODE_VM)))
        check_map(v, port, size);
}

/* ---- the access ---- */

static inline void watch(struct vcpu *v, u16 port, unsigned size)
{
    if ((v->mode & MODE_BREAK) && (v->cr4 & CR4_DE))
        debug_port_access(v, port, size);
}

static inline u32 port_read(struct vcpu *v, u16 port, unsigned size)
{
    fpu_put_away(v);
    u32 value = v->hooks.port_read(v->hooks.opaque, port, size);
    watch(v, port, size);
    return value;
}

static inline void port_write(struct vcpu *v, u16 port, u64 value, unsigned size)
{
    fpu_put_away(v);
    v->hooks.port_write(v->hooks.opaque, port, (u32)(value & mask64(size * 8)), size);
    watch(v, port, size);
}

/* ---- IN, OUT ---- */

static u16 port_operand(const struct vcpu *v, const struct operand *o, const struct insn *in)
{
    return o->kind == OPD_IMM ? (u8)in->imm : (u16)v->gpr[REG_DX];
}

void port_in(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    gpr_write(v, REG_AX, port_read(v, port_operand(v, &in->operand[1], in), size), size);
}

void port_out(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[1].size;
    port_write(v, port_operand(v, &in->operand[0], in), v->gpr[REG_AX], size);
}

static void op_in(struct vcpu *v, const struct insn *in)
{
    check_port(v, port_operand(v, &in->operand[1], in), in->operand[0].size);
    port_in(v, in);
    sys_done(v, in);
}

static void op_out(struct vcpu *v, const struct insn *in)
{
    check_port(v, port_operand(v, &in->operand[0], in), in->operand[1].size);
    port_out(v, in);
    sys_done(v, in);
}

/* ---- INS, OUTS ---- */

static void step(struct vcpu *v, const struct insn *in, unsigned reg, unsigned size)
{
    u64 delta = v->rflags & FLAG_DF ? -(u64)size : size;
    gpr_write(v, reg, v->gpr[reg] + delta, in->adsize);
}

static void ins_one(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    u16 port = (u16)v->gpr[REG_DX];
    u64 ea = gpr_read(v, REG_DI, in->adsize);
    check_port(v, port, size);
    u64 la = seg_linear(v, SEG_ES, ea, size, ACCESS_WRITE);
    mem_probe(v, la, size, ACCESS_WRITE);
    mem_write(v, la, port_read(v, port, size), size);
    step(v, in, REG_DI, size);
}

static void outs_one(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[1].size;
    u16 port = (u16)v->gpr[REG_DX];
    u64 ea = gpr_read(v, REG_SI, in->adsize);
    check_port(v, port, size);
    u64 value = mem_read(v, seg_linear(v, in->seg, ea, size, ACCESS_READ), size);
    port_write(v, port, value, size);
    step(v, in, REG_SI, size);
}

static void repeat(struct vcpu *v, const struct insn *in, exec_fn one)
{
    u64 count = gpr_read(v, REG_CX, in->adsize);
    for (unsigned done = 0; count; done++) {
        if (done && (done == ITERATIONS_AT_ONCE || !op_string_continues(v))) {
            v->shadow |= SHADOW_REP;
            return;
        }
        one(v, in);
        gpr_write(v, REG_CX, --count, in->adsize);
    }
    vcpu_advance(v, in);
}

static void op_ins(struct vcpu *v, const struct insn *in)
{
    ins_one(v, in);
    sys_done(v, in);
}

static void op_outs(struct vcpu *v, const struct insn *in)
{
    outs_one(v, in);
    sys_done(v, in);
}

static void op_rep_ins(struct vcpu *v, const struct insn *in)
{
    repeat(v, in, ins_one);
}

static void op_rep_outs(struct vcpu *v, const struct insn *in)
{
    repeat(v, in, outs_one);
}

exec_fn op_io_select(const struct insn *in)
{
    bool rep = in->prefixes & (PFX_REP | PFX_REPNE);
    switch (in->op) {
    case OP_IN: return op_in;
    case OP_OUT: return op_out;
    case OP_INS: return rep ? op_rep_ins : op_ins;
    case OP_OUTS: return rep ? op_rep_outs : op_outs;
    default: return NULL;
    }
}
