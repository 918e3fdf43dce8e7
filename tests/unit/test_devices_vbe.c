/* SPDX-License-Identifier: MIT
 *
 * The Bochs VBE registers, their linear modes, and the PCI function that maps the frame buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/vga_pci.h"
#include "vga_rig.h"

#define LFB 0xe0000000u

enum { ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY };
enum { ENABLED = 1, GETCAPS = 2, DAC_8 = 0x20, LFB_ENABLED = 0x40, NO_CLEAR = 0x80 };

static struct vga_rig *rig_in_vbe(u16 width, u16 height, u16 bpp)
{
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_13);
    physmem_map_ram(r->rig.pm, LFB, vga_vram_bytes(r->vga), vga_vram_offset(r->vga), -1, "lfb");
    vbe_set(r, ENABLE, 0);
    vbe_set(r, XRES, width);
    vbe_set(r, YRES, height);
    vbe_set(r, BPP, bpp);
    vbe_set(r, ENABLE, ENABLED | LFB_ENABLED);
    return r;
}

static void lfb_write(struct vga_rig *r, u32 at, u32 value, unsigned size)
{
    physmem_io_write(r->rig.pm, LFB + at, value, size);
}

static void vbe_id_can_be_any_known_version(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    assert_int_equal(vbe_get(r, ID), 0xb0c5);
    vbe_set(r, ID, 0xb0c0);
    assert_int_equal(vbe_get(r, ID), 0xb0c0);
    vbe_set(r, ID, 0xb0c6);
    assert_int_equal(vbe_get(r, ID), 0xb0c0);
    assert_int_equal(vbe_get(r, MEMORY), 16 * 16);
    vga_rig_destroy(r);
}

static void vbe_data_answers_at_its_aligned_port_too(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    io_bus_write(r->rig.bus, 0x1ce, XRES, 2);
    io_bus_write(r->rig.bus, 0x1d0, 1280, 2);
    assert_int_equal(io_bus_read(r->rig.bus, 0x1d0, 2), 1280);
    assert_int_equal(vbe_get(r, XRES), 1280);
    vga_rig_destroy(r);
}

static void vbe_getcaps_gives_limits(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    vbe_set(r, XRES, 800);
    vbe_set(r, ENABLE, GETCAPS);
    assert_int_equal(vbe_get(r, XRES), 2560);
    assert_int_equal(vbe_get(r, YRES), 1600);
    assert_int_equal(vbe_get(r, BPP), 32);
    vbe_set(r, ENABLE, 0);
    assert_int_equal(vbe_get(r, XRES), 800);
    vga_rig_destroy(r);
}

static void vbe_depths_show_their_colors(void **state)
{
    (void)state;
    static const struct {
        u16 bpp;
        unsigned bytes;
        u32 value, color;
    } depths[] = {
        {15, 2, 0x7c1f, 0xff00ff}, {15, 2, 0x0210, 0x008484},   {16, 2, 0xf81f, 0xff00ff},
        {16, 2, 0x0410, 0x008284}, {24, 3, 0x123456, 0x123456}, {32, 4, 0xff123456, 0x123456},
        {8, 1, 0x9c, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        struct vga_rig *r = rig_in_vbe(800, 600, depths[i].bpp);
        u32 at = (300 * 800 + 400) * depths[i].bytes;
        for (unsigned b = 0; b < depths[i].bytes; b++)
            lfb_write(r, at + b, depths[i].value >> b * 8, 1);
        refresh(r);
        assert_int_equal(r->picture->width, 800);
        assert_int_equal(r->picture->height, 600);
        u32 color = depths[i].bpp == 8 ? dac_rgb(0x9c) : depths[i].color;
        assert_int_equal(pixel(r, 400, 300), color);
        assert_int_equal(pixel(r, 399, 300), depths[i].bpp == 8 ? dac_rgb(0) : 0);
        vga_rig_destroy(r);
    }
}

static void vbe_8_bit_dac_is_not_expanded(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(640, 480, 8);
    vbe_set(r, ENABLE, ENABLED | DAC_8);
    set_dac(r, 0, 0x81, 0x42, 0x24);
    refresh(r);
    assert_int_equal(pixel(r, 0, 0), 0x814224);
    vga_rig_destroy(r);
}

static void vbe_4_bit_mode_is_planar(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(800, 600, 4);
    set_seq(r, 4, 6);
    set_gc(r, 5, 0);
    set_seq(r, 2, 0xa);
    poke(r, 0xa0000 + 599 * 100 + 99, 1);
    refresh(r);
    assert_int_equal(pixel(r, 799, 599), dac_rgb(10));
    assert_int_equal(pixel(r, 798, 599), dac_rgb(0));
    vga_rig_destroy(r);
}

static void vbe_bank_moves_the_window(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(1024, 768, 32);
    set_seq(r, 2, 1); /* planes do not matter in linear modes */
    vbe_set(r, BANK, 3);
    poke(r, 0xa0010, 0x5a);
    assert_int_equal(physmem_io_read(r->rig.pm, LFB + 0x30010, 1), 0x5a);
    for (unsigned i = 0; i < 20000; i++)
        poke(r, 0xa0000 + i, (u8)i); /* by now it is mapped */
    assert_int_equal(physmem_lookup(r->rig.pm, 0xa0000).kind, PHYS_RAM);
    vbe_set(r, BANK, 4);
    assert_int_equal(peek(r, 0xa0010), 0);
    vbe_set(r, BANK, 3);
    assert_int_equal(peek(r, 0xa0010), 0x10);
    vga_rig_destroy(r);
}

