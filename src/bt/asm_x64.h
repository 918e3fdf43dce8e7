/* SPDX-License-Identifier: MIT
 *
 * The host encoder: x86-64 instructions into a buffer. It knows encodings and nothing of the guest,
 * of translation or of memory protection.
 *
 * An opcode is a constant that carries its prefixes; a form (register-register, register-memory,
 * immediate) is a function; sequences live above (xl_*.c). Running out of space sets `full` and
 * drops the bytes, so that callers check once per block.
 */
#ifndef ANELLO_BT_ASM_X64_H
#define ANELLO_BT_ASM_X64_H

#include "base/bits.h"

enum x64_reg {
    X64_RAX,
    X64_RCX,
    X64_RDX,
    X64_RBX,
    X64_RSP,
    X64_RBP,
    X64_RSI,
    X64_RDI,
    X64_R8,
    X64_R9,
    X64_R10,
    X64_R11,
    X64_R12,
    X64_R13,
    X64_R14,
    X64_R15,
    X64_NONE = 0xff,
};

/* Parts of an opcode constant: the opcode byte, its map, its prefixes. */
enum x64_op_bits {
    X64_0F = 1 << 8,
    X64_0F38 = 2 << 8,
    X64_0F3A = 3 << 8,
    X64_MAP = 3 << 8,
    X64_66 = 1 << 10, /* operand size 16, or mandatory prefix */
    X64_F3 = 1 << 11,
    X64_F2 = 1 << 12,
    X64_W = 1 << 13,    /* 64-bit operands */
    X64_BYTE = 1 << 14, /* byte registers: SPL..DIL need an empty REX */
    X64_LOCK = 1 << 15,
};

enum x64_op {
    XO_ADD = 0x03,
    XO_OR_STORE8 = 0x08 | X64_BYTE,
    XO_OR_STORE = 0x09,
    XO_OR = 0x0b,
    XO_AND = 0x23,
    XO_SUB = 0x2b,
    XO_XOR = 0x33,
    XO_CMP = 0x3b,
    XO_TEST = 0x85,
    XO_XCHG = 0x87,
    XO_MOV_STORE8 = 0x88 | X64_BYTE,
    XO_MOV_STORE = 0x89,
    XO_MOV_LOAD8 = 0x8a | X64_BYTE,
    XO_MOV_LOAD = 0x8b,
    XO_LEA = 0x8d,
    XO_MOVZX8 = 0xb6 | X64_0F | X64_BYTE,
    XO_MOVZX16 = 0xb7 | X64_0F,
    XO_MOVSX8 = 0xbe | X64_0F | X64_BYTE,
    XO_MOVSX16 = 0xbf | X64_0F,
    XO_GROUP3 = 0xf7,
    XO_GROUP5 = 0xff,
};
/* The /digit of group 3. */
enum x64_group3 { XG3_NOT = 2 };
/* The /digit of group 5. */
enum x64_group5 { XG5_CALL = 2, XG5_JMP = 4 };

/* The /digit of group 1. */
enum x64_alu { XG_ADD, XG_OR, XG_ADC, XG_SBB, XG_AND, XG_SUB, XG_XOR, XG_CMP };
/* Conditions, as Jcc encodes them. */
enum x64_cc {
    XCC_O,
    XCC_NO,
    XCC_B,
    XCC_AE,
    XCC_Z,
    XCC_NZ,
    XCC_BE,
    XCC_A,
    XCC_S,
    XCC_NS,
    XCC_P,
    XCC_NP,
    XCC_L,
    XCC_GE,
    XCC_LE,
    XCC_G
};

struct x64_mem {
    u8 base, index; /* enum x64_reg or X64_NONE; index is never RSP */
    u8 scale;       /* 1, 2, 4, 8 */
    bool gs;        /* GS segment override */
    bool addr32;    /* the address is truncated to 32 bits before the segment base is added */
    i32 disp;
};

struct asm_buf {
    u8 *start, *at, *end;
    i64 delta; /* from where a byte is written to where it will be executed */
    bool full;
};

/* Where the next byte will be executed. */
static inline u8 *asm_here(const struct asm_buf *a)
{
    return a->at + a->delta;
}

static inline struct x64_mem x64_at(unsigned base, i32 disp)
{
    return (struct x64_mem){(u8)base, X64_NONE, 1, false, false, disp};
}
static inline struct x64_mem x64_indexed(unsigned base, unsigned index, unsigned scale, i32 disp)
{
    return (struct x64_mem){(u8)base, (u8)index, (u8)scale, false, false, disp};
}

void asm_init(struct asm_buf *a, u8 *at, size_t size, i64 delta);
void asm_byte(struct asm_buf *a, u8 byte);
void asm_bytes(struct asm_buf *a, const void *bytes, size_t n);
void asm_u32(struct asm_buf *a, u32 value);
void asm_u64(struct asm_buf *a, u64 value);

