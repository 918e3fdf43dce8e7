/* SPDX-License-Identifier: MIT
 *
 * Which host register holds what while translated code runs.
 */
#ifndef ANELLO_BT_HOSTREG_H
#define ANELLO_BT_HOSTREG_H

#include "bt/asm_x64.h"
#include "cpu/insn.h"

enum host_reg {
    HR_T0 = X64_R8, /* scratch; the address of an access, the target of a jump */
    HR_T1 = X64_R9,
    HR_T2 = X64_R10,
    HR_T3 = X64_R11,
    HR_SP = X64_R12,   /* guest ESP */
    HR_C22 = X64_R13,  /* the constant 22: the bits of a linear address above the TLB's index */
    HR_C12 = X64_R14,  /* the constant 12: PAGE_SHIFT */
    HR_VCPU = X64_R15, /* struct vcpu */
};

/* The host register of a guest register (0..7). */
static inline unsigned host_gpr(unsigned gpr)
{
    return gpr == REG_SP ? HR_SP : gpr;
}

/* A field of struct vcpu as an operand. */
#define VCPU(field) x64_at(HR_VCPU, (i32)offsetof(struct vcpu, field))

/* The upper half of a field of 64 bits. */
#define VCPU_UPPER(field) x64_at(HR_VCPU, (i32)offsetof(struct vcpu, field) + 4)

#endif
