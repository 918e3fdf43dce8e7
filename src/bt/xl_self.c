/* SPDX-License-Identifier: MIT
 *
 * What a block that checks itself (cpu/code_self.h) begins with: the guest's bytes are compared
 * with those that it was made from. Differences of four bytes at a time, extended by zeros, are
 * added in 64 bits: the sum of a few is 0 only if each is, so that there is one test at the end.
 * No flag changes.
 */
#include "bt/xl.h"
#include "cpu/code_self.h"

struct self {
    struct xl *x;
    unsigned
        words; /* compared so far; their sum is in HR_T1, but for the last, which is in HR_T2 */
};

/* HR_T2 = what `size` bytes at [HR_T0 + at] are more than `then`. */
static void put_difference(struct asm_buf *a, u64 at, const u8 *then, unsigned size)
{
    static const u32 load[] = {[1] = XO_MOVZX8, [2] = XO_MOVZX16, [4] = XO_MOV_LOAD};
    u32 value = size == 4 ? load32(then) : size == 2 ? load16(then) : *then;
    asm_rm(a, load[size], HR_T2, x64_at(HR_T0, (i32)at));
    asm_rm(a, XO_LEA, HR_T2, x64_at(HR_T2, (i32)-value));
}

static void put_sum(struct self *s)
{
    struct asm_buf *a = &s->x->a;
    if (s->words == 1)
        asm_copy64(a, HR_T1, HR_T2);
    else if (s->words)
        asm_rm(a, XO_LEA | X64_W, HR_T1, x64_indexed(HR_T1, HR_T2, 1, 0));
    s->words++;
}

/* The last word of a part overlaps the one before. */
static void put_part(void *opaque, u64 offset, u64 at, u64 size)
{
    struct self *s = opaque;
    const u8 *ram = physmem_fast(s->x->v->pm)->base;
    unsigned word = size >= 4 ? 4 : size >= 2 ? 2 : 1;
    asm_mov_imm64(&s->x->a, HR_T0, (u64)(uintptr_t)(ram + offset));
    for (u64 n = 0; n < size; n += word) {
        u64 here = n + word <= size ? n : size - word;
        put_sum(s);
        put_difference(&s->x->a, here, s->x->b->copy + at + here, word);
    }
}

void xl_check_self(struct xl *x)
{
    struct asm_buf *a = &x->a, *cold = &x->cold;
    struct self s = {.x = x};
    if (!x->b->copy)
        return;
    asm_copy64(a, HR_T3, X64_RCX);
    code_self_parts(x->b, put_part, &s);
    if (s.words == 1)
        asm_mov_imm32(a, HR_T1, 0);
    u8 *same, *differs = xl_put_wide_test(a, &same);
    asm_short_here(a, same);
    asm_copy64(a, X64_RCX, HR_T3);

    asm_rel32_here(cold, differs);
    asm_copy64(cold, X64_RCX, HR_T3);
    asm_mov_imm32(cold, HR_T0, (u32)x->b->rip);
    asm_jmp(cold, x->bt->thunk.exit); /* to cache_find(), which makes the block anew */
    x->bt->stats.self_checking++;
}
