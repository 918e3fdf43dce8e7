/* SPDX-License-Identifier: MIT
 *
 * The interpreter's run loop and code cache: where faults land, what a write to code does, when a
 * run ends. Instruction semantics are compared with the host elsewhere (tests/insn).
 */
#include "cpu_rig.h"

#include <pthread.h>

#include "cpu/code_cache.h"
#include "cpu/interp.h"

enum {
    CODE = 0x10000, /* rig_protected()'s rip */
    DATA = 0x30000,
    HANDLERS = 0xf000,
    PAGE = 0x1000,
    PTE_OPEN = 7,
};

#define HLT 0xf4

/* ---- the bench ---- */

static struct rig *open_flat(void)
{
    struct rig *r = rig_open("max");
    rig_protected(r);
    memset(r->ram + HANDLERS, HLT, 256);
    r->v->landing = NULL;
    r->v->gpr[REG_SI] = r->v->gpr[REG_DI] = r->v->gpr[REG_BX] = DATA;
    return r;
}

/* 4 KiB pages, the first 4 MiB one to one. */
static struct rig *open_paged(void)
{
    struct rig *r = open_flat();
    poke32(r, RIG_TABLES, (RIG_TABLES + PAGE) | PTE_OPEN);
    for (unsigned i = 0; i < 1024; i++)
        poke32(r, RIG_TABLES + PAGE + i * 4, i * PAGE | PTE_OPEN);
    r->v->cr3 = RIG_TABLES;
    r->v->cr0 |= CR0_PG | CR0_WP;
    vcpu_mode_changed(r->v);
    return r;
}

static void map(struct rig *r, u32 la, u32 entry)
{
    poke32(r, RIG_TABLES + PAGE + la / PAGE * 4, entry);
    tlb_flush_page(r->v, la);
}

static void put(struct rig *r, u32 at, const void *bytes, size_t n)
{
    physmem_write(r->pm, at, bytes, n);
}
#define PUT(r, at, ...) put(r, at, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* Runs from `at` to a HLT. */
static void run_from(struct rig *r, u32 at)
{
    r->v->rip = at;
    r->v->halted = false;
    assert_int_equal(interp_run(r->v), VCPU_EXIT_HALT);
}

static u32 eax(const struct rig *r)
{
    return (u32)r->v->gpr[REG_AX];
}

/* The kernel was entered for that vector (all handlers are HLTs), from eip. */
static void assert_entered(struct rig *r, unsigned vector, bool has_error, u32 eip)
{
    assert_int_equal(r->v->rip, HANDLERS + vector + 1);
    assert_int_equal(peek32(r, r->v->gpr[REG_SP] + (has_error ? 4 : 0)), eip);
}

/* ---- runs ---- */

static void run_some_executes_exactly_so_many_instructions(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0x40, 0x40, 0x40, 0xeb, 0xfb); /* inc eax ×3; jmp $-3 */
    for (u64 n = 1, total = 0; n < 300; n += 7) {
        assert_int_equal(interp_run_some(r->v, n), VCPU_EXIT_STOP);
        total += n;
        assert_int_equal(r->v->instructions, total);
        assert_int_equal(eax(r), total - total / 4);
    }
    rig_close(r);
}

static void *run_in_small_stack(void *arg)
{
    struct rig *r = arg;
    vcpu_bind_thread(r->v);
    interp_run_some(r->v, 3000000);
    return NULL;
}

static void handlers_do_not_use_up_the_stack(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    PUT(r, CODE, 0x40, 0xe8, 2, 0, 0, 0, 0xeb, 0xf8, 0xc3); /* inc eax; call +2; jmp; ret */
    assert_int_equal(pthread_create(&thread, &attr, run_in_small_stack, r), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    assert_int_equal(r->v->instructions, 3000000);
    rig_close(r);
}

/* ThreadSanitizer is not to compare it with the guest's writes: they are as racy as the guest is.
 */
__attribute__((no_sanitize("thread"))) static u32 peek(const u8 *ram)
{
    return *(const volatile u32 *)(const void *)ram;
}

static void *stop_soon(void *arg)
{
    struct rig *r = arg;
    while (!peek(r->ram + DATA))
        ;
    vcpu_event_set(r->v, EVENT_STOP);
    return NULL;
}

static void stop_event_ends_a_linked_loop(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    pthread_t thread;
    PUT(r, CODE, 0xff, 0x03, 0xeb, 0xfc); /* inc dword [ebx]; jmp */
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, r), 0);
    assert_int_equal(interp_run(r->v), VCPU_EXIT_STOP);
    pthread_join(thread, NULL);
    assert_false(vcpu_events(r->v) & EVENT_STOP);
    rig_close(r);
}

