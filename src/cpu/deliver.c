/* SPDX-License-Identifier: MIT
 *
 * Delivery of one interrupt or exception (SDM 2A "INT n", 3A chapter 6): by the real-mode vector
 * table, by interrupt and trap gates of 16, 32 and 64 bits, or by a task gate.
 *
 * All checks and all writes to the new stack come first, on copies; then everything changes at
 * once and nothing can fault any more. Only a task switch has its own point of no return.
 */
#include "cpu/deliver.h"

#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/frame.h"
#include "cpu/tss.h"

/* A decoded gate of the IDT. */
struct gate {
    unsigned type; /* enum system_type */
    unsigned dpl;
    bool present;
    u16 sel;
    u64 offset;
    unsigned ist;
    unsigned size; /* bytes of what is pushed: 2, 4, 8 */
};

static void log_event(struct vcpu *v, const struct event *e)
{
    static const char *const sources[] = {"interrupt", "int", "exception", "icebp"};
    fpu_put_away(v);
    log_printf(v->log, "cpu%u: %s %02x error %x at %04x:%llx cpl %u sp %04x:%llx cr2 %llx\n",
               v->index, sources[e->source], e->vector, e->has_error ? e->error : 0,
               v->seg[SEG_CS].sel, (unsigned long long)e->return_ip, v->cpl, v->seg[SEG_SS].sel,
               (unsigned long long)v->gpr[REG_SP], (unsigned long long)v->cr2);
}

void deliver_note(struct vcpu *v, const struct event *e)
{
    v->recent[v->recent_count++ % RECENT_EVENTS] =
        (struct recent_event){.rip = e->return_ip,
                              .cr2 = v->cr2,
                              .error = e->has_error ? e->error : 0,
                              .cs = v->seg[SEG_CS].sel,
                              .vector = (u8)e->vector,
                              .source = (u8)e->source};
}

/* What is pushed as flags. */
static u64 flags_image(const struct vcpu *v, const struct event *e)
{
    return flags_get(v) | (e->rf ? FLAG_RF : 0);
}

/* What all ways have in common once the handler is reached. */
static void enter_handler(struct vcpu *v, const struct event *e, u64 cleared_flags)
{
    bool was_stepping = v->rflags & FLAG_TF;
    v->rflags &= ~(cleared_flags | FLAG_TF | FLAG_RF);
    v->halted = false;
    v->at = NULL;
    v->shadow = was_stepping && e->source != INT_EXTERNAL ? SHADOW_NO_STEP : 0;
    if (e->vector == VEC_DB && e->source != INT_SOFTWARE)
        v->dr[7] &= ~(u64)DR7_GD;
    vcpu_mode_changed(v);
}

/* ---- real mode ---- */

static void deliver_real(struct vcpu *v, const struct event *e)
{
    u32 at = (u32)e->vector * 4;
    if (at + 3 > v->idtr.limit)
        cpu_raise_error(v, VEC_GP, at * 2 + ERROR_IDT);
    u32 entry = (u32)mem_read_sys(v, (u32)(v->idtr.base + at), 4);
    struct frame f = frame_here(v);
    frame_push(v, &f, flags_image(v, e), 2);
    frame_push(v, &f, v->seg[SEG_CS].sel, 2);
    frame_push(v, &f, e->return_ip, 2);
    frame_commit(v, &f);
    seg_set_cs_real(v, (u16)(entry >> 16));
    v->rip = entry & 0xffff;
    enter_handler(v, e, FLAG_IF | FLAG_AC);
}

/* ---- the gate ---- */

static NORETURN void bad_vector(struct vcpu *v, unsigned vector, const struct event *e)
{
    cpu_raise_error(v, vector, e->vector * 8u + ERROR_IDT);
}

static struct gate read_gate(struct vcpu *v, const struct event *e)
{
    unsigned bytes = vcpu_long_mode(v) ? 16 : 8;
    u32 at = e->vector * bytes;
    if (at + bytes - 1 > v->idtr.limit)
        bad_vector(v, VEC_GP, e);
    u64 la = v->idtr.base + at;
    u64 low = mem_read_sys(v, bytes == 8 ? (u32)la : la, 8);
    struct gate g = {.type = desc_type(low),
                     .dpl = desc_dpl(low),
                     .present = desc_present(low),
                     .sel = (u16)(low >> 16),
                     .offset = (low & 0xffff) | (low >> 32 & 0xffff0000u)};
    if (desc_is_segment(low))
        bad_vector(v, VEC_GP, e);
    if (bytes == 16) {
        g.offset |= mem_read_sys(v, la + 8, 8) << 32;
        g.ist = (low >> 32) & 7;
    }
    return g;
}

/* The gate's type, and what may go through it. */
static void check_gate(struct vcpu *v, struct gate *g, const struct event *e)
{
    bool lm = vcpu_long_mode(v);
    switch (g->type) {
    case TYPE_INT32:
    case TYPE_TRAP32: g->size = lm ? 8 : 4; break;
    case TYPE_INT16:
    case TYPE_TRAP16:
        g->size = 2;
        g->offset &= 0xffff;
        break;
    case TYPE_TASK_GATE: g->size = 0; break;
    default: bad_vector(v, VEC_GP, e);
    }
    if (lm && g->size != 8)
        bad_vector(v, VEC_GP, e);
    if (e->source == INT_SOFTWARE && g->dpl < v->cpl)
        bad_vector(v, VEC_GP, e);
    if (!g->present)
        bad_vector(v, VEC_NP, e);
}

