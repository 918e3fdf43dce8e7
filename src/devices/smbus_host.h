/* SPDX-License-Identifier: MIT
 *
 * The SMBus host controller that the PIIX4 and its successors have in common, on a bus without
 * slaves: each transaction ends with a device error (nobody acknowledges), which is what an empty
 * bus does. It is polled only.
 */
#ifndef ANELLO_DEVICES_SMBUS_HOST_H
#define ANELLO_DEVICES_SMBUS_HOST_H

#include "bus/device.h"
#include "bus/ports.h"

#define SMBUS_BLOCK_BYTES 32

struct smbus_host {
    struct log *log;
    u8 status, control, command, address, data[2];
    u8 block[SMBUS_BLOCK_BYTES];
    u8 block_at; /* next byte of the block buffer; reading the control register rewinds */
};

#define SMBUS_STATE_ROWS(s, f)                                                                     \
    STATE_ROW(STATE_U8, s, f.status, 1, 1), STATE_ROW(STATE_U8, s, f.control, 1, 1),               \
        STATE_ROW(STATE_U8, s, f.command, 1, 1), STATE_ROW(STATE_U8, s, f.address, 1, 1),          \
        STATE_ROW(STATE_BYTES, s, f.data, 2, 1),                                                   \
        STATE_ROW(STATE_BYTES, s, f.block, SMBUS_BLOCK_BYTES, 1),                                  \
        STATE_ROW(STATE_U8, s, f.block_at, 1, 1)

/* Its registers; opaque is the host. */
extern const struct port_ops smbus_host_ops;

void smbus_host_reset(struct smbus_host *s);
/* After its state was restored. */
void smbus_host_loaded(struct smbus_host *s);

#endif
