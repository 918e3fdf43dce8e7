/* SPDX-License-Identifier: MIT
 *
 * `anello disasm`: a file of raw code through our decoder and through Capstone, side by side. Lines
 * on which the two do not agree (length, or whether it is an instruction at all) begin with '!'.
 */
#include "cpu/disasm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/run.h"
#include "cpu/decode.h"
#include "cpu/optable.h"
#include "machine/firmware.h"

#define FILE_MAX  MIB(256)
#define OURS_MAX  160
#define OURS_WIDE 44

/* A text that grows in a buffer and never beyond it. */
struct text {
    char *at;
    size_t left;
};

static void add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->at, t->left, fmt, ap);
    va_end(ap);
    size_t wrote = n < 0 ? 0 : (size_t)n < t->left ? (size_t)n : t->left - 1;
    t->at += wrote;
    t->left -= wrote;
}

static void add_gpr(struct text *t, unsigned reg, unsigned size)
{
    static const char *const legacy[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const low[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const suffix[] = {[1] = "b", [2] = "w", [4] = "d", [8] = ""};
    if (reg == REG_PC)
        add(t, "%s", size == 8 ? "rip" : "eip");
    else if (reg >= 8)
        add(t, "r%u%s", reg, size <= 8 ? suffix[size] : "");
    else if (size == 1)
        add(t, "%s", low[reg]);
    else
        add(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", legacy[reg]);
}

static void add_memory(struct text *t, const struct insn *in, const struct operand *o)
{
    static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    const struct op_row *row = op_row(in);
    if (o->size)
        add(t, "m%u ", o->size * 8u);
    if (o->hidden && (o->reg == REG_SI || o->reg == REG_DI) && in->base == REG_NONE) {
        add(t, "%s:[", o->reg == REG_DI ? "es" : segs[in->seg]);
        add_gpr(t, o->reg, in->adsize);
        add(t, "]");
        return;
    }
    add(t, "%s:[", segs[in->seg]);
    bool first = true;
    if (in->base != REG_NONE) {
        add_gpr(t, in->base, in->adsize);
        first = false;
    }
    if (in->index != REG_NONE) {
        add(t, "%s", first ? "" : "+");
        if (row->attr & ATTR_VSIB)
            add(t, "v%u", in->index);
        else
            add_gpr(t, in->index, in->adsize);
        add(t, "*%u", in->scale);
        first = false;
    }
    if (first)
        add(t, "0x%llx", (unsigned long long)in->disp & mask64(in->adsize * 8));
    else if (in->disp)
        add(t, "%c0x%llx", in->disp < 0 ? '-' : '+',
            (unsigned long long)(in->disp < 0 ? -in->disp : in->disp));
    add(t, "]");
}

static void add_operand(struct text *t, const struct insn *in, const struct operand *o, u64 next)
{
    static const char *const high[] = {"ah", "ch", "dh", "bh"};
    static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    switch (o->kind) {
    case OPD_GPR: add_gpr(t, o->reg, o->size); break;
    case OPD_GPR8H: add(t, "%s", high[o->reg & 3]); break;
    case OPD_SEG: add(t, "%s", segs[o->reg % SEG_COUNT]); break;
    case OPD_CR: add(t, "cr%u", o->reg); break;
    case OPD_DR: add(t, "dr%u", o->reg); break;
    case OPD_ST: add(t, "st(%u)", o->reg); break;
    case OPD_MMX: add(t, "mm%u", o->reg); break;
    case OPD_XMM: add(t, "xmm%u", o->reg); break;
    case OPD_YMM: add(t, "ymm%u", o->reg); break;
    case OPD_MEM: add_memory(t, in, o); break;
    case OPD_IMM: add(t, "0x%llx", (unsigned long long)in->imm); break;
    case OPD_REL:
        add(t, "0x%llx", (unsigned long long)(next + in->imm) & mask64(in->mode == 64 ? 64 : 32));
        break;
    case OPD_FAR: add(t, "0x%x:0x%llx", in->imm2, (unsigned long long)in->imm); break;
    default: break;
    }
}

/* The condition of Jcc, SETcc and CMOVcc, which share a row name each. */
static const char *condition(const struct insn *in)
{
    static const char *const names[] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                        "s", "ns", "p", "np", "l", "ge", "le", "g"};
    bool conditional = in->op == OP_JCC || in->op == OP_SETCC || in->op == OP_CMOVCC;
    return conditional ? names[in->opcode & 15] : "";
}

/* Our reading: mnemonic of the row and every explicit operand. */
static void describe(const struct insn *in, u64 at, char *text, size_t n)
{
    struct text t = {.at = text, .left = n};
    add(&t, "%s%s%s%s", in->prefixes & PFX_LOCK ? "lock " : "",
        in->prefixes & PFX_REP     ? "rep "
        : in->prefixes & PFX_REPNE ? "repne "
                                   : "",
        op_row(in)->name, condition(in));
    const char *between = " ";
    for (unsigned i = 0; i < in->operands; i++) {
        if (in->operand[i].hidden)
            continue;
        add(&t, "%s", between);
        add_operand(&t, in, &in->operand[i], at + in->len);
        between = ", ";
    }
}

static void print_line(const u8 *bytes, size_t at, unsigned len, bool differs, const char *ours,
                       const char *theirs)
{
    printf("%c %08zx  ", differs ? '!' : ' ', at);
    for (unsigned i = 0; i < 8; i++) {
        if (i < len)
            printf("%02x", bytes[at + i]);
        else
            printf("  ");
    }
    printf("%s %-*s | %s\n", len > 8 ? "+" : " ", OURS_WIDE, ours, theirs);
}

/* Returns the number of lines that differ. */
static size_t list(const u8 *bytes, size_t size, unsigned mode)
{
    size_t differing = 0;
    for (size_t at = 0; at < size;) {
        struct insn in;
        char ours[OURS_MAX], theirs[OURS_MAX];
        enum decode_status status = decode(bytes + at, size - at, mode, &in);
        unsigned theirs_len = disasm_text(bytes + at, size - at, mode, at, theirs, sizeof theirs);
        unsigned len = status == DECODE_OK ? in.len : 0;
        if (status == DECODE_OK)
            describe(&in, at, ours, sizeof ours);
        else
            snprintf(ours, sizeof ours, "%s",
                     status == DECODE_TRUNCATED  ? "(cut off)"
                     : status == DECODE_TOO_LONG ? "(too long)"
                                                 : "(bad)");
        bool differs = len != theirs_len;
        differing += differs;
        print_line(bytes, at, len ? len : 1, differs, ours, theirs);
        at += len ? len : 1;
    }
    return differing;
}

static void usage(FILE *out)
{
    fputs("usage: anello disasm [-b 16|32|64] FILE\n\n"
          "Disassembles raw code (default: 32-bit) by anello's decoder and by Capstone, side by\n"
          "side. A line on which they differ in length or validity begins with '!'.\n",
          out);
}

int disasm_command(int argc, char **argv)
{
    unsigned mode = 32;
    int i = 1;
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        usage(stdout);
        return 0;
    }
    if (argc > 2 && (!strcmp(argv[1], "-b") || !strcmp(argv[1], "--bits"))) {
        mode = (unsigned)strtoul(argv[2], NULL, 10);
        i = 3;
    }
    if (i != argc - 1 || (mode != 16 && mode != 32 && mode != 64)) {
        log_warn("usage: anello disasm [-b 16|32|64] FILE");
        return 1;
    }
    char error[512];
    size_t size;
    u8 *bytes = firmware_read_file(argv[i], FILE_MAX, &size, error, sizeof error);
    if (!bytes) {
        log_warn("%s", error);
        return 1;
    }
    size_t differing = list(bytes, size, mode);
    free(bytes);
    if (differing)
        fprintf(stderr, "anello: %zu lines differ\n", differing);
    return 0;
}
