/* SPDX-License-Identifier: MIT
 *
 * An enhanced PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and
 * 102-Key)"): scan code sets 1, 2 and 3, typematic repeat, indicators, the full command set.
 *
 * Two queues go to the host: answers to commands, and scan codes, answers first, so that a key
 * pressed while a driver talks to the keyboard does not come between a command and its answer.
 *
 * Deviations: the code queue holds 128 bytes instead of 16, because a guest may be slower than the
 * machines that number was chosen for; the grey cursor keys are sent without the shift codes that
 * sets 1 and 2 wrap around them under Num Lock or Shift; the self-test takes no time.
 */
#include "devices/ps2kbd.h"

#include <stdlib.h>

#include "devices/scancode.h"

enum kbd_command {
    CMD_SET_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SCAN_SET = 0xf0,
    CMD_READ_ID = 0xf2,
    CMD_TYPEMATIC = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DEFAULT_DISABLE = 0xf5,
    CMD_DEFAULT = 0xf6,
    CMD_ALL_TYPEMATIC = 0xf7,
    CMD_ALL_MAKE_BREAK = 0xf8,
    CMD_ALL_MAKE = 0xf9,
    CMD_ALL_TYPEMATIC_MAKE_BREAK = 0xfa,
    CMD_KEY_TYPEMATIC = 0xfb,
    CMD_KEY_MAKE_BREAK = 0xfc,
    CMD_KEY_MAKE = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
    CMD_FIRST = CMD_SET_LEDS,
};

enum kbd_answer {
    ANSWER_ECHO = 0xee,
    ANSWER_ACK = 0xfa,
    ANSWER_BAT_OK = 0xaa,
    ANSWER_ID_1 = 0xab,
    ANSWER_ID_2 = 0x83,
    ANSWER_RESEND = 0xfe,
    OVERRUN = 0x00,      /* in sets 2 and 3 */
    OVERRUN_SET1 = 0xff, /* in set 1 */
};

/* Codes that only Print Screen and Pause have. */
enum {
    SET2_LEFT_SHIFT = 0x12,
    SET2_LEFT_CTRL = 0x14,
    SET2_NUM_LOCK = 0x77,
    SET2_SCROLL_LOCK = 0x7e,
    SET2_PRINT_SCREEN = 0x7c,
    SET2_SYSRQ = 0x84,
};

enum {
    LEDS = PS2KBD_SCROLL | PS2KBD_NUM | PS2KBD_CAPS,
    TYPEMATIC_DEFAULT = 0x2b, /* 500 ms, 10.9 a second */
    TYPEMATIC_BITS = 0x7f,
    CODE_BYTES = 128,
    ANSWER_BYTES = 8,
    LONGEST_CODE = 8, /* Pause */
    SET3_CODES = 0x90,
    NO_KEY = 0, /* HID usage 0: no event */
};

/* How keys behave in set 3, per code. */
enum { SET3_REPEATS = 1, SET3_BREAKS = 2 };

struct ps2kbd {
    u8 codes[CODE_BYTES];     /* ring of scan codes */
    u8 answers[ANSWER_BYTES]; /* from answers[0] on */
    u32 code_head, code_count, answer_count;
    u8 command;   /* that waits for its argument, or 0 */
    u8 last_sent; /* for CMD_RESEND */
    u8 scan_set;
    u8 typematic;
    u8 leds;
    u8 repeating; /* HID usage of the key that repeats, or NO_KEY */
    bool scanning;
    bool down[256]; /* by HID usage */
    u8 set3_mode[SET3_CODES];
    struct timer repeat;

    void (*ready)(void *host);
    void *host;
};

/* ---- Queues ---- */

static void tell_host(struct ps2kbd *kbd)
{
    if (kbd->ready)
        kbd->ready(kbd->host);
}

static void answer(struct ps2kbd *kbd, u8 byte)
{
    if (kbd->answer_count < ANSWER_BYTES)
        kbd->answers[kbd->answer_count++] = byte;
}

static void put_code(struct ps2kbd *kbd, u8 byte)
{
    kbd->codes[(kbd->code_head + kbd->code_count++) % CODE_BYTES] = byte;
}

/* True when a whole key fits and one byte is left for the overrun code. When not, the key is lost
 * and the overrun code is sent once. */
static bool room(struct ps2kbd *kbd)
{
    if (kbd->code_count + LONGEST_CODE < CODE_BYTES)
        return true;
    u8 overrun = kbd->scan_set == 1 ? OVERRUN_SET1 : OVERRUN;
    u8 last = kbd->codes[(kbd->code_head + kbd->code_count + CODE_BYTES - 1) % CODE_BYTES];
    if (kbd->code_count < CODE_BYTES && last != overrun)
        put_code(kbd, overrun);
    return false;
}

