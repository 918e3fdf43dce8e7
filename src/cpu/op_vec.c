/* SPDX-License-Identifier: MIT
 *
 * Vector instructions that are more than their stub: MXCSR, moves under a mask, gathers, and the
 * two that zero registers which do not exist outside 64-bit mode.
 *
 * Moves of masked elements and gathers fault only for elements that the mask selects, so an operand
 * that is not simply there is taken element by element. Where the whole operand is in directly
 * accessible memory, which is nearly always, the stub runs on it.
 */
#include "cpu/op_fpu.h"

#define YMM_BYTES 32
#define XMM_BYTES 16

/* ---- Registers in memory ---- */

/* vmovdqu between memory and XMM or YMM register n. */
static union stub_code vmovdqu_code(unsigned n, bool ymm, bool store)
{
    enum { VMOVDQU_LOAD = 0x6f, VMOVDQU_STORE = 0x7f, PP_F3 = 2, MAP_0F = 1, MODRM_RDI = 7 };
    union stub_code c = {.bits = 0};
    c.opcode = store ? VMOVDQU_STORE : VMOVDQU_LOAD;
    c.has_modrm = 1;
    c.modrm = (n & 7) << 3 | MODRM_RDI;
    c.rex = n & 8 ? REX_R : 0;
    c.map = MAP_0F;
    c.pp = PP_F3;
    c.vex = 1;
    c.vex_l = ymm;
    return c;
}

static void ymm_store(struct vcpu *v, unsigned n, void *to)
{
    unsigned stub = fpu_stub_find(v->stubs, vmovdqu_code(n, true, true));
    fpu_run(v, fpu_stub_fn(v->stubs, stub), to);
}

/* Loading XMM zeroes the rest of YMM, as every VEX-encoded write does. */
static void ymm_load(struct vcpu *v, unsigned n, bool ymm, void *from)
{
    unsigned stub = fpu_stub_find(v->stubs, vmovdqu_code(n, ymm, false));
    fpu_run(v, fpu_stub_fn(v->stubs, stub), from);
}

/* ---- MXCSR ---- */

static enum fpu_check check_of_encoding(const struct insn *in)
{
    return in->prefixes & PFX_VEX ? CHECK_AVX : CHECK_SSE;
}

FPU_ASM static void load_mxcsr(struct vcpu *v, u32 value)
{
    fpu_enter(v);
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
    fpu_leave(v);
}

FPU_ASM static u32 store_mxcsr(struct vcpu *v)
{
    u32 value;
    fpu_enter(v);
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    fpu_leave(v);
    return value;
}

static void vec_ldmxcsr(struct vcpu *v, const struct insn *in)
{
    fpu_check(v, check_of_encoding(in));
    u64 la = fpu_operand_la(v, in, sizeof(u32), ACCESS_READ);
    fpu_check_alignment(v, la, sizeof(u32));
    u32 value = (u32)mem_read(v, la, sizeof(u32));
    if (value & ~v->fpu_mxcsr_mask)
        cpu_raise_error(v, VEC_GP, 0);
    load_mxcsr(v, value);
}

static void vec_stmxcsr(struct vcpu *v, const struct insn *in)
{
    fpu_check(v, check_of_encoding(in));
    u64 la = fpu_operand_la(v, in, sizeof(u32), ACCESS_WRITE);
    fpu_check_alignment(v, la, sizeof(u32));
    mem_write(v, la, store_mxcsr(v), sizeof(u32));
}

/* ---- Byte masks: MASKMOVQ, MASKMOVDQU ---- */

/* Which bytes the stub stores, and their values: it runs over zeros and over ones, and a byte that
 * comes out the same both times was stored. */
static u32 bytes_stored(struct vcpu *v, stub_fn *stub, u8 *value, unsigned size)
{
    u8 other[XMM_BYTES];
    u32 stored = 0;
    for (unsigned i = 0; i < size; i++) {
        value[i] = 0;
        other[i] = 0xff;
    }
    fpu_run(v, stub, value);
    fpu_run(v, stub, other);
    for (unsigned i = 0; i < size; i++)
        stored |= (u32)(value[i] == other[i]) << i;
    return stored;
}

