/* SPDX-License-Identifier: MIT
 *
 * The AT's two cascaded interrupt controllers: Intel 8259A (order no. 231468), as the PIIX3 has
 * them (82371SB §3.5), with the edge/level control registers at 4D0h and 4D1h.
 *
 * A request in edge mode is a latch behind the input: a rising edge sets it, acknowledging or a
 * falling input clears it. "If the IR input goes low before the first INTA, a default IR7 occurs":
 * so a device holds its line until it is served, and pulses are lost. In level mode the request is
 * the input itself.
 *
 * Deviations: as in the PIIX, LTIM of ICW1 is ignored (ELCR takes its place), so are ICW3 (the
 * cascade is hard-wired to input 2) and buffered mode. MCS-80 mode is not offered: acknowledging
 * always gives an 8086 vector.
 */
#include "devices/i8259.h"

#include <stdlib.h>

enum {
    MASTER_PORT = 0x20,
    SLAVE_PORT = 0xa0,
    ELCR_PORT = 0x4d0,
    CHIP_PORTS = 2,
    CASCADE_INPUT = 2,
    SPURIOUS_INPUT = 7,
    CHIP_INPUTS = 8,
};

/* Port 0 of a chip (A0 low). */
enum {
    ICW1_SELECT = 1 << 4,
    ICW1_SNGL = 1 << 1,
    ICW1_IC4 = 1 << 0,
    OCW3_SELECT = 1 << 3,
    OCW3_ESMM = 1 << 6,
    OCW3_SMM = 1 << 5,
    OCW3_POLL = 1 << 2,
    OCW3_RR = 1 << 1,
    OCW3_RIS = 1 << 0,
    OCW2_LEVEL = 7 << 0,
    POLL_REQUEST = 1 << 7,
};

/* Bits 7..5 of OCW2: R, SL, EOI. */
enum ocw2 {
    OCW2_ROTATE_AEOI_CLEAR = 0,
    OCW2_EOI = 1,
    OCW2_NOP = 2,
    OCW2_SPECIFIC_EOI = 3,
    OCW2_ROTATE_AEOI_SET = 4,
    OCW2_ROTATE_EOI = 5,
    OCW2_SET_PRIORITY = 6,
    OCW2_ROTATE_SPECIFIC_EOI = 7,
};
#define OCW2_COMMAND_SHIFT 5

enum { ICW2_BASE = 0xf8, ICW4_AEOI = 1 << 1, ICW4_SFNM = 1 << 4 };

/* What the next write to port 1 (A0 high) is. */
enum init_step { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* Inputs that are edge-triggered for ever: timer, keyboard, cascade; RTC and coprocessor. */
static const u8 elcr_writable[2] = {0xf8, 0xde};

struct chip {
    u8 lines;  /* level of the inputs */
    u8 latch;  /* edge requests */
    u8 isr;    /* in service */
    u8 imr;    /* masked */
    u8 elcr;   /* 1: level-triggered */
    u8 base;   /* vector of input 0 */
    u8 lowest; /* input with the lowest priority now */
    u8 init;   /* enum init_step */
    bool icw4_follows, single;
    bool aeoi, rotate_aeoi;
    bool special_mask, special_nested;
    bool read_isr; /* what port 0 reads: ISR or IRR */
    bool poll;     /* the next read acknowledges */
};

struct i8259 {
    struct chip chip[2]; /* master, slave */
    bool intr_level;

