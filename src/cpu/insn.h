/* SPDX-License-Identifier: MIT
 *
 * A decoded instruction: plain named fields, no pointers, no meaning. Decoder, interpreter,
 * translator, SMC scan and disassembler share it. What an opcode *is* (operand forms, flags,
 * class, CPUID bit) is its row in the table (cpu/optable.h); `row` leads there.
 */
#ifndef ANELLO_CPU_INSN_H
#define ANELLO_CPU_INSN_H

#include "base/bits.h"

/* General registers in encoding order; also the index into vcpu->gpr. */
enum gpr {
    REG_AX,
    REG_CX,
    REG_DX,
    REG_BX,
    REG_SP,
    REG_BP,
    REG_SI,
    REG_DI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    REG_PC = 16, /* as a base register only */
    REG_NONE = 0xff,
};

/* Segment registers in encoding order; also the index into vcpu->seg. */
enum seg_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

enum insn_prefix {
    PFX_LOCK = 1 << 0,
    PFX_REPNE = 1 << 1, /* F2 seen and not consumed as a mandatory prefix */
    PFX_REP = 1 << 2,   /* F3, likewise */
    PFX_OPSIZE = 1 << 3,
    PFX_ADSIZE = 1 << 4,
    PFX_SEG = 1 << 5,
    PFX_REX = 1 << 6,
    PFX_VEX = 1 << 7,
};

enum insn_rex {
    REX_B = 1,
    REX_X = 2,
    REX_R = 4,
    REX_W = 8
}; /* VEX bits land here too, uninverted */

enum operand_kind {
    OPD_NONE,
    OPD_GPR,   /* reg: enum gpr, low `size` bytes */
    OPD_GPR8H, /* reg: 0..3 = AH CH DH BH (the gpr index; the byte is bits 15..8) */
    OPD_SEG,
    OPD_CR,
    OPD_DR,
    OPD_ST, /* reg: 0..7 relative to TOP */
    OPD_MMX,
    OPD_XMM, /* reg: 0..15 */
    OPD_YMM,
    OPD_MEM, /* the instruction's one memory operand (base, index, disp, seg) or a string operand */
    OPD_IMM, /* imm, already extended as the operation wants it */
    OPD_REL, /* imm holds the signed displacement from the end of the instruction */
    OPD_FAR, /* imm = offset, imm2 = selector */
};

enum operand_access { OPD_R = 1, OPD_W = 2, OPD_RW = 3 };

struct operand {
    u8 kind;        /* enum operand_kind */
    u8 reg;         /* see the kind; string operands: REG_SI or REG_DI */
    u16 size : 12;  /* bytes accessed; 0: address only (LEA, INVLPG, prefetch) or not fixed */
    u16 access : 2; /* enum operand_access */
    u16 hidden : 1; /* implied by the opcode, not written in assembler (MUL's AX, string operands)
                     */
};

#define INSN_MAX_BYTES 15
#define INSN_OPERANDS  4

struct insn {
    u16 op;      /* enum insn_op: one per mnemonic (cpu/optable.h) */
    u16 row;     /* row of the opcode table */
    u8 len;      /* 1..15 */
    u8 mode;     /* 16, 32 or 64: what it was decoded for */
    u8 opsize;   /* effective operand size in bytes: 2, 4, 8 (also for byte forms) */
    u8 adsize;   /* effective address size in bytes: 2, 4, 8 */
    u8 prefixes; /* enum insn_prefix */
    u8 rex;      /* enum insn_rex */
    u8 map;      /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    u8 opcode;   /* the last opcode byte */
    u8 modrm;    /* valid when modrm_at != 0 */
    u8 modrm_at, disp_at, imm_at; /* offsets of the fields in the instruction; 0: absent */
    u8 opcode_at;                 /* offset of the last opcode byte */
    u8 disp_len, imm_len;         /* bytes: imm_len counts all immediates */
    u8 pp;                        /* mandatory prefix: 0 none, 1 66, 2 F3, 3 F2 */
    u8 vex_l;                     /* 0 or 1 */
    u8 vex_v;                     /* the register in vvvv, uninverted */
    u8 seg; /* effective segment of the memory operand, override and BP/SP default applied */
    u8 base, index; /* enum gpr or REG_NONE */
    u8 scale;       /* 1, 2, 4, 8 */
    u8 operands;    /* used entries of operand[], explicit ones first, in Intel order */
    u16 imm2;       /* far selector; ENTER's level */
    u16 stub;       /* 0 from the decoder; op_fpu_select() notes here how the host executes it */
    i64 disp;       /* sign-extended; moffs: the whole address, zero-extended */
    u64 imm;        /* as described at OPD_IMM, OPD_REL, OPD_FAR */
    struct operand operand[INSN_OPERANDS];
};

_Static_assert(sizeof(struct insn) <= 64, "a decoded instruction fits a cache line");

/* ModRM fields. */
static inline unsigned modrm_mod(const struct insn *in)
{
    return in->modrm >> 6;
}
static inline unsigned modrm_reg(const struct insn *in)
{
    return (in->modrm >> 3) & 7;
}
static inline unsigned modrm_rm(const struct insn *in)
{
    return in->modrm & 7;
}

#endif
