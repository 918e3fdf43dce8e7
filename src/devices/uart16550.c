/* SPDX-License-Identifier: MIT
 *
 * Serial port: National PC16550D (TL/C/8652) with the AT's wiring: 1.8432 MHz crystal, interrupt
 * gated by OUT2, modem inputs of a peer that is always there.
 *
 * Characters take the time that the divisor and the frame say, but at most FASTEST_NS: a console
 * at 9600 baud need not be as slow as it was. Nothing is simulated bit by bit: the transmitter is
 * the time at which it will be empty, and the host gets each byte when it is written.
 *
 * Received bytes are asked for as the FIFO empties, so that the host never overruns the guest; an
 * overrun can happen in loopback.
 *
 * Deviations: parity, framing and break errors do not occur; sending a break does nothing; DMA mode
 * signals go nowhere. Writing to a full transmitter loses nothing.
 */
#include "devices/uart16550.h"

#include <stdlib.h>

#define UART_PORTS         8
#define CRYSTAL_HZ         1843200
#define FIFO_BYTES         16
#define FASTEST_NS         10000 /* a character, at most */
#define TIMEOUT_CHARACTERS 4

enum uart_register {
    RBR_THR_DLL = 0,
    IER_DLM = 1,
    IIR_FCR = 2,
    LCR = 3,
    MCR = 4,
    LSR = 5,
    MSR = 6,
    SCR = 7,
};

enum { IER_RDI = 1 << 0, IER_THRI = 1 << 1, IER_RLSI = 1 << 2, IER_MSI = 1 << 3, IER_BITS = 0x0f };

enum {
    IIR_NONE = 0x01,
    IIR_MODEM = 0x00,
    IIR_THRE = 0x02,
    IIR_DATA = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0,
};

enum {
    FCR_ENABLE = 1 << 0,
    FCR_CLEAR_RX = 1 << 1,
    FCR_CLEAR_TX = 1 << 2,
    FCR_TRIGGER_SHIFT = 6,
    FCR_KEPT = 0xc9,
};

enum {
    LCR_WORD = 3 << 0, /* plus 5 bits */
    LCR_STOP = 1 << 2,
    LCR_PARITY = 1 << 3,
    LCR_DLAB = 1 << 7,
};

enum {
    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT1 = 1 << 2,
    MCR_OUT2 = 1 << 3,
    MCR_LOOP = 1 << 4,
    MCR_BITS = 0x1f,
};

enum {
    LSR_DR = 1 << 0,
    LSR_OE = 1 << 1,
    LSR_THRE = 1 << 5,
    LSR_TEMT = 1 << 6,
};

enum {
    MSR_DCTS = 1 << 0,
    MSR_DDSR = 1 << 1,
    MSR_TERI = 1 << 2,
    MSR_DDCD = 1 << 3,
    MSR_DELTAS = 0x0f,
    MSR_CTS = 1 << 4,
    MSR_DSR = 1 << 5,
    MSR_RI = 1 << 6,
    MSR_DCD = 1 << 7,
};

struct uart16550 {
    u8 ier, fcr, lcr, mcr, msr, scr;
    u16 divisor;
    u8 rx[FIFO_BYTES]; /* ring */
    u8 rx_head, rx_count;
    bool overrun;
    bool thre_pending; /* "transmitter empty" was not yet reported */
    bool timed_out;    /* bytes lie in the FIFO and nobody cared for four character times */
    i64 tx_idle_at;    /* ns: the shift register is empty */
    struct timer tx_empty, rx_timeout;

    struct irq_line irq;
    struct clock *clock;
    struct chardev *chr;
    struct io_bus *bus;
    struct io_claim *claim;
};

/* ---- Timing ---- */

static i64 character_ns(const struct uart16550 *u)
{
    unsigned bits =
        1 + 5 + (u->lcr & LCR_WORD) + (u->lcr & LCR_PARITY ? 1 : 0) + (u->lcr & LCR_STOP ? 2 : 1);
    u32 divisor = u->divisor ? u->divisor : 0x10000;
    i64 ns = (i64)mul_div((u64)bits * divisor * 16, NS_PER_SEC, CRYSTAL_HZ);
    return ns < FASTEST_NS ? ns : FASTEST_NS;
}

