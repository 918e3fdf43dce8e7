/* SPDX-License-Identifier: MIT
 *
 * Integer arithmetic by the host's own instruction on guest values, with the flags it leaves
 * (cpu/flags.h says why). `size` is 1, 2, 4 or 8 and a constant at nearly every call, so that a
 * call becomes the instruction, LAHF and SETO.
 *
 * Values are whole 64-bit registers. The host merges as the guest does: an 8- or 16-bit operation
 * keeps the upper bits of its destination, a 32-bit one clears them. The high byte registers
 * (AH...) are shifted down and up by the caller.
 */
#ifndef ANELLO_CPU_ALU_H
#define ANELLO_CPU_ALU_H

#include "base/bits.h"

/* AX = v->oszapc: from and to the host's RFLAGS. */
#define TAKE_FLAGS "\n\tlahf\n\tseto %%al"
#define PUT_FLAGS  "addb $127, %%al\n\tsahf\n\t"
#define PUT_CARRY  "btl $8, %%eax\n\t"

/* The asm statement for each size: `before`, the mnemonic with its suffix, the operands (written
 * with the modifiers b w k q), then TAKE_FLAGS. What follows are the constraints, where ax is the
 * u32 that carries the flags. */
#define SIZED_ASM(size, before, mnemonic, operands, ...)                                           \
    switch (size) {                                                                                \
    case 1: __asm__(before mnemonic "b " operands("b") TAKE_FLAGS : __VA_ARGS__); break;           \
    case 2: __asm__(before mnemonic "w " operands("w") TAKE_FLAGS : __VA_ARGS__); break;           \
    case 4: __asm__(before mnemonic "l " operands("k") TAKE_FLAGS : __VA_ARGS__); break;           \
    default: __asm__(before mnemonic "q " operands("q") TAKE_FLAGS : __VA_ARGS__); break;          \
    }
/* The same where there is no byte form. */
#define SIZED_ASM_WLQ(size, before, mnemonic, operands, ...)                                       \
    switch (size) {                                                                                \
    case 2: __asm__(before mnemonic "w " operands("w") TAKE_FLAGS : __VA_ARGS__); break;           \
    case 4: __asm__(before mnemonic "l " operands("k") TAKE_FLAGS : __VA_ARGS__); break;           \
    default: __asm__(before mnemonic "q " operands("q") TAKE_FLAGS : __VA_ARGS__); break;          \
    }

#define OPERANDS_A(m)    "%" m "[a]"
#define OPERANDS_B_A(m)  "%" m "[b], %" m "[a]"
#define OPERANDS_CL_A(m) "%%cl, %" m "[a]"
#define OPERANDS_B_P(m)  "%" m "[b], (%[p])"
#define OPERANDS_P(m)    "(%[p])"

/* ---- two operands: a = a op b ---- */

#define ALU_BINARY(name, before, mnemonic, flags_constraint)                                       \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u64 b, u16 *flags)                                \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM(size, before, mnemonic, OPERANDS_B_A, [a] "+r"(a), flags_constraint(ax)          \
                  : [b] "rm"(b)                                                                    \
                  : "cc")                                                                          \
        *flags = (u16)ax;                                                                          \
        return a;                                                                                  \
    }
ALU_BINARY(alu_add, "", "add", "=a")
ALU_BINARY(alu_or, "", "or", "=a")
ALU_BINARY(alu_adc, PUT_CARRY, "adc", "+a")
ALU_BINARY(alu_sbb, PUT_CARRY, "sbb", "+a")
ALU_BINARY(alu_and, "", "and", "=a")
ALU_BINARY(alu_sub, "", "sub", "=a")
ALU_BINARY(alu_xor, "", "xor", "=a")

#define ALU_COMPARE(name, mnemonic)                                                                \
    ALWAYS_INLINE void name(unsigned size, u64 a, u64 b, u16 *flags)                               \
    {                                                                                              \
        u32 ax;                                                                                    \
        SIZED_ASM(size, "", mnemonic, OPERANDS_B_A, "=a"(ax) : [a] "r"(a), [b] "rm"(b) : "cc")     \
        *flags = (u16)ax;                                                                          \
    }
ALU_COMPARE(alu_cmp, "cmp")
ALU_COMPARE(alu_test, "test")

/* ---- one operand ---- */

#define ALU_UNARY(name, before, mnemonic, flags_constraint)                                        \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u16 *flags)                                       \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM(size, before, mnemonic, OPERANDS_A, [a] "+r"(a), flags_constraint(ax)::"cc")     \
        *flags = (u16)ax;                                                                          \
        return a;                                                                                  \
    }
ALU_UNARY(alu_inc, PUT_CARRY, "inc", "+a")
ALU_UNARY(alu_dec, PUT_CARRY, "dec", "+a")
ALU_UNARY(alu_neg, "", "neg", "=a")

ALWAYS_INLINE u64 alu_not(unsigned size, u64 a)
{
    return size == 4 ? (u32)~a : a ^ mask64(size * 8);
}

