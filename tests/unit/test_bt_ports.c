/* SPDX-License-Identifier: MIT
 *
 * IN and OUT of hot code at CPL 0, which go to the device by a shorter way than other call-outs:
 * what they change, what the device may do meanwhile, and that other levels still need permission.
 */
#include "bt_bench.h"

#include "cpu/fpu.h"

#define TIMES 16

enum { PORT = 0x55, OTHER_PORT = 0x1234 };
enum { ALL_FLAGS = 0xd701 }; /* as LAHF and SETO give them */

static void run_hot(struct rig *r, const u8 *code, size_t n)
{
    bt_bench_put(r, BENCH_CODE, code, n);
    bt_bench_run(r, BENCH_CODE);
    bt_bench_run(r, BENCH_CODE);
    bt_bench_translation(r, BENCH_CODE);
}

/* ---- what they change ---- */

static const struct form {
    u8 code[4]; /* ends with HLT, or what would be behind it */
    u16 port;
    u32 eax; /* afterwards */
    u32 out; /* what the device gets; 0: it is read */
} forms[] = {
    {{0xe4, PORT, 0xf4}, PORT, 0x112233d4, 0},
    {{0xe5, PORT, 0xf4}, PORT, 0xa1b2c3d4, 0},
    {{0x66, 0xe5, PORT, 0xf4}, PORT, 0x1122c3d4, 0},
    {{0xec, 0xf4}, OTHER_PORT, 0x112233d4, 0},
    {{0xed, 0xf4}, OTHER_PORT, 0xa1b2c3d4, 0},
    {{0x66, 0xed, 0xf4}, OTHER_PORT, 0x1122c3d4, 0},
    {{0xe6, PORT, 0xf4}, PORT, 0x11223344, 0x44},
    {{0xe7, PORT, 0xf4}, PORT, 0x11223344, 0x11223344},
    {{0x66, 0xe7, PORT, 0xf4}, PORT, 0x11223344, 0x3344},
    {{0xee, 0xf4}, OTHER_PORT, 0x11223344, 0x44},
    {{0xef, 0xf4}, OTHER_PORT, 0x11223344, 0x11223344},
    {{0x66, 0xef, 0xf4}, OTHER_PORT, 0x11223344, 0x3344},
};

static void set_registers(struct vcpu *v)
{
    for (unsigned g = 0; g < 8; g++)
        v->gpr[g] = 0x50607080 + g;
    v->gpr[REG_AX] = 0x11223344;
    v->gpr[REG_DX] = 0xffff0000 | OTHER_PORT;
    v->oszapc = ALL_FLAGS;
}

static void look_at_registers(const struct vcpu *v, u32 eax)
{
    assert_int_equal(v->gpr[REG_AX], eax);
    assert_int_equal(v->gpr[REG_DX], 0xffff0000 | OTHER_PORT);
    for (unsigned g = 0; g < 8; g++) {
        if (g != REG_AX && g != REG_DX)
            assert_int_equal(v->gpr[g], 0x50607080 + g);
    }
    assert_int_equal(v->oszapc, ALL_FLAGS);
}

static void try_form(struct rig *r, const struct form *f)
{
    run_hot(r, f->code, sizeof f->code);
    for (unsigned i = 0; i < TIMES; i++) {
        set_registers(r->v);
        r->last_port = 0;
        r->last_out = 0;
        bt_bench_run(r, BENCH_CODE);
        look_at_registers(r->v, f->eax);
        assert_int_equal(r->last_port, f->port);
        assert_int_equal(r->last_out, f->out);
    }
}

static void a_port_changes_eax_as_wide_as_it_is_and_nothing_else(void **state)
{
    (void)state;
    struct rig *r = bt_bench_open(false);
    r->port_value = 0xa1b2c3d4;
    for (unsigned i = 0; i < ARRAY_LEN(forms); i++)
        try_form(r, &forms[i]);
    bt_bench_close(r, false);
}

/* ---- what the device may do ---- */

#define EVERY 4 /* so many times does it nothing in between */

