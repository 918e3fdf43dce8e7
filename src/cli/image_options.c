/* SPDX-License-Identifier: MIT
 *
 * Values of options: sizes, the list of -o, cache modes, formats.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/image.h"

/* "1.5": what a fraction is of. */
static bool fraction(const char *text, char **end, double *value)
{
    errno = 0;
    *value = strtod(text, end);
    return !errno && *value >= 0;
}

bool image_parse_size(const char *text, u64 *bytes)
{
    static const char units[] = "bkmgtpe";
    char *end;
    double value = 0;
    errno = 0;
    u64 whole = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno)
        return false;
    bool exact = *end != '.';
    if (!exact && !fraction(text, &end, &value))
        return false;
    unsigned shift = 0;
    if (*end) {
        const char *unit = strchr(units, *end | 0x20);
        if (!unit || end[1])
            return false;
        shift = 10 * (unsigned)(unit - units);
    }
    value *= (double)((u64)1 << shift);
    if (exact ? whole > (u64)INT64_MAX >> shift : value >= 9.2e18)
        return false;
    *bytes = exact ? whole << shift : (u64)value;
    return true;
}

/* ---- -o ---- */

enum option_kind { OPTION_TEXT, OPTION_SIZE, OPTION_NUMBER, OPTION_SWITCH };

#define FIELD(f) offsetof(struct image_create, f)

/* What -o knows, and the formats that know it. */
static const struct {
    const char *key;
    enum option_kind kind;
    size_t field;
    const char *formats, *help;
} options[] = {
    // clang-format off
    {"size",             OPTION_SIZE,   FIELD(bytes),            "raw qcow2 vmdk vdi", "size of the disk"},
    {"preallocation",    OPTION_TEXT,   FIELD(preallocation),    "raw qcow2 vmdk",     "off, metadata (qcow2), falloc, full"},
    {"backing_file",     OPTION_TEXT,   FIELD(backing),          "qcow2 vmdk",         "image that holds what this one has not"},
    {"backing_fmt",      OPTION_TEXT,   FIELD(backing_format),   "qcow2 vmdk",         "its format"},
    {"cluster_size",     OPTION_SIZE,   FIELD(cluster_bytes),    "qcow2",              "512 to 2M"},
    {"compat",           OPTION_TEXT,   FIELD(compat),           "qcow2",              "0.10 or 1.1"},
    {"compression_type", OPTION_TEXT,   FIELD(compression),      "qcow2",              "zlib or zstd"},
    {"lazy_refcounts",   OPTION_SWITCH, FIELD(lazy_refcounts),   "qcow2",              "counts may lag behind"},
    {"refcount_bits",    OPTION_NUMBER, FIELD(refcount_bits),    "qcow2",              "1 to 64"},
    {"subformat",        OPTION_TEXT,   FIELD(subformat),        "vmdk",               "monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized"},
    {"adapter_type",     OPTION_TEXT,   FIELD(adapter),          "vmdk",               "ide, lsilogic, buslogic, legacyESX"},
    {"hwversion",        OPTION_TEXT,   FIELD(hardware_version), "vmdk",               "virtual hardware version"},
    {"zeroed_grain",     OPTION_SWITCH, FIELD(zeroed_grain),     "vmdk",               "zeros by a mark"},
    {"static",           OPTION_SWITCH, FIELD(is_static),        "vdi",                "all blocks from the start"},
    // clang-format on
};

static bool store(void *field, enum option_kind kind, const char *value)
{
    u64 number;
    switch (kind) {
    case OPTION_TEXT: *(const char **)field = value; return true;
    case OPTION_SIZE: return image_parse_size(value, field);
    case OPTION_NUMBER:
        if (!image_parse_size(value, &number) || number > 64)
            return false;
        *(u32 *)field = (u32)number;
        return true;
    case OPTION_SWITCH:
        *(bool *)field = !strcmp(value, "on");
        return !strcmp(value, "on") || !strcmp(value, "off");
    }
    return false;
}

static bool take_option(struct image_create *c, const char *key, const char *value)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!strcmp(key, options[i].key))
            return store((char *)c + options[i].field, options[i].kind, value);
    }
    return false;
}

/* The word at the start of a list, with its double commas made single ones; what follows it. */
static char *cut_word(char *list)
{
    char *to = list;
    for (; *list && (*list != ',' || list[1] == ','); list++) {
        list += *list == ',';
        *to++ = *list;
    }
    char *rest = *list ? list + 1 : list;
    *to = 0;
    return rest;
}

bool image_add_options(struct image_arguments *a, const char *list)
{
    size_t used = strlen(a->option_list), room = sizeof a->option_list - used;
    int n = snprintf(a->option_list + used, room, "%s%s", used ? "," : "", list);
    a->options = a->option_list;
    return n >= 0 && (size_t)n < room;
}

bool image_parse_options(const char *list, struct image_create *create, char *storage, size_t room)
{
    if (!list)
        return true;
    snprintf(storage, room, "%s", list);
    for (char *word = storage, *rest; *word; word = rest) {
        rest = cut_word(word);
        char *value = strchr(word, '=');
        if (value)
            *value++ = 0;
        if (!value || !take_option(create, word, value)) {
            image_fail("-o %s: unknown option, or no such value; \"-o help\" lists them", word);
            return false;
        }
    }
    return true;
}

bool image_options_help(const char *list, const char *format)
{
    size_t n = list ? strlen(list) : 0;
    bool last = n >= 5 && !strcmp(list + n - 5, ",help");
    if (!list || (strcmp(list, "help") && strcmp(list, "?") && !last))
        return false;
    printf("Options of %s:\n", format);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strstr(options[i].formats, format))
            printf("  %-17s %s\n", options[i].key, options[i].help);
    }
    return true;
}

/* ---- others ---- */

bool image_cache_flags(const char *mode, unsigned *flags)
{
    static const struct {
        const char *name;
        unsigned flags;
    } modes[] = {{"writeback", 0},
                 {"writethrough", FILE_SYNC},
                 {"none", FILE_DIRECT},
                 {"directsync", FILE_DIRECT | FILE_SYNC},
                 {"unsafe", FILE_UNSAFE}};
    *flags = 0;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (!mode || !strcmp(mode, modes[i].name)) {
            *flags = modes[i].flags;
            return true;
        }
    }
    image_fail("%s: a cache mode is writeback, writethrough, none, directsync or unsafe", mode);
    return false;
}

const struct image_format *image_target_format(const char *option, const char *name)
{
    const struct image_format *format = image_format_by_name(name);
    if (format && format->create)
        return format;
    image_fail("%s %s: no such format; there are raw, qcow2, vmdk and vdi", option, name);
    return NULL;
}
