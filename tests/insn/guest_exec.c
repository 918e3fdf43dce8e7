/* SPDX-License-Identifier: MIT
 *
 * Guest-physical memory: the kernel's tables from KERNEL_PA, then the pages of insn_case.h. The
 * paging structures are PAE's; 4-level paging puts a PML4 and its own PDPT above the same page
 * directories.
 */
#include <stdlib.h>

#include "cpu/excp.h"
#include "cpu/feature.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/interp.h"
#include "cpu/mem.h"
#include "guest_exec.h"

enum {
    RAM_BYTES = 0x100000,
    PAGE_TABLES_PA = 0x1000, /* taken upwards */
    KERNEL_PA = 0x40000,
    CODE_PA = 0x60000,
    DATA_PA = 0x70000,

    /* Offsets in the kernel's area. */
    GDT_AT = 0,
    TSS_AT = 0x200,
    IDT_AT = 0x1000,
    HANDLERS_AT = 0x3000, /* HANDLER_STEP bytes a vector */
    STACK_TOP_AT = 0x8000,
    HANDLER_STEP = 16,

    SEL_KERNEL_CS = 0x08,
    SEL_KERNEL_DS = 0x10,
    SEL_USER_CS32 = 0x23, /* the host's numbers, because selectors are pushed and stored */
    SEL_USER_DS = 0x2b,
    SEL_USER_CS64 = 0x33,
    SEL_TSS = 0x40,
    VECTORS = 32,

    OPCODE_HLT = 0xf4,
};

#define PTE_P  ((u64)1)
#define PTE_W  ((u64)1 << 1)
#define PTE_U  ((u64)1 << 2)
#define PTE_NX ((u64)1 << 63)
#define PTE_PA ((u64)0x000ffffffffff000)

struct guest_exec {
    struct physmem *pm;
    struct vcpu *v;
    u8 *ram;
    unsigned mode;
    bool long_mode;
    u64 next_table;
    u64 pdpt_pae, pdpt_long, pml4;
};

/* ---- Paging ---- */

static u64 take_table(struct guest_exec *g)
{
    u64 pa = g->next_table;
    g->next_table += PAGE_BYTES;
    return pa;
}

static u64 *entry(struct guest_exec *g, u64 table, u64 index)
{
    return (u64 *)(void *)(g->ram + table) + index;
}

/* The table that entry `index` of `table` leads to, made if need be. */
static u64 descend(struct guest_exec *g, u64 table, u64 index, u64 flags)
{
    u64 *e = entry(g, table, index);
    if (!*e)
        *e = take_table(g) | flags;
    return *e & PTE_PA;
}

static void map_page(struct guest_exec *g, u32 la, u64 pa, u64 flags)
{
    const u64 open = PTE_P | PTE_W | PTE_U;
    u64 pd = descend(g, g->pdpt_long, la >> 30, open);
    *entry(g, g->pdpt_pae, la >> 30) = pd | PTE_P;
    u64 pt = descend(g, pd, la >> 21 & 511, open);
    *entry(g, pt, la >> 12 & 511) = pa | flags;
}

static void make_paging(struct guest_exec *g)
{
    g->next_table = PAGE_TABLES_PA;
    g->pml4 = take_table(g);
    g->pdpt_long = take_table(g);
    g->pdpt_pae = take_table(g);
    *entry(g, g->pml4, 0) = g->pdpt_long | PTE_P | PTE_W | PTE_U;
    for (u32 at = 0; at < CASE_KERNEL_BYTES; at += PAGE_BYTES)
        map_page(g, CASE_KERNEL + at, KERNEL_PA + at, PTE_P | PTE_W);
    map_page(g, CASE_CODE, CODE_PA, PTE_P | PTE_U);
    for (u32 at = 0; at < CASE_DATA_BYTES; at += PAGE_BYTES)
        map_page(g, CASE_DATA + at, DATA_PA + at, PTE_P | PTE_U | PTE_W | PTE_NX);
    map_page(g, CASE_ROM, DATA_PA + CASE_DATA_BYTES, PTE_P | PTE_U | PTE_NX);
}

/* ---- Descriptors ---- */

static u64 flat_descriptor(unsigned attr)
{
    return 0x0000ffff | (u64)(attr & 0xff) << 40 | (u64)(0xf | (attr >> 8 & 0xf0)) << 48;
}

enum {
    ATTR_CODE = SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_S | SEG_PRESENT | SEG_G,
    ATTR_DATA = SEG_WRITABLE | SEG_ACCESSED | SEG_S | SEG_PRESENT | SEG_G | SEG_DB,
};

