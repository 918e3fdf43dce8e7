/* SPDX-License-Identifier: MIT
 *
 * The PCI bus, seen from ports CF8h-CFFh, with one function that has every kind of BAR.
 */
#include "device_rig.h"

#define SLOT 3

struct board {
    struct rig rig;
    struct pci_device dev, neighbour;
    u64 ram, bar_ram, rom;
    u32 last_port_write;
    u64 last_mmio_write;
    unsigned config_writes;
    u8 config_reg;
    bool pirq[PCI_PIRQ_COUNT];
    unsigned pirq_changes;
    u64 msi_address;
    u32 msi_data;
    unsigned messages;
};

static u32 reg_in(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    return 0xc0u + offset + (size << 8);
}

static void reg_out(void *opaque, u16 offset, u32 value, unsigned size)
{
    (void)offset;
    (void)size;
    ((struct board *)opaque)->last_port_write = value;
}

static u64 mmio_in(void *opaque, u64 offset, unsigned size)
{
    (void)opaque;
    (void)size;
    return 0x11223344 + offset;
}

static void mmio_out(void *opaque, u64 offset, u64 value, unsigned size)
{
    (void)offset;
    (void)size;
    ((struct board *)opaque)->last_mmio_write = value;
}

static const struct port_ops bar_port_ops = {
    .name = "bar-io", .read = reg_in, .write = reg_out, .max_size = 4};
static const struct mmio_ops bar_mmio_ops = {
    .name = "bar-mmio", .read = mmio_in, .write = mmio_out};

static void heard_config(void *opaque, u8 reg, unsigned size)
{
    struct board *b = opaque;
    (void)size;
    b->config_writes++;
    b->config_reg = reg;
}

static void heard_pirq(void *opaque, unsigned pirq, bool level)
{
    struct board *b = opaque;
    b->pirq[pirq] = level;
    b->pirq_changes++;
}

static void heard_msi(void *opaque, u64 address, u32 data)
{
    struct board *b = opaque;
    b->msi_address = address;
    b->msi_data = data;
    b->messages++;
}

static const struct pci_info test_info = {
    .name = "test",
    .vendor = 0x1234,
    .device = 0x5678,
    .revision = 9,
    .class_code = 0x010203,
    .interrupt_pin = 2,
    .config_written = heard_config,
};

static const struct pci_info neighbour_info = {
    .name = "neighbour", .vendor = 0x1234, .device = 1, .class_code = 0xff0000, .interrupt_pin = 1};

static u32 cfg_read(struct board *b, u8 devfn, u8 reg, unsigned size)
{
    io_bus_write(b->rig.bus, 0xcf8, 0x80000000u | (u32)devfn << 8 | (reg & 0xfcu), 4);
    return io_bus_read(b->rig.bus, (u16)(0xcfc + (reg & 3)), size);
}

static void cfg_write(struct board *b, u8 devfn, u8 reg, u32 value, unsigned size)
{
    io_bus_write(b->rig.bus, 0xcf8, 0x80000000u | (u32)devfn << 8 | (reg & 0xfcu), 4);
    io_bus_write(b->rig.bus, (u16)(0xcfc + (reg & 3)), value, size);
}

#define DEV PCI_DEVFN(SLOT, 0)

static int setup(void **state)
{
    struct board *b = rig_setup(state, sizeof *b);
    rig_add_memory(&b->rig, 0, MIB(8));
    rig_add_pci(&b->rig);
    pci_bus_set_router(b->rig.pci, heard_pirq, b);
    pci_bus_set_msi(b->rig.pci, heard_msi, b);
    b->ram = physmem_alloc(b->rig.pm, MIB(1), "ram");
    physmem_map_ram(b->rig.pm, 0, MIB(1), b->ram, 0, "ram");
    b->bar_ram = physmem_alloc(b->rig.pm, MIB(1), "bar-ram");
    b->rom = physmem_alloc(b->rig.pm, KIB(16), "rom");
    store16(physmem_host(b->rig.pm, b->rom), 0xaa55);
    assert_true(pci_device_init(&b->dev, b->rig.pci, DEV, &test_info, b));
    pci_bar_io(&b->dev, 0, 16, &bar_port_ops, b);
    pci_bar_mmio(&b->dev, 1, PAGE_BYTES, 0, &bar_mmio_ops, b);
    pci_bar_ram(&b->dev, 2, MIB(1), PCI_BAR_PREFETCH | PCI_BAR_64, b->bar_ram, "bar-ram");
    pci_bar_rom(&b->dev, KIB(16), b->rom, "rom");
    pci_add_msi(&b->dev, 2);
    assert_true(
        pci_device_init(&b->neighbour, b->rig.pci, PCI_DEVFN(SLOT + 1, 0), &neighbour_info, b));
    return 0;
}

