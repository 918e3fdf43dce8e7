/* SPDX-License-Identifier: MIT
 *
 * Bytes are drawn so that each opcode map gets its share, then decoded; what does not decode, is of
 * another class or cannot be compared is drawn again. Then registers and memory get values that
 * mean something to the instruction: pointers whose operand falls on or around the data pages, and
 * floating-point numbers from a list of difficult ones.
 */
#include "insn_gen.h"
#include "cpu/decode.h"
#include "cpu/feature.h"
#include "cpu/fpu_image.h"
#include "cpu/optable.h"

struct rng {
    u64 state;
};

/* splitmix64 (Steele, Lea, Flood 2014): any seed is as good as any other. */
static u64 next(struct rng *r)
{
    u64 z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static unsigned below(struct rng *r, unsigned n)
{
    return (unsigned)((next(r) >> 32) * n >> 32);
}

static bool one_in(struct rng *r, unsigned n)
{
    return below(r, n) == 0;
}

#define PICK(r, list) (list)[below(r, ARRAY_LEN(list))]

/* ---- Bytes ---- */

static const u8 legacy_prefixes[] = {0x66, 0xf2, 0xf3, 0x66, 0xf2, 0xf3, 0x67,
                                     0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0};

/* Prefixes, if any; most instructions have none, vector instructions mostly one that counts. */
static unsigned draw_prefixes(struct rng *r, u8 *out, unsigned mode, bool mandatory)
{
    static const u8 selecting[] = {0x66, 0xf2, 0xf3};
    unsigned n = 0;
    while (one_in(r, 8) && n < 4)
        out[n++] = PICK(r, legacy_prefixes);
    if (mandatory && !one_in(r, 3))
        out[n++] = PICK(r, selecting);
    if (mode == 64 && one_in(r, 2))
        out[n++] = 0x40 | below(r, 16);
    return n;
}

static unsigned draw_vex(struct rng *r, u8 *out, unsigned mode)
{
    unsigned high = mode == 64 ? (unsigned)next(r) & 0xe0 : 0xc0 | (next(r) & 0x20);
    if (one_in(r, 4)) {
        out[0] = 0xc5;
        out[1] = (mode == 64 ? next(r) & 0x80 : 0x80) | below(r, 128);
        if (mode != 64)
            out[1] |= 0x40; /* else it is LDS */
        return 2;
    }
    out[0] = 0xc4;
    out[1] = high | (1 + below(r, 3));
    out[2] = (u8)next(r);
    return 3;
}

/* Prefixes and opcode for one of `classes`; the rest is noise. */
static void draw_bytes(struct rng *r, const struct gen_options *o, u8 out[INSN_MAX_BYTES])
{
    unsigned n = 0, classes = o->classes, class;
    do
        class = 1u << below(r, 7);
    while (!(class & classes));
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        out[i] = (u8)next(r);
    switch (class) {
    case GEN_X87:
        n = draw_prefixes(r, out, o->mode, false);
        out[n++] = one_in(r, 64) ? 0x9b : 0xd8 | below(r, 8);
        break;
    case GEN_AVX:
        n = draw_vex(r, out, o->mode);
        n++;
        break;
    case GEN_INT:
        n = draw_prefixes(r, out, o->mode, false);
        if (one_in(r, 3))
            out[n++] = 0x0f;
        n++;
        break;
    case GEN_STATE:
        n = draw_prefixes(r, out, o->mode, false);
        out[n++] = 0x0f;
        out[n++] = one_in(r, 4) ? 0xc7 : 0xae;
        break;
    case GEN_BAD: n = draw_prefixes(r, out, o->mode, true); break;
    default:
        n = draw_prefixes(r, out, o->mode, true);
        out[n++] = 0x0f;
        if (one_in(r, 3))
            out[n++] = one_in(r, 2) ? 0x38 : 0x3a;
        n++;
    }
    /* Half of all ModRM bytes name a register. */
    if (n < INSN_MAX_BYTES && one_in(r, 3))
        out[n] |= 0xc0;
}

static unsigned class_of(const struct insn *in)
{
    switch (in->op) {
    case OP_FXSAVE:
    case OP_FXRSTOR:
    case OP_XSAVE:
    case OP_XSAVEOPT:
    case OP_XSAVEC:
    case OP_XRSTOR: return GEN_STATE;
    }
    switch (op_row(in)->cls) {
    case CLASS_X87: return GEN_X87;
    case CLASS_MMX: return GEN_MMX;
    case CLASS_SSE: return GEN_SSE;
    case CLASS_AVX: return GEN_AVX;
    default: return GEN_INT;
    }
}

bool insn_gen_comparable(const struct insn *in)
{
    switch (op_row(in)->cls) {
    case CLASS_SENSITIVE:
        /* User code cannot do it: the same fault on both sides. But the host's kernel emulates
         * SGDT and relatives, answers for MSRs and ports, and has other segments. */
        return op_row(in)->attr & ATTR_CPL0;
    case CLASS_CARE:
    case CLASS_BRANCH:
    case CLASS_STACK:
    case CLASS_STRING:
    default: break;
    }
    if (in->seg >= SEG_FS)
        return false; /* the host's thread-local storage */
    switch (in->op) {
    case OP_SYSCALL:
    case OP_SYSENTER:
    case OP_INT:
    case OP_INT1:
    case OP_INT3:
    case OP_INTO: /* enter the host's kernel */
    case OP_CPUID:
    case OP_RDTSC:
    case OP_RDTSCP:
    case OP_RDPMC:
    case OP_RDPID:
    case OP_RDRAND:
    case OP_RDSEED:
    case OP_XGETBV:
    case OP_RDPKRU:
    case OP_WRPKRU: /* tell of the machine */
    case OP_PUSHF:
    case OP_POPF: /* see the trap flag */
    case OP_XBEGIN:
    case OP_UMWAIT:
    case OP_TPAUSE:
    case OP_RDFSBASE:
    case OP_RDGSBASE:
    case OP_WRFSBASE:
    case OP_WRGSBASE: return false;
    default: return true;
    }
}

static bool wanted(const struct insn *in, const struct gen_options *o)
{
    const struct op_row *row = op_row(in);
    if (!feature_shown(o->features, row->feature))
        return false;
    return class_of(in) & o->classes && insn_gen_comparable(in);
}

/* ---- What the CPU model has not, and the host may have ---- */

enum { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_VEX };

/* Of an opcode that we do not know. */
struct encoding {
    u8 map, opcode, modrm; /* map: MAP_VEX and the number of the VEX map, or MAP_... */
    bool prefixed;         /* by 66h, F2h or F3h */
};

/* False: EVEX, which is AVX-512's. */
static bool take_apart(const u8 *code, struct encoding *e)
{
    const u8 *end = code + INSN_MAX_BYTES - 5;
    *e = (struct encoding){.map = MAP_ONE};
    while (code < end &&
           (memchr(legacy_prefixes, *code, sizeof legacy_prefixes) || (*code & 0xf0) == 0x40)) {
        e->prefixed |= *code == 0x66 || (*code & 0xfe) == 0xf2;
        code++;
    }
    if (*code == 0xc4 || *code == 0xc5) {
        e->map = *code == 0xc5 ? MAP_VEX + 1 : (u8)(MAP_VEX + (code[1] & 0x1f));
        code += *code == 0xc5 ? 2 : 3;
    } else if (*code == 0x0f) {
        e->map = code[1] == 0x38 ? MAP_0F38 : code[1] == 0x3a ? MAP_0F3A : MAP_0F;
        code += e->map == MAP_0F ? 1 : 2;
    }
    e->opcode = code[0];
    e->modrm = code[1];
    return *code != 0x62 || e->map != MAP_ONE;
}

/* Opcodes that some host knows, whatever its CPUID says. */
static const struct {
    u8 map, from, to;
    bool prefixed_or_register; /* else: all of it */
} newer[] = {
    {MAP_0F, 0x01, 0x01, true},       /* VMCALL, SERIALIZE, user interrupts, shadow stacks, TSX */
    {MAP_0F, 0xae, 0xae, true},       /* PTWRITE, UMWAIT, shadow stacks */
    {MAP_0F, 0xc7, 0xc7, true},       /* VMX, user interrupts */
    {MAP_ONE, 0xc6, 0xc7, true},      /* XABORT, XBEGIN */
    {MAP_0F38, 0xd8, 0xdf, false},    /* Key Locker */
    {MAP_0F38, 0xf5, 0xff, false},    /* shadow stacks, ENQCMD, MOVDIRI, AADD */
    {MAP_0F3A, 0xf0, 0xf0, false},    /* HRESET */
    {MAP_VEX + 1, 0x41, 0x4b, false}, /* of AVX-512's mask registers, as these: */
    {MAP_VEX + 1, 0x90, 0x99, false}, {MAP_VEX + 1, 0xae, 0xae, false},
    {MAP_VEX + 3, 0x30, 0x33, false}, {MAP_VEX + 2, 0x49, 0x4b, false}, /* AMX */
    {MAP_VEX + 2, 0x50, 0x53, false},                                   /* AVX-VNNI */
    {MAP_VEX + 2, 0x5c, 0x5e, false}, {MAP_VEX + 2, 0x6c, 0x72, false}, /* AMX, NE-CONVERT */
    {MAP_VEX + 2, 0xb0, 0xb5, false},                                   /* and AVX-IFMA */
    {MAP_VEX + 2, 0xcb, 0xcd, false},                                   /* SHA512 */
    {MAP_VEX + 2, 0xd2, 0xda, false},                                   /* VNNI-INT16, SM3, SM4 */
    {MAP_VEX + 2, 0xe0, 0xef, false},                                   /* CMPccXADD */
    {MAP_VEX + 3, 0xde, 0xde, false},                                   /* SM3 */
};

static bool may_be_newer(const u8 *code)
{
    struct encoding e;
    if (!take_apart(code, &e) || e.map > MAP_VEX + 3)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(newer); i++) {
        if (newer[i].map == e.map && e.opcode >= newer[i].from && e.opcode <= newer[i].to &&
            (!newer[i].prefixed_or_register || e.prefixed || e.modrm >= 0xc0))
            return true;
    }
    return false;
}

