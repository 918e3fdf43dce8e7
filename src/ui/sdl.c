/* SPDX-License-Identifier: MIT
 *
 * The SDL window: one loop that turns window events into console events and shows the screen.
 *
 * Keys go by position (scancodes, which are HID usages), so dead keys, keypads and foreign layouts
 * are the guest's business. The keys held down in the guest are remembered: each is released once,
 * also when the window loses the focus with keys down.
 *
 * The loop sleeps in SDL until an event comes or the next look at the screen is due: at most 60
 * looks a second while something moves, 20 when nothing has for a while. The picture is copied to a
 * texture under the board lock and shown without it.
 */
#include "ui/sdl.h"

#include <stdio.h>
#include <stdlib.h>

#include <SDL.h>

#include "ui/hid.h"

#define FRAME_MS      16u /* between looks at a lively screen */
#define IDLE_FRAME_MS 50u
#define IDLE_AFTER_MS 1000u
#define LIVELY_GAP_MS 150u /* a blinking cursor changes less often and is not life */
#define SMALLEST_SIDE 64   /* of a window, so that it can be found again */

struct sdl_window {
    struct console *console;
    const struct sdl_options *options;
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    int width, height; /* of the texture */
    /* The window's size as last set by this program: another one is the user's wish, and then the
     * picture is scaled instead. */
    int own_width, own_height;
    bool grabbed, full_screen, close_seen;
    bool show_all;         /* the window needs the picture, changed or not */
    u8 held[HID_LAST + 1]; /* keys that are down in the guest */
    unsigned buttons;      /* enum pointer_button */
    Uint32 last_look, last_change;
    Uint32 last_life; /* last input, or change soon after another */
    int titled;       /* what the title says: state and grab, -1 for nothing yet */
};

static void lock(const struct sdl_window *w)
{
    const struct console_wiring *wiring = console_wiring(w->console);
    if (wiring->lock)
        wiring->lock(wiring->lock_opaque);
}

static void unlock(const struct sdl_window *w)
{
    const struct console_wiring *wiring = console_wiring(w->console);
    if (wiring->unlock)
        wiring->unlock(wiring->lock_opaque);
}

/* ---- title ---- */

static void update_title(struct sdl_window *w)
{
    static const char *const states[] = {[CONSOLE_RUNNING] = " [running]",
                                         [CONSOLE_PAUSED] = " [paused]",
                                         [CONSOLE_STOPPED] = " [stopped]"};
    enum console_state state = console_state(w->console);
    int shown = (int)state * 2 + w->grabbed;
    if (shown == w->titled)
        return;
    w->titled = shown;
    char title[256];
    snprintf(title, sizeof title, "%s%sanello%s%s", w->options->name ? w->options->name : "",
             w->options->name ? " - " : "", states[state],
             w->grabbed ? " - Ctrl-Alt-G releases the mouse" : "");
    SDL_SetWindowTitle(w->window, title);
}

/* ---- keyboard ---- */

static void send_key(struct sdl_window *w, hid_key key, bool down)
{
    w->held[key] = down;
    lock(w);
    console_key(w->console, key, down);
    unlock(w);
}

static void release_keys(struct sdl_window *w)
{
    for (unsigned key = 0; key <= HID_LAST; key++) {
        if (w->held[key])
            send_key(w, (hid_key)key, false);
    }
}

