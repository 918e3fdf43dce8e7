/* SPDX-License-Identifier: MIT */
#include "machine/rtc_base.h"

#include <stdio.h>
#include <time.h>

static bool parse_date(const char *text, i64 *seconds)
{
    struct tm tm = {0};
    int end = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &end) != 3)
        return false;
    if (text[end] == 'T') {
        int more = 0;
        if (sscanf(text + end, "T%2d:%2d:%2d%n", &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &more) != 3)
            return false;
        end += more;
    }
    if (text[end] != '\0')
        return false;
    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 ||
        tm.tm_sec > 59)
        return false;
    int day = tm.tm_mday;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t t = timegm(&tm);
    *seconds = t;
    return tm.tm_mday == day; /* timegm() makes March of February 30th */
}

bool rtc_base_parse(const char *text, i64 *seconds)
{
    time_t now = time(NULL);
    if (!strcmp(text, "utc")) {
        *seconds = now;
        return true;
    }
    if (!strcmp(text, "localtime")) {
        struct tm tm;
        if (!localtime_r(&now, &tm))
            return false;
        *seconds = (i64)now + tm.tm_gmtoff;
        return true;
    }
    return parse_date(text, seconds);
}
