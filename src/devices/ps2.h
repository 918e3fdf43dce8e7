/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_PS2_H
#define ANELLO_DEVICES_PS2_H

/* The serial link between the 8042 and a PS/2 device, as whole bytes. The controller pulls: a
 * device that has bytes says so by `ready`, and the controller takes one when its output buffer is
 * free and the port's clock is enabled. */
#include "base/bits.h"

struct ps2_device {
    /* A byte from the host. The device answers into its queue. */
    void (*write)(void *dev, u8 byte);
    /* The next byte to the host, or -1. */
    int (*read)(void *dev);
    /* Bytes are waiting. */
    bool (*pending)(void *dev);
    /* Installed by the controller: call `ready(host)` when bytes became available. */
    void (*connect)(void *dev, void (*ready)(void *host), void *host);
    void *dev;
};

#endif
