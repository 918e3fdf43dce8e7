/* SPDX-License-Identifier: MIT
 *
 * What a disk says about itself: IDENTIFY DEVICE (ATA/ATAPI-6, clause 8.15) and SMART (8.41).
 *
 * SMART knows three attributes and an empty error log. Self-tests are not offered: the host tests
 * its disks, and a result made up here would tell nobody anything.
 */
#include "devices/ide.h"

#define IDENTIFY_WORDS 256

/* ---- IDENTIFY DEVICE ---- */

enum identify_word {
    ID_GENERAL = 0,
    ID_CYLINDERS = 1,
    ID_HEADS = 3,
    ID_TRACK_SECTORS = 6,
    ID_SERIAL = 10,
    ID_FIRMWARE = 23,
    ID_MODEL = 27,
    ID_MULTIPLE_MAX = 47,
    ID_CAPABILITIES = 49,
    ID_CAPABILITIES_2 = 50,
    ID_PIO_TIMING = 51,
    ID_VALID = 53,
    ID_CURRENT_CYLINDERS = 54,
    ID_CURRENT_HEADS = 55,
    ID_CURRENT_TRACK_SECTORS = 56,
    ID_CURRENT_SECTORS = 57,
    ID_MULTIPLE = 59,
    ID_LBA28_SECTORS = 60,
    ID_MULTIWORD_DMA = 63,
    ID_PIO_MODES = 64,
    ID_CYCLE_TIMES = 65, /* four words */
    ID_ADDITIONAL = 69,
    ID_QUEUE_DEPTH = 75, /* less one */
    ID_SATA = 76,
    ID_MAJOR_VERSION = 80,
    ID_SUPPORTED_1 = 82,
    ID_SUPPORTED_2 = 83,
    ID_SUPPORTED_3 = 84,
    ID_ENABLED_1 = 85,
    ID_ENABLED_2 = 86,
    ID_ENABLED_3 = 87,
    ID_ULTRA_DMA = 88,
    ID_RESET_RESULT = 93,
    ID_LBA48_SECTORS = 100,
    ID_TRIM_BLOCKS = 105,
    ID_TRIM = 169,
    ID_INTEGRITY = 255,
};

#define GENERAL_FIXED       0x0040
#define CAP_DMA             (1u << 8)
#define CAP_LBA             (1u << 9)
#define CAP_IORDY           (3u << 10)
#define CAP_STANDBY_TIMER   (1u << 13)
#define WORD_VALID          (1u << 14) /* marks words that are present at all */
#define VALID_ALL           0x7
#define PIO_MODES_3_4       0x3
#define CYCLE_120NS         120
#define VERSIONS_4_TO_6     0x70
#define SUP1_SMART          (1u << 0)
#define SUP1_POWER          (1u << 3)
#define SUP1_WRITE_CACHE    (1u << 5)
#define SUP1_READ_AHEAD     (1u << 6)
#define SUP2_LBA48          (1u << 10)
#define SUP2_FLUSH          (1u << 12)
#define SUP2_FLUSH_EXT      (1u << 13)
#define SUP3_SMART_ERRORS   (1u << 0)
#define SUP3_LOGS           (1u << 5)
#define SUP3_FUA            (1u << 6)
#define SATA_GEN1           (1u << 1)
#define SATA_GEN2           (1u << 2)
#define SATA_QUEUE          (1u << 8)
#define RESET_CABLE_80      (1u << 13)
#define RESET_DEVICE_0      0x0001
#define TRIM_SUPPORTED      (1u << 0)
#define TRIM_DETERMINISTIC  (1u << 14)
#define INTEGRITY_SIGNATURE 0xa5

static void put(u8 *to, unsigned word, unsigned value)
{
    store16(to + 2 * word, (u16)value);
}

static void put_geometry(const struct ide_drive *d, u8 *to)
{
    put(to, ID_CYLINDERS, ata_cylinders(d, ATA_HEADS, ATA_TRACK_SECTORS));
    put(to, ID_HEADS, ATA_HEADS);
    put(to, ID_TRACK_SECTORS, ATA_TRACK_SECTORS);
    u32 current = ata_cylinders(d, d->heads, d->track_sectors);
    put(to, ID_CURRENT_CYLINDERS, current);
    put(to, ID_CURRENT_HEADS, d->heads);
    put(to, ID_CURRENT_TRACK_SECTORS, d->track_sectors);
    store32(to + 2 * ID_CURRENT_SECTORS, current * d->heads * d->track_sectors);
    store32(to + 2 * ID_LBA28_SECTORS, ata_lba28_sectors(d));
    store64(to + 2 * ID_LBA48_SECTORS, ata_sectors(d));
}