/* ---- Values ---- */

static u64 draw_integer(struct rng *r)
{
    static const u64 edges[] = {
        0,      1,          2,       0x7f,       0x80,         0xff,         0x7fff,       0x8000,
        0xffff, 0x7fffffff, 1 << 31, 0xffffffff, (u64)1 << 32, (u64)1 << 63, ~(u64)0 >> 1, ~(u64)0};
    switch (below(r, 4)) {
    case 0: return PICK(r, edges);
    case 1: return PICK(r, edges) + below(r, 5) - 2;
    case 2: return below(r, 256);
    default: return next(r);
    }
}

static u32 draw_float(struct rng *r)
{
    static const u32 hard[] = {
        0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, /* 0 1 inf */
        0x7fc00000, 0xffc00000, 0x7fc12345, 0x7f812345, 0xff800001,             /* NaNs */
        1,          0x80000001, 0x007fffff, 0x00800000, 0x807fffff,             /* denormals */
        0x7f7fffff, 0xff7fffff, 0x4effffff, 0x4f000000, 0xcf000000, 0x4b7fffff, /* limits */
        0x3f7fffff, 0x3f800001, 0x3f000000, 0x3fc00000, 0x40200000, 0x5f000000,
    };
    switch (below(r, 4)) {
    case 0: return (u32)next(r);
    case 1: return 0x3f000000 + ((u32)next(r) & 0x81ffffff); /* near 1 */
    default: return PICK(r, hard);
    }
}

