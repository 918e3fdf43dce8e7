/* SPDX-License-Identifier: MIT
 *
 * The state of one virtual CPU, as the architecture defines it, plus what the engines keep beside
 * it. 64-bit from the first day: IA-32 is a mode of it. Nothing here knows a device; the board is
 * reached by struct vcpu_hooks.
 *
 * Rules that every function of this layer keeps:
 *  1. Guest faults leave by cpu_raise*() (cpu/excp.h), which never return: they land in the run
 *     loop. Nothing architectural may have changed before, except what the manual says changes.
 *  2. rip: an operation that ends a block (a row with ENDS) or that needs its own address finds it
 *     in v->rip, and sets v->rip to the next instruction's address before it returns. For all other
 *     operations v->rip is stale and stays untouched; when they fault, the run loop knows where.
 *     A fault of a task switch belongs to the new task: then rip has moved and v->at is NULL.
 *  3. The arithmetic flags live apart from rflags: only cpu/flags.h reads or writes them.
 *  4. After CR0, CR3, CR4, EFER, CPL, CS, SS, RFLAGS.VM/TF/AC or paging structures in use change,
 *     call the function named at the field (vcpu_mode_changed(), tlb_flush*()).
 *  5. This layer is compiled with -mgeneral-regs-only: guest x87/vector state may be live in the
 *     host registers (cpu/fpu.h). Before calling out of the layer (hooks, libc functions that may
 *     use vector registers) it is put away by fpu_put_away().
 */
#ifndef ANELLO_CPU_VCPU_H
#define ANELLO_CPU_VCPU_H

#include <pthread.h>
#include <setjmp.h>

#include "base/bits.h"
#include "base/log.h"
#include "bus/physmem.h"
#include "cpu/insn.h"

/* ---- RFLAGS (SDM 1 §3.4.3) ---- */
enum rflags {
    FLAG_CF = 1 << 0,
    FLAG_ONE = 1 << 1, /* always set */
    FLAG_PF = 1 << 2,
    FLAG_AF = 1 << 4,
    FLAG_ZF = 1 << 6,
    FLAG_SF = 1 << 7,
    FLAG_TF = 1 << 8,
    FLAG_IF = 1 << 9,
    FLAG_DF = 1 << 10,
    FLAG_OF = 1 << 11,
    FLAG_IOPL = 3 << 12,
    FLAG_NT = 1 << 14,
    FLAG_RF = 1 << 16,
    FLAG_VM = 1 << 17,
    FLAG_AC = 1 << 18,
    FLAG_VIF = 1 << 19,
    FLAG_VIP = 1 << 20,
    FLAG_ID = 1 << 21,
    FLAG_OSZAPC = FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF,
};
#define FLAG_IOPL_SHIFT 12

/* ---- Control registers (SDM 3A §2.5) ---- */
enum cr0_bits {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
};
#define CR0_PG ((u64)1 << 31)

enum cr4_bits {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_PCE = 1 << 8,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
};

