/* SPDX-License-Identifier: MIT
 *
 * Segment registers: descriptors, load checks, limits (SDM 3A chapters 3 and 5; 2A "MOV").
 *
 * In real mode loading a register changes selector and base and leaves limit and rights as they
 * are: "unreal mode" works as on every CPU since the 386. In 64-bit mode limits and most rights
 * do not count, bases only of FS and GS; the cached values are kept for compatibility mode.
 */
#include "cpu/seg.h"

#define ACCESSED_BYTE 5 /* of a descriptor: type, S, DPL, P */

#define ATTR_DATA (SEG_PRESENT | SEG_S | SEG_WRITABLE | SEG_ACCESSED)

/* ---- tables ---- */

struct segment seg_from_descriptor(u16 sel, u64 desc)
{
    return (struct segment){.base = desc_base(desc),
                            .limit = desc_limit(desc),
                            .attr = (u16)desc_attr(desc),
                            .sel = sel};
}

struct segment seg_vm86(u16 sel)
{
    return (struct segment){
        .base = (u64)sel << 4, .limit = 0xffff, .attr = ATTR_DATA | SEG_DPL, .sel = sel};
}

struct segment seg_null(u16 sel)
{
    return (struct segment){.sel = sel, .unusable = 1};
}

/* True when bytes first..last of the selector's table exist. */
static bool in_table(const struct vcpu *v, u16 sel, unsigned bytes)
{
    u32 last = (u32)(sel & ~7u) + bytes - 1;
    if (sel & SEL_TI)
        return !sel_null(v->ldtr.sel) && last <= v->ldtr.limit;
    return last <= v->gdtr.limit;
}

u64 seg_descriptor_address(const struct vcpu *v, u16 sel)
{
    u64 table = sel & SEL_TI ? v->ldtr.base : v->gdtr.base;
    u64 la = table + (sel & ~7u);
    return vcpu_long_mode(v) ? la : (u32)la;
}

bool seg_read_descriptor(struct vcpu *v, u16 selector, u64 *low)
{
    if (!in_table(v, selector, 8))
        return false;
    *low = mem_read_sys(v, seg_descriptor_address(v, selector), 8);
    return true;
}

u64 seg_descriptor(struct vcpu *v, u16 sel, unsigned vector)
{
    u64 desc;
    if (!seg_read_descriptor(v, sel, &desc))
        cpu_raise_error(v, vector, sel_error(sel));
    return desc;
}

u64 seg_descriptor_upper(struct vcpu *v, u16 sel)
{
    if (!in_table(v, sel, 16))
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    u64 upper = mem_read_sys(v, seg_descriptor_address(v, sel) + 8, 8);
    if (upper >> 40 & 0x1f) /* S and type must be 0 (SDM 3A figure 5-9) */
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    return upper;
}

u64 seg_gate_code(struct vcpu *v, u16 sel, unsigned size)
{
    u32 error = sel_error(sel);
    if (sel_null(sel))
        cpu_raise_error(v, VEC_GP, 0);
    u64 desc = seg_descriptor(v, sel, VEC_GP);
    if (!desc_is_code(desc) || desc_dpl(desc) > v->cpl)
        cpu_raise_error(v, VEC_GP, error);
    if (size == 8 && (desc_attr(desc) & (SEG_L | SEG_DB)) != SEG_L)
        cpu_raise_error(v, VEC_GP, error);
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, error);
    return desc;
}

u64 seg_mark_accessed(struct vcpu *v, u16 sel, u64 desc)
{
    const u64 accessed = (u64)SEG_ACCESSED << 40;
    if (!(desc & accessed)) {
        desc |= accessed;
        mem_write_sys(v, seg_descriptor_address(v, sel) + ACCESSED_BYTE, (u8)(desc >> 40), 1);
    }
    return desc;
}