static u64 draw_double(struct rng *r)
{
    static const u64 hard[] = {
        0,
        0x8000000000000000,
        0x3ff0000000000000,
        0xbff0000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000000,
        0xfff8000000000000,
        0x7ff8000012345678,
        0x7ff0000012345678,
        0xfff0000000000001,
        1,
        0x8000000000000001,
        0x000fffffffffffff,
        0x0010000000000000,
        0x7fefffffffffffff,
        0xffefffffffffffff,
        0x41dfffffffc00000,
        0x41e0000000000000,
        0xc1e0000000000000,
        0x43e0000000000000,
        0xc3e0000000000000,
        0x3fe0000000000000,
        0x3ff8000000000000,
        0x4004000000000000,
        0x3ff0000000000001,
        0x47efffffe0000000,
        0x36a0000000000000,
        0x3810000000000000,
        0x380fffffffffffff,
    };
    switch (below(r, 4)) {
    case 0: return next(r);
    case 1: return 0x3fe0000000000000 + (next(r) & 0x803fffffffffffff);
    default: return PICK(r, hard);
    }
}

/* 80-bit: also what no arithmetic makes (pseudo-denormals, unnormals, pseudo-infinities). */
static void draw_extended(struct rng *r, u8 *out)
{
    static const u16 exponents[] = {0,      0,      1,      0x3ffe, 0x3fff, 0x4000, 0x401e, 0x403e,
                                    0x3f81, 0x3c01, 0x43fe, 0x407e, 0x7ffe, 0x7fff, 0x7fff};
    static const u64 mantissas[] = {0,
                                    1,
                                    (u64)1 << 63,
                                    (u64)1 << 62,
                                    (u64)3 << 62,
                                    ~(u64)0,
                                    ~(u64)0 >> 1,
                                    ((u64)1 << 63) + 1,
                                    0xfffffffffffff800,
                                    0xffffff0000000000,
                                    0x8000000000000400,
                                    0x8000008000000000,
                                    0xc000000012345678,
                                    0x8000000012345678};
    u64 m = one_in(r, 3) ? next(r) : PICK(r, mantissas);
    u16 e = one_in(r, 4) ? (u16)next(r) & 0x7fff : PICK(r, exponents);
    if (!one_in(r, 4))
        m |= (u64)(e != 0) << 63; /* mostly a normal number */
    store64(out, m);
    store16(out + 8, e | (one_in(r, 2) ? 0x8000 : 0));
}