/* ---- shifts and rotates: a count of 0 (after the host's masking, which is the guest's) keeps all
 * flags, and rotates keep SF ZF AF PF: so the old ones are put first ---- */

/* OF after a rotation is defined for a count of 1 only. Hosts differ in what they make of more
 * (some even keep the old one of a register rotated by an immediate), the 386 makes it of the
 * result always: as if the last step had been a rotation by 1. So do we. */
ALWAYS_INLINE u16 alu_rotate_flags(unsigned size, bool left, u64 a, u64 count, u16 flags)
{
    unsigned top = size * 8 - 1, carry = 8; /* of the result; CF within flags */
    u16 of = (u16)((a >> top ^ (left ? (u64)flags >> carry : a >> (top - 1))) & 1);
    return count & (size == 8 ? 63 : 31) ? (u16)((flags & ~1u) | of) : flags;
}

#define ALU_SHIFT(name, mnemonic)                                                                  \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u64 count, u16 *flags)                            \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM(size, PUT_FLAGS, mnemonic, OPERANDS_CL_A, [a] "+r"(a), "+a"(ax)                  \
                  : "c"(count)                                                                     \
                  : "cc")                                                                          \
        *flags = (u16)ax;                                                                          \
        return a;                                                                                  \
    }
#define ALU_ROTATE(name, mnemonic, left)                                                           \
    ALU_SHIFT(name##_host, mnemonic)                                                               \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u64 count, u16 *flags)                            \
    {                                                                                              \
        a = name##_host(size, a, count, flags);                                                    \
        *flags = alu_rotate_flags(size, left, a, count, *flags);                                   \
        return a;                                                                                  \
    }
ALU_ROTATE(alu_rol, "rol", true)
ALU_ROTATE(alu_ror, "ror", false)
ALU_ROTATE(alu_rcl, "rcl", true)
ALU_ROTATE(alu_rcr, "rcr", false)
ALU_SHIFT(alu_shl, "shl")
ALU_SHIFT(alu_shr, "shr")
ALU_SHIFT(alu_sar, "sar")

#define OPERANDS_CL_B_A(m) "%%cl, %" m "[b], %" m "[a]"
#define ALU_DOUBLE_SHIFT(name, mnemonic)                                                           \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u64 b, u64 count, u16 *flags)                     \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM_WLQ(size, PUT_FLAGS, mnemonic, OPERANDS_CL_B_A, [a] "+r"(a), "+a"(ax)            \
                      : [b] "r"(b), "c"(count)                                                     \
                      : "cc")                                                                      \
        *flags = (u16)ax;                                                                          \
        return a;                                                                                  \
    }
ALU_DOUBLE_SHIFT(alu_shld, "shld")
ALU_DOUBLE_SHIFT(alu_shrd, "shrd")

/* ---- bits: b is the bit number, within a ---- */

#define ALU_BIT(name, mnemonic)                                                                    \
    ALWAYS_INLINE u64 name(unsigned size, u64 a, u64 b, u16 *flags)                                \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM_WLQ(size, PUT_FLAGS, mnemonic, OPERANDS_B_A, [a] "+r"(a), "+a"(ax)               \
                      : [b] "r"(b)                                                                 \
                      : "cc")                                                                      \
        *flags = (u16)ax;                                                                          \
        return a;                                                                                  \
    }
ALU_BIT(alu_bt, "bt")
ALU_BIT(alu_bts, "bts")
ALU_BIT(alu_btr, "btr")
ALU_BIT(alu_btc, "btc")
/* a is the old destination, which BSF and BSR of 0 leave as it is. */
ALU_BIT(alu_bsf, "bsf")
ALU_BIT(alu_bsr, "bsr")
ALU_BIT(alu_tzcnt, "tzcnt")
ALU_BIT(alu_lzcnt, "lzcnt")
ALU_BIT(alu_popcnt, "popcnt")

/* ---- multiplication ---- */

#define OPERANDS_B(m) "%" m "[b]"
#define ALU_MULTIPLY(name, mnemonic)                                                               \
    /* rdx:rax = rax * b, or ax = al * b; the halves are merged as the host does. */               \
    ALWAYS_INLINE void name(unsigned size, u64 *lo, u64 *hi, u64 b, u16 *flags)                    \
    {                                                                                              \
        u64 a = *lo, d = *hi;                                                                      \
        u32 ax = *flags;                                                                           \
        /* The product leaves RAX before LAHF wants it. */                                         \
        SIZED_ASM(size, PUT_FLAGS "movq %[a], %%rax\n\t", mnemonic,                                \
                  OPERANDS_B_KEEP_RAX, [a] "+&r"(a), "+&a"(ax), "+&d"(d)                           \
                  : [b] "r"(b)                                                                     \
                  : "cc")                                                                          \
        *lo = a;                                                                                   \
        *hi = d;                                                                                   \
        *flags = (u16)ax;                                                                          \
    }
