/* SPDX-License-Identifier: MIT
 *
 * Raising and delivering exceptions and interrupts (SDM 3A chapter 6). One place orders events.
 */
#ifndef ANELLO_CPU_EXCP_H
#define ANELLO_CPU_EXCP_H

#include "cpu/vcpu.h"

/* A guest fault of the current instruction: lands in the run loop, which restores the address of
 * the instruction and calls excp_deliver_fault(). */
NORETURN void cpu_raise(struct vcpu *v, unsigned vector);
NORETURN void cpu_raise_error(struct vcpu *v, unsigned vector, u32 error);
/* #PF; la goes to CR2 at delivery. */
NORETURN void cpu_page_fault(struct vcpu *v, u64 la, u32 error);

/* Delivers v->fault; v->rip is the address of the faulting instruction. Turns into a double fault
 * or returns false (shutdown) as table 6-5 says. May itself raise: call it with a landing set. */
bool excp_deliver_fault(struct vcpu *v);

enum int_source { INT_EXTERNAL, INT_SOFTWARE, INT_EXCEPTION, INT_ICEBP };

/* Delivers a vector through the IVT, the 32-bit or 64-bit IDT or a task gate. v->rip is what is
 * pushed. `error` is pushed when has_error. May raise. */
void excp_interrupt(struct vcpu *v, unsigned vector, enum int_source source, bool has_error,
                    u32 error);

/* At an instruction boundary with events pending: takes the one of highest priority (table 6-2).
 * Returns true when something was delivered or the CPU state changed (rip moved). */
bool excp_boundary(struct vcpu *v);

/* True when excp_boundary() would deliver: for HLT. */
bool excp_wakes(const struct vcpu *v);

/* INT n, INT3, INTO, BOUND's and others' software side is in cpu/op_far.c. */

#endif
