/* SPDX-License-Identifier: MIT
 *
 * x87, MMX, SSE and AVX: the guest's own instruction on the guest's own registers. The first one of
 * a translation makes sure that they are live in the host's and that no x87 error can be pending.
 *
 * SIMD exceptions and misaligned operands trap on the host as they do on the guest
 * (callout_trap()).
 */
#include "bt/xl.h"
#include "cpu/op_fpu.h"
#include "cpu/optable.h"

_Static_assert(offsetof(struct vcpu, fpu_unmasked) == offsetof(struct vcpu, fpu_live) + 1,
               "both are looked at as one word");

/* Nothing but scratch registers changes. */
static void put_check(struct xl *x, const struct cached_insn *ci)
{
    bool first = asm_here(&x->a) == x->t->entry;
    asm_copy64(&x->a, HR_T3, X64_RCX);
    asm_rm(&x->a, XO_MOVZX16, X64_RCX, VCPU(fpu_live));
    asm_rm(&x->a, XO_LEA, X64_RCX, x64_at(X64_RCX, -1));
    u8 *ready = asm_jrcxz(&x->a);
    x->fpu.field = asm_jmp(&x->a, NULL);
    asm_short_here(&x->a, ready);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    x->fpu.resume = asm_here(&x->a);
    if (first)
        x->t->live_entry = x->fpu.resume;
    x->fpu.place = xl_place(x, ci);
    x->fpu_checked = true;
    x->t->fpu = true;
}

void xl_finish_fpu(struct xl *x)
{
    if (!x->fpu_checked)
        return;
    struct asm_buf *a = &x->cold;
    asm_rel32_here(a, x->fpu.field);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_mov_imm32(a, HR_T0, (u32)x->fpu.place);
    asm_call(a, x->bt->thunk.fpu);
    asm_jmp(a, x->fpu.resume);
}

/* The instruction for the host, with m (or NULL) as its memory operand. Registers keep their
 * numbers. */
static void put_insn(struct xl *x, const struct insn *in, union stub_code c,
                     const struct x64_mem *m)
{
    static const u32 map[4] = {0, X64_0F, X64_0F38, X64_0F3A};
    static const u32 mandatory[4] = {0, X64_66, X64_F3, X64_F2};
    unsigned reg = modrm_reg(in), rm = modrm_rm(in);
    if (c.vex) {
        struct x64_vex vex = {
            .opcode = c.opcode, .map = c.map, .pp = c.pp, .w = c.rex & REX_W, .l = c.vex_l};
        if (m)
            asm_vex_rm(&x->a, vex, reg, c.vex_v, *m);
        else if (c.has_modrm)
            asm_vex_rr(&x->a, vex, reg, c.vex_v, rm);
        else
            asm_vex_none(&x->a, vex, c.vex_v);
    } else {
        u32 op = c.opcode | map[c.map] | mandatory[c.pp];
        if (m)
            asm_rm(&x->a, op, reg, *m);
        else if (c.has_modrm)
            asm_rr(&x->a, op, reg, rm);
        else
            asm_op(&x->a, op);
    }
    if (c.has_imm)
        asm_byte(&x->a, c.imm);
}

static bool names_esp(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_GPR && in->operand[k].reg == REG_SP)
            return true;
    }
    return false;
}

static bool known_size(unsigned size)
{
    return size == 1 || size == 2 || size == 4 || size == 8 || size == 10 || size == 16 ||
           size == 32;
}

/* ---- control and status word: these leave FIP and its likes alone ---- */

enum x87_control { OPC_D9 = 0xd9, D9_FLDCW = 5, D9_FNSTCW = 7, OPC_DD = 0xdd, DD_FNSTSW = 7 };

/* A control word that masks all exceptions; others are left to C. */
static void put_fldcw(struct xl *x, const struct insn *in)
{
    asm_rm(&x->a, XO_MOVZX16, HR_T1, xl_mem(x, in, 2, false));
    asm_copy64(&x->a, HR_T3, X64_RCX);
    asm_rr(&x->a, XO_MOV_STORE, HR_T1, X64_RCX);
    asm_not(&x->a, X64_RCX);
    asm_mov_imm32(&x->a, HR_T2, X87_EXCEPTIONS);
    asm_pext(&x->a, X64_RCX, X64_RCX, HR_T2);
    xl_put_slow_unless_zero(x);
    asm_rm(&x->a, XO_MOV_STORE, HR_T1, VCPU(jump_to));
    asm_rm(&x->a, OPC_D9, D9_FLDCW, VCPU(jump_to));
}

static bool put_control(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    bool mem = in->operand[0].kind == OPD_MEM;
    if (!fpu_allowed(x->b->mode, CHECK_X87) || (mem && !xl_mem_ok(in)))
        return false;
    if (!x->fpu_checked)
        put_check(x, ci);
    if (in->op == OP_FLDCW)
        put_fldcw(x, in);
    else if (in->op == OP_FNSTCW)
        asm_rm(&x->a, OPC_D9, D9_FNSTCW, xl_mem(x, in, 2, true));
    else if (mem)
        asm_rm(&x->a, OPC_DD, DD_FNSTSW, xl_mem(x, in, 2, true));
    else
        asm_bytes(&x->a, (const u8[]){0xdf, 0xe0}, 2); /* FNSTSW AX */
    return true;
}

/* What the verifier cannot read, because its Capstone does not know it, is left to C. */
static bool unreadable(const struct insn *in)
{
    unsigned feature = op_row(in)->feature;
    return in->op == OP_VBROADCASTI128 || feature == CPUID_VAES || feature == CPUID_VPCLMULQDQ ||
           feature == CPUID_GFNI;
}

bool xl_fpu(struct xl *x, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    struct fpu_plan plan;
    if (in->op == OP_FLDCW || in->op == OP_FNSTCW || in->op == OP_FNSTSW)
        return put_control(x, ci);
    if (!op_fpu_plan(x->v, in, &plan) || !fpu_allowed(x->b->mode, plan.check) || names_esp(in) ||
        unreadable(in))
        return false;
    bool mem = plan.use != USE_NONE;
    if (mem && (!xl_mem_ok(in) || !known_size(plan.size)))
        return false;
    if (!x->fpu_checked)
        put_check(x, ci);
    struct x64_mem m;
    if (mem)
        m = xl_mem(x, in, plan.size, plan.use == USE_WRITE);
    put_insn(x, in, fpu_stub_encode(in), mem ? &m : NULL);
    if (plan.check == CHECK_X87)
        xl_x87_note(x, mem);
    return true;
}
