/* SPDX-License-Identifier: MIT
 *
 * Host code for vector and x87 instructions. A *stub* is a little function in executable memory
 * around one instruction: the guest's own, re-encoded for 64-bit mode with
 *
 *   - the memory operand replaced by [rdi], which is the host address of the operand;
 *   - general registers replaced by RAX, copied from or to v->gpr before or after;
 *   - arithmetic flags taken from or left in v->oszapc.
 *
 * Vector, x87 and MMX registers are the guest's, live in the host (cpu/fpu.h). Two guest
 * instructions with the same stub_code share a stub, so there are as many as the guest uses
 * different register and immediate combinations, not as many as it has instructions.
 *
 * Every CPU has its own pool; only its thread touches it. Stubs below STUB_PERMANENT are written
 * once and stay. A guest that needs more gets the rest of the pool as a cache, whose stubs are
 * overwritten when two codes meet in one place: slow, but bounded.
 */
#ifndef ANELLO_CPU_FPU_STUB_H
#define ANELLO_CPU_FPU_STUB_H

#include "cpu/vcpu.h"

#define STUB_COUNT      65536u /* numbers fit insn->stub; number 0 is never used */
#define STUB_PERMANENT  61440u
#define STUB_SLOT_BYTES 32u

/* What a stub does around its instruction. */
enum stub_frame {
    STUB_GPR_IN = 1 << 0,    /* RAX = v->gpr[gpr] before */
    STUB_GPR_OUT = 1 << 1,   /* v->gpr[gpr] = RAX after */
    STUB_FLAGS_IN = 1 << 2,  /* CF, PF, AF, ZF, SF from v->oszapc before */
    STUB_FLAGS_OUT = 1 << 3, /* v->oszapc after */
    STUB_LENGTHS = 1 << 4,   /* RAX, RDX = v->gpr[AX], v->gpr[DX] before (PCMPESTRx) */
    STUB_INDEX = 1 << 5,     /* v->gpr[CX] = RCX after (PCMPxSTRI) */
};

/* Everything that distinguishes two stubs. */
union stub_code {
    struct {
        u64 opcode : 8;
        u64 modrm : 8; /* already normalised: mod 0, rm 7 is [rdi] */
        u64 has_modrm : 1;
        u64 map : 2; /* 0 one-byte (x87), 1 0F, 2 0F38, 3 0F3A */
        u64 pp : 2;
        u64 rex : 4; /* enum insn_rex; VEX bits too */
        u64 vex : 1;
        u64 vex_l : 1;
        u64 vex_v : 4;
        u64 has_imm : 1;
        u64 imm : 8;
        u64 gpr : 4;
        u64 frame : 6; /* enum stub_frame */
    };
    u64 bits;
};

struct fpu_stubs;

typedef void stub_fn(void *operand, struct vcpu *v);

/* NULL with errno when the host gives no memory. */
struct fpu_stubs *fpu_stub_pool_create(void);
void fpu_stub_pool_destroy(struct fpu_stubs *pool);

/* Number of the stub for `code`, made now if there is none. Valid at least until the next call:
 * for good when below STUB_PERMANENT. */
unsigned fpu_stub_find(struct fpu_stubs *pool, union stub_code code);

/* Whether a host address lies in the pool. @asyncsignalsafe */
bool fpu_stub_contains(const struct fpu_stubs *pool, u64 address);

/* The machine code of `code`, as it stands in a slot; returns its length. */
unsigned fpu_stub_assemble(union stub_code code, u8 out[STUB_SLOT_BYTES]);

struct fpu_stubs {
    const u8 *code; /* executable view: slot n at code + n * STUB_SLOT_BYTES */
    u8 *writable;   /* the same memory, writable view */
    unsigned used;  /* permanent stubs; slots 1..used */
    u16 *hash;      /* open addressing: slot numbers by code, 0 empty */
    u64 *key;       /* stub_code bits by slot number */
};

static inline stub_fn *fpu_stub_fn(const struct fpu_stubs *pool, unsigned number)
{
    return (stub_fn *)(uintptr_t)(pool->code + number * STUB_SLOT_BYTES);
}

#endif