static void step_is_one_instruction_or_one_fault(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0x40, 0x90, 0x0f, 0x0b); /* inc eax; nop; ud2 */
    interp_step(r->v);
    assert_int_equal(r->v->rip, CODE + 1);
    interp_step(r->v);
    assert_int_equal(r->v->rip, CODE + 2);
    interp_step(r->v);
    assert_int_equal(r->v->rip, HANDLERS + VEC_UD);
    rig_close(r);
}

/* ---- faults ---- */

static void fault_in_the_middle_of_a_block_is_precise(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    /* inc eax; inc ecx; div dl (0); inc eax */
    PUT(r, CODE, 0x40, 0x41, 0xf6, 0xf2, 0x40, HLT);
    r->v->gpr[REG_AX] = 7;
    r->v->gpr[REG_DX] = 0;
    run_from(r, CODE);
    assert_entered(r, VEC_DE, false, CODE + 2);
    assert_int_equal(eax(r), 8);
    assert_int_equal(r->v->instructions, 3); /* the two and the handler's HLT */
    rig_close(r);
}

static void fetch_fault_names_the_instruction_and_the_second_page(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    u32 at = CODE + PAGE - 3;
    PUT(r, at, 0x40, 0xb8, 1, 2, 3, 4); /* inc eax; mov eax, imm32: ends in the next page */
    map(r, CODE + PAGE, 0);
    r->v->gpr[REG_AX] = 0;
    run_from(r, at);
    assert_entered(r, VEC_PF, true, at + 1);
    assert_int_equal(r->v->cr2, CODE + PAGE);
    assert_int_equal(eax(r), 1);
    rig_close(r);
}

static void straddling_instruction_follows_the_second_page(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    u32 at = CODE + PAGE - 2;
    PUT(r, at, 0xb8, 0x11); /* mov eax, imm32 */
    PUT(r, CODE + PAGE, 0x22, 0x33, 0x44, HLT);
    PUT(r, CODE + 5 * PAGE, 0x66, 0x77, 0x88, HLT);
    run_from(r, at);
    assert_int_equal(eax(r), 0x44332211);
    map(r, CODE + PAGE, (CODE + 5 * PAGE) | PTE_OPEN);
    run_from(r, at);
    assert_int_equal(eax(r), 0x88776611);
    PUT(r, CODE + 5 * PAGE, 0x67); /* and a write to the second page is seen */
    run_from(r, at);
    assert_int_equal(eax(r), 0x88776711);
    rig_close(r);
}

static void fetch_beyond_the_segment_is_a_protection_fault(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    r->v->seg[SEG_CS].limit = CODE + 2;
    vcpu_mode_changed(r->v);
    PUT(r, CODE, 0x40, 0xb8, 1, 2, 3, 4); /* the mov reaches beyond CODE + 2 */
    run_from(r, CODE);
    assert_entered(r, VEC_GP, true, CODE + 1);
    rig_close(r);
}

static void branch_beyond_the_segment_faults_at_the_branch(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    r->v->seg[SEG_CS].limit = CODE + 0xff;
    vcpu_mode_changed(r->v);
    PUT(r, CODE, 0x40, 0xe8, 0, 2, 0, 0); /* inc eax; call +200h */
    run_from(r, CODE);
    assert_entered(r, VEC_GP, true, CODE + 1);
    assert_int_equal(r->v->gpr[REG_SP], RIG_STACK0 - 16); /* the frame, no return address */
    rig_close(r);
}

