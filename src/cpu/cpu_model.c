/* SPDX-License-Identifier: MIT
 *
 * CPU models: which feature bits a CPU shows, and the parser of -cpu.
 *
 * A feature can be had when this engine executes it. Vector, x87 and most newer integer
 * instructions execute as themselves on the host, so those features also need a host that has
 * them; what the monitor emulates (paging, MSRs, modes) needs nothing. A model never shows more
 * than can be had: "pentium3" on any host is complete, "max" is whatever there is.
 */
#include "cpu/cpuid.h"

#include <cpuid.h>

#include "cpu/fpu.h"

struct feature_row {
    const char *name;
    u16 feature;  /* enum cpu_feature */
    u16 needs[2]; /* features that this one makes no sense without */
    u8 by;        /* enum executor */
};

/* Who executes the instructions: this layer's own code, or the host's instruction of the same name
 * by cpu/op_*.c or by cpu/fpu*.c (which says itself what it knows). ASKED is OURS too, but no model
 * has it unless -cpu asks for it. */
enum executor { OURS, HOST, FPU, ASKED };

/* Every feature that can be had, in the order of CPUID's words. */
// clang-format off
static const struct feature_row features[] = {
    /* name             feature             needs                              who */
    {"fpu",             CPUID_FPU,          {0},                               OURS},
    {"vme",             CPUID_VME,          {0},                               OURS},
    {"de",              CPUID_DE,           {0},                               OURS},
    {"pse",             CPUID_PSE,          {0},                               OURS},
    {"tsc",             CPUID_TSC,          {0},                               OURS},
    {"msr",             CPUID_MSR,          {0},                               OURS},
    {"pae",             CPUID_PAE,          {0},                               OURS},
    {"mce",             CPUID_MCE,          {0},                               OURS},
    {"cx8",             CPUID_CX8,          {0},                               OURS},
    {"apic",            CPUID_APIC,         {CPUID_MSR},                       OURS},
    {"sep",             CPUID_SEP,          {CPUID_MSR},                       OURS},
    {"mtrr",            CPUID_MTRR,         {CPUID_MSR},                       OURS},
    {"pge",             CPUID_PGE,          {0},                               OURS},
    {"mca",             CPUID_MCA,          {CPUID_MCE},                       OURS},
    {"cmov",            CPUID_CMOV,         {0},                               OURS},
    {"pat",             CPUID_PAT,          {CPUID_MSR},                       OURS},
    {"pse36",           CPUID_PSE36,        {CPUID_PSE},                       OURS},
    {"clflush",         CPUID_CLFSH,        {0},                               OURS},
    {"mmx",             CPUID_MMX,          {CPUID_FPU},                       FPU},
    {"fxsr",            CPUID_FXSR,         {CPUID_FPU},                       FPU},
    {"sse",             CPUID_SSE,          {CPUID_FXSR},                      FPU},
    {"sse2",            CPUID_SSE2,         {CPUID_SSE},                       FPU},
    {"ss",              CPUID_SS,           {0},                               OURS},

    {"sse3",            CPUID_SSE3,         {CPUID_SSE2},                      FPU},
    {"pclmulqdq",       CPUID_PCLMULQDQ,    {CPUID_SSE2},                      FPU},
    {"ssse3",           CPUID_SSSE3,        {CPUID_SSE3},                      FPU},
    {"fma",             CPUID_FMA,          {CPUID_AVX},                       FPU},
    {"cx16",            CPUID_CX16,         {0},                               HOST},
    {"pcid",            CPUID_PCID,         {CPUID_LM, CPUID_PGE},             OURS},
    {"sse4.1",          CPUID_SSE4_1,       {CPUID_SSSE3},                     FPU},
    {"sse4.2",          CPUID_SSE4_2,       {CPUID_SSE4_1},                    FPU},
    {"x2apic",          CPUID_X2APIC,       {CPUID_APIC},                      ASKED},
    {"movbe",           CPUID_MOVBE,        {0},                               HOST},
    {"popcnt",          CPUID_POPCNT,       {0},                               HOST},
    {"tsc-deadline",    CPUID_TSC_DEADLINE, {CPUID_APIC, CPUID_TSC},           ASKED},
    {"aes",             CPUID_AES,          {CPUID_SSE2},                      FPU},
    {"xsave",           CPUID_XSAVE,        {CPUID_FXSR},                      FPU},
    {"avx",             CPUID_AVX,          {CPUID_XSAVE, CPUID_SSE4_2},       FPU},
    {"f16c",            CPUID_F16C,         {CPUID_AVX},                       FPU},
    {"rdrand",          CPUID_RDRAND,       {0},                               HOST},
    {"hypervisor",      CPUID_HYPERVISOR,   {0},                               OURS},

    {"fsgsbase",        CPUID_FSGSBASE,     {CPUID_LM},                        OURS},
    {"tsc-adjust",      CPUID_TSC_ADJUST,   {CPUID_TSC, CPUID_MSR},            OURS},
    {"bmi1",            CPUID_BMI1,         {0},                               HOST},
    {"avx2",            CPUID_AVX2,         {CPUID_AVX},                       FPU},
    {"fdp-excptn-only", CPUID_FDP_EXCPTN_ONLY, {CPUID_FPU},                    OURS},
    {"smep",            CPUID_SMEP,         {0},                               OURS},
    {"bmi2",            CPUID_BMI2,         {0},                               HOST},
    {"erms",            CPUID_ERMS,         {0},                               OURS},
    {"invpcid",         CPUID_INVPCID,      {0},                               OURS},
    {"zero-fcs-fds",    CPUID_ZERO_FCS_FDS, {CPUID_FPU},                       OURS},
    {"rdseed",          CPUID_RDSEED,       {0},                               HOST},
    {"adx",             CPUID_ADX,          {0},                               HOST},
    {"smap",            CPUID_SMAP,         {0},                               OURS},
    {"clflushopt",      CPUID_CLFLUSHOPT,   {CPUID_CLFSH},                     OURS},
    {"clwb",            CPUID_CLWB,         {CPUID_CLFSH},                     OURS},
    {"sha",             CPUID_SHA,          {CPUID_SSE2},                      FPU},

    {"umip",            CPUID_UMIP,         {0},                               OURS},
    {"gfni",            CPUID_GFNI,         {CPUID_SSE2},                      FPU},
    {"vaes",            CPUID_VAES,         {CPUID_AVX, CPUID_AES},            FPU},
    {"vpclmulqdq",      CPUID_VPCLMULQDQ,   {CPUID_AVX, CPUID_PCLMULQDQ},      FPU},
    {"rdpid",           CPUID_RDPID,        {CPUID_MSR},                       OURS},

    {"serialize",       CPUID_SERIALIZE,    {0},                               OURS},
    {"spec-ctrl",       CPUID_SPEC_CTRL,    {CPUID_MSR},                       OURS},
    {"arch-capabilities", CPUID_ARCH_CAPABILITIES, {CPUID_MSR},                OURS},

    {"syscall",         CPUID_SYSCALL,      {CPUID_LM},                        OURS},
    {"nx",              CPUID_NX,           {CPUID_PAE, CPUID_MSR},            OURS},
    {"pdpe1gb",         CPUID_PDPE1GB,      {CPUID_LM},                        OURS},
    {"rdtscp",          CPUID_RDTSCP,       {CPUID_TSC, CPUID_MSR},            OURS},
    {"lm",              CPUID_LM,           {CPUID_PAE, CPUID_SSE2},           OURS},

    {"lahf-lm",         CPUID_LAHF_LM,      {CPUID_LM},                        OURS},
    {"lzcnt",           CPUID_LZCNT,        {0},                               HOST},
    {"prefetchw",       CPUID_PREFETCHW,    {0},                               OURS},

    {"xsaveopt",        CPUID_XSAVEOPT,     {CPUID_XSAVE},                     FPU},
    {"xsavec",          CPUID_XSAVEC,       {CPUID_XSAVE},                     FPU},
    {"xgetbv1",         CPUID_XGETBV1,      {CPUID_XSAVE},                     OURS},

    {"arat",            CPUID_ARAT,         {CPUID_APIC},                      OURS},
};
// clang-format on

