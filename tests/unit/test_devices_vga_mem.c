/* SPDX-License-Identifier: MIT
 *
 * The window at A0000h: write and read modes, latches, masks, memory maps, chains, and the memory
 * that replaces it.
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

/* Plane `plane` at plane offset `offset`, read as a CPU would with read mode 0. */
static u8 plane_byte(struct vga_rig *r, unsigned plane, u32 offset)
{
    set_gc(r, 5, 0);
    set_gc(r, 4, (u8)plane);
    return peek(r, WINDOW + offset);
}

static void assert_planes(struct vga_rig *r, u32 offset, u8 p0, u8 p1, u8 p2, u8 p3)
{
    assert_int_equal(plane_byte(r, 0, offset), p0);
    assert_int_equal(plane_byte(r, 1, offset), p1);
    assert_int_equal(plane_byte(r, 2, offset), p2);
    assert_int_equal(plane_byte(r, 3, offset), p3);
}

/* Gives the four planes at `offset` known bytes and loads them into the latches. */
static void prepare(struct vga_rig *r, u32 offset, u8 p0, u8 p1, u8 p2, u8 p3)
{
    u8 value[4] = {p0, p1, p2, p3};
    set_gc(r, 5, 0);
    for (unsigned p = 0; p < 4; p++) {
        set_seq(r, 2, (u8)(1 << p));
        poke(r, WINDOW + offset, value[p]);
    }
    set_seq(r, 2, 15);
    peek(r, WINDOW + offset);
}

static void vga_map_mask_selects_the_planes_that_are_written(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    set_seq(r, 2, 0x5);
    poke(r, WINDOW + 7, 0xc3);
    assert_planes(r, 7, 0xc3, 0, 0xc3, 0);
    vga_rig_destroy(r);
}

static void vga_write_mode_0_rotates_then_combines_then_masks(void **state)
{
    (void)state;
    static const struct {
        u8 rotate_function, result;
    } cases[] = {
        {0x00, 0x96}, /* copy */
        {0x03, 0xd2}, /* rotated right by 3: 10010110 -> 11010010 */
        {0x08, 0x96 & 0xaa}, {0x10, 0x96 | 0xaa}, {0x18, 0x96 ^ 0xaa}, {0x1b, 0xd2 ^ 0xaa},
    };
    struct vga_rig *r = rig_in(&mode_12);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        prepare(r, 0, 0xaa, 0xaa, 0xaa, 0xaa);
        set_gc(r, 3, cases[i].rotate_function);
        set_gc(r, 8, 0xf0);
        poke(r, WINDOW, 0x96);
        u8 result = (u8)((cases[i].result & 0xf0) | (0xaa & 0x0f));
        set_gc(r, 3, 0);
        set_gc(r, 8, 0xff);
        assert_planes(r, 0, result, result, result, result);
    }
    vga_rig_destroy(r);
}

static void vga_set_reset_replaces_the_byte_in_enabled_planes(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    set_gc(r, 0, 0x5); /* set planes 0 and 2 */
    set_gc(r, 1, 0x3); /* in planes 0 and 1 */
    poke(r, WINDOW + 1, 0x3c);
    set_gc(r, 1, 0);
    assert_planes(r, 1, 0xff, 0x00, 0x3c, 0x3c);
    vga_rig_destroy(r);
}

static void vga_write_mode_1_copies_the_latches(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    prepare(r, 10, 1, 2, 3, 4);
    set_gc(r, 5, 1);
    set_gc(r, 8, 0x0f); /* does not matter here */
    poke(r, WINDOW + 20, 0xff);
    set_gc(r, 8, 0xff);
    assert_planes(r, 20, 1, 2, 3, 4);
    vga_rig_destroy(r);
}

static void vga_write_mode_2_writes_a_color_through_the_bit_mask(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    prepare(r, 0, 0x0f, 0x0f, 0x0f, 0x0f);
    set_gc(r, 5, 2);
    set_gc(r, 8, 0x81);
    poke(r, WINDOW, 0xf6); /* color 6; the high nibble does not matter */
    set_gc(r, 8, 0xff);
    assert_planes(r, 0, 0x0e, 0x8f, 0x8f, 0x0e);
    vga_rig_destroy(r);
}

static void vga_write_mode_3_masks_by_the_rotated_byte(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    prepare(r, 0, 0x00, 0xff, 0x00, 0xff);
    set_gc(r, 5, 3);
    set_gc(r, 0, 0x3); /* the color; enable set/reset does not matter */
    set_gc(r, 1, 0x0);
    set_gc(r, 3, 4);
    set_gc(r, 8, 0xf3);
    poke(r, WINDOW, 0x5a); /* rotated: A5h, masked: A1h */
    set_gc(r, 3, 0);
    set_gc(r, 8, 0xff);
    assert_planes(r, 0, 0xa1, 0xff, 0x00, 0x5e);
    vga_rig_destroy(r);
}

