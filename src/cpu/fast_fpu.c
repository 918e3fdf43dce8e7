/* SPDX-License-Identifier: MIT
 *
 * Fast handlers of x87, MMX, SSE and AVX instructions that are no more than their stub
 * (cpu/op_fpu.h). A block depends on the mode word, so what CR0 and CR4 say is looked at when the
 * handler is chosen. What is left is the address, and whether x87 errors may be pending.
 *
 * The uop holds, besides the address part:
 *   imm          bits 15..0 the stub's number, the rest the instruction's rip (canonical: 48 bits)
 *   src          SSE, AVX: the operand's size; x87: ModRM, for FOP
 *   dst          SSE, AVX: the operand's alignment less 1; x87: the opcode's low bits, for FOP
 */
#include "cpu/fast.h"
#include "cpu/fpu.h"
#include "cpu/op_fpu.h"

#define RIP_SHIFT 16

ALWAYS_INLINE u64 rip_of(const struct uop *u)
{
    return (u64)((i64)u->imm >> RIP_SHIFT);
}

ALWAYS_INLINE void run_stub(struct vcpu *v, const struct uop *u, void *hp)
{
    v->at = u; /* it may trap */
    fpu_run(v, fpu_stub_fn(v->stubs, (u16)u->imm), hp);
}

/* ---- MMX, SSE, AVX ---- */

UOP_HANDLER vec_reg(struct vcpu *v, const struct uop *u)
{
    run_stub(v, u, NULL);
    UOP_NEXT(v, u);
}

UOP_HANDLER mmx_reg(struct vcpu *v, const struct uop *u)
{
    if (UNLIKELY(v->fpu_unmasked))
        return uop_general(v, u);
    run_stub(v, u, NULL);
    UOP_NEXT(v, u);
}

UOP_BODY vec_mem(struct vcpu *v, const struct uop *u, enum ea_form form, bool write)
{
    u64 la;
    if (UNLIKELY(!uop_la(v, u, form, u->src, write, &la) || la & u->dst))
        return uop_general(v, u);
    void *hp = write ? la_write(v, la, u->src) : la_read(v, la, u->src);
    if (UNLIKELY(!hp))
        return uop_general(v, u);
    run_stub(v, u, hp);
    UOP_NEXT(v, u);
}

#define VEC_MEM(op, size, form)                                                                    \
    UOP_HANDLER vec_load_##form(struct vcpu *v, const struct uop *u)                               \
    {                                                                                              \
        return vec_mem(v, u, form, false);                                                         \
    }                                                                                              \
    UOP_HANDLER vec_store_##form(struct vcpu *v, const struct uop *u)                              \
    {                                                                                              \
        return vec_mem(v, u, form, true);                                                          \
    }                                                                                              \
    UOP_HANDLER mmx_load_##form(struct vcpu *v, const struct uop *u)                               \
    {                                                                                              \
        return UNLIKELY(v->fpu_unmasked) ? uop_general(v, u) : vec_mem(v, u, form, false);         \
    }                                                                                              \
    UOP_HANDLER mmx_store_##form(struct vcpu *v, const struct uop *u)                              \
    {                                                                                              \
        return UNLIKELY(v->fpu_unmasked) ? uop_general(v, u) : vec_mem(v, u, form, true);          \
    }
FOR_EA(VEC_MEM, , )

#define VEC_LOAD_ENTRY(op, size, form)  [form] = vec_load_##form,
#define VEC_STORE_ENTRY(op, size, form) [form] = vec_store_##form,
#define MMX_LOAD_ENTRY(op, size, form)  [form] = mmx_load_##form,
#define MMX_STORE_ENTRY(op, size, form) [form] = mmx_store_##form,
static const uop_fn vec_access[2][EA_FORMS] = {{FOR_EA(VEC_LOAD_ENTRY, , )},
                                               {FOR_EA(VEC_STORE_ENTRY, , )}};
static const uop_fn mmx_access[2][EA_FORMS] = {{FOR_EA(MMX_LOAD_ENTRY, , )},
                                               {FOR_EA(MMX_STORE_ENTRY, , )}};

/* ---- x87 ---- */

/* As op_x87.c does it. */
ALWAYS_INLINE void track_insn(struct vcpu *v, const struct uop *u)
{
    v->fpu_ip = rip_of(u);
    v->fpu_cs = v->seg[SEG_CS].sel;
    if (!v->fpu_dp_on_error)
        v->fpu_op = (u16)(u->dst << 8 | u->src);
}

