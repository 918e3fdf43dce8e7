/* SPDX-License-Identifier: MIT
 *
 * Listings of code, line by line, by Capstone: for traces and for reports of what went wrong. The
 * guest's FPU registers must have been put away (cpu/fpu.h).
 */
#ifndef ANELLO_CPU_LISTING_H
#define ANELLO_CPU_LISTING_H

#include "cpu/code_cache.h"

/* Takes one line, without newline. */
typedef void listing_line(void *opaque, const char *text);

/* `n` bytes of code of `mode` 16, 32 or 64, which runs at `address`. */
void listing_code(const u8 *bytes, size_t n, unsigned mode, u64 address, listing_line *line,
                  void *opaque);
/* The instructions of a block. */
void listing_block(struct vcpu *v, const struct block *b, listing_line *line, void *opaque);

/* Takers of lines: for a struct log, and for stderr (opaque is not used). */
void listing_to_log(void *log, const char *text);
void listing_to_stderr(void *opaque, const char *text);

#endif
