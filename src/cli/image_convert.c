/* SPDX-License-Identifier: MIT
 *
 * `anello image convert`: what a guest would see in one image, written to a new one of any format.
 * Runs of zeros are not written, and where the formats know of them they are not even read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/image.h"

#define PIECE_DEFAULT  KIB(64) /* what is copied at once */
#define SPARSE_DEFAULT KIB(4)  /* zeros that are not stored */

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

/* ---- copying ---- */

struct copy {
    const struct image_arguments *a;
    const struct image_source *from;
    struct image *to, *below; /* below: the new image's backing file; NULL without */
    bool compress;
    bool stale; /* what the target holds is to be overwritten, also with zeros */
    u64 piece, sparse;
    struct image_pace pace;
    u64 stored_until; /* the source has stored what lies before this */
    u8 *data, *there;
};

/* What of `data` is of one kind, zeros or not, in steps of what is worth to be left away. */
static u64 run_of(const u8 *data, u64 bytes, u64 step, bool *zeros)
{
    u64 n = step < bytes ? step : bytes;
    *zeros = image_all_zeros(data, n);
    while (n < bytes) {
        u64 next = step < bytes - n ? step : bytes - n;
        if (image_all_zeros(data + n, next) != *zeros)
            break;
        n += next;
    }
    return n;
}

/* Zeros need no writing to a new image. */
static int write_sparse(const struct copy *c, u64 at, u64 bytes)
{
    int error = 0;
    for (u64 i = 0, n; i < bytes && !error; i += n) {
        bool zeros;
        n = run_of(c->data + i, bytes - i, c->sparse, &zeros);
        if (!zeros)
            error = image_write(c->to, at + i, c->data + i, n);
        else if (c->stale)
            error = image_zero(c->to, at + i, n);
    }
    return error;
}

static int write_piece(const struct copy *c, u64 at, u64 bytes)
{
    bool zeros = !c->a->dense && image_all_zeros(c->data, bytes);
    if (c->compress && !zeros)
        return c->to->format->write_compressed(c->to, at, c->data, bytes);
    if (c->below || c->a->dense)
        return image_write(c->to, at, c->data, bytes);
    return write_sparse(c, at, bytes);
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
    int error = image_source_read(c->from, at, c->data, bytes);
    if (!error)
        error = is_below(c, at, bytes, &same);
    return error || same ? error : write_piece(c, at, bytes);
}

/* Passes over zeros, in whole pieces: *bytes of them, perhaps none. */
static int skip_zeros(struct copy *c, u64 at, u64 *bytes)
{
    u64 left = c->from->size - at, zeros, stored, below;
    *bytes = 0;
    if (at < c->stored_until || c->a->dense)
        return 0;
    int error = image_source_zeros(c->from, at, left, &zeros, &stored);
    c->stored_until = at + stored;
    if (!error && zeros && c->below) {
        error = image_zeros(c->below, at, zeros, &below, &stored);
        zeros = below;
    }
    if (zeros < left)
        zeros -= zeros % c->piece;
    if (!error && zeros && c->stale)
        error = image_zero(c->to, at, zeros);
    *bytes = zeros;
    return error;
}

/* How to go about it, from what the target is. */
static void plan(struct copy *c)
{
    struct image_info info = {0};
    u64 sparse = c->a->sparse ? c->a->sparse : SPARSE_DEFAULT;
    if (c->to->format->info)
        c->to->format->info(c->to, &info);
    c->compress = c->a->compress || info.compressed;
    c->stale = c->a->existing && !c->a->zero_target;
    c->sparse = sparse > info.cluster_bytes ? sparse : info.cluster_bytes;
    c->piece = c->compress && info.cluster_bytes ? info.cluster_bytes
               : c->sparse > PIECE_DEFAULT       ? c->sparse
                                                 : PIECE_DEFAULT;
    c->pace = image_pace_begin(c->a->rate);
    free(info.parts);
}

