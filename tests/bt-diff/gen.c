/* SPDX-License-Identifier: MIT
 *
 * What programs are made of beside single instructions: chunks that a fault ends, loops, branches,
 * calls of all kinds, system services, code that changes code.
 */
#include "cpu/disasm.h"
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "program.h"

enum opcode_bytes {
    OPC_PUSH_IMM = 0x68,
    OPC_MOV_IMM = 0xb8,
    OPC_CALL = 0xe8,
    OPC_JMP = 0xe9,
    OPC_RET = 0xc3,
    OPC_RET_IMM = 0xc2,
    OPC_INT = 0xcd,
    OPC_PUSHF = 0x9c,
    OPC_POPF = 0x9d,
    OPC_IRET = 0xcf,
    OPC_RETF = 0xcb,
    OPC_CLI = 0xfa,
    OPC_STI = 0xfb,
    OPC_HLT = 0xf4,
    OPC_OUT_IMM = 0xe6,
};

#define INT_SERVICE 0x80
#define INT_END     0x81
#define PORT_ASK    0x40 /* asks for an interrupt: subject.c */

enum service {
    SERVICE_SET_ENTRY,
    SERVICE_CHANGE_SPACE,
    SERVICE_RELOAD,
    SERVICE_FLIP_CR0,
    SERVICE_FLIP_CR4,
    SERVICE_TO_RING3,
    SERVICE_TO_RING0,
    SERVICE_SET_AND_RELOAD,
};

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
    piece_byte(q, (u8)(OPC_MOV_IMM + reg));
    piece_u32(q, value);
}

static void piece_mov_address(struct piece *q, unsigned reg, unsigned to, i32 add)
{
    piece_byte(q, (u8)(OPC_MOV_IMM + reg));
    piece_fix(q, FIX_ABS32, to, add);
}

static unsigned room(const struct maker *m)
{
    return PIECES - m->p->pieces;
}

static void add_raw(struct maker *m)
{
    piece_raw(m, piece_add(m, NULL));
}

/* The number that the n-th piece from here will have. */
static unsigned ahead(const struct maker *m, unsigned n)
{
    return m->p->pieces + n;
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
    unsigned over = 1 + rng_below(r, 4), to = ahead(m, over);
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
    piece_fix(q, FIX_ABS32, ahead(m, 0) - 1, sizeof head + 4);
    for (unsigned i = 0; i < 4; i++)
        piece_fix(q, FIX_ABS32, ahead(m, 0) + rng_below(&m->r, 4), 0);
    for (unsigned i = 0; i < 4; i++)
        add_raw(m);
}

/* dec dword [counter]; jnz */
static void put_loop_tail(struct piece *q, u32 counter, unsigned to)
{
    static const u8 dec[] = {0xff, 0x0d};
    piece_bytes(q, dec, sizeof dec);
    piece_u32(q, counter);
    piece_byte(q, 0x0f);
    piece_byte(q, 0x85);
    piece_fix(q, FIX_REL32, to, 0);
}

static u32 new_counter(struct maker *m)
{
    return CONTROL_COUNTERS + (m->counters++ % COUNTERS) * 4;
}

static void add_some(struct maker *m, unsigned n, unsigned depth);

static void add_loop(struct maker *m, unsigned depth)
{
    static const u8 store[] = {0xc7, 0x05};
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "loop");
    u32 counter = new_counter(m);
    piece_bytes(q, store, sizeof store);
    piece_u32(q, counter);
    piece_u32(q, 1 + rng_below(r, depth ? 5 : 20));
    unsigned head = ahead(m, 0);
    add_some(m, 1 + rng_below(r, 7), depth + 1);
    put_loop_tail(piece_add(m, "loop end"), counter, head);
}

/* ---- calls ---- */

