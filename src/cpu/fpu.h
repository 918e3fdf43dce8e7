/* SPDX-License-Identifier: MIT
 *
 * x87, MMX, SSE and AVX by executing the very same instruction on the host with the guest's
 * registers loaded, so results are exact by construction (80-bit, rounding, exceptions, tags).
 *
 * Guest state is either in v->fpu (put away) or live in the host's registers. It becomes live on
 * the first vector/x87 operation and stays so, because this layer is compiled with
 * -mgeneral-regs-only; it is put away before anything that may use those registers.
 */
#ifndef ANELLO_CPU_FPU_H
#define ANELLO_CPU_FPU_H

#include "cpu/vcpu.h"

/* Loads the guest state into the host registers if it is not live; saves the host's. */
void fpu_make_live(struct vcpu *v);
void fpu_put_away_slow(struct vcpu *v);

/* Before hooks, libc and leaving the run loop. */
static inline void fpu_put_away(struct vcpu *v)
{
    if (UNLIKELY(v->fpu_live))
        fpu_put_away_slow(v);
}

/* FNINIT and power-on contents of v->fpu (call with the state put away). */
void fpu_reset(struct vcpu *v);

/* Once per process: SIGFPE handling and the memory for instruction stubs. 0 or -errno. */
int fpu_host_init(void);

#endif
