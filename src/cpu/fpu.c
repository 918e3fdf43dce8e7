/* SPDX-License-Identifier: MIT
 *
 * Switching between the guest's and the host's x87 and vector state, and the one signal that guest
 * arithmetic may cause.
 *
 * Vector registers are dead at every call in the host's ABI, so making the guest's state live
 * saves nothing of the host, and putting it away loads no more of the host's than its control
 * words. While the guest's are live, only code of this layer runs on this thread; signal handlers
 * get a fresh state from the kernel.
 *
 * Unmasked exceptions. x87: an error stays pending until the next waiting instruction; this layer
 * looks for it before each one (cpu/op_x87.c) whenever the control word unmasks anything, so the
 * host never sees it. SSE and AVX: the host raises #XM in the stub (SIGFPE), and the handler
 * turns the program counter to trapped(), as if the stub's caller had called that. The
 * host has set MXCSR's flags and nothing else: just what the guest must see.
 */
#include <cpuid.h>
#include <errno.h>

#include "base/hosttrap.h"
#include "cpu/excp.h"
#include "cpu/feature.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/fpu_stub.h"

/* What C code expects (System V ABI §3.2.1). */
static const u32 host_mxcsr = MXCSR_RESET;

/* The pool of the CPU whose state is live on this thread: for the signal handler. */
static _Thread_local const struct fpu_stubs *live_stubs;

/* ---- Switching ---- */

static inline __attribute__((always_inline)) void image_store(struct vcpu *v)
{
    if (v->fpu_components)
        __asm__ volatile("xsave64 %0" : "+m"(v->fpu) : "a"((u32)v->fpu_components), "d"(0));
    else
        __asm__ volatile("fxsave64 %0" : "+m"(v->fpu));
}

/* The image may come from a snapshot or have been edited: whatever it holds, loading it must not
 * fault (XRSTOR and FXRSTOR: #GP for reserved bits in MXCSR and in the header). */
static void image_sanitize(struct vcpu *v)
{
    u8 *image = v->fpu.bytes;
    store32(image + IMAGE_MXCSR, load32(image + IMAGE_MXCSR) & v->fpu_mxcsr_mask);
    u64 present = load64(image + IMAGE_HEADER) & v->fpu_components;
    store64(image + IMAGE_HEADER, present);
    for (unsigned at = IMAGE_XCOMP_BV; at < IMAGE_EXTENDED; at += sizeof(u64))
        store64(image + at, 0);
}

static void note_masks(struct vcpu *v, u16 fcw)
{
    v->fpu_unmasked = ~fcw & X87_EXCEPTIONS;
}

FPU_ASM void fpu_make_live(struct vcpu *v)
{
    image_sanitize(v);
    note_masks(v, load16(v->fpu.bytes + IMAGE_FCW));
    live_stubs = v->stubs;
    v->fpu_live = true;
    if (v->fpu_components)
        __asm__ volatile("xrstor64 %0" : : "m"(v->fpu), "a"((u32)v->fpu_components), "d"(0));
    else
        __asm__ volatile("fxrstor64 %0" : : "m"(v->fpu));
}

FPU_ASM void fpu_put_away_slow(struct vcpu *v)
{
    image_store(v);
    __asm__ volatile("fninit; ldmxcsr %0" : : "m"(host_mxcsr));
    if (v->fpu_components & XSTATE_AVX)
        __asm__ volatile("vzeroupper"); /* else the host's SSE code runs at half speed */
    v->fpu_live = false;
    live_stubs = NULL;
}

FPU_ASM void fpu_store(struct vcpu *v)
{
    if (v->fpu_live)
        image_store(v);
}

void fpu_edited(struct vcpu *v)
{
    fpu_make_live(v); /* even if it was not: the host knows what reserved bits become */
    fpu_leave(v);
}

u64 fpu_in_use(struct vcpu *v)
{
    fpu_store(v);
    u64 known = v->fpu_components ? load64(v->fpu.bytes + IMAGE_HEADER) : 0;
    return v->fpu_components ? known : XSTATE_X87 | XSTATE_SSE;
}

void fpu_reset(struct vcpu *v)
{
    fpu_put_away(v);
    memset(&v->fpu, 0, sizeof v->fpu);
    store16(v->fpu.bytes + IMAGE_FCW, X87_FCW_RESET);
    v->fpu.bytes[IMAGE_FTW] = 0xff; /* all registers +0.0: tags 5555h */
    store32(v->fpu.bytes + IMAGE_MXCSR, MXCSR_RESET);
    store64(v->fpu.bytes + IMAGE_HEADER, XSTATE_X87 | XSTATE_SSE);
    note_masks(v, X87_FCW_RESET);
    v->fpu_ip = v->fpu_dp = 0;
    v->fpu_cs = v->fpu_ds = v->fpu_op = 0;
}

