/* SPDX-License-Identifier: MIT */
#include "subject.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "bt/bt.h"
#include "cpu/excp.h"
#include "cpu/feature.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/interp.h"
#include "cpu/mem.h"

/* ---- where things are in memory ---- */

enum {
    LOW_BYTES = 0x60000,
    GDT_AT = 0x1000,
    IDT_AT = 0x2000,
    TSS_AT = 0x3000,
    FAULT_TSS_AT = 0x3100, /* of the double fault's task */
    FAULT_STACK = 0x5000,  /* tops */
    KERNEL_STACK = 0x9000,
    KERNEL_AT = 0x10000,
    TABLES_AT = 0x20000,
    REPAIRS_AT = 0x30000, /* two of REPAIRS_BYTES */
    REPAIRS_BYTES = 0x2000,
    LOG_AT = 0x40000,
    LOG_RECORD = 80,
    LOG_RECORDS = 256,
};

enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x18 | 3,
    SEL_DATA3 = 0x20 | 3,
    SEL_TSS = 0x28,
    SEL_FAULT_TSS = 0x30,
};

/* As kernel.asm has them. */
struct kernel_vars {
    u32 log_next, log_end, resume, space, cr3[2], table[2], repair[2], large;
    u32 stubs, tick, service, leave, double_fault; /* it tells */
};
#define STUB_BYTES 16
#define STUBS      48

__asm__(".section .rodata\n"
        ".global bt_diff_kernel, bt_diff_kernel_end\n"
        "bt_diff_kernel: .incbin \"" KERNEL_IMAGE "\"\n"
        "bt_diff_kernel_end:\n"
        ".previous\n");
extern const u8 bt_diff_kernel[], bt_diff_kernel_end[];

/* The parts of memory, which are compared. */
static const struct part {
    u32 pa, bytes;
    u32 alias; /* or 0 */
    bool rom;
} parts[] = {
    {0, LOW_BYTES, 0, false},
    {CODE, CODE_PAGES *PAGE_BYTES, CODE_ALIAS, false},
    {DATA, DATA_PAGES *PAGE_BYTES, DATA_ALIAS, false},
    {STACK, STACK_PAGES *PAGE_BYTES, 0, false},
    {CONTROL, PAGE_BYTES, 0, false},
    {ROM, PAGE_BYTES, 0, true},
    {LAST_PAGE, PAGE_BYTES, 0, false},
};
#define PARTS ARRAY_LEN(parts)

enum {
    PORT_ASK = 0x40,
    PORT_ASK_LAST = 0x46,
    PORT_LEAVE = 0xf4,
    ASKED_VECTOR = 0x21,
    TICK_VECTOR = 0x20,
};

#define SECONDS_MOST 4 /* of CPU time for a program */

struct subject {
    struct physmem *pm;
    struct vcpu *v;
    u64 offset[PARTS];
    bool translated;
    bool left;
    int asked; /* vector, -1 none */
    u32 tick;  /* atomic */
    u32 noise; /* what ports and registers read */
    u64 io_digest;
    unsigned io_count;
    /* The thread that ticks and ends what takes too long. */
    pthread_t thread;
    bool running, ticking, over; /* atomic */
    bool late;
};

/* ---- the board ---- */

static void note(struct subject *s, u64 what)
{
    s->io_digest = (s->io_digest ^ what) * 0x100000001b3;
    s->io_count++;
}

static u32 next_noise(struct subject *s)
{
    s->noise = s->noise * 1664525 + 1013904223;
    return s->noise;
}

static u32 port_read(void *opaque, u16 port, unsigned size)
{
    struct subject *s = opaque;
    note(s, 1 | (u64)port << 8 | (u64)size << 32);
    return next_noise(s) >> (32 - 8 * size);
}

static void port_write(void *opaque, u16 port, u32 value, unsigned size)
{
    struct subject *s = opaque;
    note(s, 2 | (u64)port << 8 | (u64)size << 24 | (u64)value << 32);
    if (port == PORT_LEAVE) {
        s->left = true;
        vcpu_event_set(s->v, EVENT_STOP);
    } else if (port >= PORT_ASK && port <= PORT_ASK_LAST) {
        s->asked = ASKED_VECTOR + (port - PORT_ASK);
        vcpu_event_set(s->v, EVENT_INTR);
    }
}

