/* SPDX-License-Identifier: MIT
 *
 * `anello image snapshot`: the snapshots within an image.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/image.h"

static void free_list(struct image_snapshot *list, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        free(list[i].id);
        free(list[i].name);
    }
    free(list);
}

static void print_list(const struct image_snapshot *list, u32 count)
{
    if (count)
        printf("%-9s %-16s %12s  %s\n", "ID", "TAG", "VM SIZE", "DATE");
    for (u32 i = 0; i < count; i++) {
        char date[32];
        struct tm tm;
        time_t seconds = list[i].seconds;
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
        printf("%-9s %-16s %12llu  %s\n", list[i].id, list[i].name,
               (unsigned long long)list[i].vm_state_bytes, date);
    }
}

static void print_json(const struct image_snapshot *list, u32 count, const char *indent)
{
    puts("[");
    for (u32 i = 0; i < count; i++) {
        const struct image_snapshot *s = &list[i];
        printf("%s    {\n%s        \"id\": ", indent, indent);
        image_put_json(s->id);
        printf(",\n%s        \"name\": ", indent);
        image_put_json(s->name);
        printf(",\n%s        \"vm-state-size\": %llu,\n", indent,
               (unsigned long long)s->vm_state_bytes);
        printf("%s        \"date-sec\": %u,\n%s        \"date-nsec\": %u,\n", indent, s->seconds,
               indent, s->nanoseconds);
        printf("%s        \"vm-clock-sec\": %llu,\n%s        \"vm-clock-nsec\": %llu\n", indent,
               (unsigned long long)(s->vm_clock / 1000000000), indent,
               (unsigned long long)(s->vm_clock % 1000000000));
        printf("%s    }%s\n", indent, i + 1 < count ? "," : "");
    }
    printf("%s]", indent);
}

void image_put_json_snapshots(struct image *image, const char *indent)
{
    struct image_snapshot *list;
    u32 count;
    if (!image->format->snapshot_list || image->format->snapshot_list(image, &list, &count))
        return;
    if (count) {
        printf("%s\"snapshots\": ", indent);
        print_json(list, count, indent);
        puts(",");
    }
    free_list(list, count);
}

static int show(const struct image_arguments *a, struct image *image)
{
    struct image_snapshot *list;
    u32 count;
    if (image->format->snapshot_list(image, &list, &count))
        return image_fail("%s: its snapshots cannot be read", image->path);
    if (a->json) {
        print_json(list, count, "");
        putchar('\n');
    } else {
        print_list(list, count);
    }
    free_list(list, count);
    return 0;
}

int image_snapshots(const struct image_arguments *a)
{
    char error[IMAGE_MESSAGE_BYTES] = "";
    char action = a->action ? a->action : 'l';
    struct image *image = image_open_named(a, &(struct image_options){.read_only = action == 'l'});
    if (!image)
        return 1;
    const struct image_format *f = image->format;
    int failed = 0;
    if (!f->snapshot_list)
        failed = image_fail("%s: a %s image cannot hold snapshots", a->names[0], f->name);
    else if (action == 'l')
        failed = show(a, image);
    else if ((action == 'c'   ? f->snapshot_create
              : action == 'a' ? f->snapshot_apply
                              : f->snapshot_delete)(image, a->snapshot, error, sizeof error))
        failed = image_fail("%s: %s", a->names[0], error);
    image_close(image);
    return failed;
}
