/* SPDX-License-Identifier: MIT
 *
 * The interpreter: complete, precise, the reference of the translator and the executor of cold,
 * sensitive and odd code.
 */
#ifndef ANELLO_CPU_INTERP_H
#define ANELLO_CPU_INTERP_H

#include "cpu/vcpu.h"

/* Its code cache; called by vcpu_create/vcpu_destroy. */
bool interp_attach(struct vcpu *v);
void interp_detach(struct vcpu *v);

/* Runs until something needs the board (see enum vcpu_exit). */
enum vcpu_exit interp_run(struct vcpu *v);

/* Executes exactly one instruction (or delivers one pending event, or one iteration run of a REP),
 * faults included: what -accel check, single-stepping and the translator use. `limit`
 * instructions at most for interp_run_some. */
enum vcpu_exit interp_step(struct vcpu *v);
enum vcpu_exit interp_run_some(struct vcpu *v, u64 limit);

/* Drops every cached decode (mode of memory changed, snapshot loaded). */
void interp_flush(struct vcpu *v);

#endif
