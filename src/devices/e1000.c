/* SPDX-License-Identifier: MIT
 *
 * Intel 82540EM, the card of countless desktops of 2002 and of most virtual machines since
 * (317453, "SDM"). This file: the PCI function, the register file and interrupts.
 *
 *   BAR 0   registers, 128 KiB          BAR 2   IOADDR and IODATA: the same ones from port space
 *
 * Interrupts: a cause sets its bit in ICR at once. INTA# is high while ICR and IMS have a bit in
 * common, but it rises only ITR * 256 ns after it rose last. Receive and transmit causes may be
 * late before they reach ICR: RDTR and TIDV count from the last event, RADV and TADV from the
 * first.
 *
 * Deviations: registers are reached by aligned double words only, as the SDM demands of drivers. No
 * flow control, no wake-up, no flash, no small-packet detection, no message interrupts; their
 * registers store. The EEPROM is read-only.
 */
#include "devices/e1000_regs.h"

#include <stdlib.h>

#define VENDOR_INTEL    0x8086
#define DEVICE_82540EM  0x100e
#define REVISION        3
#define CLASS_ETHERNET  0x020000
#define BAR_MEMORY      0
#define BAR_PORTS       2
#define MEMORY_BYTES    KIB(128)
#define PORT_BYTES      64
#define IOADDR          0
#define IODATA          4
#define PBA_DEFAULT     0x00100030 /* 48 KiB for reception, 16 for transmission */
#define LEDCTL_DEFAULT  0x07068302
#define VET_DEFAULT     0x8100
#define DELAY_FLUSH     (1u << 31) /* RDTR, TIDV: now */
#define DELAY_MASK      0xffffu
#define RING_BASE_MASK  0xfffffff0u
#define RING_BYTES_MASK 0x000fff80u

/* The registers that store what is written, with their writable bits; all others are decoded
 * below, or are not there. */
static const struct {
    u32 offset, count, writable;
} stored[] = {
    {CTRL_EXT, 1, ~0u},
    {FCAL, 1, ~0u},
    {FCAH, 1, 0xffff},
    {FCT, 1, 0xffff},
    {VET, 1, 0xffff},
    {ITR, 1, 0xffff},
    {FCTTV, 1, 0xffff},
    {TXCW, 1, ~0u},
    {TIPG, 1, 0x3fffffff},
    {AIT, 1, 0xffff},
    {LEDCTL, 1, ~0u},
    {PBA, 1, 0xffff},
    {FCRTL, 1, ~0u},
    {FCRTH, 1, ~0u},
    {RDBAL, 1, RING_BASE_MASK},
    {RDBAH, 1, ~0u},
    {RDLEN, 1, RING_BYTES_MASK},
    {RDH, 1, 0xffff},
    {RXDCTL, 1, ~0u},
    {RADV, 1, 0xffff},
    {RSRPD, 1, 0xfff},
    {TDFH, 1, 0x1fff},
    {TDFT, 1, 0x1fff},
    {TDFHS, 1, 0x1fff},
    {TDFTS, 1, 0x1fff},
    {TDFPC, 1, 0x1fff},
    {TDBAL, 1, RING_BASE_MASK},
    {TDBAH, 1, ~0u},
    {TDLEN, 1, RING_BYTES_MASK},
    {TDH, 1, 0xffff},
    {TXDCTL, 1, ~0u},
    {TADV, 1, 0xffff},
    {TSPMT, 1, ~0u},
    {RXCSUM, 1, 0x7ff},
    {MTA, MTA_WORDS, ~0u},
    {RAL, 2 * RAR_COUNT, ~0u},
    {VFTA, VFTA_WORDS, ~0u},
    {WUC, 1, ~0u},
    {WUFC, 1, ~0u},
    {WUS, 1, ~0u},
    {MANC, 1, ~0u},
    {IPAV, 1, ~0u},
    {0x5840, 8, ~0u} /* IP4AT */,
    {0x5880, 4, ~0u} /* IP6AT */,
    {WUPL, 1, 0},
};

