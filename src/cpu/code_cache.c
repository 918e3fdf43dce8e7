/* SPDX-License-Identifier: MIT
 *
 * Making, finding, linking and killing blocks. See cpu/code_cache.h for what they are.
 *
 * Blocks and page records are taken from one arena by moving a mark; when it is used up everything
 * is dropped and decoded again as it is needed. That costs little (decoding is fast, and a working
 * set that does not fit would be thrown out anyway), and it saves all bookkeeping of free space.
 */
#include "cpu/code_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/code_self.h"
#include "cpu/decode.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/interp.h"
#include "cpu/op_int.h"
#include "cpu/optable.h"
#include "cpu/trace.h"

/* A page without blocks is let go of after so many writes, or one of so many bytes. */
#define IDLE_WRITES 16
#define IDLE_SIZE   64

/* ---- attach and detach ---- */

static void heard_code_written(struct vcpu *v, u64 offset, u32 size)
{
    struct interp *i = v->interp;
    if (vcpu_on_own_thread(v)) {
        cache_written(v, offset, size);
        return;
    }
    pthread_mutex_lock(&i->lock);
    if (i->foreign_count < FOREIGN) {
        i->foreign[i->foreign_count].offset = offset;
        i->foreign[i->foreign_count].size = size;
    }
    i->foreign_count += i->foreign_count <= FOREIGN;
    pthread_mutex_unlock(&i->lock);
    vcpu_event_set(v, EVENT_CODE);
}

bool interp_attach(struct vcpu *v)
{
    struct interp *i = calloc(1, sizeof *i);
    if (!i)
        return false;
    i->arena = mmap(NULL, INTERP_ARENA_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (i->arena == MAP_FAILED) {
        free(i);
        return false;
    }
    pthread_mutex_init(&i->lock, NULL);
    i->beside_most = BESIDE_MOST;
    i->open_for = OPEN_FOR;
    v->beside_wait = BESIDE_SAMPLE;
    v->interp = i;
    v->code_written = heard_code_written;
    return true;
}

void interp_detach(struct vcpu *v)
{
    if (!v->interp)
        return;
    cache_drop_all(v);
    munmap(v->interp->arena, INTERP_ARENA_BYTES);
    pthread_mutex_destroy(&v->interp->lock);
    free(v->interp);
    v->interp = NULL;
    v->code_written = NULL;
}

/* ---- pages ---- */

static struct page_record **page_slot(struct interp *i, u64 offset)
{
    struct page_record **at = &i->pages[(offset >> PAGE_SHIFT) & ((1 << PAGE_BITS) - 1)];
    while (*at && (*at)->offset != offset)
        at = &(*at)->hash_next;
    return at;
}

static struct page_record *page_find(struct interp *i, u64 offset)
{
    return *page_slot(i, offset & ~PAGE_OFFSET_MASK);
}

/* The record of a page that code is about to be read from. */
static struct page_record *page_hold(struct vcpu *v, u64 offset)
{
    struct interp *i = v->interp;
    struct page_record **at = page_slot(i, offset);
    if (*at)
        return *at;
    struct page_record *page = i->spare_pages;
    if (page)
        i->spare_pages = page->hash_next;
    else
        page = &i->page_pool[i->pages_used++]; /* build() has made sure that there are some */
    *page = (struct page_record){.offset = offset};
    *at = page;
    physmem_hold_code(v->pm, offset);
    return page;
}

u32 cache_page_place(const struct vcpu *v, u64 offset)
{
    struct interp *i = v->interp;
    const struct page_record *page = i ? page_find(i, offset) : NULL;
    return page && !page->open ? (u32)((const u8 *)page - (const u8 *)i) : 0;
}

static void page_release(struct vcpu *v, struct page_record *page)
{
    struct interp *i = v->interp;
    tlb_forget_code(v, page->offset);
    *page_slot(i, page->offset) = page->hash_next;
    if (page->open)
        code_self_forget(v, page);
    else
        physmem_release_code(v->pm, page->offset);
    page->hash_next = i->spare_pages;
    i->spare_pages = page;
}

/* Which of bytes 0..63 at `word` * 64 are among from..to-1. */
static u64 word_bits(u64 word, u64 from, u64 to)
{
    u64 start = word * 64;
    u64 first = from > start ? from - start : 0, end = to < start + 64 ? to - start : 64;
    return mask64((unsigned)end) & ~mask64((unsigned)first);
}

static bool has_code(const struct page_record *page, u64 from, u64 to)
{
    for (u64 word = from / 64; word * 64 < to; word++) {
        if (page->code[word] & word_bits(word, from, to))
            return true;
    }
    return false;
}

static void mark_code(struct page_record *page, u64 from, u64 to)
{
    for (u64 word = from / 64; word * 64 < to; word++)
        page->code[word] |= word_bits(word, from, to);
}

/* Bytes of b in its first page (which = 0) or second. */
static u64 bytes_in_page(const struct block *b, unsigned which)
{
    u64 first = PAGE_BYTES - b->offset;
    if (which)
        return b->bytes - first;
    return b->bytes < first ? b->bytes : first;
}

/* Where the immediate of an instruction is in its page. */
static u64 immediate_at(const struct block *b, const struct cached_insn *ci)
{
    return (u64)b->offset + ci->offset + ci->in.imm_at;
}

/* All bytes of b but those of patched immediates. */
static void mark_block(struct page_record *page, const struct block *b, unsigned which)
{
    if (which || b->next_page != NO_PAGE) {
        u64 start = which ? 0 : b->offset;
        mark_code(page, start, start + bytes_in_page(b, which));
        return;
    }
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        u64 start = (u64)b->offset + ci->offset;
        mark_code(page, start, ci->patched ? immediate_at(b, ci) : start + ci->in.len);
    }
}

