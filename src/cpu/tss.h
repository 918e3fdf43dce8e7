/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: task-state segments (SDM 3A figures 7-2, 7-10, 7-11) and task switches.
 */
#ifndef ANELLO_CPU_TSS_H
#define ANELLO_CPU_TSS_H

#include "cpu/seg.h"

/* Offsets in the three formats. */
enum tss16_offset {
    TSS16_LINK = 0,
    TSS16_SP0 = 2,
    TSS16_IP = 14,
    TSS16_FLAGS = 16,
    TSS16_AX = 18,
    TSS16_ES = 34,
    TSS16_LDT = 42,
    TSS16_LAST = 43, /* least limit */
};
enum tss32_offset {
    TSS32_LINK = 0,
    TSS32_ESP0 = 4,
    TSS32_CR3 = 28,
    TSS32_EIP = 32,
    TSS32_EFLAGS = 36,
    TSS32_EAX = 40,
    TSS32_ES = 72,
    TSS32_LDT = 96,
    TSS32_TRAP = 100,
    TSS32_IOMAP = 102,
    TSS32_LAST = 103,
};
enum tss64_offset { TSS64_RSP0 = 4, TSS64_IST1 = 36, TSS64_IOMAP = 102 };

static inline bool tss_is_32(const struct segment *tr)
{
    return tr->attr & 8;
}
static inline u64 tss_address(const struct vcpu *v, u32 at)
{
    u64 la = v->tr.base + at;
    return vcpu_long_mode(v) ? la : (u32)la;
}

enum task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT };

/* Switches to the task whose TSS selector is given (by a far CALL or JMP, by a task gate, by the
 * back link of IRET). `return_ip` is saved as the old task's rIP. Afterwards the new task's
 * registers are in place; faults from then on are its own. */
void task_switch(struct vcpu *v, u16 sel, enum task_reason reason, u64 return_ip);

#endif
