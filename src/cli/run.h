/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_CLI_RUN_H
#define ANELLO_CLI_RUN_H

/* The commands; each takes its own argv (argv[0] is the command's name) and returns the process's
 * exit status. */
int run_command(int argc, char **argv);
int capabilities_command(int argc, char **argv);
int disasm_command(int argc, char **argv);

#endif
