/* SPDX-License-Identifier: MIT
 *
 * Integer instructions that run as they are: the guest's opcode with its registers, and with [R8]
 * in place of its memory operand. And the stack.
 */
#include "bt/xl.h"

/* ---- which instructions ---- */

enum form {
    FORM_NONE,
    FORM_RM,     /* ModRM names operands as the opcode says */
    FORM_VEX,    /* three registers, or memory */
    FORM_OTHER,  /* no ModRM: by opcode */
    FORM_NOTHING /* no effect */
};

static enum form form_of(const struct insn *in)
{
    switch (in->op) {
    case OP_ADD:
    case OP_OR:
    case OP_ADC:
    case OP_SBB:
    case OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_CMP:
    case OP_TEST:
    case OP_MOV:
    case OP_XCHG:
    case OP_INC:
    case OP_DEC: return in->modrm_at ? FORM_RM : FORM_OTHER;
    case OP_NOT:
    case OP_NEG:
    case OP_MUL:
    case OP_IMUL:
    case OP_DIV:
    case OP_IDIV:
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_SHLD:
    case OP_SHRD:
    case OP_MOVZX:
    case OP_MOVSX:
    case OP_SETCC:
    case OP_CMOVCC:
    case OP_BSF:
    case OP_BSR:
    case OP_TZCNT:
    case OP_LZCNT:
    case OP_POPCNT:
    case OP_CMPXCHG:
    case OP_XADD:
    case OP_CMPXCHG8B:
    case OP_MOVNTI:
    case OP_MOVBE:
    case OP_CRC32:
    case OP_LEA: return FORM_RM;
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC: /* a register as bit offset reaches beyond the operand */
        return in->map == 1 && (in->opcode == 0xba || modrm_mod(in) == 3) ? FORM_RM : FORM_NONE;
    case OP_ANDN:
    case OP_BEXTR:
    case OP_BLSI:
    case OP_BLSMSK:
    case OP_BLSR:
    case OP_BZHI:
    case OP_PDEP:
    case OP_PEXT:
    case OP_RORX:
    case OP_SARX:
    case OP_SHLX:
    case OP_SHRX:
    case OP_MULX: return FORM_VEX;
    case OP_CBW:
    case OP_CWD:
    case OP_CMC:
    case OP_CLC:
    case OP_STC:
    case OP_LAHF:
    case OP_SAHF:
    case OP_BSWAP:
    case OP_PAUSE:
    case OP_LFENCE:
    case OP_MFENCE:
    case OP_SFENCE: return FORM_OTHER;
    case OP_NOP:
    case OP_PREFETCHNTA:
    case OP_PREFETCHT0:
    case OP_PREFETCHT1:
    case OP_PREFETCHT2:
    case OP_PREFETCHW: return FORM_NOTHING;
    default: return FORM_NONE;
    }
}

/* ---- ModRM ---- */

enum reg_kind { REG_FULL, REG_BYTE, REG_DIGIT };

/* What ModRM.reg names. */
static enum reg_kind reg_kind(const struct insn *in)
{
    u8 op = in->opcode;
    if (in->map == 0) {
        if (op < 0x40 || (op >= 0x84 && op <= 0x8b))
            return op & 1 ? REG_FULL : REG_BYTE;
        return op == 0x69 || op == 0x6b || op == 0x8d ? REG_FULL : REG_DIGIT;
    }
    if (in->map == 1) {
        if (op == 0xb0 || op == 0xc0)
            return REG_BYTE;
        return op == 0xba || op == 0xc7 || op >> 4 == 9 ? REG_DIGIT : REG_FULL;
    }
    return REG_FULL;
}

/* Whether ModRM.rm is a byte. */
static bool rm_is_byte(const struct insn *in)
{
    u8 op = in->opcode;
    if (in->map == 0)
        return op != 0x69 && op != 0x6b && op != 0x8d && !(op & 1) && op != 0x62;
    if (in->map == 1)
        return op >> 4 == 9 || op == 0xb0 || op == 0xc0 || op == 0xb6 || op == 0xbe;
    return in->op == OP_CRC32 && !(op & 1);
}

static bool has_mem(const struct insn *in)
{
    return in->modrm_at && modrm_mod(in) != 3;
}