static void put_transfers(const struct ide_drive *d, u8 *to)
{
    put(to, ID_MULTIPLE_MAX, 0x8000 | IDE_MULTIPLE_MAX);
    put(to, ID_MULTIPLE, d->multiple ? 0x100u | d->multiple : 0);
    put(to, ID_CAPABILITIES, CAP_DMA | CAP_LBA | CAP_IORDY | CAP_STANDBY_TIMER);
    put(to, ID_CAPABILITIES_2, WORD_VALID);
    put(to, ID_PIO_TIMING, 2u << 8);
    put(to, ID_VALID, VALID_ALL);
    put(to, ID_MULTIWORD_DMA, ide_mode_word(d, IDE_MULTIWORD_MODES, MODE_MULTIWORD));
    put(to, ID_PIO_MODES, PIO_MODES_3_4);
    for (unsigned i = 0; i < 4; i++)
        put(to, ID_CYCLE_TIMES + i, CYCLE_120NS);
    put(to, ID_ULTRA_DMA, ide_mode_word(d, IDE_ULTRA_MODES, MODE_ULTRA));
    if (!d->sata) /* a serial link has neither cable nor device 1: all zero */
        put(to, ID_RESET_RESULT, WORD_VALID | RESET_CABLE_80 | RESET_DEVICE_0);
}

static void put_features(const struct ide_drive *d, u8 *to)
{
    unsigned always = SUP1_POWER;
    put(to, ID_MAJOR_VERSION, VERSIONS_4_TO_6);
    put(to, ID_SUPPORTED_1, always | SUP1_SMART | SUP1_WRITE_CACHE | SUP1_READ_AHEAD);
    put(to, ID_ENABLED_1,
        always | (d->smart ? SUP1_SMART : 0) | (d->write_cache ? SUP1_WRITE_CACHE : 0) |
            (d->read_ahead ? SUP1_READ_AHEAD : 0));
    put(to, ID_SUPPORTED_2, WORD_VALID | SUP2_LBA48 | SUP2_FLUSH | SUP2_FLUSH_EXT);
    put(to, ID_ENABLED_2, SUP2_LBA48 | SUP2_FLUSH | SUP2_FLUSH_EXT);
    unsigned third = WORD_VALID | SUP3_SMART_ERRORS | SUP3_FUA | (d->sata ? SUP3_LOGS : 0);
    put(to, ID_SUPPORTED_3, third);
    put(to, ID_ENABLED_3, third);
    if (d->sata) {
        put(to, ID_QUEUE_DEPTH, IDE_QUEUE_DEPTH - 1);
        put(to, ID_SATA, SATA_GEN1 | SATA_GEN2 | SATA_QUEUE);
    }
    put(to, ID_ADDITIONAL, TRIM_DETERMINISTIC);
    put(to, ID_TRIM_BLOCKS, 1);
    put(to, ID_TRIM, TRIM_SUPPORTED);
}

/* Makes the bytes 0..511 sum up to 0. */
static void put_checksum(u8 *sector)
{
    u8 sum = 0;
    for (unsigned i = 0; i < SECTOR_BYTES - 1; i++)
        sum += sector[i];
    sector[SECTOR_BYTES - 1] = (u8)-sum;
}

void ata_identify_data(const struct ide_drive *d, u8 *to)
{
    memset(to, 0, SECTOR_BYTES);
    put(to, ID_GENERAL, GENERAL_FIXED);
    ide_put_string(to + 2 * ID_SERIAL, d->serial, IDE_SERIAL_CHARS);
    ide_put_string(to + 2 * ID_FIRMWARE, "1.0", 8);
    ide_put_string(to + 2 * ID_MODEL, "ANELLO HARDDISK", 40);
    put_geometry(d, to);
    put_transfers(d, to);
    put_features(d, to);
    put(to, ID_INTEGRITY, INTEGRITY_SIGNATURE);
    put_checksum(to);
}

/* ---- logs ---- */

enum { LOG_DIRECTORY = 0x00, LOG_QUEUE_ERROR = 0x10 };

/* READ LOG EXT (8.34): the directory, and what the last queued command failed with. */
bool ata_log(const struct ide_drive *d, u8 *to)
{
    u8 log = d->regs[IDE_LBA_LOW];
    bool first_page = !d->regs[IDE_LBA_MID] && !d->previous[IDE_LBA_MID];
    bool one = d->regs[IDE_COUNT] == 1 && !d->previous[IDE_COUNT];
    if (!d->sata || !first_page || !one || (log != LOG_DIRECTORY && log != LOG_QUEUE_ERROR))
        return false;
    memset(to, 0, SECTOR_BYTES);
    if (log == LOG_DIRECTORY) {
        put(to, 0, 1); /* version */
        put(to, LOG_QUEUE_ERROR, 1);
    } else {
        memcpy(to, d->queue_error, IDE_QUEUE_ERROR_BYTES);
        put_checksum(to);
    }
    return true;
}

