/* SPDX-License-Identifier: MIT
 *
 * A window: 4 GiB of host addresses that mirror the linear addresses of one address space, as far
 * as one kind of code, user's or kernel's, may access them. This file knows the pages of one
 * window; which window is when in use is the matter of windows.h.
 *
 * A window is filled page by page as code traps on what is not there; a large page of the guest's
 * comes as a whole. What is there is *validated*, not flushed, when the guest has changed page
 * tables: each page remembers the paging entries that it was filled for.
 *
 * Invariants
 *   1. A page can be read only if the TLB would allow that code to read it, and be written only if
 *      it would allow that without a slow path: D set, no mark on the page.
 *   2. The kernel's window has no page that user code may access: SMAP and SMEP have nothing to
 *      forbid there.
 */
#ifndef ANELLO_BT_WINDOW_H
#define ANELLO_BT_WINDOW_H

#include "cpu/vcpu.h"

#define WINDOW_BYTES (GIB(4) + MIB(1)) /* what the last byte's access reaches beyond 4 GiB too */

struct window {
    struct vcpu *v;
    bool user; /* whose code's */
    u8 *base;
    u32 *slot; /* by linear page: 0, or which of the pages below it belongs to */
    u64 *shut; /* by linear page, of large ones: a bit when it is marked, so not writable */
    u8 *churn; /* by linear page: how often it has been taken away */
    bool churned;
    u32 *frame; /* by page of the memfd: index in small[] plus 1 of one that shows it, or 0 */
    struct window_page *small, *large;
    unsigned smalls, larges;
    unsigned locals; /* of both, that are not global */
    bool doubted;    /* global pages may have changed too, and marks have been made unheard */
    u32 last_la;     /* filled last, and how far ahead */
    unsigned run;
    u32 format;   /* CR0 and CR4 bits that give paging entries their meaning */
    u32 changes;  /* of the physical map, as it was */
    u64 a20_mask; /* likewise */
};

/* False: no memory; w can be destroyed all the same. */
bool window_create(struct window *w, struct vcpu *v, bool user);
void window_destroy(struct window *w);

/* Takes all pages out. */
void window_empty(struct window *w);

/* How many pages a fill has brought; 0: the access cannot be made direct now, FILL_NEVER: nor is it
 * likely to be later. */
#define FILL_NEVER (-1)
int window_fill(struct window *w, u32 la);

/* Takes out what the paging entries do not say any more; a page that they only forbid to
 * write stays, as such. Returns how many pages had to go. The kernel's global pages stay unless
 * w->doubted. */
unsigned window_validate(struct window *w);
/* The same for the page at la. */
unsigned window_validate_page(struct window *w, u32 la);

/* Forgets which pages the guest has kept taking away. */
void window_forgive(struct window *w);

/* The page at `offset` of the memfd may not be written directly any more. */
void window_shut(struct window *w, u64 offset);

#endif
