/* SPDX-License-Identifier: MIT
 *
 * One instruction by our own CPU: the other side of host_exec. A little kernel without code (page
 * tables, descriptor tables, a TSS) lets it fault like the real thing; the exception frame on the
 * kernel's stack says what happened.
 */
#ifndef ANELLO_TESTS_GUEST_EXEC_H
#define ANELLO_TESTS_GUEST_EXEC_H

#include "cpu/vcpu.h"
#include "insn_case.h"

struct guest_exec;

/* `mode`: 32 or 64; `long_mode` chooses compatibility mode for 32. NULL on failure. */
struct guest_exec *guest_exec_create(unsigned mode, bool long_mode);
void guest_exec_destroy(struct guest_exec *g);

struct vcpu *guest_exec_cpu(struct guest_exec *g);
/* The guest's data and ROM pages, CASE_ALL_BYTES. */
u8 *guest_exec_data(struct guest_exec *g);
/* Puts code at CASE_CODE + offset. */
void guest_exec_code(struct guest_exec *g, unsigned offset, const u8 *bytes, unsigned len);

/* Only loads the state, in ring 3 with the trap flag set. */
void guest_exec_enter(struct guest_exec *g, const struct host_state *s);

/* Steps one instruction, as with the host: by the general handlers. */
struct host_trap guest_exec(struct guest_exec *g, struct host_state *s);

/* Runs the instruction, of `len` bytes, as part of a block: by the fast handlers. It must be
 * followed by HLT, whose #GP ends the run; that is reported as #DB, like the end of a step. Not for
 * branches. */
struct host_trap guest_exec_block(struct guest_exec *g, unsigned len, struct host_state *s);

#endif
