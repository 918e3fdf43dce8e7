/* SPDX-License-Identifier: MIT
 *
 * Any bytes through the decoder in the three modes. The first byte picks how much of the rest the
 * decoder may see, so that a read beyond it is a read beyond the allocation. What it decodes must
 * keep the promises of cpu/insn.h and cpu/decode.h, and the shortcut must agree with the long way.
 */
#include <stdlib.h>

#include "cpu/decode_usual.h"
#include "cpu/optable.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* A field of `len` bytes at `at` lies inside the instruction; 0 is absent. */
static bool inside(const struct insn *in, unsigned at, unsigned len)
{
    return !at || at + len <= in->len;
}

static void check_operand(const struct operand *o)
{
    switch (o->kind) {
    case OPD_GPR: demand(o->reg < 16); break;
    case OPD_GPR8H: demand(o->reg < 4); break;
    case OPD_SEG: demand(o->reg < SEG_COUNT); break;
    case OPD_ST:
    case OPD_MMX: demand(o->reg < 8); break;
    case OPD_CR:
    case OPD_DR:
    case OPD_XMM:
    case OPD_YMM: demand(o->reg < 16); break;
    case OPD_MEM:
    case OPD_IMM:
    case OPD_REL:
    case OPD_FAR: break;
    default: abort();
    }
}

static void check(const struct insn *in, size_t avail, unsigned mode)
{
    demand(in->len >= 1 && in->len <= INSN_MAX_BYTES && in->len <= avail);
    demand(in->mode == mode && in->row > 0 && in->row < op_row_count());
    demand(op_row(in)->op == in->op && in->operands <= INSN_OPERANDS);
    demand(in->opsize == 2 || in->opsize == 4 || (in->opsize == 8 && mode == 64));
    demand(in->adsize == 2 || in->adsize == 4 || (in->adsize == 8 && mode == 64));
    demand(inside(in, in->modrm_at, 1) && inside(in, in->disp_at, in->disp_len) &&
           inside(in, in->imm_at, in->imm_len));
    demand(in->base <= REG_PC || in->base == REG_NONE);
    demand(in->index < 16 || in->index == REG_NONE);
    demand(in->seg < SEG_COUNT);
    for (unsigned i = 0; i < in->operands; i++)
        check_operand(&in->operand[i]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const unsigned modes[] = {16, 32, 64};
    if (size < 2)
        return 0;
    size_t avail = data[0] % size;
    u8 *bytes = malloc(avail ? avail : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, avail);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct insn in = {0}, general = {0};
        enum decode_status status = decode(bytes, avail, modes[i], &in);
        demand(status == decode_any(bytes, avail, modes[i], &general));
        if (status != DECODE_OK)
            continue;
        check(&in, avail, modes[i]);
        demand(memcmp(&in, &general, sizeof in) == 0);
    }
    free(bytes);
    return 0;
}
