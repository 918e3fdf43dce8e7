/* SPDX-License-Identifier: MIT
 *
 * The CPUID leaves (SDM 2A, CPUID). Feature words come from v->feature; the rest is made here from
 * what the CPU is: one core a package, caches of a modest size, no performance monitoring.
 */
#include "cpu/cpuid.h"

#include <cpuid.h>

#include "cpu/msr.h"

#define LIMITED_LEAF    2 /* the last one with IA32_MISC_ENABLE[22] */
#define LEAF_EXTENDED   0x80000000u
#define LEAF_HYPERVISOR 0x40000000u

#define CLFLUSH_BYTES   64
#define XSAVE_LEGACY    512 /* FXSAVE region */
#define XSAVE_HEADER    64
#define XSAVE_AVX_AT    576 /* SDM 1 §13.4.3: the usual place of the upper YMM halves */
#define XSAVE_AVX_BYTES 256

#define XCR0_X87 1u
#define XCR0_SSE 2u
#define XCR0_AVX 4u

u64 cpuid_xcr0_valid(const struct vcpu *v)
{
    u64 valid = XCR0_X87;
    if (vcpu_shows(v, CPUID_SSE))
        valid |= XCR0_SSE;
    if (vcpu_shows(v, CPUID_AVX))
        valid |= XCR0_AVX;
    return valid;
}

u32 cpuid_xsave_bytes(u64 mask)
{
    return mask & XCR0_AVX ? XSAVE_AVX_AT + XSAVE_AVX_BYTES : XSAVE_LEGACY + XSAVE_HEADER;
}

static u32 word_of(const char *text, unsigned at)
{
    return load32(text + at);
}

