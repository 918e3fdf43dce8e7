/* SPDX-License-Identifier: MIT
 *
 * The verifier: proves of a translation, from its bytes alone, that it cannot do anything but what
 * translated code may (invariant 1 in bt.h). It decodes with Capstone, so that neither our encoder
 * nor our decoder is trusted.
 *
 * Each instruction must be one of the tables' (verify.c), and
 *   - its memory operand must be
 *       in the window: GS with a 32-bit address size, in a translation that has a window;
 *       what the TLB approved: [R8 + n] after a call of an access thunk, for no more bytes and no
 *       other kind of access, with nothing in between that changes R8 or can be jumped to;
 *       the guest's code that it was made from, read: [R8 + n] after MOV R8 of such an address;
 *       a field of struct vcpu: [R15 + n], writes only to the fields of a table;
 *   - registers that belong to the translator (RSP, R13 to R15) are not written, and those of the
 *     guest only in their low 32 bits, so that no address is beyond the window and its guard;
 *   - repeated string instructions, whose addresses are of 64 bits, are as xl_string.c writes them
 *     to the byte;
 *   - it branches only to the start of an instruction of this translation, or to a target of the
 *     caller's table: thunks. Calls and jumps are told apart. No part runs off its end.
 *
 * What it does not prove: that code which is harmless to the host is right for the guest.
 *
 * New kinds of code need a new row: an instruction in `allowed`, a field in `written_fields`, a
 * thunk in thunks_verify_targets().
 */
#ifndef ANELLO_BT_VERIFY_H
#define ANELLO_BT_VERIFY_H

#include "base/bits.h"

enum verify_kind {
    VERIFY_CALL,         /* a thunk that returns, or goes on elsewhere by itself */
    VERIFY_KEEPING_CALL, /* the same, and R8 is as before */
    VERIFY_ACCESS,       /* the same; [R8] may be accessed after it */
    VERIFY_FIND,         /* the same; the next instruction is JMP [R10 + size] */
    VERIFY_JUMP,         /* a thunk that does not come back, or a translation */
};

struct verify_target {
    const u8 *at; /* as executed */
    u8 kind;      /* enum verify_kind */
    u8 size;      /* VERIFY_ACCESS: bytes that may be accessed; VERIFY_FIND: a displacement */
    bool write;   /* and written */
};

/* Most targets that there are. */
#define VERIFY_TARGETS 96

struct verify_part {
    const u8 *bytes; /* where they can be read */
    const u8 *at;    /* where they are executed */
    size_t size;
};

#define VERIFY_PARTS 2

/* Bytes of the guest's code: as many as there are in `size`, at host addresses. */
struct verify_own {
    const u8 *at;
    size_t size;
};
#define VERIFY_OWN 2

struct verify_code {
    struct verify_part part[VERIFY_PARTS]; /* branches may lead from one to the other */
    bool window;                           /* GS base is a window whenever this runs */
    struct verify_own own[VERIFY_OWN];     /* what it was made from, if it may look at that */
    const struct verify_target *target;
    unsigned targets;
};

/* True when the code is as it must be. Else `text` says where and why not.
 * Capstone uses vector registers: put the guest's away first (fpu_put_away). */
bool verify_code(const struct verify_code *code, char *text, size_t size);

#endif
