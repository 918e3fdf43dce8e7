/* SPDX-License-Identifier: MIT
 *
 * The packet commands of a CD/DVD-ROM drive (MMC-3, SPC-2, SFF-8020i), and its IDENTIFY data. The
 * disc has one session with one data track; one that is too large for a CD is a DVD.
 */
#include "devices/atapi.h"

#define FRAMES_PER_SECOND 75
#define MSF_OFFSET        150            /* frames before sector 0 */
#define CD_SECTORS_MAX    (80 * 60 * 75) /* an 80 minute disc */
#define LEAD_OUT          0xaa           /* its track number */
#define DATA_TRACK        0x14           /* ADR 1, control: data */
#define MODE_LIST_MAX     1024
#define SPEED_KB          7056 /* 40x: 40 * 176.4 kB/s */

enum profile { PROFILE_NONE = 0, PROFILE_CD_ROM = 0x0008, PROFILE_DVD_ROM = 0x0010 };

enum command_flags {
    NEEDS_MEDIUM = 1 << 0,
    KEEPS_ATTENTION = 1 << 1, /* works without reporting a pending unit attention */
};

struct packet_command {
    void (*run)(struct ide_drive *d, const u8 *packet);
    u8 flags;
};

/* ---- big-endian fields ---- */

static u16 get16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static u32 get24(const u8 *p)
{
    return (u32)p[0] << 16 | get16(p + 1);
}

static u32 get32(const u8 *p)
{
    return (u32)get16(p) << 16 | get16(p + 2);
}

static void put16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

