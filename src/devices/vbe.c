/* SPDX-License-Identifier: MIT
 *
 * The Bochs VBE registers ("VBE DISPI", interface ID B0C5h): an index and a data port that set a
 * linear mode by its size. While a mode is enabled its registers always describe a picture that
 * lies inside video memory: whatever the guest writes is brought into range (fit), so that the
 * display side needs no checks.
 */
#include "devices/vga_state.h"

static bool is_depth(u16 bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static u32 pitch_of(u32 width, u32 bpp)
{
    if (bpp == 4)
        return width / 8;
    return width * ((bpp + 7) / 8);
}

u32 vbe_pitch(const struct vga *v)
{
    return pitch_of(v->vbe[VBE_VIRT_WIDTH], v->vbe[VBE_BPP]);
}

/* Bytes that the picture may use: of one plane in 4-bit modes. */
static u32 memory_bytes(const struct vga *v)
{
    return v->vbe[VBE_BPP] == 4 ? v->vram_bytes / VGA_GROUP_BYTES : v->vram_bytes;
}

static u32 clamp(u32 value, u32 low, u32 high)
{
    return value < low ? low : value > high ? high : value;
}

static void fit(struct vga *v)
{
    u16 *r = v->vbe;
    if (!is_depth(r[VBE_BPP]))
        r[VBE_BPP] = 8;
    u32 memory = memory_bytes(v);
    r[VBE_XRES] = (u16)clamp(r[VBE_XRES] & ~7u, 8, VBE_MAX_XRES);
    u32 lines = memory / pitch_of(r[VBE_XRES], r[VBE_BPP]);
    r[VBE_YRES] = (u16)clamp(r[VBE_YRES], 1, lines < VBE_MAX_YRES ? lines : VBE_MAX_YRES);
    /* Eight pixels take `bpp` bytes, or one byte of each plane. */
    u32 eight = pitch_of(8, r[VBE_BPP]);
    u32 widest = memory / r[VBE_YRES] / eight * 8;
    if (widest > VBE_MAX_VIRT_WIDTH)
        widest = VBE_MAX_VIRT_WIDTH;
    r[VBE_VIRT_WIDTH] = (u16)clamp(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], widest);
    r[VBE_VIRT_HEIGHT] = (u16)clamp(memory / vbe_pitch(v), r[VBE_YRES], UINT16_MAX);
    r[VBE_X_OFFSET] = (u16)clamp(r[VBE_X_OFFSET], 0, r[VBE_VIRT_WIDTH] - r[VBE_XRES]);
    r[VBE_Y_OFFSET] = (u16)clamp(r[VBE_Y_OFFSET], 0, r[VBE_VIRT_HEIGHT] - r[VBE_YRES]);
}

static void enable(struct vga *v, u16 value)
{
    u16 *r = v->vbe;
    bool starts = value & VBE_ENABLED && !(r[VBE_ENABLE] & VBE_ENABLED);
    r[VBE_ENABLE] =
        value & (VBE_ENABLED | VBE_GET_CAPS | VBE_8_BIT_DAC | VBE_LFB_ENABLED | VBE_NO_CLEAR);
    if (!(value & VBE_ENABLED))
        r[VBE_BANK] = 0;
    if (!starts)
        return;
    r[VBE_VIRT_WIDTH] = r[VBE_XRES];
    r[VBE_X_OFFSET] = r[VBE_Y_OFFSET] = r[VBE_BANK] = 0;
    fit(v);
    /* The order of the groups follows the mode before anything is cleared. */
    vga_mem_update(v);
    if (!(value & VBE_NO_CLEAR)) {
        u32 bytes = vbe_pitch(v) * r[VBE_YRES] * (r[VBE_BPP] == 4 ? VGA_GROUP_BYTES : 1);
        physmem_touch_range(v->board.physmem, v->vram_offset, bytes);
        memset(v->vram, 0, bytes);
    }
}

static u16 capability(u16 index)
{
    switch (index) {
    case VBE_XRES: return VBE_MAX_XRES;
    case VBE_YRES: return VBE_MAX_YRES;
    default: return VBE_MAX_BPP;
    }
}

u16 vbe_read(const struct vga *v, u16 index)
{
    if (index == VBE_MEMORY_64K)
        return (u16)(v->vram_bytes >> 16);
    if (index >= VBE_COUNT)
        return 0;
    if (v->vbe[VBE_ENABLE] & VBE_GET_CAPS && index >= VBE_XRES && index <= VBE_BPP)
        return capability(index);
    return v->vbe[index];
}

void vbe_write(struct vga *v, u16 index, u16 value)
{
    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID_FIRST && value <= VBE_ID_LAST)
            v->vbe[VBE_ID] = value;
        return;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_BANK:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET: v->vbe[index] = value; break;
    case VBE_ENABLE: enable(v, value); break;
    default: return;
    }
    if (vbe_enabled(v))
        fit(v);
    v->screen.redraw = true;
    vga_mem_update(v);
}

void vbe_reset(struct vga *v)
{
    memset(v->vbe, 0, sizeof v->vbe);
    v->vbe[VBE_ID] = VBE_ID_LAST;
    v->vbe[VBE_BPP] = 8;
    v->vbe_index = 0;
}

void vbe_loaded(struct vga *v)
{
    if (vbe_enabled(v))
        fit(v);
}
