/* SPDX-License-Identifier: MIT
 *
 * bt-diff: random guest programs under the interpreter and under the translator.
 *
 *     bt-diff [--programs N] [--seed S] [--fresh] [--keep DIR] [--print] [--seconds N] [--only
 * LIST]
 *
 * Program number i of a run has the seed S + i. Programs run in child processes, so that one which
 * brings the translator down is a failure like any other. A failing program is made small, piece by
 * piece, and written to DIR with its listing.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bt/bt.h"
#include "image.h"
#include "subject.h"

#define BATCH      64      /* programs that a child runs on the same machines */
#define LIMIT      2000000 /* instructions of a program */
#define TRIES      3       /* of a program with ticks, which may fail now and then only */
#define SHOWN_MOST 12      /* failures after which only counting goes on */

enum verdict { SAME, DIFFERENT, SKIPPED, CRASHED };

struct options {
    u64 seed, programs, seconds;
    const char *keep, *only;
    bool fresh, print;
};

/* What a batch adds up. */
enum count {
    TRANSLATIONS,
    CALLOUTS,
    LINKS,
    KILLED,
    FAULTS,
    PAGES,
    INSTRUCTIONS,
    EXCEPTIONS,
    SERVICES,
    FAST_SERVICES,
    SMALL,
    V86,
    TRACES,
    SELF_CHECKING,
    COUNTS
};
static const char *const count_names[COUNTS] = {
    "translations",      "call-outs",      "links",      "killed",       "faults",
    "window pages",      "instructions",   "exceptions", "services",     "by SYSENTER",
    "16-bit exceptions", "v86 exceptions", "traces",     "self-checking"};

struct tally {
    u64 run, different, crashed, skipped, counts[COUNTS];
};

struct pair {
    struct subject *interp, *bt;
    enum ending ended, bt_ended; /* of the last program */
};

static bool pair_open(struct pair *two)
{
    two->interp = subject_create(false);
    two->bt = two->interp ? subject_create(true) : NULL;
    return two->bt != NULL;
}

/* ---- one program ---- */

static const char *ending_name(enum ending e)
{
    static const char *const names[] = {"end", "shutdown", "asleep", "too long"};
    return names[e];
}

static bool compare_pair(const struct pair *two, const struct program *p, FILE *f)
{
    bool same = subject_same(two->interp, two->bt, p, f);
    if (two->ended == two->bt_ended)
        return same;
    if (f)
        fprintf(f, "  ended: interp %s, bt %s\n", ending_name(two->ended),
                ending_name(two->bt_ended));
    return false;
}

static enum verdict try_program(struct pair *two, const struct program *p, FILE *f)
{
    two->ended = subject_run(two->interp, p, LIMIT);
    if (two->ended == TOO_LONG)
        return SKIPPED;
    two->bt_ended = subject_run(two->bt, p, 0);
    return compare_pair(two, p, f) ? SAME : DIFFERENT;
}

/* In a child with new machines. */
static enum verdict try_alone(const struct program *p, FILE *f)
{
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        struct pair two;
        enum verdict v = SAME;
        if (!pair_open(&two))
            _exit(SKIPPED);
        for (unsigned i = 0; i < (p->config.ticks ? TRIES : 1) && v == SAME; i++)
            v = try_program(&two, p, f);
        if (f)
            fflush(f);
        _exit((int)v);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) < CRASHED ? (enum verdict)WEXITSTATUS(status)
                                                              : CRASHED;
}

static void make(struct program *p, u64 seed)
{
    struct subject *s = subject_create(false);
    program_make(p, seed, subject_features(s));
    subject_destroy(s);
}

/* ---- making it small ---- */

/* Leaves out all pieces but those whose numbers are in the list. */
static void keep_only(struct program *p, const char *list)
{
    for (unsigned i = 0; i < p->pieces; i++)
        p->piece[i].off = true;
    for (char *end; *list; list = *end ? end + 1 : end) {
        unsigned long n = strtoul(list, &end, 10);
        if (n < p->pieces)
            p->piece[n].off = false;
    }
    program_place(p);
}

