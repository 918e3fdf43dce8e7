/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "machine/rtc_base.h"

static void rtc_base_takes_a_date_with_and_without_time(void **state)
{
    (void)state;
    i64 s;
    assert_true(rtc_base_parse("2006-06-17T16:01:21", &s));
    assert_int_equal(s, 1150560081);
    assert_true(rtc_base_parse("2006-06-17", &s));
    assert_int_equal(s, 1150502400);
    assert_true(rtc_base_parse("2000-02-29", &s));
}

static void rtc_base_utc_is_now(void **state)
{
    (void)state;
    i64 s;
    assert_true(rtc_base_parse("utc", &s));
    assert_in_range(s, time(NULL) - 5, time(NULL));
}

static void rtc_base_localtime_is_utc_plus_the_offset(void **state)
{
    (void)state;
    i64 s;
    setenv("TZ", "XYZ-3", 1); /* three hours east */
    tzset();
    assert_true(rtc_base_parse("localtime", &s));
    assert_in_range(s - 3 * 3600, time(NULL) - 5, time(NULL));
}

static void rtc_base_refuses_what_is_no_date(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "now",
                                      "2006-13-01",
                                      "2006-02-30",
                                      "2006-06-17T",
                                      "2006-06-17T24:00:00",
                                      "2006-06-17x",
                                      "2006-06",
                                      "1969-12-31"};
    i64 s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(rtc_base_parse(bad[i], &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rtc_base_takes_a_date_with_and_without_time),
        cmocka_unit_test(rtc_base_utc_is_now),
        cmocka_unit_test(rtc_base_localtime_is_utc_plus_the_offset),
        cmocka_unit_test(rtc_base_refuses_what_is_no_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
