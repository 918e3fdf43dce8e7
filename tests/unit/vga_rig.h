/* SPDX-License-Identifier: MIT
 *
 * A VGA on buses of its own with a stepped clock, and the register values of the standard modes
 * (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", table of BIOS modes).
 */
#ifndef ANELLO_TESTS_VGA_RIG_H
#define ANELLO_TESTS_VGA_RIG_H

#include "device_rig.h"
#include "devices/vga.h"

struct vga_rig {
    struct rig rig;
    struct vga *vga;
    struct display_source display;
    const struct surface *picture;
    struct rect dirty;
};

struct vga_mode {
    u8 misc, seq[5], crtc[25], gc[9], attr[21];
};

// clang-format off
#define ATTR_16 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, \
                0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f
#define ATTR_LINEAR 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15

static const struct vga_mode mode_03 = { /* 80x25 text, 720x400 */
    0x67, {3, 0x00, 3, 0, 2},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff}, {ATTR_16, 0x0c, 0, 15, 8, 0}};
static const struct vga_mode mode_01 = { /* 40x25 text, 720x400 */
    0x67, {3, 0x08, 3, 0, 2},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0xa0, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x14, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff}, {ATTR_16, 0x0c, 0, 15, 8, 0}};
static const struct vga_mode mode_04 = { /* 320x200, 4 colors of the CGA */
    0x63, {3, 0x09, 3, 0, 2},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff},
    {0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff}, {ATTR_LINEAR, 0x01, 0, 3, 0, 0}};
static const struct vga_mode mode_06 = { /* 640x200, 2 colors of the CGA */
    0x63, {3, 0x01, 1, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x28, 0x00, 0x96, 0xb9, 0xc2, 0xff},
    {0, 0, 0, 0, 0, 0x00, 0x0d, 0, 0xff}, {ATTR_LINEAR, 0x01, 0, 1, 0, 0}};
static const struct vga_mode mode_0d = { /* 320x200, 16 colors */
    0x63, {3, 0x09, 15, 0, 6},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0, 0, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0x00, 0x05, 15, 0xff}, {ATTR_LINEAR, 0x01, 0, 15, 0, 0}};
static const struct vga_mode mode_12 = { /* 640x480, 16 colors */
    0xe3, {3, 0x01, 15, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0, 0, 0, 0, 0, 0,
     0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0x00, 0x05, 15, 0xff}, {ATTR_LINEAR, 0x01, 0, 15, 0, 0}};
static const struct vga_mode mode_13 = { /* 320x200, 256 colors */
    0x63, {3, 0x01, 15, 0, 14},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0, 0, 0, 0, 0, 0,
     0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x40, 0x05, 15, 0xff}, {ATTR_LINEAR, 0x41, 0, 15, 0, 0}};
static const struct vga_mode mode_x = { /* 320x240, 256 colors, unchained (Abrash) */
    0xe3, {3, 0x01, 15, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0x00, 0x41, 0, 0, 0, 0, 0, 0,
     0xea, 0xac, 0xdf, 0x28, 0x00, 0xe7, 0x06, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0x40, 0x05, 15, 0xff}, {ATTR_LINEAR, 0x41, 0, 15, 0, 0}};
// clang-format on

static inline void out8(struct vga_rig *r, u16 port, u8 value)
{
    io_bus_write(r->rig.bus, port, value, 1);
}

static inline u8 in8(struct vga_rig *r, u16 port)
{
    return (u8)io_bus_read(r->rig.bus, port, 1);
}

static inline void out_indexed(struct vga_rig *r, u16 port, u8 index, u8 value)
{
    io_bus_write(r->rig.bus, port, (u32)value << 8 | index, 2);
}

static inline void set_seq(struct vga_rig *r, u8 index, u8 value)
{
    out_indexed(r, 0x3c4, index, value);
}

static inline void set_gc(struct vga_rig *r, u8 index, u8 value)
{
    out_indexed(r, 0x3ce, index, value);
}

static inline void set_crtc(struct vga_rig *r, u8 index, u8 value)
{
    out_indexed(r, 0x3d4, index, value);
}

static inline void set_attr(struct vga_rig *r, u8 index, u8 value)
{
    in8(r, 0x3da);
    out8(r, 0x3c0, index);
    out8(r, 0x3c0, value);
    out8(r, 0x3c0, 0x20);
}

