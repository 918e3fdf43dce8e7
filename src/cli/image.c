/* SPDX-License-Identifier: MIT
 *
 * `anello image`: the command line, and the subcommands that are only a few calls.
 */
#include "cli/image.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

int image_fail(const char *fmt, ...)
{
    char text[IMAGE_MESSAGE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_warn("%s", text);
    return 1;
}

void image_say(const struct image_arguments *a, const char *line)
{
    if (!a->quiet)
        puts(line);
}

/* ---- subcommands ---- */

struct image *image_open_named(const struct image_arguments *a, const struct image_options *more)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    struct image_options o = *more;
    o.format = a->format;
    o.file_flags |= a->share ? FILE_NO_LOCK : 0;
    struct image *image = image_open(a->names[0], &o, error, sizeof error);
    if (!image)
        image_fail("%s", error);
    return image;
}

/* The size of the backing file, for an image that has none of its own. */
static bool size_of_backing(const char *path, struct image_create *c, char *error)
{
    struct image_options o = {.format = c->backing_format, .read_only = true};
    char *name = image_relative_path(path, c->backing);
    struct image *backing = name ? image_open(name, &o, error, IMAGE_MESSAGE_BYTES) : NULL;
    free(name);
    if (!backing)
        return false;
    if (!c->bytes)
        c->bytes = backing->size;
    if (!c->backing_format)
        c->backing_format = backing->format->name;
    image_close(backing);
    return true;
}

static int create(const struct image_arguments *a)
{
    char error[IMAGE_MESSAGE_BYTES] = "", storage[IMAGE_OPTIONS_BYTES];
    struct image_create c = {.backing = a->backing, .backing_format = a->backing_format};
    const char *name = a->format ? a->format : "raw";
    const struct image_format *format = image_target_format("-f", name);
    if (!format || !image_parse_options(a->options, &c, storage, sizeof storage))
        return 1;
    if (a->count > 1 && !image_parse_size(a->names[1], &c.bytes))
        return image_fail("%s: not a size; say a number with K, M, G or T", a->names[1]);
    if (a->count < 2 && !c.bytes && (!c.backing || a->unsafe))
        return image_fail("%s: how large? add a size, such as 10G", a->names[0]);
    if (c.backing && !a->unsafe && !size_of_backing(a->names[0], &c, error))
        return image_fail("%s", error);
    if (format->create(a->names[0], &c, error, sizeof error))
        return image_fail("%s", error);
    return 0;
}

static const char *change_size(const struct image_arguments *a, struct image *image, u64 bytes,
                               char *error, size_t n)
{
    u64 before = image->size;
    const char *mode = a->preallocation ? a->preallocation : "off";
    if (bytes < before && !a->shrink)
        return "would lose what lies beyond the new end; --shrink allows it";
    if (!image->format->resize)
        return "has a format whose size cannot change; convert it";
    if (strcmp(mode, "off") && (!image->format->preallocate || bytes < before))
        return "--preallocation: only a raw or qcow2 image that grows can have that";
    if (image->format->resize(image, bytes, error, n))
        return error;
    if (!strcmp(mode, "off") || !image->format->preallocate(image, before, mode))
        return NULL;
    return "grew, but its space could not be preallocated";
}

static int resize(const struct image_arguments *a)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    u64 bytes;
    if (a->count < 2)
        return image_fail("resize: give an image and a size, such as 10G, +1G or -1G");
    const char *text = a->names[1];
    bool relative = *text == '+' || *text == '-';
    if (!image_parse_size(text + relative, &bytes))
        return image_fail("%s: not a size; say a number with K, M, G or T", text);
    struct image *image = image_open_named(a, &(struct image_options){0});
    if (!image)
        return 1;
    if (relative)
        bytes = *text == '+' ? image->size + bytes
                             : image->size - (bytes < image->size ? bytes : image->size);
    const char *why = change_size(a, image, bytes, error, sizeof error);
    image_close(image);
    if (why)
        return why == error ? image_fail("%s", error) : image_fail("%s: %s", a->names[0], why);
    image_say(a, "Image resized.");
    return 0;
}

/* ---- the command line ---- */

/* `options` as getopt takes them; J: --output, S: --shrink, P: --preallocation, C:
 * --backing-chain. */
