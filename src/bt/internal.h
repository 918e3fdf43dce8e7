/* SPDX-License-Identifier: MIT
 *
 * What a translation is made of, and what the files of this folder share. Private to src/bt.
 */
#ifndef ANELLO_BT_INTERNAL_H
#define ANELLO_BT_INTERNAL_H

#include <stdio.h>

#include "base/hosttrap.h"
#include "bt/asm_x64.h"
#include "bt/bt.h"
#include "bt/codemem.h"
#include "bt/hostreg.h"
#include "bt/returns.h"
#include "bt/verify.h"
#include "bt/windows.h"
#include "cpu/code_cache.h"

struct bt;
struct tcode;

/* Indirect jumps go where vcpu->targets tells for their target's low bits. There are guards, which
 * look whether target and key are right; if not they go on in the table of jumps. The key is the
 * one of a return's link, and for jumps that under which the guard was put there
 * (vcpu->target_tags).
 *
 * Blocks that were reached by indirect jumps have a guard in front of their entry; what the table
 * of jumps leads to, their `way_in`, puts its address there. A call of the guest is a call of the
 * host's, behind which there is a guard too: the only exit of what returns there.
 *
 * An exit to a known address. Unlinked, its jump leads to `stub`, which calls bt->thunk.link: the
 * return address tells which exit it was. A link to another page goes by a guard, code that
 * compares the key under which the link was made with vcpu->code_key, and looks the target up if it
 * differs. The guard of an unconditional exit is in its place: `field` belongs to the jump that is
 * taken if the keys differ, `guard_field` to the other.
 *
 * Code outside CPL 3 that is mapped by global pages needs no guards: its keys are the same in all
 * address spaces until something happens to these pages, and then all such links (`free`) are
 * undone before translated code runs again (EVENT_LINKS).
 */
struct texit {
    struct tcode *from, *to; /* to: NULL while unlinked */
    bool is_return;
    bool is_check; /* within a trace: taken if its pages may be elsewhere */
    bool free;     /* to another page without a guard */
    bool live;     /* the FPU's registers are live there */
    struct texit *next, **prev;
    u8 *field;    /* the rel32, in the writable view */
    u8 *stub;     /* as executed */
    u8 *unlinked; /* as executed: the stub, or what comes before it for `field` */
    u8 *lookup;   /* as executed: looks the target up in the table of jumps */
    u8 *guard;    /* as executed: where `field` leads once linked; NULL in the page */
    u8 *guard_key, *guard_field; /* what is added to the key, and a rel32, in the writable view */
    u64 page;                    /* that it is in: offset in the memfd */
    u32 target;
    /* Within a trace's calls: the block of the innermost one. How often it was taken since when
     * (TSC), as long as that is counted. */
    struct block *opener;
    u8 taken;
    u64 since;
};

/* A trace (path.h): its `b` is one of all the instructions, which nobody else knows. Where it goes
 * on in another page than it has begun in it looks whether the key is the one it was made under:
 * then all its pages are where they were. It depends on each of its blocks. */
#define PATH_PARTS 64
#define PATH_DEPTH 16 /* calls within it that are open at a time */
struct trace_part {
    struct block *block;
    struct tcode *t;
    struct trace_part *next, **prev; /* among those of the block */
    u8 first;                        /* instruction */
};
struct trace {
    unsigned parts;
    bool free; /* it goes to another page without looking at the key: see struct texit */
    struct trace_part part[PATH_PARTS];
};

/* Blocks that were executed one after the other. */
struct path {
    struct block *part[PATH_PARTS];
    i8 depth_at[PATH_PARTS]; /* calls that are open where each begins */
    unsigned parts, insns;
    int depth; /* calls that are open where the last one begins */
    bool x87;
};

#define EXITS_OF(parts) ((parts) + 3u) /* of a translation, at most */
#define EXITS_MOST      EXITS_OF(PATH_PARTS)

#define TCODE_LEAST 16 /* bytes of code memory that one takes from its entry on */

/* A translation. What is rarely executed is in another place, so that what is executed often is
 * close together: the host's caches hold more of it. */
struct tcode {
    struct block *b;
    u8 *start, *entry; /* as executed; in front of the entry there may be its guard */
    u8 *cold;          /* the rest */
    u32 size, cold_size;
    u8 *way_in; /* for the table of jumps */
    bool guarded;
    u8 *live_entry; /* for when the FPU registers are live: its check is the first code; or NULL */
    bool dead;
    bool fpu; /* it expects live FPU registers after its first FPU instruction */
    u8 exits;
    struct texit *exit;
    struct trace *trace; /* or NULL */
    u8 check;            /* what check.c knows of it, 0: nothing yet */
    u64 smap_switched;   /* by instruction: after it the mode differs from b->mode in MODE_SMAP; of
                            traces only whether there is such a one is known */
    u64 x87, x87_done;   /* by instruction: tracked, noted before it (x87_track.c) */
    u64 x87_mem, x87_mem_done;
    struct texit *in; /* links to it */
    i16 *sp;          /* [insns + 1]: the guest's ESP less its register, before each */
    u8 *misses;       /* [insns]: traps that did not lead to a page in the window */
    u16 at[];         /* [insns + 1]: where each guest instruction begins, from entry */
};

