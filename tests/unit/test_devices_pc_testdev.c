/* SPDX-License-Identifier: MIT
 *
 * The test device as kvm-unit-tests drive it.
 */
#include "device_rig.h"

#include "devices/pc_testdev.h"

struct chardev {
    u8 last;
    unsigned count;
};

void chardev_write(struct chardev *c, const void *bytes, size_t n)
{
    c->count += (unsigned)n;
    c->last = ((const u8 *)bytes)[n - 1];
}

struct fixture {
    struct rig rig;
    struct wire lines[PC_TESTDEV_LINES];
    struct chardev chr;
    struct pc_testdev *dev;
};

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    struct irq_line lines[PC_TESTDEV_LINES];
    rig_add_memory(&f->rig, 0, MIB(1));
    for (unsigned i = 0; i < PC_TESTDEV_LINES; i++)
        lines[i] = wire_line(&f->lines[i]);
    f->dev = pc_testdev_create(f->rig.bus, f->rig.pm, lines, &f->chr);
    rig_add(&f->rig, pc_testdev_device(f->dev));
    return 0;
}

static void testdev_register_takes_every_width(void **state)
{
    struct fixture *f = *state;
    outl(&f->rig, 0xe0, 0x12345678);
    assert_int_equal(inl(&f->rig, 0xe0), 0x12345678);
    outw(&f->rig, 0xe2, 0xabcd);
    outb(&f->rig, 0xe0, 0xef);
    assert_int_equal(inl(&f->rig, 0xe0), 0xabcd56ef);
    assert_int_equal(inb(&f->rig, 0xe1), 0x56);
}

static void testdev_byte_port_is_the_same_register(void **state)
{
    struct fixture *f = *state;
    outl(&f->rig, 0xe8, 0x11223344);
    assert_int_equal(inl(&f->rig, 0xe0), 0x11223344);
    assert_int_equal(inw(&f->rig, 0xe9), 0x2233);
}

static void testdev_drives_interrupt_lines(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x2000 + 14, 1);
    assert_true(f->lines[14].level);
    outb(&f->rig, 0x2000 + 14, 0);
    assert_false(f->lines[14].level);
    outb(&f->rig, 0x2000 + 23, 1);
    assert_int_equal(f->lines[23].rises, 1);
    assert_int_equal(inb(&f->rig, 0x2000 + 24), 0xff); /* no more of them */
}

static void testdev_memory_remembers(void **state)
{
    struct fixture *f = *state;
    physmem_io_write(f->rig.pm, 0xff000000, 0x1122334455667788, 8);
    assert_int_equal(physmem_io_read(f->rig.pm, 0xff000002, 2), 0x5566);
    physmem_io_write(f->rig.pm, 0xff00ffff, 0x5a, 1);
    assert_int_equal(physmem_io_read(f->rig.pm, 0xff00ffff, 1), 0x5a);
    device_reset(pc_testdev_device(f->dev));
    assert_int_equal(physmem_io_read(f->rig.pm, 0xff000000, 8), 0);
    check_state_table(pc_testdev_device(f->dev));
}

static void testdev_prints_and_accepts_page_flushes(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0xf1, 'x');
    assert_int_equal(f->chr.count, 1);
    assert_int_equal(f->chr.last, 'x');
    outl(&f->rig, 0xe4, 0x1000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(testdev_register_takes_every_width),      T(testdev_byte_port_is_the_same_register),
        T(testdev_drives_interrupt_lines),          T(testdev_memory_remembers),
        T(testdev_prints_and_accepts_page_flushes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
