/* SPDX-License-Identifier: MIT
 *
 * The machine's console: a screen, a keyboard and a pointer, whoever looks at it. It works without
 * a window (screenshots, typed text, the monitor's sendkey); a user interface such as ui/sdl.h
 * takes it on top.
 *
 * Locking: everything that touches devices needs the board lock, which the caller holds, except in
 * a user interface's own loop, which takes it by the wiring's callbacks. What may be called from
 * any thread without it says so.
 */
#ifndef ANELLO_UI_CONSOLE_H
#define ANELLO_UI_CONSOLE_H

#include "base/clock.h"
#include "ui/display.h"

/* How the machine connects the console; copied. Parts that do not exist are zero. */
struct console_wiring {
    struct display_source display;
    struct keyboard_sink keyboard;
    struct pointer_sink pointer;
    struct clock *clock; /* paces typed text */
    /* The board lock, for user interfaces with a thread of their own. */
    void (*lock)(void *opaque);
    void (*unlock)(void *opaque);
    void *lock_opaque;
};

enum console_state { CONSOLE_RUNNING, CONSOLE_PAUSED, CONSOLE_STOPPED };

struct console;

struct console *console_create(const struct console_wiring *wiring);
void console_destroy(struct console *c);
const struct console_wiring *console_wiring(const struct console *c);

/* The screen, and the bounding box of what changed since the last call (whatever screenshots were
 * taken in between). NULL when there is no screen. */
const struct surface *console_refresh(struct console *c, struct rect *dirty);
/* The text screen as characters; see struct display_source. */
size_t console_text(struct console *c, char *buf, size_t n);

/* Writes the screen to `path`: PPM (P6) when the name ends in .ppm, PNG otherwise. False and one
 * line in error[n] when there is no screen or the file cannot be written. */
bool console_screenshot(struct console *c, const char *path, char *error, size_t n);
/* As above, the format being given: QEMU's screendump writes PPM whatever the name. */
enum image_format { IMAGE_PNG, IMAGE_PPM };
bool console_screendump(struct console *c, const char *path, enum image_format format, char *error,
                        size_t n);

/* Types text on the guest's keyboard, as on a US layout, some 25 strokes a virtual second, after
 * what is still being typed. The two characters "\n" and a newline are Enter, "\t" Tab, "\\" a
 * backslash; <NAME> is a key or combination, such as <f1>, <ctrl-alt-del>, <lt>. False and one
 * line in error[n], nothing being typed, when something in it has no key. */
bool console_type(struct console *c, const char *text, char *error, size_t n);
/* Presses a combination by QEMU's sendkey names ("ctrl-alt-f1", "ret") for hold_ms of virtual time
 * (0: 100 ms), after what is still being typed. */
bool console_key_combo(struct console *c, const char *keys, unsigned hold_ms, char *error,
                       size_t n);
/* True while text or a combination is still on its way. */
bool console_typing(const struct console *c);

/* One event from a user interface. */
void console_key(struct console *c, hid_key key, bool down);
void console_pointer(struct console *c, int dx, int dy, int dz, unsigned buttons);

/* What a title shows. From any thread. */
void console_set_state(struct console *c, enum console_state state);
enum console_state console_state(const struct console *c);
/* Makes the user interface's loop return. From any thread or a signal handler. @asyncsignalsafe */
void console_quit(struct console *c);
bool console_quitting(const struct console *c);

#endif