/* The bit of feature f within its word. */
static u32 bit_of(unsigned f)
{
    return (u32)1 << (f - 1) % 32;
}

#define B(f) ((u32)1 << ((f)-1) % 32)

#define EDX_PENTIUM                                                                                \
    (B(CPUID_FPU) | B(CPUID_VME) | B(CPUID_DE) | B(CPUID_PSE) | B(CPUID_TSC) | B(CPUID_MSR) |      \
     B(CPUID_MCE) | B(CPUID_CX8) | B(CPUID_APIC) | B(CPUID_MMX))
#define EDX_PENTIUM3                                                                               \
    (EDX_PENTIUM | B(CPUID_PAE) | B(CPUID_SEP) | B(CPUID_MTRR) | B(CPUID_PGE) | B(CPUID_MCA) |     \
     B(CPUID_CMOV) | B(CPUID_PAT) | B(CPUID_PSE36) | B(CPUID_FXSR) | B(CPUID_SSE))
#define EDX_CORE2 (EDX_PENTIUM3 | B(CPUID_CLFSH) | B(CPUID_SSE2) | B(CPUID_SS))

static const struct cpu_model models[] = {
    {.name = "286",
     .help = "80286 in real mode, for single-step test vectors",
     .vendor = "GenuineIntel",
     .brand = "",
     .signature = 0x200,
     .phys_bits = 24,
     .is_286 = true},
    {.name = "pentium",
     .help = "Intel Pentium MMX (P55C)",
     .vendor = "GenuineIntel",
     .brand = "",
     .signature = 0x543,
     .max_leaf = 1,
     .phys_bits = 32,
     .feature = {[FEAT_1_EDX] = EDX_PENTIUM}},
    {.name = "pentium3",
     .help = "Intel Pentium III (Coppermine)",
     .vendor = "GenuineIntel",
     .brand = "",
     .signature = 0x683,
     .max_leaf = 2,
     .phys_bits = 36,
     .feature = {[FEAT_1_EDX] = EDX_PENTIUM3}},
    {.name = "core2",
     .help = "Intel Core 2 Duo (Merom), 64-bit",
     .vendor = "GenuineIntel",
     .brand = "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
     .signature = 0x6fb,
     .max_leaf = 0xa,
     .max_extended = 0x80000008,
     .phys_bits = 36,
     .feature = {[FEAT_1_EDX] = EDX_CORE2,
                 [FEAT_1_ECX] =
                     B(CPUID_SSE3) | B(CPUID_SSSE3) | B(CPUID_CX16) | B(CPUID_HYPERVISOR),
                 [FEAT_81_EDX] = B(CPUID_SYSCALL) | B(CPUID_NX) | B(CPUID_LM),
                 [FEAT_81_ECX] = B(CPUID_LAHF_LM),
                 [FEAT_6_EAX] = B(CPUID_ARAT)}},
    {.name = "host",
     .help = "the host's identity with all of its features that can be had",
     .vendor = "GenuineIntel",
     .brand = "",
     .max_leaf = 0xd,
     .max_extended = 0x80000008,
     .phys_bits = PHYS_ADDR_BITS,
     .identity_of_host = true,
     .everything = true},
    {.name = "qemu64",
     .help = "another name of max, for scripts made for QEMU",
     .vendor = "GenuineIntel",
     .brand = "anello virtual CPU",
     .signature = 0x306c3,
     .max_leaf = 0xd,
     .max_extended = 0x80000008,
     .phys_bits = PHYS_ADDR_BITS,
     .everything = true},
    {.name = "max",
     .help = "every feature that can be had (default)",
     .vendor = "GenuineIntel",
     .brand = "anello virtual CPU",
     .signature = 0x306c3, /* that of a Haswell: newer than anything a guest works around */
     .max_leaf = 0xd,
     .max_extended = 0x80000008,
     .phys_bits = PHYS_ADDR_BITS,
     .everything = true},
};
#define DEFAULT_MODEL "max"

