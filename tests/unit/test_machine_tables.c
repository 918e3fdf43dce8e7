/* SPDX-License-Identifier: MIT
 *
 * What firmware finds in fw_cfg: the ACPI loader script is executed as SeaBIOS does it, and the
 * tables that result must hang together.
 */
#include "device_rig.h"

#include "devices/acpi_pm.h"
#include "machine/acpi.h"
#include "machine/fw_items.h"
#include "machine/smbios.h"

#define CPUS        3
#define LOW_RAM     GIB(3)
#define TABLES_AT   0xbffe0000u /* where this firmware allocates */
#define RSDP_AT     0x000f5a40u
#define FILE_BYTES  32768
#define ENTRY_BYTES 128

struct file {
    char name[56];
    u8 data[FILE_BYTES];
    size_t size;
    u32 address;
};

struct fixture {
    struct rig rig;
    struct fw_cfg *fw;
    struct file files[4];
    unsigned file_count;
};

static u32 be32(const u8 *p)
{
    return __builtin_bswap32(load32(p));
}

/* Reads a file by the ports, as firmware without DMA does. The size, or -1. */
static long read_file(struct fixture *f, const char *name, u8 *to)
{
    u8 entry[64];
    outw(&f->rig, 0x510, FW_CFG_FILE_DIR);
    for (unsigned i = 0; i < 4; i++)
        entry[i] = inb(&f->rig, 0x511);
    u32 count = be32(entry);
    for (u32 n = 0; n < count; n++) {
        for (unsigned i = 0; i < sizeof entry; i++)
            entry[i] = inb(&f->rig, 0x511);
        if (strcmp((char *)entry + 8, name))
            continue;
        u32 size = be32(entry);
        assert_true(size <= FILE_BYTES);
        outw(&f->rig, 0x510, __builtin_bswap16(load16(entry + 4)));
        for (u32 i = 0; i < size; i++)
            to[i] = inb(&f->rig, 0x511);
        return size;
    }
    return -1;
}

static struct file *file_of(struct fixture *f, const char *name)
{
    for (unsigned i = 0; i < f->file_count; i++) {
        if (!strcmp(f->files[i].name, name))
            return &f->files[i];
    }
    fail_msg("no file %s", name);
    return NULL;
}

static void run_allocate(struct fixture *f, const u8 *c)
{
    u32 align = load32(c + 56);
    u8 zone = c[60];
    struct file *file = &f->files[f->file_count++];
    strcpy(file->name, (const char *)c);
    long n = read_file(f, file->name, file->data);
    assert_true(n > 0);
    file->size = (size_t)n;
    file->address = zone == 2 ? RSDP_AT : TABLES_AT;
    assert_int_equal(file->address % align, 0);
}

static void run_pointer(struct fixture *f, const u8 *c)
{
    struct file *dest = file_of(f, (const char *)c), *src = file_of(f, (const char *)c + 56);
    u32 at = load32(c + 112);
    u8 size = c[116];
    assert_true(at + size <= dest->size);
    u64 v = load_sized(dest->data + at, size);
    assert_true(v < src->size);
    store_sized(dest->data + at, v + src->address, size);
}

static void run_checksum(struct fixture *f, const u8 *c)
{
    struct file *file = file_of(f, (const char *)c);
    u32 at = load32(c + 56), start = load32(c + 60), n = load32(c + 64);
    assert_true(at < file->size && start + n <= file->size && at >= start && at < start + n);
    u8 sum = 0;
    for (u32 i = 0; i < n; i++)
        sum = (u8)(sum + file->data[start + i]);
    file->data[at] = (u8)(file->data[at] - sum);
}

