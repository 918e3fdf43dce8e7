/* SPDX-License-Identifier: MIT
 *
 * A PS/2 mouse (IBM PS/2 Hardware Interface Technical Reference, "Auxiliary device") with the wheel
 * of Microsoft's IntelliMouse: setting the sample rates 200, 100, 80 in a row changes the id from 0
 * to 3 and adds a fourth byte to each packet.
 *
 * Motion is counted here and leaves in packets: in stream mode at most at the sample rate, in
 * remote mode when asked. What does not fit into a packet stays for the next one instead of setting
 * an overflow bit.
 *
 * Deviations: one pixel of the host is one count at every resolution, so that the guest's
 * pointer keeps pace with the host's; a button that changes is reported at once, so that no click
 * falls between two samples.
 */
#include "devices/ps2mouse.h"

#include <stdlib.h>

enum mouse_command {
    CMD_SCALING_1_1 = 0xe6,
    CMD_SCALING_2_1 = 0xe7,
    CMD_RESOLUTION = 0xe8,
    CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea,
    CMD_READ_DATA = 0xeb,
    CMD_RESET_WRAP = 0xec,
    CMD_WRAP = 0xee,
    CMD_REMOTE = 0xf0,
    CMD_READ_ID = 0xf2,
    CMD_SAMPLE_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULT = 0xf6,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};

enum mouse_answer { ANSWER_ACK = 0xfa, ANSWER_BAT_OK = 0xaa, ANSWER_RESEND = 0xfe };
enum mouse_id { ID_PLAIN = 0, ID_WHEEL = 3 };

enum {
    STATUS_REMOTE = 1 << 6,
    STATUS_ENABLED = 1 << 5,
    STATUS_SCALING = 1 << 4,
    STATUS_LEFT = 1 << 2,
    STATUS_MIDDLE = 1 << 1,
    STATUS_RIGHT = 1 << 0,
};

enum {
    PACKET_Y_SIGN = 1 << 5,
    PACKET_X_SIGN = 1 << 4,
    PACKET_ALWAYS = 1 << 3,
    PACKET_MIDDLE = 1 << 2,
    PACKET_RIGHT = 1 << 1,
    PACKET_LEFT = 1 << 0,
};

enum {
    BUTTONS = POINTER_LEFT | POINTER_RIGHT | POINTER_MIDDLE,
    RESOLUTION_DEFAULT = 2, /* 4 counts/mm */
    RESOLUTION_MAX = 3,
    RATE_DEFAULT = 100,
    RATE_MIN = 10,
    RATE_MAX = 200,
    QUEUE_BYTES = 64,
    PACKET_BYTES = 4,
    COUNT_MIN = -256,
    COUNT_MAX = 255,
    WHEEL_MIN = -8,
    WHEEL_MAX = 7,
    MOTION_LIMIT = 1 << 16, /* what is kept of motion that nobody reads */
};

struct ps2mouse {
    u8 queue[QUEUE_BYTES]; /* ring */
    u32 head, count;
    u8 command; /* that waits for its argument, or 0 */
    u8 last_sent;
    u8 id;
    u8 rate, resolution;
    u8 rates[2]; /* the two sample rates set before: the knock of the IntelliMouse */
    bool remote, wrap, enabled, scaling;
    u8 buttons;          /* enum pointer_button */
    u8 reported_buttons; /* as of the last packet */
    i64 dx, dy, dz;      /* counts since the last packet, as the screen has them: y grows down */
    i64 sampled_at;      /* ns of the last packet in stream mode */
    struct timer sample;

    void (*ready)(void *host);
    void *host;
};

static void tell_host(struct ps2mouse *m)
{
    if (m->ready)
        m->ready(m->host);
}

static void put(struct ps2mouse *m, u8 byte)
{
    if (m->count < QUEUE_BYTES)
        m->queue[(m->head + m->count++) % QUEUE_BYTES] = byte;
}