/* The stub's implicit operand [rdi] is where the host has it. Faults do not depend on the mask: the
 * manual leaves that open, and Intel's CPUs check the whole operand. */
static void vec_maskmov_bytes(struct vcpu *v, const struct insn *in)
{
    struct fpu_operand op;
    u8 value[XMM_BYTES];
    bool mmx = in->op == OP_MASKMOVQ;
    unsigned size = mmx ? 8 : XMM_BYTES;
    fpu_check(v, mmx ? CHECK_MMX : check_of_encoding(in));
    u64 ea = v->gpr[REG_DI] & mask64(in->adsize * 8);
    u64 la = seg_linear(v, in->seg, ea, size, ACCESS_WRITE);
    fpu_check_alignment(v, la, sizeof(u64)); /* of 16 bytes too */
    stub_fn *stub = fpu_stub_of(v, in);
    if (UNLIKELY(size == XMM_BYTES && (la & PAGE_OFFSET_MASK) > PAGE_BYTES - XMM_BYTES))
        mem_probe(v, la + XMM_BYTES / 2, XMM_BYTES / 2, ACCESS_WRITE); /* the upper half first */
    fpu_operand_open_la(v, &op, la, size, ACCESS_WRITE);
    if (LIKELY(op.hp != op.bounce)) {
        fpu_run(v, stub, op.hp);
        return;
    }
    u32 stored = bytes_stored(v, stub, value, size);
    for (unsigned i = 0; i < size; i++) {
        if (stored >> i & 1)
            mem_write(v, la + i, value[i], 1);
    }
}

/* ---- Element masks: VMASKMOVPS/PD, VPMASKMOVD/Q ---- */

/* The host address of size bytes at ea in the operand's segment, if they are simply there; else
 * NULL. Never raises: an address that is not allowed is in no TLB entry. */
static void *plain_pointer(struct vcpu *v, const struct insn *in, u64 ea, unsigned size,
                           enum access access)
{
    u64 la = ea;
    if (v->mode & MODE_CS64 && in->seg >= SEG_FS)
        la += v->seg[in->seg].base;
    else if (!(v->mode & (MODE_CS64 | MODE_FLAT)) || in->seg > SEG_DS)
        return NULL;
    const struct tlb_entry *e = tlb_entry(v, la, v->view);
    u64 tag = access == ACCESS_READ ? e->read : e->write;
    if (v->mode & MODE_AC || tag != ((la + size - 1) & ~PAGE_OFFSET_MASK))
        return NULL;
    return (void *)(uintptr_t)(la + e->addend);
}

static unsigned maskmov_element(const struct insn *in)
{
    bool wide = in->op == OP_VMASKMOVPD || in->op == OP_VPMASKMOVQ;
    return wide ? sizeof(u64) : sizeof(u32);
}

/* The sign bits of the elements of register n, bit i for element i. */
static u32 element_signs(struct vcpu *v, unsigned n, unsigned size, unsigned element)
{
    u8 mask[YMM_BYTES];
    u32 signs = 0;
    ymm_store(v, n, mask);
    for (unsigned at = 0; at < size; at += element)
        signs |= (u32)(mask[at + element - 1] >> 7) << at / element;
    return signs;
}

/* The linear address of the element at `at` of an operand at ea; its own checks. */
static u64 element_la(struct vcpu *v, const struct insn *in, u64 ea, unsigned at,
                      enum access access)
{
    u64 element_ea = (ea + at) & mask64(in->adsize * 8);
    return seg_linear(v, in->seg, element_ea, maskmov_element(in), access);
}

static void maskmov_load_elements(struct vcpu *v, const struct insn *in, u64 ea, unsigned size)
{
    u8 value[YMM_BYTES] = {0};
    unsigned element = maskmov_element(in);
    u32 selected = element_signs(v, in->vex_v, size, element);
    for (unsigned at = 0; at < size; at += element) {
        if (selected >> at / element & 1)
            mem_read_bytes(v, element_la(v, in, ea, at, ACCESS_READ), value + at, element);
    }
    fpu_run(v, fpu_stub_of(v, in), value);
}

