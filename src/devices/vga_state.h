/* SPDX-License-Identifier: MIT
 *
 * What the files of the VGA share: register names (IBM's "VGA Programming Model", Bochs' VBE
 * interface), the adapter's state, and who calls whom:
 *
 *   vga.c         constructor, reset, ports and windows on the buses
 *   vga_regs.c    the registers behind the ports
 *   vga_timing.c  where the beam is now: retrace, blinking
 *   vga_mem.c     the CPU's way into video memory: latches, planes, write modes
 *   vbe.c         the Bochs VBE registers
 *   vga_screen.c  refresh: which mode, what changed
 *   vga_text.c, vga_graphics.c, vga_linear.c   pixels of the three kinds of modes
 *
 * Video memory. The four planes are interleaved: byte p of *group* n is plane p, so that a latch
 * load is one 32-bit load and every VGA operation works on four planes at once. 64 Ki groups are
 * the VGA's 256 KiB; the rest is for VBE modes, which see all of it as plain bytes.
 *
 *   Plane offsets are those of the IBM hardware: odd/even modes use every second, chain-4 every
 *   fourth byte of a plane. That would scatter mode 13h over the memfd, so while chain-4 is on
 *   the groups lie *packed*, sorted by CPU address (group = offset rotated right by 2), which
 *   makes chain-4 memory plain bytes too. Turning chain-4 on or off moves the groups, and the
 *   guest sees the hardware's layout either way (vga_mem_repack).
 */
#ifndef ANELLO_DEVICES_VGA_STATE_H
#define ANELLO_DEVICES_VGA_STATE_H

#include "devices/vga.h"

/* ---- ports ---- */

enum vga_port {
    VGA_CRTC_INDEX_MONO = 0x3b4,
    VGA_CRTC_DATA_MONO = 0x3b5,
    VGA_STATUS1_MONO = 0x3ba,
    VGA_ATTR = 0x3c0,
    VGA_ATTR_READ = 0x3c1,
    VGA_MISC_WRITE = 0x3c2, /* read: input status 0 */
    VGA_ENABLE = 0x3c3,
    VGA_SEQ_INDEX = 0x3c4,
    VGA_SEQ_DATA = 0x3c5,
    VGA_DAC_MASK = 0x3c6,
    VGA_DAC_READ_INDEX = 0x3c7, /* read: DAC state */
    VGA_DAC_WRITE_INDEX = 0x3c8,
    VGA_DAC_DATA = 0x3c9,
    VGA_FEATURE_READ = 0x3ca,
    VGA_MISC_READ = 0x3cc,
    VGA_GC_INDEX = 0x3ce,
    VGA_GC_DATA = 0x3cf,
    VGA_CRTC_INDEX = 0x3d4,
    VGA_CRTC_DATA = 0x3d5,
    VGA_STATUS1 = 0x3da, /* write: feature control */
    VBE_PORT_INDEX = 0x1ce,
    VBE_PORT_DATA = 0x1cf,
    VBE_PORT_COUNT = 4, /* the data register answers at 1D0h too, where it is aligned */
};

/* ---- registers and their bits ---- */

enum vga_misc {
    MISC_COLOR = 1 << 0, /* CRTC at 3Dxh instead of 3Bxh */
    MISC_RAM = 1 << 1,
    MISC_CLOCK = 3 << 2,
    MISC_CLOCK_28 = 1 << 2,
    MISC_LOW_PAGE = 1 << 5, /* odd/even modes: the even byte of a pair of plane offsets */
};

enum vga_status0 { STATUS0_SENSE = 1 << 4, STATUS0_RETRACE_PENDING = 1 << 7 };
enum vga_status1 { STATUS1_NO_DISPLAY = 1 << 0, STATUS1_RETRACE = 1 << 3, STATUS1_VIDEO = 4 };

enum vga_seq {
    SEQ_RESET,
    SEQ_CLOCKING,
    SEQ_MAP_MASK,
    SEQ_CHAR_MAP,
    SEQ_MEMORY_MODE,
    SEQ_COUNT,

    CLOCKING_8_DOTS = 1 << 0,
    CLOCKING_HALF = 1 << 3,
    CLOCKING_SCREEN_OFF = 1 << 5,
    MEMORY_EXTENDED = 1 << 1,
    MEMORY_SEQUENTIAL = 1 << 2, /* 0: odd/even */
    MEMORY_CHAIN4 = 1 << 3,
};

enum vga_gc {
    GC_SET_RESET,
    GC_ENABLE_SET_RESET,
    GC_COLOR_COMPARE,
    GC_ROTATE,
    GC_READ_MAP,
    GC_MODE,
    GC_MISC,
    GC_DONT_CARE,
    GC_BIT_MASK,
    GC_COUNT,

