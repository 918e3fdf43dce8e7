/* SPDX-License-Identifier: MIT
 *
 * What -d in_asm shows of the guest's code.
 */
#ifndef ANELLO_CPU_TRACE_H
#define ANELLO_CPU_TRACE_H

#include "cpu/vcpu.h"

struct block;

/* Lists a block that has just been decoded from `code`, which begins at its first byte and ends
 * with its page. The guest's FPU must be put away. */
void trace_block(struct vcpu *v, const struct block *b, const u8 *code);

#endif
