/* SPDX-License-Identifier: MIT
 *
 * The program: finds the command.
 */
#include <stdio.h>
#include <string.h>

#include "cli/run.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", run_command},
    {"capabilities", capabilities_command},
};

int main(int argc, char **argv)
{
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
