/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_DEBUGCON_H
#define ANELLO_DEVICES_DEBUGCON_H

#include "base/chardev.h"
#include "bus/device.h"
#include "bus/ports.h"

#define DEBUGCON_BOCHS_PORT   0xe9
#define DEBUGCON_SEABIOS_PORT 0x402

struct debugcon;

/* A write-only character port; reading it gives E9h, by which firmware knows that it is there. */
struct debugcon *debugcon_create(struct io_bus *bus, u16 port, struct chardev *chr);
struct device debugcon_device(struct debugcon *d);

#endif
