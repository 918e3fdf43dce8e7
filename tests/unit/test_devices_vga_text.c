/* SPDX-License-Identifier: MIT
 *
 * Text modes: what each pixel of the picture must be, computed from characters, attributes and
 * glyphs in the plainest way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vga_rig.h"

#define TEXT       0xb8000u
#define FRAME_NS   (NS_PER_SEC * 900 * 449 / 28322000)
#define GLYPH_ROWS 32

/* A made-up glyph: no two characters or rows alike nearby. */
static u8 glyph(unsigned font, unsigned character, unsigned row)
{
    return (u8)((character * 37 + row * 101 + font * 59) ^ (character >> 3));
}

static void load_font(struct vga_rig *r, unsigned font, u32 offset)
{
    set_seq(r, 2, 4);
    set_seq(r, 4, 6);
    set_gc(r, 5, 0);
    set_gc(r, 6, 4);
    for (unsigned i = 0; i < 256 * GLYPH_ROWS; i++)
        poke(r, 0xa0000 + offset + i, glyph(font, i / GLYPH_ROWS, i % GLYPH_ROWS));
    set_seq(r, 2, 3);
    set_seq(r, 4, 2);
    set_gc(r, 5, 0x10);
    set_gc(r, 6, 0x0e);
}

static struct vga_rig *rig_in(const struct vga_mode *mode)
{
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, mode);
    set_crtc(r, 0x0a, 0x20); /* no cursor unless a test wants one */
    load_font(r, 0, 0);
    return r;
}

static void put(struct vga_rig *r, unsigned cell, u8 character, u8 attribute)
{
    physmem_io_write(r->rig.pm, TEXT + cell * 2, (u32)attribute << 8 | character, 2);
}

static u32 color(unsigned index)
{
    return dac_rgb(mode_03.attr[index]);
}

static void assert_pixel(const struct vga_rig *r, unsigned x, unsigned y, u32 expected)
{
    if (pixel(r, x, y) != expected)
        fail_msg("pixel %u,%u is %06x, not %06x", x, y, pixel(r, x, y), expected);
}

/* The dot of a 9-dot cell without cursor, underline or blinking. */
static bool dot(unsigned font, u8 character, unsigned row, unsigned x)
{
    if (x == 8)
        return (character & 0xe0) == 0xc0 && glyph(font, character, row) & 1;
    return glyph(font, character, row) >> (7 - x) & 1;
}

static void assert_cell(const struct vga_rig *r, unsigned column, unsigned line, u8 character,
                        u8 attribute)
{
    for (unsigned y = 0; y < 16; y++) {
        for (unsigned x = 0; x < 9; x++) {
            bool on = dot(0, character, y, x);
            assert_pixel(r, column * 9 + x, line * 16 + y,
                         color(on ? attribute & 15 : attribute >> 4 & 7));
        }
    }
}

static void vga_text_shows_every_character_with_its_attribute(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    for (unsigned i = 0; i < 2000; i++)
        put(r, i, (u8)i, (u8)(i * 7 & 0x7f));
    refresh(r);
    assert_int_equal(r->picture->width, 720);
    assert_int_equal(r->picture->height, 400);
    for (unsigned i = 0; i < 2000; i++)
        assert_cell(r, i % 80, i / 80, (u8)i, (u8)(i * 7 & 0x7f));
    /* Guards against a change of this test and the code together. */
    assert_int_equal(picture_hash(r), 0x5a074efe6b1f9ade);
    vga_rig_destroy(r);
}

static void vga_text_redraws_only_what_changed(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    refresh(r);
    assert_int_equal(r->dirty.w, 720);
    refresh(r);
    assert_int_equal(r->dirty.w, 0);
    put(r, 5 * 80 + 10, 'A', 7);
    put(r, 5 * 80 + 12, 'B', 7);
    refresh(r);
    assert_int_equal(r->dirty.x, 90);
    assert_int_equal(r->dirty.y, 80);
    assert_int_equal(r->dirty.w, 27);
    assert_int_equal(r->dirty.h, 16);
    refresh(r);
    assert_int_equal(r->dirty.w, 0);
    vga_rig_destroy(r);
}

static void vga_text_glyph_change_shows(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 'A', 7);
    refresh(r);
    load_font(r, 3, 0);
    refresh(r);
    assert_int_not_equal(r->dirty.w, 0);
    for (unsigned x = 0; x < 8; x++)
        assert_pixel(r, x, 2, color(glyph(3, 'A', 2) >> (7 - x) & 1 ? 7 : 0));
    vga_rig_destroy(r);
}

static void vga_text_attribute_bit_3_selects_font_a(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    load_font(r, 1, 0x6000); /* the fourth of the eight places: font 5 */
    set_seq(r, 3, 0x24);     /* A is 5, B is 0 */
    put(r, 0, 'Q', 0x07);
    put(r, 1, 'Q', 0x0f);
    refresh(r);
    for (unsigned x = 0; x < 8; x++) {
        assert_pixel(r, x, 3, color(glyph(0, 'Q', 3) >> (7 - x) & 1 ? 7 : 0));
        assert_pixel(r, 9 + x, 3, color(glyph(1, 'Q', 3) >> (7 - x) & 1 ? 15 : 0));
    }
    vga_rig_destroy(r);
}

