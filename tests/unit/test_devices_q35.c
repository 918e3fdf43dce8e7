/* SPDX-License-Identifier: MIT
 *
 * The chipset of the q35 board: configuration space in memory, shadows, eight interrupt lines and
 * how pins are wired to them, the ACPI block and the SMBus.
 */
#include "device_rig.h"

#include "devices/ich9_lpc.h"
#include "devices/ich9_smbus.h"
#include "devices/mch.h"

#define ROM_BYTES   KIB(64)
#define HOST        PCI_DEVFN(0, 0)
#define LPC         PCI_DEVFN(31, 0)
#define SMBUS       PCI_DEVFN(31, 3)
#define PCIEXBAR    0x60
#define SMRAM       0x9d
#define RCBA        0xf0
#define RCBA_AT     0xfed1c000u
#define D31IR       (RCBA_AT + 0x3140)
#define PM_AT       0x600
#define SMBUS_AT    0x700
#define PIRQE_ROUT  0x68
#define OF_CARD(s)  (4 + (s) % 4) /* the line of INTA# of that slot */
#define ECAM(devfn) (MCH_ECAM_BASE + ((u32)(devfn) << 12))

struct board {
    struct rig rig;
    struct mch *mch;
    struct ich9_lpc *lpc;
    struct acpi_pm *acpi;
    bool isa_level[PIRQ_ISA_IRQS], apic_level[PCI_PIRQ_COUNT];
};

static void heard_isa(void *opaque, unsigned n, bool level)
{
    ((struct board *)opaque)->isa_level[n] = level;
}

static void heard_apic(void *opaque, unsigned n, bool level)
{
    ((struct board *)opaque)->apic_level[n] = level;
}

static void make_lpc(struct board *b)
{
    struct ich9_lpc_config config = {.bus = b->rig.pci, .physmem = b->rig.pm};
    static const struct acpi_pm_hooks hooks = {0};
    for (unsigned n = 0; n < PIRQ_ISA_IRQS; n++)
        config.isa[n] = (struct irq_line){.set = heard_isa, .opaque = b, .n = n};
    for (unsigned n = 0; n < PCI_PIRQ_COUNT; n++)
        config.apic[n] = (struct irq_line){.set = heard_apic, .opaque = b, .n = n};
    b->lpc = ich9_lpc_create(&config);
    b->acpi = acpi_pm_create(b->rig.bus, &acpi_pm_ich9, ich9_lpc_irq_input(b->lpc, 9), b->rig.clock,
                             &hooks);
    ich9_lpc_connect_pm(b->lpc, b->acpi);
}

static int setup(void **state)
{
    struct board *b = rig_setup(state, sizeof *b);
    rig_add_memory(&b->rig, 0, MIB(4));
    rig_add_pci(&b->rig);
    u64 rom = physmem_alloc(b->rig.pm, ROM_BYTES, "bios");
    memset(physmem_host(b->rig.pm, rom), 0xb1, ROM_BYTES);
    struct host_memory_config memory = {.physmem = b->rig.pm,
                                        .ram_bytes = MIB(2),
                                        .low_ram_max = MCH_LOW_RAM_MAX,
                                        .rom_offset = rom,
                                        .rom_bytes = ROM_BYTES};
    b->mch = mch_create(b->rig.pci, &memory);
    make_lpc(b);
    rig_add(&b->rig, acpi_pm_device(b->acpi));
    rig_add(&b->rig, mch_device(b->mch));
    rig_add(&b->rig, ich9_lpc_device(b->lpc));
    rig_add(&b->rig, ich9_smbus_device(ich9_smbus_create(b->rig.pci, SMBUS, NULL)));
    return 0;
}

static void set(struct board *b, u8 devfn, u8 reg, u32 value, unsigned size)
{
    pci_config_write(b->rig.pci, 0, devfn, reg, value, size);
}

static u32 get(struct board *b, u8 devfn, u8 reg, unsigned size)
{
    return pci_config_read(b->rig.pci, 0, devfn, reg, size);
}

