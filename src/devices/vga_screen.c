/* SPDX-License-Identifier: MIT
 *
 * From registers and video memory to a picture.
 *
 * A refresh decides the shape of the picture (kind of mode, size), finds out which pages of the
 * displayed memory were written since the last one, and has the kind's file draw what may differ.
 * The picture has every dot and every scan line that a monitor would get: mode 13h is 640 by 400.
 * The border is not part of it.
 *
 * Dirty pages. A page of video memory is marked PAGE_CLEAN_VGA when it is drawn; whoever writes it
 * takes the mark away. A CPU that was writing at the very moment may complete a write unseen, so a
 * page counts as written for one more refresh (settling). Marking costs the CPUs a fault each, so a
 * page that is written all the time (hot) is left unmarked for a while and simply drawn.
 */
#include "devices/vga_state.h"

#include <stdlib.h>

#define HOT_AFTER 8 /* refreshes in a row that found the page written */
#define HOT_FOR   8 /* refreshes without a mark then */

/* ---- shape ---- */

static bool is_dark(const struct vga *v)
{
    return !(v->attr_index & ATTR_SOURCE) || v->seq[SEQ_CLOCKING] & CLOCKING_SCREEN_OFF ||
           !(v->enable & 1);
}

static enum vga_kind kind_of(const struct vga *v)
{
    if (is_dark(v))
        return VGA_KIND_BLANK;
    if (vbe_enabled(v))
        return vbe_linear(v) ? VGA_KIND_LINEAR : VGA_KIND_PLANAR;
    if (!(v->crtc[CRTC_MODE] & CRTC_MODE_RUN))
        return VGA_KIND_BLANK;
    if (!vga_is_graphics(v))
        return VGA_KIND_TEXT;
    if (v->gc[GC_MODE] & MODE_SHIFT_256)
        return VGA_KIND_256;
    return v->gc[GC_MODE] & MODE_SHIFT_INTERLEAVED ? VGA_KIND_INTERLEAVED : VGA_KIND_PLANAR;
}

static void shape_vbe(const struct vga *v, struct vga_shape *s)
{
    s->width = v->vbe[VBE_XRES];
    s->height = v->vbe[VBE_YRES];
    s->bpp = v->vbe[VBE_BPP];
    s->pitch = vbe_pitch(v);
    s->columns = s->width / 8;
    s->base = v->vbe[VBE_Y_OFFSET] * s->pitch;
    if (s->bpp >= 8)
        s->base += v->vbe[VBE_X_OFFSET] * ((s->bpp + 7) / 8);
}

static void shape_vga(const struct vga *v, struct vga_shape *s)
{
    u8 clocking = v->seq[SEQ_CLOCKING];
    s->cell_width = s->kind == VGA_KIND_TEXT && !(clocking & CLOCKING_8_DOTS) ? 9 : 8;
    s->dot_width = clocking & CLOCKING_HALF ? 2 : 1;
    s->columns = v->crtc[CRTC_H_DISPLAY_END] + 1u;
    s->width = s->columns * s->cell_width * s->dot_width;
    s->height = vga_display_lines(v);
}

struct vga_shape vga_screen_shape(const struct vga *v)
{
    struct vga_shape s;
    memset(&s, 0, sizeof s);
    s.kind = kind_of(v);
    if (s.kind == VGA_KIND_BLANK) {
        s.width = v->screen.surface.width;
        s.height = v->screen.surface.height;
    } else if (vbe_enabled(v)) {
        shape_vbe(v, &s);
    } else {
        shape_vga(v, &s);
    }
    return s;
}

/* Makes room for a picture of this shape; false when the host has no memory for it. */
static bool adopt_shape(struct vga_screen *sc, const struct vga_shape *s)
{
    size_t pixels = (size_t)s->width * s->height;
    if (pixels > sc->pixels_allocated) {
        u32 *more = realloc(sc->surface.pixels, pixels * sizeof *more);
        if (!more)
            return false;
        sc->surface.pixels = more;
        sc->pixels_allocated = pixels;
    }
    size_t words = (size_t)vga_cache_stride(s) * s->height;
    if (s->kind != VGA_KIND_LINEAR && s->kind != VGA_KIND_BLANK && words > sc->cache_words) {
        u32 *more = realloc(sc->cache, words * sizeof *more);
        if (!more)
            return false;
        sc->cache = more;
        sc->cache_words = words;
    }
    sc->surface.width = sc->surface.stride = s->width;
    sc->surface.height = s->height;
    sc->shape = *s;
    sc->redraw = true;
    return true;
}

/* ---- colors ---- */

static u32 dac_color(const struct vga *v, unsigned index)
{
    const u8 *c = v->dac + (index & v->dac_mask) * 3;
    u32 color = 0;
    for (unsigned i = 0; i < 3; i++) {
        u32 level = c[i];
        if (!(v->vbe[VBE_ENABLE] & VBE_8_BIT_DAC))
            level = (level & 0x3f) << 2 | (level & 0x3f) >> 4;
        color = color << 8 | level;
    }
    return color;
}

