/* SPDX-License-Identifier: MIT */
#include "compare.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/decode_usual.h"

enum { SHOW_AT_MOST = 60 }; /* of each library */

/* ---- field by field ---- */

/* Registers of vectors are compared without size: a scalar operation uses a part of them. */
static bool same_operand(const struct view_operand *a, const struct view_operand *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VIEW_REGISTER: return a->reg == b->reg;
    case VIEW_MEMORY:
        return (a->size == b->size || !a->size) && a->seg == b->seg && a->base == b->base &&
               a->index == b->index && a->scale == b->scale && a->value == b->value;
    case VIEW_FAR: return a->value == b->value && a->selector == b->selector;
    case VIEW_RELATIVE: return a->value == b->value;
    default: return !((a->value ^ b->value) & mask64(a->size * 8u));
    }
}

static enum aspect compare_views(const struct view *ours, const struct view *theirs)
{
    if (ours->valid != theirs->valid)
        return ours->valid ? WE_ACCEPT : WE_REJECT;
    if (!ours->valid)
        return SAME;
    if (ours->len != theirs->len)
        return LENGTH;
    if (ours->count != theirs->count)
        return OPERANDS;
    for (unsigned i = 0; i < ours->count; i++) {
        if (!same_operand(&ours->op[i], &theirs->op[i]))
            return OPERANDS;
    }
    return SAME;
}

/* ---- ours in Capstone's terms ---- */

/* Capstone writes the operands of string instructions. */
static bool shows_hidden(const struct insn *in)
{
    return op_row(in)->attr & (ATTR_REP | ATTR_REPCC);
}

/* It shows overrides, and the ES of string instructions outside 64-bit mode. */
static bool shows_segment(const struct insn *in, const struct view_operand *o)
{
    if (shows_hidden(in) && o->base && (o->base & 0xff) == REG_DI)
        return in->mode != 64;
    return in->prefixes & PFX_SEG;
}

static u64 absolute_target(const struct insn *in)
{
    return (in->len + in->imm) & mask64(in->opsize * 8u);
}

static void as_capstone_has_it(const struct insn *in, struct view *v)
{
    for (unsigned i = 0; i < v->count; i++) {
        struct view_operand *o = &v->op[i];
        if (o->kind == VIEW_RELATIVE) {
            o->kind = VIEW_IMMEDIATE;
            o->value = absolute_target(in);
        } else if (o->kind == VIEW_MEMORY && !shows_segment(in, o)) {
            o->seg = SEG_COUNT;
        } else if (o->kind == VIEW_FAR) {
            v->op[1] = *o;
            o->kind = v->op[1].kind = VIEW_IMMEDIATE;
            o->size = 2;
            o->value = o->selector;
            v->count = 2;
        }
    }
}

/* ---- driver ---- */

static unsigned mode_index(unsigned mode)
{
    return mode == 16 ? 0 : mode == 32 ? 1 : 2;
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        abort();
    return p;
}

/* Library, aspect, mode, map, opcode. */
#define SEEN_BITS 18

void compare_open(struct compare *c)
{
    memset(c, 0, sizeof *c);
    for (unsigned m = 0; m < ARRAY_LEN(c->oracle); m++)
        oracle_open(&c->oracle[m], 16u << m);
    c->explained = zeroed(difference_count(), sizeof *c->explained);
    c->unmodelled = zeroed(difference_unmodelled_count(), sizeof *c->unmodelled);
    c->rows_hit = zeroed(op_row_count(), sizeof *c->rows_hit);
    c->seen = zeroed((size_t)1 << SEEN_BITS, 1);
}

void compare_close(struct compare *c)
{
    for (unsigned m = 0; m < ARRAY_LEN(c->oracle); m++)
        oracle_close(&c->oracle[m]);
    free(c->explained);
    free(c->unmodelled);
    free(c->rows_hit);
    free(c->seen);
}

static bool first_of_its_kind(struct compare *c, enum who who, enum aspect aspect,
                              const struct insn *in)
{
    unsigned key = (unsigned)who;
    key = key << 4 | (unsigned)aspect;
    key = key << 2 | mode_index(in->mode);
    key = key << 2 | (in->map & 3);
    key = key << 8 | in->opcode;
    return !c->seen[key]++;
}

