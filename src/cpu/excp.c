/* SPDX-License-Identifier: MIT
 *
 * Exceptions and events: raising, double faults, and the order of what is due at an instruction
 * boundary (SDM 3A §6.9, tables 6-2 and 6-5).
 *
 * A fault leaves the instruction by a long jump to the run loop, which calls excp_deliver_fault().
 * When delivery itself faults the same happens again; v->delivering then tells what was on its
 * way. A fault inside the delivery of a benign event (an interrupt, INT n, #UD, ...) is simply
 * delivered instead.
 */
#include "cpu/excp.h"

#include "cpu/debug.h"
#include "cpu/deliver.h"
#include "cpu/dump.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/mem.h"

/* ---- raising ---- */

static NORETURN void land(struct vcpu *v, unsigned vector, bool has_error, u32 error)
{
    v->fault.vector = (u8)vector;
    v->fault.has_error = has_error;
    v->fault.error = error;
    longjmp(*v->landing, 1);
}

void cpu_raise(struct vcpu *v, unsigned vector)
{
    land(v, vector, false, 0);
}

/* In v->fault: nothing to deliver. */
#define VEC_NONE 0xff

void cpu_restart(struct vcpu *v)
{
    land(v, VEC_NONE, false, 0);
}

/* Exceptions whose error code names a selector (SDM 3A figure 6-6). */
static bool error_is_selector(unsigned vector)
{
    return vector == VEC_TS || vector == VEC_NP || vector == VEC_SS || vector == VEC_GP;
}

void cpu_raise_error(struct vcpu *v, unsigned vector, u32 error)
{
    if (v->external && error_is_selector(vector))
        error |= ERROR_EXT;
    land(v, vector, true, error);
}

void cpu_page_fault(struct vcpu *v, u64 la, u32 error)
{
    v->fault.cr2 = vcpu_long_mode(v) ? la : (u32)la;
    land(v, VEC_PF, true, error);
}

/* ---- faults ---- */

enum fault_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT };

static enum fault_class class_of(unsigned vector)
{
    switch (vector) {
    case VEC_DE:
    case VEC_TS:
    case VEC_NP:
    case VEC_SS:
    case VEC_GP: return CLASS_CONTRIBUTORY;
    case VEC_PF: return CLASS_PAGE_FAULT;
    default: return CLASS_BENIGN;
    }
}

/* Table 6-5. */
static bool makes_double_fault(unsigned first, unsigned second)
{
    enum fault_class a = class_of(first), b = class_of(second);
    if (a == CLASS_CONTRIBUTORY)
        return b == CLASS_CONTRIBUTORY;
    return a == CLASS_PAGE_FAULT && b != CLASS_BENIGN;
}

/* Faults restart their instruction, and their handlers shall not meet its breakpoint again: RF is
 * set in the pushed image. Not so for traps and aborts (SDM 3B §17.3.1.1). */
static bool is_fault(unsigned vector)
{
    switch (vector) {
    case VEC_NMI:
    case VEC_BP:
    case VEC_OF:
    case VEC_DF:
    case VEC_MC: return false;
    default: return true;
    }
}

static void log_shutdown(struct vcpu *v, unsigned vector)
{
    if (!log_on(v->log, LOG_INT | LOG_CPU_RESET))
        return;
    fpu_put_away(v);
    char text[4096];
    log_printf(v->log, "cpu%u: triple fault (vector %u) at %04x:%llx\n", v->index, vector,
               v->seg[SEG_CS].sel, (unsigned long long)v->rip);
    dump_registers(v, text, sizeof text);
    log_printf(v->log, "%s", text);
    dump_recent(v, text, sizeof text);
    log_printf(v->log, "last events:\n%s", text);
}

static void log_page_fault(struct vcpu *v)
{
    if (!log_on(v->log, LOG_MMU))
        return;
    fpu_put_away(v);
    log_printf(v->log, "mmu: cpu%u page fault at %llx, error %x, cr3 %llx, ip %llx\n", v->index,
               (unsigned long long)v->fault.cr2, v->fault.error, (unsigned long long)v->cr3,
               (unsigned long long)v->rip);
}

bool excp_deliver_fault(struct vcpu *v)
{
    struct event e = {.vector = v->fault.vector,
                      .source = INT_EXCEPTION,
                      .has_error = v->fault.has_error,
                      .error = v->fault.error,
                      .return_ip = v->rip};
    v->at = NULL;
    if (e.vector == VEC_NONE)
        return true;
    if (e.vector == VEC_PF) {
        log_page_fault(v);
        v->cr2 = v->fault.cr2;
    }
    if (v->delivering == VEC_DF && class_of(e.vector) != CLASS_BENIGN) {
        log_shutdown(v, e.vector);
        return false;
    }
    if (v->delivering >= 0 && makes_double_fault((unsigned)v->delivering, e.vector)) {
        e.vector = VEC_DF;
        e.has_error = true;
        e.error = 0;
    }
    e.rf = is_fault(e.vector);
    v->delivering = e.vector;
    v->external = true;
    v->pending_db = 0;
    deliver(v, &e);
    v->delivering = -1;
    v->external = false;
    return true;
}

