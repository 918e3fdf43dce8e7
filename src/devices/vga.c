/* SPDX-License-Identifier: MIT
 *
 * The VGA on its buses: ports, the legacy memory window, the registers as memory, and the state
 * table. See vga_state.h for how the adapter is cut into files.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/vga_state.h"

#define VRAM_DEFAULT MIB(16)
#define VRAM_MIN     KIB(256)
#define VRAM_MAX     MIB(64)

/* ---- ports ---- */

static u32 range_read(void *opaque, u16 offset, unsigned size)
{
    const struct vga_port_range *range = opaque;
    (void)size;
    return vga_port_read(range->vga, (u16)(range->first + offset));
}

static void range_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    const struct vga_port_range *range = opaque;
    (void)size;
    vga_port_write(range->vga, (u16)(range->first + offset), (u8)value);
}

static const struct port_ops range_ops = {.name = "vga", .read = range_read, .write = range_write};

/* Index and data are 16-bit registers one port apart. A byte access reaches the low half. */
static u32 vbe_port_read(void *opaque, u16 offset, unsigned size)
{
    const struct vga *v = opaque;
    u16 value = offset ? vbe_read(v, v->vbe_index) : v->vbe_index;
    return size == 1 ? value & 0xffu : value;
}

static void vbe_port_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct vga *v = opaque;
    if (!offset)
        v->vbe_index = (u16)value;
    else if (size == 2)
        vbe_write(v, v->vbe_index, (u16)value);
    else
        log_unsupported(v->board.log, "VBE byte write", v->vbe_index, "of register %u",
                        v->vbe_index);
}

static const struct port_ops vbe_ops = {
    .name = "vbe", .read = vbe_port_read, .write = vbe_port_write, .max_size = 2};

static bool claim_ports(struct vga *v)
{
    static const struct {
        u16 first, count;
    } claims[VGA_PORT_RANGES] = {{VGA_CRTC_INDEX_MONO, 2},
                                 {VGA_STATUS1_MONO, 1},
                                 {VGA_ATTR, 16},
                                 {VGA_CRTC_INDEX, 2},
                                 {VGA_STATUS1, 1}};
    for (unsigned i = 0; i < VGA_PORT_RANGES; i++) {
        struct vga_port_range *r = &v->ranges[i];
        *r = (struct vga_port_range){.vga = v, .first = claims[i].first};
        r->claim = io_bus_claim(v->board.ports, r->first, claims[i].count, &range_ops, r);
        if (!r->claim)
            return false;
    }
    v->vbe_claim = io_bus_claim(v->board.ports, VBE_PORT_INDEX, VBE_PORT_COUNT, &vbe_ops, v);
    return v->vbe_claim;
}

/* ---- registers as memory (QEMU's "standard VGA" specification) ---- */

enum mmio_layout {
    MMIO_PORTS = 0x400, /* 3C0h..3DFh */
    MMIO_PORTS_END = 0x420,
    MMIO_VBE = 0x500, /* register n at 2n, 16 bits each */
    MMIO_VBE_END = MMIO_VBE + 2 * VBE_COUNT,
    MMIO_EXTENDED = 0x600, /* size of the extended block, then the byte order */
    MMIO_BYTE_ORDER = 0x604,
    MMIO_EXTENDED_END = 0x608,
};
#define BYTE_ORDER_LITTLE 0x1e1e1e1eu

static u8 mmio_read_byte(struct vga *v, u32 at)
{
    if (at >= MMIO_PORTS && at < MMIO_PORTS_END)
        return vga_port_read(v, (u16)(VGA_ATTR + (at - MMIO_PORTS)));
    if (at >= MMIO_VBE && at < MMIO_VBE_END)
        return (u8)(vbe_read(v, (u16)((at - MMIO_VBE) / 2)) >> (at & 1) * 8);
    if (at >= MMIO_BYTE_ORDER && at < MMIO_EXTENDED_END)
        return (u8)(BYTE_ORDER_LITTLE >> (at & 3) * 8);
    if (at == MMIO_EXTENDED)
        return MMIO_EXTENDED_END - MMIO_EXTENDED;
    return at >= MMIO_EXTENDED && at < MMIO_EXTENDED_END ? 0 : 0xff;
}

static u64 mmio_read(void *opaque, u64 offset, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)mmio_read_byte(opaque, (u32)offset + i) << (i * 8);
    return value;
}

static void mmio_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct vga *v = opaque;
    u32 at = (u32)offset;
    if (at >= MMIO_PORTS && at + size <= MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++)
            vga_port_write(v, (u16)(VGA_ATTR + (at - MMIO_PORTS) + i), (u8)(value >> (i * 8)));
    } else if (at >= MMIO_VBE && at + size <= MMIO_VBE_END && size >= 2) {
        for (unsigned i = 0; i < size; i += 2)
            vbe_write(v, (u16)((at + i - MMIO_VBE) / 2), (u16)(value >> (i * 8)));
    } else if (at == MMIO_BYTE_ORDER && value != BYTE_ORDER_LITTLE) {
        log_unsupported(v->board.log, "VGA byte order", value,
                        "the frame buffer stays little-endian");
    }
}

