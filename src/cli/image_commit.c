/* SPDX-License-Identifier: MIT
 *
 * `anello image commit` and `rebase`: moving data between an image and those below it.
 *
 * Commit opens each image of the chain by itself, without what lies below it: the lowest one is
 * written, so nobody else may hold it. Both commands leave the image that the user knows complete
 * at every moment: commit empties it only after the base is stable, and rebase names the new
 * backing file only after the differences are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/image.h"

#define CHAIN_MAX 64
#define PIECE     MIB(1)

/* ---- commit ---- */

/* The images above the base, the topmost first, and the base. */
struct chain {
    struct image *layers[CHAIN_MAX];
    unsigned count;
    struct image *base;
    bool followed; /* the layer above the base knows that the base is written */
};

static void close_chain(struct chain *c)
{
    for (unsigned i = 0; i < c->count; i++)
        image_close(c->layers[i]);
    image_close(c->base);
}

static bool same_file(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* True when `below`, the backing file of the last layer, is the one to commit to. */
static bool is_base(const struct image_arguments *a, const struct image *layer, const char *below)
{
    if (!a->backing)
        return true;
    return !strcmp(a->backing, layer->backing_path) || same_file(a->backing, below);
}

/* Opens what lies below the last layer: the base, or one more layer. */
static bool open_below(const struct image_arguments *a, struct chain *c, unsigned flags)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    const struct image *layer = c->layers[c->count - 1];
    if (!layer->backing_path) {
        image_fail("%s: has no backing file%s%s", layer->path,
                   a->backing ? " and none of those below is " : " to commit to",
                   a->backing ? a->backing : "");
        return false;
    }
    char *below = image_relative_path(layer->path, layer->backing_path);
    bool base = below && is_base(a, layer, below);
    struct image_options o = {.format = layer->backing_format,
                              .read_only = !base,
                              .no_backing = !base,
                              .file_flags = flags,
                              .depth = c->count};
    struct image *image = below ? image_open(below, &o, error, sizeof error) : NULL;
    free(below);
    if (!image) {
        image_fail("%s", error);
        return false;
    }
    if (base)
        c->base = image;
    else
        c->layers[c->count++] = image;
    return true;
}

/* The layer above the base, open so that it can follow the base; its data need not be writable. */
static bool let_it_follow(struct chain *c, unsigned flags)
{
    char error[IMAGE_MESSAGE_BYTES] = "out of memory";
    struct image **layer = &c->layers[c->count - 1];
    if (!(*layer)->read_only || !(*layer)->format->follow_base)
        return true;
    struct image_options o = {.format = (*layer)->format->name,
                              .read_only = true,
                              .no_backing = true,
                              .follows = true,
                              .file_flags = flags,
                              .depth = c->count - 1};
    char *path = strdup((*layer)->path);
    image_close(*layer);
    *layer = path ? image_open(path, &o, error, sizeof error) : NULL;
    free(path);
    if (*layer)
        return true;
    c->count--;
    image_fail("%s", error);
    return false;
}

static bool open_chain(const struct image_arguments *a, struct chain *c)
{
    unsigned flags;
    if (!image_cache_flags(a->cache, &flags))
        return false;
    struct image_options o = {.no_backing = true, .read_only = a->drop, .file_flags = flags};
    c->layers[0] = image_open_named(a, &o);
    if (!c->layers[0])
        return false;
    c->count = 1;
    while (!c->base) {
        if (c->count == CHAIN_MAX) {
            image_fail("%s: its chain of backing files is too long or a loop", a->names[0]);
            return false;
        }
        if (!open_below(a, c, flags))
            return false;
    }
    return let_it_follow(c, flags);
}

/* How the run at `offset` is stored above the base, and in which layer; at most *bytes of it.
 * Beyond the end of an image in the middle there are zeros, whatever a longer one below has. */
static int find_run(const struct chain *c, u64 offset, u64 *bytes, enum image_extent_type *type,
                    struct image **layer)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct image_extent e = {0};
        *layer = c->layers[i];
        *type = EXTENT_ZERO;
        if (offset >= (*layer)->size)
            return 0;
        if (*bytes > (*layer)->size - offset)
            *bytes = (*layer)->size - offset;
        int error = image_extent(*layer, offset, *bytes, &e);
        if (error)
            return error;
        *bytes = e.bytes;
        *type = e.type;
        if (e.type != EXTENT_BACKING)
            return 0;
    }
    return 0;
}

