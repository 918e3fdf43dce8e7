/* SPDX-License-Identifier: MIT
 *
 * DR7 holds for each breakpoint n two enable bits at 2n (local, global) and a field of four bits
 * at 16 + 4n: what to watch (R/W), and how many bytes (LEN). Ranges are aligned to their length:
 * low bits of the address register do not count.
 */
#include "cpu/debug.h"

#define BREAKPOINTS 4

enum watch { WATCH_CODE, WATCH_WRITE, WATCH_PORT, WATCH_ACCESS };

struct breakpoint {
    bool enabled;
    enum watch watch;
    u64 first, last; /* addresses, both inclusive */
};

static struct breakpoint breakpoint_at(const struct vcpu *v, unsigned n)
{
    static const u8 length[] = {1, 2, 8, 4};
    u64 dr7 = v->dr[7];
    unsigned size = length[bits64(dr7, 19 + 4 * n, 18 + 4 * n)];
    u64 first = align_down(v->dr[n], size);
    return (struct breakpoint){.enabled = bits64(dr7, 2 * n + 1, 2 * n) != 0,
                               .watch = (enum watch)bits64(dr7, 17 + 4 * n, 16 + 4 * n),
                               .first = first,
                               .last = first + size - 1};
}

static bool overlaps(const struct breakpoint *b, u64 first, u64 last)
{
    return b->enabled && b->first <= last && first <= b->last;
}

static bool watches_data(const struct breakpoint *b, bool write)
{
    return b->watch == WATCH_ACCESS || (write && b->watch == WATCH_WRITE);
}

bool debug_page_watched(const struct vcpu *v, u64 page)
{
    if (LIKELY(!(v->dr[7] & DR7_ENABLES)))
        return false;
    for (unsigned n = 0; n < BREAKPOINTS; n++) {
        struct breakpoint b = breakpoint_at(v, n);
        if (watches_data(&b, true) && overlaps(&b, page, page + PAGE_OFFSET_MASK))
            return true;
    }
    return false;
}

void debug_data_access(struct vcpu *v, u64 la, unsigned size, bool write)
{
    for (unsigned n = 0; n < BREAKPOINTS; n++) {
        struct breakpoint b = breakpoint_at(v, n);
        if (watches_data(&b, write) && overlaps(&b, la, la + size - 1))
            v->pending_db |= 1u << n;
    }
}

void debug_port_access(struct vcpu *v, u16 port, unsigned size)
{
    for (unsigned n = 0; n < BREAKPOINTS; n++) {
        struct breakpoint b = breakpoint_at(v, n);
        if (b.watch == WATCH_PORT && overlaps(&b, port, port + size - 1))
            v->pending_db |= 1u << n;
    }
}

u32 debug_code_match(const struct vcpu *v, u64 la)
{
    u32 hit = 0;
    for (unsigned n = 0; n < BREAKPOINTS; n++) {
        struct breakpoint b = breakpoint_at(v, n);
        if (b.watch == WATCH_CODE && b.enabled && v->dr[n] == la)
            hit |= 1u << n;
    }
    return hit;
}