static void page_add_block(struct page_record *page, struct block *b, unsigned which)
{
    struct page_link *l = &b->in_page[which];
    *l = (struct page_link){.block = b, .next = page->blocks, .prev = &page->blocks};
    if (l->next)
        l->next->prev = &l->next;
    page->blocks = l;
    mark_block(page, b, which);
}

/* Its bytes stay marked until somebody writes there: see cache_written(). */
static void page_remove_block(struct vcpu *v, u64 offset, struct block *b, unsigned which)
{
    struct page_link *l = &b->in_page[which];
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    page_find(v->interp, offset)->idle_writes = 0;
}

static void mark_again(struct page_record *page)
{
    memset(page->code, 0, sizeof page->code);
    for (struct page_link *l = page->blocks; l; l = l->next)
        mark_block(page, l->block, l == &l->block->in_page[1]);
}

/* ---- patched immediates ---- */

#define PATCHED_OFTEN 3 /* times after which an immediate is no part of the code */

/* A doubleword at the end of the instruction, of an operation for which translator and interpreter
 * read it anew each time. */
static bool can_be_patched(const struct block *b, const struct cached_insn *ci)
{
    const struct insn *in = &ci->in;
    if (in->imm_len != 4 || in->opsize != 4 || in->map || (in->prefixes & PFX_LOCK) || ci->faults ||
        !(b->mode & MODE_CS32) || b->next_page != NO_PAGE)
        return false;
    switch (in->op) {
    case OP_ADD:
    case OP_OR:
    case OP_ADC:
    case OP_SBB:
    case OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_CMP:
    case OP_TEST:
    case OP_MOV: return in->operand[1].kind == OPD_IMM;
    case OP_JMP:
    case OP_CALL: return in->operand[0].kind == OPD_REL;
    default: return false;
    }
}

static struct patched *find_patched(struct page_record *page, u64 at)
{
    for (unsigned n = 0; n < PATCHED; n++) {
        if (page->patched[n].times && page->patched[n].at == at)
            return &page->patched[n];
    }
    return NULL;
}

static void count_patch(struct page_record *page, u64 at)
{
    struct patched *p = find_patched(page, at);
    if (!p) {
        p = &page->patched[page->patched_next++ % PATCHED];
        *p = (struct patched){.at = (u16)at};
    }
    p->times += p->times < PATCHED_OFTEN;
}

/* Bytes from..to-1 of b's page are about to be written. */
static void note_patch(struct page_record *page, const struct block *b, u64 from, u64 to)
{
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        u64 at = immediate_at(b, ci);
        if (at <= from && to <= at + 4 && can_be_patched(b, ci))
            count_patch(page, at);
    }
}

/* The instruction as it is by now. */
static void exec_patched(struct vcpu *v, const struct insn *in)
{
    const struct cached_insn *ci =
        CONTAINER_OF((struct insn *)(uintptr_t)in, struct cached_insn, in);
    const struct block *b = insn_block(ci);
    const u8 *bytes = physmem_fast(v->pm)->base + b->page + b->offset + ci->offset;
    struct insn now;
    decode(bytes, in->len, 32, &now);
    op_int_select (&now)(v, &now);
}

