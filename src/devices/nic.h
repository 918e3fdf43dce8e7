/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_NIC_H
#define ANELLO_DEVICES_NIC_H

#include "base/clock.h"
#include "devices/pci.h"
#include "net/netdev.h"

/* What the board gives to a network card in a PCI slot, whatever its make. */
struct nic_board {
    struct pci_bus *bus;
    u8 devfn;
    struct clock *clock;
    struct log *log;
    struct netdev *netdev; /* NULL: no cable; outlives the card */
    u8 mac[ETHERNET_ADDRESS];
    const void *rom; /* option ROM, copied; NULL: none */
    u32 rom_bytes;
};

#endif