static const struct operand *mem_operand(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_MEM)
            return &in->operand[k];
    }
    return NULL;
}

/* The opcode for the host's encoder. Prefixes that mean nothing to the operation are dropped. */
static u32 host_opcode(const struct insn *in)
{
    static const u32 map[4] = {0, X64_0F, X64_0F38, X64_0F3A};
    u32 op = in->opcode | map[in->map];
    if (op == 0x82) /* of 80h: not in 64-bit mode */
        op = 0x80;
    if (in->opsize == 2)
        op |= X64_66;
    if (in->prefixes & PFX_LOCK)
        op |= X64_LOCK;
    switch (in->op) {
    case OP_POPCNT:
    case OP_TZCNT:
    case OP_LZCNT: return op | X64_F3;
    case OP_CRC32: return op | X64_F2;
    default: return op;
    }
}

static void put_imm(struct xl *x, const struct insn *in)
{
    asm_bytes(&x->a, &in->imm, in->imm_len);
}

/* AH CH DH BH cannot be named beside R8 to R15. With such a memory operand the register trades
 * places with its low byte for the time of the instruction. */
static void put_swap(struct xl *x, unsigned low)
{
    asm_rr(&x->a, 0x86, low + 4, low);
}

static bool put_rm(struct xl *x, const struct insn *in)
{
    unsigned reg = modrm_reg(in), rm = modrm_rm(in), swap = 0;
    enum reg_kind kind = reg_kind(in);
    bool mem = has_mem(in), byte_rm = !mem && rm_is_byte(in);
    const struct operand *operand = mem_operand(in);
    if (mem && (!operand || !xl_mem_ok(in)))
        return false;
    if (kind == REG_FULL)
        reg = host_gpr(reg);
    if (!mem && !byte_rm)
        rm = host_gpr(rm);
    if (kind == REG_BYTE && reg >= 4 && mem) {
        if (in->op == OP_CMPXCHG)
            return false; /* AL is its third operand */
        swap = reg;
        reg -= 4;
        x->direct = false; /* a trap would find it swapped */
    }
    if (byte_rm && rm >= 4 && kind == REG_FULL && reg >= 8)
        return false; /* MOVZX ESP, AH */
    u32 op = host_opcode(in);
    if (mem) {
        struct x64_mem m = xl_mem(x, in, operand->size, operand->access & OPD_W);
        if (swap)
            put_swap(x, swap - 4);
        asm_rm(&x->a, op, reg, m);
    } else {
        asm_rr(&x->a, op, reg, rm);
    }
    put_imm(x, in);
    if (swap)
        put_swap(x, swap - 4);
    return true;
}

/* ---- rotations: OF of counts above 1 is made from the result, as the interpreter does, where
 * anybody may ask for it; hosts differ there ---- */

static bool is_rotation(const struct insn *in)
{
    return in->op == OP_ROL || in->op == OP_ROR || in->op == OP_RCL || in->op == OP_RCR;
}

/* Writes OF whatever the operands are. Shifts by CL may not. */
static bool sets_of(const struct insn *in)
{
    const struct op_row *row = op_row(in);
    if (!((row->flags_written | row->flags_undefined) & FLAG_OF))
        return false;
    switch (in->op) {
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_SHLD:
    case OP_SHRD: return in->imm_len && (in->imm & 31);
    default: return true;
    }
}

/* Whether OF of the instruction in hand may be read. Faults in between do not count: they show a
 * flag that the manual leaves undefined. */
static bool of_is_live(const struct xl *x)
{
    for (unsigned n = x->n + 1; n < x->b->insns; n++) {
        const struct cached_insn *ci = &x->b->insn[n];
        if (ci->faults || op_flags_read(&ci->in) & FLAG_OF)
            return true;
        if (sets_of(&ci->in))
            return false;
    }
    return true;
}

