/* SPDX-License-Identifier: MIT
 *
 * Single bits, scans and counts, BMI1/BMI2, CRC32 and the random number instructions.
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

/* ---- BT, BTS, BTR, BTC ---- */

enum bit_op { BT, BTS, BTR, BTC };

ALWAYS_INLINE u64 bit_value(enum bit_op op, unsigned size, u64 a, u64 bit, u16 *flags)
{
    switch (op) {
    case BT: break;
    case BTS: return alu_bts(size, a, bit, flags);
    case BTR: return alu_btr(size, a, bit, flags);
    case BTC: return alu_btc(size, a, bit, flags);
    }
    return alu_bt(size, a, bit, flags);
}

ALWAYS_INLINE void bit_locked(enum bit_op op, unsigned size, void *p, u64 bit, u16 *flags)
{
    switch (op) {
    case BT: return;
    case BTS: alu_locked_bts(size, p, bit, flags); return;
    case BTR: alu_locked_btr(size, p, bit, flags); return;
    case BTC: alu_locked_btc(size, p, bit, flags); return;
    }
}

/* A bit number in a register reaches beyond the memory operand: it addresses the word at
 * ea + (bit / width) * size, signed (SDM 2A, BT). */
ALWAYS_INLINE u64 bit_la(struct vcpu *v, const struct insn *in, u64 *bit, unsigned size,
                         enum access access)
{
    u64 ea = ea_of(v, in);
    if (in->operand[1].kind == OPD_GPR) {
        i64 words = sext64(*bit, size * 8) >> __builtin_ctz(size * 8);
        ea = (ea + (u64)words * size) & mask64(in->adsize * 8);
    }
    *bit &= size * 8 - 1;
    return seg_linear(v, in->seg, ea, size, access);
}

ALWAYS_INLINE void bit(struct vcpu *v, const struct insn *in, enum bit_op op, unsigned size)
{
    u64 number = operand_read(v, in, 1, size);
    if (!operand_is_mem(in, 0)) {
        u64 *to = &v->gpr[in->operand[0].reg];
        u64 result = bit_value(op, size, *to, number, &v->oszapc);
        if (op != BT)
            *to = result;
    } else if (op == BT) {
        u64 la = bit_la(v, in, &number, size, ACCESS_READ);
        bit_value(op, size, mem_read(v, la, size), number, &v->oszapc);
    } else {
        struct rmw m;
        rmw_open_la(v, bit_la(v, in, &number, size, ACCESS_WRITE), size, &m);
        if (locked(in, &m))
            bit_locked(op, size, m.hp, number, &v->oszapc);
        else
            rmw_close(v, &m, bit_value(op, size, m.value, number, &v->oszapc), size);
    }
}

#define BIT(name, op)                                                                              \
    ALWAYS_INLINE void name(struct vcpu *v, const struct insn *in, unsigned size)                  \
    {                                                                                              \
        bit(v, in, op, size);                                                                      \
    }                                                                                              \
    EXEC_BY_SIZE(name)
BIT(op_bt, BT);
BIT(op_bts, BTS);
BIT(op_btr, BTR);
BIT(op_btc, BTC);

/* ---- scans and counts: the destination goes in as BSF and BSR of 0 keep it ---- */

#define SCAN(name, alu)                                                                            \
    ALWAYS_INLINE void name(struct vcpu *v, const struct insn *in, unsigned size)                  \
    {                                                                                              \
        u64 source = operand_read(v, in, 1, size);                                                 \
        u64 *to = &v->gpr[in->operand[0].reg];                                                     \
        *to = alu(size, *to, source, &v->oszapc);                                                  \
    }                                                                                              \
    EXEC_BY_SIZE(name)
SCAN(op_bsf, alu_bsf);
SCAN(op_bsr, alu_bsr);
SCAN(op_tzcnt, alu_tzcnt);
SCAN(op_lzcnt, alu_lzcnt);
SCAN(op_popcnt, alu_popcnt);

/* ---- BMI1 and BMI2: 32 and 64 bits, by the host ---- */

/* `op dest, first, second` in Intel order, with the flags. */
#define HOST_BMI3(mnemonic, size, to, first, second, ax)                                           \
    do {                                                                                           \
        if ((size) == 8)                                                                           \
            __asm__(PUT_FLAGS mnemonic " %q[b], %q[a], %q[d]" TAKE_FLAGS                           \
                    : [d] "=&r"(to), "+&a"(ax)                                                     \
                    : [a] "r"(first), [b] "r"(second)                                              \
                    : "cc");                                                                       \
        else                                                                                       \
            __asm__(PUT_FLAGS mnemonic " %k[b], %k[a], %k[d]" TAKE_FLAGS                           \
                    : [d] "=&r"(to), "+&a"(ax)                                                     \
                    : [a] "r"(first), [b] "r"(second)                                              \
                    : "cc");                                                                       \
    } while (0)