/* The holding register (or FIFO) is empty: the last character is in the shift register. */
static bool tx_empty(const struct uart16550 *u)
{
    return clock_now(u->clock) >= u->tx_idle_at - character_ns(u);
}

static bool fifo_on(const struct uart16550 *u)
{
    return u->fcr & FCR_ENABLE;
}

static u8 rx_trigger(const struct uart16550 *u)
{
    static const u8 levels[] = {1, 4, 8, 14};
    return fifo_on(u) ? levels[u->fcr >> FCR_TRIGGER_SHIFT & 3] : 1;
}

/* ---- Interrupts ---- */

/* The highest pending interrupt that is enabled, as IIR shows it. */
static u8 interrupt_id(const struct uart16550 *u)
{
    if (u->ier & IER_RLSI && u->overrun)
        return IIR_LINE;
    if (u->ier & IER_RDI && u->rx_count >= rx_trigger(u))
        return IIR_DATA;
    if (u->ier & IER_RDI && u->timed_out)
        return IIR_TIMEOUT;
    if (u->ier & IER_THRI && u->thre_pending)
        return IIR_THRE;
    if (u->ier & IER_MSI && u->msr & MSR_DELTAS)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart16550 *u)
{
    irq_set(&u->irq, interrupt_id(u) != IIR_NONE && u->mcr & MCR_OUT2);
}

static void tx_became_empty(void *opaque)
{
    struct uart16550 *u = opaque;
    u->thre_pending = true;
    update_irq(u);
}

/* The transmitter was filled: it is empty again at once when the byte went straight to the shift
 * register, else at a time that matters only to who wants an interrupt. */
static void tx_watch(struct uart16550 *u)
{
    u->thre_pending = tx_empty(u);
    if (!u->thre_pending && u->ier & IER_THRI)
        timer_arm(&u->tx_empty, u->tx_idle_at - character_ns(u));
    else
        timer_cancel(&u->tx_empty);
}

static void rx_timed_out(void *opaque)
{
    struct uart16550 *u = opaque;
    u->timed_out = u->rx_count > 0;
    update_irq(u);
}

/* The receive FIFO was touched: its time-out starts anew. */
static void rx_touched(struct uart16550 *u)
{
    u->timed_out = false;
    if (fifo_on(u) && u->rx_count > 0)
        timer_arm(&u->rx_timeout, clock_now(u->clock) + TIMEOUT_CHARACTERS * character_ns(u));
    else
        timer_cancel(&u->rx_timeout);
}

/* ---- Data ---- */

static u8 rx_capacity(const struct uart16550 *u)
{
    return fifo_on(u) ? FIFO_BYTES : 1;
}

/* Without room the newest byte is lost; without a FIFO it takes the old one's place. */
static void rx_put(struct uart16550 *u, u8 byte)
{
    if (u->rx_count < rx_capacity(u)) {
        u->rx[(u->rx_head + u->rx_count++) % FIFO_BYTES] = byte;
    } else {
        u->overrun = true;
        if (!fifo_on(u))
            u->rx[u->rx_head] = byte;
    }
    rx_touched(u);
}

static u8 rx_take(struct uart16550 *u)
{
    u8 byte = u->rx[u->rx_head]; /* an empty FIFO gives what was there */
    if (u->rx_count == 0)
        return byte;
    u->rx_head = (u8)((u->rx_head + 1) % FIFO_BYTES);
    u->rx_count--;
    rx_touched(u);
    update_irq(u);
    if (u->rx_count == 0 && u->chr)
        chardev_accept(u->chr);
    return byte;
}

static void rx_clear(struct uart16550 *u)
{
    u->rx_count = 0;
    rx_touched(u);
}

static size_t can_receive(void *opaque)
{
    struct uart16550 *u = opaque;
    if (u->mcr & MCR_LOOP)
        return 0;
    return (size_t)(rx_capacity(u) - u->rx_count);
}

static void receive(void *opaque, const u8 *bytes, size_t n)
{
    struct uart16550 *u = opaque;
    for (size_t i = 0; i < n; i++)
        rx_put(u, bytes[i]);
    update_irq(u);
}

