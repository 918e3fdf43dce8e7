/* SPDX-License-Identifier: MIT
 *
 * Text modes. The CRTC fetches a group for each cell: plane 0 is the character, plane 1 its
 * attribute; the character generator then reads the glyph's row from plane 2.
 *
 * The screen is drawn in *bands*: runs of scan lines that show the same cells. A band is a
 * character row, or less where the screen begins in the middle of one, ends or splits. What a cell
 * shows is one word (struct text below); a cell is drawn when its word differs from the one it
 * showed last, so neither writes nor scrolling nor the cursor need any bookkeeping of their own.
 */
#include "devices/vga_state.h"

/* A cell's word. */
#define CELL_CHARACTER(w) ((w)&0xff)
#define CELL_ATTRIBUTE(w) ((w) >> 8 & 0xff)
#define CELL_CURSOR       (1u << 16)
#define CELL_HIDDEN       (1u << 17) /* the dark half of blinking */
#define CELL_CURSOR_SHIFT 18         /* then the cursor's first and last row, 5 bits each */

/* Frames that cursor and characters stay on, and off. */
#define CURSOR_BLINK_FRAMES    16
#define CHARACTER_BLINK_FRAMES 32 /* so both repeat after four times the shorter one */

#define ATTRIBUTE_BLINK      0x80
#define ATTRIBUTE_FONT_A     0x08
#define ATTRIBUTE_UNDERLINED 0x01 /* foreground 1 on background 0, whatever the intensity */
#define ATTRIBUTE_COLORS     0x77

#define BAND_LINES (2 * VGA_GLYPH_ROWS)

/* What the registers say about text in this refresh. */
struct text {
    struct vga_fetch fetch;
    u32 cursor_at; /* address counter; UINT32_MAX: none to be seen */
    u32 cursor_bits;
    u32 cursor_first, cursor_last;
    u32 underline;
    bool blink; /* attribute bit 7 blinks */
    bool dark;  /* now in the dark half */
    bool line_graphics;
};

struct band {
    u32 y, lines;
    u32 base, pan;
    u8 rows[BAND_LINES]; /* glyph row of each line */
};

static struct text text_of(const struct vga *v)
{
    u64 frames = vga_frames(v);
    u8 start = v->crtc[CRTC_CURSOR_START], end = v->crtc[CRTC_CURSOR_END];
    struct text t = {
        .fetch = vga_fetch(v),
        .cursor_at = UINT32_MAX,
        .cursor_first = start & 31,
        .cursor_last = end & 31,
        .underline = v->crtc[CRTC_UNDERLINE] & 31,
        .blink = v->attr[ATTR_MODE] & ATTR_MODE_BLINK,
        .dark = frames / CHARACTER_BLINK_FRAMES & 1,
        .line_graphics = v->attr[ATTR_MODE] & ATTR_MODE_LINE_GRAPHICS,
    };
    t.cursor_bits = CELL_CURSOR | (t.cursor_first | t.cursor_last << 5) << CELL_CURSOR_SHIFT;
    bool on = !(start & CURSOR_OFF) && t.cursor_first <= t.cursor_last;
    if (on && !(frames / CURSOR_BLINK_FRAMES & 1)) {
        u32 skew = end >> 5 & 3;
        t.cursor_at = ((u32)(v->crtc[CRTC_CURSOR_HIGH] << 8 | v->crtc[CRTC_CURSOR_LOW]) + skew) &
                      (VGA_GROUPS - 1);
    }
    return t;
}

/* Takes the lines of the next band off the walk. */
static struct band next_band(struct vga_scan *scan, u32 height)
{
    struct band b = {.y = scan->y, .base = scan->base, .pan = scan->pan};
    do {
        b.rows[b.lines++] = (u8)scan->row;
        vga_scan_next(scan);
    } while (!scan->row_start && scan->y < height && b.lines < BAND_LINES);
    return b;
}

/* All about a band that changes what its cells look like. */
static u32 band_key(const struct band *b)
{
    bool doubled = b->lines > 1 && b->rows[0] == b->rows[1];
    return b->rows[0] | (u32)doubled << 5 | b->lines << 6 | b->pan << 13 | b->y << 17;
}