static void take_patched(struct block *b, struct page_record *page)
{
    if (LIKELY(!page->patched_next))
        return;
    for (unsigned n = 0; n < b->insns; n++) {
        struct cached_insn *ci = &b->insn[n];
        if (!can_be_patched(b, ci))
            continue;
        const struct patched *p = find_patched(page, immediate_at(b, ci));
        ci->patched = p && p->times == PATCHED_OFTEN;
        if (ci->patched)
            ci->exec = exec_patched;
    }
}

/* ---- links ---- */

/* The uop that the block leaves by. */
static struct uop *exit_uop(struct block *b)
{
    return &b->uop[b->exit];
}

static struct uop *stub_uop(struct block *b, unsigned side)
{
    return &b->uop[b->insns + 1 + side];
}

static void lead(struct block *b, unsigned side, const struct uop *to)
{
    if (side)
        exit_uop(b)->fall = to;
    else
        exit_uop(b)->taken = to;
}

static void unlink(struct link *l)
{
    unsigned side = l == &l->from->out[1];
    struct uop *stub = stub_uop(l->from, side);
    if (!l->to)
        return;
    stub->fn = uop_stub;
    lead(l->from, side, stub);
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    l->to = NULL;
}

void cache_link(struct block *from, unsigned side, struct block *to)
{
    struct link *l = &from->out[side];
    unlink(l);
    *l = (struct link){.from = from, .to = to, .next = to->in, .prev = &to->in};
    if (l->next)
        l->next->prev = &l->next;
    to->in = l;
    bool same_page = from->page == to->page && !((from->la ^ to->la) & ~PAGE_OFFSET_MASK);
    if (same_page) {
        lead(from, side, to->uop);
    } else {
        struct uop *stub = stub_uop(from, side);
        stub->fn = uop_stub_checked;
        stub->taken = to->uop;
    }
}

/* ---- killing ---- */

static u64 key_hash(u64 place, u64 rip, u32 mode)
{
    u64 h = (place ^ rip << 20 ^ (u64)mode << 7) * 0x9e3779b97f4a7c15u;
    return h >> (64 - HASH_BITS);
}

static u64 block_hash(const struct block *b)
{
    return key_hash(b->page + b->offset, b->rip, b->mode);
}

void cache_kill(struct vcpu *v, struct block *b)
{
    struct interp *i = v->interp;
    for (unsigned n = 0; n <= b->insns; n++)
        b->uop[n].fn = uop_stale;
    for (unsigned side = 0; side < 2; side++)
        unlink(&b->out[side]);
    while (b->in)
        unlink(b->in);
    struct block **at = &i->hash[block_hash(b)];
    while (*at != b)
        at = &(*at)->hash_next;
    *at = b->hash_next;
    struct block **slot = jump_slot(v, b->rip);
    if (*slot == b)
        *slot = NULL;
    page_remove_block(v, b->page, b, 0);
    if (b->next_page != NO_PAGE)
        page_remove_block(v, b->next_page, b, 1);
    b->dead = true;
    i->blocks_killed++;
    if (b->code || b->traces)
        i->killed(v, b);
}

void cache_kill_changed(struct vcpu *v, struct block *b)
{
    u64 from, to;
    if (code_self_difference(v, b, &from, &to))
        note_patch(page_find(v->interp, b->page), b, b->offset + from, b->offset + to);
    cache_kill(v, b);
}

/* Bytes from..to-1 are in an immediate that b does not depend on. */
static bool is_patched(const struct block *b, u64 from, u64 to)
{
    for (unsigned n = 0; n < b->insns; n++) {
        u64 at = immediate_at(b, &b->insn[n]);
        if (b->insn[n].patched && at <= from && to <= at + 4)
            return true;
    }
    return false;
}

static bool overlaps(const struct block *b, unsigned which, u64 from, u64 size)
{
    u64 start = which ? 0 : b->offset;
    return start < from + size && from < start + bytes_in_page(b, which) &&
           !is_patched(b, from, from + size);
}

/* A block of the page that has bytes there. */
static struct block *find_overlap(const struct page_record *page, u64 from, u64 size)
{
    for (struct page_link *l = page->blocks; l; l = l->next) {
        if (overlaps(l->block, l == &l->block->in_page[1], from, size))
            return l->block;
    }
    return NULL;
}

