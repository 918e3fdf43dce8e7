/* SPDX-License-Identifier: MIT
 *
 * `anello image`: the options, and the subcommands that are only a few calls.
 */
#include "cli/image.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MESSAGE_BYTES 1024

int image_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("anello: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return 1;
}

bool image_parse_size(const char *text, u64 *bytes)
{
    static const char units[] = "bkmgt";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    unsigned shift = 0;
    if (end == text || errno || !(value >= 0) || *text == '-')
        return false;
    if (*end) {
        const char *unit = strchr(units, *end | 0x20);
        if (!unit || end[1])
            return false;
        shift = 10 * (unsigned)(unit - units);
    }
    value *= (double)((u64)1 << shift);
    if (value >= 9.2e18)
        return false;
    *bytes = (u64)value;
    return true;
}

/* ---- -o ---- */

static bool parse_switch(const char *value, bool *on)
{
    *on = !strcmp(value, "on");
    return *on || !strcmp(value, "off");
}

static bool take_option(struct image_create *c, const char *key, const char *value)
{
    u64 number = 0;
    bool sized = image_parse_size(value, &number);
    if (!strcmp(key, "size") && sized)
        c->bytes = number;
    else if (!strcmp(key, "cluster_size") && sized)
        c->cluster_bytes = number;
    else if (!strcmp(key, "refcount_bits") && sized && number <= 64)
        c->refcount_bits = (u32)number;
    else if (!strcmp(key, "lazy_refcounts") && parse_switch(value, &c->lazy_refcounts))
        return true;
    else if (!strcmp(key, "backing_file"))
        c->backing = value;
    else if (!strcmp(key, "backing_fmt"))
        c->backing_format = value;
    else if (!strcmp(key, "preallocation"))
        c->preallocation = value;
    else if (!strcmp(key, "compat"))
        c->compat = value;
    else if (!strcmp(key, "compression_type"))
        c->compression = value;
    else if (!strcmp(key, "subformat"))
        c->subformat = value;
    else if (!strcmp(key, "adapter_type"))
        c->adapter = value;
    else if (!strcmp(key, "hwversion"))
        c->hardware_version = value;
    else if (!strcmp(key, "zeroed_grain") && parse_switch(value, &c->zeroed_grain))
        return true;
    else
        return !strcmp(key, "static") && parse_switch(value, &c->is_static);
    return true;
}

