/* SPDX-License-Identifier: MIT
 *
 * Runs a bare-metal test guest on the smallest board that it needs: RAM, a ROM of 64 KiB below
 * 1 MiB and below 4 GiB, two 8259, an 8254, the debug console at E9h (our stdout) and the exit port
 * F4h. The same image runs under "qemu-system-x86_64 -bios IMAGE -debugcon stdio
 * -device isa-debug-exit,iobase=0xf4". Time is stepped: 1 us per 100 instructions, and HLT skips to
 * the next timer. Now and then a host timer stops the CPU wherever it is, even within a repeated
 * instruction, and lets 100 us pass.
 *
 * An engine other than the interpreter cannot be stopped after a number of instructions: with
 * -accel time passes at the stops only.
 *
 *     guest_run [-accel ENGINE] [-cpu MODEL] [-d int] IMAGE
 *
 * Exit status: the guest's (as isa-debug-exit gives it), 3 triple fault, 124 asleep for ever or too
 * long, 2 usage. The last code written to the diagnostic port 190h goes to stderr.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "bus/physmem.h"
#include "bus/ports.h"
#include "cpu/excp.h"
#include "cpu/interp.h"
#include "cpu/vcpu.h"
#include "devices/i8254.h"
#include "devices/i8259.h"
#include "machine/engine.h"

#define RAM_BYTES     MIB(64)
#define ROM_BYTES     KIB(64)
#define SLICE         1000 /* instructions */
#define SLICE_NS      10000
#define STOP_NS       100000
#define STOP_USEC     1000 /* of CPU time: a busy host must not change what a guest sees */
#define LONGEST_RUN   100  /* seconds of CPU time */
#define PORT_DEBUGCON 0xe9
#define PORT_EXIT     0xf4
#define PORT_POST     0x190 /* diagnostic codes of test386 */

struct board {
    struct physmem *pm;
    struct io_bus *ports;
    struct clock *clock;
    struct i8259 *pic;
    u64 cr8; /* nothing looks at it: there is no APIC */
    struct vcpu *v;
    const struct engine *engine;
    bool done;
    int status;
    int post; /* last diagnostic code, -1 none */
};

static u32 board_port_read(void *opaque, u16 port, unsigned size)
{
    return io_bus_read(((struct board *)opaque)->ports, port, size);
}

static void board_port_write(void *opaque, u16 port, u32 value, unsigned size)
{
    io_bus_write(((struct board *)opaque)->ports, port, value, size);
}

static u64 board_mmio_read(void *opaque, u64 pa, unsigned size)
{
    return physmem_io_read(((struct board *)opaque)->pm, pa, size);
}

static void board_mmio_write(void *opaque, u64 pa, u64 value, unsigned size)
{
    physmem_io_write(((struct board *)opaque)->pm, pa, value, size);
}

static int board_ack(void *opaque)
{
    return i8259_ack(((struct board *)opaque)->pic);
}

static u64 board_cr8_read(void *opaque)
{
    return ((struct board *)opaque)->cr8;
}

static void board_cr8_write(void *opaque, u64 value)
{
    ((struct board *)opaque)->cr8 = value;
}

static void board_intr(void *opaque, unsigned n, bool level)
{
    struct board *b = opaque;
    (void)n;
    if (level)
        vcpu_event_set(b->v, EVENT_INTR);
    else
        vcpu_event_clear(b->v, EVENT_INTR);
}

static u32 debugcon_read(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    return PORT_DEBUGCON;
}

static void debugcon_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)size;
    putchar((int)(value & 0xff));
}

static void exit_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct board *b = opaque;
    (void)offset;
    (void)size;
    b->done = true;
    b->status = (int)(value << 1 | 1) & 0xff;
    vcpu_event_set(b->v, EVENT_STOP);
}

static void post_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)offset;
    (void)size;
    ((struct board *)opaque)->post = (int)(value & 0xff);
}

static bool load_rom(struct board *b, const char *path)
{
    u64 offset = physmem_alloc(b->pm, ROM_BYTES, "rom");
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return false;
    }
    size_t n = fread(physmem_host(b->pm, offset), 1, ROM_BYTES, f);
    fclose(f);
    if (n != ROM_BYTES) {
        fprintf(stderr, "%s: an image has 64 KiB\n", path);
        return false;
    }
    physmem_map_rom(b->pm, 0xf0000, ROM_BYTES, offset, 1, "rom");
    physmem_map_rom(b->pm, 0xffff0000, ROM_BYTES, offset, 1, "rom");
    return true;
}

