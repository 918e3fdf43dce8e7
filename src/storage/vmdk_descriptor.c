/* SPDX-License-Identifier: MIT
 *
 * The descriptor of a VMDK image: lines of text, "key=value" or one for each extent:
 *
 *   RW 4194304 SPARSE "disk-s001.vmdk"
 *   RW 4194304 FLAT "disk-flat.vmdk" 0
 *
 * The files that it names must lie in its own folder: an image from elsewhere is not to name any
 * file of the host.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "storage/vmdk.h"

/* ---- reading ---- */

static const char *skip_spaces(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* Copies a word, or what stands between quotes; the rest of the line, or NULL if it does not fit.
 */
static const char *take_word(const char *p, char *to, size_t room)
{
    size_t n = 0;
    p = skip_spaces(p);
    bool quoted = *p == '"';
    for (p += quoted; *p && *p != '\n' && *p != '\r'; p++) {
        if (quoted ? *p == '"' : *p == ' ' || *p == '\t')
            break;
        if (n + 1 >= room)
            return NULL;
        to[n++] = *p;
    }
    to[n] = 0;
    if (quoted && *p != '"')
        return NULL;
    return p + quoted;
}

static const char *take_number(const char *p, u64 *number)
{
    char word[24], *end;
    p = take_word(p, word, sizeof word);
    if (!p || word[0] < '0' || word[0] > '9')
        return NULL;
    *number = strtoull(word, &end, 10);
    return *end ? NULL : p;
}

/* The value of "key=value"; NULL when the line is another one. */
static const char *value_of(const char *line, const char *key)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n))
        return NULL;
    line = skip_spaces(line + n);
    return *line == '=' ? skip_spaces(line + 1) : NULL;
}

static const char *extent_kind(const char *word, enum vmdk_kind *kind)
{
    static const struct {
        const char *word;
        enum vmdk_kind kind;
    } kinds[] = {
        {"SPARSE", VMDK_SPARSE}, {"FLAT", VMDK_FLAT}, {"VMFS", VMDK_FLAT}, {"ZERO", VMDK_ZERO}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!strcmp(word, kinds[i].word)) {
            *kind = kinds[i].kind;
            return NULL;
        }
    }
    return "has an extent of a type that is not supported; convert it with vmkfstools or qemu-img";
}

static const char *parse_extent(struct vmdk_line *l, const char *p, bool writable)
{
    static const char *const broken = "has a descriptor with a broken extent line";
    char word[16];
    u64 sectors, offset = 0;
    p = take_number(p, &sectors);
    if (!p || !(p = take_word(p, word, sizeof word)))
        return broken;
    const char *why = extent_kind(word, &l->kind);
    if (why)
        return why;
    if (l->kind != VMDK_ZERO && !(p = take_word(p, l->name, sizeof l->name)))
        return broken;
    if (l->kind == VMDK_FLAT && strcmp(word, "VMFS") && !take_number(p, &offset))
        return broken;
    if (l->kind != VMDK_ZERO && (!l->name[0] || strchr(l->name, '/')))
        return "names an extent that does not lie in its own folder";
    if (!sectors || sectors > (u64)INT64_MAX / VMDK_SECTOR / VMDK_EXTENTS_MAX ||
        offset > (u64)INT64_MAX / VMDK_SECTOR / 2)
        return broken;
    l->writable = writable;
    l->bytes = sectors * VMDK_SECTOR;
    l->offset = offset * VMDK_SECTOR;
    return NULL;
}

static const char *add_extent(struct vmdk_descriptor *d, const char *rest, bool writable)
{
    if (d->count == VMDK_EXTENTS_MAX)
        return "has too many extents";
    if (!(d->count & (d->count - 1))) { /* a power of two: full */
        struct vmdk_line *lines =
            realloc(d->lines, (d->count ? 2 * (size_t)d->count : 1) * sizeof *lines);
        if (!lines)
            return "out of memory";
        d->lines = lines;
    }
    struct vmdk_line *l = &d->lines[d->count];
    *l = (struct vmdk_line){0};
    const char *why = parse_extent(l, rest, writable);
    d->count += !why;
    return why;
}

static void parse_id(const char *text, const char *value, u32 *id, struct vmdk_id_place *place)
{
    size_t n = strspn(value, "0123456789abcdefABCDEF");
    *id = n ? (u32)strtoull(value, NULL, 16) : 0;
    place->at = (u64)(value - text);
    place->digits = n <= VMDK_ID_DIGITS ? (unsigned)n : 0;
}

