/* SPDX-License-Identifier: MIT
 *
 * The decoder's shortcut: private to the decoder.
 */
#ifndef ANELLO_CPU_DECODE_USUAL_H
#define ANELLO_CPU_DECODE_USUAL_H

#include "cpu/decode.h"

/* decode() without the shortcut. */
enum decode_status decode_any(const u8 *bytes, size_t avail, unsigned mode, struct insn *in);

#endif
