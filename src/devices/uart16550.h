/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_UART16550_H
#define ANELLO_DEVICES_UART16550_H

#include "base/chardev.h"
#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

struct uart16550;

/* A PC16550D at `port`..port+7. `chr` may be NULL: nothing connected. The UART becomes the sink of
 * chr but does not own it. */
struct uart16550 *uart16550_create(struct io_bus *bus, u16 port, struct irq_line irq,
                                   struct clock *clock, struct chardev *chr);
struct device uart16550_device(struct uart16550 *uart);

#endif