static void put32(u8 *p, u32 v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

/* A disc address in four bytes: a sector number, or minute, second and frame. */
static void put_address(u8 *p, u32 lba, bool msf)
{
    if (!msf) {
        put32(p, lba);
        return;
    }
    u32 frame = lba + MSF_OFFSET;
    p[0] = 0;
    p[1] = (u8)(frame / FRAMES_PER_SECOND / 60);
    p[2] = (u8)(frame / FRAMES_PER_SECOND % 60);
    p[3] = (u8)(frame % FRAMES_PER_SECOND);
}

static u8 *clear_buffer(struct ide_drive *d, u32 bytes)
{
    memset(d->buffer, 0, bytes);
    return d->buffer;
}

static void illegal(struct ide_drive *d, u16 asc_ascq)
{
    atapi_check(d, SENSE_ILLEGAL_REQUEST, asc_ascq);
}

static bool is_dvd(const struct ide_drive *d)
{
    return atapi_sectors(d) > CD_SECTORS_MAX;
}

/* ---- state ---- */

static void test_unit_ready(struct ide_drive *d, const u8 *packet)
{
    (void)packet;
    atapi_complete(d);
}

static void request_sense(struct ide_drive *d, const u8 *packet)
{
    enum { SENSE_BYTES = 18, CURRENT_ERROR = 0x70, KEY = 2, MORE = 7, ASC = 12, ASCQ = 13 };
    u8 *to = clear_buffer(d, SENSE_BYTES);
    struct ide_cd *cd = &d->cd;
    if (cd->sense_key == SENSE_NONE && cd->attention) {
        cd->sense_key = SENSE_UNIT_ATTENTION;
        cd->asc = cd->attention_asc;
        cd->attention = false;
    }
    to[0] = CURRENT_ERROR;
    to[KEY] = cd->sense_key;
    to[MORE] = SENSE_BYTES - MORE - 1;
    to[ASC] = cd->asc;
    to[ASCQ] = cd->ascq;
    cd->sense_key = cd->asc = cd->ascq = 0;
    atapi_reply(d, SENSE_BYTES, packet[4]);
}

static void inquiry(struct ide_drive *d, const u8 *packet)
{
    enum { INQUIRY_BYTES = 36, CD_DEVICE = 0x05, REMOVABLE = 0x80, ATAPI_2_FORMAT_1 = 0x21 };
    if ((packet[1] & 1) || packet[2]) { /* vital product data */
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    u8 *to = clear_buffer(d, INQUIRY_BYTES);
    to[0] = CD_DEVICE;
    to[1] = REMOVABLE;
    to[3] = ATAPI_2_FORMAT_1;
    to[4] = INQUIRY_BYTES - 5;
    memcpy(to + 8, "ANELLO  ", 8);
    memcpy(to + 16, "DVD-ROM         ", 16);
    memcpy(to + 32, "1.0 ", 4);
    atapi_reply(d, INQUIRY_BYTES, packet[4]);
}

static void start_stop(struct ide_drive *d, const u8 *packet)
{
    enum { START = 1 << 0, LOAD_EJECT = 1 << 1, POWER_CONDITION = 0xf0 };
    u8 how = packet[4];
    if ((how & POWER_CONDITION) || !(how & LOAD_EJECT)) {
        atapi_complete(d); /* the motor */
    } else if (how & START) {
        atapi_close_tray(d);
        atapi_complete(d);
    } else if (d->cd.locked) {
        illegal(d, ASC_REMOVAL_PREVENTED);
    } else {
        atapi_open_tray(d);
        atapi_complete(d);
    }
}

static void prevent_removal(struct ide_drive *d, const u8 *packet)
{
    d->cd.locked = packet[4] & 1;
    atapi_complete(d);
}

static void event_status(struct ide_drive *d, const u8 *packet)
{
    enum { POLLED = 1, MEDIA_CLASS = 4, MEDIA_CLASS_BIT = 1 << 4, NO_EVENT_AVAILABLE = 0x80 };
    enum { HEADER = 4, EVENT = 8, TRAY_OPEN = 1 << 0, PRESENT = 1 << 1 };
    if (!(packet[1] & POLLED)) { /* asynchronous operation does not exist */
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    u8 *to = clear_buffer(d, EVENT);
    u32 n = HEADER;
    to[2] = NO_EVENT_AVAILABLE;
    to[3] = MEDIA_CLASS_BIT;
    if (packet[4] & MEDIA_CLASS_BIT) {
        n = EVENT;
        to[2] = MEDIA_CLASS;
        to[4] = d->cd.media_event;
        to[5] = (u8)((d->cd.tray_open ? TRAY_OPEN : 0) | (atapi_has_medium(d) ? PRESENT : 0));
        d->cd.media_event = EVENT_NO_CHANGE;
    }
    put16(to, n - HEADER);
    atapi_reply(d, n, get16(packet + 7));
}

static void mechanism_status(struct ide_drive *d, const u8 *packet)
{
    enum { BYTES = 8, DOOR_OPEN = 1 << 4 };
    u8 *to = clear_buffer(d, BYTES);
    to[1] = d->cd.tray_open ? DOOR_OPEN : 0;
    atapi_reply(d, BYTES, get16(packet + 8));
}

/* ---- reading ---- */

static void read_10(struct ide_drive *d, const u8 *packet)
{
    atapi_read(d, get32(packet + 2), get16(packet + 7));
}

static void read_12(struct ide_drive *d, const u8 *packet)
{
    atapi_read(d, get32(packet + 2), get32(packet + 6));
}

/* What of each sector READ CD shall give: user data, or nothing, is all that an image holds. */
static void read_cd_sectors(struct ide_drive *d, const u8 *packet, u32 lba, u32 count)
{
    enum { FLAGS = 9, USER_DATA = 0x10, FLAGS_MASK = 0xfe, SUBCHANNEL = 10, AUDIO = 1 };
    u8 what = packet[FLAGS] & FLAGS_MASK;
    u8 type = packet[1] >> 2 & 7;
    if (type == AUDIO)
        illegal(d, ASC_ILLEGAL_MODE);
    else if ((packet[SUBCHANNEL] & 7) || (what && what != USER_DATA))
        illegal(d, ASC_INVALID_FIELD);
    else
        atapi_read(d, lba, what ? count : 0);
}

static void read_cd(struct ide_drive *d, const u8 *packet)
{
    read_cd_sectors(d, packet, get32(packet + 2), get24(packet + 6));
}

static void read_cd_msf(struct ide_drive *d, const u8 *packet)
{
    u32 from = (packet[3] * 60u + packet[4]) * FRAMES_PER_SECOND + packet[5];
    u32 to = (packet[6] * 60u + packet[7]) * FRAMES_PER_SECOND + packet[8];
    if (from < MSF_OFFSET || to < from)
        illegal(d, ASC_INVALID_FIELD);
    else
        read_cd_sectors(d, packet, from - MSF_OFFSET, to - from);
}

static void seek(struct ide_drive *d, const u8 *packet)
{
    if (get32(packet + 2) < atapi_sectors(d))
        atapi_complete(d);
    else
        illegal(d, ASC_LBA_OUT_OF_RANGE);
}

static void set_speed(struct ide_drive *d, const u8 *packet)
{
    (void)packet;
    atapi_complete(d);
}

/* ---- the disc ---- */

static void read_capacity(struct ide_drive *d, const u8 *packet)
{
    (void)packet;
    put32(d->buffer, atapi_sectors(d) - 1);
    put32(d->buffer + 4, CD_SECTOR_BYTES);
    atapi_reply(d, 8, 8);
}

static u8 *put_track(u8 *to, u8 track, u32 lba, bool msf)
{
    to[1] = DATA_TRACK;
    to[2] = track;
    put_address(to + 4, lba, msf);
    return to + 8;
}

/* Format 0: the tracks from `first` on, and the lead-out. */
static u32 toc_tracks(struct ide_drive *d, u8 *to, u8 first, bool msf)
{
    u8 *at = to + 4;
    to[2] = to[3] = 1; /* first and last track */
    if (first <= 1)
        at = put_track(at, 1, 0, msf);
    at = put_track(at, LEAD_OUT, atapi_sectors(d), msf);
    return (u32)(at - to);
}

/* Format 1: where the last session's first track starts. */
static u32 toc_sessions(u8 *to, bool msf)
{
    to[2] = to[3] = 1; /* first and last session */
    return (u32)(put_track(to + 4, 1, 0, msf) - to);
}

/* Format 2: the points of the lead-in, 11 bytes each. */
static u32 toc_raw(struct ide_drive *d, u8 *to)
{
    static const u8 points[] = {0xa0, 0xa1, 0xa2, 0x01};
    enum { FIRST_TRACK, LAST_TRACK, LEAD_OUT_START, TRACK_1 };
    u8 *at = to + 4;
    to[2] = to[3] = 1;
    for (unsigned i = 0; i < ARRAY_LEN(points); i++, at += 11) {
        at[0] = 1; /* session */
        at[1] = DATA_TRACK;
        at[3] = points[i];
        if (i == FIRST_TRACK || i == LAST_TRACK)
            at[8] = 1;
        else
            put_address(at + 7, i == LEAD_OUT_START ? atapi_sectors(d) : 0, true);
    }
    return (u32)(at - to);
}

static void read_toc(struct ide_drive *d, const u8 *packet)
{
    enum { TOC_MAX = 64, MSF = 1 << 1 };
    u8 *to = clear_buffer(d, TOC_MAX);
    bool msf = packet[1] & MSF;
    u8 format = packet[2] & 0x0f, first = packet[6];
    if (!format)
        format = packet[9] >> 6; /* where SFF-8020i had it */
    u32 n = 0;
    if (format == 0 && (first <= 1 || first == LEAD_OUT))
        n = toc_tracks(d, to, first, msf);
    else if (format == 1)
        n = toc_sessions(to, msf);
    else if (format == 2)
        n = toc_raw(d, to);
    if (!n) {
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    put16(to, n - 2);
    atapi_reply(d, n, get16(packet + 7));
}

static void read_subchannel(struct ide_drive *d, const u8 *packet)
{
    enum { SUB_Q = 1 << 6, HEADER = 4, POSITION = 16, FORMAT_POSITION = 1, MSF = 1 << 1 };
    u8 *to = clear_buffer(d, POSITION);
    u32 n = HEADER;
    if (packet[2] & SUB_Q) {
        if (packet[3] != FORMAT_POSITION) {
            illegal(d, ASC_INVALID_FIELD);
            return;
        }
        n = POSITION;
        to[4] = FORMAT_POSITION;
        to[5] = DATA_TRACK;
        to[6] = to[7] = 1; /* track, index */
        put_address(to + 8, 0, packet[1] & MSF);
        put_address(to + 12, 0, packet[1] & MSF);
    }
    put16(to + 2, n - HEADER);
    atapi_reply(d, n, get16(packet + 7));
}

static void disc_information(struct ide_drive *d, const u8 *packet)
{
    enum { BYTES = 34, COMPLETE = 0x0e, UNRESTRICTED = 0x20 };
    u8 *to = clear_buffer(d, BYTES);
    put16(to, BYTES - 2);
    to[2] = COMPLETE; /* the disc and its last session */
    to[3] = to[4] = to[5] = to[6] = 1;
    to[7] = UNRESTRICTED;
    put32(to + 16, 0xffffffff); /* no further session can start */
    put32(to + 20, 0xffffffff);
    atapi_reply(d, BYTES, get16(packet + 7));
}

static void track_information(struct ide_drive *d, const u8 *packet)
{
    enum { BYTES = 36, BY_ADDRESS = 0, BY_TRACK = 1, BY_SESSION = 2, MODE_1 = 1 };
    u32 which = get32(packet + 2);
    u8 by = packet[1] & 3;
    bool known = by == BY_ADDRESS ? which < atapi_sectors(d) : by <= BY_SESSION && which == 1;
    if (!known) {
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    u8 *to = clear_buffer(d, BYTES);
    put16(to, BYTES - 2);
    to[2] = to[3] = 1; /* track, session */
    to[5] = DATA_TRACK & 0x0f;
    to[6] = MODE_1;
    put32(to + 24, atapi_sectors(d));
    atapi_reply(d, BYTES, get16(packet + 7));
}

/* READ DVD STRUCTURE: the layer's description, and that nothing is protected. */
static void dvd_structure(struct ide_drive *d, const u8 *packet)
{
    enum {
        HEADER = 4,
        LAYER_BYTES = 2048,
        COPYRIGHT_BYTES = 4,
        FORMAT = 7,
        FIRST_SECTOR = 0x30000
    };
    enum { FORMAT_LAYER = 0, FORMAT_COPYRIGHT = 1, FORMAT_MANUFACTURER = 4, VERSION_1 = 1 };
    u32 n = HEADER + LAYER_BYTES;
    u8 *to = clear_buffer(d, n);
    if (!is_dvd(d)) {
        illegal(d, ASC_INCOMPATIBLE_MEDIUM);
        return;
    }
    switch (packet[FORMAT]) {
    case FORMAT_LAYER:
        to[HEADER] = VERSION_1; /* DVD-ROM */
        to[HEADER + 1] = 0x0f;  /* 120 mm, no maximum rate given */
        to[HEADER + 2] = 0x01;  /* one layer, embossed */
        put32(to + HEADER + 4, FIRST_SECTOR);
        put32(to + HEADER + 8, FIRST_SECTOR + atapi_sectors(d) - 1);
        break;
    case FORMAT_COPYRIGHT: n = HEADER + COPYRIGHT_BYTES; break;
    case FORMAT_MANUFACTURER: break;
    default: illegal(d, ASC_INVALID_FIELD); return;
    }
    put16(to, n - 2);
    atapi_reply(d, n, get16(packet + 8));
}

/* ---- features ---- */

struct feature {
    u16 code;
    bool persistent;
    u8 profile; /* current only with such a disc; 0: always */
    u8 length;
    u8 data[8];
};

// clang-format off
static const struct feature features[] = {
    {0x0000, true,  0, 8, {0, PROFILE_DVD_ROM, 0, 0, 0, PROFILE_CD_ROM, 0, 0}}, /* profile list */
    {0x0001, true,  0, 4, {0, 0, 0, 2}},        /* core: ATAPI */
    {0x0003, true,  0, 4, {0x29, 0, 0, 0}},     /* removable: tray, eject, lock */
    {0x0010, false, 0xff, 8, {0, 0, 8, 0, 0, 1, 0, 0}}, /* random readable: 2,048 bytes */
    {0x001e, false, PROFILE_CD_ROM, 4, {0}},    /* CD read */
    {0x001f, false, PROFILE_DVD_ROM, 0, {0}},   /* DVD read */
    {0x0100, true,  0, 0, {0}},                 /* power management */
};
// clang-format on

static u16 current_profile(const struct ide_drive *d)
{
    if (!atapi_has_medium(d))
        return PROFILE_NONE;
    return is_dvd(d) ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static bool is_current(const struct feature *f, u16 profile)
{
    enum { ANY_DISC = 0xff };
    return !f->profile || (f->profile == ANY_DISC && profile) || f->profile == profile;
}

static u8 *put_feature(u8 *to, const struct feature *f, u16 profile)
{
    enum { CURRENT = 1 << 0, PERSISTENT = 1 << 1 };
    put16(to, f->code);
    to[2] = (u8)((f->persistent ? PERSISTENT : 0) | (is_current(f, profile) ? CURRENT : 0));
    to[3] = f->length;
    memcpy(to + 4, f->data, f->length);
    for (unsigned at = 4; !f->code && at < 4u + f->length; at += 4)
        to[at + 2] = get16(to + at) == profile; /* which profile of the list is the current one */
    return to + 4 + f->length;
}

static void get_configuration(struct ide_drive *d, const u8 *packet)
{
    enum { HEADER = 8, BYTES_MAX = 256, ALL = 0, ONLY_CURRENT = 1, ONLY_ONE = 2 };
    u16 start = get16(packet + 2), profile = current_profile(d);
    u8 which = packet[1] & 3;
    if (which > ONLY_ONE) {
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    u8 *to = clear_buffer(d, BYTES_MAX), *at = to + HEADER;
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature *f = &features[i];
        bool wanted = which == ONLY_ONE ? f->code == start : f->code >= start;
        if (wanted && (which != ONLY_CURRENT || is_current(f, profile)))
            at = put_feature(at, f, profile);
    }
    put32(to, (u32)(at - to) - 4);
    put16(to + 6, profile);
    atapi_reply(d, (u32)(at - to), get16(packet + 7));
}

/* ---- mode pages ---- */

enum mode_page {
    PAGE_RECOVERY = 0x01,
    PAGE_CD = 0x0d,
    PAGE_AUDIO = 0x0e,
    PAGE_POWER = 0x1a,
    PAGE_CAPABILITIES = 0x2a,
    PAGE_ALL = 0x3f,
};

enum page_control { VALUES_CURRENT, VALUES_CHANGEABLE, VALUES_DEFAULT, VALUES_SAVED };

#define AUDIO_VOLUMES 9 /* offset of the first port's volume in page 0Eh; the second's is at 11 */

/* The page's body without its two header bytes; 0: no such page. */
static u32 page_body(const struct ide_drive *d, u8 page, enum page_control control, u8 *to)
{
    bool current = control == VALUES_CURRENT, mask = control == VALUES_CHANGEABLE;
    switch (page) {
    case PAGE_RECOVERY:
        if (mask)
            memset(to, 0xff, sizeof d->cd.recovery);
        else if (current)
            memcpy(to, d->cd.recovery, sizeof d->cd.recovery);
        return sizeof d->cd.recovery;
    case PAGE_CD:
        if (!mask) {
            put16(to + 2, 60); /* seconds a minute, frames a second */
            put16(to + 4, FRAMES_PER_SECOND);
        }
        return 6;
    case PAGE_AUDIO:
        if (!mask) {
            to[0] = 0x04; /* immediate */
            to[6] = 0x01; /* port 0: left; port 1: right */
            to[8] = 0x02;
        }
        to[AUDIO_VOLUMES - 2] = mask || !current ? 0xff : d->cd.audio[0];
        to[AUDIO_VOLUMES] = mask || !current ? 0xff : d->cd.audio[1];
        return 14;
    case PAGE_POWER: return 10;
    case PAGE_CAPABILITIES:
        if (mask)
            return 18;
        to[0] = 0x0b;                                     /* reads CD-R, CD-RW, DVD-ROM */
        to[2] = 0x70;                                     /* mode 2 forms 1 and 2, multi-session */
        to[4] = (u8)(0x29 | (d->cd.locked ? 1 << 1 : 0)); /* tray, eject, lock */
        put16(to + 6, SPEED_KB);
        put16(to + 8, 2); /* volume levels */
        put16(to + 10, IDE_BUFFER_BYTES / 1024);
        put16(to + 12, SPEED_KB);
        return 18;
    default: return 0;
    }
}

static u32 put_page(const struct ide_drive *d, u8 page, enum page_control control, u8 *to)
{
    u32 n = page_body(d, page, control, to + 2);
    if (!n)
        return 0;
    to[0] = page;
    to[1] = (u8)n;
    return n + 2;
}

static void mode_sense(struct ide_drive *d, const u8 *packet)
{
    enum { HEADER = 8, BYTES_MAX = 256, MEDIUM_TYPE = 2, DATA_DISC = 0x01, NO_DISC = 0x70 };
    enum { DOOR_IS_OPEN = 0x71 };
    static const u8 all[] = {PAGE_RECOVERY, PAGE_CD, PAGE_AUDIO, PAGE_POWER, PAGE_CAPABILITIES};
    u8 page = packet[2] & 0x3f;
    enum page_control control = packet[2] >> 6;
    if (control == VALUES_SAVED) {
        illegal(d, ASC_SAVING_UNSUPPORTED);
        return;
    }
    u8 *to = clear_buffer(d, BYTES_MAX);
    u32 n = HEADER;
    for (unsigned i = 0; page == PAGE_ALL && i < ARRAY_LEN(all); i++)
        n += put_page(d, all[i], control, to + n);
    if (page != PAGE_ALL)
        n += put_page(d, page, control, to + n);
    if (n == HEADER) {
        illegal(d, ASC_INVALID_FIELD);
        return;
    }
    put16(to, n - 2);
    to[MEDIUM_TYPE] = d->cd.tray_open ? DOOR_IS_OPEN : atapi_has_medium(d) ? DATA_DISC : NO_DISC;
    atapi_reply(d, n, get16(packet + 7));
}

static void mode_select(struct ide_drive *d, const u8 *packet)
{
    u32 n = get16(packet + 7);
    if (n > MODE_LIST_MAX)
        illegal(d, ASC_PARAMETER_LENGTH);
    else
        atapi_ask(d, n);
}

/* Takes one page of a parameter list; false: there is no such page, or it cannot be changed. */
static bool take_page(struct ide_drive *d, const u8 *at, u32 bytes)
{
    switch (at[0] & 0x3f) {
    case PAGE_RECOVERY:
        if (bytes != 2 + sizeof d->cd.recovery)
            return false;
        memcpy(d->cd.recovery, at + 2, sizeof d->cd.recovery);
        return true;
    case PAGE_AUDIO:
        if (bytes != 2 + 14)
            return false;
        d->cd.audio[0] = at[AUDIO_VOLUMES];
        d->cd.audio[1] = at[AUDIO_VOLUMES + 2];
        return true;
    case PAGE_CD: return bytes == 2 + 6;
    case PAGE_POWER: return bytes == 2 + 10;
    default: return false;
    }
}

void atapi_parameters_given(struct ide_drive *d)
{
    enum { HEADER = 8, DESCRIPTORS = 6 };
    const u8 *list = d->buffer;
    u32 end = d->data_filled;
    u32 at = end < HEADER ? end : HEADER + (u32)get16(list + DESCRIPTORS);
    while (at + 2 <= end) {
        u32 bytes = 2u + list[at + 1];
        if (bytes > end - at || !take_page(d, list + at, bytes)) {
            illegal(d, ASC_INVALID_PARAMETER);
            return;
        }
        at += bytes;
    }
    if (at == end)
        atapi_complete(d);
    else
        illegal(d, ASC_PARAMETER_LENGTH);
}

/* ---- the table ---- */

// clang-format off
static const struct packet_command packet_commands[256] = {
    [0x00] = {test_unit_ready,   NEEDS_MEDIUM},
    [0x03] = {request_sense,     KEEPS_ATTENTION},
    [0x12] = {inquiry,           KEEPS_ATTENTION},
    [0x1b] = {start_stop,        0},
    [0x1e] = {prevent_removal,   0},
    [0x25] = {read_capacity,     NEEDS_MEDIUM},
    [0x28] = {read_10,           NEEDS_MEDIUM},
    [0x2b] = {seek,              NEEDS_MEDIUM},
    [0x35] = {test_unit_ready,   0}, /* SYNCHRONIZE CACHE: nothing is ever written */
    [0x42] = {read_subchannel,   NEEDS_MEDIUM},
    [0x43] = {read_toc,          NEEDS_MEDIUM},
    [0x46] = {get_configuration, KEEPS_ATTENTION},
    [0x4a] = {event_status,      KEEPS_ATTENTION},
    [0x51] = {disc_information,  NEEDS_MEDIUM},
    [0x52] = {track_information, NEEDS_MEDIUM},
    [0x55] = {mode_select,       0},
    [0x5a] = {mode_sense,        0},
    [0xa8] = {read_12,           NEEDS_MEDIUM},
    [0xad] = {dvd_structure,     NEEDS_MEDIUM},
    [0xb9] = {read_cd_msf,       NEEDS_MEDIUM},
    [0xbb] = {set_speed,         0},
    [0xbd] = {mechanism_status,  0},
    [0xbe] = {read_cd,           NEEDS_MEDIUM},
};
// clang-format on

#define REQUEST_SENSE 0x03

void atapi_execute(struct ide_drive *d)
{
    const u8 *packet = d->cd.packet;
    const struct packet_command *c = &packet_commands[packet[0]];
    if (!c->run) {
        illegal(d, ASC_INVALID_COMMAND);
        return;
    }
    if (d->cd.attention && !(c->flags & KEEPS_ATTENTION)) {
        d->cd.attention = false;
        atapi_check(d, SENSE_UNIT_ATTENTION, (u16)(d->cd.attention_asc << 8));
        return;
    }
    if ((c->flags & NEEDS_MEDIUM) && !atapi_has_medium(d)) {
        atapi_check(d, SENSE_NOT_READY,
                    d->cd.tray_open ? ASC_NO_MEDIUM_TRAY_OPEN : ASC_NO_MEDIUM_TRAY_CLOSED);
        return;
    }
    if (packet[0] != REQUEST_SENSE)
        d->cd.sense_key = d->cd.asc = d->cd.ascq = 0;
    c->run(d, packet);
}

/* ---- IDENTIFY PACKET DEVICE ---- */

void atapi_identify_data(const struct ide_drive *d, u8 *to)
{
    /* Word, value. General: ATAPI, CD-ROM, removable, DRQ within 50 us, packets of 12 bytes. */
    static const u16 words[][2] = {
        {0, 0x85c0},  {49, 0x0f00}, {53, 0x0006}, {64, 0x0003}, {65, 120},    {66, 120},
        {67, 120},    {68, 120},    {71, 30},     {72, 30},     {80, 0x0070}, {82, 0x0218},
        {83, 0x4000}, {84, 0x4000}, {85, 0x0218}, {87, 0x4000}, {93, 0x6001},
    };
    memset(to, 0, SECTOR_BYTES);
    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        store16(to + 2 * words[i][0], words[i][1]);
    store16(to + 2 * 63, ide_mode_word(d, IDE_MULTIWORD_MODES, MODE_MULTIWORD));
    store16(to + 2 * 88, ide_mode_word(d, IDE_ULTRA_MODES, MODE_ULTRA));
    ide_put_string(to + 2 * 10, d->serial, IDE_SERIAL_CHARS);
    ide_put_string(to + 2 * 23, "1.0", 8);
    ide_put_string(to + 2 * 27, "ANELLO DVD-ROM", 40);
}
