/* SPDX-License-Identifier: MIT
 *
 * The window at A0000h-BFFFFh: how CPU accesses reach the planes.
 *
 *   read    group -> latches;  mode 0: one plane, mode 1: pixels that match a color
 *   write   mode 0: CPU byte, rotated, or set/reset, combined with the latches, through the bit
 * mask mode 1: latches mode 2: CPU nibble as a color, combined, through the bit mask mode 3:
 * set/reset as a color through (rotated CPU byte AND bit mask) then only the planes of the map mask
 * are stored
 *
 * A group (the bytes of the four planes at one offset) is one 32-bit word, so all planes are
 * computed together and a mask of byte lanes selects what is stored.
 *
 * The fast way: when memory is plain (a VBE bank, or chain-4 with nothing else turned on, as in
 * mode 13h) and a guest has used it for a while, the video memory itself is mapped over the window
 * and accesses do not come here at all. Any register that changes the meaning takes it away.
 */
#include "devices/vga_state.h"

/* Below RAM: the host bridge decides whether A0000h reaches the bus. */
#define WINDOW_PRIORITY (-1)
/* Mapping memory costs every CPU its cached translations of the window: as much as some thousand
 * accesses. */
#define DIRECT_THRESHOLD 4096

/* Byte p of the result is FFh where bit p of the nibble is set. The product has bit p at 8p. */
static u32 lanes_of_nibble(u32 nibble)
{
    return (nibble * 0x00204081u & 0x01010101u) * 0xffu;
}

static u32 lanes_of_byte(u8 byte)
{
    return byte * 0x01010101u;
}

static u8 rotate_right(u8 value, unsigned n)
{
    return (u8)(value >> n | value << (8 - n));
}

/* ---- registers to pipe ---- */

