/* SPDX-License-Identifier: MIT
 *
 * Between the two halves of the packet drive: atapi.c (transfers, medium) and atapi_packet.c (the
 * packet commands).
 */
#ifndef ANELLO_DEVICES_ATAPI_H
#define ANELLO_DEVICES_ATAPI_H

#include "devices/ide.h"

enum atapi_ata_command {
    ATA_READ_SECTORS = 0x20,
    ATAPI_PACKET = 0xa0,
    ATAPI_IDENTIFY = 0xa1,
    ATA_STANDBY_IMMEDIATE = 0xe0,
    ATA_IDLE_IMMEDIATE = 0xe1,
    ATA_CHECK_POWER = 0xe5,
    ATA_SLEEP = 0xe6,
    ATA_IDENTIFY = 0xec,
    ATA_SET_FEATURES = 0xef,
};

enum sense_key {
    SENSE_NONE = 0x0,
    SENSE_NOT_READY = 0x2,
    SENSE_MEDIUM_ERROR = 0x3,
    SENSE_ILLEGAL_REQUEST = 0x5,
    SENSE_UNIT_ATTENTION = 0x6,
};

/* Additional sense code and qualifier, as ASC << 8 | ASCQ. */
enum additional_sense {
    ASC_UNRECOVERED_READ = 0x1100,
    ASC_PARAMETER_LENGTH = 0x1a00,
    ASC_INVALID_COMMAND = 0x2000,
    ASC_LBA_OUT_OF_RANGE = 0x2100,
    ASC_INVALID_FIELD = 0x2400,
    ASC_INVALID_PARAMETER = 0x2600,
    ASC_MEDIUM_CHANGED = 0x2800,
    ASC_RESET = 0x2900,
    ASC_INCOMPATIBLE_MEDIUM = 0x3002,
    ASC_SAVING_UNSUPPORTED = 0x3900,
    ASC_NO_MEDIUM_TRAY_CLOSED = 0x3a01,
    ASC_NO_MEDIUM_TRAY_OPEN = 0x3a02,
    ASC_REMOVAL_PREVENTED = 0x5302,
    ASC_ILLEGAL_MODE = 0x6400,
};

/* Media events of GET EVENT STATUS NOTIFICATION. */
enum media_event {
    EVENT_NO_CHANGE = 0,
    EVENT_EJECT_REQUEST = 1,
    EVENT_NEW_MEDIA = 2,
    EVENT_MEDIA_REMOVAL = 3,
};

/* ---- atapi.c ---- */

/* Ends of a packet command: good, or with sense data. */
void atapi_complete(struct ide_drive *d);
void atapi_check(struct ide_drive *d, u8 key, u16 asc_ascq);
/* Sends the first `bytes` of the buffer, at most as many as the host has allocated. */
void atapi_reply(struct ide_drive *d, u32 bytes, u32 allocated);
/* Asks for `bytes` (at most the buffer) of parameters; atapi_parameters_given() has them. */
void atapi_ask(struct ide_drive *d, u32 bytes);
/* Sends sectors of the disc. */
void atapi_read(struct ide_drive *d, u32 lba, u32 count);
bool atapi_has_medium(const struct ide_drive *d);
u32 atapi_sectors(const struct ide_drive *d); /* 0 without a medium */
void atapi_open_tray(struct ide_drive *d);
void atapi_close_tray(struct ide_drive *d);

/* ---- atapi_packet.c ---- */

void atapi_identify_data(const struct ide_drive *d, u8 *to);
/* Runs the packet d->cd.packet. */
void atapi_execute(struct ide_drive *d);
void atapi_parameters_given(struct ide_drive *d);

#endif
