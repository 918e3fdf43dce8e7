/* SPDX-License-Identifier: MIT */
#include "machine/board.h"

#include "machine/internal.h"

static const struct board *const boards[] = {&board_pc, &board_q35};

const struct board *board_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(boards); i++) {
        const struct board *b = boards[i];
        if (!strcmp(b->name, name) || !strcmp(b->chipset, name))
            return b;
    }
    return NULL;
}

const char *board_name(unsigned n)
{
    return n < ARRAY_LEN(boards) ? boards[n]->name : NULL;
}
