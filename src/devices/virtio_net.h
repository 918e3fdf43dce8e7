/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_VIRTIO_NET_H
#define ANELLO_DEVICES_VIRTIO_NET_H

#include "devices/nic.h"

struct virtio_net;

struct virtio_net *virtio_net_create(const struct nic_board *board);
struct device virtio_net_device(struct virtio_net *n);

#endif
