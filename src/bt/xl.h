/* SPDX-License-Identifier: MIT
 *
 * A translation while it is made: what translate.c and the xl_*.c share. Each xl_*() either writes
 * the code of its instruction and returns true, or has written nothing and returns false; then the
 * instruction becomes a call-out.
 */
#ifndef ANELLO_BT_XL_H
#define ANELLO_BT_XL_H

#include "bt/internal.h"
#include "cpu/optable.h"

struct xl {
    struct bt *bt;
    struct vcpu *v;
    struct block *b;
    struct tcode *t;
    struct asm_buf a, cold;
    u32 mode;      /* of the instruction in hand: STAC and CLAC change it within a block */
    unsigned view; /* enum tlb_view of its accesses */
    unsigned n;    /* the instruction in hand */
    bool free;     /* its links need no guards: see struct texit */
    u64 page;      /* of the block that it is from, and its linear address */
    u32 la;
    const struct path *path; /* of a trace, or NULL */
    unsigned part;           /* the next one */
    unsigned next_part;      /* the instruction that it begins with */
    const struct block
        *from; /* whose instruction is in hand: b, or the one that is part of the trace */
    unsigned part_begins;             /* which instruction it begins with */
    bool key_checked;                 /* all pages of the trace are where they were */
    unsigned depth;                   /* calls that are open */
    struct block *opener[PATH_DEPTH]; /* whose they are */
    bool direct;                      /* this instruction's accesses go through the window */
    i32 sp;                           /* the guest's ESP is that of the host plus this */
    bool fpu_checked;
    unsigned x87_last, x87_mem; /* instruction whose note is due, from 1; 0: none (x87_track.c) */

    /* Jumps to places that come after the code proper, by a guard in their place or without. */
    struct xl_exit {
        u8 *field;
        u32 target;
        u8 *guard_key, *guard_field;
        u64 page;       /* that the exit is in */
        u32 la;         /* of the block */
        unsigned depth; /* calls that are open */
        i32 sp;         /* that the register is behind by */
        struct block *opener;
        bool live; /* FPU registers */
    } exit[EXITS_MOST];
    unsigned exits;
    struct {
        u8 *at; /* where the call comes back to, as executed; NULL: no call */
        u32 target;
        u8 *key, *differs, *field; /* of its guard */
    } back;
    struct {
        u8 *field;  /* the jump there */
        u8 *resume; /* as executed */
        u64 place;
    } fpu;
};

/* How an instruction's place is told to a thunk (R8). */
static inline u64 xl_place(const struct xl *x, const struct cached_insn *ci)
{
    return (u64)((const u8 *)ci - x->v->interp->arena);
}

/* Moves the guest's stack pointer: its register follows when somebody reads it, or at the end, so
 * that pushes and pops in a row move it once. */
static inline void xl_adjust_sp(struct xl *x, i32 by)
{
    x->sp += by;
}
static inline void xl_settle_sp(struct xl *x)
{
    if (x->sp)
        asm_rm(&x->a, XO_LEA, HR_SP, x64_at(HR_SP, x->sp));
    x->sp = 0;
}
/* It has been written. */
static inline void xl_new_sp(struct xl *x)
{
    x->sp = 0;
}

/* HR_T0 is kept over xl_stack_mem(), which destroys it unless the stack is in the window;
 * afterwards it is in the register returned, that one or `reg`. */
static inline void xl_put_aside(struct xl *x)
{
    if (!x->direct)
        asm_rm(&x->a, XO_MOV_STORE, HR_T0, VCPU(jump_to));
}
static inline unsigned xl_take_back(struct xl *x, unsigned reg)
{
    if (x->direct)
        return HR_T0;
    asm_rm(&x->a, XO_MOV_LOAD, reg, VCPU(jump_to));
    return reg;
}

/* Leaves the instruction to C unless RCX is 0. RCX itself is in HR_T3, and comes back. */
static inline void xl_put_slow_unless_zero(struct xl *x)
{
    u8 *zero = asm_jrcxz(&x->a);
    asm_copy64(&x->a, X64_RCX, HR_T3);
    asm_call(&x->a, x->bt->thunk.slow);
    asm_short_here(&x->a, zero);
    asm_copy64(&x->a, X64_RCX, HR_T3);
}

