/* SPDX-License-Identifier: MIT
 *
 * Graphics modes: pixels set through the window, and where they show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vga_rig.h"

#define WINDOW 0xa0000u

static struct vga_rig *rig_in(const struct vga_mode *mode)
{
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, mode);
    return r;
}

static void assert_pixel(const struct vga_rig *r, unsigned x, unsigned y, u32 expected)
{
    if (pixel(r, x, y) != expected)
        fail_msg("pixel %u,%u is %06x, not %06x", x, y, pixel(r, x, y), expected);
}

/* The size of a picture and of its pixels in it. */
static void assert_scaled(const struct vga_rig *r, unsigned width, unsigned height)
{
    assert_int_equal(r->picture->width, width);
    assert_int_equal(r->picture->height, height);
}

static u8 pattern(unsigned x, unsigned y)
{
    return (u8)(x * 3 + y * 41);
}

static void vga_mode_13h_is_bytes_shown_as_2_by_2_dots(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    for (unsigned y = 0; y < 200; y++) {
        for (unsigned x = 0; x < 320; x++)
            poke(r, WINDOW + y * 320 + x, pattern(x, y));
    }
    refresh(r);
    assert_scaled(r, 640, 400);
    for (unsigned y = 0; y < 400; y++) {
        for (unsigned x = 0; x < 640; x++)
            assert_pixel(r, x, y, dac_rgb(pattern(x / 2, y / 2)));
    }
    vga_rig_destroy(r);
}

static void vga_mode_13h_shows_writes_to_the_memory_behind_it(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    for (unsigned i = 0; i < 64000; i += 4)
        physmem_io_write(r->rig.pm, WINDOW + i, 0, 4);
    assert_int_equal(physmem_lookup(r->rig.pm, WINDOW).kind, PHYS_RAM);
    refresh(r);
    refresh(r);
    refresh(r);
    assert_int_equal(r->dirty.w, 0);
    poke(r, WINDOW + 100 * 320 + 7, 99);
    refresh(r);
    assert_int_equal(r->dirty.y, 200);
    assert_int_equal(r->dirty.h, 2);
    assert_pixel(r, 15, 201, dac_rgb(99));
    vga_rig_destroy(r);
}

static void vga_mode_x_has_4_pages_and_square_pixels(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_x);
    for (unsigned plane = 0; plane < 4; plane++) {
        set_seq(r, 2, (u8)(1 << plane));
        for (unsigned y = 0; y < 240; y++) {
            for (unsigned x = plane; x < 320; x += 4)
                poke(r, WINDOW + 19200 + y * 80 + x / 4, pattern(x, y));
        }
    }
    set_crtc(r, 0x0c, 19200 >> 8);
    set_crtc(r, 0x0d, 19200 & 255);
    refresh(r);
    assert_scaled(r, 640, 480);
    for (unsigned y = 0; y < 480; y++) {
        for (unsigned x = 0; x < 640; x++)
            assert_pixel(r, x, y, dac_rgb(pattern(x / 2, y / 2)));
    }
    vga_rig_destroy(r);
}

static void vga_mode_x_pans_by_single_pixels(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_x);
    for (unsigned x = 0; x < 328; x++) {
        set_seq(r, 2, (u8)(1 << x % 4));
        poke(r, WINDOW + x / 4, (u8)(x + 1));
    }
    set_attr(r, 0x13, 6); /* three pixels */
    refresh(r);
    for (unsigned x = 0; x < 640; x++)
        assert_pixel(r, x, 0, dac_rgb((u8)(x / 2 + 4)));
    vga_rig_destroy(r);
}

static void vga_chained_picture_survives_unchaining(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    for (unsigned i = 0; i < 64000; i++)
        poke(r, WINDOW + i, (u8)(i / 320 + i));
    refresh(r);
    u64 before = picture_hash(r);
    set_seq(r, 4, 6); /* the CRTC still fetches double words */
    refresh(r);
    assert_int_equal(picture_hash(r), before);
    vga_rig_destroy(r);
}

