/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_E1000_H
#define ANELLO_DEVICES_E1000_H

#include "base/clock.h"
#include "devices/pci.h"
#include "net/netdev.h"

struct e1000;

struct e1000_config {
    struct pci_bus *bus;
    u8 devfn;
    struct clock *clock;
    struct log *log;
    struct netdev *netdev; /* NULL: no cable; outlives the card */
    u8 mac[ETHERNET_ADDRESS];
    const void *rom; /* option ROM, copied; NULL: none */
    u32 rom_bytes;
};

/* Intel 82540EM Gigabit Ethernet. NULL when out of memory or the slot is taken. */
struct e1000 *e1000_create(const struct e1000_config *config);
struct device e1000_device(struct e1000 *e);

#endif
