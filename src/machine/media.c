/* SPDX-License-Identifier: MIT
 *
 * Drives by name, and their media: what a person does at the front of the machine.
 */
#include <stdio.h>

#include "machine/internal.h"

/* As people who know QEMU expect them. */
void machine_drive_name(const struct machine *m, unsigned place, char *name, size_t n)
{
    const struct drive_config *d = &m->config->drives[place];
    if (d->id)
        snprintf(name, n, "%s", d->id);
    else if (place >= PLACE_FLOPPY)
        snprintf(name, n, "floppy%u", place - PLACE_FLOPPY);
    else if (place >= PLACE_CARD)
        snprintf(name, n, "virtio%u", place - PLACE_CARD);
    else
        m->board->drive_name(place - PLACE_IDE, d->is_cd ? "cd" : "hd", name, n);
}

static unsigned find_place(const struct machine *m, const char *name)
{
    char candidate[64];
    for (unsigned place = 0; place < MAX_PLACES; place++) {
        machine_drive_name(m, place, candidate, sizeof candidate);
        if (m->drives[place] && !strcmp(candidate, name))
            return place;
    }
    return MAX_PLACES;
}

/* Opens the tray of a CD drive; a floppy drive has a lever that no guest can hold. */
static bool open_drive_door(struct machine *m, unsigned place, bool force)
{
    if (place >= PLACE_FLOPPY)
        return true;
    const struct cd_drive *cd = &m->cds[place];
    return !cd->eject || cd->eject(cd, force);
}

static void medium_changed(struct machine *m, unsigned place)
{
    const struct cd_drive *cd = &m->cds[place];
    if (place >= PLACE_FLOPPY)
        i82077_medium_changed(m->floppy, place - PLACE_FLOPPY);
    else if (cd->changed)
        cd->changed(cd);
}

bool machine_change_medium(struct machine *m, const char *name, const char *path, bool force,
                           char *error, size_t n)
{
    unsigned place = find_place(m, name);
    if (place == MAX_PLACES) {
        snprintf(error, n, "there is no drive '%s': info block lists them", name);
        return false;
    }
    const struct drive_config *d = &m->config->drives[place];
    if (!d->is_cd && !d->is_floppy) {
        snprintf(error, n, "the medium of '%s' cannot be changed: it is a disk", name);
        return false;
    }
    if (!open_drive_door(m, place, force)) {
        snprintf(error, n, "the guest holds the tray of '%s' closed and was told of your wish",
                 name);
        return false;
    }
    if (block_change(m->drives[place], path, error, n) < 0)
        return false;
    medium_changed(m, place);
    return true;
}
