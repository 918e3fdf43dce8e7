/* SPDX-License-Identifier: MIT
 *
 * Where code is, beyond the TLB: the linear pages that code was run from, and what the page tables
 * said of them. A cache that finds translations by linear address alone (src/bt) keeps them as long
 * as v->map_epoch is the same.
 *
 * Epochs come from one counter, so an epoch of an address space that the guest comes back to can be
 * taken up again: when CR3 is written the pages of its code are compared with its page tables.
 */
#ifndef ANELLO_CPU_CODE_MAP_H
#define ANELLO_CPU_CODE_MAP_H

#include "cpu/vcpu.h"

struct code_map;

bool code_map_attach(struct vcpu *v);
void code_map_detach(struct vcpu *v);

/* Code is about to be run from la, at CPL 3 or not; its page is in the TLB. */
void code_map_note(struct vcpu *v, u64 la, bool user);

/* The TLB has lost everything; all that is not global, and CR3 may be another; the page at la. */
void code_map_lost_all(struct vcpu *v);
void code_map_lost_space(struct vcpu *v);
void code_map_lost_page(struct vcpu *v, u64 la);

#endif
