/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: what far transfers share with each other and with IRET.
 */
#ifndef ANELLO_CPU_FAR_H
#define ANELLO_CPU_FAR_H

#include "cpu/frame.h"

/* Raises #GP(0) when code at `ip` of a segment cannot be reached: beyond the limit, or not
 * canonical where the segment is a 64-bit one. Returns ip as the segment's mode wants it. */
u64 far_check_ip(struct vcpu *v, u64 desc, u64 ip);

/* Long mode allows no code segment with L and D both set: raises #GP(selector). */
void far_check_long(struct vcpu *v, u16 sel, u64 desc);

/* The code segment that a return may go to (RET, IRET). */
u64 far_check_return(struct vcpu *v, u16 sel);

/* SS of a return to the privilege level of `cs`. */
struct segment far_return_stack(struct vcpu *v, u16 ss, u16 cs, u64 cs_desc);

/* rSP of a return to another stack: with a 16-bit one, only SP is written; bits 63:32 become 0
 * then too, as in Intel's CPUs (AMD's keep them: Linux' selftest sigreturn tells them apart). */
void far_set_sp(struct vcpu *v, u64 sp);

#endif
