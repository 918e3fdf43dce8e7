/* SPDX-License-Identifier: MIT
 *
 * The VGA's registers as its ports show them (IBM PS/2 Hardware Interface Technical Reference,
 * "Video Subsystem"). Reserved bits read as 0, as on the original.
 *
 * Deviations: the light pen and the feature connector are not there. The sense bit of input status
 * 0 always tells a color monitor. The palette may be written while it is in use, as on most
 * clones. The retrace interrupt's pending bit works; its line is not connected, as on PCI cards.
 */
#include "devices/vga_state.h"

/* Bits of each register that exist. */
// clang-format off
static const u8 seq_bits[SEQ_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const u8 gc_bits[GC_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const u8 attr_bits[ATTR_COUNT] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    [ATTR_MODE] = 0xef, [ATTR_OVERSCAN] = 0xff, [ATTR_PLANE_ENABLE] = 0x3f,
    [ATTR_PANNING] = 0x0f, [ATTR_COLOR_SELECT] = 0x0f,
};
// clang-format on

#define DAC_STATE_READ  3
#define DAC_STATE_WRITE 0

bool vga_is_graphics(const struct vga *v)
{
    return v->gc[GC_MISC] & MISC_GRAPHICS;
}

/* Stores a register; true when it changed. */
static bool store(u8 *reg, u8 value)
{
    bool changed = *reg != value;
    *reg = value;
    return changed;
}

/* ---- sequencer and graphics controller ---- */

static void seq_write(struct vga *v, u8 value)
{
    unsigned n = v->seq_index;
    if (n >= SEQ_COUNT || !store(&v->seq[n], value & seq_bits[n]))
        return;
    if (n == SEQ_CLOCKING || n == SEQ_CHAR_MAP || n == SEQ_MEMORY_MODE)
        v->screen.redraw = true;
    if (n == SEQ_MAP_MASK || n == SEQ_MEMORY_MODE)
        vga_mem_update(v);
}

static void gc_write(struct vga *v, u8 value)
{
    unsigned n = v->gc_index;
    if (n >= GC_COUNT || !store(&v->gc[n], value & gc_bits[n]))
        return;
    if (n == GC_MODE || n == GC_MISC)
        v->screen.redraw = true;
    vga_mem_update(v);
}

/* ---- CRT controller ---- */

static u8 crtc_read(const struct vga *v)
{
    switch (v->crtc_index) {
    case CRTC_LATCH: return (u8)(v->latch >> v->gc[GC_READ_MAP] * 8);
    case CRTC_ATTR_FLIP_FLOP: return v->attr_data ? 0x80 : 0;
    case CRTC_ATTR_INDEX: return v->attr_index;
    default: return v->crtc_index < CRTC_COUNT ? v->crtc[v->crtc_index] : 0;
    }
}

static void crtc_write(struct vga *v, u8 value)
{
    unsigned n = v->crtc_index;
    if (n >= CRTC_COUNT)
        return;
    if (n <= CRTC_OVERFLOW && v->crtc[CRTC_V_RETRACE_END] & V_RETRACE_PROTECT) {
        if (n != CRTC_OVERFLOW)
            return;
        value = (u8)((v->crtc[n] & ~OVERFLOW_LINE_COMPARE_8) | (value & OVERFLOW_LINE_COMPARE_8));
    }
    if (n == CRTC_V_RETRACE_END && !(v->crtc[n] & V_RETRACE_CLEAR))
        v->retrace_armed = clock_now(v->board.clock);
    store(&v->crtc[n], value);
}

/* ---- attribute controller ---- */

static void attr_write(struct vga *v, u8 value)
{
    if (!v->attr_data) {
        v->attr_index = value & (ATTR_INDEX | ATTR_SOURCE);
    } else {
        unsigned n = v->attr_index & ATTR_INDEX;
        if (n < ATTR_COUNT && store(&v->attr[n], value & attr_bits[n]) && n != ATTR_PANNING)
            v->screen.redraw = true;
    }
    v->attr_data = !v->attr_data;
}

static u8 attr_read(const struct vga *v)
{
    unsigned n = v->attr_index & ATTR_INDEX;
    return n < ATTR_COUNT ? v->attr[n] : 0;
}

/* ---- DAC ---- */

/* The three components take effect together, when the last one comes. */
static void dac_write(struct vga *v, u8 value)
{
    if (v->dac_component < 2) {
        v->dac_pending[v->dac_component++] = value;
        return;
    }
    u8 *entry = v->dac + v->dac_write * 3;
    bool changed = store(&entry[0], v->dac_pending[0]);
    changed |= store(&entry[1], v->dac_pending[1]);
    changed |= store(&entry[2], value);
    v->screen.redraw |= changed;
    v->dac_component = 0;
    v->dac_write++;
}

static u8 dac_read(struct vga *v)
{
    u8 value = v->dac[v->dac_read * 3 + v->dac_component];
    if (++v->dac_component == 3) {
        v->dac_component = 0;
        v->dac_read++;
    }
    return v->vbe[VBE_ENABLE] & VBE_8_BIT_DAC ? value : value & 0x3f;
}

/* ---- general registers ---- */

static u8 status0(const struct vga *v)
{
    u8 status = STATUS0_SENSE;
    if (v->crtc[CRTC_V_RETRACE_END] & V_RETRACE_CLEAR && vga_retrace_since(v, v->retrace_armed))
        status |= STATUS0_RETRACE_PENDING;
    return status;
}

/* The two diagnostic bits show a pair of the color bits that leave the attribute controller, which
 * pair being chosen by the plane enable register: outside the picture that is the border color. */
static u8 video_status(const struct vga *v)
{
    static const u8 pair[4][2] = {{0, 2}, {4, 5}, {1, 3}, {6, 7}};
    const u8 *bits = pair[v->attr[ATTR_PLANE_ENABLE] >> 4 & 3];
    u8 color = v->attr[ATTR_OVERSCAN];
    return (u8)((color >> bits[0] & 1) | (color >> bits[1] & 1) << 1);
}

static u8 status1(struct vga *v)
{
    struct vga_beam beam = vga_beam(v);
    v->attr_data = false;
    u8 status = 0;
    if (!beam.display)
        status |= STATUS1_NO_DISPLAY | (u8)(video_status(v) << STATUS1_VIDEO);
    if (beam.retrace)
        status |= STATUS1_RETRACE;
    return status;
}

static void misc_write(struct vga *v, u8 value)
{
    if (store(&v->misc, value))
        vga_mem_update(v);
}

/* Ports 3B0h-3BFh answer while the adapter is monochrome, 3D0h-3DFh while it is color. */
static bool answers(const struct vga *v, u16 port)
{
    if (!(v->enable & 1))
        return port == VGA_ENABLE;
    switch (port & 0xfff0) {
    case 0x3b0: return !(v->misc & MISC_COLOR);
    case 0x3d0: return v->misc & MISC_COLOR;
    default: return true;
    }
}

u8 vga_port_read(struct vga *v, u16 port)
{
    if (!answers(v, port))
        return 0xff;
    switch (port) {
    case VGA_ATTR: return v->attr_index;
    case VGA_ATTR_READ: return attr_read(v);
    case VGA_MISC_WRITE: return status0(v);
    case VGA_ENABLE: return v->enable;
    case VGA_SEQ_INDEX: return v->seq_index;
    case VGA_SEQ_DATA: return v->seq_index < SEQ_COUNT ? v->seq[v->seq_index] : 0;
    case VGA_DAC_MASK: return v->dac_mask;
    case VGA_DAC_READ_INDEX: return v->dac_state;
    case VGA_DAC_WRITE_INDEX: return v->dac_write;
    case VGA_DAC_DATA: return dac_read(v);
    case VGA_FEATURE_READ: return v->feature;
    case VGA_MISC_READ: return v->misc;
    case VGA_GC_INDEX: return v->gc_index;
    case VGA_GC_DATA: return v->gc_index < GC_COUNT ? v->gc[v->gc_index] : 0;
    case VGA_CRTC_INDEX:
    case VGA_CRTC_INDEX_MONO: return v->crtc_index;
    case VGA_CRTC_DATA:
    case VGA_CRTC_DATA_MONO: return crtc_read(v);
    case VGA_STATUS1:
    case VGA_STATUS1_MONO: return status1(v);
    default: return 0xff;
    }
}

void vga_port_write(struct vga *v, u16 port, u8 value)
{
    if (!answers(v, port))
        return;
    switch (port) {
    case VGA_ATTR: attr_write(v, value); break;
    case VGA_MISC_WRITE: misc_write(v, value); break;
    case VGA_ENABLE:
        if (store(&v->enable, value & 1))
            vga_mem_update(v);
        break;
    case VGA_SEQ_INDEX: v->seq_index = value & 7; break;
    case VGA_SEQ_DATA: seq_write(v, value); break;
    case VGA_DAC_MASK: v->screen.redraw |= store(&v->dac_mask, value); break;
    case VGA_DAC_READ_INDEX:
        v->dac_read = value;
        v->dac_component = 0;
        v->dac_state = DAC_STATE_READ;
        break;
    case VGA_DAC_WRITE_INDEX:
        v->dac_write = value;
        v->dac_component = 0;
        v->dac_state = DAC_STATE_WRITE;
        break;
    case VGA_DAC_DATA: dac_write(v, value); break;
    case VGA_GC_INDEX: v->gc_index = value & 15; break;
    case VGA_GC_DATA: gc_write(v, value); break;
    case VGA_CRTC_INDEX:
    case VGA_CRTC_INDEX_MONO: v->crtc_index = value & 0x3f; break;
    case VGA_CRTC_DATA:
    case VGA_CRTC_DATA_MONO: crtc_write(v, value); break;
    case VGA_STATUS1:
    case VGA_STATUS1_MONO: v->feature = value & 3; break;
    default: break;
    }
}

/* As after power-on. The BIOS programs everything; until then the screen is dark. The DAC keeps
 * what it held on hardware; here it starts black. */
void vga_regs_reset(struct vga *v)
{
    v->misc = MISC_COLOR | MISC_LOW_PAGE;
    v->feature = 0;
    v->enable = 1;
    v->seq_index = v->gc_index = v->crtc_index = v->attr_index = 0;
    memset(v->seq, 0, sizeof v->seq);
    memset(v->gc, 0, sizeof v->gc);
    memset(v->crtc, 0, sizeof v->crtc);
    memset(v->attr, 0, sizeof v->attr);
    memset(v->dac, 0, sizeof v->dac);
    v->attr_data = false;
    v->dac_mask = 0xff;
    v->dac_read = v->dac_write = v->dac_component = v->dac_state = 0;
    memset(v->dac_pending, 0, sizeof v->dac_pending);
    v->latch = 0;
    v->retrace_armed = 0;
}

/* A snapshot comes from a file: bits that no write could have set are dropped, so that the rest of
 * the device may rely on what the ports let through. */
void vga_regs_loaded(struct vga *v)
{
    v->enable &= 1;
    v->seq_index &= 7;
    v->gc_index &= 15;
    v->crtc_index &= 0x3f;
    v->attr_index &= ATTR_INDEX | ATTR_SOURCE;
    v->dac_component %= 3;
    for (unsigned i = 0; i < SEQ_COUNT; i++)
        v->seq[i] &= seq_bits[i];
    for (unsigned i = 0; i < GC_COUNT; i++)
        v->gc[i] &= gc_bits[i];
    for (unsigned i = 0; i < ATTR_COUNT; i++)
        v->attr[i] &= attr_bits[i];
}
