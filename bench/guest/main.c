/* SPDX-License-Identifier: MIT
 *
 * The bench program: runs workloads by name and prints one line for each,
 *
 *     BEGIN name                  before it starts
 *     CHECK name checksum         what it computed
 *     BENCH name milliseconds ms  how long that took, by the clock of the machine it ran in
 *
 * and "FAILED name status" when it died. The BEGIN line lets the host keep its own time of a guest
 * whose clock it does not trust.
 *
 *     bench [-s SCALE] [-r ROUNDS] [NAME | FAMILY | all]...      run
 *     bench -l                                                   list the names
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const struct workload *const families[] = {
    int_workloads, memory_workloads, data_workloads, branch_workloads,  x87_workloads,
    sse_workloads, jit_workloads,    os_workloads,   busybox_workloads,
};

enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

void *must_malloc(size_t size)
{
    void *memory = malloc(size);
    must(memory != NULL, "malloc");
    return memory;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Sends what was printed. Where that is a serial line, not before its last byte has left: the host
 * keeps time by it, and a guest that then switches off must not take the rest with it. */
static void flush(void)
{
    fflush(stdout);
    (void)tcdrain(STDOUT_FILENO); /* fails where the output is no terminal: nothing to wait for */
}

static void run(const struct workload *w, unsigned scale)
{
    double start = now_ms();
    uint64_t sum = w->run(scale);
    double spent = now_ms() - start;
    printf("CHECK %s %016llx\n", w->name, (unsigned long long)sum);
    printf("BENCH %s %.3f ms\n", w->name, spent);
    flush();
}

/* Each workload has a process of its own, so that none inherits another's memory. */
static void run_in_child(const struct workload *w, unsigned scale)
{
    int status;
    printf("BEGIN %s\n", w->name);
    flush();
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        run(w, scale);
        exit(0);
    }
    must(waitpid(child, &status, 0) == child, "waitpid");
    if (status != 0) {
        printf("FAILED %s %#x\n", w->name, (unsigned)status);
    }
}

/* A wish is a whole name, the family before its dash, or "all". */
static int matches(const struct workload *w, const char *wish)
{
    size_t length = strlen(wish);
    return strcmp(wish, "all") == 0 || strcmp(wish, w->name) == 0 ||
           (strncmp(wish, w->name, length) == 0 && w->name[length] == '-');
}

static int run_matching(const char *wish, unsigned scale)
{
    int found = 0;
    for (int f = 0; f < FAMILIES; f++) {
        for (const struct workload *w = families[f]; w->name; w++) {
            if (matches(w, wish)) {
                run_in_child(w, scale);
                found++;
            }
        }
    }
    return found;
}

static void list(void)
{
    for (int f = 0; f < FAMILIES; f++) {
        for (const struct workload *w = families[f]; w->name; w++) {
            puts(w->name);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned scale = SCALE_FULL;
    unsigned rounds = 1;
    int option;

    /* What fork+exec runs: a program that starts, does nothing and ends. */
    if (argc == 2 && strcmp(argv[1], "--exit") == 0) {
        return 0;
    }
    while ((option = getopt(argc, argv, "ls:r:")) != -1) {
        switch (option) {
        case 'l': list(); return 0;
        case 's': scale = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'r': rounds = (unsigned)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (int i = optind; i < argc; i++) {
            if (!run_matching(argv[i], scale)) {
                fprintf(stderr, "bench: no workload %s; bench -l lists them\n", argv[i]);
                return 2;
            }
        }
    }
    puts("BENCH-DONE");
    flush();
    return 0;
}
