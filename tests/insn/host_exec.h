/* SPDX-License-Identifier: MIT
 *
 * One instruction on the host CPU: the oracle of the instruction tests. The registers are loaded,
 * the instruction runs natively in 64-bit or 32-bit (compatibility) mode with the trap flag set,
 * and the trap or fault that follows gives the registers back.
 *
 * Memory is the process' own: the caller maps what the instruction may touch (below 4 GiB for
 * 32-bit code) and keeps what it must not touch out of reach of the registers.
 *
 * Not for instructions that enter the kernel (SYSCALL, SYSENTER, INT n) or change FS, GS, CS or SS.
 */
#ifndef ANELLO_TESTS_HOST_EXEC_H
#define ANELLO_TESTS_HOST_EXEC_H

#include "base/bits.h"

#define HOST_XSAVE_BYTES 832 /* legacy region, header, AVX: as struct fpu_image */

struct host_state {
    u64 gpr[16]; /* in encoding order */
    u64 rip;
    u64 rflags; /* TF and IF are added and removed here; RF is dropped */
    u8 xsave[HOST_XSAVE_BYTES] __attribute__((aligned(64)));
};

/* What ended the instruction. */
struct host_trap {
    unsigned vector; /* 1 (#DB): it completed */
    u32 error;
    u64 cr2; /* of a page fault */
};

/* Installs the signal handlers for the calling thread, the only one that may call host_exec(). */
bool host_exec_init(void);

/* Executes the instruction at s->rip in `mode` 32 or 64; `s` becomes the state after it. The x87
 * pointers (FIP, FDP, FOP, selectors) in xsave are whatever the host makes of them. */
struct host_trap host_exec(unsigned mode, struct host_state *s);

#endif
