/* SPDX-License-Identifier: MIT
 *
 * What all boards share: creates every chip and draws every wire but for bridges and disk
 * controllers, which board_pc.c and board_q35.c have. Read it as the schematic:
 *
 *   IRQ n --> bridge (shares with PCI INTx) --> isa fan-out --> 8259 pair --INT--> LINT0 of CPU 0
 *                                                   |
 *                                                   +--> IOAPIC pin n (IRQ 0 on pin 2) --> APIC bus
 */
#include <errno.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "bt/bt.h"
#include "cpu/interp.h"
#include "devices/debug_exit.h"
#include "devices/debugcon.h"
#include "devices/ferr.h"
#include "devices/hpet.h"
#include "devices/pc_testdev.h"
#include "devices/port92.h"
#include "devices/uart16550.h"
#include "devices/vga_pci.h"
#include "machine/fw_items.h"
#include "machine/internal.h"
#include "machine/rtc_base.h"
#include "machine/smbios.h"
#include "ui/console.h"

enum pc_irq {
    IRQ_PIT = 0,
    IRQ_KBD = 1,
    IRQ_COM2 = 3,
    IRQ_COM1 = 4,
    IRQ_RTC = 8,
    IRQ_SCI = 9,
    IRQ_MOUSE = 12,
    IRQ_FPU = 13
};

#define PIT_IOAPIC_PIN 2 /* IRQ 0 comes in on pin 2: the MADT says so */
/* CMOS cell 14h */
enum equipment {
    EQUIPMENT_FLOPPY = 0x01,
    EQUIPMENT_FPU = 0x02,
    EQUIPMENT_MOUSE = 0x04,
    EQUIPMENT_TWO_FLOPPIES = 0x40
};

#define DEFAULT_BOARD      "pc"
#define VIDEO_MEMORY       MIB(16)
#define TSC_CALIBRATION_NS (10 * 1000 * 1000)

static const u16 serial_port[MAX_SERIALS] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
static const u8 serial_irq[MAX_SERIALS] = {IRQ_COM1, IRQ_COM2, IRQ_COM1, IRQ_COM2};

void machine_add_device(struct machine *m, struct device d)
{
    if (m->device_count == MAX_DEVICES)
        abort(); /* the board is fixed: the array is too small for it */
    m->devices[m->device_count++] = d;
}

/* ---- a CPU's way to the board ---- */

static u32 hook_port_read(void *opaque, u16 port, unsigned size)
{
    struct machine *m = ((struct cpu_thread *)opaque)->m;
    loop_lock(m->loop);
    u32 value = io_bus_read(m->ports, port, size);
    loop_unlock(m->loop);
    return value;
}

static void hook_port_write(void *opaque, u16 port, u32 value, unsigned size)
{
    struct machine *m = ((struct cpu_thread *)opaque)->m;
    loop_lock(m->loop);
    io_bus_write(m->ports, port, value, size);
    loop_unlock(m->loop);
}

/* The local APIC's page belongs to the CPU that looks at it. */
static bool is_lapic(const struct cpu_thread *c, u64 pa)
{
    u64 base = lapic_base(c->lapic);
    return base && (pa & ~PAGE_OFFSET_MASK) == base;
}

/* What the map shows at that page: that it is no memory. A CPU's accesses end in its hooks; this is
 * for everybody else and for a CPU whose APIC is off or elsewhere. */
static u64 apic_page_read(void *opaque, u64 offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    return mask64(size * 8);
}

static void apic_page_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)value;
    (void)size;
}

static const struct mmio_ops apic_page_ops = {
    .name = "lapic", .read = apic_page_read, .write = apic_page_write};

static u64 hook_mmio_read(void *opaque, u64 pa, unsigned size)
{
    struct cpu_thread *c = opaque;
    struct machine *m = c->m;
    u64 value;
    loop_lock(m->loop);
    if (is_lapic(c, pa)) {
        unsigned low = size < 4 ? size : 4;
        value = lapic_read(c->lapic, pa & PAGE_OFFSET_MASK, low);
        if (size == 8)
            value |= (u64)lapic_read(c->lapic, (pa + 4) & PAGE_OFFSET_MASK, 4) << 32;
    } else {
        value = physmem_io_read(m->pm, pa, size);
    }
    loop_unlock(m->loop);
    return value;
}

