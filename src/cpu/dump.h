/* SPDX-License-Identifier: MIT
 *
 * The state of a CPU as text for people: the monitor's `info registers`, and what is told when a
 * CPU shuts down.
 */
#ifndef ANELLO_CPU_DUMP_H
#define ANELLO_CPU_DUMP_H

#include "cpu/vcpu.h"

/* General, segment, table, control and debug registers, one group a line. Returns the length
 * written, at most n - 1; 4096 bytes are enough. The CPU stands still. */
size_t dump_registers(const struct vcpu *v, char *text, size_t n);

/* The last RECENT_EVENTS interrupts and exceptions, oldest first. */
size_t dump_recent(const struct vcpu *v, char *text, size_t n);

#endif