enum efer_bits { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

/* ---- Exceptions (SDM 3A §6.3) ---- */
enum vector {
    VEC_DE = 0,
    VEC_DB = 1,
    VEC_NMI = 2,
    VEC_BP = 3,
    VEC_OF = 4,
    VEC_BR = 5,
    VEC_UD = 6,
    VEC_NM = 7,
    VEC_DF = 8,
    VEC_CSO = 9,
    VEC_TS = 10,
    VEC_NP = 11,
    VEC_SS = 12,
    VEC_GP = 13,
    VEC_PF = 14,
    VEC_MF = 16,
    VEC_AC = 17,
    VEC_MC = 18,
    VEC_XM = 19,
};

/* ---- Debug registers (SDM 3B §17.2) ---- */
enum dr6_bits {
    DR6_B = 0xf, /* B3..B0: conditions of the four breakpoints */
    DR6_BD = 1 << 13,
    DR6_BS = 1 << 14,
    DR6_BT = 1 << 15,
};
#define DR6_FIXED ((u64)0xffff0ff0)
enum dr7_bits {
    DR7_ENABLES = 0xff, /* L0 G0 .. L3 G3 */
    DR7_LOCAL_ENABLES = 0x55,
    DR7_LE = 1 << 8,
    DR7_GE = 1 << 9,
    DR7_FIXED = 1 << 10,
    DR7_GD = 1 << 13,
};

/* ---- Segments (SDM 3A §3.4.5) ---- */
enum seg_attr {                 /* descriptor bits 40..55 moved down to bit 0 */
                SEG_TYPE = 0xf, /* with S: bit 3 code, 2 expand-down/conforming, 1 write/read, 0
                                   accessed */
                SEG_ACCESSED = 1 << 0,
                SEG_WRITABLE = 1 << 1, /* data; readable for code */
                SEG_EXPAND_DOWN = 1 << 2,
                SEG_CONFORMING = 1 << 2,
                SEG_CODE = 1 << 3,
                SEG_S = 1 << 4,
                SEG_DPL = 3 << 5,
                SEG_PRESENT = 1 << 7,
                SEG_AVL = 1 << 12,
                SEG_L = 1 << 13,
                SEG_DB = 1 << 14,
                SEG_G = 1 << 15,
};
#define SEG_DPL_SHIFT 5

struct segment {
    u64 base;
    u32 limit; /* in bytes, granularity applied */
    u16 attr;  /* enum seg_attr */
    u16 sel;
    u32 unusable; /* 1: a null selector was loaded: any access faults (outside 64-bit mode) */
    u32 limited;  /* 0: any access is inside the limit and allowed; else SEGMENT_LIMITED. Made with
                     `end`. Emitted code adds both, as 64 bits, to where it reads the base */
    u64 end[2];   /* [write]: accesses that end at or below this offset are allowed without further
                     checks; 0 when none are. Made by vcpu_mode_changed() */
    u64 end_of;   /* what `end` was made from */
};

struct table_reg {
    u64 base;
    u16 limit;
};

/* No address of the host's is canonical with this in its upper half. */
#define SEGMENT_LIMITED ((u32)1 << 30)
_Static_assert(offsetof(struct segment, limited) == offsetof(struct segment, unusable) + 4,
               "both are read as one");

/* A descriptor of the GDT as DS, ES, FS or GS were loaded with it. As long as the same bytes are
 * there (v->gdt_host), loading it gives the same. Read by emitted code: see seg_remember(). */
struct seg_loaded {
    u64 minus_bytes;    /* the descriptor's, negative */
    u32 minus_tag;      /* negative; 0: nothing is known */
    u32 minus_flat_tag; /* likewise; 0 unless the segment is flat */
    struct segment seg;
};
_Static_assert(sizeof(struct seg_loaded) == 64, "emitted code scales its index");
#define SEG_LOADED 32 /* selectors below 8 times this are remembered */

/* What its tags are made of: the selector, and from which level it was loaded. */
static inline u32 seg_tag(u16 sel, unsigned cpl)
{
    return sel | (cpl + 1) << 16;
}

/* What CPUID gave for a leaf; what may change that forgets it (cpuid_forget()). */
struct cpuid_known {
    u32 minus_leaf, minus_subleaf; /* negative */
    u32 eax, ebx, ecx, edx;
    u32 unused[2];
};
_Static_assert(sizeof(struct cpuid_known) == 32, "emitted code scales its index");
#define CPUID_KNOWN       32
#define CPUID_KNOWN_INDEX 0x8000000fu /* the bits of a leaf that are the index */

#define JOURNAL_PAGING UINT64_MAX

/* ---- Software TLB ---- */
#define TLB_BITS    10
#define TLB_ENTRIES (1u << TLB_BITS)
#define TLB_NO_PAGE UINT64_MAX

/* One page. A tag is the linear page address when that kind of access may go straight to host
 * memory at (la + addend), else TLB_NO_PAGE. An access of n bytes at la hits when the entry of la
 * holds the page of its *last* byte: a crossing access therefore always misses. The lower half
 * serves the slow path, which also knows pages that may not be accessed directly. */
struct tlb_entry {
    u64 read, write, exec;
    u64 addend;
    u64 offset; /* of the page in the guest memfd, when kind is RAM or ROM */
    u64 pa;     /* of the page, guest-physical */
    u64 page;   /* linear page that offset, pa, kind and allowed tell about, or TLB_NO_PAGE */
    u8 kind;    /* enum phys_kind */
    u8 allowed; /* bit 1 << enum access: the page tables say yes, and A and D are set for it */
    u32 code;   /* not 0: nothing but code of this CPU keeps `write` from being a tag; its record
                   (struct page_record) is so many bytes behind v->interp */
};
_Static_assert(sizeof(struct tlb_entry) == 64, "an entry is a cache line");

/* What the TLB has lost or restricted. */
enum map_change {
    MAP_ALL,    /* anything: the physical map, the format of paging entries, marks of pages */
    MAP_SPACE,  /* all that is not global */
    MAP_LINEAR, /* the page at this linear address */
    MAP_MARKED, /* permission to write the page at this offset of the memfd */
};

/* Which view: what user code may touch, what the kernel may touch, and what the kernel may touch
 * with SMAP forbidding user pages. */
enum tlb_view { TLB_USER, TLB_KERNEL, TLB_KERNEL_SMAP, TLB_VIEWS };

/* ---- Events from outside, a bit each in vcpu->events ---- */
enum vcpu_event {
    EVENT_INTR = 1 << 0, /* level: the interrupt controller has something */
    EVENT_NMI = 1 << 1,
    EVENT_INIT = 1 << 2,
    EVENT_SIPI = 1 << 3,
    EVENT_STOP = 1 << 4,  /* leave the run loop at the next boundary */
    EVENT_FLUSH = 1 << 5, /* physical map or page marks changed: flush the TLB */
    EVENT_CODE = 1 << 6,  /* another thread wrote to pages with code: see interp/bt */
    EVENT_LINKS = 1 << 7, /* map_epoch[1] is another one, and links hang on it: see bt */
};

/* Why a run ended. */
enum vcpu_exit {
    VCPU_EXIT_STOP,     /* EVENT_STOP */
    VCPU_EXIT_HALT,     /* HLT with nothing pending: wait for an event */
    VCPU_EXIT_SHUTDOWN, /* triple fault */
};

/* The board, as seen by a CPU. Hooks take the board lock themselves. */
struct vcpu_hooks {
    u32 (*port_read)(void *opaque, u16 port, unsigned size);
    void (*port_write)(void *opaque, u16 port, u32 value, unsigned size);
    u64 (*mmio_read)(void *opaque, u64 pa, unsigned size); /* 1..8 bytes, any alignment */
    void (*mmio_write)(void *opaque, u64 pa, u64 value, unsigned size);
    /* INTA cycle: the vector, or -1 when the request went away. */
    int (*interrupt_ack)(void *opaque);
    /* Task-priority register: CR8 in bits 3..0. */
    u64 (*cr8_read)(void *opaque);
    void (*cr8_write)(void *opaque, u64 value);
    /* MSRs that belong to the local APIC (APIC_BASE, x2APIC). False: no such MSR. */
    bool (*apic_msr_read)(void *opaque, u32 msr, u64 *value);
    bool (*apic_msr_write)(void *opaque, u32 msr, u64 value);
    /* x87 error with CR0.NE clear (IGNNE#/FERR#): drives IRQ 13. */
    void (*ferr)(void *opaque);
    void *opaque;
};

enum cpu_feature_words {
    FEAT_1_EDX,
    FEAT_1_ECX,
    FEAT_7_EBX,
    FEAT_7_ECX,
    FEAT_7_EDX,
    FEAT_81_EDX,
    FEAT_81_ECX,
    FEAT_D1_EAX,
    FEAT_6_EAX,
    FEAT_WORDS
};

/* XSAVE area, standard format: legacy FXSAVE region, header, AVX state. */
#define FPU_IMAGE_BYTES 832
struct fpu_image {
    u8 bytes[FPU_IMAGE_BYTES];
} __attribute__((aligned(64)));

/* What SYSENTER or SYSEXIT did last from one mode, as long as it would do the same again: see
 * bt/ring.c. Flat segments differ in selector and rights only. */
struct ring_change {
    u32 minus_mode; /* that it starts from, negative; 0: nothing is known */
    u32 mode;       /* that it leads to */
    u32 cs, ss;     /* struct segment: attr, and sel above it */
    union {
        u32 at_ring; /* as in struct vcpu */
        struct {
            u8 cpl, view, sys_view, window_settled;
        };
    };
    u64 code_key, code_key_smap, window;
};

#define MODE_SHIFT_CPL 0
enum mode_bits {                    /* the mode word: what translations and cached decodes assume */
                 MODE_CPL = 3 << 0, /* 0..3 */
                 MODE_CS32 = 1 << 2, /* CS.D */
                 MODE_SS32 = 1 << 3, /* SS.B */
                 MODE_CS64 = 1 << 4, /* 64-bit submode */
                 MODE_LMA = 1 << 5,  /* long mode active */
                 MODE_PE = 1 << 6,
                 MODE_VM = 1 << 7, /* virtual-8086 */
                 MODE_PG = 1 << 8,
                 MODE_PAE = 1 << 9,
                 MODE_FLAT = 1 << 10, /* CS, DS, ES, SS: base 0, limit 4G, usable, right types */
                 MODE_TS = 1 << 11,
                 MODE_EM = 1 << 12,
                 MODE_MP = 1 << 13,
                 MODE_TF = 1 << 14,
                 MODE_AC = 1 << 15, /* alignment checks in force: CR0.AM, EFLAGS.AC, CPL 3 */
                 MODE_OSFXSR = 1 << 16,
                 MODE_OSXSAVE = 1 << 17,
                 MODE_AVX = 1 << 18,   /* XCR0 enables SSE and AVX */
                 MODE_BREAK = 1 << 19, /* look before each instruction: some breakpoint in DR7 is
                                          enabled, or vcpu_virtual_intr_due() */
                 MODE_UMIP = 1 << 20,
                 MODE_FLAT_CS = 1 << 21, /* CS base 0 (limit may be anything) */
                 MODE_XONLY = 1 << 22,   /* CS cannot be read */
                 MODE_SMAP = 1 << 24,    /* user pages are forbidden to explicit accesses */
                 MODE_WINDOW = 1 << 25,  /* a window is in use (src/bt/windows.h) */
                 MODE_DF = 1 << 26,
};

#define RECENT_EVENTS 16
#define TARGETS       4096

struct interp;
struct uop;

/* Index of `zero` counted from gpr[0]. */
#define REG_ZERO 17

struct vcpu {
    /* Integer state. Offsets are used by emitted code: keep these first. */
    u64 gpr[16];
    u64 rip;
    u64 zero;   /* always 0: what an absent base or index register reads (REG_ZERO) */
    u64 rflags; /* without OSZAPC: use cpu/flags.h */
    u16 oszapc; /* the arithmetic flags as the host's LAHF and SETO give them: cpu/flags.h */
    u32 mode;   /* enum mode_bits; vcpu_mode_changed() computes it */
    struct {    /* the part of it that control registers decide, and what they were */
        u32 mode;
        u64 cr0, cr4, efer, xcr0, dr7;
    } control;
    u32 events; /* enum vcpu_event, atomic */
    union {
        u32 at_ring; /* all of these, for who changes rings */
        struct {
            u8 cpl;
            u8 view;           /* enum tlb_view of explicit accesses; vcpu_mode_changed() */
            u8 sys_view;       /* and of the CPU's own to descriptor tables and TSS */
            u8 window_settled; /* `window` needs no look: 1 at CPL 0..2, 2 at CPL 3; 0: it does */
        };
    };