static bool mouse_pending(void *dev)
{
    struct ps2mouse *m = dev;
    return m->count;
}

/* ---- Packets ---- */

static i64 limit(i64 v, i64 low, i64 high)
{
    return v < low ? low : v > high ? high : v;
}

/* 2:1 scaling, applied to stream mode reports only. */
static i64 scaled(i64 v)
{
    static const i64 small[] = {0, 1, 1, 3, 6, 9};
    i64 magnitude = v < 0 ? -v : v;
    i64 out = magnitude < (i64)ARRAY_LEN(small) ? small[magnitude] : magnitude * 2;
    return v < 0 ? -out : out;
}

static void put_packet(struct ps2mouse *m, bool scale)
{
    i64 dx = limit(m->dx, COUNT_MIN, COUNT_MAX), dy = limit(m->dy, -COUNT_MAX, -COUNT_MIN);
    m->dx -= dx;
    m->dy -= dy;
    i64 x = dx, y = -dy;
    if (scale) {
        x = limit(scaled(x), COUNT_MIN, COUNT_MAX);
        y = limit(scaled(y), COUNT_MIN, COUNT_MAX);
    }
    put(m, (u8)(PACKET_ALWAYS | (m->buttons & POINTER_LEFT ? PACKET_LEFT : 0) |
                (m->buttons & POINTER_RIGHT ? PACKET_RIGHT : 0) |
                (m->buttons & POINTER_MIDDLE ? PACKET_MIDDLE : 0) | (x < 0 ? PACKET_X_SIGN : 0) |
                (y < 0 ? PACKET_Y_SIGN : 0)));
    put(m, (u8)x);
    put(m, (u8)y);
    i64 dz = limit(m->dz, WHEEL_MIN, WHEEL_MAX);
    if (m->id == ID_WHEEL)
        put(m, (u8)dz);
    m->dz -= m->id == ID_WHEEL ? dz : m->dz;
    m->reported_buttons = m->buttons;
}

static bool moved(const struct ps2mouse *m)
{
    return m->dx || m->dy || (m->dz && m->id == ID_WHEEL);
}

static bool has_news(const struct ps2mouse *m)
{
    bool speaks = !m->remote && !m->wrap && m->enabled && !m->command;
    return speaks && (moved(m) || m->buttons != m->reported_buttons);
}

/* Stream mode: reports now what may be reported now. The rest follows at the next sample, or when
 * the host has read what it was sent. */
static void mouse_stream(struct ps2mouse *m)
{
    if (!has_news(m))
        return;
    i64 now = clock_now(m->sample.clock), period = NS_PER_SEC / m->rate;
    bool clicked = m->buttons != m->reported_buttons;
    bool fits = m->count + PACKET_BYTES <= QUEUE_BYTES;
    if ((clicked && fits) || (m->count == 0 && now >= m->sampled_at + period)) {
        put_packet(m, m->scaling);
        m->sampled_at = now;
        tell_host(m);
    }
    if (m->count == 0 && has_news(m))
        timer_arm(&m->sample, m->sampled_at + period);
}

static void mouse_sample(void *opaque)
{
    mouse_stream(opaque);
}

static void mouse_move(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    struct ps2mouse *m = opaque;
    m->dx = limit(m->dx + dx, -MOTION_LIMIT, MOTION_LIMIT);
    m->dy = limit(m->dy + dy, -MOTION_LIMIT, MOTION_LIMIT);
    m->dz = limit(m->dz + dz, -MOTION_LIMIT, MOTION_LIMIT);
    m->buttons = (u8)(buttons & BUTTONS);
    mouse_stream(m);
}

/* ---- Commands ---- */

static void forget_motion(struct ps2mouse *m)
{
    m->dx = m->dy = m->dz = 0;
}