static u64 device_read(void *opaque, u64 pa, unsigned size)
{
    struct subject *s = opaque;
    note(s, 3 | pa << 8 | (u64)size << 56);
    return next_noise(s) | (u64)s->noise << 32;
}

static void device_write(void *opaque, u64 pa, u64 value, unsigned size)
{
    struct subject *s = opaque;
    note(s, 4 | pa << 8 | (u64)size << 56);
    note(s, size == 8 ? value : value & (((u64)1 << 8 * size) - 1));
}

static int interrupt_ack(void *opaque)
{
    struct subject *s = opaque;
    int vector = s->asked;
    vcpu_event_clear(s->v, EVENT_INTR);
    s->asked = -1;
    if (vector >= 0) {
        if (__atomic_load_n(&s->tick, __ATOMIC_SEQ_CST))
            vcpu_event_set(s->v, EVENT_INTR);
        return vector;
    }
    return __atomic_exchange_n(&s->tick, 0, __ATOMIC_SEQ_CST) ? TICK_VECTOR : -1;
}

static u64 cr8_read(void *opaque)
{
    (void)opaque;
    return 0;
}

static void cr8_write(void *opaque, u64 value)
{
    (void)opaque;
    (void)value;
}

/* ---- the other thread ---- */

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void *tick_thread(void *opaque)
{
    struct subject *s = opaque;
    struct rng r = {.state = (u64)(uintptr_t)s};
    u64 since = 0;
    while (!__atomic_load_n(&s->over, __ATOMIC_SEQ_CST)) {
        bool ticking = __atomic_load_n(&s->ticking, __ATOMIC_SEQ_CST);
        const struct timespec pause = {0, ticking ? 1 + rng_below(&r, 60000) : 20000000};
        nanosleep(&pause, NULL);
        if (!__atomic_load_n(&s->running, __ATOMIC_SEQ_CST)) {
            since = 0;
            continue;
        }
        if (!since)
            since = now_ns();
        if (ticking) {
            __atomic_store_n(&s->tick, 1, __ATOMIC_SEQ_CST);
            vcpu_event_set(s->v, EVENT_INTR);
        }
        if (now_ns() - since > (u64)SECONDS_MOST * 1000000000) {
            s->late = true;
            vcpu_event_set(s->v, EVENT_STOP);
        }
    }
    return NULL;
}

/* ---- life ---- */

struct subject *subject_create(bool translated)
{
    const struct vcpu_hooks hooks = {.port_read = port_read,
                                     .port_write = port_write,
                                     .mmio_read = device_read,
                                     .mmio_write = device_write,
                                     .interrupt_ack = interrupt_ack,
                                     .cr8_read = cr8_read,
                                     .cr8_write = cr8_write};
    static const struct mmio_ops ops = {.name = "device"};
    const char *error = NULL;
    struct subject *s = calloc(1, sizeof *s);
    u64 all = 0;
    for (unsigned i = 0; i < PARTS; i++)
        all += parts[i].bytes;
    s->translated = translated;
    s->pm = physmem_create(all, NULL);
    for (unsigned i = 0; i < PARTS; i++) {
        const struct part *p = &parts[i];
        s->offset[i] = physmem_alloc(s->pm, p->bytes, "part");
        if (p->rom)
            physmem_map_rom(s->pm, p->pa, p->bytes, s->offset[i], 0, "rom");
        else
            physmem_map_ram(s->pm, p->pa, p->bytes, s->offset[i], 0, "ram");
        if (p->alias)
            physmem_map_ram(s->pm, p->alias, p->bytes, s->offset[i], 0, "alias");
    }
    physmem_map_mmio(s->pm, DEVICE_PA, PAGE_BYTES, &ops, s, 0);
    struct vcpu_hooks mine = hooks;
    mine.opaque = s;
    s->v = vcpu_create(s->pm, &mine, NULL, 0, "max", &error);
    if (!s->v || (translated && !bt_attach(s->v)) ||
        pthread_create(&s->thread, NULL, tick_thread, s)) {
        fprintf(stderr, "bt-diff: %s\n", error ? error : "no memory for the translator");
        return NULL;
    }
    return s;
}

