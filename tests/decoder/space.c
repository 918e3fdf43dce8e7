/* SPDX-License-Identifier: MIT
 *
 * The opcode space: every opcode of every map with every ModRM byte, after each prefix that could
 * matter to it, in the three modes; VEX with each of its fields. What follows ModRM (SIB,
 * displacement, immediates) is random.
 *
 *     decoder_space [full]     without "full" about every eighth ModRM byte
 *
 * At the end every row of the opcode table must have been met.
 */
#include <stdio.h>

#include "compare.h"

struct walk {
    struct compare compare;
    u64 random;
    bool full;
};

/* xorshift64* */
static u64 random_next(struct walk *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * 0x2545f4914f6cdd1d;
}

struct prefix_set {
    unsigned n;
    u8 bytes[4];
};

static void walk_modrm(struct walk *w, const u8 *head, unsigned n, unsigned mode)
{
    u8 bytes[INSN_MAX_BYTES + 16];
    memcpy(bytes, head, n);
    unsigned opcode = head[n - 1];
    bool register_forms = n <= 2; /* without prefix: all of them, many are opcodes of their own */
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        if (!w->full && !(register_forms && modrm >= 0xc0) &&
            (modrm & 7) != ((opcode + (modrm >> 3)) & 7))
            continue;
        store64(bytes + n + 1, random_next(w));
        store64(bytes + n + 9, random_next(w));
        bytes[n] = (u8)modrm;
        compare_bytes(&w->compare, bytes, INSN_MAX_BYTES, mode);
    }
}

static void walk_opcodes(struct walk *w, const u8 *head, unsigned n, unsigned mode)
{
    u8 bytes[INSN_MAX_BYTES];
    memcpy(bytes, head, n);
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        bytes[n] = (u8)opcode;
        walk_modrm(w, bytes, n + 1, mode);
    }
}

/* ---- legacy encodings ---- */

static const struct prefix_set any_mode[] = {
    {0, {0}},          {1, {0x66}},       {1, {0x67}},       {1, {0xf2}},       {1, {0xf3}},
    {1, {0xf0}},       {1, {0x64}},       {1, {0x2e}},       {2, {0x66, 0xf2}}, {2, {0xf3, 0x66}},
    {2, {0xf2, 0xf3}}, {2, {0xf3, 0xf2}}, {2, {0x66, 0x67}}, {2, {0xf0, 0xf3}},
};
static const struct prefix_set rex[] = {
    {1, {0x40}},       {1, {0x41}},       {1, {0x42}},       {1, {0x44}},
    {1, {0x48}},       {1, {0x4f}},       {2, {0x66, 0x48}}, {2, {0xf3, 0x48}},
    {2, {0xf2, 0x4d}}, {2, {0x48, 0x66}}, {2, {0x67, 0x45}}, {2, {0x48, 0x41}},
};

static void walk_maps(struct walk *w, const struct prefix_set *prefixes, unsigned mode)
{
    static const struct prefix_set escapes[] = {
        {0, {0}}, {1, {0x0f}}, {2, {0x0f, 0x38}}, {2, {0x0f, 0x3a}}};
    u8 head[8];
    memcpy(head, prefixes->bytes, sizeof prefixes->bytes);
    for (unsigned i = 0; i < ARRAY_LEN(escapes); i++) {
        memcpy(head + prefixes->n, escapes[i].bytes, sizeof escapes[i].bytes);
        walk_opcodes(w, head, prefixes->n + escapes[i].n, mode);
    }
}

static void walk_legacy(struct walk *w, unsigned mode)
{
    for (unsigned i = 0; i < ARRAY_LEN(any_mode); i++)
        walk_maps(w, &any_mode[i], mode);
    for (unsigned i = 0; mode == 64 && i < ARRAY_LEN(rex); i++)
        walk_maps(w, &rex[i], mode);
}

/* ---- VEX (SDM 2A §2.3.5) ---- */

static void walk_vex3(struct walk *w, unsigned mode, unsigned rxb, unsigned vvvv)
{
    for (unsigned map = 0; map <= 4; map++) { /* 0 and 4 are none */
        for (unsigned wlpp = 0; wlpp < 16; wlpp++) {
            u8 head[4] = {0xc4, (u8)(rxb << 5 | map), 0};
            head[2] = (u8)((wlpp & 8) << 4 | vvvv << 3 | (wlpp & 7));
            walk_opcodes(w, head, 3, mode);
        }
    }
}

static void walk_vex2(struct walk *w, unsigned mode, unsigned r, unsigned vvvv)
{
    for (unsigned lpp = 0; lpp < 8; lpp++) {
        u8 head[3] = {0xc5, (u8)(r << 7 | vvvv << 3 | lpp)};
        walk_opcodes(w, head, 2, mode);
    }
}

static void walk_vex(struct walk *w, unsigned mode)
{
    enum { UNUSED = 15, REGISTER_5 = 10, REGISTER_8 = 7 }; /* vvvv is inverted */
    static const u8 vvvv[] = {UNUSED, REGISTER_5, REGISTER_8};
    for (unsigned i = 0; i < ARRAY_LEN(vvvv); i++) {
        walk_vex3(w, mode, 7, vvvv[i]);
        walk_vex2(w, mode, 1, vvvv[i]);
        if (mode == 64) {
            walk_vex3(w, mode, 0, vvvv[i]);
            walk_vex2(w, mode, 0, vvvv[i]);
        }
    }
    static const u8 forbidden[] = {0x66, 0xf2, 0xf3, 0xf0, 0x48};
    for (unsigned i = 0; i < ARRAY_LEN(forbidden); i++) {
        u8 head[4] = {forbidden[i], 0xc5, 0xf8};
        walk_opcodes(w, head, 3, mode);
    }
}

/* ---- the whole ---- */

static int report_missed_rows(const struct compare *c)
{
    int missed = 0;
    for (unsigned row = 1; row < op_row_count(); row++) {
        if (c->rows_hit[row])
            continue;
        const struct op_row *r = op_row_at(row);
        printf("row %u (%s, map %u, opcode %02x) was never met\n", row, r->name, r->opcode >> 8,
               r->opcode & 0xff);
        missed++;
    }
    return missed;
}

int main(int argc, char **argv)
{
    struct walk w = {.random = 1, .full = argc > 1 && !strcmp(argv[1], "full")};
    compare_open(&w.compare);
    for (unsigned mode = 16; mode <= 64; mode *= 2) {
        walk_legacy(&w, mode);
        walk_vex(&w, mode);
    }
    int status = compare_report(&w.compare);
    if (report_missed_rows(&w.compare))
        status = 1;
    compare_close(&w.compare);
    return status;
}
