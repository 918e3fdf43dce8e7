/* SPDX-License-Identifier: MIT
 *
 * The decoder: one pass over the bytes, in the order in which they come.
 *
 *   prefixes -> escape bytes or VEX -> opcode -> ModRM -> row -> sizes -> SIB, displacement
 *            -> operands (immediates among them) -> legality
 *
 * It knows how instructions are *encoded*; which exist is in the rows (optable_*.inc). Where
 * processors of different makers differ it follows Intel's.
 *
 * Bytes are read without a bounds check on each: near the end of what the caller has (or of the 15
 * bytes that an instruction may have) a copy padded with zeros is decoded, and the length then
 * tells whether invented bytes were used. No verdict that depends on such a byte gets out.
 *
 * All of it is inlined into decode_any(), so that the cursor lives in registers. decode() tries a
 * shortcut first (decode_usual.c).
 */
#include "cpu/decode.h"

#include "cpu/decode_forms.h"
#include "cpu/decode_usual.h"
#include "cpu/optable.h"
#include "cpu/optable_index.h"

/* 15 bytes of prefixes, then the longest that can follow: three opcode bytes, ModRM, SIB, a
 * displacement of 4 or an address of 8, immediates of 8. */
#define MAX_READ (INSN_MAX_BYTES + 3 + 2 + 8 + 8)

struct decoder {
    const u8 *p;
    unsigned at;    /* next byte */
    unsigned limit; /* bytes that are there; at most 15 */
    bool mode64;
    u8 rep;        /* 0, or the last of F2 and F3 */
    u8 seg;        /* last effective override, or SEG_COUNT */
    u8 vvvv;       /* VEX.vvvv was used by an operand */
    u8 column;     /* of the size table */
    bool bad;      /* a gather without index */
    u32 situation; /* optable_index.h */
};

/* ---- operand forms ---- */

/* Columns of a form's sizes: operand size, then VEX.L, then 64-bit mode. */
enum { COLUMN_16, COLUMN_32, COLUMN_64, COLUMN_L = 4, COLUMN_M64 = 8, COLUMNS = 16 };

struct form {
    u8 where, kind, reg;
    u16 size[COLUMNS];
};

#define BY_OPSIZE(o16, o32, o64)                                                                   \
    {                                                                                              \
        o16, o32, o64, 0, o16, o32, o64, 0, o16, o32, o64, 0, o16, o32, o64, 0                     \
    }
#define BY_L(l0, l1)                                                                               \
    {                                                                                              \
        l0, l0, l0, 0, l1, l1, l1, 0, l0, l0, l0, 0, l1, l1, l1, 0                                 \
    }
#define BY_MODE(m32, m64)                                                                          \
    {                                                                                              \
        m32, m32, m32, 0, m32, m32, m32, 0, m64, m64, m64, 0, m64, m64, m64, 0                     \
    }
#include "cpu/opsizes.inc"

