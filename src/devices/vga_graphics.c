/* SPDX-License-Identifier: MIT
 *
 * Pixels of the VGA's own graphics modes. In each character clock the CRTC fetches one group, and
 * the shift registers make eight dots of it:
 *
 *   planar       8 pixels; bit 7-n of plane p is bit p of pixel n
 *   interleaved  8 pixels; planes 0 and 2 hold bits 1..0 and 3..2 of the first four pixels, planes
 *                1 and 3 those of the others (CGA's 4 colors, when only 0 and 1 are used)
 *   256 colors   4 pixels of two dots; each plane is a pixel
 *
 * A line is drawn when the groups that it fetches differ from those it showed last. That covers
 * memory writes, scrolling, panning and split screens alike.
 *
 * Deviation: 256-color pixels go to the DAC directly, not through the 16 palette registers (which
 * every BIOS loads with the identity in those modes).
 */
#include "devices/vga_state.h"

#define GROUP_DOTS  8u
#define LINE_GROUPS (VBE_MAX_XRES / GROUP_DOTS + 1u) /* more than the CRTC's 256 + 1 */

/* The bits of a byte as eight bytes of 0 or 1, bit 7 first in memory. The product holds copies of
 * the byte nine bits apart, so that bit 8i+7 of it is bit 7-i of the byte. */
static u64 spread(u8 byte)
{
    return (byte * 0x8040201008040201u >> 7) & 0x0101010101010101u;
}

static void dots_planar(const u32 *color, u32 group, u32 *dot)
{
    u64 pixels = 0;
    for (unsigned p = 0; p < 4; p++)
        pixels |= spread((u8)(group >> p * 8)) << p;
    for (unsigned i = 0; i < GROUP_DOTS; i++)
        dot[i] = color[pixels >> i * 8 & 15];
}

static void dots_interleaved(const u32 *color, u32 group, u32 *dot)
{
    for (unsigned i = 0; i < GROUP_DOTS; i++) {
        unsigned plane = i < 4 ? 0 : 1, shift = 6 - 2 * (i & 3);
        u32 low = group >> plane * 8 >> shift & 3;
        u32 high = group >> (plane + 2) * 8 >> shift & 3;
        dot[i] = color[high << 2 | low];
    }
}

static void dots_256(const u32 *color, u32 group, u32 *dot)
{
    for (unsigned p = 0; p < 4; p++)
        dot[2 * p] = dot[2 * p + 1] = color[group >> p * 8 & 0xff];
}

static void line_dots(const struct vga *v, const u32 *groups, u32 n, u32 *dots)
{
    const struct vga_screen *sc = &v->screen;
    for (u32 i = 0; i < n; i++, dots += GROUP_DOTS) {
        switch (sc->shape.kind) {
        case VGA_KIND_256: dots_256(sc->color256, groups[i], dots); break;
        case VGA_KIND_INTERLEAVED: dots_interleaved(sc->color16, groups[i], dots); break;
        default: dots_planar(sc->color16, groups[i], dots); break;
        }
    }
}

static void fetch_line(const struct vga *v, const struct vga_fetch *f, const struct vga_scan *scan,
                       u32 n, u32 *groups)
{
    for (u32 i = 0; i < n; i++) {
        u32 offset = vga_fetch_offset(f, scan->base + (i >> f->count_shift), scan->row);
        groups[i] = load32(v->vram + (size_t)vga_group(v, offset) * VGA_GROUP_BYTES);
    }
}

static void draw_line(struct vga *v, u32 y, u32 pan, const u32 *groups, u32 n)
{
    const struct vga_shape *s = &v->screen.shape;
    u32 dots[LINE_GROUPS * GROUP_DOTS];
    line_dots(v, groups, n, dots);
    u32 *out = vga_screen_row(v, y);
    if (s->dot_width == 2) {
        for (u32 x = 0; x < s->columns * GROUP_DOTS; x++)
            out[2 * x] = out[2 * x + 1] = dots[x + pan];
    } else {
        memcpy(out, dots + pan, s->width * sizeof *out);
    }
    vga_screen_dirty(v, 0, y, s->width, 1);
}

void vga_graphics_refresh(struct vga *v)
{
    const struct vga_shape *s = &v->screen.shape;
    struct vga_fetch fetch = vga_fetch(v);
    struct vga_scan scan;
    vga_scan_start(v, s, &scan);
    for (u32 y = 0; y < s->height; y++, vga_scan_next(&scan)) {
        u32 line[LINE_GROUPS + 1];
        u32 n = s->columns + (scan.pan ? 1 : 0);
        line[0] = scan.pan;
        fetch_line(v, &fetch, &scan, n, line + 1);
        u32 *shown = v->screen.cache + (size_t)y * vga_cache_stride(s);
        if (!v->screen.redraw && !memcmp(shown, line, (n + 1) * sizeof *line))
            continue;
        memcpy(shown, line, (n + 1) * sizeof *line);
        draw_line(v, y, scan.pan, line + 1, n);
    }
}