static const char *parse_line(struct vmdk_descriptor *d, const char *text, const char *line)
{
    const char *value;
    if (!strncmp(line, "RW ", 3))
        return add_extent(d, line + 3, true);
    if (!strncmp(line, "RDONLY ", 7))
        return add_extent(d, line + 7, false);
    if (!strncmp(line, "NOACCESS ", 9))
        return "has an extent without access";
    if ((value = value_of(line, "parentCID"))) {
        parse_id(text, value, &d->parent_cid, &d->parent_place);
    } else if ((value = value_of(line, "CID"))) {
        parse_id(text, value, &d->cid, &d->cid_place);
    } else if ((value = value_of(line, "createType"))) {
        if (!take_word(value, d->type, sizeof d->type))
            return "has a descriptor with a broken createType";
    } else if ((value = value_of(line, "parentFileNameHint"))) {
        if (!take_word(value, d->parent, sizeof d->parent))
            return "has a descriptor with a broken parentFileNameHint";
    } else if ((value = value_of(line, "encoding"))) {
        char name[16];
        if (!take_word(value, name, sizeof name) || !strcmp(name, "encrypted"))
            return "has an encoding that is not supported";
    }
    return NULL;
}

const char *vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text)
{
    *d = (struct vmdk_descriptor){.parent_cid = VMDK_NO_PARENT};
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        line = skip_spaces(line);
        const char *why = parse_line(d, text, line);
        if (why)
            return why;
    }
    if (!d->count)
        return "has a descriptor without extents";
    return NULL;
}

void vmdk_descriptor_free(struct vmdk_descriptor *d)
{
    free(d->lines);
    d->lines = NULL;
    d->count = 0;
}

/* ---- writing ---- */

u32 vmdk_new_cid(u32 old, unsigned digits)
{
    u32 id = 0, mask = VMDK_NO_PARENT >> 4 * (VMDK_ID_DIGITS - digits);
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        id = old + 1;
    for (id &= mask; id == old || id == VMDK_NO_PARENT;)
        id = (id + 1) & mask;
    return id;
}

static void put_extents(FILE *f, const struct vmdk_descriptor *d)
{
    for (u32 i = 0; i < d->count; i++) {
        const struct vmdk_line *l = &d->lines[i];
        fprintf(f, "RW %" PRIu64 " %s \"%s\"", l->bytes / VMDK_SECTOR,
                l->kind == VMDK_FLAT ? "FLAT" : "SPARSE", l->name);
        fputs(l->kind == VMDK_FLAT ? " 0\n" : "\n", f);
    }
}

/* A geometry with as many cylinders as an IDE disk can have. */
static void put_geometry(FILE *f, u64 bytes, const char *adapter)
{
    enum { MAX_CYLINDERS = 16383 };
    bool ide = !strcmp(adapter, "ide");
    unsigned heads = ide ? 16 : 255, sectors = 63;
    u64 cylinders = bytes / VMDK_SECTOR / heads / sectors;
    if (ide && cylinders > MAX_CYLINDERS)
        cylinders = MAX_CYLINDERS;
    fprintf(f, "ddb.geometry.cylinders = \"%" PRIu64 "\"\n", cylinders);
    fprintf(f, "ddb.geometry.heads = \"%u\"\n", heads);
    fprintf(f, "ddb.geometry.sectors = \"%u\"\n", sectors);
}

char *vmdk_descriptor_build(const struct vmdk_descriptor *d, u64 bytes, const char *adapter,
                            const char *hardware_version)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    fprintf(f, "# Disk DescriptorFile\nversion=1\nCID=%08" PRIx32 "\nparentCID=%08" PRIx32 "\n",
            d->cid, d->parent_cid);
    fprintf(f, "createType=\"%s\"\n", d->type);
    if (d->parent[0])
        fprintf(f, "parentFileNameHint=\"%s\"\n", d->parent);
    fputs("\n# Extent description\n", f);
    put_extents(f, d);
    fputs("\n# The Disk Data Base\n#DDB\n\n", f);
    fprintf(f, "ddb.virtualHWVersion = \"%s\"\n", hardware_version);
    put_geometry(f, bytes, adapter);
    fprintf(f, "ddb.adapterType = \"%s\"\n", adapter);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}