void excp_interrupt(struct vcpu *v, unsigned vector, enum int_source source, bool has_error,
                    u32 error, u64 return_ip)
{
    struct event e = {.vector = (u8)vector,
                      .source = source,
                      .has_error = has_error,
                      .error = error,
                      .return_ip = return_ip};
    v->external = source != INT_SOFTWARE;
    deliver(v, &e);
    v->external = false;
}

/* ---- boundaries ---- */

/* Shadows that the instruction before this boundary cast; SHADOW_OVER is ours. */
#define SHADOW_FRESH (SHADOW_STI | SHADOW_MOVSS | SHADOW_RF | SHADOW_REP)

/* An instruction has run since RF was loaded: it ends, unless the instruction was stopped half-way
 * or loaded RF again. */
static void age_shadow(struct vcpu *v)
{
    u8 shadow = v->shadow;
    if ((shadow & SHADOW_OVER) && !(shadow & (SHADOW_RF | SHADOW_REP)))
        v->rflags &= ~(u64)FLAG_RF;
    v->shadow = shadow & SHADOW_FRESH ? SHADOW_OVER : 0;
}

static void take_debug_trap(struct vcpu *v)
{
    v->dr[6] = (v->dr[6] & ~(u64)DR6_B) | v->pending_db;
    v->pending_db = 0;
    excp_interrupt(v, VEC_DB, INT_EXCEPTION, false, 0, v->rip);
}

/* Between two iterations of a repeated instruction the pushed image has RF set, so that its
 * breakpoint is not met again (SDM 3B §17.3.1.1). */
static void take_interrupt(struct vcpu *v, unsigned vector, bool between_iterations)
{
    struct event e = {.vector = (u8)vector,
                      .source = INT_EXTERNAL,
                      .return_ip = v->rip,
                      .rf = between_iterations};
    v->external = true;
    deliver(v, &e);
    v->external = false;
}

static bool take_intr(struct vcpu *v, bool between_iterations)
{
    fpu_put_away(v);
    int vector = v->hooks.interrupt_ack(v->hooks.opaque);
    if (vector < 0)
        return false;
    v->irqs_delivered++;
    take_interrupt(v, (unsigned)vector, between_iterations);
    return true;
}

/* Instruction breakpoints come before the instruction and push the flags as they are. */
static bool take_code_breakpoint(struct vcpu *v)
{
    if (v->rflags & FLAG_RF)
        return false;
    u64 la = v->mode & MODE_CS64 ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);
    u32 hit = debug_code_match(v, la);
    if (!hit)
        return false;
    v->pending_db = hit;
    take_debug_trap(v);
    return true;
}

static bool take_start_signals(struct vcpu *v, u32 events)
{
    if (events & EVENT_INIT) {
        vcpu_event_clear(v, EVENT_INIT);
        vcpu_init_signal(v);
        return true;
    }
    if (events & EVENT_SIPI) {
        vcpu_event_clear(v, EVENT_SIPI);
        if (v->wait_for_sipi) {
            vcpu_startup(v, __atomic_load_n(&v->sipi_vector, __ATOMIC_ACQUIRE));
            return true;
        }
    }
    return false;
}

static bool intr_allowed(const struct vcpu *v)
{
    return v->rflags & FLAG_IF;
}

bool excp_boundary(struct vcpu *v)
{
    u32 events = vcpu_events(v);
    u8 shadow = v->shadow;
    bool flushed = false;
    v->at = NULL;
    age_shadow(v);
    if (events & EVENT_FLUSH) {
        vcpu_event_clear(v, EVENT_FLUSH);
        tlb_flush(v);
        flushed = true;
    }
    if (take_start_signals(v, events))
        return true;
    if (v->wait_for_sipi || (shadow & SHADOW_MOVSS))
        return flushed;
    if (v->pending_db) {
        take_debug_trap(v);
        return true;
    }
    if ((events & EVENT_NMI) && !v->nmi_blocked) {
        vcpu_event_clear(v, EVENT_NMI);
        v->nmi_blocked = true;
        take_interrupt(v, VEC_NMI, shadow & SHADOW_REP);
        return true;
    }
    if ((events & EVENT_INTR) && intr_allowed(v) && !(shadow & SHADOW_STI) &&
        take_intr(v, shadow & SHADOW_REP))
        return true;
    if ((v->mode & MODE_BREAK) && !v->halted && !(shadow & SHADOW_REP) && take_code_breakpoint(v))
        return true;
    if ((v->mode & MODE_BREAK) && vcpu_virtual_intr_due(v))
        cpu_raise_error(v, VEC_GP, 0);
    return flushed;
}

bool excp_wakes(const struct vcpu *v)
{
    u32 events = vcpu_events(v);
    if (events & EVENT_INIT)
        return true;
    if (v->wait_for_sipi)
        return events & EVENT_SIPI;
    return v->pending_db || ((events & EVENT_NMI) && !v->nmi_blocked) ||
           ((events & EVENT_INTR) && intr_allowed(v));
}