static void vga_text_cursor_covers_its_rows_and_blinks(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    set_crtc(r, 0x0a, 13);
    set_crtc(r, 0x0b, 14);
    set_crtc(r, 0x0e, 0);
    set_crtc(r, 0x0f, 81);
    put(r, 81, ' ', 0x1e);
    refresh(r);
    for (unsigned x = 9; x < 18; x++) {
        assert_pixel(r, x, 16 + 13, color(14));
        assert_pixel(r, x, 16 + 14, color(14));
    }
    assert_pixel(r, 9, 16 + 15, color(glyph(0, ' ', 15) >> 7 ? 14 : 1));
    clock_step(r->rig.clock, 17 * FRAME_NS);
    refresh(r);
    assert_int_equal(r->dirty.w, 9);
    assert_cell(r, 1, 1, ' ', 0x1e);
    clock_step(r->rig.clock, 16 * FRAME_NS);
    refresh(r);
    assert_pixel(r, 17, 16 + 13, color(14));
    set_crtc(r, 0x0a, 0x2d);
    refresh(r);
    assert_cell(r, 1, 1, ' ', 0x1e);
    vga_rig_destroy(r);
}

static void vga_text_cursor_is_gone_when_it_starts_below_its_end(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    set_crtc(r, 0x0a, 14);
    set_crtc(r, 0x0b, 13);
    put(r, 0, 'x', 0x1e);
    refresh(r);
    assert_cell(r, 0, 0, 'x', 0x1e);
    vga_rig_destroy(r);
}

static void vga_text_attribute_bit_7_blinks_or_brightens(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 'Z', 0x9e);
    refresh(r);
    assert_cell(r, 0, 0, 'Z', 0x1e);
    clock_step(r->rig.clock, 33 * FRAME_NS);
    refresh(r);
    for (unsigned x = 0; x < 9; x++)
        assert_pixel(r, x, 4, color(1));
    set_attr(r, 0x10, 0x04); /* no blinking: sixteen backgrounds */
    refresh(r);
    for (unsigned x = 0; x < 9; x++)
        assert_pixel(r, x, 4, color(dot(0, 'Z', 4, x) ? 14 : 9));
    vga_rig_destroy(r);
}

static void vga_text_underlines_attribute_1(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    set_crtc(r, 0x14, 12);
    put(r, 0, 'u', 0x01);
    put(r, 1, 'u', 0x09);
    put(r, 2, 'u', 0x02);
    refresh(r);
    for (unsigned x = 0; x < 9; x++) {
        assert_pixel(r, x, 12, color(1));
        assert_pixel(r, 9 + x, 12, color(9));
        assert_pixel(r, 18 + x, 12, color(dot(0, 'u', 12, x) ? 2 : 0));
    }
    vga_rig_destroy(r);
}

static void vga_text_ninth_dot_joins_line_graphics_only_on_request(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 0xc4, 7);
    unsigned row = 0;
    while (!(glyph(0, 0xc4, row) & 1))
        row++;
    refresh(r);
    assert_pixel(r, 8, row, color(7));
    set_attr(r, 0x10, 0x08);
    refresh(r);
    assert_pixel(r, 8, row, color(0));
    vga_rig_destroy(r);
}

static void vga_text_of_40_columns_doubles_its_dots(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_01);
    put(r, 41, 'M', 0x2f);
    refresh(r);
    assert_int_equal(r->picture->width, 720);
    for (unsigned x = 0; x < 18; x++)
        assert_pixel(r, 18 + x, 16 + 5, color(dot(0, 'M', 5, x / 2) ? 15 : 2));
    vga_rig_destroy(r);
}

static void vga_text_of_8_dots_and_132_columns(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    set_seq(r, 1, 1);
    set_crtc(r, 0x11, 0);
    set_crtc(r, 1, 131);
    set_crtc(r, 0x13, 66);
    put(r, 132 + 131, 'W', 0x07);
    refresh(r);
    assert_int_equal(r->picture->width, 1056);
    for (unsigned x = 0; x < 8; x++)
        assert_pixel(r, 131 * 8 + x, 16 + 1, color(glyph(0, 'W', 1) >> (7 - x) & 1 ? 7 : 0));
    vga_rig_destroy(r);
}

static void vga_text_of_50_lines_has_8_row_characters(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    set_crtc(r, 9, 0x47);
    put(r, 49 * 80, '5', 0x07);
    refresh(r);
    assert_int_equal(r->picture->height, 400);
    for (unsigned y = 0; y < 8; y++)
        assert_pixel(r, 3, 392 + y, color(dot(0, '5', y, 3) ? 7 : 0));
    vga_rig_destroy(r);
}

