/* SPDX-License-Identifier: MIT
 *
 * What programs are made of beside single instructions: chunks that a fault ends, loops, branches,
 * calls of all kinds, system services, code that changes code.
 */
#include "cpu/disasm.h"
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "program.h"

/* ---- pieces ---- */

struct piece *piece_add(struct maker *m, const char *what)
{
    struct piece *q = &m->p->piece[m->p->pieces++];
    *q = (struct piece){.what = what};
    return q;
}

void piece_bytes(struct piece *q, const void *bytes, unsigned n)
{
    if (q->len + n <= PIECE_BYTES) {
        memcpy(q->bytes + q->len, bytes, n);
        q->len = (u8)(q->len + n);
    }
}

void piece_byte(struct piece *q, u8 byte)
{
    piece_bytes(q, &byte, 1);
}

void piece_u32(struct piece *q, u32 value)
{
    piece_bytes(q, &value, sizeof value);
}

void piece_fix(struct piece *q, enum fixup_kind kind, unsigned to, i32 add)
{
    q->fixup[q->fixups++] = (struct fixup){q->len, (u8)kind, (u16)to, add};
    if (kind == FIX_REL8)
        piece_byte(q, 0);
    else
        piece_u32(q, 0);
}

void piece_mov(struct piece *q, unsigned reg, u32 value)
{
    if (q->small)
        piece_byte(q, PFX_BYTE_OPSIZE);
    piece_byte(q, (u8)(OPC_MOV_IMM + reg));
    piece_u32(q, value);
}

void piece_store(struct piece *q, u32 at, u32 value)
{
    static const u8 mov[] = {0xc7, 0x05};
    piece_bytes(q, mov, sizeof mov);
    piece_u32(q, at);
    piece_u32(q, value);
}

void piece_mov_address(struct piece *q, unsigned reg, unsigned to, i32 add)
{
    piece_byte(q, (u8)(OPC_MOV_IMM + reg));
    piece_fix(q, FIX_ABS32, to, add);
}

void add_raw(struct maker *m)
{
    struct piece *q = piece_add(m, NULL);
    q->small = m->small;
    piece_raw(m, q);
}

/* ---- chunks ---- */

/* mov dword [CONTROL], `next` */
static struct piece *add_chunk(struct maker *m)
{
    static const u8 store[] = {0xc7, 0x05};
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "chunk");
    piece_bytes(q, store, sizeof store);
    piece_u32(q, CONTROL);
    piece_fix(q, FIX_ABS32, 0, 0);
    if (!rng_one_in(r, 4))
        piece_mov(q, REG_SP, STACK_MIDDLE + (rng_below(r, 16) - 8) * 4);
    static const u8 pointers[] = {REG_BX, REG_BP, REG_SI, REG_DI};
    for (unsigned i = 0; i < ARRAY_LEN(pointers); i++) {
        if (!rng_one_in(r, 4))
            piece_mov(q, pointers[i], draw_good_target(m));
    }
    if (rng_one_in(r, 3)) {
        piece_byte(q, 0xdb); /* FNINIT */
        piece_byte(q, 0xe3);
    }
    if (rng_one_in(r, 3))
        piece_byte(q, 0xfc); /* CLD */
    return q;
}

/* ---- branches ---- */

static void put_jcc(struct maker *m, struct piece *q, unsigned to)
{
    u8 cc = (u8)rng_below(&m->r, 16);
    if (rng_one_in(&m->r, 3)) {
        piece_byte(q, 0x70 + cc);
        piece_fix(q, FIX_REL8, to, 0);
    } else {
        piece_byte(q, 0x0f);
        piece_byte(q, 0x80 + cc);
        piece_fix(q, FIX_REL32, to, 0);
    }
}

