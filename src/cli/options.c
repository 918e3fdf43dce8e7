/* SPDX-License-Identifier: MIT
 *
 * Every option is a row: names, argument, help, setter. A setter gets the argument (NULL for
 * flags) and writes the reason of a refusal to ctx->error.
 */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/option.h"
#include "machine/board.h"
#include "machine/engine.h"

#define MIN_RAM MIB(1)
#define MAX_RAM GIB(64)

bool option_refuse(struct ctx *ctx, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ctx->error, ctx->n, fmt, ap);
    va_end(ap);
    return false;
}

void option_set_path(struct ctx *ctx, char **field, const char *path)
{
    if (!ctx->folder || path[0] == '/') {
        config_set(field, path);
        return;
    }
    free(*field);
    if (asprintf(field, "%s/%s", ctx->folder, path) < 0)
        abort();
}

/* ---- values ---- */

/* "256M", "2G", "1024K", plain numbers in MiB as QEMU takes them. 0: not a size. */
static u64 parse_size(const char *text)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno || !(value > 0) || value > 1e15)
        return 0;
    unsigned shift = 20;
    switch (toupper((unsigned char)*end)) {
    case '\0': break;
    case 'B': shift = 0, end++; break;
    case 'K': shift = 10, end++; break;
    case 'M': shift = 20, end++; break;
    case 'G': shift = 30, end++; break;
    case 'T': shift = 40, end++; break;
    default: return 0;
    }
    double bytes = value * (double)((u64)1 << shift);
    return *end || bytes >= 9e18 ? 0 : (u64)bytes;
}

static bool parse_unsigned(const char *text, unsigned long max, unsigned long *out)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(text, &end, 0);
    if (end == text || *end || errno || v > max || text[0] == '-')
        return false;
    *out = v;
    return true;
}

static bool parse_seconds(const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0) || v > 1e9)
        return false;
    *out = v;
    return true;
}

bool option_next_pair(char **cursor, char **key, char **value)
{
    char *p = *cursor;
    if (!p || !*p)
        return false;
    char *out = p;
    *key = p;
    *value = NULL;
    for (; *p; p++) {
        if (*p == ',' && p[1] != ',')
            break;
        if (*p == ',')
            p++;
        if (*p == '=' && !*value) {
            *out++ = '\0';
            *value = out;
            continue;
        }
        *out++ = *p;
    }
    *cursor = *p ? p + 1 : NULL;
    *out = '\0';
    return true;
}

bool option_is_on(const char *v)
{
    return !v || !strcmp(v, "on") || !strcmp(v, "yes") || !strcmp(v, "true");
}

/* ---- setters ---- */

static bool set_memory(struct ctx *ctx, const char *v)
{
    char text[64];
    snprintf(text, sizeof text, "%s", !strncmp(v, "size=", 5) ? v + 5 : v);
    u64 bytes = parse_size(text);
    if (!bytes)
        return option_refuse(ctx, "'%s' is not a memory size: write for example -m 512M or -m 2G",
                             v);
    if (bytes < MIN_RAM || bytes > MAX_RAM)
        return option_refuse(ctx, "memory must be between 1M and 64G, not '%s'", v);
    ctx->config->ram_bytes = align_up(bytes, PAGE_BYTES);
    return true;
}

static bool set_smp(struct ctx *ctx, const char *v)
{
    unsigned long n;
    char text[64];
    snprintf(text, sizeof text, "%s", !strncmp(v, "cpus=", 5) ? v + 5 : v);
    if (!parse_unsigned(text, 255, &n) || n == 0)
        return option_refuse(ctx, "'%s' is not a number of CPUs", v);
    if (n > 1)
        return option_refuse(ctx,
                             "machines with more than one CPU are not available yet: use -smp 1");
    ctx->config->cpus = (unsigned)n;
    return true;
}

/* What may follow the engine's name. What else QEMU knows says nothing here. */
static bool set_accel_property(struct ctx *ctx, const char *key, const char *value)
{
    static const char *const qemus[] = {"thread", "tb-size", "split-wx"};
    const struct {
        const char *key;
        bool *on;
    } ours[] = {{"verify", &ctx->config->verify}, {"eager", &ctx->config->eager}};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (!strcmp(key, ours[i].key)) {
            *ours[i].on = option_is_on(value);
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(qemus); i++) {
        if (!strcmp(key, qemus[i]))
            return true;
    }
    return option_refuse(ctx, "unknown property '%s' of -accel: use verify=on or eager=on", key);
}

