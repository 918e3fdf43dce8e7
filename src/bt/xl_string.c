/* SPDX-License-Identifier: MIT
 *
 * String instructions, upwards. Repeated ones run as they are where the window has their operands;
 * else they are call-outs, which work on whole pages at a time (cpu/op_string.c).
 */
#include "bt/xl.h"

enum {
    PREFIX_66 = 0x66,
    PREFIX_REPNE = 0xf2,
    PREFIX_REP = 0xf3,
    OPCODE_MOVS = 0xa5, /* one less: bytes */
    OPCODE_CMPS = 0xa7,
    OPCODE_STOS = 0xab,
    OPCODE_SCAS = 0xaf
};

static void put_step(struct xl *x, unsigned gpr, unsigned size)
{
    asm_rm(&x->a, XO_LEA, host_gpr(gpr), x64_at(host_gpr(gpr), (i32)size));
}

/* `op`: the form for 32 bits, of which that for bytes is one less. */
static u32 sized(u32 op, unsigned size)
{
    return size == 1 ? (op - 1) | X64_BYTE : size == 2 ? op | X64_66 : op;
}

static void put_lods(struct xl *x, const struct insn *in, unsigned size)
{
    asm_rm(&x->a, sized(XO_MOV_LOAD, size), X64_RAX,
           xl_string_mem(x, in->seg, REG_SI, size, false));
    put_step(x, REG_SI, size);
}

static void put_stos(struct xl *x, unsigned size)
{
    asm_rm(&x->a, sized(XO_MOV_STORE, size), X64_RAX, xl_string_mem(x, SEG_ES, REG_DI, size, true));
    put_step(x, REG_DI, size);
}

/* What the source holds, in HR_T1, with the second operand accessible: no effect comes before
 * that. */
static struct x64_mem put_pair(struct xl *x, const struct insn *in, unsigned size, bool write)
{
    asm_rm(&x->a, sized(XO_MOV_LOAD, size), HR_T1, xl_string_mem(x, in->seg, REG_SI, size, false));
    if (x->direct)
        return xl_string_mem(x, SEG_ES, REG_DI, size, write);
    asm_rm(&x->a, XO_MOV_STORE, HR_T1, VCPU(jump_to));
    struct x64_mem m = xl_string_mem(x, SEG_ES, REG_DI, size, write);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, VCPU(jump_to));
    return m;
}

static void put_movs(struct xl *x, const struct insn *in, unsigned size)
{
    struct x64_mem to = put_pair(x, in, size, true);
    asm_rm(&x->a, sized(XO_MOV_STORE, size), HR_T1, to);
    put_step(x, REG_SI, size);
    put_step(x, REG_DI, size);
}

static void put_cmps(struct xl *x, const struct insn *in, unsigned size)
{
    struct x64_mem with = put_pair(x, in, size, false);
    asm_rm(&x->a, sized(XO_CMP, size), HR_T1, with);
    put_step(x, REG_SI, size);
    put_step(x, REG_DI, size);
}

static void put_scas(struct xl *x, unsigned size)
{
    asm_rm(&x->a, sized(XO_CMP, size), X64_RAX, xl_string_mem(x, SEG_ES, REG_DI, size, false));
    put_step(x, REG_DI, size);
}

/* ---- repeated ---- */

/* So many elements can be accessed from anywhere in the window: what comes behind it is closed. */
#define REP_MOST_BITS 16
_Static_assert(GIB(4) + (4u << REP_MOST_BITS) <= WINDOW_BYTES, "REP stays in the window");

/* Leaves to C what repeats more often. */
static void put_count_check(struct xl *x)
{
    asm_copy64(&x->a, HR_T3, X64_RCX);
    asm_mov_imm32(&x->a, HR_T1, REP_MOST_BITS);
    asm_shrx(&x->a, X64_RCX, X64_RCX, HR_T1);
    xl_put_slow_unless_zero(x);
}

