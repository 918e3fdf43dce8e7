/* SPDX-License-Identifier: MIT
 *
 * One random instruction: bytes are drawn until they decode to something that a program may
 * contain. Mostly registers are set first so that its memory operand is somewhere interesting.
 */
#include "cpu/decode.h"
#include "cpu/feature.h"
#include "cpu/optable.h"
#include "cpu/vcpu.h"
#include "program.h"

/* ---- which ---- */

/* In no ring. */
static bool never(const struct insn *in)
{
    switch (in->op) {
    case OP_RDTSC:
    case OP_RDTSCP:
    case OP_RDRAND:
    case OP_RDSEED:
    case OP_RDPMC: /* differ from run to run */
    case OP_HLT:
    case OP_POPF: /* pieces of their own */
    case OP_IRET:
    case OP_SYSENTER:
    case OP_JMP_FAR:
    case OP_CALL_FAR:
    case OP_RET_FAR: return true;
    case OP_INT: { /* those with an error code, and the kernel's */
        unsigned n = in->imm & 0xff;
        return n == 8 || (n >= 10 && n <= 14) || n == 17 ||
               (n >= INT_SERVICE && n <= INT_OPEN_SERVICE);
    }
    default: return false;
    }
}

/* What ring 0 could do to its own kernel. */
static bool never_in_ring0(const struct insn *in)
{
    switch (in->op) {
    case OP_PUSH_SEG:
    case OP_PUSHF:
    case OP_CLI:
    case OP_STI:
    case OP_CLTS:
    case OP_SMSW:
    case OP_SGDT:
    case OP_SIDT:
    case OP_SLDT:
    case OP_STR:
    case OP_LAR:
    case OP_LSL:
    case OP_VERR:
    case OP_VERW:
    case OP_ARPL:
    case OP_IN:
    case OP_OUT:
    case OP_INT:
    case OP_INT3:
    case OP_INTO:
    case OP_WBINVD: return false;
    case OP_MOV_SEG:
    case OP_POP_SEG: return in->operand[0].kind == OPD_SEG && in->operand[0].reg == SEG_SS;
    default: return true;
    }
}

static bool writes_esp(const struct insn *in)
{
    if (in->op == OP_LEAVE || in->op == OP_ENTER)
        return true;
    for (unsigned k = 0; k < in->operands; k++) {
        const struct operand *o = &in->operand[k];
        if (o->kind == OPD_GPR && o->reg == REG_SP && (o->access & OPD_W))
            return true;
    }
    return false;
}

static const struct operand *mem_operand(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_MEM)
            return &in->operand[k];
    }
    return NULL;
}

/* Loads any selector, null ones with an RPL too: IRET to an outer ring makes those 0, so that ticks
 * would leave a trace. */
static bool loads_any_selector(const struct insn *in)
{
    switch (in->op) {
    case OP_LDS:
    case OP_LES:
    case OP_LFS:
    case OP_LGS: return true;
    case OP_MOV_SEG:
    case OP_POP_SEG: return in->operand[0].kind == OPD_SEG;
    default: return false;
    }
}

static bool wanted(const struct maker *m, const struct insn *in)
{
    const struct op_row *row = op_row(in);
    if (!feature_shown(m->features, row->feature) || never(in) || row->cls == CLASS_BRANCH ||
        (m->p->config.ticks && loads_any_selector(in)))
        return false;
    if (maker_can_ring0(m)) {
        if (row->cls == CLASS_SENSITIVE && never_in_ring0(in))
            return false;
        if (in->adsize == 2 && mem_operand(in)) /* the kernel is below 64 KiB */
            return false;
    }
    return true;
}

/* ---- bytes ---- */

static unsigned draw_prefixes(struct rng *r, u8 *out, bool mandatory)
{
    static const u8 legacy[] = {0x66, 0x66, 0x66, 0xf2, 0xf3, 0x67, 0x26, 0x2e,
                                0x36, 0x3e, 0x64, 0x65, 0x64, 0x65, 0xf0, 0xf0};
    static const u8 selecting[] = {0x66, 0xf2, 0xf3};
    unsigned n = 0;
    while (rng_one_in(r, 5) && n < 4)
        out[n++] = RNG_PICK(r, legacy);
    if (mandatory && !rng_one_in(r, 3))
        out[n++] = RNG_PICK(r, selecting);
    return n;
}