/* An entry of the table of jumps: a hit when rip | code_key == -ntag. */
struct tjump {
    u64 ntag;
    u8 *host;
};
#define JUMPS 65536

/* Of an address, in vcpu->targets: its low bits. */
#define TARGET_MASK (TARGETS - 1)

/* Its place: kernel and programs have much code at the same low 16 bits, and some code runs in more
 * than one mode. */
static inline u16 jump_index(u32 rip, u64 code_key)
{
    return (u16)(rip + (rip >> 16) + (u32)(code_key >> 32));
}

/* Which code_key names a mode and a state of the page tables. */
struct tkey {
    u32 mode, epoch;
    u32 key;
};
#define TKEY_BITS 10

#define ACCESS_SIZES 7 /* 1, 2, 4, 8, 10, 16, 32 */

struct thunks {
    const u8 *enter;         /* (vcpu, host code): the way in for C */
    const u8 *leave;         /* the way out; RAX is what `enter` returns */
    const u8 *leave_c;       /* the same when RSP is in the stack of C code again */
    const u8 *underflow;     /* returned to when the stack of returns is empty */
    const u8 *link;          /* called by an exit's stub */
    const u8 *miss;          /* called by an exit's guard; R8 is the guest address */
    const u8 *exit;          /* to the run loop; R8 is the guest address */
    const u8 *jump;          /* R8 is the guest address: through the table of jumps */
    const u8 *find;          /* the same, called: R10 is its entry; see xl_flow.c */
    const u8 *callout, *fpu; /* called with R8 = an instruction's place in the arena */
    const u8 *port;          /* the same, of IN or OUT at CPL 0 */
    const u8 *last_callout;  /* jumped to, likewise, by what ends its block */
    const u8 *lookup;        /* R8 is the guest address, which the table does not know */
    const u8 *trap;          /* R9 = where the host trapped */
    const u8 *slow;          /* called: the instruction, by the interpreter's function */
    /* Called, and go to `slow` where there is more to be done than usual: thunk_sys.c. */
    const u8 *cli, *sti, *pushf, *popf, *rdtsc, *rdtsc_user, *stac, *clac, *clac_if_smap;
    /* The same, by view; [1]: of 4 bytes, not 1. thunk_string.c */
    const u8 *rep_movs[TLB_VIEWS][2], *rep_stos[TLB_VIEWS][2];
    /* The same: ring.c. [CPL 3][register]: R8 is the selector. */
    const u8 *load[2][SEG_COUNT], *sysenter, *sysexit, *cpuid;
    /* R8 from linear to host address, by view and write */
    const u8 *access[TLB_VIEWS][2][ACCESS_SIZES];
    const u8 *find_end, *jump_end, *end; /* of their code */
};

#define ARENA_BYTES MIB(32)    /* of address space for tcodes */
#define CODES       (1u << 18) /* translations at a time */

#define ADAPTED_MOST 4096

/* An INT n, a fault or an IRET as it was the last time: gate.c */
struct gate_change {
    struct ring_change ring;
    u32 age;    /* vcpu->ring_age then */
    u8 vector;  /* of the gate */
    u64 gate;   /* the IDT's bytes */
    u64 cs, ss; /* descriptors of what it leads to */
};
#define EXCEPTIONS   32
#define GATES_OF_INT 4

/* An instruction whose access was slow; those of devices always are. */
struct slow_place {
    const u8 *host; /* in its code */
    const struct tcode *t;
    unsigned n;
};
#define SLOW_PLACES 64

#define CODE_BYTES MIB(40)
#define COLD_AT    MIB(22) /* from here on: what is rarely executed */

/* All that may fill. When the blocks' arena is full, of the other two 15 and 6 MiB are mostly. */
_Static_assert(INTERP_ARENA_BYTES + ARENA_BYTES + CODE_BYTES <= MIB(208),
               "256 MiB beside the guest's memory are allowed; 48 are for everything else");