static inline void set_dac(struct vga_rig *r, u8 index, u8 red, u8 green, u8 blue)
{
    out8(r, 0x3c8, index);
    out8(r, 0x3c9, red);
    out8(r, 0x3c9, green);
    out8(r, 0x3c9, blue);
}

/* A DAC in which every entry has a color of its own. */
static inline void set_dac_distinct(struct vga_rig *r)
{
    for (unsigned i = 0; i < 256; i++)
        set_dac(r, (u8)i, i & 63, i >> 2, (i ^ 21) & 63);
}

/* The color that set_dac_distinct() and 6-bit expansion give entry i. */
static inline u32 dac_rgb(unsigned i)
{
    u32 c[3] = {i & 63, i >> 2, (i ^ 21) & 63}, rgb = 0;
    for (unsigned k = 0; k < 3; k++)
        rgb = rgb << 8 | (c[k] << 2 | c[k] >> 4);
    return rgb;
}

static inline void set_mode(struct vga_rig *r, const struct vga_mode *m)
{
    out8(r, 0x3c2, m->misc);
    for (u8 i = 0; i < 5; i++)
        set_seq(r, i, m->seq[i]);
    set_crtc(r, 0x11, 0); /* lifts the protection of 0..7 */
    for (u8 i = 0; i < 25; i++)
        set_crtc(r, i, m->crtc[i]);
    for (u8 i = 0; i < 9; i++)
        set_gc(r, i, m->gc[i]);
    for (u8 i = 0; i < 21; i++)
        set_attr(r, i, m->attr[i]);
    out8(r, 0x3c6, 0xff);
    set_dac_distinct(r);
}

static inline void poke(struct vga_rig *r, u32 pa, u8 value)
{
    physmem_io_write(r->rig.pm, pa, value, 1);
}

static inline u8 peek(struct vga_rig *r, u32 pa)
{
    return (u8)physmem_io_read(r->rig.pm, pa, 1);
}

static inline void vbe_set(struct vga_rig *r, u16 index, u16 value)
{
    io_bus_write(r->rig.bus, 0x1ce, index, 2);
    io_bus_write(r->rig.bus, 0x1cf, value, 2);
}

static inline u16 vbe_get(struct vga_rig *r, u16 index)
{
    io_bus_write(r->rig.bus, 0x1ce, index, 2);
    return (u16)io_bus_read(r->rig.bus, 0x1cf, 2);
}

static inline void refresh(struct vga_rig *r)
{
    r->picture = r->display.refresh(r->display.opaque, &r->dirty);
}

static inline u32 pixel(const struct vga_rig *r, unsigned x, unsigned y)
{
    return r->picture->pixels[(size_t)y * r->picture->stride + x];
}

/* FNV-1a over the picture's size and pixels. */
static inline u64 picture_hash(const struct vga_rig *r)
{
    u64 hash = 0xcbf29ce484222325;
    u32 words[2] = {r->picture->width, r->picture->height};
    for (unsigned i = 0; i < 2; i++)
        hash = (hash ^ words[i]) * 0x100000001b3;
    for (unsigned y = 0; y < r->picture->height; y++) {
        for (unsigned x = 0; x < r->picture->width; x++)
            hash = (hash ^ pixel(r, x, y)) * 0x100000001b3;
    }
    return hash;
}

/* Into a rig that is open. */
static inline void vga_rig_fill(struct vga_rig *r, u32 vram_bytes)
{
    r->vga = vga_create(&(struct vga_config){.physmem = r->rig.pm,
                                             .ports = r->rig.bus,
                                             .clock = r->rig.clock,
                                             .vram_bytes = vram_bytes});
    rig_add(&r->rig, vga_device(r->vga));
    r->display = vga_display(r->vga);
}

static inline struct vga_rig *vga_rig_create(u32 vram_bytes)
{
    struct vga_rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    rig_open(&r->rig);
    rig_add_memory(&r->rig, 0, MIB(128));
    vga_rig_fill(r, vram_bytes);
    return r;
}

static inline void vga_rig_destroy(struct vga_rig *r)
{
    rig_close(&r->rig);
    free(r);
}

#endif
