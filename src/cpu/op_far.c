/* SPDX-License-Identifier: MIT
 *
 * Far CALL, JMP and RET (SDM 2A, 3A §5.8): to code segments, through call gates, to other tasks.
 *
 * In long mode call gates are 64 bits wide and switch stacks to a null SS, and there are no task
 * switches. In real and virtual-8086 mode a far transfer is just a new CS.
 */
#include "cpu/far.h"
#include "cpu/op_sys.h"
#include "cpu/operand.h"
#include "cpu/tss.h"

struct target {
    u16 sel;
    u64 offset;
};

/* A call gate (SDM 3A figures 5-8, 5-9). */
struct call_gate {
    u16 sel;
    u64 offset;
    unsigned size; /* of what is pushed: 2, 4, 8 */
    unsigned params;
};

static struct target read_target(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    if (in->operand[0].kind == OPD_FAR)
        return (struct target){in->imm2, in->imm & mask64(size * 8)};
    u64 la = operand_la(v, in, size + 2, ACCESS_READ);
    u64 la_sel = v->mode & MODE_CS64 ? la + size : (u32)(la + size);
    u64 offset = mem_read(v, la, size);
    return (struct target){(u16)mem_read(v, la_sel, 2), offset};
}

/* ---- checks ---- */

u64 far_check_ip(struct vcpu *v, u64 desc, u64 ip)
{
    if (vcpu_long_mode(v) && (desc_attr(desc) & SEG_L)) {
        if (!mem_canonical(ip))
            cpu_raise_error(v, VEC_GP, 0);
        return ip;
    }
    ip = (u32)ip;
    if (ip > desc_limit(desc))
        cpu_raise_error(v, VEC_GP, 0);
    return ip;
}

void far_check_long(struct vcpu *v, u16 sel, u64 desc)
{
    const unsigned both = SEG_L | SEG_DB;
    if (vcpu_long_mode(v) && (desc_attr(desc) & both) == both)
        cpu_raise_error(v, VEC_GP, sel_error(sel));
}

static void check_present(struct vcpu *v, u16 sel, u64 desc)
{
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, sel_error(sel));
}

/* The rights that a direct transfer to a code segment needs. */
static void check_direct(struct vcpu *v, u16 sel, u64 desc)
{
    bool allowed = desc_is_code(desc);
    if (desc_is_conforming(desc))
        allowed &= desc_dpl(desc) <= v->cpl;
    else
        allowed &= sel_rpl(sel) <= v->cpl && desc_dpl(desc) == v->cpl;
    if (!allowed)
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    far_check_long(v, sel, desc);
    check_present(v, sel, desc);
}

/* Gates and TSS descriptors are reached by their own DPL. */
static void check_system(struct vcpu *v, u16 sel, u64 desc)
{
    if (desc_dpl(desc) < v->cpl || desc_dpl(desc) < sel_rpl(sel))
        cpu_raise_error(v, VEC_GP, sel_error(sel));
}

static struct call_gate read_call_gate(struct vcpu *v, u16 sel, u64 desc)
{
    struct call_gate g = {.sel = (u16)(desc >> 16),
                          .offset = (desc & 0xffff) | (desc >> 32 & 0xffff0000u),
                          .size = 4,
                          .params = desc >> 32 & 31};
    check_system(v, sel, desc);
    if (vcpu_long_mode(v)) {
        g.offset |= seg_descriptor_upper(v, sel) << 32;
        g.size = 8;
        g.params = 0;
    } else if (desc_type(desc) == TYPE_CALL16) {
        g.offset &= 0xffff;
        g.size = 2;
    }
    check_present(v, sel, desc);
    return g;
}

/* Whether the descriptor is a call gate in this mode. */
static bool is_call_gate(const struct vcpu *v, u64 desc)
{
    unsigned type = desc_type(desc);
    return type == TYPE_CALL32 || (type == TYPE_CALL16 && !vcpu_long_mode(v));
}

/* A transfer to a TSS or through a task gate. */
static void go_to_task(struct vcpu *v, const struct insn *in, u16 sel, u64 desc,
                       enum task_reason reason)
{
    if (vcpu_long_mode(v))
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    switch (desc_type(desc)) {
    case TYPE_TASK_GATE:
        check_system(v, sel, desc);
        check_present(v, sel, desc);
        task_switch(v, (u16)(desc >> 16), reason, sys_next_ip(v, in));
        break;
    case TYPE_TSS16:
    case TYPE_TSS32:
        check_system(v, sel, desc);
        task_switch(v, sel, reason, sys_next_ip(v, in));
        break;
    default: cpu_raise_error(v, VEC_GP, sel_error(sel));
    }
}

static void go(struct vcpu *v, u16 sel, u64 desc, unsigned cpl, u64 ip)
{
    seg_set_cs(v, sel, desc, cpl);
    v->rip = ip;
    vcpu_mode_changed(v);
}

