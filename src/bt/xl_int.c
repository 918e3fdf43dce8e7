/* SPDX-License-Identifier: MIT
 *
 * Integer instructions that run as they are: the guest's opcode with its registers, and with [R8]
 * in place of its memory operand. And the stack.
 */
#include "bt/xl.h"

#define OPCODE_BIT_IMM 0xba /* BT and the like with an immediate offset */

/* ---- which instructions ---- */

enum form {
    FORM_NONE,
    FORM_EITHER, /* FORM_RM or FORM_OTHER */
    FORM_BITS,   /* FORM_RM, unless a register is the offset of a bit in memory */
    FORM_RM,     /* ModRM names operands as the opcode says */
    FORM_VEX,    /* three registers, or memory */
    FORM_OTHER,  /* no ModRM: by opcode */
    FORM_NOTHING /* no effect */
};

/* What is not here has FORM_NONE. */
static const u8 forms[OP_COUNT] = {
    [OP_ADD] = FORM_EITHER,
    [OP_OR] = FORM_EITHER,
    [OP_ADC] = FORM_EITHER,
    [OP_SBB] = FORM_EITHER,
    [OP_AND] = FORM_EITHER,
    [OP_SUB] = FORM_EITHER,
    [OP_XOR] = FORM_EITHER,
    [OP_CMP] = FORM_EITHER,
    [OP_TEST] = FORM_EITHER,
    [OP_MOV] = FORM_EITHER,
    [OP_XCHG] = FORM_EITHER,
    [OP_INC] = FORM_EITHER,
    [OP_DEC] = FORM_EITHER,
    [OP_NOT] = FORM_RM,
    [OP_NEG] = FORM_RM,
    [OP_MUL] = FORM_RM,
    [OP_IMUL] = FORM_RM,
    [OP_DIV] = FORM_RM,
    [OP_IDIV] = FORM_RM,
    [OP_ROL] = FORM_RM,
    [OP_ROR] = FORM_RM,
    [OP_RCL] = FORM_RM,
    [OP_RCR] = FORM_RM,
    [OP_SHL] = FORM_RM,
    [OP_SHR] = FORM_RM,
    [OP_SAR] = FORM_RM,
    [OP_SHLD] = FORM_RM,
    [OP_SHRD] = FORM_RM,
    [OP_MOVZX] = FORM_RM,
    [OP_MOVSX] = FORM_RM,
    [OP_SETCC] = FORM_RM,
    [OP_CMOVCC] = FORM_RM,
    [OP_BSF] = FORM_RM,
    [OP_BSR] = FORM_RM,
    [OP_TZCNT] = FORM_RM,
    [OP_LZCNT] = FORM_RM,
    [OP_POPCNT] = FORM_RM,
    [OP_CMPXCHG] = FORM_RM,
    [OP_XADD] = FORM_RM,
    [OP_CMPXCHG8B] = FORM_RM,
    [OP_MOVNTI] = FORM_RM,
    [OP_MOVBE] = FORM_RM,
    [OP_CRC32] = FORM_RM,
    [OP_LEA] = FORM_RM,
    [OP_BT] = FORM_BITS,
    [OP_BTS] = FORM_BITS,
    [OP_BTR] = FORM_BITS,
    [OP_BTC] = FORM_BITS,
    [OP_ANDN] = FORM_VEX,
    [OP_BEXTR] = FORM_VEX,
    [OP_BLSI] = FORM_VEX,
    [OP_BLSMSK] = FORM_VEX,
    [OP_BLSR] = FORM_VEX,
    [OP_BZHI] = FORM_VEX,
    [OP_PDEP] = FORM_VEX,
    [OP_PEXT] = FORM_VEX,
    [OP_RORX] = FORM_VEX,
    [OP_SARX] = FORM_VEX,
    [OP_SHLX] = FORM_VEX,
    [OP_SHRX] = FORM_VEX,
    [OP_MULX] = FORM_VEX,
    [OP_CBW] = FORM_OTHER,
    [OP_CWD] = FORM_OTHER,
    [OP_CMC] = FORM_OTHER,
    [OP_CLC] = FORM_OTHER,
    [OP_STC] = FORM_OTHER,
    [OP_LAHF] = FORM_OTHER,
    [OP_SAHF] = FORM_OTHER,
    [OP_BSWAP] = FORM_OTHER,
    [OP_PAUSE] = FORM_OTHER,
    [OP_LFENCE] = FORM_OTHER,
    [OP_MFENCE] = FORM_OTHER,
    [OP_SFENCE] = FORM_OTHER,
    [OP_NOP] = FORM_NOTHING,
    [OP_PREFETCHNTA] = FORM_NOTHING,
    [OP_PREFETCHT0] = FORM_NOTHING,
    [OP_PREFETCHT1] = FORM_NOTHING,
    [OP_PREFETCHT2] = FORM_NOTHING,
    [OP_PREFETCHW] = FORM_NOTHING,
};

