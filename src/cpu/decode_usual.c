/* SPDX-License-Identifier: MIT
 *
 * The decoder's shortcut. Nine of ten instructions of compiled 32-bit and 64-bit code
 *
 *   - have no prefix but REX, and are of the one-byte map or 0F,
 *   - have operands in ModRM.rm (or the opcode's low bits) and ModRM.reg, in either order or only
 *     one of them, and end with an immediate or without (`usual` of struct op_row).
 *
 * These are decoded here, with everything in registers and few branches: how long an instruction is
 * and which operands it has cannot be foreseen, and a mispredicted branch costs as much as a fourth
 * of the whole. All others are left to decode.c, which knows all rules; and it must decode these
 * alike (test_cpu_decode.c compares the two).
 */
#include "cpu/decode_usual.h"

#include "cpu/decode_forms.h"
#include "cpu/optable.h"
#include "cpu/optable_index.h"

/* So many bytes may be read, whatever the instruction. */
#define USUAL_READ 24

/* ---- operand forms ---- */

/* Columns of sizes: 32-bit mode, then 64-bit mode with operands of 4 and of 8 bytes. */
enum { COLUMN_M32, COLUMN_M64, COLUMN_M64W, COLUMNS };
#define BY_OPSIZE(o16, o32, o64)                                                                   \
    {                                                                                              \
        o32, o32, o64                                                                              \
    }
#define BY_L(l0, l1)                                                                               \
    {                                                                                              \
        l0, l0, l0                                                                                 \
    }
#define BY_MODE(m32, m64)                                                                          \
    {                                                                                              \
        m32, m64, m64                                                                              \
    }
#include "cpu/opsizes.inc"

/* What a form is in struct operand: its first half for a register and for memory, the numbers that
 * a register may have, the size; and the bytes of an immediate. */
struct usual_form {
    u16 bits[2];
    u16 size[COLUMNS];
    u8 immediate[COLUMNS]; /* bytes */
    u8 numbers;
    bool by_opcode; /* the register is in the opcode's low bits */
    bool byte;      /* without REX the numbers 4 to 7 are AH to BH */
};

#define REGISTER_BITS(kind)                                                                        \
    ((kind) == KIND_GPR || (kind) == KIND_GPR8 ? OPD_GPR                                           \
     : (kind) == KIND_VEC                      ? OPD_XMM                                           \
     : (kind) == KIND_MMX                      ? OPD_MMX                                           \
     : (kind) == KIND_ST                       ? OPD_ST                                            \
                                               : OPD_NONE)
#define IMMEDIATE_BITS(where)                                                                      \
    ((where) == AT_REL8 || (where) == AT_RELZ ? OPD_REL                                            \
     : (where) == AT_IMM8 || (where) == AT_SIMM8 || (where) == AT_IMM16 || (where) == AT_IMMZ ||   \
             (where) == AT_IMMV                                                                    \
         ? OPD_IMM                                                                                 \
         : OPD_NONE)
#define NUMBERS(kind)                                                                              \
    (REGISTER_BITS(kind) == OPD_NONE ? 0 : (kind) == KIND_MMX || (kind) == KIND_ST ? 7 : 15)
#define MEMORY_BITS(where)                                                                         \
    ((where) == AT_RM || (where) == AT_MEM ? OPD_MEM | REG_NONE << 8 : OPD_NONE)
#define IMMEDIATE_BYTES(where, wide)                                                               \
    ((where) == AT_IMM8 || (where) == AT_SIMM8 || (where) == AT_REL8 ? 1                           \
     : (where) == AT_IMM16                                           ? 2                           \
     : (where) == AT_IMMV && (wide)                                  ? 8                           \
                                                                     : 4)

