/* SPDX-License-Identifier: MIT
 *
 * What the files that write thunks share. Private to src/bt.
 */
#ifndef ANELLO_BT_THUNK_H
#define ANELLO_BT_THUNK_H

#include "bt/internal.h"

/* Goes on where RCX is 0; else RCX comes back from HR_T3 and the whole instruction is done by C. */
static inline void thunk_slow_unless_zero(struct asm_buf *a, const u8 *slow)
{
    u8 *zero = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, slow);
    asm_short_here(a, zero);
}

/* A field of the TLB entry that HR_T2 is 8 times the index of. */
static inline struct x64_mem thunk_tlb_field(unsigned view, size_t field)
{
    size_t table = offsetof(struct vcpu, tlb) + view * sizeof(struct tlb_entry) * TLB_ENTRIES;
    return x64_indexed(HR_VCPU, HR_T2, 8, (i32)(table + field));
}

#endif