static void vga_planar_pixels_take_a_bit_of_each_plane(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    set_gc(r, 5, 2); /* colors by write mode 2 */
    for (unsigned y = 0; y < 480; y += 7) {
        for (unsigned x = 0; x < 640; x++) {
            set_gc(r, 8, (u8)(0x80 >> x % 8));
            peek(r, WINDOW + y * 80 + x / 8);
            poke(r, WINDOW + y * 80 + x / 8, pattern(x, y) & 15);
        }
    }
    refresh(r);
    assert_scaled(r, 640, 480);
    for (unsigned y = 0; y < 480; y++) {
        for (unsigned x = 0; x < 640; x++)
            assert_pixel(r, x, y, dac_rgb(y % 7 ? 0 : pattern(x, y) & 15));
    }
    vga_rig_destroy(r);
}

static void vga_planar_line_is_redrawn_alone(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    refresh(r);
    refresh(r);
    poke(r, WINDOW + 33 * 80 + 4, 0xff);
    refresh(r);
    assert_int_equal(r->dirty.y, 33);
    assert_int_equal(r->dirty.h, 1);
    assert_pixel(r, 32, 33, dac_rgb(15));
    vga_rig_destroy(r);
}

static void vga_mode_0dh_doubles_dots_and_lines(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_0d);
    set_seq(r, 2, 2);
    poke(r, WINDOW + 5 * 40 + 3, 0x81);
    refresh(r);
    assert_scaled(r, 640, 400);
    for (unsigned x = 0; x < 640; x++) {
        bool on = x / 2 == 24 || x / 2 == 31;
        assert_pixel(r, x, 9, dac_rgb(0));
        assert_pixel(r, x, 10, dac_rgb(on ? 2 : 0));
        assert_pixel(r, x, 11, dac_rgb(on ? 2 : 0));
    }
    vga_rig_destroy(r);
}

static void vga_mode_4_is_two_banks_of_2_bit_pixels(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_04);
    for (unsigned y = 0; y < 200; y++) {
        for (unsigned byte = 0; byte < 80; byte++)
            poke(r, 0xb8000 + (y & 1) * 0x2000 + y / 2 * 80 + byte, pattern(byte, y));
    }
    refresh(r);
    assert_scaled(r, 640, 400);
    for (unsigned y = 0; y < 400; y++) {
        for (unsigned x = 0; x < 640; x++) {
            unsigned px = x / 2;
            assert_pixel(r, x, y, dac_rgb(pattern(px / 4, y / 2) >> (6 - px % 4 * 2) & 3));
        }
    }
    vga_rig_destroy(r);
}

static void vga_mode_6_is_two_banks_of_1_bit_pixels(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_06);
    for (unsigned y = 0; y < 200; y++) {
        for (unsigned byte = 0; byte < 80; byte++)
            poke(r, 0xb8000 + (y & 1) * 0x2000 + y / 2 * 80 + byte, pattern(byte, y));
    }
    refresh(r);
    for (unsigned y = 0; y < 400; y++) {
        for (unsigned x = 0; x < 640; x++)
            assert_pixel(r, x, y, dac_rgb(pattern(x / 8, y / 2) >> (7 - x % 8) & 1));
    }
    vga_rig_destroy(r);
}

static void vga_split_screen_shows_address_0_below_line_compare(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_x);
    set_seq(r, 2, 15);
    for (unsigned i = 0; i < 80; i++) {
        poke(r, WINDOW + i, 11);
        poke(r, WINDOW + 19200 + i, 22);
    }
    set_crtc(r, 0x0c, 19200 >> 8);
    set_crtc(r, 0x0d, 19200 & 255);
    set_crtc(r, 7, mode_x.crtc[7] & ~0x10);
    set_crtc(r, 9, mode_x.crtc[9] & ~0x40);
    set_crtc(r, 0x18, 99);
    set_attr(r, 0x13, 4);
    refresh(r);
    assert_pixel(r, 0, 0, dac_rgb(22));
    assert_pixel(r, 639, 1, dac_rgb(0)); /* panned: the next line's first pixels */
    assert_pixel(r, 0, 99, dac_rgb(0));
    assert_pixel(r, 0, 100, dac_rgb(11));
    assert_pixel(r, 639, 101, dac_rgb(0)); /* pans along */
    set_attr(r, 0x10, 0x61);
    refresh(r);
    assert_pixel(r, 639, 101, dac_rgb(11)); /* pans no more */
    assert_pixel(r, 639, 1, dac_rgb(0));
    vga_rig_destroy(r);
}