struct bt {
    struct vcpu *v;
    struct codemem mem;
    size_t used;       /* of mem; thunks come first */
    size_t thunk_used; /* where they end */
    size_t cold_used;  /* of what begins at COLD_AT */
    struct thunks thunk;
    struct tcode **codes; /* in the order of their entries */
    unsigned count;
    struct place_index {
        u32 next;                             /* the first page of mem without an entry */
        u32 before[CODE_BYTES >> PAGE_SHIFT]; /* how many codes begin at or before it */
    } hot_index, cold_index;
    u8 *arena; /* of tcodes */
    size_t arena_used;
    struct tkey key[1 << TKEY_BITS];
    u32 last_key;            /* how many there have been */
    u32 key_mode, key_epoch; /* what `key_made` was made for, which v->code_key was then */
    u64 key_made;
    bool interpret;   /* the next block is for the interpreter */
    bool guards;      /* every link to another page needs a guard */
    bool opened;      /* a page, by a write that is being executed */
    u64 born, undone; /* TSC; links without guards that have been undone */
    u64 trap_address; /* what translated code was accessing when the host trapped, or 0 */
    struct block *adapted[ADAPTED_MOST]; /* blocks with checked accesses in spite of a window */
    unsigned adapted_count;
    unsigned hot;          /* executions after which a block is translated */
    bool traces_at_once;   /* wherever one may begin */
    struct path path;      /* that is being recorded */
    struct tcode *sampled; /* a knock found it running; or NULL */
    u64 sample_set;        /* TSC when the timer was set, and the time halted since */
    u64 halted_at;         /* TSC when the CPU halted; 0: it runs */
    struct hosttrap_timer sampler;
    bool verify;             /* each translation */
    FILE *perf_map;          /* or NULL */
    struct windows *windows; /* or NULL */
    struct returns returns;
    struct gate_change gate[2][EXCEPTIONS + GATES_OF_INT]; /* from CPL 0, from 3; by vector */
    struct gate_change iret, iret_same;
    struct slow_place slow_place[SLOW_PLACES]; /* by host address; empty after a flush */
    struct check *check;                       /* -accel check, or NULL */
    struct bt_stats stats;
};

static inline struct bt *bt_of(const struct vcpu *v)
{
    return v->engine;
}

/* Events that are due: what IF and the NMI block hold back waits, and translated code goes on. The
 * mask changes by call-outs only. */
static inline bool bt_events(struct vcpu *v)
{
    u32 held = v->rflags & FLAG_IF ? 0 : EVENT_INTR;
    held |= v->nmi_blocked ? EVENT_NMI : 0;
    v->event_mask = ~held;
    return vcpu_events(v) & ~held;
}

/* ---- thunk.c ---- */

/* Writes all thunks to the start of code memory. */
void thunks_make(struct bt *bt);
/* Those of thunk_sys.c, at a. */
void thunks_make_sys(struct asm_buf *a, struct thunks *t);
/* Those of thunk_string.c. */
void thunks_make_string(struct asm_buf *a, struct thunks *t);
/* Those of ring.c. */
void thunks_make_ring(struct asm_buf *a, struct thunks *t);
/* What the translation of b may call and jump to, for the verifier. Returns how many. */
unsigned thunks_verify_targets(const struct bt *bt, const struct block *b,
                               struct verify_target target[VERIFY_TARGETS]);
/* 0 .. ACCESS_SIZES - 1. */
unsigned thunk_size_index(unsigned size);

/* ---- cache.c ---- */

/* The translation that a host address (as executed) belongs to, or NULL. @asyncsignalsafe */
struct tcode *tcode_at(const struct bt *bt, const u8 *host);
/* Adds the translation that follows all others. */
void tcode_add(struct bt *bt, struct tcode *t);
/* The guest instruction of it that is there. */
unsigned tcode_insn_at(const struct tcode *t, const u8 *host);
/* Where nothing is known of a return address the table of jumps is asked. */
void tcode_forget_targets(struct bt *bt);
void tcode_link(struct bt *bt, struct texit *x, struct tcode *to);
/* What is not for a return lets pass under the key that there is now. */
void tcode_set_key(const struct vcpu *v, const struct texit *x);
/* EVENT_LINKS: undoes those without guards. Only between blocks. */
void tcode_undo_links(struct vcpu *v);
/* @asyncsignalsafe while translated code runs */
void tcode_unlink_exits(struct bt *bt, struct tcode *t);
/* The block has changed, or is to be translated otherwise: the end of all that it is a part of. */
void tcode_killed(struct vcpu *v, struct block *b);
/* Ends a translation, but no trace of its block with others. */
void tcode_end(struct bt *bt, struct tcode *t);
/* Gives all translations up. */
void tcode_drop_all(struct vcpu *v);
/* Brings v->code_key up to date; after anything that may have changed mode or page tables. */
void tcode_update_key(struct vcpu *v);
/* Remembers the way to a block's translation, for its rip in the current mode. */
void tcode_remember(struct vcpu *v, struct tcode *t);
/* The translation of the block last seen at v->rip, if it still is the right one; or NULL. */
struct tcode *tcode_recall(struct vcpu *v);
/* What the table of jumps knows of v->rip, or NULL. */
u8 *tcode_lookup(struct vcpu *v);

