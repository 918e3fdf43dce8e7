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

/* Host code to look for, and what it becomes. */
struct spoil {
    u8 from[8], to[8];
    unsigned len;
    const char *differs; /* a line of the report that must be marked, NULL: memory */
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

static struct rig *open_with(const u8 *code, size_t n)
{
    struct rig *r = bt_bench_open(true);
    bt_bench_put(r, BENCH_CODE, code, n);
    r->v->gpr[REG_BX] = BENCH_DATA;
    for (unsigned i = 0; i < 4; i++)
        bt_bench_run(r, BENCH_CODE);
    bt_bench_translation(r, BENCH_CODE);
    return r;
}
#define OPEN_WITH(...) open_with((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

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

static void expect_spoil_found(struct rig *r, const struct spoil *s)
{
    expect_found(r, spoil_block, s, s->differs ? s->differs : "ram ");
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
    assert_int_equal(peek32(r, BENCH_DATA), 104);
    bt_bench_close(r, true);
}

static void a_wrong_register_is_found(void **state)
{
    (void)state;
    /* inc ecx; add eax, ecx; jmp; hlt. The addition becomes a subtraction. */
    const struct spoil s = {{0x01, 0xc8}, {0x29, 0xc8}, 2, "eax"};
    expect_spoil_found(OPEN_WITH(0x41, 0x01, 0xc8, 0xeb, 0x00, 0xf4), &s);
}

static void a_wrong_flag_is_found(void **state)
{
    (void)state;
    /* stc; mov edx, 5; jmp; hlt. STC becomes CLC. */
    const struct spoil s = {{0xf9}, {0xf8}, 1, "eflags"};
    expect_spoil_found(OPEN_WITH(0xf9, 0xba, 5, 0, 0, 0, 0xeb, 0x00, 0xf4), &s);
}

static void a_wrong_branch_is_found(void **state)
{
    (void)state;
    /* test ecx, ecx; jz +1; nop; hlt. JZ becomes JNZ. */
    const struct spoil s = {{0x0f, 0x84}, {0x0f, 0x85}, 2, "eip"};
    expect_spoil_found(OPEN_WITH(0x85, 0xc9, 0x74, 0x01, 0x90, 0xf4), &s);
}

static void a_store_of_the_wrong_width_is_found(void **state)
{
    (void)state;
    /* mov dword [ebx], 12345678h; not dword [ebx]; jmp; hlt. NOT of a byte. */
    const struct spoil s = {{0x41, 0xf7, 0x10}, {0x41, 0xf6, 0x10}, 3, NULL};
    expect_spoil_found(OPEN_WITH(0xc7, 0x03, 0x78, 0x56, 0x34, 0x12, 0xf7, 0x13, 0xeb, 0x00, 0xf4),
                       &s);
}

static void a_store_to_the_wrong_place_is_found(void **state)
{
    (void)state;
    /* inc ecx; mov [ebx + 40h], ecx; jmp; hlt. It goes to [ebx + 50h]. */
    const struct spoil s = {{0x43, 0x40}, {0x43, 0x50}, 2, NULL};
    expect_spoil_found(OPEN_WITH(0x41, 0x89, 0x4b, 0x40, 0xeb, 0x00, 0xf4), &s);
}

/* The first run has written to both pages: to others translations have no direct way. */
static void a_store_to_another_page_is_found(void **state)
{
    (void)state;
    /* inc ecx; mov [ebx + 1000h], ecx; mov [ebx + 2004h], ecx; jmp; hlt. The first to [ebx + 2000h]
     */
    const struct spoil s = {{0x83, 0, 0x10, 0, 0}, {0x83, 0, 0x20, 0, 0}, 5, NULL};
    expect_spoil_found(
        OPEN_WITH(0x41, 0x89, 0x8b, 0, 0x10, 0, 0, 0x89, 0x8b, 4, 0x20, 0, 0, 0xeb, 0x00, 0xf4),
        &s);
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

static void wrong_x87_results_are_found(void **state)
{
    (void)state;
    /* fninit; fld1; fadd st0, st0; jmp; hlt. It multiplies. */
    const struct spoil s = {{0xd8, 0xc0}, {0xd8, 0xc8}, 2, "fpu +"};
    expect_spoil_found(OPEN_WITH(0xdb, 0xe3, 0xd9, 0xe8, 0xd8, 0xc0, 0xeb, 0x00, 0xf4), &s);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_translations_pass),
        cmocka_unit_test(a_wrong_register_is_found),
        cmocka_unit_test(a_wrong_flag_is_found),
        cmocka_unit_test(a_wrong_branch_is_found),
        cmocka_unit_test(a_store_of_the_wrong_width_is_found),
        cmocka_unit_test(a_store_to_the_wrong_place_is_found),
        cmocka_unit_test(a_store_to_another_page_is_found),
        cmocka_unit_test(stores_are_direct_in_the_second_run),
        cmocka_unit_test(wrong_x87_results_are_found),
        cmocka_unit_test(a_thunk_that_changes_a_flag_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