static void set_grab(struct sdl_window *w, bool grab)
{
    if (grab && !console_wiring(w->console)->pointer.move)
        return;
    w->grabbed = grab;
    SDL_SetRelativeMouseMode(grab ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowKeyboardGrab(w->window, grab ? SDL_TRUE : SDL_FALSE);
}

static void set_full_screen(struct sdl_window *w, bool full)
{
    w->full_screen = full;
    SDL_SetWindowFullscreen(w->window, full ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    w->show_all = true;
}

/* Ctrl-Alt-G and Ctrl-Alt-F are the window's; true when the key was one of them. */
static bool hot_key(struct sdl_window *w, const SDL_KeyboardEvent *e)
{
    if (!(e->keysym.mod & KMOD_CTRL) || !(e->keysym.mod & KMOD_ALT))
        return false;
    switch (e->keysym.scancode) {
    case SDL_SCANCODE_G:
        if (!e->repeat)
            set_grab(w, !w->grabbed);
        return true;
    case SDL_SCANCODE_F:
        if (!e->repeat)
            set_full_screen(w, !w->full_screen);
        return true;
    default: return false;
    }
}

static void key_event(struct sdl_window *w, const SDL_KeyboardEvent *e)
{
    unsigned key = e->keysym.scancode;
    if (key < HID_A || key > HID_LAST)
        return; /* no key, or one that only SDL knows */
    if (e->state == SDL_PRESSED) {
        if (!hot_key(w, e))
            send_key(w, (hid_key)key, true); /* repeats too: they are the host's typematic */
    } else if (w->held[key]) {
        send_key(w, (hid_key)key, false);
    }
}

/* ---- mouse ---- */

static unsigned button_of(const SDL_MouseButtonEvent *e)
{
    switch (e->button) {
    case SDL_BUTTON_LEFT: return POINTER_LEFT;
    case SDL_BUTTON_RIGHT: return POINTER_RIGHT;
    case SDL_BUTTON_MIDDLE: return POINTER_MIDDLE;
    default: return 0;
    }
}

static void send_pointer(struct sdl_window *w, int dx, int dy, int dz)
{
    lock(w);
    console_pointer(w->console, dx, dy, dz, w->buttons);
    unlock(w);
}

static void release_mouse(struct sdl_window *w)
{
    if (w->buttons) {
        w->buttons = 0;
        send_pointer(w, 0, 0, 0);
    }
    if (w->grabbed)
        set_grab(w, false);
}

/* The first click into the window takes the mouse and is not the guest's. */
static void button_event(struct sdl_window *w, const SDL_MouseButtonEvent *e)
{
    unsigned button = button_of(e);
    if (!w->grabbed) {
        if (e->state == SDL_PRESSED && button == POINTER_LEFT)
            set_grab(w, true);
        return;
    }
    unsigned before = w->buttons;
    w->buttons = e->state == SDL_PRESSED ? before | button : before & ~button;
    if (w->buttons != before)
        send_pointer(w, 0, 0, 0);
}

static void wheel_event(struct sdl_window *w, const SDL_MouseWheelEvent *e)
{
    int up = e->direction == SDL_MOUSEWHEEL_FLIPPED ? -e->y : e->y;
    if (w->grabbed && up)
        send_pointer(w, 0, 0, -up);
}

/* ---- picture ---- */

static bool make_texture(struct sdl_window *w, int width, int height)
{
    SDL_Texture *t = SDL_CreateTexture(w->renderer, SDL_PIXELFORMAT_RGB888,
                                       SDL_TEXTUREACCESS_STREAMING, width, height);
    if (!t)
        return false;
    if (w->texture)
        SDL_DestroyTexture(w->texture);
    w->texture = t;
    w->width = width;
    w->height = height;
    w->show_all = true;
    return true;
}

/* The window follows the guest's screen until its user wants another size. */
static void follow_size(struct sdl_window *w)
{
    int width, height;
    SDL_GetWindowSize(w->window, &width, &height);
    bool users = width != w->own_width || height != w->own_height;
    if (users || w->full_screen || SDL_GetWindowFlags(w->window) & SDL_WINDOW_MAXIMIZED)
        return;
    w->own_width = w->width;
    w->own_height = w->height;
    SDL_SetWindowSize(w->window, w->width, w->height);
}

/* Where the picture goes in an area of this size: as large as its shape allows, centered. */
static SDL_Rect fitted(const struct sdl_window *w, int width, int height)
{
    SDL_Rect r = {.w = width, .h = height};
    if ((i64)width * w->height > (i64)height * w->width)
        r.w = (int)((i64)height * w->width / w->height);
    else
        r.h = (int)((i64)width * w->height / w->width);
    r.x = (width - r.w) / 2;
    r.y = (height - r.h) / 2;
    return r;
}

static void show(struct sdl_window *w)
{
    int width, height;
    if (!w->texture || SDL_GetRendererOutputSize(w->renderer, &width, &height))
        return;
    SDL_Rect at = fitted(w, width, height);
    /* Whole multiples stay sharp. */
    bool whole = at.w % w->width == 0 && at.h % w->height == 0;
    SDL_SetTextureScaleMode(w->texture, whole ? SDL_ScaleModeNearest : SDL_ScaleModeLinear);
    SDL_SetRenderDrawColor(w->renderer, 0, 0, 0, SDL_ALPHA_OPAQUE);
    SDL_RenderClear(w->renderer);
    SDL_RenderCopy(w->renderer, w->texture, NULL, &at);
    SDL_RenderPresent(w->renderer);
    w->show_all = false;
}

/* Copies what changed to the texture. Board lock held. True when there is something to show. */
static bool copy_picture(struct sdl_window *w, bool *resized)
{
    struct rect dirty;
    const struct surface *s = console_refresh(w->console, &dirty);
    if (!s || !s->pixels || !s->width || !s->height)
        return false;
    if ((int)s->width != w->width || (int)s->height != w->height) {
        if (!make_texture(w, (int)s->width, (int)s->height))
            return false;
        *resized = true;
    }
    if (w->show_all)
        dirty = (struct rect){0, 0, s->width, s->height};
    if (!dirty.w || !dirty.h)
        return false;
    SDL_Rect r = {(int)dirty.x, (int)dirty.y, (int)dirty.w, (int)dirty.h};
    const u32 *from = s->pixels + (size_t)dirty.y * s->stride + dirty.x;
    SDL_UpdateTexture(w->texture, &r, from, (int)(s->stride * sizeof *from));
    return true;
}

static void look(struct sdl_window *w)
{
    bool resized = false;
    w->last_look = SDL_GetTicks();
    lock(w);
    bool changed = copy_picture(w, &resized);
    unlock(w);
    if (resized)
        follow_size(w);
    if (!changed)
        return;
    if (w->last_look - w->last_change < LIVELY_GAP_MS)
        w->last_life = w->last_look;
    w->last_change = w->last_look;
    show(w);
}

/* ---- window ---- */

static void close_event(struct sdl_window *w)
{
    bool again = w->close_seen;
    w->close_seen = true;
    if (w->options->close_requested)
        w->options->close_requested(w->options->opaque, again);
    else
        console_quit(w->console);
}

static void window_event(struct sdl_window *w, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_FOCUS_LOST:
        release_keys(w);
        release_mouse(w);
        break;
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED:
    case SDL_WINDOWEVENT_RESTORED: w->show_all = true; break;
    default: break;
    }
}

static void handle(struct sdl_window *w, const SDL_Event *e)
{
    switch (e->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP: key_event(w, &e->key); break;
    case SDL_MOUSEMOTION:
        if (w->grabbed && (e->motion.xrel || e->motion.yrel))
            send_pointer(w, e->motion.xrel, e->motion.yrel, 0);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP: button_event(w, &e->button); break;
    case SDL_MOUSEWHEEL: wheel_event(w, &e->wheel); break;
    case SDL_WINDOWEVENT: window_event(w, &e->window); break;
    case SDL_RENDER_TARGETS_RESET:
    case SDL_RENDER_DEVICE_RESET: w->width = w->height = 0; break; /* the texture is lost */
    case SDL_QUIT: close_event(w); break;
    default: break;
    }
    if (e->type == SDL_KEYDOWN || e->type == SDL_MOUSEMOTION)
        w->last_life = SDL_GetTicks(); /* an answer on the screen is likely */
}

static void serve(struct sdl_window *w)
{
    while (!console_quitting(w->console)) {
        Uint32 now = SDL_GetTicks();
        Uint32 period = now - w->last_life < IDLE_AFTER_MS ? FRAME_MS : IDLE_FRAME_MS;
        Uint32 since = now - w->last_look;
        SDL_Event e;
        if (since < period && SDL_WaitEventTimeout(&e, (int)(period - since))) {
            do {
                handle(w, &e);
            } while (SDL_PollEvent(&e));
        }
        update_title(w);
        if (SDL_GetTicks() - w->last_look >= FRAME_MS)
            look(w);
    }
}

/* ---- opening and closing ---- */

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

/* Chooses among the display servers that the environment names. Without this SDL would try all its
 * drivers, among them some that show nothing or complain on stderr. */
static bool choose_driver(void)
{
    bool x11 = is_set("DISPLAY"), wayland = is_set("WAYLAND_DISPLAY");
    if (is_set("SDL_VIDEODRIVER"))
        return true;
    if (!x11 && !wayland)
        return false;
    SDL_SetHint(SDL_HINT_VIDEODRIVER, !wayland ? "x11" : !x11 ? "wayland" : "x11,wayland");
    return true;
}

static bool init_sdl(char *error, size_t n)
{
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_GRAB_KEYBOARD, "1");
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    SDL_SetMainReady();
    if (!choose_driver()) {
        snprintf(error, n, "no display: use -display none or -nographic");
        return false;
    }
    if (SDL_Init(SDL_INIT_VIDEO)) {
        snprintf(error, n, "no display (%s): use -display none or -nographic", SDL_GetError());
        return false;
    }
    /* Text input would let an input method swallow dead keys. */
    SDL_StopTextInput();
    return true;
}