static void update_window(const struct vga *v, struct vga_pipe *p)
{
    static const struct {
        u32 first, size;
    } map[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned m = v->gc[GC_MISC] >> 2 & 3;
    bool open = v->misc & MISC_RAM && v->enable & 1;
    p->first = map[m].first;
    p->size = open ? map[m].size : 0;
    p->whole_window = m == 0;
}

static void update_addressing(const struct vga *v, struct vga_pipe *p)
{
    u8 memory = v->seq[SEQ_MEMORY_MODE];
    if (vbe_linear(v))
        p->kind = VGA_PIPE_LINEAR;
    else if (memory & MEMORY_CHAIN4)
        p->kind = VGA_PIPE_CHAIN4;
    else
        p->kind = VGA_PIPE_PLANAR;
    p->bank = vbe_enabled(v) ? v->vbe[VBE_BANK] * VGA_BANK_BYTES : 0;
    if (p->kind == VGA_PIPE_LINEAR)
        p->limit = v->vram_bytes - 1;
    else if (p->kind == VGA_PIPE_CHAIN4)
        p->limit = vbe_enabled(v) ? v->vram_bytes - 1 : VGA_PLANE_BYTES - 1;
    else
        p->limit = vbe_enabled(v) ? v->vram_bytes / VGA_GROUP_BYTES - 1 : VGA_GROUPS - 1;
    p->odd_even = v->gc[GC_MISC] & MISC_CHAIN_ODD_EVEN;
    p->page_bit = v->misc & MISC_LOW_PAGE ? 0 : 1;
}

static void update_planes(const struct vga *v, struct vga_pipe *p)
{
    u8 mask = v->seq[SEQ_MAP_MASK];
    u8 map = v->gc[GC_READ_MAP];
    bool write_odd_even = !(v->seq[SEQ_MEMORY_MODE] & MEMORY_SEQUENTIAL);
    bool read_odd_even = v->gc[GC_MODE] & MODE_ODD_EVEN;
    p->map_even = lanes_of_nibble(write_odd_even ? mask & 5 : mask);
    p->map_odd = lanes_of_nibble(write_odd_even ? mask & 10 : mask);
    p->read_even = read_odd_even ? map & 2 : map;
    p->read_odd = read_odd_even ? map | 1 : map;
}

static void update_processing(const struct vga *v, struct vga_pipe *p)
{
    p->write_mode = v->gc[GC_MODE] & MODE_WRITE;
    p->rotate = v->gc[GC_ROTATE] & 7;
    p->function = v->gc[GC_ROTATE] >> 3 & 3;
    p->set_reset = lanes_of_nibble(v->gc[GC_SET_RESET]);
    p->enable_set_reset = lanes_of_nibble(v->gc[GC_ENABLE_SET_RESET]);
    p->bit_mask = lanes_of_byte(v->gc[GC_BIT_MASK]);
    p->compare = lanes_of_nibble(v->gc[GC_COLOR_COMPARE]);
    p->care = lanes_of_nibble(v->gc[GC_DONT_CARE]);
    bool straight = !p->write_mode && !p->rotate && !p->function && !p->enable_set_reset &&
                    p->bit_mask == ~0u && v->seq[SEQ_MAP_MASK] == 15 &&
                    !(v->gc[GC_MODE] & MODE_READ_COMPARE);
    p->plain = p->kind == VGA_PIPE_LINEAR || (p->kind == VGA_PIPE_CHAIN4 && straight);
}

/* ---- order of the groups ---- */

static u32 rotate_index_left(u32 i)
{
    return (i << 2 | i >> 14) & (VGA_GROUPS - 1);
}

static u32 rotate_index_right(u32 i)
{
    return (i >> 2 | i << 14) & (VGA_GROUPS - 1);
}

/* Where the group that belongs at `to` lies before the move. */
static u32 moved_from(u32 to, bool packed)
{
    return packed ? rotate_index_left(to) : rotate_index_right(to);
}

/* Each cycle of the permutation is moved once, from its lowest member. */
static bool leads_cycle(u32 i)
{
    for (u32 j = rotate_index_left(i); j != i; j = rotate_index_left(j)) {
        if (j < i)
            return false;
    }
    return true;
}

/* Moves every group from hardware to packed order or back, in place: both are rotations of a
 * 16-bit index, so cycles are no longer than eight. */
static void repack(struct vga *v, bool packed)
{
    if (v->packed == packed)
        return;
    v->packed = packed;
    physmem_touch_range(v->board.physmem, v->vram_offset, VGA_PLANE_BYTES);
    for (u32 start = 0; start < VGA_GROUPS; start++) {
        if (!leads_cycle(start))
            continue;
        u32 first = load32(v->vram + start * VGA_GROUP_BYTES);
        u32 to = start;
        for (u32 from = moved_from(to, packed); from != start; from = moved_from(to, packed)) {
            store32(v->vram + to * VGA_GROUP_BYTES, load32(v->vram + from * VGA_GROUP_BYTES));
            to = from;
        }
        store32(v->vram + to * VGA_GROUP_BYTES, first);
    }
}

/* ---- the fast way ---- */

static void unmap_direct(struct vga *v)
{
    v->direct_heat = 0;
    if (!v->direct)
        return;
    physmem_unmap(v->board.physmem, v->direct);
    v->direct = NULL;
}

static void map_direct(struct vga *v)
{
    const struct vga_pipe *p = &v->pipe;
    u32 at = p->bank & p->limit;
    if (v->direct || p->size > p->limit + 1 - at)
        return;
    v->direct = physmem_map_ram(v->board.physmem, VGA_WINDOW_BASE + p->first, p->size,
                                v->vram_offset + at, WINDOW_PRIORITY, "vga-direct");
}

/* Counts an access that plain memory would have served. */
static void heat(struct vga *v)
{
    if (++v->direct_heat >= DIRECT_THRESHOLD) {
        v->direct_heat = 0;
        map_direct(v);
    }
}

void vga_mem_update(struct vga *v)
{
    struct vga_pipe p;
    memset(&p, 0, sizeof p);
    update_window(v, &p);
    update_addressing(v, &p);
    update_planes(v, &p);
    update_processing(v, &p);
    if (p.plain != v->pipe.plain || p.kind != v->pipe.kind || p.bank != v->pipe.bank ||
        p.first != v->pipe.first || p.size != v->pipe.size || p.limit != v->pipe.limit)
        unmap_direct(v);
    v->pipe = p;
    repack(v, p.kind != VGA_PIPE_PLANAR);
}

/* ---- accesses ---- */

/* The byte address in video memory of the group that window address `a` belongs to. */
static u32 group_address(const struct vga_pipe *p, u32 a)
{
    if (p->kind != VGA_PIPE_PLANAR)
        return (a + p->bank) & p->limit & ~(VGA_GROUP_BYTES - 1);
    if (p->odd_even)
        a = (a & ~1u) | (p->whole_window ? a >> 16 & 1 : p->page_bit);
    return ((a + p->bank) & p->limit) * VGA_GROUP_BYTES;
}

/* Bit n of the result: the pixel n of the latches has the compared color in all planes that
 * matter. */
static u8 compare_color(const struct vga_pipe *p, u32 latch)
{
    u32 differ = (latch ^ p->compare) & p->care;
    differ |= differ >> 16;
    return (u8) ~(differ | differ >> 8);
}

static u8 read_byte(const struct vga *v, u32 a, u32 *latch)
{
    const struct vga_pipe *p = &v->pipe;
    *latch = load32(v->vram + group_address(p, a));
    if (p->kind == VGA_PIPE_LINEAR)
        return (u8)(*latch >> (a & 3) * 8);
    if (v->gc[GC_MODE] & MODE_READ_COMPARE)
        return compare_color(p, *latch);
    unsigned plane = a & 1 ? p->read_odd : p->read_even;
    if (p->kind == VGA_PIPE_CHAIN4)
        plane = a & 3;
    return (u8)(*latch >> plane * 8);
}

static u32 combine(const struct vga_pipe *p, u32 value, u32 latch, u32 bit_mask)
{
    enum { FUNCTION_COPY, FUNCTION_AND, FUNCTION_OR, FUNCTION_XOR };
    switch (p->function) {
    case FUNCTION_AND: value &= latch; break;
    case FUNCTION_OR: value |= latch; break;
    case FUNCTION_XOR: value ^= latch; break;
    case FUNCTION_COPY: break;
    }
    return (value & bit_mask) | (latch & ~bit_mask);
}

/* What the four planes would hold after the CPU wrote `byte`. */
static u32 process(const struct vga_pipe *p, u8 byte, u32 latch)
{
    switch (p->write_mode) {
    case 0: {
        u32 value = lanes_of_byte(rotate_right(byte, p->rotate));
        value = (value & ~p->enable_set_reset) | (p->set_reset & p->enable_set_reset);
        return combine(p, value, latch, p->bit_mask);
    }
    case 1: return latch;
    case 2: return combine(p, lanes_of_nibble(byte & 15), latch, p->bit_mask);
    default: {
        u32 mask = lanes_of_byte(rotate_right(byte, p->rotate)) & p->bit_mask;
        return combine(p, p->set_reset, latch, mask);
    }
    }
}

static void write_byte(struct vga *v, u32 a, u8 byte)
{
    const struct vga_pipe *p = &v->pipe;
    u32 at = group_address(p, a);
    u32 lanes = a & 1 ? p->map_odd : p->map_even;
    if (p->kind == VGA_PIPE_CHAIN4)
        lanes = 0xffu << (a & 3) * 8 & lanes_of_nibble(v->seq[SEQ_MAP_MASK]);
    u32 value = process(p, byte, v->latch);
    vga_touch(v, at, VGA_GROUP_BYTES);
    store32(v->vram + at, (load32(v->vram + at) & ~lanes) | (value & lanes));
}

static u64 window_read(void *opaque, u64 offset, unsigned size)
{
    struct vga *v = opaque;
    const struct vga_pipe *p = &v->pipe;
    u32 a = (u32)offset - p->first;
    if (a >= p->size)
        return ~(u64)0;
    if (p->plain) {
        u32 at = (a + p->bank) & p->limit;
        v->latch = load32(v->vram + ((at + size - 1) & ~(VGA_GROUP_BYTES - 1)));
        u64 value = load_sized(v->vram + at, size);
        heat(v);
        return value;
    }
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)read_byte(v, a + i, &v->latch) << (i * 8);
    return value;
}

