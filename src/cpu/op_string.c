/* SPDX-License-Identifier: MIT
 *
 * MOVS, CMPS, SCAS, LODS, STOS.
 *
 * A repeated instruction proceeds in *runs*: as many elements as lie within one page at each end,
 * executed by the host's own REP instruction on host pointers, which treats overlap and direction
 * as the guest's does. Where there is no host pointer (a device, a page crossing, a breakpoint) a
 * run is one element. Registers are brought up to date after each run, so a fault in the next one
 * finds them as the manual wants them, and between runs the instruction stops when an event is
 * waiting: rip still names it and it goes on later.
 */
#include "cpu/flags.h"
#include "cpu/op_int.h"
#include "cpu/operand.h"
#include "cpu/optable.h"

/* One run: up to `n` elements; returns how many were done (at least 1). Comparisons leave their
 * flags in *flags. */
typedef u64 (*run_fn)(struct vcpu *v, const struct insn *in, u64 n, u16 *flags);

ALWAYS_INLINE bool down(const struct vcpu *v)
{
    return v->rflags & FLAG_DF;
}

/* rSI, rDI, rCX are as wide as the address size. */
ALWAYS_INLINE void index_add(struct vcpu *v, const struct insn *in, unsigned reg, u64 delta)
{
    gpr_write(v, reg, v->gpr[reg] + delta, in->adsize);
}

ALWAYS_INLINE u64 index_ea(const struct vcpu *v, const struct insn *in, unsigned reg)
{
    return v->gpr[reg] & mask64(in->adsize * 8);
}

/* Moves an index register past n elements. */
ALWAYS_INLINE void index_step(struct vcpu *v, const struct insn *in, unsigned reg, u64 n,
                              unsigned size)
{
    index_add(v, in, reg, down(v) ? -(n * size) : n * size);
}

/* ---- spans: where a run can go over host memory ---- */

struct span {
    void *hp; /* of the first element */
    u64 n;    /* elements; 0: no host pointer */
};

/* How many of n elements from ea on stay clear of the page's end, of the address size's, and of
 * the segment limit. */
static u64 span_elements(const struct vcpu *v, const struct insn *in, unsigned s, u64 ea, u64 la,
                         u64 n, unsigned size, bool write)
{
    u64 page = la & PAGE_OFFSET_MASK, k;
    if (page + size > PAGE_BYTES)
        return 0;
    if (down(v)) {
        k = page / size + 1;
        if (ea / size + 1 < k)
            k = ea / size + 1;
    } else {
        u64 to_wrap = mask64(in->adsize * 8) - ea; /* bytes after the first */
        k = (PAGE_BYTES - page) / size;
        if ((k - 1) * size + size - 1 > to_wrap)
            k = (to_wrap + 1) / size;
        if (!(v->mode & (MODE_CS64 | MODE_FLAT))) {
            u64 end = v->seg[s].end[write];
            u64 fit = end > ea ? (end - ea) / size : 0;
            if (fit < k)
                k = fit;
        }
    }
    return n < k ? n : k;
}

/* Raises what the first element would raise. */
static struct span span_open(struct vcpu *v, const struct insn *in, unsigned s, u64 ea, u64 n,
                             unsigned size, enum access access)
{
    struct span none = {NULL, 0};
    u64 la = seg_linear(v, s, ea, size, access);
    if (v->mode & (MODE_AC | MODE_BREAK | MODE_TF))
        return none;
    u64 k = span_elements(v, in, s, ea, la, n, size, access == ACCESS_WRITE);
    if (!k)
        return none;
    u64 below = down(v) ? (k - 1) * size : 0; /* the first element is the highest one then */
    if (below)
        mem_probe(v, la, size, access); /* and the one that a fault is reported for */
    u8 *hp = mem_pointer(v, la - below, (unsigned)(k * size), access);
    return hp ? (struct span){hp + below, k} : none;
}

/* ---- the host's instructions ---- */

/* Runs `insn`, which DF governs, in the guest's direction; the host's ABI wants DF clear. */
#define HOST_STRING(insn, is_down, ...)                                                            \
    do {                                                                                           \
        if (is_down)                                                                               \
            __asm__ volatile("std\n\t" insn "\n\tcld" : __VA_ARGS__ : "memory", "cc");             \
        else                                                                                       \
            __asm__ volatile(insn:__VA_ARGS__ : "memory", "cc");                                   \
    } while (0)
#define HOST_STRING_BY_SIZE(size, insn, after, is_down, ...)                                       \
    switch (size) {                                                                                \
    case 1: HOST_STRING(insn "b" after, is_down, __VA_ARGS__); break;                              \
    case 2: HOST_STRING(insn "w" after, is_down, __VA_ARGS__); break;                              \
    case 4: HOST_STRING(insn "l" after, is_down, __VA_ARGS__); break;                              \
    default: HOST_STRING(insn "q" after, is_down, __VA_ARGS__); break;                             \
    }

