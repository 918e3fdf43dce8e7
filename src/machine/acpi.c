/* SPDX-License-Identifier: MIT
 *
 * The ACPI tables of the board (ACPI 2.0, chapter 5), as three files for the firmware:
 *
 *     etc/acpi/tables   all tables but the root pointer, one behind the other
 *     etc/acpi/rsdp     the root pointer
 *     etc/table-loader  a script: allocate the files, add their addresses to the pointers in them,
 *                       compute checksums
 *
 * Pointers hold offsets into etc/acpi/tables until the script has run. Every table's checksum is
 * left to the script, so that there is one way only. The DSDTs are compiled from dsdt*.asl and
 * never changed; the facts that differ between machines are names in an SSDT that is written here.
 */
#include "machine/acpi.h"

#include <stdlib.h>

#include "devices/hpet.h"
#include "devices/ioapic.h"
#include "devices/mch.h"
#include "machine/table_out.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

enum {
    TABLES_BYTES = 16384,
    MAX_TABLES = 8, /* that RSDT and XSDT list */
    MAX_COMMANDS = 48,
    MAX_CPUS = 255,
};

/* The loader's script: 128-byte commands. */
enum {
    COMMAND_BYTES = 128,
    COMMAND_NAME_BYTES = 56,
    LOADER_ALLOCATE = 1,
    LOADER_ADD_POINTER = 2,
    LOADER_ADD_CHECKSUM = 3,
    ZONE_HIGH = 1,
    ZONE_FSEG = 2,
};

/* Offsets in tables. */
enum {
    HEADER_LENGTH = 4,
    HEADER_CHECKSUM = 9,
    HEADER_BYTES = 36,
    FADT_FACS = 36,
    FADT_DSDT = 40,
    FADT_X_DSDT = 140,
    FADT_BYTES = 244,
    FACS_BYTES = 64,
    RSDP_BYTES = 36,
    RSDP_V1_BYTES = 20,
    RSDP_CHECKSUM = 8,
    RSDP_RSDT = 16,
    RSDP_XSDT = 24,
    RSDP_X_CHECKSUM = 32,
};

enum fadt_flags {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_SLP_BUTTON = 1 << 5, /* no fixed sleep button */
    FADT_FIX_RTC = 1 << 6,    /* no fixed RTC wake-up event */
    FADT_RESET_REG_SUP = 1 << 10,
};
enum { BOOT_LEGACY_DEVICES = 1 << 0, BOOT_8042 = 1 << 1 };
enum { GAS_MEMORY = 0, GAS_IO = 1 };

enum madt_entry { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4 };
enum {
    MADT_PCAT_COMPAT = 1 << 0,
    MADT_CPU_ENABLED = 1 << 0,
    MADT_ALL_CPUS = 0xff,
    MADT_CONFORMS = 0,
    MADT_LEVEL_HIGH = 0x0d,
    GSI_OF_TIMER = 2,
    NMI_LINT = 1,
};

enum aml {
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_SCOPE = 0x10,
    AML_EXT = 0x5b,
    AML_PROCESSOR = 0x83,
};

#define CMOS_CENTURY      0x32
#define C2_C3_UNSUPPORTED 0x0fff
#define WAET_RTC_PM_GOOD  3  /* reads need no repetition */
#define FIRST_TABLE_ALIGN 64 /* of the FACS */
#define FLOPPY_CONTROLLER 0x100
#define ECAM_BUS_BYTES    MIB(1)

static const u8 dsdt_pc[] = {
#include "machine/dsdt.inc"
};
static const u8 dsdt_q35[] = {
#include "machine/dsdt_q35.inc"
};

const struct acpi_board acpi_board_pc = {.dsdt = dsdt_pc, .dsdt_bytes = sizeof dsdt_pc};
const struct acpi_board acpi_board_q35 = {.dsdt = dsdt_q35,
                                          .dsdt_bytes = sizeof dsdt_q35,
                                          .ecam_base = MCH_ECAM_BASE,
                                          .ecam_bytes = MCH_ECAM_BYTES};

