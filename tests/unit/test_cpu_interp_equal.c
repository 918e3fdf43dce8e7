/* SPDX-License-Identifier: MIT
 *
 * The interpreter's two ways of executing must agree: one instruction at a time by the general
 * handlers, and blocks of fast handlers linked to each other. Random programs run on two CPUs, one
 * each way, stopped after the same number of instructions again and again; registers, flags and
 * memory are compared each time. Some of the programs write into themselves.
 *
 * ANELLO_SEED and ANELLO_CASES in the environment repeat or extend a run.
 */
#include "cpu_rig.h"

#include "cpu/disasm.h"
#include "cpu/fpu.h"
#include "cpu/interp.h"
#include "cpu/optable.h"

enum {
    CODE_AT = 0x20000,
    CODE_BYTES = 256,
    DATA_AT = 0x30000,
    DATA_BYTES = 0x3000,
    COMPARED_AT = 0x20000, /* code, and data behind it */
    COMPARED_BYTES = DATA_AT + DATA_BYTES - COMPARED_AT,
    HANDLERS = 0xf000,
    MOST_INSNS = 400,
};

static u64 next_random(u64 *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 0x2545f4914f6cdd1d;
}

static unsigned below(u64 *s, unsigned n)
{
    return (unsigned)((next_random(s) >> 32) * n >> 32);
}

/* ---- programs ---- */

/* Registers that hold pointers to data and mostly stay so. */
static bool is_pointer(unsigned reg)
{
    reg &= 7;
    return reg == REG_BX || reg == REG_BP || reg == REG_SP || reg == REG_SI || reg == REG_DI;
}

static bool changes_register(const struct insn *in, bool (*which)(unsigned reg))
{
    for (unsigned k = 0; k < in->operands; k++) {
        const struct operand *o = &in->operand[k];
        bool reg = o->kind == OPD_GPR || o->kind == OPD_GPR8H;
        if (reg && (o->access & OPD_W) && which(o->reg))
            return true;
    }
    return in->op == OP_POPA && which(REG_CX);
}

/* Counts of REP stay small: a program has either REP or what changes rCX. */
static bool is_counter(unsigned reg)
{
    return reg == REG_CX;
}

static bool is_branch(const struct insn *in)
{
    return op_row(in)->cls == CLASS_BRANCH;
}

/* Whether a random program is better with this instruction: it mostly does not fault, and does the
 * same each time. */
static bool wanted(const struct insn *in, u64 *s, bool reps)
{
    if (!op_int_select(in) || in->op == OP_RDRAND || in->op == OP_RDSEED || in->seg >= SEG_FS)
        return false;
    if (in->op == OP_UD0 || in->op == OP_UD1 || in->op == OP_UD2)
        return false;
    bool repeats = op_row(in)->cls == CLASS_STRING && op_ends(in);
    if (reps ? changes_register(in, is_counter) && !repeats : repeats)
        return false;
    if (is_branch(in))
        return in->operand[0].kind == OPD_REL && in->adsize >= 4 && in->opsize >= 4;
    if (changes_register(in, is_pointer) && below(s, 20))
        return false;
    bool memory = in->modrm_at && (in->modrm >> 6) != 3 && in->op != OP_LEA && in->op != OP_NOP;
    if (!memory)
        return true;
    bool aimed = is_pointer(in->base) && in->index == REG_NONE && in->disp_len <= 1;
    return (aimed && in->adsize >= 4) || !below(s, 20);
}

static unsigned draw_insn(u64 *s, unsigned mode, bool reps, u8 *to, unsigned left)
{
    struct insn in;
    u8 bytes[INSN_MAX_BYTES];
    for (;;) {
        unsigned n = 0;
        if (!below(s, 12))
            bytes[n++] = below(s, 2) ? 0x66 : 0xf3;
        if (mode == 64 && below(s, 2))
            bytes[n++] = 0x40 | (u8)below(s, 16);
        if (!below(s, 4))
            bytes[n++] = 0x0f;
        for (; n < sizeof bytes; n++)
            bytes[n] = (u8)next_random(s);
        if (decode(bytes, sizeof bytes, mode, &in) != DECODE_OK || !wanted(&in, s, reps))
            continue;
        if (in.len > left)
            return 0;
        if (is_branch(&in)) /* to somewhere in the program; a signed displacement */
            store_sized(bytes + in.imm_at, (u64)(i64)((int)below(s, 60) - 25), in.imm_len);
        memcpy(to, bytes, in.len);
        return in.len;
    }
}