    struct irq_line intr;
    void (*taken)(void *opaque, unsigned irq);
    void *taken_opaque;
    struct io_bus *bus;
    struct io_claim *claims[3];
};

static u8 chip_irr(const struct chip *c)
{
    return (u8)((c->latch & ~c->elcr) | (c->lines & c->elcr));
}

/* Distance from the highest priority of input n: 0..7. */
static unsigned chip_rank(const struct chip *c, unsigned n)
{
    return (n - c->lowest - 1) & 7;
}

/* The input of highest priority in `set`, or -1. */
static int chip_first(const struct chip *c, u8 set)
{
    for (unsigned rank = 0; rank < CHIP_INPUTS; rank++) {
        unsigned n = (c->lowest + 1 + rank) & 7;
        if (set >> n & 1)
            return (int)n;
    }
    return -1;
}

/* The input that the chip's INT output stands for, or -1. */
static int chip_request(const struct chip *c, bool is_master)
{
    if (c->init != INIT_DONE)
        return -1;
    int n = chip_first(c, chip_irr(c) & (u8)~c->imr);
    if (n < 0)
        return -1;
    /* In special mask mode a level that is masked no longer holds others off. */
    int serving = chip_first(c, c->special_mask ? c->isr & (u8)~c->imr : c->isr);
    if (serving < 0 || chip_rank(c, (unsigned)n) < chip_rank(c, (unsigned)serving))
        return n;
    /* Special fully nested mode: the slave may interrupt its own service routine. */
    if (is_master && c->special_nested && n == serving && n == CASCADE_INPUT)
        return n;
    return -1;
}

/* First INTA: the request becomes a service. */
static void chip_accept(struct chip *c, unsigned n)
{
    c->latch &= (u8) ~(1u << n);
    if (!c->aeoi)
        c->isr |= (u8)(1u << n);
    else if (c->rotate_aeoi)
        c->lowest = (u8)n;
}

static void chip_set_line(struct chip *c, unsigned n, bool level)
{
    u8 bit = (u8)(1u << n);
    if (level && !(c->lines & bit))
        c->latch |= bit;
    if (!level)
        c->latch &= (u8)~bit;
    c->lines = level ? c->lines | bit : c->lines & (u8)~bit;
}

/* Lets the slave's INT and the pair's INTR follow the state. */
static void i8259_update(struct i8259 *pic)
{
    struct chip *master = &pic->chip[0], *slave = &pic->chip[1];
    chip_set_line(master, CASCADE_INPUT, chip_request(slave, false) >= 0);
    bool level = chip_request(master, true) >= 0;
    if (level != pic->intr_level) {
        pic->intr_level = level;
        irq_set(&pic->intr, level);
    }
}

static void i8259_set(void *opaque, unsigned n, bool level)
{
    struct i8259 *pic = opaque;
    chip_set_line(&pic->chip[n / CHIP_INPUTS], n % CHIP_INPUTS, level);
    i8259_update(pic);
}

struct irq_line i8259_input(struct i8259 *pic, unsigned irq)
{
    if (irq >= I8259_INPUTS || irq == CASCADE_INPUT)
        return (struct irq_line){0};
    return (struct irq_line){.set = i8259_set, .opaque = pic, .n = irq};
}

static void tell_taken(struct i8259 *pic, unsigned irq)
{
    if (pic->taken)
        pic->taken(pic->taken_opaque, irq);
}

/* The slave's half of an acknowledge: its INT falls even when another request waits, so that the
 * master, which is edge-triggered, sees that one too. A slave that has nothing to say answers its
 * IR7 (IRQ15) with nothing in service; both chips change together here, so only a request that
 * `taken` of another one withdrew can come to that. */
static unsigned slave_ack(struct i8259 *pic)
{
    struct chip *slave = &pic->chip[1];
    int n = chip_request(slave, false);
    chip_set_line(&pic->chip[0], CASCADE_INPUT, false);
    if (n < 0)
        return slave->base + SPURIOUS_INPUT;
    chip_accept(slave, (unsigned)n);
    tell_taken(pic, CHIP_INPUTS + (unsigned)n);
    return slave->base + (unsigned)n;
}

int i8259_ack(struct i8259 *pic)
{
    struct chip *master = &pic->chip[0];
    int n = chip_request(master, true);
    unsigned vector;
    if (n < 0) {
        vector = master->base + SPURIOUS_INPUT;
    } else {
        chip_accept(master, (unsigned)n);
        if (n == CASCADE_INPUT) {
            vector = slave_ack(pic);
        } else {
            vector = master->base + (unsigned)n;
            tell_taken(pic, (unsigned)n);
        }
    }
    i8259_update(pic);
    return (int)vector;
}

bool i8259_pending(const struct i8259 *pic)
{
    return pic->intr_level;
}

void i8259_on_taken(struct i8259 *pic, void (*taken)(void *opaque, unsigned irq), void *opaque)
{
    pic->taken = taken;
    pic->taken_opaque = opaque;
}

struct i8259_view i8259_view(const struct i8259 *pic, unsigned chip)
{
    const struct chip *c = &pic->chip[chip & 1];
    return (struct i8259_view){
        .irr = chip_irr(c),
        .imr = c->imr,
        .isr = c->isr,
        .base = c->base,
        .elcr = c->elcr,
        .lines = c->lines,
        .aeoi = c->aeoi,
        .special_mask = c->special_mask,
        .special_nested = c->special_nested,
    };
}

/* ICW1 resets all but the inputs' levels and ELCR: an input that is high must fall and rise again
 * before it is an edge. */
static void write_icw1(struct chip *c, u8 v)
{
    c->latch = c->isr = c->imr = 0;
    c->lowest = CHIP_INPUTS - 1;
    c->special_mask = c->read_isr = c->poll = false;
    c->aeoi = c->rotate_aeoi = c->special_nested = false;
    c->single = v & ICW1_SNGL;
    c->icw4_follows = v & ICW1_IC4;
    c->init = INIT_ICW2;
}

static void write_ocw2(struct chip *c, u8 v)
{
    unsigned level = v & OCW2_LEVEL;
    enum ocw2 command = v >> OCW2_COMMAND_SHIFT;
    int served;
    switch (command) {
    case OCW2_ROTATE_AEOI_CLEAR: c->rotate_aeoi = false; break;
    case OCW2_ROTATE_AEOI_SET: c->rotate_aeoi = true; break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        /* In special mask mode, masked levels are not touched by a non-specific EOI. */
        served = chip_first(c, c->special_mask ? c->isr & (u8)~c->imr : c->isr);
        if (served < 0)
            break;
        c->isr &= (u8) ~(1u << served);
        if (command == OCW2_ROTATE_EOI)
            c->lowest = (u8)served;
        break;
    case OCW2_SPECIFIC_EOI: c->isr &= (u8) ~(1u << level); break;
    case OCW2_ROTATE_SPECIFIC_EOI:
        c->isr &= (u8) ~(1u << level);
        c->lowest = (u8)level;
        break;
    case OCW2_SET_PRIORITY: c->lowest = (u8)level; break;
    case OCW2_NOP: break;
    }
}

static void write_ocw3(struct chip *c, u8 v)
{
    if (v & OCW3_ESMM)
        c->special_mask = v & OCW3_SMM;
    if (v & OCW3_POLL)
        c->poll = true;
    else if (v & OCW3_RR)
        c->read_isr = v & OCW3_RIS;
}

static void write_port1(struct chip *c, u8 v)
{
    switch ((enum init_step)c->init) {
    case INIT_DONE: c->imr = v; break;
    case INIT_ICW2:
        c->base = v & ICW2_BASE;
        c->init = !c->single ? INIT_ICW3 : c->icw4_follows ? INIT_ICW4 : INIT_DONE;
        break;
    case INIT_ICW3: c->init = c->icw4_follows ? INIT_ICW4 : INIT_DONE; break;
    case INIT_ICW4:
        c->aeoi = v & ICW4_AEOI;
        c->special_nested = v & ICW4_SFNM;
        c->init = INIT_DONE;
        break;
    }
}

static void chip_write(struct i8259 *pic, struct chip *c, u16 offset, u8 v)
{
    if (offset == 1)
        write_port1(c, v);
    else if (v & ICW1_SELECT)
        write_icw1(c, v);
    else if (v & OCW3_SELECT)
        write_ocw3(c, v);
    else
        write_ocw2(c, v);
    i8259_update(pic);
}

/* A read after the poll command is an acknowledge: bit 7 and the level. */
static u8 chip_poll(struct i8259 *pic, struct chip *c)
{
    bool is_master = c == &pic->chip[0];
    c->poll = false;
    int n = chip_request(c, is_master);
    if (n < 0)
        return 0;
    chip_accept(c, (unsigned)n);
    if (!is_master)
        chip_set_line(&pic->chip[0], CASCADE_INPUT, false);
    if (!is_master || n != CASCADE_INPUT)
        tell_taken(pic, (is_master ? 0 : CHIP_INPUTS) + (unsigned)n);
    i8259_update(pic);
    return (u8)(POLL_REQUEST | n);
}

static u8 chip_read(struct i8259 *pic, struct chip *c, u16 offset)
{
    if (c->poll)
        return chip_poll(pic, c);
    if (offset == 1)
        return c->imr;
    return c->read_isr ? c->isr : chip_irr(c);
}

static u32 master_read(void *opaque, u16 offset, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    return chip_read(pic, &pic->chip[0], offset);
}

static void master_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    chip_write(pic, &pic->chip[0], offset, (u8)value);
}

