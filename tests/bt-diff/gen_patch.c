/* SPDX-License-Identifier: MIT
 *
 * Pieces of code that changes code.
 */
#include "cpu/insn.h"
#include "program.h"

/* An instruction whose last four bytes may be anything. Returns where they are. */
unsigned put_patchable(struct maker *m, struct piece *q)
{
    struct rng *r = &m->r;
    unsigned reg = rng_below(r, 4);
    switch (rng_below(r, 3)) {
    case 0: piece_byte(q, (u8)(OPC_MOV_IMM + reg)); break;
    case 1:
        piece_byte(q, 0x81);
        piece_byte(q, (u8)(0xc0 | rng_below(r, 8) << 3 | reg));
        break;
    default:
        piece_byte(q, 0x69); /* imul reg, reg, imm32 */
        piece_byte(q, (u8)(0xc0 | reg << 3 | rng_below(r, 4)));
    }
    unsigned at = q->len;
    piece_u32(q, rng_value(r));
    return at;
}

/* An instruction whose operand [disp32], the last of its bytes so far, is in piece `to`. */
static void put_absolute(struct piece *q, const u8 *bytes, size_t n, unsigned to, i32 add)
{
    piece_bytes(q, bytes, n);
    piece_fix(q, FIX_ABS32, to, add);
}
#define ABSOLUTE(q, to, add, ...)                                                                  \
    put_absolute(q, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), to, add)

/* Stores into four bytes at an offset in piece `to`, in one of many ways. */
void put_code_write(struct maker *m, struct piece *q, unsigned to, unsigned at)
{
    struct rng *r = &m->r;
    i32 add = (i32)at + (rng_one_in(r, 2) ? CODE_ALIAS - CODE : 0);
    unsigned part = rng_below(r, 4);
    switch (rng_below(r, 10)) {
    case 0: /* mov dword [to], imm */
        ABSOLUTE(q, to, add, 0xc7, 0x05);
        piece_u32(q, rng_value(r));
        break;
    case 1: /* mov byte [to], imm */
        ABSOLUTE(q, to, add + (i32)part, 0xc6, 0x05);
        piece_byte(q, (u8)rng_next(r));
        break;
    case 2: /* mov [to], al */ ABSOLUTE(q, to, add + (i32)part, 0xa2); break;
    case 3: /* add dword [to], imm8 */
        ABSOLUTE(q, to, add, 0x83, 0x05);
        piece_byte(q, (u8)rng_next(r));
        break;
    case 4: /* lock xadd [to], ecx */ ABSOLUTE(q, to, add, 0xf0, 0x0f, 0xc1, 0x0d); break;
    case 5: /* xchg [to], edx */ ABSOLUTE(q, to, add, 0x87, 0x15); break;
    case 6: /* mov edi, to; stosd; or movsw */
        piece_mov_address(q, REG_DI, to, add);
        piece_byte(q, 0xfc);
        if (rng_one_in(r, 2))
            piece_byte(q, 0x66);
        piece_byte(q, rng_one_in(r, 2) ? 0xab : 0xa5);
        break;
    case 7: /* mov edi, to; mov ecx, 4; rep stosb */
        piece_mov_address(q, REG_DI, to, add);
        piece_mov(q, REG_CX, 4);
        piece_byte(q, 0xfc);
        piece_byte(q, 0xf3);
        piece_byte(q, 0xaa);
        break;
    case 8: /* movss [to], xmm1 */ ABSOLUTE(q, to, add, 0xf3, 0x0f, 0x11, 0x0d); break;
    default: /* mov esp, to + 4; push eax; mov esp, stack */
        if (m->p->config.ring == 3 && !m->p->config.both) {
            piece_mov_address(q, REG_SP, to, add + 4);
            piece_byte(q, 0x50);
            piece_mov(q, REG_SP, STACK_MIDDLE);
        }
    }
}