void subject_destroy(struct subject *s)
{
    __atomic_store_n(&s->over, true, __ATOMIC_SEQ_CST);
    pthread_join(s->thread, NULL);
    if (s->translated)
        bt_detach(s->v);
    vcpu_destroy(s->v);
    physmem_destroy(s->pm);
    free(s);
}

const u32 *subject_features(const struct subject *s)
{
    return s->v->feature;
}

struct vcpu *subject_cpu(struct subject *s)
{
    return s->v;
}

/* ---- memory at the start ---- */

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

/* What memory shall be when the program starts; both sides copy it. */
struct image {
    u8 *part[PARTS];
};

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
    u32 top[2], region[2];
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
    return la ? e : e | E_U;
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
        if (space && n < 4)
            n ^= 1;
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
    if (la == CONTROL || la - STACK < STACK_PAGES * PAGE_BYTES)
        flags |= c->nx ? E_NX : 0;
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
    for (unsigned space = 0; space < 2; space++) {
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
        t->top[space] = take_table(t) + (space ? 0x20 : 0);
        set_entry(t, t->top[space], 0, directory | E_P);
        set_entry(t, t->top[space], 3, high | E_P);
    }
}

static u64 descriptor(u32 base, u32 limit, unsigned attr)
{
    return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)attr << 40 |
           (u64)(limit >> 16 & 0xf) << 48 | (u64)(base >> 24) << 56;
}

enum {
    A_CODE = SEG_PRESENT | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB,
    A_DATA = SEG_PRESENT | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB,
    A_TSS = SEG_PRESENT | 9, /* available; busy is 2 more */
};

static void make_gdt(const struct image *m)
{
    const u64 gdt[] = {
        0,
        descriptor(0, 0xfffff, A_CODE),
        descriptor(0, 0xfffff, A_DATA),
        descriptor(0, 0xfffff, A_CODE | SEG_DPL),
        descriptor(0, 0xfffff, A_DATA | SEG_DPL),
        descriptor(TSS_AT, 103, A_TSS | 2),
        descriptor(FAULT_TSS_AT, 103, A_TSS),
        descriptor(DATA + 0x10, 0xfffff, A_DATA | SEG_DPL),
        descriptor(DATA - 0x7ffff, 0xfffff, A_DATA | SEG_DPL),
        descriptor(DATA, 0xfff, (A_DATA | SEG_DPL) & ~(unsigned)SEG_G),
        descriptor(0xfffff000, 0xfffff, A_DATA | SEG_DPL),
    };
    for (unsigned i = 0; i < ARRAY_LEN(gdt); i++)
        store64(image_at(m, GDT_AT + i * 8), gdt[i]);
}

static u64 gate(u32 to, unsigned type, unsigned dpl)
{
    return (u64)(to & 0xffff) | (u64)SEL_CODE0 << 16 |
           (u64)(SEG_PRESENT | type | dpl << SEG_DPL_SHIFT) << 40 | (u64)(to >> 16) << 48;
}

enum { GATE_TASK = 5, GATE_INTERRUPT = 14, GATE_TRAP = 15 };

