/* SPDX-License-Identifier: MIT
 *
 * CPU models (-cpu) and what CPUID says of them.
 */
#ifndef ANELLO_CPU_CPUID_H
#define ANELLO_CPU_CPUID_H

#include "cpu/feature.h"
#include "cpu/vcpu.h"

struct cpu_model {
    const char *name;
    const char *help;   /* for lists of models */
    const char *vendor; /* 12 characters */
    const char *brand;  /* up to 47 characters */
    u32 signature;      /* EAX of leaf 1: family, model, stepping */
    u32 max_leaf, max_extended;
    u8 phys_bits;
    bool identity_of_host; /* vendor, brand and signature are the host's */
    bool everything;       /* all that the engine supports on this host */
    bool is_286;           /* an 80286 in real mode, for the single-step vectors */
    u32 feature[FEAT_WORDS];
};

static inline bool cpu_is_286(const struct vcpu *v)
{
    return v->model->is_286;
}

/* Models by number, NULL after the last. */
const struct cpu_model *cpu_model_at(unsigned n);

/* Parses "NAME[,+feat|,-feat|,feat=on|,feat=off]..." and sets v->model, v->feature and
 * v->phys_bits. NULL: the default model. False: *error is a message for the user (static). */
bool cpu_model_select(struct vcpu *v, const char *spec, const char **error);

/* The name of a feature as -cpu takes it, or NULL. */
const char *cpu_feature_name(enum cpu_feature f);

/* What CPUID returns now (some bits follow CR4 and XCR0). */
struct cpuid_leaf {
    u32 eax, ebx, ecx, edx;
};
struct cpuid_leaf cpuid_read(const struct vcpu *v, u32 leaf, u32 subleaf);

/* The same for the instruction, which the CPU remembers for emitted code (struct cpuid_known). */
struct cpuid_leaf cpuid_execute(struct vcpu *v, u32 leaf, u32 subleaf);
/* CR4, XCR0 or an MSR has changed. */
void cpuid_forget(struct vcpu *v);

/* State components that XCR0 may enable, and the size of a standard-format XSAVE area that holds
 * those of `mask`. */
u64 cpuid_xcr0_valid(const struct vcpu *v);
u32 cpuid_xsave_bytes(u64 mask);

#endif
