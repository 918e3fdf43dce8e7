/* SPDX-License-Identifier: MIT
 *
 * Bytes to struct insn. One pass, no allocation, no state.
 */
#ifndef ANELLO_CPU_DECODE_H
#define ANELLO_CPU_DECODE_H

#include "cpu/insn.h"

enum decode_status {
    DECODE_OK = 0,
    DECODE_TRUNCATED, /* more bytes are needed: the caller fetches the next page and tries again */
    DECODE_TOO_LONG,  /* over 15 bytes: #GP(0) */
    DECODE_INVALID,   /* no such instruction (or LOCK where it is not allowed): #UD; in->len is set
                         to the bytes that were looked at */
};

/* Decodes one instruction for `mode` 16, 32 or 64 from bytes[0..avail). Every instruction that the
 * table knows is accepted, whatever CPUID shows: the caller tests the row's feature bit. No verdict
 * but DECODE_TRUNCATED and DECODE_TOO_LONG depends on bytes beyond the instruction. Only for
 * DECODE_OK are all fields of *in valid. */
enum decode_status decode(const u8 *bytes, size_t avail, unsigned mode, struct insn *in);

#endif
