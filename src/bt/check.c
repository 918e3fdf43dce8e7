/* SPDX-License-Identifier: MIT
 *
 * -accel check: each translation against the interpreter, in lock-step.
 *
 * The interpreter executes a block first, while every page that it writes is copied before and
 * after. Then memory and registers are put back, the translation executes the same block, and
 * registers, flags, FPU state, the pages and a fault (if there was one) must be the same. Links and
 * the table of jumps stay empty, so each translation comes back after one block.
 *
 * What cannot be done twice is done once, by the interpreter: blocks with a sensitive instruction
 * (those are call-outs to the interpreter's functions anyway), and blocks that turn out to access a
 * device, to set A or D bits or to change their own code.
 *
 * A translation may also stop before its end, at any instruction: when an event is due, when it was
 * adapted, or when a call-out has left an x87 error pending. Such a run is counted, not compared;
 * it must have left the state as it was when it stopped before the first instruction.
 *
 * The first difference ends the process with status 70, after both states and both codes have been
 * printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bt/internal.h"
#include "cpu/disasm.h"
#include "cpu/dump.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/optable.h"

#define EXIT_INTERNAL 70 /* the monitor itself failed */
#define MOST_PAGES    40 /* that one block writes to: strings stop at each page, tasks have two */

struct page_copy {
    u64 offset;
    u8 before[PAGE_BYTES], after[PAGE_BYTES];
};

/* What a block can change that is not memory. */
struct registers {
    u64 gpr[16], rip, rflags;
    u16 oszapc;
    u8 shadow;
    bool halted, fpu_unmasked;
    u32 pending_db;
    u8 fpu[FPU_IMAGE_BYTES];
    u64 fpu_ip, fpu_dp;
    u32 fpu_op;
    u16 fpu_cs, fpu_ds;
    bool faulted;
    u8 vector;
    bool has_error;
    u32 error;
    u64 cr2;
};

struct check {
    struct vcpu_hooks hooks; /* the real ones */
    bool external;           /* a device was asked */
    bool second;             /* the translation is running */
    bool overflow;
    unsigned pages;
    struct page_copy page[MOST_PAGES];
    u64 compared, skipped, early;
};

static struct check *check_of(void *vcpu)
{
    return bt_of(vcpu)->check;
}

/* ---- hooks: devices make a block unrepeatable ---- */

#define HOOK(type, name, params, args)                                                             \
    static type check_##name params                                                                \
    {                                                                                              \
        struct check *c = check_of(opaque);                                                        \
        c->external = true;                                                                        \
        return c->hooks.name args;                                                                 \
    }
HOOK(u32, port_read, (void *opaque, u16 port, unsigned size), (c->hooks.opaque, port, size))
HOOK(void, port_write, (void *opaque, u16 port, u32 value, unsigned size),
     (c->hooks.opaque, port, value, size))
HOOK(u64, mmio_read, (void *opaque, u64 pa, unsigned size), (c->hooks.opaque, pa, size))
HOOK(void, mmio_write, (void *opaque, u64 pa, u64 value, unsigned size),
     (c->hooks.opaque, pa, value, size))
HOOK(int, interrupt_ack, (void *opaque), (c->hooks.opaque))
HOOK(u64, cr8_read, (void *opaque), (c->hooks.opaque))
HOOK(void, cr8_write, (void *opaque, u64 value), (c->hooks.opaque, value))
HOOK(bool, apic_msr_read, (void *opaque, u32 msr, u64 *value), (c->hooks.opaque, msr, value))
HOOK(bool, apic_msr_write, (void *opaque, u32 msr, u64 value), (c->hooks.opaque, msr, value))
HOOK(void, ferr, (void *opaque), (c->hooks.opaque))

static void wrap_hooks(struct vcpu *v, struct check *c)
{
    c->hooks = v->hooks;
#define WRAP(name) v->hooks.name = v->hooks.name ? check_##name : NULL
    WRAP(port_read);
    WRAP(port_write);
    WRAP(mmio_read);
    WRAP(mmio_write);
    WRAP(interrupt_ack);
    WRAP(cr8_read);
    WRAP(cr8_write);
    WRAP(apic_msr_read);
    WRAP(apic_msr_write);
    WRAP(ferr);
    v->hooks.opaque = v;
}

