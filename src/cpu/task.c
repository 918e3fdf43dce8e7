/* SPDX-License-Identifier: MIT
 *
 * Task switches (SDM 3A §7.3). Three phases:
 *  1. checks of the new TSS and reading of all of it: faults belong to the old task;
 *  2. the point of no return: the old task is saved, links and busy bits are written, the new
 *     task's registers appear;
 *  3. loading of LDTR and segment descriptors: faults belong to the new task, whose rIP v->rip
 *     already is.
 */
#include "cpu/flags.h"
#include "cpu/frame.h"
#include "cpu/paging.h"
#include "cpu/tss.h"

/* Both formats as one. */
struct task {
    bool is_32;
    u16 link;
    u32 cr3, eip, eflags;
    u32 gpr[8];
    u16 seg[SEG_COUNT];
    u16 ldt;
    bool trap;
};

/* A TSS by its place in linear memory. */
struct tss {
    u64 base;
    bool is_32;
};

static u32 field(struct vcpu *v, const struct tss *t, u32 at, unsigned size)
{
    return (u32)mem_read_sys(v, (u32)(t->base + at), size);
}

static void set_field(struct vcpu *v, const struct tss *t, u32 at, u32 value, unsigned size)
{
    mem_write_sys(v, (u32)(t->base + at), value, size);
}

/* ---- phase 1 ---- */

static u64 check_new_tss(struct vcpu *v, u16 sel, enum task_reason reason)
{
    unsigned vector = reason == TASK_IRET ? VEC_TS : VEC_GP;
    if (sel_null(sel) || (sel & SEL_TI))
        cpu_raise_error(v, vector, sel_error(sel));
    u64 desc = seg_descriptor(v, sel, vector);
    bool tss = desc_type(desc) == TYPE_TSS16 || desc_type(desc) == TYPE_TSS32;
    bool busy = desc_type(desc) == TYPE_TSS16_BUSY || desc_type(desc) == TYPE_TSS32_BUSY;
    if (desc_is_segment(desc) || !(reason == TASK_IRET ? busy : tss))
        cpu_raise_error(v, vector, sel_error(sel));
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, sel_error(sel));
    u32 least = desc_type(desc) & 8 ? TSS32_LAST : TSS16_LAST;
    if (desc_limit(desc) < least)
        cpu_raise_error(v, VEC_TS, sel_error(sel));
    return desc;
}

static void read_task32(struct vcpu *v, const struct tss *t, struct task *n)
{
    n->cr3 = field(v, t, TSS32_CR3, 4);
    n->eip = field(v, t, TSS32_EIP, 4);
    n->eflags = field(v, t, TSS32_EFLAGS, 4);
    for (unsigned i = 0; i < 8; i++)
        n->gpr[i] = field(v, t, TSS32_EAX + i * 4, 4);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        n->seg[i] = (u16)field(v, t, TSS32_ES + i * 4, 2);
    n->ldt = (u16)field(v, t, TSS32_LDT, 2);
    n->trap = field(v, t, TSS32_TRAP, 1) & 1;
}

static void read_task16(struct vcpu *v, const struct tss *t, struct task *n)
{
    n->eip = field(v, t, TSS16_IP, 2);
    n->eflags = field(v, t, TSS16_FLAGS, 2);
    for (unsigned i = 0; i < 8; i++)
        n->gpr[i] = 0xffff0000u | field(v, t, TSS16_AX + i * 2, 2);
    for (unsigned i = SEG_ES; i <= SEG_DS; i++)
        n->seg[i] = (u16)field(v, t, TSS16_ES + i * 2, 2);
    n->ldt = (u16)field(v, t, TSS16_LDT, 2);
}

/* The old TSS takes all that will be written to it. */
static void probe_old_tss(struct vcpu *v, const struct tss *t)
{
    u32 last = t->is_32 ? TSS32_LAST : TSS16_LAST;
    if (v->tr.limit < last)
        cpu_raise_error(v, VEC_TS, sel_error(v->tr.sel));
    for (u32 at = 0; at <= last; at += t->is_32 ? 4 : 2)
        tlb_translate(v, (u32)(t->base + at), ACCESS_WRITE, v->sys_view);
}

/* ---- phase 2 ---- */

static void save_task(struct vcpu *v, const struct tss *t, u32 eip, u32 eflags)
{
    unsigned size = t->is_32 ? 4 : 2;
    u32 at_gpr = t->is_32 ? TSS32_EAX : TSS16_AX, at_seg = t->is_32 ? TSS32_ES : TSS16_ES;
    set_field(v, t, t->is_32 ? TSS32_EIP : TSS16_IP, eip, size);
    set_field(v, t, t->is_32 ? TSS32_EFLAGS : TSS16_FLAGS, eflags, size);
    for (unsigned i = 0; i < 8; i++)
        set_field(v, t, at_gpr + i * size, (u32)v->gpr[i], size);
    for (unsigned i = 0; i < (t->is_32 ? SEG_COUNT : SEG_FS); i++)
        set_field(v, t, at_seg + i * size, v->seg[i].sel, 2);
}

