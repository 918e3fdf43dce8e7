/* SPDX-License-Identifier: MIT
 *
 * INT n from ring 3 to ring 0, faults, and IRET, in C but without most of the work, when they do as
 * they did the last time: the gate, the descriptors and the mode are compared with what they were,
 * stack pointer, flags and return address are the guest's of now. What is not exactly so is
 * executed by the interpreter's function, and remembered. Likewise far CALL and RET that load CS
 * with what it holds, where nothing needs to be remembered.
 *
 * As in ring.c, what a change of rings leads to is forgotten by vcpu_forget_rings().
 */
#include "bt/internal.h"
#include "cpu/deliver.h"
#include "cpu/flags.h"
#include "cpu/optable.h"
#include "cpu/seg.h"
#include "cpu/tss.h"

/* With one of these set, before or after, the interpreter does it. */
#define FLAGS_ODD (FLAG_TF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_NT | FLAG_RF)
/* What IRET at CPL 0 may load, and that is not odd. IOPL stays as it is. */
#define FLAGS_LOADED (FLAG_OSZAPC | FLAG_DF | FLAG_ID | FLAG_IF)

#define SLOT (sizeof(u32))
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

static void change_ring(struct vcpu *v, const struct ring_change *c)
{
    set_rights(&v->seg[SEG_CS], c->cs);
    set_rights(&v->seg[SEG_SS], c->ss);
    v->mode = c->mode;
    v->at_ring = c->at_ring;
    v->code_key = v->target_key = c->code_key;
    v->code_key_smap = c->code_key_smap;
    if (v->window != c->window)
        __asm__ volatile("wrgsbase %0" : : "r"(c->window));
    v->window = c->window;
}

static enum gate_done go_to(struct vcpu *v, u32 ip, const u8 **to)
{
    v->at = NULL;
    v->rip = ip;
    *to = bt_events(v) ? NULL : tcode_lookup(v);
    return GATE_DONE;
}

/* ---- INT n and faults ---- */

static struct gate_change *slot_of(struct bt *bt, unsigned vector, bool user)
{
    return &bt->gate[user][vector < EXCEPTIONS ? vector : EXCEPTIONS + vector % GATES_OF_INT];
}

static u32 gate_offset(u64 gate)
{
    return (u32)((gate & 0xffff) | (gate >> 32 & 0xffff0000u));
}

/* What is empty has no gate; its mode is that of real mode, where faults come here too. */
static bool gate_holds(struct vcpu *v, const struct gate_change *c, unsigned vector)
{
    return c->gate && c->vector == vector && c->ring.minus_mode + v->mode == 0 && plain(v) &&
           known_gate(v, vector) == c->gate &&
           known_descriptor(v, (u16)(c->ring.cs >> 16)) == c->cs;
}

/* Room for a frame that ends at *sp, which is moved to its begin; NULL: the TLB does not know it.
 */
static u8 *frame_below(struct vcpu *v, u32 *sp, unsigned slots, unsigned view)
{
    *sp -= (u32)(slots * SLOT);
    return host_of(v, *sp, (unsigned)(slots * SLOT), view, true);
}

/* The lowest slots of a frame, as nothing has changed yet. Returns what is above them. */
static u8 *put_frame(struct vcpu *v, u8 *frame, const struct event *e)
{
    deliver_note(v, e);
    if (e->has_error) {
        store32(frame, e->error);
        frame += SLOT;
    }
    store32(frame + FRAME_IP * SLOT, (u32)e->return_ip);
    store32(frame + FRAME_CS * SLOT, v->seg[SEG_CS].sel);
    store32(frame + FRAME_FLAGS * SLOT, (u32)flags_get(v) | (e->rf ? FLAG_RF : 0));
    return frame + FRAME_SP * SLOT;
}

