/* SPDX-License-Identifier: MIT
 *
 * How the decoder finds a row: private to decode.c and optable.c.
 *
 * An opcode byte leads by op_index[] to the first of its rows; they are neighbours, and the first
 * whose key fits the instruction is it. What a key may ask for is put together in one word, the
 * *situation*:
 *
 *      14    13 12 11  10  9  8     7     6    5 4    3    2   1    0
 *   +--------+---------+---------+-------+------+-----+-----+---+---+-----+
 *   | memory |   reg   |   rm    | REX.B | mod3 |  pp | W64 | W | L | m64 |
 *   +--------+---------+---------+-------+------+-----+-----+---+---+-----+
 *
 * x87 opcodes have no list: the ModRM byte leads to the row at once.
 */
#ifndef ANELLO_CPU_OPTABLE_INDEX_H
#define ANELLO_CPU_OPTABLE_INDEX_H

#include "cpu/optable.h"

enum situation {
    SIT_M64 = 1 << 0, /* 64-bit mode */
    SIT_L_SHIFT = 1,
    SIT_L = 1 << SIT_L_SHIFT, /* VEX.L */
    SIT_W = 1 << 2,           /* REX.W or VEX.W as encoded */
    SIT_W64 = 1 << 3,         /* W where it selects 64-bit operands: in 64-bit mode only */
    SIT_PP_SHIFT = 4,
    SIT_PP = 3 << SIT_PP_SHIFT, /* as struct insn's pp */
    SIT_MOD3 = 1 << 6,          /* ModRM.mod is 3 */
    SIT_REX_B_SHIFT = 7,
    SIT_REX_B = 1 << SIT_REX_B_SHIFT,
    SIT_MODRM_SHIFT = 8, /* of ModRM but mod */
    SIT_RM_SHIFT = SIT_MODRM_SHIFT,
    SIT_RM = 7 << SIT_RM_SHIFT,
    SIT_REG_SHIFT = SIT_MODRM_SHIFT + 3,
    SIT_REG = 7 << SIT_REG_SHIFT,
    SIT_MEMORY_SHIFT = 14,
    SIT_MEMORY = 1 << SIT_MEMORY_SHIFT, /* there is a ModRM, and its mod is not 3 */
};

/* Opcode maps: those of struct insn, then VEX 1..3. */
enum op_map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_VEX = MAP_0F3A, MAP_COUNT = 7 };

/* An entry of the index. */
enum {
    INDEX_MODRM = 1 << 15,  /* the opcode has a ModRM byte */
    INDEX_BY_REG = 1 << 14, /* a row for each ModRM.reg, in order */
    INDEX_X87 = 1 << 13,    /* see op_index_x87_mem and _reg */
    INDEX_ROW = INDEX_X87 - 1,
};

/* Most instructions have an operand in ModRM.rm (or the opcode's low bits) and one in ModRM.reg, in
 * either order or only one of them, and end with an immediate or without. They are `usual`:
 * decode_usual.c makes these three without asking which there are. struct op_row has a struct
 * op_place for each; an absent one has form 0 and is at OP_NOWHERE, where the others never are. */
enum { OP_NOWHERE = OP_OPERANDS - 1 };

/* Operand encodings (cpu/opforms.inc). */
enum op_form {
    FORM___,
#define FORM(name, where, kind, size, reg) FORM_##name,
#include "cpu/opforms.inc"
#undef FORM
    FORM_COUNT,

    FIRST_IMM_FORM = FORM_Ib,
    LAST_IMM_FORM = FORM_Jz,
    FIRST_REL_FORM = FORM_Jb,
    FIRST_RM_FORM = FORM_Zb,
    FIRST_MODRM_FORM = FORM_Eb,
    LAST_RM_FORM = FORM_Nq,
    FIRST_REG_FORM = FORM_Gb,
    LAST_REG_FORM = FORM_Vhx
};

extern const struct op_row op_rows[];
extern const u16 op_index[MAP_COUNT][256];
extern const u16 op_index_x87_mem[8][8];  /* opcode & 7, ModRM.reg */
extern const u16 op_index_x87_reg[8][64]; /* opcode & 7, ModRM & 63 */

#endif
