/* SPDX-License-Identifier: MIT
 *
 * What is not compared, and why:
 *   - FOP, FIP, FDP and their selectors: new CPUs set them on unmasked errors only;
 *   - the XSAVE header and the area behind the XMM registers: the kernel's business;
 *   - CR2 and error code of faults that have none;
 *   - RF in the flags that a fault saves;
 *   - of instructions that the host makes of several accesses (FSTP of 80 bits, FNSAVE, FXSAVE,
 * ...) and that fault across pages: the offset in CR2, and what was stored before the fault;
 *   - OF after a rotation by more than 1, which is made as the 386 does (cpu/alu.h).
 * Other flags that the manual leaves undefined are compared: we take them from the host.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/decode.h"
#include "cpu/disasm.h"
#include "cpu/excp.h"
#include "cpu/fpu_image.h"
#include "cpu/optable.h"
#include "cpu/paging.h"
#include "guest_exec.h"
#include "insn_diff.h"

enum { PREFIX_REX = 0x40, PREFIX_OPSIZE = 0x66, OPCODE_ESCAPE = 0x0f };

enum { GUEST_64, GUEST_32, GUEST_COMPAT, GUESTS };

struct insn_diff {
    struct guest_exec *guest[GUESTS];
    u8 *host_code; /* writable view */
    u8 *host_data; /* writable view of CASE_DATA and CASE_ROM */
    u8 pattern[CASE_ALL_BYTES];
    u64 not_compared;
};

static const char *const gpr_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

/* ---- The host's pages ---- */

/* Maps a memfd at a fixed address with the protection that the instruction meets, and once more
 * for us. */
static u8 *map_twice(u32 la, size_t bytes, int prot, size_t prot_bytes)
{
    int fd = memfd_create("insn", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        return NULL;
    u8 *view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    void *at = mmap((void *)(uintptr_t)la, bytes, prot,
                    MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0);
    close(fd);
    if (view == MAP_FAILED || at == MAP_FAILED)
        return NULL;
    if (prot_bytes < bytes)
        mprotect((u8 *)at + prot_bytes, bytes - prot_bytes, PROT_READ);
    return view;
}

struct insn_diff *insn_diff_create(void)
{
    struct insn_diff *d = calloc(1, sizeof *d);
    d->guest[GUEST_64] = guest_exec_create(64, true);
    d->guest[GUEST_32] = guest_exec_create(32, false);
    d->guest[GUEST_COMPAT] = guest_exec_create(32, true);
    d->host_code = map_twice(CASE_CODE, PAGE_BYTES, PROT_READ | PROT_EXEC, PAGE_BYTES);
    d->host_data = map_twice(CASE_DATA, CASE_ALL_BYTES, PROT_READ | PROT_WRITE, CASE_DATA_BYTES);
    for (unsigned i = 0; i < CASE_ALL_BYTES; i++)
        d->pattern[i] = (u8)(i * 0x9d >> 3 ^ i >> 8);
    if (!d->guest[0] || !d->guest[1] || !d->guest[2] || !d->host_code || !d->host_data ||
        !host_exec_init()) {
        insn_diff_destroy(d);
        return NULL;
    }
    memcpy(d->host_data, d->pattern, CASE_ALL_BYTES);
    for (unsigned i = 0; i < GUESTS; i++)
        memcpy(guest_exec_data(d->guest[i]), d->pattern, CASE_ALL_BYTES);
    return d;
}

void insn_diff_destroy(struct insn_diff *d)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        if (d->guest[i])
            guest_exec_destroy(d->guest[i]);
    }
    munmap((void *)(uintptr_t)CASE_CODE, PAGE_BYTES);
    munmap((void *)(uintptr_t)CASE_DATA, CASE_ALL_BYTES);
    free(d);
}

u64 insn_diff_not_compared(const struct insn_diff *d)
{
    return d->not_compared;
}

const u32 *insn_diff_features(const struct insn_diff *d)
{
    return guest_exec_cpu(d->guest[GUEST_64])->feature;
}

/* ---- Comparison ---- */

struct report {
    char *text;
    size_t size, len;
    bool differs;
};

