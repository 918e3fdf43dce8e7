/* SPDX-License-Identifier: MIT
 *
 * Breakpoints in DR0..DR3 (SDM 3B §17.2).
 */
#ifndef ANELLO_CPU_DEBUG_H
#define ANELLO_CPU_DEBUG_H

#include "cpu/vcpu.h"

/* True when some enabled data breakpoint lies in the linear page: the TLB must not let accesses
 * through unseen. */
bool debug_page_watched(const struct vcpu *v, u64 page);
/* Notes a data access; the trap comes at the next boundary. */
void debug_data_access(struct vcpu *v, u64 la, unsigned size, bool write);
/* Likewise a port access (CR4.DE). */
void debug_port_access(struct vcpu *v, u16 port, unsigned size);
/* DR6 bits of the enabled instruction breakpoints at la. */
u32 debug_code_match(const struct vcpu *v, u64 la);

#endif
