/* SPDX-License-Identifier: MIT */
#include "cpu/dump.h"

#include <stdarg.h>
#include <stdio.h>

#include "cpu/excp.h"
#include "cpu/flags.h"

/* A text that grows in a buffer and never beyond it. */
struct text {
    char *at;
    size_t left, used;
};

static void add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->at, t->left, fmt, ap);
    va_end(ap);
    size_t wrote = n < 0 ? 0 : (size_t)n < t->left ? (size_t)n : t->left ? t->left - 1 : 0;
    t->at += wrote;
    t->left -= wrote;
    t->used += wrote;
}

static unsigned long long ull(u64 v)
{
    return v;
}

static void add_general(struct text *t, const struct vcpu *v)
{
    static const char *const names[] = {"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI",
                                        "8",  "9",  "10", "11", "12", "13", "14", "15"};
    static const u8 order[] = {REG_AX,  REG_BX,  REG_CX,  REG_DX, REG_SI,  REG_DI,
                               REG_BP,  REG_SP,  GPR_R8,  GPR_R9, GPR_R10, GPR_R11,
                               GPR_R12, GPR_R13, GPR_R14, GPR_R15};
    bool wide = vcpu_long_mode(v);
    for (unsigned i = 0; i < (wide ? 16u : 8u); i++)
        add(t, "%c%-2s=%0*llx%s", wide ? 'R' : 'E', names[order[i]], wide ? 16 : 8,
            ull(v->gpr[order[i]]), i % 4 == 3 ? "\n" : " ");
}

static void add_flags(struct text *t, const struct vcpu *v)
{
    static const struct {
        u64 bit;
        char letter;
    } letters[] = {{FLAG_DF, 'D'}, {FLAG_OF, 'O'}, {FLAG_SF, 'S'}, {FLAG_ZF, 'Z'},
                   {FLAG_AF, 'A'}, {FLAG_PF, 'P'}, {FLAG_CF, 'C'}};
    u64 flags = flags_get(v);
    bool wide = vcpu_long_mode(v);
    add(t, "%s=%0*llx %s=%08llx [", wide ? "RIP" : "EIP", wide ? 16 : 8, ull(v->rip),
        wide ? "RFL" : "EFL", ull(flags));
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        add(t, "%c", flags & letters[i].bit ? letters[i].letter : '-');
    add(t, "] CPL=%u A20=%d HLT=%d\n", v->cpl, v->a20_mask == ~(u64)0, v->halted);
}

static void add_segment(struct text *t, const char *name, const struct segment *seg)
{
    add(t, "%-3s=%04x %08llx %08x %04x%s\n", name, seg->sel, ull(seg->base), seg->limit, seg->attr,
        seg->unusable ? " unusable" : "");
}

static void add_system(struct text *t, const struct vcpu *v)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        add_segment(t, names[i], &v->seg[i]);
    add_segment(t, "LDT", &v->ldtr);
    add_segment(t, "TR", &v->tr);
    add(t, "GDT=     %08llx %08x\nIDT=     %08llx %08x\n", ull(v->gdtr.base), v->gdtr.limit,
        ull(v->idtr.base), v->idtr.limit);
    add(t, "CR0=%08llx CR2=%08llx CR3=%08llx CR4=%08llx\n", ull(v->cr0), ull(v->cr2), ull(v->cr3),
        ull(v->cr4));
    add(t, "DR0=%08llx DR1=%08llx DR2=%08llx DR3=%08llx\nDR6=%08llx DR7=%08llx\n", ull(v->dr[0]),
        ull(v->dr[1]), ull(v->dr[2]), ull(v->dr[3]), ull(v->dr[6]), ull(v->dr[7]));
    add(t, "EFER=%016llx\n", ull(v->efer));
}

size_t dump_registers(const struct vcpu *v, char *text, size_t n)
{
    struct text t = {.at = text, .left = n};
    add_general(&t, v);
    add_flags(&t, v);
    add_system(&t, v);
    return t.used;
}

size_t dump_recent(const struct vcpu *v, char *text, size_t n)
{
    static const char *const sources[] = {"interrupt", "int", "exception", "icebp"};
    struct text t = {.at = text, .left = n};
    u32 first = v->recent_count > RECENT_EVENTS ? v->recent_count - RECENT_EVENTS : 0;
    if (!v->recent_count)
        add(&t, "nothing was delivered since reset\n");
    for (u32 i = first; i < v->recent_count; i++) {
        const struct recent_event *e = &v->recent[i % RECENT_EVENTS];
        add(&t, "%s %02x error %x at %04x:%llx cr2 %llx\n", sources[e->source & 3], e->vector,
            e->error, e->cs, ull(e->rip), ull(e->cr2));
    }
    return t.used;
}
