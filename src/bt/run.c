/* SPDX-License-Identifier: MIT
 *
 * The run loop: into translated code where there is some, else the interpreter, block by block; and
 * what signals do to translated code.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "bt/observe.h"
#include "bt/path.h"
#include "cpu/excp.h"
#include "cpu/fpu.h"
#include "cpu/interp.h"

#define HOT     3    /* executions after which a block is translated */
#define ODD_RUN 2000 /* instructions interpreted at a time in modes that are not translated */

/* Debug builds verify all code. */
#ifdef __OPTIMIZE__
#define VERIFY_AT_FIRST false
#else
#define VERIFY_AT_FIRST true
#endif

/* The CPU that runs translated code on this thread: for signal handlers. */
static _Thread_local struct bt *running;

/* ---- signals ---- */

static void unlink_at(struct bt *bt, const u8 *host)
{
    struct tcode *t = tcode_at(bt, host);
    if (!t)
        return;
    tcode_unlink_exits(bt, t);
    bt->sampled = t;
}

/* jmp [r10 + 8] or call [r10 + 8]: on the way into what `find` has found (xl_flow.c). */
static bool is_found_jump(const u8 *rip)
{
    static const u8 jmp[] = {0x41, 0xff, 0x62, offsetof(struct tjump, host)};
    static const u8 call[] = {0x41, 0xff, 0x52, offsetof(struct tjump, host)};
    return memcmp(rip, jmp, sizeof jmp) == 0 || memcmp(rip, call, sizeof call) == 0;
}

/* A knock: see invariant 6 in bt.h. @asyncsignalsafe */
static bool knocked(struct hosttrap *trap)
{
    struct bt *bt = running;
    if (!bt)
        return true;
    const u8 *rip = (const u8 *)(uintptr_t)trap->rip;
    if (!codemem_has(&bt->mem, rip))
        return true; /* C code looks at the events before it goes back */
    bt->stats.knocks++;
    bt->v->target_key = 0;
    const struct thunks *t = &bt->thunk;
    if (rip >= t->find && rip < t->jump_end) {
        const u8 *start = rip < t->find_end ? t->find : t->jump;
        if (rip > start)
            trap->gpr[REG_CX] = trap->gpr[HR_T3];
        trap->rip = (u64)(uintptr_t)start;
        return true;
    }
    if (rip < t->end) { /* on its way into a translation: by one of these */
        unlink_at(bt, *(const u8 **)(uintptr_t)trap->gpr[REG_SP]);
        unlink_at(bt, (const u8 *)(uintptr_t)trap->gpr[REG_AX]);
        unlink_at(bt, (const u8 *)(uintptr_t)trap->gpr[HR_T0]);
    } else {
        unlink_at(bt, rip);
        if (is_found_jump(rip))
            unlink_at(bt, ((const struct tjump *)(uintptr_t)trap->gpr[HR_T2])->host);
    }
    return true;
}

/* The host trapped on translated code: the thunk takes over with the registers as they are.
 * @asyncsignalsafe */
static bool trapped(struct hosttrap *trap)
{
    struct bt *bt = running;
    if (!bt || !codemem_has(&bt->mem, (const void *)(uintptr_t)trap->rip))
        return false;
    if (trap->vector == VEC_PF && returns_full(&bt->returns, trap->address)) {
        trap->gpr[X64_RSP] = bt->returns.base; /* starts again, as does the instruction */
        return true;
    }
    if (!tcode_at(bt, (const u8 *)(uintptr_t)trap->rip))
        return false;
    bt->trap_address = trap->vector == VEC_PF ? trap->address : 0;
    if (bt->windows)
        xl_string_trapped((const u8 *)(uintptr_t)trap->rip, windows_gs(bt->windows),
                          &trap->gpr[REG_SI], &trap->gpr[REG_DI]);
    trap->gpr[HR_T1] = trap->rip;
    trap->rip = (u64)(uintptr_t)bt->thunk.trap;
    return true;
}

static void knock(struct vcpu *v)
{
    if (!vcpu_on_own_thread(v))
        hosttrap_knock(v->thread);
}

static int install_traps(void)
{
    int error = hosttrap_install(HOSTTRAP_ARITHMETIC, trapped);
    if (!error)
        error = hosttrap_install(HOSTTRAP_MEMORY, trapped);
    if (!error)
        error = hosttrap_install(HOSTTRAP_KNOCK, knocked);
    return error;
}

/* ---- life ---- */

static void page_opened(struct vcpu *v)
{
    bt_of(v)->opened = true;
}

const char *bt_unavailable(void)
{
    u32 a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_BMI2))
        return "it needs a host CPU with BMI2: use interp";
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LAHF_LM))
        return "it needs a host CPU with LAHF in 64-bit mode: use interp";
    if (!FPU_STAYS_LIVE)
        return "this build cannot keep guest registers live (sanitizers or clang): use interp";
    return NULL;
}