const struct cpu_model *cpu_model_at(unsigned n)
{
    return n < ARRAY_LEN(models) ? &models[n] : NULL;
}

const char *cpu_feature_name(enum cpu_feature f)
{
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        if (features[i].feature == f)
            return features[i].name;
    }
    return NULL;
}

/* ---- the host ---- */

static void read_host(u32 word[FEAT_WORDS])
{
    u32 a, b;
    memset(word, 0, FEAT_WORDS * sizeof *word);
    __get_cpuid(1, &a, &b, &word[FEAT_1_ECX], &word[FEAT_1_EDX]);
    __get_cpuid_count(7, 0, &a, &word[FEAT_7_EBX], &word[FEAT_7_ECX], &word[FEAT_7_EDX]);
    __get_cpuid(0x80000001, &a, &b, &word[FEAT_81_ECX], &word[FEAT_81_EDX]);
}

static void set_feature(u32 *word, unsigned f, bool on)
{
    u32 *w = &word[(f - 1) / 32];
    *w = on ? *w | bit_of(f) : *w & ~bit_of(f);
}

/* Everything this engine can execute here; without what must be asked for. */
static void find_supported(u32 word[FEAT_WORDS], bool asked)
{
    u32 host[FEAT_WORDS], fpu[FEAT_WORDS];
    read_host(host);
    fpu_host_features(fpu);
    memset(word, 0, FEAT_WORDS * sizeof *word);
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature_row *r = &features[i];
        bool ours = r->by == OURS || (r->by == ASKED && asked);
        bool hosts = (r->by == HOST && feature_shown(host, r->feature)) ||
                     (r->by == FPU && feature_shown(fpu, r->feature));
        if (ours || hosts)
            set_feature(word, r->feature, true);
    }
}

