/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the VGA: any registers, any memory, any moment. Whatever it programs, a
 * refresh stays inside the picture and inside video memory (what lies behind that is unreadable
 * here), and the dirty rectangle inside the picture.
 *
 * Input: a byte that picks the mode to start from, then steps of four bytes.
 */
#include "../unit/vga_rig.h"
#include "devices/vga_state.h"
#include "spaces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pictures are large: one in the middle and one at the end; and a mode of the VBE moves all of
 * video memory. */
#define REFRESHES_MAX 1
#define VBE_MODES_MAX 1
#define ROWS_SHOWN    16
#define FULL_PICTURE  0x78 /* bits of the first byte, all of which are set */

static const struct vga_mode *const modes[] = {&mode_03, &mode_01, &mode_04, &mode_06,
                                               &mode_0d, &mode_12, &mode_13, &mode_x};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void look(struct vga_rig *r)
{
    refresh(r);
    check(r->picture->pixels && r->picture->stride >= r->picture->width);
    check(r->dirty.x + r->dirty.w <= r->picture->width);
    check(r->dirty.y + r->dirty.h <= r->picture->height);
    char text[600];
    size_t n = r->display.text(r->display.opaque, text, sizeof text);
    check(n < sizeof text && strlen(text) == n);
}

/* A mode of the VBE, with linear memory and without. */
static void set_vbe_mode(struct vga_rig *r, const u8 *s)
{
    static const u16 depths[] = {4, 8, 15, 16, 24, 32, 1, 12};
    vbe_set(r, VBE_ENABLE, 0);
    vbe_set(r, VBE_XRES, (u16)(s[2] * 8));
    vbe_set(r, VBE_YRES, s[3] % (2 * ROWS_SHOWN));
    vbe_set(r, VBE_BPP, depths[s[1] >> 1 & 7]);
    vbe_set(r, VBE_ENABLE, VBE_ENABLED | (s[1] & (VBE_LFB_ENABLED | VBE_NO_CLEAR)));
}

/* What the input has used. */
struct spent {
    unsigned refreshes, vbe_modes;
};

static void step(struct vga_rig *r, const u8 *s, struct spent *spent)
{
    static const u16 index_ports[] = {0x3c4, 0x3ce, 0x3d4, 0x3b4};
    u16 ab = (u16)(s[1] | s[2] << 8);
    u32 window = 0xa0000 + (ab | (s[0] & 8u) << 13);
    switch (s[0] & 7) {
    case 0: out8(r, 0x3b0 + s[1] % 48, s[2]); break;
    case 1: in8(r, 0x3b0 + s[1] % 48); break;
    case 2: out_indexed(r, index_ports[s[3] % 4], s[1], s[2]); break;
    case 3: vbe_set(r, s[3] % 12, s[3] % 12 == VBE_YRES ? ab % (2 * ROWS_SHOWN) : ab); break;
    case 4: physmem_io_write(r->rig.pm, window, s[3] * 0x0123456789abcdu, 1u << (s[3] & 3)); break;
    case 5: physmem_io_read(r->rig.pm, window, 1u << (s[3] & 3)); break;
    case 6:
        set_attr(r, s[1], s[2]);
        clock_step(r->rig.clock, s[3] * 1000000);
        break;
    default:
        if (s[1] & 1) {
            if (++spent->vbe_modes <= VBE_MODES_MAX)
                set_vbe_mode(r, s);
        } else if (++spent->refreshes <= REFRESHES_MAX) {
            look(r);
        }
        break;
    }
}

/* Most of the time goes into pixels, and rows are much alike: only the first few are shown, until a
 * step sets the register again. */
static void cut_picture(struct vga_rig *r)
{
    out_indexed(r, 0x3d4, CRTC_V_RETRACE_END, 0); /* unlocks those below */
    out_indexed(r, 0x3d4, CRTC_OVERFLOW, 0);
    out_indexed(r, 0x3d4, CRTC_V_DISPLAY_END, ROWS_SHOWN - 1);
}

static struct vga_rig *open_rig(u32 vram_bytes)
{
    static struct spaces spaces;
    struct vga_rig *r = calloc(1, sizeof *r);
    check(r);
    spaces_open(&spaces, 0, MIB(1));
    r->rig = (struct rig){.bus = spaces.ports, .pm = spaces.pm, .clock = clock_create_stepped()};
    vga_rig_fill(r, vram_bytes);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    /* The least memory: bounds are close. */
    struct vga_rig *r = open_rig(data[0] & 0x80 ? MIB(1) : KIB(256));
    struct spent spent = {0};
    set_mode(r, modes[data[0] % ARRAY_LEN(modes)]);
    if ((data[0] & FULL_PICTURE) != FULL_PICTURE)
        cut_picture(r);
    for (size_t at = 1; at + 4 <= size; at += 4)
        step(r, data + at, &spent);
    look(r);
    rig_destroy_devices(&r->rig);
    check(clock_next_deadline(r->rig.clock) == CLOCK_NEVER);
    clock_destroy(r->rig.clock);
    free(r);
    return 0;
}
