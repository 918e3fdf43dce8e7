/* SPDX-License-Identifier: MIT
 *
 * The stack of returns: its bounds, and the signal stack beside it. What translated code does with
 * it, tests/guest/hostile.asm tries.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bt/returns.h"

static const u8 underflow;

struct fixture {
    struct returns r;
    struct vcpu *v;
};

static struct fixture open_stack(void)
{
    struct fixture f = {.v = calloc(1, sizeof *f.v)};
    assert_non_null(f.v);
    assert_true(returns_create(&f.r));
    returns_reset(&f.r, f.v, &underflow);
    return f;
}

static void close_stack(struct fixture *f)
{
    returns_destroy(&f->r);
    free(f->v);
}

static void an_empty_stack_leads_to_the_thunk(void **state)
{
    (void)state;
    struct fixture f = open_stack();
    assert_int_equal(f.v->returns_rsp, f.r.base);
    assert_ptr_equal((void *)(uintptr_t)load64((u8 *)(uintptr_t)f.r.base), &underflow);
    f.v->returns_rsp -= 80;
    returns_reset(&f.r, f.v, &underflow);
    assert_int_equal(f.v->returns_rsp, f.r.base);
    close_stack(&f);
}

static void all_below_the_base_can_be_written_or_is_known_to_be_full(void **state)
{
    (void)state;
    struct fixture f = open_stack();
    u64 at = f.r.base;
    while (!returns_full(&f.r, at - sizeof(u64))) {
        at -= sizeof(u64);
        store64((u8 *)(uintptr_t)at, at);
    }
    assert_true(f.r.base - at > KIB(512));
    assert_true(returns_full(&f.r, at - PAGE_BYTES));
    assert_false(returns_full(&f.r, f.r.base));
    assert_false(returns_full(&f.r, 0));
    close_stack(&f);
}

static void the_thread_gets_its_own_signal_stack_back(void **state)
{
    (void)state;
    struct fixture f = open_stack();
    struct returns_saved outer, inner;
    stack_t before, now;
    assert_int_equal(sigaltstack(NULL, &before), 0);
    returns_enter_thread(&f.r, &outer);
    assert_int_equal(sigaltstack(NULL, &now), 0);
    assert_ptr_equal(now.ss_sp, f.r.signal_stack);
    returns_enter_thread(&f.r, &inner);
    returns_leave_thread(&inner);
    assert_int_equal(sigaltstack(NULL, &now), 0);
    assert_ptr_equal(now.ss_sp, f.r.signal_stack);
    returns_leave_thread(&outer);
    assert_int_equal(sigaltstack(NULL, &now), 0);
    assert_int_equal(now.ss_flags, before.ss_flags);
    if (!(before.ss_flags & SS_DISABLE))
        assert_ptr_equal(now.ss_sp, before.ss_sp);
    close_stack(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_stack_leads_to_the_thunk),
        cmocka_unit_test(all_below_the_base_can_be_written_or_is_known_to_be_full),
        cmocka_unit_test(the_thread_gets_its_own_signal_stack_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
