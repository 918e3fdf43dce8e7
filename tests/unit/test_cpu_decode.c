/* SPDX-License-Identifier: MIT
 *
 * What struct insn says of single instructions. That decode() is right for all of them is shown in
 * tests/decoder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/decode.h"
#include "cpu/decode_usual.h"
#include "cpu/optable.h"
#include "cpu/vcpu.h"

/* Decodes bytes given as a string literal, all of which must be used. */
#define DECODE(mode, literal, in) decode_all((const u8 *)(literal), sizeof(literal) - 1, mode, in)
#define STATUS(mode, literal)     status_of((const u8 *)(literal), sizeof(literal) - 1, mode)

static void decode_all(const u8 *bytes, size_t n, unsigned mode, struct insn *in)
{
    assert_int_equal(decode(bytes, n, mode, in), DECODE_OK);
    assert_int_equal(in->len, n);
    assert_int_equal(op_row(in)->op, in->op);
}

static enum decode_status status_of(const u8 *bytes, size_t n, unsigned mode)
{
    struct insn in;
    return decode(bytes, n, mode, &in);
}

static void decode_fills_every_part_of_a_memory_operand(void **state)
{
    (void)state;
    struct insn in;
    DECODE(64, "\x64\x4a\x8b\x84\xa3\x78\x56\x34\x12", &in); /* mov rax, fs:[rbx+r12*4+disp32] */
    assert_int_equal(in.op, OP_MOV);
    assert_int_equal(in.opsize, 8);
    assert_int_equal(in.adsize, 8);
    assert_int_equal(in.operands, 2);
    assert_int_equal(in.operand[0].kind, OPD_GPR);
    assert_int_equal(in.operand[0].reg, REG_AX);
    assert_int_equal(in.operand[0].size, 8);
    assert_int_equal(in.operand[0].access, OPD_W);
    assert_int_equal(in.operand[1].kind, OPD_MEM);
    assert_int_equal(in.operand[1].size, 8);
    assert_int_equal(in.operand[1].access, OPD_R);
    assert_int_equal(in.base, REG_BX);
    assert_int_equal(in.index, GPR_R12);
    assert_int_equal(in.scale, 4);
    assert_int_equal(in.disp, 0x12345678);
    assert_int_equal(in.seg, SEG_FS);
    assert_int_equal(in.opcode_at, 2);
    assert_int_equal(in.modrm_at, 3);
    assert_int_equal(in.disp_at, 5);
    assert_int_equal(in.disp_len, 4);
    assert_int_equal(in.imm_len, 0);
}

static void decode_default_segment_follows_the_base(void **state)
{
    (void)state;
    struct insn in;
    DECODE(16, "\x8b\x02", &in); /* [bp+si] */
    assert_int_equal(in.seg, SEG_SS);
    DECODE(16, "\x8b\x06\x00\x10", &in); /* [1000h], not [bp] */
    assert_int_equal(in.seg, SEG_DS);
    assert_int_equal(in.base, REG_NONE);
    DECODE(32, "\x8b\x04\x24", &in); /* [esp] */
    assert_int_equal(in.seg, SEG_SS);
    DECODE(32, "\x8b\x04\x2d\x00\x00\x00\x00", &in); /* [ebp*1+0]: an index */
    assert_int_equal(in.seg, SEG_DS);
    DECODE(32, "\x36\x8b\x00", &in);
    assert_int_equal(in.seg, SEG_SS);
    DECODE(64, "\x36\x8b\x00", &in); /* SS is ignored in 64-bit mode */
    assert_int_equal(in.seg, SEG_DS);
}