void add_patch(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned between = rng_below(r, 4), target;
    if (rng_one_in(r, 3)) { /* the code comes first: a loop meets it again */
        struct piece *q = piece_add(m, "patched");
        unsigned at = put_patchable(m, q);
        target = maker_ahead(m, 0) - 1;
        for (unsigned i = 0; i < between; i++)
            add_raw(m);
        put_code_write(m, piece_add(m, "patch"), target, at);
        return;
    }
    struct piece *writer = piece_add(m, "patch");
    for (unsigned i = 0; i < between; i++)
        add_raw(m);
    struct piece *q = piece_add(m, "patched");
    unsigned at = put_patchable(m, q);
    put_code_write(m, writer, maker_ahead(m, 0) - 1, at);
}

/* Data amid code: written beside it, now and then executed over. */
void add_hole(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "hole");
    piece_byte(q, 0xeb);
    piece_byte(q, 16);
    unsigned at = q->len;
    for (unsigned i = 0; i < 16; i++)
        piece_byte(q, (u8)rng_next(r));
    unsigned hole = maker_ahead(m, 0) - 1;
    for (unsigned i = 0; i < 2; i++) {
        put_code_write(m, piece_add(m, "write beside"), hole, at + rng_below(r, 12));
        add_raw(m);
    }
}

/* Copies a function to a data page and calls it there. */
void add_copied(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned f = add_function(m), end = maker_ahead(m, 0);
    u32 to = draw_good_target(m) & ~31u;
    if (rng_one_in(r, 2)) /* across the end of a page */
        to = (to | (u32)(PAGE_BYTES - 1)) + 1 - rng_below(r, 24);
    struct piece *q = piece_add(m, "copy");
    piece_mov_address(q, REG_SI, f, 0);
    piece_mov(q, REG_DI, to);
    piece_mov_address(q, REG_CX, end, 0);
    piece_byte(q, 0x29); /* sub ecx, esi */
    piece_byte(q, 0xf1);
    piece_byte(q, 0xfc);
    piece_byte(q, 0xf3);
    piece_byte(q, 0xa4);
    piece_mov(q, REG_AX, rng_one_in(r, 4) ? to - DATA + DATA_ALIAS : to);
    piece_byte(q, 0xff); /* call eax */
    piece_byte(q, 0xd0);
}

/* A function on a data page, `mov eax, imm; add edx, imm; ret`, whose immediates change in a loop
 * that calls it; data beside it changes too. */
void add_jit(struct maker *m)
{
    static const u8 code[] = {OPC_MOV_IMM, 0, 0, 0, 0, 0x81, 0xc2, 0, 0, 0, 0, OPC_RET};
    enum { FIRST_IMM = 1, SECOND_IMM = 7, BESIDE = 12 };
    struct rng *r = &m->r;
    u32 to = draw_good_target(m), counter = maker_counter(m);
    if (rng_one_in(r, 3))
        to = (to | (u32)(PAGE_BYTES - 1)) + 1 - rng_below(r, sizeof code + 4);
    struct piece *q = piece_add(m, "jit");
    piece_store(q, counter, 1 + rng_below(r, 12));
    piece_store(q, to, load32(code));
    piece_store(q, to + 4, load32(code + 4));
    piece_store(q, to + 8, load32(code + 8));
    unsigned head = maker_ahead(m, 0);
    q = piece_add(m, "jit loop");
    piece_store(q, to + (rng_one_in(r, 2) ? FIRST_IMM : SECOND_IMM), rng_value(r));
    piece_byte(q, 0xff); /* inc dword [to + imm] */
    piece_byte(q, 0x05);
    piece_u32(q, to + (rng_one_in(r, 2) ? FIRST_IMM : SECOND_IMM));
    piece_byte(q, 0x01); /* add [beside], eax */
    piece_byte(q, 0x05);
    piece_u32(q, to + BESIDE + rng_below(r, 3));
    add_raw(m);
    q = piece_add(m, "jit call");
    piece_mov(q, REG_BX, rng_one_in(r, 4) ? to - DATA + DATA_ALIAS : to);
    piece_byte(q, 0xff); /* call ebx */
    piece_byte(q, 0xd0 | REG_BX);
    piece_loop_tail(q, counter, head);
}
