/* SPDX-License-Identifier: MIT
 *
 * The files that op_int_select() is made of: each returns the meaning of the instructions that are
 * its own, or NULL.
 */
#ifndef ANELLO_CPU_OP_INT_H
#define ANELLO_CPU_OP_INT_H

#include "cpu/exec.h"

exec_fn op_arith_select(const struct insn *in);  /* ADD...CMP, INC, NEG, MUL, DIV, XADD, CMPXCHG */
exec_fn op_bcd_select(const struct insn *in);    /* AAA...DAS */
exec_fn op_bit_select(const struct insn *in);    /* BT*, scans and counts, BMI, CRC32, RDRAND */
exec_fn op_flow_select(const struct insn *in);   /* near branches, BOUND, UD */
exec_fn op_hint_select(const struct insn *in);   /* NOP, fences, prefetches */
exec_fn op_move_select(const struct insn *in);   /* MOV and relatives, flag operations */
exec_fn op_shift_select(const struct insn *in);  /* shifts and rotates */
exec_fn op_stack_select(const struct insn *in);  /* PUSH...LEAVE */
exec_fn op_string_select(const struct insn *in); /* MOVS...STOS */

/* True while a REP string instruction may go on to its next run of iterations. */
bool op_string_continues(const struct vcpu *v);

#endif
