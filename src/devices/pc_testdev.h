/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_PC_TESTDEV_H
#define ANELLO_DEVICES_PC_TESTDEV_H

#include "base/chardev.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/physmem.h"
#include "bus/ports.h"

#define PC_TESTDEV_LINES 24

struct pc_testdev;

/* The test device of kvm-unit-tests. `lines`: IRQ 0..23 as the board routes them. `chr` (port F1h)
 * may be NULL. */
struct pc_testdev *pc_testdev_create(struct io_bus *bus, struct physmem *pm,
                                     const struct irq_line lines[PC_TESTDEV_LINES],
                                     struct chardev *chr);
struct device pc_testdev_device(struct pc_testdev *t);

#endif