static void set_defaults(struct ps2mouse *m)
{
    m->rate = RATE_DEFAULT;
    m->resolution = RESOLUTION_DEFAULT;
    m->scaling = m->enabled = m->remote = false;
    forget_motion(m);
    timer_cancel(&m->sample);
}

static void put_status(struct ps2mouse *m)
{
    put(m, (u8)((m->remote ? STATUS_REMOTE : 0) | (m->enabled ? STATUS_ENABLED : 0) |
                (m->scaling ? STATUS_SCALING : 0) | (m->buttons & POINTER_LEFT ? STATUS_LEFT : 0) |
                (m->buttons & POINTER_MIDDLE ? STATUS_MIDDLE : 0) |
                (m->buttons & POINTER_RIGHT ? STATUS_RIGHT : 0)));
    put(m, m->resolution);
    put(m, m->rate);
}

static void do_command(struct ps2mouse *m, u8 command)
{
    if (command == CMD_RESEND) {
        put(m, m->last_sent);
        return;
    }
    put(m, ANSWER_ACK);
    switch ((enum mouse_command)command) {
    case CMD_SCALING_1_1: m->scaling = false; break;
    case CMD_SCALING_2_1: m->scaling = true; break;
    case CMD_RESOLUTION:
    case CMD_SAMPLE_RATE: m->command = command; break;
    case CMD_STATUS: put_status(m); break;
    case CMD_STREAM:
        m->remote = false;
        forget_motion(m);
        break;
    case CMD_READ_DATA: put_packet(m, false); break;
    case CMD_RESET_WRAP: m->wrap = false; break;
    case CMD_WRAP: m->wrap = true; break;
    case CMD_REMOTE:
        m->remote = true;
        forget_motion(m);
        break;
    case CMD_READ_ID: put(m, m->id); break;
    case CMD_ENABLE:
        m->enabled = true;
        forget_motion(m);
        m->reported_buttons = m->buttons;
        break;
    case CMD_DISABLE: m->enabled = false; break;
    case CMD_DEFAULT: set_defaults(m); break;
    case CMD_RESET:
        set_defaults(m);
        m->wrap = false;
        m->id = ID_PLAIN;
        put(m, ANSWER_BAT_OK);
        put(m, m->id);
        break;
    default:
        m->head = m->count = 0;
        put(m, ANSWER_RESEND);
        break;
    }
}

static void set_rate(struct ps2mouse *m, u8 rate)
{
    if (m->rates[0] == 200 && m->rates[1] == 100 && rate == 80)
        m->id = ID_WHEEL;
    m->rates[0] = m->rates[1];
    m->rates[1] = rate;
    m->rate = (u8)limit(rate, RATE_MIN, RATE_MAX);
}

static void do_argument(struct ps2mouse *m, u8 byte)
{
    u8 command = m->command;
    if (command == CMD_RESOLUTION && byte > RESOLUTION_MAX) {
        put(m, ANSWER_RESEND);
        return;
    }
    m->command = 0;
    put(m, ANSWER_ACK);
    if (command == CMD_RESOLUTION)
        m->resolution = byte;
    else
        set_rate(m, byte);
}

/* Whatever waits to be sent is dropped when the host speaks. */
static void mouse_write(void *dev, u8 byte)
{
    struct ps2mouse *m = dev;
    m->head = m->count = 0;
    bool is_command = byte >= CMD_SCALING_1_1;
    if (m->wrap && byte != CMD_RESET && byte != CMD_RESET_WRAP) {
        put(m, byte);
    } else if (m->command && !is_command) {
        do_argument(m, byte);
    } else {
        m->command = 0;
        do_command(m, byte);
    }
    tell_host(m);
}

static int mouse_read(void *dev)
{
    struct ps2mouse *m = dev;
    if (m->count == 0)
        return -1;
    u8 byte = m->queue[m->head];
    m->head = (m->head + 1) % QUEUE_BYTES;
    m->count--;
    m->last_sent = byte;
    if (m->count == 0 && has_news(m))
        timer_arm(&m->sample, m->sampled_at + NS_PER_SEC / m->rate);
    return byte;
}