/* Before the base is written: the image that is committed must not take it for another one, also
 * when the commit does not come to its end. */
static int tell_layer(struct chain *c)
{
    struct image *layer = c->layers[c->count - 1];
    if (c->followed || !layer->format->follow_base)
        return 0;
    c->followed = true;
    return layer->format->follow_base(layer, c->base);
}

static int copy_down(const struct image_arguments *a, struct chain *c)
{
    u64 size = c->layers[0]->size;
    u8 *data = malloc(PIECE);
    int error = data ? 0 : -ENOMEM;
    struct image_pace pace = image_pace_begin(a->rate);
    for (u64 at = 0, n; at < size && !error; at += n) {
        enum image_extent_type type = EXTENT_ZERO;
        struct image *layer;
        n = size - at;
        error = find_run(c, at, &n, &type, &layer);
        if (!error && type != EXTENT_BACKING)
            error = tell_layer(c);
        if (!error && type == EXTENT_ZERO)
            error = image_zero(c->base, at, n);
        if (type == EXTENT_DATA && n > PIECE)
            n = PIECE;
        if (!error && type == EXTENT_DATA)
            error = image_read(layer, at, data, n);
        if (!error && type == EXTENT_DATA)
            error = image_write(c->base, at, data, n);
        image_pace(&pace, type == EXTENT_DATA ? n : 0);
        image_progress(a, at + n, size);
    }
    free(data);
    image_progress_end(a);
    return error ? error : image_flush(c->base);
}

static bool make_room(struct chain *c)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    struct image *base = c->base;
    u64 size = c->layers[0]->size;
    if (base->size >= size)
        return true;
    if (!base->format->resize)
        image_fail("%s: is smaller than %s, and the size of a %s image cannot change", base->path,
                   c->layers[0]->path, base->format->name);
    else if (base->format->resize(base, size, error, sizeof error))
        image_fail("%s", error);
    else
        return true;
    return false;
}

static int commit_chain(const struct image_arguments *a, struct chain *c)
{
    struct image *top = c->layers[0];
    if (!make_room(c))
        return 1;
    int failed = copy_down(a, c);
    if (failed)
        return image_fail("%s: cannot commit to %s: %s", top->path, c->base->path,
                          strerror(-failed));
    /* With images in between, an empty one would show their old content. */
    bool empty = !a->drop && c->count == 1 && top->format->empty;
    if (empty && (failed = top->format->empty(top)))
        return image_fail("%s: was committed, but cannot be emptied: %s", top->path,
                          strerror(-failed));
    image_say(a, "Image committed.");
    return 0;
}

int image_commit(const struct image_arguments *a)
{
    struct chain c = {0};
    int failed = open_chain(a, &c) ? commit_chain(a, &c) : 1;
    close_chain(&c);
    return failed;
}

/* ---- rebase ---- */

/* Bytes of an image, with zeros beyond its end; NULL: no image. */
static int read_padded(struct image *image, u64 offset, u8 *data, u64 bytes)
{
    u64 there = image && offset < image->size ? image->size - offset : 0;
    if (there > bytes)
        there = bytes;
    memset(data + there, 0, bytes - there);
    return there ? image_read(image, offset, data, there) : 0;
}

/* Gives the image what it shows of its old backing file where the new one has something else. */
static int keep_run(struct image *image, struct image *below, u64 at, u64 bytes, u8 *old, u8 *new)
{
    enum { STEP = 64 * 1024 };
    int error = read_padded(image->backing, at, old, bytes);
    if (!error)
        error = read_padded(below, at, new, bytes);
    for (u64 i = 0; i < bytes && !error; i += STEP) {
        u64 n = bytes - i < STEP ? bytes - i : STEP;
        if (memcmp(old + i, new + i, n))
            error = image_write(image, at + i, old + i, n);
    }
    return error;
}