/* ---- memory ---- */

static u8 *page_host(struct vcpu *v, u64 offset)
{
    return physmem_fast(v->pm)->base + offset;
}

static void copy_page(u8 *to, const u8 *from)
{
    u64 n = PAGE_BYTES / 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* A page of RAM is about to be written. */
static void journal(struct vcpu *v, u64 offset)
{
    struct check *c = check_of(v);
    if (offset == JOURNAL_PAGING) {
        c->external = true;
        return;
    }
    offset &= ~PAGE_OFFSET_MASK;
    for (unsigned i = 0; i < c->pages; i++) {
        if (c->page[i].offset == offset)
            return;
    }
    if (c->pages == MOST_PAGES) {
        c->overflow = true;
        return;
    }
    struct page_copy *p = &c->page[c->pages++];
    p->offset = offset;
    copy_page(p->before, page_host(v, offset));
    if (c->second) /* the interpreter did not write here */
        copy_page(p->after, p->before);
}

/* ---- registers ---- */

static void save(struct vcpu *v, struct registers *r)
{
    fpu_put_away(v);
    memset(r, 0, sizeof *r);
    for (unsigned g = 0; g < 16; g++)
        r->gpr[g] = v->gpr[g];
    r->rip = v->rip;
    r->rflags = v->rflags;
    r->oszapc = v->oszapc & (OSZAPC_OF | FLAG_SZAPC << OSZAPC_AH_SHIFT);
    r->shadow = v->shadow;
    r->halted = v->halted;
    r->pending_db = v->pending_db;
    memcpy(r->fpu, v->fpu.bytes, sizeof r->fpu);
    memset(r->fpu + IMAGE_FOP, 0, IMAGE_MXCSR - IMAGE_FOP); /* the host's own */
    memset(r->fpu + IMAGE_MXCSR_MASK, 0, sizeof(u32));
    memset(r->fpu + IMAGE_LEGACY, 0, IMAGE_EXTENDED - IMAGE_LEGACY);
    r->fpu_ip = v->fpu_ip;
    r->fpu_dp = v->fpu_dp;
    r->fpu_op = v->fpu_op;
    r->fpu_cs = v->fpu_cs;
    r->fpu_ds = v->fpu_ds;
}

static void restore(struct vcpu *v, const struct registers *r, const struct fpu_image *image)
{
    for (unsigned g = 0; g < 16; g++)
        v->gpr[g] = r->gpr[g];
    v->rip = r->rip;
    v->rflags = r->rflags;
    v->oszapc = r->oszapc;
    v->shadow = r->shadow;
    v->halted = r->halted;
    v->pending_db = r->pending_db;
    fpu_put_away(v);
    v->fpu = *image;
    v->fpu_ip = r->fpu_ip;
    v->fpu_dp = r->fpu_dp;
    v->fpu_op = r->fpu_op;
    v->fpu_cs = r->fpu_cs;
    v->fpu_ds = r->fpu_ds;
    fpu_edited(v);
    fpu_put_away(v);
}

/* ---- both ways ---- */

static void note_fault(struct vcpu *v, struct registers *r)
{
    r->faulted = true;
    r->oszapc &= (u16)~OSZAPC_OF; /* may be what a rotation has left undefined: xl_int.c */
    r->vector = v->fault.vector;
    r->has_error = v->fault.has_error;
    r->error = v->fault.has_error ? v->fault.error : 0;
    r->cr2 = v->fault.vector == VEC_PF ? v->fault.cr2 : 0;
}

/* Executes the block one way; r is the state afterwards, or before the fault's delivery. */
static void execute(struct vcpu *v, struct block *b, struct registers *r, bool translated)
{
    jmp_buf landing, *outer = v->landing;
    v->landing = &landing;
    if (!setjmp(landing)) {
        if (translated)
            bt_enter(v, b->code);
        else
            interp_blocks(v, b, 0);
        save(v, r);
    } else {
        bt_left(v);
        interp_faulted(v);
        save(v, r);
        note_fault(v, r);
    }
    v->landing = outer;
}

static bool repeatable(const struct block *b)
{
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        if (ci->faults)
            continue;
        const struct op_row *row = op_row(&ci->in);
        if (row->cls == CLASS_SENSITIVE || ci->in.op == OP_RDRAND || ci->in.op == OP_RDSEED)
            return false;
    }
    return true;
}