static u32 fetch_cell(const struct vga *v, const struct text *t, const struct band *b, u32 column)
{
    u32 ma = (b->base + (column >> t->fetch.count_shift)) & (VGA_GROUPS - 1);
    u32 offset = vga_fetch_offset(&t->fetch, ma, b->rows[0]);
    u32 cell = load32(v->vram + (size_t)vga_group(v, offset) * VGA_GROUP_BYTES) & 0xffff;
    if (t->blink && t->dark && CELL_ATTRIBUTE(cell) & ATTRIBUTE_BLINK)
        cell |= CELL_HIDDEN;
    if (ma == t->cursor_at)
        cell |= t->cursor_bits;
    return cell;
}

/* ---- glyphs ---- */

/* Byte offset in plane 2 of font 0..7: fonts 4..7 lie between the others. */
static u32 font_offset(unsigned font)
{
    return (font & 3) * 2 * VGA_FONT_BYTES + (font & 4 ? VGA_FONT_BYTES : 0);
}

static bool load_font(const struct vga *v, u8 *copy, unsigned font)
{
    u32 base = font_offset(font);
    bool changed = false;
    for (u32 i = 0; i < VGA_FONT_BYTES; i++) {
        u8 byte = v->vram[vga_group(v, base + i) * VGA_GROUP_BYTES + 2];
        changed |= byte != copy[i];
        copy[i] = byte;
    }
    return changed;
}

/* Copies the selected fonts out of plane 2; true when a glyph changed. */
static bool load_fonts(struct vga *v)
{
    u8 map = v->seq[SEQ_CHAR_MAP];
    unsigned b = (map & 3u) | (map >> 2 & 4u), a = (map >> 2 & 3u) | (map >> 3 & 4u);
    if (!(v->seq[SEQ_MEMORY_MODE] & MEMORY_EXTENDED))
        a = b = 0;
    bool changed = load_font(v, v->screen.font[0], b);
    return load_font(v, v->screen.font[1], a) || changed;
}

/* The dots of one row of a cell, leftmost in bit cell_width-1. */
static u32 row_dots(const struct vga *v, const struct text *t, u32 word, u32 row)
{
    u32 character = CELL_CHARACTER(word), attribute = CELL_ATTRIBUTE(word);
    bool wide = v->screen.shape.cell_width == 9;
    u32 all = wide ? 0x1ff : 0xff;
    if (word & CELL_CURSOR && row >= t->cursor_first && row <= t->cursor_last)
        return all;
    if (word & CELL_HIDDEN)
        return 0;
    if (row == t->underline && (attribute & ATTRIBUTE_COLORS) == ATTRIBUTE_UNDERLINED)
        return all;
    const u8 *font = v->screen.font[attribute & ATTRIBUTE_FONT_A ? 1 : 0];
    u32 dots = font[character * VGA_GLYPH_ROWS + row];
    if (!wide)
        return dots;
    /* The ninth dot continues the eighth in the line drawing characters C0h-DFh. */
    bool joins = t->line_graphics && (character & 0xe0) == 0xc0;
    return dots << 1 | (joins ? dots & 1 : 0);
}

static void draw_row(u32 *out, u32 dots, u32 width, u32 dot_width, u32 fg, u32 bg)
{
    for (u32 i = width; i-- > 0;) {
        for (u32 n = 0; n < dot_width; n++)
            *out++ = dots >> i & 1 ? fg : bg;
    }
}

/* The same for a whole cell of single dots: the common case, in a form that becomes vector code. */
static void draw_whole_row(u32 *out, u32 dots, bool wide, u32 fg, u32 bg)
{
    static const u32 bit[8] = {0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01};
    if (wide) {
        out[8] = dots & 1 ? fg : bg;
        dots >>= 1;
    }
    for (unsigned i = 0; i < ARRAY_LEN(bit); i++)
        out[i] = dots & bit[i] ? fg : bg;
}