static unsigned user_code_attr(const struct guest_exec *g)
{
    return ATTR_CODE | SEG_DPL | (g->mode == 64 ? SEG_L : SEG_DB);
}

static void make_gdt(struct guest_exec *g)
{
    u64 *gdt = entry(g, KERNEL_PA + GDT_AT, 0);
    gdt[SEL_KERNEL_CS / 8] = flat_descriptor(ATTR_CODE | (g->long_mode ? SEG_L : SEG_DB));
    gdt[SEL_KERNEL_DS / 8] = flat_descriptor(ATTR_DATA);
    gdt[SEL_USER_CS32 / 8] = flat_descriptor(ATTR_CODE | SEG_DPL | SEG_DB);
    gdt[SEL_USER_CS64 / 8] = flat_descriptor(ATTR_CODE | SEG_DPL | SEG_L);
    gdt[SEL_USER_DS / 8] = flat_descriptor(ATTR_DATA | SEG_DPL);
}

static void make_idt(struct guest_exec *g)
{
    const u64 interrupt_gate = (u64)0x8e00 << 32;
    for (unsigned n = 0; n < VECTORS; n++) {
        u64 handler = CASE_KERNEL + HANDLERS_AT + n * HANDLER_STEP;
        u64 low = (handler & 0xffff) | (u64)SEL_KERNEL_CS << 16 | interrupt_gate |
                  (handler & 0xffff0000) << 32;
        *entry(g, KERNEL_PA + IDT_AT, g->long_mode ? 2 * n : n) = low;
        g->ram[KERNEL_PA + HANDLERS_AT + n * HANDLER_STEP] = OPCODE_HLT;
    }
}

/* Only the stack of ring 0 is used: ESP0 and SS0, or RSP0. */
static void make_tss(struct guest_exec *g)
{
    u8 *tss = g->ram + KERNEL_PA + TSS_AT;
    store64(tss + 4, CASE_KERNEL + STACK_TOP_AT);
    if (!g->long_mode)
        store32(tss + 8, SEL_KERNEL_DS);
    store16(tss + 102, 0xffff); /* no I/O permission map */
}

static void set_segment(struct segment *s, u16 sel, unsigned attr)
{
    *s = (struct segment){.limit = 0xffffffff, .sel = sel, .attr = (u16)attr};
}

static void set_null(struct segment *s)
{
    *s = (struct segment){.unusable = true};
}

static void set_segments(struct guest_exec *g)
{
    struct vcpu *v = g->v;
    set_segment(&v->seg[SEG_CS], g->mode == 64 ? SEL_USER_CS64 : SEL_USER_CS32, user_code_attr(g));
    set_segment(&v->seg[SEG_SS], SEL_USER_DS, ATTR_DATA | SEG_DPL);
    set_segment(&v->seg[SEG_DS], SEL_USER_DS, ATTR_DATA | SEG_DPL);
    set_segment(&v->seg[SEG_ES], SEL_USER_DS, ATTR_DATA | SEG_DPL);
    set_null(&v->seg[SEG_FS]);
    set_null(&v->seg[SEG_GS]);
}

/* ---- The machine ---- */

static u64 cr4_of(const struct vcpu *v)
{
    u64 cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    return feature_shown(v->feature, CPUID_XSAVE) ? cr4 | CR4_OSXSAVE : cr4;
}

static void set_system_registers(struct guest_exec *g)
{
    struct vcpu *v = g->v;
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->cr4 = cr4_of(v);
    v->efer = EFER_NXE | (g->long_mode ? EFER_LME | EFER_LMA | EFER_SCE : 0);
    v->xcr0 = feature_shown(v->feature, CPUID_AVX) ? 7 : 3;
    v->cr3 = g->long_mode ? g->pml4 : g->pdpt_pae;
    for (unsigned i = 0; i < ARRAY_LEN(v->pdpte); i++)
        v->pdpte[i] = *entry(g, g->pdpt_pae, i);
    v->gdtr = (struct table_reg){.base = CASE_KERNEL + GDT_AT, .limit = 0xff};
    v->idtr = (struct table_reg){.base = CASE_KERNEL + IDT_AT, .limit = VECTORS * 16 - 1};
    v->tr = (struct segment){.base = CASE_KERNEL + TSS_AT,
                             .limit = 103,
                             .sel = SEL_TSS,
                             .attr = SEG_PRESENT | 0xb}; /* busy 32/64-bit TSS */
    tlb_flush(v);
}

