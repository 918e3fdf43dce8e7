/* SPDX-License-Identifier: MIT
 *
 * Writes what a machine gives its firmware as files: DSDT and SSDT as they are, and the three files
 * of the ACPI loader script.
 *
 * usage: dump_tables pc|q35 FOLDER
 */
#include <stdio.h>
#include <stdlib.h>

#include "bus/ports.h"
#include "devices/acpi_pm.h"
#include "machine/acpi.h"
#include "machine/fw_items.h"
#include "machine/smbios.h"

enum { SELECTOR = 0x510, DATA = 0x511, ENTRY_BYTES = 64, NAME_AT = 8, LARGEST = 1 << 20 };

static void save(const char *folder, const char *name, const u8 *bytes, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, n, out) != n || fclose(out)) {
        perror(path);
        exit(1);
    }
}

static void read_bytes(struct io_bus *bus, u8 *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (u8)io_bus_read(bus, DATA, 1);
}

/* The AML tables among the concatenated ones, with the checksum that firmware will compute. */
static void save_aml(const char *folder, u8 *tables, size_t n)
{
    for (size_t at = 0; at + 36 <= n;) {
        u8 *t = tables + at;
        u32 size = load32(t + 4);
        bool is_dsdt = !memcmp(t, "DSDT", 4), is_ssdt = !memcmp(t, "SSDT", 4);
        u8 sum = 0;
        for (u32 i = 0; i < size; i++)
            sum = (u8)(sum + t[i]);
        t[9] = (u8)(t[9] - sum);
        if (is_dsdt || is_ssdt)
            save(folder, is_dsdt ? "dsdt.aml" : "ssdt.aml", t, size);
        t[9] = (u8)(t[9] + sum);
        at += size;
    }
}

static void save_file(struct io_bus *bus, const char *folder, const u8 *entry)
{
    static u8 data[LARGEST];
    size_t n = __builtin_bswap32(load32(entry));
    char name[ENTRY_BYTES];
    snprintf(name, sizeof name, "%.55s", (const char *)entry + NAME_AT);
    io_bus_write(bus, SELECTOR, __builtin_bswap16(load16(entry + 4)), 2);
    read_bytes(bus, data, n < LARGEST ? n : LARGEST);
    if (!strcmp(name, "etc/acpi/tables"))
        save_aml(folder, data, n);
    for (char *c = name; *c; c++) {
        if (*c == '/')
            *c = '-';
    }
    save(folder, name, data, n);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    bool q35 = !strcmp(argv[1], "q35");
    struct io_bus *bus = io_bus_create(NULL);
    struct fw_cfg *fw = fw_cfg_create(bus, NULL);
    struct acpi_config acpi = {.board = q35 ? &acpi_board_q35 : &acpi_board_pc,
                               .pm = q35 ? &acpi_pm_ich9 : &acpi_pm_piix4,
                               .cpus = 2,
                               .pm_base = ACPI_PM_DEFAULT_BASE,
                               .sci_irq = 9,
                               .pci_memory = MIB(512),
                               .hpet = true,
                               .serial_ports = 2,
                               .floppy = true,
                               .floppy_types = 0x42};
    struct smbios_config smbios = {.cpus = 2, .ram = MIB(512), .low_ram = MIB(512)};
    if (!acpi_add_tables(fw, &acpi) || !smbios_add_tables(fw, &smbios))
        return 1;
    static u8 directory[4 + 64 * ENTRY_BYTES];
    io_bus_write(bus, SELECTOR, FW_CFG_FILE_DIR, 2);
    read_bytes(bus, directory, sizeof directory);
    u32 count = __builtin_bswap32(load32(directory));
    for (u32 i = 0; i < count; i++)
        save_file(bus, argv[2], directory + 4 + i * ENTRY_BYTES);
    fw_cfg_device(fw).ops->destroy(fw);
    io_bus_destroy(bus);
    return 0;
}