/* True when this OpenGL draws on the CPU (Mesa's llvmpipe and such): SDL's own renderer does the
 * little that is needed here for a fraction of the time. */
static bool is_software_gl(SDL_Renderer *renderer)
{
    static const char *const software[] = {"llvmpipe", "softpipe", "swrast", "SWR", "Software"};
    enum { GL_RENDERER = 0x1f01 };
    SDL_RendererInfo info;
    if (SDL_GetRendererInfo(renderer, &info) || strncmp(info.name, "opengl", 6))
        return false;
    const char *(*get_string)(unsigned) =
        (const char *(*)(unsigned))SDL_GL_GetProcAddress("glGetString");
    const char *name = get_string ? get_string(GL_RENDERER) : NULL;
    for (size_t i = 0; name && i < ARRAY_LEN(software); i++) {
        if (strstr(name, software[i]))
            return true;
    }
    return false;
}

static SDL_Renderer *make_renderer(SDL_Window *window)
{
    SDL_Renderer *renderer = SDL_CreateRenderer(window, -1, 0);
    if (renderer && !is_software_gl(renderer))
        return renderer;
    if (renderer)
        SDL_DestroyRenderer(renderer);
    SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0");
    return SDL_CreateRenderer(window, -1, SDL_RENDERER_SOFTWARE);
}

