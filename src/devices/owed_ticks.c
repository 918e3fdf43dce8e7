/* SPDX-License-Identifier: MIT */
#include "devices/owed_ticks.h"

#define OWED_LIMIT_NS NS_PER_SEC
#define GENTLE_OWED   4 /* so many are repaid at twice the rate; more, as fast as they are taken */

void owed_ticks_raise(struct owed_ticks *t, const struct irq_line *line, i64 now)
{
    if (!t->untaken)
        t->untaken_since = now;
    t->untaken = true;
    t->raised_at = now;
    t->raising = true;
    irq_set(line, false);
    irq_set(line, true);
    t->raising = false;
}

void owed_ticks_due(struct owed_ticks *t, const struct irq_line *line, u64 n, i64 period_ns,
                    i64 now)
{
    u64 limit = (u64)(OWED_LIMIT_NS / period_ns);
    u64 owed = t->owed + n - (t->untaken ? 0 : 1);
    if (t->untaken && now - t->untaken_since > OWED_LIMIT_NS)
        owed = 0; /* masked, or nobody listens */
    t->owed = (u32)(owed < limit ? owed : limit);
    owed_ticks_raise(t, line, now);
}

/* A guest that was away for long (its thread was not scheduled) has no notion of the time between:
 * it gets most of what it is owed at once. Linux calls its timer broken if too few ticks come
 * within a time that it measures by the TSC. */
i64 owed_ticks_repay_at(const struct owed_ticks *t, i64 period_ns, i64 now)
{
    if (!t->owed || t->untaken)
        return CLOCK_NEVER;
    return t->owed > GENTLE_OWED ? now : t->raised_at + period_ns / 2;
}

void owed_ticks_repay(struct owed_ticks *t, const struct irq_line *line, i64 period_ns, i64 now)
{
    if (t->raising || now < owed_ticks_repay_at(t, period_ns, now))
        return;
    t->owed--;
    owed_ticks_raise(t, line, now);
}

bool owed_ticks_taken(struct owed_ticks *t)
{
    bool was = t->untaken;
    t->untaken = false;
    return was;
}

void owed_ticks_forget(struct owed_ticks *t)
{
    t->owed = 0;
    t->untaken = false;
}