static int teardown(void **state)
{
    struct board *b = *state;
    pci_device_fini(&b->dev);
    pci_device_fini(&b->neighbour);
    return rig_teardown(state);
}

static void pci_config_is_read_by_byte_word_and_dword(void **state)
{
    struct board *b = *state;
    assert_int_equal(cfg_read(b, DEV, PCI_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(cfg_read(b, DEV, PCI_DEVICE_ID, 2), 0x5678);
    assert_int_equal(cfg_read(b, DEV, PCI_DEVICE_ID + 1, 1), 0x56);
    assert_int_equal(cfg_read(b, DEV, PCI_REVISION_ID, 4), 0x01020309);
    assert_int_equal(cfg_read(b, DEV, PCI_INTERRUPT_PIN, 1), 2);
    assert_int_equal(cfg_read(b, PCI_DEVFN(7, 0), PCI_VENDOR_ID, 4), 0xffffffff);
}

static void pci_address_latch_takes_dwords_only(void **state)
{
    struct board *b = *state;
    io_bus_write(b->rig.bus, 0xcf8, 0xffffffff, 4);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcf8, 4), 0x80fffffc);
    io_bus_write(b->rig.bus, 0xcf8, 0, 1);
    io_bus_write(b->rig.bus, 0xcf9, 0x06, 1);
    io_bus_write(b->rig.bus, 0xcfa, 0, 2);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcf8, 4), 0x80fffffc);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcf8, 1), 0xff);
}

static void pci_disabled_latch_and_other_buses_answer_ones(void **state)
{
    struct board *b = *state;
    io_bus_write(b->rig.bus, 0xcf8, (u32)DEV << 8, 4);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcfc, 4), 0xffffffff);
    io_bus_write(b->rig.bus, 0xcf8, 0x80010000u | (u32)DEV << 8, 4);
    assert_int_equal(io_bus_read(b->rig.bus, 0xcfc, 4), 0xffffffff);
    io_bus_write(b->rig.bus, 0xcfc, 0, 4); /* goes nowhere */
    assert_int_equal(b->config_writes, 0);
}

static void pci_identity_is_read_only_and_errors_clear_on_one(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, PCI_VENDOR_ID, 0, 4);
    assert_int_equal(cfg_read(b, DEV, PCI_VENDOR_ID, 4), 0x56781234);
    b->dev.config[PCI_STATUS + 1] |= 0x20; /* received master abort */
    u32 status = cfg_read(b, DEV, PCI_STATUS, 2);
    cfg_write(b, DEV, PCI_STATUS, 0, 2);
    assert_int_equal(cfg_read(b, DEV, PCI_STATUS, 2), status);
    cfg_write(b, DEV, PCI_STATUS, 0x2000, 2);
    assert_int_equal(cfg_read(b, DEV, PCI_STATUS, 2), status & ~0x2000u);
}

static void pci_bars_tell_their_size(void **state)
{
    struct board *b = *state;
    for (u8 reg = 0x10; reg <= 0x30; reg += 4)
        cfg_write(b, DEV, reg, 0xffffffff, 4);
    assert_int_equal(cfg_read(b, DEV, 0x10, 4), 0xfffffff1);
    assert_int_equal(cfg_read(b, DEV, 0x14, 4), 0xfffff000);
    assert_int_equal(cfg_read(b, DEV, 0x18, 4), 0xfff0000c);
    assert_int_equal(cfg_read(b, DEV, 0x1c, 4), 0xffffffff);
    assert_int_equal(cfg_read(b, DEV, 0x20, 4), 0);
    assert_int_equal(cfg_read(b, DEV, 0x30, 4), 0xffffc001);
}

static void pci_bars_decode_only_while_enabled(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, 0x10, 0xc000, 4);
    cfg_write(b, DEV, 0x14, 0xe0000000, 4);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc000, 1), 0xff);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xe0000000, 4), 0xffffffff);
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc004, 2), 0x2c4);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xe0000004, 4), 0x11223348);
    assert_int_equal(pci_bar_address(&b->dev, 1), 0xe0000000);
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc004, 1), 0xc4);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xe0000004, 4), 0xffffffff);
    assert_int_equal(pci_bar_address(&b->dev, 1), UINT64_MAX);
}

