/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "view.h"

void oracle_open(struct oracle *o, unsigned mode)
{
    static const struct {
        ZydisMachineMode zydis;
        ZydisStackWidth stack;
        cs_mode capstone;
    } modes[] = {
        {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, CS_MODE_16},
        {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, CS_MODE_32},
        {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, CS_MODE_64},
    };
    unsigned m = mode == 16 ? 0 : mode == 32 ? 1 : 2;
    memset(o, 0, sizeof *o);
    o->mode = mode;
    bool opened = ZYAN_SUCCESS(ZydisDecoderInit(&o->zydis, modes[m].zydis, modes[m].stack)) &&
                  cs_open(CS_ARCH_X86, modes[m].capstone, &o->capstone) == CS_ERR_OK &&
                  cs_option(o->capstone, CS_OPT_DETAIL, CS_OPT_ON) == CS_ERR_OK;
    if (opened)
        o->capstone_insn = cs_malloc(o->capstone);
    if (!o->capstone_insn) {
        fprintf(stderr, "cannot open Zydis or Capstone\n");
        exit(1);
    }
    /* What the table does not have, and what only other makers' processors have. */
    static const ZydisDecoderMode off[] = {
        ZYDIS_DECODER_MODE_KNC,          ZYDIS_DECODER_MODE_MPX,      ZYDIS_DECODER_MODE_CET,
        ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYDIS_DECODER_MODE_WBNOINVD,
    };
    for (unsigned i = 0; i < ARRAY_LEN(off); i++)
        ZydisDecoderEnableMode(&o->zydis, off[i], ZYAN_FALSE);
    ZydisDecoderEnableMode(&o->zydis, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_TRUE);
}

void oracle_close(struct oracle *o)
{
    cs_free(o->capstone_insn, 1);
    cs_close(&o->capstone);
}

static u16 register_of(ZydisRegister reg)
{
    static const u8 cls[] = {
        [ZYDIS_REGCLASS_GPR16] = VIEW_R16,  [ZYDIS_REGCLASS_GPR32] = VIEW_R32,
        [ZYDIS_REGCLASS_GPR64] = VIEW_R64,  [ZYDIS_REGCLASS_SEGMENT] = VIEW_SEG,
        [ZYDIS_REGCLASS_CONTROL] = VIEW_CR, [ZYDIS_REGCLASS_DEBUG] = VIEW_DR,
        [ZYDIS_REGCLASS_X87] = VIEW_ST,     [ZYDIS_REGCLASS_MMX] = VIEW_MMX,
        [ZYDIS_REGCLASS_XMM] = VIEW_XMM,    [ZYDIS_REGCLASS_YMM] = VIEW_YMM,
        [ZYDIS_REGCLASS_IP] = VIEW_PC,
    };
    if (reg == ZYDIS_REGISTER_NONE)
        return 0;
    if (reg == ZYDIS_REGISTER_EIP || reg == ZYDIS_REGISTER_RIP)
        return VIEW_REG(VIEW_PC, 0);
    if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
        return VIEW_REG(VIEW_R8, reg - ZYDIS_REGISTER_AL);
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return VIEW_REG(VIEW_R8H, reg - ZYDIS_REGISTER_AH);
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
        return VIEW_REG(VIEW_R8, REG_SP + reg - ZYDIS_REGISTER_SPL);
    ZydisRegisterClass c = ZydisRegisterGetClass(reg);
    return VIEW_REG(c < ARRAY_LEN(cls) ? cls[c] : 0, ZydisRegisterGetId(reg));
}

static void operand_of(const struct oracle *o, const ZydisDecodedOperand *z,
                       struct view_operand *out)
{
    memset(out, 0, sizeof *out);
    out->size = z->size / 8;
    if (z->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
        out->access |= OPD_R;
    if (z->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        out->access |= OPD_W;
    switch (z->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        out->kind = VIEW_REGISTER;
        out->reg = register_of(z->reg.value);
        break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        out->kind = VIEW_MEMORY;
        out->seg = (u8)register_of(z->mem.segment);
        out->base = register_of(z->mem.base);
        out->index = register_of(z->mem.index);
        out->scale = out->index ? z->mem.scale : 1;
        out->value = (u64)z->mem.disp.value & mask64(o->zydis_insn.address_width);
        if (z->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
            out->size = 0;
        break;
    case ZYDIS_OPERAND_TYPE_POINTER:
        out->kind = VIEW_FAR;
        out->value = z->ptr.offset;
        out->selector = z->ptr.segment;
        break;
    default:
        out->kind = z->imm.is_relative ? VIEW_RELATIVE : VIEW_IMMEDIATE;
        out->value = z->imm.value.u;
        break;
    }
}

void view_zydis(struct oracle *o, const u8 *bytes, size_t n, struct view *out)
{
    memset(out, 0, sizeof *out);
    o->zydis_valid =
        ZYAN_SUCCESS(ZydisDecoderDecodeFull(&o->zydis, bytes, n, &o->zydis_insn, o->zydis_op));
    if (!o->zydis_valid)
        return;
    out->valid = true;
    out->len = o->zydis_insn.length;
    for (unsigned i = 0; i < o->zydis_insn.operand_count; i++) {
        const ZydisDecodedOperand *z = &o->zydis_op[i];
        if (z->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN && out->count < VIEW_OPERANDS)
            operand_of(o, z, &out->op[out->count++]);
    }
}