static void vga_dac_change_recolors_the_picture(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    poke(r, WINDOW, 5);
    refresh(r);
    set_dac(r, 5, 63, 0, 1);
    refresh(r);
    assert_pixel(r, 0, 0, 0xff0004);
    out8(r, 0x3c6, 0xfa); /* the mask takes bits 2 and 0 away */
    refresh(r);
    assert_pixel(r, 0, 0, dac_rgb(0));
    vga_rig_destroy(r);
}

static void vga_color_select_extends_16_colors(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    poke(r, WINDOW, 0xff);
    set_attr(r, 0x0f, 0x2f);
    set_attr(r, 0x14, 0x0d);
    refresh(r);
    assert_pixel(r, 0, 0, dac_rgb(0xef)); /* bits 7..6 of the register, 5..0 of the palette */
    set_attr(r, 0x10, 0x81);
    refresh(r);
    assert_pixel(r, 0, 0, dac_rgb(0xdf)); /* bits 5..4 of the register, too */
    set_attr(r, 0x12, 0x07);
    refresh(r);
    assert_pixel(r, 0, 0, dac_rgb(0xd7)); /* plane 3 hidden: entry 7 */
    vga_rig_destroy(r);
}

static void vga_state_survives_a_reload(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    for (unsigned i = 0; i < 64000; i++)
        poke(r, WINDOW + i, (u8)(i / 320 ^ i));
    refresh(r);
    u64 before = picture_hash(r);
    struct device d = vga_device(r->vga);
    d.ops->loaded(d.dev);
    refresh(r);
    assert_int_equal(r->dirty.h, 400);
    assert_int_equal(picture_hash(r), before);
    vga_rig_destroy(r);
}

/* Fills every saved field with FFh, as a damaged snapshot would; booleans with 1. */
static void damage(struct device d)
{
    static const u8 width[] = {[STATE_BOOL] = 1, [STATE_U8] = 1,  [STATE_U16] = 2,  [STATE_U32] = 4,
                               [STATE_U64] = 8,  [STATE_I64] = 8, [STATE_BYTES] = 1};
    for (const struct state_field *f = d.ops->state; f->name; f++) {
        int fill = f->type == STATE_BOOL ? 1 : 0xff;
        memset((u8 *)d.dev + f->offset, fill, (size_t)f->count * width[f->type]);
    }
}

static void vga_damaged_snapshot_is_brought_into_range(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(KIB(256));
    struct device d = vga_device(r->vga);
    damage(d);
    d.ops->loaded(d.dev);
    refresh(r);
    for (u8 index = 0; index < 9; index++) {
        set_gc(r, index, 0xff);
        peek(r, WINDOW);
        poke(r, WINDOW, 1);
    }
    vbe_set(r, 4, 0); /* out of the VBE mode that it came up in */
    refresh(r);
    assert_non_null(r->picture->pixels);
    for (unsigned i = 0; i < 6; i++) {
        out8(r, 0x3c9, 0xff);
        in8(r, 0x3c9);
    }
    vga_rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vga_mode_13h_is_bytes_shown_as_2_by_2_dots),
        cmocka_unit_test(vga_mode_13h_shows_writes_to_the_memory_behind_it),
        cmocka_unit_test(vga_mode_x_has_4_pages_and_square_pixels),
        cmocka_unit_test(vga_mode_x_pans_by_single_pixels),
        cmocka_unit_test(vga_chained_picture_survives_unchaining),
        cmocka_unit_test(vga_planar_pixels_take_a_bit_of_each_plane),
        cmocka_unit_test(vga_planar_line_is_redrawn_alone),
        cmocka_unit_test(vga_mode_0dh_doubles_dots_and_lines),
        cmocka_unit_test(vga_mode_4_is_two_banks_of_2_bit_pixels),
        cmocka_unit_test(vga_mode_6_is_two_banks_of_1_bit_pixels),
        cmocka_unit_test(vga_split_screen_shows_address_0_below_line_compare),
        cmocka_unit_test(vga_dac_change_recolors_the_picture),
        cmocka_unit_test(vga_color_select_extends_16_colors),
        cmocka_unit_test(vga_state_survives_a_reload),
        cmocka_unit_test(vga_damaged_snapshot_is_brought_into_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