static bool kbd_pending(void *dev)
{
    struct ps2kbd *kbd = dev;
    return kbd->answer_count || kbd->code_count;
}

static int kbd_read(void *dev)
{
    struct ps2kbd *kbd = dev;
    u8 byte;
    if (kbd->answer_count) {
        byte = kbd->answers[0];
        memmove(kbd->answers, kbd->answers + 1, --kbd->answer_count);
    } else if (kbd->code_count) {
        byte = kbd->codes[kbd->code_head];
        kbd->code_head = (kbd->code_head + 1) % CODE_BYTES;
        kbd->code_count--;
    } else {
        return -1;
    }
    kbd->last_sent = byte;
    return byte;
}

/* ---- Keys ---- */

/* A code of set 2 in the set in force (1 or 2). */
static void send_code(struct ps2kbd *kbd, bool extended, u8 set2, bool make)
{
    if (extended)
        put_code(kbd, SCANCODE_EXTENDED);
    if (kbd->scan_set == 1) {
        put_code(kbd, scancode_translate(set2) | (make ? 0 : SCANCODE_BREAK_BIT));
        return;
    }
    if (!make)
        put_code(kbd, SCANCODE_BREAK);
    put_code(kbd, set2);
}

static bool any_ctrl(const struct ps2kbd *kbd)
{
    return kbd->down[HID_LEFT_CTRL] || kbd->down[HID_RIGHT_CTRL];
}

static bool any_shift(const struct ps2kbd *kbd)
{
    return kbd->down[HID_LEFT_SHIFT] || kbd->down[HID_RIGHT_SHIFT];
}

static bool any_alt(const struct ps2kbd *kbd)
{
    return kbd->down[HID_LEFT_ALT] || kbd->down[HID_RIGHT_ALT];
}

/* Print Screen is Alt's System Request key, and wears a shift when alone. */
static void send_print_screen(struct ps2kbd *kbd, bool make)
{
    if (any_alt(kbd)) {
        send_code(kbd, false, SET2_SYSRQ, make);
        return;
    }
    bool shifted = !any_ctrl(kbd) && !any_shift(kbd);
    if (shifted && make)
        send_code(kbd, true, SET2_LEFT_SHIFT, true);
    send_code(kbd, true, SET2_PRINT_SCREEN, make);
    if (shifted && !make)
        send_code(kbd, true, SET2_LEFT_SHIFT, false);
}

/* Pause is Ctrl-Num Lock, made and released at once; with Ctrl it is Break. It does not repeat. */
static void send_pause(struct ps2kbd *kbd)
{
    if (any_ctrl(kbd)) {
        send_code(kbd, true, SET2_SCROLL_LOCK, true);
        send_code(kbd, true, SET2_SCROLL_LOCK, false);
        return;
    }
    for (int make = 1; make >= 0; make--) {
        put_code(kbd, SCANCODE_PAUSE);
        send_code(kbd, false, SET2_LEFT_CTRL, make);
        send_code(kbd, false, SET2_NUM_LOCK, make);
    }
}

static void send_set3(struct ps2kbd *kbd, u8 code, bool make)
{
    if (!make && !(kbd->set3_mode[code] & SET3_BREAKS))
        return;
    if (!make)
        put_code(kbd, SCANCODE_BREAK);
    put_code(kbd, code);
}

static void send_key(struct ps2kbd *kbd, hid_key key, bool make)
{
    struct scancode code = scancode_of(key);
    if (!room(kbd))
        return;
    if (kbd->scan_set == 3) {
        if (code.set3)
            send_set3(kbd, code.set3, make);
    } else if (key == HID_PRINT_SCREEN) {
        send_print_screen(kbd, make);
    } else if (key == HID_PAUSE) {
        if (make)
            send_pause(kbd);
    } else if (code.set2) {
        send_code(kbd, code.extended, code.set2, make);
    }
    if (kbd_pending(kbd))
        tell_host(kbd);
}

/* Bits 6..5 of the typematic byte: 250 ms steps. */
static i64 repeat_delay_ns(const struct ps2kbd *kbd)
{
    return (1 + (kbd->typematic >> 5 & 3)) * (NS_PER_SEC / 4);
}

/* Period = (8 + A) * 2^B * 4.17 ms with A in bits 2..0 and B in bits 4..3. */
static i64 repeat_period_ns(const struct ps2kbd *kbd)
{
    i64 a = kbd->typematic & 7, b = kbd->typematic >> 3 & 3;
    return ((8 + a) << b) * (NS_PER_SEC / 240);
}

static bool key_repeats(const struct ps2kbd *kbd, hid_key key)
{
    struct scancode code = scancode_of(key);
    if (kbd->scan_set == 3)
        return code.set3 && kbd->set3_mode[code.set3] & SET3_REPEATS;
    return key != HID_PAUSE && (code.set2 || key == HID_PRINT_SCREEN);
}