struct guest_exec *guest_exec_create(unsigned mode, bool long_mode)
{
    const char *error = NULL;
    const struct vcpu_hooks hooks = {0};
    struct guest_exec *g = calloc(1, sizeof *g);
    g->mode = mode;
    g->long_mode = long_mode || mode == 64;
    g->pm = physmem_create(2 * RAM_BYTES, NULL);
    u64 offset = physmem_alloc(g->pm, RAM_BYTES, "ram");
    physmem_map_ram(g->pm, 0, RAM_BYTES, offset, 0, "ram");
    g->ram = physmem_host(g->pm, offset);
    g->v = vcpu_create(g->pm, &hooks, NULL, 0, "max", &error);
    if (!g->v) {
        log_warn("guest_exec: %s", error);
        guest_exec_destroy(g);
        return NULL;
    }
    make_paging(g);
    make_gdt(g);
    make_idt(g);
    make_tss(g);
    set_system_registers(g);
    return g;
}

void guest_exec_destroy(struct guest_exec *g)
{
    if (g->v)
        vcpu_destroy(g->v);
    physmem_destroy(g->pm);
    free(g);
}

struct vcpu *guest_exec_cpu(struct guest_exec *g)
{
    return g->v;
}

u8 *guest_exec_data(struct guest_exec *g)
{
    return g->ram + DATA_PA;
}

void guest_exec_code(struct guest_exec *g, unsigned offset, const u8 *bytes, unsigned len)
{
    physmem_write(g->pm, CODE_PA + offset, bytes, len);
}

/* ---- One instruction ---- */

void guest_exec_enter(struct guest_exec *g, const struct host_state *s)
{
    struct vcpu *v = g->v;
    memcpy(v->gpr, s->gpr, sizeof v->gpr);
    if (g->mode != 64) {
        for (unsigned i = 0; i < ARRAY_LEN(v->gpr); i++)
            v->gpr[i] = i < 8 ? (u32)v->gpr[i] : 0;
    }
    v->rip = s->rip;
    set_segments(g);
    v->cpl = 3;
    v->halted = false;
    v->shadow = 0;
    v->pending_db = 0;
    v->delivering = -1;
    v->dr[6] = DR6_FIXED;
    flags_set(v, s->rflags | FLAG_TF | FLAG_IF);
    vcpu_mode_changed(v);
    fpu_put_away(v);
    memcpy(v->fpu.bytes, s->xsave, sizeof v->fpu.bytes);
    fpu_edited(v);
    v->fpu_ip = load64(s->xsave + IMAGE_FIP);
    v->fpu_dp = load64(s->xsave + IMAGE_FDP);
    v->fpu_op = load16(s->xsave + IMAGE_FOP);
    v->fpu_cs = v->fpu_ds = 0;
}

/* The exception frame: error code (if any), RIP, CS, RFLAGS, RSP, SS. */
static void read_frame(struct guest_exec *g, struct host_state *s, struct host_trap *t)
{
    unsigned size = g->long_mode ? 8 : 4;
    const u8 *frame = g->ram + KERNEL_PA + (g->v->gpr[REG_SP] - CASE_KERNEL);
    switch (t->vector) {
    case VEC_DF:
    case VEC_TS:
    case VEC_NP:
    case VEC_SS:
    case VEC_GP:
    case VEC_PF:
    case VEC_AC: t->error = (u32)load_sized(frame, size); frame += size;
    }
    s->rip = load_sized(frame, size);
    s->rflags = load_sized(frame + 2 * size, size);
    s->gpr[REG_SP] = load_sized(frame + 3 * size, size);
}

static struct host_trap outcome(struct guest_exec *g, struct host_state *s)
{
    struct vcpu *v = g->v;
    struct host_trap t = {.cr2 = v->cr2};
    fpu_put_away(v);
    memcpy(s->gpr, v->gpr, sizeof s->gpr);
    memcpy(s->xsave, v->fpu.bytes, sizeof s->xsave);
    t.vector =
        (unsigned)(v->rip - CASE_KERNEL - HANDLERS_AT) / HANDLER_STEP; /* HLT is done or not */
    read_frame(g, s, &t);
    return t;
}

struct host_trap guest_exec(struct guest_exec *g, struct host_state *s)
{
    guest_exec_enter(g, s);
    for (unsigned steps = 0; g->v->cpl == 3 && steps < 4; steps++)
        interp_step(g->v);
    return outcome(g, s);
}

struct host_trap guest_exec_block(struct guest_exec *g, unsigned len, struct host_state *s)
{
    u64 end = s->rip + len;
    guest_exec_enter(g, s);
    g->v->rflags &= ~(u64)FLAG_TF;
    vcpu_mode_changed(g->v);
    interp_run(g->v); /* the handlers are HLT */
    struct host_trap t = outcome(g, s);
    if (t.vector == VEC_GP && s->rip == end)
        t.vector = VEC_DB;
    return t;
}