static u32 slave_read(void *opaque, u16 offset, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    return chip_read(pic, &pic->chip[1], offset);
}

static void slave_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    chip_write(pic, &pic->chip[1], offset, (u8)value);
}

static u32 elcr_read(void *opaque, u16 offset, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    return pic->chip[offset].elcr;
}

static void elcr_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct i8259 *pic = opaque;
    (void)size;
    pic->chip[offset].elcr = (u8)value & elcr_writable[offset];
    i8259_update(pic);
}

/* Power-on: as after ICW1 with nothing else said; firmware initialises the pair. The inputs keep
 * the levels that their devices drive. */
static void i8259_reset(void *dev)
{
    struct i8259 *pic = dev;
    for (unsigned i = 0; i < 2; i++) {
        u8 lines = pic->chip[i].lines;
        pic->chip[i] = (struct chip){.lines = lines, .lowest = CHIP_INPUTS - 1};
    }
    i8259_update(pic);
}

static void i8259_loaded(void *dev)
{
    struct i8259 *pic = dev;
    for (unsigned i = 0; i < 2; i++) {
        pic->chip[i].lowest &= CHIP_INPUTS - 1;
        if (pic->chip[i].init > INIT_ICW4)
            pic->chip[i].init = INIT_DONE;
    }
    irq_set(&pic->intr, pic->intr_level);
}

