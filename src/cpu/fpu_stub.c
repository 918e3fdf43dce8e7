/* SPDX-License-Identifier: MIT
 *
 * The pool of host stubs (cpu/fpu_stub.h): assembling, finding, and the W^X memory they live in.
 *
 *     mov  rax, [rsi + 8 * gpr]           STUB_GPR_IN
 *     mov  rax, [rsi + 8 * AX]            STUB_LENGTHS
 *     mov  rdx, [rsi + 8 * DX]
 *     mov  eax, [rsi + oszapc]; sahf      STUB_FLAGS_IN
 *     <the guest's instruction>
 *     mov  [rsi + 8 * CX], rcx            STUB_INDEX
 *     mov  [rsi + 8 * gpr], rax           STUB_GPR_OUT
 *     lahf; seto al                       STUB_FLAGS_OUT
 *     mov  [rsi + oszapc], ax
 *     ret
 *
 * Nothing is pushed, so that a stub interrupted by SIGFPE can be left by replacing the program
 * counter alone (cpu/fpu.c).
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/fpu_stub.h"

#define POOL_BYTES   ((size_t)STUB_COUNT * STUB_SLOT_BYTES)
#define HASH_BITS    17
#define HASH_ENTRIES (1u << HASH_BITS)
#define HASH_FACTOR  0x9e3779b97f4a7c15u /* 2^64 divided by the golden ratio */

_Static_assert(HASH_ENTRIES >= 2 * STUB_PERMANENT, "the hash never fills");
_Static_assert(offsetof(struct vcpu, gpr) == 0, "stubs find registers at the start of the vcpu");

/* Opcode bytes of what stands around the instruction. */
enum {
    ESCAPE_0F = 0x0f,
    ESCAPE_38 = 0x38,
    ESCAPE_3A = 0x3a,
    REX_BASE = 0x40,
    VEX3 = 0xc4,
    OPCODE_MOV_LOAD = 0x8b,  /* mov r, r/m */
    OPCODE_MOV_STORE = 0x89, /* mov r/m, r */
    OPCODE_SAHF = 0x9e,
    OPCODE_LAHF = 0x9f,
    OPCODE_SETO = 0x90, /* after 0F */
    OPCODE_RET = 0xc3,
    PREFIX_OPSIZE = 0x66,
    MODRM_RSI_DISP8 = 0x46,  /* [rsi + disp8], reg 0 */
    MODRM_RSI_DISP32 = 0x86, /* [rsi + disp32], reg 0 */
    MODRM_AL = 0xc0,
};

struct out {
    u8 *bytes;
    unsigned len;
};

static void put(struct out *o, unsigned byte)
{
    o->bytes[o->len++] = (u8)byte;
}

/* mov between a host register and v->gpr[gpr]: 64-bit, [rsi + 8 * gpr]. */
static void put_gpr(struct out *o, unsigned opcode, unsigned host_reg, unsigned gpr)
{
    put(o, REX_BASE | REX_W);
    put(o, opcode);
    put(o, MODRM_RSI_DISP8 | host_reg << 3);
    put(o, gpr * 8);
}

/* mov between EAX or AX and v->oszapc. */
static void put_oszapc(struct out *o, unsigned opcode)
{
    u32 at = offsetof(struct vcpu, oszapc);
    put(o, opcode);
    put(o, MODRM_RSI_DISP32);
    for (unsigned i = 0; i < 4; i++)
        put(o, at >> i * 8 & 0xff);
}

/* SDM 2A §2.3.5: C4, R X B inverted and the map, W vvvv inverted L pp. */
static void put_vex(struct out *o, union stub_code c)
{
    unsigned rxb = ~c.rex & (REX_R | REX_X | REX_B);
    put(o, VEX3);
    put(o, rxb << 5 | c.map);
    put(o, (c.rex & REX_W ? 0x80u : 0) | (~c.vex_v & 15) << 3 | c.vex_l << 2 | c.pp);
}

/* Mandatory prefix, REX, escape bytes. */
static void put_legacy(struct out *o, union stub_code c)
{
    static const u8 mandatory[] = {0, PREFIX_OPSIZE, 0xf3, 0xf2};
    if (c.pp)
        put(o, mandatory[c.pp]);
    if (c.rex)
        put(o, REX_BASE | c.rex);
    if (c.map > 0)
        put(o, ESCAPE_0F);
    if (c.map > 1)
        put(o, c.map == 2 ? ESCAPE_38 : ESCAPE_3A);
}

static void put_before(struct out *o, union stub_code c)
{
    if (c.frame & STUB_GPR_IN)
        put_gpr(o, OPCODE_MOV_LOAD, REG_AX, c.gpr);
    if (c.frame & STUB_LENGTHS) {
        put_gpr(o, OPCODE_MOV_LOAD, REG_AX, REG_AX);
        put_gpr(o, OPCODE_MOV_LOAD, REG_DX, REG_DX);
    }
    if (c.frame & STUB_FLAGS_IN) {
        put_oszapc(o, OPCODE_MOV_LOAD);
        put(o, OPCODE_SAHF);
    }
}

