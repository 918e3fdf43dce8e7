/* SPDX-License-Identifier: MIT
 *
 * Where the beam is. The CRTC divides the dot clock down to characters, lines and frames; as all
 * of that is periodic, the position is the virtual time, counted in dots, modulo the frame. Nothing
 * ticks, and nothing drifts.
 */
#include "devices/vga_state.h"

#define DOT_CLOCK_25 25175000u
#define DOT_CLOCK_28 28322000u

/* A CRTC vertical value: 8 low bits in `reg`, bit 8 and bit 9 in the overflow register. */
static u32 vertical(const struct vga *v, enum vga_crtc reg, unsigned bit8, unsigned bit9)
{
    u32 overflow = v->crtc[CRTC_OVERFLOW];
    return v->crtc[reg] | (overflow >> bit8 & 1) << 8 | (overflow >> bit9 & 1) << 9;
}

/* With CRTC_MODE_V_BY_2 the vertical counter advances every second line. */
static u32 scan_lines(const struct vga *v, u32 counted)
{
    return v->crtc[CRTC_MODE] & CRTC_MODE_V_BY_2 ? counted * 2 : counted;
}

u32 vga_display_lines(const struct vga *v)
{
    return scan_lines(v, vertical(v, CRTC_V_DISPLAY_END, 1, 6) + 1);
}

u32 vga_line_compare(const struct vga *v)
{
    u32 lc = v->crtc[CRTC_LINE_COMPARE];
    if (v->crtc[CRTC_OVERFLOW] & OVERFLOW_LINE_COMPARE_8)
        lc |= 1 << 8;
    if (v->crtc[CRTC_MAX_SCAN_LINE] & MAX_SCAN_LINE_COMPARE_9)
        lc |= 1 << 9;
    return scan_lines(v, lc);
}

/* The frame in dots and the time in them. */
struct frame {
    u32 char_dots;
    u32 line_dots;
    u32 lines;
    u64 frame_dots;
};

static struct frame frame_of(const struct vga *v)
{
    struct frame f;
    f.char_dots = v->seq[SEQ_CLOCKING] & CLOCKING_8_DOTS ? 8 : 9;
    f.line_dots = (v->crtc[CRTC_H_TOTAL] + 5u) * f.char_dots;
    f.lines = scan_lines(v, vertical(v, CRTC_V_TOTAL, 0, 5) + 2);
    f.frame_dots = (u64)f.line_dots * f.lines;
    return f;
}

static u64 dots_at(const struct vga *v, i64 ns)
{
    u32 hz = (v->misc & MISC_CLOCK) == MISC_CLOCK_28 ? DOT_CLOCK_28 : DOT_CLOCK_25;
    if (v->seq[SEQ_CLOCKING] & CLOCKING_HALF)
        hz /= 2;
    return mul_div(ns > 0 ? (u64)ns : 0, hz, NS_PER_SEC);
}

struct vga_beam vga_beam(const struct vga *v)
{
    struct frame f = frame_of(v);
    u64 dot = dots_at(v, clock_now(v->board.clock)) % f.frame_dots;
    u32 line = (u32)(dot / f.line_dots);
    u32 column = (u32)(dot % f.line_dots) / f.char_dots;
    u32 start = scan_lines(v, vertical(v, CRTC_V_RETRACE_START, 2, 7));
    /* The end register holds the low four bits of the line where retrace ends. */
    u32 length = (v->crtc[CRTC_V_RETRACE_END] - v->crtc[CRTC_V_RETRACE_START]) & 15;
    length = scan_lines(v, length ? length : 16);
    return (struct vga_beam){
        .display = line < vga_display_lines(v) && column <= v->crtc[CRTC_H_DISPLAY_END],
        .retrace = line >= start && line < start + length,
    };
}

u64 vga_frames(const struct vga *v)
{
    return dots_at(v, clock_now(v->board.clock)) / frame_of(v).frame_dots;
}

/* Vertical retraces begun until `ns`. */
static u64 retraces_at(const struct vga *v, i64 ns)
{
    struct frame f = frame_of(v);
    u32 start = scan_lines(v, vertical(v, CRTC_V_RETRACE_START, 2, 7));
    if (start >= f.lines)
        return 0;
    return (dots_at(v, ns) + f.frame_dots - (u64)start * f.line_dots) / f.frame_dots;
}

bool vga_retrace_since(const struct vga *v, i64 since)
{
    return retraces_at(v, clock_now(v->board.clock)) > retraces_at(v, since);
}