ALWAYS_INLINE const struct uop *x87_general(struct vcpu *v, const struct uop *u)
{
    v->rip = rip_of(u);
    return uop_general(v, u);
}

UOP_HANDLER x87_reg(struct vcpu *v, const struct uop *u)
{
    if (UNLIKELY(v->fpu_unmasked))
        return x87_general(v, u);
    run_stub(v, u, NULL);
    track_insn(v, u);
    UOP_NEXT(v, u);
}

/* The operand's offset in its segment; flat, it is the linear address. */
ALWAYS_INLINE u64 operand_ea(const struct vcpu *v, const struct uop *u, enum ea_form form, u64 la)
{
    if (form != SEGMENT)
        return la;
    u64 ea = ea_reg(v, u->base) + ea_reg(v, u->index) * u->scale + (u64)u->disp;
    return ea & mask64(u->adsize * 8);
}

UOP_BODY x87_mem(struct vcpu *v, const struct uop *u, enum ea_form form, unsigned size, bool write)
{
    u64 la;
    if (UNLIKELY(v->fpu_unmasked || !uop_la(v, u, form, size, write, &la)))
        return x87_general(v, u);
    void *hp = write ? la_write(v, la, size) : la_read(v, la, size);
    if (UNLIKELY(!hp))
        return x87_general(v, u);
    if (!v->fpu_dp_on_error) {
        v->fpu_dp = operand_ea(v, u, form, la);
        v->fpu_ds = v->seg[u->seg].sel;
    }
    run_stub(v, u, hp);
    track_insn(v, u);
    UOP_NEXT(v, u);
}

#define X87_MEM(op, size, form)                                                                    \
    UOP_HANDLER x87_load_##size##form(struct vcpu *v, const struct uop *u)                         \
    {                                                                                              \
        return x87_mem(v, u, form, size, false);                                                   \
    }                                                                                              \
    UOP_HANDLER x87_store_##size##form(struct vcpu *v, const struct uop *u)                        \
    {                                                                                              \
        return x87_mem(v, u, form, size, true);                                                    \
    }
#define X87_MEM_ALL(op, size) FOR_EA(X87_MEM, op, size)
#define FOR_X87_SIZES(M)      M(, 2) M(, 4) M(, 8) M(, 10)
FOR_X87_SIZES(X87_MEM_ALL)

#define X87_LOAD_ENTRY(op, size, form)  [size][form] = x87_load_##size##form,
#define X87_STORE_ENTRY(op, size, form) [size][form] = x87_store_##size##form,
#define X87_LOAD_ENTRIES(op, size)      FOR_EA(X87_LOAD_ENTRY, op, size)
#define X87_STORE_ENTRIES(op, size)     FOR_EA(X87_STORE_ENTRY, op, size)
static const uop_fn x87_load[11][EA_FORMS] = {FOR_X87_SIZES(X87_LOAD_ENTRIES)};
static const uop_fn x87_store[11][EA_FORMS] = {FOR_X87_SIZES(X87_STORE_ENTRIES)};

/* ---- selection ---- */

static uop_fn x87_select(struct fpu_plan p, enum ea_form form)
{
    if (p.use == USE_NONE)
        return x87_reg;
    return p.use == USE_WRITE ? x87_store[p.size][form] : x87_load[p.size][form];
}

static uop_fn vec_select(struct fpu_plan p, enum ea_form form)
{
    bool sees_x87 = fpu_sees_x87(p.check);
    if (p.use == USE_NONE)
        return sees_x87 ? mmx_reg : vec_reg;
    return sees_x87 ? mmx_access[p.use == USE_WRITE][form] : vec_access[p.use == USE_WRITE][form];
}

uop_fn fast_fpu_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u)
{
    struct fpu_plan plan;
    enum ea_form form = EA_FORMS;
    if (!FPU_STAYS_LIVE || in->stub - 1u >= STUB_PERMANENT - 1 || !op_fpu_plan(v, in, &plan) ||
        !fpu_allowed(v->mode, plan.check))
        return NULL;
    if (plan.use != USE_NONE) {
        form = fast_ea(v, in, u);
        if (form == EA_FORMS)
            return NULL;
    }
    u64 rip = (next - in->len) & (v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu);
    u->imm = rip << RIP_SHIFT | in->stub;
    if (plan.check == CHECK_X87) {
        u->dst = in->opcode & 7;
        u->src = in->modrm;
        return x87_select(plan, form);
    }
    u->dst = plan.align - 1;
    u->src = plan.size;
    return vec_select(plan, form);
}