static void transmit(struct uart16550 *u, u8 byte)
{
    i64 now = clock_now(u->clock), character = character_ns(u);
    i64 full = now + (FIFO_BYTES + 1) * character;
    i64 idle = (u->tx_idle_at > now ? u->tx_idle_at : now) + character;
    u->tx_idle_at = idle < full ? idle : full;
    if (u->mcr & MCR_LOOP)
        rx_put(u, byte);
    else if (u->chr)
        chardev_write(u->chr, &byte, 1);
    tx_watch(u);
    update_irq(u);
}

/* ---- Modem ---- */

static u8 modem_inputs(const struct uart16550 *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (u8)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct uart16550 *u)
{
    u8 inputs = modem_inputs(u), changed = inputs ^ (u->msr & (u8)~MSR_DELTAS);
    u8 deltas = (u8)((changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
                     (changed & MSR_DCD ? MSR_DDCD : 0) |
                     (changed & MSR_RI & ~inputs ? MSR_TERI : 0)); /* trailing edge only */
    u->msr = inputs | (u->msr & MSR_DELTAS) | deltas;
}

/* ---- Registers ---- */

static u8 read_iir(struct uart16550 *u)
{
    u8 id = interrupt_id(u);
    if (id == IIR_THRE) {
        u->thre_pending = false;
        update_irq(u);
    }
    return id | (fifo_on(u) ? IIR_FIFO : 0);
}

static u8 read_lsr(struct uart16550 *u)
{
    u8 v =
        (u8)((u->rx_count ? LSR_DR : 0) | (u->overrun ? LSR_OE : 0) | (tx_empty(u) ? LSR_THRE : 0) |
             (clock_now(u->clock) >= u->tx_idle_at ? LSR_TEMT : 0));
    u->overrun = false;
    update_irq(u);
    return v;
}

static u8 read_msr(struct uart16550 *u)
{
    u8 v = u->msr;
    u->msr &= (u8)~MSR_DELTAS;
    update_irq(u);
    return v;
}

static u32 uart_read(void *opaque, u16 offset, unsigned size)
{
    struct uart16550 *u = opaque;
    bool dlab = u->lcr & LCR_DLAB;
    (void)size;
    switch ((enum uart_register)offset) {
    case RBR_THR_DLL: return dlab ? u->divisor & 0xff : rx_take(u);
    case IER_DLM: return dlab ? u->divisor >> 8 : u->ier;
    case IIR_FCR: return read_iir(u);
    case LCR: return u->lcr;
    case MCR: return u->mcr;
    case LSR: return read_lsr(u);
    case MSR: return read_msr(u);
    case SCR: return u->scr;
    }
    return 0xff;
}

/* Enabling the transmitter interrupt while the transmitter is empty reports that at once. */
static void write_ier(struct uart16550 *u, u8 v)
{
    bool asks = v & ~u->ier & IER_THRI;
    u->ier = v & IER_BITS;
    if (asks)
        tx_watch(u);
    update_irq(u);
}

static void write_fcr(struct uart16550 *u, u8 v)
{
    bool switched = (v ^ u->fcr) & FCR_ENABLE;
    u->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
    if (switched || v & FCR_CLEAR_RX)
        rx_clear(u);
    if (switched || v & FCR_CLEAR_TX) {
        i64 soon = clock_now(u->clock) + character_ns(u); /* what is being shifted goes on */
        if (u->tx_idle_at > soon) {
            u->tx_idle_at = soon;
            tx_watch(u);
        }
    }
    update_irq(u);
    if (u->chr && u->rx_count == 0)
        chardev_accept(u->chr);
}

static void write_mcr(struct uart16550 *u, u8 v)
{
    bool left_loop = u->mcr & ~v & MCR_LOOP;
    u->mcr = v & MCR_BITS;
    update_modem(u);
    update_irq(u);
    if (left_loop && u->chr)
        chardev_accept(u->chr);
}

static void uart_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct uart16550 *u = opaque;
    u8 v = (u8)value;
    bool dlab = u->lcr & LCR_DLAB;
    (void)size;
    switch ((enum uart_register)offset) {
    case RBR_THR_DLL:
        if (dlab)
            u->divisor = (u16)((u->divisor & 0xff00) | v);
        else
            transmit(u, v);
        break;
    case IER_DLM:
        if (dlab)
            u->divisor = (u16)((u->divisor & 0x00ff) | v << 8);
        else
            write_ier(u, v);
        break;
    case IIR_FCR: write_fcr(u, v); break;
    case LCR: u->lcr = v; break;
    case MCR: write_mcr(u, v); break;
    case LSR: break; /* for factory tests: read-only here */
    case MSR: break;
    case SCR: u->scr = v; break;
    }
}

