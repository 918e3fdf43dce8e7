/* SPDX-License-Identifier: MIT
 *
 * Executes the vectors of Berkeley TestFloat's testfloat_gen by the x87 and SSE instructions of the
 * CPU that it runs on, and compares results and exception flags.
 *
 *     testfloat_gen -tininessafter -exact -rROUNDING [-precisionBITS] FUNCTION |
 *         testfloat_check FUNCTION ROUNDING [BITS]
 *
 * Names that begin with extF80, and conversions to it, are done by the x87; all others by SSE,
 * which converts 64-bit integers in a 64-bit program only. A static program for a Linux guest, and
 * for the host, which says whether the vectors are right. The denormal-operand flag is not
 * compared: IEEE 754 does not know it.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_BYTES = 16, MAX_INPUTS = 3, SHOWN = 5 };

struct value {
    unsigned char b[VALUE_BYTES]; /* little-endian; the rest 0 */
};

/* In x87 and SSE alike. */
enum { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32, ALL_ERRORS = 63 };

/* ---- SSE ---- */

#define MXCSR_MASKED   0x1f80u
#define MXCSR_RC_SHIFT 13

/* Operands go by memory: one way for registers, the other for memory operands of the instruction */
#define SSE_2(name, insn)                                                                          \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile("movdqu %1, %%xmm0\n\tmovdqu %2, %%xmm1\n\t" insn " %%xmm1, %%xmm0\n\t"   \
                         "movdqu %%xmm0, %0"                                                       \
                         : "=m"(*out)                                                              \
                         : "m"(in[0]), "m"(in[1])                                                  \
                         : "xmm0", "xmm1");                                                        \
    }
#define SSE_1(name, insn)                                                                          \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile("pxor %%xmm0, %%xmm0\n\t" insn " %1, %%xmm0\n\tmovdqu %%xmm0, %0"         \
                         : "=m"(*out)                                                              \
                         : "m"(in[0])                                                              \
                         : "xmm0");                                                                \
    }
#define SSE_TO_INT(name, insn, reg)                                                                \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile(insn " %1, %%" reg "\n\tmov %%" reg ", %0"                                \
                         : "=m"(*out)                                                              \
                         : "m"(in[0])                                                              \
                         : "rax");                                                                 \
    }
/* The condition must not hold for unordered operands, which set ZF, PF and CF. */
#define SSE_COMPARE(name, move, insn, condition)                                                   \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile(move " %1, %%xmm0\n\t" insn " %2, %%xmm0\n\t" condition                   \
                         : "=m"(*out)                                                              \
                         : "m"(in[0]), "m"(in[1])                                                  \
                         : "xmm0", "al", "ah", "cc");                                              \
    }
#define IF_EQUAL   "sete %%al\n\tsetnp %%ah\n\tand %%ah, %%al\n\tmov %%al, %0"
#define IF_LESS    "setb %%al\n\tsetnp %%ah\n\tand %%ah, %%al\n\tmov %%al, %0"
#define IF_NOTMORE "setbe %%al\n\tsetnp %%ah\n\tand %%ah, %%al\n\tmov %%al, %0"

