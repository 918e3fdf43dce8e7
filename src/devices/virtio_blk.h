/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_VIRTIO_BLK_H
#define ANELLO_DEVICES_VIRTIO_BLK_H

#include "devices/pci.h"
#include "storage/block.h"

struct virtio_blk;

struct virtio_blk_config {
    struct pci_bus *bus;
    u8 devfn;
    struct log *log;
    struct block *block; /* outlives the device; closed before it is destroyed */
    const char *serial;  /* up to 20 characters; NULL: none */
};

struct virtio_blk *virtio_blk_create(const struct virtio_blk_config *config);
struct device virtio_blk_device(struct virtio_blk *b);
/* Requests in flight. */
unsigned virtio_blk_busy(const struct virtio_blk *b);

#endif