/* The same for memory: in a scratch register, so that nothing traps after flags have changed. */
static bool put_rotation_of_memory(struct xl *x, const struct insn *in)
{
    bool byte = !(in->opcode & 1);
    u32 op = host_opcode(in), size = in->opsize == 2 && !byte ? X64_66 : 0;
    if (!xl_mem_ok(in))
        return false;
    x->direct = false;
    struct x64_mem m = xl_mem(x, in, byte ? 1 : in->opsize, true);
    asm_rm(&x->a, (byte ? XO_MOV_LOAD8 : XO_MOV_LOAD) | size, HR_T1, m);
    asm_rr(&x->a, op, modrm_reg(in), HR_T1);
    asm_byte(&x->a, (u8)((in->imm & 31) - 1));
    asm_rr(&x->a, op + 0x10, modrm_reg(in), HR_T1); /* D0, D1 */
    asm_rm(&x->a, (byte ? XO_MOV_STORE8 : XO_MOV_STORE) | size, HR_T1, m);
    return true;
}

/* A register by an immediate count in two steps, of which the second is by 1. */
static bool put_rotation(struct xl *x, const struct insn *in)
{
    unsigned count = in->imm & 31;
    bool by_one = in->opcode == 0xd0 || in->opcode == 0xd1;
    if (by_one || (in->imm_len && count < 2) || !of_is_live(x))
        return put_rm(x, in);
    if (!in->imm_len)
        return false;
    if (has_mem(in))
        return put_rotation_of_memory(x, in);
    struct insn step = *in;
    step.imm = count - 1;
    put_rm(x, &step);
    step.opcode += 0x10; /* D0, D1 */
    step.imm_len = 0;
    return put_rm(x, &step);
}

static bool put_lea(struct xl *x, const struct insn *in)
{
    if (in->adsize != 4)
        return false;
    unsigned reg = host_gpr(modrm_reg(in));
    if (in->opsize == 2) {
        xl_put_ea(x, in);
        asm_rr(&x->a, XO_MOV_STORE | X64_66, HR_T0, reg);
        return true;
    }
    bool base = in->base < 8, index = in->index < 8;
    struct x64_mem m = x64_at(base ? host_gpr(in->base) : X64_NONE, (i32)in->disp);
    if (index) {
        m.index = (u8)host_gpr(in->index);
        m.scale = in->scale;
    }
    if (base || index)
        asm_rm(&x->a, XO_LEA, reg, m);
    else
        asm_mov_imm32(&x->a, reg, (u32)in->disp);
    return true;
}

/* ---- VEX ---- */

static bool put_vex(struct xl *x, const struct insn *in)
{
    bool group = in->map == 2 && in->opcode == 0xf3; /* BLSR, BLSMSK, BLSI: ModRM.reg is a digit */
    unsigned reg = group ? modrm_reg(in) : host_gpr(modrm_reg(in));
    unsigned vvvv = in->op == OP_RORX ? 0 : host_gpr(in->vex_v & 7);
    struct x64_vex vex = {.opcode = in->opcode, .map = in->map, .pp = in->pp};
    if (has_mem(in)) {
        if (!xl_mem_ok(in))
            return false;
        asm_vex_rm(&x->a, vex, reg, vvvv, xl_mem(x, in, mem_operand(in)->size, false));
    } else {
        asm_vex_rr(&x->a, vex, reg, vvvv, host_gpr(modrm_rm(in)));
    }
    put_imm(x, in);
    return true;
}

/* ---- without ModRM ---- */

/* MOV between AL, AX or EAX and an address in the instruction. */
static bool put_moffs(struct xl *x, const struct insn *in)
{
    bool write = in->opcode & 2, byte = !(in->opcode & 1);
    if (!xl_mem_ok(in))
        return false;
    struct x64_mem m = xl_mem(x, in, byte ? 1 : in->opsize, write);
    u32 op = write ? (byte ? 0x88u : 0x89u) : (byte ? 0x8au : 0x8bu);
    asm_rm(&x->a, op | (in->opsize == 2 && !byte ? X64_66 : 0), X64_RAX, m);
    return true;
}

/* The guest's own bytes: opcode and immediate, with the operand size. */
static void put_same(struct xl *x, const struct insn *in)
{
    if (in->opsize == 2)
        asm_byte(&x->a, 0x66);
    if (in->map == 1)
        asm_byte(&x->a, 0x0f);
    asm_byte(&x->a, in->opcode);
    if (in->modrm_at) /* fences: their rm says nothing, and Capstone wants 0 */
        asm_byte(&x->a, in->modrm & ~7u);
    put_imm(x, in);
}

