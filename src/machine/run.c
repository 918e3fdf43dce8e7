/* SPDX-License-Identifier: MIT
 *
 * Threads and the life of a machine. A CPU thread runs guest code until it must *park*: while
 * stop_count > 0 it stands still at an instruction boundary. Pausing, resetting and inspecting all
 * raise stop_count, wait until every CPU is parked, do their work, and lower it.
 *
 *          stop_count > 0                      all parked
 *   RUN ------------------> stop at boundary -----------> PARKED (reset, inspect, paused)
 *    ^                                                       |
 *    +-------------------------------------------------------+  stop_count == 0
 *
 * A CPU that executed HLT sleeps on a futex word that everyone who gives it something to do bumps:
 * no lock is involved, so devices may wake a CPU with the board lock held. While it sleeps it keeps
 * the board's time (base/loop.h).
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "cpu/excp.h"
#include "machine/internal.h"
#include "ui/console.h"
#include "ui/sdl.h"

#define EXIT_TRIPLE_FAULT 3
#define EXACTLY           1      /* ns */
#define HALT_SPIN_NS      400000 /* more than 1 MiB takes to or from the host's page cache */

double host_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- waking and stopping CPUs ---- */

void cpu_wake(struct cpu_thread *c)
{
    __atomic_fetch_add(&c->wake, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&c->asleep, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &c->wake, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool must_stop(struct machine *m)
{
    return __atomic_load_n(&m->stop_count, __ATOMIC_SEQ_CST) != 0;
}

static bool has_ended(struct machine *m)
{
    return __atomic_load_n(&m->ended, __ATOMIC_SEQ_CST);
}

static void stop_cpus(struct machine *m)
{
    __atomic_fetch_add(&m->stop_count, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < m->cpu_count; i++) {
        vcpu_event_set(m->cpus[i].v, EVENT_STOP);
        cpu_wake(&m->cpus[i]);
    }
}

static void go_cpus(struct machine *m)
{
    pthread_mutex_lock(&m->run_lock);
    __atomic_fetch_sub(&m->stop_count, 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&m->run_cond);
    pthread_mutex_unlock(&m->run_lock);
}

/* Board lock held; dropped while waiting. A machine that has ended parks nobody any more. */
static void wait_parked(struct machine *m)
{
    loop_unlock(m->loop);
    pthread_mutex_lock(&m->run_lock);
    while (m->parked < m->cpu_count && !has_ended(m))
        pthread_cond_wait(&m->run_cond, &m->run_lock);
    pthread_mutex_unlock(&m->run_lock);
    loop_lock(m->loop);
}

void machine_hold(struct machine *m)
{
    stop_cpus(m);
    wait_parked(m);
}

void machine_release(struct machine *m)
{
    go_cpus(m);
}

/* ---- a CPU's thread ---- */

static void park(struct cpu_thread *c)
{
    struct machine *m = c->m;
    pthread_mutex_lock(&m->run_lock);
    m->parked++;
    pthread_cond_broadcast(&m->run_cond);
    while (must_stop(m) && !has_ended(m))
        pthread_cond_wait(&m->run_cond, &m->run_lock);
    m->parked--;
    pthread_mutex_unlock(&m->run_lock);
}

/* Until somebody wakes the CPU after `seen`, or it is `due`. */
static void sleep_until(struct cpu_thread *c, u32 seen, i64 due)
{
    struct timespec wait, *limit = NULL;
    if (due != CLOCK_NEVER) {
        i64 ns = due - clock_now(c->m->clock);
        if (ns <= 0)
            return;
        wait = (struct timespec){.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};
        limit = &wait;
    }
    __atomic_store_n(&c->asleep, true, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &c->wake, FUTEX_WAIT_PRIVATE, seen, limit, NULL, 0);
    __atomic_store_n(&c->asleep, false, __ATOMIC_SEQ_CST);
}

/* Then the event is some microseconds away: a disk's answer. Nothing else is looked for, so an idle
 * guest sleeps. */
static bool disk_is_busy(const struct machine *m)
{
    for (unsigned i = 0; i < ARRAY_LEN(m->drives); i++) {
        if (m->drives[i] && block_is_busy(m->drives[i]))
            return true;
    }
    return false;
}

/* HLT: waits until there is something to do. Mostly that is a timer, which a CPU that has slept
 * fires itself; while it only looks, the loop's thread does. */
static void wait_for_event(struct cpu_thread *c)
{
    struct machine *m = c->m;
    bool soon = disk_is_busy(m), looked = false;
    i64 start = soon ? spin_now() : 0;
    for (;;) {
        u32 seen = __atomic_load_n(&c->wake, __ATOMIC_SEQ_CST);
        if (vcpu_events(c->v) & EVENT_STOP || excp_wakes(c->v) || has_ended(m))
            break;
        looked = soon && spin_while(&c->spin, &c->wake, seen);
        if (looked)
            continue;
        i64 due = loop_keep_time(m->loop);
        sleep_until(c, seen, due);
        if (due != CLOCK_NEVER)
            loop_pass_time(m->loop);
    }
    c->halts++;
    c->looked += looked;
    if (soon)
        spin_learn(&c->spin, spin_now() - start);
}

static void triple_fault(struct machine *m)
{
    loop_lock(m->loop);
    if (m->config->no_reboot) {
        log_warn(
            "the guest's CPU shut down by a triple fault: -d cpu_reset shows its registers and "
            "last events");
        machine_quit(m, EXIT_TRIPLE_FAULT);
    } else {
        machine_reset(m, true);
    }
    loop_unlock(m->loop);
}

static void *cpu_main(void *opaque)
{
    struct cpu_thread *c = opaque;
    struct machine *m = c->m;
    spin_init(&c->spin, HALT_SPIN_NS);
    prctl(PR_SET_TIMERSLACK, EXACTLY); /* the guest's timers are as exact as the host's */
    while (!has_ended(m)) {
        vcpu_event_clear(c->v, EVENT_STOP);
        if (must_stop(m)) {
            park(c);
            continue;
        }
        switch (m->engine->run(c->v)) {
        case VCPU_EXIT_STOP: break;
        case VCPU_EXIT_HALT: wait_for_event(c); break;
        case VCPU_EXIT_SHUTDOWN: triple_fault(m); break;
        }
    }
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    pthread_mutex_lock(&m->run_lock);
    m->vcpu_seconds += (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
    pthread_mutex_unlock(&m->run_lock);
    return NULL;
}

/* ---- control ---- */

static void show_state(struct machine *m)
{
    if (m->console)
        console_set_state(m->console, m->paused ? CONSOLE_PAUSED : CONSOLE_RUNNING);
}

/* The guest's TSC stands still with the clock. */
static void freeze_time(struct machine *m)
{
    clock_pause(m->clock);
    m->paused_tsc = __rdtsc();
}

static void thaw_time(struct machine *m)
{
    if (!clock_is_paused(m->clock))
        return;
    u64 lost = __rdtsc() - m->paused_tsc;
    for (unsigned i = 0; i < m->cpu_count; i++)
        m->cpus[i].v->tsc_offset -= (i64)lost;
    clock_resume(m->clock);
}

void machine_pause(struct machine *m)
{
    if (m->paused || has_ended(m))
        return;
    m->paused = true;
    stop_cpus(m);
    freeze_time(m);
    show_state(m);
}

void machine_resume(struct machine *m)
{
    if (!m->paused || has_ended(m))
        return;
    m->paused = false;
    wait_parked(m); /* a CPU that is still on its way must not miss the change of the TSC */
    thaw_time(m);
    for (unsigned i = 0; i < MAX_PLACES; i++) {
        if (m->drives[i])
            block_retry(m->drives[i]); /* there may be room on the host's disk by now */
    }
    go_cpus(m);
    show_state(m);
}

bool machine_is_paused(const struct machine *m)
{
    return m->paused;
}

static void reset_board(struct machine *m)
{
    for (unsigned i = 0; i < m->device_count; i++) {
        if (m->devices[i].ops->reset)
            m->devices[i].ops->reset(m->devices[i].dev);
    }
    for (unsigned i = 0; i < m->cpu_count; i++) {
        struct vcpu *v = m->cpus[i].v;
        vcpu_event_clear(v, EVENT_INTR | EVENT_NMI | EVENT_INIT | EVENT_SIPI);
        vcpu_reset(v);
    }
    pc_set_a20(m, true);
    m->boots++;
}

/* On the I/O thread: the reset proper, once everybody stands still. */
static void do_reset(void *opaque)
{
    struct machine *m = opaque;
    wait_parked(m);
    if (!has_ended(m))
        reset_board(m);
    m->reset_pending = false;
    go_cpus(m);
}

void machine_reset(struct machine *m, bool by_guest)
{
    if (has_ended(m) || m->reset_pending)
        return;
    if (by_guest && m->config->no_reboot) {
        machine_quit(m, 0);
        return;
    }
    m->reset_pending = true;
    stop_cpus(m);
    loop_post(m->loop, do_reset, m);
}

void machine_powerdown(struct machine *m)
{
    acpi_pm_power_button(m->pm_block);
}

void machine_quit(struct machine *m, int status)
{
    pthread_mutex_lock(&m->run_lock);
    if (!m->ended) {
        m->status = status;
        __atomic_store_n(&m->ended, true, __ATOMIC_SEQ_CST);
    }
    pthread_cond_broadcast(&m->run_cond);
    pthread_mutex_unlock(&m->run_lock);
    for (unsigned i = 0; i < m->cpu_count; i++) {
        vcpu_event_set(m->cpus[i].v, EVENT_STOP);
        cpu_wake(&m->cpus[i]);
    }
    if (m->console)
        console_quit(m->console);
    loop_stop(m->loop);
}

/* ---- the run ---- */

static void *io_main(void *opaque)
{
    struct machine *m = opaque;
    loop_run(m->loop);
    return NULL;
}

/* Signals are for the main thread; the others leave them alone. SIGFPE and SIGSEGV are synchronous
 * and stay open. */
static bool start_thread(pthread_t *thread, void *(*body)(void *), void *opaque)
{
    sigset_t some, before;
    sigemptyset(&some);
    sigaddset(&some, SIGINT);
    sigaddset(&some, SIGTERM);
    sigaddset(&some, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &some, &before);
    int err = pthread_create(thread, NULL, body, opaque);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err == 0;
}

static bool start_threads(struct machine *m)
{
    if (!start_thread(&m->io_thread, io_main, m))
        return false;
    for (unsigned i = 0; i < m->cpu_count; i++)
        m->cpus[i].started = start_thread(&m->cpus[i].thread, cpu_main, &m->cpus[i]);
    return true;
}

/* Closing the window presses the power button; closing it again, or when the guest does not
 * listen to the button, pulls the plug. */
static void window_closed(void *opaque, bool again)
{
    struct machine *m = opaque;
    loop_lock(m->loop);
    if (again || m->paused || !acpi_pm_enabled(m->pm_block))
        machine_quit(m, 0);
    else
        machine_powerdown(m);
    loop_unlock(m->loop);
}

static void show(struct machine *m)
{
    char error[256] = "";
    if (m->config->display == DISPLAY_SDL) {
        struct sdl_options options = {
            .name = m->config->name, .close_requested = window_closed, .opaque = m};
        if (!sdl_console_run(m->console, &options, error, sizeof error) && !has_ended(m)) {
            log_warn("%s", error);
            machine_quit(m, 1);
        }
    }
    pthread_mutex_lock(&m->run_lock);
    while (!has_ended(m))
        pthread_cond_wait(&m->run_cond, &m->run_lock);
    pthread_mutex_unlock(&m->run_lock);
}

static void finish(struct machine *m)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        if (m->cpus[i].started)
            pthread_join(m->cpus[i].thread, NULL);
    }
    pthread_join(m->io_thread, NULL);
    loop_lock(m->loop);
    injector_at_exit(m);
    for (unsigned i = 0; i < MAX_SERIALS; i++)
        chardev_drain(m->serial_chr[i], 1000);
    chardev_drain(m->terminal, 1000);
    loop_unlock(m->loop);
    if (m->config->stats) {
        char error[256];
        if (!stats_write(m, m->config->stats, error, sizeof error)) {
            log_warn("%s", error);
            m->status = m->status ? m->status : 1;
        }
    }
}

int machine_run(struct machine *m)
{
    loop_lock(m->loop);
    m->host_started = host_seconds();
    reset_board(m);
    if (m->config->start_paused) {
        m->paused = true;
        m->paused_tsc = __rdtsc();
        stop_cpus(m);
    } else {
        clock_resume(m->clock);
    }
    if (m->start)
        m->start(m->start_opaque);
    m->injector = injector_start(m);
    show_state(m);
    loop_unlock(m->loop);
    if (!start_threads(m)) {
        log_warn("cannot start threads: %s", strerror(errno));
        return 1;
    }
    show(m);
    finish(m);
    return m->status;
}

void machine_on_start(struct machine *m, void (*start)(void *opaque), void *opaque)
{
    m->start = start;
    m->start_opaque = opaque;
}
