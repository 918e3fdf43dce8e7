/* SPDX-License-Identifier: MIT
 *
 * The PS/2 keyboard controller: the 8042 (UPI-41A) with the program that IBM's PS/2 Hardware
 * Interface Technical Reference describes ("Keyboard and auxiliary device controller"), ports 60h
 * and 64h.
 *
 * One byte at a time stands in the output buffer. The controller's own replies go there at once, or
 * as soon as it is read; bytes of a device need the time of a byte on its serial line after the
 * last one was read. That delay is part of the interface: programs that chain keyboard handlers
 * read port 60h twice and expect the same byte.
 *
 * Deviations: commands take no time (the input buffer is never full), there is no parity or
 * time-out error, the diagnostic dump is not there, and no password is ever installed.
 */
#include "devices/i8042.h"

#include <stdlib.h>

#include "devices/scancode.h"

enum { DATA_PORT = 0x60, COMMAND_PORT = 0x64 };

enum status_bits {
    STATUS_OBF = 1 << 0,
    STATUS_SYS = 1 << 2,
    STATUS_COMMAND = 1 << 3,  /* the last write went to 64h */
    STATUS_UNLOCKED = 1 << 4, /* the key lock is open */
    STATUS_AUX = 1 << 5,      /* the byte is the auxiliary device's */
};

enum config_bits {
    CONFIG_IRQ1 = 1 << 0,
    CONFIG_IRQ12 = 1 << 1,
    CONFIG_SYS = 1 << 2,
    CONFIG_KBD_OFF = 1 << 4,
    CONFIG_AUX_OFF = 1 << 5,
    CONFIG_TRANSLATE = 1 << 6,
};

enum output_bits {
    OUTPUT_RUN = 1 << 0, /* 0: the CPU is held in reset */
    OUTPUT_A20 = 1 << 1,
    OUTPUT_IRQ1 = 1 << 4,
    OUTPUT_IRQ12 = 1 << 5,
    OUTPUT_ALWAYS = 0xc0, /* keyboard clock and data, idle */
};

/* Input port: keyboard not locked, colour display, manufacturing jumper not set. */
#define INPUT_PORT 0xb0
/* Test inputs T0 and T1: both clock lines high. */
#define TEST_INPUTS 0x03

enum kbc_command {
    CMD_READ_RAM = 0x20, /* ..3F; 20: configuration */
    CMD_WRITE_RAM = 0x60,
    CMD_VERSION = 0xa1,
    CMD_TEST_PASSWORD = 0xa4,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_WRITE_KBD_BUFFER = 0xd2,
    CMD_WRITE_AUX_BUFFER = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_TEST_INPUTS = 0xe0,
    CMD_PULSE = 0xf0, /* ..FF: output bits whose command bit is 0 */
};

enum {
    REPLY_SELF_TEST_OK = 0x55,
    REPLY_TEST_OK = 0x00,
    REPLY_NO_PASSWORD = 0xf1,
    RAM_BYTES = 32,
    RAM_CONFIG = 0,
    PULSE_RESET = 1 << 0,
};

/* 11 bits at 12.5 kHz are 0.9 ms; keyboards differ from 0.7 to 1.1. */
#define BYTE_NS 700000

enum source { FROM_CONTROLLER, FROM_KBD, FROM_AUX };

struct i8042 {
    u8 ram[RAM_BYTES]; /* [0]: configuration, enum config_bits */
    u8 output;         /* enum output_bits that the guest wrote */
    u8 buffer;         /* what port 60h reads, full or not */
    u8 source;         /* enum source of it */
    u8 command;        /* that waits for its argument, or 0 */
    u8 reply;          /* of the controller, while the buffer is full */
    u8 reply_source;
    bool full;
    bool reply_waits;
    bool last_was_command;
    bool broken;       /* translating: F0h was swallowed */
    i64 not_before;    /* ns before which no device byte arrives */
    struct timer line; /* a byte is on its way */

    struct i8042_lines lines;
    struct ps2_device kbd, aux;
    struct clock *clock;
    struct io_bus *bus;
    struct io_claim *claims[2];
};

static u8 config(const struct i8042 *kbc)
{
    return kbc->ram[RAM_CONFIG];
}

/* ---- Output buffer ---- */