    struct segment seg[SEG_COUNT], ldtr, tr;
    struct table_reg gdtr, idtr;
    u64 cr0, cr2, cr3, cr4, efer, xcr0;
    u64 dr[8];    /* 4 and 5 unused */
    u64 pdpte[4]; /* PAE: loaded by MOV CR3 (SDM 3A §4.4.1) */

    /* MSRs */
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    u64 pat, mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    u64 misc_enable; /* enum misc_enable_bits */
    u64 feature_control, mcg_status, tsc_adjust, spec_ctrl;
    i64 tsc_offset; /* guest TSC = host TSC + offset */

    /* Delivery in progress and one-instruction states */
    u8 shadow; /* enum shadow: what the next instruction boundary must not take */
    bool halted;
    bool wait_for_sipi; /* an application processor after reset or INIT */
    bool nmi_blocked;
    int delivering;   /* exception being delivered, -1 none: double and triple faults */
    bool external;    /* delivery of an event that is not INT n: EXT in error codes */
    u32 pending_db;   /* DR6 bits of debug traps to take at the next boundary that allows it */
    jmp_buf *landing; /* of the run loop */
    /* The fault that landed: read by the run loop only. */
    struct {
        u8 vector;
        bool has_error;
        u32 error;
        u64 cr2;
    } fault;