void cache_written(struct vcpu *v, u64 offset, u32 size)
{
    struct page_record *page = page_find(v->interp, offset);
    if (!page)
        return;
    u64 from = offset & PAGE_OFFSET_MASK;
    if (has_code(page, from, from + size)) {
        struct block *b = find_overlap(page, from, size);
        if (!b)
            mark_again(page);
        for (; b; b = find_overlap(page, from, size)) {
            if (size <= 4)
                note_patch(page, b, from, from + size);
            cache_kill(v, b);
        }
    } else if (page->blocks) {
        code_self_beside(v, page);
    }
    /* Who patches code runs it again: taking the page in and out of all tables each time costs more
     * than some writes the slow way. */
    if (!page->blocks && (size >= IDLE_SIZE || ++page->idle_writes > IDLE_WRITES))
        page_release(v, page);
}

void cache_take_foreign(struct vcpu *v)
{
    struct interp *i = v->interp;
    pthread_mutex_lock(&i->lock);
    unsigned count = i->foreign_count;
    i->foreign_count = 0;
    for (unsigned n = 0; n < count && n < FOREIGN; n++)
        cache_written(v, i->foreign[n].offset, i->foreign[n].size);
    pthread_mutex_unlock(&i->lock);
    if (count > FOREIGN || __atomic_exchange_n(&i->flush_wanted, false, __ATOMIC_SEQ_CST))
        cache_drop_all(v);
}

void cache_drop_all(struct vcpu *v)
{
    struct interp *i = v->interp;
    fpu_put_away(v);
    if (i->dropped)
        i->dropped(v);
    for (unsigned n = 0; n < ARRAY_LEN(i->pages); n++) {
        for (struct page_record *page = i->pages[n]; page; page = page->hash_next) {
            if (!page->open)
                physmem_release_code(v->pm, page->offset);
        }
    }
    tlb_forget_code(v, ALL_PAGES);
    memset(i->pages, 0, sizeof i->pages);
    memset(i->hash, 0, sizeof i->hash);
    memset(i->jump, 0, sizeof i->jump);
    i->spare_pages = NULL;
    i->pages_used = i->open_count = 0;
    i->used = 0;
    i->generation++;
    i->flushes++;
}

void interp_flush(struct vcpu *v)
{
    __atomic_store_n(&v->interp->flush_wanted, true, __ATOMIC_SEQ_CST);
    vcpu_event_set(v, EVENT_CODE); /* no block is running when it is taken */
}

/* ---- making ---- */

static void raise_ud(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise(v, VEC_UD);
}

static void raise_too_long(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise_error(v, VEC_GP, 0);
}

/* A row whose CPUID bit is not shown is an invalid opcode, but for those that older CPUs read as
 * something else. */
static bool feature_missing(const struct vcpu *v, struct insn *in, const struct op_row *row)
{
    if (feature_shown(v->feature, row->feature))
        return false;
    switch (in->op) {
    case OP_TZCNT: in->op = OP_BSF; return false;
    case OP_LZCNT: in->op = OP_BSR; return false;
    default: break;
    }
    if (!(row->attr & ATTR_HINT))
        return true;
    in->op = OP_NOP;
    return false;
}

/* What kind of handler an instruction wants when there is no faster one. */
struct meaning {
    exec_fn exec;
    uop_fn fn;
    bool ends;
};

static const struct meaning invalid = {raise_ud, uop_exec, true};

/* Of the system instructions that end a run of code by the table, those that mostly leave the mode
 * as it is: uop_exec_mode() looks. */
static bool may_go_on(const struct insn *in)
{
    switch (in->op) {
    case OP_CLI:
    case OP_STI:
    case OP_CLAC:
    case OP_STAC:
    case OP_POPF:
    case OP_MOV_SEG:
    case OP_POP_SEG:
    case OP_IN:
    case OP_OUT: return true;
    default: return false;
    }
}

