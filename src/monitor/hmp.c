/* SPDX-License-Identifier: MIT
 *
 * Sessions: bytes to lines, lines to words, words to commands.
 */
#include "monitor/hmp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "monitor/session.h"
#include "ui/console.h"

#define PROMPT       "(qemu) "
#define MAX_SESSIONS 2

struct hmp {
    struct session sessions[MAX_SESSIONS];
    unsigned count;
};

struct command {
    const char *name, *alias, *usage, *help;
    command_fn run;
};

/* ---- output ---- */

void session_print(struct session *s, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        chardev_write(s->chr, p, n);
        p += n;
        if (*p) {
            chardev_write(s->chr, s->terminal ? "\r\n" : "\n", s->terminal ? 2 : 1);
            p++;
        }
    }
}

/* ---- numbers ---- */

static bool one_term(struct session *s, const char **text, u64 *value)
{
    const char *p = *text;
    char *end;
    if (*p == '$') {
        char name[16];
        size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz0123456789");
        snprintf(name, sizeof name, "%.*s", (int)n, p + 1);
        *text = p + 1 + n;
        return register_by_name(machine_cpu(s->m, 0), name, value);
    }
    errno = 0;
    *value = strtoull(p, &end, 0);
    *text = end;
    return end != p && !errno;
}

bool session_number(struct session *s, const char *text, u64 *value)
{
    const char *p = text;
    bool ok = one_term(s, &p, value);
    while (ok && (*p == '+' || *p == '-')) {
        bool minus = *p++ == '-';
        u64 term;
        ok = one_term(s, &p, &term);
        if (ok)
            *value = minus ? *value - term : *value + term;
    }
    if (!ok || *p)
        session_print(s, "'%s' is not a number, a $register or a sum of them\n", text);
    return ok && !*p;
}

/* ---- commands ---- */

static void command_help(struct session *s, int argc, char **args);

static void command_stop(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    machine_pause(s->m);
}

static void command_cont(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    machine_resume(s->m);
}

static void command_reset(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    machine_reset(s->m, false);
}

static void command_powerdown(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    machine_powerdown(s->m);
}

static void command_quit(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    machine_quit(s->m, 0);
}

static void command_sendkey(struct session *s, int argc, char **args)
{
    char error[256];
    u64 hold = 0;
    if (argc > 2 && !session_number(s, args[2], &hold))
        return;
    if (!console_key_combo(machine_console(s->m), args[1], hold > 10000 ? 10000 : (unsigned)hold,
                           error, sizeof error))
        session_print(s, "%s\n", error);
}

static bool motion(struct session *s, const char *text, int *value)
{
    char *end;
    long v = strtol(text, &end, 0);
    if (end == text || *end || v < -32768 || v > 32767) {
        session_print(s, "'%s' is not a motion in pixels\n", text);
        return false;
    }
    *value = (int)v;
    return true;
}

static void command_mouse_move(struct session *s, int argc, char **args)
{
    int dx, dy, dz = 0;
    if (motion(s, args[1], &dx) && motion(s, args[2], &dy) && (argc < 4 || motion(s, args[3], &dz)))
        console_pointer(machine_console(s->m), dx, dy, dz, s->buttons);
}

static void command_mouse_button(struct session *s, int argc, char **args)
{
    u64 mask;
    (void)argc;
    if (!session_number(s, args[1], &mask))
        return;
    /* QEMU: 1 left, 2 middle, 4 right */
    s->buttons = (mask & 1 ? POINTER_LEFT : 0) | (mask & 2 ? POINTER_MIDDLE : 0) |
                 (mask & 4 ? POINTER_RIGHT : 0);
    console_pointer(machine_console(s->m), 0, 0, 0, s->buttons);
}

static void command_screendump(struct session *s, int argc, char **args)
{
    char error[512];
    bool png = argc > 3 && !strcmp(args[2], "-f") && !strcmp(args[3], "png");
    if (!console_screendump(machine_console(s->m), args[1], png ? IMAGE_PNG : IMAGE_PPM, error,
                            sizeof error))
        session_print(s, "%s\n", error);
}

