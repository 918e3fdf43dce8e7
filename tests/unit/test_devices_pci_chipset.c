/* SPDX-License-Identifier: MIT
 *
 * Host bridge (PAM, SMRAM, memory layout) and ISA bridge (interrupt routing).
 */
#include "device_rig.h"

#include "devices/i440fx.h"
#include "devices/piix3.h"

struct board {
    struct rig rig;
    struct i440fx *host;
    struct piix3 *isa;
    bool isa_level[PIRQ_ISA_IRQS];
};

#define ROM_BYTES KIB(256)

static void heard_isa(void *opaque, unsigned n, bool level)
{
    ((struct board *)opaque)->isa_level[n] = level;
}

static void make_board(struct board *b, u64 ram_bytes)
{
    rig_add_memory(&b->rig, 0, ram_bytes + MIB(1));
    rig_add_pci(&b->rig);
    u64 rom = physmem_alloc(b->rig.pm, ROM_BYTES, "bios");
    for (u64 at = 0; at < ROM_BYTES; at += KIB(4))
        store32(physmem_host(b->rig.pm, rom + at), 0xb1050000u | (u32)(at >> 12));
    b->host =
        i440fx_create(b->rig.pci, &(struct host_memory_config){.physmem = b->rig.pm,
                                                               .ram_bytes = ram_bytes,
                                                               .low_ram_max = I440FX_LOW_RAM_MAX,
                                                               .rom_offset = rom,
                                                               .rom_bytes = ROM_BYTES});
    struct piix3_config config = {.bus = b->rig.pci, .slot = 1};
    for (unsigned n = 0; n < PIRQ_ISA_IRQS; n++)
        config.isa[n] = (struct irq_line){.set = heard_isa, .opaque = b, .n = n};
    b->isa = piix3_create(&config);
    rig_add(&b->rig, i440fx_device(b->host));
    rig_add(&b->rig, piix3_device(b->isa));
}

static int setup(void **state)
{
    make_board(rig_setup(state, sizeof(struct board)), MIB(16));
    return 0;
}

static void set_reg(struct board *b, u8 devfn, u8 reg, u8 value)
{
    pci_config_write(b->rig.pci, 0, devfn, reg, value, 1);
}

static u32 mem32(struct board *b, u64 pa)
{
    return (u32)physmem_io_read(b->rig.pm, pa, 4);
}

#define HOST      PCI_DEVFN(0, 0)
#define ISA       PCI_DEVFN(1, 0)
#define ROM_PAGE  0xb1050030u /* of F0000h: 64 KiB before the end of 256 KiB */
#define F_SEGMENT 0xf0000

static void i440fx_shows_firmware_below_1m_and_4g_after_reset(void **state)
{
    struct board *b = *state;
    assert_int_equal(mem32(b, F_SEGMENT), ROM_PAGE);
    assert_int_equal(mem32(b, 0xe0000), 0xb1050020);
    assert_int_equal(mem32(b, 0xfffc0000), 0xb1050000);
    assert_int_equal(mem32(b, 0xffff0000), ROM_PAGE);
    assert_int_equal(mem32(b, 0xc0000), 0xffffffff);
    physmem_io_write(b->rig.pm, F_SEGMENT, 0, 4);
    assert_int_equal(mem32(b, F_SEGMENT), ROM_PAGE);
}

static void i440fx_pam_write_only_shadows_while_reading_rom(void **state)
{
    struct board *b = *state;
    set_reg(b, HOST, 0x59, 0x20);
    for (u64 pa = F_SEGMENT; pa < 0x100000; pa += KIB(4))
        physmem_io_write(b->rig.pm, pa, mem32(b, pa), 4); /* the classic shadow copy */
    physmem_io_write(b->rig.pm, F_SEGMENT + 4, 0x5aad0e, 4);
    assert_int_equal(mem32(b, F_SEGMENT + 4), 0);
    set_reg(b, HOST, 0x59, 0x10);
    assert_int_equal(mem32(b, F_SEGMENT), ROM_PAGE);
    assert_int_equal(mem32(b, F_SEGMENT + 4), 0x5aad0e);
    assert_int_equal(mem32(b, 0xff000), ROM_PAGE + 15);
    physmem_io_write(b->rig.pm, F_SEGMENT + 4, 1, 4);
    assert_int_equal(mem32(b, F_SEGMENT + 4), 0x5aad0e);
}

static void i440fx_pam_segments_are_independent(void **state)
{
    struct board *b = *state;
    set_reg(b, HOST, 0x5a, 0x30); /* C4000h-C7FFFh */
    physmem_io_write(b->rig.pm, 0xc3ffc, 0x11111111, 4);
    physmem_io_write(b->rig.pm, 0xc4000, 0x22222222, 4);
    physmem_io_write(b->rig.pm, 0xc7ffc, 0x33333333, 4);
    physmem_io_write(b->rig.pm, 0xc8000, 0x44444444, 4);
    assert_int_equal(mem32(b, 0xc3ffc), 0xffffffff);
    assert_int_equal(mem32(b, 0xc4000), 0x22222222);
    assert_int_equal(mem32(b, 0xc7ffc), 0x33333333);
    assert_int_equal(mem32(b, 0xc8000), 0xffffffff);
    assert_int_equal(pci_config_read(b->rig.pci, 0, HOST, 0x5a, 1), 0x30);
}

