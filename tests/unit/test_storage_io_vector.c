/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/io_vector.h"

static u8 text[] = "abcdefgh";
static const struct iovec buffers[] = {{text, 3}, {text + 3, 0}, {text + 3, 1}, {text + 4, 4}};
static const struct io_vector whole = {buffers, ARRAY_LEN(buffers), 0};

static void io_vector_after_skips_whole_and_empty_buffers(void **state)
{
    (void)state;
    struct io_vector v = io_vector_after(whole, 2);
    assert_ptr_equal(v.buffer, &buffers[0]);
    assert_int_equal(v.skip, 2);
    v = io_vector_after(v, 1);
    assert_ptr_equal(v.buffer, &buffers[2]);
    assert_int_equal(v.skip, 0);
    v = io_vector_after(v, 5);
    assert_int_equal(v.count, 0);
}

static void io_vector_head_ends_with_bytes_room_or_buffers(void **state)
{
    (void)state;
    struct iovec to[4];
    u64 got;
    assert_int_equal(io_vector_head(io_vector_after(whole, 1), 4, to, 4, &got), 3);
    assert_int_equal(got, 4);
    assert_ptr_equal(to[0].iov_base, text + 1);
    assert_int_equal(to[0].iov_len, 2);
    assert_int_equal(to[2].iov_len, 1);
    assert_int_equal(io_vector_head(whole, 8, to, 2, &got), 2);
    assert_int_equal(got, 4);
    assert_int_equal(io_vector_head(whole, 100, to, 4, &got), 3);
    assert_int_equal(got, 8);
}

static void io_vector_gather_copies_what_lies_apart(void **state)
{
    (void)state;
    char to[8] = "-------";
    io_vector_gather(io_vector_after(whole, 2), to, 5);
    assert_string_equal(to, "cdefg--");
}

static void io_vector_scatter_fills_what_lies_apart(void **state)
{
    (void)state;
    char first[] = "ab", second[] = "cde";
    struct iovec apart[] = {{first, 2}, {NULL, 0}, {second, 3}};
    io_vector_scatter(io_vector_after((struct io_vector){apart, 3, 0}, 1), "123", 3);
    assert_string_equal(first, "a1");
    assert_string_equal(second, "23e");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io_vector_after_skips_whole_and_empty_buffers),
        cmocka_unit_test(io_vector_head_ends_with_bytes_room_or_buffers),
        cmocka_unit_test(io_vector_gather_copies_what_lies_apart),
        cmocka_unit_test(io_vector_scatter_fills_what_lies_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