/* Clears features whose foundations are missing, until nothing changes. */
static void drop_dependents(u32 word[FEAT_WORDS])
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
            const struct feature_row *r = &features[i];
            bool founded = feature_shown(word, r->needs[0]) && feature_shown(word, r->needs[1]);
            if (!founded && feature_shown(word, r->feature)) {
                set_feature(word, r->feature, false);
                again = true;
            }
        }
    }
}

/* ---- the parser ---- */

/* Names match when they differ only in case and in which of "-_." they use. */
static bool same_name(const char *name, const char *word, size_t n)
{
    if (strlen(name) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char a = name[i], b = word[i];
        if (b == '_' || b == '.')
            b = '-';
        if (a == '_' || a == '.')
            a = '-';
        if (b >= 'A' && b <= 'Z')
            b = (char)(b - 'A' + 'a');
        if (a != b)
            return false;
    }
    return true;
}

static const struct cpu_model *find_model(const char *name, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(models); i++) {
        if (same_name(models[i].name, name, n))
            return &models[i];
    }
    return NULL;
}

static const struct feature_row *find_feature(const char *name, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        if (same_name(features[i].name, name, n))
            return &features[i];
    }
    return NULL;
}

/* What QEMU knows and no CPU here ever has: may be switched off. */
static const char *const never_there[] = {
    "vmx", "svm",     "pku", "pks",    "la57",   "rtm",
    "hle", "monitor", "npt", "skinit", "xsaves", "cet-ss",
};

/* One word of -cpu behind the model: a feature that is switched on or off, or name=value. */
struct word {
    const char *name, *value; /* value NULL: none */
    size_t name_n, value_n;
    bool on;
};

