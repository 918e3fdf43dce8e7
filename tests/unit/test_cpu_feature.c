/* SPDX-License-Identifier: MIT
 *
 * -cpu max,-FEATURE: every instruction that a CPUID bit announces raises #UD when the bit is off,
 * and does not when it is on. The encodings are the manual's (SDM 2, "CPUID Feature Flag" of each
 * instruction), not the decoder's table; that none of the table's features is forgotten here is
 * checked, too.
 */
#include "cpu_rig.h"

#include "cpu/feature.h"
#include "cpu/interp.h"
#include "cpu/optable.h"

enum {
    CODE = 0x10000,
    DATA = 0x30000,
    HANDLERS = 0xf000,
    HLT = 0xf4,
    XCR0_ALL = 7,
    INVPCID_ALL = 2,
};

struct announced {
    const char *name; /* as in -cpu */
    enum cpu_feature feature;
    unsigned mode, len;
    u8 code[8];
};

// clang-format off
#define ROW(name, feature, mode, ...)                                                              \
    {name, CPUID_##feature, mode, sizeof((const u8[]){__VA_ARGS__}), {__VA_ARGS__}}
static const struct announced rows[] = {
    ROW("fpu",        FPU,        32, 0xd9, 0xe8),                         /* fld1 */
    ROW("fpu",        FPU,        64, 0xdd, 0x33),                         /* fnsave [rbx] */
    ROW("tsc",        TSC,        32, 0x0f, 0x31),                         /* rdtsc */
    ROW("msr",        MSR,        32, 0x0f, 0x32),                         /* rdmsr */
    ROW("msr",        MSR,        32, 0x0f, 0x30),                         /* wrmsr */
    ROW("cx8",        CX8,        32, 0x0f, 0xc7, 0x0b),                   /* cmpxchg8b [ebx] */
    ROW("sep",        SEP,        32, 0x0f, 0x34),                         /* sysenter */
    ROW("sep",        SEP,        64, 0x0f, 0x35),                         /* sysexit */
    ROW("cmov",       CMOV,       32, 0x0f, 0x44, 0xc1),                   /* cmovz eax, ecx */
    ROW("cmov",       CMOV,       32, 0xda, 0xc1),                         /* fcmovb st, st1 */
    ROW("cmov",       CMOV,       32, 0xdb, 0xf1),                         /* fcomi st, st1 */
    ROW("clflush",    CLFSH,      32, 0x0f, 0xae, 0x3b),                   /* clflush [ebx] */
    ROW("mmx",        MMX,        32, 0x0f, 0xef, 0xc1),                   /* pxor mm0, mm1 */
    ROW("mmx",        MMX,        32, 0x0f, 0x77),                         /* emms */
    ROW("fxsr",       FXSR,       32, 0x0f, 0xae, 0x03),                   /* fxsave [ebx] */
    ROW("fxsr",       FXSR,       32, 0x0f, 0xae, 0x0b),                   /* fxrstor [ebx] */
    ROW("sse",        SSE,        32, 0x0f, 0x57, 0xc1),                   /* xorps */
    ROW("sse",        SSE,        32, 0x0f, 0xae, 0x1b),                   /* stmxcsr [ebx] */
    ROW("sse",        SSE,        32, 0x0f, 0xae, 0xf8),                   /* sfence */
    ROW("sse",        SSE,        32, 0x0f, 0xde, 0xc1),                   /* pmaxub mm0, mm1 */
    ROW("sse2",       SSE2,       32, 0x66, 0x0f, 0xef, 0xc1),             /* pxor xmm0, xmm1 */
    ROW("sse2",       SSE2,       32, 0x0f, 0xd4, 0xc1),                   /* paddq mm0, mm1 */
    ROW("sse2",       SSE2,       32, 0x0f, 0xc3, 0x03),                   /* movnti [ebx], eax */
    ROW("sse2",       SSE2,       32, 0x0f, 0xae, 0xe8),                   /* lfence */
    ROW("sse3",       SSE3,       32, 0xf2, 0x0f, 0x7c, 0xc1),             /* haddps */
    ROW("sse3",       SSE3,       32, 0xdb, 0x0b),                         /* fisttp [ebx] */
    ROW("ssse3",      SSSE3,      32, 0x66, 0x0f, 0x38, 0x00, 0xc1),       /* pshufb */
    ROW("ssse3",      SSSE3,      32, 0x0f, 0x38, 0x1c, 0xc1),             /* pabsb mm0, mm1 */
    ROW("sse4.1",     SSE4_1,     32, 0x66, 0x0f, 0x38, 0x40, 0xc1),       /* pmulld */
    ROW("sse4.2",     SSE4_2,     32, 0x66, 0x0f, 0x38, 0x37, 0xc1),       /* pcmpgtq */
    ROW("sse4.2",     SSE4_2,     32, 0xf2, 0x0f, 0x38, 0xf1, 0xc1),       /* crc32 eax, ecx */
    ROW("pclmulqdq",  PCLMULQDQ,  32, 0x66, 0x0f, 0x3a, 0x44, 0xc1, 0),    /* pclmulqdq */
    ROW("aes",        AES,        32, 0x66, 0x0f, 0x38, 0xdc, 0xc1),       /* aesenc */
    ROW("sha",        SHA,        32, 0x0f, 0x38, 0xc8, 0xc1),             /* sha1nexte */
    ROW("gfni",       GFNI,       32, 0x66, 0x0f, 0x38, 0xcf, 0xc1),       /* gf2p8mulb */
    ROW("gfni",       GFNI,       32, 0xc4, 0xe2, 0x75, 0xcf, 0xc1),       /* vgf2p8mulb ymm */
    ROW("gfni",       GFNI,       64, 0xc4, 0xe3, 0xf5, 0xce, 0xc1, 0x01), /* vgf2p8affineqb ymm */
    ROW("popcnt",     POPCNT,     32, 0xf3, 0x0f, 0xb8, 0xc1),             /* popcnt eax, ecx */
    ROW("movbe",      MOVBE,      32, 0x0f, 0x38, 0xf0, 0x03),             /* movbe eax, [ebx] */
    ROW("rdrand",     RDRAND,     32, 0x0f, 0xc7, 0xf0),                   /* rdrand eax */
    ROW("rdseed",     RDSEED,     32, 0x0f, 0xc7, 0xf8),                   /* rdseed eax */
    ROW("adx",        ADX,        32, 0x66, 0x0f, 0x38, 0xf6, 0xc1),       /* adcx eax, ecx */
    ROW("bmi1",       BMI1,       32, 0xc4, 0xe2, 0x78, 0xf2, 0xc1),       /* andn */
    ROW("bmi2",       BMI2,       32, 0xc4, 0xe2, 0x70, 0xf5, 0xc1),       /* bzhi */
    ROW("xsave",      XSAVE,      32, 0x0f, 0xae, 0x23),                   /* xsave [ebx] */
    ROW("xsave",      XSAVE,      32, 0x0f, 0xae, 0x2b),                   /* xrstor [ebx] */
    ROW("xsave",      XSAVE,      32, 0x0f, 0x01, 0xd0),                   /* xgetbv */
    ROW("xsave",      XSAVE,      32, 0x0f, 0x01, 0xd1),                   /* xsetbv */
    ROW("xsaveopt",   XSAVEOPT,   32, 0x0f, 0xae, 0x33),                   /* xsaveopt [ebx] */
    ROW("xsavec",     XSAVEC,     32, 0x0f, 0xc7, 0x23),                   /* xsavec [ebx] */
    ROW("avx",        AVX,        32, 0xc5, 0xf0, 0x57, 0xc1),             /* vxorps xmm */
    ROW("avx",        AVX,        32, 0xc5, 0xf8, 0x77),                   /* vzeroupper */
    ROW("avx2",       AVX2,       32, 0xc5, 0xf5, 0xef, 0xc1),             /* vpxor ymm */
    ROW("fma",        FMA,        32, 0xc4, 0xe2, 0x71, 0x98, 0xc1),       /* vfmadd132ps */
    ROW("f16c",       F16C,       32, 0xc4, 0xe2, 0x79, 0x13, 0xc1),       /* vcvtph2ps */
    ROW("vaes",       VAES,       32, 0xc4, 0xe2, 0x75, 0xdc, 0xc1),       /* vaesenc ymm */
    ROW("vpclmulqdq", VPCLMULQDQ, 32, 0xc4, 0xe3, 0x75, 0x44, 0xc1, 0),    /* vpclmulqdq ymm */
    ROW("invpcid",    INVPCID,    32, 0x66, 0x0f, 0x38, 0x82, 0x03),       /* invpcid eax, [ebx] */
    ROW("smap",       SMAP,       32, 0x0f, 0x01, 0xca),                   /* clac */
    ROW("smap",       SMAP,       64, 0x0f, 0x01, 0xcb),                   /* stac */
    ROW("clflushopt", CLFLUSHOPT, 32, 0x66, 0x0f, 0xae, 0x3b),             /* clflushopt [ebx] */
    ROW("clwb",       CLWB,       32, 0x66, 0x0f, 0xae, 0x33),             /* clwb [ebx] */
    ROW("rdpid",      RDPID,      32, 0xf3, 0x0f, 0xc7, 0xf8),             /* rdpid eax */
    ROW("rdtscp",     RDTSCP,     32, 0x0f, 0x01, 0xf9),                   /* rdtscp */
    ROW("serialize",  SERIALIZE,  32, 0x0f, 0x01, 0xe8),                   /* serialize */
    ROW("cx16",       CX16,       64, 0x48, 0x0f, 0xc7, 0x0b),             /* cmpxchg16b [rbx] */
    ROW("fsgsbase",   FSGSBASE,   64, 0xf3, 0x0f, 0xae, 0xc0),             /* rdfsbase eax */
    ROW("fsgsbase",   FSGSBASE,   64, 0xf3, 0x48, 0x0f, 0xae, 0xd8),       /* wrgsbase rax */
    ROW("syscall",    SYSCALL,    64, 0x0f, 0x05),                         /* syscall */
    ROW("syscall",    SYSCALL,    64, 0x48, 0x0f, 0x07),                   /* sysret */
    ROW("lahf-lm",    LAHF_LM,    64, 0x9f),                               /* lahf */
    ROW("lahf-lm",    LAHF_LM,    64, 0x9e),                               /* sahf */
};
// clang-format on

/* Everything on that has to be on for some instruction, as far as this CPU has it. */
static void enable_everything(struct vcpu *v)
{
    if (vcpu_shows(v, CPUID_SSE))
        v->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (vcpu_shows(v, CPUID_XSAVE))
        v->cr4 |= CR4_OSXSAVE;
    if (vcpu_shows(v, CPUID_FSGSBASE))
        v->cr4 |= CR4_FSGSBASE;
    if (vcpu_shows(v, CPUID_SYSCALL))
        v->efer |= EFER_SCE;
    if (vcpu_shows(v, CPUID_AVX))
        v->xcr0 = XCR0_ALL;
    vcpu_mode_changed(v);
}

/* Whether the code raises #UD on such a CPU. It may fault otherwise; SYSCALL goes to address 0. */
static bool is_undefined(const char *model, unsigned mode, const u8 *code, unsigned len)
{
    struct rig *r = rig_open(model);
    mode == 64 ? rig_long(r) : rig_protected(r);
    enable_everything(r->v);
    r->v->landing = NULL;
    memset(r->ram + HANDLERS, HLT, 256);
    r->ram[0] = HLT;
    memcpy(r->ram + CODE, code, len);
    r->ram[CODE + len] = HLT;
    r->v->gpr[REG_BX] = DATA;
    r->v->gpr[REG_AX] = INVPCID_ALL;
    r->v->rip = CODE;
    assert_int_equal(interp_run(r->v), VCPU_EXIT_HALT);
    bool undefined = r->v->rip == HANDLERS + VEC_UD + 1;
    rig_close(r);
    return undefined;
}

static bool shown_by_max(enum cpu_feature f)
{
    struct rig *r = rig_open("max");
    bool shown = vcpu_shows(r->v, f);
    rig_close(r);
    return shown;
}

static void instruction_is_undefined_without_its_feature(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        const struct announced *row = &rows[i];
        char model[32];
        snprintf(model, sizeof model, "max,-%s", row->name);
        bool here = shown_by_max(row->feature);
        bool with = is_undefined("max", row->mode, row->code, row->len);
        bool without = is_undefined(model, row->mode, row->code, row->len);
        if (with != !here || !without)
            print_error("row %u, %s: %sundefined with it, %sundefined without\n", i, row->name,
                        with ? "" : "not ", without ? "" : "not ");
        assert_true(with == !here && without);
        tried += here;
    }
    assert_true(tried > 30); /* the host has some of them */
}