static bool open_window(struct sdl_window *w, char *error, size_t n)
{
    w->own_width = 720;
    w->own_height = 400;
    w->window =
        SDL_CreateWindow("anello", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, w->own_width,
                         w->own_height, SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    if (w->window)
        w->renderer = make_renderer(w->window);
    if (!w->renderer) {
        snprintf(error, n, "cannot open a window (%s): use -display none or -nographic",
                 SDL_GetError());
        return false;
    }
    SDL_SetWindowMinimumSize(w->window, SMALLEST_SIDE, SMALLEST_SIDE);
    if (w->options->full_screen)
        set_full_screen(w, true);
    return true;
}

static void close_window(struct sdl_window *w)
{
    if (w->texture)
        SDL_DestroyTexture(w->texture);
    if (w->renderer)
        SDL_DestroyRenderer(w->renderer);
    if (w->window)
        SDL_DestroyWindow(w->window);
    SDL_Quit();
}

bool sdl_console_run(struct console *c, const struct sdl_options *options, char *error, size_t n)
{
    static const struct sdl_options defaults = {0};
    struct sdl_window w = {
        .console = c, .options = options ? options : &defaults, .titled = -1, .show_all = true};
    if (!init_sdl(error, n))
        return false;
    bool ok = open_window(&w, error, n);
    if (ok) {
        serve(&w);
        release_keys(&w);
    }
    close_window(&w);
    return ok;
}