void seg_set_busy(struct vcpu *v, u16 sel, bool busy)
{
    u64 la = seg_descriptor_address(v, sel) + ACCESSED_BYTE;
    u8 type = (u8)mem_read_sys(v, la, 1);
    mem_write_sys(v, la, busy ? type | TYPE_BUSY : type & ~TYPE_BUSY, 1);
}

/* ---- load checks ---- */

u64 seg_check_stack(struct vcpu *v, u16 sel, unsigned cpl, unsigned vector)
{
    if (sel_null(sel))
        cpu_raise_error(v, vector, 0);
    u64 desc = seg_descriptor(v, sel, vector);
    if (sel_rpl(sel) != cpl || desc_dpl(desc) != cpl || !desc_is_writable_data(desc))
        cpu_raise_error(v, vector, sel_error(sel));
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_SS, sel_error(sel));
    return seg_mark_accessed(v, sel, desc);
}

u64 seg_check_data(struct vcpu *v, u16 sel, unsigned cpl, unsigned vector)
{
    u64 desc = seg_descriptor(v, sel, vector);
    bool readable = desc_is_data(desc) || (desc_is_code(desc) && (desc_type(desc) & SEG_WRITABLE));
    bool conforming = desc_is_code(desc) && desc_is_conforming(desc);
    bool privileged = sel_rpl(sel) > desc_dpl(desc) || cpl > desc_dpl(desc);
    if (!readable || (!conforming && privileged))
        cpu_raise_error(v, vector, sel_error(sel));
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, sel_error(sel));
    return seg_mark_accessed(v, sel, desc);
}

/* ---- loading ---- */

static void load_real(struct vcpu *v, unsigned s, u16 sel)
{
    struct segment *r = &v->seg[s];
    if (v->mode & MODE_VM) {
        *r = seg_vm86(sel);
        return;
    }
    if (r->unusable)
        r->limit = 0xffff;
    if (r->unusable || !(r->attr & SEG_PRESENT))
        r->attr = ATTR_DATA;
    r->sel = sel;
    r->base = (u64)sel << 4;
    r->unusable = 0;
}

/* ---- what was loaded ---- */

void seg_gdt_changed(struct vcpu *v)
{
    seg_gdt_moved(v);
    memset(v->seg_loaded, 0, sizeof v->seg_loaded);
}

/* Where the CPU's own accesses find the first descriptors, if they do without a walk. */
static const u8 *gdt_on_host(struct vcpu *v)
{
    u64 la = v->gdtr.base, page = la & ~PAGE_OFFSET_MASK;
    const struct tlb_entry *e = &v->tlb[v->sys_view][(la >> PAGE_SHIFT) & (TLB_ENTRIES - 1)];
    if (e->read != page || (la & PAGE_OFFSET_MASK) + SEG_LOADED * 8 > PAGE_BYTES)
        return v->gdt_none;
    return (const u8 *)(uintptr_t)(la + e->addend);
}

/* Register s has just been loaded with a selector; what follows from it is computed. */
static void remember(struct vcpu *v, unsigned s, u16 sel)
{
    const struct segment *r = &v->seg[s];
    if (sel >= SEG_LOADED * 8 || (sel & SEL_TI) || vcpu_long_mode(v))
        return;
    if (v->gdt_host == v->gdt_none)
        v->gdt_host = gdt_on_host(v);
    if (v->gdt_host == v->gdt_none)
        return;
    u32 minus_tag = -seg_tag(sel, v->cpl);
    bool flat = !r->limited && !r->base;
    v->seg_loaded[sel >> 3] = (struct seg_loaded){.minus_bytes = -load64(v->gdt_host + (sel & ~7u)),
                                                  .minus_tag = minus_tag,
                                                  .minus_flat_tag = flat ? minus_tag : 0,
                                                  .seg = *r};
}