    struct fpu_image fpu; /* guest x87/SSE/AVX when not live in the host: cpu/fpu.h */
    bool fpu_live;
    bool fpu_unmasked;       /* the control word unmasks something, so errors may be pending */
    u8 fpu_components;       /* XSAVE components to switch; 0: the host has FXSAVE only */
    u32 fpu_mxcsr_mask;      /* bits of MXCSR that the host allows to be set */
    struct fpu_stubs *stubs; /* host code of vector and x87 instructions: cpu/fpu_stub.c */
    u64 fpu_ip, fpu_dp;      /* last non-control x87 instruction and operand */
    u32 fpu_op;
    u16 fpu_cs, fpu_ds;
    bool fpu_dp_on_error;  /* CPUID FDP_EXCPTN_ONLY: fpu_dp and fpu_op are of the last error */
    u32 x87_last, x87_mem; /* what these do not tell yet: bt/x87_track.c; 0 while C code runs */

    /* What translated code (src/bt) reads and what it is told. */
    u64 code_key;      /* bits 63..32: names the mapping of code that `jumps` is looked up with */
    u64 code_key_smap; /* the same for the mode that differs from v->mode in MODE_SMAP */
    void *jumps;       /* the translator's table of indirect jumps */
    u64 string_source; /* scratch of thunks */
    u64 target_key;    /* code_key, or 0 after a knock: returns look at it */
    u64 c_rsp;         /* the stack of C code, while translated code runs on its own */
    u64 returns_rsp;   /* where its own stack is, while C code runs: bt/returns.h */
    i32 sp_ahead;      /* the guest's ESP less its register, where translated code goes on */
    u32 rf_ahead;      /* RF if an event comes before it does, else not */
    u32 jump_patience; /* jumps by the table until C looks at one; 0: at this one */
    u32 patience;      /* misses of guards until one's link is made anew */
    u32 beside_wait;   /* writes beside code until C makes one; 0: this one */
    u32 event_mask;    /* the events that translated code is left for; see bt/internal.h */
    u32 jump_to;       /* target of an indirect call while its return address is pushed */
    bool inside;       /* translated code is running: events must knock */
    void (*knock)(
        struct vcpu *v); /* another thread set an event while `inside`. @asyncsignalsafe */
    /* NULL, or told of RAM (at this offset of the memfd; within a page) before it is written by way
     * of the TLB, and (JOURNAL_PAGING) of A and D bits that were set; then no write is direct but
     * where tlb_open_writes() says so. */
    void (*journal)(struct vcpu *v, u64 offset, unsigned size, struct tlb_entry *by);
    u32 window_mode[2];         /* mode bits that the translator adds, [1] at CPL 3 */
    u64 window;                 /* host address of the one in use: bt/windows.c */
    struct ring_change ring[2]; /* to ring 0, to ring 3 */
    u32 ring_age;               /* how often they have been forgotten */
    const u8 *targets[TARGETS]; /* where jumps and returns to an address lead; see bt/internal.h */
    u64 target_tags[TARGETS];   /* address | code_key that each is meant for, inverted */
    struct cpuid_known cpuid_known[CPUID_KNOWN];
    const u8 *gdt_host; /* where the first SEG_LOADED descriptors of the GDT are, or gdt_none */
    u8 gdt_none[SEG_LOADED * 8]; /* zeros */
    struct seg_loaded seg_loaded[SEG_LOADED];
    /* NULL, or told that the TLB has lost or restricted entries. On the CPU's own thread. */
    void (*map_changed)(struct vcpu *v, enum map_change what, u64 where);
    u32 map_epoch[2]; /* of code at CPL 3, and of all other: differs when a linear address that code
                         was run from may lead elsewhere */
    bool map_links;   /* the translator has links that hang on map_epoch[1] */
    struct code_map *code_map; /* what they hang on: cpu/code_map.c */