/* ---- xl_mem.c ---- */

/* The memory operand is one that translated code reaches. */
bool xl_mem_ok(const struct insn *in);
/* The effective address as an operand of LEA. */
struct x64_mem xl_ea(const struct xl *x, const struct insn *in);
/* HR_T0 = effective address, or linear address. */
void xl_put_ea(struct xl *x, const struct insn *in);
void xl_put_la(struct xl *x, const struct insn *in);
/* What the host accesses instead of the memory operand, after code that makes it accessible where
 * need be. Scratch registers change. */
struct x64_mem xl_mem(struct xl *x, const struct insn *in, unsigned size, bool write);
/* The same for what HR_T0 is the linear address of. */
struct x64_mem xl_mem_at_la(struct xl *x, unsigned size, bool write);
/* The same on the stack, at a register and an offset. */
struct x64_mem xl_stack_mem(struct xl *x, unsigned gpr, i32 offset, unsigned size, bool write);
/* And at a register in a segment. */
struct x64_mem xl_string_mem(struct xl *x, unsigned seg, unsigned gpr, unsigned size, bool write);
/* Translated code accesses memory through this segment register. */
bool xl_seg_ok(unsigned seg);

/* ---- xl_int.c, xl_fpu.c, xl_flow.c ---- */

bool xl_int(struct xl *x, const struct insn *in);
bool xl_stack(struct xl *x, const struct insn *in);
bool xl_fpu(struct xl *x, const struct cached_insn *ci);
bool xl_flow(struct xl *x, const struct cached_insn *ci);
bool xl_sys(struct xl *x, const struct cached_insn *ci);
bool xl_string(struct xl *x, const struct insn *in);

/* xl_sys.c: a system instruction that mostly goes by a thunk and leaves the mode as it is, but for
 * SMAP. C, which does the rest, is told by how much ESP is behind, and comes back to a trace by the
 * table of jumps. */
bool xl_has_thunk(const struct insn *in);

/* xl_int.c: ESP has to be in its register before this instruction. */
bool xl_reads_sp(const struct insn *in);

bool xl_patched(struct xl *x, const struct cached_insn *ci);
/* xl_self.c: leaves the translation before its first instruction if the guest's code has changed.
 */
void xl_check_self(struct xl *x);
/* xl_flow.c: jumps to `same` if HR_T2 + HR_T1 is 0 in 64 bits. Returns the field of the jump for
 * when it is not; RCX is anything there. The verifier knows this form. */
u8 *xl_put_wide_test(struct asm_buf *a, u8 **same);
/* xl_flow.c: JMP or CALL, HR_T1 being the displacement. */
void xl_flow_relative(struct xl *x, const struct cached_insn *ci);

/* x87_track.c: a tracked instruction has been translated; before each instruction; all notes that
 * are due, at the end. */
void xl_x87_note(struct xl *x, bool mem);
void xl_x87_before(struct xl *x, const struct insn *in);
void xl_x87_flush(struct xl *x);

/* translate.c: the instructions from here on run in this mode. */
void xl_set_mode(struct xl *x, u32 mode);

/* In a trace: it goes on behind this branch with the instruction that follows it there. */
static inline bool xl_goes_on(const struct xl *x)
{
    return x->n + 1u < x->b->insns;
}
/* Goes on at `rip` only if all pages of the trace are where they were. */
void xl_put_trace_check(struct xl *x, u32 rip);

/* Leaves the translation for a known target. */
void xl_exit_jmp(struct xl *x, u32 target);
void xl_exit_jcc(struct xl *x, enum x64_cc cc, u32 target);

/* What comes before and after the code proper, and into `cold`. */
void xl_put_entry_guard(struct xl *x);
void xl_put_way_in(struct xl *x);
void xl_finish_exits(struct xl *x);
void xl_finish_fpu(struct xl *x);

#endif