static void i440fx_reset_takes_shadows_away_but_keeps_ram(void **state)
{
    struct board *b = *state;
    set_reg(b, HOST, 0x59, 0x30);
    physmem_io_write(b->rig.pm, F_SEGMENT, 0x1234, 4);
    struct device d = i440fx_device(b->host);
    d.ops->reset(d.dev);
    assert_int_equal(mem32(b, F_SEGMENT), ROM_PAGE);
    set_reg(b, HOST, 0x59, 0x30);
    assert_int_equal(mem32(b, F_SEGMENT), 0x1234);
}

static void i440fx_smram_opens_closes_and_locks(void **state)
{
    struct board *b = *state;
    assert_int_equal(mem32(b, 0xa0000), 0xffffffff);
    set_reg(b, HOST, 0x72, 0x4a);
    physmem_io_write(b->rig.pm, 0xa0000, 0x5353, 4);
    assert_int_equal(mem32(b, 0xa0000), 0x5353);
    set_reg(b, HOST, 0x72, 0x5a); /* open and lock: the lock closes */
    assert_int_equal(mem32(b, 0xa0000), 0xffffffff);
    set_reg(b, HOST, 0x72, 0x4a);
    assert_int_equal(mem32(b, 0xa0000), 0xffffffff);
    assert_int_equal(pci_config_read(b->rig.pci, 0, HOST, 0x72, 1), 0x1a);
}

static void i440fx_moves_ram_beyond_3g_above_4g(void **state)
{
    (void)state;
    struct board b = {0};
    rig_open(&b.rig);
    make_board(&b, GIB(4));
    assert_int_equal(i440fx_memory(b.host)->low_ram, GIB(3));
    assert_int_equal(i440fx_memory(b.host)->high_ram, GIB(1));
    physmem_io_write(b.rig.pm, 0xbffffffc, 0xaaaa, 4);
    physmem_io_write(b.rig.pm, GIB(4), 0xbbbb, 4);
    assert_int_equal(mem32(&b, 0xbffffffc), 0xaaaa);
    assert_int_equal(mem32(&b, 0xc0000000), 0xffffffff);
    assert_int_equal(mem32(&b, GIB(4)), 0xbbbb);
    assert_int_equal(mem32(&b, GIB(5)), 0xffffffff);
    rig_close(&b.rig);
}

static const struct pci_info pin_info = {
    .name = "pin", .vendor = 1, .device = 1, .class_code = 0xff0000, .interrupt_pin = 1};

static void piix3_routes_pirqs_to_isa_interrupts(void **state)
{
    struct board *b = *state;
    struct pci_device a, c;
    pci_device_init(&a, b->rig.pci, PCI_DEVFN(3, 0), &pin_info, NULL); /* PIRQC */
    pci_device_init(&c, b->rig.pci, PCI_DEVFN(4, 0), &pin_info, NULL); /* PIRQD */
    pci_set_intx(&a, true);
    for (unsigned n = 0; n < PIRQ_ISA_IRQS; n++)
        assert_false(b->isa_level[n]);
    set_reg(b, ISA, 0x62, 11);
    assert_true(b->isa_level[11]);
    set_reg(b, ISA, 0x63, 11);
    pci_set_intx(&c, true);
    pci_set_intx(&a, false);
    assert_true(b->isa_level[11]);
    set_reg(b, ISA, 0x63, 10);
    assert_false(b->isa_level[11]);
    assert_true(b->isa_level[10]);
    set_reg(b, ISA, 0x63, 13); /* reserved: goes nowhere */
    assert_false(b->isa_level[10]);
    assert_false(b->isa_level[13]);
    pci_device_fini(&a);
    pci_device_fini(&c);
}

static void piix3_ors_other_sources_with_pci(void **state)
{
    struct board *b = *state;
    struct pci_device a;
    pci_device_init(&a, b->rig.pci, PCI_DEVFN(3, 0), &pin_info, NULL);
    set_reg(b, ISA, 0x62, 9);
    struct irq_line sci = piix3_irq_input(b->isa, 9);
    irq_set(&sci, true);
    pci_set_intx(&a, true);
    irq_set(&sci, false);
    assert_true(b->isa_level[9]);
    pci_set_intx(&a, false);
    assert_false(b->isa_level[9]);
    pci_device_fini(&a);
}

static void piix3_reset_disconnects_the_routes(void **state)
{
    struct board *b = *state;
    struct pci_device a;
    pci_device_init(&a, b->rig.pci, PCI_DEVFN(3, 0), &pin_info, NULL);
    set_reg(b, ISA, 0x62, 5);
    pci_set_intx(&a, true);
    assert_true(b->isa_level[5]);
    struct device d = piix3_device(b->isa);
    d.ops->reset(d.dev);
    assert_false(b->isa_level[5]);
    assert_int_equal(pci_config_read(b->rig.pci, 0, ISA, 0x62, 1), 0x80);
    pci_device_fini(&a);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(i440fx_shows_firmware_below_1m_and_4g_after_reset),
        T(i440fx_pam_write_only_shadows_while_reading_rom),
        T(i440fx_pam_segments_are_independent),
        T(i440fx_reset_takes_shadows_away_but_keeps_ram),
        T(i440fx_smram_opens_closes_and_locks),
        cmocka_unit_test(i440fx_moves_ram_beyond_3g_above_4g),
        T(piix3_routes_pirqs_to_isa_interrupts),
        T(piix3_ors_other_sources_with_pci),
        T(piix3_reset_disconnects_the_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
