/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_PORT92_H
#define ANELLO_DEVICES_PORT92_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

struct port92;

/* System control port A: fast A20 and fast reset (a pulse). */
struct port92 *port92_create(struct io_bus *bus, struct irq_line a20, struct irq_line reset);
struct device port92_device(struct port92 *p);

#endif
