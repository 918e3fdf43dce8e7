/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_I8237_H
#define ANELLO_DEVICES_I8237_H

#include "bus/device.h"
#include "bus/physmem.h"
#include "bus/ports.h"

struct i8237;

/* The AT's pair of DMA controllers (00h..0Fh, C0h..DFh) and the page registers (80h..8Fh). */
struct i8237 *i8237_create(struct io_bus *bus, struct physmem *pm);
struct device i8237_device(struct i8237 *dma);

/* Service of a request by the device on `channel` (0..3, 5..7): moves at most n bytes between
 * buf and memory, in the direction that the guest programmed (a write transfer stores buf to
 * memory). Returns how many; 0 while the channel is masked or the controller is disabled.
 * *tc is set when terminal count was reached: the device ends its command. */
size_t i8237_transfer(struct i8237 *dma, unsigned channel, void *buf, size_t n, bool *tc);
/* Level of DREQ, for the status register. */
void i8237_request(struct i8237 *dma, unsigned channel, bool level);

#endif
