/* SPDX-License-Identifier: MIT
 *
 * The oracle itself: what it says of instructions whose outcome nobody doubts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "host_exec.h"

#define CODE_AT 0x10000000u
#define DATA_AT 0x20000000u

static int setup(void **state)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    *state = mmap((void *)(uintptr_t)CODE_AT, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, flags,
                  -1, 0);
    void *data = mmap((void *)(uintptr_t)DATA_AT, PAGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    return *state == MAP_FAILED || data == MAP_FAILED;
}

static void reset(struct host_state *s)
{
    *s = (struct host_state){.rip = CODE_AT};
    s->gpr[4] = DATA_AT + PAGE_BYTES / 2;
    store16(s->xsave, 0x37f);
    store32(s->xsave + 24, 0x1f80);
    store64(s->xsave + 512, 3);
}

static struct host_trap execute(void *code, const char *bytes, unsigned mode, struct host_state *s)
{
    /* cmocka takes the signals at the start of each test. */
    assert_true(host_exec_init());
    memcpy(code, bytes, 4);
    return host_exec(mode, s);
}

static void completed_instruction_ends_in_a_debug_trap(void **state)
{
    struct host_state s;
    for (unsigned mode = 32; mode <= 64; mode += 32) {
        reset(&s);
        s.gpr[0] = 5;
        s.gpr[1] = (u64)-5;
        struct host_trap t = execute(*state, "\x01\xc8\x90\x90", mode, &s); /* add eax, ecx */
        assert_int_equal(t.vector, 1);
        assert_true(s.gpr[0] == 0 && s.rip == CODE_AT + 2);
        assert_int_equal(s.rflags, 0x55); /* ZF PF AF CF */
    }
}

static void mode_chooses_how_bytes_are_decoded(void **state)
{
    struct host_state s;
    reset(&s);
    execute(*state, "\x48\x01\xc8\x90", 32, &s); /* dec eax */
    assert_true(s.gpr[0] == 0xffffffff && s.rip == CODE_AT + 1);
    reset(&s);
    s.gpr[1] = 7;
    execute(*state, "\x48\x01\xc8\x90", 64, &s); /* add rax, rcx */
    assert_true(s.gpr[0] == 7 && s.rip == CODE_AT + 3);
}

static void faults_come_with_vector_error_and_address(void **state)
{
    struct host_state s;
    for (unsigned mode = 32; mode <= 64; mode += 32) {
        reset(&s);
        assert_int_equal(execute(*state, "\xf7\xf1\x90\x90", mode, &s).vector, 0); /* div ecx */
        assert_int_equal(execute(*state, "\x0f\x0b\x90\x90", mode, &s).vector, 6); /* ud2 */
        s.gpr[1] = DATA_AT + PAGE_BYTES - 2;
        struct host_trap t = execute(*state, "\x89\x01\x90\x90", mode, &s); /* mov [ecx], eax */
        assert_int_equal(t.vector, 14);
        assert_int_equal(t.error, 6);
        assert_int_equal(t.cr2, DATA_AT + PAGE_BYTES);
        assert_int_equal(s.rip, CODE_AT);
    }
}

static void vector_and_x87_state_goes_in_and_comes_out(void **state)
{
    struct host_state s;
    for (unsigned mode = 32; mode <= 64; mode += 32) {
        reset(&s);
        store32(s.xsave + 160, 0x3f800000);
        store32(s.xsave + 176, 0x40000000);
        execute(*state, "\x0f\x58\xc1\x90", mode, &s); /* addps xmm0, xmm1 */
        assert_int_equal(load32(s.xsave + 160), 0x40400000);
        s.rip = CODE_AT;
        execute(*state, "\xd9\xe8\x90\x90", mode, &s); /* fld1 */
        assert_int_equal(load16(s.xsave + 2), 7 << 11);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completed_instruction_ends_in_a_debug_trap),
        cmocka_unit_test(mode_chooses_how_bytes_are_decoded),
        cmocka_unit_test(faults_come_with_vector_error_and_address),
        cmocka_unit_test(vector_and_x87_state_goes_in_and_comes_out),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
