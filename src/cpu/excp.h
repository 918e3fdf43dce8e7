/* SPDX-License-Identifier: MIT
 *
 * Raising and delivering exceptions and interrupts (SDM 3A chapter 6). One place orders events.
 */
#ifndef ANELLO_CPU_EXCP_H
#define ANELLO_CPU_EXCP_H

#include "cpu/vcpu.h"

/* Error codes that name a selector (SDM 3A figure 6-6). */
enum selector_error_bits { ERROR_EXT = 1 << 0, ERROR_IDT = 1 << 1 };

/* A guest fault of the current instruction: lands in the run loop, which restores the address of
 * the instruction and calls excp_deliver_fault(). Error codes of #TS, #NP, #SS and #GP get EXT
 * (bit 0) while an event other than INT n is being delivered. */
NORETURN void cpu_raise(struct vcpu *v, unsigned vector);
NORETURN void cpu_raise_error(struct vcpu *v, unsigned vector, u32 error);
/* The instruction has not begun: an interrupt that is due comes first. */
NORETURN void cpu_restart(struct vcpu *v);
/* #PF; la goes to CR2 at delivery. */
NORETURN void cpu_page_fault(struct vcpu *v, u64 la, u32 error);

/* Delivers v->fault; v->rip is the address of the faulting instruction. Turns into a double fault
 * or returns false (shutdown) as table 6-5 says. May itself raise: call it with a landing set. */
bool excp_deliver_fault(struct vcpu *v);

enum int_source { INT_EXTERNAL, INT_SOFTWARE, INT_EXCEPTION, INT_ICEBP };

/* Delivers a vector through the IVT, the 32-bit or 64-bit IDT or a task gate. `return_ip` is what
 * is pushed; v->rip stays as it is until nothing can fault any more. `error` is pushed when
 * has_error. May raise. */
void excp_interrupt(struct vcpu *v, unsigned vector, enum int_source source, bool has_error,
                    u32 error, u64 return_ip);

/* ---- Instruction boundaries ----
 *
 * The run loop, before each block or instruction:
 *
 *     if (excp_due(v) && excp_boundary(v))
 *         look up rip again, rules as before;
 *     if (excp_stepping(v)) {
 *         bool tf = v->mode & MODE_TF;
 *         ... exactly one instruction (one iteration of a REP) ...
 *         if (tf)
 *             excp_stepped(v);
 *     } else
 *         ... a block; instructions that change what is due (rows with `ends`) end it ...
 */

/* Something may have to be done before the next instruction. */
static inline bool excp_due(const struct vcpu *v)
{
    return vcpu_events(v) | v->shadow | v->pending_db | (v->mode & (MODE_TF | MODE_BREAK));
}

/* The next instruction must be followed by excp_boundary(). */
static inline bool excp_stepping(const struct vcpu *v)
{
    return v->shadow | v->pending_db | (v->mode & (MODE_TF | MODE_BREAK));
}

/* An instruction that began with TF set is complete: a single-step trap, unless it went through a
 * gate (INT n) or loaded SS. */
static inline void excp_stepped(struct vcpu *v)
{
    if (!(v->shadow & (SHADOW_NO_STEP | SHADOW_MOVSS)))
        v->pending_db |= DR6_BS;
}

/* Takes the event of highest priority (table 6-2), if one may be taken now, and moves shadows on.
 * Returns true when something was delivered or the TLB was flushed: rip or what it means may have
 * changed. EVENT_STOP and EVENT_CODE are the run loop's. May raise. */
bool excp_boundary(struct vcpu *v);

/* True when excp_boundary() would deliver: for HLT. */
bool excp_wakes(const struct vcpu *v);

/* INT n, INT3, INTO, BOUND's and others' software side is in cpu/op_far.c. */

#endif
