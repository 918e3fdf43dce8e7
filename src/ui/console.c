/* SPDX-License-Identifier: MIT
 *
 * The console without a face. Two things need care:
 *
 *   - the adapter reports what changed since the last refresh, whoever asked for that one. So all
 *     refreshes go through console_refresh(), and what a screenshot consumed is still owed to the
 *     window (`owed`);
 *   - typed text waits in a queue and is played by a timer of the machine's clock, one stroke after
 *     the other, so that it stands still while the machine does.
 */
#include "ui/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ui/image.h"
#include "ui/keymap.h"

#define NS_PER_MS INT64_C(1000000)
/* A keyboard controller holds 16 bytes and a guest polls at leisure: 25 strokes a second get
 * through everywhere. */
#define TYPE_HOLD_MS  20u
#define STROKE_GAP_MS 20u
#define COMBO_HOLD_MS 100u

struct queued_stroke {
    struct key_stroke stroke;
    unsigned hold_ms;
};

struct console {
    struct console_wiring wiring;
    struct rect owed; /* changed, but not yet given to the user interface */
    struct queued_stroke *queue;
    size_t queued, next; /* strokes in the queue, and the first that is not played yet */
    bool holding;        /* stroke `next` is down */
    struct timer timer;
    int state; /* enum console_state; atomic */
    int quit;  /* atomic */
};

/* ---- strokes ---- */

static void press(struct console *c, const struct key_stroke *s)
{
    for (unsigned i = 0; i < s->count; i++)
        console_key(c, s->keys[i], true);
}

static void release(struct console *c, const struct key_stroke *s)
{
    for (unsigned i = s->count; i-- > 0;)
        console_key(c, s->keys[i], false);
}

static void arm(struct console *c, unsigned ms)
{
    timer_arm(&c->timer, clock_now(c->wiring.clock) + ms * NS_PER_MS);
}

static void play(void *opaque)
{
    struct console *c = opaque;
    struct queued_stroke *s = &c->queue[c->next];
    if (!c->holding) {
        press(c, &s->stroke);
        c->holding = true;
        arm(c, s->hold_ms);
        return;
    }
    release(c, &s->stroke);
    c->holding = false;
    if (++c->next < c->queued)
        arm(c, STROKE_GAP_MS);
    else
        c->queued = c->next = 0;
}

static bool enqueue(struct console *c, const struct queued_stroke *strokes, size_t n, char *error,
                    size_t size)
{
    struct queued_stroke *more = realloc(c->queue, (c->queued + n) * sizeof *more);
    if (!more) {
        snprintf(error, size, "out of memory");
        return false;
    }
    c->queue = more;
    memcpy(more + c->queued, strokes, n * sizeof *more);
    c->queued += n;
    if (!timer_is_armed(&c->timer))
        arm(c, 0);
    return true;
}

static bool has_keyboard(const struct console *c, char *error, size_t n)
{
    if (c->wiring.keyboard.key && c->wiring.clock)
        return true;
    snprintf(error, n, "this machine has no keyboard");
    return false;
}

bool console_type(struct console *c, const char *text, char *error, size_t n)
{
    if (!has_keyboard(c, error, n))
        return false;
    /* No stroke is shorter than a character. */
    struct queued_stroke *strokes = calloc(strlen(text) + 1, sizeof *strokes);
    if (!strokes) {
        snprintf(error, n, "out of memory");
        return false;
    }
    size_t count = 0;
    char bad[80];
    while (keymap_next(&text, &strokes[count].stroke, bad, sizeof bad))
        strokes[count++].hold_ms = TYPE_HOLD_MS;
    bool ok = !*bad;
    if (!ok)
        snprintf(error, n, "%s", bad);
    else if (count)
        ok = enqueue(c, strokes, count, error, n);
    free(strokes);
    return ok;
}

bool console_key_combo(struct console *c, const char *keys, unsigned hold_ms, char *error, size_t n)
{
    struct queued_stroke s = {.hold_ms = hold_ms ? hold_ms : COMBO_HOLD_MS};
    return has_keyboard(c, error, n) && keymap_combo(keys, strlen(keys), &s.stroke, error, n) &&
           enqueue(c, &s, 1, error, n);
}