struct build {
    struct table_out out;   /* the tables */
    u32 listed[MAX_TABLES]; /* offsets of tables for RSDT and XSDT */
    unsigned listed_count;
    u8 script[MAX_COMMANDS * COMMAND_BYTES];
    unsigned commands;
};

/* Generic address structure: ACPI 2.0 §5.2.3.1. */
static void put_gas(struct build *b, u8 space, u8 bits, u64 address)
{
    put8(&b->out, space);
    put8(&b->out, bits);
    put16(&b->out, 0);
    put64(&b->out, address);
}

/* ---- Script ---- */

static u8 *command(struct build *b, u32 code)
{
    if (b->commands == MAX_COMMANDS) {
        b->out.full = true;
        return b->script;
    }
    u8 *c = b->script + b->commands++ * COMMAND_BYTES;
    store32(c, code);
    return c + 4;
}

static void copy_name(u8 *to, const char *name)
{
    memcpy(to, name, strlen(name)); /* shorter than COMMAND_NAME_BYTES, behind it zeroes */
}

static void script_allocate(struct build *b, const char *file, u32 align, u8 zone)
{
    u8 *c = command(b, LOADER_ALLOCATE);
    copy_name(c, file);
    store32(c + COMMAND_NAME_BYTES, align);
    c[COMMAND_NAME_BYTES + 4] = zone;
}

/* The pointer of `size` bytes at `at` in `file` points into etc/acpi/tables. */
static void script_pointer(struct build *b, const char *file, u32 at, u8 size)
{
    u8 *c = command(b, LOADER_ADD_POINTER);
    copy_name(c, file);
    copy_name(c + COMMAND_NAME_BYTES, TABLES_FILE);
    store32(c + 2 * COMMAND_NAME_BYTES, at);
    c[2 * COMMAND_NAME_BYTES + 4] = size;
}

static void script_checksum(struct build *b, const char *file, u32 at, u32 start, u32 n)
{
    u8 *c = command(b, LOADER_ADD_CHECKSUM);
    copy_name(c, file);
    store32(c + COMMAND_NAME_BYTES, at);
    store32(c + COMMAND_NAME_BYTES + 4, start);
    store32(c + COMMAND_NAME_BYTES + 8, n);
}

/* ---- Tables ---- */

/* The common header (ACPI 2.0 §5.2.6); length and checksum follow in end_table(). */
static u32 begin_table(struct build *b, const char *signature, u8 revision)
{
    u32 at = (u32)b->out.size;
    put(&b->out, signature, 4);
    put32(&b->out, 0);
    put8(&b->out, revision);
    put8(&b->out, 0);
    put(&b->out, "ANELLO", 6);
    put(&b->out, "ANELLOPC", 8);
    put32(&b->out, 1);
    put(&b->out, "ANLO", 4);
    put32(&b->out, 1);
    return at;
}

static void end_table(struct build *b, u32 at)
{
    if (b->out.full)
        return;
    u32 n = (u32)b->out.size - at;
    store32(b->out.bytes + at + HEADER_LENGTH, n);
    script_checksum(b, TABLES_FILE, at + HEADER_CHECKSUM, at, n);
}

/* RSDT and XSDT shall list it. */
static void list_table(struct build *b, u32 at)
{
    if (b->listed_count == MAX_TABLES)
        b->out.full = true;
    else
        b->listed[b->listed_count++] = at;
}

static u32 add_facs(struct build *b)
{
    u32 at = (u32)b->out.size;
    put(&b->out, "FACS", 4);
    put32(&b->out, FACS_BYTES);
    reserve(&b->out, 24); /* hardware signature, waking vectors, lock, flags */
    put8(&b->out, 1);     /* version */
    reserve(&b->out, FACS_BYTES - 33);
    return at;
}

