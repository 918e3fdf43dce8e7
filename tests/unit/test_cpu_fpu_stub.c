/* SPDX-License-Identifier: MIT
 *
 * Stubs and the live state, driven directly: no decoder, no guest memory.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/excp.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/fpu_stub.h"

/* Faults land here, as they would in the run loop. */
static jmp_buf landing;
static unsigned raised;

void cpu_raise(struct vcpu *v, unsigned vector)
{
    (void)v;
    raised = vector;
    longjmp(landing, 1);
}

static int setup(void **state)
{
    struct vcpu *v = aligned_alloc(64, sizeof *v);
    memset(v, 0, sizeof *v);
    assert_true(fpu_attach(v));
    v->cr4 = CR4_OSXMMEXCPT;
    store16(v->fpu.bytes + IMAGE_FCW, X87_FCW_FNINIT);
    v->fpu.bytes[IMAGE_FTW] = 0;
    *state = v;
    return 0;
}

static int teardown(void **state)
{
    fpu_detach(*state);
    free(*state);
    return 0;
}

static void run(struct vcpu *v, union stub_code code, void *operand)
{
    unsigned n = fpu_stub_find(v->stubs, code);
    fpu_make_live(v);
    fpu_stub_fn(v->stubs, n)(operand, v);
    fpu_put_away(v); /* this file is compiled to use vector registers */
}

/* A legacy-encoded instruction 0F `opcode` ModRM. */
static union stub_code sse(unsigned pp, unsigned rex, unsigned opcode, unsigned modrm)
{
    union stub_code c = {.bits = 0};
    c.map = 1;
    c.pp = pp;
    c.rex = rex;
    c.opcode = opcode;
    c.has_modrm = 1;
    c.modrm = modrm;
    return c;
}

static union stub_code x87(unsigned opcode, unsigned modrm)
{
    union stub_code c = {.bits = 0};
    c.opcode = opcode;
    c.has_modrm = 1;
    c.modrm = modrm;
    return c;
}

static void assert_assembles(union stub_code c, const char *bytes, unsigned len)
{
    u8 out[STUB_SLOT_BYTES];
    assert_int_equal(fpu_stub_assemble(c, out), len);
    assert_memory_equal(out, bytes, len);
}

static void stub_is_the_instruction_and_a_return(void **state)
{
    (void)state;
    assert_assembles(x87(0xd8, 0x07), "\xd8\x07\xc3", 3);           /* fadd dword [rdi] */
    assert_assembles(sse(0, 0, 0x58, 0xca), "\x0f\x58\xca\xc3", 4); /* addps xmm1, xmm2 */
    assert_assembles(sse(3, REX_R, 0x58, 0x0f), "\xf2\x44\x0f\x58\x0f\xc3",
                     6);                       /* addsd xmm9,[rdi] */
    union stub_code c = sse(1, 0, 0x0f, 0xca); /* palignr xmm1, xmm2, 5 */
    c.map = 3;
    c.has_imm = 1;
    c.imm = 5;
    assert_assembles(c, "\x66\x0f\x3a\x0f\xca\x05\xc3", 7);
}

static void stub_rebuilds_vex_in_its_long_form(void **state)
{
    (void)state;
    union stub_code c = sse(0, REX_R, 0x58, 0xc2); /* vaddps ymm8, ymm10, ymm2 */
    c.vex = 1;
    c.vex_l = 1;
    c.vex_v = 10;
    assert_assembles(c, "\xc4\x61\x2c\x58\xc2\xc3", 6);
}

static void stub_brings_general_registers_in_and_out(void **state)
{
    struct vcpu *v = *state;
    union stub_code in = sse(1, REX_W, 0x6e, 0xc8); /* movq xmm1, r10 as rax */
    in.frame = STUB_GPR_IN;
    in.gpr = GPR_R10;
    union stub_code out = sse(1, 0, 0x7e, 0xc8); /* movd r11d as eax, xmm1 */
    out.frame = STUB_GPR_OUT;
    out.gpr = GPR_R11;
    v->gpr[GPR_R10] = 0x1122334455667788;
    v->gpr[GPR_R11] = ~(u64)0;
    run(v, in, NULL);
    run(v, out, NULL);
    assert_true(load64(v->fpu.bytes + IMAGE_XMM + IMAGE_XMM_STEP) == 0x1122334455667788);
    assert_true(v->gpr[GPR_R11] == 0x55667788); /* zero-extended */
}

static void stub_gives_and_takes_arithmetic_flags(void **state)
{
    struct vcpu *v = *state;
    float less[4] = {1.0f}, nan[4] = {NAN};
    union stub_code comiss = sse(0, 0, 0x2f, 0x07); /* comiss xmm0, [rdi] */
    comiss.frame = STUB_FLAGS_OUT;
    v->oszapc = 0xffff;
    run(v, comiss, less);
    assert_int_equal(flags_from_oszapc(v->oszapc), FLAG_CF);
    run(v, comiss, nan);
    assert_int_equal(flags_from_oszapc(v->oszapc), FLAG_CF | FLAG_PF | FLAG_ZF);

    union stub_code fcmovb = x87(0xda, 0xc1); /* fcmovb st0, st1 */
    fcmovb.frame = STUB_FLAGS_IN;
    u16 word;
    for (unsigned cf = 0; cf < 2; cf++) {
        run(v, x87(0xd9, 0xee), NULL); /* fldz */
        run(v, x87(0xd9, 0xe8), NULL); /* fld1: ST0 = 1, ST1 = 0 */
        v->oszapc = cf ? OSZAPC_CF : 0;
        run(v, fcmovb, NULL);
        run(v, x87(0xdf, 0x1f), &word); /* fistp word [rdi] */
        assert_int_equal(word, cf ? 0 : 1);
    }
}