/* Draws a cell whose left edge is at dot `x` of the line, which may lie outside on both sides. */
static void draw_cell(struct vga *v, const struct text *t, const struct band *b, i32 x, u32 word)
{
    const struct vga_screen *sc = &v->screen;
    const struct vga_shape *s = &sc->shape;
    u32 attribute = CELL_ATTRIBUTE(word);
    u32 fg = sc->color16[attribute & 15];
    u32 bg = sc->color16[attribute >> 4 & (t->blink ? 7 : 15)];
    i32 line = (i32)(s->columns * s->cell_width);
    u32 cut_left = x < 0 ? (u32)-x : 0;
    u32 cut_right = x + (i32)s->cell_width > line ? (u32)(x + (i32)s->cell_width - line) : 0;
    if (cut_left + cut_right >= s->cell_width)
        return;
    u32 width = s->cell_width - cut_left - cut_right;
    u32 left = (x < 0 ? 0 : (u32)x) * s->dot_width;
    bool whole = width == s->cell_width && s->dot_width == 1;
    for (u32 i = 0; i < b->lines; i++) {
        u32 dots = row_dots(v, t, word, b->rows[i]) >> cut_right;
        u32 *out = vga_screen_row(v, b->y + i) + left;
        if (whole)
            draw_whole_row(out, dots, width == 9, fg, bg);
        else
            draw_row(out, dots, width, s->dot_width, fg, bg);
    }
}

static void draw_band(struct vga *v, const struct text *t, const struct band *b, u32 *shown,
                      bool redraw)
{
    const struct vga_shape *s = &v->screen.shape;
    u32 cells = s->columns + (b->pan ? 1 : 0);
    u32 first = cells, last = 0;
    for (u32 column = 0; column < cells; column++) {
        u32 word = fetch_cell(v, t, b, column);
        if (!redraw && word == shown[column])
            continue;
        shown[column] = word;
        draw_cell(v, t, b, (i32)(column * s->cell_width) - (i32)b->pan, word);
        first = column < first ? column : first;
        last = column;
    }
    if (first == cells)
        return;
    u32 step = s->cell_width * s->dot_width;
    u32 left = first ? first * step - b->pan * s->dot_width : 0;
    u32 right = (last + 1) * step < s->width ? (last + 1) * step : s->width;
    vga_screen_dirty(v, left, b->y, right - left, b->lines);
}

bool vga_text_blinked(struct vga *v)
{
    u32 phase = (u32)(vga_frames(v) / CURSOR_BLINK_FRAMES) % 4;
    bool changed = phase != v->screen.blink_phase;
    v->screen.blink_phase = phase;
    return changed;
}

void vga_text_refresh(struct vga *v, bool memory_changed)
{
    struct vga_screen *sc = &v->screen;
    bool redraw = sc->redraw;
    if ((memory_changed || redraw) && load_fonts(v))
        redraw = true;
    struct text t = text_of(v);
    struct vga_scan scan;
    vga_scan_start(v, &sc->shape, &scan);
    for (u32 n = 0; scan.y < sc->shape.height; n++) {
        struct band b = next_band(&scan, sc->shape.height);
        u32 key = band_key(&b);
        draw_band(v, &t, &b, sc->cache + (size_t)n * vga_cache_stride(&sc->shape),
                  redraw || key != sc->band[n]);
        sc->band[n] = key;
    }
}

/* ---- as characters ---- */

size_t vga_text(void *opaque, char *buf, size_t n)
{
    struct vga *v = opaque;
    struct vga_shape s = vga_screen_shape(v);
    size_t length = 0;
    if (n)
        buf[0] = 0;
    if (s.kind != VGA_KIND_TEXT || !n)
        return 0;
    struct text t = text_of(v);
    struct vga_scan scan;
    vga_scan_start(v, &s, &scan);
    while (scan.y < s.height && length + s.columns + 2 <= n) {
        struct band b = next_band(&scan, s.height);
        for (u32 column = 0; column < s.columns; column++) {
            u8 c = CELL_CHARACTER(fetch_cell(v, &t, &b, column));
            buf[length++] = c ? (char)c : ' ';
        }
        buf[length++] = '\n';
    }
    buf[length] = 0;
    return length;
}
