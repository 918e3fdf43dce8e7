/* SPDX-License-Identifier: MIT */
#include "ui/image.h"

#include <errno.h>
#include <stdlib.h>

#include <zlib.h>

/* Fast enough to be done while the machine waits: 10 ms for a full HD text screen. */
#define PNG_COMPRESSION 3

enum { PNG_DEPTH = 8, PNG_RGB = 2, PNG_FILTER_NONE = 0, PNG_FILTER_UP = 2 };

static void put_be32(u8 *to, u32 v)
{
    to[0] = (u8)(v >> 24);
    to[1] = (u8)(v >> 16);
    to[2] = (u8)(v >> 8);
    to[3] = (u8)v;
}

static void put_rgb_row(u8 *to, const u32 *pixels, unsigned width)
{
    for (unsigned x = 0; x < width; x++) {
        *to++ = (u8)(pixels[x] >> 16);
        *to++ = (u8)(pixels[x] >> 8);
        *to++ = (u8)pixels[x];
    }
}

static bool write_chunk(FILE *out, const char type[4], const u8 *data, u32 n)
{
    u8 head[8], tail[4];
    put_be32(head, n);
    memcpy(head + 4, type, 4);
    uLong crc = crc32(0, head + 4, 4);
    if (n)
        crc = crc32(crc, data, n);
    put_be32(tail, (u32)crc);
    return fwrite(head, sizeof head, 1, out) == 1 && (!n || fwrite(data, n, 1, out) == 1) &&
           fwrite(tail, sizeof tail, 1, out) == 1;
}

/* The rows with their filter bytes. A row is stored as the difference from the one above, which
 * compresses screens well. */
static u8 *filtered_rows(const struct surface *s, size_t *size)
{
    size_t row = 1 + (size_t)s->width * 3;
    u8 *rows = malloc(row * s->height);
    if (!rows)
        return NULL;
    *size = row * s->height;
    for (unsigned y = 0; y < s->height; y++) {
        u8 *to = rows + y * row;
        to[0] = y ? PNG_FILTER_UP : PNG_FILTER_NONE;
        put_rgb_row(to + 1, s->pixels + (size_t)y * s->stride, s->width);
    }
    for (unsigned y = s->height; y-- > 1;) {
        u8 *to = rows + y * row;
        for (size_t x = 1; x < row; x++)
            to[x] = (u8)(to[x] - to[x - row]);
    }
    return rows;
}

static u8 *compress_rows(const struct surface *s, uLongf *n)
{
    size_t size;
    u8 *rows = filtered_rows(s, &size);
    if (!rows)
        return NULL;
    *n = compressBound(size);
    u8 *packed = malloc(*n);
    if (packed && compress2(packed, n, rows, size, PNG_COMPRESSION) != Z_OK) {
        free(packed);
        packed = NULL;
    }
    free(rows);
    if (!packed)
        errno = ENOMEM;
    return packed;
}

bool image_write_png(const struct surface *s, FILE *out)
{
    static const u8 signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    u8 header[13] = {[8] = PNG_DEPTH, [9] = PNG_RGB};
    put_be32(header, s->width);
    put_be32(header + 4, s->height);
    uLongf n;
    u8 *data = compress_rows(s, &n);
    if (!data)
        return false;
    bool ok = fwrite(signature, sizeof signature, 1, out) == 1 &&
              write_chunk(out, "IHDR", header, sizeof header) &&
              write_chunk(out, "IDAT", data, (u32)n) && write_chunk(out, "IEND", NULL, 0) &&
              !fflush(out);
    free(data);
    return ok;
}

bool image_write_ppm(const struct surface *s, FILE *out)
{
    u8 *row = malloc((size_t)s->width * 3);
    if (!row)
        return false;
    bool ok = fprintf(out, "P6\n%u %u\n255\n", s->width, s->height) > 0;
    for (unsigned y = 0; ok && y < s->height; y++) {
        put_rgb_row(row, s->pixels + (size_t)y * s->stride, s->width);
        ok = fwrite(row, (size_t)s->width * 3, 1, out) == 1;
    }
    free(row);
    return ok && !fflush(out);
}