static bool put_other(struct xl *x, const struct insn *in)
{
    unsigned low = in->opcode & 7, reg = host_gpr(low);
    u32 size = in->opsize == 2 ? X64_66 : 0;
    switch (in->op) {
    case OP_INC: asm_rr(&x->a, 0xff | size, 0, reg); return true;
    case OP_DEC: asm_rr(&x->a, 0xff | size, 1, reg); return true;
    case OP_XCHG: asm_rr(&x->a, XO_XCHG | size, X64_RAX, reg); return true;
    case OP_PAUSE:
        asm_byte(&x->a, 0xf3);
        asm_byte(&x->a, 0x90);
        return true;
    case OP_BSWAP:
        if (size)
            return false; /* undefined */
        if (reg >= 8)
            asm_byte(&x->a, 0x41);
        asm_byte(&x->a, 0x0f);
        asm_byte(&x->a, (u8)(0xc8 + (reg & 7)));
        return true;
    case OP_MOV:
        if (in->opcode <= 0xa3)
            return put_moffs(x, in);
        if (in->opcode >= 0xb8 && low == REG_SP) {
            if (size)
                asm_byte(&x->a, 0x66);
            asm_byte(&x->a, 0x41);
            asm_byte(&x->a, (u8)(0xb8 + (reg & 7)));
            put_imm(x, in);
            return true;
        }
        if (in->opcode < 0xb8) { /* 66 means nothing to a byte */
            asm_byte(&x->a, in->opcode);
            put_imm(x, in);
            return true;
        }
        break;
    default: break;
    }
    put_same(x, in);
    return true;
}

bool xl_int(struct xl *x, const struct insn *in)
{
    switch (form_of(in)) {
    case FORM_RM:
        if (is_rotation(in))
            return put_rotation(x, in);
        return in->op == OP_LEA ? put_lea(x, in) : put_rm(x, in);
    case FORM_VEX: return put_vex(x, in);
    case FORM_OTHER: return put_other(x, in);
    case FORM_NOTHING: return true;
    default: return false;
    }
}

/* ---- the stack: 32 bits wide, flat ---- */

static bool put_push(struct xl *x, const struct insn *in)
{
    const struct operand *o = &in->operand[0];
    if (o->kind == OPD_GPR) {
        asm_rm(&x->a, XO_MOV_STORE, host_gpr(o->reg), xl_stack_mem(x, REG_SP, -4, 4, true));
    } else if (o->kind == OPD_IMM) {
        asm_mov_mem_imm32(&x->a, xl_stack_mem(x, REG_SP, -4, 4, true), (u32)in->imm);
    } else if (o->kind == OPD_MEM && xl_mem_ok(in)) {
        asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_mem(x, in, 4, false));
        asm_rm(&x->a, XO_MOV_STORE, HR_T0, VCPU(jump_to));
        struct x64_mem top = xl_stack_mem(x, REG_SP, -4, 4, true);
        asm_rm(&x->a, XO_MOV_LOAD, HR_T1, VCPU(jump_to));
        asm_rm(&x->a, XO_MOV_STORE, HR_T1, top);
    } else {
        return false;
    }
    xl_adjust_sp(x, -4);
    return true;
}

static bool put_pop(struct xl *x, const struct insn *in)
{
    const struct operand *o = &in->operand[0];
    if (o->kind != OPD_GPR)
        return false;
    asm_rm(&x->a, XO_MOV_LOAD, host_gpr(o->reg), xl_stack_mem(x, REG_SP, 0, 4, false));
    if (o->reg != REG_SP)
        xl_adjust_sp(x, 4);
    return true;
}

static bool put_leave(struct xl *x)
{
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_stack_mem(x, REG_BP, 0, 4, false));
    asm_rm(&x->a, XO_LEA, HR_SP, x64_at(X64_RBP, 4));
    asm_rr(&x->a, XO_MOV_LOAD, X64_RBP, HR_T0);
    return true;
}

bool xl_stack(struct xl *x, const struct insn *in)
{
    if (in->opsize != 4)
        return false;
    switch (in->op) {
    case OP_PUSH: return put_push(x, in);
    case OP_POP: return put_pop(x, in);
    case OP_LEAVE: return put_leave(x);
    default: return false;
    }
}
