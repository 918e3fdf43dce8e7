/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_VIRTIO_NET_H
#define ANELLO_DEVICES_VIRTIO_NET_H

#include "base/clock.h"
#include "devices/pci.h"
#include "net/netdev.h"

struct virtio_net;

struct virtio_net_config {
    struct pci_bus *bus;
    u8 devfn;
    struct clock *clock;
    struct log *log;
    struct netdev *netdev; /* NULL: no cable; outlives the card */
    u8 mac[ETHERNET_ADDRESS];
    const void *rom; /* option ROM, copied; NULL: none */
    u32 rom_bytes;
};

struct virtio_net *virtio_net_create(const struct virtio_net_config *config);
struct device virtio_net_device(struct virtio_net *n);

#endif
