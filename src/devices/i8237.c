/* SPDX-License-Identifier: MIT
 *
 * The AT's two DMA controllers: Intel 8237A (order no. 231466) at 00h (channels 0..3, bytes) and
 * C0h (channels 4..7, words, registers two ports apart), and the page registers of the 74LS612 at
 * 80h..8Fh.
 *
 * Transfers are made when a device asks for them (i8237_transfer), as many bytes as it has: bus
 * timing, DREQ/DACK polarity, compressed timing and rotating priority are not visible to software
 * and not modelled. Memory-to-memory transfers, which the AT's wiring excludes, are not either.
 */
#include "devices/i8237.h"

#include <stdlib.h>

enum {
    CHANNELS = 4, /* of a chip */
    CHIPS = 2,
    CHIP0_PORT = 0x00,
    CHIP1_PORT = 0xc0,
    PAGE_PORT = 0x80,
    PAGE_PORTS = 16,
};

/* Registers from 8 on, for both directions. */
enum reg {
    REG_STATUS = 8, /* read; write: command */
    REG_REQUEST = 9,
    REG_MASK_ONE = 10,
    REG_MODE = 11,
    REG_CLEAR_FLIPFLOP = 12,
    REG_MASTER_CLEAR = 13, /* read: temporary */
    REG_CLEAR_MASK = 14,
    REG_MASK_ALL = 15,
};
enum command_bits { COMMAND_DISABLE = 1 << 2 };
enum mode_bits {
    MODE_TRANSFER = 3 << 2,
    MODE_VERIFY = 0 << 2,
    MODE_WRITE = 1 << 2, /* device to memory */
    MODE_READ = 2 << 2,
    MODE_AUTO = 1 << 4,
    MODE_DECREMENT = 1 << 5,
};
#define SELECT_CHANNEL 3
#define SELECT_SET     4

/* Port of the page register of each channel, from 80h; channel 4 is the cascade. */
static const u8 page_port[CHIPS * CHANNELS] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

struct channel {
    u16 base_address, base_count, address, count;
    u8 mode;
};

struct chip {
    struct channel channel[CHANNELS];
    u8 command, mask, status, request;
    bool high_byte; /* the flip-flop */
};

struct i8237 {
    struct chip chip[CHIPS];
    u8 page[PAGE_PORTS];
    struct physmem *pm;
    struct io_bus *bus;
    struct io_claim *claims[3];
};

static void master_clear(struct chip *c)
{
    c->command = c->status = c->request = 0;
    c->high_byte = false;
    c->mask = 0xf;
}

static u32 read_half(struct chip *c, u16 value)
{
    u8 byte = c->high_byte ? (u8)(value >> 8) : (u8)value;
    c->high_byte = !c->high_byte;
    return byte;
}

static void write_half(struct chip *c, u16 *base, u16 *current, u8 byte)
{
    *base = c->high_byte ? (u16)((*base & 0x00ff) | byte << 8) : (u16)((*base & 0xff00) | byte);
    *current = *base;
    c->high_byte = !c->high_byte;
}

static u32 chip_read(struct chip *c, unsigned reg)
{
    if (reg < REG_STATUS) {
        const struct channel *ch = &c->channel[reg / 2];
        return read_half(c, reg & 1 ? ch->count : ch->address);
    }
    switch (reg) {
    case REG_STATUS: {
        u8 status = c->status;
        c->status &= 0xf0; /* reading clears the terminal count bits */
        return status;
    }
    case REG_MASK_ALL: return c->mask | 0xf0u;
    default: return 0;
    }
}

static void chip_write(struct chip *c, unsigned reg, u8 value)
{
    if (reg < REG_STATUS) {
        struct channel *ch = &c->channel[reg / 2];
        if (reg & 1)
            write_half(c, &ch->base_count, &ch->count, value);
        else
            write_half(c, &ch->base_address, &ch->address, value);
        return;
    }
    u8 bit = (u8)(1u << (value & SELECT_CHANNEL));
    switch (reg) {
    case REG_STATUS: c->command = value; break;
    case REG_REQUEST:
        c->request = (u8)(value & SELECT_SET ? c->request | bit : c->request & ~bit);
        break;
    case REG_MASK_ONE: c->mask = (u8)(value & SELECT_SET ? c->mask | bit : c->mask & ~bit); break;
    case REG_MODE: c->channel[value & SELECT_CHANNEL].mode = value; break;
    case REG_CLEAR_FLIPFLOP: c->high_byte = false; break;
    case REG_MASTER_CLEAR: master_clear(c); break;
    case REG_CLEAR_MASK: c->mask = 0; break;
    case REG_MASK_ALL: c->mask = value & 0xf; break;
    default: break;
    }
}

static u32 low_read(void *opaque, u16 offset, unsigned size)
{
    (void)size;
    return chip_read(&((struct i8237 *)opaque)->chip[0], offset);
}

static void low_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)size;
    chip_write(&((struct i8237 *)opaque)->chip[0], offset, (u8)value);
}

static u32 high_read(void *opaque, u16 offset, unsigned size)
{
    (void)size;
    return chip_read(&((struct i8237 *)opaque)->chip[1], offset / 2);
}

