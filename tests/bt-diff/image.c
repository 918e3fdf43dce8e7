/* SPDX-License-Identifier: MIT */
#include "image.h"

#include <stdlib.h>

#include "cpu/vcpu.h"

/* As kernel.asm has them. */
struct kernel_vars {
    u32 log_next, log_end, resume, space, spaces, cr3[SPACES], table[SPACES], repair[SPACES];
    u32 large, smap, user, served, fast_served;
    u32 stubs, tick, service, leave, double_fault, fast; /* it tells */
};
#define STUB_BYTES 16
#define STUBS      48

__asm__(".section .rodata\n"
        ".global bt_diff_kernel, bt_diff_kernel_end\n"
        "bt_diff_kernel: .incbin \"" KERNEL_IMAGE "\"\n"
        "bt_diff_kernel_end:\n"
        ".previous\n");
extern const u8 bt_diff_kernel[], bt_diff_kernel_end[];

const struct part parts[PARTS] = {
    {0, LOW_BYTES, 0, false},
    {CODE, CODE_PAGES *PAGE_BYTES, CODE_ALIAS, false},
    {DATA, DATA_PAGES *PAGE_BYTES, DATA_ALIAS, false},
    {STACK, STACK_PAGES *PAGE_BYTES, 0, false},
    {CONTROL, PAGE_BYTES, 0, false},
    {ROM, PAGE_BYTES, 0, true},
    {LAST_PAGE, PAGE_BYTES, 0, false},
};

enum entry_bits {
    E_P = 1 << 0,
    E_W = 1 << 1,
    E_U = 1 << 2,
    E_A = 1 << 5,
    E_D = 1 << 6,
    E_LARGE = 1 << 7,
    E_G = 1 << 8,
};
#define E_NX ((u64)1 << 63)

static u8 *image_at(const struct image *m, u32 pa)
{
    unsigned i = 0;
    while (pa - parts[i].pa >= parts[i].bytes)
        i++;
    return m->part[i] + (pa - parts[i].pa);
}

struct tables {
    const struct image *m;
    bool large; /* entries of 8 bytes */
    u32 next;   /* free page for tables */
    u32 top[SPACES], region[SPACES];
};

static u32 take_table(struct tables *t)
{
    t->next += PAGE_BYTES;
    return t->next - (u32)PAGE_BYTES;
}

static void set_entry(const struct tables *t, u32 table, unsigned n, u64 value)
{
    if (t->large)
        store64(image_at(t->m, table + n * 8), value);
    else
        store32(image_at(t->m, table + n * 4), (u32)value);
}

static u64 kernel_entry(u32 la, const struct config *c)
{
    u64 e = la | E_P | E_W | (c->global ? E_G : 0);
    return la && la - V86_AT >= V86_BYTES ? e : e | E_U;
}

/* The entry of a page of the region 400000h..7FFFFFh, when all is well, and at the start. */
static u64 region_entry(const struct program *p, unsigned space, u32 la, u64 *start)
{
    const struct config *c = &p->config;
    u32 pa = la;
    u64 flags = E_P | E_W | E_U, first = flags;
    *start = 0;
    if (la - CODE_ALIAS < CODE_PAGES * PAGE_BYTES)
        pa = la - CODE_ALIAS + CODE;
    u32 data = la - DATA < DATA_PAGES * PAGE_BYTES ? la - DATA : la - DATA_ALIAS;
    bool known = la - CODE < CODE_PAGES * PAGE_BYTES || pa != la ||
                 la - STACK < STACK_PAGES * PAGE_BYTES || la == CONTROL || la == ROM;
    if (la == DEVICE) {
        pa = DEVICE_PA;
    } else if (data < DATA_PAGES * PAGE_BYTES) {
        unsigned n = data / PAGE_BYTES;
        if (n < SPACES)
            n ^= space;
        pa = DATA + n * PAGE_BYTES;
        switch (p->nature[data / PAGE_BYTES]) {
        case PAGE_READ_ONLY: flags = first = E_P | E_U; break;
        case PAGE_SUPERVISOR: flags = first = E_P | E_W; break;
        case PAGE_ABSENT: return 0;
        case PAGE_LATER: first = 0; break;
        case PAGE_COW: first = E_P | E_U; break;
        default: break;
        }
    } else if (!known) {
        return 0;
    }
    if (la == CONTROL || la - STACK < STACK_PAGES * PAGE_BYTES) {
        flags |= c->nx ? E_NX : 0;
        if (c->smap && !c->ring) /* always at hand */
            flags = first = flags & ~(u64)E_U;
    }
    *start = first ? (flags & ~(u64)7) | first | pa : 0;
    return flags | pa;
}