static bool set_accel(struct ctx *ctx, const char *v)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(v, ","), v);
    enum accel accel;
    if (!engine_parse(name, &accel))
        return option_refuse(ctx, "unknown engine '%s': use bt, interp, kvm or check", name);
    const char *reason = engine_unavailable(accel);
    if (reason)
        return option_refuse(ctx, "-accel %s cannot run here: %s", name, reason);
    ctx->config->accel = accel;
    ctx->config->accel_given = true;
    char *copy = strdup(v + strcspn(v, ",")), *cursor = *copy ? copy + 1 : NULL, *key, *value;
    bool ok = true;
    while (ok && cursor && option_next_pair(&cursor, &key, &value))
        ok = set_accel_property(ctx, key, value);
    free(copy);
    return ok;
}

static bool set_cpu(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->cpu, v);
    return true;
}

static bool set_machine(struct ctx *ctx, const char *v)
{
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = true;
    for (bool first = true; ok && option_next_pair(&cursor, &key, &value); first = false) {
        const char *type = first && !value ? key : !strcmp(key, "type") ? value : NULL;
        if (type && board_find(type))
            config_set(&ctx->config->board, type);
        else if (type)
            ok = option_refuse(ctx, "unknown machine '%s': use pc or q35", type);
        else if (!strcmp(key, "accel") && value)
            ok = set_accel(ctx, value);
        else
            ok = option_refuse(ctx, "unknown machine property '%s'", key);
    }
    free(copy);
    return ok;
}

static bool set_kernel(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->kernel, v);
    return true;
}

static bool set_initrd(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->initrd, v);
    return true;
}

static bool set_append(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->append, v);
    return true;
}

static bool set_bios(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->bios, v);
    return true;
}

static bool set_snapshot(struct ctx *ctx, const char *v)
{
    ctx->config->snapshot = option_is_on(v);
    return true;
}

static bool set_boot(struct ctx *ctx, const char *v)
{
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = true;
    for (bool first = true; ok && option_next_pair(&cursor, &key, &value); first = false) {
        const char *order = NULL;
        if (!value && first)
            order = key;
        else if (!strcmp(key, "order") || !strcmp(key, "once"))
            order = value;
        else if (!strcmp(key, "menu"))
            ctx->config->boot_menu = option_is_on(value);
        else if (strcmp(key, "strict") && strcmp(key, "splash-time"))
            ok = option_refuse(ctx, "unknown boot property '%s': order and menu are known", key);
        if (order && order[strspn(order, "acdn")])
            ok = option_refuse(ctx, "boot order is made of the letters a, c, d and n, not '%s'",
                               order);
        else if (order)
            config_set(&ctx->config->boot_order, order);
    }
    free(copy);
    return ok;
}

static bool set_serial(struct ctx *ctx, const char *v)
{
    struct machine_config *c = ctx->config;
    if (!ctx->folder && !ctx->cli_serial) {
        ctx->cli_serial = true;
        c->serials = 0;
    }
    if (c->serials == MAX_SERIALS)
        return option_refuse(ctx, "at most %d serial ports", MAX_SERIALS);
    config_set(&c->serial[c->serials++], v);
    return true;
}

static bool set_parallel(struct ctx *ctx, const char *v)
{
    if (!strcmp(v, "none"))
        return true;
    return option_refuse(ctx, "parallel ports are not available yet: use -parallel none");
}

static bool set_debugcon(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->debugcon, v);
    return true;
}

/* QEMU's way to say where the debug console is: SeaBIOS writes its messages to port 402h. */
static bool set_global(struct ctx *ctx, const char *v)
{
    static const char property[] = "isa-debugcon.iobase=";
    unsigned long port;
    if (!strncmp(v, "kvm-", 4))
        return true; /* of devices inside the host's kernel: there are none */
    if (strncmp(v, property, sizeof property - 1) ||
        !parse_unsigned(v + sizeof property - 1, 0xffff, &port))
        return option_refuse(ctx, "-global knows isa-debugcon.iobase=PORT, not '%s'", v);
    ctx->config->debugcon_port = (u16)port;
    return true;
}