#define SSE_FORMAT(f, x)                                                                           \
    SSE_2(f##_add, "adds" x)                                                                       \
    SSE_2(f##_sub, "subs" x)                                                                       \
    SSE_2(f##_mul, "muls" x)                                                                       \
    SSE_2(f##_div, "divs" x)                                                                       \
    SSE_1(f##_sqrt, "sqrts" x)                                                                     \
    SSE_1(f##_round, "rounds" x " $4,")                                                            \
    SSE_TO_INT(f##_to_i32, "cvts" x "2si", "eax")                                                  \
    SSE_TO_INT(f##_to_i32_trunc, "cvtts" x "2si", "eax")                                           \
    SSE_1(i32_to_##f, "cvtsi2s" x "l")                                                             \
    SSE_COMPARE(f##_eq, "movs" x, "ucomis" x, IF_EQUAL)                                            \
    SSE_COMPARE(f##_eq_signaling, "movs" x, "comis" x, IF_EQUAL)                                   \
    SSE_COMPARE(f##_lt, "movs" x, "comis" x, IF_LESS)                                              \
    SSE_COMPARE(f##_lt_quiet, "movs" x, "ucomis" x, IF_LESS)                                       \
    SSE_COMPARE(f##_le, "movs" x, "comis" x, IF_NOTMORE)                                           \
    SSE_COMPARE(f##_le_quiet, "movs" x, "ucomis" x, IF_NOTMORE)
SSE_FORMAT(f32, "s")
SSE_FORMAT(f64, "d")

#ifdef __x86_64__
#define SSE_INT64(f, x)                                                                            \
    SSE_TO_INT(f##_to_i64, "cvts" x "2si", "rax")                                                  \
    SSE_TO_INT(f##_to_i64_trunc, "cvtts" x "2si", "rax")                                           \
    SSE_1(i64_to_##f, "cvtsi2s" x "q")
SSE_INT64(f32, "s")
SSE_INT64(f64, "d")
#endif

SSE_1(f32_to_f64, "cvtss2sd")
SSE_1(f64_to_f32, "cvtsd2ss")

static void f16_to_f32(const struct value *in, struct value *out)
{
    __asm__ volatile("vcvtph2ps %1, %%xmm0\n\tmovdqu %%xmm0, %0"
                     : "=m"(*out)
                     : "m"(in[0])
                     : "xmm0");
}

static void f32_to_f16(const struct value *in, struct value *out)
{
    __asm__ volatile("movdqu %1, %%xmm0\n\tvcvtps2ph $4, %%xmm0, %%xmm1\n\tmovdqu %%xmm1, %0"
                     : "=m"(*out)
                     : "m"(in[0])
                     : "xmm0", "xmm1");
}

/* ---- x87 ---- */

#define FCW_MASKED   0x003fu
#define FCW_PC_SHIFT 8
#define FCW_RC_SHIFT 10

#define X87_2(name, insn)                                                                          \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile("fldt %2\n\tfldt %1\n\t" insn "\n\tfstpt %0"                              \
                         : "=m"(*out)                                                              \
                         : "m"(in[0]), "m"(in[1])                                                  \
                         : "ax", "cc");                                                            \
    }
X87_2(extF80_add, "fadd %%st(1), %%st")
X87_2(extF80_sub, "fsub %%st(1), %%st")
X87_2(extF80_mul, "fmul %%st(1), %%st")
X87_2(extF80_div, "fdiv %%st(1), %%st")
X87_2(extF80_rem, "1: fprem1\n\tfnstsw %%ax\n\ttest $4, %%ah\n\tjnz 1b")

#define X87_1(name, load, insn, store)                                                             \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile(load " %1\n\t" insn "\n\t" store " %0" : "=m"(*out) : "m"(in[0]));        \
    }
X87_1(extF80_sqrt, "fldt", "fsqrt", "fstpt")
X87_1(extF80_round, "fldt", "frndint", "fstpt")
X87_1(extF80_to_f32, "fldt", "", "fstps")
X87_1(extF80_to_f64, "fldt", "", "fstpl")
X87_1(extF80_to_i32, "fldt", "", "fistpl")
X87_1(extF80_to_i64, "fldt", "", "fistpll")
X87_1(extF80_to_i32_trunc, "fldt", "", "fisttpl")
X87_1(extF80_to_i64_trunc, "fldt", "", "fisttpll")
X87_1(f32_to_extF80, "flds", "", "fstpt")
X87_1(f64_to_extF80, "fldl", "", "fstpt")
X87_1(i32_to_extF80, "fildl", "", "fstpt")
X87_1(i64_to_extF80, "fildll", "", "fstpt")

#define X87_COMPARE(name, insn, condition)                                                         \
    static void name(const struct value *in, struct value *out)                                    \
    {                                                                                              \
        __asm__ volatile("fldt %2\n\tfldt %1\n\t" insn " %%st(1), %%st\n\t" condition              \
                         : "=m"(*out)                                                              \
                         : "m"(in[0]), "m"(in[1])                                                  \
                         : "al", "ah", "cc");                                                      \
    }
X87_COMPARE(extF80_eq, "fucomi", IF_EQUAL)
X87_COMPARE(extF80_eq_signaling, "fcomi", IF_EQUAL)
X87_COMPARE(extF80_lt, "fcomi", IF_LESS)
X87_COMPARE(extF80_lt_quiet, "fucomi", IF_LESS)
X87_COMPARE(extF80_le, "fcomi", IF_NOTMORE)
X87_COMPARE(extF80_le_quiet, "fucomi", IF_NOTMORE)

/* ---- the functions by TestFloat's names ---- */

static const struct function {
    const char *name;
    unsigned inputs, result_bytes;
    void (*run)(const struct value *in, struct value *out);
} functions[] = {
#define FORMAT(f, bytes)                                                                           \
    {#f "_add", 2, bytes, f##_add}, {#f "_sub", 2, bytes, f##_sub},                                \
        {#f "_mul", 2, bytes, f##_mul}, {#f "_div", 2, bytes, f##_div},                            \
        {#f "_sqrt", 1, bytes, f##_sqrt}, {#f "_roundToInt", 1, bytes, f##_round},                 \
        {#f "_to_i32", 1, 4, f##_to_i32}, {#f "_to_i32_r_minMag", 1, 4, f##_to_i32_trunc},         \
        {"i32_to_" #f, 1, bytes, i32_to_##f}, {#f "_eq", 2, 1, f##_eq},                            \
        {#f "_eq_signaling", 2, 1, f##_eq_signaling}, {#f "_lt", 2, 1, f##_lt},                    \
        {#f "_lt_quiet", 2, 1, f##_lt_quiet}, {#f "_le", 2, 1, f##_le},                            \
        {#f "_le_quiet", 2, 1, f##_le_quiet},
#define INT64(f, bytes)                                                                            \
    {#f "_to_i64", 1, 8, f##_to_i64}, {#f "_to_i64_r_minMag", 1, 8, f##_to_i64_trunc},             \
        {"i64_to_" #f, 1, bytes, i64_to_##f},
    FORMAT(f32, 4) FORMAT(f64, 8) FORMAT(extF80, 10) INT64(extF80, 10)
#ifdef __x86_64__
        INT64(f32, 4) INT64(f64, 8)
#endif
            {"f32_to_f64", 1, 8, f32_to_f64},
    {"f64_to_f32", 1, 4, f64_to_f32},
    {"f16_to_f32", 1, 4, f16_to_f32},
    {"f32_to_f16", 1, 2, f32_to_f16},
    {"extF80_rem", 2, 10, extF80_rem},
    {"extF80_to_f32", 1, 4, extF80_to_f32},
    {"extF80_to_f64", 1, 8, extF80_to_f64},
    {"f32_to_extF80", 1, 10, f32_to_extF80},
    {"f64_to_extF80", 1, 10, f64_to_extF80},
};

static const struct function *find_function(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (!strcmp(functions[i].name, name))
            return &functions[i];
    }
    return NULL;
}

/* ---- running ---- */

struct mode {
    bool x87;
    unsigned rounding;  /* of RC */
    unsigned precision; /* of PC */
};

static unsigned run(const struct function *f, const struct mode *m, const struct value *in,
                    struct value *out)
{
    unsigned mxcsr = MXCSR_MASKED | m->rounding << MXCSR_RC_SHIFT, flags;
    unsigned short fcw =
        (unsigned short)(FCW_MASKED | m->precision << FCW_PC_SHIFT | m->rounding << FCW_RC_SHIFT);
    unsigned short fsw;
    memset(out, 0, sizeof *out);
    __asm__ volatile("fninit\n\tfldcw %0\n\tldmxcsr %1" : : "m"(fcw), "m"(mxcsr));
    f->run(in, out);
    __asm__ volatile("fnstsw %0\n\tfninit\n\tstmxcsr %1" : "=m"(fsw), "=m"(mxcsr));
    flags = m->x87 ? fsw : mxcsr;
    return flags & (ALL_ERRORS & ~DE);
}

/* ---- text ---- */

static bool parse_value(const char *text, struct value *v)
{
    size_t digits = text ? strspn(text, "0123456789ABCDEFabcdef") : 0;
    memset(v, 0, sizeof *v);
    if (!digits || digits > VALUE_BYTES * 2)
        return false;
    for (size_t i = 0; i < digits; i++) {
        char c = text[digits - 1 - i];
        unsigned digit = c <= '9' ? c - '0' : (c & ~('a' ^ 'A')) - 'A' + 10;
        v->b[i / 2] |= (unsigned char)(digit << i % 2 * 4);
    }
    return true;
}

/* TestFloat's flags: inexact 1, underflow 2, overflow 4, infinite 8, invalid 16. */
static unsigned errors_of(unsigned flags)
{
    return (flags & 1 ? PE : 0) | (flags & 2 ? UE : 0) | (flags & 4 ? OE : 0) |
           (flags & 8 ? ZE : 0) | (flags & 16 ? IE : 0);
}

static bool parse_mode(int argc, char **argv, struct mode *m)
{
    static const char *const roundings[] = {"near_even", "min", "max", "minMag"};
    static const struct {
        const char *bits;
        unsigned pc;
    } precisions[] = {{"32", 0}, {"64", 2}, {"80", 3}};
    const char *bits = argc > 3 ? argv[3] : "80";
    m->x87 = strstr(argv[1], "extF80") != NULL;
    for (m->rounding = 0; m->rounding < 4; m->rounding++) {
        if (!strcmp(roundings[m->rounding], argv[2]))
            break;
    }
    for (unsigned i = 0; i < 3; i++) {
        m->precision = precisions[i].pc;
        if (!strcmp(bits, precisions[i].bits))
            return m->rounding < 4;
    }
    return false;
}

static bool check_line(const struct function *f, const struct mode *m, char *line, bool show)
{
    struct value in[MAX_INPUTS], wanted, got, flags;
    char copy[256], *save = NULL;
    snprintf(copy, sizeof copy, "%s", line);
    char *word = strtok_r(copy, " \n", &save);
    for (unsigned i = 0; i < f->inputs; i++, word = strtok_r(NULL, " \n", &save)) {
        if (!parse_value(word, &in[i]))
            return false;
    }
    bool valid = parse_value(word, &wanted) && parse_value(strtok_r(NULL, " \n", &save), &flags);
    unsigned errors = run(f, m, in, &got);
    bool same =
        valid && !memcmp(got.b, wanted.b, f->result_bytes) && errors == errors_of(flags.b[0]);
    if (!same && show) {
        printf("  %.*s: got ", (int)strcspn(line, "\n"), line);
        for (unsigned i = f->result_bytes; i--;)
            printf("%02X", got.b[i]);
        printf(", errors %02x, expected %02x\n", errors, errors_of(flags.b[0]));
    }
    return same;
}

int main(int argc, char **argv)
{
    const struct function *f = argc > 2 ? find_function(argv[1]) : NULL;
    struct mode m;
    char line[256];
    unsigned long tried = 0, failed = 0;
    if (!f || !parse_mode(argc, argv, &m)) {
        fputs("usage: testfloat_check FUNCTION near_even|min|max|minMag [32|64|80]\n", stderr);
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        tried++;
        failed += !check_line(f, &m, line, failed < SHOWN);
    }
    printf("%s %s %s: %lu vectors, %lu differ\n", argv[1], argv[2], argc > 3 ? argv[3] : "", tried,
           failed);
    return failed || !tried;
}
