/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_PS2KBD_H
#define ANELLO_DEVICES_PS2KBD_H

#include "base/clock.h"
#include "bus/device.h"
#include "devices/ps2.h"
#include "ui/display.h"

struct ps2kbd;

struct ps2kbd *ps2kbd_create(struct clock *clock);
struct device ps2kbd_device(struct ps2kbd *kbd);
struct ps2_device ps2kbd_port(struct ps2kbd *kbd);
struct keyboard_sink ps2kbd_sink(struct ps2kbd *kbd);

enum ps2kbd_led { PS2KBD_SCROLL = 1, PS2KBD_NUM = 2, PS2KBD_CAPS = 4 };
u8 ps2kbd_leds(const struct ps2kbd *kbd);

#endif
