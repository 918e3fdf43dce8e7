/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_I8042_H
#define ANELLO_DEVICES_I8042_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"
#include "devices/ps2.h"

struct i8042;

struct i8042_lines {
    struct irq_line irq1, irq12;
    struct irq_line a20;   /* output port bit 1: level */
    struct irq_line reset; /* pulsed when output port bit 0 falls or command FEh pulses it */
};

/* The PS/2 keyboard controller at 60h and 64h. A20 is driven only when the guest writes it: who
 * else can (port 92h) shares the receiver, and the last writer wins. */
struct i8042 *i8042_create(struct io_bus *bus, const struct i8042_lines *lines, struct clock *clock,
                           struct ps2_device keyboard, struct ps2_device aux);
struct device i8042_device(struct i8042 *kbc);

#endif
