/* SPDX-License-Identifier: MIT
 *
 * Registers through their ports, and the beam seen through the status registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vga_rig.h"

static void vga_registers_read_back_their_existing_bits(void **state)
{
    (void)state;
    static const struct {
        u16 port;
        u8 index, bits;
    } regs[] = {
        {0x3c4, 1, 0x3d}, {0x3c4, 2, 0x0f}, {0x3c4, 3, 0x3f},  {0x3c4, 4, 0x0e},  {0x3c4, 6, 0x00},
        {0x3ce, 0, 0x0f}, {0x3ce, 3, 0x1f}, {0x3ce, 5, 0x7b},  {0x3ce, 8, 0xff},  {0x3ce, 9, 0x00},
        {0x3d4, 0, 0xff}, {0x3d4, 7, 0xff}, {0x3d4, 24, 0xff}, {0x3d4, 25, 0x00},
    };
    struct vga_rig *r = vga_rig_create(0);
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        out_indexed(r, regs[i].port, regs[i].index, 0xff);
        assert_int_equal(in8(r, regs[i].port + 1), regs[i].bits);
    }
    vga_rig_destroy(r);
}

static void vga_crtc_protection_spares_only_line_compare(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_crtc(r, 0x11, 0x80);
    set_crtc(r, 0, 0x5f);
    set_crtc(r, 7, 0xff);
    out8(r, 0x3d4, 0);
    assert_int_equal(in8(r, 0x3d5), 0);
    out8(r, 0x3d4, 7);
    assert_int_equal(in8(r, 0x3d5), 0x10);
    set_crtc(r, 8, 0x12);
    assert_int_equal(in8(r, 0x3d5), 0x12);
    vga_rig_destroy(r);
}

static void vga_attribute_port_alternates_and_status_resets_it(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0x05);
    out8(r, 0x3c0, 0x2a);
    out8(r, 0x3c0, 0x06);
    out8(r, 0x3c0, 0x15);
    out8(r, 0x3c0, 0x05);
    assert_int_equal(in8(r, 0x3c1), 0x2a);
    assert_int_equal(in8(r, 0x3c0), 0x05);
    in8(r, 0x3da); /* the next write is an index again */
    out8(r, 0x3c0, 0x06);
    assert_int_equal(in8(r, 0x3c1), 0x15);
    vga_rig_destroy(r);
}

static void vga_dac_takes_triples_and_advances(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    out8(r, 0x3c8, 254);
    for (u8 i = 1; i <= 9; i++)
        out8(r, 0x3c9, i);
    assert_int_equal(in8(r, 0x3c7), 0); /* state: writing */
    assert_int_equal(in8(r, 0x3c8), 1); /* 254, 255, 0 */
    out8(r, 0x3c7, 254);
    assert_int_equal(in8(r, 0x3c7), 3); /* state: reading */
    for (u8 i = 1; i <= 9; i++)
        assert_int_equal(in8(r, 0x3c9), i);
    vga_rig_destroy(r);
}

static void vga_dac_entry_changes_with_its_third_component(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_dac(r, 7, 1, 2, 3);
    out8(r, 0x3c8, 7);
    out8(r, 0x3c9, 40);
    out8(r, 0x3c9, 41);
    out8(r, 0x3c7, 7);
    assert_int_equal(in8(r, 0x3c9), 1);
    assert_int_equal(in8(r, 0x3c9), 2);
    assert_int_equal(in8(r, 0x3c9), 3);
    vga_rig_destroy(r);
}

static void vga_dac_has_6_bits_unless_vbe_gives_8(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    vbe_set(r, 4, 0x20);
    set_dac(r, 0, 0xff, 0x80, 0x7f);
    out8(r, 0x3c7, 0);
    assert_int_equal(in8(r, 0x3c9), 0xff);
    vbe_set(r, 4, 0);
    out8(r, 0x3c7, 0);
    assert_int_equal(in8(r, 0x3c9), 0x3f);
    vga_rig_destroy(r);
}

static void vga_crtc_answers_where_the_color_bit_says(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    out8(r, 0x3c2, 0x66);
    out_indexed(r, 0x3b4, 0x0f, 0x42);
    assert_int_equal(in8(r, 0x3b5), 0x42);
    assert_int_equal(in8(r, 0x3d5), 0xff);
    assert_int_equal(in8(r, 0x3da), 0xff);
    assert_int_not_equal(in8(r, 0x3ba), 0xff);
    out8(r, 0x3c2, 0x67);
    assert_int_equal(in8(r, 0x3d5), 0x42);
    assert_int_equal(in8(r, 0x3b5), 0xff);
    assert_int_equal(in8(r, 0x3cc), 0x67);
    vga_rig_destroy(r);
}

static void vga_sleeps_until_enabled_at_3c3(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_12);
    poke(r, 0xa0000, 0x5a);
    out8(r, 0x3c3, 0);
    assert_int_equal(in8(r, 0x3cc), 0xff);
    assert_int_equal(peek(r, 0xa0000), 0xff);
    out8(r, 0x3c3, 1);
    assert_int_equal(in8(r, 0x3cc), mode_12.misc);
    assert_int_equal(peek(r, 0xa0000), 0x5a);
    vga_rig_destroy(r);
}