static void vbe_virtual_screen_pans(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(640, 480, 16);
    vbe_set(r, VIRT_WIDTH, 1024);
    assert_int_equal(vbe_get(r, VIRT_HEIGHT), MIB(16) / 2048);
    lfb_write(r, (100 * 1024 + 50) * 2, 0xffff, 2);
    vbe_set(r, X_OFFSET, 47);
    vbe_set(r, Y_OFFSET, 90);
    refresh(r);
    assert_int_equal(pixel(r, 3, 10), 0xffffff);
    assert_int_equal(pixel(r, 2, 10), 0);
    vga_rig_destroy(r);
}

static void vbe_registers_are_kept_inside_memory(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(1024, 768, 32);
    for (u16 reg = XRES; reg <= Y_OFFSET; reg++) {
        if (reg != ENABLE)
            vbe_set(r, reg, 0xffff);
        refresh(r);
    }
    u32 pitch = vbe_get(r, VIRT_WIDTH); /* BPP FFFFh became 8 */
    assert_int_equal(vbe_get(r, BPP), 8);
    assert_in_range(vbe_get(r, XRES), 8, pitch);
    u32 bottom = (u32)vbe_get(r, Y_OFFSET) + vbe_get(r, YRES);
    assert_in_range(bottom * pitch, 1, MIB(16));
    assert_in_range(vbe_get(r, X_OFFSET) + vbe_get(r, XRES), 8, pitch);
    vga_rig_destroy(r);
}

static void vbe_enable_clears_memory_unless_told_not_to(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(640, 480, 32);
    lfb_write(r, 0, 0xabcdef, 4);
    vbe_set(r, ENABLE, 0);
    vbe_set(r, ENABLE, ENABLED | NO_CLEAR);
    assert_int_equal(physmem_io_read(r->rig.pm, LFB, 4), 0xabcdef);
    vbe_set(r, ENABLE, 0);
    vbe_set(r, ENABLE, ENABLED);
    assert_int_equal(physmem_io_read(r->rig.pm, LFB, 4), 0);
    vga_rig_destroy(r);
}

static void vbe_text_memory_survives_an_unclearing_visit(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    set_mode(r, &mode_03);
    for (unsigned i = 0; i < 4000; i++)
        poke(r, 0xb8000 + i, (u8)(i * 5));
    vbe_set(r, XRES, 640);
    vbe_set(r, YRES, 480);
    vbe_set(r, BPP, 32);
    vbe_set(r, ENABLE, ENABLED | NO_CLEAR);
    vbe_set(r, ENABLE, 0);
    for (unsigned i = 0; i < 4000; i++)
        assert_int_equal(peek(r, 0xb8000 + i), (u8)(i * 5));
    vga_rig_destroy(r);
}

static void vbe_redraws_only_lines_whose_pages_were_written(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(1024, 768, 32); /* a page a line */
    refresh(r);
    refresh(r); /* settles */
    refresh(r);
    assert_int_equal(r->dirty.w, 0);
    lfb_write(r, 500 * 4096, 1, 1);
    refresh(r);
    assert_int_equal(r->dirty.y, 500);
    assert_int_equal(r->dirty.h, 1);
    vga_rig_destroy(r);
}

static void vbe_looks_twice_at_a_page_that_was_written(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(1024, 768, 32);
    for (unsigned i = 0; i < 3; i++)
        refresh(r);
    lfb_write(r, 4096, 0x111111, 4);
    refresh(r);
    /* A CPU that had not heard of the mark yet: its write comes without a touch. */
    store32(physmem_host(r->rig.pm, vga_vram_offset(r->vga) + 4096), 0x222222);
    refresh(r);
    assert_int_equal(pixel(r, 0, 1), 0x222222);
    vga_rig_destroy(r);
}

static void vbe_busy_page_is_shown_without_marking_it_each_time(void **state)
{
    (void)state;
    struct vga_rig *r = rig_in_vbe(1024, 768, 32);
    unsigned marked = 0;
    for (u32 i = 1; i <= 100; i++) {
        lfb_write(r, 0, i, 4);
        refresh(r);
        assert_int_equal(pixel(r, 0, 0), i);
        marked += *physmem_marks(r->rig.pm, vga_vram_offset(r->vga)) & PAGE_CLEAN_VGA ? 1 : 0;
    }
    assert_in_range(marked, 1, 40);
    for (unsigned i = 0; i < 20; i++)
        refresh(r);
    assert_int_equal(r->dirty.w, 0);
    vga_rig_destroy(r);
}