static void pci_bars_move_also_byte_by_byte(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_IO, 2);
    cfg_write(b, DEV, 0x10, 0xc000, 4);
    cfg_write(b, DEV, 0x11, 0xd1, 1);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc000, 1), 0xff);
    assert_int_equal(io_bus_read(b->rig.bus, 0xd102, 1), 0xc2);
    cfg_write(b, DEV, 0x10, 0x10000, 4); /* beyond the port space */
    assert_int_equal(io_bus_read(b->rig.bus, 0, 1), 0xff);
    assert_int_equal(pci_bar_address(&b->dev, 0), UINT64_MAX);
}

static void pci_memory_bars_lie_under_ram_and_wrap_nowhere(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_write(b, DEV, 0x14, 0x8000, 4);
    assert_int_equal(physmem_io_read(b->rig.pm, 0x8000, 4), 0); /* RAM */
    cfg_write(b, DEV, 0x14, 0xfffff000, 4);
    assert_int_equal(pci_bar_address(&b->dev, 1), UINT64_MAX); /* being measured */
    cfg_write(b, DEV, 0x14, 0, 4);
    assert_int_equal(pci_bar_address(&b->dev, 1), UINT64_MAX);
}

static void pci_64_bit_bar_lives_above_4g_and_not_beyond_the_map(void **state)
{
    struct board *b = *state;
    physmem_host(b->rig.pm, b->bar_ram)[0x10] = 0x77;
    cfg_write(b, DEV, 0x18, 0xc0000000, 4);
    cfg_write(b, DEV, 0x1c, 0x12, 4);
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(physmem_io_read(b->rig.pm, 0x12c0000010, 1), 0x77);
    cfg_write(b, DEV, 0x1c, 0xffffffff, 4);
    assert_int_equal(pci_bar_address(&b->dev, 2), UINT64_MAX);
}

static void pci_rom_needs_its_own_enable_bit(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_write(b, DEV, PCI_ROM_ADDRESS, 0xf0000000, 4);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xf0000000, 2), 0xffff);
    cfg_write(b, DEV, PCI_ROM_ADDRESS, 0xf0000001, 4);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xf0000000, 2), 0xaa55);
    physmem_io_write(b->rig.pm, 0xf0000000, 0, 2);
    assert_int_equal(physmem_io_read(b->rig.pm, 0xf0000000, 2), 0xaa55);
}

static void pci_pins_are_swizzled_and_ored(void **state)
{
    struct board *b = *state;
    /* Slot 3 INTB# and slot 4 INTA# meet on line (3 - 1 + 1) % 4 = (4 - 1 + 0) % 4 = 3. */
    pci_set_intx(&b->dev, true);
    assert_true(b->pirq[3]);
    pci_set_intx(&b->neighbour, true);
    pci_set_intx(&b->dev, false);
    assert_true(b->pirq[3]);
    assert_int_equal(b->pirq_changes, 1);
    pci_set_intx(&b->neighbour, false);
    assert_false(b->pirq[3]);
    assert_int_equal(b->pirq_changes, 2);
}