/* The handler's code segment; *cpl is the privilege level that it will run at. */
static u64 handler_segment(struct vcpu *v, const struct gate *g, unsigned *cpl)
{
    u64 desc = seg_gate_code(v, g->sel, g->size);
    *cpl = desc_is_conforming(desc) ? v->cpl : desc_dpl(desc);
    /* Virtual-8086 code is interrupted by ring 0 only. */
    if ((v->mode & MODE_VM) && *cpl != 0)
        cpu_raise_error(v, VEC_GP, sel_error(g->sel));
    return desc;
}

/* ---- 16- and 32-bit gates ---- */

static void push_vm86_segments(struct vcpu *v, struct frame *f, unsigned size)
{
    static const u8 order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    for (unsigned i = 0; i < sizeof order; i++)
        frame_push(v, f, v->seg[order[i]].sel, size);
}

static void clear_data_segments(struct vcpu *v)
{
    static const u8 all[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    for (unsigned i = 0; i < sizeof all; i++)
        v->seg[all[i]] = seg_null(0);
}

static u64 gate_clears(const struct gate *g)
{
    bool interrupt = g->type == TYPE_INT16 || g->type == TYPE_INT32;
    return FLAG_NT | FLAG_VM | (interrupt ? FLAG_IF : 0);
}

static void deliver_gate(struct vcpu *v, const struct gate *g, const struct event *e)
{
    unsigned cpl;
    bool vm86 = v->mode & MODE_VM;
    u64 desc = handler_segment(v, g, &cpl);
    bool inner = cpl != v->cpl;
    struct frame f = inner ? frame_of_tss(v, cpl) : frame_here(v);
    if (vm86)
        push_vm86_segments(v, &f, g->size);
    if (inner) {
        frame_push(v, &f, v->seg[SEG_SS].sel, g->size);
        frame_push(v, &f, v->gpr[REG_SP], g->size);
    }
    frame_push(v, &f, flags_image(v, e), g->size);
    frame_push(v, &f, v->seg[SEG_CS].sel, g->size);
    frame_push(v, &f, e->return_ip, g->size);
    if (e->has_error)
        frame_push(v, &f, e->error, g->size);
    if (g->offset > desc_limit(desc))
        cpu_raise_error(v, VEC_GP, 0);
    desc = seg_mark_accessed(v, g->sel, desc);

    if (inner)
        v->seg[SEG_SS] = f.ss;
    if (vm86)
        clear_data_segments(v);
    seg_set_cs(v, g->sel, desc, cpl);
    frame_commit(v, &f);
    v->rip = g->offset;
    enter_handler(v, e, gate_clears(g));
}

/* ---- 64-bit gates (SDM 3A §6.14) ---- */

static void deliver_gate64(struct vcpu *v, const struct gate *g, const struct event *e)
{
    unsigned cpl;
    u64 desc = handler_segment(v, g, &cpl);
    bool inner = cpl != v->cpl;
    struct frame f = frame_here(v);
    if (inner) {
        struct segment null = seg_null((u16)cpl);
        null.attr = (u16)(cpl << SEG_DPL_SHIFT);
        f = frame_new(v, &null, 0, cpl);
    }
    f.mask = ~(u64)0;
    f.error = 0;
    if (inner || g->ist)
        f.sp = frame_of_tss64(v, cpl, g->ist);
    if (!mem_canonical(f.sp))
        cpu_raise_error(v, VEC_SS, 0);
    f.sp = align_down(f.sp, 16);
    frame_push(v, &f, v->seg[SEG_SS].sel, 8);
    frame_push(v, &f, v->gpr[REG_SP], 8);
    frame_push(v, &f, flags_image(v, e), 8);
    frame_push(v, &f, v->seg[SEG_CS].sel, 8);
    frame_push(v, &f, e->return_ip, 8);
    if (e->has_error)
        frame_push(v, &f, e->error, 8);
    if (!mem_canonical(g->offset))
        cpu_raise_error(v, VEC_GP, 0);
    desc = seg_mark_accessed(v, g->sel, desc);

    if (inner)
        v->seg[SEG_SS] = f.ss;
    seg_set_cs(v, g->sel, desc, cpl);
    frame_commit(v, &f);
    v->rip = g->offset;
    enter_handler(v, e, gate_clears(g));
}

/* ---- task gates ---- */

static void deliver_task(struct vcpu *v, const struct gate *g, const struct event *e)
{
    v->rflags |= e->rf ? FLAG_RF : 0; /* saved in the old TSS */
    task_switch(v, g->sel, TASK_INT, e->return_ip);
    v->halted = false;
    if (e->vector == VEC_DB && e->source != INT_SOFTWARE)
        v->dr[7] &= ~(u64)DR7_GD;
    if (e->has_error) {
        struct frame f = frame_here(v);
        frame_push(v, &f, e->error, tss_is_32(&v->tr) ? 4 : 2);
        frame_commit(v, &f);
    }
}

void deliver(struct vcpu *v, const struct event *e)
{
    if (log_on(v->log, LOG_INT))
        log_event(v, e);
    deliver_note(v, e);
    if (!(v->mode & MODE_PE)) {
        deliver_real(v, e);
        return;
    }
    struct gate g = read_gate(v, e);
    check_gate(v, &g, e);
    if (g.type == TYPE_TASK_GATE)
        deliver_task(v, &g, e);
    else if (g.size == 8)
        deliver_gate64(v, &g, e);
    else
        deliver_gate(v, &g, e);
}