ALWAYS_INLINE void host_movs(unsigned size, bool is_down, void *to, const void *from, u64 n){
    HOST_STRING_BY_SIZE(size, "rep movs", "", is_down, "+D"(to), "+S"(from), "+c"(n)
                        :)}

ALWAYS_INLINE void host_stos(unsigned size, bool is_down, void *to, u64 value, u64 n){
    HOST_STRING_BY_SIZE(size, "rep stos", "", is_down, "+D"(to), "+c"(n)
                        : "a"(value))}

/* Compare and scan return how many elements they looked at (n > 0). */
ALWAYS_INLINE u64 host_cmps(unsigned size, bool is_down, bool equal, const void *a, const void *b,
                            u64 n, u16 *flags)
{
    u64 left = n;
    u32 ax;
    if (equal)
        HOST_STRING_BY_SIZE(size, "repe cmps", TAKE_FLAGS, is_down, "+S"(a), "+D"(b), "+c"(left),
                            "=a"(ax)
                            :)
    else
        HOST_STRING_BY_SIZE(size, "repne cmps", TAKE_FLAGS, is_down, "+S"(a), "+D"(b), "+c"(left),
                            "=a"(ax)
                            :)
    *flags = (u16)ax;
    return n - left;
}

ALWAYS_INLINE u64 host_scas(unsigned size, bool is_down, bool equal, const void *b, u64 value,
                            u64 n, u16 *flags)
{
    u64 left = n;
    if (equal)
        HOST_STRING_BY_SIZE(size, "repe scas", TAKE_FLAGS, is_down, "+D"(b), "+c"(left), "+a"(value)
                            :)
    else
        HOST_STRING_BY_SIZE(size, "repne scas", TAKE_FLAGS, is_down, "+D"(b), "+c"(left),
                            "+a"(value)
                            :)
    *flags = (u16)value;
    return n - left;
}

/* ---- runs ---- */

ALWAYS_INLINE u64 movs_run(struct vcpu *v, const struct insn *in, u64 n, unsigned size, u16 *flags)
{
    (void)flags;
    u64 from = index_ea(v, in, REG_SI), to = index_ea(v, in, REG_DI);
    struct span s = {NULL, 0}, d = {NULL, 0};
    if (n > 1)
        s = span_open(v, in, in->seg, from, n, size, ACCESS_READ);
    if (s.n)
        d = span_open(v, in, SEG_ES, to, s.n, size, ACCESS_WRITE);
    u64 done = d.n;
    if (d.n) {
        host_movs(size, down(v), d.hp, s.hp, d.n);
    } else {
        u64 value = mem_read(v, seg_linear(v, in->seg, from, size, ACCESS_READ), size);
        mem_write(v, seg_linear(v, SEG_ES, to, size, ACCESS_WRITE), value, size);
        done = 1;
    }
    index_step(v, in, REG_SI, done, size);
    index_step(v, in, REG_DI, done, size);
    return done;
}

ALWAYS_INLINE u64 stos_run(struct vcpu *v, const struct insn *in, u64 n, unsigned size, u16 *flags)
{
    (void)flags;
    u64 to = index_ea(v, in, REG_DI);
    struct span d = {NULL, 0};
    if (n > 1)
        d = span_open(v, in, SEG_ES, to, n, size, ACCESS_WRITE);
    u64 done = d.n;
    if (d.n) {
        host_stos(size, down(v), d.hp, v->gpr[REG_AX], d.n);
    } else {
        mem_write(v, seg_linear(v, SEG_ES, to, size, ACCESS_WRITE), v->gpr[REG_AX], size);
        done = 1;
    }
    index_step(v, in, REG_DI, done, size);
    return done;
}

/* Of a repeated load only the last element stays. */
ALWAYS_INLINE u64 lods_run(struct vcpu *v, const struct insn *in, u64 n, unsigned size, u16 *flags)
{
    (void)flags;
    u64 from = index_ea(v, in, REG_SI), done = 1, value;
    struct span s = {NULL, 0};
    if (n > 1)
        s = span_open(v, in, in->seg, from, n, size, ACCESS_READ);
    if (s.n) {
        i64 last = (i64)((s.n - 1) * size);
        value = load_sized((const u8 *)s.hp + (down(v) ? -last : last), size);
        done = s.n;
    } else {
        value = mem_read(v, seg_linear(v, in->seg, from, size, ACCESS_READ), size);
    }
    gpr_write(v, REG_AX, value, size);
    index_step(v, in, REG_SI, done, size);
    return done;
}

/* Of the two operands Intel's CPUs access that of rDI first, as faults tell. */
ALWAYS_INLINE u64 cmps_run(struct vcpu *v, const struct insn *in, u64 n, unsigned size, u16 *flags)
{
    u64 from = index_ea(v, in, REG_SI), to = index_ea(v, in, REG_DI), done = 1;
    struct span s = {NULL, 0}, d = {NULL, 0};
    if (n > 1)
        d = span_open(v, in, SEG_ES, to, n, size, ACCESS_READ);
    if (d.n)
        s = span_open(v, in, in->seg, from, d.n, size, ACCESS_READ);
    if (s.n) {
        bool equal = in->prefixes & PFX_REP;
        done = host_cmps(size, down(v), equal, s.hp, d.hp, s.n, flags);
    } else {
        u64 b = mem_read(v, seg_linear(v, SEG_ES, to, size, ACCESS_READ), size);
        u64 a = mem_read(v, seg_linear(v, in->seg, from, size, ACCESS_READ), size);
        alu_cmp(size, a, b, flags);
    }
    index_step(v, in, REG_SI, done, size);
    index_step(v, in, REG_DI, done, size);
    return done;
}