static void hook_mmio_write(void *opaque, u64 pa, u64 value, unsigned size)
{
    struct cpu_thread *c = opaque;
    struct machine *m = c->m;
    loop_lock(m->loop);
    if (is_lapic(c, pa)) {
        lapic_write(c->lapic, pa & PAGE_OFFSET_MASK, (u32)value, size < 4 ? size : 4);
        if (size == 8)
            lapic_write(c->lapic, (pa + 4) & PAGE_OFFSET_MASK, (u32)(value >> 32), 4);
    } else {
        physmem_io_write(m->pm, pa, value, size);
    }
    loop_unlock(m->loop);
}

static int hook_interrupt_ack(void *opaque)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    int vector = lapic_ack(c->lapic);
    loop_unlock(c->m->loop);
    return vector;
}

static u64 hook_cr8_read(void *opaque)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    u64 cr8 = lapic_cr8(c->lapic);
    loop_unlock(c->m->loop);
    return cr8;
}

static void hook_cr8_write(void *opaque, u64 value)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    lapic_set_cr8(c->lapic, value);
    loop_unlock(c->m->loop);
}

static bool hook_msr_read(void *opaque, u32 msr, u64 *value)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    bool known = lapic_msr_read(c->lapic, msr, value);
    loop_unlock(c->m->loop);
    return known;
}

static bool hook_msr_write(void *opaque, u32 msr, u64 value)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    bool known = lapic_msr_write(c->lapic, msr, value);
    loop_unlock(c->m->loop);
    return known;
}

static void hook_ferr(void *opaque)
{
    struct cpu_thread *c = opaque;
    loop_lock(c->m->loop);
    ferr_assert(c->m->ferr);
    loop_unlock(c->m->loop);
}

static const struct vcpu_hooks cpu_hooks = {
    .port_read = hook_port_read,
    .port_write = hook_port_write,
    .mmio_read = hook_mmio_read,
    .mmio_write = hook_mmio_write,
    .interrupt_ack = hook_interrupt_ack,
    .cr8_read = hook_cr8_read,
    .cr8_write = hook_cr8_write,
    .apic_msr_read = hook_msr_read,
    .apic_msr_write = hook_msr_write,
    .ferr = hook_ferr,
};

/* ---- the board's way to a CPU ---- */

static void cpu_intr(void *opaque, bool level)
{
    struct cpu_thread *c = opaque;
    if (!level) {
        vcpu_event_clear(c->v, EVENT_INTR);
        return;
    }
    vcpu_event_set(c->v, EVENT_INTR);
    cpu_wake(c);
}

static void cpu_nmi(void *opaque)
{
    struct cpu_thread *c = opaque;
    vcpu_event_set(c->v, EVENT_NMI);
    cpu_wake(c);
}

static void cpu_init(void *opaque)
{
    struct cpu_thread *c = opaque;
    vcpu_event_set(c->v, EVENT_INIT);
    cpu_wake(c);
}

static void cpu_startup(void *opaque, u8 vector)
{
    struct cpu_thread *c = opaque;
    c->v->sipi_vector = vector;
    vcpu_event_set(c->v, EVENT_SIPI);
    cpu_wake(c);
}

static int pic_ack(void *opaque)
{
    return i8259_ack(((struct cpu_thread *)opaque)->m->pic);
}

static void apic_eoi(void *opaque, u8 vector, bool level)
{
    (void)level;
    ioapic_eoi(((struct cpu_thread *)opaque)->m->ioapic, vector);
}

static i64 tsc_to_ns(void *opaque, u64 tsc)
{
    struct cpu_thread *c = opaque;
    double ahead = (double)(i64)(tsc - (__rdtsc() + (u64)c->v->tsc_offset));
    return clock_now(c->m->clock) + (i64)(ahead * 1e9 / c->m->tsc_hz);
}

void pc_set_a20(struct machine *m, bool on)
{
    for (unsigned i = 0; i < m->cpu_count; i++)
        vcpu_set_a20(m->cpus[i].v, on);
}

/* ---- wires ---- */

static void wire_isa(void *opaque, unsigned irq, bool level)
{
    struct machine *m = opaque;
    struct irq_line pic = i8259_input(m->pic, irq);
    irq_set(&pic, level);
    struct irq_line pin = ioapic_input(m->ioapic, irq == IRQ_PIT ? PIT_IOAPIC_PIN : irq);
    if (irq != PIT_IOAPIC_PIN)
        irq_set(&pin, level);
}