/* `op dest, source`. */
#define HOST_BMI2(mnemonic, size, to, source, ax)                                                  \
    do {                                                                                           \
        if ((size) == 8)                                                                           \
            __asm__(PUT_FLAGS mnemonic " %q[a], %q[d]" TAKE_FLAGS                                  \
                    : [d] "=&r"(to), "+&a"(ax)                                                     \
                    : [a] "r"(source)                                                              \
                    : "cc");                                                                       \
        else                                                                                       \
            __asm__(PUT_FLAGS mnemonic " %k[a], %k[d]" TAKE_FLAGS                                  \
                    : [d] "=&r"(to), "+&a"(ax)                                                     \
                    : [a] "r"(source)                                                              \
                    : "cc");                                                                       \
    } while (0)

static void op_bmi3(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    u64 a = operand_read(v, in, 1, size), b = operand_read(v, in, 2, size), to = 0;
    u32 ax = v->oszapc;
    switch (in->op) { /* AT&T operand order: BEXTR, BZHI take the control first */
    case OP_ANDN: HOST_BMI3("andn", size, to, a, b, ax); break;
    case OP_BEXTR: HOST_BMI3("bextr", size, to, a, b, ax); break;
    case OP_BZHI: HOST_BMI3("bzhi", size, to, a, b, ax); break;
    case OP_PDEP: HOST_BMI3("pdep", size, to, a, b, ax); break;
    case OP_PEXT: HOST_BMI3("pext", size, to, a, b, ax); break;
    }
    v->oszapc = (u16)ax;
    gpr_write(v, in->operand[0].reg, to, size);
}

static void op_bmi2(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    u64 a = operand_read(v, in, 1, size), to = 0;
    u32 ax = v->oszapc;
    switch (in->op) {
    case OP_BLSI: HOST_BMI2("blsi", size, to, a, ax); break;
    case OP_BLSMSK: HOST_BMI2("blsmsk", size, to, a, ax); break;
    case OP_BLSR: HOST_BMI2("blsr", size, to, a, ax); break;
    }
    v->oszapc = (u16)ax;
    gpr_write(v, in->operand[0].reg, to, size);
}

/* MULX hi, lo, src: rDX * src. When hi and lo are one register it gets the high half. */
static void op_mulx(struct vcpu *v, const struct insn *in)
{
    unsigned size = in->operand[0].size;
    unsigned __int128 product =
        (unsigned __int128)gpr_read(v, REG_DX, size) * operand_read(v, in, 2, size);
    gpr_write(v, in->operand[1].reg, (u64)product, size);
    gpr_write(v, in->operand[0].reg, (u64)(product >> (size * 8)), size);
}

/* ---- CRC32 (polynomial 11EDC6F41h) ---- */

static void op_crc32(struct vcpu *v, const struct insn *in)
{
    u64 crc = v->gpr[in->operand[0].reg];
    unsigned size = in->operand[1].size;
    u64 value = operand_read(v, in, 1, size);
    switch (size) {
    case 1: __asm__("crc32b %b[b], %k[a]" : [a] "+r"(crc) : [b] "r"(value)); break;
    case 2: __asm__("crc32w %w[b], %k[a]" : [a] "+r"(crc) : [b] "r"(value)); break;
    case 4: __asm__("crc32l %k[b], %k[a]" : [a] "+r"(crc) : [b] "r"(value)); break;
    default: __asm__("crc32q %q[b], %q[a]" : [a] "+r"(crc) : [b] "r"(value)); break;
    }
    v->gpr[in->operand[0].reg] = crc;
}

/* ---- RDRAND, RDSEED: CF says whether there was a number; the other flags are cleared ---- */

static void op_random(struct vcpu *v, const struct insn *in)
{
    u64 value;
    bool got;
    if (in->op == OP_RDRAND)
        __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(got));
    else
        __asm__ volatile("rdseed %0" : "=r"(value), "=@ccc"(got));
    gpr_write(v, in->operand[0].reg, got ? value : 0, in->opsize);
    flags_set_arith(v, FLAG_OSZAPC, got ? FLAG_CF : 0);
}

exec_fn op_bit_select(const struct insn *in)
{
    unsigned size = in->operand[0].size;
    switch (in->op) {
    case OP_BT: return op_bt_by_size[size];
    case OP_BTS: return op_bts_by_size[size];
    case OP_BTR: return op_btr_by_size[size];
    case OP_BTC: return op_btc_by_size[size];
    case OP_BSF: return op_bsf_by_size[size];
    case OP_BSR: return op_bsr_by_size[size];
    case OP_TZCNT: return op_tzcnt_by_size[size];
    case OP_LZCNT: return op_lzcnt_by_size[size];
    case OP_POPCNT: return op_popcnt_by_size[size];
    case OP_ANDN:
    case OP_BEXTR:
    case OP_BZHI:
    case OP_PDEP:
    case OP_PEXT: return op_bmi3;
    case OP_BLSI:
    case OP_BLSMSK:
    case OP_BLSR: return op_bmi2;
    case OP_MULX: return op_mulx;
    case OP_CRC32: return op_crc32;
    case OP_RDRAND:
    case OP_RDSEED: return op_random;
    default: return NULL;
    }
}