/* MOV ECX or MOV EDX with the number of the write. */
static void write_next_instruction(void *opaque, u16 port, u32 value, unsigned size)
{
    struct rig *r = opaque;
    const u8 code[] = {r->port_writes / EVERY & 1 ? 0xba : 0xb9, (u8)r->port_writes, 0, 0, 0};
    rig_port_write(r, port, value, size);
    if (r->port_writes % EVERY == 0)
        physmem_write(r->pm, BENCH_CODE + 2, code, sizeof code);
}

static void what_the_device_writes_behind_the_out_is_executed(void **state)
{
    (void)state;
    static const u8 code[] = {0xe6, PORT,          /* out PORT, al */
                              0xb9, 0,    0, 0, 0, /* mov ecx, 0 */
                              0xf4};               /* hlt */
    struct rig *r = bt_bench_open(false);
    r->v->hooks.port_write = write_next_instruction;
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    for (unsigned i = 1; i < TIMES * EVERY; i++) {
        unsigned last = i / EVERY * EVERY, wrote = last ? last - 1 : 0;
        r->v->gpr[REG_CX] = r->v->gpr[REG_DX] = 0xff;
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(r->v->gpr[wrote / EVERY & 1 ? REG_DX : REG_CX], wrote);
        assert_int_equal(r->v->gpr[wrote / EVERY & 1 ? REG_CX : REG_DX], 0xff);
    }
    assert_true(bt_stats(r->v)->killed >= TIMES / 2);
    bt_bench_close(r, false);
}

/* Like the registers of a chipset that exchange ROM and RAM. */
struct chipset {
    struct rig *r;
    struct phys_region *over; /* what covers the code, or NULL */
};

static void exchange_code(void *opaque, u16 port, u32 value, unsigned size)
{
    struct chipset *c = opaque;
    struct physmem *pm = c->r->pm;
    rig_port_write(c->r, port, value, size);
    if (value && !c->over) {
        u64 offset = physmem_lookup(pm, BENCH_DATA).offset;
        c->over = physmem_map_ram(pm, BENCH_CODE, PAGE_BYTES, offset, 1, "other");
    } else if (!value && c->over) {
        physmem_unmap(pm, c->over);
        c->over = NULL;
    }
}

static void what_the_device_maps_behind_the_out_is_executed(void **state)
{
    (void)state;
    static const u8 code[] = {0xe6, PORT, 0xb1, 1, 0xf4}, /* out PORT, al; mov cl, 1; hlt */
        other[] = {0xe6, PORT, 0xb1, 2, 0xf4};
    struct rig *r = bt_bench_open(false);
    struct chipset chipset = {.r = r};
    r->v->hooks.port_write = exchange_code;
    r->v->hooks.opaque = &chipset;
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    bt_bench_put(r, BENCH_DATA, other, sizeof other);
    for (unsigned i = 0; i < TIMES * 4; i++) {
        r->v->gpr[REG_AX] = i / 4 & 1;
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(r->v->gpr[REG_CX] & 0xff, 1 + (i / 4 & 1));
    }
    bt_bench_close(r, false);
}

static void ask_for_stop(void *opaque, u16 port, u32 value, unsigned size)
{
    struct rig *r = opaque;
    rig_port_write(r, port, value, size);
    if (value)
        vcpu_event_set(r->v, EVENT_STOP);
}