    MODE_WRITE = 3 << 0,
    MODE_READ_COMPARE = 1 << 3,
    MODE_ODD_EVEN = 1 << 4,
    MODE_SHIFT_INTERLEAVED = 1 << 5,
    MODE_SHIFT_256 = 1 << 6,
    MISC_GRAPHICS = 1 << 0,
    MISC_CHAIN_ODD_EVEN = 1 << 1,
};

enum vga_crtc {
    CRTC_H_TOTAL,
    CRTC_H_DISPLAY_END,
    CRTC_H_BLANK_START,
    CRTC_H_BLANK_END,
    CRTC_H_RETRACE_START,
    CRTC_H_RETRACE_END,
    CRTC_V_TOTAL,
    CRTC_OVERFLOW,
    CRTC_PRESET_ROW_SCAN,
    CRTC_MAX_SCAN_LINE,
    CRTC_CURSOR_START,
    CRTC_CURSOR_END,
    CRTC_START_HIGH,
    CRTC_START_LOW,
    CRTC_CURSOR_HIGH,
    CRTC_CURSOR_LOW,
    CRTC_V_RETRACE_START,
    CRTC_V_RETRACE_END,
    CRTC_V_DISPLAY_END,
    CRTC_OFFSET,
    CRTC_UNDERLINE,
    CRTC_V_BLANK_START,
    CRTC_V_BLANK_END,
    CRTC_MODE,
    CRTC_LINE_COMPARE,
    CRTC_COUNT,
    /* Undocumented by IBM, but in every VGA: */
    CRTC_LATCH = 0x22,
    CRTC_ATTR_FLIP_FLOP = 0x24,
    CRTC_ATTR_INDEX = 0x26,

    OVERFLOW_LINE_COMPARE_8 = 1 << 4,
    MAX_SCAN_LINE_COMPARE_9 = 1 << 6,
    MAX_SCAN_DOUBLE = 1 << 7,
    CURSOR_OFF = 1 << 5,
    V_RETRACE_CLEAR = 1 << 4, /* 0 clears (and holds clear) the interrupt */
    V_RETRACE_PROTECT = 1 << 7,
    UNDERLINE_COUNT_BY_4 = 1 << 5,
    UNDERLINE_DWORD = 1 << 6,
    CRTC_MODE_MA13 = 1 << 0, /* 0: row scan bit 0 replaces address bit 13 */
    CRTC_MODE_MA14 = 1 << 1,
    CRTC_MODE_V_BY_2 = 1 << 2,
    CRTC_MODE_COUNT_BY_2 = 1 << 3,
    CRTC_MODE_WRAP_15 = 1 << 5,
    CRTC_MODE_BYTE = 1 << 6,
    CRTC_MODE_RUN = 1 << 7,
};

enum vga_attr {
    ATTR_PALETTE,
    ATTR_MODE = 0x10,
    ATTR_OVERSCAN,
    ATTR_PLANE_ENABLE,
    ATTR_PANNING,
    ATTR_COLOR_SELECT,
    ATTR_COUNT,

    ATTR_INDEX = 0x1f,
    ATTR_SOURCE = 1 << 5, /* in the index: 0 gives the palette to the CPU and blanks the screen */
    ATTR_MODE_LINE_GRAPHICS = 1 << 2,
    ATTR_MODE_BLINK = 1 << 3,
    ATTR_MODE_PAN_TOP = 1 << 5, /* the split screen does not pan */
    ATTR_MODE_P54 = 1 << 7,     /* DAC index bits 5..4 come from the color select register */
};

enum vbe_register {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K, /* read only */
    VBE_COUNT,

    VBE_ID_FIRST = 0xb0c0,
    VBE_ID_LAST = 0xb0c5,
    VBE_ENABLED = 1 << 0,
    VBE_GET_CAPS = 1 << 1,
    VBE_8_BIT_DAC = 1 << 5,
    VBE_LFB_ENABLED = 1 << 6,
    VBE_NO_CLEAR = 1 << 7,
    VBE_MAX_XRES = 2560,
    VBE_MAX_YRES = 1600,
    VBE_MAX_BPP = 32,
    VBE_MAX_VIRT_WIDTH = 0xfff8,
};

#define VGA_WINDOW_BASE 0xa0000u
#define VGA_WINDOW_SIZE 0x20000u
#define VGA_BANK_BYTES  0x10000u
#define VGA_GROUPS      0x10000u /* plane offsets of the VGA proper */
#define VGA_GROUP_BYTES 4u
#define VGA_PLANE_BYTES (VGA_GROUPS * VGA_GROUP_BYTES) /* of all four planes */
#define VGA_PORT_RANGES 5
#define VGA_MAX_LINES   2048u /* 10-bit counter, each line twice */
#define VGA_GLYPH_ROWS  32u
#define VGA_FONT_BYTES  (256u * VGA_GLYPH_ROWS)