static void update_irqs(struct i8042 *kbc)
{
    bool aux = kbc->source == FROM_AUX;
    bool kbd_irq =
        config(kbc) & CONFIG_IRQ1 && (kbc->source == FROM_KBD || !(config(kbc) & CONFIG_KBD_OFF));
    irq_set(&kbc->lines.irq1, kbc->full && !aux && kbd_irq);
    irq_set(&kbc->lines.irq12, kbc->full && aux && config(kbc) & CONFIG_IRQ12);
}

static void fill(struct i8042 *kbc, u8 byte, enum source source)
{
    kbc->buffer = byte;
    kbc->source = source;
    kbc->full = true;
    update_irqs(kbc);
}

/* A byte of the controller itself: overtakes the devices. */
static void reply(struct i8042 *kbc, u8 byte, enum source source)
{
    if (!kbc->full) {
        fill(kbc, byte, source);
        return;
    }
    kbc->reply = byte;
    kbc->reply_source = source;
    kbc->reply_waits = true;
}

/* Set 2 to set 1: the break prefix becomes a bit. False: nothing to show for this byte. */
static bool translate(struct i8042 *kbc, u8 *byte)
{
    if (*byte == SCANCODE_BREAK) {
        kbc->broken = true;
        return false;
    }
    u8 set1 = scancode_translate(*byte);
    *byte = kbc->broken ? set1 | SCANCODE_BREAK_BIT : set1;
    kbc->broken = false;
    return true;
}

static bool kbd_speaks(const struct i8042 *kbc)
{
    return !(config(kbc) & CONFIG_KBD_OFF) && kbc->kbd.pending(kbc->kbd.dev);
}

static bool aux_speaks(const struct i8042 *kbc)
{
    return !(config(kbc) & CONFIG_AUX_OFF) && kbc->aux.pending(kbc->aux.dev);
}

/* Takes a byte from a device when there is room and its time has come. */
static void pull(struct i8042 *kbc)
{
    while (!kbc->full && (kbd_speaks(kbc) || aux_speaks(kbc))) {
        if (clock_now(kbc->clock) < kbc->not_before) {
            timer_arm(&kbc->line, kbc->not_before);
            return;
        }
        bool from_kbd = kbd_speaks(kbc);
        struct ps2_device *dev = from_kbd ? &kbc->kbd : &kbc->aux;
        int byte = dev->read(dev->dev);
        u8 b = (u8)byte;
        if (byte < 0 || (from_kbd && config(kbc) & CONFIG_TRANSLATE && !translate(kbc, &b)))
            continue;
        fill(kbc, b, from_kbd ? FROM_KBD : FROM_AUX);
    }
}

static void line_delivers(void *opaque)
{
    pull(opaque);
}

static void device_ready(void *host)
{
    pull(host);
}

static u32 data_read(void *opaque, u16 offset, unsigned size)
{
    struct i8042 *kbc = opaque;
    (void)offset;
    (void)size;
    u8 byte = kbc->buffer;
    if (kbc->full) {
        kbc->full = false;
        kbc->not_before = clock_now(kbc->clock) + BYTE_NS;
        update_irqs(kbc);
        if (kbc->reply_waits) {
            kbc->reply_waits = false;
            fill(kbc, kbc->reply, kbc->reply_source);
        }
        pull(kbc);
    }
    return byte;
}

/* ---- Commands ---- */

static void set_config(struct i8042 *kbc, u8 value)
{
    kbc->ram[RAM_CONFIG] = value;
    if (!(value & CONFIG_TRANSLATE))
        kbc->broken = false;
    update_irqs(kbc);
    pull(kbc);
}

static void set_a20(struct i8042 *kbc, bool level)
{
    kbc->output = level ? kbc->output | OUTPUT_A20 : kbc->output & (u8)~OUTPUT_A20;
    irq_set(&kbc->lines.a20, level);
}

static u8 read_output(const struct i8042 *kbc)
{
    u8 v = (kbc->output & (OUTPUT_RUN | OUTPUT_A20)) | OUTPUT_ALWAYS;
    if (kbc->full)
        v |= kbc->source == FROM_AUX ? OUTPUT_IRQ12 : OUTPUT_IRQ1;
    return v;
}

