/* SPDX-License-Identifier: MIT
 *
 * What the program says about itself: warnings for the user, and the trace that -d LIST asks for.
 * A log belongs to one machine; a null log swallows everything. Safe from any thread.
 */
#ifndef ANELLO_BASE_LOG_H
#define ANELLO_BASE_LOG_H

#include <stdio.h>

#include "base/bits.h"

/* Trace classes of -d, one bit each. */
enum log_class {
    LOG_IN_ASM = 1 << 0,
    LOG_OUT_ASM = 1 << 1,
    LOG_INT = 1 << 2,
    LOG_MMU = 1 << 3,
    LOG_EXEC = 1 << 4,
    LOG_CPU_RESET = 1 << 5,
    LOG_GUEST_ERRORS = 1 << 6,
    LOG_DEV = 1 << 7, /* filtered further by device name */
};

struct log;

/* Makes a log that writes to `out` (not closed by the log). */
struct log *log_create(FILE *out);
void log_destroy(struct log *log);

/* Parses a -d LIST ("in_asm,int,dev:ide"). Returns NULL, or the first word that is not known
 * (a pointer into a buffer owned by the log). */
const char *log_enable(struct log *log, const char *list);

/* The enabled classes, for a cheap test before formatting. */
u32 log_mask(const struct log *log);

static inline bool log_on(const struct log *log, u32 classes)
{
    return log && UNLIKELY(log_mask(log) & classes);
}

/* True when "dev:NAME" (or "dev:all") was asked for. */
bool log_device_on(const struct log *log, const char *device);

/* Writes one trace text, unconditionally; callers test log_on() first. */
void log_printf(struct log *log, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Tells the user once per `key` (a string literal: compared by content) that the guest did
 * something that is not supported; further reports with the same key and number only go to the
 * trace, and only with -d guest_errors. */
void log_unsupported(struct log *log, const char *key, u64 number, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* A line on stderr for the user: "anello: ...". */
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