#define OPERANDS_B_KEEP_RAX(m) "%" m "[b]\n\tmovq %%rax, %[a]"
ALU_MULTIPLY(alu_mul, "mul")
ALU_MULTIPLY(alu_imul_wide, "imul")
/* The caller has made sure that the quotient fits: these would raise #DE on the host. */
ALU_MULTIPLY(alu_div, "div")
ALU_MULTIPLY(alu_idiv, "idiv")

ALWAYS_INLINE u64 alu_imul(unsigned size, u64 a, u64 b, u16 *flags)
{
    u32 ax = *flags;
    SIZED_ASM_WLQ(size, PUT_FLAGS, "imul", OPERANDS_B_A, [a] "+r"(a), "+a"(ax) : [b] "r"(b) : "cc")
    *flags = (u16)ax;
    return a;
}

/* ---- atomically on host memory (LOCK) ---- */

#define ALU_LOCKED(name, mnemonic)                                                                 \
    ALWAYS_INLINE void name(unsigned size, void *p, u64 b, u16 *flags)                             \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM(size, PUT_FLAGS "lock ", mnemonic, OPERANDS_B_P, "+a"(ax)                        \
                  : [b] "r"(b), [p] "r"(p)                                                         \
                  : "cc", "memory")                                                                \
        *flags = (u16)ax;                                                                          \
    }
ALU_LOCKED(alu_locked_add, "add")
ALU_LOCKED(alu_locked_or, "or")
ALU_LOCKED(alu_locked_adc, "adc")
ALU_LOCKED(alu_locked_sbb, "sbb")
ALU_LOCKED(alu_locked_and, "and")
ALU_LOCKED(alu_locked_sub, "sub")
ALU_LOCKED(alu_locked_xor, "xor")

#define ALU_LOCKED_UNARY(name, mnemonic)                                                           \
    ALWAYS_INLINE void name(unsigned size, void *p, u16 *flags)                                    \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM(size, PUT_FLAGS "lock ", mnemonic, OPERANDS_P, "+a"(ax)                          \
                  : [p] "r"(p)                                                                     \
                  : "cc", "memory")                                                                \
        *flags = (u16)ax;                                                                          \
    }
ALU_LOCKED_UNARY(alu_locked_inc, "inc")
ALU_LOCKED_UNARY(alu_locked_dec, "dec")
ALU_LOCKED_UNARY(alu_locked_neg, "neg")
ALU_LOCKED_UNARY(alu_locked_not, "not")

/* b is less than the operand's width: the host may not index memory beyond *p. */
#define ALU_LOCKED_BIT(name, mnemonic)                                                             \
    ALWAYS_INLINE void name(unsigned size, void *p, u64 b, u16 *flags)                             \
    {                                                                                              \
        u32 ax = *flags;                                                                           \
        SIZED_ASM_WLQ(size, PUT_FLAGS "lock ", mnemonic, OPERANDS_B_P, "+a"(ax)                    \
                      : [b] "r"(b), [p] "r"(p)                                                     \
                      : "cc", "memory")                                                            \
        *flags = (u16)ax;                                                                          \
    }
ALU_LOCKED_BIT(alu_locked_bts, "bts")
ALU_LOCKED_BIT(alu_locked_btr, "btr")
ALU_LOCKED_BIT(alu_locked_btc, "btc")

/* *p += b, returns b's register holding the old value. */
ALWAYS_INLINE u64 alu_locked_xadd(unsigned size, void *p, u64 b, u16 *flags)
{
    u32 ax;
    SIZED_ASM(size, "lock ", "xadd", OPERANDS_B_P, [b] "+r"(b), "=&a"(ax)
              : [p] "r"(p)
              : "cc", "memory")
    *flags = (u16)ax;
    return b;
}

/* Returns b's register holding the old value. XCHG locks always. */
ALWAYS_INLINE u64 alu_locked_xchg(unsigned size, void *p, u64 b)
{
    switch (size) {
    case 1: __asm__("xchgb %b[b], (%[p])" : [b] "+q"(b) : [p] "r"(p) : "memory"); break;
    case 2: __asm__("xchgw %w[b], (%[p])" : [b] "+r"(b) : [p] "r"(p) : "memory"); break;
    case 4: __asm__("xchgl %k[b], (%[p])" : [b] "+r"(b) : [p] "r"(p) : "memory"); break;
    default: __asm__("xchgq %q[b], (%[p])" : [b] "+r"(b) : [p] "r"(p) : "memory"); break;
    }
    return b;
}

/* If *p equals the accumulator, *p = b, else the accumulator (returned) = *p. */
#define OPERANDS_B_P_KEEP_RAX(m) "%" m "[b], (%[p])\n\tmovq %%rax, %[a]"
ALWAYS_INLINE u64 alu_locked_cmpxchg(unsigned size, void *p, u64 a, u64 b, u16 *flags)
{
    u32 ax;
    SIZED_ASM(size, "movq %[a], %%rax\n\tlock ", "cmpxchg", OPERANDS_B_P_KEEP_RAX, [a] "+&r"(a),
              "=&a"(ax)
              : [b] "r"(b), [p] "r"(p)
              : "cc", "memory")
    *flags = (u16)ax;
    return a;
}

#endif
