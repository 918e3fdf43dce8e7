/* SPDX-License-Identifier: MIT */
#include "view.h"

/* One row for each register number of the four widths. */
#define GPR(n, b, w, d, q)                                                                         \
    [X86_REG_##b] = VIEW_REG(VIEW_R8, n), [X86_REG_##w] = VIEW_REG(VIEW_R16, n),                   \
    [X86_REG_##d] = VIEW_REG(VIEW_R32, n), [X86_REG_##q] = VIEW_REG(VIEW_R64, n)
#define EIGHT(cls, first)                                                                          \
    [X86_REG_##first] = VIEW_REG(cls, 0), [X86_REG_##first + 1] = VIEW_REG(cls, 1),                \
    [X86_REG_##first + 2] = VIEW_REG(cls, 2), [X86_REG_##first + 3] = VIEW_REG(cls, 3),            \
    [X86_REG_##first + 4] = VIEW_REG(cls, 4), [X86_REG_##first + 5] = VIEW_REG(cls, 5),            \
    [X86_REG_##first + 6] = VIEW_REG(cls, 6), [X86_REG_##first + 7] = VIEW_REG(cls, 7)
#define NEXT_EIGHT(cls, first)                                                                     \
    [X86_REG_##first] = VIEW_REG(cls, 8), [X86_REG_##first + 1] = VIEW_REG(cls, 9),                \
    [X86_REG_##first + 2] = VIEW_REG(cls, 10), [X86_REG_##first + 3] = VIEW_REG(cls, 11),          \
    [X86_REG_##first + 4] = VIEW_REG(cls, 12), [X86_REG_##first + 5] = VIEW_REG(cls, 13),          \
    [X86_REG_##first + 6] = VIEW_REG(cls, 14), [X86_REG_##first + 7] = VIEW_REG(cls, 15)

static const u16 registers[X86_REG_ENDING] = {
    GPR(0, AL, AX, EAX, RAX),
    GPR(1, CL, CX, ECX, RCX),
    GPR(2, DL, DX, EDX, RDX),
    GPR(3, BL, BX, EBX, RBX),
    GPR(4, SPL, SP, ESP, RSP),
    GPR(5, BPL, BP, EBP, RBP),
    GPR(6, SIL, SI, ESI, RSI),
    GPR(7, DIL, DI, EDI, RDI),
    GPR(8, R8B, R8W, R8D, R8),
    GPR(9, R9B, R9W, R9D, R9),
    GPR(10, R10B, R10W, R10D, R10),
    GPR(11, R11B, R11W, R11D, R11),
    GPR(12, R12B, R12W, R12D, R12),
    GPR(13, R13B, R13W, R13D, R13),
    GPR(14, R14B, R14W, R14D, R14),
    GPR(15, R15B, R15W, R15D, R15),
    [X86_REG_AH] = VIEW_REG(VIEW_R8H, 0),
    [X86_REG_CH] = VIEW_REG(VIEW_R8H, 1),
    [X86_REG_DH] = VIEW_REG(VIEW_R8H, 2),
    [X86_REG_BH] = VIEW_REG(VIEW_R8H, 3),
    [X86_REG_ES] = VIEW_REG(VIEW_SEG, SEG_ES),
    [X86_REG_CS] = VIEW_REG(VIEW_SEG, SEG_CS),
    [X86_REG_SS] = VIEW_REG(VIEW_SEG, SEG_SS),
    [X86_REG_DS] = VIEW_REG(VIEW_SEG, SEG_DS),
    [X86_REG_FS] = VIEW_REG(VIEW_SEG, SEG_FS),
    [X86_REG_GS] = VIEW_REG(VIEW_SEG, SEG_GS),
    EIGHT(VIEW_CR, CR0),
    NEXT_EIGHT(VIEW_CR, CR8),
    EIGHT(VIEW_DR, DR0),
    NEXT_EIGHT(VIEW_DR, DR8),
    EIGHT(VIEW_ST, ST0),
    EIGHT(VIEW_MMX, MM0),
    EIGHT(VIEW_XMM, XMM0),
    NEXT_EIGHT(VIEW_XMM, XMM8),
    EIGHT(VIEW_YMM, YMM0),
    NEXT_EIGHT(VIEW_YMM, YMM8),
    [X86_REG_IP] = VIEW_REG(VIEW_PC, 0),
    [X86_REG_EIP] = VIEW_REG(VIEW_PC, 0),
    [X86_REG_RIP] = VIEW_REG(VIEW_PC, 0),
};

/* Capstone has no far pointers: they are two immediates. It gives relative targets as absolute
 * ones, and a segment only where a prefix overrides it (else SEG_COUNT here). */
static void operand_of(const cs_x86 *x, const cs_x86_op *c, struct view_operand *out)
{
    memset(out, 0, sizeof *out);
    out->size = c->size;
    out->access = c->access & OPD_RW;
    switch (c->type) {
    case X86_OP_REG:
        out->kind = VIEW_REGISTER;
        out->reg = registers[c->reg];
        break;
    case X86_OP_MEM:
        out->kind = VIEW_MEMORY;
        out->seg = c->mem.segment ? (u8)registers[c->mem.segment] : SEG_COUNT;
        out->base = registers[c->mem.base];
        out->index = registers[c->mem.index];
        out->scale = out->index ? (u8)c->mem.scale : 1;
        out->value = (u64)c->mem.disp & mask64(x->addr_size * 8u);
        break;
    default:
        out->kind = VIEW_IMMEDIATE;
        out->value = (u64)c->imm;
        break;
    }
}

void view_capstone(struct oracle *o, const u8 *bytes, size_t n, struct view *out)
{
    const uint8_t *code = bytes;
    uint64_t address = 0;
    memset(out, 0, sizeof *out);
    if (!cs_disasm_iter(o->capstone, &code, &n, &address, o->capstone_insn))
        return;
    const cs_x86 *x = &o->capstone_insn->detail->x86;
    out->valid = true;
    out->len = (u8)o->capstone_insn->size;
    for (unsigned i = 0; i < x->op_count && i < VIEW_OPERANDS; i++)
        operand_of(x, &x->operands[i], &out->op[out->count++]);
}