static void differ(struct report *r, const char *what, u64 host, u64 guest)
{
    if (r->len < r->size)
        r->len += (size_t)snprintf(r->text + r->len, r->size - r->len,
                                   "  %-12s host %016llx guest %016llx\n", what,
                                   (unsigned long long)host, (unsigned long long)guest);
    r->differs = true;
}

static void compare(struct report *r, const char *what, u64 host, u64 guest)
{
    if (host != guest)
        differ(r, what, host, guest);
}

static bool has_error_code(unsigned vector)
{
    return (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_DF || vector == VEC_AC;
}

/* The host's microcode has its own order of accesses and checks. */
static bool is_split(const struct insn_case *c)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK)
        return false;
    if (in.op == OP_MASKMOVDQU || in.op == OP_VMASKMOVDQU)
        return true;
    for (unsigned k = 0; k < in.operands; k++) {
        unsigned size = in.operand[k].size;
        bool x87 = op_row(&in)->cls == CLASS_X87;
        if (in.operand[k].kind == OPD_MEM && (size == 0 || size > 32 || (x87 && size > 8)))
            return true;
    }
    return false;
}

static bool is_masked_move(const struct insn_case *c)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK)
        return false;
    return in.op == OP_VMASKMOVPS || in.op == OP_VMASKMOVPD || in.op == OP_VPMASKMOVD ||
           in.op == OP_VPMASKMOVQ;
}

/* Linux keeps to itself which pages of its own are present. */
static u32 error_mask(const struct host_trap *h)
{
    return h->vector == VEC_PF && h->cr2 >> 47 ? ~(u32)PF_PRESENT : ~(u32)0;
}

static void compare_traps(struct report *r, const struct insn_case *c, const struct host_trap *h,
                          const struct host_trap *g, bool split)
{
    u64 cr2_mask = is_masked_move(c) ? ~PAGE_OFFSET_MASK : ~(u64)0;
    if (split && h->vector != VEC_DB && g->vector != VEC_DB)
        return;
    compare(r, "vector", h->vector, g->vector);
    if (h->vector != g->vector)
        return;
    if (has_error_code(h->vector))
        compare(r, "error", h->error & error_mask(h), g->error & error_mask(h));
    if (h->vector == VEC_PF)
        compare(r, "cr2", h->cr2 & cr2_mask, g->cr2 & cr2_mask);
}

static void compare_vectors(struct report *r, const u8 *h, const u8 *g)
{
    char name[24];
    compare(r, "fcw", load16(h + IMAGE_FCW), load16(g + IMAGE_FCW));
    compare(r, "fsw", load16(h + IMAGE_FSW), load16(g + IMAGE_FSW));
    compare(r, "ftw", h[IMAGE_FTW], g[IMAGE_FTW]);
    compare(r, "mxcsr", load32(h + IMAGE_MXCSR), load32(g + IMAGE_MXCSR));
    if (memcmp(h + IMAGE_ST, g + IMAGE_ST, IMAGE_LEGACY - IMAGE_ST) == 0 &&
        memcmp(h + IMAGE_EXTENDED, g + IMAGE_EXTENDED, IMAGE_YMM_BYTES) == 0)
        return;
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = IMAGE_ST + i * IMAGE_ST_STEP;
        snprintf(name, sizeof name, "st%u", i);
        compare(r, name, load64(h + at), load64(g + at));
        compare(r, name, load16(h + at + 8), load16(g + at + 8));
    }
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned k = 0; k < 2; k++) {
            unsigned at = i * IMAGE_XMM_STEP + k * 8;
            snprintf(name, sizeof name, "xmm%u[%u]", i, k);
            compare(r, name, load64(h + IMAGE_XMM + at), load64(g + IMAGE_XMM + at));
            snprintf(name, sizeof name, "ymm%u[%u]", i, k + 2);
            compare(r, name, load64(h + IMAGE_EXTENDED + at), load64(g + IMAGE_EXTENDED + at));
        }
    }
}

static void compare_memory(struct report *r, const u8 *h, const u8 *g)
{
    char name[24];
    if (memcmp(h, g, CASE_ALL_BYTES) == 0)
        return;
    for (unsigned at = 0; at < CASE_ALL_BYTES; at += 8) {
        snprintf(name, sizeof name, "[%08x]", CASE_DATA + at);
        compare(r, name, load64(h + at), load64(g + at));
    }
}