    struct tlb_entry tlb[TLB_VIEWS][TLB_ENTRIES] __attribute__((aligned(64)));
    u64 tlb_used[TLB_VIEWS][TLB_ENTRIES / 64];   /* entries that a flush must visit */
    u64 tlb_global[TLB_VIEWS][TLB_ENTRIES / 64]; /* of them, those that survive MOV CR3 */
    u64 tlb_large_lo, tlb_large_hi; /* linear range that large pages cover, for INVLPG */

    /* Configuration */
    u32 feature[FEAT_WORDS]; /* the CPUID bits that this CPU shows */
    const struct cpu_model *model;
    unsigned index;   /* 0 = bootstrap processor */
    u8 phys_bits;     /* MAXPHYADDR: paging structure bits above are reserved */
    u8 sipi_vector;   /* of EVENT_SIPI */
    u64 a20_mask;     /* ANDed to physical addresses: vcpu_set_a20() */
    pthread_t thread; /* that runs this CPU: vcpu_bind_thread() */
    struct physmem *pm;
    struct phys_listener listener;
    /* Bytes of a PAGE_CODE page are about to change, by this CPU (on its own thread) or by another
     * agent. Installed by the engine; may be NULL. */
    void (*code_written)(struct vcpu *v, u64 offset, u32 size);
    struct vcpu_hooks hooks;
    struct log *log;
    struct interp *interp; /* its code cache: cpu/interp.c */
    const struct uop *at;  /* what the interpreter is executing; NULL: rip is right as it stands */
    i64 budget;            /* instructions left in this run of the interpreter */
    void *engine;          /* translator's private state */