/* Master reset. The divisor and the scratch register are not affected by it. */
static void uart16550_reset(void *dev)
{
    struct uart16550 *u = dev;
    u->ier = u->fcr = u->lcr = u->mcr = 0;
    u->rx_head = u->rx_count = 0;
    u->overrun = u->timed_out = false;
    u->thre_pending = false;
    u->tx_idle_at = 0;
    u->msr = modem_inputs(u);
    timer_cancel(&u->tx_empty);
    timer_cancel(&u->rx_timeout);
    update_irq(u);
}

static void uart16550_loaded(void *dev)
{
    struct uart16550 *u = dev;
    i64 full = clock_now(u->clock) + (FIFO_BYTES + 1) * character_ns(u);
    u->rx_head %= FIFO_BYTES;
    if (u->rx_count > FIFO_BYTES)
        u->rx_count = 0;
    if (u->tx_idle_at > full)
        u->tx_idle_at = full;
    update_irq(u);
}

static void uart16550_destroy(void *dev)
{
    struct uart16550 *u = dev;
    if (u->chr)
        chardev_set_sink(u->chr, NULL);
    timer_cancel(&u->tx_empty);
    timer_cancel(&u->rx_timeout);
    io_bus_release(u->bus, u->claim);
    free(u);
}

// clang-format off
static const struct state_field uart16550_state[] = {
    STATE_ROW(STATE_U8,    uart16550, ier,          1, 1),
    STATE_ROW(STATE_U8,    uart16550, fcr,          1, 1),
    STATE_ROW(STATE_U8,    uart16550, lcr,          1, 1),
    STATE_ROW(STATE_U8,    uart16550, mcr,          1, 1),
    STATE_ROW(STATE_U8,    uart16550, msr,          1, 1),
    STATE_ROW(STATE_U8,    uart16550, scr,          1, 1),
    STATE_ROW(STATE_U16,   uart16550, divisor,      1, 1),
    STATE_ROW(STATE_BYTES, uart16550, rx,           FIFO_BYTES, 1),
    STATE_ROW(STATE_U8,    uart16550, rx_head,      1, 1),
    STATE_ROW(STATE_U8,    uart16550, rx_count,     1, 1),
    STATE_ROW(STATE_BOOL,  uart16550, overrun,      1, 1),
    STATE_ROW(STATE_BOOL,  uart16550, thre_pending, 1, 1),
    STATE_ROW(STATE_BOOL,  uart16550, timed_out,    1, 1),
    STATE_ROW(STATE_I64,   uart16550, tx_idle_at,   1, 1),
    STATE_ROW(STATE_TIMER, uart16550, tx_empty,     1, 1),
    STATE_ROW(STATE_TIMER, uart16550, rx_timeout,   1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops uart16550_ops = {
    .name = "uart16550",
    .version = 1,
    .state = uart16550_state,
    .reset = uart16550_reset,
    .loaded = uart16550_loaded,
    .destroy = uart16550_destroy,
};

static const struct port_ops ports = {.name = "uart16550", .read = uart_read, .write = uart_write};

struct uart16550 *uart16550_create(struct io_bus *bus, u16 port, struct irq_line irq,
                                   struct clock *clock, struct chardev *chr)
{
    struct uart16550 *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->bus = bus;
    u->irq = irq;
    u->clock = clock;
    u->chr = chr;
    u->divisor = 12; /* 9600 baud */
    timer_init(&u->tx_empty, clock, tx_became_empty, u);
    timer_init(&u->rx_timeout, clock, rx_timed_out, u);
    u->claim = io_bus_claim(bus, port, UART_PORTS, &ports, u);
    uart16550_reset(u);
    if (chr) {
        struct chardev_sink sink = {.can_receive = can_receive, .receive = receive, .opaque = u};
        chardev_set_sink(chr, &sink);
    }
    return u;
}

struct device uart16550_device(struct uart16550 *uart)
{
    return (struct device){.ops = &uart16550_ops, .dev = uart};
}
