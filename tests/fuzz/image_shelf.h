/* SPDX-License-Identifier: MIT
 *
 * A shelf of four image files in a folder of the host, and what a guest would see in each: the
 * model of fuzz_cli_image.c.
 *
 * A view is what an image must show. It is known after a command that says what comes out, and it
 * can be looked up again while the image opens. An image is intact when commands alone have written
 * it and all below it, and nothing has taken the place of what it was laid upon: an intact image
 * must show its view, and nothing may be wrong in it.
 */
#ifndef ANELLO_TESTS_FUZZ_IMAGE_SHELF_H
#define ANELLO_TESTS_FUZZ_IMAGE_SHELF_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/format.h"

#define SECTOR_BYTES    512
#define SHELF_SLOTS     4
#define SHELF_NONE      SHELF_SLOTS
#define SHELF_SNAPSHOTS 2
#define SHELF_PATH      64
#define VIEW_MAX        MIB(3)  /* larger ones are not known */
#define WORK_MAX        MIB(64) /* nothing is done with larger ones */

struct view {
    bool known;
    u64 size;
    u8 bytes[VIEW_MAX];
};

struct slot {
    char path[SHELF_PATH];
    const char *name;   /* without its folder */
    const char *format; /* NULL: there is no file */
    bool damaged;
    unsigned below; /* a slot; SHELF_NONE: nothing */
    struct view now, snapshots[SHELF_SNAPSHOTS];
};

struct shelf {
    char folder[SHELF_PATH / 2];
    struct slot slots[SHELF_SLOTS];
    struct view work;
    const char *doing; /* told when something is wrong */
};

/* ---- views ---- */

static inline void view_copy(struct view *to, const struct view *from)
{
    to->known = from->known;
    to->size = from->size;
    if (from->known)
        memcpy(to->bytes, from->bytes, from->size);
}

/* Cut off, or with zeros at its end. */
static inline void view_resize(struct view *v, u64 size)
{
    v->known = v->known && size <= VIEW_MAX;
    if (v->known && size > v->size)
        memset(v->bytes + v->size, 0, size - v->size);
    v->size = size;
}

static inline void view_of_zeros(struct view *v, u64 size)
{
    v->known = true;
    v->size = 0;
    view_resize(v, size);
}

/* ---- slots ---- */

static inline bool lies_on(const struct shelf *s, const struct slot *upper,
                           const struct slot *lower)
{
    for (unsigned i = 0; i < SHELF_SLOTS && upper->below != SHELF_NONE; i++) {
        upper = &s->slots[upper->below];
        if (upper == lower)
            return true;
    }
    return false;
}

static inline bool is_intact(const struct shelf *s, const struct slot *slot)
{
    for (unsigned i = 0; i < SHELF_SLOTS; i++) {
        if (!slot->format || slot->damaged)
            return false;
        if (slot->below == SHELF_NONE)
            return true;
        slot = &s->slots[slot->below];
    }
    return false; /* a loop */
}

static inline void forget_snapshots(struct slot *slot)
{
    for (unsigned i = 0; i < SHELF_SNAPSHOTS; i++)
        slot->snapshots[i].known = false;
}

static inline struct image *slot_open_or_say(const struct slot *slot, bool writable, bool alone,
                                             char *error, size_t n)
{
    struct image_options o = {.format = slot->format, .read_only = !writable, .no_backing = alone};
    error[0] = '\0';
    return slot->format ? image_open(slot->path, &o, error, n) : NULL;
}

static inline struct image *slot_open(const struct slot *slot, bool writable, bool alone)
{
    char error[512];
    return slot_open_or_say(slot, writable, alone, error, sizeof error);
}

/* A VMDK names the state of the VMDK that it was laid upon, and refuses any other. Refused for
 * another reason it is at fault. */
static inline bool is_refused(const struct shelf *s, const struct slot *upper,
                              const struct slot *lower)
{
    char error[512];
    if (upper->below == SHELF_NONE || &s->slots[upper->below] != lower || !upper->format ||
        !lower->format || strcmp(upper->format, "vmdk") || strcmp(lower->format, "vmdk"))
        return false;
    struct image *image = slot_open_or_say(upper, false, false, error, sizeof error);
    image_close(image);
    return !image && strstr(error, "its parent has been changed");
}

/* Other bytes are in `slot`: what lies on it shows them where it has none itself. */
static inline void shelf_changed(struct shelf *s, const struct slot *slot, bool replaced)
{
    for (unsigned i = 0; i < SHELF_SLOTS; i++) {
        struct slot *other = &s->slots[i];
        if (!lies_on(s, other, slot) && !other->damaged)
            continue;
        other->now.known = false;
        other->damaged |= replaced || is_refused(s, other, slot);
        forget_snapshots(other);
    }
}