static void high_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)size;
    chip_write(&((struct i8237 *)opaque)->chip[1], offset / 2, (u8)value);
}

static u32 page_read(void *opaque, u16 offset, unsigned size)
{
    (void)size;
    return ((struct i8237 *)opaque)->page[offset];
}

static void page_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)size;
    ((struct i8237 *)opaque)->page[offset] = (u8)value;
}

static const struct port_ops low_ops = {.name = "i8237", .read = low_read, .write = low_write};
static const struct port_ops high_ops = {.name = "i8237", .read = high_read, .write = high_write};
static const struct port_ops page_ops = {
    .name = "dma-page", .read = page_read, .write = page_write};

/* ---- transfers ---- */

/* Address of the current unit: words on the second chip, whose page register lacks bit 0. */
static u64 unit_address(const struct i8237 *dma, unsigned channel)
{
    const struct channel *ch = &dma->chip[channel / CHANNELS].channel[channel % CHANNELS];
    u64 page = dma->page[page_port[channel]];
    if (channel < CHANNELS)
        return page << 16 | ch->address;
    return (page & 0xfe) << 16 | (u64)ch->address << 1;
}

/* One unit was moved. True at terminal count. */
static bool advance(struct chip *c, unsigned n)
{
    struct channel *ch = &c->channel[n];
    ch->address = (u16)(ch->mode & MODE_DECREMENT ? ch->address - 1 : ch->address + 1);
    if (ch->count-- != 0)
        return false;
    c->status |= (u8)(1u << n);
    if (ch->mode & MODE_AUTO) {
        ch->address = ch->base_address;
        ch->count = ch->base_count;
    } else {
        c->mask |= (u8)(1u << n);
    }
    return true;
}

size_t i8237_transfer(struct i8237 *dma, unsigned channel, void *buf, size_t n, bool *tc)
{
    *tc = false;
    if (channel >= CHIPS * CHANNELS || channel == CHANNELS)
        return 0;
    struct chip *c = &dma->chip[channel / CHANNELS];
    unsigned index = channel % CHANNELS, unit = channel < CHANNELS ? 1 : 2;
    size_t moved = 0;
    /* The second chip reaches the CPU through the first one's cascade: channel 4 of chip 1. */
    bool cascade = channel >= CHANNELS || !(dma->chip[1].mask & 1);
    if ((c->mask >> index & 1) || (c->command & COMMAND_DISABLE) || !cascade)
        return 0;
    while (!*tc && n - moved >= unit) {
        u64 pa = unit_address(dma, channel);
        switch (c->channel[index].mode & MODE_TRANSFER) {
        case MODE_WRITE: physmem_write(dma->pm, pa, (u8 *)buf + moved, unit); break;
        case MODE_READ: physmem_read(dma->pm, pa, (u8 *)buf + moved, unit); break;
        default: break; /* verify: addresses only */
        }
        moved += unit;
        *tc = advance(c, index);
    }
    return moved;
}

void i8237_request(struct i8237 *dma, unsigned channel, bool level)
{
    if (channel >= CHIPS * CHANNELS)
        return;
    struct chip *c = &dma->chip[channel / CHANNELS];
    u8 bit = (u8)(0x10u << (channel % CHANNELS));
    c->status = (u8)(level ? c->status | bit : c->status & ~bit);
}

/* ---- life ---- */

static void i8237_reset(void *dev)
{
    struct i8237 *dma = dev;
    memset(dma->chip, 0, sizeof dma->chip);
    memset(dma->page, 0, sizeof dma->page);
    for (unsigned i = 0; i < CHIPS; i++)
        master_clear(&dma->chip[i]);
}

static void i8237_destroy(void *dev)
{
    struct i8237 *dma = dev;
    for (size_t i = 0; i < ARRAY_LEN(dma->claims); i++)
        io_bus_release(dma->bus, dma->claims[i]);
    free(dma);
}

static const struct state_field i8237_state[] = {
    STATE_ROW(STATE_BYTES, i8237, chip, sizeof(struct chip) * CHIPS, 1),
    STATE_ROW(STATE_U8, i8237, page, PAGE_PORTS, 1),
    STATE_END,
};

static const struct device_ops i8237_ops = {
    .name = "i8237",
    .version = 1,
    .state = i8237_state,
    .reset = i8237_reset,
    .destroy = i8237_destroy,
};

struct i8237 *i8237_create(struct io_bus *bus, struct physmem *pm)
{
    struct i8237 *dma = calloc(1, sizeof *dma);
    if (!dma)
        return NULL;
    dma->bus = bus;
    dma->pm = pm;
    i8237_reset(dma);
    dma->claims[0] = io_bus_claim(bus, CHIP0_PORT, 16, &low_ops, dma);
    dma->claims[1] = io_bus_claim(bus, CHIP1_PORT, 32, &high_ops, dma);
    dma->claims[2] = io_bus_claim(bus, PAGE_PORT, PAGE_PORTS, &page_ops, dma);
    return dma;
}

struct device i8237_device(struct i8237 *dma)
{
    return (struct device){.ops = &i8237_ops, .dev = dma};
}
