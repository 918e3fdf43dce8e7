/* SPDX-License-Identifier: MIT
 *
 * The I/O APIC: Intel 82093AA (order no. 290566), with 24 redirection entries. Index register,
 * window and, as later parts have it, an EOI register.
 *
 * An edge-triggered pin sends on the rising edge. A level-triggered one sends while its input is
 * high and Remote IRR is clear; Remote IRR is cleared by an EOI for the entry's vector, and the pin
 * sends again if the input is still high.
 */
#include "devices/ioapic.h"

#include <stdlib.h>

#define MMIO_BYTES 4096

enum mmio { IOREGSEL = 0x00, IOWIN = 0x10, EOI_REGISTER = 0x40 };
enum index { INDEX_ID = 0, INDEX_VERSION = 1, INDEX_ARBITRATION = 2, INDEX_TABLE = 0x10 };
#define VERSION  (0x20u | (IOAPIC_PINS - 1) << 16) /* 20h: has the EOI register */
#define ID_SHIFT 24

/* A redirection entry. */
#define ENTRY_VECTOR     0xffu
#define ENTRY_LOGICAL    ((u64)1 << 11)
#define ENTRY_STATUS     ((u64)1 << 12)
#define ENTRY_REMOTE_IRR ((u64)1 << 14)
#define ENTRY_ACTIVE_LOW ((u64)1 << 13)
#define ENTRY_LEVEL      ((u64)1 << 15)
#define ENTRY_MASKED     ((u64)1 << 16)
#define ENTRY_READ_ONLY  (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_WRITABLE   ((u64)0xff << 56 | 0x1afff)

struct ioapic {
    u64 table[IOAPIC_PINS];
    u32 id;
    u8 select;
    bool input[IOAPIC_PINS];
    bool pending[IOAPIC_PINS]; /* an edge that came while masked or not accepted */

    struct apic_bus *apics;
    struct physmem *pm;
    struct phys_region *region;
    void (*taken)(void *opaque, unsigned pin);
    void *taken_opaque;
};

static void send(struct ioapic *io, unsigned pin)
{
    u64 entry = io->table[pin];
    if (entry & ENTRY_MASKED)
        return;
    struct apic_message m = {.dest = (u32)(entry >> 56),
                             .logical = entry & ENTRY_LOGICAL,
                             .level = entry & ENTRY_LEVEL,
                             .vector = (u8)entry,
                             .delivery = (enum apic_delivery)bits64(entry, 10, 8)};
    io->pending[pin] = false;
    if (entry & ENTRY_LEVEL)
        io->table[pin] |= ENTRY_REMOTE_IRR;
    apic_bus_send(io->apics, &m);
}

/* Sends what the pin has to say now. */
static void service(struct ioapic *io, unsigned pin)
{
    u64 entry = io->table[pin];
    if (entry & ENTRY_LEVEL) {
        if (io->input[pin] && !(entry & ENTRY_REMOTE_IRR))
            send(io, pin);
    } else if (io->pending[pin]) {
        send(io, pin);
    }
}

/* Lines of the board are active high; the polarity bit describes the wire of a real one. */
static void set_input(void *opaque, unsigned pin, bool level)
{
    struct ioapic *io = opaque;
    if (pin >= IOAPIC_PINS)
        return;
    bool rises = level && !io->input[pin];
    io->input[pin] = level;
    /* A masked edge is lost, as on the chip. */
    if (rises && !(io->table[pin] & (ENTRY_LEVEL | ENTRY_MASKED)))
        io->pending[pin] = true;
    service(io, pin);
}

struct irq_line ioapic_input(struct ioapic *io, unsigned pin)
{
    return (struct irq_line){set_input, io, pin};
}

void ioapic_eoi(struct ioapic *io, u8 vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        u64 entry = io->table[pin];
        if ((u8)entry != vector || (entry & ENTRY_MASKED && !(entry & ENTRY_REMOTE_IRR)))
            continue;
        if (io->taken)
            io->taken(io->taken_opaque, pin);
        if (entry & ENTRY_REMOTE_IRR) {
            io->table[pin] &= ~ENTRY_REMOTE_IRR;
            service(io, pin);
        }
    }
}

