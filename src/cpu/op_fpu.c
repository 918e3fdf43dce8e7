/* SPDX-License-Identifier: MIT
 *
 * x87, MMX, SSE and AVX instructions that are no more than their stub: checks, memory operand,
 * stub. That is nearly all of them; the others are in op_x87.c, op_vec.c and op_xsave.c.
 */
#include "cpu/op_fpu.h"
#include "cpu/feature.h"

/* ---- Encoding for the host ---- */

enum {
    MODRM_MEM_RDI = REG_DI, /* mod 0, rm 7 */
    MODRM_REG_SHIFT = 3,
};

/* A general register that the encoding names, or NULL. */
static const struct operand *gpr_operand(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_GPR && !in->operand[k].hidden)
            return &in->operand[k];
    }
    return NULL;
}

/* Where the general register is named: ModRM.reg for these, ModRM.rm for all others. */
static bool gpr_in_reg_field(unsigned op)
{
    switch (op) {
    case OP_MOVMSKPS:
    case OP_MOVMSKPD:
    case OP_PMOVMSKB:
    case OP_CVTSS2SI:
    case OP_CVTSD2SI:
    case OP_CVTTSS2SI:
    case OP_CVTTSD2SI:
    case OP_VMOVMSKPS:
    case OP_VMOVMSKPD:
    case OP_VPMOVMSKB:
    case OP_VCVTSS2SI:
    case OP_VCVTSD2SI:
    case OP_VCVTTSS2SI:
    case OP_VCVTTSD2SI: return true;
    default: return false;
    }
}

/* PEXTRW exists twice: 0F C5 names the general register in ModRM.reg, 0F 3A 15 in ModRM.rm. */
static bool is_pextrw_reg(const struct insn *in)
{
    return (in->op == OP_PEXTRW || in->op == OP_VPEXTRW) && in->map == 1;
}

static void encode_gpr(union stub_code *c, const struct insn *in, const struct operand *gpr)
{
    c->gpr = gpr->reg;
    c->frame |= gpr->access & OPD_W ? STUB_GPR_OUT : STUB_GPR_IN;
    if (gpr_in_reg_field(in->op) || is_pextrw_reg(in)) {
        c->modrm &= ~(7u << MODRM_REG_SHIFT);
        c->rex &= ~(unsigned)REX_R;
    } else {
        c->modrm &= ~7u;
        c->rex &= ~(unsigned)REX_B;
    }
}

/* Opcodes whose VEX.W or REX.W chooses between 32 and 64 bits of general register: outside 64-bit
 * mode it is ignored, on the host it would not be. */
static bool width_by_w(const struct insn *in)
{
    switch (in->op) {
    case OP_VMOVD:
    case OP_VMOVQ: return in->pp == 1;
    case OP_VCVTSI2SS:
    case OP_VCVTSI2SD:
    case OP_VCVTSS2SI:
    case OP_VCVTSD2SI:
    case OP_VCVTTSS2SI:
    case OP_VCVTTSD2SI:
    case OP_VPINSRD:
    case OP_VPINSRQ:
    case OP_VPEXTRD:
    case OP_VPEXTRQ:
    case OP_VPCMPESTRI:
    case OP_VPCMPESTRM: return true;
    default: return false;
    }
}

/* The last operand is a register in bits 7..4 of the immediate (is4). */
static bool imm_is_register(unsigned op)
{
    return op == OP_VBLENDVPS || op == OP_VBLENDVPD || op == OP_VPBLENDVB;
}
#define IS4_SHIFT 4

/* Outside 64-bit mode there are 8 registers: bits that would name others are ignored. */
static void encode_narrow(union stub_code *c, const struct insn *in)
{
    c->rex &= REX_W;
    if (!c->vex || width_by_w(in))
        c->rex = 0;
    c->vex_v &= 7;
}

static u64 frame_of_op(const struct insn *in)
{
    const struct op_row *row = op_row(in);
    u64 frame = 0;
    if (row->flags_read & FLAG_OSZAPC)
        frame |= STUB_FLAGS_IN;
    if (row->flags_written & FLAG_OSZAPC)
        frame |= STUB_FLAGS_OUT;
    switch (in->op) {
    case OP_PCMPESTRI:
    case OP_VPCMPESTRI: return frame | STUB_LENGTHS | STUB_INDEX;
    case OP_PCMPESTRM:
    case OP_VPCMPESTRM: return frame | STUB_LENGTHS;
    case OP_PCMPISTRI:
    case OP_VPCMPISTRI: return frame | STUB_INDEX;
    default: return frame;
    }
}