static bool still_fails(struct program *p)
{
    program_place(p);
    enum verdict v = try_alone(p, NULL);
    return v == DIFFERENT || v == CRASHED;
}

/* Leaves out runs of pieces, from long ones to single ones. */
static void shrink(struct program *p)
{
    for (unsigned n = p->pieces / 2; n; n /= 2) {
        for (unsigned i = 0; i + n < p->pieces; i += n) {
            struct program before = *p;
            unsigned gone = 0;
            for (unsigned k = i; k < i + n; k++) {
                gone += !p->piece[k].off;
                p->piece[k].off = true;
            }
            if (gone && !still_fails(p))
                *p = before;
        }
    }
    program_place(p);
}

static void report(const struct options *o, struct program *p, enum verdict v)
{
    char path[4096];
    FILE *f = stdout;
    bool alone = still_fails(p);
    if (alone)
        shrink(p);
    if (o->keep) {
        snprintf(path, sizeof path, "%s/%llu.txt", o->keep, (unsigned long long)p->seed);
        f = fopen(path, "w");
        if (!f) {
            perror(path);
            return;
        }
    }
    printf("seed %llu: %s%s%s%s\n", (unsigned long long)p->seed,
           v == CRASHED ? "crashed" : "different",
           alone ? "" : ", but not alone: only after other programs of its batch, or now and then",
           o->keep ? ": " : "", o->keep ? path : "");
    program_print(p, f);
    v = try_alone(p, f);
    fprintf(f, v == CRASHED ? "  it crashed\n" : "\n");
    if (f != stdout)
        fclose(f);
    fflush(stdout);
}

/* ---- many ---- */

/* What is different now: it may not be so again. */
static void keep_seen(const struct options *o, const struct pair *two, const struct program *p)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%llu.seen.txt", o->keep, (unsigned long long)p->seed);
    FILE *f = fopen(path, "w");
    if (!f)
        return;
    compare_pair(two, p, f);
    program_print(p, f);
    fclose(f);
}

/* In a child: runs programs seed .. seed + n - 1 and tells of each. */
static void run_batch(const struct options *o, int to, u64 seed, unsigned n)
{
    static struct program p;
    struct pair two;
    if (!pair_open(&two))
        _exit(1);
    struct work done = {0};
    for (unsigned i = 0; i < n; i++) {
        program_make(&p, seed + i, subject_features(two.interp));
        u8 v = (u8)try_program(&two, &p, NULL);
        if (v == DIFFERENT && o->keep)
            keep_seen(o, &two, &p);
        if (write(to, &v, 1) != 1)
            _exit(1);
        struct work more = image_work(subject_memory(two.interp, 0));
        done.exceptions += more.exceptions;
        done.services += more.services;
        done.fast_services += more.fast_services;
        done.small += more.small;
        done.v86 += more.v86;
    }
    const struct bt_stats *bt = bt_stats(subject_cpu(two.bt));
    const u64 counts[COUNTS] = {bt->translations,
                                bt->callouts,
                                bt->links,
                                bt->killed,
                                bt->faults,
                                bt_window_stats(subject_cpu(two.bt))->pages,
                                subject_cpu(two.interp)->instructions,
                                done.exceptions,
                                done.services,
                                done.fast_services,
                                done.small,
                                done.v86,
                                bt->traces,
                                bt->self_checking};
    _exit(write(to, counts, sizeof counts) != sizeof counts);
}

static void count(struct tally *t, enum verdict v)
{
    t->run++;
    t->different += v == DIFFERENT;
    t->skipped += v == SKIPPED;
    t->crashed += v == CRASHED;
}

static void failed(const struct options *o, struct tally *t, u64 seed, enum verdict v)
{
    static struct program p;
    if (t->different + t->crashed > SHOWN_MOST) {
        printf("seed %llu\n", (unsigned long long)seed);
        return;
    }
    make(&p, seed);
    report(o, &p, v);
}

