/* SPDX-License-Identifier: MIT
 *
 * Runs a case on both sides and says where they differ; makes failing cases small; keeps them as
 * text files.
 */
#ifndef ANELLO_TESTS_INSN_DIFF_H
#define ANELLO_TESTS_INSN_DIFF_H

#include <stdio.h>

#include "insn_case.h"

struct insn_diff;

/* Both sides with the pages of insn_case.h. NULL on failure. Only one at a time in a process: the
 * host's pages have fixed addresses. */
struct insn_diff *insn_diff_create(void);
void insn_diff_destroy(struct insn_diff *d);

/* The features of the guest's CPU. */
const u32 *insn_diff_features(const struct insn_diff *d);

/* True when host and guest agree, or cannot be compared. Else `text` says where they do not. */
bool insn_diff_run(struct insn_diff *d, const struct insn_case *c, char *text, size_t size);

/* How many cases could not be compared so far: they touch what the host or the guest keeps to
 * itself. */
u64 insn_diff_not_compared(const struct insn_diff *d);

/* Clears everything in the case that is not needed for it to fail. */
void insn_diff_shrink(struct insn_diff *d, struct insn_case *c);

/* A case as text: a line "mode", "code", "gpr NAME", "xsave OFFSET", ... for what is not zero. */
void insn_case_write(FILE *f, const struct insn_case *c);
bool insn_case_read(FILE *f, struct insn_case *c);

#endif