/* Over up to four pieces, which follow. */
static void add_branch(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "branch");
    unsigned over = 1 + rng_below(r, 4), to = maker_ahead(m, over);
    switch (rng_below(r, 8)) {
    case 0: /* LOOPNE, LOOPE, LOOP, JECXZ; some of them by CX */
        if (rng_one_in(r, 4))
            piece_byte(q, 0x67);
        piece_byte(q, (u8)(0xe0 + rng_below(r, 4)));
        piece_fix(q, FIX_REL8, to, 0);
        break;
    case 1:
        piece_byte(q, OPC_JMP);
        piece_fix(q, FIX_REL32, to, 0);
        break;
    case 2: { /* mov reg, to; jmp reg */
        unsigned reg = rng_below(r, 4);
        piece_mov_address(q, reg, to, 0);
        piece_byte(q, 0xff);
        piece_byte(q, (u8)(0xe0 + reg));
        break;
    }
    case 3: /* push to; ret */
        piece_byte(q, OPC_PUSH_IMM);
        piece_fix(q, FIX_ABS32, to, 0);
        piece_byte(q, OPC_RET);
        break;
    default: put_jcc(m, q, to);
    }
    for (unsigned i = 0; i < over; i++)
        add_raw(m);
}

/* and eax, 3; jmp [table + eax * 4], the table right behind it */
static void add_switch(struct maker *m)
{
    static const u8 head[] = {0x83, 0xe0, 0x03, 0xff, 0x24, 0x85};
    struct piece *q = piece_add(m, "switch");
    piece_bytes(q, head, sizeof head);
    piece_fix(q, FIX_ABS32, maker_ahead(m, 0) - 1, sizeof head + 4);
    for (unsigned i = 0; i < 4; i++)
        piece_fix(q, FIX_ABS32, maker_ahead(m, 0) + rng_below(&m->r, 4), 0);
    for (unsigned i = 0; i < 4; i++)
        add_raw(m);
}

/* dec dword [counter]; jnz */
void piece_loop_tail(struct piece *q, u32 counter, unsigned to)
{
    static const u8 dec[] = {0xff, 0x0d};
    piece_bytes(q, dec, sizeof dec);
    piece_u32(q, counter);
    piece_byte(q, 0x0f);
    piece_byte(q, 0x85);
    piece_fix(q, FIX_REL32, to, 0);
}

u32 maker_counter(struct maker *m)
{
    return CONTROL_COUNTERS + (m->counters++ % COUNTERS) * 4;
}

static void add_some(struct maker *m, unsigned n, unsigned depth);

static void add_loop(struct maker *m, unsigned depth)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "loop");
    u32 counter = maker_counter(m);
    piece_store(q, counter, 1 + rng_below(r, depth ? 5 : 20));
    unsigned head = maker_ahead(m, 0);
    add_some(m, 1 + rng_below(r, 7), depth + 1);
    piece_loop_tail(piece_add(m, "loop end"), counter, head);
}

/* ---- the whole ---- */

static void add_some(struct maker *m, unsigned n, unsigned depth)
{
    for (unsigned i = 0; i < n && maker_room(m) > 96; i++) {
        switch (rng_below(&m->r, 47)) {
        case 0:
        case 1:
            if (depth < 3)
                add_loop(m, depth);
            break;
        case 2:
        case 3:
        case 4: add_branch(m); break;
        case 5: add_switch(m); break;
        case 6:
        case 7: add_call(m); break;
        case 22: add_unpaired(m); break;
        case 8:
        case 9: add_flags(m); break;
        case 10: add_interrupt(m); break;
        case 11:
        case 12: add_system(m); break;
        case 13:
        case 18: add_segment(m); break;
        case 14:
        case 15: add_patch(m); break;
        case 16: add_hole(m); break;
        case 17: add_copied(m); break;
        case 19: add_jit(m); break;
        case 20: add_access_check(m); break;
        case 23: add_small(m); break;
        case 24: add_v86(m); break;
        case 21:
            if (rng_one_in(&m->r, 2))
                add_cpuid(m);
            break;
        default: add_raw(m);
        }
    }
}

