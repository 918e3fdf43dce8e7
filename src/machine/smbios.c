/* SPDX-License-Identifier: MIT
 *
 * SMBIOS tables (DMTF DSP0134, version 2.8): what management tools show of the machine. The
 * firmware takes the two files, places the structures and fills in the entry point's address.
 *
 *     structure: type, length, handle, fixed fields; then its strings, each with a NUL, and one
 *     more NUL. A string is named by its number, from 1; 0 is "not given".
 */
#include "machine/smbios.h"

#include <stdlib.h>

#include "machine/table_out.h"

#define ANCHOR_FILE "etc/smbios/smbios-anchor"
#define TABLES_FILE "etc/smbios/smbios-tables"

enum { TABLES_BYTES = 32768, MAX_CPUS = 255, UUID_BYTES = 16 };

enum smbios_type {
    SMBIOS_BIOS = 0,
    SMBIOS_SYSTEM = 1,
    SMBIOS_CHASSIS = 3,
    SMBIOS_PROCESSOR = 4,
    SMBIOS_MEMORY_ARRAY = 16,
    SMBIOS_MEMORY_DEVICE = 17,
    SMBIOS_MEMORY_RANGE = 19,
    SMBIOS_BOOT = 32,
    SMBIOS_END = 127,
};

/* Handles: the type in the high byte, a number in the low one. */
#define HANDLE(type, n) ((u16)((type) << 8 | (n)))

/* Entry point, §5.2.1. */
enum {
    ENTRY_BYTES = 31,
    ENTRY_CHECKSUM = 4,
    ENTRY_LENGTH = 5,
    ENTRY_MAJOR = 6,
    ENTRY_MINOR = 7,
    ENTRY_LARGEST = 8,
    ENTRY_DMI = 16,
    ENTRY_DMI_BYTES = 15,
    ENTRY_DMI_CHECKSUM = 21,
    ENTRY_TABLE_BYTES = 22,
    ENTRY_COUNT = 28,
    ENTRY_BCD_REVISION = 30,
};

enum { LENGTH_AT = 1 };
#define UNKNOWN_8            0x02
#define UNKNOWN_16           0xffff
#define NO_HANDLE            0xfffe
#define SMALL_MEMORY_MAX_MIB 0x7fff /* MiB that the 16-bit size of a memory device can tell */

struct build {
    struct table_out out;
    size_t start; /* of the structure being written */
    size_t largest;
    u16 count;
};

static void begin(struct build *b, enum smbios_type type, u16 handle)
{
    b->start = b->out.size;
    put8(&b->out, (u8)type);
    put8(&b->out, 0);
    put16(&b->out, handle);
}

/* Ends the fixed part and adds up to two strings (NULL: none). */
static void end(struct build *b, const char *first, const char *second)
{
    if (b->out.full)
        return;
    b->out.bytes[b->start + LENGTH_AT] = (u8)(b->out.size - b->start);
    if (first)
        put(&b->out, first, strlen(first) + 1);
    else
        put8(&b->out, 0);
    if (second)
        put(&b->out, second, strlen(second) + 1);
    put8(&b->out, 0);
    if (b->out.size - b->start > b->largest)
        b->largest = b->out.size - b->start;
    b->count++;
}

/* §7.1 */
static void add_bios(struct build *b)
{
    begin(b, SMBIOS_BIOS, HANDLE(SMBIOS_BIOS, 0));
    put8(&b->out, 1);                 /* vendor */
    put8(&b->out, 2);                 /* version */
    put16(&b->out, 0xe800);           /* segment */
    put8(&b->out, 0);                 /* date */
    put8(&b->out, 0);                 /* 64 KiB of ROM */
    put64(&b->out, 1u << 3);          /* characteristics: not told */
    put8(&b->out, 0);                 /* extension */
    put8(&b->out, 1u << 2 | 1u << 4); /* targeted content; a virtual machine */
    put8(&b->out, 0);                 /* release */
    put8(&b->out, 0);
    put8(&b->out, 0xff); /* embedded controller: none */
    put8(&b->out, 0xff);
    end(b, "anello", "1");
}

