/* SPDX-License-Identifier: MIT
 *
 * A random guest program: a list of pieces of code that refer to each other by number, so that any
 * of them can be left out when a failing program is made small. What it is depends on its seed
 * alone.
 *
 * Where things are, in linear addresses (and in physical ones, but for what paging moves):
 *
 *     00000000  page 0, which user code may access; then what is the kernel's
 *     00058000  code of virtual-8086 mode, which user code may access
 *     00400000  code, four pages; again from 00500000
 *     00600000  data, DATA_PAGES pages of all kinds; again from 00680000
 *     00700000  stack
 *     00710000  control: where to go on after a fault, and counters of loops
 *     00720000  a device (at FE000000 when paging is off)
 *     00730000  ROM
 *     FFFFF000  the last page
 */
#ifndef ANELLO_TESTS_PROGRAM_H
#define ANELLO_TESTS_PROGRAM_H

#include <stdio.h>

#include "base/bits.h"

enum {
    V86_AT = 0x58000, /* memory of virtual-8086 mode: a segment of 16 KiB */
    V86_BYTES = 0x4000,
    V86_STACK = 0x3f00,
    CODE = 0x400000,
    CODE_PAGES = 4,
    CODE_ALIAS = 0x500000,
    DATA = 0x600000,
    DATA_PAGES = 16,
    DATA_ALIAS = 0x680000,
    STACK = 0x700000,
    STACK_PAGES = 2,
    STACK_MIDDLE = STACK + 0x1000,
    CONTROL = 0x710000,
    CONTROL_TIME = CONTROL + 0x20,  /* not 0: EAX and EDX come from the clock */
    CONTROL_STACK = CONTROL + 0x30, /* the stack that a routine comes back to */
    CONTROL_COUNTERS = CONTROL + 0x40,
    COUNTERS = 64,
    DEVICE = 0x720000,
    ROM = 0x730000,
};
#define DEVICE_PA 0xfe000000u
#define LAST_PAGE 0xfffff000u

/* Selectors of its GDT, beside those of descriptors.h. */
enum {
    SEL_FAULT_TSS = 0x30,
    SEL_NEAR = 0x38 | 3,  /* its base is a bit behind DATA */
    SEL_BELOW = 0x40 | 3, /* its base is far below DATA */
    SEL_LIMITED = 0x48 | 3,
    SEL_WRAPPING = 0x50 | 3,
    SEL_THREAD = 0x58 | 3, /* the kernel changes its base */
    SEL_DOWN = 0x60 | 3,
    SEL_READ_ONLY = 0x68 | 3,
    SEL_GONE = 0x70 | 3, /* not present */
    SEL_LDT = 0x78,
    SEL_CODE16 = 0x80 | 3, /* 16 bits, its base is CODE */
    SEL_LOCAL = 0x00 | 7,  /* of the LDT, which the kernel gives and takes */
    SEL_LOCAL_FLAT = 0x08 | 7,
};

/* Vectors and ports (subject.c, kernel.asm). */
enum {
    INT_TICK = 0x20,
    INT_ASKED = 0x21, /* and what follows, by port */
    INT_OPEN = 0x22,  /* for all rings */
    INT_OPEN_LAST = 0x25,
    INT_SERVICE = 0x80,
    INT_END = 0x81,
    INT_OPEN_SERVICE = 0x82, /* through a trap gate */
    PORT_ASK = 0x40,         /* asks for an interrupt */
    PORT_ASK_LAST = 0x46,
    PORT_LEAVE = 0xf4,
};

/* What the data pages are when paging is on: enum page_nature by page. */
enum page_nature {
    PAGE_PLAIN,
    PAGE_READ_ONLY,
    PAGE_SUPERVISOR,
    PAGE_ABSENT,
    PAGE_LATER, /* absent until the first fault */
    PAGE_COW,   /* read only until the first fault */
};

#define SPACES 4 /* address spaces */

enum paging_kind { PAGING_OFF, PAGING_32, PAGING_LARGE, PAGING_PAE };

/* How the machine is set up for it. */
struct config {
    unsigned ring; /* 0 or 3: where it starts */
    bool both;     /* it goes from ring to ring */
    enum paging_kind paging;
    bool nx, wp, global, smap, smep, pvi;
    unsigned spaces;       /* address spaces that it uses */
    bool alignment_checks; /* CR0.AM */
    unsigned iopl;
    bool interrupts; /* EFLAGS.IF at the start */
    bool ticks;      /* interrupts at random times, which leave no trace */
    /* of the translator */
    unsigned hot;
    u64 window_after;
    bool traces;
    unsigned beside;
};

enum fixup_kind { FIX_REL32, FIX_REL8, FIX_ABS32 };

struct fixup {
    u8 at;   /* offset in the piece */
    u8 kind; /* enum fixup_kind */
    u16 to;  /* piece */
    i32 add; /* to its address */
};

#define PIECE_BYTES  96
#define PIECE_FIXUPS 8
#define PIECES       512

struct piece {
    const char *what;
    bool off;   /* left out */
    bool small; /* of 16 bits */
    u8 len, fixups;
    u8 bytes[PIECE_BYTES];
    struct fixup fixup[PIECE_FIXUPS];
    u32 address; /* set by program_place() */
};