static u32 mem(struct board *b, u64 pa, unsigned size)
{
    return (u32)physmem_io_read(b->rig.pm, pa, size);
}

static void put(struct board *b, u64 pa, u32 value, unsigned size)
{
    physmem_io_write(b->rig.pm, pa, value, size);
}

/* ---- host bridge ---- */

static void mch_shows_configuration_space_in_memory(void **state)
{
    struct board *b = *state;
    assert_int_equal(mem(b, MCH_ECAM_BASE, 4), 0xffffffff);
    set(b, HOST, PCIEXBAR + 4, 0, 4);
    set(b, HOST, PCIEXBAR, MCH_ECAM_BASE | 1, 4);
    assert_int_equal(mem(b, ECAM(HOST), 4), 0x29c08086);
    assert_int_equal(mem(b, ECAM(LPC), 4), 0x29188086);
    assert_int_equal(mem(b, ECAM(LPC) + PCI_DEVICE_ID, 2), 0x2918);
    assert_int_equal(mem(b, ECAM(PCI_DEVFN(9, 0)), 4), 0xffffffff);
    assert_int_equal(mem(b, ECAM(LPC) + MIB(1), 4), 0xffffffff); /* the next bus */
    assert_int_equal(mem(b, ECAM(LPC) + 0x100, 4), 0xffffffff);  /* no extended space */
    put(b, ECAM(LPC) + PIRQE_ROUT + 1, 0x0b, 1);
    assert_int_equal(get(b, LPC, PIRQE_ROUT, 4), 0x80800b80);
    put(b, ECAM(LPC) + 0x100 + PIRQE_ROUT, 0x0a, 1);
    assert_int_equal(get(b, LPC, PIRQE_ROUT, 1), 0x80);
}

static void mch_configuration_window_moves_and_shrinks(void **state)
{
    struct board *b = *state;
    set(b, HOST, PCIEXBAR, MCH_ECAM_BASE | 1, 4);
    set(b, HOST, PCIEXBAR, 0xe4000000 | 2 << 1 | 1, 4); /* 64 MiB */
    assert_int_equal(mem(b, ECAM(HOST), 4), 0xffffffff);
    assert_int_equal(mem(b, 0xe4000000, 4), 0x29c08086);
    assert_int_equal(mem(b, 0xe4000000 + MIB(64), 4), 0xffffffff);
    set(b, HOST, PCIEXBAR, 0xe4000000 | 3 << 1 | 1, 4); /* reserved: nothing */
    assert_int_equal(mem(b, 0xe4000000, 4), 0xffffffff);
    set(b, HOST, PCIEXBAR, 1, 4); /* over RAM, which hides it */
    assert_int_equal(mem(b, 0x1000, 4), 0);
    device_reset(mch_device(b->mch));
    assert_int_equal(get(b, HOST, PCIEXBAR, 4), 0xe0000000);
}

/* A window that names itself through itself must end. */
static void mch_window_can_move_itself(void **state)
{
    struct board *b = *state;
    set(b, HOST, PCIEXBAR, MCH_ECAM_BASE | 1, 4);
    put(b, ECAM(HOST) + PCIEXBAR, 0xd0000000 | 1, 4);
    assert_int_equal(mem(b, 0xd0000000, 4), 0x29c08086);
    put(b, 0xd0000000 + PCIEXBAR, 0, 4);
    assert_int_equal(mem(b, 0xd0000000, 4), 0xffffffff);
}