static struct word split_word(const char *text, size_t n)
{
    struct word w = {.on = true};
    if (n && (text[0] == '+' || text[0] == '-')) {
        w.on = text[0] == '+';
        text++;
        n--;
    }
    w.name = text;
    w.name_n = n;
    const char *equals = memchr(text, '=', n);
    if (equals) {
        w.name_n = (size_t)(equals - text);
        w.value = equals + 1;
        w.value_n = n - w.name_n - 1;
        w.on = same_name("on", w.value, w.value_n) || same_name("yes", w.value, w.value_n);
    }
    return w;
}

static bool is_switch(const struct word *w)
{
    return !w->value || w->on || same_name("off", w->value, w->value_n) ||
           same_name("no", w->value, w->value_n);
}

static bool apply_feature(u32 *words, const u32 *supported, const struct word *w,
                          const char **error)
{
    const struct feature_row *r = find_feature(w->name, w->name_n);
    *error = "-cpu: unknown or unsupported CPU feature";
    if (!is_switch(w))
        return false;
    for (unsigned i = 0; !r && !w->on && i < ARRAY_LEN(never_there); i++) {
        if (same_name(never_there[i], w->name, w->name_n))
            return true;
    }
    if (!r)
        return false;
    *error = "-cpu: a feature that was asked for needs a host CPU that has it";
    if (w->on && !feature_shown(supported, r->feature))
        return false;
    set_feature(words, r->feature, w->on);
    for (unsigned i = 0; w->on && i < ARRAY_LEN(r->needs); i++) {
        if (r->needs[i])
            set_feature(words, r->needs[i], true);
    }
    return true;
}

/* MAXPHYADDR may be lowered: addresses above it then are reserved bits in page tables. */
static bool apply_phys_bits(struct vcpu *v, const struct word *w, const char **error)
{
    unsigned bits = 0;
    for (size_t i = 0; i < w->value_n && bits < 100; i++)
        bits = w->value[i] >= '0' && w->value[i] <= '9' ? bits * 10 + (unsigned)(w->value[i] - '0')
                                                        : 100;
    if (bits < 32 || bits > PHYS_ADDR_BITS) {
        *error = "-cpu: phys-bits must be 32 to 40";
        return false;
    }
    v->phys_bits = (u8)bits;
    return true;
}

static bool apply_word(struct vcpu *v, const u32 *supported, const char *text, size_t n,
                       const char **error)
{
    struct word w = split_word(text, n);
    if (w.value && same_name("phys-bits", w.name, w.name_n))
        return apply_phys_bits(v, &w, error);
    if (same_name("host-phys-bits", w.name, w.name_n) || same_name("migratable", w.name, w.name_n))
        return true; /* there is nothing to choose */
    if (w.value && same_name("vendor", w.name, w.name_n)) {
        *error = "-cpu: vendor can only be GenuineIntel";
        return same_name("genuineintel", w.value, w.value_n);
    }
    return apply_feature(v->feature, supported, &w, error);
}

bool cpu_model_select(struct vcpu *v, const char *spec, const char **error)
{
    if (!spec || !*spec)
        spec = DEFAULT_MODEL;
    size_t n = strcspn(spec, ",");
    const struct cpu_model *model = find_model(spec, n);
    if (!model) {
        *error = "-cpu: unknown model; known are pentium, pentium3, core2, host, max and 286";
        return false;
    }
    u32 supported[FEAT_WORDS];
    find_supported(supported, false);
    for (unsigned w = 0; w < FEAT_WORDS; w++)
        v->feature[w] = model->everything ? supported[w] : model->feature[w] & supported[w];
    v->model = model;
    v->phys_bits = model->phys_bits;
    find_supported(supported, true);
    for (spec += n; *spec; spec += n) {
        spec++;
        n = strcspn(spec, ",");
        if (!apply_word(v, supported, spec, n, error))
            return false;
    }
    drop_dependents(v->feature);
    if (!vcpu_shows(v, CPUID_PAE) && !vcpu_shows(v, CPUID_PSE36) && v->phys_bits > 32)
        v->phys_bits = 32;
    v->fpu_dp_on_error = vcpu_shows(v, CPUID_FDP_EXCPTN_ONLY);
    return true;
}
