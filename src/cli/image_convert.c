/* SPDX-License-Identifier: MIT
 *
 * `anello image convert`: what a guest would see in one image, written to a new one of any format.
 * Runs of zeros are not written, and where the formats know of them they are not even read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/image.h"

#define PIECE_DEFAULT KIB(64) /* what is looked at for zeros */

bool image_all_zeros(const u8 *data, u64 bytes)
{
    return !data[0] && !memcmp(data, data + 1, bytes - 1);
}

int image_zeros(struct image *image, u64 at, u64 bytes, u64 *zeros, u64 *stored)
{
    struct image_extent e = {EXTENT_ZERO, bytes};
    u64 there = image && at < image->size ? image->size - at : 0;
    int error = there ? image_extent_through(image, at, there < bytes ? there : bytes, &e) : 0;
    *zeros = e.type == EXTENT_ZERO ? e.bytes : 0;
    *stored = e.type == EXTENT_ZERO ? 0 : e.bytes;
    return error;
}

/* ---- progress ---- */

/* For people: where nobody looks on there is none. */
static bool shown(const struct image_arguments *a)
{
    return a->progress && !a->quiet && isatty(STDOUT_FILENO);
}

void image_progress(const struct image_arguments *a, u64 done, u64 total)
{
    if (!shown(a))
        return;
    printf("    (%.2f/100%%)\r", total ? 100.0 * (double)done / (double)total : 100.0);
    fflush(stdout);
}

void image_progress_end(const struct image_arguments *a)
{
    if (shown(a))
        putchar('\n');
}

/* ---- copying ---- */

struct copy {
    const struct image_arguments *a;
    struct image *from, *to, *below; /* below: the new image's backing file; NULL without */
    bool compress;
    u64 piece;
    u64 stored_until; /* the source has stored what lies before this */
    u8 *data, *there;
};

/* Zeros need no writing to a new image without a backing file. */
static int write_piece(const struct copy *c, u64 at, u64 bytes)
{
    bool zeros = image_all_zeros(c->data, bytes);
    if (zeros && !c->below)
        return c->a->existing ? image_zero(c->to, at, bytes) : 0;
    if (c->compress && !zeros)
        return c->to->format->write_compressed(c->to, at, c->data, bytes);
    return image_write(c->to, at, c->data, bytes);
}

/* True when the backing file shows the same anyway. */
static int is_below(const struct copy *c, u64 at, u64 bytes, bool *same)
{
    struct image *below = c->below;
    u64 n = below && at < below->size ? below->size - at : 0;
    *same = false;
    if (!below)
        return 0;
    if (n > bytes)
        n = bytes;
    memset(c->there + n, 0, bytes - n);
    int error = n ? image_read(below, at, c->there, n) : 0;
    *same = !error && !memcmp(c->there, c->data, bytes);
    return error;
}

static int copy_piece(const struct copy *c, u64 at, u64 bytes)
{
    bool same = false;
    int error = image_read(c->from, at, c->data, bytes);
    if (!error)
        error = is_below(c, at, bytes, &same);
    return error || same ? error : write_piece(c, at, bytes);
}

/* Passes over zeros, in whole pieces: *bytes of them, perhaps none. */
static int skip_zeros(struct copy *c, u64 at, u64 *bytes)
{
    u64 left = c->from->size - at, zeros, stored, below;
    *bytes = 0;
    if (at < c->stored_until)
        return 0;
    int error = image_zeros(c->from, at, left, &zeros, &stored);
    c->stored_until = at + stored;
    if (!error && zeros && c->below) {
        error = image_zeros(c->below, at, zeros, &below, &stored);
        zeros = below;
    }
    if (zeros < left)
        zeros -= zeros % c->piece;
    if (!error && zeros && c->a->existing)
        error = image_zero(c->to, at, zeros);
    *bytes = zeros;
    return error;
}

static int copy_all(struct copy *c)
{
    struct image_info info = {0};
    u64 size = c->from->size;
    if (c->to->format->info)
        c->to->format->info(c->to, &info);
    c->compress = c->a->compress || info.compressed;
    c->piece = c->compress && info.cluster_bytes ? info.cluster_bytes
               : info.cluster_bytes > MIB(1)     ? info.cluster_bytes
                                                 : PIECE_DEFAULT;
    free(info.parts);
    c->data = malloc(2 * c->piece);
    if (!c->data)
        return -ENOMEM;
    c->there = c->data + c->piece;
    int error = 0;
    for (u64 at = 0, n; at < size && !error; at += n) {
        error = skip_zeros(c, at, &n);
        if (!error && !n) {
            n = size - at < c->piece ? size - at : c->piece;
            error = copy_piece(c, at, n);
        }
        image_progress(c->a, at + n, size);
    }
    free(c->data);
    image_progress_end(c->a);
    return error ? error : image_flush(c->to);
}

/* ---- the new image ---- */

static bool make_target(const struct image_arguments *a, const struct image_format *format,
                        u64 bytes)
{
    char error[IMAGE_MESSAGE_BYTES] = "", storage[IMAGE_OPTIONS_BYTES];
    struct image_create c = {.backing = a->backing, .backing_format = a->backing_format};
    if (!image_parse_options(a->options, &c, storage, sizeof storage))
        return false;
    c.bytes = bytes;
    if (!format->create(a->names[1], &c, error, sizeof error))
        return true;
    image_fail("%s", error);
    return false;
}

/* The image below the new one, opened by itself: what it shows need not be copied. */
static bool open_below(const struct image_arguments *a, struct copy *c)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    struct image_options o = {.format = a->backing_format, .read_only = true};
    if (!a->backing)
        return true;
    char *path = image_relative_path(a->names[1], a->backing);
    c->below = path ? image_open(path, &o, error, sizeof error) : NULL;
    free(path);
    if (!c->below)
        image_fail("%s", error);
    return c->below;
}

static int convert_to(const struct image_arguments *a, struct image *from,
                      const struct image_format *format)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    unsigned flags;
    struct copy c = {.a = a, .from = from};
    if (a->compress && !format->write_compressed)
        return image_fail("-c: a %s image cannot be compressed", format->name);
    if (!image_cache_flags(a->cache, &flags) || !open_below(a, &c))
        return 1;
    struct image_options o = {.format = format->name, .file_flags = flags, .filling = true};
    if (a->existing || make_target(a, format, from->size))
        c.to = image_open(a->names[1], &o, error, sizeof error);
    int failed = 1;
    if (!c.to && *error)
        image_fail("%s", error);
    else if (c.to && c.to->size < from->size)
        image_fail("%s: is too small for %s", a->names[1], a->names[0]);
    else if (c.to && (failed = copy_all(&c)))
        failed = image_fail("%s: %s", a->names[1], strerror(-failed));
    image_close(c.to);
    image_close(c.below);
    return failed;
}

int image_convert(const struct image_arguments *a)
{
    unsigned flags;
    if (a->count < 2)
        return image_fail("convert: give an image and the name of the new one");
    if (a->existing && (a->backing || a->options))
        return image_fail("convert: -n takes the target as it is; leave -B and -o away");
    const struct image_format *format =
        image_target_format("-O", a->output_format ? a->output_format : "raw");
    if (!format || !image_cache_flags(a->source_cache, &flags))
        return 1;
    struct image_options o = {.read_only = true, .file_flags = flags};
    struct image *from = image_open_named(a, &o);
    if (!from)
        return 1;
    int failed = convert_to(a, from, format);
    image_close(from);
    return failed;
}
