/* SPDX-License-Identifier: MIT
 *
 * INT n from ring 3 to ring 0 and IRET, in C but without most of the work, when they do as they did
 * the last time: the gate, the descriptors and the mode are compared with what they were, stack
 * pointer, flags and return address are the guest's of now. What is not exactly so is executed by
 * the interpreter's function, and remembered.
 *
 * As in ring.c, what a change of rings leads to is forgotten by vcpu_forget_rings().
 */
#include "bt/internal.h"
#include "cpu/flags.h"
#include "cpu/optable.h"
#include "cpu/seg.h"
#include "cpu/tss.h"

/* With one of these set, before or after, the interpreter does it. */
#define FLAGS_ODD (FLAG_TF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_NT | FLAG_RF)
/* What IRET at CPL 0 may load, and that is not odd. IOPL stays as it is. */
#define FLAGS_LOADED (FLAG_OSZAPC | FLAG_DF | FLAG_ID | FLAG_IF)

#define SLOTS (sizeof(u32))
enum frame_slot { FRAME_IP, FRAME_CS, FRAME_FLAGS, FRAME_SP, FRAME_SS, FRAME_SLOTS };

/* ---- memory that the TLB knows ---- */

static u8 *host_of(struct vcpu *v, u32 la, unsigned size, unsigned view, bool write)
{
    const struct tlb_entry *e = tlb_entry(v, la, view);
    u64 tag = write ? e->write : e->read;
    return tag == ((u32)(la + size - 1) & ~PAGE_OFFSET_MASK) ? (u8 *)(uintptr_t)(la + e->addend)
                                                             : NULL;
}

/* 0: not known, or no descriptor. */
static u64 known_descriptor(struct vcpu *v, u16 sel)
{
    if ((sel & SEL_TI) || (sel | 7u) > v->gdtr.limit)
        return 0;
    const u8 *p = host_of(v, (u32)(v->gdtr.base + (sel & ~7u)), 8, v->sys_view, false);
    return p ? load64(p) : 0;
}

static u64 known_gate(struct vcpu *v, unsigned vector)
{
    if (vector * 8 + 7 > v->idtr.limit)
        return 0;
    const u8 *p = host_of(v, (u32)(v->idtr.base + vector * 8), 8, v->sys_view, false);
    return p ? load64(p) : 0;
}

/* ESP0 and SS0. */
static const u8 *known_stack(struct vcpu *v)
{
    if (!tss_is_32(&v->tr) || v->tr.limit < TSS32_ESP0 + 7)
        return NULL;
    return host_of(v, (u32)(v->tr.base + TSS32_ESP0), 8, v->sys_view, false);
}

/* ---- what both have in common ---- */

static bool plain(const struct vcpu *v)
{
    return !((v->rflags & FLAGS_ODD) | v->shadow | v->pending_db | v->nmi_blocked) &&
           !log_on(v->log, LOG_INT);
}

static bool holds(const struct vcpu *v, const struct gate_change *c)
{
    return c->age == v->ring_age && c->ring.minus_mode + v->mode == 0 && plain(v);
}

static u32 attr_sel(const struct segment *s)
{
    return s->attr | (u32)s->sel << 16;
}

static void set_rights(struct segment *s, u32 attr_sel)
{
    s->attr = (u16)attr_sel;
    s->sel = (u16)(attr_sel >> 16);
}

static void change_ring(struct vcpu *v, const struct ring_change *c, bool user)
{
    set_rights(&v->seg[SEG_CS], c->cs);
    set_rights(&v->seg[SEG_SS], c->ss);
    v->mode = c->mode;
    v->view = (u8)c->view;
    v->cpl = user ? 3 : 0;
    v->code_key = v->target_key = c->code_key;
    v->code_key_smap = c->code_key_smap;
    if (v->window != c->window)
        __asm__ volatile("wrgsbase %0" : : "r"(c->window));
    v->window = c->window;
    v->window_settled = (u8)(1 + user);
}

