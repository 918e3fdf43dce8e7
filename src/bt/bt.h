/* SPDX-License-Identifier: MIT
 *
 * The binary translator: guest code that cannot harm the host runs as it is.
 *
 * Read in this order: this essay, internal.h (what a translation is made of), run.c (from the run
 * loop into translated code and back), translate.c (from bytes to a translation), xl_*.c (one kind
 * of instruction each), callout.c (the only door from translated code to C), thunk.c (the host code
 * that all translations share), cache.c (finding, linking, killing), path.c (translations of
 * several blocks).
 *
 * Vocabulary
 *   block        a run of guest instructions within a page, decoded; it belongs to the interpreter
 *                (cpu/code_cache.h), which executes it until it is worth translating
 *   translation  the host code of a block, or of a trace: blocks that were executed one after the
 *                other
 *   exit         where a translation is left for a guest address known when it was made
 *   link         an exit that jumps straight to another translation
 *   stub         what an exit that is not linked leads to
 *   thunk        a piece of host code that translations call or jump to
 *   call-out     one instruction, executed by the interpreter's function for it
 *
 * Registers while translated code runs (hostreg.h)
 *   guest EAX ECX EDX EBX EBP ESI EDI    the host registers of the same name
 *   guest ESP                            R12
 *   guest OF SF ZF AF PF CF              host RFLAGS; DF is always clear
 *   guest x87, MMX, XMM, YMM             the host's (cpu/fpu.h)
 *   struct vcpu                          R15
 *   constants of the TLB's hash          R13, R14
 *   scratch                              R8 to R11
 *
 * Invariants
 *   1. Translated code reaches memory only through R15, through an address that the TLB has
 * approved for just this access (mem.h's tags, as the interpreter uses them), or by 32 bits of
 * address in the window at GS base (windows.h).
 *   2. At each host instruction of a guest instruction that can trap or call out, registers and
 *      flags are those from before that guest instruction: all code that comes before its first
 *      effect changes nothing but scratch registers. Hence no host flag is ever changed there.
 *   3. A translation may be entered only in the mode (vcpu->mode) and at the linear and physical
 *      address that it was made for. Links within a page keep all three. Everything else names the
 *      mode and the mapping of code by vcpu->code_key (a guarded link, the table of jumps), or goes
 *      through the run loop.
 *   4. A killed translation is never entered again: its links go with it, and a jump to the run
 * loop takes its entry's place. Where C code returns into translated code it looks whether it was
 *      killed under its feet.
 *   5. Code memory is given back only all at once, from the run loop.
 *   6. No translated code polls. An event from another thread knocks (SIGURG): the handler unlinks
 *      the exits of the translation that it has interrupted, so that it is left at the next one,
 *      and clears target_key, without which guards of returns and indirect jumps let nobody pass. C
 *      code that was called looks at the events last of all (thunk.c).
 *   7. RSP is in a stack of its own (returns.h). Of a translation that is left by an exit only
 *      addresses of guards of returns stay there, which are good for any state of the guest.
 */
#ifndef ANELLO_BT_BT_H
#define ANELLO_BT_BT_H

#include "cpu/vcpu.h"

/* NULL when this host can run translated code, else a line that says what it lacks. */
const char *bt_unavailable(void);

/* Code memory and tables of one CPU. False: out of resources (errno). */
bool bt_attach(struct vcpu *v);
void bt_detach(struct vcpu *v);

/* As interp_run(). */
enum vcpu_exit bt_run(struct vcpu *v);

/* The same with each translation compared with the interpreter (-accel check). */
bool check_attach(struct vcpu *v);
void check_detach(struct vcpu *v);

/* What a test may ask for: translations and windows at once. */
struct bt_tuning {
    unsigned hot;        /* executions after which a block is translated */
    u64 window_after;    /* TSC cycles after which an address space gets a window */
    bool traces_at_once; /* traces wherever they may begin */
    /* Writes beside code after which a page's blocks check themselves, for a round; 0: as usual. */
    unsigned beside;
};
void bt_tune(struct vcpu *v, const struct bt_tuning *tuning);

/* Each translation made from now on is verified (bt/verify.h); one that is refused ends the process
 * with status 70. Debug builds start so. */
void bt_verify(struct vcpu *v, bool on);

/* Writes the names of translations to /tmp/perf-PID.map from now on, for Linux perf. False: errno.
 */
bool bt_perf_map(struct vcpu *v);

/* Counters, for --stats and for tests. */
struct bt_stats {
    u64 translations;  /* made */
    u64 insns;         /* guest instructions in them */
    u64 callout_insns; /* of them, executed by call-outs */
    u64 self_checking; /* translations that look whether their code has changed */
    u64 guest_bytes, code_bytes;
    u64 traces;    /* of them, made of several blocks */
    u64 flushes;   /* of all code memory */
    u64 killed;    /* translations, because their code changed */
    u64 links;     /* made */
    u64 misses;    /* of the table of jumps */
    u64 sensitive; /* translations with call-outs */
    u64 io;        /* call-outs of port instructions */
    u64 faults;    /* of the guest */
    u64 callouts;  /* executed */
    u64 slow;      /* accesses that the TLB did not serve */
    u64 traps;     /* of the host on translated code */
    u64 adapted;   /* instructions whose accesses became checked */
    u64 knocks;    /* by other threads */
    u64 entries;   /* from the run loop into translated code */
    u64 verified;  /* translations */
};
const struct bt_stats *bt_stats(const struct vcpu *v);

struct window_stats {
    u64 fills;       /* traps that brought a page */
    u64 pages;       /* that were brought */
    u64 validations; /* of a whole window */
    u64 evictions, promotions, demotions;
};
const struct window_stats *bt_window_stats(const struct vcpu *v);

#endif