ALWAYS_INLINE u64 scas_run(struct vcpu *v, const struct insn *in, u64 n, unsigned size, u16 *flags)
{
    u64 to = index_ea(v, in, REG_DI), done = 1;
    struct span d = {NULL, 0};
    if (n > 1)
        d = span_open(v, in, SEG_ES, to, n, size, ACCESS_READ);
    if (d.n) {
        bool equal = in->prefixes & PFX_REP;
        done = host_scas(size, down(v), equal, d.hp, v->gpr[REG_AX], d.n, flags);
    } else {
        u64 b = mem_read(v, seg_linear(v, SEG_ES, to, size, ACCESS_READ), size);
        alu_cmp(size, v->gpr[REG_AX], b, flags);
    }
    index_step(v, in, REG_DI, done, size);
    return done;
}

/* ---- repetition ---- */

bool op_string_continues(const struct vcpu *v)
{
    return !vcpu_events(v) && !(v->mode & (MODE_TF | MODE_BREAK)) && !v->pending_db;
}

/* CMPS and SCAS stop when ZF is not what the prefix wants. */
static bool condition_ends(const struct insn *in, u16 flags)
{
    if (in->op != OP_CMPS && in->op != OP_SCAS)
        return false;
    return !!(flags & OSZAPC_ZF) != !!(in->prefixes & PFX_REP);
}

/* 32-bit addresses in 64-bit mode: Intel's CPUs clear the upper halves first of all, whether there
 * is anything to repeat or not. */
static void cut_registers(struct vcpu *v, const struct insn *in)
{
    if (in->adsize != 4)
        return;
    index_add(v, in, REG_CX, 0);
    if (in->op == OP_MOVS)
        index_add(v, in, REG_SI, 0);
    if (in->op == OP_MOVS || in->op == OP_STOS)
        index_add(v, in, REG_DI, 0);
}

/* Flags change only when the instruction is over: a fault or an interrupt between two comparisons
 * finds those from before it (SDM 2B, REP). */
static void repeat(struct vcpu *v, const struct insn *in, run_fn run)
{
    cut_registers(v, in);
    u64 n = index_ea(v, in, REG_CX);
    u16 flags = v->oszapc;
    while (n) {
        u64 done = run(v, in, n, &flags);
        index_add(v, in, REG_CX, -done);
        n -= done;
        if (condition_ends(in, flags))
            break;
        if (n && !op_string_continues(v)) {
            v->shadow |= SHADOW_REP;
            return;
        }
    }
    v->oszapc = flags;
    vcpu_advance(v, in);
}

/* For each instruction and size: alone, and repeated. */
#define STRING_COLUMN(name, size)                                                                  \
    static u64 name##_run_##size(struct vcpu *v, const struct insn *in, u64 n, u16 *flags)         \
    {                                                                                              \
        return name##_run(v, in, n, size, flags);                                                  \
    }                                                                                              \
    static void name##_once_##size(struct vcpu *v, const struct insn *in)                          \
    {                                                                                              \
        name##_run(v, in, 1, size, &v->oszapc);                                                    \
    }                                                                                              \
    static void name##_rep_##size(struct vcpu *v, const struct insn *in)                           \
    {                                                                                              \
        repeat(v, in, name##_run_##size);                                                          \
    }
#define STRING_OP(name)                                                                            \
    STRING_COLUMN(name, 1)                                                                         \
    STRING_COLUMN(name, 2)                                                                         \
    STRING_COLUMN(name, 4)                                                                         \
    STRING_COLUMN(name, 8)                                                                         \
    static const exec_fn name##_by_size[2][9] = {                                                  \
        {[1] = name##_once_1, [2] = name##_once_2, [4] = name##_once_4, [8] = name##_once_8},      \
        {[1] = name##_rep_1, [2] = name##_rep_2, [4] = name##_rep_4, [8] = name##_rep_8},          \
    }
STRING_OP(movs);
STRING_OP(stos);
STRING_OP(lods);
STRING_OP(cmps);
STRING_OP(scas);

exec_fn op_string_select(const struct insn *in)
{
    bool rep = in->prefixes & (PFX_REP | PFX_REPNE);
    unsigned size = in->operand[0].size;
    switch (in->op) {
    case OP_MOVS: return movs_by_size[rep][size];
    case OP_STOS: return stos_by_size[rep][size];
    case OP_LODS: return lods_by_size[rep][size];
    case OP_CMPS: return cmps_by_size[rep][size];
    case OP_SCAS: return scas_by_size[rep][size];
    default: return NULL;
    }
}