/* ---- JMP ---- */

static void jmp_gate(struct vcpu *v, u16 sel, u64 gate)
{
    struct call_gate g = read_call_gate(v, sel, gate);
    u64 desc = seg_gate_code(v, g.sel, g.size);
    if (!desc_is_conforming(desc) && desc_dpl(desc) != v->cpl)
        cpu_raise_error(v, VEC_GP, sel_error(g.sel));
    u64 ip = far_check_ip(v, desc, g.offset);
    desc = seg_mark_accessed(v, g.sel, desc);
    go(v, g.sel, desc, v->cpl, ip);
}

static void jmp_protected(struct vcpu *v, const struct insn *in, struct target t)
{
    if (sel_null(t.sel))
        cpu_raise_error(v, VEC_GP, 0);
    u64 desc = seg_descriptor(v, t.sel, VEC_GP);
    if (desc_is_segment(desc)) {
        check_direct(v, t.sel, desc);
        u64 ip = far_check_ip(v, desc, t.offset);
        desc = seg_mark_accessed(v, t.sel, desc);
        go(v, t.sel, desc, v->cpl, ip);
    } else if (is_call_gate(v, desc)) {
        jmp_gate(v, t.sel, desc);
    } else {
        go_to_task(v, in, t.sel, desc, TASK_JMP);
    }
}

static void go_real(struct vcpu *v, struct target t)
{
    seg_set_cs_real(v, t.sel);
    v->rip = t.offset;
    vcpu_mode_changed(v);
}

static void check_real_ip(struct vcpu *v, u64 ip)
{
    if (ip > v->seg[SEG_CS].limit)
        cpu_raise_error(v, VEC_GP, 0);
}

static void op_jmp_far(struct vcpu *v, const struct insn *in)
{
    struct target t = read_target(v, in);
    if (vcpu_protected(v)) {
        jmp_protected(v, in, t);
        return;
    }
    check_real_ip(v, t.offset);
    go_real(v, t);
}

/* ---- CALL ---- */

/* Through a gate to the same privilege level. */
static void call_gate_same(struct vcpu *v, const struct insn *in, const struct call_gate *g,
                           u64 desc)
{
    struct frame f = frame_here(v);
    if (g->size == 8)
        f.mask = ~(u64)0;
    frame_push(v, &f, v->seg[SEG_CS].sel, g->size);
    frame_push(v, &f, sys_next_ip(v, in), g->size);
    u64 ip = far_check_ip(v, desc, g->offset);
    desc = seg_mark_accessed(v, g->sel, desc);
    frame_commit(v, &f);
    go(v, g->sel, desc, v->cpl, ip);
}

/* The stack of an inner level as call gates find it. */
static struct frame inner_frame(struct vcpu *v, const struct call_gate *g, unsigned cpl)
{
    if (g->size != 8)
        return frame_of_tss(v, cpl);
    struct segment null = seg_null((u16)cpl);
    null.attr = (u16)(cpl << SEG_DPL_SHIFT);
    struct frame f = frame_new(v, &null, frame_of_tss64(v, cpl, 0), cpl);
    f.mask = ~(u64)0;
    return f;
}

static void call_gate_inner(struct vcpu *v, const struct insn *in, const struct call_gate *g,
                            u64 desc)
{
    unsigned cpl = desc_dpl(desc);
    struct frame old = frame_here(v), f = inner_frame(v, g, cpl);
    frame_push(v, &f, v->seg[SEG_SS].sel, g->size);
    frame_push(v, &f, v->gpr[REG_SP], g->size);
    for (unsigned i = g->params; i-- > 0;)
        frame_push(v, &f, frame_peek(v, &old, i * g->size, g->size), g->size);
    frame_push(v, &f, v->seg[SEG_CS].sel, g->size);
    frame_push(v, &f, sys_next_ip(v, in), g->size);
    u64 ip = far_check_ip(v, desc, g->offset);
    desc = seg_mark_accessed(v, g->sel, desc);
    v->seg[SEG_SS] = f.ss;
    frame_commit(v, &f);
    go(v, g->sel, desc, cpl, ip);
}

static void call_gate(struct vcpu *v, const struct insn *in, u16 sel, u64 gate)
{
    struct call_gate g = read_call_gate(v, sel, gate);
    u64 desc = seg_gate_code(v, g.sel, g.size);
    if (!desc_is_conforming(desc) && desc_dpl(desc) < v->cpl)
        call_gate_inner(v, in, &g, desc);
    else
        call_gate_same(v, in, &g, desc);
}

static void call_direct(struct vcpu *v, const struct insn *in, struct target t, u64 desc)
{
    check_direct(v, t.sel, desc);
    struct frame f = frame_here(v);
    frame_push(v, &f, v->seg[SEG_CS].sel, in->opsize);
    frame_push(v, &f, sys_next_ip(v, in), in->opsize);
    u64 ip = far_check_ip(v, desc, t.offset);
    desc = seg_mark_accessed(v, t.sel, desc);
    frame_commit(v, &f);
    go(v, t.sel, desc, v->cpl, ip);
}