static void read_modify_write_across_a_bad_page_changes_nothing(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    poke32(r, DATA + PAGE - 2, 0xffffffff);
    map(r, DATA + PAGE, (DATA + PAGE) | 1); /* read only */
    r->v->gpr[REG_BX] = DATA + PAGE - 2;
    flags_set(r->v, FLAG_CF);
    PUT(r, CODE, 0x83, 0x03, 1, HLT); /* add dword [ebx], 1 */
    run_from(r, CODE);
    assert_entered(r, VEC_PF, true, CODE);
    assert_int_equal(r->v->cr2, DATA + PAGE);
    assert_int_equal(peek32(r, DATA + PAGE - 2), 0xffffffff);
    assert_int_equal(peek32(r, r->v->gpr[REG_SP] + 12) & FLAG_OSZAPC, FLAG_CF);
    rig_close(r);
}

static void pusha_at_a_page_end_restarts(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    map(r, DATA, 0);
    r->v->gpr[REG_SP] = DATA + PAGE + 8; /* two of the eight fit */
    PUT(r, CODE, 0x60, HLT);
    r->v->rip = CODE;
    poke32(r, RIG_IDT + VEC_PF * 8, 0); /* no handler: the stack is not there either */
    poke32(r, RIG_IDT + VEC_PF * 8 + 4, 0);
    poke32(r, RIG_IDT + VEC_DF * 8, 0);
    poke32(r, RIG_IDT + VEC_DF * 8 + 4, 0);
    assert_int_equal(interp_run(r->v), VCPU_EXIT_SHUTDOWN);
    assert_int_equal(r->v->rip, CODE);
    assert_int_equal(r->v->gpr[REG_SP], DATA + PAGE + 8);
    map(r, DATA, DATA | PTE_OPEN);
    r->v->delivering = -1;
    run_from(r, CODE);
    assert_int_equal(r->v->gpr[REG_SP], DATA + PAGE + 8 - 32);
    assert_int_equal(peek32(r, DATA + PAGE + 8 - 20), DATA + PAGE + 8); /* the old ESP */
    rig_close(r);
}

static void repeated_move_stops_at_a_bad_page_with_registers_right(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    for (unsigned i = 0; i < 100; i++)
        r->ram[DATA + i] = (u8)i;
    map(r, DATA + 8 * PAGE, 0);
    r->v->gpr[REG_SI] = DATA;
    r->v->gpr[REG_DI] = DATA + 8 * PAGE - 40;
    r->v->gpr[REG_CX] = 100;
    PUT(r, CODE, 0xf3, 0xa4, HLT);
    run_from(r, CODE);
    assert_entered(r, VEC_PF, true, CODE);
    assert_int_equal(r->v->cr2, DATA + 8 * PAGE);
    assert_int_equal(r->v->gpr[REG_CX], 60);
    assert_int_equal(r->v->gpr[REG_SI], DATA + 40);
    assert_int_equal(r->v->gpr[REG_DI], DATA + 8 * PAGE);
    map(r, DATA + 8 * PAGE, (DATA + 8 * PAGE) | PTE_OPEN);
    run_from(r, CODE);
    assert_int_equal(r->v->gpr[REG_CX], 0);
    assert_memory_equal(r->ram + DATA, r->ram + DATA + 8 * PAGE - 40, 100);
    rig_close(r);
}

static void interrupt_is_taken_between_two_runs_of_a_repeated_move(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    r->vector = 0x40;
    r->v->gpr[REG_SI] = DATA;
    r->v->gpr[REG_DI] = DATA + 16 * PAGE;
    r->v->gpr[REG_CX] = 8 * PAGE;
    flags_set(r->v, FLAG_IF);
    PUT(r, CODE, 0xf3, 0xa4, HLT);
    r->v->rip = CODE;
    /* Taken before the first run, so the handler would return into the move. */
    vcpu_event_set(r->v, EVENT_INTR);
    assert_int_equal(interp_run(r->v), VCPU_EXIT_HALT);
    assert_entered(r, 0x40, false, CODE);
    /* With interrupts off the request stays, and the move makes progress nevertheless. */
    flags_set(r->v, 0);
    r->v->gpr[REG_SP] = RIG_STACK0;
    vcpu_event_set(r->v, EVENT_INTR);
    run_from(r, CODE);
    assert_int_equal(r->v->rip, CODE + 3);
    assert_int_equal(r->v->gpr[REG_CX], 0);
    rig_close(r);
}

