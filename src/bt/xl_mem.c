/* SPDX-License-Identifier: MIT
 *
 * Memory operands. The segments of a translated mode are flat, or (FS, GS) a base without a limit.
 */
#include "bt/xl.h"

bool xl_mem_ok(const struct xl *x, const struct insn *in)
{
    if (in->adsize != 4)
        return false;
    switch (in->seg) {
    case SEG_ES:
    case SEG_SS:
    case SEG_DS: return true;
    case SEG_FS: return x->b->mode & MODE_FS4G;
    case SEG_GS: return x->b->mode & MODE_GS4G;
    default: return false; /* CS: readable or not is not in the mode */
    }
}

void xl_put_ea(struct xl *x, const struct insn *in)
{
    bool base = in->base < 8, index = in->index < 8;
    i32 disp = (i32)(u32)(u64)in->disp;
    struct x64_mem m = x64_at(base ? host_gpr(in->base) : X64_NONE, disp);
    if (index) {
        m.index = (u8)host_gpr(in->index);
        m.scale = in->scale;
    }
    if (!base && !index)
        asm_mov_imm32(&x->a, HR_T0, (u32)disp);
    else if (!index && !disp)
        asm_rr(&x->a, XO_MOV_LOAD, HR_T0, m.base);
    else
        asm_rm(&x->a, XO_LEA, HR_T0, m);
}

void xl_put_la(struct xl *x, const struct insn *in)
{
    xl_put_ea(x, in);
    if (in->seg < SEG_FS)
        return;
    i32 base = (i32)(offsetof(struct vcpu, seg) + in->seg * sizeof(struct segment) +
                     offsetof(struct segment, base));
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, x64_at(HR_VCPU, base));
    asm_rm(&x->a, XO_LEA, HR_T0, x64_indexed(HR_T0, HR_T1, 1, 0));
}

void xl_put_access(struct xl *x, unsigned size, bool write)
{
    asm_call(&x->a, x->bt->thunk.access[x->view][write][thunk_size_index(size)]);
}

void xl_put_mem(struct xl *x, const struct insn *in, unsigned size, bool write)
{
    xl_put_la(x, in);
    xl_put_access(x, size, write);
}
