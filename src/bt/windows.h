/* SPDX-License-Identifier: MIT
 *
 * Which window (window.h) is in use: one for the kernel, whichever address space it runs in, and
 * one for each address space whose user code has used some CPU time. GS base is the current one's
 * address; MODE_WINDOW in the mode word tells blocks that use it from those with checked accesses.
 *
 * Invariant: before translated code runs after any change of the TLB, of CR3 or between CPL 3 and
 * the others, windows_settle() has run.
 */
#ifndef ANELLO_BT_WINDOWS_H
#define ANELLO_BT_WINDOWS_H

#include "bt/bt.h"
#include "bt/window.h"

struct windows;

/* NULL: the host does not offer what windows need, or memory; all accesses are checked then. */
struct windows *windows_create(struct vcpu *v);
void windows_destroy(struct windows *ws);

/* Brings the current window, and v->mode, up to date with CPL, CR3 and the page tables. */
void windows_settle(struct windows *ws);
/* Every now and then, before that: whether code that has none is worth one by now. */
void windows_consider(struct windows *ws);

/* The instruction that trapped at host address `at` has been executed: makes the page accessible
 * for the next time. Returns what window_fill() does. */
int windows_fill(struct windows *ws, u64 at);

/* True when `at` is in the current window. @asyncsignalsafe */
bool windows_has(const struct windows *ws, u64 at);

/* GS base: the address of the current window. @asyncsignalsafe */
u64 windows_gs(const struct windows *ws);

/* Tells the thread which window is current: GS base belongs to a thread. */
void windows_bind(struct windows *ws);

/* From how many TSC cycles of running on an address space (the kernel) gets a window: for tests,
 * which want them at once. */
void windows_promote_after(struct windows *ws, u64 cycles);

const struct window_stats *windows_stats(const struct windows *ws);

#endif
