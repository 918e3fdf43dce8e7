/* SPDX-License-Identifier: MIT
 *
 * What IN and OUT do once they are allowed: for the translator, which knows that at CPL 0.
 */
#ifndef ANELLO_CPU_PORT_H
#define ANELLO_CPU_PORT_H

#include "cpu/vcpu.h"

/* v->rip stays where it is. */
void port_in(struct vcpu *v, const struct insn *in);
void port_out(struct vcpu *v, const struct insn *in);

#endif