static u32 add_dsdt(struct build *b, const struct acpi_board *board)
{
    u32 at = (u32)b->out.size;
    put(&b->out, board->dsdt, board->dsdt_bytes);
    return at;
}

/* ACPI 2.0 §5.2.8. */
static void add_fadt(struct build *b, const struct acpi_config *config, u32 facs, u32 dsdt_at)
{
    u16 pm = config->pm_base, gpe = (u16)(pm + config->pm->gpe_status);
    u32 at = begin_table(b, "FACP", 3);
    put32(&b->out, facs);
    put32(&b->out, dsdt_at);
    put16(&b->out, 0); /* reserved; no preferred profile */
    put16(&b->out, (u16)config->sci_irq);
    put32(&b->out, ACPI_PM_SMI_CMD);
    put8(&b->out, ACPI_PM_ENABLE);
    put8(&b->out, ACPI_PM_DISABLE);
    put16(&b->out, 0);      /* no S4BIOS, no P-states */
    put32(&b->out, pm);     /* PM1a event block */
    put32(&b->out, 0);      /* PM1b */
    put32(&b->out, pm + 4); /* PM1a control */
    put32(&b->out, 0);
    put32(&b->out, 0);      /* PM2 control */
    put32(&b->out, pm + 8); /* PM timer */
    put32(&b->out, gpe);    /* GPE0 */
    put32(&b->out, 0);
    put8(&b->out, 4); /* bytes of: PM1 event, PM1 control, PM2 control, PM timer, GPE0, GPE1 */
    put8(&b->out, 2);
    put8(&b->out, 0);
    put8(&b->out, 4);
    put8(&b->out, (u8)(2 * config->pm->gpe_bytes));
    put8(&b->out, 0);
    put16(&b->out, 0); /* GPE1 base, C-state control */
    put16(&b->out, C2_C3_UNSUPPORTED);
    put16(&b->out, C2_C3_UNSUPPORTED);
    put32(&b->out, 0); /* flush size and stride: WBINVD works */
    put16(&b->out, 0); /* duty cycle */
    put16(&b->out, 0); /* RTC alarm: day, month */
    put8(&b->out, CMOS_CENTURY);
    put16(&b->out, BOOT_LEGACY_DEVICES | BOOT_8042);
    put8(&b->out, 0);
    put32(&b->out,
          FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP);
    put_gas(b, GAS_IO, 8, ACPI_RESET_PORT);
    put8(&b->out, ACPI_RESET_VALUE);
    reserve(&b->out, 3);
    put64(&b->out, 0); /* X_FIRMWARE_CTRL: the short pointer counts */
    put64(&b->out, dsdt_at);
    put_gas(b, GAS_IO, 32, pm);
    put_gas(b, GAS_IO, 0, 0);
    put_gas(b, GAS_IO, 16, (u64)pm + 4);
    put_gas(b, GAS_IO, 0, 0);
    put_gas(b, GAS_IO, 0, 0);
    put_gas(b, GAS_IO, 32, (u64)pm + 8);
    put_gas(b, GAS_IO, (u8)(16 * config->pm->gpe_bytes), gpe);
    put_gas(b, GAS_IO, 0, 0);
    script_pointer(b, TABLES_FILE, at + FADT_FACS, 4);
    script_pointer(b, TABLES_FILE, at + FADT_DSDT, 4);
    script_pointer(b, TABLES_FILE, at + FADT_X_DSDT, 8);
    end_table(b, at);
    list_table(b, at);
}

static void put_override(struct build *b, u8 irq, u32 gsi, u16 flags)
{
    put8(&b->out, MADT_OVERRIDE);
    put8(&b->out, 10);
    put8(&b->out, 0); /* ISA */
    put8(&b->out, irq);
    put32(&b->out, gsi);
    put16(&b->out, flags);
}

/* ACPI 2.0 §5.2.10. The interrupts that PCI links and the SCI use arrive at the I/O APIC as
 * active-high levels. */
