/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_E1000_H
#define ANELLO_DEVICES_E1000_H

#include "devices/nic.h"

struct e1000;

/* Intel 82540EM Gigabit Ethernet. NULL when out of memory or the slot is taken. */
struct e1000 *e1000_create(const struct nic_board *board);
struct device e1000_device(struct e1000 *e);

#endif