static void make_idt(const struct program *p, const struct image *m, const struct kernel_vars *k)
{
    for (unsigned n = 0; n < STUBS; n++) {
        bool open = n == VEC_BP || n == VEC_OF || (n >= 0x22 && n <= 0x25);
        bool trap = (p->seed >> (n & 31) & 1) && n != VEC_PF && n < TICK_VECTOR;
        store64(image_at(m, IDT_AT + n * 8),
                gate(k->stubs + n * STUB_BYTES, trap ? GATE_TRAP : GATE_INTERRUPT, open ? 3 : 0));
    }
    store64(image_at(m, IDT_AT + VEC_DF * 8),
            (u64)SEL_FAULT_TSS << 16 | (u64)(SEG_PRESENT | GATE_TASK) << 40);
    store64(image_at(m, IDT_AT + TICK_VECTOR * 8), gate(k->tick, GATE_INTERRUPT, 0));
    store64(image_at(m, IDT_AT + 0x80 * 8), gate(k->service, GATE_INTERRUPT, 3));
    store64(image_at(m, IDT_AT + 0x81 * 8), gate(k->leave, GATE_INTERRUPT, 3));
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

static struct image image_make(const struct program *p, struct tables *t)
{
    struct image m;
    for (unsigned i = 0; i < PARTS; i++)
        m.part[i] = calloc(1, parts[i].bytes);
    struct kernel_vars *k = (struct kernel_vars *)(void *)image_at(&m, KERNEL_AT);
    memcpy(k, bt_diff_kernel, (size_t)(bt_diff_kernel_end - bt_diff_kernel));
    *t = (struct tables){.m = &m, .large = p->config.paging == PAGING_PAE, .next = TABLES_AT};
    make_tables(p, t);
    k->log_next = LOG_AT;
    k->log_end = LOG_AT + LOG_RECORDS * LOG_RECORD;
    k->resume = CONTROL;
    k->large = t->large;
    for (unsigned space = 0; space < 2; space++) {
        k->cr3[space] = t->top[space];
        k->table[space] = t->region[space];
        k->repair[space] = REPAIRS_AT + space * REPAIRS_BYTES;
        if (p->config.paging == PAGING_LARGE) /* there are no entries to repair */
            memset(image_at(&m, k->repair[space]), 0, REPAIRS_BYTES);
    }
    make_gdt(&m);
    make_idt(p, &m, k);
    make_tss(&m, k, p->config.paging ? t->top[0] : 0);
    memcpy(image_at(&m, CODE), p->code, sizeof p->code);
    program_data(p, image_at(&m, DATA), DATA_PAGES * PAGE_BYTES);
    program_data(p, image_at(&m, STACK), STACK_PAGES * PAGE_BYTES);
    program_data(p, image_at(&m, ROM), PAGE_BYTES);
    program_data(p, image_at(&m, LAST_PAGE), PAGE_BYTES);
    for (unsigned n = 0; n < COUNTERS; n++)
        store32(image_at(&m, CONTROL_COUNTERS + n * 4), 1 + n % 5);
    t->m = NULL;
    return m;
}

/* Only what differs is written: what has been translated before may stay. */
static void load_image(struct subject *s, const struct image *m)
{
    for (unsigned i = 0; i < PARTS; i++) {
        u8 *to = physmem_host(s->pm, s->offset[i]);
        for (u32 at = 0; at < parts[i].bytes; at += 64) {
            if (!memcmp(to + at, m->part[i] + at, 64))
                continue;
            physmem_touch_range(s->pm, s->offset[i] + at, 64);
            memcpy(to + at, m->part[i] + at, 64);
        }
    }
}

/* ---- registers at the start ---- */

static void set_segment(struct segment *s, u16 sel, unsigned attr)
{
    *s = (struct segment){.limit = 0xffffffff, .sel = sel, .attr = (u16)attr};
}

static void load_registers(struct subject *s, const struct program *p, const struct tables *t)
{
    struct vcpu *v = s->v;
    const struct config *c = &p->config;
    bool user = c->ring == 3;
    unsigned dpl = user ? SEG_DPL : 0;
    vcpu_reset(v);
    vcpu_event_clear(v, EVENT_INTR | EVENT_STOP);
    v->tsc_offset = 0;
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | (c->wp ? CR0_WP : 0) |
             (c->alignment_checks ? CR0_AM : 0) | (c->paging ? CR0_PG : 0);
    v->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PSE | (c->global ? CR4_PGE : 0) |
             (c->paging == PAGING_PAE ? CR4_PAE : 0);
    v->xcr0 = 3;
    if (feature_shown(v->feature, CPUID_AVX)) {
        v->cr4 |= CR4_OSXSAVE;
        v->xcr0 = 7;
    }
    v->efer = c->nx ? EFER_NXE : 0;
    v->cr3 = t->top[0];
    for (unsigned i = 0; i < 4 && t->large; i++)
        v->pdpte[i] = load64(physmem_host(s->pm, s->offset[0]) + t->top[0] + i * 8);
    v->gdtr = (struct table_reg){.base = GDT_AT, .limit = 11 * 8 - 1};
    v->idtr = (struct table_reg){.base = IDT_AT, .limit = 0x82 * 8 - 1};
    v->tr = (struct segment){.base = TSS_AT, .limit = 103, .sel = SEL_TSS, .attr = (A_TSS | 2)};
    v->ldtr = (struct segment){.unusable = true};
    set_segment(&v->seg[SEG_CS], user ? SEL_CODE3 : SEL_CODE0, A_CODE | dpl);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (i != SEG_CS)
            set_segment(&v->seg[i], i == SEG_SS && !user ? SEL_DATA0 : SEL_DATA3,
                        A_DATA | (i == SEG_SS ? dpl : SEG_DPL));
    }
    v->cpl = (u8)c->ring;
    for (unsigned g = 0; g < 8; g++)
        v->gpr[g] = p->gpr[g];
    v->rip = p->start;
    flags_set(v, p->flags | c->iopl << FLAG_IOPL_SHIFT | (c->interrupts ? FLAG_IF : 0));
    tlb_flush(v);
    vcpu_mode_changed(v);
    program_data(p, v->fpu.bytes + IMAGE_XMM, 128);
    store16(v->fpu.bytes + IMAGE_FCW, X87_FCW_FNINIT);
    store32(v->fpu.bytes + IMAGE_MXCSR, MXCSR_RESET);
    store64(v->fpu.bytes + IMAGE_HEADER, XSTATE_X87 | XSTATE_SSE | (v->xcr0 & XSTATE_AVX));
    fpu_edited(v);
}

