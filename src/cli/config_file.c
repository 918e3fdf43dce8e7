/* SPDX-License-Identifier: MIT
 *
 * --config: a machine as an INI file. In [machine], or before any section, keys are options; a
 * section named after an option that takes properties ([drive], [device]) is one use of it.
 */
#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/option.h"

#define CONFIG_LINE 4096

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return s;
}

struct ini {
    struct ctx *ctx;
    const char *path;
    unsigned line;
    const struct option *section; /* NULL: keys are options themselves */
    unsigned section_line;
    char gathered[CONFIG_LINE]; /* k=v,… of a section that is one option */
};

static bool ini_error(struct ini *ini, unsigned line, const char *what)
{
    char copy[512];
    snprintf(copy, sizeof copy, "%s", what);
    return option_refuse(ini->ctx, "%s:%u: %s", ini->path, line, copy);
}

static bool ini_end_section(struct ini *ini)
{
    bool ok = true;
    if (ini->section && !ini->section->set(ini->ctx, ini->gathered))
        ok = ini_error(ini, ini->section_line, ini->ctx->error);
    ini->section = NULL;
    ini->gathered[0] = '\0';
    return ok;
}

static bool ini_section(struct ini *ini, char *name)
{
    char what[256];
    if (!ini_end_section(ini))
        return false;
    if (!strcmp(name, "machine") || !strcmp(name, "options"))
        return true;
    ini->section = option_find(name);
    ini->section_line = ini->line;
    if (ini->section && ini->section->arg && ini->section->set != option_read_config)
        return true;
    ini->section = NULL;
    snprintf(what, sizeof what,
             "unknown section [%s]: use [machine] or the name of an option that "
             "takes properties, such as [drive]",
             name);
    return ini_error(ini, ini->line, what);
}

/* Adds k=v to the section's properties; commas of the value are doubled. */
static bool ini_gather(struct ini *ini, const char *key, const char *value)
{
    char *out = ini->gathered + strlen(ini->gathered), *end = ini->gathered + CONFIG_LINE - 2;
    if (out != ini->gathered)
        *out++ = ',';
    for (; *key && out < end; key++)
        *out++ = *key;
    if (out < end)
        *out++ = '=';
    for (; *value && out < end; value++) {
        if (*value == ',')
            *out++ = ',';
        *out++ = *value;
    }
    *out = '\0';
    return out < end || ini_error(ini, ini->line, "section is too long");
}

static bool ini_key(struct ini *ini, char *key, char *value)
{
    char what[256];
    if (ini->section)
        return ini_gather(ini, key, value);
    const struct option *o = option_find(key);
    if (!o || o->set == option_read_config) {
        snprintf(what, sizeof what, "unknown key '%s': keys are named as the options of --help",
                 key);
        return ini_error(ini, ini->line, what);
    }
    if (!o->arg && !option_is_on(value))
        return true;
    if (!o->set(ini->ctx, o->arg ? value : NULL))
        return ini_error(ini, ini->line, ini->ctx->error);
    return true;
}

static bool ini_line(struct ini *ini, char *text)
{
    char *line = trim(text);
    size_t len = strlen(line);
    if (!len || *line == '#' || *line == ';')
        return true;
    if (*line == '[') {
        if (line[len - 1] != ']')
            return ini_error(ini, ini->line, "a section ends with ]");
        line[len - 1] = '\0';
        return ini_section(ini, trim(line + 1));
    }
    char *equals = strchr(line, '=');
    if (!equals)
        return ini_error(ini, ini->line, "expected KEY = VALUE");
    *equals = '\0';
    char *value = trim(equals + 1);
    size_t vlen = strlen(value);
    if (vlen >= 2 && value[0] == '"' && value[vlen - 1] == '"') {
        value[vlen - 1] = '\0';
        value++;
    }
    return ini_key(ini, trim(line), value);
}

bool option_read_config(struct ctx *ctx, const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return option_refuse(ctx, "cannot read configuration '%s': %s", path, strerror(errno));
    char *folder_copy = strdup(path);
    ctx->folder = dirname(folder_copy);
    struct ini ini = {.ctx = ctx, .path = path};
    char line[CONFIG_LINE];
    bool ok = true;
    while (ok && fgets(line, sizeof line, f)) {
        ini.line++;
        if (strlen(line) == sizeof line - 1)
            ok = ini_error(&ini, ini.line, "line is too long");
        else
            ok = ini_line(&ini, line);
    }
    if (ok && ferror(f))
        ok = option_refuse(ctx, "cannot read configuration '%s': %s", path, strerror(errno));
    ok = ok && ini_end_section(&ini);
    fclose(f);
    free(folder_copy);
    ctx->folder = NULL;
    return ok;
}
