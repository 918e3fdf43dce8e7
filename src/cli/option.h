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
/* Splits "k=v,k2=v2" in place; ",," is a literal comma, as in QEMU. *value is NULL for a bare
 * word. False at the end. */
bool option_next_pair(char **cursor, char **key, char **value);
/* A path of a configuration file is relative to that file. */
void option_set_path(struct ctx *ctx, char **field, const char *path);
/* The value of a switch; NULL (no value) is on. */
bool option_is_on(const char *value);

/* drive_options.c: disks. */
bool option_hda(struct ctx *ctx, const char *value);
bool option_hdb(struct ctx *ctx, const char *value);
bool option_hdc(struct ctx *ctx, const char *value);
bool option_hdd(struct ctx *ctx, const char *value);
bool option_cdrom(struct ctx *ctx, const char *value);
bool option_fda(struct ctx *ctx, const char *value);
bool option_fdb(struct ctx *ctx, const char *value);
bool option_drive(struct ctx *ctx, const char *value);
bool option_is_disk_device(const char *name);
bool option_disk_device(struct ctx *ctx, const char *name, char *properties);

/* net_options.c: the setters of -netdev, -nic and -net, and of cards given by -device. */
bool option_netdev(struct ctx *ctx, const char *value);
bool option_nic(struct ctx *ctx, const char *value);
bool option_net(struct ctx *ctx, const char *value);
bool option_is_card(const char *model);
bool option_card(struct ctx *ctx, const char *model, char *properties);

/* The setter of --config (config_file.c). */
bool option_read_config(struct ctx *ctx, const char *path);

#endif