static const char *their_name(enum who who, const struct situation *s)
{
    if (!s->theirs->valid)
        return "";
    return who == ZYDIS ? ZydisMnemonicGetString(s->oracle->zydis_insn.mnemonic)
                        : s->oracle->capstone_insn->mnemonic;
}

/* `a` and `b`: our and their fact. */
static void fail(struct compare *c, enum who who, enum aspect aspect, u32 a, u32 b,
                 const struct situation *s)
{
    static const char *const library[] = {"Zydis", "Capstone"};
    static const char *const what[ASPECTS] = {
        "",           "only we accept", "only we reject",  "length",  "operands",  "access",
        "flags read", "flags written",  "flags undefined", "feature", "privilege", "lockable"};
    char ours[200], theirs[200];
    c->failures++;
    if (c->shown[who] >= SHOW_AT_MOST || !first_of_its_kind(c, who, aspect, s->in))
        return;
    c->shown[who]++;
    view_print(s->ours, ours, sizeof ours);
    view_print(s->theirs, theirs, sizeof theirs);
    printf("%u-bit", s->in->mode);
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        printf(" %02x", s->bytes[i]);
    printf(": %s: %s %x, %x (map %u, opcode %02x, row %u)\n    ours:   %s %s\n    theirs: %s %s\n",
           library[who], what[aspect], a, b, s->in->map, s->in->opcode, s->in->row,
           s->ours->valid ? op_row(s->in)->name : "", ours, their_name(who, s), theirs);
}

static void compare_with(struct compare *c, enum who who, const struct situation *s)
{
    enum aspect aspect = compare_views(s->ours, s->theirs);
    if (aspect != SAME && !difference_explained(c, who, aspect, s))
        fail(c, who, aspect, 0, 0, s);
}

static void compare_facts(struct compare *c, const struct situation *s)
{
    struct fact facts[FACTS];
    unsigned n = facts_compare(s, facts);
    for (unsigned i = 0; i < n; i++) {
        if (!difference_explained(c, ZYDIS, facts[i].aspect, s))
            fail(c, ZYDIS, facts[i].aspect, facts[i].ours, facts[i].theirs, s);
    }
}

/* The decoder's shortcut wants more bytes than an instruction may have: here it gets them, whatever
 * they are. What it decodes must be what decode_any() decodes, field for field. */
static void compare_shortcut(struct compare *c, const u8 *bytes, size_t n, unsigned mode)
{
    u8 padded[2 * INSN_MAX_BYTES + 2];
    struct insn in = {0}, general = {0};
    memset(padded, 0xcc, sizeof padded);
    memcpy(padded, bytes, n < sizeof padded ? n : sizeof padded);
    bool good = decode(padded, sizeof padded, mode, &in) == DECODE_OK;
    if (good != (decode_any(padded, sizeof padded, mode, &general) == DECODE_OK) ||
        (good && memcmp(&in, &general, sizeof in) != 0)) {
        if (!c->failures++)
            printf("%u-bit %02x %02x %02x %02x: the shortcut decodes otherwise\n", mode, padded[0],
                   padded[1], padded[2], padded[3]);
    }
}

void compare_bytes(struct compare *c, const u8 *bytes, size_t n, unsigned mode)
{
    struct oracle *o = &c->oracle[mode_index(mode)];
    struct insn in;
    struct view ours, zydis, capstone;
    struct situation s = {bytes, &in, &ours, &zydis, o};

    enum decode_status status = decode(bytes, n, mode, &in);
    view_ours(&in, status, false, &ours);
    view_zydis(o, bytes, n, &zydis);
    c->cases++;
    compare_shortcut(c, bytes, n, mode);
    compare_with(c, ZYDIS, &s);
    if (ours.valid) {
        c->instructions++;
        c->rows_hit[in.row]++;
        if (zydis.valid)
            compare_facts(c, &s);
        view_ours(&in, status, shows_hidden(&in), &ours);
        as_capstone_has_it(&in, &ours);
    }
    s.theirs = &capstone;
    view_capstone(o, bytes, n, &capstone);
    compare_with(c, CAPSTONE, &s);
}

int compare_report(const struct compare *c)
{
    difference_report(c);
    printf("\n%llu byte strings, %llu instructions, %llu unexplained differences\n",
           (unsigned long long)c->cases, (unsigned long long)c->instructions,
           (unsigned long long)c->failures);
    return c->failures ? 1 : 0;
}