bool bt_attach(struct vcpu *v)
{
    struct bt *bt = calloc(1, sizeof *bt);
    if (!bt)
        return false;
    v->engine = bt;
    bt->v = v;
    bt->mem.fd = -1;
    bt->hot = HOT;
    bt->born = __rdtsc();
    bt->verify = VERIFY_AT_FIRST;
    v->jumps = codemem_reserve(sizeof(struct tjump) * JUMPS, PROT_READ | PROT_WRITE);
    bt->codes = codemem_reserve(sizeof *bt->codes * CODES, PROT_READ | PROT_WRITE);
    bt->arena = codemem_reserve(ARENA_BYTES, PROT_READ | PROT_WRITE);
    int error = install_traps();
    if (error || !v->jumps || !bt->codes || !bt->arena || !returns_create(&bt->returns) ||
        !codemem_create(&bt->mem, CODE_BYTES)) {
        bt_detach(v);
        errno = error ? -error : ENOMEM;
        return false;
    }
    thunks_make(bt);
    bt->cold_used = COLD_AT;
    tcode_forget_targets(bt);
    returns_reset(&bt->returns, v, bt->thunk.underflow);
    v->patience = 1;
    bt->windows = windows_create(v);
    v->knock = knock;
    v->interp->killed = tcode_killed;
    v->interp->dropped = tcode_drop_all;
    v->interp->opened = page_opened;
    return true;
}

void bt_detach(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    if (!bt)
        return;
    if (v->jumps && bt->mem.exec)
        tcode_drop_all(v);
    hosttrap_timer_destroy(&bt->sampler);
    windows_destroy(bt->windows);
    observe_close(bt);
    v->interp->killed = NULL;
    v->interp->dropped = NULL;
    v->interp->opened = NULL;
    codemem_destroy(&bt->mem);
    returns_destroy(&bt->returns);
    if (v->jumps)
        munmap(v->jumps, sizeof(struct tjump) * JUMPS);
    if (bt->codes)
        munmap(bt->codes, sizeof *bt->codes * CODES);
    if (bt->arena)
        munmap(bt->arena, ARENA_BYTES);
    free(bt);
    v->engine = NULL;
    v->jumps = NULL;
}

void bt_tune(struct vcpu *v, const struct bt_tuning *tuning)
{
    struct bt *bt = bt_of(v);
    bt->hot = tuning->hot;
    bt->traces_at_once = tuning->traces_at_once;
    v->interp->beside_most = tuning->beside ? tuning->beside : BESIDE_MOST;
    v->interp->open_for = tuning->beside ? 1 : OPEN_FOR;
    v->beside_wait = 1;
    if (bt->windows)
        windows_promote_after(bt->windows, tuning->window_after);
}

const struct bt_stats *bt_stats(const struct vcpu *v)
{
    return &bt_of(v)->stats;
}

const struct window_stats *bt_window_stats(const struct vcpu *v)
{
    static const struct window_stats none;
    return bt_of(v)->windows ? windows_stats(bt_of(v)->windows) : &none;
}

/* ---- running ---- */

/* The exit whose stub's call returns to `back`. */
static struct texit *exit_at(const struct tcode *t, const u8 *back)
{
    unsigned n = t->exits - 1u;
    while (n && back <= t->exit[n].stub)
        n--;
    return &t->exit[n];
}

static bool tcode_has(const struct tcode *t, const u8 *host)
{
    return host >= t->start && host < t->start + t->size;
}

/* The translation of b, made if it is worth it; NULL: interpret it, or begin a trace. */
static struct tcode *code_for(struct vcpu *v, struct block *b)
{
    if (LIKELY(b->code != NULL))
        return b->code;
    if (b->heat < bt_of(v)->hot) {
        b->heat++;
        return NULL;
    }
    if (UNLIKELY(path_begins(v, b)))
        return NULL;
    struct tcode *t = translate(v, b);
    if (!t) {
        tcode_drop_all(v);
        t = translate(v, b);
    }
    return t;
}

const u8 *bt_enter(struct vcpu *v, struct tcode *t)
{
    struct bt *bt = bt_of(v);
    const u8 *(*way_in)(struct vcpu *, const u8 *) =
        (const u8 *(*)(struct vcpu *, const u8 *))(uintptr_t)bt->thunk.enter;
    bt->stats.entries++;
    tcode_remember(v, t);
    bt_events(v);
    v->rip = t->b->rip;
    running = bt;
    __atomic_store_n(&v->inside, true, __ATOMIC_SEQ_CST);
    const u8 *back = way_in(v, t->entry);
    bt_left(v);
    x87_settle(v);
    if (back) {
        const struct tcode *from = tcode_has(t, back - 1) ? t : tcode_at(bt, back - 1);
        v->rip = exit_at(from, back)->target;
    }
    return back;
}

void bt_left(struct vcpu *v)
{
    __atomic_store_n(&v->inside, false, __ATOMIC_RELAXED);
    running = NULL;
}

