/* SPDX-License-Identifier: MIT */
#include "bt/journal.h"

#include "cpu/paging.h"

#define WORDS (PIECE_BYTES / 8)

static u8 *piece_host(const struct journal *j, const struct piece *p)
{
    return j->ram + p->offset;
}

void journal_begin(struct journal *j, u8 *ram)
{
    j->ram = ram;
    j->second = j->overflow = false;
    j->pieces = j->opened = 0;
}

static bool has_piece(const struct journal *j, u64 offset)
{
    for (unsigned i = j->pieces; i-- > 0;) {
        if (j->piece[i].offset == offset)
            return true;
    }
    return false;
}

static void note_piece(struct journal *j, u64 offset)
{
    if (has_piece(j, offset))
        return;
    if (j->pieces == PIECES_MOST) {
        j->overflow = true;
        return;
    }
    struct piece *p = &j->piece[j->pieces++];
    p->offset = offset;
    const u8 *host = piece_host(j, p);
    for (unsigned i = 0; i < WORDS; i++)
        p->before[i] = load64(host + i * 8);
    for (unsigned i = 0; j->second && i < WORDS; i++) /* the first run did not write here */
        p->after[i] = p->before[i];
}

static void note_open(struct journal *j, struct tlb_entry *by)
{
    for (unsigned i = 0; i < j->opened; i++) {
        if (j->open[i].by == by && j->open[i].page == by->offset)
            return;
    }
    if (j->opened == OPEN_MOST)
        return;
    j->open[j->opened].by = by;
    j->open[j->opened++].page = by->offset;
}

void journal_note(struct journal *j, u64 offset, unsigned size, struct tlb_entry *by)
{
    u64 end = offset + size;
    for (u64 at = align_down(offset, PIECE_BYTES); at < end; at += PIECE_BYTES)
        note_piece(j, at);
    if (!j->second)
        note_open(j, by);
}

void journal_undo(struct journal *j, struct vcpu *v)
{
    for (unsigned n = 0; n < j->pieces; n++) {
        struct piece *p = &j->piece[n];
        u8 *host = piece_host(j, p);
        for (unsigned i = 0; i < WORDS; i++) {
            p->after[i] = load64(host + i * 8);
            store64(host + i * 8, p->before[i]);
        }
    }
    for (unsigned i = 0; i < j->opened; i++) {
        if (j->open[i].by->offset == j->open[i].page) /* it may have been needed for another */
            tlb_open_writes(v, j->open[i].by);
    }
    j->second = true;
}

bool journal_same(const struct journal *j)
{
    u64 differ = 0;
    for (unsigned n = 0; n < j->pieces; n++) {
        const struct piece *p = &j->piece[n];
        for (unsigned i = 0; i < WORDS; i++)
            differ |= load64(piece_host(j, p) + i * 8) ^ p->after[i];
    }
    return !differ;
}

void journal_close(struct journal *j)
{
    for (unsigned i = 0; i < j->opened; i++)
        tlb_close_writes(j->open[i].by);
    j->opened = 0;
}
