/* SPDX-License-Identifier: MIT
 *
 * Pieces of 16-bit code: in a code segment of protected mode, and in virtual-8086 mode.
 */
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "descriptors.h"
#include "program.h"

enum {
    OPC_JMP_FAR = 0xea,
    OPC_MOV_TO_SEG = 0x8e,
    OPC_PUSH_SS = 0x16,
    OPC_POP_DS = 0x1f,
    OPC_POP_ES = 0x07,
};

static void put_u16(struct piece *q, u16 value)
{
    piece_bytes(q, &value, sizeof value);
}

/* Single instructions, now and then with a short branch over the next. */
static void add_small_code(struct maker *m, unsigned n)
{
    struct rng *r = &m->r;
    m->small = true;
    for (unsigned i = 0; i < n; i++) {
        if (rng_one_in(r, 4)) {
            struct piece *q = piece_add(m, "short branch");
            q->small = true;
            piece_byte(q, (u8)(0x70 + rng_below(r, 16)));
            piece_fix(q, FIX_REL8, maker_ahead(m, 1), 0);
        }
        add_raw(m);
    }
    m->small = false;
}

/* jmp into the 16-bit segment, whose base is CODE; data segments that 16-bit addresses fit; and all
 * back. The stack keeps its 32 bits. */
void add_small(struct maker *m)
{
    struct rng *r = &m->r;
    if (maker_can_ring0(m))
        return;
    struct piece *q = piece_add(m, "to 16 bits");
    piece_mov(q, REG_AX, SEL_NEAR);
    for (unsigned seg = SEG_ES; seg <= SEG_DS; seg += SEG_DS - SEG_ES) {
        piece_byte(q, OPC_MOV_TO_SEG);
        piece_byte(q, (u8)(0xc0 | seg << 3));
    }
    piece_byte(q, OPC_JMP_FAR);
    piece_fix(q, FIX_ABS32, maker_ahead(m, 0), -CODE);
    put_u16(q, SEL_CODE16);
    add_small_code(m, 1 + rng_below(r, 8));
    static const u8 flat_data[] = {OPC_PUSH_SS, OPC_POP_DS, OPC_PUSH_SS, OPC_POP_ES};
    q = piece_add(m, "to 32 bits");
    q->small = true;
    piece_bytes(q, flat_data, sizeof flat_data);
    piece_byte(q, PFX_BYTE_OPSIZE);
    piece_byte(q, OPC_JMP_FAR);
    piece_fix(q, FIX_ABS32, maker_ahead(m, 0), 0);
    put_u16(q, SEL_CODE3);
}

/* Code that is copied to the memory of virtual-8086 mode and entered by the kernel. HLT ends it,
 * and the chunk with it. */
void add_v86(struct maker *m)
{
    static const u8 copy[] = {0x29, 0xf1, OPC_CLD, OPC_REP,
                              0xa4}; /* sub ecx, esi; cld; rep movsb */
    struct rng *r = &m->r;
    const struct config *c = &m->p->config;
    if (!c->paging || maker_can_ring0(m))
        return;
    u32 ip = rng_below(r, V86_STACK - 0x400);
    struct piece *over = piece_add(m, "over virtual-8086 code");
    unsigned start = maker_ahead(m, 0);
    add_small_code(m, 1 + rng_below(r, 12));
    piece_byte(piece_add(m, "hlt"), OPC_HLT);
    unsigned end = maker_ahead(m, 0);
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, end, 0);
    struct piece *q = piece_add(m, "copy");
    piece_mov_address(q, REG_SI, start, 0);
    piece_mov(q, REG_DI, V86_AT + ip);
    piece_mov_address(q, REG_CX, end, 0);
    piece_bytes(q, copy, sizeof copy);
    add_to_v86(m, ip);
}
