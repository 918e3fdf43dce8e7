/* SPDX-License-Identifier: MIT
 *
 * Sensitive instructions whose usual case is a few host instructions: the system flags, reading
 * segment registers, the time stamp counter. See thunk_sys.c.
 */
#include "bt/xl.h"

static void put_thunk(struct xl *x, const u8 *thunk)
{
    asm_call(&x->a, thunk);
}

static struct x64_mem selector(unsigned seg)
{
    return x64_at(HR_VCPU, (i32)(offsetof(struct vcpu, seg) + seg * sizeof(struct segment) +
                                 offsetof(struct segment, sel)));
}

static bool put_pushf(struct xl *x, const struct insn *in)
{
    if (in->opsize != 4)
        return false;
    struct x64_mem top = xl_stack_mem(x, REG_SP, -4, 4, true);
    put_thunk(x, x->bt->thunk.pushf);
    asm_rm(&x->a, XO_MOV_STORE, HR_T2, top);
    xl_adjust_sp(x, -4);
    return true;
}

static bool put_popf(struct xl *x, const struct insn *in)
{
    if (in->opsize != 4 || (x->mode & MODE_CPL))
        return false;
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_stack_mem(x, REG_SP, 0, 4, false));
    put_thunk(x, x->bt->thunk.popf);
    xl_adjust_sp(x, 4);
    return true;
}

/* 16 bits are written, whatever the size. */
static bool put_push_seg(struct xl *x, const struct insn *in)
{
    if (in->opsize != 4)
        return false;
    struct x64_mem top = xl_stack_mem(x, REG_SP, -4, 2, true);
    asm_rm(&x->a, XO_MOVZX16, HR_T1, selector(in->operand[0].reg));
    asm_rm(&x->a, XO_MOV_STORE | X64_66, HR_T1, top);
    xl_adjust_sp(x, -4);
    return true;
}

static bool put_mov_from_seg(struct xl *x, const struct insn *in)
{
    const struct operand *to = &in->operand[0];
    struct x64_mem sel = selector(in->operand[1].reg);
    if (to->kind == OPD_GPR) {
        u32 op = in->opsize == 2 ? XO_MOV_LOAD | X64_66 : XO_MOVZX16;
        asm_rm(&x->a, op, host_gpr(to->reg), sel);
        return true;
    }
    if (!xl_mem_ok(in))
        return false;
    struct x64_mem m = xl_mem(x, in, 2, true);
    asm_rm(&x->a, XO_MOVZX16, HR_T1, sel);
    asm_rm(&x->a, XO_MOV_STORE | X64_66, HR_T1, m);
    return true;
}

/* The selector is in HR_T0. */
static void put_load_seg(struct xl *x, unsigned seg)
{
    put_thunk(x, x->bt->thunk.load[(x->mode & MODE_CPL) == 3][seg]);
}

/* The thunks are for levels 0 and 3; SS is for C, and #UD. */
static bool can_load_seg(const struct xl *x, unsigned seg)
{
    unsigned cpl = x->mode & MODE_CPL;
    return (cpl == 0 || cpl == 3) && seg < SEG_COUNT && x->bt->thunk.load[0][seg];
}

static bool put_mov_to_seg(struct xl *x, const struct insn *in)
{
    const struct operand *from = &in->operand[1];
    if (!can_load_seg(x, in->operand[0].reg))
        return false;
    if (from->kind == OPD_GPR)
        asm_rr(&x->a, XO_MOVZX16, HR_T0, host_gpr(from->reg));
    else if (from->kind == OPD_MEM && xl_mem_ok(in))
        asm_rm(&x->a, XO_MOVZX16, HR_T0, xl_mem(x, in, 2, false));
    else
        return false;
    put_load_seg(x, in->operand[0].reg);
    return true;
}

static bool put_pop_seg(struct xl *x, const struct insn *in)
{
    if (in->opsize != 4 || !can_load_seg(x, in->operand[0].reg))
        return false;
    asm_rm(&x->a, XO_MOVZX16, HR_T0, xl_stack_mem(x, REG_SP, 0, 2, false));
    put_load_seg(x, in->operand[0].reg);
    xl_adjust_sp(x, 4);
    return true;
}

static bool put_cpuid(struct xl *x, const struct cached_insn *ci)
{
    put_thunk(x, x->bt->thunk.cpuid);
    if (ci->fn == uop_exec_end)
        xl_exit_jmp(x, ci->rip + ci->in.len);
    return true;
}

