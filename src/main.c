/* SPDX-License-Identifier: MIT
 *
 * The program: finds the command.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/image.h"
#include "cli/run.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", run_command},
    {"disasm", disasm_command},
    {"capabilities", capabilities_command},
    {"image", image_command},
};

/* Commands of the interface that this version does not have. */
static const char *const absent[] = {"bench"};

static bool is_absent(const char *name)
{
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        if (!strcmp(name, absent[i]))
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc > 1 && is_absent(argv[1])) {
        fprintf(stderr, "anello: '%s' is not part of this version: see docs/status.md\n", argv[1]);
        return 1;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    }
    if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-version"))) {
        puts("anello " ANELLO_VERSION);
        return 0;
    }
    return run_command(argc, argv);
}
