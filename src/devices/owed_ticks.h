/* SPDX-License-Identifier: MIT
 *
 * The ticks of a periodic interrupt, for guests that count them to know the time.
 *
 * A tick is a rising edge of a line, which is then held until the next one, because the 8259
 * forgets a request whose line falls. A tick that comes due before the last one was taken is owed,
 * and raised when that one has been taken, at most twice as fast as the guest asked for, so that
 * the guest keeps the right time on a busy host. What is owed is bounded, and forgotten when nobody
 * takes ticks at all.
 */
#ifndef ANELLO_DEVICES_OWED_TICKS_H
#define ANELLO_DEVICES_OWED_TICKS_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"

struct owed_ticks {
    bool untaken; /* a tick was raised and not yet taken */
    bool raising; /* one is being raised: who takes it at once gets no other one in the same call */
    u32 owed;
    i64 raised_at;     /* ns of the last rise */
    i64 untaken_since; /* ns of the first rise that was not taken */
};

/* Raises a new edge, whatever the line was. */
void owed_ticks_raise(struct owed_ticks *t, const struct irq_line *line, i64 now);
/* `n` ticks of a period came due: raises one, owes the others. */
void owed_ticks_due(struct owed_ticks *t, const struct irq_line *line, u64 n, i64 period_ns,
                    i64 now);
/* When an owed tick may be raised; CLOCK_NEVER: nothing is owed, or the last one is not taken. */
i64 owed_ticks_repay_at(const struct owed_ticks *t, i64 period_ns, i64 now);
/* Raises an owed tick if its time has come. */
void owed_ticks_repay(struct owed_ticks *t, const struct irq_line *line, i64 period_ns, i64 now);
/* The guest has taken the last tick. False: it had taken it before. */
bool owed_ticks_taken(struct owed_ticks *t);
void owed_ticks_forget(struct owed_ticks *t);

/* Rows of the state table of a device whose member `f` this is. */
#define OWED_TICKS_ROWS(s, f)                                                                      \
    STATE_ROW(STATE_BOOL, s, f.untaken, 1, 1), STATE_ROW(STATE_U32, s, f.owed, 1, 1),              \
        STATE_ROW(STATE_I64, s, f.raised_at, 1, 1), STATE_ROW(STATE_I64, s, f.untaken_since, 1, 1)

#endif