/* Where the old and the new backing file may differ: beyond their ends both show zeros. */
static u64 end_of_differences(const struct image *image, const struct image *below)
{
    u64 old = image->backing ? image->backing->size : 0, new = below ? below->size : 0;
    u64 end = old > new ? old : new;
    return end < image->size ? end : image->size;
}

/* How much of a run may differ: less where both are known to show zeros. */
static int next_difference(const struct image *image, struct image *below, u64 at, u64 *bytes,
                           bool *differs)
{
    u64 old, new = 0, stored;
    int error = image_zeros(image->backing, at, *bytes, &old, &stored);
    if (!error && old)
        error = image_zeros(below, at, old, &new, &stored);
    *differs = !new;
    if (new)
        *bytes = new;
    else if (*bytes > PIECE)
        *bytes = PIECE;
    return error;
}

static int keep_differences(const struct image_arguments *a, struct image *image,
                            struct image *below)
{
    u64 end = end_of_differences(image, below);
    u8 *old = malloc(2 * PIECE);
    int error = old ? 0 : -ENOMEM;
    for (u64 at = 0, n; at < end && !error; at += n) {
        struct image_extent e = {0};
        n = end - at;
        error = image_extent(image, at, n, &e);
        if (!error)
            n = e.bytes;
        bool differs = false;
        if (!error && e.type == EXTENT_BACKING)
            error = next_difference(image, below, at, &n, &differs);
        if (!error && differs)
            error = keep_run(image, below, at, n, old, old + PIECE);
        image_progress(a, at + n, end);
    }
    free(old);
    image_progress_end(a);
    return error ? error : image_flush(image);
}

static int change_backing(struct image *image, const char *backing, const char *format)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    if (image->format->rebase(image, backing, format, error, sizeof error))
        return image_fail("%s", error);
    return 0;
}

/* The image through which the content is to show. NULL with a message, or when there is none. */
static struct image *open_new_backing(const struct image_arguments *a, unsigned flags, bool *failed)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    *failed = false;
    if (!*a->backing)
        return NULL;
    struct image_options o = {.format = a->backing_format, .read_only = true, .file_flags = flags};
    char *path = image_relative_path(a->names[0], a->backing);
    if (path && same_file(path, a->names[0]))
        snprintf(error, sizeof error, "%s: cannot be its own backing file", path);
    struct image *below = path && !*error ? image_open(path, &o, error, sizeof error) : NULL;
    free(path);
    *failed = !below;
    if (!below)
        image_fail("%s", error);
    return below;
}

static int rebase_safely(const struct image_arguments *a, struct image *image, unsigned flags)
{
    bool failed;
    struct image *below = open_new_backing(a, flags, &failed);
    if (failed)
        return 1;
    int error = keep_differences(a, image, below);
    const char *format = below && !a->backing_format ? below->format->name : a->backing_format;
    image_close(below);
    if (error)
        return image_fail("%s: cannot keep what its backing file holds: %s", image->path,
                          strerror(-error));
    return change_backing(image, *a->backing ? a->backing : NULL, format);
}

int image_rebase(const struct image_arguments *a)
{
    unsigned flags, source_flags;
    if (!a->backing)
        return image_fail("rebase: name the new backing file: -b FILE, or -b \"\" for none");
    if (a->unsafe && *a->backing && !a->backing_format)
        return image_fail("rebase -u: say the format of the backing file: -F FORMAT");
    if (a->backing_format && !image_format_by_name(a->backing_format))
        return image_fail("-F %s: no such format; there are raw, qcow2, vmdk and vdi",
                          a->backing_format);
    if (!image_cache_flags(a->cache, &flags) || !image_cache_flags(a->source_cache, &source_flags))
        return 1;
    struct image_options o = {.no_backing = a->unsafe, .file_flags = flags};
    struct image *image = image_open_named(a, &o);
    if (!image)
        return 1;
    int failed;
    if (!image->format->rebase)
        failed = image_fail("%s: the backing file of a %s image cannot change", image->path,
                            image->format->name);
    else if (a->unsafe)
        failed = change_backing(image, *a->backing ? a->backing : NULL, a->backing_format);
    else
        failed = rebase_safely(a, image, source_flags);
    image_close(image);
    return failed;
}
