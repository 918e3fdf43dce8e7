/* SPDX-License-Identifier: MIT
 *
 * One case of the instruction tests: an instruction, and the state that it meets. Both sides see
 * the same few pages:
 *
 *     CASE_CODE   one page, user, read and execute; the next page is not there
 *     CASE_DATA   two pages, user, read and write; the page before is not there
 *     CASE_ROM    one page behind them, user, read only; the next page is not there
 *
 * Data pages hold the same pattern before each case, but for `operand`.
 */
#ifndef ANELLO_TESTS_INSN_CASE_H
#define ANELLO_TESTS_INSN_CASE_H

#include "cpu/insn.h"
#include "host_exec.h"

#define CASE_CODE       0x10000000u
#define CASE_DATA       0x20000000u
#define CASE_DATA_BYTES (2 * PAGE_BYTES)
#define CASE_ROM        (CASE_DATA + CASE_DATA_BYTES)
#define CASE_ALL_BYTES  (CASE_DATA_BYTES + PAGE_BYTES) /* data and ROM */
/* What belongs to the guest's kernel, where the host has nothing: cases keep out of it. */
#define CASE_KERNEL       0xd0000000u
#define CASE_KERNEL_BYTES 0x10000u

#define CASE_OPERAND_BYTES 832 /* an XSAVE area */

struct insn_case {
    unsigned mode; /* 32 or 64 */
    unsigned len;  /* bytes of code */
    u8 code[INSN_MAX_BYTES];
    struct host_state state;
    u32 operand_at; /* offset in the data pages of `operand` */
    u32 operand_len;
    u8 operand[CASE_OPERAND_BYTES];
};

/* What came out. */
struct insn_outcome {
    struct host_state state;
    struct host_trap trap;
    bool was_stopped; /* on the host: between two elements of a gather */
};

#endif