static bool enter_inner(struct vcpu *v, const struct gate_change *c, const struct event *e)
{
    if (c->age != v->ring_age || known_descriptor(v, (u16)(c->ring.ss >> 16)) != c->ss)
        return false;
    const u8 *stack = known_stack(v);
    if (!stack || load16(stack + 4) != c->ring.ss >> 16)
        return false;
    u32 sp = load32(stack);
    u8 *frame = frame_below(v, &sp, FRAME_SLOTS + e->has_error, c->ring.view);
    if (!frame)
        return false;
    frame = put_frame(v, frame, e);
    store32(frame, (u32)v->gpr[REG_SP]);
    store32(frame + SLOT, v->seg[SEG_SS].sel);
    v->gpr[REG_SP] = sp;
    change_ring(v, &c->ring);
    return true;
}

/* To the code segment that CS is. */
static bool enter_same(struct vcpu *v, const struct gate_change *c, const struct event *e)
{
    u32 sp = (u32)v->gpr[REG_SP];
    if (c->ring.cs != attr_sel(&v->seg[SEG_CS]) || !v->window_settled)
        return false;
    u8 *frame = frame_below(v, &sp, FRAME_SP + e->has_error, v->view);
    if (!frame)
        return false;
    put_frame(v, frame, e);
    v->gpr[REG_SP] = sp;
    return true;
}

static bool enter(struct vcpu *v, const struct event *e)
{
    bool user = (v->mode & MODE_CPL) == 3;
    const struct gate_change *c = slot_of(bt_of(v), e->vector, user);
    if (!gate_holds(v, c, e->vector) || !(user ? enter_inner(v, c, e) : enter_same(v, c, e)))
        return false;
    if (desc_type(c->gate) == TYPE_INT32)
        v->rflags &= ~(u64)FLAG_IF;
    v->rip = gate_offset(c->gate);
    return true;
}

static enum gate_done repeat_int(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    const struct event e = {.vector = ci->in.imm & 0xff,
                            .source = INT_SOFTWARE,
                            .return_ip = (u32)(ci->rip + ci->in.len)};
    if ((v->mode & MODE_CPL) != 3 || desc_dpl(known_gate(v, e.vector)) != 3 || !enter(v, &e))
        return GATE_NOT; /* faults may have gone through this gate all the same */
    return go_to(v, (u32)v->rip, to);
}

/* Vectors whose image of the flags has RF, and that are nothing but faults; of an instruction, not
 * of an interrupt's delivery. */
static bool is_plain_fault(const struct vcpu *v)
{
    const u64 plain_faults = bit64(VEC_DE) | bit64(VEC_BR) | bit64(VEC_UD) | bit64(VEC_NM) |
                             bit64(VEC_TS) | bit64(VEC_NP) | bit64(VEC_SS) | bit64(VEC_GP) |
                             bit64(VEC_PF) | bit64(VEC_MF) | bit64(VEC_AC) | bit64(VEC_XM);
    return v->fault.vector < EXCEPTIONS && (plain_faults >> v->fault.vector & 1) &&
           v->delivering < 0 && !v->external && !log_on(v->log, LOG_MMU);
}

bool gate_repeat_fault(struct vcpu *v)
{
    const struct event e = {.vector = v->fault.vector,
                            .source = INT_EXCEPTION,
                            .has_error = v->fault.has_error,
                            .error = v->fault.error,
                            .return_ip = v->rip,
                            .rf = true};
    u64 cr2 = v->cr2;
    if (!is_plain_fault(v))
        return false;
    if (e.vector == VEC_PF)
        v->cr2 = v->fault.cr2;
    if (enter(v, &e))
        return true;
    v->cr2 = cr2;
    return false;
}

/* The frame may have been pushed over the gate or the descriptors that led to it. */
static bool describes(u64 desc, const struct segment *s)
{
    return desc_attr(desc) == s->attr && desc_base(desc) == s->base && desc_limit(desc) == s->limit;
}

static bool leads_here(const struct vcpu *v, u64 gate)
{
    return desc_present(gate) && gate_offset(gate) == v->rip &&
           (desc_type(gate) == TYPE_INT32 || desc_type(gate) == TYPE_TRAP32) &&
           (((u32)(gate >> 16) ^ v->seg[SEG_CS].sel) & 0xfffcu) == 0;
}