/* These end their blocks. */
static bool put_ring_change(struct xl *x, const struct cached_insn *ci, const u8 *thunk)
{
    asm_mov_imm32(&x->a, HR_T2, (u32)xl_place(x, ci));
    asm_jmp(&x->a, thunk);
    return true;
}

static bool put_sysenter(struct xl *x, const struct cached_insn *ci)
{
    return put_ring_change(x, ci, x->bt->thunk.sysenter);
}

static bool put_sysexit(struct xl *x, const struct cached_insn *ci)
{
    if ((x->mode & MODE_CPL) || ci->in.opsize == 8)
        return false;
    return put_ring_change(x, ci, x->bt->thunk.sysexit);
}

/* The instruction after STI is executed before an event is taken: it has to be in this block. */
static bool put_sti(struct xl *x)
{
    if ((x->mode & MODE_CPL) || x->n + 1u == x->b->insns)
        return false;
    put_thunk(x, x->bt->thunk.sti);
    return true;
}

static bool put_rdtsc(struct xl *x, const struct insn *in)
{
    bool user = x->mode & MODE_CPL;
    put_thunk(x, user ? x->bt->thunk.rdtsc_user : x->bt->thunk.rdtsc);
    if (in->op == OP_RDTSCP)
        asm_rm(&x->a, XO_MOV_LOAD, X64_RCX, VCPU(tsc_aux));
    return true;
}

/* What follows in the block is translated for the mode that this makes; exits of the block know it.
 * CLAC where the mode has no SMAP: either AC is set, or CR4.SMAP is clear and C does it. STAC there
 * is rare. */
static bool put_ac(struct xl *x, bool on)
{
    const struct thunks *t = &x->bt->thunk;
    bool smap = x->mode & MODE_SMAP;
    if ((x->mode & MODE_CPL) || (on && !smap))
        return false;
    if (!on && smap)
        return true;                     /* AC is clear */
    bool known = x->b->mode & MODE_SMAP; /* it was this block that has set AC */
    put_thunk(x, on ? t->stac : known ? t->clac : t->clac_if_smap);
    xl_set_mode(x, x->mode ^ MODE_SMAP);
    return true;
}

/* At other levels I/O permission is looked at, which may fault. */
static bool put_port(struct xl *x, const struct cached_insn *ci)
{
    if (x->mode & MODE_CPL)
        return false;
    asm_mov_imm32(&x->a, HR_T0, (u32)xl_place(x, ci));
    put_thunk(x, x->bt->thunk.port);
    x->bt->stats.callout_insns++;
    return true;
}

bool xl_has_thunk(const struct insn *in)
{
    switch (in->op) {
    case OP_CLI:
    case OP_STI:
    case OP_STAC:
    case OP_CLAC:
    case OP_PUSHF:
    case OP_POPF:
    case OP_PUSH_SEG:
    case OP_POP_SEG:
    case OP_MOV_SEG:
    case OP_RDTSC:
    case OP_RDTSCP: return in->opsize == 4 || in->op == OP_MOV_SEG;
    default: return false;
    }
}

bool xl_sys(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    switch (in->op) {
    case OP_CLI:
        if (x->mode & MODE_CPL)
            return false;
        put_thunk(x, x->bt->thunk.cli);
        return true;
    case OP_STI: return put_sti(x);
    case OP_CLD: return !(x->mode & MODE_DF);
    case OP_STAC: return put_ac(x, true);
    case OP_CLAC: return put_ac(x, false);
    case OP_PUSHF: return put_pushf(x, in);
    case OP_POPF: return put_popf(x, in);
    case OP_PUSH_SEG: return put_push_seg(x, in);
    case OP_MOV_SEG:
        return in->operand[0].kind == OPD_SEG ? put_mov_to_seg(x, in) : put_mov_from_seg(x, in);
    case OP_POP_SEG: return put_pop_seg(x, in);
    case OP_CPUID: return put_cpuid(x, ci);
    case OP_IN:
    case OP_OUT: return put_port(x, ci);
    case OP_SYSENTER: return put_sysenter(x, ci);
    case OP_SYSEXIT: return put_sysexit(x, ci);
    case OP_RDTSC:
    case OP_RDTSCP: return put_rdtsc(x, in);
    default: return false;
    }
}