/* ---- running ---- */

static enum ending run(struct subject *s, u64 limit)
{
    for (;;) {
        u64 before = s->v->instructions;
        enum vcpu_exit why = s->translated ? bt_run(s->v) : interp_run_some(s->v, limit);
        u64 done = s->v->instructions - before;
        if (s->left)
            return ENDED;
        if (why == VCPU_EXIT_SHUTDOWN)
            return SHUT_DOWN;
        if (why == VCPU_EXIT_HALT && !excp_wakes(s->v))
            return ASLEEP;
        if (s->late || (!s->translated && done >= limit))
            return TOO_LONG;
        limit -= done < limit ? done : limit;
    }
}

enum ending subject_run(struct subject *s, const struct program *p, u64 limit)
{
    struct tables t;
    struct image m = image_make(p, &t);
    load_image(s, &m);
    for (unsigned i = 0; i < PARTS; i++)
        free(m.part[i]);
    load_registers(s, p, &t);
    if (s->translated)
        bt_tune(s->v,
                &(struct bt_tuning){.hot = p->config.hot, .window_after = p->config.window_after});
    if (s->translated)
        bt_verify(s->v, true);
    s->left = s->late = false;
    s->asked = -1;
    s->tick = 0;
    s->noise = (u32)p->seed;
    s->io_digest = s->io_count = 0;
    __atomic_store_n(&s->ticking, s->translated && p->config.ticks, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->running, true, __ATOMIC_SEQ_CST);
    enum ending e = run(s, limit);
    __atomic_store_n(&s->running, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->ticking, false, __ATOMIC_SEQ_CST);
    return e;
}

/* ---- comparing ---- */

struct comparison {
    FILE *f;
    bool same;
};

static void compare(struct comparison *c, const char *name, u64 interp, u64 bt)
{
    if (interp == bt)
        return;
    c->same = false;
    if (c->f)
        fprintf(c->f, "  %-12s interp %016llx  bt %016llx\n", name, (unsigned long long)interp,
                (unsigned long long)bt);
}

static void compare_registers(struct comparison *c, const struct vcpu *a, const struct vcpu *b)
{
    static const char *const gpr[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < 8; i++)
        compare(c, gpr[i], a->gpr[i], b->gpr[i]);
    compare(c, "eip", a->rip, b->rip);
    compare(c, "eflags", flags_get(a), flags_get(b));
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        compare(c, seg[i], a->seg[i].sel | (u64)a->seg[i].attr << 16,
                b->seg[i].sel | (u64)b->seg[i].attr << 16);
        compare(c, seg[i], a->seg[i].base, b->seg[i].base);
    }
    compare(c, "cr0", a->cr0, b->cr0);
    compare(c, "cr2", a->cr2, b->cr2);
    compare(c, "cr3", a->cr3, b->cr3);
    compare(c, "cr4", a->cr4, b->cr4);
    compare(c, "dr6", a->dr[6], b->dr[6]);
    compare(c, "halted", a->halted, b->halted);
}