static void remember_entry(struct vcpu *v, unsigned vector, u32 from)
{
    bool user = (from & MODE_CPL) == 3;
    struct gate_change c = {
        .age = v->ring_age, .vector = (u8)vector, .gate = known_gate(v, vector)};
    if (v->cpl || !bt_mode(from) || !ring_now(v, from, &c.ring))
        return;
    c.cs = known_descriptor(v, v->seg[SEG_CS].sel);
    c.ss = known_descriptor(v, v->seg[SEG_SS].sel);
    if (leads_here(v, c.gate) && describes(c.cs, &v->seg[SEG_CS]) &&
        (user ? describes(c.ss, &v->seg[SEG_SS]) : from == v->mode))
        *slot_of(bt_of(v), vector, user) = c;
}

void gate_remember_fault(struct vcpu *v, unsigned vector, u32 from)
{
    if (vector < EXCEPTIONS)
        remember_entry(v, vector, from);
}

static void remember_int(struct vcpu *v, const struct cached_insn *ci, u32 from)
{
    if ((from & MODE_CPL) == 3)
        remember_entry(v, ci->in.imm & 0xff, from);
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
    return !(image & (FLAGS_ODD & ~FLAG_RF)) && !((image ^ (u32)v->rflags) & FLAG_IOPL);
}

/* INT n and its kin, and far transfers and IRET, which may lead to another task. A double fault
 * would show RF too, but nobody can go back from there. */