static void trap_flag_stops_after_each_instruction_and_each_iteration(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0x40, 0xf3, 0xaa, HLT); /* inc eax; rep stosb */
    r->v->gpr[REG_CX] = 3;
    flags_set(r->v, FLAG_TF);
    vcpu_mode_changed(r->v);
    run_from(r, CODE);
    assert_entered(r, VEC_DB, false, CODE + 1);
    assert_true(r->v->dr[6] & DR6_BS);
    flags_set(r->v, FLAG_TF);
    vcpu_mode_changed(r->v);
    run_from(r, CODE + 1);
    assert_entered(r, VEC_DB, false, CODE + 1);
    assert_int_equal(r->v->gpr[REG_CX], 2);
    rig_close(r);
}

/* ---- code where there is no memory ---- */

static u64 read_code(void *opaque, u64 pa, unsigned size)
{
    static const u8 code[16] = {0x40, 0xb9, 5, 0, 0, 0, HLT}; /* inc eax; mov ecx, 5 */
    u64 value = 0;
    (void)opaque;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)code[(pa + i) & 15] << i * 8;
    return value;
}

static void code_in_device_memory_is_executed(void **state)
{
    (void)state;
    static const struct mmio_ops ops = {.name = "code"};
    struct rig *r = open_flat();
    physmem_map_mmio(r->pm, 0x2000000, PAGE, &ops, NULL, 0);
    r->v->hooks.mmio_read = read_code;
    r->v->gpr[REG_AX] = 0;
    run_from(r, 0x2000000);
    assert_int_equal(eax(r), 1);
    assert_int_equal(r->v->gpr[REG_CX], 5);
    assert_int_equal(r->v->rip, 0x2000007);
    rig_close(r);
}

/* ---- writes to code ---- */

static void store_to_the_next_instruction_is_seen_at_once(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    /* mov byte [CODE + 8], 55h; mov al, 11h; hlt */
    PUT(r, CODE, 0xc6, 0x05, CODE & 0xff, CODE >> 8 & 0xff, CODE >> 16, 0, 0x55, 0xb0, 0x11, HLT);
    r->ram[CODE + 2] = 8;
    run_from(r, CODE);
    assert_int_equal(eax(r) & 0xff, 0x55);
    rig_close(r);
}

static void store_to_a_linked_block_is_seen(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    /* 0: call 100h; mov [ebx], dl; dec ecx; jnz 0; hlt.  100h: add eax, 1; ret */
    PUT(r, CODE, 0xe8, 0xfb, 0, 0, 0, 0x88, 0x13, 0x49, 0x75, 0xf6, HLT);
    PUT(r, CODE + 0x100, 0x83, 0xc0, 1, 0xc3);
    r->v->gpr[REG_AX] = 0;
    r->v->gpr[REG_BX] = CODE + 0x102; /* the 1 */
    r->v->gpr[REG_DX] = 10;
    r->v->gpr[REG_CX] = 4;
    run_from(r, CODE);
    assert_int_equal(eax(r), 1 + 3 * 10);
    rig_close(r);
}

static void store_across_a_page_boundary_kills_both_sides(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    u32 at = CODE + PAGE - 2;
    PUT(r, at, 0xb0, 1, 0xb4, 2, HLT); /* mov al, 1 | mov ah, 2 */
    run_from(r, at);
    assert_int_equal(eax(r) & 0xffff, 0x0201);
    PUT(r, CODE, 0xc7, 0x03, 0xb0, 7, 0xb4, 8, HLT); /* mov dword [ebx], ... */
    r->v->gpr[REG_BX] = at;
    run_from(r, CODE);
    run_from(r, at);
    assert_int_equal(eax(r) & 0xffff, 0x0807);
    rig_close(r);
}

static void store_through_another_mapping_is_seen(void **state)
{
    (void)state;
    struct rig *r = open_paged();
    u32 alias = 0x200000;
    map(r, alias, CODE | PTE_OPEN);
    PUT(r, CODE, 0xc6, 0x03, 0x66, 0xb0, 0x11, HLT); /* mov byte [ebx], 66h; mov al, 11h */
    r->v->gpr[REG_BX] = alias + 4;
    run_from(r, CODE);
    assert_int_equal(eax(r) & 0xff, 0x66);
    rig_close(r);
}

static void dma_into_code_is_seen(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0xb0, 1, HLT);
    run_from(r, CODE);
    PUT(r, CODE, 0xb0, 2, HLT); /* physmem_write(), as devices do */
    run_from(r, CODE);
    assert_int_equal(eax(r) & 0xff, 2);
    rig_close(r);
}