static void command_eject(struct session *s, int argc, char **args)
{
    char error[512];
    bool force = !strcmp(args[1], "-f");
    if (force && argc < 3)
        session_print(s, "eject which drive? info block lists them\n");
    else if (!machine_change_medium(s->m, args[force ? 2 : 1], NULL, force, error, sizeof error))
        session_print(s, "%s\n", error);
}

static void command_change(struct session *s, int argc, char **args)
{
    char error[512];
    (void)argc;
    if (!machine_change_medium(s->m, args[1], args[2], false, error, sizeof error))
        session_print(s, "%s\n", error);
}

// clang-format off
static const struct command commands[] = {
    /* name             alias   usage (needed words first) */
    {"help",            "?",    "",                     "this list", command_help},
    {"info",            NULL,   "registers|events|status|pic|pci|mtree|block|version", "show a part of the machine", command_info},
    {"x",               NULL,   "/FMT ADDR",            "memory at a linear address: /Nxbhwgdicos", command_x},
    {"xp",              NULL,   "/FMT ADDR",            "memory at a physical address", command_xp},
    {"memsave",         NULL,   "ADDR SIZE FILE",       "linear memory to a file", command_memsave},
    {"pmemsave",        NULL,   "ADDR SIZE FILE",       "physical memory to a file", command_pmemsave},
    {"sendkey",         NULL,   "KEYS [HOLD_MS]",       "press keys: ctrl-alt-f1", command_sendkey},
    {"mouse_move",      NULL,   "DX DY [DZ]",           "move the mouse", command_mouse_move},
    {"mouse_button",    NULL,   "MASK",                 "hold buttons: 1 left, 2 middle, 4 right", command_mouse_button},
    {"screendump",      NULL,   "FILE [-f png]",        "write the screen as PPM (or PNG)", command_screendump},
    {"change",          NULL,   "DRIVE FILE",           "another CD or floppy into a drive", command_change},
    {"eject",           NULL,   "DRIVE",                "the medium out of a drive; -f DRIVE: although the guest holds it", command_eject},
    {"stop",            "s",    "",                     "pause", command_stop},
    {"cont",            "c",    "",                     "go on", command_cont},
    {"system_reset",    NULL,   "",                     "reset", command_reset},
    {"system_powerdown", NULL,  "",                     "press the power button", command_powerdown},
    {"quit",            "q",    "",                     "end the machine", command_quit},
};
// clang-format on

static void command_help(struct session *s, int argc, char **args)
{
    (void)argc;
    (void)args;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        session_print(s, "%s %s -- %s\n", commands[i].name, commands[i].usage, commands[i].help);
}

/* How many words of the usage are not in brackets. */
static int needed_words(const struct command *c)
{
    int n = 0;
    for (const char *p = c->usage; *p; p++) {
        if (*p == '[')
            break;
        if (*p != ' ' && (p == c->usage || p[-1] == ' ') && *p != '/')
            n++;
    }
    return n;
}

/* Splits at blanks; "..." keeps them. */
static int split(char *line, char **args)
{
    int argc = 0;
    char *p = line;
    while (argc < HMP_ARGS) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (!*p)
            break;
        char *out = p;
        args[argc++] = p;
        bool quoted = false;
        for (; *p && (quoted || (*p != ' ' && *p != '\t')); p++) {
            if (*p == '"')
                quoted = !quoted;
            else if (*p == '\\' && quoted && p[1])
                *out++ = *++p;
            else
                *out++ = *p;
        }
        if (*p)
            p++;
        *out = '\0';
    }
    return argc;
}