/* ---- the report ---- */

static void print_code(const u8 *bytes, size_t n, unsigned mode, u64 address)
{
    char text[256];
    for (size_t at = 0; at < n;) {
        unsigned len = disasm_text(bytes + at, n - at, mode, address + at, text, sizeof text);
        fprintf(stderr, "  %s\n", text);
        at += len ? len : 1;
    }
}

static void print_guest(struct vcpu *v, const struct block *b)
{
    u8 bytes[INSN_MAX_BYTES];
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        for (unsigned i = 0; i < ci->in.len; i++) {
            u64 at = b->offset + ci->offset + i;
            bytes[i] = at < PAGE_BYTES ? page_host(v, b->page)[at]
                                       : page_host(v, b->next_page)[at - PAGE_BYTES];
        }
        print_code(bytes, ci->in.len, 32, ci->rip);
    }
}

static void print_difference(const char *name, u64 interp, u64 bt)
{
    fprintf(stderr, "  %-10s interp %016llx  bt %016llx%s\n", name, (unsigned long long)interp,
            (unsigned long long)bt, interp == bt ? "" : "  <--");
}

static void print_registers(const struct registers *a, const struct registers *b)
{
    static const char *const name[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    for (unsigned g = 0; g < 8; g++)
        print_difference(name[g], a->gpr[g], b->gpr[g]);
    print_difference("eip", a->rip, b->rip);
    print_difference("eflags", a->rflags | flags_from_oszapc(a->oszapc),
                     b->rflags | flags_from_oszapc(b->oszapc));
    print_difference("vector", a->faulted ? a->vector : ~(u64)0, b->faulted ? b->vector : ~(u64)0);
    print_difference("error", a->error, b->error);
    print_difference("cr2", a->cr2, b->cr2);
    print_difference("fpu ip", a->fpu_ip, b->fpu_ip);
    print_difference("fpu dp", a->fpu_dp, b->fpu_dp);
    print_difference("fpu op", a->fpu_op, b->fpu_op);
    print_difference("fpu cs,ds", a->fpu_cs | (u64)a->fpu_ds << 16,
                     b->fpu_cs | (u64)b->fpu_ds << 16);
    print_difference("other", a->shadow | (u64)a->pending_db << 8 | (u64)a->halted << 40,
                     b->shadow | (u64)b->pending_db << 8 | (u64)b->halted << 40);
    for (unsigned i = 0; i < sizeof a->fpu; i += 8) {
        char text[16];
        snprintf(text, sizeof text, "fpu +%u", i);
        if (load64(a->fpu + i) != load64(b->fpu + i))
            print_difference(text, load64(a->fpu + i), load64(b->fpu + i));
    }
}

static void print_pages(struct vcpu *v, const struct check *c)
{
    for (unsigned i = 0; i < c->pages; i++) {
        const u8 *now = page_host(v, c->page[i].offset);
        for (unsigned at = 0; at < PAGE_BYTES; at++) {
            if (now[at] != c->page[i].after[at])
                fprintf(stderr, "  ram %llx: before %02x  interp %02x  bt %02x\n",
                        (unsigned long long)(c->page[i].offset + at), c->page[i].before[at],
                        c->page[i].after[at], now[at]);
        }
    }
}

/* t may have been given up meanwhile: its code is still there. */
NORETURN static void report(struct vcpu *v, const struct tcode *t, const struct registers *before,
                            const struct registers *interp, const struct registers *bt)
{
    const struct block *b = t->b;
    fprintf(stderr, "anello: check: translation and interpreter differ at %08llx, mode %08x\n",
            (unsigned long long)b->rip, b->mode);
    fprintf(stderr, "before (as interp and bt):\n");
    print_registers(before, before);
    fprintf(stderr, "after:\n");
    print_registers(interp, bt);
    print_pages(v, check_of(v));
    fprintf(stderr, "guest code:\n");
    print_guest(v, b);
    fprintf(stderr, "translation:\n");
    print_code(t->start, t->size, 64, (u64)(uintptr_t)t->start);
    fflush(stderr);
    _Exit(EXIT_INTERNAL);
}

/* ---- a block ---- */

static bool pages_same(struct vcpu *v, const struct check *c)
{
    for (unsigned i = 0; i < c->pages; i++) {
        if (memcmp(page_host(v, c->page[i].offset), c->page[i].after, PAGE_BYTES) != 0)
            return false;
    }
    return true;
}

/* The fault that the block ended with goes to the run loop. */
static void land(struct vcpu *v, const struct registers *r)
{
    if (!r->faulted)
        return;
    v->at = NULL;
    longjmp(*v->landing, 1);
}

static bool starts_instruction(const struct block *b, u64 rip)
{
    for (unsigned n = 1; n < b->insns; n++) {
        if (b->insn[n].rip == rip)
            return true;
    }
    return false;
}

/* Whether one of the two stopped early, as it may. */
static bool stopped_early(struct vcpu *v, const struct block *b, const struct tcode *t,
                          const struct registers *before, const struct registers *interp,
                          const struct registers *bt)
{
    if (bt_events(v) || (t->dead && !b->dead))
        return true;
    if (!interp->faulted && ((interp->shadow & SHADOW_REP) || starts_instruction(b, interp->rip)))
        return true;
    return !bt->faulted && (starts_instruction(b, bt->rip) || memcmp(before, bt, sizeof *bt) == 0);
}

void check_block(struct vcpu *v, struct block *b)
{
    struct check *c = bt_of(v)->check;
    struct registers before, interp, bt;
    const struct tcode *t = b->code;
    c->external = c->second = c->overflow = false;
    c->pages = 0;
    save(v, &before);
    struct fpu_image image = v->fpu;
    bool worth = repeatable(b);
    execute(v, b, &interp, false);
    if (!worth || c->external || c->overflow || b->dead) {
        c->skipped++;
        land(v, &interp);
        return;
    }
    for (unsigned i = 0; i < c->pages; i++) {
        copy_page(c->page[i].after, page_host(v, c->page[i].offset));
        copy_page(page_host(v, c->page[i].offset), c->page[i].before);
    }
    restore(v, &before, &image);
    c->second = true;
    execute(v, b, &bt, true);
    c->compared++;
    bt.fpu_unmasked = interp.fpu_unmasked;
    bool same = memcmp(&interp, &bt, sizeof bt) == 0 && pages_same(v, c) && !b->dead;
    bool early = !same && stopped_early(v, b, t, &before, &interp, &bt);
    c->early += early;
    if (!same && !early)
        report(v, t, &before, &interp, &bt);
    land(v, &bt);
}

bool check_attach(struct vcpu *v)
{
    if (!bt_attach(v))
        return false;
    struct bt *bt = bt_of(v);
    bt->check = calloc(1, sizeof *bt->check);
    if (!bt->check) {
        bt_detach(v);
        return false;
    }
    wrap_hooks(v, bt->check);
    v->journal = journal;
    return true;
}

void check_detach(struct vcpu *v)
{
    struct bt *bt = bt_of(v);
    if (!bt || !bt->check)
        return;
    v->hooks = bt->check->hooks;
    v->journal = NULL;
    fprintf(stderr,
            "anello: check: %llu blocks compared, %llu not repeatable, %llu stopped early\n",
            (unsigned long long)(bt->check->compared - bt->check->early),
            (unsigned long long)bt->check->skipped, (unsigned long long)bt->check->early);
    free(bt->check);
    bt->check = NULL;
    bt_detach(v);
}
