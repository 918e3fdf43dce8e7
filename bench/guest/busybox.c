/* SPDX-License-Identifier: MIT
 *
 * Programs that nobody here wrote: the applets of a static 32-bit busybox, the same file on the
 * host and in the guest. Each run is a fork, an exec and a pipe whose data make the checksum, so
 * these workloads mix computing with the operating system as daily work does.
 *
 * The environment variable BUSYBOX names the binary; /bin/busybox if unset.
 */
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_FILE  "/dev/shm/bench-input"
#define PACKED_FILE "/dev/shm/bench-input.gz"

/* Lines of words and numbers: compressible, sortable, with repeats. */
static void write_input(uint32_t lines)
{
    static const char *const words[] = {"anvil", "birch",  "cedar", "dahlia", "ember",
                                        "fjord", "garnet", "heron", "indigo", "juniper"};
    FILE *file = fopen(INPUT_FILE, "w");
    uint32_t state = 1789;
    must(file != NULL, INPUT_FILE);
    for (uint32_t i = 0; i < lines; i++) {
        uint32_t a = next_random(&state);
        uint32_t b = next_random(&state);
        fprintf(file, "%u %s %s %x\n", a % 100000, words[a % 10], words[b % 10], b);
    }
    must(fclose(file) == 0, INPUT_FILE);
}

static void start_busybox(char *const *arguments, int output)
{
    const char *binary = getenv("BUSYBOX");
    binary = binary ? binary : "/bin/busybox";
    must(dup2(output, STDOUT_FILENO) >= 0, "dup2");
    execv(binary, arguments);
    perror(binary);
    _exit(127);
}

/* Runs "busybox ARGUMENTS" and folds all that it prints; SINK, if not NULL, gets a copy. */
static uint64_t run_busybox(char *const *arguments, const char *sink)
{
    static uint8_t buffer[65536];
    int ends[2];
    int status;
    uint64_t sum = 0;
    FILE *copy = sink ? fopen(sink, "w") : NULL;
    must(pipe(ends) == 0, "pipe");
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        close(ends[0]);
        start_busybox(arguments, ends[1]);
    }
    close(ends[1]);
    for (;;) {
        ssize_t got = read(ends[0], buffer, sizeof(buffer));
        must(got >= 0, "read");
        if (got == 0) {
            break;
        }
        for (ssize_t i = 0; i < got; i++) {
            sum = fold(sum, buffer[i]);
        }
        if (copy) {
            must(fwrite(buffer, 1, (size_t)got, copy) == (size_t)got, sink);
        }
    }
    close(ends[0]);
    if (copy) {
        must(fclose(copy) == 0, sink);
    }
    must(waitpid(child, &status, 0) == child && status == 0, arguments[1]);
    return sum;
}

#define RUN(...) run_busybox((char *const[]){(char *)"busybox", __VA_ARGS__, NULL}, NULL)

static uint64_t gzip(unsigned scale)
{
    write_input(scaled(170000, scale));
    return RUN((char *)"gzip", (char *)"-c", (char *)INPUT_FILE);
}

static uint64_t gunzip(unsigned scale)
{
    char *const pack[] = {(char *)"busybox", (char *)"gzip",     (char *)"-1",
                          (char *)"-c",      (char *)INPUT_FILE, NULL};
    uint64_t sum = 0;
    write_input(scaled(120000, scale));
    run_busybox(pack, PACKED_FILE);
    for (int i = 0; i < 3; i++) {
        sum = fold(sum, RUN((char *)"gunzip", (char *)"-c", (char *)PACKED_FILE));
    }
    return sum;
}

static uint64_t md5sum(unsigned scale)
{
    write_input(scaled(400000, scale));
    uint64_t sum = 0;
    for (int i = 0; i < 6; i++) {
        sum = fold(sum, RUN((char *)"md5sum", (char *)INPUT_FILE));
    }
    return sum;
}

static uint64_t sha256sum(unsigned scale)
{
    write_input(scaled(400000, scale));
    uint64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        sum = fold(sum, RUN((char *)"sha256sum", (char *)INPUT_FILE));
    }
    return sum;
}

static uint64_t sort(unsigned scale)
{
    write_input(scaled(140000, scale));
    return RUN((char *)"sort", (char *)INPUT_FILE);
}

static uint64_t grep(unsigned scale)
{
    write_input(scaled(110000, scale));
    return RUN((char *)"grep", (char *)"-E", (char *)"(anvil|heron).*7[0-9a-f]*c",
               (char *)INPUT_FILE);
}

static uint64_t awk(unsigned scale)
{
    write_input(scaled(55000, scale));
    return RUN((char *)"awk",
               (char *)"{ n[$2] += $1; m[$3]++ } END { for (w in n) t += n[w] * m[w]; print t }",
               (char *)INPUT_FILE);
}

/* The shell itself: variables, arithmetic, functions, and a process now and then. */
static uint64_t shell(unsigned scale)
{
    char rounds[16];
    snprintf(rounds, sizeof(rounds), "%u", scaled(40000, scale));
    return RUN((char *)"sh", (char *)"-c",
               (char *)"f() { s=$(( (s * 31 + $1) % 65537 )); }\n"
                       "i=0; s=1\n"
                       "while [ $i -lt $0 ]; do\n"
                       "  f $i; i=$((i + 1))\n"
                       "  case $s in *77) s=$(echo $s);; esac\n"
                       "done; echo $s",
               rounds);
}

const struct workload busybox_workloads[] = {
    {"busybox-gzip", gzip},
    {"busybox-gunzip", gunzip},
    {"busybox-md5sum", md5sum},
    {"busybox-sha256sum", sha256sum},
    {"busybox-sort", sort},
    {"busybox-grep", grep},
    {"busybox-awk", awk},
    {"busybox-sh", shell},
    {NULL, NULL},
};