/* The decoder's table names no feature that can be had and is not tried above, but hints: they do
 * nothing without their bit, as LZCNT and TZCNT, which are BSR and BSF then. */
static void every_feature_with_instructions_is_tried(void **state)
{
    (void)state;
    struct rig *r = rig_open("max");
    for (unsigned i = 1; i < op_row_count(); i++) {
        const struct op_row *op = op_row_at(i);
        bool tried = op->feature == FEATURE_NONE || op->attr & ATTR_HINT ||
                     op->feature == CPUID_LM || !vcpu_shows(r->v, (enum cpu_feature)op->feature);
        for (unsigned k = 0; k < ARRAY_LEN(rows) && !tried; k++)
            tried = rows[k].feature == op->feature;
        if (!tried)
            print_error("%s is announced by feature %u\n", op->name, op->feature);
        assert_true(tried);
    }
    rig_close(r);
}

static u32 lzcnt_of_16(const char *model)
{
    static const u8 code[] = {0xf3, 0x0f, 0xbd, 0xc1, HLT}; /* lzcnt eax, ecx; or bsr */
    struct rig *r = rig_open(model);
    rig_protected(r);
    r->v->landing = NULL;
    memcpy(r->ram + CODE, code, sizeof code);
    r->v->gpr[REG_CX] = 16;
    r->v->rip = CODE;
    assert_int_equal(interp_run(r->v), VCPU_EXIT_HALT);
    u32 eax = (u32)r->v->gpr[REG_AX];
    rig_close(r);
    return eax;
}

static void lzcnt_without_its_feature_is_bsr(void **state)
{
    (void)state;
    if (shown_by_max(CPUID_LZCNT))
        assert_int_equal(lzcnt_of_16("max"), 27);
    assert_int_equal(lzcnt_of_16("max,-lzcnt"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instruction_is_undefined_without_its_feature),
        cmocka_unit_test(every_feature_with_instructions_is_tried),
        cmocka_unit_test(lzcnt_without_its_feature_is_bsr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