static void draw_program(u64 *s, unsigned mode, u8 *code)
{
    unsigned at = 0, n;
    bool reps = below(s, 2);
    unsigned bytes = 8 + below(s, CODE_BYTES - 64);
    memset(code, 0xf4, CODE_BYTES); /* HLT */
    while (at < bytes && (n = draw_insn(s, mode, reps, code + at, bytes - at)))
        at += n;
}

/* ---- the two CPUs ---- */

struct pair {
    struct rig *step, *run;
};

/* What lies below the programs is written by some of them: tables, handlers. */
static u8 pristine[CODE_AT];

/* Programs run in ring 3, where nothing shows a difference in time: a branch into the middle of an
 * instruction may find any other. Only 16 MiB are mapped, so that runaway string instructions come
 * to an end. */
static struct rig *open_one(unsigned mode)
{
    struct rig *r = rig_open("max,-rdrand,-rdseed");
    if (mode == 64) {
        rig_long(r);
    } else {
        rig_protected(r);
        for (unsigned i = 0; i < RIG_RAM / MIB(4); i++)
            poke32(r, RIG_TABLES + i * 4, i << 22 | 0x87);
        r->v->cr3 = RIG_TABLES;
        r->v->cr4 = CR4_PSE;
        r->v->cr0 |= CR0_PG;
    }
    r->v->cr4 |= CR4_TSD;
    memset(r->ram + HANDLERS, 0xf4, 256);
    memcpy(pristine, r->ram, CODE_AT);
    r->v->landing = NULL;
    return r;
}

static void load(struct rig *r, u64 seed, unsigned mode, const u8 *code, unsigned code_at)
{
    struct vcpu *v = r->v;
    u64 s = seed;
    bool smc = !below(&s, 4);
    for (unsigned i = 0; i < 16; i++) {
        u64 value = next_random(&s) >> below(&s, 64);
        if (is_pointer(i))
            value = DATA_AT + 0x200 + below(&s, DATA_BYTES - 0x400);
        v->gpr[i] = mode == 64 ? value : (u32)value;
    }
    for (unsigned i = 8; mode != 64 && i < 16; i++)
        v->gpr[i] = 0;
    if (smc)
        v->gpr[below(&s, 2) ? REG_BX : REG_DI] = code_at + below(&s, 100);
    v->gpr[REG_CX] = below(&s, 30);
    v->gpr[REG_SP] &= ~(u64)7;
    physmem_write(r->pm, 0, pristine, CODE_AT);
    tlb_flush(v);
    physmem_touch_range(r->pm, COMPARED_AT, COMPARED_BYTES);
    for (unsigned i = 0; i < COMPARED_BYTES; i += 8)
        store64(r->ram + COMPARED_AT + i, next_random(&s));
    memcpy(r->ram + code_at, code, CODE_BYTES);
    v->rip = code_at;
    v->halted = false;
    v->shadow = 0;
    v->delivering = -1;
    v->external = false;
    fpu_reset(v);
    v->cr2 = 0;
    u64 sp = v->gpr[REG_SP];
    rig_ring(r, 3);
    v->gpr[REG_SP] = sp;
    if (mode == 64) {
        rig_set_segment(r, SEG_CS, SEL_CODE64);
        v->seg[SEG_CS].attr |= SEG_DPL;
        v->seg[SEG_CS].sel |= 3;
    }
    flags_set(v, next_random(&s) & (FLAG_OSZAPC | FLAG_DF));
    vcpu_mode_changed(v);
    v->instructions = 0;
}

