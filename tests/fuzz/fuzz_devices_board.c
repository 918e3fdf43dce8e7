/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the board's chips, wired together as on a PC: any port, any register, any
 * moment, while a user types and the host sends bytes. Nothing may be touched that is not theirs
 * (sanitizers watch), time may not stand still, and whatever a chip is asked it answers in range.
 *
 * Input: steps of six bytes: operation, where (2), what (3).
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/chardev.h"
#include "base/clock.h"
#include "bus/ports.h"
#include "devices/acpi_pm.h"
#include "devices/debugcon.h"
#include "devices/fw_cfg.h"
#include "devices/hpet.h"
#include "devices/i8042.h"
#include "devices/i8237.h"
#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/mc146818.h"
#include "devices/pc_testdev.h"
#include "devices/port92.h"
#include "devices/ps2kbd.h"
#include "devices/ps2mouse.h"
#include "devices/uart16550.h"
#include "spaces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    STEP_BYTES = 6,
    MAX_STEPS = 512,
    MAX_DEVICES = 24,
    CPUS = 2,
    ISA_IRQS = 16,
};
#define RAM_BYTES   KIB(64)
#define PM_BASE     0x600
#define MAX_STEP_NS (INT64_C(1) << 27) /* 134 ms: thousands of the shortest timer periods */

/* The host's end of every character stream. */
struct chardev {
    struct chardev_sink sink;
    size_t waiting;
};

void chardev_set_sink(struct chardev *c, const struct chardev_sink *sink)
{
    c->sink = sink ? *sink : (struct chardev_sink){0};
}

void chardev_write(struct chardev *c, const void *bytes, size_t n)
{
    (void)c;
    (void)bytes;
    (void)n;
}

void chardev_accept(struct chardev *c)
{
    static const u8 text[16] = "hostile host";
    if (!c || !c->sink.can_receive)
        return;
    size_t room = c->sink.can_receive(c->sink.opaque);
    size_t n = room < c->waiting ? room : c->waiting;
    n = n < sizeof text ? n : sizeof text;
    c->waiting -= n;
    if (n)
        c->sink.receive(c->sink.opaque, text, n);
}