static struct meaning meaning(struct vcpu *v, struct insn *in)
{
    const struct op_row *row = op_row(in);
    if (feature_missing(v, in, row) || ((row->attr & ATTR_PM) && !vcpu_protected(v)))
        return invalid;
    bool ends = op_ends(in);
    exec_fn exec = op_int_select(in);
    if (exec)
        return (struct meaning){exec, ends ? uop_exec_end : uop_exec, ends};
    exec = op_sys_select(in);
    ends &= !may_go_on(in);
    if (exec)
        return (struct meaning){exec, ends ? uop_exec_end : uop_exec_mode, ends};
    exec = op_fpu_select(v, in);
    if (exec)
        return (struct meaning){exec, ends ? uop_exec_end : uop_exec_at, ends};
    return invalid;
}

static unsigned code_mode(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? 64 : v->mode & MODE_CS32 ? 32 : 16;
}

static u64 ip_after(const struct vcpu *v, u64 rip, u64 n)
{
    return (rip + n) & (v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu);
}

/* Bytes that CS allows from rip on. */
static u64 limit_bytes(const struct vcpu *v)
{
    if (v->mode & MODE_CS64)
        return UINT64_MAX;
    u64 limit = v->seg[SEG_CS].limit;
    if (v->rip > limit)
        return 0;
    return limit - v->rip + 1;
}

/* Takes what the decoder found, or what its status means, as the next instruction of a block whose
 * instructions so far are `bytes` long. True when it ends the block. */
static bool take_insn(struct vcpu *v, struct cached_insn *ci, enum decode_status status, u64 bytes)
{
    struct insn *in = &ci->in;
    struct meaning m = invalid;
    if (status == DECODE_TOO_LONG) {
        m.exec = raise_too_long;
        in->len = INSN_MAX_BYTES;
    } else if (status == DECODE_OK) {
        if (in->base == REG_PC) {
            in->base = REG_NONE;
            in->disp += (i64)(v->rip + bytes + in->len);
        }
        m = meaning(v, in);
    } else if (!in->len) {
        in->len = 1; /* invalid from its first byte */
    }
    ci->exec = m.exec;
    ci->patched = false;
    ci->faults = m.exec == raise_ud || m.exec == raise_too_long;
    ci->fn = m.fn;
    ci->offset = (u16)bytes;
    ci->rip = (u32)(v->rip + bytes);
    return m.ends;
}

/* Fills the uops and stubs from b->insn[]. */
static void lay_uops(struct vcpu *v, struct block *b)
{
    bool single = b->mode & MODE_SINGLE;
    unsigned n = b->insns, sides = 1;
    u64 after = ip_after(v, b->rip, b->bytes), target = after;
    b->exit = (u8)n;
    for (unsigned k = 0; k < n; k++) {
        struct cached_insn *ci = &b->insn[k];
        struct uop *u = &b->uop[k];
        bool quick = !single && !ci->patched && ci->exec != raise_ud && ci->exec != raise_too_long;
        uop_fn fn =
            quick ? fast_select(v, &ci->in, ip_after(v, b->rip, ci->offset + ci->in.len), u) : NULL;
        u->fn = fn ? fn : ci->fn;
        if (!fn)
            u->ci = ci;
        if (fn && fast_exits(&ci->in, after, &target, &sides))
            b->exit = (u8)k;
    }
    if (b->copy && !single) {
        b->first = b->uop[0].fn;
        b->uop[0].fn = uop_self;
    }
    b->uop[n].fn = single ? uop_leave : uop_go_on;
    for (unsigned k = 0; k <= n + 2; k++)
        b->uop[k].at = (u8)k;
    for (unsigned side = 0; side < 2; side++) {
        b->out[side] = (struct link){.from = b};
        stub_uop(b, side)->fn = uop_stub;
        stub_uop(b, side)->rip = side ? after : target;
        if (side < sides)
            lead(b, side, stub_uop(b, side));
    }
}

/* The bytes of an instruction that straddles into the next page, which is held too. Fewer than 15
 * when the limit or memory ends. */
struct straddle {
    u8 bytes[INSN_MAX_BYTES];
    unsigned count;
    u64 next_page;
    bool open; /* it checks itself for this page's sake */
};

static u64 next_page_la(const struct vcpu *v)
{
    u64 la = (code_la(v) & ~PAGE_OFFSET_MASK) + PAGE_BYTES;
    return v->mode & MODE_CS64 ? la : (u32)la;
}

/* False: the next page is not memory. Raises what its fetch raises. */
static bool straddle_read(struct vcpu *v, const u8 *first, u64 in_first, u64 limit,
                          struct straddle *s)
{
    struct code_page next = mem_code(v, next_page_la(v));
    if (!next.hp)
        return false;
    s->next_page = next.offset;
    s->open = page_hold(v, next.offset)->open;
    for (s->count = 0; s->count < INSN_MAX_BYTES && s->count < limit; s->count++)
        s->bytes[s->count] = s->count < in_first ? first[s->count] : next.hp[s->count - in_first];
    return true;
}

