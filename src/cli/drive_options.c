/* SPDX-License-Identifier: MIT
 *
 * Disks on the command line: -hda and its like, -drive, and -device for drives that were given with
 * if=none. A drive's place follows from its kind and index; without an index it is the first free
 * one of its kind.
 */
#include <stdlib.h>

#include "cli/option.h"

static const struct {
    const char *name;
    unsigned first, count; /* places */
} kinds[] = {
    {"ide", PLACE_IDE, MAX_DRIVES},
    {"virtio", PLACE_CARD, MAX_CARD_DRIVES},
    {"floppy", PLACE_FLOPPY, MAX_FLOPPIES},
    {"none", PLACE_CARD, MAX_CARD_DRIVES}, /* until a -device takes them */
};
enum { KIND_IDE = 0, KIND_FLOPPY = 2, KIND_NONE = 3 };

static bool set_disk(struct ctx *ctx, unsigned place, const char *path, bool cd)
{
    struct drive_config *d = &ctx->config->drives[place];
    d->present = true;
    d->is_cd = cd;
    d->is_floppy = place >= PLACE_FLOPPY;
    option_set_path(ctx, &d->path, path);
    return true;
}

bool option_hda(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_IDE, v, false);
}
bool option_hdb(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_IDE + 1, v, false);
}
bool option_hdc(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_IDE + 2, v, false);
}
bool option_hdd(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_IDE + 3, v, false);
}
bool option_cdrom(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_IDE + 2, v, true);
}
bool option_fda(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_FLOPPY, v, false);
}
bool option_fdb(struct ctx *ctx, const char *v)
{
    return set_disk(ctx, PLACE_FLOPPY + 1, v, false);
}

/* CDs go to hdc if it is free. */
static int free_place(const struct machine_config *c, unsigned kind, bool cd)
{
    if (cd && kind == KIND_IDE && !c->drives[PLACE_IDE + 2].present)
        return PLACE_IDE + 2;
    for (unsigned i = 0; i < kinds[kind].count; i++) {
        if (!c->drives[kinds[kind].first + i].present)
            return (int)(kinds[kind].first + i);
    }
    return -1;
}

static bool parse_index(const char *text, long *index)
{
    char *end;
    *index = strtol(text, &end, 10);
    return end != text && !*end && *index >= 0;
}

static bool set_kind(struct ctx *ctx, const char *value, unsigned *kind)
{
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!strcmp(kinds[i].name, value)) {
            *kind = i;
            return true;
        }
    }
    return option_refuse(
        ctx, "drives of kind if=%s are not available: ide, virtio, floppy and none are", value);
}

static bool drive_property(struct ctx *ctx, struct drive_config *d, unsigned *kind, long *index,
                           const char *key, const char *value)
{
    if (!strcmp(key, "file") && value) {
        option_set_path(ctx, &d->path, value);
    } else if (!strcmp(key, "format") && value) {
        config_set(&d->format, value);
    } else if (!strcmp(key, "media") && value) {
        if (strcmp(value, "disk") && strcmp(value, "cdrom"))
            return option_refuse(ctx, "drive media is disk or cdrom, not '%s'", value);
        d->is_cd = !strcmp(value, "cdrom");
    } else if (!strcmp(key, "cache") && value) {
        config_set(&d->cache, value);
    } else if (!strcmp(key, "index") && value) {
        return parse_index(value, index) ||
               option_refuse(ctx, "drive index must be a number, not '%s'", value);
    } else if (!strcmp(key, "if") && value) {
        return set_kind(ctx, value, kind);
    } else if (!strcmp(key, "id") && value) {
        config_set(&d->id, value);
    } else if (!strcmp(key, "snapshot")) {
        d->snapshot = option_is_on(value);
    } else if (!strcmp(key, "readonly") || !strcmp(key, "read-only")) {
        d->read_only = option_is_on(value);
    } else if (strcmp(key, "aio")) {
        return option_refuse(ctx,
                             "unknown drive property '%s': file, format, media, index, if, id, "
                             "cache, snapshot and readonly are known",
                             key);
    }
    return true;
}

