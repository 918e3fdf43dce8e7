/* SPDX-License-Identifier: MIT
 *
 * What the files behind op_fpu_select() share: the checks before an instruction of each class, its
 * memory operand as a host pointer, and the call of its stub.
 */
#ifndef ANELLO_CPU_OP_FPU_H
#define ANELLO_CPU_OP_FPU_H

#include "cpu/excp.h"
#include "cpu/exec.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/fpu_stub.h"
#include "cpu/mem.h"
#include "cpu/optable.h"

/* Instructions that need more than their stub; NULL: not one of these. */
exec_fn op_x87_select(const struct insn *in);                       /* control instructions */
exec_fn op_vec_select(const struct vcpu *v, const struct insn *in); /* masks, gathers, MXCSR */
exec_fn op_xsave_select(const struct insn *in);                     /* FXSAVE, XSAVE, ... */

/* x87 arithmetic, by its memory operand. */
void op_x87_reg(struct vcpu *v, const struct insn *in);
void op_x87_load(struct vcpu *v, const struct insn *in);
void op_x87_store(struct vcpu *v, const struct insn *in);

/* What must be true before an instruction executes. */
enum fpu_check {
    CHECK_X87,
    CHECK_MMX,
    CHECK_SSE,
    CHECK_SSE_MMX, /* MMX and XMM operands */
    CHECK_AVX,
};

/* ---- Checks (SDM 3A tables 9-1 and 9-3, §13.1; 2A §2.4) ---- */

/* An x87 error may be pending: #MF if one is, and CR0.NE says so. With CR0.NE clear the error has
 * been reported when it arose, and the instruction runs as with IGNNE# asserted. */
void fpu_check_pending_slow(struct vcpu *v);
static inline void fpu_check_pending(struct vcpu *v)
{
    if (UNLIKELY(v->fpu_unmasked))
        fpu_check_pending_slow(v);
}

/* Bits of the mode word that a check looks at, and what they must be. */
struct fpu_need {
    u32 looks_at, wants;
};
static inline struct fpu_need fpu_need(enum fpu_check check)
{
    const u32 avx = MODE_OSXSAVE | MODE_AVX | MODE_PE;
    switch (check) {
    case CHECK_SSE:
    case CHECK_SSE_MMX: return (struct fpu_need){MODE_EM | MODE_TS | MODE_OSFXSR, MODE_OSFXSR};
    case CHECK_AVX: return (struct fpu_need){avx | MODE_VM | MODE_TS, avx};
    default: return (struct fpu_need){MODE_EM | MODE_TS, 0};
    }
}

static inline bool fpu_allowed(u32 mode, enum fpu_check check)
{
    struct fpu_need need = fpu_need(check);
    return (mode & need.looks_at) == need.wants;
}

/* #UD comes before #NM. */
static inline unsigned fpu_denied(u32 mode, enum fpu_check check)
{
    return check == CHECK_X87 || fpu_allowed(mode & ~(u32)MODE_TS, check) ? VEC_NM : VEC_UD;
}

static inline bool fpu_sees_x87(enum fpu_check check)
{
    return check == CHECK_X87 || check == CHECK_MMX || check == CHECK_SSE_MMX;
}

static inline void fpu_check(struct vcpu *v, enum fpu_check check)
{
    if (UNLIKELY(!fpu_allowed(v->mode, check)))
        cpu_raise(v, fpu_denied(v->mode, check));
    if (fpu_sees_x87(check))
        fpu_check_pending(v);
}

/* ---- Memory operands ---- */

#define FPU_OPERAND_MAX 32

/* A memory operand while its instruction runs. */
struct fpu_operand {
    void *hp; /* the guest's memory, or `bounce` */
    u64 la;
    u8 bounce[FPU_OPERAND_MAX] __attribute__((aligned(FPU_OPERAND_MAX)));
};

/* Size of the instruction's memory operand. */
static inline unsigned fpu_operand_size(const struct insn *in)
{
    unsigned k = 0;
    while (in->operand[k].kind != OPD_MEM)
        k++;
    return in->operand[k].size;
}