/* A function, jumped over. Returns its number. */
static unsigned add_function(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *over = piece_add(m, "over a function");
    unsigned start = ahead(m, 0), n = rng_below(r, 4);
    for (unsigned i = 0; i < n; i++)
        add_raw(m);
    struct piece *q = piece_add(m, "function end");
    switch (rng_below(r, 5)) {
    case 0: { /* calls itself a few times */
        u32 counter = new_counter(m);
        put_loop_tail(q, counter, ahead(m, 0));
        q->bytes[q->len - 5] = 0x8e; /* JLE over the call */
        piece_byte(q, OPC_CALL);
        piece_fix(q, FIX_REL32, start, 0);
        q = piece_add(m, "function end");
        piece_byte(q, OPC_RET);
        break;
    }
    case 1: { /* lea esp, [esp + 4]; jmp [esp - 4] */
        static const u8 code[] = {0x8d, 0x64, 0x24, 0x04, 0xff, 0x64, 0x24, 0xfc};
        piece_bytes(q, code, sizeof code);
        break;
    }
    case 2: { /* add dword [esp], 0; ret */
        static const u8 code[] = {0x83, 0x04, 0x24, 0x00, OPC_RET};
        piece_bytes(q, code, sizeof code);
        break;
    }
    default: piece_byte(q, OPC_RET);
    }
    piece_byte(over, OPC_JMP);
    piece_fix(over, FIX_REL32, ahead(m, 0), 0);
    return start;
}

static void add_call(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned f = add_function(m), calls = 1 + rng_below(r, 3);
    for (unsigned i = 0; i < calls; i++) {
        struct piece *q = piece_add(m, "call");
        switch (rng_below(r, 6)) {
        case 0:
            piece_mov_address(q, rng_below(r, 4), f, 0);
            piece_byte(q, 0xff);
            piece_byte(q, (u8)(0xd0 + (q->bytes[0] & 7)));
            break;
        case 1: /* call [next dword], which is jumped over */
            piece_byte(q, 0xff);
            piece_byte(q, 0x15);
            piece_fix(q, FIX_ABS32, ahead(m, 0) - 1, 8);
            piece_byte(q, 0xeb);
            piece_byte(q, 4);
            piece_fix(q, FIX_ABS32, f, 0);
            break;
        case 2: /* push a return address that is not here */
            piece_byte(q, OPC_PUSH_IMM);
            piece_fix(q, FIX_ABS32, ahead(m, rng_below(r, 3)), 0);
            piece_byte(q, OPC_JMP);
            piece_fix(q, FIX_REL32, f, 0);
            break;
        case 3: /* call the next instruction; pop it */
            piece_byte(q, OPC_CALL);
            piece_fix(q, FIX_REL32, ahead(m, 0) - 1, 5);
            piece_byte(q, (u8)(0x58 + rng_below(r, 4)));
            break;
        default: piece_byte(q, OPC_CALL); piece_fix(q, FIX_REL32, f, 0);
        }
        if (rng_one_in(r, 2))
            add_raw(m);
    }
}

/* ---- flags and rings ---- */

/* xor dword [esp], some flags */
static void put_flag_noise(struct maker *m, struct piece *q)
{
    static const u8 flip[] = {0x81, 0x34, 0x24};
    struct rng *r = &m->r;
    u32 noise = (u32)rng_next(r) & FLAG_OSZAPC;
    if (rng_one_in(r, 4))
        noise |= FLAG_IF;
    if (rng_one_in(r, 8))
        noise |= FLAG_DF;
    if (rng_one_in(r, 8))
        noise |= FLAG_ID;
    if (rng_one_in(r, 16))
        noise |= FLAG_AC;
    if (rng_one_in(r, 16))
        noise |= (u32)rng_next(r) & FLAG_IOPL;
    if (rng_one_in(r, 32))
        noise |= FLAG_TF;
    if (rng_one_in(r, 32))
        noise |= FLAG_RF;
    piece_bytes(q, flip, sizeof flip);
    piece_u32(q, noise);
}

static void add_flags(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "flags");
    switch (rng_below(r, 6)) {
    case 0: piece_byte(q, rng_one_in(r, 2) ? OPC_CLI : OPC_STI); break;
    case 3: { /* rdtsc; mov eax, edx; sub eax, edx; cdq */
        static const u8 rdtsc[] = {0x0f, 0x31, 0x89, 0xd0, 0x29, 0xd0, 0x99};
        piece_bytes(q, rdtsc, sizeof rdtsc);
        break;
    }
    case 1: /* PUSHF; PUSH CS; PUSH to; IRET */
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, 0x0e);
        piece_byte(q, OPC_PUSH_IMM);
        piece_fix(q, FIX_ABS32, ahead(m, rng_below(r, 2)), 0);
        piece_byte(q, OPC_IRET);
        break;
    case 2: /* PUSH CS; PUSH to; RETF */
        piece_byte(q, 0x0e);
        piece_byte(q, OPC_PUSH_IMM);
        piece_fix(q, FIX_ABS32, ahead(m, rng_below(r, 2)), 0);
        piece_byte(q, OPC_RETF);
        break;
    default:
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, OPC_POPF);
    }
    add_raw(m);
}

