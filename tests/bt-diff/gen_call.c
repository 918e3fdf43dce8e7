/* SPDX-License-Identifier: MIT
 *
 * Pieces that call and return: in pairs, and in ways that a prediction of returns gets wrong.
 */
#include "cpu/insn.h"
#include "program.h"

/* A function, jumped over. Returns its number. */
unsigned add_function(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *over = piece_add(m, "over a function");
    unsigned start = maker_ahead(m, 0), n = rng_below(r, 4);
    for (unsigned i = 0; i < n; i++)
        add_raw(m);
    if (rng_one_in(r, 12))
        add_system(m);
    struct piece *q = piece_add(m, "function end");
    switch (rng_below(r, 8)) {
    case 0: { /* calls itself a few times */
        u32 counter = maker_counter(m);
        piece_loop_tail(q, counter, maker_ahead(m, 0));
        q->bytes[q->len - 5] = 0x8e; /* JLE over the call */
        piece_byte(q, OPC_CALL);
        piece_fix(q, FIX_REL32, start, 0);
        q = piece_add(m, "function end");
        piece_byte(q, OPC_RET);
        break;
    }
    case 1: { /* lea esp, [esp + 4]; jmp [esp - 4] */
        static const u8 code[] = {0x8d, 0x64, 0x24, 0x04, 0xff, 0x64, 0x24, 0xfc};
        piece_bytes(q, code, sizeof code);
        break;
    }
    case 2: { /* add dword [esp], 0; ret */
        static const u8 code[] = {0x83, 0x04, 0x24, 0x00, OPC_RET};
        piece_bytes(q, code, sizeof code);
        break;
    }
    case 3: { /* pop ecx; jmp ecx */
        static const u8 code[] = {0x59, 0xff, 0xe1};
        piece_bytes(q, code, sizeof code);
        break;
    }
    case 4: { /* ret n */
        static const u8 code[] = {OPC_RET_IMM, 4, 0};
        piece_bytes(q, code, sizeof code);
        break;
    }
    default: piece_byte(q, OPC_RET);
    }
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, maker_ahead(m, 0), 0);
    return start;
}

void add_call(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned f = add_function(m), calls = 1 + rng_below(r, 3);
    for (unsigned i = 0; i < calls; i++) {
        struct piece *q = piece_add(m, "call");
        switch (rng_below(r, 6)) {
        case 0:
            piece_mov_address(q, rng_below(r, 4), f, 0);
            piece_byte(q, 0xff);
            piece_byte(q, (u8)(0xd0 + (q->bytes[0] & 7)));
            break;
        case 1: /* call [next dword], which is jumped over */
            piece_byte(q, 0xff);
            piece_byte(q, 0x15);
            piece_fix(q, FIX_ABS32, maker_ahead(m, 0) - 1, 8);
            piece_byte(q, 0xeb);
            piece_byte(q, 4);
            piece_fix(q, FIX_ABS32, f, 0);
            break;
        case 2: /* push a return address that is not here */
            piece_byte(q, OPC_PUSH_IMM);
            piece_fix(q, FIX_ABS32, maker_ahead(m, rng_below(r, 3)), 0);
            piece_byte(q, OPC_JMP);
            piece_fix(q, FIX_REL32, f, 0);
            break;
        case 3: /* call the next instruction; pop it */
            piece_byte(q, OPC_CALL);
            piece_fix(q, FIX_REL32, maker_ahead(m, 0) - 1, 5);
            piece_byte(q, (u8)(0x58 + rng_below(r, 4)));
            break;
        default: piece_byte(q, OPC_CALL); piece_fix(q, FIX_REL32, f, 0);
        }
        if (rng_one_in(r, 2))
            add_raw(m);
    }
}

/* ---- returns that no call has made ---- */

/* f calls itself as often as its counter says: deeper than return stacks are. */
static void add_deep(struct maker *m)
{
    struct rng *r = &m->r;
    u32 counter = maker_counter(m);
    struct piece *over = piece_add(m, "over a recursion");
    unsigned start = maker_ahead(m, 0);
    add_raw(m);
    struct piece *q = piece_add(m, "recursion");
    piece_loop_tail(q, counter, maker_ahead(m, 0));
    q->bytes[q->len - 5] = 0x84; /* JZ over the call */
    piece_byte(q, OPC_CALL);
    piece_fix(q, FIX_REL32, start, 0);
    piece_byte(piece_add(m, "recursion end"), OPC_RET);
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, maker_ahead(m, 0), 0);
    q = piece_add(m, "deep call");
    piece_store(q, counter, 1 + rng_below(r, 60));
    piece_byte(q, OPC_CALL);
    piece_fix(q, FIX_REL32, start, 0);
}