/* §7.2. The first three fields of the UUID are little-endian here, big-endian in its text. */
static void add_system(struct build *b, const u8 uuid[UUID_BYTES])
{
    static const u8 order[UUID_BYTES] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    begin(b, SMBIOS_SYSTEM, HANDLE(SMBIOS_SYSTEM, 0));
    put8(&b->out, 1);  /* manufacturer */
    put8(&b->out, 2);  /* product */
    put16(&b->out, 0); /* version, serial number */
    for (unsigned i = 0; i < UUID_BYTES; i++)
        put8(&b->out, uuid[order[i]]);
    put8(&b->out, 6);  /* woken by the power switch */
    put16(&b->out, 0); /* SKU, family */
    end(b, "anello", "Standard PC (i440FX + PIIX)");
}

/* §7.4 */
static void add_chassis(struct build *b)
{
    begin(b, SMBIOS_CHASSIS, HANDLE(SMBIOS_CHASSIS, 0));
    put8(&b->out, 1); /* manufacturer */
    put8(&b->out, 1); /* type: other */
    put8(&b->out, 0); /* version, serial number, tag */
    put8(&b->out, 0);
    put8(&b->out, 0);
    put8(&b->out, 3); /* boot-up, power supply, thermal state: safe */
    put8(&b->out, 3);
    put8(&b->out, 3);
    put8(&b->out, UNKNOWN_8); /* security */
    put32(&b->out, 0);
    put16(&b->out, 0); /* height, power cords */
    put16(&b->out, 0); /* contained elements: count, length */
    put8(&b->out, 0);  /* stock-keeping number */
    end(b, "anello", NULL);
}

/* §7.5: one socket per CPU. */
static void add_processor(struct build *b, unsigned n)
{
    begin(b, SMBIOS_PROCESSOR, HANDLE(SMBIOS_PROCESSOR, n));
    put8(&b->out, 1);  /* socket */
    put8(&b->out, 3);  /* central processor */
    put8(&b->out, 1);  /* family: other */
    put8(&b->out, 2);  /* manufacturer */
    put64(&b->out, 0); /* id: CPUID tells it */
    put8(&b->out, 0);  /* version */
    put8(&b->out, 0);  /* voltage */
    put16(&b->out, 0); /* external clock, speeds: unknown */
    put16(&b->out, 0);
    put16(&b->out, 0);
    put8(&b->out, 0x41);        /* populated, enabled */
    put8(&b->out, 1);           /* upgrade: other */
    put16(&b->out, UNKNOWN_16); /* caches */
    put16(&b->out, UNKNOWN_16);
    put16(&b->out, UNKNOWN_16);
    put8(&b->out, 0); /* serial number, tag, part number */
    put8(&b->out, 0);
    put8(&b->out, 0);
    put8(&b->out, 1); /* cores, enabled cores, threads */
    put8(&b->out, 1);
    put8(&b->out, 1);
    put16(&b->out, UNKNOWN_8); /* characteristics */
    put16(&b->out, 1);         /* family, again */
    end(b, "CPU", "anello");
}

/* §7.17, §7.18, §7.20: one array with one device. */
static void add_memory(struct build *b, const struct smbios_config *config)
{
    u64 kib = config->ram >> 10, mib = config->ram >> 20;
    bool large = mib > SMALL_MEMORY_MAX_MIB;
    begin(b, SMBIOS_MEMORY_ARRAY, HANDLE(SMBIOS_MEMORY_ARRAY, 0));
    put8(&b->out, 1); /* location: other */
    put8(&b->out, 3); /* system memory */
    put8(&b->out, 3); /* no error correction */
    put32(&b->out, kib < 0x80000000u ? (u32)kib : 0x80000000u);
    put16(&b->out, NO_HANDLE);
    put16(&b->out, 1); /* devices */
    put64(&b->out, kib < 0x80000000u ? 0 : config->ram);
    end(b, NULL, NULL);

    begin(b, SMBIOS_MEMORY_DEVICE, HANDLE(SMBIOS_MEMORY_DEVICE, 0));
    put16(&b->out, HANDLE(SMBIOS_MEMORY_ARRAY, 0));
    put16(&b->out, NO_HANDLE);
    put16(&b->out, UNKNOWN_16); /* widths */
    put16(&b->out, UNKNOWN_16);
    put16(&b->out, large ? SMALL_MEMORY_MAX_MIB : (u16)mib);
    put8(&b->out, 9);       /* DIMM */
    put8(&b->out, 0);       /* not of a set */
    put8(&b->out, 1);       /* locator */
    put8(&b->out, 0);       /* bank */
    put8(&b->out, 7);       /* RAM */
    put16(&b->out, 1 << 1); /* detail: other */
    put16(&b->out, 0);      /* speed: unknown */
    put8(&b->out, 2);       /* manufacturer */
    put8(&b->out, 0);       /* serial number, tag, part number */
    put8(&b->out, 0);
    put8(&b->out, 0);
    put8(&b->out, 0); /* rank: unknown */
    put32(&b->out, large ? (u32)mib : 0);
    put16(&b->out, 0); /* configured speed */
    put16(&b->out, 0); /* voltages */
    put16(&b->out, 0);
    put16(&b->out, 0);
    end(b, "DIMM 0", "anello");
}

