/* SPDX-License-Identifier: MIT
 *
 * The power management function: where its two blocks of ports appear.
 */
#include "device_rig.h"

#include "devices/piix4_pm.h"

#define DEVFN PCI_DEVFN(1, 3)

struct board {
    struct rig rig;
    struct acpi_pm *acpi;
    struct piix4_pm *pm;
};

static int setup(void **state)
{
    struct board *b = rig_setup(state, sizeof *b);
    static const struct acpi_pm_hooks hooks = {0};
    rig_add_memory(&b->rig, 0, MIB(1));
    rig_add_pci(&b->rig);
    b->acpi =
        acpi_pm_create(b->rig.bus, &acpi_pm_piix4, (struct irq_line){0}, b->rig.clock, &hooks);
    b->pm = piix4_pm_create(&(struct piix4_pm_config){
        .bus = b->rig.pci, .devfn = DEVFN, .ports = b->rig.bus, .acpi = b->acpi});
    rig_add(&b->rig, acpi_pm_device(b->acpi));
    rig_add(&b->rig, piix4_pm_device(b->pm));
    return 0;
}

static void set(struct board *b, u8 reg, u32 value, unsigned size)
{
    pci_config_write(b->rig.pci, 0, DEVFN, reg, value, size);
}

static void piix4_pm_places_the_acpi_block(void **state)
{
    struct board *b = *state;
    set(b, 0x40, 0x601, 4);
    assert_null(io_bus_owner(b->rig.bus, 0x600));
    set(b, 0x80, 1, 1);
    assert_non_null(io_bus_owner(b->rig.bus, 0x600));
    set(b, 0x40, 0xb000, 2);
    assert_null(io_bus_owner(b->rig.bus, 0x600));
    assert_non_null(io_bus_owner(b->rig.bus, 0xb000));
    assert_int_equal(pci_config_read(b->rig.pci, 0, DEVFN, 0x40, 4), 0xb001);
    struct device d = piix4_pm_device(b->pm);
    d.ops->reset(d.dev);
    assert_null(io_bus_owner(b->rig.bus, 0xb000));
}

static void piix4_pm_configuration_mechanism_survives_the_reset_port(void **state)
{
    struct board *b = *state;
    /* CF9h lies under the address latch, and both work. */
    io_bus_write(b->rig.bus, 0xcf8, 0x80000000 | DEVFN << 8, 4);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcfc, 4), 0x71138086);
    io_bus_write(b->rig.bus, 0xcf9, 0x02, 1);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcf9, 1), 0x02);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcf8, 4), 0x80000000 | DEVFN << 8);
}

static void piix4_smbus_is_empty(void **state)
{
    struct board *b = *state;
    set(b, 0x90, 0x701, 4);
    set(b, 0xd2, 0x01, 1);
    assert_null(io_bus_owner(b->rig.bus, 0x700));
    set(b, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_non_null(io_bus_owner(b->rig.bus, 0x700));
    io_bus_write(b->rig.bus, 0x704, 0xa1, 1); /* read from the first memory module */
    io_bus_write(b->rig.bus, 0x702, 0x48, 1); /* byte data, start */
    assert_int_equal(io_bus_read(b->rig.bus, 0x700, 1), 0x04); /* nobody acknowledged */
    io_bus_write(b->rig.bus, 0x700, 0xff, 1);
    assert_int_equal(io_bus_read(b->rig.bus, 0x700, 1), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(piix4_pm_places_the_acpi_block),
        T(piix4_pm_configuration_mechanism_survives_the_reset_port),
        T(piix4_smbus_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
