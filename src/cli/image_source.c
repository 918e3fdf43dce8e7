/* SPDX-License-Identifier: MIT
 *
 * What `anello image convert` reads: one image or several, one after the other; an image's internal
 * snapshot; what is left of one whose file cannot be read everywhere.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/image.h"

#define SECTOR_BYTES 512

/* ---- opening ---- */

/* The name of "-l NAME", or the value of "-l snapshot.name=NAME" and "-l snapshot.id=ID". */
static const char *snapshot_name(const char *text)
{
    static const char *const keys[] = {"snapshot.name=", "snapshot.id="};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!strncmp(text, keys[i], strlen(keys[i])))
            return text + strlen(keys[i]);
    }
    return text;
}

static bool show_snapshot(struct image *image, const char *name)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    if (!image->format->snapshot_show)
        image_fail("%s: a %s image cannot hold snapshots", image->path, image->format->name);
    else if (image->format->snapshot_show(image, snapshot_name(name), error, sizeof error))
        image_fail("%s: %s", image->path, error);
    else
        return true;
    return false;
}

bool image_source_open(struct image_source *s, const struct image_arguments *a)
{
    unsigned flags, count = (unsigned)a->count - 1;
    *s = (struct image_source){.a = a, .images = calloc(count, sizeof(*s->images))};
    if (!s->images || !image_cache_flags(a->source_cache, &flags))
        return false;
    for (; s->count < count; s->count++) {
        struct image_options o = {.read_only = true, .file_flags = flags};
        struct image *image = image_open_name(a, a->names[s->count], &o);
        s->images[s->count] = image;
        if (!image || (a->snapshot && !show_snapshot(image, a->snapshot)))
            return false;
        if (image->size > (u64)INT64_MAX - s->size) {
            image_fail("%s: is too large behind the others", image->path);
            return false;
        }
        s->size += image->size;
    }
    return true;
}

void image_source_close(struct image_source *s)
{
    for (unsigned i = 0; s->images && i < (unsigned)s->a->count - 1; i++)
        image_close(s->images[i]);
    free(s->images);
    s->images = NULL;
}

/* ---- reading ---- */

/* The image that shows what lies at *at, which becomes the place within it. */
static struct image *find(const struct image_source *s, u64 *at)
{
    unsigned i = 0;
    while (i + 1 < s->count && *at >= s->images[i]->size)
        *at -= s->images[i++]->size;
    return s->images[i];
}

/* Sector by sector, so that no more is lost than cannot be had. */
static void salvage(struct image *image, u64 at, u8 *data, u64 bytes)
{
    u64 lost = 0, first = 0;
    for (u64 i = 0, n; i < bytes; i += n) {
        n = bytes - i < SECTOR_BYTES ? bytes - i : SECTOR_BYTES;
        if (!image_read(image, at + i, data + i, n))
            continue;
        memset(data + i, 0, n);
        first = lost ? first : at + i;
        lost += n;
    }
    if (lost)
        image_fail("%s: %" PRIu64 " bytes from %" PRIu64 " on cannot be read; they become zeros",
                   image->path, lost, first);
}

int image_source_read(const struct image_source *s, u64 at, u8 *data, u64 bytes)
{
    int error = 0;
    for (u64 n; bytes && !error; at += n, data += n, bytes -= n) {
        u64 within = at;
        struct image *image = find(s, &within);
        n = bytes < image->size - within ? bytes : image->size - within;
        error = image_read(image, within, data, n);
        if (error && s->a->salvage) {
            salvage(image, within, data, n);
            error = 0;
        }
    }
    return error;
}

int image_source_zeros(const struct image_source *s, u64 at, u64 bytes, u64 *zeros, u64 *stored)
{
    struct image *image = find(s, &at);
    u64 n = bytes < image->size - at ? bytes : image->size - at;
    int error = image_zeros(image, at, n, zeros, stored);
    if (!error || !s->a->salvage)
        return error;
    *zeros = 0;
    *stored = n;
    return 0;
}
