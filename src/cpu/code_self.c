/* SPDX-License-Identifier: MIT */
#include "cpu/code_self.h"

#include "cpu/fpu.h"
#include "cpu/optable.h"

/* In TSC cycles: writes beside code that come within a round count; how long a page is open at
 * most. */
#define ROUND     20000000
#define OPEN_MOST ((u64)1 << 36)

/* ---- the comparison ---- */

void code_self_parts(const struct block *b, code_self_part *part, void *opaque)
{
    u64 from = 0, in_first = PAGE_BYTES - b->offset;
    if (b->bytes > in_first) { /* one instruction */
        part(opaque, b->page + b->offset, 0, in_first);
        part(opaque, b->next_page, in_first, b->bytes - in_first);
        return;
    }
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        if (!ci->patched)
            continue;
        u64 to = (u64)ci->offset + ci->in.imm_at;
        part(opaque, b->page + b->offset + from, from, to - from);
        from = (u64)ci->offset + ci->in.len;
    }
    if (from < b->bytes)
        part(opaque, b->page + b->offset + from, from, b->bytes - from);
}

/* No memcmp(): the guest's vector registers may be live. */
static bool same_bytes(const u8 *a, const u8 *b, u64 size)
{
    u64 differ = 0, n = 0;
    for (; n + 8 <= size; n += 8)
        differ |= load64(a + n) ^ load64(b + n);
    for (; n < size; n++)
        differ |= a[n] ^ b[n];
    return !differ;
}

struct difference {
    const struct block *b;
    const u8 *ram;
    u64 from, to;
};

static void find_difference(void *opaque, u64 offset, u64 at, u64 size)
{
    struct difference *d = opaque;
    const u8 *now = d->ram + offset, *then = d->b->copy + at;
    for (u64 n = 0; n < size; n++) {
        if (now[n] == then[n])
            continue;
        if (!d->to)
            d->from = at + n;
        d->to = at + n + 1;
    }
}

bool code_self_difference(const struct vcpu *v, const struct block *b, u64 *from, u64 *to)
{
    struct difference d = {.b = b, .ram = physmem_fast(v->pm)->base};
    code_self_parts(b, find_difference, &d);
    *from = d.from;
    *to = d.to;
    return d.to != 0;
}

bool code_self_same(const struct vcpu *v, const struct block *b)
{
    u64 from, to;
    if (LIKELY(!b->copy))
        return true;
    const u8 *now = physmem_fast(v->pm)->base + b->page + b->offset;
    if (b->next_page == NO_PAGE && same_bytes(now, b->copy, b->bytes))
        return true;
    return !code_self_difference(v, b, &from, &to);
}

/* ---- where blocks end ---- */

static bool writes_operand(const struct insn *in)
{
    for (unsigned i = 0; i < in->operands; i++) {
        if (in->operand[i].kind == OPD_MEM && (in->operand[i].access & OPD_W))
            return true;
    }
    return false;
}

bool code_self_ends(const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    if (ci->faults)
        return true;
    switch (op_row(in)->cls) {
    case CLASS_PLAIN:
    case CLASS_X87:
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_AVX: return writes_operand(in);
    case CLASS_STACK: return (in->op != OP_POP && in->op != OP_LEAVE) || writes_operand(in);
    default: return true;
    }
}

/* ---- pages ---- */

static void kill_all(struct vcpu *v, struct page_record *page)
{
    while (page->blocks)
        cache_kill(v, page->blocks->block);
    memset(page->code, 0, sizeof page->code);
    page->beside = 0;
}

static void open_page(struct vcpu *v, struct page_record *page)
{
    struct interp *i = v->interp;
    fpu_put_away(v);
    kill_all(v, page);
    page->open = true;
    page->patience = page->patience ? page->patience * 2 : i->open_for;
    if (page->patience > OPEN_MOST)
        page->patience = OPEN_MOST;
    page->since = __builtin_ia32_rdtsc();
    i->open[i->open_count++] = page;
    i->pages_opened++;
    tlb_forget_code(v, page->offset);
    physmem_release_code(v->pm, page->offset);
    if (i->opened)
        i->opened(v);
}

void code_self_forget(struct vcpu *v, struct page_record *page)
{
    struct interp *i = v->interp;
    unsigned n = 0;
    while (i->open[n] != page)
        n++;
    i->open[n] = i->open[--i->open_count];
    page->open = false;
}

static void close_page(struct vcpu *v, struct page_record *page)
{
    fpu_put_away(v);
    kill_all(v, page);
    code_self_forget(v, page);
    physmem_hold_code(v->pm, page->offset);
}

void code_self_beside(struct vcpu *v, struct page_record *page)
{
    struct interp *i = v->interp;
    bool sampled = (i32)v->beside_wait <= 0; /* translated code has counted so many */
    unsigned sample = i->beside_most < BESIDE_SAMPLE ? i->beside_most : BESIDE_SAMPLE;
    if (sampled)
        v->beside_wait = sample;
    if (page->open)
        return;
    u64 tsc = __builtin_ia32_rdtsc();
    if (!page->beside || tsc - page->since > ROUND) {
        page->since = tsc;
        page->beside = 0;
    }
    page->beside += sampled ? sample : 1;
    if (page->beside >= i->beside_most && i->open_count < OPEN_PAGES)
        open_page(v, page);
}

void code_self_reconsider(struct vcpu *v)
{
    struct interp *i = v->interp;
    u64 tsc = __builtin_ia32_rdtsc();
    for (unsigned n = i->open_count; n-- > 0;) {
        struct page_record *page = i->open[n];
        if (tsc - page->since > page->patience)
            close_page(v, page);
    }
}