static void maskmov_store_elements(struct vcpu *v, const struct insn *in, u64 ea, unsigned size)
{
    u8 value[YMM_BYTES];
    unsigned element = maskmov_element(in);
    u32 selected = element_signs(v, in->vex_v, size, element);
    for (unsigned at = 0; at < size; at += element) {
        if (selected >> at / element & 1)
            mem_probe(v, element_la(v, in, ea, at, ACCESS_WRITE), element, ACCESS_WRITE);
    }
    fpu_run(v, fpu_stub_of(v, in), value);
    for (unsigned at = 0; at < size; at += element) {
        if (selected >> at / element & 1)
            mem_write_bytes(v, element_la(v, in, ea, at, ACCESS_WRITE), value + at, element);
    }
}

static void vec_maskmov(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->vex_l ? YMM_BYTES : XMM_BYTES;
    enum access access = in->operand[0].kind == OPD_MEM ? ACCESS_WRITE : ACCESS_READ;
    fpu_check(v, CHECK_AVX);
    u64 ea = ea_of(v, in);
    void *hp = plain_pointer(v, in, ea, size, access);
    if (LIKELY(hp != NULL))
        fpu_run(v, fpu_stub_of(v, in), hp);
    else if (access == ACCESS_READ)
        maskmov_load_elements(v, in, ea, size);
    else
        maskmov_store_elements(v, in, ea, size);
}

/* ---- Gathers ---- */

struct gather {
    unsigned element, index_size; /* bytes */
    unsigned count;
};

/* SDM 2C, VPGATHERDD and relatives: the vector length counts the larger of data and indices. */
static struct gather gather_shape(const struct insn *in)
{
    bool qword_index = in->op == OP_VGATHERQPS || in->op == OP_VGATHERQPD ||
                       in->op == OP_VPGATHERQD || in->op == OP_VPGATHERQQ;
    bool qword_data = in->rex & REX_W;
    struct gather g = {.element = qword_data ? 8 : 4, .index_size = qword_index ? 8 : 4};
    unsigned widest = qword_data || qword_index ? 8 : 4;
    g.count = (in->vex_l ? YMM_BYTES : XMM_BYTES) / widest;
    return g;
}

static u64 gather_ea(const struct vcpu *v, const struct insn *in, struct gather g, const u8 *index,
                     unsigned i)
{
    u64 offset = load_sized(index + i * g.index_size, g.index_size);
    u64 ea = (u64)in->disp + (u64)sext64(offset, g.index_size * 8) * in->scale;
    if (in->base < ARRAY_LEN(v->gpr))
        ea += v->gpr[in->base];
    return ea & mask64(in->adsize * 8);
}

static unsigned gather_dest(const struct insn *in)
{
    return modrm_reg(in) | (in->mode == 64 && in->rex & REX_R ? 8 : 0);
}

/* The destination so far and the mask of what is left: what a fault shows. Of the destination's
 * upper part the host clears nothing before all is done. */
static void gather_commit(struct vcpu *v, const struct insn *in, u8 *dest, u8 *mask)
{
    ymm_load(v, gather_dest(in), true, dest);
    ymm_load(v, in->vex_v, in->vex_l, mask);
}

/* Each element of the mask becomes all ones or zero, by its sign. */
static void gather_expand_mask(struct gather g, u8 mask[YMM_BYTES])
{
    for (unsigned at = 0; at < YMM_BYTES; at += g.element)
        store_sized(mask + at, mask[at + g.element - 1] >> 7 ? ~(u64)0 : 0, g.element);
}