static void put_interrupt(struct maker *m, struct piece *q)
{
    piece_byte(q, OPC_OUT_IMM);
    piece_byte(q, (u8)(PORT_ASK + rng_below(&m->r, 7)));
}

static void add_interrupt(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "interrupt");
    bool kernel = m->p->config.ring == 0 && !m->p->config.both;
    switch (rng_below(r, 6)) {
    case 0: /* CLI; ask; STI; something */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_STI);
        add_raw(m);
        break;
    case 1: /* CLI; ask; STI; HLT */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_STI);
        if (kernel)
            piece_byte(q, OPC_HLT);
        break;
    case 2: { /* ask; mov ax, ss; mov ss, ax */
        static const u8 shadow[] = {0x8c, 0xd0, OPC_STI, 0x8e, 0xd0};
        put_interrupt(m, q);
        piece_bytes(q, shadow, sizeof shadow);
        add_raw(m);
        break;
    }
    case 3: /* CLI; ask; PUSHF; noise; POPF */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, OPC_POPF);
        break;
    default: put_interrupt(m, q);
    }
}

/* ---- services ---- */

static struct piece *add_service(struct maker *m, const char *what, enum service s, u32 ecx,
                                 u32 edx)
{
    struct piece *q = piece_add(m, what);
    if (s == SERVICE_TO_RING0)
        piece_mov(q, REG_SP, STACK_MIDDLE);
    piece_mov(q, REG_AX, s);
    piece_mov(q, REG_CX, ecx);
    piece_mov(q, REG_DX, edx);
    piece_byte(q, OPC_INT);
    piece_byte(q, INT_SERVICE);
    return q;
}

static void add_page_change(struct maker *m)
{
    struct rng *r = &m->r;
    const struct config *c = &m->p->config;
    u32 page = (DATA >> PAGE_SHIFT & 0x3ff) + rng_below(r, DATA_PAGES);
    if (rng_one_in(r, 4))
        page = (CODE >> PAGE_SHIFT & 0x3ff) + rng_below(r, CODE_PAGES);
    else if (rng_one_in(r, 4))
        page = (DATA_ALIAS >> PAGE_SHIFT & 0x3ff) + rng_below(r, DATA_PAGES);
    u32 flags = rng_one_in(r, 3) ? 0 : 7; /* P W U */
    if (rng_one_in(r, 2))
        flags = (u32)rng_next(r) & 0x67; /* and A D */
    if (c->global && !c->spaces && rng_one_in(r, 4))
        flags |= 0x100;
    if (c->nx && rng_one_in(r, 4))
        flags |= 1u << 31;
    add_service(m, "page", rng_one_in(r, 3) ? SERVICE_SET_AND_RELOAD : SERVICE_SET_ENTRY, page,
                flags);
}

static void add_system(struct maker *m)
{
    static const u32 cr0_bits[] = {CR0_TS, CR0_TS, CR0_WP, CR0_AM};
    struct rng *r = &m->r;
    const struct config *c = &m->p->config;
    bool small = c->paging == PAGING_32 || c->paging == PAGING_PAE;
    switch (rng_below(r, 8)) {
    case 0: add_service(m, "reload CR3", SERVICE_RELOAD, 0, 0); break;
    case 1: add_service(m, "CR0", SERVICE_FLIP_CR0, 0, RNG_PICK(r, cr0_bits)); break;
    case 2: add_service(m, "CR4", SERVICE_FLIP_CR4, 0, CR4_PGE); break;
    case 3:
        if (c->spaces)
            add_service(m, "space", SERVICE_CHANGE_SPACE, 0, 0);
        break;
    case 4:
        if (c->both)
            add_service(m, "ring", rng_one_in(r, 2) ? SERVICE_TO_RING0 : SERVICE_TO_RING3, 0, 0);
        break;
    default:
        if (small)
            add_page_change(m);
    }
    add_raw(m);
}

/* ---- segments ---- */