static void pci_interrupt_disable_hides_the_pin_but_not_the_status(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    pci_set_intx(&b->dev, true);
    assert_false(b->pirq[3]);
    assert_true(cfg_read(b, DEV, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    cfg_write(b, DEV, PCI_COMMAND, 0, 2);
    assert_true(b->pirq[3]);
}

static void pci_dma_needs_bus_mastering(void **state)
{
    struct board *b = *state;
    u32 v = 0x12345678;
    assert_false(pci_dma_write(&b->dev, 0x100, &v, 4));
    assert_false(pci_dma_read(&b->dev, 0x100, &v, 4));
    assert_int_equal(v, 0xffffffff);
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    v = 0x12345678;
    assert_true(pci_dma_write(&b->dev, 0x100, &v, 4));
    assert_int_equal(load32(physmem_host(b->rig.pm, b->ram + 0x100)), 0x12345678);
    assert_false(pci_dma_write(&b->dev, MIB(1) - 2, &v, 4)); /* runs out of memory */
}

static void pci_msi_sends_what_the_guest_granted(void **state)
{
    struct board *b = *state;
    u8 cap = (u8)cfg_read(b, DEV, PCI_CAPABILITY_LIST, 1);
    assert_int_equal(cfg_read(b, DEV, cap, 1), PCI_CAP_MSI);
    assert_false(pci_msi_send(&b->dev, 0));
    cfg_write(b, DEV, (u8)(cap + 4), 0xfee01003, 4);
    cfg_write(b, DEV, (u8)(cap + 8), 0, 4);
    cfg_write(b, DEV, (u8)(cap + 12), 0x4041, 2);
    cfg_write(b, DEV, (u8)(cap + 2), 0x0071, 2); /* 128 messages: more than the four offered */
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    assert_true(pci_msi_send(&b->dev, 7));
    assert_int_equal(b->msi_address, 0xfee01000);
    assert_int_equal(b->msi_data, 0x4043);
    pci_set_intx(&b->dev, true);
    assert_false(b->pirq[3]); /* a function with MSI on leaves its pin alone */
}

static void pci_reset_forgets_what_the_guest_set(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, 0x10, 0xc000, 4);
    cfg_write(b, DEV, PCI_COMMAND, 0x7, 2);
    cfg_write(b, DEV, PCI_INTERRUPT_LINE, 11, 1);
    pci_set_intx(&b->dev, true);
    pci_device_reset(&b->dev);
    assert_int_equal(cfg_read(b, DEV, PCI_COMMAND, 2), 0);
    assert_int_equal(cfg_read(b, DEV, 0x10, 4), 1);
    assert_int_equal(cfg_read(b, DEV, PCI_INTERRUPT_LINE, 1), 0);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc000, 1), 0xff);
    assert_false(b->pirq[3]);
}

static void pci_restored_config_space_maps_and_drives_again(void **state)
{
    struct board *b = *state;
    cfg_write(b, DEV, 0x10, 0xc000, 4);
    cfg_write(b, DEV, PCI_COMMAND, PCI_COMMAND_IO, 2);
    u8 saved[PCI_CONFIG_BYTES];
    memcpy(saved, b->dev.config, sizeof saved);
    pci_device_reset(&b->dev);
    memcpy(b->dev.config, saved, sizeof saved);
    b->dev.intx = true;
    pci_device_loaded(&b->dev);
    assert_int_equal(io_bus_read(b->rig.bus, 0xc001, 1), 0xc1);
    assert_true(b->pirq[3]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void pci_rom_of_a_family_gets_the_devices_identity(void **state)
{
    struct board *b = *state;
    u8 rom[512] = {0x55, 0xaa, 1, [0x18] = 0x20, [0x20] = 'P', 'C', 'I', 'R', 0x34, 0x12, 1, 0};
    u8 sum = 0, out[512];
    assert_true(pci_rom_load(&b->neighbour, rom, 0, "none"));
    rom[0x26] = 0x99;
    for (unsigned i = 0; i < sizeof rom; i++)
        sum = (u8)(sum + rom[i]);
    rom[6] = (u8)-sum;
    assert_true(pci_rom_load(&b->neighbour, rom, sizeof rom, "family"));
    memcpy(out, physmem_host(b->rig.pm, b->neighbour.bars[PCI_ROM_SLOT].offset), sizeof out);
    assert_int_equal(load16(out + 0x26), 1);
    sum = 0;
    for (unsigned i = 0; i < sizeof out; i++)
        sum = (u8)(sum + out[i]);
    assert_int_equal(sum, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pci_config_is_read_by_byte_word_and_dword),
        T(pci_address_latch_takes_dwords_only),
        T(pci_disabled_latch_and_other_buses_answer_ones),
        T(pci_rom_of_a_family_gets_the_devices_identity),
        T(pci_identity_is_read_only_and_errors_clear_on_one),
        T(pci_bars_tell_their_size),
        T(pci_bars_decode_only_while_enabled),
        T(pci_bars_move_also_byte_by_byte),
        T(pci_memory_bars_lie_under_ram_and_wrap_nowhere),
        T(pci_64_bit_bar_lives_above_4g_and_not_beyond_the_map),
        T(pci_rom_needs_its_own_enable_bit),
        T(pci_pins_are_swizzled_and_ored),
        T(pci_interrupt_disable_hides_the_pin_but_not_the_status),
        T(pci_dma_needs_bus_mastering),
        T(pci_msi_sends_what_the_guest_granted),
        T(pci_reset_forgets_what_the_guest_set),
        T(pci_restored_config_space_maps_and_drives_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