const struct mmio_ops vga_mmio_ops = {
    .name = "vga-mmio", .read = mmio_read, .write = mmio_write, .max_size = 4};

/* ---- device ---- */

static void vga_reset(void *dev)
{
    struct vga *v = dev;
    vga_regs_reset(v);
    vbe_reset(v);
    vga_mem_update(v);
    v->screen.redraw = true;
}

static void vga_loaded(void *dev)
{
    struct vga *v = dev;
    vga_regs_loaded(v);
    vbe_loaded(v);
    vga_mem_update(v);
    v->screen.redraw = true;
}

static void vga_destroy(void *dev)
{
    struct vga *v = dev;
    for (unsigned i = 0; i < VGA_PORT_RANGES; i++)
        io_bus_release(v->board.ports, v->ranges[i].claim);
    io_bus_release(v->board.ports, v->vbe_claim);
    vga_mem_unmap_window(v);
    vga_screen_destroy(v);
    free(v);
}

// clang-format off
static const struct state_field vga_state[] = {
    STATE_ROW(STATE_U8,    vga, misc,          1,          1),
    STATE_ROW(STATE_U8,    vga, feature,       1,          1),
    STATE_ROW(STATE_U8,    vga, enable,        1,          1),
    STATE_ROW(STATE_U8,    vga, seq_index,     1,          1),
    STATE_ROW(STATE_U8,    vga, seq,           SEQ_COUNT,  1),
    STATE_ROW(STATE_U8,    vga, gc_index,      1,          1),
    STATE_ROW(STATE_U8,    vga, gc,            GC_COUNT,   1),
    STATE_ROW(STATE_U8,    vga, crtc_index,    1,          1),
    STATE_ROW(STATE_U8,    vga, crtc,          CRTC_COUNT, 1),
    STATE_ROW(STATE_U8,    vga, attr_index,    1,          1),
    STATE_ROW(STATE_U8,    vga, attr,          ATTR_COUNT, 1),
    STATE_ROW(STATE_BOOL,  vga, attr_data,     1,          1),
    STATE_ROW(STATE_U8,    vga, dac_mask,      1,          1),
    STATE_ROW(STATE_U8,    vga, dac_read,      1,          1),
    STATE_ROW(STATE_U8,    vga, dac_write,     1,          1),
    STATE_ROW(STATE_U8,    vga, dac_component, 1,          1),
    STATE_ROW(STATE_U8,    vga, dac_state,     1,          1),
    STATE_ROW(STATE_U8,    vga, dac_pending,   2,          1),
    STATE_ROW(STATE_BYTES, vga, dac,           256 * 3,    1),
    STATE_ROW(STATE_U32,   vga, latch,         1,          1),
    STATE_ROW(STATE_I64,   vga, retrace_armed, 1,          1),
    STATE_ROW(STATE_U16,   vga, vbe_index,     1,          1),
    STATE_ROW(STATE_U16,   vga, vbe,           VBE_COUNT,  1),
    STATE_ROW(STATE_BOOL,  vga, packed,        1,          1),
    STATE_END,
};
// clang-format on

/* Video memory itself is saved with the memfd. */
static const struct device_ops vga_ops = {
    .name = "vga",
    .version = 1,
    .state = vga_state,
    .reset = vga_reset,
    .loaded = vga_loaded,
    .destroy = vga_destroy,
};

struct vga *vga_create(const struct vga_config *config)
{
    u32 bytes = config->vram_bytes ? config->vram_bytes : (u32)VRAM_DEFAULT;
    if (bytes < VRAM_MIN || bytes > VRAM_MAX || bytes & (bytes - 1)) {
        errno = EINVAL;
        return NULL;
    }
    struct vga *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->board = *config;
    v->vram_bytes = bytes;
    v->vram_offset = physmem_alloc(config->physmem, bytes, "vram");
    if (v->vram_offset == UINT64_MAX) {
        free(v);
        errno = ENOMEM;
        return NULL;
    }
    v->vram = physmem_host(config->physmem, v->vram_offset);
    if (!vga_screen_init(v) || !vga_mem_map_window(v) || !claim_ports(v)) {
        vga_destroy(v);
        errno = ENOMEM;
        return NULL;
    }
    vga_reset(v);
    return v;
}

struct device vga_device(struct vga *vga)
{
    return (struct device){.ops = &vga_ops, .dev = vga};
}

struct display_source vga_display(struct vga *vga)
{
    return (struct display_source){.refresh = vga_refresh, .text = vga_text, .opaque = vga};
}

u64 vga_vram_offset(const struct vga *vga)
{
    return vga->vram_offset;
}

u32 vga_vram_bytes(const struct vga *vga)
{
    return vga->vram_bytes;
}