static bool set_display(struct ctx *ctx, const char *v)
{
    if (!strcmp(v, "none"))
        ctx->config->display = DISPLAY_NONE;
    else if (!strncmp(v, "sdl", 3) && (!v[3] || v[3] == ','))
        ctx->config->display = DISPLAY_SDL;
    else if (!strncmp(v, "vnc", 3))
        return option_refuse(ctx, "VNC displays are not available yet: use -display sdl or none");
    else
        return option_refuse(ctx, "unknown display '%s': use sdl or none", v);
    ctx->config->display_given = true;
    return true;
}

static bool set_vnc(struct ctx *ctx, const char *v)
{
    (void)v;
    return option_refuse(ctx, "VNC displays are not available yet: use -display sdl or none");
}

static bool set_vga(struct ctx *ctx, const char *v)
{
    if (!strcmp(v, "std"))
        return true;
    return option_refuse(ctx, "unknown display adapter '%s': use -vga std", v);
}

static bool set_nographic(struct ctx *ctx, const char *v)
{
    ctx->config->nographic = option_is_on(v);
    ctx->config->display = DISPLAY_NONE;
    ctx->config->display_given = true;
    return true;
}

static bool device_debug_exit(struct ctx *ctx, char *cursor)
{
    char *key, *value;
    unsigned long number;
    ctx->config->debug_exit = true;
    while (option_next_pair(&cursor, &key, &value)) {
        if (!value || !parse_unsigned(value, 0xffff, &number))
            return option_refuse(ctx, "isa-debug-exit takes iobase=PORT and iosize=BYTES");
        if (!strcmp(key, "iobase"))
            ctx->config->debug_exit_iobase = (unsigned)number;
        else if (!strcmp(key, "iosize"))
            ctx->config->debug_exit_iosize = (unsigned)number;
        else
            return option_refuse(ctx, "isa-debug-exit has no property '%s'", key);
    }
    return true;
}

void options_print_devices(FILE *out)
{
    fputs(
        "name \"ahci\", bus PCI, desc \"SATA controller of the ICH9, six ports: id=\"\n"
        "name \"ide-hd\", bus SATA, desc \"disk: drive=ID, bus=ID.PORT\"\n"
        "name \"ide-cd\", bus SATA, desc \"CD drive: drive=ID, bus=ID.PORT\"\n"
        "name \"virtio-blk-pci\", bus PCI, desc \"virtio disk: drive=ID\"\n"
        "name \"virtio-net-pci\", bus PCI, desc \"virtio network card: netdev=ID, mac=, "
        "romfile=\"\n"
        "name \"e1000\", bus PCI, desc \"Intel 82540EM network card: netdev=ID, mac=, romfile=\"\n"
        "name \"isa-debug-exit\", bus ISA, desc \"ends the process: iobase=PORT, iosize=BYTES\"\n"
        "name \"pc-testdev\", bus ISA, desc \"interrupt lines and ports for kvm-unit-tests\"\n",
        out);
}

static bool set_device(struct ctx *ctx, const char *v)
{
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok;
    if (!option_next_pair(&cursor, &key, &value) || value)
        ok = option_refuse(ctx, "-device needs a device name first");
    else if (!strcmp(key, "isa-debug-exit"))
        ok = device_debug_exit(ctx, cursor);
    else if (!strcmp(key, "pc-testdev") || !strcmp(key, "testdev"))
        ok = ctx->config->testdev = true;
    else if (option_is_disk_device(key))
        ok = option_disk_device(ctx, key, cursor);
    else if (option_is_card(key))
        ok = option_card(ctx, key, cursor);
    else
        ok = option_refuse(ctx, "device '%s' is not available: -device help lists those that are",
                           key);
    free(copy);
    return ok;
}