static void an_event_of_the_device_comes_before_the_next_instruction(void **state)
{
    (void)state;
    static const u8 code[] = {0x50, 0x50, 0x53, /* push eax; push eax; push ebx */
                              0xe6, PORT,       /* out PORT, al */
                              0x59, 0x59, 0x58, /* pop ecx; pop ecx; pop eax */
                              0xf4};            /* hlt */
    struct rig *r = bt_bench_open(false);
    struct vcpu *v = r->v;
    v->hooks.port_write = ask_for_stop;
    v->gpr[REG_AX] = 0;
    run_hot(r, code, sizeof code);
    for (unsigned i = 0; i < TIMES; i++) {
        u64 sp = v->gpr[REG_SP];
        v->gpr[REG_AX] = 1;
        v->gpr[REG_CX] = 0xff;
        v->rip = BENCH_CODE;
        v->halted = false;
        assert_int_equal(bt_run(v), VCPU_EXIT_STOP);
        assert_int_equal(v->rip, BENCH_CODE + 5);
        assert_int_equal(v->gpr[REG_SP], sp - 12);
        assert_int_equal(v->gpr[REG_CX], 0xff);
        vcpu_event_clear(v, EVENT_STOP);
        bt_bench_run(r, (u32)v->rip);
        assert_int_equal(v->gpr[REG_CX], 1);
    }
    bt_bench_close(r, false);
}

/* As C code may that was not told to keep them. */
static void spoil_vectors(void *opaque, u16 port, u32 value, unsigned size)
{
    rig_port_write(opaque, port, value, size);
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0" : : : "xmm0");
}

static void vector_registers_survive_the_device(void **state)
{
    (void)state;
    static const u8 code[] = {0x66, 0x0f, 0x6e, 0xc3, /* movd xmm0, ebx */
                              0xe6, PORT,             /* out PORT, al */
                              0x66, 0x0f, 0xfe, 0xc0, /* paddd xmm0, xmm0 */
                              0x66, 0x0f, 0x7e, 0xc1, /* movd ecx, xmm0 */
                              0xf4};                  /* hlt */
    struct rig *r = bt_bench_open(false);
    struct vcpu *v = r->v;
    v->cr4 |= CR4_OSFXSR;
    vcpu_mode_changed(v);
    v->hooks.port_write = spoil_vectors;
    run_hot(r, (const u8[]){0xdb, 0xe3, 0xf4}, 3); /* fninit, which masks exceptions; hlt */
    run_hot(r, code, sizeof code);
    for (u32 i = 0; i < TIMES; i++) {
        v->gpr[REG_BX] = i;
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(v->gpr[REG_CX], 2 * i);
    }
    bt_bench_close(r, false);
}

/* ---- permission ---- */

enum { GP_HANDLER = 0xf000 + VEC_GP };

/* The code at CPL 3 with this IOPL: whether it gets to its second instruction. */
static bool allowed(struct rig *r, unsigned iopl)
{
    struct vcpu *v = r->v;
    unsigned reads = r->port_reads;
    rig_ring(r, 3);
    v->rflags = FLAG_ONE | iopl << FLAG_IOPL_SHIFT;
    v->gpr[REG_CX] = 0;
    bt_bench_run(r, BENCH_CODE);
    assert_int_equal(v->rip, GP_HANDLER + 1);
    assert_int_equal(r->port_reads - reads, v->gpr[REG_CX]);
    return v->gpr[REG_CX];
}

static void other_levels_need_permission_for_what_level_0_has_made_hot(void **state)
{
    (void)state;
    static const u8 code[] = {0xe4, PORT, 0x41, 0xf4}; /* in al, PORT; inc ecx; hlt */
    struct rig *r = bt_bench_open(false);
    bt_bench_put(r, GP_HANDLER, (const u8[]){0xf4}, 1);
    run_hot(r, code, sizeof code);
    for (unsigned i = 0; i < TIMES; i++) {
        assert_false(allowed(r, 0));
        assert_false(allowed(r, 2));
    }
    for (unsigned i = 0; i < TIMES; i++)
        assert_true(allowed(r, 3));
    for (unsigned i = 0; i < TIMES; i++)
        assert_false(allowed(r, 2));
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_changes_eax_as_wide_as_it_is_and_nothing_else),
        cmocka_unit_test(what_the_device_writes_behind_the_out_is_executed),
        cmocka_unit_test(what_the_device_maps_behind_the_out_is_executed),
        cmocka_unit_test(an_event_of_the_device_comes_before_the_next_instruction),
        cmocka_unit_test(vector_registers_survive_the_device),
        cmocka_unit_test(other_levels_need_permission_for_what_level_0_has_made_hot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