static void op_call_far(struct vcpu *v, const struct insn *in)
{
    struct target t = read_target(v, in);
    if (!vcpu_protected(v)) {
        struct frame f = frame_here(v);
        check_real_ip(v, t.offset);
        frame_push(v, &f, v->seg[SEG_CS].sel, in->opsize);
        frame_push(v, &f, sys_next_ip(v, in), in->opsize);
        frame_commit(v, &f);
        go_real(v, t);
        return;
    }
    if (sel_null(t.sel))
        cpu_raise_error(v, VEC_GP, 0);
    u64 desc = seg_descriptor(v, t.sel, VEC_GP);
    if (desc_is_segment(desc))
        call_direct(v, in, t, desc);
    else if (is_call_gate(v, desc))
        call_gate(v, in, t.sel, desc);
    else
        go_to_task(v, in, t.sel, desc, TASK_CALL);
}

/* ---- RET ---- */

u64 far_check_return(struct vcpu *v, u16 sel)
{
    u32 error = sel_error(sel);
    if (sel_null(sel))
        cpu_raise_error(v, VEC_GP, 0);
    u64 desc = seg_descriptor(v, sel, VEC_GP);
    unsigned rpl = sel_rpl(sel);
    if (!desc_is_code(desc) || rpl < v->cpl)
        cpu_raise_error(v, VEC_GP, error);
    if (desc_is_conforming(desc) ? desc_dpl(desc) > rpl : desc_dpl(desc) != rpl)
        cpu_raise_error(v, VEC_GP, error);
    far_check_long(v, sel, desc);
    check_present(v, sel, desc);
    return desc;
}

struct segment far_return_stack(struct vcpu *v, u16 ss, u16 cs, u64 cs_desc)
{
    bool to64 = vcpu_long_mode(v) && (desc_attr(cs_desc) & SEG_L);
    unsigned rpl = sel_rpl(cs);
    if (sel_null(ss) && to64 && rpl != 3 && sel_rpl(ss) == rpl) {
        struct segment s = seg_null(ss);
        s.attr = (u16)(rpl << SEG_DPL_SHIFT);
        return s;
    }
    return seg_from_descriptor(ss, seg_check_stack(v, ss, rpl, VEC_GP));
}

void far_set_sp(struct vcpu *v, u64 sp)
{
    if (v->mode & MODE_CS64)
        v->gpr[REG_SP] = sp;
    else if (v->mode & MODE_SS32)
        v->gpr[REG_SP] = (u32)sp;
    else
        v->gpr[REG_SP] = ((u32)v->gpr[REG_SP] & ~0xffffu) | (sp & 0xffff);
}

static void ret_real(struct vcpu *v, struct frame *f, struct target t, u16 extra)
{
    check_real_ip(v, t.offset);
    frame_skip(f, extra);
    frame_commit(v, f);
    go_real(v, t);
}

static void ret_outer(struct vcpu *v, struct frame *f, struct target t, u64 desc, u16 extra,
                      unsigned size)
{
    frame_skip(f, extra);
    u64 sp = frame_pop(v, f, size);
    u16 sel = (u16)frame_pop(v, f, size);
    struct segment ss = far_return_stack(v, sel, t.sel, desc);
    u64 ip = far_check_ip(v, desc, t.offset);
    desc = seg_mark_accessed(v, t.sel, desc);
    v->seg[SEG_SS] = ss;
    go(v, t.sel, desc, sel_rpl(t.sel), ip);
    far_set_sp(v, sp + extra);
    seg_drop_inaccessible(v);
    vcpu_mode_changed(v);
}

static void op_ret_far(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    u16 extra = in->imm_len ? (u16)in->imm : 0;
    struct frame f = frame_here(v);
    struct target t;
    t.offset = frame_pop(v, &f, size);
    t.sel = (u16)frame_pop(v, &f, size);
    if (!vcpu_protected(v)) {
        ret_real(v, &f, t, extra);
        return;
    }
    u64 desc = far_check_return(v, t.sel);
    if (sel_rpl(t.sel) > v->cpl) {
        ret_outer(v, &f, t, desc, extra, size);
        return;
    }
    u64 ip = far_check_ip(v, desc, t.offset);
    desc = seg_mark_accessed(v, t.sel, desc);
    frame_skip(&f, extra);
    frame_commit(v, &f);
    go(v, t.sel, desc, v->cpl, ip);
}

exec_fn op_far_select(const struct insn *in)
{
    switch (in->op) {
    case OP_JMP_FAR: return op_jmp_far;
    case OP_CALL_FAR: return op_call_far;
    case OP_RET_FAR: return op_ret_far;
    default: return NULL;
    }
}