static void window_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct vga *v = opaque;
    const struct vga_pipe *p = &v->pipe;
    u32 a = (u32)offset - p->first;
    if (a >= p->size)
        return;
    if (p->plain) {
        u32 at = (a + p->bank) & p->limit;
        vga_touch(v, at, size);
        store_sized(v->vram + at, value, size);
        heat(v);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        write_byte(v, a + i, (u8)(value >> (i * 8)));
}

u8 vga_peek(struct vga *v, u32 offset)
{
    u32 latch;
    u32 a = offset - v->pipe.first;
    return a < v->pipe.size ? read_byte(v, a, &latch) : 0xff;
}

static u8 window_peek(void *opaque, u64 offset)
{
    return vga_peek(opaque, (u32)offset);
}

static const struct mmio_ops window_ops = {.name = "vga-window",
                                           .read = window_read,
                                           .write = window_write,
                                           .max_size = 8,
                                           .peek = window_peek};

bool vga_mem_map_window(struct vga *v)
{
    v->window = physmem_map_mmio(v->board.physmem, VGA_WINDOW_BASE, VGA_WINDOW_SIZE, &window_ops, v,
                                 WINDOW_PRIORITY);
    return v->window;
}

void vga_mem_unmap_window(struct vga *v)
{
    unmap_direct(v);
    physmem_unmap(v->board.physmem, v->window);
}