/* The host's own answer, for the identity leaves of model "host". */
static struct cpuid_leaf host_leaf(u32 leaf)
{
    struct cpuid_leaf r = {0};
    __get_cpuid(leaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

/* Features that were added by hand raise the last leaf of an old model to where they show. */
static u32 last_basic_leaf(const struct vcpu *v)
{
    u32 last = v->model->max_leaf;
    if (last < 6 && v->feature[FEAT_6_EAX])
        last = 6;
    if (last < 7 && (v->feature[FEAT_7_EBX] | v->feature[FEAT_7_ECX] | v->feature[FEAT_7_EDX]))
        last = 7;
    if (last < 0xd && vcpu_shows(v, CPUID_XSAVE))
        last = 0xd;
    return v->misc_enable & MISC_LIMIT_CPUID && last > LIMITED_LEAF ? LIMITED_LEAF : last;
}

static u32 last_extended_leaf(const struct vcpu *v)
{
    u32 last = v->model->max_extended;
    if (!last && (v->feature[FEAT_81_EDX] | v->feature[FEAT_81_ECX]))
        last = LEAF_EXTENDED + 8;
    return last;
}

static struct cpuid_leaf leaf_vendor(const struct vcpu *v, u32 last)
{
    const char *vendor = v->model->vendor;
    struct cpuid_leaf r = {last, word_of(vendor, 0), word_of(vendor, 8), word_of(vendor, 4)};
    if (v->model->identity_of_host) {
        r = host_leaf(0);
        r.eax = last;
    }
    return r;
}

static struct cpuid_leaf leaf_version(const struct vcpu *v)
{
    struct cpuid_leaf r = {.eax = v->model->signature,
                           .ebx = v->index << 24 | 1 << 16,
                           .ecx = v->feature[FEAT_1_ECX],
                           .edx = v->feature[FEAT_1_EDX]};
    if (v->model->identity_of_host)
        r.eax = host_leaf(1).eax;
    if (vcpu_shows(v, CPUID_CLFSH))
        r.ebx |= CLFLUSH_BYTES / 8 << 8;
    if (v->cr4 & CR4_OSXSAVE)
        r.ecx |= (u32)1 << (CPUID_OSXSAVE - 1) % 32;
    return r;
}

/* Deterministic cache parameters: `ways` of 64-byte lines in `sets`. */
static struct cpuid_leaf cache(unsigned type, unsigned level, u32 ways, u32 sets)
{
    return (struct cpuid_leaf){.eax = type | level << 5 | 1 << 8,
                               .ebx = (CLFLUSH_BYTES - 1) | (ways - 1) << 22,
                               .ecx = sets - 1};
}

static struct cpuid_leaf leaf_cache(u32 subleaf)
{
    enum { DATA = 1, CODE = 2, UNIFIED = 3 };
    switch (subleaf) {
    case 0: return cache(DATA, 1, 8, 64);      /* 32 KiB */
    case 1: return cache(CODE, 1, 8, 64);      /* 32 KiB */
    case 2: return cache(UNIFIED, 2, 8, 1024); /* 512 KiB */
    default: return (struct cpuid_leaf){0};
    }
}

static struct cpuid_leaf leaf_features(const struct vcpu *v, u32 subleaf)
{
    if (subleaf)
        return (struct cpuid_leaf){0};
    return (struct cpuid_leaf){0, v->feature[FEAT_7_EBX], v->feature[FEAT_7_ECX],
                               v->feature[FEAT_7_EDX]};
}

/* Extended topology: one thread a core, one core a package; EDX is the x2APIC id. */
static struct cpuid_leaf leaf_topology(const struct vcpu *v, u32 subleaf)
{
    enum { LEVEL_SMT = 1, LEVEL_CORE = 2 };
    struct cpuid_leaf r = {.ecx = subleaf & 0xff, .edx = v->index};
    if (subleaf < 2) {
        r.ebx = 1;
        r.ecx |= (subleaf == 0 ? LEVEL_SMT : LEVEL_CORE) << 8;
    }
    return r;
}

static struct cpuid_leaf leaf_xsave(const struct vcpu *v, u32 subleaf)
{
    u64 valid = cpuid_xcr0_valid(v);
    if (!vcpu_shows(v, CPUID_XSAVE))
        return (struct cpuid_leaf){0};
    switch (subleaf) {
    case 0:
        return (struct cpuid_leaf){(u32)valid, cpuid_xsave_bytes(v->xcr0), cpuid_xsave_bytes(valid),
                                   (u32)(valid >> 32)};
    case 1:
        return (struct cpuid_leaf){.eax = v->feature[FEAT_D1_EAX],
                                   .ebx = cpuid_xsave_bytes(v->xcr0)};
    case 2:
        if (valid & XCR0_AVX)
            return (struct cpuid_leaf){XSAVE_AVX_BYTES, XSAVE_AVX_AT, 0, 0};
        return (struct cpuid_leaf){0};
    default: return (struct cpuid_leaf){0};
    }
}

static struct cpuid_leaf leaf_basic(const struct vcpu *v, u32 leaf, u32 subleaf)
{
    switch (leaf) {
    case 0: return leaf_vendor(v, last_basic_leaf(v));
    case 1: return leaf_version(v);
    /* 01h: 4 KiB code TLB, 03h: data TLB, 0Ah..: sizes of 2 KiB..; FFh: see leaf 4 */
    case 2:
        return v->model->max_leaf >= 4 ? (struct cpuid_leaf){0x00ff0001, 0, 0, 0}
                                       : (struct cpuid_leaf){0x03020101, 0, 0, 0x0c040882};
    case 4: return leaf_cache(subleaf);
    case 6: return (struct cpuid_leaf){.eax = v->feature[FEAT_6_EAX]};
    case 7: return leaf_features(v, subleaf);
    case 0xb: return leaf_topology(v, subleaf);
    case 0xd: return leaf_xsave(v, subleaf);
    default: return (struct cpuid_leaf){0};
    }
}

static struct cpuid_leaf leaf_brand(const struct vcpu *v, u32 leaf)
{
    if (v->model->identity_of_host)
        return host_leaf(leaf);
    char brand[48] = {0};
    for (unsigned i = 0; i < sizeof brand - 1 && v->model->brand[i]; i++)
        brand[i] = v->model->brand[i];
    unsigned at = (leaf - (LEAF_EXTENDED + 2)) * 16;
    return (struct cpuid_leaf){word_of(brand, at), word_of(brand, at + 4), word_of(brand, at + 8),
                               word_of(brand, at + 12)};
}

static struct cpuid_leaf leaf_extended(const struct vcpu *v, u32 leaf)
{
    switch (leaf - LEAF_EXTENDED) {
    case 0: return (struct cpuid_leaf){.eax = last_extended_leaf(v)};
    case 1: {
        struct cpuid_leaf r = {.ecx = v->feature[FEAT_81_ECX], .edx = v->feature[FEAT_81_EDX]};
        /* Intel: SYSCALL exists, and shows, in 64-bit mode only. */
        if (!(v->mode & MODE_CS64))
            r.edx &= ~((u32)1 << (CPUID_SYSCALL - 1) % 32);
        if (v->misc_enable & MISC_XD_DISABLE)
            r.edx &= ~((u32)1 << (CPUID_NX - 1) % 32);
        return r;
    }
    case 2:
    case 3:
    case 4: return leaf_brand(v, leaf);
    case 6: return (struct cpuid_leaf){.ecx = 512 << 16 | 6 << 12 | CLFLUSH_BYTES}; /* L2, 8 ways */
    case 7: return (struct cpuid_leaf){.edx = 1 << 8}; /* the TSC runs at one rate */
    case 8: return (struct cpuid_leaf){.eax = 48 << 8 | v->phys_bits};
    default: return (struct cpuid_leaf){0};
    }
}

struct cpuid_leaf cpuid_read(const struct vcpu *v, u32 leaf, u32 subleaf)
{
    if (leaf == LEAF_HYPERVISOR && vcpu_shows(v, CPUID_HYPERVISOR)) {
        const char *name = "AnelloAnello";
        return (struct cpuid_leaf){LEAF_HYPERVISOR, word_of(name, 0), word_of(name, 4),
                                   word_of(name, 8)};
    }
    if (leaf >= LEAF_EXTENDED && leaf <= last_extended_leaf(v))
        return leaf_extended(v, leaf);
    /* SDM: a leaf beyond the last answers as the highest basic leaf does. */
    if (leaf > last_basic_leaf(v))
        leaf = last_basic_leaf(v);
    return leaf_basic(v, leaf, subleaf);
}

struct cpuid_leaf cpuid_execute(struct vcpu *v, u32 leaf, u32 subleaf)
{
    struct cpuid_leaf r = cpuid_read(v, leaf, subleaf);
    v->cpuid_known[(leaf & 15) | leaf >> 31 << 4] = (struct cpuid_known){
        -leaf, -subleaf, .eax = r.eax, .ebx = r.ebx, .ecx = r.ecx, .edx = r.edx};
    return r;
}

/* Each entry gets a leaf that has another index. */
void cpuid_forget(struct vcpu *v)
{
    for (unsigned i = 0; i < CPUID_KNOWN; i++)
        v->cpuid_known[i].minus_leaf = i ? 0 : UINT32_MAX;
}