    /* What was delivered last, oldest overwritten: told when the CPU shuts down (cpu/dump.h). */
    struct recent_event {
        u64 rip, cr2;
        u32 error;
        u16 cs;
        u8 vector, source; /* enum int_source */
    } recent[RECENT_EVENTS];
    u32 recent_count; /* delivered since reset; the next goes to this index modulo RECENT_EVENTS */

    unsigned msr_reports; /* unknown MSRs that the user was told of */

    /* Counters */
    u64 instructions; /* executed by the interpreter */
    u64 irqs_delivered;
    u64 mmio_accesses;
};

/* What an instruction asks of the boundary after it. While v->shadow is not 0 the run loop goes one
 * instruction at a time and calls excp_boundary() before each. */
enum shadow {
    SHADOW_STI = 1 << 0,     /* STI: no maskable interrupts at this boundary */
    SHADOW_MOVSS = 1 << 1,   /* MOV/POP SS: no interrupts, NMI or debug exceptions */
    SHADOW_RF = 1 << 2,      /* IRET loaded RF: it lasts until after the next instruction */
    SHADOW_NO_STEP = 1 << 3, /* control went through a gate: TF at its start traps no more */
    SHADOW_REP = 1 << 4,     /* stopped between two iterations, rip unchanged */
    SHADOW_OVER = 1 << 5,    /* the instruction in the shadow has run: set by excp_boundary() */
};

/* Makes a CPU in its power-on state. `model` as in -cpu ("pentium3,-sse"); NULL: the default.
 * On failure returns NULL and sets *error to a message for the user (static storage). */
struct vcpu *vcpu_create(struct physmem *pm, const struct vcpu_hooks *hooks, struct log *log,
                         unsigned index, const char *model, const char **error);
void vcpu_destroy(struct vcpu *v);

/* RESET: SDM 3A table 9-1. INIT keeps caches, FPU and most MSRs. */
void vcpu_reset(struct vcpu *v);
void vcpu_init_signal(struct vcpu *v);
/* SIPI: starts at vector * 4 KiB in real mode. */
void vcpu_startup(struct vcpu *v, u8 vector);

/* Sends the start-up message, from any thread; the caller wakes the CPU. */
void vcpu_send_sipi(struct vcpu *v, u8 vector);

/* A virtual interrupt is pending and enabled for the program of virtual-8086 mode or of ring 3 that
 * runs: #GP before its next instruction, at any IOPL (SDM 3B §20.3.2, §20.4). */
bool vcpu_virtual_intr_due(const struct vcpu *v);

/* What v->ring tells may not hold any more, nor what others have noted at this ring_age. */
static inline void vcpu_forget_rings(struct vcpu *v)
{
    v->ring_age++;
    v->ring[0].minus_mode = v->ring[1].minus_mode = 0;
}

/* Recomputes mode, views and the segments' quick limits from the registers. */
void vcpu_mode_changed(struct vcpu *v);
/* The same when nothing but ES, DS, FS or GS has changed. */
void vcpu_data_segment_changed(struct vcpu *v, unsigned s);

/* The calling thread runs this CPU from now on (vcpu_create() names its caller). */
void vcpu_bind_thread(struct vcpu *v);
static inline bool vcpu_on_own_thread(const struct vcpu *v)
{
    return pthread_equal(pthread_self(), v->thread);
}

/* Opens or closes address line 20; from any thread. */
void vcpu_set_a20(struct vcpu *v, bool open);

/* Host TSC ticks plus the offset: what RDTSC shows. */
u64 vcpu_tsc(const struct vcpu *v);

/* Sets event bits, from any thread. @asyncsignalsafe The caller wakes a halted CPU itself. */
static inline void vcpu_event_set(struct vcpu *v, u32 bits)
{
    __atomic_fetch_or(&v->events, bits, __ATOMIC_SEQ_CST);
    if (UNLIKELY(__atomic_load_n(&v->inside, __ATOMIC_SEQ_CST)))
        v->knock(v);
}
static inline void vcpu_event_clear(struct vcpu *v, u32 bits)
{
    __atomic_fetch_and(&v->events, ~bits, __ATOMIC_SEQ_CST);
}
static inline u32 vcpu_events(const struct vcpu *v)
{
    return __atomic_load_n(&v->events, __ATOMIC_RELAXED);
}

/* Guest address that a HLT-woken or interrupted CPU would show; masks of the current code size. */
static inline u64 vcpu_ip_mask(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? ~(u64)0 : v->mode & MODE_CS32 ? 0xffffffffu : 0xffffu;
}
static inline bool vcpu_long_mode(const struct vcpu *v)
{
    return v->efer & EFER_LMA;
}
static inline bool vcpu_protected(const struct vcpu *v)
{
    return (v->mode & (MODE_PE | MODE_VM)) == MODE_PE;
}
static inline bool vcpu_has(const struct vcpu *v, unsigned word, unsigned bit)
{
    return v->feature[word] >> bit & 1;
}

/* Moves rip past the instruction, for operations under rule 2. */
static inline void vcpu_advance(struct vcpu *v, const struct insn *in)
{
    u64 mask = v->mode & MODE_CS64 ? ~(u64)0 : 0xffffffffu;
    v->rip = (v->rip + in->len) & mask;
}

/* An operation's meaning. */
typedef void (*exec_fn)(struct vcpu *v, const struct insn *in);

#endif
