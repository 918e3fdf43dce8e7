/* SPDX-License-Identifier: MIT
 *
 * insn-diff: random instructions on the host CPU and on ours.
 *
 *     insn-diff [--cases N] [--seed S] [--mode 32|64] [--class LIST] [--keep DIR] [FILE...]
 *
 * Case number i of a run has the seed S + i, so a run goes on where another ended and any part of
 * one can be repeated. A failing case is made small and written to DIR; FILEs are run again.
 * Ends with status 1 when a case failed.
 */
#include <getopt.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/decode.h"
#include "cpu/optable.h"
#include "insn_diff.h"
#include "insn_gen.h"

#define SHOWN_OF_A_ROW 2 /* more failures of the same row of the opcode table are only counted */

struct run {
    struct gen_options gen;
    u64 cases, seed;
    const char *keep;
    u64 failures;
    u32 *row_failures;
};

static const struct {
    const char *name;
    unsigned bit;
} class_names[] = {
    {"int", GEN_INT}, {"x87", GEN_X87},     {"mmx", GEN_MMX}, {"sse", GEN_SSE},
    {"avx", GEN_AVX}, {"state", GEN_STATE}, {"bad", GEN_BAD}, {"all", GEN_ALL},
};

static unsigned parse_classes(char *list)
{
    unsigned classes = 0;
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        unsigned i = 0;
        while (i < ARRAY_LEN(class_names) && strcmp(name, class_names[i].name) != 0)
            i++;
        if (i == ARRAY_LEN(class_names)) {
            fprintf(stderr, "insn-diff: no class \"%s\"\n", name);
            exit(2);
        }
        classes |= class_names[i].bit;
    }
    return classes;
}

static void keep_case(const struct run *run, const struct insn_case *c, u64 seed)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%u-%llu.case", run->keep, c->mode, (unsigned long long)seed);
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        return;
    }
    insn_case_write(f, c);
    fclose(f);
}

static void report(struct insn_diff *d, struct run *run, struct insn_case *c, u64 seed)
{
    char text[4096] = "";
    struct insn in;
    decode(c->code, sizeof c->code, c->mode, &in);
    run->failures++;
    if (run->row_failures[in.row]++ >= SHOWN_OF_A_ROW)
        return;
    insn_diff_shrink(d, c);
    insn_diff_run(d, c, text, sizeof text);
    printf("seed %llu\n", (unsigned long long)seed);
    insn_case_write(stdout, c);
    printf("%s\n", text);
    fflush(stdout);
    if (run->keep)
        keep_case(run, c, seed);
}

static void run_random(struct insn_diff *d, struct run *run)
{
    struct insn_case c;
    time_t said = time(NULL);
    for (u64 i = 0; i < run->cases; i++) {
        insn_gen(run->seed + i, &run->gen, &c);
        if (!insn_diff_run(d, &c, NULL, 0))
            report(d, run, &c, run->seed + i);
        if (time(NULL) - said >= 60) {
            said = time(NULL);
            fprintf(stderr, "insn-diff: %llu cases, %llu failed\n", (unsigned long long)i + 1,
                    (unsigned long long)run->failures);
        }
    }
}

static void print_rows(const struct run *run)
{
    for (unsigned row = 0; row < op_row_count(); row++) {
        if (run->row_failures[row])
            printf("%8u failed of %s (row %u)\n", run->row_failures[row],
                   row ? op_row_at(row)->name : "invalid opcodes", row);
    }
}

static void run_file(struct insn_diff *d, struct run *run, const char *path)
{
    char text[4096] = "";
    struct insn_case c;
    FILE *f = fopen(path, "r");
    bool valid = f && insn_case_read(f, &c);
    if (f)
        fclose(f);
    run->cases++;
    if (valid && insn_diff_run(d, &c, text, sizeof text))
        return;
    run->failures++;
    printf("%s: %s\n%s", path, valid ? "host and guest differ" : "not a case", text);
}

static int usage(FILE *to)
{
    fputs("usage: insn-diff [OPTION]... [FILE]...\n"
          "Random instructions on the host CPU and in the interpreter, or the cases in FILEs.\n"
          "  --cases N      how many (default 100000)\n"
          "  --seed S       the first one's seed (default 0)\n"
          "  --mode 32|64   default 64\n"
          "  --class LIST   of int,x87,mmx,sse,avx,state,bad (default all)\n"
          "  --keep DIR     write failing cases there, made small\n"
          "  --help         this text\n"
          "Status 0: all agreed; 1: some did not; 2: wrong usage.\n",
          to);
    return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"cases", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"mode", required_argument, NULL, 'm'},
        {"class", required_argument, NULL, 'c'},
        {"keep", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct run run = {.gen = {.mode = 64, .classes = GEN_ALL}, .cases = 100000};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n': run.cases = strtoull(optarg, NULL, 0); break;
        case 's': run.seed = strtoull(optarg, NULL, 0); break;
        case 'm': run.gen.mode = (unsigned)atoi(optarg); break;
        case 'c': run.gen.classes = parse_classes(optarg); break;
        case 'k': run.keep = optarg; break;
        case 'h': return usage(stdout);
        default: return usage(stderr);
        }
    }
    if (run.gen.mode != 32 && run.gen.mode != 64)
        return usage(stderr);
    struct insn_diff *d = insn_diff_create();
    if (!d) {
        fprintf(stderr, "insn-diff: cannot map the test pages\n");
        return 2;
    }
    run.gen.features = insn_diff_features(d);
    run.row_failures = calloc(op_row_count(), sizeof *run.row_failures);
    if (optind < argc) {
        run.cases = 0;
        for (int i = optind; i < argc; i++)
            run_file(d, &run, argv[i]);
    } else
        run_random(d, &run);
    print_rows(&run);
    free(run.row_failures);
    printf("%llu cases, %llu failed, %llu not compared\n", (unsigned long long)run.cases,
           (unsigned long long)run.failures, (unsigned long long)insn_diff_not_compared(d));
    insn_diff_destroy(d);
    return run.failures != 0;
}
