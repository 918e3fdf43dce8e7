/* SPDX-License-Identifier: MIT
 *
 * The explained differences: what the rows of differences.inc and unmodelled.inc may ask, and the
 * matching of rows.
 */
#include <stdio.h>

#include "compare.h"

enum mode_set { M16 = 1, M32 = 2, M64 = 4, LEGACY = M16 | M32, ALL = LEGACY | M64 };
enum map_set { ONE = 1, M0F = 2, M0F38 = 4, M0F3A = 8, EVERY = 15 };

/* ---- predicates ---- */

/* How many bytes of `set` are among the prefixes. */
static unsigned prefixes_of(const struct situation *s, const char *set)
{
    static const char all[] = "\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3";
    unsigned n = 0;
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++) {
        u8 byte = s->bytes[i];
        bool rex = s->in->mode == 64 && (byte & 0xf0) == 0x40;
        if (!byte || (!rex && !strchr(all, (char)byte)))
            break;
        n += strchr(set, (char)byte) != NULL;
    }
    return n;
}

#define LOCK_PREFIX      "\xf0"
#define REPEATS          "\xf2\xf3"
#define MANDATORY        "\x66" REPEATS
#define IGNORED_SEGMENTS "\x26\x2e\x36\x3e"
#define SEGMENTS         IGNORED_SEGMENTS "\x64\x65"
#define REX_WITH_W       "\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f"
#define REX_WITHOUT_W    "\x40\x41\x42\x43\x44\x45\x46\x47"

static bool always(const struct situation *s)
{
    (void)s;
    return true;
}
static bool vex(const struct situation *s)
{
    return s->in->prefixes & PFX_VEX;
}
static bool legacy(const struct situation *s)
{
    return !vex(s);
}
static bool prefixed_vex(const struct situation *s)
{
    return vex(s) && prefixes_of(s, MANDATORY LOCK_PREFIX REX_WITH_W REX_WITHOUT_W) > 0;
}
static bool vex_w(const struct situation *s)
{
    return vex(s) && (s->in->rex & REX_W);
}
/* VEX.vvvv is 0111: 8, which outside 64-bit mode is no register. */
static bool high_vvvv(const struct situation *s)
{
    return vex(s) && s->in->vex_v == 8;
}
static bool locked(const struct situation *s)
{
    return prefixes_of(s, LOCK_PREFIX) > 0;
}
static bool mandatory(const struct situation *s)
{
    return legacy(s) && prefixes_of(s, MANDATORY) > 0;
}
static bool opsize(const struct situation *s)
{
    return prefixes_of(s, "\x66") > 0;
}
static bool adsize(const struct situation *s)
{
    return prefixes_of(s, "\x67") > 0;
}
static bool adsize_rex_w(const struct situation *s)
{
    return s->in->mode == 64 && adsize(s) && prefixes_of(s, REX_WITH_W) > 0;
}
static bool segment(const struct situation *s)
{
    return prefixes_of(s, SEGMENTS) > 0;
}
static bool ignored_segment(const struct situation *s)
{
    return prefixes_of(s, IGNORED_SEGMENTS) > 0;
}
static bool register_form(const struct situation *s)
{
    return s->in->modrm_at && modrm_mod(s->in) == 3;
}
static bool memory_form(const struct situation *s)
{
    return s->in->modrm_at && modrm_mod(s->in) != 3;
}
/* 32-bit addresses in 64-bit mode, ModRM.mod 0, SIB base 5, REX.B set. */
static bool no_base_67(const struct situation *s)
{
    const struct insn *in = s->in;
    return memory_form(s) && modrm_mod(in) == 0 && modrm_rm(in) == REG_SP &&
           (s->bytes[in->modrm_at + 1] & 7) == REG_BP && in->adsize == 4 && (in->rex & REX_B);
}

/* ---- rows ---- */

struct difference {
    enum who who;
    enum aspect aspect;
    enum mode_set modes;
    enum map_set maps;
    u8 first, last; /* opcodes */
    bool (*when)(const struct situation *s);
    const char *reason;
};

static const struct difference differences[] = {
#define DIFF(who, aspect, modes, maps, first, last, when, reason)                                  \
    {who, aspect, modes, maps, first, last, when, reason},
#include "differences.inc"
#undef DIFF
};

struct unmodelled {
    ZydisISASet first, last;
    const char *reason;
};

static const struct unmodelled unmodelled[] = {
#define ISA(first, last, reason) {ZYDIS_ISA_SET_##first, ZYDIS_ISA_SET_##last, reason},
#include "unmodelled.inc"
#undef ISA
};

unsigned difference_count(void)
{
    return ARRAY_LEN(differences);
}

unsigned difference_unmodelled_count(void)
{
    return ARRAY_LEN(unmodelled);
}

/* An instruction of an extension that our table leaves out, as Zydis names it. */
static bool is_unmodelled(struct compare *c, const struct situation *s)
{
    ZydisISASet set = s->oracle->zydis_insn.meta.isa_set;
    for (unsigned i = 0; i < ARRAY_LEN(unmodelled); i++) {
        if (unmodelled[i].first <= set && set <= unmodelled[i].last) {
            c->unmodelled[i]++;
            return true;
        }
    }
    return false;
}

bool difference_explained(struct compare *c, enum who who, enum aspect aspect,
                          const struct situation *s)
{
    const struct insn *in = s->in;
    unsigned mode = in->mode == 16 ? M16 : in->mode == 32 ? M32 : M64;
    if (aspect == WE_REJECT && s->oracle->zydis_valid && is_unmodelled(c, s))
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(differences); i++) {
        const struct difference *d = &differences[i];
        if ((d->who == who || d->who == BOTH) && d->aspect == aspect && (d->modes & mode) &&
            (d->maps & 1u << (in->map & 3)) && d->first <= in->opcode && in->opcode <= d->last &&
            d->when(s)) {
            c->explained[i]++;
            return true;
        }
    }
    return false;
}

void difference_report(const struct compare *c)
{
    static const char *const library[] = {"Zydis", "Capstone", "both"};
    static const char *const what[ASPECTS] = {"",         "reject",  "accept",    "length",
                                              "operands", "access",  "fl.read",   "fl.written",
                                              "fl.undef", "feature", "privilege", "lock"};
    printf("\nInstructions of extensions that we leave out:\n");
    for (unsigned i = 0; i < ARRAY_LEN(unmodelled); i++)
        printf("%12llu  %s\n", (unsigned long long)c->unmodelled[i], unmodelled[i].reason);
    printf("\nWhere the libraries have it otherwise, and why:\n");
    for (unsigned i = 0; i < ARRAY_LEN(differences); i++) {
        const struct difference *d = &differences[i];
        printf("%12llu  %-8s %-10s %02x-%02x  %s\n", (unsigned long long)c->explained[i],
               library[d->who], what[d->aspect], d->first, d->last, d->reason);
    }
}
