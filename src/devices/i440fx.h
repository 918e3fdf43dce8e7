/* SPDX-License-Identifier: MIT
 *
 * The Intel 82441FX host bridge: function 0:0.0, and the machine's memory map, which its
 * registers govern.
 */
#ifndef ANELLO_DEVICES_I440FX_H
#define ANELLO_DEVICES_I440FX_H

#include "devices/host_memory.h"
#include "devices/pci.h"

struct i440fx;

#define I440FX_LOW_RAM_MAX GIB(3)

/* NULL when there is not enough memory. */
struct i440fx *i440fx_create(struct pci_bus *bus, const struct host_memory_config *config);
struct device i440fx_device(struct i440fx *host);

const struct host_memory *i440fx_memory(const struct i440fx *host);

#endif
