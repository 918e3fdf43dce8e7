/* SPDX-License-Identifier: MIT
 *
 * FXSAVE, FXRSTOR and the XSAVE family (SDM 1 §10.5, chapter 13), made in C from the guest's image:
 * the host's own would show host addresses in FIP and FDP, and could fault half-way.
 *
 * Everything of an area that will be accessed is read, or probed for writing, before any state
 * changes. What goes to guest memory is composed in a copy: a write to a device puts the state away
 * over v->fpu.
 */
#include "cpu/feature.h"
#include "cpu/op_fpu.h"

#define FXSAVE_ALIGN 16
#define XSAVE_ALIGN  64

enum xsave_kind { XSAVE_PLAIN, XSAVE_OPT, XSAVE_COMPACT };

/* An area in guest memory, as big as an image. */
struct area {
    u64 la;
    unsigned xmm_bytes, ymm_bytes; /* 16 registers in 64-bit mode, else 8 */
    bool wide;                     /* REX.W: 64-bit FIP and FDP instead of selectors */
};

static struct area area_open(struct vcpu *v, const struct insn *in, unsigned size, unsigned align,
                             enum access access)
{
    struct area a = {.la = fpu_operand_la(v, in, size, access),
                     .xmm_bytes = IMAGE_XMM_BYTES,
                     .ymm_bytes = IMAGE_YMM_BYTES,
                     .wide = in->mode == 64 && in->rex & REX_W};
    if (in->mode != 64) {
        a.xmm_bytes /= 2;
        a.ymm_bytes /= 2;
    }
    if (a.la & (align - 1)) {
        fpu_check_alignment(v, a.la, sizeof(u32)); /* as observed: #AC only for these */
        cpu_raise_error(v, VEC_GP, 0);
    }
    return a;
}

/* ---- x87 pointers ---- */

/* Puts the guest's pointers where the host's were saved. */
static void pointers_store(const struct vcpu *v, bool wide, u8 *image)
{
    u64 cs = fpu_saved_selector(v, v->fpu_cs), ds = fpu_saved_selector(v, v->fpu_ds);
    store16(image + IMAGE_FOP, (u16)v->fpu_op);
    store64(image + IMAGE_FIP, wide ? v->fpu_ip : (u32)v->fpu_ip | cs << 32);
    store64(image + IMAGE_FDP, wide ? v->fpu_dp : (u32)v->fpu_dp | ds << 32);
}

static void pointers_load(struct vcpu *v, bool wide, const u8 *image)
{
    u64 ip = load64(image + IMAGE_FIP), dp = load64(image + IMAGE_FDP);
    v->fpu_op = load16(image + IMAGE_FOP) & 0x7ff;
    v->fpu_ip = wide ? ip : (u32)ip;
    v->fpu_dp = wide ? dp : (u32)dp;
    v->fpu_cs = wide ? 0 : (u16)(ip >> 32);
    v->fpu_ds = wide ? 0 : (u16)(dp >> 32);
}

/* The guest's state as an area shows it. */
static void image_copy(struct vcpu *v, bool wide, struct fpu_image *image)
{
    fpu_store(v);
    *image = v->fpu;
    pointers_store(v, wide, image->bytes);
    store32(image->bytes + IMAGE_MXCSR_MASK, v->fpu_mxcsr_mask);
}

static void check_mxcsr(struct vcpu *v, const u8 *image)
{
    if (load32(image + IMAGE_MXCSR) & ~v->fpu_mxcsr_mask)
        cpu_raise_error(v, VEC_GP, 0);
}

/* ---- FXSAVE, FXRSTOR ---- */

static void check_fxsave(struct vcpu *v)
{
    if (v->mode & (MODE_EM | MODE_TS))
        cpu_raise(v, VEC_NM);
}

static void xsave_fxsave(struct vcpu *v, const struct insn *in)
{
    check_fxsave(v);
    struct area a = area_open(v, in, IMAGE_FXSAVE, FXSAVE_ALIGN, ACCESS_WRITE);
    mem_probe_area(v, a.la, FXSAVE_ALIGN, IMAGE_FXSAVE, ACCESS_WRITE);
    struct fpu_image image;
    image_copy(v, a.wide, &image);
    mem_write_bytes(v, a.la, image.bytes, IMAGE_XMM + a.xmm_bytes);
}

static void xsave_fxrstor(struct vcpu *v, const struct insn *in)
{
    struct fpu_image from;
    check_fxsave(v);
    struct area a = area_open(v, in, IMAGE_FXSAVE, FXSAVE_ALIGN, ACCESS_READ);
    unsigned size = IMAGE_XMM + a.xmm_bytes;
    mem_probe_area(v, a.la, FXSAVE_ALIGN, IMAGE_FXSAVE, ACCESS_READ);
    mem_read_bytes(v, a.la, from.bytes, size);
    check_mxcsr(v, from.bytes);
    fpu_store(v);
    memcpy(v->fpu.bytes, from.bytes, size);
    u64 in_use = load64(v->fpu.bytes + IMAGE_HEADER);
    store64(v->fpu.bytes + IMAGE_HEADER, in_use | XSTATE_X87 | XSTATE_SSE);
    pointers_load(v, a.wide, from.bytes);
    fpu_edited(v);
}

