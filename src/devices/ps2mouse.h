/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_PS2MOUSE_H
#define ANELLO_DEVICES_PS2MOUSE_H

#include "base/clock.h"
#include "bus/device.h"
#include "devices/ps2.h"
#include "ui/display.h"

struct ps2mouse;

struct ps2mouse *ps2mouse_create(struct clock *clock);
struct device ps2mouse_device(struct ps2mouse *mouse);
struct ps2_device ps2mouse_port(struct ps2mouse *mouse);
struct pointer_sink ps2mouse_sink(struct ps2mouse *mouse);

#endif