static enum form form_of(const struct insn *in)
{
    enum form form = forms[in->op];
    return form != FORM_EITHER ? form : in->modrm_at ? FORM_RM : FORM_OTHER;
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
        if (ci->faults || ci->fn == uop_exec_end || op_flags_read(&ci->in) & FLAG_OF)
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
    if (base && !index && !in->disp && in->base == modrm_reg(in))
        return true; /* compilers' and kernels' way to fill space */
    if (base && !index && in->base == REG_SP && reg == HR_SP) {
        xl_adjust_sp(x, (i32)in->disp);
        return true;
    }
    if (base || index)
        asm_rm(&x->a, XO_LEA, reg, xl_ea(x, in));
    else
        asm_mov_imm32(&x->a, reg, (u32)in->disp);
    if (reg == HR_SP)
        xl_new_sp(x);
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

/* ---- bit strings ---- */

#define BIT_OFFSET_SHIFT 5 /* from bits to doublewords */
#define BIT_OFFSET_MASK  31

/* BT m, r and the like: the register is a signed offset from the operand's first bit. */
static bool put_bit_string(struct xl *x, const struct insn *in)
{
    const struct x64_vex sarx = {.opcode = 0xf7, .map = 2, .pp = 2};
    unsigned reg = host_gpr(modrm_reg(in));
    if (in->opsize != 4 || !xl_mem_ok(in))
        return false;
    xl_put_la(x, in);
    asm_mov_imm32(&x->a, HR_T2, BIT_OFFSET_SHIFT);
    asm_vex_rr(&x->a, sarx, HR_T1, HR_T2, reg);
    asm_rm(&x->a, XO_LEA, HR_T0, x64_indexed(HR_T0, HR_T1, 4, 0));
    struct x64_mem m = xl_mem_at_la(x, 4, in->op != OP_BT);
    asm_mov_imm32(&x->a, HR_T1, BIT_OFFSET_MASK);
    asm_pext(&x->a, HR_T1, reg, HR_T1);
    u32 lock = in->prefixes & PFX_LOCK ? X64_LOCK : 0;
    asm_rm(&x->a, in->opcode | X64_0F | lock, HR_T1, m);
    return true;
}

static bool put_bits(struct xl *x, const struct insn *in)
{
    bool string = in->opcode != OPCODE_BIT_IMM && modrm_mod(in) != 3;
    return string ? put_bit_string(x, in) : put_rm(x, in);
}

/* ---- the stack pointer as an operand ---- */

static bool is_esp(const struct operand *o)
{
    return o->kind == OPD_GPR && o->reg == REG_SP;
}

/* MOV r32, r32 */
static bool is_move(const struct insn *in)
{
    return in->op == OP_MOV && in->opsize == 4 && in->operands == 2 &&
           in->operand[0].kind == OPD_GPR && in->operand[1].kind == OPD_GPR &&
           (in->opcode == 0x89 || in->opcode == 0x8b) && !in->map;
}

bool xl_reads_sp(const struct insn *in)
{
    unsigned cls = op_row(in)->cls;
    if (in->op == OP_CALL || (in->op == OP_RET && in->opsize == 4))
        return is_esp(&in->operand[0]);
    if (cls == CLASS_STACK)
        return in->opsize != 4 || (in->op != OP_PUSH && in->op != OP_POP && in->op != OP_LEAVE) ||
               (in->op == OP_PUSH && is_esp(&in->operand[0]));
    if (cls != CLASS_PLAIN && cls != CLASS_CARE && !xl_has_thunk(in))
        return true;
    if (is_move(in) || (in->op == OP_LEA && in->opsize == 4))
        return false; /* put_move(), put_lea() */
    for (unsigned k = 0; k < in->operands; k++) {
        if (is_esp(&in->operand[k]))
            return true;
    }
    return false;
}

/* What is written to ESP is there at once, what is read from it may be on its way. */
static bool put_move(struct xl *x, const struct insn *in)
{
    unsigned to = in->operand[0].reg, from = in->operand[1].reg;
    if (to == from)
        return true;
    if (from == REG_SP && x->sp)
        asm_rm(&x->a, XO_LEA, to, x64_at(HR_SP, x->sp));
    else
        asm_rr(&x->a, XO_MOV_LOAD, host_gpr(to), host_gpr(from));
    if (to == REG_SP)
        xl_new_sp(x);
    return true;
}

bool xl_int(struct xl *x, const struct insn *in)
{
    if (is_move(in))
        return put_move(x, in);
    switch (form_of(in)) {
    case FORM_BITS: return put_bits(x, in);
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
        xl_put_aside(x);
        struct x64_mem top = xl_stack_mem(x, REG_SP, -4, 4, true);
        asm_rm(&x->a, XO_MOV_STORE, xl_take_back(x, HR_T1), top);
    } else {
        return false;
    }
    xl_adjust_sp(x, -4);
    return true;
}

/* An address that is made of ESP is made of the new one (SDM 2B "POP"). */
static bool put_pop_mem(struct xl *x, const struct insn *in)
{
    struct insn to = *in;
    to.disp += in->base == REG_SP ? 4 : 0;
    if (!xl_mem_ok(in))
        return false;
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_stack_mem(x, REG_SP, 0, 4, false));
    asm_rm(&x->a, XO_MOV_STORE, HR_T0, VCPU(jump_to));
    struct x64_mem m = xl_mem(x, &to, 4, true);
    asm_rm(&x->a, XO_MOV_LOAD, HR_T1, VCPU(jump_to));
    asm_rm(&x->a, XO_MOV_STORE, HR_T1, m);
    xl_adjust_sp(x, 4);
    return true;
}

static bool put_pop(struct xl *x, const struct insn *in)
{
    const struct operand *o = &in->operand[0];
    if (o->kind == OPD_MEM)
        return put_pop_mem(x, in);
    if (o->kind != OPD_GPR)
        return false;
    asm_rm(&x->a, XO_MOV_LOAD, host_gpr(o->reg), xl_stack_mem(x, REG_SP, 0, 4, false));
    if (o->reg == REG_SP)
        xl_new_sp(x);
    else
        xl_adjust_sp(x, 4);
    return true;
}

static bool put_leave(struct xl *x)
{
    asm_rm(&x->a, XO_MOV_LOAD, HR_T0, xl_stack_mem(x, REG_BP, 0, 4, false));
    asm_rm(&x->a, XO_LEA, HR_SP, x64_at(X64_RBP, 4));
    xl_new_sp(x);
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