/* Returns how many programs were dealt with. */
static unsigned run_child(const struct options *o, struct tally *t, u64 seed, unsigned n)
{
    int ends[2];
    u8 verdicts[BATCH];
    u64 counts[COUNTS];
    unsigned done = 0;
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC))
        return n;
    pid_t pid = fork();
    if (!pid)
        run_batch(o, ends[1], seed, n);
    close(ends[1]);
    while (done < n && read(ends[0], &verdicts[done], 1) == 1)
        done++;
    if (done == n && read(ends[0], counts, sizeof counts) == sizeof counts) {
        for (unsigned i = 0; i < COUNTS; i++)
            t->counts[i] += counts[i];
    }
    close(ends[0]);
    int status;
    waitpid(pid, &status, 0);
    if (done < n)
        verdicts[done++] = CRASHED;
    for (unsigned i = 0; i < done; i++) {
        count(t, verdicts[i]);
        if (verdicts[i] == DIFFERENT || verdicts[i] == CRASHED)
            failed(o, t, seed + i, verdicts[i]);
    }
    return done;
}

static void say(const struct tally *t)
{
    printf("%llu programs, %llu different, %llu crashed, %llu skipped (too long)",
           (unsigned long long)t->run, (unsigned long long)t->different,
           (unsigned long long)t->crashed, (unsigned long long)t->skipped);
    for (unsigned i = 0; i < COUNTS; i++)
        printf("%s%llu %s", i ? ", " : "; ", (unsigned long long)t->counts[i], count_names[i]);
    putchar('\n');
    fflush(stdout);
}

static void run_all(const struct options *o, struct tally *t)
{
    time_t start = time(NULL), said = start;
    for (u64 i = 0; i < o->programs;) {
        u64 n = o->fresh ? 1 : BATCH;
        if (n > o->programs - i)
            n = o->programs - i;
        i += run_child(o, t, o->seed + i, (unsigned)n);
        if (time(NULL) - said >= 60) {
            said = time(NULL);
            say(t);
        }
        if (o->seconds && (u64)(time(NULL) - start) >= o->seconds)
            break;
    }
    say(t);
}

static int usage(FILE *to)
{
    fputs(
        "usage: bt-diff [OPTION]...\n"
        "Random guest programs under the interpreter and under the translator.\n"
        "  --programs N   how many (default 1000)\n"
        "  --seed S       the first one's seed (default 0)\n"
        "  --seconds N    stop after that time\n"
        "  --fresh        each program on machines of its own\n"
        "  --only LIST    the first program with these pieces only (numbers as --print has them)\n"
        "  --keep DIR     write failing programs there, made small\n"
        "  --print        only print the programs\n"
        "  --help         this text\n"
        "Status 0: all agreed; 1: some did not; 2: wrong usage.\n",
        to);
    return to == stdout ? 0 : 2;
}

/* A program that has been made small, by the numbers of its pieces. */
static int run_only(const struct options *o)
{
    static struct program p;
    make(&p, o->seed);
    keep_only(&p, o->only);
    program_print(&p, stdout);
    enum verdict v = try_alone(&p, stdout);
    puts(v == SAME ? "all agreed" : v == CRASHED ? "it crashed" : "different, or too long");
    return v != SAME;
}

static int print_programs(const struct options *o)
{
    static struct program p;
    for (u64 i = 0; i < o->programs; i++) {
        make(&p, o->seed + i);
        program_print(&p, stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"programs", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"keep", required_argument, NULL, 'k'},
        {"only", required_argument, NULL, 'o'},
        {"fresh", no_argument, NULL, 'f'},
        {"print", no_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.programs = 1000};
    struct tally t = {0};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'n': o.programs = strtoull(optarg, NULL, 0); break;
        case 's': o.seed = strtoull(optarg, NULL, 0); break;
        case 't': o.seconds = strtoull(optarg, NULL, 0); break;
        case 'k': o.keep = optarg; break;
        case 'o': o.only = optarg; break;
        case 'f': o.fresh = true; break;
        case 'p': o.print = true; break;
        case 'h': return usage(stdout);
        default: return usage(stderr);
        }
    }
    if (bt_unavailable()) {
        printf("not here: %s\n", bt_unavailable());
        return 0;
    }
    if (o.only)
        return run_only(&o);
    if (o.print)
        return print_programs(&o);
    run_all(&o, &t);
    return t.different || t.crashed ? 1 : 0;
}