static void update_colors(struct vga *v)
{
    struct vga_screen *sc = &v->screen;
    u8 select = v->attr[ATTR_COLOR_SELECT];
    for (unsigned i = 0; i < 256; i++)
        sc->color256[i] = dac_color(v, i);
    for (unsigned i = 0; i < 16; i++) {
        u8 index = v->attr[ATTR_PALETTE + (i & v->attr[ATTR_PLANE_ENABLE])];
        if (v->attr[ATTR_MODE] & ATTR_MODE_P54)
            index = (u8)((index & 0x0f) | (select & 3) << 4);
        sc->color16[i] = dac_color(v, index | (select & 0x0cu) << 4);
    }
}

/* ---- dirty pages ---- */

static bool scan_page(struct vga *v, u32 n)
{
    struct vga_page *p = &v->screen.pages[n];
    u64 offset = v->vram_offset + ((u64)n << PAGE_SHIFT);
    if (p->skip) {
        p->skip--;
        p->stale = 1;
        return true;
    }
    if (*physmem_marks(v->board.physmem, offset) & PAGE_CLEAN_VGA) {
        p->stale = p->settling;
        p->settling = 0;
        p->heat = 0;
        return p->stale;
    }
    p->stale = 1;
    p->settling = 1;
    if (++p->heat < HOT_AFTER) {
        physmem_mark(v->board.physmem, offset, PAGE_CLEAN_VGA);
    } else {
        p->heat = HOT_AFTER / 2;
        p->skip = HOT_FOR;
    }
    return true;
}

bool vga_screen_scan(struct vga *v, u32 from, u32 to)
{
    bool any = false;
    for (u32 n = from >> PAGE_SHIFT; n <= (to - 1) >> PAGE_SHIFT; n++)
        any |= scan_page(v, n);
    return any;
}

bool vga_screen_stale(const struct vga *v, u32 from, u32 to)
{
    for (u32 n = from >> PAGE_SHIFT; n <= (to - 1) >> PAGE_SHIFT; n++) {
        if (v->screen.pages[n].stale)
            return true;
    }
    return false;
}

void vga_screen_dirty(struct vga *v, u32 x, u32 y, u32 w, u32 h)
{
    struct rect *d = &v->screen.dirty;
    if (!d->w) {
        *d = (struct rect){x, y, w, h};
        return;
    }
    u32 right = x + w > d->x + d->w ? x + w : d->x + d->w;
    u32 bottom = y + h > d->y + d->h ? y + h : d->y + d->h;
    d->x = x < d->x ? x : d->x;
    d->y = y < d->y ? y : d->y;
    d->w = right - d->x;
    d->h = bottom - d->y;
}

/* ---- the CRTC's walk ---- */

/* The dots that the panning register shifts by: 9-dot characters count from 8 (no shift) over 0
 * (one dot) to 7 (eight dots). */
static u32 panning(const struct vga *v, const struct vga_shape *s)
{
    u32 pan = v->attr[ATTR_PANNING];
    if (s->cell_width == 9)
        return pan >= 8 ? 0 : pan + 1;
    return pan & 7;
}

void vga_scan_start(const struct vga *v, const struct vga_shape *s, struct vga_scan *scan)
{
    if (vbe_enabled(v)) {
        u32 x = v->vbe[VBE_X_OFFSET];
        *scan = (struct vga_scan){.base = s->base + x / 8,
                                  .pan = x & 7,
                                  .row_start = true,
                                  .pitch = s->pitch,
                                  .split = UINT32_MAX};
        return;
    }
    bool pan_top_only = v->attr[ATTR_MODE] & ATTR_MODE_PAN_TOP;
    u8 preset = v->crtc[CRTC_PRESET_ROW_SCAN];
    u8 max_scan = v->crtc[CRTC_MAX_SCAN_LINE];
    *scan = (struct vga_scan){
        .base = (u32)(v->crtc[CRTC_START_HIGH] << 8 | v->crtc[CRTC_START_LOW]) + (preset >> 5 & 3),
        .row = preset & 31,
        .pan = panning(v, s),
        .row_start = true,
        .pitch = v->crtc[CRTC_OFFSET] * 2u,
        .last_row = max_scan & 31,
        .split = vga_line_compare(v),
        .doubled = max_scan & MAX_SCAN_DOUBLE,
        .split_pan = pan_top_only ? 0 : panning(v, s),
    };
}

void vga_scan_next(struct vga_scan *scan)
{
    bool splits = scan->y++ == scan->split;
    scan->row_start = splits;
    if (splits) {
        scan->base = scan->row = 0;
        scan->pan = scan->split_pan;
        scan->second = false;
        return;
    }
    scan->second = scan->doubled && !scan->second;
    if (scan->second)
        return;
    if (scan->row == scan->last_row) {
        scan->row = 0;
        scan->base += scan->pitch;
        scan->row_start = true;
    } else {
        scan->row = (scan->row + 1) & (VGA_GLYPH_ROWS - 1);
    }
}