static void execute(struct session *s, char *line)
{
    char *args[HMP_ARGS];
    int argc = split(line, args);
    if (!argc)
        return;
    /* "x/4xw ADDR": the format sticks to the name. */
    char *slash = strchr(args[0], '/');
    if (slash && argc < HMP_ARGS) {
        memmove(args + 2, args + 1, sizeof *args * (size_t)(argc - 1));
        *slash = '\0';
        args[1] = slash + 1;
        argc++;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, args[0]) && (!c->alias || strcmp(c->alias, args[0])))
            continue;
        if (argc - 1 < needed_words(c))
            session_print(s, "usage: %s %s\n", c->name, c->usage);
        else
            c->run(s, argc, args);
        return;
    }
    session_print(s, "unknown command: '%s' (try help)\n", args[0]);
}

/* ---- the stream ---- */

static size_t session_room(void *opaque)
{
    (void)opaque;
    return HMP_LINE;
}

static void end_line(struct session *s)
{
    s->line[s->used] = '\0';
    if (s->terminal)
        session_print(s, "\n");
    if (s->overflow)
        session_print(s, "line is too long\n");
    else
        execute(s, s->line);
    s->used = 0;
    s->overflow = false;
    session_print(s, PROMPT);
}

static void take_byte(struct session *s, u8 byte)
{
    switch (byte) {
    case '\n':
    case '\r': end_line(s); break;
    case 0x08:
    case 0x7f:
        if (s->used) {
            s->used--;
            if (s->terminal)
                session_print(s, "\b \b");
        }
        break;
    default:
        if (byte < 0x20)
            break;
        if (s->used < HMP_LINE - 1)
            s->line[s->used++] = (char)byte;
        else
            s->overflow = true;
        if (s->terminal)
            chardev_write(s->chr, &byte, 1);
    }
}

static void session_receive(void *opaque, const u8 *bytes, size_t n)
{
    struct session *s = opaque;
    for (size_t i = 0; i < n; i++) {
        /* CR LF is one end of line. */
        if (bytes[i] == '\n' && i && bytes[i - 1] == '\r')
            continue;
        take_byte(s, bytes[i]);
    }
}

static void greet(struct session *s)
{
    session_print(s, "anello " ANELLO_VERSION " monitor - type 'help' for the commands\n" PROMPT);
}

static void session_event(void *opaque, bool connected)
{
    struct session *s = opaque;
    s->used = 0;
    if (connected)
        greet(s);
}

static void open_session(struct hmp *hmp, struct machine *m, struct chardev *chr, bool owned,
                         bool terminal)
{
    struct session *s = &hmp->sessions[hmp->count++];
    *s = (struct session){.m = m, .chr = chr, .owned = owned, .terminal = terminal};
    struct chardev_sink sink = {.can_receive = session_room,
                                .receive = session_receive,
                                .event = session_event,
                                .opaque = s};
    chardev_set_sink(chr, &sink);
}

struct hmp *hmp_attach(struct machine *m, char *error, size_t n)
{
    struct hmp *hmp = calloc(1, sizeof *hmp);
    snprintf(error, n, "out of memory");
    if (!hmp)
        return NULL;
    const char *spec = machine_config(m)->monitor;
    bool ok = true;
    loop_lock(machine_loop(m));
    if (machine_terminal_monitor(m))
        open_session(hmp, m, machine_terminal_monitor(m), false, true);
    if (spec && strcmp(spec, "none")) {
        struct chardev *chr = chardev_open(spec, machine_loop(m), error, n);
        ok = chr != NULL;
        bool stdio = !strcmp(spec, "stdio") || !strcmp(spec, "mon:stdio");
        if (ok) {
            open_session(hmp, m, chr, true, stdio);
            if (stdio)
                greet(&hmp->sessions[hmp->count - 1]);
        }
    }
    loop_unlock(machine_loop(m));
    if (!ok) {
        hmp_detach(hmp);
        return NULL;
    }
    return hmp;
}

void hmp_detach(struct hmp *hmp)
{
    if (!hmp)
        return;
    for (unsigned i = 0; i < hmp->count; i++) {
        struct session *s = &hmp->sessions[i];
        chardev_set_sink(s->chr, NULL);
        if (s->owned) {
            chardev_drain(s->chr, 200);
            chardev_close(s->chr);
        }
    }
    free(hmp);
}
