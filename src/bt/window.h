/* SPDX-License-Identifier: MIT
 *
 * Windows: 4 GiB of host addresses that mirror what one address space's user code may access, so
 * that its accesses need no check. GS base is the current window's address.
 *
 * A window is filled page by page as its code traps on what is not there. What is there is
 * *validated*, not flushed, when the guest has changed page tables: each page remembers the paging
 * entries that it was filled for. Only an address space that has used some CPU time gets a window;
 * MODE_WINDOW in the mode word tells its user code's blocks from those with checked accesses.
 *
 * Invariants
 *   1. A page of the current window can be read only if the TLB would allow user code to read it,
 *      and be written only if it would allow that without a slow path: D set, no mark on the page.
 *   2. Before user code runs in a window after any change of the TLB, window_refresh() has run.
 */
#ifndef ANELLO_BT_WINDOW_H
#define ANELLO_BT_WINDOW_H

#include "bt/bt.h"

struct windows;

/* NULL: the host does not offer what windows need, or memory; all accesses are checked then. */
struct windows *windows_create(struct vcpu *v);
void windows_destroy(struct windows *ws);

/* Brings the current window and v->mode up to date; before user code is looked up. */
void window_refresh(struct vcpu *v);

/* Whether window_refresh() has anything to do. */
bool windows_due(const struct windows *ws);

/* The instruction that trapped at host address `at` has been executed: makes the page accessible
 * for the next time. False: it cannot be. */
bool window_fill(struct vcpu *v, u64 at);

/* True when `at` is in the current window. @asyncsignalsafe */
bool window_has(const struct windows *ws, u64 at);

/* Tells the thread which window is current: GS base belongs to a thread. */
void windows_bind(struct windows *ws);

const struct window_stats *windows_stats(const struct windows *ws);

#endif