union stub_code fpu_stub_encode(const struct insn *in)
{
    union stub_code c = {.bits = 0};
    c.opcode = in->opcode;
    c.map = in->map;
    c.pp = in->map ? in->pp : 0; /* 66 before an x87 instruction says nothing here */
    c.has_modrm = in->modrm_at != 0;
    c.modrm = c.has_modrm ? in->modrm : 0;
    c.has_imm = in->imm_len != 0;
    c.imm = c.has_imm ? in->imm & 0xff : 0;
    if (imm_is_register(in->op))
        c.imm = in->operand[in->operands - 1].reg << IS4_SHIFT;
    c.vex = (in->prefixes & PFX_VEX) != 0;
    c.vex_l = c.vex ? in->vex_l : 0;
    c.vex_v = c.vex ? in->vex_v : 0;
    c.rex = in->map ? in->rex : 0;
    if (in->mode != 64)
        encode_narrow(&c, in);
    c.frame = frame_of_op(in);
    if (c.has_modrm && modrm_mod(in) != 3) {
        c.modrm = modrm_reg(in) << MODRM_REG_SHIFT | MODRM_MEM_RDI;
        c.rex &= REX_W | REX_R;
    }
    const struct operand *gpr = gpr_operand(in);
    if (gpr)
        encode_gpr(&c, in, gpr);
    return c;
}

stub_fn *fpu_stub_of_slow(struct vcpu *v, const struct insn *in)
{
    return fpu_stub_fn(v->stubs, fpu_stub_find(v->stubs, fpu_stub_encode(in)));
}

/* ---- Memory operands ---- */

void fpu_operand_open_slow(struct vcpu *v, struct fpu_operand *op, unsigned size,
                           enum access access)
{
    fpu_check_alignment(v, op->la, size);
    bool by_its_own_rule = v->mode & MODE_AC && size > sizeof(u64);
    op->hp = by_its_own_rule ? NULL : mem_pointer(v, op->la, size, access);
    if (op->hp)
        return;
    op->hp = op->bounce;
    if (access == ACCESS_READ)
        mem_read_bytes(v, op->la, op->bounce, size);
    else
        mem_probe(v, op->la, size, ACCESS_WRITE);
}

/* ---- The generic instructions ---- */

/* #GP(0) for a linear address that is not aligned; it comes before those of the segment. */
static void check_aligned(struct vcpu *v, const struct insn *in, unsigned size)
{
    bool based = !(v->mode & MODE_CS64) || in->seg >= SEG_FS;
    u64 base = based ? v->seg[in->seg].base : 0;
    if (UNLIKELY((base + ea_of(v, in)) & (size - 1)))
        cpu_raise_error(v, VEC_GP, 0);
}

static inline __attribute__((always_inline)) void
run(struct vcpu *v, const struct insn *in, enum fpu_check check, enum fpu_use use, bool aligned)
{
    struct fpu_operand op = {.hp = NULL};
    unsigned size = 0;
    fpu_check(v, check);
    if (use != USE_NONE) {
        enum access access = use == USE_WRITE ? ACCESS_WRITE : ACCESS_READ;
        size = fpu_operand_size(in);
        if (aligned)
            check_aligned(v, in, size);
        u64 la = fpu_operand_la(v, in, size, access);
        fpu_operand_open_la(v, &op, la, size, access);
    }
    if (fpu_sees_x87(check) && UNLIKELY(v->fpu_unmasked))
        fpu_run_watched(v, fpu_stub_of(v, in), op.hp);
    else
        fpu_run(v, fpu_stub_of(v, in), op.hp);
    if (use == USE_WRITE)
        fpu_operand_write_back(v, &op, size);
}

#define GENERIC(name, check, use, aligned)                                                         \
    static void name(struct vcpu *v, const struct insn *in)                                        \
    {                                                                                              \
        run(v, in, check, use, aligned);                                                           \
    }
