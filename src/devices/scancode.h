/* SPDX-License-Identifier: MIT
 *
 * Which codes an enhanced (102-key) keyboard sends for a key: the three sets of the IBM PS/2
 * Hardware Interface Technical Reference, with the extensions of Microsoft's "Keyboard Scan Code
 * Specification" for the system and multimedia keys.
 */
#ifndef ANELLO_DEVICES_SCANCODE_H
#define ANELLO_DEVICES_SCANCODE_H

#include "ui/display.h"

/* How a key behaves in set 3 until the host says otherwise. In sets 1 and 2 every key repeats and
 * has a break code. */
enum scancode_kind {
    SCANCODE_TYPEMATIC,
    SCANCODE_MAKE_BREAK,
    SCANCODE_MAKE_ONLY,
};

struct scancode {
    u8 set2;       /* 0: the key does not exist, or is Print Screen or Pause */
    bool extended; /* prefixed by E0h in sets 1 and 2 */
    u8 set3;       /* 0: not in this set */
    u8 kind;       /* enum scancode_kind */
};

enum {
    HID_PRINT_SCREEN = 0x46,
    HID_PAUSE = 0x48,
    HID_LEFT_CTRL = 0xe0,
    HID_LEFT_SHIFT = 0xe1,
    HID_LEFT_ALT = 0xe2,
    HID_RIGHT_CTRL = 0xe4,
    HID_RIGHT_SHIFT = 0xe5,
    HID_RIGHT_ALT = 0xe6,
};

#define SCANCODE_EXTENDED  0xe0 /* prefix */
#define SCANCODE_PAUSE     0xe1 /* prefix */
#define SCANCODE_BREAK     0xf0 /* prefix in sets 2 and 3 */
#define SCANCODE_BREAK_BIT 0x80 /* in set 1 */

struct scancode scancode_of(hid_key key);

/* Set 2 to set 1: what the 8042 does to bytes when it translates. A break prefix is its business.
 */
u8 scancode_translate(u8 set2);

#endif