static void vga_text_scrolls_by_start_address(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 240, 'S', 0x07);
    set_crtc(r, 0x0d, 160);
    refresh(r);
    assert_cell(r, 0, 1, 'S', 0x07);
    vga_rig_destroy(r);
}

static void vga_text_scrolls_smoothly_by_row_scan_and_panning(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 'a', 0x07);
    put(r, 1, 'b', 0x17);
    put(r, 81, 'c', 0x07);
    set_crtc(r, 8, 5);
    set_attr(r, 0x13, 2); /* three dots to the left */
    refresh(r);
    for (unsigned x = 0; x < 6; x++)
        assert_pixel(r, x, 0, color(dot(0, 'a', 5, x + 3) ? 7 : 0));
    for (unsigned x = 0; x < 9; x++) {
        assert_pixel(r, 6 + x, 10, color(dot(0, 'b', 15, x) ? 7 : 1));
        assert_pixel(r, 6 + x, 11, color(dot(0, 'c', 0, x) ? 7 : 0));
    }
    vga_rig_destroy(r);
}

static void vga_text_split_screen_starts_at_address_0_unpanned(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 'T', 0x07); /* the fixed part */
    put(r, 1000, 'S', 0x07);
    set_crtc(r, 0x0c, 1000 >> 8);
    set_crtc(r, 0x0d, 1000 & 255);
    set_crtc(r, 7, mode_03.crtc[7] & ~0x10); /* line compare 195 */
    set_crtc(r, 9, 0x0f);
    set_crtc(r, 0x18, 195);
    set_attr(r, 0x10, 0x2c);
    set_attr(r, 0x13, 0);
    refresh(r);
    for (unsigned x = 0; x < 8; x++)
        assert_pixel(r, x, 7, color(dot(0, 'S', 7, x + 1) ? 7 : 0));
    for (unsigned y = 0; y < 16; y++) {
        for (unsigned x = 0; x < 9; x++)
            assert_pixel(r, x, 196 + y, color(dot(0, 'T', y, x) ? 7 : 0));
    }
    vga_rig_destroy(r);
}

static void vga_text_is_given_as_characters(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    for (unsigned i = 0; i < 2000; i++)
        put(r, i, i == 81 ? 0 : (u8)('!' + i % 90), 7);
    char buf[4096];
    size_t n = r->display.text(r->display.opaque, buf, sizeof buf);
    assert_int_equal(n, 81 * 25);
    assert_int_equal(strlen(buf), n);
    assert_int_equal(buf[80], '\n');
    assert_int_equal(buf[81 + 0], '!' + 80);
    assert_int_equal(buf[81 + 1], ' ');
    assert_int_equal(r->display.text(r->display.opaque, buf, 100), 81); /* whole lines only */
    set_mode(r, &mode_13);
    assert_int_equal(r->display.text(r->display.opaque, buf, sizeof buf), 0);
    vga_rig_destroy(r);
}

static void vga_screen_is_dark_without_palette_source(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    put(r, 0, 0xdb, 0x77);
    refresh(r);
    assert_pixel(r, 0, 0, color(7));
    in8(r, 0x3da);
    out8(r, 0x3c0, 0);
    refresh(r);
    assert_int_equal(r->picture->width, 720);
    assert_pixel(r, 0, 0, 0);
    out8(r, 0x3c0, 0);
    out8(r, 0x3c0, 0x20);
    refresh(r);
    assert_pixel(r, 0, 0, color(7));
    set_seq(r, 1, 0x20);
    refresh(r);
    assert_pixel(r, 0, 0, 0);
    vga_rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vga_text_shows_every_character_with_its_attribute),
        cmocka_unit_test(vga_text_redraws_only_what_changed),
        cmocka_unit_test(vga_text_glyph_change_shows),
        cmocka_unit_test(vga_text_attribute_bit_3_selects_font_a),
        cmocka_unit_test(vga_text_cursor_covers_its_rows_and_blinks),
        cmocka_unit_test(vga_text_cursor_is_gone_when_it_starts_below_its_end),
        cmocka_unit_test(vga_text_attribute_bit_7_blinks_or_brightens),
        cmocka_unit_test(vga_text_underlines_attribute_1),
        cmocka_unit_test(vga_text_ninth_dot_joins_line_graphics_only_on_request),
        cmocka_unit_test(vga_text_of_40_columns_doubles_its_dots),
        cmocka_unit_test(vga_text_of_8_dots_and_132_columns),
        cmocka_unit_test(vga_text_of_50_lines_has_8_row_characters),
        cmocka_unit_test(vga_text_scrolls_by_start_address),
        cmocka_unit_test(vga_text_scrolls_smoothly_by_row_scan_and_panning),
        cmocka_unit_test(vga_text_split_screen_starts_at_address_0_unpanned),
        cmocka_unit_test(vga_text_is_given_as_characters),
        cmocka_unit_test(vga_screen_is_dark_without_palette_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