/* Translated code came back by an unlinked exit: the next time it goes on by itself. */
static void link_exit(struct vcpu *v, const u8 *back)
{
    struct bt *bt = bt_of(v);
    struct tcode *from = tcode_at(bt, back - 1);
    u64 flushes = bt->stats.flushes;
    if (bt_events(v) || from->dead)
        return;
    if (exit_at(from, back)->is_check) {
        path_meant_again(v, from, exit_at(from, back));
        return;
    }
    if (!path_leaves(bt, exit_at(from, back)))
        return;
    struct block *b = cache_find(v, 0);
    if (!b || flushes != bt->stats.flushes || from->dead)
        return;
    struct tcode *to = code_for(v, b);
    if (to && flushes == bt->stats.flushes)
        tcode_link(bt, exit_at(from, back), to);
}

#define JUMPS_TO_LOOK 1024

/* A block that jumps by the table lead to often, presumably: its translation gets a guard. */
static void look_at_jump(struct vcpu *v, struct block *b)
{
    v->jump_patience = JUMPS_TO_LOOK;
    const struct tcode *t = b->code;
    b->by_jump = true;
    if (t && !t->guarded && !bt_of(v)->check)
        tcode_killed(v, b);
}

static void run_block(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    if (bt->windows)
        windows_consider(bt->windows);
    bt_settle(v);
    path_sample(v);
    bt->stats.misses++;
    struct tcode *known = bt->interpret ? NULL : tcode_recall(v);
    struct block *b = known ? tcode_head(known) : cache_find(v, 0);
    if (UNLIKELY(!bt_mode(v->mode))) {
        interp_blocks(v, b, ODD_RUN);
        return;
    }
    bool interpret = bt->interpret;
    bt->interpret = false;
    if (!v->jump_patience && b)
        look_at_jump(v, b);
    if (UNLIKELY(path_open(v, b)) && path_take(v, b)) {
        interp_blocks(v, b, 0);
        return;
    }
    struct tcode *t = b && !interpret ? code_for(v, b) : NULL;
    if (UNLIKELY(log_on(v->log, LOG_EXEC)))
        observe_run(v, b, t != NULL);
    if (!t) {
        interp_blocks(v, b, 0);
    } else if (UNLIKELY(bt->check != NULL)) {
        check_block(v, b);
    } else {
        const u8 *back = bt_enter(v, t);
        if (back)
            link_exit(v, back);
    }
}

/* IRET has loaded RF for the next instruction only. If neither that nor a breakpoint will look at
 * it, just an event before the instruction does: `enter` sees to that. */
static bool leave_rf_behind(struct vcpu *v)
{
    v->rf_ahead = 0;
    if (v->shadow != SHADOW_OVER || !(v->rflags & FLAG_RF) || v->pending_db || !bt_mode(v->mode) ||
        gate_may_show_rf(v, (u32)v->rip))
        return false;
    v->rflags &= ~(u64)FLAG_RF;
    v->shadow = 0;
    v->rf_ahead = FLAG_RF;
    return true;
}

static enum vcpu_exit run_loop(struct vcpu *v)
{
    enum vcpu_exit why = VCPU_EXIT_STOP;
    while (interp_boundary(v, &why)) {
        if (UNLIKELY(vcpu_events(v) & EVENT_LINKS))
            tcode_undo_links(v);
        if (!leave_rf_behind(v) && UNLIKELY(excp_stepping(v)))
            interp_single(v);
        else
            run_block(v);
    }
    return why;
}

/* A fault has come back to v->landing. False: the CPU has shut down. */
static bool land(struct vcpu *v)
{
    u32 from = v->mode;
    unsigned vector = v->fault.vector;
    interp_faulted(v);
    bt_of(v)->stats.faults++;
    if (gate_repeat_fault(v))
        return true;
    if (!excp_deliver_fault(v))
        return false;
    if (bt_mode(v->mode)) {
        bt_settle(v);
        tcode_update_key(v);
        gate_remember_fault(v, vector, from);
    }
    return true;
}

enum vcpu_exit bt_run(struct vcpu *v)
{
    jmp_buf landing, *outer = v->landing;
    struct returns_saved signal_stack;
    volatile enum vcpu_exit why = VCPU_EXIT_STOP;
    vcpu_bind_thread(v);
    v->landing = &landing;
    if (bt_of(v)->windows)
        windows_bind(bt_of(v)->windows);
    returns_enter_thread(&bt_of(v)->returns, &signal_stack);
    v->interp->granted = v->budget = 0;
    bool faulted = setjmp(landing) != 0;
    bt_left(v);
    path_woken(v);
    if (faulted && !land(v))
        why = VCPU_EXIT_SHUTDOWN;
    else
        why = run_loop(v);
    if (why == VCPU_EXIT_HALT)
        path_halted(v);
    v->landing = outer;
    fpu_put_away(v);
    returns_leave_thread(&signal_stack);
    return why;
}