static u32 writable_bits(u32 offset)
{
    for (size_t i = 0; i < ARRAY_LEN(stored); i++) {
        if (offset >= stored[i].offset && offset < stored[i].offset + 4 * stored[i].count)
            return stored[i].writable;
    }
    return 0;
}

bool e1000_link(const struct e1000 *e)
{
    return e->netdev != NULL;
}

/* ---- interrupts ---- */

static void update_interrupt(struct e1000 *e)
{
    bool wanted = e1000_get(e, ICR) & e1000_get(e, IMS);
    i64 now = clock_now(e->clock);
    i64 earliest = e->last_interrupt + (i64)e1000_get(e, ITR) * ITR_UNIT_NS;
    if (wanted == e->pci.intx)
        return;
    if (wanted && e1000_get(e, ITR) && now < earliest) {
        if (!timer_is_armed(&e->throttle))
            timer_arm(&e->throttle, earliest);
        return;
    }
    if (wanted)
        e->last_interrupt = now;
    pci_set_intx(&e->pci, wanted);
}

void e1000_raise(struct e1000 *e, u32 causes)
{
    *e1000_reg(e, ICR) |= causes & INT_ALL;
    update_interrupt(e);
}

static void throttle_ended(void *opaque)
{
    update_interrupt(opaque);
}

void e1000_delayed(struct e1000 *e, struct e1000_delay *d, u32 wait, u32 limit)
{
    i64 now = clock_now(e->clock), at = now + (i64)(wait & DELAY_MASK) * DELAY_UNIT_NS;
    if (d->limit == CLOCK_NEVER)
        d->limit = limit ? now + (i64)(limit & DELAY_MASK) * DELAY_UNIT_NS : CLOCK_NEVER - 1;
    timer_arm(&d->timer, at < d->limit ? at : d->limit);
}

static void delay_cancel(struct e1000_delay *d)
{
    timer_cancel(&d->timer);
    d->limit = CLOCK_NEVER;
}

static void rx_delay_ended(void *opaque)
{
    struct e1000 *e = opaque;
    delay_cancel(&e->rx_delay);
    e1000_raise(e, INT_RXT0);
}

static void tx_delay_ended(void *opaque)
{
    struct e1000 *e = opaque;
    delay_cancel(&e->tx_delay);
    e1000_raise(e, INT_TXDW);
}

static void tx_more(void *opaque)
{
    e1000_transmit(opaque);
}

/* Reading ICR takes all causes away, also those that late events are about to add. */
static u32 icr_read(struct e1000 *e)
{
    u32 causes = e1000_get(e, ICR);
    *e1000_reg(e, ICR) = 0;
    update_interrupt(e);
    return causes;
}

/* ---- registers ---- */

static void card_reset(struct e1000 *e)
{
    delay_cancel(&e->rx_delay);
    delay_cancel(&e->tx_delay);
    timer_cancel(&e->throttle);
    e1000_tx_reset(e);
    netdev_forget(e->netdev);
    memset(e->regs, 0, sizeof e->regs);
    *e1000_reg(e, CTRL) = CTRL_FD;
    *e1000_reg(e, PBA) = PBA_DEFAULT;
    *e1000_reg(e, LEDCTL) = LEDCTL_DEFAULT;
    *e1000_reg(e, VET) = VET_DEFAULT;
    *e1000_reg(e, RXCSUM) = 0;
    e1000_nvm_reset(e);
    update_interrupt(e);
}

static void ctrl_write(struct e1000 *e, u32 value)
{
    if (value & CTRL_RST) {
        card_reset(e);
        return;
    }
    if (value & CTRL_PHY_RST)
        e1000_phy_reset(e);
    bool link_on = (value & CTRL_SLU) && !(e1000_get(e, CTRL) & CTRL_SLU);
    *e1000_reg(e, CTRL) = value & ~(u32)CTRL_PHY_RST;
    if (link_on && e1000_link(e))
        e1000_raise(e, INT_LSC);
}

static void pba_write(struct e1000 *e, u32 value)
{
    u32 rx = value & 0xffff;
    *e1000_reg(e, PBA) = rx | ((64 - (rx < 64 ? rx : 64)) << 16);
}