struct vga_fetch vga_fetch(const struct vga *v)
{
    if (vbe_enabled(v))
        return (struct vga_fetch){.mode = CRTC_MODE_BYTE | CRTC_MODE_MA13 | CRTC_MODE_MA14,
                                  .mask = v->vram_bytes / VGA_GROUP_BYTES - 1};
    u8 underline = v->crtc[CRTC_UNDERLINE];
    u8 mode = v->crtc[CRTC_MODE];
    return (struct vga_fetch){
        .mode = mode,
        .mask = VGA_GROUPS - 1,
        .dword = underline & UNDERLINE_DWORD,
        .count_shift = underline & UNDERLINE_COUNT_BY_4 ? 2
                       : mode & CRTC_MODE_COUNT_BY_2    ? 1
                                                        : 0,
    };
}

/* IBM's table of memory address bits: byte mode passes the counter, word mode rotates it left by
 * one (bit 0 being counter bit 13 or 15), double-word mode by two. Then CGA and Hercules layouts
 * take bits 13 and 14 from the row scan counter. */
u32 vga_fetch_offset(const struct vga_fetch *f, u32 ma, u32 row)
{
    u32 offset = ma;
    if (f->dword)
        offset = ma << 2 | (ma >> 14 & 3);
    else if (!(f->mode & CRTC_MODE_BYTE))
        offset = ma << 1 | (ma >> (f->mode & CRTC_MODE_WRAP_15 ? 15 : 13) & 1);
    if (!(f->mode & CRTC_MODE_MA13))
        offset = (offset & ~(1u << 13)) | (row & 1) << 13;
    if (!(f->mode & CRTC_MODE_MA14))
        offset = (offset & ~(1u << 14)) | (row >> 1 & 1) << 14;
    return offset & f->mask;
}

/* ---- refresh ---- */

static void refresh_blank(struct vga *v)
{
    struct surface *s = &v->screen.surface;
    if (!v->screen.redraw)
        return;
    memset(s->pixels, 0, (size_t)s->stride * s->height * sizeof *s->pixels);
    vga_screen_dirty(v, 0, 0, s->width, s->height);
}

/* The bytes of video memory that planar modes show: all that the VGA can address, or the VBE
 * mode's lines. */
static bool scan_planes(struct vga *v)
{
    const struct vga_shape *s = &v->screen.shape;
    if (!vbe_enabled(v))
        return vga_screen_scan(v, 0, VGA_PLANE_BYTES);
    u32 from = s->base * VGA_GROUP_BYTES;
    return vga_screen_scan(v, from, from + s->pitch * s->height * VGA_GROUP_BYTES);
}

/* True when a register that steers fetches changed. Such a change redraws only what then differs:
 * scrolling by the start address is common. */
static bool fetch_registers_changed(struct vga *v)
{
    struct vga_screen *sc = &v->screen;
    if (!memcmp(sc->crtc, v->crtc, sizeof sc->crtc) && sc->panning == v->attr[ATTR_PANNING])
        return false;
    memcpy(sc->crtc, v->crtc, sizeof sc->crtc);
    sc->panning = v->attr[ATTR_PANNING];
    return true;
}

static void refresh_kind(struct vga *v)
{
    bool redraw = v->screen.redraw, memory, registers;
    switch ((enum vga_kind)v->screen.shape.kind) {
    case VGA_KIND_BLANK: refresh_blank(v); break;
    case VGA_KIND_TEXT:
        memory = scan_planes(v);
        registers = fetch_registers_changed(v);
        if (vga_text_blinked(v) || memory || registers || redraw)
            vga_text_refresh(v, memory);
        break;
    case VGA_KIND_PLANAR:
    case VGA_KIND_INTERLEAVED:
    case VGA_KIND_256:
        memory = scan_planes(v);
        registers = fetch_registers_changed(v);
        if (memory || registers || redraw)
            vga_graphics_refresh(v);
        break;
    case VGA_KIND_LINEAR: vga_linear_refresh(v); break;
    case VGA_KIND_NONE: break;
    }
}

const struct surface *vga_refresh(void *opaque, struct rect *dirty)
{
    struct vga *v = opaque;
    struct vga_screen *sc = &v->screen;
    sc->dirty = (struct rect){0};
    struct vga_shape s = vga_screen_shape(v);
    if (!memcmp(&s, &sc->shape, sizeof s) || adopt_shape(sc, &s)) {
        if (sc->redraw)
            update_colors(v);
        refresh_kind(v);
        sc->redraw = false;
    }
    *dirty = sc->dirty;
    return &sc->surface;
}

bool vga_screen_init(struct vga *v)
{
    struct vga_screen *sc = &v->screen;
    struct vga_shape dark;
    memset(&dark, 0, sizeof dark);
    dark.kind = VGA_KIND_BLANK;
    dark.width = 720;
    dark.height = 400;
    sc->pages = calloc(v->vram_bytes >> PAGE_SHIFT, sizeof *sc->pages);
    return sc->pages && adopt_shape(sc, &dark);
}

void vga_screen_destroy(struct vga *v)
{
    free(v->screen.pages);
    free(v->screen.cache);
    free(v->screen.surface.pixels);
}