static void fill_region(const struct program *p, struct tables *t, unsigned space)
{
    t->region[space] = take_table(t);
    if (t->large)
        take_table(t);
    for (unsigned n = 0; n < 1024; n++) {
        u64 start, well = region_entry(p, space, CODE + n * (u32)PAGE_BYTES, &start);
        set_entry(t, t->region[space], n, start);
        store64(image_at(t->m, REPAIRS_AT + space * REPAIRS_BYTES + n * 8), well);
    }
}

/* The tables that both spaces share: of the kernel, and of the last page. */
static void make_tables(const struct program *p, struct tables *t)
{
    const struct config *c = &p->config;
    const u64 open = E_P | E_W | E_U;
    unsigned per_table = t->large ? 512 : 1024;
    u32 low = take_table(t), last = take_table(t), high = t->large ? take_table(t) : 0;
    for (u32 la = 0; la < LOW_BYTES; la += PAGE_BYTES)
        set_entry(t, low, la >> PAGE_SHIFT, kernel_entry(la, c));
    set_entry(t, last, per_table - 1, LAST_PAGE | open);
    if (t->large)
        set_entry(t, high, 511, last | open);
    for (unsigned space = 0; space < SPACES; space++) {
        u32 directory = take_table(t);
        fill_region(p, t, space);
        set_entry(t, directory, 0, low | open);
        if (c->paging == PAGING_LARGE) {
            set_entry(t, directory, 1, CODE | open | E_LARGE);
        } else if (t->large) {
            set_entry(t, directory, 2, t->region[space] | open);
            set_entry(t, directory, 3, (t->region[space] + PAGE_BYTES) | open);
        } else {
            set_entry(t, directory, 1, t->region[space] | open);
        }
        t->top[space] = directory;
        if (!t->large) {
            set_entry(t, directory, 1023, last | open);
            continue;
        }
        t->top[space] = take_table(t) + (space & 1 ? 0x20 : 0);
        set_entry(t, t->top[space], 0, directory | E_P);
        set_entry(t, t->top[space], 3, high | E_P);
    }
}

enum {
    A_CODE = SEG_PRESENT | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB,
    A_DATA = SEG_PRESENT | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB,
    A_DATA3 = A_DATA | SEG_DPL,
    A_FRESH = A_DATA3 & ~(unsigned)SEG_ACCESSED,
};