/* Fills n bytes (a multiple of 16) as lanes of one type. */
static void draw_lanes(struct rng *r, u8 *out, unsigned n)
{
    for (unsigned at = 0; at < n; at += 16) {
        switch (below(r, 6)) {
        case 0:
        case 1:
            for (unsigned i = 0; i < 16; i += 4)
                store32(out + at + i, draw_float(r));
            break;
        case 2:
        case 3:
            for (unsigned i = 0; i < 16; i += 8)
                store64(out + at + i, draw_double(r));
            break;
        case 4:
            store64(out + at, draw_integer(r));
            draw_extended(r, out + at);
            store32(out + at + 12, (u32)draw_integer(r));
            break;
        default: store64(out + at, draw_integer(r)); store64(out + at + 8, draw_integer(r));
        }
    }
}

static void draw_x87(struct rng *r, u8 *image)
{
    u16 masks = one_in(r, 5) ? (u16)next(r) & X87_EXCEPTIONS : X87_EXCEPTIONS;
    u16 control = below(r, 16) << 8; /* precision and rounding */
    u16 flags = one_in(r, 4) ? (u16)next(r) & (X87_EXCEPTIONS | X87_SF) : 0;
    u16 conditions = (u16)next(r) & 0x4700;
    unsigned top = below(r, 8);
    if (one_in(r, 8))
        control = 0x300;
    store16(image + IMAGE_FCW, masks | 0x40 | control);
    store16(image + IMAGE_FSW, flags | conditions | top << X87_TOP_SHIFT);
    image[IMAGE_FTW] = one_in(r, 3) ? 0xff : (u8)next(r) | (u8)next(r);
    for (unsigned i = 0; i < 8; i++)
        draw_extended(r, image + IMAGE_ST + i * IMAGE_ST_STEP);
    store16(image + IMAGE_FOP, (u16)next(r) & 0x7ff);
    store64(image + IMAGE_FIP, one_in(r, 2) ? 0 : (u32)next(r)); /* selectors: the host has none */
    store64(image + IMAGE_FDP, one_in(r, 2) ? 0 : (u32)next(r));
    if (flags & ~masks & X87_EXCEPTIONS)
        store16(image + IMAGE_FSW, load16(image + IMAGE_FSW) | X87_ES | X87_BUSY);
}