static enum gate_done go_to(struct vcpu *v, u32 ip, const u8 **to)
{
    v->at = NULL;
    v->rip = ip;
    *to = bt_events(v) ? NULL : tcode_lookup(v);
    return GATE_DONE;
}

/* ---- INT n ---- */

static struct gate_change *slot_of(struct bt *bt, unsigned vector)
{
    return &bt->gate[vector % ARRAY_LEN(bt->gate)];
}

static u32 gate_offset(u64 gate)
{
    return (u32)((gate & 0xffff) | (gate >> 32 & 0xffff0000u));
}

static enum gate_done repeat_int(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    unsigned vector = ci->in.imm & 0xff;
    const struct gate_change *c = slot_of(bt_of(v), vector);
    if (c->vector != vector || !holds(v, c) || known_gate(v, vector) != c->gate ||
        known_descriptor(v, (u16)(c->ring.cs >> 16)) != c->cs ||
        known_descriptor(v, (u16)(c->ring.ss >> 16)) != c->ss)
        return GATE_NOT;
    const u8 *stack = known_stack(v);
    if (!stack || load16(stack + 4) != c->ring.ss >> 16)
        return GATE_NOT;
    u32 sp = load32(stack) - FRAME_SLOTS * SLOTS;
    u8 *frame = host_of(v, sp, FRAME_SLOTS * SLOTS, c->ring.view, true);
    if (!frame)
        return GATE_NOT;
    const u32 image[FRAME_SLOTS] = {[FRAME_IP] = (u32)(ci->rip + ci->in.len),
                                    [FRAME_CS] = v->seg[SEG_CS].sel,
                                    [FRAME_FLAGS] = (u32)flags_get(v),
                                    [FRAME_SP] = (u32)v->gpr[REG_SP],
                                    [FRAME_SS] = v->seg[SEG_SS].sel};
    memcpy(frame, image, sizeof image);
    v->gpr[REG_SP] = sp;
    if (desc_type(c->gate) == TYPE_INT32)
        v->rflags &= ~(u64)FLAG_IF;
    change_ring(v, &c->ring, false);
    return go_to(v, gate_offset(c->gate), to);
}

/* The frame may have been pushed over the gate or the descriptors that led to it. */
static bool describes(u64 desc, const struct segment *s)
{
    return desc_attr(desc) == s->attr && desc_base(desc) == s->base && desc_limit(desc) == s->limit;
}

static bool leads_here(const struct vcpu *v, u64 gate)
{
    return desc_present(gate) && desc_dpl(gate) == 3 && gate_offset(gate) == v->rip &&
           (((u32)(gate >> 16) ^ v->seg[SEG_CS].sel) & 0xfffcu) == 0;
}

static void remember_int(struct vcpu *v, const struct cached_insn *ci, u32 from)
{
    unsigned vector = ci->in.imm & 0xff;
    struct gate_change c = {
        .age = v->ring_age, .vector = (u8)vector, .gate = known_gate(v, vector)};
    if ((from & MODE_CPL) != 3 || v->cpl != 0 || !c.gate || !ring_now(v, from, &c.ring) ||
        (desc_type(c.gate) != TYPE_INT32 && desc_type(c.gate) != TYPE_TRAP32))
        return;
    c.cs = known_descriptor(v, v->seg[SEG_CS].sel);
    c.ss = known_descriptor(v, v->seg[SEG_SS].sel);
    if (leads_here(v, c.gate) && describes(c.cs, &v->seg[SEG_CS]) &&
        describes(c.ss, &v->seg[SEG_SS]))
        *slot_of(bt_of(v), vector) = c;
}

/* ---- IRET ---- */

/* Data segments that ring 3 may keep; null ones lose what is left of their selector. */
static bool keeps_segments(struct vcpu *v)
{
    static const u8 registers[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < sizeof registers; i++) {
        const struct segment *s = &v->seg[registers[i]];
        if (s->unusable ? s->sel != 0 : attr_dpl(s->attr) != 3)
            return false;
    }
    return true;
}

