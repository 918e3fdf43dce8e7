/* SPDX-License-Identifier: MIT
 *
 * How a device presents itself to the machine: a constant descriptor with a table of its state.
 * Snapshot, migration, the monitor's `info` and tests read the table; no device has save code.
 */
#ifndef ANELLO_BUS_DEVICE_H
#define ANELLO_BUS_DEVICE_H

#include "base/bits.h"

enum state_type {
    STATE_BOOL,
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,
    STATE_I64,
    STATE_TIMER, /* struct timer: its deadline is the state */
    STATE_BYTES, /* count bytes */
};

struct state_field {
    const char *name;
    enum state_type type;
    u32 offset; /* in the device's struct */
    u32 count;  /* elements; 1 for a scalar */
    u32 since;  /* first version of the device's state that has the field */
};

/* One row of a state table: field `f` of `struct s` holds `n` elements of type t. */
#define STATE_ROW(t, s, f, n, v)                                                                   \
    {                                                                                              \
        .name = #f, .type = (t), .offset = (u32)offsetof(struct s, f), .count = (n), .since = (v)  \
    }
#define STATE_END                                                                                  \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct device_ops {
    const char *name; /* "i8254": unique per kind, used by -d dev:NAME and the monitor */
    u32 version;      /* of the state table */
    const struct state_field *state; /* ends with STATE_END; NULL when stateless */
    void (*reset)(void *dev);        /* power-on and system reset; board lock held */
    void (*loaded)(void *dev);       /* after state was restored: redo derived state; may be NULL */
    void (*destroy)(void *dev);
};

/* What the machine's list of devices holds. */
struct device {
    const struct device_ops *ops;
    void *dev;
};

#endif
