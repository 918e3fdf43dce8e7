/* SPDX-License-Identifier: MIT
 *
 * The interpreter's cache of decoded code. Private to the interpreter: code_cache.c keeps blocks,
 * interp.c runs them, fast_*.c holds the handlers.
 *
 * A *block* is a run of instructions within one page (the first one may straddle into the next
 * page), up to the first that ends it. Each instruction is a *uop*: a handler and its operands in
 * the form in which the handler wants them. A handler does its work and calls the next one as its
 * last act, which the compiler turns into a jump: there is no dispatch loop.
 *
 *     block ─ uop 0 ─ uop 1 ─ … ─ uop n-1 ─┬─ taken ──▶ stub 0 ──▶ another block's uop 0
 *                                          └─ fall  ──▶ stub 1 ──▶      "
 *
 * The last uop goes on at `taken` or `fall`. Both lead to stubs of the same block first, which look
 * the target up, and then *link*: the pointer goes straight to the target's first uop. When the
 * target is in another page the stub stays between and checks with the TLB that the page is still
 * the same one.
 *
 * Invariants
 *  1. A block is found by what its code depends on: memfd offset, rip, CS base and limit, mode.
 *  2. PAGE_CODE is held for every page that a block has bytes of, from before they were read.
 *  3. When a byte of a block changes, the block is *killed* at once: the handlers of all its uops
 *     are replaced by one that looks rip up again, and nothing links to it any more. So a store
 *     into the running block needs no check: the next handler it would have called is gone.
 *  4. Memory of blocks is given back only all at once, between blocks.
 *  5. Open pages are excepted from 2 and 3: their blocks look at their bytes whenever they are
 *     entered (code_self.h).
 */
#ifndef ANELLO_CPU_CODE_CACHE_H
#define ANELLO_CPU_CODE_CACHE_H

#include <pthread.h>

#include "cpu/exec.h"
#include "cpu/mem.h"

struct uop;
/* Executes the uop and, last, what follows it. Returns the uop to go on with, or NULL to leave the
 * run loop's care (v->rip is right then). */
typedef const struct uop *(*uop_fn)(struct vcpu *v, const struct uop *u);

struct uop {
    uop_fn fn;
    union {
        i64 disp;                     /* memory operand */
        const struct uop *taken;      /* branch: where to */
        const struct cached_insn *ci; /* general handlers */
    };
    union {
        u64 imm;
        const struct uop *fall; /* conditional branch: the other way */
        u64 rip;                /* stub: the target */
    };
    u8 dst, src; /* register operands */
    u8 base, index, scale;
    u8 seg;
    u8 adsize;
    u8 at; /* index in block->uop */
};
_Static_assert(sizeof(struct uop) == 32, "two uops a cache line");

/* What was decoded, for the general handlers and for the addresses. */
struct cached_insn {
    exec_fn exec; /* the meaning, and the general handler that calls it */
    uop_fn fn;
    u16 offset;      /* from the start of the block */
    u8 index, after; /* instructions of the block before this one; from this one on */
    bool patched;    /* its immediate is no part of the block: it is read when it is executed */
    bool faults;     /* whatever was decoded, it is an invalid opcode or too long */
    u32 rip;         /* low half */
    struct insn in;
};

/* Of address space for blocks and page records: about 130,000 blocks of average size. A boot of
 * Linux fills most of it; half as much makes one 7 percent slower. */
#define INTERP_ARENA_BYTES MIB(128)

#define BLOCK_INSNS 64  /* most instructions of a block */
#define JOIN_INSNS  255 /* and of some that are joined */
#define BLOCK_UOPS  (BLOCK_INSNS + 3)
#define NO_PAGE     UINT64_MAX

/* Bit 31 of a block's mode: one instruction by its general handler, no links. */
#define MODE_SINGLE (1u << 31)

/* One of the two exits of a block, while it is linked. */
struct link {
    struct block *from, *to;
    struct link *next, **prev; /* among the links to `to` */
};

/* A block in the list of one of its pages. */
struct page_link {
    struct block *block;
    struct page_link *next, **prev;
};

struct trace_part;

struct block {
    /* The key, and what a quick lookup compares. */
    u64 rip;
    u64 cs_base;
    u64 la;
    u64 page; /* memfd offset of the first byte's page */
    u32 cs_limit;
    u32 mode;
    u64 next_page; /* of the page that the only instruction straddles into, or NO_PAGE */