/* The CPU's way into memory, as the registers say it now: derived, so that an access decides
 * nothing twice. Lanes are 32-bit values with one byte a plane. */
struct vga_pipe {
    u32 first, size; /* the window within A0000h-BFFFFh; size 0: none */
    enum vga_pipe_kind { VGA_PIPE_PLANAR, VGA_PIPE_CHAIN4, VGA_PIPE_LINEAR } kind;
    bool plain;        /* linear, or chain-4 without any processing: bytes are bytes */
    u32 bank;          /* added to the window offset */
    u32 limit;         /* mask of plane offsets or, linear and chain-4, of byte addresses */
    bool odd_even;     /* odd/even replaces address bit 0 by `page_bit` or bit 16 */
    bool whole_window; /* 128 KiB map: A16 is the replacement bit */
    u8 page_bit;
    u32 map_even, map_odd; /* lanes written through even and odd addresses */
    u8 read_even, read_odd;
    u8 write_mode, function, rotate;
    u32 set_reset, enable_set_reset, bit_mask; /* lanes */
    u32 compare, care;                         /* lanes */
};

/* One page of video memory, for the dirty scan. */
struct vga_page {
    u8 stale : 1;    /* differs from the picture */
    u8 settling : 1; /* was drawn once; a late write may still have come: look again */
    u8 heat : 4;     /* refreshes in a row in which it was written */
    u8 skip;         /* refreshes that do not bother to mark it */
};

/* What decides the shape of the picture. Compared by memcmp: no padding. */
struct vga_shape {
    u32 kind; /* enum vga_kind */
    u32 width, height;
    u32 cell_width;       /* text: dots of a character */
    u32 dot_width;        /* pixels of a dot: 2 when the dot clock is halved */
    u32 columns;          /* character clocks of a line */
    u32 pitch, base, bpp; /* linear */
};

enum vga_kind {
    VGA_KIND_NONE,
    VGA_KIND_BLANK,
    VGA_KIND_TEXT,
    VGA_KIND_PLANAR,
    VGA_KIND_INTERLEAVED, /* CGA's two bits a pixel */
    VGA_KIND_256,
    VGA_KIND_LINEAR,
};

/* The picture and what it was made from; nothing here is the guest's to see. */
struct vga_screen {
    struct surface surface;
    size_t pixels_allocated;
    struct vga_shape shape;
    bool redraw;       /* everything, whatever the caches say */
    struct rect dirty; /* being collected by the running refresh */
    struct vga_page *pages;
    /* What the picture shows, vga_cache_stride() words a row. Text: the cells of each band;
     * planar: the panning and the groups of each line. */
    u32 *cache;
    size_t cache_words;
    u32 band[VGA_MAX_LINES];      /* text: which rows of its cells each band shows */
    u8 crtc[CRTC_COUNT], panning; /* as of the last refresh */
    u8 font[2][VGA_FONT_BYTES];
    u32 color16[16], color256[256];
    u32 blink_phase;
};

struct vga {
    struct vga_config board;
    u8 *vram;
    u64 vram_offset;
    u32 vram_bytes;
    struct vga_port_range {
        struct vga *vga;
        u16 first;
        struct io_claim *claim;
    } ranges[VGA_PORT_RANGES];
    struct io_claim *vbe_claim;
    struct phys_region *window;
    struct phys_region *direct; /* memory over the window while that means the same */
    u32 direct_heat;            /* plain accesses that took the slow way since the last change */

    /* State of the chips. */
    u8 misc, feature, enable;
    u8 seq_index, seq[SEQ_COUNT];
    u8 gc_index, gc[GC_COUNT];
    u8 crtc_index, crtc[CRTC_COUNT];
    u8 attr_index, attr[ATTR_COUNT];
    bool attr_data; /* the flip-flop: the next write to 3C0h is data */
    u8 dac_mask, dac_read, dac_write;
    u8 dac_component; /* next of red, green, blue */
    u8 dac_state;     /* 3 after a read index, 0 after a write index */
    u8 dac_pending[2];
    u8 dac[256 * 3];
    u32 latch;
    i64 retrace_armed; /* since when the retrace interrupt is not held clear */
    u16 vbe_index, vbe[VBE_COUNT];
    bool packed; /* order of the groups, see above */

    struct vga_pipe pipe;
    struct vga_screen screen;
};

/* ---- vga_regs.c ---- */
u8 vga_port_read(struct vga *v, u16 port);
void vga_port_write(struct vga *v, u16 port, u8 value);
void vga_regs_reset(struct vga *v);
void vga_regs_loaded(struct vga *v);
bool vga_is_graphics(const struct vga *v);

