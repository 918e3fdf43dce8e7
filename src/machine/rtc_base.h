/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_MACHINE_RTC_BASE_H
#define ANELLO_MACHINE_RTC_BASE_H

#include "base/bits.h"

/* The meaning of -rtc base=: "utc", "localtime" or "2026-01-31T12:34:56" (or a date alone). Gives
 * Unix seconds of the calendar that the guest's clock shows. False: not understood. */
bool rtc_base_parse(const char *text, i64 *seconds);

#endif