/* The host's instruction takes host addresses while it runs; if it traps they are taken back from
 * them (xl_string_trapped()). */
static void put_rep(struct xl *x, const struct insn *in, bool source)
{
    asm_rdgsbase(&x->a, HR_T2);
    if (source)
        asm_rm(&x->a, XO_LEA | X64_W, X64_RSI, x64_indexed(X64_RSI, HR_T2, 1, 0));
    asm_rm(&x->a, XO_LEA | X64_W, X64_RDI, x64_indexed(X64_RDI, HR_T2, 1, 0));
    if (in->opsize == 2 && (in->opcode & 1))
        asm_byte(&x->a, PREFIX_66);
    asm_byte(&x->a, in->prefixes & PFX_REPNE ? PREFIX_REPNE : PREFIX_REP);
    asm_byte(&x->a, in->opcode);
    asm_rr(&x->a, XO_GROUP3 | X64_W, XG3_NOT, HR_T2);
    if (source)
        asm_rm(&x->a, XO_LEA, X64_RSI, x64_indexed(X64_RSI, HR_T2, 1, 1));
    asm_rm(&x->a, XO_LEA, X64_RDI, x64_indexed(X64_RDI, HR_T2, 1, 1));
}

bool xl_string_trapped(const u8 *host, u64 gs, u64 *rsi, u64 *rdi)
{
    host += *host == PREFIX_66;
    if (*host != PREFIX_REP && *host != PREFIX_REPNE)
        return false;
    u8 op = host[1] | 1;
    if (op != OPCODE_MOVS && op != OPCODE_CMPS && op != OPCODE_STOS && op != OPCODE_SCAS)
        return false;
    if (op == OPCODE_MOVS || op == OPCODE_CMPS)
        *rsi = (u32)(*rsi - gs);
    *rdi = (u32)(*rdi - gs);
    return true;
}

/* A repeated instruction ends its block. */
static void put_end(struct xl *x)
{
    const struct cached_insn *ci = &x->b->insn[x->n];
    if (!xl_goes_on(x))
        xl_exit_jmp(x, ci->rip + ci->in.len);
}

/* MOVS and STOS of bytes and doublewords. */
static bool put_repeated_by_tlb(struct xl *x, const struct insn *in, u8 op)
{
    const struct thunks *t = &x->bt->thunk;
    bool wide = in->opcode & 1;
    if ((op != OPCODE_MOVS && op != OPCODE_STOS) || (wide && in->opsize != 4) || in->seg >= SEG_FS)
        return false;
    asm_call(&x->a, op == OPCODE_MOVS ? t->rep_movs[x->view][wide] : t->rep_stos[x->view][wide]);
    put_end(x);
    return true;
}

static bool put_repeated(struct xl *x, const struct insn *in)
{
    u8 op = in->opcode | 1;
    bool source = op == OPCODE_MOVS || op == OPCODE_CMPS;
    if (!x->direct && put_repeated_by_tlb(x, in, op))
        return true;
    if (!x->direct || (!source && op != OPCODE_STOS && op != OPCODE_SCAS) || in->seg >= SEG_FS)
        return false;
    put_count_check(x);
    put_rep(x, in, source);
    put_end(x);
    return true;
}

bool xl_string(struct xl *x, const struct insn *in)
{
    unsigned size = in->opcode & 1 ? in->opsize : 1;
    if (in->adsize != 4 || (x->mode & MODE_DF) || !xl_seg_ok(in->seg))
        return false;
    if (in->prefixes & (PFX_REP | PFX_REPNE))
        return put_repeated(x, in);
    switch (in->op) {
    case OP_LODS: put_lods(x, in, size); return true;
    case OP_STOS: put_stos(x, size); return true;
    case OP_MOVS: put_movs(x, in, size); return true;
    case OP_CMPS: put_cmps(x, in, size); return true;
    case OP_SCAS: put_scas(x, size); return true;
    default: return false;
    }
}
