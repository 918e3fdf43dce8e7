/* SPDX-License-Identifier: MIT
 *
 * A console without a machine, for test_window.py: four colored quarters as a screen, and a line on
 * stdout for every event that reaches the keyboard or the pointer. Commands come on stdin, from a
 * thread of their own as a machine's would:
 *
 *   size W H | state running|paused | paint | blink | quit
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ui/sdl.h"

#define LARGEST 1024u

struct probe {
    struct console *console;
    pthread_mutex_t lock;
    u32 pixels[LARGEST * LARGEST];
    struct surface surface;
    bool changed, blinking;
    i64 blinked; /* when, in ns */
};

static void paint(struct probe *p, unsigned width, unsigned height)
{
    static const u32 quarters[4] = {0xff0000, 0x00ff00, 0x0000ff, 0xffffff};
    p->surface = (struct surface){p->pixels, width, height, width};
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++)
            p->pixels[y * width + x] = quarters[(y >= height / 2) * 2 + (x >= width / 2)];
    }
    p->changed = true;
}

/* A cursor, as a VGA shows it: on and off for 16 frames each. */
static void blink(struct probe *p, struct rect *dirty)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    i64 now = ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
    if (!p->blinking || now - p->blinked < NS_PER_SEC * 16 / 70)
        return;
    p->blinked = now;
    *dirty = (struct rect){9, 13, 9, 2};
    for (unsigned y = dirty->y; y < dirty->y + dirty->h; y++) {
        for (unsigned x = dirty->x; x < dirty->x + dirty->w; x++)
            p->pixels[y * p->surface.width + x] ^= 0xffffff;
    }
}

static const struct surface *probe_refresh(void *opaque, struct rect *dirty)
{
    struct probe *p = opaque;
    *dirty = (struct rect){0};
    if (p->changed)
        *dirty = (struct rect){0, 0, p->surface.width, p->surface.height};
    else
        blink(p, dirty);
    p->changed = false;
    return &p->surface;
}

static void probe_key(void *opaque, hid_key key, bool down)
{
    (void)opaque;
    printf("key %c%02x\n", down ? '+' : '-', key);
}

static void probe_move(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    (void)opaque;
    printf("move %d %d %d %u\n", dx, dy, dz, buttons);
}

static void probe_close(void *opaque, bool again)
{
    (void)opaque;
    printf("close %d\n", again);
}

static void probe_lock(void *opaque)
{
    pthread_mutex_lock(&((struct probe *)opaque)->lock);
}

static void probe_unlock(void *opaque)
{
    pthread_mutex_unlock(&((struct probe *)opaque)->lock);
}

static void obey(struct probe *p, const char *line)
{
    unsigned width, height;
    probe_lock(p);
    if (sscanf(line, "size %u %u", &width, &height) == 2 && width - 1 < LARGEST &&
        height - 1 < LARGEST)
        paint(p, width, height);
    else if (!strncmp(line, "paint", 5))
        paint(p, p->surface.width, p->surface.height);
    else if (!strncmp(line, "state paused", 12))
        console_set_state(p->console, CONSOLE_PAUSED);
    else if (!strncmp(line, "state running", 13))
        console_set_state(p->console, CONSOLE_RUNNING);
    else if (!strncmp(line, "blink", 5))
        p->blinking = true;
    else if (!strncmp(line, "quit", 4))
        console_quit(p->console);
    probe_unlock(p);
}

static void *commands(void *opaque)
{
    struct probe *p = opaque;
    char line[100];
    while (fgets(line, sizeof line, stdin))
        obey(p, line);
    console_quit(p->console);
    return NULL;
}

int main(void)
{
    struct probe *p = calloc(1, sizeof *p);
    if (!p)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_mutex_init(&p->lock, NULL);
    p->console = console_create(&(struct console_wiring){
        .display = {.refresh = probe_refresh, .opaque = p},
        .keyboard = {.key = probe_key, .opaque = p},
        .pointer = {.move = probe_move, .opaque = p},
        .lock = probe_lock,
        .unlock = probe_unlock,
        .lock_opaque = p,
    });
    paint(p, 320, 200);
    pthread_t thread;
    if (pthread_create(&thread, NULL, commands, p))
        return 1;
    char error[200] = "";
    struct sdl_options options = {.name = "probe", .close_requested = probe_close, .opaque = p};
    bool ok = sdl_console_run(p->console, &options, error, sizeof error);
    if (!ok)
        fprintf(stderr, "%s\n", error);
    printf("end\n");
    /* The thread may still wait for stdin. */
    fflush(stdout);
    _Exit(ok ? 0 : 1);
}