static u32 register_read(struct e1000 *e, u32 offset)
{
    u32 value;
    if (offset >= REGISTERS_END)
        return 0;
    if (offset >= STATISTICS && offset < STATISTICS_END) {
        value = e1000_get(e, offset);
        *e1000_reg(e, offset) = 0; /* all of them are cleared by reading */
        return value;
    }
    switch (offset) {
    case CTRL_DUP: return e1000_get(e, CTRL);
    case STATUS:
        return STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000 | (e1000_link(e) ? STATUS_LU : 0);
    case EECD: return e1000_eecd_read(e);
    case ICR: return icr_read(e);
    case ICS:
    case IMC: return 0; /* write-only */
    default: return e1000_get(e, offset);
    }
}

static void delay_register_write(struct e1000 *e, u32 offset, struct e1000_delay *d, u32 value)
{
    *e1000_reg(e, offset) = value & DELAY_MASK;
    if ((value & DELAY_FLUSH) && timer_is_armed(&d->timer))
        d->timer.fire(d->timer.opaque);
}

static void register_write(struct e1000 *e, u32 offset, u32 value)
{
    switch (offset) {
    case CTRL:
    case CTRL_DUP: ctrl_write(e, value); break;
    case EECD: e1000_eecd_write(e, value); break;
    case EERD: e1000_eerd_write(e, value); break;
    case MDIC: e1000_mdic_write(e, value); break;
    case ICR:
        *e1000_reg(e, ICR) &= ~value;
        update_interrupt(e);
        break;
    case ICS: e1000_raise(e, value); break;
    case IMS:
        *e1000_reg(e, IMS) |= value & INT_ALL;
        update_interrupt(e);
        break;
    case IMC:
        *e1000_reg(e, IMS) &= ~value;
        update_interrupt(e);
        break;
    case PBA: pba_write(e, value); break;
    case RCTL:
    case RDT:
        *e1000_reg(e, offset) = offset == RDT ? value & 0xffff : value;
        netdev_ready(e->netdev);
        break;
    case RDTR: delay_register_write(e, offset, &e->rx_delay, value); break;
    case TIDV: delay_register_write(e, offset, &e->tx_delay, value); break;
    case TCTL:
    case TDT:
        *e1000_reg(e, offset) = offset == TDT ? value & 0xffff : value;
        e1000_transmit(e);
        break;
    default: {
        u32 mask = writable_bits(offset);
        if (!mask) {
            log_unsupported(e->log, "e1000-register", offset, "e1000: write to register %05x",
                            offset);
            return;
        }
        *e1000_reg(e, offset) = (e1000_get(e, offset) & ~mask) | (value & mask);
    }
    }
}

/* ---- the two ways to the registers ---- */

static u64 memory_read(void *opaque, u64 offset, unsigned size)
{
    (void)size;
    u32 value = register_read(opaque, (u32)offset & ~3u);
    return value >> (8 * (offset & 3));
}

static void memory_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    if (size == 4 && offset < REGISTERS_END)
        register_write(opaque, (u32)offset, (u32)value);
}

static const struct mmio_ops memory_ops = {
    .name = "e1000", .read = memory_read, .write = memory_write};

static u32 window_read(void *opaque, u16 offset, unsigned size)
{
    struct e1000 *e = opaque;
    if (size == 4 && offset == IOADDR)
        return e->io_address;
    if (size == 4 && offset == IODATA)
        return register_read(e, e->io_address);
    return (u32)mask64(size * 8);
}

static void window_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct e1000 *e = opaque;
    if (size == 4 && offset == IOADDR)
        e->io_address = value & (u32)(MEMORY_BYTES - 4);
    else if (size == 4 && offset == IODATA && e->io_address < REGISTERS_END)
        register_write(e, e->io_address, value);
}

static const struct port_ops window_ops = {
    .name = "e1000", .read = window_read, .write = window_write, .max_size = 4};

/* ---- life ---- */

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct e1000 *e = opaque;
    (void)size;
    if (reg <= PCI_COMMAND + 1)
        netdev_ready(e->netdev); /* bus mastering may be on now */
}