static void stop_repeating(struct ps2kbd *kbd)
{
    kbd->repeating = NO_KEY;
    timer_cancel(&kbd->repeat);
}

static void kbd_repeat(void *opaque)
{
    struct ps2kbd *kbd = opaque;
    if (kbd->repeating == NO_KEY)
        return;
    /* A host that does not listen gets no pile of repeats. */
    if (kbd->code_count == 0)
        send_key(kbd, kbd->repeating, true);
    timer_arm(&kbd->repeat, clock_now(kbd->repeat.clock) + repeat_period_ns(kbd));
}

/* A user interface may repeat keys of its own: only changes count here. */
static void kbd_key(void *opaque, hid_key key, bool down)
{
    struct ps2kbd *kbd = opaque;
    if (kbd->down[key] == down)
        return;
    kbd->down[key] = down;
    if (!kbd->scanning)
        return;
    send_key(kbd, key, down);
    if (down && key_repeats(kbd, key)) {
        kbd->repeating = key;
        timer_arm(&kbd->repeat, clock_now(kbd->repeat.clock) + repeat_delay_ns(kbd));
    } else if (!down && key == kbd->repeating) {
        stop_repeating(kbd);
    }
}

/* ---- Commands ---- */

static void set3_defaults(struct ps2kbd *kbd)
{
    static const u8 modes[] = {
        [SCANCODE_TYPEMATIC] = SET3_REPEATS,
        [SCANCODE_MAKE_BREAK] = SET3_BREAKS,
        [SCANCODE_MAKE_ONLY] = 0,
    };
    memset(kbd->set3_mode, 0, sizeof kbd->set3_mode);
    for (unsigned key = 0; key < 256; key++) {
        struct scancode code = scancode_of((hid_key)key);
        if (code.set3)
            kbd->set3_mode[code.set3] = modes[code.kind];
    }
}

static void set_defaults(struct ps2kbd *kbd)
{
    kbd->code_head = kbd->code_count = 0;
    kbd->scan_set = 2;
    kbd->typematic = TYPEMATIC_DEFAULT;
    set3_defaults(kbd);
    stop_repeating(kbd);
}

static void set_all_modes(struct ps2kbd *kbd, u8 mode)
{
    memset(kbd->set3_mode, mode, sizeof kbd->set3_mode);
}

static void do_command(struct ps2kbd *kbd, u8 command)
{
    kbd->command = 0;
    switch ((enum kbd_command)command) {
    case CMD_SET_LEDS:
    case CMD_SCAN_SET:
    case CMD_TYPEMATIC:
    case CMD_KEY_TYPEMATIC:
    case CMD_KEY_MAKE_BREAK:
    case CMD_KEY_MAKE: kbd->command = command; break;
    case CMD_ECHO: answer(kbd, ANSWER_ECHO); return;
    case CMD_RESEND: answer(kbd, kbd->last_sent); return;
    case CMD_READ_ID:
        answer(kbd, ANSWER_ACK);
        answer(kbd, ANSWER_ID_1);
        answer(kbd, ANSWER_ID_2);
        return;
    case CMD_ENABLE:
        kbd->code_head = kbd->code_count = 0;
        stop_repeating(kbd);
        kbd->scanning = true;
        break;
    case CMD_DEFAULT_DISABLE:
        set_defaults(kbd);
        kbd->scanning = false;
        break;
    case CMD_DEFAULT:
        set_defaults(kbd);
        kbd->scanning = true;
        break;
    case CMD_ALL_TYPEMATIC: set_all_modes(kbd, SET3_REPEATS); break;
    case CMD_ALL_MAKE_BREAK: set_all_modes(kbd, SET3_BREAKS); break;
    case CMD_ALL_MAKE: set_all_modes(kbd, 0); break;
    case CMD_ALL_TYPEMATIC_MAKE_BREAK: set_all_modes(kbd, SET3_REPEATS | SET3_BREAKS); break;
    case CMD_RESET:
        set_defaults(kbd);
        kbd->leds = 0;
        kbd->scanning = true;
        answer(kbd, ANSWER_ACK);
        answer(kbd, ANSWER_BAT_OK);
        return;
    default: answer(kbd, ANSWER_RESEND); return;
    }
    answer(kbd, ANSWER_ACK);
}

/* Key lists of FBh..FDh go on until the next command. */
static void set_key_mode(struct ps2kbd *kbd, u8 code, u8 mode)
{
    if (code < SET3_CODES)
        kbd->set3_mode[code] = mode;
    answer(kbd, ANSWER_ACK);
}