static void add_madt(struct build *b, const struct acpi_config *config)
{
    static const u8 level_irqs[] = {5, 9, 10, 11};
    u32 at = begin_table(b, "APIC", 1);
    put32(&b->out, LAPIC_DEFAULT_BASE);
    put32(&b->out, MADT_PCAT_COMPAT);
    for (unsigned i = 0; i < config->cpus; i++) {
        put8(&b->out, MADT_LAPIC);
        put8(&b->out, 8);
        put8(&b->out, (u8)i); /* processor */
        put8(&b->out, (u8)i); /* local APIC */
        put32(&b->out, MADT_CPU_ENABLED);
    }
    put8(&b->out, MADT_IOAPIC);
    put8(&b->out, 12);
    put16(&b->out, 0); /* id */
    put32(&b->out, IOAPIC_BASE);
    put32(&b->out, 0); /* first interrupt */
    put_override(b, 0, GSI_OF_TIMER, MADT_CONFORMS);
    for (size_t i = 0; i < ARRAY_LEN(level_irqs); i++)
        put_override(b, level_irqs[i], level_irqs[i], MADT_LEVEL_HIGH);
    put8(&b->out, MADT_LAPIC_NMI);
    put8(&b->out, 6);
    put8(&b->out, MADT_ALL_CPUS);
    put16(&b->out, MADT_CONFORMS);
    put8(&b->out, NMI_LINT);
    end_table(b, at);
    list_table(b, at);
}

static void add_hpet(struct build *b)
{
    u32 at = begin_table(b, "HPET", 1);
    put32(&b->out, HPET_BLOCK_ID);
    put_gas(b, GAS_MEMORY, 64, HPET_BASE);
    put8(&b->out, 0);
    put16(&b->out, HPET_MIN_TICKS);
    put8(&b->out, 0);
    end_table(b, at);
    list_table(b, at);
}

/* PCI Firmware Specification 3.0, 4.1.2: one segment, whose buses the window holds all. */
static void add_mcfg(struct build *b, const struct acpi_board *board)
{
    u32 at = begin_table(b, "MCFG", 1);
    reserve(&b->out, 8);
    put64(&b->out, board->ecam_base);
    put16(&b->out, 0); /* segment */
    put8(&b->out, 0);  /* first and last bus */
    put8(&b->out, (u8)(board->ecam_bytes / ECAM_BUS_BYTES - 1));
    reserve(&b->out, 4);
    end_table(b, at);
    list_table(b, at);
}

/* Windows ACPI Emulated Devices Table: timers that need not be read twice. */
static void add_waet(struct build *b)
{
    u32 at = begin_table(b, "WAET", 1);
    put32(&b->out, WAET_RTC_PM_GOOD);
    end_table(b, at);
    list_table(b, at);
}

static void put_name_dword(struct build *b, const char *name, u32 value)
{
    put8(&b->out, AML_NAME);
    put8(&b->out, '\\');
    put(&b->out, name, 4);
    put8(&b->out, AML_DWORD);
    put32(&b->out, value);
}

/* Processor (Cxxx, id, 0, 0) {}: no throttling block. */
static void put_processor(struct build *b, unsigned id)
{
    static const char hex[] = "0123456789ABCDEF";
    char name[4] = {'C', '0', hex[id >> 4 & 15], hex[id & 15]};
    put8(&b->out, AML_EXT);
    put8(&b->out, AML_PROCESSOR);
    put8(&b->out, 11); /* this byte and what follows */
    put(&b->out, name, sizeof name);
    put8(&b->out, (u8)id);
    put32(&b->out, 0);
    put8(&b->out, 0);
}