static bool board_create(struct board *b, struct log *log, const char *model, const char *image)
{
    static const struct port_ops debugcon = {
        .name = "debugcon", .read = debugcon_read, .write = debugcon_write};
    static const struct port_ops leave = {.name = "exit", .write = exit_write, .max_size = 4};
    struct vcpu_hooks hooks = {.port_read = board_port_read,
                               .port_write = board_port_write,
                               .mmio_read = board_mmio_read,
                               .mmio_write = board_mmio_write,
                               .interrupt_ack = board_ack,
                               .cr8_read = board_cr8_read,
                               .cr8_write = board_cr8_write,
                               .opaque = b};
    static const struct port_ops post = {.name = "post", .write = post_write};
    const char *error = NULL;
    b->pm = physmem_create(RAM_BYTES + ROM_BYTES, log);
    u64 ram = physmem_alloc(b->pm, RAM_BYTES, "ram");
    physmem_map_ram(b->pm, 0, RAM_BYTES, ram, 0, "ram");
    if (!load_rom(b, image))
        return false;
    b->ports = io_bus_create(log);
    b->clock = clock_create_stepped();
    b->v = vcpu_create(b->pm, &hooks, log, 0, model, &error);
    if (!b->v) {
        fprintf(stderr, "%s\n", error);
        return false;
    }
    b->pic = i8259_create(b->ports, (struct irq_line){board_intr, b, 0});
    struct i8254 *pit = i8254_create(b->ports, i8259_input(b->pic, 0), b->clock);
    struct device chips[] = {i8259_device(b->pic), i8254_device(pit)};
    for (unsigned i = 0; i < ARRAY_LEN(chips); i++)
        chips[i].ops->reset(chips[i].dev);
    io_bus_claim(b->ports, PORT_DEBUGCON, 1, &debugcon, b);
    io_bus_claim(b->ports, PORT_EXIT, 4, &leave, b);
    io_bus_claim(b->ports, PORT_POST, 1, &post, b);
    return true;
}

/* An idle CPU waits for the next timer. */
static bool sleep_until_timer(struct board *b)
{
    i64 next = clock_next_deadline(b->clock);
    if (next == CLOCK_NEVER)
        return false;
    clock_step(b->clock, next > clock_now(b->clock) ? next - clock_now(b->clock) : 1);
    return true;
}

static struct vcpu *stopped_cpu; /* for the signal handler only */

static void on_alarm(int signal_number)
{
    (void)signal_number;
    vcpu_event_set(stopped_cpu, EVENT_STOP);
}

static void stop_now_and_then(struct vcpu *v)
{
    const struct itimerval period = {{0, STOP_USEC}, {0, STOP_USEC}};
    stopped_cpu = v;
    signal(SIGPROF, on_alarm);
    setitimer(ITIMER_PROF, &period, NULL);
}

static bool too_long(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec >= LONGEST_RUN;
}

/* Runs for a while and lets time pass. *over: it has been too long. */
static enum vcpu_exit run_slice(struct board *b, bool *over)
{
    u64 before = b->v->instructions;
    bool stepped = b->engine == engine_get(ACCEL_INTERP);
    enum vcpu_exit why = stepped ? interp_run_some(b->v, SLICE) : b->engine->run(b->v);
    bool stopped = why == VCPU_EXIT_STOP && !(stepped && b->v->instructions - before >= SLICE);
    clock_step(b->clock, stopped ? STOP_NS : SLICE_NS);
    *over = stopped && too_long();
    return why;
}

static int board_run(struct board *b)
{
    bool over = false;
    stop_now_and_then(b->v);
    while (!b->done && !over) {
        enum vcpu_exit why = run_slice(b, &over);
        if (why == VCPU_EXIT_SHUTDOWN) {
            printf("triple fault at %04x:%llx\n", b->v->seg[SEG_CS].sel,
                   (unsigned long long)b->v->rip);
            return 3;
        }
        if (why == VCPU_EXIT_HALT && !excp_wakes(b->v) && !sleep_until_timer(b))
            break;
    }
    return b->done ? b->status : 124;
}

static const struct engine *choose_engine(const char *name)
{
    enum accel accel = ACCEL_INTERP;
    const char *reason = "no such engine";
    if (!name || engine_parse(name, &accel))
        reason = engine_unavailable(accel);
    if (reason)
        fprintf(stderr, "-accel %s: %s\n", name, reason);
    return reason ? NULL : engine_get(accel);
}

int main(int argc, char **argv)
{
    struct board b = {.post = -1};
    const char *model = NULL, *image = NULL, *accel = NULL;
    struct log *log = log_create(stderr);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-cpu") && i + 1 < argc)
            model = argv[++i];
        else if (!strcmp(argv[i], "-accel") && i + 1 < argc)
            accel = argv[++i];
        else if (!strcmp(argv[i], "-d") && i + 1 < argc)
            log_enable(log, argv[++i]);
        else
            image = argv[i];
    }
    if (!image) {
        fprintf(stderr, "usage: guest_run [-accel ENGINE] [-cpu MODEL] [-d LIST] IMAGE\n");
        return 2;
    }
    b.engine = choose_engine(accel);
    if (!b.engine || !board_create(&b, log, model, image) || !b.engine->attach(b.v))
        return 2;
    int status = board_run(&b);
    fflush(stdout);
    if (b.post >= 0)
        fprintf(stderr, "POST %02X, at %04x:%llx\n", (unsigned)b.post, b.v->seg[SEG_CS].sel,
                (unsigned long long)b.v->rip);
    return status;
}