bool console_typing(const struct console *c)
{
    return c->queued > 0;
}

/* ---- screen ---- */

static void owe(struct console *c, const struct rect *r)
{
    struct rect *o = &c->owed;
    if (!r->w || !r->h)
        return;
    if (!o->w) {
        *o = *r;
        return;
    }
    unsigned right = r->x + r->w > o->x + o->w ? r->x + r->w : o->x + o->w;
    unsigned bottom = r->y + r->h > o->y + o->h ? r->y + r->h : o->y + o->h;
    o->x = r->x < o->x ? r->x : o->x;
    o->y = r->y < o->y ? r->y : o->y;
    o->w = right - o->x;
    o->h = bottom - o->y;
}

static const struct surface *update(struct console *c)
{
    const struct display_source *d = &c->wiring.display;
    struct rect dirty = {0};
    const struct surface *s = d->refresh ? d->refresh(d->opaque, &dirty) : NULL;
    owe(c, &dirty);
    return s;
}

const struct surface *console_refresh(struct console *c, struct rect *dirty)
{
    const struct surface *s = update(c);
    *dirty = c->owed;
    c->owed = (struct rect){0};
    return s;
}

size_t console_text(struct console *c, char *buf, size_t n)
{
    const struct display_source *d = &c->wiring.display;
    if (n)
        *buf = 0;
    return d->text ? d->text(d->opaque, buf, n) : 0;
}

bool console_screendump(struct console *c, const char *path, enum image_format format, char *error,
                        size_t n)
{
    const struct surface *s = update(c);
    if (!s || !s->pixels) {
        snprintf(error, n, "this machine has no screen");
        return false;
    }
    FILE *out = fopen(path, "wb");
    if (!out) {
        snprintf(error, n, "cannot write %s: %s", path, strerror(errno));
        return false;
    }
    bool ok = format == IMAGE_PPM ? image_write_ppm(s, out) : image_write_png(s, out);
    int reason = errno;
    if (fclose(out) && ok) {
        reason = errno;
        ok = false;
    }
    if (!ok)
        snprintf(error, n, "cannot write %s: %s", path, strerror(reason));
    return ok;
}

bool console_screenshot(struct console *c, const char *path, char *error, size_t n)
{
    size_t length = strlen(path);
    bool ppm = length >= 4 && !strcmp(path + length - 4, ".ppm");
    return console_screendump(c, path, ppm ? IMAGE_PPM : IMAGE_PNG, error, n);
}

/* ---- events ---- */

void console_key(struct console *c, hid_key key, bool down)
{
    if (c->wiring.keyboard.key)
        c->wiring.keyboard.key(c->wiring.keyboard.opaque, key, down);
}

void console_pointer(struct console *c, int dx, int dy, int dz, unsigned buttons)
{
    if (c->wiring.pointer.move)
        c->wiring.pointer.move(c->wiring.pointer.opaque, dx, dy, dz, buttons);
}

/* ---- state ---- */

void console_set_state(struct console *c, enum console_state state)
{
    __atomic_store_n(&c->state, (int)state, __ATOMIC_RELAXED);
}

enum console_state console_state(const struct console *c)
{
    return (enum console_state)__atomic_load_n(&c->state, __ATOMIC_RELAXED);
}

void console_quit(struct console *c)
{
    __atomic_store_n(&c->quit, 1, __ATOMIC_RELAXED);
}

bool console_quitting(const struct console *c)
{
    return __atomic_load_n(&c->quit, __ATOMIC_RELAXED);
}

const struct console_wiring *console_wiring(const struct console *c)
{
    return &c->wiring;
}

struct console *console_create(const struct console_wiring *wiring)
{
    struct console *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->wiring = *wiring;
    timer_init(&c->timer, wiring->clock, play, c);
    return c;
}

void console_destroy(struct console *c)
{
    if (!c)
        return;
    timer_cancel(&c->timer);
    free(c->queue);
    free(c);
}