static void do_argument(struct ps2kbd *kbd, u8 byte)
{
    u8 command = kbd->command;
    switch (command) {
    case CMD_SET_LEDS: kbd->leds = byte & LEDS; break;
    case CMD_TYPEMATIC: kbd->typematic = byte & TYPEMATIC_BITS; break;
    case CMD_SCAN_SET:
        if (byte > 3) {
            answer(kbd, ANSWER_RESEND);
            return;
        }
        answer(kbd, ANSWER_ACK);
        if (byte == 0)
            answer(kbd, kbd->scan_set);
        else
            kbd->scan_set = byte;
        kbd->command = 0;
        return;
    case CMD_KEY_TYPEMATIC: set_key_mode(kbd, byte, SET3_REPEATS); return;
    case CMD_KEY_MAKE_BREAK: set_key_mode(kbd, byte, SET3_BREAKS); return;
    case CMD_KEY_MAKE: set_key_mode(kbd, byte, 0); return;
    default: break;
    }
    kbd->command = 0;
    answer(kbd, ANSWER_ACK);
}

/* A command where an argument is due replaces the command: no argument is that large. */
static void kbd_write(void *dev, u8 byte)
{
    struct ps2kbd *kbd = dev;
    kbd->answer_count = 0; /* a new byte from the host ends what was being answered */
    if (kbd->command && byte < CMD_FIRST)
        do_argument(kbd, byte);
    else
        do_command(kbd, byte);
    tell_host(kbd);
}

static void kbd_connect(void *dev, void (*ready)(void *host), void *host)
{
    struct ps2kbd *kbd = dev;
    kbd->ready = ready;
    kbd->host = host;
}

u8 ps2kbd_leds(const struct ps2kbd *kbd)
{
    return kbd->leds;
}

/* Power-on. Keys that the user holds stay held. */
static void ps2kbd_reset(void *dev)
{
    struct ps2kbd *kbd = dev;
    set_defaults(kbd);
    kbd->answer_count = 0;
    kbd->command = kbd->last_sent = kbd->leds = 0;
    kbd->scanning = true;
}

static void ps2kbd_loaded(void *dev)
{
    struct ps2kbd *kbd = dev;
    kbd->code_head %= CODE_BYTES;
    if (kbd->code_count > CODE_BYTES || kbd->answer_count > ANSWER_BYTES)
        kbd->code_count = kbd->answer_count = 0;
    if (kbd->scan_set < 1 || kbd->scan_set > 3)
        kbd->scan_set = 2;
}

static void ps2kbd_destroy(void *dev)
{
    struct ps2kbd *kbd = dev;
    timer_cancel(&kbd->repeat);
    free(kbd);
}

// clang-format off
static const struct state_field ps2kbd_state[] = {
    STATE_ROW(STATE_BYTES, ps2kbd, codes,        CODE_BYTES,   1),
    STATE_ROW(STATE_BYTES, ps2kbd, answers,      ANSWER_BYTES, 1),
    STATE_ROW(STATE_U32,   ps2kbd, code_head,    1, 1),
    STATE_ROW(STATE_U32,   ps2kbd, code_count,   1, 1),
    STATE_ROW(STATE_U32,   ps2kbd, answer_count, 1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, command,      1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, last_sent,    1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, scan_set,     1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, typematic,    1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, leds,         1, 1),
    STATE_ROW(STATE_U8,    ps2kbd, repeating,    1, 1),
    STATE_ROW(STATE_BOOL,  ps2kbd, scanning,     1, 1),
    STATE_ROW(STATE_BOOL,  ps2kbd, down,         256, 1),
    STATE_ROW(STATE_BYTES, ps2kbd, set3_mode,    SET3_CODES, 1),
    STATE_ROW(STATE_TIMER, ps2kbd, repeat,       1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops ps2kbd_ops = {
    .name = "ps2kbd",
    .version = 1,
    .state = ps2kbd_state,
    .reset = ps2kbd_reset,
    .loaded = ps2kbd_loaded,
    .destroy = ps2kbd_destroy,
};

struct ps2kbd *ps2kbd_create(struct clock *clock)
{
    struct ps2kbd *kbd = calloc(1, sizeof *kbd);
    if (!kbd)
        return NULL;
    timer_init(&kbd->repeat, clock, kbd_repeat, kbd);
    ps2kbd_reset(kbd);
    return kbd;
}

struct device ps2kbd_device(struct ps2kbd *kbd)
{
    return (struct device){.ops = &ps2kbd_ops, .dev = kbd};
}

struct ps2_device ps2kbd_port(struct ps2kbd *kbd)
{
    return (struct ps2_device){
        .write = kbd_write,
        .read = kbd_read,
        .pending = kbd_pending,
        .connect = kbd_connect,
        .dev = kbd,
    };
}

struct keyboard_sink ps2kbd_sink(struct ps2kbd *kbd)
{
    return (struct keyboard_sink){.key = kbd_key, .opaque = kbd};
}