static void draw_vectors(struct rng *r, u8 *image)
{
    const u32 control = 0xe040; /* FZ, RC, DAZ */
    u32 masks = one_in(r, 5) ? (u32)next(r) & 0x1f80 : 0x1f80;
    u32 flags = one_in(r, 4) ? (u32)next(r) & 0x3f : 0;
    store32(image + IMAGE_MXCSR, masks | flags | (one_in(r, 2) ? (u32)next(r) & control : 0));
    draw_lanes(r, image + IMAGE_XMM, IMAGE_XMM_BYTES);
    draw_lanes(r, image + IMAGE_EXTENDED, IMAGE_YMM_BYTES);
}

/* ---- Addresses ---- */

#define OPERAND_BYTES 64 /* around the target; saved state gets more */

/* Where the memory operand shall be: mostly in the middle, often across an edge. */
static u32 draw_target(struct rng *r, unsigned size)
{
    static const u32 edges[] = {CASE_DATA, CASE_DATA + PAGE_BYTES, CASE_ROM, CASE_ROM + PAGE_BYTES};
    u32 la = CASE_DATA + below(r, CASE_DATA_BYTES - 1024);
    switch (below(r, 8)) {
    case 0: return PICK(r, edges) - below(r, size + 2);
    case 1: return CASE_DATA + PAGE_BYTES - below(r, size + 2);
    case 2: return CASE_ROM + below(r, 1024);
    case 3: return la;
    default: return la & ~63u; /* aligned for everything */
    }
}

/* Sets base register or displacement so that the operand lies at `target`. */
static void aim(struct insn_case *c, const struct insn *in, u64 target)
{
    u64 index = in->index < 16 ? c->state.gpr[in->index] * in->scale : 0;
    if (op_row(in)->attr & ATTR_VSIB)
        index = 0;
    if (in->base < 16 && in->base != in->index) {
        u64 value = target - index - (u64)in->disp;
        c->state.gpr[in->base] = in->mode == 64 ? value : (u32)value;
        return;
    }
    if (in->disp_len != 4)
        return;
    u64 next_rip = in->base == REG_PC ? CASE_CODE + in->len : 0;
    u64 base = in->base < 16 ? c->state.gpr[in->base] : 0;
    store32(c->code + in->disp_at, (u32)(target - next_rip - index - base));
}

static unsigned mem_size(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_MEM)
            return in->operand[k].size ? in->operand[k].size : OPERAND_BYTES;
    }
    return 0;
}