static void wire_pic_int(void *opaque, unsigned n, bool level)
{
    struct machine *m = opaque;
    (void)n;
    lapic_set_lint(m->cpus[0].lapic, 0, level);
}

static void wire_a20(void *opaque, unsigned n, bool level)
{
    (void)n;
    pc_set_a20(opaque, level);
}

static void wire_reset(void *opaque, unsigned n, bool level)
{
    (void)n;
    if (level)
        machine_reset(opaque, true);
}

static void wire_hpet_legacy(void *opaque, unsigned n, bool level)
{
    struct machine *m = opaque;
    (void)n;
    i8254_cut_irq0(m->pit, level);
    mc146818_cut_irq8(m->rtc, level);
}

static void irq0_taken(struct machine *m)
{
    i8254_irq0_taken(m->pit);
    hpet_irq0_taken(m->hpet);
}

static void pic_taken(void *opaque, unsigned irq)
{
    if (irq == IRQ_PIT)
        irq0_taken(opaque);
}

static void ioapic_taken(void *opaque, unsigned pin)
{
    if (pin == PIT_IOAPIC_PIN)
        irq0_taken(opaque);
}

static void deliver_msi(void *opaque, u64 address, u32 data)
{
    apic_bus_msi(((struct machine *)opaque)->apics, address, data);
}

static void guest_reset(void *opaque)
{
    machine_reset(opaque, true);
}

/* S5: the machine is off. With -no-shutdown its last state can still be looked at. */
static void guest_power_off(void *opaque)
{
    struct machine *m = opaque;
    if (m->config->no_shutdown)
        machine_pause(m);
    else
        machine_quit(m, 0);
}

static void guest_debug_exit(void *opaque, u32 status)
{
    machine_quit(opaque, (int)(status & 0xff));
}

/* ---- building ---- */

static bool fail(char *error, size_t n, const char *what)
{
    snprintf(error, n, "%s: %s", what, strerror(errno ? errno : ENOMEM));
    return false;
}

static double measure_tsc_hz(void)
{
    double t0 = host_seconds();
    u64 c0 = __rdtsc();
    struct timespec wait = {.tv_nsec = TSC_CALIBRATION_NS};
    nanosleep(&wait, NULL);
    u64 c1 = __rdtsc();
    double t1 = host_seconds();
    return (double)(c1 - c0) / (t1 - t0);
}

static bool build_memory(struct machine *m, char *error, size_t n)
{
    /* RAM, firmware, video memory and option ROMs; address space, not memory. */
    u64 limit = m->config->ram_bytes + VIDEO_MEMORY + MIB(64);
    m->pm = physmem_create(limit, m->log);
    m->ports = io_bus_create(m->log);
    return (m->pm && m->ports) || fail(error, n, "cannot reserve guest memory");
}

static bool build_cpus(struct machine *m, char *error, size_t n)
{
    m->apics = apic_bus_create();
    physmem_map_mmio(m->pm, LAPIC_DEFAULT_BASE, PAGE_BYTES, &apic_page_ops, m, 1);
    m->tsc_hz = measure_tsc_hz();
    m->cpu_count = m->config->cpus;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        struct cpu_thread *c = &m->cpus[i];
        struct vcpu_hooks hooks = cpu_hooks;
        const char *why = "out of memory";
        c->m = m;
        hooks.opaque = c;
        c->v = vcpu_create(m->pm, &hooks, m->log, i, m->config->cpu, &why);
        if (!c->v) {
            snprintf(error, n, "%s", why);
            m->cpu_count = i;
            return false;
        }
        struct lapic_hooks lapic = {.intr = cpu_intr,
                                    .nmi = cpu_nmi,
                                    .init = cpu_init,
                                    .startup = cpu_startup,
                                    .pic_ack = pic_ack,
                                    .eoi = apic_eoi,
                                    .tsc_to_ns = tsc_to_ns,
                                    .opaque = c};
        c->lapic = lapic_create(m->apics, m->clock, i, &lapic, m->log);
        machine_add_device(m, lapic_device(c->lapic));
        if (!m->engine->attach(c->v))
            return fail(error, n, "cannot set up the engine");
        if (c->v->engine && m->config->verify)
            bt_verify(c->v, true);
        if (c->v->engine && m->config->eager)
            bt_tune(c->v, &(struct bt_tuning){.hot = 1, .traces_at_once = true});
        if (c->v->engine && m->config->perf_map && !bt_perf_map(c->v))
            return fail(error, n, "cannot write the map for perf in /tmp");
        /* The TSC starts near 0 at power-on. */
        c->v->tsc_offset = -(i64)__rdtsc();
    }
    return true;
}

