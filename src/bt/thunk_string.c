/* SPDX-License-Identifier: MIT
 *
 * Repeated MOVS and STOS where there is no window: what kernels copy to programs and back. If each
 * operand is within a page that the TLB knows, the host's own instruction does it; all else is for
 * the door `slow`, before any effect.
 *
 * While the host's instruction runs RSI and RDI hold host addresses. It cannot trap.
 */
#include "bt/thunk.h"

#define REP_MOST_BITS 16 /* of RCX: what is more is for C, and no sum overflows */
#define OPCODE_MOVSB  0xa4
#define OPCODE_STOSB  0xaa
#define PREFIX_REP    0xf3

/* HR_T2 = what leads from the linear address in `gpr` to its host address, for HR_T1 + 1 bytes.
 * Destroys HR_T0. */
static void put_addend(struct asm_buf *a, unsigned gpr, unsigned view, bool write, const u8 *slow)
{
    size_t tag = write ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
    asm_rorx(a, HR_T2, gpr, PAGE_SHIFT + TLB_BITS);
    asm_shrx(a, HR_T2, HR_T2, HR_C22);
    asm_rm(a, XO_LEA, HR_T2, x64_indexed(X64_NONE, HR_T2, 8, 0));
    asm_rm(a, XO_LEA, HR_T0, x64_indexed(gpr, HR_T1, 1, 0));
    asm_shrx(a, HR_T0, HR_T0, HR_C12);
    asm_shlx(a, HR_T0, HR_T0, HR_C12);
    asm_not(a, HR_T0);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, thunk_tlb_field(view, tag));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T0, 1, 1));
    thunk_slow_unless_zero(a, slow);
    asm_load64(a, HR_T2, thunk_tlb_field(view, offsetof(struct tlb_entry, addend)));
}

static const u8 *make_rep(struct asm_buf *a, bool movs, unsigned size, unsigned view,
                          const u8 *slow)
{
    const u8 *start = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    u8 *none = asm_jrcxz(a);
    u8 *some = asm_jmp(a, NULL);
    asm_short_here(a, none);
    asm_ret(a);
    asm_rel32_here(a, some);
    asm_mov_imm32(a, HR_T1, REP_MOST_BITS);
    asm_shrx(a, X64_RCX, X64_RCX, HR_T1);
    thunk_slow_unless_zero(a, slow);
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(X64_NONE, HR_T3, (u8)size, -1));
    if (movs) {
        put_addend(a, X64_RSI, view, false, slow);
        asm_store64(a, HR_T2, VCPU(string_source));
    }
    put_addend(a, X64_RDI, view, true, slow);
    if (movs) {
        asm_rm(a, XO_LEA, HR_T0, x64_indexed(X64_RSI, HR_T1, 1, 1));
        asm_load64(a, X64_RCX, VCPU(string_source));
        asm_rm(a, XO_LEA | X64_W, X64_RSI, x64_indexed(X64_RSI, X64_RCX, 1, 0));
    }
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(X64_RDI, HR_T1, 1, 1));
    asm_rm(a, XO_LEA | X64_W, X64_RDI, x64_indexed(X64_RDI, HR_T2, 1, 0));
    asm_copy64(a, X64_RCX, HR_T3);
    asm_byte(a, PREFIX_REP);
    asm_byte(a, (u8)((movs ? OPCODE_MOVSB : OPCODE_STOSB) + (size == 4)));
    if (movs)
        asm_rr(a, XO_MOV_LOAD, X64_RSI, HR_T0);
    asm_rr(a, XO_MOV_LOAD, X64_RDI, HR_T1);
    asm_ret(a);
    return start;
}

void thunks_make_string(struct asm_buf *a, struct thunks *t)
{
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned wide = 0; wide < 2; wide++) {
            t->rep_movs[view][wide] = make_rep(a, true, wide ? 4 : 1, view, t->slow);
            t->rep_stos[view][wide] = make_rep(a, false, wide ? 4 : 1, view, t->slow);
        }
    }
}