static void show(const struct rig *r, const char *title)
{
    const struct vcpu *v = r->v;
    print_error("%s: rip %llx flags %llx after %llu%s\n", title, (unsigned long long)v->rip,
                (unsigned long long)flags_get(v), (unsigned long long)v->instructions,
                v->halted ? " halted" : "");
    for (unsigned i = 0; i < 16; i++)
        print_error("%016llx%c", (unsigned long long)v->gpr[i], i % 4 == 3 ? '\n' : ' ');
}

static bool same(const struct pair *p)
{
    const struct vcpu *a = p->step->v, *b = p->run->v;
    return !memcmp(a->gpr, b->gpr, sizeof a->gpr) && a->rip == b->rip &&
           flags_get(a) == flags_get(b) && a->halted == b->halted && a->cr2 == b->cr2 &&
           !memcmp(p->step->ram + COMPARED_AT, p->run->ram + COMPARED_AT, COMPARED_BYTES);
}

static void report(const struct pair *p, u64 seed, unsigned mode, const u8 *code, unsigned code_at)
{
    char text[128];
    print_error("mode %u, ANELLO_SEED=%llu ANELLO_CASES=1\n", mode, (unsigned long long)seed);
    for (unsigned at = 0, n; at < CODE_BYTES && code[at] != 0xf4; at += n) {
        n = disasm_text(code + at, CODE_BYTES - at, mode, code_at + at, text, sizeof text);
        print_error("  %x  %s\n", code_at + at, text);
        n += !n;
    }
    show(p->step, "one by one");
    show(p->run, "blocks");
    print_error("cr2 %llx and %llx\n", (unsigned long long)p->step->v->cr2,
                (unsigned long long)p->run->v->cr2);
    for (unsigned i = COMPARED_AT; i < COMPARED_AT + COMPARED_BYTES; i++) {
        if (p->step->ram[i] != p->run->ram[i])
            print_error("[%x] %02x and %02x\n", i, p->step->ram[i], p->run->ram[i]);
    }
    fail_msg("the two differ");
}

static void one_program(const struct pair *p, u64 seed, unsigned mode)
{
    u8 code[CODE_BYTES];
    u64 s = seed * 0x9e3779b97f4a7c15 | 1;
    unsigned code_at = CODE_AT + below(&s, 3) * 0x30;
    if (!below(&s, 4))
        code_at = CODE_AT + PAGE_BYTES - below(&s, 100); /* across pages */
    draw_program(&s, mode, code);
    u64 state_seed = next_random(&s);
    load(p->step, state_seed, mode, code, code_at);
    load(p->run, state_seed, mode, code, code_at);
    struct vcpu *a = p->step->v, *b = p->run->v;
    while (!b->halted && b->instructions < MOST_INSNS) {
        if (interp_run_some(b, 1 + below(&s, below(&s, 2) ? 3 : 200)) == VCPU_EXIT_SHUTDOWN)
            return;
        while (!a->halted && (b->halted || a->instructions < b->instructions))
            interp_step(a);
        if (!same(p))
            report(p, seed, mode, code, code_at);
    }
}

static u64 from_environment(const char *name, u64 otherwise)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 0) : otherwise;
}

static void run_mode(unsigned mode)
{
    struct pair p = {.step = open_one(mode), .run = open_one(mode)};
    u64 first = from_environment("ANELLO_SEED", 1), cases = from_environment("ANELLO_CASES", 6000);
    for (u64 i = 0; i < cases; i++)
        one_program(&p, first + i, mode);
    rig_close(p.step);
    rig_close(p.run);
}

static void blocks_and_single_steps_agree_in_32_bit_code(void **state)
{
    (void)state;
    run_mode(32);
}

static void blocks_and_single_steps_agree_in_64_bit_code(void **state)
{
    (void)state;
    run_mode(64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_and_single_steps_agree_in_32_bit_code),
        cmocka_unit_test(blocks_and_single_steps_agree_in_64_bit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
