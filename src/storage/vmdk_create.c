/* SPDX-License-Identifier: MIT
 *
 * New VMDK images, in the subformats that qemu-img makes too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/vmdk.h"

#define SPLIT_BYTES      GIB(2)
#define DEFAULT_HARDWARE "4"

static const struct subformat {
    const char *name;
    enum vmdk_kind kind;
    u32 flags;
    bool split, embedded;
    const char *suffix; /* of the extents' files */
} subformats[] = {
    {"monolithicSparse", VMDK_SPARSE, 0, false, true, NULL},
    {"streamOptimized", VMDK_SPARSE, VMDK_COMPRESSED | VMDK_MARKERS, false, true, NULL},
    {"monolithicFlat", VMDK_FLAT, 0, false, false, "-flat"},
    {"twoGbMaxExtentSparse", VMDK_SPARSE, 0, true, false, "-s%03u"},
    {"twoGbMaxExtentFlat", VMDK_FLAT, 0, true, false, "-f%03u"},
};

static const struct subformat *find_subformat(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(subformats); i++) {
        if (!name || !strcmp(name, subformats[i].name))
            return &subformats[i];
    }
    return NULL;
}

static bool is_known_adapter(const char *name)
{
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
    for (size_t i = 0; i < ARRAY_LEN(adapters); i++) {
        if (!strcmp(name, adapters[i]))
            return true;
    }
    return false;
}

/* ---- the parts ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The name of extent `index` from 0, without a folder; false: too long, or it cannot be quoted. */
static bool name_extent(char *name, const char *path, const struct subformat *s, u32 index)
{
    const char *base = base_name(path);
    size_t stem = strlen(base);
    char suffix[16] = "";
    if (s->suffix) {
        /* Both kinds of suffix take at most one number. */
        if (s->split)
            snprintf(suffix, sizeof suffix, "-%c%03u", s->suffix[1], index + 1);
        else
            snprintf(suffix, sizeof suffix, "%s", s->suffix);
        const char *dot = strrchr(base, '.');
        stem = dot ? (size_t)(dot - base) : stem;
    }
    int n = snprintf(name, VMDK_NAME_MAX, "%.*s%s%s", (int)stem, base, suffix,
                     s->suffix ? base + stem : "");
    return n > 0 && n < (int)VMDK_NAME_MAX && !strpbrk(name, "\"\n\r");
}

static bool list_extents(struct vmdk_descriptor *d, const char *path, const struct subformat *s,
                         u64 bytes)
{
    u64 piece = s->split ? SPLIT_BYTES : bytes;
    d->count = (u32)div_up(bytes, piece);
    d->lines = calloc(d->count, sizeof *d->lines);
    for (u32 i = 0; d->lines && i < d->count; i++) {
        u64 left = bytes - i * piece;
        d->lines[i].kind = s->kind;
        d->lines[i].bytes = left < piece ? left : piece;
        if (!name_extent(d->lines[i].name, path, s, i))
            return false;
    }
    return d->lines;
}

/* The parent's content id, by which it is known. */
static int take_parent(struct vmdk_descriptor *d, const char *path, const struct image_create *o,
                       char *error, size_t n)
{
    if (!o->backing)
        return 0;
    char *name = image_relative_path(path, o->backing);
    struct image_options io = {.format = "vmdk", .read_only = true};
    bool vmdk = !o->backing_format || !strcmp(o->backing_format, "vmdk");
    struct image *parent = vmdk && name ? image_open(name, &io, error, n) : NULL;
    free(name);
    if (!vmdk)
        snprintf(error, n, "%s: the backing file of a vmdk image must be one too", path);
    if (!parent)
        return -EINVAL;
    const struct vmdk *v = parent->state;
    d->parent_cid = v->descriptor.cid;
    snprintf(d->parent, sizeof d->parent, "%s", o->backing);
    image_close(parent);
    return 0;
}

/* ---- writing them ---- */

static int fill_extent(struct file *file, const struct subformat *s, const struct image_create *o,
                       u64 bytes, const char *text)
{
    const char *mode = o->preallocation ? o->preallocation : "off";
    if (s->kind == VMDK_SPARSE)
        return vmdk_sparse_create(file, bytes,
                                  s->flags | (o->zeroed_grain ? VMDK_ZEROED_GRAINS : 0), text);
    int error = file_truncate(file, bytes);
    if (!error && strcmp(mode, "off"))
        error = file_reserve(file, 0, bytes);
    return error ? error : file_flush(file);
}

