/* SPDX-License-Identifier: MIT
 *
 * The opcode table put together: the rows of the optable_*.inc files, included once to number them,
 * once to fill the table and once to fill the index. All of it is constant data.
 *
 * The macros below are the legend of the columns; each file says which of them it uses.
 *
 *   opcode     the last opcode byte; the file says the map
 *   key        what else must be so: see "keys"; ANY: nothing
 *   op         enum insn_op without OP_
 *   operands   up to four, as encoded: see opforms.inc; __ : none
 *   access     of each operand in turn, R, W or RW; N: not accessed
 *   class      enum op_class without CLASS_
 *   attributes enum op_attr, shortened
 *   feature    enum cpu_feature without CPUID_; 0: every CPU has it
 *   faults     enum op_faults: NO, ACC (by its memory accesses), YES
 *   ends       END: ends a block; GO: does not
 *   flags      read, written, undefined: the letters of the flags, 0: none
 */
#include "cpu/optable.h"

#include "cpu/optable_index.h"

/* ---- keys: the mask in the upper half, the value in the lower ---- */
#define KEY(mask, value) ((u32)(mask) << 16 | (u32)(value))
enum { ANY = 0 };
#define I64  KEY(SIT_M64, 0)       /* invalid in 64-bit mode */
#define O64  KEY(SIT_M64, SIT_M64) /* only in 64-bit mode */
#define NP   KEY(SIT_PP, 0)        /* no mandatory prefix, nor one that could be */
#define P66  KEY(SIT_PP, 1 << SIT_PP_SHIFT)
#define PF3  KEY(SIT_PP, 2 << SIT_PP_SHIFT)
#define PF2  KEY(SIT_PP, 3 << SIT_PP_SHIFT)
#define NF   KEY(2 << SIT_PP_SHIFT, 0) /* neither F2 nor F3 */
#define MEM  KEY(SIT_MEMORY, SIT_MEMORY)
#define REG  KEY(SIT_MOD3, SIT_MOD3)
#define R(n) KEY(SIT_REG, (n) << SIT_REG_SHIFT)
#define M(n) KEY(SIT_RM, (n) << SIT_RM_SHIFT)
#define L0   KEY(SIT_L, 0)
#define L1   KEY(SIT_L, SIT_L)
#define W0   KEY(SIT_W, 0)
#define W1   KEY(SIT_W, SIT_W)
#define WD   KEY(SIT_W64, 0)
#define WQ   KEY(SIT_W64, SIT_W64)
#define RXB0 KEY(SIT_REX_B, 0)

/* ---- access ---- */
enum {
    N = 0,
    R = OPD_R, /* the key R() is another thing: the preprocessor tells them apart */
    W = OPD_W,
    RW = OPD_RW,
    N_R_R = OPD_R << 2 | OPD_R << 4,
    R_R = OPD_R | OPD_R << 2,
    R_W = OPD_R | OPD_W << 2,
    R_RW = OPD_R | OPD_RW << 2,
    W_N = OPD_W,
    W_R = OPD_W | OPD_R << 2,
    W_W = OPD_W | OPD_W << 2,
    W_RW = OPD_W | OPD_RW << 2,
    RW_R = OPD_RW | OPD_R << 2,
    RW_W = OPD_RW | OPD_W << 2,
    RW_RW = OPD_RW | OPD_RW << 2,
    R_R_R = R_R | OPD_R << 4,
    R_R_W = R_R | OPD_W << 4,
    R_W_W = R_W | OPD_W << 4,
    R_RW_W = R_RW | OPD_W << 4,
    R_RW_RW = R_RW | OPD_RW << 4,
    W_R_R = W_R | OPD_R << 4,
    W_R_RW = W_R | OPD_RW << 4,
    W_W_W = W_W | OPD_W << 4,
    W_W_R = W_W | OPD_R << 4,
    RW_R_R = RW_R | OPD_R << 4,
    RW_R_RW = RW_R | OPD_RW << 4,
    R_R_R_W = R_R_R | OPD_W << 6,
    W_R_R_R = W_R_R | OPD_R << 6,
    W_W_R_R = W_W_R | OPD_R << 6,
    RW_R_R_R = RW_R_R | OPD_R << 6,
    RW_W_RW_W = RW_W | OPD_RW << 4 | OPD_W << 6,
};

