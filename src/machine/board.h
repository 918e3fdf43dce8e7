/* SPDX-License-Identifier: MIT
 *
 * The boards that there are. What they share is in pc.c; a board says how it differs.
 */
#ifndef ANELLO_MACHINE_BOARD_H
#define ANELLO_MACHINE_BOARD_H

#include "base/bits.h"

struct board;

/* By name or by another name that people use; NULL when there is none. */
const struct board *board_find(const char *name);
/* The n-th board's name, NULL beyond the last. */
const char *board_name(unsigned n);

#endif
