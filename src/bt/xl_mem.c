/* SPDX-License-Identifier: MIT
 *
 * Memory operands. The segments of a translated mode are flat, or (FS, GS) a base without a limit.
 */
#include "bt/xl.h"

static struct x64_mem seg_field(unsigned seg, size_t field)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, seg) + seg * sizeof(struct segment) + field));
}

/* The base of FS or GS, if there is no limit; else this traps, and C executes the instruction. The
 * verifier knows this form. */
static void put_seg_base(struct xl *x, unsigned seg, unsigned to)
{
    asm_load64(&x->a, to, seg_field(seg, offsetof(struct segment, unusable)));
    asm_rm(&x->a, XO_MOV_LOAD, to,
           x64_indexed(HR_VCPU, to, 1, seg_field(seg, offsetof(struct segment, base)).disp));
}

bool xl_seg_ok(unsigned seg)
{
    switch (seg) {
    case SEG_ES:
    case SEG_SS:
    case SEG_DS:
    case SEG_FS:
    case SEG_GS: return true;
    default: return false; /* CS: readable or not is not in the mode */
    }
}

bool xl_mem_ok(const struct insn *in)
{
    return in->adsize == 4 && xl_seg_ok(in->seg);
}

/* In 64 bits: cut to 32 where it is used. */
struct x64_mem xl_ea(const struct xl *x, const struct insn *in)
{
    u32 disp = (u32)(u64)in->disp + (in->base == REG_SP ? (u32)x->sp : 0);
    struct x64_mem m = x64_at(in->base < 8 ? host_gpr(in->base) : X64_NONE, (i32)disp);
    if (in->index < 8) {
        m.index = (u8)host_gpr(in->index);
        m.scale = in->scale;
    }
    return m;
}

void xl_put_ea(struct xl *x, const struct insn *in)
{
    struct x64_mem m = xl_ea(x, in);
    if (m.base == X64_NONE && m.index == X64_NONE)
        asm_mov_imm32(&x->a, HR_T0, (u32)m.disp);
    else if (m.index == X64_NONE && !m.disp)
        asm_rr(&x->a, XO_MOV_LOAD, HR_T0, m.base);
    else
        asm_rm(&x->a, XO_LEA, HR_T0, m);
}

/* HR_T0 from effective to linear address. */
static void put_base(struct xl *x, unsigned seg)
{
    if (seg < SEG_FS)
        return;
    put_seg_base(x, seg, HR_T1);
    asm_rm(&x->a, XO_LEA, HR_T0, x64_indexed(HR_T0, HR_T1, 1, 0));
}

void xl_put_la(struct xl *x, const struct insn *in)
{
    xl_put_ea(x, in);
    put_base(x, in->seg);
}

/* HR_T0: from linear to host address. */
static struct x64_mem put_access(struct xl *x, unsigned size, bool write)
{
    asm_call(&x->a, x->bt->thunk.access[x->view][write][thunk_size_index(size)]);
    return x64_at(HR_T0, 0);
}

/* An offset in the window: cut to 32 bits by the address size. */
static struct x64_mem in_window(struct x64_mem m)
{
    m.gs = true;
    m.addr32 = true;
    return m;
}

struct x64_mem xl_mem_at_la(struct xl *x, unsigned size, bool write)
{
    return x->direct ? in_window(x64_at(HR_T0, 0)) : put_access(x, size, write);
}

/* In the window, when a register of the address is free for the segment's base. HR_T1 is left to
 * what is stored there. */
static struct x64_mem at_base(struct xl *x, const struct insn *in)
{
    struct x64_mem m = xl_ea(x, in);
    put_seg_base(x, in->seg, HR_T2);
    if (m.base == X64_NONE) {
        m.base = HR_T2;
    } else {
        m.index = HR_T2;
        m.scale = 1;
    }
    return in_window(m);
}

struct x64_mem xl_mem(struct xl *x, const struct insn *in, unsigned size, bool write)
{
    if (x->direct && in->seg < SEG_FS)
        return in_window(xl_ea(x, in));
    if (x->direct && in->seg >= SEG_FS && (in->base >= 8 || in->index >= 8))
        return at_base(x, in);
    xl_put_la(x, in);
    return xl_mem_at_la(x, size, write);
}

struct x64_mem xl_string_mem(struct xl *x, unsigned seg, unsigned gpr, unsigned size, bool write)
{
    struct x64_mem m = x64_at(host_gpr(gpr), 0);
    if (x->direct && seg < SEG_FS)
        return in_window(m);
    asm_rr(&x->a, XO_MOV_LOAD, HR_T0, m.base);
    put_base(x, seg);
    return xl_mem_at_la(x, size, write);
}

struct x64_mem xl_stack_mem(struct xl *x, unsigned gpr, i32 offset, unsigned size, bool write)
{
    if (gpr == REG_SP)
        offset += x->sp;
    struct x64_mem m = x64_at(host_gpr(gpr), offset);
    if (x->direct)
        return in_window(m);
    if (offset)
        asm_rm(&x->a, XO_LEA, HR_T0, m);
    else
        asm_rr(&x->a, XO_MOV_LOAD, HR_T0, m.base);
    return put_access(x, size, write);
}
