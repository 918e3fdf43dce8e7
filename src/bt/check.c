/* SPDX-License-Identifier: MIT
 *
 * -accel check: each translation against the interpreter, in lock-step.
 *
 * The interpreter executes a block first, while all memory that it writes is noted (journal.h).
 * Then memory and registers are put back, the translation executes the same block, and registers,
 * flags, FPU state, the memory that either has written and a fault (if there was one) must be the
 * same. Links and the table of jumps stay empty, so each translation comes back after one block.
 *
 * A trace is compared as a whole: the interpreter executes its blocks as long as each leads to the
 * next one. A trace that finds its pages elsewhere is left before it has gone to another one; it
 * has stopped early (below). Blocks that cannot be executed twice are no parts of traces here.
 *
 * What cannot be done twice is done once, by the interpreter: blocks with a sensitive instruction
 * (those are call-outs to the interpreter's functions anyway), and blocks that turn out to access a
 * device, to set A or D bits or to change their own code.
 *
 * The FPU state takes most time to save and compare. A block without an instruction that has to do
 * with it must leave it alone: its registers may not even become live.
 *
 * A translation may also stop before its end, at any instruction: when an event is due, when it was
 * adapted, when an x87 error is pending or a segment has a limit, which the interpreter sees to. A
 * run that has stopped for one of these reasons is counted, not compared.
 *
 * Devices are not held back. If one has written to memory since the block began, wherever that was,
 * the interpreter's run stands, or a difference says nothing.
 *
 * The first difference ends the process with status 70, after both states and both codes have been
 * printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bt/journal.h"
#include "bt/observe.h"
#include "bt/path.h"
#include "cpu/disasm.h"
#include "cpu/dump.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/optable.h"

#define EXIT_INTERNAL 70 /* the monitor itself failed */

/* What a block can change that is not memory. Blocks that are translated are not of 64-bit mode,
 * where alone upper halves of registers mean something (SDM 1 §3.4.1.1). */
struct registers {
    u32 gpr[8];
    u64 rip, rflags, fpu_ip, fpu_dp;
    u32 pending_db, fpu_op;
    u16 fpu_cs, fpu_ds, oszapc;
    u8 shadow;
    bool halted;
    /* Of the fault that the block has ended with; 0 without. */
    u64 cr2;
    u32 error;
    u8 vector;
    bool faulted, has_error, fpu_touched;
};
_Static_assert(sizeof(struct registers) == 12 * 8, "no padding: it is compared");

/* One way to execute a block, and what came of it. */
struct run {
    struct registers r;
    struct fpu_image fpu; /* where the block has to do with the FPU */
};

/* What is known of a block: struct tcode's `check`. */
enum kind { KIND_UNKNOWN, KIND_INTEGER, KIND_FPU, KIND_ONCE };

