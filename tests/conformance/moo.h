/* SPDX-License-Identifier: MIT
 *
 * Reading MOO files: single-step tests captured from real CPUs, one instruction each (format 1.1 by
 * Daniel Balsom; SingleStepTests). A file is a sequence of chunks: type, length, payload; tests
 * hold chunks of their own. Unknown chunks are skipped, and everything is bounded by its chunk.
 */
#ifndef ANELLO_TESTS_MOO_H
#define ANELLO_TESTS_MOO_H

#include "base/bits.h"

/* Registers of both register chunks, in one order. */
enum moo_reg {
    MOO_EAX,
    MOO_ECX,
    MOO_EDX,
    MOO_EBX,
    MOO_ESP,
    MOO_EBP,
    MOO_ESI,
    MOO_EDI,
    MOO_ES,
    MOO_CS,
    MOO_SS,
    MOO_DS,
    MOO_FS,
    MOO_GS,
    MOO_EIP,
    MOO_EFLAGS,
    MOO_CR0,
    MOO_CR3,
    MOO_DR6,
    MOO_DR7,
    MOO_REGS
};
extern const char *const moo_reg_names[MOO_REGS];

struct moo_regs {
    u32 present; /* bit n: value[n] is given */
    u32 value[MOO_REGS];
};

struct moo_byte {
    u32 pa;
    u8 value;
};

struct moo_state {
    struct moo_regs regs;
    struct moo_byte *ram;
    unsigned ram_count;
};

struct moo_test {
    unsigned index;
    char name[80];
    u8 bytes[32];
    unsigned len; /* without the HLT at the end */
    struct moo_state before, after;
    struct moo_regs mask; /* bits to compare; present only where there is a mask */
    bool has_exception;
    u8 vector;
    u32 flags_pa; /* of the flags that the exception pushed */
};

struct moo_file {
    char cpu[5]; /* "C286", "386E", ... */
    char mnemonic[9];
    u8 *data; /* unpacked */
    size_t size, at;
    struct moo_regs mask; /* for all tests */
};

/* Plain or gzip'ed. NULL on success, else what is wrong. */
const char *moo_open(struct moo_file *f, const char *path);
void moo_close(struct moo_file *f);

/* The next test; false at the end, with *error set when the file is damaged. */
bool moo_next(struct moo_file *f, struct moo_test *t, const char **error);
void moo_test_free(struct moo_test *t);

#endif