    bool dead;
    bool by_jump;   /* the translator has come here by a jump to an address not known before */
    u8 heat;        /* times that the translator has seen it, until it translates it */
    u8 samples;     /* times that its translation was found running */
    bool hot;       /* a trace is to begin here */
    bool alone;     /* none is worth while */
    bool calls_out; /* what it calls at its end is no part of a trace */
    void *code;     /* the translator's, or NULL */
    struct trace_part *traces; /* the translator's: those that it is a part of */
    u64 checked;               /* bit n: instruction n does not access memory by the window */
    u64 left_to_c;             /* bit n: instruction n is a call-out, because it keeps trapping */
    u16 waits;      /* of `checked`: rounds until it is tried again, and how many the next time */
    const u8 *copy; /* of its bytes, if it checks itself (code_self.h); or NULL */
    uop_fn first;   /* what its first uop does then, after the check */
    u16 patience;
    u8 insns;   /* instructions */
    u8 exit;    /* the uop that `out` are the links of */
    u16 bytes;  /* of code */
    u16 offset; /* of the first byte in `page` */
    struct block *hash_next;
    struct link out[2];
    struct link *in; /* links to this block */
    struct page_link in_page[2];
    struct cached_insn *insn;
    struct uop uop[]; /* instructions, [insns] what follows them, then the two stubs */
};

/* Immediates that the guest keeps writing to, as some compilers at run time do. After a few times
 * they are no part of the code any more: see struct cached_insn. */
#define PATCHED 8

/* A page with blocks. */
struct page_record {
    u64 offset; /* in the memfd */
    struct page_link *blocks;
    struct page_record *hash_next;
    unsigned idle_writes;      /* since it has lost its last block */
    bool open;                 /* it is not held: its blocks check themselves (code_self.h) */
    unsigned beside;           /* writes beside code since `since` */
    u64 since;                 /* TSC; also when it was opened */
    u64 patience;              /* how long it stays open, in TSC cycles */
    u64 code[PAGE_BYTES / 64]; /* a bit for each byte that blocks may depend on */
    struct patched {
        u16 at; /* in the page */
        u8 times;
    } patched[PATCHED];
    u8 patched_next;
};

#define HASH_BITS  17
#define PAGE_BITS  12
#define JUMP_BITS  12
#define CODE_PAGES 32768
#define FOREIGN    64 /* writes by others that are remembered one by one */
#define OPEN_PAGES 64

#define SELF_BYTES    64        /* most bytes of a block that checks itself */
#define BESIDE_MOST   4096      /* writes beside code after which a page is opened */
#define BESIDE_SAMPLE 64        /* of them that translated code makes unheard */
#define OPEN_FOR      100000000 /* the first time, in TSC cycles */

struct interp {
    struct block *jump[1 << JUMP_BITS]; /* by rip: the last block seen there */
    struct block *hash[1 << HASH_BITS];
    struct page_record *pages[1 << PAGE_BITS];
    struct page_record page_pool[CODE_PAGES];
    struct page_record *spare_pages;
    unsigned pages_used; /* of the pool */
    struct page_record *open[OPEN_PAGES];
    unsigned open_count;
    unsigned beside_most; /* BESIDE_MOST, or what a test wants */
    u64 open_for;         /* OPEN_FOR, likewise */
    u64 pages_opened;
    u8 copy[SELF_BYTES]; /* of what is being decoded for a block that checks itself */
    u8 *arena;           /* of blocks */
    size_t used;
    u64 generation; /* of the arena's contents */
    i64 granted;    /* v->budget at the start of this run */

    /* Writes to code by other threads, until the CPU's next boundary. */
    pthread_mutex_t lock;
    struct {
        u64 offset;
        u32 size;
    } foreign[FOREIGN];
    unsigned foreign_count; /* above FOREIGN: all code is in doubt */
    bool flush_wanted;

    /* The instruction that is executed from where there is no memory. */
    struct cached_insn loose_insn;
    u64 blocks_made, blocks_killed, flushes;

    /* The translator, if there is one: a block was killed that it knows; all blocks are about to be
     * given up; a page was opened for the write that is being made. */
    void (*killed)(struct vcpu *v, struct block *b);
    void (*dropped)(struct vcpu *v);
    void (*opened)(struct vcpu *v);

    union { /* last: a struct block has no fixed size */
        struct block block;
        u8 room[sizeof(struct block) + 4 * sizeof(struct uop)];
    } loose;
};

/* The block that a cached instruction belongs to: it follows the instructions in the arena. */
static inline struct block *insn_block(const struct cached_insn *ci)
{
    return (struct block *)align_up((u64)(uintptr_t)(ci + ci->after), 64);
}

static inline struct block *uop_block(const struct uop *u)
{
    return CONTAINER_OF((struct uop *)(uintptr_t)(u - u->at), struct block, uop[0]);
}

/* Linear address of rip in the current code segment. */
static inline u64 code_la(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);
}

static inline struct block **jump_slot(struct vcpu *v, u64 rip)
{
    return &v->interp->jump[(rip ^ rip >> JUMP_BITS) & ((1 << JUMP_BITS) - 1)];
}

/* The page at la is the one at `page` of the memfd, as far as the TLB knows. */
static inline bool code_page_is(struct vcpu *v, u64 la, u64 page)
{
    const struct tlb_entry *e = tlb_entry(v, la, mem_fetch_view(v));
    return e->exec == (la & ~PAGE_OFFSET_MASK) && e->offset == page;
}