static int make_file(const char *path, const struct subformat *s, const struct image_create *o,
                     u64 bytes, const char *text, char *error, size_t n)
{
    struct file *file = file_open(path, FILE_WRITABLE | FILE_CREATE, error, n);
    if (!file)
        return -EIO;
    int failed = fill_extent(file, s, o, bytes, text);
    file_close(file);
    if (failed != -E2BIG)
        return image_result(path, failed, error, n);
    snprintf(error, n, "%s: the name of the backing file is too long", path);
    return failed;
}

static int make_descriptor_file(const char *path, const char *text, char *error, size_t n)
{
    struct file *file = file_open(path, FILE_WRITABLE | FILE_CREATE, error, n);
    if (!file)
        return -EIO;
    int failed = file_write(file, 0, text, strlen(text));
    if (!failed)
        failed = file_flush(file);
    file_close(file);
    return image_result(path, failed, error, n);
}

static int make_files(const char *path, const struct subformat *s, const struct image_create *o,
                      const struct vmdk_descriptor *d, const char *text, char *error, size_t n)
{
    if (s->embedded)
        return make_file(path, s, o, d->lines[0].bytes, text, error, n);
    int failed = 0;
    for (u32 i = 0; i < d->count && !failed; i++) {
        char *name = image_relative_path(path, d->lines[i].name);
        failed = name ? make_file(name, s, o, d->lines[i].bytes, NULL, error, n) : -ENOMEM;
        free(name);
    }
    return failed ? failed : make_descriptor_file(path, text, error, n);
}

static const char *objection(const struct image_create *o, const struct subformat *s)
{
    const char *mode = o->preallocation ? o->preallocation : "off";
    const char *why = image_create_extra(o, IMAGE_BACKING | IMAGE_PREALLOCATION | IMAGE_VMDK);
    if (why)
        return why;
    if (!s)
        return "subformat is monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, "
               "twoGbMaxExtentFlat or streamOptimized";
    if (!o->bytes || o->bytes > (u64)INT64_MAX / 2 ||
        (s->split && o->bytes > VMDK_EXTENTS_MAX * SPLIT_BYTES))
        return "a vmdk image cannot have that size";
    if (s->kind == VMDK_FLAT && (o->backing || o->zeroed_grain))
        return "a flat image has no backing file and no zeroed grains";
    bool known = !strcmp(mode, "off") || !strcmp(mode, "falloc") || !strcmp(mode, "full");
    if (!known || (s->kind != VMDK_FLAT && strcmp(mode, "off")))
        return "preallocation is off, or for flat images falloc or full";
    if (o->adapter && !is_known_adapter(o->adapter))
        return "adapter_type is ide, lsilogic, buslogic or legacyESX";
    if (o->hardware_version &&
        strspn(o->hardware_version, "0123456789") != strlen(o->hardware_version))
        return "hwversion is a number";
    return NULL;
}

int vmdk_create(const char *path, const struct image_create *options, char *error, size_t n)
{
    const struct subformat *s = find_subformat(options->subformat);
    struct image_create o = *options;
    o.bytes = align_up(o.bytes, VMDK_SECTOR);
    const char *why = objection(&o, s);
    if (why)
        return image_refuse(path, why, error, n);
    struct vmdk_descriptor d = {.cid = vmdk_new_cid(VMDK_NO_PARENT, VMDK_ID_DIGITS),
                                .parent_cid = VMDK_NO_PARENT};
    snprintf(d.type, sizeof d.type, "%s", s->name);
    int failed = take_parent(&d, path, &o, error, n);
    if (failed)
        return failed;
    char *text = NULL;
    if (list_extents(&d, path, s, o.bytes))
        text = vmdk_descriptor_build(&d, o.bytes, o.adapter ? o.adapter : "ide",
                                     o.hardware_version ? o.hardware_version : DEFAULT_HARDWARE);
    if (text) {
        failed = make_files(path, s, &o, &d, text, error, n);
    } else {
        snprintf(error, n, "%s: its name cannot stand in a descriptor", path);
        failed = -EINVAL;
    }
    free(text);
    vmdk_descriptor_free(&d);
    return failed;
}