struct check {
    struct vcpu_hooks hooks; /* the real ones */
    bool external;           /* a device was asked */
    bool left;               /* a trace was left between its blocks, by C */
    u32 writes_before;       /* of devices */
    enum kind kind;          /* of the block that runs; KIND_ONCE when none does */
    struct run before, interp, bt;
    struct journal journal;
    u64 compared, traces, skipped, early, disturbed;
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

static void note_write(struct vcpu *v, u64 offset, unsigned size, struct tlb_entry *by)
{
    struct check *c = check_of(v);
    if (offset == JOURNAL_PAGING)
        c->external = true;
    else if (c->kind != KIND_ONCE)
        journal_note(&c->journal, offset, size, by);
}

/* Whether a device has written to memory since the block began. */
static bool disturbed(const struct vcpu *v)
{
    const struct physmem_fast *memory = physmem_fast(v->pm);
    return __atomic_load_n(&memory->writes_begun, __ATOMIC_SEQ_CST) !=
           bt_of(v)->check->writes_before;
}

/* ---- registers ---- */

static void save_registers(const struct vcpu *v, struct registers *r)
{
    for (unsigned g = 0; g < ARRAY_LEN(r->gpr); g++)
        r->gpr[g] = (u32)v->gpr[g];
    r->rip = v->rip;
    r->rflags = v->rflags;
    r->fpu_ip = v->fpu_ip;
    r->fpu_dp = v->fpu_dp;
    r->pending_db = v->pending_db;
    r->fpu_op = v->fpu_op;
    r->fpu_cs = v->fpu_cs;
    r->fpu_ds = v->fpu_ds;
    r->oszapc = v->oszapc & (OSZAPC_OF | FLAG_SZAPC << OSZAPC_AH_SHIFT);
    r->shadow = v->shadow;
    r->halted = v->halted;
    r->cr2 = r->error = r->vector = 0;
    r->faulted = r->has_error = r->fpu_touched = false;
}

static void restore_registers(struct vcpu *v, const struct registers *r)
{
    for (unsigned g = 0; g < ARRAY_LEN(r->gpr); g++)
        v->gpr[g] = r->gpr[g];
    v->rip = r->rip;
    v->rflags = r->rflags;
    v->fpu_ip = r->fpu_ip;
    v->fpu_dp = r->fpu_dp;
    v->pending_db = r->pending_db;
    v->fpu_op = r->fpu_op;
    v->fpu_cs = r->fpu_cs;
    v->fpu_ds = r->fpu_ds;
    v->oszapc = r->oszapc;
    v->shadow = r->shadow;
    v->halted = r->halted;
}

static bool same_registers(const struct registers *a, const struct registers *b)
{
    u64 differ = 0;
    for (size_t at = 0; at < sizeof *a; at += 8)
        differ |= load64((const u8 *)a + at) ^ load64((const u8 *)b + at);
    return !differ;
}

/* The FPU is put away. What the host writes there for itself is no part of the state. */
static void save(struct vcpu *v, struct run *run)
{
    struct check *c = check_of(v);
    bool live = v->fpu_live;
    fpu_put_away(v);
    save_registers(v, &run->r);
    if (c->kind != KIND_FPU) {
        run->r.fpu_touched = live;
        return;
    }
    run->fpu = v->fpu;
    u8 *image = run->fpu.bytes;
    memset(image + IMAGE_FOP, 0, IMAGE_MXCSR - IMAGE_FOP);
    memset(image + IMAGE_MXCSR_MASK, 0, sizeof(u32));
    memset(image + IMAGE_LEGACY, 0, IMAGE_EXTENDED - IMAGE_LEGACY);
}

static void restore(struct vcpu *v, const struct run *run, const struct fpu_image *image)
{
    restore_registers(v, &run->r);
    fpu_put_away(v);
    if (!image)
        return;
    v->fpu = *image;
    fpu_edited(v);
    fpu_put_away(v);
}

static bool same(const struct check *c)
{
    const struct run *a = &c->interp, *b = &c->bt;
    return same_registers(&a->r, &b->r) && journal_same(&c->journal) &&
           (c->kind != KIND_FPU || memcmp(&a->fpu, &b->fpu, sizeof a->fpu) == 0);
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

/* Whether b is what is to be executed now. May fault, as fetching it does. */
static bool comes_next(struct vcpu *v, const struct block *b)
{
    return v->rip == b->rip && v->mode == b->mode && !b->dead &&
           mem_code(v, b->la).offset - b->offset == b->page;
}

static void interpret(struct vcpu *v, struct tcode *t)
{
    interp_blocks(v, tcode_head(t), 0);
    for (unsigned k = 1; t->trace && k < t->trace->parts; k++) {
        struct block *b = t->trace->part[k].block;
        if (t->dead || !comes_next(v, b))
            return;
        interp_blocks(v, b, 0);
    }
}

/* The check of a trace that does not let pass under the key that there is now, or NULL. */
static const struct texit *closed_check(const struct vcpu *v, const struct tcode *t)
{
    for (const struct texit *x = t->exit; x < t->exit + t->exits; x++) {
        if (x->is_check && load32(x->guard_key) + (u32)(v->code_key >> 32))
            return x;
    }
    return NULL;
}

static bool begins_later_part(const struct tcode *t, u64 rip)
{
    for (unsigned k = 1; t->trace && k < t->trace->parts; k++) {
        if (t->trace->part[k].block->rip == rip)
            return true;
    }
    return false;
}

/* Accesses of translated code that C has made. */
static u64 by_c(const struct vcpu *v)
{
    return bt_stats(v)->slow + bt_stats(v)->traps;
}

/* A branch in the middle whose access of the stack C has made is the end of the run: what follows
 * is looked up in the table of jumps. */
static void enter(struct vcpu *v, struct tcode *t)
{
    u64 before = by_c(v);
    bt_enter(v, t);
    const struct texit *x = closed_check(v, t);
    check_of(v)->left = begins_later_part(t, v->rip) && (x || by_c(v) != before);
    if (x)
        path_meant_again(v, t, x);
}

/* Executes t's blocks one way; *run is the state afterwards, or before the fault's delivery. */
static void execute(struct vcpu *v, struct tcode *t, struct run *run,
                    void (*way)(struct vcpu *, struct tcode *))
{
    jmp_buf landing, *outer = v->landing;
    v->landing = &landing;
    if (!setjmp(landing)) {
        way(v, t);
        save(v, run);
    } else {
        bt_left(v);
        interp_faulted(v);
        save(v, run);
        note_fault(v, &run->r);
    }
    v->landing = outer;
}

static enum kind kind_of_insn(const struct insn *in)
{
    switch (op_row(in)->cls) {
    case CLASS_SENSITIVE: return KIND_ONCE;
    case CLASS_CARE: return in->op == OP_RDRAND || in->op == OP_RDSEED ? KIND_ONCE : KIND_FPU;
    case CLASS_X87:
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_AVX: return KIND_FPU;
    default: return KIND_INTEGER;
    }
}

static enum kind kind_of(const struct block *b)
{
    enum kind kind = KIND_INTEGER;
    for (unsigned n = 0; n < b->insns; n++) {
        enum kind one = b->insn[n].faults ? KIND_INTEGER : kind_of_insn(&b->insn[n].in);
        if (one > kind)
            kind = one;
    }
    return kind;
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

static void print_parts(struct vcpu *v, const struct tcode *t)
{
    if (!t->trace)
        print_guest(v, t->b);
    for (unsigned k = 0; t->trace && k < t->trace->parts; k++)
        print_guest(v, t->trace->part[k].block);
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
    print_difference("fpu used", a->fpu_touched, b->fpu_touched);
}

static void print_fpu(const struct fpu_image *a, const struct fpu_image *b)
{
    for (unsigned i = 0; i < sizeof a->bytes; i += 8) {
        char text[16];
        snprintf(text, sizeof text, "fpu +%u", i);
        if (load64(a->bytes + i) != load64(b->bytes + i))
            print_difference(text, load64(a->bytes + i), load64(b->bytes + i));
    }
}

static void print_memory(const struct journal *j)
{
    for (unsigned n = 0; n < j->pieces; n++) {
        const struct piece *p = &j->piece[n];
        for (unsigned i = 0; i < ARRAY_LEN(p->after); i++) {
            u64 now = load64(j->ram + p->offset + i * 8);
            if (now != p->after[i])
                fprintf(stderr, "  ram %llx: before %016llx  interp %016llx  bt %016llx\n",
                        (unsigned long long)(p->offset + i * 8), (unsigned long long)p->before[i],
                        (unsigned long long)p->after[i], (unsigned long long)now);
        }
    }
}

/* t may have been given up meanwhile: its code is still there. */
NORETURN static void report(struct vcpu *v, const struct tcode *t)
{
    const struct check *c = check_of(v);
    const struct block *b = t->b;
    fprintf(stderr, "anello: check: translation and interpreter differ at %08llx, mode %08x\n",
            (unsigned long long)b->rip, b->mode);
    fprintf(stderr, "before (as interp and bt):\n");
    print_registers(&c->before.r, &c->before.r);
    fprintf(stderr, "after:\n");
    print_registers(&c->interp.r, &c->bt.r);
    if (c->kind == KIND_FPU)
        print_fpu(&c->interp.fpu, &c->bt.fpu);
    print_memory(&c->journal);
    fprintf(stderr, "guest code:\n");
    print_parts(v, t);
    fprintf(stderr, "translation:\n");
    observe_list(t, listing_to_stderr, NULL);
    fflush(stderr);
    _Exit(EXIT_INTERNAL);
}

/* ---- a block ---- */

/* Done. The fault that the block ended with goes to the run loop. */
static void land(struct vcpu *v, const struct registers *r)
{
    check_of(v)->kind = KIND_ONCE;
    if (!r->faulted)
        return;
    v->at = NULL;
    longjmp(*v->landing, 1);
}

static bool code_changed(const struct tcode *t)
{
    for (unsigned k = 0; t->trace && k < t->trace->parts; k++) {
        if (t->trace->part[k].block->dead)
            return true;
    }
    return t->b->dead;
}

/* Whether the interpreter has stopped at `rip`, behind an instruction that may change the mode: for
 * any event, also one that is held back, or when it is not sure of the page. */
static bool stopped_behind_mode(const struct block *b, u64 rip)
{
    for (unsigned n = 1; n < b->insns; n++) {
        if (b->insn[n].rip == rip && b->insn[n - 1].fn == uop_exec_mode)
            return true;
    }
    return false;
}

/* A repeated instruction stops between two pages for any event, also one that is held back; it may
 * have come after the first of the two was over. */
static bool stopped_in_repetition(const struct check *c)
{
    return (c->interp.r.shadow | c->bt.r.shadow) & SHADOW_REP;
}

/* Whether one of the two stopped early, as it may. */
static bool stopped_early(struct vcpu *v, const struct tcode *t)
{
    const struct check *c = check_of(v);
    return bt_events(v) || t->dead || bt_of(v)->interpret || (t->fpu && v->fpu_unmasked) ||
           c->left || stopped_in_repetition(c) || stopped_behind_mode(t->b, c->interp.r.rip);
}

/* The translation's turn, from the state before. */
static void compare(struct vcpu *v, struct tcode *t, const struct fpu_image *image)
{
    struct check *c = check_of(v);
    journal_undo(&c->journal, v);
    restore(v, &c->before, c->kind == KIND_FPU ? image : NULL);
    execute(v, t, &c->bt, enter);
    c->compared++;
    c->traces += t->trace != NULL;
    if (!same(c) || code_changed(t)) {
        if (disturbed(v))
            c->disturbed++;
        else if (code_changed(t) || !stopped_early(v, t))
            report(v, t);
        else
            c->early++;
    }
    journal_close(&c->journal);
    land(v, &c->bt.r);
}

void check_block(struct vcpu *v, struct block *b)
{
    struct check *c = check_of(v);
    struct tcode *t = b->code;
    if (t->check == KIND_UNKNOWN)
        t->check = (u8)kind_of(t->b);
    c->kind = t->check;
    c->external = c->left = false;
    c->writes_before = __atomic_load_n(&physmem_fast(v->pm)->writes_ended, __ATOMIC_SEQ_CST);
    journal_begin(&c->journal, page_host(v, 0));
    fpu_put_away(v);
    save(v, &c->before);
    struct fpu_image image;
    if (c->kind == KIND_FPU)
        image = v->fpu;
    execute(v, t, &c->interp, interpret);
    if (c->kind != KIND_ONCE && !c->external && !c->journal.overflow && !t->dead && !disturbed(v)) {
        compare(v, t, &image);
    } else {
        c->skipped++;
        land(v, &c->interp.r);
    }
}

bool check_repeats(const struct block *b)
{
    return kind_of(b) != KIND_ONCE;
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
    bt->check->kind = KIND_ONCE;
    v->journal = note_write;
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
            "anello: check: %llu blocks compared, %llu of them traces, %llu not repeatable, %llu "
            "stopped early, %llu disturbed by a device\n",
            (unsigned long long)(bt->check->compared - bt->check->early - bt->check->disturbed),
            (unsigned long long)bt->check->traces, (unsigned long long)bt->check->skipped,
            (unsigned long long)bt->check->early, (unsigned long long)bt->check->disturbed);
    free(bt->check);
    bt->check = NULL;
    bt_detach(v);
}