static unsigned draw_vex(struct rng *r, u8 *out)
{
    if (rng_one_in(r, 4)) {
        out[0] = 0xc5;
        out[1] = 0xc0 | (u8)rng_next(r);
        return 2;
    }
    out[0] = 0xc4;
    out[1] = (u8)(0xc0 | (rng_next(r) & 0x20) | (1 + rng_below(r, 3)));
    out[2] = (u8)rng_next(r);
    return 3;
}

static void draw_bytes(struct rng *r, u8 out[INSN_MAX_BYTES])
{
    unsigned n = 0, kind = rng_below(r, 16);
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        out[i] = (u8)rng_next(r);
    if (kind < 10) {
        n = draw_prefixes(r, out, false);
        if (rng_one_in(r, 3))
            out[n++] = 0x0f;
        n++;
    } else if (kind < 12) {
        n = draw_prefixes(r, out, false);
        out[n++] = (u8)(0xd8 | rng_below(r, 8));
    } else if (kind < 15) {
        n = draw_prefixes(r, out, true);
        out[n++] = 0x0f;
        if (rng_one_in(r, 4))
            out[n++] = rng_one_in(r, 2) ? 0x38 : 0x3a;
        n++;
    } else {
        n = draw_vex(r, out) + 1;
    }
    if (n < INSN_MAX_BYTES && rng_one_in(r, 3))
        out[n] |= 0xc0;
}

/* ---- operands ---- */

u32 draw_good_target(struct maker *m)
{
    unsigned page = rng_below(&m->r, DATA_PAGES);
    for (unsigned i = 0; i < DATA_PAGES && m->p->nature[page]; i++)
        page = (page + 1) % DATA_PAGES;
    u32 at = rng_below(&m->r, PAGE_BYTES - 64);
    return DATA + page * PAGE_BYTES + (rng_one_in(&m->r, 2) ? at & ~31u : at);
}

u32 draw_target(struct maker *m, unsigned size)
{
    struct rng *r = &m->r;
    unsigned slack = size ? size : 8;
    u32 page = DATA + rng_below(r, DATA_PAGES + 1) * PAGE_BYTES;
    switch (rng_below(r, 32)) {
    case 0:
    case 1:
    case 2:
    case 3: return page - rng_below(r, slack + 2);
    case 4:
    case 5: return page + rng_below(r, PAGE_BYTES);
    case 6: return DATA_ALIAS + rng_below(r, DATA_PAGES * PAGE_BYTES);
    case 7: return ROM + rng_below(r, PAGE_BYTES);
    case 8:
        return (m->p->config.paging ? (u32)DEVICE : DEVICE_PA) + rng_below(r, PAGE_BYTES - slack);
    case 9: return LAST_PAGE + PAGE_BYTES - rng_below(r, slack + 2);
    case 10: return STACK_MIDDLE + 64 + rng_below(r, 512);
    case 11: return rng_one_in(r, 4) ? rng_value(r) : draw_good_target(m);
    default: return draw_good_target(m);
    }
}

/* Makes the operand lie at `target`, by registers that are set first and by the displacement. */
static void aim(struct maker *m, struct piece *q, u8 *code, const struct insn *in, u32 target)
{
    struct rng *r = &m->r;
    u32 index = 0, disp = (u32)in->disp;
    bool vsib = op_row(in)->attr & ATTR_VSIB;
    bool indexed = in->index < 8 && !vsib;
    if (in->disp_len == 4 && (in->base < 8 || indexed)) {
        disp = rng_one_in(r, 3) ? rng_value(r) : rng_below(r, 128);
        if (in->base == REG_SP)
            disp = rng_below(r, 256);
        store32(code + in->disp_at, disp);
    }
    if (in->seg == SEG_FS || in->seg == SEG_GS)
        target -= DATA; /* about where their bases are */
    if (indexed && in->index != in->base) {
        index = rng_one_in(r, 8) ? rng_value(r) : rng_below(r, 16);
        piece_mov(q, in->index, index);
        index *= in->scale;
    } else if (indexed) {
        piece_mov(q, in->index, (target - disp) / (in->scale + 1u));
        return;
    }
    if (in->base < 8 && in->base != REG_SP)
        piece_mov(q, in->base, target - disp - index);
    else if (in->base == REG_NONE && in->disp_len == 4)
        store32(code + in->disp_at, target - index);
}