/* The host may have changed x87 and vector registers before it faulted. */
static unsigned changed_by_fault(const struct insn_case *c)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK)
        return 0;
    if (op_row(&in)->cls == CLASS_MMX)
        return XSTATE_X87;
    return in.op == OP_XRSTOR ? XSTATE_X87 | XSTATE_SSE | XSTATE_AVX : 0;
}

/* Nobody can see registers 8..15 without long mode: VZEROALL and VZEROUPPER need not keep them. */
static void forget_invisible(const struct insn_case *c, const struct insn_outcome *h,
                             struct insn_outcome *g)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK ||
        (in.op != OP_VZEROALL && in.op != OP_VZEROUPPER))
        return;
    unsigned xmm8 = IMAGE_XMM + IMAGE_XMM_BYTES / 2, ymm8 = IMAGE_EXTENDED + IMAGE_YMM_BYTES / 2;
    memcpy(g->state.xsave + xmm8, h->state.xsave + xmm8, IMAGE_XMM_BYTES / 2);
    memcpy(g->state.xsave + ymm8, h->state.xsave + ymm8, IMAGE_YMM_BYTES / 2);
}

/* Stopped between two elements the host has cleared what lies behind the last one; a fault without
 * such a stop leaves it as it was. */
static void forget_behind_elements(const struct insn_case *c, const struct insn_outcome *h,
                                   struct insn_outcome *g)
{
    struct insn in;
    if (!h->was_stopped || decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK || in.vex_l)
        return;
    unsigned at = in.operand[0].reg * IMAGE_XMM_STEP, filled = IMAGE_XMM_STEP;
    if (in.op == OP_VGATHERQPS || in.op == OP_VPGATHERQD)
        filled /= 2;
    const u8 *xmm = h->state.xsave + IMAGE_XMM + at, *ymm = h->state.xsave + IMAGE_EXTENDED + at;
    memcpy(g->state.xsave + IMAGE_XMM + at + filled, xmm + filled, IMAGE_XMM_STEP - filled);
    memcpy(g->state.xsave + IMAGE_EXTENDED + at, ymm, IMAGE_XMM_STEP);
}

static bool rotates_by_many(const struct insn *in, const struct insn_case *c)
{
    if (in->op != OP_ROL && in->op != OP_ROR && in->op != OP_RCL && in->op != OP_RCR)
        return false;
    u64 count = in->operand[1].kind == OPD_IMM ? in->imm : c->state.gpr[REG_CX];
    return (count & (in->operand[0].size == 8 ? 63 : 31)) > 1;
}

static u32 undefined_flags(const struct insn_case *c)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK)
        return 0;
    return op_row(&in)->flags_undefined | (rotates_by_many(&in, c) ? FLAG_OF : 0);
}

static void compare_outcomes(struct report *r, const struct insn_case *c,
                             const struct insn_outcome *h, struct insn_outcome *g, bool split)
{
    const u64 compared =
        (FLAG_OSZAPC | FLAG_DF | FLAG_AC | FLAG_NT | FLAG_ID) & ~(u64)undefined_flags(c);
    unsigned changed = h->trap.vector == VEC_DB ? 0 : changed_by_fault(c);
    if (changed & XSTATE_AVX)
        memcpy(g->state.xsave, h->state.xsave, sizeof g->state.xsave);
    if (changed & XSTATE_X87) {
        memcpy(g->state.xsave, h->state.xsave, IMAGE_FOP);
        memcpy(g->state.xsave + IMAGE_ST, h->state.xsave + IMAGE_ST, IMAGE_XMM - IMAGE_ST);
    }
    compare_traps(r, c, &h->trap, &g->trap, split);
    for (unsigned i = 0; i < 16; i++)
        compare(r, gpr_name[i], h->state.gpr[i], g->state.gpr[i]);
    compare(r, "rip", h->state.rip, g->state.rip);
    compare(r, "rflags", h->state.rflags & compared, g->state.rflags & compared);
    compare_vectors(r, h->state.xsave, g->state.xsave);
}

/* ---- One case ---- */