/* ---- PCI ---- */

static struct pci_bus *bus_of(struct vga_rig *r)
{
    return pci_bus_create(&(struct pci_bus_config){.ports = r->rig.bus, .physmem = r->rig.pm});
}

static void vga_pci_maps_frame_buffer_registers_and_rom(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    struct pci_bus *bus = bus_of(r);
    u8 rom[5000] = {0x55, 0xaa, 10};
    u8 devfn = PCI_DEVFN(2, 0);
    struct vga_pci *p = vga_pci_create(bus, devfn, r->vga, rom, sizeof rom);
    assert_non_null(p);
    assert_int_equal(pci_config_read(bus, 0, devfn, PCI_VENDOR_ID, 4), 0x11111234);
    assert_int_equal(pci_config_read(bus, 0, devfn, PCI_CLASS_DEVICE, 2), 0x0300);
    u8 bar0 = PCI_BASE_ADDRESS_0, bar2 = PCI_BASE_ADDRESS_0 + 8;
    pci_config_write(bus, 0, devfn, bar0, 0xffffffff, 4);
    assert_int_equal(pci_config_read(bus, 0, devfn, bar0, 4), 0xff000008); /* 16 MiB, prefetch */
    pci_config_write(bus, 0, devfn, bar0, LFB, 4);
    pci_config_write(bus, 0, devfn, bar2, 0xfebf0000, 4);
    pci_config_write(bus, 0, devfn, PCI_ROM_ADDRESS, 0xfebe0001, 4);
    pci_config_write(bus, 0, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
    physmem_io_write(r->rig.pm, LFB + 0x1000, 0x77, 1);
    assert_int_equal(*physmem_host(r->rig.pm, vga_vram_offset(r->vga) + 0x1000), 0x77);
    assert_int_equal(physmem_io_read(r->rig.pm, 0xfebe0000, 4), 0x000aaa55);
    physmem_io_write(r->rig.pm, 0xfebf0404, 0x0e04, 2); /* sequencer index and data at once */
    assert_int_equal(physmem_io_read(r->rig.pm, 0xfebf0405, 1), 0x0e);
    physmem_io_write(r->rig.pm, 0xfebf0502, 1024, 2);
    assert_int_equal(vbe_get(r, XRES), 1024);
    assert_int_equal(physmem_io_read(r->rig.pm, 0xfebf0500, 2), 0xb0c5);
    assert_int_equal(physmem_io_read(r->rig.pm, 0xfebf0600, 4), 8);
    assert_int_equal(physmem_io_read(r->rig.pm, 0xfebf0604, 4), 0x1e1e1e1e);
    struct device d = vga_pci_device(p);
    d.ops->destroy(d.dev);
    pci_bus_destroy(bus);
    vga_rig_destroy(r);
}

static void vga_pci_refuses_a_taken_slot(void **state)
{
    (void)state;
    struct vga_rig *r = vga_rig_create(0);
    struct pci_bus *bus = bus_of(r);
    struct vga_pci *p = vga_pci_create(bus, 16, r->vga, NULL, 0);
    assert_non_null(p);
    assert_null(vga_pci_create(bus, 16, r->vga, NULL, 0));
    struct device d = vga_pci_device(p);
    d.ops->destroy(d.dev);
    pci_bus_destroy(bus);
    vga_rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vbe_id_can_be_any_known_version),
        cmocka_unit_test(vbe_data_answers_at_its_aligned_port_too),
        cmocka_unit_test(vbe_getcaps_gives_limits),
        cmocka_unit_test(vbe_depths_show_their_colors),
        cmocka_unit_test(vbe_8_bit_dac_is_not_expanded),
        cmocka_unit_test(vbe_4_bit_mode_is_planar),
        cmocka_unit_test(vbe_bank_moves_the_window),
        cmocka_unit_test(vbe_virtual_screen_pans),
        cmocka_unit_test(vbe_registers_are_kept_inside_memory),
        cmocka_unit_test(vbe_enable_clears_memory_unless_told_not_to),
        cmocka_unit_test(vbe_text_memory_survives_an_unclearing_visit),
        cmocka_unit_test(vbe_redraws_only_lines_whose_pages_were_written),
        cmocka_unit_test(vbe_looks_twice_at_a_page_that_was_written),
        cmocka_unit_test(vbe_busy_page_is_shown_without_marking_it_each_time),
        cmocka_unit_test(vga_pci_maps_frame_buffer_registers_and_rom),
        cmocka_unit_test(vga_pci_refuses_a_taken_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