static const struct usual_form forms[FORM_COUNT] = {
#define FORM(name, where_, kind_, size_, reg_)                                                     \
    [FORM_##name] = {                                                                              \
        .bits = {REGISTER_BITS(KIND_##kind_) | IMMEDIATE_BITS(AT_##where_),                        \
                 MEMORY_BITS(AT_##where_)},                                                        \
        .size = SIZES_##size_,                                                                     \
        .immediate = {IMMEDIATE_BYTES(AT_##where_, false), IMMEDIATE_BYTES(AT_##where_, false),    \
                      IMMEDIATE_BYTES(AT_##where_, true)},                                         \
        .numbers = NUMBERS(KIND_##kind_),                                                          \
        .by_opcode = AT_##where_ == AT_OPCODE,                                                     \
        .byte = KIND_##kind_ == KIND_GPR8,                                                         \
    },
#include "cpu/opforms.inc"
#undef FORM
};

/* ---- the memory operand ---- */

/* What ModRM says of an address, for each of four mod eight rm. The first four fields are those of
 * struct insn, in its order. Registers are memory of no bytes. */
struct address {
    u8 seg, base, index, scale;
    u8 disp_len;
    bool sib;
};
_Static_assert(offsetof(struct insn, base) == offsetof(struct insn, seg) + 1 &&
                   offsetof(struct insn, index) == offsetof(struct insn, seg) + 2 &&
                   offsetof(struct insn, scale) == offsetof(struct insn, seg) + 3,
               "the order that decode_address() counts on");

// clang-format off
#define A(seg, base, disp_len) {SEG_##seg, base, REG_NONE, 1, disp_len, false}
#define WITH_SIB(disp_len)     {SEG_DS, REG_NONE, REG_NONE, 1, disp_len, true}
/* r: 0, or 8 with REX.B; at5: what rm 5 is */
#define MOD(r, disp_len, at5)                                                                      \
    A(DS, (r) + 0, disp_len), A(DS, (r) + 1, disp_len), A(DS, (r) + 2, disp_len),                  \
    A(DS, (r) + 3, disp_len), WITH_SIB(disp_len), at5,                                             \
    A(DS, (r) + 6, disp_len), A(DS, (r) + 7, disp_len)
#define REGISTER A(DS, REG_NONE, 0)
#define MOD3     REGISTER, REGISTER, REGISTER, REGISTER, REGISTER, REGISTER, REGISTER, REGISTER
/* bp_seg: what memory at rBP (or R13) is in; mod0_base: the base of a bare displacement */
#define ADDRESSES(r, bp_seg, mod0_base)                                                            \
    {MOD(r, 0, A(DS, mod0_base, 4)), MOD(r, 1, A(bp_seg, (r) + REG_BP, 1)),                        \
     MOD(r, 4, A(bp_seg, (r) + REG_BP, 4)), MOD3}
// clang-format on
static const struct address addresses[3][32] = {
    ADDRESSES(0, SS, REG_NONE), /* outside 64-bit mode */
    ADDRESSES(0, SS, REG_PC),   /* in it */
    ADDRESSES(8, DS, REG_PC),   /* in it, with REX.B */
};

/* The SIB byte; returns the length of the displacement. */
ALWAYS_INLINE unsigned decode_sib(unsigned sib, unsigned rex, unsigned disp_len, struct insn *in)
{
    unsigned base = sib & 7, index = (sib >> 3 & 7) | (rex & REX_X) << 2;
    if (index != REG_SP) {
        in->index = (u8)index;
        in->scale = (u8)(1u << (sib >> 6));
    }
    if (base == REG_BP && disp_len == 0)
        return 4;
    base |= (rex & REX_B) << 3;
    in->base = (u8)base;
    in->seg = base == REG_SP || base == REG_BP ? SEG_SS : SEG_DS;
    return disp_len;
}

/* What follows the ModRM byte; returns where it ends. */
ALWAYS_INLINE const u8 *decode_address(const u8 *p, const u8 *at, unsigned modrm, unsigned rex,
                                       bool mode64, struct insn *in)
{
    const struct address *a = &addresses[mode64 + (rex & REX_B)][modrm >> 6 << 3 | (modrm & 7)];
    unsigned len = a->disp_len;
    store32(&in->seg, load32(a));
    if (a->sib)
        len = decode_sib(*at++, rex, len, in);
    i64 disp = (i32)load32(at);
    disp = len == 1 ? (i8)disp : disp;
    in->disp = len ? disp : 0;
    in->disp_at = (u8)(len ? at - p : 0);
    in->disp_len = (u8)len;
    return at + len;
}

/* ---- operands ---- */

ALWAYS_INLINE void store_operand(struct insn *in, const struct op_place *place, unsigned bits,
                                 unsigned size)
{
    store32(&in->operand[place->at], bits | size << 16 | (unsigned)place->access << 28);
}
_Static_assert(sizeof(struct operand) == 4 && offsetof(struct operand, reg) == 1,
               "the layout that store_operand() writes");

/* The first half of struct operand. */
ALWAYS_INLINE unsigned register_bits(const struct usual_form *form, unsigned number, unsigned rex)
{
    if (UNLIKELY(form->byte && number >> 2 == REG_SP >> 2 && !rex))
        return OPD_GPR8H | (number - REG_SP) << 8;
    return form->bits[0] | (number & form->numbers) << 8;
}

/* False when there is no such operand (a register where memory must be, or the other way). */
ALWAYS_INLINE bool decode_rm(const struct op_row *row, unsigned opcode, unsigned modrm,
                             unsigned rex, unsigned column, struct insn *in)
{
    const struct usual_form *form = &forms[row->rm.form];
    unsigned number = ((form->by_opcode ? opcode : modrm) & 7) | (rex & REX_B) << 3;
    unsigned bits = modrm < 0xc0 ? form->bits[1] : register_bits(form, number, rex);
    store_operand(in, &row->rm, bits, form->size[column]);
    return bits || !row->rm.form;
}

ALWAYS_INLINE void decode_reg(const struct op_row *row, unsigned modrm, unsigned rex,
                              unsigned column, struct insn *in)
{
    const struct usual_form *form = &forms[row->reg.form];
    unsigned bits = register_bits(form, (modrm >> 3 & 7) | (rex & REX_R) << 1, rex);
    store_operand(in, &row->reg, bits, form->size[column]);
}

/* Returns where it ends. */
ALWAYS_INLINE const u8 *decode_imm(const u8 *p, const u8 *at, const struct op_row *row,
                                   unsigned column, struct insn *in)
{
    const struct usual_form *form = &forms[row->imm.form];
    unsigned len = form->immediate[column], size = form->size[column], unused = 64 - len * 8;
    u64 value = (u64)((i64)(load64(at) << unused) >> unused);
    if (row->imm.form < FIRST_REL_FORM)
        value &= ~(u64)0 >> (64 - size * 8);
    in->imm = value;
    in->imm_at = (u8)(at - p);
    in->imm_len = (u8)len;
    store_operand(in, &row->imm, form->bits[0], size);
    return at + len;
}

/* ---- the whole ---- */

/* The row of an opcode, or one that is not usual. */
ALWAYS_INLINE const struct op_row *find_row(unsigned entry, unsigned modrm, unsigned rex,
                                            bool mode64)
{
    unsigned by_reg = -(entry / INDEX_BY_REG & 1);
    const struct op_row *row = &op_rows[(entry & INDEX_ROW) + (modrm >> 3 & 7 & by_reg)];
    unsigned situation = (unsigned)mode64 | (rex & REX_W) >> 1 | (rex & REX_W) |
                         (rex & REX_B) << SIT_REX_B_SHIFT | (modrm & 63) << SIT_MODRM_SHIFT |
                         (modrm < 0xc0 ? SIT_MEMORY : SIT_MOD3);
    unsigned opcode = row->opcode;
    while ((situation & row->mask) != row->key) {
        if ((++row)->opcode != opcode)
            return op_rows;
    }
    return row;
}
_Static_assert((unsigned)SIT_M64 == 1 && (unsigned)SIT_W64 == REX_W &&
                   (unsigned)SIT_W == REX_W >> 1,
               "bits of REX");

/* False when it is not usual, or not valid; *in is then undefined. */
ALWAYS_INLINE bool decode_usual(const u8 *p, unsigned mode, struct insn *in)
{
    bool mode64 = mode == 64;
    unsigned rex = p[0] & -(unsigned)((p[0] >> 4 == 4) & mode64);
    const u8 *at = p + (rex != 0);
    unsigned map = *at == 0x0f ? MAP_0F : MAP_ONE;
    at += map;
    unsigned opcode = *at++;

    unsigned entry = op_index[map][opcode];
    bool with_modrm = entry & INDEX_MODRM;
    unsigned modrm = with_modrm ? *at : 0xc0;
    const struct op_row *row = find_row(entry, modrm, rex, mode64);
    if (!row->usual)
        return false;

    unsigned wide = mode64 & (rex >> 3 | !!(row->attr & (ATTR_FIX64 | ATTR_DEF64)));
    unsigned column = mode64 + wide;
    in->op = row->op;
    in->row = (u16)(row - op_rows);
    in->mode = (u8)mode;
    in->opsize = (u8)(4u << wide);
    in->adsize = (u8)(4u << mode64);
    in->prefixes = rex & PFX_REX;
    in->rex = rex & (REX_W | REX_R | REX_X | REX_B);
    in->map = (u8)map;
    in->opcode = (u8)opcode;
    in->opcode_at = (u8)(at - p - 1);
    in->modrm = with_modrm ? (u8)modrm : 0;
    in->modrm_at = with_modrm ? (u8)(at - p) : 0;
    in->imm_at = in->imm_len = 0;
    in->pp = in->vex_l = in->vex_v = 0;
    in->operands = row->operands;
    in->imm2 = in->stub = 0;
    in->imm = 0;
    memset(in->operand, 0, sizeof in->operand);

    at = decode_address(p, at + with_modrm, modrm, rex, mode64, in);
    bool good = decode_rm(row, opcode, modrm, rex, column, in);
    decode_reg(row, modrm, rex, column, in);
    if (row->imm.form)
        at = decode_imm(p, at, row, column, in);
    in->len = (u8)(at - p);
    return good;
}

enum decode_status decode(const u8 *bytes, size_t avail, unsigned mode, struct insn *in)
{
    if (avail >= USUAL_READ && mode != 16 && decode_usual(bytes, mode, in))
        return DECODE_OK;
    return decode_any(bytes, avail, mode, in);
}
