/* SPDX-License-Identifier: MIT
 *
 * Our decoder against Zydis and Capstone, instruction by instruction. Both have errors, and both
 * know processors that we do not model. Each such case is a row of differences.inc or
 * unmodelled.inc with its reason; what no row explains is a failure.
 *
 * The rows for Zydis are narrow. Those for Capstone need not be: where Zydis agrees with us
 * nothing can hide behind them.
 */
#ifndef ANELLO_TESTS_DECODER_COMPARE_H
#define ANELLO_TESTS_DECODER_COMPARE_H

#include "view.h"

enum who {
    ZYDIS,
    CAPSTONE,
    BOTH, /* in a row: either library */
    LIBRARIES = BOTH,
};

/* What differs. */
enum aspect {
    SAME,
    WE_ACCEPT, /* valid for us only */
    WE_REJECT, /* invalid for us only */
    LENGTH,
    OPERANDS,
    /* What a row of the opcode table says, against Zydis: */
    ACCESS,
    FLAGS_READ,
    FLAGS_WRITTEN,
    FLAGS_UNDEFINED,
    FEATURE,
    PRIVILEGE,
    LOCKABLE,
    ASPECTS
};

/* One comparison. */
struct situation {
    const u8 *bytes;
    const struct insn *in;
    const struct view *ours, *theirs;
    const struct oracle *oracle;
};

struct compare {
    struct oracle oracle[3]; /* modes 16, 32, 64 */
    u64 cases, instructions; /* byte strings; those that decoded */
    u64 failures;            /* unexplained differences */
    u64 shown[LIBRARIES];    /* failures printed */
    u8 *seen;                /* what was printed: one line for each cause */
    u64 *explained;          /* by row of differences.inc */
    u64 *unmodelled;         /* by row of unmodelled.inc */
    u64 *rows_hit;           /* by row of the opcode table */
};

void compare_open(struct compare *c);
void compare_close(struct compare *c);

/* Compares bytes[0..n), n <= 15, in mode 16, 32 or 64. */
void compare_bytes(struct compare *c, const u8 *bytes, size_t n, unsigned mode);

/* Prints what was explained and what failed; returns the exit status. */
int compare_report(const struct compare *c);

/* ---- differences.c ---- */

bool difference_explained(struct compare *c, enum who who, enum aspect aspect,
                          const struct situation *s);
unsigned difference_count(void);
unsigned difference_unmodelled_count(void);
void difference_report(const struct compare *c);

/* ---- facts.c ---- */

/* One fact that Zydis sees otherwise; flags as in EFLAGS. */
struct fact {
    enum aspect aspect;
    u32 ours, theirs;
};

/* Writes up to FACTS of them; returns how many. */
#define FACTS (ASPECTS - ACCESS)
unsigned facts_compare(const struct situation *s, struct fact *facts);

#endif