static void put_operand(u8 *data, const struct insn_case *c)
{
    memcpy(data + c->operand_at, c->operand, c->operand_len);
}

static void restore(const struct insn_diff *d, u8 *data)
{
    if (memcmp(data, d->pattern, CASE_ALL_BYTES) != 0)
        memcpy(data, d->pattern, CASE_ALL_BYTES);
}

enum way { STEP, BLOCK, WAYS };

/* A block ends with the HLT behind the instruction; a branch would go elsewhere. */
static bool can_block(const struct insn_case *c)
{
    struct insn in;
    if (decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK || in.len == INSN_MAX_BYTES)
        return false;
    return op_row(&in)->cls >= CLASS_X87 || op_row(&in)->cls == CLASS_PLAIN;
}

static void run_guest(struct guest_exec *g, const struct insn_case *c, enum way way,
                      struct insn_outcome *out)
{
    const u8 hlt = 0xf4;
    unsigned offset = (unsigned)(c->state.rip - CASE_CODE);
    struct insn in;
    out->state = c->state;
    put_operand(guest_exec_data(g), c);
    guest_exec_code(g, offset, c->code, sizeof c->code);
    if (way == STEP) {
        out->trap = guest_exec(g, &out->state);
        return;
    }
    decode(c->code, sizeof c->code, c->mode, &in);
    guest_exec_code(g, offset + in.len, &hlt, sizeof hlt);
    out->trap = guest_exec_block(g, in.len, &out->state);
}

/* The guest has its kernel's pages where the host has nothing. */
static bool touches_guest_kernel(const struct host_trap *t)
{
    return t->vector == VEC_PF && t->cr2 - CASE_KERNEL < CASE_KERNEL_BYTES;
}

/* A sanitizer's shadow memory lies where the host should have nothing: cases that stray from the
 * test's own pages cannot be run there. */
static bool strays(struct insn_diff *d, const struct insn_case *c)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const u64 nearby = MIB(1);
    unsigned which = c->mode == 64 ? GUEST_64 : GUEST_32;
    struct insn_outcome guest;
    run_guest(d->guest[which], c, STEP, &guest);
    restore(d, guest_exec_data(d->guest[which]));
    u64 cr2 = guest.trap.cr2;
    return guest.trap.vector == VEC_PF && cr2 - CASE_CODE + nearby > 2 * nearby &&
           cr2 - CASE_DATA + nearby > 2 * nearby;
#else
    (void)d;
    (void)c;
    return false;
#endif
}

/* Without 64-bit mode YMM8 to YMM15 are neither written nor read, but they are part of the
 * component, whose every byte the host may touch (SDM 1, 13.11): Sapphire Rapids faults where they
 * would be. */
static bool host_touches_unused(const struct insn_case *c, const struct insn_outcome *h,
                                const struct insn_outcome *g)
{
    struct insn in;
    if (c->mode == 64 || h->trap.vector != VEC_PF || g->trap.vector != VEC_DB ||
        decode(c->code, sizeof c->code, c->mode, &in) != DECODE_OK)
        return false;
    return in.op == OP_XSAVE || in.op == OP_XSAVEOPT || in.op == OP_XSAVEC || in.op == OP_XRSTOR;
}

/* False: there was nothing to compare. */
static bool compare_guest(struct insn_diff *d, const struct insn_case *c, unsigned which,
                          enum way way, const struct insn_outcome *host, struct report *r)
{
    struct insn_outcome guest;
    bool split = is_split(c);
    u8 *data = guest_exec_data(d->guest[which]);
    run_guest(d->guest[which], c, way, &guest);
    if (host_touches_unused(c, host, &guest)) {
        restore(d, data);
        return false;
    }
    if (which == GUEST_32)
        forget_invisible(c, host, &guest);
    forget_behind_elements(c, host, &guest);
    compare_outcomes(r, c, host, &guest, split);
    if (!split || host->trap.vector != VEC_PF)
        compare_memory(r, d->host_data, data);
    restore(d, data);
    return true;
}

/* Skylake makes a 64-bit MOVBE with a prefix 66h, which means nothing beside REX.W, of single
 * bytes: it knows no #AC then, and has stored some when it faults. The manual has no such
 * exception, and MOVBE without the prefix is as it says: the host gets a REX in its place, which
 * means nothing either, because another prefix follows. */