/* String instructions: their registers, and a count that ends some day. */
static void aim_string(struct maker *m, struct piece *q, const struct insn *in)
{
    struct rng *r = &m->r;
    if (in->prefixes & (PFX_REP | PFX_REPNE)) {
        unsigned most = rng_one_in(r, 8) ? 6000 : 40;
        piece_mov(q, REG_CX,
                  in->adsize == 2 ? (u32)rng_next(r) << 16 | rng_below(r, most)
                                  : rng_below(r, most));
    }
    if (!rng_one_in(r, 4))
        piece_mov(q, REG_SI, draw_target(m, in->opsize));
    if (!rng_one_in(r, 4) || maker_can_ring0(m))
        piece_mov(q, REG_DI, draw_target(m, in->opsize));
    if (rng_one_in(r, 3))
        piece_byte(q, rng_one_in(r, 2) ? 0xfd : 0xfc); /* STD, CLD */
}

/* BT and its likes go far with a register: mostly it gets an offset that is near. */
static void aim_bit(struct maker *m, struct piece *q, const struct insn *in)
{
    const struct operand *bit = &in->operand[1];
    bool bits = in->op == OP_BT || in->op == OP_BTS || in->op == OP_BTR || in->op == OP_BTC;
    if (!bits || !mem_operand(in) || bit->kind != OPD_GPR || bit->reg == REG_SP ||
        bit->reg == in->base || bit->reg == in->index || rng_one_in(&m->r, 8))
        return;
    unsigned far = rng_one_in(&m->r, 8) ? 40000 : 300;
    piece_mov(q, bit->reg, rng_below(&m->r, far) - far / 2);
}

/* Hosts have been seen to go over to MMX state (TOP = 0, no tag empty) for an instruction that then
 * faulted. With an MMX instruction before it that makes no difference. */
static void settle_mmx(struct piece *q, const struct insn *in)
{
    static const u8 movq_mm0_mm0[] = {0x0f, 0x6f, 0xc0};
    bool mmx = op_row(in)->cls == CLASS_MMX;
    for (unsigned k = 0; k < in->operands; k++)
        mmx |= in->operand[k].kind == OPD_MMX;
    if (mmx && mem_operand(in))
        piece_bytes(q, movq_mm0_mm0, sizeof movq_mm0_mm0);
}

/* OF after a rotation by more than 1 is undefined, and the translator knows: it is what the
 * interpreter makes it where an instruction may ask for it, but a fault may show another. So either
 * the next instruction asks, or it is gone. */
static void settle_overflow(struct maker *m, struct piece *q, const struct insn *in)
{
    static const u8 seto_dl[] = {0x0f, 0x90, 0xc2}, test_edi_edi[] = {0x85, 0xff};
    if (in->op != OP_ROL && in->op != OP_ROR && in->op != OP_RCL && in->op != OP_RCR)
        return;
    if (rng_one_in(&m->r, 2))
        piece_bytes(q, seto_dl, sizeof seto_dl);
    else
        piece_bytes(q, test_edi_edi, sizeof test_edi_edi);
}

void piece_raw(struct maker *m, struct piece *q)
{
    u8 code[INSN_MAX_BYTES];
    struct insn in;
    do
        draw_bytes(&m->r, code);
    while (decode(code, INSN_MAX_BYTES, q->small ? 16 : 32, &in) != DECODE_OK || !wanted(m, &in));
    const struct operand *o = mem_operand(&in);
    q->what = op_row(&in)->name;
    bool often = maker_can_ring0(m) ? !rng_one_in(&m->r, 16) : !rng_one_in(&m->r, 3);
    if (op_row(&in)->cls == CLASS_STRING || in.op == OP_INS || in.op == OP_OUTS)
        aim_string(m, q, &in);
    else if (o && in.adsize == 4 && (often || in.disp_len == 4))
        aim(m, q, code, &in, draw_target(m, o->size));
    aim_bit(m, q, &in);
    if (in.op == OP_ENTER) {
        store16(code + in.imm_at, (u16)(rng_below(&m->r, 64)));
        code[in.imm_at + 2] &= 0x27;
    }
    if (in.op == OP_LEAVE || in.op == OP_ENTER)
        piece_mov(q, REG_BP, STACK_MIDDLE - 64 + rng_below(&m->r, 128));
    settle_mmx(q, &in);
    piece_bytes(q, code, in.len);
    settle_overflow(m, q, &in);
    if (writes_esp(&in) && (maker_can_ring0(m) || !rng_one_in(&m->r, 4)))
        piece_mov(q, REG_SP, STACK_MIDDLE - (rng_below(&m->r, 64) & ~3u));
}