static void put_after(struct out *o, union stub_code c)
{
    if (c.frame & STUB_INDEX)
        put_gpr(o, OPCODE_MOV_STORE, REG_CX, REG_CX);
    if (c.frame & STUB_GPR_OUT)
        put_gpr(o, OPCODE_MOV_STORE, REG_AX, c.gpr);
    if (c.frame & STUB_FLAGS_OUT) {
        put(o, OPCODE_LAHF);
        put(o, ESCAPE_0F);
        put(o, OPCODE_SETO);
        put(o, MODRM_AL);
        put(o, PREFIX_OPSIZE);
        put_oszapc(o, OPCODE_MOV_STORE);
    }
    put(o, OPCODE_RET);
}

unsigned fpu_stub_assemble(union stub_code c, u8 out[STUB_SLOT_BYTES])
{
    struct out o = {.bytes = out};
    put_before(&o, c);
    if (c.vex)
        put_vex(&o, c);
    else
        put_legacy(&o, c);
    put(&o, c.opcode);
    if (c.has_modrm)
        put(&o, c.modrm);
    if (c.has_imm)
        put(&o, c.imm);
    put_after(&o, c);
    return o.len;
}

/* The longest: STUB_LENGTHS 8, legacy instruction 7 (66 REX 0F 3A op modrm imm), STUB_INDEX 4,
 * STUB_FLAGS_OUT 11, ret 1. */
_Static_assert(8 + 7 + 4 + 11 + 1 <= STUB_SLOT_BYTES, "a stub fits its slot");

static void write_slot(struct fpu_stubs *pool, unsigned number, union stub_code code)
{
    u8 bytes[STUB_SLOT_BYTES];
    unsigned len = fpu_stub_assemble(code, bytes);
    memcpy(pool->writable + (size_t)number * STUB_SLOT_BYTES, bytes, len);
    pool->key[number] = code.bits;
}

/* Code that was executed before has changed through another linear address: the CPU wants a
 * serializing instruction (SDM 3A §8.1.3). CPUID is the one that user code may use everywhere. */
static void serialize(void)
{
    u32 a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

/* The part of the pool that is a cache: one place for each hash, overwritten on a conflict. */
static unsigned find_replaceable(struct fpu_stubs *pool, union stub_code code, u64 hash)
{
    unsigned number = STUB_PERMANENT + (unsigned)(hash % (STUB_COUNT - STUB_PERMANENT));
    if (pool->key[number] != code.bits) {
        write_slot(pool, number, code);
        serialize();
    }
    return number;
}

unsigned fpu_stub_find(struct fpu_stubs *pool, union stub_code code)
{
    u64 hash = (code.bits * HASH_FACTOR) >> (64 - HASH_BITS);
    u64 at = hash;
    for (; pool->hash[at]; at = (at + 1) & (HASH_ENTRIES - 1)) {
        if (pool->key[pool->hash[at]] == code.bits)
            return pool->hash[at];
    }
    if (pool->used + 1 >= STUB_PERMANENT)
        return find_replaceable(pool, code, hash);
    unsigned number = ++pool->used;
    write_slot(pool, number, code);
    pool->hash[at] = (u16)number;
    return number;
}

bool fpu_stub_contains(const struct fpu_stubs *pool, u64 address)
{
    return address - (u64)(uintptr_t)pool->code < POOL_BYTES;
}

static void *map(size_t bytes, int prot, int flags, int fd)
{
    void *p = mmap(NULL, bytes, prot, flags, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Both views of the code; the pages are committed as stubs fill them. */
static bool map_code(struct fpu_stubs *pool)
{
    int fd = memfd_create("fpu-stubs", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    if (ftruncate(fd, POOL_BYTES) == 0) {
        pool->writable = map(POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
        pool->code = map(POOL_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
    }
    int error = errno;
    close(fd);
    errno = error;
    return pool->writable && pool->code;
}

#define HASH_BYTES (HASH_ENTRIES * sizeof(u16))
#define KEY_BYTES  (STUB_COUNT * sizeof(u64))

static void unmap(const void *p, size_t bytes)
{
    if (p)
        munmap((void *)(uintptr_t)p, bytes);
}

void fpu_stub_pool_destroy(struct fpu_stubs *pool)
{
    if (!pool)
        return;
    unmap(pool->writable, POOL_BYTES);
    unmap(pool->code, POOL_BYTES);
    unmap(pool->hash, HASH_BYTES);
    unmap(pool->key, KEY_BYTES);
    unmap(pool, sizeof *pool);
}

struct fpu_stubs *fpu_stub_pool_create(void)
{
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS, rw = PROT_READ | PROT_WRITE;
    struct fpu_stubs *pool = map(sizeof *pool, rw, anonymous, -1);
    if (!pool)
        return NULL;
    pool->hash = map(HASH_BYTES, rw, anonymous, -1);
    pool->key = map(KEY_BYTES, rw, anonymous, -1);
    if (!pool->hash || !pool->key || !map_code(pool)) {
        int error = errno;
        fpu_stub_pool_destroy(pool);
        errno = error;
        return NULL;
    }
    return pool;
}
