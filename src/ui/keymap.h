/* SPDX-License-Identifier: MIT
 *
 * From text and key names to keys. Keys are positions (HID usages); text assumes that the guest
 * has a US layout.
 */
#ifndef ANELLO_UI_KEYMAP_H
#define ANELLO_UI_KEYMAP_H

#include "ui/display.h"

#define KEY_STROKE_MAX 16

/* Keys that go down in order and up in reverse order. */
struct key_stroke {
    u8 count;
    hid_key keys[KEY_STROKE_MAX];
};

/* The key called `name` (n characters: "a", "ret", "kp_enter", "shift_r"; QEMU's names and a few
 * obvious others), or 0. */
hid_key keymap_by_name(const char *name, size_t n);
/* QEMU's name of a key, or NULL. */
const char *keymap_name(hid_key key);

/* Parses "ctrl-alt-f1" (n characters). False and one line in error[size] for an unknown name or too
 * many keys. */
bool keymap_combo(const char *text, size_t n, struct key_stroke *stroke, char *error, size_t size);

/* Parses the next stroke of `text` in the language of console_type() and moves *text past it.
 * False at its end, or with a line in error[size] (which is empty at the end). */
bool keymap_next(const char **text, struct key_stroke *stroke, char *error, size_t size);

#endif