static int copy_all(struct copy *c)
{
    u64 size = c->from->size;
    plan(c);
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
            image_pace(&c->pace, n);
        }
        image_progress(c->a, at + n, size);
    }
    if (!error && c->below && c->to->size > size) /* not what the backing file has there */
        error = image_zero(c->to, size, c->to->size - size);
    free(c->data);
    image_progress_end(c->a);
    return error ? error : image_flush(c->to);
}

/* ---- the new image ---- */

static const char *target_of(const struct image_arguments *a)
{
    return a->names[a->count - 1];
}

static bool make_target(const struct image_arguments *a, const struct image_format *format,
                        struct image_create *new, u64 bytes)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    if (new->bytes &&new->bytes < bytes) {
        image_fail("-o size: %s%s is larger", a->names[0], a->count > 2 ? " with the others" : "");
        return false;
    }
    if (!new->bytes)
        new->bytes = bytes;
    if (!format->create(target_of(a), new, error, sizeof error))
        return true;
    image_fail("%s", error);
    return false;
}

/* The image below the new one, opened by itself: what it shows need not be copied. */
static bool open_below(const struct image_create *new, struct copy *c)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    struct image_options o = {.format = new->backing_format, .read_only = true};
    if (!new->backing)
        return true;
    char *path = image_relative_path(target_of(c->a), new->backing);
    c->below = path ? image_open(path, &o, error, sizeof error) : NULL;
    free(path);
    if (!c->below)
        image_fail("%s", error);
    return c->below;
}

static int convert_to(const struct image_arguments *a, const struct image_source *from,
                      const struct image_format *format)
{
    char error[IMAGE_MESSAGE_BYTES] = "", storage[IMAGE_OPTIONS_BYTES];
    unsigned flags;
    struct copy c = {.a = a, .from = from};
    struct image_create new = {.backing = a->backing, .backing_format = a->backing_format};
    if (a->compress && !format->write_compressed)
        return image_fail("-c: a %s image cannot be compressed", format->name);
    if (!image_cache_flags(a->cache, &flags) ||
        !image_parse_options(a->options, &new, storage, sizeof storage))
        return 1;
    if (a->count > 2 && new.backing)
        return image_fail("convert: several images one after the other have no backing file");
    if (!open_below(&new, &c))
        return 1;
    struct image_options o = {.format = format->name, .file_flags = flags, .filling = true};
    if (a->existing || make_target(a, format, &new, from->size))
        c.to = image_open(target_of(a), &o, error, sizeof error);
    int failed = 1;
    if (!c.to && *error)
        image_fail("%s", error);
    else if (c.to && c.to->size < from->size)
        image_fail("%s: is too small for %s%s", target_of(a), a->names[0],
                   a->count > 2 ? " and the others" : "");
    else if (c.to && (failed = copy_all(&c)))
        failed = image_fail("%s: %s", target_of(a), strerror(-failed));
    image_close(c.to);
    image_close(c.below);
    return failed;
}

/* What does not go together; NULL: nothing. */
static const char *contradiction(const struct image_arguments *a)
{
    if (a->count < 2)
        return "give an image and the name of the new one";
    if (a->existing && (a->backing || a->options))
        return "-n takes the target as it is; leave -B and -o away";
    if (a->zero_target && !a->existing)
        return "--target-is-zero is for a target that is there: -n";
    if (a->count > 2 && a->snapshot)
        return "-l is for a single image";
    return NULL;
}

int image_convert(const struct image_arguments *a)
{
    const char *why = contradiction(a);
    if (why)
        return image_fail("convert: %s", why);
    const struct image_format *format =
        image_target_format("-O", a->output_format ? a->output_format : "raw");
    if (!format)
        return 1;
    struct image_source from;
    int failed = image_source_open(&from, a) ? convert_to(a, &from, format) : 1;
    image_source_close(&from);
    return failed;
}
