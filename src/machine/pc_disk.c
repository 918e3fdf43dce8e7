/* SPDX-License-Identifier: MIT
 *
 * Disks on every board: AHCI ports, virtio disks, floppy drives, and the images behind them.
 */
#include <assert.h>
#include <stdio.h>

#include "devices/virtio_blk.h"
#include "machine/internal.h"

#define IRQ_FLOPPY     6
#define FLOPPY_CHANNEL 2

static bool parse_cache(const char *name, struct block_options *o)
{
    static const struct {
        const char *name;
        int cache;
    } modes[] = {{"writeback", CACHE_WRITEBACK},
                 {"writethrough", CACHE_WRITETHROUGH},
                 {"none", CACHE_NONE},
                 {"unsafe", CACHE_UNSAFE}};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (!name || !strcmp(name, modes[i].name)) {
            memcpy(&o->cache, &modes[i].cache, sizeof modes[i].cache);
            return true;
        }
    }
    return false;
}

/* Better a machine that waits than a guest that was told of a write error it cannot help. */
static void host_disk_full(void *opaque, struct block *block)
{
    log_warn("%s: no space left on the host's disk: the machine is paused; make room, then 'cont' "
             "in the monitor goes on",
             block_path(block) ? block_path(block) : "disk");
    machine_pause(opaque);
}

bool pc_open_drive(struct machine *m, unsigned place, char *error, size_t n)
{
    const struct drive_config *d = &m->config->drives[place];
    struct block_options o = {.format = d->format,
                              .read_only = d->read_only || d->is_cd,
                              .snapshot = (d->snapshot || m->config->snapshot) && !d->is_cd,
                              .removable = d->is_cd || d->is_floppy};
    if (!parse_cache(d->cache, &o)) {
        snprintf(error, n, "unknown cache mode '%s': use writeback, writethrough, none or unsafe",
                 d->cache);
        return false;
    }
    m->drives[place] = block_open(d->path, &o, m->loop, error, n);
    if (m->drives[place])
        block_on_full(m->drives[place], host_disk_full, m);
    return m->drives[place] != NULL;
}

/* ---- drives of cards ---- */

/* The drive that a -device names, as a place; MAX_PLACES where there is none. */
static unsigned named_drive(const struct machine_config *c, const struct disk_config *disk)
{
    for (unsigned i = PLACE_CARD; i < PLACE_CARD + MAX_CARD_DRIVES; i++) {
        const struct drive_config *d = &c->drives[i];
        if (d->needs_device && d->id && !strcmp(d->id, disk->drive))
            return i;
    }
    return MAX_PLACES;
}

/* That of a -device; it must be there, and be what the device takes. */
static bool open_named(struct machine *m, const struct disk_config *disk, unsigned *place,
                       char *error, size_t n)
{
    *place = named_drive(m->config, disk);
    if (*place == MAX_PLACES) {
        snprintf(error, n, "there is no drive '%s': add -drive if=none,id=%s,file=…", disk->drive,
                 disk->drive);
        return false;
    }
    if (m->drives[*place]) {
        snprintf(error, n, "drive '%s' has a device already", disk->drive);
        return false;
    }
    if (m->config->drives[*place].is_cd != disk->is_cd) {
        snprintf(error, n, "drive '%s' is %s: use -device %s", disk->drive,
                 disk->is_cd ? "a disk" : "a CD",
                 disk->is_cd ? "ide-hd, or -drive media=cdrom" : "ide-cd");
        return false;
    }
    return pc_open_drive(m, *place, error, n);
}

static bool build_virtio_disk(struct machine *m, unsigned place, char *error, size_t n)
{
    char serial[16];
    snprintf(serial, sizeof serial, "ANV%05u", place - PLACE_CARD + 1);
    struct virtio_blk_config config = {.bus = m->pci,
                                       .devfn = PCI_DEVFN(m->next_slot++, 0),
                                       .log = m->log,
                                       .block = m->drives[place],
                                       .serial = serial};
    struct virtio_blk *disk = virtio_blk_create(&config);
    if (disk)
        machine_add_device(m, virtio_blk_device(disk));
    else
        snprintf(error, n, "cannot create a virtio disk");
    return disk != NULL;
}

/* ---- AHCI ---- */

static_assert(MAX_SATA_PORTS == AHCI_PORTS, "the command line counts ports");

