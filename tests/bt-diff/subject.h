/* SPDX-License-Identifier: MIT
 *
 * A machine for random programs: a CPU, memory, a device that takes notes, and an interrupt
 * controller that gives what the program asked for.
 */
#ifndef ANELLO_TESTS_SUBJECT_H
#define ANELLO_TESTS_SUBJECT_H

#include "cpu/vcpu.h"
#include "program.h"

struct subject;

/* With the translator, or without. NULL on failure. */
struct subject *subject_create(bool translated);
void subject_destroy(struct subject *s);
const u32 *subject_features(const struct subject *s);
struct vcpu *subject_cpu(const struct subject *s);
/* The memory of parts[part], and what the device has seen. */
const u8 *subject_memory(const struct subject *s, unsigned part);
struct notes {
    u64 digest;
    unsigned count;
};
struct notes subject_notes(const struct subject *s);

enum ending {
    ENDED,     /* it said so */
    SHUT_DOWN, /* triple fault */
    ASLEEP,    /* HLT without an interrupt to come */
    TOO_LONG,
};

/* Runs the program from its start. `limit`: instructions, for the interpreter; the translator is
 * stopped after some seconds of CPU time. */
enum ending subject_run(struct subject *s, const struct program *p, u64 limit);

/* Says where two subjects differ after running the same program; true when nowhere. */
bool subject_same(struct subject *interp, struct subject *bt, const struct program *p, FILE *f);

#endif
