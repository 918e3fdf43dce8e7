/* SPDX-License-Identifier: MIT
 *
 * One instruction in the words that our decoder, Zydis and Capstone have in common, so that what
 * they say can be compared field by field.
 */
#ifndef ANELLO_TESTS_DECODER_VIEW_H
#define ANELLO_TESTS_DECODER_VIEW_H

#include <capstone/capstone.h>
#include <Zydis/Zydis.h>

#include "cpu/decode.h"
#include "cpu/optable.h"

/* A register is class << 8 | number. General registers have a class for each width. */
enum view_class {
    VIEW_NO_REG,
    VIEW_R8,
    VIEW_R8H, /* AH, CH, DH, BH */
    VIEW_R16,
    VIEW_R32,
    VIEW_R64,
    VIEW_SEG,
    VIEW_CR,
    VIEW_DR,
    VIEW_ST,
    VIEW_MMX,
    VIEW_XMM,
    VIEW_YMM,
    VIEW_PC,
};
#define VIEW_REG(cls, number) ((u16)((cls) << 8 | (number)))

enum view_kind { VIEW_REGISTER, VIEW_MEMORY, VIEW_IMMEDIATE, VIEW_RELATIVE, VIEW_FAR };

struct view_operand {
    u8 kind;
    u8 access;       /* enum operand_access, or 0 where the library does not tell */
    u16 reg;         /* VIEW_REGISTER */
    u16 size;        /* bytes; memory: 0 when address only */
    u8 seg, scale;   /* VIEW_MEMORY: enum seg_reg; scale 1 where there is no index */
    u16 base, index; /* VIEW_MEMORY: register or 0 */
    u64 value;       /* displacement cut to the address size, immediate, relative, far offset */
    u16 selector;
};

#define VIEW_OPERANDS 8
struct view {
    bool valid;
    u8 len;
    u8 count; /* operands that are written in assembler */
    struct view_operand op[VIEW_OPERANDS];
};

/* The libraries, opened for one mode. */
struct oracle {
    unsigned mode;
    ZydisDecoder zydis;
    bool zydis_valid; /* the last view, and what it was made of */
    ZydisDecodedInstruction zydis_insn;
    ZydisDecodedOperand zydis_op[ZYDIS_MAX_OPERAND_COUNT];
    csh capstone;
    cs_insn *capstone_insn;
};

void oracle_open(struct oracle *o, unsigned mode);
void oracle_close(struct oracle *o);

/* `hidden`: with the operands that are not written in assembler. */
void view_ours(const struct insn *in, enum decode_status status, bool hidden, struct view *out);
void view_zydis(struct oracle *o, const u8 *bytes, size_t n, struct view *out);
void view_capstone(struct oracle *o, const u8 *bytes, size_t n, struct view *out);

/* One line of text, for reports. */
void view_print(const struct view *v, char *text, size_t size);

#endif
