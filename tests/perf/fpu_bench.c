/* SPDX-License-Identifier: MIT
 *
 * What an x87, SSE or AVX instruction costs in the interpreter: loops of one instruction, less the
 * loop itself. Prints nanoseconds an instruction; the aim is 15.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/decode.h"
#include "cpu/feature.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/interp.h"
#include "cpu/optable.h"
#include "guest_exec.h"

#define REPEATED   16
#define ITERATIONS 100000
#define STATE_AT   1024

/* esi points to zeros aligned to 64 bytes, with a control word at 64; edi to an FXSAVE area. */
static const struct bench {
    const char *name;
    u8 code[9];
    u8 len;
} benches[] = {
    {"nop", {0x90}, 1},
    {"mov eax, [esi]", {0x8b, 0x06}, 2},
    {"fadd st0, st1", {0xd8, 0xc1}, 2},
    {"fadd qword [esi]", {0xdc, 0x06}, 2},
    {"fst qword [esi]", {0xdd, 0x16}, 2},
    {"fldcw [esi + 64]", {0xd9, 0x6e, 0x40}, 3},
    {"fwait", {0x9b}, 1},
    {"paddd mm0, mm1", {0x0f, 0xfe, 0xc1}, 3},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, 3},
    {"mulsd xmm0, [esi]", {0xf2, 0x0f, 0x59, 0x06}, 4},
    {"movaps xmm0, [esi]", {0x0f, 0x28, 0x06}, 3},
    {"movaps [esi], xmm0", {0x0f, 0x29, 0x06}, 3},
    {"movdqu xmm0, [esi+4]", {0xf3, 0x0f, 0x6f, 0x46, 0x04}, 5},
    {"movd eax, xmm0", {0x66, 0x0f, 0x7e, 0xc0}, 4},
    {"comisd xmm0, xmm1", {0x66, 0x0f, 0x2f, 0xc1}, 4},
    {"vaddps ymm0, ymm1, [esi]", {0xc5, 0xf4, 0x58, 0x06}, 4},
    {"vmaskmovps ymm0, ymm1, [esi]", {0xc4, 0xe2, 0x75, 0x2c, 0x06}, 5},
    {"fxsave [edi]", {0x0f, 0xae, 0x07}, 3},
    {"fxrstor [edi]", {0x0f, 0xae, 0x0f}, 3},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* 1: instruction, repeated; dec ecx; jnz 1 */
static void put_loop(struct guest_exec *g, const struct bench *b, unsigned repeat)
{
    u8 code[REPEATED * sizeof b->code + 8];
    unsigned n = 0;
    for (unsigned i = 0; i < repeat; i++) {
        memcpy(code + n, b->code, b->len);
        n += b->len;
    }
    code[n++] = 0x49;
    code[n++] = 0x0f;
    code[n++] = 0x85;
    store32(code + n, 0u - (n + 4));
    guest_exec_code(g, 0, code, n + 4);
}

/* Nanoseconds for ITERATIONS of the loop: the best of five. */
static double time_loop(struct guest_exec *g, const struct bench *b, unsigned repeat)
{
    struct vcpu *v = guest_exec_cpu(g);
    double best = 1e18;
    put_loop(g, b, repeat);
    for (unsigned n = 0; n < 5; n++) {
        v->gpr[REG_CX] = ITERATIONS;
        v->gpr[REG_SI] = CASE_DATA;
        v->gpr[REG_DI] = CASE_DATA + STATE_AT;
        v->rip = CASE_CODE;
        double start = now_ns();
        interp_run_some(v, (u64)ITERATIONS * (repeat + 2));
        double took = now_ns() - start;
        if (v->gpr[REG_CX] != 0) {
            printf("%s: stopped at %llx, vector of the last fault %u\n", b->name,
                   (unsigned long long)v->rip, v->fault.vector);
            exit(1);
        }
        if (took < best)
            best = took;
    }
    return best;
}

static void reset(struct guest_exec *g)
{
    struct vcpu *v = guest_exec_cpu(g);
    struct host_state s = {.rip = CASE_CODE};
    u8 *data = guest_exec_data(g);
    store16(s.xsave + IMAGE_FCW, X87_FCW_FNINIT);
    store64(s.xsave + IMAGE_HEADER, XSTATE_X87 | XSTATE_SSE);
    s.xsave[IMAGE_FTW] = 0xff;
    store32(s.xsave + IMAGE_MXCSR, MXCSR_RESET);
    memset(data, 0, CASE_DATA_BYTES);
    store16(data + 64, X87_FCW_FNINIT);
    memcpy(data + STATE_AT, s.xsave, IMAGE_LEGACY);
    guest_exec_enter(g, &s);
    flags_set(v, FLAG_IF);
    vcpu_mode_changed(v);
}

int main(void)
{
    struct guest_exec *g = guest_exec_create(32, false);
    if (!g)
        return 1;
    for (unsigned i = 0; i < ARRAY_LEN(benches); i++) {
        struct insn in;
        const struct bench *b = &benches[i];
        if (decode(b->code, sizeof b->code, 32, &in) != DECODE_OK || in.len != b->len)
            return 1;
        if (!feature_shown(guest_exec_cpu(g)->feature, op_row(&in)->feature))
            continue;
        reset(g);
        double ns = time_loop(g, b, REPEATED) - time_loop(g, b, 0);
        printf("%-30s %6.1f ns\n", b->name, ns / ITERATIONS / REPEATED);
    }
    guest_exec_destroy(g);
    return 0;
}