/* ---- XSAVE, XSAVEOPT, XSAVEC ---- */

static void check_xsave(struct vcpu *v)
{
    if (!(v->mode & MODE_OSXSAVE))
        cpu_raise(v, VEC_UD);
    if (v->mode & MODE_TS)
        cpu_raise(v, VEC_NM);
}

static u64 requested(const struct vcpu *v)
{
    return ((u64)(u32)v->gpr[REG_DX] << 32 | (u32)v->gpr[REG_AX]) & v->xcr0;
}

/* A part of the area that is written. */
struct piece {
    unsigned at, size;
};
#define PIECES 5

/* What of the area holds the components `what`: x87 owns bytes 0..23 and the ST registers. Returns
 * how many pieces. */
static unsigned pieces_of(const struct area *a, u64 what, bool mxcsr, struct piece p[PIECES])
{
    unsigned n = 0;
    if (what & XSTATE_X87) {
        p[n++] = (struct piece){0, IMAGE_MXCSR};
        p[n++] = (struct piece){IMAGE_ST, IMAGE_XMM - IMAGE_ST};
    }
    if (mxcsr)
        p[n++] = (struct piece){IMAGE_MXCSR, IMAGE_ST - IMAGE_MXCSR};
    if (what & XSTATE_SSE)
        p[n++] = (struct piece){IMAGE_XMM, a->xmm_bytes};
    if (what & XSTATE_AVX)
        p[n++] = (struct piece){IMAGE_EXTENDED, a->ymm_bytes};
    return n;
}

/* Bytes of the area that an instruction with these components may access. */
static unsigned area_size(u64 components)
{
    return components & XSTATE_AVX ? FPU_IMAGE_BYTES : IMAGE_EXTENDED;
}

/* The header goes last: it makes the rest valid. */
static void save(struct vcpu *v, const struct insn *in, enum xsave_kind kind)
{
    struct piece pieces[PIECES];
    struct fpu_image image;
    check_xsave(v);
    u64 rfbm = requested(v);
    struct area a = area_open(v, in, area_size(rfbm), XSAVE_ALIGN, ACCESS_WRITE);
    u64 in_use = fpu_in_use(v) & rfbm;
    image_copy(v, a.wide, &image);
    bool mxcsr = rfbm & (XSTATE_SSE | XSTATE_AVX);
    if (kind == XSAVE_COMPACT) {
        if (rfbm & XSTATE_SSE && load32(image.bytes + IMAGE_MXCSR) != MXCSR_RESET)
            in_use |= XSTATE_SSE;
        mxcsr = in_use & XSTATE_SSE;
    }
    unsigned n = pieces_of(&a, kind == XSAVE_PLAIN ? rfbm : in_use, mxcsr, pieces);
    for (unsigned i = 0; i < n; i++)
        mem_probe(v, a.la + pieces[i].at, pieces[i].size, ACCESS_WRITE);
    mem_probe(v, a.la + IMAGE_HEADER, sizeof(u64), ACCESS_WRITE);
    u64 old = kind == XSAVE_COMPACT ? 0 : mem_read(v, a.la + IMAGE_HEADER, sizeof(u64));
    for (unsigned i = 0; i < n; i++)
        mem_write_bytes(v, a.la + pieces[i].at, image.bytes + pieces[i].at, pieces[i].size);
    mem_write(v, a.la + IMAGE_HEADER, (old & ~rfbm) | in_use, sizeof(u64));
    if (kind == XSAVE_COMPACT)
        mem_write(v, a.la + IMAGE_XCOMP_BV, rfbm | XCOMP_COMPACTED, sizeof(u64));
}

static void xsave_xsave(struct vcpu *v, const struct insn *in)
{
    save(v, in, XSAVE_PLAIN);
}

static void xsave_xsaveopt(struct vcpu *v, const struct insn *in)
{
    save(v, in, XSAVE_OPT);
}

static void xsave_xsavec(struct vcpu *v, const struct insn *in)
{
    save(v, in, XSAVE_COMPACT);
}

/* ---- XRSTOR ---- */

static bool all_zero(const u8 *from, unsigned size)
{
    u8 any = 0;
    for (unsigned i = 0; i < size; i++)
        any |= from[i];
    return !any;
}