static void spare_bytewise_movbe(u8 *code, unsigned mode)
{
    struct insn in;
    if (decode(code, INSN_MAX_BYTES, mode, &in) != DECODE_OK || in.op != OP_MOVBE || in.opsize != 8)
        return;
    for (; *code != OPCODE_ESCAPE; code++) {
        if (*code == PREFIX_OPSIZE)
            *code = PREFIX_REX;
    }
}

/* The host may take its trap between two elements of a gather, which then goes on from there. */
static bool stopped_in_gather(const struct insn_case *c, const struct insn_outcome *h)
{
    struct insn in;
    return h->trap.vector == VEC_DB && h->state.rip == c->state.rip &&
           decode(c->code, sizeof c->code, c->mode, &in) == DECODE_OK &&
           op_row(&in)->attr & ATTR_VSIB;
}

static void run_host(struct insn_diff *d, const struct insn_case *c, struct insn_outcome *out)
{
    u8 *code = d->host_code + (c->state.rip - CASE_CODE);
    out->state = c->state;
    put_operand(d->host_data, c);
    memcpy(code, c->code, sizeof c->code);
    spare_bytewise_movbe(code, c->mode);
    out->trap = host_exec(c->mode, &out->state);
    out->was_stopped = stopped_in_gather(c, out);
    while (stopped_in_gather(c, out))
        out->trap = host_exec(c->mode, &out->state);
}

static void compare_guests(struct insn_diff *d, const struct insn_case *c,
                           const struct insn_outcome *host, struct report *r)
{
    unsigned first = c->mode == 64 ? GUEST_64 : GUEST_32;
    unsigned last = c->mode == 64 ? GUEST_64 : GUEST_COMPAT;
    unsigned ways = can_block(c) ? WAYS : BLOCK;
    bool all = true;
    for (unsigned i = first; i <= last; i++) {
        for (unsigned way = STEP; way < ways; way++)
            all = compare_guest(d, c, i, way, host, r) && all;
    }
    d->not_compared += !all;
}

bool insn_diff_run(struct insn_diff *d, const struct insn_case *c, char *text, size_t size)
{
    struct insn_outcome host;
    struct report r = {.text = text, .size = size};
    if (strays(d, c)) {
        d->not_compared++;
        return true;
    }
    run_host(d, c, &host);
    if (touches_guest_kernel(&host.trap))
        d->not_compared++;
    else
        compare_guests(d, c, &host, &r);
    restore(d, d->host_data);
    return !r.differs;
}

/* ---- Shrinking ---- */

static bool fails(struct insn_diff *d, const struct insn_case *c)
{
    return !insn_diff_run(d, c, NULL, 0);
}

/* Keeps the change that `bytes` = `value` makes if the case still fails. */
static void try_set(struct insn_diff *d, struct insn_case *c, u8 *bytes, const u8 *value,
                    unsigned n)
{
    u8 old[64];
    if (memcmp(bytes, value, n) == 0)
        return;
    memcpy(old, bytes, n);
    memcpy(bytes, value, n);
    if (!fails(d, c))
        memcpy(bytes, old, n);
}

static void try_clear(struct insn_diff *d, struct insn_case *c, void *bytes, unsigned n)
{
    static const u8 zero[64];
    try_set(d, c, bytes, zero, n);
}

void insn_diff_shrink(struct insn_diff *d, struct insn_case *c)
{
    u8 initial[IMAGE_ST];
    memset(initial, 0, sizeof initial);
    store16(initial + IMAGE_FCW, X87_FCW_FNINIT);
    store32(initial + IMAGE_MXCSR, MXCSR_RESET);
    try_set(d, c, c->state.xsave, initial, IMAGE_MXCSR);
    try_set(d, c, c->state.xsave + IMAGE_MXCSR, initial + IMAGE_MXCSR, 4);
    for (unsigned i = 0; i < 16; i++) {
        try_clear(d, c, &c->state.gpr[i], 8);
        try_clear(d, c, c->state.xsave + IMAGE_XMM + i * 16, 16);
        try_clear(d, c, c->state.xsave + IMAGE_EXTENDED + i * 16, 16);
    }
    for (unsigned i = 0; i < 8; i++)
        try_clear(d, c, c->state.xsave + IMAGE_ST + i * IMAGE_ST_STEP, 16);
    try_clear(d, c, &c->state.rflags, 8);
    for (unsigned at = 0; at < c->operand_len; at += 8)
        try_clear(d, c, c->operand + at, 8);
    for (unsigned i = c->len; i < sizeof c->code; i++)
        try_clear(d, c, c->code + i, 1);
}

