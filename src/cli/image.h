/* SPDX-License-Identifier: MIT
 *
 * `anello image`: disk images, with the commands and options of qemu-img.
 *
 *   image.c           the command line; create, resize
 *   image_options.c   values of options: sizes, lists, cache modes
 *   image_info.c      info, check
 *   image_convert.c   convert
 *   image_source.c    what convert reads: images one after the other, snapshots, damaged ones
 *   image_progress.c  how far a command is, and how fast it may go
 *   image_commit.c    commit, rebase
 *   image_snapshot.c  snapshot
 */
#ifndef ANELLO_CLI_IMAGE_H
#define ANELLO_CLI_IMAGE_H

#include "storage/format.h"

#define IMAGE_MESSAGE_BYTES 1024
#define IMAGE_OPTIONS_BYTES 2048

int image_command(int argc, char **argv);

/* ---- between the files of this command ---- */

/* What the options of all subcommands say. */
struct image_arguments {
    const char *format;                   /* -f */
    const char *output_format;            /* -O */
    const char *backing, *backing_format; /* -b or -B, -F */
    const char *options;                  /* -o */
    const char *repair;                   /* -r */
    const char *cache, *source_cache;     /* -t, -T */
    const char *preallocation;            /* of resize */
    const char *snapshot;                 /* of snapshot, and -l of convert */
    char action;                          /* of snapshot: l, c, a, d */
    u64 rate;                             /* -r of convert and commit: bytes in a second; 0: any */
    u64 sparse;                           /* -S: bytes of zeros that are not worth storing */
    bool dense;                           /* -S 0: all of them are */
    bool salvage;                         /* of convert: what cannot be read is zeros */
    bool zero_target;                     /* --target-is-zero */
    bool compress, progress, quiet, shrink, json;
    bool unsafe;   /* -u */
    bool told;     /* a message about a wrong option was printed */
    bool drop;     /* -d of commit */
    bool existing; /* -n: the target is there */
    bool share;    /* -U: whoever else uses it */
    bool whole_chain;
    const char *const *names; /* what is no option */
    int count;
    char option_list[IMAGE_OPTIONS_BYTES]; /* `options` points to it */
};

/* Prints "anello: ..." and gives 1. */
int image_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Prints a line, unless -q. */
void image_say(const struct image_arguments *a, const char *line);

/* "10G", "512": bytes; false when it is no size. */
bool image_parse_size(const char *text, u64 *bytes);
/* One more -o behind those that were there; false: there are too many. */
bool image_add_options(struct image_arguments *a, const char *list);
/* The list of -o into a description of a new image; false with a message printed. A comma that
 * belongs to a value stands there twice. */
bool image_parse_options(const char *list, struct image_create *create, char *storage, size_t room);
/* True for "-o help", which is then answered. */
bool image_options_help(const char *list, const char *format);
/* FILE_ flags of a cache mode, NULL being the default; false with a message printed. */
bool image_cache_flags(const char *mode, unsigned *flags);
/* The format to make; NULL with a message printed. */
const struct image_format *image_target_format(const char *option, const char *name);

/* The name that -f and the options for opening lead to. NULL with a message printed. */
struct image *image_open_named(const struct image_arguments *a, const struct image_options *more);
/* Likewise, another name. */
struct image *image_open_name(const struct image_arguments *a, const char *name,
                              const struct image_options *more);

bool image_all_zeros(const u8 *data, u64 bytes);
/* What convert reads. */
struct image_source {
    const struct image_arguments *a;
    struct image **images;
    unsigned count;
    u64 size; /* of all, one after the other */
};
/* The images that the arguments name before the last one. False with a message printed. */
bool image_source_open(struct image_source *s, const struct image_arguments *a);
void image_source_close(struct image_source *s);
/* As image_read and image_zeros. */
int image_source_read(const struct image_source *s, u64 at, u8 *data, u64 bytes);
int image_source_zeros(const struct image_source *s, u64 at, u64 bytes, u64 *zeros, u64 *stored);

/* How many of the bytes at `at` the image, or none, is known to show as zeros, or has stored: one
 * of the two is 0. Beyond its end there are zeros. */
int image_zeros(struct image *image, u64 at, u64 bytes, u64 *zeros, u64 *stored);
void image_progress(const struct image_arguments *a, u64 done, u64 total);
void image_progress_end(const struct image_arguments *a);

/* For -r. */
struct image_pace {
    u64 rate;   /* bytes in a second; 0: no limit */
    u64 begun;  /* ns */
    u64 copied; /* bytes */
};
struct image_pace image_pace_begin(u64 rate);
/* So many bytes were copied: waits until they may have been. */
void image_pace(struct image_pace *p, u64 bytes);

/* JSON: a text with its quotes; a list of snapshots as a member. */
void image_put_json(const char *text);
void image_put_json_snapshots(struct image *image, const char *indent);

int image_convert(const struct image_arguments *a);
int image_show(const struct image_arguments *a);
int image_run_check(const struct image_arguments *a);
int image_commit(const struct image_arguments *a);
int image_rebase(const struct image_arguments *a);
int image_snapshots(const struct image_arguments *a);

#endif