bool gate_may_show_rf(struct vcpu *v, u32 ip)
{
    static const u8 prefix[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    static const u8 show[] = {0xcc, 0xcd, 0xce, 0xcf, 0xf1, 0x9a, 0xea, 0xff};
    const struct tlb_entry *e = tlb_entry(v, ip, mem_fetch_view(v));
    if (e->exec != (ip & ~(u32)PAGE_OFFSET_MASK))
        return true;
    const u8 *code = (const u8 *)(uintptr_t)(ip + e->addend);
    u64 left = PAGE_BYTES - (ip & PAGE_OFFSET_MASK);
    while (left && memchr(prefix, *code, sizeof prefix))
        code++, left--;
    return !left || memchr(show, *code, sizeof show);
}

static void load_flags(struct vcpu *v, u32 image)
{
    flags_set(v, (v->rflags & ~(u64)FLAGS_LOADED) | (image & FLAGS_LOADED));
}

/* With RF as in the image, until after the next instruction. */
static enum gate_done go_back(struct vcpu *v, u32 ip, u32 image, const u8 **to)
{
    go_to(v, ip, to);
    if (!(image & FLAG_RF))
        return GATE_DONE;
    if (*to && gate_may_show_rf(v, ip))
        *to = NULL;
    if (*to) {
        v->rf_ahead = FLAG_RF;
    } else {
        v->rflags |= FLAG_RF;
        v->shadow = SHADOW_RF;
    }
    return GATE_DONE;
}

static enum gate_done return_outer(struct vcpu *v, const u8 *frame, u32 image, const u8 **to)
{
    const struct gate_change *c = &bt_of(v)->iret;
    u16 cs = load16(frame + FRAME_CS * SLOT), ss = load16(frame + FRAME_SS * SLOT);
    if (!holds(v, c) || cs != c->ring.cs >> 16 || ss != c->ring.ss >> 16 || (image & FLAG_DF) ||
        known_descriptor(v, cs) != c->cs || known_descriptor(v, ss) != c->ss || !keeps_segments(v))
        return GATE_NOT;
    load_flags(v, image);
    v->gpr[REG_SP] = load32(frame + FRAME_SP * SLOT);
    change_ring(v, &c->ring);
    return go_back(v, load32(frame + FRAME_IP * SLOT), image, to);
}

/* To the code segment that CS is; nothing changes but what is popped. */
static enum gate_done return_same(struct vcpu *v, const u8 *frame, u32 image, const u8 **to)
{
    const struct gate_change *c = &bt_of(v)->iret_same;
    u16 cs = load16(frame + FRAME_CS * SLOT);
    if (cs != v->seg[SEG_CS].sel || c->ring.cs != attr_sel(&v->seg[SEG_CS]) ||
        known_descriptor(v, cs) != c->cs || ((image ^ (u32)v->rflags) & FLAG_DF) || !plain(v) ||
        !v->window_settled)
        return GATE_NOT;
    load_flags(v, image);
    v->gpr[REG_SP] = (u32)(v->gpr[REG_SP] + FRAME_SP * SLOT);
    return go_back(v, load32(frame + FRAME_IP * SLOT), image, to);
}

static enum gate_done repeat_iret(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    u32 sp = (u32)v->gpr[REG_SP];
    if (v->cpl || ci->in.opsize != 4)
        return GATE_NOT;
    const u8 *frame = host_of(v, sp, FRAME_SP * SLOT, v->view, false);
    if (!frame)
        return GATE_NOT;
    u32 image = load32(frame + FRAME_FLAGS * SLOT);
    if (!flags_match(v, image))
        return GATE_NOT;
    if (!sel_rpl(load16(frame + FRAME_CS * SLOT)))
        return return_same(v, frame, image, to);
    frame = host_of(v, sp, FRAME_SLOTS * SLOT, v->view, false);
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
    /* Returns without DF only are repeated, and must not lead to a mode with it: the mode is what
     * the registers say. (Code for MODE_DF leaves strings to C, so a guest would only see it
     * slower.) */
    if (v->cpl == 3 && c.ss && !(v->rflags & FLAG_DF) && ring_now(v, from, &c.ring))
        bt_of(v)->iret = c;
}

/* ---- far CALL and RET within the code segment that CS is ---- */

/* The descriptor is still what CS was loaded from: so it may be loaded, and is there already. */
static bool is_here(struct vcpu *v, u16 sel)
{
    const struct segment *cs = &v->seg[SEG_CS];
    return sel == cs->sel && !sel_null(sel) && describes(known_descriptor(v, sel), cs);
}

/* Nothing has changed but stack and address. */
static enum gate_done go_far(struct vcpu *v, u32 ip, const u8 **to)
{
    bt_settle(v);
    tcode_update_key(v);
    return go_to(v, ip, to);
}

static enum gate_done call_here(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    const struct insn *in = &ci->in;
    u32 sp = (u32)v->gpr[REG_SP];
    if (in->operand[0].kind != OPD_FAR || in->opsize != 4 || !is_here(v, in->imm2))
        return GATE_NOT;
    u8 *frame = frame_below(v, &sp, FRAME_FLAGS, v->view);
    if (!frame)
        return GATE_NOT;
    store32(frame + FRAME_IP * SLOT, (u32)(ci->rip + in->len));
    store32(frame + FRAME_CS * SLOT, v->seg[SEG_CS].sel);
    v->gpr[REG_SP] = sp;
    return go_far(v, (u32)in->imm, to);
}

static enum gate_done return_here(struct vcpu *v, const struct insn *in, const u8 **to)
{
    u32 sp = (u32)v->gpr[REG_SP], extra = in->imm_len ? in->imm & 0xffff : 0;
    const u8 *frame = host_of(v, sp, FRAME_FLAGS * SLOT, v->view, false);
    if (!frame || in->opsize != 4 || !is_here(v, load16(frame + FRAME_CS * SLOT)))
        return GATE_NOT;
    v->gpr[REG_SP] = (u32)(sp + FRAME_FLAGS * SLOT + extra);
    return go_far(v, load32(frame + FRAME_IP * SLOT), to);
}

/* ---- all of them ---- */

enum gate_done gate_repeat(struct vcpu *v, const struct cached_insn *ci, const u8 **to)
{
    switch (ci->in.op) {
    case OP_INT: return repeat_int(v, ci, to);
    case OP_IRET: return repeat_iret(v, ci, to);
    case OP_CALL_FAR: return call_here(v, ci, to);
    case OP_RET_FAR: return return_here(v, &ci->in, to);
    default: return GATE_NOT;
    }
}

void gate_remember(struct vcpu *v, const struct cached_insn *ci, u32 from)
{
    if (ci->in.op == OP_INT)
        remember_int(v, ci, from);
    else if (ci->in.op == OP_IRET)
        remember_iret(v, from);
}
