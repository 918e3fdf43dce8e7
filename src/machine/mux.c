/* SPDX-License-Identifier: MIT
 *
 * -nographic's terminal: serial port and monitor share it. Ctrl-A C changes over, Ctrl-A X quits,
 * Ctrl-A H helps, Ctrl-A Ctrl-A sends one Ctrl-A.
 */
#include <stdlib.h>

#include "machine/internal.h"

#define ESCAPE 0x01 /* Ctrl-A */

struct mux {
    struct chardev *terminal;
    struct chardev *side[2]; /* our ends: serial port, monitor */
    unsigned focus;
    bool escaped;
    void (*quit)(void *opaque);
    void *opaque;
};

static void say(struct mux *mux, const char *text)
{
    chardev_write(mux->terminal, text, strlen(text));
}

static void command(struct mux *mux, u8 key)
{
    switch (key) {
    case 'c':
    case 'C':
        mux->focus ^= 1;
        if (mux->focus)
            chardev_write(mux->side[1], "\n", 1); /* makes the monitor show its prompt */
        break;
    case 'x':
    case 'X':
        say(mux, "\r\nanello: ended by Ctrl-A X\r\n");
        mux->quit(mux->opaque);
        break;
    case 'h':
    case 'H':
    case '?':
        say(mux, "\r\nCtrl-A C  monitor or serial port\r\nCtrl-A X  quit\r\n"
                 "Ctrl-A Ctrl-A  send Ctrl-A\r\n");
        break;
    case ESCAPE: chardev_write(mux->side[mux->focus], &key, 1); break;
    default: break;
    }
}

static size_t terminal_room(void *opaque)
{
    (void)opaque;
    return 256;
}

static void from_terminal(void *opaque, const u8 *bytes, size_t n)
{
    struct mux *mux = opaque;
    for (size_t i = 0; i < n; i++) {
        if (mux->escaped) {
            mux->escaped = false;
            command(mux, bytes[i]);
        } else if (bytes[i] == ESCAPE) {
            mux->escaped = true;
        } else {
            chardev_write(mux->side[mux->focus], &bytes[i], 1);
        }
    }
}

static void to_terminal(void *opaque, const u8 *bytes, size_t n)
{
    chardev_write(((struct mux *)opaque)->terminal, bytes, n);
}

static size_t side_room(void *opaque)
{
    (void)opaque;
    return 4096;
}

struct mux *mux_create(struct loop *loop, struct chardev *terminal, struct chardev **serial,
                       struct chardev **monitor, void (*quit)(void *opaque), void *opaque)
{
    struct mux *mux = calloc(1, sizeof *mux);
    if (!mux)
        abort();
    mux->terminal = terminal;
    mux->quit = quit;
    mux->opaque = opaque;
    chardev_pair(loop, &mux->side[0], serial);
    chardev_pair(loop, &mux->side[1], monitor);
    struct chardev_sink out = {.can_receive = side_room, .receive = to_terminal, .opaque = mux};
    chardev_set_sink(mux->side[0], &out);
    chardev_set_sink(mux->side[1], &out);
    struct chardev_sink in = {
        .can_receive = terminal_room, .receive = from_terminal, .opaque = mux};
    chardev_set_sink(terminal, &in);
    return mux;
}

void mux_destroy(struct mux *mux)
{
    if (!mux)
        return;
    chardev_close(mux->side[0]);
    chardev_close(mux->side[1]);
    free(mux);
}
