/* SPDX-License-Identifier: MIT
 *
 * `anello image convert`: what a guest would see in one image, written to a new one of any format.
 * Runs of zeros are not written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/image.h"

#define MESSAGE_BYTES 1024
#define PIECE_DEFAULT KIB(64) /* what is looked at for zeros */

static bool all_zeros(const u8 *data, u64 bytes)
{
    return !data[0] && !memcmp(data, data + 1, bytes - 1);
}

static void show_progress(const struct image_arguments *a, u64 done, u64 total)
{
    if (a->progress && isatty(STDOUT_FILENO)) {
        printf("    (%.2f/100%%)\r", total ? 100.0 * (double)done / (double)total : 100.0);
        fflush(stdout);
    }
}

static int write_piece(bool compress, struct image *to, u64 at, const u8 *data, u64 bytes)
{
    if (all_zeros(data, bytes))
        return 0;
    return compress ? to->format->write_compressed(to, at, data, bytes)
                    : image_write(to, at, data, bytes);
}

static int copy(const struct image_arguments *a, struct image *from, struct image *to)
{
    struct image_info info = {0};
    if (to->format->info)
        to->format->info(to, &info);
    bool compress = a->compress || info.compressed;
    free(info.parts);
    u64 piece = info.cluster_bytes ? info.cluster_bytes : PIECE_DEFAULT;
    u8 *data = malloc(piece);
    int error = data ? 0 : -1;
    for (u64 at = 0; at < from->size && !error; at += piece) {
        u64 n = from->size - at < piece ? from->size - at : piece;
        error = image_read(from, at, data, n);
        if (!error)
            error = write_piece(compress, to, at, data, n);
        show_progress(a, at + n, from->size);
    }
    free(data);
    if (a->progress)
        putchar('\n');
    return error ? error : image_flush(to);
}

static int convert_to(const struct image_arguments *a, struct image *from,
                      const struct image_format *format)
{
    char error[MESSAGE_BYTES] = "", storage[1024];
    struct image_create c = {0};
    if (!image_parse_options(a->options, &c, storage, sizeof storage))
        return 1;
    c.bytes = from->size;
    if (a->compress && !format->write_compressed)
        return image_fail("-c: a %s image cannot be compressed", format->name);
    if (format->create(a->names[1], &c, error, sizeof error))
        return image_fail("%s", error);
    struct image_options o = {.format = format->name, .no_backing = true, .filling = true};
    struct image *to = image_open(a->names[1], &o, error, sizeof error);
    if (!to)
        return image_fail("%s", error);
    int failed = copy(a, from, to);
    image_close(to);
    return failed ? image_fail("%s: %s", a->names[1], strerror(-failed)) : 0;
}

int image_convert(const struct image_arguments *a)
{
    char error[MESSAGE_BYTES] = "";
    const char *name = a->output_format ? a->output_format : "raw";
    const struct image_format *format = image_format_by_name(name);
    if (a->count < 2)
        return image_fail("convert: give an image and the name of the new one");
    if (!format || !format->create)
        return image_fail("-O %s: no such format; there are raw, qcow2, vmdk and vdi", name);
    struct image_options o = {.format = a->format, .read_only = true};
    struct image *from = image_open(a->names[0], &o, error, sizeof error);
    if (!from)
        return image_fail("%s", error);
    int failed = convert_to(a, from, format);
    image_close(from);
    return failed;
}