/* Two tables, between which LGDT changes: the second has other bases. */
static void make_gdt(const struct image *m, u32 at, u32 shift)
{
    const u64 gdt[] = {
        [SEL_CODE0 >> 3] = make_desc(0, 0xfffff, A_CODE),
        [SEL_DATA0 >> 3] = make_desc(0, 0xfffff, A_DATA),
        [SEL_CODE3 >> 3] = make_desc(0, 0xfffff, A_CODE | SEG_DPL),
        [SEL_DATA3 >> 3] = make_desc(0, 0xfffff, A_DATA3),
        [SEL_TSS >> 3] = make_desc(TSS_AT, TSS_LIMIT, SEG_PRESENT | TYPE_TSS32_BUSY),
        [SEL_FAULT_TSS >> 3] = make_desc(FAULT_TSS_AT, TSS_LIMIT, SEG_PRESENT | TYPE_TSS32),
        [SEL_NEAR >> 3] = make_desc(DATA + 0x10 + shift, 0xfffff, A_DATA3),
        [SEL_BELOW >> 3] = make_desc(DATA - 0x7ffff + shift, 0xfffff, A_DATA3),
        [SEL_LIMITED >> 3] = make_desc(DATA + shift, 0xfff, A_DATA3 & ~(unsigned)SEG_G),
        [SEL_WRAPPING >> 3] = make_desc(0xfffff000, 0xfffff, A_DATA3),
        [SEL_THREAD >> 3] = make_desc(DATA + shift * 2, 0xfffff, A_FRESH),
        [SEL_DOWN >> 3] = make_desc(DATA, 0xff, (A_FRESH | SEG_EXPAND_DOWN)),
        [SEL_READ_ONLY >> 3] = make_desc(0, 0xfffff, A_FRESH & ~(unsigned)SEG_WRITABLE),
        [SEL_GONE >> 3] = make_desc(0, 0xfffff, A_DATA3 & ~(unsigned)SEG_PRESENT),
        [SEL_CODE16 >> 3] =
            make_desc(CODE, 0xffff, (A_CODE | SEG_DPL) & ~(unsigned)(SEG_G | SEG_DB)),
        [SEL_LDT >> 3] = make_desc(LDT_AT, 15, SEG_PRESENT | TYPE_LDT),
    };
    for (unsigned i = 0; i < ARRAY_LEN(gdt); i++)
        store64(image_at(m, at + i * 8), gdt[i]);
}

static void make_ldt(const struct image *m)
{
    store64(image_at(m, LDT_AT), make_desc(DATA + 0x1000, 0xfffff, A_FRESH));
    store64(image_at(m, LDT_AT + 8), make_desc(0, 0xfffff, A_DATA3));
}

static void set_gate(const struct image *m, unsigned vector, u64 gate)
{
    store64(image_at(m, IDT_AT + vector * 8), gate);
}

static void make_idt(const struct program *p, const struct image *m, const struct kernel_vars *k)
{
    for (unsigned n = 0; n < STUBS; n++) {
        bool open = n == VEC_BP || n == VEC_OF || (n >= INT_OPEN && n <= INT_OPEN_LAST);
        bool trap = (p->seed >> (n & 31) & 1) && n != VEC_PF && n < INT_TICK;
        set_gate(m, n,
                 make_gate(SEL_CODE0, k->stubs + n * STUB_BYTES, trap ? TYPE_TRAP32 : TYPE_INT32,
                           open ? 3 : 0, 0));
    }
    set_gate(m, VEC_DF, make_gate(SEL_FAULT_TSS, 0, TYPE_TASK_GATE, 0, 0));
    set_gate(m, INT_TICK, make_gate(SEL_CODE0, k->tick, TYPE_INT32, 0, 0));
    set_gate(m, INT_SERVICE, make_gate(SEL_CODE0, k->service, TYPE_INT32, 3, 0));
    set_gate(m, INT_OPEN_SERVICE, make_gate(SEL_CODE0, k->service, TYPE_TRAP32, 3, 0));
    set_gate(m, INT_END, make_gate(SEL_CODE0, k->leave, TYPE_INT32, 3, 0));
}

static void make_tss(const struct image *m, const struct kernel_vars *k, u32 cr3)
{
    u8 *tss = image_at(m, TSS_AT), *fault = image_at(m, FAULT_TSS_AT);
    store32(tss + 4, KERNEL_STACK);
    store32(tss + 8, SEL_DATA0);
    store16(tss + 102, 0xffff); /* no I/O permission map */
    store32(fault + 28, cr3);
    store32(fault + 32, k->double_fault);
    store32(fault + 36, FLAG_ONE);
    store32(fault + 56, FAULT_STACK);
    store32(fault + 76, SEL_CODE0);
    for (unsigned at = 72; at <= 84; at += 4) {
        if (at != 76)
            store32(fault + at, SEL_DATA0);
    }
    store16(fault + 102, 0xffff);
}