struct board {
    struct clock *clock;
    struct io_bus *ports;
    struct physmem *pm;
    struct apic_bus *apics;
    struct lapic *lapic[CPUS];
    struct i8259 *pic;
    struct ioapic *ioapic;
    struct i8254 *pit;
    struct mc146818 *rtc;
    struct i8237 *dma;
    struct acpi_pm *pm_block;
    struct ps2kbd *kbd;
    struct ps2mouse *mouse;
    struct chardev chr;
    struct device devices[MAX_DEVICES];
    unsigned device_count;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void add(struct board *b, struct device d)
{
    check(d.dev && b->device_count < MAX_DEVICES);
    b->devices[b->device_count++] = d;
}

/* ---- Wires ---- */

static void isa_irq(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    struct irq_line pic = i8259_input(b->pic, n);
    struct irq_line pin = ioapic_input(b->ioapic, n == 0 ? 2 : n);
    irq_set(&pic, level);
    irq_set(&pin, level);
}

static void pic_intr(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    (void)n;
    for (unsigned i = 0; i < CPUS; i++) {
        if (b->lapic[i])
            lapic_set_lint(b->lapic[i], 0, level);
    }
}

static void hpet_legacy(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    (void)n;
    i8254_cut_irq0(b->pit, level);
    mc146818_cut_irq8(b->rtc, level);
}

static void pic_taken(void *opaque, unsigned irq)
{
    struct board *b = opaque;
    check(irq < ISA_IRQS);
    if (irq == 0)
        i8254_irq0_taken(b->pit);
}

static void pin_taken(void *opaque, unsigned pin)
{
    struct board *b = opaque;
    check(pin < IOAPIC_PINS);
    if (pin == 2)
        i8254_irq0_taken(b->pit);
}

static int ack_pic(void *opaque)
{
    int vector = i8259_ack(((struct board *)opaque)->pic);
    check(vector >= 0 && vector <= 255);
    return vector;
}

static void apic_eoi(void *opaque, u8 vector, bool level)
{
    (void)level;
    ioapic_eoi(((struct board *)opaque)->ioapic, vector);
}

static i64 tsc_to_ns(void *opaque, u64 tsc)
{
    (void)opaque;
    return (i64)(tsc >> 2);
}

static void ignore_intr(void *opaque, bool level)
{
    (void)opaque;
    (void)level;
}

static void ignore(void *opaque)
{
    (void)opaque;
}

static void ignore_startup(void *opaque, u8 vector)
{
    (void)opaque;
    (void)vector;
}

static void ignore_line(void *opaque, unsigned n, bool level)
{
    (void)opaque;
    (void)n;
    (void)level;
}

static struct irq_line isa_line(struct board *b, unsigned irq)
{
    return (struct irq_line){isa_irq, b, irq};
}

/* ---- Building ---- */

static void build_interrupts(struct board *b)
{
    struct lapic_hooks hooks = {.intr = ignore_intr,
                                .nmi = ignore,
                                .init = ignore,
                                .startup = ignore_startup,
                                .pic_ack = ack_pic,
                                .eoi = apic_eoi,
                                .tsc_to_ns = tsc_to_ns,
                                .opaque = b};
    b->pic = i8259_create(b->ports, (struct irq_line){pic_intr, b, 0});
    add(b, i8259_device(b->pic));
    i8259_on_taken(b->pic, pic_taken, b);
    b->apics = apic_bus_create();
    b->ioapic = ioapic_create(b->pm, b->apics);
    add(b, ioapic_device(b->ioapic));
    ioapic_on_taken(b->ioapic, pin_taken, b);
    for (unsigned i = 0; i < CPUS; i++) {
        b->lapic[i] = lapic_create(b->apics, b->clock, i, &hooks, NULL);
        add(b, lapic_device(b->lapic[i]));
    }
}

static void build_timers(struct board *b)
{
    struct hpet_lines lines = {
        .irq0 = isa_line(b, 0), .irq8 = isa_line(b, 8), .legacy = {hpet_legacy, b, 0}};
    for (unsigned i = 0; i < HPET_LINES; i++)
        lines.pin[i] = ioapic_input(b->ioapic, i);
    b->pit = i8254_create(b->ports, isa_line(b, 0), b->clock);
    add(b, i8254_device(b->pit));
    b->rtc = mc146818_create(b->ports, isa_line(b, 8), b->clock, 951782399);
    add(b, mc146818_device(b->rtc));
    add(b, hpet_device(hpet_create(b->pm, b->clock, &lines, b->apics)));
    struct acpi_pm_hooks hooks = {.power_off = ignore, .reset = ignore, .opaque = b};
    b->pm_block = acpi_pm_create(b->ports, &acpi_pm_piix4, isa_line(b, 9), b->clock, &hooks);
    add(b, acpi_pm_device(b->pm_block));
    acpi_pm_map(b->pm_block, PM_BASE);
}

static void build_input(struct board *b)
{
    struct i8042_lines lines = {.irq1 = isa_line(b, 1),
                                .irq12 = isa_line(b, 12),
                                .a20 = {ignore_line, b, 0},
                                .reset = {ignore_line, b, 0}};
    b->kbd = ps2kbd_create(b->clock);
    b->mouse = ps2mouse_create(b->clock);
    add(b, i8042_device(i8042_create(b->ports, &lines, b->clock, ps2kbd_port(b->kbd),
                                     ps2mouse_port(b->mouse))));
    add(b, ps2kbd_device(b->kbd));
    add(b, ps2mouse_device(b->mouse));
    add(b, port92_device(port92_create(b->ports, lines.a20, lines.reset)));
}

static void build_rest(struct board *b)
{
    struct irq_line lines[PC_TESTDEV_LINES];
    for (unsigned i = 0; i < PC_TESTDEV_LINES; i++)
        lines[i] = i < ISA_IRQS ? isa_line(b, i) : ioapic_input(b->ioapic, i);
    b->dma = i8237_create(b->ports, b->pm);
    add(b, i8237_device(b->dma));
    add(b, uart16550_device(uart16550_create(b->ports, 0x3f8, isa_line(b, 4), b->clock, &b->chr)));
    add(b, debugcon_device(debugcon_create(b->ports, DEBUGCON_SEABIOS_PORT, &b->chr)));
    add(b, pc_testdev_device(pc_testdev_create(b->ports, b->pm, lines, &b->chr)));
    struct fw_cfg *fw = fw_cfg_create(b->ports, b->pm);
    add(b, fw_cfg_device(fw));
    check(fw_cfg_add_file(fw, "etc/text", "some text", 9));
}

static struct board *build(void)
{
    struct board *b = calloc(1, sizeof *b);
    check(b);
    static struct spaces spaces;
    spaces_open(&spaces, RAM_BYTES, 0);
    b->ports = spaces.ports;
    b->pm = spaces.pm;
    b->clock = clock_create_stepped();
    check(b->clock);
    build_interrupts(b);
    build_timers(b);
    build_input(b);
    build_rest(b);
    return b;
}

static void demolish(struct board *b)
{
    for (unsigned i = b->device_count; i-- > 0;)
        b->devices[i].ops->destroy(b->devices[i].dev);
    check(clock_next_deadline(b->clock) == CLOCK_NEVER); /* nobody left a timer behind */
    apic_bus_destroy(b->apics);
    clock_destroy(b->clock);
    free(b);
}

/* ---- Steps ---- */

/* Ports where somebody lives; the rest of the space answers nothing new. */
static u16 pick_port(unsigned where)
{
    static const u16 ports[] = {0x00,  0x08,  0x20,  0x21,    0x40,        0x43,  0x60,  0x61,
                                0x64,  0x70,  0x71,  0x80,    0x92,        0xa0,  0xa1,  0xb2,
                                0xc0,  0xd0,  0xe0,  0xf1,    0x3f8,       0x3fc, 0x402, 0x4d0,
                                0x510, 0x514, 0x518, PM_BASE, PM_BASE + 4, 0xcf9, 0x2000};
    u16 base = ports[(where >> 4) % ARRAY_LEN(ports)];
    return (u16)(base + (where & 15));
}

static u64 pick_mmio(unsigned where)
{
    static const u64 pages[] = {IOAPIC_BASE, HPET_BASE, 0xff000000, 0x1000};
    u64 page = pages[where >> 14];
    /* most accesses to where registers are */
    return page + (where & 0x2000 ? where & 0xfff : (where & 0x3f) * 4);
}

static void use_apic(struct board *b, unsigned where, u32 what)
{
    struct lapic *a = b->lapic[where & 1];
    u64 value = (u64)what << (where & 0x3000 ? 0 : 8);
    u32 msr = where & 2 ? 0x800 + (where >> 4 & 0xff) : where & 4 ? 0x1b : 0x6e0;
    switch (where >> 2 & 7) {
    case 0: check(lapic_read(a, where >> 4 & 0xff0, 4) || true); break;
    case 1:
    case 2: lapic_write(a, where >> 4 & 0xff0, what, 4); break;
    case 3: lapic_msr_write(a, msr, value); break;
    case 4: lapic_msr_read(a, msr, &value); break;
    case 5: lapic_set_cr8(a, what); break;
    case 6: {
        int vector = lapic_ack(a);
        check(vector >= -1 && vector <= 255);
        break;
    }
    default: apic_bus_msi(b->apics, 0xfee00000 + (where << 4), what); break;
    }
}

static void use_host(struct board *b, unsigned where, u32 what)
{
    struct keyboard_sink keys = ps2kbd_sink(b->kbd);
    struct pointer_sink pointer = ps2mouse_sink(b->mouse);
    u8 bytes[64];
    bool tc;
    switch (where & 7) {
    case 0: keys.key(keys.opaque, (hid_key)what, what >> 8 & 1); break;
    case 1: pointer.move(pointer.opaque, (i8)what, (i8)(what >> 8), (i8)where, what >> 16); break;
    case 2:
        b->chr.waiting = what & 0xff;
        chardev_accept(&b->chr);
        break;
    case 3:
        memset(bytes, 0x5a, sizeof bytes);
        check(i8237_transfer(b->dma, what & 7, bytes, what >> 8 & 63, &tc) <= 63);
        break;
    case 4: acpi_pm_power_button(b->pm_block); break;
    case 5: acpi_pm_map(b->pm_block, (u16)(what & 0xffc0)); break;
    default: isa_irq(b, what & 15, what >> 8 & 1); break;
    }
}

static void reset_all(struct board *b)
{
    for (unsigned i = 0; i < b->device_count; i++)
        b->devices[i].ops->reset(b->devices[i].dev);
}

/* Accesses that belong together, as a driver makes them. */
static void use_pair(struct board *b, unsigned where, u32 what)
{
    u8 low = (u8)what, middle = (u8)(what >> 8), high = (u8)(what >> 16);
    switch (where & 7) {
    case 0: /* a command to the mouse: E6h to FFh */
    case 1:
        io_bus_write(b->ports, 0x64, 0xd4, 1);
        io_bus_write(b->ports, 0x60, where & 1 ? low : 0xe6 + low % 26, 1);
        break;
    case 2: /* to the keyboard: EDh to FFh */
        io_bus_write(b->ports, 0x60, 0xed + low % 19, 1);
        break;
    case 3: /* a register of the clock */
        io_bus_write(b->ports, 0x70, low & 15, 1);
        io_bus_write(b->ports, 0x71, middle, 1);
        break;
    case 4: /* mode and count of a counter */
        io_bus_write(b->ports, 0x43, low, 1);
        io_bus_write(b->ports, (u16)(0x40 + (low >> 6) % 3), middle, 1);
        io_bus_write(b->ports, (u16)(0x40 + (low >> 6) % 3), high, 1);
        break;
    case 5: /* an entry of the I/O APIC: vector and mode low, destination high */
        physmem_io_write(b->pm, IOAPIC_BASE, 0x10 + low % 48, 4);
        physmem_io_write(b->pm, IOAPIC_BASE + 0x10, low & 1 ? (u32)high << 24 : what >> 8, 4);
        break;
    case 6: /* a timer of the HPET: its configuration or its comparator */
        physmem_io_write(b->pm, HPET_BASE + 0x10, low & 3, 4);
        physmem_io_write(b->pm, HPET_BASE + 0x100 + (low >> 4) % 3 * 0x20 + (low & 8), what >> 8,
                         low & 4 ? 8 : 4);
        break;
    default: /* sampling: a millisecond, an interrupt, what the controller has */
        clock_step(b->clock, 1000000);
        ack_pic(b);
        io_bus_read(b->ports, 0x60, 1);
        break;
    }
}

static void step(struct board *b, const u8 *s)
{
    unsigned where = load16(s + 1), size = 1u << (s[0] >> 4 & 3) % 3;
    u32 what = s[3] | (u32)s[4] << 8 | (u32)s[5] << 16;
    i64 before = clock_now(b->clock);
    switch (s[0] & 15) {
    case 0:
    case 1:
    case 2: io_bus_write(b->ports, pick_port(where), what, size); break;
    case 3:
    case 4: io_bus_read(b->ports, pick_port(where), size); break;
    case 5:
    case 6: physmem_io_write(b->pm, pick_mmio(where), what, 1u << (s[0] >> 4 & 3)); break;
    case 7: physmem_io_read(b->pm, pick_mmio(where), 1u << (s[0] >> 4 & 3)); break;
    case 8:
    case 9: use_apic(b, where, what); break;
    case 10: use_host(b, where, what); break;
    case 11: ack_pic(b); break;
    case 12:
        if (where % 64 == 0)
            reset_all(b);
        else
            use_pair(b, where, what);
        break;
    default: clock_step(b->clock, (i64)what << (where & 3)); break;
    }
    check(clock_now(b->clock) >= before && clock_now(b->clock) - before <= MAX_STEP_NS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct board *b = build();
    for (unsigned n = 0; n < MAX_STEPS && size >= STEP_BYTES; n++) {
        step(b, data);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    demolish(b);
    return 0;
}