static const struct form forms[FORM_COUNT] = {
#define FORM(name, where, kind, size, reg)                                                         \
    [FORM_##name] = {AT_##where, KIND_##kind, reg, SIZES_##size},
#include "cpu/opforms.inc"
#undef FORM
};

/* ---- prefixes ---- */

enum prefix_kind { NOT_PREFIX, SEGMENT, OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPEAT };

static const u8 prefix_kind[256] = {
    [0x26] = SEGMENT, [0x2e] = SEGMENT, [0x36] = SEGMENT,      [0x3e] = SEGMENT,
    [0x64] = SEGMENT, [0x65] = SEGMENT, [0x66] = OPERAND_SIZE, [0x67] = ADDRESS_SIZE,
    [0xf0] = LOCK,    [0xf2] = REPEAT,  [0xf3] = REPEAT,
};

ALWAYS_INLINE bool is_rex(const struct decoder *d, unsigned byte)
{
    return (byte >> 4 == 4) & d->mode64;
}

/* 26 2E 36 3E 64 65 are ES CS SS DS FS GS. */
static unsigned segment_of(u8 prefix)
{
    return prefix >= 0x64 ? prefix - 0x60u : prefix >> 3 & 3;
}

/* Any prefixes; returns the first byte that is none. A REX counts only directly before the opcode
 * (SDM 2A §2.2.1.2). In 64-bit mode overrides of ES, CS, SS, DS are ignored. */
static unsigned decode_prefixes(struct decoder *d, struct insn *in)
{
    d->at = 0;
    in->rex = 0;
    for (;;) {
        u8 byte = d->p[d->at++];
        if (is_rex(d, byte) && d->at <= d->limit) {
            in->rex = byte;
            continue;
        }
        if (prefix_kind[byte] == NOT_PREFIX || d->at > d->limit)
            return byte;
        in->rex = 0;
        switch (prefix_kind[byte]) {
        case SEGMENT:
            if (d->mode64 && byte < 0x64)
                break;
            d->seg = (u8)segment_of(byte);
            in->prefixes |= PFX_SEG;
            break;
        case OPERAND_SIZE: in->prefixes |= PFX_OPSIZE; break;
        case ADDRESS_SIZE: in->prefixes |= PFX_ADSIZE; break;
        case LOCK: in->prefixes |= PFX_LOCK; break;
        default: d->rep = byte; break;
        }
    }
}

/* Nearly all instructions have no prefix, or in 64-bit mode only REX: without a branch, for which
 * it is going to be cannot be foreseen. */
ALWAYS_INLINE unsigned decode_usual_prefixes(struct decoder *d, struct insn *in)
{
    unsigned rex = is_rex(d, d->p[0]);
    in->rex = d->p[0] & (u8)-rex;
    d->at = rex;
    unsigned byte = d->p[d->at++];
    if (UNLIKELY((prefix_kind[byte] != NOT_PREFIX) | is_rex(d, byte)))
        return decode_prefixes(d, in);
    return byte;
}

/* ---- the memory operand (SDM 2A §2.1.5) ---- */

ALWAYS_INLINE i64 displacement(struct decoder *d, struct insn *in, unsigned len)
{
    const u8 *p = d->p + d->at;
    in->disp_at = (u8)d->at;
    in->disp_len = (u8)len;
    d->at += len;
    switch (len) {
    case 1: return (i8)p[0];
    case 2: return (i16)load16(p);
    default: return (i32)load32(p);
    }
}

ALWAYS_INLINE void memory_16(struct decoder *d, struct insn *in)
{
    static const u8 base[8] = {REG_BX, REG_BX, REG_BP, REG_BP, REG_SI, REG_DI, REG_BP, REG_BX};
    static const u8 index[8] = {REG_SI,   REG_DI,   REG_SI,   REG_DI,
                                REG_NONE, REG_NONE, REG_NONE, REG_NONE};
    unsigned mod = modrm_mod(in), rm = modrm_rm(in);
    if (mod == 0 && rm == 6) {
        in->disp = displacement(d, in, 2);
        return;
    }
    in->base = base[rm];
    in->index = index[rm];
    if (mod)
        in->disp = displacement(d, in, mod);
    if (in->base == REG_BP)
        in->seg = SEG_SS;
}

/* `vsib`: the index is a vector register, and there is always one. */
ALWAYS_INLINE unsigned memory_sib(struct decoder *d, struct insn *in, bool vsib)
{
    u8 sib = d->p[d->at++];
    unsigned index = (sib >> 3 & 7) | (in->rex & REX_X ? 8 : 0);
    if (index != REG_SP || vsib) {
        in->index = (u8)index;
        in->scale = (u8)(1u << (sib >> 6));
    }
    return sib & 7;
}

ALWAYS_INLINE void memory_32(struct decoder *d, struct insn *in, bool vsib)
{
    unsigned mod = modrm_mod(in), rm = modrm_rm(in);
    bool sib = rm == REG_SP;
    if (sib)
        rm = memory_sib(d, in, vsib);
    else if (vsib)
        d->bad = true;
    if (mod == 0 && rm == REG_BP) {
        in->disp = displacement(d, in, 4);
        if (d->mode64 && !sib)
            in->base = REG_PC;
        return;
    }
    in->base = (u8)(rm | (in->rex & REX_B ? 8 : 0));
    if (mod)
        in->disp = displacement(d, in, mod == 1 ? 1 : 4);
    if (in->base == REG_SP || in->base == REG_BP)
        in->seg = SEG_SS;
}

ALWAYS_INLINE void decode_memory(struct decoder *d, struct insn *in, bool vsib)
{
    if (in->adsize != 2)
        memory_32(d, in, vsib);
    else if (vsib)
        d->bad = true;
    else
        memory_16(d, in);
    if (d->seg != SEG_COUNT)
        in->seg = d->seg;
}

/* ---- operands ---- */

ALWAYS_INLINE u64 fetch(struct decoder *d, struct insn *in, unsigned len)
{
    const u8 *p = d->p + d->at;
    if (!in->imm_at)
        in->imm_at = (u8)d->at;
    in->imm_len += (u8)len;
    d->at += len;
    switch (len) {
    case 1: return p[0];
    case 2: return load16(p);
    case 4: return load32(p);
    default: return load64(p);
    }
}

/* An operand in the making: in registers of the host rather than in bit fields. */
struct draft {
    unsigned kind, reg, size, access, hidden;
};

ALWAYS_INLINE void store_operand(struct operand *to, const struct draft *o)
{
    store32(to, o->kind | o->reg << 8 | o->size << 16 | o->access << 28 | o->hidden << 30);
}
_Static_assert(sizeof(struct operand) == 4 && offsetof(struct operand, reg) == 1,
               "the layout that store_operand() writes");

/* The bytes of an immediate or displacement of "z" size. */
static unsigned z_size(const struct insn *in)
{
    return in->opsize == 2 ? 2 : 4;
}

ALWAYS_INLINE u64 fetch_z(struct decoder *d, struct insn *in)
{
    unsigned len = z_size(in);
    return (u64)sext64(fetch(d, in, len), len * 8);
}

/* Registers that are not general: a number that none of them has leaves OPD_NONE. */
static void set_special_register(struct draft *o, unsigned kind, unsigned reg)
{
    switch (kind) {
    case KIND_MMX:
        o->kind = OPD_MMX;
        reg &= 7;
        break;
    case KIND_ST:
        o->kind = OPD_ST;
        reg &= 7;
        break;
    case KIND_SEG: /* REX.R is ignored; there is no MOV CS */
        reg &= 7;
        if (reg < SEG_COUNT && !(reg == SEG_CS && o->access == OPD_W))
            o->kind = OPD_SEG;
        break;
    case KIND_CR: /* CR0, 2, 3, 4, 8 exist */
        if (0x11du >> reg & 1)
            o->kind = OPD_CR;
        break;
    default:
        if (reg < 8)
            o->kind = OPD_DR;
        break;
    }
    o->reg = reg;
}

ALWAYS_INLINE void set_register(const struct insn *in, struct draft *o, const struct form *form,
                                unsigned reg)
{
    o->reg = reg;
    switch (form->kind) {
    case KIND_GPRA: o->size = in->adsize; /* fall through */
    case KIND_GPR: o->kind = OPD_GPR; break;
    case KIND_GPR8:
        o->kind = OPD_GPR;
        if (reg >= REG_SP && reg <= REG_DI && !(in->prefixes & (PFX_REX | PFX_VEX))) {
            o->kind = OPD_GPR8H;
            o->reg = reg - REG_SP;
        }
        break;
    case KIND_GPR8H: o->kind = OPD_GPR8H; break;
    case KIND_VEC: o->kind = o->size == 32 ? OPD_YMM : OPD_XMM; break;
    default: set_special_register(o, form->kind, reg); break;
    }
}

ALWAYS_INLINE void set_memory(struct draft *o, unsigned string_reg)
{
    o->kind = OPD_MEM;
    o->reg = string_reg;
}

ALWAYS_INLINE unsigned rm_register(const struct insn *in)
{
    return modrm_rm(in) | (in->rex & REX_B) << 3;
}

ALWAYS_INLINE unsigned reg_register(const struct insn *in)
{
    return modrm_reg(in) | (in->rex & REX_R) << 1;
}

ALWAYS_INLINE unsigned opcode_register(const struct insn *in)
{
    return (in->opcode & 7) | (in->rex & REX_B) << 3;
}

/* A memory operand without ModRM. */
ALWAYS_INLINE void implied_memory(const struct decoder *d, struct insn *in, unsigned base)
{
    in->base = (u8)base;
    if (d->seg != SEG_COUNT)
        in->seg = d->seg;
}

/* The segment of the memory operand is that of rSI where there is one; rDI is in ES whatever the
 * prefix. */
ALWAYS_INLINE void set_string(const struct decoder *d, struct insn *in, struct draft *o,
                              unsigned reg)
{
    set_memory(o, reg);
    o->hidden = true;
    if (reg == REG_SI)
        in->seg = d->seg != SEG_COUNT ? d->seg : SEG_DS;
    else if (in->operand[0].kind != OPD_MEM)
        in->seg = SEG_ES;
}

ALWAYS_INLINE void set_immediate(struct insn *in, struct draft *o, u64 value)
{
    o->kind = OPD_IMM;
    in->imm = value & mask64(o->size * 8);
}

/* The second immediate of ENTER goes to imm2. */
ALWAYS_INLINE void set_imm8(struct decoder *d, struct insn *in, struct draft *o)
{
    o->kind = OPD_IMM;
    if (in->imm_len)
        in->imm2 = (u16)fetch(d, in, 1);
    else
        in->imm = fetch(d, in, 1);
}

ALWAYS_INLINE void set_relative(struct insn *in, struct draft *o, u64 displacement_)
{
    o->kind = OPD_REL;
    in->imm = displacement_;
}

ALWAYS_INLINE void set_far(struct decoder *d, struct insn *in, struct draft *o)
{
    o->kind = OPD_FAR;
    in->imm = fetch(d, in, z_size(in));
    in->imm2 = (u16)fetch(d, in, 2);
}

ALWAYS_INLINE void set_moffs(struct decoder *d, struct insn *in, struct draft *o)
{
    in->disp = (i64)load_sized(d->p + d->at, in->adsize);
    in->disp_at = (u8)d->at;
    in->disp_len = in->adsize;
    d->at += in->adsize;
    set_memory(o, REG_NONE);
    implied_memory(d, in, REG_NONE);
}

/* Either a register's number, or NO_REGISTER when the operand is another one and has been set (or
 * left OPD_NONE where ModRM.mod is not as it wants it). */
enum { NO_REGISTER = 0xff };

ALWAYS_INLINE unsigned rm_operand(const struct decoder *d, const struct insn *in, struct draft *o,
                                  unsigned memory_size)
{
    if (d->situation & SIT_MOD3)
        return rm_register(in);
    o->size = memory_size;
    set_memory(o, REG_NONE);
    return NO_REGISTER;
}

ALWAYS_INLINE unsigned memory_only(const struct decoder *d, struct draft *o)
{
    if (!(d->situation & SIT_MOD3))
        set_memory(o, REG_NONE);
    return NO_REGISTER;
}

ALWAYS_INLINE unsigned vvvv_register(struct decoder *d, struct insn *in)
{
    d->vvvv = true;
    return in->vex_v &= d->mode64 ? 15 : 7; /* unused, all four bits count */
}

/* imm8[7:4]; its highest bit is ignored outside 64-bit mode. */
ALWAYS_INLINE unsigned is4_register(struct decoder *d, struct insn *in)
{
    return fetch(d, in, 1) >> 4 & (d->mode64 ? 15 : 7);
}

/* What is not in ModRM. */
ALWAYS_INLINE void other_operand(struct decoder *d, struct insn *in, struct draft *o,
                                 const struct form *form)
{
    switch ((enum where)form->where) {
    case AT_IMM8: set_imm8(d, in, o); break;
    case AT_SIMM8: set_immediate(in, o, (u64)(i8)fetch(d, in, 1)); break;
    case AT_IMM16: set_immediate(in, o, fetch(d, in, 2)); break;
    case AT_IMMZ: set_immediate(in, o, fetch_z(d, in)); break;
    case AT_IMMV: set_immediate(in, o, fetch(d, in, o->size)); break;
    case AT_ONE: set_immediate(in, o, 1); break;
    case AT_REL8: set_relative(in, o, (u64)(i8)fetch(d, in, 1)); break;
    case AT_RELZ: set_relative(in, o, fetch_z(d, in)); break;
    case AT_FAR: set_far(d, in, o); break;
    case AT_MOFFS: set_moffs(d, in, o); break;
    case AT_STRING: set_string(d, in, o, form->reg); break;
    default: /* AT_BASED */
        o->hidden = true;
        set_memory(o, REG_NONE);
        implied_memory(d, in, form->reg);
        break;
    }
}

ALWAYS_INLINE void decode_operand(struct decoder *d, struct insn *in, struct draft *o,
                                  const struct form *form)
{
    unsigned reg = NO_REGISTER;
    switch ((enum where)form->where) {
    case AT_REG: reg = reg_register(in); break;
    case AT_RM: reg = rm_operand(d, in, o, o->size); break;
    case AT_RM_B: reg = rm_operand(d, in, o, 1); break;
    case AT_RM_W: reg = rm_operand(d, in, o, 2); break;
    case AT_MEM: reg = memory_only(d, o); break;
    case AT_RMREG: reg = d->situation & SIT_MOD3 ? rm_register(in) : NO_REGISTER; break;
    case AT_OPCODE: reg = opcode_register(in); break;
    case AT_VVVV: reg = vvvv_register(d, in); break;
    case AT_IS4: reg = is4_register(d, in); break;
    case AT_HIDDEN: o->hidden = true; /* fall through */
    case AT_FIXED: reg = form->reg; break;
    default: other_operand(d, in, o, form); break;
    }
    if (reg != NO_REGISTER)
        set_register(in, o, form, reg);
}

ALWAYS_INLINE struct draft draft_operand(const struct decoder *d, const struct op_row *row,
                                         unsigned k)
{
    struct draft o = {
        .access = row->access >> 2 * k & 3,
        .size = forms[row->operand[k]].size[d->column],
    };
    return o;
}

/* False when an operand cannot be encoded so. */
ALWAYS_INLINE bool decode_operands(struct decoder *d, struct insn *in, const struct op_row *row)
{
    bool good = true;
    unsigned k = 0;
    for (; k < OP_OPERANDS && row->operand[k]; k++) {
        struct draft o = draft_operand(d, row, k);
        decode_operand(d, in, &o, &forms[row->operand[k]]);
        good &= o.kind != OPD_NONE;
        store_operand(&in->operand[k], &o);
    }
    in->operands = (u8)k;
    return good;
}

/* ---- opcode to row ---- */

/* Reads the ModRM byte if there is one, without a branch. */
ALWAYS_INLINE void read_modrm(struct decoder *d, struct insn *in, bool there)
{
    u32 all = -(u32)there;
    u32 modrm = d->p[d->at] & all;
    in->modrm = (u8)modrm;
    in->modrm_at = (u8)(d->at & all);
    d->at += there;
    d->situation |= (modrm & 63) << SIT_MODRM_SHIFT;
    d->situation |= (modrm >= 0xc0 ? SIT_MOD3 : SIT_MEMORY) & all;
}

/* The row of an opcode and its ModRM byte, or 0. */
ALWAYS_INLINE unsigned find_row(struct decoder *d, struct insn *in, unsigned map)
{
    unsigned entry = op_index[map][in->opcode];
    read_modrm(d, in, entry & INDEX_MODRM);
    unsigned by_reg = -(entry / INDEX_BY_REG & 1);
    unsigned number = (entry & INDEX_ROW) + (modrm_reg(in) & by_reg);
    if (UNLIKELY(entry & INDEX_X87))
        number = d->situation & SIT_MOD3 ? op_index_x87_reg[in->opcode & 7][in->modrm & 63]
                                         : op_index_x87_mem[in->opcode & 7][modrm_reg(in)];
    const struct op_row *row = &op_rows[number];
    u16 opcode = row->opcode;
    do {
        if ((d->situation & row->mask) == row->key)
            return (unsigned)(row - op_rows);
    } while ((++row)->opcode == opcode);
    return 0;
}

/* REX, or what of VEX stands for it. REX.W and SIT_W64 are the same bit. */
ALWAYS_INLINE void set_rex(struct decoder *d, struct insn *in, u32 rex)
{
    in->rex = (u8)rex;
    d->situation |= (rex & REX_W) >> 1 | (rex & REX_B) << SIT_REX_B_SHIFT;
    if (d->mode64)
        d->situation |= rex & REX_W;
}
_Static_assert((unsigned)SIT_W64 == REX_W && (unsigned)SIT_W == REX_W >> 1, "bits of REX");

ALWAYS_INLINE void set_pp(struct decoder *d, struct insn *in, u32 pp)
{
    in->pp = (u8)pp;
    d->situation |= pp << SIT_PP_SHIFT;
}

/* Escape bytes, and F2/F3 before 66 as mandatory prefix (SDM 2A §2.1.2). Returns enum op_map. */
ALWAYS_INLINE unsigned decode_legacy(struct decoder *d, struct insn *in, unsigned byte)
{
    in->prefixes |= in->rex & PFX_REX; /* the same bit: REX is 40..4F */
    set_rex(d, in, in->rex & (REX_W | REX_R | REX_X | REX_B));
    if (UNLIKELY(d->rep))
        set_pp(d, in, d->rep == 0xf3 ? 2 : 3);
    else if (UNLIKELY(in->prefixes & PFX_OPSIZE))
        set_pp(d, in, 1);
    if (byte == 0x0f) {
        in->map = MAP_0F;
        byte = d->p[d->at++];
        if (byte == 0x38 || byte == 0x3a) {
            in->map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
            byte = d->p[d->at++];
        }
    }
    in->opcode_at = (u8)(d->at - 1);
    in->opcode = (u8)byte;
    return in->map;
}

/* C4 and C5 are LES and LDS outside 64-bit mode unless what follows would be a register form. */
ALWAYS_INLINE bool is_vex(const struct decoder *d, unsigned byte)
{
    return (byte == 0xc4 || byte == 0xc5) && (d->mode64 || d->p[d->at] >= 0xc0);
}

/* SDM 2A §2.3.5:   C4  R X B mmmmm  W vvvv L pp     C5  R vvvv L pp     all letters inverted but
 * mmmmm, W, L, pp. Returns enum op_map, or MAP_COUNT when there is no instruction. */
ALWAYS_INLINE unsigned decode_vex(struct decoder *d, struct insn *in, unsigned byte)
{
    u32 last, rex;
    bool prefixed = in->rex || d->rep || (in->prefixes & (PFX_OPSIZE | PFX_LOCK));
    in->prefixes |= PFX_VEX;
    if (byte == 0xc5) {
        last = d->p[d->at++];
        in->map = MAP_0F;
        rex = ~last >> 5 & REX_R;
    } else {
        u32 first = d->p[d->at++];
        last = d->p[d->at++];
        in->map = first & 0x1f;
        rex = (~first >> 5 & (REX_R | REX_X | REX_B)) | (last >> 4 & REX_W);
    }
    set_rex(d, in, d->mode64 ? rex : rex & REX_W);
    set_pp(d, in, last & 3);
    in->vex_v = ~last >> 3 & 15;
    in->vex_l = last >> 2 & 1;
    d->situation |= (u32)in->vex_l << SIT_L_SHIFT;
    d->column |= in->vex_l * COLUMN_L;
    in->opcode_at = (u8)d->at;
    in->opcode = d->p[d->at++];
    if (prefixed || in->map < MAP_0F || in->map > MAP_0F3A)
        return MAP_COUNT;
    return MAP_VEX + in->map;
}

/* ---- sizes of the whole instruction ---- */

/* By mode (16, 32, 64) and the prefixes 66 (1) and 67 (2). */
struct sizes {
    u8 opsize, adsize;
};
static const struct sizes sizes[3][4] = {
    {{2, 2}, {4, 2}, {2, 4}, {4, 4}},
    {{4, 4}, {2, 4}, {4, 2}, {2, 2}},
    {{4, 8}, {2, 8}, {4, 4}, {2, 4}},
};
_Static_assert(PFX_OPSIZE == 1 << 3 && PFX_ADSIZE == 2 << 3, "prefixes 66 and 67 as an index");

ALWAYS_INLINE void set_sizes(struct decoder *d, struct insn *in, unsigned attr)
{
    unsigned prefixes = in->prefixes >> 3 & 3;
    if (UNLIKELY(in->pp == 1))
        prefixes &= ~1u; /* that 66 is part of the opcode */
    struct sizes s = sizes[in->mode >> 5][prefixes];
    if (UNLIKELY(!d->mode64 && (in->prefixes & PFX_VEX)))
        s.opsize = 4;
    bool w = in->rex & REX_W, fixed = attr & ATTR_FIX64, by_default = attr & ATTR_DEF64;
    bool wide = d->mode64 & (w | fixed | (by_default & !(prefixes & 1)));
    s.opsize = (u8)(wide * 8 + !wide * s.opsize); /* a branch would be mispredicted often */
    in->opsize = s.opsize;
    in->adsize = s.adsize;
    d->column |= s.opsize >> 2;
}
_Static_assert(COLUMN_16 == 2 >> 2 && COLUMN_32 == 4 >> 2 && COLUMN_64 == 8 >> 2, "columns");

/* ---- the whole ---- */

/* F2 and F3 that are part of the opcode are no prefixes any more; pp tells only of those that
 * are. */
ALWAYS_INLINE void settle_mandatory_prefix(const struct decoder *d, struct insn *in,
                                           const struct op_row *row)
{
    unsigned keyed = (row->mask & row->key & SIT_PP) >> SIT_PP_SHIFT;
    if (keyed < 2 && d->rep)
        in->prefixes |= d->rep == 0xf3 ? PFX_REP : PFX_REPNE;
    in->pp = (u8)keyed;
}

/* LOCK wants a read-modify-write of memory. An unused VEX.vvvv must be 1111. The registers of a
 * gather must differ. */
ALWAYS_INLINE bool is_legal(const struct decoder *d, const struct insn *in,
                            const struct op_row *row)
{
    if (!(in->prefixes & (PFX_LOCK | PFX_VEX)))
        return true;
    if (in->prefixes & PFX_LOCK)
        return (row->attr & ATTR_LOCK) && in->operand[0].kind == OPD_MEM;
    if (!d->vvvv && in->vex_v)
        return false;
    if (row->attr & ATTR_VSIB) {
        u8 dst = in->operand[0].reg, mask = in->operand[2].reg;
        return !d->bad && dst != mask && dst != in->index && mask != in->index;
    }
    return true;
}

/* Stores: for 64 bytes the compiler would call memset or use REP STOS, which cost as much as the
 * rest. */
ALWAYS_INLINE void clear(struct insn *in)
{
    u8 *p = (u8 *)in;
    store64(p, 0);
    store64(p + 8, 0);
    store64(p + 16, 0);
    store64(p + 24, 0);
    store64(p + 32, 0);
    store64(p + 40, 0);
    store64(p + 48, 0);
    store64(p + 56, 0);
}
_Static_assert(sizeof(struct insn) == 64, "clear() clears all");

/* Everything but the bytes' end. */
ALWAYS_INLINE bool decode_all(struct decoder *d, struct insn *in)
{
    unsigned byte = decode_usual_prefixes(d, in);
    unsigned map = UNLIKELY(is_vex(d, byte)) ? decode_vex(d, in, byte) : decode_legacy(d, in, byte);
    if (map == MAP_COUNT)
        return false;
    in->row = (u16)find_row(d, in, map);
    const struct op_row *row = &op_rows[in->row];
    in->op = row->op;
    if (in->op == OP_INVALID)
        return false;
    if (UNLIKELY(in->pp) && !(in->prefixes & PFX_VEX))
        settle_mandatory_prefix(d, in, row);
    set_sizes(d, in, row->attr);
    if (d->situation & SIT_MEMORY) {
        if (UNLIKELY(row->reg_only))
            d->situation ^= SIT_MEMORY | SIT_MOD3;
        else
            decode_memory(d, in, row->attr & ATTR_VSIB);
    }
    return decode_operands(d, in, row) && is_legal(d, in, row);
}

enum decode_status decode_any(const u8 *bytes, size_t avail, unsigned mode, struct insn *in)
{
    u8 padded[MAX_READ];
    struct decoder d = {
        .p = bytes,
        .limit = avail < INSN_MAX_BYTES ? (unsigned)avail : INSN_MAX_BYTES,
        .mode64 = mode == 64,
        .seg = SEG_COUNT,
        .situation = mode == 64 ? SIT_M64 : 0,
        .column = mode == 64 ? COLUMN_M64 : 0,
    };
    if (UNLIKELY(avail < MAX_READ)) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, bytes, avail);
        d.p = padded;
    }
    clear(in);
    in->mode = (u8)mode;
    in->base = in->index = REG_NONE;
    in->scale = 1;
    in->seg = SEG_DS;
    bool good = decode_all(&d, in);
    if (UNLIKELY(d.at > d.limit))
        return d.limit == INSN_MAX_BYTES ? DECODE_TOO_LONG : DECODE_TRUNCATED;
    in->len = (u8)d.at;
    return good ? DECODE_OK : DECODE_INVALID;
}