/* A run of addresses; sizes are whole KiB. */
static void add_range(struct build *b, unsigned n, u64 start, u64 bytes)
{
    u64 first = start >> 10, last = ((start + bytes) >> 10) - 1;
    if (bytes == 0)
        return;
    bool large = last >= UINT32_MAX;
    begin(b, SMBIOS_MEMORY_RANGE, HANDLE(SMBIOS_MEMORY_RANGE, n));
    put32(&b->out, large ? UINT32_MAX : (u32)first);
    put32(&b->out, large ? UINT32_MAX : (u32)last);
    put16(&b->out, HANDLE(SMBIOS_MEMORY_ARRAY, 0));
    put8(&b->out, 1); /* partition width */
    put64(&b->out, large ? start : 0);
    put64(&b->out, large ? start + bytes - 1 : 0);
    end(b, NULL, NULL);
}

/* §7.33: no errors detected. */
static void add_boot(struct build *b)
{
    static const u8 reserved[6] = {0};
    begin(b, SMBIOS_BOOT, HANDLE(SMBIOS_BOOT, 0));
    put(&b->out, reserved, sizeof reserved);
    put8(&b->out, 0);
    end(b, NULL, NULL);
}

static u8 checksum(const u8 *bytes, size_t n)
{
    u8 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (u8)(sum + bytes[i]);
    return (u8)-sum;
}

/* The firmware corrects checksums when it has set the address. */
static void make_entry(const struct build *b, u8 entry[ENTRY_BYTES])
{
    memset(entry, 0, ENTRY_BYTES);
    memcpy(entry, "_SM_", 4);
    entry[ENTRY_LENGTH] = ENTRY_BYTES;
    entry[ENTRY_MAJOR] = 2;
    entry[ENTRY_MINOR] = 8;
    store16(entry + ENTRY_LARGEST, (u16)b->largest);
    memcpy(entry + ENTRY_DMI, "_DMI_", 5);
    store16(entry + ENTRY_TABLE_BYTES, (u16)b->out.size);
    store16(entry + ENTRY_COUNT, b->count);
    entry[ENTRY_BCD_REVISION] = 0x28;
    entry[ENTRY_DMI_CHECKSUM] = checksum(entry + ENTRY_DMI, ENTRY_DMI_BYTES);
    entry[ENTRY_CHECKSUM] = checksum(entry, ENTRY_BYTES);
}

bool smbios_add_tables(struct fw_cfg *fw, const struct smbios_config *config)
{
    u8 entry[ENTRY_BYTES];
    struct build b = {.out = {.bytes = calloc(1, TABLES_BYTES), .room = TABLES_BYTES}};
    if (!b.out.bytes || config->cpus > MAX_CPUS || config->low_ram > config->ram) {
        free(b.out.bytes);
        return false;
    }
    add_bios(&b);
    add_system(&b, config->uuid);
    add_chassis(&b);
    for (unsigned i = 0; i < config->cpus; i++)
        add_processor(&b, i);
    add_memory(&b, config);
    add_range(&b, 0, 0, config->low_ram);
    add_range(&b, 1, GIB(4), config->ram - config->low_ram);
    add_boot(&b);
    begin(&b, SMBIOS_END, HANDLE(SMBIOS_END, 0));
    end(&b, NULL, NULL);
    make_entry(&b, entry);
    bool ok = !b.out.full && fw_cfg_add_file(fw, ANCHOR_FILE, entry, sizeof entry) &&
              fw_cfg_add_file(fw, TABLES_FILE, b.out.bytes, b.out.size);
    free(b.out.bytes);
    return ok;
}
