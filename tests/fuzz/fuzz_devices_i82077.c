/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the floppy controller and the DMA controller beside it: three-byte steps of
 * port, value and what to do, and whole commands by DMA or without it, whose parameters follow.
 */
#include "../unit/fault_block.h"
#include "devices/i82077.h"
#include "memory_file.h"
#include "spaces.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define STEP_BYTES   3
#define COMMAND_STEP 0x80 /* in the first byte */
#define PARAMETERS   8
#define STEPS_MAX    4096
#define RAM_BYTES    KIB(64)
#define STEP_NS      (1 << 14)

static void ignore(void *opaque, unsigned n, bool level)
{
    (void)opaque;
    (void)n;
    (void)level;
}

static struct block *open_floppy(void)
{
    static struct memory_file floppy;
    struct file *file = memory_file_open(&floppy, KIB(360));
    file_truncate(file, KIB(360));
    return fault_block(file, false, NULL);
}

/* The channel at the whole of memory, up or down, and a command that exists with parameters out of
 * the bytes that follow; then, without DMA, some of its data. */
static void command(struct io_bus *ports, const u8 *s, const u8 *next, size_t left)
{
    static const u8 commands[] = {0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0c,
                                  0x0d, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x16, 0x11};
    static const u8 program[][2] = {{0x0a, 0x06}, {0x0c, 0},    {0x04, 0}, {0x04, 0x10},
                                    {0x05, 0xff}, {0x05, 0x3f}, {0x81, 0}};
    for (size_t i = 0; i < ARRAY_LEN(program); i++)
        io_bus_write(ports, program[i][0], program[i][1], 1);
    io_bus_write(ports, 0x0b, 0x42 | (s[1] & 0x3c), 1); /* mode: verify, write or read */
    io_bus_write(ports, 0x0a, 0x02, 1);
    io_bus_write(ports, 0x3f2, s[1] & 0x80 ? 0x14 : 0x1c, 1);
    io_bus_write(ports, 0x3f5, commands[s[2] % ARRAY_LEN(commands)] | (s[2] & 0xe0), 1);
    for (size_t i = 0; i < PARAMETERS && i < left; i++)
        io_bus_write(ports, 0x3f5, next[i], 1);
    for (unsigned i = 0; s[1] & 0x80 && i < 600; i++) {
        if (s[1] & 0x40)
            io_bus_write(ports, 0x3f5, i, 1);
        else
            io_bus_read(ports, 0x3f5, 1);
    }
}

static void step(struct io_bus *ports, struct clock *clock, struct i82077 *f, const u8 *s)
{
    static const u16 dma[] = {0x04, 0x05, 0x08, 0x0a, 0x0b, 0x0c, 0x81, 0xd4};
    switch (s[0] % 8) {
    case 0: io_bus_write(ports, (u16)(0x3f0 + s[1] % 8), s[2], 1); break;
    case 1: io_bus_read(ports, (u16)(0x3f0 + s[1] % 8), 1); break;
    case 2: io_bus_write(ports, dma[s[1] % 8], s[2], 1); break;
    case 3: clock_step(clock, (i64)(s[1] + 1) * (s[2] + 1) * STEP_NS); break;
    case 4: i82077_medium_changed(f, s[1] % I82077_DRIVES); break;
    case 5: i82077_device(f).ops->reset(f); break;
    case 6: io_bus_write(ports, 0x3f2, 0x1c | (s[1] & 3), 1); break;
    default: io_bus_write(ports, 0x3f5, s[2], 1); break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct spaces spaces;
    spaces_open(&spaces, RAM_BYTES, 0);
    struct physmem *pm = spaces.pm;
    struct io_bus *ports = spaces.ports;
    struct clock *clock = clock_create_stepped();
    struct block *floppy = open_floppy();
    struct i8237 *dma = i8237_create(ports, pm);
    struct i82077_config c = {
        .ports = ports, .irq = {ignore, NULL, 0}, .dma = dma, .dma_channel = 2, .clock = clock};
    struct i82077 *f = i82077_create(&c);
    i82077_attach(f, 0, floppy);
    io_bus_write(ports, 0x3f2, 0x1c, 1);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        if (data[0] & COMMAND_STEP)
            command(ports, data, data + STEP_BYTES, size - STEP_BYTES);
        else
            step(ports, clock, f, data);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    block_close(floppy);
    i82077_device(f).ops->destroy(f);
    i8237_device(dma).ops->destroy(dma);
    clock_destroy(clock);
    return 0;
}
