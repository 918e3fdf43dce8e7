/* SPDX-License-Identifier: MIT
 *
 * -accel check finds translations that are wrong. Each test spoils one that was right, by a few
 * bytes of its host code, and executes it again: the process must end with status 70 and name what
 * differs.
 */
#include "bt_bench.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOUND 70
#define STACK (BENCH_DATA + 0x2000)

/* Guest code, and a piece of its translation with what it becomes. */
struct spoil {
    const char *name;
    u8 code[16];
    u8 from[5], to[5];
    unsigned len;        /* of that piece */
    const char *differs; /* a line of the report that must be marked */
};

/* What the child has said. */
static void read_report(int fd, char *text, size_t n)
{
    size_t at = 0;
    ssize_t got;
    while (at < n - 1 && (got = read(fd, text + at, n - 1 - at)) > 0)
        at += (size_t)got;
    text[at] = 0;
}

static void spoil_code(struct rig *r, const struct tcode *t, const struct spoil *s)
{
    u8 *code = bt_bench_writable(r, t->start);
    for (unsigned at = 0; at + s->len <= t->size; at++) {
        if (memcmp(code + at, s->from, s->len) == 0) {
            memcpy(code + at, s->to, s->len);
            return;
        }
    }
    fprintf(stderr, "that code is not in the translation\n");
    _exit(1);
}

/* The same in a process of its own, which check ends. Returns its status. */
static int run_spoiled(struct rig *r, void (*spoil)(struct rig *, const void *), const void *how,
                       char *text, size_t n)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        dup2(ends[1], STDERR_FILENO);
        spoil(r, how);
        r->v->halted = false;
        r->v->rip = BENCH_CODE;
        bt_run(r->v);
        _exit(0);
    }
    close(ends[1]);
    read_report(ends[0], text, n);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool marked(const char *text, const char *line)
{
    const char *after = strstr(text, "after:\n");
    const char *at = after ? strstr(after, line) : NULL;
    const char *end = at ? strchr(at, '\n') : NULL;
    return end && memmem(at, (size_t)(end - at), line[0] == 'r' ? "interp" : "<--", 3);
}

/* Traces need a window. */
static struct rig *open_with(const u8 *code, size_t n, bool traces)
{
    struct rig *r = bt_bench_open(true);
    if (traces)
        bt_tune(r->v, &(struct bt_tuning){.hot = 1, .traces_at_once = true});
    bt_bench_put(r, BENCH_CODE, code, n);
    r->v->gpr[REG_BX] = BENCH_DATA;
    r->v->gpr[REG_SP] = STACK;
    for (unsigned i = 0; i < 20; i++)
        bt_bench_run(r, BENCH_CODE);
    assert_true(!bt_bench_translation(r, BENCH_CODE)->trace == !traces);
    return r;
}
#define OPEN_WITH(...)                                                                             \
    open_with((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), false)

static void spoil_block(struct rig *r, const void *how)
{
    spoil_code(r, bt_bench_translation(r, BENCH_CODE), how);
}

static void expect_found(struct rig *r, void (*spoil)(struct rig *, const void *), const void *how,
                         const char *differs)
{
    char text[16384];
    int status = run_spoiled(r, spoil, how, text, sizeof text);
    if (status != FOUND || !marked(text, differs))
        fail_msg("status %d, no difference in '%s':\n%s", status, differs, text);
    bt_bench_close(r, true);
}

/* ---- */

static void right_translations_pass(void **state)
{
    (void)state;
    /* inc ecx; mov [ebx], ecx; jmp; hlt */
    struct rig *r = OPEN_WITH(0x41, 0x89, 0x0b, 0xeb, 0x00, 0xf4);
    for (unsigned i = 0; i < 100; i++)
        bt_bench_run(r, BENCH_CODE);
    assert_true(bt_stats(r->v)->entries > 90);
    assert_int_equal(peek32(r, BENCH_DATA), 120);
    bt_bench_close(r, true);
}