/* ---- attributes ---- */
enum {
    LOCK = ATTR_LOCK,
    REP = ATTR_REP,
    REPCC = ATTR_REPCC,
    CPL0 = ATTR_CPL0,
    IOPL = ATTR_IOPL,
    PM = ATTR_PM,
    D64 = ATTR_DEF64,
    F64 = ATTR_FIX64,
    ALIGN = ATTR_ALIGN,
    NOWAIT = ATTR_NOWAIT,
    SHADOW = ATTR_SHADOW,
    SERIAL = ATTR_SERIAL,
    HINT = ATTR_HINT,
    VSIB = ATTR_VSIB,
};
/* ModRM.mod ignored: goes into `reg_only`, above the bits of enum op_attr. */
#define ATTR_BITS 16
#define RONLY     (1 << ATTR_BITS)

/* ---- flags ---- */
enum {
    CF = FLAG_CF,
    PF = FLAG_PF,
    AF = FLAG_AF,
    ZF = FLAG_ZF,
    OF = FLAG_OF,
    IF = FLAG_IF,
    DF = FLAG_DF,
    ACF = FLAG_AC,
    OC = OF | CF,
    AP = AF | PF,
    SAP = FLAG_SF | AP,
    OZC = OF | ZF | CF,
    OSZC = OZC | FLAG_SF,
    OA = OF | AF,
    AC = AF | CF,
    ZC = ZF | CF,
    OAC = OF | AF | CF,
    SZP = FLAG_SF | ZF | PF,
    SZPC = SZP | CF,
    SZAP = SZP | AF,
    SZAPC = SZP | AF | CF,
    OSAP = OF | FLAG_SF | AF | PF,
    OSAPC = OSAP | CF,
    OSZP = OF | SZP,
    OSZPC = OF | SZP | CF,
    OSZAP = OF | SZP | AF,
    OSZAPC = FLAG_OSZAPC,
    COND = OSZPC, /* what the sixteen conditions read, all together */
    FCOMIF = OSZAPC,
    EFLAGS = FLAG_OSZAPC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM |
             FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID,
    INTF = FLAG_TF | FLAG_IF | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF, /* interrupts */
    SYSENTERF = FLAG_VM | FLAG_IF | FLAG_RF,
};

/* ---- faults, ends ---- */
enum { NO = FAULT_NONE, ACC = FAULT_MEM, YES = FAULT_YES };
enum { GO = false, END = true };
enum { CPUID_0 = FEATURE_NONE };

/* Rows are numbered by file and line: each has a line of its own. */
#define CAT_(a, b, c) a##b##_##c
#define CAT(a, b, c)  CAT_(a, b, c)
#define ROW_NUMBER    CAT(ROW_, TABLE, __LINE__)

/* The shape with fewer columns: vector rows. */
#define VROW(opcode, key, op, o1, o2, o3, o4, access, cls, attr, feature, faults)                  \
    ROW(opcode, key, op, o1, o2, o3, o4, access, cls, attr, feature, faults, GO, 0, 0, 0)
#define VALT(opcode, key, op, o1, o2, o3, o4, access, cls, attr, feature, faults)                  \
    ALT(opcode, key, op, o1, o2, o3, o4, access, cls, attr, feature, faults, GO, 0, 0, 0)

/* ---- 1: numbers ---- */
enum {
    ROW_NONE,
#define ROW(...)  ROW_NUMBER,
#define ALT(...)  ROW_NUMBER,
#define GRP(...)  ROW_NUMBER,
#define XMEM(...) ROW_NUMBER,
#define XREG(...) ROW_NUMBER,
#include "cpu/optable_all.inc"
    ROW_COUNT
};
#undef ROW
#undef ALT
#undef GRP
#undef XMEM
#undef XREG
_Static_assert((unsigned)ROW_COUNT <= (unsigned)INDEX_ROW, "a row number fits an index entry");

/* ---- 2: rows ---- */
#define OP(symbol, name) static const char name_##symbol[] = name;
#include "cpu/opnames.inc"
#undef OP

