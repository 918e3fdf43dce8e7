/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_DEBUG_EXIT_H
#define ANELLO_DEVICES_DEBUG_EXIT_H

#include "bus/device.h"
#include "bus/ports.h"

struct debug_exit;

/* isa-debug-exit: a write of v to iobase..iobase+iosize-1 ends the machine with (v << 1) | 1.
 * iosize is 1, 2 or 4. */
struct debug_exit *debug_exit_create(struct io_bus *bus, u16 iobase, unsigned iosize,
                                     void (*leave)(void *opaque, u32 status), void *opaque);
struct device debug_exit_device(struct debug_exit *d);

#endif
