/* SPDX-License-Identifier: MIT
 *
 * `anello image info` and `check`: what is told about an image, for people and as JSON with the
 * keys that qemu-img uses.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/image.h"

/* As qemu-img's. */
enum check_exit {
    CHECK_CLEAN = 0,
    CHECK_FAILED = 1,
    CHECK_ERRORS = 2,
    CHECK_LEAKS = 3,
    CHECK_UNSUPPORTED = 63,
};

void image_put_json(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((u8)*text < 0x20)
            printf("\\u%04x", (u8)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void json_text(const char *key, const char *value)
{
    printf("    \"%s\": ", key);
    image_put_json(value);
    puts(",");
}

static void json_number(const char *key, u64 value, const char *end)
{
    printf("    \"%s\": %llu%s\n", key, (unsigned long long)value, end);
}

/* ---- info ---- */

static u64 allocated(struct image *image)
{
    return image->format->allocated ? image->format->allocated(image) : file_allocated(image->file);
}

/* One member of an object within an object. */
static void json_line(const char *key, const char *value, bool bare)
{
    printf("            \"");
    for (; *key; key++)
        putchar(*key == ' ' ? '-' : *key);
    printf("\": ");
    if (bare)
        fputs(value, stdout);
    else
        image_put_json(value);
}

static void json_parts(const struct image_info *info)
{
    puts("            \"extents\": [");
    for (u32 i = 0; i < info->part_count; i++) {
        const struct image_part *p = &info->parts[i];
        printf("                {\n                    \"virtual-size\": %llu,\n",
               (unsigned long long)p->bytes);
        printf("                    \"filename\": ");
        image_put_json(p->name);
        if (p->cluster_bytes)
            printf(",\n                    \"cluster-size\": %llu",
                   (unsigned long long)p->cluster_bytes);
        if (p->compressed)
            printf(",\n                    \"compressed\": true");
        printf(",\n                    \"format\": \"%s\"\n                }%s\n", p->format,
               i + 1 < info->part_count ? "," : "");
    }
    puts("            ]");
}

static void json_specific(const struct image *image, const struct image_info *info)
{
    printf("    \"format-specific\": {\n        \"type\": \"%s\",\n        \"data\": {\n",
           image->format->name);
    for (u32 i = 0; i < info->count; i++) {
        json_line(info->lines[i].key, info->lines[i].value, info->lines[i].bare);
        puts(i + 1 < info->count || info->part_count ? "," : "");
    }
    if (info->part_count)
        json_parts(info);
    puts("        }\n    },");
}

static void json_backing(const struct image *image)
{
    if (!image->backing_path)
        return;
    char *path = image_relative_path(image->path, image->backing_path);
    json_text("backing-filename", image->backing_path);
    json_text("full-backing-filename", path ? path : image->backing_path);
    if (image->backing_format)
        json_text("backing-filename-format", image->backing_format);
    free(path);
}

static void show_json(struct image *image, const struct image_info *info, const char *end)
{
    puts("{");
    json_text("filename", image->path);
    json_text("format", image->format->name);
    json_number("virtual-size", image->size, ",");
    json_number("actual-size", allocated(image), ",");
    if (info->cluster_bytes)
        json_number("cluster-size", info->cluster_bytes, ",");
    json_backing(image);
    image_put_json_snapshots(image, "    ");
    if (info->count)
        json_specific(image, info);
    printf("    \"dirty-flag\": %s\n}%s\n", info->dirty ? "true" : "false", end);
}

static void put_size(const char *label, u64 bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024; value /= 1024)
        unit++;
    printf("%s: %.3g %s", label, value, units[unit]);
}

static void show_text(struct image *image, const struct image_info *info)
{
    printf("image: %s\nfile format: %s\n", image->path, image->format->name);
    put_size("virtual size", image->size);
    printf(" (%llu bytes)\n", (unsigned long long)image->size);
    put_size("disk size", allocated(image));
    putchar('\n');
    if (info->cluster_bytes)
        printf("cluster_size: %llu\n", (unsigned long long)info->cluster_bytes);
    if (image->backing_path)
        printf("backing file: %s\n", image->backing_path);
    if (image->backing_format)
        printf("backing file format: %s\n", image->backing_format);
    if (info->count)
        puts("Format specific information:");
    for (u32 i = 0; i < info->count; i++)
        printf("    %s: %s\n", info->lines[i].key, info->lines[i].value);
    if (info->part_count)
        puts("    extents:");
    for (u32 i = 0; i < info->part_count; i++) {
        const struct image_part *p = &info->parts[i];
        printf("        [%u]:\n            virtual size: %llu\n            filename: %s\n", i,
               (unsigned long long)p->bytes, p->name);
        if (p->cluster_bytes)
            printf("            cluster size: %llu\n", (unsigned long long)p->cluster_bytes);
        printf("            format: %s\n", p->format);
    }
}

static void show(const struct image_arguments *a, struct image *image, bool first, bool more)
{
    struct image_info info = {0};
    if (image->format->info)
        image->format->info(image, &info);
    if (!a->json && !first)
        putchar('\n');
    if (a->json)
        show_json(image, &info, more ? "," : "");
    else
        show_text(image, &info);
    free(info.parts);
}

/* The next image of the chain; NULL at its end, or with *failed. */
static struct image *open_below(const struct image *image, unsigned depth, bool *failed)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    if (!image->backing_path)
        return NULL;
    struct image_options o = {
        .format = image->backing_format, .read_only = true, .no_backing = true, .depth = depth};
    char *path = image_relative_path(image->path, image->backing_path);
    struct image *below = path ? image_open(path, &o, error, sizeof error) : NULL;
    free(path);
    *failed = !below;
    if (!below)
        image_fail("%s", error);
    return below;
}

