/* SPDX-License-Identifier: MIT
 *
 * IRET (SDM 2A): back to the same or an outer privilege level, to virtual-8086 mode, to the task
 * that the back link names, and its real-mode and virtual-8086 forms.
 *
 * Whatever it returns from, NMIs are unblocked (SDM 3A §6.7.1), and a set RF lasts until after the
 * next instruction.
 */
#include "cpu/cpuid.h"
#include "cpu/far.h"
#include "cpu/flags.h"
#include "cpu/op_sys.h"
#include "cpu/tss.h"

struct image {
    u64 ip, flags;
    u16 cs;
};

static struct image pop_image(struct vcpu *v, struct frame *f, unsigned size)
{
    struct image m;
    m.ip = frame_pop(v, f, size);
    m.cs = (u16)frame_pop(v, f, size);
    m.flags = frame_pop(v, f, size);
    return m;
}

/* Takes the bits of `mask` from the image. */
static void load_flags(struct vcpu *v, u64 image, u64 mask)
{
    flags_set(v, (flags_get(v) & ~mask) | (image & mask));
    v->nmi_blocked = false;
    if (mask & image & FLAG_RF)
        v->shadow |= SHADOW_RF;
}

/* What IRET may change at all. */
static u64 plain_mask(unsigned size)
{
    u64 mask = FLAG_OSZAPC | FLAG_TF | FLAG_DF | FLAG_NT;
    return size == 2 ? mask : mask | FLAG_RF | FLAG_AC | FLAG_ID;
}

/* What it may change in protected mode at the privilege level it starts from. */
static u64 protected_mask(const struct vcpu *v, unsigned size)
{
    u64 mask = plain_mask(size);
    if (v->cpl <= sys_iopl(v))
        mask |= FLAG_IF;
    if (v->cpl == 0)
        mask |= FLAG_IOPL | (size == 2 ? 0 : FLAG_VIF | FLAG_VIP);
    return mask;
}

/* ---- real and virtual-8086 mode ---- */

static void commit_real(struct vcpu *v, const struct frame *f, const struct image *m)
{
    if (m->ip > v->seg[SEG_CS].limit)
        cpu_raise_error(v, VEC_GP, 0);
    frame_commit(v, f);
    seg_set_cs_real(v, m->cs);
    v->rip = m->ip;
}

static void iret_real(struct vcpu *v, unsigned size)
{
    struct frame f = frame_here(v);
    struct image m = pop_image(v, &f, size);
    u64 mask = plain_mask(size) | FLAG_IF;
    if (!cpu_is_286(v))
        mask |= FLAG_IOPL;
    else
        mask &= ~(u64)FLAG_NT; /* an 80286 in real mode keeps NT and IOPL clear */
    commit_real(v, &f, &m);
    load_flags(v, m.flags, mask);
    vcpu_mode_changed(v);
}

static void iret_vm86(struct vcpu *v, unsigned size)
{
    bool vme = v->cr4 & CR4_VME;
    if (sys_iopl(v) < 3 && (!vme || size != 2))
        cpu_raise_error(v, VEC_GP, 0);
    struct frame f = frame_here(v);
    struct image m = pop_image(v, &f, size);
    u64 mask = plain_mask(size) | FLAG_IF;
    if (sys_iopl(v) < 3) { /* VME: IF of the image is the virtual one */
        if ((m.flags & FLAG_TF) || ((m.flags & FLAG_IF) && (v->rflags & FLAG_VIP)))
            cpu_raise_error(v, VEC_GP, 0);
        mask = (mask & ~(u64)FLAG_IF) | FLAG_VIF;
        m.flags = (m.flags & ~(u64)FLAG_VIF) | (m.flags & FLAG_IF ? FLAG_VIF : 0);
    }
    commit_real(v, &f, &m);
    load_flags(v, m.flags, mask);
    vcpu_mode_changed(v);
}

/* ---- protected mode ---- */

static void iret_task(struct vcpu *v, const struct insn *in)
{
    if (vcpu_long_mode(v))
        cpu_raise_error(v, VEC_GP, 0);
    u16 link = (u16)mem_read_sys(v, tss_address(v, TSS32_LINK), 2);
    task_switch(v, link, TASK_IRET, sys_next_ip(v, in));
    v->nmi_blocked = false;
}

static void iret_to_vm86(struct vcpu *v, struct frame *f, const struct image *m)
{
    static const u8 order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    u16 sel[SEG_COUNT];
    u64 sp = frame_pop(v, f, 4);
    sel[SEG_SS] = (u16)frame_pop(v, f, 4);
    for (unsigned i = 0; i < sizeof order; i++)
        sel[order[i]] = (u16)frame_pop(v, f, 4);
    sel[SEG_CS] = m->cs;
    load_flags(v, m->flags, protected_mask(v, 4) | FLAG_VM);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = seg_vm86(sel[s]);
    v->gpr[REG_SP] = (u32)sp;
    v->rip = (u16)m->ip;
    v->cpl = 3;
    vcpu_mode_changed(v);
}

/* To an outer level, and in 64-bit mode always: SS:rSP is in the image too. */
static void iret_with_stack(struct vcpu *v, struct frame *f, const struct image *m, u64 desc,
                            unsigned size)
{
    bool outer = sel_rpl(m->cs) > v->cpl;
    u64 sp = frame_pop(v, f, size);
    u16 sel = (u16)frame_pop(v, f, size);
    struct segment ss = far_return_stack(v, sel, m->cs, desc);
    u64 ip = far_check_ip(v, desc, m->ip);
    desc = seg_mark_accessed(v, m->cs, desc);
    u64 mask = protected_mask(v, size);
    v->seg[SEG_SS] = ss;
    seg_set_cs(v, m->cs, desc, sel_rpl(m->cs));
    v->rip = ip;
    load_flags(v, m->flags, mask);
    vcpu_mode_changed(v);
    far_set_sp(v, sp);
    if (outer) {
        seg_drop_inaccessible(v);
        vcpu_mode_changed(v);
    }
}

static void iret_same(struct vcpu *v, struct frame *f, const struct image *m, u64 desc,
                      unsigned size)
{
    u64 ip = far_check_ip(v, desc, m->ip);
    desc = seg_mark_accessed(v, m->cs, desc);
    u64 mask = protected_mask(v, size);
    frame_commit(v, f);
    seg_set_cs(v, m->cs, desc, v->cpl);
    v->rip = ip;
    load_flags(v, m->flags, mask);
    vcpu_mode_changed(v);
}

static void iret_protected(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->opsize;
    if (v->rflags & FLAG_NT) {
        iret_task(v, in);
        return;
    }
    struct frame f = frame_here(v);
    struct image m = pop_image(v, &f, size);
    if ((m.flags & FLAG_VM) && size == 4 && v->cpl == 0 && !vcpu_long_mode(v)) {
        iret_to_vm86(v, &f, &m);
        return;
    }
    u64 desc = far_check_return(v, m.cs);
    if ((v->mode & MODE_CS64) || sel_rpl(m.cs) > v->cpl)
        iret_with_stack(v, &f, &m, desc, size);
    else
        iret_same(v, &f, &m, desc, size);
}

static void op_iret(struct vcpu *v, const struct insn *in)
{
    if (!(v->mode & MODE_PE))
        iret_real(v, in->opsize);
    else if (v->mode & MODE_VM)
        iret_vm86(v, in->opsize);
    else
        iret_protected(v, in);
}

exec_fn op_iret_select(const struct insn *in)
{
    return in->op == OP_IRET ? op_iret : NULL;
}