static void vga_read_mode_1_finds_pixels_of_a_color(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    /* Pixels from the left: 0 1 2 3 4 5 6 7. */
    prepare(r, 0, 0x55, 0x33, 0x0f, 0x00);
    set_gc(r, 5, 8);
    set_gc(r, 2, 5);
    set_gc(r, 7, 15);
    assert_int_equal(peek(r, WINDOW), 0x04); /* pixel 5 */
    set_gc(r, 7, 1);                         /* only plane 0 matters: the odd ones */
    assert_int_equal(peek(r, WINDOW), 0x55);
    set_gc(r, 7, 0); /* nothing matters: all match */
    assert_int_equal(peek(r, WINDOW), 0xff);
    vga_rig_destroy(r);
}

static void vga_latches_hold_the_last_byte_read(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    prepare(r, 0, 1, 2, 3, 4);
    prepare(r, 1, 5, 6, 7, 8);
    physmem_io_read(r->rig.pm, WINDOW, 2); /* low byte first */
    for (u8 plane = 0; plane < 4; plane++) {
        set_gc(r, 4, plane);
        out8(r, 0x3d4, 0x22);
        assert_int_equal(in8(r, 0x3d5), 5 + plane);
    }
    vga_rig_destroy(r);
}

static void vga_peek_leaves_the_latches_alone(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    prepare(r, 1, 5, 6, 7, 8);
    prepare(r, 0, 1, 2, 3, 4);
    set_gc(r, 4, 2);
    assert_int_equal(vga_peek(r->vga, 1), 7);
    set_gc(r, 5, 1);
    poke(r, WINDOW + 9, 0);
    assert_planes(r, 9, 1, 2, 3, 4);
    vga_rig_destroy(r);
}

static void vga_odd_even_mode_interleaves_planes_0_and_1(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    physmem_io_write(r->rig.pm, 0xb8000, 0x1f421f41, 4);
    assert_int_equal(physmem_io_read(r->rig.pm, 0xb8000, 4), 0x1f421f41);
    /* Every second byte of the plane is used. */
    set_seq(r, 4, 6);
    set_gc(r, 6, 4);
    assert_planes(r, 0, 'A', 0x1f, 0, 0);
    assert_planes(r, 1, 0, 0, 0, 0);
    assert_planes(r, 2, 'B', 0x1f, 0, 0);
    vga_rig_destroy(r);
}

static void vga_page_bit_selects_the_other_byte_of_a_pair(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_03);
    out8(r, 0x3c2, 0x47);
    poke(r, 0xb8000, 'X');
    out8(r, 0x3c2, 0x67);
    assert_int_equal(peek(r, 0xb8000), 0);
    set_seq(r, 4, 6);
    set_gc(r, 6, 4);
    assert_planes(r, 1, 'X', 0, 0, 0);
    vga_rig_destroy(r);
}

static void vga_memory_maps_open_their_windows_only(void **state)
{
    (void)state;
    static const struct {
        u8 map;
        u32 first, last;
    } maps[] = {
        {0, 0xa0000, 0xbffff}, {1, 0xa0000, 0xaffff}, {2, 0xb0000, 0xb7fff}, {3, 0xb8000, 0xbffff}};
    struct vga_rig *r = rig_in(&mode_12);
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        set_gc(r, 6, (u8)(maps[i].map << 2 | 1));
        for (u32 pa = 0xa0000; pa < 0xc0000; pa += 0x8000) {
            bool open = pa >= maps[i].first && pa <= maps[i].last;
            poke(r, pa + 5, 0x77);
            assert_int_equal(peek(r, pa + 5), open ? 0x77 : 0xff);
        }
    }
    vga_rig_destroy(r);
}

static void vga_ram_enable_closes_the_window(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    poke(r, WINDOW, 0x12);
    out8(r, 0x3c2, mode_12.misc & ~2);
    assert_int_equal(peek(r, WINDOW), 0xff);
    poke(r, WINDOW, 0x34);
    out8(r, 0x3c2, mode_12.misc);
    assert_int_equal(peek(r, WINDOW), 0x12);
    vga_rig_destroy(r);
}

static void vga_chain_4_spreads_bytes_over_planes_at_every_fourth_offset(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    for (u32 i = 0; i < 8; i++)
        poke(r, WINDOW + 0x1230 + i, (u8)(0x10 + i));
    assert_int_equal(physmem_io_read(r->rig.pm, WINDOW + 0x1230, 8), 0x1716151413121110);
    set_seq(r, 4, 6); /* unchained, the hardware's layout shows */
    assert_planes(r, 0x1230, 0x10, 0x11, 0x12, 0x13);
    assert_planes(r, 0x1231, 0, 0, 0, 0);
    assert_planes(r, 0x1234, 0x14, 0x15, 0x16, 0x17);
    set_seq(r, 4, 14);
    assert_int_equal(physmem_io_read(r->rig.pm, WINDOW + 0x1230, 8), 0x1716151413121110);
    vga_rig_destroy(r);
}