bool pc_build_ahci(struct machine *m, u8 devfn, char *error, size_t n)
{
    struct ahci_config config = {.bus = m->pci, .devfn = devfn, .clock = m->clock, .log = m->log};
    m->ahci = ahci_create(&config);
    if (m->ahci)
        machine_add_device(m, ahci_device(m->ahci));
    else
        snprintf(error, n, "cannot create the AHCI controller");
    return m->ahci != NULL;
}

static bool sata_eject(const struct cd_drive *cd, bool force)
{
    return ahci_eject(cd->controller, cd->where, force);
}

static void sata_changed(const struct cd_drive *cd)
{
    ahci_medium_changed(cd->controller, cd->where);
}

void pc_attach_sata(struct machine *m, unsigned port, unsigned place)
{
    m->sata_used |= 1u << port;
    if (m->config->drives[place].is_cd) {
        ahci_attach_cdrom(m->ahci, port, m->drives[place]);
        m->cds[place] = (struct cd_drive){m->ahci, port, sata_eject, sata_changed};
    } else {
        ahci_attach_disk(m->ahci, port, m->drives[place]);
    }
}

static bool attach_sata(struct machine *m, const struct disk_config *disk, unsigned place,
                        char *error, size_t n)
{
    if (!m->ahci) {
        snprintf(error, n, "%s needs a controller: add -device ahci, or use -machine q35",
                 disk->is_cd ? "ide-cd" : "ide-hd");
        return false;
    }
    unsigned port = 0;
    while (disk->port == ANY_PORT && port < AHCI_PORTS && (m->sata_used >> port & 1))
        port++;
    if (disk->port != ANY_PORT)
        port = (unsigned)disk->port;
    if (port >= AHCI_PORTS || (m->sata_used >> port & 1)) {
        snprintf(error, n, "the AHCI controller has no free port for drive '%s'", disk->drive);
        return false;
    }
    pc_attach_sata(m, port, place);
    return true;
}

/* -device, in its order, then the drives of if=virtio. */
static bool build_cards(struct machine *m, char *error, size_t n)
{
    if (m->config->ahci && !pc_build_ahci(m, PCI_DEVFN(m->next_slot++, 0), error, n))
        return false;
    for (unsigned i = 0; i < m->config->disk_count; i++) {
        const struct disk_config *disk = &m->config->disks[i];
        unsigned place;
        if (!open_named(m, disk, &place, error, n) ||
            !(disk->model == DISK_SATA ? attach_sata(m, disk, place, error, n)
                                       : build_virtio_disk(m, place, error, n)))
            return false;
    }
    for (unsigned i = PLACE_CARD; i < PLACE_CARD + MAX_CARD_DRIVES; i++) {
        const struct drive_config *d = &m->config->drives[i];
        if (d->present && !d->needs_device &&
            !(pc_open_drive(m, i, error, n) && build_virtio_disk(m, i, error, n)))
            return false;
    }
    return true;
}

/* ---- floppies ---- */

static bool has_floppy(const struct machine_config *c)
{
    bool any = false;
    for (unsigned i = 0; i < MAX_FLOPPIES; i++)
        any |= c->drives[PLACE_FLOPPY + i].present;
    return any;
}

static bool build_floppy(struct machine *m, char *error, size_t n)
{
    if (!m->board->floppy_always && !has_floppy(m->config))
        return true;
    struct i82077_config config = {.ports = m->ports,
                                   .irq = m->isa[IRQ_FLOPPY],
                                   .dma = m->dma,
                                   .dma_channel = FLOPPY_CHANNEL,
                                   .clock = m->clock,
                                   .log = m->log};
    m->floppy = i82077_create(&config);
    machine_add_device(m, i82077_device(m->floppy));
    for (unsigned i = 0; i < MAX_FLOPPIES; i++) {
        if (!m->config->drives[PLACE_FLOPPY + i].present)
            continue;
        if (!pc_open_drive(m, PLACE_FLOPPY + i, error, n))
            return false;
        struct block *image = m->drives[PLACE_FLOPPY + i];
        i82077_attach(m->floppy, i, image);
        if (block_size(image) && !i82077_medium_is_known(m->floppy, i)) {
            snprintf(error, n, "'%s' is no floppy: it is larger than 2949120 bytes",
                     block_path(image));
            return false;
        }
    }
    return true;
}

bool pc_build_disks(struct machine *m, char *error, size_t n)
{
    return m->board->build_disks(m, error, n) && build_cards(m, error, n) &&
           build_floppy(m, error, n);
}
