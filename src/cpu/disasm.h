/* SPDX-License-Identifier: MIT
 *
 * Text for people: one instruction in Intel syntax, by Capstone. Traces, monitor and debugger show
 * nothing else, so a mistake of our own decoder cannot hide in our own listing.
 */
#ifndef ANELLO_CPU_DISASM_H
#define ANELLO_CPU_DISASM_H

#include "base/bits.h"

/* Writes the instruction at bytes[0..n), which lies at `address`, to text[0..size) as one line
 * without newline, cut to fit. `mode` is 16, 32 or 64. Returns its length; 0 when Capstone does
 * not know it or needs more bytes: the text is then "(bad)".
 * Capstone uses vector registers: put the guest's away first (fpu_put_away). Any thread. */
unsigned disasm_text(const u8 *bytes, size_t n, unsigned mode, u64 address, char *text,
                     size_t size);

#endif