static bool set_no_reboot(struct ctx *ctx, const char *v)
{
    ctx->config->no_reboot = option_is_on(v);
    return true;
}
static bool set_no_shutdown(struct ctx *ctx, const char *v)
{
    ctx->config->no_shutdown = option_is_on(v);
    return true;
}
static bool set_paused(struct ctx *ctx, const char *v)
{
    ctx->config->start_paused = option_is_on(v);
    return true;
}
static bool set_gdb(struct ctx *ctx, const char *v)
{
    (void)v;
    return option_refuse(ctx, "the gdb server is not available yet: use -monitor and -d");
}
static bool set_qmp(struct ctx *ctx, const char *v)
{
    (void)v;
    return option_refuse(ctx, "QMP is not available yet: use -monitor");
}
static bool set_monitor(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->monitor, v);
    return true;
}
static bool set_rtc(struct ctx *ctx, const char *v)
{
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = true;
    while (ok && option_next_pair(&cursor, &key, &value)) {
        if (!strcmp(key, "base") && value)
            config_set(&ctx->config->rtc_base, value);
        else if (strcmp(key, "clock") && strcmp(key, "driftfix"))
            ok = option_refuse(ctx, "unknown rtc property '%s': use base=utc|localtime|DATETIME",
                               key);
    }
    free(copy);
    return ok;
}
static bool set_name(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->name, v);
    return true;
}
static bool set_pidfile(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->pidfile, v);
    return true;
}
static bool set_trace(struct ctx *ctx, const char *v)
{
    config_set(&ctx->config->trace, v);
    return true;
}
static bool set_trace_file(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->trace_file, v);
    return true;
}
static bool set_timeout(struct ctx *ctx, const char *v)
{
    if (!parse_seconds(v, &ctx->config->timeout) || ctx->config->timeout <= 0)
        return option_refuse(ctx, "--timeout needs a number of seconds, not '%s'", v);
    return true;
}

/* Splits TEXT[@SECONDS]; an @ that is not followed by a number belongs to the text. */
static bool set_injection(struct ctx *ctx, struct injection *list, unsigned *count, const char *v,
                          double without, bool is_path)
{
    if (*count == MAX_INJECTIONS)
        return option_refuse(ctx, "at most %d of these", MAX_INJECTIONS);
    struct injection *i = &list[(*count)++];
    char *copy = strdup(v), *at = strrchr(copy, '@');
    i->at = without;
    if (at && parse_seconds(at + 1, &i->at))
        *at = '\0';
    if (is_path)
        option_set_path(ctx, &i->text, copy);
    else
        config_set(&i->text, copy);
    free(copy);
    return true;
}

static bool set_screenshot(struct ctx *ctx, const char *v)
{
    struct machine_config *c = ctx->config;
    if (!ctx->folder && !ctx->cli_screenshot) {
        ctx->cli_screenshot = true;
        c->screenshot_count = 0;
    }
    return set_injection(ctx, c->screenshots, &c->screenshot_count, v, -1, true);
}

static bool set_type(struct ctx *ctx, const char *v)
{
    struct machine_config *c = ctx->config;
    if (!ctx->folder && !ctx->cli_type) {
        ctx->cli_type = true;
        c->type_count = 0;
    }
    return set_injection(ctx, c->types, &c->type_count, v, 0, false);
}

static bool set_stats(struct ctx *ctx, const char *v)
{
    option_set_path(ctx, &ctx->config->stats, v);
    return true;
}

static bool set_perf_map(struct ctx *ctx, const char *v)
{
    ctx->config->perf_map = option_is_on(v);
    return true;
}

static bool set_nothing(struct ctx *ctx, const char *v)
{
    (void)ctx;
    (void)v;
    return true;
}