static void compare_fpu(struct comparison *c, const struct vcpu *a, const struct vcpu *b)
{
    for (unsigned i = 0; i < sizeof a->fpu.bytes; i += 8) {
        char text[16];
        u64 mask = ~(u64)0;
        if (i == IMAGE_FIP || i == IMAGE_FDP || (i >= IMAGE_LEGACY && i < IMAGE_EXTENDED))
            continue; /* the host's own */
        if (i == 0)
            mask >>= 16; /* FOP */
        if (i == IMAGE_MXCSR)
            mask >>= 32;
        snprintf(text, sizeof text, "fpu +%u", i);
        compare(c, text, load64(a->fpu.bytes + i) & mask, load64(b->fpu.bytes + i) & mask);
    }
    compare(c, "fpu ip", a->fpu_ip, b->fpu_ip);
    compare(c, "fpu dp", a->fpu_dp, b->fpu_dp);
    compare(c, "fpu op", a->fpu_op, b->fpu_op);
    compare(c, "fpu cs,ds", a->fpu_cs | (u64)a->fpu_ds << 16, b->fpu_cs | (u64)b->fpu_ds << 16);
}

/* Ticks leave something on stacks. */
static bool may_differ(const struct program *p, u32 pa)
{
    return p->config.ticks && pa >= KERNEL_STACK - PAGE_BYTES && pa < KERNEL_STACK;
}

#define SHOWN 40 /* dwords that differ */

static void compare_memory(struct comparison *c, const struct subject *a, const struct subject *b,
                           const struct program *p)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        const u8 *x = physmem_host(a->pm, a->offset[i]), *y = physmem_host(b->pm, b->offset[i]);
        if (!memcmp(x, y, parts[i].bytes))
            continue;
        for (u32 at = 0; at < parts[i].bytes; at += 4) {
            char text[16];
            u32 pa = parts[i].pa + at;
            if (load32(x + at) == load32(y + at) || may_differ(p, pa) || shown++ >= SHOWN)
                continue;
            snprintf(text, sizeof text, "[%08x]", pa);
            compare(c, text, load32(x + at), load32(y + at));
        }
    }
}

static void print_record(FILE *f, const char *who, const u8 *r)
{
    fprintf(f, "  %-6s vector %02x error %04x eip %08x cs %04x eflags %08x cr2 %08x\n", who,
            load32(r + 40), load32(r + 44), load32(r + 48), load32(r + 52), load32(r + 56),
            load32(r + 68));
    fprintf(f, "         eax %08x ecx %08x edx %08x ebx %08x esp %08x ebp %08x esi %08x edi %08x\n",
            load32(r + 36), load32(r + 32), load32(r + 28), load32(r + 24),
            load32(r + 52) & 3 ? load32(r + 60) : load32(r + 20), load32(r + 16), load32(r + 12),
            load32(r + 8));
}

/* The exceptions up to the first that is not the same. */
static void print_log(FILE *f, struct subject *a, struct subject *b)
{
    const u8 *x = physmem_host(a->pm, a->offset[0]) + LOG_AT;
    const u8 *y = physmem_host(b->pm, b->offset[0]) + LOG_AT;
    for (unsigned n = 0; n < LOG_RECORDS; n++, x += LOG_RECORD, y += LOG_RECORD) {
        if (!load32(x + 48) && !load32(y + 48))
            return;
        fprintf(f, "exception %u\n", n);
        print_record(f, "interp", x);
        if (memcmp(x, y, LOG_RECORD) != 0) {
            print_record(f, "bt", y);
            return;
        }
    }
}

bool subject_same(struct subject *interp, struct subject *bt, const struct program *p, FILE *f)
{
    struct comparison c = {.f = f, .same = true};
    compare_registers(&c, interp->v, bt->v);
    compare_fpu(&c, interp->v, bt->v);
    compare(&c, "I/O accesses", interp->io_count, bt->io_count);
    compare(&c, "I/O", interp->io_digest, bt->io_digest);
    compare_memory(&c, interp, bt, p);
    if (f && !c.same)
        print_log(f, interp, bt);
    return c.same;
}