static void number_insns(struct cached_insn *insn, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        insn[k].index = (u8)k;
        insn[k].after = (u8)(n - k);
    }
}

/* The bytes of a block that checks itself: what is decoded has to be what is compared, whoever
 * writes there meanwhile. */
static const u8 *copy_code(struct vcpu *v, struct block *b, const u8 *code, u64 *room)
{
    u8 *copy = v->interp->copy;
    if (*room > SELF_BYTES)
        *room = SELF_BYTES;
    memcpy(copy, code, *room);
    b->copy = copy;
    return copy;
}

static void take_straddling(struct vcpu *v, struct block *b, const struct straddle *s)
{
    b->next_page = s->next_page;
    if (!b->copy && !s->open)
        return;
    memcpy(v->interp->copy, s->bytes, s->count);
    b->copy = v->interp->copy;
}

/* Decodes a whole block's instructions into insn[]. False: the first one leads to where there is no
 * memory. */
static bool decode_block(struct vcpu *v, struct block *b, struct cached_insn *insn, const u8 *code)
{
    u64 in_page = PAGE_BYTES - b->offset, limit = limit_bytes(v);
    u64 room = in_page < limit ? in_page : limit;
    if (page_find(v->interp, b->page)->open)
        code = copy_code(v, b, code, &room);
    unsigned most = b->mode & MODE_SINGLE ? 1 : BLOCK_INSNS, n = 0;
    u64 at = 0;
    for (bool ends = false; !ends && n < most && at < room; n++) {
        struct cached_insn *ci = &insn[n];
        enum decode_status status = decode(code + at, room - at, code_mode(v), &ci->in);
        if (status == DECODE_TRUNCATED && n)
            break; /* the next block begins with it, and takes its faults */
        if (status == DECODE_TRUNCATED && limit > in_page) {
            struct straddle s;
            if (!straddle_read(v, code, in_page, limit, &s))
                return false;
            status = decode(s.bytes, s.count, code_mode(v), &ci->in);
            take_straddling(v, b, &s);
        }
        if (status == DECODE_TRUNCATED)
            cpu_raise_error(v, VEC_GP, 0); /* the segment ends within it */
        ends = take_insn(v, ci, status, at) || (b->copy && code_self_ends(ci));
        at += ci->in.len;
    }
    number_insns(insn, n);
    b->insns = (u8)n;
    b->bytes = (u16)at;
    return true;
}

#define BLOCK_MOST_BYTES                                                                           \
    (sizeof(struct block) + BLOCK_UOPS * sizeof(struct uop) +                                      \
     BLOCK_INSNS * sizeof(struct cached_insn) + SELF_BYTES + 256)

static void set_key(const struct vcpu *v, struct block *b, u64 offset, u32 mode)
{
    *b = (struct block){.rip = v->rip,
                        .cs_base = v->seg[SEG_CS].base,
                        .cs_limit = v->seg[SEG_CS].limit,
                        .la = code_la(v),
                        .page = offset & ~PAGE_OFFSET_MASK,
                        .offset = offset & PAGE_OFFSET_MASK,
                        .mode = mode,
                        .next_page = NO_PAGE};
}

static void make_room(struct vcpu *v)
{
    struct interp *i = v->interp;
    bool full = i->used + BLOCK_MOST_BYTES > INTERP_ARENA_BYTES || i->pages_used + 2 > CODE_PAGES;
    if (full)
        cache_drop_all(v);
}

