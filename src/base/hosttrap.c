/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "base/hosttrap.h"

/* Signal plumbing: handlers have no context argument. Written once, under the lock, before the
 * signal can reach on_signal(). */
#define OWNERS 4
static struct {
    hosttrap_fn *fn[OWNERS];
    struct sigaction previous;
} owner[HOSTTRAP_KINDS];
static pthread_mutex_t owner_lock = PTHREAD_MUTEX_INITIALIZER;

/* SIGURG: ignored unless it is wanted, and of no other use here. */
static const int signal_of_kind[HOSTTRAP_KINDS] = {[HOSTTRAP_ARITHMETIC] = SIGFPE,
                                                   [HOSTTRAP_MEMORY] = SIGSEGV,
                                                   [HOSTTRAP_BUS] = SIGBUS,
                                                   [HOSTTRAP_KNOCK] = SIGURG};

static const int encoding_order[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* @asyncsignalsafe */
static void pass_on(const struct sigaction *previous, int number, siginfo_t *info, void *context)
{
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(number, info, context);
    else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN)
        previous->sa_handler(number);
    else
        sigaction(number, previous, NULL); /* the trap comes again and ends the process */
}

/* @asyncsignalsafe */
static bool ask_owners(unsigned kind, struct hosttrap *trap)
{
    for (unsigned i = 0; i < OWNERS && owner[kind].fn[i]; i++) {
        if (owner[kind].fn[i](trap))
            return true;
    }
    return false;
}

/* @asyncsignalsafe */
static void on_signal(int number, siginfo_t *info, void *context)
{
    unsigned kind = 0;
    while (signal_of_kind[kind] != number)
        kind++;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct hosttrap trap = {.rip = (u64)regs[REG_RIP],
                            .vector = (u64)regs[REG_TRAPNO],
                            .address = (u64)(uintptr_t)info->si_addr};
    for (unsigned i = 0; i < ARRAY_LEN(encoding_order); i++)
        trap.gpr[i] = (u64)regs[encoding_order[i]];
    /* A signal that was sent, not caused, has nothing to do with the registers. */
    bool caused = info->si_code > 0 || kind == HOSTTRAP_KNOCK;
    if (!caused || !ask_owners(kind, &trap)) {
        pass_on(&owner[kind].previous, number, info, context);
        return;
    }
    regs[REG_RIP] = (greg_t)trap.rip;
    for (unsigned i = 0; i < ARRAY_LEN(encoding_order); i++)
        regs[encoding_order[i]] = (greg_t)trap.gpr[i];
}

/* Whether the signal leads here now: a library may have taken it since. */
static bool is_installed(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
           now.sa_sigaction == on_signal;
}

int hosttrap_install(enum hosttrap_kind kind, hosttrap_fn *fn)
{
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    int error = 0;
    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&owner_lock);
    unsigned i = 0;
    while (i < OWNERS && owner[kind].fn[i] && owner[kind].fn[i] != fn)
        i++;
    if (i == OWNERS)
        error = -EBUSY;
    else
        owner[kind].fn[i] = fn;
    if (!error && !is_installed(signal_of_kind[kind]) &&
        sigaction(signal_of_kind[kind], &action, &owner[kind].previous) != 0)
        error = -errno;
    pthread_mutex_unlock(&owner_lock);
    return error;
}

void hosttrap_knock(pthread_t thread)
{
    pthread_kill(thread, signal_of_kind[HOSTTRAP_KNOCK]);
}

static bool timer_make(struct hosttrap_timer *t)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = signal_of_kind[HOSTTRAP_KNOCK],
                             ._sigev_un._tid = gettid()};
    timer_t timer;
    hosttrap_timer_destroy(t);
    t->thread = pthread_self();
    t->made = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    t->timer = timer;
    return t->made;
}

void hosttrap_knock_in(struct hosttrap_timer *t, i64 ns)
{
    const struct itimerspec when = {.it_value.tv_nsec = ns};
    if ((!t->made || !pthread_equal(t->thread, pthread_self())) && !timer_make(t))
        return;
    timer_settime(t->timer, 0, &when, NULL);
}

void hosttrap_timer_destroy(struct hosttrap_timer *t)
{
    if (t->made)
        timer_delete(t->timer);
    t->made = false;
}
