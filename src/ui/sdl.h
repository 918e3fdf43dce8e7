/* SPDX-License-Identifier: MIT
 *
 * The console in an SDL2 window.
 */
#ifndef ANELLO_UI_SDL_H
#define ANELLO_UI_SDL_H

#include "ui/console.h"

struct sdl_options {
    const char *name; /* the machine's, in the title; may be NULL */
    bool full_screen;
    /* The user closed the window; `again` when not for the first time. Called without the board
     * lock. The loop goes on until console_quit(). NULL: closing quits. */
    void (*close_requested)(void *opaque, bool again);
    void *opaque;
};

/* Opens a window and serves it until console_quit(); main thread only, without the board lock.
 * False and one line in error[n] when there is no display. */
bool sdl_console_run(struct console *c, const struct sdl_options *options, char *error, size_t n);

#endif