/* mov eax, selector; mov fs or gs (now and then ds, es), ax */
static void add_segment(struct maker *m)
{
    static const u8 selectors[] = {0x20 | 3, 0x38 | 3, 0x40 | 3, 0x48 | 3, 0x50 | 3, 0, 0x10};
    struct rng *r = &m->r;
    unsigned seg = rng_one_in(r, 6) ? (rng_one_in(r, 2) ? SEG_DS : SEG_ES)
                                    : (rng_one_in(r, 2) ? SEG_FS : SEG_GS);
    struct piece *q = piece_add(m, "segment");
    piece_mov(q, REG_AX, RNG_PICK(r, selectors));
    piece_byte(q, 0x8e);
    piece_byte(q, (u8)(0xc0 | seg << 3));
    add_raw(m);
    add_raw(m);
}

/* ---- code that changes code ---- */

/* An instruction whose last four bytes may be anything. Returns where they are. */
static unsigned put_patchable(struct maker *m, struct piece *q)
{
    struct rng *r = &m->r;
    unsigned reg = rng_below(r, 4);
    switch (rng_below(r, 3)) {
    case 0: piece_byte(q, (u8)(OPC_MOV_IMM + reg)); break;
    case 1:
        piece_byte(q, 0x81);
        piece_byte(q, (u8)(0xc0 | rng_below(r, 8) << 3 | reg));
        break;
    default:
        piece_byte(q, 0x69); /* imul reg, reg, imm32 */
        piece_byte(q, (u8)(0xc0 | reg << 3 | rng_below(r, 4)));
    }
    unsigned at = q->len;
    piece_u32(q, rng_value(r));
    return at;
}

/* Stores into four bytes at an offset in piece `to`, in one of many ways. */
static void put_code_write(struct maker *m, struct piece *q, unsigned to, unsigned at)
{
    struct rng *r = &m->r;
    i32 add = (i32)at + (rng_one_in(r, 2) ? CODE_ALIAS - CODE : 0);
    unsigned part = rng_below(r, 4);
    switch (rng_below(r, 10)) {
    case 0: /* mov dword [to], imm */
        piece_byte(q, 0xc7);
        piece_byte(q, 0x05);
        piece_fix(q, FIX_ABS32, to, add);
        piece_u32(q, rng_value(r));
        break;
    case 1: /* mov byte [to], imm */
        piece_byte(q, 0xc6);
        piece_byte(q, 0x05);
        piece_fix(q, FIX_ABS32, to, add + (i32)part);
        piece_byte(q, (u8)rng_next(r));
        break;
    case 2: /* mov [to], al */
        piece_byte(q, 0xa2);
        piece_fix(q, FIX_ABS32, to, add + (i32)part);
        break;
    case 3: /* add dword [to], imm8 */
        piece_byte(q, 0x83);
        piece_byte(q, 0x05);
        piece_fix(q, FIX_ABS32, to, add);
        piece_byte(q, (u8)rng_next(r));
        break;
    case 4: /* lock xadd [to], ecx */
        piece_byte(q, 0xf0);
        piece_byte(q, 0x0f);
        piece_byte(q, 0xc1);
        piece_byte(q, 0x0d);
        piece_fix(q, FIX_ABS32, to, add);
        break;
    case 5: /* xchg [to], edx */
        piece_byte(q, 0x87);
        piece_byte(q, 0x15);
        piece_fix(q, FIX_ABS32, to, add);
        break;
    case 6: /* mov edi, to; stosd; or movsw */
        piece_mov_address(q, REG_DI, to, add);
        piece_byte(q, 0xfc);
        if (rng_one_in(r, 2))
            piece_byte(q, 0x66);
        piece_byte(q, rng_one_in(r, 2) ? 0xab : 0xa5);
        break;
    case 7: /* mov edi, to; mov ecx, 4; rep stosb */
        piece_mov_address(q, REG_DI, to, add);
        piece_mov(q, REG_CX, 4);
        piece_byte(q, 0xfc);
        piece_byte(q, 0xf3);
        piece_byte(q, 0xaa);
        break;
    case 8: /* movss [to], xmm1 */
        piece_byte(q, 0xf3);
        piece_byte(q, 0x0f);
        piece_byte(q, 0x11);
        piece_byte(q, 0x0d);
        piece_fix(q, FIX_ABS32, to, add);
        break;
    default: /* mov esp, to + 4; push eax; mov esp, stack */
        if (m->p->config.ring == 3 && !m->p->config.both) {
            piece_mov_address(q, REG_SP, to, add + 4);
            piece_byte(q, 0x50);
            piece_mov(q, REG_SP, STACK_MIDDLE);
        }
    }
}