static void draw_registers(struct rng *r, const struct gen_options *o, struct insn_case *c)
{
    for (unsigned i = 0; i < 16; i++) {
        c->state.gpr[i] = one_in(r, 3) ? draw_target(r, 8) : draw_integer(r);
        if (o->mode != 64)
            c->state.gpr[i] = i < 8 ? (u32)c->state.gpr[i] : 0;
    }
    c->state.gpr[REG_SP] = CASE_DATA + PAGE_BYTES + (one_in(r, 8) ? below(r, 64) - 32 : 0x400);
    c->state.rip = CASE_CODE;
    c->state.rflags = next(r) & FLAG_OSZAPC;
    if (one_in(r, 4))
        c->state.rflags |= FLAG_DF;
    if (one_in(r, 16))
        c->state.rflags |= FLAG_AC;
}

/* What FXRSTOR, XRSTOR and FRSTOR may find: mostly acceptable. */
static void draw_area(struct rng *r, const struct insn *in, u8 *area)
{
    draw_x87(r, area);
    draw_vectors(r, area);
    if (in->op != OP_XRSTOR)
        return;
    memset(area + IMAGE_HEADER, 0, IMAGE_EXTENDED - IMAGE_HEADER);
    store64(area + IMAGE_HEADER, below(r, 8));
    if (one_in(r, 3))
        store64(area + IMAGE_XCOMP_BV, XCOMP_COMPACTED | below(r, 8));
    if (one_in(r, 16)) { /* but not the components that only the host may have */
        unsigned at = below(r, 64);
        area[IMAGE_HEADER + (at % 8 < 4 ? 7 : at)] ^= 1u << below(r, 8);
    }
    if (one_in(r, 16))
        store32(area + IMAGE_MXCSR, (u32)next(r));
}

/* The components that the host may have and the guest has not are not asked for. */
static void draw_components(struct rng *r, struct insn_case *c)
{
    c->state.gpr[REG_AX] = below(r, 8);
    c->state.gpr[REG_DX] = 0;
}

static void aim_operands(struct rng *r, struct insn_case *c, const struct insn *in)
{
    unsigned size = mem_size(in);
    bool state = class_of(in) == GEN_STATE, area = state || in->op == OP_FRSTOR;
    u32 target = draw_target(r, size);
    if (state && !one_in(r, 16))
        target &= ~63u;
    if (state)
        draw_components(r, c);
    if (!size)
        return;
    if (in->index < 16 && in->index != REG_SP && one_in(r, 2) && !state)
        c->state.gpr[in->index] = below(r, 64);
    if (in->adsize > 2 && !one_in(r, 50))
        aim(c, in, target);
    u32 at = area ? target - CASE_DATA : (target - CASE_DATA) & ~15u;
    c->operand_len = area ? CASE_OPERAND_BYTES : OPERAND_BYTES;
    c->operand_at = at <= CASE_DATA_BYTES - c->operand_len ? at : 0;
    draw_lanes(r, c->operand, c->operand_len);
    if (area)
        draw_area(r, in, c->operand);
}

/* EAX chooses components, so it cannot be a pointer. */
static bool components_free(const struct insn *in)
{
    return class_of(in) != GEN_STATE || (in->base != REG_AX && in->index != REG_AX);
}

void insn_gen(u64 seed, const struct gen_options *o, struct insn_case *c)
{
    struct rng r = {.state = seed};
    struct insn in;
    *c = (struct insn_case){.mode = o->mode};
    for (;;) {
        draw_bytes(&r, o, c->code);
        enum decode_status status = decode(c->code, INSN_MAX_BYTES, o->mode, &in);
        if (status == DECODE_OK && wanted(&in, o) && components_free(&in))
            break;
        if (status == DECODE_INVALID && o->classes & GEN_BAD && one_in(&r, 64) &&
            !may_be_newer(c->code))
            break;
    }
    c->len = in.len;
    draw_registers(&r, o, c);
    draw_x87(&r, c->state.xsave);
    draw_vectors(&r, c->state.xsave);
    store64(c->state.xsave + IMAGE_HEADER, XSTATE_X87 | XSTATE_SSE | XSTATE_AVX);
    aim_operands(&r, c, &in);
}
