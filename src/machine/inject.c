/* SPDX-License-Identifier: MIT
 *
 * What the command line does to a running machine at given host times: --timeout, --screenshot and
 * --type. Host time, so timerfds on the loop and not timers of the virtual clock.
 */
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "machine/internal.h"
#include "ui/console.h"

#define EXIT_TIMEOUT 124

enum injection_kind { INJECT_TIMEOUT, INJECT_SCREENSHOT, INJECT_TYPE };

struct shot {
    struct machine *m;
    enum injection_kind kind;
    const char *text;
    int fd;
    struct loop_watch *watch;
    struct shot *next;
};

struct injector {
    struct shot *shots;
};

static void fire(void *opaque, unsigned events)
{
    struct shot *s = opaque;
    char error[512] = "";
    (void)events;
    loop_unwatch(s->watch);
    s->watch = NULL;
    switch (s->kind) {
    case INJECT_TIMEOUT:
        log_warn("stopped by --timeout after %g seconds", s->m->config->timeout);
        machine_quit(s->m, EXIT_TIMEOUT);
        return;
    case INJECT_SCREENSHOT:
        if (!console_screenshot(s->m->console, s->text, error, sizeof error))
            log_warn("%s", error);
        return;
    case INJECT_TYPE:
        if (!console_type(s->m->console, s->text, error, sizeof error))
            log_warn("--type: %s", error);
        return;
    }
}

static void add(struct injector *in, struct machine *m, enum injection_kind kind, const char *text,
                double at)
{
    struct shot *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    *s = (struct shot){.m = m, .kind = kind, .text = text, .next = in->shots};
    in->shots = s;
    s->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    i64 ns = (i64)(at * 1e9);
    struct itimerspec spec = {.it_value = {.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC}};
    if (ns < 1)
        spec.it_value.tv_nsec = 1;
    if (s->fd >= 0) {
        timerfd_settime(s->fd, 0, &spec, NULL);
        s->watch = loop_watch(m->loop, s->fd, LOOP_READ, fire, s);
    }
}

struct injector *injector_start(struct machine *m)
{
    struct injector *in = calloc(1, sizeof *in);
    if (!in)
        abort();
    const struct machine_config *c = m->config;
    if (c->timeout > 0)
        add(in, m, INJECT_TIMEOUT, NULL, c->timeout);
    for (unsigned i = 0; i < c->screenshot_count; i++) {
        if (c->screenshots[i].at >= 0)
            add(in, m, INJECT_SCREENSHOT, c->screenshots[i].text, c->screenshots[i].at);
    }
    for (unsigned i = 0; i < c->type_count; i++)
        add(in, m, INJECT_TYPE, c->types[i].text, c->types[i].at);
    return in;
}

void injector_at_exit(struct machine *m)
{
    char error[512] = "";
    const struct machine_config *c = m->config;
    for (unsigned i = 0; i < c->screenshot_count; i++) {
        if (c->screenshots[i].at < 0 &&
            !console_screenshot(m->console, c->screenshots[i].text, error, sizeof error))
            log_warn("%s", error);
    }
}

void injector_finish(struct injector *in)
{
    if (!in)
        return;
    while (in->shots) {
        struct shot *s = in->shots;
        in->shots = s->next;
        loop_unwatch(s->watch);
        if (s->fd >= 0)
            close(s->fd);
        free(s);
    }
    free(in);
}