// clang-format off
static const struct spoil spoils[] = {
    /* inc ecx; add eax, ecx; jmp; hlt: subtracts */
    {"a_wrong_register_is_found", {0x41, 0x01, 0xc8, 0xeb, 0x00, 0xf4},
     {0x01, 0xc8}, {0x29, 0xc8}, 2, "eax"},
    /* stc; mov edx, 5; jmp; hlt: CLC */
    {"a_wrong_flag_is_found", {0xf9, 0xba, 5, 0, 0, 0, 0xeb, 0x00, 0xf4},
     {0xf9}, {0xf8}, 1, "eflags"},
    /* test ecx, ecx; jz +1; nop; hlt: JNZ */
    {"a_wrong_branch_is_found", {0x85, 0xc9, 0x74, 0x01, 0x90, 0xf4},
     {0x0f, 0x84}, {0x0f, 0x85}, 2, "eip"},
    /* mov dword [ebx], 12345678h; not dword [ebx]; jmp; hlt: NOT of a byte */
    {"a_store_of_the_wrong_width_is_found",
     {0xc7, 0x03, 0x78, 0x56, 0x34, 0x12, 0xf7, 0x13, 0xeb, 0x00, 0xf4},
     {0x41, 0xf7, 0x10}, {0x41, 0xf6, 0x10}, 3, "ram "},
    /* inc ecx; mov [ebx + 40h], ecx; jmp; hlt: to [ebx + 50h] */
    {"a_store_to_the_wrong_place_is_found", {0x41, 0x89, 0x4b, 0x40, 0xeb, 0x00, 0xf4},
     {0x43, 0x40}, {0x43, 0x50}, 2, "ram "},
    /* inc ecx; mov [ebx + 1000h], ecx; mov [ebx + 2004h], ecx; jmp; hlt: the first to [ebx + 2000h].
     * The first run has written to both pages: to others translations have no direct way. */
    {"a_store_to_another_page_is_found",
     {0x41, 0x89, 0x8b, 0, 0x10, 0, 0, 0x89, 0x8b, 4, 0x20, 0, 0, 0xeb, 0x00, 0xf4},
     {0x83, 0, 0x10, 0, 0}, {0x83, 0, 0x20, 0, 0}, 5, "ram "},
    /* fninit; fld1; fadd st0, st0; jmp; hlt: multiplies */
    {"wrong_x87_results_are_found",
     {0xdb, 0xe3, 0xd9, 0xe8, 0xd8, 0xc0, 0xeb, 0x00, 0xf4},
     {0xd8, 0xc0}, {0xd8, 0xc8}, 2, "fpu +"},
};

/* Of traces */
static const struct spoil trace_spoils[] = {
    /* inc ecx; jmp; add eax, ecx; jmp; hlt: subtracts, in the second block of a trace */
    {"a_wrong_register_is_found_in_a_trace", {0x41, 0xeb, 0x00, 0x01, 0xc8, 0xeb, 0x00, 0xf4},
     {0x01, 0xc8}, {0x29, 0xc8}, 2, "eax"},
    /* test ecx, ecx; jns +1; hlt; inc ecx; jmp; nop; jmp; hlt: leaves the trace by JNS */
    {"a_trace_left_too_early_is_found",
     {0x85, 0xc9, 0x79, 0x01, 0xf4, 0x41, 0xeb, 0x00, 0x90, 0xeb, 0x00, 0xf4},
     {0x0f, 0x88}, {0x0f, 0x89}, 2, "eip"},
};
// clang-format on

static void traces_are_compared_as_a_whole(void **state)
{
    (void)state;
    static const u8 code[] = {0x41, 0xe8, 3,    0, 0, 0, /* inc ecx; call */
                              0x90, 0xeb, 0x03,          /* nop; jmp to hlt */
                              0x53, 0x5a, 0xc3,          /* push ebx; pop edx; ret */
                              0xf4};
    struct rig *r = open_with(code, sizeof code, true);
    u64 entries = bt_stats(r->v)->entries;
    for (unsigned i = 0; i < 100; i++)
        bt_bench_run(r, BENCH_CODE);
    assert_int_equal(bt_stats(r->v)->entries - entries, 100);
    assert_int_equal(r->v->gpr[REG_DX], BENCH_DATA);
    bt_bench_close(r, true);
}

static void what_is_spoiled_is_found(void **state)
{
    const struct spoil *s = *state;
    expect_found(open_with(s->code, sizeof s->code, false), spoil_block, s, s->differs);
}

static void what_is_spoiled_is_found_in_traces(void **state)
{
    const struct spoil *s = *state;
    expect_found(open_with(s->code, sizeof s->code, true), spoil_block, s, s->differs);
}

/* Translated stores are executed, not only call-outs for them. */
static void stores_are_direct_in_the_second_run(void **state)
{
    (void)state;
    /* inc ecx; mov [ebx], ecx; jmp; hlt */
    struct rig *r = OPEN_WITH(0x41, 0x89, 0x0b, 0xeb, 0x00, 0xf4);
    u64 slow = bt_stats(r->v)->slow;
    for (unsigned i = 0; i < 100; i++)
        bt_bench_run(r, BENCH_CODE);
    assert_int_equal(bt_stats(r->v)->slow, slow);
    bt_bench_close(r, true);
}

/* Thunks keep all flags: this one, which stands in front of it, does not. */
static void spoil_write_thunk(struct rig *r, const void *how)
{
    (void)how;
    struct bt *bt = bt_of(r->v);
    const struct tcode *t = bt_bench_translation(r, BENCH_CODE);
    const u8 *thunk = bt->thunk.access[TLB_KERNEL][1][thunk_size_index(4)];
    u8 *patch = bt->mem.write + bt->used;
    struct asm_buf a;
    asm_init(&a, patch, 64, bt->mem.exec - bt->mem.write);
    asm_bytes(&a, (const u8[]){0xf5}, 1); /* cmc */
    asm_jmp(&a, thunk);
    u8 *code = bt_bench_writable(r, t->start);
    for (unsigned at = 0; at + 5 <= t->size; at++) {
        i32 to = (i32)(thunk - (t->start + at + 5));
        if (code[at] == 0xe8 && (i32)load32(code + at + 1) == to)
            store32(code + at + 1, (u32)(patch - (code + at + 5)));
    }
}