void ioapic_on_taken(struct ioapic *io, void (*taken)(void *opaque, unsigned pin), void *opaque)
{
    io->taken = taken;
    io->taken_opaque = opaque;
}

u64 ioapic_entry(const struct ioapic *io, unsigned pin)
{
    return pin < IOAPIC_PINS ? io->table[pin] : 0;
}

static u32 read_window(const struct ioapic *io)
{
    unsigned i = io->select;
    if (i == INDEX_ID || i == INDEX_ARBITRATION)
        return io->id << ID_SHIFT;
    if (i == INDEX_VERSION)
        return VERSION;
    if (i >= INDEX_TABLE && i < INDEX_TABLE + 2 * IOAPIC_PINS) {
        u64 entry = io->table[(i - INDEX_TABLE) / 2];
        return (u32)(i & 1 ? entry >> 32 : entry);
    }
    return 0;
}

static void write_entry(struct ioapic *io, unsigned pin, bool high, u32 value)
{
    u64 entry = io->table[pin];
    u64 mask = ENTRY_WRITABLE & (high ? (u64)0xffffffff << 32 : 0xffffffff);
    u64 wide = high ? (u64)value << 32 : value;
    entry = (entry & ~mask) | (wide & mask);
    /* Remote IRR means nothing to an edge-triggered entry; changing to edge clears it, which
     * operating systems use to get rid of a stuck one. */
    if (!(entry & ENTRY_LEVEL))
        entry &= ~ENTRY_REMOTE_IRR;
    io->table[pin] = entry;
    service(io, pin);
}

static void write_window(struct ioapic *io, u32 value)
{
    unsigned i = io->select;
    if (i == INDEX_ID)
        io->id = value >> ID_SHIFT & 0xf;
    else if (i >= INDEX_TABLE && i < INDEX_TABLE + 2 * IOAPIC_PINS)
        write_entry(io, (i - INDEX_TABLE) / 2, i & 1, value);
}

static u64 mmio_read(void *opaque, u64 offset, unsigned size)
{
    struct ioapic *io = opaque;
    (void)size;
    switch (offset & 0xff) {
    case IOREGSEL: return io->select;
    case IOWIN: return read_window(io);
    default: return 0;
    }
}

static void mmio_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct ioapic *io = opaque;
    (void)size;
    switch (offset & 0xff) {
    case IOREGSEL: io->select = (u8)value; break;
    case IOWIN: write_window(io, (u32)value); break;
    case EOI_REGISTER: ioapic_eoi(io, (u8)value); break;
    default: break;
    }
}

static const struct mmio_ops ioapic_mmio = {
    .name = "ioapic", .read = mmio_read, .write = mmio_write, .max_size = 4};

static void ioapic_reset(void *dev)
{
    struct ioapic *io = dev;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        io->table[i] = ENTRY_MASKED;
        io->pending[i] = false;
    }
    io->id = 0;
    io->select = 0;
}

static void ioapic_destroy(void *dev)
{
    struct ioapic *io = dev;
    physmem_unmap(io->pm, io->region);
    free(io);
}

// clang-format off
static const struct state_field ioapic_state[] = {
    STATE_ROW(STATE_U64,  ioapic, table,   IOAPIC_PINS, 1),
    STATE_ROW(STATE_U32,  ioapic, id,      1,           1),
    STATE_ROW(STATE_U8,   ioapic, select,  1,           1),
    STATE_ROW(STATE_BOOL, ioapic, input,   IOAPIC_PINS, 1),
    STATE_ROW(STATE_BOOL, ioapic, pending, IOAPIC_PINS, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops ioapic_ops = {
    .name = "ioapic",
    .version = 1,
    .state = ioapic_state,
    .reset = ioapic_reset,
    .destroy = ioapic_destroy,
};

struct ioapic *ioapic_create(struct physmem *pm, struct apic_bus *apics)
{
    struct ioapic *io = calloc(1, sizeof *io);
    if (!io)
        return NULL;
    io->pm = pm;
    io->apics = apics;
    ioapic_reset(io);
    io->region = physmem_map_mmio(pm, IOAPIC_BASE, MMIO_BYTES, &ioapic_mmio, io, 0);
    return io;
}

struct device ioapic_device(struct ioapic *io)
{
    return (struct device){.ops = &ioapic_ops, .dev = io};
}
