/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "view.h"

static unsigned gpr_class(unsigned size)
{
    return size == 1 ? VIEW_R8 : size == 2 ? VIEW_R16 : size == 4 ? VIEW_R32 : VIEW_R64;
}

static u16 register_of(const struct operand *o)
{
    static const u8 cls[] = {
        [OPD_GPR8H] = VIEW_R8H, [OPD_SEG] = VIEW_SEG, [OPD_CR] = VIEW_CR,   [OPD_DR] = VIEW_DR,
        [OPD_ST] = VIEW_ST,     [OPD_MMX] = VIEW_MMX, [OPD_XMM] = VIEW_XMM, [OPD_YMM] = VIEW_YMM,
    };
    return VIEW_REG(o->kind == OPD_GPR ? gpr_class(o->size) : cls[o->kind], o->reg);
}

/* A register of an address: as wide as the address. */
static u16 address_register(const struct insn *in, unsigned reg)
{
    if (reg == REG_NONE)
        return 0;
    if (reg == REG_PC)
        return VIEW_REG(VIEW_PC, 0);
    return VIEW_REG(gpr_class(in->adsize), reg);
}

/* The libraries give a vector index its width: so many bytes as the destination (or the mask) has
 * elements, times the index size that the opcode's lowest bit tells. */
static u16 vector_index(const struct insn *in)
{
    unsigned data = (in->operand[0].kind == OPD_YMM ? 32 : in->vex_l ? 16 : in->operand[0].size);
    unsigned elements = data / in->operand[1].size;
    unsigned bytes = elements * (in->opcode & 1 ? 8 : 4);
    return VIEW_REG(bytes > 16 ? VIEW_YMM : VIEW_XMM, in->index);
}

static void memory_of(const struct insn *in, const struct operand *o, struct view_operand *out)
{
    out->seg = in->seg;
    out->scale = 1;
    out->value = 0;
    if (o->reg != REG_NONE) {
        out->base = address_register(in, o->reg);
        if (o->reg == REG_DI)
            out->seg = SEG_ES;
        return;
    }
    out->base = address_register(in, in->base);
    if (in->index != REG_NONE) {
        bool vsib = op_row(in)->attr & ATTR_VSIB;
        out->index = vsib ? vector_index(in) : address_register(in, in->index);
        out->scale = in->scale;
    }
    out->value = (u64)in->disp & mask64(in->adsize * 8);
}

void view_ours(const struct insn *in, enum decode_status status, bool hidden, struct view *out)
{
    memset(out, 0, sizeof *out);
    if (status != DECODE_OK)
        return;
    out->valid = true;
    out->len = in->len;
    bool second = false;
    for (unsigned i = 0; i < in->operands; i++) {
        const struct operand *o = &in->operand[i];
        if (o->hidden && !hidden)
            continue;
        struct view_operand *v = &out->op[out->count++];
        v->size = o->size;
        v->access = o->access;
        switch (o->kind) {
        case OPD_MEM:
            v->kind = VIEW_MEMORY;
            memory_of(in, o, v);
            break;
        case OPD_IMM:
            v->kind = VIEW_IMMEDIATE;
            v->value = second ? in->imm2 : in->imm;
            second = true;
            break;
        case OPD_REL:
            v->kind = VIEW_RELATIVE;
            v->value = in->imm;
            break;
        case OPD_FAR:
            v->kind = VIEW_FAR;
            v->value = in->imm;
            v->selector = in->imm2;
            break;
        default:
            v->kind = VIEW_REGISTER;
            v->reg = register_of(o);
            break;
        }
    }
}

/* ---- text ---- */

static int print_register(char *text, size_t size, u16 reg)
{
    static const char *const names[] = {
        [VIEW_R8] = "b",  [VIEW_R8H] = "h",   [VIEW_R16] = "w",   [VIEW_R32] = "d",
        [VIEW_R64] = "q", [VIEW_SEG] = "seg", [VIEW_CR] = "cr",   [VIEW_DR] = "dr",
        [VIEW_ST] = "st", [VIEW_MMX] = "mm",  [VIEW_XMM] = "xmm", [VIEW_YMM] = "ymm",
        [VIEW_PC] = "pc",
    };
    if (!reg)
        return snprintf(text, size, "-");
    return snprintf(text, size, "%s%u", names[reg >> 8], reg & 0xff);
}

static int print_operand(char *text, size_t size, const struct view_operand *o)
{
    char base[16], index[16];
    switch (o->kind) {
    case VIEW_REGISTER: return print_register(text, size, o->reg);
    case VIEW_MEMORY:
        print_register(base, sizeof base, o->base);
        print_register(index, sizeof index, o->index);
        return snprintf(text, size, "m%u(%u:%s+%s*%u+%llx)", o->size, o->seg, base, index, o->scale,
                        (unsigned long long)o->value);
    case VIEW_IMMEDIATE: return snprintf(text, size, "i%llx", (unsigned long long)o->value);
    case VIEW_RELATIVE: return snprintf(text, size, "rel%llx", (unsigned long long)o->value);
    default: return snprintf(text, size, "far%x:%llx", o->selector, (unsigned long long)o->value);
    }
}

void view_print(const struct view *v, char *text, size_t size)
{
    if (!v->valid) {
        snprintf(text, size, "invalid");
        return;
    }
    size_t at = (size_t)snprintf(text, size, "%u bytes", v->len);
    for (unsigned i = 0; i < v->count && at + 2 < size; i++) {
        text[at++] = i ? ',' : ' ';
        at += (size_t)print_operand(text + at, size - at, &v->op[i]);
    }
}