struct program {
    u64 seed;
    struct config config;
    u32 start; /* of the code */
    u32 gpr[8];
    u32 flags; /* arithmetic */
    u8 nature[DATA_PAGES];
    unsigned pieces;
    struct piece piece[PIECES];
    u8 code[CODE_PAGES * PAGE_BYTES];
    u32 code_bytes;
};

/* `features`: of the CPU (struct vcpu). */
void program_make(struct program *p, u64 seed, const u32 *features);
/* Lays the pieces that are not off out and writes the code. */
void program_place(struct program *p);
/* The contents of `n` bytes of data, which depend on the seed too. */
void program_data(const struct program *p, u8 *to, unsigned n);
void program_print(const struct program *p, FILE *f);

/* ---- random numbers (rng.c) ---- */

struct rng {
    u64 state;
};
u64 rng_next(struct rng *r);
unsigned rng_below(struct rng *r, unsigned n);
bool rng_one_in(struct rng *r, unsigned n);
u32 rng_value(struct rng *r);
#define RNG_PICK(r, list) (list)[rng_below(r, ARRAY_LEN(list))]

enum opcode_bytes {
    OPC_PUSH_CS = 0x0e,
    PFX_BYTE_OPSIZE = 0x66,
    OPC_PUSH_IMM = 0x68,
    OPC_PUSHF = 0x9c,
    OPC_POPF = 0x9d,
    OPC_STOSB = 0xaa,
    OPC_MOV_IMM = 0xb8,
    OPC_RET_IMM = 0xc2,
    OPC_RET = 0xc3,
    OPC_RETF = 0xcb,
    OPC_INT = 0xcd,
    OPC_IRET = 0xcf,
    OPC_OUT_IMM = 0xe6,
    OPC_CALL = 0xe8,
    OPC_JMP = 0xe9,
    OPC_JMP_SHORT = 0xeb,
    OPC_REP = 0xf3,
    OPC_HLT = 0xf4,
    OPC_CLI = 0xfa,
    OPC_STI = 0xfb,
    OPC_CLD = 0xfc,
};

/* ---- while a program is made ---- */

struct maker {
    struct program *p;
    struct rng r;
    const u32 *features;
    unsigned counters;
    bool small; /* what add_raw() adds is 16-bit code */
};

struct piece *piece_add(struct maker *m, const char *what);
void piece_byte(struct piece *q, u8 byte);
void piece_bytes(struct piece *q, const void *bytes, unsigned n);
void piece_u32(struct piece *q, u32 value);
/* A 32-bit field that will hold the address of piece `to`. */
void piece_fix(struct piece *q, enum fixup_kind kind, unsigned to, i32 add);
/* mov reg, value */
void piece_mov(struct piece *q, unsigned reg, u32 value);

/* One random instruction, with what it takes to make it meaningful (raw.c). */
void piece_raw(struct maker *m, struct piece *q);
/* ---- kinds of pieces (gen_system.c, gen_patch.c) ---- */

static inline unsigned maker_room(const struct maker *m)
{
    return PIECES - m->p->pieces;
}
/* The number that the n-th piece from here will have. */
static inline unsigned maker_ahead(const struct maker *m, unsigned n)
{
    return m->p->pieces + n;
}
static inline bool maker_can_ring0(const struct maker *m)
{
    return m->p->config.ring == 0 || m->p->config.both;
}
/* mov reg, address of a piece + add */
void piece_mov_address(struct piece *q, unsigned reg, unsigned to, i32 add);
/* mov dword [at], value */
void piece_store(struct piece *q, u32 at, u32 value);
u32 maker_counter(struct maker *m);
/* dec dword [counter]; jnz to */
void piece_loop_tail(struct piece *q, u32 counter, unsigned to);
void add_raw(struct maker *m);
/* A function, jumped over. Returns its number. */
unsigned add_function(struct maker *m);
void add_call(struct maker *m);
void add_unpaired(struct maker *m);
void add_small(struct maker *m);
void add_v86(struct maker *m);
/* The kernel goes to V86_AT + ip in virtual-8086 mode. */
void add_to_v86(struct maker *m, u32 ip);
void add_flags(struct maker *m);
void add_interrupt(struct maker *m);
void add_system(struct maker *m);
void add_segment(struct maker *m);
void add_access_check(struct maker *m);
void add_cpuid(struct maker *m);
/* An instruction whose last four bytes may be anything. Returns where they are. */
unsigned put_patchable(struct maker *m, struct piece *q);
/* Stores into four bytes at an offset in piece `to`, in one of many ways. */
void put_code_write(struct maker *m, struct piece *q, unsigned to, unsigned at);
void add_patch(struct maker *m);
void add_hole(struct maker *m);
void add_copied(struct maker *m);
void add_jit(struct maker *m);

/* Somewhere to access `size` bytes: mostly good. */
u32 draw_target(struct maker *m, unsigned size);
/* Good for loads and stores, whatever the program does. */
u32 draw_good_target(struct maker *m);

#endif
