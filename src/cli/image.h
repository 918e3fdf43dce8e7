/* SPDX-License-Identifier: MIT
 *
 * `anello image`: disk images, with the commands and options of qemu-img.
 */
#ifndef ANELLO_CLI_IMAGE_H
#define ANELLO_CLI_IMAGE_H

#include "storage/format.h"

int image_command(int argc, char **argv);

/* ---- between the files of this command ---- */

/* What the options of all subcommands say. */
struct image_arguments {
    const char *format;        /* -f */
    const char *output_format; /* -O */
    const char *backing, *backing_format;
    const char *options; /* -o */
    const char *repair;  /* -r */
    const char *snapshot;
    char action; /* of snapshot: l, c, a, d */
    bool compress, progress, shrink, json, no_check;
    const char *names[2]; /* what is no option */
    int count;
};

/* Prints "anello: ..." and gives 1. */
int image_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* "10G", "512": bytes; false when it is no size. */
bool image_parse_size(const char *text, u64 *bytes);
/* The list of -o into a description of a new image; false with a message printed. */
bool image_parse_options(const char *list, struct image_create *create, char *storage, size_t room);
int image_convert(const struct image_arguments *a);
int image_show(const struct image_arguments *a);
int image_run_check(const struct image_arguments *a);

#endif
