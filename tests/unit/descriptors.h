/* SPDX-License-Identifier: MIT
 *
 * Descriptors as tests make them, and the flat segments that their tables begin with.
 */
#ifndef ANELLO_TESTS_DESCRIPTORS_H
#define ANELLO_TESTS_DESCRIPTORS_H

#include "cpu/seg.h"

enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x18 | 3,
    SEL_DATA3 = 0x20 | 3,
    SEL_TSS = 0x28,
};

/* attr as in enum seg_attr. */
static inline u64 make_desc(u32 base, u32 limit, unsigned attr)
{
    return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)attr << 40 |
           (u64)(limit >> 16 & 0xf) << 48 | (u64)(base >> 24) << 56;
}

/* A gate of any type: interrupt, trap, call (with parameter count), task. */
static inline u64 make_gate(u16 sel, u32 offset, unsigned type, unsigned dpl, unsigned params)
{
    return (u64)(offset & 0xffff) | (u64)sel << 16 | (u64)params << 32 |
           (u64)(type | dpl << SEG_DPL_SHIFT | SEG_PRESENT) << 40 | (u64)(offset >> 16) << 48;
}

#endif