// clang-format off
static const struct option options[] = {
    /* name          alias        argument          help */
    {"memory",       "m",         "SIZE",           "guest RAM: 256M, 2G (default 512M)", set_memory},
    {"smp",          NULL,        "N",              "virtual CPUs: only 1 in this version", set_smp},
    {"accel",        NULL,        "ENGINE[,verify=on][,eager=on]", "bt (translator, default), interp (interpreter) or check (both in lock-step); verify: prove all that bt makes; eager: make all of it at once, for tests", set_accel},
    {"cpu",          NULL,        "MODEL[,±FEAT]",  "pentium, pentium3, core2, host or max; 286 for tests in real mode", set_cpu},
    {"machine",      "M",         "BOARD",          "the board: pc or q35", set_machine},
    {"kernel",       NULL,        "FILE",           "boot this Linux bzImage or multiboot ELF", set_kernel},
    {"initrd",       NULL,        "FILE[,FILE…]",   "initial RAM disk, or multiboot modules", set_initrd},
    {"append",       NULL,        "TEXT",           "kernel command line", set_append},
    {"bios",         NULL,        "FILE",           "firmware image (default: SeaBIOS)", set_bios},
    {"hda",          NULL,        "FILE",           "first hard disk; also -hdb, -hdc, -hdd", option_hda},
    {"hdb",          NULL,        "FILE",           "second hard disk", option_hdb},
    {"hdc",          NULL,        "FILE",           "third hard disk", option_hdc},
    {"hdd",          NULL,        "FILE",           "fourth hard disk", option_hdd},
    {"cdrom",        NULL,        "FILE",           "CD-ROM image", option_cdrom},
    {"fda",          NULL,        "FILE",           "floppy image", option_fda},
    {"fdb",          NULL,        "FILE",           "second floppy image", option_fdb},
    {"drive",        NULL,        "file=F,…",       "a disk: file, if=ide|virtio|floppy|none, format, media, index, id, cache, snapshot, readonly", option_drive},
    {"snapshot",     NULL,        NULL,             "throw disk writes away at the end", set_snapshot},
    {"boot",         NULL,        "[order=]LETTERS","what to boot from: a floppy, c disk, d CD, n network; menu=on", set_boot},
    {"netdev",       NULL,        "user,id=ID,…",   "a network for -device e1000,netdev=ID", option_netdev},
    {"nic",          NULL,        "user|none,…",    "a network card with its network: model, mac, hostfwd, tftp, bootfile, …", option_nic},
    {"net",          NULL,        "nic|user|none,…","the same in two halves", option_net},
    {"serial",       NULL,        "DEV",            "serial port: stdio, file:PATH, unix:PATH[,server,nowait], pty, none; repeatable", set_serial},
    {"parallel",     NULL,        "DEV",            "parallel port: only none in this version", set_parallel},
    {"debugcon",     NULL,        "DEV",            "debug console at port E9h", set_debugcon},
    {"global",       NULL,        "isa-debugcon.iobase=PORT", "where the debug console is; SeaBIOS uses 0x402", set_global},
    {"display",      NULL,        "sdl|none",       "where the screen is shown", set_display},
    {"vnc",          NULL,        "HOST:N",         "not in this version", set_vnc},
    {"vga",          NULL,        "std",            "display adapter", set_vga},
    {"nographic",    NULL,        NULL,             "no window; first serial port on the terminal (Ctrl-A X quits, Ctrl-A C monitor)", set_nographic},
    {"device",       NULL,        "NAME,k=v,…",     "a device; help lists them", set_device},
    {"no-reboot",    NULL,        NULL,             "end instead of rebooting", set_no_reboot},
    {"no-shutdown",  NULL,        NULL,             "pause instead of ending when the guest powers off", set_no_shutdown},
    {"paused",       "S",         NULL,             "start paused", set_paused},
    {"gdb",          NULL,        "DEV",            "not in this version", set_gdb},
    {"s",            NULL,        NULL,             "not in this version", set_gdb},
    {"qmp",          NULL,        "DEV",            "not in this version", set_qmp},
    {"monitor",      NULL,        "DEV",            "human monitor: stdio, unix:PATH,server,nowait or none", set_monitor},
    {"rtc",          NULL,        "base=…",         "clock: utc, localtime or a date and time", set_rtc},
    {"name",         NULL,        "TEXT",           "name of the machine, shown in the window's title", set_name},
    {"pidfile",      NULL,        "FILE",           "write the process number there", set_pidfile},
    {"trace",        "d",         "LIST",           "trace in_asm, out_asm, int, mmu, exec, cpu_reset, guest_errors, dev:NAME", set_trace},
    {"trace-file",   "D",         "FILE",           "where the trace goes (default: stderr)", set_trace_file},
    {"timeout",      NULL,        "SECONDS",        "stop after that much host time with status 124", set_timeout},
    {"screenshot",   NULL,        "FILE.png[@SECONDS]", "write the screen at that time, or at the end", set_screenshot},
    {"type",         NULL,        "TEXT[@SECONDS]", "type on the guest's keyboard; \\n, <f1>, <ctrl-alt-del>", set_type},
    {"stats",        NULL,        "FILE.json",      "write counters at the end", set_stats},
    {"perfmap",      NULL,        NULL,             "name translations in /tmp/perf-PID.map, for Linux perf", set_perf_map},
    {"config",       NULL,        "FILE",           "read options from an INI file; the command line wins", option_read_config},
    {"nodefaults",   NULL,        NULL,             "accepted for compatibility: there are no hidden defaults", set_nothing},
    {"no-user-config", NULL,      NULL,             "accepted for compatibility: there is no such file", set_nothing},
    {"no-hpet",      NULL,        NULL,             "accepted for compatibility", set_nothing},
};
// clang-format on