static bool build_chipset(struct machine *m, char *error, size_t n)
{
    u64 rom_offset, rom_bytes;
    if (!firmware_load(m, &rom_offset, &rom_bytes, error, n))
        return false;
    struct pci_bus_config bus = {.ports = m->ports, .physmem = m->pm, .log = m->log};
    m->pci = pci_bus_create(&bus);
    machine_add_device(m, pci_bus_device(m->pci));
    pci_bus_set_msi(m->pci, deliver_msi, m);
    struct host_memory_config memory = {.physmem = m->pm,
                                        .ram_bytes = m->config->ram_bytes,
                                        .rom_offset = rom_offset,
                                        .rom_bytes = rom_bytes};
    for (unsigned i = 0; i < PIRQ_ISA_IRQS; i++)
        m->isa_fanout[i] = (struct irq_line){wire_isa, m, i};
    if (!m->board->build_bridges(m, &memory)) {
        snprintf(error, n, "the host has not enough memory for the guest: use a smaller -m");
        return false;
    }
    return true;
}

static void build_interrupts(struct machine *m)
{
    m->pic = i8259_create(m->ports, (struct irq_line){wire_pic_int, m, 0});
    machine_add_device(m, i8259_device(m->pic));
    i8259_on_taken(m->pic, pic_taken, m);
    m->ioapic = ioapic_create(m->pm, m->apics);
    machine_add_device(m, ioapic_device(m->ioapic));
    ioapic_on_taken(m->ioapic, ioapic_taken, m);
}

static struct irq_line isa(struct machine *m, unsigned irq)
{
    return m->isa[irq];
}

static bool build_timers(struct machine *m, char *error, size_t n)
{
    i64 seconds;
    const char *base = m->config->rtc_base ? m->config->rtc_base : "utc";
    if (!rtc_base_parse(base, &seconds)) {
        snprintf(error, n, "'%s' is not a clock base: use utc, localtime or 2026-01-31T12:34:56",
                 base);
        return false;
    }
    m->pit = i8254_create(m->ports, isa(m, IRQ_PIT), m->clock);
    machine_add_device(m, i8254_device(m->pit));
    m->rtc = mc146818_create(m->ports, isa(m, IRQ_RTC), m->clock, seconds);
    machine_add_device(m, mc146818_device(m->rtc));
    struct hpet_lines lines = {
        .irq0 = isa(m, IRQ_PIT), .irq8 = isa(m, IRQ_RTC), .legacy = {wire_hpet_legacy, m, 0}};
    for (unsigned i = 0; i < HPET_LINES; i++)
        lines.pin[i] = ioapic_input(m->ioapic, i);
    m->hpet = hpet_create(m->pm, m->clock, &lines, m->apics);
    machine_add_device(m, hpet_device(m->hpet));
    return true;
}

static void build_input(struct machine *m)
{
    m->kbd = ps2kbd_create(m->clock);
    m->mouse = ps2mouse_create(m->clock);
    machine_add_device(m, ps2kbd_device(m->kbd));
    machine_add_device(m, ps2mouse_device(m->mouse));
    struct irq_line a20 = {wire_a20, m, 0}, reset = {wire_reset, m, 0};
    struct i8042_lines lines = {
        .irq1 = isa(m, IRQ_KBD), .irq12 = isa(m, IRQ_MOUSE), .a20 = a20, .reset = reset};
    machine_add_device(m, i8042_device(i8042_create(m->ports, &lines, m->clock, ps2kbd_port(m->kbd),
                                                    ps2mouse_port(m->mouse))));
    machine_add_device(m, port92_device(port92_create(m->ports, a20, reset)));
    m->ferr = ferr_create(m->ports, isa(m, IRQ_FPU));
    machine_add_device(m, ferr_device(m->ferr));
}

static void build_power(struct machine *m)
{
    struct acpi_pm_hooks hooks = {.power_off = guest_power_off, .reset = guest_reset, .opaque = m};
    m->pm_block = acpi_pm_create(m->ports, m->board->pm, isa(m, IRQ_SCI), m->clock, &hooks);
    machine_add_device(m, acpi_pm_device(m->pm_block));
    m->board->build_power(m);
}