/* The block to execute at v->rip; made if need be. Raises what fetching raises. `extra` is 0 or
 * MODE_SINGLE. NULL: the code is not in memory (interp.c fetches it byte by byte). */
struct block *cache_find(struct vcpu *v, u32 extra);

/* The one instruction at v->rip, fetched byte by byte from where there is no memory. It is valid
 * until the next call. */
struct block *cache_fetch_loose(struct vcpu *v);

/* u leads to `to` directly from now on; `side` is 0 for taken, 1 for fall. */
void cache_link(struct block *from, unsigned side, struct block *to);

/* A block of the instructions of all of these, one after the other, which nobody finds: it has no
 * uops and belongs to no page. NULL: there is no room. */
struct block *cache_join(struct vcpu *v, struct block *const part[], unsigned parts);
/* b is no longer found, linked or run. */
void cache_kill(struct vcpu *v, struct block *b);
/* The same for one that is not what its bytes say any more: what has changed is looked at. */
void cache_kill_changed(struct vcpu *v, struct block *b);

/* Kills the blocks that have bytes in size bytes at `offset` of the memfd. */
void cache_written(struct vcpu *v, u64 offset, u32 size);

/* Where the record of the page at `offset` is, in bytes from v->interp; 0: it has none. */
u32 cache_page_place(const struct vcpu *v, u64 offset);

/* Takes note of what other threads wrote (EVENT_CODE). */
void cache_take_foreign(struct vcpu *v);

/* Gives all blocks up. Only between blocks. */
void cache_drop_all(struct vcpu *v);

/* How a handler goes on. An optimising gcc turns the call that a handler ends with into a jump.
 * Where that is not certain (no optimisation, sanitizers that keep frames) the handler returns to a
 * loop with the uop to call. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&    \
    !defined(__clang__)
#define UOP_CALL(v, u) ((u)->fn(v, u))
#else
#define UOP_CALL(v, u) ((void)(v), (u))
#endif
#define UOP_NEXT(v, u) return UOP_CALL(v, (u) + 1)

/* ---- pieces of the run loop, for the translator's (interp.c) ---- */

/* All that is due before the next instruction. False: the run ends, for the reason in *why. */
bool interp_boundary(struct vcpu *v, enum vcpu_exit *why);
/* After a fault has come back to v->landing: delivers it. False: the CPU has shut down. */
bool interp_land(struct vcpu *v);
/* The first half of that: v->rip is the address of the instruction that has faulted. */
void interp_faulted(struct vcpu *v);
/* One instruction, or one run of a repeated one, with all that single-stepping asks for. */
void interp_single(struct vcpu *v);
/* From block b (NULL: the one instruction at rip that is not in memory) on, about `most`
 * instructions, or just b when that is 0. */
void interp_blocks(struct vcpu *v, struct block *b, u64 most);

/* ---- handlers that the cache puts into blocks (interp.c) ---- */
const struct uop *uop_exec(struct vcpu *v, const struct uop *u);      /* any; rip stale */
const struct uop *uop_exec_at(struct vcpu *v, const struct uop *u);   /* with v->rip set */
const struct uop *uop_exec_mode(struct vcpu *v, const struct uop *u); /* may change the mode */
const struct uop *uop_exec_end(struct vcpu *v, const struct uop *u);  /* sets v->rip; ends */
const struct uop *uop_go_on(struct vcpu *v, const struct uop *u);     /* after the last one */
const struct uop *uop_leave(struct vcpu *v, const struct uop *u);     /* the same, single */
const struct uop *uop_stub(struct vcpu *v, const struct uop *u);
const struct uop *uop_stub_checked(struct vcpu *v, const struct uop *u);
const struct uop *uop_stale(struct vcpu *v, const struct uop *u);
const struct uop *uop_self(struct vcpu *v, const struct uop *u); /* the check, then b->first */

/* What a handler ends with that does not simply go on. */
const struct uop *uop_general(struct vcpu *v, const struct uop *u);   /* by the general handler */
const struct uop *uop_interrupt(struct vcpu *v, const struct uop *u); /* run loop, then u */
const struct uop *uop_jump(struct vcpu *v, unsigned n); /* n instructions done; on at v->rip */

/* The block ends after n instructions and goes on at u. */
static inline const struct uop *uop_go(struct vcpu *v, const struct uop *u, unsigned n)
{
    v->budget -= n;
    if (UNLIKELY(v->budget < 0 || vcpu_events(v)))
        return uop_interrupt(v, u);
    return UOP_CALL(v, u);
}

/* ---- fast.c: handlers for one form of operands each ---- */

/* The handler for this very form, after filling u's operands; NULL: there is none. `next` is the
 * rip after the instruction. */
uop_fn fast_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u);
/* Whether a handler from fast_select() leaves the block by links: how many, and where to. */
bool fast_exits(const struct insn *in, u64 next, u64 *target, unsigned *sides);

#endif