static void *write_code(void *arg)
{
    struct rig *r = arg;
    PUT(r, CODE + 1, 2);
    return NULL;
}

static void another_threads_write_to_code_is_seen_at_the_next_boundary(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    pthread_t thread;
    PUT(r, CODE, 0xb0, 1, HLT);
    run_from(r, CODE);
    assert_int_equal(pthread_create(&thread, NULL, write_code, r), 0);
    pthread_join(thread, NULL);
    run_from(r, CODE);
    assert_int_equal(eax(r) & 0xff, 2);
    rig_close(r);
}

static void remap(void *opaque, u64 pa, u64 value, unsigned size)
{
    struct rig *r = opaque;
    (void)pa;
    (void)value;
    (void)size;
    physmem_map_ram(r->pm, CODE, PAGE, DATA, 1, "shadow");
}

static void code_that_maps_other_memory_over_itself_goes_on_there(void **state)
{
    (void)state;
    static const struct mmio_ops ops = {.name = "switch"};
    struct rig *r = open_flat();
    physmem_map_mmio(r->pm, 0x2000000, PAGE, &ops, NULL, 0);
    r->v->hooks.mmio_write = remap;
    /* 0: jmp 10h.  10h: mov [ebx], eax; jmp 20h.  20h: mov al, 1; hlt */
    PUT(r, CODE, 0xeb, 0x0e);
    PUT(r, CODE + 0x10, 0x89, 0x03, 0xeb, 0x0c);
    PUT(r, CODE + 0x20, 0xb0, 1, HLT);
    PUT(r, DATA + 0x20, 0xb0, 2, HLT);
    r->v->gpr[REG_BX] = DATA + 0x100;
    run_from(r, CODE); /* links the blocks */
    assert_int_equal(eax(r) & 0xff, 1);
    r->v->gpr[REG_BX] = 0x2000000;
    run_from(r, CODE);
    assert_int_equal(eax(r) & 0xff, 2);
    rig_close(r);
}

static void data_beside_code_does_not_kill_it(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0xff, 0x03, 0xe2, 0xfc, HLT); /* inc dword [ebx]; loop */
    r->v->gpr[REG_CX] = 100;
    r->v->gpr[REG_BX] = CODE + 8; /* the very same 64 bytes */
    run_from(r, CODE);
    assert_int_equal(peek32(r, CODE + 8), 100);
    assert_int_equal(r->v->interp->blocks_killed, 0);
    rig_close(r);
}

static void page_without_blocks_is_no_code_page_any_more(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0x40, 0xeb, 0, HLT);
    run_from(r, CODE);
    assert_true(*physmem_marks(r->pm, CODE) & PAGE_CODE);
    u8 zeros[64] = {0};
    put(r, CODE, zeros, sizeof zeros);
    assert_int_equal(*physmem_marks(r->pm, CODE), 0);
    rig_close(r);
}

static void flush_asked_for_by_a_device_is_done_between_blocks(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0x40, 0x40, HLT);
    run_from(r, CODE);
    u64 flushes = r->v->interp->flushes;
    interp_flush(r->v);
    run_from(r, CODE);
    assert_int_equal(r->v->interp->flushes, flushes + 1);
    assert_int_equal(eax(r), 4);
    rig_close(r);
}

/* ---- modes ---- */

static void same_bytes_in_another_mode_are_another_block(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0xb8, 1, 2, HLT, 4, HLT);
    run_from(r, CODE);
    assert_int_equal(eax(r), 0x04f40201);
    r->v->gpr[REG_AX] = 0;
    r->v->seg[SEG_CS].attr &= (u16)~SEG_DB;
    vcpu_mode_changed(r->v);
    run_from(r, CODE);
    assert_int_equal(eax(r), 0x0201);
    assert_int_equal(r->v->rip, CODE + 4);
    rig_close(r);
}

