/* SPDX-License-Identifier: MIT
 *
 * How far a long command is, for people who look on; and how fast it may go.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/image.h"

/* For people: where nobody looks on there is none. */
static bool shown(const struct image_arguments *a)
{
    return a->progress && !a->quiet && isatty(STDOUT_FILENO);
}

void image_progress(const struct image_arguments *a, u64 done, u64 total)
{
    if (!shown(a))
        return;
    printf("    (%.2f/100%%)\r", total ? 100.0 * (double)done / (double)total : 100.0);
    fflush(stdout);
}

void image_progress_end(const struct image_arguments *a)
{
    if (shown(a))
        putchar('\n');
}

/* ---- pace ---- */

#define NS 1000000000u

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * NS + (u64)t.tv_nsec;
}

struct image_pace image_pace_begin(u64 rate)
{
    return (struct image_pace){.rate = rate, .begun = rate ? now_ns() : 0};
}

void image_pace(struct image_pace *p, u64 bytes)
{
    if (!p->rate || !bytes)
        return;
    p->copied += bytes;
    double seconds = (double)p->copied / (double)p->rate;
    double left = seconds - (double)(now_ns() - p->begun) / NS;
    for (; left > 0; left = seconds - (double)(now_ns() - p->begun) / NS) {
        double step = left < 1 ? left : 1;
        nanosleep(
            &(struct timespec){.tv_sec = step >= 1, .tv_nsec = (long)(step < 1 ? step * NS : 0)},
            NULL);
    }
}