/* ---- Traps of stubs ---- */

/* Where a trapped stub goes on; entered with the stack of the stub's caller. */
FPU_ASM static NORETURN void trapped(struct vcpu *v, unsigned vector)
{
    fpu_leave(v);
    if (vector == VEC_XM && !(v->cr4 & CR4_OSXMMEXCPT))
        cpu_raise(v, VEC_UD);
    cpu_raise(v, vector);
}

/* @asyncsignalsafe */
static bool divert(struct hosttrap *trap)
{
    const struct fpu_stubs *stubs = live_stubs;
    if (!stubs || !fpu_stub_contains(stubs, trap->rip))
        return false;
    trap->rip = (u64)(uintptr_t)trapped;
    trap->gpr[REG_DI] = trap->gpr[REG_SI]; /* the stub's vcpu */
    trap->gpr[REG_SI] = trap->vector;
    return true;
}

int fpu_host_init(void)
{
    return hosttrap_install(HOSTTRAP_ARITHMETIC, divert);
}

/* ---- The host ---- */

u64 fpu_host_xcr0(void)
{
    u32 a, b, c, d;
    const u64 always = XSTATE_X87 | XSTATE_SSE;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return always;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    u64 xcr0 = (a | (u64)d << 32) & (always | XSTATE_AVX);
    return (xcr0 & always) == always ? xcr0 : always;
}

static u32 feature_mask(const u16 *list, unsigned n, unsigned word)
{
    u32 mask = 0;
    for (unsigned i = 0; i < n; i++) {
        if ((list[i] - 1u) / 32 == word)
            mask |= 1u << (list[i] - 1u) % 32;
    }
    return mask;
}

void fpu_host_features(u32 feature[FEAT_WORDS])
{
    static const u16 any[] = {
        CPUID_FPU,    CPUID_MMX,    CPUID_FXSR, CPUID_SSE, CPUID_SSE2,      CPUID_SSE3, CPUID_SSSE3,
        CPUID_SSE4_1, CPUID_SSE4_2, CPUID_AES,  CPUID_SHA, CPUID_PCLMULQDQ, CPUID_GFNI,
    };
    static const u16 xsave[] = {CPUID_XSAVE, CPUID_XSAVEOPT, CPUID_XSAVEC};
    static const u16 avx[] = {CPUID_AVX,  CPUID_AVX2, CPUID_FMA,
                              CPUID_F16C, CPUID_VAES, CPUID_VPCLMULQDQ};
    u32 host[FEAT_WORDS] = {0}, a, b, c, d;
    __get_cpuid(1, &a, &b, &host[FEAT_1_ECX], &host[FEAT_1_EDX]);
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        host[FEAT_7_EBX] = b;
        host[FEAT_7_ECX] = c;
    }
    if (__get_cpuid_count(13, 1, &a, &b, &c, &d))
        host[FEAT_D1_EAX] = a;
    bool has_xsave = host[FEAT_1_ECX] & bit_OSXSAVE, has_avx = fpu_host_xcr0() & XSTATE_AVX;
    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        u32 mask = feature_mask(any, ARRAY_LEN(any), w);
        mask |= has_xsave ? feature_mask(xsave, ARRAY_LEN(xsave), w) : 0;
        mask |= has_avx ? feature_mask(avx, ARRAY_LEN(avx), w) : 0;
        feature[w] = host[w] & mask;
    }
}

/* ---- Life ---- */

static u32 host_mxcsr_mask(void)
{
    struct fpu_image image = {{0}};
    __asm__ volatile("fxsave64 %0" : "+m"(image));
    u32 mask = load32(image.bytes + IMAGE_MXCSR_MASK);
    return mask ? mask : MXCSR_DEFAULT_MASK;
}

bool fpu_attach(struct vcpu *v)
{
    u32 a, b, c = 0, d;
    int error = fpu_host_init();
    if (error) {
        errno = -error;
        return false;
    }
    v->stubs = fpu_stub_pool_create();
    if (!v->stubs)
        return false;
    __get_cpuid(1, &a, &b, &c, &d);
    v->fpu_components = c & bit_OSXSAVE ? (u8)fpu_host_xcr0() : 0;
    v->fpu_mxcsr_mask = host_mxcsr_mask();
    v->fpu_live = false;
    fpu_reset(v);
    return true;
}

void fpu_detach(struct vcpu *v)
{
    fpu_put_away(v);
    fpu_stub_pool_destroy(v->stubs);
    v->stubs = NULL;
}