static void mch_pam_and_smram_govern_memory(void **state)
{
    struct board *b = *state;
    assert_int_equal(mem(b, 0xf0000, 1), 0xb1);
    set(b, HOST, 0x90, 0x30, 1);
    assert_int_equal(mem(b, 0xf0000, 1), 0);
    set(b, HOST, 0x96, 0x20, 1); /* EC000h: writes only */
    put(b, 0xec000, 0x77, 1);
    assert_int_equal(mem(b, 0xec000, 1), 0xff);
    set(b, HOST, 0x96, 0x10, 1);
    assert_int_equal(mem(b, 0xec000, 1), 0x77);
    set(b, HOST, SMRAM, 0x4a, 1);
    put(b, 0xa0000, 0x55, 1);
    assert_int_equal(mem(b, 0xa0000, 1), 0x55);
    set(b, HOST, SMRAM, 0x5a, 1); /* open and lock: the lock closes */
    assert_int_equal(mem(b, 0xa0000, 1), 0xff);
    set(b, HOST, SMRAM, 0x4a, 1);
    assert_int_equal(get(b, HOST, SMRAM, 1), 0x1a);
}

static void mch_moves_ram_beyond_the_window_above_4g(void **state)
{
    struct board b = {0};
    (void)state;
    rig_open(&b.rig);
    rig_add_memory(&b.rig, 0, GIB(4));
    rig_add_pci(&b.rig);
    struct host_memory_config memory = {
        .physmem = b.rig.pm, .ram_bytes = GIB(3), .low_ram_max = MCH_LOW_RAM_MAX};
    struct mch *mch = mch_create(b.rig.pci, &memory);
    rig_add(&b.rig, mch_device(mch));
    assert_true(mch_memory(mch)->low_ram == MCH_ECAM_BASE);
    assert_true(mch_memory(mch)->high_ram == GIB(3) - MCH_ECAM_BASE);
    put(&b, GIB(4), 0xbbbb, 4);
    assert_int_equal(mem(&b, GIB(4), 4), 0xbbbb);
    rig_close(&b.rig);
}

/* Bus masters reach memory, not each other's configuration. */
static void mch_window_is_no_memory_for_dma(void **state)
{
    struct board *b = *state;
    u32 value = 0xd0000001;
    set(b, HOST, PCIEXBAR, MCH_ECAM_BASE | 1, 4);
    assert_false(physmem_write(b->rig.pm, ECAM(HOST) + PCIEXBAR, &value, sizeof value));
    assert_int_equal(get(b, HOST, PCIEXBAR, 4), MCH_ECAM_BASE | 1);
}

/* ---- interrupts ---- */

static const struct pci_info pin_info = {
    .name = "pin", .vendor = 1, .device = 1, .class_code = 0xff0000, .interrupt_pin = 1};

static void ich9_cards_use_lines_e_to_h_turned_by_slot(void **state)
{
    struct board *b = *state;
    for (unsigned slot = 1; slot < 25; slot++) {
        struct pci_device d;
        pci_device_init(&d, b->rig.pci, PCI_DEVFN(slot, 0), &pin_info, NULL);
        pci_set_intx(&d, true);
        for (unsigned line = 0; line < PCI_PIRQ_COUNT; line++)
            assert_int_equal(b->apic_level[line], line == OF_CARD(slot));
        pci_device_fini(&d);
        assert_false(b->apic_level[OF_CARD(slot)]);
    }
}

static void ich9_routes_all_eight_lines_to_isa(void **state)
{
    struct board *b = *state;
    struct pci_device card, own;
    pci_device_init(&card, b->rig.pci, PCI_DEVFN(3, 0), &pin_info, NULL); /* H */
    pci_device_init(&own, b->rig.pci, PCI_DEVFN(31, 5), &pin_info, NULL); /* A */
    pci_set_intx(&card, true);
    pci_set_intx(&own, true);
    assert_false(b->isa_level[10]);
    set(b, LPC, PIRQE_ROUT + 3, 10, 1);
    set(b, LPC, 0x60, 11, 1);
    assert_true(b->isa_level[10] && b->isa_level[11]);
    pci_set_intx(&card, false);
    assert_false(b->isa_level[10]);
    struct irq_line other = ich9_lpc_irq_input(b->lpc, 11);
    irq_set(&other, true);
    pci_set_intx(&own, false);
    assert_true(b->isa_level[11]);
    irq_set(&other, false);
    assert_false(b->isa_level[11]);
    pci_device_fini(&card);
    pci_device_fini(&own);
}

