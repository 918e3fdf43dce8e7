/* SPDX-License-Identifier: MIT
 *
 * The serial port from both sides: registers on the bus, bytes on a character device that the test
 * plays itself.
 */
#include "device_rig.h"

#include "devices/debugcon.h"
#include "devices/uart16550.h"

#define COM1 0x3f8

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4 };
enum { LSR = 5, MSR = 6, SCR = 7 };

/* The host's end, in place of base/chardev.c. */
struct chardev {
    u8 written[4096];
    size_t count;
    struct chardev_sink sink;
    bool has_sink;
    u8 waiting[256];
    size_t waiting_count;
};

void chardev_set_sink(struct chardev *c, const struct chardev_sink *sink)
{
    c->has_sink = sink;
    if (sink)
        c->sink = *sink;
}

void chardev_write(struct chardev *c, const void *bytes, size_t n)
{
    assert_true(c->count + n <= sizeof c->written);
    memcpy(c->written + c->count, bytes, n);
    c->count += n;
}

void chardev_accept(struct chardev *c)
{
    size_t room = c->has_sink ? c->sink.can_receive(c->sink.opaque) : 0;
    size_t n = room < c->waiting_count ? room : c->waiting_count;
    u8 bytes[256];
    memcpy(bytes, c->waiting, n);
    memmove(c->waiting, c->waiting + n, c->waiting_count - n);
    c->waiting_count -= n;
    if (n)
        c->sink.receive(c->sink.opaque, bytes, n);
}

struct fixture {
    struct rig rig;
    struct wire irq;
    struct chardev chr;
    struct uart16550 *uart;
};

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    f->uart = uart16550_create(f->rig.bus, COM1, wire_line(&f->irq), f->rig.clock, &f->chr);
    rig_add(&f->rig, uart16550_device(f->uart));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    assert_false(f->chr.has_sink);
    free(f);
    return 0;
}

static u8 get(struct fixture *f, unsigned reg)
{
    return inb(&f->rig, (u16)(COM1 + reg));
}

static void set(struct fixture *f, unsigned reg, u8 v)
{
    outb(&f->rig, (u16)(COM1 + reg), v);
}

/* Bytes from the host. */
static void feed(struct fixture *f, const char *text)
{
    for (; *text; text++)
        f->chr.waiting[f->chr.waiting_count++] = (u8)*text;
    chardev_accept(&f->chr);
}

static void idle(struct fixture *f)
{
    clock_step(f->rig.clock, NS_PER_SEC / 10);
}

static void uart_reset_values(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, IER), 0x00);
    assert_int_equal(get(f, IIR), 0x01);
    assert_int_equal(get(f, LCR), 0x00);
    assert_int_equal(get(f, MCR), 0x00);
    assert_int_equal(get(f, LSR), 0x60);
    assert_int_equal(get(f, MSR), 0xb0);
    check_state_table(uart16550_device(f->uart));
}

static void uart_divisor_lies_behind_dlab(void **state)
{
    struct fixture *f = *state;
    set(f, LCR, 0x83);
    set(f, DLL, 0x34);
    set(f, DLM, 0x12);
    assert_int_equal(get(f, DLL), 0x34);
    assert_int_equal(get(f, DLM), 0x12);
    set(f, LCR, 0x03);
    assert_int_equal(get(f, IER), 0x00);
    assert_int_equal(f->chr.count, 0);
}

static void uart_scratch_and_masked_registers(void **state)
{
    struct fixture *f = *state;
    set(f, SCR, 0xa5);
    assert_int_equal(get(f, SCR), 0xa5);
    set(f, IER, 0xff);
    assert_int_equal(get(f, IER), 0x0f);
    set(f, MCR, 0xff);
    assert_int_equal(get(f, MCR), 0x1f);
}

static void uart_transmits_to_the_host(void **state)
{
    struct fixture *f = *state;
    set(f, THR, 'h');
    set(f, THR, 'i');
    assert_int_equal(f->chr.count, 2);
    assert_memory_equal(f->chr.written, "hi", 2);
}

static void uart_transmitter_empties_in_character_time(void **state)
{
    struct fixture *f = *state;
    set(f, LCR, 0x83);
    set(f, DLL, 0);
    set(f, DLM, 1); /* slow: the fastest pace of 10 us holds */
    set(f, LCR, 0x03);
    set(f, THR, 'a');
    assert_int_equal(get(f, LSR) & 0x60, 0x20); /* in the shift register */
    set(f, THR, 'b');
    assert_int_equal(get(f, LSR) & 0x60, 0x00);
    clock_step(f->rig.clock, 10000);
    assert_int_equal(get(f, LSR) & 0x60, 0x20);
    clock_step(f->rig.clock, 10000);
    assert_int_equal(get(f, LSR) & 0x60, 0x60);
}