/* What made accesses checked may be over: another program uses the page, an array has been touched
 * for the first time. Called every now and then; each block waits twice as long as the last time.
 */
void bt_try_windows_again(struct bt *bt);

/* ---- translate.c ---- */

/* Which TLB view the accesses of a block in this mode use. */
static inline unsigned bt_view(u32 mode)
{
    if ((mode & MODE_CPL) == 3)
        return TLB_USER;
    return mode & MODE_SMAP ? TLB_KERNEL_SMAP : TLB_KERNEL;
}

/* Whether code in this mode is translated at all. */
static inline bool bt_mode(u32 mode)
{
    const u32 must = MODE_PE | MODE_CS32 | MODE_SS32 | MODE_FLAT;
    const u32 never = MODE_VM | MODE_CS64 | MODE_LMA | MODE_TF | MODE_AC | MODE_BREAK;
    return (mode & (must | never)) == must;
}

/* Makes the translation of a block; NULL when there is no room left. */
struct tcode *translate(struct vcpu *v, struct block *b);
/* The same of a path's blocks, whose instructions `joined` has. */
struct tcode *translate_trace(struct vcpu *v, struct block *joined, const struct path *p);

/* The block that a translation begins with. */
static inline struct block *tcode_head(const struct tcode *t)
{
    return t->trace ? t->trace->part[0].block : t->b;
}
/* The block that instruction n of a translation is from, and which it is there. */
struct block *tcode_home(const struct tcode *t, unsigned *n);

/* ---- x87_track.c ---- */

/* When C code is entered from translated code between blocks or by a call-out; and in the middle of
 * instruction n of t. */
void x87_settle(struct vcpu *v);
void x87_catch_up(struct vcpu *v, const struct tcode *t, unsigned n);

/* ---- xl_string.c ---- */

/* Whether what has trapped at `host` is a repeated string instruction; its registers, which hold
 * addresses in the window at gs, become the guest's again. @asyncsignalsafe */
bool xl_string_trapped(const u8 *host, u64 gs, u64 *rsi, u64 *rdi);

/* ---- ring.c ---- */

/* SYSENTER or SYSEXIT has been executed in mode `from`, and all that follows from it been brought
 * up to date. */
void ring_changed(struct vcpu *v, u32 from);
/* What has come of it; false if that is nothing to be repeated. */
bool ring_now(const struct vcpu *v, u32 from, struct ring_change *c);

/* ---- gate.c ---- */

enum gate_done { GATE_NOT, GATE_DONE };
/* Executes INT n or IRET if it does what it did the last time; *to is where to go on in translated
 * code, or NULL. GATE_NOT: nothing has changed. */
enum gate_done gate_repeat(struct vcpu *v, const struct cached_insn *ci, const u8 **to);
/* It has been executed by the interpreter's function, in mode `from`, and all that follows from it
 * been brought up to date. */
void gate_remember(struct vcpu *v, const struct cached_insn *ci, u32 from);
/* Delivers v->fault, of the instruction at v->rip, as the last one of its vector; false: nothing
 * has changed. */
bool gate_repeat_fault(struct vcpu *v);
/* Whether the instruction at ip might save RF as it is, or cannot be looked at. */
bool gate_may_show_rf(struct vcpu *v, u32 ip);
/* A fault of this vector has been delivered, in mode `from`; as above. */
void gate_remember_fault(struct vcpu *v, unsigned vector, u32 from);

/* ---- run.c ---- */

/* Before translated code is looked for. */
static inline void bt_settle(struct vcpu *v)
{
    struct windows *ws = bt_of(v)->windows;
    if (ws && v->window_settled != 1 + (v->cpl == 3))
        windows_settle(ws);
}

/* Runs translated code from t on. Returns where an unlinked exit was taken, or NULL; v->rip is
 * right. */
const u8 *bt_enter(struct vcpu *v, struct tcode *t);
/* Translated code was left by a longjmp. */
void bt_left(struct vcpu *v);

/* ---- check.c ---- */

/* Executes the block or trace that b->code translates both ways. */
void check_block(struct vcpu *v, struct block *b);
/* Whether a block can be executed twice; others are no parts of traces. */
bool check_repeats(const struct block *b);

/* ---- callout.c: called by thunks. They return where to go on in translated code, or NULL to
 * leave it; v->rip is right then. ---- */

const u8 *callout_insn(struct vcpu *v, const u8 *back, u64 place);
const u8 *callout_port(struct vcpu *v, const u8 *back, u64 place);
const u8 *callout_slow(struct vcpu *v, const u8 *back);
const u8 *callout_lookup(struct vcpu *v, const u8 *back, u64 target);
const u8 *callout_trap(struct vcpu *v, const u8 *where);
const u8 *callout_fpu(struct vcpu *v, const u8 *back, u64 place);

#endif