/* The place for a drive; -1 with the reason written. */
static int find_place(struct ctx *ctx, const struct drive_config *d, unsigned kind, long index)
{
    if (d->is_cd && kind != KIND_IDE && kind != KIND_NONE) {
        option_refuse(ctx, "CDs are IDE or SATA drives: leave if=%s away", kinds[kind].name);
        return -1;
    }
    if (!d->path && !d->is_cd && kind != KIND_FLOPPY) {
        option_refuse(ctx, "-drive needs file=PATH");
        return -1;
    }
    if (index >= (long)kinds[kind].count) {
        option_refuse(ctx, "drive index for if=%s must be 0 to %u", kinds[kind].name,
                      kinds[kind].count - 1);
        return -1;
    }
    int place = index < 0 ? free_place(ctx->config, kind, d->is_cd)
                          : (int)(kinds[kind].first + (unsigned)index);
    if (place < 0)
        option_refuse(ctx, "all %u places for drives of if=%s are taken", kinds[kind].count,
                      kinds[kind].name);
    return place;
}

bool option_drive(struct ctx *ctx, const char *v)
{
    struct drive_config d = {.present = true};
    unsigned kind = KIND_IDE;
    long index = -1;
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = true;
    while (ok && option_next_pair(&cursor, &key, &value))
        ok = drive_property(ctx, &d, &kind, &index, key, value);
    free(copy);
    int place = ok ? find_place(ctx, &d, kind, index) : -1;
    if (place < 0) {
        config_free_drive(&d);
        return false;
    }
    d.is_floppy = kind == KIND_FLOPPY;
    d.needs_device = kind == KIND_NONE;
    config_free_drive(&ctx->config->drives[place]);
    ctx->config->drives[place] = d;
    return true;
}

/* bus=ID.PORT of an AHCI controller; that of a board is "ide" */
static bool parse_port(struct ctx *ctx, const char *value, int *port)
{
    const char *id = ctx->config->ahci_id ? ctx->config->ahci_id : "ide";
    size_t n = strlen(id);
    long number;
    if (strncmp(value, id, n) || value[n] != '.' || !parse_index(value + n + 1, &number) ||
        number >= MAX_SATA_PORTS)
        return option_refuse(ctx,
                             "there is no bus '%s': an AHCI controller's are ID.0 to ID.%d, behind "
                             "its -device ahci,id=ID (ide on the q35 board)",
                             value, MAX_SATA_PORTS - 1);
    *port = (int)number;
    return true;
}

/* -device virtio-blk-pci|ide-hd|ide-cd,drive=ID */
static bool disk_device(struct ctx *ctx, const char *name, struct disk_config disk, char *cursor)
{
    struct machine_config *c = ctx->config;
    char *key, *value, *drive = NULL;
    disk.port = ANY_PORT;
    while (option_next_pair(&cursor, &key, &value)) {
        if (!strcmp(key, "drive") && value) {
            drive = value;
        } else if (disk.model == DISK_SATA && !strcmp(key, "bus") && value) {
            if (!parse_port(ctx, value, &disk.port))
                return false;
        } else if (strcmp(key, "id")) {
            return option_refuse(ctx, "%s has no property '%s': drive%s and id are known", name,
                                 key, disk.model == DISK_SATA ? ", bus" : "");
        }
    }
    if (!drive)
        return option_refuse(ctx, "%s needs drive=ID, of a -drive if=none,id=ID,file=…", name);
    if (c->disk_count == MAX_CARD_DRIVES)
        return option_refuse(ctx, "at most %d disks by -device", MAX_CARD_DRIVES);
    config_set(&disk.drive, drive);
    c->disks[c->disk_count++] = disk;
    return true;
}

static bool controller(struct ctx *ctx, const char *name, char *cursor)
{
    char *key, *value;
    if (ctx->config->ahci)
        return option_refuse(ctx, "one AHCI controller is there already");
    ctx->config->ahci = true;
    while (option_next_pair(&cursor, &key, &value)) {
        if (strcmp(key, "id") || !value)
            return option_refuse(ctx, "%s has no property '%s': id is known", name, key);
        config_set(&ctx->config->ahci_id, value);
    }
    return true;
}

static const struct {
    const char *name;
    struct disk_config disk;
} disk_devices[] = {
    {"virtio-blk-pci", {.model = DISK_VIRTIO}},
    {"virtio-blk", {.model = DISK_VIRTIO}},
    {"ide-hd", {.model = DISK_SATA}},
    {"ide-cd", {.model = DISK_SATA, .is_cd = true}},
};

bool option_is_disk_device(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(disk_devices); i++) {
        if (!strcmp(disk_devices[i].name, name))
            return true;
    }
    return !strcmp(name, "ahci") || !strcmp(name, "ich9-ahci");
}

bool option_disk_device(struct ctx *ctx, const char *name, char *cursor)
{
    for (size_t i = 0; i < ARRAY_LEN(disk_devices); i++) {
        if (!strcmp(disk_devices[i].name, name))
            return disk_device(ctx, name, disk_devices[i].disk, cursor);
    }
    return controller(ctx, name, cursor);
}
