/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_FERR_H
#define ANELLO_DEVICES_FERR_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

struct ferr;

/* The AT's way of reporting x87 errors: FERR# becomes IRQ 13 until port F0h is written. */
struct ferr *ferr_create(struct io_bus *bus, struct irq_line irq13);
struct device ferr_device(struct ferr *f);

/* The CPU's FERR# pin falls: an unmasked x87 error while CR0.NE is clear. */
void ferr_assert(struct ferr *f);

#endif