static void vec_gather(struct vcpu *v, const struct insn *in)
{
    struct gather g = gather_shape(in);
    u8 dest[YMM_BYTES], mask[YMM_BYTES], index[YMM_BYTES];
    fpu_check(v, CHECK_AVX);
    ymm_store(v, gather_dest(in), dest);
    ymm_store(v, in->vex_v, mask);
    ymm_store(v, in->index, index);
    gather_expand_mask(g, mask);
    for (unsigned i = 0; i < g.count; i++) {
        u8 *d = dest + i * g.element, *m = mask + i * g.element;
        bool selected = m[g.element - 1] >> 7;
        u64 ea = gather_ea(v, in, g, index, i);
        const void *hp = selected ? plain_pointer(v, in, ea, g.element, ACCESS_READ) : NULL;
        if (hp) {
            store_sized(d, load_sized(hp, g.element), g.element);
        } else if (selected) {
            gather_commit(v, in, dest, mask);
            u64 la = seg_linear(v, in->seg, ea, g.element, ACCESS_READ);
            mem_read_bytes(v, la, d, g.element); /* never #AC */
        }
        store_sized(m, 0, g.element);
    }
    memset(mask, 0, sizeof mask);
    memset(dest + g.count * g.element, 0, sizeof dest - g.count * g.element);
    gather_commit(v, in, dest, mask);
}

/* ---- Half precision in memory: never #AC (SDM 2A, exceptions of type 11) ---- */

static void vec_vcvtph2ps(struct vcpu *v, const struct insn *in)
{
    u8 value[FPU_OPERAND_MAX];
    unsigned size = fpu_operand_size(in);
    fpu_check(v, CHECK_AVX);
    mem_read_bytes(v, fpu_operand_la(v, in, size, ACCESS_READ), value, size);
    fpu_run(v, fpu_stub_of(v, in), value);
}

/* The only vector store that computes. It does so first: its exceptions come before those of
 * memory, and leave their flags in MXCSR even then. */

static void vec_vcvtps2ph(struct vcpu *v, const struct insn *in)
{
    u8 value[FPU_OPERAND_MAX];
    unsigned size = fpu_operand_size(in);
    fpu_check(v, CHECK_AVX);
    fpu_run(v, fpu_stub_of(v, in), value);
    mem_write_bytes(v, fpu_operand_la(v, in, size, ACCESS_WRITE), value, size);
}

/* ---- VZEROALL, VZEROUPPER outside 64-bit mode: registers 8..15 stay (SDM 2C) ---- */

static void vec_zero_narrow(struct vcpu *v, const struct insn *in)
{
    fpu_check(v, CHECK_AVX);
    fpu_store(v);
    u8 *xmm = v->fpu.bytes + IMAGE_XMM, *upper = v->fpu.bytes + IMAGE_EXTENDED;
    memset(upper, 0, IMAGE_YMM_BYTES / 2);
    if (in->op == OP_VZEROALL)
        memset(xmm, 0, IMAGE_XMM_BYTES / 2);
    fpu_edited(v);
}

exec_fn op_vec_select(const struct vcpu *v, const struct insn *in)
{
    switch (in->op) {
    case OP_LDMXCSR:
    case OP_VLDMXCSR: return vec_ldmxcsr;
    case OP_STMXCSR:
    case OP_VSTMXCSR: return vec_stmxcsr;
    case OP_MASKMOVQ:
    case OP_MASKMOVDQU:
    case OP_VMASKMOVDQU: return vec_maskmov_bytes;
    case OP_VMASKMOVPS:
    case OP_VMASKMOVPD:
    case OP_VPMASKMOVD:
    case OP_VPMASKMOVQ: return vec_maskmov;
    case OP_VGATHERDPS:
    case OP_VGATHERDPD:
    case OP_VGATHERQPS:
    case OP_VGATHERQPD:
    case OP_VPGATHERDD:
    case OP_VPGATHERDQ:
    case OP_VPGATHERQD:
    case OP_VPGATHERQQ: return vec_gather;
    case OP_VCVTPH2PS: return in->operand[1].kind == OPD_MEM ? vec_vcvtph2ps : NULL;
    case OP_VCVTPS2PH: return in->operand[0].kind == OPD_MEM ? vec_vcvtps2ph : NULL;
    case OP_VZEROALL:
    case OP_VZEROUPPER:
        /* Without long mode nobody can ever see registers 8..15. */
        return in->mode != 64 && v->mode & MODE_LMA ? vec_zero_narrow : NULL;
    default: return NULL;
    }
}
