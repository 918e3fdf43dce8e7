/* SPDX-License-Identifier: MIT
 *
 * What a display adapter shows and what a keyboard and pointer send: the interface between devices
 * and user interfaces. Neither side knows the other; the machine connects them.
 */
#ifndef ANELLO_UI_DISPLAY_H
#define ANELLO_UI_DISPLAY_H

#include "base/bits.h"

/* A picture: 32-bit pixels 0x00RRGGBB, `stride` pixels a row. Owned by the adapter. */
struct surface {
    u32 *pixels;
    unsigned width, height, stride;
};

struct rect {
    unsigned x, y, w, h;
};

/* Implemented by the display adapter; called with the board lock held. */
struct display_source {
    /* Brings the surface up to date and returns it. *dirty is the bounding box of what changed
     * since the last call (w == 0: nothing); a size change makes everything dirty. */
    const struct surface *(*refresh)(void *opaque, struct rect *dirty);
    /* The text screen as characters (CP437 low bytes of each cell, rows separated by '\n'), into
     * buf of size n, NUL-terminated; length, or 0 in graphics modes. For screen readers, tests. */
    size_t (*text)(void *opaque, char *buf, size_t n);
    void *opaque;
};

/* Keys are USB HID usages of page 7 (which SDL calls scancodes): position, not character. */
typedef u8 hid_key;

/* Implemented by input devices; called with the board lock held. */
struct keyboard_sink {
    void (*key)(void *opaque, hid_key key, bool down);
    void *opaque;
};

enum pointer_button { POINTER_LEFT = 1, POINTER_RIGHT = 2, POINTER_MIDDLE = 4 };
struct pointer_sink {
    /* Relative motion in pixels (dy > 0: down), wheel steps (dz > 0: towards the user), and the
     * buttons that are down now. */
    void (*move)(void *opaque, int dx, int dy, int dz, unsigned buttons);
    void *opaque;
};

#endif