static void decode_extends_immediates_to_the_operand_size(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\x83\xc0\xff", &in);
    assert_true(in.imm == 0xffffffff);
    DECODE(16, "\x83\xc0\xff", &in);
    assert_true(in.imm == 0xffff);
    DECODE(64, "\x48\x05\x00\x00\x00\x80", &in);
    assert_true(in.imm == 0xffffffff80000000);
    DECODE(64, "\x48\xb8\x08\x07\x06\x05\x04\x03\x02\x01", &in);
    assert_true(in.imm == 0x0102030405060708);
    DECODE(32, "\xc1\xe0\xff", &in); /* a shift count is raw */
    assert_true(in.imm == 0xff);
    DECODE(32, "\xc8\x34\x12\x05", &in); /* enter */
    assert_true(in.imm == 0x1234 && in.imm2 == 5 && in.imm_len == 3);
    DECODE(32, "\xea\x78\x56\x34\x12\x08\x00", &in);
    assert_int_equal(in.operand[0].kind, OPD_FAR);
    assert_true(in.imm == 0x12345678 && in.imm2 == 8);
}

static void decode_operand_size_in_64_bit_mode(void **state)
{
    (void)state;
    struct insn in;
    DECODE(64, "\x50", &in);
    assert_int_equal(in.opsize, 8);
    DECODE(64, "\x66\x50", &in);
    assert_int_equal(in.opsize, 2);
    DECODE(64, "\x66\xe8\x00\x00\x00\x00", &in); /* Intel: 66 is ignored */
    assert_int_equal(in.opsize, 8);
    DECODE(64, "\xff\x10", &in);
    assert_int_equal(in.opsize, 8);
    DECODE(64, "\xcb", &in);
    assert_int_equal(in.opsize, 4);
}

static void decode_mandatory_prefix_is_no_prefix_any_more(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\xf3\x0f\x10\xc1", &in);
    assert_int_equal(in.op, OP_MOVSS);
    assert_int_equal(in.pp, 2);
    assert_int_equal(in.prefixes, 0);
    DECODE(32, "\xf3\xa4", &in);
    assert_int_equal(in.op, OP_MOVS);
    assert_int_equal(in.pp, 0);
    assert_int_equal(in.prefixes, PFX_REP);
    assert_true(op_ends(&in));
    DECODE(32, "\x66\xf3\x0f\xb8\xc1", &in); /* popcnt ax, cx */
    assert_int_equal(in.op, OP_POPCNT);
    assert_int_equal(in.opsize, 2);
}

static void decode_lock_wants_a_memory_destination(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\xf0\x01\x00", &in);
    assert_int_equal(in.prefixes, PFX_LOCK);
    assert_int_equal(STATUS(32, "\xf0\x01\xc0"), DECODE_INVALID);
    assert_int_equal(STATUS(32, "\xf0\x03\x00"), DECODE_INVALID);
    assert_int_equal(STATUS(32, "\xf0\x39\x00"), DECODE_INVALID);
    assert_int_equal(STATUS(32, "\xf0\x90"), DECODE_INVALID);
}

static void decode_says_how_it_ends(void **state)
{
    (void)state;
    assert_int_equal(STATUS(32, ""), DECODE_TRUNCATED);
    assert_int_equal(STATUS(32, "\x66"), DECODE_TRUNCATED);
    assert_int_equal(STATUS(32, "\x0f"), DECODE_TRUNCATED);
    assert_int_equal(STATUS(32, "\x8b\x05\x00\x00\x00"), DECODE_TRUNCATED);
    assert_int_equal(STATUS(32, "\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x90"),
                     DECODE_OK);
    assert_int_equal(STATUS(32, "\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x26\x90"),
                     DECODE_TOO_LONG);
    assert_int_equal(STATUS(32, "\x0f\x0a"), DECODE_INVALID);
    assert_int_equal(STATUS(64, "\x06"), DECODE_INVALID);
    assert_int_equal(STATUS(32, "\x8e\xc8"), DECODE_INVALID);                 /* mov cs, ax */
    assert_int_equal(STATUS(32, "\x62\xf1\x7c\x48\x28\xc0"), DECODE_INVALID); /* EVEX */
}

