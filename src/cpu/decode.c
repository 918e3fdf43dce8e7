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
 */
#include "cpu/decode.h"

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
    u8 rep;    /* 0, or the last of F2 and F3 */
    u8 seg;    /* last effective override, or SEG_COUNT */
    u8 vvvv;   /* VEX.vvvv was used by an operand */
    u8 column; /* of the size table */
    bool bad;
    u32 situation; /* optable_index.h */
};

/* ---- sizes ---- */

/* Column of the size table: operand size, then VEX.L, then 64-bit mode. */
enum { COLUMN_16, COLUMN_32, COLUMN_64, COLUMN_L = 4, COLUMN_M64 = 8, COLUMNS = 16 };

enum size_class {
#define SIZE(name, o16, o32, o64) SIZE_##name,
#define SIZE_L(name, l0, l1)      SIZE_##name,
#define SIZE_M(name, m32, m64)    SIZE_##name,
#include "cpu/opsizes.inc"
#undef SIZE
#undef SIZE_L
#undef SIZE_M
};

static const u16 op_size[][COLUMNS] = {
#define SIZE(name, o16, o32, o64)                                                                  \
    [SIZE_##name] = {o16, o32, o64, 0, o16, o32, o64, 0, o16, o32, o64, 0, o16, o32, o64, 0},
#define SIZE_L(name, l0, l1)                                                                       \
    [SIZE_##name] = {l0, l0, l0, 0, l1, l1, l1, 0, l0, l0, l0, 0, l1, l1, l1, 0},
#define SIZE_M(name, m32, m64)                                                                     \
    [SIZE_##name] = {m32, m32, m32, 0, m32, m32, m32, 0, m64, m64, m64, 0, m64, m64, m64, 0},
#include "cpu/opsizes.inc"
#undef SIZE
#undef SIZE_L
#undef SIZE_M
};

/* ---- operand forms ---- */

enum where {
    AT_IMM8,
    AT_SIMM8,
    AT_IMM16,
    AT_IMMZ,
    AT_IMMV,
    AT_ONE,
    AT_REL8,
    AT_RELZ,
    AT_FAR,
    AT_MOFFS,
    AT_OPCODE,
    AT_FIXED,
    AT_HIDDEN,
    AT_STRING,
    AT_BASED,
    AT_RM,
    AT_RM_B, /* register of the form's size, or 1 byte of memory */
    AT_RM_W,
    AT_MEM,
    AT_RMREG,
    AT_REG,
    AT_VVVV,
    AT_IS4,
};

/* Register kinds of a form; resolved to enum operand_kind by size and REX. */
enum form_kind {
    KIND_NONE,
    KIND_GPR,
    KIND_GPR8,
    KIND_GPR8H,
    KIND_SEG,
    KIND_CR,
    KIND_DR,
    KIND_ST,
    KIND_MMX,
    KIND_VEC
};

struct form {
    u8 where, kind, size, reg;
};

static const struct form forms[FORM_COUNT] = {
#define FORM(name, where, kind, size, reg)                                                         \
    [FORM_##name] = {AT_##where, KIND_##kind, SIZE_##size, reg},
#include "cpu/opforms.inc"
#undef FORM
};

/* ---- prefixes ---- */

enum prefix_kind { NOT_PREFIX, REX_PREFIX, SEGMENT, OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPEAT };

static const u8 prefix_kind[256] = {
    [0x26] = SEGMENT,
    [0x2e] = SEGMENT,
    [0x36] = SEGMENT,
    [0x3e] = SEGMENT,
    [0x40 ... 0x4f] = REX_PREFIX,
    [0x64] = SEGMENT,
    [0x65] = SEGMENT,
    [0x66] = OPERAND_SIZE,
    [0x67] = ADDRESS_SIZE,
    [0xf0] = LOCK,
    [0xf2] = REPEAT,
    [0xf3] = REPEAT,
};

/* 26 2E 36 3E 64 65 are ES CS SS DS FS GS. */
static unsigned segment_of(u8 prefix)
{
    return prefix >= 0x64 ? prefix - 0x60u : prefix >> 3 & 3;
}

/* Reads prefixes and returns the first byte that is none. A REX counts only directly before the
 * opcode (SDM 2A §2.2.1.2). In 64-bit mode overrides of ES, CS, SS, DS are ignored. */
static unsigned decode_prefixes(struct decoder *d, struct insn *in)
{
    for (;;) {
        u8 byte = d->p[d->at++];
        unsigned kind = prefix_kind[byte];
        if (LIKELY(kind == NOT_PREFIX) || d->at > d->limit)
            return byte;
        if (kind == REX_PREFIX) {
            if (!d->mode64)
                return byte;
            in->rex = byte;
            continue;
        }
        in->rex = 0;
        switch (kind) {
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

/* ---- the memory operand (SDM 2A §2.1.5) ---- */

static i64 displacement(struct decoder *d, struct insn *in, unsigned len)
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

static void memory_16(struct decoder *d, struct insn *in)
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
static unsigned memory_sib(struct decoder *d, struct insn *in, bool vsib)
{
    u8 sib = d->p[d->at++];
    unsigned index = (sib >> 3 & 7) | (in->rex & REX_X ? 8 : 0);
    if (index != REG_SP || vsib) {
        in->index = (u8)index;
        in->scale = (u8)(1u << (sib >> 6));
    }
    return sib & 7;
}

static void memory_32(struct decoder *d, struct insn *in, bool vsib)
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

static void decode_memory(struct decoder *d, struct insn *in, bool vsib)
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

static u64 fetch(struct decoder *d, struct insn *in, unsigned len)
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

/* The bytes of an immediate or displacement of "z" size. */
static unsigned z_size(const struct insn *in)
{
    return in->opsize == 2 ? 2 : 4;
}

static void set_register(struct decoder *d, struct insn *in, struct operand *o,
                         const struct form *form, unsigned reg)
{
    switch (form->kind) {
    case KIND_GPR: o->kind = OPD_GPR; break;
    case KIND_GPR8:
        o->kind = OPD_GPR;
        if (reg >= REG_SP && reg <= REG_DI && !(in->prefixes & (PFX_REX | PFX_VEX))) {
            o->kind = OPD_GPR8H;
            reg -= REG_SP;
        }
        break;
    case KIND_GPR8H: o->kind = OPD_GPR8H; break;
    case KIND_VEC: o->kind = o->size == 32 ? OPD_YMM : OPD_XMM; break;
    case KIND_MMX:
        o->kind = OPD_MMX;
        reg &= 7;
        break;
    case KIND_ST:
        o->kind = OPD_ST;
        reg &= 7;
        break;
    case KIND_SEG: /* REX.R is ignored; there is no MOV CS */
        o->kind = OPD_SEG;
        reg &= 7;
        d->bad |= reg >= SEG_COUNT || (reg == SEG_CS && o->access == OPD_W);
        break;
    case KIND_CR: /* CR0, 2, 3, 4, 8 exist */
        o->kind = OPD_CR;
        d->bad |= !(0x11du >> reg & 1);
        break;
    default:
        o->kind = OPD_DR;
        d->bad |= reg > 7;
        break;
    }
    o->reg = (u8)reg;
}

static void set_memory(struct operand *o, unsigned string_reg)
{
    o->kind = OPD_MEM;
    o->reg = (u8)string_reg;
}

static unsigned rm_register(const struct insn *in)
{
    return modrm_rm(in) | (in->rex & REX_B ? 8 : 0);
}

static void set_rm(struct decoder *d, struct insn *in, struct operand *o, const struct form *form,
                   unsigned memory_size)
{
    if (d->situation & SIT_MOD3) {
        set_register(d, in, o, form, rm_register(in));
    } else {
        o->size = memory_size & 0xfff;
        set_memory(o, REG_NONE);
    }
}

/* A memory operand without ModRM. */
static void implied_memory(struct decoder *d, struct insn *in, unsigned base)
{
    in->base = (u8)base;
    if (d->seg != SEG_COUNT)
        in->seg = d->seg;
}

/* The destination of a string instruction is in ES whatever the prefix. */
static void set_string(struct decoder *d, struct insn *in, struct operand *o, unsigned reg)
{
    set_memory(o, reg);
    o->hidden = true;
    if (reg == REG_SI)
        in->seg = d->seg != SEG_COUNT ? d->seg : SEG_DS;
    else if (in->operand[0].kind != OPD_MEM || o == &in->operand[0])
        in->seg = SEG_ES;
}

static void set_immediate(struct insn *in, struct operand *o, u64 value)
{
    o->kind = OPD_IMM;
    in->imm = value & mask64(o->size * 8);
}

static void set_moffs(struct decoder *d, struct insn *in, struct operand *o)
{
    const u8 *p = d->p + d->at;
    in->disp = (i64)load_sized(p, in->adsize);
    in->disp_at = (u8)d->at;
    in->disp_len = in->adsize;
    d->at += in->adsize;
    set_memory(o, REG_NONE);
    implied_memory(d, in, REG_NONE);
}

static void set_relative(struct insn *in, struct operand *o, i64 displacement_)
{
    o->kind = OPD_REL;
    in->imm = (u64)displacement_;
}

/* The second immediate of ENTER goes to imm2. */
static void set_imm8(struct decoder *d, struct insn *in, struct operand *o)
{
    if (in->imm_len) {
        o->kind = OPD_IMM;
        in->imm2 = (u16)fetch(d, in, 1);
    } else {
        set_immediate(in, o, fetch(d, in, 1));
    }
}

static void decode_operand(struct decoder *d, struct insn *in, struct operand *o,
                           const struct form *form)
{
    switch ((enum where)form->where) {
    case AT_RM: set_rm(d, in, o, form, o->size); break;
    case AT_REG: set_register(d, in, o, form, modrm_reg(in) | (in->rex & REX_R ? 8 : 0)); break;
    case AT_IMM8: set_imm8(d, in, o); break;
    case AT_SIMM8: set_immediate(in, o, (u64)(i8)fetch(d, in, 1)); break;
    case AT_IMM16: set_immediate(in, o, fetch(d, in, 2)); break;
    case AT_IMMZ:
        set_immediate(in, o, (u64)sext64(fetch(d, in, z_size(in)), z_size(in) * 8));
        break;
    case AT_IMMV: set_immediate(in, o, fetch(d, in, o->size)); break;
    case AT_ONE: set_immediate(in, o, 1); break;
    case AT_REL8: set_relative(in, o, (i8)fetch(d, in, 1)); break;
    case AT_RELZ: set_relative(in, o, sext64(fetch(d, in, z_size(in)), z_size(in) * 8)); break;
    case AT_FAR:
        o->kind = OPD_FAR;
        in->imm = fetch(d, in, z_size(in));
        in->imm2 = (u16)fetch(d, in, 2);
        break;
    case AT_MOFFS: set_moffs(d, in, o); break;
    case AT_OPCODE:
        set_register(d, in, o, form, (in->opcode & 7) | (in->rex & REX_B ? 8 : 0));
        break;
    case AT_HIDDEN: o->hidden = true; /* fall through */
    case AT_FIXED: set_register(d, in, o, form, form->reg); break;
    case AT_STRING: set_string(d, in, o, form->reg); break;
    case AT_BASED:
        o->hidden = true;
        set_memory(o, REG_NONE);
        implied_memory(d, in, form->reg);
        break;
    case AT_RM_B: set_rm(d, in, o, form, 1); break;
    case AT_RM_W: set_rm(d, in, o, form, 2); break;
    case AT_MEM:
        d->bad |= d->situation & SIT_MOD3;
        set_memory(o, REG_NONE);
        break;
    case AT_RMREG:
        d->bad |= !(d->situation & SIT_MOD3);
        set_register(d, in, o, form, rm_register(in));
        break;
    case AT_VVVV:
        d->vvvv = true;
        in->vex_v &= d->mode64 ? 15 : 7; /* unused, all four bits count */
        set_register(d, in, o, form, in->vex_v);
        break;
    case AT_IS4: set_register(d, in, o, form, fetch(d, in, 1) >> 4 & (d->mode64 ? 15 : 7)); break;
    }
}

static void decode_operands(struct decoder *d, struct insn *in, const struct op_row *row)
{
    unsigned access = row->access, k;
    for (k = 0; k < OP_OPERANDS && row->operand[k]; k++, access >>= 2) {
        const struct form *form = &forms[row->operand[k]];
        struct operand *o = &in->operand[k];
        o->access = access & 3;
        o->size = form->size == SIZE_a ? in->adsize : op_size[form->size][d->column] & 0xfff;
        decode_operand(d, in, o, form);
    }
    in->operands = (u8)k;
}

/* ---- opcode to row ---- */

/* The row of an opcode and its ModRM byte, or NULL. */
static const struct op_row *find_row(struct decoder *d, struct insn *in, unsigned map)
{
    unsigned entry = op_index[map][in->opcode];
    if (entry & INDEX_MODRM) {
        in->modrm_at = (u8)d->at;
        in->modrm = d->p[d->at++];
        d->situation |= (modrm_mod(in) == 3 ? SIT_MOD3 : 0) | modrm_reg(in) << SIT_REG_SHIFT |
                        modrm_rm(in) << SIT_RM_SHIFT;
        if (entry & INDEX_BY_REG)
            entry += modrm_reg(in);
    }
    const struct op_row *row = &op_rows[entry & INDEX_ROW];
    for (u16 opcode = row->opcode; row->opcode == opcode && row->op; row++) {
        if ((d->situation & row->mask) == row->key)
            return row;
    }
    return NULL;
}

static const struct op_row *find_x87(struct decoder *d, struct insn *in)
{
    in->modrm_at = (u8)d->at;
    in->modrm = d->p[d->at++];
    unsigned row;
    if (modrm_mod(in) == 3) {
        d->situation |= SIT_MOD3;
        row = op_index_x87_reg[in->opcode & 7][in->modrm & 63];
    } else {
        row = op_index_x87_mem[in->opcode & 7][modrm_reg(in)];
    }
    return row ? &op_rows[row] : NULL;
}

static void set_situation(struct decoder *d, const struct insn *in)
{
    if (d->mode64)
        d->situation |= SIT_M64 | (in->rex & REX_W ? SIT_W64 : 0);
    if (in->rex & REX_W)
        d->situation |= SIT_W;
    if (in->rex & REX_B)
        d->situation |= SIT_REX_B;
    if (in->vex_l)
        d->situation |= SIT_L;
    d->situation |= (u32)in->pp << SIT_PP_SHIFT;
}

/* Escape bytes, and F2/F3 before 66 as mandatory prefix (SDM 2A §2.1.2). */
static const struct op_row *decode_legacy(struct decoder *d, struct insn *in, unsigned byte)
{
    if (in->rex) {
        in->prefixes |= PFX_REX;
        in->rex &= REX_W | REX_R | REX_X | REX_B;
    }
    if (d->rep)
        in->pp = d->rep == 0xf3 ? 2 : 3;
    else if (in->prefixes & PFX_OPSIZE)
        in->pp = 1;
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
    set_situation(d, in);
    if (in->map == MAP_ONE && (byte & 0xf8) == 0xd8)
        return find_x87(d, in);
    return find_row(d, in, in->map);
}

/* C4 and C5 are LES and LDS outside 64-bit mode unless what follows would be a register form. */
static bool is_vex(const struct decoder *d, unsigned byte)
{
    return (byte == 0xc4 || byte == 0xc5) && (d->mode64 || d->p[d->at] >= 0xc0);
}

/* SDM 2A §2.3.5:   C4  R X B mmmmm  W vvvv L pp     C5  R vvvv L pp     all letters inverted but
 * mmmmm, W, L, pp. */
static const struct op_row *decode_vex(struct decoder *d, struct insn *in, unsigned byte)
{
    u8 last;
    bool prefixed = in->rex || d->rep || (in->prefixes & (PFX_OPSIZE | PFX_LOCK));
    in->prefixes |= PFX_VEX;
    in->rex = 0;
    if (byte == 0xc5) {
        last = d->p[d->at++];
        in->map = MAP_0F;
        in->rex |= last & 0x80 ? 0 : REX_R;
    } else {
        u8 first = d->p[d->at++];
        last = d->p[d->at++];
        in->map = first & 0x1f;
        in->rex = (u8)(~first >> 5 & (REX_R | REX_X | REX_B));
        in->rex |= last & 0x80 ? REX_W : 0;
    }
    if (!d->mode64)
        in->rex &= REX_W;
    in->vex_v = (u8)(~last >> 3 & 15);
    in->vex_l = last >> 2 & 1;
    in->pp = last & 3;
    in->opcode_at = (u8)d->at;
    in->opcode = d->p[d->at++];
    if (prefixed || in->map < MAP_0F || in->map > MAP_0F3A)
        return NULL;
    set_situation(d, in);
    return find_row(d, in, MAP_VEX + in->map);
}

/* ---- sizes of the whole instruction ---- */

static unsigned address_size(const struct insn *in)
{
    bool other = in->prefixes & PFX_ADSIZE;
    switch (in->mode) {
    case 64: return other ? 4 : 8;
    case 32: return other ? 2 : 4;
    default: return other ? 4 : 2;
    }
}

/* A 66 that is part of the opcode does not change the operand size. */
static unsigned operand_size(const struct decoder *d, const struct insn *in,
                             const struct op_row *row)
{
    bool other = (in->prefixes & PFX_OPSIZE) && !((row->mask & SIT_PP) == SIT_PP && in->pp == 1);
    if (d->mode64) {
        if ((row->attr & ATTR_FIX64) || (in->rex & REX_W))
            return 8;
        if (other)
            return 2;
        return row->attr & ATTR_DEF64 ? 8 : 4;
    }
    if (in->prefixes & PFX_VEX)
        return 4;
    return (in->mode == 16) == other ? 4 : 2;
}

static void set_sizes(struct decoder *d, struct insn *in, const struct op_row *row)
{
    in->adsize = (u8)address_size(in);
    in->opsize = (u8)operand_size(d, in, row);
    d->column = in->opsize == 8 ? COLUMN_64 : in->opsize == 4 ? COLUMN_32 : COLUMN_16;
    d->column |= (in->vex_l ? COLUMN_L : 0) | (d->mode64 ? COLUMN_M64 : 0);
}

/* ---- the whole ---- */

/* F2 and F3 that are part of the opcode are no prefixes any more; pp tells only of those that
 * are. */
static void settle_mandatory_prefix(const struct decoder *d, struct insn *in,
                                    const struct op_row *row)
{
    if (in->prefixes & PFX_VEX)
        return;
    if (row->mask & SIT_PP && in->pp >= 2 && row->key & SIT_PP)
        return;
    if (d->rep)
        in->prefixes |= d->rep == 0xf3 ? PFX_REP : PFX_REPNE;
    if (!(row->mask & SIT_PP) || !(row->key & SIT_PP))
        in->pp = 0;
}

/* LOCK wants a read-modify-write of memory. The registers of a gather must differ. */
static bool is_legal(const struct decoder *d, const struct insn *in, const struct op_row *row)
{
    if (d->bad)
        return false;
    if ((in->prefixes & PFX_LOCK) && !((row->attr & ATTR_LOCK) && in->operand[0].kind == OPD_MEM))
        return false;
    if ((in->prefixes & PFX_VEX) && !d->vvvv && in->vex_v)
        return false;
    if (row->attr & ATTR_VSIB) {
        u8 dst = in->operand[0].reg, mask = in->operand[2].reg;
        return dst != mask && dst != in->index && mask != in->index;
    }
    return true;
}

static enum decode_status decode_bytes(struct decoder *d, unsigned mode, struct insn *in)
{
    memset(in, 0, sizeof *in);
    in->mode = (u8)mode;
    in->base = in->index = REG_NONE;
    in->scale = 1;
    in->seg = SEG_DS;

    unsigned byte = decode_prefixes(d, in);
    const struct op_row *row =
        is_vex(d, byte) ? decode_vex(d, in, byte) : decode_legacy(d, in, byte);
    if (row) {
        in->op = row->op;
        in->row = (u16)(row - op_rows);
        settle_mandatory_prefix(d, in, row);
        set_sizes(d, in, row);
        if (row->extra & EXTRA_REG_ONLY)
            d->situation |= SIT_MOD3;
        if (in->modrm_at && !(d->situation & SIT_MOD3))
            decode_memory(d, in, row->attr & ATTR_VSIB);
        decode_operands(d, in, row);
    }
    if (d->at > d->limit)
        return d->limit == INSN_MAX_BYTES ? DECODE_TOO_LONG : DECODE_TRUNCATED;
    in->len = (u8)d->at;
    return row && is_legal(d, in, row) ? DECODE_OK : DECODE_INVALID;
}

enum decode_status decode(const u8 *bytes, size_t avail, unsigned mode, struct insn *in)
{
    struct decoder d = {
        .p = bytes,
        .limit = avail < INSN_MAX_BYTES ? (unsigned)avail : INSN_MAX_BYTES,
        .mode64 = mode == 64,
        .seg = SEG_COUNT,
    };
    if (LIKELY(avail >= MAX_READ))
        return decode_bytes(&d, mode, in);

    u8 padded[MAX_READ] = {0};
    memcpy(padded, bytes, avail);
    d.p = padded;
    return decode_bytes(&d, mode, in);
}