static const struct pci_info info = {
    .name = "e1000",
    .vendor = VENDOR_INTEL,
    .device = DEVICE_82540EM,
    .revision = REVISION,
    .class_code = CLASS_ETHERNET,
    .interrupt_pin = 1,
    .config_written = config_written,
};

static void e1000_reset(void *dev)
{
    struct e1000 *e = dev;
    pci_device_reset(&e->pci);
    e->io_address = 0;
    e->last_interrupt = 0;
    e1000_phy_reset(e);
    card_reset(e);
}

static void e1000_loaded(void *dev)
{
    struct e1000 *e = dev;
    pci_device_loaded(&e->pci);
    e->io_address &= (u32)(MEMORY_BYTES - 4);
    if (e->packet.bytes > FRAME_MAX || e->packet.context.header + e->packet.context.mss > FRAME_MAX)
        e1000_tx_reset(e);
    if (e->eecd_count > 17)
        e->eecd_count = 0;
    netdev_ready(e->netdev);
}

static void e1000_destroy(void *dev)
{
    struct e1000 *e = dev;
    netdev_attach(e->netdev, NULL);
    timer_cancel(&e->throttle);
    timer_cancel(&e->rx_delay.timer);
    timer_cancel(&e->tx_delay.timer);
    timer_cancel(&e->tx_more);
    pci_device_fini(&e->pci);
    free(e);
}

// clang-format off
#define ROW(t, f, n) STATE_ROW(t, e1000, f, n, 1)
static const struct state_field e1000_state[] = {
    PCI_STATE_ROWS(e1000, pci),
    ROW(STATE_U32, regs, REGISTERS_END / 4),
    ROW(STATE_U32, io_address, 1),
    ROW(STATE_U16, phy, PHY_REGISTERS),
    ROW(STATE_U32, eecd_in, 1), ROW(STATE_U16, eecd_out, 1), ROW(STATE_U8, eecd_count, 1),
    ROW(STATE_I64, last_interrupt, 1), ROW(STATE_TIMER, throttle, 1),
    ROW(STATE_TIMER, rx_delay.timer, 1), ROW(STATE_I64, rx_delay.limit, 1),
    ROW(STATE_TIMER, tx_delay.timer, 1), ROW(STATE_I64, tx_delay.limit, 1),
    ROW(STATE_BYTES, checksum_context, sizeof(struct e1000_context)),
    ROW(STATE_BYTES, segment_context, sizeof(struct e1000_context)),
    ROW(STATE_BYTES, packet, sizeof(struct e1000_packet)),
    ROW(STATE_TIMER, tx_more, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops e1000_ops = {
    .name = "e1000",
    .version = 1,
    .state = e1000_state,
    .reset = e1000_reset,
    .loaded = e1000_loaded,
    .destroy = e1000_destroy,
};

struct e1000 *e1000_create(const struct nic_board *board)
{
    struct e1000 *e = calloc(1, sizeof *e);
    if (!e || !pci_device_init(&e->pci, board->bus, board->devfn, &info, e)) {
        free(e);
        return NULL;
    }
    e->log = board->log;
    e->clock = board->clock;
    e->netdev = board->netdev;
    timer_init(&e->throttle, e->clock, throttle_ended, e);
    timer_init(&e->rx_delay.timer, e->clock, rx_delay_ended, e);
    timer_init(&e->tx_delay.timer, e->clock, tx_delay_ended, e);
    timer_init(&e->tx_more, e->clock, tx_more, e);
    pci_bar_mmio(&e->pci, BAR_MEMORY, MEMORY_BYTES, 0, &memory_ops, e);
    pci_bar_io(&e->pci, BAR_PORTS, PORT_BYTES, &window_ops, e);
    e1000_nvm_init(e, board->mac);
    e1000_reset(e);
    if (!pci_rom_load(&e->pci, board->rom, board->rom_bytes, "e1000-rom")) {
        e1000_destroy(e);
        return NULL;
    }
    struct netdev_card card = {e1000_can_receive, e1000_receive, e};
    netdev_attach(e->netdev, &card);
    return e;
}

struct device e1000_device(struct e1000 *e)
{
    return (struct device){.ops = &e1000_ops, .dev = e};
}