/* ---- vga_timing.c ---- */
struct vga_beam {
    bool display; /* neither border, blanking nor retrace */
    bool retrace; /* vertical */
};
struct vga_beam vga_beam(const struct vga *v);
/* Frames begun since power-on, as if the timing had always been the present one. */
u64 vga_frames(const struct vga *v);
/* True when a vertical retrace began after virtual time `since`. */
bool vga_retrace_since(const struct vga *v, i64 since);
/* Vertical positions in scan lines. */
u32 vga_display_lines(const struct vga *v);
u32 vga_line_compare(const struct vga *v);

/* ---- vga_mem.c ---- */
bool vga_mem_map_window(struct vga *v);
void vga_mem_unmap_window(struct vga *v);
/* After a register that shapes the CPU's access changed. */
void vga_mem_update(struct vga *v);
/* vram[at..at+n-1], within one page, is about to be written. */
static inline void vga_touch(struct vga *v, u32 at, u32 n)
{
    u64 offset = v->vram_offset + at;
    if (UNLIKELY(*physmem_marks(v->board.physmem, offset)))
        physmem_touch(v->board.physmem, offset, n);
}
/* Where the group of a plane offset lies. */
static inline u32 vga_group(const struct vga *v, u32 offset)
{
    return v->packed ? (offset >> 2 | (offset & 3) << 14) & (VGA_GROUPS - 1) : offset;
}

/* ---- vbe.c ---- */
u16 vbe_read(const struct vga *v, u16 index);
void vbe_write(struct vga *v, u16 index, u16 value);
void vbe_reset(struct vga *v);
void vbe_loaded(struct vga *v);
static inline bool vbe_enabled(const struct vga *v)
{
    return v->vbe[VBE_ENABLE] & VBE_ENABLED;
}
static inline bool vbe_linear(const struct vga *v)
{
    return vbe_enabled(v) && v->vbe[VBE_BPP] >= 8;
}
/* Bytes from one line to the next; of one plane in 4-bit modes. */
u32 vbe_pitch(const struct vga *v);

/* ---- vga_screen.c ---- */
const struct surface *vga_refresh(void *opaque, struct rect *dirty);
bool vga_screen_init(struct vga *v);
void vga_screen_destroy(struct vga *v);
struct vga_shape vga_screen_shape(const struct vga *v);
/* Looks which pages of vram[from..to-1] were written since the last refresh; true when any was. To
 * be called once a refresh for each page; vga_screen_stale() then tells single ranges. */
bool vga_screen_scan(struct vga *v, u32 from, u32 to);
bool vga_screen_stale(const struct vga *v, u32 from, u32 to);
/* Adds to the dirty rectangle of the running refresh. */
void vga_screen_dirty(struct vga *v, u32 x, u32 y, u32 w, u32 h);
static inline u32 vga_cache_stride(const struct vga_shape *s)
{
    return s->columns + 2; /* a panned line shows a part of one more column */
}
static inline u32 *vga_screen_row(struct vga *v, u32 y)
{
    return v->screen.surface.pixels + (size_t)y * v->screen.surface.stride;
}

/* The CRTC's walk down the screen: what it fetches in each scan line. */
struct vga_scan {
    u32 base;       /* address counter at the left edge */
    u32 row;        /* row scan counter, 0..31 */
    u32 pan;        /* dots that the picture is shifted left */
    bool row_start; /* this line is the first of a character row */
    /* private */
    u32 y, pitch, last_row, split, split_pan;
    bool doubled, second;
};
void vga_scan_start(const struct vga *v, const struct vga_shape *s, struct vga_scan *scan);
void vga_scan_next(struct vga_scan *scan);

/* How addresses of the counter reach memory (CRTC 14h and 17h). */
struct vga_fetch {
    u32 mode; /* CRTC mode register */
    u32 mask; /* of plane offsets */
    bool dword;
    u8 count_shift;
};
struct vga_fetch vga_fetch(const struct vga *v);
/* The plane offset that the counter value `ma` addresses in row `row`. */
u32 vga_fetch_offset(const struct vga_fetch *f, u32 ma, u32 row);

/* ---- vga_text.c ---- */
void vga_text_refresh(struct vga *v, bool memory_changed);
/* True when the cursor or blinking characters turned on or off since the last call. */
bool vga_text_blinked(struct vga *v);
size_t vga_text(void *opaque, char *buf, size_t n);

/* ---- vga_graphics.c: the VGA's own graphics modes ---- */
void vga_graphics_refresh(struct vga *v);

/* ---- vga_linear.c: VBE modes of 8 bits and more ---- */
void vga_linear_refresh(struct vga *v);

#endif