int image_show(const struct image_arguments *a)
{
    bool failed = false;
    unsigned depth = 0;
    struct image_options o = {.read_only = true, .no_backing = true};
    struct image *image = image_open_named(a, &o);
    if (!image)
        return 1;
    if (a->json && a->whole_chain)
        puts("[");
    while (image) {
        struct image *below = a->whole_chain ? open_below(image, depth + 1, &failed) : NULL;
        show(a, image, !depth++, below);
        image_close(image);
        image = below;
    }
    if (a->json && a->whole_chain)
        puts("]");
    return failed;
}

/* ---- check ---- */

static void say_finding(void *opaque, const char *line)
{
    (void)opaque;
    fprintf(stderr, "%s\n", line);
}

static void check_json(const struct image *image, const struct image_check *r)
{
    puts("{");
    json_text("filename", image->path);
    json_text("format", image->format->name);
    json_number("check-errors", 0, ",");
    json_number("image-end-offset", r->end_offset, ",");
    json_number("total-clusters", r->total_clusters, ",");
    json_number("allocated-clusters", r->allocated_clusters, ",");
    json_number("compressed-clusters", r->compressed_clusters, ",");
    json_number("fragmented-clusters", r->fragmented_clusters, ",");
    json_number("corruptions", r->errors - r->errors_fixed, ",");
    json_number("corruptions-fixed", r->errors_fixed, ",");
    json_number("leaks", r->leaks - r->leaks_fixed, ",");
    json_number("leaks-fixed", r->leaks_fixed, "");
    puts("}");
}

static void check_text(const struct image_check *r)
{
    u64 errors = r->errors - r->errors_fixed, leaks = r->leaks - r->leaks_fixed;
    if (r->errors_fixed || r->leaks_fixed)
        printf("Repaired %llu errors and %llu leaked clusters.\n",
               (unsigned long long)r->errors_fixed, (unsigned long long)r->leaks_fixed);
    if (errors)
        printf("%llu errors were found on the image.\n", (unsigned long long)errors);
    if (leaks)
        printf("%llu leaked clusters were found on the image; they waste space and do no harm.\n",
               (unsigned long long)leaks);
    if (!errors && !leaks)
        puts("No errors were found on the image.");
    printf("%llu/%llu clusters allocated, %llu fragmented, %llu compressed\n",
           (unsigned long long)r->allocated_clusters, (unsigned long long)r->total_clusters,
           (unsigned long long)r->fragmented_clusters, (unsigned long long)r->compressed_clusters);
}

static int report(const struct image_arguments *a, const struct image *image,
                  const struct image_check *r)
{
    if (a->json)
        check_json(image, r);
    else if (!a->quiet)
        check_text(r);
    if (r->errors > r->errors_fixed)
        return CHECK_ERRORS;
    return r->leaks > r->leaks_fixed ? CHECK_LEAKS : CHECK_CLEAN;
}

int image_run_check(const struct image_arguments *a)
{
    struct image_check r = {.say = say_finding};
    unsigned repair = 0;
    if (a->repair && !strcmp(a->repair, "all"))
        repair = REPAIR_LEAKS | REPAIR_ERRORS;
    else if (a->repair && !strcmp(a->repair, "leaks"))
        repair = REPAIR_LEAKS;
    else if (a->repair)
        return image_fail("-r %s: leaks or all", a->repair);
    unsigned flags;
    if (!image_cache_flags(a->source_cache, &flags))
        return 1;
    struct image_options o = {
        .read_only = !repair, .no_backing = true, .no_repair = true, .file_flags = flags};
    struct image *image = image_open_named(a, &o);
    if (!image)
        return 1;
    int failed;
    if (!image->format->check) {
        image_fail("%s: a %s image has nothing to check", a->names[0], image->format->name);
        failed = CHECK_UNSUPPORTED;
    } else {
        failed = image->format->check(image, repair, &r);
        failed = failed ? image_fail("%s: cannot be checked: %s", a->names[0], strerror(-failed))
                        : report(a, image, &r);
    }
    image_close(image);
    return failed;
}