/* As the 386 does, whatever this host makes of it; test386's reference depends on it. */
static void overflow_of_a_rotation_by_many_comes_from_the_result(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0xb0, 1, /* MOV AL, 1 */
        0xc0, 0xc0, 7,    /* ROL AL, 7: 80h, no carry */
        0x0f, 0x90, 0xc3, /* SETO BL */
        0xc0, 0xd8, 2,    /* RCR AL, 2: 20h */
        0x0f, 0x90, 0xc7, /* SETO BH */
        0xb1, 3,          /* MOV CL, 3 */
        0xd2, 0xd0,       /* RCL AL, CL: 00h, carry */
        0x0f, 0x90, 0xc2, /* SETO DL */
        0xb0, 0xff,       /* MOV AL, -1 */
        0xc0, 0xc8, 3,    /* ROR AL, 3 */
        0x0f, 0x90, 0xc6, /* SETO DH */
        HLT);
    run_from(r, CODE);
    assert_int_equal(r->v->gpr[REG_BX] & 0xff, 1);
    assert_int_equal(r->v->gpr[REG_BX] >> 8 & 0xff, 0);
    assert_int_equal(r->v->gpr[REG_DX] & 0xff, 1);
    assert_int_equal(r->v->gpr[REG_DX] >> 8 & 0xff, 0);
    rig_close(r);
}

static void feature_that_is_not_shown_is_an_invalid_opcode(void **state)
{
    (void)state;
    struct rig *r = rig_open("pentium");
    rig_protected(r);
    memset(r->ram + HANDLERS, HLT, 256);
    PUT(r, CODE, 0x0f, 0x44, 0xc1, HLT); /* cmovz */
    run_from(r, CODE);
    assert_entered(r, VEC_UD, false, CODE);
    rig_close(r);
}

static void locked_increment_is_one_access(void **state)
{
    (void)state;
    struct rig *r = open_flat();
    PUT(r, CODE, 0xf0, 0xff, 0x03, HLT); /* lock inc dword [ebx] */
    poke32(r, DATA, 0xffffffff);
    run_from(r, CODE);
    assert_int_equal(peek32(r, DATA), 0);
    assert_true(flags_get(r->v) & FLAG_ZF);
    PUT(r, CODE, 0xf0, 0xff, 0xc0); /* lock inc eax: no */
    run_from(r, CODE);
    assert_entered(r, VEC_UD, false, CODE);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_some_executes_exactly_so_many_instructions),
        cmocka_unit_test(handlers_do_not_use_up_the_stack),
        cmocka_unit_test(stop_event_ends_a_linked_loop),
        cmocka_unit_test(step_is_one_instruction_or_one_fault),
        cmocka_unit_test(fault_in_the_middle_of_a_block_is_precise),
        cmocka_unit_test(fetch_fault_names_the_instruction_and_the_second_page),
        cmocka_unit_test(straddling_instruction_follows_the_second_page),
        cmocka_unit_test(fetch_beyond_the_segment_is_a_protection_fault),
        cmocka_unit_test(branch_beyond_the_segment_faults_at_the_branch),
        cmocka_unit_test(read_modify_write_across_a_bad_page_changes_nothing),
        cmocka_unit_test(pusha_at_a_page_end_restarts),
        cmocka_unit_test(repeated_move_stops_at_a_bad_page_with_registers_right),
        cmocka_unit_test(interrupt_is_taken_between_two_runs_of_a_repeated_move),
        cmocka_unit_test(trap_flag_stops_after_each_instruction_and_each_iteration),
        cmocka_unit_test(code_in_device_memory_is_executed),
        cmocka_unit_test(store_to_the_next_instruction_is_seen_at_once),
        cmocka_unit_test(store_to_a_linked_block_is_seen),
        cmocka_unit_test(store_across_a_page_boundary_kills_both_sides),
        cmocka_unit_test(store_through_another_mapping_is_seen),
        cmocka_unit_test(dma_into_code_is_seen),
        cmocka_unit_test(another_threads_write_to_code_is_seen_at_the_next_boundary),
        cmocka_unit_test(code_that_maps_other_memory_over_itself_goes_on_there),
        cmocka_unit_test(data_beside_code_does_not_kill_it),
        cmocka_unit_test(page_without_blocks_is_no_code_page_any_more),
        cmocka_unit_test(flush_asked_for_by_a_device_is_done_between_blocks),
        cmocka_unit_test(same_bytes_in_another_mode_are_another_block),
        cmocka_unit_test(overflow_of_a_rotation_by_many_comes_from_the_result),
        cmocka_unit_test(feature_that_is_not_shown_is_an_invalid_opcode),
        cmocka_unit_test(locked_increment_is_one_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
