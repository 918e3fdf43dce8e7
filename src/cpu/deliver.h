/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: the way of one event through the interrupt table. Who decides that it is due is
 * cpu/excp.c.
 */
#ifndef ANELLO_CPU_DELIVER_H
#define ANELLO_CPU_DELIVER_H

#include "cpu/excp.h"

struct event {
    u8 vector;
    enum int_source source;
    bool has_error;
    u32 error;
    u64 return_ip; /* pushed as rIP */
    bool rf;       /* the pushed flags image has RF set */
};

/* Transfers control to the handler. Raises faults with no register changed. */
void deliver(struct vcpu *v, const struct event *e);

/* For dumps (dump_recent()): who delivers an event otherwise tells it here. */
void deliver_note(struct vcpu *v, const struct event *e);

#endif