static void vga_chain_4_obeys_map_mask_and_bit_mask(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    set_seq(r, 2, 0xd);
    physmem_io_write(r->rig.pm, WINDOW, 0x44332211, 4);
    assert_int_equal(physmem_io_read(r->rig.pm, WINDOW, 4), 0x44330011);
    set_seq(r, 2, 15);
    set_gc(r, 8, 0xf0);
    poke(r, WINDOW + 3, 0xff); /* the latches hold 44330011h */
    assert_int_equal(peek(r, WINDOW + 3), 0xf4);
    vga_rig_destroy(r);
}

static enum phys_kind kind_at(const struct vga_rig *r, u64 pa)
{
    return physmem_lookup(r->rig.pm, pa).kind;
}

static void vga_plain_window_becomes_memory_after_much_use_and_back(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_13);
    assert_int_equal(kind_at(r, WINDOW), PHYS_MMIO);
    for (u32 i = 0; i < 64000; i++)
        poke(r, WINDOW + i, (u8)(i * 7));
    assert_int_equal(kind_at(r, WINDOW), PHYS_RAM);
    assert_int_equal(kind_at(r, 0xb0000), PHYS_MMIO);
    set_gc(r, 8, 0x0f);
    assert_int_equal(kind_at(r, WINDOW), PHYS_MMIO);
    set_gc(r, 8, 0xff);
    for (u32 i = 0; i < 64000; i++)
        assert_int_equal(peek(r, WINDOW + i), (u8)(i * 7));
    assert_int_equal(kind_at(r, WINDOW), PHYS_RAM);
    set_seq(r, 4, 6);
    assert_int_equal(kind_at(r, WINDOW), PHYS_MMIO);
    vga_rig_destroy(r);
}

static void vga_planar_window_never_becomes_memory(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    for (u32 i = 0; i < 20000; i++)
        poke(r, WINDOW + i, 1);
    assert_int_equal(kind_at(r, WINDOW), PHYS_MMIO);
    vga_rig_destroy(r);
}

static void heard_code(void *opaque, u64 offset, u32 size)
{
    (void)offset;
    (void)size;
    ++*(unsigned *)opaque;
}

static void vga_writes_through_the_window_reach_code_listeners(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in(&mode_12);
    unsigned heard = 0;
    struct phys_listener l = {.code_written = heard_code, .opaque = &heard};
    physmem_listen(r->rig.pm, &l);
    physmem_mark(r->rig.pm, vga_vram_offset(r->vga), PAGE_CODE);
    poke(r, WINDOW, 1);
    assert_int_equal(heard, 1);
    set_mode(r, &mode_13);
    unsigned before = heard;
    poke(r, WINDOW, 1);
    assert_int_equal(heard, before + 1);
    physmem_unlisten(r->rig.pm, &l);
    vga_rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vga_map_mask_selects_the_planes_that_are_written),
        cmocka_unit_test(vga_write_mode_0_rotates_then_combines_then_masks),
        cmocka_unit_test(vga_set_reset_replaces_the_byte_in_enabled_planes),
        cmocka_unit_test(vga_write_mode_1_copies_the_latches),
        cmocka_unit_test(vga_write_mode_2_writes_a_color_through_the_bit_mask),
        cmocka_unit_test(vga_write_mode_3_masks_by_the_rotated_byte),
        cmocka_unit_test(vga_read_mode_1_finds_pixels_of_a_color),
        cmocka_unit_test(vga_latches_hold_the_last_byte_read),
        cmocka_unit_test(vga_peek_leaves_the_latches_alone),
        cmocka_unit_test(vga_odd_even_mode_interleaves_planes_0_and_1),
        cmocka_unit_test(vga_page_bit_selects_the_other_byte_of_a_pair),
        cmocka_unit_test(vga_memory_maps_open_their_windows_only),
        cmocka_unit_test(vga_ram_enable_closes_the_window),
        cmocka_unit_test(vga_chain_4_spreads_bytes_over_planes_at_every_fourth_offset),
        cmocka_unit_test(vga_chain_4_obeys_map_mask_and_bit_mask),
        cmocka_unit_test(vga_plain_window_becomes_memory_after_much_use_and_back),
        cmocka_unit_test(vga_planar_window_never_becomes_memory),
        cmocka_unit_test(vga_writes_through_the_window_reach_code_listeners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