/* g drops its own return address: it returns for f. */
static void add_nonlocal(struct maker *m)
{
    static const u8 leave_two[] = {0x83, 0xc4, 0x04, OPC_RET}; /* add esp, 4; ret */
    struct piece *over = piece_add(m, "over two functions");
    unsigned g = maker_ahead(m, 0);
    add_raw(m);
    piece_bytes(piece_add(m, "return for the caller"), leave_two, sizeof leave_two);
    unsigned f = maker_ahead(m, 0);
    struct piece *q = piece_add(m, "caller");
    piece_byte(q, OPC_CALL);
    piece_fix(q, FIX_REL32, g, 0);
    add_raw(m);
    piece_byte(piece_add(m, "not reached"), OPC_RET);
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, maker_ahead(m, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        q = piece_add(m, "call");
        piece_byte(q, OPC_CALL);
        piece_fix(q, FIX_REL32, f, 0);
    }
}

/* Another stack, whose return address is a routine's; it comes back the same way. */
static void add_coroutine(struct maker *m)
{
    static const u8 to_memory[] = {0x89, 0x25}, from_memory[] = {0x8b, 0x25};
    struct piece *q = piece_add(m, "change stack");
    piece_byte(q, OPC_PUSH_IMM);
    unsigned back = q->fixups;
    piece_fix(q, FIX_ABS32, 0, 0);
    piece_bytes(q, to_memory, sizeof to_memory);
    piece_u32(q, CONTROL_STACK);
    piece_mov(q, REG_SP, STACK + 0x400);
    piece_byte(q, OPC_PUSH_IMM);
    piece_fix(q, FIX_ABS32, maker_ahead(m, 0), 0);
    piece_byte(q, OPC_RET);
    add_raw(m);
    struct piece *routine = piece_add(m, "change back");
    piece_bytes(routine, from_memory, sizeof from_memory);
    piece_u32(routine, CONTROL_STACK);
    piece_byte(routine, OPC_RET);
    add_raw(m); /* not reached */
    q->fixup[back].to = (u16)maker_ahead(m, 0);
    add_raw(m);
}

/* A function that goes on elsewhere than it was called from, and in the loop around it again. */
static void add_diverted(struct maker *m)
{
    static const u8 mov_top[] = {0xc7, 0x04, 0x24}; /* mov dword [esp], imm32 */
    struct piece *over = piece_add(m, "over a function");
    unsigned start = maker_ahead(m, 0);
    add_raw(m);
    struct piece *q = piece_add(m, "diverted end");
    piece_bytes(q, mov_top, sizeof mov_top);
    unsigned to = q->fixups;
    piece_fix(q, FIX_ABS32, 0, 0);
    piece_byte(q, OPC_RET);
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, maker_ahead(m, 0), 0);
    struct piece *call = piece_add(m, "call");
    piece_byte(call, OPC_CALL);
    piece_fix(call, FIX_REL32, start, 0);
    add_raw(m);
    q->fixup[to].to = (u16)maker_ahead(m, 0);
    add_raw(m);
}

/* A function that changes the code behind its call. */
static void add_changed_return(struct maker *m)
{
    struct piece *over = piece_add(m, "over a function");
    unsigned start = maker_ahead(m, 0);
    struct piece *writer = piece_add(m, "patch behind the call");
    piece_byte(piece_add(m, "function end"), OPC_RET);
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, maker_ahead(m, 0), 0);
    struct piece *call = piece_add(m, "call");
    piece_byte(call, OPC_CALL);
    piece_fix(call, FIX_REL32, start, 0);
    struct piece *q = piece_add(m, "patched");
    unsigned at = put_patchable(m, q);
    put_code_write(m, writer, maker_ahead(m, 0) - 1, at);
}

void add_unpaired(struct maker *m)
{
    static void (*const kinds[])(struct maker *) = {add_deep, add_nonlocal, add_coroutine,
                                                    add_diverted, add_changed_return};
    RNG_PICK(&m->r, kinds)(m);
}