static void fill_vars(const struct program *p, const struct tables *t, struct kernel_vars *k)
{
    k->log_next = LOG_AT;
    k->log_end = LOG_AT + LOG_RECORDS * LOG_RECORD;
    k->resume = CONTROL;
    k->spaces = p->config.spaces;
    k->large = t->large;
    k->smap = p->config.smap;
    k->user = p->config.ring == 3 && !p->config.both;
    for (unsigned space = 0; space < SPACES; space++) {
        k->cr3[space] = t->top[space];
        k->table[space] = t->region[space];
        k->repair[space] = REPAIRS_AT + space * REPAIRS_BYTES;
        if (p->config.paging == PAGING_LARGE) /* there are no entries to repair */
            memset(image_at(t->m, k->repair[space]), 0, REPAIRS_BYTES);
    }
}

struct image image_make(const struct program *p)
{
    struct image m = {.cr3 = 0};
    for (unsigned i = 0; i < PARTS; i++)
        m.part[i] = calloc(1, parts[i].bytes);
    struct kernel_vars *k = (struct kernel_vars *)(void *)image_at(&m, KERNEL_AT);
    struct tables t = {.m = &m, .large = p->config.paging == PAGING_PAE, .next = TABLES_AT};
    memcpy(k, bt_diff_kernel, (size_t)(bt_diff_kernel_end - bt_diff_kernel));
    make_tables(p, &t);
    fill_vars(p, &t, k);
    make_gdt(&m, GDT_AT, 0);
    make_gdt(&m, OTHER_GDT_AT, 0x1008);
    make_ldt(&m);
    make_idt(p, &m, k);
    make_tss(&m, k, p->config.paging ? t.top[0] : 0);
    memcpy(image_at(&m, CODE), p->code, sizeof p->code);
    program_data(p, image_at(&m, DATA), DATA_PAGES * PAGE_BYTES);
    program_data(p, image_at(&m, V86_AT), V86_BYTES);
    program_data(p, image_at(&m, STACK), STACK_PAGES * PAGE_BYTES);
    program_data(p, image_at(&m, ROM), PAGE_BYTES);
    program_data(p, image_at(&m, LAST_PAGE), PAGE_BYTES);
    store32(image_at(&m, CONTROL), p->piece[p->pieces - 1].address);
    for (unsigned n = 0; n < COUNTERS; n++)
        store32(image_at(&m, CONTROL_COUNTERS + n * 4), 1 + n % 5);
    m.cr3 = t.top[0];
    for (unsigned i = 0; i < 4 && t.large; i++)
        m.pdpte[i] = load64(image_at(&m, t.top[0] + i * 8));
    m.fast = k->fast;
    return m;
}

struct work image_work(const u8 *low)
{
    const struct kernel_vars *k = (const struct kernel_vars *)(const void *)(low + KERNEL_AT);
    struct work w = {.services = k->served, .fast_services = k->fast_served};
    u32 exceptions = (k->log_next - LOG_AT) / LOG_RECORD;
    if (exceptions > LOG_RECORDS) /* a program of ring 0 has hit the variable */
        return w;
    w.exceptions = exceptions;
    for (u32 n = 0; n < exceptions; n++) {
        const u8 *record = low + LOG_AT + n * LOG_RECORD;
        bool v86 = load32(record + LOG_FLAGS) & FLAG_VM;
        w.v86 += v86;
        w.small += !v86 && load16(record + LOG_CS) == SEL_CODE16;
    }
    return w;
}

void image_free(struct image *m)
{
    for (unsigned i = 0; i < PARTS; i++)
        free(m->part[i]);
}