/* `op` alone. */
void asm_op(struct asm_buf *a, u32 op);
/* `op` with register operands: ModRM.reg = reg, ModRM.rm = rm. */
void asm_rr(struct asm_buf *a, u32 op, unsigned reg, unsigned rm);
/* `op` with a memory operand; imm_bytes that follow matter only to RIP-relative forms, which do not
 * exist here. */
void asm_rm(struct asm_buf *a, u32 op, unsigned reg, struct x64_mem m);

/* 64-bit moves: from memory, to memory, from a register. */
static inline void asm_load64(struct asm_buf *a, unsigned reg, struct x64_mem m)
{
    asm_rm(a, XO_MOV_LOAD | X64_W, reg, m);
}
static inline void asm_store64(struct asm_buf *a, unsigned reg, struct x64_mem m)
{
    asm_rm(a, XO_MOV_STORE | X64_W, reg, m);
}
static inline void asm_copy64(struct asm_buf *a, unsigned to, unsigned from)
{
    asm_rr(a, XO_MOV_STORE | X64_W, from, to);
}

/* mov r32, imm32 (zero-extends); mov r64, imm64. */
void asm_mov_imm32(struct asm_buf *a, unsigned reg, u32 imm);
void asm_mov_imm64(struct asm_buf *a, unsigned reg, u64 imm);
/* lea r64, [rip + rel32], to be filled in; returns where the rel32 is written. */
u8 *asm_lea_here(struct asm_buf *a, unsigned reg);
/* ALU r32, imm32 */
void asm_alu_imm(struct asm_buf *a, enum x64_alu alu, unsigned reg, u32 imm);
/* shl, shr r32, count */
void asm_shl_imm(struct asm_buf *a, unsigned reg, u8 count);
void asm_shr_imm(struct asm_buf *a, unsigned reg, u8 count);
/* mov dword [m], imm32 */
void asm_mov_mem_imm32(struct asm_buf *a, struct x64_mem m, u32 imm);
/* The parts of a VEX prefix that are no registers. */
struct x64_vex {
    u8 opcode, map; /* map: 1 0F, 2 0F38, 3 0F3A */
    u8 pp;          /* 0 none, 1 66, 2 F3, 3 F2 */
    bool w, l;
};
/* A VEX instruction with three registers, or with a memory operand instead of rm. */
void asm_vex_none(struct asm_buf *a, struct x64_vex vex, unsigned vvvv);
void asm_vex_rr(struct asm_buf *a, struct x64_vex vex, unsigned reg, unsigned vvvv, unsigned rm);
void asm_vex_rm(struct asm_buf *a, struct x64_vex vex, unsigned reg, unsigned vvvv,
                struct x64_mem m);

/* rorx dst32, src32, count: no flags (BMI2) */
void asm_rorx(struct asm_buf *a, unsigned dst, unsigned src, u8 count);
/* pext, pdep dst32, src32, mask32: no flags (BMI2) */
void asm_pext(struct asm_buf *a, unsigned dst, unsigned src, unsigned mask);
void asm_pdep(struct asm_buf *a, unsigned dst, unsigned src, unsigned mask);
/* not r32: no flags */
void asm_not(struct asm_buf *a, unsigned reg);
/* shrx, shlx dst32, src32, count32: no flags (BMI2) */
void asm_shlx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count);
void asm_shrx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count);
/* rdgsbase r64 */
void asm_rdgsbase(struct asm_buf *a, unsigned reg);
/* wrgsbase r64 */
void asm_wrgsbase(struct asm_buf *a, unsigned reg);
void asm_push(struct asm_buf *a, unsigned reg);
void asm_pop(struct asm_buf *a, unsigned reg);
void asm_ret(struct asm_buf *a);
/* lahf; seto al: what cpu/flags.h keeps */
void asm_lahf_seto(struct asm_buf *a);
/* add al, 127; sahf */
void asm_restore_flags(struct asm_buf *a);

/* Jumps to an address as executed (within 2 GiB; NULL: to be filled in); return where the rel32 is
 * written. */
u8 *asm_jmp(struct asm_buf *a, const u8 *to);
u8 *asm_jcc(struct asm_buf *a, enum x64_cc cc, const u8 *to);
u8 *asm_call(struct asm_buf *a, const u8 *to);
void asm_jmp_reg(struct asm_buf *a, unsigned reg);
void asm_jmp_mem(struct asm_buf *a, struct x64_mem m);
void asm_call_mem(struct asm_buf *a, struct x64_mem m);
/* jrcxz / jecxz rel8 to be filled in; returns the address of the rel8. */
u8 *asm_jrcxz(struct asm_buf *a);
u8 *asm_jecxz(struct asm_buf *a);
/* jcc rel8 to be filled in. */
u8 *asm_jcc_short(struct asm_buf *a, enum x64_cc cc);
/* Lets the rel8 at `field` point here. */
void asm_short_here(struct asm_buf *a, u8 *field);
/* Lets the rel32 at `field` point here. */
void asm_rel32_here(struct asm_buf *a, u8 *field);
/* Writes a rel32 at `field`, executed at `executed_field`, so that its jump goes to `to`. */
void asm_patch_rel32(u8 *field, const u8 *executed_field, const u8 *to);

#endif
