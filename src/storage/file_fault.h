/* SPDX-License-Identifier: MIT
 *
 * For tests: a file in memory that can fail, run out of space, and lose power.
 *
 * It keeps two versions of its bytes: what a reader sees, and what is stable since the last flush,
 * with the list of changes between the two. A power failure keeps any subset of these changes,
 * sector by sector, in an order that a seed decides.
 */
#ifndef ANELLO_STORAGE_FILE_FAULT_H
#define ANELLO_STORAGE_FILE_FAULT_H

#include "storage/file.h"

/* What goes wrong; zero: nothing. */
struct fault_plan {
    unsigned fail_read_at, fail_write_at, fail_flush_at; /* the n-th call from now, n >= 1 */
    bool for_ever;                                       /* and every one after it */
    int error;                                           /* -errno that is given */
    u64 space_limit;                                     /* bytes; a write beyond: -ENOSPC */
};

/* An empty file. */
struct file *fault_file_create(void);
void fault_file_plan(struct file *f, const struct fault_plan *plan);
/* The file as the host finds it after the power failed now: a new one, without a plan. */
struct file *fault_file_after_crash(struct file *f, u64 seed);
/* Lets the power fail just before the n-th write, flush or resize from now (n >= 1), on the side:
 * the file itself goes on, and fault_file_crashed() gives what the host would have found; NULL
 * while it has not come to that. The caller closes it. */
void fault_file_crash_at(struct file *f, unsigned nth, u64 seed);
struct file *fault_file_crashed(struct file *f);
/* The bytes that a reader sees. */
const u8 *fault_file_bytes(const struct file *f);
/* Writes that no flush has covered yet. */
unsigned fault_file_unstable(const struct file *f);

#endif