static void ich9_rewires_a_pin_while_it_is_asserted(void **state)
{
    struct board *b = *state;
    struct pci_device own;
    set(b, LPC, RCBA, RCBA_AT | 1, 4);
    assert_int_equal(mem(b, D31IR, 2), 0x3210);
    pci_device_init(&own, b->rig.pci, PCI_DEVFN(31, 5), &pin_info, NULL);
    pci_set_intx(&own, true);
    assert_true(b->apic_level[0]);
    put(b, D31IR, 0x3216, 2); /* INTA# to line G */
    assert_false(b->apic_level[0]);
    assert_true(b->apic_level[6]);
    pci_set_intx(&own, false);
    assert_false(b->apic_level[6]);
    put(b, RCBA_AT, 0x1234, 4); /* nothing is there */
    assert_int_equal(mem(b, RCBA_AT, 4), 0);
    set(b, LPC, RCBA, 0, 4);
    assert_int_equal(mem(b, D31IR, 2), 0xffff);
    pci_device_fini(&own);
}

/* ---- ACPI block and SMBus ---- */

static void ich9_places_the_acpi_block(void **state)
{
    struct board *b = *state;
    set(b, LPC, 0x40, PM_AT | 1, 4);
    assert_null(io_bus_owner(b->rig.bus, PM_AT));
    set(b, LPC, 0x44, 0x80, 1);
    assert_non_null(io_bus_owner(b->rig.bus, PM_AT));
    assert_non_null(io_bus_owner(b->rig.bus, PM_AT + 127));
    assert_int_equal(get(b, LPC, 0x40, 4), PM_AT | 1);
    assert_int_equal(inl(&b->rig, PM_AT + 0x30) & 0x21, 0x21); /* SMIs are set up */
    outl(&b->rig, PM_AT + 0x28, 0x11223344);                   /* GPE0 enable, 64 bits */
    outl(&b->rig, PM_AT + 0x2c, 0x55667788);
    assert_int_equal(inl(&b->rig, PM_AT + 0x28), 0x11223344);
    assert_int_equal(inw(&b->rig, PM_AT + 0x2e), 0x5566);
    acpi_pm_power_button(b->acpi);
    outw(&b->rig, PM_AT + 2, 1 << 8);
    outw(&b->rig, PM_AT + 4, 1);
    assert_true(b->isa_level[9]);
    device_reset(ich9_lpc_device(b->lpc));
    assert_null(io_bus_owner(b->rig.bus, PM_AT));
}

static void ich9_smbus_is_empty(void **state)
{
    struct board *b = *state;
    set(b, SMBUS, 0x20, SMBUS_AT, 4);
    set(b, SMBUS, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_int_equal(inb(&b->rig, SMBUS_AT), 0xff); /* not enabled */
    set(b, SMBUS, 0x40, 1, 1);
    assert_int_equal(inb(&b->rig, SMBUS_AT), 0);
    outb(&b->rig, SMBUS_AT + 4, 0xa1);              /* read from the first memory module */
    outb(&b->rig, SMBUS_AT + 2, 0x48);              /* byte data, start */
    assert_int_equal(inb(&b->rig, SMBUS_AT), 0x04); /* nobody acknowledged */
}

static void q35_state_tables_are_whole(void **state)
{
    struct board *b = *state;
    for (unsigned i = 0; i < b->rig.device_count; i++)
        check_state_table(b->rig.devices[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mch_shows_configuration_space_in_memory),
        T(mch_configuration_window_moves_and_shrinks),
        T(mch_window_can_move_itself),
        T(mch_window_is_no_memory_for_dma),
        T(mch_pam_and_smram_govern_memory),
        cmocka_unit_test(mch_moves_ram_beyond_the_window_above_4g),
        T(ich9_cards_use_lines_e_to_h_turned_by_slot),
        T(ich9_routes_all_eight_lines_to_isa),
        T(ich9_rewires_a_pin_while_it_is_asserted),
        T(ich9_places_the_acpi_block),
        T(ich9_smbus_is_empty),
        T(q35_state_tables_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