/* The operands of the usual kind (optable_index.h). */
#define IS_RM(form)  ((form) >= FIRST_RM_FORM && (form) <= LAST_RM_FORM)
#define IS_REG(form) ((form) >= FIRST_REG_FORM && (form) <= LAST_REG_FORM)
#define IS_IMM(form) ((form) >= FIRST_IMM_FORM && (form) <= LAST_IMM_FORM)

/* How many are at the front: a RM, a REG, or one of each; whether an immediate follows them and is
 * the last; how many there are at all. */
#define LEADING(o1, o2)                                                                            \
    ((IS_RM(o1) && IS_REG(o2)) || (IS_REG(o1) && IS_RM(o2)) ? 2 : IS_RM(o1) || IS_REG(o1) ? 1 : 0)
#define ENDS_IN_IMM(o1, o2, o3, o4)                                                                \
    (LEADING(o1, o2) == 2   ? IS_IMM(o3) && !(o4)                                                  \
     : LEADING(o1, o2) == 1 ? IS_IMM(o2) && !(o3)                                                  \
                            : IS_IMM(o1) && !(o2))
#define COUNT(o1, o2, o3, o4) (!!(o1) + !!(o2) + !!(o3) + !!(o4))
#define USUAL(o1, o2, o3, o4)                                                                      \
    (COUNT(o1, o2, o3, o4) == LEADING(o1, o2) + ENDS_IN_IMM(o1, o2, o3, o4))

#define RM_AT(o1, o2)  (IS_RM(o1) ? 0 : LEADING(o1, o2) == 2 ? 1 : (int)OP_NOWHERE)
#define REG_AT(o1, o2) (IS_REG(o1) ? 0 : LEADING(o1, o2) == 2 ? 1 : (int)OP_NOWHERE)
#define IMM_AT(o1, o2, o3, o4)                                                                     \
    (ENDS_IN_IMM(o1, o2, o3, o4) ? (int)LEADING(o1, o2) : (int)OP_NOWHERE)
#define PLACE(at_, o1, o2, o3, access_)                                                            \
    {                                                                                              \
        .form = (at_) == 0   ? (o1)                                                                \
                : (at_) == 1 ? (o2)                                                                \
                : (at_) == 2 ? (o3)                                                                \
                             : 0,                                                                  \
        .at = (at_), .access = (at_) == OP_NOWHERE ? 0 : (access_) >> 2 * (at_)&3                  \
    }