static void write_output(struct i8042 *kbc, u8 value)
{
    set_a20(kbc, value & OUTPUT_A20);
    if (!(value & OUTPUT_RUN))
        irq_pulse(&kbc->lines.reset);
}

static void do_command(struct i8042 *kbc, u8 command)
{
    kbc->command = 0;
    if (command >= CMD_PULSE) {
        if (!(command & PULSE_RESET))
            irq_pulse(&kbc->lines.reset);
        return;
    }
    if (command >= CMD_READ_RAM && command < CMD_READ_RAM + RAM_BYTES) {
        reply(kbc, kbc->ram[command - CMD_READ_RAM], FROM_CONTROLLER);
        return;
    }
    if (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM_BYTES) {
        kbc->command = command;
        return;
    }
    switch ((enum kbc_command)command) {
    case CMD_VERSION: reply(kbc, 0, FROM_CONTROLLER); break;
    case CMD_TEST_PASSWORD: reply(kbc, REPLY_NO_PASSWORD, FROM_CONTROLLER); break;
    case CMD_AUX_OFF: set_config(kbc, config(kbc) | CONFIG_AUX_OFF); break;
    case CMD_AUX_ON: set_config(kbc, config(kbc) & (u8)~CONFIG_AUX_OFF); break;
    case CMD_KBD_OFF: set_config(kbc, config(kbc) | CONFIG_KBD_OFF); break;
    case CMD_KBD_ON: set_config(kbc, config(kbc) & (u8)~CONFIG_KBD_OFF); break;
    case CMD_SELF_TEST:
        kbc->ram[RAM_CONFIG] |= CONFIG_SYS;
        reply(kbc, REPLY_SELF_TEST_OK, FROM_CONTROLLER);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST: reply(kbc, REPLY_TEST_OK, FROM_CONTROLLER); break;
    case CMD_READ_INPUT: reply(kbc, INPUT_PORT, FROM_CONTROLLER); break;
    case CMD_READ_OUTPUT: reply(kbc, read_output(kbc), FROM_CONTROLLER); break;
    case CMD_TEST_INPUTS: reply(kbc, TEST_INPUTS, FROM_CONTROLLER); break;
    case CMD_A20_OFF: set_a20(kbc, false); break;
    case CMD_A20_ON: set_a20(kbc, true); break;
    case CMD_WRITE_OUTPUT:
    case CMD_WRITE_KBD_BUFFER:
    case CMD_WRITE_AUX_BUFFER:
    case CMD_WRITE_AUX: kbc->command = command; break;
    default: break; /* the program of the 8042 ignores what it does not know */
    }
}

static void do_argument(struct i8042 *kbc, u8 byte)
{
    u8 command = kbc->command;
    kbc->command = 0;
    if (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM_BYTES) {
        if (command == CMD_WRITE_RAM + RAM_CONFIG)
            set_config(kbc, byte);
        else
            kbc->ram[command - CMD_WRITE_RAM] = byte;
        return;
    }
    switch ((enum kbc_command)command) {
    case CMD_WRITE_OUTPUT: write_output(kbc, byte); break;
    case CMD_WRITE_KBD_BUFFER: reply(kbc, byte, FROM_KBD); break;
    case CMD_WRITE_AUX_BUFFER: reply(kbc, byte, FROM_AUX); break;
    case CMD_WRITE_AUX:
        set_config(kbc, config(kbc) & (u8)~CONFIG_AUX_OFF);
        kbc->aux.write(kbc->aux.dev, byte);
        break;
    default: break;
    }
}

static void data_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8042 *kbc = opaque;
    (void)offset;
    (void)size;
    kbc->last_was_command = false;
    if (kbc->command) {
        do_argument(kbc, (u8)value);
        return;
    }
    /* Sending to the keyboard needs its line: the controller switches it on. */
    set_config(kbc, config(kbc) & (u8)~CONFIG_KBD_OFF);
    kbc->kbd.write(kbc->kbd.dev, (u8)value);
}

static void command_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8042 *kbc = opaque;
    (void)offset;
    (void)size;
    kbc->last_was_command = true;
    do_command(kbc, (u8)value);
}