/* Its bytes are nobody's any more; a command that follows what a damaged header says may have
 * written anywhere. */
static inline void shelf_damage(struct shelf *s, struct slot *slot)
{
    shelf_changed(s, slot, false);
    slot->damaged = true;
    slot->now.known = false;
    forget_snapshots(slot);
}

static inline void shelf_damage_all(struct shelf *s)
{
    for (unsigned i = 0; i < SHELF_SLOTS; i++)
        shelf_damage(s, &s->slots[i]);
}

static inline void shelf_remove(struct shelf *s, struct slot *slot)
{
    unlink(slot->path);
    shelf_changed(s, slot, true);
    slot->format = NULL;
    slot->now.known = false;
}

/* A new image is there. */
static inline void shelf_put(struct shelf *s, struct slot *slot, const char *format, unsigned below)
{
    shelf_changed(s, slot, true);
    slot->format = format;
    slot->damaged = false;
    slot->below = below;
    forget_snapshots(slot);
}

/* ---- looking ---- */

static inline void slot_look(const struct slot *slot, struct view *v)
{
    struct image *image = slot_open(slot, false, false);
    v->known = image && image->size <= VIEW_MAX && !image_read(image, 0, v->bytes, image->size);
    v->size = image ? image->size : 0;
    image_close(image);
}

/* False when there is nothing to work on. What an image shows that is not intact may change at any
 * time. */
static inline bool slot_refresh(const struct shelf *s, struct slot *slot)
{
    bool intact = is_intact(s, slot);
    if (slot->format && (!slot->now.known || !intact))
        slot_look(slot, &slot->now);
    return slot->format && (intact || slot->now.size <= WORK_MAX);
}

static inline void shelf_demand(const struct shelf *s, const struct slot *slot, bool good,
                                const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s (%s): after %s %s\n", slot->path, slot->format, s->doing, what);
    abort();
}

static inline void demand_same(const struct shelf *s, const struct slot *slot, const struct view *v)
{
    u64 at = 0;
    shelf_demand(s, slot, v->known, "it does not open");
    shelf_demand(s, slot, v->size == slot->now.size, "it has another size");
    if (!memcmp(v->bytes, slot->now.bytes, v->size))
        return;
    while (v->bytes[at] == slot->now.bytes[at])
        at++;
    fprintf(stderr, "at %#llx of %#llx: %02x, and %02x was expected\n", (unsigned long long)at,
            (unsigned long long)v->size, v->bytes[at], slot->now.bytes[at]);
    shelf_demand(s, slot, false, "it shows something else");
}

/* Opened for writing, which is when repairs that can wait are made. */
static inline void demand_sound(const struct shelf *s, const struct slot *slot)
{
    struct image_check check = {0};
    struct image *image = slot_open(slot, true, true);
    if (!image && !strcmp(slot->format, "vmdk")) /* perhaps a stream, which is written once */
        image = slot_open(slot, false, true);
    shelf_demand(s, slot, image, "it cannot be opened for writing");
    int error = image->format->check ? image->format->check(image, 0, &check) : 0;
    image_close(image);
    shelf_demand(s, slot, !error && !check.errors && !check.leaks, "check finds something");
}

/* What every step ends with, for the slots that it touched. */
static inline void shelf_verify(struct shelf *s, struct slot *slot)
{
    if (!is_intact(s, slot) || slot->now.size > VIEW_MAX)
        return;
    if (slot->now.known) {
        slot_look(slot, &s->work);
        demand_same(s, slot, &s->work);
    }
    demand_sound(s, slot);
}

/* ---- the folder ---- */

static inline void shelf_empty(struct shelf *s)
{
    char path[SHELF_PATH + 256];
    DIR *folder = opendir(s->folder);
    if (!folder)
        abort();
    for (const struct dirent *e; (e = readdir(folder));) {
        snprintf(path, sizeof path, "%s/%s", s->folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(folder);
    for (unsigned i = 0; i < SHELF_SLOTS; i++) {
        struct slot *slot = &s->slots[i];
        slot->format = NULL;
        slot->damaged = slot->now.known = false;
        slot->below = SHELF_NONE;
        forget_snapshots(slot);
    }
}

/* In memory where the host has that. */
static inline void shelf_make(struct shelf *s)
{
    static const char *const names[SHELF_SLOTS] = {"a", "b", "c", "d"};
    if (!mkdtemp(strcpy(s->folder, "/dev/shm/anello-fuzz-XXXXXX")) &&
        !mkdtemp(strcpy(s->folder, "/tmp/anello-fuzz-XXXXXX")))
        abort();
    for (unsigned i = 0; i < SHELF_SLOTS; i++) {
        s->slots[i].name = names[i];
        snprintf(s->slots[i].path, SHELF_PATH, "%s/%s", s->folder, names[i]);
    }
}

#endif