static void a_thunk_that_changes_a_flag_is_found(void **state)
{
    (void)state;
    /* stc; mov [ebx], ecx; jmp; hlt */
    expect_found(OPEN_WITH(0xf9, 0x89, 0x0b, 0xeb, 0x00, 0xf4), spoil_write_thunk, NULL, "eflags");
}

static void (*note_write)(struct vcpu *, u64, unsigned, struct tlb_entry *);

/* An interrupt comes that is held back, when the copy below has reached its second page. */
static void interrupt_then(struct vcpu *v, u64 offset, unsigned size, struct tlb_entry *by)
{
    if ((u32)v->gpr[REG_DI] == BENCH_DATA + 0x5000)
        vcpu_event_set(v, EVENT_INTR);
    note_write(v, offset, size, by);
}

/* What the interpreter has copied at once, a call-out copies in two parts then: such an event ends
 * neither's block, but each repeated instruction between two pages. */
static void an_event_held_back_between_both_is_no_difference(void **state)
{
    (void)state;
    /* rep movsd; hlt */
    static const u8 code[] = {0xf3, 0xa5, 0xf4};
    struct rig *r = bt_bench_open(true);
    bt_bench_put(r, BENCH_CODE, code, sizeof code);
    r->v->rflags &= ~(u64)FLAG_IF;
    note_write = r->v->journal;
    for (unsigned i = 0; i < 10; i++) {
        r->v->journal = i < 5 ? note_write : interrupt_then;
        poke32(r, BENCH_DATA + 12, i);
        r->v->gpr[REG_SI] = BENCH_DATA;
        r->v->gpr[REG_DI] = BENCH_DATA + 0x5000 - 8;
        r->v->gpr[REG_CX] = 4;
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(r->v->gpr[REG_CX], 0);
        assert_int_equal(peek32(r, BENCH_DATA + 0x5004), i);
        assert_int_equal(vcpu_events(r->v) & EVENT_INTR, i < 5 ? 0 : EVENT_INTR);
        vcpu_event_clear(r->v, EVENT_INTR);
    }
    bt_bench_close(r, true);
}

static struct physmem *written_by_device;

/* A device answers, behind the back of the block below. */
static void device_writes(struct vcpu *v, u64 offset, unsigned size, struct tlb_entry *by)
{
    u32 answer = (u32)v->gpr[REG_AX] + 1;
    note_write(v, offset, size, by);
    physmem_write(written_by_device, BENCH_DATA + 0x1000, &answer, sizeof answer);
}

static void what_a_device_writes_between_both_is_no_difference(void **state)
{
    (void)state;
    /* mov eax, [ebx + 1000h]; mov [ebx], eax; jmp; hlt */
    struct rig *r = OPEN_WITH(0x8b, 0x83, 0, 0x10, 0, 0, 0x89, 0x03, 0xeb, 0x00, 0xf4);
    note_write = r->v->journal;
    written_by_device = r->pm;
    r->v->journal = device_writes;
    for (u32 i = 0; i < 10; i++) {
        bt_bench_run(r, BENCH_CODE);
        assert_int_equal(r->v->gpr[REG_AX], i);
        assert_int_equal(peek32(r, BENCH_DATA), i);
        assert_int_equal(peek32(r, BENCH_DATA + 0x1000), i + 1);
    }
    bt_bench_close(r, true);
}

static struct CMUnitTest test_of(const struct spoil *s, CMUnitTestFunction function)
{
    return (struct CMUnitTest){
        .name = s->name, .test_func = function, .initial_state = (void *)(uintptr_t)s};
}

int main(void)
{
    struct CMUnitTest tests[6 + ARRAY_LEN(spoils) + ARRAY_LEN(trace_spoils)] = {
        cmocka_unit_test(right_translations_pass),
        cmocka_unit_test(traces_are_compared_as_a_whole),
        cmocka_unit_test(stores_are_direct_in_the_second_run),
        cmocka_unit_test(a_thunk_that_changes_a_flag_is_found),
        cmocka_unit_test(an_event_held_back_between_both_is_no_difference),
        cmocka_unit_test(what_a_device_writes_between_both_is_no_difference),
    };
    for (size_t i = 0; i < ARRAY_LEN(spoils); i++)
        tests[6 + i] = test_of(&spoils[i], what_is_spoiled_is_found);
    for (size_t i = 0; i < ARRAY_LEN(trace_spoils); i++)
        tests[6 + ARRAY_LEN(spoils) + i] =
            test_of(&trace_spoils[i], what_is_spoiled_is_found_in_traces);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