static u32 status_read(void *opaque, u16 offset, unsigned size)
{
    struct i8042 *kbc = opaque;
    (void)offset;
    (void)size;
    return STATUS_UNLOCKED | (kbc->full ? STATUS_OBF : 0) |
           (kbc->full && kbc->source == FROM_AUX ? STATUS_AUX : 0) |
           (config(kbc) & CONFIG_SYS ? STATUS_SYS : 0) |
           (kbc->last_was_command ? STATUS_COMMAND : 0);
}

/* Power-on: A20 is not driven, it stays as the board has it. */
static void i8042_reset(void *dev)
{
    struct i8042 *kbc = dev;
    memset(kbc->ram, 0, sizeof kbc->ram);
    kbc->ram[RAM_CONFIG] = CONFIG_TRANSLATE;
    kbc->output = OUTPUT_RUN | OUTPUT_A20;
    kbc->buffer = kbc->command = 0;
    kbc->source = FROM_CONTROLLER;
    kbc->full = kbc->reply_waits = kbc->last_was_command = kbc->broken = false;
    kbc->not_before = 0;
    timer_cancel(&kbc->line);
    update_irqs(kbc);
}

static void i8042_loaded(void *dev)
{
    struct i8042 *kbc = dev;
    i64 latest = clock_now(kbc->clock) + BYTE_NS;
    if (kbc->not_before > latest)
        kbc->not_before = latest;
    update_irqs(kbc);
    pull(kbc);
}

static void i8042_destroy(void *dev)
{
    struct i8042 *kbc = dev;
    timer_cancel(&kbc->line);
    for (size_t i = 0; i < ARRAY_LEN(kbc->claims); i++)
        io_bus_release(kbc->bus, kbc->claims[i]);
    free(kbc);
}

// clang-format off
static const struct state_field i8042_state[] = {
    STATE_ROW(STATE_BYTES, i8042, ram,              RAM_BYTES, 1),
    STATE_ROW(STATE_U8,    i8042, output,           1, 1),
    STATE_ROW(STATE_U8,    i8042, buffer,           1, 1),
    STATE_ROW(STATE_U8,    i8042, source,           1, 1),
    STATE_ROW(STATE_U8,    i8042, command,          1, 1),
    STATE_ROW(STATE_U8,    i8042, reply,            1, 1),
    STATE_ROW(STATE_U8,    i8042, reply_source,     1, 1),
    STATE_ROW(STATE_BOOL,  i8042, full,             1, 1),
    STATE_ROW(STATE_BOOL,  i8042, reply_waits,      1, 1),
    STATE_ROW(STATE_BOOL,  i8042, last_was_command, 1, 1),
    STATE_ROW(STATE_BOOL,  i8042, broken,           1, 1),
    STATE_ROW(STATE_I64,   i8042, not_before,       1, 1),
    STATE_ROW(STATE_TIMER, i8042, line,             1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops i8042_ops = {
    .name = "i8042",
    .version = 1,
    .state = i8042_state,
    .reset = i8042_reset,
    .loaded = i8042_loaded,
    .destroy = i8042_destroy,
};

static const struct port_ops data_ops = {.name = "i8042", .read = data_read, .write = data_write};
static const struct port_ops command_ops = {
    .name = "i8042", .read = status_read, .write = command_write};

struct i8042 *i8042_create(struct io_bus *bus, const struct i8042_lines *lines, struct clock *clock,
                           struct ps2_device keyboard, struct ps2_device aux)
{
    struct i8042 *kbc = calloc(1, sizeof *kbc);
    if (!kbc)
        return NULL;
    kbc->bus = bus;
    kbc->lines = *lines;
    kbc->clock = clock;
    kbc->kbd = keyboard;
    kbc->aux = aux;
    timer_init(&kbc->line, clock, line_delivers, kbc);
    kbc->claims[0] = io_bus_claim(bus, DATA_PORT, 1, &data_ops, kbc);
    kbc->claims[1] = io_bus_claim(bus, COMMAND_PORT, 1, &command_ops, kbc);
    i8042_reset(kbc);
    kbc->kbd.connect(kbc->kbd.dev, device_ready, kbc);
    kbc->aux.connect(kbc->aux.dev, device_ready, kbc);
    return kbc;
}

struct device i8042_device(struct i8042 *kbc)
{
    return (struct device){.ops = &i8042_ops, .dev = kbc};
}