/* ---- Files ---- */

static void write_hex(FILE *f, const u8 *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fprintf(f, "%02x", bytes[i]);
    fputc('\n', f);
}

static bool any(const u8 *bytes, unsigned n)
{
    while (n && !bytes[n - 1])
        n--;
    return n;
}

void insn_case_write(FILE *f, const struct insn_case *c)
{
    char text[128];
    disasm_text(c->code, sizeof c->code, c->mode, c->state.rip, text, sizeof text);
    fprintf(f, "# %s\nmode %u\ncode ", text, c->mode);
    write_hex(f, c->code, sizeof c->code);
    fprintf(f, "rip %llx\n", (unsigned long long)c->state.rip);
    fprintf(f, "rflags %llx\n", (unsigned long long)c->state.rflags);
    for (unsigned i = 0; i < 16; i++) {
        if (c->state.gpr[i])
            fprintf(f, "gpr %u %llx\n", i, (unsigned long long)c->state.gpr[i]);
    }
    for (unsigned at = 0; at < HOST_XSAVE_BYTES; at += 16) {
        if (any(c->state.xsave + at, 16)) {
            fprintf(f, "xsave %u ", at);
            write_hex(f, c->state.xsave + at, 16);
        }
    }
    fprintf(f, "operand %u %u\n", c->operand_at, c->operand_len);
    for (unsigned at = 0; at < c->operand_len; at += 16) {
        if (any(c->operand + at, 16)) {
            fprintf(f, "bytes %u ", at);
            write_hex(f, c->operand + at, 16);
        }
    }
}

static bool read_hex(const char *text, u8 *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        bytes[i] = (u8)byte;
    }
    return true;
}

static bool read_line(const char *line, struct insn_case *c)
{
    unsigned at;
    unsigned long long value;
    char hex[128 + 1];
    if (line[0] == '#' || line[0] == '\n')
        return true;
    if (sscanf(line, "mode %u", &c->mode) == 1)
        return c->mode == 32 || c->mode == 64;
    if (sscanf(line, "code %128s", hex) == 1)
        return read_hex(hex, c->code, sizeof c->code);
    if (sscanf(line, "rip %llx", &value) == 1) {
        c->state.rip = value;
        return value - CASE_CODE <= PAGE_BYTES - sizeof c->code;
    }
    if (sscanf(line, "rflags %llx", &value) == 1) {
        c->state.rflags = value;
        return true;
    }
    if (sscanf(line, "gpr %u %llx", &at, &value) == 2 && at < 16) {
        c->state.gpr[at] = value;
        return true;
    }
    if (sscanf(line, "xsave %u %128s", &at, hex) == 2 && at <= HOST_XSAVE_BYTES - 16)
        return read_hex(hex, c->state.xsave + at, 16);
    if (sscanf(line, "operand %u %u", &c->operand_at, &c->operand_len) == 2)
        return c->operand_len <= CASE_OPERAND_BYTES && c->operand_at <= CASE_DATA_BYTES &&
               c->operand_at + c->operand_len <= CASE_DATA_BYTES;
    if (sscanf(line, "bytes %u %128s", &at, hex) == 2 && at <= CASE_OPERAND_BYTES - 16)
        return read_hex(hex, c->operand + at, 16);
    return false;
}

bool insn_case_read(FILE *f, struct insn_case *c)
{
    char line[512];
    struct insn in;
    *c = (struct insn_case){.state = {.rip = CASE_CODE}};
    while (fgets(line, sizeof line, f)) {
        if (!read_line(line, c))
            return false;
    }
    if (!c->mode)
        return false;
    decode(c->code, sizeof c->code, c->mode, &in);
    c->len = in.len;
    return true;
}
