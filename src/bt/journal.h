/* SPDX-License-Identifier: MIT
 *
 * What a block has written to guest memory, so that it can be undone and done again (check.c).
 *
 * Memory is noted in pieces, before they are written for the first time. The first run is noted
 * whole: no write of it is direct. For the second one the pages that the first has written are
 * opened, so that translated stores are executed as they are and not by call-outs; whatever else it
 * writes to is noted still. What that cannot show: a translated store that is wrong by so much that
 * it meets a page which is not open goes to C, which executes the instruction as it should be.
 *
 *   journal_begin   first run   journal_undo   second run   journal_same   journal_close
 */
#ifndef ANELLO_BT_JOURNAL_H
#define ANELLO_BT_JOURNAL_H

#include "cpu/vcpu.h"

#define PIECE_BYTES 128u
#define PIECES_MOST 1280 /* 40 pages: strings stop at each page, tasks have two */
#define OPEN_MOST   8

struct piece {
    u64 offset; /* of the memfd */
    u64 before[PIECE_BYTES / 8], after[PIECE_BYTES / 8];
};

struct journal {
    u8 *ram;
    bool second;
    bool overflow; /* there was no room for all */
    unsigned pieces, opened;
    struct {
        struct tlb_entry *by;
        u64 page;      /* of the memfd */
    } open[OPEN_MOST]; /* the pages written to */
    struct piece piece[PIECES_MOST];
};

/* ram: the host's address of offset 0. */
void journal_begin(struct journal *j, u8 *ram);
/* Size bytes at an offset, within a page, are about to be written by way of a TLB entry. */
void journal_note(struct journal *j, u64 offset, unsigned size, struct tlb_entry *by);
/* Memory as it was before the first run; the second may begin. */
void journal_undo(struct journal *j, struct vcpu *v);
/* Whether the second run has left what the first had. */
bool journal_same(const struct journal *j);
/* No write is direct any more. */
void journal_close(struct journal *j);

#endif