/* SDM 1 §13.8.1, §13.8.2: the header's rules. */
static bool header_valid(const struct vcpu *v, const u8 *header)
{
    u64 xstate = load64(header), xcomp = load64(header + sizeof(u64));
    const unsigned reserved_from = 2 * sizeof(u64), standard_zero = 3 * sizeof(u64);
    if (xstate & ~v->xcr0)
        return false;
    if (!(xcomp & XCOMP_COMPACTED) || !feature_shown(v->feature, CPUID_XSAVEC))
        return all_zero(header + sizeof(u64), standard_zero - sizeof(u64));
    return !(xcomp & ~XCOMP_COMPACTED & ~v->xcr0) && !(xstate & ~xcomp) &&
           all_zero(header + reserved_from, IMAGE_EXTENDED - IMAGE_HEADER - reserved_from);
}

/* The initial configuration of one component (SDM 1 §13.6). */
static void component_init(struct vcpu *v, const struct area *a, u64 component)
{
    u8 *image = v->fpu.bytes;
    if (component == XSTATE_X87) {
        memset(image, 0, IMAGE_MXCSR);
        memset(image + IMAGE_ST, 0, IMAGE_XMM - IMAGE_ST);
        store16(image + IMAGE_FCW, X87_FCW_FNINIT);
    } else if (component == XSTATE_SSE)
        memset(image + IMAGE_XMM, 0, a->xmm_bytes);
    else
        memset(image + IMAGE_EXTENDED, 0, a->ymm_bytes);
}

static void component_load(struct vcpu *v, const struct area *a, u64 component, const u8 *from)
{
    u8 *image = v->fpu.bytes;
    if (component == XSTATE_X87) {
        memcpy(image, from, IMAGE_MXCSR);
        memcpy(image + IMAGE_ST, from + IMAGE_ST, IMAGE_XMM - IMAGE_ST);
    } else if (component == XSTATE_SSE)
        memcpy(image + IMAGE_XMM, from + IMAGE_XMM, a->xmm_bytes);
    else
        memcpy(image + IMAGE_EXTENDED, from + IMAGE_EXTENDED, a->ymm_bytes);
}

/* What is not in the area goes to its initial configuration. A partly written component (registers
 * 8..15 outside 64-bit mode) counts as in use: XINUSE may say so. */
static void restore_components(struct vcpu *v, const struct area *a, u64 rfbm, u64 xstate,
                               const u8 *from)
{
    u64 in_use = load64(v->fpu.bytes + IMAGE_HEADER);
    for (u64 c = XSTATE_X87; c <= XSTATE_AVX; c <<= 1) {
        if (!(rfbm & c))
            continue;
        if (xstate & c) {
            component_load(v, a, c, from);
            in_use |= c;
        } else {
            component_init(v, a, c);
            if (c == XSTATE_X87 || a->xmm_bytes == IMAGE_XMM_BYTES)
                in_use &= ~c;
        }
    }
    store64(v->fpu.bytes + IMAGE_HEADER, in_use);
    if (rfbm & XSTATE_X87)
        pointers_load(v, a->wide, v->fpu.bytes);
}

static void xsave_xrstor(struct vcpu *v, const struct insn *in)
{
    struct fpu_image from;
    check_xsave(v);
    u64 rfbm = requested(v);
    unsigned size = area_size(rfbm);
    struct area a = area_open(v, in, size, XSAVE_ALIGN, ACCESS_READ);
    mem_read_bytes(v, a.la + IMAGE_HEADER, from.bytes + IMAGE_HEADER,
                   IMAGE_EXTENDED - IMAGE_HEADER);
    if (!header_valid(v, from.bytes + IMAGE_HEADER))
        cpu_raise_error(v, VEC_GP, 0);
    if (rfbm)
        mem_read_bytes(v, a.la, from.bytes, IMAGE_LEGACY);
    u64 xstate = load64(from.bytes + IMAGE_HEADER);
    bool compacted = load64(from.bytes + IMAGE_XCOMP_BV) & XCOMP_COMPACTED;
    if (rfbm & xstate & XSTATE_AVX)
        mem_read_bytes(v, a.la + IMAGE_EXTENDED, from.bytes + IMAGE_EXTENDED, a.ymm_bytes);
    if (compacted && !(xstate & XSTATE_SSE))
        store32(from.bytes + IMAGE_MXCSR, MXCSR_RESET);
    bool mxcsr = rfbm & (compacted ? XSTATE_SSE : XSTATE_SSE | XSTATE_AVX);
    if (mxcsr)
        check_mxcsr(v, from.bytes);
    fpu_store(v);
    restore_components(v, &a, rfbm, xstate, from.bytes);
    if (mxcsr)
        store32(v->fpu.bytes + IMAGE_MXCSR, load32(from.bytes + IMAGE_MXCSR));
    fpu_edited(v);
}

exec_fn op_xsave_select(const struct insn *in)
{
    switch (in->op) {
    case OP_FXSAVE: return xsave_fxsave;
    case OP_FXRSTOR: return xsave_fxrstor;
    case OP_XSAVE: return xsave_xsave;
    case OP_XSAVEOPT: return xsave_xsaveopt;
    case OP_XSAVEC: return xsave_xsavec;
    case OP_XRSTOR: return xsave_xrstor;
    default: return NULL;
    }
}