static struct block *build(struct vcpu *v, const struct code_page *code, u32 mode)
{
    struct interp *i = v->interp;
    fpu_put_away(v); /* libc may be called from here on */
    make_room(v);
    struct block key;
    set_key(v, &key, code->offset, mode);
    page_hold(v, key.page);
    struct cached_insn *insn = (struct cached_insn *)(i->arena + i->used);
    if (!decode_block(v, &key, insn, code->hp))
        return NULL;
    struct block *b = (struct block *)align_up((u64)(uintptr_t)(insn + key.insns), 64);
    *b = key;
    b->insn = insn;
    if (log_on(v->log, LOG_IN_ASM))
        trace_block(v, b, code->hp);
    u8 *end = (u8 *)&b->uop[b->insns + 3];
    if (b->copy) {
        b->copy = memcpy(end, i->copy, b->bytes);
        end += b->bytes;
    }
    i->used = align_up((u64)(end - i->arena), 64);
    take_patched(b, page_hold(v, b->page));
    lay_uops(v, b);
    page_add_block(page_hold(v, b->page), b, 0);
    if (b->next_page != NO_PAGE)
        page_add_block(page_hold(v, b->next_page), b, 1);
    struct block **slot = &i->hash[block_hash(b)];
    b->hash_next = *slot;
    *slot = b;
    i->blocks_made++;
    return b;
}

struct block *cache_join(struct vcpu *v, struct block *const part[], unsigned parts)
{
    struct interp *i = v->interp;
    if (i->used + JOIN_INSNS * sizeof(struct cached_insn) + sizeof(struct block) + 256 >
        INTERP_ARENA_BYTES)
        return NULL;
    struct cached_insn *insn = (struct cached_insn *)(i->arena + i->used);
    struct block joined = *part[0];
    joined.insn = insn;
    joined.checked = joined.left_to_c = 0; /* those of the parts count */
    joined.insns = 0;
    joined.bytes = 0;
    for (unsigned k = 0; k < parts; k++) {
        const struct block *b = part[k];
        memcpy(insn + joined.insns, b->insn, b->insns * sizeof *insn);
        joined.insns = (u8)(joined.insns + b->insns);
        joined.bytes = (u16)(joined.bytes + b->bytes);
    }
    number_insns(insn, joined.insns);
    struct block *b = (struct block *)align_up((u64)(uintptr_t)(insn + joined.insns), 64);
    *b = joined;
    b->code = NULL;
    b->traces = NULL;
    i->used = align_up((u64)((u8 *)&b->uop[0] - i->arena), 64);
    return b;
}

/* ---- finding ---- */

static bool key_matches(const struct vcpu *v, const struct block *b, u64 offset, u32 mode)
{
    return b->page + b->offset == offset && b->rip == v->rip && b->mode == mode &&
           b->cs_base == v->seg[SEG_CS].base && b->cs_limit == v->seg[SEG_CS].limit;
}

/* The rest of a straddling block is still where it was. */
static bool next_page_matches(struct vcpu *v, const struct block *b)
{
    if (b->next_page == NO_PAGE)
        return true;
    struct code_page next = mem_code(v, next_page_la(v));
    return next.hp && next.offset == b->next_page;
}

struct block *cache_find(struct vcpu *v, u32 extra)
{
    if (!limit_bytes(v))
        cpu_raise_error(v, VEC_GP, 0);
    struct code_page code = mem_code(v, code_la(v));
    if (!code.hp)
        return NULL;
    u32 mode = v->mode | extra;
    struct block *b = v->interp->hash[key_hash(code.offset, v->rip, mode)];
    while (b && !key_matches(v, b, code.offset, mode))
        b = b->hash_next;
    if (b && !next_page_matches(v, b)) {
        cache_kill(v, b);
        b = NULL;
    } else if (b && !code_self_same(v, b)) {
        cache_kill_changed(v, b);
        b = NULL;
    }
    if (!b)
        b = build(v, &code, mode);
    if (b && !extra)
        *jump_slot(v, b->rip) = b;
    return b;
}

struct block *cache_fetch_loose(struct vcpu *v)
{
    u8 bytes[INSN_MAX_BYTES];
    u64 limit = limit_bytes(v), la = code_la(v);
    enum decode_status status = DECODE_TRUNCATED;
    fpu_put_away(v);
    struct block *b = &v->interp->loose.block;
    set_key(v, b, NO_PAGE, v->mode | MODE_SINGLE);
    b->insn = &v->interp->loose_insn;
    for (unsigned n = 0; n < INSN_MAX_BYTES && status == DECODE_TRUNCATED; n++) {
        if (n >= limit)
            cpu_raise_error(v, VEC_GP, 0);
        bytes[n] = mem_fetch_slow(v, v->mode & MODE_CS64 ? la + n : (u32)(la + n));
        status = decode(bytes, n + 1, code_mode(v), &b->insn->in);
    }
    take_insn(v, b->insn, status, 0);
    b->insns = 1;
    b->bytes = b->insn->in.len;
    lay_uops(v, b);
    return b;
}