static void uart_transmitter_interrupt_comes_when_empty_and_goes_by_reading_iir(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x08);
    set(f, IER, 0x02); /* empty already */
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0x02);
    assert_false(f->irq.level);
    assert_int_equal(get(f, IIR), 0x01);
    set(f, THR, 'a'); /* into the shift register: empty again at once */
    assert_true(f->irq.level);
    set(f, THR, 'b'); /* writing takes the request back */
    assert_false(f->irq.level);
    idle(f);
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0x02);
}

static void uart_interrupt_is_gated_by_out2(void **state)
{
    struct fixture *f = *state;
    set(f, IER, 0x02);
    assert_false(f->irq.level);
    set(f, MCR, 0x08);
    assert_true(f->irq.level);
    set(f, MCR, 0x00);
    assert_false(f->irq.level);
}

static void uart_receives_without_fifo_one_byte_at_a_time(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x08);
    set(f, IER, 0x01);
    feed(f, "xyz");
    assert_int_equal(f->chr.waiting_count, 2);
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0x04);
    assert_int_equal(get(f, LSR) & 1, 1);
    assert_int_equal(get(f, RBR), 'x');
    assert_int_equal(get(f, RBR), 'y');
    assert_int_equal(get(f, RBR), 'z');
    assert_false(f->irq.level);
    assert_int_equal(get(f, LSR) & 1, 0);
}

static void uart_fifo_holds_16_and_interrupts_at_its_trigger(void **state)
{
    struct fixture *f = *state;
    set(f, FCR, 0x81); /* trigger at 8 */
    set(f, MCR, 0x08);
    set(f, IER, 0x01);
    assert_int_equal(get(f, IIR), 0xc1);
    feed(f, "1234567");
    assert_false(f->irq.level);
    feed(f, "8");
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0xc4);
    feed(f, "9abcdefghijk");
    assert_int_equal(f->chr.waiting_count, 4);
    for (const char *c = "123456789"; *c; c++)
        assert_int_equal(get(f, RBR), *c);
    assert_false(f->irq.level);
    for (const char *c = "abcdefghijk"; *c; c++)
        assert_int_equal(get(f, RBR), *c);
}

static void uart_fifo_times_out_after_four_characters(void **state)
{
    struct fixture *f = *state;
    set(f, FCR, 0xc1);
    set(f, MCR, 0x08);
    set(f, IER, 0x01);
    feed(f, "ab");
    clock_step(f->rig.clock, 39999);
    assert_false(f->irq.level);
    clock_step(f->rig.clock, 1);
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0xcc);
    assert_int_equal(get(f, RBR), 'a'); /* starts the time anew */
    assert_false(f->irq.level);
    clock_step(f->rig.clock, 40000);
    assert_true(f->irq.level);
    assert_int_equal(get(f, RBR), 'b');
    assert_false(f->irq.level);
}

static void uart_fcr_clears_the_receiver(void **state)
{
    struct fixture *f = *state;
    set(f, FCR, 0x01);
    feed(f, "abc");
    set(f, FCR, 0x03);
    assert_int_equal(get(f, LSR) & 1, 0);
    feed(f, "d");
    assert_int_equal(get(f, RBR), 'd');
    feed(f, "e");
    set(f, FCR, 0x00); /* switching it off clears it, too */
    assert_int_equal(get(f, LSR) & 1, 0);
    assert_int_equal(get(f, IIR), 0x01);
}

static void uart_loopback_connects_transmitter_and_modem_pins(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x1a); /* LOOP, OUT2, RTS */
    get(f, MSR);
    assert_int_equal(get(f, MSR), 0x90); /* DCD, CTS */
    set(f, THR, 'L');
    assert_int_equal(f->chr.count, 0);
    assert_int_equal(get(f, LSR) & 1, 1);
    assert_int_equal(get(f, RBR), 'L');
    set(f, MCR, 0x15); /* LOOP, OUT1, DTR */
    assert_int_equal(get(f, MSR) & 0xf0, 0x60);
}

static void uart_loopback_deltas_and_ring_trailing_edge(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x10);
    get(f, MSR);
    set(f, MCR, 0x17);
    assert_int_equal(get(f, MSR), 0x70 | 0x03); /* DCTS, DDSR; RI rose: no TERI */
    assert_int_equal(get(f, MSR), 0x70);
    set(f, MCR, 0x13);
    assert_int_equal(get(f, MSR), 0x30 | 0x04);
}

