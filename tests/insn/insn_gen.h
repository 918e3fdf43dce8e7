/* SPDX-License-Identifier: MIT
 *
 * Random cases. A case is a function of its seed, mode, classes and the CPU's features alone, so a
 * seed is all that has to be kept of a failure.
 */
#ifndef ANELLO_TESTS_INSN_GEN_H
#define ANELLO_TESTS_INSN_GEN_H

#include "cpu/vcpu.h"
#include "insn_case.h"

enum gen_class {
    GEN_INT = 1 << 0,
    GEN_X87 = 1 << 1,
    GEN_MMX = 1 << 2,
    GEN_SSE = 1 << 3,
    GEN_AVX = 1 << 4,
    GEN_STATE = 1 << 5, /* FXSAVE, XSAVE and relatives */
    GEN_BAD = 1 << 6,   /* bytes that are no instruction of a shown feature */
    GEN_ALL = (1 << 7) - 1,
};

struct gen_options {
    unsigned mode;       /* 32 or 64 */
    unsigned classes;    /* enum gen_class */
    const u32 *features; /* of the CPU under test: others are not generated */
};

void insn_gen(u64 seed, const struct gen_options *o, struct insn_case *c);

/* Whether host and guest can be compared on this instruction at all; the reasons are with the
 * function. */
bool insn_gen_comparable(const struct insn *in);

#endif