static void i8259_destroy(void *dev)
{
    struct i8259 *pic = dev;
    for (size_t i = 0; i < ARRAY_LEN(pic->claims); i++)
        io_bus_release(pic->bus, pic->claims[i]);
    free(pic);
}

// clang-format off
#define CHIP_ROWS(n)                                                     \
    STATE_ROW(STATE_U8,   i8259, chip[n].lines,          1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].latch,          1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].isr,            1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].imr,            1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].elcr,           1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].base,           1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].lowest,         1, 1),          \
    STATE_ROW(STATE_U8,   i8259, chip[n].init,           1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].icw4_follows,   1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].single,         1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].aeoi,           1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].rotate_aeoi,    1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].special_mask,   1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].special_nested, 1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].read_isr,       1, 1),          \
    STATE_ROW(STATE_BOOL, i8259, chip[n].poll,           1, 1)

static const struct state_field i8259_state[] = {
    CHIP_ROWS(0),
    CHIP_ROWS(1),
    STATE_ROW(STATE_BOOL, i8259, intr_level, 1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops i8259_ops = {
    .name = "i8259",
    .version = 1,
    .state = i8259_state,
    .reset = i8259_reset,
    .loaded = i8259_loaded,
    .destroy = i8259_destroy,
};

static const struct port_ops master_ops = {
    .name = "i8259", .read = master_read, .write = master_write};
static const struct port_ops slave_ops = {
    .name = "i8259", .read = slave_read, .write = slave_write};
static const struct port_ops elcr_ops = {.name = "i8259", .read = elcr_read, .write = elcr_write};

struct i8259 *i8259_create(struct io_bus *bus, struct irq_line intr)
{
    struct i8259 *pic = calloc(1, sizeof *pic);
    if (!pic)
        return NULL;
    pic->bus = bus;
    pic->intr = intr;
    pic->claims[0] = io_bus_claim(bus, MASTER_PORT, CHIP_PORTS, &master_ops, pic);
    pic->claims[1] = io_bus_claim(bus, SLAVE_PORT, CHIP_PORTS, &slave_ops, pic);
    pic->claims[2] = io_bus_claim(bus, ELCR_PORT, CHIP_PORTS, &elcr_ops, pic);
    i8259_reset(pic);
    return pic;
}

struct device i8259_device(struct i8259 *pic)
{
    return (struct device){.ops = &i8259_ops, .dev = pic};
}