static void run_script(struct fixture *f)
{
    static u8 script[FILE_BYTES];
    long n = read_file(f, "etc/table-loader", script);
    assert_true(n > 0 && n % ENTRY_BYTES == 0);
    for (long at = 0; at < n; at += ENTRY_BYTES) {
        const u8 *c = script + at + 4;
        switch (load32(script + at)) {
        case 1: run_allocate(f, c); break;
        case 2: run_pointer(f, c); break;
        case 3: run_checksum(f, c); break;
        default: fail_msg("unknown command %u", load32(script + at));
        }
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    rig_open(&f->rig);
    f->fw = fw_cfg_create(f->rig.bus, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    device_destroy(fw_cfg_device(f->fw));
    rig_close(&f->rig);
    free(f);
    return 0;
}

static int setup_acpi(void **state)
{
    struct acpi_config config = {.board = &acpi_board_pc,
                                 .pm = &acpi_pm_piix4,
                                 .cpus = CPUS,
                                 .pm_base = ACPI_PM_DEFAULT_BASE,
                                 .sci_irq = 9,
                                 .pci_memory = LOW_RAM,
                                 .hpet = true,
                                 .serial_ports = 2,
                                 .floppy = true,
                                 .floppy_types = 0x42};
    setup(state);
    struct fixture *f = *state;
    assert_true(acpi_add_tables(f->fw, &config));
    run_script(f);
    return 0;
}

static void assert_sums_to_zero(const u8 *bytes, size_t n)
{
    u8 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (u8)(sum + bytes[i]);
    assert_int_equal(sum, 0);
}

/* The table at a guest address, with its checksum verified (the FACS has none). */
static const u8 *table_at(struct fixture *f, u64 address)
{
    struct file *file = file_of(f, "etc/acpi/tables");
    assert_true(address >= TABLES_AT && address + 36 <= TABLES_AT + file->size);
    const u8 *t = file->data + (address - TABLES_AT);
    assert_true(address + load32(t + 4) <= TABLES_AT + file->size);
    if (memcmp(t, "FACS", 4))
        assert_sums_to_zero(t, load32(t + 4));
    return t;
}

static const u8 *rsdp_of(struct fixture *f)
{
    return file_of(f, "etc/acpi/rsdp")->data;
}

static const u8 *find_table(struct fixture *f, const char *signature)
{
    const u8 *rsdt = table_at(f, load32(rsdp_of(f) + 16));
    for (u32 at = 36; at < load32(rsdt + 4); at += 4) {
        const u8 *t = table_at(f, load32(rsdt + at));
        if (!memcmp(t, signature, 4))
            return t;
    }
    return NULL;
}

static void acpi_root_pointer_leads_to_both_roots(void **state)
{
    struct fixture *f = *state;
    const u8 *rsdp = rsdp_of(f);
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_sums_to_zero(rsdp, 20);
    assert_sums_to_zero(rsdp, 36);
    const u8 *rsdt = table_at(f, load32(rsdp + 16)), *xsdt = table_at(f, load64(rsdp + 24));
    assert_memory_equal(rsdt, "RSDT", 4);
    assert_memory_equal(xsdt, "XSDT", 4);
    u32 n = (load32(rsdt + 4) - 36) / 4;
    assert_int_equal((load32(xsdt + 4) - 36) / 8, n);
    assert_int_equal(n, 5);
    for (u32 i = 0; i < n; i++)
        assert_int_equal(load32(rsdt + 36 + i * 4), load64(xsdt + 36 + i * 8));
}

static void acpi_fadt_describes_the_power_management_block(void **state)
{
    struct fixture *f = *state;
    const u8 *fadt = find_table(f, "FACP");
    assert_non_null(fadt);
    assert_int_equal(load32(fadt + 4), 244);
    assert_int_equal(fadt[8], 3);
    assert_memory_equal(table_at(f, load32(fadt + 36)), "FACS", 4);
    assert_int_equal(load32(fadt + 36) % 64, 0);
    assert_memory_equal(table_at(f, load32(fadt + 40)), "DSDT", 4);
    assert_int_equal(load64(fadt + 140), load32(fadt + 40));
    assert_int_equal(load16(fadt + 46), 9);
    assert_int_equal(load32(fadt + 48), 0xb2);
    assert_int_equal(fadt[52], 0xf1);
    assert_int_equal(fadt[53], 0xf0);
    assert_int_equal(load32(fadt + 56), 0x600);
    assert_int_equal(load32(fadt + 64), 0x604);
    assert_int_equal(load32(fadt + 76), 0x608);
    assert_int_equal(load32(fadt + 80), 0x60c);
    assert_int_equal(fadt[88], 4);
    assert_int_equal(fadt[89], 2);
    assert_int_equal(fadt[91], 4);
    assert_int_equal(fadt[92], 4);
    assert_int_equal(fadt[108], 0x32);
    assert_int_equal(load64(fadt + 116 + 4), 0xcf9);
    assert_int_equal(fadt[128], 6);
    assert_int_equal(load64(fadt + 148 + 4), 0x600);
    assert_int_equal(load64(fadt + 208 + 4), 0x608);
}

static void acpi_madt_lists_processors_and_overrides(void **state)
{
    struct fixture *f = *state;
    const u8 *madt = find_table(f, "APIC");
    assert_non_null(madt);
    unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;
    u32 n = load32(madt + 4), at = 44;
    while (at < n) {
        const u8 *e = madt + at;
        assert_true(e[1] >= 2);
        if (e[0] == 0) {
            assert_int_equal(e[3], cpus);
            cpus++;
        }
        ioapics += e[0] == 1 && load32(e + 4) == 0xfec00000;
        if (e[0] == 2) {
            overrides++;
            assert_int_equal(load32(e + 4), e[3] == 0 ? 2 : e[3]);
            assert_int_equal(load16(e + 8), e[3] == 0 ? 0 : 0x0d);
        }
        nmis += e[0] == 4 && e[2] == 0xff && e[5] == 1;
        at += e[1];
    }
    assert_int_equal(at, n);
    assert_int_equal(cpus, CPUS);
    assert_int_equal(ioapics, 1);
    assert_int_equal(overrides, 5);
    assert_int_equal(nmis, 1);
}

static void acpi_hpet_table(void **state)
{
    struct fixture *f = *state;
    const u8 *hpet = find_table(f, "HPET");
    assert_non_null(hpet);
    assert_int_equal(load32(hpet + 4), 56);
    assert_int_equal(load64(hpet + 44), 0xfed00000);
    assert_non_null(find_table(f, "WAET"));
}

static void acpi_ssdt_tells_the_facts_of_the_machine(void **state)
{
    struct fixture *f = *state;
    const u8 *ssdt = find_table(f, "SSDT");
    assert_non_null(ssdt);
    static const u8 names[] = {0x08, '\\', 'P', 'C', 'I', 'M', 0x0c, 0,    0, 0, 0xc0,
                               0x08, '\\', 'H', 'P', 'E', 'N', 0x0c, 1,    0, 0, 0,
                               0x08, '\\', 'S', 'E', 'R', 'N', 0x0c, 2,    0, 0, 0,
                               0x08, '\\', 'F', 'L', 'P', 'S', 0x0c, 0x42, 1, 0, 0,
                               0x08, '\\', 'E', 'C', 'A', 'M', 0x0c, 0,    0, 0, 0};
    assert_memory_equal(ssdt + 36, names, sizeof names);
    const u8 *scope = ssdt + 36 + sizeof names;
    assert_int_equal(scope[0], 0x10);
    u32 length = (scope[1] & 15u) | (u32)scope[2] << 4;
    assert_int_equal(36 + sizeof names + 1 + length, load32(ssdt + 4));
    assert_memory_equal(scope + 8,
                        "\x5b\x83\x0b"
                        "C000\0",
                        8);
}

static void acpi_of_the_q35_has_a_configuration_window_and_wide_events(void **state)
{
    struct fixture *f = *state;
    struct acpi_config config = {.board = &acpi_board_q35,
                                 .pm = &acpi_pm_ich9,
                                 .cpus = 1,
                                 .pm_base = 0x600,
                                 .sci_irq = 9,
                                 .pci_memory = 0xc0000000};
    assert_true(acpi_add_tables(f->fw, &config));
    run_script(f);
    const u8 *mcfg = find_table(f, "MCFG"), *fadt = find_table(f, "FACP");
    assert_non_null(mcfg);
    assert_int_equal(load32(mcfg + 4), 60);
    assert_int_equal(load64(mcfg + 44), 0xb0000000);
    assert_int_equal(load16(mcfg + 52), 0);
    assert_int_equal(mcfg[54], 0);
    assert_int_equal(mcfg[55], 255);
    assert_int_equal(load32(fadt + 80), 0x620); /* GPE0 */
    assert_int_equal(fadt[92], 16);
}

static void acpi_fits_the_most_processors_and_refuses_more(void **state)
{
    struct fixture *f = *state;
    struct acpi_config config = {.board = &acpi_board_pc,
                                 .pm = &acpi_pm_piix4,
                                 .cpus = 255,
                                 .pm_base = 0x600,
                                 .sci_irq = 9,
                                 .pci_memory = LOW_RAM};
    assert_true(acpi_add_tables(f->fw, &config));
    run_script(f);
    assert_null(find_table(f, "HPET"));
    config.cpus = 256;
    assert_false(acpi_add_tables(f->fw, &config));
}

static void smbios_structures_are_well_formed(void **state)
{
    struct fixture *f = *state;
    struct smbios_config config = {.cpus = CPUS, .ram = GIB(5), .low_ram = LOW_RAM};
    for (unsigned i = 0; i < 16; i++)
        config.uuid[i] = (u8)(0x10 + i);
    assert_true(smbios_add_tables(f->fw, &config));
    static u8 anchor[FILE_BYTES], tables[FILE_BYTES];
    assert_int_equal(read_file(f, "etc/smbios/smbios-anchor", anchor), 31);
    long n = read_file(f, "etc/smbios/smbios-tables", tables);
    assert_memory_equal(anchor, "_SM_", 4);
    assert_sums_to_zero(anchor, 31);
    assert_sums_to_zero(anchor + 16, 15);
    assert_int_equal(load16(anchor + 22), n);

    unsigned count = 0, largest = 0, processors = 0, ranges = 0;
    long at = 0;
    u8 type = 0;
    while (at < n) {
        long start = at;
        type = tables[at];
        if (type == 1)
            assert_memory_equal(tables + at + 8, "\x13\x12\x11\x10\x15\x14\x17\x16\x18", 9);
        if (type == 17)
            assert_int_equal(load16(tables + at + 12), 5 * 1024);
        processors += type == 4;
        ranges += type == 19;
        at += tables[at + 1];
        while (tables[at] || tables[at + 1]) {
            at++;
            assert_true(at + 1 < n);
        }
        at += 2;
        count++;
        if (at - start > largest)
            largest = (unsigned)(at - start);
    }
    assert_int_equal(at, n);
    assert_int_equal(type, 127);
    assert_int_equal(count, load16(anchor + 28));
    assert_int_equal(largest, load16(anchor + 8));
    assert_int_equal(processors, CPUS);
    assert_int_equal(ranges, 2);
}

static u64 read_item(struct fixture *f, u16 key, unsigned n)
{
    u8 bytes[8] = {0};
    outw(&f->rig, 0x510, key);
    for (unsigned i = 0; i < n; i++)
        bytes[i] = inb(&f->rig, 0x511);
    return load64(bytes);
}

static void fw_items_tell_memory_cpus_and_boot_order(void **state)
{
    struct fixture *f = *state;
    struct fw_items_config config = {.low_ram = LOW_RAM,
                                     .high_ram = GIB(1),
                                     .cpus = CPUS,
                                     .max_cpus = 8,
                                     .nographic = true,
                                     .boot_menu = true,
                                     .menu_wait_ms = 1500,
                                     .boot_order = "dc",
                                     .boot_paths = "/pci@i0cf8/ide@1,1/drive@0/disk@0"};
    assert_true(fw_items_add(f->fw, &config));
    assert_int_equal(read_item(f, FW_CFG_RAM_SIZE, 8), GIB(4));
    assert_int_equal(read_item(f, FW_CFG_NB_CPUS, 2), CPUS);
    assert_int_equal(read_item(f, FW_CFG_MAX_CPUS, 2), 8);
    assert_int_equal(read_item(f, FW_CFG_NOGRAPHIC, 2), 1);
    assert_int_equal(read_item(f, FW_CFG_BOOT_MENU, 2), 1);
    assert_int_equal(read_item(f, FW_CFG_BOOT_DEVICE, 2), 'd');
    assert_int_equal(read_item(f, FW_CFG_NUMA, 8), 0);
    assert_int_equal(read_item(f, FW_CFG_IRQ0_OVERRIDE, 1), 1);
    static u8 data[FILE_BYTES];
    assert_int_equal(read_file(f, "etc/e820", data), 40);
    assert_int_equal(load64(data), 0);
    assert_int_equal(load64(data + 8), LOW_RAM);
    assert_int_equal(load32(data + 16), 1);
    assert_int_equal(load64(data + 20), GIB(4));
    assert_int_equal(load64(data + 28), GIB(1));
    assert_int_equal(read_file(f, "bootorder", data), 34);
    assert_int_equal(data[33], 0);
    assert_int_equal(read_file(f, "etc/boot-menu-wait", data), 2);
    assert_int_equal(load16(data), 1500);
}

static void fw_items_leave_out_what_was_not_given(void **state)
{
    struct fixture *f = *state;
    struct fw_items_config config = {.low_ram = MIB(64), .cpus = 1, .max_cpus = 1};
    assert_true(fw_items_add(f->fw, &config));
    static u8 data[FILE_BYTES];
    assert_int_equal(read_file(f, "bootorder", data), -1);
    assert_int_equal(read_file(f, "etc/boot-menu-wait", data), -1);
    assert_int_equal(read_file(f, "etc/e820", data), 20);
}

#define T(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_ACPI(name) cmocka_unit_test_setup_teardown(name, setup_acpi, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_ACPI(acpi_root_pointer_leads_to_both_roots),
        T_ACPI(acpi_fadt_describes_the_power_management_block),
        T_ACPI(acpi_madt_lists_processors_and_overrides),
        T_ACPI(acpi_hpet_table),
        T_ACPI(acpi_ssdt_tells_the_facts_of_the_machine),
        T(acpi_of_the_q35_has_a_configuration_window_and_wide_events),
        T(acpi_fits_the_most_processors_and_refuses_more),
        T(smbios_structures_are_well_formed),
        T(fw_items_tell_memory_cpus_and_boot_order),
        T(fw_items_leave_out_what_was_not_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