static void decode_finds_every_byte_register(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\x88\xec", &in); /* mov ah, ch */
    assert_int_equal(in.operand[0].kind, OPD_GPR8H);
    assert_int_equal(in.operand[0].reg, REG_AX);
    assert_int_equal(in.operand[1].kind, OPD_GPR8H);
    assert_int_equal(in.operand[1].reg, REG_CX);
    DECODE(64, "\x40\x88\xec", &in); /* mov spl, bpl */
    assert_int_equal(in.operand[0].kind, OPD_GPR);
    assert_int_equal(in.operand[0].reg, REG_SP);
}

static void decode_string_operands_are_hidden_and_es_stays(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\x64\xa5", &in);
    assert_int_equal(in.operand[0].reg, REG_DI);
    assert_int_equal(in.operand[1].reg, REG_SI);
    assert_int_equal(in.operand[0].hidden, 1);
    assert_int_equal(in.seg, SEG_FS);
    DECODE(32, "\x64\xaa", &in);
    assert_int_equal(in.seg, SEG_ES);
}

static void shortcut_equals_the_long_way(unsigned mode, u8 rex, unsigned opcode, u8 modrm, u8 sib)
{
    u8 bytes[32];
    size_t at = 0;
    if (rex)
        bytes[at++] = rex;
    if (opcode > 0xff)
        bytes[at++] = 0x0f;
    bytes[at++] = (u8)opcode;
    bytes[at++] = modrm;
    bytes[at++] = sib;
    for (; at < sizeof bytes; at++)
        bytes[at] = (u8)(0x81 + 0x1f * at);

    struct insn usual = {0}, any = {0};
    enum decode_status status = decode(bytes, sizeof bytes, mode, &usual);
    assert_int_equal(status, decode_any(bytes, sizeof bytes, mode, &any));
    if (status == DECODE_OK && memcmp(&usual, &any, sizeof any) != 0)
        fail_msg("%u-bit %02x %03x %02x %02x", mode, rex, opcode, modrm, sib);
}

/* Every opcode of the first two maps with every ModRM byte and a third of the SIB bytes, without
 * REX and with each bit of it. */
static void decode_shortcut_equals_the_long_way(void **state)
{
    (void)state;
    static const u8 rex[] = {0, 0x40, 0x41, 0x42, 0x44, 0x48, 0x4f};
    for (unsigned opcode = 0; opcode < 0x200; opcode++) {
        for (unsigned modrm = 0; modrm < 0x100; modrm++) {
            unsigned step = (modrm & 7) == REG_SP ? 3 : 0x100;
            for (unsigned sib = 0; sib < 0x100; sib += step) {
                shortcut_equals_the_long_way(32, 0, opcode, (u8)modrm, (u8)sib);
                for (unsigned i = 0; i < ARRAY_LEN(rex); i++)
                    shortcut_equals_the_long_way(64, rex[i], opcode, (u8)modrm, (u8)sib);
            }
        }
    }
}

static void op_flags_read_knows_the_condition(void **state)
{
    (void)state;
    struct insn in;
    DECODE(32, "\x74\x00", &in);
    assert_int_equal(op_flags_read(&in), FLAG_ZF);
    DECODE(32, "\x0f\x97\xc0", &in);
    assert_int_equal(op_flags_read(&in), FLAG_ZF | FLAG_CF);
    DECODE(32, "\xc1\xd0\x20", &in);
    assert_int_equal(op_flags_read(&in), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_fills_every_part_of_a_memory_operand),
        cmocka_unit_test(decode_default_segment_follows_the_base),
        cmocka_unit_test(decode_extends_immediates_to_the_operand_size),
        cmocka_unit_test(decode_operand_size_in_64_bit_mode),
        cmocka_unit_test(decode_mandatory_prefix_is_no_prefix_any_more),
        cmocka_unit_test(decode_lock_wants_a_memory_destination),
        cmocka_unit_test(decode_says_how_it_ends),
        cmocka_unit_test(decode_finds_every_byte_register),
        cmocka_unit_test(decode_string_operands_are_hidden_and_es_stays),
        cmocka_unit_test(decode_shortcut_equals_the_long_way),
        cmocka_unit_test(op_flags_read_knows_the_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
