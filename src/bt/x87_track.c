/* SPDX-License-Identifier: MIT
 *
 * FIP, FOP, FCS, FDP and FDS: which x87 instruction was the last one, and its operand. Nobody asks
 * for them but for the sake of saving them, so translated code only notes, at the end of a block
 * and where C code may look, the places of the last instruction and of the last one with an operand
 * (vcpu->x87_last, x87_mem). What is meant by that is worked out when C code is entered: selectors
 * change there only. An operand's address is stored before a register that it is made from changes.
 *
 * Where translated code is left in the middle, by a trap or by an access that the TLB does not
 * serve, the translation's bit masks tell which instructions were executed but not noted.
 *
 * Translated code never runs into an x87 error, so FDP, FDS and FOP do not change there at all if
 * the CPU sets them on errors only.
 */
#include "bt/xl.h"

#define PLACE_VALID 1 /* instructions are aligned: 0 is no place */

/* ---- making translations ---- */

void xl_x87_note(struct xl *x, bool mem)
{
    x->x87_last = x->n + 1;
    x->t->x87 |= bit64(x->n);
    if (!mem || x->v->fpu_dp_on_error)
        return;
    x->x87_mem = x->n + 1;
    x->t->x87_mem |= bit64(x->n);
}

static u32 place_of(const struct xl *x, unsigned n)
{
    return (u32)xl_place(x, &x->b->insn[n]) | PLACE_VALID;
}

/* Nothing for the end of the longest block. */
static u64 mask_of(unsigned n)
{
    return n < 64 ? bit64(n) : 0;
}

static void flush_mem(struct xl *x)
{
    if (!x->x87_mem)
        return;
    xl_put_ea(x, &x->b->insn[x->x87_mem - 1].in);
    asm_rm(&x->a, XO_MOV_STORE | X64_W, HR_T0, VCPU(fpu_dp));
    asm_mov_mem_imm32(&x->a, VCPU(x87_mem), place_of(x, x->x87_mem - 1u));
    x->t->x87_mem_done |= mask_of(x->n);
    x->x87_mem = 0;
}

void xl_x87_flush(struct xl *x)
{
    flush_mem(x);
    if (!x->x87_last)
        return;
    asm_mov_mem_imm32(&x->a, VCPU(x87_last), place_of(x, x->x87_last - 1u));
    x->t->x87_done |= mask_of(x->n);
    x->x87_last = 0;
}

static bool writes_gpr(const struct insn *in, unsigned gpr)
{
    for (unsigned k = 0; k < in->operands; k++) {
        const struct operand *o = &in->operand[k];
        if ((o->access & OPD_W) && (o->kind == OPD_GPR || o->kind == OPD_GPR8H) && o->reg == gpr)
            return true;
    }
    return false;
}

void xl_x87_before(struct xl *x, const struct insn *in)
{
    switch (op_row(in)->cls) {
    case CLASS_PLAIN:
    case CLASS_X87:
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_AVX: break;
    default: xl_x87_flush(x); return;
    }
    if (!x->x87_mem)
        return;
    const struct insn *mem = &x->b->insn[x->x87_mem - 1].in;
    if (writes_gpr(in, mem->base) || writes_gpr(in, mem->index))
        flush_mem(x);
}

/* ---- when C code is entered ---- */

static void set_last(struct vcpu *v, const struct cached_insn *ci)
{
    v->fpu_ip = ci->rip;
    if (!v->fpu_dp_on_error)
        v->fpu_op = (u32)((ci->in.opcode & 7) << 8 | ci->in.modrm);
    v->fpu_cs = v->seg[SEG_CS].sel;
}

static void settle(struct vcpu *v)
{
    const u8 *arena = v->interp->arena;
    if (v->x87_last)
        set_last(v, (const void *)(arena + (v->x87_last & ~PLACE_VALID)));
    if (v->x87_mem) {
        const struct cached_insn *ci = (const void *)(arena + (v->x87_mem & ~PLACE_VALID));
        v->fpu_ds = v->seg[ci->in.seg].sel;
    }
    v->x87_last = v->x87_mem = 0;
}

void x87_settle(struct vcpu *v)
{
    if (UNLIKELY(v->x87_last | v->x87_mem))
        settle(v);
}

/* The last instruction of the mask before n that was not noted, counted from 1; 0: none. */
static unsigned last_unnoted(u64 mask, u64 done, unsigned n)
{
    u64 before = mask64(n);
    done &= mask64(n + 1);
    if (done)
        before &= ~mask64(63 - (unsigned)__builtin_clzll(done));
    mask &= before;
    return mask ? 64 - (unsigned)__builtin_clzll(mask) : 0;
}

static u32 effective_address(const struct vcpu *v, const struct insn *in)
{
    u64 ea = (u64)in->disp;
    if (in->base < 8)
        ea += v->gpr[in->base];
    if (in->index < 8)
        ea += v->gpr[in->index] * in->scale;
    return (u32)ea;
}

void x87_catch_up(struct vcpu *v, const struct tcode *t, unsigned n)
{
    x87_settle(v);
    if (!t->x87)
        return;
    unsigned last = last_unnoted(t->x87, t->x87_done, n);
    unsigned mem = last_unnoted(t->x87_mem, t->x87_mem_done, n);
    if (last)
        set_last(v, &t->b->insn[last - 1]);
    if (mem) {
        const struct insn *in = &t->b->insn[mem - 1].in;
        v->fpu_dp = effective_address(v, in);
        v->fpu_ds = v->seg[in->seg].sel;
    }
}