static void stub_is_shared_by_equal_codes_only(void **state)
{
    struct vcpu *v = *state;
    unsigned a = fpu_stub_find(v->stubs, sse(0, 0, 0x58, 0xca));
    unsigned b = fpu_stub_find(v->stubs, sse(0, 0, 0x58, 0xcb));
    assert_int_not_equal(a, b);
    assert_int_equal(fpu_stub_find(v->stubs, sse(0, 0, 0x58, 0xca)), a);
}

/* More codes than the pool holds: pshufd of every immediate and register pair, twice over. */
static void stub_pool_survives_more_codes_than_slots(void **state)
{
    struct vcpu *v = *state;
    u32 from[4] = {10, 20, 30, 40}, to[4];
    union stub_code load = sse(0, 0, 0x10, 0x0f), store = sse(0, 0, 0x11, 0x17); /* movups */
    load.modrm = 1 << 3 | 7;                                                     /* xmm1 */
    store.modrm = 2 << 3 | 7;                                                    /* xmm2 */
    for (unsigned n = 0; n < 2 * STUB_COUNT; n++) {
        union stub_code c = sse(1, 0, 0x70, 0xc0 | (n >> 8 & 63));
        c.has_imm = 1;
        c.imm = n & 0xff;
        c.rex = n >> 14 & (REX_B | REX_R | REX_W);
        assert_in_range(fpu_stub_find(v->stubs, c), 1, STUB_COUNT - 1);
    }
    assert_int_equal(v->stubs->used, STUB_PERMANENT - 1);
    for (unsigned imm = 0; imm < 256; imm++) {
        union stub_code c = sse(1, 0, 0x70, 0xd1); /* pshufd xmm2, xmm1, imm */
        c.has_imm = 1;
        c.imm = imm;
        c.vex_v = 5; /* a code never seen, for the same instruction */
        run(v, load, from);
        run(v, c, NULL);
        run(v, store, to);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(to[i], from[imm >> 2 * i & 3]);
    }
}

static void fpu_keeps_guest_state_apart_from_the_host(void **state)
{
    struct vcpu *v = *state;
    u32 guest_mxcsr = 0x7fa0, host = 0;
    u16 guest_fcw = 0x0c7f, host_fcw = 0;
    run(v, sse(0, 0, 0xae, 0x17), &guest_mxcsr); /* ldmxcsr */
    run(v, x87(0xd9, 0x2f), &guest_fcw);         /* fldcw */
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(host), "=m"(host_fcw));
    assert_int_equal(host, MXCSR_RESET);
    assert_int_equal(host_fcw, X87_FCW_FNINIT);
    guest_mxcsr = guest_fcw = 0;
    run(v, sse(0, 0, 0xae, 0x1f), &guest_mxcsr); /* stmxcsr */
    run(v, x87(0xd9, 0x3f), &guest_fcw);         /* fnstcw */
    assert_int_equal(guest_mxcsr, 0x7fa0);
    assert_int_equal(guest_fcw, 0x0c7f);
}

static void fpu_loads_any_image_without_fault(void **state)
{
    struct vcpu *v = *state;
    srand(1);
    for (unsigned n = 0; n < 200; n++) {
        for (unsigned i = 0; i < sizeof v->fpu; i++)
            v->fpu.bytes[i] = (u8)rand();
        fpu_make_live(v);
        fpu_put_away(v);
    }
}

static unsigned trap_of(struct vcpu *v, union stub_code code, void *operand)
{
    raised = 0;
    if (setjmp(landing) == 0)
        run(v, code, operand);
    fpu_put_away(v);
    return raised;
}

static void fpu_turns_simd_exceptions_into_xm(void **state)
{
    struct vcpu *v = *state;
    u32 mxcsr = MXCSR_RESET & ~(1u << 9); /* divide by zero unmasked */
    float one[4] = {1, 1, 1, 1}, zero[4] = {0};
    assert_int_equal(fpu_host_init(), 0); /* cmocka has the signal now */
    run(v, sse(0, 0, 0xae, 0x17), &mxcsr);
    run(v, sse(0, 0, 0x10, 0x07), one);                                   /* movups xmm0 */
    assert_int_equal(trap_of(v, sse(0, 0, 0x5e, 0x07), zero), VEC_XM);    /* divps xmm0, [rdi] */
    assert_int_equal(load32(v->fpu.bytes + IMAGE_MXCSR), mxcsr | 1 << 2); /* ZE set */
    assert_memory_equal(v->fpu.bytes + IMAGE_XMM, one, sizeof one);       /* nothing written */
    v->cr4 = 0;
    assert_int_equal(trap_of(v, sse(0, 0, 0x5e, 0x07), zero), VEC_UD);
}

static void fpu_reset_is_the_power_on_state(void **state)
{
    struct vcpu *v = *state;
    u16 fcw = 0, fsw = 1;
    fpu_reset(v);
    run(v, x87(0xd9, 0x3f), &fcw);
    run(v, x87(0xdd, 0x3f), &fsw);
    assert_int_equal(fcw, X87_FCW_RESET);
    assert_int_equal(fsw, 0);
    assert_true(v->fpu_unmasked);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(stub_is_the_instruction_and_a_return),
        TEST(stub_rebuilds_vex_in_its_long_form),
        TEST(stub_brings_general_registers_in_and_out),
        TEST(stub_gives_and_takes_arithmetic_flags),
        TEST(stub_is_shared_by_equal_codes_only),
        TEST(stub_pool_survives_more_codes_than_slots),
        TEST(fpu_keeps_guest_state_apart_from_the_host),
        TEST(fpu_loads_any_image_without_fault),
        TEST(fpu_turns_simd_exceptions_into_xm),
        TEST(fpu_reset_is_the_power_on_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
