/* SPDX-License-Identifier: MIT
 *
 * A keyboard or a mouse at its serial line, where the test is its controller.
 */
#ifndef ANELLO_TESTS_PS2_RIG_H
#define ANELLO_TESTS_PS2_RIG_H

#include "device_rig.h"

#include "devices/ps2kbd.h"
#include "devices/ps2mouse.h"

#define MS INT64_C(1000000)

struct ps2_rig {
    struct rig rig;
    struct ps2_device port;
    unsigned ready; /* how often it has said that bytes wait */
    /* The one that is plugged in, and how its user reaches it. */
    struct ps2kbd *kbd;
    struct keyboard_sink keys;
    struct ps2mouse *mouse;
    struct pointer_sink pointer;
};

static inline void ps2_rig_ready(void *host)
{
    ((struct ps2_rig *)host)->ready++;
}

static inline void ps2_rig_plug(struct ps2_rig *f, struct device device, struct ps2_device port)
{
    rig_add(&f->rig, device);
    f->port = port;
    f->port.connect(f->port.dev, ps2_rig_ready, f);
}

static inline void send(struct ps2_rig *f, u8 byte)
{
    f->port.write(f->port.dev, byte);
}

static inline int receive(struct ps2_rig *f)
{
    return f->port.read(f->port.dev);
}

/* These bytes wait, and no more. */
static inline void expect_bytes(struct ps2_rig *f, const u8 *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(receive(f), bytes[i]);
    assert_int_equal(receive(f), -1);
    assert_false(f->port.pending(f->port.dev));
}

#define EXPECT(f, ...)                                                                             \
    expect_bytes((f), (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

#endif
