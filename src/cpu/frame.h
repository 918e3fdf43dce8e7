/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: a stack that is written or read before anything is committed. Far transfers,
 * interrupts and task switches work on such a copy of SS:rSP, so that a fault in the middle leaves
 * the registers as they were.
 */
#ifndef ANELLO_CPU_FRAME_H
#define ANELLO_CPU_FRAME_H

#include "cpu/seg.h"

struct frame {
    struct segment ss;
    u64 sp;
    u64 mask;      /* bits of sp that count: by SS.B, or all in 64-bit mode */
    unsigned view; /* enum tlb_view of its accesses */
    u32 error;     /* of #SS: 0 for the current stack, the selector for a new one */
};

/* The current stack. */
struct frame frame_here(const struct vcpu *v);
/* Another one, for privilege level cpl. */
struct frame frame_new(const struct vcpu *v, const struct segment *ss, u64 sp, unsigned cpl);

void frame_push(struct vcpu *v, struct frame *f, u64 value, unsigned size);
u64 frame_pop(struct vcpu *v, struct frame *f, unsigned size);
/* Reads the value that lies `at` bytes above the top. */
u64 frame_peek(struct vcpu *v, const struct frame *f, u64 at, unsigned size);
static inline void frame_skip(struct frame *f, u64 bytes)
{
    f->sp = (f->sp & ~f->mask) | ((f->sp + bytes) & f->mask);
}

/* Makes rSP what the copy says. */
void frame_commit(struct vcpu *v, const struct frame *f);

/* SS:rSP of an inner privilege level, from the current TSS (SDM 3A §5.8.5, §7.2.1). SS is checked
 * as #TS. */
struct frame frame_of_tss(struct vcpu *v, unsigned cpl);
/* A 64-bit stack pointer of the TSS: RSP0..2, or IST1..7 when ist is not 0. */
u64 frame_of_tss64(struct vcpu *v, unsigned cpl, unsigned ist);

#endif
