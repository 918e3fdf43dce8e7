/* SPDX-License-Identifier: MIT
 *
 * What the command line and the configuration file share: the table of options. Only for this
 * folder.
 */
#ifndef ANELLO_CLI_OPTION_H
#define ANELLO_CLI_OPTION_H

#include "base/log.h"
#include "machine/config.h"

struct ctx {
    struct machine_config *config;
    const char *folder; /* of the configuration file being read; NULL on the command line */
    bool cli_serial, cli_screenshot,
        cli_type; /* first one on the command line replaces the file's */
    char *error;
    size_t n;
};

struct option {
    const char *name;  /* without dashes */
    const char *alias; /* NULL: none */
    const char *arg;   /* NULL: a flag */
    const char *help;
    bool (*set)(struct ctx *ctx, const char *value);
};

/* The option of this name (without dashes) or alias, or NULL. */
const struct option *option_find(const char *name);
/* Writes the reason to ctx->error; returns false for the setter to pass on. */
bool option_refuse(struct ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The value of a switch; NULL (no value) is on. */
bool option_is_on(const char *value);

/* The setter of --config (config_file.c). */
bool option_read_config(struct ctx *ctx, const char *path);

#endif
