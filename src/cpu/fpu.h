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

/* Loads the guest state into the host registers. Use fpu_enter(). */
void fpu_make_live(struct vcpu *v);
void fpu_put_away_slow(struct vcpu *v);

/* Before hooks, libc and leaving the run loop. */
static inline void fpu_put_away(struct vcpu *v)
{
    if (UNLIKELY(v->fpu_live))
        fpu_put_away_slow(v);
}

/* Sanitizers and compilers that call memcpy() where the source does not say so clobber vector
 * registers between any two lines. There the state is put away after every operation, and the
 * functions that touch it are not instrumented. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
#define FPU_STAYS_LIVE false
#define FPU_ASM        __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#define FPU_ASM_INLINE FPU_ASM __attribute__((unused))
#else
#define FPU_STAYS_LIVE true
#define FPU_ASM
#define FPU_ASM_INLINE inline
#endif

/* Around code that executes vector or x87 instructions; in functions marked FPU_ASM. */
static inline __attribute__((always_inline)) void fpu_enter(struct vcpu *v)
{
    if (UNLIKELY(!v->fpu_live))
        fpu_make_live(v);
}
static inline __attribute__((always_inline)) void fpu_leave(struct vcpu *v)
{
    if (!FPU_STAYS_LIVE)
        fpu_put_away_slow(v);
}

/* v->fpu as if put away, without putting it away: for who only reads it. */
void fpu_store(struct vcpu *v);

/* After v->fpu was edited while put away or by fpu_store(): it becomes the state. Whoever fills
 * v->fpu (a snapshot, a test) calls this. */
void fpu_edited(struct vcpu *v);

/* The XSAVE components that are not in their initial configuration (XINUSE). */
u64 fpu_in_use(struct vcpu *v);

/* Power-on contents (SDM 3A table 9-1). */
void fpu_reset(struct vcpu *v);

/* Once per process: handling of the host's arithmetic traps. 0 or -errno. */
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