static bool build_serial(struct machine *m, char *error, size_t n)
{
    for (unsigned i = 0; i < m->config->serials; i++) {
        if (strcmp(m->config->serial[i], "none")) {
            m->serial_chr[i] = chardev_open(m->config->serial[i], m->loop, error, n);
            if (!m->serial_chr[i])
                return false;
        }
    }
    if (m->config->nographic && !m->serial_chr[0]) {
        m->terminal = chardev_open("stdio", m->loop, error, n);
        if (!m->terminal)
            return false;
        m->mux = mux_create(m->loop, m->terminal, &m->serial_chr[0], &m->terminal_monitor,
                            guest_power_off, m);
    }
    for (unsigned i = 0; i < MAX_SERIALS; i++) {
        if (i < 2 || m->serial_chr[i])
            machine_add_device(m, uart16550_device(uart16550_create(m->ports, serial_port[i],
                                                                    isa(m, serial_irq[i]), m->clock,
                                                                    m->serial_chr[i])));
    }
    return true;
}

static bool build_debug(struct machine *m, char *error, size_t n)
{
    const struct machine_config *c = m->config;
    if (c->debugcon) {
        m->debugcon_chr = chardev_open(c->debugcon, m->loop, error, n);
        if (!m->debugcon_chr)
            return false;
        machine_add_device(
            m, debugcon_device(debugcon_create(m->ports, c->debugcon_port, m->debugcon_chr)));
    }
    if (c->debug_exit) {
        unsigned size = c->debug_exit_iosize;
        if (size != 1 && size != 2 && size != 4) {
            snprintf(error, n, "isa-debug-exit: iosize must be 1, 2 or 4");
            return false;
        }
        machine_add_device(m, debug_exit_device(debug_exit_create(
                                  m->ports, (u16)c->debug_exit_iobase, size, guest_debug_exit, m)));
    }
    if (c->testdev) {
        struct irq_line lines[PC_TESTDEV_LINES];
        for (unsigned i = 0; i < PC_TESTDEV_LINES; i++)
            lines[i] = i < PIRQ_ISA_IRQS ? isa(m, i) : ioapic_input(m->ioapic, i);
        machine_add_device(
            m, pc_testdev_device(pc_testdev_create(m->ports, m->pm, lines, m->serial_chr[0])));
    }
    return true;
}

static void console_lock(void *opaque)
{
    loop_lock(((struct machine *)opaque)->loop);
}

static void console_unlock(void *opaque)
{
    loop_unlock(((struct machine *)opaque)->loop);
}

static bool build_video(struct machine *m, char *error, size_t n)
{
    struct vga_config config = {.ports = m->ports,
                                .physmem = m->pm,
                                .clock = m->clock,
                                .log = m->log,
                                .vram_bytes = VIDEO_MEMORY};
    size_t rom_bytes;
    u8 *rom = firmware_video_bios(&rom_bytes, error, n);
    if (!rom)
        return false;
    struct vga *vga = vga_create(&config);
    if (vga)
        machine_add_device(m, vga_device(vga));
    struct vga_pci *pci =
        vga ? vga_pci_create(m->pci, PCI_DEVFN(m->board->vga_slot, 0), vga, rom, (u32)rom_bytes)
            : NULL;
    free(rom);
    if (!pci)
        return fail(error, n, "cannot create the display adapter");
    machine_add_device(m, vga_pci_device(pci));
    struct console_wiring wiring = {.display = vga_display(vga),
                                    .keyboard = ps2kbd_sink(m->kbd),
                                    .pointer = ps2mouse_sink(m->mouse),
                                    .clock = m->clock,
                                    .lock = console_lock,
                                    .unlock = console_unlock,
                                    .lock_opaque = m};
    m->console = console_create(&wiring);
    return m->console || fail(error, n, "cannot create the console");
}

/* Letters of -boot order in the CMOS cells that PC firmware reads. */
static void set_boot_cmos(struct machine *m)
{
    static const char letters[] = " acdn";
    const char *order = m->config->boot_order ? m->config->boot_order : "cad";
    u8 nibble[3] = {0};
    for (unsigned i = 0; i < 3 && order[i]; i++) {
        const char *at = strchr(letters, order[i]);
        nibble[i] = at ? (u8)(at - letters) : 0;
    }
    mc146818_set_cmos(m->rtc, 0x3d, (u8)(nibble[1] << 4 | nibble[0]));
    mc146818_set_cmos(m->rtc, 0x38, (u8)(nibble[2] << 4 | 1)); /* 1: no floppy signature check */
}

