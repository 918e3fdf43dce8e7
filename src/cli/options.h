/* SPDX-License-Identifier: MIT
 *
 * The command line and the configuration file of a machine: one table of options serves both, and
 * --help and the shell completion are printed from it.
 */
#ifndef ANELLO_CLI_OPTIONS_H
#define ANELLO_CLI_OPTIONS_H

#include <stdio.h>

#include "machine/config.h"

enum options_help { HELP_NONE, HELP_OPTIONS, HELP_DEVICES };

/* Fills `config` (already initialised) from argv[1..]. False: a one-line message that says what to
 * do is in error[n]. *help tells whether --help or -device help was asked for. */
bool options_parse(struct machine_config *config, int argc, char **argv, enum options_help *help,
                   char *error, size_t n);

void options_print_help(FILE *out);
void options_print_devices(FILE *out);
/* One option a line, both spellings: for shell completion. */
void options_print_names(FILE *out);

#endif
