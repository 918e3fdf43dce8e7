/* SPDX-License-Identifier: MIT
 *
 * Pixels of VBE modes with 8 bits and more: lines of packed pixels. A line is drawn when one of the
 * pages it lies in was written. vbe.c keeps the picture inside video memory.
 */
#include "devices/vga_state.h"

static u32 widen(u32 level, unsigned bits)
{
    return level << (8 - bits) | level >> (2 * bits - 8);
}

static void line_8(const u32 *color, const u8 *in, u32 *out, u32 n)
{
    for (u32 x = 0; x < n; x++)
        out[x] = color[in[x]];
}

static void line_15(const u8 *in, u32 *out, u32 n)
{
    for (u32 x = 0; x < n; x++) {
        u32 c = load16(in + 2 * x);
        out[x] = widen(c >> 10 & 31, 5) << 16 | widen(c >> 5 & 31, 5) << 8 | widen(c & 31, 5);
    }
}

static void line_16(const u8 *in, u32 *out, u32 n)
{
    for (u32 x = 0; x < n; x++) {
        u32 c = load16(in + 2 * x);
        out[x] = widen(c >> 11 & 31, 5) << 16 | widen(c >> 5 & 63, 6) << 8 | widen(c & 31, 5);
    }
}

static void line_24(const u8 *in, u32 *out, u32 n)
{
    for (u32 x = 0; x < n; x++)
        out[x] = (u32)in[3 * x + 2] << 16 | (u32)in[3 * x + 1] << 8 | in[3 * x];
}

static void line_32(const u8 *in, u32 *out, u32 n)
{
    for (u32 x = 0; x < n; x++)
        out[x] = load32(in + 4 * x) & 0xffffff;
}

static void draw_line(struct vga *v, u32 y, const u8 *in)
{
    const struct vga_shape *s = &v->screen.shape;
    u32 *out = vga_screen_row(v, y);
    switch (s->bpp) {
    case 8: line_8(v->screen.color256, in, out, s->width); break;
    case 15: line_15(in, out, s->width); break;
    case 16: line_16(in, out, s->width); break;
    case 24: line_24(in, out, s->width); break;
    default: line_32(in, out, s->width); break;
    }
    vga_screen_dirty(v, 0, y, s->width, 1);
}

void vga_linear_refresh(struct vga *v)
{
    const struct vga_shape *s = &v->screen.shape;
    u32 bytes = s->width * ((s->bpp + 7) / 8);
    bool changed = vga_screen_scan(v, s->base, s->base + (s->height - 1) * s->pitch + bytes);
    if (!changed && !v->screen.redraw)
        return;
    for (u32 y = 0; y < s->height; y++) {
        u32 at = s->base + y * s->pitch;
        if (v->screen.redraw || vga_screen_stale(v, at, at + bytes))
            draw_line(v, y, v->vram + at);
    }
}