static void draw_config(struct rng *r, struct config *c)
{
    static const unsigned hots[] = {0, 0, 0, 1, 3};
    c->ring = rng_one_in(r, 3) ? 0 : 3;
    c->both = rng_one_in(r, 6);
    c->paging = rng_one_in(r, 6) ? PAGING_OFF : 1 + rng_below(r, 3);
    c->nx = c->paging == PAGING_PAE && rng_one_in(r, 2);
    c->wp = !rng_one_in(r, 4);
    c->global = rng_one_in(r, 2);
    c->spaces = c->paging && rng_one_in(r, 4) ? 2 + rng_below(r, SPACES - 1) : 1;
    c->smap = c->paging && !c->both && rng_one_in(r, 3);
    c->smep = c->paging && !c->both && c->ring == 3 && rng_one_in(r, 3);
    c->pvi = rng_one_in(r, 8);
    c->alignment_checks = rng_one_in(r, 4);
    c->iopl = rng_one_in(r, 3) ? 3 : 0;
    c->interrupts = !rng_one_in(r, 4);
    c->ticks = c->paging && c->ring == 3 && !c->both && rng_one_in(r, 4);
    c->hot = RNG_PICK(r, hots);
    c->window_after = rng_one_in(r, 4) ? UINT64_MAX : 1;
    c->traces = !rng_one_in(r, 3);
    c->beside = rng_one_in(r, 3) ? 0 : 1 + rng_below(r, 8);
}

static void draw_nature(struct maker *m)
{
    struct program *p = m->p;
    for (unsigned i = 0; i < DATA_PAGES; i++)
        p->nature[i] = rng_one_in(&m->r, 2) ? PAGE_PLAIN : (u8)rng_below(&m->r, PAGE_COW + 1);
    p->nature[0] = PAGE_PLAIN;
}

/* Where a fault in each chunk leads: to the next. */
static void connect_chunks(struct program *p)
{
    unsigned next = p->pieces - 1;
    for (unsigned i = p->pieces; i-- > 0;) {
        struct piece *q = &p->piece[i];
        if (strcmp(q->what, "chunk") != 0)
            continue;
        q->fixup[0].to = (u16)next;
        next = i;
    }
}

void program_make(struct program *p, u64 seed, const u32 *features)
{
    struct maker m = {.p = p, .r = {.state = seed}, .features = features};
    struct rng *r = &m.r;
    memset(p, 0, sizeof *p);
    p->seed = seed;
    draw_config(r, &p->config);
    draw_nature(&m);
    p->start = CODE + rng_below(r, (CODE_PAGES - 2) * PAGE_BYTES);
    if (rng_one_in(r, 4))
        p->start = CODE + PAGE_BYTES - rng_below(r, 200);
    for (unsigned g = 0; g < 8; g++)
        p->gpr[g] = rng_one_in(r, 2) ? rng_value(r) : draw_good_target(&m);
    p->gpr[REG_SP] = STACK_MIDDLE;
    p->flags = (u32)rng_next(r) & FLAG_OSZAPC;
    unsigned chunks = 2 + rng_below(r, 12);
    for (unsigned i = 0; i < chunks && maker_room(&m) > 128; i++) {
        add_chunk(&m);
        add_some(&m, 2 + rng_below(r, 10), 0);
    }
    struct piece *end = piece_add(&m, "end");
    piece_byte(end, OPC_INT);
    piece_byte(end, INT_END);
    connect_chunks(p);
    program_place(p);
}

static void fix(struct program *p, struct piece *q, const struct fixup *f)
{
    u8 *field = p->code + (q->address - CODE) + f->at;
    u32 to = p->piece[f->to].address + (u32)f->add, here = q->address + f->at;
    switch (f->kind) {
    case FIX_ABS32: store32(field, to); break;
    case FIX_REL32: store32(field, to - (here + 4)); break;
    default: {
        i32 distance = (i32)(to - (here + 1));
        *field = distance >= 0 && distance <= 127 ? (u8)distance : 0;
    }
    }
}