static void mouse_connect(void *dev, void (*ready)(void *host), void *host)
{
    struct ps2mouse *m = dev;
    m->ready = ready;
    m->host = host;
}

static void ps2mouse_reset(void *dev)
{
    struct ps2mouse *m = dev;
    set_defaults(m);
    m->head = m->count = 0;
    m->command = m->last_sent = 0;
    m->id = ID_PLAIN;
    m->wrap = false;
    m->rates[0] = m->rates[1] = 0;
    m->sampled_at = clock_now(m->sample.clock);
}

static void ps2mouse_loaded(void *dev)
{
    struct ps2mouse *m = dev;
    m->head %= QUEUE_BYTES;
    if (m->count > QUEUE_BYTES)
        m->count = 0;
    m->rate = (u8)limit(m->rate, RATE_MIN, RATE_MAX);
    m->dx = limit(m->dx, -MOTION_LIMIT, MOTION_LIMIT);
    m->dy = limit(m->dy, -MOTION_LIMIT, MOTION_LIMIT);
    m->dz = limit(m->dz, -MOTION_LIMIT, MOTION_LIMIT);
}

static void ps2mouse_destroy(void *dev)
{
    struct ps2mouse *m = dev;
    timer_cancel(&m->sample);
    free(m);
}

// clang-format off
static const struct state_field ps2mouse_state[] = {
    STATE_ROW(STATE_BYTES, ps2mouse, queue,            QUEUE_BYTES, 1),
    STATE_ROW(STATE_U32,   ps2mouse, head,             1, 1),
    STATE_ROW(STATE_U32,   ps2mouse, count,            1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, command,          1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, last_sent,        1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, id,               1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, rate,             1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, resolution,       1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, rates,            2, 1),
    STATE_ROW(STATE_BOOL,  ps2mouse, remote,           1, 1),
    STATE_ROW(STATE_BOOL,  ps2mouse, wrap,             1, 1),
    STATE_ROW(STATE_BOOL,  ps2mouse, enabled,          1, 1),
    STATE_ROW(STATE_BOOL,  ps2mouse, scaling,          1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, buttons,          1, 1),
    STATE_ROW(STATE_U8,    ps2mouse, reported_buttons, 1, 1),
    STATE_ROW(STATE_I64,   ps2mouse, dx,               1, 1),
    STATE_ROW(STATE_I64,   ps2mouse, dy,               1, 1),
    STATE_ROW(STATE_I64,   ps2mouse, dz,               1, 1),
    STATE_ROW(STATE_I64,   ps2mouse, sampled_at,       1, 1),
    STATE_ROW(STATE_TIMER, ps2mouse, sample,           1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops ps2mouse_ops = {
    .name = "ps2mouse",
    .version = 1,
    .state = ps2mouse_state,
    .reset = ps2mouse_reset,
    .loaded = ps2mouse_loaded,
    .destroy = ps2mouse_destroy,
};

struct ps2mouse *ps2mouse_create(struct clock *clock)
{
    struct ps2mouse *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    timer_init(&m->sample, clock, mouse_sample, m);
    ps2mouse_reset(m);
    return m;
}

struct device ps2mouse_device(struct ps2mouse *mouse)
{
    return (struct device){.ops = &ps2mouse_ops, .dev = mouse};
}

struct ps2_device ps2mouse_port(struct ps2mouse *mouse)
{
    return (struct ps2_device){
        .write = mouse_write,
        .read = mouse_read,
        .pending = mouse_pending,
        .connect = mouse_connect,
        .dev = mouse,
    };
}

struct pointer_sink ps2mouse_sink(struct ps2mouse *mouse)
{
    return (struct pointer_sink){.move = mouse_move, .opaque = mouse};
}