static void uart_loopback_overruns(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x18);
    set(f, IER, 0x04);
    set(f, THR, '1');
    set(f, THR, '2');
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0x06);
    assert_int_equal(get(f, LSR) & 0x03, 0x03);
    assert_false(f->irq.level);
    assert_int_equal(get(f, LSR) & 0x02, 0); /* reading clears it */
    assert_int_equal(get(f, RBR), '2');      /* without FIFO the newer one stays */
}

static void uart_loopback_keeps_the_host_waiting(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x10);
    feed(f, "a");
    assert_int_equal(get(f, LSR) & 1, 0);
    set(f, MCR, 0x00);
    assert_int_equal(get(f, RBR), 'a');
}

static void uart_modem_interrupt(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x18);
    get(f, MSR);
    set(f, IER, 0x08);
    assert_false(f->irq.level);
    set(f, MCR, 0x1a);
    assert_true(f->irq.level);
    assert_int_equal(get(f, IIR), 0x00);
    get(f, MSR);
    assert_false(f->irq.level);
}

static void uart_interrupt_priorities(void **state)
{
    struct fixture *f = *state;
    set(f, MCR, 0x18);
    get(f, MSR);
    set(f, MCR, 0x1a); /* a modem delta */
    set(f, THR, '1');
    set(f, THR, '2'); /* data and an overrun */
    idle(f);
    set(f, IER, 0x0f);
    assert_int_equal(get(f, IIR), 0x06);
    get(f, LSR);
    assert_int_equal(get(f, IIR), 0x04);
    get(f, RBR);
    assert_int_equal(get(f, IIR), 0x02);
    assert_int_equal(get(f, IIR), 0x00);
    get(f, MSR);
    assert_int_equal(get(f, IIR), 0x01);
}

static void uart_without_a_host_swallows_output(void **state)
{
    struct fixture *f = *state;
    struct wire irq = {0};
    struct uart16550 *lonely =
        uart16550_create(f->rig.bus, 0x2f8, wire_line(&irq), f->rig.clock, NULL);
    outb(&f->rig, 0x2f8, 'x');
    idle(f);
    assert_int_equal(inb(&f->rig, 0x2fd), 0x60);
    device_destroy(uart16550_device(lonely));
}

static void uart_survives_hostile_input(void **state)
{
    struct fixture *f = *state;
    srand(5);
    for (int i = 0; i < 100000; i++) {
        f->chr.count = 0;
        switch (rand() % 4) {
        case 0: set(f, (unsigned)rand() % 8, (u8)rand()); break;
        case 1: get(f, (unsigned)rand() % 8); break;
        case 2:
            if (f->chr.waiting_count < 64)
                feed(f, "hello");
            break;
        default: clock_step(f->rig.clock, rand() % 50000); break;
        }
    }
    device_reset(uart16550_device(f->uart));
    assert_int_equal(get(f, LSR), 0x60);
}

static void debugcon_writes_and_announces_itself(void **state)
{
    struct fixture *f = *state;
    struct debugcon *d = debugcon_create(f->rig.bus, DEBUGCON_SEABIOS_PORT, &f->chr);
    assert_int_equal(inb(&f->rig, 0x402), 0xe9);
    outb(&f->rig, 0x402, 'S');
    assert_int_equal(f->chr.count, 1);
    assert_int_equal(f->chr.written[0], 'S');
    device_destroy(debugcon_device(d));
    assert_int_equal(inb(&f->rig, 0x402), 0xff);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(uart_reset_values),
        T(uart_divisor_lies_behind_dlab),
        T(uart_scratch_and_masked_registers),
        T(uart_transmits_to_the_host),
        T(uart_transmitter_empties_in_character_time),
        T(uart_transmitter_interrupt_comes_when_empty_and_goes_by_reading_iir),
        T(uart_interrupt_is_gated_by_out2),
        T(uart_receives_without_fifo_one_byte_at_a_time),
        T(uart_fifo_holds_16_and_interrupts_at_its_trigger),
        T(uart_fifo_times_out_after_four_characters),
        T(uart_fcr_clears_the_receiver),
        T(uart_loopback_connects_transmitter_and_modem_pins),
        T(uart_loopback_deltas_and_ring_trailing_edge),
        T(uart_loopback_overruns),
        T(uart_loopback_keeps_the_host_waiting),
        T(uart_modem_interrupt),
        T(uart_interrupt_priorities),
        T(uart_without_a_host_swallows_output),
        T(uart_survives_hostile_input),
        T(debugcon_writes_and_announces_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