void program_place(struct program *p)
{
    u32 at = p->start;
    for (unsigned i = 0; i < p->pieces; i++) {
        p->piece[i].address = at;
        if (!p->piece[i].off)
            at += p->piece[i].len;
        if (at > CODE + sizeof p->code - 256 && i < p->pieces - 1) { /* no room: only the end */
            p->piece[i].off = true;
            at = p->piece[i].address;
        }
    }
    memset(p->code, 0xcc, sizeof p->code);
    p->code_bytes = at - p->start;
    for (unsigned i = 0; i < p->pieces; i++) {
        struct piece *q = &p->piece[i];
        if (q->off)
            continue;
        memcpy(p->code + (q->address - CODE), q->bytes, q->len);
        for (unsigned k = 0; k < q->fixups; k++)
            fix(p, q, &q->fixup[k]);
    }
}

/* Integers, floating-point numbers and noise. */
void program_data(const struct program *p, u8 *to, unsigned n)
{
    struct rng r = {.state = ~p->seed};
    static const u64 doubles[] = {0x3ff0000000000000, 0xbff8000000000000, 0x4004000000000000,
                                  0x7ff0000000000000, 0x7ff8000000000001, 0x7fefffffffffffff,
                                  0x0000000000000001, 0x41dfffffffc00000, 0};
    for (unsigned at = 0; at < n; at += 8) {
        switch (rng_below(&r, 3)) {
        case 0: store64(to + at, RNG_PICK(&r, doubles)); break;
        case 1: store64(to + at, rng_value(&r) | (u64)rng_value(&r) << 32); break;
        default: store64(to + at, rng_next(&r));
        }
    }
}

/* ---- for people ---- */

static void print_config(const struct config *c, FILE *f)
{
    static const char *const paging[] = {"off", "32-bit", "32-bit, large pages", "PAE"};
    fprintf(f,
            "ring %u%s, paging %s%s%s%s%s%s%s, %u spaces%s, IOPL %u, IF %u%s, hot %u, windows %s, "
            "traces %u, beside %u\n",
            c->ring, c->both ? " and back" : "", paging[c->paging], c->nx ? " NX" : "",
            c->wp ? " WP" : "", c->global ? " PGE" : "", c->smap ? " SMAP" : "",
            c->smep ? " SMEP" : "", c->pvi ? " PVI" : "", c->spaces,
            c->alignment_checks ? ", AM" : "", c->iopl, c->interrupts, c->ticks ? ", ticks" : "",
            c->hot, c->window_after > 1 ? "never" : "at once", c->traces, c->beside);
}

void program_print(const struct program *p, FILE *f)
{
    static const char *const natures[] = {"plain",  "read only", "supervisor",
                                          "absent", "later",     "copy on write"};
    fprintf(f, "seed %llu\n", (unsigned long long)p->seed);
    print_config(&p->config, f);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        fprintf(f, "%s %08x %s", i % 4 ? "," : "\ndata", DATA + i * (u32)PAGE_BYTES,
                natures[p->nature[i]]);
    fprintf(f, "\nstart %08x\n", p->start);
    for (unsigned i = 0; i < p->pieces; i++) {
        const struct piece *q = &p->piece[i];
        char text[128];
        if (q->off)
            continue;
        fprintf(f, "%3u %s\n", i, q->what);
        for (unsigned at = 0; at < q->len;) {
            u32 address = q->address + at;
            unsigned len = disasm_text(p->code + (address - CODE), q->len - at, q->small ? 16 : 32,
                                       address, text, sizeof text);
            fprintf(f, "      %08x  %s\n", address, text);
            at += len ? len : 1;
        }
    }
}