static bool flags_match(const struct vcpu *v, u32 image)
{
    return !(image & FLAGS_ODD) && !((image ^ (u32)v->rflags) & FLAG_IOPL);
}

static void load_flags(struct vcpu *v, u32 image)
{
    flags_set(v, (v->rflags & ~(u64)FLAGS_LOADED) | (image & FLAGS_LOADED));
}

static enum gate_done return_outer(struct vcpu *v, const u8 *frame, u32 image, const u8 **to)
{
    const struct gate_change *c = &bt_of(v)->iret;
    u16 cs = load16(frame + FRAME_CS * SLOTS), ss = load16(frame + FRAME_SS * SLOTS);
    if (!holds(v, c) || cs != c->ring.cs >> 16 || ss != c->ring.ss >> 16 || (image & FLAG_DF) ||
        known_descriptor(v, cs) != c->cs || known_descriptor(v, ss) != c->ss || !keeps_segments(v))
        return GATE_NOT;
    load_flags(v, image);
    v->gpr[REG_SP] = load32(frame + FRAME_SP * SLOTS);
    change_ring(v, &c->ring, true);
    return go_to(v, load32(frame + FRAME_IP * SLOTS), to);
}

/* To the code segment that CS is; nothing changes but what is popped. */
static enum gate_done return_same(struct vcpu *v, const u8 *frame, u32 image, const u8 **to)
{
    const struct gate_change *c = &bt_of(v)->iret_same;
    u16 cs = load16(frame + FRAME_CS * SLOTS);
    if (cs != v->seg[SEG_CS].sel || c->ring.cs != attr_sel(&v->seg[SEG_CS]) ||
        known_descriptor(v, cs) != c->cs || ((image ^ (u32)v->rflags) & FLAG_DF) || !plain(v) ||
        !v->window_settled)
        return GATE_NOT;
    load_flags(v, image);
    v->gpr[REG_SP] = (u32)(v->gpr[REG_SP] + FRAME_SP * SLOTS);
    return go_to(v, load32(frame + FRAME_IP * SLOTS), to);
}

static enum gate_done repeat_iret(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    u32 sp = (u32)v->gpr[REG_SP];
    if (v->cpl || ci->in.opsize != 4)
        return GATE_NOT;
    const u8 *frame = host_of(v, sp, FRAME_SP * SLOTS, v->view, false);
    if (!frame)
        return GATE_NOT;
    u32 image = load32(frame + FRAME_FLAGS * SLOTS);
    if (!flags_match(v, image))
        return GATE_NOT;
    if (!sel_rpl(load16(frame + FRAME_CS * SLOTS)))
        return return_same(v, frame, image, to);
    frame = host_of(v, sp, FRAME_SLOTS * SLOTS, v->view, false);
    return frame ? return_outer(v, frame, image, to) : GATE_NOT;
}

static void remember_iret(struct vcpu *v, u32 from)
{
    struct gate_change c = {.age = v->ring_age};
    c.cs = known_descriptor(v, v->seg[SEG_CS].sel);
    if ((from & MODE_CPL) || !c.cs)
        return;
    if (v->cpl == 0) {
        c.ring.cs = attr_sel(&v->seg[SEG_CS]);
        bt_of(v)->iret_same = c;
        return;
    }
    c.ss = known_descriptor(v, v->seg[SEG_SS].sel);
    if (v->cpl == 3 && c.ss && !(v->rflags & FLAG_DF) && ring_now(v, from, &c.ring))
        bt_of(v)->iret = c;
}

/* ---- either ---- */

enum gate_done gate_repeat(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    if (ci->in.op == OP_INT)
        return repeat_int(v, ci, to);
    if (ci->in.op == OP_IRET)
        return repeat_iret(v, ci, to);
    return GATE_NOT;
}

void gate_remember(struct vcpu *v, const struct cached_insn *ci, u32 from)
{
    if (ci->in.op == OP_INT)
        remember_int(v, ci, from);
    else if (ci->in.op == OP_IRET)
        remember_iret(v, from);
}