const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!strcmp(options[i].name, name) || (options[i].alias && !strcmp(options[i].alias, name)))
            return &options[i];
    }
    return NULL;
}

/* ---- the command line ---- */

/* A bare word that cannot be a file is a command that somebody expected. */
static bool set_disk(struct ctx *ctx, const char *word)
{
    if (!strpbrk(word, "/.") && access(word, F_OK) != 0)
        return option_refuse(ctx,
                             "'%s' is neither a command nor a disk image: 'anello --help' lists "
                             "the commands",
                             word);
    return option_hda(ctx, word);
}

/* Takes argv[i] and its argument. `configs`: handle only --config (first pass) or all others. */
static bool take_option(struct ctx *ctx, int argc, char **argv, int *i, bool configs)
{
    const char *word = argv[*i];
    if (word[0] != '-' || !word[1]) {
        /* A bare path is the first hard disk, as in QEMU. */
        return configs || set_disk(ctx, word);
    }
    char name[64];
    const char *text = word + (word[1] == '-' ? 2 : 1);
    const char *equals = word[1] == '-' ? strchr(text, '=') : NULL;
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : (int)sizeof name - 1, text);
    const struct option *o = option_find(name);
    if (!o)
        return option_refuse(ctx, "unknown option '%s': 'anello --help' lists them", word);
    const char *value = equals ? equals + 1 : NULL;
    if (o->arg && !value) {
        if (*i + 1 >= argc)
            return option_refuse(ctx, "option '%s' needs %s", word, o->arg);
        value = argv[++*i];
    } else if (!o->arg && value) {
        return option_refuse(ctx, "option '%s' takes no value", word);
    }
    return (o->set == option_read_config) == configs ? o->set(ctx, value) : true;
}

/* Help that ends the program instead of running a machine. */
static enum options_help help_asked(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h") || !strcmp(argv[i], "-help"))
            return HELP_OPTIONS;
        if ((!strcmp(argv[i], "-device") || !strcmp(argv[i], "--device")) &&
            (!strcmp(next, "help") || !strcmp(next, "?")))
            return HELP_DEVICES;
    }
    return HELP_NONE;
}

bool options_parse(struct machine_config *config, int argc, char **argv, enum options_help *help,
                   char *error, size_t n)
{
    struct ctx ctx = {.config = config, .error = error, .n = n};
    *help = help_asked(argc, argv);
    if (*help != HELP_NONE)
        return true;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 1; i < argc; i++) {
            if (!take_option(&ctx, argc, argv, &i, pass == 0))
                return false;
        }
    }
    return true;
}

/* Of UTF-8 text: bytes that do not go on with a character. */
static int columns(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void options_print_help(FILE *out)
{
    fputs("usage: anello [run] [OPTIONS] [DISK]\n"
          "       anello image create|info|check|convert|resize|snapshot|commit|rebase ...\n"
          "       anello capabilities\n"
          "       anello disasm [-b 16|32|64] FILE\n\n"
          "Runs an unmodified x86 operating system by binary translation. Options work with one\n"
          "dash or two; where QEMU has an option of the same name, it means the same here.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        char left[80];
        snprintf(left, sizeof left, "  --%s%s%s%s%s", o->name, o->alias ? ", -" : "",
                 o->alias ? o->alias : "", o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "%s%*s %s\n", left, columns(left) < 34 ? 34 - columns(left) : 0, "", o->help);
    }
    fputs("\nExit status: 0 powered off or quit, 1 error, 3 triple fault with -no-reboot, 124\n"
          "--timeout, 70 a fault of anello itself, (v << 1) | 1 from isa-debug-exit.\n\n"
          "Examples:\n"
          "  anello -m 1G -cdrom debian.iso -boot d\n"
          "  anello -nographic -kernel vmlinuz -initrd initrd.gz -append console=ttyS0\n",
          out);
}

void options_print_names(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        fprintf(out, "-%s\n--%s\n", options[i].alias ? options[i].alias : options[i].name,
                options[i].name);
}
