/* SPDX-License-Identifier: MIT
 *
 * What every opcode is: one row per opcode (cpu/optable_*.inc), read by decoder, interpreter,
 * translator, disassembler and the test generators. The rows say what is true of the opcode; what
 * is true of one instruction (registers, sizes, immediates) is in struct insn.
 */
#ifndef ANELLO_CPU_OPTABLE_H
#define ANELLO_CPU_OPTABLE_H

#include "cpu/feature.h"
#include "cpu/insn.h"

enum insn_op {
    OP_INVALID,
#define OP(symbol, name) OP_##symbol,
#include "cpu/opnames.inc"
#undef OP
    OP_COUNT
};

/* What an engine must think of to execute the opcode. */
enum op_class {
    CLASS_PLAIN,     /* registers, flags and its memory operand: nothing else */
    CLASS_CARE,      /* unprivileged, but with more effects than its operands say (ENTER, CPUID) */
    CLASS_BRANCH,    /* near control flow */
    CLASS_STACK,     /* reads or writes memory at rSP (near calls and returns are CLASS_BRANCH) */
    CLASS_STRING,    /* rSI/rDI operands, REP, restartable */
    CLASS_SENSITIVE, /* depends on or changes privileged state: segments, far transfers, POPF, IN */
    CLASS_X87,
    CLASS_MMX, /* as x87: CR0.EM is #UD, CR0.TS is #NM, pending x87 errors are #MF */
    CLASS_SSE, /* legacy-encoded vector: CR0.EM or not CR4.OSFXSR is #UD, CR0.TS is #NM */
    CLASS_AVX, /* VEX-encoded vector: CPUID.AVX, CR4.OSXSAVE, XCR0[2:1] = 3 too; no real/v86 mode */
};

/* Which faults an opcode may raise besides those of fetching it. */
enum op_faults {
    FAULT_NONE,
    FAULT_MEM, /* only by its memory accesses (operand, stack), if it makes any */
    FAULT_YES, /* others as well */
};

enum op_attr {
    ATTR_LOCK = 1 << 0,    /* LOCK is allowed when the destination is memory */
    ATTR_REP = 1 << 1,     /* F3 repeats (and F2, alike) */
    ATTR_REPCC = 1 << 2,   /* F3 repeats while equal, F2 while not equal */
    ATTR_CPL0 = 1 << 3,    /* #GP(0) unless CPL = 0 */
    ATTR_IOPL = 1 << 4,    /* depends on IOPL (CLI, STI, PUSHF, POPF, IN, OUT, INT n in v86 mode) */
    ATTR_PM = 1 << 5,      /* #UD in real-address and virtual-8086 mode */
    ATTR_DEF64 = 1 << 6,   /* 64-bit mode: operand size 64 unless 66 makes it 16 */
    ATTR_FIX64 = 1 << 7,   /* 64-bit mode: operand size always 64 */
    ATTR_ALIGN = 1 << 8,   /* a memory operand must be aligned to its size, else #GP(0) */
    ATTR_NOWAIT = 1 << 9,  /* x87: pending errors are not reported (FNINIT, FNSTSW, FNSAVE, ...) */
    ATTR_SHADOW = 1 << 10, /* may inhibit events until after the next instruction (STI, MOV SS) */
    ATTR_SERIAL = 1 << 11, /* serializing (SDM 3A 8.3) */
    ATTR_HINT = 1 << 12,   /* a no-operation where the feature bit is not shown, instead of #UD */
    ATTR_VSIB = 1 << 13,   /* index is a vector register (struct insn: `index` = its number) */
};

#define OP_OPERANDS 4

/* Where an operand of the usual kind is, and how it is encoded (0: there is none): see
 * optable_index.h. */
struct op_place {
    u8 form, at, access;
};

struct op_row {
    const char *name;        /* mnemonic in lower case: see opnames.inc for its grain */
    u32 flags_read;          /* FLAG_*; of Jcc, SETcc, CMOVcc all that some condition reads */
    u32 flags_written;       /* set to a defined value (for counts of 0: perhaps unchanged) */
    u32 flags_undefined;     /* left undefined by the manual: mask them in comparisons */
    u16 op;                  /* enum insn_op */
    u16 attr;                /* enum op_attr */
    u16 feature;             /* enum cpu_feature: #UD when it is not shown */
    u8 cls;                  /* enum op_class */
    u8 faults;               /* enum op_faults */
    bool ends;               /* ends a block: the next instruction may be elsewhere, in another
                                mode, or must see new state */
    u8 operand[OP_OPERANDS]; /* how operands are encoded: private to the decoder */
    u8 access;               /* 2 bits for each operand: enum operand_access */

    /* Private to the decoder: how the row is found, and whether and how the shortcut decodes it. */
    u16 opcode, mask, key;
    bool reg_only; /* ModRM.mod is ignored: rm is a register */
    bool usual;
    u8 operands;
    struct op_place rm, reg, imm;
} __attribute__((aligned(64))); /* a cache line */

/* The row that an instruction was decoded by. */
const struct op_row *op_row(const struct insn *in);

/* Rows by number, for tests and tools: 1 .. op_row_count() - 1. */
const struct op_row *op_row_at(unsigned row);
unsigned op_row_count(void);

/* The flags that this very instruction reads: of a condition only its own, and of RCL or RCR
 * by an immediate 0 none. */
u32 op_flags_read(const struct insn *in);

/* Whether this very instruction ends a block: as its row says; a repeated string instruction does
 * too, for it may stop half-way. */
bool op_ends(const struct insn *in);

#endif