static const struct subcommand {
    const char *name, *options, *usage;
    int (*run)(const struct image_arguments *a);
} subcommands[] = {
    // clang-format off
    {"create",   "f:b:F:uo:q",              "[-q] [-f FORMAT] [-b BACKING [-F FORMAT]] [-u] [-o OPTIONS] FILE [SIZE]", create},
    {"info",     "f:UJC",                   "[-f FORMAT] [--output human|json] [--backing-chain] [-U] FILE", image_show},
    {"check",    "f:r:qUJ",                 "[-q] [-f FORMAT] [-r leaks|all] [--output human|json] [-U] FILE", image_run_check},
    {"convert",  "f:O:B:F:o:t:T:cpqnU",     "[-c] [-p] [-q] [-n] [-U] [-f FORMAT] [-O FORMAT] [-B BACKING [-F FORMAT]] [-o OPTIONS] [-t CACHE] [-T CACHE] FROM TO", image_convert},
    {"resize",   "f:qSP",                   "[-q] [-f FORMAT] [--shrink] [--preallocation MODE] FILE [+|-]SIZE", resize},
    {"snapshot", "f:qUlc:a:d:J",            "[-q] [-U] [-f FORMAT] [-l [--output human|json] | -c NAME | -a NAME | -d NAME] FILE", image_snapshots},
    {"commit",   "f:t:b:dpq",               "[-q] [-p] [-f FORMAT] [-t CACHE] [-b BASE] [-d] FILE", image_commit},
    {"rebase",   "f:t:T:b:F:upq",           "[-q] [-p] [-f FORMAT] [-t CACHE] [-T CACHE] [-u] -b BACKING [-F FORMAT] FILE", image_rebase},
    // clang-format on
};

static int usage(void)
{
    return image_fail("usage: anello image create|info|check|convert|resize|snapshot|commit|rebase "
                      "...; with a command alone it says more");
}

/* One option; `letter` means what it means in this subcommand. */
static bool take_argument(struct image_arguments *a, bool snapshots, int letter)
{
    if (snapshots && strchr("lcad", letter)) {
        a->action = (char)letter;
        a->snapshot = optarg;
        return true;
    }
    switch (letter) {
    case 'f': a->format = optarg; return true;
    case 'O': a->output_format = optarg; return true;
    case 'b':
    case 'B': a->backing = optarg; return true;
    case 'F': a->backing_format = optarg; return true;
    case 'o': a->options = optarg; return true;
    case 'r': a->repair = optarg; return true;
    case 't': a->cache = optarg; return true;
    case 'T': a->source_cache = optarg; return true;
    case 'c': a->compress = true; return true;
    case 'd': a->drop = true; return true;
    case 'n': a->existing = true; return true;
    case 'p': a->progress = true; return true;
    case 'q': a->quiet = true; return true;
    case 'u': a->unsafe = true; return true;
    case 'U': a->share = true; return true;
    case 'S': a->shrink = true; return true;
    case 'P': a->preallocation = optarg; return true;
    case 'C': a->whole_chain = true; return true;
    case 'J': a->json = !strcmp(optarg, "json"); return a->json || !strcmp(optarg, "human");
    default: return false;
    }
}

static bool read_arguments(int argc, char **argv, const struct subcommand *s,
                           struct image_arguments *a)
{
    static const struct option longs[] = {{"output", required_argument, NULL, 'J'},
                                          {"shrink", no_argument, NULL, 'S'},
                                          {"preallocation", required_argument, NULL, 'P'},
                                          {"backing-chain", no_argument, NULL, 'C'},
                                          {0}};
    bool snapshots = !strcmp(s->name, "snapshot");
    int letter;
    optind = 1;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, s->options, longs, NULL)) != -1) {
        if (!strchr(s->options, letter) || !take_argument(a, snapshots, letter))
            return false;
    }
    for (; optind < argc && a->count < 2; optind++)
        a->names[a->count++] = argv[optind];
    return optind == argc;
}

/* A size such as "-1G" is no option: resize takes its last word as it is. */
static bool ends_with_negative_size(int argc, char **argv)
{
    const char *last = argv[argc - 1];
    return argc > 2 && !strcmp(argv[0], "resize") && last[0] == '-' && last[1] >= '0' &&
           last[1] <= '9';
}

int image_command(int argc, char **argv)
{
    struct image_arguments a = {0};
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(subcommands); i++) {
        if (strcmp(argv[1], subcommands[i].name))
            continue;
        const struct subcommand *s = &subcommands[i];
        bool negative = ends_with_negative_size(argc - 1, argv + 1);
        bool good = read_arguments(argc - 1 - negative, argv + 1, s, &a);
        if (good && image_options_help(a.options, a.output_format ? a.output_format
                                                  : a.format      ? a.format
                                                                  : "raw"))
            return 0;
        if (!good || !a.count)
            return image_fail("usage: anello image %s %s", s->name, s->usage);
        if (negative)
            a.names[a.count < 2 ? a.count++ : 1] = argv[argc - 1];
        return s->run(&a);
    }
    return usage();
}