static void load_ss(struct vcpu *v, u16 sel)
{
    /* 64-bit mode below ring 3 needs no stack segment (SDM 3A §5.14.1... "MOV"). */
    if (sel_null(sel) && (v->mode & MODE_CS64) && v->cpl < 3 && sel_rpl(sel) == v->cpl) {
        v->seg[SEG_SS] = seg_null(sel);
        v->seg[SEG_SS].attr = (u16)(v->cpl << SEG_DPL_SHIFT);
        return;
    }
    u64 desc = seg_check_stack(v, sel, v->cpl, VEC_GP);
    v->seg[SEG_SS] = seg_from_descriptor(sel, desc);
}

static void load_data(struct vcpu *v, unsigned s, u16 sel)
{
    if (sel_null(sel)) {
        v->seg[s] = seg_null(sel);
        return;
    }
    u64 desc = seg_check_data(v, sel, v->cpl, VEC_GP);
    v->seg[s] = seg_from_descriptor(sel, desc);
}

void seg_load(struct vcpu *v, unsigned s, u16 selector)
{
    bool protected = vcpu_protected(v);
    if (!protected)
        load_real(v, s, selector);
    else if (s == SEG_SS)
        load_ss(v, selector);
    else
        load_data(v, s, selector);
    if (s == SEG_SS) {
        vcpu_mode_changed(v);
        return;
    }
    vcpu_data_segment_changed(v, s);
    if (protected)
        remember(v, s, selector);
}

void seg_set_cs(struct vcpu *v, u16 sel, u64 desc, unsigned cpl)
{
    v->seg[SEG_CS] = seg_from_descriptor((u16)((sel & ~SEL_RPL) | cpl), desc);
    v->cpl = (u8)cpl;
}

void seg_set_cs_real(struct vcpu *v, u16 sel)
{
    v->seg[SEG_CS].sel = sel;
    v->seg[SEG_CS].base = (u64)sel << 4;
}

void seg_drop_inaccessible(struct vcpu *v)
{
    static const u8 registers[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < sizeof registers; i++) {
        struct segment *s = &v->seg[registers[i]];
        bool conforming = (s->attr & (SEG_CODE | SEG_CONFORMING)) == (SEG_CODE | SEG_CONFORMING);
        /* A null selector loses its RPL, as Linux' selftest sigreturn sees on hardware. */
        if (s->unusable || (!conforming && attr_dpl(s->attr) < v->cpl)) {
            s->sel = 0;
            s->unusable = 1; /* the base stays, and counts for FS and GS in 64-bit mode */
        }
    }
}

/* ---- access checks ---- */

bool seg_in_limit(const struct segment *s, u64 ea, u64 size)
{
    u64 last = ea + size - 1;
    if (!(s->attr & SEG_CODE) && (s->attr & SEG_EXPAND_DOWN)) {
        u64 top = s->attr & SEG_DB ? 0xffffffffu : 0xffffu;
        return ea > s->limit && last <= top;
    }
    return last <= s->limit || s->limit == UINT32_MAX; /* wraps around */
}

/* The type allows the access (outside real and virtual-8086 mode). */
static bool type_allows(const struct segment *s, enum access access)
{
    if (s->attr & SEG_CODE)
        return access != ACCESS_WRITE && (s->attr & SEG_WRITABLE);
    return access != ACCESS_WRITE || (s->attr & SEG_WRITABLE);
}

void seg_check_slow(struct vcpu *v, unsigned s, u64 ea, unsigned size, enum access access)
{
    unsigned vector = s == SEG_SS ? VEC_SS : VEC_GP;
    const struct segment *r = &v->seg[s];
    if (v->mode & MODE_CS64) {
        if (!mem_canonical(ea) || !mem_canonical(ea + size - 1))
            cpu_raise_error(v, vector, 0);
        return;
    }
    if (r->unusable || !seg_in_limit(r, ea, size))
        cpu_raise_error(v, vector, 0);
    if (vcpu_protected(v) && !type_allows(r, access))
        cpu_raise_error(v, vector == VEC_SS ? VEC_GP : vector, 0);
}