/* ---- SMART ---- */

enum smart_subcommand {
    SMART_READ_DATA = 0xd0,
    SMART_READ_THRESHOLDS = 0xd1,
    SMART_AUTOSAVE = 0xd2,
    SMART_SAVE = 0xd3,
    SMART_READ_LOG = 0xd5,
    SMART_ENABLE = 0xd8,
    SMART_DISABLE = 0xd9,
    SMART_RETURN_STATUS = 0xda,
};

#define SMART_KEY_MID  0x4f
#define SMART_KEY_HIGH 0xc2

#define SMART_REVISION        0x0010
#define SMART_ATTRIBUTES      2 /* offset of the table; entries of 12 bytes */
#define SMART_ENTRY           12
#define SMART_CAPABILITY      368
#define SMART_SAVES           0x0003
#define SMART_LOG_CAPABILITY  370
#define SMART_ERROR_LOGGING   0x01
#define ATTRIBUTE_PREFAILURE  0x0033
#define ATTRIBUTE_INFORMATION 0x0032
#define ATTRIBUTE_BEST        100
#define LOG_SUMMARY_ERRORS    1
#define NS_PER_HOUR           (3600 * NS_PER_SEC)

static void put_attribute(u8 *at, u8 id, u16 flags, u32 raw)
{
    at[0] = id;
    store16(at + 1, flags);
    at[3] = at[4] = ATTRIBUTE_BEST; /* value now and worst ever */
    store32(at + 5, raw);
}

static void smart_data(const struct ide_drive *d, u8 *to)
{
    u8 *table = to + SMART_ATTRIBUTES;
    u32 hours = (u32)(clock_now(d->channel->clock) / NS_PER_HOUR);
    store16(to, SMART_REVISION);
    put_attribute(table, 5, ATTRIBUTE_PREFAILURE, 0); /* reallocated sectors */
    put_attribute(table + SMART_ENTRY, 9, ATTRIBUTE_INFORMATION, hours);
    put_attribute(table + 2 * SMART_ENTRY, 12, ATTRIBUTE_INFORMATION, 1); /* power cycles */
    store16(to + SMART_CAPABILITY, SMART_SAVES);
    to[SMART_LOG_CAPABILITY] = SMART_ERROR_LOGGING;
    put_checksum(to);
}

static void smart_thresholds(u8 *to)
{
    static const u8 entries[][2] = {{5, 36}, {9, 0}, {12, 0}}; /* attribute, threshold */
    store16(to, SMART_REVISION);
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
        memcpy(to + SMART_ATTRIBUTES + i * SMART_ENTRY, entries[i], 2);
    put_checksum(to);
}

static enum ata_smart_result smart_log(const struct ide_drive *d, u8 *to)
{
    if (d->regs[IDE_COUNT] != 1)
        return ATA_SMART_ABORT;
    switch (d->regs[IDE_LBA_LOW]) {
    case LOG_DIRECTORY:
        to[0] = 1;                      /* version */
        to[2 * LOG_SUMMARY_ERRORS] = 1; /* sectors of that log */
        return ATA_SMART_DATA;
    case LOG_SUMMARY_ERRORS:
        to[0] = 1; /* version; no entries */
        put_checksum(to);
        return ATA_SMART_DATA;
    default: return ATA_SMART_ABORT;
    }
}

enum ata_smart_result ata_smart(struct ide_drive *d, u8 *to)
{
    const u8 *r = d->regs;
    u8 subcommand = r[IDE_FEATURES];
    if (r[IDE_LBA_MID] != SMART_KEY_MID || r[IDE_LBA_HIGH] != SMART_KEY_HIGH ||
        (!d->smart && subcommand != SMART_ENABLE))
        return ATA_SMART_ABORT;
    memset(to, 0, SECTOR_BYTES);
    switch (subcommand) {
    case SMART_READ_DATA: smart_data(d, to); return ATA_SMART_DATA;
    case SMART_READ_THRESHOLDS: smart_thresholds(to); return ATA_SMART_DATA;
    case SMART_READ_LOG: return smart_log(d, to);
    case SMART_ENABLE: d->smart = true; return ATA_SMART_DONE;
    case SMART_DISABLE: d->smart = false; return ATA_SMART_DONE;
    case SMART_AUTOSAVE:
    case SMART_SAVE:
    case SMART_RETURN_STATUS: return ATA_SMART_DONE; /* the key unchanged: no threshold exceeded */
    default: return ATA_SMART_ABORT;
    }
}
