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

/* Once per process: SIGFPE handling. 0 or -errno. */
int fpu_host_init(void);

/* Memory for instruction stubs of one CPU; called by vcpu_create/vcpu_destroy. False: the host
 * refused it (errno). */
bool fpu_attach(struct vcpu *v);
void fpu_detach(struct vcpu *v);

/* The x87 and vector feature bits that the host can execute and that fpu knows, XCR0 included
 * through FEAT_D1_EAX: CPUID must not show the guest more than these. */
void fpu_host_features(u32 feature[FEAT_WORDS]);
/* XCR0 bits that the guest may set (x87, SSE, AVX). */
u64 fpu_host_xcr0(void);

#endif