GENERIC(mmx_reg, CHECK_MMX, USE_NONE, false)
GENERIC(mmx_load, CHECK_MMX, USE_READ, false)
GENERIC(mmx_store, CHECK_MMX, USE_WRITE, false)
GENERIC(sse_reg, CHECK_SSE, USE_NONE, false)
GENERIC(sse_load, CHECK_SSE, USE_READ, false)
GENERIC(sse_store, CHECK_SSE, USE_WRITE, false)
GENERIC(sse_load_aligned, CHECK_SSE, USE_READ, true)
GENERIC(sse_store_aligned, CHECK_SSE, USE_WRITE, true)
GENERIC(sse_mmx_reg, CHECK_SSE_MMX, USE_NONE, false)
GENERIC(sse_mmx_load, CHECK_SSE_MMX, USE_READ, false)
GENERIC(sse_mmx_load_aligned, CHECK_SSE_MMX, USE_READ, true)
GENERIC(avx_reg, CHECK_AVX, USE_NONE, false)
GENERIC(avx_load, CHECK_AVX, USE_READ, false)
GENERIC(avx_store, CHECK_AVX, USE_WRITE, false)
GENERIC(avx_load_aligned, CHECK_AVX, USE_READ, true)
GENERIC(avx_store_aligned, CHECK_AVX, USE_WRITE, true)
#undef GENERIC

static const exec_fn generic[][2][3] = {
    [CHECK_X87] = {{op_x87_reg, op_x87_load, op_x87_store}},
    [CHECK_MMX] = {{mmx_reg, mmx_load, mmx_store}},
    [CHECK_SSE] = {{sse_reg, sse_load, sse_store}, {sse_reg, sse_load_aligned, sse_store_aligned}},
    [CHECK_SSE_MMX] = {{sse_mmx_reg, sse_mmx_load}, {sse_mmx_reg, sse_mmx_load_aligned}},
    [CHECK_AVX] = {{avx_reg, avx_load, avx_store}, {avx_reg, avx_load_aligned, avx_store_aligned}},
};

/* ---- Selection ---- */

static enum fpu_check check_of(const struct insn *in)
{
    bool mmx = false;
    switch (op_row(in)->cls) {
    case CLASS_X87: return CHECK_X87;
    case CLASS_MMX: return CHECK_MMX;
    case CLASS_AVX: return CHECK_AVX;
    }
    for (unsigned k = 0; k < in->operands; k++)
        mmx |= in->operand[k].kind == OPD_MMX;
    return mmx ? CHECK_SSE_MMX : CHECK_SSE;
}

static bool is_ours(const struct insn *in)
{
    switch (op_row(in)->cls) {
    case CLASS_X87:
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_AVX: return true;
    default: return false;
    }
}

static exec_fn special(const struct vcpu *v, const struct insn *in)
{
    exec_fn fn = op_xsave_select(in);
    if (!fn && is_ours(in))
        fn = op_row(in)->cls == CLASS_X87 ? op_x87_select(in) : op_vec_select(v, in);
    return fn;
}

bool op_fpu_plan(const struct vcpu *v, const struct insn *in, struct fpu_plan *plan)
{
    if (!is_ours(in) || special(v, in))
        return false;
    *plan = (struct fpu_plan){.check = (u8)check_of(in), .use = USE_NONE, .align = 1};
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind != OPD_MEM)
            continue;
        plan->use = in->operand[k].access & OPD_W ? USE_WRITE : USE_READ;
        plan->size = (u8)in->operand[k].size;
        plan->align = op_row(in)->attr & ATTR_ALIGN ? plan->size : 1;
    }
    return true;
}

static void undefined(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise(v, VEC_UD);
}

exec_fn op_fpu_select(struct vcpu *v, struct insn *in)
{
    struct fpu_plan plan;
    exec_fn fn = special(v, in);
    if (!fn && !is_ours(in))
        return NULL;
    /* The guest's CPUID shows nothing that the host lacks: no stub raises #UD on the host. */
    if (!feature_shown(v->feature, op_row(in)->feature))
        return undefined;
    if (!fn && op_fpu_plan(v, in, &plan))
        fn = generic[plan.check][plan.align > 1][plan.use];
    if (is_ours(in))
        in->stub = (u16)fpu_stub_find(v->stubs, fpu_stub_encode(in));
    return fn;
}