bool image_parse_options(const char *list, struct image_create *create, char *storage, size_t room)
{
    char *save = NULL;
    if (!list)
        return true;
    snprintf(storage, room, "%s", list);
    for (char *word = strtok_r(storage, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        char *value = strchr(word, '=');
        if (value)
            *value++ = 0;
        if (!value || !take_option(create, word, value)) {
            image_fail("-o %s: unknown option, or no such value", word);
            return false;
        }
    }
    return true;
}

/* ---- subcommands ---- */

static struct image *open_named(const struct image_arguments *a, bool read_only, char *error)
{
    struct image_options o = {.format = a->format, .read_only = read_only};
    return image_open(a->names[0], &o, error, MESSAGE_BYTES);
}

/* The size of the backing file, for an image that has none of its own. */
static bool size_of_backing(const char *path, struct image_create *c, char *error)
{
    struct image_options o = {.format = c->backing_format, .read_only = true};
    char *name = image_relative_path(path, c->backing);
    struct image *backing = name ? image_open(name, &o, error, MESSAGE_BYTES) : NULL;
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
    char error[MESSAGE_BYTES] = "", storage[1024];
    struct image_create c = {.backing = a->backing, .backing_format = a->backing_format};
    const char *name = a->format ? a->format : "raw";
    const struct image_format *format = image_format_by_name(name);
    if (!format || !format->create)
        return image_fail("-f %s: no such format; there are raw, qcow2, vmdk and vdi", name);
    if (!image_parse_options(a->options, &c, storage, sizeof storage))
        return 1;
    if (a->count > 1 && !image_parse_size(a->names[1], &c.bytes))
        return image_fail("%s: not a size; say a number with K, M, G or T", a->names[1]);
    if (a->count < 2 && !c.bytes && !c.backing)
        return image_fail("%s: how large? add a size, such as 10G", a->names[0]);
    if (c.backing && !size_of_backing(a->names[0], &c, error))
        return image_fail("%s", error);
    if (format->create(a->names[0], &c, error, sizeof error))
        return image_fail("%s", error);
    return 0;
}

static int resize(const struct image_arguments *a)
{
    char error[MESSAGE_BYTES] = "";
    u64 bytes;
    if (a->count < 2)
        return image_fail("resize: give an image and a size, such as 10G, +1G or -1G");
    const char *text = a->names[1];
    bool relative = *text == '+' || *text == '-';
    if (!image_parse_size(text + relative, &bytes))
        return image_fail("%s: not a size; say a number with K, M, G or T", text);
    struct image *image = open_named(a, false, error);
    if (!image)
        return image_fail("%s", error);
    if (relative)
        bytes = *text == '+' ? image->size + bytes
                             : image->size - (bytes < image->size ? bytes : image->size);
    int failed;
    if (bytes < image->size && !a->shrink)
        failed = image_fail("%s: would lose what lies beyond the new end; --shrink allows it",
                            a->names[0]);
    else if (!image->format->resize)
        failed = image_fail("%s: the size of a %s image cannot change", a->names[0],
                            image->format->name);
    else
        failed =
            image->format->resize(image, bytes, error, sizeof error) ? image_fail("%s", error) : 0;
    image_close(image);
    return failed;
}

static int list_snapshots(struct image *image)
{
    struct image_snapshot *list;
    u32 count;
    if (image->format->snapshot_list(image, &list, &count))
        return image_fail("%s: its snapshots cannot be read", image->path);
    if (count)
        printf("%-9s %-16s %12s  %s\n", "ID", "TAG", "VM SIZE", "DATE");
    for (u32 i = 0; i < count; i++) {
        char date[32];
        struct tm tm;
        time_t seconds = list[i].seconds;
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
        printf("%-9s %-16s %12llu  %s\n", list[i].id, list[i].name,
               (unsigned long long)list[i].vm_state_bytes, date);
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
    return 0;
}

static int snapshot(const struct image_arguments *a)
{
    char error[MESSAGE_BYTES] = "";
    char action = a->action ? a->action : 'l';
    struct image *image = open_named(a, action == 'l', error);
    if (!image)
        return image_fail("%s", error);
    const struct image_format *f = image->format;
    int failed = 0;
    if (!f->snapshot_list)
        failed = image_fail("%s: a %s image cannot hold snapshots", a->names[0], f->name);
    else if (action == 'l')
        failed = list_snapshots(image);
    else if ((action == 'c'   ? f->snapshot_create
              : action == 'a' ? f->snapshot_apply
                              : f->snapshot_delete)(image, a->snapshot, error, sizeof error))
        failed = image_fail("%s: %s", a->names[0], error);
    image_close(image);
    return failed;
}

static int not_yet(const struct image_arguments *a)
{
    (void)a;
    return image_fail("this image command is not part of this version: see docs/status.md");
}

/* ---- the command line ---- */

static const struct {
    const char *name, *usage;
    int (*run)(const struct image_arguments *a);
} subcommands[] = {
    {"create", "[-f FORMAT] [-b BACKING [-F FORMAT]] [-o OPTIONS] FILE [SIZE]", create},
    {"info", "[-f FORMAT] [--output json] FILE", image_show},
    {"check", "[-f FORMAT] [-r leaks|all] [--output json] FILE", image_run_check},
    {"convert", "[-f FORMAT] [-O FORMAT] [-c] [-p] [-o OPTIONS] FROM TO", image_convert},
    {"resize", "[-f FORMAT] [--shrink] FILE [+|-]SIZE", resize},
    {"snapshot", "[-l | -c NAME | -a NAME | -d NAME] FILE", snapshot},
    {"commit", "FILE", not_yet},
    {"rebase", "-b BACKING FILE", not_yet},
};

static int usage(void)
{
    return image_fail("usage: anello image create|info|check|convert|resize|snapshot ...; with a "
                      "command alone it says more");
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
    case 'b': a->backing = optarg; return true;
    case 'F': a->backing_format = optarg; return true;
    case 'o': a->options = optarg; return true;
    case 'r': a->repair = optarg; return true;
    case 'c': a->compress = true; return true;
    case 'p': a->progress = true; return true;
    case 'S': a->shrink = true; return true;
    case 'J': a->json = !strcmp(optarg, "json"); return a->json || !strcmp(optarg, "human");
    default: return false;
    }
}

static bool read_arguments(int argc, char **argv, struct image_arguments *a)
{
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'J'}, {"shrink", no_argument, NULL, 'S'}, {0}};
    bool snapshots = !strcmp(argv[0], "snapshot");
    int letter;
    optind = 1;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, snapshots ? "f:lc:a:d:" : "f:O:b:F:o:r:cp", longs,
                                 NULL)) != -1) {
        if (!take_argument(a, snapshots, letter))
            return false;
    }
    for (; optind < argc && a->count < 2; optind++)
        a->names[a->count++] = argv[optind];
    return a->count && optind == argc;
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
        bool negative = ends_with_negative_size(argc - 1, argv + 1);
        if (!read_arguments(argc - 1 - negative, argv + 1, &a))
            return image_fail("usage: anello image %s %s", argv[1], subcommands[i].usage);
        if (negative)
            a.names[a.count < 2 ? a.count++ : 1] = argv[argc - 1];
        return subcommands[i].run(&a);
    }
    return usage();
}