/* CMOS register 10h: the first drive's type is in the high half. */
static u8 floppy_types(const struct machine *m)
{
    if (!m->floppy)
        return 0;
    return (u8)(i82077_cmos_type(m->floppy, 0) << 4 | i82077_cmos_type(m->floppy, 1));
}

static void set_memory_cmos(struct machine *m)
{
    u64 low = m->memory->low_ram, high = m->memory->high_ram;
    u64 base_kib = 640;
    u64 ext_kib = low > MIB(1) ? (low - MIB(1)) >> 10 : 0;
    if (ext_kib > 0xffff)
        ext_kib = 0xffff;
    u64 above16 = low > MIB(16) ? (low - MIB(16)) >> 16 : 0;
    if (above16 > 0xffff)
        above16 = 0xffff;
    u64 above4g = high >> 16;
    u8 floppies = floppy_types(m), floppy0 = floppies >> 4, floppy1 = floppies & 15;
    u8 equipment = EQUIPMENT_FPU | EQUIPMENT_MOUSE;
    if (floppy0 || floppy1)
        equipment |= EQUIPMENT_FLOPPY | (floppy0 && floppy1 ? EQUIPMENT_TWO_FLOPPIES : 0);
    const struct {
        u8 index;
        u64 value;
    } cells[] = {{0x15, base_kib},     {0x16, base_kib >> 8}, {0x17, ext_kib},
                 {0x18, ext_kib >> 8}, {0x30, ext_kib},       {0x31, ext_kib >> 8},
                 {0x34, above16},      {0x35, above16 >> 8},  {0x5b, above4g},
                 {0x5c, above4g >> 8}, {0x5d, above4g >> 16}, {0x5f, m->cpu_count - 1},
                 {0x10, floppies},     {0x14, equipment}};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        mc146818_set_cmos(m->rtc, cells[i].index, (u8)cells[i].value);
}

static bool build_tables(struct machine *m, char *error, size_t n)
{
    u64 low = m->memory->low_ram, high = m->memory->high_ram;
    m->fw_cfg = fw_cfg_create(m->ports, m->pm);
    machine_add_device(m, fw_cfg_device(m->fw_cfg));
    struct fw_items_config items = {.low_ram = low,
                                    .high_ram = high,
                                    .cpus = m->cpu_count,
                                    .max_cpus = m->cpu_count,
                                    .nographic = m->config->nographic,
                                    .boot_menu = m->config->boot_menu,
                                    .boot_order = m->config->boot_order,
                                    .boot_paths = m->config->kernel ? BOOTLOAD_ROM_PATH : NULL};
    struct acpi_config acpi = {.board = m->board->acpi,
                               .pm = m->board->pm,
                               .cpus = m->cpu_count,
                               .pm_base = ACPI_PM_DEFAULT_BASE,
                               .sci_irq = IRQ_SCI,
                               .pci_memory = m->pci_memory,
                               .hpet = true,
                               .serial_ports = 2,
                               .floppy = m->floppy != NULL,
                               .floppy_types = floppy_types(m)};
    struct smbios_config smbios = {.cpus = m->cpu_count, .ram = low + high, .low_ram = low};
    if (!fw_items_add(m->fw_cfg, &items) || !acpi_add_tables(m->fw_cfg, &acpi) ||
        !smbios_add_tables(m->fw_cfg, &smbios))
        return fail(error, n, "cannot make the firmware's tables");
    set_boot_cmos(m);
    set_memory_cmos(m);
    return bootload_add(m, error, n);
}

bool pc_build(struct machine *m, char *error, size_t n)
{
    m->board = board_find(m->config->board ? m->config->board : DEFAULT_BOARD);
    if (!m->board) {
        snprintf(error, n, "unknown machine '%s'", m->config->board);
        return false;
    }
    if (!build_memory(m, error, n) || !build_cpus(m, error, n) || !build_chipset(m, error, n))
        return false;
    build_interrupts(m);
    m->next_slot = m->board->first_card_slot;
    if (!build_timers(m, error, n))
        return false;
    build_input(m);
    machine_add_device(m, i8237_device(m->dma = i8237_create(m->ports, m->pm)));
    build_power(m);
    return build_serial(m, error, n) && build_debug(m, error, n) && pc_build_disks(m, error, n) &&
           build_video(m, error, n) && pc_build_network(m, error, n) && build_tables(m, error, n);
}
