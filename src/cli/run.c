/* SPDX-License-Identifier: MIT
 *
 * `anello run`: options to config to machine to exit status.
 */
#include "cli/run.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cpu/fpu.h"
#include "machine/engine.h"
#include "machine/machine.h"
#include "monitor/hmp.h"

static bool write_pidfile(const char *path, char *error, size_t n)
{
    FILE *f = fopen(path, "we");
    if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f)) {
        snprintf(error, n, "cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool choose_engine(struct machine_config *c, char *error, size_t n)
{
    if (!c->accel_given)
        c->accel = engine_default();
    int err = fpu_host_init();
    if (err) {
        snprintf(error, n, "cannot prepare the host's FPU: %s", strerror(-err));
        return false;
    }
    return true;
}

/* SIGINT, SIGTERM and SIGHUP end a machine as its user would: a thread waits for them. */
struct signal_quit {
    struct machine *m;
    pthread_t thread;
    sigset_t set;
};

static void *wait_signals(void *opaque)
{
    struct signal_quit *q = opaque;
    int number;
    if (sigwait(&q->set, &number) == 0 && number != SIGUSR1)
        machine_quit(q->m, 0);
    return NULL;
}

static void catch_signals(struct signal_quit *q, struct machine *m)
{
    q->m = m;
    sigemptyset(&q->set);
    sigaddset(&q->set, SIGINT);
    sigaddset(&q->set, SIGTERM);
    sigaddset(&q->set, SIGHUP);
    sigaddset(&q->set, SIGUSR1); /* from release_signals() */
    pthread_sigmask(SIG_BLOCK, &q->set, NULL);
    signal(SIGPIPE, SIG_IGN);
    pthread_create(&q->thread, NULL, wait_signals, q);
}

static void release_signals(struct signal_quit *q)
{
    pthread_kill(q->thread, SIGUSR1);
    pthread_join(q->thread, NULL);
}

static int run_machine(const struct machine_config *config)
{
    char error[1024] = "";
    struct machine *m = machine_create(config, error, sizeof error);
    if (!m) {
        log_warn("%s", error);
        return 1;
    }
    struct signal_quit signals;
    catch_signals(&signals, m);
    int status = 1;
    struct hmp *hmp = hmp_attach(m, error, sizeof error);
    if (hmp && config->pidfile && !write_pidfile(config->pidfile, error, sizeof error))
        log_warn("%s", error);
    else if (hmp)
        status = machine_run(m);
    else
        log_warn("%s", error);
    release_signals(&signals);
    hmp_detach(hmp);
    machine_destroy(m);
    if (config->pidfile)
        unlink(config->pidfile);
    return status;
}

int run_command(int argc, char **argv)
{
    struct machine_config config;
    char error[1024] = "";
    enum options_help help;
    config_init(&config);
    int status = 1;
    if (!options_parse(&config, argc, argv, &help, error, sizeof error)) {
        log_warn("%s", error);
    } else if (help != HELP_NONE) {
        (help == HELP_DEVICES ? options_print_devices : options_print_help)(stdout);
        status = 0;
    } else if (!choose_engine(&config, error, sizeof error)) {
        log_warn("%s", error);
    } else {
        status = run_machine(&config);
    }
    config_free(&config);
    return status;
}
