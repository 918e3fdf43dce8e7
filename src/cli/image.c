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
    return image_open_name(a, a->names[0], more);
}

struct image *image_open_name(const struct image_arguments *a, const char *name,
                              const struct image_options *more)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    struct image_options o = *more;
    o.format = a->format;
    o.file_flags |= a->share ? FILE_NO_LOCK : 0;
    struct image *image = image_open(name, &o, error, sizeof error);
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

/* `options` as getopt takes them; letters for those that are long only:
 * J: --output, K: --shrink, P: --preallocation, C: --backing-chain, Z: --target-is-zero,
 * V: --salvage. */
static const struct subcommand {
    const char *name, *what, *options, *usage;
    int (*run)(const struct image_arguments *a);
} subcommands[] = {
    // clang-format off
    {"create",   "makes an image", "f:b:F:uo:q",              "[-q] [-f FORMAT] [-b BACKING [-F FORMAT]] [-u] [-o OPTIONS] FILE [SIZE]", create},
    {"info",     "tells what an image is", "f:UJ:C",                   "[-f FORMAT] [--output human|json] [--backing-chain] [-U] FILE", image_show},
    {"check",    "looks for errors, and repairs them", "f:r:T:qUJ:",              "[-q] [-f FORMAT] [-T CACHE] [-r leaks|all] [--output human|json] [-U] FILE", image_run_check},
    {"convert",  "copies images into a new one of any format", "f:O:B:F:o:t:T:l:S:m:r:cpqnUWZV", "[-c] [-p] [-q] [-n [--target-is-zero]] [-U] [-W] [--salvage] [-f FORMAT] [-O FORMAT] [-B BACKING [-F FORMAT]] [-o OPTIONS] [-t CACHE] [-T CACHE] [-l SNAPSHOT] [-S SIZE] [-m NUMBER] [-r RATE] FROM... TO", image_convert},
    {"resize",   "changes the size of the disk", "f:qKP:",                   "[-q] [-f FORMAT] [--shrink] [--preallocation MODE] FILE [+|-]SIZE", resize},
    {"snapshot", "lists, makes, applies, deletes the snapshots within an image", "f:qUlc:a:d:J:",            "[-q] [-U] [-f FORMAT] [-l [--output human|json] | -c NAME | -a NAME | -d NAME] FILE", image_snapshots},
    {"commit",   "writes what an image holds to the one below it", "f:t:b:r:dpq",             "[-q] [-p] [-f FORMAT] [-t CACHE] [-b BASE] [-r RATE] [-d] FILE", image_commit},
    {"rebase",   "puts another image below it", "f:t:T:b:F:upq",           "[-q] [-p] [-f FORMAT] [-t CACHE] [-T CACHE] [-u] -b BACKING [-F FORMAT] FILE", image_rebase},
    // clang-format on
};

static int usage(void)
{
    return image_fail("usage: anello image create|info|check|convert|resize|snapshot|commit|rebase "
                      "...; with a command alone it says more");
}

static int help(void)
{
    puts("usage: anello image COMMAND [OPTIONS] FILE...\n");
    for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
        printf("  %-9s %s\n", subcommands[i].name, subcommands[i].what);
    puts("\nThe options are those of qemu-img; \"anello image COMMAND --help\" lists them, "
         "\"-o help\" what a format knows.");
    return 0;
}

static bool wants_help(int argc, char **argv)
{
    return argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"));
}

/* The one line about a wrong option. */
static bool tell(struct image_arguments *a, const char *what)
{
    a->told = true;
    return image_fail("%s", what);
}

static bool take_sparse(struct image_arguments *a, const char *text)
{
    bool good = image_parse_size(text, &a->sparse) && a->sparse % 512 == 0 && a->sparse <= MIB(16);
    a->dense = !a->sparse;
    return good || !tell(a, "-S: say 0, or a multiple of 512 up to 16M");
}

/* As many requests at once as qemu-img would make; here they follow each other in any case. */
static bool is_request_count(struct image_arguments *a, const char *text)
{
    u64 count;
    bool good = image_parse_size(text, &count) && count >= 1 && count <= 16;
    return good || !tell(a, "-m: say 1 to 16");
}

static bool take_rate(struct image_arguments *a, const char *text)
{
    bool good = image_parse_size(text, &a->rate) && a->rate;
    return good || !tell(a, "-r: say how many bytes in a second, such as 10M");
}

/* One option; `letter` means what it means in this subcommand. */
static bool take_argument(struct image_arguments *a, const struct subcommand *s, int letter)
{
    if (s->run == image_snapshots && strchr("lcad", letter)) {
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
    case 'l': a->snapshot = optarg; return true;
    case 'm': return is_request_count(a, optarg);
    case 'o': return image_add_options(a, optarg);
    case 'r': a->repair = optarg; return s->run == image_run_check || take_rate(a, optarg);
    case 'S': return take_sparse(a, optarg);
    case 't': a->cache = optarg; return true;
    case 'T': a->source_cache = optarg; return true;
    case 'c': a->compress = true; return true;
    case 'd': a->drop = true; return true;
    case 'n': a->existing = true; return true;
    case 'p': a->progress = true; return true;
    case 'q': a->quiet = true; return true;
    case 'u': a->unsafe = true; return true;
    case 'U': a->share = true; return true;
    case 'V': a->salvage = true; return true;
    case 'W': return true; /* out of order: may be, need not */
    case 'Z': a->zero_target = true; return true;
    case 'K': a->shrink = true; return true;
    case 'P': a->preallocation = optarg; return true;
    case 'C': a->whole_chain = true; return true;
    case 'J': a->json = !strcmp(optarg, "json"); return a->json || !strcmp(optarg, "human");
    default: return false;
    }
}

static bool read_arguments(int argc, char **argv, const struct subcommand *s,
                           struct image_arguments *a)
{
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'J'},  {"shrink", no_argument, NULL, 'K'},
        {"force-share", no_argument, NULL, 'U'},   {"target-is-zero", no_argument, NULL, 'Z'},
        {"salvage", no_argument, NULL, 'V'},       {"preallocation", required_argument, NULL, 'P'},
        {"backing-chain", no_argument, NULL, 'C'}, {0}};
    int letter;
    optind = 1;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, s->options, longs, NULL)) != -1) {
        if (!strchr(s->options, letter) || !take_argument(a, s, letter))
            return false;
    }
    a->names = (const char *const *)argv + optind;
    a->count = argc - optind;
    return true;
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
    if (wants_help(argc - 1, argv + 1))
        return help();
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(subcommands); i++) {
        if (strcmp(argv[1], subcommands[i].name))
            continue;
        const struct subcommand *s = &subcommands[i];
        if (wants_help(argc - 2, argv + 2))
            return printf("usage: anello image %s %s\n", s->name, s->usage) < 0;
        bool negative = ends_with_negative_size(argc - 1, argv + 1);
        bool good = read_arguments(argc - 1 - negative, argv + 1, s, &a);
        if (good && image_options_help(a.options, a.output_format ? a.output_format
                                                  : a.format      ? a.format
                                                                  : "raw"))
            return 0;
        a.count += negative;
        if (a.told)
            return 1;
        if (!good || !a.count || (a.count > 2 && s->run != image_convert))
            return image_fail("usage: anello image %s %s", s->name, s->usage);
        return s->run(&a);
    }
    return usage();
}