/* Steps the clock to the start of line `line` of a frame in a mode with these totals. */
static void to_line(struct vga_rig *r, u64 line_dots, u64 lines, u64 hz, u64 line)
{
    u64 frame = line_dots * lines;
    u64 now = mul_div((u64)clock_now(r->rig.clock), hz, NS_PER_SEC) / frame;
    i64 target = (i64)mul_div((now + 1) * frame + line * line_dots + 1, NS_PER_SEC, hz) + 1;
    clock_step(r->rig.clock, target - clock_now(r->rig.clock));
}

static void vga_status_follows_the_beam_of_mode_13h(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_13);
    /* 100 characters of 8 dots, 449 lines, 25.175 MHz; display ends at 400, retrace is 412-413. */
    to_line(r, 800, 449, 25175000, 0);
    assert_int_equal(in8(r, 0x3da) & 9, 0);
    clock_step(r->rig.clock, 26000); /* 654 dots: right of the picture */
    assert_int_equal(in8(r, 0x3da) & 9, 1);
    to_line(r, 800, 449, 25175000, 399);
    assert_int_equal(in8(r, 0x3da) & 9, 0);
    to_line(r, 800, 449, 25175000, 400);
    assert_int_equal(in8(r, 0x3da) & 9, 1);
    to_line(r, 800, 449, 25175000, 411);
    assert_int_equal(in8(r, 0x3da) & 9, 1);
    to_line(r, 800, 449, 25175000, 412);
    assert_int_equal(in8(r, 0x3da) & 9, 9);
    to_line(r, 800, 449, 25175000, 413);
    assert_int_equal(in8(r, 0x3da) & 9, 9);
    to_line(r, 800, 449, 25175000, 414);
    assert_int_equal(in8(r, 0x3da) & 9, 1);
    vga_rig_destroy(r);
}

static unsigned retraces_in_a_second(struct vga_rig *r)
{
    unsigned count = 0;
    bool was = in8(r, 0x3da) & 8;
    for (unsigned i = 0; i < 100000; i++) {
        clock_step(r->rig.clock, 10000);
        bool is = in8(r, 0x3da) & 8;
        count += is && !was;
        was = is;
    }
    return count;
}

static void vga_retrace_comes_70_or_60_times_a_second(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_03);
    assert_in_range(retraces_in_a_second(r), 70, 71);
    set_mode(r, &mode_12);
    assert_in_range(retraces_in_a_second(r), 59, 60);
    vga_rig_destroy(r);
}

static void vga_retrace_interrupt_pends_until_cleared(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_13);
    clock_step(r->rig.clock, NS_PER_SEC / 20);
    assert_int_equal(in8(r, 0x3c2) & 0x80, 0); /* held clear: bit 4 of CRTC 11h is 0 */
    set_crtc(r, 0x11, 0x9e);
    assert_int_equal(in8(r, 0x3c2) & 0x80, 0);
    clock_step(r->rig.clock, NS_PER_SEC / 60);
    assert_int_equal(in8(r, 0x3c2) & 0x80, 0x80);
    set_crtc(r, 0x11, 0x8e);
    assert_int_equal(in8(r, 0x3c2) & 0x80, 0);
    vga_rig_destroy(r);
}

static void vga_reset_gives_the_power_on_state_again(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_13);
    vbe_set(r, 4, 1);
    struct device d = vga_device(r->vga);
    d.ops->reset(d.dev);
    assert_int_equal(in8(r, 0x3cc), 0x21);
    assert_int_equal(vbe_get(r, 4), 0);
    set_seq(r, 0xff, 0);
    out8(r, 0x3c4, 4);
    assert_int_equal(in8(r, 0x3c5), 0);
    refresh(r);
    assert_int_equal(pixel(r, 0, 0), 0);
    vga_rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vga_registers_read_back_their_existing_bits),
        cmocka_unit_test(vga_crtc_protection_spares_only_line_compare),
        cmocka_unit_test(vga_attribute_port_alternates_and_status_resets_it),
        cmocka_unit_test(vga_dac_takes_triples_and_advances),
        cmocka_unit_test(vga_dac_entry_changes_with_its_third_component),
        cmocka_unit_test(vga_dac_has_6_bits_unless_vbe_gives_8),
        cmocka_unit_test(vga_crtc_answers_where_the_color_bit_says),
        cmocka_unit_test(vga_sleeps_until_enabled_at_3c3),
        cmocka_unit_test(vga_status_follows_the_beam_of_mode_13h),
        cmocka_unit_test(vga_retrace_comes_70_or_60_times_a_second),
        cmocka_unit_test(vga_retrace_interrupt_pends_until_cleared),
        cmocka_unit_test(vga_reset_gives_the_power_on_state_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