/* What dsdt.asl declares as external. */
static void add_ssdt(struct build *b, const struct acpi_config *config)
{
    u32 at = begin_table(b, "SSDT", 1);
    put_name_dword(b, "PCIM", (u32)config->pci_memory);
    put_name_dword(b, "HPEN", config->hpet);
    put_name_dword(b, "SERN", config->serial_ports);
    put_name_dword(b, "FLPS", config->floppy ? FLOPPY_CONTROLLER | config->floppy_types : 0);
    put_name_dword(b, "ECAM", (u32)config->board->ecam_base);
    /* Scope (\_SB): a package length of two bytes, low nibble in the first one */
    u32 length = 2 + 5 + config->cpus * 13;
    put8(&b->out, AML_SCOPE);
    put8(&b->out, (u8)(1 << 6 | (length & 15)));
    put8(&b->out, (u8)(length >> 4));
    put(&b->out, "\\_SB_", 5);
    for (unsigned i = 0; i < config->cpus; i++)
        put_processor(b, i);
    end_table(b, at);
    list_table(b, at);
}

/* RSDT (4-byte pointers) or XSDT (8-byte pointers). */
static u32 add_root(struct build *b, const char *signature, u8 pointer_bytes)
{
    u32 at = begin_table(b, signature, 1);
    for (unsigned i = 0; i < b->listed_count; i++) {
        u64 pointer = b->listed[i];
        script_pointer(b, TABLES_FILE, (u32)b->out.size, pointer_bytes);
        put(&b->out, &pointer, pointer_bytes);
    }
    end_table(b, at);
    return at;
}

/* ACPI 2.0 §5.2.4. */
static void make_rsdp(struct build *b, u8 rsdp[RSDP_BYTES], u32 rsdt, u32 xsdt)
{
    memset(rsdp, 0, RSDP_BYTES);
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "ANELLO", 6);
    rsdp[15] = 2; /* revision */
    store32(rsdp + RSDP_RSDT, rsdt);
    store32(rsdp + 20, RSDP_BYTES);
    store64(rsdp + RSDP_XSDT, xsdt);
    script_pointer(b, RSDP_FILE, RSDP_RSDT, 4);
    script_pointer(b, RSDP_FILE, RSDP_XSDT, 8);
    script_checksum(b, RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_V1_BYTES);
    script_checksum(b, RSDP_FILE, RSDP_X_CHECKSUM, 0, RSDP_BYTES);
}

static void build_tables(struct build *b, const struct acpi_config *config, u8 rsdp[RSDP_BYTES])
{
    script_allocate(b, TABLES_FILE, FIRST_TABLE_ALIGN, ZONE_HIGH);
    script_allocate(b, RSDP_FILE, 16, ZONE_FSEG);
    u32 facs = add_facs(b);
    u32 dsdt_at = add_dsdt(b, config->board);
    add_fadt(b, config, facs, dsdt_at);
    add_ssdt(b, config);
    add_madt(b, config);
    if (config->hpet)
        add_hpet(b);
    if (config->board->ecam_base)
        add_mcfg(b, config->board);
    add_waet(b);
    u32 rsdt = add_root(b, "RSDT", 4);
    u32 xsdt = add_root(b, "XSDT", 8);
    make_rsdp(b, rsdp, rsdt, xsdt);
}

bool acpi_add_tables(struct fw_cfg *fw, const struct acpi_config *config)
{
    if (config->cpus > MAX_CPUS || config->pci_memory > UINT32_MAX)
        return false;
    struct build *b = calloc(1, sizeof *b);
    u8 *tables = calloc(1, TABLES_BYTES);
    u8 rsdp[RSDP_BYTES];
    bool ok = b && tables;
    if (ok) {
        b->out = (struct table_out){.bytes = tables, .room = TABLES_BYTES};
        build_tables(b, config, rsdp);
        ok = !b->out.full && fw_cfg_add_file(fw, TABLES_FILE, tables, b->out.size) &&
             fw_cfg_add_file(fw, RSDP_FILE, rsdp, sizeof rsdp) &&
             fw_cfg_add_file(fw, LOADER_FILE, b->script, (size_t)b->commands * COMMAND_BYTES);
    }
    free(tables);
    free(b);
    return ok;
}
