/* SPDX-License-Identifier: MIT
 *
 * Stacks of far transfers: see cpu/frame.h.
 */
#include "cpu/frame.h"

#include "cpu/tss.h"

/* The view that code of privilege level cpl would have. */
static unsigned view_for(const struct vcpu *v, unsigned cpl)
{
    if (cpl == 3)
        return TLB_USER;
    return (v->cr4 & CR4_SMAP) && !(v->rflags & FLAG_AC) ? TLB_KERNEL_SMAP : TLB_KERNEL;
}

struct frame frame_here(const struct vcpu *v)
{
    struct frame f = frame_new(v, &v->seg[SEG_SS], v->gpr[REG_SP], v->cpl);
    if (v->mode & MODE_CS64)
        f.mask = ~(u64)0;
    f.error = 0;
    return f;
}

struct frame frame_new(const struct vcpu *v, const struct segment *ss, u64 sp, unsigned cpl)
{
    return (struct frame){.ss = *ss,
                          .sp = sp,
                          .mask = ss->attr & SEG_DB ? 0xffffffffu : 0xffffu,
                          .view = view_for(v, cpl),
                          .error = sel_error(ss->sel)};
}

/* The linear address of `size` bytes at offset ea in the stack, checked. */
static u64 address(struct vcpu *v, const struct frame *f, u64 ea, unsigned size)
{
    if (f->mask == ~(u64)0) {
        if (!mem_canonical(ea) || !mem_canonical(ea + size - 1))
            cpu_raise_error(v, VEC_SS, f->error);
        return ea;
    }
    if (f->ss.unusable || !seg_in_limit(&f->ss, ea, size))
        cpu_raise_error(v, VEC_SS, f->error);
    return (u32)(f->ss.base + ea);
}

void frame_push(struct vcpu *v, struct frame *f, u64 value, unsigned size)
{
    u64 ea = (f->sp - size) & f->mask;
    mem_write_view(v, address(v, f, ea, size), value, size, f->view);
    f->sp = (f->sp & ~f->mask) | ea;
}

u64 frame_peek(struct vcpu *v, const struct frame *f, u64 at, unsigned size)
{
    u64 ea = (f->sp + at) & f->mask;
    return mem_read_view(v, address(v, f, ea, size), size, f->view);
}

u64 frame_pop(struct vcpu *v, struct frame *f, unsigned size)
{
    u64 value = frame_peek(v, f, 0, size);
    frame_skip(f, size);
    return value;
}

void frame_commit(struct vcpu *v, const struct frame *f)
{
    /* A 16-bit stack changes SP only; the rest of ESP is that of the stack, old or new. */
    v->gpr[REG_SP] = f->sp & (f->mask | 0xffffffffu);
}

/* ---- stacks named by the TSS ---- */

/* A field of the current TSS that must lie within its limit. */
static u64 tss_field(struct vcpu *v, u32 at, unsigned size)
{
    if (at + size - 1 > v->tr.limit)
        cpu_raise_error(v, VEC_TS, sel_error(v->tr.sel));
    return mem_read_sys(v, tss_address(v, at), size);
}

struct frame frame_of_tss(struct vcpu *v, unsigned cpl)
{
    u64 sp;
    u16 sel;
    if (tss_is_32(&v->tr)) {
        u32 at = TSS32_ESP0 + cpl * 8;
        sel = (u16)tss_field(v, at + 4, 2);
        sp = tss_field(v, at, 4);
    } else {
        u32 at = TSS16_SP0 + cpl * 4;
        sel = (u16)tss_field(v, at + 2, 2);
        sp = tss_field(v, at, 2);
    }
    u64 desc = seg_check_stack(v, sel, cpl, VEC_TS);
    struct segment ss = seg_from_descriptor(sel, desc);
    return frame_new(v, &ss, sp, cpl);
}

u64 frame_of_tss64(struct vcpu *v, unsigned cpl, unsigned ist)
{
    u32 at = ist ? TSS64_IST1 + (ist - 1) * 8 : TSS64_RSP0 + cpl * 8;
    return tss_field(v, at, 8);
}
