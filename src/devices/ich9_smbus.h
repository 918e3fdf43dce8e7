/* SPDX-License-Identifier: MIT
 *
 * The SMBus function of the Intel ICH9 (8086:2930).
 */
#ifndef ANELLO_DEVICES_ICH9_SMBUS_H
#define ANELLO_DEVICES_ICH9_SMBUS_H

#include "devices/pci.h"

struct ich9_smbus;

struct ich9_smbus *ich9_smbus_create(struct pci_bus *bus, u8 devfn, struct log *log);
struct device ich9_smbus_device(struct ich9_smbus *s);

#endif