/* clang-format off */
#define ROW(opcode_, key_, op_, o1, o2, o3, o4, access_, cls_, attr_, feature_, faults_, ends_,    \
            read_, written_, undefined_)                                                           \
    [ROW_NUMBER] = {                                                                               \
        .name = name_##op_,                                                                        \
        .flags_read = (read_), .flags_written = (written_), .flags_undefined = (undefined_),       \
        .op = OP_##op_, .attr = (u16)(attr_), .feature = CPUID_##feature_, .cls = CLASS_##cls_,    \
        .faults = (faults_), .ends = (ends_),                                                      \
        .operand = {FORM_##o1, FORM_##o2, FORM_##o3, FORM_##o4}, .access = (access_),              \
        .opcode = OPCODE(opcode_), .mask = (key_) >> 16, .key = (key_) & 0xffff,                   \
        .reg_only = (attr_) >> ATTR_BITS,                                                          \
        .usual = USUAL(FORM_##o1, FORM_##o2, FORM_##o3, FORM_##o4) && !((attr_) >> ATTR_BITS) &&   \
                 OP_##op_ != OP_INVALID,                                                           \
        .operands = COUNT(FORM_##o1, FORM_##o2, FORM_##o3, FORM_##o4),                             \
        .rm = PLACE(RM_AT(FORM_##o1, FORM_##o2), FORM_##o1, FORM_##o2, 0, access_),                \
        .reg = PLACE(REG_AT(FORM_##o1, FORM_##o2), FORM_##o1, FORM_##o2, 0, access_),              \
        .imm = PLACE(IMM_AT(FORM_##o1, FORM_##o2, FORM_##o3, FORM_##o4),                           \
                     FORM_##o1, FORM_##o2, FORM_##o3, access_),                                    \
    },
#define ALT ROW
#define GRP ROW
#define XMEM(opcode, reg, op, o1, o2, o3, access, attr, feature, read, written, undefined)         \
    ROW(opcode, MEM | R(reg), op, o1, o2, o3, __, access, X87, attr, feature, YES, GO, read,       \
        written, undefined)
#define XREG(opcode, first, last, op, o1, o2, o3, access, attr, feature, read, written, undefined) \
    ROW(opcode, REG, op, o1, o2, o3, __, access, X87, attr, feature, YES, GO, read, written,       \
        undefined)
/* clang-format on */
#define OPCODE(byte) (OPTABLE_MAP << 8 | (byte))

const struct op_row op_rows[ROW_COUNT + 1] = {
/* an empty row ends the last opcode */
#include "cpu/optable_all.inc"
};
#undef ROW
#undef ALT
#undef GRP
#undef XMEM
#undef XREG

/* ---- 3: the index ---- */

/* An opcode has a ModRM byte when its first row has an operand there or asks about it. */
#define NEEDS_MODRM(key, o1, o2)                                                                   \
    (FORM_##o1 >= FIRST_MODRM_FORM || FORM_##o2 >= FIRST_MODRM_FORM ||                             \
             ((key) >> 16 & (SIT_MOD3 | SIT_MEMORY | SIT_REG | SIT_RM))                            \
         ? INDEX_MODRM                                                                             \
         : 0)

#define ALT(...)
#define GRP(opcode, key, op, o1, ...)                                                              \
    [OPTABLE_MAP][opcode] = ROW_NUMBER | INDEX_MODRM | INDEX_BY_REG,
#define ROW(opcode, key, op, o1, o2, ...)                                                          \
    [OPTABLE_MAP][opcode] = ROW_NUMBER | NEEDS_MODRM(key, o1, o2),
#define XMEM(...)
#define XREG(...)
const u16 op_index[MAP_COUNT][256] = {
    [MAP_ONE][0xd8 ... 0xdf] = INDEX_MODRM | INDEX_X87,
#include "cpu/optable_all.inc"
};
#undef ROW
#undef GRP
#undef XMEM
#undef XREG

#define ROW(...)
#define GRP(...)
#define XREG(...)
#define XMEM(opcode, reg, ...) [(opcode)&7][reg] = ROW_NUMBER,
const u16 op_index_x87_mem[8][8] = {
#include "cpu/optable_all.inc"
};
#undef XMEM
#undef XREG

#define XMEM(...)
#define XREG(opcode, first, last, ...) [(opcode)&7][(first)&63 ...(last) & 63] = ROW_NUMBER,
const u16 op_index_x87_reg[8][64] = {
#include "cpu/optable_all.inc"
};

/* ---- the interface ---- */

const struct op_row *op_row(const struct insn *in)
{
    return &op_rows[in->row];
}

const struct op_row *op_row_at(unsigned row)
{
    return &op_rows[row];
}

unsigned op_row_count(void)
{
    return ROW_COUNT;
}

/* Bits 3..1 of a condition choose the flags, bit 0 inverts (SDM 1, appendix B). */
static u32 condition_flags(unsigned condition)
{
    static const u32 flags[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
        FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_ZF | FLAG_SF | FLAG_OF,
    };
    return flags[condition >> 1 & 7];
}

/* The CPU masks counts to 5 bits, or 6 for 64-bit operands. */
static bool shift_by_zero(const struct insn *in)
{
    const struct operand *count = &in->operand[1];
    return count->kind == OPD_IMM && !(in->imm & (in->operand[0].size == 8 ? 63 : 31));
}

u32 op_flags_read(const struct insn *in)
{
    switch (in->op) {
    case OP_JCC:
    case OP_SETCC:
    case OP_CMOVCC: return condition_flags(in->opcode);
    case OP_RCL:
    case OP_RCR: return shift_by_zero(in) ? 0 : FLAG_CF;
    default: return op_rows[in->row].flags_read;
    }
}

bool op_ends(const struct insn *in)
{
    const struct op_row *row = &op_rows[in->row];
    return row->ends ||
           ((row->attr & (ATTR_REP | ATTR_REPCC)) && (in->prefixes & (PFX_REP | PFX_REPNE)));
}