static void load_registers(struct vcpu *v, const struct task *n)
{
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = n->gpr[i];
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = seg_null(n->seg[s]);
    const u64 writable = FLAG_OSZAPC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF |
                         FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;
    flags_set(v, n->eflags & writable);
    v->ldtr = seg_null(n->ldt);
    v->cpl = n->eflags & FLAG_VM ? 3 : (u8)sel_rpl(n->seg[SEG_CS]);
    v->rip = n->eip;
    v->at = NULL;
    v->shadow = n->eflags & FLAG_RF ? SHADOW_RF : 0;
    v->cr0 |= CR0_TS;
    v->dr[7] &= ~(u64)(DR7_LOCAL_ENABLES | DR7_LE);
    if ((v->cr0 & CR0_PG) && n->is_32) {
        v->cr3 = n->cr3;
        tlb_flush_nonglobal(v);
    }
    if (v->mode & MODE_BREAK)
        tlb_flush(v);
    vcpu_mode_changed(v);
}

/* ---- phase 3 ---- */

static void load_ldt(struct vcpu *v, u16 sel)
{
    u64 desc;
    if (sel_null(sel))
        return;
    if ((sel & SEL_TI) || !seg_read_descriptor(v, sel, &desc) || desc_is_segment(desc) ||
        desc_type(desc) != TYPE_LDT || !desc_present(desc))
        cpu_raise_error(v, VEC_TS, sel_error(sel));
    v->ldtr = seg_from_descriptor(sel, desc);
}

static void load_cs(struct vcpu *v, u16 sel)
{
    u32 error = sel_error(sel);
    if (sel_null(sel))
        cpu_raise_error(v, VEC_TS, error);
    u64 desc = seg_descriptor(v, sel, VEC_TS);
    if (!desc_is_code(desc))
        cpu_raise_error(v, VEC_TS, error);
    if (desc_is_conforming(desc) ? desc_dpl(desc) > sel_rpl(sel) : desc_dpl(desc) != sel_rpl(sel))
        cpu_raise_error(v, VEC_TS, error);
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, error);
    seg_set_cs(v, sel, seg_mark_accessed(v, sel, desc), sel_rpl(sel));
}

static void load_segments(struct vcpu *v, const struct task *n)
{
    static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    load_ldt(v, n->ldt);
    if (n->eflags & FLAG_VM) {
        for (unsigned s = 0; s < SEG_COUNT; s++)
            v->seg[s] = seg_vm86(n->seg[s]);
        return;
    }
    load_cs(v, n->seg[SEG_CS]);
    u64 desc = seg_check_stack(v, n->seg[SEG_SS], v->cpl, VEC_TS);
    v->seg[SEG_SS] = seg_from_descriptor(n->seg[SEG_SS], desc);
    for (unsigned i = 0; i < sizeof data; i++) {
        u16 sel = n->seg[data[i]];
        if (sel_null(sel))
            continue;
        desc = seg_check_data(v, sel, v->cpl, VEC_TS);
        v->seg[data[i]] = seg_from_descriptor(sel, desc);
    }
}

void task_switch(struct vcpu *v, u16 sel, enum task_reason reason, u64 return_ip)
{
    bool nests = reason == TASK_CALL || reason == TASK_INT;
    u64 desc = check_new_tss(v, sel, reason);
    struct tss to = {desc_base(desc), desc_type(desc) & 8};
    struct tss from = {v->tr.base, tss_is_32(&v->tr)};
    struct task n = {.is_32 = to.is_32};
    if (to.is_32)
        read_task32(v, &to, &n);
    else
        read_task16(v, &to, &n);
    if (nests)
        tlb_translate(v, (u32)to.base, ACCESS_WRITE, v->sys_view);
    probe_old_tss(v, &from);
    if (to.is_32 && paging_has_pdptes(v->cr0, v->cr4, v->efer) && !paging_load_pdptes(v, n.cr3))
        cpu_raise_error(v, VEC_TS, sel_error(sel));

    u32 flags = (u32)flags_get(v);
    u16 old = v->tr.sel;
    if (reason == TASK_IRET)
        flags &= ~(u32)FLAG_NT;
    if (!nests)
        seg_set_busy(v, old, false);
    save_task(v, &from, (u32)return_ip, flags);
    if (nests) {
        set_field(v, &to, TSS32_LINK, old, 2);
        n.eflags |= FLAG_NT;
    }
    if (reason != TASK_IRET)
        seg_set_busy(v, sel, true);
    v->tr = seg_from_descriptor(sel, desc | (u64)TYPE_BUSY << 40);
    load_registers(v, &n);

    load_segments(v, &n);
    if (n.trap)
        v->pending_db |= DR6_BT;
    vcpu_mode_changed(v);
    if (n.eip > v->seg[SEG_CS].limit)
        cpu_raise_error(v, VEC_GP, 0);
}
