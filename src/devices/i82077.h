/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_I82077_H
#define ANELLO_DEVICES_I82077_H

#include "base/clock.h"
#include "base/log.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"
#include "devices/i8237.h"
#include "storage/block.h"

#define I82077_DRIVES 2

struct i82077;

struct i82077_config {
    struct io_bus *ports;
    struct irq_line irq;
    struct i8237 *dma;
    unsigned dma_channel;
    struct clock *clock;
    struct log *log;
};

struct i82077 *i82077_create(const struct i82077_config *config);
struct device i82077_device(struct i82077 *f);
/* A drive with a medium in it, or an empty one (block of size 0). The block outlives the device and
 * is closed before it is destroyed. */
void i82077_attach(struct i82077 *f, unsigned drive, struct block *block);
/* The medium was changed or taken out. */
void i82077_medium_changed(struct i82077 *f, unsigned drive);
/* The medium in the drive is of a size that floppies have. */
bool i82077_medium_is_known(const struct i82077 *f, unsigned drive);
/* The drive's type as CMOS register 10h holds it, 0 without a drive. */
u8 i82077_cmos_type(const struct i82077 *f, unsigned drive);
/* A request to the host is in flight. */
bool i82077_busy(const struct i82077 *f);

#endif