/* #AC(0) as this class of instruction raises it: operands up to 8 bytes are aligned naturally,
 * 80-bit ones to 8; wider ones never raise it (observed on Intel Cascade Lake for all forms). */
static inline void fpu_check_alignment(struct vcpu *v, u64 la, unsigned size)
{
    unsigned align = size <= 8 ? size : size == IMAGE_ST_BYTES ? 8 : 1;
    if (UNLIKELY(v->mode & MODE_AC) && la & (align - 1))
        cpu_raise_error(v, VEC_AC, 0);
}

/* The operand when it is not simply there: device memory, page crossing, TLB miss. For writing,
 * the bounce buffer is to be written back by fpu_operand_write_back(). */
void fpu_operand_open_slow(struct vcpu *v, struct fpu_operand *op, unsigned size,
                           enum access access);

static inline void fpu_operand_open_la(struct vcpu *v, struct fpu_operand *op, u64 la,
                                       unsigned size, enum access access)
{
    const struct tlb_entry *e = tlb_entry(v, la, v->view);
    op->la = la;
    if (LIKELY((access == ACCESS_READ ? e->read : e->write) ==
               ((la + size - 1) & ~PAGE_OFFSET_MASK)) &&
        !(v->mode & MODE_AC))
        op->hp = (void *)(uintptr_t)(la + e->addend);
    else
        fpu_operand_open_slow(v, op, size, access);
}

static inline u64 fpu_operand_la(struct vcpu *v, const struct insn *in, unsigned size,
                                 enum access access)
{
    return seg_linear(v, in->seg, ea_of(v, in), size, access);
}

/* After the instruction wrote its destination. */
static inline void fpu_operand_write_back(struct vcpu *v, struct fpu_operand *op, unsigned size)
{
    if (UNLIKELY(op->hp == op->bounce))
        mem_write_bytes(v, op->la, op->bounce, size);
}

/* ---- Stubs ---- */

/* The stub of an instruction that op_fpu_select() has not seen, or whose slot may be reused. */
stub_fn *fpu_stub_of_slow(struct vcpu *v, const struct insn *in);
/* Says how the host executes `in`. */
union stub_code fpu_stub_encode(const struct insn *in);

static inline stub_fn *fpu_stub_of(struct vcpu *v, const struct insn *in)
{
    if (LIKELY(in->stub - 1u < STUB_PERMANENT - 1u))
        return fpu_stub_fn(v->stubs, in->stub);
    return fpu_stub_of_slow(v, in);
}

/* Executes a stub on the guest's registers. */
static FPU_ASM_INLINE void fpu_run(struct vcpu *v, stub_fn *stub, void *operand)
{
    fpu_enter(v);
    stub(operand, v);
    fpu_leave(v);
}

/* ---- Instructions that are no more than their stub ---- */

enum fpu_use { USE_NONE, USE_READ, USE_WRITE };

struct fpu_plan {
    u8 check; /* enum fpu_check */
    u8 use;   /* enum fpu_use: of the memory operand */
    u8 size;  /* of the memory operand */
    u8 align; /* it must be a multiple of this */
};

/* False: the instruction is not one of these, or not ours at all. */
bool op_fpu_plan(const struct vcpu *v, const struct insn *in, struct fpu_plan *plan);

/* ---- For op_x87.c ---- */

/* Executes an x87 or MMX stub while errors are unmasked: hides one that the guest ignores from the
 * host, and reports a new one to the board where the guest wants that. True: there is a new one. */
bool fpu_run_watched(struct vcpu *v, stub_fn *stub, void *operand);
u16 fpu_status_word(struct vcpu *v);

/* A selector of the x87 pointers as it is saved (SDM 1 §8.1.8). */
static inline u16 fpu_saved_selector(const struct vcpu *v, u16 sel)
{
    return feature_shown(v->feature, CPUID_ZERO_FCS_FDS) ? 0 : sel;
}

#endif