static void add_patch(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned between = rng_below(r, 4), target;
    if (rng_one_in(r, 3)) { /* the code comes first: a loop meets it again */
        struct piece *q = piece_add(m, "patched");
        unsigned at = put_patchable(m, q);
        target = ahead(m, 0) - 1;
        for (unsigned i = 0; i < between; i++)
            add_raw(m);
        put_code_write(m, piece_add(m, "patch"), target, at);
        return;
    }
    struct piece *writer = piece_add(m, "patch");
    for (unsigned i = 0; i < between; i++)
        add_raw(m);
    struct piece *q = piece_add(m, "patched");
    unsigned at = put_patchable(m, q);
    put_code_write(m, writer, ahead(m, 0) - 1, at);
}

/* Data amid code: written beside it, now and then executed over. */
static void add_hole(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "hole");
    piece_byte(q, 0xeb);
    piece_byte(q, 16);
    unsigned at = q->len;
    for (unsigned i = 0; i < 16; i++)
        piece_byte(q, (u8)rng_next(r));
    unsigned hole = ahead(m, 0) - 1;
    for (unsigned i = 0; i < 2; i++) {
        put_code_write(m, piece_add(m, "write beside"), hole, at + rng_below(r, 12));
        add_raw(m);
    }
}

/* Copies a function to a data page and calls it there. */
static void add_copied(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned f = add_function(m), end = ahead(m, 0);
    u32 to = draw_good_target(m) & ~31u;
    struct piece *q = piece_add(m, "copy");
    piece_mov_address(q, REG_SI, f, 0);
    piece_mov(q, REG_DI, to);
    piece_mov_address(q, REG_CX, end, 0);
    piece_byte(q, 0x29); /* sub ecx, esi */
    piece_byte(q, 0xf1);
    piece_byte(q, 0xfc);
    piece_byte(q, 0xf3);
    piece_byte(q, 0xa4);
    piece_mov(q, REG_AX, rng_one_in(r, 4) ? to - DATA + DATA_ALIAS : to);
    piece_byte(q, 0xff); /* call eax */
    piece_byte(q, 0xd0);
}

/* ---- the whole ---- */

static void add_some(struct maker *m, unsigned n, unsigned depth)
{
    for (unsigned i = 0; i < n && room(m) > 96; i++) {
        switch (rng_below(&m->r, 40)) {
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
        case 8:
        case 9: add_flags(m); break;
        case 10: add_interrupt(m); break;
        case 11:
        case 12: add_system(m); break;
        case 13: add_segment(m); break;
        case 14:
        case 15: add_patch(m); break;
        case 16: add_hole(m); break;
        case 17: add_copied(m); break;
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
    c->spaces = c->paging && rng_one_in(r, 4);
    c->alignment_checks = rng_one_in(r, 4);
    c->iopl = rng_one_in(r, 3) ? 3 : 0;
    c->interrupts = !rng_one_in(r, 4);
    c->ticks = c->paging && c->ring == 3 && !c->both && rng_one_in(r, 4);
    c->hot = RNG_PICK(r, hots);
    c->window_after = rng_one_in(r, 4) ? UINT64_MAX : 1;
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
    for (unsigned i = 0; i < chunks && room(&m) > 128; i++) {
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
    fprintf(f, "ring %u%s, paging %s%s%s%s%s%s, IOPL %u, IF %u%s, hot %u, windows %s\n", c->ring,
            c->both ? " and back" : "", paging[c->paging], c->nx ? " NX" : "", c->wp ? " WP" : "",
            c->global ? " PGE" : "", c->spaces ? ", two spaces" : "",
            c->alignment_checks ? ", AM" : "", c->iopl, c->interrupts, c->ticks ? ", ticks" : "",
            c->hot, c->window_after > 1 ? "never" : "at once");
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
            unsigned len = disasm_text(p->code + (address - CODE), q->len - at, 32, address, text,
                                       sizeof text);
            fprintf(f, "      %08x  %s\n", address, text);
            at += len ? len : 1;
        }
    }
}
